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

/// The best orders of `ways`, at most `most`, each as positions, outermost first; the best first, among equals the one they
/// come in.
pub(super) fn orders(ways: &[Way], p: &Profile, most: usize) -> Vec<Vec<usize>> {
    let given: Vec<usize> = (0..ways.len()).collect();
    // Loops of one turn change nothing.
    let (moving, still): (Vec<usize>, Vec<usize>) = given.iter().partition(|i| ways[**i].turns > 1);
    if moving.len() < 2 || moving.len() > LOOPS_MAX {
        return vec![given];
    }
    let longest = moving.iter().map(|i| ways[*i].turns).max().unwrap_or(1);
    let least = super::SHARES_MIN.min(longest);
    let accesses = accesses(p);
    let mut found: Vec<(f64, Vec<usize>)> = Vec::new();
    let mut now = moving;
    permutations(&mut now, 0, &mut |order| {
        if ways[order[0]].turns < least {
            return;
        }
        let cost: f64 = behind(ways, order, &accesses, p).iter().sum();
        // Another order must be better by more than the model knows.
        let at = found.iter().position(|f| cost < f.0 * 0.98).unwrap_or(found.len());
        if at < most {
            found.insert(at, (cost, order.to_vec()));
            found.truncate(most);
        }
    });
    if found.is_empty() {
        return vec![given];
    }
    found.into_iter().map(|(_, order)| order.into_iter().chain(still.iter().copied()).collect()).collect()
}

/// Cycles of fetching from behind each cache, `ways` in the order they run, when a nest runs again and again: what fits in a
/// cache as a whole is still there.
pub(super) fn fetches(ways: &[Way], p: &Profile) -> [f64; 3] {
    let order: Vec<usize> = (0..ways.len()).filter(|i| ways[*i].turns > 1).collect();
    let accesses = accesses(p);
    let whole: f64 = accesses.iter().map(|u| footprint(u, ways, &order, p)).sum();
    let mut cycles = behind(ways, &order, &accesses, p);
    for (cycles, cache) in cycles.iter_mut().zip(&CACHES) {
        if whole <= cache.bytes {
            *cycles = 0.0;
        }
    }
    cycles
}

fn accesses(p: &Profile) -> Vec<&Use> {
    p.uses.iter().filter(|u| !u.at.is_const()).collect()
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

/// Cycles that fetching from behind each cache takes, everything being far away at first.
fn behind(ways: &[Way], order: &[usize], accesses: &[&Use], p: &Profile) -> [f64; 3] {
    // Bytes that each access touches in loops `k..`, for every `k`, and all of them together.
    let levels = order.len() + 1;
    let touched: Vec<Vec<f64>> =
        (0..levels).map(|k| accesses.iter().map(|u| footprint(u, ways, &order[k..], p)).collect()).collect();
    let together: Vec<f64> = touched.iter().map(|t| t.iter().sum()).collect();
    CACHES.map(|cache| {
        let mut cycles = 0.0;
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
        cycles
    })
}

/// Bytes that an access touches in one tile and the loops `inside`.
fn footprint(u: &Use, ways: &[Way], inside: &[usize], p: &Profile) -> f64 {
    let mut moves: Vec<(u64, f64)> = Vec::new();
    let mut add = |coefficient: i64, turns: usize| moves.push((coefficient.unsigned_abs(), turns as f64));
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
    touched(moves).min(4.0 * u.len as f64)
}

/// Bytes, in whole lines, of the elements that loops reach which move by so many elements so often.
pub(super) fn touched(mut moves: Vec<(u64, f64)>) -> f64 {
    moves.retain(|(c, turns)| *c != 0 && *turns > 1.0);
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
    match long.first() {
        // Neighbours, some of them perhaps stepped over, share lines.
        Some((c, run)) => elements / run * LINE * (4.0 * *c as f64 * run / LINE).max(1.0).min(*run),
        None => LINE,
    }
}

#[cfg(test)]
mod tests {
    use super::touched;

    #[test]
    fn lines_that_loops_touch() {
        assert_eq!(touched(vec![]), 64.0);
        assert_eq!(touched(vec![(1, 32.0)]), 128.0);
        assert_eq!(touched(vec![(49, 10.0)]), 640.0, "a line each");
        assert_eq!(touched(vec![(2, 8.0)]), 64.0, "every other element of a line");
        assert_eq!(touched(vec![(2, 16.0), (49, 10.0)]), 1280.0);
        assert_eq!(touched(vec![(1, 8.0), (8, 4.0)]), 128.0, "rows side by side");
        assert_eq!(touched(vec![(0, 8.0), (16, 4.0)]), 256.0);
    }
}
