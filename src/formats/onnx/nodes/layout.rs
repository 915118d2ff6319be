//! Joining, padding, and channels laid out on the grid and back.

use super::{Operands, Results, ints_of, need, opt};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Move, Val, Value, general, grid_names, named};
use crate::graph::ValueId;
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::concat::Concat;
use crate::ops::depth_space::{DepthSpace, Direction};
use crate::ops::pad::{Pad, PadMode};
use crate::support::Name;
use crate::tensor::ty::TensorTy;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let result = match at.node.op_type.as_str() {
        "Concat" => concat(cx, at, x),
        "Pad" => pad(cx, at, x),
        "DepthToSpace" => blocks(cx, at, x, Direction::ToSpace),
        "SpaceToDepth" => blocks(cx, at, x, Direction::ToDepth),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

fn concat(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let parts: Vec<&Value> = x.iter().flatten().collect();
    let rank = parts.first().ok_or("nothing to join")?.dims().len();
    if parts.iter().any(|p| p.dims().len() != rank) {
        return Err("its operands have different numbers of dimensions".into());
    }
    let a = axis(at.int("axis", 1)?, rank)?;
    let parts: Vec<&Value> = parts.into_iter().filter(|p| !p.dims().contains(&0)).collect();
    let elem = x.iter().flatten().next().map_or(Elem::Float, Value::elem);
    let [first, ..] = parts[..] else { return need(x, 0).cloned() };
    if parts.len() == 1 {
        return Ok(first.clone());
    }
    // The first part of the graph leads: the others come to its dimensions.
    let lead = parts.iter().position(|p| matches!(p, Value::Graph(_))).unwrap_or(0);
    let lead = cx.val(parts[lead])?;
    let lead = cx.full(&lead)?;
    // A grid that is gone is no dimension of the joined tensor's.
    let gone = cx.graph.value(lead.id).ty.is_activation() && cx.graph.value(lead.id).ty.dims().len() > rank;
    let lead = if gone && grid_names(rank).is_some() {
        let id = cx.act(&lead)?;
        cx.plain(id, lead.elem)
    } else {
        lead
    };
    let dim = lead.axes[a].ok_or("a dimension that is not there")?;
    let whole = cx.graph.value(lead.id).ty.dims().len() == rank;
    let lead = if whole && dim != 0 { Some((lead, dim)) } else { None };
    let mut ids = Vec::new();
    for part in &parts {
        let v = cx.val(part)?;
        ids.push(match &lead {
            Some((lead, _)) => as_lead(cx, &v, lead)?,
            None => behind_one(cx, &v)?,
        });
    }
    match lead {
        Some((lead, dim)) => {
            let y = cx.op(Concat { dim }, &ids)?;
            Ok(Value::Graph(Val { elem, ..cx.like(&lead, y) }))
        }
        None => {
            let y = cx.op(Concat { dim: a + 1 }, &ids)?;
            let v = cx.plain(y, elem);
            let kept: Vec<usize> = (1..v.rank()).collect();
            Ok(Value::Graph(v.transposed(&kept)))
        }
    }
}

/// The tensor with the leading one's dimensions in its places.
fn as_lead(cx: &mut Importer, v: &Val, lead: &Val) -> Result<ValueId, String> {
    let names = cx.graph.value(lead.id).ty.names().to_vec();
    let mut order = vec![0; names.len()];
    lead.axes.iter().enumerate().for_each(|(a, d)| order[d.unwrap_or(0)] = a);
    let turned = v.transposed(&order);
    let to =
        TensorTy::new(names.iter().zip(turned.dims.iter().copied())).map_err(|_| "a tensor too large")?;
    cx.cast(&turned, &to)
}

/// The tensor behind a dimension of extent 1, so that its first dimension can be joined along.
fn behind_one(cx: &mut Importer, v: &Val) -> Result<ValueId, String> {
    let mut dims = vec![1];
    dims.extend(&v.dims);
    let wide = v.refitted(&dims).ok_or("a leading dimension")?;
    cx.cast(&wide, &general(&dims)?)
}

fn blocks(cx: &mut Importer, at: &At<'_>, x: Operands<'_>, direction: Direction) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let size = usize::try_from(at.int("blocksize", 0)?).ok().filter(|b| (1..=1 << 12).contains(b));
    let size = size.ok_or("`blocksize` must be at least 1")?;
    if v.rank() != 4 {
        return Err(format!("of extents {:?}, not 4", v.dims));
    }
    let blocks_first = at.text("mode", "DCR")? == "DCR";
    let id = cx.act(&v)?;
    let y = cx.op(DepthSpace { direction, block: vec![size; 2], blocks_first }, &[id])?;
    Ok(Value::Graph(cx.plain(y, v.elem)))
}

/// More positions than this at one side are nothing that a model means.
const PAD_MAX: i64 = 1 << 24;

fn pad(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let list = match at.opset {
        ..2 => at.ints("paddings")?.map(<[i64]>::to_vec),
        _ => ints_of(at, x, 1, "pads")?,
    };
    let list = list.ok_or("`pads` is missing")?;
    let over = match opt(x, 3) {
        Some(a) => a.known("`axes`")?.integers(),
        None => (0..v.rank() as i64).collect(),
    };
    let over = over.iter().map(|a| axis(*a, v.rank())).collect::<Result<Vec<_>, _>>()?;
    if list.len() != 2 * over.len() || list.iter().any(|p| p.saturating_abs() > PAD_MAX) {
        return Err(format!("`pads` {list:?} for {} axes", over.len()));
    }
    let mut sides = vec![(0i64, 0i64); v.rank()];
    for (i, a) in over.iter().enumerate() {
        sides[*a] = (list[i], list[i + over.len()]);
    }
    let mode = at.text("mode", "constant")?;
    // Negative sides cut first.
    let v = cut(cx, &v, &sides)?;
    let sides: Vec<(usize, usize)> =
        sides.iter().map(|(lo, hi)| ((*lo).max(0) as usize, (*hi).max(0) as usize)).collect();
    if mode == "constant" {
        let value = match opt(x, 2) {
            Some(value) if at.opset >= 11 => {
                let known = value.known("the value around")?;
                if known.len() == 0 {
                    0.0
                } else {
                    known.scalar().ok_or("a value around that is not one number")? as f32
                }
            }
            _ => at.float("value", 0.0)?,
        };
        return constant(cx, &v, &sides, value).map(Value::Graph);
    }
    let mut moves = Vec::new();
    for (a, (lo, hi)) in sides.iter().enumerate().filter(|(_, s)| **s != (0, 0)) {
        let n = v.dims[a] as i64;
        let source = |i: i64| match mode {
            "edge" => Ok(i.clamp(0, n - 1)),
            "wrap" => Ok(i.rem_euclid(n)),
            "reflect" if n == 1 => Ok(0),
            "reflect" => {
                let at = i.rem_euclid(2 * (n - 1));
                Ok(if at < n { at } else { 2 * (n - 1) - at })
            }
            other => Err(format!("`mode` {other}")),
        };
        let all: Result<Vec<usize>, String> =
            (-(*lo as i64)..n + *hi as i64).map(|i| source(i).map(|i| i as usize)).collect();
        let all = all?;
        moves.push((a, all.len(), Move::Table(all)));
    }
    on_grid(cx, &v, &sides, mode)?.map_or_else(|| cx.rearranged(&v, &moves), Ok).map(Value::Graph)
}

fn cut(cx: &mut Importer, v: &Val, sides: &[(i64, i64)]) -> Result<Val, String> {
    let mut moves = Vec::new();
    for (a, (lo, hi)) in sides.iter().enumerate().filter(|(_, (lo, hi))| *lo < 0 || *hi < 0) {
        let (lo, hi) = ((-lo).max(0) as usize, (-hi).max(0) as usize);
        let len = v.dims[a].checked_sub(lo + hi).ok_or("padding that cuts more than there is")?;
        moves.push((a, len, Move::Step { start: lo as i64, step: 1 }));
    }
    cx.rearranged(v, &moves)
}

/// Sides of grid axes alone, in the graph's order; `None` when others are padded too.
fn grid_sides(cx: &Importer, v: &Val, sides: &[(usize, usize)]) -> Option<Vec<(usize, usize)>> {
    let ty = &cx.graph.value(v.id).ty;
    let mut out = vec![(0, 0); ty.is_activation().then(|| ty.rank())?];
    for (a, side) in sides.iter().enumerate().filter(|(_, s)| **s != (0, 0)) {
        out[v.axes[a]?.checked_sub(2)?] = *side;
    }
    Some(out)
}

/// Reflection and edges around a grid are an operation of their own.
fn on_grid(cx: &mut Importer, v: &Val, sides: &[(usize, usize)], mode: &str) -> Result<Option<Val>, String> {
    let mode = match mode {
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        _ => return Ok(None),
    };
    let Some(sides) = grid_sides(cx, v, sides) else { return Ok(None) };
    let grid = cx.graph.value(v.id).ty.grid_dims().to_vec();
    let near = sides.iter().zip(&grid).all(|((lo, hi), n)| lo < n && hi < n);
    if !near && mode == PadMode::Reflect {
        return Ok(None);
    }
    let y = cx.op(Pad { sides, mode }, &[v.id])?;
    Ok(Some(cx.like(v, y)))
}

fn constant(cx: &mut Importer, v: &Val, sides: &[(usize, usize)], value: f32) -> Result<Val, String> {
    if sides.iter().all(|s| *s == (0, 0)) {
        return Ok(v.clone());
    }
    let mode = PadMode::Constant(value);
    if let Some(sides) = grid_sides(cx, v, sides) {
        let y = cx.op(Pad { sides, mode }, &[v.id])?;
        return Ok(cx.like(v, y));
    }
    // All dimensions as a grid of one channel.
    let full = cx.full(v)?;
    let ty = cx.graph.value(full.id).ty.clone();
    let rank = ty.dims().len();
    let mut to = vec![(Name::from("n"), 1), (Name::from("c"), 1)];
    to.extend(ty.dims().iter().enumerate().map(|(d, e)| (Name::from(format!("g{d}").as_str()), *e)));
    let id = cx.op(Arrange { to, from: (0..rank).map(|d| Pick::same(d + 2)).collect() }, &[full.id])?;
    let mut around = vec![(0, 0); rank];
    for (a, side) in sides.iter().enumerate() {
        around[full.axes[a].ok_or("a dimension that is not there")?] = *side;
    }
    let id = cx.op(Pad { sides: around, mode }, &[id])?;
    let dims = cx.graph.value(id).ty.dims()[2..].to_vec();
    let back = TensorTy::new(ty.names().iter().zip(dims)).map_err(|_| "a tensor too large")?;
    let from = (0..rank + 2).map(|d| d.checked_sub(2).map_or(Pick::fixed(0), Pick::same)).collect();
    let id = cx.op(Arrange { to: named(&back), from }, &[id])?;
    Ok(cx.like(&full, id))
}
