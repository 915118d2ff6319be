//! A picture to draw on: rectangles, lines with soft edges, text, other pictures. What lies outside is cut off.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::PIXELS_MAX;
use super::palette::Colour;
use crate::formats::image::Picture;

/// Height of a line of text in pixels.
pub(super) const TEXT_HEIGHT: usize = 16;

/// Red, green and blue planes, white at first.
#[derive(Clone, Debug)]
pub struct Canvas {
    height: usize,
    width: usize,
    data: Vec<f32>,
}

impl Canvas {
    /// A white canvas; `None` for none or too many pixels.
    pub fn new(height: usize, width: usize) -> Option<Self> {
        let area = height.checked_mul(width).filter(|a| (1..=PIXELS_MAX).contains(a))?;
        Some(Self { height, width, data: vec![1.0; 3 * area] })
    }

    /// Paints a pixel, `cover` of it.
    fn blend(&mut self, y: usize, x: usize, colour: Colour, cover: f32) {
        let area = self.height * self.width;
        let at = y * self.width + x;
        for (c, value) in colour.iter().enumerate() {
            let old = &mut self.data[c * area + at];
            *old += (f32::from(*value) / 255.0 - *old) * cover;
        }
    }

    /// Fills rows `y` and columns `x` of these lengths.
    pub fn fill(&mut self, (y, x): (usize, usize), (h, w): (usize, usize), colour: Colour) {
        for row in y.min(self.height)..y.saturating_add(h).min(self.height) {
            for column in x.min(self.width)..x.saturating_add(w).min(self.width) {
                self.blend(row, column, colour, 1.0);
            }
        }
    }

    /// A line through points `(x, y)`, of this width in pixels; a single point is a disc.
    pub fn line(&mut self, points: &[(f64, f64)], colour: Colour, width: f64) {
        let half = width / 2.0;
        // One cover for the whole line, so that its joints are no darker than the rest.
        let mut cover = vec![0f32; self.height * self.width];
        let ends = points.iter().zip(points.iter().skip(1).chain(points.last()));
        for ((ax, ay), (bx, by)) in ends.filter(|(a, b)| [a.0, a.1, b.0, b.1].iter().all(|v| v.is_finite())) {
            let span = |a: f64, b: f64, most: usize| {
                let least = (a.min(b) - half - 1.0).floor().max(0.0) as usize;
                (least, ((a.max(b) + half + 1.0).ceil().max(0.0) as usize).min(most))
            };
            let ((x0, x1), (y0, y1)) = (span(*ax, *bx, self.width), span(*ay, *by, self.height));
            let (dx, dy) = (bx - ax, by - ay);
            let square = dx * dx + dy * dy;
            for y in y0..y1 {
                for x in x0..x1 {
                    let (px, py) = (x as f64 + 0.5 - ax, y as f64 + 0.5 - ay);
                    let t = if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
                    let (ex, ey) = (px - t * dx, py - t * dy);
                    let seen = (half + 0.5 - (ex * ex + ey * ey).sqrt()).clamp(0.0, 1.0) as f32;
                    let old = &mut cover[y * self.width + x];
                    *old = old.max(seen);
                }
            }
        }
        for (at, seen) in cover.into_iter().enumerate().filter(|(_, seen)| *seen > 0.0) {
            self.blend(at / self.width, at % self.width, colour, seen);
        }
    }

    /// Text whose first line begins at column `x`, with its upper edge at row `y`. What is not ASCII is a `?`.
    pub fn text(&mut self, text: &str, (y, x): (usize, usize), colour: Colour) {
        let step = text_width(1);
        for (i, c) in text.chars().enumerate() {
            let (style, size) = (FontWeight::Regular, RasterHeight::Size16);
            let Some(glyph) = get_raster(c, style, size).or_else(|| get_raster('?', style, size)) else {
                continue;
            };
            for (row, pixels) in glyph.rows().enumerate() {
                for (column, cover) in pixels.iter().enumerate().filter(|(_, cover)| **cover > 0) {
                    let (y, x) = (y + row, x + i * step + column);
                    if y < self.height && x < self.width {
                        self.blend(y, x, colour, f32::from(*cover) / 255.0);
                    }
                }
            }
        }
    }

    /// A picture of 1 or 3 channels with its upper left corner at row `y`, column `x`, each pixel a square of `scale`.
    pub fn picture(&mut self, picture: &Picture, (y, x): (usize, usize), scale: usize) {
        let area = picture.height * picture.width;
        let own = self.height * self.width;
        for row in 0..(picture.height * scale).min(self.height.saturating_sub(y)) {
            for column in 0..(picture.width * scale).min(self.width.saturating_sub(x)) {
                let from = row / scale * picture.width + column / scale;
                for c in 0..3 {
                    let plane = if picture.channels == 3 { c } else { 0 };
                    self.data[c * own + (y + row) * self.width + x + column] =
                        picture.data[plane * area + from];
                }
            }
        }
    }

    /// What was drawn.
    pub fn into_picture(self) -> Picture {
        Picture { channels: 3, height: self.height, width: self.width, data: self.data }
    }
}

/// Width of so many characters in pixels.
pub(super) fn text_width(characters: usize) -> usize {
    characters * get_raster_width(FontWeight::Regular, RasterHeight::Size16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dark(canvas: Canvas) -> Vec<(usize, usize)> {
        let picture = canvas.into_picture();
        let at = |i: usize| (i / picture.width, i % picture.width);
        let area = picture.height * picture.width;
        (0..area).filter(|i| picture.data[*i] < 0.5).map(at).collect()
    }

    #[test]
    fn rectangles_lines_and_points_lie_where_they_should() {
        let mut canvas = Canvas::new(4, 5).expect("a size");
        canvas.fill((1, 3), (2, 9), [0, 0, 0]);
        assert_eq!(dark(canvas), [(1, 3), (1, 4), (2, 3), (2, 4)]);
        let mut canvas = Canvas::new(3, 6).expect("a size");
        canvas.line(&[(1.0, 1.5), (5.0, 1.5)], [0, 0, 0], 1.0);
        assert_eq!(dark(canvas), [(1, 1), (1, 2), (1, 3), (1, 4)]);
        let mut canvas = Canvas::new(3, 3).expect("a size");
        canvas.line(&[(1.5, 1.5)], [0, 0, 0], 1.0);
        assert_eq!(dark(canvas), [(1, 1)]);
    }

    #[test]
    fn what_is_outside_or_no_number_is_left_out() {
        let mut canvas = Canvas::new(2, 2).expect("a size");
        canvas.line(&[(f64::NAN, 0.0), (1.0, 1.0), (f64::INFINITY, 0.0)], [0, 0, 0], 2.0);
        canvas.line(&[(-50.0, -50.0), (-40.0, -50.0)], [0, 0, 0], 3.0);
        canvas.fill((7, 7), (usize::MAX, 3), [0, 0, 0]);
        canvas.text("far", (90, 90), [0, 0, 0]);
        assert!(dark(canvas.clone()).is_empty());
        assert!(Canvas::new(0, 4).is_none() && Canvas::new(usize::MAX, 4).is_none());
        canvas.text("\u{fc}\n", (0, 0), [0, 0, 0]);
    }

    #[test]
    fn pictures_are_enlarged_by_whole_squares() {
        let mut canvas = Canvas::new(4, 4).expect("a size");
        let picture = Picture { channels: 1, height: 1, width: 2, data: vec![0.0, 1.0] };
        canvas.picture(&picture, (1, 0), 2);
        assert_eq!(dark(canvas), [(1, 0), (1, 1), (2, 0), (2, 1)]);
    }
}
