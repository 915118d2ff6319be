//! An object before it is bytes: functions, regions, nests of each instruction set, data. [`inference`](super::inference) and
//! [`training`](super::training) fill it.

use super::interface::{Arg, Function, Interface, Region, Tensor, identifier};
use super::{Object, ObjectError, Settings};
use crate::codegen::object::{Call, Fill, Image, Pass, Routine, Selftest, Source, Variant, object};
use crate::graph::Graph;
use crate::kernels::isa::Isa;
use crate::loops::Nest;
use crate::lower::plan::ALIGN;
use crate::session::error::CompileError;
use crate::session::ports::Port;

/// See the module.
#[derive(Default)]
pub(super) struct Assembly {
    pub(super) tensors: Vec<Tensor>,
    pub(super) regions: Vec<Region>,
    pub(super) functions: Vec<Function>,
    /// For each function, and each instruction set, its calls.
    pub(super) calls: Vec<Vec<Vec<Call>>>,
    /// For each instruction set its nests.
    pub(super) nests: Vec<Vec<Nest>>,
    pub(super) data: Vec<Vec<u8>>,
    pub(super) selftest: Selftest,
    /// Regions that the test takes before its scratch memory.
    pub(super) given: Vec<String>,
    /// Weights that become a file.
    pub(super) weights: Option<Vec<u8>>,
    /// Bytes of the test's scratch memory so far.
    pub(super) scratch: usize,
}

impl Assembly {
    /// Adds a region; its number.
    pub(super) fn region(&mut self, name: &str, bytes: usize, doc: &str) -> usize {
        let bytes = bytes.max(ALIGN).next_multiple_of(ALIGN);
        self.regions.push(Region { name: name.to_owned(), bytes, doc: doc.to_owned(), parts: Vec::new() });
        self.regions.len() - 1
    }

    /// Adds the inputs and outputs of a graph that `wanted` picks by their positions, inputs first, with `before` in front of
    /// their names as identifiers; the number of each, `None` for the others.
    pub(super) fn ports(
        &mut self,
        graph: &Graph,
        before: &str,
        wanted: &dyn Fn(usize) -> bool,
    ) -> Vec<Option<usize>> {
        let inputs = graph.inputs.iter().map(|p| (p, false));
        let ports = inputs.chain(graph.outputs.iter().map(|p| (p, true)));
        let mut numbers = Vec::new();
        for (i, (port, written)) in ports.enumerate() {
            if !wanted(i) {
                numbers.push(None);
                continue;
            }
            let port = Port::of(graph, port);
            let name = format!("{before}{}", port.name.trim_start_matches('@'));
            let ident = identifier(&name, self.tensors.iter().map(|t| t.ident.as_str()));
            numbers.push(Some(self.tensors.len()));
            self.tensors.push(Tensor { ident, port, written });
        }
        numbers
    }

    /// Adds a function with the calls of each instruction set.
    pub(super) fn function(&mut self, name: &str, doc: &str, args: Vec<Arg>, calls: Vec<Vec<Call>>) -> usize {
        self.functions.push(Function { name: name.to_owned(), doc: doc.to_owned(), args });
        self.calls.push(calls);
        self.functions.len() - 1
    }

    /// Scratch memory of the test for so many bytes; where it begins.
    pub(super) fn scratch(&mut self, bytes: usize) -> usize {
        let at = self.scratch;
        self.scratch += bytes.next_multiple_of(ALIGN);
        at
    }

    /// Scratch memory of the test for a tensor: filled, or compared after the runs.
    pub(super) fn rehearsed(&mut self, tensor: usize) -> Source {
        let (len, written) = (self.tensors[tensor].port.len(), self.tensors[tensor].written);
        let at = self.scratch(len * size_of::<f32>());
        if written {
            self.selftest.checks.push(super::golden::check(at, len));
        } else {
            let seed = super::golden::seed(self.selftest.fills.len());
            self.selftest.fills.push(Fill { at, len, seed });
        }
        Source::Scratch(at)
    }

    /// The bytes.
    pub(super) fn finish(
        mut self,
        targets: &[Isa],
        prefix: &str,
        graph: &Graph,
        settings: &Settings,
    ) -> Result<Object, ObjectError> {
        let doc = "Scratch memory of the test of itself.";
        self.region("selftest", self.scratch, doc);
        let pass = |arg: &Arg| match arg {
            Arg::Tensor(_) | Arg::Region(..) => Pass::Pointer,
            Arg::Float { .. } => Pass::Float,
        };
        let routine = |(f, calls): (&Function, Vec<Vec<Call>>)| Routine {
            name: f.name.clone(),
            args: f.args.iter().map(pass).collect(),
            calls,
        };
        let image = Image {
            name: &settings.source,
            prefix,
            variants: targets.iter().zip(&self.nests).map(|(isa, nests)| Variant { isa, nests }).collect(),
            data: self.data,
            routines: self.functions.iter().zip(self.calls).map(routine).collect(),
            selftest: self.selftest,
        };
        let bytes = object(&image).map_err(CompileError::from)?;
        let interface = Interface {
            prefix: prefix.to_owned(),
            net: graph.name.clone(),
            source: settings.source.clone(),
            arch: targets.first().map_or(crate::kernels::isa::Arch::HERE, Isa::arch),
            targets: targets.iter().map(|t| t.name().to_owned()).collect(),
            tensors: self.tensors,
            regions: self.regions,
            functions: self.functions,
            selftest: self.given,
        };
        Ok(Object { bytes, interface, weights: self.weights })
    }
}
