//! What the target's instruction set offers: which extensions there are ([`isa`]).
//!
//! Knows neither operations nor loop nests. Assembled kernels enter the module of a network as bytes, next to the
//! functions that `codegen` makes from nests.

pub mod isa;
