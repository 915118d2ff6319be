//! The gradient by a weight in partial sums, each over an equal share of the samples, or of the positions along the first axis of the
//! grid:
//!
//! `dw[s, o, i, k] = sum over samples n and positions p of share s of dy[n, o, p] * x[n, i, p*stride + k*dilation - lo]`
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

/// How positions are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Along what: 0 for samples, 1 for the first axis of the grid.
    pub axis: usize,
    /// How many shares; a divisor of the extent.
    pub count: usize,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvGradSums {
    /// The gradient.
    pub grad: ConvGrad,
    /// The partial sums.
    pub shares: Shares,
}

/// The gradient `op` in partial sums, and what adds them up, where a rule expects that to be faster.
pub fn of(op: &Op, x: &TensorTy, dy: &TensorTy) -> Option<(ConvGradSums, ConvGradFold)> {
    let Op::ConvGrad(grad) = op else { return None };
    let windows = grad.windows(x, dy).ok()?;
    let shares = conv_grad_nest::shares(grad, x, dy, &windows)?;
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
        let (axis, count) = match attrs.sizes("shares")?.as_slice() {
            [axis, count] if *axis < 2 && *count > 0 => (*axis, *count),
            _ => return Err("attribute `shares` is `[axis, count]`, axis 0 or 1".into()),
        };
        let geometry = Geometry::from_attrs(attrs)?;
        Ok(Self { grad: ConvGrad { geometry }, shares: Shares { axis, count } })
    }

    /// Test cases: those of the gradient that can be shared out.
    pub fn cases() -> Vec<Case> {
        let all = super::conv_cases::conv_grad().into_iter().flat_map(|case| {
            let Op::ConvGrad(grad) = case.op else { return Vec::new() };
            let ways = [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3)].map(|(axis, count)| Shares { axis, count });
            let of = |shares: Shares| {
                let op = Self { grad: grad.clone(), shares };
                let fits = op.infer(&case.inputs.iter().collect::<Vec<_>>()).is_ok();
                let name = format!("{}, {} shares of axis {}", case.name, shares.count, shares.axis);
                fits.then(|| Case::new(name, op, case.inputs.clone()))
            };
            ways.into_iter().filter_map(of).take(2).collect::<Vec<_>>()
        });
        all.collect()
    }

    /// The extent that is shared out.
    fn extent(&self, dy: &TensorTy) -> Option<usize> {
        dy.dims().get(2 * self.shares.axis).copied()
    }
}

impl OpRules for ConvGradSums {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let shares = [self.shares.axis, self.shares.count].map(|s| s as i64);
        self.grad.attrs().with("shares", Attr::Ints(shares.to_vec()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, dy) = (inputs[0], inputs[1]);
        let whole = self.grad.infer(inputs)?.ty;
        let g = &self.grad.geometry;
        let dense = g.share == Share::All && g.links == Linking::Dense;
        let shared = self.extent(dy).is_some_and(|e| e > 0 && e.is_multiple_of(self.shares.count));
        if !dense || !shared {
            let message = format!("`conv_grad_sums` does not fit {x} and {dy}");
            return Err(OpError::new(codes::E0206, message).at(At::Input(1)));
        }
        let dims = std::iter::once(("s", self.shares.count)).chain(whole.names().iter().map(|n| &**n).zip(whole.dims().iter().copied()));
        let dims: Vec<(&str, usize)> = dims.collect();
        let extents: Vec<usize> = dims.iter().map(|d| d.1).collect();
        let ty = TensorTy::new(dims).map_err(|_| shape_rules::too_large("conv_grad_sums", &extents))?;
        Ok(Inferred { ty, why: vec![Why::given("sums over shares of positions"); extents.len()] })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `conv_grad_sums`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        // The gradient with all but one share of `dy` at zero, for each share.
        let (dy, dim) = (inputs[1], 2 * self.shares.axis);
        let share = dy.dims[dim] / self.shares.count;
        let mut data = Vec::new();
        for s in 0..self.shares.count {
            let own = Array::from_fn(&dy.dims, |at| if at[dim] / share == s { dy.at(at) } else { 0.0 });
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
