//! Other shapes for the same elements, and other places: reshaping, transposition, expansion, padding, slices.

use super::{Operands, Results, ints_of, known_ints, need, opt};
use crate::formats::onnx::attrs::{At, axes, axis};
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::extents;
use crate::formats::onnx::value::{Move, Val, Value, general};
use crate::ops::flip::Flip;
use crate::ops::slice::{Cut, Slice};
use crate::ops::upsample::Upsample;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let result = match at.node.op_type.as_str() {
        "Reshape" => reshape(cx, at, x),
        "Flatten" => flatten(cx, at, x),
        "Squeeze" => squeeze(cx, at, x),
        "Unsqueeze" => unsqueeze(cx, at, x),
        "Transpose" => transpose(cx, at, x),
        "Expand" => expand(cx, x),
        "Tile" => tile(cx, x),
        "Slice" => slice(cx, at, x),
        "Gather" => gather(cx, at, x),
        "Split" => return Some(split(cx, at, x)),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

fn reshape(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let to = match at.opset {
        ..5 => at.ints("shape")?.map(<[i64]>::to_vec),
        _ => known_ints(x, 1, "the shape")?,
    };
    let mut to = to.ok_or("the shape is missing")?;
    // A tracing exporter writes the batch of its example; here the input was given another.
    if let Some((old, new)) = cx.batch
        && v.dims.first() == Some(&new)
        && to.first().is_some_and(|d| *d == old as i64)
        && to.len() > 1
    {
        to[0] = new as i64;
    }
    let keep_zero = at.flag("allowzero", false)?;
    let mut dims = Vec::new();
    let mut open = None;
    for (i, d) in to.iter().enumerate() {
        dims.push(match d {
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            0 if !keep_zero => *v
                .dims
                .get(i)
                .ok_or_else(|| format!("the shape {to:?} copies a dimension {i} that is not there"))?,
            d if *d >= 0 => *d as usize,
            _ => return Err(format!("the shape {to:?}")),
        });
    }
    let signed: Vec<i64> = dims.iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX)).collect();
    extents(&signed)?;
    if let Some(i) = open {
        let rest = dims.iter().product::<usize>();
        if rest == 0 || v.len() % rest != 0 {
            return Err(format!("{:?} cannot have the shape {to:?}", v.dims));
        }
        dims[i] = v.len() / rest;
    }
    cx.refold(&v, &dims).map(Value::Graph)
}

fn flatten(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let rank = v.rank() as i64;
    let at = at.int("axis", 1)?;
    let cut = if at < 0 { at.saturating_add(rank) } else { at };
    let cut = usize::try_from(cut).ok().filter(|c| *c <= v.rank()).ok_or_else(|| format!("axis {at}"))?;
    let dims = [v.dims[..cut].iter().product(), v.dims[cut..].iter().product()];
    cx.refold(&v, &dims).map(Value::Graph)
}

fn squeeze(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let gone = match ints_of(at, x, 1, "axes")? {
        Some(list) => axes(&list, v.rank())?,
        None => (0..v.rank()).filter(|a| v.dims[*a] == 1).collect(),
    };
    if let Some(a) = gone.iter().find(|a| v.dims[**a] != 1) {
        return Err(format!("axis {a} of {:?} is not 1", v.dims));
    }
    let kept: Vec<usize> = (0..v.rank()).filter(|a| !gone.contains(a)).collect();
    Ok(Value::Graph(v.transposed(&kept)))
}

fn unsqueeze(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let list = ints_of(at, x, 1, "axes")?.ok_or("the axes are missing")?;
    let new = axes(&list, v.rank() + list.len())?;
    let mut out = v;
    for a in new {
        out.dims.insert(a, 1);
        out.axes.insert(a, None);
    }
    Ok(Value::Graph(out))
}

fn transpose(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let order: Vec<i64> = match at.ints("perm")? {
        Some(perm) => perm.to_vec(),
        None => (0..v.rank() as i64).rev().collect(),
    };
    let places = order.iter().map(|a| axis(*a, v.rank())).collect::<Result<Vec<_>, _>>()?;
    if axes(&order, v.rank())?.len() != v.rank() {
        return Err(format!("`perm` {order:?} of {:?}", v.dims));
    }
    Ok(Value::Graph(v.transposed(&places)))
}

/// The tensor with as many dimensions as `rank`, new ones in front.
fn widened(v: &Val, rank: usize) -> Result<Val, String> {
    let mut dims = vec![1; rank.saturating_sub(v.rank())];
    dims.extend(&v.dims);
    v.refitted(&dims).ok_or_else(|| "leading dimensions".to_owned())
}

fn expand(cx: &mut Importer, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let shape = extents(&known_ints(x, 1, "the shape")?.ok_or("the shape is missing")?)?;
    let out = super::binary::broadcast(&[&v.dims, &shape])?;
    let v = widened(&v, out.len())?;
    let grown = |a: &usize| v.dims[*a] != out[*a];
    // A vector of channels shown at every position of a grid has a word in the language.
    let ty = &cx.graph.value(v.id).ty;
    let on_grid = |a: usize| v.axes[a].is_some_and(|d| d >= 2);
    if ty.is_activation()
        && (0..out.len()).any(|a| grown(&a))
        && (0..out.len()).all(|a| !grown(&a) || on_grid(a))
    {
        let mut factor = vec![1; ty.rank()];
        (0..out.len()).filter(grown).for_each(|a| factor[v.axes[a].map_or(0, |d| d - 2)] = out[a]);
        let id = cx.op(Upsample { factor }, &[v.id])?;
        return Ok(Value::Graph(cx.like(&v, id)));
    }
    let moves: Vec<_> =
        (0..out.len()).filter(grown).map(|a| (a, out[a], Move::Step { start: 0, step: 0 })).collect();
    cx.rearranged(&v, &moves).map(Value::Graph)
}

/// Tables of more entries than this are nothing that a model means.
const TABLE_MAX: usize = 1 << 24;

fn tile(cx: &mut Importer, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let repeats = extents(&known_ints(x, 1, "`repeats`")?.ok_or("`repeats` is missing")?)?;
    if repeats.len() != v.rank() {
        return Err(format!("{} repeats of {:?}", repeats.len(), v.dims));
    }
    let mut moves = Vec::new();
    for (a, r) in repeats.iter().enumerate().filter(|(_, r)| **r != 1) {
        let extent = v.dims[a].checked_mul(*r).filter(|e| *e <= TABLE_MAX).ok_or("too many repeats")?;
        moves.push((a, extent, Move::Table((0..extent).map(|i| i % v.dims[a].max(1)).collect())));
    }
    cx.rearranged(&v, &moves).map(Value::Graph)
}

fn slice(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let list = |i: usize, name: &str| {
        if at.opset < 10 { at.ints(name).map(|l| l.map(<[i64]>::to_vec)) } else { known_ints(x, i, name) }
    };
    let starts = list(1, "starts")?.ok_or("`starts` is missing")?;
    let ends = list(2, "ends")?.ok_or("`ends` is missing")?;
    let over = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if at.opset < 10 { None } else { known_ints(x, 4, "steps")? };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || over.len() != starts.len() || steps.len() != starts.len() {
        return Err("`starts`, `ends`, `axes` and `steps` differ in length".into());
    }
    axes(&over, v.rank())?;
    let mut moves = Vec::new();
    for i in 0..starts.len() {
        let a = axis(over[i], v.rank())?;
        let n = v.dims[a] as i64;
        let (start, step) = (starts[i], steps[i]);
        if step == 0 {
            return Err("a step of 0".into());
        }
        let place = |p: i64, lo: i64, hi: i64| (if p < 0 { p.saturating_add(n) } else { p }).clamp(lo, hi);
        let (start, end) = match step {
            1.. => (place(start, 0, n), place(ends[i], 0, n)),
            _ => (place(start, 0, n - 1), place(ends[i], -1, n - 1)),
        };
        let len = if step > 0 { end - start } else { start - end }.max(0) as u64;
        let len = len.div_ceil(step.unsigned_abs()) as usize;
        moves.push((a, len, start, if len == 1 { 1 } else { step }));
    }
    cut(cx, &v, &moves).map(Value::Graph)
}

/// Nothing of an axis.
fn empty(cx: &mut Importer, v: &Val, a: usize) -> Result<Val, String> {
    let mut dims = v.dims.clone();
    dims[a] = 0;
    let id = cx.weight(&Host::new(dims.clone(), v.elem, Vec::new()), general(&dims)?, false)?;
    Ok(cx.plain(id, v.elem))
}

/// Slices `(axis, length, start, step)`.
fn cut(cx: &mut Importer, v: &Val, moves: &[(usize, usize, i64, i64)]) -> Result<Val, String> {
    if let Some((a, ..)) = moves.iter().find(|(_, len, ..)| *len == 0) {
        return empty(cx, v, *a);
    }
    let real: Vec<_> =
        moves.iter().filter(|(a, len, start, step)| (*len, *start, *step) != (v.dims[*a], 0, 1)).collect();
    if real.is_empty() {
        return Ok(v.clone());
    }
    let turned = |(a, len, start, step): &&(usize, usize, i64, i64)| {
        *step == -1 && *len == v.dims[*a] && *start == *len as i64 - 1 && v.axes[*a].is_some_and(|d| d > 0)
    };
    if cx.graph.value(v.id).ty.is_activation() && real.iter().all(turned) {
        let mut id = v.id;
        for (a, ..) in real {
            id = cx.op(Flip { dim: v.axes[*a].unwrap_or(1) }, &[id])?;
        }
        return Ok(cx.like(v, id));
    }
    if real.iter().any(|(.., step)| *step != 1) {
        let moves: Vec<_> = real
            .iter()
            .map(|(a, len, start, step)| (*a, *len, Move::Step { start: *start, step: *step }))
            .collect();
        return cx.rearranged(v, &moves);
    }
    let v = if real.iter().any(|(a, ..)| v.axes[*a].is_none()) { cx.full(v)? } else { v.clone() };
    let mut cuts = Vec::new();
    for (a, len, start, _) in real {
        let dim = v.axes[*a].ok_or("a dimension that is not there")?;
        cuts.push(Cut { dim, start: *start as usize, len: *len });
    }
    let id = cx.op(Slice { cuts }, &[v.id])?;
    Ok(cx.like(&v, id))
}

fn split(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let a = axis(at.int("axis", 0)?, v.rank())?;
    let count = at.node.output.len();
    let sizes = match ints_of(at, x, 1, "split")? {
        Some(list) => extents(&list)?,
        None => {
            let parts = usize::try_from(at.int("num_outputs", count as i64)?).unwrap_or(0).clamp(1, 1 << 16);
            let each = v.dims[a].div_ceil(parts);
            let size = |i: usize| each.min(v.dims[a].saturating_sub(i * each));
            (0..parts).map(size).collect()
        }
    };
    if sizes.iter().sum::<usize>() != v.dims[a] || sizes.len() < count {
        return Err(format!("parts of {sizes:?} of an axis of {}", v.dims[a]));
    }
    let mut start = 0;
    // A part that the node has no result for is not made, however many it speaks of.
    let mut out = Vec::new();
    for size in sizes.into_iter().take(count) {
        out.push(Value::Graph(cut(cx, &v, &[(a, size, start, 1)])?));
        start += size as i64;
    }
    Ok(out)
}

fn gather(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let a = axis(at.int("axis", 0)?, need(x, 0)?.dims().len())?;
    let Value::Host(indices) = opt(x, 1).ok_or("the indices are missing")? else {
        return super::gather::computed(cx, at, x);
    };
    let v = cx.val(need(x, 0)?)?;
    let n = v.dims[a] as i64;
    let place = |i: &i64| usize::try_from(if *i < 0 { i + n } else { *i }).ok().filter(|i| *i < v.dims[a]);
    let list = indices.integers();
    let table: Option<Vec<usize>> = list.iter().map(place).collect();
    let table = table.ok_or_else(|| format!("an index beyond the {n} of axis {a}"))?;
    let run = table.windows(2).all(|w| w[1] == w[0] + 1);
    let picked = match table.first() {
        Some(first) if run => cut(cx, &v, &[(a, table.len(), *first as i64, 1)])?,
        Some(_) | None => cx.rearranged(&v, &[(a, table.len(), Move::Table(table))])?,
    };
    match indices.dims.len() {
        1 => Ok(Value::Graph(picked)),
        0 => {
            let kept: Vec<usize> = (0..v.rank()).filter(|d| *d != a).collect();
            Ok(Value::Graph(picked.transposed(&kept)))
        }
        _ => {
            let mut dims = v.dims[..a].to_vec();
            dims.extend(&indices.dims);
            dims.extend(&v.dims[a + 1..]);
            cx.refold(&picked, &dims).map(Value::Graph)
        }
    }
}
