//! Elementwise functions of one tensor, `y = f(x)`: a table of rows. Each row is one name in the language with its argument
//! defaults, its meaning in `f64`, its emission as a loop expression, its derivative, and its name in ONNX.
//!
//! All keep NaN: `max` and `min` of the loop IR give NaN if either side is. Forms are chosen so that large `|x|` neither
//! overflows nor loses the small side: see [`rows::sigmoid`].

mod derivative;
mod rows;

use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::unary_grad::UnaryGrad;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, shape_rules};
use crate::loops::build::NestBuilder;
use crate::loops::{Expr, Reg};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

pub use derivative::{By, Derivative};
pub use rows::ROWS;
pub(super) use rows::{sigmoid, softplus};

/// Which function; the order is that of [`ROWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is documented by its row")]
pub enum UnaryFn {
    Abs,
    Clip,
    Elu,
    Exp,
    Gelu,
    GeluTanh,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Log,
    Neg,
    Relu,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Sqrt,
    Tanh,
}

/// One function of the table.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub f: UnaryFn,
    /// Its name in the language and in printed graphs; [`UnaryFn::GeluTanh`] is reached as an argument of `gelu`.
    pub name: &'static str,
    /// The formula.
    pub doc: &'static str,
    /// Static arguments; those that are numbers become [`Unary::args`] in this order.
    pub params: &'static [Param],
    /// A program that uses it.
    pub example: &'static str,
    /// Makes it from a call.
    pub make: fn(&CallArgs, &[&TensorTy]) -> Result<Made, OpError>,
    /// The ONNX operator of the same meaning; `None` is "no ONNX form of its own".
    pub onnx: Option<&'static str>,
    /// Floating-point operations per element, transcendental functions counted as one.
    pub flops: u64,
    /// The meaning.
    pub reference: fn(f64, [f64; 2]) -> f64,
    /// The emission.
    pub emit: fn(&mut NestBuilder, Reg, [f32; 2]) -> Expr,
    /// The derivative.
    pub derivative: Derivative,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Which function.
    pub f: UnaryFn,
    /// The numeric arguments of its row; 0 where it has fewer.
    pub args: [f32; 2],
}

impl UnaryFn {
    /// The row of this function.
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The values of numeric arguments that were not written.
    fn defaults(self) -> [f32; 2] {
        if self == Self::Clip {
            return [f32::NEG_INFINITY, f32::INFINITY];
        }
        let mut out = [0.0; 2];
        for (slot, p) in out.iter_mut().zip(numeric(self.row())) {
            *slot = p.default.parse().unwrap_or(0.0);
        }
        out
    }
}

fn numeric(row: &'static Row) -> impl Iterator<Item = &'static Param> {
    row.params.iter().filter(|p| p.ty == ArgTy::Float)
}

fn made(f: UnaryFn, args: &CallArgs) -> Result<Made, OpError> {
    let row = f.row();
    let mut values = f.defaults();
    for (slot, p) in values.iter_mut().zip(numeric(row)) {
        *slot = shape_rules::number(row.name, args, p.name, *slot)?;
    }
    if f == UnaryFn::Clip && values == f.defaults() {
        return Err(OpError::new(codes::E0106, "`clip` needs `lo`, `hi`, or both"));
    }
    if f == UnaryFn::Clip && values[0] > values[1] {
        let message = format!("`clip` needs lo <= hi, not {} and {}", values[0], values[1]);
        return Err(shape_rules::out_of_range("lo", message));
    }
    if f == UnaryFn::Gelu && args.word("approximate") == Some("tanh") {
        return Ok(Made::op(Unary::of(UnaryFn::GeluTanh)));
    }
    Ok(Made::op(Unary { f, args: values }))
}

const CALLABLE: usize = ROWS.len() - 1;

/// What the language knows of each row, except the variant of `gelu`.
const fn infos() -> [OpInfo; CALLABLE] {
    let mut out = [ROWS[0].info(); CALLABLE];
    let (mut from, mut to) = (0, 0);
    while from < ROWS.len() {
        if !matches!(ROWS[from].f, UnaryFn::GeluTanh) {
            out[to] = ROWS[from].info();
            to += 1;
        }
        from += 1;
    }
    out
}

impl Row {
    const fn info(&self) -> OpInfo {
        OpInfo {
            name: self.name,
            family: "detector",
            doc: self.doc,
            tensors: (1, 1),
            params: self.params,
            example: self.example,
            make: self.make,
        }
    }
}

impl Unary {
    /// What printed graphs call it.
    pub const KIND: &'static str = "unary";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &infos();

    /// The function with its default arguments.
    pub fn of(f: UnaryFn) -> Self {
        Self { f, args: f.defaults() }
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let name = attrs.word("f")?;
        let row = ROWS.iter().find(|r| r.name == name).ok_or_else(|| format!("no function `{name}`"))?;
        let mut args = row.f.defaults();
        for (slot, p) in args.iter_mut().zip(numeric(row)) {
            if attrs.get(p.name).is_ok() {
                *slot = attrs.float(p.name)?;
            }
        }
        Ok(Self { f: row.f, args })
    }

    /// Test cases: every function on a grid, on magnitudes that overflow careless forms, some on NaN.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for row in ROWS {
            let args = if row.f == UnaryFn::Clip { [-0.5, 0.75] } else { row.f.defaults() };
            let op = Self { f: row.f, args };
            let (near, far) = if matches!(row.f, UnaryFn::Log | UnaryFn::Sqrt) {
                (Fill::Uniform(0.01, 4.0), Fill::Uniform(1e-6, 1e6))
            } else if row.f == UnaryFn::Exp {
                (Fill::Normal, Fill::Uniform(-87.0, 1.0))
            } else {
                (Fill::Normal, Fill::Uniform(-120.0, 120.0))
            };
            let grid = act(3, 5, &[("h", 3), ("w", 7)]);
            all.push(Case::new(row.name, op.clone(), vec![grid]).fill(&[near]));
            all.push(
                Case::new(format!("{} far", row.name), op, vec![act(1, 33, &[])]).fill(&[far]).tolerance(4e-6),
            );
        }
        for f in [UnaryFn::Relu, UnaryFn::Sigmoid, UnaryFn::Softplus, UnaryFn::Elu, UnaryFn::HardSwish] {
            let name = format!("{} of NaN", f.row().name);
            all.push(Case::new(name, Self::of(f), vec![act(1, 4, &[("t", 5)])]).fill(&[Fill::SomeNan]));
        }
        let relu6 = Self { f: UnaryFn::Clip, args: [0.0, 6.0] };
        all.push(Case::new("clip of NaN", relu6, vec![act(1, 4, &[("t", 5)])]).fill(&[Fill::SomeNan]));
        let one_sided = Self { f: UnaryFn::Clip, args: [0.0, f32::INFINITY] };
        all.push(Case::new("clip from below", one_sided, vec![act(1, 2, &[("d", 2), ("h", 2), ("w", 3)])]));
        all
    }
}

impl OpRules for Unary {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let row = self.f.row();
        // An infinite bound is no bound, and is not written.
        let written = numeric(row).zip(self.args).filter(|(_, x)| x.is_finite());
        written.fold(Attrs::default().with("f", Attr::Word(row.name.to_owned())), |attrs, (p, x)| {
            attrs.with(p.name, Attr::Float(x))
        })
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        if self.f == UnaryFn::Neg {
            return at.only(e.map(UnaryFn::Neg, at.dy)?);
        }
        let v = match (self.f.row().derivative.by)(self.args) {
            By::X => at.inputs[0],
            By::Y => at.y,
        };
        at.only(e.op(UnaryGrad { of: self.clone() }.into(), &[v, at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let args = self.args.map(f64::from);
        Array::from_fn(out.dims(), |at| (self.f.row().reference)(inputs[0].at(at), args))
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

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, self.f.row().flops)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}

impl Unary {
    fn scalar_fn(&self) -> ScalarFn<'_> {
        Box::new(|b, x| (self.f.row().emit)(b, x[0], self.args))
    }
}
