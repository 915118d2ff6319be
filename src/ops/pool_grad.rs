//! What gradients of pooling are made of, over the geometry of a [`Pool`]:
//!
//! * `index`: of `x`, for each output the number of the tap that holds its greatest input, taps counted row-major: the first
//!   one of equals, and the first NaN where there is one. As large as the output, so that a graph need not keep `x`.
//! * `spread`: of `dy` (and the index, for `max`), the transpose: each input sums over the windows that see it what they give
//!   it, `dy` to the tap of the index (`max`), its share `dy / taps` (`avg`), or `dy` (norms). In gather form: nothing is added
//!   into memory, so inputs are independent of each other.
//! * `gather`: of a tensor like `x` (and the index), what each output takes from its window by the same rule.
//!
//! The language has no name for them.

use super::args::{Attr, Attrs};
use super::case::{Case, Fill};
use super::conv_nest::guard;
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::pool::{Over, Pool, PoolKind};
use super::pool_look::{Look, looks, tap_number, taps};
use super::pool_spread;
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Cmp, Expr, Reg};
use crate::support::{Name, codes};
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// Which part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The tap of the greatest input.
    Index,
    /// From outputs to an input with these dimensions after the batch.
    Spread(Vec<(Name, usize)>),
    /// From an input to outputs.
    Gather,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolGrad {
    /// The pool.
    pub pool: Pool,
    /// Which part.
    pub part: Part,
}

/// Most taps that are written out one by one.
pub(super) const TAPS_MAX: usize = 32;

/// The number of a tap as a value.
fn tap_value(number: &Affine) -> Expr {
    if number.is_const() { (number.k as f32).into() } else { Expr::Index(number.clone()) }
}

/// Prefix of attributes that hold the dimensions of an input.
const PREFIX: &str = "x_";

impl PoolGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "pool_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From outputs of `pool` to an input of type `x`.
    pub fn spread(pool: Pool, x: &TensorTy) -> Self {
        let dims = x.names().iter().cloned().zip(x.dims().iter().copied()).skip(1).collect();
        Self { pool, part: Part::Spread(dims) }
    }

    /// From printed attributes: those of the pool, `part`, and the dimensions of the input.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let pool = Pool::from_attrs(attrs)?;
        let part = match attrs.word("part")? {
            "index" => Part::Index,
            "gather" => Part::Gather,
            "spread" => {
                let named = attrs.0.iter().filter_map(|(key, _)| Some((key, key.strip_prefix(PREFIX)?)));
                let dims: Result<_, String> = named.map(|(key, name)| Ok((Name::from(name), attrs.size(key)?))).collect();
                Part::Spread(dims?)
            }
            other => return Err(format!("no part is called `{other}`")),
        };
        Ok(Self { pool, part })
    }

    /// Test cases: the pool's, in all parts; whole numbers make ties.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for case in Pool::cases() {
            let super::Op::Pool(pool) = &case.op else { continue };
            let x = &case.inputs[0];
            let Ok(out) = pool.infer(&[x]) else { continue };
            let mut push = |what: &str, part: Part, inputs: Vec<TensorTy>, fill: &[Fill]| {
                let op = Self { pool: pool.clone(), part };
                all.push(Case::new(format!("{what} {}", case.name), op, inputs).fill(fill));
            };
            let Part::Spread(dims) = Self::spread(pool.clone(), x).part else { continue };
            if pool.kind == PoolKind::Max {
                let number = [Fill::Normal, Fill::Labels(3)];
                push("index", Part::Index, vec![x.clone()], &[Fill::Labels(3)]);
                push("spread", Part::Spread(dims), vec![out.ty.clone(), out.ty.clone()], &number);
                push("gather", Part::Gather, vec![x.clone(), out.ty], &number);
            } else if !matches!(pool.kind, PoolKind::Lp(p) if p != 2.0) {
                push("spread", Part::Spread(dims), vec![out.ty], &[]);
                push("gather", Part::Gather, vec![x.clone()], &[]);
            }
        }
        all
    }

    /// Type of the pool's input.
    fn x(&self, inputs: &[&TensorTy]) -> Result<TensorTy, OpError> {
        let Part::Spread(dims) = &self.part else { return Ok(inputs[0].clone()) };
        let head = [(Name::from("n"), inputs[0].n())];
        TensorTy::new(head.into_iter().chain(dims.iter().cloned()))
            .map_err(|_| shape_rules::too_large("pool_grad", inputs[0].dims()))
    }

    /// What one output (`dy`, or the sum so far) gets from or gives to tap `number`.
    fn through(&self, cx: &mut LowerCx<'_>, out: &[Affine], value: Expr, number: &Affine) -> Expr {
        let value = cx.b.let_(value);
        let chosen = self.chosen(cx, out);
        self.given(chosen, value, number)
    }

    /// The tap of the greatest input at `out`, where only that counts.
    pub(super) fn chosen(&self, cx: &mut LowerCx<'_>, out: &[Affine]) -> Option<Reg> {
        (self.pool.kind == PoolKind::Max).then(|| {
            let chosen = cx.load(1, out);
            cx.b.let_(chosen)
        })
    }

    /// What of `value` tap `number` gives or gets.
    pub(super) fn given(&self, chosen: Option<Reg>, value: Reg, number: &Affine) -> Expr {
        match chosen {
            Some(chosen) => {
                Expr::select(Cmp::Eq, chosen.into(), tap_value(number), value.into(), 0.0.into())
            }
            None => value.into(),
        }
    }

    /// Taps that a mean divides by, at output `o` (one index per look).
    pub(super) fn count(&self, cx: &mut LowerCx<'_>, looks: &[Look], o: &[Affine]) -> Option<Expr> {
        if self.pool.kind != PoolKind::Avg {
            return None;
        }
        let mut fixed = 1.0;
        let mut count: Option<Expr> = None;
        for (look, o) in looks.iter().zip(o) {
            let counts = look.counts(self.pool.count_pad);
            if counts.windows(2).all(|w| w[0] == w[1]) {
                fixed *= counts.first().copied().unwrap_or(1) as f32;
                continue;
            }
            let table = cx.b.table(counts);
            let factor = Expr::Index(cx.b.lookup("count", table, o.clone()).into());
            count = Some(match count {
                None => factor,
                Some(so_far) => so_far * factor,
            });
        }
        Some(match count {
            None => fixed.into(),
            Some(count) if fixed == 1.0 => count,
            Some(count) => count * fixed.into(),
        })
    }

    /// `index` and `gather`: for each output its taps, one after another.
    fn lower_outputs(&self, cx: &mut LowerCx<'_>, looks: &[Look]) {
        let sizes = taps(looks);
        cx.for_each_output(|cx, out| {
            let o = Look::spread_index(looks, out);
            let (best, acc) = (cx.b.let_(f32::NEG_INFINITY), cx.b.let_(0.0));
            self.each_tap(cx, &sizes, |cx, k| {
                let number = tap_number(&sizes, k);
                let mut at = vec![out[0].clone()];
                let mut inside = Vec::new();
                for ((look, o), k) in looks.iter().zip(&o).zip(k) {
                    let (q, conds) = look.position(cx, o, k);
                    at.push(q);
                    inside.extend(conds);
                }
                guard(cx, inside, |cx| {
                    let x = cx.load(0, &at);
                    let x = cx.b.let_(x);
                    if self.part == Part::Index {
                        self.better(cx, best, acc, x, &number);
                    } else {
                        let value = self.through(cx, out, x.into(), &number);
                        cx.b.set(acc, Expr::Reg(acc) + value);
                    }
                });
            });
            let value = match self.count(cx, looks, &o) {
                Some(count) if self.part == Part::Gather => Expr::Reg(acc) / count,
                Some(_) | None => acc.into(),
            };
            cx.store(out, value);
        });
    }

    /// Runs `body` for each tap: written out where they are few, else in a loop. For `index` from the last tap to the first, which wins
    /// among equals.
    fn each_tap(
        &self,
        cx: &mut LowerCx<'_>,
        sizes: &[(String, usize)],
        body: impl Fn(&mut LowerCx<'_>, &[Affine]),
    ) {
        let backwards = self.part == Part::Index;
        let extents: Vec<usize> = sizes.iter().map(|s| s.1).collect();
        if extents.iter().fold(1, |all: usize, e| all.saturating_mul(*e)) > TAPS_MAX {
            super::conv_nest::serial(cx, sizes, |cx, k| {
                let back = |(k, size): (&Affine, &usize)| (k * -1).offset(*size as i64 - 1);
                let k: Vec<Affine> = if backwards { k.iter().zip(&extents).map(back).collect() } else { k.to_vec() };
                body(cx, &k);
            });
            return;
        }
        for_each_index(&extents, |k| {
            let place = |(k, size): (&usize, &usize)| Affine::k(if backwards { size - 1 - k } else { *k } as i64);
            body(cx, &k.iter().zip(&extents).map(place).collect::<Vec<_>>());
        });
    }

    /// Takes tap `number`, which holds `x`, if it is NaN or not less than the best of the taps behind it.
    fn better(&self, cx: &mut LowerCx<'_>, best: Reg, chosen: Reg, x: Reg, number: &Affine) {
        let pick = |taken: Expr, kept: Reg| {
            let nan = Expr::select(Cmp::Ne, x.into(), x.into(), taken.clone(), kept.into());
            Expr::select(Cmp::Ge, x.into(), best.into(), taken, nan)
        };
        let number = cx.b.let_(tap_value(number));
        let (next, now) = (pick(number.into(), chosen), pick(x.into(), best));
        cx.b.set(chosen, next);
        cx.b.set(best, now);
    }

    /// `spread`: for each input a loop over the windows that may see it.
    fn lower_inputs(&self, cx: &mut LowerCx<'_>, looks: &[Look], rank: usize) {
        let names: Vec<String> = looks.iter().enumerate().map(|(i, _)| format!("w{i}")).collect();
        let turns: Vec<(String, usize)> = names.into_iter().zip(looks.iter().map(Look::candidates)).collect();
        let sizes = taps(looks);
        cx.for_each_output(|cx, at| {
            let acc = cx.b.let_(0.0);
            super::conv_nest::serial(cx, &turns, |cx, j| {
                let (mut o, mut k, mut seen) = (Vec::new(), Vec::new(), Vec::new());
                for ((look, q), j) in looks.iter().zip(&at[1..]).zip(j) {
                    let (window, tap, conds) = look.window(cx, q, j);
                    o.push(window);
                    k.push(tap);
                    seen.extend(conds);
                }
                guard(cx, seen, |cx| {
                    let out = [&[at[0].clone()], &o[..rank]].concat();
                    let dy = cx.load(0, &out);
                    let value = self.through(cx, &out, dy, &tap_number(&sizes, &k));
                    let value = match self.count(cx, looks, &o) {
                        Some(count) => value / count,
                        None => value,
                    };
                    cx.b.set(acc, Expr::Reg(acc) + value);
                });
            });
            cx.store(at, acc);
        });
    }
}

impl OpRules for PoolGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = self.pool.attrs();
        let part = |word: &str| Attr::Word(word.to_owned());
        match &self.part {
            Part::Index => attrs.with("part", part("index")),
            Part::Gather => attrs.with("part", part("gather")),
            Part::Spread(dims) => dims.iter().fold(attrs.with("part", part("spread")), |attrs, (name, d)| {
                attrs.with(&format!("{PREFIX}{name}"), Attr::Int(*d as i64))
            }),
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = self.x(inputs)?;
        let out = self.pool.infer(&[&x])?;
        let indexed = self.pool.kind == PoolKind::Max && self.part != Part::Index;
        let like_out = inputs.iter().skip(usize::from(!matches!(self.part, Part::Spread(_))));
        if inputs.len() != 1 + usize::from(indexed) || !like_out.into_iter().all(|t| t.dims() == out.ty.dims()) {
            let shapes: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            return Err(OpError::new(codes::E0206, format!("`pool_grad` cannot take {}", shapes.join(", "))));
        }
        match self.part {
            Part::Index | Part::Gather => Ok(out),
            Part::Spread(_) => Ok(Inferred { why: vec![Why::given("the pool's input"); x.dims().len()], ty: x }),
        }
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let part = match &self.part {
            Part::Index => return at.each(|_| Ok(None)),
            Part::Spread(_) => Part::Gather,
            Part::Gather => Self::spread(self.pool.clone(), e.ty(at.inputs[0])).part,
        };
        at.each(|i| match i {
            0 => {
                let inputs = [&[at.dy], &at.inputs[1..]].concat();
                Ok(Some(e.op(Self { pool: self.pool.clone(), part: part.clone() }.into(), &inputs)?))
            }
            _ => Err(NotDifferentiable::new("an index is a whole number")),
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x_dims = if let Part::Spread(_) = self.part { out.dims().to_vec() } else { inputs[0].dims.clone() };
        let y_dims = if let Part::Spread(_) = self.part { inputs[0].dims.clone() } else { out.dims().to_vec() };
        let looks = self.pool.looks(&x_dims, &y_dims);
        let mut result = Array::zeros(out.dims());
        for_each_index(&y_dims, |at| {
            let mut p = at[1..].to_vec();
            p.resize(looks.len(), 0); // a global pool leaves no grid
            let windows: Vec<&Vec<i64>> = looks.iter().zip(&p).map(|(l, o)| &l[*o]).collect();
            let full = self.pool.full_window(&x_dims);
            let extents: Vec<usize> = windows.iter().map(|w| w.len()).collect();
            let mut seen = Vec::new();
            for_each_index(&extents, |k| {
                let number = k.iter().zip(&full).fold(0, |number, (k, f)| number * f + k);
                let from: Vec<i64> = windows.iter().zip(k).map(|(w, k)| w[*k]).collect();
                let inside = from.iter().zip(&x_dims[1..]).all(|(i, d)| (0..*d as i64).contains(i));
                if inside {
                    let from = [at[0]].into_iter().chain(from.iter().map(|i| *i as usize)).collect::<Vec<_>>();
                    seen.push((number, from));
                }
            });
            let count = if self.pool.count_pad { extents.iter().product() } else { seen.len() } as f64;
            let share = |number: usize| match self.pool.kind {
                PoolKind::Max => f64::from(u8::from(inputs[1].at(at) == number as f64)),
                PoolKind::Avg => 1.0 / count,
                PoolKind::Lp(_) => 1.0,
            };
            match self.part {
                Part::Index => {
                    let value = |i: usize| inputs[0].at(&seen[i].1);
                    let best = (0..seen.len()).fold(0, |best, i| {
                        let nan = value(i).is_nan() && !value(best).is_nan();
                        if value(i) > value(best) || nan { i } else { best }
                    });
                    *result.at_mut(at) = seen[best].0 as f64;
                }
                Part::Gather => {
                    *result.at_mut(at) = seen.iter().map(|(number, from)| share(*number) * inputs[0].at(from)).sum();
                }
                Part::Spread(_) => {
                    seen.iter().for_each(|(number, from)| *result.at_mut(from) += share(*number) * inputs[0].at(at));
                }
            }
        });
        result
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = if let Part::Spread(_) = self.part { cx.out().clone() } else { cx.input(0).clone() };
        let looks = looks(&self.pool, &x);
        match self.part {
            Part::Index | Part::Gather => self.lower_outputs(cx, &looks),
            Part::Spread(_) => {
                let rank = cx.input(0).dims().len() - 1;
                if !pool_spread::lower(cx, self, &looks, rank) {
                    self.lower_inputs(cx, &looks, rank);
                }
            }
        }
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        // Vectors run over channels, unless these compete with their neighbours.
        let mut wants = Wants::any(inputs.len());
        if !matches!(self.pool.over, Over::Channels { dilation: 1, .. }) {
            let near = |ty: &&TensorTy| Want::Channels(vec![(0, 0); ty.dims().len()]);
            wants.inputs = inputs.iter().map(near).collect();
        }
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let x = if let Part::Spread(_) = self.part { out } else { inputs[0] };
        let y = if let Part::Spread(_) = self.part { inputs[0] } else { out };
        let taps: usize = taps(&looks(&self.pool, x)).iter().map(|t| t.1).product();
        shape_rules::flops(y, taps as u64)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}
