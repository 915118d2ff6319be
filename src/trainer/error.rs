//! What can go wrong with a training.

use std::path::PathBuf;

use crate::data::DataError;
use crate::formats::FormatError;
use crate::session::{CompileError, RunError};
use crate::support::diag::Diagnostic;
use crate::support::span::Span;
use crate::train::step::StepError;

/// A training that cannot begin or go on.
#[derive(Debug)]
pub enum TrainError {
    /// The program has no `train` item for the net.
    NoItem {
        /// The net.
        net: String,
        /// Nets that have one.
        known: Vec<String>,
    },
    /// A setting that is missing or does not fit.
    Setting(String),
    /// Something at a place of the program.
    At(Box<Diagnostic>),
    /// The data.
    Data(DataError),
    /// The step cannot be built.
    Step(StepError, Option<Span>),
    /// A network could not be compiled.
    Compile(CompileError),
    /// A run failed.
    Run(RunError),
    /// The loss or a gradient is no number or infinite. Weights and slots are as they were before the step.
    NotFinite(NotFinite),
    /// A file.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: FormatError,
    },
    /// A checkpoint of another training.
    Foreign {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
}

/// Where numbers stopped being numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFinite {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The batch in the epoch, from 0.
    pub batch: u64,
    /// The loss.
    pub loss: f32,
    /// The layer, or the gradient, that was not finite first.
    pub first: Option<String>,
}

impl std::fmt::Display for NotFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.loss.is_finite() {
            "a gradient is not finite".to_owned()
        } else {
            format!("the loss is {}", self.loss)
        };
        write!(f, "{what} in epoch {}, batch {}", self.epoch + 1, self.batch + 1)?;
        match &self.first {
            Some(first) => write!(f, ": the first value that is not finite is {first}")?,
            None => f.write_str(": it overflows in a sum")?,
        }
        f.write_str("; the weights are as they were before this step. A smaller `rate`, a `warmup`, or `clip norm(1)` may help")
    }
}

impl std::fmt::Display for TrainError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoItem { net, known } if known.is_empty() => {
                write!(f, "the program has no `train {net} {{ … }}`, which says data, loss and optimizer")
            }
            Self::NoItem { net, known } => {
                write!(f, "the program has no `train {net} {{ … }}`; there is one for {}", known.join(", "))
            }
            Self::Setting(what) => f.write_str(what),
            Self::At(diagnostic) => f.write_str(&diagnostic.message),
            Self::Data(e) => e.fmt(f),
            Self::Step(e, _) => e.fmt(f),
            Self::Compile(e) => e.fmt(f),
            Self::Run(e) => e.fmt(f),
            Self::NotFinite(e) => e.fmt(f),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Foreign { path, what } => {
                write!(f, "{} is a checkpoint of another training: {what}", path.display())
            }
        }
    }
}

impl std::error::Error for TrainError {}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for TrainError {
            fn from(e: $from) -> Self {
                Self::$variant(e)
            }
        })*
    };
}

from! { DataError => Data, CompileError => Compile, RunError => Run }
