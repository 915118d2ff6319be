//! Elementwise operations on one operand.

use super::binary::{bounded, number};
use super::composed::Build;
use super::quantize::narrowed;
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::{Data, Host};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::{Dtype, Elem};
use crate::formats::onnx::value::{Val, Value};
use crate::ops::Op;
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::identity::Identity;
use crate::ops::pointwise::{Pointwise, PointwiseFn};
use crate::ops::unary::{Unary, UnaryFn};

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let result = match at.node.op_type.as_str() {
        "Cast" => cast(cx, at, x),
        "CastLike" => cast_like(cx, at, x),
        "Clip" => clip(cx, at, x),
        "Dropout" => return Some(dropout(cx, at, x)),
        op => match function(op, at)? {
            Ok(steps) => chain(cx, x, &steps),
            Err(e) => Err(e),
        },
    };
    Some(result.map(|v| vec![v]))
}

/// One elementwise step; `Twice` applies `f` to the value and the operand the chain began with.
enum Step {
    Op(Op),
    Twice(BinaryFn),
    Truth(PointwiseFn),
}

fn unary(f: UnaryFn, args: &[f32]) -> Op {
    let mut op = Unary::of(f);
    op.args[..args.len()].copy_from_slice(args);
    op.into()
}

fn with(f: BinaryFn, number: Number) -> Step {
    Step::Op(Binary::with(f, number).into())
}

/// The steps that an operation of one operand is.
fn function(op: &str, at: &At<'_>) -> Option<Result<Vec<Step>, String>> {
    let one = |f, args: &[f32]| Ok(vec![Step::Op(unary(f, args))]);
    let plain = |f| one(f, &[]);
    let point = |f| Ok(vec![Step::Op(Pointwise { f }.into())]);
    let alpha = |default| at.float("alpha", default);
    Some(match op {
        "Abs" => plain(UnaryFn::Abs),
        "Exp" => plain(UnaryFn::Exp),
        "Log" => plain(UnaryFn::Log),
        "Neg" => plain(UnaryFn::Neg),
        "Relu" => plain(UnaryFn::Relu),
        "Sigmoid" => plain(UnaryFn::Sigmoid),
        "Softplus" => plain(UnaryFn::Softplus),
        "Sqrt" => plain(UnaryFn::Sqrt),
        "Tanh" => plain(UnaryFn::Tanh),
        "HardSwish" => plain(UnaryFn::HardSwish),
        "Floor" => point(PointwiseFn::Floor),
        "Ceil" => point(PointwiseFn::Ceil),
        "Round" => point(PointwiseFn::Round),
        "Sign" => point(PointwiseFn::Sign),
        "Erf" => point(PointwiseFn::Erf),
        "Not" => Ok(vec![Step::Truth(PointwiseFn::Not)]),
        "IsNaN" => Ok(vec![Step::Truth(PointwiseFn::IsNan)]),
        "LeakyRelu" => alpha(0.01).and_then(|a| one(UnaryFn::LeakyRelu, &[a])),
        "Elu" => alpha(1.0).and_then(|a| one(UnaryFn::Elu, &[a])),
        "HardSigmoid" => hard_sigmoid(at),
        "Selu" => selu(at),
        // alpha * elu(x / alpha)
        "Celu" => alpha(1.0).map(|a| {
            let scaled = with(BinaryFn::Div, Number::Right(a));
            vec![scaled, Step::Op(unary(UnaryFn::Elu, &[1.0])), with(BinaryFn::Mul, Number::Right(a))]
        }),
        "Gelu" => at.text("approximate", "none").and_then(|a| match a {
            "none" => plain(UnaryFn::Gelu),
            "tanh" => plain(UnaryFn::GeluTanh),
            other => Err(format!("`approximate` {other}")),
        }),
        "Mish" => Ok(vec![
            Step::Op(unary(UnaryFn::Softplus, &[])),
            Step::Op(unary(UnaryFn::Tanh, &[])),
            Step::Twice(BinaryFn::Mul),
        ]),
        "Swish" => alpha(1.0).map(|a| {
            let scaled = with(BinaryFn::Mul, Number::Right(a));
            vec![scaled, Step::Op(unary(UnaryFn::Sigmoid, &[])), Step::Twice(BinaryFn::Mul)]
        }),
        "Reciprocal" => Ok(vec![with(BinaryFn::Div, Number::Left(1.0))]),
        // x / (1 + |x|)
        "Softsign" => Ok(vec![
            Step::Op(unary(UnaryFn::Abs, &[])),
            with(BinaryFn::Add, Number::Right(1.0)),
            with(BinaryFn::Div, Number::Left(1.0)),
            Step::Twice(BinaryFn::Mul),
        ]),
        "ThresholdedRelu" => alpha(1.0).map(|a| {
            // x where sign(x - a) is 1
            vec![
                with(BinaryFn::Sub, Number::Right(a)),
                Step::Op(Pointwise { f: PointwiseFn::Sign }.into()),
                with(BinaryFn::Max, Number::Right(0.0)),
                Step::Twice(BinaryFn::Mul),
            ]
        }),
        _ => return None,
    })
}

fn hard_sigmoid(at: &At<'_>) -> Result<Vec<Step>, String> {
    let (alpha, beta) = (at.float("alpha", 0.2)?, at.float("beta", 0.5)?);
    // The language's function has the slope 1/6.
    if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 {
        return Ok(vec![Step::Op(unary(UnaryFn::HardSigmoid, &[]))]);
    }
    let clip = unary(UnaryFn::Clip, &[0.0, 1.0]);
    Ok(vec![
        with(BinaryFn::Mul, Number::Right(alpha)),
        with(BinaryFn::Add, Number::Right(beta)),
        Step::Op(clip),
    ])
}

fn selu(at: &At<'_>) -> Result<Vec<Step>, String> {
    let (alpha, gamma) = (at.float("alpha", 1.673_263_2)?, at.float("gamma", 1.050_701)?);
    if (alpha - 1.673_263_2).abs() < 1e-6 && (gamma - 1.050_701).abs() < 1e-6 {
        return Ok(vec![Step::Op(unary(UnaryFn::Selu, &[]))]);
    }
    Ok(vec![Step::Op(unary(UnaryFn::Elu, &[alpha])), with(BinaryFn::Mul, Number::Right(gamma))])
}

fn chain(cx: &mut Importer, x: Operands<'_>, steps: &[Step]) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let (mut id, mut elem) = (v.id, v.elem);
    for step in steps {
        id = match step {
            Step::Op(op) => cx.op(op.clone(), &[id])?,
            Step::Twice(f) => cx.op(Binary::of(*f), &[v.id, id])?,
            Step::Truth(f) => {
                elem = Elem::Bool;
                cx.op(Pointwise { f: *f }, &[id])?
            }
        };
    }
    Ok(Value::Graph(Val { elem, ..cx.like(&v, id) }))
}

fn cast(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let to = match at.get("to") {
        // Before operator set 6 the type was a word.
        Some(a) if a.r#type == super::super::proto::kind::STRING => match at.text("to", "")? {
            "BOOL" => Elem::Bool,
            word if word.starts_with("INT") || word.starts_with("UINT") => Elem::Int,
            _ => Elem::Float,
        },
        _ => {
            let number = i32::try_from(at.int("to", 1)?).map_err(|_| "a type that does not exist")?;
            let to = Dtype::of(number).map_err(|e| format!("a cast to {e}"))?;
            if to.is_narrow() {
                let y = converted(cx, need(x, 0)?, to.elem())?;
                return narrowed(&mut Build { cx }, &y, to, at.flag("saturate", true)?);
            }
            to.elem()
        }
    };
    converted(cx, need(x, 0)?, to)
}

fn cast_like(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    if let Value::Host(Host { data: Data::Raw(raw), .. }) = need(x, 1)?
        && raw.dtype.is_narrow()
    {
        let y = converted(cx, need(x, 0)?, raw.dtype.elem())?;
        return narrowed(&mut Build { cx }, &y, raw.dtype, at.flag("saturate", true)?);
    }
    converted(cx, need(x, 0)?, need(x, 1)?.elem())
}

/// The operand with other arithmetic.
fn converted(cx: &mut Importer, x: &Value, to: Elem) -> Result<Value, String> {
    let from = x.elem();
    let f = match (from, to) {
        (Elem::Float, Elem::Int) => Some(PointwiseFn::Trunc),
        (Elem::Float | Elem::Int, Elem::Bool) => Some(PointwiseFn::Not),
        (Elem::Bool, _) | (Elem::Int, Elem::Int | Elem::Float) | (Elem::Float, Elem::Float) => None,
    };
    let Some(f) = f else {
        return Ok(match x {
            Value::Host(h) => Value::Host(Host { elem: to, ..h.clone() }),
            Value::Graph(v) => Value::Graph(Val { elem: to, ..v.clone() }),
        });
    };
    let v = cx.val(x)?;
    let mut id = cx.op(Pointwise { f }, &[v.id])?;
    if f == PointwiseFn::Not {
        id = cx.op(Pointwise { f }, &[id])?;
    }
    Ok(Value::Graph(Val { elem: to, ..cx.like(&v, id) }))
}

fn clip(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let input = need(x, 0)?;
    let inner = |i| opt(x, i).is_none() || number(x, i).is_some();
    let (lo, hi) = if at.opset < 11 {
        (at.float("min", f32::NEG_INFINITY)?, at.float("max", f32::INFINITY)?)
    } else if inner(1) && inner(2) {
        let bound = |i, none: f32| number(x, i).map_or(none, |b| b as f32);
        (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY))
    } else {
        let above = bounded(cx, BinaryFn::Max, input, opt(x, 1))?;
        return bounded(cx, BinaryFn::Min, &above, opt(x, 2));
    };
    // Beyond what floats hold is no bound.
    let lo = if lo <= f32::MIN { f32::NEG_INFINITY } else { lo };
    let hi = if hi >= f32::MAX { f32::INFINITY } else { hi };
    let v = cx.val(input)?;
    let id = match (lo, hi) {
        (f32::NEG_INFINITY, f32::INFINITY) => v.id,
        (0.0, f32::INFINITY) => cx.op(Unary::of(UnaryFn::Relu), &[v.id])?,
        _ if lo > hi => {
            // NumPy's order: the upper bound is applied last.
            let id = cx.op(Binary::with(BinaryFn::Max, Number::Right(lo)), &[v.id])?;
            cx.op(Binary::with(BinaryFn::Min, Number::Right(hi)), &[id])?
        }
        _ => cx.op(unary(UnaryFn::Clip, &[lo, hi]), &[v.id])?,
    };
    Ok(Value::Graph(cx.like(&v, id)))
}

/// Outside of training the input, and a mask of ones.
fn dropout(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let input = need(x, 0)?;
    let mut out = vec![input.clone()];
    if cx.training && matches!(input, Value::Graph(_)) {
        let rate = match at.opset {
            ..12 => at.float("ratio", 0.5)?,
            _ => number(x, 1).unwrap_or(0.5) as f32,
        };
        if !(0.0..1.0).contains(&rate) {
            return Err(format!("a ratio of {rate}, which is not at least 0 and less than 1"));
        }
        let v = cx.val(input)?;
        let id = cx.op(Identity::Dropout { rate }, &[v.id])?;
        out[0] = Value::Graph(cx.like(&v, id));
    } else if at.opset >= 12 && matches!(opt(x, 2), Some(Value::Graph(_))) {
        return Err("whether it is for training depends on the input".into());
    }
    if !cx.training && at.opset >= 12 && number(x, 2).is_some_and(|t| t != 0.0) {
        let all_kept = number(x, 1).is_some_and(|ratio| ratio == 0.0);
        if !all_kept {
            return Err("`training_mode` is on; export the model for inference".into());
        }
    }
    if at.wants(1) {
        let v = cx.val(input)?;
        let nan = cx.op(Pointwise { f: PointwiseFn::Equal }, &[v.id, v.id])?;
        let none = cx.op(Binary::with(BinaryFn::Max, Number::Right(1.0)), &[nan])?;
        out.push(Value::Graph(Val { elem: Elem::Bool, ..cx.like(&v, none) }));
    }
    Ok(out)
}
