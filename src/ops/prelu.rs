//! The rectifier with a learnt slope (He et al. 2015): `y = x` where `x > 0`, else `weight[c] x`. Inputs: x, weight `[c: C]`,
//! or `[c: 1]` with `shared: true`.

use super::prelu_grad::PReluGrad;
use super::unary::{Unary, UnaryFn};
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attrs, CallArgs};
use super::case::{Case, act, weight};
use super::init::Init;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, WeightSpec, shape_rules};
use crate::loops::{Cmp, Expr};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct PRelu;

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let shared = args.bool("shared").unwrap_or(false);
    let ty = shape_rules::per_channel("prelu", if shared { 1 } else { inputs[0].c() })?;
    let slope = shape_rules::number("prelu", args, "slope", 0.25)?;
    Ok(Made::op(PRelu).weight(WeightSpec {
        name: "weight",
        ty,
        init: Init::Constant(slope),
        trainable: true,
    }))
}

impl PRelu {
    /// What printed graphs call it.
    pub const KIND: &'static str = "prelu";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "prelu",
        family: "detector",
        doc: "x where x > 0, else a learnt slope of each channel times x.",
        tensors: (1, 1),
        params: &[
            Param::place("slope", ArgTy::Float, "0.25", "the slope at the start"),
            Param::option("shared", ArgTy::Bool, "false", "one slope for all channels"),
        ],
        example: "net Learnt(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> prelu }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// None: it has no attributes.
    pub fn from_attrs(_attrs: &Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let c = |c| weight(&[("c", c)]);
        vec![
            Case::new("2d", Self, vec![act(3, 5, &[("h", 3), ("w", 7)]), c(5)]),
            Case::new("rank 0", Self, vec![act(2, 7, &[]), c(7)]),
            Case::new("shared", Self, vec![act(1, 3, &[("d", 2), ("h", 2), ("w", 3)]), c(1)]),
        ]
    }
}

impl OpRules for PRelu {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let shared = inputs.len() == 2 && inputs[1].dims() == [1];
        if !shared {
            shape_rules::channel_weights("prelu", inputs, 1, 1)?;
        }
        if !inputs[0].is_activation() {
            let message = format!("`prelu` needs channels, {} has none", inputs[0].show());
            return Err(OpError::new(codes::E0209, message));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, slope) = (at.inputs[0], at.inputs[1]);
        at.each(|i| match i {
            0 => Ok(Some(e.op(PReluGrad.into(), &[x, slope, at.dy])?)),
            _ => {
                let low = e.op(Unary { f: UnaryFn::Clip, args: [f32::NEG_INFINITY, 0.0] }.into(), &[x])?;
                let part = e.mul(low, at.dy)?;
                Ok(Some(e.sum_like(part, slope)?))
            }
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, slope) = (inputs[0], inputs[1]);
        Array::from_fn(out.dims(), |at| {
            let x = x.at(at);
            let slope = slope.data[if slope.data.len() == 1 { 0 } else { at[1] }];
            if x > 0.0 { x } else { slope * x }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let scalar: ScalarFn<'_> = Box::new(|_, r| slope(r[0].into(), r[1].into()));
        super::lower::elementwise(cx, &scalar);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(Box::new(|_, r| slope(r[0].into(), r[1].into())))
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

fn slope(x: Expr, slope: Expr) -> Expr {
    Expr::select(Cmp::Gt, x.clone(), 0.0.into(), x.clone(), x * slope)
}
