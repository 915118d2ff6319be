//! Gradients of a model's outputs by its inputs and weights, as a compiled network of its own: what a training loop of one's own,
//! a saliency map or an adversarial input is made of.
//!
//! In: a [`Model`], names of outputs and of inputs or weights. Out: [`Gradients`], which runs the network forwards and backwards in
//! one go. What stands at an output is its **cotangent**, the derivative of the user's quantity by that output, of the output's
//! shape; the gradient by `x` is then the sum over all outputs `y` of `cotangent(y) · dy/dx`, of the shape of `x`. An output of one
//! element needs none: it is the quantity.
//!
//! ```
//! use cnnc::{Compiler, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let net = "net Dot(x: [c: 3]) -> [c: 1] { x |> dense(1, bias: false) as y }";
//! let model = Compiler::new(Options::default()).compile_text(net)?;
//! let mut gradients = model.gradients(&["out"], &["x", "y.weight"])?;
//! gradients.model_mut().set_weight("y.weight", (&[1.0, 2.0, 3.0][..]).into())?;
//! let found = gradients.run(&[("x", (&[4.0, 5.0, 6.0][..]).into())], &[])?;
//! assert_eq!(found.outputs["out"].data(), [32.0]);
//! assert_eq!(found.gradients["x"].data(), [1.0, 2.0, 3.0]);
//! assert_eq!(found.gradients["y.weight"].data(), [4.0, 5.0, 6.0]);
//! # Ok(())
//! # }
//! ```
//!
//! **Batch normalisation and dropout** are differentiated as the model computes them: by running statistics, and passing all. A
//! model in training mode ([`Model::training`]) normalises by the batch and takes masks as inputs.
//!
//! Class numbers have no gradient (it is 0), nor has what no output depends on.

use std::collections::BTreeMap;

use super::compiler::Compiler;
use super::error::{CompileError, RunError, WeightError};
use super::model::Model;
use super::ports::{Outputs, Port};
use crate::grad::GradError;
use crate::graph::{Graph, ValueId};
use crate::support::Name;
use crate::support::diag::nearest;
use crate::tensor::owned::{Tensor, TensorView};
use crate::train::mode::{self, Drop};

/// Before the name of an output whose cotangent an input is; before the name of what a gradient is by. The language has no such
/// names.
const COTANGENT: &str = "@by.";

/// A network that computes outputs and gradients; see the module.
#[derive(Clone, Debug)]
pub struct Gradients {
    model: Model,
    outputs: usize,
    /// The outputs that have cotangents.
    of: Vec<Port>,
    /// Inputs and weights with their shapes, and the output that holds the gradient; `None`: it is 0.
    by: Vec<(Port, Option<usize>)>,
}

/// What a run of [`Gradients`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The network's outputs, all of them.
    pub outputs: Outputs,
    /// A gradient for each input and weight that was asked for, in that order, under its name and in its shape: inputs as the
    /// program declares them, batch first; weights as weight files have them.
    pub gradients: Outputs,
}

/// Gradients that cannot be computed.
#[derive(Debug)]
pub enum GradientsError {
    /// The network has no output, or neither input nor weight, of that name.
    Unknown {
        /// `output`, or `input or weight`.
        what: &'static str,
        /// The name.
        name: String,
        /// The nearest that there is.
        nearest: Option<String>,
    },
    /// A name was given twice.
    Twice {
        /// The name.
        name: String,
    },
    /// An output of several elements was given no cotangent.
    Cotangent {
        /// The output.
        name: String,
        /// Its shape.
        shape: String,
    },
    /// An operation on the way has no gradient.
    Grad(GradError),
    /// A batch of too few elements to normalise by.
    Batch(String),
    /// The code could not be made.
    Compile(CompileError),
    /// The weights could not be taken over: memory is short.
    Weights(WeightError),
    /// The run did not take place.
    Run(RunError),
}

impl std::fmt::Display for GradientsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { what, name, nearest: Some(near) } => {
                write!(f, "the network has no {what} `{name}`; did you mean `{near}`?")
            }
            Self::Unknown { what, name, nearest: None } => write!(f, "the network has no {what} `{name}`"),
            Self::Twice { name } => write!(f, "`{name}` is given twice"),
            Self::Cotangent { name, shape } => {
                write!(
                    f,
                    "output `{name}` is {shape}: it needs a cotangent of that shape, for only one number has a gradient"
                )
            }
            Self::Grad(e) => e.fmt(f),
            Self::Batch(what) => f.write_str(what),
            Self::Compile(e) => e.fmt(f),
            Self::Weights(e) => e.fmt(f),
            Self::Run(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for GradientsError {}

impl From<GradError> for GradientsError {
    fn from(e: GradError) -> Self {
        Self::Grad(e)
    }
}

impl From<CompileError> for GradientsError {
    fn from(e: CompileError) -> Self {
        Self::Compile(e)
    }
}

impl From<RunError> for GradientsError {
    fn from(e: RunError) -> Self {
        Self::Run(e)
    }
}

impl From<WeightError> for GradientsError {
    fn from(e: WeightError) -> Self {
        Self::Weights(e)
    }
}

impl Model {
    /// Compiles the gradients of the outputs `of` by the inputs and weights `by`. They begin with the weights that this model has
    /// now, and keep their own from then on ([`Gradients::model_mut`]). Where an input and a weight have one name, it is the
    /// input's.
    ///
    /// # Errors
    /// [`GradientsError`] for names that the network does not have or that come twice, an operation without gradient on the way,
    /// and what compiling says.
    pub fn gradients(&self, of: &[&str], by: &[&str]) -> Result<Gradients, GradientsError> {
        let mut graph = self.compiled.source.clone();
        let targets = targets(&graph, by)?;
        let outputs = graph.outputs.len();
        let (mut seeds, mut seeded) = (Vec::new(), Vec::new());
        for (i, name) in of.iter().enumerate() {
            let Some(port) = graph.outputs.iter().find(|p| *p.name == **name).cloned() else {
                let known: Vec<&str> = graph.outputs.iter().map(|p| &*p.name).collect();
                return Err(unknown("output", name, &known));
            };
            if of[..i].contains(name) {
                return Err(GradientsError::Twice { name: (*name).to_owned() });
            }
            let ty = graph.value(port.value).ty.clone();
            let seed = graph.input(&format!("{COTANGENT}{name}"), ty, port.order.clone());
            seeds.push((port.value, seed));
            seeded.push(Port::of(&graph, &port));
        }
        let wrt: Vec<ValueId> = targets.iter().map(|t| t.0).collect();
        let grads = crate::grad::gradients(&mut graph, &seeds, &wrt)?;
        let mut by = Vec::new();
        for ((id, name, order), grad) in targets.into_iter().zip(grads) {
            let port = crate::graph::Port { name: name.clone(), value: id, order: order.clone() };
            let at = grad.map(|g| {
                graph.output(&format!("{COTANGENT}{name}"), g, order);
                graph.outputs.len() - 1
            });
            by.push((Port::of(&graph, &port), at));
        }
        let model = self.again(graph)?;
        Ok(Gradients { model, outputs, of: seeded, by })
    }

    /// The model in training mode, with the weights that it has now: batch normalisation by the statistics of the batch, whose
    /// running ones each [`Model::run_mut`] moves; dropout by masks, which are inputs of their own ([`Drop::mask`] makes them).
    ///
    /// # Errors
    /// [`GradientsError::Batch`] when a batch has too few elements to have a variance; what compiling says.
    pub fn training(&self) -> Result<(Self, Vec<Drop>), GradientsError> {
        let trained = mode::training(&self.compiled.source);
        let (graph, drops) = trained.map_err(|e| GradientsError::Batch(e.message))?;
        Ok((self.again(graph)?, drops))
    }

    /// Lets `change` rewrite weights, one after another in the order of [`Model::weights`], by name and elements (the last
    /// dimension fastest); what depends on them is computed once, behind the last. Other clones keep the weights they have.
    ///
    /// # Errors
    /// [`RunError::Memory`].
    pub fn change_weights(&mut self, change: &mut dyn FnMut(&str, &mut [f32])) -> Result<(), RunError> {
        let mut store = self.copied_store()?;
        let compiled = &self.compiled;
        let graph = &compiled.program.work.graph;
        for id in graph.params() {
            let mut data = compiled.gather(id, &store);
            change(&graph.value(id).name, &mut data);
            compiled.scatter(id, &data, &mut store);
        }
        self.replace(store)
    }

    /// A model of another graph with this one's options, threads and weights.
    fn again(&self, graph: Graph) -> Result<Self, GradientsError> {
        let compiler = Compiler::new(self.compiled.options.clone());
        let mut model = compiler.compile_graph(graph)?.with_executor(self.executor_arc());
        let mut weights: BTreeMap<String, Tensor> = BTreeMap::new();
        for info in self.weights() {
            weights.extend(self.weight(&info.name)?.map(|t| (info.name, t)));
        }
        model.load_weights(&mut weights)?;
        Ok(model)
    }
}

/// What gradients are by: the value, its name, the order of its axes.
fn targets(graph: &Graph, by: &[&str]) -> Result<Vec<(ValueId, Name, Vec<usize>)>, GradientsError> {
    let mut out: Vec<(ValueId, Name, Vec<usize>)> = Vec::new();
    for (i, name) in by.iter().enumerate() {
        if by[..i].contains(name) {
            return Err(GradientsError::Twice { name: (*name).to_owned() });
        }
        if let Some(port) = graph.inputs.iter().find(|p| *p.name == **name) {
            out.push((port.value, port.name.clone(), port.order.clone()));
            continue;
        }
        let Some(id) = graph.params().find(|id| graph.value(*id).name == **name) else {
            let inputs = graph.inputs.iter().map(|p| &*p.name);
            let known: Vec<&str> =
                inputs.chain(graph.params().map(|id| graph.value(id).name.as_str())).collect();
            return Err(unknown("input or weight", name, &known));
        };
        let value = graph.value(id);
        out.push((id, value.name.as_str().into(), (0..value.ty.dims().len()).collect()));
    }
    Ok(out)
}

fn unknown(what: &'static str, name: &str, known: &[&str]) -> GradientsError {
    let nearest = nearest(name, known.iter().copied()).map(str::to_owned);
    GradientsError::Unknown { what, name: name.to_owned(), nearest }
}

impl Gradients {
    /// Runs the network forwards and backwards once. Inputs and cotangents are given by name, as [`Model::run`] takes inputs; a
    /// cotangent has the shape of its output, and may be left out where that is one element: it is 1 then. A model in training
    /// mode moves its running statistics.
    ///
    /// # Errors
    /// [`GradientsError::Cotangent`] when one is missing, [`GradientsError::Unknown`] for one of an output whose gradients were not
    /// asked for, [`GradientsError::Run`] for inputs that do not fit.
    pub fn run(
        &mut self,
        inputs: &[(&str, TensorView<'_>)],
        cotangents: &[(&str, TensorView<'_>)],
    ) -> Result<Found, GradientsError> {
        for (i, (name, _)) in cotangents.iter().enumerate() {
            if !self.of.iter().any(|p| *p.name == **name) {
                let known: Vec<&str> = self.of.iter().map(|p| &*p.name).collect();
                return Err(unknown("output with gradients", name, &known));
            }
            if cotangents[..i].iter().any(|(other, _)| other == name) {
                return Err(GradientsError::Twice { name: (*name).to_owned() });
            }
        }
        let mut given: Vec<(String, TensorView<'_>)> = Vec::new();
        for port in &self.of {
            let found =
                cotangents.iter().find(|(name, _)| **name == *port.name).map(|(_, view)| view.clone());
            let view = match found {
                // A shape that does not fit is an error of the output, not of an input that nobody named.
                Some(view) => {
                    port.arrange(&view)?;
                    view
                }
                None if port.len() == 1 => TensorView::from(&ONE[..]),
                None => {
                    let (name, shape) = (port.name.to_string(), port.show());
                    return Err(GradientsError::Cotangent { name, shape });
                }
            };
            given.push((format!("{COTANGENT}{}", port.name), view));
        }
        let views = given.iter().map(|(name, view)| (name.as_str(), view.clone()));
        let all: Vec<(&str, TensorView<'_>)> = inputs.iter().cloned().chain(views).collect();
        let mut tensors: Vec<(Name, Option<Tensor>)> =
            self.model.run_mut(&all)?.into_vec().into_iter().map(|(name, t)| (name, Some(t))).collect();
        let mut gradients = Vec::new();
        for (port, at) in &self.by {
            let made = at.and_then(|at| tensors.get_mut(at)).and_then(|t| t.1.take());
            let tensor = made.unwrap_or_else(|| Tensor::of(port.axes.clone(), vec![0.0; port.len()]));
            gradients.push((port.name.clone(), Tensor::of(port.axes.clone(), tensor.into_data())));
        }
        tensors.truncate(self.outputs);
        let outputs = tensors.into_iter().filter_map(|(name, t)| Some((name, t?))).collect();
        Ok(Found { outputs: Outputs::from_vec(outputs), gradients: Outputs::from_vec(gradients) })
    }

    /// The network of forward and backward pass, for its weights.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The same, to change its weights: [`Model::set_weight`], [`Model::load_weights`], [`Model::change_weights`].
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }
}

const ONE: [f32; 1] = [1.0];
