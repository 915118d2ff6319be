//! Decisions on one perfect nest. In: its independent loops, its profile, the target; out: a [`Plan`]. What it costs
//! is the business of [`super::cost`].

use super::cache;
use super::cost::{self, Cycles, GATHER, Hot, vectors};
use super::profile::{Profile, Use};
use super::{Dim, SHARES_MIN, Target};
use crate::loops::{LANES, Nest, Var};

/// Most elements side by side along one tiled loop.
const TILE_MAX: usize = 30;

/// Most vectors side by side along the loop that has the lanes.
const VECTORS_MAX: usize = 4;

/// Most copies of a body with different tile sizes.
const COPIES_MAX: usize = 4;

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
    /// The tiles along one of the other tiled loops.
    Tile(usize),
}

/// A loop that is tiled, by number, and its runs.
pub(super) type Tiled = (usize, Vec<Run>);

/// What to do with a perfect nest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// The loop that has vector lanes, and its runs.
    pub lanes: Option<Tiled>,
    /// The loops that make a register tile besides, and their runs.
    pub tiles: Vec<Tiled>,
    /// All loops outside of the tile, outermost first.
    pub order: Vec<Axis>,
}

/// Decides.
pub(super) fn plan(dims: &[Dim], p: &Profile, target: &Target) -> Plan {
    let vector = vector_loop(dims, p, target);
    let (lanes, tiles) = if p.reduces() {
        tiles(dims, p, vector, target)
    } else {
        (unrolled(dims, p, vector, target), Vec::new())
    };
    let mut plan = Plan { lanes, tiles, order: Vec::new() };
    plan.order = order(dims, p, &plan);
    plan
}

/// How much more than the best of all a candidate may cost.
const SLACK: f64 = 1.6;

/// Orders of the loops beside the best one, for each of so many best tiles.
const ORDERS: (usize, usize) = (2, 3);

/// Plans that are worth trying on the machine, [`plan`]'s own first, at most `most`: other tiles in the best order for each,
/// and for the best tiles other orders. All compute the same bits.
pub(super) fn candidates(dims: &[Dim], p: &Profile, target: &Target, most: usize) -> Vec<Plan> {
    let own = plan(dims, p, target);
    let mut tilings: Vec<(f64, Option<Tiled>, Vec<Tiled>)> = Vec::new();
    let vector = vector_loop(dims, p, target);
    if p.reduces() {
        let mut least = f64::INFINITY;
        each_tiling(dims, p, vector, target, &mut |cost, _, _, _| least = least.min(cost));
        each_tiling(dims, p, vector, target, &mut |cost, lanes, pair, sizes| {
            if cost <= SLACK * least {
                tilings.push((cost, lanes.clone(), tiled(pair, sizes)));
            }
        });
        tilings.sort_by(|a, b| a.0.total_cmp(&b.0));
    } else if let Some(v) = vector {
        let runs = |vectors| Some((v, lane_runs(dims[v].extent, vectors, target.lanes)));
        tilings.extend([1, 2, 4].map(|vectors| (0.0, runs(vectors), Vec::new())));
    }
    let mut found = vec![own];
    let put = |plan: Plan, found: &mut Vec<Plan>| {
        if found.len() < most && !found.contains(&plan) {
            found.push(plan);
        }
    };
    let (more, of) = ORDERS;
    for order in orders(dims, p, &found[0], 1 + more) {
        put(Plan { order, ..found[0].clone() }, &mut found);
    }
    for (n, (_, lanes, tiles)) in tilings.into_iter().enumerate() {
        let plan = Plan { lanes, tiles, order: Vec::new() };
        for order in orders(dims, p, &plan, if n < of { 1 + more } else { 1 }) {
            put(Plan { order, ..plan.clone() }, &mut found);
        }
    }
    found
}

/// What a plan takes on one core.
pub(super) fn predict(dims: &[Dim], p: &Profile, plan: &Plan, target: &Target) -> Cycles {
    let ways: Vec<cache::Way> = plan.order.iter().map(|a| plan.way(dims, a)).collect();
    cost::predict(dims, p, plan, &ways, target)
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
fn vector_loop(dims: &[Dim], p: &Profile, target: &Target) -> Option<usize> {
    let scalar = p.work;
    let lanes = target.lanes;
    let mut best = None;
    for (i, d) in dims.iter().enumerate() {
        let stored_together = p.uses.iter().filter(|u| u.stores).all(|u| u.at.coefficient(d.var) == 1);
        let least = if lanes == LANES { LANES } else { 2 };
        if d.extent < least || p.steered_by(d.var) || !stored_together {
            continue;
        }
        let load = |u: &Use| if is_gather(u, d.var) { GATHER * lanes as f64 * u.times } else { u.times };
        let vector = p.ops + p.uses.iter().map(load).sum::<f64>();
        let cost = if lanes == LANES {
            let (whole, rest) = ((d.extent / LANES) as f64, (d.extent % LANES) as f64);
            (whole * vector + rest * scalar) / d.extent as f64
        } else {
            d.extent.div_ceil(lanes) as f64 * vector / d.extent as f64
        };
        if cost < 0.9 * scalar && best.is_none_or(|(_, least)| cost < least) {
            best = Some((i, cost));
        }
    }
    best.map(|(i, _)| i)
}

pub(super) fn is_gather(u: &Use, v: Var) -> bool {
    !u.stores && !(0..=1).contains(&u.at.coefficient(v))
}

/// Without sums there is nothing to keep: a few vectors at a time, so that loops cost little.
fn unrolled(dims: &[Dim], p: &Profile, vector: Option<usize>, target: &Target) -> Option<Tiled> {
    let v = vector?;
    let vectors = if p.calls || p.ops > 12.0 { 1 } else { 4 };
    Some((v, lane_runs(dims[v].extent, vectors, target.lanes)))
}

/// Register tiles: the loops and sizes of least cost.
fn tiles(dims: &[Dim], p: &Profile, vector: Option<usize>, target: &Target) -> (Option<Tiled>, Vec<Tiled>) {
    let mut best: Option<(f64, Option<Tiled>, Vec<Tiled>)> = None;
    each_tiling(dims, p, vector, target, &mut |cost, lanes, pair, sizes| {
        if best.as_ref().is_none_or(|(least, ..)| cost < *least * 0.999) {
            best = Some((cost, lanes.clone(), tiled(pair, sizes)));
        }
    });
    best.map_or((None, Vec::new()), |(_, lanes, tiles)| (lanes, tiles))
}

fn tiled(pair: &[usize], sizes: [&[Run]; 2]) -> Vec<Tiled> {
    pair.iter().copied().zip(sizes.map(<[Run]>::to_vec)).collect()
}

/// Calls `f` for each register tile that fits: its cost, lanes, tiled loops and how each of these is cut.
fn each_tiling(
    dims: &[Dim],
    p: &Profile,
    vector: Option<usize>,
    target: &Target,
    f: &mut dyn FnMut(f64, &Option<Tiled>, &[usize], [&[Run]; 2]),
) {
    let mut others: Vec<usize> =
        (0..dims.len()).filter(|i| Some(*i) != vector && !p.steered_by(dims[*i].var)).collect();
    // Among equals, neighbours in memory first.
    others.sort_by_key(|i| stored_apart(dims[*i].var, p));
    let mut pairs: Vec<Vec<usize>> = others.iter().map(|i| vec![*i]).collect();
    for (n, i) in others.iter().enumerate() {
        pairs.extend(others[n + 1..].iter().map(|j| vec![*i, *j]));
    }
    pairs.push(Vec::new());
    let lanes: Vec<Option<Tiled>> = match vector {
        None => vec![None],
        Some(v) => {
            let all = dims[v].extent.div_ceil(target.lanes);
            // A row of a block that is no multiple of a vector is read at once, so that memory is read in order.
            let ragged = all <= 2 * VECTORS_MAX && !dims[v].extent.is_multiple_of(target.lanes);
            let most = match (target.lanes == LANES, ragged) {
                (true, _) => 12,
                (false, true) => 2 * VECTORS_MAX,
                (false, false) => VECTORS_MAX,
            };
            let most = most.min(all);
            (1..=most).map(|vectors| Some((v, lane_runs(dims[v].extent, vectors, target.lanes)))).collect()
        }
    };
    for pair in pairs {
        let mut on = [vector, None, None];
        for (slot, d) in on[1..].iter_mut().zip(&pair) {
            *slot = Some(*d);
        }
        let hot: Vec<Hot> = p.hot_loads().map(|u| Hot::of(u, dims, p, on)).collect();
        let sizes: Vec<Vec<Vec<Run>>> = pair.iter().map(|d| splits(dims[*d].extent)).collect();
        let none = vec![vec![Run { first: 0, count: 1, jam: 1, lanes: 1 }]];
        for first in sizes.first().unwrap_or(&none) {
            for second in sizes.get(1).unwrap_or(&none) {
                // A loop of the pair that is not tiled after all has been seen without it.
                if pair.len() == 2 && (first[0].jam == 1 || second[0].jam == 1) {
                    continue;
                }
                for lane in &lanes {
                    let runs = [lane.as_ref().map_or(&none[0][..], |l| &l.1[..]), first, second];
                    let copies: usize = runs.iter().map(|r| r.len()).product();
                    let widest = runs.map(|r| r.iter().map(|r| vectors(r, target)).max().unwrap_or(1));
                    let fits = registers(p, &hot, widest) <= target.vector_registers;
                    if !(fits && copies <= COPIES_MAX || widest == [1, 1, 1]) {
                        continue;
                    }
                    let cost = cost::tiles(p, &hot, runs, target).0
                        * (1.0 + 0.005 * copies as f64)
                        * outside(dims, on);
                    f(cost, lane, &pair, [first, second]);
                }
            }
        }
    }
}

/// Turns of the loops outside of a tile.
pub(super) fn outside(dims: &[Dim], on: [Option<usize>; 3]) -> f64 {
    (0..dims.len()).filter(|i| !on.contains(&Some(*i))).map(|i| dims[i].extent as f64).product()
}

/// Vector registers that a tile keeps busy: its sums, what its other loads share, the load with the most different places
/// passing by, and one more where a multiply-add cannot take the sum's place.
fn registers(p: &Profile, hot: &[Hot], size: [usize; 3]) -> usize {
    let sums = p.accumulators * size.iter().product::<usize>();
    let distinct = |h: &Hot| h.with.iter().zip(size).map(|(w, n)| if *w { n } else { 1 }).product::<usize>();
    let all: usize = hot.iter().map(distinct).sum();
    let most = hot.iter().map(distinct).max().unwrap_or(0);
    let scratch = if p.contraction { 1 } else { 3 };
    sums + all - most + scratch
}

/// All ways to cut a loop into tiles of nearly equal sizes, larger tiles first.
fn splits(extent: usize) -> Vec<Vec<Run>> {
    let mut sizes: Vec<usize> =
        (1..=TILE_MAX.min(extent)).map(|j| extent.div_ceil(extent.div_ceil(j))).collect();
    sizes.dedup();
    sizes.into_iter().rev().map(|jam| runs(extent, jam)).collect()
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

/// The same in vectors. Where a vector has 4 lanes, what is left is scalars; else the last vector has fewer lanes.
fn lane_runs(extent: usize, vectors: usize, lanes: usize) -> Vec<Run> {
    if lanes == LANES {
        let whole = extent / LANES;
        let wide = |r: Run| Run { first: r.first * LANES, lanes: LANES, ..r };
        let mut out: Vec<Run> = runs(whole.max(1), vectors).into_iter().map(wide).collect();
        if whole == 0 {
            out.clear();
        }
        if !extent.is_multiple_of(LANES) {
            out.push(Run { first: whole * LANES, count: 1, jam: extent % LANES, lanes: 1 });
        }
        return out;
    }
    let wide = |r: Run| Run { first: r.first * lanes, count: r.count, jam: 1, lanes: r.jam * lanes };
    let mut out: Vec<Run> = runs(extent.div_ceil(lanes), vectors).into_iter().map(wide).collect();
    let over = extent.next_multiple_of(lanes) - extent;
    if let (true, Some(last)) = (over > 0, out.last_mut()) {
        last.count -= 1;
        let first = last.first + last.count * last.lanes;
        let rest = Run { first, count: 1, jam: 1, lanes: last.lanes - over };
        if last.count == 0 {
            *last = rest;
        } else {
            out.push(rest);
        }
    }
    out
}

/// All loops outside of the tile. Where nothing is summed, as the output lies in memory; else in the order that fetches least
/// from afar (see [`cache`]). The outermost has turns enough to share out.
fn order(dims: &[Dim], p: &Profile, plan: &Plan) -> Vec<Axis> {
    orders(dims, p, plan, 1).into_iter().next().unwrap_or_default()
}

/// The best such orders, at most `most`, the best first.
fn orders(dims: &[Dim], p: &Profile, plan: &Plan, most: usize) -> Vec<Vec<Axis>> {
    let tiled = |i: usize| plan.lanes.iter().chain(&plan.tiles).any(|(d, _)| *d == i);
    let mut axes: Vec<Axis> = (0..dims.len()).filter(|i| !tiled(*i)).map(Axis::Plain).collect();
    axes.extend(plan.lanes.as_ref().map(|_| Axis::Lanes));
    axes.extend((0..plan.tiles.len()).map(Axis::Tile));
    axes.sort_by_key(|a| std::cmp::Reverse(stored_apart(dims[plan.dim(a)].var, p)));
    let ways: Vec<cache::Way> = axes.iter().map(|a| plan.way(dims, a)).collect();
    let all = if p.reduces() { cache::orders(&ways, p, most) } else { vec![(0..ways.len()).collect()] };
    let whole = |mut order: Vec<usize>| -> Vec<Axis> {
        if let Some(shared) = shared_loop(order.iter().map(|i| ways[*i].turns)) {
            let first = order.remove(shared);
            order.insert(0, first);
        }
        order.into_iter().map(|i| axes[i]).collect()
    };
    all.into_iter().map(whole).collect()
}

/// How far apart the results of neighbouring turns are stored.
fn stored_apart(v: Var, p: &Profile) -> u64 {
    p.uses.iter().find(|u| u.stores).map_or(0, |u| u.at.coefficient(v).unsigned_abs())
}

impl Plan {
    /// The loop, by number, that an axis runs over.
    fn dim(&self, axis: &Axis) -> usize {
        match axis {
            Axis::Plain(i) => *i,
            Axis::Lanes => self.lanes.as_ref().map_or(0, |l| l.0),
            Axis::Tile(t) => self.tiles[*t].0,
        }
    }

    fn way(&self, dims: &[Dim], axis: &Axis) -> cache::Way {
        let runs = match axis {
            Axis::Plain(_) => None,
            Axis::Lanes => self.lanes.as_ref().map(|l| &l.1),
            Axis::Tile(t) => Some(&self.tiles[*t].1),
        };
        let Dim { var, extent } = dims[self.dim(axis)];
        match runs {
            None => cache::Way { var, turns: extent, step: 1, within: 1 },
            Some(runs) => {
                let size = runs.iter().map(|r| r.jam * r.lanes).max().unwrap_or(1);
                cache::Way { var, turns: runs.iter().map(|r| r.count).sum(), step: size, within: size }
            }
        }
    }

    /// On one line, enough to tell it from other plans of the same nest: loops by number with sizes of tiles, lanes first, and
    /// the order: `l1x32 t3x6 : 0 l t0`.
    pub(super) fn text(&self) -> String {
        let widest = |t: &Tiled| t.1.iter().map(|r| r.jam * r.lanes).max().unwrap_or(1);
        let lanes = self.lanes.iter().map(|l| format!("l{}x{}", l.0, widest(l)));
        let tiles = self.tiles.iter().map(|t| format!("t{}x{}", t.0, widest(t)));
        let order = self.order.iter().map(|a| match a {
            Axis::Plain(i) => i.to_string(),
            Axis::Lanes => "l".to_owned(),
            Axis::Tile(t) => format!("t{t}"),
        });
        let words: Vec<String> = lanes.chain(tiles).chain(std::iter::once(":".into())).chain(order).collect();
        words.join(" ")
    }

    /// In few words for a table, and in a sentence.
    pub(super) fn describe(
        &self,
        nest: &Nest,
        dims: &[Dim],
        p: &Profile,
        target: &Target,
    ) -> (String, String) {
        let name = |i: usize| &nest.vars[dims[i].var.index()];
        let widest = |t: &Tiled| t.1.first().map_or(1, |r| r.jam * r.lanes);
        let vector = self.lanes.as_ref().is_some_and(|(_, runs)| runs[0].lanes > 1);
        let family = match (p.contraction, p.reduces()) {
            (true, _) => "direct",
            (false, true) => "reduce",
            (false, false) => "map",
        };
        let unit = if vector { format!("f32x{}", target.lanes) } else { "scalar".to_owned() };
        let sizes: Vec<String> = std::iter::once(self.lanes.as_ref().map_or(1, widest))
            .chain(self.tiles.iter().map(widest))
            .map(|n| n.to_string())
            .collect();
        let short = if p.reduces() {
            format!("{family} {} {unit}", sizes.join("x"))
        } else {
            format!("{family} {unit}")
        };
        let mut long: Vec<String> = Vec::new();
        match &self.lanes {
            Some(l) => {
                long.push(format!("vectors along {} ({} of {})", name(l.0), widest(l), dims[l.0].extent))
            }
            None => long.push("no vectors: no loop stores side by side unguarded".to_owned()),
        }
        for t in &self.tiles {
            long.push(format!("tiles along {} ({} of {})", name(t.0), widest(t), dims[t.0].extent));
        }
        if let Some(first) = self.order.first() {
            long.push(format!("shared out over {}", name(self.dim(first))));
        }
        (short, long.join(", "))
    }
}
