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

/// Most times of one step that are kept.
const TIMES_MAX: usize = 1 << 12;

/// Times of a model.
pub(in crate::cli) struct Measured {
    /// Of whole runs, shortest first, in seconds.
    pub runs: Vec<f64>,
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// A step of a run, with its least time, and its times, shortest first, in seconds.
pub(in crate::cli) struct Step {
    pub step: StepTime,
    pub times: Vec<f64>,
}

/// The time that a share `q` of all were faster than; `sorted` holds at least one.
pub(in crate::cli) fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

impl Measured {
    /// The run that a share `q` of all were faster than, in seconds.
    pub(in crate::cli) fn quantile(&self, q: f64) -> f64 {
        quantile(&self.runs, q)
    }

    /// Floating-point operations of a run, by the definitions of its operations.
    pub(in crate::cli) fn flops(&self) -> u64 {
        self.steps.iter().map(|s| s.step.flops).sum()
    }

    /// Seconds of the steps that compute, without those that only change a layout: what a layer costs inside of a network.
    pub(in crate::cli) fn core(&self) -> f64 {
        self.steps.iter().filter(|s| !s.step.moves).map(|s| s.times[0]).sum()
    }
}

/// Runs a model for about `time`. Steps that `apart` names count in nothing.
pub(in crate::cli) fn model(
    model: Model,
    work: &Work,
    apart: &[String],
    seed: u64,
    time: Duration,
) -> Result<Measured, Failure> {
    let inputs: Vec<(String, Vec<f32>)> =
        model.inputs().iter().map(|port| (port.name.to_string(), filled(port, work, seed))).collect();
    let views: Vec<(&str, TensorView<'_>)> =
        inputs.iter().map(|(name, data)| (name.as_str(), TensorView::from(data))).collect();
    let (mut runs, mut steps) = if model.is_stateful() {
        stateful(model, &views, apart, time)
    } else {
        stateless(model, &views, apart, time)
    }?;
    runs.sort_by(f64::total_cmp);
    for step in &mut steps {
        step.times.sort_by(f64::total_cmp);
        step.step.time = Duration::from_secs_f64(step.times[0]);
    }
    Ok(Measured { runs, steps })
}

/// Half of the time for whole runs, half for runs that look at each step.
fn stateless(
    mut model: Model,
    views: &[(&str, TensorView<'_>)],
    apart: &[String],
    time: Duration,
) -> Result<(Vec<f64>, Vec<Step>), Failure> {
    let mut once = whole(&model, views);
    // The first run makes weights and touches memory.
    once()?;
    let mut runs = Vec::new();
    repeat(time / 2, || {
        runs.push(once()?);
        Ok(())
    })?;
    drop(once);
    let mut steps = Steps::new(apart);
    repeat(time / 2, || steps.run(&mut model, views).map(drop))?;
    Ok((runs, steps.steps))
}

/// Every run looks at each step: a training step is long beside that. Where steps do not count, a run is the sum of those that
/// do.
fn stateful(
    mut model: Model,
    views: &[(&str, TensorView<'_>)],
    apart: &[String],
    time: Duration,
) -> Result<(Vec<f64>, Vec<Step>), Failure> {
    let mut steps = Steps::new(apart);
    // The first run makes weights and touches memory.
    steps.run(&mut model, views)?;
    steps.steps.clear();
    let mut runs = Vec::new();
    repeat(time, || {
        let start = Instant::now();
        let counted = steps.run(&mut model, views)?;
        runs.push(if apart.is_empty() { start.elapsed().as_secs_f64() } else { counted });
        Ok(())
    })?;
    Ok((runs, steps.steps))
}

/// Does `once` for about `time`, at least [`RUNS_MIN`] times.
fn repeat(time: Duration, mut once: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    let begin = Instant::now();
    for count in 0..RUNS_MAX {
        if count >= RUNS_MIN && begin.elapsed() >= time {
            break;
        }
        once()?;
    }
    Ok(())
}

/// The steps that count, with their times so far.
struct Steps<'a> {
    apart: &'a [String],
    steps: Vec<Step>,
}

impl<'a> Steps<'a> {
    fn new(apart: &'a [String]) -> Self {
        Self { apart, steps: Vec::new() }
    }

    /// Runs once; the seconds of the steps that count.
    fn run(&mut self, model: &mut Model, views: &[(&str, TensorView<'_>)]) -> Result<f64, Failure> {
        let all = model.run_timed_mut(views).map_err(failed)?.1;
        let counted: Vec<StepTime> = all.into_iter().filter(|s| !self.apart.contains(&s.name)).collect();
        if self.steps.is_empty() {
            self.steps = counted.iter().map(|s| Step { step: s.clone(), times: Vec::new() }).collect();
        }
        for (step, now) in self.steps.iter_mut().zip(&counted) {
            let time = now.time.as_secs_f64();
            if step.times.len() < TIMES_MAX {
                step.times.push(time);
            } else if time < step.times[0] {
                step.times[0] = time;
            }
        }
        Ok(counted.iter().map(|s| s.time.as_secs_f64()).sum())
    }
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
