//! Operations that are said by others: each is a few nodes of the standard, imported in their place.
//!
//! What chooses by computed indices compares them with every place and sums what was chosen: `extent` times the work of a load,
//! in exchange for loops whose addresses are known.

use super::{Operands, Results, known_ints, need};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::proto::{Attribute, Node, kind};
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

/// Choices among more places than this in all are refused: what takes seconds is no layer of a network.
pub(super) const CHOICES_MAX: usize = 1 << 24;
/// The operator set that the nodes here speak.
const OPSET: i64 = 18;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let mut b = Build { cx };
    let result = match at.node.op_type.as_str() {
        "GatherElements" => b.gather_elements(at, x),
        "Trilu" => b.trilu(at, x),
        "Shrink" => b.shrink(at, x),
        "Hardmax" => b.hardmax(at, x),
        "OneHot" => b.one_hot(at, x),
        "CumSum" => b.cumulative_sum(at, x),
        "IsInf" => b.is_inf(at, x),
        "ReverseSequence" => b.reverse_sequence(at, x),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

/// A list of integers as an attribute.
pub(super) fn ints(name: &str, list: &[usize]) -> Attribute {
    let ints = list.iter().map(|i| *i as i64).collect();
    Attribute { name: name.to_owned(), r#type: kind::INTS, ints, ..Attribute::default() }
}

/// An integer as an attribute.
pub(super) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), r#type: kind::INT, i, ..Attribute::default() }
}

/// A number as an operand.
pub(super) fn number(x: f64) -> Value {
    Value::Host(Host::new(Vec::new(), Elem::Float, vec![x]))
}

/// Integers as an operand.
pub(super) fn list(values: impl IntoIterator<Item = usize>) -> Value {
    Value::Host(Host::ints(values.into_iter().map(|i| i as i64)))
}

/// Imports nodes one after another.
pub(super) struct Build<'a> {
    /// The import.
    pub(super) cx: &'a mut Importer,
}

impl Build<'_> {
    /// One node's first result.
    pub(super) fn call(
        &mut self,
        op: &str,
        operands: &[&Value],
        attribute: Vec<Attribute>,
    ) -> Result<Value, String> {
        let node =
            Node { op_type: op.to_owned(), output: vec!["result".to_owned()], attribute, ..Node::default() };
        let operands: Vec<Option<Value>> = operands.iter().map(|v| Some((*v).clone())).collect();
        let results = self.cx.node(&At { node: &node, opset: OPSET }, &operands)?;
        let result = results.into_iter().next().ok_or_else(|| format!("`{op}` makes no result"))?;
        // What is folded here bears the name of the node around; several would be taken for one weight.
        Ok(match result {
            Value::Host(h) => Value::Host(Host { name: None, ..h }),
            graph @ Value::Graph(_) => graph,
        })
    }

    pub(super) fn transposed(&mut self, x: &Value, order: &[usize]) -> Result<Value, String> {
        self.call("Transpose", &[x], vec![ints("perm", order)])
    }

    pub(super) fn reshaped(&mut self, x: &Value, dims: &[usize]) -> Result<Value, String> {
        self.call("Reshape", &[x, &list(dims.iter().copied())], vec![int("allowzero", 1)])
    }

    fn unsqueezed(&mut self, x: &Value, axis: usize) -> Result<Value, String> {
        self.call("Unsqueeze", &[x, &list([axis])], Vec::new())
    }

    /// Indices counted from the front.
    pub(super) fn wrapped(&mut self, indices: &Value, extent: usize) -> Result<Value, String> {
        if let Value::Host(h) = indices {
            let n = extent as i64;
            let places: Vec<i64> = h.integers().iter().map(|i| if *i < 0 { i + n } else { *i }).collect();
            if places.iter().any(|i| !(0..n).contains(i)) {
                return Err(format!("an index beyond the {extent} of its axis"));
            }
            return Ok(Value::Host(Host { dims: h.dims.clone(), ..Host::ints(places) }));
        }
        let below = self.call("Less", &[indices, &number(0.0)], Vec::new())?;
        let moved = self.call("Add", &[indices, &number(extent as f64)], Vec::new())?;
        self.call("Where", &[&below, &moved, indices], Vec::new())
    }

    /// Where along a new last axis of `extent` the index is the place.
    pub(super) fn places(&mut self, indices: &Value, extent: usize) -> Result<Value, String> {
        let wide = self.unsqueezed(indices, indices.dims().len())?;
        self.call("Equal", &[&wide, &list(0..extent)], Vec::new())
    }

    /// `y[i, j, k] = x[i, index[i, j, k], k]`
    fn gather_elements(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let (data, indices) = (need(x, 0)?, need(x, 1)?);
        let rank = data.dims().len();
        let a = axis(at.int("axis", 0)?, rank)?;
        let to = indices.dims().to_vec();
        if to.len() != rank || (0..rank).any(|d| d != a && to[d] > data.dims()[d]) {
            return Err(format!("indices of extents {to:?} into {:?}", data.dims()));
        }
        let extent = data.dims()[a];
        let all = to.iter().product::<usize>().checked_mul(extent).filter(|n| *n <= CHOICES_MAX);
        all.ok_or("a choice among more elements than is sensible")?;
        let others: Vec<usize> = (0..rank).filter(|d| *d != a && to[*d] != data.dims()[*d]).collect();
        let mut from = data.clone();
        if !others.is_empty() {
            let ends = list(others.iter().map(|d| to[*d]));
            let (starts, axes) = (list(others.iter().map(|_| 0)), list(others.iter().copied()));
            from = self.call("Slice", &[&from, &starts, &ends, &axes], Vec::new())?;
        }
        // The axis goes last, and one of extent 1 takes its place.
        let order: Vec<usize> = (0..rank).filter(|d| *d != a).chain([a]).collect();
        let from = self.transposed(&from, &order)?;
        let from = self.unsqueezed(&from, a)?;
        let indices = self.wrapped(indices, extent)?;
        let here = self.places(&indices, extent)?;
        let chosen = self.call("Where", &[&here, &from, &number(0.0)], Vec::new())?;
        let sum = self.call("ReduceSum", &[&chosen, &list([rank])], vec![int("keepdims", 0)])?;
        Ok(typed(sum, data.elem()))
    }

    /// The part of the last two axes at or above (below) a diagonal.
    fn trilu(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let data = need(x, 0)?;
        let [.., h, w] = data.dims() else { return Err("it has no two dimensions".into()) };
        let k = known_ints(x, 1, "the diagonal")?.and_then(|k| k.first().copied()).unwrap_or(0);
        let upper = at.flag("upper", true)?;
        if h.saturating_mul(*w) > CHOICES_MAX {
            return Err(format!("a triangle of {h} rows and {w} columns"));
        }
        let keeps = |i: usize, j: usize| {
            let off = j as i64 - i as i64;
            if upper { off >= k } else { off <= k }
        };
        let mask = (0..*h).flat_map(|i| (0..*w).map(move |j| f64::from(u8::from(keeps(i, j))))).collect();
        let mask = Value::Host(Host::new(vec![*h, *w], Elem::Bool, mask));
        let cut = self.call("Where", &[&mask, data, &number(0.0)], Vec::new())?;
        Ok(typed(cut, data.elem()))
    }

    /// `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0.
    fn shrink(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let (bias, limit) = (f64::from(at.float("bias", 0.0)?), f64::from(at.float("lambd", 0.5)?));
        let x = need(x, 0)?;
        let below = self.call("Less", &[x, &number(-limit)], Vec::new())?;
        let above = self.call("Less", &[&number(limit), x], Vec::new())?;
        let up = self.call("Add", &[x, &number(bias)], Vec::new())?;
        let down = self.call("Sub", &[x, &number(bias)], Vec::new())?;
        let high = self.call("Where", &[&above, &down, &number(0.0)], Vec::new())?;
        self.call("Where", &[&below, &up, &high], Vec::new())
    }

    /// 1 at the first of the greatest along an axis.
    fn hardmax(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let data = need(x, 0)?;
        let dims = data.dims().to_vec();
        let a = axis(at.int("axis", if at.opset < 13 { 1 } else { -1 })?, dims.len())?;
        // Older operator sets look at all axes from this one on as one.
        let (flat, a) = match at.opset {
            ..13 => (vec![dims[..a].iter().product(), dims[a..].iter().product()], 1),
            _ => (dims.clone(), a),
        };
        let x = self.reshaped(data, &flat)?;
        let best = self.call("ArgMax", &[&x], vec![int("axis", a as i64), int("keepdims", 0)])?;
        let here = self.places(&best, flat[a])?;
        let mut order: Vec<usize> = (0..flat.len() - 1).collect();
        order.insert(a, flat.len() - 1);
        let here = self.transposed(&here, &order)?;
        let here = self.call("Where", &[&here, &number(1.0), &number(0.0)], Vec::new())?;
        self.reshaped(&here, &dims)
    }

    fn one_hot(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let indices = need(x, 0)?;
        let depth = known_ints(x, 1, "the depth")?.and_then(|d| d.first().copied());
        let depth = depth.and_then(|d| usize::try_from(d).ok()).filter(|d| (1..=1 << 24).contains(d));
        let depth = depth.ok_or("a depth that is none")?;
        let all = indices.dims().iter().product::<usize>().checked_mul(depth).filter(|n| *n <= CHOICES_MAX);
        all.ok_or("more elements than is sensible")?;
        let Value::Host(values) = need(x, 2)? else {
            return Err("the two values must be known when the model is compiled".into());
        };
        let listed = if values.len() == 2 { values.values() } else { Vec::new().into() };
        let [off, on] = listed[..] else { return Err("the values are not two".into()) };
        let rank = indices.dims().len();
        let a = axis(at.int("axis", -1)?, rank + 1)?;
        let below = self.call("Less", &[indices, &number(0.0)], Vec::new())?;
        let moved = self.call("Add", &[indices, &number(depth as f64)], Vec::new())?;
        let from = self.call("Where", &[&below, &moved, indices], Vec::new())?;
        let here = self.places(&from, depth)?;
        let mut order: Vec<usize> = (0..rank).collect();
        order.insert(a, rank);
        let here = self.transposed(&here, &order)?;
        let chosen = self.call("Where", &[&here, &number(on), &number(off)], Vec::new())?;
        Ok(typed(chosen, values.elem))
    }

    /// Sums up to each place: a product with a triangle of ones.
    fn cumulative_sum(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let data = need(x, 0)?;
        let rank = data.dims().len();
        let a =
            known_ints(x, 1, "the axis")?.and_then(|a| a.first().copied()).ok_or("the axis is missing")?;
        let a = axis(a, rank)?;
        let n = data.dims()[a];
        if n.saturating_mul(data.dims().iter().product()) > CHOICES_MAX {
            return Err(format!("sums along an axis of {n}"));
        }
        let (exclusive, reverse) = (at.flag("exclusive", false)?, at.flag("reverse", false)?);
        let counts = |i: usize, j: usize| match (reverse, exclusive) {
            (false, false) => i <= j,
            (false, true) => i < j,
            (true, false) => i >= j,
            (true, true) => i > j,
        };
        let ones = (0..n).flat_map(|i| (0..n).map(move |j| f64::from(u8::from(counts(i, j))))).collect();
        let ones = Value::Host(Host::new(vec![n, n], Elem::Float, ones));
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(a, rank - 1);
        let rows = self.transposed(data, &order)?;
        let around: usize = data.dims().iter().product::<usize>() / n.max(1);
        let dims = rows.dims().to_vec();
        let rows = self.reshaped(&rows, &[around, n])?;
        let sums = self.call("MatMul", &[&rows, &ones], Vec::new())?;
        let sums = self.reshaped(&sums, &dims)?;
        let back = self.transposed(&sums, &order)?;
        Ok(typed(back, data.elem()))
    }

    /// The first elements of each part of the batch in the opposite order, so many as are said for it: what TensorFlow's converter
    /// makes of turning an axis round.
    fn reverse_sequence(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let data = need(x, 0)?;
        let dims = data.dims().to_vec();
        let lengths = known_ints(x, 1, "the lengths")?.ok_or("the lengths are missing")?;
        let (b, t) =
            (axis(at.int("batch_axis", 1)?, dims.len())?, axis(at.int("time_axis", 0)?, dims.len())?);
        let (batch, time) = (dims[b], dims[t]);
        let places = |len: &i64| -> Option<Vec<usize>> {
            let len = usize::try_from(*len).ok().filter(|len| *len <= time)?;
            Some((0..len).rev().chain(len..time).collect())
        };
        let wrong = || format!("lengths {lengths:?} of {batch} parts of {time} elements");
        let all = batch.checked_mul(time).filter(|n| *n <= CHOICES_MAX && lengths.len() == batch && b != t);
        all.ok_or_else(wrong)?;
        let first = lengths.first().and_then(places).ok_or_else(wrong)?;
        if lengths.iter().all(|l| *l == lengths[0]) {
            return self.call("Gather", &[data, &list(first)], vec![int("axis", t as i64)]);
        }
        let tables: Vec<Vec<usize>> = lengths.iter().map(places).collect::<Option<_>>().ok_or_else(wrong)?;
        let table = tables.iter().enumerate().flat_map(|(i, row)| row.iter().map(move |p| i * time + p));
        let order: Vec<usize> =
            [b, t].into_iter().chain((0..dims.len()).filter(|d| *d != b && *d != t)).collect();
        let turned = self.transposed(data, &order)?;
        let to = turned.dims().to_vec();
        let rows: Vec<usize> = [batch * time].into_iter().chain(to[2..].iter().copied()).collect();
        let rows = self.reshaped(&turned, &rows)?;
        let rows = self.call("Gather", &[&rows, &list(table)], vec![int("axis", 0)])?;
        let y = self.reshaped(&rows, &to)?;
        let back: Vec<usize> =
            (0..dims.len()).map(|d| order.iter().position(|o| *o == d).unwrap_or(d)).collect();
        self.transposed(&y, &back)
    }

    fn is_inf(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let x = need(x, 0)?;
        let up = self.call("Less", &[&number(f64::from(f32::MAX)), x], Vec::new())?;
        let down = self.call("Less", &[x, &number(f64::from(f32::MIN))], Vec::new())?;
        match (at.flag("detect_positive", true)?, at.flag("detect_negative", true)?) {
            (true, true) => self.call("Or", &[&up, &down], Vec::new()),
            (true, false) => Ok(up),
            (false, true) => Ok(down),
            (false, false) => self.call("And", &[&up, &down], Vec::new()),
        }
    }
}

/// The value with another arithmetic.
pub(super) fn typed(value: Value, elem: Elem) -> Value {
    match value {
        Value::Host(h) => Value::Host(Host { elem, ..h }),
        Value::Graph(v) => Value::Graph(crate::formats::onnx::value::Val { elem, ..v }),
    }
}
