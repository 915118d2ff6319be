//! The rows of the table of elementwise functions.

use super::{Row, UnaryFn, derivative, made};
use crate::loops::build::NestBuilder;
use crate::loops::{BinOp, Cmp, Expr, Reg, UnOp};
use crate::ops::Param;
use crate::ops::args::ArgTy;

/// Every function, in the order of [`UnaryFn`].
pub const ROWS: &[Row] = &[
    Row {
        f: UnaryFn::Abs,
        name: "abs",
        doc: "|x|: absolute value rectification.",
        params: &[],
        example: "net Abs(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> abs }",
        make: |args, _| made(UnaryFn::Abs, args),
        onnx: Some("Abs"),
        flops: 1,
        reference: |x, _| x.abs(),
        emit: |_, x, _| Expr::un(UnOp::Abs, x.into()),
        derivative: derivative::ABS,
    },
    Row {
        f: UnaryFn::Clip,
        name: "clip",
        doc: "min(max(x, lo), hi); a bound that is not given does not bound. `clip(0, 6)` is ReLU6.",
        params: &[float("lo", "", "least value"), float("hi", "", "greatest value")],
        example: "net Relu6(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> clip(0, 6) }",
        make: |args, _| made(UnaryFn::Clip, args),
        onnx: Some("Clip"),
        flops: 2,
        reference: |x, [lo, hi]| if x < lo { lo } else if x > hi { hi } else { x },
        emit: |_, x, [lo, hi]| {
            let floor = if lo == f32::NEG_INFINITY { x.into() } else { max(x.into(), lo.into()) };
            if hi == f32::INFINITY { floor } else { min(floor, hi.into()) }
        },
        derivative: derivative::CLIP,
    },
    Row {
        f: UnaryFn::Elu,
        name: "elu",
        doc: "x where x > 0, else alpha (e^x - 1) (Clevert et al. 2016).",
        params: &[float("alpha", "1", "value that large negative x tend to, negated")],
        example: "net Elu(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> elu }",
        make: |args, _| made(UnaryFn::Elu, args),
        onnx: Some("Elu"),
        flops: 3,
        reference: |x, [alpha, _]| if x > 0.0 { x } else { alpha * libm::expm1(x) },
        emit: |b, x, [alpha, _]| {
            let below = expm1(b, x);
            Expr::select(Cmp::Gt, x.into(), 0.0.into(), x.into(), below * alpha.into())
        },
        derivative: derivative::ELU,
    },
    Row {
        f: UnaryFn::Exp,
        name: "exp",
        doc: "e^x.",
        params: &[],
        example: "net Exp(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> exp }",
        make: |args, _| made(UnaryFn::Exp, args),
        onnx: Some("Exp"),
        flops: 1,
        reference: |x, _| libm::exp(x),
        emit: |_, x, _| Expr::un(UnOp::Exp, x.into()),
        derivative: derivative::EXP,
    },
    Row {
        f: UnaryFn::Gelu,
        name: "gelu",
        doc: "x Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016).",
        params: &[Param {
            name: "approximate",
            positional: false,
            required: false,
            ty: ArgTy::Word(&["none", "tanh"]),
            default: "none",
            doc: "`tanh`: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
        }],
        example: "net Gelu(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> gelu }",
        make: |args, _| made(UnaryFn::Gelu, args),
        onnx: Some("Gelu"),
        flops: 4,
        reference: |x, _| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        emit: |_, x, _| {
            let erf = Expr::un(UnOp::Erf, Expr::from(x) * std::f32::consts::FRAC_1_SQRT_2.into());
            (Expr::from(x) * 0.5.into()) * (erf + 1.0.into())
        },
        derivative: derivative::GELU,
    },
    Row {
        f: UnaryFn::GeluTanh,
        name: "gelu_tanh",
        doc: "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).",
        params: &[],
        example: "net Gelu(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> gelu(approximate: tanh) }",
        make: |args, _| made(UnaryFn::GeluTanh, args),
        onnx: Some("Gelu"),
        flops: 8,
        reference: |x, _| {
            0.5 * x * (1.0 + libm::tanh(libm::sqrt(2.0 / std::f64::consts::PI) * (x + 0.044715 * x * x * x)))
        },
        emit: |b, x, _| {
            // sqrt(2 / pi) times 1 and 0.044715
            let cubic = b.let_(Expr::from(x) * x.into() * 0.035_677_41.into() + 0.797_884_6.into());
            let tanh = Expr::un(UnOp::Tanh, Expr::from(x) * cubic.into());
            (Expr::from(x) * 0.5.into()) * (tanh + 1.0.into())
        },
        derivative: derivative::GELU_TANH,
    },
    Row {
        f: UnaryFn::HardSigmoid,
        name: "hard_sigmoid",
        doc: "min(max(x / 6 + 1/2, 0), 1).",
        params: &[],
        example: "net Gate(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> hard_sigmoid }",
        make: |args, _| made(UnaryFn::HardSigmoid, args),
        onnx: Some("HardSigmoid"),
        flops: 4,
        reference: |x, _| (x / 6.0 + 0.5).clamp(0.0, 1.0),
        emit: |_, x, _| hard_sigmoid(x),
        derivative: derivative::HARD_SIGMOID,
    },
    Row {
        f: UnaryFn::HardSwish,
        name: "hard_swish",
        doc: "x hard_sigmoid(x) (Howard et al. 2019).",
        params: &[],
        example: "net Swish(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> hard_swish }",
        make: |args, _| made(UnaryFn::HardSwish, args),
        onnx: Some("HardSwish"),
        flops: 5,
        reference: |x, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        emit: |_, x, _| Expr::from(x) * hard_sigmoid(x),
        derivative: derivative::HARD_SWISH,
    },
    Row {
        f: UnaryFn::LeakyRelu,
        name: "leaky_relu",
        doc: "x where x > 0, else slope x (Maas et al. 2013).",
        params: &[float("slope", "0.01", "slope for negative x")],
        example: "net Leaky(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> leaky_relu(0.1) }",
        make: |args, _| made(UnaryFn::LeakyRelu, args),
        onnx: Some("LeakyRelu"),
        flops: 2,
        reference: |x, [slope, _]| if x > 0.0 { x } else { slope * x },
        emit: |_, x, [slope, _]| {
            Expr::select(Cmp::Gt, x.into(), 0.0.into(), x.into(), Expr::from(x) * slope.into())
        },
        derivative: derivative::LEAKY_RELU,
    },
    Row {
        f: UnaryFn::Log,
        name: "log",
        doc: "The natural logarithm of x.",
        params: &[],
        example: "net Log(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> exp |> log }",
        make: |args, _| made(UnaryFn::Log, args),
        onnx: Some("Log"),
        flops: 1,
        reference: |x, _| libm::log(x),
        emit: |_, x, _| Expr::un(UnOp::Log, x.into()),
        derivative: derivative::LOG,
    },
    Row {
        f: UnaryFn::Neg,
        name: "neg",
        doc: "-x; also written so.",
        params: &[],
        example: "net Negative(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> neg }",
        make: |args, _| made(UnaryFn::Neg, args),
        onnx: Some("Neg"),
        flops: 1,
        reference: |x, _| -x,
        emit: |_, x, _| Expr::un(UnOp::Neg, x.into()),
        derivative: derivative::NEG,
    },
    Row {
        f: UnaryFn::Relu,
        name: "relu",
        doc: "max(x, 0): the rectified linear unit.",
        params: &[],
        example: "net Relu(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> relu }",
        make: |args, _| made(UnaryFn::Relu, args),
        onnx: Some("Relu"),
        flops: 1,
        reference: |x, _| if x < 0.0 { 0.0 } else { x },
        emit: |_, x, _| max(x.into(), 0.0.into()),
        derivative: derivative::RELU,
    },
    Row {
        f: UnaryFn::Selu,
        name: "selu",
        doc: "1.0507 (x where x > 0, else 1.6733 (e^x - 1)) (Klambauer et al. 2017).",
        params: &[],
        example: "net Selu(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> selu }",
        make: |args, _| made(UnaryFn::Selu, args),
        onnx: Some("Selu"),
        flops: 4,
        reference: |x, _| SELU_SCALE * if x > 0.0 { x } else { SELU_ALPHA * libm::expm1(x) },
        emit: |b, x, _| {
            let below = expm1(b, x) * ((SELU_SCALE * SELU_ALPHA) as f32).into();
            let above = Expr::from(x) * (SELU_SCALE as f32).into();
            Expr::select(Cmp::Gt, x.into(), 0.0.into(), above, below)
        },
        derivative: derivative::SELU,
    },
    Row {
        f: UnaryFn::Sigmoid,
        name: "sigmoid",
        doc: "1 / (1 + e^-x).",
        params: &[],
        example: "net Sigmoid(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> sigmoid }",
        make: |args, _| made(UnaryFn::Sigmoid, args),
        onnx: Some("Sigmoid"),
        flops: 4,
        reference: |x, _| 1.0 / (1.0 + libm::exp(-x)),
        emit: |b, x, _| sigmoid(b, x),
        derivative: derivative::SIGMOID,
    },
    Row {
        f: UnaryFn::Silu,
        name: "silu",
        doc: "x sigmoid(x), also called swish (Ramachandran et al. 2017).",
        params: &[],
        example: "net Silu(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> silu }",
        make: |args, _| made(UnaryFn::Silu, args),
        onnx: None,
        flops: 5,
        reference: |x, _| x / (1.0 + libm::exp(-x)),
        emit: |b, x, _| sigmoid(b, x) * x.into(),
        derivative: derivative::SILU,
    },
    Row {
        f: UnaryFn::Softplus,
        name: "softplus",
        doc: "log(1 + e^x).",
        params: &[],
        example: "net Softplus(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> softplus }",
        make: |args, _| made(UnaryFn::Softplus, args),
        onnx: Some("Softplus"),
        flops: 4,
        reference: |x, _| if x > 0.0 { x + libm::log1p(libm::exp(-x)) } else { libm::log1p(libm::exp(x)) },
        emit: |b, x, _| softplus(b, x),
        derivative: derivative::SOFTPLUS,
    },
    Row {
        f: UnaryFn::Sqrt,
        name: "sqrt",
        doc: "The square root of x.",
        params: &[],
        example: "net Root(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> abs |> sqrt }",
        make: |args, _| made(UnaryFn::Sqrt, args),
        onnx: Some("Sqrt"),
        flops: 1,
        reference: |x, _| libm::sqrt(x),
        emit: |_, x, _| Expr::un(UnOp::Sqrt, x.into()),
        derivative: derivative::SQRT,
    },
    Row {
        f: UnaryFn::Tanh,
        name: "tanh",
        doc: "The hyperbolic tangent of x.",
        params: &[],
        example: "net Tanh(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> tanh }",
        make: |args, _| made(UnaryFn::Tanh, args),
        onnx: Some("Tanh"),
        flops: 1,
        reference: |x, _| libm::tanh(x),
        emit: |_, x, _| Expr::un(UnOp::Tanh, x.into()),
        derivative: derivative::TANH,
    },
];

pub(super) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
pub(super) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

const fn float(name: &'static str, default: &'static str, doc: &'static str) -> Param {
    Param { name, positional: true, required: false, ty: ArgTy::Float, default, doc }
}

fn max(a: Expr, b: Expr) -> Expr {
    Expr::bin(BinOp::Max, a, b)
}

pub(super) fn min(a: Expr, b: Expr) -> Expr {
    Expr::bin(BinOp::Min, a, b)
}

fn hard_sigmoid(x: Reg) -> Expr {
    min(max(Expr::from(x) * (1.0 / 6.0).into() + 0.5.into(), 0.0.into()), 1.0.into())
}

/// e^-|x|, which never overflows.
fn exp_minus_abs(b: &mut NestBuilder, x: Reg) -> Reg {
    let minus_abs = Expr::un(UnOp::Neg, Expr::un(UnOp::Abs, x.into()));
    b.let_(Expr::un(UnOp::Exp, minus_abs))
}

/// With e = e^-|x|: 1 / (1 + e) for positive x and e / (1 + e) for negative x, exact to rounding on both sides.
pub(in crate::ops) fn sigmoid(b: &mut NestBuilder, x: Reg) -> Expr {
    let e = exp_minus_abs(b, x);
    let p = b.let_(Expr::from(1.0) / (Expr::from(e) + 1.0.into()));
    Expr::select(Cmp::Lt, x.into(), 0.0.into(), Expr::from(e) * p.into(), p.into())
}

/// max(x, 0) + log1p(e^-|x|); log1p(e) = log(u) e / (u - 1) with u = 1 + e, and e where u rounds to 1 (Goldberg 1991,
/// theorem 4), so that the tail for negative x keeps its leading digits.
pub(in crate::ops) fn softplus(b: &mut NestBuilder, x: Reg) -> Expr {
    let e = exp_minus_abs(b, x);
    let u = b.let_(Expr::from(e) + 1.0.into());
    let scaled = Expr::un(UnOp::Log, u.into()) * (Expr::from(e) / (Expr::from(u) - 1.0.into()));
    let log1p = Expr::select(Cmp::Eq, u.into(), 1.0.into(), e.into(), scaled);
    max(x.into(), 0.0.into()) + log1p
}

/// e^x - 1 for x <= 0 as 2t / (1 - t) with t = tanh(x / 2): no cancellation near 0.
fn expm1(b: &mut NestBuilder, x: Reg) -> Expr {
    let t = b.let_(Expr::un(UnOp::Tanh, Expr::from(x) * 0.5.into()));
    Expr::from(t) * 2.0.into() / (Expr::from(1.0) - t.into())
}
