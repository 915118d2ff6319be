//! Runs a model again and again. In: a model, a seed for its inputs, a time. Out: times of whole runs, and of each step.

use std::time::{Duration, Instant};

use crate::cli::out::Failure;
use crate::session::profile::StepTime;
use crate::session::{Model, RunError};
use crate::support::random::Random;
use crate::tensor::owned::TensorView;

/// Fewer runs say nothing.
const RUNS_MIN: usize = 3;

/// More runs only take memory.
const RUNS_MAX: usize = 1_000_000;

/// Times of a model.
pub(super) struct Measured {
    /// Of whole runs, shortest first, in seconds.
    pub runs: Vec<f64>,
    /// The steps in order, each with its least time.
    pub steps: Vec<StepTime>,
}

impl Measured {
    /// The run that a share `q` of all were faster than, in seconds.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let at = ((self.runs.len() - 1) as f64 * q).round() as usize;
        self.runs[at]
    }

    /// Floating-point operations of a run, by the definitions of its operations.
    pub(super) fn flops(&self) -> u64 {
        self.steps.iter().map(|s| s.flops).sum()
    }

    /// Seconds of the steps that compute, without those that only change a layout: what a layer costs inside of a network.
    pub(super) fn core(&self) -> f64 {
        self.steps.iter().filter(|s| !s.moves).map(|s| s.time.as_secs_f64()).sum()
    }
}

/// Half of `time` for whole runs, half for runs that look at each step.
pub(super) fn model(model: &Model, seed: u64, time: Duration) -> Result<Measured, Failure> {
    let failed = |e: RunError| match e {
        RunError::Machine(_) | RunError::Interpreter { .. } => Failure::Bug(e.to_string()),
        other => Failure::Unusable(other.to_string()),
    };
    let inputs: Vec<(String, Vec<f32>)> = model
        .inputs()
        .iter()
        .map(|port| {
            let random = Random::new(seed, &port.name);
            (port.name.to_string(), (0..port.len() as u64).map(|i| random.normal(i) as f32).collect())
        })
        .collect();
    let views: Vec<(&str, TensorView<'_>)> =
        inputs.iter().map(|(name, data)| (name.as_str(), TensorView::from(data))).collect();
    let mut buffers: Vec<Vec<f32>> = model.outputs().iter().map(|p| vec![0.0; p.len()]).collect();
    let mut once = || {
        let names = model.outputs().iter().map(|p| &*p.name);
        let mut outputs: Vec<(&str, &mut [f32])> =
            names.zip(&mut buffers).map(|(name, buffer)| (name, buffer.as_mut_slice())).collect();
        let start = Instant::now();
        model.run_into(&views, &mut outputs).map_err(failed)?;
        Ok(start.elapsed().as_secs_f64())
    };
    // The first run makes weights and touches memory.
    once()?;
    let mut runs = Vec::new();
    let begin = Instant::now();
    while runs.len() < RUNS_MIN || begin.elapsed() < time / 2 && runs.len() < RUNS_MAX {
        runs.push(once()?);
    }
    runs.sort_by(f64::total_cmp);
    let mut steps: Vec<StepTime> = model.run_timed(&views).map_err(failed)?.1;
    let begin = Instant::now();
    for count in 0..RUNS_MAX {
        if count >= RUNS_MIN && begin.elapsed() >= time / 2 {
            break;
        }
        for (least, now) in steps.iter_mut().zip(model.run_timed(&views).map_err(failed)?.1) {
            least.time = least.time.min(now.time);
        }
    }
    Ok(Measured { runs, steps })
}
