//! The model under construction: nodes, initializers, names.

use std::collections::{BTreeMap, HashSet};

use crate::formats::onnx::proto::{
    Attribute, Dim, Extent, Graph as GraphProto, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type,
    ValueInfo, kind,
};
use crate::graph::{Def, Graph, Port, ValueId};
use crate::tensor::ty::TensorTy;

/// See the module.
pub(super) struct Builder<'a> {
    pub(super) graph: &'a Graph,
    pub(super) opset: i64,
    weights: &'a dyn Fn(&str) -> Option<Vec<f32>>,
    model: GraphProto,
    /// What each value of the graph is called in the model, once it is there.
    names: BTreeMap<ValueId, String>,
    taken: HashSet<String>,
    /// What new names begin with.
    hint: String,
    pub(super) notes: Vec<String>,
}

/// An attribute.
pub(super) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, r#type: kind::INT, ..Attribute::default() }
}

/// An attribute.
pub(super) fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.to_owned(), f, r#type: kind::FLOAT, ..Attribute::default() }
}

/// An attribute.
pub(super) fn ints(name: &str, list: impl IntoIterator<Item = usize>) -> Attribute {
    let ints = list.into_iter().map(|i| i as i64).collect();
    Attribute { name: name.to_owned(), ints, r#type: kind::INTS, ..Attribute::default() }
}

/// An attribute.
pub(super) fn text(name: &str, s: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        s: s.as_bytes().to_vec().into(),
        r#type: kind::STRING,
        ..Attribute::default()
    }
}

/// Element types in a file.
const F32: i32 = 1;
const I64: i32 = 7;
const BOOL: i32 = 9;

impl<'a> Builder<'a> {
    pub(super) fn new(graph: &'a Graph, weights: &'a dyn Fn(&str) -> Option<Vec<f32>>, opset: i64) -> Self {
        let ports = graph.inputs.iter().chain(&graph.outputs).map(|p| p.name.to_string());
        let params = graph.params().map(|id| graph.value(id).name.clone());
        let model = GraphProto { name: graph.name.clone(), ..GraphProto::default() };
        let (names, hint, notes) = (BTreeMap::new(), String::new(), Vec::new());
        Self { graph, opset, weights, model, names, taken: ports.chain(params).collect(), hint, notes }
    }

    /// The type of a value of the graph.
    pub(super) fn ty(&self, id: ValueId) -> &'a TensorTy {
        &self.graph.value(id).ty
    }

    /// A name that nothing has yet.
    fn fresh(&mut self) -> String {
        let mut name = self.hint.clone();
        let mut i = 1;
        while name.is_empty() || !self.taken.insert(name.clone()) {
            i += 1;
            name = format!("{}_{i}", if self.hint.is_empty() { "value" } else { &self.hint });
        }
        name
    }

    /// Adds a node with one result; its name.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        let output = self.fresh();
        let input = inputs.iter().map(|i| (*i).to_owned()).collect();
        let name = format!("{output}/{op}");
        let node = Node {
            input,
            output: vec![output.clone()],
            name,
            op_type: op.to_owned(),
            attribute,
            ..Node::default()
        };
        self.model.node.push(node);
        output
    }

    /// Adds a second result to the last node; its name.
    pub(super) fn second(&mut self) -> String {
        let name = self.fresh();
        if let Some(node) = self.model.node.last_mut() {
            node.output.push(name.clone());
        }
        name
    }

    /// A list of integers.
    pub(super) fn ints(&mut self, list: impl IntoIterator<Item = i64>) -> String {
        let list: Vec<i64> = list.into_iter().collect();
        let raw: Vec<u8> = list.iter().flat_map(|i| i.to_le_bytes()).collect();
        self.initializer(I64, &[list.len()], raw)
    }

    /// A list of sizes.
    pub(super) fn sizes(&mut self, list: &[usize]) -> String {
        self.ints(list.iter().map(|d| *d as i64))
    }

    /// A constant tensor.
    pub(super) fn floats(&mut self, dims: &[usize], data: &[f32]) -> String {
        self.initializer(F32, dims, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// A number.
    pub(super) fn number(&mut self, x: f32) -> String {
        self.floats(&[], &[x])
    }

    fn initializer(&mut self, data_type: i32, dims: &[usize], raw: Vec<u8>) -> String {
        let name = self.fresh();
        self.push_initializer(&name, data_type, dims, raw);
        name
    }

    fn push_initializer(&mut self, name: &str, data_type: i32, dims: &[usize], raw: Vec<u8>) {
        let dims = dims.iter().map(|d| *d as i64).collect();
        let tensor =
            Tensor { name: name.to_owned(), data_type, dims, raw_data: raw.into(), ..Tensor::default() };
        self.model.initializer.push(tensor);
    }

    /// The values of a weight or constant.
    pub(super) fn values(&self, id: ValueId) -> Option<Vec<f32>> {
        let value = self.graph.value(id);
        match &value.def {
            Def::Const(data) => Some(data.to_vec()),
            Def::Param { .. } => (self.weights)(&value.name),
            Def::Input(_) | Def::Op { .. } => None,
        }
    }

    /// What the value `id` is called; weights and constants come into the model when they are first asked for.
    pub(super) fn name(&mut self, id: ValueId) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let value = self.graph.value(id);
        let data = self.values(id).unwrap_or_default();
        let raw = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let name = match value.def {
            Def::Param { .. } => value.name.clone(),
            Def::Const(_) | Def::Input(_) | Def::Op { .. } => self.fresh(),
        };
        self.push_initializer(&name, F32, value.ty.dims(), raw);
        self.names.insert(id, name.clone());
        name
    }

    /// New names are about `id` from now on.
    pub(super) fn begin(&mut self, id: ValueId) {
        self.hint.clone_from(&self.graph.value(id).name);
    }

    /// The value `id` is called `name`.
    pub(super) fn end(&mut self, id: ValueId, name: String) {
        self.names.insert(id, name);
    }

    /// Says what was done otherwise.
    pub(super) fn note(&mut self, what: &str) {
        let note = format!("`{}`: {what}", self.hint);
        self.notes.push(note);
    }

    /// Declares an input.
    pub(super) fn input(&mut self, port: &Port) {
        let ty = self.ty(port.value);
        let dims: Vec<usize> = port.order.iter().map(|d| ty.dims()[*d]).collect();
        self.model.input.push(info(&port.name, &dims));
        self.hint = port.name.to_string();
        let mut name = port.name.to_string();
        if !port.order.iter().copied().eq(0..dims.len()) {
            // Dimension d of the graph is where the port has it.
            let perm = (0..dims.len()).map(|d| port.order.iter().position(|o| *o == d).unwrap_or(d));
            name = self.transposed(&name, perm.collect());
        }
        self.names.insert(port.value, name);
    }

    /// Declares an output.
    pub(super) fn output(&mut self, port: &Port) {
        let ty = self.ty(port.value);
        let dims: Vec<usize> = port.order.iter().map(|d| ty.dims()[*d]).collect();
        let from = self.name(port.value);
        let (op, attribute) = if port.order.iter().copied().eq(0..dims.len()) {
            ("Identity", Vec::new())
        } else {
            ("Transpose", vec![ints("perm", port.order.iter().copied())])
        };
        self.model.node.push(Node {
            input: vec![from],
            output: vec![port.name.to_string()],
            name: format!("{}/{op}", port.name),
            op_type: op.to_owned(),
            attribute,
            ..Node::default()
        });
        self.model.output.push(info(&port.name, &dims));
    }

    /// The finished model.
    pub(super) fn finish(self) -> (Model, Vec<String>) {
        let model = Model {
            // The oldest format that knows the operator set.
            ir_version: match self.opset {
                ..15 => 7,
                15..=18 => 8,
                19..=20 => 9,
                21..=22 => 10,
                _ => 11,
            },
            producer_name: "cnnc".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.model),
            opset_import: vec![OperatorSet { domain: String::new(), version: self.opset }],
            ..Model::default()
        };
        (model, self.notes)
    }
}

/// What compositions are made of.
impl Builder<'_> {
    pub(super) fn transposed(&mut self, x: &str, perm: Vec<usize>) -> String {
        self.node("Transpose", &[x], vec![ints("perm", perm)])
    }

    pub(super) fn reshaped(&mut self, x: &str, dims: &[usize]) -> String {
        let to = self.sizes(dims);
        self.node("Reshape", &[x, &to], Vec::new())
    }

    /// A reduction that keeps its axes, which are an attribute before operator set 18 (for sums before 13).
    pub(super) fn reduced(&mut self, op: &str, x: &str, axes: &[usize]) -> String {
        if op != "ReduceSum" && self.opset < 18 {
            return self.node(op, &[x], vec![ints("axes", axes.iter().copied()), int("keepdims", 1)]);
        }
        let list = self.sizes(axes);
        self.node(op, &[x, &list], vec![int("keepdims", 1)])
    }

    /// `start .. end` by `step` along an axis.
    pub(super) fn sliced(&mut self, x: &str, axis: usize, start: i64, end: i64, step: i64) -> String {
        let lists: Vec<String> =
            [start, end, axis as i64, step].into_iter().map(|v| self.ints([v])).collect();
        self.node("Slice", &[x, &lists[0], &lists[1], &lists[2], &lists[3]], Vec::new())
    }

    pub(super) fn with(&mut self, op: &str, x: &str, number: f32) -> String {
        let number = self.number(number);
        self.node(op, &[x, &number], Vec::new())
    }

    /// Truth values as numbers.
    pub(super) fn as_number(&mut self, x: &str) -> String {
        self.node("Cast", &[x], vec![int("to", i64::from(F32))])
    }

    /// Numbers as truth values.
    pub(super) fn as_truth(&mut self, x: &str) -> String {
        self.node("Cast", &[x], vec![int("to", i64::from(BOOL))])
    }
}

fn info(name: &str, dims: &[usize]) -> ValueInfo {
    let dim = |d: &usize| Dim { value: Some(Extent::Value(*d as i64)) };
    let shape = Some(Shape { dim: dims.iter().map(dim).collect() });
    let tensor = TensorType { elem_type: F32, shape };
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type: Some(tensor) }) }
}
