//! Patches of photographs, for first layers that learn what natural images are made of.
//!
//! A patch is a window at a drawn place of a drawn picture. `contrast` subtracts a patch's mean and divides by its standard
//! deviation (plus a constant, so that flat patches do not become noise); `zca` does so, then takes all linear dependence between
//! pixels away: `W = E (D + e)^(-1/2) Eᵀ` of the covariance `E D Eᵀ` of all patches for training (Bell & Sejnowski 1997;
//! preprocessing as in Coates, Lee & Ng 2011).

use super::DataError;
use super::open::{Held, Opened, Places};
use super::set::{Field, Kind, Set, Store, with_room};
use super::spec::Source;
use crate::formats::image;
use crate::support::random::Random;

/// What is done to patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiten {
    /// Nothing: brightness from 0 to 1.
    Nothing,
    /// Each patch to mean 0 and deviation 1.
    Contrast,
    /// As [`Self::Contrast`], then decorrelated.
    Zca,
}

/// Added to the variance of a patch, whose pixels are 0..1: 10 of 255 squared, as in Coates, Lee & Ng.
const CONTRAST_EPS: f64 = 10.0 / (255.0 * 255.0);
/// Added to each eigenvalue of the covariance of patches of unit variance.
const ZCA_EPS: f64 = 0.1;
/// Elements of a patch that is decorrelated, at most: the eigenvectors take cubic time.
const ZCA_MAX: usize = 576;

/// The set of [`Source::Patches`].
pub(super) fn open(source: &Source, places: &Places) -> Result<Opened, DataError> {
    let Source::Patches { files, count, size, whiten, seed, test } = source else {
        unreachable!("its own source")
    };
    let (h, w) = *size;
    if files.is_empty() || h == 0 || w == 0 {
        return Err(DataError::Setting("`patches` needs pictures and a size".into()));
    }
    let mut pictures = Vec::new();
    let mut channels = None;
    for file in files {
        let path = places.path(file);
        let reader = std::fs::File::open(&path).map(std::io::BufReader::new);
        let reader = reader.map_err(|e| DataError::file(&path, e))?;
        let picture = image::read_any(reader, channels, 1 << 26).map_err(|e| DataError::file(&path, e))?;
        if picture.height < h || picture.width < w {
            let what = format!("{} x {} has no patch of {h} x {w}", picture.height, picture.width);
            return Err(DataError::unfit(path, what));
        }
        channels = channels.or(Some(picture.channels));
        pictures.push(picture);
    }
    let channels = channels.unwrap_or(1);
    let len = channels.saturating_mul(h).saturating_mul(w);
    if *whiten == Whiten::Zca && len > ZCA_MAX {
        let message = format!("`whiten: zca` takes patches of at most {ZCA_MAX} values, these have {len}");
        return Err(DataError::Setting(message));
    }
    let random = Random::new(*seed, "patches");
    let mut data: Vec<f32> = with_room(count.saturating_mul(len), "patches")?;
    for i in 0..*count {
        let draw = random.stream(i as u64);
        let picture = &pictures[draw.below(0, pictures.len() as u64) as usize];
        let y = draw.below(1, (picture.height - h + 1) as u64) as usize;
        let x = draw.below(2, (picture.width - w + 1) as u64) as usize;
        data.extend(super::pictures::cut(picture, (y, x), (h, w)).data);
    }
    if *whiten != Whiten::Nothing {
        data.chunks_exact_mut(len).for_each(contrast);
    }
    if *whiten == Whiten::Zca {
        decorrelate(&mut data, len);
    }
    let image = Field::new("image", Kind::Image, &["c", "h", "w"], vec![channels, h, w], Store::Floats(data));
    let test = if *test > 0.0 { Held::Share(*test) } else { Held::Nothing };
    Ok(Opened { set: Set { len: *count, fields: vec![image], classes: Vec::new() }, test })
}

fn contrast(patch: &mut [f32]) {
    let n = patch.len() as f64;
    let mean = patch.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let var = patch.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let factor = 1.0 / (var + CONTRAST_EPS).sqrt();
    for x in patch {
        *x = ((f64::from(*x) - mean) * factor) as f32;
    }
}

/// Multiplies each sample of `len` values, less the mean of all, by the whitening matrix.
fn decorrelate(data: &mut [f32], len: usize) {
    let samples = (data.len() / len) as f64;
    let mut mean = vec![0.0f64; len];
    for sample in data.chunks_exact(len) {
        for (m, x) in mean.iter_mut().zip(sample) {
            *m += f64::from(*x) / samples;
        }
    }
    let mut covariance = vec![0.0f64; len * len];
    let mut centred = vec![0.0f64; len];
    for sample in data.chunks_exact(len) {
        for i in 0..len {
            centred[i] = f64::from(sample[i]) - mean[i];
        }
        for i in 0..len {
            let row = &mut covariance[i * len..(i + 1) * len];
            for j in 0..=i {
                row[j] += centred[i] * centred[j] / samples;
            }
        }
    }
    for i in 0..len {
        for j in 0..i {
            covariance[j * len + i] = covariance[i * len + j];
        }
    }
    let vectors = eigen(&mut covariance, len);
    // W = Σ_k v_k v_kᵀ / sqrt(d_k + e)
    let mut matrix = vec![0.0f64; len * len];
    for k in 0..len {
        let factor = 1.0 / (covariance[k * len + k].max(0.0) + ZCA_EPS).sqrt();
        for i in 0..len {
            let left = vectors[i * len + k] * factor;
            for j in 0..len {
                matrix[i * len + j] += left * vectors[j * len + k];
            }
        }
    }
    for sample in data.chunks_exact_mut(len) {
        for i in 0..len {
            centred[i] = f64::from(sample[i]) - mean[i];
        }
        for (i, x) in sample.iter_mut().enumerate() {
            *x = matrix[i * len..(i + 1) * len].iter().zip(&centred).map(|(m, c)| m * c).sum::<f64>() as f32;
        }
    }
}

/// Jacobi's method by rows (Golub & Van Loan, section 8.5): `a` becomes diagonal, the columns of the result are the
/// eigenvectors.
fn eigen(a: &mut [f64], n: usize) -> Vec<f64> {
    let mut v = vec![0.0; n * n];
    for i in 0..n {
        v[i * n + i] = 1.0;
    }
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..30 {
        let off: f64 =
            (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * n + j] * a[i * n + j]).sum();
        if off <= total * 1e-22 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let apq = a[p * n + q];
                if apq == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                    let (x, y) = (v[k * n + p], v[k * n + q]);
                    v[k * n + p] = c * x - s * y;
                    v[k * n + q] = s * x + c * y;
                }
            }
        }
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_diagonalise() {
        let n = 6;
        let random = Random::new(3, "eigen");
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let x = random.normal((i * n + j) as u64);
                (a[i * n + j], a[j * n + i]) = (x, x);
            }
        }
        let whole = a.clone();
        let v = eigen(&mut a, n);
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (0..n).map(|k| v[i * n + k] * a[k * n + k] * v[j * n + k]).sum();
                assert!((product - whole[i * n + j]).abs() < 1e-10, "({i}, {j})");
                let unit: f64 = (0..n).map(|k| v[k * n + i] * v[k * n + j]).sum();
                assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn whitened_patches_have_no_linear_dependence() {
        // Neighbours that share a common part.
        let (len, count) = (5, 4000);
        let random = Random::new(1, "patches");
        let x = |i: usize| random.normal(i as u64) as f32;
        let mut data: Vec<f32> =
            (0..count * len).map(|i| 2.0 * x(i / len * 7) + x(i + 100_000) + 3.0).collect();
        decorrelate(&mut data, len);
        for i in 0..len {
            for j in 0..=i {
                let moment: f64 =
                    data.chunks_exact(len).map(|s| f64::from(s[i] * s[j])).sum::<f64>() / count as f64;
                // An eigenvalue d becomes d / (d + e): 0.91 for 1, 0.995 for 21.
                let expected = if i == j { 0.926 } else { 0.017 };
                assert!((moment - expected).abs() < 0.01, "({i}, {j}): {moment}");
            }
        }
    }
}
