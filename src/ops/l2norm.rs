//! Unit length across channels: `y[c] = x[c] / max(sqrt(Σ_k x[k]^2), eps)` at each grid position.

use super::l2norm_grad::L2NormGrad;
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, for_each_channel, for_each_position, sum};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, shape_rules};
use crate::loops::{BinOp, Expr, UnOp};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct L2Norm {
    /// Least length that is divided by.
    pub eps: f32,
}

fn make(args: &CallArgs, _inputs: &[&TensorTy]) -> Result<Made, OpError> {
    Ok(Made::op(L2Norm { eps: shape_rules::positive("l2norm", args, "eps", 1e-12)? }))
}

impl L2Norm {
    /// What printed graphs call it.
    pub const KIND: &'static str = "l2norm";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "l2norm",
        family: "normalising",
        doc: "Divides the channels of each position by their Euclidean length.",
        tensors: (1, 1),
        params: &[Param::option("eps", ArgTy::Float, "1e-12", "least length that is divided by")],
        example: "net Unit(x: [c: 8, h: 4, w: 4]) -> [c: 8, h: 4, w: 4] { x |> l2norm }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { eps: attrs.float("eps")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = || Self { eps: 1e-12 };
        vec![
            Case::new("2d", op(), vec![act(3, 7, &[("h", 3), ("w", 5)])]),
            Case::new("rank 0", op(), vec![act(2, 33, &[])]),
            Case::new("1d", op(), vec![act(1, 2, &[("t", 6)])]),
            Case::new("short", Self { eps: 10.0 }, vec![act(1, 3, &[("t", 6)])]).fill(&[Fill::Uniform(-1.0, 1.0)]),
        ]
    }
}

impl OpRules for L2Norm {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("eps", Attr::Float(self.eps))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.only(e.op(L2NormGrad { eps: self.eps }.into(), &[at.inputs[0], at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        Array::from_fn(out.dims(), |at| {
            let mut other = at.to_vec();
            let mut squares = 0.0;
            for c in 0..out.c() {
                other[1] = c;
                squares += x.at(&other) * x.at(&other);
            }
            x.at(at) / squares.sqrt().max(f64::from(self.eps))
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let channels = [("k", cx.out().c())];
        for_each_position(cx, |cx, p| {
            let squares = sum(cx, &channels, &mut |cx, k| {
                let x = cx.load(0, &at_channel(p, &k[0]));
                let x = cx.b.let_(x);
                Expr::from(x) * x.into()
            });
            let length = Expr::bin(BinOp::Max, Expr::un(UnOp::Sqrt, squares.into()), self.eps.into());
            let scale = cx.b.let_(Expr::from(1.0) / length);
            for_each_channel(cx, p, |cx, at| {
                let value = cx.load(0, at) * scale.into();
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
        shape_rules::flops(out, 3)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
