//! Statistics of each channel over the batch and the grid: the mean, input `x`, or the biased variance `Σ (x - mean)^2 / N`, inputs
//! `x, mean`. The variance is a second pass: no cancellation. One partial sum per dimension, so that the rounding error grows
//! with the sum of the extents. Batch normalisation uses them while training; the language has no name for them.

use super::args::{Attr, Attrs};
use super::case::{Case, Fill, act, weight};
use super::expand::{Expand, Grown};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, sum, without_channels};
use super::role::Role;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// `Σ x / N`
    Mean,
    /// `Σ (x - mean)^2 / N`
    Var,
}

/// Elements that one statistic is over.
pub(super) fn count(x: &TensorTy) -> usize {
    x.len() / x.c().max(1)
}

impl Moment {
    /// What printed graphs call it.
    pub const KIND: &'static str = "moment";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(if attrs.bool("var")? { Self::Var } else { Self::Mean })
    }

    /// Test cases; numbers far from 0 make a one-pass variance cancel.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (name, x) in [("2d", act(3, 5, &[("h", 3), ("w", 7)])), ("rank 0", act(4, 9, &[])), ("long", act(8, 2, &[("t", 500)]))] {
            let c = weight(&[("c", x.c())]);
            let about = [Fill::Uniform(9.0, 11.0), Fill::Uniform(9.9, 10.1)];
            all.push(Case::new(format!("mean {name}"), Self::Mean, vec![x.clone()]).fill(&about));
            all.push(Case::new(format!("variance {name}"), Self::Var, vec![x, c]).fill(&about));
        }
        all
    }
}

impl OpRules for Moment {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("var", Attr::Bool(*self == Self::Var))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let needed = match self {
            Self::Mean => 1,
            Self::Var => 2,
        };
        if inputs.len() != needed || !inputs[0].is_activation() || inputs.iter().skip(1).any(|m| m.dims() != [inputs[0].c()]) {
            return Err(OpError::new(codes::E0206, format!("`moment` of {}", inputs[0])));
        }
        let ty = shape_rules::per_channel("moment", inputs[0].c())?;
        Ok(Inferred { ty, why: vec![Why::same(0, 1)] })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let x = at.inputs[0];
        let ty = e.ty(x).clone();
        let share = 1.0 / count(&ty) as f32;
        at.each(|i| {
            if *self == Self::Mean {
                let scaled = e.scale(at.dy, share)?;
                let grown = |(d, (name, extent)): (usize, (&crate::support::Name, &usize))| Grown {
                    name: name.clone(),
                    from: (d == 1).then_some(0),
                    extent: *extent,
                };
                let to = ty.names().iter().zip(ty.dims()).enumerate().map(grown).collect();
                return Ok(Some(e.op(Expand { to }.into(), &[scaled])?));
            }
            // 2 (x - mean) dy / N, and the same summed, negated, for the mean.
            let scaled = e.scale(at.dy, 2.0 * share)?;
            let centred = e.sub(x, at.inputs[1])?;
            let part = e.mul(centred, scaled)?;
            if i == 0 {
                return Ok(Some(part));
            }
            let total = e.sum_like(part, at.inputs[1])?;
            Ok(Some(e.scale(total, -1.0)?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let mut y = Array::zeros(out.dims());
        let share = 1.0 / (x.data.len() / x.dims[1].max(1)) as f64;
        for_each_index(&x.dims, |at| {
            y.data[at[1]] += match self {
                Self::Mean => x.at(at) * share,
                Self::Var => (x.at(at) - inputs[1].data[at[1]]).powi(2) * share,
            };
        });
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        let dims = without_channels(&x);
        cx.nested(LoopKind::Free, &[("c", x.c())], |cx, c| {
            let c = Affine::from(c[0]);
            let mean = (*self == Self::Var).then(|| {
                let mean = cx.load(1, std::slice::from_ref(&c));
                cx.b.let_(mean)
            });
            let total = sum(cx, &dims, &mut |cx, i| {
                let mut at = i.to_vec();
                at.insert(1, c.clone());
                let x = cx.load(0, &at_channel(&at, &c));
                let Some(mean) = mean else { return x };
                let d = cx.b.let_(x - mean.into());
                Expr::from(d) * d.into()
            });
            cx.store(std::slice::from_ref(&c), Expr::from(total) * (1.0 / count(&x) as f32).into());
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
