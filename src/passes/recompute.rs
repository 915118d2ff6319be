//! Computes cheap values a second time instead of keeping them through the peak of a training step's memory.
//!
//! In a training step most values live from the forward to the backward pass, and memory is greatest between the two. A value
//! that elementwise operations make of others which the backward pass reads anyway (a rectified normalisation of a convolution's
//! result) need not live through it: its later users get a copy, computed right before the first of them from the same values by
//! the same operations, so that all bits stay the same.
//!
//! A round looks where memory is greatest, and copies what is read on both sides of that point. What a copy is computed from
//! must live up to there by itself, so it is not copied in the same round. Rounds go on while the peak falls. Memory is counted as
//! if every chain that `fuse` can form were formed; the plan of memory, which knows more, is not asked.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, Value, ValueId};

/// Rounds, at most.
const ROUNDS: usize = 12;

/// Smaller values are not worth a step of their own.
const ELEMENTS_MIN: usize = 1024;

/// Operations behind one another that a copy may take.
const DEPTH_MAX: usize = 4;

pub(super) fn run(mut work: Work) -> Work {
    if work.graph.updates.is_empty() {
        return work;
    }
    let mut peak = Lives::of(&work.graph).peak().1;
    for _ in 0..ROUNDS {
        let Some(next) = round(&work) else { return work };
        let lower = Lives::of(&next.graph).peak().1;
        if lower >= peak {
            return work;
        }
        (work, peak) = (next, lower);
    }
    work
}

/// When values are made and read last, as positions in the graph.
struct Lives {
    /// Elements that memory holds for each value; 0 for what is fused, and for what lies elsewhere.
    size: Vec<usize>,
    /// The position at which the step that makes or contains a value runs: that of the last of its chain.
    at: Vec<usize>,
    /// The position of the last step that reads it.
    last: Vec<usize>,
    /// Whether it lies in memory at all times: weights, inputs, what depends on weights alone.
    always: Vec<bool>,
    users: Vec<Vec<ValueId>>,
}

impl Lives {
    fn of(graph: &Graph) -> Self {
        let (users, at_load) = (graph.users(), graph.at_load());
        let count = graph.values.len();
        // What each value is fused into.
        let mut follower: Vec<Option<ValueId>> = vec![None; count];
        for id in graph.ids().filter(|id| is_elementwise(graph, *id)) {
            let mut operands = graph.uses(id).to_vec();
            operands.sort_unstable();
            let host = operands.into_iter().rev().find(|x| {
                let alone = users[x.index()].iter().all(|u| *u == id);
                let op = matches!(graph.value(*x).def, Def::Op { .. });
                let fits = graph.value(*x).ty == graph.value(id).ty && !graph.leaves(*x);
                alone && op && fits && at_load[x.index()] == at_load[id.index()]
            });
            if let Some(x) = host {
                follower[x.index()] = Some(id);
            }
        }
        let mut at: Vec<usize> = (0..count).collect();
        for i in (0..count).rev() {
            if let Some(next) = follower[i] {
                at[i] = at[next.index()];
            }
        }
        let last =
            (0..count).map(|i| users[i].iter().map(|u| at[u.index()]).max().unwrap_or(at[i])).collect();
        let is_op = |id: ValueId| matches!(graph.value(id).def, Def::Op { .. });
        let always = graph.ids().map(|id| !is_op(id) || at_load[id.index()]).collect::<Vec<_>>();
        let size = graph
            .ids()
            .map(|id| {
                let held = !always[id.index()] && follower[id.index()].is_none() && !graph.leaves(id);
                if held { graph.value(id).ty.len() } else { 0 }
            })
            .collect();
        Self { size, at, last, always, users }
    }

    /// The position at which most elements live, and how many.
    fn peak(&self) -> (usize, usize) {
        let mut change = vec![0i64; self.size.len() + 1];
        for (i, size) in self.size.iter().enumerate() {
            change[self.at[i]] += *size as i64;
            change[self.last[i] + 1] -= *size as i64;
        }
        let (mut now, mut best) = (0i64, (0, 0i64));
        for (i, by) in change.iter().enumerate() {
            now += by;
            if now > best.1 {
                best = (i, now);
            }
        }
        (best.0, best.1 as usize)
    }
}

fn is_elementwise(graph: &Graph, id: ValueId) -> bool {
    matches!(&graph.value(id).def, Def::Op { op, .. } if op.rules().scalar().is_some())
}

/// What is copied: the operations in order, the value itself last.
struct Copied {
    chain: Vec<ValueId>,
    /// The first of its users behind the peak.
    before: ValueId,
}

/// One round; `None` where nothing can be copied.
fn round(work: &Work) -> Option<Work> {
    let graph = &work.graph;
    let lives = Lives::of(graph);
    let peak = lives.peak().0;
    let behind = |u: &ValueId| lives.at[u.index()] > peak;
    let mut copied: Vec<Copied> = Vec::new();
    // Values that are copied, and values that copies are computed from.
    let (mut gone, mut base) = (vec![false; graph.values.len()], vec![false; graph.values.len()]);
    for id in graph.ids() {
        let i = id.index();
        let users = &lives.users[i];
        if lives.size[i] < ELEMENTS_MIN || lives.at[i] > peak || base[i] || users.iter().all(behind) {
            continue;
        }
        let Some(before) = users.iter().copied().find(|u| behind(u)) else { continue };
        let mut chain = Vec::new();
        let mut bases = Vec::new();
        let lives_on = |x: ValueId| {
            lives.always[x.index()]
                || (lives.size[x.index()] > 0 && !gone[x.index()] && lives.last[x.index()] >= before.index())
        };
        if collect(graph, id, &lives_on, &mut chain, &mut bases) {
            bases.iter().for_each(|b: &ValueId| base[b.index()] = true);
            gone[i] = true;
            copied.push(Copied { chain, before });
        }
    }
    if copied.is_empty() {
        return None;
    }
    Some(rewritten(work, &copied, &behind))
}

/// The operations that make `id` from values that live on, in order, and those values; `false` where there are none such.
fn collect(
    graph: &Graph,
    id: ValueId,
    lives_on: &dyn Fn(ValueId) -> bool,
    chain: &mut Vec<ValueId>,
    bases: &mut Vec<ValueId>,
) -> bool {
    if !is_elementwise(graph, id) || chain.len() >= DEPTH_MAX {
        return false;
    }
    for x in graph.uses(id) {
        if lives_on(*x) {
            bases.push(*x);
        } else if !chain.contains(x) && !collect(graph, *x, lives_on, chain, bases) {
            return false;
        }
    }
    chain.push(id);
    chain.len() <= DEPTH_MAX
}

/// The graph with copies right before their first users.
fn rewritten(work: &Work, copied: &[Copied], behind: &dyn Fn(&ValueId) -> bool) -> Work {
    let graph = &work.graph;
    let mut rewrite = Rewrite::new(work);
    let mut copies: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for id in graph.ids() {
        for c in copied.iter().filter(|c| c.before == id) {
            let mut made: Vec<(ValueId, ValueId)> = Vec::new();
            for old in &c.chain {
                let mut value: Value = graph.value(*old).clone();
                if let Def::Op { inputs, .. } = &mut value.def {
                    for x in inputs.iter_mut() {
                        let own = made.iter().find(|m| m.0 == *x).map(|m| m.1);
                        *x = own.unwrap_or_else(|| rewrite.of(*x));
                    }
                }
                let new = rewrite.push(value, work.origin[old.index()]);
                made.push((*old, new));
            }
            if let Some((old, new)) = made.last() {
                copies[old.index()] = Some(*new);
            }
        }
        let mut value = graph.value(id).clone();
        if let Def::Op { inputs, .. } = &mut value.def {
            for x in inputs.iter_mut() {
                let copy = copies[x.index()].filter(|_| behind(&id));
                *x = copy.unwrap_or_else(|| rewrite.of(*x));
            }
        }
        rewrite.put(id, value);
    }
    rewrite.finish()
}
