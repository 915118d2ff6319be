//! The same elements under another shape: `flatten` (all of a sample into the channels) and `reshape`. The order of elements
//! is that of the logical dimensions, channels first and then the grid axes as written, the last one fastest; it does not
//! depend on any layout.
//!
//! The batch stays. Between weights (in folded graphs) `reshape` also renames dimensions.

use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, ArgValue, Attr, Attrs, CallArgs};
use super::case::{Case, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::{Affine, LoopKind};
use crate::support::{Name, codes};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// The dimensions after the batch. `None` flattens to `c`, whatever the extents.
    pub to: Option<Vec<(Name, usize)>>,
}

fn reshape(args: &CallArgs, _inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let Some(ArgValue::Shape(shape)) = args.get("to") else {
        return Err(shape_rules::wrong_type("reshape", "to"));
    };
    // The channels first, the grid as written.
    let mut to = Vec::new();
    let channels = shape.iter().filter(|(name, _)| &**name == "c");
    for (name, extent) in channels.chain(shape.iter().filter(|(name, _)| &**name != "c")) {
        let extent = usize::try_from(*extent).ok().filter(|e| *e >= 1).ok_or_else(|| {
            shape_rules::out_of_range("to", format!("axis {name} of `reshape` needs an extent of at least 1, not {extent}"))
        })?;
        to.push((name.clone(), extent));
    }
    if to.first().is_none_or(|(name, _)| &**name != "c") {
        let error = OpError::new(codes::E0207, "a shape needs a channel axis c");
        return Err(error.at(super::At::Arg("to")));
    }
    Ok(Made::op(Reshape { to: Some(to) }))
}

impl Reshape {
    /// What printed graphs call it.
    pub const KIND: &'static str = "reshape";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "flatten",
            family: "moving",
            doc: "All elements of a sample as channels on a grid of rank 0, in the order c, then the grid axes as written.",
            tensors: (1, 1),
            params: &[],
            example: "net Flat(x: [c: 3, h: 4, w: 5]) -> [c: 60] { x |> flatten }",
            make: |_, _| Ok(Made::op(Self { to: None })),
        },
        OpInfo {
            name: "reshape",
            family: "moving",
            doc: "The same elements, in the order c, then the grid axes as written, under another shape.",
            tensors: (1, 1),
            params: &[Param {
                name: "to",
                positional: true,
                required: true,
                ty: ArgTy::Shape,
                default: "",
                doc: "the shape; its product must be that of the input",
            }],
            example: "net Unflat(x: [c: 60]) -> [c: 3, h: 4, w: 5] { x |> reshape([c: 3, h: 4, w: 5]) }",
            make: reshape,
        },
    ];

    /// To the dimensions of `to` after the batch.
    pub fn to(to: &TensorTy) -> Self {
        let skip = usize::from(to.is_activation());
        let dims = to.names().iter().cloned().zip(to.dims().iter().copied());
        Self { to: Some(dims.skip(skip).collect()) }
    }

    /// From printed attributes: one per dimension, under its name.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let dims: Result<Vec<(Name, usize)>, String> =
            attrs.0.iter().map(|(name, _)| Ok((Name::from(&**name), attrs.size(name)?))).collect();
        let dims = dims?;
        Ok(Self { to: if dims.is_empty() { None } else { Some(dims) } })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let to = |dims: &[(&str, usize)]| Self {
            to: Some(dims.iter().map(|(n, d)| (Name::from(*n), *d)).collect()),
        };
        let flat = || Self { to: None };
        let hw = |n, c, h, w| act(n, c, &[("h", h), ("w", w)]);
        vec![
            Case::new("flatten", flat(), vec![hw(3, 5, 3, 7)]),
            Case::new("flatten rank 0", flat(), vec![act(2, 5, &[])]),
            Case::new("flatten 3d", flat(), vec![act(1, 2, &[("d", 2), ("h", 3), ("w", 4)])]),
            Case::new("unflatten", to(&[("c", 5), ("h", 3), ("w", 7)]), vec![act(3, 105, &[])]),
            Case::new("split axes", to(&[("c", 2), ("a", 4), ("b", 6)]), vec![hw(2, 8, 2, 3)]),
            Case::new("across axes", to(&[("c", 4), ("t", 9)]), vec![hw(2, 6, 2, 3)]),
            Case::new("ones", to(&[("c", 1), ("h", 6), ("w", 1)]), vec![act(1, 6, &[("t", 1)])]),
            Case::new("weight", to(&[("o", 4), ("i", 6)]), vec![weight(&[("c", 24)])]),
        ]
    }

    fn name(&self) -> &'static str {
        if self.to.is_some() { "reshape" } else { "flatten" }
    }
}

impl OpRules for Reshape {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let dims = self.to.iter().flatten();
        dims.fold(Attrs::default(), |attrs, (name, d)| attrs.with(name, Attr::Int(*d as i64)))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let batch = usize::from(x.is_activation());
        let rest = &x.dims()[batch..];
        let count = rest.iter().product::<usize>();
        let show = |dims: &[usize]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" * ");
        let to = match &self.to {
            Some(to) => to.clone(),
            None => vec![(Name::from("c"), count)],
        };
        let head = x.names().iter().cloned().zip(x.dims().iter().copied()).take(batch);
        let dims: Vec<(Name, usize)> = head.chain(to.iter().cloned()).collect();
        let extents: Vec<usize> = to.iter().map(|(_, d)| *d).collect();
        let ty = TensorTy::new(dims).map_err(|_| shape_rules::too_large(self.name(), &extents))?;
        let got = ty.dims()[batch..].iter().product::<usize>();
        if got != count {
            let message = format!(
                "`reshape` keeps the number of elements: {} has {} = {count}, the new shape {} = {got}",
                x.show(),
                show(rest),
                show(&extents),
            );
            let mut error = OpError::new(codes::E0211, message).at(super::At::Arg("to")).recover(Some(ty));
            // One extent may follow from the others.
            for d in 0..to.len() {
                let others = extents.iter().enumerate().filter(|(i, _)| *i != d);
                let others = others.map(|(_, e)| e).product::<usize>();
                if others > 0 && count > 0 && count.is_multiple_of(others) {
                    let mut fitting = to.clone();
                    fitting[d].1 = count / others;
                    let axes: Vec<String> = fitting.iter().map(|(n, e)| format!("{n}: {e}")).collect();
                    error = error.try_arg("to", format!("[{}]", axes.join(", ")));
                }
            }
            for d in batch..x.dims().len() {
                error = error.blame(0, d);
            }
            return Err(error);
        }
        let mut why: Vec<Why> = (0..batch).map(|d| Why::same(0, d)).collect();
        why.extend(extents.iter().map(|d| match &self.to {
            Some(_) => Why::given(format!("reshape to {d}")),
            None if rest.len() == 1 => Why::same(0, batch),
            None => Why::from(0, batch, show(rest)),
        }));
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let to = Self::to(e.ty(at.inputs[0]));
        at.only(e.op(to.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        inputs[0].clone().reshaped(out.dims())
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        lower_refolded(cx);
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
        shape_rules::everywhere(out)
    }
}

/// Writes the loops that store the elements of input 0, in row-major order, as those of the output.
pub(super) fn lower_refolded(cx: &mut LowerCx<'_>) {
    let (from, to) = (cx.input(0).dims().to_vec(), cx.out().dims().to_vec());
    match refine(&from, &to) {
        Some(parts) => {
            let names: Vec<String> = (0..parts.len()).map(|i| format!("p{i}")).collect();
            let dims: Vec<(&str, usize)> = names.iter().map(|n| &**n).zip(parts.iter().copied()).collect();
            cx.nested(LoopKind::Free, &dims, |cx, vars| {
                let vars: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
                let value = cx.load(0, &gather(&from, &parts, &vars));
                cx.store(&gather(&to, &parts, &vars), value);
            });
        }
        None => cx.for_each_output(|cx, at| {
            let flat = to.iter().zip(at).fold(Affine::k(0), |flat, (d, i)| &(&flat * *d as i64) + i);
            let mut idx = vec![Affine::k(0); from.len()];
            let mut rest = flat;
            for (slot, d) in idx.iter_mut().zip(&from).rev() {
                *slot = cx.b.modulo("i", rest.clone(), (*d as i64).max(1)).into();
                rest = cx.b.div("rest", rest, (*d as i64).max(1)).into();
            }
            let value = cx.load(0, &idx);
            cx.store(at, value);
        }),
    }
}

/// Extents whose groups of neighbours multiply to the extents of both shapes, so that both indices are sums of the same
/// counters; `None` where boundaries cross (4 x 9 against 6 x 6).
fn refine(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let ends = |dims: &[usize]| -> Vec<usize> {
        dims.iter()
            .rev()
            .scan(1, |product, d| {
                *product *= d;
                Some(*product)
            })
            .collect()
    };
    let mut all = ends(a);
    all.extend(ends(b));
    all.sort_unstable();
    all.dedup();
    let mut parts = Vec::new();
    let mut last = 1;
    for end in all {
        if last == 0 || end % last != 0 {
            return None;
        }
        if end > last {
            parts.push(end / last);
        }
        last = end;
    }
    parts.reverse();
    Some(parts)
}

/// The index into `dims` where the counters of `parts`, a refinement of it, stand at `vars`.
fn gather(dims: &[usize], parts: &[usize], vars: &[Affine]) -> Vec<Affine> {
    let mut rest = parts.iter().zip(vars).rev().peekable();
    let mut idx = vec![Affine::k(0); dims.len()];
    for (slot, d) in idx.iter_mut().zip(dims).rev() {
        let mut unit = 1;
        while unit < *d {
            let Some((part, var)) = rest.next() else { break };
            *slot = &*slot + &(var * unit as i64);
            unit *= part;
        }
    }
    idx
}
