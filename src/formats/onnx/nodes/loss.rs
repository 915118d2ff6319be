//! Losses over class numbers. Each position of each sample becomes a sample of its own, so that one rule serves all ranks and ways to
//! reduce; a mean divides by the sum of what counts: 1, or the label's weight, 0 where the label is `ignore_index`.

use super::conv::weight;
use super::reduce::without;
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Value, activation, named};
use crate::graph::ValueId;
use crate::ops::aggregate::{Aggregate, AggregateFn};
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::pointwise::{Pointwise, PointwiseFn};
use crate::ops::softmax::Softmax;
use crate::tensor::ty::TensorTy;

/// Class numbers are held as `f32`.
const LABEL_MAX: u64 = 1 << 24;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    match at.node.op_type.as_str() {
        "NegativeLogLikelihoodLoss" => Some(loss(cx, at, x, false)),
        "SoftmaxCrossEntropyLoss" => Some(loss(cx, at, x, true)),
        _ => None,
    }
}

fn loss(cx: &mut Importer, at: &At<'_>, x: Operands<'_>, logits: bool) -> Results {
    let (scores, labels) = (cx.val(need(x, 0)?)?, cx.val(need(x, 1)?)?);
    let around: Vec<usize> = (0..scores.rank()).filter(|a| *a != 1).collect();
    let expected: Vec<usize> = around.iter().map(|a| scores.dims[*a]).collect();
    if scores.rank() < 2 || labels.dims != expected {
        return Err(format!("labels of extents {:?} for scores of extents {:?}", labels.dims, scores.dims));
    }
    let ignore = at.get("ignore_index").map(|_| at.int("ignore_index", 0)).transpose()?;
    if let Some(i) = ignore.filter(|i| i.unsigned_abs() > LABEL_MAX) {
        return Err(format!("`ignore_index` is {i}, more than labels can be"));
    }
    let (positions, classes) = (labels.len(), scores.dims[1]);
    let order: Vec<usize> = around.into_iter().chain([1]).collect();
    let rows = cx.refold(&scores.transposed(&order), &[positions, classes])?;
    let rows = cx.act(&rows)?;
    let label = cx.refold(&labels, &[positions, 1])?;
    let label = cx.act(&label)?;
    let per_class = TensorTy::new([("c", classes)]).map_err(|_| "too many classes")?;
    let weights = match opt(x, 2) {
        None => None,
        Some(Value::Host(h)) => Some(cx.weight(h, per_class, false)?),
        Some(graph) => Some(weight(cx, graph, &per_class)?),
    };
    let rule = |logits| CrossEntropy { logits, smooth: 0.0, ignore };
    let operands: Vec<ValueId> = [rows, label].into_iter().chain(weights).collect();
    let each = cx.op(rule(logits), &operands)?;
    let f = match at.text("reduction", "mean")? {
        "none" => None,
        "sum" => Some(AggregateFn::Sum),
        "mean" if weights.is_none() && ignore.is_none() => Some(AggregateFn::Mean),
        "mean" => {
            let counts = match weights {
                // The loss of a position whose log-probabilities are the negative weights is the label's weight.
                Some(w) => {
                    let to = named(&activation(&[positions, classes])?);
                    let all = cx.op(Arrange { to, from: vec![Pick::same(1)] }, &[w])?;
                    let minus = cx.op(Binary::with(BinaryFn::Mul, Number::Right(-1.0)), &[all])?;
                    cx.op(rule(false), &[minus, label])?
                }
                None => {
                    let one = activation(&[1, 1])?;
                    let ignored = cx.graph.constant("ignored", one, vec![ignore.unwrap_or(0) as f32]);
                    let same = cx.op(Pointwise { f: PointwiseFn::Equal }, &[label, ignored])?;
                    cx.op(Pointwise { f: PointwiseFn::Not }, &[same])?
                }
            };
            let sum = || Aggregate { f: AggregateFn::Sum, dims: vec![0, 1] };
            let (total, count) = (cx.op(sum(), &[each])?, cx.op(sum(), &[counts])?);
            let mean = cx.op(Binary::of(BinaryFn::Div), &[total, count])?;
            return finish(cx, at, x, Value::Graph(without(&cx.plain(mean, Elem::Float), &[0, 1])));
        }
        other => {
            return Err(format!("`reduction` is `{}`, none of none, sum and mean", super::super::cut(other)));
        }
    };
    let out = match f {
        None => {
            let each = cx.plain(each, Elem::Float);
            cx.refold(&each, &labels.dims)?
        }
        Some(f) => {
            let total = cx.op(Aggregate { f, dims: vec![0, 1] }, &[each])?;
            without(&cx.plain(total, Elem::Float), &[0, 1])
        }
    };
    finish(cx, at, x, Value::Graph(out))
}

/// The loss, and the logarithms of the probabilities where the node gives them too.
fn finish(cx: &mut Importer, at: &At<'_>, x: Operands<'_>, loss: Value) -> Results {
    let mut out = vec![loss];
    if at.wants(1) {
        let scores = cx.val(need(x, 0)?)?;
        let id = cx.centred(&scores, 1)?;
        let log = cx.op(Softmax { log: true }, &[id])?;
        let log = cx.plain(log, Elem::Float);
        out.push(Value::Graph(cx.refold(&log, &scores.dims)?));
    }
    Ok(out)
}
