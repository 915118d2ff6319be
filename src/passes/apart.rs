//! Pools across neighbouring channels with the members of a window apart, see [`crate::ops::apart`], where weights are known when they
//! are loaded and nobody else reads what the layer before computes.
//! Stands behind what changes weights and biases, and before what chooses how layers are computed.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::OpError;
use crate::ops::apart::{Said, of};
use crate::tensor::ty::TensorTy;

/// The end of the name of a weight in the order of a pool.
pub const APART: &str = ".apart";

pub(super) fn run(work: Work) -> Work {
    let at_load = work.graph.at_load();
    let users = work.graph.users();
    Rewrite::each(&work, |rewrite, id| {
        let (host, said) = said(&work.graph, id, &at_load, &users)?;
        Some(anew(rewrite, id, host, said))
    })
}

/// The layer before the pool `id`, and how both are said anew.
fn said(graph: &Graph, id: ValueId, at_load: &[bool], users: &[Vec<ValueId>]) -> Option<(ValueId, Said)> {
    let Def::Op { op: pool, inputs } = &graph.value(id).def else { return None };
    let host = *inputs.first()?;
    let Def::Op { op, inputs } = &graph.value(host).def else { return None };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    let said = of(op, &types, &graph.value(host).ty, pool)?;
    let known = said.orders.iter().all(|(i, _)| inputs.get(*i).is_some_and(|i| at_load[i.index()]));
    let alone = users[host.index()].len() == 1 && !graph.leaves(host);
    (known && alone && !at_load[host.index()]).then_some((host, said))
}

fn anew(rewrite: &mut Rewrite<'_>, id: ValueId, host: ValueId, said: Said) -> Result<ValueId, OpError> {
    let before = rewrite.old.graph.value(host).clone();
    let Def::Op { op, .. } = before.def else { return Ok(rewrite.keep(id)) };
    let mut inputs = rewrite.inputs(host);
    for (i, order) in said.orders {
        let name = rewrite.new.graph.value(inputs[i]).name.clone();
        inputs[i] = rewrite.op(&format!("{name}{APART}"), order, &[inputs[i]], None)?;
    }
    // Its channels are those of no layer of the source.
    let host = rewrite.op(&before.name, op, &inputs, None)?;
    let name = rewrite.old.graph.value(id).name.clone();
    rewrite.op(&name, said.pool, &[host], rewrite.old.origin[id.index()])
}
