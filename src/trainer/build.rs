//! The two networks of a training: the step, and the one that evaluates. Both have the batch of the settings, and an output in
//! the order of its type for every layer that a metric looks at.

use super::error::TrainError;
use super::loss::Losses;
use super::plan::Plan;
use crate::data::{Parts, Want};
use crate::graph::{Graph, ValueId};
use crate::resolve::Network;
use crate::session::{Compiler, Model};
use crate::support::Name;
use crate::train::mode::{self, Drop};
use crate::train::{Settings, step};

/// The output with each sample's loss.
pub(super) const EACH: &str = "@each";

/// The networks of a training.
pub(super) struct Built {
    pub(super) step: Model,
    pub(super) eval: Model,
    /// The network alone, for whoever runs it later.
    pub(super) plain: Graph,
    /// What is loaded for each batch.
    pub(super) wants: Vec<Want>,
    /// For each metric the output that it looks at, and its channels.
    pub(super) looks: Vec<(String, usize)>,
    /// Masks that a step takes.
    pub(super) drops: Vec<Drop>,
    /// What the program says the step is.
    pub(super) text: String,
}

pub(super) fn build(
    compiler: &Compiler,
    net: &Network,
    plan: &Plan,
    parts: &Parts,
) -> Result<Built, TrainError> {
    let plain = net.graph.clone();
    let mut graph = net.graph.clone();
    let inputs: Vec<Name> = graph.inputs.iter().map(|p| p.name.clone()).collect();
    let mut losses = Losses { graph: &mut graph, parts, batch: plan.batch, fields: Vec::new() };
    let each = losses.build(&plan.loss)?;
    for metric in &plan.metrics {
        if !inputs.contains(&metric.truth) {
            losses.field(&metric.truth, Some(metric.value))?;
        }
    }
    let looks = looked_at(&mut graph, plan);
    graph.output(EACH, each, vec![0, 1]);
    let wants = graph
        .inputs
        .iter()
        .map(|p| {
            let ty = &graph.value(p.value).ty;
            let axes: Vec<(&str, usize)> =
                p.order.iter().map(|d| (&*ty.names()[*d], ty.dims()[*d])).collect();
            Want::new(&p.name, &axes, inputs.contains(&p.name))
        })
        .collect();
    let eval = compiler.compile_graph(graph.clone())?;
    // Metrics look at evaluations; a step hands out its loss alone.
    graph.outputs.retain(|p| &*p.name == EACH);
    let (mut graph, drops) = mode::training(&graph).map_err(|e| TrainError::Setting(e.message))?;
    let loss: Option<ValueId> = graph.outputs.pop().map(|p| p.value);
    let loss = loss.ok_or_else(|| TrainError::Setting("the loss is lost".into()))?;
    let settings = Settings {
        optimizer: plan.optimizer,
        clip: plan.clip,
        accumulate: plan.accumulate,
        average: plan.average,
    };
    step::build(&mut graph, loss, &settings).map_err(|e| {
        let span = match &e {
            step::StepError::Grad(g) => g.span,
            step::StepError::NoWeights | step::StepError::Shape(_) => Some(plan.loss_span),
        };
        TrainError::Step(e, span)
    })?;
    let text = crate::graph::print::summary(&graph);
    let step = compiler.compile_graph(graph)?;
    Ok(Built { step, eval, plain, wants, looks, drops, text })
}

/// Gives every layer that a metric looks at an output, in place of the net's own.
fn looked_at(graph: &mut Graph, plan: &Plan) -> Vec<(String, usize)> {
    graph.outputs.clear();
    let mut found: Vec<(ValueId, String)> = Vec::new();
    for metric in &plan.metrics {
        if !found.iter().any(|(v, _)| *v == metric.value) {
            let name = format!("@{}", found.len());
            let rank = graph.value(metric.value).ty.dims().len();
            graph.output(&name, metric.value, (0..rank).collect());
            found.push((metric.value, name));
        }
    }
    let look = |value: ValueId| {
        let name = found.iter().find(|(v, _)| *v == value).map_or_else(String::new, |f| f.1.clone());
        (name, graph.value(value).ty.c())
    };
    plan.metrics.iter().map(|m| look(m.value)).collect()
}
