//! Automatic differentiation: a graph with its gradients, as ordinary operations behind it.
//!
//! In: a graph without layouts, values with the gradients that arrive at them, and the values whose gradients are wanted. Out:
//! the same graph with values appended. Reverse mode: one sweep from the last value to the first, each operation asked for
//! its rule once, with the whole gradient by its result. No operation is known by name here.
//!
//! Partial gradients of a value that is used more than once (shared weights, repeats, branches) are added in the order in
//! which the sweep meets its users, from the last to the first: a fixed order, for any number of threads. Only what lies
//! between the wanted values and the seeds is differentiated. A graph with gradients can be differentiated again.

pub mod check;
mod emit;

use emit::Emitter;

use crate::graph::{Def, Graph, ValueId};
use crate::ops::binary::{Binary, BinaryFn};
use crate::ops::reshape::Reshape;
use crate::ops::vjp::{Applied, Val};
use crate::support::span::Span;

/// A value that has no gradient, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradError {
    /// Its path in the source.
    pub name: String,
    /// What makes it: the operation's kind.
    pub kind: &'static str,
    /// The place in the source that made it.
    pub span: Option<Span>,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for GradError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`, a `{}`, has no gradient: {}", self.name, self.kind, self.reason)
    }
}

impl std::error::Error for GradError {}

/// Appends to `graph` the gradients by `wrt` of `Σ seed · value` over `seeds`, pairs of a value and the gradient by it (of the
/// same type; [`ones`] for a plain sum). `None` where nothing depends: the gradient is 0.
///
/// # Errors
/// [`GradError`] where an operation on the way has no gradient; the graph then holds values that nothing uses.
pub fn gradients(
    graph: &mut Graph,
    seeds: &[(ValueId, ValueId)],
    wrt: &[ValueId],
) -> Result<Vec<Option<ValueId>>, GradError> {
    let needed = dependents(graph, wrt);
    let mut grads: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for (value, seed) in seeds {
        accumulate(graph, &mut grads, *value, *seed)?;
    }
    for id in (0..grads.len() as u32).rev().map(ValueId) {
        let Some(dy) = grads[id.index()].filter(|_| needed[id.index()]) else { continue };
        let Def::Op { op, inputs } = graph.value(id).def.clone() else { continue };
        let wanted: Vec<bool> = inputs.iter().map(|i| needed[i.index()]).collect();
        if !wanted.contains(&true) {
            continue;
        }
        let vals: Vec<Val> = inputs.iter().map(|i| Val(i.0)).collect();
        let applied = Applied { inputs: &vals, y: Val(id.0), dy: Val(dy.0), wanted: &wanted };
        let pulled = op.rules().vjp(&mut Emitter::new(graph, id), &applied);
        let pulled = pulled.map_err(|e| error(graph, id, e.reason))?;
        for (input, part) in inputs.iter().zip(pulled) {
            if let Some(part) = part {
                accumulate(graph, &mut grads, *input, ValueId(part.0))?;
            }
        }
    }
    Ok(wrt.iter().map(|v| grads[v.index()]).collect())
}

/// Where every way from `value` back to `wrt` ends: the first operation, seen from `value`, that hands no gradient on. `None` where
/// some way goes through, or `value` depends on none of them.
pub fn stop(graph: &Graph, value: ValueId, wrt: &[ValueId]) -> Option<ValueId> {
    let mut graph = graph.clone();
    let needed = dependents(&graph, wrt);
    let mut reached = vec![false; graph.values.len()];
    reached[value.index()] = true;
    let mut ends = None;
    for id in (0..reached.len() as u32).rev().map(ValueId) {
        let way = reached[id.index()] && needed[id.index()];
        let Def::Op { op, inputs } = graph.value(id).def.clone() else {
            if way {
                return None;
            }
            continue;
        };
        if !way {
            continue;
        }
        let wanted: Vec<bool> = inputs.iter().map(|i| needed[i.index()]).collect();
        let vals: Vec<Val> = inputs.iter().map(|i| Val(i.0)).collect();
        let dy = ones(&mut graph, id);
        let applied = Applied { inputs: &vals, y: Val(id.0), dy: Val(dy.0), wanted: &wanted };
        let pulled = op.rules().vjp(&mut Emitter::new(&mut graph, id), &applied).unwrap_or_default();
        let before = reached.iter().filter(|r| **r).count();
        inputs.iter().zip(pulled).for_each(|(i, part)| reached[i.index()] |= part.is_some());
        if before == reached.iter().filter(|r| **r).count() {
            ends = ends.or(Some(id));
        }
    }
    ends
}

/// A tensor of ones of the type of `value`: the seed of its plain sum.
pub fn ones(graph: &mut Graph, value: ValueId) -> ValueId {
    filled(graph, value, 1.0)
}

/// A tensor of the type of `value` with one number everywhere: 1/N makes a mean of a sum.
pub fn filled(graph: &mut Graph, value: ValueId, number: f32) -> ValueId {
    let ty = graph.value(value).ty.clone();
    let (name, len) = (format!("{}.seed", graph.value(value).name), ty.len());
    graph.constant(&name, ty, vec![number; len])
}

/// For each value whether it depends on one of `wrt`, these themselves included.
fn dependents(graph: &Graph, wrt: &[ValueId]) -> Vec<bool> {
    let mut needed = vec![false; graph.values.len()];
    for id in graph.ids() {
        needed[id.index()] = wrt.contains(&id) || graph.uses(id).iter().any(|i| needed[i.index()]);
    }
    needed
}

/// Adds `part` to the gradient by `value`, under the names that the value's dimensions have.
fn accumulate(
    graph: &mut Graph,
    grads: &mut [Option<ValueId>],
    value: ValueId,
    part: ValueId,
) -> Result<(), GradError> {
    let (ty, name) = (graph.value(value).ty.clone(), format!("{}.grad", graph.value(value).name));
    let mut part = part;
    if graph.value(part).ty != ty {
        let renamed = graph.op(&name, Reshape::to(&ty), &[part]);
        let (id, inferred) = renamed.map_err(|e| error(graph, value, e.message))?;
        if inferred.ty != ty {
            return Err(error(graph, value, format!("its gradient is {}, not {ty}", inferred.ty)));
        }
        part = id;
    }
    let sum = match grads[value.index()] {
        None => part,
        Some(so_far) => {
            let sum = graph.op(&name, Binary::of(BinaryFn::Add), &[so_far, part]);
            sum.map_err(|e| error(graph, value, e.message))?.0
        }
    };
    grads[value.index()] = Some(sum);
    Ok(())
}

fn error(graph: &Graph, id: ValueId, reason: String) -> GradError {
    let value = graph.value(id);
    let kind = match &value.def {
        Def::Op { op, .. } => op.rules().kind(),
        Def::Input(_) => "input",
        Def::Param { .. } => "weight",
        Def::Const(_) => "constant",
    };
    GradError { name: value.name.clone(), kind, span: value.span, reason }
}
