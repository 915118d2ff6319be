//! Pools as the end of the operation whose result they take: where windows do not overlap, each result is a member of one window, and
//! an operation that has all members of a window in registers stores what the pool makes of them instead (pooling with
//! downsampling, section 9.3). Pools across channels stay apart: vectors run over channels, and members would
//! lie side by side in one.
//!
//! In: what a pool is ([`Gathering`], from its role), and the operation in front of it. Out: whether that one hands its results over by
//! windows ([`hands`]), and whether it should ([`pays`]); its loops then store through [`LowerCx::store_where`](super::lower::LowerCx::store_where), all members of a
//! window in one list of statements.

use super::Op;
use super::pool::{Over, Pool, PoolKind};
use super::window::Padding;
use crate::loops::{Affine, BinOp, Expr, Reg};
use crate::tensor::ty::TensorTy;

/// A pool without overlap, padding or gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// The greatest, or else the mean.
    pub max: bool,
    /// Elements of a window along each dimension `n, c, grid…`; 1 for those that are not said.
    pub members: Vec<usize>,
}

/// Most accumulators that a convolution runs side by side for one window.
const MEMBERS_MAX: usize = 16;

/// With fewer maps, vectors run along rows, where members of a window lie side by side.
const CHANNELS_MIN: usize = 4;

/// With fewer vector registers than these, accumulators for all members of a window leave too few to share what is loaded.
const REGISTERS_MIN: usize = 24;

impl Gathering {
    /// Elements of a window along dimension `d`.
    pub fn along(&self, d: usize) -> usize {
        self.members.get(d).copied().unwrap_or(1)
    }

    /// Elements of a window.
    pub fn len(&self) -> usize {
        self.members.iter().fold(1, |all, m| all.saturating_mul(*m))
    }

    /// Whether a window is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether windows divide `from` into `to`, and nothing is left over.
    pub fn fits(&self, from: &TensorTy, to: &TensorTy) -> bool {
        let extents = from.dims().iter().zip(to.dims()).enumerate();
        from.names() == to.names()
            && self.members.len() <= from.dims().len()
            && extents.into_iter().all(|(d, (a, b))| b.checked_mul(self.along(d)) == Some(*a))
    }

    /// The window that element `at` belongs to; `None` where that is not known when code is made.
    pub fn window(&self, at: &[Affine]) -> Option<Vec<Affine>> {
        let divided = |(d, a): (usize, &Affine)| {
            let by = self.along(d) as i64;
            let exact = a.terms.iter().all(|(_, c)| c % by == 0);
            let terms = a.terms.iter().map(|(v, c)| (*v, c / by)).collect();
            exact.then(|| Affine { terms, k: a.k.div_euclid(by) })
        };
        at.iter().enumerate().map(divided).collect()
    }

    /// What the pool makes of the members of a window, in the order in which it would read them.
    pub fn of(&self, members: &[Reg]) -> Expr {
        let all = members.iter().map(|r| Expr::Reg(*r));
        if self.max {
            let greatest = all.reduce(|a, b| Expr::bin(BinOp::Max, a, b));
            return greatest.unwrap_or(Expr::Const(f32::NEG_INFINITY));
        }
        all.fold(Expr::Const(0.0), |a, b| a + b) / Expr::Const(members.len() as f32)
    }
}

/// A pool as the end of the operation before it, where windows neither overlap nor meet padding.
pub(super) fn of(pool: &Pool) -> Option<Gathering> {
    let max = match pool.kind {
        PoolKind::Max => true,
        PoolKind::Avg => false,
        PoolKind::Lp(_) => return None,
    };
    let members = match &pool.over {
        Over::Window(spec) => {
            let unpadded = match &spec.pad {
                Padding::Valid => true,
                Padding::Sides(sides) => sides.iter().all(|s| *s == (0, 0)),
                Padding::Same | Padding::SameLo | Padding::Full => false,
            };
            let apart = spec.kernel == spec.stride && spec.dilation.iter().all(|d| *d == 1);
            if !unpadded || !apart {
                return None;
            }
            [&[1, 1], &spec.kernel[..]].concat()
        }
        Over::Channels { .. } | Over::Global | Over::Grid(_) => return None,
    };
    Some(Gathering { max, members })
}

/// Whether `op` hands its results of type `out` over by the windows of `gathering`.
pub fn hands(op: &Op, out: &TensorTy, gathering: &Gathering) -> bool {
    if let Op::Winograd(op) = op {
        return op.hands([gathering.along(2), gathering.along(3)]);
    }
    let grid = || (2..out.dims().len()).any(|d| gathering.along(d) > 1);
    if let Op::Conv(op) = op {
        let lanes = out.c() >= CHANNELS_MIN;
        return op.geometry.is_plain() && lanes && gathering.len() <= MEMBERS_MAX && grid();
    }
    false
}

/// Whether that is faster than a pool of its own, where code has so many vector registers.
pub fn pays(op: &Op, registers: usize) -> bool {
    !matches!(op, Op::Conv(_)) || registers >= REGISTERS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::Var;

    #[test]
    fn windows_divide_what_they_pool_and_know_their_members() {
        let ty = |c, h, w| TensorTy::new([("n", 2), ("c", c), ("h", h), ("w", w)]).expect("small");
        let pool = Gathering { max: true, members: vec![1, 1, 2, 2] };
        assert!(pool.fits(&ty(3, 4, 6), &ty(3, 2, 3)));
        assert!(!pool.fits(&ty(3, 5, 6), &ty(3, 2, 3)), "a row is left over");
        let (a, b) = (Affine::from(Var(0)), Affine::from(Var(1)));
        let at = [Affine::k(1), b.clone(), (&a * 4).offset(3), (&b * 2).offset(0)];
        assert_eq!(pool.window(&at), Some(vec![Affine::k(1), b.clone(), (&a * 2).offset(1), b]));
        assert_eq!(pool.window(&[Affine::k(0), Affine::k(0), a.clone(), a]), None);
    }
}
