//! Sums of each channel over bands of an activation, two for each band and channel, `[s: bands, m: 2, c: C]`. A band is some samples,
//! and of their grids some positions of the first axis with all of the others.
//!
//! * `moments`, input `x`: the mean of the band's elements, and the sum of their squared distances from it;
//! * `back`, inputs `dy, x, mean`: `Σ dy`, and `Σ dy (x - mean[c])`.
//!
//! [`super::band_fold`] makes of them what batch normalisation needs while training. What computes `x` or `dy` makes them in passing
//! ([`Role::Sums`]), a band at a time, while it is in the nearer caches. Only a pass makes them.
//!
//! Distances are taken from the mean of a row, in a second pass over it, and rows are joined one after another (Chan, Golub & LeVeque
//! 1983): whatever the numbers are, no squares cancel.

use super::args::{Attr, Attrs};
use super::case::{Case, Fill, act, weight};
use super::channel_loops::listed;
use super::conv_nest::{guard, serial};
use super::geometry::Geometry;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::{InPassing, Role};
use super::unconv_nest::by_phases;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::winograd_nest::Cut;
use super::{At, Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, Reg};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// How an activation is cut into bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Samples of a band; a divisor of all.
    pub samples: usize,
    /// Positions of a band on the first axis of the grid; the last band of a sample may have fewer.
    pub rows: usize,
}

/// Positions on the first axis of the grid; 1 without a grid.
fn height(ty: &TensorTy) -> usize {
    ty.grid_dims().first().copied().unwrap_or(1)
}

/// Positions of a row.
fn area(ty: &TensorTy) -> usize {
    ty.grid_dims().iter().skip(1).product()
}

impl Bands {
    /// Bands side by side in a sample.
    pub fn per_sample(&self, ty: &TensorTy) -> usize {
        height(ty).div_ceil(self.rows)
    }

    /// How many elements of a channel each band has.
    pub fn counts(&self, ty: &TensorTy) -> Vec<usize> {
        let row = self.samples * area(ty);
        let of = |band: usize| row * self.rows.min(height(ty) - band % self.per_sample(ty) * self.rows);
        (0..ty.n() / self.samples * self.per_sample(ty)).map(of).collect()
    }

    /// Independent loops over the bands of an activation; `body` gets the place of each, with all channels, and its number in its sample.
    pub(super) fn each(
        &self,
        cx: &mut LowerCx<'_>,
        ty: &TensorTy,
        body: impl FnOnce(&mut LowerCx<'_>, &Place, &Affine),
    ) {
        let groups = [("n", ty.n() / self.samples), ("band", self.per_sample(ty))];
        cx.nested(LoopKind::Free, &groups, |cx, v| {
            let (n, band) = (Affine::from(v[0]), Affine::from(v[1]));
            let place = Place {
                band: &(&n * groups[1].1 as i64) + &band,
                n: &n * self.samples as i64,
                row: &band * self.rows as i64,
                channels: (Affine::k(0), ty.c()),
            };
            body(cx, &place, &band);
        });
    }

    /// Whether bands cover the activation.
    fn fits(&self, ty: &TensorTy) -> bool {
        let whole = self.samples > 0 && self.rows > 0 && ty.n().is_multiple_of(self.samples);
        ty.is_activation() && !ty.is_empty() && whole
    }

    fn band_of(&self, ty: &TensorTy, at: &[usize]) -> usize {
        at[0] / self.samples * self.per_sample(ty) + at.get(2).copied().unwrap_or(0) / self.rows
    }
}

/// Which sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// Mean and squared distances.
    Moments,
    /// Those of the gradient.
    Back,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandSums {
    /// The bands.
    pub bands: Bands,
    /// The sums.
    pub sums: Sums,
}

/// A band and the channels of it that are summed next.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its number.
    pub band: Affine,
    /// Its first sample.
    pub n: Affine,
    /// Its first position on the first axis.
    pub row: Affine,
    /// The first channel, and how many.
    pub channels: (Affine, usize),
}

/// What of the nearer caches a band of a convolution by definition may fill, and its weight, in bytes.
const NEAR: usize = 400_000;

/// Most elements of a channel of such a band, for rounding, as a single axis is one row; and fewest, unless it has all rows: loops and sums
/// of less are not worth beginning.
const ELEMENTS_MAX: usize = 1 << 13;
const ELEMENTS_MIN: usize = 64;

/// So many bands can be shared out.
const SHARED: usize = 8;

/// Sums side by side along a row, so that one need not wait for another.
const PHASES: [usize; 3] = [4, 2, 1];

impl BandSums {
    /// What printed graphs call it.
    pub const KIND: &'static str = "band_sums";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let bands = Bands { samples: attrs.size("samples")?, rows: attrs.size("rows")? };
        Ok(Self { bands, sums: if attrs.bool("back")? { Sums::Back } else { Sums::Moments } })
    }

    /// Test cases; numbers far from 0 make careless sums of squares cancel.
    pub fn cases() -> Vec<Case> {
        let shapes = [
            ("whole rows", act(4, 5, &[("h", 6), ("w", 8)]), 1, 3),
            ("a smaller last band", act(4, 16, &[("h", 7), ("w", 6)]), 2, 4),
            ("1d", act(2, 32, &[("t", 50)]), 1, 20),
            ("3d", act(1, 3, &[("d", 3), ("h", 2), ("w", 5)]), 1, 1),
            ("rank 0", act(6, 9, &[]), 3, 1),
            ("1d, a smaller last band", act(2, 3, &[("t", 30)]), 2, 8),
        ];
        let mut all = Vec::new();
        for (name, x, samples, rows) in shapes {
            let op = |sums| Self { bands: Bands { samples, rows }, sums };
            let about = [Fill::Uniform(9.0, 11.0)];
            let moments = Case::new(format!("moments, {name}"), op(Sums::Moments), vec![x.clone()]);
            all.push(moments.fill(&about).tolerance(2e-5));
            let c = weight(&[("c", x.c())]);
            all.push(Case::new(format!("back, {name}"), op(Sums::Back), vec![x.clone(), x, c]));
        }
        all
    }

    /// Writes the sums of the band at `place` of an activation of type `ty`. `load` gives element `at` of an operand: of `x` or `dy`, then
    /// of the others; `store` takes an element of the result.
    pub(super) fn write(
        &self,
        cx: &mut LowerCx<'_>,
        ty: &TensorTy,
        place: &Place,
        load: &dyn Fn(&LowerCx<'_>, usize, &[Affine]) -> Expr,
        store: &dyn Fn(&mut LowerCx<'_>, &[Affine], Expr),
    ) {
        let (first, channels) = &place.channels;
        let blocks = channels.is_multiple_of(Cut::LANES);
        let dims = if blocks {
            vec![("block", channels / Cut::LANES), ("lane", Cut::LANES)]
        } else {
            vec![("c", *channels)]
        };
        // Of a single axis the row is what the band has of it.
        let width = if ty.rank() == 1 {
            let counts = self.bands.counts(ty).into_iter().map(|k| (k / self.bands.samples) as i64);
            Expr::Index(listed(cx, "width", &place.band, &counts.collect::<Vec<_>>()))
        } else {
            Expr::Const(ty.grid_dims().last().copied().unwrap_or(1) as f32)
        };
        cx.nested(LoopKind::Free, &dims, |cx, v| {
            let c = match *v {
                [block, lane] => &(&Affine::from(block) * Cut::LANES as i64) + &Affine::from(lane),
                [c, ..] => c.into(),
                [] => Affine::k(0),
            };
            let walk = Walk { ty, bands: self.bands, place, c: &c + first };
            self.channel(cx, &walk, &width, load, store);
        });
    }

    fn channel(
        &self,
        cx: &mut LowerCx<'_>,
        walk: &Walk<'_>,
        width: &Expr,
        load: &dyn Fn(&LowerCx<'_>, usize, &[Affine]) -> Expr,
        store: &dyn Fn(&mut LowerCx<'_>, &[Affine], Expr),
    ) {
        let zero = |cx: &mut LowerCx<'_>| cx.b.let_(0.0);
        let [first, second] = match self.sums {
            Sums::Moments => {
                let [mean, squares, rows] = [zero(cx), zero(cx), zero(cx)];
                walk.rows(cx, &mut |cx, row| {
                    let [total] = walk.sums(cx, row, &mut |cx, [sum], at| {
                        let x = load(cx, 0, at);
                        cx.b.set(sum, Expr::Reg(sum) + x);
                    });
                    let own = cx.b.let_(match width {
                        Expr::Const(width) => Expr::Reg(total) * (1.0 / width).into(),
                        width => Expr::Reg(total) / width.clone(),
                    });
                    let [within] = walk.sums(cx, row, &mut |cx, [sum], at| {
                        let x = load(cx, 0, at);
                        let d = cx.b.let_(x - own.into());
                        cx.b.set(sum, Expr::fma(d.into(), d.into(), sum.into()));
                    });
                    // One more row of as many elements as those before have each.
                    cx.b.set(rows, Expr::Reg(rows) + 1.0.into());
                    let share = cx.b.let_(Expr::from(1.0) / rows.into());
                    let d = cx.b.let_(Expr::Reg(own) - mean.into());
                    let step = cx.b.let_(Expr::Reg(d) * share.into());
                    let between = Expr::Reg(d) * (Expr::Reg(d) - step.into());
                    cx.b.set(squares, Expr::Reg(squares) + Expr::fma(between, width.clone(), within.into()));
                    cx.b.set(mean, Expr::Reg(mean) + step.into());
                });
                [mean, squares]
            }
            Sums::Back => {
                let mean = load(cx, 2, std::slice::from_ref(&walk.c));
                let mean = cx.b.let_(mean);
                let both = [zero(cx), zero(cx)];
                walk.rows(cx, &mut |cx, row| {
                    let of_row = walk.sums(cx, row, &mut |cx, [all, along], at| {
                        let dy = load(cx, 0, at);
                        let dy = cx.b.let_(dy);
                        let x = load(cx, 1, at);
                        cx.b.set(all, Expr::Reg(all) + dy.into());
                        cx.b.set(along, Expr::fma(x - mean.into(), dy.into(), along.into()));
                    });
                    for (total, part) in both.iter().zip(of_row) {
                        cx.b.set(*total, Expr::Reg(*total) + part.into());
                    }
                });
                both
            }
        };
        for (m, value) in [first, second].into_iter().enumerate() {
            store(cx, &[walk.place.band.clone(), Affine::k(m as i64), walk.c.clone()], value.into());
        }
    }
}

/// A way over the elements of a channel of a band, row by row: along the last axis of the grid.
struct Walk<'w> {
    ty: &'w TensorTy,
    bands: Bands,
    place: &'w Place,
    c: Affine,
}

impl Walk<'_> {
    /// Positions of a band on the first axis, and whether the last band of a sample has fewer.
    fn cut(&self) -> (usize, bool) {
        let rows = self.bands.rows.min(height(self.ty));
        (rows, !height(self.ty).is_multiple_of(rows))
    }

    /// That position `p` of the first axis is one, if that is in doubt.
    fn inside(&self, p: &Affine) -> Vec<Affine> {
        if self.cut().1 { vec![(p * -1).offset(height(self.ty) as i64 - 1)] } else { Vec::new() }
    }

    /// Each row, by the index of its elements without that on the last axis.
    fn rows(&self, cx: &mut LowerCx<'_>, body: &mut dyn FnMut(&mut LowerCx<'_>, &[Affine])) {
        let grid = self.ty.grid_names().iter().map(ToString::to_string);
        let mut axes: Vec<(String, usize)> = grid.zip(self.ty.grid_dims().iter().copied()).collect();
        axes.first_mut().into_iter().for_each(|r| r.1 = self.cut().0);
        axes.pop();
        axes.insert(0, ("s".to_owned(), self.bands.samples));
        serial(cx, &axes, |cx, v| {
            let mut at = vec![&self.place.n + &v[0], self.c.clone()];
            at.extend_from_slice(&v[1..]);
            let mut conds = Vec::new();
            if let Some(p) = at.get_mut(2) {
                *p = &*p + &self.place.row;
                conds = self.inside(p);
            }
            guard(cx, conds, |cx| body(cx, &at));
        });
    }

    /// Sums of what `term` adds to the registers that it gets, for each element of a row; some side by side.
    fn sums<const N: usize>(
        &self,
        cx: &mut LowerCx<'_>,
        row: &[Affine],
        term: &mut dyn FnMut(&mut LowerCx<'_>, [Reg; N], &[Affine]),
    ) -> [Reg; N] {
        // On a single axis it is the one that is cut.
        let single = self.ty.rank() == 1;
        let last = self.ty.grid_names().last().map(ToString::to_string);
        let width = if single { self.cut().0 } else { self.ty.grid_dims().last().copied().unwrap_or(1) };
        let phases = PHASES.into_iter().find(|p| width.is_multiple_of(*p)).unwrap_or(1);
        let sums: Vec<[Reg; N]> = (0..phases).map(|_| [(); N].map(|()| cx.b.let_(0.0))).collect();
        let turns: Vec<(String, usize)> = last.into_iter().map(|name| (name, width / phases)).collect();
        serial(cx, &turns, |cx, w| {
            for (phase, sums) in sums.iter().enumerate() {
                let mut at = row.to_vec();
                at.extend(w.first().map(|w| (w * phases as i64).offset(phase as i64)));
                let mut conds = Vec::new();
                if single {
                    at[2] = &at[2] + &self.place.row;
                    conds = self.inside(&at[2]);
                }
                guard(cx, conds, |cx| term(cx, *sums, &at));
            }
        });
        let mut all = sums[0];
        for (i, total) in all.iter_mut().enumerate() {
            let parts = sums.iter().map(|s| Expr::Reg(s[i])).reduce(|a, b| a + b);
            *total = cx.b.let_(parts.unwrap_or(Expr::Const(0.0)));
        }
        all
    }
}

impl OpRules for BandSums {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
            .with("back", Attr::Bool(self.sums == Sums::Back))
            .with("samples", Attr::Int(self.bands.samples as i64))
            .with("rows", Attr::Int(self.bands.rows as i64))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let given = match (self.sums, &inputs[1..]) {
            (Sums::Moments, []) => true,
            (Sums::Back, [other, mean]) => *other == x && mean.dims() == [x.c()],
            (Sums::Moments | Sums::Back, _) => false,
        };
        if !given || !self.bands.fits(x) {
            return Err(OpError::new(codes::E0206, format!("`band_sums` does not fit {x}")).at(At::Input(0)));
        }
        let dims = [self.bands.counts(x).len(), 2, x.c()];
        let ty = TensorTy::new(["s", "m", "c"].into_iter().zip(dims))
            .map_err(|_| shape_rules::too_large("band_sums", &dims))?;
        let why = vec![Why::given("bands"), Why::given("two sums"), Why::same(0, 1)];
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `band_sums`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let names = ["n", "c", "d", "h", "w"];
        let ty = TensorTy::new(names.into_iter().zip(x.dims.iter().copied())).expect("the type of an activation");
        let counts = self.bands.counts(&ty);
        let mut y = Array::zeros(out.dims());
        let place = |at: &[usize], m: usize| (self.bands.band_of(&ty, at) * 2 + m) * x.dims[1] + at[1];
        for_each_index(&x.dims, |at| {
            let (one, two) = (place(at, 0), place(at, 1));
            match self.sums {
                Sums::Moments => y.data[one] += x.at(at) / counts[self.bands.band_of(&ty, at)] as f64,
                Sums::Back => {
                    y.data[one] += x.at(at);
                    y.data[two] += x.at(at) * (inputs[1].at(at) - inputs[2].data[at[1]]);
                }
            }
        });
        if self.sums == Sums::Moments {
            for_each_index(&x.dims, |at| {
                let mean = y.data[place(at, 0)];
                y.data[place(at, 1)] += (x.at(at) - mean).powi(2);
            });
        }
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let ty = cx.input(0).clone();
        self.bands.each(cx, &ty, |cx, place, _| {
            self.write(cx, &ty, place, &|cx, i, at| cx.load(i, at), &|cx, at, value| cx.store(at, value));
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Sums(InPassing::Bands(self.clone()))
    }

    fn cost(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        shape_rules::flops(inputs[0], 4)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}

/// The bands that `op` on `x` sums in passing, if it can.
pub fn of(op: &Op, x: &TensorTy, out: &TensorTy) -> Option<Bands> {
    let bands = match op {
        Op::Winograd(op) => op.bands(x)?,
        Op::Conv(conv) => by_definition(&conv.geometry, x, out, 1)?,
        // A band has as many rows of each phase.
        Op::Unconv(op) => by_definition(&op.geometry, x, out, *op.geometry.window.stride.first()?)?,
        _ => return None,
    };
    bands.fits(out).then_some(bands)
}

/// Bands of a multiple of `step` rows that stay in the nearer caches, for a convolution whose weight does so too: it is fetched anew for
/// each band. None where bands of such a size do not divide rows, or would leave threads without work.
fn by_definition(geometry: &Geometry, x: &TensorTy, out: &TensorTy, step: usize) -> Option<Bands> {
    let bytes = |of: &[usize]| of.iter().copied().fold(4, usize::saturating_mul);
    let height = height(out);
    let near = |rows: &usize| {
        bytes(&[out.c(), area(out), *rows]) <= NEAR && rows.saturating_mul(area(out)) <= ELEMENTS_MAX
    };
    let equal = |rows: &usize| rows.is_multiple_of(step) && height.is_multiple_of(*rows);
    let shared = |rows: &usize| out.n().saturating_mul(height / rows) >= SHARED;
    let most = (1..=height).rev().find(near)?;
    let rows = (1..=most).rev().find(|rows| equal(rows) && shared(rows))?;
    let large = rows.saturating_mul(area(out)) >= ELEMENTS_MIN || rows == height;
    let fits = geometry.is_plain() && out.rank() > 0 && by_phases(geometry);
    let weight = bytes(&[x.c(), out.c(), geometry.taps()]) <= NEAR;
    (fits && weight && large).then_some(Bands { samples: 1, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::interp::run_all;
    use crate::tensor::layout::Layout;

    #[test]
    fn a_row_far_from_the_others_does_not_drown_them() {
        for (grid, rows) in [(vec![("t", 4096)], 2048), (vec![("h", 220), ("w", 20)], 55)] {
            let x = act(1, 1, &grid);
            let op = BandSums { bands: Bands { samples: 1, rows }, sums: Sums::Moments };
            let out = op.infer(&[&x]).unwrap_or_else(|e| panic!("{}", e.message)).ty;
            let (from, to) = (Layout::canonical(x.dims().len()), Layout::canonical(3));
            let mut cx = LowerCx::new("moments", &[(&x, &from)], &[], (&out, &to), Vec::new());
            op.lower(&mut cx);
            // Numbers about 100 that differ by 0.1; only the first of each band's first row, or that row, lies elsewhere.
            let apart = if grid.len() == 1 { 1 } else { 20 };
            let band = rows * grid.get(1).map_or(1, |w| w.1);
            let value = |i: usize| if i % band < apart { 1e3 } else { 100.0 + (i * 37 % 101) as f32 * 1e-3 };
            let data: Vec<f32> = (0..x.len()).map(value).collect();
            let mut bufs = vec![data.clone(), vec![0.0; out.len()]];
            run_all(&cx.finish(), &mut bufs, true).unwrap_or_else(|e| panic!("{e}"));
            let wide = data.iter().map(|v| f64::from(*v)).collect();
            let wanted = op.reference(&[&Array { dims: x.dims().to_vec(), data: wide }], &out);
            for (found, wanted) in bufs[1].iter().zip(&wanted.data) {
                assert!((f64::from(*found) / wanted - 1.0).abs() < 1e-5, "{found} instead of {wanted}");
            }
        }
    }
}
