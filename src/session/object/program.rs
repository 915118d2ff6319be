//! A graph compiled for one instruction set of an object: its steps as calls on regions of the caller's memory.

use super::ObjectError;
use super::store::{Packed, Values, filled};
use crate::codegen::object::{Base, Call};
use crate::graph::Graph;
use crate::kernels::isa::Isa;
use crate::loops::Nest;
use crate::lower::memory::Place;
use crate::runtime::arena::Storage;
use crate::schedule::Target;
use crate::session::assemble::{Assembled, Recipe, Timer, assemble};

/// See the module.
pub(super) struct Built {
    pub(super) program: Assembled,
    /// What its run steps read of the weights.
    pub(super) packed: Packed,
}

impl Built {
    pub(super) fn new(graph: &Graph, recipe: &Recipe, isa: &Isa) -> Result<Self, ObjectError> {
        // The caller brings the threads, and no more memory for more of them: each turn has a part of the buffers.
        let mut recipe = Recipe { threads: None, ..recipe.clone() };
        // Whoever calls a step has one state.
        recipe.passes.beside = false;
        let target = Target::of(isa);
        recipe.passes.registers = target.vector_registers;
        let program = assemble(graph.clone(), &recipe, &target, &mut Timer::default())?;
        Ok(Self { program, packed: Packed::default() })
    }

    /// The store when runs begin: computed on this machine.
    pub(super) fn store(&self, values: &Values, host: &Isa) -> Result<Storage, ObjectError> {
        filled(&self.program, values, host)
    }

    /// Packs the store for runs that only read it.
    pub(super) fn load(&mut self, values: &Values, host: &Isa) -> Result<(), ObjectError> {
        let store = self.store(values, host)?;
        self.packed = Packed::of(&self.program, store.as_slice());
        Ok(())
    }

    /// Bytes of its arena.
    pub(super) fn arena(&self) -> usize {
        self.program.memory.arena.size
    }

    /// Bytes of its store.
    pub(super) fn store_bytes(&self) -> usize {
        self.program.memory.store.size
    }

    /// The nests of its load steps, or of its run steps.
    pub(super) fn nests(&self, at_load: bool) -> Vec<Nest> {
        let steps = self.program.steps.iter().zip(&self.program.nests);
        steps.filter(|(s, _)| s.at_load == at_load).map(|(_, n)| n.nest.clone()).collect()
    }

    /// Its load steps or run steps as calls, whose nests stand at `first` and behind; `place` says where a value lies.
    pub(super) fn calls(
        &self,
        at_load: bool,
        first: usize,
        place: &dyn Fn(Place) -> (Base, usize),
    ) -> Vec<Call> {
        let memory = &self.program.memory;
        let steps = self.program.steps.iter().enumerate().filter(|(_, s)| s.at_load == at_load).enumerate();
        let call = |(i, (number, step)): (usize, (usize, &crate::lower::Step))| Call {
            nest: first + i,
            bufs: memory.bufs(number, step).into_iter().map(place).collect(),
        };
        steps.map(call).collect()
    }
}
