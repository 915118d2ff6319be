//! Why there is no object.

use crate::grad::GradError;
use crate::runtime::arena::OutOfMemory;
use crate::session::error::{CompileError, RunError, WeightError};

/// See the module.
#[derive(Debug)]
pub enum ObjectError {
    /// No instruction set is named.
    NoTarget,
    /// One object holds code of one architecture.
    Architectures {
        /// Two targets that do not go together.
        names: (String, String),
    },
    /// Names cannot begin so.
    Prefix {
        /// What was asked for.
        prefix: String,
    },
    /// The model lacks a weight of the graph: it is another net's.
    Weight {
        /// Its path.
        name: String,
    },
    /// Instruction sets that would keep the state of a training in different places.
    State {
        /// Two of them.
        names: (String, String),
    },
    /// Something has no gradient.
    Grad(GradError),
    /// The net could not be compiled.
    Compile(CompileError),
    /// Weights could not be set.
    Weights(WeightError),
    /// The net could not be run for the test.
    Run(RunError),
    /// A file could not be made.
    File {
        /// Which, or what was to make it.
        what: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A shared library needs the system's linker.
    Linker {
        /// What was called.
        command: String,
        /// What it said.
        message: String,
    },
}

impl ObjectError {
    pub(super) fn weight(name: &str) -> Self {
        Self::Weight { name: name.to_owned() }
    }
}

impl std::fmt::Display for ObjectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoTarget => f.write_str("no target is named"),
            Self::Architectures { names: (a, b) } => {
                write!(f, "targets `{a}` and `{b}` are of two architectures; make an object for each")
            }
            Self::Prefix { prefix } => write!(
                f,
                "names in C cannot begin with `{prefix}`: a letter, then at most 63 letters, digits and `_`"
            ),
            Self::Weight { name } => write!(f, "the model has no weight `{name}`: it is another net's"),
            Self::State { names: (a, b) } => {
                write!(
                    f,
                    "targets `{a}` and `{b}` lay out the state of a training differently; make an object for each"
                )
            }
            Self::Grad(e) => e.fmt(f),
            Self::Compile(e) => e.fmt(f),
            Self::Weights(e) => e.fmt(f),
            Self::Run(e) => e.fmt(f),
            Self::File { what, cause } => write!(f, "{what}: {cause}"),
            Self::Linker { command, message } => write!(f, "`{command}` made no library: {message}"),
        }
    }
}

impl std::error::Error for ObjectError {}

/// Errors of what an object is made with.
macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for ObjectError {
            fn from(e: $from) -> Self {
                Self::$variant(e)
            }
        })*
    };
}

from! { GradError => Grad, CompileError => Compile, WeightError => Weights, RunError => Run }

impl From<OutOfMemory> for ObjectError {
    fn from(e: OutOfMemory) -> Self {
        Self::Run(e.into())
    }
}
