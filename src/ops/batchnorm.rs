//! Batch normalisation as inference computes it (Ioffe & Szegedy 2015):
//! `y = (x - running_mean[c]) / sqrt(running_var[c] + eps) * weight[c] + bias[c]`.
//!
//! Inputs: x, weight, bias, running_mean, running_var. `momentum` is the share of a batch's statistics that training mixes
//! into the running ones (PyTorch's meaning); inference does not read it.

use super::batchnorm_grad::BatchNormGrad;
use super::fold::Fold;
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled, Val};
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act, weight};
use super::init::Init;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, WeightSpec, shape_rules};
use crate::loops::{Expr, UnOp};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Share of a batch's statistics in an update.
    pub momentum: f32,
    /// The statistics are those of the batch, functions of `x`, as while training: the gradient by `x` counts them as such.
    pub batch: bool,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let eps = shape_rules::positive("batchnorm", args, "eps", 1e-5)?;
    let momentum = shape_rules::number("batchnorm", args, "momentum", 0.1)?;
    if !(0.0..=1.0).contains(&momentum) {
        let message = format!("`momentum` of `batchnorm` must lie in 0..1, it is {momentum}");
        return Err(shape_rules::out_of_range("momentum", message));
    }
    let trainable = args.bool("train").unwrap_or(true);
    let ty = shape_rules::per_channel("batchnorm", inputs[0].c())?;
    let spec = |name, init, trainable| WeightSpec { name, ty: ty.clone(), init: Init::Constant(init), trainable };
    Ok(Made::op(BatchNorm { eps, momentum, batch: false })
        .weight(spec("weight", 1.0, trainable))
        .weight(spec("bias", 0.0, trainable))
        .weight(spec("running_mean", 0.0, false))
        .weight(spec("running_var", 1.0, false)))
}

impl BatchNorm {
    /// What printed graphs call it.
    pub const KIND: &'static str = "batchnorm";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "batchnorm",
        family: "normalising",
        doc: "Normalises each channel by statistics over the batch and the grid, then scales and shifts it; \
              inference uses running statistics.",
        tensors: (1, 1),
        params: &[
            Param {
                name: "eps",
                positional: false,
                required: false,
                ty: ArgTy::Float,
                default: "1e-5",
                doc: "added to the variance",
            },
            Param {
                name: "momentum",
                positional: false,
                required: false,
                ty: ArgTy::Float,
                default: "0.1",
                doc: "share of a batch's statistics in the running ones",
            },
            Param::option("train", ArgTy::Bool, "true", "whether training changes scale and shift; else they stay 1 and 0"),
        ],
        example: "net Norm(x: [c: 3, h: 8, w: 8]) -> [c: 4, h: 6, w: 6] { \
                  x |> conv(4, 3x3, bias: false) |> batchnorm |> relu }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let batch = attrs.get("batch").is_ok() && attrs.bool("batch")?;
        Ok(Self { eps: attrs.float("eps")?, momentum: attrs.float("momentum")?, batch })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, x: TensorTy| {
            let w = weight(&[("c", x.c())]);
            let inputs = vec![x, w.clone(), w.clone(), w.clone(), w];
            Case::new(name, Self { eps: 1e-5, momentum: 0.1, batch: false }, inputs).fill(&[
                Fill::Normal,
                Fill::Normal,
                Fill::Normal,
                Fill::Normal,
                Fill::Uniform(0.1, 3.0),
            ])
        };
        vec![
            case("2d", act(3, 5, &[("h", 3), ("w", 7)])),
            case("rank 0", act(3, 4, &[])),
            case("3d", act(1, 3, &[("d", 2), ("h", 3), ("w", 3)])),
        ]
    }
}

impl OpRules for BatchNorm {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("eps", Attr::Float(self.eps)).with("momentum", Attr::Float(self.momentum)).with("batch", Attr::Bool(self.batch))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        shape_rules::channel_weights("batchnorm", inputs, 1, 4)?;
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let [x, weight, _, mean, var] = *at.inputs else {
            return Err(NotDifferentiable::new("`batchnorm` has five operands"));
        };
        if self.batch {
            let along = BatchNormGrad { eps: self.eps, input: None };
            let input = BatchNormGrad { eps: self.eps, input: Some(super::moment::count(e.ty(x))) };
            let all = e.sum_like(at.dy, weight)?;
            let along = e.op(along.into(), &[x, at.dy, mean, var])?;
            return at.each(|i| match i {
                0 => Ok(Some(e.op(input.clone().into(), &[x, at.dy, weight, mean, var, all, along])?)),
                1 => Ok(Some(along)),
                2 => Ok(Some(all)),
                // Counted in the gradient by `x`.
                _ => Ok(None),
            });
        }
        // With u = (x - mean) / sqrt(var + eps): Σ dy u per channel.
        let along = |e: &mut dyn Emit| -> Result<Val, OpError> {
            let ty = e.ty(weight).clone();
            let (one, zero) = (e.fill(ty.clone(), 1.0), e.fill(ty, 0.0));
            let unit = e.op(self.clone().into(), &[x, one, zero, mean, var])?;
            let part = e.mul(unit, at.dy)?;
            e.sum_like(part, weight)
        };
        at.each(|i| {
            let gain = Fold::Gain { eps: self.eps };
            Ok(Some(match i {
                0 => {
                    let gain = e.op(gain.into(), &[weight, var])?;
                    e.mul(at.dy, gain)?
                }
                1 => along(e)?,
                2 => e.sum_like(at.dy, weight)?,
                3 => {
                    let gain = e.op(gain.into(), &[weight, var])?;
                    let total = e.sum_like(at.dy, weight)?;
                    let part = e.mul(total, gain)?;
                    e.map(UnaryFn::Neg, part)?
                }
                _ => {
                    let total = along(e)?;
                    let part = e.mul(total, weight)?;
                    let square = e.shift(var, self.eps)?;
                    let part = e.div(part, square)?;
                    e.scale(part, -0.5)?
                }
            }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let [x, weight, bias, mean, var] = inputs else { return Array::filled(out.dims(), f64::NAN) };
        Array::from_fn(out.dims(), |at| {
            let c = &at[1..2];
            let unit = (x.at(at) - mean.at(c)) / (var.at(c) + f64::from(self.eps)).sqrt();
            unit * weight.at(c) + bias.at(c)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        super::lower::elementwise(cx, &self.scalar_fn());
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(self.scalar_fn())
    }

    fn role(&self) -> Role {
        Role::Norm { eps: self.eps }
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        // One scale and one shift per element, as inference folds it.
        shape_rules::flops(out, 2)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}

impl BatchNorm {
    fn scalar_fn(&self) -> ScalarFn<'_> {
        Box::new(|b, r| {
            let [x, weight, bias, mean, var] = [0, 1, 2, 3, 4].map(|i| Expr::from(r[i]));
            let std = Expr::un(UnOp::Sqrt, var + self.eps.into());
            let scale = b.let_(weight / std);
            Expr::fma(x - mean, scale.into(), bias)
        })
    }
}
