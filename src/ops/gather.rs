//! Pools as the end of the operation whose result they take: where windows do not overlap, each result is a member of one window, and
//! an operation that has all members of a window in registers stores what the pool makes of them instead (pooling with
//! downsampling, section 9.3). Of pools across channels that is those whose members lie a whole vector or more apart
//! ([`super::apart`]): vectors run over channels.
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
    /// From one channel of a window to the next, if it has several: as many as there are windows.
    pub apart: usize,
}

/// Most accumulators that a convolution runs side by side for one window; and for one of channels, whose accumulators share what is
/// loaded of the input.
const MEMBERS_MAX: usize = 16;
const CHANNELS_MAX: usize = 8;

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
            && (self.along(1) == 1 || self.apart == to.c())
    }

    /// Member `m` along dimension `d` of window `w`.
    pub fn member(&self, d: usize, w: &Affine, m: usize) -> Affine {
        if d == 1 && self.along(1) > 1 {
            return w.offset((m * self.apart) as i64);
        }
        (w * self.along(d) as i64).offset(m as i64)
    }

    /// The window that element `at` belongs to; `None` where that is not known when code is made. Of a channel the constant part
    /// says which member it is.
    pub fn window(&self, at: &[Affine]) -> Option<Vec<Affine>> {
        let divided = |(d, a): (usize, &Affine)| {
            if d == 1 && self.along(1) > 1 {
                return Some(Affine {
                    terms: a.terms.clone(),
                    k: a.k.checked_rem_euclid(self.apart as i64)?,
                });
            }
            let by = self.along(d) as i64;
            let exact = a.terms.iter().all(|(_, c)| c % by == 0);
            let terms = a.terms.iter().map(|(v, c)| (*v, c / by)).collect();
            exact.then(|| Affine { terms, k: a.k.div_euclid(by) })
        };
        at.iter().enumerate().map(divided).collect()
    }

    /// What the pool makes of the first member of a window.
    pub fn first(&self, member: Expr) -> Expr {
        if self.max { member } else { Expr::Const(0.0) + member }
    }

    /// What it makes of one more, in the order in which it would read them.
    pub fn next(&self, so_far: Reg, member: Expr) -> Expr {
        if self.max { Expr::bin(BinOp::Max, so_far.into(), member) } else { Expr::Reg(so_far) + member }
    }

    /// What it makes of all.
    pub fn last(&self, of_all: Reg) -> Expr {
        if self.max { of_all.into() } else { Expr::Reg(of_all) / Expr::Const(self.len() as f32) }
    }
}

/// A pool as the end of the operation before it, where windows neither overlap nor meet padding.
pub(super) fn of(pool: &Pool) -> Option<Gathering> {
    let max = match pool.kind {
        PoolKind::Max => true,
        PoolKind::Avg => false,
        PoolKind::Lp(_) => return None,
    };
    let mut channels = 1;
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
        Over::Channels { size, stride: 1, dilation } if *size > 1 => {
            channels = *dilation;
            vec![1, *size]
        }
        Over::Channels { .. } | Over::Global | Over::Grid(_) => return None,
    };
    Some(Gathering { max, members, apart: channels })
}

/// Whether `op` on `x` hands its results of type `out` over by the windows of `gathering`.
pub fn hands(op: &Op, x: &TensorTy, out: &TensorTy, gathering: &Gathering) -> bool {
    let channels = gathering.along(1);
    if let Op::Winograd(op) = op {
        return op.hands(x, channels, [gathering.along(2), gathering.along(3)]);
    }
    if let Op::Conv(op) = op {
        let lanes = out.c() / channels.max(1) >= CHANNELS_MIN;
        let most = if channels > 1 { CHANNELS_MAX } else { MEMBERS_MAX };
        return op.geometry.is_plain() && lanes && (2..=most).contains(&gathering.len());
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
        let pool = Gathering { max: true, members: vec![1, 1, 2, 2], apart: 1 };
        assert!(pool.fits(&ty(3, 4, 6), &ty(3, 2, 3)));
        assert!(!pool.fits(&ty(3, 5, 6), &ty(3, 2, 3)), "a row is left over");
        let (a, b) = (Affine::from(Var(0)), Affine::from(Var(1)));
        let at = [Affine::k(1), b.clone(), (&a * 4).offset(3), (&b * 2).offset(0)];
        assert_eq!(pool.window(&at), Some(vec![Affine::k(1), b.clone(), (&a * 2).offset(1), b.clone()]));
        assert_eq!(pool.window(&[Affine::k(0), Affine::k(0), a.clone(), a]), None);
        let maxout = Gathering { max: true, members: vec![1, 3], apart: 8 };
        assert!(maxout.fits(&ty(24, 4, 6), &ty(8, 4, 6)));
        assert!(!maxout.fits(&ty(12, 4, 6), &ty(4, 4, 6)), "members lie elsewhere");
        let w = Affine::from(Var(0));
        for m in 0..3 {
            let at = [b.clone(), maxout.member(1, &w, m), b.clone(), b.clone()];
            assert_eq!(maxout.window(&at), Some(vec![b.clone(), w.clone(), b.clone(), b.clone()]));
        }
    }
}
