//! Pooling (chapter 9, section 9.3): one number for each window of a channel's grid, or for each group of channels.
//!
//! * `maxpool`: the greatest input. `avgpool`: their mean. `lppool`: `(sum |x|^p)^(1/p)`.
//! * Windows: a kernel with stride (default: the kernel), padding and dilation; `global`, the whole grid, leaving rank 0;
//!   `grid: g`, the regions `floor(i*n/g) .. ceil((i+1)*n/g)` of each axis; `c: k`, `k` neighbouring channels (maxout), which passes may
//!   put apart.
//! * Padding never competes: only real inputs are looked at, and a mean divides by their number (`count_pad: true`: by the
//!   taps on input or padding). `partial: true` keeps a last window that runs over the end, cut (figure 9.10).
//! * NaN anywhere in a window gives NaN.

use super::pool_grad::{Part, PoolGrad};
use super::power::Power;
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attrs};
use super::case::Case;
use super::gather;
use super::conv_nest::{guard, seen, serial};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::pool_args::{make_avg, make_lp, make_max};
use super::shape_rules::{pointwise, too_large};
use super::window::{Window, WindowSpec};
use super::{At, Cost, Field, Inferred, OpError, OpInfo, OpRules, Param, Why};
use crate::loops::{Affine, BinOp, Expr, Reg, UnOp};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// What is made of a window's inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PoolKind {
    /// The greatest.
    Max,
    /// The mean.
    Avg,
    /// The norm of this order.
    Lp(f32),
}

/// What a pool looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// Windows of the grid.
    Window(WindowSpec),
    /// The whole grid.
    Global,
    /// This number of regions per axis.
    Grid(Vec<usize>),
    /// Windows of channels.
    Channels {
        /// How many.
        size: usize,
        /// Step between windows.
        stride: usize,
        /// Step between the channels of a window; the language has no name for others than 1.
        dilation: usize,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What is made of a window's inputs.
    pub kind: PoolKind,
    /// What a window is.
    pub over: Over,
    /// Whether a mean counts padding.
    pub count_pad: bool,
    /// Whether a last window that runs over the end is kept.
    pub partial: bool,
}

const fn option(name: &'static str, ty: ArgTy, default: &'static str, doc: &'static str) -> Param {
    Param { name, positional: false, required: false, ty, default, doc }
}

const KERNEL: Param = Param {
    name: "kernel",
    positional: true,
    required: false,
    ty: ArgTy::Window(&["global"]),
    default: "",
    doc: "taps per grid axis, or `global`",
};
const STRIDE: Param = option("stride", ArgTy::Extent, "the kernel", "step between neighbouring windows");
const PAD: Param = option("pad", ArgTy::Pad, "valid", "padding around the grid; it never competes");
const DILATE: Param = option("dilate", ArgTy::Extent, "1", "step between neighbouring taps");
const PARTIAL: Param = option("partial", ArgTy::Bool, "false", "keep a last, smaller window");
const GRID: Param = option("grid", ArgTy::Extent, "", "divide the grid into this number of regions");
const CHANNELS: Param = option("c", ArgTy::Int, "", "pool across this number of neighbouring channels");
const COUNT_PAD: Param = option("count_pad", ArgTy::Bool, "false", "divide by taps on padding too");
const P: Param = option("p", ArgTy::Float, "2", "the order of the norm");

impl Pool {
    /// What printed graphs call it.
    pub const KIND: &'static str = "pool";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "maxpool",
            family: "pooling",
            doc: "The greatest input of each window; channels stay, the grid follows the size rules.",
            tensors: (1, 1),
            params: &[KERNEL, STRIDE, PAD, DILATE, PARTIAL, GRID, CHANNELS],
            example: "net Pool(x: [c: 8, h: 56, w: 56]) -> [c: 8, h: 28, w: 28] { x |> maxpool(3x3, stride: 2, pad: 1) }",
            make: make_max,
        },
        OpInfo {
            name: "avgpool",
            family: "pooling",
            doc: "The mean of each window; channels stay, the grid follows the size rules.",
            tensors: (1, 1),
            params: &[KERNEL, STRIDE, PAD, DILATE, PARTIAL, GRID, CHANNELS, COUNT_PAD],
            example: "net Mean(x: [c: 8, h: 7, w: 7]) -> [c: 8] { x |> avgpool(global) }",
            make: make_avg,
        },
        OpInfo {
            name: "lppool",
            family: "pooling",
            doc: "The norm of order `p` of each window; channels stay, the grid follows the size rules.",
            tensors: (1, 1),
            params: &[KERNEL, STRIDE, PAD, DILATE, PARTIAL, GRID, CHANNELS, P],
            example: "net Norm(x: [c: 8, h: 8, w: 8]) -> [c: 8, h: 4, w: 4] { x |> lppool(2x2, p: 2) }",
            make: make_lp,
        },
    ];

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        super::pool_cases::pool()
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        super::pool_args::from_attrs(attrs)
    }

    /// The windows of the grid, where they are windows of the grid.
    fn windows(&self, x: &TensorTy) -> Result<Option<(Vec<Window>, Vec<Why>)>, OpError> {
        let Over::Window(spec) = &self.over else { return Ok(None) };
        let (windows, why) = spec.resolve(x, self.partial)?;
        for (axis, w) in windows.iter().enumerate() {
            if let Some(o) = w.misses() {
                let message = format!(
                    "window {o} on axis {} lies wholly in the padding, and there is nothing to pool",
                    x.grid_names()[axis]
                );
                return Err(OpError::new(codes::E0402, message)
                    .at(At::Arg("pad"))
                    .blame(0, axis + 2)
                    .try_arg("pad", "same")
                    .try_arg("pad", "valid"));
            }
        }
        Ok(Some((windows, why)))
    }

    /// The grid of the output with its reasons.
    fn grid(&self, x: &TensorTy) -> Result<(Vec<usize>, Vec<Why>), OpError> {
        if let Some((windows, why)) = self.windows(x)? {
            return Ok((windows.iter().map(|w| w.out).collect(), why));
        }
        let Over::Grid(regions) = &self.over else {
            return Ok((x.grid_dims().to_vec(), (0..x.rank()).map(|a| Why::same(0, a + 2)).collect()));
        };
        if regions.len() != x.rank() {
            let message = format!("the pool was made for a grid of rank {}: {}", regions.len(), x.show());
            return Err(OpError::new(codes::E0215, message));
        }
        for (axis, (g, n)) in regions.iter().zip(x.grid_dims()).enumerate() {
            if g > n {
                let name = &x.grid_names()[axis];
                let message = format!("axis {name} has {n} positions and cannot be divided into {g} regions");
                return Err(OpError::new(codes::E0403, message).at(At::Arg("grid")).blame(0, axis + 2));
            }
        }
        let why = |(a, (g, n)): (usize, (&usize, &usize))| Why::from(0, a + 2, format!("grid: {g} regions of {n}"));
        let reasons = regions.iter().zip(x.grid_dims()).enumerate().map(why).collect();
        Ok((regions.clone(), reasons))
    }

    fn channels(&self, x: &TensorTy) -> Result<(usize, Why), OpError> {
        match self.over {
            Over::Channels { size, stride, dilation } if channels_reach(size, dilation) <= x.c() => {
                let reach = channels_reach(size, dilation);
                let formula = format!("floor(({} - {reach}) / {stride}) + 1", x.c());
                Ok(((x.c() - reach) / stride + 1, Why::from(0, 1, formula)))
            }
            Over::Channels { size, .. } => {
                let message = format!("`c: {size}` is larger than the input's {} channels", x.c());
                Err(OpError::new(codes::E0202, message)
                    .at(At::Arg("c"))
                    .label(format!("input {}", x.show()))
                    .blame(0, 1)
                    .try_arg("c", x.c().to_string()))
            }
            Over::Window(_) | Over::Global | Over::Grid(_) => Ok((x.c(), Why::same(0, 1))),
        }
    }

    /// Taps of a window, at most.
    fn taps(&self, x: &TensorTy) -> usize {
        match &self.over {
            Over::Window(spec) => spec.kernel.iter().fold(1, |a, k| a.saturating_mul(*k)),
            Over::Global => x.grid_dims().iter().product(),
            Over::Grid(g) => region_extents(x, g).iter().product(),
            Over::Channels { size, .. } => *size,
        }
    }

    fn start(&self) -> f32 {
        match self.kind {
            PoolKind::Max => f32::NEG_INFINITY,
            PoolKind::Avg | PoolKind::Lp(_) => 0.0,
        }
    }

    /// The sum so far with one more input.
    fn step(&self, acc: Reg, x: Expr) -> Expr {
        match self.kind {
            PoolKind::Max => Expr::bin(BinOp::Max, acc.into(), x),
            PoolKind::Avg => Expr::Reg(acc) + x,
            PoolKind::Lp(p) if p == 1.0 => Expr::Reg(acc) + Expr::un(UnOp::Abs, x),
            PoolKind::Lp(p) => Expr::Reg(acc) + Expr::bin(BinOp::Pow, Expr::un(UnOp::Abs, x), p.into()),
        }
    }

    /// From the sum to the output.
    fn end(&self, acc: Reg, count: Expr) -> Expr {
        match self.kind {
            PoolKind::Max => acc.into(),
            PoolKind::Avg => Expr::Reg(acc) / count,
            PoolKind::Lp(p) if p == 1.0 => acc.into(),
            PoolKind::Lp(p) if p == 2.0 => Expr::un(UnOp::Sqrt, acc.into()),
            PoolKind::Lp(p) => Expr::bin(BinOp::Pow, acc.into(), (1.0 / p).into()),
        }
    }

    /// Takes the input at `at` into `acc`.
    fn take(&self, cx: &mut LowerCx<'_>, acc: Reg, at: &[Affine]) {
        let x = cx.load(0, at);
        let value = if self.kind == PoolKind::Lp(2.0) {
            let x = Expr::Reg(cx.b.let_(x));
            Expr::fma(x.clone(), x, acc.into())
        } else {
            self.step(acc, x)
        };
        cx.b.set(acc, value);
    }

    fn lower_windows(&self, cx: &mut LowerCx<'_>, windows: &[Window]) {
        let names: Vec<String> = cx.input(0).grid_names().iter().map(|n| format!("k{n}")).collect();
        let dims: Vec<(String, usize)> = names.into_iter().zip(windows.iter().map(|w| w.kernel)).collect();
        let clipped = windows.iter().any(|w| w.overhang() != (0, 0));
        // Taps beyond the padding (of a partial window) never count, taps on padding only with `count_pad`.
        let cut = windows.iter().any(|w| w.overhang().1 > w.hi);
        let counting = self.kind == PoolKind::Avg && if self.count_pad { cut } else { clipped };
        cx.for_each_output(|cx, out| {
            let acc = cx.b.let_(self.start());
            let count = counting.then(|| cx.b.let_(0.0));
            serial(cx, &dims, |cx, taps| {
                let mut at = out[..2].to_vec();
                at.extend(windows.iter().zip(&out[2..]).zip(taps).map(|((w, p), k)| seen(w, p, k)));
                let inside = bounds(windows, &at[2..], |w| (0, w.input as i64));
                let padded = bounds(windows, &at[2..], |w| (-(w.lo as i64), (w.input + w.hi) as i64));
                if let (Some(count), true) = (count, self.count_pad) {
                    guard(cx, padded, |cx| cx.b.set(count, Expr::Reg(count) + 1.0.into()));
                }
                guard(cx, inside, |cx| {
                    self.take(cx, acc, &at);
                    if let (Some(count), false) = (count, self.count_pad) {
                        cx.b.set(count, Expr::Reg(count) + 1.0.into());
                    }
                });
            });
            let taps: usize = windows.iter().map(|w| w.kernel).product();
            let value = self.end(acc, count.map_or(Expr::Const(taps as f32), Expr::Reg));
            cx.store(out, value);
        });
    }

    fn lower_regions(&self, cx: &mut LowerCx<'_>, regions: &[usize]) {
        let x = cx.input(0).clone();
        let extents = region_extents(&x, regions);
        let dims: Vec<(String, usize)> =
            x.grid_names().iter().zip(&extents).map(|(n, e)| (format!("k{n}"), *e)).collect();
        cx.for_each_output(|cx, out| {
            let acc = cx.b.let_(self.start());
            let mut count = Expr::Const(1.0);
            let mut starts = Vec::new();
            let mut ends = Vec::new();
            for ((p, n), g) in out[2..].iter().zip(x.grid_dims()).zip(regions) {
                let (n, g) = (*n as i64, *g as i64);
                if n % g == 0 {
                    starts.push(p * (n / g));
                    ends.push(None);
                    count = count * Expr::Const((n / g) as f32);
                    continue;
                }
                let start = Affine::from(cx.b.div("start", p * n, g));
                let end = Affine::from(cx.b.div("end", (p * n).offset(n + g - 1), g));
                count = count * Expr::Index(end.minus(&start));
                starts.push(start);
                ends.push(Some(end));
            }
            serial(cx, &dims, |cx, taps| {
                let mut at = out[..2].to_vec();
                at.extend(starts.iter().zip(taps).map(|(s, k)| s + k));
                let mut conds = Vec::new();
                for ((i, end), n) in at[2..].iter().zip(&ends).zip(x.grid_dims()) {
                    if let Some(end) = end {
                        conds.push(end.minus(i).offset(-1));
                        conds.push((i * -1).offset(*n as i64 - 1)); // follows from the other; states the bound
                    }
                }
                guard(cx, conds, |cx| self.take(cx, acc, &at));
            });
            let value = self.end(acc, count);
            cx.store(out, value);
        });
    }

    /// Over the whole grid, or over channels.
    fn lower_all(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        let dims: Vec<(String, usize)> = match self.over {
            Over::Channels { size, .. } => vec![("kc".to_owned(), size)],
            Over::Window(_) | Over::Global | Over::Grid(_) => {
                x.grid_names().iter().zip(x.grid_dims()).map(|(n, d)| (format!("k{n}"), *d)).collect()
            }
        };
        cx.for_each_output(|cx, out| {
            let acc = cx.b.let_(self.start());
            serial(cx, &dims, |cx, taps| {
                let mut at = out.to_vec();
                match self.over {
                    Over::Channels { stride, dilation, .. } => {
                        at[1] = &(&out[1] * stride as i64) + &(&taps[0] * dilation as i64);
                    }
                    Over::Window(_) | Over::Global | Over::Grid(_) => at.extend_from_slice(taps),
                }
                self.take(cx, acc, &at);
            });
            let value = self.end(acc, Expr::Const(self.taps(&x) as f32));
            cx.store(out, value);
        });
    }

    /// For references: extents of a window that nothing cuts, along each dimension of `x` after the batch.
    pub(super) fn full_window(&self, x: &[usize]) -> Vec<usize> {
        let channels = if let Over::Channels { size, .. } = self.over { size } else { 1 };
        let axis = |(axis, n): (usize, &usize)| match &self.over {
            Over::Channels { .. } => 1,
            Over::Global => *n,
            Over::Grid(g) if n % g[axis] == 0 => n / g[axis],
            Over::Grid(g) => (n.div_ceil(g[axis]) + 1).min(*n),
            Over::Window(spec) => spec.kernel[axis],
        };
        std::iter::once(channels).chain(x[2..].iter().enumerate().map(axis)).collect()
    }

    /// For references: along each dimension of `x` after the batch, the positions that each output position looks at.
    /// Negative or too large ones are padding.
    pub(super) fn looks(&self, x: &[usize], out: &[usize]) -> Vec<Vec<Vec<i64>>> {
        let each = |n: usize| (0..n as i64).map(|i| vec![i]).collect::<Vec<_>>();
        let mut all = vec![match self.over {
            Over::Channels { size, stride, dilation } => {
                (0..out[1]).map(|o| (0..size).map(|k| (o * stride + k * dilation) as i64).collect()).collect()
            }
            Over::Window(_) | Over::Global | Over::Grid(_) => each(x[1]),
        }];
        for (axis, n) in x[2..].iter().enumerate() {
            all.push(match &self.over {
                Over::Channels { .. } => each(*n),
                Over::Global => vec![(0..*n as i64).collect()],
                Over::Grid(g) => {
                    let g = g[axis];
                    (0..g).map(|o| (o * n / g..((o + 1) * n).div_ceil(g)).map(|i| i as i64).collect()).collect()
                }
                Over::Window(spec) => {
                    let (w, _) = spec.axis(axis, *n, self.partial).expect("the shape rule held");
                    let ends = w.lo as i64 + w.input as i64 + w.hi as i64;
                    let taps = |o| (0..w.kernel).map(move |k| w.position(o, k));
                    (0..w.out).map(|o| taps(o).filter(|i| i + (w.lo as i64) < ends).collect()).collect()
                }
            });
        }
        all
    }
}

/// Channels from the first to the last of a window of so many.
pub(super) fn channels_reach(size: usize, dilation: usize) -> usize {
    size.saturating_sub(1).saturating_mul(dilation).saturating_add(1)
}

/// Extents that every region of `x` divided into `regions` fits in.
fn region_extents(x: &TensorTy, regions: &[usize]) -> Vec<usize> {
    let extent = |(n, g): (&usize, &usize)| match n % g {
        0 => n / g,
        _ => (n.div_ceil(*g) + 1).min(*n),
    };
    x.grid_dims().iter().zip(regions).map(extent).collect()
}

/// Conditions `lo <= at < hi` on each axis where a window can break them.
fn bounds(windows: &[Window], at: &[Affine], range: impl Fn(&Window) -> (i64, i64)) -> Vec<Affine> {
    let mut conds = Vec::new();
    for (w, at) in windows.iter().zip(at) {
        let (lo, hi) = range(w);
        if w.position(0, 0) < lo {
            conds.push(at.offset(-lo));
        }
        if w.position(w.out - 1, w.kernel - 1) >= hi {
            conds.push((at * -1).offset(hi - 1));
        }
    }
    conds
}

impl OpRules for Pool {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        super::pool_args::attrs(self)
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let (channels, channels_why) = self.channels(x)?;
        let (grid, axes) = if self.over == Over::Global { Default::default() } else { self.grid(x)? };
        let mut dims = vec![("n", x.n()), ("c", channels)];
        dims.extend(x.grid_names().iter().map(|n| &**n).zip(grid));
        let extents: Vec<usize> = dims.iter().map(|d| d.1).collect();
        let ty = TensorTy::new(dims).map_err(|_| too_large("pool", &extents))?;
        let mut why = vec![Why::same(0, 0), channels_why];
        why.extend(axes);
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let x = at.inputs[0];
        let spread = PoolGrad::spread(self.clone(), e.ty(x));
        at.each(|_| {
            Ok(Some(match self.kind {
                PoolKind::Max => {
                    let index = PoolGrad { pool: self.clone(), part: Part::Index };
                    let index = e.op(index.into(), &[x])?;
                    e.op(spread.clone().into(), &[at.dy, index])?
                }
                PoolKind::Avg => e.op(spread.clone().into(), &[at.dy])?,
                // sign(x) |x|^(p-1) times the sum of dy y^(1-p)
                PoolKind::Lp(p) => {
                    let share = if p == 1.0 { at.dy } else { e.op(Power { exponent: 1.0 - p }.into(), &[at.y, at.dy])? };
                    let total = e.op(spread.clone().into(), &[share])?;
                    e.op(Power { exponent: p - 1.0 }.into(), &[x, total])?
                }
            }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let looks = self.looks(&x.dims, out.dims());
        Array::from_fn(out.dims(), |at| {
            let mut p = at[1..].to_vec();
            p.resize(looks.len(), 0); // a global pool leaves no grid
            let windows: Vec<&Vec<i64>> = looks.iter().zip(&p).map(|(l, o)| &l[*o]).collect();
            let extents: Vec<usize> = windows.iter().map(|w| w.len()).collect();
            let mut values = Vec::new();
            for_each_index(&extents, |k| {
                let mut from = vec![at[0] as i64];
                from.extend(windows.iter().zip(k).map(|(w, k)| w[*k]));
                values.extend(x.get(&from));
            });
            let taps = if self.count_pad { extents.iter().product() } else { values.len() };
            match self.kind {
                PoolKind::Max => {
                    values.iter().fold(f64::NEG_INFINITY, |m, v| if m.is_nan() || *v <= m { m } else { *v })
                }
                PoolKind::Avg => values.iter().sum::<f64>() / taps as f64,
                PoolKind::Lp(p) => {
                    let sum: f64 = values.iter().map(|v| libm::pow(v.abs(), p.into())).sum();
                    libm::pow(sum, 1.0 / f64::from(p))
                }
            }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let windows = self.windows(cx.input(0)).expect("the shape rule accepted these types");
        match (&self.over, windows) {
            (Over::Grid(regions), _) => self.lower_regions(cx, regions),
            (_, Some((windows, _))) => self.lower_windows(cx, &windows),
            (_, None) => self.lower_all(cx),
        }
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        // Vectors run over channels, unless these compete with their neighbours.
        let mut wants = Wants::any(inputs.len());
        if !matches!(self.over, Over::Channels { dilation: 1, .. }) {
            wants.inputs[0] = Want::Channels(vec![(0, 0); inputs[0].dims().len()]);
        }
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        gather::of(self).map_or(Role::Plain, Role::Gathers)
    }

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let taps = self.taps(inputs[0]) as u64;
        let per_output = match self.kind {
            PoolKind::Max => taps - 1,
            PoolKind::Avg => taps,
            PoolKind::Lp(_) => taps.saturating_mul(2),
        };
        Cost { macs: 0, flops: (out.len() as u64).saturating_mul(per_output) }
    }

    fn field(&self, _input: usize, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let x = inputs[0];
        if let Ok(Some((windows, _))) = self.windows(x) {
            let field = |w: &Window| Field::Window {
                stride: w.stride as u64,
                before: w.lo as i64,
                reach: w.reach() as u64,
            };
            return windows.iter().map(field).collect();
        }
        let regions = |(n, g): (&usize, &usize)| match n % g {
            0 => Field::Window { stride: (n / g) as u64, before: 0, reach: (n / g) as u64 },
            _ => Field::All,
        };
        match &self.over {
            Over::Grid(g) => x.grid_dims().iter().zip(g).map(regions).collect(),
            Over::Channels { .. } => pointwise(out),
            Over::Window(_) | Over::Global => Vec::new(),
        }
    }
}
