//! Operations that pass their input on unchanged in a forward pass, `y = x`: `identity`, `stop_gradient` (its gradient is 0)
//! and `dropout` (at inference; Srivastava et al. 2014, in the inverted form that scales while training).

use super::vjp::{Applied, Emit, Pulled};
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, shape_rules};
use crate::loops::Expr;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Identity {
    /// Nothing at all.
    Plain,
    /// Lets no gradient through.
    StopGradient,
    /// Drops elements while training.
    Dropout {
        /// Probability of a drop, in `0..1`.
        rate: f32,
    },
}

fn dropout(args: &CallArgs, _inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let rate = shape_rules::number("dropout", args, "rate", 0.5)?;
    if !(0.0..1.0).contains(&rate) {
        let message = format!("`rate` of `dropout` must be at least 0 and less than 1, it is {rate}");
        return Err(shape_rules::out_of_range("rate", message));
    }
    Ok(Made::op(Identity::Dropout { rate }))
}

impl Identity {
    /// What printed graphs call it.
    pub const KIND: &'static str = "identity";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "identity",
            family: "other",
            doc: "The input, unchanged.",
            tensors: (1, 1),
            params: &[],
            example: "net Same(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> identity }",
            make: |_, _| Ok(Made::op(Self::Plain)),
        },
        OpInfo {
            name: "stop_gradient",
            family: "other",
            doc: "The input, unchanged; gradients do not pass.",
            tensors: (1, 1),
            params: &[],
            example: "net Target(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> stop_gradient }",
            make: |_, _| Ok(Made::op(Self::StopGradient)),
        },
        OpInfo {
            name: "dropout",
            family: "other",
            doc: "While training, sets each element to 0 with probability `rate` and scales the others by 1 / (1 - rate); \
                  unchanged otherwise.",
            tensors: (1, 1),
            params: &[Param {
                name: "rate",
                positional: true,
                required: false,
                ty: ArgTy::Float,
                default: "0.5",
                doc: "probability of dropping an element",
            }],
            example: "net Drop(x: [c: 30]) -> [c: 10] { x |> dropout(0.2) |> dense(10) }",
            make: dropout,
        },
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        match attrs.word("of")? {
            "plain" => Ok(Self::Plain),
            "stop_gradient" => Ok(Self::StopGradient),
            "dropout" => Ok(Self::Dropout { rate: attrs.float("rate")? }),
            other => Err(format!("no identity is called `{other}`")),
        }
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        vec![
            Case::new("plain", Self::Plain, vec![act(3, 5, &[("h", 3), ("w", 7)])]),
            Case::new("stop", Self::StopGradient, vec![act(1, 3, &[])]),
            Case::new("dropout", Self::Dropout { rate: 0.25 }, vec![act(1, 2, &[("t", 5)])]),
        ]
    }
}

impl OpRules for Identity {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let word = |w: &str| Attrs::default().with("of", Attr::Word(w.to_owned()));
        match self {
            Self::Plain => word("plain"),
            Self::StopGradient => word("stop_gradient"),
            Self::Dropout { rate } => word("dropout").with("rate", Attr::Float(*rate)),
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        match self {
            Self::Plain | Self::Dropout { .. } => at.only(at.dy),
            Self::StopGradient => at.each(|_| Ok(None)),
        }
    }

    fn reference(&self, inputs: &[&Array], _out: &TensorTy) -> Array {
        inputs[0].clone()
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let pass: ScalarFn<'_> = Box::new(|_, x| x[0].into());
        super::lower::elementwise(cx, &pass);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(Box::new(|_, x| Expr::from(x[0])))
    }

    fn role(&self) -> Role {
        Role::Identity
    }

    fn cost(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        Cost::default()
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
