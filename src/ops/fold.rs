//! What of a batch normalisation can be computed once for each channel instead of for each element. Passes make these
//! operations, and the gradient of a normalisation by running statistics makes `gain`; the language has no word for them. With statistics known when weights are loaded,
//! `y = (x - mean) / sqrt(var + eps) * weight + bias` is written as `y = x * s + t`, and `s` and `t` may go into a linear operation:
//!
//! * `gain`:   `s[c] = weight[c] / sqrt(var[c] + eps)`                       inputs `weight, var`
//! * `shift`:  `t[c] = bias[c] + (b[c] - mean[c]) * s[c]`                    inputs `bias, mean, s`, and `b` if there is one
//! * `weight`: `w'[i] = w[i] * s[channel(i)]`                                inputs `w, s`
//! * `apply`:  `y[n, c, p] = x[n, c, p] * s[c] + t[c]`                       inputs `x, s, t`
//!
//! With statistics of the batch, where `x * s` and `t` may be far larger than their sum, and for its gradient by `x`:
//!
//! * `centred`: `y[n, c, p] = (x[n, c, p] - mean[c]) * s[c] + bias[c]`       inputs `x, mean, s, bias`
//! * `slope`:   `k[c] = along[c] / (N sqrt(var[c] + eps))`                   inputs `along, var`, with `along = Σ dy u`
//! * `back`:    `dx = (dy - all[c] / N - (x - mean[c]) * k[c]) * s[c]`       inputs `x, dy, mean, s, k, all`, with `all = Σ dy`

use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::role::Role;
use super::args::{Attr, Attrs};
use super::case::{Case, Fill};
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::role::WeightChannel;
use super::unary::UnaryFn;
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::build::NestBuilder;
use crate::loops::{Affine, Expr, Reg, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Fold {
    /// `s = weight / sqrt(var + eps)`
    Gain {
        /// What keeps the root from 0.
        eps: f32,
    },
    /// `t = bias + (b - mean) * s`
    Shift,
    /// `w' = w * s[channel]`
    Weight(WeightChannel),
    /// `y = x * s + t`
    Apply,
    /// `y = (x - mean) * s + bias`
    Centred,
    /// `k = along / (N sqrt(var + eps))`
    Slope {
        /// What keeps the root from 0.
        eps: f32,
        /// Elements of a channel, `N`.
        count: usize,
    },
    /// `dx = (dy - all / N - (x - mean) * k) * s`
    Back {
        /// Elements of a channel, `N`.
        count: usize,
    },
}

impl Fold {
    /// What printed graphs call it.
    pub const KIND: &'static str = "fold";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        match attrs.word("what")? {
            "gain" => Ok(Self::Gain { eps: attrs.float("eps")? }),
            "shift" => Ok(Self::Shift),
            "weight" => {
                let outer = match attrs.sizes("outer")?.as_slice() {
                    [] => None,
                    [dim, div, per] if *div > 0 => Some((*dim, *div, *per)),
                    _ => return Err("attribute `outer` is not `[]` or `[dim, div, per]`".into()),
                };
                Ok(Self::Weight(WeightChannel { dim: attrs.size("dim")?, outer }))
            }
            "apply" => Ok(Self::Apply),
            "centred" => Ok(Self::Centred),
            "slope" => Ok(Self::Slope { eps: attrs.float("eps")?, count: attrs.size("count")?.max(1) }),
            "back" => Ok(Self::Back { count: attrs.size("count")?.max(1) }),
            other => Err(format!("`fold` does not know `{other}`")),
        }
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let c = || TensorTy::new([("c", 6)]).expect("a small tensor");
        let w = |dims: [usize; 4]| {
            TensorTy::new(["o", "i", "kh", "kw"].into_iter().zip(dims)).expect("a small tensor")
        };
        let x = TensorTy::grid(2, 6, &[("h", 3), ("w", 5)]).expect("a small tensor");
        let grouped = WeightChannel { dim: 1, outer: Some((0, 4, 3)) };
        vec![
            Case::new("gain", Self::Gain { eps: 1e-5 }, vec![c(), c()])
                .fill(&[Fill::Normal, Fill::Uniform(0.1, 2.0)]),
            Case::new("shift", Self::Shift, vec![c(), c(), c()]),
            Case::new("shift with bias", Self::Shift, vec![c(), c(), c(), c()]),
            Case::new("weight", Self::Weight(WeightChannel::dim(0)), vec![w([6, 4, 3, 3]), c()]),
            Case::new("weight, second dimension", Self::Weight(WeightChannel::dim(1)), vec![w([4, 6, 3, 2]), c()]),
            Case::new("weight, grouped", Self::Weight(grouped), vec![w([8, 3, 2, 2]), c()]),
            Case::new("apply", Self::Apply, vec![x.clone(), c(), c()]),
            Case::new("centred", Self::Centred, vec![x.clone(), c(), c(), c()]),
            Case::new("slope", Self::Slope { eps: 1e-5, count: 30 }, vec![c(), c()])
                .fill(&[Fill::Normal, Fill::Uniform(0.1, 2.0)]),
            Case::new("back", Self::Back { count: 30 }, vec![x.clone(), x, c(), c(), c(), c()]),
        ]
    }

    fn scalar_of(&self) -> Option<ScalarFn<'static>> {
        match *self {
            Self::Gain { eps } => Some(Box::new(move |b: &mut NestBuilder, x: &[Reg]| {
                let var = b.let_(Expr::from(x[1]) + Expr::Const(eps));
                Expr::from(x[0]) / Expr::un(UnOp::Sqrt, var.into())
            })),
            Self::Shift => Some(Box::new(|b: &mut NestBuilder, x: &[Reg]| {
                let bias = x.get(3).map_or(Expr::Const(0.0), |r| Expr::from(*r));
                let centred = b.let_(bias - Expr::from(x[1]));
                Expr::fma(centred.into(), x[2].into(), x[0].into())
            })),
            Self::Apply => Some(Box::new(|_: &mut NestBuilder, x: &[Reg]| {
                Expr::fma(x[0].into(), x[1].into(), x[2].into())
            })),
            Self::Centred => Some(Box::new(|_: &mut NestBuilder, x: &[Reg]| {
                Expr::fma(Expr::from(x[0]) - x[1].into(), x[2].into(), x[3].into())
            })),
            Self::Slope { eps, count } => Some(Box::new(move |b: &mut NestBuilder, x: &[Reg]| {
                let root = b.let_(Expr::un(UnOp::Sqrt, Expr::from(x[1]) + Expr::Const(eps)));
                Expr::from(x[0]) * Expr::Const(1.0 / count as f32) / root.into()
            })),
            Self::Back { count } => Some(Box::new(move |b: &mut NestBuilder, r: &[Reg]| {
                let [x, dy, mean, s, k, all] = [0, 1, 2, 3, 4, 5].map(|i| Expr::from(r[i]));
                let centred = b.let_(x - mean);
                let part = Expr::fma(all, Expr::Const(-1.0 / count as f32), dy);
                (part - Expr::from(centred) * k) * s
            })),
            Self::Weight(_) => None,
        }
    }

    /// Whether the shapes fit; passes only build what does.
    fn fits(&self, inputs: &[&TensorTy]) -> bool {
        let vector = |i: usize| inputs[i].dims().len() == 1;
        match self {
            Self::Gain { .. } | Self::Slope { .. } => inputs.len() == 2 && vector(0) && inputs[0].dims() == inputs[1].dims(),
            Self::Shift => {
                matches!(inputs.len(), 3 | 4)
                    && vector(0)
                    && inputs.iter().all(|i| i.dims() == inputs[0].dims())
            }
            Self::Weight(channel) => {
                let inside = |d: usize| d < inputs[0].dims().len();
                inputs.len() == 2
                    && vector(1)
                    && inside(channel.dim)
                    && channel.outer.is_none_or(|(d, div, _)| inside(d) && div > 0)
                    && channels(*channel, inputs[0]) == inputs[1].len()
            }
            Self::Apply => {
                inputs.len() == 3
                    && inputs[0].is_activation()
                    && inputs[1..].iter().all(|i| i.dims() == [inputs[0].c()])
            }
            Self::Centred => {
                inputs.len() == 4
                    && inputs[0].is_activation()
                    && inputs[1..].iter().all(|i| i.dims() == [inputs[0].c()])
            }
            Self::Back { .. } => {
                inputs.len() == 6
                    && inputs[0].is_activation()
                    && inputs[0] == inputs[1]
                    && inputs[2..].iter().all(|i| i.dims() == [inputs[0].c()])
            }
        }
    }
}

/// How many output channels a weight feeds.
fn channels(channel: WeightChannel, weight: &TensorTy) -> usize {
    let groups = channel.outer.map_or(1, |(d, div, _)| weight.dims()[d] / div);
    groups * weight.dims()[channel.dim]
}

impl OpRules for Fold {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let word = |w: &str| Attrs::default().with("what", Attr::Word(w.to_owned()));
        match self {
            Self::Gain { eps } => word("gain").with("eps", Attr::Float(*eps)),
            Self::Shift => word("shift"),
            Self::Weight(channel) => {
                let outer = channel.outer.map_or(Vec::new(), |(d, div, per)| vec![d, div, per]);
                word("weight")
                    .with("dim", Attr::Int(channel.dim as i64))
                    .with("outer", Attr::Ints(outer.iter().map(|x| *x as i64).collect()))
            }
            Self::Apply => word("apply"),
            Self::Centred => word("centred"),
            Self::Slope { eps, count } => {
                word("slope").with("eps", Attr::Float(*eps)).with("count", Attr::Int(*count as i64))
            }
            Self::Back { count } => word("back").with("count", Attr::Int(*count as i64)),
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        if !self.fits(inputs) {
            let shapes: Vec<String> = inputs.iter().map(|i| i.show()).collect();
            let message = format!("`fold` cannot take {}", shapes.join(", "));
            return Err(OpError::new(codes::E0206, message));
        }
        let why = (0..inputs[0].dims().len()).map(|d| Why::same(0, d)).collect();
        Ok(Inferred { ty: inputs[0].clone(), why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        // Second gradients of a normalisation by running statistics go through it.
        let (Self::Gain { eps }, [_, var]) = (self, at.inputs) else {
            return at.each(|_| Err(NotDifferentiable::new("passes make `fold`, after gradients were taken")));
        };
        let shifted = e.shift(*var, *eps)?;
        at.each(|i| {
            if i == 0 {
                let root = e.map(UnaryFn::Sqrt, shifted)?;
                return Ok(Some(e.div(at.dy, root)?));
            }
            let part = e.mul(at.dy, at.y)?;
            let part = e.div(part, shifted)?;
            Ok(Some(e.scale(part, -0.5)?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| match self {
            Self::Gain { eps } => inputs[0].at(at) / (inputs[1].at(at) + f64::from(*eps)).sqrt(),
            Self::Shift => {
                let b = inputs.get(3).map_or(0.0, |b| b.at(at));
                inputs[0].at(at) + (b - inputs[1].at(at)) * inputs[2].at(at)
            }
            Self::Weight(channel) => {
                let group = channel.outer.map_or(0, |(d, div, per)| at[d] / div * per);
                inputs[0].at(at) * inputs[1].at(&[at[channel.dim] + group])
            }
            Self::Apply => inputs[0].at(at) * inputs[1].at(&at[1..2]) + inputs[2].at(&at[1..2]),
            Self::Centred => {
                let c = &at[1..2];
                (inputs[0].at(at) - inputs[1].at(c)) * inputs[2].at(c) + inputs[3].at(c)
            }
            Self::Slope { eps, count } => {
                inputs[0].at(at) / (*count as f64 * (inputs[1].at(at) + f64::from(*eps)).sqrt())
            }
            Self::Back { count } => {
                let [mean, s, k, all] = [2, 3, 4, 5].map(|i| inputs[i].at(&at[1..2]));
                (inputs[1].at(at) - all / *count as f64 - (inputs[0].at(at) - mean) * k) * s
            }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        if let Some(scalar) = self.scalar_of() {
            return match self {
                // Dimensions meet by position here: the bias of a linear operation may carry another name.
                Self::Gain { .. } | Self::Shift | Self::Slope { .. } => vectors(cx, &scalar),
                Self::Apply | Self::Centred | Self::Back { .. } | Self::Weight(_) => elementwise(cx, &scalar),
            };
        }
        let Self::Weight(channel) = self else { return };
        cx.for_each_output(|cx, at| {
            let mut c = at[channel.dim].clone();
            if let Some((d, div, per)) = channel.outer {
                let group = cx.b.div("group", at[d].clone(), div as i64);
                c = c.plus(group, per as i64);
            }
            let value = cx.load(0, at) * cx.load(1, &[c]);
            cx.store(at, value);
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        match self {
            Self::Apply | Self::Centred | Self::Back { .. } => self.scalar_of(),
            // On weights nothing is gained by fusing, and operands meet by position.
            Self::Gain { .. } | Self::Shift | Self::Slope { .. } | Self::Weight(_) => None,
        }
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        match self {
            Self::Apply => Cost { macs: 0, flops: 2 * out.len() as u64 },
            Self::Centred => shape_rules::flops(out, 3),
            Self::Back { .. } => shape_rules::flops(out, 6),
            // Done at load time, or once for each channel.
            Self::Gain { .. } | Self::Shift | Self::Slope { .. } | Self::Weight(_) => Cost::default(),
        }
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        vec![Field::Window { stride: 1, before: 0, reach: 1 }; out.dims().len().saturating_sub(2)]
    }
}

/// Applies `scalar` to vectors of one length, index by index.
fn vectors(cx: &mut LowerCx<'_>, scalar: &ScalarFn<'_>) {
    cx.for_each_output(|cx, at: &[Affine]| {
        let loads: Vec<Expr> = (0..cx.inputs()).map(|i| cx.load(i, at)).collect();
        let regs: Vec<Reg> = loads.into_iter().map(|l| cx.b.let_(l)).collect();
        let value = scalar(&mut cx.b, &regs);
        cx.store(at, value);
    });
}
