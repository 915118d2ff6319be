//! The nest of [`super::pool_grad`]'s `spread` where windows are small: the inputs between the beginnings of two windows at once.
//!
//! In: a pool with windows of few taps and its looks. Out: one loop over all beginnings; each turn loads what its neighbourhood of outputs gives
//! once, and adds it to each of its inputs through the tap that sees it. Which tap that is depends on nothing that is known at run time.

use super::conv_nest::guard;
use super::lower::LowerCx;
use super::pool::Over;
use super::pool_grad::{PoolGrad, TAPS_MAX};
use super::pool_look::{Look, tap_number, taps};
use crate::loops::{Affine, Expr, LoopKind, Reg};

/// Most inputs of a turn.
const INPUTS_MAX: usize = 8;

/// How one dimension is gone over.
struct Axis {
    /// Inputs of a turn, all inputs, and how many turns there are.
    step: usize,
    inputs: usize,
    turns: usize,
    /// Outputs of the dimension.
    outputs: usize,
    /// Outputs that a turn sees, counted from its own, farthest first: each with the inputs of the turn that it sees and their taps.
    sees: Vec<(i64, Vec<(usize, i64)>)>,
}

impl Axis {
    /// One of windows without gaps, or where each output sees the input at its place.
    fn of(look: &Look, inputs: usize) -> Option<Self> {
        let (step, lo, kernel, outputs) = match *look {
            Look::Same => (1, 0, 1, inputs),
            Look::Window(w) if w.dilation == 1 => (w.stride, w.lo, w.kernel, w.out),
            Look::Window(_) | Look::All { .. } | Look::Region { .. } => return None,
        };
        let mut sees: Vec<(i64, Vec<(usize, i64)>)> = Vec::new();
        for input in 0..step {
            // Input `turn * step + input` is tap `k` of output `turn + apart` where `input + lo = apart * step + k`.
            for k in (0..kernel).filter(|k| (input + lo) % step == k % step) {
                let apart = ((input + lo) as i64 - k as i64) / step as i64;
                match sees.iter_mut().find(|s| s.0 == apart) {
                    Some((_, taps)) => taps.push((input, k as i64)),
                    None => sees.push((apart, vec![(input, k as i64)])),
                }
            }
        }
        sees.sort_by_key(|s| std::cmp::Reverse(s.0));
        Some(Self { step, inputs, turns: inputs.div_ceil(step), outputs, sees })
    }

    /// What must hold for output `o`, `apart` from its turn, to be one.
    fn is_output(&self, o: &Affine, apart: i64) -> Vec<Affine> {
        let mut conds = Vec::new();
        if apart < 0 {
            conds.push(o.clone());
        }
        if self.turns as i64 - 1 + apart >= self.outputs as i64 {
            conds.push((o * -1).offset(self.outputs as i64 - 1));
        }
        conds
    }

    /// What must hold for `q`, input `number` of a turn, to be one.
    fn is_input(&self, q: &Affine, number: usize) -> Vec<Affine> {
        let last = (self.turns - 1) * self.step + number;
        if last < self.inputs { Vec::new() } else { vec![(q * -1).offset(self.inputs as i64 - 1)] }
    }
}

/// Writes the loops if windows are small enough; says whether. `rank` is the number of dimensions of an output after the batch.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &PoolGrad, looks: &[Look], rank: usize) -> bool {
    let out = cx.out().clone();
    let sizes = taps(looks);
    let axes: Option<Vec<Axis>> = looks.iter().zip(&out.dims()[1..]).map(|(l, n)| Axis::of(l, *n)).collect();
    let Some(axes) = axes.filter(|_| !matches!(op.pool.over, Over::Channels { .. })) else { return false };
    let few = |most: usize, mut of: Vec<usize>| of.drain(..).fold(1usize, usize::saturating_mul) <= most;
    if !few(TAPS_MAX, sizes.iter().map(|s| s.1).collect())
        || !few(INPUTS_MAX, axes.iter().map(|a| a.step).collect())
    {
        return false;
    }
    let turns = axes.iter().map(|a| a.turns);
    let dims: Vec<(&str, usize)> =
        out.names().iter().map(|n| &**n).zip(std::iter::once(out.n()).chain(turns)).collect();
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let turn: Vec<Affine> = v.iter().map(|v| Affine::from(*v)).collect();
        let inputs = product(&axes.iter().map(|a| (0..a.step).collect()).collect::<Vec<Vec<usize>>>());
        let sums: Vec<(Vec<usize>, Reg)> = inputs.into_iter().map(|i| (i, cx.b.let_(0.0))).collect();
        for sees in product(&axes.iter().map(|a| (0..a.sees.len()).collect()).collect::<Vec<Vec<usize>>>()) {
            let seen: Vec<&(i64, Vec<(usize, i64)>)> =
                axes.iter().zip(&sees).map(|(a, s)| &a.sees[*s]).collect();
            let o: Vec<Affine> = turn[1..].iter().zip(&seen).map(|(t, s)| t.offset(s.0)).collect();
            let conds = axes.iter().zip(&o).zip(&seen).flat_map(|((a, o), s)| a.is_output(o, s.0)).collect();
            guard(cx, conds, |cx| {
                let place = [&turn[..1], &o[..rank]].concat();
                let dy = cx.load(0, &place);
                let value = match op.count(cx, looks, &o) {
                    Some(count) => dy / count,
                    None => dy,
                };
                let value = cx.b.let_(value);
                let chosen = op.chosen(cx, &place);
                for pairs in product(&seen.iter().map(|s| s.1.clone()).collect::<Vec<_>>()) {
                    let input: Vec<usize> = pairs.iter().map(|p| p.0).collect();
                    let k: Vec<Affine> = pairs.iter().map(|p| Affine::k(p.1)).collect();
                    let Some((_, sum)) = sums.iter().find(|s| s.0 == input) else { continue };
                    let given = op.given(chosen, value, &tap_number(&sizes, &k));
                    cx.b.set(*sum, Expr::Reg(*sum) + given);
                }
            });
        }
        for (input, sum) in &sums {
            let mut at = turn[..1].to_vec();
            at.extend(
                axes.iter()
                    .zip(&turn[1..])
                    .zip(input)
                    .map(|((a, t), i)| (t * a.step as i64).offset(*i as i64)),
            );
            let conds =
                axes.iter().zip(&at[1..]).zip(input).flat_map(|((a, q), i)| a.is_input(q, *i)).collect();
            guard(cx, conds, |cx| cx.store(&at, *sum));
        }
    });
    true
}

/// All ways to take one of each list, the last running fastest.
fn product<T: Copy>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    lists.iter().fold(vec![Vec::new()], |all, list| {
        all.iter().flat_map(|head| list.iter().map(move |x| [&head[..], &[*x]].concat())).collect()
    })
}
