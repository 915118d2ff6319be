//! The public API: compiler, model, options, the pipeline.

pub mod report;
