//! The two networks of a training: the step, and the one that evaluates. Both have the batch of the settings, and an output in
//! the order of its type for every layer that a metric looks at.

use super::error::TrainError;
use super::loss::Losses;
use super::metric::Metric;
use super::plan::Plan;
use super::sound;
use crate::data::{Parts, Want};
use crate::graph::{Graph, ValueId};
use crate::resolve::Network;
use crate::session::{Compiler, Model};
use crate::support::Name;
use crate::tensor::ty::TensorTy;
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
    /// For each metric what it looks at.
    pub(super) looks: Vec<Look>,
    /// Masks that a step takes.
    pub(super) drops: Vec<Drop>,
    /// What the program says the step is.
    pub(super) text: String,
}

/// Where a metric's numbers come from.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The output that it looks at.
    pub(super) output: String,
    /// The output with the truth; `None` when the data gives it.
    pub(super) truth: Option<String>,
    /// Channels of the output.
    pub(super) channels: usize,
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
    let mut losses =
        Losses { graph: &mut graph, parts, batch: plan.batch, fields: Vec::new(), labels: Vec::new() };
    let each = losses.build(&plan.loss)?;
    for metric in &plan.metrics {
        let truth = match metric.truth_value {
            Some(value) => value,
            None => losses.field(&metric.truth, Some(metric.value))?,
        };
        fits(losses.graph, metric, truth)?;
    }
    sound::labels(&losses.labels, parts)?;
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
            step::StepError::NoWeights(_) | step::StepError::Shape(_) => Some(plan.loss_span),
        };
        TrainError::Step(e, span)
    })?;
    let text = crate::graph::print::summary(&graph);
    let step = compiler.compile_graph(graph)?;
    Ok(Built { step, eval, plain, wants, looks, drops, text })
}

/// Whether a metric can be taken of these two.
fn fits(graph: &Graph, metric: &Metric, truth: ValueId) -> Result<(), TrainError> {
    let (a, b) = (&graph.value(metric.value).ty, &graph.value(truth).ty);
    let same_grid = a.grid_names() == b.grid_names() && a.grid_dims() == b.grid_dims();
    let positions = |ty: &TensorTy| ty.grid_dims().iter().product::<usize>();
    let (fit, wanted) = match metric.kind.is_class() {
        // A lone label and a grid of one position are the same.
        true => {
            (b.c() == 1 && (same_grid || positions(a) == 1 && positions(b) == 1), "a class for each position")
        }
        false => (same_grid && a.c() == b.c(), "numbers of the same shape"),
    };
    if fit {
        return Ok(());
    }
    Err(TrainError::Setting(format!(
        "`{}({}, {})` compares {} with {wanted}, not with {}",
        metric.kind.name(),
        metric.output,
        metric.truth,
        a.show(),
        b.show()
    )))
}

/// Gives every value that a metric looks at an output, in place of the net's own.
fn looked_at(graph: &mut Graph, plan: &Plan) -> Vec<Look> {
    graph.outputs.clear();
    let mut found: Vec<(ValueId, String)> = Vec::new();
    let mut output = |value: ValueId| {
        if let Some((_, name)) = found.iter().find(|(v, _)| *v == value) {
            return name.clone();
        }
        let name = format!("@{}", found.len());
        let rank = graph.value(value).ty.dims().len();
        graph.output(&name, value, (0..rank).collect());
        found.push((value, name.clone()));
        name
    };
    let outputs: Vec<(String, Option<String>)> =
        plan.metrics.iter().map(|m| (output(m.value), m.truth_value.map(&mut output))).collect();
    let look = |(output, truth), m: &Metric| Look { output, truth, channels: graph.value(m.value).ty.c() };
    outputs.into_iter().zip(&plan.metrics).map(|(o, m)| look(o, m)).collect()
}
