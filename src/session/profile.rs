//! A run that says where its time goes.

use std::time::Duration;

use super::error::RunError;
use super::model::Model;
use super::ports::{Outputs, arrange_all};
use crate::tensor::owned::TensorView;

/// A step of a run and the time it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// The nest that ran: operation and the value that it stored.
    pub name: String,
    /// How its main part computes: `direct 8x5 f32x4`.
    pub note: String,
    /// Into how many parts it could be shared out.
    pub chunks: usize,
    /// Wall time, waiting for the slowest thread included.
    pub time: Duration,
}

impl Model {
    /// Runs the network once, like [`Model::run`], and says how long each step took.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_timed(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<(Outputs, Vec<StepTime>), RunError> {
        let compiled = &*self.compiled;
        let inputs = arrange_all(&compiled.inputs, inputs)?;
        let mut outputs: Vec<Vec<f32>> = compiled.outputs.iter().map(|p| vec![0.0; p.len()]).collect();
        let mut times = Vec::new();
        self.with_memory(&inputs, &mut outputs, |memory| {
            times = compiled.run.run_timed(memory, self.executor())?;
            Ok(())
        })?;
        let steps = compiled.run_steps.iter().zip(times).map(|(step, time)| {
            let scheduled = &compiled.program.nests[*step];
            let (name, note) = (scheduled.nest.name.clone(), scheduled.note.clone());
            StepTime { name, note, chunks: scheduled.nest.chunks(), time }
        });
        let steps = steps.collect();
        Ok((Outputs::of(&compiled.outputs, outputs), steps))
    }
}
