//! What lies in the store of a program when a run begins: weights, constants, and what load steps compute from them, packed to
//! what runs read. Load steps run here, at compile time, also for a target that this machine is not: a step that computes the same bits
//! is scheduled for this machine.

use std::collections::BTreeMap;

use super::ObjectError;
use crate::graph::Def;
use crate::kernels::isa::Isa;
use crate::lower::memory::Place;
use crate::lower::plan::ALIGN;
use crate::runtime::arena::Storage;
use crate::runtime::program::{Memory, Place as Slot, Program, Sizes, Step};
use crate::runtime::threads::OneThread;
use crate::schedule::{Target, schedule};
use crate::session::assemble::Assembled;
use crate::session::error::{Bug, CompileError};

const ELEMENT: usize = size_of::<f32>();

/// Weights by name, row-major in the order of their types.
pub(super) type Values = BTreeMap<String, Vec<f32>>;

/// This machine's instruction set that computes what `isa` does: itself, else one that rounds multiply-adds alike.
pub(super) fn host_of(isa: &Isa) -> Isa {
    if isa.runs_here() {
        return isa.clone();
    }
    let here = Isa::detect();
    if here.fuses() == isa.fuses() { here } else { Isa::baseline() }
}

/// The store of `program`, filled and computed.
///
/// # Errors
/// Memory is short, or what only a bug can cause.
pub(super) fn filled(program: &Assembled, values: &Values, host: &Isa) -> Result<Storage, ObjectError> {
    let graph = &program.work.graph;
    let mut store = Storage::zeroed(program.memory.store.size / ELEMENT)?;
    for id in graph.ids() {
        let value = graph.value(id);
        match &value.def {
            Def::Const(data) => program.scatter(id, data, store.as_mut_slice(), false),
            Def::Param { .. } => {
                let given = values.get(&value.name).ok_or_else(|| ObjectError::weight(&value.name))?;
                program.scatter(id, given, store.as_mut_slice(), false);
            }
            Def::Input(_) | Def::Op { .. } => {}
        }
    }
    let target = Target::of(host);
    let loads: Vec<_> = program.steps.iter().enumerate().filter(|(_, s)| s.at_load).collect();
    let nests: Vec<_> = loads.iter().map(|(_, s)| schedule(s.nest.clone(), &target).nest).collect();
    let code = crate::codegen::compile(&nests, host).map_err(CompileError::from)?;
    let place = |place: Place| match place {
        Place::Store(at) => Slot::Arena(at),
        Place::Input(i) => Slot::Input(i),
        Place::Output(i) => Slot::Output(i),
        Place::Arena(at) => Slot::Param(at),
        Place::Next(_) | Place::None => Slot::Const(0),
    };
    let step = |(i, (number, s)): (usize, &(usize, &crate::lower::Step))| Step {
        entry: i,
        bufs: program.memory.bufs(*number, s).into_iter().map(place).collect(),
    };
    let steps: Vec<Step> = loads.iter().enumerate().map(step).collect();
    let sizes = Sizes { arena: store.as_slice().len(), ..Sizes::default() };
    let load = Program::new(&steps, code.entries(), sizes).map_err(|e| CompileError::Bug(Bug::Plan(e)))?;
    let memory = Memory { arena: store.as_mut_slice(), ..Memory::default() };
    load.run(memory, &OneThread).map_err(crate::session::error::RunError::from)?;
    Ok(store)
}

/// The parts of a store that runs read, closed up.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// The bytes, a multiple of [`ALIGN`].
    pub(super) bytes: Vec<u8>,
    /// For each start in the store, in elements, the start here in bytes.
    at: BTreeMap<usize, usize>,
}

impl Packed {
    /// Packs what the run steps of `program` read of `store`.
    pub(super) fn of(program: &Assembled, store: &[f32]) -> Self {
        let mut parts: BTreeMap<usize, usize> = BTreeMap::new();
        for (step, nest) in program.steps.iter().zip(&program.nests).filter(|(s, _)| !s.at_load) {
            for (id, buf) in step.reads.iter().zip(&nest.nest.bufs) {
                if let Place::Store(at) = program.memory.places[id.index()] {
                    let len = parts.entry(at).or_default();
                    *len = buf.len.max(*len);
                }
            }
        }
        let mut packed = Self::default();
        for (at, len) in parts {
            packed.at.insert(at, packed.bytes.len());
            let part = store.get(at..at + len).unwrap_or_default();
            packed.bytes.extend(part.iter().flat_map(|x| x.to_le_bytes()));
            packed.bytes.resize(packed.bytes.len().next_multiple_of(ALIGN), 0);
        }
        packed
    }

    /// Where what began at `element` of the store lies now, in bytes.
    pub(super) fn place(&self, element: usize) -> usize {
        self.at.get(&element).copied().unwrap_or(0)
    }
}
