//! Negative log-likelihood of class labels, one number `[c: 1]` per sample, the mean over the sample's grid. With log-probabilities
//! `l[k]` of `K` classes (`nll`), or `l[k] = x[k] - log Σ_j e^x[j]` of logits `x` (`cross_entropy`), and a target
//! distribution `q`, a position's loss is `-Σ_k q[k] l[k]`.
//!
//! * A label `[c: 1]` holds class numbers: `q` is 1 at the label. A number that is no class has probability 0, and the loss
//!   is infinite. Positions whose label is `ignore` do not count (a sample of only such positions has loss 0).
//! * A label `[c: K]` holds `q` itself.
//! * `smooth: s` mixes: `(1 - s) q + s / K` (Szegedy et al. 2016).
//! * `weights: [w0, w1, …]` weighs classes: a position's loss is `-Σ_k w[k] q[k] l[k]`, as in PyTorch. The mean divides by the
//!   number of positions that count, so that a sample's loss does not depend on others; PyTorch's mean over labels divides
//!   by the sum of their weights instead (its mean over distributions does not). The weights are a third input `[K]`.

use super::cross_entropy_grad::CrossEntropyGrad;
use super::softmax::Softmax;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::role::Role;
use super::args::{ArgTy, ArgValue, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act, weight};
use super::init::Init;
use super::loss::{per_sample, same_shape};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, grid, max, sum};
use super::{At, Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, WeightSpec, shape_rules};
use std::sync::Arc;

use crate::loops::{Affine, BinOp, Cmp, Expr, LoopKind, Reg, UnOp};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// The prediction is logits, not log-probabilities.
    pub logits: bool,
    /// Share of the uniform distribution in the target.
    pub smooth: f32,
    /// The label of positions that do not count.
    pub ignore: Option<i64>,
}

fn make(logits: bool, args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let op = name(logits);
    let smooth = shape_rules::number(op, args, "smooth", 0.0)?;
    if !(0.0..1.0).contains(&smooth) {
        let message = format!("`smooth` of `{op}` must be at least 0 and less than 1, it is {smooth}");
        return Err(shape_rules::out_of_range("smooth", message));
    }
    let ignore = args.int("ignore");
    // Labels are f32, which hold whole numbers up to 2^24 exactly.
    if let Some(i) = ignore.filter(|i| i.unsigned_abs() > 1 << 24) {
        return Err(shape_rules::out_of_range("ignore", format!("`ignore` of `{op}` is no label: {i}")));
    }
    if ignore.is_some() && inputs[1].c() != 1 {
        let message = format!("`ignore` is for class numbers [c: 1], the label is {}", inputs[1].show());
        return Err(OpError::new(codes::E0107, message).at(At::Arg("ignore")));
    }
    let made = Made::op(CrossEntropy { logits, smooth, ignore });
    Ok(match class_weights(op, args, inputs[0])? {
        Some(spec) => made.weight(spec),
        None => made,
    })
}

/// The weights of classes as a weight that training keeps.
fn class_weights(op: &'static str, args: &CallArgs, x: &TensorTy) -> Result<Option<WeightSpec>, OpError> {
    let Some(given) = args.get("weights") else { return Ok(None) };
    let wrong = || shape_rules::wrong_type(op, "weights");
    let ArgValue::List(list) = given else { return Err(wrong()) };
    let number = |v: &ArgValue| match v {
        ArgValue::Int(i) => Ok(*i as f64),
        ArgValue::Float(x) => Ok(*x),
        _ => Err(wrong()),
    };
    let values: Vec<f32> = list.iter().map(|v| number(v).map(|x| x as f32)).collect::<Result<_, _>>()?;
    if let Some(w) = values.iter().find(|w| !w.is_finite() || **w < 0.0) {
        return Err(shape_rules::out_of_range("weights", format!("a class of `{op}` cannot weigh {w}")));
    }
    if values.len() != x.c() {
        let given = shape_rules::plural(values.len(), "class weight");
        let message = format!("`{op}` over {} classes got {given}", x.c());
        return Err(OpError::new(codes::E0206, message).at(At::Arg("weights")).blame(0, 1));
    }
    let ty = shape_rules::per_channel(op, x.c())?;
    Ok(Some(WeightSpec { name: "class_weights", ty, init: Init::Values(Arc::new(values)), trainable: false }))
}

fn name(logits: bool) -> &'static str {
    if logits { "cross_entropy" } else { "nll" }
}

const PARAMS: &[Param] = &[
    Param::option("smooth", ArgTy::Float, "0", "share of the uniform distribution in the target"),
    Param::option("ignore", ArgTy::Int, "", "the label of positions that do not count"),
    Param::option("weights", ArgTy::Numbers, "", "how much each class weighs, one number per class"),
];

impl CrossEntropy {
    /// What printed graphs call it.
    pub const KIND: &'static str = "cross_entropy";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "cross_entropy",
            family: "losses",
            doc: "Negative log-likelihood of labels (class numbers [c: 1], or distributions) under logits: one number per \
                  sample, the mean over its grid.",
            tensors: (2, 2),
            params: PARAMS,
            example: "net Loss(x: [c: 64], label: [c: 1]) -> [c: 1] { cross_entropy(x |> dense(10), label) }",
            make: |args, inputs| make(true, args, inputs),
        },
        OpInfo {
            name: "nll",
            family: "losses",
            doc: "Negative log-likelihood of labels (class numbers [c: 1], or distributions) under log-probabilities: one \
                  number per sample, the mean over its grid.",
            tensors: (2, 2),
            params: PARAMS,
            example: "net Loss(x: [c: 64], label: [c: 1]) -> [c: 1] { nll(x |> dense(10) |> log_softmax, label) }",
            make: |args, inputs| make(false, args, inputs),
        },
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let ignore = match attrs.get("ignore") {
            Ok(Attr::Int(i)) => Some(*i),
            Ok(_) => return Err("`ignore` is not an integer".into()),
            Err(_) => None,
        };
        Ok(Self { logits: attrs.bool("logits")?, smooth: attrs.float("smooth")?, ignore })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |logits, smooth, ignore| Self { logits, smooth, ignore };
        let pair = |n, k, label, g: &[(&str, usize)]| vec![act(n, k, g), act(n, label, g)];
        let hw: &[(&str, usize)] = &[("h", 3), ("w", 5)];
        let classes = |k| [Fill::Normal, Fill::Labels(k)];
        let mut all = vec![
            Case::new("far", op(true, 0.0, None), pair(2, 9, 1, &[])).fill(&[Fill::Uniform(-200.0, 200.0), Fill::Labels(9)]),
            Case::new("no class", op(true, 0.0, None), pair(3, 4, 1, &[])).fill(&classes(6)),
            Case::new("ignored", op(true, 0.0, Some(2)), pair(3, 4, 1, hw)).fill(&classes(4)),
            Case::new("all ignored", op(true, 0.1, Some(0)), pair(2, 4, 1, &[("t", 3)])).fill(&classes(1)),
        ];
        for logits in [true, false] {
            let named = |what: &str| format!("{} {what}", name(logits));
            all.push(Case::new(named("rank 0"), op(logits, 0.0, None), pair(3, 10, 1, &[])).fill(&classes(10)));
            all.push(Case::new(named("pixels"), op(logits, 0.0, None), pair(2, 5, 1, hw)).fill(&classes(5)));
            all.push(Case::new(named("smooth"), op(logits, 0.1, None), pair(2, 5, 1, &[("t", 4)])).fill(&classes(5)));
            all.push(
                Case::new(named("distribution"), op(logits, 0.2, None), pair(2, 5, 5, hw))
                    .fill(&[Fill::Normal, Fill::Uniform(0.0, 1.0)]),
            );
            let volume = pair(1, 3, 1, &[("d", 2), ("h", 2), ("w", 2)]);
            all.push(Case::new(named("volume"), op(logits, 0.0, Some(-1)), volume).fill(&classes(3)));
        }
        let weighed = |what: &str, logits, smooth, ignore, label, fill: &[Fill]| {
            let mut inputs = pair(2, 5, label, hw);
            inputs.push(weight(&[("c", 5)]));
            Case::new(what, op(logits, smooth, ignore), inputs).fill(fill)
        };
        let (w, q) = (Fill::Uniform(0.2, 3.0), Fill::Uniform(0.0, 1.0));
        all.push(weighed("weights", true, 0.0, None, 1, &[Fill::Normal, Fill::Labels(5), w]));
        all.push(weighed("weights, smooth, ignored", true, 0.2, Some(1), 1, &[Fill::Normal, Fill::Labels(5), w]));
        all.push(weighed("weights of a distribution", true, 0.1, None, 5, &[Fill::Normal, q, w]));
        all.push(weighed("weights, nll", false, 0.0, Some(0), 1, &[Fill::Normal, Fill::Labels(5), w]));
        all
    }

    /// What class `k` weighs.
    pub(super) fn class_weight(cx: &LowerCx<'_>, weighed: bool, k: &Affine) -> Expr {
        if weighed { cx.load(2, std::slice::from_ref(k)) } else { 1.0.into() }
    }

    /// The loss of the position `p` of a sample, whose label has one channel.
    fn of_class(&self, cx: &mut LowerCx<'_>, p: &[Affine], shift: Reg, log_sum: Reg) -> Expr {
        let k = cx.input(0).c();
        let label = cx.load(1, p);
        let label = cx.b.let_(label);
        let weighed = cx.inputs() == 3;
        // Its log-probability, up to the normaliser; no class at all has probability 0.
        let own = cx.b.let_(f32::NEG_INFINITY);
        let own_weight = cx.b.let_(1.0);
        cx.nested(LoopKind::Serial, &[("k", k)], |cx, vars| {
            let k = Affine::from(vars[0]);
            let x = cx.load(0, &at_channel(p, &k)) - shift.into();
            let found = Expr::select(Cmp::Eq, label.into(), Expr::Index(k.clone()), x, own.into());
            cx.b.set(own, found);
            if weighed {
                let w = Self::class_weight(cx, weighed, &k);
                let found = Expr::select(Cmp::Eq, label.into(), Expr::Index(k), w, own_weight.into());
                cx.b.set(own_weight, found);
            }
        });
        let missed = (Expr::from(log_sum) - own.into()) * (1.0 - self.smooth).into();
        let mut loss = if weighed { missed * own_weight.into() } else { missed };
        if self.smooth > 0.0 {
            let all = sum(cx, &[("k", k)], &mut |cx, k| {
                let x = cx.load(0, &at_channel(p, &k[0])) - shift.into();
                let missed = Expr::from(log_sum) - x;
                if weighed { missed * Self::class_weight(cx, weighed, &k[0]) } else { missed }
            });
            loss = loss + Expr::from(all) * (self.smooth / k as f32).into();
        }
        match self.ignore {
            None => loss,
            Some(i) => Expr::select(Cmp::Eq, label.into(), (i as f32).into(), 0.0.into(), loss),
        }
    }

    /// The loss of the position `p` of a sample, whose label is a distribution.
    fn of_distribution(&self, cx: &mut LowerCx<'_>, p: &[Affine], shift: Reg, log_sum: Reg) -> Expr {
        let k = cx.input(0).c();
        let total = sum(cx, &[("k", k)], &mut |cx, i| {
            let at = at_channel(p, &i[0]);
            let minus_log = Expr::from(log_sum) - (cx.load(0, &at) - shift.into());
            let q = Expr::fma(cx.load(1, &at), (1.0 - self.smooth).into(), (self.smooth / k as f32).into());
            let q = if cx.inputs() == 3 { q * Self::class_weight(cx, true, &i[0]) } else { q };
            minus_log * q
        });
        total.into()
    }
}

impl OpRules for CrossEntropy {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs =
            Attrs::default().with("logits", Attr::Bool(self.logits)).with("smooth", Attr::Float(self.smooth));
        match self.ignore {
            Some(i) => attrs.with("ignore", Attr::Int(i)),
            None => attrs,
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, t, op) = (inputs[0], inputs[1], name(self.logits));
        let inferred = per_sample(op, x)?;
        let recover = |e: OpError| e.recover(Some(inferred.ty.clone()));
        let all_but_c: Vec<usize> = (0..x.dims().len()).filter(|d| *d != 1).collect();
        same_shape(op, x, t, &all_but_c).map_err(recover)?;
        if t.c() != 1 && (t.c() != x.c() || self.ignore.is_some()) {
            let message = format!(
                "`{op}` over {} classes takes a label [c: 1], a class number, or [c: {}], a distribution, not [c: {}]",
                x.c(),
                x.c(),
                t.c(),
            );
            return Err(recover(OpError::new(codes::E0206, message).blame(0, 1).blame(1, 1)));
        }
        if let Some(w) = inputs.get(2)
            && w.dims() != [x.c()]
        {
            let message = format!("`{op}` over {} classes has class weights {}", x.c(), w.show());
            return Err(recover(OpError::new(codes::E0206, message).blame(0, 1)));
        }
        Ok(inferred)
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, label) = (at.inputs[0], at.inputs[1]);
        let inputs = [at.inputs, &[at.dy]].concat();
        at.each(|i| match i {
            0 => Ok(Some(e.op(CrossEntropyGrad { of: self.clone() }.into(), &inputs)?)),
            2 => Err(NotDifferentiable::new("class weights are given, not learnt")),
            // Class numbers are no numbers to move.
            _ if e.ty(label).c() == 1 => Ok(None),
            _ => {
                let positions: usize = e.ty(x).grid_dims().iter().product();
                let share = e.scale(at.dy, (self.smooth - 1.0) / positions.max(1) as f32)?;
                let log = if self.logits { e.op(Softmax { log: true }.into(), &[x])? } else { x };
                let log = if let Some(w) = at.inputs.get(2) { e.mul(log, *w)? } else { log };
                Ok(Some(e.mul(log, share)?))
            }
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, t) = (inputs[0], inputs[1]);
        let (classes, label_channels) = (x.dims[1], t.dims[1]);
        let s = f64::from(self.smooth);
        Array::from_fn(out.dims(), |at| {
            let (mut total, mut count) = (0.0, 0);
            for_each_index(&x.dims[2..], |p| {
                let index = |c: usize| -> Vec<usize> { [at[0], c].iter().chain(p).copied().collect() };
                let label = t.at(&index(0));
                if label_channels == 1 && self.ignore.is_some_and(|i| label == i as f64) {
                    return;
                }
                count += 1;
                let scores: Vec<f64> = (0..classes).map(|k| x.at(&index(k))).collect();
                let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let log_sum = if self.logits {
                    greatest + libm::log(scores.iter().map(|v| libm::exp(v - greatest)).sum())
                } else {
                    0.0
                };
                let q = |k: usize| match label_channels {
                    1 => f64::from(u8::from(label == k as f64)),
                    _ => t.at(&index(k)),
                };
                let w = |k: usize| inputs.get(2).map_or(1.0, |w| w.data[k]);
                for k in 0..classes {
                    total += w(k) * ((1.0 - s) * q(k) + s / classes as f64) * (log_sum - scores[k]);
                }
                if label_channels == 1 && (0..classes).all(|k| q(k) == 0.0) {
                    total = f64::INFINITY;
                }
            });
            total / f64::from(count.max(1))
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (x, label_channels) = (cx.input(0).clone(), cx.input(1).c());
        let (dims, classes) = (grid(&x), [("k", x.c())]);
        let positions: usize = x.grid_dims().iter().product();
        cx.nested(LoopKind::Free, &[("n", x.n())], |cx, n| {
            let n = Affine::from(n[0]);
            let at = |i: &[Affine]| -> Vec<Affine> {
                [n.clone(), Affine::k(0)].into_iter().chain(i.iter().cloned()).collect()
            };
            let total = sum(cx, &dims, &mut |cx, i| {
                let p = at(i);
                let (shift, log_sum) = if self.logits {
                    let greatest = max(cx, &classes, &mut |cx, k| cx.load(0, &at_channel(&p, &k[0])));
                    let total = sum(cx, &classes, &mut |cx, k| {
                        let x = cx.load(0, &at_channel(&p, &k[0]));
                        Expr::un(UnOp::Exp, x - greatest.into())
                    });
                    (greatest, cx.b.let_(Expr::un(UnOp::Log, total.into())))
                } else {
                    let zero = cx.b.let_(0.0);
                    (zero, zero)
                };
                if label_channels == 1 {
                    self.of_class(cx, &p, shift, log_sum)
                } else {
                    self.of_distribution(cx, &p, shift, log_sum)
                }
            });
            let value = match self.ignore {
                None => Expr::from(total) * (1.0 / positions.max(1) as f32).into(),
                Some(ignore) => {
                    let count = sum(cx, &dims, &mut |cx, i| {
                        let label = cx.load(1, &at(i));
                        Expr::select(Cmp::Eq, label, (ignore as f32).into(), 0.0.into(), 1.0.into())
                    });
                    Expr::from(total) / Expr::bin(BinOp::Max, count.into(), 1.0.into())
                }
            };
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
        shape_rules::flops(inputs[0], if self.logits { 6 } else { 2 })
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}
