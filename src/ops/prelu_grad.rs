//! The gradient of `prelu` by its input, elementwise: `dx = dy` where `x > 0`, else `slope dy`. Inputs: `x`, slope, `dy`. The
//! language has no name for it.

use super::args::Attrs;
use super::case::{Case, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::role::Role;
use super::unary::{Unary, UnaryFn};
use super::unary_grad::UnaryGrad;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Cmp, Expr};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct PReluGrad;

impl PReluGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "prelu_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: there are none.
    ///
    /// # Errors
    /// Never.
    pub fn from_attrs(_attrs: &Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, slopes| {
            let x = act(3, 5, &[("h", 3), ("w", 7)]);
            Case::new(name, Self, vec![x.clone(), weight(&[("c", slopes)]), x])
        };
        vec![case("2d", 5), case("shared", 1)]
    }

    fn scalar_fn() -> ScalarFn<'static> {
        Box::new(|_, r| Expr::select(Cmp::Gt, r[0].into(), 0.0.into(), r[2].into(), Expr::from(r[1]) * r[2].into()))
    }
}

impl OpRules for PReluGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, slope, dy) = (at.inputs[0], at.inputs[1], at.inputs[2]);
        at.each(|i| match i {
            0 => Ok(None),
            1 => {
                // What passed the slope: the gradient of min(x, 0).
                let clip = Unary { f: UnaryFn::Clip, args: [f32::NEG_INFINITY, 0.0] };
                let low = e.op(clip.clone().into(), &[x])?;
                let t = e.mul(at.dy, dy)?;
                let part = e.op(UnaryGrad { of: clip }.into(), &[low, t])?;
                Ok(Some(e.sum_like(part, slope)?))
            }
            _ => Ok(Some(e.op(Self.into(), &[x, slope, at.dy])?)),
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, slope, dy) = (inputs[0], inputs[1], inputs[2]);
        Array::from_fn(out.dims(), |at| {
            let slope = slope.data[if slope.data.len() == 1 { 0 } else { at[1] }];
            if x.at(at) > 0.0 { dy.at(at) } else { slope * dy.at(at) }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        elementwise(cx, &Self::scalar_fn());
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(Self::scalar_fn())
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, 2)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
