//! The nest of [`Winograd`]: a band of tiles at a time, so that transformed inputs and products stay in the cache.
//!
//! In: the checked operation. Out: loops over groups of bands that may run at once; for each band the transformed input, then 16
//! products of matrices, then the outputs. Each group has buffers of its own, which its bands use one after another. The
//! bands are cut by shape alone, and no sum depends on them.

use super::conv_nest::{guard, serial};
use super::lower::LowerCx;
use super::winograd::Winograd;
use crate::loops::{Affine, Buf, Expr, LoopKind, Reg};

/// Groups of bands that may run at once, unless one is all there are.
const GROUPS: usize = 8;

/// Most elements of all buffers together.
pub(super) const ELEMENTS_MAX: usize = 1 << 26;

/// What of the nearer caches a band may fill, in bytes.
const NEAR: f64 = 640e3;

/// A transformed weight of more bytes comes from afar for each band.
const WEIGHT_NEAR: f64 = 256e3;

/// Bytes that come from afar in a cycle.
const RATE: f64 = 16.0;

/// How tiles are cut into bands, and bands into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Tiles of a row of a band.
    width: usize,
    /// Into how many equal parts rows are cut.
    columns: usize,
    /// Rows of a band.
    band: usize,
    /// Bands of a sample, side by side counted as one; the last may reach below the output.
    bands: usize,
    /// Groups: of samples if there are several, else of bands, else of output channels.
    groups: usize,
    /// Into how many parts the groups cut the output channels.
    parts: usize,
    /// Samples in a group.
    samples: usize,
    /// Bands in a group, for each of its samples.
    turns: usize,
}

impl Cut {
    /// Channels side by side.
    pub(super) const LANES: usize = 16;

    /// The cut of least cost by a rough model: what is fetched from afar, and rows below the output.
    pub(super) fn of(n: usize, c: usize, o: usize, size: [usize; 2]) -> Option<Self> {
        let [height, row] = size.map(|e| e.div_ceil(2));
        let maps = c.checked_add(o)?;
        if n == 0
            || height == 0
            || row == 0
            || !c.is_multiple_of(Self::LANES)
            || !o.is_multiple_of(Self::LANES)
            || c == 0
            || o == 0
        {
            return None;
        }
        let cost = |(band, columns): (usize, usize), parts: usize| -> f64 {
            let width = row / columns;
            let bands = (height.div_ceil(band) * columns) as f64;
            let tiles = (band * width) as f64;
            let bytes = tiles * 64.0 * maps as f64;
            let weight = 64.0 * c as f64 * o as f64;
            let products = (tiles / 14.0).ceil() * 14.0 * c as f64 * o as f64;
            let spread = 3.0 * tiles * (parts - 1) as f64 * c as f64;
            let afar = if bytes > NEAR { 2.0 * bytes } else { 0.0 }
                + if weight > WEIGHT_NEAR { weight } else { 0.0 };
            bands * (products + spread + afar / RATE + 200.0)
        };
        let blocks = o / Self::LANES;
        // One sample alone needs several bands to be shared out, or parts of the output channels.
        let parts = |band: usize| if n == 1 && band == height { grouped(blocks).min(4) } else { 1 };
        let parts = |band: usize| (1..=parts(band)).rev().find(|p| blocks.is_multiple_of(*p)).unwrap_or(1);
        // Whole rows where several fit, else parts of one row.
        let whole = (1..=height).map(|band| (band, 1));
        let cuts = whole.chain((2..=row).filter(|c| row.is_multiple_of(*c)).map(|columns| (1, columns)));
        let price = |cut: &(usize, usize)| cost(*cut, parts(cut.0));
        let (band, columns) = cuts.min_by(|a, b| price(a).total_cmp(&price(b)))?;
        let (width, bands, parts) = (row / columns, height.div_ceil(band), parts(band));
        let groups = if parts > 1 { parts } else { grouped(if n > 1 { n } else { bands }) };
        let (samples, turns) = match (n, parts) {
            (1, 1) => (1, bands / groups),
            (1, _) => (1, bands),
            _ => (n / groups, bands),
        };
        let cut = Self { width, columns, band, bands, groups, parts, samples, turns };
        let elements = groups.checked_mul(16)?.checked_mul(maps)?.checked_mul(band)?.checked_mul(width)?;
        (elements <= ELEMENTS_MAX).then_some(cut)
    }

    /// Rows and columns of tiles, those below the output included.
    pub(super) fn reach(&self) -> [usize; 2] {
        [self.band * self.bands, self.width * self.columns]
    }
}

/// Into how many equal groups `all` are cut: the most up to [`GROUPS`], or all where none but single ones are equal.
fn grouped(all: usize) -> usize {
    let most = (1..=GROUPS.min(all)).rev().find(|g| all.is_multiple_of(*g)).unwrap_or(1);
    if most == 1 && all <= 4 * GROUPS { all } else { most }
}

/// Writes the loops.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &Winograd) {
    let (n, c, o) = (cx.input(0).n(), cx.input(0).c(), op.channels);
    let cut = op.cut(n, c).expect("the shape rule accepted these types");
    let tiles = cut.band * cut.width;
    // Room for an odd number of tiles: the 16 numbers of one then lie in different sets of the nearest cache.
    let dims = |maps| {
        [("g", cut.groups), ("block", maps / Cut::LANES), ("t", 16), ("p", tiles | 1), ("lane", Cut::LANES)]
    };
    let o = o / cut.parts;
    let (spread, products) = (cx.scratch("spread", &dims(c)), cx.scratch("products", &dims(o)));
    cx.nested(LoopKind::Free, &[("g", cut.groups)], |cx, g| {
        let g = Affine::from(g[0]);
        let turns = [("sample", cut.samples), ("band", cut.turns), ("column", cut.columns)];
        let turns = turns.map(|(name, extent)| (name.to_owned(), extent));
        serial(cx, &turns, |cx, turn| {
            let place = Place::of(&cut, n, o, &g, turn);
            spread_out(cx, op, &cut, &place, spread, c);
            multiply(cx, &cut, &place, [spread, products], [c, o]);
            collect(cx, op, &cut, &place, products, o);
        });
    });
}

/// Which group, sample, first row, first column and first output channel a band has.
struct Place {
    g: Affine,
    n: Affine,
    row: Affine,
    column: Affine,
    /// The first output channel.
    first: Affine,
}

impl Place {
    fn of(cut: &Cut, n: usize, o: usize, g: &Affine, turn: &[Affine]) -> Self {
        let (sample, band) = if n > 1 {
            (&(g * cut.samples as i64) + &turn[0], turn[1].clone())
        } else if cut.parts > 1 {
            (Affine::k(0), turn[1].clone())
        } else {
            (Affine::k(0), &(g * cut.turns as i64) + &turn[1])
        };
        let first = if cut.parts > 1 { g * o as i64 } else { Affine::k(0) };
        let column = &turn[2] * cut.width as i64;
        Self { g: g.clone(), n: sample, row: &band * cut.band as i64, column, first }
    }
}

/// `B' d B` of every tile and input channel.
fn spread_out(cx: &mut LowerCx<'_>, op: &Winograd, cut: &Cut, place: &Place, to: Buf, c: usize) {
    let dims = [("block", c / Cut::LANES), ("th", cut.band), ("tw", cut.width), ("lane", Cut::LANES)];
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let [block, th, tw, lane] = [v[0], v[1], v[2], v[3]].map(Affine::from);
        let channel = &(&block * Cut::LANES as i64) + &lane;
        let (row, column) = (&place.row + &th, &place.column + &tw);
        let mut columns: Vec<[Reg; 4]> = Vec::new();
        for j in 0..4 {
            let d = [0, 1, 2, 3].map(|i: i64| {
                let h = (&row * 2).offset(i - op.lo[0] as i64);
                let w = (&column * 2).offset(j - op.lo[1] as i64);
                let load = cx.load(0, &[place.n.clone(), channel.clone(), h, w]);
                cx.b.let_(load)
            });
            columns.push(input_rule(d).map(|e| cx.b.let_(e)));
        }
        let p = &(&th * cut.width as i64) + &tw;
        for i in 0..4 {
            let row = [0, 1, 2, 3].map(|j: usize| columns[j][i]);
            for (j, e) in input_rule(row).into_iter().enumerate() {
                let t = Affine::k((4 * i + j) as i64);
                cx.b.store(to, &[place.g.clone(), block.clone(), t, p.clone(), lane.clone()], e);
            }
        }
    });
}

/// One axis of `B'`.
pub(super) fn input_rule(d: [Reg; 4]) -> [Expr; 4] {
    let [a, b, c, d] = d.map(Expr::Reg);
    [a - c.clone(), b.clone() + c.clone(), c - b.clone(), b - d]
}

/// The 16 products of matrices.
fn multiply(cx: &mut LowerCx<'_>, cut: &Cut, place: &Place, [from, to]: [Buf; 2], [c, o]: [usize; 2]) {
    let dims = [("t", 16), ("block", o / Cut::LANES), ("p", cut.band * cut.width), ("lane", Cut::LANES)];
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let [t, block, p, lane] = [v[0], v[1], v[2], v[3]].map(Affine::from);
        let channel = &(&(&block * Cut::LANES as i64) + &lane) + &place.first;
        let sum = cx.b.let_(0.0);
        let sums = [("i_block".to_owned(), c / Cut::LANES), ("i".to_owned(), Cut::LANES)];
        serial(cx, &sums, |cx, i| {
            let input = &(&i[0] * Cut::LANES as i64) + &i[1];
            let x = cx.b.load(from, &[place.g.clone(), i[0].clone(), t.clone(), p.clone(), i[1].clone()]);
            let u = cx.load(1, &[channel.clone(), input, t.clone()]);
            cx.b.set(sum, Expr::fma(x, u, sum.into()));
        });
        cx.b.store(to, &[place.g.clone(), block, t, p, lane], Expr::Reg(sum));
    });
}

/// `A' m A + b` of every tile and output channel.
fn collect(cx: &mut LowerCx<'_>, op: &Winograd, cut: &Cut, place: &Place, from: Buf, o: usize) {
    let dims = [("block", o / Cut::LANES), ("th", cut.band), ("tw", cut.width), ("lane", Cut::LANES)];
    let [rows, all] = cut.reach();
    let covered = [2 * rows > op.size[0], 2 * all > op.size[1]];
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let [block, th, tw, lane] = [v[0], v[1], v[2], v[3]].map(Affine::from);
        let channel = &(&(&block * Cut::LANES as i64) + &lane) + &place.first;
        let p = &(&th * cut.width as i64) + &tw;
        let mut columns: Vec<[Reg; 2]> = Vec::new();
        for j in 0..4 {
            let m = [0, 1, 2, 3].map(|i: i64| {
                let at = [place.g.clone(), block.clone(), Affine::k(4 * i + j), p.clone(), lane.clone()];
                let load = cx.b.load(from, &at);
                cx.b.let_(load)
            });
            columns.push(output_rule(m).map(|e| cx.b.let_(e)));
        }
        let (row, column) = (&place.row + &th, &place.column + &tw);
        for a in 0..2 {
            let m = [0, 1, 2, 3].map(|j: usize| columns[j][a]);
            let sums = output_rule(m).map(|e| cx.b.let_(e));
            for (b, sum) in sums.into_iter().enumerate() {
                let (h, w) = ((&row * 2).offset(a as i64), (&column * 2).offset(b as i64));
                let mut inside = Vec::new();
                for (at, axis) in [(&h, 0), (&w, 1)] {
                    if covered[axis] {
                        inside.push((at * -1).offset(op.size[axis] as i64 - 1));
                    }
                }
                guard(cx, inside, |cx| {
                    let mut value = Expr::Reg(sum);
                    if op.bias {
                        value = value + cx.load(2, std::slice::from_ref(&channel));
                    }
                    cx.store(&[place.n.clone(), channel.clone(), h, w], value);
                });
            }
        }
    });
}

/// One axis of `A'`.
fn output_rule(m: [Reg; 4]) -> [Expr; 2] {
    let [a, b, c, d] = m.map(Expr::Reg);
    [a + b.clone() + c.clone(), b - c - d]
}

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn bands_cover_the_tiles_and_groups_the_bands() {
        for (n, c, o, size) in [
            (1, 64, 64, [56, 56]),
            (16, 512, 512, [7, 7]),
            (17, 32, 48, [9, 31]),
            (1, 32, 32, [3, 3]),
            (1, 512, 512, [7, 7]),
            (4, 64, 32, [256, 256]),
        ] {
            let cut = Cut::of(n, c, o, size).expect("a cut");
            let [rows, columns] = cut.reach();
            assert!(2 * rows >= size[0] && columns == size[1].div_ceil(2), "{cut:?}");
            assert!(2 * (rows - cut.band) < size[0], "no band lies below: {cut:?}");
            assert_eq!(cut.groups * cut.samples * cut.turns, n * cut.bands * cut.parts, "{cut:?}");
        }
        assert_eq!(Cut::of(1, 8, 16, [8, 8]), None);
    }
}
