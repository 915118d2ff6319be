//! Charts: panels above each other over one axis, each with labelled ticks, a legend and lines. One layout, written as SVG
//! ([`Chart::svg`]) or drawn as a picture ([`Chart::picture`]).
//!
//! A value that is not finite interrupts its line; a lone value between two gaps is a dot. A panel without any finite value says so.

mod layout;
mod svg;
mod ticks;

use super::canvas::Canvas;
use crate::formats::image::Picture;
use layout::Item;

/// A chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What stands above.
    pub title: String,
    /// What the common axis counts: `epoch`.
    pub axis: String,
    /// Panels, from above.
    pub panels: Vec<Panel>,
}

/// One pair of axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What its axis shows: `loss`.
    pub name: String,
    /// Its lines; each has a colour by its place.
    pub lines: Vec<Line>,
    /// Whether the axis may be logarithmic: where all values are above 0 and far apart.
    pub log: bool,
}

/// Values that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Pairs of a place on the common axis and a value, in order.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The text of an SVG file.
    pub fn svg(&self) -> String {
        svg::write(&layout::layout(self))
    }

    /// The same as a picture; `None` when the panels are too many for one.
    pub fn picture(&self) -> Option<Picture> {
        let layout = layout::layout(self);
        let mut canvas = Canvas::new(layout.height, layout.width)?;
        // Positions are those of pixels' corners, none is negative.
        let pixel = |v: f64| v.round().max(0.0) as usize;
        for item in &layout.items {
            match item {
                Item::Line { points, colour, width } => canvas.line(points, *colour, *width),
                Item::Text { text, x, y, colour } => canvas.text(text, (pixel(*y), pixel(*x)), *colour),
            }
        }
        Some(canvas.into_picture())
    }
}

#[cfg(test)]
mod tests;
