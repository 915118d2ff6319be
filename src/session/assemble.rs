//! From a graph to a program that only lacks machine code: passes, lowering, schedules, places. The four calls below are the
//! middle of the compiler's road, in order; [`Timer`] says what each took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::error::{Bug, CompileError};
use super::options::Options;
use crate::graph::patch::Work;
use crate::graph::{Graph, ValueId};
use crate::loops::pointwise::{self, pointwise};
use crate::loops::private::privatise;
use crate::loops::{Buf, Nest};
use crate::lower::memory::{Memory, Place, memory};
use crate::lower::{Step, lower};
use crate::passes;
use crate::schedule::{Choice, Scheduled, Target, schedule, schedule_as};
use crate::tensor::array::for_each_index;

/// A program without code.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The graph after all passes, and where its values come from.
    pub work: Work,
    /// Its steps with the nests as lowered.
    pub steps: Vec<Step>,
    /// The nests as scheduled, one per step.
    pub nests: Vec<Scheduled>,
    /// Where values lie.
    pub memory: Memory,
}

/// How a program is made of a graph.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// What the passes are told.
    pub passes: passes::Settings,
    /// Plans that were measured to be the fastest, by [`nest_key`].
    pub plans: BTreeMap<u128, Choice>,
    /// How many threads run it, each with the private buffers of a run's nests for itself; `None`: nests have none.
    pub threads: Option<usize>,
}

impl Recipe {
    /// What options say, nothing measured.
    pub fn plain(options: &Options) -> Self {
        let registers = Target::of(&options.isa).vector_registers;
        let passes =
            passes::Settings { exact: options.exact, registers, beside: true, ..options.level.into() };
        Self { passes, plans: BTreeMap::new(), threads: Some(options.threads) }
    }

    /// The nest of a step, scheduled.
    pub fn schedule(&self, nest: &Nest, target: &Target) -> Scheduled {
        let choice = if self.plans.is_empty() { None } else { self.plans.get(&nest_key(nest)) };
        match choice {
            Some(choice) => schedule_as(nest.clone(), target, choice),
            None => schedule(nest.clone(), target),
        }
    }
}

/// What tells a nest from others that do something else, names aside.
pub fn nest_key(nest: &Nest) -> u128 {
    let bufs: Vec<_> = nest.bufs.iter().map(|b| (&b.dims, b.base, b.len, b.writable, b.block)).collect();
    hash(&format!("{bufs:?} {:?} {} {:?}", nest.tables, nest.regs, nest.body))
}

/// FNV-1a in 128 bits.
pub fn hash(text: &str) -> u128 {
    let start = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(start, |h: u128, b| (h ^ u128::from(b)).wrapping_mul(prime))
}

/// Phases of a compilation with the time each took.
#[derive(Clone, Debug, Default)]
pub struct Timer {
    /// Names in the order they ran.
    pub phases: Vec<(&'static str, Duration)>,
}

impl Timer {
    /// Runs one phase and notes its time.
    pub fn time<T>(&mut self, phase: &'static str, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = run();
        self.phases.push((phase, start.elapsed()));
        result
    }

    /// Moves `part` of the time of phase `of` to a phase of its own before it.
    pub fn split(&mut self, of: &'static str, phase: &'static str, part: Duration) {
        if let Some(i) = self.phases.iter().position(|p| p.0 == of) {
            let part = part.min(self.phases[i].1);
            self.phases[i].1 -= part;
            self.phases.insert(i, (phase, part));
        }
    }

    /// All phases together.
    pub fn total(&self) -> Duration {
        self.phases.iter().map(|p| p.1).sum()
    }
}

/// Assembles the program of a graph.
///
/// # Errors
/// [`CompileError`] for what only a bug of the compiler can cause, or a network that memory cannot hold.
pub fn assemble(
    graph: Graph,
    recipe: &Recipe,
    target: &Target,
    timer: &mut Timer,
) -> Result<Assembled, CompileError> {
    let mut work = timer.time("passes", || passes::run(graph, &recipe.passes))?;
    let mut steps = timer.time("lower", || lower(&work.graph))?;
    let all = |steps: &[Step]| steps.iter().map(|s| recipe.schedule(&s.nest, target)).collect();
    let mut nests: Vec<Scheduled> = timer.time("schedule", || all(&steps));
    let clashing = match work.graph.commit {
        Some(_) => Vec::new(),
        None => clashing(&work.graph, &steps, &nests),
    };
    if !clashing.is_empty() {
        work = passes::detour(work, &clashing);
        steps = lower(&work.graph)?;
        nests = all(&steps);
    }
    // In place only where the loops that will run prove it: the runtime asks for the same proof.
    for (step, nest) in steps.iter_mut().zip(&nests) {
        step.in_place.retain(|i| pointwise(&nest.nest, Buf(*i as u32)));
    }
    if recipe.threads.is_some() {
        for (step, nest) in steps.iter().zip(&mut nests).filter(|(step, _)| !step.at_load) {
            privatise(&mut nest.nest, step.shared());
        }
    }
    let memory = timer.time("plan", || {
        let nests: Vec<&Nest> = nests.iter().map(|n| &n.nest).collect();
        memory(&work.graph, &steps, &nests, recipe.threads.unwrap_or(1))
    });
    if recipe.threads.is_some() {
        for (i, (step, nest)) in
            steps.iter().zip(&mut nests).enumerate().filter(|(_, (step, _))| !step.at_load)
        {
            let places = memory.bufs(i, step);
            for out in step.reads.len()..step.shared() {
                past_caches(&places, out, memory.twin, &mut nest.nest);
            }
        }
    }
    let program = Assembled { work, steps, nests, memory };
    if cfg!(debug_assertions) {
        program.verify()?;
    }
    Ok(program)
}

/// Results of more bytes are not read before they have left the caches: the last one of the machines that this was measured on holds
/// 32 MiB, which other values share.
const UNCACHED_MIN: usize = 24 << 20;

/// Lets a nest store a result, buffer `out` of those at `places`, past the caches where that pays: a line then need not be fetched
/// before it is stored. Of the new elements of weights, of which there are `twin` in all, none is read before the others are stored.
fn past_caches(places: &[Place], out: usize, twin: usize, nest: &mut Nest) {
    let (Some(place), reads) = (places.get(out), pointwise::reads(nest, Buf(out as u32))) else { return };
    let takes_over = places[..out].contains(place);
    let elements = match place {
        Place::Arena(_) => nest.bufs[out].len,
        Place::Next(_) => twin,
        Place::Input(_) | Place::Output(_) | Place::Store(_) | Place::None => 0,
    };
    let large = elements * size_of::<f32>() >= UNCACHED_MIN;
    nest.bufs[out].uncached = large && !reads && !takes_over;
}

/// Updated weights that are read by the step that makes their new elements, in a way that is not proved to allow to store
/// them there.
fn clashing(graph: &Graph, steps: &[Step], nests: &[Scheduled]) -> Vec<ValueId> {
    let mut found = Vec::new();
    for (step, nest) in steps.iter().zip(nests) {
        let Some(param) = graph.updated_by(step.value) else { continue };
        let mut reads = step.reads.iter().enumerate().filter(|(_, id)| **id == param);
        if reads.any(|(i, _)| !pointwise(&nest.nest, Buf(i as u32))) {
            found.push(param);
        }
    }
    found
}

impl Assembled {
    /// Proves every nest, before and after scheduling.
    fn verify(&self) -> Result<(), CompileError> {
        let lowered = self.steps.iter().map(|s| &s.nest);
        for nest in lowered.chain(self.nests.iter().map(|n| &n.nest)) {
            crate::loops::verify::verify(nest).map_err(|broken| {
                CompileError::Bug(Bug::Nest {
                    nest: nest.name.clone(),
                    broken: broken.join("; "),
                    listing: crate::loops::print::print(nest),
                })
            })?;
        }
        Ok(())
    }

    /// Puts the elements of a weight or constant, row-major in the order of its type, where it lies in the store.
    /// Of what lies there twice, the weight is the second where `turned`.
    pub fn scatter(&self, id: ValueId, data: &[f32], store: &mut [f32], turned: bool) {
        self.each_element(id, turned, |at, i| {
            if let (Some(to), Some(from)) = (store.get_mut(at), data.get(i)) {
                *to = *from;
            }
        });
    }

    /// The elements of a weight or constant from the store, row-major in the order of its type.
    pub fn gather(&self, id: ValueId, store: &[f32], turned: bool) -> Vec<f32> {
        let mut out = vec![0.0; self.work.graph.value(id).ty.len()];
        self.each_element(id, turned, |at, i| {
            if let (Some(from), Some(to)) = (store.get(at), out.get_mut(i)) {
                *to = *from;
            }
        });
        out
    }

    /// Calls `f` with the place of each element in the store, and its number in row-major order.
    fn each_element(&self, id: ValueId, turned: bool, mut f: impl FnMut(usize, usize)) {
        let value = self.work.graph.value(id);
        let (Place::Store(start), Some(layout)) = (self.memory.places[id.index()], &value.layout) else {
            return;
        };
        let start = self.memory.in_store(start, turned);
        let placed = layout.place(&value.ty);
        let mut i = 0;
        for_each_index(value.ty.dims(), |index| {
            f(start + placed.element(index) as usize, i);
            i += 1;
        });
    }
}
