//! The only place that calls machine code.
//!
//! An [`Entry`] is one function of one nest with what it promises: how long each buffer is, which ones it writes, into how
//! many chunks its work is cut. It keeps alive whatever owns the code. [`Bound`] is a program whose places have become
//! pointers into memory that was lent for one run.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::arena::ALIGN;
use super::program::{Memory, Place, Program, RunError};

/// The compiled function of a nest: one pointer per buffer, and the chunks `begin..end` to do.
#[cfg(target_arch = "x86_64")]
pub type RawFn = unsafe extern "sysv64" fn(bufs: *const *mut f32, begin: i64, end: i64);
/// The compiled function of a nest: one pointer per buffer, and the chunks `begin..end` to do.
#[cfg(not(target_arch = "x86_64"))]
pub type RawFn = unsafe extern "C" fn(bufs: *const *mut f32, begin: i64, end: i64);

/// A buffer that a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufSpec {
    /// Elements.
    pub len: usize,
    /// Whether the function stores into it.
    pub writable: bool,
    /// Whether it may be the very buffer that the function stores into: each element is read only by the range that stores
    /// it, before it does.
    pub pointwise: bool,
    /// Whether calls for disjoint ranges that run at the same time must not have the same one.
    pub private: bool,
    /// Whether it must begin at a multiple of [`ALIGN`] bytes.
    pub aligned: bool,
}

/// A function of machine code.
#[derive(Clone)]
pub struct Entry {
    code: RawFn,
    name: Arc<str>,
    bufs: Arc<[BufSpec]>,
    chunks: usize,
    /// Whatever frees the code when the last entry is gone.
    _owner: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("bufs", &self.bufs)
            .field("chunks", &self.chunks)
            .finish()
    }
}

impl Entry {
    /// A function with its promises.
    ///
    /// # Safety
    /// `code` stays callable as long as `owner` lives. Called with one pointer per element of `bufs`, each to that many
    /// elements, aligned where that is asked for, and `0 <= begin <= end <= chunks`, it reads only within them, writes only within those marked writable,
    /// and writes disjoint elements for disjoint ranges, which no other disjoint range reads. It does so also when a buffer
    /// marked pointwise is the writable one. Buffers marked private are its own while it runs, and it expects nothing of their contents.
    pub unsafe fn new(
        code: RawFn,
        name: &str,
        bufs: Vec<BufSpec>,
        chunks: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Entry {
        Entry { code, name: name.into(), bufs: bufs.into(), chunks, _owner: owner }
    }

    /// What listings call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its buffers.
    pub fn bufs(&self) -> &[BufSpec] {
        &self.bufs
    }

    /// Into how many chunks its work is cut.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Runs chunks `begin..end` over `bufs`.
    ///
    /// # Safety
    /// `bufs` holds one pointer per element of [`Entry::bufs`], each to at least that many elements, the writable ones for
    /// writing, those marked aligned at a multiple of [`ALIGN`] bytes, and none of those overlaps another, but may be one marked pointwise. No other thread accesses what this range writes meanwhile.
    pub(super) unsafe fn call(&self, bufs: &[*mut f32], begin: usize, end: usize) {
        debug_assert_eq!(bufs.len(), self.bufs.len(), "one pointer per buffer");
        debug_assert!(begin <= end && end <= self.chunks, "a range of chunks");
        // SAFETY: the caller promises what `new` says the code needs; `_owner` keeps the code alive.
        unsafe { (self.code)(bufs.as_ptr(), begin as i64, end as i64) }
    }

    /// Runs everything over `bufs` on this thread.
    ///
    /// # Errors
    /// The number, length or alignment of the buffers is wrong.
    pub fn run(&self, bufs: &mut [&mut [f32]]) -> Result<(), WrongBuffers> {
        let fits = bufs.len() == self.bufs.len()
            && bufs.iter().zip(&*self.bufs).all(|(given, wanted)| {
                given.len() == wanted.len && (!wanted.aligned || is_aligned(given.as_ptr()))
            });
        if !fits {
            return Err(WrongBuffers { entry: self.name.to_string() });
        }
        let pointers: Vec<*mut f32> = bufs.iter_mut().map(|b| b.as_mut_ptr()).collect();
        // SAFETY: the lengths were just checked, and exclusive borrows do not overlap.
        unsafe { self.call(&pointers, 0, self.chunks) };
        Ok(())
    }
}

/// Buffers that do not fit an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongBuffers {
    /// The entry.
    pub entry: String,
}

impl fmt::Display for WrongBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` was given buffers of the wrong number, length or alignment", self.entry)
    }
}

impl std::error::Error for WrongBuffers {}

/// A program with pointers for places, for the time of one run.
pub(super) struct Bound<'a> {
    program: &'a Program,
    /// How many threads it runs on.
    threads: usize,
    /// The buffers of all steps, one step after another; those of a step with private buffers once for each thread.
    pointers: Vec<*mut f32>,
    /// Where each step's begin.
    starts: Vec<usize>,
    /// Memory lent for `'a`, some of it to write.
    _memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointers stand for exclusive and shared borrows of `f32`, which may be sent and shared; who writes where at one
// time is the business of `Bound::step`, which is unsafe for that reason.
unsafe impl Sync for Bound<'_> {}

impl<'a> Bound<'a> {
    /// Compares the lengths of what is lent with what the program needs, and finds the places in it.
    pub(super) fn new(
        program: &'a Program,
        mut memory: Memory<'a>,
        threads: usize,
    ) -> Result<Self, RunError> {
        let (sizes, threads) = (program.sizes(), threads.max(1));
        length("arena", memory.arena.len(), program.arena(threads))?;
        length("parameters", memory.params.len(), sizes.params)?;
        length("state", memory.state.len(), sizes.state)?;
        length("constants", memory.consts.len(), sizes.consts)?;
        length("inputs", memory.inputs.len(), sizes.inputs.len())?;
        length("outputs", memory.outputs.len(), sizes.outputs.len())?;
        for (i, (given, wanted)) in memory.inputs.iter().zip(&sizes.inputs).enumerate() {
            length(&format!("input {i}"), given.len(), *wanted)?;
        }
        for (i, (given, wanted)) in memory.outputs.iter().zip(&sizes.outputs).enumerate() {
            length(&format!("output {i}"), given.len(), *wanted)?;
        }
        let (arena, state) = (memory.arena.as_mut_ptr(), memory.state.as_mut_ptr());
        let lines = is_aligned(arena) && (memory.state.is_empty() || is_aligned(state));
        if program.aligned && !lines {
            return Err(RunError::Alignment);
        }
        let outputs: Vec<*mut f32> = memory.outputs.iter_mut().map(|o| o.as_mut_ptr()).collect();
        let mut pointers = Vec::new();
        let mut starts = Vec::with_capacity(program.steps.len());
        let planned = sizes.threads.max(1);
        for (_, places) in &program.steps {
            starts.push(pointers.len());
            let several = places.iter().any(|p| matches!(p, Place::Private { .. }));
            for thread in 0..if several { threads } else { 1 } {
                pointers.extend(places.iter().map(|place| match place {
                    // Offsets were checked against the sizes when the program was made. Nothing writes through a pointer that
                    // comes from a shared borrow: the program puts only buffers that are read there.
                    Place::Arena(offset) => arena.wrapping_add(*offset),
                    Place::Private { at, step, beyond: _ } if thread < planned => {
                        arena.wrapping_add(at + thread * step)
                    }
                    Place::Private { beyond, .. } => {
                        arena.wrapping_add(sizes.arena + (thread - planned) * sizes.private + beyond)
                    }
                    Place::Param(offset) => memory.params.as_ptr().cast_mut().wrapping_add(*offset),
                    Place::State(offset) => state.wrapping_add(*offset),
                    Place::Const(offset) => memory.consts.as_ptr().cast_mut().wrapping_add(*offset),
                    Place::Input(i) => memory.inputs[*i].as_ptr().cast_mut(),
                    Place::Output(i) => outputs[*i],
                }));
            }
        }
        Ok(Self { program, threads, pointers, starts, _memory: PhantomData })
    }

    /// How many threads it runs on.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// The buffers of a step as `thread` sees them.
    fn pointers(&self, step: usize, thread: usize) -> &[*mut f32] {
        let start = self.starts[step];
        let end = self.starts.get(step + 1).copied().unwrap_or(self.pointers.len());
        let count = self.program.steps[step].1.len();
        let first = if end - start > count { start + thread * count } else { start };
        &self.pointers[first..first + count]
    }

    /// The share of `thread` of `threads` in a step.
    ///
    /// # Safety
    /// Each share of a step runs once at a time, and no two steps run at the same time.
    pub(super) unsafe fn step(&self, step: usize, thread: usize, threads: usize) {
        assert!(thread < threads && threads <= self.threads, "the arena has room for all threads");
        let entry = &self.program.steps[step].0;
        let range = share(entry.chunks, thread, threads);
        if !range.is_empty() {
            // SAFETY: `Program::new` has checked that each buffer lies within its store and that what is written overlaps
            // nothing else but what the entry promises may be overwritten as it is read; `new` has checked the stores. Shares are disjoint ranges, of which the entry promises that they
            // do not meet; private buffers are this thread's, which is less than `self.threads`. The caller promises the rest.
            unsafe { entry.call(self.pointers(step, thread), range.start, range.end) }
        }
    }
}

fn is_aligned(at: *const f32) -> bool {
    at.addr().is_multiple_of(ALIGN)
}

/// The chunks of thread `thread`: cut evenly, in order.
fn share(chunks: usize, thread: usize, threads: usize) -> std::ops::Range<usize> {
    let at = |thread: usize| (chunks as u128 * thread as u128 / threads as u128) as usize;
    at(thread)..at(thread + 1)
}

fn length(what: &str, given: usize, wanted: usize) -> Result<(), RunError> {
    if given == wanted { Ok(()) } else { Err(RunError::Length { what: what.to_owned(), given, wanted }) }
}

/// The buffers of a step that has just run.
pub struct View<'b> {
    entry: &'b Entry,
    pointers: &'b [*mut f32],
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("entry", &self.entry).finish()
    }
}

impl<'b> View<'b> {
    /// Exclusive, so that nothing runs while the view exists.
    pub(super) fn new(bound: &'b mut Bound<'_>, step: usize) -> View<'b> {
        let bound = &*bound;
        View { entry: &bound.program.steps[step].0, pointers: bound.pointers(step, 0) }
    }

    /// The entry that ran.
    pub fn entry(&self) -> &Entry {
        self.entry
    }

    /// Buffer `index` of the entry; empty if there is none.
    pub fn buf(&self, index: usize) -> &[f32] {
        match (self.pointers.get(index), self.entry.bufs.get(index)) {
            // SAFETY: the pointer stands for that many elements of memory borrowed for longer than the view, and while the
            // view exists no step runs, so nothing writes them.
            (Some(pointer), Some(spec)) => unsafe { std::slice::from_raw_parts(*pointer, spec.len) },
            (None, _) | (_, None) => &[],
        }
    }
}

/// Defines a function with the calling convention of [`RawFn`] in front of a Rust one.
#[cfg(test)]
macro_rules! raw_fn {
    ($raw:ident, $code:ident) => {
        #[cfg(target_arch = "x86_64")]
        extern "sysv64" fn $raw(bufs: *const *mut f32, begin: i64, end: i64) {
            $code(bufs, begin, end);
        }
        #[cfg(not(target_arch = "x86_64"))]
        extern "C" fn $raw(bufs: *const *mut f32, begin: i64, end: i64) {
            $code(bufs, begin, end);
        }
    };
}

/// `y[i] = x[i] + 1` by way of a private buffer of one element, `chunks` elements in as many chunks, for tests.
#[cfg(test)]
pub(super) fn by_way_of_private(chunks: usize) -> Entry {
    fn code(bufs: *const *mut f32, begin: i64, end: i64) {
        for i in begin as usize..end as usize {
            // SAFETY: `by_way_of_private` says that the first two buffers hold `chunks` elements and the third one.
            unsafe {
                let (x, y, own) = (*bufs, *bufs.add(1), *bufs.add(2));
                own.write_volatile(*x.add(i));
                std::thread::yield_now();
                *y.add(i) = own.read_volatile() + 1.0;
            }
        }
    }
    raw_fn!(raw, code);
    let shared =
        |writable| BufSpec { len: chunks, writable, pointwise: false, private: false, aligned: false };
    let own = BufSpec { len: 1, writable: true, pointwise: false, private: true, aligned: false };
    // SAFETY: a function lives for ever, and touches element `i` of two buffers of `chunks` for chunk `i`, and a third buffer that is
    // private.
    unsafe { Entry::new(raw, "private", vec![shared(false), shared(true), own], chunks, Arc::new(())) }
}

/// `y[i] = x[i] * 2 + i` over `len` elements in `chunks` chunks: a Rust function in the place of machine code, for tests.
#[cfg(test)]
pub(super) fn doubled(chunks: usize, len: usize) -> Entry {
    fn code(bufs: *const *mut f32, begin: i64, end: i64) {
        for i in begin as usize..end as usize {
            // SAFETY: `doubled` says that both buffers hold at least `chunks` elements.
            unsafe {
                let (x, y) = (*bufs, *bufs.add(1));
                *y.add(i) = *x.add(i) * 2.0 + i as f32;
            }
        }
    }
    raw_fn!(raw, code);
    assert!(chunks <= len);
    let bufs = vec![
        BufSpec { len, writable: false, pointwise: true, private: false, aligned: false },
        BufSpec { len, writable: true, pointwise: false, private: false, aligned: false },
    ];
    // SAFETY: a function lives for ever, and touches element `i` of two buffers of `len >= chunks` for chunk `i`.
    unsafe { Entry::new(raw, "doubled", bufs, chunks, Arc::new(())) }
}
