//! `y = d sign(v) |v|^e`, 0 where `v` is 0: the elementwise part of gradients of norms of order `e + 1`. Inputs: `v`, `d`.

use super::args::{Attr, Attrs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::role::Role;
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{BinOp, Cmp, Expr, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Power {
    /// The exponent.
    pub exponent: f32,
}

impl Power {
    /// What printed graphs call it.
    pub const KIND: &'static str = "power";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { exponent: attrs.float("exponent")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |exponent: f32| {
            let x = act(2, 5, &[("h", 3), ("w", 3)]);
            Case::new(format!("{exponent}"), Self { exponent }, vec![x.clone(), x])
        };
        vec![case(0.0), case(1.0), case(2.0), case(0.5)]
    }

    fn scalar_fn(&self) -> ScalarFn<'_> {
        Box::new(|_, r| {
            let (v, d) = (Expr::from(r[0]), Expr::from(r[1]));
            let positive = Expr::bin(BinOp::Pow, Expr::un(UnOp::Abs, v.clone()), self.exponent.into()) * d;
            let signed = Expr::select(Cmp::Lt, v.clone(), 0.0.into(), Expr::un(UnOp::Neg, positive.clone()), positive);
            Expr::select(Cmp::Eq, v, 0.0.into(), 0.0.into(), signed)
        })
    }
}

impl OpRules for Power {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("exponent", Attr::Float(self.exponent))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        if inputs[0] != inputs[1] {
            return Err(OpError::new(codes::E0206, format!("`power` of {} times {}", inputs[0], inputs[1])));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (v, d) = (at.inputs[0], at.inputs[1]);
        at.each(|i| match i {
            1 => Ok(Some(e.op(self.clone().into(), &[v, at.dy])?)),
            _ if self.exponent == 0.0 => Ok(None),
            _ => {
                let t = e.mul(at.dy, d)?;
                let t = e.scale(t, self.exponent)?;
                let abs = e.map(UnaryFn::Abs, v)?;
                Ok(Some(e.op(Self { exponent: self.exponent - 1.0 }.into(), &[abs, t])?))
            }
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let exponent = f64::from(self.exponent);
        Array::from_fn(out.dims(), |at| match inputs[0].at(at) {
            0.0 => 0.0,
            v => inputs[1].at(at) * v.signum() * libm::pow(v.abs(), exponent),
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        elementwise(cx, &self.scalar_fn());
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(self.scalar_fn())
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, 3)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
