//! Builds a graph value by value; types come from the operations' shape rules, so a built graph is fully typed.

use std::sync::Arc;

use super::{Def, Graph, Port, Update, Value, ValueId};
use crate::ops::init::Init;
use crate::ops::{Inferred, Op, OpError};
use crate::support::Name;
use crate::support::span::Span;
use crate::tensor::ty::TensorTy;

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds an input whose user buffer has dimensions in `order`.
    pub fn input(&mut self, name: &str, ty: TensorTy, order: Vec<usize>) -> ValueId {
        let id = self.push(Def::Input(self.inputs.len()), ty, name, None);
        self.inputs.push(Port { name: Name::from(name), value: id, order });
        id
    }

    /// Adds a weight.
    pub fn param(&mut self, name: &str, ty: TensorTy, init: Init, trainable: bool) -> ValueId {
        self.push(Def::Param { init, trainable }, ty, name, None)
    }

    /// Adds a constant; `data` is row-major in the order of the type.
    pub fn constant(&mut self, name: &str, ty: TensorTy, data: Vec<f32>) -> ValueId {
        debug_assert_eq!(data.len(), ty.len());
        self.push(Def::Const(Arc::new(data)), ty, name, None)
    }

    /// Adds an operation after asking its shape rule.
    ///
    /// # Errors
    /// What the shape rule says; the graph is unchanged.
    pub fn op(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[ValueId],
    ) -> Result<(ValueId, Inferred), OpError> {
        let op = op.into();
        let types: Vec<&TensorTy> = inputs.iter().map(|i| &self.value(*i).ty).collect();
        let inferred = op.rules().infer(&types)?;
        let id = self.push(Def::Op { op, inputs: inputs.to_vec() }, inferred.ty.clone(), name, None);
        Ok((id, inferred))
    }

    /// Sets the place in the source that made a value.
    pub fn set_span(&mut self, id: ValueId, span: Span) {
        self.values[id.index()].span = Some(span);
    }

    /// Declares an output whose user buffer has dimensions in `order`.
    pub fn output(&mut self, name: &str, value: ValueId, order: Vec<usize>) {
        self.outputs.push(Port { name: Name::from(name), value, order });
    }

    /// Lets the weight `param` have the elements of `value` after a run.
    pub fn update(&mut self, param: ValueId, value: ValueId) {
        self.updates.push(Update { param, value });
    }

    fn push(&mut self, def: Def, ty: TensorTy, name: &str, span: Option<Span>) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(Value { def, ty, name: name.to_owned(), span, group: None, layout: None });
        id
    }
}
