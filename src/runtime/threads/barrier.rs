//! A barrier for a fixed number of threads: spins for a while, then sleeps; can be poisoned.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Alone on its pair of cache lines, so that threads do not disturb each other.
#[repr(align(128))]
#[derive(Default)]
struct Padded(AtomicUsize);

/// All threads wait here until all have come.
pub(super) struct Barrier {
    threads: usize,
    /// How many have come in this round.
    arrived: Padded,
    /// The number of the round.
    round: Padded,
    sleeping: AtomicUsize,
    poisoned: AtomicBool,
    bed: Mutex<()>,
    bell: Condvar,
    patience: Duration,
}

impl Barrier {
    pub(super) fn new(threads: usize, patience: Duration) -> Self {
        Self {
            threads,
            arrived: Padded::default(),
            round: Padded::default(),
            sleeping: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            bed: Mutex::new(()),
            bell: Condvar::new(),
            patience,
        }
    }

    /// Waits for the others; false if one of them will never come.
    pub(super) fn wait(&self) -> bool {
        // Nobody can end this round before this thread has arrived, so the number is read in time.
        let round = self.round.0.load(Ordering::Acquire);
        if self.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.0.store(0, Ordering::Relaxed);
            self.round.0.store(round.wrapping_add(1), Ordering::SeqCst);
            self.wake();
        } else {
            let over = |order| self.round.0.load(order) != round || self.poisoned.load(order);
            if !spin(self.patience, || over(Ordering::Acquire)) {
                self.sleep(|| over(Ordering::SeqCst));
            }
        }
        !self.poisoned.load(Ordering::Acquire)
    }

    /// Lets everybody go who waits or will wait.
    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// A sleeper counts itself before it looks whether it is over; a waker changes that before it looks at the count. In the one
    /// order of all such accesses one of the two sees the other.
    fn sleep(&self, over: impl Fn() -> bool) {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        while !over() {
            bed = self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            // Whoever counted itself holds the lock until it sleeps.
            drop(self.bed.lock().unwrap_or_else(PoisonError::into_inner));
            self.bell.notify_all();
        }
    }
}

/// Spins until `over`, at most for `patience`; whether it is over.
pub(super) fn spin(patience: Duration, over: impl Fn() -> bool) -> bool {
    let mut start = None;
    loop {
        // A pause lasts between 40 and 140 cycles, reading the clock about 80.
        for _ in 0..16 {
            if over() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.get_or_insert_with(Instant::now).elapsed() >= patience {
            return over();
        }
    }
}
