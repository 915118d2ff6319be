//! Decisions on one perfect nest. In: its independent loops, its profile, the target; out: a [`Plan`]. Costs are rough
//! cycles of a core that does two multiply-adds and two loads a cycle and waits four cycles for a sum.

use super::profile::{Profile, Use};
use super::{Dim, SHARES_MIN, Target};
use crate::loops::{LANES, Nest, Var};

/// Most vectors side by side along one loop.
const TILE_MAX: usize = 12;

/// Most copies of a body with different tile sizes.
const COPIES_MAX: usize = 4;

/// Elements that stay in the nearest cache.
const NEAR: f64 = 4096.0;

/// Cycles of a load per lane from scattered places, put together.
const GATHER: f64 = 6.0;

/// A run of equal tiles along one loop: turn `t` of `count`, element `j` of `jam`, lane `l` of `lanes` stand for
/// `first + (jam * t + j) * lanes + l`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub first: usize,
    pub count: usize,
    pub jam: usize,
    pub lanes: usize,
}

/// One of the loops, as it runs outside of the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// A loop as it was, by number.
    Plain(usize),
    /// The tiles along the loop that has the lanes.
    Lanes,
    /// The tiles along the other tiled loop.
    Tile,
}

/// What to do with a perfect nest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// The loop that has vector lanes, and its runs.
    pub lanes: Option<(usize, Vec<Run>)>,
    /// The loop that is a register tile besides, and its runs.
    pub tile: Option<(usize, Vec<Run>)>,
    /// All loops outside of the tile, outermost first.
    pub order: Vec<Axis>,
}

/// Decides.
pub(super) fn plan(dims: &[Dim], p: &Profile, target: &Target) -> Plan {
    let vector = vector_loop(dims, p);
    let (lanes, tile) = if p.reduces() { tiles(dims, p, vector, target) } else { unrolled(dims, p, vector) };
    let mut plan = Plan { lanes, tile, order: Vec::new() };
    plan.order = order(dims, p, &plan);
    plan
}

/// Which of several loops to share out: the first of enough turns, else the longest.
pub(super) fn shared_loop(extents: impl Iterator<Item = usize> + Clone) -> Option<usize> {
    let long = extents.clone().position(|e| e >= SHARES_MIN);
    // `max_by_key` takes the last of several; the first is outermost.
    long.or_else(|| {
        extents.enumerate().collect::<Vec<_>>().into_iter().rev().max_by_key(|(_, e)| *e).map(|(i, _)| i)
    })
}

/// The loop whose turns make the best lanes, if vectors gain anything.
fn vector_loop(dims: &[Dim], p: &Profile) -> Option<usize> {
    let scalar = p.work;
    let mut best = None;
    for (i, d) in dims.iter().enumerate() {
        let stored_together = p.uses.iter().filter(|u| u.stores).all(|u| u.at.coefficient(d.var) == 1);
        if d.extent < LANES || p.steered_by(d.var) || !stored_together {
            continue;
        }
        let load = |u: &Use| if is_gather(u, d.var) { GATHER * u.times } else { u.times };
        let vector = p.ops + p.uses.iter().map(load).sum::<f64>();
        let (whole, rest) = ((d.extent / LANES) as f64, (d.extent % LANES) as f64);
        let cost = (whole * vector + rest * scalar) / d.extent as f64;
        if cost < 0.9 * scalar && best.is_none_or(|(_, least)| cost < least) {
            best = Some((i, cost));
        }
    }
    best.map(|(i, _)| i)
}

fn is_gather(u: &Use, v: Var) -> bool {
    !u.stores && !(0..=1).contains(&u.at.coefficient(v))
}

type Tiled = Option<(usize, Vec<Run>)>;

/// Without sums there is nothing to keep: a few vectors at a time, so that loops cost little.
fn unrolled(dims: &[Dim], p: &Profile, vector: Option<usize>) -> (Tiled, Tiled) {
    let Some(v) = vector else { return (None, None) };
    let jam = if p.calls || p.ops > 12.0 { 1 } else { 4 };
    (Some((v, lane_runs(dims[v].extent, jam))), None)
}

/// Register tiles: the pair of loops and sizes of least cost.
fn tiles(dims: &[Dim], p: &Profile, vector: Option<usize>, target: &Target) -> (Tiled, Tiled) {
    let mut others: Vec<usize> =
        (0..dims.len()).filter(|i| Some(*i) != vector && !p.steered_by(dims[*i].var)).collect();
    // Among equals, neighbours in memory first.
    others.sort_by_key(|i| stored_apart(dims[*i].var, p));
    let mut best: Option<(f64, (Tiled, Tiled))> = None;
    for other in others.into_iter().map(Some).chain([None]) {
        for jam in 1..=TILE_MAX {
            let tile = other.map(|t| (t, runs(dims[t].extent, jam)));
            for vectors in 1..=TILE_MAX {
                let lanes = vector.map(|v| (v, lane_runs(dims[v].extent, vectors)));
                let along = |t: &Tiled| {
                    t.as_ref().map_or(1, |(_, runs)| runs.iter().map(|r| r.jam).max().unwrap_or(1))
                };
                let fits =
                    registers(dims, p, &lanes, &tile, along(&lanes), along(&tile)) < target.vector_registers;
                let copies = lanes.as_ref().map_or(1, |l| l.1.len()) * tile.as_ref().map_or(1, |t| t.1.len());
                if fits && (copies <= COPIES_MAX || (jam, vectors) == (1, 1)) {
                    let cost = cost(dims, p, &lanes, &tile) * (1.0 + 0.005 * copies as f64);
                    if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                        best = Some((cost, (lanes, tile.clone())));
                    }
                }
                if vector.is_none() {
                    break;
                }
            }
            if other.is_none() {
                break;
            }
        }
    }
    best.map_or((None, None), |(_, found)| found)
}

/// Vector registers that a tile of `v` by `t` keeps busy: its sums, the operands that a row of it shares, one in flight,
/// and one because Cranelift's multiply-add overwrites a factor, not the sum. A tile that needs them all gets sums
/// spilled inside the loop.
fn registers(dims: &[Dim], p: &Profile, lanes: &Tiled, tile: &Tiled, v: usize, t: usize) -> usize {
    let has = |u: &Use, along: &Tiled| along.as_ref().is_some_and(|(d, _)| u.at.has(dims[*d].var));
    let shared = p.hot_loads().filter(|u| has(u, lanes) && !has(u, tile)).count();
    let scratch = if p.contraction { 2 } else { 3 };
    p.accumulators * v * t + shared * v.min(t) + scratch
}

fn cost(dims: &[Dim], p: &Profile, lanes: &Tiled, tile: &Tiled) -> f64 {
    let one = [Run { first: 0, count: 1, jam: 1, lanes: 1 }];
    let mut sum = 0.0;
    for l in lanes.as_ref().map_or(&one[..], |l| &l.1) {
        for t in tile.as_ref().map_or(&one[..], |t| &t.1) {
            let (v, w) = (l.jam as f64, t.jam as f64);
            let loads: f64 = p
                .hot_loads()
                .map(|u| {
                    let along = lanes.as_ref().filter(|(d, _)| u.at.has(dims[*d].var));
                    let scattered = l.lanes > 1 && along.is_some_and(|(d, _)| is_gather(u, dims[*d].var));
                    let over_lanes = if along.is_some() { v } else { 1.0 };
                    let over_tile =
                        if tile.as_ref().is_some_and(|(d, _)| u.at.has(dims[*d].var)) { w } else { 1.0 };
                    over_lanes * over_tile * if scattered { GATHER } else { 1.0 }
                })
                .sum();
            // What the lanes select streams by for every tile; if it does not stay near, it takes a cycle a vector.
            let streamed = |u: &Use| {
                let (Some((lane, _)), along) = (lanes, tile.as_ref()) else { return 0.0 };
                let over_tile = if along.is_some_and(|(d, _)| u.at.has(dims[*d].var)) { w } else { 1.0 };
                let serial: f64 =
                    p.serial.iter().filter(|(i, _)| u.at.has(*i)).map(|(_, e)| *e as f64).product();
                let far = u.at.has(dims[*lane].var) && serial * v * over_tile * l.lanes as f64 > NEAR;
                if far { v * over_tile } else { 0.0 }
            };
            let streamed: f64 = p.hot_loads().map(streamed).sum();
            let busy = (p.hot_ops.max(1.0) * v * w).max(loads + streamed) / 2.0;
            let cycles = p.hot * (busy.max(4.0) + 1.0) + 10.0 + 2.0 * v * w;
            sum += cycles * (l.count * t.count) as f64;
        }
    }
    let tiled = |i: usize| [lanes, tile].into_iter().flatten().any(|(d, _)| *d == i);
    let rest: f64 = (0..dims.len()).filter(|i| !tiled(*i)).map(|i| dims[i].extent as f64).product();
    sum * rest
}

/// `extent` cut into tiles of at most `jam` whose sizes differ by at most one, larger ones first.
fn runs(extent: usize, jam: usize) -> Vec<Run> {
    let tiles = extent.div_ceil(jam);
    let (size, larger) = (extent / tiles, extent % tiles);
    let both = [
        Run { first: 0, count: larger, jam: size + 1, lanes: 1 },
        Run { first: larger * (size + 1), count: tiles - larger, jam: size, lanes: 1 },
    ];
    both.into_iter().filter(|r| r.count > 0).collect()
}

/// The same in vectors, and what is left in scalars.
fn lane_runs(extent: usize, vectors: usize) -> Vec<Run> {
    let whole = extent / LANES;
    let wide = |r: Run| Run { first: r.first * LANES, lanes: LANES, ..r };
    let mut out: Vec<Run> = runs(whole, vectors).into_iter().map(wide).collect();
    if !extent.is_multiple_of(LANES) {
        out.push(Run { first: whole * LANES, count: 1, jam: extent % LANES, lanes: 1 });
    }
    out
}

/// All loops outside of the tile: plain ones as the output lies in memory, tiles inside them. The loops that only select
/// what the lanes select (weights) stay together: outermost if that is larger than all the rest, so that it streams by
/// once; else around or inside the tiles, whichever reads less from afar.
fn order(dims: &[Dim], p: &Profile, plan: &Plan) -> Vec<Axis> {
    let tiled = |i: usize| [&plan.lanes, &plan.tile].into_iter().flatten().any(|(d, _)| *d == i);
    let mut plain: Vec<usize> = (0..dims.len()).filter(|i| !tiled(*i)).collect();
    plain.sort_by_key(|i| std::cmp::Reverse(stored_apart(dims[*i].var, p)));
    let lanes = plan.lanes.as_ref().map(|(d, runs)| (dims[*d], tiles_of(runs)));
    let tile = plan.tile.as_ref().map(|(d, runs)| (dims[*d], tiles_of(runs)));
    let selected =
        |u: &&Use| lanes.is_some_and(|(v, _)| u.at.has(v.var)) && tile.is_none_or(|(t, _)| !u.at.has(t.var));
    let weights = || p.hot_loads().filter(|u| selected(u));
    let others = || p.hot_loads().filter(|u| !selected(u));
    let selects = |i: &usize| {
        let v = dims[*i].var;
        weights().any(|u| u.at.has(v)) && !others().any(|u| u.at.has(v))
    };
    let (selecting, rest): (Vec<usize>, Vec<usize>) = plain.into_iter().partition(selects);
    let turns_of = |list: &[usize]| list.iter().map(|i| dims[*i].extent as f64).product::<f64>();
    let weight_tiles = turns_of(&selecting) * lanes.map_or(1.0, |l| l.1 as f64);
    let tiles = tile.map_or(1.0, |t| t.1 as f64);
    let bytes: f64 = weights().map(|u| footprint(u, dims, p)).sum();
    let source: f64 = others().map(|u| footprint(u, dims, p)).sum();
    let along: Vec<Dim> = tile.iter().map(|t| t.0).collect();
    let row: f64 = others().map(|u| footprint(u, &along, p)).sum();
    let selecting = selecting.into_iter().map(Axis::Plain).chain(lanes.map(|_| Axis::Lanes));
    let rest = rest.into_iter().map(Axis::Plain);
    let tile_axis = tile.map(|_| Axis::Tile);
    let mut order: Vec<Axis> = if bytes > source {
        selecting.chain(rest).chain(tile_axis).collect()
    } else if weight_tiles * row <= tiles * bytes {
        rest.chain(selecting).chain(tile_axis).collect()
    } else {
        rest.chain(tile_axis).chain(selecting).collect()
    };
    let turns = |a: &Axis| match a {
        Axis::Plain(i) => dims[*i].extent,
        Axis::Lanes => lanes.map_or(1, |l| l.1),
        Axis::Tile => tile.map_or(1, |t| t.1),
    };
    if let Some(shared) = shared_loop(order.iter().map(turns)) {
        let first = order.remove(shared);
        order.insert(0, first);
    }
    order
}

/// How far apart the results of neighbouring turns are stored.
fn stored_apart(v: Var, p: &Profile) -> u64 {
    p.uses.iter().find(|u| u.stores).map_or(0, |u| u.at.coefficient(v).unsigned_abs())
}

fn tiles_of(runs: &[Run]) -> usize {
    runs.iter().map(|r| r.count).sum()
}

/// How many elements an access touches over the loops `dims` and the serial ones, at most.
fn footprint(u: &Use, dims: &[Dim], p: &Profile) -> f64 {
    let serial = p.serial.iter().map(|(v, e)| (*v, *e));
    let all = dims.iter().map(|d| (d.var, d.extent)).chain(serial);
    let product: f64 = all.filter(|(v, _)| u.at.has(*v)).map(|(_, e)| e as f64).product();
    product.min(u.len as f64)
}

impl Plan {
    /// In few words for a table, and in a sentence.
    pub(super) fn describe(&self, nest: &Nest, dims: &[Dim], p: &Profile) -> (String, String) {
        let name = |i: usize| &nest.vars[dims[i].var.index()];
        let widest = |t: &Tiled| t.as_ref().and_then(|(_, runs)| runs.first()).map_or(1, |r| r.jam * r.lanes);
        let (v, t) = (widest(&self.lanes), widest(&self.tile));
        let vector = self.lanes.as_ref().is_some_and(|(_, runs)| runs[0].lanes == LANES);
        let family = match (p.contraction, p.reduces()) {
            (true, _) => "direct",
            (false, true) => "reduce",
            (false, false) => "map",
        };
        let unit = if vector { "f32x4" } else { "scalar" };
        let short = if p.reduces() { format!("{family} {v}x{t} {unit}") } else { format!("{family} {unit}") };
        let mut long: Vec<String> = Vec::new();
        match &self.lanes {
            Some((d, _)) => long.push(format!("vectors along {} ({v} of {})", name(*d), dims[*d].extent)),
            None => long.push("no vectors: no loop stores side by side unguarded".to_owned()),
        }
        if let Some((d, _)) = &self.tile {
            long.push(format!("tiles along {} ({t} of {})", name(*d), dims[*d].extent));
        }
        if let Some(first) = self.order.first() {
            let d = match first {
                Axis::Plain(i) => Some(*i),
                Axis::Lanes => self.lanes.as_ref().map(|(d, _)| *d),
                Axis::Tile => self.tile.as_ref().map(|(d, _)| *d),
            };
            long.extend(d.map(|d| format!("shared out over {}", name(d))));
        }
        (short, long.join(", "))
    }
}
