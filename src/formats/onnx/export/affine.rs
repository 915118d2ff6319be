//! Layers with weights: convolution in all its kinds, its transpose, dense layers, products of matrices.

use super::build::{Builder, int, ints};
use crate::graph::ValueId;
use crate::ops::Op;
use crate::ops::conv::Conv;
use crate::ops::geometry::{Geometry, Linking, Share};
use crate::ops::unconv::Unconv;
use crate::ops::window::Window;
use crate::tensor::array::for_each_index;
use crate::tensor::ty::TensorTy;

pub(super) fn write(
    b: &mut Builder<'_>,
    id: ValueId,
    op: &Op,
    x: &[ValueId],
) -> Option<Result<String, String>> {
    Some(match op {
        Op::Conv(op) => conv(b, id, op, x),
        Op::Unconv(op) => unconv(b, id, op, x),
        Op::Dense(_) => Ok(dense(b, x)),
        Op::MatMul(_) => {
            let (left, right) = (b.name(x[0]), b.name(x[1]));
            Ok(b.node("MatMul", &[&left, &right], Vec::new()))
        }
        _ => return None,
    })
}

fn dense(b: &mut Builder<'_>, x: &[ValueId]) -> String {
    let mut operands = vec![b.name(x[0])];
    if b.ty(x[0]).rank() > 0 {
        operands[0] = b.node("Flatten", &[&operands[0].clone()], vec![int("axis", 1)]);
    }
    operands.extend(x[1..].iter().map(|id| b.name(*id)).collect::<Vec<_>>());
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    b.node("Gemm", &operands, vec![int("transB", 1)])
}

/// Attributes of a window; `pads` are zeros before, then after.
fn window(g: &Geometry, windows: &[Window], pads: Vec<usize>) -> Vec<super::super::proto::Attribute> {
    let groups = match &g.links {
        Linking::Groups(groups) => *groups as i64,
        Linking::Dense | Linking::Table(_) => 1,
    };
    vec![
        ints("kernel_shape", windows.iter().map(|w| w.kernel)),
        ints("strides", windows.iter().map(|w| w.stride)),
        ints("dilations", windows.iter().map(|w| w.dilation)),
        ints("pads", pads),
        int("group", groups),
    ]
}

fn pads(windows: &[Window]) -> Vec<usize> {
    windows.iter().map(|w| w.lo).chain(windows.iter().map(|w| w.hi)).collect()
}

/// The weight as ONNX's dense or grouped layers want it: taps forward, links of a table written out with zeros between.
fn kernel(
    b: &mut Builder<'_>,
    g: &Geometry,
    w: ValueId,
    outputs: usize,
    inputs: usize,
    links: bool,
) -> Result<String, String> {
    let ty = b.ty(w).clone();
    if !g.flip && !links {
        return Ok(b.name(w));
    }
    let data = b.values(w).ok_or("its weight is computed, and has to be written in another form")?;
    let taps = g.taps();
    let rank = g.window.kernel.len();
    let mut dims = if links { vec![outputs, inputs] } else { ty.dims()[..2].to_vec() };
    dims.extend(&g.window.kernel);
    let mut out = vec![0.0; dims.iter().product()];
    let pairs: Vec<(usize, usize)> = match &g.links {
        Linking::Table(t) if links => t
            .rows
            .iter()
            .enumerate()
            .flat_map(|(o, row)| row.iter().map(move |i| o * inputs + *i as usize))
            .enumerate()
            .collect(),
        Linking::Table(_) | Linking::Dense | Linking::Groups(_) => {
            (0..dims[0] * dims[1]).map(|p| (p, p)).collect()
        }
    };
    for (from, to) in pairs {
        for k in 0..taps {
            out[to * taps + if g.flip { taps - 1 - k } else { k }] += data[from * taps + k];
        }
    }
    debug_assert_eq!(dims.len(), rank + 2);
    if links {
        b.note("its table of links is written as a dense layer with zeros where no link is");
    }
    Ok(b.floats(&dims, &out))
}

fn conv(b: &mut Builder<'_>, id: ValueId, op: &Conv, x: &[ValueId]) -> Result<String, String> {
    let (from, out) = (b.ty(x[0]).clone(), b.ty(id).clone());
    let (windows, _) = op.windows(&from).map_err(|e| e.message)?;
    let table = matches!(op.geometry.links, Linking::Table(_));
    if op.geometry.share != Share::All {
        return unfolded(b, op, &windows, x, &out.dims()[2..]);
    }
    let input = b.name(x[0]);
    if windows.is_empty() {
        // On a grid of rank 0 a grid of one position is put in and taken out.
        return without_grid(b, op, x, &input, table);
    }
    let w = kernel(b, &op.geometry, x[1], op.channels, from.c(), table)?;
    let mut operands = vec![input, w];
    if op.bias {
        operands.push(b.name(x[2]));
    }
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    Ok(b.node("Conv", &operands, window(&op.geometry, &windows, pads(&windows))))
}

fn without_grid(
    b: &mut Builder<'_>,
    op: &Conv,
    x: &[ValueId],
    input: &str,
    table: bool,
) -> Result<String, String> {
    let (n, c) = (b.ty(x[0]).n(), b.ty(x[0]).c());
    let w = kernel(b, &op.geometry, x[1], op.channels, c, table)?;
    let per_group = match &op.geometry.links {
        Linking::Groups(g) => c / g,
        Linking::Dense | Linking::Table(_) => c,
    };
    let wide = b.reshaped(input, &[n, c, 1]);
    let w = b.reshaped(&w, &[op.channels, per_group, 1]);
    let point = Window { input: 1, out: 1, kernel: 1, stride: 1, dilation: 1, lo: 0, hi: 0 };
    let mut operands = vec![wide, w];
    if op.bias {
        operands.push(b.name(x[2]));
    }
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let y = b.node("Conv", &operands, window(&op.geometry, &[point], vec![0, 0]));
    Ok(b.reshaped(&y, &[n, op.channels]))
}

/// Weights of more elements than this are not written out.
const WRITTEN_MAX: usize = 1 << 28;

/// Local and tiled connection: patches are gathered, and each position multiplied by its own matrix.
fn unfolded(
    b: &mut Builder<'_>,
    op: &Conv,
    windows: &[Window],
    x: &[ValueId],
    out: &[usize],
) -> Result<String, String> {
    let from = b.ty(x[0]).clone();
    let (n, c, rank) = (from.n(), from.c(), windows.len());
    let positions: usize = out.iter().product();
    let taps = op.geometry.taps();
    let depth = c * taps;
    let size = positions.checked_mul(depth).and_then(|s| s.checked_mul(op.channels));
    if size.is_none_or(|s| s > WRITTEN_MAX) {
        return Err(format!(
            "{positions} positions times {depth} x {} weights are too many to write out",
            op.channels
        ));
    }
    b.note(
        "weights that positions do not share are written as a gathering of patches and a product of matrices",
    );
    let data = b.values(x[1]).ok_or("its weight is computed, and has to be written in another form")?;
    let (indices, matrix) = patches(op, windows, c, out, &data);
    // One more position holds the zero that padding shows.
    let plane: usize = from.grid_dims().iter().product();
    let input = b.name(x[0]);
    let flat = b.reshaped(&input, &[n, c, plane]);
    let zero = b.floats(&[n, c, 1], &vec![0.0; n * c]);
    let flat = b.node("Concat", &[&flat, &zero], vec![int("axis", 2)]);
    let list = b.ints(indices);
    let picked = b.node("Gather", &[&flat, &list], vec![int("axis", 2)]);
    let picked = b.reshaped(&picked, &[n, c, positions, taps]);
    let rows = b.transposed(&picked, vec![0, 2, 1, 3]);
    let rows = b.reshaped(&rows, &[n, positions, 1, depth]);
    let matrix = b.floats(&[positions, depth, op.channels], &matrix);
    let mut y = b.node("MatMul", &[&rows, &matrix], Vec::new());
    y = b.reshaped(&y, &[n, positions, op.channels]);
    if op.bias {
        let data = b.values(x[2]).ok_or("its bias is computed, and has to be written in another form")?;
        let sets = op.geometry.sets(out);
        let mut all = Vec::with_capacity(positions * op.channels);
        for_each_index(out, |p| {
            let set = sets.iter().zip(p).fold(0, |at, (s, p)| at * s + p % s);
            all.extend_from_slice(&data[set * op.channels..][..op.channels]);
        });
        let bias = b.floats(&[1, positions, op.channels], &all);
        y = b.node("Add", &[&y, &bias], Vec::new());
    }
    let y = b.transposed(&y, vec![0, 2, 1]);
    let mut dims = vec![n, op.channels];
    dims.extend(out);
    debug_assert_eq!(dims.len(), rank + 2);
    Ok(b.reshaped(&y, &dims))
}

/// For each position and tap the place in the plane (its end for padding), and the matrix of each position.
fn patches(op: &Conv, windows: &[Window], c: usize, out: &[usize], data: &[f32]) -> (Vec<i64>, Vec<f32>) {
    let plane: usize = windows.iter().map(|w| w.input).product();
    let kernel: Vec<usize> = windows.iter().map(|w| w.kernel).collect();
    let (positions, taps): (usize, usize) = (out.iter().product(), kernel.iter().product());
    let mut indices = Vec::with_capacity(positions * taps);
    for_each_index(out, |p| {
        for_each_index(&kernel, |k| {
            let places: Option<Vec<usize>> = (0..p.len())
                .map(|a| {
                    usize::try_from(windows[a].position(p[a], k[a])).ok().filter(|i| *i < windows[a].input)
                })
                .collect();
            indices.push(match places {
                Some(at) => at.iter().zip(windows).fold(0, |sum, (i, w)| sum * w.input + i) as i64,
                None => plane as i64,
            });
        });
    });
    // The products with each input a grid of its own: which weight meets which tap of which channel.
    let mut matrix = vec![0.0; positions * c * taps * op.channels];
    let dims: Vec<usize> = [1, c].into_iter().chain(windows.iter().map(|w| w.input)).collect();
    let mut tap_of = vec![Vec::new(); positions * plane];
    for (at, place) in indices.iter().enumerate() {
        let (p, tap) = (at / taps, at % taps);
        if (*place as usize) < plane {
            tap_of[p * plane + *place as usize].push(tap);
        }
    }
    op.geometry.for_each_product(&dims, op.channels, windows, |product| {
        let (o, p) = (product.y / positions, product.y % positions);
        let (i, place) = (product.x / plane, product.x % plane);
        // Taps of one window meet different places.
        if let [tap] = tap_of[p * plane + place][..] {
            matrix[(p * c * taps + i * taps + tap) * op.channels + o] += data[product.w];
        }
    });
    (indices, matrix)
}

fn unconv(b: &mut Builder<'_>, id: ValueId, op: &Unconv, x: &[ValueId]) -> Result<String, String> {
    let (from, out) = (b.ty(x[0]).clone(), b.ty(id).clone());
    let windows: Result<Vec<Window>, usize> =
        (0..out.rank()).map(|a| op.geometry.window.axis(a, out.dims()[a + 2], false).map(|w| w.0)).collect();
    let windows = windows.map_err(|_| "its window does not fit")?;
    let plain =
        op.geometry.share == Share::All && !matches!(op.geometry.links, Linking::Table(_)) && out.rank() > 0;
    if !plain {
        return whole_matrix(b, op, &windows, x, &from, &out);
    }
    let input = b.name(x[0]);
    let w = kernel(b, &op.geometry, x[1], from.c(), op.channels, false)?;
    let mut operands = vec![input, w];
    if op.bias {
        operands.push(b.name(x[2]));
    }
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let extra = windows.iter().map(|w| w.input + w.lo + w.hi - ((w.out - 1) * w.stride + w.reach()));
    let extra: Vec<usize> = extra.collect();
    let mut attrs = window(&op.geometry, &windows, pads(&windows));
    attrs.push(ints("output_padding", extra));
    Ok(b.node("ConvTranspose", &operands, attrs))
}

/// Any linear layer as one matrix between all inputs and all outputs.
fn whole_matrix(
    b: &mut Builder<'_>,
    op: &Unconv,
    windows: &[Window],
    x: &[ValueId],
    from: &TensorTy,
    out: &TensorTy,
) -> Result<String, String> {
    let n = from.n();
    let (rows, columns) = (from.len() / n.max(1), out.len() / n.max(1));
    if rows.checked_mul(columns).is_none_or(|s| s > WRITTEN_MAX) {
        return Err(format!("a matrix of {rows} x {columns} is too large to write out"));
    }
    b.note("its connections are written out as one matrix between all inputs and all outputs");
    let data = b.values(x[1]).ok_or("its weight is computed, and has to be written in another form")?;
    let mut matrix = vec![0.0; rows * columns];
    let dims: Vec<usize> = std::iter::once(1).chain(out.dims()[1..].iter().copied()).collect();
    // The forward layer's products, from this one's output to its input.
    op.geometry.for_each_product(&dims, from.c(), windows, |p| matrix[p.y * columns + p.x] += data[p.w]);
    let input = b.name(x[0]);
    let flat = b.reshaped(&input, &[n, rows]);
    let m = b.floats(&[rows, columns], &matrix);
    let y = b.node("MatMul", &[&flat, &m], Vec::new());
    let mut y = b.reshaped(&y, out.dims());
    if op.bias {
        let bias = b.name(x[2]);
        let mut dims = vec![1; out.dims().len()];
        dims[1] = op.channels;
        let bias = b.reshaped(&bias, &dims);
        y = b.node("Add", &[&y, &bias], Vec::new());
    }
    Ok(y)
}
