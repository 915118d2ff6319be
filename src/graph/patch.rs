//! Rewriting: a pass walks the old graph in order and says for each value what stands for it in the new one. Ports and updates
//! follow by themselves, and every new value keeps its origin: the value of the source graph whose numbers it holds.

use super::{Def, Graph, Update, Value, ValueId};
use crate::ops::{Op, OpError};

/// A graph on its way through the passes.
#[derive(Clone, Debug)]
pub struct Work {
    /// The graph.
    pub graph: Graph,
    /// For each of its values the value of the source graph that it equals, if there is one.
    pub origin: Vec<Option<ValueId>>,
}

impl Work {
    /// A source graph: every value is its own origin.
    pub fn new(graph: Graph) -> Self {
        let origin = graph.ids().map(Some).collect();
        Self { graph, origin }
    }
}

/// A rewrite under way.
#[derive(Debug)]
pub struct Rewrite<'a> {
    /// The graph that is read.
    pub old: &'a Work,
    /// The graph that is written.
    pub new: Work,
    map: Vec<Option<ValueId>>,
}

impl<'a> Rewrite<'a> {
    /// Starts with an empty new graph of the same name and ports.
    pub fn new(old: &'a Work) -> Self {
        let graph = Graph {
            name: old.graph.name.clone(),
            values: Vec::with_capacity(old.graph.values.len()),
            inputs: old.graph.inputs.clone(),
            outputs: old.graph.outputs.clone(),
            updates: old.graph.updates.clone(),
            commit: old.graph.commit,
        };
        Self { old, new: Work { graph, origin: Vec::new() }, map: vec![None; old.graph.values.len()] }
    }

    /// What stands for the old value `id`, which was kept or replaced before.
    pub fn of(&self, id: ValueId) -> ValueId {
        self.map[id.index()].expect("values are rewritten in order")
    }

    /// What stands for the inputs of the old operation `id`.
    pub fn inputs(&self, id: ValueId) -> Vec<ValueId> {
        self.old.graph.uses(id).iter().map(|i| self.of(*i)).collect()
    }

    /// Copies the old value with its inputs rewritten.
    pub fn keep(&mut self, id: ValueId) -> ValueId {
        let mut value = self.old.graph.value(id).clone();
        if let Def::Op { inputs, .. } = &mut value.def {
            *inputs = self.inputs(id);
        }
        self.put(id, value)
    }

    /// Puts `value` where the old `id` was.
    pub fn put(&mut self, id: ValueId, value: Value) -> ValueId {
        let new = self.push(value, self.old.origin[id.index()]);
        self.replace(id, new);
        new
    }

    /// Lets `new` stand for the old value `id`.
    pub fn replace(&mut self, id: ValueId, new: ValueId) {
        self.map[id.index()] = Some(new);
    }

    /// Adds a value that the old graph does not have, or has as `origin` under another form.
    pub fn push(&mut self, value: Value, origin: Option<ValueId>) -> ValueId {
        let id = ValueId(self.new.graph.values.len() as u32);
        self.new.graph.values.push(value);
        self.new.origin.push(origin);
        id
    }

    /// Adds an operation on new values.
    ///
    /// # Errors
    /// What its shape rule says.
    pub fn op(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[ValueId],
        origin: Option<ValueId>,
    ) -> Result<ValueId, OpError> {
        let (id, _) = self.new.graph.op(name, op, inputs)?;
        self.new.origin.push(origin);
        Ok(id)
    }

    /// The graph with each value replaced by what `said` makes for it; where it makes nothing, or a shape rule refuses what it makes, the
    /// value stays as it was.
    pub fn each(
        old: &'a Work,
        mut said: impl FnMut(&mut Self, ValueId) -> Option<Result<ValueId, OpError>>,
    ) -> Work {
        let mut rewrite = Self::new(old);
        for id in old.graph.ids() {
            match said(&mut rewrite, id) {
                Some(Ok(new)) => rewrite.replace(id, new),
                Some(Err(_)) | None => {
                    rewrite.keep(id);
                }
            }
        }
        rewrite.finish()
    }

    /// The new graph, its ports and updates led to what stands for the old ones. A weight that is updated was kept as one.
    pub fn finish(mut self) -> Work {
        for i in 0..self.new.graph.inputs.len() {
            self.new.graph.inputs[i].value = self.of(self.old.graph.inputs[i].value);
        }
        for i in 0..self.new.graph.outputs.len() {
            self.new.graph.outputs[i].value = self.of(self.old.graph.outputs[i].value);
        }
        for i in 0..self.new.graph.updates.len() {
            let Update { param, value } = self.old.graph.updates[i];
            self.new.graph.updates[i] = Update { param: self.of(param), value: self.of(value) };
        }
        self.new
    }
}
