//! A graph as a program of the language, with the weights that the program's names stand for: what `cnnc import` writes.
//!
//! In: a graph without layouts and groups whose values are activations, and its weights. Out: the text of one `net` and of its blocks
//! (laid out by the formatter afterwards) and tensors by the names that the text gives them. Layers are named after the weights
//! they had. What depends on weights alone is computed here, by the operations' references. What the language has no word for
//! is refused with its name.
//!
//! `narrow` writes vectors without a grid, `read` and `stage` turn operations into [`node`]s, `blocks` finds what repeats, `text`
//! writes it down.

mod blocks;
mod narrow;
mod node;
mod read;
mod stage;
mod text;

use std::collections::HashSet;

use crate::graph::Graph;
use crate::tensor::ty::TensorTy;
use text::Names;

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
pub struct Refused {
    /// The value, as the graph names it; none where the reason speaks of no single one.
    pub value: Option<String>,
    /// The reason, a phrase.
    pub why: String,
}

impl Refused {
    fn of(value: &str, why: impl Into<String>) -> Self {
        Self { value: Some(value.to_owned()), why: why.into() }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "`{value}`: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for Refused {}

/// Writes a graph as a program; `weights` gives a weight's elements by its name. With `blocks`, what repeats is written once.
///
/// # Errors
/// [`Refused`] for what the language has no word for.
pub fn write(
    graph: &Graph,
    weights: &dyn Fn(&str) -> Option<Vec<f32>>,
    blocks: bool,
) -> Result<Written, Refused> {
    let graph = &narrow::narrowed(graph);
    let mut nodes = read::read(graph, weights)?;
    let mut names = Names::new();
    let title = names.name(&graph.name);
    let found = if blocks { blocks::find(&mut nodes, &mut names)? } else { Vec::new() };
    let mut inputs = Vec::new();
    let mut params = Vec::new();
    for port in &graph.inputs {
        let input = names.name(&port.name);
        params.push(format!("{input}: {}", shape(activation(graph, port.value)?, &port.order)));
        inputs.push(input);
    }
    let body = text::body(&nodes.list, &inputs, &nodes.outputs, &mut names)?;
    let mut shapes = Vec::new();
    for port in &graph.outputs {
        let output = names.name(&port.name);
        shapes.push((output, shape(activation(graph, port.value)?, &port.order)));
    }
    let declared = match shapes.as_slice() {
        [(name, shape)] if name == "out" => shape.clone(),
        several => {
            let all: Vec<String> = several.iter().map(|(name, shape)| format!("{name}: {shape}")).collect();
            format!("({})", all.join(", "))
        }
    };
    let mut text = String::new();
    for block in &found {
        text.push_str(block);
        text.push('\n');
    }
    text.push_str(&format!(
        "net {title}({}) -> {declared} {{\n{}\n{}\n}}\n",
        params.join(", "),
        body.lines.join("\n"),
        tuple(&body.results)
    ));
    let mut out = Written { text, weights: Vec::new() };
    for (node, layer) in nodes.list.into_iter().zip(body.layers) {
        let layer = layer.unwrap_or_default();
        let own = node.weights.into_iter().map(|(part, dims, data)| (format!("{layer}.{part}"), dims, data));
        out.weights.extend(own);
    }
    let mut seen = HashSet::new();
    if let Some((twice, ..)) = out.weights.iter().find(|w| !seen.insert(w.0.clone())) {
        return Err(Refused { value: None, why: format!("two weights would be called `{twice}`") });
    }
    Ok(out)
}

/// A block's or net's result.
fn tuple(results: &[String]) -> String {
    if results.len() == 1 { results.concat() } else { format!("({})", results.join(", ")) }
}

/// `[h: 8, w: 8, c: 3]`, the batch left out.
fn shape(ty: &TensorTy, order: &[usize]) -> String {
    let axes = order.iter().filter(|d| **d != 0).map(|d| format!("{}: {}", ty.names()[*d], ty.dims()[*d]));
    format!("[{}]", axes.collect::<Vec<_>>().join(", "))
}

/// The type of a value, which must be channels on a grid.
fn activation(graph: &Graph, id: crate::graph::ValueId) -> Result<&TensorTy, Refused> {
    let value = graph.value(id);
    if value.ty.is_activation() {
        return Ok(&value.ty);
    }
    let extents: Vec<String> = value.ty.dims().iter().map(usize::to_string).collect();
    let why = format!(
        "extents {} are no channels on a grid with the batch in front, which is what the language's values are",
        extents.join("x")
    );
    Err(Refused::of(&value.name, why))
}
