//! A tensor put into a larger one of zeros, the transpose of [`super::slice`]: along each dimension that is named,
//! `y[…, start + i, …] = x[…, i, …]` in an extent of `len`. The language has no name for it.

use super::args::Attrs;
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::slice::{Cut, Slice};
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::Affine;
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Embed {
    /// For each dimension that grows where the input starts in it, and its extent in the result.
    pub into: Vec<Cut>,
}

impl Embed {
    /// What printed graphs call it.
    pub const KIND: &'static str = "embed";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Slice::from_attrs(attrs).map(|s| Self { into: s.cuts })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |into: &[(usize, usize, usize)]| Self {
            into: into.iter().map(|(dim, start, len)| Cut { dim: *dim, start: *start, len: *len }).collect(),
        };
        let x = act(3, 5, &[("h", 3), ("w", 4)]);
        vec![
            Case::new("grid", op(&[(2, 1, 5), (3, 0, 6)]), vec![x.clone()]),
            Case::new("channels", op(&[(1, 3, 8)]), vec![x]),
            Case::new("rank 0", op(&[(1, 0, 9)]), vec![act(2, 4, &[])]),
        ]
    }
}

impl OpRules for Embed {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Slice { cuts: self.into.clone() }.attrs()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let mut dims = x.dims().to_vec();
        let mut why: Vec<Why> = (0..dims.len()).map(|d| Why::same(0, d)).collect();
        for cut in &self.into {
            let fits = dims.get(cut.dim).is_some_and(|d| cut.start.checked_add(*d).is_some_and(|end| end <= cut.len));
            if !fits {
                return Err(OpError::new(codes::E0206, format!("`embed` cannot put {x} into {cut:?}")));
            }
            dims[cut.dim] = cut.len;
            why[cut.dim] = Why::from(0, cut.dim, format!("into {}", cut.len));
        }
        Ok(Inferred { ty: shape_rules::resized("embed", x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let ty = e.ty(at.inputs[0]).clone();
        let cuts = self.into.iter().map(|c| Cut { len: ty.dims()[c.dim], ..*c }).collect();
        at.only(e.op(Slice { cuts }.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut from: Vec<i64> = at.iter().map(|i| *i as i64).collect();
            self.into.iter().for_each(|c| from[c.dim] -= c.start as i64);
            inputs[0].get(&from).unwrap_or(0.0)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        cx.for_each_output(|cx, at| {
            let mut from: Vec<Affine> = at.to_vec();
            let mut inside = Vec::new();
            for cut in &self.into {
                from[cut.dim] = at[cut.dim].offset(-(cut.start as i64));
                if cut.start > 0 {
                    inside.push(from[cut.dim].clone());
                }
                if cut.start + x.dims()[cut.dim] < cut.len {
                    inside.push(Affine::k(x.dims()[cut.dim] as i64 - 1).minus(&from[cut.dim]));
                }
            }
            if inside.is_empty() {
                let value = cx.load(0, &from);
                return cx.store(at, value);
            }
            let value = cx.b.let_(0.0);
            cx.if_(inside, |cx| {
                let x = cx.load(0, &from);
                cx.b.set(value, x);
            });
            cx.store(at, value);
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

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let mut field = shape_rules::pointwise(out);
        for cut in &self.into {
            if let Some(f) = cut.dim.checked_sub(2).and_then(|axis| field.get_mut(axis)) {
                *f = Field::Window { stride: 1, before: cut.start as i64, reach: 1 };
            }
        }
        field
    }
}
