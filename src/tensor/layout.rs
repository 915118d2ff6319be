//! How a tensor lies in memory: the order of its dimensions and a zero halo around its grid.
//!
//! `element(idx) = base + Σ idx[d] * stride[d]`; an index may run into the halo, from `-lo` to `extent + hi - 1`.
//! Everything that lowers an operation addresses logical dimensions and never sees strides, so that a layout can change
//! (and, later, split a dimension into blocks) without any operation's knowledge.

use super::ty::TensorTy;

/// An order of dimensions and a halo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Dimensions, outermost first; a permutation of `0..rank`.
    pub order: Vec<usize>,
    /// Zero elements kept before and after each dimension (indexed like the type's dimensions).
    pub halo: Vec<(usize, usize)>,
}

impl Layout {
    /// Row-major in the order of the type, no halo.
    pub fn canonical(rank: usize) -> Self {
        Self { order: (0..rank).collect(), halo: vec![(0, 0); rank] }
    }

    /// An activation with its channels innermost: `n, grid…, c`.
    pub fn channels_last(rank: usize) -> Self {
        let mut order: Vec<usize> = (0..rank).filter(|d| *d != 1).collect();
        order.push(1);
        Self { order, halo: vec![(0, 0); rank] }
    }

    /// Row-major in the given order of dimensions, no halo.
    pub fn ordered(order: Vec<usize>) -> Self {
        let halo = vec![(0, 0); order.len()];
        Self { order, halo }
    }

    /// Whether any dimension has a halo.
    pub fn has_halo(&self) -> bool {
        self.halo.iter().any(|h| *h != (0, 0))
    }

    /// Whether the order is that of the type and there is no halo.
    pub fn is_canonical(&self) -> bool {
        !self.has_halo() && self.order.iter().enumerate().all(|(i, d)| i == *d)
    }

    /// Strides of each dimension of `ty` in elements, the offset of index 0…0, and the length of the buffer.
    pub fn place(&self, ty: &TensorTy) -> Placed {
        let mut strides = vec![0i64; self.order.len()];
        let mut len = 1usize;
        let mut base = 0i64;
        for d in self.order.iter().rev() {
            strides[*d] = len as i64;
            base += (self.halo[*d].0 * len) as i64;
            len *= ty.dims()[*d] + self.halo[*d].0 + self.halo[*d].1;
        }
        Placed { strides, base, len }
    }
}

/// A layout applied to a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placed {
    /// Elements between neighbours, per dimension of the type.
    pub strides: Vec<i64>,
    /// The element at index 0…0.
    pub base: i64,
    /// Elements in the buffer, halo included.
    pub len: usize,
}
