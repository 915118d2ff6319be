//! Elementwise functions, normalisations, softmax, reductions.

use super::build::{Builder, float, int, text};
use crate::graph::ValueId;
use crate::ops::Op;
use crate::ops::aggregate::{Aggregate, AggregateFn};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::lrn::Lrn;
use crate::ops::norm::{Norm, Over};
use crate::ops::pointwise::{Pointwise, PointwiseFn};
use crate::ops::unary::{Unary, UnaryFn};

pub(super) fn write(
    b: &mut Builder<'_>,
    id: ValueId,
    op: &Op,
    x: &[ValueId],
) -> Option<Result<String, String>> {
    let input = b.name(*x.first()?);
    Some(Ok(match op {
        Op::Identity(_) | Op::Copy(_) => b.node("Identity", &[&input], Vec::new()),
        Op::Unary(op) => unary(b, op, &input),
        Op::Binary(op) => binary(b, id, op, x),
        Op::Pointwise(op) => pointwise(b, op, x),
        Op::PRelu(_) => {
            let slope = b.name(x[1]);
            let mut dims = b.ty(x[1]).dims().to_vec();
            dims.resize(b.ty(id).dims().len() - 1, 1);
            let slope = b.reshaped(&slope, &dims);
            b.node("PRelu", &[&input, &slope], Vec::new())
        }
        Op::BatchNorm(op) => {
            let names: Vec<String> = x.iter().map(|id| b.name(*id)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            b.node(
                "BatchNormalization",
                &names,
                vec![float("epsilon", op.eps), float("momentum", 1.0 - op.momentum)],
            )
        }
        Op::Norm(op) => norm(b, op, &input, x),
        Op::Lrn(op) => lrn(b, op, &input, b.ty(id).c()),
        Op::L2Norm(op) => {
            let length = b.reduced("ReduceL2", &input, &[1]);
            let length = b.with("Max", &length, op.eps);
            b.node("Div", &[&input, &length], Vec::new())
        }
        Op::Softmax(op) => {
            let name = if op.log { "LogSoftmax" } else { "Softmax" };
            b.node(name, &[&input], vec![int("axis", 1)])
        }
        Op::Aggregate(op) => aggregate(b, op, &input),
        Op::ArgAxis(op) => {
            let name = if op.least { "ArgMin" } else { "ArgMax" };
            let attrs = vec![
                int("axis", op.dim as i64),
                int("keepdims", 1),
                int("select_last_index", i64::from(op.last)),
            ];
            let at = b.node(name, &[&input], attrs);
            b.as_number(&at)
        }
        _ => return None,
    }))
}

fn unary(b: &mut Builder<'_>, op: &Unary, x: &str) -> String {
    let [first, second] = op.args;
    match op.f {
        UnaryFn::Clip => {
            let (lo, hi) = (b.number(first), b.number(second));
            b.node("Clip", &[x, &lo, &hi], Vec::new())
        }
        UnaryFn::Elu | UnaryFn::LeakyRelu => {
            let name = op.f.row().onnx.unwrap_or("Elu");
            b.node(name, &[x], vec![float("alpha", first)])
        }
        UnaryFn::HardSigmoid => {
            b.node("HardSigmoid", &[x], vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)])
        }
        UnaryFn::HardSwish if b.opset < 14 => {
            let gate = b.node("HardSigmoid", &[x], vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)]);
            b.node("Mul", &[x, &gate], Vec::new())
        }
        UnaryFn::Silu => {
            let gate = b.node("Sigmoid", &[x], Vec::new());
            b.node("Mul", &[x, &gate], Vec::new())
        }
        UnaryFn::Gelu | UnaryFn::GeluTanh if b.opset < 20 => gelu(b, x, op.f == UnaryFn::GeluTanh),
        UnaryFn::GeluTanh => b.node("Gelu", &[x], vec![text("approximate", "tanh")]),
        UnaryFn::Abs
        | UnaryFn::Exp
        | UnaryFn::Gelu
        | UnaryFn::HardSwish
        | UnaryFn::Log
        | UnaryFn::Neg
        | UnaryFn::Relu
        | UnaryFn::Selu
        | UnaryFn::Sigmoid
        | UnaryFn::Softplus
        | UnaryFn::Sqrt
        | UnaryFn::Tanh => b.node(op.f.row().onnx.unwrap_or("Identity"), &[x], Vec::new()),
    }
}

/// `x / 2 (1 + erf(x / sqrt 2))`, or with the hyperbolic tangent.
fn gelu(b: &mut Builder<'_>, x: &str, tanh: bool) -> String {
    let inner = if tanh {
        let square = b.node("Mul", &[x, x], Vec::new());
        let part = b.with("Mul", &square, 0.044_715);
        let part = b.with("Add", &part, 1.0);
        let arg = b.node("Mul", &[x, &part], Vec::new());
        let arg = b.with("Mul", &arg, 0.797_884_6);
        b.node("Tanh", &[&arg], Vec::new())
    } else {
        let arg = b.with("Mul", x, std::f32::consts::FRAC_1_SQRT_2);
        b.node("Erf", &[&arg], Vec::new())
    };
    let gate = b.with("Add", &inner, 1.0);
    let half = b.with("Mul", x, 0.5);
    b.node("Mul", &[&half, &gate], Vec::new())
}

fn binary(b: &mut Builder<'_>, id: ValueId, op: &Binary, x: &[ValueId]) -> String {
    let name = match op.f {
        BinaryFn::Add => "Add",
        BinaryFn::Sub => "Sub",
        BinaryFn::Mul => "Mul",
        BinaryFn::Div => "Div",
        BinaryFn::Max => "Max",
        BinaryFn::Min => "Min",
    };
    if let Some(number) = op.number {
        let input = b.name(x[0]);
        return match number {
            Number::Right(k) => b.with(name, &input, k),
            Number::Left(k) => {
                let k = b.number(k);
                b.node(name, &[&k, &input], Vec::new())
            }
        };
    }
    let out = b.ty(id).clone();
    let mut total = String::new();
    for operand in x {
        let ty = b.ty(*operand).clone();
        let mut next = b.name(*operand);
        if ty.dims().len() < out.dims().len() {
            // Fewer dimensions are the first ones, a weight's behind the batch.
            let mut dims = ty.dims().to_vec();
            let behind = out.is_activation() && !ty.is_activation() && ty.dims().len() == 1;
            dims.resize(out.dims().len() - usize::from(behind), 1);
            next = b.reshaped(&next, &dims);
        }
        total = if total.is_empty() { next } else { b.node(name, &[&total, &next], Vec::new()) };
    }
    total
}

fn pointwise(b: &mut Builder<'_>, op: &Pointwise, x: &[ValueId]) -> String {
    let names: Vec<String> = x.iter().map(|id| b.name(*id)).collect();
    let same: Vec<&str> = names.iter().map(String::as_str).collect();
    let logic = |b: &mut Builder<'_>, op: &str| {
        let truths: Vec<String> = same.iter().map(|x| b.as_truth(x)).collect();
        let truths: Vec<&str> = truths.iter().map(String::as_str).collect();
        let y = b.node(op, &truths, Vec::new());
        b.as_number(&y)
    };
    let compare = |b: &mut Builder<'_>, op: &str| {
        let y = b.node(op, &same, Vec::new());
        b.as_number(&y)
    };
    match op.f {
        PointwiseFn::And => logic(b, "And"),
        PointwiseFn::Or => logic(b, "Or"),
        PointwiseFn::Xor => logic(b, "Xor"),
        PointwiseFn::Not => logic(b, "Not"),
        PointwiseFn::Equal => compare(b, "Equal"),
        PointwiseFn::Greater => compare(b, "Greater"),
        PointwiseFn::GreaterEqual => compare(b, "GreaterOrEqual"),
        PointwiseFn::Less => compare(b, "Less"),
        PointwiseFn::LessEqual => compare(b, "LessOrEqual"),
        PointwiseFn::IsNan => compare(b, "IsNaN"),
        PointwiseFn::Ceil => b.node("Ceil", &same, Vec::new()),
        PointwiseFn::Erf => b.node("Erf", &same, Vec::new()),
        PointwiseFn::Floor => b.node("Floor", &same, Vec::new()),
        PointwiseFn::Round => b.node("Round", &same, Vec::new()),
        PointwiseFn::Sign => b.node("Sign", &same, Vec::new()),
        PointwiseFn::Pow => b.node("Pow", &same, Vec::new()),
        PointwiseFn::Fmod => b.node("Mod", &same, vec![int("fmod", 1)]),
        PointwiseFn::Trunc => truncated(b, same[0]),
        PointwiseFn::IntDiv => {
            let ratio = b.node("Div", &same, Vec::new());
            truncated(b, &ratio)
        }
        PointwiseFn::Mod => {
            let ratio = b.node("Div", &same, Vec::new());
            let whole = b.node("Floor", &[&ratio], Vec::new());
            let part = b.node("Mul", &[same[1], &whole], Vec::new());
            b.node("Sub", &[same[0], &part], Vec::new())
        }
        PointwiseFn::Where => {
            let truth = b.as_truth(same[0]);
            b.node("Where", &[&truth, same[1], same[2]], Vec::new())
        }
    }
}

/// `sign(x) floor(|x|)`
fn truncated(b: &mut Builder<'_>, x: &str) -> String {
    let size = b.node("Abs", &[x], Vec::new());
    let whole = b.node("Floor", &[&size], Vec::new());
    let sign = b.node("Sign", &[x], Vec::new());
    b.node("Mul", &[&sign, &whole], Vec::new())
}

fn norm(b: &mut Builder<'_>, op: &Norm, input: &str, x: &[ValueId]) -> String {
    let ty = b.ty(x[0]).clone();
    let (n, c, rank) = (ty.n(), ty.c(), ty.dims().len());
    let lens: Vec<usize> = x.iter().map(|w| b.ty(*w).len()).collect();
    let sized = |i: usize, len: usize| lens.get(i).is_none_or(|own| *own == len);
    // What the standard has one operation for.
    let direct = match op.over {
        Over::Groups(g) if g == c && rank > 2 && sized(1, c) && sized(2, c) => {
            Some(("InstanceNormalization", c))
        }
        Over::Groups(1) if x.len() == 3 && sized(1, ty.len() / n.max(1)) && b.opset >= 17 && rank > 2 => {
            Some(("LayerNormalization", ty.len() / n.max(1)))
        }
        Over::Groups(_) | Over::Channels => None,
    };
    if let Some((name, len)) = direct {
        let affine = [(1, 1.0), (2, 0.0)].map(|(i, plain)| match x.get(i) {
            Some(w) => b.name(*w),
            None => b.floats(&[len], &vec![plain; len]),
        });
        let mut attrs = vec![float("epsilon", op.eps)];
        if name == "LayerNormalization" {
            attrs.push(int("axis", 1));
        }
        return b.node(name, &[input, &affine[0], &affine[1]], attrs);
    }
    let mut y = match op.over {
        // Channels last, as the standard's operation wants them.
        Over::Channels if b.opset >= 17 => {
            let last: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
            let back: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            let rows = b.transposed(input, last);
            let own = sized(1, c) && sized(2, c);
            let affine = [(1, 1.0), (2, 0.0)].map(|(i, plain)| match x.get(i).filter(|_| own) {
                Some(w) => b.name(*w),
                None => b.floats(&[c], &vec![plain; c]),
            });
            let attrs = vec![int("axis", -1), float("epsilon", op.eps)];
            let rows = b.node("LayerNormalization", &[&rows, &affine[0], &affine[1]], attrs);
            let y = b.transposed(&rows, back);
            if own {
                return y;
            }
            y
        }
        Over::Channels => standardised(b, input, &[1], op.eps),
        // Groups in the place of channels, as PyTorch writes it.
        Over::Groups(g) => {
            let rows = b.reshaped(input, &[n, g, ty.len() / (n * g).max(1)]);
            let (ones, zeros) = (b.floats(&[g], &vec![1.0; g]), b.floats(&[g], &vec![0.0; g]));
            let attrs = vec![float("epsilon", op.eps)];
            let rows = b.node("InstanceNormalization", &[&rows, &ones, &zeros], attrs);
            b.reshaped(&rows, ty.dims())
        }
    };
    for (i, f) in [(1, "Mul"), (2, "Add")] {
        let Some(w) = x.get(i) else { continue };
        let whole = b.ty(*w).dims().len() == rank - 1 && rank > 2;
        let mut dims = if whole { ty.dims().to_vec() } else { vec![1; rank] };
        dims[0] = 1;
        dims[1] = c;
        let w = b.name(*w);
        let w = b.reshaped(&w, &dims);
        y = b.node(f, &[&y, &w], Vec::new());
    }
    y
}

/// `(x - mean) / sqrt(variance + eps)` along axes.
fn standardised(b: &mut Builder<'_>, x: &str, axes: &[usize], eps: f32) -> String {
    let mean = b.reduced("ReduceMean", x, axes);
    let centred = b.node("Sub", &[x, &mean], Vec::new());
    let square = b.node("Mul", &[&centred, &centred], Vec::new());
    let variance = b.reduced("ReduceMean", &square, axes);
    let moved = b.with("Add", &variance, eps);
    let std = b.node("Sqrt", &[&moved], Vec::new());
    b.node("Div", &[&centred, &std], Vec::new())
}

fn lrn(b: &mut Builder<'_>, op: &Lrn, x: &str, channels: usize) -> String {
    let attrs = vec![
        int("size", op.size as i64),
        float("alpha", op.alpha),
        float("beta", op.beta),
        float("bias", op.k),
    ];
    if !op.size.is_multiple_of(2) {
        return b.node("LRN", &[x], attrs);
    }
    // ONNX puts the odd channel of an even window after, this operation before.
    let (last, end) = (channels as i64 - 1, i64::MIN + 1);
    let turned = b.sliced(x, 1, last, end, -1);
    let y = b.node("LRN", &[&turned], attrs);
    b.sliced(&y, 1, last, end, -1)
}

fn aggregate(b: &mut Builder<'_>, op: &Aggregate, x: &str) -> String {
    let name = match op.f {
        AggregateFn::Sum => "ReduceSum",
        AggregateFn::Mean => "ReduceMean",
        AggregateFn::Max => "ReduceMax",
        AggregateFn::Min => "ReduceMin",
        AggregateFn::Prod => "ReduceProd",
        AggregateFn::SumSquare => "ReduceSumSquare",
        AggregateFn::L1 => "ReduceL1",
        AggregateFn::L2 => "ReduceL2",
        AggregateFn::LogSum => "ReduceLogSum",
        AggregateFn::LogSumExp => "ReduceLogSumExp",
    };
    b.reduced(name, x, &op.dims)
}
