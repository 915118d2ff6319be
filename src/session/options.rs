//! What a compilation is told. The defaults ask the processor what it offers and the system how many threads it runs; nothing
//! else in the library does.

use super::tune::Tune;
use crate::kernels::isa::Isa;
use crate::passes::Level;
use crate::runtime::threads::parallelism;

/// Most threads of one model: more than any machine has processors for, few enough that starting them cannot exhaust memory.
pub const THREADS_MAX: usize = 1024;

/// Options of a [`Compiler`](super::Compiler).
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples per run, the extent of axis `n`; at least 1.
    pub batch: usize,
    /// Threads of a run; at least 1. Results are the same bits for any number.
    pub threads: usize,
    /// The target of code generation.
    pub isa: Isa,
    /// `const` items of the program and their new values as text (`--set S=32`).
    pub set: Vec<(String, String)>,
    /// Where random weights start; the same seed gives the same bits.
    pub seed: u64,
    /// Which passes run.
    pub level: Level,
    /// Whether every convolution is computed by its definition, without minimal filtering and without tables as dense layers:
    /// slower, and what is not finite spreads as the definition says.
    pub exact: bool,
    /// Whether measurements on this machine choose tiles, orders of loops and algorithms, and where they are kept. `None`: the
    /// cost model alone chooses. Another algorithm gives other bits.
    pub tune: Option<Tune>,
    /// Whether errors come with edits that were tried on the whole program.
    pub fixes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch: 1,
            threads: parallelism(),
            isa: Isa::detect(),
            set: Vec::new(),
            seed: 0,
            level: Level::All,
            exact: false,
            tune: None,
            fixes: true,
        }
    }
}

impl Options {
    /// Another batch.
    #[must_use]
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// Another number of threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Another target.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// Another value for the constant `name`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.set.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another seed of random weights.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Convolutions by their definition, or as is fastest.
    #[must_use]
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Choices by measurement.
    #[must_use]
    pub fn tune(mut self, tune: Tune) -> Self {
        self.tune = Some(tune);
        self
    }

    /// Other passes.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }
}
