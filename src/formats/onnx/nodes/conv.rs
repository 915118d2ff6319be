//! Convolution and its transpose.

use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Value, activation};
use crate::graph::ValueId;
use crate::ops::conv::Conv;
use crate::ops::geometry::{Geometry, Linking, Share};
use crate::ops::pad::{Pad, PadMode};
use crate::ops::slice::{Cut, Slice};
use crate::ops::unconv::Unconv;
use crate::ops::window::{Padding, WINDOW_MAX, WindowSpec};
use crate::tensor::ty::TensorTy;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    match at.node.op_type.as_str() {
        "Conv" => Some(conv(cx, at, x)),
        "ConvTranspose" => Some(transposed(cx, at, x)),
        _ => None,
    }
}

/// A list of one size per grid axis.
pub(super) fn sizes(at: &At<'_>, name: &str, rank: usize, default: usize) -> Result<Vec<usize>, String> {
    let Some(list) = at.ints(name)? else { return Ok(vec![default; rank]) };
    if list.len() != rank {
        return Err(format!("`{name}` {list:?} on a grid of rank {rank}"));
    }
    let size = |v: &i64| usize::try_from(*v).ok().filter(|v| *v >= 1 && *v as i64 <= WINDOW_MAX);
    list.iter().map(size).collect::<Option<_>>().ok_or_else(|| format!("`{name}` {list:?}"))
}

/// Padding from `auto_pad` and `pads`. Negative sides come as what must be cut off first.
pub(super) fn padding(at: &At<'_>, rank: usize) -> Result<(Padding, Vec<(usize, usize)>), String> {
    let none = vec![(0, 0); rank];
    match at.text("auto_pad", "NOTSET")? {
        "VALID" => return Ok((Padding::Valid, none)),
        "SAME_UPPER" => return Ok((Padding::Same, none)),
        "SAME_LOWER" => return Ok((Padding::SameLo, none)),
        "NOTSET" | "" => {}
        other => return Err(format!("`auto_pad` {other}")),
    }
    let Some(pads) = at.ints("pads")? else { return Ok((Padding::Sides(none.clone()), none)) };
    if pads.len() != 2 * rank || pads.iter().any(|p| p.saturating_abs() > WINDOW_MAX) {
        return Err(format!("`pads` {pads:?} on a grid of rank {rank}"));
    }
    let side = |i: usize| (pads[i].max(0) as usize, pads[i + rank].max(0) as usize);
    let cut = |i: usize| ((-pads[i]).max(0) as usize, (-pads[i + rank]).max(0) as usize);
    Ok((Padding::Sides((0..rank).map(side).collect()), (0..rank).map(cut).collect()))
}

/// The activation without what negative padding cuts off.
pub(super) fn cropped(cx: &mut Importer, x: ValueId, cuts: &[(usize, usize)]) -> Result<ValueId, String> {
    let mut list = Vec::new();
    for (axis, (lo, hi)) in cuts.iter().enumerate().filter(|(_, c)| **c != (0, 0)) {
        let extent = cx.graph.value(x).ty.dims()[axis + 2];
        let len = extent.checked_sub(lo + hi).filter(|l| *l > 0).ok_or("padding that cuts everything off")?;
        list.push(Cut { dim: axis + 2, start: *lo, len });
    }
    if list.is_empty() { Ok(x) } else { cx.op(Slice { cuts: list }, &[x]) }
}

/// A weight tensor as the operation wants it.
pub(super) fn weight(cx: &mut Importer, value: &Value, ty: &TensorTy) -> Result<ValueId, String> {
    match value {
        Value::Host(h) => cx.weight(h, ty.clone(), true),
        Value::Graph(v) if v.dims == ty.dims() => cx.cast(v, ty),
        Value::Graph(v) => {
            let v = cx.refold(v, ty.dims())?;
            cx.cast(&v, ty)
        }
    }
}

/// The bias, if there is one that is not 0 everywhere by being left out.
fn bias(cx: &mut Importer, x: Operands<'_>, channels: usize) -> Result<Option<ValueId>, String> {
    let ty = TensorTy::new([("o", channels)]).map_err(|_| "too many channels")?;
    opt(x, 2).map(|b| weight(cx, b, &ty)).transpose()
}

fn conv(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let kernel_dims = need(x, 1)?.dims().to_vec();
    let input = cx.val(need(x, 0)?)?;
    let rank = input.rank().checked_sub(2).ok_or("its input has no channels")?;
    if kernel_dims.len() != rank + 2 {
        return Err(format!("a weight of extents {kernel_dims:?} on a grid of rank {rank}"));
    }
    let (pad, cuts) = padding(at, rank)?;
    let id = cx.act(&input)?;
    let id = cropped(cx, id, &cuts)?;
    let kernel = match at.ints("kernel_shape")? {
        Some(_) => sizes(at, "kernel_shape", rank, 1)?,
        None => kernel_dims[2..].to_vec(),
    };
    let window = WindowSpec {
        kernel,
        stride: sizes(at, "strides", rank, 1)?,
        dilation: sizes(at, "dilations", rank, 1)?,
        pad,
    };
    let links = links(at)?;
    let geometry = Geometry { window, share: Share::All, links, flip: false };
    let channels = kernel_dims[0];
    let ty = geometry.weight_ty(&cx.graph.value(id).ty, channels, &[]).map_err(|e| e.message)?;
    if ty.dims() != kernel_dims {
        return Err(format!("a weight of extents {kernel_dims:?} where {:?} are needed", ty.dims()));
    }
    let w = weight(cx, need(x, 1)?, &ty)?;
    let b = bias(cx, x, channels)?;
    let op = Conv { channels, geometry, bias: b.is_some() };
    let operands: Vec<ValueId> = [id, w].into_iter().chain(b).collect();
    let y = cx.op(op, &operands)?;
    Ok(vec![Value::Graph(cx.plain(y, Elem::Float))])
}

fn links(at: &At<'_>) -> Result<Linking, String> {
    match at.int("group", 1)? {
        1 => Ok(Linking::Dense),
        g if (2..=WINDOW_MAX).contains(&g) => Ok(Linking::Groups(g as usize)),
        g => Err(format!("`group` {g}")),
    }
}

/// What a transposed convolution makes on one axis: the extent, and positions cut off at either end of the whole sum.
struct Extent {
    out: usize,
    pads: (usize, usize),
    /// Zeros that stand after everything that any input reaches.
    extra: usize,
}

fn transposed(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    let kernel_dims = need(x, 1)?.dims().to_vec();
    let input = cx.val(need(x, 0)?)?;
    let rank = input.rank().checked_sub(2).ok_or("its input has no channels")?;
    if kernel_dims.len() != rank + 2 {
        return Err(format!("a weight of extents {kernel_dims:?} on a grid of rank {rank}"));
    }
    let id = cx.act(&input)?;
    let (kernel, stride) = (kernel_dims[2..].to_vec(), sizes(at, "strides", rank, 1)?);
    let dilation = sizes(at, "dilations", rank, 1)?;
    let links = links(at)?;
    let groups = match &links {
        Linking::Groups(g) => *g,
        Linking::Dense | Linking::Table(_) => 1,
    };
    let channels = kernel_dims[1].checked_mul(groups).ok_or("too many channels")?;
    let mut extents = Vec::new();
    for a in 0..rank {
        let reach = dilation[a].checked_mul(kernel[a] - 1).ok_or("a kernel too large")? + 1;
        let whole = (input.dims[a + 2] - 1).checked_mul(stride[a]).and_then(|w| w.checked_add(reach));
        extents.push(extent(
            at,
            a,
            rank,
            whole.ok_or("an extent too large")?,
            input.dims[a + 2] * stride[a],
        )?);
    }
    let pad = Padding::Sides(extents.iter().map(|e| e.pads).collect());
    let window = WindowSpec { kernel, stride, dilation, pad };
    let geometry = Geometry { window, share: Share::All, links, flip: false };
    let size = Some(extents.iter().map(|e| e.out - e.extra).collect());
    let mut op = Unconv { channels, geometry, size, bias: false };
    let ty = cx.graph.value(id).ty.clone();
    let out = op.output(&ty).map_err(|e| e.message)?;
    let wanted = op.weight_ty(&ty, &out).map_err(|e| e.message)?;
    let w = weight(cx, need(x, 1)?, &wanted)?;
    let b = bias(cx, x, channels)?;
    let extra = extents.iter().any(|e| e.extra > 0);
    op.bias = b.is_some() && !extra;
    let operands: Vec<ValueId> = [id, w].into_iter().chain(b.filter(|_| op.bias)).collect();
    let mut y = cx.op(op, &operands)?;
    if extra {
        let sides = extents.iter().map(|e| (0, e.extra)).collect();
        y = cx.op(Pad { sides, mode: PadMode::Constant(0.0) }, &[y])?;
        if let Some(b) = b {
            let c = TensorTy::new([("c", channels)]).map_err(|_| "too many channels")?;
            let b = cx.cast(&cx.plain(b, Elem::Float), &c)?;
            y = cx.op(crate::ops::binary::Binary::of(crate::ops::binary::BinaryFn::Add), &[y, b])?;
        }
    }
    activation(cx.graph.value(y).ty.dims())?;
    Ok(vec![Value::Graph(cx.plain(y, Elem::Float))])
}

/// The extent of axis `a`; `whole` is what all inputs reach, `even` is input times stride.
fn extent(at: &At<'_>, a: usize, rank: usize, whole: usize, even: usize) -> Result<Extent, String> {
    let list = |name: &str| -> Result<Option<i64>, String> {
        match at.ints(name)? {
            Some(l) if l.len() == rank => Ok(Some(l[a])),
            // Some exporters write the whole shape.
            Some(l) if l.len() == rank + 2 && name == "output_shape" => Ok(Some(l[a + 2])),
            Some(l) => Err(format!("`{name}` {l:?} on a grid of rank {rank}")),
            None => Ok(None),
        }
    };
    let extra = list("output_padding")?.unwrap_or(0);
    let auto = at.text("auto_pad", "NOTSET")?;
    let whole = whole as i64;
    let (out, lo, hi) = match (list("output_shape")?, auto) {
        (None, "NOTSET" | "" | "VALID") => {
            let pads = at.ints("pads")?.filter(|_| auto != "VALID");
            let (lo, hi) = match pads {
                Some(p) if p.len() == 2 * rank => (p[a], p[a + rank]),
                Some(p) => return Err(format!("`pads` {p:?} on a grid of rank {rank}")),
                None => (0, 0),
            };
            (whole + extra - lo - hi, lo, hi - extra)
        }
        (shape, _) => {
            let out = shape.unwrap_or(even as i64);
            let total = whole + extra - out;
            let less = total.div_euclid(2);
            let lo = if auto == "SAME_UPPER" { less } else { total - less };
            (out, lo, whole - out - lo)
        }
    };
    let fits = |v: i64| (0..=WINDOW_MAX).contains(&v);
    if !fits(extra) || !fits(lo) || !(1..=WINDOW_MAX * 64).contains(&out) {
        return Err(format!("padding {lo} and {hi} for an output of {out} on axis {a}"));
    }
    // What stands beyond the whole sum is 0.
    let beyond = (-hi).max(0);
    if beyond >= out {
        return Err(format!("an output padding of {extra} for an output of {out} on axis {a}"));
    }
    Ok(Extent { out: out as usize, pads: (lo as usize, hi.max(0) as usize), extra: beyond as usize })
}
