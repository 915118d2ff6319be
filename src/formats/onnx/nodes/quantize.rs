//! Numbers on a grid of integers and back, in `f32`: what a model says that was made for integers is computed on real numbers,
//! rounded where the model rounds. `scale` and `zero_point` are one number, or one for each place along an axis.

use super::composed::{Build, int, list, number, typed};
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
fn along(b: &mut Build<'_>, at: &At<'_>, value: &Value, shape: &[usize]) -> Result<Value, String> {
    let rank = shape.len();
    let block = usize::try_from(at.int("block_size", 0)?).map_err(|_| "a negative `block_size`")?;
    if block > 0 {
        // One for each block along the axis: each is repeated.
        let a = axis(at.int("axis", 1)?, rank)?;
        let whole =
            shape.len() == rank && value.dims().len() == rank && value.dims()[a] == shape[a].div_ceil(block);
        if !whole {
            return Err(format!("scales of extents {:?} for blocks of {block} of {shape:?}", value.dims()));
        }
        let table = list((0..shape[a]).map(|i| i / block));
        return b.call("Gather", &[value, &table], vec![int("axis", a as i64)]);
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
    let shape = data.dims().to_vec();
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
        Dtype::F8E4M3Fn | Dtype::F8E4M3Fnuz | Dtype::F8E5M2 | Dtype::F8E5M2Fnuz | Dtype::F4E2M1 => {
            let scale = along(b, at, need(x, 1)?, &shape)?;
            let y = b.call("Div", &[&typed(data.clone(), Elem::Float), &scale], Vec::new())?;
            return narrowed(b, &typed(y, Elem::Float), dtype, at.flag("saturate", true)?);
        }
        _ => return Err(format!("numbers of the type {dtype:?}")),
    };
    let scale = along(b, at, need(x, 1)?, &shape)?;
    let mut y = typed(b.call("Div", &[&typed(data.clone(), Elem::Float), &scale], Vec::new())?, Elem::Float);
    y = b.call("Round", &[&y], Vec::new())?;
    if let Some(zero) = opt(x, 2) {
        let zero = typed(along(b, at, zero, &shape)?, Elem::Float);
        y = b.call("Add", &[&y, &zero], Vec::new())?;
    }
    let y = b.call("Clip", &[&y, &number(lo), &number(hi)], Vec::new())?;
    Ok(typed(y, Elem::Int))
}

/// Numbers as a type of few bits holds them, in `f32`: rounded to its nearest, to the even one of two; integers modulo their range.
/// Beyond the greatest it stays there if that is to `saturate`.
pub(super) fn narrowed(b: &mut Build<'_>, x: &Value, to: Dtype, saturate: bool) -> Result<Value, String> {
    let modulo = |b: &mut Build<'_>, least: f64, count: f64| {
        let from = b.call("Sub", &[&typed(x.clone(), Elem::Float), &number(least)], Vec::new())?;
        let turns = b.call("Div", &[&from, &number(count)], Vec::new())?;
        let turns = b.call("Floor", &[&turns], Vec::new())?;
        let whole = b.call("Mul", &[&turns, &number(count)], Vec::new())?;
        let y = b.call("Sub", &[&typed(x.clone(), Elem::Float), &whole], Vec::new())?;
        Ok(typed(y, Elem::Int))
    };
    // Bits of the fraction, least and greatest exponent, the greatest number, what stands beyond it.
    let (bits, low, high, most, beyond) = match to {
        Dtype::I4 => return modulo(b, -8.0, 16.0),
        Dtype::U4 => return modulo(b, 0.0, 16.0),
        Dtype::I2 => return modulo(b, -2.0, 4.0),
        Dtype::U2 => return modulo(b, 0.0, 4.0),
        Dtype::F8E4M3Fn => (3, -6, 8, 448.0, f64::NAN),
        Dtype::F8E4M3Fnuz => (3, -7, 7, 240.0, f64::NAN),
        Dtype::F8E5M2 => (2, -14, 15, 57344.0, f64::INFINITY),
        Dtype::F8E5M2Fnuz => (2, -15, 15, 57344.0, f64::NAN),
        Dtype::F4E2M1 => (1, 0, 2, 6.0, 6.0),
        _ => return Err(format!("a cast to {to:?}, in which numbers are stored but not computed with")),
    };
    let power = |e: i32| number(libm::exp2(f64::from(e)));
    let size = b.call("Abs", &[x], Vec::new())?;
    // The distance of neighbours doubles from one power of two to the next.
    let mut step = power(low - bits);
    for e in low + 1..=high {
        let below = b.call("Less", &[&size, &power(e)], Vec::new())?;
        let more = b.call("Where", &[&below, &number(0.0), &power(e - bits - 1)], Vec::new())?;
        step = b.call("Add", &[&step, &more], Vec::new())?;
    }
    let y = b.call("Div", &[x, &step], Vec::new())?;
    let y = b.call("Round", &[&y], Vec::new())?;
    let y = b.call("Mul", &[&y, &step], Vec::new())?;
    let y = if to == Dtype::F4E2M1 {
        // It holds nothing that is no number.
        let sound = b.call("Equal", &[&y, &y], Vec::new())?;
        let y = b.call("Where", &[&sound, &y, &number(0.0)], Vec::new())?;
        b.call("Clip", &[&y, &number(-most), &number(most)], Vec::new())?
    } else if saturate {
        b.call("Clip", &[&y, &number(-most), &number(most)], Vec::new())?
    } else {
        let (above, under) = (
            b.call("Greater", &[&y, &number(most)], Vec::new())?,
            b.call("Less", &[&y, &number(-most)], Vec::new())?,
        );
        let y = b.call("Where", &[&above, &number(beyond), &y], Vec::new())?;
        b.call("Where", &[&under, &number(-beyond), &y], Vec::new())?
    };
    Ok(typed(y, Elem::Float))
}

/// `(x - zero_point) * scale`
fn dequantize(b: &mut Build<'_>, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let data = need(x, 0)?;
    let shape = data.dims().to_vec();
    let mut y = typed(data.clone(), Elem::Float);
    if let Some(zero) = opt(x, 2) {
        let zero = typed(along(b, at, zero, &shape)?, Elem::Float);
        y = b.call("Sub", &[&y, &zero], Vec::new())?;
    }
    let scale = along(b, at, need(x, 1)?, &shape)?;
    let y = b.call("Mul", &[&y, &scale], Vec::new())?;
    Ok(typed(y, Elem::Float))
}
