//! Sums over dimensions, `y[i] = Σ_j x[j]`: each dimension that is kept, with extent `e`, sums the indices `j = i mod e` of
//! the input's; the others are summed over. So `e` equal to the input's extent keeps a dimension, 1 sums over it and leaves an
//! axis of one position, and a divisor sums what a tile shares. Gradients use it; the language has no name for it.
//!
//! One partial sum per dimension, so that the rounding error grows with the sum of the extents, not with their product.

use super::args::{Attr, Attrs};
use super::case::{Case, act, weight};
use super::expand::{Expand, Grown};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::sum;
use super::role::Role;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr};
use crate::support::{Name, codes};
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// A dimension of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: Name,
    /// The dimension of the input that it comes from.
    pub dim: usize,
    /// Its extent.
    pub extent: usize,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The dimensions of the result; no dimension of the input occurs twice.
    pub kept: Vec<Kept>,
}

impl Sum {
    /// What printed graphs call it.
    pub const KIND: &'static str = "sum";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: `name=[dim, extent]` for each dimension of the result.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let kept = |(name, _): &(String, Attr)| match attrs.sizes(name)?.as_slice() {
            [dim, extent] => Ok(Kept { name: Name::from(&**name), dim: *dim, extent: *extent }),
            _ => Err("a dimension is `[dim, extent]`".to_owned()),
        };
        Ok(Self { kept: attrs.0.iter().map(kept).collect::<Result<_, _>>()? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |kept: &[(&str, usize, usize)]| Self {
            kept: kept.iter().map(|(n, dim, extent)| Kept { name: Name::from(*n), dim: *dim, extent: *extent }).collect(),
        };
        let hw = || act(3, 5, &[("h", 4), ("w", 7)]);
        vec![
            Case::new("channels", op(&[("c", 1, 5)]), vec![hw()]),
            Case::new("samples", op(&[("n", 0, 3), ("c", 1, 5)]), vec![hw()]),
            Case::new("columns to one", op(&[("n", 0, 3), ("c", 1, 5), ("h", 2, 4), ("w", 3, 1)]), vec![hw()]),
            Case::new("tiles", op(&[("th", 2, 3), ("tw", 3, 2), ("o", 1, 5)]), vec![hw()]),
            Case::new("all", op(&[]), vec![hw()]).tolerance(1e-4),
            Case::new("weight", op(&[("o", 0, 4)]), vec![weight(&[("o", 4), ("i", 3), ("k", 2)])]),
            Case::new("long", op(&[("c", 1, 2)]), vec![act(4, 2, &[("t", 999)])]),
        ]
    }

    /// The index of the result that input index `at` is added to.
    fn target(&self, at: &[usize]) -> Vec<usize> {
        self.kept.iter().map(|k| at[k.dim] % k.extent).collect()
    }
}

impl OpRules for Sum {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.kept.iter().fold(Attrs::default(), |attrs, k| {
            attrs.with(&k.name, Attr::Ints(vec![k.dim as i64, k.extent as i64]))
        })
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        for (i, k) in self.kept.iter().enumerate() {
            let fits = x.dims().get(k.dim).is_some_and(|d| (1..=*d).contains(&k.extent));
            if !fits || self.kept[..i].iter().any(|other| other.dim == k.dim || other.name == k.name) {
                let message = format!("`sum` cannot keep {} of dimension {} of {x}", k.extent, k.dim);
                return Err(OpError::new(codes::E0206, message));
            }
        }
        let extents: Vec<usize> = self.kept.iter().map(|k| k.extent).collect();
        let ty = TensorTy::new(self.kept.iter().map(|k| (&k.name, k.extent)))
            .map_err(|_| shape_rules::too_large("sum", &extents))?;
        Ok(Inferred { ty, why: self.kept.iter().map(|k| Why::same(0, k.dim)).collect() })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let ty = e.ty(at.inputs[0]).clone();
        let grown = |d: usize| Grown {
            name: ty.names()[d].clone(),
            from: self.kept.iter().position(|k| k.dim == d),
            extent: ty.dims()[d],
        };
        at.only(e.op(Expand { to: (0..ty.dims().len()).map(grown).collect() }.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let mut y = Array::zeros(out.dims());
        for_each_index(&inputs[0].dims, |at| *y.at_mut(&self.target(at)) += inputs[0].at(at));
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (x, out) = (cx.input(0).clone(), cx.out().clone());
        let kept = |d: usize| self.kept.iter().position(|k| k.dim == d);
        // Every dimension of the input that is not kept whole is a loop of the sum: `turns` indices, `step` apart.
        let mut turns = Vec::new();
        for (d, (name, n)) in x.names().iter().zip(x.dims()).enumerate() {
            let step = kept(d).map_or(1, |k| self.kept[k].extent);
            if kept(d).is_none() || step < *n {
                turns.push((format!("s{name}"), d, n.div_ceil(step)));
            }
        }
        let dims: Vec<(&str, usize)> = turns.iter().map(|(name, _, n)| (name.as_str(), *n)).collect();
        cx.for_each_output(|cx, at| {
            let total = sum(cx, &dims, &mut |cx, i| {
                let mut from: Vec<Affine> =
                    (0..x.dims().len()).map(|d| kept(d).map_or(Affine::k(0), |k| at[k].clone())).collect();
                let mut inside = Vec::new();
                for ((_, d, _), i) in turns.iter().zip(i) {
                    let step = kept(*d).map_or(1, |k| out.dims()[k]);
                    from[*d] = &from[*d] + &(i * step as i64);
                    if x.dims()[*d] % step != 0 {
                        inside.push(Affine::k(x.dims()[*d] as i64 - 1).minus(&from[*d]));
                    }
                }
                if inside.is_empty() {
                    return cx.load(0, &from);
                }
                let value = cx.b.let_(0.0);
                cx.if_(inside, |cx| {
                    let x = cx.load(0, &from);
                    cx.b.set(value, x);
                });
                Expr::Reg(value)
            });
            cx.store(at, total);
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
        shape_rules::flops(inputs[0], 1)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}
