//! Loop nests to machine code in one module.
//!
//! In: verified nests ([`crate::loops::Nest`]), or kernels assembled elsewhere, and a target
//! ([`Isa`](crate::kernels::isa::Isa)). Out: [`Code`], which owns executable memory and one
//! [`Entry`](crate::runtime::call::Entry) per nest: `extern "C" fn(bufs: *const *mut f32, begin: i64, end: i64)`.
//!
//! Invariants: code calls nothing, allocates nothing, locks nothing; indices are not checked, because the verifier of the
//! nests proved them; results do not depend on how loops are marked (`Jam`, `Vec`, `Par`), nor on `begin..end` cuts.
//! Buffers of one call that a nest does not write may overlap each other; one that it writes overlaps none (the runtime's
//! program checks it), so loads from the others may be shared and moved.
//!
//! The road: [`module`] (code that runs here, as entries) has [`define`] fill a module with functions and tables, the same
//! way for every kind of Cranelift module, for a machine that [`target`] describes; that drives [`emit`] (statements and
//! loops), which uses [`address`] (induction pointers), [`index`] (integer arithmetic, ranges), [`expr`] (values, loads,
//! stores) and [`math`] (functions). With the feature `object` there is a second end of the road: `object` writes a file, in which
//! `routine` calls the functions of nests one after another, `choose` picks the instruction set, and `selftest` checks the whole.

mod address;
#[cfg(feature = "object")]
mod choose;
mod define;
mod emit;
mod expr;
mod index;
mod listing;
mod math;
mod module;
#[cfg(feature = "object")]
pub mod object;
#[cfg(feature = "object")]
mod routine;
mod scan;
#[cfg(feature = "object")]
pub mod selftest;
mod target;
#[cfg(test)]
mod tests;
mod wide;

use std::fmt;

pub use define::{Writer, clif_text, writer};
pub use module::{Code, assembled, compile};

/// Code could not be made. None of these is a user's mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodegenError {
    /// The nest breaks a rule that its verifier should have reported.
    Nest {
        /// Its name.
        nest: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Cranelift refused.
    Backend {
        /// Where.
        nest: String,
        /// What it said.
        message: String,
    },
}

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodegenError::Nest { nest, what } => write!(f, "nest `{nest}`: {what}"),
            CodegenError::Backend { nest, message } => write!(f, "code generation of `{nest}`: {message}"),
        }
    }
}

impl std::error::Error for CodegenError {}

/// Inside the emitter only the reason is known; the nest's name is added on the way out.
type Emitted<T> = Result<T, &'static str>;
