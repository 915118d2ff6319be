//! Made pictures with exact truth: sample `i` is a function of the seed, the options and `i`.
//!
//! * `shapes`: one to three discs, squares and triangles, each of its own brightness, over each other. `mask`: 0 for the ground, 1, 2,
//!   3 for what is seen at the pixel's centre; `label`: 0, 1, 2, the form that most pixels show.
//! * `edges`: areas bounded by straight lines and circles. `mask` and `target`: 1 where the pixel's area differs from that of its
//!   right or lower neighbour.
//! * `bars`: one bar or grating. `label`: its direction, of eight, a multiple of 22.5 degrees from the rows; `mask`: 1 on it.
//!
//! Pixels are averages over 4 x 4 points (antialiased), then noise is added, and the result is rounded to 8 bits, so that a
//! written PNG holds just what a training sees.

use super::DataError;
use super::set::{Field, Kind, Set, Store, with_room};
use crate::support::random::Random;

/// Points along each axis of a pixel.
const POINTS: usize = 4;
/// Directions of bars.
pub(super) const DIRECTIONS: usize = 8;

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Discs, squares, triangles.
    Shapes,
    /// Areas and their boundaries.
    Edges,
    /// Bars and gratings.
    Bars,
}

impl Made {
    /// All.
    pub const ALL: [Self; 3] = [Self::Shapes, Self::Edges, Self::Bars];

    /// What the language calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shapes => "shapes",
            Self::Edges => "edges",
            Self::Bars => "bars",
        }
    }

    /// Names of the classes of whole pictures; none where pixels alone have classes.
    pub fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Shapes => &["disc", "square", "triangle"],
            Self::Edges => &[],
            Self::Bars => &["0", "22.5", "45", "67.5", "90", "112.5", "135", "157.5"],
        }
    }
}

/// A set of made pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// What is made.
    pub kind: Made,
    /// How many.
    pub count: usize,
    /// Rows and columns.
    pub size: (usize, usize),
    /// 1 (gray) or 3 (red, green, blue).
    pub channels: usize,
    /// Standard deviation of the noise, of 0..1.
    pub noise: f64,
    /// The seed.
    pub seed: u64,
}

/// One picture with its truth.
#[derive(Clone, Debug, PartialEq)]
pub struct MadePicture {
    /// Planes of bytes.
    pub pixels: Vec<u8>,
    /// A class for each pixel.
    pub mask: Vec<u8>,
    /// The class of the picture; 0 where it has none.
    pub label: u8,
}

/// A form that covers points of the plane.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Centre and radius.
    Disc(f64, f64, f64),
    /// Centre, half the side, cosine and sine of its turn.
    Square(f64, f64, f64, f64, f64),
    /// Centre, distance of the corners, the turn's cosine and sine.
    Triangle(f64, f64, f64, f64, f64),
    /// `a y + b x > c`
    Half(f64, f64, f64),
    /// A bar through a point: normal (y, x), offset, half the width.
    Bar(f64, f64, f64, f64),
    /// Stripes: normal (y, x), phase, wavelength; half of each wave is covered.
    Stripes(f64, f64, f64, f64),
}

impl Form {
    fn covers(self, y: f64, x: f64) -> bool {
        match self {
            Self::Disc(cy, cx, r) => (y - cy) * (y - cy) + (x - cx) * (x - cx) < r * r,
            Self::Square(cy, cx, half, cos, sin) => {
                let (dy, dx) = (y - cy, x - cx);
                (cos * dy - sin * dx).abs() < half && (sin * dy + cos * dx).abs() < half
            }
            Self::Triangle(cy, cx, r, cos, sin) => {
                let (dy, dx) = (y - cy, x - cx);
                let (u, v) = (cos * dy - sin * dx, sin * dy + cos * dx);
                // Three half planes at the distance of the inscribed circle.
                let (third, half) = (0.866_025_403_784_438_6, 0.5);
                [(0.0, 1.0), (third, -half), (-third, -half)].iter().all(|(a, b)| a * u + b * v < r * 0.5)
            }
            Self::Half(a, b, c) => a * y + b * x > c,
            Self::Bar(a, b, c, half) => (a * y + b * x - c).abs() < half,
            Self::Stripes(a, b, phase, wave) => {
                let turn = (a * y + b * x - phase) / wave;
                turn - turn.floor() < 0.5
            }
        }
    }
}

/// A form with what is seen of it.
#[derive(Clone, Copy, Debug)]
struct Layer {
    form: Form,
    colour: [f64; 3],
    class: u8,
}

impl Synthetic {
    /// The usual number and size: 2,000 gray pictures of 32 x 32 with a little noise.
    pub fn new(kind: Made) -> Self {
        Self { kind, count: 2000, size: (32, 32), channels: 1, noise: 0.02, seed: 0 }
    }

    /// All pictures as a set.
    ///
    /// # Errors
    /// [`DataError::Memory`], [`DataError::Setting`] for a size or number of channels that is none.
    pub fn set(&self) -> Result<Set, DataError> {
        let (h, w) = self.size;
        if h == 0 || w == 0 || (self.channels != 1 && self.channels != 3) {
            let message = format!("no picture has {} channels of {h} x {w}", self.channels);
            return Err(DataError::Setting(message));
        }
        let area = h.checked_mul(w).and_then(|a| a.checked_mul(self.count));
        let area = area.and_then(|a| a.checked_mul(3)).map_or(usize::MAX, |a| a / 3);
        let what = format!("{} pictures of {h} x {w}", self.count);
        let mut pixels = with_room(area.saturating_mul(self.channels), &what)?;
        let mut mask = with_room(area, &what)?;
        let mut labels = Vec::with_capacity(self.count);
        for i in 0..self.count {
            let made = self.picture(i);
            pixels.extend_from_slice(&made.pixels);
            mask.extend_from_slice(&made.mask);
            labels.push(f32::from(made.label));
        }
        let names = ["c", "h", "w"];
        let image = Store::Bytes(pixels, 1.0 / 255.0);
        let image = Field::new("image", Kind::Image, &names, vec![self.channels, h, w], image);
        let mask = Field::new("mask", Kind::Mask, &names, vec![1, h, w], Store::Bytes(mask, 1.0));
        let mut fields = vec![image, mask.clone()];
        let classes = self.kind.classes();
        if self.kind == Made::Edges {
            fields.push(mask.called("target", Kind::Mask));
        } else {
            fields.push(Field::labels(labels));
        }
        Ok(Set { len: self.count, fields, classes: classes.iter().map(|c| (*c).to_owned()).collect() })
    }

    /// Picture `i`.
    pub fn picture(&self, i: usize) -> MadePicture {
        let random = Random::new(self.seed, self.kind.name()).stream(i as u64);
        let (ground, layers, label) = match self.kind {
            Made::Shapes => self.shapes(&random),
            Made::Edges => self.edges(&random),
            Made::Bars => self.bars(&random),
        };
        let (pixels, regions) = self.paint(ground, &layers, &random.stream(1 << 32));
        let class = |region: u8| if region == 0 { 0 } else { layers[usize::from(region) - 1].class };
        let mask: Vec<u8> = match self.kind {
            Made::Edges => self.boundaries(&regions),
            Made::Shapes | Made::Bars => regions.iter().map(|r| class(*r)).collect(),
        };
        let label = match self.kind {
            Made::Shapes => {
                let count = |class: u8| mask.iter().filter(|m| **m == class).count();
                // The first of equals.
                (1..=3).rev().max_by_key(|c| count(*c)).unwrap_or(1) - 1
            }
            Made::Edges | Made::Bars => label,
        };
        MadePicture { pixels, mask, label }
    }

    fn colour(&self, random: &Random, brightness: f64) -> [f64; 3] {
        if self.channels == 1 {
            return [brightness; 3];
        }
        let tint = |i: u64| (brightness + 0.5 * (random.unit(i) - 0.5)).clamp(0.0, 1.0);
        [tint(100), tint(101), tint(102)]
    }

    /// Brightness of a form on a ground: at least a quarter away from it.
    fn contrast(random: &Random, i: u64, ground: f64) -> f64 {
        let step = 0.25 + 0.5 * random.unit(i);
        let up = ground + step <= 1.0 && (ground - step < 0.0 || random.unit(i + 1) < 0.5);
        (if up { ground + step } else { ground - step }).clamp(0.0, 1.0)
    }

    fn shapes(&self, random: &Random) -> ([f64; 3], Vec<Layer>, u8) {
        let (h, w) = (self.size.0 as f64, self.size.1 as f64);
        let base = random.unit(0);
        let ground = self.colour(&random.stream(1), base);
        let count = 1 + random.below(2, 3);
        let layers = (0..count)
            .map(|i| {
                let r = random.stream(10 + i);
                let class = 1 + r.below(0, 3) as u8;
                let size = h.min(w) * (0.14 + 0.16 * r.unit(1));
                let (cy, cx) = (h * (0.15 + 0.7 * r.unit(2)), w * (0.15 + 0.7 * r.unit(3)));
                let turn = 2.0 * std::f64::consts::PI * r.unit(4);
                let (cos, sin) = (libm::cos(turn), libm::sin(turn));
                let form = match class {
                    1 => Form::Disc(cy, cx, size),
                    2 => Form::Square(cy, cx, size * 0.886, cos, sin),
                    _ => Form::Triangle(cy, cx, size * 1.3, cos, sin),
                };
                Layer { form, colour: self.colour(&r, Self::contrast(&r, 5, base)), class }
            })
            .collect();
        (ground, layers, 0)
    }

    fn edges(&self, random: &Random) -> ([f64; 3], Vec<Layer>, u8) {
        let (h, w) = (self.size.0 as f64, self.size.1 as f64);
        let mut base = random.unit(0);
        let ground = self.colour(&random.stream(1), base);
        let count = 1 + random.below(2, 4);
        let mut layers = Vec::new();
        for i in 0..count {
            let r = random.stream(10 + i);
            let (cy, cx) = (h * (0.1 + 0.8 * r.unit(0)), w * (0.1 + 0.8 * r.unit(1)));
            let form = if r.unit(2) < 0.6 {
                let turn = 2.0 * std::f64::consts::PI * r.unit(3);
                let (a, b) = (libm::sin(turn), libm::cos(turn));
                Form::Half(a, b, a * cy + b * cx)
            } else {
                Form::Disc(cy, cx, h.min(w) * (0.1 + 0.3 * r.unit(3)))
            };
            base = Self::contrast(&r, 4, base);
            layers.push(Layer { form, colour: self.colour(&r, base), class: 1 });
        }
        (ground, layers, 0)
    }

    fn bars(&self, random: &Random) -> ([f64; 3], Vec<Layer>, u8) {
        let (h, w) = (self.size.0 as f64, self.size.1 as f64);
        let base = random.unit(0);
        let ground = self.colour(&random.stream(1), base);
        let label = random.below(2, DIRECTIONS as u64) as u8;
        let turn = std::f64::consts::PI * f64::from(label) / DIRECTIONS as f64;
        // The bar runs along (sin, cos) in (y, x); its normal is (cos, -sin).
        let (a, b) = (libm::cos(turn), -libm::sin(turn));
        let side = h.min(w);
        let (cy, cx) = (h * (0.3 + 0.4 * random.unit(3)), w * (0.3 + 0.4 * random.unit(4)));
        let offset = a * cy + b * cx;
        let form = if random.unit(5) < 0.5 {
            Form::Bar(a, b, offset, side * (0.03 + 0.12 * random.unit(6)))
        } else {
            Form::Stripes(a, b, offset, side * (0.15 + 0.35 * random.unit(6)))
        };
        let colour = self.colour(&random.stream(7), Self::contrast(random, 8, base));
        (ground, vec![Layer { form, colour, class: 1 }], label)
    }

    /// Planes of bytes, and for each pixel the layer that its centre shows: 0 the ground, else one more than its position.
    fn paint(&self, ground: [f64; 3], layers: &[Layer], noise: &Random) -> (Vec<u8>, Vec<u8>) {
        let (h, w) = self.size;
        let mut pixels = vec![0u8; self.channels * h * w];
        let mut regions = vec![0u8; h * w];
        let seen = |y: f64, x: f64| layers.iter().rposition(|l| l.form.covers(y, x));
        for y in 0..h {
            for x in 0..w {
                let at = y * w + x;
                let centre = seen(y as f64 + 0.5, x as f64 + 0.5);
                regions[at] = centre.map_or(0, |i| i as u8 + 1);
                let mut sum = [0.0; 3];
                for p in 0..POINTS * POINTS {
                    let point = |i: usize| (i as f64 + 0.5) / POINTS as f64;
                    let found = seen(y as f64 + point(p / POINTS), x as f64 + point(p % POINTS));
                    let colour = found.map_or(ground, |i| layers[i].colour);
                    for c in 0..3 {
                        sum[c] += colour[c];
                    }
                }
                for c in 0..self.channels {
                    let i = c * h * w + at;
                    let value = sum[c] / (POINTS * POINTS) as f64 + self.noise * noise.normal(i as u64);
                    pixels[i] = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            }
        }
        (pixels, regions)
    }

    /// 1 where a region ends to the right or below.
    fn boundaries(&self, regions: &[u8]) -> Vec<u8> {
        let (h, w) = self.size;
        let differs = |y: usize, x: usize| {
            let own = regions[y * w + x];
            x + 1 < w && regions[y * w + x + 1] != own || y + 1 < h && regions[(y + 1) * w + x] != own
        };
        (0..h * w).map(|at| u8::from(differs(at / w, at % w))).collect()
    }
}

#[cfg(test)]
mod tests;
