//! The graph IR: a network as values in SSA form, each a tensor of fixed type.
//!
//! # Meaning
//!
//! A [`Graph`] is a list of values in an order in which every value stands after those it uses. A value is an input, a
//! weight (`Param`), a constant, or the result of one operation on earlier values; every operation has one result.
//! `outputs` are the values that a run hands out. Batch is dimension `n` of every activation, fixed.
//!
//! `updates` say what a run leaves behind: after it the weight `param` has the elements of `value`. Every operation of the run
//! reads the old ones, wherever it stands. A graph with updates is a training step; one without never changes its weights. Where
//! `commit` names an output, the weights change only if its number is more than 0, which is known when the run is over.
//!
//! `group` and `layout` are written by passes and absent in a fresh graph: a value with `group = Some(r)` is applied where root
//! `r`'s group stores. Memory holds the group's last member, and whatever else of it others need.

pub mod build;
pub mod dot;
pub mod eval;
mod lex;
pub mod parse;
pub mod patch;
pub mod print;
pub mod query;
pub mod rebatch;
#[cfg(test)]
mod tests;
pub mod verify;

use std::sync::Arc;

use crate::ops::Op;
use crate::ops::init::Init;
use crate::support::Name;
use crate::support::ids::id_type;
use crate::support::span::Span;
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

id_type!(
    /// A value of one graph.
    ValueId, "v"
);

/// A network.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Values, each after those it uses.
    pub values: Vec<Value>,
    /// Inputs in the order of the source.
    pub inputs: Vec<Port>,
    /// Outputs in the order of the source.
    pub outputs: Vec<Port>,
    /// Weights that a run changes, each once.
    pub updates: Vec<Update>,
    /// The output whose one number says whether the updates hold: where it is more than 0. Without one they always do.
    pub commit: Option<usize>,
}

/// After a run the weight `param` has the elements of `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// A weight.
    pub param: ValueId,
    /// A value of its type.
    pub value: ValueId,
}

/// A value that the user hands in or gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name; a lone unnamed output is called `out`.
    pub name: Name,
    /// The value.
    pub value: ValueId,
    /// The order of dimensions in the user's buffer, outermost first: `n`, then axes as written.
    pub order: Vec<usize>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Where it comes from.
    pub def: Def,
    /// Its type.
    pub ty: TensorTy,
    /// Its path in the source: `stage[2].a`, `c1.weight`.
    pub name: String,
    /// The place in the source that made it, for late errors.
    pub span: Option<Span>,
    /// The root whose group it was fused into.
    pub group: Option<ValueId>,
    /// How it lies in memory.
    pub layout: Option<Layout>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Def {
    /// Handed in at each run; position in `inputs`.
    Input(usize),
    /// A weight, kept between runs.
    Param {
        /// Its first values.
        init: Init,
        /// Whether training changes it.
        trainable: bool,
    },
    /// A constant, row-major in the order of the type.
    Const(Arc<Vec<f32>>),
    /// An operation.
    Op {
        /// Which.
        op: Op,
        /// On what: activations, then weights.
        inputs: Vec<ValueId>,
    },
}

impl Graph {
    /// The value `id`.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// All ids in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// The inputs of the operation that makes `id`; none for anything else.
    pub fn uses(&self, id: ValueId) -> &[ValueId] {
        match &self.value(id).def {
            Def::Op { inputs, .. } => inputs,
            Def::Input(_) | Def::Param { .. } | Def::Const(_) => &[],
        }
    }
}
