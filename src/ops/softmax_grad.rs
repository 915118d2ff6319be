//! Gradients of softmax and of its logarithm over the channels of each position, from their value `y`:
//! `dx[c] = y[c] (dy[c] - Σ_k y[k] dy[k])`, and for the logarithm `dx[c] = dy[c] - e^y[c] Σ_k dy[k]`. Inputs: `y`, `dy`. The
//! language has no name for them.

use super::args::{Attr, Attrs};
use super::case::{Case, Fill, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, for_each_channel, for_each_position, sum};
use super::role::Role;
use super::sum::Kept;
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, Pulled, Val};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Expr, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxGrad {
    /// Of the logarithm.
    pub log: bool,
}

/// Sums the channels and leaves one.
fn over_channels(e: &mut dyn Emit, v: Val) -> Result<Val, OpError> {
    let ty = e.ty(v).clone();
    let kept = |d: usize| Kept { name: ty.names()[d].clone(), dim: d, extent: if d == 1 { 1 } else { ty.dims()[d] } };
    e.sum_to(v, (0..ty.dims().len()).map(kept).collect())
}

impl SoftmaxGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "softmax_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { log: attrs.bool("log")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for log in [false, true] {
            let fill = if log { Fill::Uniform(-6.0, 0.0) } else { Fill::Uniform(0.0, 1.0) };
            for x in [act(3, 10, &[]), act(2, 5, &[("h", 3), ("w", 7)]), act(1, 1, &[("t", 5)])] {
                let name = format!("{} {}", if log { "log of" } else { "of" }, x.show());
                all.push(Case::new(name, Self { log }, vec![x.clone(), x]).fill(&[fill]));
            }
        }
        all
    }
}

impl OpRules for SoftmaxGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("log", Attr::Bool(self.log))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        if inputs[0] != inputs[1] {
            return Err(OpError::new(codes::E0206, format!("a gradient {} of {}", inputs[1], inputs[0])));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        // With g the gradient by the result.
        let (y, dy, g) = (at.inputs[0], at.inputs[1], at.dy);
        at.each(|i| {
            let product = if self.log {
                let p = e.map(UnaryFn::Exp, y)?;
                e.mul(g, p)?
            } else {
                e.mul(g, y)?
            };
            let total = over_channels(e, product)?;
            Ok(Some(match (self.log, i) {
                // The map is symmetric: y (g - Σ g y).
                (false, 1) => e.op(self.clone().into(), &[y, g])?,
                // g dy - g Σ y dy - dy Σ g y
                (false, _) => {
                    let inner = e.mul(y, dy)?;
                    let inner = over_channels(e, inner)?;
                    let own = e.sub(dy, inner)?;
                    let own = e.mul(own, g)?;
                    let other = e.mul(dy, total)?;
                    e.sub(own, other)?
                }
                // g - Σ g e^y
                (true, 1) => e.sub(g, total)?,
                // -g e^y Σ dy
                (true, _) => {
                    let all = over_channels(e, dy)?;
                    let part = e.mul(product, all)?;
                    e.map(UnaryFn::Neg, part)?
                }
            }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (y, dy) = (inputs[0], inputs[1]);
        Array::from_fn(out.dims(), |at| {
            let mut total = 0.0;
            for c in 0..out.c() {
                let mut other = at.to_vec();
                other[1] = c;
                total += dy.at(&other) * if self.log { 1.0 } else { y.at(&other) };
            }
            if self.log { dy.at(at) - libm::exp(y.at(at)) * total } else { y.at(at) * (dy.at(at) - total) }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let channels = [("k", cx.out().c())];
        for_each_position(cx, |cx, p| {
            let total = sum(cx, &channels, &mut |cx, k| {
                let at = at_channel(p, &k[0]);
                if self.log { cx.load(1, &at) } else { cx.load(1, &at) * cx.load(0, &at) }
            });
            for_each_channel(cx, p, |cx, at| {
                let (y, dy) = (cx.load(0, at), cx.load(1, at));
                let value = if self.log { dy - Expr::un(UnOp::Exp, y) * total.into() } else { (dy - total.into()) * y };
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
        shape_rules::flops(out, 4)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
