//! The nest of the gradient by a weight of small groups of maps, of which several share a cache line: a row of positions at a time.
//!
//! In: a checked [`ConvGrad`] with groups and one set of weights. Out: loops over blocks of groups, which may run at once; in each, row
//! after row of positions, what the row gives is added to the weights of all groups of the block. So a line is fetched once for all of
//! them, where group after group would fetch every line of both operands as often as groups share it.

use super::conv_grad::ConvGrad;
use super::conv_nest::{seen, serial, tap};
use super::geometry::{Linking, Share};
use super::lower::LowerCx;
use super::window::Window;
use crate::loops::{Affine, Expr, LoopKind};
use crate::tensor::ty::TensorTy;

/// Maps in a cache line.
const LINE: usize = 16;

/// Rows with fewer positions cost more than they save.
const ROW_MIN: usize = 8;

/// Groups, output maps of one, and groups of a block.
struct Cut {
    groups: usize,
    outs: usize,
    block: usize,
}

impl Cut {
    fn of(op: &ConvGrad, maps: usize, windows: &[Window]) -> Option<Self> {
        let Linking::Groups(groups) = op.geometry.links else { return None };
        let outs = maps / groups;
        let long = windows.last().is_some_and(|w| w.out >= ROW_MIN);
        let block = LINE / outs.max(1);
        // A group of one map has its channels side by side as they are.
        let small = outs > 1 && outs < LINE && LINE.is_multiple_of(outs) && groups.is_multiple_of(block);
        (op.geometry.share == Share::All && small && long).then_some(Self { groups, outs, block })
    }
}

/// Whether groups are small and rows long.
pub(super) fn applies(op: &ConvGrad, dy: &TensorTy, windows: &[Window]) -> bool {
    Cut::of(op, dy.c(), windows).is_some()
}

/// Writes the loops, if groups are small and rows long; says whether.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &ConvGrad, windows: &[Window]) -> bool {
    let (dy, out) = (cx.input(1).clone(), cx.out().clone());
    let Some(cut) = Cut::of(op, dy.c(), windows) else { return false };
    let ins = out.dims()[1];
    let mut own: Vec<(String, usize)> = vec![("gi".into(), cut.block)];
    own.extend(out.names()[2..].iter().map(ToString::to_string).zip(out.dims()[2..].iter().copied()));
    own.extend([("i".into(), ins), ("o".into(), cut.outs)]);
    let own: Vec<(&str, usize)> = own.iter().map(|(n, e)| (&**n, *e)).collect();
    let mut rows: Vec<(String, usize)> = vec![("n".into(), dy.n())];
    rows.extend(dy.grid_names().iter().map(ToString::to_string).zip(windows.iter().map(|w| w.out)));
    let row: Vec<(String, usize)> = rows.pop().into_iter().collect();
    let blocks = ("g", cut.groups / cut.block);
    let sums = cx.scratch("sums", &[&[blocks], &own[..]].concat());
    // The weight that the loops of a block stand for: its group, and its index.
    let weight = |block: &Affine, v: &[Affine]| -> (Affine, Vec<Affine>) {
        let (last, taps) = (v.len() - 1, 1..v.len() - 2);
        let group = &(block * cut.block as i64) + &v[0];
        let mut at = vec![&(&group * cut.outs as i64) + &v[last], v[last - 1].clone()];
        at.extend_from_slice(&v[taps]);
        (group, at)
    };
    let each = |cx: &mut LowerCx<'_>, body: &mut dyn FnMut(&mut LowerCx<'_>, &[Affine])| {
        cx.nested(LoopKind::Free, &own, |cx, v| {
            body(cx, &v.iter().map(|v| Affine::from(*v)).collect::<Vec<_>>())
        });
    };
    cx.nested(LoopKind::Free, &[blocks], |cx, block| {
        let block = Affine::from(block[0]);
        let held = |v: &[Affine]| -> Vec<Affine> { [std::slice::from_ref(&block), v].concat() };
        each(cx, &mut |cx, v| cx.b.store(sums, &held(v), 0.0));
        serial(cx, &rows, |cx, outer| {
            each(cx, &mut |cx, v| {
                let (group, at) = weight(&block, v);
                let taps: Vec<Affine> =
                    windows.iter().zip(&at[2..]).map(|(w, k)| tap(&op.geometry, w, k)).collect();
                let from = &(&group * ins as i64) + &at[1];
                let sum = cx.b.let_(0.0);
                serial(cx, &row, |cx, inner| {
                    let p = [outer, inner].concat();
                    let mut x = vec![p[0].clone(), from.clone()];
                    x.extend(windows.iter().zip(&p[1..]).zip(&taps).map(|((w, p), k)| seen(w, p, k)));
                    let y = [&[p[0].clone(), at[0].clone()], &p[1..]].concat();
                    let product = Expr::fma(cx.load(1, &y), cx.load(0, &x), sum.into());
                    cx.b.set(sum, product);
                });
                let total = cx.b.load(sums, &held(v)) + Expr::Reg(sum);
                cx.b.store(sums, &held(v), total);
            });
        });
        each(cx, &mut |cx, v| {
            let total = cx.b.load(sums, &held(v));
            cx.store(&weight(&block, v).1, total);
        });
    });
    true
}
