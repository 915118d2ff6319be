//! The gradient of [`super::lrn`]: with `b[c] = k + alpha / size Σ_j x[j]^2` over the window of `c`,
//! `dx[c] = dy[c] b[c]^-beta - 2 alpha beta / size x[c] Σ_i dy[i] x[i] b[i]^(-beta - 1)`, `i` over the channels whose window holds
//! `c`. Inputs: `x`, `dy`. The language has no name for it.

use super::args::Attrs;
use super::case::Case;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::lrn::Lrn;
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Affine, BinOp, Expr, LoopKind, Reg};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct LrnGrad {
    /// The normalisation.
    pub of: Lrn,
}

impl LrnGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "lrn_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: those of the normalisation.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Lrn::from_attrs(attrs).map(|of| Self { of })
    }

    /// Test cases: those of the normalisation.
    pub fn cases() -> Vec<Case> {
        let of = |case: Case| match &case.op {
            super::Op::Lrn(of) => {
                Case::new(case.name.clone(), Self { of: of.clone() }, vec![case.inputs[0].clone(), case.inputs[0].clone()])
            }
            _ => case,
        };
        Lrn::cases().into_iter().map(of).collect()
    }

    /// Runs `body` for the channels `c - before ..= c + after` that exist.
    fn window<'a>(
        &self,
        cx: &mut LowerCx<'a>,
        c: &Affine,
        before: usize,
        body: impl FnOnce(&mut LowerCx<'a>, &Affine),
    ) {
        let last = cx.out().c() as i64 - 1;
        cx.nested(LoopKind::Serial, &[("j", self.of.size)], |cx, vars| {
            let channel = (c + &Affine::from(vars[0])).offset(-(before as i64));
            let inside = vec![channel.clone(), Affine::k(last).minus(&channel)];
            let mut body = Some(body);
            cx.if_(inside, |cx| {
                if let Some(body) = body.take() {
                    body(cx, &channel);
                }
            });
        });
    }

    /// `b[c]`
    fn base(&self, cx: &mut LowerCx<'_>, at: &[Affine]) -> Reg {
        let squares = cx.b.let_(0.0);
        self.window(cx, &at[1], self.of.size / 2, |cx, j| {
            let x = cx.load(0, &super::reduce::at_channel(at, j));
            let x = cx.b.let_(x);
            cx.b.set(squares, Expr::fma(x.into(), x.into(), squares.into()));
        });
        let share = self.of.alpha / self.of.size as f32;
        cx.b.let_(Expr::fma(squares.into(), share.into(), self.of.k.into()))
    }
}

impl OpRules for LrnGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.of.attrs()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("`lrn` has first derivatives only")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, dy) = (inputs[0], inputs[1]);
        let Lrn { size, alpha, beta, k } = self.of;
        let (alpha, beta, k) = (f64::from(alpha), f64::from(beta), f64::from(k));
        let holds = |c: usize, j: usize| j + size / 2 >= c && j <= c + (size - 1) / 2;
        let channel = |at: &[usize], c: usize| [&at[..1], &[c], &at[2..]].concat();
        let base = |at: &[usize]| {
            let seen = (0..out.c()).filter(|j| holds(at[1], *j));
            k + alpha / size as f64 * seen.map(|j| x.at(&channel(at, j)).powi(2)).sum::<f64>()
        };
        Array::from_fn(out.dims(), |at| {
            let others = (0..out.c()).filter(|i| holds(*i, at[1])).map(|i| channel(at, i));
            let sum: f64 = others.map(|i| dy.at(&i) * x.at(&i) * libm::pow(base(&i), -beta - 1.0)).sum();
            dy.at(at) * libm::pow(base(at), -beta) - 2.0 * alpha * beta / size as f64 * x.at(at) * sum
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let Lrn { size, alpha, beta, .. } = self.of;
        cx.for_each_output(|cx, at| {
            let total = cx.b.let_(0.0);
            self.window(cx, &at[1], (size - 1) / 2, |cx, i| {
                let other = super::reduce::at_channel(at, i);
                let base = self.base(cx, &other);
                let power = Expr::bin(BinOp::Pow, base.into(), (-beta - 1.0).into());
                let term = cx.load(1, &other) * cx.load(0, &other);
                cx.b.set(total, Expr::fma(term, power, total.into()));
            });
            let base = self.base(cx, at);
            let own = cx.load(1, at) * Expr::bin(BinOp::Pow, base.into(), (-beta).into());
            let share = -2.0 * alpha * beta / size as f32;
            let value = Expr::fma(cx.load(0, at) * share.into(), total.into(), own);
            cx.store(at, value);
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
        shape_rules::flops(out, (2 * self.of.size * self.of.size) as u64)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
