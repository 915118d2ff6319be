//! Threads that run one program together: every thread runs all steps over its share of each, with a barrier in between.
//!
//! One parallel region a run, because entering and leaving costs more than a small step. Shares are static and cut by the
//! shape of a step, so results never depend on the number of threads; one thread is a plain loop. A host lends its own
//! threads through [`Executor`].

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

mod barrier;

use super::call::Bound;
use super::program::RunError;
use barrier::{Barrier, spin};

/// Threads that can run together.
pub trait Executor: Sync {
    /// How many; at least 1. It may change from run to run, not while one goes on.
    fn threads(&self) -> usize;

    /// Calls `body(0) .. body(threads() - 1)`, each once, **all at the same time on distinct threads**, and returns when all
    /// have returned. Parts wait for each other: a work-stealing scope or a parallel iterator would hang. A part called twice,
    /// or not at all, is found out.
    fn run(&self, body: &(dyn Fn(usize) + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneThread;

impl Executor for OneThread {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, body: &(dyn Fn(usize) + Sync)) {
        body(0);
    }
}

/// How many threads the system runs at once for this process.
pub fn parallelism() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// How long to spin before sleeping, for `threads` threads: not at all where some of them must wait for a processor.
fn patience(threads: usize) -> Duration {
    if threads > parallelism() { Duration::ZERO } else { Duration::from_micros(30) }
}

/// Runs `steps`; `times` gets the time of each.
pub(super) fn run(
    bound: &Bound<'_>,
    steps: Range<usize>,
    executor: &dyn Executor,
    mut times: Option<&mut Vec<Duration>>,
) -> Result<(), RunError> {
    // As many as the arena has room for; an executor that runs others breaks its contract, which is found out.
    let threads = bound.threads();
    if threads == 1 {
        for step in steps {
            let start = Instant::now();
            // SAFETY: the only thread does the whole step, then the next.
            unsafe { bound.step(step, 0, 1) };
            if let Some(times) = times.as_deref_mut() {
                times.push(start.elapsed());
            }
        }
        return Ok(());
    }
    let region = Region {
        barrier: Barrier::new(threads, patience(threads)),
        claimed: (0..threads).map(|_| AtomicBool::new(false)).collect(),
        done: AtomicUsize::new(0),
        wrong: AtomicBool::new(false),
    };
    let ends = Mutex::new(Vec::new());
    let timed = times.is_some();
    let start = Instant::now();
    executor.run(&|index| {
        let mut clock = Vec::new();
        region.part(bound, steps.clone(), index, || {
            if timed && index == 0 {
                clock.push(start.elapsed());
            }
        });
        if let (0, Ok(mut ends)) = (index, ends.lock()) {
            *ends = clock;
        }
    });
    if region.wrong.load(Ordering::Acquire) || region.done.load(Ordering::Acquire) != threads {
        return Err(RunError::Executor);
    }
    if let (Some(times), Ok(ends)) = (times, ends.into_inner()) {
        let mut before = Duration::ZERO;
        for end in ends {
            times.push(end.saturating_sub(before));
            before = end;
        }
    }
    Ok(())
}

/// What the threads of one run share.
struct Region {
    barrier: Barrier,
    claimed: Vec<AtomicBool>,
    done: AtomicUsize,
    wrong: AtomicBool,
}

impl Region {
    /// The part of thread `index`; calls `after_step` after each step, when all have finished it.
    fn part(&self, bound: &Bound<'_>, steps: Range<usize>, index: usize, mut after_step: impl FnMut()) {
        let claimed = self.claimed.get(index).is_some_and(|c| !c.swap(true, Ordering::AcqRel));
        if !claimed {
            // Some other part will not run, so nobody may wait for it.
            self.wrong.store(true, Ordering::Release);
            self.barrier.poison();
            return;
        }
        let guard = Poison { barrier: &self.barrier };
        for step in steps {
            // SAFETY: each index was claimed once, so shares of one step are disjoint; the barrier below keeps steps apart.
            unsafe { bound.step(step, index, self.claimed.len()) };
            if !self.barrier.wait() {
                return;
            }
            after_step();
        }
        std::mem::forget(guard);
        self.done.fetch_add(1, Ordering::AcqRel);
    }
}

/// Releases the others when a part does not come to its end.
struct Poison<'a> {
    barrier: &'a Barrier,
}

impl Drop for Poison<'_> {
    fn drop(&mut self) {
        self.barrier.poison();
    }
}

/// Some threads beside the caller. Runs of several callers follow each other; a body must not enter its own pool again.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller whose run it is.
    turn: Mutex<()>,
}

/// What all threads of a pool see.
struct Shared {
    /// The number of the latest job: what idle workers watch.
    job_number: AtomicUsize,
    /// Workers that have not finished it.
    busy: AtomicUsize,
    state: Mutex<State>,
    /// A job has come, or the end.
    job_bell: Condvar,
    /// All workers have finished.
    done_bell: Condvar,
    patience: Duration,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    ending: bool,
    /// What the first worker that panicked said.
    panic: Option<Box<dyn Any + Send>>,
}

/// A body whose lifetime is forgotten: [`Pool::run`] waits until nobody uses it any more.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(usize) + Sync + 'static));

// SAFETY: the body may be shared between threads (`Sync`), and lives until `Pool::run` returns, which is after the last use.
unsafe impl Send for Job {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

impl Pool {
    /// `threads - 1` threads beside the caller.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(threads: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            job_number: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            state: Mutex::new(State::default()),
            job_bell: Condvar::new(),
            done_bell: Condvar::new(),
            patience: patience(threads),
        });
        // If one cannot be had, dropping the pool ends those before it.
        let mut pool = Pool { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for index in 1..threads.max(1) {
            let shared = pool.shared.clone();
            let builder = std::thread::Builder::new().name(format!("cnnc-{index}"));
            pool.workers.push(builder.spawn(move || shared.work(index))?);
        }
        Ok(pool)
    }
}

impl Executor for Pool {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, body: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() {
            return body(0);
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let body_pointer: *const (dyn Fn(usize) + Sync + '_) = body;
        // SAFETY: only the lifetime changes. Workers use the body while `busy` is not 0, and this function does not return, nor
        // unwind, before that.
        let job = Job(unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(
                body_pointer,
            )
        });
        self.shared.start(job, self.workers.len());
        let own = catch_unwind(AssertUnwindSafe(|| body(0)));
        let others = self.shared.finish();
        drop(turn);
        if let Some(panic) = own.err().or(others) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ending = true;
            self.shared.job_number.fetch_add(1, Ordering::Release);
        }
        self.shared.job_bell.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of bodies, so it ends well.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a job to all workers.
    fn start(&self, job: Job, workers: usize) {
        let mut state = self.lock();
        state.job = Some(job);
        state.panic = None;
        self.busy.store(workers, Ordering::Release);
        self.job_number.fetch_add(1, Ordering::Release);
        drop(state);
        self.job_bell.notify_all();
    }

    /// Waits for all workers; what the first that panicked said.
    fn finish(&self) -> Option<Box<dyn Any + Send>> {
        let idle = || self.busy.load(Ordering::Acquire) == 0;
        spin(self.patience, idle);
        let mut state = self.lock();
        while !idle() {
            state = self.done_bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.job = None;
        state.panic.take()
    }

    /// The life of a worker.
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            let news = || self.job_number.load(Ordering::Acquire) != seen;
            spin(self.patience, news);
            let mut state = self.lock();
            while !news() {
                state = self.job_bell.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // Under the lock, so number and job belong together.
            seen = self.job_number.load(Ordering::Acquire);
            let (ending, job) = (state.ending, state.job);
            drop(state);
            if ending {
                return;
            }
            let Some(Job(body)) = job else { continue };
            // SAFETY: the caller waits in `finish` until `busy` has been counted down, which happens below.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*body)(index) }));
            let mut state = self.lock();
            if let Err(panic) = result {
                state.panic.get_or_insert(panic);
            }
            if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done_bell.notify_all();
            }
        }
    }
}
