//! A graph as a Graphviz drawing: a box per operation, groups framed, weights as small text. For reading only.

use std::fmt::Write;

use super::{Def, Graph, ValueId};

/// The drawing in the `dot` language.
pub fn dot(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n  node [shape=box, fontname=\"monospace\"];\n", quote(&graph.name));
    let mut framed = vec![false; graph.values.len()];
    for root in graph.ids().filter(|id| graph.value(*id).group.is_none()) {
        let members = graph.members(root);
        if members.len() > 1 {
            let _ = writeln!(out, "  subgraph cluster_{root} {{ style=rounded;");
            for id in &members {
                node(&mut out, graph, *id);
                framed[id.index()] = true;
            }
            out.push_str("  }\n");
        }
    }
    for id in graph.ids().filter(|id| !framed[id.index()]) {
        node(&mut out, graph, id);
    }
    for id in graph.ids() {
        for used in graph.uses(id) {
            let _ = writeln!(out, "  {used} -> {id};");
        }
    }
    for port in &graph.outputs {
        let _ = writeln!(
            out,
            "  {0} [shape=ellipse]; {1} -> {0};",
            quote(&format!("out {}", port.name)),
            port.value
        );
    }
    for u in &graph.updates {
        let _ = writeln!(out, "  {} -> {} [style=dashed, constraint=false];", u.value, u.param);
    }
    out.push_str("}\n");
    out
}

fn node(out: &mut String, graph: &Graph, id: ValueId) {
    let value = graph.value(id);
    let (what, shape) = match &value.def {
        Def::Input(_) => ("input".to_owned(), "ellipse"),
        Def::Param { .. } => ("param".to_owned(), "plaintext"),
        Def::Const(_) => ("const".to_owned(), "plaintext"),
        Def::Op { op, .. } => (op.rules().kind().to_owned(), "box"),
    };
    let label = format!("{} {what}\n{}", value.name, value.ty.show());
    let _ = writeln!(out, "  {id} [shape={shape}, label={}];", quote(&label));
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
