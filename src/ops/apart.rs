//! Pools across neighbouring channels (maxout, Goodfellow et al. 2013) said with the members of a window apart: where `k` channels make
//! one of `q`, map `w k + j` of the layer before becomes map `j q + w`. Windows then lie side by side, so that vectors run over them, and
//! the layer, whose weight is put in that order when it is loaded, can have all members of a window in registers
//! ([`super::gather`]).

use std::sync::Arc;

use super::Op;
use super::arrange::{Arrange, Pick};
use super::pool::{Over, Pool, PoolKind};
use crate::tensor::layout::BLOCK;
use crate::tensor::ty::TensorTy;

/// A layer and its pool said anew.
pub struct Said {
    /// Which operands of the layer are put in another order, and by what.
    pub orders: Vec<(usize, Arrange)>,
    /// The pool.
    pub pool: Pool,
}

/// `pool` on the result of `host`, an operation on `operands`. `None` where windows overlap, leave channels out or are no whole blocks, or
/// the order of the channels of `host` is not only that of its weights.
pub fn of(host: &Op, operands: &[&TensorTy], out: &TensorTy, pool: &Op) -> Option<Said> {
    let Op::Pool(pool) = pool else { return None };
    let Over::Channels { size, stride, dilation: 1 } = pool.over else { return None };
    let ordered = matches!(pool.kind, PoolKind::Max | PoolKind::Avg);
    // Channels and weights lie in blocks, which other windows would not divide.
    if !ordered || size < 2 || stride != size || !out.c().is_multiple_of(size.saturating_mul(BLOCK)) {
        return None;
    }
    let Op::Conv(conv) = host else { return None };
    if !conv.geometry.is_plain() {
        return None;
    }
    let windows = out.c() / size;
    let table: Arc<Vec<usize>> = Arc::new((0..out.c()).map(|o| o % windows * size + o / windows).collect());
    // Output channels are the first dimension of the weight, and the only one of the bias.
    let order = |(operand, ty): (usize, &&TensorTy)| {
        let pick = |d| if d == 0 { Pick::Table { dim: d, table: table.clone() } } else { Pick::same(d) };
        let to = ty.names().iter().cloned().zip(ty.dims().iter().copied()).collect();
        (operand, Arrange { to, from: (0..ty.dims().len()).map(pick).collect() })
    };
    let orders = operands.iter().enumerate().skip(1).map(order).collect();
    let over = Over::Channels { size, stride: 1, dilation: windows };
    Some(Said { orders, pool: Pool { over, ..pool.clone() } })
}
