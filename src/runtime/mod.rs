//! What runs compiled code: entries into machine code, programs of steps, storage, threads.
//!
//! In: [`Entry`](call::Entry)s from `codegen` and a list of steps with the places of their buffers. Out: runs of a
//! [`Program`](program::Program) over memory that the caller lends. Everything offered here is safe: lengths and overlaps are
//! checked when a program is made, the lengths of lent memory at each run.
//!
//! Knows neither operations nor how code was made, reads no environment.

pub mod arena;
pub mod call;
pub mod program;
#[cfg(test)]
mod tests;
pub mod threads;
