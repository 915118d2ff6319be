//! Data for training: sets of samples in, batches of named `f32` buffers out.
//!
//! A [`Spec`] says what a `train` item says: which [`Source`], how samples vary ([`Augment`]), which share is kept for
//! validation. [`Spec::open`] reads it into [`Parts`]: the training part, and those for validation and test. A [`Loader`]
//! yields one part as batches for the inputs that a network [`Want`]s, made on another thread.
//!
//! **Fields.** A sample has fields with names: `image`, and some of `label`, `target` and `mask` (an `.npz` file: those of its
//! arrays). They meet what a network wants by name. A lone input of a network takes `image` whatever it is called. A set
//! without `label` gives `mask` for it (a label for each pixel), one without `target` gives the image itself, varied like
//! it but without noise and cutouts (auto-encoders, denoisers).
//!
//! **What holds.** Batch `b` of epoch `e` is a function of the files, the settings and the seed alone: every random choice
//! is a number by counter of (seed, epoch, sample). No thread and no time has a part in it, so a training that goes on
//! from a [`Position`] sees what it would have seen. Nothing that a file declares is believed before it is there.
//!
//! Deliberately absent: sets larger than memory, other file formats than those of [`crate::formats`], the network.

mod arrays;
mod augment;
mod builtin;
mod error;
mod fit;
mod loader;
mod normalise;
mod open;
mod patches;
mod pictures;
mod set;
mod settings;
mod spec;
mod synth;

pub use augment::{Augment, Border};
pub use builtin::{FASHION_MNIST, FETCHED, Fetched, MNIST};
pub use error::DataError;
pub use fit::Want;
pub use loader::{Batch, Loader, Position, Stream};
pub use normalise::Normalise;
pub use open::{Part, Parts, Places};
pub use patches::Whiten;
pub use set::{Field, Kind, Set};
pub use spec::{Pictures, Source, Spec, Test};
pub use synth::{Made, Synthetic};
