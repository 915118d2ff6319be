//! Reductions along axes, and where extremes stand.

use super::{Operands, Results, ints_of, need};
use crate::formats::onnx::attrs::{At, axes, axis};
use crate::formats::onnx::host::{Data, Host};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Val, Value};
use crate::graph::ValueId;
use crate::ops::aggregate::{Aggregate, AggregateFn};
use crate::ops::arg_axis::ArgAxis;
use crate::ops::pool::{Over, Pool, PoolKind};

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let f = match at.node.op_type.as_str() {
        "ReduceSum" => AggregateFn::Sum,
        "ReduceMean" => AggregateFn::Mean,
        "ReduceMax" => AggregateFn::Max,
        "ReduceMin" => AggregateFn::Min,
        "ReduceProd" => AggregateFn::Prod,
        "ReduceSumSquare" => AggregateFn::SumSquare,
        "ReduceL1" => AggregateFn::L1,
        "ReduceL2" => AggregateFn::L2,
        "ReduceLogSum" => AggregateFn::LogSum,
        "ReduceLogSumExp" => AggregateFn::LogSumExp,
        "ArgMax" => return Some(extreme(cx, at, x, false)),
        "ArgMin" => return Some(extreme(cx, at, x, true)),
        _ => return None,
    };
    Some(reduce(cx, at, x, f).map(|v| vec![v]))
}

fn reduce(cx: &mut Importer, at: &At<'_>, x: Operands<'_>, f: AggregateFn) -> Result<Value, String> {
    let listed = ints_of(at, x, 1, "axes")?.filter(|l| !l.is_empty());
    let operand = need(x, 0)?;
    if operand.dims().contains(&0) {
        return nothing(at, operand, listed, f);
    }
    let v = cx.val(operand)?;
    let over = match listed {
        Some(list) => axes(&list, v.rank())?,
        None if at.flag("noop_with_empty_axes", false)? => return each(cx, &v, f),
        None => (0..v.rank()).collect(),
    };
    let keep = at.flag("keepdims", true)?;
    let v =
        if over.iter().any(|a| v.axes[*a].is_none() && f != AggregateFn::Mean) { cx.full(&v)? } else { v };
    let mut dims: Vec<usize> = over.iter().filter_map(|a| v.axes[*a]).collect();
    dims.sort_unstable();
    let y = match whole_grid(cx, &v, &dims, f)? {
        // The grid is gone from the graph.
        Some(y) => {
            let axes = v.axes.iter().map(|a| a.filter(|d| *d < 2)).collect();
            let mut out = Val { id: y, axes, ..v.clone() };
            over.iter().for_each(|a| out.dims[*a] = 1);
            out
        }
        None => {
            let y = cx.op(Aggregate { f, dims }, &[v.id])?;
            cx.like(&v, y)
        }
    };
    if keep { Ok(Value::Graph(y)) } else { Ok(Value::Graph(without(&y, &over))) }
}

/// What is made of no elements, at every place that is left.
fn nothing(at: &At<'_>, operand: &Value, listed: Option<Vec<i64>>, f: AggregateFn) -> Result<Value, String> {
    let rank = operand.dims().len();
    let over = match listed {
        Some(list) => axes(&list, rank)?,
        None if at.flag("noop_with_empty_axes", false)? => return Ok(operand.clone()),
        None => (0..rank).collect(),
    };
    let keep = at.flag("keepdims", true)?;
    let extent = |(a, d): (usize, &usize)| match over.contains(&a) {
        true => keep.then_some(1),
        false => Some(*d),
    };
    let dims = operand.dims().iter().enumerate().filter_map(extent).collect();
    let elem = operand.elem();
    let value = match f {
        AggregateFn::Sum | AggregateFn::SumSquare | AggregateFn::L1 | AggregateFn::L2 => 0.0,
        AggregateFn::Prod => 1.0,
        AggregateFn::Mean => f64::NAN,
        AggregateFn::Max if elem == Elem::Bool => 0.0,
        AggregateFn::Min if elem == Elem::Bool => 1.0,
        AggregateFn::Max | AggregateFn::LogSum | AggregateFn::LogSumExp => f64::NEG_INFINITY,
        AggregateFn::Min => f64::INFINITY,
    };
    Ok(Value::Host(Host { dims, elem, data: Data::Fill(value), name: None }))
}

/// A mean or greatest over the whole grid is global pooling.
fn whole_grid(cx: &mut Importer, v: &Val, dims: &[usize], f: AggregateFn) -> Result<Option<ValueId>, String> {
    let ty = &cx.graph.value(v.id).ty;
    let grid = ty.is_activation() && ty.rank() > 0 && dims.iter().copied().eq(2..ty.dims().len());
    let kind = match f {
        AggregateFn::Mean if grid => PoolKind::Avg,
        AggregateFn::Max if grid => PoolKind::Max,
        _ => return Ok(None),
    };
    cx.op(Pool { kind, over: Over::Global, count_pad: false, partial: false }, &[v.id]).map(Some)
}

/// The value without axes of extent 1.
pub(super) fn without(v: &Val, over: &[usize]) -> Val {
    let kept: Vec<usize> = (0..v.rank()).filter(|a| !over.contains(a)).collect();
    v.transposed(&kept)
}

/// A reduction over no axes: each element by itself.
fn each(cx: &mut Importer, v: &Val, f: AggregateFn) -> Result<Value, String> {
    use crate::ops::binary::{Binary, BinaryFn};
    use crate::ops::unary::{Unary, UnaryFn};
    let id = match f {
        AggregateFn::Sum | AggregateFn::Mean | AggregateFn::Max | AggregateFn::Min | AggregateFn::Prod => {
            v.id
        }
        AggregateFn::LogSumExp => v.id,
        AggregateFn::L1 | AggregateFn::L2 => cx.op(Unary::of(UnaryFn::Abs), &[v.id])?,
        AggregateFn::LogSum => cx.op(Unary::of(UnaryFn::Log), &[v.id])?,
        AggregateFn::SumSquare => cx.op(Binary::of(BinaryFn::Mul), &[v.id, v.id])?,
    };
    Ok(Value::Graph(cx.like(v, id)))
}

fn extreme(cx: &mut Importer, at: &At<'_>, x: Operands<'_>, least: bool) -> Results {
    let v = cx.val(need(x, 0)?)?;
    let axis = axis(at.int("axis", 0)?, v.rank())?;
    let (v, dim) = cx.along(&v, axis)?;
    let last = at.flag("select_last_index", false)?;
    let y = cx.op(ArgAxis { dim, least, last }, &[v.id])?;
    let y = Val { elem: Elem::Int, ..cx.like(&v, y) };
    let y = if at.flag("keepdims", true)? { y } else { without(&y, &[axis]) };
    Ok(vec![Value::Graph(y)])
}
