//! Normalisations and softmax.

use super::composed::{Build, int, list, number};
use super::conv::weight;
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Val, Value};
use crate::graph::ValueId;
use crate::ops::aggregate::{Aggregate, AggregateFn};
use crate::ops::batchnorm::BatchNorm;
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::flip::Flip;
use crate::ops::l2norm::L2Norm;
use crate::ops::lrn::Lrn;
use crate::ops::norm::{Norm, Over};
use crate::ops::softmax::Softmax;
use crate::ops::unary::{Unary, UnaryFn};
use crate::tensor::ty::TensorTy;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    match at.node.op_type.as_str() {
        "BatchNormalization" => Some(batch(cx, at, x)),
        "InstanceNormalization" => Some(instance(cx, at, x)),
        "GroupNormalization" => Some(group(cx, at, x)),
        "LayerNormalization" => Some(layer(cx, at, x)),
        "RMSNormalization" => Some(rms(cx, at, x)),
        "MeanVarianceNormalization" => Some(mean_variance(cx, at, x)),
        "LpNormalization" => Some(unit(cx, at, x)),
        "LRN" => Some(lrn(cx, at, x)),
        "Softmax" => Some(softmax(cx, at, x, false)),
        "LogSoftmax" => Some(softmax(cx, at, x, true)),
        _ => None,
    }
}

fn per_channel(channels: usize) -> Result<TensorTy, String> {
    TensorTy::new([("c", channels)]).map_err(|_| "too many channels".to_owned())
}

fn batch(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    if at.opset >= 14 && at.flag("training_mode", false)? && !cx.training {
        return batch_statistics(cx, at, x);
    }
    if at.opset < 9 && at.int("spatial", 1)? == 0 {
        return positions(cx, at, x);
    }
    let v = cx.val(need(x, 0)?)?;
    let channels = *v.dims.get(1).ok_or("its input has no channels")?;
    let ty = per_channel(channels)?;
    let mut operands = vec![cx.act(&v)?];
    for i in 1..5 {
        operands.push(statistic(cx, need(x, i)?, &ty, i < 3)?);
    }
    let momentum = 1.0 - at.float("momentum", 0.9)?;
    let y = cx.op(BatchNorm { eps: at.float("epsilon", 1e-5)?, momentum, batch: false }, &operands)?;
    let mut out = vec![Value::Graph(cx.plain(y, v.elem))];
    // What a model made for training hands on: running statistics, which a step updates by itself.
    for i in [3, 4, 3, 4] {
        if cx.training && out.len() < at.node.output.len() {
            out.push(need(x, i)?.clone());
        }
    }
    Ok(out)
}

/// Scale and shift are trained, statistics are not.
fn statistic(cx: &mut Importer, value: &Value, ty: &TensorTy, trainable: bool) -> Result<ValueId, String> {
    match value {
        Value::Host(h) => cx.weight(h, ty.clone(), trainable),
        Value::Graph(_) => weight(cx, value, ty),
    }
}

/// Normalisation by the statistics of the batch itself, and what a training would keep of them.
fn batch_statistics(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let mut b = Build { cx };
    let data = need(x, 0)?;
    let rank = data.dims().len();
    if rank < 2 {
        return Err("its input has no channels".into());
    }
    let over = list((0..rank).filter(|d| *d != 1));
    let channel = |b: &mut Build<'_>, v: &Value| {
        let mut dims = vec![1; rank];
        dims[1] = v.dims().iter().product();
        b.reshaped(v, &dims)
    };
    let mean = b.call("ReduceMean", &[data, &over], vec![int("keepdims", 1)])?;
    let off = b.call("Sub", &[data, &mean], Vec::new())?;
    let square = b.call("Mul", &[&off, &off], Vec::new())?;
    let var = b.call("ReduceMean", &[&square, &over], vec![int("keepdims", 1)])?;
    let safe = b.call("Add", &[&var, &number(f64::from(at.float("epsilon", 1e-5)?))], Vec::new())?;
    let root = b.call("Sqrt", &[&safe], Vec::new())?;
    let scale = channel(&mut b, need(x, 1)?)?;
    let shift = channel(&mut b, need(x, 2)?)?;
    let y = b.call("Div", &[&off, &root], Vec::new())?;
    let y = b.call("Mul", &[&y, &scale], Vec::new())?;
    let mut out = vec![b.call("Add", &[&y, &shift], Vec::new())?];
    let momentum = f64::from(at.float("momentum", 0.9)?);
    for (i, now) in [(3, &mean), (4, &var)] {
        if !at.wants(i - 2) {
            break;
        }
        let flat = b.reshaped(now, need(x, i)?.dims())?;
        let old = b.call("Mul", &[need(x, i)?, &number(momentum)], Vec::new())?;
        let new = b.call("Mul", &[&flat, &number(1.0 - momentum)], Vec::new())?;
        out.push(b.call("Add", &[&old, &new], Vec::new())?);
    }
    Ok(out)
}

/// Older operator sets: statistics, scale and shift of each position.
fn positions(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let mut b = Build { cx };
    let safe = b.call("Add", &[need(x, 4)?, &number(f64::from(at.float("epsilon", 1e-5)?))], Vec::new())?;
    let root = b.call("Sqrt", &[&safe], Vec::new())?;
    let factor = b.call("Div", &[need(x, 1)?, &root], Vec::new())?;
    let off = b.call("Sub", &[need(x, 0)?, need(x, 3)?], Vec::new())?;
    let y = b.call("Mul", &[&off, &factor], Vec::new())?;
    Ok(vec![b.call("Add", &[&y, need(x, 2)?], Vec::new())?])
}

fn instance(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let channels = *v.dims.get(1).ok_or("its input has no channels")?;
    if let (Some(from), Value::Host(scale), Value::Host(shift)) = (cx.grouped(&v), need(x, 1)?, need(x, 2)?) {
        return in_groups(cx, at, &v, from, [scale, shift]);
    }
    let ty = per_channel(channels)?;
    let operands = [cx.act(&v)?, weight(cx, need(x, 1)?, &ty)?, weight(cx, need(x, 2)?, &ty)?];
    let y = cx.op(Norm { over: Over::Groups(channels), eps: at.float("epsilon", 1e-5)? }, &operands)?;
    Ok(vec![Value::Graph(cx.plain(y, v.elem))])
}

/// More channels than this are no network's.
const CHANNELS_MAX: usize = 1 << 24;

/// A shift that shifts nothing.
fn zeros(cx: &mut Importer, ty: TensorTy) -> Result<ValueId, String> {
    match ty.len() {
        ..=CHANNELS_MAX => Ok(cx.graph.constant("shift", ty.clone(), vec![0.0; ty.len()])),
        length => Err(format!("a normalisation of {length} elements")),
    }
}

/// Normalisation of groups of channels as exporters write it: groups in the place of channels. What follows folds back.
fn in_groups(cx: &mut Importer, at: &At<'_>, v: &Val, from: ValueId, affine: [&Host; 2]) -> Results {
    let groups = v.dims[1];
    let c = cx.graph.value(from).ty.c();
    let mut operands = vec![from];
    if affine.iter().any(|h| h.len() != groups) || c > CHANNELS_MAX {
        return Err(format!("{} scales of {groups} groups of {c} channels", affine[0].len()));
    }
    let [scale, shift] = affine.map(|h| h.values());
    if scale.iter().any(|x| *x != 1.0) || shift.iter().any(|x| *x != 0.0) {
        for (host, values) in affine.into_iter().zip([&scale, &shift]) {
            let spread = (0..c).map(|i| values[i / (c / groups)]).collect();
            let host = Host { name: host.name.clone(), ..Host::new(vec![c], Elem::Float, spread) };
            operands.push(cx.weight(&host, per_channel(c)?, true)?);
        }
    }
    let op = Norm { over: Over::Groups(groups), eps: at.float("epsilon", 1e-5)? };
    let y = cx.op(op, &operands)?;
    let y = cx.plain(y, v.elem);
    Ok(vec![Value::Graph(cx.refold(&y, &v.dims)?)])
}

fn group(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let channels = *v.dims.get(1).ok_or("its input has no channels")?;
    let groups = usize::try_from(at.int("num_groups", 0)?).ok().filter(|g| *g > 0 && channels % g == 0);
    let groups = groups.ok_or("`num_groups` that does not divide the channels")?;
    let id = cx.act(&v)?;
    let op = Norm { over: Over::Groups(groups), eps: at.float("epsilon", 1e-5)? };
    let mut operands = vec![id];
    for i in [1, 2] {
        let value = need(x, i)?;
        // Before operator set 21 scale and bias were given for each group.
        let w = if value.dims() == [groups] && groups != channels {
            let v = cx.val(value)?;
            let table = (0..channels).map(|c| c / (channels / groups)).collect();
            let v = cx.rearranged(&v, &[(0, channels, crate::formats::onnx::value::Move::Table(table))])?;
            cx.cast(&v, &per_channel(channels)?)?
        } else {
            weight(cx, value, &per_channel(channels)?)?
        };
        operands.push(w);
    }
    let y = cx.op(op, &operands)?;
    Ok(vec![Value::Graph(cx.plain(y, v.elem))])
}

/// The tensor as rows `[n, c]`, the axes from `axis` on being channels.
fn rows(cx: &mut Importer, v: &Val, axis: usize) -> Result<ValueId, String> {
    let before = v.dims[..axis].iter().product();
    let rows = cx.refold(v, &[before, v.dims[axis..].iter().product()])?;
    cx.act(&rows)
}

fn layer(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let axis = axis(at.int("axis", -1)?, v.rank())?;
    let length = v.dims[axis..].iter().product();
    let own = |value: Option<&Value>| value.is_some_and(|v| v.dims() == [length]);
    if let Some(id) = cx.channels_last(&v)
        && axis + 1 == v.rank()
        && !(at.wants(1) || at.wants(2))
        && own(opt(x, 1))
        && (opt(x, 2).is_none() || own(opt(x, 2)))
    {
        let ty = per_channel(length)?;
        let w = weight(cx, need(x, 1)?, &ty)?;
        let b = match opt(x, 2) {
            Some(b) => weight(cx, b, &ty)?,
            None => zeros(cx, ty)?,
        };
        let op = Norm { over: Over::Channels, eps: at.float("epsilon", 1e-5)? };
        let y = cx.op(op, &[id, w, b])?;
        return Ok(vec![Value::Graph(cx.like(&v, y))]);
    }
    let ty = cx.graph.value(v.id).ty.clone();
    let whole = |value: Option<&Value>| matches!(value, Some(Value::Host(h)) if h.dims == v.dims[1..]);
    if ty.is_activation()
        && axis == 1
        && v.axes.iter().copied().eq((0..ty.dims().len()).map(Some))
        && !(at.wants(1) || at.wants(2))
        && let (true, Some(Value::Host(scale)), true, Some(Value::Host(shift))) =
            (whole(opt(x, 1)), opt(x, 1), whole(opt(x, 2)), opt(x, 2))
    {
        let dims = ty.names().iter().cloned().zip(ty.dims().iter().copied()).skip(1);
        let own = TensorTy::new(dims).map_err(|_| "a tensor of more elements than memory holds")?;
        let operands = [v.id, cx.weight(scale, own.clone(), true)?, cx.weight(shift, own, true)?];
        let y = cx.op(Norm { over: Over::Groups(1), eps: at.float("epsilon", 1e-5)? }, &operands)?;
        return Ok(vec![Value::Graph(cx.like(&v, y))]);
    }
    let id = rows(cx, &v, axis)?;
    let eps = at.float("epsilon", 1e-5)?;
    let op = Norm { over: Over::Groups(1), eps };
    let whole = |value: &Value| value.dims().iter().product::<usize>() == length;
    let ty = per_channel(length)?;
    let (scale, shift) = (need(x, 1)?, opt(x, 2));
    let mut statistics = Vec::new();
    if at.wants(1) || at.wants(2) {
        let mean = cx.op(Aggregate { f: AggregateFn::Mean, dims: vec![1] }, &[id])?;
        let centred = cx.op(Binary::of(BinaryFn::Sub), &[id, mean])?;
        let square = cx.op(Binary::of(BinaryFn::Mul), &[centred, centred])?;
        let variance = cx.op(Aggregate { f: AggregateFn::Mean, dims: vec![1] }, &[square])?;
        let moved = cx.op(Binary::with(BinaryFn::Add, Number::Right(eps)), &[variance])?;
        let std = cx.op(Unary::of(UnaryFn::Sqrt), &[moved])?;
        let inverse = cx.op(Binary::with(BinaryFn::Div, Number::Left(1.0)), &[std])?;
        let mut dims = v.dims.clone();
        dims[axis..].fill(1);
        for id in [mean, inverse] {
            let s = cx.plain(id, Elem::Float);
            statistics.push(Value::Graph(cx.refold(&s, &dims)?));
        }
    }
    let y = if whole(scale) && shift.is_none_or(whole) {
        let w = weight(cx, scale, &ty)?;
        let b = match shift {
            Some(b) => weight(cx, b, &ty)?,
            None => zeros(cx, ty)?,
        };
        let y = cx.op(op, &[id, w, b])?;
        let y = cx.plain(y, Elem::Float);
        Value::Graph(cx.refold(&y, &v.dims)?)
    } else {
        let y = cx.op(op, &[id])?;
        let y = cx.plain(y, Elem::Float);
        let mut y = Value::Graph(cx.refold(&y, &v.dims)?);
        y = super::binary::arithmetic(cx, BinaryFn::Mul, &y, scale)?;
        match shift {
            Some(b) => super::binary::arithmetic(cx, BinaryFn::Add, &y, b)?,
            None => y,
        }
    };
    Ok(std::iter::once(y).chain(statistics).collect())
}

fn rms(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let axis = axis(at.int("axis", -1)?, v.rank())?;
    let id = rows(cx, &v, axis)?;
    let square = cx.op(Binary::of(BinaryFn::Mul), &[id, id])?;
    let mean = cx.op(Aggregate { f: AggregateFn::Mean, dims: vec![1] }, &[square])?;
    let moved = cx.op(Binary::with(BinaryFn::Add, Number::Right(at.float("epsilon", 1e-5)?)), &[mean])?;
    let length = cx.op(Unary::of(UnaryFn::Sqrt), &[moved])?;
    let y = cx.op(Binary::of(BinaryFn::Div), &[id, length])?;
    let y = cx.plain(y, Elem::Float);
    let y = Value::Graph(cx.refold(&y, &v.dims)?);
    super::binary::arithmetic(cx, BinaryFn::Mul, &y, need(x, 1)?).map(|y| vec![y])
}

fn mean_variance(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let axes = crate::formats::onnx::attrs::axes(at.ints("axes")?.unwrap_or(&[0, 2, 3]), v.rank())?;
    let v = cx.full(&v)?;
    let mut dims: Vec<usize> = axes.iter().filter_map(|a| v.axes[*a]).collect();
    dims.sort_unstable();
    let mean = Aggregate { f: AggregateFn::Mean, dims };
    let m = cx.op(mean.clone(), &[v.id])?;
    let centred = cx.op(Binary::of(BinaryFn::Sub), &[v.id, m])?;
    let square = cx.op(Binary::of(BinaryFn::Mul), &[centred, centred])?;
    let variance = cx.op(mean, &[square])?;
    let std = cx.op(Unary::of(UnaryFn::Sqrt), &[variance])?;
    let moved = cx.op(Binary::with(BinaryFn::Add, Number::Right(1e-9)), &[std])?;
    let y = cx.op(Binary::of(BinaryFn::Div), &[centred, moved])?;
    Ok(vec![Value::Graph(cx.like(&v, y))])
}

fn unit(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let axis = axis(at.int("axis", -1)?, v.rank())?;
    let (v, dim) = cx.along(&v, axis)?;
    let f = match at.int("p", 2)? {
        1 => AggregateFn::L1,
        2 => AggregateFn::L2,
        p => return Err(format!("`p` {p}")),
    };
    if f == AggregateFn::L2 && dim == 1 && cx.graph.value(v.id).ty.is_activation() {
        let id = cx.op(L2Norm { eps: f32::MIN_POSITIVE }, &[v.id])?;
        return Ok(vec![Value::Graph(cx.like(&v, id))]);
    }
    let length = cx.op(Aggregate { f, dims: vec![dim] }, &[v.id])?;
    // A length of 0 gives 0.
    let least = cx.op(Binary::with(BinaryFn::Max, Number::Right(f32::MIN_POSITIVE)), &[length])?;
    let y = cx.op(Binary::of(BinaryFn::Div), &[v.id, least])?;
    Ok(vec![Value::Graph(cx.like(&v, y))])
}

fn lrn(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let mut id = cx.act(&v)?;
    let size =
        usize::try_from(at.int("size", 0)?).ok().filter(|s| *s > 0).ok_or("`size` must be at least 1")?;
    let size = size.min(2 * v.dims[1] + 1);
    let op = Lrn {
        size,
        alpha: at.float("alpha", 1e-4)?,
        beta: at.float("beta", 0.75)?,
        k: at.float("bias", 1.0)?,
    };
    // ONNX puts the odd channel of an even window after, this operation before.
    let even = size.is_multiple_of(2);
    if even {
        id = cx.op(Flip { dim: 1 }, &[id])?;
    }
    id = cx.op(op, &[id])?;
    if even {
        id = cx.op(Flip { dim: 1 }, &[id])?;
    }
    Ok(vec![Value::Graph(cx.plain(id, v.elem))])
}

fn softmax(cx: &mut Importer, at: &At<'_>, x: Operands<'_>, log: bool) -> Results {
    let v = cx.val(need(x, 0)?)?;
    if v.rank() == 0 {
        return Err("of one number".into());
    }
    let op = Softmax { log };
    let axis = axis(at.int("axis", if at.opset < 13 { 1 } else { -1 })?, v.rank())?;
    if at.opset < 13 && v.dims[axis + 1..].iter().any(|d| *d != 1) {
        let id = rows(cx, &v, axis)?;
        let y = cx.op(op, &[id])?;
        let y = cx.plain(y, v.elem);
        return Ok(vec![Value::Graph(cx.refold(&y, &v.dims)?)]);
    }
    if v.axes[axis] == Some(1) && cx.graph.value(v.id).ty.is_activation() {
        let y = cx.op(op, &[v.id])?;
        return Ok(vec![Value::Graph(cx.like(&v, y))]);
    }
    let id = cx.centred(&v, axis)?;
    let y = cx.op(op, &[id])?;
    let y = cx.plain(y, v.elem);
    Ok(vec![Value::Graph(cx.refold(&y, &v.dims)?)])
}
