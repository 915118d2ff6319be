//! The gradient of [`super::norm`] by its input: with `u = (x - mean) / sqrt(var + eps)` and `g = dy * weight` (`dy` without weights),
//! means over the same set of elements, `dx = (g - mean(g) - u mean(g u)) / sqrt(var + eps)`. Inputs: `x`, the weight if there is
//! one, `dy`. The language has no name for it.

use super::args::Attrs;
use super::case::{Case, Fill};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::norm::{Norm, Over};
use super::reduce::{at_channel, for_each_position, grid, sum};
use super::role::Role;
use super::aggregate::{Aggregate, AggregateFn};
use super::refold::Refold;
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, Pulled, Val};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, UnOp};
use crate::support::{Name, codes};
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct NormGrad {
    /// The normalisation.
    pub of: Norm,
}

impl NormGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "norm_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: those of the normalisation.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Norm::from_attrs(attrs).map(|of| Self { of })
    }

    /// Test cases: those of the normalisation but for the one whose numbers lie too close to each other.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for case in Norm::cases() {
            let super::Op::Norm(of) = &case.op else { continue };
            if case.fill.first().is_some_and(|f| *f != Fill::Normal) {
                continue;
            }
            let mut inputs = case.inputs[..case.inputs.len().min(2)].to_vec();
            inputs.push(case.inputs[0].clone());
            all.push(Case::new(case.name.clone(), Self { of: of.clone() }, inputs));
        }
        all
    }

    /// The derivative by `x` of `Σ t dx`. With `m` the mean over the elements that are normalised together, `s = 1 / sqrt(var + eps)`
    /// and `P(v) = v - m(v) - u m(v u)`, `dx = s P(g)`; `du/dx = s P` and `ds/dx = -s^2 u / N` make it
    /// `-s^2 (u m(t P(g)) + P(t m(g u) + g m(t u)))`.
    fn by_input(&self, e: &mut dyn Emit, x: Val, g: Val, t: Val) -> Result<Val, OpError> {
        let ty = e.ty(x).clone();
        let named = |dims: &[usize]| -> Vec<(Name, usize)> {
            ty.names().iter().cloned().zip(dims.iter().copied()).collect()
        };
        // Groups become samples, so that one mean is over whole dimensions.
        let (folded, dims) = match self.of.over {
            Over::Channels => (None, vec![1]),
            Over::Groups(groups) => {
                let mut to = ty.dims().to_vec();
                to[0] *= groups;
                to[1] /= groups;
                ((groups > 1).then(|| named(&to)), (1..ty.dims().len()).collect())
            }
        };
        let fold = |e: &mut dyn Emit, v: Val| match &folded {
            Some(to) => e.op(Refold { to: to.clone() }.into(), &[v]),
            None => Ok(v),
        };
        let (x, g, t) = (fold(e, x)?, fold(e, g)?, fold(e, t)?);
        let mean = |e: &mut dyn Emit, v: Val| e.op(Aggregate { f: AggregateFn::Mean, dims: dims.clone() }.into(), &[v]);
        let mean_of = |e: &mut dyn Emit, a: Val, b: Val| {
            let product = e.mul(a, b)?;
            mean(e, product)
        };
        let centre = mean(e, x)?;
        let centred = e.sub(x, centre)?;
        let var = mean_of(e, centred, centred)?;
        let shifted = e.shift(var, self.of.eps)?;
        let root = e.map(UnaryFn::Sqrt, shifted)?;
        let u = e.div(centred, root)?;
        let project = |e: &mut dyn Emit, v: Val| {
            let (flat, along) = (mean(e, v)?, mean_of(e, v, u)?);
            let along = e.mul(u, along)?;
            let rest = e.sub(v, flat)?;
            e.sub(rest, along)
        };
        let (gu, tu) = (mean_of(e, g, u)?, mean_of(e, t, u)?);
        let (a, b) = (e.mul(t, gu)?, e.mul(g, tu)?);
        let both = e.add(a, b)?;
        let turned = project(e, both)?;
        let projected = project(e, g)?;
        let inner = mean_of(e, t, projected)?;
        let scaled = e.mul(u, inner)?;
        let sum = e.add(scaled, turned)?;
        let negative = e.scale(sum, -1.0)?;
        let out = e.div(negative, shifted)?;
        match &folded {
            Some(_) => e.op(Refold { to: named(ty.dims()) }.into(), &[out]),
            None => Ok(out),
        }
    }

    /// Statistics over `dims`, whose index is turned into the tensor's by `index`, and the store of all those elements.
    fn elements(&self, cx: &mut LowerCx<'_>, dims: &[(&str, usize)], index: &dyn Fn(&[Affine]) -> Vec<Affine>) {
        let share = 1.0 / dims.iter().map(|d| d.1).product::<usize>().max(1) as f32;
        let (last, weighed) = (cx.inputs() - 1, cx.inputs() == 3);
        let inner = |cx: &mut LowerCx<'_>, at: &[Affine]| {
            let dy = cx.load(last, at);
            if weighed { dy * cx.load_like_out(1, at) } else { dy }
        };
        let total = sum(cx, dims, &mut |cx, i| cx.load(0, &index(i)));
        let mean = cx.b.let_(Expr::from(total) * share.into());
        let squares = sum(cx, dims, &mut |cx, i| {
            let d = cx.load(0, &index(i)) - mean.into();
            let d = cx.b.let_(d);
            Expr::from(d) * d.into()
        });
        let var = Expr::from(squares) * share.into();
        let scale = cx.b.let_(Expr::from(1.0) / Expr::un(UnOp::Sqrt, var + self.of.eps.into()));
        let all = sum(cx, dims, &mut |cx, i| inner(cx, &index(i)));
        let all = cx.b.let_(Expr::from(all) * share.into());
        let along = sum(cx, dims, &mut |cx, i| {
            let at = index(i);
            inner(cx, &at) * (cx.load(0, &at) - mean.into())
        });
        // mean(g u) / sqrt(var + eps), to be multiplied by x - mean
        let along = cx.b.let_(Expr::from(along) * share.into() * scale.into() * scale.into());
        cx.nested(LoopKind::Free, dims, |cx, vars| {
            let i: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let at = index(&i);
            let own = inner(cx, &at) - all.into();
            let value = own - (cx.load(0, &at) - mean.into()) * along.into();
            cx.store(&at, value * scale.into());
        });
    }
}

impl OpRules for NormGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.of.attrs()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        if !matches!(inputs.len(), 2 | 3) || inputs[0] != inputs[inputs.len() - 1] {
            return Err(OpError::new(codes::E0206, "`norm_grad` needs an input and a gradient of one type"));
        }
        let weights: Vec<&TensorTy> = inputs[1..inputs.len() - 1].iter().flat_map(|w| [*w, *w]).collect();
        self.of.infer(&[&inputs[..1], &weights].concat())
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, last) = (at.inputs[0], at.inputs.len() - 1);
        let (dy, weight) = (at.inputs[last], (last == 2).then(|| at.inputs[1]));
        // The Jacobian of the normalisation alone is symmetric.
        let back = e.op(self.clone().into(), &[x, at.dy])?;
        at.each(|i| match weight {
            _ if i == 0 => {
                let g = match weight {
                    Some(w) => weighted(e, dy, w)?,
                    None => dy,
                };
                Ok(Some(self.by_input(e, x, g, at.dy)?))
            }
            Some(w) if i == 1 => {
                let part = e.mul(dy, back)?;
                Ok(Some(e.sum_like(part, w)?))
            }
            Some(w) => Ok(Some(weighted(e, back, w)?)),
            None => Ok(Some(back)),
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, dy) = (inputs[0], inputs[inputs.len() - 1]);
        let together = |a: &[usize], b: &[usize]| match self.of.over {
            Over::Channels => a[0] == b[0] && a[2..] == b[2..],
            Over::Groups(g) => a[0] == b[0] && a[1] * g / out.c() == b[1] * g / out.c(),
        };
        let g = |at: &[usize]| match inputs {
            [_, w, _] if w.dims.len() == 1 => dy.at(at) * w.at(&at[1..2]),
            [_, w, _] => dy.at(at) * w.at(&at[1..]),
            _ => dy.at(at),
        };
        Array::from_fn(out.dims(), |at| {
            let mut set = Vec::new();
            for_each_index(out.dims(), |other| {
                if together(at, other) {
                    set.push((x.at(other), g(other)));
                }
            });
            let mean = |f: &dyn Fn(&(f64, f64)) -> f64| set.iter().map(f).sum::<f64>() / set.len() as f64;
            let centre = mean(&|e| e.0);
            let std = (mean(&|e| (e.0 - centre) * (e.0 - centre)) + f64::from(self.of.eps)).sqrt();
            let u = |x: f64| (x - centre) / std;
            (g(at) - mean(&|e| e.1) - u(x.at(at)) * mean(&|e| e.1 * u(e.0))) / std
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let out = cx.out().clone();
        match self.of.over {
            Over::Channels => {
                for_each_position(cx, |cx, p| {
                    self.elements(cx, &[("k", out.c())], &|i| at_channel(p, &i[0]));
                });
            }
            Over::Groups(g) => {
                let size = out.c() / g.max(1);
                let mut dims = grid(&out);
                dims.push(("k", size));
                cx.nested(LoopKind::Free, &[("n", out.n()), ("g", g)], |cx, outer| {
                    let group = &Affine::from(outer[1]) * size as i64;
                    self.elements(cx, &dims, &|i| {
                        let (k, grid) = i.split_last().map_or((Affine::k(0), i), |(k, rest)| (k.clone(), rest));
                        [Affine::from(outer[0]), &group + &k].into_iter().chain(grid.iter().cloned()).collect()
                    });
                });
            }
        }
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
        shape_rules::flops(out, 14)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}

/// `v w` of weights per channel, or per channel and position.
fn weighted(e: &mut dyn Emit, v: Val, w: Val) -> Result<Val, OpError> {
    let (ty, own) = (e.ty(v).clone(), e.ty(w).clone());
    if own.dims().len() == 1 {
        return e.mul(v, w);
    }
    let extents = std::iter::once(1).chain(own.dims().iter().copied());
    let to = ty.names().iter().cloned().zip(extents).collect();
    let w = e.op(Refold { to }.into(), &[w])?;
    e.mul(v, w)
}
