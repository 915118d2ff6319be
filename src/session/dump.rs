//! The nouns of a compiled network as text: for readers of a compiler, and for its tests.

use std::fmt::Write;

use super::model::{Compiled, Model};
use crate::codegen::clif_text;
use crate::graph::{ValueId, dot, print};
use crate::lower::memory::Place;
use crate::lower::plan::Plan;

/// What can be shown of a compiled network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emit {
    /// The graph after all passes.
    Graph,
    /// The loop nests as scheduled.
    Loops,
    /// The IR of the code generator.
    Clif,
    /// Machine code, disassembled.
    Asm,
    /// Steps and the places of their buffers.
    Plan,
    /// The graph as a Graphviz drawing.
    Dot,
}

impl Model {
    /// The text of one of the nouns.
    pub fn dump(&self, emit: Emit) -> String {
        let compiled = &*self.compiled;
        let graph = &compiled.program.work.graph;
        match emit {
            Emit::Graph => print::summary(graph),
            Emit::Dot => dot::dot(graph),
            Emit::Plan => compiled.plan(),
            Emit::Loops => compiled.each(|i| crate::loops::print::print(&compiled.program.nests[i].nest)),
            Emit::Asm => compiled.each(|i| compiled.code.disassembly(i)),
            Emit::Clif => compiled.each(|i| {
                clif_text(&compiled.program.nests[i].nest, &compiled.options.isa)
                    .unwrap_or_else(|e| format!("{e}\n"))
            }),
        }
    }

    /// The graph as the source says it, before any pass.
    pub fn source_graph(&self) -> &crate::graph::Graph {
        &self.compiled.source
    }
}

impl Compiled {
    /// One text per step, each under a heading.
    fn each(&self, text: impl Fn(usize) -> String) -> String {
        let mut out = String::new();
        for (i, step) in self.program.steps.iter().enumerate() {
            let when = if step.at_load { ", at load" } else { "" };
            let name = &self.program.work.graph.value(step.root).name;
            let _ =
                writeln!(out, "; step {i}: {name} -> {}{when}: {}", step.value, self.program.nests[i].note);
            out.push_str(text(i).trim_end());
            out.push_str("\n\n");
        }
        out
    }

    fn plan(&self) -> String {
        let memory = &self.program.memory;
        let line = |what: &str, plan: &Plan| {
            format!("{what}: {} bytes, lower bound {} bytes\n", plan.size, plan.lower_bound)
        };
        let mut out = line("arena", &memory.arena) + &line("weights", &memory.store);
        for (i, step) in self.program.steps.iter().enumerate() {
            let reads: Vec<String> = step.reads.iter().map(|v| self.place(*v)).collect();
            let when = if step.at_load { "load" } else { "run" };
            let name = &self.program.work.graph.value(step.root).name;
            let _ = writeln!(out, "{i} {when} {name}: {} <- {}", self.place(step.value), reads.join(", "));
        }
        out
    }

    fn place(&self, id: ValueId) -> String {
        match self.program.memory.places[id.index()] {
            Place::Input(i) => format!("{id} in input {i}"),
            Place::Output(i) => format!("{id} in output {i}"),
            Place::Store(at) => format!("{id} in weights +{at}"),
            Place::Next(at) => format!("{id} beside weights +{at}"),
            Place::Arena(at) => format!("{id} in arena +{at}"),
            Place::None => format!("{id} nowhere"),
        }
    }
}
