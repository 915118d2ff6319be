//! The gradient of `max` and `min` by operand `i`: `dx = dy` where `y` is operand `i` and none before it, else 0 (of equal
//! operands the first counts). Inputs: `y`, operands `0..=i`, `dy`. Where `y` is NaN no operand gets a gradient.

use super::args::Attrs;
use super::case::{Case, Fill, act};
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::role::Role;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Cmp, Expr};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Winner;

impl Winner {
    /// What printed graphs call it.
    pub const KIND: &'static str = "winner";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: there are none.
    ///
    /// # Errors
    /// Never.
    pub fn from_attrs(_attrs: &Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    /// Test cases; whole numbers tie.
    pub fn cases() -> Vec<Case> {
        let ints = [Fill::Labels(3), Fill::Labels(3), Fill::Labels(3), Fill::Normal];
        let x = || act(2, 5, &[("h", 3), ("w", 4)]);
        vec![
            Case::new("first", Self, vec![x(), x(), x()]).fill(&[ints[0], ints[1], Fill::Normal]),
            Case::new("second", Self, vec![x(), x(), x(), x()]).fill(&ints),
            Case::new("broadcast", Self, vec![x(), act(2, 5, &[]), x(), x()]).fill(&ints),
        ]
    }

    fn scalar_fn() -> ScalarFn<'static> {
        Box::new(|_, r| {
            let (y, dy, last) = (r[0], r[r.len() - 1], r.len() - 2);
            let own = Expr::select(Cmp::Eq, r[last].into(), y.into(), dy.into(), 0.0.into());
            r[1..last].iter().fold(own, |value, before| {
                Expr::select(Cmp::Eq, (*before).into(), y.into(), 0.0.into(), value)
            })
        })
    }
}

impl OpRules for Winner {
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
        // By `dy` alone; who wins does not change.
        let last = at.inputs.len() - 1;
        at.each(|i| {
            if i < last {
                return Ok(None);
            }
            let inputs = [&at.inputs[..last], &[at.dy]].concat();
            Ok(Some(e.op(Self.into(), &inputs)?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (y, dy, last) = (inputs[0], inputs[inputs.len() - 1], inputs.len() - 2);
        let of = |x: &Array, at: &[usize]| {
            let from = usize::from(x.dims.len() == 1 && out.is_activation());
            let i: Vec<usize> = x.dims.iter().zip(&at[from..]).map(|(d, i)| if *d == 1 { 0 } else { *i }).collect();
            x.at(&i)
        };
        Array::from_fn(out.dims(), |at| {
            let wins = |i: usize| of(inputs[i], at) == y.at(at);
            if wins(last) && !(1..last).any(wins) { dy.at(at) } else { 0.0 }
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

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, inputs.len() as u64 - 2)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
