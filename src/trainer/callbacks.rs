//! A training from start to end, and what looks on: callbacks that see the trainer between batches and epochs, and may stop it.

use super::checkpoint;
use super::error::TrainError;
use super::run::{Control, Epoch, Event, Step, Trainer};

/// What is told of a training while it runs. Each function may be left out.
pub trait Callbacks {
    /// Before the first batch of an epoch, counted from 0.
    ///
    /// # Errors
    /// Whatever shall end the training; [`Trainer::run_with`] hands it on.
    fn begin(&mut self, _trainer: &mut Trainer, _epoch: u64) -> Result<Control, TrainError> {
        Ok(Control::Continue)
    }

    /// After each batch.
    ///
    /// # Errors
    /// As [`Callbacks::begin`].
    fn step(&mut self, _trainer: &Trainer, _step: &Step) -> Result<Control, TrainError> {
        Ok(Control::Continue)
    }

    /// After each epoch, when it was measured and its checkpoint, if one is asked for, is on the disk. Weights may be looked at
    /// ([`Trainer::weights`]) and set ([`Trainer::set_weights`]); what is set is not in that checkpoint.
    ///
    /// # Errors
    /// As [`Callbacks::begin`].
    fn epoch(&mut self, _trainer: &mut Trainer, _epoch: &Epoch) -> Result<Control, TrainError> {
        Ok(Control::Continue)
    }
}

/// Events for a closure.
struct Observer<'a>(&'a mut dyn FnMut(Event<'_>) -> Control);

impl Callbacks for Observer<'_> {
    fn step(&mut self, _: &Trainer, step: &Step) -> Result<Control, TrainError> {
        Ok((self.0)(Event::Step(step)))
    }

    fn epoch(&mut self, _: &mut Trainer, epoch: &Epoch) -> Result<Control, TrainError> {
        Ok((self.0)(Event::Epoch(epoch)))
    }
}

impl Trainer {
    /// Runs to the end, or until `observe` says stop, or until the validation loss has not become better for `patience` epochs.
    /// Returns whether the end was reached.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`], [`TrainError::Data`], [`TrainError::File`].
    pub fn run(&mut self, observe: &mut dyn FnMut(Event<'_>) -> Control) -> Result<bool, TrainError> {
        self.run_with(&mut Observer(observe))
    }

    /// The same with callbacks that see the trainer. A training that one of them stopped goes on with the next call.
    ///
    /// # Errors
    /// As [`Trainer::run`], and what callbacks return.
    pub fn run_with(&mut self, callbacks: &mut dyn Callbacks) -> Result<bool, TrainError> {
        if self.state.epoch == 0
            && let Some(folder) = &self.folder
        {
            checkpoint::prune(folder, 0)?;
        }
        while self.state.epoch < self.plan.epochs && !self.is_over() {
            let first = self.done().is_multiple_of(self.batches().max(1));
            if first && callbacks.begin(self, self.state.epoch)? == Control::Stop {
                return Ok(false);
            }
            let (mut stopped, mut failed) = (false, None);
            let epoch = self.epoch_with(&mut |trainer, step| {
                let control = callbacks.step(trainer, step).unwrap_or_else(|e| {
                    failed = Some(e);
                    Control::Stop
                });
                stopped |= control == Control::Stop;
                control
            })?;
            if let Some(e) = failed {
                return Err(e);
            }
            let Some(epoch) = epoch else { return Ok(false) };
            if callbacks.epoch(self, &epoch)? == Control::Stop || stopped {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
