//! Local response normalisation across channels (Krizhevsky et al. 2012):
//! `y[c] = x[c] / (k + alpha / size * Σ_j x[j]^2)^beta`, `j` over the channels `c - floor(size / 2) ..= c + floor((size - 1) / 2)`
//! that exist. `alpha` is divided by `size`, as in ONNX and PyTorch.

use super::lrn_grad::LrnGrad;
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, shape_rules};
use crate::loops::{Affine, BinOp, Expr, LoopKind};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Lrn {
    /// Channels in a window.
    pub size: usize,
    /// Weight of the mean square.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// What keeps the base from 0.
    pub k: f32,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let number = |name, default| shape_rules::positive("lrn", args, name, default);
    // A window never sees more than all channels, on either side.
    let size = shape_rules::count("lrn", args, "size", 5)?;
    if size > 2 * inputs[0].c() + 1 {
        let message = format!("a window of {size} channels over {}", shape_rules::plural(inputs[0].c(), "channel"));
        return Err(shape_rules::out_of_range("size", message).blame(0, 1));
    }
    Ok(Made::op(Lrn {
        size,
        alpha: number("alpha", 1e-4)?,
        beta: number("beta", 0.75)?,
        k: number("k", 1.0)?,
    }))
}

impl Lrn {
    /// What printed graphs call it.
    pub const KIND: &'static str = "lrn";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "lrn",
        family: "normalising",
        doc: "x / (k + alpha * mean square of neighbouring channels)^beta; shapes stay.",
        tensors: (1, 1),
        params: &[
            Param::place("size", ArgTy::Int, "5", "channels in a window"),
            Param::option("alpha", ArgTy::Float, "1e-4", "weight of the mean square"),
            Param::option("beta", ArgTy::Float, "0.75", "exponent"),
            Param::option("k", ArgTy::Float, "1", "added to the mean square"),
        ],
        example: "net Local(x: [c: 8, h: 4, w: 4]) -> [c: 8, h: 4, w: 4] { x |> lrn(5, k: 2) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self {
            size: attrs.size("size")?,
            alpha: attrs.float("alpha")?,
            beta: attrs.float("beta")?,
            k: attrs.float("k")?,
        })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |size, alpha| Self { size, alpha, beta: 0.75, k: 1.0 };
        vec![
            Case::new("2d", op(5, 1.0), vec![act(3, 7, &[("h", 3), ("w", 5)])]),
            Case::new("even", op(4, 0.5), vec![act(1, 6, &[("t", 5)])]),
            Case::new("wide", op(7, 2.0), vec![act(2, 3, &[("d", 2), ("h", 2), ("w", 3)])]),
            Case::new("rank 0", op(3, 1.0), vec![act(1, 9, &[])]),
        ]
    }
}

impl OpRules for Lrn {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
            .with("size", Attr::Int(self.size as i64))
            .with("alpha", Attr::Float(self.alpha))
            .with("beta", Attr::Float(self.beta))
            .with("k", Attr::Float(self.k))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.only(e.op(LrnGrad { of: self.clone() }.into(), &[at.inputs[0], at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        Array::from_fn(out.dims(), |at| {
            let mut squares = 0.0;
            for j in 0..out.c() {
                if j + self.size / 2 >= at[1] && j <= at[1] + (self.size - 1) / 2 {
                    let mut other = at.to_vec();
                    other[1] = j;
                    squares += x.at(&other) * x.at(&other);
                }
            }
            let base = f64::from(self.k) + f64::from(self.alpha) / self.size as f64 * squares;
            x.at(at) / libm::pow(base, f64::from(self.beta))
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let last = cx.out().c() as i64 - 1;
        cx.for_each_output(|cx, at| {
            let squares = cx.b.let_(0.0);
            cx.nested(LoopKind::Serial, &[("j", self.size)], |cx, vars| {
                let channel = (&at[1] + &Affine::from(vars[0])).offset(-((self.size / 2) as i64));
                let mut other = at.to_vec();
                other[1] = channel.clone();
                let inside = vec![channel.clone(), Affine::k(last).minus(&channel)];
                cx.if_(inside, |cx| {
                    let x = cx.load(0, &other);
                    let x = cx.b.let_(x);
                    cx.b.set(squares, Expr::fma(x.into(), x.into(), squares.into()));
                });
            });
            let share = self.alpha / self.size as f32;
            let base = Expr::fma(squares.into(), share.into(), self.k.into());
            let value = cx.load(0, at) / Expr::bin(BinOp::Pow, base, self.beta.into());
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
        // A square and a sum per channel of the window, then a multiply-add, a power and a quotient.
        shape_rules::flops(out, 2 * self.size as u64 + 4)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
