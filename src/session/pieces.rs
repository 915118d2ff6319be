//! A batch in pieces: where samples do not meet, a network may run on a few of them at a time, so that what one layer stores is
//! still in a cache when the next one reads it. Against that stands that weights are read once a piece.
//!
//! In: a graph for a batch; out: the graph for one piece, and how many there are. The pieces compute the same bits: what
//! decides over the order of sums must decide alike for both.

use crate::graph::rebatch::rebatch;
use crate::graph::{Def, Graph, ValueId};
use crate::ops::{Op, winograd};
use crate::passes::Way;

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
fn decides(graph: &Graph, id: ValueId) -> Option<Way> {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return None };
    let x = &graph.value(*inputs.first()?).ty;
    matches!(op, Op::Conv(_) | Op::Unconv(_)).then(|| winograd::pays(op, x, &value.ty, true).ok())
}

#[cfg(test)]
mod tests {
    use crate::session::{Compiler, Model, Options, Outputs};
    use crate::tensor::compare::Tolerance;
    use crate::tensor::owned::TensorView;

    /// What two layers store is large, and their weights are small.
    const NET: &str = "net Two(x: [c: 8, h: 96, w: 96], y: [h: 48, w: 48, c: 8]) -> (near: [h: 48, w: 48, c: 8], far: [c: 4]) {
        let z = x |> conv(8, 3x3, pad: same) |> relu |> maxpool(2x2) |> conv(8, 3x3, pad: same)
        let near = z + y
        let far = near |> avgpool(global) |> dense(4) as far
        (near, far)
    }";
    const BATCH: usize = 8;

    fn model(batch: usize, threads: usize) -> Model {
        let options = Options::default().batch(batch).threads(threads);
        Compiler::new(options).compile_text(NET).expect("it compiles")
    }

    fn elements(seed: u32, len: usize) -> Vec<f32> {
        (0..len as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed) >> 20) as f32 / 2048.0 - 1.0)
            .collect()
    }

    fn run(model: &Model, x: &[f32], y: &[f32]) -> Outputs {
        model.run(&[("x", TensorView::from(x)), ("y", TensorView::from(y))]).expect("a run")
    }

    #[test]
    fn pieces_compute_the_same_bits() {
        let (parted, one) = (model(BATCH, 1), model(1, 1));
        assert!(parted.compiled.pieces() > 1 && one.compiled.pieces() == 1);
        let [x, y] = [0, 1].map(|i| elements(i, parted.inputs()[i as usize].len()));
        let all = run(&parted, &x, &y);
        for k in 0..BATCH {
            let part = |of: &[f32]| of[k * of.len() / BATCH..(k + 1) * of.len() / BATCH].to_vec();
            let single = run(&one, &part(&x), &part(&y));
            for name in ["near", "far"] {
                assert_eq!(single[name].data(), part(all[name].data()), "{name} of sample {k}");
            }
        }
        assert_eq!(run(&model(BATCH, 2), &x, &y), all, "threads change no bit");
        let inputs = [("x", TensorView::from(&x[..])), ("y", TensorView::from(&y[..]))];
        assert_eq!(parted.run_timed(&inputs).expect("a run").0, all);
        let (checked, steps) = parted.run_checked(&inputs, Tolerance::default()).expect("a run");
        assert_eq!(checked, all);
        assert!(steps.iter().all(|s| s.comparison.passed()), "{steps:?}");
        let stored = |name: &str| steps.iter().find(|s| s.name == name).map(|s| s.comparison.count);
        assert_eq!(stored("far"), Some(BATCH * 4), "{steps:?}");
    }
}
