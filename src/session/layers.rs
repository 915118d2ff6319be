//! What a compilation made, as data: a row per layer with its facts and the loops that compute it, sizes, times.

use std::time::Duration;

use super::model::{Compiled, Model};
use super::tune::Tuned;
use crate::facts::{Facts, Row, facts};
use crate::graph::ValueId;

/// A report on a compiled network.
#[derive(Clone, Debug)]
pub struct Report {
    /// The network's name.
    pub name: String,
    /// One row per operation of the source, in its order.
    pub layers: Vec<Layer>,
    /// Facts per operation and in total.
    pub facts: Facts,
    /// Memory and code.
    pub sizes: Sizes,
    /// What measurements chose; nothing unless options ask for it.
    pub tuned: Tuned,
    /// Phases of the compilation in order, with their times.
    pub phases: Vec<(&'static str, Duration)>,
}

/// A layer and what computes it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its facts.
    pub row: Row,
    /// How it is computed: the note of its schedule, `in NAME` where it is fused into another, or why nothing is left of it.
    pub kernel: String,
}

/// Bytes that a compiled network needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The arena of one run.
    pub arena: usize,
    /// What no arena can be smaller than: the largest set of values that live at one time.
    pub arena_bound: usize,
    /// Weights and what is computed from them.
    pub weights: usize,
    /// Machine code.
    pub code: usize,
    /// Functions of machine code that a run calls.
    pub steps: usize,
}

impl Model {
    /// What the compilation made.
    pub fn report(&self) -> Report {
        let compiled = &*self.compiled;
        let facts = facts(&compiled.source);
        let layers =
            facts.rows.iter().map(|row| Layer { row: row.clone(), kernel: compiled.kernel(row) }).collect();
        let memory = &compiled.program.memory;
        Report {
            name: compiled.source.name.clone(),
            layers,
            facts,
            sizes: Sizes {
                arena: memory.arena.size,
                arena_bound: memory.arena.lower_bound,
                weights: memory.store.size,
                code: compiled.code.size(),
                steps: compiled.run.len(),
            },
            tuned: compiled.tuned.clone(),
            phases: compiled.timer.phases.clone(),
        }
    }
}

impl Compiled {
    fn kernel(&self, row: &Row) -> String {
        let graph = &self.program.work.graph;
        let origin = |id: ValueId| self.program.work.origin[id.index()];
        for (i, step) in self.program.steps.iter().enumerate() {
            let members = graph.members(step.root);
            let root = graph.value(step.root);
            // A layer that took a normalisation in stands for the later value, but keeps its name.
            if origin(step.root) == Some(row.value) && root.name == row.name {
                return self.note(i);
            }
            if root.name == row.name
                && root.ty == row.ty
                && !members.iter().any(|m| origin(*m) == Some(row.value))
            {
                return self.note(i);
            }
            if members.iter().any(|m| origin(*m) == Some(row.value)) {
                return format!("in {}", root.name);
            }
        }
        "none".to_owned()
    }

    fn note(&self, step: usize) -> String {
        let when = if self.program.steps[step].at_load { "at load: " } else { "" };
        format!("{when}{}", self.program.nests[step].note)
    }
}
