//! What batch normalisation needs of an activation while training, from sums over its bands ([`super::bands`]), with `N` elements of a
//! channel, `k[s]` of them in band `s` (Chan, Golub & LeVeque 1983):
//!
//! * `mean`:  `Σ_s k[s] mean[s] / N`, input the moments;
//! * `var`:   `Σ_s (m[s] + k[s] (mean[s] - mean)^2) / N`, inputs the moments and the mean;
//! * `sum`:   `Σ_s Σ dy`, input the sums of the gradient;
//! * `along`: `Σ_s Σ dy (x - mean) / sqrt(var + eps)`, inputs those and the variance.
//!
//! Only a pass makes it.

use super::args::{Attr, Attrs};
use super::batchnorm_grad::BatchNormGrad;
use super::case::{Case, Fill, weight};
use super::channel_loops::listed;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::moment::Moment;
use super::reduce::sum;
use super::role::Role;
use super::sum::Kept;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{At, Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// What is made of the sums.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// The mean.
    Mean,
    /// The biased variance.
    Var,
    /// `Σ dy`
    Sum,
    /// `Σ dy (x - mean) / sqrt(var + eps)`
    Along {
        /// What keeps the root from 0.
        eps: f32,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct BandFold {
    /// What.
    pub what: What,
    /// Elements of a channel in each band.
    pub counts: Vec<usize>,
}

impl BandFold {
    /// What printed graphs call it.
    pub const KIND: &'static str = "band_fold";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let what = match attrs.word("what")? {
            "mean" => What::Mean,
            "var" => What::Var,
            "sum" => What::Sum,
            "along" => What::Along { eps: attrs.float("eps")? },
            other => return Err(format!("no sums over bands make `{other}`")),
        };
        Ok(Self { what, counts: attrs.sizes("counts")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let whats = [What::Mean, What::Var, What::Sum, What::Along { eps: 1e-5 }];
        let mut all = Vec::new();
        for (name, counts, c) in [("even", vec![24; 5], 16), ("uneven", vec![24, 24, 8, 24, 24, 8], 5)] {
            for what in whats {
                let sums = weight(&[("s", counts.len()), ("m", 2), ("c", c)]);
                let of_channel = weight(&[("c", c)]);
                let op = Self { what, counts: counts.clone() };
                let inputs = if op.operands() == 2 { vec![sums, of_channel] } else { vec![sums] };
                all.push(Case::new(format!("{} {name}", op.word()), op, inputs).fill(&[Fill::Uniform(0.5, 2.0); 2]));
            }
        }
        all
    }

    fn word(&self) -> &'static str {
        match self.what {
            What::Mean => "mean",
            What::Var => "var",
            What::Sum => "sum",
            What::Along { .. } => "along",
        }
    }

    fn operands(&self) -> usize {
        match self.what {
            What::Mean | What::Sum => 1,
            What::Var | What::Along { .. } => 2,
        }
    }

    /// `N`
    fn all(&self) -> f64 {
        self.counts.iter().map(|k| *k as f64).sum()
    }
}

impl OpRules for BandFold {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let counts = Attr::Ints(self.counts.iter().map(|k| *k as i64).collect());
        let attrs = Attrs::default().with("what", Attr::Word(self.word().into())).with("counts", counts);
        if let What::Along { eps } = self.what { attrs.with("eps", Attr::Float(eps)) } else { attrs }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let sums = inputs[0];
        let c = match *sums.dims() {
            [s, 2, c] if s == self.counts.len() => Some(c),
            _ => None,
        };
        let others = inputs.len() == self.operands() && inputs[1..].iter().all(|v| Some(v.dims()) == c.as_ref().map(std::slice::from_ref));
        let Some(c) = c.filter(|_| others && !self.counts.contains(&0)) else {
            return Err(OpError::new(codes::E0206, format!("`band_fold` does not fit {sums}")).at(At::Input(0)));
        };
        Ok(Inferred { ty: shape_rules::per_channel("band_fold", c)?, why: vec![Why::same(0, 2)] })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `band_fold`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |c| {
            let sums = |m: usize| self.counts.iter().enumerate().map(move |(s, k)| (inputs[0].at(&[s, m, c[0]]), *k as f64));
            match self.what {
                What::Mean => sums(0).map(|(mean, k)| mean * k).sum::<f64>() / self.all(),
                What::Var => {
                    let between: f64 = sums(0).map(|(mean, k)| k * (mean - inputs[1].at(c)).powi(2)).sum();
                    (sums(1).map(|s| s.0).sum::<f64>() + between) / self.all()
                }
                What::Sum => sums(0).map(|s| s.0).sum(),
                What::Along { eps } => {
                    sums(1).map(|s| s.0).sum::<f64>() / (inputs[1].at(c) + f64::from(eps)).sqrt()
                }
            }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let bands = self.counts.len();
        let counts: Vec<i64> = self.counts.iter().map(|k| *k as i64).collect();
        cx.nested(LoopKind::Free, &[("c", cx.out().dims()[0])], |cx, c| {
            let c = Affine::from(c[0]);
            let other = (self.operands() == 2).then(|| {
                let other = cx.load(1, std::slice::from_ref(&c));
                cx.b.let_(other)
            });
            let total = sum(cx, &[("s", bands)], &mut |cx, s| {
                let at = |m: i64| [s[0].clone(), Affine::k(m), c.clone()];
                let (first, second) = (cx.load(0, &at(0)), cx.load(0, &at(1)));
                let count = |cx: &mut LowerCx<'_>| Expr::Index(listed(cx, "count", &s[0], &counts));
                match (self.what, other) {
                    (What::Mean, _) => first * count(cx),
                    (What::Var, Some(mean)) => {
                        let d = cx.b.let_(first - mean.into());
                        Expr::fma(Expr::Reg(d) * d.into(), count(cx), second)
                    }
                    (What::Along { .. }, _) => second,
                    (What::Sum | What::Var, _) => first,
                }
            });
            let value = match (self.what, other) {
                (What::Mean | What::Var, _) => Expr::Reg(total) * ((1.0 / self.all()) as f32).into(),
                (What::Along { eps }, Some(var)) => {
                    Expr::Reg(total) / Expr::un(UnOp::Sqrt, Expr::Reg(var) + eps.into())
                }
                (What::Sum | What::Along { .. }, _) => total.into(),
            };
            cx.store(std::slice::from_ref(&c), value);
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

    fn cost(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        shape_rules::flops(inputs[0], 2)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}

/// A sum over the batch and the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whole {
    /// Over both: what bands can serve.
    All(What),
    /// `Σ dy` over the grid, for each sample and channel; what `sum` may be made of.
    PerSample,
}

/// Which of them `op` on an activation of type `x` is, or on that and others: of `along` the operands are `x, dy, mean, var`.
pub fn whole(op: &Op, x: &TensorTy) -> Option<Whole> {
    match op {
        Op::Moment(Moment::Mean) => Some(Whole::All(What::Mean)),
        Op::Moment(Moment::Var) => Some(Whole::All(What::Var)),
        Op::BatchNormGrad(BatchNormGrad { input: None, eps }) => Some(Whole::All(What::Along { eps: *eps })),
        Op::Sum(sum) => {
            let channels = |k: &Kept| k.dim == 1 && k.extent == x.c();
            let samples = |k: &Kept| k.dim == 0 && k.extent == x.n();
            match sum.kept.as_slice() {
                [c] if channels(c) => Some(Whole::All(What::Sum)),
                [n, c, rest @ ..] if samples(n) && channels(c) && rest.iter().all(|k| k.extent == 1) => {
                    Some(Whole::PerSample)
                }
                _ => None,
            }
        }
        _ => None,
    }
}
