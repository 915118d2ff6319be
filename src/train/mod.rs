//! Training as graphs: the step that a compiled training runs again and again, made of a network, a loss, and an optimizer.
//!
//! In: a graph in training mode with a loss per sample, and [`Settings`]. Out: a graph with updates ([`step::build`]): forward,
//! loss, backward and update in one, whose rates are inputs, so that a [`Schedule`] needs no other code. Optimizers compute what
//! PyTorch's compute ([`Optimizer`]). Running the step, data and files are `session`'s business.
//!
//! **A batch's loss** is the mean over its samples. **A step that is not finite changes nothing:** when the loss or a gradient
//! is NaN or infinite, weights, slots and statistics stay as they were.

pub mod mode;
pub mod optimizer;
pub mod schedule;
pub mod step;

pub use optimizer::Optimizer;
pub use schedule::{Form, Schedule};
pub use step::{Clip, Settings};
