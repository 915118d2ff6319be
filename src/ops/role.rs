//! What rewriting passes may know of an operation without knowing its name.

use super::Op;
use super::bands::BandSums;
use super::gather::Gathering;
use super::squares::Squares;
use crate::tensor::ty::TensorTy;

/// A property that a pass can use.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Nothing to be used.
    Plain,
    /// The result is input 0 in another layout: what passes insert between layouts, not a layer.
    Layout,
    /// Outside training the result is input 0, unchanged.
    Identity,
    /// Per-channel normalisation by statistics; inputs `x, weight, bias, mean, var`, all but the first `[c: C]`:
    /// `y = (x - mean) / sqrt(var + eps) * weight + bias`.
    Norm {
        /// What keeps the root from 0.
        eps: f32,
    },
    /// The gradient of such a normalisation by `x`, where mean and variance are those of `x` itself; inputs `x, dy, weight, mean, var,
    /// Σ dy, Σ dy u` with `u = (x - mean) / sqrt(var + eps)`:
    /// `dx = weight / sqrt(var + eps) * (dy - Σ dy / count - u Σ dy u / count)`.
    NormGrad {
        /// What keeps the root from 0.
        eps: f32,
        /// Elements of a channel.
        count: usize,
    },
    /// Linear in a weight, plus a bias: multiplying the part of the weight that feeds output channel `c` by `a` (and the
    /// bias of `c` as well) multiplies output channel `c` by `a`.
    Linear(Box<Linear>),
    /// A pool whose windows neither overlap nor leave anything out, if extents allow: the operation before it may do it in passing.
    Gathers(Gathering),
    /// Sums of the first operand which what computes it may make in passing, if it computes it in the same parts.
    Sums(InPassing),
}

/// See [`Role::Sums`].
#[derive(Clone, Debug, PartialEq)]
pub enum InPassing {
    /// Over bands of an activation, when all followers have been applied.
    Bands(BandSums),
    /// Of squares of a weight's gradient, before any follower.
    Squares(Squares),
}

/// See [`Role::Linear`].
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Which input is the weight.
    pub weight: usize,
    /// Which output channel an element of the weight feeds.
    pub channel: WeightChannel,
    /// Which input is the bias, one number per output channel, if the operation has one.
    pub bias: Option<usize>,
    /// The same operation with a bias of one number per output channel, which is its last input.
    pub biased: Op,
    /// The type of that bias.
    pub bias_ty: TensorTy,
}

/// The output channel of a weight element: `index[dim] + (index[outer] / div) * per`; with `outer = None` only the first
/// part. The second part is for grouped transposed convolutions, whose weights are `[i, o / groups, k…]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightChannel {
    /// The dimension that counts output channels (within a group).
    pub dim: usize,
    /// The dimension that tells the group, how many of it make one group, and output channels per group.
    pub outer: Option<(usize, usize, usize)>,
}

impl WeightChannel {
    /// Output channels along one dimension.
    pub fn dim(dim: usize) -> Self {
        Self { dim, outer: None }
    }
}
