//! A run that says where its time goes.

use std::time::Duration;

use super::error::RunError;
use super::machine::PeakSpeed;
use super::model::{Compiled, Model};
use super::ports::{Outputs, arrange_all};
use crate::graph::{Def, ValueId};
use crate::loops::LANES;
use crate::schedule::Cycles;
use crate::tensor::owned::TensorView;

/// A step of a run and the time it took.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The nest that ran: operation and the value that it stored.
    pub name: String,
    /// How its main part computes: `direct 8x5 f32x4`.
    pub note: String,
    /// Into how many parts it could be shared out.
    pub chunks: usize,
    /// Floating-point operations of the operations that it computes, by their definitions.
    pub flops: u64,
    /// Whether it only moves values into another layout.
    pub moves: bool,
    /// What the cost model expects of its parts on one core; see [`expected`].
    pub cycles: Vec<Cycles>,
    /// Lanes of its vectors.
    pub lanes: usize,
    /// Wall time, waiting for the slowest thread included.
    pub time: Duration,
}

/// The seconds that the cost model expects of a nest with these parts, of vectors with `lanes`, cut into `chunks`, on `threads`. `None`
/// where `peaks` do not tell how long a cycle is.
pub fn expected(
    parts: &[Cycles],
    lanes: usize,
    chunks: usize,
    peaks: &[PeakSpeed],
    threads: usize,
) -> Option<f64> {
    let cycle = |lanes: usize| {
        let peak = peaks.iter().find(|p| p.bits == 32 * lanes)?.operations_per_second;
        Some(4.0 * lanes as f64 / peak)
    };
    let (port, other) = (cycle(lanes)?, cycle(LANES)?);
    let shares = chunks.min(threads).max(1);
    let longest = chunks.div_ceil(shares) as f64 / chunks.max(1) as f64;
    // A sum of nothing is -0.
    Some((parts.iter().map(|p| p.seconds(port, other)).sum::<f64>() + 0.0) * longest)
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
        self.with_memory(&inputs, &mut outputs, |program, memory| {
            let piece = program.run_timed(memory, self.executor())?;
            times.resize(piece.len(), Duration::ZERO);
            times.iter_mut().zip(piece).for_each(|(all, piece)| *all += piece);
            Ok(())
        })?;
        Ok((Outputs::of(&compiled.outputs, outputs), compiled.step_times(times)))
    }

    /// As [`Model::run_timed`], and lets the network change its weights.
    ///
    /// # Errors
    /// As [`Model::run_mut`].
    pub fn run_timed_mut(
        &mut self,
        inputs: &[(&str, TensorView<'_>)],
    ) -> Result<(Outputs, Vec<StepTime>), RunError> {
        if !self.is_stateful() {
            return self.run_timed(inputs);
        }
        let (compiled, executor) = (self.compiled.clone(), self.executor_arc());
        let inputs = arrange_all(&compiled.inputs, inputs)?;
        let mut outputs: Vec<Vec<f32>> = compiled.outputs.iter().map(|p| vec![0.0; p.len()]).collect();
        let mut times = Vec::new();
        self.with_state(&inputs, &mut outputs, |program, memory| {
            times = program.run_timed(memory, &*executor)?;
            Ok(())
        })?;
        Ok((Outputs::of(&compiled.outputs, outputs), compiled.step_times(times)))
    }

    /// The steps of a run, in order: names, and how each computes.
    pub fn step_notes(&self) -> impl Iterator<Item = (&str, &str)> {
        let compiled = &*self.compiled;
        let scheduled = compiled.run_steps.iter().map(|step| &compiled.program.nests[*step]);
        scheduled.map(|s| (&*s.nest.name, &*s.note))
    }

    /// The names of the steps of a run, in order.
    pub fn step_names(&self) -> impl Iterator<Item = &str> {
        let compiled = &*self.compiled;
        compiled.run_steps.iter().map(|step| &*compiled.program.nests[*step].nest.name)
    }
}

impl Compiled {
    fn step_times(&self, times: Vec<Duration>) -> Vec<StepTime> {
        let groups = self.program.work.graph.groups();
        let timed = |(step, time): (&usize, Duration)| {
            let scheduled = &self.program.nests[*step];
            let (name, note) = (scheduled.nest.name.clone(), scheduled.note.clone());
            let (flops, moves) = self.work_of(&groups[self.program.steps[*step].root.index()]);
            let flops = flops.saturating_mul(self.pieces() as u64);
            let cycles = std::iter::repeat_n(scheduled.cycles(), self.pieces()).flatten().collect();
            let (chunks, lanes) = (scheduled.nest.chunks(), scheduled.lanes);
            StepTime { name, note, chunks, flops, moves, cycles, lanes, time }
        };
        self.run_steps.iter().zip(times).map(timed).collect()
    }

    /// The floating-point operations of a step with these values, and whether it is nothing but a change of layout.
    pub(super) fn work_of(&self, members: &[ValueId]) -> (u64, bool) {
        let graph = &self.program.work.graph;
        let mut flops = 0u64;
        let mut moves = true;
        for id in members {
            let value = graph.value(*id);
            let Def::Op { op, inputs } = &value.def else { continue };
            let types: Vec<_> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
            flops = flops.saturating_add(op.rules().cost(&types, &value.ty).flops);
            moves &= op.rules().role() == crate::ops::role::Role::Layout;
        }
        (flops, moves)
    }
}
