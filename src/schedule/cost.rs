//! What a planned nest takes, by an analytic model of one core (in the manner of roofline models, Williams et al. 2009; Li et
//! al., ASPLOS 2021, choose tiles of convolutions by such a one). In: profile, tiles, order. Out: [`Cycles`], what each port
//! and each cache is busy for; they work side by side, so the longest counts.
//!
//! A cycle here is one in which a core does two multiply-adds and two loads of full vectors, and waits four such for a sum. For
//! choosing, all cycles are alike. For predicting ([`Cycles::seconds`]), those of the ports are as long as the peak of
//! multiply-adds on vectors of this width says, and all others as the peak on vectors of 128 bits does: there are processors that do
//! half as many wide operations at a time ([`crate::kernels::peak`]).

use super::Dim;
use super::cache::{self, Way};
use super::plan::{Plan, Run, Tiled};
use super::profile::{Profile, Use};
use super::{Target, plan};
use crate::loops::Var;

/// Elements that stay in the nearest cache.
const NEAR: f64 = 4096.0;

/// Cycles per lane of a load from scattered places, put together.
pub(super) const GATHER: f64 = 1.5;

/// Elements that come from the next cache in a cycle.
const FAR: f64 = 8.0;

/// Elements of a line of a cache.
const LINE: i64 = 16;

/// Cycles that a nest takes on one core, by what is busy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cycles {
    /// The ports of multiply-adds and other arithmetic.
    pub arithmetic: f64,
    /// The ports of loads.
    pub loads: f64,
    /// Waiting for sums that are too few to hide what a multiply-add takes.
    pub latency: f64,
    /// Fetching from behind the first cache, the second, and a core's part of the third, when the nest runs again and again.
    pub fetches: [f64; 3],
    /// Counting, and the beginnings and ends of tiles.
    pub loops: f64,
}

impl Cycles {
    /// All of it: what is busy longest, and the loops.
    pub fn total(&self) -> f64 {
        let Cycles { arithmetic, loads, latency, fetches, loops } = *self;
        fetches.into_iter().chain([loads, latency]).fold(arithmetic, f64::max) + loops
    }

    /// How long that is where a cycle of the ports takes `port` seconds, and one of all else `other`.
    pub fn seconds(&self, port: f64, other: f64) -> f64 {
        let ports = port * self.arithmetic.max(self.loads);
        let rest = self.fetches.into_iter().fold(self.latency, f64::max);
        ports.max(other * rest) + other * self.loops
    }

    /// What takes time, by name, each alone; the loops last.
    pub fn alone(&self) -> [(&'static str, Cycles); 7] {
        let Cycles { arithmetic, loads, latency, fetches: [second, third, memory], loops } = *self;
        let none = Cycles::default();
        [
            ("arithmetic", Cycles { arithmetic, ..none }),
            ("loads", Cycles { loads, ..none }),
            ("latency", Cycles { latency, ..none }),
            ("second cache", Cycles { fetches: [second, 0.0, 0.0], ..none }),
            ("third cache", Cycles { fetches: [0.0, third, 0.0], ..none }),
            ("memory", Cycles { fetches: [0.0, 0.0, memory], ..none }),
            ("loops", Cycles { loops, ..none }),
        ]
    }

    pub(super) fn times(self, n: f64) -> Self {
        Self {
            arithmetic: self.arithmetic * n,
            loads: self.loads * n,
            latency: self.latency * n,
            fetches: self.fetches.map(|f| f * n),
            loops: self.loops * n,
        }
    }

    /// One after the other.
    pub(super) fn plus(self, other: Self) -> Self {
        let [a, b, c] = self.fetches;
        let [d, e, f] = other.fetches;
        Self {
            arithmetic: self.arithmetic + other.arithmetic,
            loads: self.loads + other.loads,
            latency: self.latency + other.latency,
            fetches: [a + d, b + e, c + f],
            loops: self.loops + other.loops,
        }
    }
}

/// A load of the innermost loops, as tiles see it.
pub(super) struct Hot {
    /// Whether it moves with the lanes and with each tiled loop.
    pub with: [bool; 3],
    scattered: bool,
    /// Whether its vectors begin at any element of a line.
    ragged: bool,
    /// Elements of a tile that it reads through the serial loops, lanes and tiled loops aside.
    through: f64,
    /// How far apart the elements lie that lanes and tiled loops read, and those that serial loops do, which turn so often.
    tiled: [u64; 3],
    serial: Vec<(u64, f64)>,
}

impl Hot {
    pub(super) fn of(u: &Use, dims: &[Dim], p: &Profile, on: [Option<usize>; 3]) -> Self {
        let with = on.map(|d| d.is_some_and(|d| u.at.has(dims[d].var)));
        let scattered = on[0].is_some_and(|d| plan::is_gather(u, dims[d].var));
        let through = p.serial.iter().filter(|(i, _)| u.at.has(*i)).map(|(_, e)| *e as f64).product();
        let apart = |(var, c): &(Var, i64)| on[0].is_some_and(|d| *var != dims[d].var) && c % LINE != 0;
        let ragged = with[0] && !scattered && u.at.terms.iter().any(apart);
        let tiled = on.map(|d| d.map_or(0, |d| u.at.coefficient(dims[d].var).unsigned_abs()));
        let moves = |(i, e): &(Var, usize)| (u.at.coefficient(*i).unsigned_abs(), *e as f64);
        let serial = p.serial.iter().map(moves).collect();
        Hot { with, scattered, ragged, through, tiled, serial }
    }

    /// How many elements come with each one that a tile of `sizes` elements reads: a line is fetched as a whole.
    fn lines(&self, elements: f64, sizes: [usize; 3]) -> f64 {
        let moves = self.tiled.into_iter().zip(sizes.map(|s| s as f64)).chain(self.serial.iter().copied());
        (cache::touched(moves.collect()) / 4.0 / elements).clamp(1.0, LINE as f64)
    }
}

/// Vectors, or elements, that a tile of a run has along its loop.
pub(super) fn vectors(r: &Run, target: &Target) -> usize {
    r.jam * r.lanes.div_ceil(target.lanes)
}

/// Cycles of all tiles of a nest that adds up, tile by tile: the number that tiles are chosen by, and what it is made of.
pub(super) fn tiles(p: &Profile, hot: &[Hot], runs: [&[Run]; 3], target: &Target) -> (f64, Cycles) {
    let mut sum = 0.0;
    let mut all = Cycles::default();
    for l in runs[0] {
        for t in runs[1] {
            for s in runs[2] {
                let size = [vectors(l, target) as f64, t.jam as f64, s.jam as f64];
                let work = size[0] * size[1] * size[2];
                let (mut loads, mut far) = (0.0, 0.0);
                for h in hot {
                    let times: f64 = h.with.iter().zip(size).map(|(w, n)| if *w { n } else { 1.0 }).product();
                    let lanes = if h.with[0] { l.lanes.min(target.lanes) as f64 } else { 1.0 };
                    loads += times * if h.scattered && l.lanes > 1 { GATHER * lanes } else { 1.0 };
                    // What does not stay in the nearest cache from one tile to the next streams by.
                    let elements = h.through * times * lanes;
                    let lines = h.lines(elements, [l.jam * l.lanes, t.jam, s.jam]);
                    if elements * lines > NEAR {
                        // Rows that begin anywhere in a line share their ends with what another tile reads.
                        let ends = if h.ragged { 1.0 + 1.0 / size[0] } else { 1.0 };
                        far += times * lanes * ends * lines;
                    }
                }
                let arithmetic = p.hot_ops.max(1.0) * work / 2.0;
                let busy = arithmetic.max(loads / 2.0).max(far / FAR);
                let cycles = p.hot * (busy.max(4.0) + 0.5) + 10.0 + 2.0 * work;
                let count = (l.count * t.count * s.count) as f64;
                sum += cycles * count;
                let one = Cycles {
                    arithmetic: p.hot * arithmetic,
                    loads: p.hot * loads / 2.0,
                    latency: p.hot * 4.0,
                    fetches: [p.hot * far / FAR, 0.0, 0.0],
                    loops: 0.5 * p.hot + 10.0 + 2.0 * work,
                };
                all = all.plus(one.times(count));
            }
        }
    }
    (sum, all)
}

/// What a planned nest takes; `ways` are its loops, outermost first.
pub(super) fn predict(dims: &[Dim], p: &Profile, plan: &Plan, ways: &[Way], target: &Target) -> Cycles {
    let one = [Run { first: 0, count: 1, jam: 1, lanes: 1 }];
    let runs = |t: Option<&Tiled>| t.map_or(one.to_vec(), |t| t.1.clone());
    let on = [plan.lanes.as_ref(), plan.tiles.first(), plan.tiles.get(1)];
    let places = on.map(|t| t.map(|t| t.0));
    let all = on.map(runs);
    let outside = plan::outside(dims, places);
    // Turns of the body as vectors, or as elements where there are none.
    let turns = outside
        * all
            .iter()
            .map(|r| r.iter().map(|r| (r.count * vectors(r, target)) as f64).sum::<f64>())
            .product::<f64>();
    let mut cycles = if p.reduces() {
        let hot: Vec<Hot> = p.hot_loads().map(|u| Hot::of(u, dims, p, places)).collect();
        let mut cycles = tiles(p, &hot, [&all[0], &all[1], &all[2]], target).1.times(outside);
        let rest = (p.ops - p.hot * p.hot_ops).max(0.0);
        cycles.arithmetic += turns * rest / 2.0;
        cycles
    } else {
        let scattered = |u: &Use| places[0].is_some_and(|d| plan::is_gather(u, dims[d].var));
        let load = |u: &Use| u.times * if scattered(u) { GATHER * target.lanes as f64 } else { 1.0 };
        Cycles {
            arithmetic: turns * p.ops / 2.0,
            loads: turns * p.uses.iter().map(load).sum::<f64>() / 2.0,
            loops: 0.5 * turns,
            ..Cycles::default()
        }
    };
    for (sum, more) in cycles.fetches.iter_mut().zip(cache::fetches(ways, p)) {
        *sum = sum.max(more);
    }
    cycles
}
