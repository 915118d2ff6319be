//! Interpolation to another grid. Output position `o` of an axis of extent `m` looks at the real position `s(o)` of the input's
//! `n`:
//!
//! * `half_pixel`: `s = (o + 1/2) n / m - 1/2`, positions are centres of cells (PyTorch's default for linear, ONNX's for both);
//! * `align_corners`: `s = o (n - 1) / (m - 1)`, first and last positions meet;
//! * `asymmetric`: `s = o n / m`.
//!
//! `nearest` takes the input at `ceil(s - 1/2)` (a tie goes down, as ONNX's default says), at `floor(s)` for `asymmetric`
//! (PyTorch's `nearest`); `linear` mixes the two neighbours of `s` along every axis; positions outside are those of the edge. `s` is rational and computed exactly.

use super::adjoint::{Adjoint, Map};
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::window::{WINDOW_MAX, per_axis};
use super::{At, Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::{Affine, Expr};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// The new grid.
#[derive(Clone, Debug, PartialEq)]
pub enum To {
    /// These extents.
    Size(Vec<usize>),
    /// This many times the old extents, rounded down.
    Factor(f32),
}

/// Which real position an output position looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see the module")]
pub enum Coords {
    HalfPixel,
    AlignCorners,
    Asymmetric,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// The new grid.
    pub to: To,
    /// Mixes neighbours instead of taking the nearest.
    pub linear: bool,
    /// How positions correspond.
    pub coords: Coords,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    let to = match (per_axis("resize", args, "size", x, 1)?, args.get("factor")) {
        (Some(size), None) => To::Size(size),
        (None, Some(_)) => {
            let factor = shape_rules::number("resize", args, "factor", 1.0)?;
            if factor <= 0.0 {
                let message = format!("`factor` of `resize` must be positive, it is {factor}");
                return Err(shape_rules::out_of_range("factor", message));
            }
            To::Factor(factor)
        }
        (None, None) | (Some(_), Some(_)) => {
            let message = "`resize` needs either a size, such as `resize(8x8)`, or `factor: 2`";
            return Err(OpError::new(codes::E0106, message));
        }
    };
    let coords = match args.word("coords") {
        Some("align_corners") => Coords::AlignCorners,
        Some("asymmetric") => Coords::Asymmetric,
        _ => Coords::HalfPixel,
    };
    Ok(Made::op(Resize { to, linear: args.word("mode") != Some("nearest"), coords }))
}

impl Coords {
    fn word(self) -> &'static str {
        match self {
            Self::HalfPixel => "half_pixel",
            Self::AlignCorners => "align_corners",
            Self::Asymmetric => "asymmetric",
        }
    }

    /// `s(o)` as a quotient of integers, the divisor positive.
    fn position(self, o: usize, n: usize, m: usize) -> (i64, i64) {
        // Extents are at most WINDOW_MAX = 2^24, products far from wrapping.
        let (o, n, m) = (o as i64, n as i64, m as i64);
        match self {
            Self::HalfPixel => ((2 * o + 1) * n - m, 2 * m),
            Self::AlignCorners if m == 1 => (0, 1),
            Self::AlignCorners => (o * (n - 1), m - 1),
            Self::Asymmetric => (o * n, m),
        }
    }
}

/// What one output position of an axis reads.
#[derive(Clone, Copy)]
struct Tap {
    lo: i64,
    hi: i64,
    /// Weight of `hi`, in parts of the axis' divisor.
    part: i64,
}

impl Resize {
    /// What printed graphs call it.
    pub const KIND: &'static str = "resize";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "resize",
        family: "moving",
        doc: "Interpolates to another grid: a size, or `factor` times the extents, rounded down.",
        tensors: (1, 1),
        params: &[
            Param::place("size", ArgTy::Extent, "", "the new extents"),
            Param::option("factor", ArgTy::Float, "", "how many times the extents grow"),
            Param::option("mode", ArgTy::Word(&["linear", "nearest"]), "linear", "mixes neighbours, or takes the nearest"),
            Param::option(
                "coords",
                ArgTy::Word(&["half_pixel", "align_corners", "asymmetric"]),
                "half_pixel",
                "how positions of the two grids correspond",
            ),
        ],
        example: "net Zoom(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 6, w: 7] { x |> resize(6x7) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let to = if attrs.get("size").is_ok() {
            To::Size(attrs.sizes("size")?)
        } else {
            To::Factor(attrs.float("factor")?)
        };
        let coords = [Coords::HalfPixel, Coords::AlignCorners, Coords::Asymmetric];
        let word = attrs.word("coords")?;
        let coords =
            coords.into_iter().find(|c| c.word() == word).ok_or_else(|| format!("no coords are called `{word}`"))?;
        Ok(Self { to, linear: attrs.bool("linear")?, coords })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for linear in [false, true] {
            for coords in [Coords::HalfPixel, Coords::AlignCorners, Coords::Asymmetric] {
                let op = |size: &[usize]| Self { to: To::Size(size.to_vec()), linear, coords };
                let name = |what: &str| format!("{what} {} {}", coords.word(), if linear { "linear" } else { "nearest" });
                all.push(Case::new(name("up"), op(&[5, 8]), vec![act(3, 5, &[("h", 3), ("w", 4)])]));
                all.push(Case::new(name("down"), op(&[2, 3]), vec![act(1, 4, &[("h", 5), ("w", 7)])]));
                all.push(Case::new(name("1d"), op(&[9]), vec![act(2, 3, &[("t", 3)])]));
                let volume = act(1, 2, &[("d", 2), ("h", 3), ("w", 2)]);
                all.push(Case::new(name("3d"), op(&[3, 3, 1]), vec![volume]));
            }
        }
        let factor = Self { to: To::Factor(2.5), linear: true, coords: Coords::HalfPixel };
        all.push(Case::new("factor", factor, vec![act(1, 3, &[("h", 2), ("w", 3)])]));
        all
    }

    fn extent(&self, axis: usize, n: usize) -> usize {
        match &self.to {
            To::Size(size) => size.get(axis).copied().unwrap_or(n),
            // A cast from a float saturates.
            To::Factor(f) => (n as f64 * f64::from(*f)).floor() as usize,
        }
    }

    /// What every position of an axis reads, and the divisor of the weights.
    fn taps(&self, n: usize, m: usize) -> (Vec<Tap>, i64) {
        let last = n as i64 - 1;
        let (_, divisor) = self.coords.position(0, n, m);
        let tap = |o: usize| {
            let (s, d) = self.coords.position(o, n, m);
            if !self.linear {
                let i = if self.coords == Coords::Asymmetric { s.div_euclid(d) } else { -((d - 2 * s).div_euclid(2 * d)) };
                let i = i.clamp(0, last);
                return Tap { lo: i, hi: i, part: 0 };
            }
            let s = s.clamp(0, last * d);
            let lo = s.div_euclid(d);
            Tap { lo, hi: (lo + 1).min(last), part: s.rem_euclid(d) }
        };
        ((0..m).map(tap).collect(), divisor)
    }

    /// For each output of an axis the inputs that it mixes with their weights, and the divisor of the weights.
    pub(super) fn reads(&self, n: usize, m: usize) -> (Vec<Vec<(i64, i64)>>, i64) {
        let (taps, divisor) = self.taps(n, m);
        let divisor = if self.linear { divisor } else { 1 };
        let read = |t: &Tap| match t.part {
            0 => vec![(t.lo, divisor)],
            _ if t.hi == t.lo => vec![(t.lo, divisor)],
            part => vec![(t.lo, divisor - part), (t.hi, part)],
        };
        (taps.iter().map(read).collect(), divisor)
    }

    /// The value at an index of which the axes from `axis` on are still positions of the output.
    fn mix(&self, cx: &mut LowerCx<'_>, axes: &[Option<(Affine, Affine, Expr)>], at: &mut Vec<Affine>, axis: usize) -> Expr {
        let Some(taps) = axes.get(axis) else { return cx.load(0, at) };
        let Some((lo, hi, weight)) = taps else { return self.mix(cx, axes, at, axis + 1) };
        at[axis + 2] = lo.clone();
        let a = self.mix(cx, axes, at, axis + 1);
        if !self.linear {
            return a;
        }
        let a = cx.b.let_(a);
        at[axis + 2] = hi.clone();
        let b = self.mix(cx, axes, at, axis + 1);
        Expr::fma(b - a.into(), weight.clone(), a.into())
    }
}

impl OpRules for Resize {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = match &self.to {
            To::Size(size) => Attrs::default().with("size", Attr::Ints(size.iter().map(|s| *s as i64).collect())),
            To::Factor(f) => Attrs::default().with("factor", Attr::Float(*f)),
        };
        attrs.with("linear", Attr::Bool(self.linear)).with("coords", Attr::Word(self.coords.word().to_owned()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        if let To::Size(size) = &self.to {
            shape_rules::same_rank("resize", size.len(), x)?;
        }
        let mut dims = x.dims().to_vec();
        let mut why = vec![Why::same(0, 0), Why::same(0, 1)];
        for d in 2..dims.len() {
            let n = dims[d];
            dims[d] = self.extent(d - 2, n);
            if dims[d] == 0 {
                let message = format!("`resize` leaves nothing of axis {}, which has {n}", x.names()[d]);
                return Err(OpError::new(codes::E0204, message).at(At::Arg("factor")).blame(0, d));
            }
            if dims[d].max(n) as u64 > WINDOW_MAX as u64 {
                return Err(shape_rules::too_large("resize", &dims));
            }
            why.push(match &self.to {
                To::Size(_) => Why::given(format!("resize to {}", dims[d])),
                To::Factor(f) => Why::from(0, d, format!("floor({n} * {f})")),
            });
        }
        Ok(Inferred { ty: shape_rules::resized("resize", x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let op = Adjoint::of(Map::Resize(self.clone()), e.ty(at.inputs[0]));
        at.only(e.op(op.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let clamp = |i: f64, d: usize| i.max(0.0).min(x.dims[d] as f64 - 1.0);
        Array::from_fn(out.dims(), |at| {
            // Real positions, then the sum over the corners of the cell around them.
            let mut s = Vec::new();
            for d in 2..at.len() {
                let (o, n, m) = (at[d] as f64, x.dims[d] as f64, out.dims()[d] as f64);
                s.push(match self.coords {
                    Coords::HalfPixel => ((2.0 * o + 1.0) * n - m) / (2.0 * m),
                    Coords::AlignCorners => if m == 1.0 { 0.0 } else { o * (n - 1.0) / (m - 1.0) },
                    Coords::Asymmetric => o * n / m,
                });
            }
            let mut total = 0.0;
            for corner in 0..1usize << s.len() {
                let mut weight = 1.0;
                let mut from = at.to_vec();
                for (axis, s) in s.iter().enumerate() {
                    let upper = corner >> axis & 1 == 1;
                    let i = if !self.linear {
                        weight *= if upper { 0.0 } else { 1.0 };
                        if self.coords == Coords::Asymmetric { s.floor() } else { (s - 0.5).ceil() }
                    } else {
                        let s = clamp(*s, axis + 2);
                        let part = s - s.floor();
                        weight *= if upper { part } else { 1.0 - part };
                        s.floor() + f64::from(u8::from(upper))
                    };
                    from[axis + 2] = clamp(i, axis + 2) as usize;
                }
                total += weight * x.at(&from);
            }
            total
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (from, to) = (cx.input(0).dims().to_vec(), cx.out().dims().to_vec());
        cx.for_each_output(|cx, at| {
            let mut axes = Vec::new();
            for d in 2..to.len() {
                let (taps, divisor) = self.taps(from[d], to[d]);
                if taps.iter().enumerate().all(|(o, t)| t.lo == o as i64 && t.part == 0) {
                    axes.push(None);
                    continue;
                }
                let column = |f: fn(&Tap) -> i64| taps.iter().map(f).collect::<Vec<i64>>();
                let mut look = |name: &str, values: Vec<i64>| -> Affine {
                    let table = cx.b.table(values);
                    cx.b.lookup(name, table, at[d].clone()).into()
                };
                let lo = look("lo", column(|t| t.lo));
                if !self.linear {
                    axes.push(Some((lo.clone(), lo, Expr::Const(0.0))));
                    continue;
                }
                let hi = look("hi", column(|t| t.hi));
                let part = look("part", column(|t| t.part));
                let weight = cx.b.let_(Expr::Index(part) * (1.0 / divisor as f32).into());
                axes.push(Some((lo, hi, weight.into())));
            }
            let value = self.mix(cx, &axes, &mut at.to_vec(), 0);
            cx.store(at, value);
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

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        // Linear: 2^rank - 1 mixes of three operations each.
        let mixes = if self.linear { (1u64 << shape_rules::grid_rank(out).min(32)) - 1 } else { 0 };
        shape_rules::flops(out, 3 * mixes)
    }

    fn field(&self, _input: usize, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let axis = |(n, m): (&usize, &usize)| {
            // Known in closed form for whole factors between centres of cells: input i reaches the outputs whose position
            // is within 1 (linear) or within 1/2 (nearest) of it.
            if self.coords != Coords::HalfPixel || *n == 0 || !m.is_multiple_of(*n) {
                return Field::All;
            }
            let f = (m / n) as u64;
            match (self.linear, f) {
                (_, 1) => shape_rules::POINT,
                (false, _) => Field::Spread { stride: f, before: 0, reach: f },
                (true, _) => Field::Spread { stride: f, before: (f / 2) as i64, reach: 2 * f - f % 2 },
            }
        };
        inputs[0].grid_dims().iter().zip(out.grid_dims()).map(axis).collect()
    }
}
