//! The nest of [`WinogradGrad`]: a chunk of tiles at a time, transformed into buffers that stay in the cache while all products of
//! their maps are added up.
//!
//! In: the checked operation. Out: loops over partial sums and groups of parts of the maps, which may run at once; in each, part after
//! part, and chunk after
//! chunk, the transformed inputs, the transformed gradients, and a product of matrices for each number of a tile, added to what was summed before. Parts
//! are small enough for sums and buffers to stay in the nearer caches together. Everything is cut by shape alone.

use super::conv_nest::serial;
use super::lower::LowerCx;
use super::minimal::Tile;
use super::winograd_fold;
use super::winograd_grad::WinogradGrad;
use super::winograd_nest::{ELEMENTS_MAX, grouped};
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

/// Most tiles of one chain where tiles are large, and how many chains there are, unless these became too short to pay: what larger
/// constants lose in rounding, shorter chains win back. With fewer tiles in all than the last they would not.
const CHAIN_MAX: usize = 128;
const CHAIN_MIN: usize = 8;
const CHAINS: usize = 4;
const FOUR_MIN: usize = 64;

/// Cycles of a transform of one tile of 16 maps: of the input, of the gradient.
fn spread(tile: Tile) -> [f64; 2] {
    match tile {
        Tile::Two => [85.0, 70.0],
        Tile::Four => [220.0, 190.0],
    }
}

/// Bytes of the sums that are added to in a cycle.
const RATE: f64 = 24.0;

/// Bytes of the sums that are read back in a cycle when they are folded.
const FOLDED: f64 = 6.0;

/// Sums of more bytes do not stay in the caches until they are folded.
const FAR: f64 = 8e6;

/// How maps are cut into parts, samples into partial sums, and the tiles of a partial sum into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    tile: Tile,
    /// Input and output maps of a part.
    part: [usize; 2],
    /// How many parts there are.
    parts: [usize; 2],
    /// Groups that may run at once, of parts of input (0) or output (1) maps: the axis that has more of them.
    groups: usize,
    axis: usize,
    /// Partial sums, each of equally many samples.
    pub(super) sums: usize,
    /// Samples, rows and columns of tiles in a chunk.
    chunk: [usize; 3],
    /// Chunks of a partial sum on each of those axes; the last row of chunks may reach below the output.
    chunks: [usize; 3],
}

impl Cut {
    /// The cut of least cost by a rough model: transforms, repeated for each part, and what is added to the sums.
    pub(super) fn of(tile: Tile, x: &TensorTy, dy: &TensorTy) -> Option<Self> {
        let (n, maps) = (x.n(), [x.c(), dy.c()]);
        let tiles = [0, 1].map(|axis| dy.grid_dims()[axis].div_ceil(tile.outputs()));
        if n == 0 || tiles.contains(&0) || maps.iter().any(|m| *m == 0 || !m.is_multiple_of(LANES)) {
            return None;
        }
        if tile == Tile::Four && n.saturating_mul(tiles[0]).saturating_mul(tiles[1]) < FOUR_MIN {
            return None;
        }
        let parts =
            |maps: usize| (1..=PART_MAX / LANES).map(|b| b * LANES).filter(move |p| maps.is_multiple_of(*p));
        let mut best: Option<(f64, Self)> = None;
        for part in parts(maps[0]).flat_map(|i| parts(maps[1]).map(move |o| [i, o])) {
            let parts = [maps[0] / part[0], maps[1] / part[1]];
            for sums in (1..=SUMS_MAX.min(n)).filter(|s| n.is_multiple_of(*s)) {
                let Some((chunk, chunks)) = chunk(tile, n / sums, tiles, part) else { continue };
                let axis = usize::from(parts[1] >= parts[0]);
                let cut = Self { tile, part, parts, groups: grouped(parts[axis]), axis, sums, chunk, chunks };
                let cost = cut.cycles();
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
    pub(super) fn cycles(&self) -> f64 {
        let numbers = self.tile.numbers() as f64;
        let pairs = (self.part[0] * self.part[1]) as f64;
        let products = numbers / LANES as f64 * pairs;
        let [x, dy] = spread(self.tile);
        let spread = (x * self.part[0] as f64 + dy * self.part[1] as f64) / LANES as f64;
        let groups = (self.sums * self.parts[0] * self.parts[1]) as f64;
        let bytes = 4.0 * numbers * pairs;
        let chunk = self.held() as f64 * (products + spread) + 2.0 * bytes / RATE + 2000.0;
        // Partial sums are folded by an operation of its own; if they leave the caches until then, through memory.
        let folded = match self.sums {
            1 => 2.0 * bytes / RATE,
            _ if groups * bytes > FAR => 2.0 * bytes / FOLDED,
            _ => bytes / FOLDED,
        };
        let all = self.chunks.iter().product::<usize>() as f64 * chunk + folded;
        // The longest of the outer loops is shared out.
        let unshared = match self.sums.max(self.groups) {
            1 => 1.5,
            2 | 3 => 1.2,
            4..8 => 1.02,
            _ => 1.0,
        };
        groups * all * unshared
    }

    /// Elements of all buffers together, for each partial sum and group.
    fn elements(&self) -> Option<usize> {
        let [i, o] = self.part;
        let tiles = (i + o).checked_mul(self.held() | 1)?;
        let own = tiles.checked_add((i + 1) * o)?.checked_mul(self.tile.numbers())?;
        self.sums.checked_mul(self.groups)?.checked_mul(own)
    }

    /// How many parts of each axis a group goes over.
    fn turns(&self) -> [usize; 2] {
        let mut turns = self.parts;
        turns[self.axis] /= self.groups;
        turns
    }

    /// The dimensions of all sums.
    pub(super) fn sums(&self) -> [(&'static str, usize); 8] {
        let [i, o] = self.part;
        [
            ("s", self.sums),
            ("op", self.parts[1]),
            ("ip", self.parts[0]),
            ("t", self.tile.numbers()),
            ("ob", o / LANES),
            ("ib", i / LANES),
            ("il", LANES),
            ("ol", LANES),
        ]
    }

    /// Output maps of a part.
    pub(super) fn outputs(&self) -> usize {
        self.part[1]
    }

    /// Tiles of a chunk. In buffers there is room for an odd number, so that the numbers of a tile lie in different sets of the
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
fn chunk(
    tile: Tile,
    samples: usize,
    tiles: [usize; 2],
    part: [usize; 2],
) -> Option<([usize; 3], [usize; 3])> {
    let number = 4 * tile.numbers();
    let all = samples.saturating_mul(tiles[0]).saturating_mul(tiles[1]);
    let fits = NEAR.checked_sub(number * part[0] * part[1])? / (number * (part[0] + part[1]));
    let most = match tile {
        Tile::Two => fits,
        Tile::Four => fits.min((all / CHAINS).clamp(CHAIN_MIN, CHAIN_MAX)),
    };
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

/// Where sums are gathered: in the operation's output, or in a buffer that is folded into it.
#[derive(Clone, Copy)]
enum Sums {
    Kept,
    Own(Buf),
}

/// Writes the loops.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &WinogradGrad) {
    let cut = Cut::of(op.tile, cx.input(0), cx.input(1)).expect("the shape rule accepted these types");
    let outer = [("s", cut.sums), ("g", cut.groups)];
    let numbers = ("t", op.tile.numbers());
    let buffer = |part: usize| {
        let own = [("b", part / LANES), numbers, ("p", cut.held() | 1), ("l", LANES)];
        [&outer[..], &own[..]].concat()
    };
    let (x, dy) = (cx.scratch("x", &buffer(cut.part[0])), cx.scratch("dy", &buffer(cut.part[1])));
    let sums = if op.folded {
        // Room for an odd number of input maps, for the same reason as for tiles.
        let own = [numbers, ("ob", cut.part[1] / LANES), ("i", cut.part[0] + 1), ("ol", LANES)];
        Sums::Own(cx.scratch("sums", &[&outer[..], &own[..]].concat()))
    } else {
        Sums::Kept
    };
    // What goes on does so a strip at a time.
    let strip = cx.goes_on().then(|| winograd_fold::strip(cx, &outer, cut.part[1])).filter(|_| op.folded);
    cx.nested(LoopKind::Free, &outer, |cx, v| {
        let slot = [v[0], v[1]].map(Affine::from);
        let turns = cut.turns();
        serial(cx, &[("ip".to_owned(), turns[0]), ("op".to_owned(), turns[1])], |cx, v| {
            let mut part = [v[0].clone(), v[1].clone()];
            part[cut.axis] = &(&slot[1] * turns[cut.axis] as i64) + &part[cut.axis];
            one_part(
                cx,
                op,
                &cut,
                Place { slot: slot.clone(), part, first: [0, 0, 0].map(Affine::k) },
                [x, dy],
                (sums, strip),
            );
        });
    });
}

/// All sums of a pair of parts, and what comes of them.
fn one_part(
    cx: &mut LowerCx<'_>,
    op: &WinogradGrad,
    cut: &Cut,
    place: Place,
    [x, dy]: [Buf; 2],
    (sums, strip): (Sums, Option<Buf>),
) {
    let all = cut.sums();
    // Sums of one chunk are stored as they are, those of several gathered.
    let gathered = cut.chunks != [1, 1, 1];
    if gathered {
        cx.nested(LoopKind::Free, &all[3..], |cx, v| {
            let at: Vec<Affine> = v.iter().map(|v| Affine::from(*v)).collect();
            gather(cx, &place, sums, &at, |_| Expr::from(0.0));
        });
    }
    let turns: Vec<(String, usize)> =
        ["samples", "rows", "columns"].iter().zip(cut.chunks).map(|(n, e)| ((*n).to_owned(), e)).collect();
    serial(cx, &turns, |cx, turn| {
        let place = place.at(cut, turn);
        spread_input(cx, op, cut, &place, x);
        spread_gradient(cx, op, cut, &place, dy);
        multiply(cx, cut, &place, [x, dy], sums, gathered);
    });
    match sums {
        Sums::Own(buf) => match strip {
            None => {
                fold(cx, (op, cut, &place, buf), (&Affine::k(0), cut.part[0]), |cx, [i, ob, ol], taps, w| {
                    let from = |axis: usize| &place.part[axis] * cut.part[axis] as i64;
                    let (input, output) = (&from(0) + i, &(&from(1) + &(ob * LANES as i64)) + ol);
                    cx.store(&[&[output, input], &taps[..]].concat(), w);
                })
            }
            Some(strip) => {
                let blocks = cut.part[0] / LANES;
                serial(cx, &[("strip".to_owned(), blocks)], |cx, block| {
                    let first = &block[0] * LANES as i64;
                    fold(cx, (op, cut, &place, buf), (&first, LANES), |cx, at, taps, w| {
                        cx.b.store(strip, &[&place.slot[..], &taps, at].concat(), w);
                    });
                    let parts = [place.part[1].clone(), &(&place.part[0] * blocks as i64) + &block[0]];
                    winograd_fold::go_on(cx, (strip, &place.slot), &parts, cut.part[1]);
                });
            }
        },
        Sums::Kept if cx.has_followers() => cx.nested(LoopKind::Free, &all[3..], |cx, v| {
            let at = place.kept(&v.iter().map(|v| Affine::from(*v)).collect::<Vec<_>>());
            let total = cx.kept(&at);
            cx.store(&at, total);
        }),
        Sums::Kept => {}
    }
}

/// Stores what `value` makes of the sum at `[t, ob, ib, il, ol]`.
fn gather(cx: &mut LowerCx<'_>, place: &Place, sums: Sums, at: &[Affine], value: impl FnOnce(Expr) -> Expr) {
    match sums {
        Sums::Kept => {
            let at = place.kept(at);
            let value = value(cx.kept(&at));
            cx.keep(&at, value);
        }
        Sums::Own(buf) => {
            let i = &(&at[2] * LANES as i64) + &at[3];
            let at = place.within(&[at[0].clone(), at[1].clone(), i, at[4].clone()]);
            let value = value(cx.b.load(buf, &at));
            cx.b.store(buf, &at, value);
        }
    }
}

/// `G' m G` of the sums of a pair of parts, for `count` input maps from `first` on; `store` takes what comes of them, at the input map from
/// `first` on, the block of output maps and the map in it, and the taps.
fn fold(
    cx: &mut LowerCx<'_>,
    (op, cut, place, sums): (&WinogradGrad, &Cut, &Place, Buf),
    (first, count): (&Affine, usize),
    mut store: impl FnMut(&mut LowerCx<'_>, &[Affine; 3], [Affine; 2], Reg),
) {
    let (span, tap) = (op.tile.span(), |k: usize| if op.flip { 2 - k } else { k });
    cx.nested(LoopKind::Free, &[("i", count), ("ob", cut.part[1] / LANES), ("ol", LANES)], |cx, v| {
        let at = [v[0], v[1], v[2]].map(Affine::from);
        let [i, ob, ol] = &at;
        let load = |cx: &mut LowerCx<'_>, k: usize, l: usize| {
            let t = Affine::k((span * k + l) as i64);
            cx.b.load(sums, &place.within(&[t, ob.clone(), first + i, ol.clone()]))
        };
        op.tile.both(cx, span, Tile::fold_rule, load, |cx, k, l, w| {
            store(cx, &at, [tap(k), tap(l)].map(|t| Affine::k(t as i64)), w);
        });
    });
}

/// Which buffers and parts, and which first sample, row and column of tiles.
#[derive(Clone)]
struct Place {
    /// Partial sum, group.
    slot: [Affine; 2],
    /// Of input and output maps.
    part: [Affine; 2],
    first: [Affine; 3],
}

impl Place {
    /// At a chunk.
    fn at(&self, cut: &Cut, turn: &[Affine]) -> Self {
        let sample = &(&self.slot[0] * cut.chunks[0] as i64) + &turn[0];
        let from = |at: &Affine, axis: usize| at * cut.chunk[axis] as i64;
        Self { first: [from(&sample, 0), from(&turn[1], 1), from(&turn[2], 2)], ..self.clone() }
    }

    /// Place `at` of a buffer.
    fn within(&self, at: &[Affine]) -> Vec<Affine> {
        [&self.slot[..], at].concat()
    }

    /// Place `at` of the output where that holds sums.
    fn kept(&self, at: &[Affine]) -> Vec<Affine> {
        [&[self.slot[0].clone(), self.part[1].clone(), self.part[0].clone()], at].concat()
    }

    /// Sample, and the first row and column that a tile of the chunk covers.
    fn corner(&self, tile: &[Affine; 3], size: i64) -> [Affine; 3] {
        let of = |axis: usize| &self.first[axis] + &tile[axis];
        [of(0), &of(1) * size, &of(2) * size]
    }
}

/// A tile of one map.
struct At {
    /// Sample, first row, first column.
    corner: [Affine; 3],
    channel: Affine,
}

/// Independent loops over the tiles of a chunk and the maps of a part; `body` gets a tile and the places of its numbers.
fn tiles(
    cx: &mut LowerCx<'_>,
    cut: &Cut,
    place: &Place,
    axis: usize,
    body: impl FnOnce(&mut LowerCx<'_>, &At, &dyn Fn(usize) -> Vec<Affine>),
) {
    let [n, h, w] = cut.chunk;
    let part = cut.part[axis];
    let dims = [("b", part / LANES), ("n", n), ("th", h), ("tw", w), ("l", LANES)];
    let first = &place.part[axis] * part as i64;
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let [block, sample, row, column, lane] = [v[0], v[1], v[2], v[3], v[4]].map(Affine::from);
        let channel = &(&first + &(&block * LANES as i64)) + &lane;
        let p = &(&(&sample * (h * w) as i64) + &(&row * w as i64)) + &column;
        let size = cut.tile.outputs() as i64;
        let tile = At { corner: place.corner(&[sample, row, column], size), channel };
        let numbers = |t: usize| place.within(&[block.clone(), Affine::k(t as i64), p.clone(), lane.clone()]);
        body(cx, &tile, &numbers);
    });
}

/// `B' d B` of every tile and input map.
fn spread_input(cx: &mut LowerCx<'_>, op: &WinogradGrad, cut: &Cut, place: &Place, to: Buf) {
    let span = op.tile.span();
    tiles(cx, cut, place, 0, |cx, tile, at| {
        let [n, row, column] = &tile.corner;
        let load = |cx: &mut LowerCx<'_>, i: usize, j: usize| {
            let (h, w) = (row.offset(i as i64 - op.lo[0] as i64), column.offset(j as i64 - op.lo[1] as i64));
            cx.load(0, &[n.clone(), tile.channel.clone(), h, w])
        };
        op.tile.both(cx, span, Tile::input_rule, load, |cx, i, j, value| {
            cx.b.store(to, &at(span * i + j), Expr::Reg(value));
        });
    });
}

/// `A z A'` of every tile and output map.
fn spread_gradient(cx: &mut LowerCx<'_>, op: &WinogradGrad, cut: &Cut, place: &Place, to: Buf) {
    let span = op.tile.span();
    tiles(cx, cut, place, 1, |cx, tile, at| {
        let [n, row, column] = &tile.corner;
        let load = |cx: &mut LowerCx<'_>, i: usize, j: usize| {
            cx.load(1, &[n.clone(), tile.channel.clone(), row.offset(i as i64), column.offset(j as i64)])
        };
        op.tile.both(cx, op.tile.outputs(), Tile::gradient_rule, load, |cx, i, j, value| {
            cx.b.store(to, &at(span * i + j), Expr::Reg(value));
        });
    });
}

/// The products of matrices, stored or added to the sums.
fn multiply(cx: &mut LowerCx<'_>, cut: &Cut, place: &Place, [x, dy]: [Buf; 2], sums: Sums, gathered: bool) {
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
        let sum = Expr::Reg(sum);
        gather(cx, place, sums, &[t, ob, ib, il, ol], |before| if gathered { before + sum } else { sum });
    });
}

#[cfg(test)]
mod tests {
    use super::{Cut, Tile};
    use crate::ops::case::act;

    #[test]
    fn parts_and_chunks_cover_everything_once() {
        for (n, c, o, h, w) in [
            (1, 64, 64, 56, 56),
            (16, 512, 512, 7, 7),
            (64, 16, 16, 32, 32),
            (4, 128, 64, 256, 256),
            (7, 48, 80, 9, 31),
            (2, 16, 16, 3, 4000),
        ] {
            let (x, dy) = (act(n, c, &[("h", h), ("w", w)]), act(n, o, &[("h", h), ("w", w)]));
            for tile in Tile::ALL {
                let cut = Cut::of(tile, &x, &dy).expect("a cut");
                let m = tile.outputs();
                assert_eq!([cut.part[0] * cut.parts[0], cut.part[1] * cut.parts[1]], [c, o], "{cut:?}");
                assert_eq!(cut.sums * cut.chunk[0] * cut.chunks[0], n, "{cut:?}");
                assert_eq!(cut.parts[cut.axis] % cut.groups, 0, "{cut:?}");
                let [rows, columns] = cut.reach();
                assert!(rows >= h.div_ceil(m) && rows - cut.chunk[1] < h.div_ceil(m), "{cut:?}");
                assert_eq!(columns, w.div_ceil(m), "{cut:?}");
            }
        }
        let many = act(1, 1 << 14, &[("h", 32), ("w", 32)]);
        let few = act(1, 64, &[("h", 12), ("w", 16)]);
        assert_eq!(Cut::of(Tile::Four, &few, &few), None, "12 tiles round worse than the definition");
        let held = Cut::of(Tile::Two, &many, &many).and_then(|cut| cut.elements());
        assert!(
            held.is_some_and(|e| e < 1 << 24),
            "parts that run one after another share buffers: {held:?}"
        );
        assert_eq!(
            Cut::of(Tile::Two, &act(1, 8, &[("h", 8), ("w", 8)]), &act(1, 16, &[("h", 8), ("w", 8)])),
            None
        );
    }
}
