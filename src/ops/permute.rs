//! The grid axes in another order: dimension `2 + a` of the output is dimension `2 + order[a]` of the input. The resolver
//! inserts it where two tensors have the same axes in different orders; the language has no name for it.

use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{Attr, Attrs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::Affine;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Permute {
    /// For each grid axis of the output its number in the input.
    pub order: Vec<usize>,
}

impl Permute {
    /// What printed graphs call it.
    pub const KIND: &'static str = "permute";

    /// Names in the language: none.
    pub const INFO: &'static [OpInfo] = &[];

    /// The permutation that brings the grid axes of `from` into the order of `to`; `None` unless both have the same axes.
    pub fn between(from: &TensorTy, to: &TensorTy) -> Option<Self> {
        let order: Option<Vec<usize>> =
            to.grid_names().iter().map(|name| from.grid_names().iter().position(|n| n == name)).collect();
        order.filter(|o| o.len() == from.rank()).map(|order| Self { order })
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let order = attrs.sizes("order")?;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..order.len()) {
            return Err(format!("{order:?} is not a permutation"));
        }
        Ok(Self { order })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        vec![
            Case::new("2d", Self { order: vec![1, 0] }, vec![act(3, 5, &[("h", 3), ("w", 7)])]),
            Case::new("3d", Self { order: vec![2, 0, 1] }, vec![act(1, 3, &[("d", 2), ("h", 3), ("w", 5)])]),
        ]
    }
}

impl OpRules for Permute {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("order", Attr::Ints(self.order.iter().map(|a| *a as i64).collect()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        shape_rules::same_rank("permute", self.order.len(), x)?;
        let from: Vec<usize> = [0, 1].into_iter().chain(self.order.iter().map(|a| a + 2)).collect();
        let dims = from.iter().map(|d| (&x.names()[*d], x.dims()[*d]));
        let ty = TensorTy::new(dims).map_err(|_| shape_rules::too_large("permute", x.dims()))?;
        Ok(Inferred { ty, why: from.iter().map(|d| Why::same(0, *d)).collect() })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let mut order = self.order.clone();
        self.order.iter().enumerate().for_each(|(a, o)| order[*o] = a);
        at.only(e.op(Self { order }.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            for (a, o) in self.order.iter().enumerate() {
                from[o + 2] = at[a + 2];
            }
            inputs[0].at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        cx.for_each_output(|cx, at| {
            let mut from: Vec<Affine> = at.to_vec();
            for (a, o) in self.order.iter().enumerate() {
                from[o + 2] = at[a + 2].clone();
            }
            let value = cx.load(0, &from);
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
        shape_rules::pointwise(out)
    }
}
