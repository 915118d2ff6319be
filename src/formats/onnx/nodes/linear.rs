//! Products of matrices: with a known right operand they are dense layers, on channels; otherwise general products.

use super::conv::weight;
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Val, Value, general, named};
use crate::graph::ValueId;
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::conv::Conv;
use crate::ops::dense::Dense;
use crate::ops::geometry::{Geometry, Linking, Share};
use crate::ops::matmul::MatMul;
use crate::ops::window::{Padding, WindowSpec};
use crate::tensor::ty::TensorTy;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let result = match at.node.op_type.as_str() {
        "Gemm" => gemm(cx, at, x),
        "MatMul" => need(x, 0).and_then(|a| matmul(cx, a, need(x, 1)?)),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

fn gemm(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let (alpha, beta) = (at.float("alpha", 1.0)?, at.float("beta", 1.0)?);
    let (a, b) = (need(x, 0)?, need(x, 1)?);
    if a.dims().len() != 2 || b.dims().len() != 2 {
        return Err(format!("of tensors of extents {:?} and {:?}, not matrices", a.dims(), b.dims()));
    }
    let a = cx.val(a)?;
    let a = if at.flag("transA", false)? { a.transposed(&[1, 0]) } else { a };
    let turned = at.flag("transB", false)?;
    let c = opt(x, 2);
    let scaled = |cx: &mut Importer, v: Value, by: f32| -> Result<Value, String> {
        if by == 1.0 {
            return Ok(v);
        }
        let v = cx.val(&v)?;
        let y = cx.op(Binary::with(BinaryFn::Mul, Number::Right(by)), &[v.id])?;
        Ok(Value::Graph(cx.like(&v, y)))
    };
    let channels = b.dims()[usize::from(!turned)];
    let depth = b.dims()[usize::from(turned)];
    if a.dims[1] != depth {
        return Err(format!("{} columns times {depth} rows", a.dims[1]));
    }
    // A bias of one number a channel belongs to the layer.
    let is_bias = |c: &Value| c.dims() == [channels] || c.dims() == [1, channels];
    let inner = c.filter(|c| alpha == 1.0 && beta == 1.0 && is_bias(c) && matches!(c, Value::Host(_)));
    let y = match b {
        Value::Host(_) => dense(cx, &a, b, turned, inner)?,
        Value::Graph(b) => {
            let b = if turned { b.transposed(&[1, 0]) } else { b.clone() };
            let y = product(cx, &a, &b)?;
            match inner {
                Some(c) => super::binary::arithmetic(cx, BinaryFn::Add, &y, c)?,
                None => y,
            }
        }
    };
    let y = scaled(cx, y, alpha)?;
    match c.filter(|_| inner.is_none()) {
        None => Ok(y),
        Some(c) => {
            let c = scaled(cx, c.clone(), beta)?;
            super::binary::arithmetic(cx, BinaryFn::Add, &y, &c)
        }
    }
}

/// `a` times a known matrix, as a layer: weights `[o, i]`.
fn dense(cx: &mut Importer, a: &Val, b: &Value, turned: bool, bias: Option<&Value>) -> Result<Value, String> {
    let (channels, depth) = (b.dims()[usize::from(!turned)], b.dims()[usize::from(turned)]);
    let pair = |first, second| TensorTy::new([first, second]).map_err(|_| "a weight too large".to_owned());
    let ty = pair(("o", channels), ("i", depth))?;
    let w = if turned {
        weight(cx, b, &ty)?
    } else {
        let w = weight(cx, b, &pair(("i", depth), ("o", channels))?)?;
        cx.op(Arrange { to: named(&ty), from: vec![Pick::same(1), Pick::same(0)] }, &[w])?
    };
    let o = TensorTy::new([("o", channels)]).map_err(|_| "too many channels")?;
    let bias = bias.map(|c| weight(cx, c, &o)).transpose()?;
    let id = cx.act(a)?;
    let operands: Vec<ValueId> = [id, w].into_iter().chain(bias).collect();
    let y = cx.op(Dense { channels, bias: bias.is_some() }, &operands)?;
    Ok(Value::Graph(cx.plain(y, Elem::Float)))
}

/// Channels times a known matrix at each position of the grid: a convolution of one tap.
fn across_channels(cx: &mut Importer, x: ValueId, b: &Value) -> Result<ValueId, String> {
    let channels = b.dims()[1];
    let rank = cx.graph.value(x).ty.rank();
    let window = WindowSpec {
        kernel: vec![1; rank],
        stride: vec![1; rank],
        dilation: vec![1; rank],
        pad: Padding::Valid,
    };
    let geometry = Geometry { window, share: Share::All, links: Linking::Dense, flip: false };
    let ty = geometry.weight_ty(&cx.graph.value(x).ty, channels, &[]).map_err(|e| e.message)?;
    let pair = TensorTy::new([("i", b.dims()[0]), ("o", channels)]).map_err(|_| "a weight too large")?;
    let w = weight(cx, b, &pair)?;
    // `[o, i, 1, 1]` from `[i, o]`
    let w = cx.op(Arrange { to: named(&ty), from: vec![Pick::same(1), Pick::same(0)] }, &[w])?;
    cx.op(Conv { channels, geometry, bias: false }, &[x, w])
}

/// The product of two values of the graph, batch dimensions broadcast.
fn product(cx: &mut Importer, a: &Val, b: &Val) -> Result<Value, String> {
    let rank = a.rank().max(b.rank());
    let elem = a.elem;
    let mut ids = Vec::new();
    for v in [a, b] {
        let mut dims = vec![1; rank - v.rank()];
        dims.extend(&v.dims);
        let wide = v.refitted(&dims).ok_or("a leading dimension")?;
        ids.push(cx.cast(&wide, &general(&dims)?)?);
    }
    let y = cx.op(MatMul, &ids)?;
    Ok(Value::Graph(cx.plain(y, elem)))
}

fn matmul(cx: &mut Importer, a: &Value, b: &Value) -> Result<Value, String> {
    if a.dims().is_empty() || b.dims().is_empty() {
        return Err("of a number".into());
    }
    // A vector on the left is a row, on the right a column.
    let (row, column) = (a.dims().len() == 1, b.dims().len() == 1);
    let left = cx.val(a)?;
    let left = if row { left.refitted(&[1, left.dims[0]]).ok_or("a row")? } else { left };
    let known = matches!(b, Value::Host(_)) && b.dims().len() == 2 && !cx.is_scratch();
    let fits = known && b.dims()[0] == left.dims[left.rank() - 1];
    let y = if let Some(id) = cx.channels_last(&left).filter(|_| fits && !row) {
        let y = across_channels(cx, id, b)?;
        cx.like(&left, y)
    } else if fits {
        let depth = b.dims()[0];
        let rows = left.len() / depth.max(1);
        let flat = if left.rank() == 2 { left.clone() } else { cx.refold(&left, &[rows, depth])? };
        let y = dense(cx, &flat, b, false, None)?;
        let mut dims = left.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = b.dims()[1];
        }
        let v = cx.val(&y)?;
        cx.refold(&v, &dims)?
    } else {
        let right = cx.val(b)?;
        let right = if column { right.refitted(&[right.dims[0], 1]).ok_or("a column")? } else { right };
        let y = product(cx, &left, &right)?;
        cx.val(&y)?
    };
    let mut kept: Vec<usize> = (0..y.rank()).collect();
    if column {
        kept.pop();
    }
    if row {
        kept.remove(kept.len() - 1 - usize::from(!column));
    }
    Ok(Value::Graph(y.transposed(&kept)))
}
