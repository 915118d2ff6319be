//! A compiled network: machine code, weights, and the memory that runs borrow. Cheap to clone; clones share all three until
//! one of them is given other weights. Any number of threads may run one model at the same time.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::assemble::{Assembled, Recipe, Timer};
use super::error::{CompileError, RunError};
use super::options::Options;
use super::ports::{Outputs, Port, arrange_all};
use super::tune::Tuned;
use crate::codegen::Code;
use crate::graph::{Def, Graph, ValueId};
use crate::lower::memory::{Place, private_step};
use crate::passes;
use crate::runtime::arena::{OutOfMemory, Storage};
use crate::runtime::program::{Memory, Place as Slot, Program, Sizes, Step};
use crate::runtime::threads::{Executor, OneThread, Pool};
use crate::tensor::owned::TensorView;

/// See the module.
#[derive(Clone)]
pub struct Model {
    pub(super) compiled: Arc<Compiled>,
    /// Weights and what is computed from them; made from their starts when first needed.
    pub(super) store: Arc<OnceLock<Store>>,
    /// Arenas that no run uses now.
    arenas: Arc<Mutex<Vec<Storage>>>,
    executor: Arc<dyn Executor + Send + Sync>,
}

/// Weights and constants, and what is computed from them.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) storage: Storage,
    /// Of the weights that lie twice, the second are those that hold.
    pub(super) turned: bool,
}

/// Everything about a network that weights do not change.
pub(super) struct Compiled {
    /// The graph as the source says it.
    pub(super) source: Graph,
    /// The same for a piece of the batch, and how many pieces there are; `None` where all samples run at once.
    pub(super) parted: Option<(Graph, usize)>,
    pub(super) program: Assembled,
    pub(super) code: Code,
    /// Runs over the store when weights were set.
    pub(super) load: Program,
    /// For each step of `run`, its number among all steps.
    pub(super) run_steps: Vec<usize>,
    /// What a run does; a second time where weights lie twice, for when they have changed places.
    runs: Vec<Program>,
    pub(super) options: Options,
    pub(super) recipe: Recipe,
    pub(super) tuned: Tuned,
    pub(super) timer: Timer,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
}

/// How a program came to be.
pub(super) struct Made {
    pub(super) recipe: Recipe,
    pub(super) tuned: Tuned,
    pub(super) options: Options,
    pub(super) timer: Timer,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Model {
    /// Wraps code in what a run needs.
    pub(super) fn new(
        source: Graph,
        parted: Option<(Graph, usize)>,
        program: Assembled,
        code: Code,
        made: Made,
    ) -> Result<Self, CompileError> {
        let Made { recipe, tuned, options, timer } = made;
        let (load, _) = machine_program(&program, &code, true, false)?;
        let (run, run_steps) = machine_program(&program, &code, false, false)?;
        let mut runs = vec![run];
        if program.work.graph.commit.is_some() {
            runs.push(machine_program(&program, &code, false, true)?.0);
        }
        let executor: Arc<dyn Executor + Send + Sync> = match options.threads {
            1 => Arc::new(OneThread),
            threads => Arc::new(Pool::new(threads).map_err(CompileError::Threads)?),
        };
        let inputs = source.inputs.iter().map(|p| Port::of(&source, p)).collect();
        let outputs = source.outputs.iter().map(|p| Port::of(&source, p)).collect();
        let compiled = Compiled {
            source,
            parted,
            program,
            code,
            load,
            run_steps,
            runs,
            options,
            recipe,
            tuned,
            timer,
            inputs,
            outputs,
        };
        Ok(Self { compiled: Arc::new(compiled), store: Arc::default(), arenas: Arc::default(), executor })
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.compiled.source.name
    }

    /// What it was compiled with.
    pub fn options(&self) -> &Options {
        &self.compiled.options
    }

    /// What measurements chose; nothing unless options ask for it.
    pub fn tuned(&self) -> &Tuned {
        &self.compiled.tuned
    }

    /// What it takes.
    pub fn inputs(&self) -> &[Port] {
        &self.compiled.inputs
    }

    /// What it gives.
    pub fn outputs(&self) -> &[Port] {
        &self.compiled.outputs
    }

    /// What decides over the bits of a run beside program, weights and instruction set: nothing unless options ask for
    /// convolutions by definition, or for algorithms by measurement. Equal texts, equal bits.
    pub fn choices(&self) -> String {
        let passes = &self.compiled.recipe.passes;
        let exact = if passes.exact { "exact\n" } else { "" };
        let measured =
            passes.winograd.iter().map(|(layer, way)| format!("{}: {layer}\n", passes::said(*way)));
        exact.to_owned() + &measured.collect::<String>()
    }

    /// The same model on the caller's threads instead of its own; results stay the same bits.
    #[must_use]
    pub fn with_executor(mut self, executor: Arc<dyn Executor + Send + Sync>) -> Self {
        self.executor = executor;
        // Arenas have room for as many threads as there were.
        self.arenas = Arc::default();
        self
    }

    /// Runs the network once. Inputs are given by name; one whose axes are listed as the program declares them is read where
    /// it lies, any other is copied.
    ///
    /// # Errors
    /// [`RunError`] when inputs are missing, unknown or of another shape, memory is short, or a run would change weights
    /// ([`Model::run_mut`]).
    pub fn run(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<Outputs, RunError> {
        let inputs = arrange_all(&self.compiled.inputs, inputs)?;
        let mut outputs: Vec<Vec<f32>> = Vec::new();
        for port in &self.compiled.outputs {
            outputs.push(zeros(port.len())?);
        }
        self.with_memory(&inputs, &mut outputs, |program, memory| program.run(memory, &*self.executor))?;
        Ok(Outputs::of(&self.compiled.outputs, outputs))
    }

    /// Runs the network once and writes each output where the caller says, in the order of its port. An output that is not
    /// asked for is computed and dropped.
    ///
    /// # Errors
    /// As [`Model::run`], and when an output is unknown, named twice, or its buffer has another length.
    pub fn run_into(
        &self,
        inputs: &[(&str, TensorView<'_>)],
        outputs: &mut [(&str, &mut [f32])],
    ) -> Result<(), RunError> {
        let inputs = arrange_all(&self.compiled.inputs, inputs)?;
        let ports = &self.compiled.outputs;
        let mut places: Vec<Option<&mut [f32]>> = ports.iter().map(|_| None).collect();
        for (name, buffer) in outputs {
            let Some(i) = ports.iter().position(|p| *p.name == **name) else {
                let known = ports.iter().map(|p| p.name.to_string()).collect();
                return Err(RunError::Unknown { side: "output", name: (*name).to_owned(), known });
            };
            if buffer.len() != ports[i].len() {
                let (expected, found) = (ports[i].show(), format!("{} elements", buffer.len()));
                return Err(RunError::Shape { name: (*name).to_owned(), expected, found });
            }
            if places[i].is_some() {
                return Err(RunError::Twice { name: (*name).to_owned() });
            }
            places[i] = Some(&mut **buffer);
        }
        let mut dropped: Vec<Vec<f32>> = Vec::new();
        for (place, port) in places.iter().zip(ports) {
            dropped.push(zeros(if place.is_some() { 0 } else { port.len() })?);
        }
        let buffers = places.into_iter().zip(&mut dropped).map(|(p, d)| p.unwrap_or(d));
        self.with_buffers(&inputs, buffers.collect(), |program, memory| program.run(memory, &*self.executor))
    }

    /// Whether a run changes weights: the network is a training step.
    pub fn is_stateful(&self) -> bool {
        !self.compiled.source.updates.is_empty()
    }

    /// Runs the network once and lets it change its weights; the outputs. Other clones of the model keep the weights they have.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_mut(&mut self, inputs: &[(&str, TensorView<'_>)]) -> Result<Outputs, RunError> {
        if !self.is_stateful() {
            return self.run(inputs);
        }
        let inputs = arrange_all(&self.compiled.inputs, inputs)?;
        let mut outputs: Vec<Vec<f32>> = Vec::new();
        for port in &self.compiled.outputs {
            outputs.push(zeros(port.len())?);
        }
        let compiled = self.compiled.clone();
        let executor = self.executor.clone();
        self.with_state(&inputs, &mut outputs, |program, memory| program.run(memory, &*executor))?;
        Ok(Outputs::of(&compiled.outputs, outputs))
    }

    /// Lends an arena, and the store to change: this model's own, a copy if other clones have it too. `run` is handed the program for
    /// it. Where updates wait for the end of the run, they hold afterwards if it says so.
    pub(super) fn with_state(
        &mut self,
        inputs: &[Cow<'_, [f32]>],
        outputs: &mut [Vec<f32>],
        run: impl FnOnce(&Program, Memory<'_>) -> Result<(), crate::runtime::program::RunError>,
    ) -> Result<(), RunError> {
        self.store()?;
        if Arc::get_mut(&mut self.store).is_none() {
            self.store = Arc::new(OnceLock::from(self.copied_store()?));
        }
        let mut arena = self.arena()?;
        let inputs: Vec<&[f32]> = inputs.iter().map(|i| &**i).collect();
        let compiled = self.compiled.clone();
        let Some(store) = Arc::get_mut(&mut self.store).and_then(OnceLock::get_mut) else {
            return Err(RunError::Stateful);
        };
        // A pass may have added the output that says whether updates hold.
        let mut added = [0.0];
        let commit = compiled.program.work.graph.commit;
        let mut all: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        if commit == Some(all.len()) {
            all.push(&mut added);
        }
        let memory = Memory {
            arena: arena.as_mut_slice(),
            state: store.storage.as_mut_slice(),
            inputs: &inputs,
            outputs: all,
            ..Memory::default()
        };
        let done = run(compiled.run(store.turned), memory);
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
        done?;
        let holds =
            commit.is_some_and(|port| outputs.get(port).map_or(&added[..], |o| o).iter().all(|x| *x > 0.0));
        store.turned ^= holds;
        Ok(())
    }

    pub(super) fn with_memory(
        &self,
        inputs: &[Cow<'_, [f32]>],
        outputs: &mut [Vec<f32>],
        run: impl FnMut(&Program, Memory<'_>) -> Result<(), crate::runtime::program::RunError>,
    ) -> Result<(), RunError> {
        self.with_buffers(inputs, outputs.iter_mut().map(Vec::as_mut_slice).collect(), run)
    }

    /// Lends weights and an arena for the run of each piece of the batch; `run` is handed the program for them.
    fn with_buffers(
        &self,
        inputs: &[Cow<'_, [f32]>],
        outputs: Vec<&mut [f32]>,
        mut run: impl FnMut(&Program, Memory<'_>) -> Result<(), crate::runtime::program::RunError>,
    ) -> Result<(), RunError> {
        if self.is_stateful() {
            return Err(RunError::Stateful);
        }
        let store = self.store()?;
        let mut arena = self.arena()?;
        let pieces = self.compiled.pieces();
        let mut outputs: Vec<_> = outputs.into_iter().map(|o| piecewise(o, pieces)).collect();
        let mut done = Ok(());
        for piece in 0..pieces {
            let part = |i: &Cow<'_, [f32]>| piece * (i.len() / pieces)..(piece + 1) * (i.len() / pieces);
            let inputs: Vec<&[f32]> = inputs.iter().map(|i| &i[part(i)]).collect();
            let memory = Memory {
                arena: arena.as_mut_slice(),
                params: store.storage.as_slice(),
                inputs: &inputs,
                outputs: outputs.iter_mut().map(|o| o.next().unwrap_or_default()).collect(),
                ..Memory::default()
            };
            done = done.and_then(|()| run(self.compiled.run(false), memory));
        }
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
        Ok(done?)
    }

    /// An arena that nobody uses, with room for the executor's threads.
    fn arena(&self) -> Result<Storage, OutOfMemory> {
        let len = self.compiled.run(false).arena(self.executor.threads());
        let free = self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.filter(|a| a.as_slice().len() == len).map_or_else(|| Storage::zeroed(len), Ok)
    }

    pub(super) fn executor_arc(&self) -> Arc<dyn Executor + Send + Sync> {
        self.executor.clone()
    }

    pub(super) fn executor(&self) -> &dyn Executor {
        &*self.executor
    }

    /// The weights; their starts, if none were set.
    pub(super) fn store(&self) -> Result<&Store, RunError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let compiled = &*self.compiled;
        let graph = &compiled.program.work.graph;
        let mut fresh = compiled.empty_store()?;
        for id in graph.params() {
            let value = graph.value(id);
            if let Def::Param { init, .. } = &value.def {
                let data = crate::ops::init::values(init, &value.ty, &value.name, compiled.options.seed);
                compiled.scatter(id, &data, &mut fresh);
            }
        }
        compiled.load(&mut fresh, self.executor())?;
        // Another thread may have been faster; both made the same numbers.
        Ok(self.store.get_or_init(|| fresh))
    }
}

fn zeros(len: usize) -> Result<Vec<f32>, RunError> {
    let mut out = Vec::new();
    out.try_reserve_exact(len).map_err(|_| OutOfMemory { elements: len })?;
    out.resize(len, 0.0);
    Ok(out)
}

/// A buffer of all samples, piece after piece.
fn piecewise(buffer: &mut [f32], pieces: usize) -> std::slice::ChunksExactMut<'_, f32> {
    let size = (buffer.len() / pieces).max(1);
    buffer.chunks_exact_mut(size)
}

impl Compiled {
    /// The graph that the program was made of: of a piece of the batch, or of all of it.
    pub(super) fn planned(&self) -> &Graph {
        self.parted.as_ref().map_or(&self.source, |p| &p.0)
    }

    /// Runs of the program in a run of the network.
    pub(super) fn pieces(&self) -> usize {
        self.parted.as_ref().map_or(1, |p| p.1)
    }

    /// What a run does; `turned` is what its store says.
    pub(super) fn run(&self, turned: bool) -> &Program {
        &self.runs[usize::from(turned).min(self.runs.len() - 1)]
    }

    /// The elements of a weight or constant in a store, as [`Assembled::gather`] has them.
    pub(super) fn gather(&self, id: ValueId, store: &Store) -> Vec<f32> {
        self.program.gather(id, store.storage.as_slice(), store.turned)
    }

    /// Puts the elements of a weight or constant where they lie.
    pub(super) fn scatter(&self, id: ValueId, data: &[f32], store: &mut Store) {
        self.program.scatter(id, data, store.storage.as_mut_slice(), store.turned);
    }

    /// A store that holds the constants and nothing else yet.
    pub(super) fn empty_store(&self) -> Result<Store, OutOfMemory> {
        let mut store = Store { storage: Storage::zeroed(self.load.sizes().arena)?, turned: false };
        let graph = &self.program.work.graph;
        for id in graph.ids() {
            if let Def::Const(data) = &graph.value(id).def {
                self.scatter(id, data, &mut store);
            }
        }
        Ok(store)
    }

    /// Computes what depends on weights.
    pub(super) fn load(&self, store: &mut Store, executor: &dyn Executor) -> Result<(), RunError> {
        let memory = Memory { arena: store.storage.as_mut_slice(), ..Memory::default() };
        Ok(self.load.run(memory, executor)?)
    }
}

/// The steps of load time or of a run with the places of their buffers, and their numbers among all steps. Weights that lie twice and
/// their new elements have changed places where `turned`.
fn machine_program(
    program: &Assembled,
    code: &Code,
    at_load: bool,
    turned: bool,
) -> Result<(Program, Vec<usize>), CompileError> {
    const ELEMENT: usize = size_of::<f32>();
    let memory = &program.memory;
    let numbers: Vec<usize> =
        (0..program.steps.len()).filter(|i| program.steps[*i].at_load == at_load).collect();
    // At load time the store is what is written; a run only reads it, unless it updates weights.
    let stateful = !program.work.graph.updates.is_empty();
    let slot = |place: Place| match place {
        Place::Input(i) => Slot::Input(i),
        Place::Output(i) => Slot::Output(i),
        Place::Store(at) if at_load => Slot::Arena(at),
        Place::Store(at) if stateful => Slot::State(memory.in_store(at, turned)),
        Place::Next(at) => Slot::State(memory.in_store(at, !turned)),
        Place::Store(at) => Slot::Param(at),
        Place::Arena(at) => Slot::Arena(at),
        Place::None => Slot::Const(0),
    };
    let mut private = 0;
    let steps: Vec<Step> = numbers
        .iter()
        .map(|i| {
            let places = memory.bufs(*i, &program.steps[*i]);
            let mut beyond = 0;
            let slots =
                places.into_iter().zip(&program.nests[*i].nest.bufs).map(|(place, buf)| match slot(place) {
                    Slot::Arena(at) if buf.is_private() => {
                        let (step, own) = (private_step(buf), beyond);
                        beyond += step;
                        private = private.max(beyond);
                        Slot::Private { at, step, beyond: own }
                    }
                    slot => slot,
                });
            Step { entry: *i, bufs: slots.collect() }
        })
        .collect();
    let threads = memory.threads;
    let sizes = if at_load {
        Sizes { arena: memory.store.size / ELEMENT, threads, private, ..Sizes::default() }
    } else {
        let graph = &program.work.graph;
        let len = |p: &crate::graph::Port| graph.value(p.value).ty.len();
        Sizes {
            arena: memory.arena.size / ELEMENT,
            threads,
            private,
            params: if stateful { 0 } else { memory.store.size / ELEMENT },
            state: if stateful { memory.store.size / ELEMENT } else { 0 },
            consts: 0,
            inputs: graph.inputs.iter().map(len).collect(),
            outputs: graph.outputs.iter().map(len).collect(),
        }
    };
    Ok((Program::new(&steps, code.entries(), sizes)?, numbers))
}
