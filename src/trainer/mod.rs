//! Training a network of a program: data, compiled step, evaluation, checkpoints.
//!
//! In: a checked program whose net has a `train` item. Out: a [`Trainer`], which runs the whole training ([`Trainer::run`];
//! [`Trainer::run_with`] with [`Callbacks`]), an epoch or a step at a time, and hands out the trained network as a [`Model`](crate::Model).
//!
//! **What holds.** State after batch `b` of epoch `e` depends on the program, its settings, the data and the instruction set
//! alone: not on threads, time, or whether the training was stopped and resumed in between. A batch of the training part is
//! always full; the samples left over at an epoch's end have their turn in another epoch. Evaluation counts every sample once.
//!
//! Beside the session: it reads files, and asks the session for models.

mod build;
mod callbacks;
pub mod checkpoint;
mod error;
mod loss;
pub mod metric;
#[cfg(feature = "object")]
mod object;
pub mod pass;
pub mod plan;
mod run;
mod sound;
#[cfg(test)]
mod tests;

pub use callbacks::Callbacks;
pub use error::{NotFinite, TrainError};
pub use metric::{Figure, Metric, Table};
pub use plan::Plan;
pub use run::{Control, Epoch, Event, Measured, Step, Trainer};
