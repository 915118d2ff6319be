//! The integration tests: one binary, one module an area. All go through the public API or the `cnnc` binary, but for
//! `tidy`, which reads the sources.

mod aot;
mod aot_train;
mod bench;
mod cli;
mod data;
mod docs;
mod embed;
mod errors;
mod examples;
mod gradients;
mod grads;
mod grads_nets;
mod hostile;
mod messages;
mod onnx;
mod onnx_cli;
mod onnx_export;
mod onnx_hostile;
mod onnx_import;
mod onnx_models;
mod onnx_nodes;
mod onnx_optim;
mod onnx_train;
mod ops;
mod optim;
mod random;
mod repl;
mod resolve;
mod results;
mod run;
mod support;
mod tidy;
mod train;
mod train_steps;
