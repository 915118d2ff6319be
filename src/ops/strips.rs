//! Gradients by weights in strips: all elements of a strip are made first, in a buffer that stays in the nearer caches; then they go on, in
//! the order of memory. What follows a gradient reads and writes memories as large as the weight (slots of the optimizer, the weight
//! itself); in the order of a register tile, a few elements each of many rows, that would cost more than the gradient.

use std::ops::RangeInclusive;

use super::conv_grad_nest::cut;
use super::lower::LowerCx;
use super::squares::{Squares, Turn};
use crate::loops::{Affine, Expr, LoopKind, Var};

/// Elements of a strip, at most, unless less cannot be.
const ELEMENTS: usize = 1 << 15;

/// A loop over the weight.
struct Loop {
    /// Its name.
    name: String,
    /// The dimension of the weight that it runs over; of several the first is the outermost.
    dim: usize,
    /// Its turns, and those of them in a strip: a divisor. Of several loops over a dimension the later ones are whole where an earlier one
    /// turns in a strip.
    all: usize,
    held: usize,
}

/// The loops, and which of them runs along vectors.
pub(super) struct Strips {
    loops: Vec<Loop>,
    along: usize,
}

impl Strips {
    /// Of loops by name, dimension and turns: in `order`, outermost first, the last ones are whole in a strip as far as there is room. Vectors
    /// run along that of the loops `lanes` that has most turns there.
    pub(super) fn of(
        loops: Vec<(String, usize, usize)>,
        order: &[usize],
        lanes: RangeInclusive<usize>,
    ) -> Option<Self> {
        let extents: Vec<usize> = order.iter().map(|i| loops[*i].2).collect();
        let mut held = vec![1; loops.len()];
        for (i, cut) in order.iter().zip(cut(&extents, ELEMENTS)) {
            held[*i] = cut;
        }
        let along = lanes.max_by_key(|i| held[*i])?;
        let with_held = loops.into_iter().zip(held);
        let loops = with_held.map(|((name, dim, all), held)| Loop { name, dim, all, held }).collect();
        Some(Self { loops, along })
    }

    /// The loops in the order of the strip's buffer: vectors last.
    fn order(&self) -> Vec<usize> {
        (0..self.loops.len()).filter(|i| *i != self.along).chain([self.along]).collect()
    }

    /// Sums of squares by strips, if vectors have lanes.
    pub(super) fn squares(&self, rank: usize) -> Option<Squares> {
        let along = self.loops.get(self.along)?;
        let lanes = Squares::lanes(along.held);
        let mut part = vec![1; rank];
        let mut turns = vec![Turn { dim: along.dim, extent: along.held / lanes, step: lanes }];
        let mut steps = vec![1; self.loops.len()];
        for (l, step) in self.loops.iter().zip(&mut steps).rev() {
            *step = part.get(l.dim).copied()?;
            part[l.dim] = *step * l.held;
        }
        for i in self.order().into_iter().filter(|i| *i != self.along) {
            let Loop { dim, held, .. } = self.loops[i];
            turns.push(Turn { dim, extent: held, step: steps[i] });
        }
        Some(Squares { part, turns, lanes: Turn { dim: along.dim, extent: lanes, step: 1 } })
    }

    /// The index of the weight, `extents` being those of the loops that `at` are indices of.
    fn index(&self, at: &[Affine], rank: usize, extent: impl Fn(&Loop) -> usize) -> Vec<Affine> {
        let mut index = vec![Affine::k(0); rank];
        for (l, v) in self.loops.iter().zip(at) {
            index[l.dim] = &(&index[l.dim] * extent(l) as i64) + v;
        }
        index
    }

    /// Writes the nest: `value` gives the element at the indices of the loops.
    pub(super) fn write(
        &self,
        cx: &mut LowerCx<'_>,
        value: impl FnOnce(&mut LowerCx<'_>, &[Affine]) -> Expr,
    ) {
        let rank = cx.out().dims().len();
        let groups: Vec<(String, usize)> =
            self.loops.iter().map(|l| (format!("{}_strip", l.name), l.all / l.held)).collect();
        let groups: Vec<(&str, usize)> = groups.iter().map(|(n, e)| (&**n, *e)).collect();
        let held: Vec<(&str, usize)> = self.loops.iter().map(|l| (&*l.name, l.held)).collect();
        let order = self.order();
        let inner: Vec<(&str, usize)> = order.iter().map(|i| held[*i]).collect();
        let strip = cx.scratch("strip", &[&groups[..], &inner].concat());
        cx.nested(LoopKind::Free, &groups, |cx, group| {
            let group: Vec<Affine> = group.iter().map(|v| Affine::from(*v)).collect();
            let here = |v: &[Var]| v.iter().map(|v| Affine::from(*v)).collect::<Vec<_>>();
            let global = |v: &[Affine]| -> Vec<Affine> {
                let one = |((l, g), v): ((&Loop, &Affine), &Affine)| &(g * l.held as i64) + v;
                self.loops.iter().zip(&group).zip(v).map(one).collect()
            };
            let place = |v: &[Affine]| {
                [&group[..], &order.iter().map(|i| v[*i].clone()).collect::<Vec<_>>()].concat()
            };
            // A loop of one turn stays: it keeps the loop over strips from being cut into blocks of maps, in each of which the buffer would
            // be another.
            cx.nested(LoopKind::Free, &held, |cx, v| {
                let v = here(v);
                let value = value(cx, &global(&v));
                cx.b.store(strip, &place(&v), value);
            });
            cx.nested(LoopKind::Free, &held, |cx, v| {
                let v = here(v);
                let value = cx.b.load(strip, &place(&v));
                cx.store(&self.index(&global(&v), rank, |l| l.all), value);
            });
            let parts = self.index(&group, rank, |l| l.all / l.held);
            let lanes = Squares::lanes(self.loops[self.along].held) as i64;
            cx.sum_part(&parts, &|cx, at| {
                // Vectors of lanes come first, the other loops in order, then lanes.
                let mut at = at.to_vec();
                let lane = at.pop().unwrap_or(Affine::k(0));
                let vector = at.remove(0);
                at.push(&(&vector * lanes) + &lane);
                cx.b.load(strip, &[&group[..], &at].concat())
            });
        });
    }
}
