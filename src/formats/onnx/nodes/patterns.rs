//! Functions that exporters write out, one again: hard-swish and its gate, `silu`, both GELUs, division by the length of the
//! channels, and normalisations whose scale and shift stand behind them.

use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::value::{Val, Value};
use crate::graph::{Def, ValueId};
use crate::ops::Op;
use crate::ops::aggregate::{Aggregate, AggregateFn};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::l2norm::L2Norm;
use crate::ops::norm::Norm;
use crate::ops::pointwise::{Pointwise, PointwiseFn};
use crate::ops::refold::Refold;
use crate::ops::unary::{Unary, UnaryFn};
use crate::support::Name;
use crate::tensor::ty::TensorTy;

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

/// A value as a polynomial of `x` up to the third power.
fn polynomial(cx: &Importer, id: ValueId, x: ValueId, depth: usize) -> Option<[f64; 4]> {
    if id == x {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    let depth = depth.checked_sub(1)?;
    let (Op::Binary(Binary { f, number }), operands) = made_by(cx, id)? else { return None };
    let a = polynomial(cx, *operands.first()?, x, depth)?;
    let b = match (number, operands) {
        (Some(Number::Left(k) | Number::Right(k)), _) => [f64::from(*k), 0.0, 0.0, 0.0],
        (None, [_]) => a,
        (None, [_, b]) => polynomial(cx, *b, x, depth)?,
        (None, _) => return None,
    };
    match f {
        BinaryFn::Add => Some([0, 1, 2, 3].map(|i| a[i] + b[i])),
        BinaryFn::Mul => {
            let mut out = [0.0; 4];
            for (i, j) in
                (0..4).flat_map(|i| (0..4).map(move |j| (i, j))).filter(|(i, j)| a[*i] * b[*j] != 0.0)
            {
                *out.get_mut(i + j)? += a[i] * b[j];
            }
            Some(out)
        }
        BinaryFn::Sub | BinaryFn::Div | BinaryFn::Max | BinaryFn::Min => None,
    }
}

/// The `x` of `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, from the products of two values.
fn gelu_tanh(cx: &Importer, sides: &[ValueId], scale: f64) -> Option<ValueId> {
    let mut number = scale;
    let (mut value, mut gate) = (None, None);
    let mut open: Vec<(ValueId, usize)> = sides.iter().map(|s| (*s, 0)).collect();
    while let Some((id, depth)) = open.pop() {
        match made_by(cx, id) {
            Some((Op::Binary(Binary { f: BinaryFn::Mul, number: Some(k) }), [of])) if depth < 3 => {
                let (Number::Left(k) | Number::Right(k)) = *k;
                number *= f64::from(k);
                open.push((*of, depth + 1));
            }
            Some((
                Op::Binary(Binary { f: BinaryFn::Add, number: Some(Number::Left(1.0) | Number::Right(1.0)) }),
                [t],
            )) if gate.is_none()
                && matches!(made_by(cx, *t), Some((Op::Unary(Unary { f: UnaryFn::Tanh, .. }), _))) =>
            {
                gate = made_by(cx, *t).and_then(|(_, of)| of.first().copied());
            }
            Some((Op::Binary(Binary { f: BinaryFn::Mul, number: None }), [a, b])) if depth < 3 && a != b => {
                open.extend([(*a, depth + 1), (*b, depth + 1)]);
            }
            _ if value.is_none() => value = Some(id),
            _ => return None,
        }
    }
    let (x, gate) = (value?, gate?);
    let inner = polynomial(cx, gate, x, 8)?;
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let wanted = [0.0, root, 0.0, root * 0.044715];
    let near = inner.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6) && (number - 0.5).abs() < 1e-6;
    near.then_some(x)
}

/// The `x` and the least length of `x / max(|x|, least)`, the length being that of the channels.
fn length(cx: &Importer, x: ValueId, by: ValueId) -> Option<f32> {
    // Through what only shows it everywhere.
    let by = match made_by(cx, by) {
        Some((Op::Upsample(_), [of])) => *of,
        Some((Op::Arrange(a), [of])) if a.is_broadcast(&cx.graph.value(*of).ty) => *of,
        Some(_) | None => by,
    };
    let (least, of) = match made_by(cx, by)? {
        (Op::Binary(Binary { f: BinaryFn::Max, number: Some(Number::Left(k) | Number::Right(k)) }), [of]) => {
            (*k, *of)
        }
        (Op::Unary(Unary { f: UnaryFn::Clip, args: [lo, hi] }), [of]) if *hi >= f32::MAX => (*lo, *of),
        _ => return None,
    };
    let (Op::Aggregate(Aggregate { f: AggregateFn::L2, dims }), [from]) = made_by(cx, of)? else {
        return None;
    };
    (*dims == [1] && *from == x && least > 0.0).then_some(least)
}

/// The normalisation without weights that a value is, its operand, and the scale that it has been multiplied by.
fn scaled_norm(cx: &Importer, id: ValueId) -> Option<(Norm, ValueId, ValueId)> {
    let (Op::Binary(Binary { f: BinaryFn::Mul, number: None }), [a, b]) = made_by(cx, id)? else {
        return None;
    };
    for (norm, scale) in [(*a, *b), (*b, *a)] {
        // Exporters fold groups back behind the normalisation, which is nothing here.
        if let Some((Op::Norm(op), [x])) = made_by(cx, norm) {
            return Some((op.clone(), *x, scale));
        }
    }
    None
}

/// A scale and a shift of each channel behind a normalisation without any: its own.
fn affine_norm(cx: &mut Importer, v: &Val, shift: &Host) -> Result<Option<Value>, String> {
    let ty = cx.graph.value(v.id).ty.clone();
    if cx.is_scratch() || !ty.is_activation() {
        return Ok(None);
    }
    let c = ty.c();
    let per_channel = |dims: &[usize]| {
        let skip = v.rank().checked_sub(dims.len());
        skip.is_some_and(|skip| {
            dims.iter().enumerate().all(|(i, d)| *d == 1 || (v.axes[i + skip] == Some(1) && *d == c))
        })
    };
    let Some((norm, x, scale)) = scaled_norm(cx, v.id) else { return Ok(None) };
    let own = &cx.graph.value(scale).ty;
    let lone = own.len() == c && (own.dims().len() == 1 || (own.dims()[0] == 1 && own.dims()[1] == c));
    let weight = matches!(cx.graph.value(scale).def, Def::Param { .. })
        || matches!(made_by(cx, scale), Some((Op::Refold(_), [of])) if matches!(cx.graph.value(*of).def, Def::Param { .. }));
    if !(lone && weight && shift.len() == c && c > 1 && per_channel(&shift.dims)) {
        return Ok(None);
    }
    let to: Vec<(Name, usize)> = vec![("c".into(), c)];
    let ty = TensorTy::new([("c", c)]).map_err(|_| "a tensor of more elements than memory holds")?;
    let scale = if cx.graph.value(scale).ty == ty { scale } else { cx.op(Refold { to }, &[scale])? };
    let shift = Host { dims: vec![c], ..shift.clone() };
    let shift = cx.weight(&shift, ty, true)?;
    let y = cx.op(norm, &[x, scale, shift])?;
    Ok(Some(Value::Graph(cx.like(v, y))))
}

/// What exporters write out of hard-swish, its gate, the sigmoid-weighted unit and GELU, as one function again.
pub(super) fn recognised(
    cx: &mut Importer,
    f: BinaryFn,
    a: &Value,
    b: &Value,
) -> Result<Option<Value>, String> {
    if let (BinaryFn::Add, Value::Graph(v), Value::Host(h))
    | (BinaryFn::Add, Value::Host(h), Value::Graph(v)) = (f, a, b)
    {
        return affine_norm(cx, v, h);
    }
    if let (BinaryFn::Div, Value::Graph(x), Value::Graph(by)) = (f, a, b)
        && cx.graph.value(x.id).ty.is_activation()
        && x.rank() == by.rank()
        && (0..x.rank()).all(|a| by.dims[a] == 1 || by.axes[a] == x.axes[a])
        && let Some(eps) = length(cx, x.id, by.id)
    {
        let y = cx.op(L2Norm { eps }, &[x.id])?;
        return Ok(Some(Value::Graph(cx.like(x, y))));
    }
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
                    None => match gelu_tanh(cx, &[x.id, gate.id], 1.0) {
                        Some(of) => (Val { id: of, ..x.clone() }, UnaryFn::GeluTanh),
                        None => return Ok(None),
                    },
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
                (None, None) => scaled().and_then(gelu).map(|x| (x, UnaryFn::Gelu)).or_else(|| {
                    let of = gelu_tanh(cx, &[v.id], by.filter(|by| (by - 0.5).abs() < 1e-6)?)?;
                    Some((of, UnaryFn::GeluTanh))
                }),
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
