//! A batch in pieces: where samples do not meet, a network may run on a few of them at a time, so that what one layer stores is
//! still in a cache when the next one reads it. Against that stands that weights are read once a piece.
//!
//! In: a graph for a batch; out: the graph for one piece, and how many there are. The pieces compute the same bits: what
//! decides over the order of sums must decide alike for both.

use crate::graph::rebatch::rebatch;
use crate::graph::{Def, Graph, ValueId};
use crate::ops::{Op, winograd};

/// Multiply-adds in a second and thread, roughly.
const SPEED: f64 = 50e9;

/// Bytes of activations that stay near from one layer to the next, and that stay in the machine.
const NEAR: f64 = 1e6;
const WITHIN: f64 = 12e6;

/// Bytes in a second from within the machine, and from its memory.
const RATE: [f64; 2] = [30e9, 10e9];

/// Bytes of weights in a second: they are read in order.
const WEIGHTS: f64 = 20e9;

/// Seconds that a step costs besides.
const STEP: f64 = 0.5e-6;

/// A smaller piece must be this much better.
const GAIN: f64 = 0.97;

/// The graph of a piece of `batch` samples, and how many pieces there are, if that is likely to be faster than all at once.
/// Each piece has enough samples for `threads` threads.
pub(super) fn of(graph: &Graph, batch: usize, threads: usize) -> Option<(Graph, usize)> {
    let works = works(graph, batch);
    let mut best = (batch, cost(&works, batch, 1, threads));
    for size in (threads.min(batch)..batch).rev().filter(|s| batch.is_multiple_of(*s)) {
        let cost = cost(&works, size, batch / size, threads);
        if cost < GAIN * best.1 {
            best = (size, cost);
        }
    }
    let size = best.0;
    if size == batch {
        return None;
    }
    let piece = rebatch(graph, batch, size)?;
    graph.ids().all(|id| decides(graph, id) == decides(&piece, id)).then(|| (piece, batch / size))
}

/// What an operation does: for each sample multiply-adds and bytes of activations, and bytes of weights.
struct Work {
    products: f64,
    moved: f64,
    weights: f64,
}

fn works(graph: &Graph, batch: usize) -> Vec<Work> {
    let sampled = |id: &ValueId| {
        let ty = &graph.value(*id).ty;
        ty.is_activation() && ty.n() == batch
    };
    let bytes = |ids: &mut dyn Iterator<Item = ValueId>| {
        ids.map(|id| 4.0 * graph.value(id).ty.len() as f64).sum::<f64>()
    };
    let work = |id: ValueId| {
        let value = graph.value(id);
        let Def::Op { op, inputs } = &value.def else { return None };
        // Elementwise operations mostly run where others store.
        if op.rules().scalar().is_some() || !sampled(&id) {
            return None;
        }
        let types: Vec<_> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
        let products = op.rules().cost(&types, &value.ty).macs as f64 / batch as f64;
        let own = inputs.iter().copied().filter(|i| sampled(i)).chain([id]);
        let moved = bytes(&mut { own }) / batch as f64;
        let weights = bytes(&mut inputs.iter().copied().filter(|i| !sampled(i)));
        Some(Work { products, moved, weights })
    };
    graph.ids().filter_map(work).collect()
}

/// Seconds, roughly.
fn cost(works: &[Work], size: usize, count: usize, threads: usize) -> f64 {
    let step = |w: &Work| {
        let moved = w.moved * size as f64;
        let afar = if moved <= NEAR {
            0.0
        } else if moved <= WITHIN {
            moved / RATE[0]
        } else {
            moved / RATE[1]
        };
        let products = w.products * size as f64 / (SPEED * threads as f64);
        products.max(w.weights / WEIGHTS) + afar + STEP
    };
    count as f64 * works.iter().map(step).sum::<f64>()
}

/// What of an operation's way to compute depends on the number of samples.
fn decides(graph: &Graph, id: ValueId) -> Option<bool> {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return None };
    let x = &graph.value(*inputs.first()?).ty;
    matches!(op, Op::Conv(_) | Op::Unconv(_)).then(|| winograd::pays(op, x, &value.ty, true).is_ok())
}
