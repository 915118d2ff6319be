//! A program: steps run one after another, each one entry over buffers at fixed places.
//!
//! Plain data, checked once: every buffer lies within its store, only the arena, the state and outputs are written, and what a
//! step writes overlaps nothing else of that step, but may be exactly a buffer that its entry reads pointwise. A run then only compares the lengths of what it is lent.

use std::fmt;
use std::time::Duration;

use super::arena::ALIGN;
use super::call::{Bound, Entry, View};
use super::threads::{self, Executor};

/// Where a buffer begins. Offsets count elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the arena, which steps read and write; its contents last for one run.
    Arena(usize),
    /// In the arena, a buffer for each of [`Sizes::threads`] threads; those of further threads lie behind the arena, in a part of
    /// [`Sizes::private`] elements for each.
    Private {
        /// Where that of the first thread begins.
        at: usize,
        /// Elements from there to that of the next thread, at least those of the buffer.
        step: usize,
        /// Where it begins in the part of a further thread.
        beyond: usize,
    },
    /// In the parameters: whatever was computed or loaded before runs.
    Param(usize),
    /// In the state: parameters that steps read and write, and that stay after the run.
    State(usize),
    /// In the constants.
    Const(usize),
    /// The whole input of this number.
    Input(usize),
    /// The whole output of this number.
    Output(usize),
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Position in the list of entries.
    pub entry: usize,
    /// One per buffer of the entry.
    pub bufs: Vec<Place>,
}

/// How large everything is, in elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The arena, for up to `threads` threads.
    pub arena: usize,
    /// How many threads have their private buffers in the arena; 0 is taken for 1.
    pub threads: usize,
    /// What each further thread needs.
    pub private: usize,
    /// All parameters.
    pub params: usize,
    /// The state.
    pub state: usize,
    /// All constants.
    pub consts: usize,
    /// Each input.
    pub inputs: Vec<usize>,
    /// Each output.
    pub outputs: Vec<usize>,
}

/// Steps that were checked against their entries and sizes.
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) steps: Vec<(Entry, Vec<Place>)>,
    pub(super) sizes: Sizes,
    /// Whether arena and state must begin at multiples of [`ALIGN`] bytes.
    pub(super) aligned: bool,
}

/// What a run is lent.
#[derive(Debug, Default)]
pub struct Memory<'a> {
    /// Scratch space of [`Program::arena`] elements; one run at a time. Steps expect nothing of its contents.
    pub arena: &'a mut [f32],
    /// Parameters.
    pub params: &'a [f32],
    /// Parameters that the run changes.
    pub state: &'a mut [f32],
    /// Constants.
    pub consts: &'a [f32],
    /// Inputs.
    pub inputs: &'a [&'a [f32]],
    /// Outputs.
    pub outputs: Vec<&'a mut [f32]>,
}

/// A program that cannot be; a bug of whoever planned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramError {
    /// The step.
    pub step: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.what)
    }
}

impl std::error::Error for ProgramError {}

/// A run that did not take place, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// What was lent has the wrong size.
    Length {
        /// `arena`, `parameters`, `state`, `constants`, `input 2`, `outputs`, ...
        what: String,
        /// How many elements (or inputs, or outputs) there were.
        given: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// The arena does not begin at a multiple of [`ALIGN`] bytes, and steps need it to.
    Alignment,
    /// The executor did not run each of its threads' parts exactly once.
    Executor,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Length { what, given, wanted } => write!(f, "{what}: {given} given, {wanted} needed"),
            RunError::Alignment => write!(f, "arena and state must begin at a multiple of {ALIGN} bytes"),
            RunError::Executor => f.write_str("the executor did not run every part exactly once"),
        }
    }
}

impl std::error::Error for RunError {}

impl Program {
    /// Checks `steps` against `entries` and `sizes`.
    ///
    /// # Errors
    /// A step names an entry that is not there, has the wrong number of buffers, reaches beyond a store, writes what must
    /// not be written, or writes what it also reads, unless its entry promises that this is sound.
    pub fn new(steps: &[Step], entries: &[Entry], sizes: Sizes) -> Result<Program, ProgramError> {
        let checked = steps.iter().enumerate().map(|(number, step)| {
            let fail = |what| ProgramError { step: number, what };
            let entry = entries.get(step.entry).ok_or(fail("an unknown entry"))?;
            check(entry, &step.bufs, &sizes).map_err(fail)?;
            Ok((entry.clone(), step.bufs.clone()))
        });
        let steps = checked.collect::<Result<Vec<_>, _>>()?;
        let aligned = steps.iter().any(|(entry, _)| entry.bufs().iter().any(|b| b.aligned));
        Ok(Program { steps, sizes, aligned })
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The entry of a step.
    pub fn entry(&self, step: usize) -> Option<&Entry> {
        self.steps.get(step).map(|s| &s.0)
    }

    /// How large everything is.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Elements of the arena of a run on so many threads.
    pub fn arena(&self, threads: usize) -> usize {
        let further = threads.saturating_sub(self.sizes.threads.max(1));
        self.sizes.arena.saturating_add(self.sizes.private.saturating_mul(further))
    }

    /// Runs all steps on the threads of `executor`. The results are the same bits for any number of threads.
    ///
    /// # Errors
    /// A length is wrong, or the executor breaks its contract.
    pub fn run(&self, memory: Memory<'_>, executor: &dyn Executor) -> Result<(), RunError> {
        let bound = Bound::new(self, memory, executor.threads())?;
        threads::run(&bound, 0..self.len(), executor, None)
    }

    /// As [`Program::run`], and the time that each step took, waiting for the slowest thread included.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_timed(&self, memory: Memory<'_>, executor: &dyn Executor) -> Result<Vec<Duration>, RunError> {
        let bound = Bound::new(self, memory, executor.threads())?;
        let mut times = Vec::with_capacity(self.len());
        threads::run(&bound, 0..self.len(), executor, Some(&mut times))?;
        Ok(times)
    }

    /// As [`Program::run`], but stops after each step and lets `observe` see its buffers.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_observed(
        &self,
        memory: Memory<'_>,
        executor: &dyn Executor,
        observe: &mut dyn FnMut(usize, &View<'_>),
    ) -> Result<(), RunError> {
        let mut bound = Bound::new(self, memory, executor.threads())?;
        for step in 0..self.len() {
            threads::run(&bound, step..step + 1, executor, None)?;
            observe(step, &View::new(&mut bound, step));
        }
        Ok(())
    }
}

/// A place as a store and a range in it.
fn extent(place: Place, len: usize, sizes: &Sizes) -> Option<(usize, std::ops::Range<usize>)> {
    let within = |store: usize, start: usize, size: usize| {
        let end = start.checked_add(len)?;
        (end <= size).then_some((store, start..end))
    };
    let whole = |store: usize, size: usize| (size == len).then_some((store, 0..len));
    match place {
        Place::Arena(start) => within(0, start, sizes.arena),
        Place::Private { at, step, beyond } => {
            let last = step.checked_mul(sizes.threads.max(1) - 1)?;
            let (store, all) = (0, at..at.checked_add(last)?.checked_add(len)?);
            let fits = len <= step && all.end <= sizes.arena && beyond.checked_add(len)? <= sizes.private;
            fits.then_some((store, all))
        }
        Place::Param(start) => within(1, start, sizes.params),
        Place::Const(start) => within(2, start, sizes.consts),
        Place::State(start) => within(3, start, sizes.state),
        Place::Input(i) => whole(4 + i, *sizes.inputs.get(i)?),
        Place::Output(i) => whole((4 + sizes.inputs.len()).checked_add(i)?, *sizes.outputs.get(i)?),
    }
}

fn check(entry: &Entry, places: &[Place], sizes: &Sizes) -> Result<(), &'static str> {
    if places.len() != entry.bufs().len() {
        return Err("the wrong number of buffers");
    }
    let mut ranges = Vec::with_capacity(places.len());
    for (place, spec) in places.iter().zip(entry.bufs()) {
        let changes =
            matches!(place, Place::Arena(_) | Place::Private { .. } | Place::State(_) | Place::Output(_));
        if spec.writable && !changes {
            return Err("a store into what is only read");
        }
        if spec.private != matches!(place, Place::Private { .. }) {
            return Err("a buffer that threads share, or each has for itself, against its entry");
        }
        let lines = match place {
            Place::Arena(at) | Place::State(at) => at.is_multiple_of(ALIGN / size_of::<f32>()),
            Place::Private { .. }
            | Place::Param(_)
            | Place::Const(_)
            | Place::Input(_)
            | Place::Output(_) => false,
        };
        if spec.aligned && !lines {
            return Err("a buffer that begins at no cache line of arena or state, against its entry");
        }
        let range = extent(*place, spec.len, sizes).ok_or("a buffer beyond its store")?;
        ranges.push((range, spec));
    }
    let mut beyond: Vec<std::ops::Range<usize>> = Vec::new();
    for (place, spec) in places.iter().zip(entry.bufs()) {
        if let Place::Private { beyond: at, .. } = place {
            let part = *at..at + spec.len;
            if beyond.iter().any(|b| b.start < part.end && part.start < b.end) {
                return Err("two private buffers in one place");
            }
            beyond.push(part);
        }
    }
    for (i, ((store, a), spec)) in ranges.iter().enumerate() {
        for (j, ((other, b), read)) in ranges.iter().enumerate() {
            let meet = store == other && a.start < b.end && b.start < a.end;
            let in_place = read.pointwise && !read.writable && a == b;
            if spec.writable && i != j && meet && !in_place {
                return Err("a buffer that is written overlaps another");
            }
        }
    }
    Ok(())
}
