//! How training samples vary: shift, flip, crop, rotate, noise, cutout, normalise.
//!
//! Every draw is a number by counter of (seed, epoch, sample, place in the list, which draw), so all fields of a sample
//! move alike, and nothing depends on threads or time. In evaluation nothing varies: `crop` takes the middle, `normalise`
//! is applied, the rest does nothing.
//!
//! | name | drawn | source |
//! |---|---|---|
//! | `shift(by)` | a whole number of pixels, -by..=by on each axis | |
//! | `flip(axis, p)` | mirrors the axis with probability `p` | |
//! | `crop(size, pad)` | a window of `size` in the image with `pad` around it | He et al. 2016, section 4.2 |
//! | `rotate(by, zoom)` | an angle of -by..by degrees about the middle, a factor of 1-zoom..1+zoom; bilinear | |
//! | `noise(std)` | a normal number on each element of the image | |
//! | `cutout(size, count, p)` | sets a window around any pixel to 0 in the image | DeVries & Taylor 2017 |

use super::DataError;
use super::normalise::Normalise;
use super::set::Kind;
use crate::support::Name;
use crate::support::random::Random;

/// One way in which samples vary. A list of numbers has one for each grid axis, or one for all.
#[derive(Clone, Debug, PartialEq)]
pub enum Augment {
    /// Moves by up to so many pixels.
    Shift {
        /// The greatest distance.
        by: Vec<usize>,
        /// What comes in from outside.
        border: Border,
    },
    /// Mirrors an axis.
    Flip {
        /// Its name; `None`: the last one, left and right.
        axis: Option<Name>,
        /// With this probability.
        p: f64,
    },
    /// Takes a window.
    Crop {
        /// Its extents.
        size: Vec<usize>,
        /// So much around the image first.
        pad: Vec<usize>,
        /// What lies there.
        border: Border,
    },
    /// Turns about the middle, and scales.
    Rotate {
        /// The greatest angle, in degrees.
        by: f64,
        /// The greatest change of scale.
        zoom: f64,
        /// What comes in from outside.
        border: Border,
    },
    /// Adds normal noise to the image.
    Noise {
        /// Its standard deviation.
        std: f64,
    },
    /// Blanks windows of the image.
    Cutout {
        /// Their extents.
        size: Vec<usize>,
        /// How many.
        count: usize,
        /// With this probability each.
        p: f64,
    },
    /// Subtracts a mean and divides by a standard deviation, per channel; what is `None` is computed on the training part.
    Normalise {
        /// Means.
        mean: Option<Vec<f32>>,
        /// Standard deviations.
        std: Option<Vec<f32>>,
    },
}

/// What lies outside of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// Zeros: black, or class 0.
    #[default]
    Zero,
    /// The pixel at the edge, repeated.
    Edge,
    /// The picture mirrored about its edge pixels: `cb|abcd|cb`.
    Mirror,
}

impl Border {
    /// The position that stands for `i` on an axis of `n`; `None` for zero.
    fn at(self, i: i64, n: usize) -> Option<usize> {
        let n = n as i64;
        if (0..n).contains(&i) {
            return Some(i as usize);
        }
        match self {
            Self::Zero => None,
            Self::Edge => Some(i.clamp(0, n - 1) as usize),
            Self::Mirror if n == 1 => Some(0),
            Self::Mirror => {
                let turn = i.rem_euclid(2 * (n - 1));
                Some(if turn < n { turn } else { 2 * (n - 1) - turn } as usize)
            }
        }
    }
}

/// Channels on a grid, one sample of one field; the last axis fastest.
#[derive(Clone, Debug, Default)]
pub(super) struct Planes {
    pub(super) grid: Vec<usize>,
    pub(super) data: Vec<f32>,
}

/// The list for one field, checked against its grid.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    steps: Vec<Step>,
    kind: Kind,
    channels: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Shift(Vec<usize>, Border),
    Flip(usize, f64),
    Crop(Vec<usize>, Vec<usize>, Border),
    Rotate(f64, f64, Border),
    Noise(f64),
    Cutout(Vec<usize>, usize, f64),
    Normalise(Normalise),
    /// Nothing, so that the places of the others are the same for all fields.
    Keep,
}

impl Augment {
    /// What the language calls it, if it moves or cuts a grid.
    pub(super) fn on_grid(&self) -> Option<&'static str> {
        match self {
            Self::Shift { .. } => Some("shift"),
            Self::Flip { .. } => Some("flip"),
            Self::Crop { .. } => Some("crop"),
            Self::Rotate { .. } => Some("rotate"),
            Self::Cutout { .. } => Some("cutout"),
            Self::Noise { .. } | Self::Normalise { .. } => None,
        }
    }
}

/// Whether `normalise` is given one number for all channels, or one for each.
fn per_channel(what: &str, given: Option<&[f32]>, channels: usize) -> Result<(), DataError> {
    let n = given.map_or(1, <[f32]>::len);
    if n == 1 || n == channels {
        return Ok(());
    }
    let have = if channels == 1 { "1 channel".to_owned() } else { format!("{channels} channels") };
    let message = format!(
        "`{what}` of `normalise` has {n} numbers, the data have {have}: give one number for all, or one for each"
    );
    Err(DataError::Setting(message))
}

impl Chain {
    /// The list `augment` for a field of `kind` with this grid. `normalise`: what was computed on the training part.
    ///
    /// # Errors
    /// [`DataError::Setting`] for what does not fit the grid.
    pub(super) fn new(
        augment: &[Augment],
        kind: Kind,
        channels: usize,
        grid: &[(Name, usize)],
        normalise: Option<&Normalise>,
    ) -> Result<Self, DataError> {
        let mut dims: Vec<usize> = grid.iter().map(|g| g.1).collect();
        let moved = kind != Kind::Label && !grid.is_empty();
        let mut steps = Vec::new();
        for augment in augment {
            let step = match augment {
                Augment::Shift { by, border } if moved => Step::Shift(per_axis("shift", by, &dims)?, *border),
                Augment::Flip { axis, p } if moved => Step::Flip(axis_of(axis.as_ref(), grid)?, *p),
                Augment::Crop { size, pad, border } if moved => {
                    let (size, pad) = (per_axis("crop", size, &dims)?, per_axis("crop", pad, &dims)?);
                    for a in 0..dims.len() {
                        let have = dims[a] + 2 * pad[a];
                        if size[a] > have || size[a] == 0 {
                            let message =
                                format!("`crop` takes {} of axis {}, which has {have}", size[a], grid[a].0);
                            return Err(DataError::Setting(message));
                        }
                    }
                    dims.clone_from(&size);
                    Step::Crop(size, pad, *border)
                }
                Augment::Rotate { by, zoom, border } if moved => {
                    if dims.len() != 2 {
                        let message = format!("`rotate` turns pictures; this grid has {} axes", dims.len());
                        return Err(DataError::Setting(message));
                    }
                    Step::Rotate(*by, *zoom, *border)
                }
                Augment::Noise { std } if kind == Kind::Image => Step::Noise(*std),
                Augment::Cutout { size, count, p } if kind == Kind::Image && moved => {
                    Step::Cutout(per_axis("cutout", size, &dims)?, *count, *p)
                }
                Augment::Normalise { mean, std } if matches!(kind, Kind::Image | Kind::Clean) => {
                    per_channel("mean", mean.as_deref(), channels)?;
                    per_channel("std", std.as_deref(), channels)?;
                    normalise.map_or(Step::Keep, |n| Step::Normalise(n.clone()))
                }
                Augment::Shift { .. }
                | Augment::Flip { .. }
                | Augment::Crop { .. }
                | Augment::Rotate { .. }
                | Augment::Noise { .. }
                | Augment::Cutout { .. }
                | Augment::Normalise { .. } => Step::Keep,
            };
            steps.push(step);
        }
        Ok(Self { steps, kind, channels })
    }

    /// The grid that comes out for `grid`.
    pub(super) fn output(augment: &[Augment], kind: Kind, grid: &[usize]) -> Vec<usize> {
        let mut dims = grid.to_vec();
        for augment in augment {
            if let Augment::Crop { size, .. } = augment
                && kind != Kind::Label
            {
                dims = (0..dims.len()).map(|a| size[a.min(size.len() - 1)]).collect();
            }
        }
        dims
    }

    /// Applies the list to `planes`, with `spare` as room. `random` is the sample's stream; `None`: evaluation.
    pub(super) fn apply(&self, planes: &mut Planes, spare: &mut Planes, random: Option<&Random>) {
        for (place, step) in self.steps.iter().enumerate() {
            let draw = random.map(|r| r.stream(place as u64));
            match (step, draw) {
                (Step::Crop(size, pad, border), draw) => {
                    let from: Vec<i64> = (0..size.len())
                        .map(|a| {
                            let free = (planes.grid[a] + 2 * pad[a]).saturating_sub(size[a]) as u64;
                            let at = draw.map_or(free / 2, |r| r.below(a as u64, free + 1));
                            at as i64 - pad[a] as i64
                        })
                        .collect();
                    window(planes, spare, size, &from, *border, self.channels);
                }
                (Step::Normalise(n), _) => n.apply(&mut planes.data, self.channels),
                (Step::Keep, _) | (_, None) => {}
                (Step::Shift(by, border), Some(r)) => {
                    let from: Vec<i64> = (0..by.len())
                        .map(|a| r.below(a as u64, 2 * by[a] as u64 + 1) as i64 - by[a] as i64)
                        .collect();
                    if from.iter().any(|f| *f != 0) {
                        let size = planes.grid.clone();
                        window(planes, spare, &size, &from, *border, self.channels);
                    }
                }
                (Step::Flip(axis, p), Some(r)) => {
                    if r.unit(0) < *p {
                        mirror(planes, *axis);
                    }
                }
                (Step::Rotate(by, zoom, border), Some(r)) => {
                    let angle = (2.0 * r.unit(0) - 1.0) * by.to_radians();
                    let scale = 1.0 + (2.0 * r.unit(1) - 1.0) * zoom;
                    rotate(planes, spare, (angle, scale), *border, self.kind == Kind::Mask);
                }
                (Step::Noise(std), Some(r)) => {
                    for (i, x) in planes.data.iter_mut().enumerate() {
                        *x += (r.normal(i as u64) * std) as f32;
                    }
                }
                (Step::Cutout(size, count, p), Some(r)) => {
                    for turn in 0..*count {
                        let r = r.stream(turn as u64);
                        if r.unit(0) < *p {
                            blank(planes, size, &r);
                        }
                    }
                }
            }
        }
    }
}

/// One number for each axis of the grid.
fn per_axis(what: &str, given: &[usize], dims: &[usize]) -> Result<Vec<usize>, DataError> {
    match given {
        [one] => Ok(vec![*one; dims.len()]),
        all if all.len() == dims.len() => Ok(all.to_vec()),
        all => {
            let message = format!("`{what}` has {} numbers for a grid of {} axes", all.len(), dims.len());
            Err(DataError::Setting(message))
        }
    }
}

fn axis_of(name: Option<&Name>, grid: &[(Name, usize)]) -> Result<usize, DataError> {
    let Some(name) = name else { return Ok(grid.len() - 1) };
    grid.iter().position(|g| g.0 == *name).ok_or_else(|| {
        let names: Vec<&str> = grid.iter().map(|g| &*g.0).collect();
        DataError::Setting(format!("`flip` has no axis `{name}` here; the axes are {}", names.join(", ")))
    })
}

/// The window of extents `size` that begins at `from`, which may lie outside.
fn window(
    planes: &mut Planes,
    spare: &mut Planes,
    size: &[usize],
    from: &[i64],
    border: Border,
    channels: usize,
) {
    let area: usize = planes.grid.iter().product();
    let rank = size.len();
    spare.data.clear();
    // The position on each axis of the source, for each on that of the window.
    let maps: Vec<Vec<Option<usize>>> = (0..rank)
        .map(|a| (0..size[a]).map(|i| border.at(i as i64 + from[a], planes.grid[a])).collect())
        .collect();
    for c in 0..channels {
        let plane = &planes.data[c * area..(c + 1) * area];
        crate::tensor::array::for_each_index(&size[..rank - 1], |index| {
            let row =
                index.iter().enumerate().try_fold(0, |row, (a, i)| Some(row * planes.grid[a] + maps[a][*i]?));
            let width = planes.grid[rank - 1];
            match row {
                Some(row) => {
                    let row = &plane[row * width..(row + 1) * width];
                    spare.data.extend(maps[rank - 1].iter().map(|at| at.map_or(0.0, |at| row[at])));
                }
                None => spare.data.extend(std::iter::repeat_n(0.0, size[rank - 1])),
            }
        });
    }
    spare.grid.clear();
    spare.grid.extend_from_slice(size);
    std::mem::swap(planes, spare);
}

/// Mirrors one axis of the grid.
fn mirror(planes: &mut Planes, axis: usize) {
    let inner: usize = planes.grid[axis + 1..].iter().product();
    let n = planes.grid[axis];
    for block in planes.data.chunks_exact_mut(n * inner) {
        for i in 0..n / 2 {
            let (head, tail) = block.split_at_mut((n - 1 - i) * inner);
            head[i * inner..(i + 1) * inner].swap_with_slice(&mut tail[..inner]);
        }
    }
}

/// Turns planes of rank 2 about their middle by `angle` and scales them by `scale`: element `(y, x)` is taken where the inverse
/// leads, bilinear or from the nearest.
fn rotate(
    planes: &mut Planes,
    spare: &mut Planes,
    (angle, scale): (f64, f64),
    border: Border,
    nearest: bool,
) {
    let (h, w) = (planes.grid[0], planes.grid[1]);
    let (sin, cos) = (libm::sin(angle) / scale, libm::cos(angle) / scale);
    let (cy, cx) = ((h as f64 - 1.0) / 2.0, (w as f64 - 1.0) / 2.0);
    spare.data.clear();
    spare.grid.clone_from(&planes.grid);
    for plane in planes.data.chunks_exact(h * w) {
        let get = |y: i64, x: i64| match (border.at(y, h), border.at(x, w)) {
            (Some(y), Some(x)) => f64::from(plane[y * w + x]),
            _ => 0.0,
        };
        for y in 0..h {
            let dy = y as f64 - cy;
            for x in 0..w {
                let dx = x as f64 - cx;
                let (sy, sx) = (cy + cos * dy - sin * dx, cx + sin * dy + cos * dx);
                if nearest {
                    spare.data.push(get((sy + 0.5).floor() as i64, (sx + 0.5).floor() as i64) as f32);
                    continue;
                }
                let (fy, fx) = (sy.floor(), sx.floor());
                let (ty, tx) = (sy - fy, sx - fx);
                let (y0, x0) = (fy as i64, fx as i64);
                let top = get(y0, x0) * (1.0 - tx) + get(y0, x0 + 1) * tx;
                let bottom = get(y0 + 1, x0) * (1.0 - tx) + get(y0 + 1, x0 + 1) * tx;
                spare.data.push((top * (1.0 - ty) + bottom * ty) as f32);
            }
        }
    }
    std::mem::swap(planes, spare);
}

/// Sets a window around a drawn pixel to 0 in all channels; what of it lies outside does not count.
fn blank(planes: &mut Planes, size: &[usize], random: &Random) {
    let rank = size.len();
    let area: usize = planes.grid.iter().product();
    let bounds: Vec<(usize, usize)> = (0..rank)
        .map(|a| {
            let middle = random.below(1 + a as u64, planes.grid[a] as u64) as i64;
            let from = middle - size[a] as i64 / 2;
            let clip = |i: i64| i.clamp(0, planes.grid[a] as i64) as usize;
            (clip(from), clip(from + size[a] as i64))
        })
        .collect();
    let extents: Vec<usize> = bounds.iter().map(|(lo, hi)| hi - lo).collect();
    for plane in planes.data.chunks_exact_mut(area.max(1)) {
        crate::tensor::array::for_each_index(&extents, |index| {
            let at = index.iter().enumerate().fold(0, |at, (a, i)| at * planes.grid[a] + bounds[a].0 + i);
            plane[at] = 0.0;
        });
    }
}

#[cfg(test)]
mod tests;
