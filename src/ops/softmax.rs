//! Softmax over the channels of each grid position, `y[c] = e^(x[c] - m) / Σ_k e^(x[k] - m)` with `m` the greatest of them
//! (which cancels and keeps e^ from overflowing), and its logarithm `x[c] - m - log Σ_k e^(x[k] - m)`.

use super::softmax_grad::SoftmaxGrad;
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{Attr, Attrs};
use super::case::{Case, Fill, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, for_each_channel, for_each_position, max, sum};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Expr, UnOp};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// Its logarithm instead.
    pub log: bool,
}

impl Softmax {
    /// What printed graphs call it.
    pub const KIND: &'static str = "softmax";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "softmax",
            family: "normalising",
            doc: "e^x over the sum of e^x of all channels at the same position: channels become probabilities.",
            tensors: (1, 1),
            params: &[],
            example: "net Classify(x: [c: 3, h: 8, w: 8]) -> [c: 10] { x |> dense(10) |> softmax }",
            make: |_, _| Ok(Made::op(Self { log: false })),
        },
        OpInfo {
            name: "log_softmax",
            family: "normalising",
            doc: "The logarithm of `softmax`, computed without it.",
            tensors: (1, 1),
            params: &[],
            example: "net LogP(x: [c: 3, h: 8, w: 8]) -> [c: 10] { x |> dense(10) |> log_softmax }",
            make: |_, _| Ok(Made::op(Self { log: true })),
        },
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { log: attrs.bool("log")? })
    }

    /// Test cases; large logits overflow a form that does not subtract the greatest.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for log in [false, true] {
            let op = || Self { log };
            all.push(Case::new("rank 0", op(), vec![act(3, 10, &[])]));
            all.push(Case::new("2d", op(), vec![act(2, 5, &[("h", 3), ("w", 7)])]));
            all.push(Case::new("3d", op(), vec![act(1, 3, &[("d", 2), ("h", 3), ("w", 2)])]));
            all.push(Case::new("far", op(), vec![act(1, 17, &[])]).fill(&[Fill::Uniform(-200.0, 200.0)]));
            all.push(Case::new("one channel", op(), vec![act(1, 1, &[("t", 5)])]));
        }
        all
    }
}

impl OpRules for Softmax {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("log", Attr::Bool(self.log))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.only(e.op(SoftmaxGrad { log: self.log }.into(), &[at.y, at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let channel = |at: &[usize], c: usize| {
            let mut at = at.to_vec();
            at[1] = c;
            x.at(&at)
        };
        Array::from_fn(out.dims(), |at| {
            let greatest = (0..out.c()).map(|c| channel(at, c)).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = (0..out.c()).map(|c| libm::exp(channel(at, c) - greatest)).sum();
            let log = x.at(at) - greatest - libm::log(total);
            if self.log { log } else { libm::exp(x.at(at) - greatest) / total }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let channels = [("k", cx.out().c())];
        for_each_position(cx, |cx, p| {
            let greatest = max(cx, &channels, &mut |cx, k| cx.load(0, &at_channel(p, &k[0])));
            let total = sum(cx, &channels, &mut |cx, k| {
                let x = cx.load(0, &at_channel(p, &k[0]));
                Expr::un(UnOp::Exp, x - greatest.into())
            });
            let last = if self.log {
                cx.b.let_(Expr::un(UnOp::Log, total.into()))
            } else {
                cx.b.let_(Expr::from(1.0) / total.into())
            };
            for_each_channel(cx, p, |cx, at| {
                let shifted = cx.load(0, at) - greatest.into();
                let value = if self.log {
                    shifted - last.into()
                } else {
                    Expr::un(UnOp::Exp, shifted) * last.into()
                };
                cx.store(at, value);
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
        // A comparison, a subtraction, an exponential, an addition and a quotient.
        shape_rules::flops(out, 5)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
