//! Elementwise operations on several operands, with NumPy's broadcasting.
//!
//! The operand with the most elements leads: the others come to its dimensions, so that a tensor that is held as channels on
//! a grid, in whatever order, stays as it is.

use super::patterns;
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Val, Value, activation, general, grid_names};
use crate::graph::ValueId;
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::pointwise::{Pointwise, PointwiseFn};
use crate::ops::prelu::PRelu;
use crate::ops::unary::{Unary, UnaryFn};
use crate::tensor::ty::TensorTy;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let result = match at.node.op_type.as_str() {
        "Add" => pair(cx, at, x, BinaryFn::Add),
        "Sub" => pair(cx, at, x, BinaryFn::Sub),
        "Mul" => pair(cx, at, x, BinaryFn::Mul),
        "Div" => divide(cx, at, x),
        "Sum" => many(cx, x, BinaryFn::Add),
        "Max" => many(cx, x, BinaryFn::Max),
        "Min" => many(cx, x, BinaryFn::Min),
        "Mean" => mean(cx, x),
        "Pow" => power(cx, at, x),
        "PRelu" => prelu(cx, x),
        "Mod" => {
            let f = at.flag("fmod", false).map(|f| if f { PointwiseFn::Fmod } else { PointwiseFn::Mod });
            f.and_then(|f| compared(cx, at, x, f, None))
        }
        "Equal" => compared(cx, at, x, PointwiseFn::Equal, Some(Elem::Bool)),
        "Greater" => compared(cx, at, x, PointwiseFn::Greater, Some(Elem::Bool)),
        "GreaterOrEqual" => compared(cx, at, x, PointwiseFn::GreaterEqual, Some(Elem::Bool)),
        "Less" => compared(cx, at, x, PointwiseFn::Less, Some(Elem::Bool)),
        "LessOrEqual" => compared(cx, at, x, PointwiseFn::LessEqual, Some(Elem::Bool)),
        "And" => compared(cx, at, x, PointwiseFn::And, Some(Elem::Bool)),
        "Or" => compared(cx, at, x, PointwiseFn::Or, Some(Elem::Bool)),
        "Xor" => compared(cx, at, x, PointwiseFn::Xor, Some(Elem::Bool)),
        "Where" => choice(cx, x),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

/// The extents that all operands broadcast to.
pub(super) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (slot, d) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*slot, *d) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *slot = b,
                _ => return Err(format!("shapes {shapes:?} do not broadcast")),
            }
        }
    }
    Ok(out)
}

/// Operands brought to one set of dimensions, and how the result is seen.
struct Aligned {
    ids: Vec<ValueId>,
    lead: Val,
}

/// Brings operands together. `channels`: a weight with one number for each channel stays `[c]`, and a tensor whose grid is
/// gone may meet one on a grid.
fn align(cx: &mut Importer, operands: &[&Value], channels: bool) -> Result<Aligned, String> {
    let shapes: Vec<&[usize]> = operands.iter().map(|v| v.dims()).collect();
    let out = broadcast(&shapes)?;
    let size = |v: &Value| (matches!(v, Value::Graph(_)), v.dims().iter().product::<usize>(), v.dims().len());
    let mut leader = 0;
    for i in 1..operands.len() {
        if size(operands[i]) > size(operands[leader]) {
            leader = i;
        }
    }
    let lead = cx.val(operands[leader])?;
    let lead = lead_for(cx, &lead, &out)?;
    let mut ids = Vec::new();
    for (i, operand) in operands.iter().enumerate() {
        ids.push(if i == leader { lead.id } else { meeting(cx, operand, &lead, channels)? });
    }
    Ok(Aligned { ids, lead })
}

/// The leading operand with as many dimensions as the result, each that grows being there.
fn lead_for(cx: &mut Importer, lead: &Val, out: &[usize]) -> Result<Val, String> {
    let mut dims = vec![1; out.len() - lead.rank()];
    dims.extend(&lead.dims);
    let grows = |a: usize, v: &Val| v.axes[a].is_none() && out[a] != 1;
    let lead = lead.refitted(&dims).ok_or("a leading dimension")?;
    let small =
        cx.graph.value(lead.id).ty.dims().len() < out.len() && (0..out.len()).any(|a| grows(a, &lead));
    if small || (0..out.len()).any(|a| grows(a, &lead)) {
        let act = cx.graph.value(lead.id).ty.is_activation() && grid_names(out.len()).is_some();
        let to = if act { activation(&dims)? } else { general(&dims)? };
        let id = cx.cast(&lead, &to)?;
        return Ok(cx.plain(id, lead.elem));
    }
    Ok(lead)
}

/// An operand with the dimensions of the leading one.
fn meeting(cx: &mut Importer, operand: &Value, lead: &Val, channels: bool) -> Result<ValueId, String> {
    let ty = cx.graph.value(lead.id).ty.clone();
    let skip = lead.rank() - operand.dims().len();
    // For each of the leading value's dimensions, the operand's axis and extent.
    let mut extents = vec![1; ty.dims().len()];
    let mut axes = vec![None; ty.dims().len()];
    for (a, d) in operand.dims().iter().enumerate() {
        if let Some(place) = lead.axes[a + skip] {
            extents[place] = *d;
            axes[place] = Some(a);
        }
    }
    let to =
        TensorTy::new(ty.names().iter().zip(extents.iter().copied())).map_err(|_| "a tensor too large")?;
    match operand {
        Value::Host(h) => known(cx, h, &to, &axes, channels),
        Value::Graph(v) => {
            let own = cx.graph.value(v.id).ty.clone();
            let placed = |d: usize| axes[d].and_then(|a| v.axes[a]);
            let covers =
                |d: usize| placed(d) == Some(d) || (to.dims()[d] == 1 && own.dims().get(d) == Some(&1));
            let same =
                own.names() == to.names() && (0..to.dims().len()).all(covers) && own.dims() == to.dims();
            let flat = channels && ty.is_activation() && own.is_activation() && own.rank() == 0;
            let gated = flat
                && placed(0) == Some(0)
                && placed(1) == Some(1)
                && to.dims()[2..].iter().all(|d| *d == 1);
            if same || gated {
                return Ok(v.id);
            }
            let from = (0..own.dims().len())
                .map(|d| axes.iter().position(|a| a.is_some_and(|a| v.axes[a] == Some(d))))
                .map(|place| place.map_or(Pick::fixed(0), Pick::same))
                .collect();
            cx.op(Arrange { to: super::super::value::named(&to), from }, &[v.id])
        }
    }
}

/// A known operand with the leading one's dimensions.
fn known(
    cx: &mut Importer,
    host: &Host,
    to: &TensorTy,
    axes: &[Option<usize>],
    channels: bool,
) -> Result<ValueId, String> {
    let only_channels = to.is_activation() && to.dims().iter().enumerate().all(|(d, e)| d == 1 || *e == 1);
    if channels && only_channels {
        let c = TensorTy::new([("c", to.c())]).map_err(|_| "too many channels")?;
        return cx.weight(host, c, true);
    }
    let mut places = axes.iter().zip(to.dims()).filter(|(_, e)| **e != 1).map(|(a, _)| *a);
    let mut last = None;
    let ordered = places.all(|a| {
        let after = a > last;
        last = a;
        after
    });
    if ordered {
        return cx.weight(host, to.clone(), true);
    }
    let id = cx.weight(host, general(&host.dims)?, true)?;
    let from = (0..host.dims.len())
        .map(|a| axes.iter().position(|p| *p == Some(a)).map_or(Pick::fixed(0), Pick::same))
        .collect();
    cx.op(Arrange { to: super::super::value::named(to), from }, &[id])
}

/// `f` of two operands.
pub(super) fn arithmetic(cx: &mut Importer, f: BinaryFn, a: &Value, b: &Value) -> Result<Value, String> {
    if let Some(value) = patterns::recognised(cx, f, a, b)? {
        return Ok(value);
    }
    let number = |cx: &Importer, side: &Value, other: &Value| match side {
        Value::Host(h) if !cx.is_scratch() && h.len() == 1 && h.dims.len() <= other.dims().len() => {
            h.scalar()
        }
        Value::Host(_) | Value::Graph(_) => None,
    };
    let elem = if a.elem() == Elem::Bool { b.elem() } else { a.elem() };
    for (side, other, left) in [(b, a, false), (a, b, true)] {
        let Value::Graph(v) = other else { continue };
        if let Some(x) = number(cx, side, other) {
            let x = x as f32;
            let y = match f {
                BinaryFn::Add | BinaryFn::Mul | BinaryFn::Max | BinaryFn::Min => {
                    Binary::with(f, Number::Right(x))
                }
                BinaryFn::Sub | BinaryFn::Div if left => Binary::with(f, Number::Left(x)),
                BinaryFn::Sub | BinaryFn::Div => Binary::with(f, Number::Right(x)),
            };
            let y = cx.op(y, &[v.id])?;
            return Ok(Value::Graph(Val { elem, ..cx.like(v, y) }));
        }
    }
    let Aligned { ids, lead } = align(cx, &[a, b], true)?;
    let y = cx.op(Binary::of(f), &ids)?;
    Ok(Value::Graph(Val { elem, ..cx.like(&lead, y) }))
}

/// Two operands; before operator set 7 the second one's place could be named.
fn pair(cx: &mut Importer, at: &At<'_>, x: Operands<'_>, f: BinaryFn) -> Result<Value, String> {
    let b = old_broadcast(cx, at, need(x, 0)?, need(x, 1)?)?;
    arithmetic(cx, f, need(x, 0)?, &b)
}

/// The right operand as operator sets before 7 place it: along `axis` of the left one.
fn old_broadcast(cx: &mut Importer, at: &At<'_>, a: &Value, b: &Value) -> Result<Value, String> {
    if at.opset >= 7 || at.get("axis").is_none() {
        return Ok(b.clone());
    }
    let axis = crate::formats::onnx::attrs::axis(at.int("axis", -1)?, a.dims().len())?;
    let after =
        a.dims().len().checked_sub(axis + b.dims().len()).ok_or("a right operand of more dimensions")?;
    let mut dims = b.dims().to_vec();
    dims.extend(std::iter::repeat_n(1, after));
    let v = cx.val(b)?;
    cx.refold(&v, &dims).map(Value::Graph)
}

fn divide(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    if need(x, 0)?.elem() == Elem::Int && need(x, 1)?.elem() == Elem::Int {
        return compared(cx, at, x, PointwiseFn::IntDiv, None);
    }
    pair(cx, at, x, BinaryFn::Div)
}

fn many(cx: &mut Importer, x: Operands<'_>, f: BinaryFn) -> Result<Value, String> {
    let mut total = need(x, 0)?.clone();
    for i in 1..x.len() {
        total = arithmetic(cx, f, &total, need(x, i)?)?;
    }
    Ok(total)
}

fn mean(cx: &mut Importer, x: Operands<'_>) -> Result<Value, String> {
    let total = many(cx, x, BinaryFn::Add)?;
    let v = cx.val(&total)?;
    let share = Number::Right(x.len() as f32);
    let y = cx.op(Binary::with(BinaryFn::Div, share), &[v.id])?;
    Ok(Value::Graph(cx.like(&v, y)))
}

/// An operation of [`Pointwise`] on operands of the same dimensions; the result has `elem`, else the first operand's.
fn compared(
    cx: &mut Importer,
    at: &At<'_>,
    x: Operands<'_>,
    f: PointwiseFn,
    elem: Option<Elem>,
) -> Result<Value, String> {
    let b = old_broadcast(cx, at, need(x, 0)?, need(x, 1)?)?;
    let elem = elem.unwrap_or(need(x, 0)?.elem());
    let Aligned { ids, lead } = align(cx, &[need(x, 0)?, &b], false)?;
    let y = cx.op(Pointwise { f }, &ids)?;
    Ok(Value::Graph(Val { elem, ..cx.like(&lead, y) }))
}

fn choice(cx: &mut Importer, x: Operands<'_>) -> Result<Value, String> {
    let elem = need(x, 1)?.elem();
    let Aligned { ids, lead } = align(cx, &[need(x, 0)?, need(x, 1)?, need(x, 2)?], false)?;
    let y = cx.op(Pointwise { f: PointwiseFn::Where }, &ids)?;
    Ok(Value::Graph(Val { elem, ..cx.like(&lead, y) }))
}

/// Powers that are products or roots become these.
fn power(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let (base, exponent) = (need(x, 0)?, need(x, 1)?);
    let plain = |e: &Host| e.dims.len() <= base.dims().len();
    if let (Value::Graph(v), Value::Host(e)) = (base, exponent)
        && plain(e)
        && let Some(e) = e.scalar()
    {
        let square = |cx: &mut Importer, id| cx.op(Binary::of(BinaryFn::Mul), &[id, id]);
        let y = match e {
            1.0 => Some(v.id),
            2.0 => Some(square(cx, v.id)?),
            0.5 => Some(cx.op(Unary::of(UnaryFn::Sqrt), &[v.id])?),
            -1.0 => Some(cx.op(Binary::with(BinaryFn::Div, Number::Left(1.0)), &[v.id])?),
            3.0 => {
                let two = square(cx, v.id)?;
                Some(cx.op(Binary::of(BinaryFn::Mul), &[two, v.id])?)
            }
            _ => None,
        };
        if let Some(y) = y {
            return Ok(Value::Graph(cx.like(v, y)));
        }
    }
    let y = compared(cx, at, x, PointwiseFn::Pow, None)?;
    if base.elem() != Elem::Int {
        return Ok(y);
    }
    let v = cx.val(&y)?;
    let y = cx.op(Pointwise { f: PointwiseFn::Trunc }, &[v.id])?;
    Ok(Value::Graph(cx.like(&v, y)))
}

fn prelu(cx: &mut Importer, x: Operands<'_>) -> Result<Value, String> {
    let (input, slope) = (need(x, 0)?, need(x, 1)?);
    let v = cx.val(input)?;
    // Slopes of one number a channel are `[C, 1, …]`; in old files `[C]`.
    let per_channel = |s: &[usize]| match v.dims.get(1) {
        Some(c) if s == [*c] && v.rank() > 1 && v.dims.last() != Some(c) => true,
        Some(c) => {
            let skip = (v.rank()).saturating_sub(s.len());
            s.len() <= v.rank() && s.iter().enumerate().all(|(a, d)| *d == 1 || (a + skip == 1 && d == c))
        }
        None => false,
    };
    let act = cx.graph.value(v.id).ty.is_activation() && v.axes.get(1) == Some(&Some(1));
    let count: usize = slope.dims().iter().product();
    if per_channel(slope.dims()) && (act || (2..=5).contains(&v.rank())) && matches!(slope, Value::Host(_)) {
        let id = cx.act(&v)?;
        let ty = TensorTy::new([("c", count)]).map_err(|_| "too many channels")?;
        let w = super::conv::weight(cx, slope, &ty)?;
        let y = cx.op(PRelu, &[id, w])?;
        return Ok(Value::Graph(cx.plain(y, v.elem)));
    }
    // max(x, 0) + slope * min(x, 0)
    let above = cx.op(Unary::of(UnaryFn::Relu), &[v.id])?;
    let below = cx.op(Binary::with(BinaryFn::Min, Number::Right(0.0)), &[v.id])?;
    let (above, below) = (Value::Graph(cx.like(&v, above)), Value::Graph(cx.like(&v, below)));
    let below = arithmetic(cx, BinaryFn::Mul, &below, slope)?;
    arithmetic(cx, BinaryFn::Add, &above, &below)
}

/// A bound of `Clip` that is not known.
pub(super) fn bounded(
    cx: &mut Importer,
    f: BinaryFn,
    x: &Value,
    bound: Option<&Value>,
) -> Result<Value, String> {
    match bound {
        None => Ok(x.clone()),
        Some(b) => arithmetic(cx, f, x, b),
    }
}

/// The operand, if it is one known number.
pub(super) fn number(x: Operands<'_>, i: usize) -> Option<f64> {
    match opt(x, i) {
        Some(Value::Host(h)) => h.scalar(),
        Some(Value::Graph(_)) | None => None,
    }
}
