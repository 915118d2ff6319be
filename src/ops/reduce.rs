//! Reductions that several operations write into their nests: serial loops with one partial result per loop, so that the
//! rounding error of a sum grows with the sum of the extents, not with their product.

use super::lower::LowerCx;
use crate::loops::{Affine, BinOp, Expr, LoopKind, Reg};
use crate::tensor::ty::TensorTy;

/// A loop's name and extent.
pub(super) type Dim<'d> = (&'d str, usize);

/// The sum of `term` over all indices of `dims`.
pub(super) fn sum<'a>(
    cx: &mut LowerCx<'a>,
    dims: &[Dim<'_>],
    term: &mut dyn FnMut(&mut LowerCx<'a>, &[Affine]) -> Expr,
) -> Reg {
    let total = fold(cx, BinOp::Add, 0.0, dims, &mut Vec::new(), term);
    cx.b.let_(total)
}

/// The greatest `term` over all indices of `dims`; NaN if any is.
pub(super) fn max<'a>(
    cx: &mut LowerCx<'a>,
    dims: &[Dim<'_>],
    term: &mut dyn FnMut(&mut LowerCx<'a>, &[Affine]) -> Expr,
) -> Reg {
    let greatest = fold(cx, BinOp::Max, f32::NEG_INFINITY, dims, &mut Vec::new(), term);
    cx.b.let_(greatest)
}

/// The product of `term` over all indices of `dims`.
pub(super) fn product<'a>(
    cx: &mut LowerCx<'a>,
    dims: &[Dim<'_>],
    term: &mut dyn FnMut(&mut LowerCx<'a>, &[Affine]) -> Expr,
) -> Reg {
    let total = fold(cx, BinOp::Mul, 1.0, dims, &mut Vec::new(), term);
    cx.b.let_(total)
}

fn fold<'a>(
    cx: &mut LowerCx<'a>,
    op: BinOp,
    start: f32,
    dims: &[Dim<'_>],
    at: &mut Vec<Affine>,
    term: &mut dyn FnMut(&mut LowerCx<'a>, &[Affine]) -> Expr,
) -> Expr {
    let Some((first, rest)) = dims.split_first() else { return term(cx, at) };
    let acc = cx.b.let_(start);
    cx.nested(LoopKind::Serial, &[*first], |cx, var| {
        at.push(var[0].into());
        let value = fold(cx, op, start, rest, at, term);
        at.pop();
        cx.b.set(acc, Expr::bin(op, acc.into(), value));
    });
    acc.into()
}

/// Independent loops over all dimensions of the output but the channels; `body` gets an index whose channel is 0.
pub(super) fn for_each_position<'a>(cx: &mut LowerCx<'a>, body: impl FnOnce(&mut LowerCx<'a>, &[Affine])) {
    let out = cx.out().clone();
    cx.nested(LoopKind::Free, &without_channels(&out), |cx, vars| {
        let mut at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
        at.insert(1, Affine::k(0));
        body(cx, &at);
    });
}

/// Independent loop over the channels of the output at a position.
pub(super) fn for_each_channel<'a>(
    cx: &mut LowerCx<'a>,
    position: &[Affine],
    body: impl FnOnce(&mut LowerCx<'a>, &[Affine]),
) {
    let c = cx.out().c();
    cx.nested(LoopKind::Free, &[("c", c)], |cx, vars| body(cx, &at_channel(position, &vars[0].into())));
}

/// The index `position` with channel `c`.
pub(super) fn at_channel(position: &[Affine], c: &Affine) -> Vec<Affine> {
    let mut at = position.to_vec();
    at[1] = c.clone();
    at
}

/// Names and extents of the batch and grid dimensions.
pub(super) fn without_channels(ty: &TensorTy) -> Vec<Dim<'_>> {
    let all = ty.names().iter().map(|n| &**n).zip(ty.dims().iter().copied());
    all.enumerate().filter(|(d, _)| *d != 1).map(|(_, dim)| dim).collect()
}

/// Names and extents of the grid dimensions.
pub(super) fn grid(ty: &TensorTy) -> Vec<Dim<'_>> {
    ty.grid_names().iter().map(|n| &**n).zip(ty.grid_dims().iter().copied()).collect()
}
