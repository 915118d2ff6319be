//! Windows over a grid: kernel, stride, dilation and padding per axis, as calls write them and as the size rules resolve
//! them against an input.
//!
//! In: static arguments, or printed attributes; then the type of an input. Out: one [`Window`] per grid axis, with the
//! formula that gave its extent. Convolutions, their transposes and pools all ask here, so that a size rule stands once.
//! Written numbers are at most [`WINDOW_MAX`], so that sums of products of two of them stay far from wrapping.

use super::args::{ArgValue, Attr, Attrs, CallArgs};
use super::shape_rules::{self, plural, wrong_type};
use super::{At, OpError, Why};
use crate::support::codes;
use crate::tensor::ty::TensorTy;

/// Kernels, strides, dilations and paddings above this are refused.
pub const WINDOW_MAX: i64 = 1 << 24;

/// A padding rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Padding {
    /// None.
    Valid,
    /// Output `ceil(n / s)`; the odd zero goes at the end.
    Same,
    /// As `Same`, the odd zero at the start.
    SameLo,
    /// Every input meets every tap.
    Full,
    /// Zeros before and after, per axis.
    Sides(Vec<(usize, usize)>),
}

/// A window as written, one number per grid axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Taps.
    pub kernel: Vec<usize>,
    /// Step between neighbouring outputs.
    pub stride: Vec<usize>,
    /// Step between neighbouring taps.
    pub dilation: Vec<usize>,
    /// The padding rule.
    pub pad: Padding,
}

/// A window on one axis of a given extent: output `o`, tap `k` looks at input `o*stride + k*dilation - lo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Extent of the input.
    pub input: usize,
    /// Extent of the output.
    pub out: usize,
    /// Taps.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Step between taps.
    pub dilation: usize,
    /// Zeros before the input.
    pub lo: usize,
    /// Zeros after the input.
    pub hi: usize,
}

impl Window {
    /// Inputs from the first tap to the last: `d*(k - 1) + 1`.
    pub fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// How far the taps really run over the input at either end (less than the padding where a stride stops short).
    pub fn overhang(&self) -> (usize, usize) {
        let last = ((self.out - 1) * self.stride + self.reach() - 1) as i64 - self.lo as i64;
        (self.lo, (last - (self.input as i64 - 1)).max(0) as usize)
    }

    /// An output whose window meets no input at all, if there is one.
    pub fn misses(&self) -> Option<usize> {
        // Windows that start before the input: few, as a padding is at most `WINDOW_MAX`. Taps that stand closer than the
        // input is long cannot step over it.
        let early = self.lo.div_ceil(self.stride).min(self.out);
        let early = if self.dilation <= self.input { early.min(1) } else { early };
        let meets = |o: usize| {
            let first = self.lo.saturating_sub(o * self.stride).div_ceil(self.dilation);
            first < self.kernel && self.position(o, first) < self.input as i64
        };
        let late = self.out - 1;
        (0..early).chain([late]).find(|o| !meets(*o))
    }

    /// The input position that output `o` sees through tap `k`; negative or too large in the padding.
    pub fn position(&self, o: usize, k: usize) -> i64 {
        (o * self.stride + k * self.dilation) as i64 - self.lo as i64
    }
}

impl WindowSpec {
    /// Resolves the size rules for an input of type `x`; `partial` keeps a last window that runs over the end.
    /// Gives a window per grid axis, and the reason for each of the output's extents.
    ///
    /// # Errors
    /// E0202 when a kernel is larger than the padded input, E0215 when `x` has another rank than the window.
    pub fn resolve(&self, x: &TensorTy, partial: bool) -> Result<(Vec<Window>, Vec<Why>), OpError> {
        if x.rank() != self.kernel.len() {
            let message = format!(
                "the window was made for a grid of rank {}, and this one has rank {}: {}",
                self.kernel.len(),
                x.rank(),
                x.show()
            );
            return Err(OpError::new(codes::E0215, message));
        }
        let mut windows = Vec::new();
        let mut why = Vec::new();
        for axis in 0..x.rank() {
            let (window, formula) = self
                .axis(axis, x.grid_dims()[axis], partial)
                .map_err(|padded| self.too_large(axis, x, padded))?;
            windows.push(window);
            why.push(Why::from(0, axis + 2, formula));
        }
        Ok((windows, why))
    }

    /// The window on one axis, or the padded extent that is smaller than the kernel's reach.
    pub fn axis(&self, axis: usize, n: usize, partial: bool) -> Result<(Window, String), usize> {
        let (kernel, stride, dilation) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
        let e = dilation * (kernel - 1) + 1;
        let reach =
            if dilation > 1 { format!(", reach {e} = {dilation}*({kernel} - 1) + 1") } else { String::new() };
        let (lo, hi) = self.sides(axis, n);
        let padded = n + lo + hi;
        if padded < e && !partial {
            return Err(padded);
        }
        let steps = padded.saturating_sub(e);
        let mut out = if partial { steps.div_ceil(stride) + 1 } else { steps / stride + 1 };
        let dropped = partial && out > 1 && (out - 1) * stride >= n + lo;
        if dropped {
            out -= 1; // the last window must start on the input or in the padding before it
        }
        let round = if partial { "ceil" } else { "floor" };
        let keeps = if partial { ", partial" } else { "" };
        let reach = if dropped { format!("{reach}, less one that starts past the end") } else { reach };
        let formula = match &self.pad {
            _ if padded < e => format!("partial: one window, cut to {padded}"),
            Padding::Valid => format!("valid{keeps}: {round}(({n} - {e}) / {stride}) + 1{reach}"),
            Padding::Same => format!("same: ceil({n} / {stride})"),
            Padding::SameLo => format!("same_lo: ceil({n} / {stride})"),
            Padding::Full => format!("full{keeps}: {round}(({n} + {e} - 2) / {stride}) + 1{reach}"),
            Padding::Sides(_) if lo == hi => {
                format!("pad {lo}{keeps}: {round}(({n} + 2*{lo} - {e}) / {stride}) + 1{reach}")
            }
            Padding::Sides(_) => {
                format!("pad [{lo}, {hi}]{keeps}: {round}(({n} + {lo} + {hi} - {e}) / {stride}) + 1{reach}")
            }
        };
        Ok((Window { input: n, out, kernel, stride, dilation, lo, hi }, formula))
    }

    /// Zeros before and after an axis of extent `n`.
    fn sides(&self, axis: usize, n: usize) -> (usize, usize) {
        let e = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
        let s = self.stride[axis];
        let total = (n.div_ceil(s).saturating_sub(1) * s + e).saturating_sub(n);
        match &self.pad {
            Padding::Valid => (0, 0),
            Padding::Same => (total / 2, total - total / 2),
            Padding::SameLo => (total - total / 2, total / 2),
            Padding::Full => (e - 1, e - 1),
            Padding::Sides(sides) => sides[axis],
        }
    }

    fn too_large(&self, axis: usize, x: &TensorTy, padded: usize) -> OpError {
        let (n, k, d) = (x.grid_dims()[axis], self.kernel[axis], self.dilation[axis]);
        let e = d * (k - 1) + 1;
        let name = &x.grid_names()[axis];
        let kernel =
            if d > 1 { format!("kernel {k} with dilation {d} reaches {e}") } else { format!("kernel {k}") };
        let input = if padded == n { format!("input {n}") } else { format!("padded input {padded}") };
        let message = match d {
            1 => format!("{kernel} is larger than the {input} on axis {name}"),
            _ => format!("{kernel}, more than the {input} on axis {name}"),
        };
        let fits: Vec<String> = (0..x.rank())
            .map(|a| {
                let (lo, hi) = self.sides(a, x.grid_dims()[a]);
                let most = (x.grid_dims()[a] + lo + hi).saturating_sub(1) / self.dilation[a] + 1;
                self.kernel[a].min(most).to_string()
            })
            .collect();
        OpError::new(codes::E0202, message)
            .label(format!("input {}", x.show()))
            .blame(0, axis + 2)
            .try_arg("pad", "same")
            .try_arg("kernel", fits.join("x"))
    }

    /// As printed attributes: `kernel`, `stride`, `dilate`, `pad`.
    pub(super) fn attrs(&self, attrs: Attrs) -> Attrs {
        let ints = |v: &[usize]| Attr::Ints(v.iter().map(|i| *i as i64).collect());
        attrs
            .with("kernel", ints(&self.kernel))
            .with("stride", ints(&self.stride))
            .with("dilate", ints(&self.dilation))
            .with("pad", self.pad.attr())
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let kernel = attrs.sizes("kernel")?;
        let spec = Self {
            stride: attrs.sizes("stride")?,
            dilation: attrs.sizes("dilate")?,
            pad: Padding::from_attr(attrs.get("pad")?, kernel.len())?,
            kernel,
        };
        let rank = spec.kernel.len();
        if spec.stride.len() != rank || spec.dilation.len() != rank {
            return Err("`kernel`, `stride` and `dilate` differ in length".into());
        }
        let all = spec.kernel.iter().chain(&spec.stride).chain(&spec.dilation);
        match all.into_iter().find(|v| **v == 0 || **v as i64 > WINDOW_MAX) {
            Some(v) => Err(format!("a window cannot hold {v}")),
            None => Ok(spec),
        }
    }
}

impl Padding {
    fn attr(&self) -> Attr {
        match self {
            Self::Valid => Attr::Word("valid".into()),
            Self::Same => Attr::Word("same".into()),
            Self::SameLo => Attr::Word("same_lo".into()),
            Self::Full => Attr::Word("full".into()),
            Self::Sides(sides) => {
                Attr::Lists(sides.iter().map(|(lo, hi)| vec![*lo as i64, *hi as i64]).collect())
            }
        }
    }

    fn from_attr(attr: &Attr, rank: usize) -> Result<Self, String> {
        match attr {
            Attr::Word(word) => Self::word(word).ok_or_else(|| format!("no padding is called `{word}`")),
            Attr::Lists(lists) => {
                let side = |v: &i64| usize::try_from(*v).ok().filter(|v| *v as i64 <= WINDOW_MAX);
                let sides: Option<Vec<(usize, usize)>> = lists
                    .iter()
                    .map(|l| match l.as_slice() {
                        [lo, hi] => Some((side(lo)?, side(hi)?)),
                        _ => None,
                    })
                    .collect();
                let sides = sides.filter(|s| s.len() == rank);
                sides.map(Self::Sides).ok_or_else(|| "`pad` is not one pair per axis".into())
            }
            // An empty list of pairs may print like an empty list of integers.
            Attr::Ints(v) if v.is_empty() && rank == 0 => Ok(Self::Sides(Vec::new())),
            Attr::Ints(_) | Attr::Int(_) | Attr::Float(_) | Attr::Bool(_) => {
                Err("`pad` is neither a word nor one pair per axis".into())
            }
        }
    }

    fn word(word: &str) -> Option<Self> {
        match word {
            "valid" => Some(Self::Valid),
            "same" => Some(Self::Same),
            "same_lo" => Some(Self::SameLo),
            "full" => Some(Self::Full),
            _ => None,
        }
    }
}

/// One number from `least` to [`WINDOW_MAX`] per grid axis of `x` from the argument `name`; `None` if it was not written.
///
/// # Errors
/// E0203 for a list of another length, E0204 for a number out of range.
pub(super) fn per_axis(
    op: &str,
    args: &CallArgs,
    name: &'static str,
    x: &TensorTy,
    least: i64,
) -> Result<Option<Vec<usize>>, OpError> {
    // A number that stands for all axes is checked even where there are none.
    if let Some(ArgValue::Int(i)) = args.get(name) {
        check_range(name, *i, least)?;
    }
    let Some(values) = shape_rules::per_axis(op, args, name, x, 0)? else { return Ok(None) };
    values.into_iter().map(|v| check_range(name, v as i64, least)).collect::<Result<_, _>>().map(Some)
}

/// The padding argument `pad`; `valid` if it was not written.
///
/// # Errors
/// E0203 for a list of another length than the grid's rank, E0401 for what is no padding.
pub(super) fn padding(op: &str, args: &CallArgs, x: &TensorTy) -> Result<Padding, OpError> {
    let sides: Vec<(i64, i64)> = match args.get("pad") {
        None => return Ok(Padding::Valid),
        Some(ArgValue::Word(word)) => return Padding::word(word).ok_or_else(|| wrong_type(op, "pad")),
        Some(ArgValue::Int(p)) => {
            pad_side(*p)?;
            vec![(*p, *p); x.rank()]
        }
        Some(ArgValue::Extent(v)) => v.iter().map(|p| (*p, *p)).collect(),
        Some(ArgValue::List(list)) => list.iter().map(|v| pad_sides(op, v)).collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong_type(op, "pad")),
    };
    if sides.len() != x.rank() {
        let given = plural(sides.len(), "value");
        let message =
            format!("`pad` of `{op}` lists {given}, and the grid of {} has rank {}", x.show(), x.rank());
        return Err(OpError::new(codes::E0203, message).at(At::Arg("pad")));
    }
    let sides: Result<_, OpError> =
        sides.into_iter().map(|(lo, hi)| Ok((pad_side(lo)?, pad_side(hi)?))).collect();
    sides.map(Padding::Sides)
}

fn pad_sides(op: &str, value: &ArgValue) -> Result<(i64, i64), OpError> {
    match value {
        ArgValue::Int(p) => Ok((*p, *p)),
        ArgValue::List(pair) => match shape_rules::ints(op, "pad", pair)?.as_slice() {
            [lo, hi] => Ok((*lo, *hi)),
            other => {
                let message = format!("a padding per side is `[lo, hi]`, two numbers, not {}", other.len());
                Err(OpError::new(codes::E0401, message).at(At::Arg("pad")))
            }
        },
        _ => Err(wrong_type(op, "pad")),
    }
}

fn pad_side(p: i64) -> Result<usize, OpError> {
    if (0..=WINDOW_MAX).contains(&p) {
        return Ok(p as usize);
    }
    let message = if p < 0 {
        format!("padding {p} is negative; `crop` removes positions")
    } else {
        format!("padding {p} is more than {WINDOW_MAX}, the most there can be")
    };
    Err(OpError::new(codes::E0401, message).at(At::Arg("pad")).try_arg("pad", "valid").try_arg("pad", "same"))
}

/// An integer argument in `least ..= WINDOW_MAX`.
pub(super) fn check_range(name: &'static str, value: i64, least: i64) -> Result<usize, OpError> {
    if (least..=WINDOW_MAX).contains(&value) {
        return Ok(value as usize);
    }
    let bound = if value < least { format!("at least {least}") } else { format!("at most {WINDOW_MAX}") };
    let error =
        OpError::new(codes::E0204, format!("`{name}` must be {bound}, not {value}")).at(At::Arg(name));
    Err(if value < least { error.try_arg(name, least.to_string()) } else { error })
}
