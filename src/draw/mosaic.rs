//! The kernels of a layer side by side, enlarged, with gaps between them: colour where a kernel has three input channels,
//! else gray, each kernel from black at its least to white at its greatest number.
//!
//! With three input channels or one, kernels fill a grid row by row. With more, each output channel has a row (or some) of its
//! own, an input channel a column. Kernels along one axis are rows of pixels; those along three are their slices
//! (first axis) beside each other.

use super::canvas::Canvas;
use super::palette::Colour;
use crate::formats::image::Picture;

/// Pixels of a gap.
const GAP: usize = 2;
/// About so many pixels wide a mosaic becomes.
const WIDTH: usize = 640;
/// The most pixels that stand for one number, along an axis.
const SCALE_MAX: usize = 24;
/// The most kernels that are shown.
const SHOWN_MAX: usize = 4096;
/// What lies between kernels.
const GROUND: Colour = [40, 60, 90];

/// Kernels in the order of a weight: which of them, input channels, taps.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernels {
    /// Kernels: all axes before the input channels, multiplied.
    pub count: usize,
    /// Input channels of each.
    pub channels: usize,
    /// One to three extents.
    pub taps: Vec<usize>,
    /// `count * channels * taps` numbers.
    pub data: Vec<f32>,
}

/// A mosaic.
#[derive(Clone, Debug, PartialEq)]
pub struct Mosaic {
    /// The picture, in colour.
    pub picture: Picture,
    /// Kernels in it; less than there are when they are too many.
    pub shown: usize,
    /// Kernels there are.
    pub all: usize,
}

impl Kernels {
    /// The kernels of a weight whose axes are called as the compiler calls them: `o`, `i` or `links`, and taps such as `kh`, `kw`;
    /// before them what tells apart sets of kernels. `None` for a weight of another kind, such as a bias.
    pub fn named<N: AsRef<str>>(axes: &[(N, usize)], data: Vec<f32>) -> Option<Self> {
        let is_tap = |a: &&(N, usize)| a.0.as_ref().len() > 1 && a.0.as_ref().starts_with('k');
        let taps = axes.iter().rev().take_while(is_tap).count();
        let (before, taps) = axes.split_at(axes.len() - taps);
        let last = before.last()?;
        let (before, channels) = match last.0.as_ref() {
            "i" => (&before[..before.len() - 1], last.1),
            "links" => (before, 1),
            _ => return None,
        };
        let count = before.iter().map(|a| a.1).product();
        Self::checked(count, channels, taps.iter().map(|a| a.1).collect(), data)
    }

    /// The kernels of a weight of which extents alone are known: output channels, input channels, and one to three axes of taps;
    /// with more axes, the first ones tell apart sets of kernels on a plane.
    pub fn of_dims(dims: &[usize], data: Vec<f32>) -> Option<Self> {
        let taps = match dims.len() {
            3..=5 => dims.len() - 2,
            6.. => 2,
            _ => return None,
        };
        let (before, taps) = dims.split_at(dims.len() - taps);
        let (channels, before) = before.split_last()?;
        Self::checked(before.iter().product(), *channels, taps.to_vec(), data)
    }

    fn checked(count: usize, channels: usize, taps: Vec<usize>, data: Vec<f32>) -> Option<Self> {
        let len = taps.iter().try_fold(count.checked_mul(channels)?, |n, t| n.checked_mul(*t))?;
        let fits = (1..=3).contains(&taps.len()) && len > 0 && len == data.len();
        fits.then_some(Self { count, channels, taps, data })
    }

    /// The picture; `None` when kernels are too large for one.
    pub fn mosaic(&self) -> Option<Mosaic> {
        let colour = self.channels == 3;
        let per_row = if colour { 1 } else { self.channels };
        let all = self.count * per_row;
        let (slices, h, w) = match self.taps[..] {
            [w] => (1, 1, w),
            [h, w] => (1, h, w),
            [d, h, w] => (d, h, w),
            _ => return None,
        };
        // Slices of one kernel have a gap of one number between them.
        let wide = slices.checked_mul(w.checked_add(1)?)? - 1;
        let grid = (all as f64).sqrt().ceil() as usize;
        let columns = if per_row > 1 { per_row.min(64) } else { grid.clamp(1, 32) };
        let scale = (WIDTH / (columns * wide).max(1)).clamp(1, SCALE_MAX);
        let (cell_h, cell_w) =
            (h.checked_mul(scale)?.checked_add(GAP)?, wide.checked_mul(scale)?.checked_add(GAP)?);
        // A new output channel begins a new row where it has several kernels.
        let rows_each = if per_row > 1 { per_row.div_ceil(columns) } else { 1 };
        let rows_max =
            super::PIXELS_MAX / cell_h.checked_mul(cell_w.checked_mul(columns)?.checked_add(GAP)?)?;
        let fit = if per_row > 1 { rows_max / rows_each * per_row } else { rows_max.saturating_mul(columns) };
        let whole = if per_row > 1 { (SHOWN_MAX / per_row).max(1) * per_row } else { SHOWN_MAX };
        let shown = all.min(whole).min(fit);
        let rows = if per_row > 1 { shown / per_row * rows_each } else { shown.div_ceil(columns) };
        let (height, width) = (rows * cell_h + GAP, columns * cell_w + GAP);
        let mut canvas = Canvas::new(height, width).filter(|_| shown > 0)?;
        canvas.fill((0, 0), (height, width), GROUND);
        for k in 0..shown {
            let (row, column) = if per_row > 1 {
                let (output, input) = (k / per_row, k % per_row);
                (output * rows_each + input / columns, input % columns)
            } else {
                (k / columns, k % columns)
            };
            for (slice, picture) in self.slices(k, colour, (slices, h, w)).iter().enumerate() {
                let at = (GAP + row * cell_h, GAP + column * cell_w + slice * (w + 1) * scale);
                canvas.picture(picture, at, scale);
            }
        }
        Some(Mosaic { picture: canvas.into_picture(), shown, all })
    }

    /// Kernel `k` as pictures, from its own least to its own greatest number.
    fn slices(&self, k: usize, colour: bool, (slices, h, w): (usize, usize, usize)) -> Vec<Picture> {
        let channels = if colour { 3 } else { 1 };
        let (area, volume) = (h * w, slices * h * w);
        let own = &self.data[k * channels * volume..][..channels * volume];
        let finite = || own.iter().copied().filter(|x| x.is_finite());
        let (least, most) =
            (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        // In f64 the difference of two finite numbers is finite.
        let span = f64::from(most) - f64::from(least);
        let shade = |x: f32| match x.is_finite() {
            true if span > 0.0 => ((f64::from(x) - f64::from(least)) / span) as f32,
            true => 0.5,
            false => 0.0,
        };
        let slice = |s: usize| {
            let plane = |c: usize| own[c * volume + s * area..][..area].iter().map(|x| shade(*x));
            Picture { channels, height: h, width: w, data: (0..channels).flat_map(plane).collect() }
        };
        (0..slices).map(slice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of the mosaic's gray levels that are not ground, each kernel number by number.
    fn at(m: &Mosaic, y: usize, x: usize) -> [f32; 3] {
        let area = m.picture.height * m.picture.width;
        [0, 1, 2].map(|c| m.picture.data[c * area + y * m.picture.width + x])
    }

    #[test]
    fn axes_say_what_is_a_kernel() {
        let named = |axes: &[(&str, usize)]| {
            let len = axes.iter().map(|a| a.1).product();
            Kernels::named(axes, vec![0.0; len]).map(|k| (k.count, k.channels, k.taps))
        };
        assert_eq!(named(&[("o", 4), ("i", 3), ("kh", 5), ("kw", 7)]), Some((4, 3, vec![5, 7])));
        assert_eq!(
            named(&[("oh", 2), ("ow", 2), ("o", 4), ("i", 1), ("kh", 3), ("kw", 3)]),
            Some((16, 1, vec![3, 3]))
        );
        assert_eq!(named(&[("links", 6), ("kh", 2), ("kw", 2)]), Some((6, 1, vec![2, 2])));
        assert_eq!(
            named(&[("o", 2), ("i", 2), ("kd", 2), ("kh", 3), ("kw", 3)]),
            Some((2, 2, vec![2, 3, 3]))
        );
        assert_eq!(named(&[("o", 8)]), None);
        assert_eq!(named(&[("o", 8), ("i", 4)]), None);
        assert_eq!(named(&[("o", 0), ("i", 4), ("kx", 3)]), None);
        assert_eq!(Kernels::of_dims(&[4, 3, 5], vec![0.0; 60]).map(|k| k.taps), Some(vec![5]));
        assert_eq!(
            Kernels::of_dims(&[2, 2, 4, 3, 1, 1], vec![0.0; 48]).map(|k| (k.count, k.channels)),
            Some((16, 3))
        );
        assert!(
            Kernels::of_dims(&[4, 3], vec![0.0; 12]).is_none() && Kernels::of_dims(&[], vec![0.0]).is_none()
        );
    }

    #[test]
    fn each_kernel_goes_from_black_to_white() {
        let data = vec![-1.0, 0.0, 0.0, 1.0, 100.0, 300.0, 200.0, f32::NAN];
        let m = Kernels { count: 2, channels: 1, taps: vec![2, 2], data }.mosaic().expect("small");
        assert_eq!((m.shown, m.all), (2, 2));
        let cell = SCALE_MAX * 2 + GAP;
        assert_eq!(m.picture.width, 2 * cell + GAP);
        let (a, b) = (GAP, GAP + SCALE_MAX);
        assert_eq!([at(&m, a, a)[0], at(&m, a, b)[0], at(&m, b, b)[0]], [0.0, 0.5, 1.0]);
        assert_eq!([at(&m, a, a + cell)[0], at(&m, a, b + cell)[1], at(&m, b, a + cell)[2]], [0.0, 1.0, 0.5]);
        assert_eq!(at(&m, b, b + cell), [0.0; 3], "what is no number is black");
        assert_ne!(at(&m, 0, 0), [0.0; 3]);
    }

    #[test]
    fn three_channels_are_colour_and_more_are_columns() {
        let colour = Kernels { count: 1, channels: 3, taps: vec![1, 1], data: vec![1.0, 0.0, 0.5] };
        let m = colour.mosaic().expect("small");
        assert_eq!(at(&m, GAP, GAP), [1.0, 0.0, 0.5]);
        let many =
            Kernels { count: 2, channels: 5, taps: vec![1, 2], data: (0..20).map(|i| i as f32).collect() };
        let m = many.mosaic().expect("small");
        assert_eq!((m.shown, m.all), (10, 10));
        assert_eq!(m.picture.height, 2 * (SCALE_MAX + GAP) + GAP);
        let wide = Kernels { count: 3, channels: 100, taps: vec![1], data: vec![7.0; 300] };
        let m = wide.mosaic().expect("small");
        assert_eq!(m.shown, 300);
        assert_eq!(at(&m, GAP, GAP), [0.5; 3], "a kernel of one number has no range");
    }

    #[test]
    fn odd_sizes_have_a_picture_or_none() {
        let cube =
            Kernels { count: 2, channels: 1, taps: vec![3, 3, 3], data: (0..54).map(|i| i as f32).collect() };
        let m = cube.mosaic().expect("small");
        let scale = (WIDTH / (2 * 11)).min(SCALE_MAX);
        assert_eq!(m.picture.width, 2 * (11 * scale + GAP) + GAP);
        let many = Kernels { count: 5000, channels: 1, taps: vec![1, 1], data: vec![0.0; 5000] };
        assert_eq!(many.mosaic().map(|m| (m.shown, m.all)), Some((SHOWN_MAX, 5000)));
        let huge = Kernels { count: 1, channels: 1, taps: vec![1 << 14, 1 << 13], data: vec![0.0; 1 << 27] };
        assert!(huge.mosaic().is_none());
        let extreme = Kernels { count: 1, channels: 1, taps: vec![2], data: vec![f32::MAX, f32::MIN] };
        assert_eq!(at(&extreme.mosaic().expect("small"), GAP, GAP), [1.0; 3]);
    }
}
