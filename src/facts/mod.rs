//! Facts about a network, derived from its graph: parameters, work, bytes, receptive fields, per value and in total.
//!
//! In: a graph as `resolve` built it (before passes, so that rows match the source). Out: numbers; nothing is changed.
//! Weights that several operations share are counted once, at their first use.

mod back;
mod field;

use std::collections::BTreeSet;

pub use field::{AxisField, receptive_fields};

use crate::graph::{Def, Graph, ValueId};
use crate::ops::Cost;
use crate::tensor::ty::TensorTy;

/// Facts about every operation of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// One row per operation, in the order of the graph.
    pub rows: Vec<Row>,
    /// Sums over the rows.
    pub total: Sums,
}

/// Facts about one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The operation's result.
    pub value: ValueId,
    /// Its path in the source.
    pub name: String,
    /// The operation.
    pub kind: &'static str,
    /// The output's type.
    pub ty: TensorTy,
    /// What it costs.
    pub sums: Sums,
    /// Receptive field on each grid axis of the network's inputs; see [`AxisField`].
    pub field: Vec<AxisField>,
}

/// Quantities that add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Trainable elements.
    pub params: u64,
    /// Elements kept but not trained (running statistics, fixed kernels).
    pub fixed: u64,
    /// Multiply-adds of one forward pass over the whole batch.
    pub macs: u64,
    /// Floating-point operations of one forward pass over the whole batch.
    pub flops: u64,
    /// Bytes read and written once each if nothing were fused: inputs, weights and output.
    pub bytes: u64,
}

impl Sums {
    /// Floating-point operations per byte moved; 0 when nothing moves.
    pub fn intensity(&self) -> f64 {
        if self.bytes == 0 { 0.0 } else { self.flops as f64 / self.bytes as f64 }
    }

    /// Adds another's quantities.
    pub fn add(&mut self, other: &Self) {
        self.params = self.params.saturating_add(other.params);
        self.fixed = self.fixed.saturating_add(other.fixed);
        self.macs = self.macs.saturating_add(other.macs);
        self.flops = self.flops.saturating_add(other.flops);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Facts about every operation of `graph`, receptive fields included.
pub fn facts(graph: &Graph) -> Facts {
    let mut counted = BTreeSet::new();
    let fields = field::Fields::new(graph);
    let mut out = Facts { rows: Vec::new(), total: Sums::default() };
    for id in graph.ids() {
        let Def::Op { op, inputs } = &graph.value(id).def else { continue };
        let sums = sums_of(
            graph,
            id,
            inputs,
            op.rules().cost(&types(graph, inputs), &graph.value(id).ty),
            &mut counted,
        );
        out.total.add(&sums);
        let value = graph.value(id);
        out.rows.push(Row {
            value: id,
            name: value.name.clone(),
            kind: op.rules().kind(),
            ty: value.ty.clone(),
            sums,
            field: fields.of(id),
        });
    }
    out
}

/// Facts summed over the operations whose path is `path` or lies under it (`stage[0]` holds `stage[0].a`), and over the
/// weights named under it.
pub fn under<'a>(facts: &'a Facts, path: &'a str) -> impl Iterator<Item = &'a Row> {
    facts.rows.iter().filter(move |row| lies_under(&row.name, path))
}

/// Whether `name` is `path` or a part of it.
pub fn lies_under(name: &str, path: &str) -> bool {
    match name.strip_prefix(path) {
        Some(rest) => rest.is_empty() || rest.starts_with(['.', '[']),
        None => false,
    }
}

fn types<'a>(graph: &'a Graph, ids: &[ValueId]) -> Vec<&'a TensorTy> {
    ids.iter().map(|i| &graph.value(*i).ty).collect()
}

fn sums_of(
    graph: &Graph,
    id: ValueId,
    inputs: &[ValueId],
    cost: Cost,
    counted: &mut BTreeSet<ValueId>,
) -> Sums {
    let mut sums = Sums { macs: cost.macs, flops: cost.flops, ..Sums::default() };
    let elements = |v: ValueId| graph.value(v).ty.len() as u64;
    for input in inputs {
        if let Def::Param { trainable, .. } = &graph.value(*input).def
            && counted.insert(*input)
        {
            let kept = if *trainable { &mut sums.params } else { &mut sums.fixed };
            *kept += elements(*input);
        }
    }
    let moved = inputs.iter().map(|i| elements(*i)).sum::<u64>() + elements(id);
    sums.bytes = moved.saturating_mul(4);
    sums
}

#[cfg(test)]
mod tests;
