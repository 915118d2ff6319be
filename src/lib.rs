//! A compiler for convolutional networks.

#![allow(dead_code, reason = "founding: interfaces stand before their users")]
#![allow(unreachable_pub, missing_docs, reason = "founding")]

pub mod ast;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codegen;
pub mod facts;
pub mod formats;
pub mod graph;
pub mod kernels;
pub mod loops;
pub mod lower;
pub mod ops;
pub mod parse;
pub mod passes;
pub mod resolve;
pub mod runtime;
pub mod schedule;
pub mod session;
pub mod support;
pub mod tensor;
