//! Gradients by differences: the slope of `L = Σ r · y` over a graph's results `y`, with fixed numbers `r`, by single elements of
//! its inputs and weights, from the `f64` references. What rules and machine code are held against; it knows neither.
//!
//! Central differences at two steps `h` and `h/2`, combined so that the error is of order `h^4` (Richardson 1911). Where
//! `L` has a kink (a rectifier at 0, equal inputs of a maximum) there is no slope; it shows as a difference of the slopes at
//! both sides that does not shrink with the step, and is reported as such instead of being compared.

use crate::graph::eval::{Given, evaluate};
use crate::graph::{Def, Graph, ValueId};
use crate::tensor::array::Array;

/// Steps are this, times the element's magnitude where that is less than 1.
const STEP: f64 = 2e-4;

/// A jump of the slope beyond this part of the slope (or of 1) is a kink.
const JUMP: f64 = 1e-5;

/// What differences say of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slope {
    /// The slope.
    Is(f64),
    /// The slopes at both sides differ.
    Kink,
    /// A value nearby is infinite or no number.
    NotFinite,
}

/// A graph evaluated at one point, ready to be moved along single elements.
#[derive(Debug)]
pub struct Probe<'g> {
    graph: &'g Graph,
    arrays: Vec<Array>,
    weights: Vec<(ValueId, Array)>,
}

impl<'g> Probe<'g> {
    /// Evaluates `graph`; `weights` are the numbers `r` for each result.
    pub fn new(graph: &'g Graph, given: &dyn Given, weights: Vec<(ValueId, Array)>) -> Self {
        let mut arrays = Vec::with_capacity(graph.values.len());
        evaluate(graph, given, |_, array| arrays.push(array.clone()));
        Self { graph, arrays, weights }
    }

    /// The values of `id`.
    pub fn array(&self, id: ValueId) -> &Array {
        &self.arrays[id.index()]
    }

    /// The slope of `L` by element `element` (row-major) of the input or weight `id`.
    pub fn slope(&self, id: ValueId, element: usize) -> Slope {
        let steps = self.after(id);
        let x = self.arrays[id.index()].data[element];
        let h = STEP * x.abs().clamp(1e-3, 1.0);
        let at = |moved: f64| self.moved(&steps, id, element, x + moved);
        let (far, near) = ([at(-h), at(h)], [at(-h / 2.0), at(h / 2.0)]);
        if !far.iter().chain(&near).chain([&x]).all(|l| l.is_finite()) {
            return Slope::NotFinite;
        }
        // `L` is measured from its value at `x`.
        let central = |[below, above]: [f64; 2], h: f64| (above - below) / (2.0 * h);
        let gap = |[below, above]: [f64; 2], h: f64| (above + below) / h;
        let slope = (4.0 * central(near, h / 2.0) - central(far, h)) / 3.0;
        let jump = gap(far, h) - 2.0 * gap(near, h / 2.0);
        let bend = central(far, h) - central(near, h / 2.0);
        let limit = JUMP * slope.abs().max(1.0);
        if jump.abs() > limit || bend.abs() > limit { Slope::Kink } else { Slope::Is(slope) }
    }

    /// The operations that depend on `id`, in order.
    fn after(&self, id: ValueId) -> Vec<ValueId> {
        let mut reached = vec![false; self.graph.values.len()];
        reached[id.index()] = true;
        let mut steps = Vec::new();
        for v in self.graph.ids() {
            if self.graph.uses(v).iter().any(|u| reached[u.index()]) {
                reached[v.index()] = true;
                steps.push(v);
            }
        }
        steps
    }

    /// `L` with one element set to `x`, less `L` at the point.
    fn moved(&self, steps: &[ValueId], id: ValueId, element: usize, x: f64) -> f64 {
        let mut changed: Vec<Option<Array>> = vec![None; self.arrays.len()];
        let mut start = self.arrays[id.index()].clone();
        start.data[element] = x;
        changed[id.index()] = Some(start);
        for v in steps {
            let Def::Op { op, inputs } = &self.graph.value(*v).def else { continue };
            let now = |i: &ValueId| changed[i.index()].as_ref().unwrap_or(&self.arrays[i.index()]);
            let inputs: Vec<&Array> = inputs.iter().map(now).collect();
            let y = op.rules().reference(&inputs, &self.graph.value(*v).ty);
            changed[v.index()] = Some(y);
        }
        let mut total = 0.0;
        for (result, r) in &self.weights {
            let Some(y) = &changed[result.index()] else { continue };
            let before = &self.arrays[result.index()];
            // An element of weight 0 does not count, whatever it is.
            let terms = r.data.iter().zip(&y.data).zip(&before.data).filter(|((r, _), _)| **r != 0.0);
            total += terms.map(|((r, y), b)| r * (y - b)).sum::<f64>();
        }
        total
    }
}
