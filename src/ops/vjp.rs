//! Gradients: how an operation says what the gradient by its result means for its inputs (reverse mode; Griewank & Walther
//! 2008, chapter 3).
//!
//! In: handles of the inputs, the result `y` and its gradient `dy`, and which inputs are of interest. Out: for each input
//! the gradient by it, as operations made through [`Emit`], or `None` where the result does not depend on it (labels, masks).
//! A rule that is not the whole truth does not exist: what has no gradient says why ([`NotDifferentiable`]).
//!
//! This is the one place where operations name each other. They still know no graph.

use super::binary::{Binary, BinaryFn, Number};
use super::sum::{Kept, Sum};
use super::unary::{Unary, UnaryFn};
use super::{Op, OpError};
use crate::tensor::ty::TensorTy;

/// A value, as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Val(pub u32);

/// What rules make operations with.
pub trait Emit {
    /// The type of a value.
    fn ty(&self, v: Val) -> &TensorTy;

    /// A new operation.
    ///
    /// # Errors
    /// What its shape rule says.
    fn op(&mut self, op: Op, inputs: &[Val]) -> Result<Val, OpError>;

    /// A tensor of one number.
    fn fill(&mut self, ty: TensorTy, value: f32) -> Val;
}

/// An application of an operation whose gradient is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// Its inputs.
    pub inputs: &'a [Val],
    /// Its result.
    pub y: Val,
    /// The gradient by the result, of its type.
    pub dy: Val,
    /// For each input whether its gradient is asked for.
    pub wanted: &'a [bool],
}

/// The gradients by the inputs, each with the extents of its input; `None` where there is no dependence, or no wish.
pub type Pulled = Result<Vec<Option<Val>>, NotDifferentiable>;

/// Why an operation has no gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDifferentiable {
    /// A clause that ends "… has no gradient: ".
    pub reason: String,
}

impl NotDifferentiable {
    /// For this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl From<OpError> for NotDifferentiable {
    fn from(e: OpError) -> Self {
        Self::new(e.message)
    }
}

impl Applied<'_> {
    /// Asks `rule` for each wanted input.
    ///
    /// # Errors
    /// The first that `rule` gives.
    pub fn each(&self, mut rule: impl FnMut(usize) -> Result<Option<Val>, NotDifferentiable>) -> Pulled {
        self.wanted.iter().enumerate().map(|(i, w)| if *w { rule(i) } else { Ok(None) }).collect()
    }

    /// `dy` for the only input: of operations that are the identity in all but position.
    pub fn only(&self, dx: Val) -> Pulled {
        self.each(|_| Ok(Some(dx)))
    }
}

/// Short names for the elementwise operations that rules are made of.
impl dyn Emit + '_ {
    /// `a + b`, elementwise with broadcasting.
    pub fn add(&mut self, a: Val, b: Val) -> Result<Val, OpError> {
        self.op(Binary::of(BinaryFn::Add).into(), &[a, b])
    }

    /// `a - b`, elementwise with broadcasting.
    pub fn sub(&mut self, a: Val, b: Val) -> Result<Val, OpError> {
        self.op(Binary::of(BinaryFn::Sub).into(), &[a, b])
    }

    /// `a * b`, elementwise with broadcasting.
    pub fn mul(&mut self, a: Val, b: Val) -> Result<Val, OpError> {
        self.op(Binary::of(BinaryFn::Mul).into(), &[a, b])
    }

    /// `a / b`, elementwise with broadcasting.
    pub fn div(&mut self, a: Val, b: Val) -> Result<Val, OpError> {
        self.op(Binary::of(BinaryFn::Div).into(), &[a, b])
    }

    /// `a * by`; `a` itself for 1.
    pub fn scale(&mut self, a: Val, by: f32) -> Result<Val, OpError> {
        if by == 1.0 {
            return Ok(a);
        }
        self.op(Binary::with(BinaryFn::Mul, Number::Right(by)).into(), &[a])
    }

    /// `a + by`
    pub fn shift(&mut self, a: Val, by: f32) -> Result<Val, OpError> {
        self.op(Binary::with(BinaryFn::Add, Number::Right(by)).into(), &[a])
    }

    /// `f(a)` with the function's default arguments.
    pub fn map(&mut self, f: UnaryFn, a: Val) -> Result<Val, OpError> {
        self.op(Unary::of(f).into(), &[a])
    }

    /// Sums `v` over all that broadcasting repeated: to the extents that `like` has as an operand of an elementwise
    /// operation whose result has the type of `v` (see [`super::binary`] for how dimensions meet).
    ///
    /// # Errors
    /// None but those of shape rules.
    pub fn sum_like(&mut self, v: Val, like: Val) -> Result<Val, OpError> {
        let (from, to) = (self.ty(v).clone(), self.ty(like).clone());
        if from.dims() == to.dims() {
            return Ok(v);
        }
        let first = usize::from(from.is_activation() && !to.is_activation());
        let kept = to.names().iter().zip(to.dims()).enumerate();
        self.sum_to(
            v,
            kept.map(|(d, (name, e))| Kept { name: name.clone(), dim: d + first, extent: *e }).collect(),
        )
    }

    /// Sums `v` over all dimensions but `kept`. A sum over samples and positions is made in two steps, positions first: the
    /// many sums of the first are independent of each other.
    ///
    /// # Errors
    /// None but those of shape rules.
    pub fn sum_to(&mut self, v: Val, kept: Vec<Kept>) -> Result<Val, OpError> {
        let ty = self.ty(v).clone();
        let extent = |d: usize| kept.iter().find(|k| k.dim == d).map_or(1, |k| k.extent);
        let over_grid = ty.is_activation() && (2..ty.dims().len()).any(|d| extent(d) != ty.dims()[d]);
        if over_grid && ty.n() > 1 && extent(0) == 1 {
            let all = |d: usize| Kept { name: ty.names()[d].clone(), dim: d, extent: ty.dims()[d] };
            let grid = kept.iter().filter(|k| k.dim >= 2).cloned();
            let (mut steps, mut then) = (vec![all(0), all(1)], Vec::new());
            for k in grid {
                steps.push(Kept { name: ty.names()[k.dim].clone(), ..k });
            }
            for k in &kept {
                let dim = steps.iter().position(|s| s.dim == k.dim).unwrap_or(k.dim);
                then.push(Kept { dim, ..k.clone() });
            }
            let part = self.op(Sum { kept: steps }.into(), &[v])?;
            return self.op(Sum { kept: then }.into(), &[part]);
        }
        self.op(Sum { kept }.into(), &[v])
    }

    /// Sums `v` to one number per channel, as a weight `[name: C]`.
    ///
    /// # Errors
    /// None but those of shape rules.
    pub fn sum_channels(&mut self, v: Val, name: &str) -> Result<Val, OpError> {
        let extent = self.ty(v).c();
        self.sum_to(v, vec![Kept { name: name.into(), dim: 1, extent }])
    }
}
