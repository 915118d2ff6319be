//! Resampling of a grid. What the operation `resize` of the language says in the same way becomes that; nearest elements
//! otherwise are a table of positions; all the rest is, an axis at a time, a table of positions with weights.

use super::{Operands, Results, known_ints, need, opt};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::{Move, Val, Value};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::blend::Blend;
use crate::ops::resize::{Coords, Resize, To};
use crate::ops::upsample::Upsample;
use crate::tensor::ty::TensorTy;

/// Grids are at most this long: positions are tables.
const EXTENT_MAX: f64 = (1 << 20) as f64;
/// More terms than this in the sums of one axis are nothing that a model means.
const TERMS_MAX: usize = 1 << 22;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let result = match at.node.op_type.as_str() {
        "Resize" | "Upsample" => resize(cx, at, x),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

/// How one axis is resampled.
struct Axis {
    n: usize,
    out: usize,
    scale: f64,
    /// Start and end of the region of interest, as parts of the axis.
    roi: (f64, f64),
}

/// What attributes say.
struct How<'a> {
    mode: &'a str,
    coords: &'a str,
    nearest: &'a str,
    cubic: f64,
    exclude: bool,
    antialias: bool,
    outside: f64,
    /// With `align_corners`, corners are those of the extent as rounded, as PyTorch and ONNX Runtime have it.
    rounded: bool,
}

fn resize(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let v = cx.val(need(x, 0)?)?;
    let old = at.opset < 11;
    let how = How {
        mode: at.text("mode", "nearest")?,
        coords: if old { "asymmetric" } else { at.text("coordinate_transformation_mode", "half_pixel")? },
        nearest: if old { "simple" } else { at.text("nearest_mode", "round_prefer_floor")? },
        cubic: f64::from(at.float("cubic_coeff_a", -0.75)?),
        exclude: at.flag("exclude_outside", false)?,
        antialias: at.flag("antialias", false)?,
        outside: f64::from(at.float("extrapolation_value", 0.0)?),
        rounded: cx.pytorch,
    };
    if !matches!(how.mode, "nearest" | "linear" | "bilinear" | "cubic") {
        return Err(format!("`mode` {}", how.mode));
    }
    let axes = axes_of(at, x, &v)?;
    let changed: Vec<usize> = (0..v.rank()).filter(|a| matters(&axes[*a], &how)).collect();
    if changed.is_empty() {
        return Ok(Value::Graph(v));
    }
    if how.coords == "align_corners" && !how.rounded && changed.iter().any(|a| !axes[*a].is_whole()) {
        let to: Vec<String> = changed.iter().map(|a| axes[*a].scale.to_string()).collect();
        cx.notes.push(format!(
            "{}: scales of {} give no whole extent, and with `align_corners` the standard computes positions from that, where ONNX \
             Runtime rounds it first; a model with `sizes` is the same everywhere",
            crate::formats::onnx::title(at.node),
            to.join("x")
        ));
    }
    // Axes that were averaged away and put in again are the grid's, too.
    let v = if changed.iter().any(|a| v.axes[*a].is_none()) { cx.full(&v)? } else { v };
    if let Some(y) = named(cx, &v, &axes, &changed, &how)? {
        return Ok(Value::Graph(y));
    }
    if how.mode == "nearest" && how.coords != "tf_crop_and_resize" {
        let mut moves = Vec::new();
        for a in changed {
            let ax = &axes[a];
            let table = (0..ax.out).map(|o| nearest(ax, o, &how)).collect::<Result<Vec<_>, _>>()?;
            moves.push((a, ax.out, Move::Table(table)));
        }
        return cx.rearranged(&v, &moves).map(Value::Graph);
    }
    let mut v = v;
    for a in changed {
        v = blend(cx, &v, a, &axes[a], &how)?;
    }
    Ok(Value::Graph(v))
}

impl Axis {
    /// Whether the scale gives the extent without rounding; scales are `f32`.
    fn is_whole(&self) -> bool {
        let (scale, n, out) = (self.scale, self.n as f64, self.out as f64);
        (scale * n - out).abs() <= 1e-9 * out || scale as f32 * n as f32 == out as f32
    }
}

fn matters(axis: &Axis, how: &How<'_>) -> bool {
    axis.out != axis.n || axis.scale != 1.0 || (how.coords == "tf_crop_and_resize" && axis.roi != (0.0, 1.0))
}

/// Extents and scales of all axes.
fn axes_of(at: &At<'_>, x: Operands<'_>, v: &Val) -> Result<Vec<Axis>, String> {
    let rank = v.rank();
    let numbers = |i: usize, what: &str| -> Result<Option<Vec<f64>>, String> {
        match opt(x, i) {
            Some(value) => Ok(Some(value.known(what)?.values().to_vec()).filter(|l| !l.is_empty())),
            None => Ok(None),
        }
    };
    let (scales, sizes, roi) = match (at.node.op_type.as_str(), at.opset) {
        ("Upsample", ..9) => {
            (at.floats("scales")?.map(|s| s.iter().map(|x| f64::from(*x)).collect()), None, None)
        }
        (_, ..11) => (numbers(1, "the scales")?, None, None),
        _ => (
            numbers(2, "the scales")?,
            known_ints(x, 3, "the sizes")?.filter(|l| !l.is_empty()),
            numbers(1, "`roi`")?,
        ),
    };
    let over: Vec<usize> = match at.ints("axes")? {
        Some(list) => list.iter().map(|a| axis(*a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let mut out: Vec<Axis> =
        v.dims.iter().map(|n| Axis { n: *n, out: *n, scale: 1.0, roi: (0.0, 1.0) }).collect();
    if let Some(roi) = roi.filter(|r| r.len() == 2 * over.len()) {
        over.iter().enumerate().for_each(|(i, a)| out[*a].roi = (roi[i], roi[i + over.len()]));
    }
    match (scales, sizes) {
        (Some(scales), None) if scales.len() == over.len() => {
            for (a, scale) in over.iter().zip(scales) {
                let crop = at.text("coordinate_transformation_mode", "")? == "tf_crop_and_resize";
                let part = if crop { out[*a].roi.1 - out[*a].roi.0 } else { 1.0 };
                // In `f32`, as those who make and run such models do: 60 times 0.7 is 42.
                let extent = f64::from((out[*a].n as f32 * part as f32 * scale as f32).floor());
                let extent = Some(extent).filter(|e| (1.0..=EXTENT_MAX).contains(e));
                out[*a].out = extent.ok_or_else(|| format!("the scale {scale}"))? as usize;
                out[*a].scale = scale;
            }
        }
        (None, Some(sizes)) if sizes.len() == over.len() => sized(at, &over, &sizes, &mut out)?,
        _ => return Err("it needs either scales or sizes, one for each axis".into()),
    }
    Ok(out)
}

/// Extents as given, or the scale that keeps proportions.
fn sized(at: &At<'_>, over: &[usize], sizes: &[i64], out: &mut [Axis]) -> Result<(), String> {
    if let Some(bad) = sizes.iter().find(|s| **s < 1 || **s as f64 > EXTENT_MAX) {
        return Err(format!("the size {bad}"));
    }
    let ratio = |(a, s): (&usize, &i64)| *s as f64 / out[*a].n as f64;
    let ratios: Vec<f64> = over.iter().zip(sizes).map(ratio).collect();
    let kept = match at.text("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => None,
        "not_larger" => Some(ratios.iter().copied().fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios.iter().copied().fold(0.0, f64::max)),
        other => return Err(format!("`keep_aspect_ratio_policy` {other}")),
    };
    for ((a, size), ratio) in over.iter().zip(sizes).zip(ratios) {
        let axis = &mut out[*a];
        (axis.scale, axis.out) = match kept {
            None => (ratio, *size as usize),
            Some(scale) => (scale, (scale * axis.n as f64).round() as usize),
        };
        axis.out = axis.out.max(1);
    }
    Ok(())
}

/// The resampling as an operation of the language, where it is one.
fn named(
    cx: &mut Importer,
    v: &Val,
    axes: &[Axis],
    changed: &[usize],
    how: &How<'_>,
) -> Result<Option<Val>, String> {
    let ty = &cx.graph.value(v.id).ty;
    let corners = how.coords == "align_corners" && how.rounded;
    let whole = |a: &&usize| corners || axes[**a].is_whole();
    let grid = changed.iter().all(|a| v.axes[*a].is_some_and(|d| d >= 2));
    // One position is the same everywhere, whatever the way between positions.
    if ty.is_activation()
        && grid
        && changed.iter().all(|a| axes[*a].n == 1)
        && how.coords != "tf_crop_and_resize"
    {
        let mut factor = vec![1; ty.rank()];
        for a in changed {
            factor[v.axes[*a].map_or(0, |d| d - 2)] = axes[*a].out;
        }
        let id = cx.op(Upsample { factor }, &[v.id])?;
        return Ok(Some(cx.like(v, id)));
    }
    let short = changed.iter().all(|a| axes[*a].n > 1 || how.mode == "nearest");
    if !ty.is_activation()
        || !grid
        || !short
        || !changed.iter().all(|a| whole(&a))
        || how.antialias
        || how.exclude
    {
        return Ok(None);
    }
    let linear = matches!(how.mode, "linear" | "bilinear");
    let coords = match (how.coords, how.mode, how.nearest) {
        ("half_pixel", "linear" | "bilinear", _) => Coords::HalfPixel,
        ("align_corners", "linear" | "bilinear", _) => Coords::AlignCorners,
        ("asymmetric", "linear" | "bilinear", _) => Coords::Asymmetric,
        ("pytorch_half_pixel", "linear" | "bilinear", _) if changed.iter().all(|a| axes[*a].out > 1) => {
            Coords::HalfPixel
        }
        ("half_pixel", "nearest", "round_prefer_floor") => Coords::HalfPixel,
        ("asymmetric", "nearest", "floor") => Coords::Asymmetric,
        ("asymmetric", "nearest", "simple") if changed.iter().all(|a| axes[*a].scale >= 1.0) => {
            Coords::Asymmetric
        }
        _ => return Ok(None),
    };
    let mut size = ty.grid_dims().to_vec();
    for a in changed {
        size[v.axes[*a].map_or(0, |d| d - 2)] = axes[*a].out;
    }
    let factors: Option<Vec<usize>> =
        size.iter().zip(ty.grid_dims()).map(|(o, n)| o.is_multiple_of(*n).then_some(o / n)).collect();
    let id = match factors {
        Some(factor) if !linear => cx.op(Upsample { factor }, &[v.id])?,
        _ => cx.op(Resize { to: To::Size(size), linear, coords }, &[v.id])?,
    };
    Ok(Some(cx.like(v, id)))
}

/// The real position that output `o` looks at.
fn position(axis: &Axis, o: usize, how: &How<'_>) -> Result<f64, String> {
    let (o, n, m) = (o as f64, axis.n as f64, axis.out as f64);
    // The exact ratio where extents were given; else the extent before it was rounded.
    let length = if how.rounded || axis.is_whole() { m } else { n * axis.scale };
    Ok(match how.coords {
        "asymmetric" => o / axis.scale,
        "half_pixel" => (o + 0.5) / axis.scale - 0.5,
        "pytorch_half_pixel" => {
            if length > 1.0 {
                (o + 0.5) / axis.scale - 0.5
            } else {
                0.0
            }
        }
        "align_corners" => {
            if length > 1.0 {
                o * (n - 1.0) / (length - 1.0)
            } else {
                0.0
            }
        }
        "half_pixel_symmetric" => {
            let adjusted = n / 2.0 * (1.0 - m / (axis.scale * n));
            adjusted + (o + 0.5) / axis.scale - 0.5
        }
        "tf_half_pixel_for_nn" => (o + 0.5) / axis.scale,
        "tf_crop_and_resize" => {
            let (start, end) = axis.roi;
            if m > 1.0 {
                start * (n - 1.0) + o * (end - start) * (n - 1.0) / (m - 1.0)
            } else {
                0.5 * (start + end) * (n - 1.0)
            }
        }
        other => return Err(format!("`coordinate_transformation_mode` {other}")),
    })
}

fn nearest(axis: &Axis, o: usize, how: &How<'_>) -> Result<usize, String> {
    // In `f32`, as everybody computes it: a third of an element more or less is the next one.
    let (k, scale) = (o as f32, axis.scale as f32);
    let s = match how.coords {
        "asymmetric" => f64::from(k / scale),
        "half_pixel" => f64::from((k + 0.5) / scale - 0.5),
        "pytorch_half_pixel" if axis.out > 1 => f64::from((k + 0.5) / scale - 0.5),
        "tf_half_pixel_for_nn" => f64::from((k + 0.5) / scale),
        _ => position(axis, o, how)?,
    };
    let at = match how.nearest {
        // Before operator set 11 the standard said nothing, but its test did: up the element before, down the one after.
        "simple" if axis.scale < 1.0 => s.ceil(),
        "simple" => s.floor(),
        "round_prefer_floor" => (s - 0.5).ceil(),
        "round_prefer_ceil" => (s + 0.5).floor(),
        "floor" => s.floor(),
        "ceil" => s.ceil(),
        other => return Err(format!("`nearest_mode` {other}")),
    };
    Ok(at.clamp(0.0, axis.n as f64 - 1.0) as usize)
}

/// Weight of an element at distance `d`.
fn kernel(how: &How<'_>, d: f64) -> f64 {
    let (a, d) = (how.cubic, d.abs());
    match how.mode {
        "cubic" if d <= 1.0 => (a + 2.0) * d * d * d - (a + 3.0) * d * d + 1.0,
        "cubic" if d < 2.0 => a * d * d * d - 5.0 * a * d * d + 8.0 * a * d - 4.0 * a,
        "cubic" => 0.0,
        _ => (1.0 - d).max(0.0),
    }
}

/// Positions with weights for one output: edges repeat, or count for nothing.
fn taps(axis: &Axis, o: usize, how: &How<'_>) -> Result<Vec<(usize, f64)>, String> {
    let s = position(axis, o, how)?;
    let last = axis.n as f64 - 1.0;
    if how.coords == "tf_crop_and_resize" && !(0.0..=last).contains(&s) {
        return Ok(Vec::new());
    }
    if how.mode == "nearest" {
        return Ok(vec![(nearest(axis, o, how)?, 1.0)]);
    }
    let stretch = if how.antialias { axis.scale.min(1.0) } else { 1.0 };
    let reach = if how.mode == "cubic" { 2.0 } else { 1.0 } / stretch;
    let (from, to) = ((s - reach).floor() as i64, (s + reach).ceil() as i64);
    let mut found: Vec<(usize, f64)> = Vec::new();
    for i in from..=to {
        let weight = kernel(how, (i as f64 - s) * stretch);
        let inside = (0.0..=last).contains(&(i as f64));
        if weight == 0.0 || (!inside && how.exclude) {
            continue;
        }
        let place = (i as f64).clamp(0.0, last) as usize;
        match found.iter_mut().find(|(p, _)| *p == place) {
            Some((_, w)) => *w += weight,
            None => found.push((place, weight)),
        }
    }
    if how.exclude || how.antialias {
        let total: f64 = found.iter().map(|t| t.1).sum();
        found.iter_mut().for_each(|t| t.1 /= total);
    }
    Ok(found)
}

/// One axis resampled.
fn blend(cx: &mut Importer, v: &Val, a: usize, axis: &Axis, how: &How<'_>) -> Result<Val, String> {
    let (v, dim) = cx.along(v, a)?;
    // Where positions lie further apart than kernels are wide, more elements are mixed.
    let wide = if how.antialias { (4.0 / axis.scale.min(1.0)).ceil() as usize } else { 4 };
    if axis.out.saturating_mul(wide) > TERMS_MAX {
        return Err(format!("a resampling of {} elements to {}", axis.n, axis.out));
    }
    let rows = (0..axis.out).map(|o| taps(axis, o, how)).collect::<Result<Vec<_>, _>>()?;
    let most = rows.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let (mut at, mut weights) = (Vec::new(), Vec::new());
    for row in &rows {
        for t in 0..most {
            let (place, weight) = row.get(t).copied().unwrap_or((0, 0.0));
            at.push(place);
            weights.push(weight);
        }
    }
    let ty = TensorTy::new([("o", axis.out), ("t", most)]).map_err(|_| "a grid too large")?;
    let host = super::Host::new(vec![axis.out, most], Elem::Int, weights);
    let w = cx.weight(&host, ty, false)?;
    let id = cx.op(Blend { dim, taps: most, at: at.into() }, &[v.id, w])?;
    let y = cx.like(&v, id);
    if how.coords != "tf_crop_and_resize" || how.outside == 0.0 {
        return Ok(y);
    }
    // Positions outside hold 0 and get the value that stands there.
    let fill: Vec<f64> = rows.iter().map(|r| if r.is_empty() { how.outside } else { 0.0 }).collect();
    let mut dims = vec![1; y.rank()];
    dims[a] = axis.out;
    let fill = Value::Host(super::Host::new(dims, Elem::Int, fill));
    match super::binary::arithmetic(cx, BinaryFn::Add, &Value::Graph(y), &fill)? {
        Value::Graph(y) => Ok(y),
        Value::Host(_) => {
            let id = cx.op(Binary::with(BinaryFn::Add, Number::Right(0.0)), &[v.id])?;
            Ok(cx.like(&v, id))
        }
    }
}
