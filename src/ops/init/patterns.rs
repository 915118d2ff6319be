//! Weights that start as a pattern: the identity, bilinear interpolation, Gabor functions.

use super::Gabor;
use crate::tensor::array::for_each_index;
use crate::tensor::ty::TensorTy;

/// Fills a weight by index; `f` gets the output channel, the input channel and the index in the kernel.
fn fill(ty: &TensorTy, mut f: impl FnMut(usize, usize, &[usize]) -> f32) -> Vec<f32> {
    let (o, i) = channel_dims(ty);
    let kernel = kernel_start(ty);
    let mut out = Vec::with_capacity(ty.len());
    for_each_index(ty.dims(), |at| {
        let get = |d: usize| at.get(d).copied().unwrap_or(0);
        out.push(f(get(o), get(i), at.get(kernel..).unwrap_or(&[])));
    });
    out
}

/// Dimensions of the output and the input channels.
fn channel_dims(ty: &TensorTy) -> (usize, usize) {
    match (ty.position("o"), ty.position("i")) {
        (Some(o), Some(i)) => (o, i),
        _ => (0, 1),
    }
}

/// The first dimension after the channels.
fn kernel_start(ty: &TensorTy) -> usize {
    let (o, i) = channel_dims(ty);
    o.max(i) + 1
}

fn kernel(ty: &TensorTy) -> &[usize] {
    ty.dims().get(kernel_start(ty)..).unwrap_or(&[])
}

/// Whether output channel `o` goes with input channel `i`, counted within its group.
fn diagonal(ty: &TensorTy, o: usize, i: usize) -> bool {
    let (od, id) = channel_dims(ty);
    let extent = |d: usize| ty.dims().get(d).copied().unwrap_or(1).max(1);
    // The second of the two dimensions counts within a group.
    if od < id { o % extent(id) == i } else { i % extent(od) == o }
}

/// 1 at the centre tap between equal channels, else 0.
pub(super) fn identity(ty: &TensorTy) -> Vec<f32> {
    let k = kernel(ty);
    fill(ty, |o, i, at| {
        let centre = at.iter().zip(k).all(|(a, k)| *a == (*k - 1) / 2);
        f32::from(u8::from(centre && diagonal(ty, o, i)))
    })
}

/// Triangles along every axis between equal channels, `1 - |j - centre| / f` with `f = ceil(k / 2)` (Long et al. 2015).
pub(super) fn bilinear(ty: &TensorTy) -> Vec<f32> {
    let k = kernel(ty);
    fill(ty, |o, i, at| {
        if !diagonal(ty, o, i) {
            return 0.0;
        }
        let triangle = |(j, k): (&usize, &usize)| {
            let f = k.div_ceil(2) as f64;
            let centre = if k % 2 == 1 { f - 1.0 } else { f - 0.5 };
            1.0 - (*j as f64 - centre).abs() / f
        };
        at.iter().zip(k).map(triangle).product::<f64>() as f32
    })
}

/// A bank of Gabor functions (chapter 9, equations 9.16 to 9.18), the same for every input channel, each output channel
/// scaled to a sum of squares of 1:
/// `w(x, y) = a exp(-bx x'^2 - by y'^2) cos(f x' + phi)` with `x' = x cos(tau) + y sin(tau)`,
/// `y' = -x sin(tau) + y cos(tau)`, `bx = 1 / (2 sigma^2)`, `by = (aspect / sigma)^2 / 2`, and the origin at the kernel's centre.
pub(super) fn gabor(g: &Gabor, ty: &TensorTy) -> Vec<f32> {
    let k = kernel(ty);
    let (outputs, inputs) = channel_dims(ty);
    let extent = |d: usize| ty.dims().get(d).copied().unwrap_or(1);
    let (orientations, phases) = (g.orientations.max(1), g.phases.max(1));
    // Every input channel and every plane of a deeper kernel holds the same function.
    let planes: usize = k.iter().rev().skip(2).product::<usize>() * extent(inputs);
    let unit = |mut plane: Vec<f64>| {
        let norm = libm::sqrt(plane.iter().map(|w| w * w).sum::<f64>() * planes as f64);
        plane.iter_mut().for_each(|w| *w /= norm.max(f64::MIN_POSITIVE));
        plane
    };
    let bank: Vec<Vec<f64>> = (0..extent(outputs).min(orientations * phases))
        .map(|o| unit(plane(g, o / phases % orientations, o % phases, k)))
        .collect();
    let width = k.last().copied().unwrap_or(1);
    fill(ty, |o, _, at| {
        let bank = &bank[o % bank.len()];
        let x = at.last().copied().unwrap_or(0);
        let y = at.len().checked_sub(2).map_or(0, |d| at[d]);
        bank[y * width + x] as f32
    })
}

/// One function over the last two extents of a kernel, row-major; a kernel of rank 1 is a row, one of rank 0 a point.
fn plane(g: &Gabor, orientation: usize, phase: usize, k: &[usize]) -> Vec<f64> {
    use std::f64::consts::PI;
    let width = k.last().copied().unwrap_or(1);
    let height = k.len().checked_sub(2).map_or(1, |d| k[d]);
    let tau = PI * orientation as f64 / g.orientations.max(1) as f64;
    let phi = PI * phase as f64 / g.phases.max(1) as f64;
    let f = 2.0 * PI * f64::from(g.frequency);
    let bx = 0.5 / f64::from(g.sigma).powi(2);
    let by = bx * f64::from(g.aspect).powi(2);
    let (sin, cos) = (libm::sin(tau), libm::cos(tau));
    let mut out = Vec::with_capacity(width * height);
    for row in 0..height {
        for column in 0..width {
            let x = column as f64 - (width as f64 - 1.0) / 2.0;
            let y = row as f64 - (height as f64 - 1.0) / 2.0;
            let (xr, yr) = (x * cos + y * sin, -x * sin + y * cos);
            out.push(libm::exp(-bx * xr * xr - by * yr * yr) * libm::cos(f * xr + phi));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::case::weight;

    #[test]
    fn identity_copies_channels_at_the_centre() {
        let v = identity(&weight(&[("o", 2), ("i", 2), ("k", 3)]));
        assert_eq!(v, [0., 1., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.]);
        // Depthwise: each group has one input channel.
        assert_eq!(identity(&weight(&[("o", 2), ("i", 1), ("k", 1)])), [1.0, 1.0]);
    }

    #[test]
    fn bilinear_kernels_sum_to_the_square_of_their_factor() {
        let v = bilinear(&weight(&[("i", 1), ("o", 1), ("kh", 4), ("kw", 4)]));
        assert_eq!(v[..4], [0.0625, 0.1875, 0.1875, 0.0625]);
        assert_eq!(v.iter().sum::<f32>(), 4.0);
        assert_eq!(bilinear(&weight(&[("i", 1), ("o", 1), ("k", 3)])), [0.5, 1.0, 0.5]);
    }

    #[test]
    fn gabor_functions_turn_with_their_orientation() {
        let g = Gabor { orientations: 2, phases: 2, frequency: 0.15, sigma: 2.0, aspect: 1.0 };
        let v = gabor(&g, &weight(&[("o", 4), ("i", 3), ("kh", 5), ("kw", 5)]));
        let at = |o: usize, y: usize, x: usize| v[((o * 3) * 5 + y) * 5 + x];
        for (y, x) in [(0, 0), (1, 3), (4, 2)] {
            // A quarter turn maps x' to y', so the second orientation is the first one transposed.
            assert!((at(0, y, x) - at(2, x, y)).abs() < 1e-6, "even, transposed");
            assert!((at(0, y, x) - at(0, y, 4 - x)).abs() < 1e-6, "phase 0 is even");
            assert!((at(1, y, x) + at(1, y, 4 - x)).abs() < 1e-6, "phase pi/2 is odd");
        }
        assert!(
            (at(0, 2, 2) / at(0, 2, 4) - (1.0 / (libm::expf(-0.5) * libm::cosf(0.6 * std::f32::consts::PI))))
                .abs()
                < 1e-3
        );
        let squares: f32 = v[..75].iter().map(|w| w * w).sum();
        assert!((squares - 1.0).abs() < 1e-5);
    }
}
