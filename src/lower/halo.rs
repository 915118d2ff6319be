//! Clears the halo of a step's result: independent loops over the border regions, disjoint from one another and from the
//! interior, after the loops of the operation.

use crate::loops::build::NestBuilder;
use crate::loops::{Affine, Buf, Expr, LoopKind};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// Appends stores of 0 to every element of the halo of `buf`.
pub(super) fn clear(b: &mut NestBuilder, buf: Buf, ty: &TensorTy, layout: &Layout) {
    for (d, (lo, hi)) in layout.halo.iter().enumerate() {
        let extent = ty.dims()[d];
        // Dimensions before `d` keep to the interior, those after it run through everything: each corner once.
        for (start, len) in [(-(*lo as i64), *lo), (extent as i64, *hi)] {
            if len == 0 {
                continue;
            }
            let region = |e: usize| match e.cmp(&d) {
                std::cmp::Ordering::Less => (0, ty.dims()[e]),
                std::cmp::Ordering::Equal => (start, len),
                std::cmp::Ordering::Greater => {
                    let (lo, hi) = layout.halo[e];
                    (-(lo as i64), ty.dims()[e] + lo + hi)
                }
            };
            border(b, buf, ty, &layout.order, &(0..ty.dims().len()).map(region).collect::<Vec<_>>());
        }
    }
}

/// Zeros over one region, given per dimension as first index and length; loops stand in the order of memory.
fn border(b: &mut NestBuilder, buf: Buf, ty: &TensorTy, order: &[usize], region: &[(i64, usize)]) {
    let dims: Vec<(&str, usize)> = order.iter().map(|d| (&*ty.names()[*d], region[*d].1)).collect();
    b.nested(LoopKind::Free, &dims, |b, vars| {
        let mut at = vec![Affine::k(0); region.len()];
        for (var, d) in vars.iter().zip(order) {
            at[*d] = Affine::from(*var).offset(region[*d].0);
        }
        b.store(buf, &at, Expr::Const(0.0));
    });
}
