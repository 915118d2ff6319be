//! Functions that exporters write out, one again: hard-swish and its gate, `silu`, GELU.

use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::value::{Val, Value};
use crate::graph::{Def, ValueId};
use crate::ops::Op;
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::pointwise::{Pointwise, PointwiseFn};
use crate::ops::unary::{Unary, UnaryFn};

/// The operation that makes a value, with its operands.
fn made_by(cx: &Importer, id: ValueId) -> Option<(&Op, &[ValueId])> {
    match &cx.graph.value(id).def {
        Def::Op { op, inputs } => Some((op, inputs)),
        Def::Input(_) | Def::Param { .. } | Def::Const(_) => None,
    }
}

/// The function that a product of a value with a function of it is: `x sigmoid(x)`, `x hard_sigmoid(x)`.
fn gated(cx: &Importer, x: ValueId, gate: ValueId) -> Option<UnaryFn> {
    match made_by(cx, gate)? {
        (Op::Unary(Unary { f: UnaryFn::Sigmoid, .. }), [of]) if *of == x => Some(UnaryFn::Silu),
        (Op::Unary(Unary { f: UnaryFn::HardSigmoid, .. }), [of]) if *of == x => Some(UnaryFn::HardSwish),
        _ => None,
    }
}

/// The `x` of `x * clip(x + 3, 0, 6)`, which a sixth of makes hard-swish.
fn six_swish(cx: &Importer, id: ValueId) -> Option<ValueId> {
    let (Op::Binary(Binary { f: BinaryFn::Mul, number: None }), [a, b]) = made_by(cx, id)? else {
        return None;
    };
    let gate = |x: ValueId, gate: ValueId| clipped(cx, gate).filter(|of| *of == x);
    gate(*a, *b).or_else(|| gate(*b, *a))
}

/// The `x` of `clip(x + 3, 0, 6)`.
fn clipped(cx: &Importer, id: ValueId) -> Option<ValueId> {
    let (Op::Unary(Unary { f: UnaryFn::Clip, args }), [sum]) = made_by(cx, id)? else { return None };
    let (Op::Binary(Binary { f: BinaryFn::Add, number: Some(number) }), [of]) = made_by(cx, *sum)? else {
        return None;
    };
    let three = matches!(number, Number::Right(3.0) | Number::Left(3.0));
    (*args == [0.0, 6.0] && three).then_some(*of)
}

/// The factors of a product: numbers, one value, and one plus the error function of a value over the root of 2.
#[derive(Clone, Copy, Default)]
struct Factors {
    number: f64,
    value: Option<ValueId>,
    gate: Option<ValueId>,
}

/// The factors of a value; `None` for more of one kind than a GELU has.
fn factors(cx: &Importer, id: ValueId, depth: usize) -> Option<Factors> {
    let leaf = Factors { number: 1.0, value: Some(id), gate: None };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    match made_by(cx, id) {
        Some((Op::Binary(Binary { f: BinaryFn::Mul, number: Some(n) }), [of])) if depth > 0 => {
            let (Number::Left(k) | Number::Right(k)) = *n;
            let inner = factors(cx, *of, depth - 1)?;
            Some(Factors { number: inner.number * f64::from(k), ..inner })
        }
        Some((Op::Binary(Binary { f: BinaryFn::Mul, number: None }), [a, b])) if depth > 0 => {
            product(factors(cx, *a, depth - 1)?, factors(cx, *b, depth - 1)?)
        }
        Some((
            Op::Binary(Binary { f: BinaryFn::Add, number: Some(Number::Left(1.0) | Number::Right(1.0)) }),
            [sum],
        )) => {
            let Some((Op::Pointwise(Pointwise { f: PointwiseFn::Erf }), [scaled])) = made_by(cx, *sum) else {
                return Some(leaf);
            };
            let root = std::f64::consts::SQRT_2;
            match made_by(cx, *scaled) {
                Some((Op::Binary(Binary { f: BinaryFn::Div, number: Some(Number::Right(k)) }), [of]))
                    if near(f64::from(*k), root) =>
                {
                    Some(Factors { number: 1.0, value: None, gate: Some(*of) })
                }
                Some((
                    Op::Binary(Binary { f: BinaryFn::Mul, number: Some(Number::Right(k) | Number::Left(k)) }),
                    [of],
                )) if near(f64::from(*k), 1.0 / root) => {
                    Some(Factors { number: 1.0, value: None, gate: Some(*of) })
                }
                _ => Some(leaf),
            }
        }
        _ => Some(leaf),
    }
}

/// All factors of two products.
fn product(a: Factors, b: Factors) -> Option<Factors> {
    let one = |a: Option<ValueId>, b: Option<ValueId>| match (a, b) {
        (Some(_), Some(_)) => None,
        (a, b) => Some(a.or(b)),
    };
    let number = a.number * b.number;
    Some(Factors { number, value: one(a.value, b.value)?, gate: one(a.gate, b.gate)? })
}

/// The `x` of `x (1 + erf(x / sqrt(2))) / 2`.
fn gelu(all: Factors) -> Option<ValueId> {
    let half = (all.number - 0.5).abs() < 1e-6;
    all.value.filter(|x| half && all.gate == Some(*x))
}

/// What exporters write out of hard-swish, its gate, the sigmoid-weighted unit and GELU, as one function again.
pub(super) fn recognised(
    cx: &mut Importer,
    f: BinaryFn,
    a: &Value,
    b: &Value,
) -> Result<Option<Value>, String> {
    let (x, function) = match (f, a, b) {
        (BinaryFn::Mul, Value::Graph(x), Value::Graph(gate))
            if x.axes == gate.axes && x.dims == gate.dims =>
        {
            let whole = || product(factors(cx, x.id, 2)?, factors(cx, gate.id, 2)?);
            match (gated(cx, x.id, gate.id), gated(cx, gate.id, x.id)) {
                (Some(function), _) => (x.clone(), function),
                (None, Some(function)) => (gate.clone(), function),
                (None, None) => match whole().and_then(gelu) {
                    Some(of) => (Val { id: of, ..x.clone() }, UnaryFn::Gelu),
                    None => return Ok(None),
                },
            }
        }
        (BinaryFn::Mul | BinaryFn::Div, Value::Graph(v), Value::Host(h)) if h.dims.len() <= v.dims.len() => {
            let by = h.scalar().map(|s| if f == BinaryFn::Div { 1.0 / s } else { s });
            let sixth = by.is_some_and(|by| (by - 1.0 / 6.0).abs() < 1e-7);
            let scaled = || {
                let all = factors(cx, v.id, 2)?;
                Some(Factors { number: all.number * by?, ..all })
            };
            let found = match (six_swish(cx, v.id).filter(|_| sixth), clipped(cx, v.id).filter(|_| sixth)) {
                (Some(x), _) => Some((x, UnaryFn::HardSwish)),
                (None, Some(x)) => Some((x, UnaryFn::HardSigmoid)),
                (None, None) => scaled().and_then(gelu).map(|x| (x, UnaryFn::Gelu)),
            };
            match found {
                Some((x, function)) => (Val { id: x, ..v.clone() }, function),
                None => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    let y = cx.op(Unary::of(function), &[x.id])?;
    Ok(Some(Value::Graph(cx.like(&x, y))))
}
