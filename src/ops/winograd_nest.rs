//! The nest of [`Winograd`]: a band of tiles at a time, so that transformed inputs and products stay in the cache.
//!
//! In: the checked operation. Out: loops over groups of bands that may run at once; for each band the transformed input, then
//! a product of matrices for each number of a tile, then the outputs. Each group has buffers of its own, which its bands use one
//! after another. The bands are cut by shape alone, and no sum depends on them. Where tiles are large, sums over input maps
//! are made of short chains: what larger constants lose in rounding, shorter chains win back.

use super::bands;
use super::conv_nest::serial;
use super::lower::LowerCx;
use super::minimal::Tile;
use super::winograd::Winograd;
use crate::loops::{Affine, Buf, Expr, LoopKind, Reg};

/// Groups of bands that may run at once, unless one is all there are.
const GROUPS: usize = 8;

/// Most elements of all buffers together.
pub(super) const ELEMENTS_MAX: usize = 1 << 26;

/// What of the nearer caches a band may fill, in bytes.
const NEAR: f64 = 640e3;

/// Transformed weights of more bytes come from afar for each band; of more bytes yet, from memory.
const WEIGHT_NEAR: [f64; 2] = [256e3, 8e6];

/// Bytes that come in a cycle from the farther cache, and from memory.
const RATE: [f64; 2] = [16.0, 6.0];

/// Most tiles of a band that holds several samples.
const HELD_MAX: usize = 64;

/// Below so many input maps tiles of 4x4 outputs round worse than the definition, however short the chains.
const FOUR_MIN: usize = 64;

/// Blocks of input maps that a chain has at most, for few and for many maps, and from how many maps on these are many.
const CHAIN_MAX: [usize; 2] = [2, 4];
const MANY: usize = 128;

/// Into how many blocks of input maps sums are cut. `None` where the rounding of `tile` would be worse than twice the definition's.
fn chain(tile: Tile, c: usize) -> Option<usize> {
    let blocks = c / Cut::LANES;
    match tile {
        Tile::Two => Some(blocks),
        Tile::Four if c < FOUR_MIN => None,
        Tile::Four => (2..=CHAIN_MAX[usize::from(c >= MANY)]).rev().find(|k| blocks.is_multiple_of(*k)),
    }
}

/// How tiles are cut into bands, and bands into groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    tile: Tile,
    /// Blocks of input maps that are summed in one chain.
    chain: usize,
    /// Tiles that interleave along each axis.
    phases: [usize; 2],
    /// Tiles of a row of a band, of each phase.
    width: usize,
    /// Into how many equal parts rows are cut.
    columns: usize,
    /// Rows of a band.
    band: usize,
    /// Bands of a sample, side by side counted as one; the last may reach below the output.
    bands: usize,
    /// Samples of a band.
    held: usize,
    /// Groups: of samples if there are several, else of bands, else of output channels.
    groups: usize,
    /// Into how many parts the groups cut the output channels.
    parts: usize,
    /// Turns of a group over its samples.
    samples: usize,
    /// Bands in a group, for each of those turns.
    turns: usize,
    /// Cycles of the whole, roughly.
    cycles: f64,
}

impl Cut {
    /// Channels side by side.
    pub(super) const LANES: usize = 16;

    /// The cut of least cost by a rough model: products, transforms, what is fetched from afar, and rows below the output.
    pub(super) fn of(
        tile: Tile,
        n: usize,
        [c, o]: [usize; 2],
        size: [usize; 2],
        phases: [usize; 2],
    ) -> Option<Self> {
        if phases.contains(&0) {
            return None;
        }
        let [height, row] = [0, 1].map(|axis| size[axis].div_ceil(phases[axis]).div_ceil(tile.outputs()));
        let apart = |maps: usize| maps == 0 || !maps.is_multiple_of(Self::LANES);
        if n == 0 || height == 0 || row == 0 || apart(c) || apart(o) {
            return None;
        }
        let chain = chain(tile, c)?;
        // Whole rows where several fit, else parts of one row; whole samples where they are small.
        let whole = (1..=height).map(|band| (1, band, 1));
        let columns = (2..=row).filter(|c| row.is_multiple_of(*c)).map(|columns| (1, 1, columns));
        let most = phases.iter().fold(height.saturating_mul(row), |all, p| all.saturating_mul(*p));
        let most = HELD_MAX / most.max(1);
        let held = (2..=n.min(most)).filter(|h| n.is_multiple_of(*h)).map(|held| (held, height, 1));
        let cuts = whole.chain(columns).chain(held).map(|(held, band, columns)| {
            let (width, bands) = (row / columns, height.div_ceil(band));
            let turns = n / held;
            // One band alone is shared out by parts of the output channels.
            let blocks = o / Self::LANES;
            let most = if turns * bands == 1 { grouped(blocks).min(4) } else { 1 };
            let parts = (1..=most).rev().find(|p| blocks.is_multiple_of(*p)).unwrap_or(1);
            let groups = if parts > 1 { parts } else { grouped(if turns > 1 { turns } else { bands }) };
            let (samples, turns) = match (turns, parts) {
                (1, 1) => (1, bands / groups),
                (1, _) => (1, bands),
                _ => (turns / groups, bands),
            };
            Self {
                tile,
                chain,
                phases,
                width,
                columns,
                band,
                bands,
                held,
                groups,
                parts,
                samples,
                turns,
                cycles: 0.0,
            }
        });
        let costed = cuts.map(|cut| Self { cycles: cut.cost(c, o), ..cut });
        let cut = costed.min_by(|a, b| a.cycles.total_cmp(&b.cycles))?;
        let elements = cut.groups.checked_mul(tile.numbers())?.checked_mul(c.checked_add(o)?)?;
        (elements.checked_mul(cut.tiles() | 1)? <= ELEMENTS_MAX).then_some(cut)
    }

    /// Cycles, roughly.
    fn cost(&self, c: usize, o: usize) -> f64 {
        let (numbers, tiles) = (self.tile.numbers() as f64, self.tiles() as f64);
        let blocks = [c, o].map(|maps| (maps / Self::LANES) as f64);
        // Of one tile and block of maps.
        let [spread, collect] = match self.tile {
            Tile::Two => [50.0, 45.0],
            Tile::Four => [200.0, 190.0],
        };
        let transforms = tiles * (spread * blocks[0] * self.parts as f64 + collect * blocks[1]);
        let chained = 14.0 * (tiles / 14.0).ceil() * numbers * blocks[1];
        let added = 4.0 * tiles * numbers * blocks[1] * (blocks[0] / self.chain as f64 - 1.0);
        let products = chained * c as f64 + added;
        let bytes = 4.0 * tiles * numbers * (c + o) as f64;
        let weight = 4.0 * numbers * c as f64 * o as f64;
        let held = if bytes > NEAR { 2.0 * bytes / RATE[0] } else { 0.0 };
        let weight = match WEIGHT_NEAR {
            [near, _] if weight <= near => 0.0,
            [_, far] if weight <= far => weight / RATE[0],
            _ => weight / RATE[1],
        };
        let bands = (self.groups * self.samples * self.turns * self.columns) as f64 / self.parts as f64;
        let unshared = match self.groups {
            1 => 1.3,
            3 => 1.1,
            _ => 1.0,
        };
        bands * (products + transforms + held + weight + 200.0) * unshared
    }

    /// Samples of a band and outputs along the first axis of one, if it has whole rows.
    pub(super) fn bands(&self) -> Option<(usize, usize)> {
        (self.columns == 1).then_some((self.held, self.band * self.phases[0] * self.tile.outputs()))
    }

    /// Whether each band has all output channels.
    pub(super) fn is_whole(&self) -> bool {
        self.parts == 1
    }

    /// Tiles of a band.
    fn tiles(&self) -> usize {
        self.held * self.band * self.width * self.phases[0] * self.phases[1]
    }

    /// Cycles of the whole, roughly.
    pub(super) fn cycles(&self) -> f64 {
        self.cycles
    }

    /// Rows and columns of tiles of a phase, those below the output included.
    pub(super) fn reach(&self) -> [usize; 2] {
        [self.band * self.bands, self.width * self.columns]
    }
}

/// Into how many equal groups `all` are cut: the most up to [`GROUPS`], or all where none but single ones are equal.
pub(super) fn grouped(all: usize) -> usize {
    let most = (1..=GROUPS.min(all)).rev().find(|g| all.is_multiple_of(*g)).unwrap_or(1);
    if most == 1 && all <= 4 * GROUPS { all } else { most }
}

/// Writes the loops.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &Winograd) {
    let (n, c, o) = (cx.input(0).n(), cx.input(0).c(), op.channels);
    let cut = op.cut(n, c).expect("the shape rule accepted these types");
    // Room for an odd number of tiles: the numbers of one then lie in different sets of the nearest cache.
    let dims = |maps| {
        let (block, t) = (maps / Cut::LANES, op.tile.numbers());
        [("g", cut.groups), ("block", block), ("t", t), ("p", cut.tiles() | 1), ("lane", Cut::LANES)]
    };
    let o = o / cut.parts;
    let (spread, products) = (cx.scratch("spread", &dims(c)), cx.scratch("products", &dims(o)));
    cx.nested(LoopKind::Free, &[("g", cut.groups)], |cx, g| {
        let g = Affine::from(g[0]);
        let turns = [("sample", cut.samples), ("band", cut.turns), ("column", cut.columns)];
        let turns = turns.map(|(name, extent)| (name.to_owned(), extent));
        serial(cx, &turns, |cx, turn| {
            let place = Place::of(&cut, o, &g, turn);
            spread_out(cx, op, &cut, &place, spread, c);
            multiply(cx, &cut, &place, [spread, products], [c, o]);
            collect(cx, op, &cut, &place, products, o);
            cx.sum_band(&bands::Place {
                band: place.band.clone(),
                n: place.n.clone(),
                row: &place.row * (cut.phases[0] * op.tile.outputs()) as i64,
                channels: (place.first.clone(), o),
            });
        });
    });
}

/// Which group, first sample, first row, first column and first output channel a band has.
struct Place {
    g: Affine,
    /// The number of the band among all.
    band: Affine,
    n: Affine,
    row: Affine,
    column: Affine,
    /// The first output channel.
    first: Affine,
}

impl Place {
    fn of(cut: &Cut, o: usize, g: &Affine, turn: &[Affine]) -> Self {
        let (sample, band) = if cut.parts > 1 {
            (Affine::k(0), turn[1].clone())
        } else if cut.turns == cut.bands {
            (&(g * cut.samples as i64) + &turn[0], turn[1].clone())
        } else {
            (Affine::k(0), &(g * cut.turns as i64) + &turn[1])
        };
        let first = if cut.parts > 1 { g * o as i64 } else { Affine::k(0) };
        let column = &turn[2] * cut.width as i64;
        let number = &(&sample * cut.bands as i64) + &band;
        Self {
            g: g.clone(),
            band: number,
            n: &sample * cut.held as i64,
            row: &band * cut.band as i64,
            column,
            first,
        }
    }
}

/// A tile of a band and a channel of a block.
struct At {
    n: Affine,
    block: Affine,
    lane: Affine,
    /// The tile's first output.
    row: Affine,
    column: Affine,
    /// Which tile of the band.
    p: Affine,
}

/// Independent loops over the tiles of a band and `maps`.
fn tiles(
    cx: &mut LowerCx<'_>,
    cut: &Cut,
    place: &Place,
    maps: usize,
    body: impl FnOnce(&mut LowerCx<'_>, &At),
) {
    let [rows, columns] = cut.phases;
    let dims = [
        ("block", maps / Cut::LANES),
        ("s", cut.held),
        ("th", cut.band),
        ("ph", rows),
        ("tw", cut.width),
        ("pw", columns),
        ("lane", Cut::LANES),
    ];
    let real: Vec<(&str, usize)> =
        dims.into_iter().filter(|(name, e)| *e > 1 || !name.starts_with('p')).collect();
    cx.nested(LoopKind::Free, &real, |cx, v| {
        let mut v = v.iter().copied();
        let mut next = |name: &str| {
            let runs = real.iter().any(|(n, _)| *n == name);
            if runs { v.next().map_or(Affine::k(0), Affine::from) } else { Affine::k(0) }
        };
        let [block, s, th, ph, tw, pw, lane] = dims.map(|(name, _)| next(name));
        let row = &(&(&s * cut.band as i64) + &th) * rows as i64;
        let p = &(&(&(&(&row + &ph) * cut.width as i64) + &tw) * columns as i64) + &pw;
        let step = cut.tile.outputs() as i64;
        let row = &(&(&place.row + &th) * (step * rows as i64)) + &ph;
        let column = &(&(&place.column + &tw) * (step * columns as i64)) + &pw;
        body(cx, &At { n: &place.n + &s, row, column, block, lane, p });
    });
}

/// `B' d B` of every tile and input channel.
fn spread_out(cx: &mut LowerCx<'_>, op: &Winograd, cut: &Cut, place: &Place, to: Buf, c: usize) {
    let tile = op.tile;
    tiles(cx, cut, place, c, |cx, at| {
        let channel = &(&at.block * Cut::LANES as i64) + &at.lane;
        let load = |cx: &mut LowerCx<'_>, i: usize, j: usize| {
            let from = |k: usize, axis: usize| (k * op.dilation[axis]) as i64 - op.lo[axis] as i64;
            let (h, w) = (at.row.offset(from(i, 0)), at.column.offset(from(j, 1)));
            cx.load(0, &[at.n.clone(), channel.clone(), h, w])
        };
        tile.both(cx, tile.span(), Tile::input_rule, load, |cx, i, j, value| {
            let t = Affine::k((tile.span() * i + j) as i64);
            let index = [place.g.clone(), at.block.clone(), t, at.p.clone(), at.lane.clone()];
            cx.b.store(to, &index, Expr::Reg(value));
        });
    });
}

/// The products of matrices, one for each number of a tile.
fn multiply(cx: &mut LowerCx<'_>, cut: &Cut, place: &Place, bufs: [Buf; 2], maps: [usize; 2]) {
    let chains = maps[0] / Cut::LANES / cut.chain;
    multiply_chain(cx, cut, place, bufs, maps[1], None);
    if chains > 1 {
        serial(cx, &[("chain".to_owned(), chains - 1)], |cx, v| {
            multiply_chain(cx, cut, place, bufs, maps[1], Some(v[0].offset(1)));
        });
    }
}

/// Those over the blocks of input maps of one chain: the first, or one that is added to those before.
fn multiply_chain(
    cx: &mut LowerCx<'_>,
    cut: &Cut,
    place: &Place,
    [from, to]: [Buf; 2],
    o: usize,
    later: Option<Affine>,
) {
    let dims =
        [("t", cut.tile.numbers()), ("block", o / Cut::LANES), ("p", cut.tiles()), ("lane", Cut::LANES)];
    let first = later.as_ref().map_or(Affine::k(0), |turn| turn * cut.chain as i64);
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let [t, block, p, lane] = [v[0], v[1], v[2], v[3]].map(Affine::from);
        let channel = &(&(&block * Cut::LANES as i64) + &lane) + &place.first;
        let sum = cx.b.let_(0.0);
        let sums = [("i_block".to_owned(), cut.chain), ("i".to_owned(), Cut::LANES)];
        serial(cx, &sums, |cx, i| {
            let i_block = &first + &i[0];
            let input = &(&i_block * Cut::LANES as i64) + &i[1];
            let x = cx.b.load(from, &[place.g.clone(), i_block, t.clone(), p.clone(), i[1].clone()]);
            let u = cx.load(1, &[channel.clone(), input, t.clone()]);
            cx.b.set(sum, Expr::fma(x, u, sum.into()));
        });
        let at = [place.g.clone(), block, t, p, lane];
        let total = if later.is_some() { cx.b.load(to, &at) + Expr::Reg(sum) } else { Expr::Reg(sum) };
        cx.b.store(to, &at, total);
    });
}

/// `A' m A + b` of every tile and output channel; all channels of a window of a pool one after another.
fn collect(cx: &mut LowerCx<'_>, op: &Winograd, cut: &Cut, place: &Place, from: Buf, o: usize) {
    let (tile, m) = (op.tile, op.tile.outputs());
    let reach = cut.reach();
    // Where the last tile along an axis has no output.
    let below = |axis: usize, at: usize| (m * (reach[axis] - 1) + at + 1) * op.dilation[axis] > op.size[axis];
    let members = cx.gathers().map_or(1, |of| of.along(1));
    tiles(cx, cut, place, o / members, |cx, at| {
        for member in 0..members {
            let block = at.block.offset((member * (o / members / Cut::LANES)) as i64);
            let channel = &(&(&block * Cut::LANES as i64) + &at.lane) + &place.first;
            let bias = op.bias.then(|| {
                let bias = cx.load(2, std::slice::from_ref(&channel));
                cx.b.let_(bias)
            });
            let load = |cx: &mut LowerCx<'_>, i: usize, j: usize| {
                let t = Affine::k((tile.span() * i + j) as i64);
                cx.b.load(from, &[place.g.clone(), block.clone(), t, at.p.clone(), at.lane.clone()])
            };
            tile.both(cx, tile.span(), Tile::output_rule, load, |cx, i, j, sum: Reg| {
                let (h, w) = (
                    at.row.offset((i * op.dilation[0]) as i64),
                    at.column.offset((j * op.dilation[1]) as i64),
                );
                let inside = [(&h, 0, i), (&w, 1, j)]
                    .into_iter()
                    .filter(|(_, axis, at)| below(*axis, *at))
                    .map(|(index, axis, _)| (index * -1).offset(op.size[axis] as i64 - 1))
                    .collect();
                let value = bias.map_or(Expr::Reg(sum), |b| Expr::Reg(sum) + Expr::Reg(b));
                cx.store_where(inside, &[at.n.clone(), channel.clone(), h, w], value);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{Cut, Tile};

    #[test]
    fn bands_cover_the_tiles_and_groups_the_bands() {
        for (n, c, o, size, phases) in [
            (1, 64, 64, [56, 56], [1, 1]),
            (16, 512, 512, [7, 7], [1, 1]),
            (17, 32, 48, [9, 31], [1, 1]),
            (1, 32, 32, [3, 3], [1, 1]),
            (1, 512, 512, [7, 7], [1, 1]),
            (2, 512, 512, [7, 7], [1, 1]),
            (4, 64, 32, [256, 256], [1, 1]),
            (12, 96, 64, [14, 14], [1, 1]),
            (2, 64, 64, [56, 57], [2, 4]),
            (1, 64, 64, [5, 9], [6, 12]),
        ] {
            for tile in Tile::ALL {
                let Some(cut) = Cut::of(tile, n, [c, o], size, phases) else {
                    assert!(tile == Tile::Four && c < 64, "{c} maps can be cut");
                    continue;
                };
                let [rows, columns] = cut.reach();
                let m = tile.outputs();
                let [height, width] = [0, 1].map(|axis| size[axis].div_ceil(phases[axis]));
                assert!(m * rows >= height && columns == width.div_ceil(m), "{cut:?}");
                assert!(m * (rows - cut.band) < height, "no band lies below: {cut:?}");
                assert_eq!(
                    cut.groups * cut.samples * cut.turns * cut.held,
                    n * cut.bands * cut.parts,
                    "{cut:?}"
                );
                assert!((c / Cut::LANES).is_multiple_of(cut.chain), "{cut:?}");
            }
        }
        assert_eq!(Cut::of(Tile::Two, 1, [8, 16], [8, 8], [1, 1]), None);
    }
}
