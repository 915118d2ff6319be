//! Gradients of batch normalisation by the statistics of the batch, with `u = (x - mean) / sqrt(var + eps)`, sums over the batch
//! and the grid of `N` elements per channel (Ioffe & Szegedy 2015, section 3):
//!
//! * by the weight: `dw[c] = Σ dy u`, inputs `x, dy, mean, var`;
//! * by the input, elementwise: `dx = w / sqrt(var + eps) (dy - Σ dy / N - u Σ dy u / N)`, inputs `x, dy, w, mean, var, Σ dy, Σ dy u`.
//!   Mean and variance count as functions of `x`.
//!
//! The language has no name for them.

use super::args::{Attr, Attrs};
use super::case::{Case, Fill, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::reduce::{sum, without_channels};
use super::role::Role;
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled, Val};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, UnOp};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormGrad {
    /// Added to the variance.
    pub eps: f32,
    /// By the input, with this number of elements per channel; `None` is by the weight.
    pub input: Option<usize>,
}

impl BatchNormGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "batchnorm_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let input = match attrs.size("count")? {
            0 => None,
            n => Some(n),
        };
        Ok(Self { eps: attrs.float("eps")?, input })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for x in [act(3, 5, &[("h", 3), ("w", 7)]), act(4, 6, &[]), act(2, 3, &[("d", 2), ("h", 3), ("w", 3)])] {
            let (c, n) = (weight(&[("c", x.c())]), Fill::Normal);
            let var = Fill::Uniform(0.2, 3.0);
            let name = x.show();
            let by_weight = vec![x.clone(), x.clone(), c.clone(), c.clone()];
            let op = Self { eps: 1e-5, input: None };
            all.push(Case::new(format!("weight {name}"), op, by_weight).fill(&[n, n, n, var]));
            let mut inputs = vec![x.clone(), x.clone()];
            inputs.extend(vec![c; 5]);
            let op = Self { eps: 1e-5, input: Some(super::moment::count(&x)) };
            all.push(Case::new(format!("input {name}"), op, inputs).fill(&[n, n, n, n, var]));
        }
        all
    }

    /// `1 / sqrt(var + eps)`
    fn scale_of(&self, e: &mut dyn Emit, var: Val) -> Result<Val, OpError> {
        let ty = e.ty(var).clone();
        let one = e.fill(ty, 1.0);
        let shifted = e.shift(var, self.eps)?;
        let root = e.map(UnaryFn::Sqrt, shifted)?;
        e.div(one, root)
    }

    /// With `s` the scale, of `dw = s Σ dy (x - mean)`.
    fn of_weight(&self, e: &mut dyn Emit, at: &Applied<'_>, [x, dy, mean, var]: [Val; 4]) -> Pulled {
        let s = self.scale_of(e, var)?;
        let by = e.mul(at.dy, s)?;
        at.each(|i| match i {
            0 => Ok(Some(e.mul(dy, by)?)),
            1 => {
                let centred = e.sub(x, mean)?;
                Ok(Some(e.mul(centred, by)?))
            }
            2 => {
                let total = e.sum_like(dy, mean)?;
                let part = e.mul(total, by)?;
                Ok(Some(e.scale(part, -1.0)?))
            }
            _ => {
                let squared = e.mul(s, s)?;
                let part = e.mul(squared, at.y)?;
                let part = e.mul(part, at.dy)?;
                Ok(Some(e.scale(part, -0.5)?))
            }
        })
    }

    /// With `s` the scale and `a = dy - all / N`, `b = (x - mean) along / N`, of `dx = w (s a - s^2 b)`.
    fn of_input(
        &self,
        e: &mut dyn Emit,
        at: &Applied<'_>,
        share: f32,
        [x, dy, w, mean, var, all, along]: [Val; 7],
    ) -> Pulled {
        let s = self.scale_of(e, var)?;
        let ws = e.mul(w, s)?;
        let centred = e.sub(x, mean)?;
        let by_along = e.scale(along, share)?;
        // The derivative by `dy`, and that by `x` but for its sign.
        let by_dy = e.mul(at.dy, ws)?;
        let slope = e.mul(s, by_along)?;
        at.each(|i| match i {
            0 => {
                let part = e.mul(by_dy, slope)?;
                Ok(Some(e.scale(part, -1.0)?))
            }
            1 => Ok(Some(by_dy)),
            2 => {
                let shared = e.scale(all, share)?;
                let a = e.sub(dy, shared)?;
                let b = e.mul(centred, slope)?;
                let inner = e.sub(a, b)?;
                let inner = e.mul(inner, s)?;
                let part = e.mul(inner, at.dy)?;
                Ok(Some(e.sum_like(part, w)?))
            }
            3 => {
                let part = e.mul(by_dy, slope)?;
                Ok(Some(e.sum_like(part, mean)?))
            }
            // w (s^4 b - s^3 a / 2)
            4 => {
                let shared = e.scale(all, share)?;
                let a = e.sub(dy, shared)?;
                let a = e.scale(a, -0.5)?;
                let b = e.mul(centred, slope)?;
                let inner = e.add(a, b)?;
                let part = e.mul(inner, by_dy)?;
                let total = e.sum_like(part, var)?;
                let squared = e.mul(s, s)?;
                Ok(Some(e.mul(total, squared)?))
            }
            5 => {
                let total = e.sum_like(by_dy, all)?;
                Ok(Some(e.scale(total, -share)?))
            }
            _ => {
                let part = e.mul(by_dy, centred)?;
                let total = e.sum_like(part, along)?;
                let total = e.mul(total, s)?;
                Ok(Some(e.scale(total, -share)?))
            }
        })
    }

    fn scalar_fn(&self, count: usize) -> ScalarFn<'_> {
        let share = 1.0 / count as f32;
        Box::new(move |b, r| {
            let [x, dy, w, mean, var, all, along] = [0, 1, 2, 3, 4, 5, 6].map(|i| Expr::from(r[i]));
            let scale = b.let_(Expr::from(1.0) / Expr::un(UnOp::Sqrt, var + self.eps.into()));
            let along = along * share.into() * scale.into();
            let centred = Expr::fma(all, (-share).into(), dy) - (x - mean) * along;
            centred * (w * scale.into())
        })
    }
}

impl OpRules for BatchNormGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("eps", Attr::Float(self.eps)).with("count", Attr::Int(self.input.unwrap_or(0) as i64))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let vectors = if self.input.is_some() { 5 } else { 2 };
        shape_rules::channel_weights("batchnorm_grad", inputs, 2, vectors)?;
        if inputs[0] != inputs[1] {
            return Err(OpError::new(codes::E0206, format!("a gradient {} of {}", inputs[1], inputs[0])));
        }
        match self.input {
            Some(_) => Ok(shape_rules::same(inputs)),
            None => {
                let ty = shape_rules::per_channel("batchnorm_grad", inputs[0].c())?;
                Ok(Inferred { ty, why: vec![Why::same(0, 1)] })
            }
        }
    }

    /// Both forms are functions of all their inputs; what these depend on has rules of its own.
    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        match (self.input, at.inputs) {
            (None, [x, dy, mean, var]) => self.of_weight(e, at, [*x, *dy, *mean, *var]),
            (Some(count), [x, dy, w, mean, var, all, along]) => {
                self.of_input(e, at, 1.0 / count as f32, [*x, *dy, *w, *mean, *var, *all, *along])
            }
            (Some(_) | None, _) => Err(NotDifferentiable::new("it has four or seven operands")),
        }
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, dy) = (inputs[0], inputs[1]);
        let Some(count) = self.input else {
            let mut dw = Array::zeros(out.dims());
            for_each_index(&x.dims, |at| {
                let c = at[1];
                let std = (inputs[3].data[c] + f64::from(self.eps)).sqrt();
                dw.data[c] += dy.at(at) * (x.at(at) - inputs[2].data[c]) / std;
            });
            return dw;
        };
        Array::from_fn(out.dims(), |at| {
            let [w, mean, var, all, along] = [2, 3, 4, 5, 6].map(|i| inputs[i].data[at[1]]);
            let std = (var + f64::from(self.eps)).sqrt();
            w / std * (dy.at(at) - all / count as f64 - (x.at(at) - mean) / std * along / count as f64)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        if let Some(count) = self.input {
            return elementwise(cx, &self.scalar_fn(count));
        }
        let x = cx.input(0).clone();
        let dims = without_channels(&x);
        cx.nested(LoopKind::Free, &[("c", x.c())], |cx, c| {
            let c = Affine::from(c[0]);
            let mean = cx.load(2, std::slice::from_ref(&c));
            let mean = cx.b.let_(mean);
            let total = sum(cx, &dims, &mut |cx, i| {
                let mut at = i.to_vec();
                at.insert(1, c.clone());
                cx.load(1, &at) * (cx.load(0, &at) - mean.into())
            });
            let var = cx.load(3, std::slice::from_ref(&c));
            let value = Expr::from(total) / Expr::un(UnOp::Sqrt, var + self.eps.into());
            cx.store(std::slice::from_ref(&c), value);
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        self.input.map(|count| self.scalar_fn(count))
    }

    fn role(&self) -> Role {
        self.input.map_or(Role::Plain, |count| Role::NormGrad { eps: self.eps, count })
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, 8)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}
