//! Mean and standard deviation per channel: computed once on the training part, kept for validation, test and use.

use super::open::Part;
use super::set::{Field, Store};

/// `(x - mean) / std`, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalise {
    /// A mean a channel.
    pub mean: Vec<f32>,
    /// A standard deviation a channel, none 0.
    pub std: Vec<f32>,
}

impl Normalise {
    /// Of all elements of `field` over `part`, channel after channel; population statistics, in `f64`. A channel that never
    /// changes gets the deviation 1.
    pub(super) fn of(part: &Part, field: &Field, channels: usize) -> Self {
        let plane = field.len() / channels.max(1);
        let mut sums = vec![(0.0f64, 0.0f64); channels];
        let mut sample = vec![0.0f32; field.len()];
        // Bytes are counted exactly, so that the order of samples does not matter.
        let mut counts = vec![[0u64; 256]; channels];
        for i in part.samples.iter() {
            match &*field.store {
                Store::Bytes(bytes, _) => {
                    let at = *i as usize * field.len();
                    for (c, counts) in counts.iter_mut().enumerate() {
                        for b in &bytes[at + c * plane..at + (c + 1) * plane] {
                            counts[usize::from(*b)] += 1;
                        }
                    }
                }
                Store::Floats(_) => {
                    field.copy(*i as usize, &mut sample);
                    for (c, sums) in sums.iter_mut().enumerate() {
                        for x in &sample[c * plane..(c + 1) * plane] {
                            sums.0 += f64::from(*x);
                            sums.1 += f64::from(*x) * f64::from(*x);
                        }
                    }
                }
            }
        }
        if let Store::Bytes(_, scale) = &*field.store {
            for (sums, counts) in sums.iter_mut().zip(&counts) {
                let total = |power: i32| -> f64 {
                    counts
                        .iter()
                        .enumerate()
                        .map(|(v, n)| *n as f64 * (v as f64 * f64::from(*scale)).powi(power))
                        .sum()
                };
                *sums = (total(1), total(2));
            }
        }
        let n = (part.samples.len() * plane).max(1) as f64;
        let moments = sums.iter().map(|(s, q)| {
            let mean = s / n;
            let std = (q / n - mean * mean).max(0.0).sqrt();
            (mean as f32, if std > 1e-12 { std as f32 } else { 1.0 })
        });
        let (mean, std) = moments.unzip();
        Self { mean, std }
    }

    /// Applies it to planes.
    pub(super) fn apply(&self, planes: &mut [f32], channels: usize) {
        let plane = planes.len() / channels.max(1);
        for (c, values) in planes.chunks_mut(plane.max(1)).enumerate() {
            // One value for all channels may be given.
            let (mean, std) = (self.mean[c.min(self.mean.len() - 1)], self.std[c.min(self.std.len() - 1)]);
            let factor = 1.0 / std;
            for x in values {
                *x = (*x - mean) * factor;
            }
        }
    }
}
