//! Where everything of a chart lies, in pixels from the upper left corner. Text has one size, and characters one width.

use super::ticks::{Axis, is_drawn};
use super::{Chart, Panel};
use crate::draw::canvas::{TEXT_HEIGHT, text_width};
use crate::draw::palette::{CLASSES, Colour, FRAME, GRID, INK};

/// Something drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// A line through points `(x, y)`; a single one is a dot.
    Line { points: Vec<(f64, f64)>, colour: Colour, width: f64 },
    /// Text with its upper left corner.
    Text { text: String, x: f64, y: f64, colour: Colour },
}

/// A chart laid out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) items: Vec<Item>,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 24.0;
/// Height of a panel's area, and of what stands above it and below all.
const AREA: f64 = 220.0;
const HEAD: f64 = 40.0;
const FOOT: f64 = 52.0;
const LINE: f64 = TEXT_HEIGHT as f64;
/// Points of a line that are drawn one by one; of more, the least and the greatest of each group.
const POINTS_MAX: usize = 2000;
/// So few values have a dot each.
const DOTS_MAX: usize = 40;

fn wide(text: &str) -> f64 {
    text_width(text.chars().count()) as f64
}

pub(super) fn layout(chart: &Chart) -> Layout {
    let mut items = Vec::new();
    let mut y = 12.0;
    if !chart.title.is_empty() {
        items.push(Item::Text { text: chart.title.clone(), x: LEFT, y, colour: INK });
        y += LINE + 4.0;
    }
    let places = chart.panels.iter().flat_map(|p| &p.lines).flat_map(|l| &l.points).map(|p| p.0);
    let whole = places.clone().all(|x| x.fract() == 0.0);
    let common = Axis::of(places, false, whole, 10);
    for (i, panel) in chart.panels.iter().enumerate() {
        y += HEAD;
        head(panel, y, &mut items);
        match &common {
            Some(x) => body(panel, x, y, &mut items),
            None => frame(y, &mut items),
        }
        y += AREA;
        if let Some(x) = common.as_ref().filter(|_| i + 1 == chart.panels.len()) {
            for (v, text) in &x.ticks {
                let at = LEFT + x.place(*v) * (WIDTH - LEFT - RIGHT);
                items.push(Item::Text {
                    text: text.clone(),
                    x: at - wide(text) / 2.0,
                    y: y + 6.0,
                    colour: INK,
                });
            }
        }
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT - wide(&chart.axis)) / 2.0;
    items.push(Item::Text { text: chart.axis.clone(), x: middle, y: y + 28.0, colour: INK });
    Layout { width: WIDTH as usize, height: (y + FOOT) as usize, items }
}

/// The panel's name to the left, its legend to the right, above its area that begins at `y`.
fn head(panel: &Panel, y: f64, items: &mut Vec<Item>) {
    let row = y - LINE - 4.0;
    items.push(Item::Text { text: panel.name.clone(), x: LEFT, y: row, colour: INK });
    let mut x = WIDTH - RIGHT;
    for (i, line) in panel.lines.iter().enumerate().rev() {
        x -= wide(&line.name);
        items.push(Item::Text { text: line.name.clone(), x, y: row, colour: INK });
        let swatch = vec![(x - 28.0, row + LINE / 2.0), (x - 6.0, row + LINE / 2.0)];
        items.push(Item::Line { points: swatch, colour: CLASSES[i % CLASSES.len()], width: 2.5 });
        x -= 44.0;
    }
}

fn frame(y: f64, items: &mut Vec<Item>) {
    let (x0, x1, y1) = (LEFT, WIDTH - RIGHT, y + AREA);
    let points = vec![(x0, y), (x1, y), (x1, y1), (x0, y1), (x0, y)];
    items.push(Item::Line { points, colour: FRAME, width: 1.0 });
    let (text, x) = ("no finite value".to_owned(), LEFT + (WIDTH - LEFT - RIGHT) / 2.0);
    items.push(Item::Text { x: x - wide(&text) / 2.0, y: y + AREA / 2.0 - LINE / 2.0, text, colour: INK });
}

/// Ticks and lines of the panel whose area begins at `y`.
fn body(panel: &Panel, common: &Axis, y: f64, items: &mut Vec<Item>) {
    let values = panel.lines.iter().flat_map(|l| &l.points).filter(|p| is_drawn(p.0)).map(|p| p.1);
    let Some(axis) = Axis::of(values, panel.log, false, 5) else { return frame(y, items) };
    let across = |v: f64| LEFT + common.place(v) * (WIDTH - LEFT - RIGHT);
    let down = |v: f64| y + (1.0 - axis.place(v)) * AREA;
    for (v, text) in &axis.ticks {
        let points = vec![(LEFT, down(*v)), (WIDTH - RIGHT, down(*v))];
        items.push(Item::Line { points, colour: GRID, width: 1.0 });
        let (x, y) = (LEFT - 8.0 - wide(text), down(*v) - LINE / 2.0);
        items.push(Item::Text { text: text.clone(), x, y, colour: INK });
    }
    for (v, _) in &common.ticks {
        let points = vec![(across(*v), y + AREA), (across(*v), y + AREA + 5.0)];
        items.push(Item::Line { points, colour: FRAME, width: 1.0 });
    }
    let points = vec![(LEFT, y), (LEFT, y + AREA), (WIDTH - RIGHT, y + AREA)];
    items.push(Item::Line { points, colour: FRAME, width: 1.0 });
    for (i, line) in panel.lines.iter().enumerate() {
        let colour = CLASSES[i % CLASSES.len()];
        let sound = |p: &&(f64, f64)| is_drawn(p.0) && is_drawn(p.1);
        let few = line.points.iter().filter(sound).count() <= DOTS_MAX;
        for run in line.points.split(|p| !sound(&p)).filter(|r| !r.is_empty()) {
            let points: Vec<(f64, f64)> =
                thinned(run).into_iter().map(|(x, v)| (across(x), down(v))).collect();
            if few || points.len() == 1 {
                let dot = |p: &(f64, f64)| Item::Line { points: vec![*p], colour, width: 5.0 };
                items.extend(points.iter().map(dot));
            }
            if points.len() > 1 {
                items.push(Item::Line { points, colour, width: 2.0 });
            }
        }
    }
}

/// Of many points the least and the greatest of each group, in order.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let group = points.len().div_ceil(POINTS_MAX / 2);
    let ends = points.chunks(group).flat_map(|chunk| {
        let (mut least, mut most) = (0, 0);
        for (i, p) in chunk.iter().enumerate() {
            least = if p.1 < chunk[least].1 { i } else { least };
            most = if p.1 > chunk[most].1 { i } else { most };
        }
        [chunk[least.min(most)], chunk[least.max(most)]]
    });
    ends.collect()
}
