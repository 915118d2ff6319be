//! Graphs as text. What is printed here, [`super::parse`] reads back to an equal graph; the listing of a tool is the same text.
//!
//! ```text
//! graph "LeNet5"
//! v0 = input : [n: 1, c: 1, h: 32, w: 32] "image"
//! v1 = param(he(25), train) : [o: 6, i: 1, kh: 5, kw: 5] "c1.weight"
//! v2 = const[0.5, 1.0] : [c: 2] "k"
//! v3 = conv(stride=[1, 1]) v0, v1 : [n: 1, c: 6, h: 28, w: 28] "c1" @layout([0, 2, 3, 1], [0, 0, 2, 2, 2, 2, 0, 0]) @span(0, 12, 34)
//! v4 = relu() v3 : [n: 1, c: 6, h: 28, w: 28] "relu_1" @group(v3)
//! in "image" v0 [0, 1, 2, 3]
//! out "out" v4 [0, 1, 2, 3]
//! update v1 v9
//! commit 0
//! ```

use std::fmt::Write;

use super::{Def, Graph, Port, Value, ValueId};
use crate::ops::args::{Attr, Attrs};
use crate::ops::init::Init;

/// Constants with more elements than this are cut short in [`summary`].
const SHOWN: usize = 8;

/// The whole graph; parses back.
pub fn print(graph: &Graph) -> String {
    render(graph, usize::MAX)
}

/// The whole graph, long constants cut short; for reading, not for parsing.
pub fn summary(graph: &Graph) -> String {
    render(graph, SHOWN)
}

fn render(graph: &Graph, shown: usize) -> String {
    let mut out = format!("graph {}\n", quote(&graph.name));
    for id in graph.ids() {
        value_line(&mut out, id, graph.value(id), shown);
    }
    let port = |out: &mut String, word: &str, p: &Port| {
        let _ = writeln!(out, "{word} {} {} {}", quote(&p.name), p.value, numbers(&p.order));
    };
    graph.inputs.iter().for_each(|p| port(&mut out, "in", p));
    graph.outputs.iter().for_each(|p| port(&mut out, "out", p));
    for u in &graph.updates {
        let _ = writeln!(out, "update {} {}", u.param, u.value);
    }
    if let Some(port) = graph.commit {
        let _ = writeln!(out, "commit {port}");
    }
    out
}

fn value_line(out: &mut String, id: ValueId, value: &Value, shown: usize) {
    let _ = write!(out, "{id} = {} : {} {}", def(&value.def, shown), value.ty, quote(&value.name));
    if let Some(root) = value.group {
        let _ = write!(out, " @group({root})");
    }
    if let Some(layout) = &value.layout {
        let halo: Vec<usize> = layout.halo.iter().flat_map(|h| [h.0, h.1]).collect();
        let block = layout.block.map_or(String::new(), |size| format!(", {size}"));
        let _ = write!(out, " @layout({}, {}{block})", numbers(&layout.order), numbers(&halo));
    }
    if let Some(span) = value.span {
        let _ = write!(out, " @span({}, {}, {})", span.file.0, span.start, span.end);
    }
    out.push('\n');
}

/// What makes a value, with its operands.
fn def(def: &Def, shown: usize) -> String {
    match def {
        Def::Input(i) => format!("input({i})"),
        Def::Param { init: start, trainable } => {
            format!("param({}, {})", init(start, shown), if *trainable { "train" } else { "keep" })
        }
        Def::Const(data) => format!("const{}", floats(data, shown)),
        Def::Op { op, inputs } => {
            let rules = op.rules();
            let names: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            let space = if names.is_empty() { "" } else { " " };
            format!("{}({}){space}{}", rules.kind(), attrs(&rules.attrs()), names.join(", "))
        }
    }
}

/// Attributes as `name=value, …`.
pub fn attrs(attrs: &Attrs) -> String {
    let shown: Vec<String> = attrs.0.iter().map(|(name, value)| format!("{name}={}", attr(value))).collect();
    shown.join(", ")
}

fn attr(value: &Attr) -> String {
    match value {
        Attr::Int(i) => i.to_string(),
        Attr::Float(x) => float(*x),
        Attr::Bool(b) => b.to_string(),
        Attr::Word(w) => w.clone(),
        Attr::Ints(v) => numbers(v),
        // An empty list of lists must not read as an empty list of integers.
        Attr::Lists(v) if v.is_empty() => "[;]".to_owned(),
        Attr::Lists(v) => {
            let rows: Vec<String> = v.iter().map(|row| numbers(row)).collect();
            format!("[{}]", rows.join(", "))
        }
    }
}

fn init(init: &Init, shown: usize) -> String {
    match init {
        Init::He { fan_in } => format!("he({fan_in})"),
        Init::Glorot { fan_in, fan_out } => format!("glorot({fan_in}, {fan_out})"),
        Init::Lecun { fan_in } => format!("lecun({fan_in})"),
        Init::Normal { mean, std } => format!("normal({}, {})", float(*mean), float(*std)),
        Init::Uniform { lo, hi } => format!("uniform({}, {})", float(*lo), float(*hi)),
        Init::Constant(x) => format!("constant({})", float(*x)),
        Init::Identity => "identity".to_owned(),
        Init::Bilinear => "bilinear".to_owned(),
        Init::Gabor(g) => {
            let (f, s, a) = (float(g.frequency), float(g.sigma), float(g.aspect));
            format!("gabor({}, {}, {f}, {s}, {a})", g.orientations, g.phases)
        }
        Init::Values(v) => format!("values{}", floats(v, shown)),
        Init::Stored(v) => format!("values{}", floats(&v.values(), shown)),
    }
}

/// Shortest decimal that reads back as the same number; always with a point or an exponent, so that it is no integer.
fn float(x: f32) -> String {
    format!("{x:?}")
}

fn floats(data: &[f32], shown: usize) -> String {
    let head: Vec<String> = data.iter().take(shown).map(|x| float(*x)).collect();
    let tail = if data.len() > shown { format!(", … {} in all", data.len()) } else { String::new() };
    format!("[{}{tail}]", head.join(", "))
}

fn numbers<T: ToString>(list: &[T]) -> String {
    let shown: Vec<String> = list.iter().map(ToString::to_string).collect();
    format!("[{}]", shown.join(", "))
}

/// Text in quotes, with `\"`, `\\` and `\n` as the only escapes.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
