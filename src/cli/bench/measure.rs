//! Runs a model again and again. In: a model, what fills its inputs, a time. Out: times of whole runs, and of each step.

use std::time::{Duration, Instant};

use crate::cli::out::Failure;
use crate::session::profile::StepTime;
use crate::session::{Model, Port, RunError};
use crate::support::random::Random;
use crate::tensor::owned::TensorView;
use crate::trainer::pass::{Fill, Work};

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

/// Half of `time` for whole runs, half for runs that look at each step. Steps that `apart` names count in neither.
pub(super) fn model(
    mut model: Model,
    work: &Work,
    apart: &[String],
    seed: u64,
    time: Duration,
) -> Result<Measured, Failure> {
    let inputs: Vec<(String, Vec<f32>)> =
        model.inputs().iter().map(|port| (port.name.to_string(), filled(port, work, seed))).collect();
    let views: Vec<(&str, TensorView<'_>)> =
        inputs.iter().map(|(name, data)| (name.as_str(), TensorView::from(data))).collect();
    let counted = |steps: Vec<StepTime>| -> Vec<StepTime> {
        steps.into_iter().filter(|s| !apart.contains(&s.name)).collect()
    };
    let sum = |steps: &[StepTime]| steps.iter().map(|s| s.time.as_secs_f64()).sum::<f64>();
    let mut once = whole(&model, &views);
    // The first run makes weights and touches memory.
    if !model.is_stateful() {
        once()?;
    }
    let mut runs = Vec::new();
    let begin = Instant::now();
    while runs.len() < RUNS_MIN || begin.elapsed() < time / 2 && runs.len() < RUNS_MAX {
        if model.is_stateful() {
            break;
        }
        runs.push(once()?);
    }
    drop(once);
    let mut steps: Vec<StepTime> = counted(model.run_timed_mut(&views).map_err(failed)?.1);
    let begin = Instant::now();
    let limit = if model.is_stateful() { time } else { time / 2 };
    for count in 0..RUNS_MAX {
        if count >= RUNS_MIN && begin.elapsed() >= limit {
            break;
        }
        let start = Instant::now();
        let now = model.run_timed_mut(&views).map_err(failed)?.1;
        if model.is_stateful() {
            let whole = start.elapsed().as_secs_f64();
            let now = counted(now.clone());
            runs.push(if apart.is_empty() { whole } else { sum(&now) });
        }
        for (least, now) in steps.iter_mut().zip(counted(now)) {
            least.time = least.time.min(now.time);
        }
    }
    runs.sort_by(f64::total_cmp);
    Ok(Measured { runs, steps })
}

/// A closure that runs a network without state once, and gives the seconds that took.
fn whole<'a>(
    model: &Model,
    views: &'a [(&'a str, TensorView<'a>)],
) -> impl FnMut() -> Result<f64, Failure> + use<'a> {
    let mut buffers: Vec<Vec<f32>> = model.outputs().iter().map(|p| vec![0.0; p.len()]).collect();
    let model = model.clone();
    move || {
        let names = model.outputs().iter().map(|p| &*p.name);
        let mut outputs: Vec<(&str, &mut [f32])> =
            names.zip(&mut buffers).map(|(name, buffer)| (name, buffer.as_mut_slice())).collect();
        let start = Instant::now();
        model.run_into(views, &mut outputs).map_err(failed)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

fn filled(port: &Port, work: &Work, seed: u64) -> Vec<f32> {
    let random = Random::new(seed, &port.name);
    let number = |i: u64| match work.fill(&port.name) {
        Fill::Normal => random.normal(i) as f32,
        Fill::Classes(count) => (random.unit(i) * count as f64).floor() as f32,
        Fill::Constant(x) => x,
    };
    (0..port.len() as u64).map(number).collect()
}

fn failed(error: RunError) -> Failure {
    match error {
        RunError::Machine(_) | RunError::Interpreter { .. } => Failure::Bug(error.to_string()),
        other => Failure::Unusable(other.to_string()),
    }
}
