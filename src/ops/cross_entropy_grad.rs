//! The gradient of [`super::cross_entropy`] by its prediction: with `q` the target distribution (smoothed), `s[p]` the share of
//! position `p` in its sample's mean (0 where it is ignored) and `dy` one number per sample,
//!
//! * of logits: `dx[k, p] = dy s[p] (Q e^(x[k] - m) / Σ_j e^(x[j] - m) - q[k])`, `Q = Σ_k q[k]`, `m` the greatest logit;
//! * of log-probabilities: `dx[k, p] = -dy s[p] q[k]`.
//!
//! Class weights multiply `q`. A label that is no class has an infinite loss and counts as `q = 0` here, with `Q = 1` unless classes
//! are weighed. Inputs: `x`, label, class weights if there are any, `dy`. The language has
//! no name for it.

use super::aggregate::{Aggregate, AggregateFn};
use super::args::Attrs;
use super::case::{Case, act};
use super::cross_entropy::CrossEntropy;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, grid, max, sum};
use super::role::Role;
use super::softmax::Softmax;
use super::softmax_grad::SoftmaxGrad;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Affine, BinOp, Cmp, Expr, LoopKind, Reg, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropyGrad {
    /// The loss.
    pub of: CrossEntropy,
}

impl CrossEntropyGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "cross_entropy_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: those of the loss.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { of: CrossEntropy::from_attrs(attrs)? })
    }

    /// Test cases: those of the loss.
    pub fn cases() -> Vec<Case> {
        let of = |case: Case| {
            let super::Op::CrossEntropy(of) = &case.op else { return case };
            let mut inputs = case.inputs.clone();
            inputs.push(act(inputs[0].n(), 1, &[]));
            Case::new(case.name.clone(), Self { of: of.clone() }, inputs).fill(&case.fill)
        };
        CrossEntropy::cases().into_iter().map(of).collect()
    }

    /// `dy` over the number of positions that count, in a register.
    fn share(&self, cx: &mut LowerCx<'_>, n: &Affine) -> Reg {
        let x = cx.input(0).clone();
        let dy = cx.load(cx.inputs() - 1, &[n.clone(), Affine::k(0)]);
        let count = match self.of.ignore {
            None => Expr::Const(x.grid_dims().iter().product::<usize>().max(1) as f32),
            Some(ignore) => {
                let count = sum(cx, &grid(&x), &mut |cx, p| {
                    let label = cx.load(1, &[&[n.clone(), Affine::k(0)], p].concat());
                    Expr::select(Cmp::Eq, label, (ignore as f32).into(), 0.0.into(), 1.0.into())
                });
                Expr::bin(BinOp::Max, count.into(), 1.0.into())
            }
        };
        cx.b.let_(dy / count)
    }

    /// The target of class `k`, smoothed and weighed.
    fn target(&self, cx: &LowerCx<'_>, p: &[Affine], label: Option<Reg>, k: &Affine) -> Expr {
        let own = match label {
            Some(label) => Expr::select(Cmp::Eq, label.into(), Expr::Index(k.clone()), 1.0.into(), 0.0.into()),
            None => cx.load(1, &at_channel(p, k)),
        };
        let smooth = self.of.smooth;
        let q = match smooth > 0.0 {
            true => Expr::fma(own, (1.0 - smooth).into(), (smooth / cx.input(0).c() as f32).into()),
            false => own,
        };
        let weighed = cx.inputs() == 4;
        if weighed { q * CrossEntropy::class_weight(cx, weighed, k) } else { q }
    }

    /// One position: its normaliser, then its channels.
    fn position(&self, cx: &mut LowerCx<'_>, p: &[Affine], share: Reg) {
        let channels = [("k", cx.input(0).c())];
        let label = (cx.input(1).c() == 1).then(|| {
            let label = cx.load(1, p);
            cx.b.let_(label)
        });
        let share = match (label, self.of.ignore) {
            (Some(label), Some(i)) => {
                cx.b.let_(Expr::select(Cmp::Eq, label.into(), (i as f32).into(), 0.0.into(), share.into()))
            }
            (Some(_) | None, _) => share,
        };
        // The greatest logit, and what e^x is multiplied by: the sum of the targets times the share over the normaliser.
        let softmax = self.of.logits.then(|| {
            let greatest = max(cx, &channels, &mut |cx, k| cx.load(0, &at_channel(p, &k[0])));
            let total = sum(cx, &channels, &mut |cx, k| {
                let x = cx.load(0, &at_channel(p, &k[0]));
                Expr::un(UnOp::Exp, x - greatest.into())
            });
            let targets = match label {
                Some(_) if cx.inputs() == 3 => Expr::Const(1.0),
                Some(_) | None => sum(cx, &channels, &mut |cx, k| self.target(cx, p, label, &k[0])).into(),
            };
            (greatest, cx.b.let_(Expr::from(share) * targets / total.into()))
        });
        cx.nested(LoopKind::Free, &channels, |cx, vars| {
            let k = Affine::from(vars[0]);
            let at = at_channel(p, &k);
            let minus_q = Expr::un(UnOp::Neg, self.target(cx, p, label, &k) * share.into());
            let value = match softmax {
                Some((shift, scale)) => {
                    let exp = Expr::un(UnOp::Exp, cx.load(0, &at) - shift.into());
                    Expr::fma(exp, scale.into(), minus_q)
                }
                None => minus_q,
            };
            cx.store(&at, value);
        });
    }
}

impl OpRules for CrossEntropyGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.of.attrs()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let Some((dy, of)) = inputs.split_last().filter(|(_, of)| of.len() >= 2) else {
            return Err(OpError::new(codes::E0206, "`cross_entropy_grad` needs a prediction, a label and a gradient"));
        };
        let loss = self.of.infer(of)?;
        if dy.dims() != loss.ty.dims() {
            return Err(OpError::new(codes::E0206, format!("a gradient {dy} of a loss {}", loss.ty)));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, label, last) = (at.inputs[0], at.inputs[1], at.inputs.len() - 1);
        let (dy, weighed) = (at.inputs[last], last == 3);
        let ty = e.ty(x).clone();
        at.each(|i| match i {
            0 if !self.of.logits => Ok(None),
            // The softmax' own gradient, times what the whole target distribution of a position weighs in its sample.
            0 if self.of.ignore.is_some() || weighed || e.ty(label).c() != 1 => {
                let plain = Self { of: CrossEntropy { logits: false, ..self.of.clone() } };
                let minus = e.op(plain.into(), at.inputs)?;
                let minus = e.op(Aggregate { f: AggregateFn::Sum, dims: vec![1] }.into(), &[minus])?;
                let weighed = e.mul(at.dy, minus)?;
                let weighed = e.scale(weighed, -1.0)?;
                let y = e.op(Softmax { log: false }.into(), &[x])?;
                Ok(Some(e.op(SoftmaxGrad { log: false }.into(), &[y, weighed])?))
            }
            // The softmax' own gradient.
            0 => {
                let y = e.op(Softmax { log: false }.into(), &[x])?;
                let share = 1.0 / ty.grid_dims().iter().product::<usize>().max(1) as f32;
                let scaled = e.mul(at.dy, dy)?;
                let scaled = e.scale(scaled, share)?;
                Ok(Some(e.op(SoftmaxGrad { log: false }.into(), &[y, scaled])?))
            }
            // It is linear in `dy`.
            _ if i == last => {
                let ones = e.ty(dy).clone();
                let one = e.fill(ones, 1.0);
                let slopes = e.op(self.clone().into(), &[&at.inputs[..last], &[one]].concat())?;
                let part = e.mul(slopes, at.dy)?;
                Ok(Some(e.sum_like(part, dy)?))
            }
            _ => Err(NotDifferentiable::new("targets and class weights have first derivatives only")),
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, t, dy) = (inputs[0], inputs[1], inputs[inputs.len() - 1]);
        let (classes, s) = (out.c(), f64::from(self.of.smooth));
        let index = |at: &[usize], c: usize| -> Vec<usize> { [at[0], c].iter().chain(&at[2..]).copied().collect() };
        let q = |at: &[usize], k: usize| {
            let own = match t.dims[1] {
                1 => f64::from(u8::from(t.at(&index(at, 0)) == k as f64)),
                _ => t.at(&index(at, k)),
            };
            let weight = if inputs.len() == 4 { inputs[2].data[k] } else { 1.0 };
            weight * ((1.0 - s) * own + s / classes as f64)
        };
        let counts = |at: &[usize]| {
            let ignored = self.of.ignore.is_some_and(|i| t.dims[1] == 1 && t.at(&index(at, 0)) == i as f64);
            f64::from(u8::from(!ignored))
        };
        Array::from_fn(out.dims(), |at| {
            let mut total = 0.0;
            crate::tensor::array::for_each_index(&out.dims()[2..], |p| {
                total += counts(&[&at[..2], p].concat());
            });
            let share = dy.at(&[at[0], 0]) * counts(at) / total.max(1.0);
            if !self.of.logits {
                return -share * q(at, at[1]);
            }
            let scores: Vec<f64> = (0..classes).map(|k| x.at(&index(at, k))).collect();
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let all: f64 = scores.iter().map(|v| libm::exp(v - greatest)).sum();
            let unweighed = t.dims[1] == 1 && inputs.len() == 3;
            let targets = if unweighed { 1.0 } else { (0..classes).map(|k| q(at, k)).sum() };
            share * (targets * libm::exp(x.at(at) - greatest) / all - q(at, at[1]))
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        cx.nested(LoopKind::Free, &[("n", x.n())], |cx, n| {
            let n = Affine::from(n[0]);
            let share = self.share(cx, &n);
            cx.nested(LoopKind::Free, &grid(&x), |cx, vars| {
                let mut p = vec![n.clone(), Affine::k(0)];
                p.extend(vars.iter().map(|v| Affine::from(*v)));
                self.position(cx, &p, share);
            });
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, if self.of.logits { 8 } else { 3 })
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
