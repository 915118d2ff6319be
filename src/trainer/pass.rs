//! The passes of training one by one, for measurements: the network as it is, a step, or single gradients.
//!
//! In: a net's graph and a pass. Out: the graph to compile, and what its inputs are filled with.
//!
//! * `train`: one step as `cnnc train` compiles it. The net in training mode (batch statistics, dropout), the mean cross-entropy
//!   of its first output against random classes along channels, at every position of the grid (a last softmax is part of
//!   the loss), backward, and an update by SGD with momentum 0.9 and weight decay 1e-4.
//! * `data-grad`: the gradient by the first input, from a gradient by the first output that is an input.
//! * `weight-grad`: the gradients by all weights, likewise; they are stored where the weights lie, as in a step.

use crate::grad;
use crate::graph::{Def, Graph, ValueId};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::{Op, OpError};
use crate::session::{CompileError, Compiler, Model, Network};
use crate::tensor::ty::TensorTy;
use crate::train::{Optimizer, Settings, mode, step};

/// The input with the gradient by the output.
const GRADIENT: &str = "@dy";

/// The input with the classes.
const CLASSES: &str = "@classes";

/// What a measurement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The network, inputs to outputs.
    Forward,
    /// A training step.
    Train,
    /// The gradient by the input.
    DataGrad,
    /// The gradients by the weights.
    WeightGrad,
}

/// What an input is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Normal numbers.
    Normal,
    /// Whole numbers below this.
    Classes(usize),
    /// One number.
    Constant(f32),
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Work {
    graph: Graph,
    /// The inputs that are not filled with normal numbers.
    fills: Vec<(String, Fill)>,
    /// The graph holds the forward pass for its layouts only: its steps do not count.
    forward_apart: bool,
}

impl Work {
    /// The model, and the names of its steps that are no part of the pass.
    ///
    /// # Errors
    /// As [`Compiler::compile_graph`].
    pub fn compile(&self, compiler: &Compiler, net: &Network) -> Result<(Model, Vec<String>), CompileError> {
        let model = compiler.compile_graph(self.graph.clone())?;
        if !self.forward_apart {
            return Ok((model, Vec::new()));
        }
        let forward = compiler.compile_graph(net.graph.clone())?;
        let apart = forward.step_names().map(str::to_owned).collect();
        Ok((model, apart))
    }

    /// What the input `name` is filled with.
    pub fn fill(&self, name: &str) -> Fill {
        self.fills.iter().find(|f| f.0 == name).map_or(Fill::Normal, |f| f.1)
    }
}

/// The graph of `pass`.
///
/// # Errors
/// A sentence when the net has no such pass: no weights, no output with channels, an operation without gradient.
pub fn work(net: &Network, pass: Pass) -> Result<Work, String> {
    let mut work = Work { graph: net.graph.clone(), fills: Vec::new(), forward_apart: false };
    match pass {
        Pass::Forward => {}
        Pass::Train => train(&mut work)?,
        Pass::DataGrad => {
            let input = first_input(&work.graph)?;
            let seed = seed(&mut work.graph)?;
            let found = gradient(&mut work.graph, seed, &[input])?;
            let dx = found.into_iter().next().flatten().ok_or("the first output depends on no input")?;
            work.graph.outputs.clear();
            work.graph.output("dx", dx, order(&work.graph, dx));
        }
        Pass::WeightGrad => {
            let weights = weights(&work.graph);
            let seed = seed(&mut work.graph)?;
            let found = gradient(&mut work.graph, seed, &weights)?;
            let pairs: Vec<_> = weights.into_iter().zip(found).filter_map(|(w, g)| Some((w, g?))).collect();
            if pairs.is_empty() {
                return Err("it has no weights whose gradient could be measured".into());
            }
            pairs.into_iter().for_each(|(w, g)| work.graph.update(w, g));
            work.forward_apart = true;
        }
    }
    Ok(work)
}

fn order(graph: &Graph, id: ValueId) -> Vec<usize> {
    (0..graph.value(id).ty.dims().len()).collect()
}

fn first_input(graph: &Graph) -> Result<ValueId, String> {
    graph.inputs.first().map(|p| p.value).ok_or_else(|| "it takes no input".into())
}

fn weights(graph: &Graph) -> Vec<ValueId> {
    let trained = |id: &ValueId| matches!(graph.value(*id).def, Def::Param { trainable: true, .. });
    graph.params().filter(trained).collect()
}

/// The first output, and the input with the gradient by it.
fn seed(graph: &mut Graph) -> Result<(ValueId, ValueId), String> {
    let y = graph.outputs.first().map(|p| p.value).ok_or("it has no output")?;
    let (ty, order) = (graph.value(y).ty.clone(), order(graph, y));
    Ok((y, graph.input(GRADIENT, ty, order)))
}

fn gradient(
    graph: &mut Graph,
    seed: (ValueId, ValueId),
    wrt: &[ValueId],
) -> Result<Vec<Option<ValueId>>, String> {
    grad::gradients(graph, &[seed], wrt).map_err(|e| e.to_string())
}

fn train(work: &mut Work) -> Result<(), String> {
    let shape = |e: OpError| e.message;
    let graph = &mut work.graph;
    let mut out = graph.outputs.first().map(|p| p.value).ok_or("it has no output")?;
    if let Def::Op { op: Op::Softmax(_), inputs } = &graph.value(out).def {
        out = inputs[0];
    }
    let ty = graph.value(out).ty.clone();
    if !ty.is_activation() || ty.c() < 2 {
        return Err(format!(
            "a training step is measured on classes along channels, two or more of them; the output is {ty} (`cnnc train` takes any loss)"
        ));
    }
    let dims = ty.names().iter().zip(ty.dims()).map(|(n, e)| (n.clone(), if &**n == "c" { 1 } else { *e }));
    let label = TensorTy::new(dims).map_err(|_| "its output is too large")?;
    let rank = label.dims().len();
    let label = graph.input(CLASSES, label, (0..rank).collect());
    work.fills.push((CLASSES.to_owned(), Fill::Classes(ty.c())));
    let loss = CrossEntropy { logits: true, smooth: 0.0, ignore: None };
    let loss = graph.op("loss", loss, &[out, label]).map_err(shape)?.0;
    graph.outputs.clear();
    graph.output("@each", loss, vec![0, 1]);
    let (mut graph, drops) = mode::training(graph).map_err(shape)?;
    work.fills.extend(drops.into_iter().map(|d| (d.name, Fill::Constant(1.0))));
    let loss = graph.outputs.pop().map(|p| p.value).ok_or("the loss is lost")?;
    let optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: false, decay: 1e-4 };
    let settings = Settings { optimizer, clip: None, accumulate: 1, average: None };
    step::build(&mut graph, loss, &settings).map_err(|e| e.to_string())?;
    work.fills.push((step::RATE.to_owned(), Fill::Constant(1e-4)));
    work.graph = graph;
    Ok(())
}
