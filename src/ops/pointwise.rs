//! Elementwise functions that imported models use: comparisons and logic (0 is false, 1 is true), rounding, powers, remainders,
//! choice. The language has names for those of one operand. Operands have the same dimension names; an extent of 1 stands for any.

use super::args::{Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants, elementwise};
use super::role::Role;
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::build::NestBuilder;
use crate::loops::{BinOp, Cmp, Expr, Reg, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented by the table of names and the two meanings below")]
pub enum PointwiseFn {
    And,
    Ceil,
    Equal,
    Erf,
    Floor,
    Fmod,
    Greater,
    GreaterEqual,
    IntDiv,
    IsNan,
    Less,
    LessEqual,
    Mod,
    Not,
    Or,
    Pow,
    Round,
    Sign,
    Trunc,
    Where,
    Xor,
}

impl PointwiseFn {
    /// All of them: name in printed graphs and number of operands.
    pub const ALL: [(Self, &'static str, usize); 21] = [
        (Self::And, "and", 2),
        (Self::Ceil, "ceil", 1),
        (Self::Equal, "equal", 2),
        (Self::Erf, "erf", 1),
        (Self::Floor, "floor", 1),
        (Self::Fmod, "fmod", 2),
        (Self::Greater, "greater", 2),
        (Self::GreaterEqual, "greater_equal", 2),
        (Self::IntDiv, "int_div", 2),
        (Self::IsNan, "is_nan", 1),
        (Self::Less, "less", 2),
        (Self::LessEqual, "less_equal", 2),
        (Self::Mod, "mod", 2),
        (Self::Not, "not", 1),
        (Self::Or, "or", 2),
        (Self::Pow, "pow", 2),
        (Self::Round, "round", 1),
        (Self::Sign, "sign", 1),
        (Self::Trunc, "trunc", 1),
        (Self::Where, "where", 3),
        (Self::Xor, "xor", 2),
    ];

    /// Its name in printed graphs, and the number of operands.
    pub fn row(self) -> (&'static str, usize) {
        Self::ALL.iter().find(|(f, ..)| *f == self).map_or(("and", 2), |(_, word, arity)| (word, *arity))
    }

    /// Whether the language has a word for it, which is its name in printed graphs.
    pub fn has_word(self) -> bool {
        Pointwise::INFO.iter().any(|info| info.name == self.row().0)
    }

    /// Number of operands.
    pub fn arity(self) -> usize {
        self.row().1
    }

    fn reference(self, x: &[f64]) -> f64 {
        let truth = |b: bool| f64::from(u8::from(b));
        let (a, b) = (x[0], x.get(1).copied().unwrap_or(0.0));
        match self {
            Self::And => truth(a != 0.0 && b != 0.0),
            Self::Or => truth(a != 0.0 || b != 0.0),
            Self::Xor => truth((a != 0.0) != (b != 0.0)),
            Self::Not => truth(a == 0.0),
            Self::Equal => truth(a == b),
            Self::Greater => truth(a > b),
            Self::GreaterEqual => truth(a >= b),
            Self::Less => truth(a < b),
            Self::LessEqual => truth(a <= b),
            Self::IsNan => truth(a.is_nan()),
            Self::Ceil => a.ceil(),
            Self::Floor => a.floor(),
            Self::Round => libm::rint(a),
            Self::Trunc => a.trunc(),
            Self::Sign => if a > 0.0 { 1.0 } else if a < 0.0 { -1.0 } else { a },
            Self::Erf => libm::erf(a),
            Self::Fmod if b.is_infinite() => a,
            Self::Fmod => a - b * (a / b).trunc(),
            Self::Mod if b.is_infinite() => if a * b < 0.0 { b } else { a },
            Self::Mod => a - b * (a / b).floor(),
            Self::IntDiv => (a / b).trunc(),
            Self::Pow => libm::pow(a, b),
            Self::Where => if a != 0.0 { b } else { x[2] },
        }
    }

    fn emit(self, build: &mut NestBuilder, r: &[Reg]) -> Expr {
        let a = || Expr::Reg(r[0]);
        let b = || Expr::Reg(r[1]);
        let truth = |cmp, x: Expr, y: Expr| Expr::select(cmp, x, y, 1.0.into(), 0.0.into());
        let set = |x: Expr| truth(Cmp::Ne, x, 0.0.into());
        match self {
            Self::And => set(a()) * set(b()),
            Self::Or => Expr::bin(BinOp::Max, set(a()), set(b())),
            Self::Xor => truth(Cmp::Ne, set(a()), set(b())),
            Self::Not => truth(Cmp::Eq, a(), 0.0.into()),
            Self::Equal => truth(Cmp::Eq, a(), b()),
            Self::Greater => truth(Cmp::Gt, a(), b()),
            Self::GreaterEqual => truth(Cmp::Ge, a(), b()),
            Self::Less => truth(Cmp::Lt, a(), b()),
            Self::LessEqual => truth(Cmp::Le, a(), b()),
            Self::IsNan => truth(Cmp::Ne, a(), a()),
            Self::Ceil => Expr::un(UnOp::Ceil, a()),
            Self::Floor => Expr::un(UnOp::Floor, a()),
            Self::Round => Expr::un(UnOp::Round, a()),
            Self::Trunc => trunc(a()),
            Self::Sign => {
                let below = Expr::select(Cmp::Lt, a(), 0.0.into(), (-1.0).into(), a());
                Expr::select(Cmp::Gt, a(), 0.0.into(), 1.0.into(), below)
            }
            Self::Erf => Expr::un(UnOp::Erf, a()),
            Self::Fmod | Self::IntDiv | Self::Mod => remainder(self, build, r[0], r[1]),
            Self::Pow => power(build, r[0], r[1]),
            Self::Where => Expr::select(Cmp::Ne, a(), 0.0.into(), b(), Expr::Reg(r[2])),
        }
    }
}

fn trunc(x: Expr) -> Expr {
    let (up, down) = (Expr::un(UnOp::Ceil, x.clone()), Expr::un(UnOp::Floor, x.clone()));
    Expr::select(Cmp::Lt, x, 0.0.into(), up, down)
}

/// The quotient without its fraction, or what it leaves; of an infinite divisor the dividend, or the divisor where the signs
/// differ and the quotient is rounded down.
fn remainder(f: PointwiseFn, build: &mut NestBuilder, a: Reg, b: Reg) -> Expr {
    let ratio = build.let_(Expr::Reg(a) / b.into());
    let down = f == PointwiseFn::Mod;
    let whole = if down { Expr::un(UnOp::Floor, ratio.into()) } else { trunc(ratio.into()) };
    if f == PointwiseFn::IntDiv {
        return whole;
    }
    let rest = Expr::Reg(a) - Expr::Reg(b) * whole;
    let across = Expr::select(Cmp::Lt, Expr::Reg(a) * b.into(), 0.0.into(), b.into(), a.into());
    let endless = if down { across } else { a.into() };
    let size = Expr::un(UnOp::Abs, b.into());
    Expr::select(Cmp::Eq, size, f32::INFINITY.into(), endless, rest)
}

/// `a ^ b`: of a negative `a` only where `b` is whole, with the sign of its parity.
fn power(build: &mut NestBuilder, a: Reg, b: Reg) -> Expr {
    let size = build.let_(Expr::bin(BinOp::Pow, Expr::un(UnOp::Abs, a.into()), b.into()));
    let whole = Expr::un(UnOp::Floor, b.into());
    let half = Expr::un(UnOp::Floor, Expr::Reg(b) * 0.5.into());
    let odd = Expr::Reg(b) - half * 2.0.into();
    let even = Expr::select(Cmp::Eq, whole, b.into(), size.into(), f32::NAN.into());
    let signed = Expr::select(Cmp::Eq, odd, 1.0.into(), Expr::un(UnOp::Neg, size.into()), even);
    Expr::select(Cmp::Lt, a.into(), 0.0.into(), signed, size.into())
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointwise {
    /// Which function.
    pub f: PointwiseFn,
}

/// A function of one operand.
const fn info(
    name: &'static str,
    doc: &'static str,
    example: &'static str,
    make: fn(&CallArgs, &[&TensorTy]) -> Result<Made, OpError>,
) -> OpInfo {
    OpInfo { name, family: "detector", doc, tensors: (1, 1), params: &[], example, make }
}

impl Pointwise {
    /// What printed graphs call it.
    pub const KIND: &'static str = "pointwise";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        info(
            "ceil",
            "The least integer that is not less, elementwise.",
            "net Ceil(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> ceil }",
            |_, _| Ok(Made::op(Self { f: PointwiseFn::Ceil })),
        ),
        info(
            "erf",
            "The error function 2/√π ∫ e^(-t²) dt from 0 to x, elementwise.",
            "net Erf(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> erf }",
            |_, _| Ok(Made::op(Self { f: PointwiseFn::Erf })),
        ),
        info(
            "floor",
            "The greatest integer that is not greater, elementwise.",
            "net Floor(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> floor }",
            |_, _| Ok(Made::op(Self { f: PointwiseFn::Floor })),
        ),
        info(
            "round",
            "The nearest integer, elementwise; of two the even one.",
            "net Round(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> round }",
            |_, _| Ok(Made::op(Self { f: PointwiseFn::Round })),
        ),
        info(
            "sign",
            "1, 0 or -1, elementwise; NaN stays.",
            "net Sign(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> sign }",
            |_, _| Ok(Made::op(Self { f: PointwiseFn::Sign })),
        ),
        info(
            "trunc",
            "The number without its fraction, elementwise.",
            "net Trunc(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> trunc }",
            |_, _| Ok(Made::op(Self { f: PointwiseFn::Trunc })),
        ),
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let word = attrs.word("f")?;
        let row = PointwiseFn::ALL.into_iter().find(|(_, w, _)| *w == word);
        Ok(Self { f: row.ok_or_else(|| format!("no function is called `{word}`"))?.0 })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (f, word, arity) in PointwiseFn::ALL {
            let fill: &[Fill] = match f {
                PointwiseFn::Pow => &[Fill::Uniform(0.3, 2.0), Fill::Uniform(-2.0, 3.0)],
                PointwiseFn::Fmod | PointwiseFn::Mod | PointwiseFn::IntDiv => &[Fill::Uniform(-9.0, 9.0), Fill::Signs],
                PointwiseFn::IsNan => &[Fill::SomeNan],
                PointwiseFn::Round | PointwiseFn::Ceil | PointwiseFn::Floor | PointwiseFn::Trunc => {
                    &[Fill::Uniform(-3.0, 3.0)]
                }
                PointwiseFn::Erf | PointwiseFn::Sign => &[Fill::Normal],
                PointwiseFn::And | PointwiseFn::Equal | PointwiseFn::Greater | PointwiseFn::GreaterEqual
                | PointwiseFn::Less | PointwiseFn::LessEqual | PointwiseFn::Not | PointwiseFn::Or
                | PointwiseFn::Where | PointwiseFn::Xor => &[Fill::Labels(3), Fill::Labels(3)],
            };
            let image = act(2, 3, &[("h", 4), ("w", 5)]);
            let row = act(1, 3, &[("h", 1), ("w", 5)]);
            let mut types = vec![image; arity];
            all.push(Case::new(format!("{word} image"), Self { f }, types.clone()).fill(fill));
            if let Some(last) = types.get_mut(1) {
                *last = row;
                all.push(Case::new(format!("{word} row"), Self { f }, types).fill(fill));
            }
            let general = vec![weight(&[("d0", 3), ("d1", 5)]); arity];
            all.push(Case::new(format!("{word} general"), Self { f }, general).fill(fill));
        }
        let cube = vec![weight(&[("d0", 9)]), weight(&[("d0", 1)])];
        all.push(
            Case::new("pow of negatives", Self { f: PointwiseFn::Pow }, cube).fill(&[Fill::Normal, Fill::Signs]),
        );
        all
    }
}

impl OpRules for Pointwise {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("f", Attr::Word(self.f.row().0.to_owned()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (word, arity) = self.f.row();
        let first = inputs[0];
        let mut dims = first.dims().to_vec();
        let mut why: Vec<Why> = (0..dims.len()).map(|d| Why::same(0, d)).collect();
        let named = inputs.len() == arity && inputs.iter().all(|x| x.names() == first.names());
        let mut fits = named;
        for (i, x) in inputs.iter().enumerate().filter(|_| named) {
            for (d, extent) in x.dims().iter().enumerate() {
                if dims[d] == 1 && *extent != 1 {
                    dims[d] = *extent;
                    why[d] = Why::same(i, d);
                }
                fits &= *extent == dims[d] || *extent == 1;
            }
        }
        if !fits {
            let shapes: Vec<String> = inputs.iter().map(|x| x.show()).collect();
            return Err(OpError::new(codes::E0210, format!("`{word}` of {}", shapes.join(", "))));
        }
        Ok(Inferred { ty: shape_rules::resized(word, first, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, dy) = (at.inputs, at.dy);
        let apply = |e: &mut dyn Emit, f: PointwiseFn, v| e.op(Self { f }.into(), &[v]);
        at.each(|i| {
            let part = match (self.f, i) {
                (PointwiseFn::Erf, _) => {
                    // 2 / sqrt(pi) e^(-x^2)
                    let square = e.mul(x[0], x[0])?;
                    let falling = e.scale(square, -1.0)?;
                    let bell = e.map(UnaryFn::Exp, falling)?;
                    let slope = e.scale(bell, std::f32::consts::FRAC_2_SQRT_PI)?;
                    e.mul(slope, dy)?
                }
                (PointwiseFn::Pow, 0) => {
                    let less = e.shift(x[1], -1.0)?;
                    let power = e.op(Self { f: PointwiseFn::Pow }.into(), &[x[0], less])?;
                    let slope = e.mul(power, x[1])?;
                    e.mul(slope, dy)?
                }
                (PointwiseFn::Pow, _) => {
                    let log = e.map(UnaryFn::Log, x[0])?;
                    let slope = e.mul(log, at.y)?;
                    e.mul(slope, dy)?
                }
                (PointwiseFn::Fmod | PointwiseFn::Mod, 0) => dy,
                (PointwiseFn::Fmod | PointwiseFn::Mod, _) => {
                    let ratio = e.div(x[0], x[1])?;
                    let down = if self.f == PointwiseFn::Mod { PointwiseFn::Floor } else { PointwiseFn::Trunc };
                    let whole = apply(e, down, ratio)?;
                    let slope = e.scale(whole, -1.0)?;
                    e.mul(slope, dy)?
                }
                (PointwiseFn::Where, 1 | 2) => {
                    let mut chosen = apply(e, PointwiseFn::Not, x[0])?;
                    if i == 1 {
                        chosen = apply(e, PointwiseFn::Not, chosen)?;
                    }
                    e.mul(chosen, dy)?
                }
                (PointwiseFn::Where, _) => return Ok(None),
                // Step functions: where they do not jump, nothing changes.
                (PointwiseFn::And | PointwiseFn::Or | PointwiseFn::Xor | PointwiseFn::Not, _) => return Ok(None),
                (PointwiseFn::Equal | PointwiseFn::Greater | PointwiseFn::GreaterEqual, _) => return Ok(None),
                (PointwiseFn::Less | PointwiseFn::LessEqual | PointwiseFn::IsNan, _) => return Ok(None),
                (PointwiseFn::Ceil | PointwiseFn::Floor | PointwiseFn::Round, _) => return Ok(None),
                (PointwiseFn::Trunc | PointwiseFn::Sign | PointwiseFn::IntDiv, _) => return Ok(None),
            };
            Ok(Some(e.sum_like(part, x[i])?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let x: Vec<f64> = inputs
                .iter()
                .map(|x| {
                    let from: Vec<usize> = at.iter().zip(&x.dims).map(|(i, d)| if *d == 1 { 0 } else { *i }).collect();
                    x.at(&from)
                })
                .collect();
            self.f.reference(&x)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let scalar: ScalarFn<'_> = Box::new(|b, r| self.f.emit(b, r));
        elementwise(cx, &scalar);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(Box::new(|b, r| self.f.emit(b, r)))
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, 1)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
