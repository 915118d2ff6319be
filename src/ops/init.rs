//! First values of weights.

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
}

/// A bank of Gabor functions: orientations in turn, each with phases 0 and pi/2 in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gabor {
    /// Number of orientations over half a turn.
    pub orientations: usize,
    /// Cycles per pixel.
    pub frequency: f32,
    /// Standard deviation of the envelope in pixels.
    pub sigma: f32,
    /// Envelope's extent along the wave over that across it.
    pub aspect: f32,
}
