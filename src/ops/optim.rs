//! The rules by which optimizers change weights, element by element, and what they need of numbers that hold for all elements. Only
//! `train` makes them; the language has no name for them. With `g` the gradient, `w` the weight and `g' = g + decay w`:
//!
//! * `momentum`: `m, g, w -> momentum m + g'` (Polyak 1964, as PyTorch's SGD without dampening);
//! * `nesterov`: `g, m, w -> g' + momentum m` of the new `m` (Sutskever et al. 2013, PyTorch's form);
//! * `mean`: `m, g, w -> m + (1 - beta) (g' - m)`; `square`: `v, g, w -> beta v + share g'^2`;
//! * `step`: `w, d, rate -> w - rate d`; `sgd`: `w, g, rate -> w - rate g'`;
//! * `adam`: `w, m, v, rate, size, root -> w (1 - rate decay) - size m / (root sqrt(v) + eps)` (Kingma & Ba 2015; decoupled
//!   decay: Loshchilov & Hutter 2019), with `size = rate / (1 - beta1^t)` and `root = 1 / sqrt(1 - beta2^t)`;
//! * `scaled`: `g, v, w -> g' / (sqrt(v) + eps)` (RMSprop, Adagrad);
//! * `gate`: `new, old, open -> new` where `open > 0`, else `old`; `average`: `a, w -> decay a + (1 - decay) w`;
//! * `clip`: `s -> min(1, most / (sqrt(s) + 1e-6))` of a sum of squares; `finite`: `s, open -> open` where `s` is finite, else 0.
//!
//! Inputs of type `[]` (rates, gates) hold for all elements; all others have the type of the first.

use super::args::{Attr, Attrs};
use super::case::{Case, Fill, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{BinOp, Cmp, Expr, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// A rule; see the module.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "see the module")]
pub enum Optim {
    Momentum { momentum: f32, decay: f32 },
    Nesterov { momentum: f32, decay: f32 },
    Mean { beta: f32, decay: f32 },
    Square { beta: f32, share: f32, decay: f32 },
    Step,
    Sgd { decay: f32 },
    Adam { eps: f32, decay: f32 },
    Scaled { eps: f32, decay: f32 },
    Gate,
    Average { decay: f32 },
    Clip { most: f32 },
    Finite,
}

/// PyTorch's guard of `clip_grad_norm_`.
const NORM_EPS: f32 = 1e-6;

impl Optim {
    /// What printed graphs call it.
    pub const KIND: &'static str = "optim";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// The rule that `op` is, if it is one.
    pub fn of(op: &Op) -> Option<Self> {
        if let Op::Optim(rule) = op { Some(*rule) } else { None }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Momentum { .. } => "momentum",
            Self::Nesterov { .. } => "nesterov",
            Self::Mean { .. } => "mean",
            Self::Square { .. } => "square",
            Self::Step => "step",
            Self::Sgd { .. } => "sgd",
            Self::Adam { .. } => "adam",
            Self::Scaled { .. } => "scaled",
            Self::Gate => "gate",
            Self::Average { .. } => "average",
            Self::Clip { .. } => "clip",
            Self::Finite => "finite",
        }
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let decay = || attrs.float("decay");
        Ok(match attrs.word("rule")? {
            "momentum" => Self::Momentum { momentum: attrs.float("momentum")?, decay: decay()? },
            "nesterov" => Self::Nesterov { momentum: attrs.float("momentum")?, decay: decay()? },
            "mean" => Self::Mean { beta: attrs.float("beta")?, decay: decay()? },
            "square" => {
                Self::Square { beta: attrs.float("beta")?, share: attrs.float("share")?, decay: decay()? }
            }
            "step" => Self::Step,
            "sgd" => Self::Sgd { decay: decay()? },
            "adam" => Self::Adam { eps: attrs.float("eps")?, decay: decay()? },
            "scaled" => Self::Scaled { eps: attrs.float("eps")?, decay: decay()? },
            "gate" => Self::Gate,
            "average" => Self::Average { decay: decay()? },
            "clip" => Self::Clip { most: attrs.float("most")? },
            "finite" => Self::Finite,
            other => return Err(format!("no rule `{other}`")),
        })
    }

    /// For each input whether it is one number for all elements.
    fn shared(self) -> &'static [bool] {
        match self {
            Self::Momentum { .. } | Self::Nesterov { .. } | Self::Mean { .. } => &[false; 3],
            Self::Square { .. } | Self::Scaled { .. } => &[false; 3],
            Self::Step | Self::Gate => &[false, false, true],
            Self::Sgd { .. } => &[false, false, true],
            Self::Adam { .. } => &[false, false, false, true, true, true],
            Self::Average { .. } => &[false; 2],
            Self::Clip { .. } => &[false],
            Self::Finite => &[false, true],
        }
    }

    /// The share of the weight in the gradient, and the positions of both.
    fn decayed(self) -> Option<(f32, usize, usize)> {
        match self {
            Self::Momentum { decay, .. } | Self::Mean { decay, .. } | Self::Square { decay, .. } => {
                Some((decay, 1, 2))
            }
            Self::Nesterov { decay, .. } | Self::Scaled { decay, .. } => Some((decay, 0, 2)),
            Self::Sgd { decay } => Some((decay, 1, 0)),
            Self::Step | Self::Adam { .. } | Self::Gate | Self::Average { .. } | Self::Clip { .. } => None,
            Self::Finite => None,
        }
    }

    /// Test cases: every rule on a kernel, gates open and shut.
    pub fn cases() -> Vec<Case> {
        let kernel = || weight(&[("o", 4), ("i", 3), ("kh", 3), ("kw", 3)]);
        let one = || weight(&[]);
        let (momentum, decay) = (0.9, 0.01);
        let rules = [
            Self::Momentum { momentum, decay },
            Self::Nesterov { momentum, decay },
            Self::Mean { beta: 0.9, decay },
            Self::Square { beta: 0.99, share: 0.01, decay },
            Self::Step,
            Self::Sgd { decay },
            Self::Adam { eps: 1e-8, decay },
            Self::Scaled { eps: 1e-8, decay },
            Self::Gate,
            Self::Average { decay: 0.99 },
            Self::Clip { most: 0.5 },
            Self::Finite,
        ];
        let mut all = Vec::new();
        for rule in rules {
            let scalar = matches!(rule, Self::Clip { .. } | Self::Finite);
            let inputs = rule.shared().iter().map(|s| if *s || scalar { one() } else { kernel() });
            // Sums of squares are positive.
            let fill = [Fill::Normal, Fill::Uniform(0.1, 2.0), Fill::Uniform(0.1, 2.0)];
            let fill = if scalar { [Fill::Uniform(0.5, 2.0); 3] } else { fill };
            all.push(Case::new(rule.word(), rule, inputs.collect()).fill(&fill));
        }
        let shut = [Fill::Normal, Fill::Normal, Fill::Uniform(-2.0, -1.0)];
        all.push(Case::new("shut", Self::Gate, vec![kernel(), kernel(), one()]).fill(&shut));
        all
    }

    fn element(self, x: &[f64]) -> f64 {
        let g = self.decayed().map_or(0.0, |(decay, g, w)| x[g] + f64::from(decay) * x[w]);
        match self {
            Self::Momentum { momentum, .. } => f64::from(momentum) * x[0] + g,
            Self::Nesterov { momentum, .. } => g + f64::from(momentum) * x[1],
            Self::Mean { beta, .. } => x[0] + (1.0 - f64::from(beta)) * (g - x[0]),
            Self::Square { beta, share, .. } => f64::from(beta) * x[0] + f64::from(share) * g * g,
            Self::Step => x[0] - x[2] * x[1],
            Self::Sgd { .. } => x[0] - x[2] * g,
            Self::Adam { eps, decay } => {
                let unit = x[1] / (x[5] * x[2].sqrt() + f64::from(eps));
                x[0] * (1.0 - x[3] * f64::from(decay)) - x[4] * unit
            }
            Self::Scaled { eps, .. } => g / (x[1].sqrt() + f64::from(eps)),
            Self::Gate if x[2] > 0.0 => x[0],
            Self::Gate => x[1],
            Self::Average { decay } => f64::from(decay) * x[0] + (1.0 - f64::from(decay)) * x[1],
            Self::Clip { most } => (f64::from(most) / (x[0].sqrt() + f64::from(NORM_EPS))).min(1.0),
            Self::Finite if x[0].is_finite() => x[1],
            Self::Finite => 0.0,
        }
    }
}

impl OpRules for Optim {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::default().with("rule", Attr::Word(self.word().to_owned()));
        let with = |list: &[(&'static str, f32)]| {
            list.iter().fold(attrs.clone(), |attrs, (name, x)| attrs.with(name, Attr::Float(*x)))
        };
        match *self {
            Self::Momentum { momentum, decay } | Self::Nesterov { momentum, decay } => {
                with(&[("momentum", momentum), ("decay", decay)])
            }
            Self::Mean { beta, decay } => with(&[("beta", beta), ("decay", decay)]),
            Self::Square { beta, share, decay } => with(&[("beta", beta), ("share", share), ("decay", decay)]),
            Self::Sgd { decay } | Self::Average { decay } => with(&[("decay", decay)]),
            Self::Adam { eps, decay } | Self::Scaled { eps, decay } => with(&[("eps", eps), ("decay", decay)]),
            Self::Clip { most } => with(&[("most", most)]),
            Self::Step | Self::Gate | Self::Finite => attrs,
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let shared = self.shared();
        let fits = inputs.len() == shared.len()
            && inputs.iter().zip(shared).all(|(ty, s)| if *s { ty.dims().is_empty() } else { *ty == inputs[0] });
        if !fits {
            let types: Vec<String> = inputs.iter().map(|t| t.show()).collect();
            let message = format!("the rule `{}` does not take {}", self.word(), types.join(", "));
            return Err(OpError::new(codes::E0210, message));
        }
        let why = (0..inputs[0].dims().len()).map(|d| Why::same(0, d)).collect();
        Ok(Inferred { ty: inputs[0].clone(), why })
    }

    fn vjp(&self, _e: &mut dyn Emit, _at: &Applied<'_>) -> Pulled {
        Err(NotDifferentiable::new("it is a rule of an optimizer, not a part of a network"))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let own = |x: &Array| if x.dims.is_empty() { x.data[0] } else { x.at(at) };
            self.element(&inputs.iter().map(|x| own(x)).collect::<Vec<_>>())
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        super::lower::elementwise(cx, &self.scalar_fn());
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

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, 2 * inputs.len() as u64)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}

impl Optim {
    fn scalar_fn(&self) -> ScalarFn<'_> {
        Box::new(|_, r| {
            let x = |i: usize| Expr::from(r[i]);
            let root = |i: usize| Expr::un(UnOp::Sqrt, x(i));
            let g = || match self.decayed() {
                Some((decay, g, w)) if decay != 0.0 => Expr::fma(x(w), decay.into(), x(g)),
                Some((_, g, _)) => x(g),
                None => 0.0.into(),
            };
            match *self {
                Self::Momentum { momentum, .. } => Expr::fma(x(0), momentum.into(), g()),
                Self::Nesterov { momentum, .. } => Expr::fma(x(1), momentum.into(), g()),
                Self::Mean { beta, .. } => Expr::fma(g() - x(0), rest(beta).into(), x(0)),
                Self::Square { beta, share, .. } => Expr::fma(x(0), beta.into(), g() * g() * share.into()),
                Self::Step => x(0) - x(2) * x(1),
                Self::Sgd { .. } => x(0) - x(2) * g(),
                Self::Adam { eps, decay } => {
                    let unit = x(1) / Expr::fma(root(2), x(5), eps.into());
                    let kept = if decay == 0.0 { x(0) } else { x(0) * (Expr::from(1.0) - x(3) * decay.into()) };
                    kept - x(4) * unit
                }
                Self::Scaled { eps, .. } => g() / (root(1) + eps.into()),
                Self::Gate => Expr::select(Cmp::Gt, x(2), 0.0.into(), x(0), x(1)),
                Self::Average { decay } => Expr::fma(x(0), decay.into(), x(1) * rest(decay).into()),
                Self::Clip { most } => {
                    Expr::bin(BinOp::Min, Expr::from(most) / (root(0) + NORM_EPS.into()), 1.0.into())
                }
                // What is not finite less itself is no number, and equals nothing.
                Self::Finite => Expr::select(Cmp::Eq, x(0) - x(0), 0.0.into(), x(1), 0.0.into()),
            }
        })
    }
}

/// `1 - share`, rounded once.
fn rest(share: f32) -> f32 {
    (1.0 - f64::from(share)) as f32
}
