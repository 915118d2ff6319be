//! The graph of a training step: forward, loss, backward and update.
//!
//! In: a graph in training mode, whose updates are its running statistics, and a loss per sample, `[n, c: 1]`. Out: the same
//! graph with updates of weights and slots, the scalar inputs [`RATE`] and, where the optimizer or the accumulation asks for
//! them, [`SIZE`], [`ROOT`] and [`OPEN`], and the outputs [`LOSS`], the batch's mean, and [`NORM`], the square of the norm of all
//! gradients. Names with `@` cannot be written in the language, so they meet no other.
//!
//! Gradients of micro-batches are added up in slots of their own; a step whose [`OPEN`] is 0 only adds. Clipping applies to
//! the sum.
//!
//! **Memory.** Whether a step is finite is known when the last gradient is made. Here every update passes a gate that opens then, so that
//! new elements can be stored where the old ones lie, and all gradients live until then. An update before that would lose the old weight
//! (and the old slot, which rounding keeps from being computed back), unless it is stored elsewhere: the pass `beside` takes the gates out
//! where the run can have twice the memory for weights and slots. Then each gradient goes on to slots and weight where it is made, is
//! itself not stored, and both copies change their parts after a step that is finite. Gradients clipped to a norm of all need the gates.

use super::optimizer::{Optimizer, Scalars};
use crate::grad::{GradError, filled, gradients};
use crate::graph::{Def, Graph, Update, ValueId};
use crate::ops::OpError;
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::init::Init;
use crate::ops::optim::Optim;
use crate::ops::squares::Squares;
use crate::ops::sum::Sum;
use crate::ops::unary::{Unary, UnaryFn};
use crate::tensor::ty::TensorTy;

/// The input with the learning rate.
pub const RATE: &str = "@rate";
/// The input with the corrected step size of Adam.
pub const SIZE: &str = "@size";
/// The input with Adam's correction of the root.
pub const ROOT: &str = "@root";
/// The input that says whether this micro-batch is the last of a step: 1 or 0.
pub const OPEN: &str = "@open";
/// The output with the batch's mean loss.
pub const LOSS: &str = "@loss";
/// The output with the squared norm of the gradients.
pub const NORM: &str = "@norm";
/// The end of the name of a weight's moving average.
pub const AVERAGE: &str = "@average";

/// What keeps gradients small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Each element to `-most ..= most`.
    Value(f32),
    /// All together to this Euclidean norm (Pascanu et al. 2013).
    Norm(f32),
}

/// How a step changes weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The optimizer.
    pub optimizer: Optimizer,
    /// What keeps gradients small.
    pub clip: Option<Clip>,
    /// Micro-batches whose gradients make one step; at least 1.
    pub accumulate: usize,
    /// Keeps a moving average of each weight, and of running statistics, which fit no other weights than those they were
    /// measured with: `a = average a + (1 - average) w` after each step.
    pub average: Option<f32>,
}

/// A step that cannot be built.
#[derive(Clone, Debug)]
pub enum StepError {
    /// Something on the way from the loss to a weight has no gradient.
    Grad(GradError),
    /// No weight that training may change has a part in the loss; where the ways to them end, if there are any: a value and what
    /// makes it.
    NoWeights(Option<(String, String)>),
    /// A bug: a shape rule refuses what was built here.
    Shape(String),
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grad(e) => e.fmt(f),
            Self::NoWeights(None) => f.write_str("the loss depends on no weight that training may change"),
            Self::NoWeights(Some((name, what))) => {
                write!(
                    f,
                    "no gradient reaches a weight: `{name}`, a `{what}`, is a constant nearly everywhere"
                )
            }
            Self::Shape(what) => write!(f, "a training step cannot be built: {what} (this is a bug in cnnc)"),
        }
    }
}

impl std::error::Error for StepError {}

impl From<GradError> for StepError {
    fn from(e: GradError) -> Self {
        Self::Grad(e)
    }
}

impl From<OpError> for StepError {
    fn from(e: OpError) -> Self {
        Self::Shape(e.message)
    }
}

/// Adds the step to `graph`; `loss` has one number per sample.
///
/// # Errors
/// [`StepError`].
pub fn build(graph: &mut Graph, loss: ValueId, settings: &Settings) -> Result<(), StepError> {
    let weights: Vec<ValueId> = graph
        .params()
        .filter(|id| matches!(graph.value(*id).def, Def::Param { trainable: true, .. }))
        .collect();
    let n = graph.value(loss).ty.len().max(1);
    let accumulate = settings.accumulate.max(1);
    let seed = filled(graph, loss, (1.0 / (n * accumulate) as f64) as f32);
    let grads = gradients(graph, &[(loss, seed)], &weights)?;
    let pairs: Vec<(ValueId, ValueId)> =
        weights.into_iter().zip(grads).filter_map(|(w, g)| Some((w, g?))).collect();
    if pairs.is_empty() {
        let weights: Vec<ValueId> = graph.params().collect();
        let stop = crate::grad::stop(graph, loss, &weights);
        let named = stop.map(|id| (graph.value(id).name.clone(), made_by(graph, id)));
        return Err(StepError::NoWeights(named));
    }
    let mut b = Builder { graph };
    let mean = b.mean(loss, n)?;
    let open = (accumulate > 1).then(|| b.scalar(OPEN));
    let (pairs, sums) = b.accumulated(pairs, open)?;
    let norm = b.norm(&pairs)?;
    let pairs = b.clipped(pairs, norm, settings.clip)?;
    let health = b.op("@health", Binary::of(BinaryFn::Add), &[norm, mean])?;
    let one = b.one();
    let finite = b.op("@finite", Optim::Finite, &[health, one])?;
    let gate = match open {
        Some(open) => b.op("@gate", Optim::Finite, &[health, open])?,
        None => finite,
    };
    // Statistics, and sums of gradients, change with every micro-batch.
    let statistics = std::mem::take(&mut b.graph.updates);
    for (u, averaged) in
        statistics.into_iter().map(|u| (u, settings.average)).chain(sums.into_iter().map(|u| (u, None)))
    {
        let name = format!("{}.next", b.graph.value(u.param).name);
        let value = b.op(&name, Optim::Gate, &[u.value, u.param, finite])?;
        b.graph.updates.push(Update { param: u.param, value });
        if let Some(decay) = averaged {
            b.average(u.param, value, decay, finite)?;
        }
    }
    b.updates(&pairs, settings, gate)?;
    b.graph.output(LOSS, mean, Vec::new());
    b.graph.output(NORM, norm, Vec::new());
    Ok(())
}

/// What a value is made by, as messages say it: the function where an operation has several, else its kind.
fn made_by(graph: &Graph, id: ValueId) -> String {
    let Def::Op { op, .. } = &graph.value(id).def else { return "weight".to_owned() };
    let rules = op.rules();
    rules.attrs().word("f").map_or_else(|_| rules.kind().to_owned(), str::to_owned)
}

struct Builder<'g> {
    graph: &'g mut Graph,
}

impl Builder<'_> {
    fn op(
        &mut self,
        name: &str,
        op: impl Into<crate::ops::Op>,
        inputs: &[ValueId],
    ) -> Result<ValueId, StepError> {
        Ok(self.graph.op(name, op, inputs)?.0)
    }

    fn scalar_ty() -> TensorTy {
        TensorTy::new::<&str>([]).unwrap_or_else(|_| unreachable!("one element is not too large"))
    }

    fn scalar(&mut self, name: &str) -> ValueId {
        self.graph.input(name, Self::scalar_ty(), Vec::new())
    }

    fn one(&mut self) -> ValueId {
        self.graph.constant("@one", Self::scalar_ty(), vec![1.0])
    }

    /// The mean of all `n` numbers of `loss`.
    fn mean(&mut self, loss: ValueId, n: usize) -> Result<ValueId, StepError> {
        let sum = self.op("@sum", Sum { kept: Vec::new() }, &[loss])?;
        let share = Number::Right((1.0 / n as f64) as f32);
        self.op("@mean", Binary::with(BinaryFn::Mul, share), &[sum])
    }

    /// Gradients with those of earlier micro-batches, and the updates of the sums.
    fn accumulated(
        &mut self,
        pairs: Vec<(ValueId, ValueId)>,
        open: Option<ValueId>,
    ) -> Result<(Vec<(ValueId, ValueId)>, Vec<Update>), StepError> {
        let Some(open) = open else { return Ok((pairs, Vec::new())) };
        let closed = self.op("@closed", Binary::with(BinaryFn::Sub, Number::Left(1.0)), &[open])?;
        let (mut out, mut updates) = (Vec::new(), Vec::new());
        for (weight, grad) in pairs {
            let (name, ty) = (self.graph.value(weight).name.clone(), self.graph.value(weight).ty.clone());
            let sum = self.graph.param(&format!("{name}@sum"), ty, Init::Constant(0.0), false);
            let total = self.op(&format!("{name}.grad"), Binary::of(BinaryFn::Add), &[sum, grad])?;
            let next = self.op(&format!("{name}@sum.next"), Binary::of(BinaryFn::Mul), &[total, closed])?;
            updates.push(Update { param: sum, value: next });
            out.push((weight, total));
        }
        Ok((out, updates))
    }

    /// The sum of the squares of all gradients.
    fn norm(&mut self, pairs: &[(ValueId, ValueId)]) -> Result<ValueId, StepError> {
        let mut total: Option<ValueId> = None;
        for (weight, grad) in pairs {
            let name = format!("{}.norm", self.graph.value(*weight).name);
            let ty = self.graph.value(*grad).ty.clone();
            let mut part = if ty.dims().len() < 2 {
                self.op(&name, Binary::of(BinaryFn::Mul), &[*grad, *grad])?
            } else {
                self.op(&name, Squares::any(&ty), &[*grad])?
            };
            if !ty.dims().is_empty() {
                part = self.op(&name, Sum { kept: Vec::new() }, &[part])?;
            }
            total = Some(match total {
                None => part,
                Some(so_far) => self.op("@norm", Binary::of(BinaryFn::Add), &[so_far, part])?,
            });
        }
        total.ok_or(StepError::NoWeights(None))
    }

    fn clipped(
        &mut self,
        pairs: Vec<(ValueId, ValueId)>,
        norm: ValueId,
        clip: Option<Clip>,
    ) -> Result<Vec<(ValueId, ValueId)>, StepError> {
        let by = match clip {
            None => return Ok(pairs),
            Some(Clip::Value(_)) => None,
            Some(Clip::Norm(most)) => Some(self.op("@clip", Optim::Clip { most }, &[norm])?),
        };
        let mut out = Vec::new();
        for (weight, grad) in pairs {
            let name = format!("{}.clipped", self.graph.value(weight).name);
            let grad = match (clip, by) {
                (_, Some(by)) => self.op(&name, Binary::of(BinaryFn::Mul), &[grad, by])?,
                (Some(Clip::Value(most)), None) => {
                    self.op(&name, Unary { f: UnaryFn::Clip, args: [-most, most] }, &[grad])?
                }
                (Some(Clip::Norm(_)) | None, None) => grad,
            };
            out.push((weight, grad));
        }
        Ok(out)
    }

    /// The moving average of `param`, whose next value is `next`, in a slot of its own.
    fn average(&mut self, param: ValueId, next: ValueId, decay: f32, gate: ValueId) -> Result<(), StepError> {
        let value = self.graph.value(param).clone();
        let Def::Param { init, .. } = value.def else { return Ok(()) };
        let name = format!("{}{AVERAGE}", value.name);
        let slot = self.graph.param(&name, value.ty, init, false);
        let new = self.op(&format!("{name}.next"), Optim::Average { decay }, &[slot, next])?;
        let new = self.op(&format!("{name}.gated"), Optim::Gate, &[new, slot, gate])?;
        self.graph.update(slot, new);
        Ok(())
    }

    fn updates(
        &mut self,
        pairs: &[(ValueId, ValueId)],
        settings: &Settings,
        gate: ValueId,
    ) -> Result<(), StepError> {
        let rate = self.scalar(RATE);
        let corrected = settings.optimizer.is_corrected();
        let size = corrected.then(|| self.scalar(SIZE));
        let root = corrected.then(|| self.scalar(ROOT));
        let scalars = Scalars { rate, size, root };
        let gated = |graph: &mut Graph, new: ValueId, old: ValueId| {
            let name = format!("{}.gated", graph.value(old).name);
            graph.op(&name, Optim::Gate, &[new, old, gate]).map(|made| made.0)
        };
        for pair in pairs {
            let (next, slots) = settings.optimizer.apply(self.graph, *pair, &scalars, &gated)?;
            for (slot, value) in slots {
                self.graph.update(slot, value);
            }
            if let Some(decay) = settings.average {
                self.average(pair.0, next, decay, gate)?;
            }
            self.graph.update(pair.0, next);
        }
        Ok(())
    }
}
