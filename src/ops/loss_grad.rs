//! Gradients of the losses of [`super::loss`] by the prediction or by the target, elementwise: the derivative of an element's
//! term times `dy`, one number per sample that already holds the share of the mean. Where a term has a kink its slope there is
//! 0 (`|d|`, `hinge`, logarithms that reach their bound). Inputs: `p`, the target if the loss has one, `dy`.

use super::args::{Attr, Attrs};
use super::case::{Case, Fill, act};
use super::loss::{Loss, LossFn};
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::role::Role;
use super::unary::{Unary, UnaryFn};
use super::unary_grad::UnaryGrad;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled, Val};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::loops::build::NestBuilder;
use crate::loops::{BinOp, Cmp, Expr, Reg, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct LossGrad {
    /// The loss.
    pub f: LossFn,
    /// By the target, of losses that are no function of the difference; else by the prediction.
    pub by_target: bool,
}

/// Whether the loss depends on `p - t` only.
pub(super) fn of_difference(f: LossFn) -> bool {
    match f {
        LossFn::Bce | LossFn::BceLogits | LossFn::Hinge { .. } => false,
        LossFn::Huber { .. } | LossFn::L1 | LossFn::L2 | LossFn::Mae | LossFn::Mse => true,
    }
}

/// The bound on logarithms, as in the loss.
const LEAST_LOG: f32 = -100.0;

impl LossGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "loss_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: those of the loss, and `by_target`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { f: Loss::from_attrs(attrs)?.f, by_target: attrs.bool("by_target")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (name, f, fill) in [
            ("bce", LossFn::Bce, [Fill::Uniform(0.05, 0.95), Fill::Uniform(0.0, 1.0)]),
            ("bce logits", LossFn::BceLogits, [Fill::Uniform(-50.0, 50.0), Fill::Uniform(0.0, 1.0)]),
            ("hinge", LossFn::Hinge { margin: 1.5 }, [Fill::Normal, Fill::Signs]),
            ("huber", LossFn::Huber { delta: 0.75 }, [Fill::Normal, Fill::Normal]),
            ("l1", LossFn::L1, [Fill::Normal, Fill::Normal]),
            ("mse", LossFn::Mse, [Fill::Normal, Fill::Normal]),
        ] {
            let x = act(2, 5, &[("h", 3), ("w", 4)]);
            let inputs = vec![x.clone(), x.clone(), act(2, 1, &[])];
            all.push(Case::new(name, Self { f, by_target: false }, inputs.clone()).fill(&fill));
            if of_difference(f) {
                all.push(Case::new(format!("{name} alone"), Self { f, by_target: false }, vec![x, act(2, 1, &[])]));
            } else {
                all.push(Case::new(format!("{name} by target"), Self { f, by_target: true }, inputs).fill(&fill));
            }
        }
        all
    }

    /// The derivative of one element's term.
    fn slope(&self, p: f64, t: f64) -> f64 {
        let d = p - t;
        let bounded = |log: f64, x: f64| if log > f64::from(LEAST_LOG) { x } else { 0.0 };
        let sign = |x: f64| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 };
        match (self.f, self.by_target) {
            (LossFn::Bce, false) => {
                bounded(libm::log1p(-p), (1.0 - t) / (1.0 - p)) - bounded(libm::log(p), t / p)
            }
            (LossFn::Bce, true) => {
                libm::log1p(-p).max(f64::from(LEAST_LOG)) - libm::log(p).max(f64::from(LEAST_LOG))
            }
            (LossFn::BceLogits, false) => 1.0 / (1.0 + libm::exp(-p)) - t,
            (LossFn::BceLogits, true) => -p,
            (LossFn::Hinge { margin }, by_target) => {
                let active = f64::from(margin) - t * p > 0.0;
                if active { -(if by_target { p } else { t }) } else { 0.0 }
            }
            (LossFn::Huber { delta }, _) => d.clamp(-f64::from(delta), f64::from(delta)),
            (LossFn::L1 | LossFn::Mae, _) => sign(d),
            (LossFn::L2 | LossFn::Mse, _) => 2.0 * d,
        }
    }

    fn emit(&self, b: &mut NestBuilder, p: Reg, t: Option<Reg>, dy: Reg) -> Expr {
        let target = t.map_or(Expr::Const(0.0), Expr::from);
        let log = |b: &mut NestBuilder, x: Expr| b.let_(Expr::un(UnOp::Log, x));
        let slope = match (self.f, self.by_target) {
            (LossFn::Bce, by_target) => {
                let miss = b.let_(Expr::from(1.0) - p.into());
                let (hit_log, miss_log) = (log(b, p.into()), log(b, miss.into()));
                if by_target {
                    let floor = |x: Reg| Expr::bin(BinOp::Max, x.into(), LEAST_LOG.into());
                    floor(miss_log) - floor(hit_log)
                } else {
                    let bounded = |log: Reg, x: Expr| Expr::select(Cmp::Gt, log.into(), LEAST_LOG.into(), x, 0.0.into());
                    let missed = (Expr::from(1.0) - target.clone()) / miss.into();
                    bounded(miss_log, missed) - bounded(hit_log, target / p.into())
                }
            }
            (LossFn::BceLogits, false) => super::unary::sigmoid(b, p) - target,
            (LossFn::BceLogits, true) => Expr::un(UnOp::Neg, p.into()),
            (LossFn::Hinge { margin }, by_target) => {
                let gap = Expr::from(margin) - target.clone() * p.into();
                let slope = Expr::un(UnOp::Neg, if by_target { p.into() } else { target });
                Expr::select(Cmp::Gt, gap, 0.0.into(), slope, 0.0.into())
            }
            (LossFn::Huber { delta }, _) => {
                let low = Expr::bin(BinOp::Max, Expr::from(p) - target, (-delta).into());
                Expr::bin(BinOp::Min, low, delta.into())
            }
            (LossFn::L1 | LossFn::Mae, _) => {
                let d = b.let_(Expr::from(p) - target);
                let minus = Expr::select(Cmp::Lt, d.into(), 0.0.into(), (-1.0).into(), 0.0.into());
                Expr::select(Cmp::Gt, d.into(), 0.0.into(), 1.0.into(), minus)
            }
            (LossFn::L2 | LossFn::Mse, _) => (Expr::from(p) - target) * 2.0.into(),
        };
        slope * dy.into()
    }

    fn scalar_fn(&self) -> ScalarFn<'_> {
        Box::new(|b, r| match r {
            [p, t, dy] => self.emit(b, *p, Some(*t), *dy),
            [p, rest @ ..] => self.emit(b, *p, None, rest.first().copied().unwrap_or(*p)),
            [] => Expr::Const(f32::NAN),
        })
    }

    /// `t` times the second derivative by the prediction.
    fn again(&self, e: &mut dyn Emit, at: &Applied<'_>, t: Val) -> Result<Option<Val>, NotDifferentiable> {
        let p = at.inputs[0];
        match (self.f, self.by_target) {
            (LossFn::L2 | LossFn::Mse, _) => Ok(Some(e.scale(t, 2.0)?)),
            (LossFn::L1 | LossFn::Mae, _) | (LossFn::Hinge { .. }, false) => Ok(None),
            (LossFn::Huber { delta }, _) => {
                let d = if at.inputs.len() == 3 { e.sub(p, at.inputs[1])? } else { p };
                let clip = Unary { f: UnaryFn::Clip, args: [-delta, delta] };
                let y = e.op(clip.clone().into(), &[d])?;
                Ok(Some(e.op(UnaryGrad { of: clip }.into(), &[y, t])?))
            }
            (LossFn::BceLogits, false) => {
                let s = e.map(UnaryFn::Sigmoid, p)?;
                Ok(Some(e.op(UnaryGrad::of(UnaryFn::Sigmoid).into(), &[s, t])?))
            }
            (LossFn::Bce, _) | (LossFn::BceLogits | LossFn::Hinge { .. }, true) => {
                Err(NotDifferentiable::new("this loss has second derivatives by logits only"))
            }
        }
    }
}

impl OpRules for LossGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Loss { f: self.f }.attrs().with("by_target", Attr::Bool(self.by_target))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let fits = match inputs {
            [p, t, dy] => p == t && dy.dims() == [p.n(), 1],
            [p, dy] => of_difference(self.f) && dy.dims() == [p.n(), 1],
            _ => false,
        };
        if !fits {
            let shapes: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            return Err(OpError::new(codes::E0206, format!("`loss_grad` cannot take {}", shapes.join(", "))));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let last = at.inputs.len() - 1;
        let dy = at.inputs[last];
        at.each(|i| {
            if i == last {
                let inputs = [&at.inputs[..last], &[at.dy]].concat();
                let part = self.unit(e, &inputs)?;
                return Ok(Some(e.sum_like(part, dy)?));
            }
            if i == 1 && !of_difference(self.f) {
                return Err(NotDifferentiable::new("the target of this loss has first derivatives only"));
            }
            let t = e.mul(at.dy, dy)?;
            let by_prediction = self.again(e, at, t)?;
            match by_prediction {
                Some(g) if i == 1 => Ok(Some(e.map(UnaryFn::Neg, g)?)),
                other => Ok(other),
            }
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (p, dy) = (inputs[0], inputs[inputs.len() - 1]);
        Array::from_fn(out.dims(), |at| {
            let t = if inputs.len() == 3 { inputs[1].at(at) } else { 0.0 };
            self.slope(p.at(at), t) * dy.at(&[at[0], 0])
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        elementwise(cx, &self.scalar_fn());
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(self.scalar_fn())
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

impl LossGrad {
    /// The slope of each element times `v`, which has the type of the prediction: the transpose of the map from `dy`.
    fn unit(&self, e: &mut dyn Emit, inputs: &[Val]) -> Result<Val, NotDifferentiable> {
        let (v, last) = (inputs[inputs.len() - 1], inputs.len() - 1);
        let ty = e.ty(inputs[0]).clone();
        let ones = TensorTy::grid::<&str>(ty.n(), 1, &[]).map_err(|_| NotDifferentiable::new("too large"))?;
        let one = e.fill(ones, 1.0);
        let slopes = e.op(self.clone().into(), &[&inputs[..last], &[one]].concat())?;
        Ok(e.mul(slopes, v)?)
    }
}
