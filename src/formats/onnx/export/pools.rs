//! Pooling: windows, whole grids, regions, neighbouring channels.

use super::build::{Builder, int, ints};
use crate::graph::ValueId;
use crate::ops::Op;
use crate::ops::pool::{Over, Pool, PoolKind};
use crate::ops::pool_index::PoolIndex;
use crate::ops::window::{Window, WindowSpec};
use crate::tensor::array::for_each_index;
use crate::tensor::ty::TensorTy;

pub(super) fn write(
    b: &mut Builder<'_>,
    id: ValueId,
    op: &Op,
    x: &[ValueId],
) -> Option<Result<String, String>> {
    Some(match op {
        Op::Pool(op) => pool(b, id, op, x[0]),
        Op::PoolIndex(op) => index(b, op, x[0]),
        _ => return None,
    })
}

/// Windows on the grid of `x`, zeros after the end so many that a last one that runs over it fits.
fn windows(spec: &WindowSpec, x: &TensorTy, partial: bool) -> Result<Vec<Window>, String> {
    let one = |a: usize| -> Result<Window, String> {
        let (mut w, _) = spec.axis(a, x.grid_dims()[a], partial).map_err(|_| "its window does not fit")?;
        let needed = ((w.out - 1) * w.stride + w.reach()).saturating_sub(w.input + w.lo);
        w.hi = w.hi.max(needed);
        Ok(w)
    };
    (0..x.rank()).map(one).collect()
}

fn attrs(windows: &[Window]) -> Vec<super::super::proto::Attribute> {
    let mut out = vec![
        ints("kernel_shape", windows.iter().map(|w| w.kernel)),
        ints("strides", windows.iter().map(|w| w.stride)),
        ints("pads", windows.iter().map(|w| w.lo).chain(windows.iter().map(|w| w.hi))),
    ];
    // Without it older operator sets read the node.
    if windows.iter().any(|w| w.dilation != 1) {
        out.push(ints("dilations", windows.iter().map(|w| w.dilation)));
    }
    out
}

fn pool(b: &mut Builder<'_>, id: ValueId, op: &Pool, x: ValueId) -> Result<String, String> {
    let (ty, out) = (b.ty(x).clone(), b.ty(id).clone());
    let input = b.name(x);
    match &op.over {
        Over::Window(_) if ty.rank() == 0 => Ok(of_one(b, op.kind, &input)),
        Over::Window(spec) => {
            let windows = windows(spec, &ty, op.partial)?;
            over_windows(b, op, &input, &windows, spec, &ty)
        }
        Over::Global if ty.rank() == 0 => Ok(of_one(b, op.kind, &input)),
        Over::Global => {
            let axes: Vec<usize> = (2..ty.dims().len()).collect();
            let y = whole(b, op.kind, &input, &axes);
            Ok(b.reshaped(&y, out.dims()))
        }
        Over::Grid(regions) => Ok(over_regions(b, op.kind, &input, &ty, regions)),
        Over::Channels { dilation: 2.., .. } => Err("pooling across channels that lie apart".into()),
        Over::Channels { size, stride, .. } => {
            Ok(over_channels(b, op.kind, &input, (*size, *stride), out.c()))
        }
    }
}

/// A window that holds one element.
fn of_one(b: &mut Builder<'_>, kind: PoolKind, x: &str) -> String {
    match kind {
        PoolKind::Max | PoolKind::Avg => b.node("Identity", &[x], Vec::new()),
        PoolKind::Lp(_) => b.node("Abs", &[x], Vec::new()),
    }
}

/// Everything along axes.
fn whole(b: &mut Builder<'_>, kind: PoolKind, x: &str, axes: &[usize]) -> String {
    match kind {
        PoolKind::Max => b.reduced("ReduceMax", x, axes),
        PoolKind::Avg => b.reduced("ReduceMean", x, axes),
        PoolKind::Lp(1.0) => b.reduced("ReduceL1", x, axes),
        PoolKind::Lp(2.0) => b.reduced("ReduceL2", x, axes),
        PoolKind::Lp(p) => {
            let powers = powers(b, x, p);
            let sum = b.reduced("ReduceSum", &powers, axes);
            b.with("Pow", &sum, 1.0 / p)
        }
    }
}

/// `|x|^p`
fn powers(b: &mut Builder<'_>, x: &str, p: f32) -> String {
    let size = b.node("Abs", &[x], Vec::new());
    b.with("Pow", &size, p)
}

fn over_windows(
    b: &mut Builder<'_>,
    op: &Pool,
    x: &str,
    windows: &[Window],
    spec: &WindowSpec,
    ty: &TensorTy,
) -> Result<String, String> {
    let dilated = windows.iter().any(|w| w.dilation != 1);
    match op.kind {
        PoolKind::Max => Ok(b.node("MaxPool", &[x], attrs(windows))),
        _ if dilated && b.opset < 19 => {
            Err("pooling with dilation, other than maxima, needs operator set 19".into())
        }
        PoolKind::Avg if !op.count_pad => {
            let mut attrs = attrs(windows);
            attrs.push(int("count_include_pad", 0));
            Ok(b.node("AveragePool", &[x], attrs))
        }
        PoolKind::Avg => {
            let mut attrs = attrs(windows);
            attrs.push(int("count_include_pad", 1));
            let y = b.node("AveragePool", &[x], attrs);
            Ok(recounted(b, &y, windows, spec, ty))
        }
        PoolKind::Lp(p) => {
            // A mean of powers times their number, so that padding counts for nothing.
            let powers = powers(b, x, p);
            let mut attrs = attrs(windows);
            attrs.push(int("count_include_pad", 1));
            let mean = b.node("AveragePool", &[&powers], attrs);
            let taps: usize = windows.iter().map(|w| w.kernel).product();
            let sum = b.with("Mul", &mean, taps as f32);
            Ok(b.with("Pow", &sum, 1.0 / p))
        }
    }
}

/// Means that divided by all taps, where some stand beyond the padding that counts.
fn recounted(b: &mut Builder<'_>, y: &str, windows: &[Window], spec: &WindowSpec, ty: &TensorTy) -> String {
    let plain: Vec<Option<Window>> =
        (0..windows.len()).map(|a| spec.axis(a, ty.grid_dims()[a], true).ok().map(|w| w.0)).collect();
    let counted = |a: usize, o: usize| {
        let end = plain[a].map_or(0, |w| w.input + w.hi) as i64;
        (0..windows[a].kernel).filter(|k| windows[a].position(o, *k) < end).count()
    };
    let grid: Vec<usize> = windows.iter().map(|w| w.out).collect();
    let taps: usize = windows.iter().map(|w| w.kernel).product();
    let mut factors = Vec::new();
    for_each_index(&grid, |p| {
        let count: usize = p.iter().enumerate().map(|(a, o)| counted(a, *o)).product();
        factors.push(taps as f32 / count as f32);
    });
    if factors.iter().all(|f| *f == 1.0) {
        return y.to_owned();
    }
    let dims: Vec<usize> = [1, 1].into_iter().chain(grid).collect();
    let factors = b.floats(&dims, &factors);
    b.node("Mul", &[y, &factors], Vec::new())
}

/// Regions, an axis at a time.
fn over_regions(b: &mut Builder<'_>, kind: PoolKind, x: &str, ty: &TensorTy, regions: &[usize]) -> String {
    let mut y = match kind {
        PoolKind::Lp(p) => powers(b, x, p),
        PoolKind::Max | PoolKind::Avg => x.to_owned(),
    };
    for (a, (g, n)) in regions.iter().zip(ty.grid_dims()).enumerate() {
        let mut parts = Vec::new();
        for i in 0..*g {
            let (start, end) = (i * n / g, ((i + 1) * n).div_ceil(*g));
            let part = b.sliced(&y, a + 2, start as i64, end as i64, 1);
            parts.push(match kind {
                PoolKind::Max => b.reduced("ReduceMax", &part, &[a + 2]),
                PoolKind::Avg => b.reduced("ReduceMean", &part, &[a + 2]),
                PoolKind::Lp(_) => b.reduced("ReduceSum", &part, &[a + 2]),
            });
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        y = b.node("Concat", &parts, vec![int("axis", a as i64 + 2)]);
    }
    match kind {
        PoolKind::Lp(p) => b.with("Pow", &y, 1.0 / p),
        PoolKind::Max | PoolKind::Avg => y,
    }
}

/// Neighbouring channels: the first of each window, the second, …, put together.
fn over_channels(
    b: &mut Builder<'_>,
    kind: PoolKind,
    x: &str,
    (size, stride): (usize, usize),
    out: usize,
) -> String {
    let source = match kind {
        PoolKind::Lp(p) => powers(b, x, p),
        PoolKind::Max | PoolKind::Avg => x.to_owned(),
    };
    let f = if kind == PoolKind::Max { "Max" } else { "Add" };
    let mut total = String::new();
    for j in 0..size {
        let end = j + (out - 1) * stride + 1;
        let part = b.sliced(&source, 1, j as i64, end as i64, stride as i64);
        total = if total.is_empty() { part } else { b.node(f, &[&total, &part], Vec::new()) };
    }
    match kind {
        PoolKind::Max => total,
        PoolKind::Avg => b.with("Div", &total, size as f32),
        PoolKind::Lp(p) => b.with("Pow", &total, 1.0 / p),
    }
}

fn index(b: &mut Builder<'_>, op: &PoolIndex, x: ValueId) -> Result<String, String> {
    let windows = windows(&op.window, b.ty(x), op.partial)?;
    let input = b.name(x);
    let mut attrs = attrs(&windows);
    attrs.push(int("storage_order", i64::from(op.reversed)));
    b.node("MaxPool", &[&input], attrs);
    let at = b.second();
    Ok(b.as_number(&at))
}
