//! The gradient by a weight in partial sums, each over an equal share of the samples:
//!
//! `dw[s, o, i, k] = sum over samples n of share s and positions p of dy[n, o, p] * x[n, i, p*stride + k*dilation - lo]`
//!
//! and the gradient is their sum ([`super::conv_grad_fold`]). Where operands are much larger than the weight, shares that run at once each
//! fetch their own operands once, where parts of one weight would all fetch all of them. Only a pass makes it.

use super::args::{Attr, Attrs};
use super::case::Case;
use super::conv_grad::ConvGrad;
use super::conv_grad_fold::ConvGradFold;
use super::conv_grad_nest;
use super::geometry::{Geometry, Linking, Share};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{At, Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvGradSums {
    /// The gradient.
    pub grad: ConvGrad,
    /// How many partial sums; a divisor of the number of samples.
    pub shares: usize,
}

/// The gradient `op` in partial sums, and what adds them up, where a rule expects that to be faster.
pub fn of(op: &Op, x: &TensorTy, dy: &TensorTy) -> Option<(ConvGradSums, ConvGradFold)> {
    let Op::ConvGrad(grad) = op else { return None };
    let windows = grad.windows(x, dy).ok()?;
    let shares = conv_grad_nest::shares(grad, x, dy, &windows);
    if shares == 1 {
        return None;
    }
    let sums = ConvGradSums { grad: grad.clone(), shares };
    sums.infer(&[x, dy]).ok()?;
    Some((sums, ConvGradFold { packing: grad.geometry.packing(true) }))
}

impl ConvGradSums {
    /// What printed graphs call it.
    pub const KIND: &'static str = "conv_grad_sums";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let shares = attrs.size("shares")?;
        if shares == 0 {
            return Err("attribute `shares` is 0".into());
        }
        let geometry = Geometry::from_attrs(attrs)?;
        Ok(Self { grad: ConvGrad { geometry }, shares })
    }

    /// Test cases: those of the gradient that can be shared out.
    pub fn cases() -> Vec<Case> {
        let all = super::conv_cases::conv_grad().into_iter().flat_map(|case| {
            let Op::ConvGrad(grad) = case.op else { return Vec::new() };
            let of = |shares: usize| {
                let op = Self { grad: grad.clone(), shares };
                let fits = op.infer(&case.inputs.iter().collect::<Vec<_>>()).is_ok();
                fits.then(|| Case::new(format!("{}, {shares} shares", case.name), op, case.inputs.clone()))
            };
            [2, 3, 4, 8, 1].into_iter().filter_map(of).take(1).collect::<Vec<_>>()
        });
        all.collect()
    }
}

impl OpRules for ConvGradSums {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.grad.attrs().with("shares", Attr::Int(self.shares as i64))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, dy) = (inputs[0], inputs[1]);
        let whole = self.grad.infer(inputs)?.ty;
        let g = &self.grad.geometry;
        let dense = g.share == Share::All && g.links == Linking::Dense;
        let shared = dy.n() > 0 && dy.n().is_multiple_of(self.shares);
        if !dense || !shared {
            let message = format!("`conv_grad_sums` does not fit {x} and {dy}");
            return Err(OpError::new(codes::E0206, message).at(At::Input(1)));
        }
        let dims = std::iter::once(("s", self.shares)).chain(whole.names().iter().map(|n| &**n).zip(whole.dims().iter().copied()));
        let dims: Vec<(&str, usize)> = dims.collect();
        let extents: Vec<usize> = dims.iter().map(|d| d.1).collect();
        let ty = TensorTy::new(dims).map_err(|_| shape_rules::too_large("conv_grad_sums", &extents))?;
        Ok(Inferred { ty, why: vec![Why::given("sums over shares of the samples"); extents.len()] })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `conv_grad_sums`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        // The gradient with all but one share of `dy` at zero, for each share.
        let dy = inputs[1];
        let share = dy.dims[0] / self.shares;
        let mut data = Vec::new();
        for s in 0..self.shares {
            let own = Array::from_fn(&dy.dims, |at| if at[0] / share == s { dy.at(at) } else { 0.0 });
            let ty = TensorTy::new(out.names().iter().zip(out.dims().iter().copied()).skip(1)).expect("a part of a type");
            data.extend(self.grad.reference(&[inputs[0], &own], &ty).data);
        }
        Array { dims: out.dims().to_vec(), data }
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (x, dy) = (cx.input(0).clone(), cx.input(1).clone());
        let windows = self.grad.windows(&x, &dy).expect("the shape rule accepted these types");
        conv_grad_nest::lower_shares(cx, &self.grad, &windows, self.shares);
    }

    fn wants(&self, inputs: &[&TensorTy], out: &TensorTy) -> Wants {
        let mut wants = self.grad.wants(inputs, out);
        let order = self.grad.geometry.packing(true);
        wants.output = Want::Order(std::iter::once(0).chain(order.into_iter().map(|d| d + 1)).collect());
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        self.grad.cost(inputs, out)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}
