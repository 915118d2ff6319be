//! The nest of the gradient by a weight that serves many positions: a chunk of positions at a time.
//!
//! In: a checked [`ConvGrad`] with dense links and one set of weights. Out: loops that add to all weights of a block of maps what
//! a chunk of positions gives, chunk after chunk. What a chunk reads stays in the nearest cache while every tap and pair of maps
//! passes over it, where one sum over all positions would fetch both operands anew for each register tile. A chunk's sum
//! begins at 0, so rounding errors grow with the number of chunks and the size of one, not with their product. Chunks are cut
//! by shape alone.

use super::conv_grad::ConvGrad;
use super::conv_nest::{seen, serial, tap};
use super::geometry::{Linking, Share};
use super::lower::LowerCx;
use super::window::Window;
use crate::loops::{Affine, Expr, LoopKind, Var};

/// Most positions of a chunk: 16 channels of one operand and 32 of the other take 30 KB.
const POSITIONS: usize = 160;

/// Chunks with fewer positions cost more than they save.
const POSITIONS_MIN: usize = 24;

/// Fewer blocks of maps than this are not worth sharing out by themselves.
const BLOCKS_MIN: usize = 4;

/// Bytes that a pair of blocks may read in all and still find in the nearer caches.
const NEAR: usize = 1 << 20;

/// Most blocks of output maps that go over a sample together where a pair of blocks reads more, and fewest groups of them.
const GROUP_MAX: usize = 4;
const GROUPS_MIN: usize = 4;

/// Writes the loops, if chunks are worth it; says whether.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &ConvGrad, windows: &[Window]) -> bool {
    let dy = cx.input(1).clone();
    let extents: Vec<usize> = std::iter::once(dy.n()).chain(windows.iter().map(|w| w.out)).collect();
    let positions = extents.iter().fold(1usize, |a, e| a.saturating_mul(*e));
    let dense = op.geometry.share == Share::All && op.geometry.links == Linking::Dense;
    let inner = cut(&extents);
    if !dense || positions < 3 * POSITIONS || inner.iter().product::<usize>() < POSITIONS_MIN {
        return false;
    }
    let names: Vec<String> =
        std::iter::once("n".to_owned()).chain(dy.grid_names().iter().map(ToString::to_string)).collect();
    let chunks: Vec<(String, usize)> = names
        .iter()
        .zip(extents.iter().zip(&inner))
        .map(|(n, (e, i))| (format!("{n}_chunk"), e / i))
        .collect();
    let within: Vec<(String, usize)> = names.into_iter().zip(inner.iter().copied()).collect();

    // Dimensions of the weight: output maps, input maps, taps; of the first ones a block stays outside.
    let out = cx.out().clone();
    let mut sizes: Vec<usize> = out.dims().to_vec();
    sizes[0] = [32, 16].into_iter().find(|b| sizes[0].is_multiple_of(*b)).unwrap_or(sizes[0]);
    sizes[1] = if sizes[1].is_multiple_of(16) { 16 } else { sizes[1] };
    if (out.dims()[0] / sizes[0]) * (out.dims()[1] / sizes[1]) < BLOCKS_MIN && sizes.len() > 2 {
        sizes[2] = 1;
    }
    let of = |outer: bool| -> Vec<(&str, usize)> {
        let extent = |(size, extent): (&usize, &usize)| if outer { extent / size } else { *size };
        out.names().iter().map(|n| &**n).zip(sizes.iter().zip(out.dims()).map(extent)).collect()
    };
    let (blocks, members) = (of(true), of(false));
    // What a pair of blocks reads of all samples does not stay near: then some blocks go over one sample after another together.
    let seen_each: usize = windows.iter().map(|w| w.stride).product();
    let read = 4 * positions.saturating_mul(sizes[0] + sizes[1] * seen_each);
    let group =
        (1..=GROUP_MAX).rev().find(|g| blocks[0].1.is_multiple_of(*g) && blocks[0].1 / g >= GROUPS_MIN);
    let group = group.filter(|_| chunks[0].1 > 1 && read > NEAR);
    let weight = |block: &[Affine], v: &[Var]| -> Vec<Affine> {
        let place = |((b, m), s): ((&Affine, &Var), &usize)| &(b * *s as i64) + &Affine::from(*m);
        block.iter().zip(v).zip(&sizes).map(place).collect()
    };
    let add = |cx: &mut LowerCx<'_>, block: &[Affine], chunk: &[Affine]| {
        cx.nested(LoopKind::Free, &members, |cx, v| {
            let at = weight(block, v);
            let taps: Vec<Affine> =
                windows.iter().zip(&at[2..]).map(|(w, k)| tap(&op.geometry, w, k)).collect();
            let sum = cx.b.let_(0.0);
            serial(cx, &within, |cx, within| {
                let place = |((c, w), size): ((&Affine, &Affine), &usize)| &(c * *size as i64) + w;
                let p: Vec<Affine> = chunk.iter().zip(within).zip(&inner).map(place).collect();
                let mut x = vec![p[0].clone(), at[1].clone()];
                x.extend(windows.iter().zip(&p[1..]).zip(&taps).map(|((w, p), k)| seen(w, p, k)));
                let y = [&[p[0].clone(), at[0].clone()], &p[1..]].concat();
                let product = Expr::fma(cx.load(1, &y), cx.load(0, &x), sum.into());
                cx.b.set(sum, product);
            });
            let total = cx.kept(&at) + Expr::Reg(sum);
            cx.keep(&at, total);
        });
    };
    let begin = |cx: &mut LowerCx<'_>, block: &[Affine]| {
        cx.nested(LoopKind::Free, &members, |cx, v| cx.keep(&weight(block, v), 0.0));
    };
    let end = |cx: &mut LowerCx<'_>, block: &[Affine]| {
        cx.nested(LoopKind::Free, &members, |cx, v| {
            let at = weight(block, v);
            let total = cx.kept(&at);
            cx.store(&at, total);
        });
    };
    let Some(group) = group else {
        cx.nested(LoopKind::Free, &blocks, |cx, block| {
            let block: Vec<Affine> = block.iter().map(|b| Affine::from(*b)).collect();
            begin(cx, &block);
            serial(cx, &chunks, |cx, chunk| add(cx, &block, chunk));
            if cx.has_followers() {
                end(cx, &block);
            }
        });
        return true;
    };
    let mut grouped = blocks.clone();
    grouped[0].1 = group;
    cx.nested(LoopKind::Free, &[("group", blocks[0].1 / group)], |cx, g| {
        let first = &Affine::from(g[0]) * group as i64;
        let block = |v: &[Var]| -> Vec<Affine> {
            let mut block: Vec<Affine> = v.iter().map(|b| Affine::from(*b)).collect();
            block[0] = &block[0] + &first;
            block
        };
        cx.nested(LoopKind::Free, &grouped, |cx, v| begin(cx, &block(v)));
        serial(cx, &chunks[..1], |cx, sample| {
            cx.nested(LoopKind::Free, &grouped, |cx, v| {
                serial(cx, &chunks[1..], |cx, chunk| add(cx, &block(v), &[sample, chunk].concat()));
            });
        });
        if cx.has_followers() {
            cx.nested(LoopKind::Free, &grouped, |cx, v| end(cx, &block(v)));
        }
    });
    true
}

/// The extents of a chunk of positions: whole axes from the last on, and of the next a divisor, at most [`POSITIONS`] together.
fn cut(extents: &[usize]) -> Vec<usize> {
    let mut inner = vec![1; extents.len()];
    let mut left = POSITIONS;
    for (size, extent) in inner.iter_mut().zip(extents).rev() {
        *size = (1..=left.min(*extent)).rev().find(|s| extent.is_multiple_of(*s)).unwrap_or(1);
        left /= *size;
        if *size < *extent {
            break;
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn chunks_divide_the_positions() {
        assert_eq!(cut(&[64, 32, 32]), [1, 4, 32]);
        assert_eq!(cut(&[64, 8, 8]), [2, 8, 8]);
        assert_eq!(cut(&[8, 4096]), [1, 128]);
        assert_eq!(cut(&[1, 55, 55]), [1, 1, 55]);
        assert_eq!(cut(&[2, 227]), [1, 1]);
        assert_eq!(cut(&[3, 5, 7]), [3, 5, 7]);
        assert_eq!(cut(&[1000]), [125]);
    }
}
