//! Elementwise functions of two and more tensors with broadcasting by name, and of a tensor and a number:
//! `y = ((x0 f x1) f x2) …`.
//!
//! Operands have the same grid axes, or a grid of rank 0, or are weights `[c]`; where extents differ, one of them is 1 and
//! stands for any. Between weights (in folded graphs) the shorter one's dimensions are the first of the longer one's.
//! A number stands left or right of the only operand, as in `1 - x` and `x / 255`.

use super::winner::Winner;
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled, Val};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act, weight};
use super::init::{self, Init};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, WeightSpec, Why, shape_rules};
use crate::loops::{BinOp, Expr};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in mathematics")]
pub enum BinaryFn {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
}

/// A number as an operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// `2 - x`
    Left(f32),
    /// `x - 2`
    Right(f32),
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which function.
    pub f: BinaryFn,
    /// A number beside the only tensor operand; `None` when all operands are tensors.
    pub number: Option<Number>,
}

impl BinaryFn {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Max, Self::Min];

    /// The name in the language.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    /// The name in printed graphs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    fn bin_op(self) -> BinOp {
        match self {
            Self::Add => BinOp::Add,
            Self::Sub => BinOp::Sub,
            Self::Mul => BinOp::Mul,
            Self::Div => BinOp::Div,
            Self::Max => BinOp::Max,
            Self::Min => BinOp::Min,
        }
    }

    fn reference(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max | Self::Min if a.is_nan() || b.is_nan() => f64::NAN,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
        }
    }
}

const fn info(
    name: &'static str,
    doc: &'static str,
    most: usize,
    example: &'static str,
    make: fn(&CallArgs, &[&TensorTy]) -> Result<Made, OpError>,
) -> OpInfo {
    OpInfo { name, family: "joining", doc, tensors: (2, most), params: &[], example, make }
}

const SHARE: Param = Param::option(
    "share",
    ArgTy::Word(&["all", "none"]),
    "all",
    "which positions share a number: `none` gives each its own",
);

/// `f` of a tensor and a weight per channel: the layers `bias` and `scale`.
fn with_weight(
    f: BinaryFn,
    name: &'static str,
    start: f32,
    args: &CallArgs,
    inputs: &[&TensorTy],
) -> Result<Made, OpError> {
    let init = match args.get("init") {
        Some(init) => init::parse("init", init, (1, 1))?,
        None => Init::Constant(start),
    };
    // One for each position is a tensor of one sample, which all samples share.
    let ty = match args.word("share") {
        Some("none") => {
            let mut dims = inputs[0].dims().to_vec();
            dims[0] = 1;
            shape_rules::resized(name, inputs[0], &dims)?
        }
        _ => shape_rules::per_channel(f.sign(), inputs[0].c())?,
    };
    Ok(Made::op(Binary::of(f)).weight(WeightSpec { name, ty, init, trainable: true }))
}

impl Binary {
    /// What printed graphs call it.
    pub const KIND: &'static str = "binary";

    /// Names in the language. The four operators are called with two tensors or a tensor and a number; `resolve` makes
    /// them by [`Self::of`] and [`Self::with`].
    pub const INFO: &'static [OpInfo] = &[
        info(
            "+",
            "Sum, elementwise; a grid of rank 0 or an extent of 1 broadcasts.",
            2,
            "net Sum(x: [c: 3, h: 4, w: 5], y: [c: 3]) -> [c: 3, h: 4, w: 5] { x + y }",
            |_, _| Ok(Made::op(Self::of(BinaryFn::Add))),
        ),
        info(
            "-",
            "Difference, elementwise; a grid of rank 0 or an extent of 1 broadcasts.",
            2,
            "net Inverse(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { 1 - x }",
            |_, _| Ok(Made::op(Self::of(BinaryFn::Sub))),
        ),
        info(
            "*",
            "Product, elementwise; a grid of rank 0 or an extent of 1 broadcasts.",
            2,
            "net Gated(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x * sigmoid(x |> avgpool(global)) }",
            |_, _| Ok(Made::op(Self::of(BinaryFn::Mul))),
        ),
        info(
            "/",
            "Quotient, elementwise; a grid of rank 0 or an extent of 1 broadcasts.",
            2,
            "net Unit(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x / 255 }",
            |_, _| Ok(Made::op(Self::of(BinaryFn::Div))),
        ),
        info(
            "max",
            "Greatest of two and more tensors, elementwise; a grid of rank 0 or an extent of 1 broadcasts.",
            usize::MAX,
            "net Maxout(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { max(x |> conv(3, 1x1), x |> conv(3, 1x1)) }",
            |_, _| Ok(Made::op(Self::of(BinaryFn::Max))),
        ),
        info(
            "min",
            "Least of two and more tensors, elementwise; a grid of rank 0 or an extent of 1 broadcasts.",
            usize::MAX,
            "net Least(x: [c: 3, h: 4, w: 5], y: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { min(x, y) }",
            |_, _| Ok(Made::op(Self::of(BinaryFn::Min))),
        ),
        OpInfo {
            name: "bias",
            family: "affine",
            doc: "Adds a learnt number to each channel, or to each position of it.",
            tensors: (1, 1),
            params: &[Param::option("init", ArgTy::Init, "zeros", "how the numbers start"), SHARE],
            example: "net Shifted(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> bias }",
            make: |args, inputs| with_weight(BinaryFn::Add, "bias", 0.0, args, inputs),
        },
        OpInfo {
            name: "scale",
            family: "affine",
            doc: "Multiplies each channel, or each position of it, by a learnt number.",
            tensors: (1, 1),
            params: &[Param::option("init", ArgTy::Init, "ones", "how the numbers start"), SHARE],
            example: "net Scaled(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 4, w: 5] { x |> scale }",
            make: |args, inputs| with_weight(BinaryFn::Mul, "weight", 1.0, args, inputs),
        },
    ];

    /// `f` of two (or more) tensors.
    pub fn of(f: BinaryFn) -> Self {
        Self { f, number: None }
    }

    /// `f` of one tensor and a number.
    pub fn with(f: BinaryFn, number: Number) -> Self {
        Self { f, number: Some(number) }
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let name = attrs.word("f")?;
        let f = BinaryFn::ALL
            .into_iter()
            .find(|f| f.word() == name)
            .ok_or_else(|| format!("no function `{name}`"))?;
        let number = match (attrs.get("left").is_ok(), attrs.get("right").is_ok()) {
            (false, false) => None,
            (true, _) => Some(Number::Left(attrs.float("left")?)),
            (false, true) => Some(Number::Right(attrs.float("right")?)),
        };
        Ok(Self { f, number })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let hw = |n, c, h, w| act(n, c, &[("h", h), ("w", w)]);
        let away = Fill::Uniform(0.5, 3.0);
        let mut all = Vec::new();
        for f in BinaryFn::ALL {
            let name = |what: &str| format!("{} {what}", f.word());
            let two = [Fill::Normal, away];
            all.push(
                Case::new(name("same"), Self::of(f), vec![hw(3, 5, 3, 7), hw(3, 5, 3, 7)]).fill(&two),
            );
            all.push(Case::new(name("rank 0"), Self::of(f), vec![act(2, 3, &[]), act(2, 3, &[])]).fill(&two));
            all.push(Case::new(name("gate"), Self::of(f), vec![hw(2, 4, 3, 3), act(2, 4, &[])]).fill(&two));
            all.push(Case::new(name("grow"), Self::of(f), vec![hw(1, 1, 3, 1), hw(1, 4, 1, 5)]).fill(&two));
            all.push(Case::new(name("number"), Self::with(f, Number::Right(1.5)), vec![hw(1, 3, 2, 3)]));
            all.push(
                Case::new(name("of number"), Self::with(f, Number::Left(1.5)), vec![hw(1, 3, 2, 3)])
                    .fill(&[away]),
            );
        }
        for f in [BinaryFn::Max, BinaryFn::Min] {
            let nan = [Fill::Normal, Fill::SomeNan];
            all.push(Case::new("right NaN", Self::of(f), vec![act(1, 7, &[]), act(1, 7, &[])]).fill(&nan));
            all.push(Case::new("NaN", Self::with(f, Number::Right(0.5)), vec![act(1, 7, &[])]).fill(&nan[1..]));
        }
        let volume = || act(1, 2, &[("d", 2), ("h", 3), ("w", 2)]);
        all.push(Case::new("max of three", Self::of(BinaryFn::Max), vec![volume(), volume(), act(1, 1, &[])]));
        all.push(Case::new("bias", Self::of(BinaryFn::Add), vec![hw(2, 3, 2, 2), weight(&[("c", 3)])]));
        let kernel = weight(&[("o", 4), ("i", 3), ("kh", 3), ("kw", 3)]);
        all.push(Case::new("kernel", Self::of(BinaryFn::Mul), vec![kernel, weight(&[("o", 4)])]));
        all
    }
}

/// The dimension of the output that dimension 0 of an operand meets: an operand with fewer dimensions is an activation of
/// rank 0, a weight `[c]` beside activations, or a weight whose dimensions are the first of the output's.
fn first_dim(dims: usize, out: &TensorTy) -> usize {
    usize::from(out.is_activation() && dims == 1)
}

/// What messages call operand `i` of `count`.
fn side(i: usize, count: usize) -> String {
    match (i, count) {
        (0, 2) => "on the left".into(),
        (1, 2) => "on the right".into(),
        (_several, _) => format!("in operand {}", i + 1),
    }
}

impl Binary {
    /// E0205 unless every operand's dimensions line up with those of `widest`.
    fn check_axes(&self, inputs: &[&TensorTy], widest: usize) -> Result<(), OpError> {
        let sign = self.f.sign();
        let out = inputs[widest];
        for (i, ty) in inputs.iter().enumerate() {
            let from = first_dim(ty.dims().len(), out);
            let whole = !ty.is_activation() || ty.rank() == 0 || ty.dims().len() == out.dims().len();
            let aligned = out.names().get(from..).is_some_and(|names| names.starts_with(ty.names()));
            let fits = if ty.is_activation() { out.is_activation() } else { !out.is_activation() || from == 1 };
            if !(whole && aligned && fits) {
                let (a, b) = (i.min(widest), i.max(widest));
                let n = inputs.len();
                let message = format!(
                    "`{sign}` needs grids with the same axes: {} {}, {} {}",
                    shape_rules::show_axes(inputs[a]),
                    side(a, n),
                    shape_rules::show_axes(inputs[b]),
                    side(b, n),
                );
                return Err(OpError::new(codes::E0205, message)
                    .label(label(inputs))
                    .recover(Some(inputs[0].clone())));
            }
        }
        Ok(())
    }

    /// Extent and origin of dimension `d` of the output.
    fn extent(&self, inputs: &[&TensorTy], out: &TensorTy, d: usize) -> Result<(usize, Why), OpError> {
        let mut found: Option<(usize, usize, usize)> = None;
        for (i, ty) in inputs.iter().enumerate() {
            let Some(own) = d.checked_sub(first_dim(ty.dims().len(), out)) else { continue };
            let Some(extent) = ty.dims().get(own).copied() else { continue };
            match found {
                Some((e, j, k)) if e != extent && e != 1 && extent != 1 => {
                    let n = inputs.len();
                    let message = format!(
                        "`{}` needs equal extents on axis {}: {e} {}, {extent} {}",
                        self.f.sign(),
                        out.names()[d],
                        side(j, n),
                        side(i, n),
                    );
                    return Err(OpError::new(codes::E0210, message)
                        .label(label(inputs))
                        .blame(j, k)
                        .blame(i, own));
                }
                Some((e, ..)) if e != 1 || extent == 1 => {}
                Some(_) | None => found = Some((extent, i, own)),
            }
        }
        let (extent, i, own) = found.unwrap_or((1, 0, 0));
        Ok((extent, Why::same(i, own)))
    }
}

/// `left [c: 3], right [c: 4]` for two operands, all shapes for more.
fn label(inputs: &[&TensorTy]) -> String {
    match inputs {
        [a, b] => format!("left {}, right {}", a.show(), b.show()),
        several => several.iter().map(|t| t.show()).collect::<Vec<_>>().join(", "),
    }
}

impl OpRules for Binary {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::default().with("f", Attr::Word(self.f.word().to_owned()));
        match self.number {
            None => attrs,
            Some(Number::Left(x)) => attrs.with("left", Attr::Float(x)),
            Some(Number::Right(x)) => attrs.with("right", Attr::Float(x)),
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let tensors = if self.number.is_some() { 1 } else { 2 };
        if inputs.len() < tensors || (self.number.is_some() && inputs.len() > 1) {
            let message = format!("`{}` got {}", self.f.sign(), shape_rules::plural(inputs.len(), "operand"));
            return Err(OpError::new(codes::E0109, message));
        }
        // The first of those with the most dimensions names them.
        let mut widest = 0;
        for (i, ty) in inputs.iter().enumerate() {
            if ty.dims().len() > inputs[widest].dims().len() {
                widest = i;
            }
        }
        self.check_axes(inputs, widest)?;
        let out = inputs[widest];
        let mut dims = Vec::new();
        let mut why = Vec::new();
        let mut error = None;
        for d in 0..out.dims().len() {
            match self.extent(inputs, out, d) {
                Ok((extent, reason)) => {
                    dims.push(extent);
                    why.push(reason);
                }
                Err(e) => {
                    error = error.or(Some(e));
                    // Checking goes on with the left's extent.
                    let own = d.checked_sub(first_dim(inputs[0].dims().len(), out));
                    let left = own.and_then(|own| inputs[0].dims().get(own));
                    dims.push(left.copied().unwrap_or(out.dims()[d]));
                    why.push(Why::same(0, d));
                }
            }
        }
        let ty = shape_rules::resized(self.f.sign(), out, &dims)?;
        match error {
            Some(e) => Err(e.recover(Some(ty))),
            None => Ok(Inferred { ty, why }),
        }
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|i| {
            let part = self.partial(e, at, i)?;
            Ok(Some(e.sum_like(part, at.inputs[i])?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut values = inputs.iter().map(|x| {
                let from = first_dim(x.dims.len(), out);
                let idx: Vec<usize> =
                    x.dims.iter().zip(&at[from..]).map(|(d, i)| if *d == 1 { 0 } else { *i }).collect();
                x.at(&idx)
            });
            let first = values.next().unwrap_or(f64::NAN);
            match self.number {
                Some(Number::Left(a)) => self.f.reference(f64::from(a), first),
                Some(Number::Right(b)) => self.f.reference(first, f64::from(b)),
                None => values.fold(first, |a, b| self.f.reference(a, b)),
            }
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
        shape_rules::flops(out, inputs.len().saturating_sub(1).max(1) as u64)
    }

    fn field(&self, input: usize, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let ty = inputs[input];
        (0..shape_rules::grid_rank(out))
            .map(|axis| match ty.dims().get(axis + 2) {
                Some(extent) if *extent == out.dims()[axis + 2] => shape_rules::POINT,
                Some(_) | None => Field::All,
            })
            .collect()
    }
}

impl Binary {
    /// The gradient by operand `i`, of the type of the result.
    fn partial(&self, e: &mut dyn Emit, at: &Applied<'_>, i: usize) -> Result<Val, NotDifferentiable> {
        let (x, y, dy) = (at.inputs, at.y, at.dy);
        let first = i == 0 && !matches!(self.number, Some(Number::Left(_)));
        Ok(match (self.f, self.number) {
            (BinaryFn::Add, _) => dy,
            (BinaryFn::Sub, _) if first => dy,
            (BinaryFn::Sub, _) => e.map(UnaryFn::Neg, dy)?,
            (BinaryFn::Mul, Some(Number::Left(a) | Number::Right(a))) => e.scale(dy, a)?,
            (BinaryFn::Mul, None) => {
                let others = x.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, v)| *v);
                let factors: Vec<Val> = std::iter::once(dy).chain(others).collect();
                e.op(Self::of(BinaryFn::Mul).into(), &factors)?
            }
            (BinaryFn::Div, Some(Number::Right(b))) => e.op(Self::with(BinaryFn::Div, Number::Right(b)).into(), &[dy])?,
            (BinaryFn::Div, None) if first => {
                let factors: Vec<Val> = std::iter::once(dy).chain(x[1..].iter().copied()).collect();
                e.op(Self::of(BinaryFn::Div).into(), &factors)?
            }
            (BinaryFn::Div, _) => {
                let part = e.mul(dy, y)?;
                let part = e.div(part, x[i])?;
                e.map(UnaryFn::Neg, part)?
            }
            // Of equal operands the first counts.
            (BinaryFn::Max | BinaryFn::Min, None) => {
                let inputs: Vec<Val> = std::iter::once(y).chain(x[..=i].iter().copied()).chain([dy]).collect();
                e.op(Winner.into(), &inputs)?
            }
            (BinaryFn::Max | BinaryFn::Min, Some(Number::Right(_))) => e.op(Winner.into(), &[y, x[0], dy])?,
            (BinaryFn::Max | BinaryFn::Min, Some(Number::Left(a))) => {
                let ty = e.ty(y).clone();
                let bound = e.fill(ty, a);
                e.op(Winner.into(), &[y, bound, x[0], dy])?
            }
        })
    }

    fn scalar_fn(&self) -> ScalarFn<'_> {
        let op = self.f.bin_op();
        Box::new(move |_, x| match self.number {
            Some(Number::Left(a)) => Expr::bin(op, a.into(), x[0].into()),
            Some(Number::Right(b)) => Expr::bin(op, x[0].into(), b.into()),
            None => x[1..].iter().fold(x[0].into(), |a, b| Expr::bin(op, a, (*b).into())),
        })
    }
}
