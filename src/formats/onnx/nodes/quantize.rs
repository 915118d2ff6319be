//! Numbers on a grid of integers and back, in `f32`: what a model says that was made for integers is computed on real numbers,
//! rounded where the model rounds. `scale` and `zero_point` are one number, or one for each place along an axis.

use super::composed::{Build, number, typed};
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::host::{Data, Host};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::{Dtype, Elem};
use crate::formats::onnx::value::Value;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let mut b = Build { cx };
    let result = match at.node.op_type.as_str() {
        "QuantizeLinear" => quantize(&mut b, at, x),
        "DequantizeLinear" => dequantize(&mut b, at, x),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

/// A scale or zero point as it meets the tensor: along its axis.
fn along(b: &mut Build<'_>, at: &At<'_>, value: &Value, rank: usize) -> Result<Value, String> {
    if at.int("block_size", 0)? != 0 {
        return Err("scales of blocks".into());
    }
    match value.dims() {
        [] | [1] => b.reshaped(value, &[]),
        [n] => {
            let a = axis(at.int("axis", 1)?, rank)?;
            let mut dims = vec![1; rank];
            dims[a] = *n;
            b.reshaped(value, &dims)
        }
        _ => Err(format!("scales of extents {:?}", value.dims())),
    }
}

/// `saturate(round(x / scale) + zero_point)`
fn quantize(b: &mut Build<'_>, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let data = need(x, 0)?;
    let rank = data.dims().len();
    let wanted = at.int("output_dtype", 0)?;
    let dtype = match opt(x, 2) {
        Some(Value::Host(Host { data: Data::Raw(raw), .. })) => raw.dtype,
        Some(_) => return Err("a zero point that is no tensor of the file".into()),
        None if wanted == 0 => Dtype::U8,
        None => i32::try_from(wanted).map_err(|_| "an unknown type".to_owned()).and_then(Dtype::of)?,
    };
    let (lo, hi) = match dtype {
        Dtype::U8 => (0.0, 255.0),
        Dtype::I8 => (-128.0, 127.0),
        Dtype::U16 => (0.0, 65535.0),
        Dtype::I16 => (-32768.0, 32767.0),
        Dtype::U4 => (0.0, 15.0),
        Dtype::I4 => (-8.0, 7.0),
        Dtype::U2 => (0.0, 3.0),
        Dtype::I2 => (-2.0, 1.0),
        _ => return Err(format!("numbers of the type {dtype:?}")),
    };
    let scale = along(b, at, need(x, 1)?, rank)?;
    let mut y = typed(b.call("Div", &[&typed(data.clone(), Elem::Float), &scale], Vec::new())?, Elem::Float);
    y = b.call("Round", &[&y], Vec::new())?;
    if let Some(zero) = opt(x, 2) {
        let zero = typed(along(b, at, zero, rank)?, Elem::Float);
        y = b.call("Add", &[&y, &zero], Vec::new())?;
    }
    let y = b.call("Clip", &[&y, &number(lo), &number(hi)], Vec::new())?;
    Ok(typed(y, Elem::Int))
}

/// `(x - zero_point) * scale`
fn dequantize(b: &mut Build<'_>, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let data = need(x, 0)?;
    let rank = data.dims().len();
    let mut y = typed(data.clone(), Elem::Float);
    if let Some(zero) = opt(x, 2) {
        let zero = typed(along(b, at, zero, rank)?, Elem::Float);
        y = b.call("Sub", &[&y, &zero], Vec::new())?;
    }
    let scale = along(b, at, need(x, 1)?, rank)?;
    let y = b.call("Mul", &[&y, &scale], Vec::new())?;
    Ok(typed(y, Elem::Float))
}
