//! What rules make operations with, over a graph: handles are its values. New values carry the name of the value that is being
//! differentiated and its place in the source. Constants of one type and number are made once.

use crate::graph::{Def, Graph, ValueId};
use crate::ops::vjp::{Emit, Val};
use crate::ops::{Op, OpError};
use crate::support::span::Span;
use crate::tensor::ty::TensorTy;

/// See the module.
pub(super) struct Emitter<'a> {
    graph: &'a mut Graph,
    name: String,
    span: Option<Span>,
}

impl<'a> Emitter<'a> {
    /// Appends to `graph` on behalf of value `of`.
    pub(super) fn new(graph: &'a mut Graph, of: ValueId) -> Self {
        let value = graph.value(of);
        let (name, span) = (format!("{}.back", value.name), value.span);
        Self { graph, name, span }
    }
}

impl Emit for Emitter<'_> {
    fn ty(&self, v: Val) -> &TensorTy {
        &self.graph.value(ValueId(v.0)).ty
    }

    fn op(&mut self, op: Op, inputs: &[Val]) -> Result<Val, OpError> {
        let inputs: Vec<ValueId> = inputs.iter().map(|v| ValueId(v.0)).collect();
        let (id, _) = self.graph.op(&self.name, op, &inputs)?;
        self.graph.values[id.index()].span = self.span;
        Ok(Val(id.0))
    }

    fn fill(&mut self, ty: TensorTy, value: f32) -> Val {
        let same = |def: &Def| matches!(def, Def::Const(data) if data.iter().all(|x| x.to_bits() == value.to_bits()));
        let found =
            self.graph.ids().find(|id| self.graph.value(*id).ty == ty && same(&self.graph.value(*id).def));
        let id = found.unwrap_or_else(|| {
            let len = ty.len();
            self.graph.constant(&self.name, ty, vec![value; len])
        });
        Val(id.0)
    }
}
