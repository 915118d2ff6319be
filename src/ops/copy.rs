//! The identity that moves a tensor into another layout: `y = x`. Only passes make it; the language has no word for it.

use super::vjp::{Applied, Emit, Pulled};
use super::args::Attrs;
use super::case::Case;
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::role::Role;
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why};
use crate::loops::Expr;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy;

impl Copy {
    /// What printed graphs call it.
    pub const KIND: &'static str = "copy";

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
        let ty = TensorTy::grid(2, 3, &[("h", 4), ("w", 5)]).expect("a small tensor");
        let weight = TensorTy::new([("o", 4), ("i", 3), ("k", 5)]).expect("a small tensor");
        vec![Case::new("activation", Self, vec![ty]), Case::new("weight", Self, vec![weight])]
    }
}

impl OpRules for Copy {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let why = (0..inputs[0].dims().len()).map(|d| Why::same(0, d)).collect();
        Ok(Inferred { ty: inputs[0].clone(), why })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.only(at.dy)
    }

    fn reference(&self, inputs: &[&Array], _out: &TensorTy) -> Array {
        inputs[0].clone()
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let scalar: ScalarFn<'_> = Box::new(|_, x| Expr::Reg(x[0]));
        elementwise(cx, &scalar);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(Box::new(|_, x| Expr::Reg(x[0])))
    }

    fn role(&self) -> Role {
        Role::Layout
    }

    fn cost(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        Cost::default()
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        vec![Field::Window { stride: 1, before: 0, reach: 1 }; out.dims().len().saturating_sub(2)]
    }
}
