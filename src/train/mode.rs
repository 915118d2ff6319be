//! A network as training runs it. In: a net's graph. Out: the same with batch normalisation by the statistics of the batch,
//! whose running ones are updates, and with dropout by masks, which are inputs.
//!
//! * `batchnorm` (Ioffe & Szegedy 2015): `mean = Σ x / N`, `var = Σ (x - mean)² / N` per channel over batch and grid, in two
//!   passes; `y = (x - mean) / sqrt(var + eps) * weight + bias`. Running statistics move by `momentum` towards the batch's,
//!   the variance as `N / (N - 1)` of it (PyTorch's form). The gradient goes through both statistics: two reductions and one
//!   elementwise operation, see [`crate::ops::batchnorm_grad`].
//! * `dropout`: `y = x * mask` with elements 0 and `1 / (1 - rate)` ([`Drop`] says which).

use crate::graph::{Def, Graph, Update, Value, ValueId};
use crate::ops::batchnorm::BatchNorm;
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::identity::Identity;
use crate::ops::moment::Moment;
use crate::ops::{Op, OpError};
use crate::support::random::Random;

/// A mask that a step takes as an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Drop {
    /// The input.
    pub name: String,
    /// Elements.
    pub len: usize,
    /// The probability of 0.
    pub rate: f32,
}

impl Drop {
    /// The mask of a batch, counted from the start of the training: numbers by counter of (seed, layer, batch, element).
    pub fn mask(&self, seed: u64, batch: u64) -> Vec<f32> {
        let random = Random::new(seed, &self.name).stream(batch);
        let kept = 1.0 / (1.0 - self.rate);
        let keep = |i: u64| random.unit(i) >= f64::from(self.rate);
        (0..self.len as u64).map(|i| if keep(i) { kept } else { 0.0 }).collect()
    }
}

/// The graph in training mode, and its masks.
///
/// # Errors
/// None but those of shape rules, and a batch of too few elements to have a variance.
pub fn training(old: &Graph) -> Result<(Graph, Vec<Drop>), OpError> {
    let mut t = Mode { old, new: Graph::new(&old.name), map: Vec::new(), drops: Vec::new() };
    for id in old.ids() {
        let new = t.value(id)?;
        t.map.push(new);
    }
    for port in &old.outputs {
        let value = t.map[port.value.index()];
        t.new.output(&port.name, value, port.order.clone());
    }
    for u in &old.updates {
        let (param, value) = (t.map[u.param.index()], t.map[u.value.index()]);
        t.new.updates.push(Update { param, value });
    }
    Ok((t.new, t.drops))
}

struct Mode<'a> {
    old: &'a Graph,
    new: Graph,
    /// What stands for each old value.
    map: Vec<ValueId>,
    drops: Vec<Drop>,
}

impl Mode<'_> {
    fn value(&mut self, id: ValueId) -> Result<ValueId, OpError> {
        let value = self.old.value(id).clone();
        let inputs: Vec<ValueId> = self.old.uses(id).iter().map(|i| self.map[i.index()]).collect();
        match &value.def {
            Def::Input(i) => {
                let port = &self.old.inputs[*i];
                Ok(self.new.input(&port.name, value.ty, port.order.clone()))
            }
            Def::Op { op: Op::BatchNorm(norm), .. } => {
                let (eps, momentum) = (norm.eps, norm.momentum);
                let first = self.new.values.len();
                let made = self.batchnorm(&value, &inputs, eps, momentum);
                // The place in the source is that of the layer.
                self.new.values[first..].iter_mut().for_each(|v| v.span = value.span);
                made
            }
            Def::Op { op: Op::Identity(Identity::Dropout { rate }), .. } if *rate > 0.0 => {
                let name = format!("@drop.{}", value.name);
                let order = (0..value.ty.dims().len()).collect();
                self.drops.push(Drop { name: name.clone(), len: value.ty.len(), rate: *rate });
                let mask = self.new.input(&name, value.ty.clone(), order);
                self.op(&value.name, Binary::of(BinaryFn::Mul), &[inputs[0], mask])
            }
            Def::Op { op, .. } => {
                let def = Def::Op { op: op.clone(), inputs };
                self.new.values.push(Value { def, ..value });
                Ok(ValueId(self.new.values.len() as u32 - 1))
            }
            Def::Param { .. } | Def::Const(_) => {
                self.new.values.push(value);
                Ok(ValueId(self.new.values.len() as u32 - 1))
            }
        }
    }

    fn op(&mut self, name: &str, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, OpError> {
        Ok(self.new.op(name, op, inputs)?.0)
    }

    fn scaled(&mut self, name: &str, x: ValueId, by: f64) -> Result<ValueId, OpError> {
        self.op(name, Binary::with(BinaryFn::Mul, Number::Right(by as f32)), &[x])
    }

    fn batchnorm(
        &mut self,
        value: &Value,
        inputs: &[ValueId],
        eps: f32,
        momentum: f32,
    ) -> Result<ValueId, OpError> {
        let [x, weight, bias, running_mean, running_var] = *inputs else {
            return Err(OpError::new(crate::support::codes::E0109, "`batchnorm` has five inputs"));
        };
        let named = |what: &str| format!("{}.{what}", value.name);
        let (c, all) = (value.ty.c(), value.ty.len());
        let n = all / c.max(1);
        if n < 2 {
            let message = format!(
                "`{}` sees one element a channel in a batch, which has no variance: a larger `batch` is needed",
                value.name
            );
            return Err(OpError::new(crate::support::codes::E0603, message));
        }
        let mean = self.op(&named("mean"), Moment::Mean, &[x])?;
        let var = self.op(&named("var"), Moment::Var, &[x, mean])?;
        let norm = BatchNorm { eps, momentum, batch: true };
        let y = self.op(&value.name, norm, &[x, weight, bias, mean, var])?;
        let unbiased = self.scaled(&named("unbiased"), var, n as f64 / (n - 1) as f64)?;
        for (param, now) in [(running_mean, mean), (running_var, unbiased)] {
            // A layer that is applied several times moves its statistics as often.
            let before = self.new.updates.iter().position(|u| u.param == param);
            let last = before.map_or(param, |i| self.new.updates[i].value);
            let old = self.scaled(&named("kept"), last, 1.0 - f64::from(momentum))?;
            let new = self.scaled(&named("new"), now, f64::from(momentum))?;
            let next = self.op(&named("running"), Binary::of(BinaryFn::Add), &[old, new])?;
            match before {
                Some(i) => self.new.updates[i].value = next,
                None => self.new.update(param, next),
            }
        }
        Ok(y)
    }
}
