//! What can go wrong on the way from a program to its results, as types: no error is a bare text.

use super::options::THREADS_MAX;
use crate::codegen::CodegenError;
use crate::lower::LowerError;
use crate::passes::PassError;
use crate::runtime::arena::OutOfMemory;
use crate::runtime::program::{ProgramError, RunError as MachineError};
use crate::support::codes;
use crate::support::diag::{Code, Diagnostic};
use crate::support::span::Sources;

/// A program that could not be compiled.
#[derive(Debug)]
pub enum CompileError {
    /// The program is wrong; the diagnostics say how.
    Program {
        /// Everything that was found, warnings too.
        diagnostics: Vec<Diagnostic>,
        /// The texts that they point into.
        sources: Sources,
    },
    /// The program has no net of that name, or none at all.
    NoNet {
        /// The name asked for, if one was.
        name: Option<String>,
        /// The nets that there are.
        known: Vec<String>,
    },
    /// A batch of 0, or threads of 0.
    Option {
        /// Which option.
        option: &'static str,
    },
    /// Threads could not be started.
    Threads(std::io::Error),
    /// A bug of this compiler.
    Bug(Bug),
}

/// What no program should be able to cause.
#[derive(Clone, Debug, PartialEq)]
pub enum Bug {
    /// A pass broke a rule of the graph.
    Pass(PassError),
    /// A pass left out what lowering needs.
    Lower(LowerError),
    /// A nest breaks the rules of loops.
    Nest {
        /// The nest.
        nest: String,
        /// What it breaks.
        broken: String,
        /// Its text.
        listing: String,
    },
    /// Code generation failed.
    Codegen(CodegenError),
    /// The plan of memory does not hold.
    Plan(ProgramError),
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program { diagnostics, sources } => {
                let errors: Vec<String> = diagnostics
                    .iter()
                    .filter(|d| d.is_error())
                    .map(|d| super::report::short(d, sources).trim_end().to_owned())
                    .collect();
                f.write_str(&errors.join("\n"))
            }
            Self::NoNet { name: Some(name), known } if known.is_empty() => {
                write!(f, "there is no net `{name}`; the program has none")
            }
            Self::NoNet { name: Some(name), known } => {
                write!(f, "there is no net `{name}`; there are {}", known.join(", "))
            }
            Self::NoNet { name: None, .. } => f.write_str("the program has no net"),
            Self::Option { option: "threads" } => write!(f, "`threads` must be 1 to {THREADS_MAX}"),
            Self::Option { option } => write!(f, "`{option}` must be at least 1"),
            Self::Threads(e) => write!(f, "threads cannot be started: {e}"),
            Self::Bug(bug) => write!(f, "{bug} (this is a bug in cnnc)"),
        }
    }
}

impl std::fmt::Display for Bug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pass(e) => e.fmt(f),
            Self::Lower(e) => e.fmt(f),
            Self::Nest { nest, broken, .. } => write!(f, "the loops of `{nest}` are malformed: {broken}"),
            Self::Codegen(e) => e.fmt(f),
            Self::Plan(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for CompileError {}
impl std::error::Error for Bug {}

/// A bug is reported as a failed compilation.
macro_rules! bug {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for CompileError {
            fn from(e: $from) -> Self {
                Self::Bug(Bug::$variant(e))
            }
        })*
    };
}

bug! { PassError => Pass, LowerError => Lower, CodegenError => Codegen, ProgramError => Plan }

/// A run that did not take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// The network has no input, or no output, of that name.
    Unknown {
        /// `input` or `output`.
        side: &'static str,
        /// The name.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// An input was not given, or an output's buffer was given twice.
    Missing {
        /// The input.
        name: String,
    },
    /// An input or output was named twice.
    Twice {
        /// Its name.
        name: String,
    },
    /// An input or an output's buffer has other axes or another number of elements.
    Shape {
        /// Its name.
        name: String,
        /// What the network declares, as `[n: 1, c: 3, h: 8, w: 8]`.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The network's runs change its weights, and this one was asked to leave them.
    Stateful,
    /// There is not enough memory.
    Memory(OutOfMemory),
    /// The loop interpreter found a nest that breaks the rules: a bug.
    Interpreter {
        /// What it said.
        message: String,
    },
    /// The executor broke its contract, or a plan did not fit: the first is the host's mistake, the second a bug.
    Machine(MachineError),
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { side, name, known } => {
                write!(f, "the network has no {side} `{name}`; it has {}", known.join(", "))
            }
            Self::Missing { name } => write!(f, "input `{name}` is not given"),
            Self::Twice { name } => write!(f, "`{name}` is given twice"),
            Self::Shape { name, expected, found } => {
                write!(f, "`{name}` is declared as {expected}, given is {found}")
            }
            Self::Stateful => f.write_str("a run of this network changes its weights: it needs `run_mut`"),
            Self::Memory(e) => e.fmt(f),
            Self::Interpreter { message } => write!(f, "{message} (this is a bug in cnnc)"),
            Self::Machine(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl From<OutOfMemory> for RunError {
    fn from(e: OutOfMemory) -> Self {
        Self::Memory(e)
    }
}

impl From<MachineError> for RunError {
    fn from(e: MachineError) -> Self {
        Self::Machine(e)
    }
}

/// Weights that could not be set; none was changed.
#[derive(Debug)]
pub struct WeightError {
    /// Everything that does not fit.
    pub problems: Vec<WeightProblem>,
}

/// One thing that does not fit between a network and given weights.
#[derive(Debug)]
pub enum WeightProblem {
    /// The network needs a weight that is not given.
    Missing {
        /// Its path.
        name: String,
        /// Its shape in the network.
        expected: String,
        /// The given name nearest to it that the network does not know.
        nearest: Option<String>,
    },
    /// A weight is given that the network does not have.
    Unknown {
        /// The given name.
        name: String,
        /// The given extents.
        found: Vec<usize>,
        /// The network's nearest name.
        nearest: Option<String>,
    },
    /// A weight has other extents than the network's.
    Shape {
        /// Its path.
        name: String,
        /// Its shape in the network.
        expected: String,
        /// The given extents.
        found: Vec<usize>,
    },
    /// The source failed.
    Read {
        /// The weight that was being read.
        name: String,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is not enough memory.
    Memory(RunError),
}

impl WeightProblem {
    /// Its diagnostic code.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing { .. } | Self::Unknown { .. } => codes::E0503,
            Self::Shape { .. } => codes::E0504,
            Self::Read { .. } | Self::Memory(_) => codes::E0502,
        }
    }
}

impl std::fmt::Display for WeightProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let near = |nearest: &Option<String>| match nearest {
            Some(n) => format!("; did you mean `{n}`?"),
            None => String::new(),
        };
        match self {
            Self::Missing { name, expected, nearest } => {
                let hint =
                    nearest.as_ref().map_or(String::new(), |n| format!("; given and unknown is `{n}`"));
                write!(f, "weight `{name}` {expected} is not given{hint}")
            }
            Self::Unknown { name, found, nearest } => {
                write!(
                    f,
                    "weight `{name}` {found:?} is given, but the network has none of that name{}",
                    near(nearest)
                )
            }
            Self::Shape { name, expected, found } => {
                write!(f, "weight `{name}` is {expected} in the network, given is {found:?}")
            }
            Self::Read { name, cause } => write!(f, "weight `{name}` cannot be read: {cause}"),
            Self::Memory(e) => e.fmt(f),
        }
    }
}

/// How many problems a message lists.
const PROBLEMS_SHOWN: usize = 12;

impl std::fmt::Display for WeightError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.problems.iter().take(PROBLEMS_SHOWN).enumerate() {
            let line = if i == 0 { "" } else { "\n" };
            write!(f, "{line}error[{}]: {problem}", problem.code())?;
        }
        match self.problems.len().checked_sub(PROBLEMS_SHOWN) {
            Some(more) if more > 0 => write!(f, "\nand {more} more"),
            Some(_) | None => Ok(()),
        }
    }
}

impl std::error::Error for WeightError {}
