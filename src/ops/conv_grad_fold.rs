//! The gradient by a weight from the partial sums of [`super::conv_grad_sums`]: `dw[o, i, k] = Σ_s x[s, o, i, k]`, in the layout of
//! the layer's weight. Only a pass makes it.

use super::args::{Attr, Attrs};
use super::case::{Case, weight};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::reduce::sum;
use super::role::Role;
use super::squares::Squares;
use super::strips::Strips;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{At, Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGradFold {
    /// The order of the weight's dimensions in memory, outermost first.
    pub packing: Vec<usize>,
}

impl ConvGradFold {
    /// What printed graphs call it.
    pub const KIND: &'static str = "conv_grad_fold";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let packing = attrs.sizes("packing")?;
        let mut sorted = packing.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..packing.len()) {
            return Err("attribute `packing` is no order of dimensions".into());
        }
        Ok(Self { packing })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, packing: &[usize], dims: &[(&str, usize)]| {
            Case::new(name, Self { packing: packing.to_vec() }, vec![weight(dims)])
        };
        vec![
            case("taps outermost", &[2, 3, 1, 0], &[("s", 4), ("o", 48), ("i", 5), ("kh", 3), ("kw", 2)]),
            case("no taps", &[1, 0], &[("s", 3), ("o", 7), ("i", 20)]),
            case("one sum", &[2, 0, 1], &[("s", 1), ("o", 3), ("i", 2), ("k", 4)]),
        ]
    }
}

/// The strips of the gradient: all output maps, then taps, then input maps, as far as there is room.
fn strips(out: &TensorTy) -> Option<Strips> {
    let axes = out.names().iter().zip(out.dims()).enumerate();
    let loops: Vec<(String, usize, usize)> = axes.map(|(dim, (name, all))| (name.to_string(), dim, *all)).collect();
    let order: Vec<usize> = (1..loops.len()).chain([0]).collect();
    Strips::of(loops, &order, 0..=0)
}

/// The sums of squares that it makes in passing.
pub(super) fn squares(out: &TensorTy) -> Option<Squares> {
    strips(out)?.squares(out.dims().len())
}

impl OpRules for ConvGradFold {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("packing", Attr::Ints(self.packing.iter().map(|d| *d as i64).collect()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        if x.dims().len() != self.packing.len() + 1 || x.dims()[0] == 0 {
            let message = format!("`conv_grad_fold` takes sums of `conv_grad_sums`, not {x}");
            return Err(OpError::new(codes::E0206, message).at(At::Input(0)));
        }
        let ty = TensorTy::new(x.names().iter().zip(x.dims().iter().copied()).skip(1))
            .map_err(|_| shape_rules::too_large("conv_grad_fold", &x.dims()[1..]))?;
        Ok(Inferred { ty, why: (1..x.dims().len()).map(|d| Why::same(0, d)).collect() })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `conv_grad_fold`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let mut y = Array::zeros(out.dims());
        for_each_index(&inputs[0].dims, |at| *y.at_mut(&at[1..]) += inputs[0].at(at));
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let sums = cx.input(0).dims()[0];
        if let Some(strips) = strips(cx.out()).filter(|_| cx.goes_on()) {
            return strips.write(cx, |cx, at| {
                sum(cx, &[("s", sums)], &mut |cx, s| cx.load(0, &[s, at].concat())).into()
            });
        }
        cx.for_each_output(|cx, at| {
            let total = sum(cx, &[("s", sums)], &mut |cx, s| cx.load(0, &[s, at].concat()));
            cx.store(at, total);
        });
    }

    fn wants(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants { inputs: vec![Want::Any], output: Want::Order(self.packing.clone()) }
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

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}
