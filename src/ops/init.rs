//! First values of weights: the `init:` argument becomes an [`Init`], and an [`Init`] becomes numbers.
//!
//! Numbers depend on the seed, the weight's path and the position in the weight, never on other weights.

mod parse;
mod patterns;

pub use parse::parse;

use crate::support::random::Random;
use crate::tensor::ty::TensorTy;

/// Words that start an `init:` argument.
pub const WORDS: &[&str] = &[
    "he", "glorot", "lecun", "normal", "uniform", "zeros", "ones", "constant", "identity", "bilinear",
    "gabor",
];

/// How a weight starts. Fans are those of the operation that made it.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// Normal with variance `2 / fan_in` (He et al. 2015).
    He {
        /// Inputs that feed one output.
        fan_in: usize,
    },
    /// Uniform with variance `2 / (fan_in + fan_out)` (Glorot & Bengio 2010).
    Glorot {
        /// Inputs that feed one output.
        fan_in: usize,
        /// Outputs that one input feeds.
        fan_out: usize,
    },
    /// Normal with variance `1 / fan_in` (LeCun et al. 1998).
    Lecun {
        /// Inputs that feed one output.
        fan_in: usize,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        std: f32,
    },
    /// Uniform in `lo..hi`.
    Uniform {
        /// Least value.
        lo: f32,
        /// Greatest value, excluded.
        hi: f32,
    },
    /// One value everywhere.
    Constant(f32),
    /// Output channel `o` copies input channel `o` at the centre tap.
    Identity,
    /// The bilinear interpolation kernel, for upsampling with `unconv`.
    Bilinear,
    /// Gabor functions (chapter 9, equation 9.16) over the last two dimensions.
    Gabor(Gabor),
    /// Given values, row-major.
    Values(std::sync::Arc<Vec<f32>>),
    /// Given values that lie elsewhere until they are asked for: in the buffer of a model's file.
    Stored(Stored),
}

/// See [`Init::Stored`]. Cheap to clone; two are equal if they are clones of one.
#[derive(Clone)]
pub struct Stored {
    len: usize,
    read: std::sync::Arc<dyn Fn() -> Vec<f32> + Send + Sync>,
}

impl Stored {
    /// `len` values that `read` gives.
    pub fn new(len: usize, read: impl Fn() -> Vec<f32> + Send + Sync + 'static) -> Self {
        Self { len, read: std::sync::Arc::new(read) }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values, row-major.
    pub fn values(&self) -> Vec<f32> {
        (self.read)()
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stored({})", self.len)
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&self.read, &other.read)
    }
}

/// A bank of Gabor functions: orientations in turn, each with its phases in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gabor {
    /// Number of orientations over half a turn.
    pub orientations: usize,
    /// Number of phases over half a period: 2 gives 0 and pi/2, an even and an odd function.
    pub phases: usize,
    /// Cycles per pixel.
    pub frequency: f32,
    /// Standard deviation of the envelope along the wave in pixels.
    pub sigma: f32,
    /// Envelope's extent along the wave over that across it.
    pub aspect: f32,
}

/// The values of the weight at `path`, row-major in the order of `ty`.
///
/// `ty` has dimensions called `o` and `i` (else its first two) and the kernel's after both; the patterns need them.
pub fn values(init: &Init, ty: &TensorTy, path: &str, seed: u64) -> Vec<f32> {
    let random = Random::new(seed, path);
    let len = ty.len();
    let normal = |mean: f32, std: f32| -> Vec<f32> {
        (0..len as u64).map(|i| (f64::from(mean) + f64::from(std) * random.normal(i)) as f32).collect()
    };
    let uniform =
        |lo: f32, hi: f32| -> Vec<f32> { (0..len as u64).map(|i| random.uniform(i, lo, hi)).collect() };
    let root = |x: f64| libm::sqrt(x) as f32;
    match init {
        Init::He { fan_in } => normal(0.0, root(2.0 / (*fan_in).max(1) as f64)),
        Init::Lecun { fan_in } => normal(0.0, root(1.0 / (*fan_in).max(1) as f64)),
        Init::Glorot { fan_in, fan_out } => {
            // A uniform distribution over -a..a has variance a^2 / 3.
            let a = root(6.0 / fan_in.saturating_add(*fan_out).max(1) as f64);
            uniform(-a, a)
        }
        Init::Normal { mean, std } => normal(*mean, *std),
        Init::Uniform { lo, hi } => uniform(*lo, *hi),
        Init::Constant(x) => vec![*x; len],
        Init::Identity => patterns::identity(ty),
        Init::Bilinear => patterns::bilinear(ty),
        Init::Gabor(gabor) => patterns::gabor(gabor, ty),
        Init::Values(given) => given.to_vec(),
        Init::Stored(stored) => stored.values(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::case::weight;

    fn moments(v: &[f32]) -> (f64, f64) {
        let n = v.len() as f64;
        let mean = v.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        (mean, v.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn random_starts_have_their_variance() {
        let ty = weight(&[("o", 64), ("i", 32), ("kh", 3), ("kw", 3)]);
        for (init, variance) in [
            (Init::He { fan_in: 288 }, 2.0 / 288.0),
            (Init::Lecun { fan_in: 288 }, 1.0 / 288.0),
            (Init::Glorot { fan_in: 288, fan_out: 576 }, 2.0 / 864.0),
            (Init::Normal { mean: 0.5, std: 0.1 }, 0.01),
            (Init::Uniform { lo: -1.0, hi: 2.0 }, 0.75),
        ] {
            let v = values(&init, &ty, "conv_1.weight", 1);
            let (mean, got) = moments(&v);
            assert!((got / variance - 1.0).abs() < 0.05, "{init:?}: variance {got}, not {variance}");
            let centre = if matches!(init, Init::Normal { .. } | Init::Uniform { .. }) { 0.5 } else { 0.0 };
            assert!((mean - centre).abs() < 0.05 * variance.sqrt(), "{init:?}: mean {mean}");
        }
    }

    #[test]
    fn a_weight_depends_on_its_own_path_and_seed_only() {
        let ty = weight(&[("o", 2), ("i", 3)]);
        let he = Init::He { fan_in: 3 };
        let a = values(&he, &ty, "a.weight", 1);
        assert_eq!(a, values(&he, &ty, "a.weight", 1));
        assert_ne!(a, values(&he, &ty, "b.weight", 1));
        assert_ne!(a, values(&he, &ty, "a.weight", 2));
    }
}
