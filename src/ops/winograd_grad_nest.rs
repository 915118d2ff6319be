//! The nest of [`WinogradGrad`]: a chunk of tiles at a time, transformed into buffers that stay in the cache while all products of
//! their maps are added up.
//!
//! In: the checked operation. Out: loops over partial sums and parts of the maps, which may run at once; in each, chunk after
//! chunk, the transformed inputs, the transformed gradients, and 16 products of matrices, added to what was summed before. Parts
//! are small enough for sums and buffers to stay in the nearer caches together. Everything is cut by shape alone.

use super::conv_nest::serial;
use super::lower::LowerCx;
use super::winograd_grad::WinogradGrad;
use super::winograd_nest::{ELEMENTS_MAX, input_rule};
use crate::loops::{Affine, Buf, Expr, LoopKind, Reg};
use crate::tensor::ty::TensorTy;

/// Channels side by side.
const LANES: usize = super::winograd_nest::Cut::LANES;

/// Most maps of a part.
const PART_MAX: usize = 128;

/// Most partial sums.
const SUMS_MAX: usize = 8;

/// What of the nearer caches sums and buffers may fill, in bytes.
const NEAR: usize = 800_000;

/// Cycles of a transform of one tile of 16 maps: of the input, of the gradient.
const SPREAD: [f64; 2] = [85.0, 70.0];

/// Bytes of the sums that are added to in a cycle.
const RATE: f64 = 24.0;

/// Bytes of the sums that are read back in a cycle when they are folded.
const FOLDED: f64 = 6.0;

/// How maps are cut into parts, samples into partial sums, and the tiles of a partial sum into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Input and output maps of a part.
    part: [usize; 2],
    /// How many parts there are.
    parts: [usize; 2],
    /// Partial sums, each of equally many samples.
    sums: usize,
    /// Samples, rows and columns of tiles in a chunk.
    chunk: [usize; 3],
    /// Chunks of a partial sum on each of those axes; the last row of chunks may reach below the output.
    chunks: [usize; 3],
}

impl Cut {
    /// The cut of least cost by a rough model: transforms, repeated for each part, and what is added to the sums.
    pub(super) fn of(x: &TensorTy, dy: &TensorTy) -> Option<Self> {
        let (n, maps) = (x.n(), [x.c(), dy.c()]);
        let tiles = [dy.grid_dims()[0].div_ceil(2), dy.grid_dims()[1].div_ceil(2)];
        if n == 0 || tiles.contains(&0) || maps.iter().any(|m| *m == 0 || !m.is_multiple_of(LANES)) {
            return None;
        }
        let parts =
            |maps: usize| (1..=PART_MAX / LANES).map(|b| b * LANES).filter(move |p| maps.is_multiple_of(*p));
        let mut best: Option<(f64, Self)> = None;
        for part in parts(maps[0]).flat_map(|i| parts(maps[1]).map(move |o| [i, o])) {
            let parts = [maps[0] / part[0], maps[1] / part[1]];
            for sums in (1..=SUMS_MAX.min(n)).filter(|s| n.is_multiple_of(*s)) {
                let Some((chunk, chunks)) = chunk(n / sums, tiles, part) else { continue };
                let cut = Self { part, parts, sums, chunk, chunks };
                let cost = cut.cost();
                if cut.elements().is_none_or(|e| e > ELEMENTS_MAX) {
                    continue;
                }
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, cut));
                }
            }
        }
        best.map(|(_, cut)| cut)
    }

    /// Cycles, roughly.
    fn cost(&self) -> f64 {
        let products = (self.part[0] * self.part[1]) as f64;
        let spread = (SPREAD[0] * self.part[0] as f64 + SPREAD[1] * self.part[1] as f64) / LANES as f64;
        let groups = (self.sums * self.parts[0] * self.parts[1]) as f64;
        let chunk = self.held() as f64 * (products + spread) + 2.0 * 64.0 * products / RATE + 2000.0;
        let all = self.chunks.iter().product::<usize>() as f64 * chunk + 64.0 * products / FOLDED;
        // The longest of the outer loops is shared out.
        let unshared = match self.sums.max(self.parts[0]).max(self.parts[1]) {
            1 => 1.5,
            2 | 3 => 1.2,
            4..8 => 1.02,
            _ => 1.0,
        };
        groups * all * unshared
    }

    /// Elements of all buffers together, one pair for each partial sum and part.
    fn elements(&self) -> Option<usize> {
        let groups = self.sums.checked_mul(self.parts[0])?.checked_mul(self.parts[1])?;
        groups.checked_mul(16 * (self.part[0] + self.part[1]))?.checked_mul(self.held() | 1)
    }

    /// The dimensions of all sums.
    pub(super) fn sums(&self) -> [(&'static str, usize); 8] {
        let [i, o] = self.part;
        [
            ("s", self.sums),
            ("op", self.parts[1]),
            ("ip", self.parts[0]),
            ("t", 16),
            ("ob", o / LANES),
            ("ib", i / LANES),
            ("il", LANES),
            ("ol", LANES),
        ]
    }

    /// Tiles of a chunk. In buffers there is room for an odd number, so that the 16 numbers of a tile lie in different sets of the
    /// nearest cache.
    fn held(&self) -> usize {
        self.chunk.iter().product()
    }

    /// Rows and columns of tiles, those below the output included.
    pub(super) fn reach(&self) -> [usize; 2] {
        [self.chunk[1] * self.chunks[1], self.chunk[2] * self.chunks[2]]
    }
}

/// Samples, rows and columns of tiles that are summed at once for a part of the maps, and how many such chunks there are.
fn chunk(samples: usize, tiles: [usize; 2], part: [usize; 2]) -> Option<([usize; 3], [usize; 3])> {
    let most = NEAR.checked_sub(64 * part[0] * part[1])? / (64 * (part[0] + part[1]));
    let width = (1..=most.min(tiles[1])).rev().find(|w| tiles[1].is_multiple_of(*w))?;
    // Rows below the output are lost work.
    let rows = |most: usize| {
        let cost = |r: usize| (tiles[0].div_ceil(r) * r) as f64 * (1.0 + 4.0 / (r * width) as f64);
        (1..=most.min(tiles[0])).rev().min_by(|a, b| cost(*a).total_cmp(&cost(*b)))
    };
    let height = if width == tiles[1] { rows(most / width)? } else { 1 };
    let whole = height >= tiles[0] && width == tiles[1];
    let left = if whole { most / (height * width) } else { 1 };
    let count = (1..=left.clamp(1, samples)).rev().find(|s| samples.is_multiple_of(*s))?;
    Some(([count, height, width], [samples / count, tiles[0].div_ceil(height), tiles[1] / width]))
}

/// Writes the loops.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &WinogradGrad) {
    let cut = Cut::of(cx.input(0), cx.input(1)).expect("the shape rule accepted these types");
    let outer = [("s", cut.sums), ("op", cut.parts[1]), ("ip", cut.parts[0])];
    let buffer = |part: usize| {
        let own = [("b", part / LANES), ("t", 16), ("p", cut.held() | 1), ("l", LANES)];
        [&outer[..], &own[..]].concat()
    };
    let (x, dy) = (cx.scratch("x", &buffer(cut.part[0])), cx.scratch("dy", &buffer(cut.part[1])));
    let all = cut.sums();
    cx.nested(LoopKind::Free, &outer, |cx, v| {
        let group = [v[0], v[1], v[2]].map(Affine::from);
        cx.nested(LoopKind::Free, &all[3..], |cx, v| {
            let at: Vec<Affine> = group.iter().cloned().chain(v.iter().map(|v| Affine::from(*v))).collect();
            cx.keep(&at, 0.0);
        });
        let turns: Vec<(String, usize)> = ["samples", "rows", "columns"]
            .iter()
            .zip(cut.chunks)
            .map(|(n, e)| ((*n).to_owned(), e))
            .collect();
        serial(cx, &turns, |cx, turn| {
            let place = Place::of(&cut, &group, turn);
            spread_input(cx, op, &cut, &place, x);
            spread_gradient(cx, &cut, &place, dy);
            multiply(cx, &cut, &place, [x, dy]);
        });
        if cx.has_followers() {
            cx.nested(LoopKind::Free, &all[3..], |cx, v| {
                let at: Vec<Affine> =
                    group.iter().cloned().chain(v.iter().map(|v| Affine::from(*v))).collect();
                let total = cx.kept(&at);
                cx.store(&at, total);
            });
        }
    });
}

/// Which partial sum and part, and which first sample, row and column of tiles.
struct Place {
    group: [Affine; 3],
    first: [Affine; 3],
}

impl Place {
    fn of(cut: &Cut, group: &[Affine; 3], turn: &[Affine]) -> Self {
        let sample = &(&group[0] * cut.chunks[0] as i64) + &turn[0];
        let from = |at: &Affine, axis: usize| at * cut.chunk[axis] as i64;
        Self { group: group.clone(), first: [from(&sample, 0), from(&turn[1], 1), from(&turn[2], 2)] }
    }

    /// Place `at` of a buffer of this part.
    fn within(&self, at: &[Affine]) -> Vec<Affine> {
        [&self.group[..], at].concat()
    }

    /// Sample, and the first row and column that a tile of the chunk covers.
    fn corner(&self, tile: &[Affine; 3]) -> [Affine; 3] {
        let of = |axis: usize| &self.first[axis] + &tile[axis];
        [of(0), &of(1) * 2, &of(2) * 2]
    }
}

/// A tile of one map.
struct Tile {
    /// Sample, first row, first column.
    corner: [Affine; 3],
    channel: Affine,
}

/// Independent loops over the tiles of a chunk and the maps of a part; `body` gets a tile and the places of its 16 numbers.
fn tiles(
    cx: &mut LowerCx<'_>,
    cut: &Cut,
    place: &Place,
    axis: usize,
    body: impl FnOnce(&mut LowerCx<'_>, &Tile, &dyn Fn(i64) -> Vec<Affine>),
) {
    let [n, h, w] = cut.chunk;
    let part = cut.part[axis];
    let dims = [("b", part / LANES), ("n", n), ("th", h), ("tw", w), ("l", LANES)];
    let first = &place.group[2 - axis] * part as i64;
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let [block, sample, row, column, lane] = [v[0], v[1], v[2], v[3], v[4]].map(Affine::from);
        let channel = &(&first + &(&block * LANES as i64)) + &lane;
        let p = &(&(&sample * (h * w) as i64) + &(&row * w as i64)) + &column;
        let tile = Tile { corner: place.corner(&[sample, row, column]), channel };
        body(cx, &tile, &|t| place.within(&[block.clone(), Affine::k(t), p.clone(), lane.clone()]));
    });
}

/// `B' d B` of every tile and input map.
fn spread_input(cx: &mut LowerCx<'_>, op: &WinogradGrad, cut: &Cut, place: &Place, to: Buf) {
    tiles(cx, cut, place, 0, |cx, tile, at| {
        let [n, row, column] = &tile.corner;
        let mut columns: Vec<[Reg; 4]> = Vec::new();
        for j in 0..4 {
            let d = [0, 1, 2, 3].map(|i: i64| {
                let (h, w) = (row.offset(i - op.lo[0] as i64), column.offset(j - op.lo[1] as i64));
                let load = cx.load(0, &[n.clone(), tile.channel.clone(), h, w]);
                cx.b.let_(load)
            });
            columns.push(input_rule(d).map(|e| cx.b.let_(e)));
        }
        for i in 0..4 {
            let row = [0, 1, 2, 3].map(|j: usize| columns[j][i]);
            for (j, e) in input_rule(row).into_iter().enumerate() {
                cx.b.store(to, &at((4 * i + j) as i64), e);
            }
        }
    });
}

/// `A z A'` of every tile and output map.
fn spread_gradient(cx: &mut LowerCx<'_>, cut: &Cut, place: &Place, to: Buf) {
    tiles(cx, cut, place, 1, |cx, tile, at| {
        let [n, row, column] = &tile.corner;
        let mut columns: Vec<[Reg; 4]> = Vec::new();
        for j in 0..2 {
            let z = [0, 1].map(|i: i64| {
                let load = cx.load(1, &[n.clone(), tile.channel.clone(), row.offset(i), column.offset(j)]);
                cx.b.let_(load)
            });
            columns.push(gradient_rule(z).map(|e| cx.b.let_(e)));
        }
        for i in 0..4 {
            let row = [0, 1].map(|j: usize| columns[j][i]);
            for (j, e) in gradient_rule(row).into_iter().enumerate() {
                cx.b.store(to, &at((4 * i + j) as i64), e);
            }
        }
    });
}

/// One axis of `A`.
fn gradient_rule(z: [Reg; 2]) -> [Expr; 4] {
    let [a, b] = z.map(Expr::Reg);
    [a.clone(), a.clone() + b.clone(), a - b.clone(), Expr::from(0.0) - b]
}

/// The 16 products of matrices, added to the sums.
fn multiply(cx: &mut LowerCx<'_>, cut: &Cut, place: &Place, [x, dy]: [Buf; 2]) {
    let within = [("p".to_owned(), cut.held())];
    let all = cut.sums();
    cx.nested(LoopKind::Free, &all[3..], |cx, v| {
        let [t, ob, ib, il, ol] = [v[0], v[1], v[2], v[3], v[4]].map(Affine::from);
        let sum = cx.b.let_(0.0);
        serial(cx, &within, |cx, p| {
            let load = |cx: &LowerCx<'_>, from: Buf, block: &Affine, lane: &Affine| {
                cx.b.load(from, &place.within(&[block.clone(), t.clone(), p[0].clone(), lane.clone()]))
            };
            let product = Expr::fma(load(cx, dy, &ob, &ol), load(cx, x, &ib, &il), sum.into());
            cx.b.set(sum, product);
        });
        let at = place.within(&[t.clone(), ob, ib, il, ol]);
        let total = cx.kept(&at) + Expr::Reg(sum);
        cx.keep(&at, total);
    });
}

#[cfg(test)]
mod tests {
    use super::Cut;
    use crate::ops::case::act;

    #[test]
    fn parts_and_chunks_cover_everything_once() {
        for (n, c, o, h, w) in [
            (1, 64, 64, 56, 56),
            (8, 512, 512, 7, 7),
            (64, 16, 16, 32, 32),
            (4, 128, 64, 256, 256),
            (7, 48, 80, 9, 31),
            (2, 16, 16, 3, 4000),
        ] {
            let (x, dy) = (act(n, c, &[("h", h), ("w", w)]), act(n, o, &[("h", h), ("w", w)]));
            let cut = Cut::of(&x, &dy).expect("a cut");
            assert_eq!([cut.part[0] * cut.parts[0], cut.part[1] * cut.parts[1]], [c, o], "{cut:?}");
            assert_eq!(cut.sums * cut.chunk[0] * cut.chunks[0], n, "{cut:?}");
            let [rows, columns] = cut.reach();
            assert!(rows >= h.div_ceil(2) && rows - cut.chunk[1] < h.div_ceil(2), "{cut:?}");
            assert_eq!(columns, w.div_ceil(2), "{cut:?}");
        }
        let many = act(1, 1 << 14, &[("h", 32), ("w", 32)]);
        assert_eq!(Cut::of(&many, &many), None, "its buffers would take gigabytes");
        assert_eq!(Cut::of(&act(1, 8, &[("h", 8), ("w", 8)]), &act(1, 16, &[("h", 8), ("w", 8)])), None);
    }
}
