//! In which order loops around a tile fetch least from afar. In: the loops with what a tile spans along each, and the accesses
//! of a tile; out: an order. A rough model of two caches that keep what was used last.

use super::profile::{Profile, Use};
use crate::loops::Var;

/// A loop around tiles: `turns` of `step` elements each, of which a tile spans `within`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub var: Var,
    pub turns: usize,
    pub step: usize,
    pub within: usize,
}

/// A cache: what of it such a nest can count on, and how many bytes a cycle come from behind it.
struct Cache {
    bytes: f64,
    rate: f64,
}

/// The first, the second, and a core's part of the third.
const CACHES: [Cache; 3] =
    [Cache { bytes: 24e3, rate: 40.0 }, Cache { bytes: 700e3, rate: 14.0 }, Cache { bytes: 8e6, rate: 5.0 }];

/// Loops beyond which not every order is tried.
const LOOPS_MAX: usize = 5;

/// Bytes that come from memory at once.
const LINE: f64 = 64.0;

/// The best order of `ways`, as positions, outermost first. Among equals the one they come in.
pub(super) fn order(ways: &[Way], p: &Profile) -> Vec<usize> {
    let mut best: Vec<usize> = (0..ways.len()).collect();
    // Loops of one turn change nothing.
    let moving: Vec<usize> = best.iter().copied().filter(|i| ways[*i].turns > 1).collect();
    if moving.len() < 2 || moving.len() > LOOPS_MAX {
        return best;
    }
    let most = moving.iter().map(|i| ways[*i].turns).max().unwrap_or(1);
    let least = super::SHARES_MIN.min(most);
    let accesses: Vec<&Use> = p.uses.iter().filter(|u| !u.at.is_const()).collect();
    let mut least_cost = f64::INFINITY;
    let mut now = moving;
    permutations(&mut now, 0, &mut |order| {
        if ways[order[0]].turns < least {
            return;
        }
        let cost = cost(ways, order, &accesses, p);
        if cost < least_cost * 0.98 {
            least_cost = cost;
            best = order.to_vec();
        }
    });
    best.extend((0..ways.len()).filter(|i| ways[*i].turns <= 1));
    best
}

/// All orders of `list[from..]`, the given one first.
fn permutations(list: &mut Vec<usize>, from: usize, f: &mut impl FnMut(&[usize])) {
    if from + 1 >= list.len() {
        return f(list);
    }
    for i in from..list.len() {
        let one = list.remove(i);
        list.insert(from, one);
        permutations(list, from + 1, f);
        let one = list.remove(from);
        list.insert(i, one);
    }
}

/// Cycles that fetching takes.
fn cost(ways: &[Way], order: &[usize], accesses: &[&Use], p: &Profile) -> f64 {
    // Bytes that each access touches in loops `k..`, for every `k`, and all of them together.
    let levels = order.len() + 1;
    let touched: Vec<Vec<f64>> =
        (0..levels).map(|k| accesses.iter().map(|u| footprint(u, ways, &order[k..], p)).collect()).collect();
    let together: Vec<f64> = touched.iter().map(|t| t.iter().sum()).collect();
    let mut cycles = 0.0;
    for cache in &CACHES {
        for (i, _) in accesses.iter().enumerate() {
            let mut bytes = touched[order.len()][i];
            for k in (0..order.len()).rev() {
                // What one turn touches is still there in the next if a turn touches little enough.
                bytes = if together[k + 1] <= cache.bytes {
                    touched[k][i]
                } else {
                    bytes * ways[order[k]].turns as f64
                };
            }
            cycles += bytes / cache.rate;
        }
    }
    cycles
}

/// Bytes that an access touches in one tile and the loops `inside`.
fn footprint(u: &Use, ways: &[Way], inside: &[usize], p: &Profile) -> f64 {
    let mut moves: Vec<(u64, f64)> = Vec::new();
    let mut add = |coefficient: i64, turns: usize| {
        if coefficient != 0 && turns > 1 {
            moves.push((coefficient.unsigned_abs(), turns as f64));
        }
    };
    for w in ways {
        add(u.at.coefficient(w.var), w.within);
    }
    for i in inside {
        let w = ways[*i];
        add(u.at.coefficient(w.var) * w.step as i64, w.turns);
    }
    for (v, extent) in &p.serial {
        add(u.at.coefficient(*v), *extent);
    }
    moves.sort_by_key(|m| m.0);
    // Moves that run into one another make one longer one.
    let mut long: Vec<(u64, f64)> = Vec::new();
    for (c, turns) in moves {
        let within = long.iter_mut().find(|l| c % l.0 == 0 && (c as f64) <= l.0 as f64 * l.1);
        match within {
            Some(l) => l.1 += (c / l.0) as f64 * (turns - 1.0),
            None => long.push((c, turns)),
        }
    }
    let elements: f64 = long.iter().map(|l| l.1).product();
    let bytes = match long.first() {
        Some((1, run)) => elements * 4.0 * (LINE / (4.0 * run)).max(1.0),
        Some(_) | None => elements * LINE,
    };
    bytes.min(4.0 * u.len as f64)
}
