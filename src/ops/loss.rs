//! Losses that compare a prediction `p` with a target `t` element by element, as forward operations: one number `[c: 1]` per
//! sample. With `d = p - t`, the mean over the sample's channels and grid of
//!
//! * `mse`: `d^2`; `mae`: `|d|`; `huber`: `d^2 / 2` where `|d| <= delta`, else `delta (|d| - delta / 2)` (Huber 1964);
//! * `hinge`: `max(0, margin - t p)`, targets -1 and 1;
//! * `bce`: `-(t log p + (1 - t) log(1 - p))`, logarithms kept above -100; of logits `x`: `softplus(x) - x t`.
//!
//! `l1` and `l2` are sums, not means: `Σ |d|` and `Σ d^2`; of one tensor alone, the penalties `Σ |p|` and `Σ p^2`.

use super::loss_grad::{LossGrad, of_difference};
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::build::NestBuilder;
use crate::loops::{Affine, BinOp, Cmp, Expr, LoopKind, Reg, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// What is averaged or summed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "see the module")]
pub enum LossFn {
    Bce,
    BceLogits,
    Hinge { margin: f32 },
    Huber { delta: f32 },
    L1,
    L2,
    Mae,
    Mse,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// What is averaged or summed.
    pub f: LossFn,
}

const fn info(
    name: &'static str,
    doc: &'static str,
    least: usize,
    params: &'static [Param],
    example: &'static str,
    make: fn(&CallArgs, &[&TensorTy]) -> Result<Made, OpError>,
) -> OpInfo {
    OpInfo { name, family: "losses", doc, tensors: (least, 2), params, example, make }
}

fn made(f: LossFn) -> Result<Made, OpError> {
    Ok(Made::op(Loss { f }))
}

fn bound(op: &'static str, args: &CallArgs, name: &'static str) -> Result<f32, OpError> {
    let x = shape_rules::number(op, args, name, 1.0)?;
    if x > 0.0 {
        return Ok(x);
    }
    Err(shape_rules::out_of_range(name, format!("`{name}` of `{op}` must be positive, it is {x}")))
}

impl LossFn {
    fn word(self) -> &'static str {
        match self {
            Self::Bce => "bce",
            Self::BceLogits => "bce_logits",
            Self::Hinge { .. } => "hinge",
            Self::Huber { .. } => "huber",
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Mae => "mae",
            Self::Mse => "mse",
        }
    }

    /// What the language calls it.
    fn name(self) -> &'static str {
        if self == Self::BceLogits { "bce" } else { self.word() }
    }

    fn is_sum(self) -> bool {
        match self {
            Self::L1 | Self::L2 => true,
            Self::Bce | Self::BceLogits | Self::Hinge { .. } | Self::Huber { .. } | Self::Mae | Self::Mse => false,
        }
    }

    fn reference(self, p: f64, t: f64) -> f64 {
        let d = p - t;
        match self {
            Self::Bce => -(t * libm::log(p).max(-100.0) + (1.0 - t) * libm::log1p(-p).max(-100.0)),
            Self::BceLogits => p.max(0.0) - p * t + libm::log1p(libm::exp(-p.abs())),
            Self::Hinge { margin } => (f64::from(margin) - t * p).max(0.0),
            Self::Huber { delta } => {
                let delta = f64::from(delta);
                if d.abs() <= delta { d * d / 2.0 } else { delta * (d.abs() - delta / 2.0) }
            }
            Self::L1 | Self::Mae => d.abs(),
            Self::L2 | Self::Mse => d * d,
        }
    }

    /// The term of one element; a target of `None` is 0.
    fn emit(self, b: &mut NestBuilder, p: Reg, t: Option<Reg>) -> Expr {
        let target = t.map_or(Expr::Const(0.0), Expr::from);
        let d = b.let_(Expr::from(p) - target.clone());
        let abs = Expr::un(UnOp::Abs, d.into());
        match self {
            Self::Bce => {
                let log = |x: Expr| Expr::bin(BinOp::Max, Expr::un(UnOp::Log, x), Expr::Const(-100.0));
                let miss = Expr::from(1.0) - target.clone();
                let of_miss = log(Expr::from(1.0) - p.into());
                Expr::un(UnOp::Neg, Expr::fma(target, log(p.into()), miss * of_miss))
            }
            Self::BceLogits => super::unary::softplus(b, p) - Expr::from(p) * target,
            Self::Hinge { margin } => {
                Expr::bin(BinOp::Max, Expr::from(margin) - target * p.into(), Expr::Const(0.0))
            }
            Self::Huber { delta } => {
                let square = Expr::from(d) * d.into() * 0.5.into();
                let linear = (abs.clone() - (delta / 2.0).into()) * delta.into();
                Expr::select(Cmp::Le, abs, delta.into(), square, linear)
            }
            Self::L1 | Self::Mae => abs,
            Self::L2 | Self::Mse => Expr::from(d) * d.into(),
        }
    }
}

impl Loss {
    /// What printed graphs call it.
    pub const KIND: &'static str = "loss";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        info(
            "bce",
            "Mean binary cross-entropy of probabilities (or of logits) with targets in 0..1: one number per sample.",
            2,
            &[Param::option("logits", ArgTy::Bool, "false", "the prediction is logits, before a sigmoid")],
            "net Loss(x: [c: 3], t: [c: 3]) -> [c: 1] { bce(x, t, logits: true) }",
            |args, _| made(if args.bool("logits") == Some(true) { LossFn::BceLogits } else { LossFn::Bce }),
        ),
        info(
            "hinge",
            "Mean of max(0, margin - target * prediction), targets -1 and 1: one number per sample.",
            2,
            &[Param::option("margin", ArgTy::Float, "1", "where the loss becomes 0")],
            "net Loss(x: [c: 3], t: [c: 3]) -> [c: 1] { hinge(x, t) }",
            |args, _| made(LossFn::Hinge { margin: bound("hinge", args, "margin")? }),
        ),
        info(
            "huber",
            "Mean of d^2 / 2, linear beyond |d| = delta: one number per sample.",
            2,
            &[Param::option("delta", ArgTy::Float, "1", "where the square becomes linear")],
            "net Loss(x: [c: 3], t: [c: 3]) -> [c: 1] { huber(x, t, delta: 0.5) }",
            |args, _| made(LossFn::Huber { delta: bound("huber", args, "delta")? }),
        ),
        info(
            "l1",
            "Sum of |d|, or of |x| of one tensor alone: one number per sample.",
            1,
            &[],
            "net Loss(x: [c: 3, h: 2, w: 2], t: [c: 3, h: 2, w: 2]) -> [c: 1] { l1(x, t) }",
            |_, _| made(LossFn::L1),
        ),
        info(
            "l2",
            "Sum of d^2, or of x^2 of one tensor alone: one number per sample.",
            1,
            &[],
            "net Loss(x: [c: 3, h: 2, w: 2]) -> [c: 1] { l2(x) * 0.5 }",
            |_, _| made(LossFn::L2),
        ),
        info(
            "mae",
            "Mean of |d|: one number per sample.",
            2,
            &[],
            "net Loss(x: [c: 3, h: 2, w: 2], t: [c: 3, h: 2, w: 2]) -> [c: 1] { mae(x, t) }",
            |_, _| made(LossFn::Mae),
        ),
        info(
            "mse",
            "Mean of d^2: one number per sample.",
            2,
            &[],
            "net Loss(x: [c: 3, h: 2, w: 2], t: [c: 3, h: 2, w: 2]) -> [c: 1] { mse(x, t) }",
            |_, _| made(LossFn::Mse),
        ),
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let f = match attrs.word("f")? {
            "bce" => LossFn::Bce,
            "bce_logits" => LossFn::BceLogits,
            "hinge" => LossFn::Hinge { margin: attrs.float("margin")? },
            "huber" => LossFn::Huber { delta: attrs.float("delta")? },
            "l1" => LossFn::L1,
            "l2" => LossFn::L2,
            "mae" => LossFn::Mae,
            "mse" => LossFn::Mse,
            other => return Err(format!("no loss is called `{other}`")),
        };
        Ok(Self { f })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (f, fill) in [
            (LossFn::Bce, [Fill::Uniform(0.05, 0.95), Fill::Uniform(0.0, 1.0)]),
            (LossFn::BceLogits, [Fill::Uniform(-50.0, 50.0), Fill::Uniform(0.0, 1.0)]),
            (LossFn::Hinge { margin: 1.5 }, [Fill::Normal, Fill::Signs]),
            (LossFn::Huber { delta: 0.75 }, [Fill::Normal, Fill::Normal]),
            (LossFn::L1, [Fill::Normal, Fill::Normal]),
            (LossFn::L2, [Fill::Normal, Fill::Normal]),
            (LossFn::Mae, [Fill::Normal, Fill::Normal]),
            (LossFn::Mse, [Fill::Normal, Fill::Normal]),
        ] {
            let op = || Self { f };
            let name = |what: &str| format!("{} {what}", f.word());
            let mut push = |what: &str, x: TensorTy| {
                all.push(Case::new(name(what), op(), vec![x.clone(), x]).fill(&fill));
            };
            push("2d", act(3, 5, &[("h", 3), ("w", 7)]));
            push("rank 0", act(2, 7, &[]));
            push("1d", act(1, 1, &[("t", 9)]));
            if f.is_sum() {
                all.push(Case::new(name("alone"), op(), vec![act(2, 3, &[("d", 2), ("h", 2), ("w", 3)])]));
            }
        }
        let sure = [Fill::Labels(2), Fill::Labels(2)];
        let x = act(2, 9, &[]);
        all.push(Case::new("bce of certainties", Self { f: LossFn::Bce }, vec![x.clone(), x]).fill(&sure));
        all
    }
}

/// Checks that target and prediction have one shape.
///
/// # Errors
/// E0205 for other axes, E0210 for another extent.
pub(super) fn same_shape(op: &str, p: &TensorTy, t: &TensorTy, dims: &[usize]) -> Result<(), OpError> {
    let label = || format!("prediction {}, target {}", p.show(), t.show());
    if p.names() != t.names() {
        let message = format!(
            "`{op}` needs a target on the prediction's grid: {} and {}",
            shape_rules::show_axes(p),
            shape_rules::show_axes(t),
        );
        return Err(OpError::new(codes::E0205, message).label(label()));
    }
    for d in dims {
        let (a, b) = (p.dims()[*d], t.dims()[*d]);
        if a != b {
            let message = format!(
                "`{op}` needs equal extents on axis {}: {a} in the prediction, {b} in the target",
                p.names()[*d]
            );
            return Err(OpError::new(codes::E0210, message).label(label()).blame(0, *d).blame(1, *d));
        }
    }
    Ok(())
}

/// The type of a loss: one number per sample.
pub(super) fn per_sample(op: &str, x: &TensorTy) -> Result<Inferred, OpError> {
    let ty = TensorTy::grid::<&str>(x.n(), 1, &[]).map_err(|_| shape_rules::too_large(op, &[x.n()]))?;
    Ok(Inferred { ty, why: vec![Why::same(0, 0), Why::given("one number per sample")] })
}

impl OpRules for Loss {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::default().with("f", Attr::Word(self.f.word().to_owned()));
        match self.f {
            LossFn::Hinge { margin } => attrs.with("margin", Attr::Float(margin)),
            LossFn::Huber { delta } => attrs.with("delta", Attr::Float(delta)),
            LossFn::Bce
            | LossFn::BceLogits
            | LossFn::L1
            | LossFn::L2
            | LossFn::Mae
            | LossFn::Mse => attrs,
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let inferred = per_sample(self.f.name(), x)?;
        if let Some(t) = inputs.get(1) {
            let all: Vec<usize> = (0..x.dims().len()).collect();
            same_shape(self.f.name(), x, t, &all).map_err(|e| e.recover(Some(inferred.ty.clone())))?;
        }
        Ok(inferred)
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let share = match self.f.is_sum() {
            true => 1.0,
            false => 1.0 / (e.ty(at.inputs[0]).len() / e.ty(at.y).n().max(1)) as f32,
        };
        let dy = e.scale(at.dy, share)?;
        at.each(|i| {
            let by_target = i == 1 && !of_difference(self.f);
            let inputs = [at.inputs, &[dy]].concat();
            let slope = e.op(LossGrad { f: self.f, by_target }.into(), &inputs)?;
            Ok(Some(if i == 1 && !by_target { e.map(UnaryFn::Neg, slope)? } else { slope }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let size = x.data.len() / out.n().max(1);
        Array::from_fn(out.dims(), |at| {
            let sample = at[0] * size..(at[0] + 1) * size;
            let total: f64 =
                sample.map(|i| self.f.reference(x.data[i], inputs.get(1).map_or(0.0, |t| t.data[i]))).sum();
            if self.f.is_sum() { total } else { total / size as f64 }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        let mut dims = super::reduce::grid(&x);
        dims.push(("c", x.c()));
        let count: usize = dims.iter().map(|d| d.1).product();
        cx.nested(LoopKind::Free, &[("n", x.n())], |cx, n| {
            let n = Affine::from(n[0]);
            let total = super::reduce::sum(cx, &dims, &mut |cx, i| {
                let (c, grid) = i.split_last().map_or((Affine::k(0), i), |(c, grid)| (c.clone(), grid));
                let at: Vec<Affine> = [n.clone(), c].into_iter().chain(grid.iter().cloned()).collect();
                let p = cx.load(0, &at);
                let p = cx.b.let_(p);
                let t = (cx.inputs() > 1).then(|| cx.load(1, &at));
                let t = t.map(|t| cx.b.let_(t));
                self.f.emit(&mut cx.b, p, t)
            });
            let value =
                if self.f.is_sum() { total.into() } else { Expr::from(total) * (1.0 / count as f32).into() };
            cx.store(&[n.clone(), Affine::k(0)], value);
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
        let per = match self.f {
            LossFn::Bce | LossFn::BceLogits => 8,
            LossFn::Hinge { .. } => 4,
            LossFn::Huber { .. } => 6,
            LossFn::L1 | LossFn::L2 | LossFn::Mae | LossFn::Mse => 3,
        };
        shape_rules::flops(inputs[0], per)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}
