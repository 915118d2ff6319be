//! The nest of the gradient by a weight that serves many positions: a chunk of positions at a time.
//!
//! In: a checked [`ConvGrad`] with dense links and one set of weights. Out: loops over shares of the samples, if partial sums are
//! wanted, and groups of parts of the weight, which may run at once; in each, part after part, and chunk after chunk of positions, what the chunk gives is added to all weights of the part. The
//! operands of a chunk and the sums of a part stay in the nearer caches together, so that a part fetches its operands from afar once; the
//! operands of a pair of blocks of maps stay in the nearest one while every tap passes over them. A chunk's sum begins at 0, so rounding
//! errors grow with the number of chunks and the size of one, not with their product. Everything is cut by shape alone.

use super::conv_grad::ConvGrad;
use super::conv_nest::{seen, serial, tap, turning};
use super::geometry::{Linking, Share};
use super::lower::LowerCx;
use super::squares::{Squares, Turn};
use super::window::Window;
use super::winograd_nest::grouped;
use crate::loops::{Affine, Buf, Expr, LoopKind};
use crate::tensor::ty::TensorTy;

/// Most positions of a chunk.
const POSITIONS: usize = 160;

/// Chunks with fewer positions cost more than they save.
const POSITIONS_MIN: usize = 24;

/// What of the nearest cache a pair of blocks may fill with what one tap sees of a chunk, in bytes.
const NEAREST: usize = 31_000;

/// What of the nearer caches the sums of a part and a chunk may fill, in bytes.
const NEAR: usize = 900_000;

/// Products that a cycle takes, bytes of sums that are added to in one, and bytes that come from afar in one.
const PRODUCTS: f64 = 16.0;
const RATE: f64 = 24.0;
const FAR: f64 = 6.5;

/// Most partial sums that an operation of its own adds up, bytes of them that it adds in a cycle, and how many bytes of them do not stay
/// in the caches until then; and the part of its time that sharing out must save.
const SHARES_MAX: usize = 4;
const FOLDED: f64 = 3.2;
const FOLDED_FAR: f64 = 8e6;
const SAVES: f64 = 0.04;

/// Operands of fewer bytes than the first stay in the nearer caches, of fewer than the second in the last one; so many bytes come from
/// those in a cycle.
const FITS: f64 = 1e6;
const FITS_LAST: f64 = 4e6;
const LAST_RATE: f64 = 14.0;

/// How maps are cut into blocks and parts, and positions into chunks. Of three numbers the first is for output maps, the second for
/// input maps, the third for the first axis of taps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    /// Maps of a block.
    block: [usize; 2],
    /// Maps and taps of a part, and how many parts there are.
    part: [usize; 3],
    parts: [usize; 3],
    /// Groups of parts that may run at once, along the axis that has most.
    groups: usize,
    axis: usize,
    /// Positions of a chunk on each axis, samples first, and how many chunks there are.
    inner: Vec<usize>,
    chunks: Vec<usize>,
}

impl Cut {
    /// The cut of least cost by a rough model, if chunks are worth it, and that cost in cycles. `dims` are those of the weight, `extents`
    /// those of the positions of each of `shares` partial sums.
    fn of(dims: &[usize], extents: &[usize], windows: &[Window], shares: usize) -> Option<(f64, Self)> {
        let block = [
            [32, 16].into_iter().find(|b| dims[0].is_multiple_of(*b)).unwrap_or(dims[0]),
            if dims[1].is_multiple_of(16) { 16 } else { dims[1] },
        ];
        let most = NEAREST / 4usize.checked_mul(block[0].checked_add(block[1])?)?;
        let inner = cut(extents, most.min(POSITIONS));
        let held: usize = inner.iter().product();
        if held < POSITIONS_MIN || dims.contains(&0) {
            return None;
        }
        let chunks: Vec<usize> = extents.iter().zip(&inner).map(|(e, i)| e / i).collect();
        let count: f64 = chunks.iter().map(|c| *c as f64).product();
        let rest: usize = dims.iter().skip(3).product();
        // What of the input a position has to itself: steps pass by what no tap sees.
        let own: usize = windows.iter().map(|w| w.stride.min(w.kernel)).product();
        let bytes = |[o, i, k]: [usize; 3]| 4 * (o * i * k * rest + held * (o + own * i));
        let costs = Costs {
            weights: dims.iter().map(|d| *d as f64).product(),
            operands: [dims[0] as f64, (own * dims[1]) as f64].map(|maps| 4.0 * maps * held as f64 * count),
            held: held as f64,
            count,
            shares,
        };
        let of = |size: usize, all: usize| {
            (1..=all / size).map(move |n| n * size).filter(move |p| all.is_multiple_of(*p))
        };
        let first = dims.get(2).copied().unwrap_or(1);
        let taps = if first > 1 { vec![first, 1] } else { vec![first] };
        let mut best: Option<(f64, Self)> = None;
        for part in of(block[0], dims[0]).flat_map(|o| of(block[1], dims[1]).map(move |i| [o, i])) {
            for k in &taps {
                let part = [part[0], part[1], *k];
                let parts = [dims[0] / part[0], dims[1] / part[1], first / k];
                if bytes(part) > NEAR && part[..2] != block {
                    continue;
                }
                let axis = (0..3).max_by_key(|a| parts[*a]).unwrap_or(0);
                let groups = grouped(parts[axis]);
                let cost = costs.cycles(parts, groups);
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    let (inner, chunks) = (inner.clone(), chunks.clone());
                    best = Some((cost, Self { block, part, parts, groups, axis, inner, chunks }));
                }
            }
        }
        best
    }

    /// All in one part and one chunk.
    fn whole(dims: &[usize], extents: &[usize]) -> Self {
        let part = [dims[0], dims[1], dims.get(2).copied().unwrap_or(1)];
        let chunks = vec![1; extents.len()];
        Self {
            block: [dims[0], dims[1]],
            part,
            parts: [1; 3],
            groups: 1,
            axis: 0,
            inner: extents.to_vec(),
            chunks,
        }
    }

    /// How many parts of each axis a group goes over.
    fn turns(&self) -> [usize; 3] {
        let mut turns = self.parts;
        turns[self.axis] /= self.groups;
        turns
    }
}

/// What cutting costs is computed from, for each of `shares` partial sums: elements of the weight, bytes of both operands (of the
/// input, those that are touched), positions of a chunk, and how many chunks there are.
struct Costs {
    weights: f64,
    operands: [f64; 2],
    held: f64,
    count: f64,
    shares: usize,
}

impl Costs {
    /// Cycles, roughly.
    fn cycles(&self, parts: [usize; 3], groups: usize) -> f64 {
        let products = self.weights * self.held * self.count / PRODUCTS;
        let added = if self.count > 1.0 { 8.0 * self.weights * self.count / RATE } else { 0.0 };
        // The operand of an axis that is not cut is fetched for each part of the other.
        let [o, i, k] = parts.map(|p| p as f64);
        let (once, all) =
            (self.operands[0] + self.operands[1], (self.operands[0] * i + self.operands[1] * o) * k);
        let fetched = if once < FITS {
            all / RATE
        } else if once < FITS_LAST {
            once / FAR + (all - once) / LAST_RATE
        } else {
            all / FAR
        };
        // The longer of the outer loops is shared out among threads: how much longer the busiest of so many takes than all of them on
        // average.
        let outer = groups.max(self.shares);
        let over = |threads: usize| (outer.div_ceil(threads) * threads) as f64 / outer as f64 - 1.0;
        let unshared = 1.0 + 0.3 * over(2) + 0.1 * over(4) + 0.05 * over(8);
        let shares = self.shares as f64;
        let bytes = 4.0 * self.weights * shares;
        let folded = match self.shares {
            1 => 0.0,
            _ if bytes > FOLDED_FAR => 2.0 * bytes / FOLDED,
            _ => bytes / FOLDED,
        };
        shares * ((products + added + fetched) * unshared + 2000.0 * self.count * o * i * k) + folded
    }
}

/// The nest under construction: names, sizes and places of a part.
struct Part<'a> {
    op: &'a ConvGrad,
    windows: &'a [Window],
    cut: &'a Cut,
    /// Loops over blocks of output and input maps, taps, and the maps of a block.
    loops: &'a [(String, usize)],
    /// Where sums are gathered: the buffer, and the share's and group's place in it.
    sums: Option<(Buf, [Affine; 2])>,
    /// Which of several shares of the samples this is a sum over.
    share: Option<Affine>,
    /// First maps and tap.
    first: [Affine; 3],
}

/// The extents of the positions: samples, then the axes of the grid.
fn extents(dy: &TensorTy, windows: &[Window]) -> Vec<usize> {
    std::iter::once(dy.n()).chain(windows.iter().map(|w| w.out)).collect()
}

/// Whether the dimensions of the weight are only maps and taps.
fn is_dense(op: &ConvGrad) -> bool {
    op.geometry.share == Share::All && op.geometry.links == Linking::Dense
}

/// Into how many partial sums over samples the gradient is best shared out; 1 for none.
pub(super) fn shares(op: &ConvGrad, x: &TensorTy, dy: &TensorTy, windows: &[Window]) -> usize {
    if !is_dense(op) {
        return 1;
    }
    let weight: Vec<usize> = [dy.c(), x.c()].into_iter().chain(windows.iter().map(|w| w.kernel)).collect();
    let all = extents(dy, windows);
    let cost = |shares: usize| {
        let own = [&[all[0] / shares], &all[1..]].concat();
        Cut::of(&weight, &own, windows, shares).map_or(f64::INFINITY, |cut| cut.0)
    };
    let mut best = (cost(1) * (1.0 - SAVES), 1);
    for shares in (2..=SHARES_MAX).filter(|s| all[0].is_multiple_of(*s)) {
        let cost = cost(shares);
        if cost < best.0 {
            best = (cost, shares);
        }
    }
    best.1
}

/// The sums of squares that the gradient makes in passing, a part at a time, if chunks are worth it.
pub(super) fn squares(op: &ConvGrad, dy: &TensorTy, out: &TensorTy, windows: &[Window]) -> Option<Squares> {
    let (_, cut) = is_dense(op).then(|| Cut::of(out.dims(), &extents(dy, windows), windows, 1)).flatten()?;
    let taps = out.dims().iter().enumerate().skip(2);
    let mut part = cut.part[..2].to_vec();
    part.extend(taps.map(|(dim, extent)| if dim == 2 { cut.part[2] } else { *extent }));
    // As the buffer of sums lies.
    let block = |dim: usize| Turn { dim, extent: cut.part[dim] / cut.block[dim], step: cut.block[dim] };
    let mut turns = vec![block(0), block(1)];
    turns.extend(part.iter().enumerate().skip(2).map(|(dim, extent)| Turn { dim, extent: *extent, step: 1 }));
    turns.push(Turn { dim: 1, extent: cut.block[1], step: 1 });
    Some(Squares { part, turns, lanes: Turn { dim: 0, extent: cut.block[0], step: 1 } })
}

/// Writes the loops of the gradient, if chunks are worth it; says whether.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &ConvGrad, windows: &[Window]) -> bool {
    let extents = extents(cx.input(1), windows);
    let cut = is_dense(op).then(|| Cut::of(cx.out().dims(), &extents, windows, 1));
    let Some((_, cut)) = cut.flatten() else { return false };
    write(cx, op, windows, &cut, None);
    true
}

/// Writes the loops of its partial sums, which are the first dimension of the output.
pub(super) fn lower_shares(cx: &mut LowerCx<'_>, op: &ConvGrad, windows: &[Window], shares: usize) {
    let mut extents = extents(cx.input(1), windows);
    extents[0] /= shares;
    let weight = cx.out().dims()[1..].to_vec();
    let cut = Cut::of(&weight, &extents, windows, shares);
    let cut = cut.map_or_else(|| Cut::whole(&weight, &extents), |(_, cut)| cut);
    write(cx, op, windows, &cut, Some(shares));
}

fn write(cx: &mut LowerCx<'_>, op: &ConvGrad, windows: &[Window], cut: &Cut, shares: Option<usize>) {
    let (dy, out) = (cx.input(1).clone(), cx.out().clone());
    let first = usize::from(shares.is_some());
    let names: Vec<String> =
        std::iter::once("n".to_owned()).chain(dy.grid_names().iter().map(ToString::to_string)).collect();
    let mut loops =
        vec![("ob".to_owned(), cut.part[0] / cut.block[0]), ("ib".to_owned(), cut.part[1] / cut.block[1])];
    let mut taps: Vec<usize> = out.dims()[first + 2..].to_vec();
    taps.iter_mut().take(1).for_each(|t| *t = cut.part[2]);
    loops.extend(out.names()[first + 2..].iter().map(ToString::to_string).zip(taps));
    loops.extend([("il".to_owned(), cut.block[1]), ("ol".to_owned(), cut.block[0])]);
    let named = |suffix: &str, sizes: &[usize]| -> Vec<(String, usize)> {
        names.iter().zip(sizes).map(|(n, e)| (format!("{n}{suffix}"), *e)).collect()
    };
    let (chunks, within) = (named("_chunk", &cut.chunks), named("", &cut.inner));
    let turns = cut.turns();
    let serially: Vec<(String, usize)> =
        ["op", "ip", "kp"].iter().map(ToString::to_string).zip(turns).collect();
    let count = shares.unwrap_or(1);
    // A group uses its buffer for one part after another. What goes on does so from there.
    let sums = (cut.chunks.iter().any(|c| *c > 1) || cx.goes_on()).then(|| {
        let own = loops.iter().map(|(n, e)| (&**n, *e));
        cx.scratch("sums", &[("s", count), ("g", cut.groups)].into_iter().chain(own).collect::<Vec<_>>())
    });
    turning(cx, LoopKind::Free, &[("s", count), ("g", cut.groups)], |cx, v| {
        let (share, group) = (&v[0], &v[1]);
        serial(cx, &serially, |cx, turn| {
            let number = [0, 1, 2].map(|a| {
                let group = if a == cut.axis { group * turns[a] as i64 } else { Affine::k(0) };
                &group + &turn[a]
            });
            let first = [0, 1, 2].map(|a| &number[a] * cut.part[a] as i64);
            let sums = sums.map(|buf| (buf, [share.clone(), group.clone()]));
            let share = shares.map(|_| share.clone());
            let part = Part { op, windows, cut, loops: &loops, sums, share, first };
            part.write(cx, &chunks, &within);
            if let Some((buf, place)) = &part.sums {
                // Of taps only the first axis is cut.
                let mut parts = vec![Affine::k(0); cx.out().dims().len()];
                parts.iter_mut().zip(number).for_each(|(p, n)| *p = n);
                cx.sum_part(&parts, &|cx, at| cx.b.load(*buf, &[&place[..], at].concat()));
            }
        });
    });
}

impl Part<'_> {
    /// All of it.
    fn write(&self, cx: &mut LowerCx<'_>, chunks: &[(String, usize)], within: &[(String, usize)]) {
        let Some((buf, place)) = &self.sums else {
            return self.each(cx, |cx, v| {
                let at = self.weight(v);
                let sum = self.chunk(cx, &at, within, &vec![Affine::k(0); within.len()]);
                cx.store(&self.out(at), sum);
            });
        };
        let held = |v: &[Affine]| -> Vec<Affine> { [&place[..], v].concat() };
        if self.cut.chunks.iter().all(|c| *c == 1) {
            self.each(cx, |cx, v| {
                let at = self.weight(v);
                let sum = self.chunk(cx, &at, within, &vec![Affine::k(0); within.len()]);
                cx.b.store(*buf, &held(v), sum);
            });
        } else {
            self.gather(cx, *buf, &held, chunks, within);
        }
        self.each(cx, |cx, v| {
            let total = cx.b.load(*buf, &held(v));
            cx.store(&self.out(self.weight(v)), total);
        });
    }

    /// Adds up what chunks give.
    fn gather(
        &self,
        cx: &mut LowerCx<'_>,
        buf: Buf,
        held: &dyn Fn(&[Affine]) -> Vec<Affine>,
        chunks: &[(String, usize)],
        within: &[(String, usize)],
    ) {
        self.each(cx, |cx, v| cx.b.store(buf, &held(v), 0.0));
        // Pairs of blocks one after another: what one pair reads fills the nearest cache as it is.
        let (blocks, members) = self.loops.split_at(2);
        let blocks: Vec<(String, usize)> = blocks.iter().rev().cloned().collect();
        let members: Vec<(&str, usize)> = members.iter().map(|(n, e)| (&**n, *e)).collect();
        serial(cx, chunks, |cx, chunk| {
            serial(cx, &blocks, |cx, pair| {
                cx.nested(LoopKind::Free, &members, |cx, v| {
                    let pair = pair.iter().rev().cloned();
                    let v: Vec<Affine> = pair.chain(v.iter().map(|v| Affine::from(*v))).collect();
                    let sum = self.chunk(cx, &self.weight(&v), within, chunk);
                    let total = cx.b.load(buf, &held(&v)) + sum;
                    cx.b.store(buf, &held(&v), total);
                });
            });
        });
    }

    /// Independent loops over the part.
    fn each(&self, cx: &mut LowerCx<'_>, body: impl FnOnce(&mut LowerCx<'_>, &[Affine])) {
        let dims: Vec<(&str, usize)> = self.loops.iter().map(|(n, e)| (&**n, *e)).collect();
        cx.nested(LoopKind::Free, &dims, |cx, v| {
            body(cx, &v.iter().map(|v| Affine::from(*v)).collect::<Vec<_>>());
        });
    }

    /// The weight that the loops of the part stand for: output map, input map, taps.
    fn weight(&self, v: &[Affine]) -> Vec<Affine> {
        let (last, taps) = (v.len() - 1, 2..v.len() - 2);
        let map = |axis: usize, block: &Affine, member: &Affine| {
            &(&self.first[axis] + &(block * self.cut.block[axis] as i64)) + member
        };
        let mut at = vec![map(0, &v[0], &v[last]), map(1, &v[1], &v[last - 1])];
        at.extend_from_slice(&v[taps]);
        at[2..].iter_mut().take(1).for_each(|t| *t = &*t + &self.first[2]);
        at
    }

    /// The place of a weight in the output.
    fn out(&self, weight: Vec<Affine>) -> Vec<Affine> {
        self.share.iter().cloned().chain(weight).collect()
    }

    /// What a chunk gives for one weight.
    fn chunk(
        &self,
        cx: &mut LowerCx<'_>,
        at: &[Affine],
        within: &[(String, usize)],
        chunk: &[Affine],
    ) -> Expr {
        let taps: Vec<Affine> =
            self.windows.iter().zip(&at[2..]).map(|(w, k)| tap(&self.op.geometry, w, k)).collect();
        let sum = cx.b.let_(0.0);
        serial(cx, within, |cx, within| {
            let place = |((c, w), size): ((&Affine, &Affine), &usize)| &(c * *size as i64) + w;
            let mut p: Vec<Affine> = chunk.iter().zip(within).zip(&self.cut.inner).map(place).collect();
            if let Some(share) = &self.share {
                p[0] = &p[0] + &(share * (self.cut.chunks[0] * self.cut.inner[0]) as i64);
            }
            let mut x = vec![p[0].clone(), at[1].clone()];
            x.extend(self.windows.iter().zip(&p[1..]).zip(&taps).map(|((w, p), k)| seen(w, p, k)));
            let y = [&[p[0].clone(), at[0].clone()], &p[1..]].concat();
            let product = Expr::fma(cx.load(1, &y), cx.load(0, &x), sum.into());
            cx.b.set(sum, product);
        });
        Expr::Reg(sum)
    }
}

/// The extents of a chunk of positions: whole axes from the last on, and of the next a divisor, at most `most` together.
pub(super) fn cut(extents: &[usize], most: usize) -> Vec<usize> {
    let mut inner = vec![1; extents.len()];
    let mut left = most;
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
    use super::{Cut, NEAR, POSITIONS, cut};
    use crate::ops::window::Window;

    #[test]
    fn chunks_divide_the_positions() {
        let cut = |extents| cut(extents, POSITIONS);
        assert_eq!(cut(&[64, 32, 32]), [1, 4, 32]);
        assert_eq!(cut(&[64, 8, 8]), [2, 8, 8]);
        assert_eq!(cut(&[8, 4096]), [1, 128]);
        assert_eq!(cut(&[1, 55, 55]), [1, 1, 55]);
        assert_eq!(cut(&[2, 227]), [1, 1]);
        assert_eq!(cut(&[3, 5, 7]), [3, 5, 7]);
        assert_eq!(cut(&[1000]), [125]);
    }

    #[test]
    fn parts_and_chunks_cover_everything_once() {
        for (o, i, taps, stride, n, out) in [
            (64, 64, 1, 1, 8, 56),
            (512, 256, 1, 2, 8, 28),
            (2048, 512, 1, 1, 1, 7),
            (64, 3, 7, 2, 8, 112),
            (20, 3, 3, 1, 2, 18),
            (512, 512, 3, 2, 8, 7),
            (1 << 14, 1 << 14, 3, 1, 64, 64),
        ] {
            let input = out * stride;
            let window = Window { input, out, kernel: taps, stride, dilation: 1, lo: taps / 2, hi: taps / 2 };
            let (dims, extents) = ([o, i, taps, taps], [n, out, out]);
            let (_, cut) = Cut::of(&dims, &extents, &[window, window], 1).expect("a cut");
            for (a, all) in [o, i, taps].into_iter().enumerate() {
                assert_eq!(cut.part[a] * cut.parts[a], all, "{cut:?}");
            }
            assert!(cut.part[..2].iter().zip(cut.block).all(|(p, b)| p.is_multiple_of(b)), "{cut:?}");
            assert_eq!(cut.turns()[cut.axis] * cut.groups, cut.parts[cut.axis], "{cut:?}");
            assert!((0..3).all(|a| cut.chunks[a] * cut.inner[a] == extents[a]), "{cut:?}");
            assert!(4 * cut.part.iter().product::<usize>() * taps < NEAR, "{cut:?}");
        }
        let window = Window { input: 5, out: 3, kernel: 3, stride: 1, dilation: 1, lo: 0, hi: 0 };
        assert_eq!(Cut::of(&[16, 16, 3], &[2, 3], &[window], 1), None, "6 positions are not worth it");
    }
}
