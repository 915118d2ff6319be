//! What can go wrong with data.

use std::path::PathBuf;

use crate::formats::FormatError;

/// Data that cannot be had, or that do not fit.
#[derive(Debug)]
pub enum DataError {
    /// A file that cannot be read, or whose content is unsound or does not fit.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: FormatError,
    },
    /// A built-in set that is not on this machine.
    Missing {
        /// Its name in the language.
        name: &'static str,
        /// How to get it, whole lines.
        how: String,
    },
    /// A file of a built-in set that is not what was published.
    Changed {
        /// The file.
        path: PathBuf,
        /// The SHA-256 that it must have.
        expected: &'static str,
        /// The one it has.
        found: String,
    },
    /// A setting that does not fit the data, or settings that exclude each other.
    Setting(String),
    /// Data whose shape is not the network's; both shapes stand in the text, and what may be written instead.
    Shape(String),
    /// More than memory holds.
    Memory {
        /// What was to be held.
        what: String,
    },
    /// The thread that makes batches could not be started.
    Thread(std::io::Error),
}

impl DataError {
    pub(super) fn file(path: impl Into<PathBuf>, error: impl Into<FormatError>) -> Self {
        Self::File { path: path.into(), error: error.into() }
    }

    /// A file that is sound but does not fit.
    pub(super) fn unfit(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::file(path, FormatError::Mismatch(what.into()))
    }
}

impl std::fmt::Display for DataError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Missing { name, how } => write!(f, "the data set `{name}` is not on this machine; {how}"),
            Self::Changed { path, expected, found } => write!(
                f,
                "{}: not the published file: its SHA-256 is {found}, it must be {expected}; remove it and get it again",
                path.display()
            ),
            Self::Setting(what) | Self::Shape(what) => f.write_str(what),
            Self::Memory { what } => write!(f, "not enough memory for {what}"),
            Self::Thread(error) => write!(f, "a thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { error, .. } => Some(error),
            Self::Thread(error) => Some(error),
            Self::Missing { .. }
            | Self::Changed { .. }
            | Self::Setting(_)
            | Self::Shape(_)
            | Self::Memory { .. } => None,
        }
    }
}
