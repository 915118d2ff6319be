//! The same elements under other dimensions, all of them: row-major order over the dimensions of the input's type becomes
//! row-major order over those of the output's, whatever the layouts are. Unlike `reshape`, it may fold the batch into other
//! dimensions and name dimensions anew; importers make it, the language has no name for it.

use super::args::{Attr, Attrs};
use super::case::{Case, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reshape::lower_refolded;
use super::role::Role;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::support::{Name, codes};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Refold {
    /// The output's dimensions.
    pub to: Vec<(Name, usize)>,
}

impl Refold {
    /// What printed graphs call it.
    pub const KIND: &'static str = "refold";

    /// Names in the language: none.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: one per dimension, under its name.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let dims: Result<Vec<(Name, usize)>, String> =
            attrs.0.iter().map(|(name, _)| Ok((Name::from(&**name), attrs.size(name)?))).collect();
        Ok(Self { to: dims? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let to = |dims: &[(&str, usize)]| Self { to: dims.iter().map(|(n, d)| (Name::from(*n), *d)).collect() };
        vec![
            Case::new("batch away", to(&[("d0", 6), ("d1", 20)]), vec![act(2, 3, &[("h", 4), ("w", 5)])]),
            Case::new("to batch", to(&[("n", 8), ("c", 3)]), vec![weight(&[("d0", 2), ("d1", 4), ("d2", 3)])]),
            Case::new("across", to(&[("d0", 9), ("d1", 4)]), vec![weight(&[("d0", 6), ("d1", 6)])]),
            Case::new("scalar", to(&[("n", 1), ("c", 1), ("h", 1)]), vec![weight(&[])]),
            Case::new("to scalar", to(&[]), vec![act(1, 1, &[])]),
        ]
    }
}

impl OpRules for Refold {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.to.iter().fold(Attrs::default(), |attrs, (name, d)| attrs.with(name, Attr::Int(*d as i64)))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let extents: Vec<usize> = self.to.iter().map(|d| d.1).collect();
        let ty = TensorTy::new(self.to.iter().map(|(n, d)| (n, *d)))
            .map_err(|_| shape_rules::too_large("refold", &extents))?;
        if ty.len() != x.len() {
            let message = format!("{:?} holds {} elements, {:?} {}", x.dims(), x.len(), extents, ty.len());
            return Err(OpError::new(codes::E0211, message));
        }
        let why = extents.iter().map(|d| Why::given(format!("refolded to {d}"))).collect();
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let x = e.ty(at.inputs[0]);
        let to = x.names().iter().cloned().zip(x.dims().iter().copied()).collect();
        at.only(e.op(Self { to }.into(), &[at.dy])?)
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
