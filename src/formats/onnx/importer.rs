//! One node after another into the graph. What depends on constants alone is computed on the way, by the same rules: the node
//! is imported into a scratch graph, and that is evaluated in `f64` by the operations' references.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prost::bytes::Bytes;

use super::attrs::At;
use super::host::{Data, Host};
use super::inputs::{Bindings, File, input, otherwise, users};
use super::read::Source;
use super::tensor::Elem;
use super::value::{Val, Value, activation, general, grid_names};
use super::{ImportOptions, Imported, OnnxError, cut, nodes, proto};
use crate::graph::eval::{Given, evaluate};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::Op;
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::init::{Init, Stored};
use crate::ops::reshape::Reshape;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// The newest version of ONNX's operator set whose operations were looked at.
const OPSET_NEWEST: i64 = 28;

/// Operands of more elements than this are not folded.
const FOLD_OPERANDS: usize = 1 << 16;
/// Results of more elements than this are not folded.
const FOLD_RESULT: usize = 1 << 18;
/// More floating-point operations than this are left to run time.
const FOLD_FLOPS: u64 = 1 << 26;

/// All that is folded takes so many floating-point operations and elements at most; after that only what is small is.
const FOLD_ALL: u64 = 1 << 28;
/// What is folded in any case: shapes and indices.
const FOLD_SMALL: u64 = 1 << 10;
/// Tables of positions and constants hold so many entries in all, besides the elements of the file itself.
const ENTRIES_ALL: usize = 1 << 26;

/// The state of an import.
pub(super) struct Importer {
    /// The graph under construction.
    pub(super) graph: Graph,
    /// What may still be folded.
    fold_left: u64,
    /// Entries that tables and constants may still have.
    entries_left: usize,
    /// While a node is folded: what its weights are.
    scratch: Option<Vec<(ValueId, Array)>>,
    /// Weights made of initializers and of what was computed from these, by name.
    weights: HashMap<Arc<str>, Vec<(Host, ValueId)>>,
    /// Names of weights that are taken.
    taken: HashSet<String>,
    /// What the next values are called.
    name: String,
    /// See [`ImportOptions::training`].
    pub(super) training: bool,
    /// The file says that PyTorch wrote it.
    pub(super) pytorch: bool,
    /// The first extent that inputs were declared with, and the one that they have.
    pub(super) batch: Option<(usize, usize)>,
    /// Whether the elements of a tensor of the file are all finite, where that was asked.
    pub(super) finite: HashMap<Arc<str>, bool>,
    /// What a reader may want to know.
    pub(super) notes: Vec<String>,
}

/// Imports a model.
///
/// # Errors
/// [`OnnxError`]: the file is no sound model, an operation is not supported, a dimension is free, or elements are missing.
pub fn import(bytes: Bytes, options: &ImportOptions) -> Result<Imported, OnnxError> {
    Source::read(bytes, options)?.into_graph(options)
}

impl Source {
    /// The model as a graph.
    ///
    /// # Errors
    /// As [`import`].
    pub fn into_graph(self, options: &ImportOptions) -> Result<Imported, OnnxError> {
        let mut cx = Importer {
            graph: Graph::new(&network_name(&self.graph.name)),
            fold_left: FOLD_ALL,
            entries_left: self.given.values().fold(ENTRIES_ALL, |all, host| all.saturating_add(host.len())),
            scratch: None,
            weights: HashMap::new(),
            taken: HashSet::new(),
            name: String::new(),
            training: options.training,
            pytorch: self.producer == "pytorch",
            batch: None,
            finite: HashMap::new(),
            notes: Vec::new(),
        };
        if self.opset > OPSET_NEWEST {
            cx.notes.push(format!(
                "operator set {} is newer than {OPSET_NEWEST}, the newest that is known here; its operations are read as those of {OPSET_NEWEST}",
                self.opset
            ));
        }
        let mut values: HashMap<String, Value> = HashMap::new();
        let bindings = Bindings::new(&self.graph, &self.given, options)?;
        cx.batch = bindings.changed_batch(&self.graph);
        let file = File { graph: &self.graph, given: &self.given, users: users(&self.graph) };
        for port in self.graph.input.iter().filter(|p| !self.given.contains_key(&p.name)) {
            let known = options.known.iter().find(|(name, _)| *name == port.name);
            let value = match known {
                Some((_, raw)) => Value::Host(Host::raw(raw.clone(), "")),
                None => input(&mut cx, &file, port, &bindings)?,
            };
            if values.insert(port.name.clone(), value).is_some() {
                return Err(OnnxError::malformed(format!("two inputs are called `{}`", cut(&port.name))));
            }
        }
        bindings.finish()?;
        values.extend(self.given.into_iter().map(|(name, host)| (name, Value::Host(host))));
        let nodes = live(&self.graph);
        cx.nodes(nodes.into_iter(), output_names(&self.graph), self.opset, &mut values)?;
        let mut listed = HashSet::new();
        for port in &self.graph.output {
            if !listed.insert(&port.name) {
                return Err(OnnxError::malformed(format!(
                    "the output `{}` is listed twice",
                    cut(&port.name)
                )));
            }
            let Some(value) = values.get(&port.name) else {
                let message = format!("no node makes the output `{}`", cut(&port.name));
                return Err(OnnxError::malformed(message));
            };
            let dims = value.dims().to_vec();
            cx.output(&port.name, value)?;
            if options.shapes.is_empty()
                && cx.batch.is_none()
                && let Some(note) = otherwise(port, &dims)
            {
                cx.notes.push(note);
            }
        }
        if cx.graph.outputs.is_empty() {
            return Err(OnnxError::malformed("the graph has no output"));
        }
        Ok(Imported { graph: pruned(&cx.graph), notes: cx.notes })
    }
}

/// The graph without what no output depends on.
fn pruned(graph: &Graph) -> Graph {
    let mut live = vec![false; graph.values.len()];
    graph.outputs.iter().chain(&graph.inputs).for_each(|p| live[p.value.index()] = true);
    for id in graph.ids().rev() {
        if live[id.index()] {
            graph.uses(id).iter().for_each(|u| live[u.index()] = true);
        }
    }
    let mut places = Vec::with_capacity(live.len());
    let mut out = Graph { values: Vec::new(), ..graph.clone() };
    for (value, live) in graph.values.iter().zip(live) {
        places.push(ValueId(out.values.len() as u32));
        if live {
            let mut value = value.clone();
            if let Def::Op { inputs, .. } = &mut value.def {
                inputs.iter_mut().for_each(|i| *i = places[i.index()]);
            }
            out.values.push(value);
        }
    }
    out.outputs.iter_mut().chain(&mut out.inputs).for_each(|p| p.value = places[p.value.index()]);
    out
}

/// A word for the network.
fn network_name(name: &str) -> String {
    let word: String =
        cut(name).chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')).collect();
    if word.is_empty() { "model".to_owned() } else { word }
}

/// What a graph hands out.
fn output_names(graph: &proto::Graph) -> HashSet<&str> {
    graph.output.iter().map(|o| o.name.as_str()).collect()
}

/// The nodes that outputs depend on.
fn live(graph: &proto::Graph) -> Vec<&proto::Node> {
    let mut needed: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut out: Vec<&proto::Node> = Vec::new();
    for node in graph.node.iter().rev() {
        if node.output.iter().any(|o| needed.contains(o.as_str()) && !o.is_empty()) {
            super::read::used_names(node, &mut needed);
            out.push(node);
        }
    }
    out.reverse();
    out
}

impl Importer {
    /// Imports nodes in order; `needed` are the names that are handed out.
    pub(super) fn nodes<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a proto::Node>,
        mut needed: HashSet<&'a str>,
        opset: i64,
        values: &mut HashMap<String, Value>,
    ) -> Result<(), OnnxError> {
        let nodes: Vec<&proto::Node> = nodes.collect();
        nodes.iter().for_each(|node| super::read::used_names(node, &mut needed));
        for node in nodes {
            let mut operands = Vec::with_capacity(node.input.len());
            for name in &node.input {
                operands.push(match (name.as_str(), values.get(name)) {
                    ("", _) => None,
                    (_, Some(value)) => Some(value.clone()),
                    (_, None) => {
                        return Err(OnnxError::node(
                            node,
                            format!("nothing makes its operand `{}`", cut(name)),
                        ));
                    }
                });
            }
            let at = At { node, opset };
            self.name = node.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default();
            let results = if let Some(chosen) = nodes::branch(&at, &operands) {
                self.branch(chosen.map_err(|e| OnnxError::node(node, e))?, opset, values)?
            } else {
                self.node(&at, &operands).map_err(|reason| OnnxError::node(node, reason))?
            };
            // Results that nothing looks at (what a step of training would keep) need not be there.
            let missing = node.output.iter().skip(results.len()).find(|o| needed.contains(o.as_str()));
            if let Some(missing) = missing.filter(|o| !o.is_empty()) {
                let what = format!("its result `{}` is not supported", cut(missing));
                return Err(OnnxError::node(node, what));
            }
            for (name, value) in node.output.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
                values.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    /// The results of a graph inside of a node whose condition is known.
    fn branch(
        &mut self,
        graph: &proto::Graph,
        opset: i64,
        outer: &HashMap<String, Value>,
    ) -> Result<Vec<Value>, OnnxError> {
        let mut values = outer.clone();
        for tensor in &graph.initializer {
            let host = nodes::tensor(tensor, &tensor.name).map_err(OnnxError::malformed)?;
            values.insert(tensor.name.clone(), Value::Host(host));
        }
        self.nodes(graph.node.iter(), output_names(graph), opset, &mut values)?;
        let result = |port: &proto::ValueInfo| {
            let missing = || OnnxError::malformed(format!("no node makes the result `{}`", cut(&port.name)));
            values.get(&port.name).cloned().ok_or_else(missing)
        };
        graph.output.iter().map(result).collect()
    }

    /// Imports a node, folding it if all its operands are known and small.
    pub(super) fn node(&mut self, at: &At<'_>, operands: &[Option<Value>]) -> Result<Vec<Value>, String> {
        let mut size = 0;
        let known = operands.iter().flatten().all(|v| match v {
            Value::Host(h) => {
                size += h.len();
                true
            }
            Value::Graph(_) => false,
        });
        let small = known && !operands.is_empty() && size <= FOLD_OPERANDS && self.scratch.is_none();
        if small && let Some(folded) = self.fold(at, operands)? {
            return Ok(folded);
        }
        nodes::import(self, at, operands)
    }

    /// The node's results computed now; `None` where that would be too much.
    fn fold(&mut self, at: &At<'_>, operands: &[Option<Value>]) -> Result<Option<Vec<Value>>, String> {
        let graph = std::mem::replace(&mut self.graph, Graph::new("scratch"));
        let weights = std::mem::take(&mut self.weights);
        self.scratch = Some(Vec::new());
        let results = nodes::import(self, at, operands);
        let scratch = std::mem::replace(&mut self.graph, graph);
        self.weights = weights;
        let arrays = self.scratch.take().unwrap_or_default();
        let results = results?;
        if results.iter().all(|v| matches!(v, Value::Host(_))) {
            return Ok(Some(results));
        }
        let elements: u64 = scratch.values.iter().map(|v| v.ty.len() as u64).sum();
        let work = flops(&scratch).saturating_add(elements);
        if scratch.values.iter().any(|v| v.ty.len() > FOLD_RESULT) || work > FOLD_FLOPS {
            return Ok(None);
        }
        if work > FOLD_SMALL && !self.charge(work) {
            return Ok(None);
        }
        let mut found: HashMap<ValueId, Array> = HashMap::new();
        evaluate(&scratch, &Known(&arrays), |id, array| {
            if results.iter().any(|r| matches!(r, Value::Graph(v) if v.id == id)) {
                found.insert(id, array.clone());
            }
        });
        // A lone tensor whose elements only move keeps its name: a kernel that is reshaped, a bias that is cast.
        let moved = matches!(
            at.node.op_type.as_str(),
            "Reshape" | "Transpose" | "Cast" | "Unsqueeze" | "Squeeze" | "Flatten"
        );
        let own = match operands.first() {
            Some(Some(Value::Host(h))) if moved => h.name.clone(),
            _ => None,
        };
        let host = |(i, value): (usize, Value)| match value {
            Value::Host(h) => Value::Host(h),
            Value::Graph(v) => match found.get(&v.id) {
                Some(array) => {
                    let made = at.node.output.get(i).filter(|o| !o.is_empty()).unwrap_or(&self.name);
                    let name = own.clone().unwrap_or_else(|| made.as_str().into());
                    Value::Host(Host { name: Some(name), ..seen(&v, array) })
                }
                None => Value::Graph(v),
            },
        };
        Ok(Some(results.into_iter().enumerate().map(host).collect()))
    }

    /// Takes work from what folding may cost in all; whether there was so much left.
    pub(super) fn charge(&mut self, work: u64) -> bool {
        let left = self.fold_left.checked_sub(work);
        self.fold_left = left.unwrap_or(self.fold_left);
        left.is_some()
    }

    /// Whether a node is being folded: its values are exact in `f64`, and its weights are no weights.
    pub(super) fn is_scratch(&self) -> bool {
        self.scratch.is_some()
    }

    /// Takes entries of tables or constants from what all of them may have.
    pub(super) fn spend(&mut self, entries: usize) -> Result<(), String> {
        let left = self.entries_left.checked_sub(entries);
        self.entries_left = left.ok_or("tables and constants of more entries in all than are sensible")?;
        Ok(())
    }

    /// Adds an operation.
    pub(super) fn op(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, String> {
        let (name, op) = (self.name.clone(), op.into());
        self.spend(match &op {
            Op::Arrange(Arrange { from, .. }) => from.iter().map(entries).sum(),
            Op::Blend(blend) => blend.at.len(),
            _ => 0,
        })?;
        let (id, _) = self.graph.op(&name, op, inputs).map_err(|e| e.message)?;
        let empty = self.graph.value(id).ty.is_empty() && self.scratch.is_none();
        if empty { Err("its result has no elements".into()) } else { Ok(id) }
    }

    /// A known tensor as a weight (real numbers, named after the file's tensor) or a constant, with dimensions of type `ty`.
    pub(super) fn weight(&mut self, host: &Host, ty: TensorTy, trainable: bool) -> Result<ValueId, String> {
        if ty.len() != host.len() {
            return Err(format!("a weight of extents {:?} where {} is needed", host.dims, ty.show()));
        }
        if let Some(arrays) = &mut self.scratch {
            let name = format!("s{}", arrays.len());
            let array = Array { dims: ty.dims().to_vec(), data: host.values().to_vec() };
            let id = self.graph.param(&name, ty, Init::Constant(0.0), false);
            arrays.push((id, array));
            return Ok(id);
        }
        if host.len() == 0 {
            // What an output may be, and what is joined or sliced; whatever computes with it finds nothing there.
            let name = self.name.clone();
            return Ok(self.graph.constant(&name, ty, Vec::new()));
        }
        if let (Data::Fill(x), false) = (&host.data, host.elem == Elem::Float) {
            // One number, repeated where it is used: a file may ask for any number of them.
            let name = self.name.clone();
            let one = general(&[]).map(|ty| self.graph.constant(&name, ty, vec![*x as f32]))?;
            return self.op(Arrange { to: super::value::named(&ty), from: Vec::new() }, &[one]);
        }
        if host.elem != Elem::Float || (host.len() == 1 && host.name.is_none()) {
            self.spend(host.len())?;
            let name = self.name.clone();
            return Ok(self.graph.constant(&name, ty, host.f32s()));
        }
        // What is computed on the way may share a name: results of one node, steps of one that is composed.
        let known = host.name.as_ref().and_then(|name| self.weights.get(name));
        if let Some((_, id)) = known.and_then(|all| all.iter().find(|(of, _)| of.is_same(host))) {
            return self.retyped(*id, &ty);
        }
        if matches!(host.data, Data::Values(_)) {
            self.spend(host.len())?;
        }
        let name = self.fresh(host.name.as_deref());
        let init = match &host.data {
            Data::Fill(x) => Init::Constant(*x as f32),
            Data::Values(_) | Data::Raw(_) => {
                let host = host.clone();
                Init::Stored(Stored::new(ty.len(), move || host.f32s()))
            }
        };
        let id = self.graph.param(&name, ty, init, trainable);
        if let Some(name) = &host.name {
            self.weights.entry(name.clone()).or_default().push((host.clone(), id));
        }
        Ok(id)
    }

    /// A weight that was made under other dimensions.
    fn retyped(&mut self, id: ValueId, ty: &TensorTy) -> Result<ValueId, String> {
        if self.graph.value(id).ty == *ty {
            return Ok(id);
        }
        let to = super::value::named(ty);
        self.op(crate::ops::refold::Refold { to }, &[id])
    }

    /// A name that no weight has.
    fn fresh(&mut self, wanted: Option<&str>) -> String {
        let base = wanted.map_or_else(|| format!("{}.constant", self.name), str::to_owned);
        let mut name = base.clone();
        let mut i = 1;
        while !self.taken.insert(name.clone()) {
            i += 1;
            name = format!("{base}.{i}");
        }
        name
    }

    /// An activation without the grid axes of extent 1 that the file left out, its other axes as the file orders them: text in a row,
    /// classes last.
    fn squeezed(&mut self, v: &Val) -> Result<Option<Val>, String> {
        let ty = self.graph.value(v.id).ty.clone();
        let axes: Option<Vec<usize>> = v.axes.iter().copied().collect();
        let Some(axes) = axes.filter(|a| ty.is_activation() && a.starts_with(&[0]) && a.contains(&1)) else {
            return Ok(None);
        };
        let kept: Vec<usize> = (0..ty.dims().len()).filter(|d| axes.contains(d)).collect();
        if grid_names(kept.len()).is_none()
            || (0..ty.dims().len()).any(|d| !kept.contains(&d) && ty.dims()[d] > 1)
        {
            return Ok(None);
        }
        let extents: Vec<usize> = kept.iter().map(|d| ty.dims()[*d]).collect();
        let to = activation(&extents)?;
        let op = if kept.len() == 2 { Reshape { to: None } } else { Reshape::to(&to) };
        let id = self.op(op, &[v.id])?;
        let places = axes.iter().map(|a| kept.iter().position(|k| k == a)).collect();
        Ok(Some(Val { id, axes: places, ..v.clone() }))
    }

    /// Declares an output.
    fn output(&mut self, name: &str, value: &Value) -> Result<(), OnnxError> {
        let wrong = |reason: String| OnnxError::malformed(format!("the output `{}`: {reason}", cut(name)));
        self.name = name.to_owned();
        let v = self.val(value).map_err(wrong)?;
        let whole = self.graph.value(v.id).ty.dims().len() == v.rank() && v.axes.iter().all(Option::is_some);
        let v = if whole {
            v
        } else if let Some(v) = self.squeezed(&v).map_err(wrong)? {
            v
        } else {
            let is_act = self.graph.value(v.id).ty.is_activation() && grid_names(v.rank()).is_some();
            let to = if is_act { activation(&v.dims) } else { general(&v.dims) };
            let id = to.and_then(|to| self.cast(&v, &to)).map_err(wrong)?;
            self.plain(id, v.elem)
        };
        let order = v.axes.iter().flatten().copied().collect();
        self.graph.output(name, v.id, order);
        Ok(())
    }
}

/// Entries of the table that says where elements come from.
fn entries(pick: &Pick) -> usize {
    match pick {
        Pick::Step { .. } => 0,
        Pick::Table { table, .. } => table.len(),
    }
}

/// Floating-point operations of a graph.
fn flops(graph: &Graph) -> u64 {
    let mut total = 0u64;
    for id in graph.ids() {
        if let Def::Op { op, inputs } = &graph.value(id).def {
            let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
            total = total.saturating_add(op.rules().cost(&types, &graph.value(id).ty).flops);
        }
    }
    total
}

/// The weights of a scratch graph.
struct Known<'a>(&'a [(ValueId, Array)]);

impl Given for Known<'_> {
    fn input(&self, _position: usize, ty: &TensorTy) -> Array {
        Array::zeros(ty.dims())
    }

    fn param(&self, id: ValueId, ty: &TensorTy) -> Array {
        let found = self.0.iter().find(|(of, _)| *of == id);
        found.map_or_else(|| Array::zeros(ty.dims()), |(_, array)| array.clone())
    }
}

/// An evaluated value in ONNX's order.
fn seen(v: &Val, array: &Array) -> Host {
    let mut values = Vec::with_capacity(v.len());
    let mut from = vec![0; array.dims.len()];
    for_each_index(&v.dims, |at| {
        for (axis, i) in v.axes.iter().zip(at) {
            if let Some(d) = axis {
                from[*d] = *i;
            }
        }
        values.push(array.at(&from));
    });
    Host::new(v.dims.clone(), v.elem, values)
}
