//! Operations that move elements: joining, cutting, padding, resampling, other shapes.

use super::build::{Builder, int, text};
use crate::graph::ValueId;
use crate::ops::Op;
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::blend::Blend;
use crate::ops::depth_space::{DepthSpace, Direction};
use crate::ops::pad::{Pad, PadMode};
use crate::ops::resize::{Coords, Resize};
use crate::tensor::ty::TensorTy;

pub(super) fn write(
    b: &mut Builder<'_>,
    id: ValueId,
    op: &Op,
    x: &[ValueId],
) -> Option<Result<String, String>> {
    let (ty, out) = (b.ty(*x.first()?).clone(), b.ty(id).clone());
    let name = |b: &mut Builder<'_>| b.name(x[0]);
    Some(Ok(match op {
        Op::Concat(op) => {
            let parts: Vec<String> = x.iter().map(|id| b.name(*id)).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            b.node("Concat", &parts, vec![int("axis", op.dim as i64)])
        }
        Op::Slice(op) => {
            let starts = b.ints(op.cuts.iter().map(|c| c.start as i64));
            let ends = b.ints(op.cuts.iter().map(|c| (c.start + c.len) as i64));
            let axes = b.ints(op.cuts.iter().map(|c| c.dim as i64));
            let input = name(b);
            if op.cuts.is_empty() {
                return Some(Ok(b.node("Identity", &[&input], Vec::new())));
            }
            b.node("Slice", &[&input, &starts, &ends, &axes], Vec::new())
        }
        Op::Flip(op) => {
            let input = name(b);
            b.sliced(&input, op.dim, ty.dims()[op.dim] as i64 - 1, i64::MIN + 1, -1)
        }
        Op::Permute(op) => {
            let input = name(b);
            b.transposed(&input, [0, 1].into_iter().chain(op.order.iter().map(|a| a + 2)).collect())
        }
        Op::Reshape(_) | Op::Refold(_) => {
            let input = name(b);
            b.reshaped(&input, out.dims())
        }
        Op::Shuffle(op) => {
            let input = name(b);
            let (n, c) = (ty.n(), ty.c());
            let mut split = vec![n, op.groups, c / op.groups];
            split.extend(ty.grid_dims());
            let turn = [0, 2, 1].into_iter().chain(3..split.len()).collect();
            let split = b.reshaped(&input, &split);
            let turned = b.transposed(&split, turn);
            b.reshaped(&turned, out.dims())
        }
        Op::Pad(op) => {
            let input = name(b);
            pad(b, op, &input)
        }
        Op::DepthSpace(op) => {
            let input = name(b);
            blocks(b, op, &input, &ty, &out)
        }
        Op::Upsample(_) => {
            let input = name(b);
            resized(b, &input, out.dims(), "nearest", "asymmetric", "floor")
        }
        Op::Resize(op) => {
            let input = name(b);
            resize(b, op, &input, &out)
        }
        Op::Arrange(op) => {
            let input = name(b);
            arranged(b, op, input, &ty)
        }
        Op::Blend(op) => {
            let input = name(b);
            return Some(blended(b, op, &input, x[1], &ty));
        }
        _ => return None,
    }))
}

fn pad(b: &mut Builder<'_>, op: &Pad, x: &str) -> String {
    let (mode, value) = match op.mode {
        PadMode::Constant(value) => ("constant", Some(value)),
        PadMode::Reflect => ("reflect", None),
        PadMode::Edge => ("edge", None),
    };
    let none = [0i64, 0];
    let before = none.into_iter().chain(op.sides.iter().map(|s| s.0 as i64));
    let after = none.into_iter().chain(op.sides.iter().map(|s| s.1 as i64));
    let pads = b.ints(before.chain(after).collect::<Vec<_>>());
    let value = value.map(|v| b.number(v));
    let mut operands = vec![x, &pads];
    operands.extend(value.as_deref());
    b.node("Pad", &operands, vec![text("mode", mode)])
}

fn blocks(b: &mut Builder<'_>, op: &DepthSpace, x: &str, ty: &TensorTy, out: &TensorTy) -> String {
    let rank = ty.rank();
    // What the standard has an operation for; it puts channels behind the positions of a block when it gathers them.
    let square = matches!(op.block[..], [a, b] if a == b);
    let size = || int("blocksize", op.block[0] as i64);
    match (op.direction, op.blocks_first) {
        (Direction::ToSpace, first) if square => {
            let mode = text("mode", if first { "DCR" } else { "CRD" });
            return b.node("DepthToSpace", &[x], vec![size(), mode]);
        }
        (Direction::ToDepth, true) if square => return b.node("SpaceToDepth", &[x], vec![size()]),
        (Direction::ToSpace | Direction::ToDepth, _) => {}
    }
    let blocks: usize = op.block.iter().product();
    let coarse = if op.direction == Direction::ToSpace { ty } else { out };
    let (n, c) = (ty.n(), coarse.c() / blocks.max(1));
    // The coarse tensor as [n, block…, c, grid…] or [n, c, block…, grid…], the fine one as [n, c, grid, block, …].
    let mut split = vec![n];
    if !op.blocks_first {
        split.push(c);
    }
    split.extend(&op.block);
    if op.blocks_first {
        split.push(c);
    }
    split.extend(coarse.grid_dims());
    let channel = if op.blocks_first { rank + 1 } else { 1 };
    let block = |a: usize| if op.blocks_first { a + 1 } else { a + 2 };
    let mut to_fine = vec![0, channel];
    (0..rank).for_each(|a| to_fine.extend([rank + 2 + a, block(a)]));
    if op.direction == Direction::ToSpace {
        let wide = b.reshaped(x, &split);
        let turned = b.transposed(&wide, to_fine);
        return b.reshaped(&turned, out.dims());
    }
    let fine: Vec<usize> = to_fine.iter().map(|d| split[*d]).collect();
    let mut back = vec![0; to_fine.len()];
    to_fine.iter().enumerate().for_each(|(at, d)| back[*d] = at);
    let wide = b.reshaped(x, &fine);
    let turned = b.transposed(&wide, back);
    b.reshaped(&turned, out.dims())
}

fn resize(b: &mut Builder<'_>, op: &Resize, x: &str, out: &TensorTy) -> String {
    let coords = match op.coords {
        Coords::HalfPixel => "half_pixel",
        Coords::AlignCorners => "align_corners",
        Coords::Asymmetric => "asymmetric",
    };
    let nearest = if op.coords == Coords::Asymmetric { "floor" } else { "round_prefer_floor" };
    resized(b, x, out.dims(), if op.linear { "linear" } else { "nearest" }, coords, nearest)
}

fn resized(b: &mut Builder<'_>, x: &str, dims: &[usize], mode: &str, coords: &str, nearest: &str) -> String {
    let sizes = b.sizes(dims);
    let attrs = vec![
        text("mode", mode),
        text("coordinate_transformation_mode", coords),
        text("nearest_mode", nearest),
    ];
    b.node("Resize", &[x, "", "", &sizes], attrs)
}

/// Cuts and tables first, then a transposition, then new dimensions.
fn arranged(b: &mut Builder<'_>, op: &Arrange, x: String, ty: &TensorTy) -> String {
    let mut y = x;
    // The output's dimension that each of the input's becomes; dimensions that are fixed end with extent 1.
    let mut place = Vec::new();
    for (d, pick) in op.from.iter().enumerate() {
        let extent = ty.dims()[d] as i64;
        match pick {
            Pick::Step { start, step: 0, .. } => {
                if extent != 1 {
                    y = b.sliced(&y, d, *start, start + 1, 1);
                }
                place.push(None);
            }
            Pick::Step { dim, start, step } => {
                let count = op.to[*dim].1 as i64;
                let last = start + step * (count - 1);
                let end = if *step > 0 {
                    last + 1
                } else if last == 0 {
                    i64::MIN + 1
                } else {
                    last - 1
                };
                if (*start, *step, count) != (0, 1, extent) {
                    y = b.sliced(&y, d, *start, end, *step);
                }
                place.push(Some(*dim));
            }
            Pick::Table { dim, table } => {
                let list = b.ints(table.iter().map(|i| *i as i64));
                y = b.node("Gather", &[&y, &list], vec![int("axis", d as i64)]);
                place.push(Some(*dim));
            }
        }
    }
    let mut order: Vec<usize> = (0..place.len()).collect();
    order.sort_by_key(|d| (place[*d].is_none(), place[*d]));
    if !order.iter().copied().eq(0..place.len()) {
        y = b.transposed(&y, order);
    }
    let mut dims: Vec<usize> = op.to.iter().map(|d| d.1).collect();
    let whole = dims.clone();
    for (d, extent) in dims.iter_mut().enumerate() {
        if !place.contains(&Some(d)) {
            *extent = 1;
        }
    }
    y = b.reshaped(&y, &dims);
    if dims != whole {
        let shape = b.sizes(&whole);
        y = b.node("Expand", &[&y, &shape], Vec::new());
    }
    y
}

/// One axis times a matrix.
fn blended(b: &mut Builder<'_>, op: &Blend, x: &str, w: ValueId, ty: &TensorTy) -> Result<String, String> {
    let (n, rank) = (ty.dims()[op.dim], ty.dims().len());
    let weights = b.values(w).ok_or("its weights are computed, and have to be written in another form")?;
    let outputs = op.at.len() / op.taps.max(1);
    let mut matrix = vec![0.0; n * outputs];
    for (at, (i, weight)) in op.at.iter().zip(&weights).enumerate() {
        matrix[i * outputs + at / op.taps] += weight;
    }
    let m = b.floats(&[n, outputs], &matrix);
    let mut order: Vec<usize> = (0..rank).filter(|d| *d != op.dim).collect();
    order.push(op.dim);
    let mut back = vec![0; rank];
    order.iter().enumerate().for_each(|(at, d)| back[*d] = at);
    let turned = b.transposed(x, order);
    let y = b.node("MatMul", &[&turned, &m], Vec::new());
    Ok(b.transposed(&y, back))
}
