//! Full connection: every input channel at every position feeds every output channel,
//! `y[n, o] = b[o] + sum over c, p of w[o, c, p] * x[n, c, p]`; the result stands on a grid of rank 0.
//!
//! It is the convolution whose kernel is the whole grid, without a `flatten` before it. Weights `[o, i]` with `i` running
//! over channels, then the grid in the order of its axes (PyTorch's `Flatten` and `Linear`).

use super::dense_grad::DenseGrad;
use super::vjp::{Applied, Emit, Pulled};
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::Case;
use super::conv_nest::serial;
use super::geometry::fit_weights;
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::role::{Linear, Role, WeightChannel};
use super::shape_rules::too_large;
use super::window::check_range;
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, start};
use crate::loops::{Affine, Expr, LoopKind};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module. Inputs: `x`, the weight, and the bias if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Output channels.
    pub channels: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let channels = check_range("out", args.int("out").unwrap_or(0), 1)?;
    let op = Dense { channels, bias: args.bool("bias").unwrap_or(true) };
    let (weight, bias) = op.weights(inputs[0])?;
    let fans = (elements(inputs[0]), channels);
    let weights = start::specs("dense", args, weight, fans, op.bias.then_some(bias))?;
    Ok(Made { ops: vec![op.into()], weights })
}

/// Channels times positions.
fn elements(x: &TensorTy) -> usize {
    x.dims()[1..].iter().product()
}

impl Dense {
    /// What printed graphs call it.
    pub const KIND: &'static str = "dense";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "dense",
        family: "affine",
        doc: "Full connection of all channels and positions to `out` channels on a grid of rank 0.",
        tensors: (1, 1),
        params: &[
            Param {
                name: "out",
                positional: true,
                required: true,
                ty: ArgTy::Int,
                default: "",
                doc: "output channels",
            },
            start::BIAS,
            start::INIT,
            start::WEIGHTS,
            start::TRAIN,
        ],
        example: "net Classify(x: [c: 16, h: 5, w: 5]) -> [c: 10] { x |> dense(84) |> tanh |> dense(10) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { channels: attrs.size("out")?, bias: attrs.bool("bias")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name, (n, c), grid: &[(&str, usize)], channels, bias| {
            let op = Self { channels, bias };
            let x = TensorTy::grid(n, c, grid).expect("a small tensor");
            let (weight, b) = op.weights(&x).expect("small weights");
            let mut inputs = vec![x, weight];
            inputs.extend(bias.then_some(b));
            Case::new(name, op, inputs)
        };
        vec![
            case("rank 0", (1, 7), &[], 5, true),
            case("rank 0, batch, no bias", (3, 12), &[], 8, false),
            case("1d", (1, 2), &[("t", 5)], 3, true),
            case("2d", (1, 3), &[("h", 4), ("w", 5)], 16, true),
            case("2d batch", (3, 5), &[("h", 2), ("w", 3)], 10, true),
            case("3d", (3, 2), &[("d", 2), ("h", 3), ("w", 2)], 4, true),
            case("one output", (1, 1), &[("h", 1), ("w", 9)], 1, false),
        ]
    }

    /// The types of the weight and the bias for an input.
    fn weights(&self, x: &TensorTy) -> Result<(TensorTy, TensorTy), OpError> {
        let inputs = elements(x);
        let sized = |dims: &[(&str, usize)]| {
            let extents: Vec<usize> = dims.iter().map(|d| d.1).collect();
            TensorTy::new(dims.iter().copied()).map_err(|_| too_large("dense", &extents))
        };
        Ok((sized(&[("o", self.channels), ("i", inputs)])?, sized(&[("o", self.channels)])?))
    }
}

impl OpRules for Dense {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("out", Attr::Int(self.channels as i64)).with("bias", Attr::Bool(self.bias))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (weight, bias) = self.weights(inputs[0])?;
        let needed = if self.bias { vec![&weight, &bias] } else { vec![&weight] };
        fit_weights(&inputs[1..], &needed)?;
        let ty = TensorTy::new([("n", inputs[0].n()), ("c", self.channels)])
            .map_err(|_| too_large("dense", &[inputs[0].n(), self.channels]))?;
        Ok(Inferred { ty, why: vec![Why::same(0, 0), Why::given(format!("channels {}", self.channels))] })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, w) = (at.inputs[0], at.inputs[1]);
        at.each(|i| {
            Ok(Some(match i {
                0 => e.op(DenseGrad::by_input(&e.ty(x).clone()).into(), &[at.dy, w])?,
                1 => e.op(DenseGrad::Weight.into(), &[x, at.dy])?,
                _ => e.sum_channels(at.dy, "o")?,
            }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, w) = (inputs[0], inputs[1]);
        let k = w.dims[1];
        Array::from_fn(out.dims(), |at| {
            let (row, sample) = (&w.data[at[1] * k..][..k], &x.data[at[0] * k..][..k]);
            let sum: f64 = row.iter().zip(sample).map(|(w, x)| w * x).sum();
            sum + inputs.get(2).map_or(0.0, |b| b.data[at[1]])
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        let sum: Vec<(String, usize)> =
            x.names()[1..].iter().zip(&x.dims()[1..]).map(|(n, d)| (format!("i{n}"), *d)).collect();
        cx.nested(LoopKind::Free, &[("n", x.n()), ("o", self.channels)], |cx, vars| {
            let (n, o) = (Affine::from(vars[0]), Affine::from(vars[1]));
            let acc = cx.b.let_(0.0);
            // In the order of the weights, so that they stream through once.
            serial(cx, &sum, |cx, at| {
                let i = at.iter().zip(&sum).fold(Affine::k(0), |i, (v, (_, d))| &(&i * *d as i64) + v);
                let mut from = vec![n.clone()];
                from.extend_from_slice(at);
                let product = Expr::fma(cx.load(0, &from), cx.load(1, &[o.clone(), i]), acc.into());
                cx.b.set(acc, product);
            });
            let mut value = Expr::Reg(acc);
            if self.bias {
                value = value + cx.load(2, std::slice::from_ref(&o));
            }
            cx.store(&[n, o], value);
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        let mut wants = Wants::any(inputs.len());
        wants.inputs[1] = Want::Order(vec![1, 0]);
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        match TensorTy::new([("o", self.channels)]) {
            Ok(bias_ty) => Role::Linear(Box::new(Linear {
                weight: 1,
                channel: WeightChannel::dim(0),
                bias: self.bias.then_some(2),
                biased: Self { bias: true, ..self.clone() }.into(),
                bias_ty,
            })),
            Err(_) => Role::Plain,
        }
    }

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let outputs = out.len() as u64;
        let macs = outputs.saturating_mul(elements(inputs[0]) as u64);
        let first = if self.bias { 0 } else { outputs };
        Cost { macs, flops: macs.saturating_mul(2).saturating_sub(first) }
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}
