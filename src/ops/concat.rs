//! Joins tensors one after the other along the channels or a grid axis: with parts `x_0, x_1, …` of extents `e_0, e_1, …`
//! along the axis, `y[…, e_0 + … + e_(k-1) + i, …] = x_k[…, i, …]`.

use super::slice::{Cut, Slice};
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::{Affine, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// The dimension: 1 is the channels, 2 the first grid axis.
    pub dim: usize,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let dim = shape_rules::axis("concat", args, "axis", inputs[0], 1)?;
    Ok(Made::op(Concat { dim }))
}

impl Concat {
    /// What printed graphs call it.
    pub const KIND: &'static str = "concat";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "concat",
        family: "joining",
        doc: "Joins tensors along the channels, or along a grid axis with `axis: h`; other extents must be equal.",
        tensors: (1, usize::MAX),
        params: &[Param {
            name: "axis",
            positional: false,
            required: false,
            ty: ArgTy::Axis,
            default: "c",
            doc: "the axis along which parts follow each other",
        }],
        example: "net Join(x: [c: 3, h: 4, w: 5], y: [c: 2, h: 4, w: 5]) -> [c: 5, h: 4, w: 5] { concat(x, y) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { dim: attrs.size("dim")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let hw = |n, c, h, w| act(n, c, &[("h", h), ("w", w)]);
        vec![
            Case::new(
                "channels",
                Self { dim: 1 },
                vec![hw(3, 5, 3, 7), hw(3, 1, 3, 7), hw(3, 4, 3, 7), hw(3, 5, 3, 7)],
            ),
            Case::new("rows", Self { dim: 2 }, vec![hw(2, 3, 1, 4), hw(2, 3, 4, 4)]),
            Case::new("columns", Self { dim: 3 }, vec![hw(1, 4, 2, 4), hw(1, 4, 2, 3)]),
            Case::new("rank 0", Self { dim: 1 }, vec![act(3, 4, &[]), act(3, 3, &[])]),
            Case::new("one part", Self { dim: 1 }, vec![act(1, 2, &[("t", 5)])]),
            Case::new(
                "depth",
                Self { dim: 2 },
                vec![
                    act(1, 2, &[("d", 2), ("h", 3), ("w", 2)]),
                    act(1, 2, &[("d", 1), ("h", 3), ("w", 2)]),
                ],
            ),
        ]
    }

    /// The first mismatch of part `i` with part 0, as an error.
    fn mismatch(&self, inputs: &[&TensorTy], i: usize) -> Option<OpError> {
        let (first, part) = (inputs[0], inputs[i]);
        let axis = first.names().get(self.dim).map_or("c", |n| &**n);
        if first.names() != part.names() {
            let message = format!(
                "`concat` needs parts with the same grid axes: {} in part 1, {} in part {}",
                shape_rules::show_axes(first),
                shape_rules::show_axes(part),
                i + 1,
            );
            return Some(OpError::new(codes::E0205, message));
        }
        let d = (0..first.dims().len()).find(|d| *d != self.dim && first.dims()[*d] != part.dims()[*d])?;
        let message = format!(
            "`concat` along {axis} needs equal extents on axis {}: {} in part 1, {} in part {}",
            first.names()[d],
            first.dims()[d],
            part.dims()[d],
            i + 1,
        );
        Some(OpError::new(codes::E0212, message).blame(0, d).blame(i, d))
    }
}

impl OpRules for Concat {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("dim", Attr::Int(self.dim as i64))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let first = inputs[0];
        if self.dim == 0 || self.dim >= first.dims().len() {
            let message = format!("`concat` along dimension {} of {}", self.dim, first.show());
            return Err(OpError::new(codes::E0209, message));
        }
        let error = (1..inputs.len()).find_map(|i| self.mismatch(inputs, i));
        let parts = || inputs.iter().filter_map(|t| t.dims().get(self.dim));
        let mut dims = first.dims().to_vec();
        dims[self.dim] = parts().fold(0, |a: usize, e| a.saturating_add(*e));
        let ty = shape_rules::resized("concat", first, &dims)?;
        if let Some(e) = error {
            return Err(e.recover(Some(ty)));
        }
        let mut why: Vec<Why> = (0..dims.len()).map(|d| Why::same(0, d)).collect();
        if inputs.len() > 1 {
            let sum: Vec<String> = parts().map(ToString::to_string).collect();
            why[self.dim] = Why::from(0, self.dim, sum.join(" + "));
        }
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let mut start = 0;
        let mut ends = Vec::new();
        for x in at.inputs {
            let len = e.ty(*x).dims()[self.dim];
            ends.push((start, len));
            start += len;
        }
        at.each(|i| {
            let (start, len) = ends[i];
            Ok(Some(e.op(Slice { cuts: vec![Cut { dim: self.dim, start, len }] }.into(), &[at.dy])?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut at = at.to_vec();
            for x in inputs {
                if at[self.dim] < x.dims[self.dim] {
                    return x.at(&at);
                }
                at[self.dim] -= x.dims[self.dim];
            }
            f64::NAN
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let out = cx.out().clone();
        let dim = self.dim;
        let name = out.names()[dim].clone();
        let mut others: Vec<(&str, usize)> =
            out.names().iter().map(|n| &**n).zip(out.dims().iter().copied()).collect();
        others.remove(dim);
        // The joined axis innermost: the loops around it are the same for every part.
        cx.nested(LoopKind::Free, &others, |cx, vars| {
            let mut at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            at.insert(dim, Affine::k(0));
            let mut start = 0;
            for part in 0..cx.inputs() {
                let extent = cx.input(part).dims()[dim];
                cx.nested(LoopKind::Free, &[(&*name, extent)], |cx, var| {
                    at[dim] = var[0].into();
                    let value = cx.load(part, &at);
                    at[dim] = at[dim].offset(start);
                    cx.store(&at, value);
                });
                start += extent as i64;
            }
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        Cost::default()
    }

    fn field(&self, input: usize, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let start: usize = inputs[..input].iter().map(|t| t.dims()[self.dim]).sum();
        shape_rules::shifted(out, self.dim, -(start as i64))
    }
}
