//! A compiler for convolutional networks: text in, checked shapes and machine code out.
//!
//! A program in the `.cnn` language describes a network the way a paper draws it. [`Compiler::check`] finds every shape and every
//! mistake, [`Compiler::compile`] makes machine code for exactly these shapes, [`Model::run`] runs it on the caller's buffers.
//!
//! ```
//! use cnnc::{Compiler, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = "net Edges(image: [c: 1, h: 2, w: 4]) -> [c: 1, h: 2, w: 3] {
//!     image |> conv(1, 1x2, weights: [-1, 1], bias: false, train: false) }";
//! let model = Compiler::new(Options::default()).compile_text(text)?;
//! let pixels = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]; // [n, c, h, w], as the net declares them
//! let outputs = model.run(&[("image", pixels.as_slice().into())])?;
//! assert_eq!(outputs["out"].data(), [0.0, 1.0, 0.0, 0.0, -1.0, 0.0]);
//! # Ok(())
//! # }
//! ```
//!
//! What is re-exported here is the interface. The modules below stand in the order in which a program passes through them; they
//! are public for inspection (tests, tools, importers), may change in any version, and are described in `ARCHITECTURE.md`.

pub use session::{
    Checked, CompileError, Compiler, Found, Gradients, GradientsError, Model, Options, Outputs, Port, Report,
    RunError, WeightError, WeightInfo, WeightSource,
};
pub use support::diag::Diagnostic;
pub use tensor::owned::{Tensor, TensorError, TensorView};

pub mod support;
pub mod tensor;

pub mod ast;
pub mod parse;
pub mod resolve;

pub mod ops;

pub mod facts;
pub mod grad;
pub mod graph;
pub mod passes;
pub mod train;

pub mod loops;
pub mod lower;
pub mod schedule;

pub mod codegen;
pub mod kernels;
pub mod runtime;

pub mod formats;
pub mod session;

#[cfg(feature = "object")]
pub mod build;

#[cfg(feature = "data")]
pub mod data;

#[cfg(feature = "data")]
pub mod draw;

#[cfg(all(feature = "data", feature = "safetensors"))]
pub mod trainer;

#[cfg(feature = "cli")]
pub mod cli;
