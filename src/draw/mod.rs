//! Pictures of numbers: charts as SVG and PNG ([`chart`]), kernels side by side ([`mosaic`]), samples side by side ([`sheet`]).
//!
//! Numbers come in, a [`Picture`](crate::formats::image::Picture) or the text of an SVG goes out. A number that is not finite
//! leaves a gap and never reaches a size. Nothing here knows a network or a training.

mod canvas;
pub mod chart;
pub mod mosaic;
mod palette;
pub mod sheet;

pub use canvas::Canvas;
pub use palette::{CLASSES, Colour, class_colour};

/// The most pixels of a picture that is made here.
pub const PIXELS_MAX: usize = 1 << 26;
