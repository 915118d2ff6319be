//! The gradient of [`super::l2norm`]: with `r = sqrt(Σ_k x[k]^2)` at each position, `dx[c] = (dy[c] - x[c] Σ_k x[k] dy[k] / r^2) / r`
//! where `r > eps`, else `dy[c] / eps`. Inputs: `x`, `dy`. The language has no name for it.

use super::args::{Attr, Attrs};
use super::case::{Case, act};
use super::l2norm::L2Norm;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, for_each_channel, for_each_position, sum};
use super::role::Role;
use super::aggregate::{Aggregate, AggregateFn};
use super::binary::{Binary, BinaryFn, Number};
use super::pointwise::{Pointwise, PointwiseFn};
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, Pulled, Val};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Cmp, Expr, UnOp};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct L2NormGrad {
    /// Least length that is divided by.
    pub eps: f32,
}

impl L2NormGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "l2norm_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        L2Norm::from_attrs(attrs).map(|n| Self { eps: n.eps })
    }

    /// Test cases: those of the norm.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (name, eps, x) in [
            ("2d", 1e-12, act(3, 7, &[("h", 3), ("w", 5)])),
            ("rank 0", 1e-12, act(2, 33, &[])),
            ("short", 10.0, act(1, 3, &[("t", 6)])),
        ] {
            all.push(Case::new(name, Self { eps }, vec![x.clone(), x]));
        }
        all
    }

    /// The derivative by `x` of `Σ t dx`: with `a = Σ x g`, `b = Σ x t`, `c = Σ g t` at a position,
    /// `(3 x a b / r^2 - x c - g b - t a) / r^3` where `r > eps`, else 0.
    fn by_input(&self, e: &mut dyn Emit, x: Val, g: Val, t: Val) -> Result<Val, OpError> {
        let inner = |e: &mut dyn Emit, a: Val, b: Val| {
            let product = e.mul(a, b)?;
            e.op(Aggregate { f: AggregateFn::Sum, dims: vec![1] }.into(), &[product])
        };
        let (a, b, c) = (inner(e, x, g)?, inner(e, x, t)?, inner(e, g, t)?);
        let squares = inner(e, x, x)?;
        let r = e.map(UnaryFn::Sqrt, squares)?;
        let eps = e.op(Binary::with(BinaryFn::Mul, Number::Right(0.0)).into(), &[r])?;
        let eps = e.shift(eps, self.eps)?;
        let far = e.op(Pointwise { f: PointwiseFn::Greater }.into(), &[r, eps])?;
        // Where the length is not divided by, it must not be 0 either.
        let r = e.op(Binary::of(BinaryFn::Max).into(), &[r, eps])?;
        let r2 = e.mul(r, r)?;
        let r3 = e.mul(r2, r)?;
        let ab = e.mul(a, b)?;
        let ab = e.div(ab, r2)?;
        let ab = e.scale(ab, 3.0)?;
        let along = e.sub(ab, c)?;
        let first = e.mul(x, along)?;
        let (second, third) = (e.mul(g, b)?, e.mul(t, a)?);
        let rest = e.add(second, third)?;
        let sum = e.sub(first, rest)?;
        let share = e.div(far, r3)?;
        e.mul(sum, share)
    }
}

impl OpRules for L2NormGrad {
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
        at.each(|i| match i {
            0 => Ok(Some(self.by_input(e, at.inputs[0], at.inputs[1], at.dy)?)),
            // The Jacobian is symmetric.
            _ => Ok(Some(e.op(self.clone().into(), &[at.inputs[0], at.dy])?)),
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, dy) = (inputs[0], inputs[1]);
        Array::from_fn(out.dims(), |at| {
            let (mut squares, mut inner) = (0.0, 0.0);
            for c in 0..out.c() {
                let mut other = at.to_vec();
                other[1] = c;
                squares += x.at(&other) * x.at(&other);
                inner += x.at(&other) * dy.at(&other);
            }
            let r = squares.sqrt();
            if r > f64::from(self.eps) { (dy.at(at) - x.at(at) * inner / squares) / r } else { dy.at(at) / f64::from(self.eps) }
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
            let inner = sum(cx, &channels, &mut |cx, k| {
                let at = at_channel(p, &k[0]);
                cx.load(0, &at) * cx.load(1, &at)
            });
            let r = cx.b.let_(Expr::un(UnOp::Sqrt, squares.into()));
            let long = |then: Expr, other: f32| Expr::select(Cmp::Gt, r.into(), self.eps.into(), then, other.into());
            let scale = cx.b.let_(long(Expr::from(1.0) / r.into(), 1.0 / self.eps));
            let part = cx.b.let_(long(Expr::from(inner) / squares.into(), 0.0));
            for_each_channel(cx, p, |cx, at| {
                let value = (cx.load(1, at) - cx.load(0, at) * part.into()) * scale.into();
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
        shape_rules::flops(out, 7)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
