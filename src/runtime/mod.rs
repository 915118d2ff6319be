//! What runs compiled code: entries into machine code, programs of steps, storage, threads.
//!
//! Knows neither operations nor how code was made.

pub mod call;
