//! Lets the new elements of weights lie beside the old ones until a run is over. A training step guards every update by a gate that opens
//! when loss and all gradients are finite ([`Optim::Gate`], [`Optim::Finite`]), so that no weight can change before the last gradient
//! is known. Here the gates go, what opens them becomes an output, and whoever runs the graph takes the new elements for the weights
//! if that says so ([`Graph::commit`]). A weight's update can then follow its gradient at once, in the same loops ([`super::fuse`]).
//!
//! Only where no new element needs what the gates wait for, as those of gradients clipped to a norm do.
//!
//! Operations without multiply-adds on which none with such depends move up to where their operands are made: gradients need not wait,
//! and what joins the loops of one stands right behind it.

use super::Settings;
use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::optim::Optim;

/// The output that says whether the updates hold.
const COMMIT: &str = "@commit";

pub(super) fn run(work: Work, settings: &Settings) -> Work {
    if !settings.beside || work.graph.updates.is_empty() || work.graph.commit.is_some() {
        return work;
    }
    match Gates::of(&work.graph) {
        Some(gates) => ordered(&gates.removed(work)),
        None => work,
    }
}

/// The rule of an optimizer that makes `id`, with its operands.
fn rule(graph: &Graph, id: ValueId) -> Option<(Optim, &[ValueId])> {
    let Def::Op { op, inputs } = &graph.value(id).def else { return None };
    Some((Optim::of(op)?, inputs))
}

/// Whether `id` is the constant 1.
fn is_one(graph: &Graph, id: ValueId) -> bool {
    matches!(&graph.value(id).def, Def::Const(data) if data.as_slice() == [1.0])
}

/// The gates of all updates.
struct Gates {
    /// What must be finite for them to open.
    health: ValueId,
    /// 1 where it is, else 0.
    finite: ValueId,
}

impl Gates {
    /// `None` unless each update has one, all wait for the same, and nothing behind them needs that.
    fn of(graph: &Graph) -> Option<Self> {
        let waits_for = |gate: ValueId| match rule(graph, gate)? {
            (Optim::Finite, [health, _]) => Some(*health),
            _ => None,
        };
        let mut health = None;
        for update in &graph.updates {
            let (Optim::Gate, [_, old, gate]) = rule(graph, update.value)? else { return None };
            let own = waits_for(*gate)?;
            if *old != update.param || *health.get_or_insert(own) != own {
                return None;
            }
        }
        let health = health?;
        let finite = graph.ids().find(|id| match rule(graph, *id) {
            Some((Optim::Finite, [of, open])) => *of == health && is_one(graph, *open),
            _ => false,
        })?;
        let gates = Self { health, finite };
        // Gates read it; whatever else does would wait as well.
        let mut late = vec![false; graph.values.len()];
        for id in [health].iter().chain(graph.uses(health)) {
            late[id.index()] = true;
        }
        for id in graph.ids() {
            let inputs = if gates.is_gate(graph, id) { &graph.uses(id)[..2] } else { graph.uses(id) };
            late[id.index()] |= inputs.iter().any(|x| late[x.index()]);
        }
        graph.updates.iter().all(|u| !late[u.value.index()]).then_some(gates)
    }

    /// Whether `id` is one of them.
    fn is_gate(&self, graph: &Graph, id: ValueId) -> bool {
        let Some((Optim::Gate, [_, _, gate])) = rule(graph, id) else { return false };
        matches!(rule(graph, *gate), Some((Optim::Finite, [of, _])) if *of == self.health)
    }

    /// The graph without them. One that also waits for something else, the last of several batches, waits for that alone.
    fn removed(&self, mut work: Work) -> Work {
        let finite = self.finite;
        work.graph.commit = Some(work.graph.outputs.len());
        work.graph.output(COMMIT, finite, Vec::new());
        Rewrite::each(&work, |rewrite, id| {
            let graph = &rewrite.old.graph;
            if !self.is_gate(graph, id) {
                return None;
            }
            let [new, old, gate] = *graph.uses(id) else { return None };
            let open = graph.uses(gate)[1];
            if is_one(graph, open) {
                return Some(Ok(rewrite.of(new)));
            }
            let inputs = [new, old, open].map(|x| rewrite.of(x));
            let (name, origin) = (graph.value(id).name.clone(), rewrite.old.origin[id.index()]);
            Some(rewrite.op(&name, Optim::Gate, &inputs, origin))
        })
    }
}

/// The graph in another order: what can move up stands right behind the operation that it waits for, elementwise operations first.
fn ordered(work: &Work) -> Work {
    let graph = &work.graph;
    let mut heavy: Vec<bool> = graph.ids().map(|id| multiplies(graph, id)).collect();
    for id in graph.ids().rev() {
        if heavy[id.index()] {
            graph.uses(id).iter().for_each(|x| heavy[x.index()] = true);
        }
    }
    // Of what stays its number; of what moves that of what it waits for, and a stage behind that, odd if it is elementwise:
    // what an operation makes meets elementwise ones first.
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(graph.values.len());
    for id in graph.ids() {
        let inputs = graph.uses(id);
        places.push(match &graph.value(id).def {
            Def::Input(_) | Def::Param { .. } | Def::Const(_) => (0, 0),
            Def::Op { .. } if heavy[id.index()] => (id.index(), 0),
            Def::Op { op, .. } => {
                let (at, stage) = inputs.iter().map(|x| places[x.index()]).max().unwrap_or((id.index(), 0));
                let elementwise = op.rules().scalar().is_some() && !graph.value(id).ty.dims().is_empty();
                (at, if elementwise { stage | 1 } else { (stage | 1) + 1 })
            }
        });
    }
    let mut order: Vec<ValueId> = graph.ids().collect();
    order.sort_by_key(|id| (places[id.index()], *id));
    let mut rewrite = Rewrite::new(work);
    for id in order {
        rewrite.keep(id);
    }
    rewrite.finish()
}

/// Whether an operation multiplies and adds.
fn multiplies(graph: &Graph, id: ValueId) -> bool {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return false };
    let types: Vec<_> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    op.rules().cost(&types, &value.ty).macs > 0
}
