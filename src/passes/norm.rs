//! Batch normalisation by stored statistics is `x * s + t` per channel. Where `x` comes from an operation that is linear in
//! its weight and nobody else reads it, `s` goes into the weight and `t` into the bias, and the normalisation is gone;
//! elsewhere it stays as one multiply-add. `s`, `t` and the new weight are operations on weights, done when these are loaded.
//!
//! By statistics of the batch, as while training, it is `(x - mean) * s + bias`: what takes roots and divides is computed once for each
//! channel, in the gradient by `x` too.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, ValueId};
use crate::ops::fold::Fold;
use crate::ops::role::{Linear, Role};
use crate::ops::{Op, OpError};

pub(super) fn run(work: Work) -> Work {
    let graph = &work.graph;
    let at_load = graph.at_load();
    let users = graph.users();
    Rewrite::each(&work, |rewrite, id| {
        Some(match said(&work, id, &at_load)? {
            Said::Known { eps } => {
                let host = host_of(&work, graph.uses(id)[0], &at_load, &users);
                fold(rewrite, id, eps, host)
            }
            Said::Batch { eps } => split(rewrite, id, eps),
            Said::Grad { eps, count } => split_grad(rewrite, id, eps, count),
        })
    })
}

/// What a value is.
enum Said {
    /// A normalisation whose statistics are known when weights are loaded.
    Known { eps: f32 },
    /// One by other statistics.
    Batch { eps: f32 },
    /// The gradient of such a one by its input.
    Grad { eps: f32, count: usize },
}

fn said(work: &Work, id: ValueId, at_load: &[bool]) -> Option<Said> {
    let Def::Op { op, inputs } = &work.graph.value(id).def else { return None };
    match op.rules().role() {
        Role::Norm { eps } if inputs.len() == 5 => {
            let known = inputs[1..].iter().all(|i| at_load[i.index()]);
            Some(if known { Said::Known { eps } } else { Said::Batch { eps } })
        }
        Role::NormGrad { eps, count } if inputs.len() == 7 => Some(Said::Grad { eps, count }),
        Role::Plain
        | Role::Layout
        | Role::Identity
        | Role::Norm { .. }
        | Role::NormGrad { .. }
        | Role::Gathers(_)
        | Role::Sums(_)
        | Role::Linear(_) => None,
    }
}

/// Writes a normalisation by statistics of the batch anew.
fn split(rewrite: &mut Rewrite<'_>, id: ValueId, eps: f32) -> Result<ValueId, OpError> {
    let inputs = rewrite.inputs(id);
    let [x, weight, bias, mean, var] = inputs[..] else { return Ok(rewrite.keep(id)) };
    let name = rewrite.old.graph.value(id).name.clone();
    let gain = rewrite.op(&format!("{name}.gain"), Fold::Gain { eps }, &[weight, var], None)?;
    rewrite.op(&name, Fold::Centred, &[x, mean, gain, bias], rewrite.old.origin[id.index()])
}

/// Writes its gradient by the input anew.
fn split_grad(rewrite: &mut Rewrite<'_>, id: ValueId, eps: f32, count: usize) -> Result<ValueId, OpError> {
    let inputs = rewrite.inputs(id);
    let [x, dy, weight, mean, var, all, along] = inputs[..] else { return Ok(rewrite.keep(id)) };
    let name = rewrite.old.graph.value(id).name.clone();
    let gain = rewrite.op(&format!("{name}.gain"), Fold::Gain { eps }, &[weight, var], None)?;
    let slope = rewrite.op(&format!("{name}.slope"), Fold::Slope { eps, count }, &[along, var], None)?;
    let operands = [x, dy, mean, gain, slope, all];
    rewrite.op(&name, Fold::Back { count }, &operands, rewrite.old.origin[id.index()])
}

/// The linear operation that makes `x`, if it can take a normalisation in.
fn host_of(work: &Work, x: ValueId, at_load: &[bool], users: &[Vec<ValueId>]) -> Option<(ValueId, Linear)> {
    let Def::Op { op, inputs } = &work.graph.value(x).def else { return None };
    let Role::Linear(linear) = op.rules().role() else { return None };
    let known = |i: usize| inputs.get(i).is_some_and(|i| at_load[i.index()]);
    let alone = users[x.index()].len() == 1 && !work.graph.leaves(x);
    (alone && known(linear.weight) && linear.bias.is_none_or(known)).then_some((x, *linear))
}

/// Writes the normalisation `id` anew; the value that stands for it.
fn fold(
    rewrite: &mut Rewrite<'_>,
    id: ValueId,
    eps: f32,
    host: Option<(ValueId, Linear)>,
) -> Result<ValueId, OpError> {
    let inputs = rewrite.inputs(id);
    let [x, weight, bias, mean, var] = inputs[..] else { return Ok(rewrite.keep(id)) };
    let name = rewrite.old.graph.value(id).name.clone();
    let origin = rewrite.old.origin[id.index()];
    let gain = rewrite.op(&format!("{name}.gain"), Fold::Gain { eps }, &[weight, var], None)?;
    let mut shift_of = vec![bias, mean, gain];
    let Some((host, linear)) = host else {
        let shift = rewrite.op(&format!("{name}.shift"), Fold::Shift, &shift_of, None)?;
        return rewrite.op(&name, Fold::Apply, &[x, gain, shift], origin);
    };
    let mut operands = rewrite.inputs(host);
    let host_name = rewrite.old.graph.value(host).name.clone();
    shift_of.extend(linear.bias.map(|b| operands[b]));
    let shift = rewrite.op(&format!("{host_name}.shift"), Fold::Shift, &shift_of, None)?;
    let scaled = Fold::Weight(linear.channel);
    let scaled =
        rewrite.op(&format!("{host_name}.scaled"), scaled, &[operands[linear.weight], gain], None)?;
    operands[linear.weight] = scaled;
    if let Some(b) = linear.bias {
        operands.remove(b);
    }
    operands.push(shift);
    let biased: Op = linear.biased;
    rewrite.op(&host_name, biased, &operands, origin)
}
