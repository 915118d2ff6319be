//! What a compilation made, as data: a row per layer with its facts and the loops that compute it, sizes, times.

use std::collections::{BTreeSet, HashMap};
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
        let steps = compiled.index();
        let layer = |row: &Row| Layer { row: row.clone(), kernel: compiled.kernel(row, &steps) };
        let layers = facts.rows.iter().map(layer).collect();
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
                steps: compiled.run(false).len(),
            },
            tuned: compiled.tuned.clone(),
            phases: compiled.timer.phases.clone(),
        }
    }
}

/// Which steps may compute a layer.
struct Steps {
    groups: Vec<Vec<ValueId>>,
    /// By the name of what they store first.
    named: HashMap<String, Vec<usize>>,
    /// By the values of the source that they stand for.
    made: HashMap<ValueId, Vec<usize>>,
}

impl Compiled {
    fn index(&self) -> Steps {
        let graph = &self.program.work.graph;
        let mut out = Steps { groups: graph.groups(), named: HashMap::new(), made: HashMap::new() };
        for (i, step) in self.program.steps.iter().enumerate() {
            out.named.entry(graph.value(step.root).name.clone()).or_default().push(i);
            for member in &out.groups[step.root.index()] {
                if let Some(of) = self.program.work.origin[member.index()] {
                    out.made.entry(of).or_default().push(i);
                }
            }
        }
        out
    }

    fn kernel(&self, row: &Row, steps: &Steps) -> String {
        let graph = &self.program.work.graph;
        let origin = |id: ValueId| self.program.work.origin[id.index()];
        let none = Vec::new();
        let named = steps.named.get(&row.name).unwrap_or(&none);
        let made = steps.made.get(&row.value).unwrap_or(&none);
        let candidates: BTreeSet<usize> = named.iter().chain(made).copied().collect();
        for i in candidates {
            let root_id = self.program.steps[i].root;
            let root = graph.value(root_id);
            let inside = steps.groups[root_id.index()].iter().any(|m| origin(*m) == Some(row.value));
            // A layer that took a normalisation in stands for the later value, but keeps its name.
            if root.name == row.name && (origin(root_id) == Some(row.value) || (root.ty == row.ty && !inside))
            {
                return self.note(i);
            }
            if inside {
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
