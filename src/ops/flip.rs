//! An axis read backwards: `y[…, i, …] = x[…, extent - 1 - i, …]`.

use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, shape_rules};
use crate::loops::Affine;
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    /// The dimension: 1 is the channels, 2 the first grid axis.
    pub dim: usize,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    Ok(Made::op(Flip { dim: shape_rules::axis("flip", args, "axis", inputs[0], 1)? }))
}

impl Flip {
    /// What printed graphs call it.
    pub const KIND: &'static str = "flip";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "flip",
        family: "moving",
        doc: "Reads one axis backwards; the shape stays.",
        tensors: (1, 1),
        params: &[Param::required("axis", ArgTy::Axis, "the axis")],
        example: "net Mirror(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> flip(w) }",
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
        vec![
            Case::new("rows", Self { dim: 2 }, vec![act(3, 5, &[("h", 3), ("w", 7)])]),
            Case::new("columns", Self { dim: 3 }, vec![act(1, 4, &[("h", 2), ("w", 5)])]),
            Case::new("channels", Self { dim: 1 }, vec![act(2, 6, &[])]),
            Case::new("depth", Self { dim: 2 }, vec![act(1, 2, &[("d", 3), ("h", 2), ("w", 2)])]),
        ]
    }
}

impl OpRules for Flip {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("dim", Attr::Int(self.dim as i64))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        if self.dim >= inputs[0].dims().len() {
            let message = format!("this `flip` was made for dimension {}, not for {}", self.dim, inputs[0].show());
            return Err(OpError::new(codes::E0215, message));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.only(e.op(self.clone().into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            from[self.dim] = out.dims()[self.dim] - 1 - at[self.dim];
            inputs[0].at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let last = cx.out().dims()[self.dim] as i64 - 1;
        cx.for_each_output(|cx, at| {
            let mut from: Vec<Affine> = at.to_vec();
            from[self.dim] = Affine::k(last).minus(&at[self.dim]);
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
        // Positions run backwards along the axis, which a window cannot say.
        let mut field = shape_rules::pointwise(out);
        if let Some(f) = self.dim.checked_sub(2).and_then(|axis| field.get_mut(axis)) {
            *f = Field::All;
        }
        field
    }
}
