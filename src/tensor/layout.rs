//! How a tensor lies in memory: the order of its dimensions and a zero halo around its grid.
//!
//! `element(idx) = base + Σ idx[d] * stride[d]`; an index may run into the halo, from `-lo` to `extent + hi - 1`.
//! The innermost dimension may be cut into blocks, which then go outermost: order `i, o` in blocks of 8 lies as `o/8, i, o%8`.
//! Everything that lowers an operation addresses logical dimensions and never sees strides nor blocks, so that a layout can
//! change without any operation's knowledge.

use super::ty::TensorTy;

/// How many neighbours of the innermost dimension lie together where it is cut: a vector of 512 bits, or several narrower
/// ones side by side, so that weights come as few streams and the pixels of a tile lie in different sets of a cache.
pub const BLOCK: usize = 16;

/// An order of dimensions, a halo, blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Dimensions, outermost first; a permutation of `0..rank`.
    pub order: Vec<usize>,
    /// Zero elements kept before and after each dimension (indexed like the type's dimensions).
    pub halo: Vec<(usize, usize)>,
    /// The size of the blocks into which the innermost dimension is cut; it divides the extent, and that dimension has no
    /// halo. `None`: not cut.
    pub block: Option<usize>,
}

impl Layout {
    /// Row-major in the order of the type, no halo.
    pub fn canonical(rank: usize) -> Self {
        Self::ordered((0..rank).collect())
    }

    /// An activation with its channels innermost: `n, grid…, c`.
    pub fn channels_last(rank: usize) -> Self {
        let mut order: Vec<usize> = (0..rank).filter(|d| *d != 1).collect();
        order.push(1);
        Self::ordered(order)
    }

    /// Row-major in the given order of dimensions, no halo.
    pub fn ordered(order: Vec<usize>) -> Self {
        let halo = vec![(0, 0); order.len()];
        Self { order, halo, block: None }
    }

    /// [`Self::ordered`], in blocks if `ty` can be cut so: for weights, which are read a block at a time. Blocks have [`BLOCK`]
    /// elements, or where that does not divide a long row, as many as nearly fill up to eight times as much.
    pub fn packed(order: Vec<usize>, ty: &TensorTy) -> Self {
        let extent = order.last().and_then(|d| ty.dims().get(*d)).copied().unwrap_or(1);
        let block = if extent.is_multiple_of(BLOCK) {
            (extent > BLOCK).then_some(BLOCK)
        } else {
            let full = |size: &usize| size.next_multiple_of(BLOCK) * 32 <= size * 33;
            let sizes = (4 * BLOCK..=8 * BLOCK).rev();
            sizes.filter(|s| *s < extent && extent.is_multiple_of(*s)).find(full)
        };
        Self { block, ..Self::ordered(order) }
    }

    /// Whether any dimension has a halo.
    pub fn has_halo(&self) -> bool {
        self.halo.iter().any(|h| *h != (0, 0))
    }

    /// Whether the order is that of the type and there is neither halo nor block.
    pub fn is_canonical(&self) -> bool {
        !self.has_halo() && self.block.is_none() && self.order.iter().enumerate().all(|(i, d)| i == *d)
    }

    /// Strides of each dimension of `ty` in elements, the offset of index 0…0, and the length of the buffer.
    pub fn place(&self, ty: &TensorTy) -> Placed {
        let mut strides = vec![0i64; self.order.len()];
        let mut len = 1usize;
        let mut base = 0i64;
        let cut = self.block.zip(self.order.last()).filter(|(size, d)| ty.dims()[**d] > *size);
        for d in self.order.iter().rev() {
            strides[*d] = len as i64;
            base += (self.halo[*d].0 * len) as i64;
            len *= match cut {
                Some((size, inner)) if inner == d => size,
                _ => ty.dims()[*d] + self.halo[*d].0 + self.halo[*d].1,
            };
        }
        let block = cut.map(|(size, d)| Block { dim: *d, size, stride: len as i64 });
        if let Some(Block { dim, size, stride: _ }) = block {
            len *= ty.dims()[dim] / size;
        }
        Placed { steps: strides, block, base, len }
    }
}

/// A layout applied to a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placed {
    /// Elements between neighbours, per dimension of the type; within a block where one is cut.
    pub steps: Vec<i64>,
    /// The dimension that is cut into blocks.
    pub block: Option<Block>,
    /// The element at index 0…0.
    pub base: i64,
    /// Elements in the buffer, halo included.
    pub len: usize,
}

/// A dimension cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The dimension.
    pub dim: usize,
    /// Elements of it in a block.
    pub size: usize,
    /// Elements of the buffer between a block and the next.
    pub stride: i64,
}

impl Placed {
    /// The position of the element at an index of the type.
    pub fn element(&self, at: &[usize]) -> i64 {
        let mut sum = self.base;
        for (d, (i, step)) in at.iter().zip(&self.steps).enumerate() {
            sum += match self.block {
                Some(b) if b.dim == d => (i / b.size) as i64 * b.stride + (i % b.size) as i64 * step,
                _ => *i as i64 * step,
            };
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_outermost_and_every_element_has_its_place() {
        let ty = TensorTy::new([("o", 48), ("i", 3)]).expect("small");
        let placed = Layout::packed(vec![1, 0], &ty).place(&ty);
        assert_eq!(placed.element(&[0, 1]), 16);
        assert_eq!(placed.element(&[15, 2]), 47);
        assert_eq!(placed.element(&[16, 0]), 48);
        let mut all: Vec<i64> =
            (0..48).flat_map(|o| (0..3).map(move |i| (o, i))).map(|(o, i)| placed.element(&[o, i])).collect();
        all.sort_unstable();
        assert_eq!(all, (0..placed.len as i64).collect::<Vec<_>>());
        let odd = TensorTy::new([("o", 10), ("i", 3)]).expect("small");
        assert_eq!(Layout::packed(vec![1, 0], &odd), Layout::ordered(vec![1, 0]));
    }
}
