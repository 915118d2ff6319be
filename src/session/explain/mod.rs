//! One layer of a compiled network, explained: its formula with its numbers, what the passes made of it, and the steps that
//! compute it, each with its kernel, what the cost model expects, and why it is not computed otherwise. Data; the command
//! line writes it down.

mod history;
mod kernel;

use super::layers::Layer;
use super::model::{Compiled, Model};
use crate::facts::{Row, facts};
use crate::graph::{Def, ValueId};
use crate::ops::equation::{Equation, equation};
use crate::tensor::ty::TensorTy;

pub use kernel::{Kernel, Other, Stored};

/// See the module.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// What it is as the source says it, if it stands there: steps of a training have no source.
    pub source: Option<Source>,
    /// What the passes did to it, a sentence each.
    pub history: Vec<String>,
    /// The steps that compute it, and those that prepare its weights.
    pub kernels: Vec<Kernel>,
    /// Into how many pieces of equally many samples the batch is cut; all else is said of one piece.
    pub pieces: usize,
}

/// A layer as the source says it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The value of the source graph.
    pub value: ValueId,
    /// The operation's kind.
    pub kind: &'static str,
    /// What it computes, if its file says it as a formula.
    pub equation: Option<Equation>,
    /// Operands with their types: activations, then weights.
    pub inputs: Vec<(String, TensorTy)>,
    /// For each dimension of the output: its name, its extent, and where that comes from.
    pub extents: Vec<(String, usize, String)>,
    /// Its facts.
    pub row: Row,
}

impl Model {
    /// The names that [`Model::explain`] knows: layers of the source, then steps of a run that are called otherwise.
    pub fn layer_names(&self) -> Vec<String> {
        let compiled = &*self.compiled;
        let source = compiled.planned();
        let mut names: Vec<String> = Vec::new();
        let layers = source.ids().filter(|id| matches!(source.value(*id).def, Def::Op { .. }));
        let steps = self.step_names().map(str::to_owned);
        for name in layers.map(|id| source.value(id).name.clone()).chain(steps) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Explains the layer of the source, or the step, that is called `name`; `None` if nothing is. With a layer come the steps of
    /// its gradients, where the network has them.
    pub fn explain(&self, name: &str) -> Option<Explained> {
        let compiled = &*self.compiled;
        let source = compiled.layer(name);
        let steps = compiled.steps_of(name, source.as_ref().map(|s| &s.row));
        if source.is_none() && steps.is_empty() {
            return None;
        }
        let mut history = source.as_ref().map(|s| compiled.history(s, &steps)).unwrap_or_default();
        let pieces = compiled.pieces();
        if pieces > 1 {
            let size = compiled.source.batch().unwrap_or(compiled.options.batch) / pieces;
            history
                .insert(0, format!("the batch runs in {pieces} pieces of {size}, and this is one of them"));
        }
        let kernels = steps.iter().map(|i| compiled.explain_step(*i)).collect();
        Some(Explained { name: name.to_owned(), source, history, kernels, pieces })
    }

    /// One row per layer of the source, as in a [`super::Report`].
    pub fn layers(&self) -> Vec<Layer> {
        self.report().layers
    }
}

impl Compiled {
    fn layer(&self, name: &str) -> Option<Source> {
        let graph = self.planned();
        let row = facts(graph).rows.into_iter().find(|row| row.name == name)?;
        let Def::Op { op, inputs } = &graph.value(row.value).def else { return None };
        let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
        let why = op.rules().infer(&types).map(|i| i.why).unwrap_or_default();
        let extents = row.ty.names().iter().zip(row.ty.dims()).enumerate().map(|(d, (name, extent))| {
            let reason = why.get(d).map_or(String::new(), |why| match (&why.from, why.formula.as_str()) {
                (_, formula) if !formula.is_empty() => formula.to_owned(),
                (Some((input, _)), _) => format!("as {}", graph.value(inputs[*input]).name),
                (None, _) => String::new(),
            });
            (name.to_string(), *extent, reason)
        });
        Some(Source {
            value: row.value,
            kind: op.rules().kind(),
            equation: equation(op, &types, &row.ty),
            inputs: inputs
                .iter()
                .map(|i| (graph.value(*i).name.clone(), graph.value(*i).ty.clone()))
                .collect(),
            extents: extents.collect(),
            row,
        })
    }

    /// The steps that compute a layer, prepare its weights, or compute its gradients; or those that are called `name`.
    fn steps_of(&self, name: &str, row: Option<&Row>) -> Vec<usize> {
        let graph = &self.program.work.graph;
        let origin = |id: ValueId| self.program.work.origin[id.index()];
        // What passes and gradients call the helpers of a layer.
        let helps = |step: &str| {
            step.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| {
                ["back", "dense", "spread", "scaled", "shift", "copy"]
                    .contains(&rest.split('.').next().unwrap_or(rest))
            })
        };
        let groups = graph.groups();
        let steps = self.program.steps.iter().enumerate().filter(|(_, step)| {
            let called = &graph.value(step.root).name;
            called == name
                || row.is_some_and(|row| {
                    let members = &groups[step.root.index()];
                    helps(called) || members.iter().any(|m| origin(*m) == Some(row.value))
                })
        });
        steps.map(|(i, _)| i).collect()
    }
}
