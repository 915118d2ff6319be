//! The gradient of [`super::norm`] by its input: with `u = (x - mean) / sqrt(var + eps)` and `g = dy * weight` (`dy` without weights),
//! means over the same set of elements, `dx = (g - mean(g) - u mean(g u)) / sqrt(var + eps)`. Inputs: `x`, the weight if there is
//! one, `dy`. The language has no name for it.

use super::args::Attrs;
use super::case::{Case, Fill};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::norm::{Norm, Over};
use super::reduce::{at_channel, for_each_position, grid, sum};
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, UnOp};
use crate::support::codes;
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
        let last = at.inputs.len() - 1;
        at.each(|i| {
            if i < last || last == 2 {
                return Err(NotDifferentiable::new("normalisation by a sample's statistics has first derivatives only"));
            }
            // The Jacobian is symmetric.
            Ok(Some(e.op(self.clone().into(), &[at.inputs[0], at.dy])?))
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
