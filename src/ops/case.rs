//! Test cases of operations as data; the harness runs each on every engine and holds it against the reference.

use super::Op;
use crate::support::random::Random;
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
    /// -1 or 1.
    Signs,
    /// Standard normal, every fifth element NaN.
    SomeNan,
}

impl Case {
    /// A case with normal inputs and a tolerance of 1e-5.
    pub fn new(name: impl Into<String>, op: impl Into<Op>, inputs: Vec<TensorTy>) -> Self {
        Self { name: name.into(), op: op.into(), inputs, fill: Vec::new(), tolerance: 1e-5 }
    }

    /// The values of input `i`, row-major in the order of its type.
    pub fn data(&self, i: usize, seed: u64) -> Vec<f32> {
        let fill = self.fill.get(i).copied().unwrap_or(Fill::Normal);
        let random = Random::new(seed, &format!("{}/{i}", self.name));
        let draw = |k: u64| match fill {
            Fill::Normal => random.normal(k) as f32,
            Fill::Uniform(lo, hi) => random.uniform(k, lo, hi),
            Fill::Labels(n) => random.below(k, n as u64) as f32,
            Fill::Signs => 2.0 * random.below(k, 2) as f32 - 1.0,
            Fill::SomeNan if k % 5 == 3 => f32::NAN,
            Fill::SomeNan => random.normal(k) as f32,
        };
        (0..self.inputs[i].len() as u64).map(draw).collect()
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
