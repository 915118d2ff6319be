//! Derivatives of the table's functions: each as a function of the argument or of the value, in `f64` and as a loop expression,
//! and its own derivative as operations.

use super::rows::{min, sigmoid};
use super::{Unary, UnaryFn};
use crate::loops::build::NestBuilder;
use crate::loops::{Cmp, Expr, Reg, UnOp};
use crate::ops::unary_grad::UnaryGrad;
use crate::ops::vjp::{Emit, NotDifferentiable, Val};

/// What a derivative is a function of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The argument of the function.
    X,
    /// Its value.
    Y,
}

/// What the derivative of a derivative's application gives: `t f''`, `None` where it is 0 everywhere.
pub(super) type Again = fn(&mut dyn Emit, Val, Val, [f32; 2]) -> Result<Option<Val>, NotDifferentiable>;

/// The derivative column of a row: `g(v)` with `f'(x) = g(v)`.
#[derive(Debug)]
pub struct Derivative {
    /// Whether `v` is `x` or `y`, given the function's arguments.
    pub by: fn([f32; 2]) -> By,
    /// `dy g(v)`
    pub reference: fn(f64, f64, [f64; 2]) -> f64,
    /// `dy g(v)`: builder, `v`, `dy`, arguments.
    pub emit: fn(&mut NestBuilder, Reg, Reg, [f32; 2]) -> Expr,
    /// `t g'(v)`: `v`, `t`.
    pub again: Again,
}

fn select(cmp: Cmp, a: impl Into<Expr>, b: impl Into<Expr>, then: impl Into<Expr>, other: impl Into<Expr>) -> Expr {
    Expr::select(cmp, a.into(), b.into(), then.into(), other.into())
}

/// Where `v < 0`: `t`, else 0.
fn below(e: &mut dyn Emit, v: Val, t: Val) -> Result<Option<Val>, NotDifferentiable> {
    let minus = e.map(UnaryFn::Neg, v)?;
    Ok(Some(e.op(UnaryGrad::of(UnaryFn::Relu).into(), &[minus, t])?))
}

/// 1 for positive, -1 for negative, 0 for 0.
pub(super) const ABS: Derivative = Derivative {
    by: |_| By::X,
    reference: |x, dy, _| if x > 0.0 { dy } else if x < 0.0 { -dy } else { 0.0 },
    emit: |_, x, dy, _| {
        let minus = select(Cmp::Lt, x, 0.0, Expr::un(UnOp::Neg, dy.into()), 0.0);
        select(Cmp::Gt, x, 0.0, dy, minus)
    },
    again: |_, _, _, _| Ok(None),
};

/// 1 strictly between the bounds, 0 at and beyond them.
pub(super) const CLIP: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, [lo, hi]| if y <= lo || y >= hi { 0.0 } else { dy },
    emit: |_, y, dy, [lo, hi]| {
        let inside = if lo == f32::NEG_INFINITY { dy.into() } else { select(Cmp::Le, y, lo, 0.0, dy) };
        if hi == f32::INFINITY { inside } else { select(Cmp::Ge, y, hi, 0.0, inside) }
    },
    again: |_, _, _, _| Ok(None),
};

/// 1 for positive, alpha e^x else: y + alpha, of a function that keeps the sign of its argument.
pub(super) const ELU: Derivative = Derivative {
    by: |[alpha, _]| if alpha >= 0.0 { By::Y } else { By::X },
    reference: |v, dy, [alpha, _]| {
        let slope = if alpha >= 0.0 { v + alpha } else { alpha * libm::exp(v) };
        if v > 0.0 { dy } else { dy * slope }
    },
    emit: |_, v, dy, [alpha, _]| {
        let slope = if alpha >= 0.0 {
            Expr::from(v) + alpha.into()
        } else {
            Expr::un(UnOp::Exp, min(v.into(), 0.0.into())) * alpha.into()
        };
        select(Cmp::Gt, v, 0.0, dy, slope * dy.into())
    },
    again: |e, v, t, [alpha, _]| {
        if alpha >= 0.0 {
            return below(e, v, t);
        }
        let low = e.op(Unary { f: UnaryFn::Clip, args: [f32::NEG_INFINITY, 0.0] }.into(), &[v])?;
        let exp = e.map(UnaryFn::Exp, low)?;
        let slope = e.scale(exp, alpha)?;
        let t = e.mul(t, slope)?;
        below(e, v, t)
    },
};

/// y
pub(super) const EXP: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, _| dy * y,
    emit: |_, y, dy, _| Expr::from(dy) * y.into(),
    again: |_, _, t, _| Ok(Some(t)),
};

/// 1 / sqrt(2 pi)
const DENSITY: f32 = 0.398_942_3;

/// Phi(x) + x phi(x), phi the normal density.
pub(super) const GELU: Derivative = Derivative {
    by: |_| By::X,
    reference: |x, dy, _| {
        let density = libm::exp(-0.5 * x * x) / libm::sqrt(2.0 * std::f64::consts::PI);
        dy * (0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density)
    },
    emit: |b, x, dy, _| {
        let erf = Expr::un(UnOp::Erf, Expr::from(x) * std::f32::consts::FRAC_1_SQRT_2.into());
        let density = b.let_(Expr::un(UnOp::Exp, Expr::from(x) * x.into() * (-0.5).into()) * DENSITY.into());
        let below = b.let_((erf + 1.0.into()) * 0.5.into());
        Expr::fma(x.into(), density.into(), below.into()) * dy.into()
    },
    // phi(x) (2 - x^2)
    again: |e, x, t, _| {
        let square = e.mul(x, x)?;
        let half = e.scale(square, -0.5)?;
        let exp = e.map(UnaryFn::Exp, half)?;
        let minus = e.map(UnaryFn::Neg, square)?;
        let bend = e.shift(minus, 2.0)?;
        let slope = e.mul(exp, bend)?;
        let slope = e.scale(slope, DENSITY)?;
        Ok(Some(e.mul(t, slope)?))
    },
};

/// With u = sqrt(2/pi) (x + 0.044715 x^3) and h = tanh(u): (1 + h)/2 + x (1 - h^2) u' / 2.
pub(super) const GELU_TANH: Derivative = Derivative {
    by: |_| By::X,
    reference: |x, dy, _| {
        let k = libm::sqrt(2.0 / std::f64::consts::PI);
        let h = libm::tanh(k * (x + 0.044715 * x * x * x));
        dy * (0.5 * (1.0 + h) + 0.5 * x * (1.0 - h * h) * k * (1.0 + 3.0 * 0.044715 * x * x))
    },
    emit: |b, x, dy, _| {
        // sqrt(2 / pi) times 1, 0.044715 and 3 * 0.044715
        let square = b.let_(Expr::from(x) * x.into());
        let cubic = Expr::fma(square.into(), 0.035_677_41.into(), 0.797_884_6.into());
        let h = b.let_(Expr::un(UnOp::Tanh, Expr::from(x) * cubic));
        let slope = Expr::fma(square.into(), 0.107_032_23.into(), 0.797_884_6.into());
        let bell = (Expr::from(1.0) - h.into()) * (Expr::from(h) + 1.0.into());
        // Where the bell is 0 the slope may be infinite.
        let side = select(Cmp::Eq, bell.clone(), 0.0, 0.0, bell * slope * x.into());
        (Expr::from(h) + 1.0.into() + side) * 0.5.into() * dy.into()
    },
    // With h = tanh(x (c + d x^2)) and p = c + 3 d x^2: (1 - h^2) (p + 3 d x^2 - h x p^2)
    again: |e, x, t, _| {
        let square = e.mul(x, x)?;
        let cubic = e.scale(square, 0.035_677_41)?;
        let cubic = e.shift(cubic, 0.797_884_6)?;
        let inner = e.mul(x, cubic)?;
        let h = e.map(UnaryFn::Tanh, inner)?;
        let bend = e.scale(square, 0.107_032_23)?;
        let p = e.shift(bend, 0.797_884_6)?;
        let hx = e.mul(h, x)?;
        let pp = e.mul(p, p)?;
        let last = e.mul(hx, pp)?;
        let slope = e.add(p, bend)?;
        let slope = e.sub(slope, last)?;
        let bell = e.op(UnaryGrad::of(UnaryFn::Tanh).into(), &[h, t])?;
        Ok(Some(e.mul(bell, slope)?))
    },
};

/// 1/6 strictly between the bounds.
pub(super) const HARD_SIGMOID: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, _| if y > 0.0 && y < 1.0 { dy / 6.0 } else { 0.0 },
    emit: |_, y, dy, _| {
        let low = select(Cmp::Gt, y, 0.0, Expr::from(dy) * (1.0 / 6.0).into(), 0.0);
        select(Cmp::Lt, y, 1.0, low, 0.0)
    },
    again: |_, _, _, _| Ok(None),
};

/// x/3 + 1/2 strictly between -3 and 3, 0 below, 1 above.
pub(super) const HARD_SWISH: Derivative = Derivative {
    by: |_| By::X,
    reference: |x, dy, _| if x >= 3.0 { dy } else if x <= -3.0 { 0.0 } else { dy * (x / 3.0 + 0.5) },
    emit: |_, x, dy, _| {
        let slope = Expr::fma(x.into(), (1.0 / 3.0).into(), 0.5.into()) * dy.into();
        let above = select(Cmp::Ge, x, 3.0, dy, slope);
        select(Cmp::Le, x, -3.0, 0.0, above)
    },
    // 1/3 in between
    again: |e, x, t, _| {
        let gate = e.map(UnaryFn::HardSigmoid, x)?;
        let sixth = e.op(UnaryGrad::of(UnaryFn::HardSigmoid).into(), &[gate, t])?;
        Ok(Some(e.scale(sixth, 2.0)?))
    },
};

/// 1 for positive, else the slope; a positive slope keeps the sign of the argument.
pub(super) const LEAKY_RELU: Derivative = Derivative {
    by: |[slope, _]| if slope > 0.0 { By::Y } else { By::X },
    reference: |v, dy, [slope, _]| if v > 0.0 { dy } else { slope * dy },
    emit: |_, v, dy, [slope, _]| select(Cmp::Gt, v, 0.0, dy, Expr::from(dy) * slope.into()),
    again: |_, _, _, _| Ok(None),
};

/// 1 / x
pub(super) const LOG: Derivative = Derivative {
    by: |_| By::X,
    reference: |x, dy, _| dy / x,
    emit: |_, x, dy, _| Expr::from(dy) / x.into(),
    // -1 / x^2
    again: |e, x, t, _| {
        let once = e.div(t, x)?;
        let twice = e.div(once, x)?;
        Ok(Some(e.map(UnaryFn::Neg, twice)?))
    },
};

/// -1
pub(super) const NEG: Derivative = Derivative {
    by: |_| By::Y,
    reference: |_, dy, _| -dy,
    emit: |_, _, dy, _| Expr::un(UnOp::Neg, dy.into()),
    again: |_, _, _, _| Ok(None),
};

/// 1 for positive, 0 else; NaN lets the gradient pass, as in PyTorch.
pub(super) const RELU: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, _| if y <= 0.0 { 0.0 } else { dy },
    emit: |_, y, dy, _| select(Cmp::Le, y, 0.0, 0.0, dy),
    again: |_, _, _, _| Ok(None),
};

/// scale for positive, else y + scale alpha.
pub(super) const SELU: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, _| if y > 0.0 { super::rows::SELU_SCALE * dy } else { dy * (y + super::rows::SELU_SCALE * super::rows::SELU_ALPHA) },
    emit: |_, y, dy, _| {
        let floor = (super::rows::SELU_SCALE * super::rows::SELU_ALPHA) as f32;
        let slope = select(Cmp::Gt, y, 0.0, super::rows::SELU_SCALE as f32, Expr::from(y) + floor.into());
        slope * dy.into()
    },
    again: |e, y, t, _| below(e, y, t),
};

/// y (1 - y)
pub(super) const SIGMOID: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, _| dy * y * (1.0 - y),
    emit: |_, y, dy, _| (Expr::from(1.0) - y.into()) * y.into() * dy.into(),
    // 1 - 2 y
    again: |e, y, t, _| {
        let minus = e.scale(y, -2.0)?;
        let slope = e.shift(minus, 1.0)?;
        Ok(Some(e.mul(t, slope)?))
    },
};

/// With s = sigmoid(x): s (1 + x (1 - s)).
pub(super) const SILU: Derivative = Derivative {
    by: |_| By::X,
    reference: |x, dy, _| {
        let s = 1.0 / (1.0 + libm::exp(-x));
        dy * s * (1.0 + x * (1.0 - s))
    },
    emit: |b, x, dy, _| {
        let s = sigmoid(b, x);
        let s = b.let_(s);
        // 1 - s is exact to rounding only where s is small; where it is not, x (1 - s) is small itself.
        Expr::fma(x.into(), Expr::from(1.0) - s.into(), 1.0.into()) * s.into() * dy.into()
    },
    // s (1 - s) (2 + x (1 - 2 s))
    again: |e, x, t, _| {
        let s = e.map(UnaryFn::Sigmoid, x)?;
        let minus = e.scale(s, -2.0)?;
        let odd = e.shift(minus, 1.0)?;
        let product = e.mul(x, odd)?;
        let bend = e.shift(product, 2.0)?;
        let t = e.mul(t, bend)?;
        Ok(Some(e.op(UnaryGrad::of(UnaryFn::Sigmoid).into(), &[s, t])?))
    },
};

/// sigmoid(x)
pub(super) const SOFTPLUS: Derivative = Derivative {
    by: |_| By::X,
    reference: |x, dy, _| dy / (1.0 + libm::exp(-x)),
    emit: |b, x, dy, _| sigmoid(b, x) * dy.into(),
    again: |e, x, t, _| {
        let s = e.map(UnaryFn::Sigmoid, x)?;
        Ok(Some(e.op(UnaryGrad::of(UnaryFn::Sigmoid).into(), &[s, t])?))
    },
};

/// 1 / (2 y)
pub(super) const SQRT: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, _| dy * 0.5 / y,
    emit: |_, y, dy, _| Expr::from(dy) * 0.5.into() / y.into(),
    // -1 / (2 y^2)
    again: |e, y, t, _| {
        let once = e.div(t, y)?;
        let twice = e.div(once, y)?;
        Ok(Some(e.scale(twice, -0.5)?))
    },
};

/// 1 - y^2
pub(super) const TANH: Derivative = Derivative {
    by: |_| By::Y,
    reference: |y, dy, _| dy * (1.0 - y * y),
    emit: |_, y, dy, _| (Expr::from(1.0) - y.into()) * (Expr::from(y) + 1.0.into()) * dy.into(),
    // -2 y
    again: |e, y, t, _| {
        let slope = e.scale(y, -2.0)?;
        Ok(Some(e.mul(t, slope)?))
    },
};
