//! Nodes as text: a value that is used once continues its pipeline, any other gets a `let`.

use std::collections::{BTreeMap, HashSet};

use super::Refused;
use super::node::{Form, Node, Ref};

/// Words of the language that are no names.
const RESERVED: &[&str] = &[
    "use", "const", "table", "block", "net", "train", "test", "budget", "let", "new", "repeat", "as", "is",
    "if", "else", "and", "or", "not", "true", "false", "it", "std", "min", "max", "ceil", "floor", "c",
    "same", "valid", "full", "global", "none", "all",
];

/// Names that are taken.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The language's own, and those of its operations, which a name would hide.
    words: HashSet<String>,
    taken: HashSet<String>,
}

impl Names {
    pub(super) fn new() -> Self {
        let operations = crate::ops::infos().into_iter().map(|info| info.name);
        let words = RESERVED.iter().copied().chain(operations).map(str::to_owned).collect();
        Self { words, taken: HashSet::new() }
    }

    /// A word nothing else is called, near to `wanted`.
    pub(super) fn name(&mut self, wanted: &str) -> String {
        let word = word(wanted);
        let mut i = usize::from(!self.words.contains(&word));
        let mut name = if i == 0 { format!("{word}_1") } else { word.clone() };
        while !self.taken.insert(name.clone()) {
            i = i.max(1) + 1;
            name = format!("{word}_{i}");
        }
        name
    }
}

/// A word of the language near to a name.
pub(super) fn word(wanted: &str) -> String {
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
    word
}

/// A value's name in the file without what an exporter puts around it: `/layer1/layer1.0/conv1/Conv_output_0` is
/// `layer1.0/conv1`.
pub(super) fn clean(name: &str) -> String {
    let name = name.strip_suffix("_output_0").unwrap_or(name);
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty()).collect();
    let mut kept: Vec<&str> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        // A scope that the next one says again.
        let again =
            parts.get(i + 1).is_some_and(|next| next.strip_prefix(*part).is_some_and(|r| r.starts_with('.')));
        // The operation behind the layer.
        let operation = i > 0 && i + 1 == parts.len() && part.starts_with(|c: char| c.is_ascii_uppercase());
        if !again && !operation {
            kept.push(part);
        }
    }
    if kept.is_empty() { name.to_owned() } else { kept.join("/") }
}

/// A body: statements and results.
pub(super) struct Body {
    /// `let` statements.
    pub(super) lines: Vec<String>,
    /// The results' expressions.
    pub(super) results: Vec<String>,
    /// For each node the name of its layer.
    pub(super) layers: Vec<Option<String>>,
}

/// Longer pipelines are cut by a `let`: the language bounds them.
const STAGES_MAX: usize = 200;

/// How many stages the next value's pipeline has; noted.
fn call_stages(values: &[Spelt], node: &Node, stages: &mut Vec<usize>) -> usize {
    let before = match (node.form, node.operands.first()) {
        (Form::Stage, Some(Ref::Node(j))) if matches!(values[*j], Spelt::Open(_)) => stages[*j],
        _ => 0,
    };
    stages.push(before + 1);
    before + 1
}

/// A value in the text.
enum Spelt {
    Named(String),
    Open(String),
}

/// Writes nodes; `inputs` are the names of the parameters.
///
/// # Errors
/// A call that names what is not there.
pub(super) fn body(
    nodes: &[Node],
    inputs: &[String],
    outputs: &[Ref],
    names: &mut Names,
) -> Result<Body, Refused> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        for operand in &node.operands {
            if let Ref::Node(j) = operand {
                users[*j].push(i);
            }
        }
    }
    let mut out = Body { lines: Vec::new(), results: Vec::new(), layers: Vec::new() };
    let mut values: Vec<Spelt> = Vec::new();
    let mut stages: Vec<usize> = Vec::new();
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        let mut given = Vec::new();
        for operand in &node.operands {
            given.push(match (*operand, node.form) {
                (Ref::Input(k), _) => inputs[k].clone(),
                (Ref::Node(j), Form::Stage) => match &values[j] {
                    Spelt::Named(text) | Spelt::Open(text) => text.clone(),
                },
                (Ref::Node(j), Form::Expr | Form::Part(_)) => {
                    named(nodes, j, &mut values, &mut out.lines, names)
                }
            });
        }
        let mut call = node.text(&given)?;
        let layer = node.layer.as_ref().map(|wanted| names.name(wanted));
        if let Some(layer) = &layer {
            call.push_str(&format!(" as {layer}"));
        }
        out.layers.push(layer);
        let text = match node.form {
            Form::Expr => call,
            Form::Stage => format!("{}\n|> {call}", given.concat()),
            Form::Part(k) => {
                let made = format!("{} |> {call}", given.concat());
                let known = parts.get(&made).cloned();
                let name = known.unwrap_or_else(|| {
                    let name = names.name("parts");
                    out.lines.push(format!("let {name} = {made}"));
                    parts.insert(made, name.clone());
                    name
                });
                format!("{name}[{k}]")
            }
        };
        let short = call_stages(&values, node, &mut stages) < STAGES_MAX;
        let goes_on = short && matches!(users[i][..], [one] if nodes[one].form == Form::Stage);
        let output = outputs.contains(&Ref::Node(i));
        values.push(Spelt::Open(text));
        let last = outputs == [Ref::Node(i)] && users[i].is_empty();
        let part = matches!(node.form, Form::Part(_));
        if part {
            if let Some(Spelt::Open(text)) = values.pop() {
                values.push(Spelt::Named(text));
            }
        } else if !(goes_on && !output || last) {
            named(nodes, i, &mut values, &mut out.lines, names);
        }
    }
    for output in outputs {
        out.results.push(match *output {
            Ref::Input(k) => inputs[k].clone(),
            Ref::Node(j) => match &values[j] {
                Spelt::Named(text) | Spelt::Open(text) => text.clone(),
            },
        });
    }
    Ok(out)
}

/// The name of a value, by a `let` if it has none yet.
fn named(
    nodes: &[Node],
    i: usize,
    values: &mut [Spelt],
    lines: &mut Vec<String>,
    names: &mut Names,
) -> String {
    match &values[i] {
        Spelt::Named(name) => name.clone(),
        Spelt::Open(text) => {
            let name = names.name(&format!("x_{}", clean(&nodes[i].name)));
            lines.push(format!("let {name} = {text}"));
            values[i] = Spelt::Named(name.clone());
            name
        }
    }
}
