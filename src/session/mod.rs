//! The public API: [`Compiler`] turns text into a [`Checked`] program and that into a [`Model`]; a model runs.
//!
//! The pipeline is read in [`compiler`] (text to graph, code) and [`assemble`] (graph to loops and places). Nothing here
//! knows an operation.

pub mod assemble;
#[cfg(test)]
mod beside_tests;
pub mod claims;
mod compiler;
pub mod dump;
pub mod error;
pub mod explain;
pub mod files;
pub mod gradcheck;
pub mod gradients;
pub mod layers;
pub mod machine;
pub mod model;
#[cfg(feature = "object")]
pub mod object;
pub mod observe;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod options;
mod pieces;
pub mod ports;
pub mod profile;
pub mod report;
pub mod retune;
pub mod simulate;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;
pub mod tune;
pub mod weights;

pub use crate::codegen::Writer;
pub use crate::facts::{AxisField, Facts, Row, facts};
pub use crate::graph::ValueId;
pub use crate::kernels::isa::Isa;
pub use crate::parse::{FILE_MAX as PROGRAM_BYTES_MAX, format};
pub use crate::resolve::{Loader, Network, NoFiles, Program, Step, why};
pub use crate::schedule::Cycles;
pub use compiler::{Checked, Compiler};
pub use dump::Emit;
pub use error::{Bug, CompileError, RunError, WeightError, WeightProblem};
pub use files::Files;
pub use gradients::{Found, Gradients, GradientsError};
pub use layers::Report;
pub use model::Model;
pub use observe::StepCheck;
pub use options::Options;
pub use ports::{Outputs, Port};
pub use tune::{Tune, Tuned};
pub use weights::{WeightInfo, WeightSource};
