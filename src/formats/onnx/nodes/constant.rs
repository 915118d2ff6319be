//! What is known without computing: constants, shapes, ranges.

use super::{Operands, Results, need, opt, tensor};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::{Data, Host};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::read::dense;
use crate::formats::onnx::tensor::{Elem, extents};
use crate::formats::onnx::value::Value;

/// A range of more numbers than this is nothing that a model means.
const RANGE_MAX: f64 = 1e6;

pub(super) fn import(_cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let one = |host: Result<Host, String>| Some(host.map(|h| vec![Value::Host(h)]));
    match at.node.op_type.as_str() {
        "Constant" => one(constant(at)),
        "ConstantOfShape" => one(filled(at, x)),
        "Shape" => one(shape(at, x)),
        "Size" => one(need(x, 0)
            .map(|v| Host::new(Vec::new(), Elem::Int, vec![v.dims().iter().product::<usize>() as f64]))),
        "Range" => one(range(x)),
        "EyeLike" => one(eye(at, x)),
        "Identity" => Some(need(x, 0).map(|v| vec![renamed(at, v)])),
        _ => None,
    }
}

/// The operand. An exporter that stores equal tensors once says the others in this way: of vectors that makes weights of their
/// own, under the names that they had.
fn renamed(at: &At<'_>, value: &Value) -> Value {
    let own = at.node.output.first().filter(|name| !name.is_empty());
    match (value, own) {
        (Value::Host(h), Some(own)) if h.name.is_some() && h.dims.len() == 1 && h.elem == Elem::Float => {
            Value::Host(Host { name: Some(own.as_str().into()), ..h.clone() })
        }
        _ => value.clone(),
    }
}

fn constant(at: &At<'_>) -> Result<Host, String> {
    let name = at.node.output.first().map_or("", String::as_str);
    let floats = |v: &[f32], dims| Host::new(dims, Elem::Float, v.iter().map(|x| f64::from(*x)).collect());
    if let Some(t) = at.tensor("value")? {
        return tensor(t, name);
    }
    if let Some(sparse) = at.get("sparse_value").and_then(|a| a.sparse_tensor.clone()) {
        return dense(sparse);
    }
    if at.get("value_float").is_some() {
        return Ok(floats(&[at.float("value_float", 0.0)?], Vec::new()));
    }
    if let Some(v) = at.floats("value_floats")? {
        return Ok(floats(v, vec![v.len()]));
    }
    if at.get("value_int").is_some() {
        return Ok(Host::new(Vec::new(), Elem::Int, vec![at.int("value_int", 0)? as f64]));
    }
    match at.ints("value_ints")? {
        Some(v) => Ok(Host::ints(v.iter().copied())),
        None => Err("its value is neither a tensor nor numbers".into()),
    }
}

fn filled(at: &At<'_>, x: Operands<'_>) -> Result<Host, String> {
    let dims = extents(&need(x, 0)?.known("the shape")?.integers())?;
    let name = at.node.output.first().map(|o| o.as_str().into());
    let (value, elem) = match at.tensor("value")? {
        None => (0.0, Elem::Float),
        Some(t) => {
            let host = tensor(t, "")?;
            (host.scalar().ok_or("attribute `value` is not one element")?, host.elem)
        }
    };
    Ok(Host { dims, elem, data: Data::Fill(value), name })
}

fn shape(at: &At<'_>, x: Operands<'_>) -> Result<Host, String> {
    let dims = need(x, 0)?.dims();
    let rank = dims.len() as i64;
    let place = |i: i64| (if i < 0 { i.saturating_add(rank) } else { i }).clamp(0, rank) as usize;
    let (start, end) = (place(at.int("start", 0)?), place(at.int("end", rank)?));
    Ok(Host::ints(dims.get(start..end).unwrap_or_default().iter().map(|d| *d as i64)))
}

fn range(x: Operands<'_>) -> Result<Host, String> {
    let number = |i| -> Result<f64, String> {
        need(x, i)?.known("a range")?.scalar().ok_or_else(|| "a bound that is not one number".to_owned())
    };
    let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if step == 0.0 || count.is_nan() || count > RANGE_MAX {
        return Err(format!("a range from {start} to {limit} by {step}"));
    }
    let values: Vec<f64> = (0..count as usize).map(|i| start + i as f64 * step).collect();
    Ok(Host::new(vec![values.len()], need(x, 0)?.elem(), values))
}

fn eye(at: &At<'_>, x: Operands<'_>) -> Result<Host, String> {
    let [rows, columns] = need(x, 0)?.dims() else { return Err("it takes a matrix".into()) };
    let k = at.int("k", 0)?;
    let len =
        rows.checked_mul(*columns).filter(|len| *len as f64 <= RANGE_MAX).ok_or("a matrix too large")?;
    let value = |i: usize| f64::from(u8::from((i % columns) as i64 - (i / columns) as i64 == k));
    let elem =
        if at.int("dtype", 1)? == 1 { Elem::Float } else { opt(x, 0).map_or(Elem::Float, Value::elem) };
    Ok(Host::new(vec![*rows, *columns], elem, (0..len).map(value).collect()))
}
