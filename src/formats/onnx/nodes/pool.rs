//! Pooling over windows and over whole grids.

use super::conv::{cropped, padding, sizes};
use super::{Operands, Results, need};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Val, Value};
use crate::graph::ValueId;
use crate::ops::pool::{Over, Pool, PoolKind};
use crate::ops::pool_index::PoolIndex;
use crate::ops::unary::{Unary, UnaryFn};
use crate::ops::window::{Padding, WindowSpec};

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let op = at.node.op_type.as_str();
    match op {
        "MaxPool" | "AveragePool" | "LpPool" => Some(windows(cx, at, x)),
        "GlobalMaxPool" => Some(global(cx, x, PoolKind::Max)),
        "GlobalAveragePool" => Some(global(cx, x, PoolKind::Avg)),
        "GlobalLpPool" => Some(order(at).and_then(|p| global(cx, x, PoolKind::Lp(p)))),
        _ => None,
    }
}

fn order(at: &At<'_>) -> Result<f32, String> {
    match at.get("p").map(|a| a.r#type) {
        Some(1) => at.float("p", 2.0),
        _ => at.int("p", 2).map(|p| p as f32),
    }
}

fn windows(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let rank = v.rank().checked_sub(2).ok_or("its input has no channels")?;
    at.ints("kernel_shape")?.ok_or("attribute `kernel_shape` is missing")?;
    let (pad, cuts) = padding(at, rank)?;
    let stride = sizes(at, "strides", rank, 1)?;
    let spec = WindowSpec {
        kernel: sizes(at, "kernel_shape", rank, 1)?,
        stride,
        dilation: sizes(at, "dilations", rank, 1)?,
        pad,
    };
    let partial = at.flag("ceil_mode", false)?;
    let id = cx.act(&v)?;
    let id = cropped(cx, id, &cuts)?;
    let same = matches!(spec.pad, Padding::Same | Padding::SameLo);
    // An extent that follows from the stride alone is rounded up already.
    let partial = partial && !same;
    let kind = match at.node.op_type.as_str() {
        "MaxPool" => PoolKind::Max,
        "AveragePool" => PoolKind::Avg,
        _ => PoolKind::Lp(order(at)?),
    };
    let count_pad = kind == PoolKind::Avg && at.flag("count_include_pad", false)?;
    let over = Over::Window(spec.clone());
    let y = cx.op(Pool { kind, over, count_pad, partial }, &[id])?;
    let mut out = vec![Value::Graph(cx.plain(y, v.elem))];
    if at.wants(1) {
        let reversed = at.int("storage_order", 0)? == 1;
        let index = cx.op(PoolIndex { window: spec, partial, reversed }, &[id])?;
        out.push(Value::Graph(cx.plain(index, Elem::Int)));
    }
    Ok(out)
}

fn global(cx: &mut Importer, x: Operands<'_>, kind: PoolKind) -> Results {
    let v = cx.val(need(x, 0)?)?;
    if v.rank() < 2 {
        return Err("its input has no channels".into());
    }
    let id = cx.act(&v)?;
    let y = if v.rank() == 2 { over_nothing(cx, id, kind)? } else { whole(cx, id, kind)? };
    // The grid is gone from the graph; ONNX keeps it with extents of 1.
    let mut dims = vec![1; v.rank()];
    dims[..2].copy_from_slice(&v.dims[..2]);
    let axes = (0..v.rank()).map(|a| (a < 2).then_some(a)).collect();
    Ok(vec![Value::Graph(Val { id: y, dims, axes, elem: Elem::Float })])
}

fn whole(cx: &mut Importer, id: ValueId, kind: PoolKind) -> Result<ValueId, String> {
    cx.op(Pool { kind, over: Over::Global, count_pad: false, partial: false }, &[id])
}

/// On a grid of one position a mean or greatest is the position, a norm its magnitude.
fn over_nothing(cx: &mut Importer, id: ValueId, kind: PoolKind) -> Result<ValueId, String> {
    match kind {
        PoolKind::Max | PoolKind::Avg => Ok(id),
        PoolKind::Lp(_) => cx.op(Unary::of(UnaryFn::Abs), &[id]),
    }
}
