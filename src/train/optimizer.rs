//! Optimizers as graph builders: from a weight and its gradient to the weight's next elements and those of its slots. The
//! formulas, defaults and the order of operations are PyTorch's (`torch.optim`), bias corrections included.

use crate::graph::{Graph, ValueId};
use crate::ops::OpError;
use crate::ops::init::Init;
use crate::ops::optim::Optim;

/// How weights follow their gradients. `decay` adds `decay * w` to the gradient, but for [`Optimizer::AdamW`], which
/// takes `rate * decay * w` off the weight.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "PyTorch's names")]
pub enum Optimizer {
    /// `m = momentum m + g`, `w -= rate m`; `nesterov`: `w -= rate (g + momentum m)`.
    Sgd { momentum: f32, nesterov: bool, decay: f32 },
    /// Kingma & Ba 2015.
    Adam { beta1: f32, beta2: f32, eps: f32, decay: f32 },
    /// Adam with decoupled decay (Loshchilov & Hutter 2019).
    AdamW { beta1: f32, beta2: f32, eps: f32, decay: f32 },
    /// `v = rho v + (1 - rho) g^2`, `w -= rate g / (sqrt(v) + eps)` (Tieleman & Hinton 2012), with momentum over the quotient.
    RmsProp { rho: f32, eps: f32, momentum: f32, decay: f32 },
    /// `v += g^2`, `w -= rate g / (sqrt(v) + eps)` (Duchi et al. 2011).
    Adagrad { eps: f32, decay: f32 },
}

/// The numbers of a step that hold for all elements, as inputs of the graph.
#[derive(Clone, Copy, Debug)]
pub struct Scalars {
    /// The learning rate.
    pub rate: ValueId,
    /// `rate / (1 - beta1^t)`; of Adam alone.
    pub size: Option<ValueId>,
    /// `1 / sqrt(1 - beta2^t)`; of Adam alone.
    pub root: Option<ValueId>,
}

/// A slot and its next elements.
pub type Slot = (ValueId, ValueId);

impl Optimizer {
    /// The name in the language.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sgd { .. } => "sgd",
            Self::Adam { .. } => "adam",
            Self::AdamW { .. } => "adamw",
            Self::RmsProp { .. } => "rmsprop",
            Self::Adagrad { .. } => "adagrad",
        }
    }

    /// Whether it corrects the bias of its first steps.
    pub fn is_corrected(&self) -> bool {
        match self {
            Self::Adam { .. } | Self::AdamW { .. } => true,
            Self::Sgd { .. } | Self::RmsProp { .. } | Self::Adagrad { .. } => false,
        }
    }

    /// `size` and `root` of step `t`, which counts from 1, at this rate.
    pub fn corrections(&self, t: u64, rate: f64) -> (f64, f64) {
        match self {
            Self::Adam { beta1, beta2, .. } | Self::AdamW { beta1, beta2, .. } => {
                let power = |beta: f32| libm::pow(exact(beta), t as f64);
                (rate / (1.0 - power(*beta1)), 1.0 / libm::sqrt(1.0 - power(*beta2)))
            }
            Self::Sgd { .. } | Self::RmsProp { .. } | Self::Adagrad { .. } => (rate, 1.0),
        }
    }

    /// Adds the slots of `weight`, and what the step makes of it and them from the gradient: the weight's next elements, and
    /// each slot with its own. `gate` is applied to every new value beside the old one.
    ///
    /// # Errors
    /// None but those of shape rules, which the types rule out.
    pub fn apply(
        &self,
        graph: &mut Graph,
        (weight, grad): (ValueId, ValueId),
        scalars: &Scalars,
        gate: &dyn Fn(&mut Graph, ValueId, ValueId) -> Result<ValueId, OpError>,
    ) -> Result<(ValueId, Vec<Slot>), OpError> {
        let name = graph.value(weight).name.clone();
        let ty = graph.value(weight).ty.clone();
        let rate = scalars.rate;
        let mut slots: Vec<Slot> = Vec::new();
        let mut slot = |graph: &mut Graph, what: &str, rule: Optim, rest: &[ValueId]| {
            let old = graph.param(&format!("{name}@{what}"), ty.clone(), Init::Constant(0.0), false);
            let inputs: Vec<ValueId> = std::iter::once(old).chain(rest.iter().copied()).collect();
            let (new, _) = graph.op(&format!("{name}@{what}.next"), rule, &inputs)?;
            let new = gate(graph, new, old)?;
            slots.push((old, new));
            Ok::<ValueId, OpError>(new)
        };
        let op = |graph: &mut Graph, rule: Optim, inputs: &[ValueId]| {
            graph.op(&format!("{name}.next"), rule, inputs).map(|made| made.0)
        };
        let new = match *self {
            Self::Sgd { momentum, decay, .. } if momentum == 0.0 => {
                op(graph, Optim::Sgd { decay }, &[weight, grad, rate])?
            }
            Self::Sgd { momentum, nesterov, decay } => {
                let m = slot(graph, "momentum", Optim::Momentum { momentum, decay }, &[grad, weight])?;
                let by = match nesterov {
                    false => m,
                    true => op(graph, Optim::Nesterov { momentum, decay }, &[grad, m, weight])?,
                };
                op(graph, Optim::Step, &[weight, by, rate])?
            }
            Self::Adam { beta1, beta2, eps, decay } | Self::AdamW { beta1, beta2, eps, decay } => {
                let apart = matches!(self, Self::AdamW { .. });
                let (coupled, decoupled) = if apart { (0.0, decay) } else { (decay, 0.0) };
                let m = slot(graph, "mean", Optim::Mean { beta: beta1, decay: coupled }, &[grad, weight])?;
                let square = Optim::Square { beta: beta2, share: rest(beta2), decay: coupled };
                let v = slot(graph, "square", square, &[grad, weight])?;
                let (size, root) = (scalars.size.unwrap_or(rate), scalars.root.unwrap_or(rate));
                op(graph, Optim::Adam { eps, decay: decoupled }, &[weight, m, v, rate, size, root])?
            }
            Self::RmsProp { rho, eps, momentum, decay } => {
                let square = Optim::Square { beta: rho, share: rest(rho), decay };
                let v = slot(graph, "square", square, &[grad, weight])?;
                let by = op(graph, Optim::Scaled { eps, decay }, &[grad, v, weight])?;
                let by = match momentum {
                    0.0 => by,
                    _ => slot(graph, "momentum", Optim::Momentum { momentum, decay: 0.0 }, &[by, weight])?,
                };
                op(graph, Optim::Step, &[weight, by, rate])?
            }
            Self::Adagrad { eps, decay } => {
                let square = Optim::Square { beta: 1.0, share: 1.0, decay };
                let v = slot(graph, "square", square, &[grad, weight])?;
                let by = op(graph, Optim::Scaled { eps, decay }, &[grad, v, weight])?;
                op(graph, Optim::Step, &[weight, by, rate])?
            }
        };
        Ok((gate(graph, new, weight)?, slots))
    }
}

/// The decimal that was written for an `f32`: 0.999 and not 0.99900001287.
fn exact(x: f32) -> f64 {
    format!("{x}").parse().unwrap_or(f64::from(x))
}

/// `1 - share`, as if in decimals.
fn rest(share: f32) -> f32 {
    (1.0 - exact(share)) as f32
}
