//! A graph as a program of the language, with the weights that the program's names stand for: what `cnnc import` writes.
//!
//! In: a graph without layouts and groups whose values are activations, and its weights. Out: the text of one `net` (laid out
//! by the formatter afterwards) and tensors by the names that the text gives them. Layers are named after the weights they
//! had; a value that is used once continues its pipeline, any other gets a `let`. What depends on weights alone is computed
//! here, by the operations' references. What the language has no word for is refused with its name.

mod stage;

use std::collections::{BTreeMap, HashSet};

use crate::graph::{Def, Graph, ValueId};
use crate::ops::Op;
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// A program and its weights.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The text, not formatted.
    pub text: String,
    /// Weights in the order of the program: name, extents, elements.
    pub weights: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// Why a graph is no program: the value, its operation, the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A value in the text.
#[derive(Clone, Debug)]
enum Spelt {
    /// By its name.
    Named(String),
    /// A pipeline that goes on.
    Open(String),
}

/// The state of writing.
struct Writer<'a> {
    graph: &'a Graph,
    weights: &'a dyn Fn(&str) -> Option<Vec<f32>>,
    values: BTreeMap<ValueId, Spelt>,
    /// What depends on weights and constants alone.
    known: BTreeMap<ValueId, Array>,
    taken: HashSet<String>,
    lines: Vec<String>,
    out: Written,
}

/// Words of the language that are no names.
const RESERVED: &[&str] = &[
    "use", "const", "table", "block", "net", "train", "test", "budget", "let", "new", "repeat", "as", "is",
    "if", "else", "and", "or", "not", "true", "false", "it",
];

/// Writes a graph as a program; `weights` gives a weight's elements by its name.
///
/// # Errors
/// [`Refused`] for what the language has no word for.
pub fn write(graph: &Graph, weights: &dyn Fn(&str) -> Option<Vec<f32>>) -> Result<Written, Refused> {
    let mut w = Writer {
        graph,
        weights,
        values: BTreeMap::new(),
        known: BTreeMap::new(),
        taken: RESERVED.iter().map(|w| (*w).to_owned()).collect(),
        lines: Vec::new(),
        out: Written::default(),
    };
    let name = w.name(&graph.name);
    let mut inputs = Vec::new();
    for port in &graph.inputs {
        let input = w.name(&port.name);
        inputs.push(format!("{input}: {}", shape(w.activation(port.value)?, &port.order)));
        w.values.insert(port.value, Spelt::Named(input));
    }
    let users = graph.users();
    for id in graph.ids() {
        let Def::Op { op, inputs } = &graph.value(id).def else { continue };
        if w.fold(id, op, inputs) {
            continue;
        }
        let text = w.operation(id, op, inputs)?;
        let user = users[id.index()].as_slice();
        let output = graph.outputs.iter().any(|p| p.value == id);
        let goes_on = |u: ValueId| !output && graph.uses(u).first() == Some(&id) && is_stage(graph, u);
        let written = match user {
            [one] if goes_on(*one) => Spelt::Open(text),
            _ => Spelt::Named(w.bind(id, &text)),
        };
        w.values.insert(id, written);
    }
    let (mut shapes, mut results) = (Vec::new(), Vec::new());
    for port in &graph.outputs {
        let output = w.name(&port.name);
        shapes.push((output, shape(w.activation(port.value)?, &port.order)));
        results.push(w.operand(port.value)?);
    }
    let declared = match shapes.as_slice() {
        [(_, shape)] => shape.clone(),
        several => {
            let all: Vec<String> = several.iter().map(|(name, shape)| format!("{name}: {shape}")).collect();
            format!("({})", all.join(", "))
        }
    };
    let result = if results.len() == 1 { results.concat() } else { format!("({})", results.join(", ")) };
    let body = w.lines.join("\n");
    w.out.text = format!("net {name}({}) -> {declared} {{\n{body}\n{result}\n}}\n", inputs.join(", "));
    Ok(w.out)
}

/// Whether an operation is written behind its first operand.
fn is_stage(graph: &Graph, id: ValueId) -> bool {
    let Def::Op { op, inputs } = &graph.value(id).def else { return false };
    match op {
        Op::Binary(op) if op.number.is_some() => false,
        Op::Binary(_) => inputs.len() == 2 && !graph.value(inputs[1]).ty.is_activation(),
        Op::Concat(_) => false,
        _ => true,
    }
}

/// `[h: 8, w: 8, c: 3]`, the batch left out.
fn shape(ty: &TensorTy, order: &[usize]) -> String {
    let axes = order.iter().filter(|d| **d != 0).map(|d| format!("{}: {}", ty.names()[*d], ty.dims()[*d]));
    format!("[{}]", axes.collect::<Vec<_>>().join(", "))
}

impl Writer<'_> {
    fn ty(&self, id: ValueId) -> &TensorTy {
        &self.graph.value(id).ty
    }

    /// The type of a value, which must be channels on a grid.
    fn activation(&self, id: ValueId) -> Result<&TensorTy, Refused> {
        let ty = self.ty(id);
        if ty.is_activation() {
            return Ok(ty);
        }
        let value = self.graph.value(id);
        let message = format!(
            "`{}` {ty} is no channels on a grid, which is what the language's values are",
            value.name
        );
        Err(Refused(message))
    }

    fn refused(&self, id: ValueId, op: &Op, why: &str) -> Refused {
        let name = &self.graph.value(id).name;
        Refused(format!("`{name}` is a `{}`, for which the language has no form{why}", op.rules().kind()))
    }

    /// A word nothing else is called, near to `wanted`.
    fn name(&mut self, wanted: &str) -> String {
        let mut word: String =
            wanted.chars().take(48).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        while word.contains("__") {
            word = word.replace("__", "_");
        }
        let trimmed = word.trim_matches('_');
        let mut word = if trimmed.is_empty() { "v".to_owned() } else { trimmed.to_owned() };
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            word.insert(0, 'v');
        }
        let mut name = word.clone();
        let mut i = 1;
        while !self.taken.insert(name.clone()) {
            i += 1;
            name = format!("{word}_{i}");
        }
        name
    }

    /// Computes what depends on weights alone; whether it does.
    fn fold(&mut self, id: ValueId, op: &Op, inputs: &[ValueId]) -> bool {
        let arrays: Option<Vec<Array>> = inputs.iter().map(|i| self.array(*i)).collect();
        let Some(arrays) = arrays else { return false };
        let arrays: Vec<&Array> = arrays.iter().collect();
        let result = op.rules().reference(&arrays, self.ty(id));
        self.known.insert(id, result);
        true
    }

    /// The elements of a weight, a constant, or what was computed from these.
    fn array(&self, id: ValueId) -> Option<Array> {
        let value = self.graph.value(id);
        match &value.def {
            Def::Param { .. } => (self.weights)(&value.name)
                .filter(|d| d.len() == value.ty.len())
                .map(|d| Array::from_f32(value.ty.dims(), &d)),
            Def::Const(data) => Some(Array::from_f32(value.ty.dims(), data)),
            Def::Op { .. } => self.known.get(&id).cloned(),
            Def::Input(_) => None,
        }
    }

    /// A name for the value of a pipeline.
    fn bind(&mut self, id: ValueId, text: &str) -> String {
        let name = self.name(&format!("x_{}", self.graph.value(id).name));
        self.lines.push(format!("let {name} = {text}"));
        name
    }

    /// A value as an operand: its name.
    fn operand(&mut self, id: ValueId) -> Result<String, Refused> {
        match self.values.get(&id).cloned() {
            Some(Spelt::Named(name)) => Ok(name),
            Some(Spelt::Open(text)) => {
                let name = self.bind(id, &text);
                self.values.insert(id, Spelt::Named(name.clone()));
                Ok(name)
            }
            None => {
                let name = &self.graph.value(id).name;
                Err(Refused(format!("`{name}` is a constant tensor, for which the language has no form")))
            }
        }
    }

    /// The pipeline of `x` with one more stage.
    fn piped(&self, x: ValueId, stage: &str) -> Result<String, Refused> {
        match self.values.get(&x) {
            Some(Spelt::Named(text) | Spelt::Open(text)) => Ok(format!("{text}\n|> {stage}")),
            None => {
                let name = &self.graph.value(x).name;
                Err(Refused(format!("`{name}` is a constant tensor, for which the language has no form")))
            }
        }
    }

    /// A layer's name: that of its weight without the last part, else that of its value.
    fn layer(&mut self, id: ValueId, weight: Option<ValueId>) -> String {
        let mut at = weight;
        // Through what was computed from it.
        while let Some(w) = at {
            match &self.graph.value(w).def {
                Def::Op { inputs, .. } => at = inputs.first().copied(),
                Def::Param { .. } | Def::Const(_) | Def::Input(_) => break,
            }
        }
        let own = &self.graph.value(id).name;
        let wanted = at.map_or(own, |w| &self.graph.value(w).name);
        let stem =
            ["weight", "weights", "kernel", "w", "W", "scale", "gamma", "kernel:0", "gamma:0", "w_0", "s_0"]
                .iter()
                .find_map(|end| wanted.strip_suffix(end))
                .map(|stem| stem.trim_end_matches(['.', '/', '_', ':']))
                .filter(|stem| !stem.is_empty());
        let wanted = stem.map_or_else(|| wanted.clone(), str::to_owned);
        // Exporters that fold number tensors without meaning; the node says more.
        let anonymous = wanted.starts_with("onnx::") || wanted.chars().all(|c| c.is_ascii_digit());
        self.name(if anonymous { own } else { &wanted })
    }

    /// Keeps a weight of `layer` under the last part of its path.
    fn keep(&mut self, layer: &str, part: &str, id: ValueId) -> Result<(), Refused> {
        let Some(array) = self.array(id) else {
            let name = &self.graph.value(id).name;
            return Err(Refused(format!(
                "the weight `{name}` depends on the input, for which the language has no form"
            )));
        };
        self.keep_array(layer, part, array);
        Ok(())
    }

    fn keep_array(&mut self, layer: &str, part: &str, array: Array) {
        let data = array.data.iter().map(|x| *x as f32).collect();
        self.out.weights.push((format!("{layer}.{part}"), array.dims, data));
    }

    fn operation(&mut self, id: ValueId, op: &Op, x: &[ValueId]) -> Result<String, Refused> {
        self.activation(id)?;
        match op {
            Op::Binary(op) => self.binary(id, op, x),
            Op::Slice(slice) => self.slice(id, op, slice, x[0]),
            Op::Concat(op) => {
                let parts = x.iter().map(|v| self.operand(*v)).collect::<Result<Vec<_>, _>>()?;
                let axis = self.ty(id).names()[op.dim].clone();
                Ok(format!("concat({}, axis: {axis})", parts.join(", ")))
            }
            _ => {
                let stage = self.stage(id, op, x)?;
                self.piped(x[0], &stage)
            }
        }
    }

    fn binary(&mut self, id: ValueId, op: &Binary, x: &[ValueId]) -> Result<String, Refused> {
        let call = matches!(op.f, BinaryFn::Max | BinaryFn::Min);
        let sign = op.f.sign();
        let join =
            |a: &str, b: &str| if call { format!("{sign}({a}, {b})") } else { format!("{a} {sign} {b}") };
        if let Some(number) = op.number {
            let value = self.operand(x[0])?;
            return Ok(match number {
                Number::Left(k) => join(&stage::number(k), &value),
                Number::Right(k) => join(&value, &stage::number(k)),
            });
        }
        if let [value, other] = x
            && let Some(array) = self.array(*other)
            && self.array(*value).is_none()
        {
            return self.per_channel(id, op, *value, *other, array);
        }
        let names = x.iter().map(|v| self.operand(*v)).collect::<Result<Vec<_>, _>>()?;
        if call {
            return Ok(format!("{sign}({})", names.join(", ")));
        }
        Ok(names.join(&format!(" {sign} ")))
    }

    /// A known right operand: one number for each channel is a layer.
    fn per_channel(
        &mut self,
        id: ValueId,
        op: &Binary,
        value: ValueId,
        other: ValueId,
        mut array: Array,
    ) -> Result<String, Refused> {
        let c = self.activation(id)?.c();
        let lone = array.data.len() == c && array.dims.contains(&c);
        let (stage, part, change): (&str, &str, fn(f64) -> f64) = match op.f {
            BinaryFn::Add => ("bias", "bias", |x| x),
            BinaryFn::Sub => ("bias", "bias", |x| -x),
            BinaryFn::Mul => ("scale", "weight", |x| x),
            BinaryFn::Div => ("scale", "weight", |x| 1.0 / x),
            BinaryFn::Max | BinaryFn::Min => {
                return Err(self.refused(id, &op.clone().into(), " with a constant tensor"));
            }
        };
        let spread =
            array.data.len() == 1 || (lone && (array.dims.len() == 1 || array.dims.get(1) == Some(&c)));
        if !spread {
            return Err(self.refused(id, &op.clone().into(), " with a constant tensor"));
        }
        array.data.iter_mut().for_each(|x| *x = change(*x));
        if array.data.len() == 1 {
            array.data = vec![array.data[0]; c];
        }
        array.dims = vec![c];
        let layer = self.layer(id, Some(other));
        self.keep_array(&layer, part, array);
        self.piped(value, &format!("{stage} as {layer}"))
    }
}
