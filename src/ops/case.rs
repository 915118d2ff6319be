//! Test cases of operations as data; the harness runs each on every engine and holds it against the reference.

use super::Op;
use crate::tensor::ty::TensorTy;

/// One operation on inputs of given types.
#[derive(Clone, Debug)]
pub struct Case {
    /// What a failure prints.
    pub name: String,
    /// The operation.
    pub op: Op,
    /// Activations, then weights.
    pub inputs: Vec<TensorTy>,
    /// How each input is filled; shorter lists are continued by `Normal`.
    pub fill: Vec<Fill>,
    /// Greatest error allowed, relative to the largest magnitude of the output.
    pub tolerance: f64,
}

/// How a test input is filled, from a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Standard normal.
    Normal,
    /// Uniform in this range.
    Uniform(f32, f32),
    /// Integers `0..n` as numbers.
    Labels(usize),
}

impl Case {
    /// A case with normal inputs and a tolerance of 1e-5.
    pub fn new(name: impl Into<String>, op: impl Into<Op>, inputs: Vec<TensorTy>) -> Self {
        Self { name: name.into(), op: op.into(), inputs, fill: Vec::new(), tolerance: 1e-5 }
    }

    /// Sets how inputs are filled.
    #[must_use]
    pub fn fill(mut self, fill: &[Fill]) -> Self {
        self.fill = fill.to_vec();
        self
    }

    /// Sets the tolerance.
    #[must_use]
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }
}

/// The type of an activation of a test case.
pub fn act(n: usize, c: usize, grid: &[(&str, usize)]) -> TensorTy {
    TensorTy::grid(n, c, grid).expect("a small tensor")
}

/// The type of a weight of a test case.
pub fn weight(dims: &[(&str, usize)]) -> TensorTy {
    TensorTy::new(dims.iter().copied()).expect("a small tensor")
}
