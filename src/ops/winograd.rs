//! Convolution with kernels of 3x3, steps of 1 and any dilation by minimal filtering F(m x m, 3x3) (Winograd 1980; Lavin & Gray 2016), with `m` 2
//! or 4: each `m x m` tile of outputs from a tile `d` of `m + 2` by `m + 2` inputs with 16 instead of 36, or 36 instead of 144,
//! multiplications per pair of maps,
//!
//! `y = A' [ Σ_i u[o, i] * (B' d_i B) ] A + b`, with `u[o, i] = G w[o, i] G'` made by [`super::winograd_weight`],
//!
//! and the matrices of [`super::minimal`], which says what they cost in rounding. With a dilation `q` the elements of a tile lie `q`
//! apart, and `q` tiles interleave along an axis. What is not finite in a tile reaches all
//! outputs of it. Only a pass makes it, out of convolutions and of the gradients by their inputs; the language has no name for it.

use super::args::{Attr, Attrs};
use super::bands::Bands;
use super::case::{Case, act, weight};
use super::geometry::{Linking, Share};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::minimal::Tile;
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::window::Window;
use super::winograd_nest::{Cut, lower};
use super::winograd_weight::WinogradWeight;
use super::{At, Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Below so many tiles a weight is not worth transforming in every run.
const MADE_MIN: usize = 24;

/// Below so many tiles a weight that was transformed when it was loaded comes from afar for too little work, if it is large.
const LOADED_MIN: usize = 16;

/// Below so many tiles too few lie side by side, small as the weight may be.
const TILES_MIN: usize = 4;

/// Of the definition's time the most that interleaved tiles may be expected to take: on narrower vectors transforms weigh more.
const APART: f64 = 0.6;

/// A transformed weight of more bytes is large.
const LARGE: usize = 1 << 20;

/// See the module. Inputs: `x`, the transformed weight `[o, i, t]` with a number for each product of a tile, and the bias `[o]` if
/// there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winograd {
    /// The outputs that are computed together.
    pub tile: Tile,
    /// Output channels.
    pub channels: usize,
    /// From one tap to the next on each axis.
    pub dilation: [usize; 2],
    /// Zeros before the input on each axis.
    pub lo: [usize; 2],
    /// The output's grid.
    pub size: [usize; 2],
    /// Whether a bias is added.
    pub bias: bool,
}

impl Winograd {
    /// Whether windows of this size lie within tiles, and a tile that reaches beyond the output does so by whole windows; and whether
    /// whole blocks of channels lie between the `channels` of a window, all of which are computed together.
    pub(super) fn hands(&self, x: &TensorTy, channels: usize, window: [usize; 2]) -> bool {
        if channels > 1 {
            let blocks = self.channels.is_multiple_of(channels * Cut::LANES);
            return window == [1, 1] && blocks && self.cut(x.n(), x.c()).is_some_and(|cut| cut.is_whole());
        }
        let whole = |a: usize| {
            window[a] > 0 && self.tile.outputs().is_multiple_of(window[a]) && self.size[a].is_multiple_of(window[a])
        };
        self.dilation == [1, 1] && whole(0) && whole(1)
    }
}

/// A convolution said anew.
pub struct Said {
    /// What transforms the weight.
    pub weight: WinogradWeight,
    /// What computes the output.
    pub conv: Winograd,
}

/// How `op` on `x` can be computed in tiles of this size.
///
/// # Errors
/// The reason why it cannot, in a few words.
pub fn of(op: &Op, x: &TensorTy, out: &TensorTy, tile: Tile) -> Result<Said, String> {
    let (geometry, channels, bias, transposed, windows) = if let Op::Conv(c) = op {
        let windows = c.windows(x).map_err(|e| e.message)?.0;
        (&c.geometry, c.channels, c.bias, false, windows)
    } else if let Op::Unconv(c) = op {
        (&c.geometry, c.channels, c.bias, true, c.forward_windows(x))
    } else {
        return Err("it is for convolutions".into());
    };
    if x.rank() != 2 || geometry.share != Share::All || geometry.links != Linking::Dense {
        return Err("it is for grids of rank 2 whose positions share weights and whose maps are all linked".into());
    }
    let kernel = |w: &Window| w.kernel == 3 && w.stride == 1;
    if !windows.iter().all(kernel) {
        return Err("it is for kernels of 3x3 with steps of 1".into());
    }
    if windows.iter().any(|w| w.lo > 2 * w.dilation) {
        return Err("the padding before the input is more than the kernel reaches".into());
    }
    if !maps(x, out).all(|c| c.is_multiple_of(Cut::LANES)) {
        let lanes = Cut::LANES;
        return Err(format!("its {} and {channels} maps are no multiples of {lanes}", x.c()));
    }
    let (grid, flip) = (out.grid_dims(), geometry.flip != transposed);
    let lo = |w: &Window| if transposed { 2 * w.dilation - w.lo } else { w.lo };
    let dilation = [windows[0].dilation, windows[1].dilation];
    let conv = Winograd { tile, channels, dilation, lo: [lo(&windows[0]), lo(&windows[1])], size: [grid[0], grid[1]], bias };
    conv.cut(x.n(), x.c()).ok_or_else(|| match tile {
        Tile::Two => "its buffers would be too large".to_owned(),
        Tile::Four => format!("{} maps are too few, or cut into no chains of a few blocks, to round well", x.c()),
    })?;
    Ok(Said { weight: WinogradWeight { tile, swap: transposed, flip }, conv })
}

/// The tile with which it is likely to be faster than the definition, by a rule that was measured (`--tune` measures it anew, layer
/// by layer). `loaded` says whether the weight is transformed when it is loaded, not in every run.
///
/// # Errors
/// The reason why there is none, in a few words.
pub fn pays(op: &Op, x: &TensorTy, out: &TensorTy, loaded: bool) -> Result<Tile, String> {
    let two = of(op, x, out, Tile::Two)?;
    if x.grid_dims().contains(&1) {
        return Err("most taps of the definition meet no input and are left out".into());
    }
    let dilation = two.conv.dilation;
    let along = |(e, q): (&usize, usize)| e.div_ceil(q).div_ceil(2) * q;
    let tiles = out.n() * out.grid_dims().iter().zip(dilation).map(along).product::<usize>();
    let bytes = maps(x, out).fold(64, usize::saturating_mul);
    let least = match (loaded, bytes > LARGE) {
        (false, _) => MADE_MIN,
        (true, true) => LOADED_MIN,
        (true, false) => TILES_MIN,
    };
    if tiles < least {
        let when = if loaded { "" } else { ", made in every run," };
        return Err(format!(
            "{tiles} tiles of 2x2 are too few for a weight of 16 instead of 9 elements a pair{when} to pay"
        ));
    }
    let cycles = |said: &Said| {
        let made = if loaded { 0.0 } else { said.weight.cycles(maps(x, out).product()) };
        said.conv.cut(x.n(), x.c()).map_or(f64::INFINITY, |cut| cut.cycles()) + made
    };
    let four = of(op, x, out, Tile::Four).ok().map(|four| cycles(&four));
    let best = four.unwrap_or(f64::INFINITY).min(cycles(&two));
    // Interleaved tiles cover grids badly that are not much longer than the kernel reaches, where the definition leaves out taps.
    if dilation != [1, 1] && best > APART * two.conv.by_definition(x) {
        return Err("tiles that interleave would reach far below the output".into());
    }
    Ok(if four.is_some_and(|four| four < cycles(&two)) { Tile::Four } else { Tile::Two })
}

/// Maps on either side.
fn maps(x: &TensorTy, out: &TensorTy) -> impl Iterator<Item = usize> {
    [x.c(), out.c()].into_iter()
}

impl Winograd {
    /// What printed graphs call it.
    pub const KIND: &'static str = "winograd";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let pair = |name: &str| -> Result<[usize; 2], String> {
            <[usize; 2]>::try_from(attrs.sizes(name)?).map_err(|_| format!("attribute `{name}` is no pair"))
        };
        let (lo, size) = (pair("lo")?, pair("size")?);
        let dilation = pair("dilation")?;
        if dilation.contains(&0) || (0..2).any(|d| lo[d] > dilation[d].saturating_mul(2)) || size.contains(&0) {
            return Err("attribute `lo` is more than the kernel reaches, or `size` or `dilation` is 0".into());
        }
        let tile = Tile::of(attrs.size("tile")?)?;
        Ok(Self { tile, channels: attrs.size("out")?, dilation, lo, size, bias: attrs.bool("bias")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, (n, c): (usize, usize), grid: [usize; 2], conv: Winograd| {
            let mut inputs = vec![
                act(n, c, &[("h", grid[0]), ("w", grid[1])]),
                weight(&[("o", conv.channels), ("i", c), ("t", conv.tile.numbers())]),
            ];
            if conv.bias {
                inputs.push(weight(&[("o", conv.channels)]));
            }
            Case::new(name, conv, inputs)
        };
        let of = |channels, lo, size, bias| Winograd {
            tile: Tile::Two,
            channels,
            dilation: [1, 1],
            lo,
            size,
            bias,
        };
        let dilated = |dilation, conv: Winograd| Winograd { dilation, ..conv };
        let four = |channels, lo, size, bias| Winograd { tile: Tile::Four, ..of(channels, lo, size, bias) };
        vec![
            case("even", (1, 16), [6, 8], of(16, [1, 1], [6, 8], true)),
            case("odd", (2, 32), [7, 5], of(16, [1, 1], [7, 5], false)),
            case("valid", (3, 16), [8, 9], of(48, [0, 0], [6, 7], true)),
            case("full", (1, 16), [5, 5], of(32, [2, 2], [7, 7], false)),
            case("bands", (1, 32), [26, 20], of(32, [1, 1], [26, 20], true)),
            case("parts of rows", (1, 64), [5, 498], of(64, [1, 1], [5, 498], true)),
            case("uneven bands", (2, 64), [19, 30], of(64, [1, 0], [19, 28], false)),
            case("dilated", (2, 16), [9, 14], dilated([2, 3], of(32, [2, 3], [9, 14], true))),
            case("dilated far", (1, 32), [6, 40], dilated([5, 12], of(16, [5, 12], [6, 40], false))),
            case("four, dilated", (1, 64), [26, 23], dilated([2, 4], four(64, [2, 3], [26, 21], true))),
            case("four, dilated, held", (4, 64), [9, 9], dilated([2, 2], four(16, [4, 4], [13, 13], false))),
            case("four", (1, 64), [8, 12], four(16, [1, 1], [8, 12], true)),
            case("four, odd", (3, 64), [7, 9], four(32, [1, 1], [7, 9], false)),
            case("four, full", (1, 64), [5, 6], four(16, [2, 2], [7, 8], false)),
            case("four, valid, chains", (2, 192), [13, 10], four(48, [0, 0], [11, 8], true)),
            case("four, bands", (1, 64), [50, 61], four(64, [1, 1], [50, 61], true)),
            case("four, samples held", (8, 128), [7, 7], four(128, [1, 1], [7, 7], true)),
        ]
    }

    /// Cycles of the definition, roughly: its products of which the taps meet the input.
    fn by_definition(&self, x: &TensorTy) -> f64 {
        let met = |axis: usize| -> f64 {
            let (q, lo, out, extent) = (self.dilation[axis], self.lo[axis], self.size[axis], x.grid_dims()[axis]);
            let of_tap = |k: usize| (extent + lo).saturating_sub(k * q).min(out).saturating_sub(lo.saturating_sub(k * q));
            (0..3).map(|k| of_tap(k) as f64).sum()
        };
        x.n() as f64 * met(0) * met(1) * x.c() as f64 * self.channels as f64 / Cut::LANES as f64
    }

    /// The bands of tiles in which it runs, if a band has whole rows.
    pub(super) fn bands(&self, x: &TensorTy) -> Option<Bands> {
        let (samples, rows) = self.cut(x.n(), x.c())?.bands()?;
        Some(Bands { samples, rows })
    }

    /// How the nest goes over its tiles on an input of `n` samples and `c` channels.
    pub(super) fn cut(&self, n: usize, c: usize) -> Option<Cut> {
        Cut::of(self.tile, n, [c, self.channels], self.size, self.dilation)
    }
}

impl OpRules for Winograd {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let ints = |pair: [usize; 2]| Attr::Ints(pair.iter().map(|e| *e as i64).collect());
        Attrs::default()
            .with("tile", Attr::Int(self.tile.outputs() as i64))
            .with("out", Attr::Int(self.channels as i64))
            .with("dilation", ints(self.dilation))
            .with("lo", ints(self.lo))
            .with("size", ints(self.size))
            .with("bias", Attr::Bool(self.bias))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, u) = (inputs[0], inputs[1]);
        let fits = x.rank() == 2
            && u.dims() == [self.channels, x.c(), self.tile.numbers()]
            && inputs.len() == 2 + usize::from(self.bias)
            && inputs.get(2).is_none_or(|b| b.dims() == [self.channels])
            && (0..2).all(|d| self.size[d] <= x.grid_dims()[d] + self.lo[d] + 2 * self.dilation[d]);
        if !fits || self.cut(x.n(), x.c()).is_none() {
            let message = format!("`winograd` of {} channels does not fit {x} and {u}", self.channels);
            return Err(OpError::new(codes::E0206, message).at(At::Input(1)));
        }
        let dims = [x.n(), self.channels, self.size[0], self.size[1]];
        let ty = shape_rules::resized("winograd", x, &dims)?;
        let why = dims.iter().map(|d| Why::given(format!("extent {d}"))).collect();
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `winograd`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (b, a) = (self.tile.input(), self.tile.output());
        let (m, span) = (self.tile.outputs(), self.tile.span());
        let (x, u) = (inputs[0], inputs[1]);
        let pixel = |n: usize, i: usize, h: i64, w: i64| -> f64 {
            let inside = |p: i64, extent: usize| (0..extent as i64).contains(&p);
            if inside(h, x.dims[2]) && inside(w, x.dims[3]) {
                x.at(&[n, i, h as usize, w as usize])
            } else {
                0.0
            }
        };
        let pairs = |extent: usize| (0..extent).flat_map(move |r| (0..extent).map(move |c| (r, c)));
        // Of a matrix on both axes of a tile.
        let twice = |matrix: &[Vec<f64>], tile: &[f64]| -> Vec<f64> {
            let element = |(i, j): (usize, usize)| pairs(span).map(|(k, l)| matrix[i][k] * matrix[j][l] * tile[k * span + l]).sum();
            pairs(matrix.len()).map(element).collect()
        };
        let mut y = Array::zeros(out.dims());
        // Tiles along an axis, those of each phase of the dilation together; a tile's place by its number.
        let along = |axis: usize| self.size[axis].div_ceil(self.dilation[axis]).div_ceil(m) * self.dilation[axis];
        let place = |tile: usize, k: usize, axis: usize| {
            let q = self.dilation[axis];
            (m * (tile / q) + k) * q + tile % q
        };
        let [rows, columns] = [along(0), along(1)];
        for (n, th, tw) in (0..out.n()).flat_map(|n| (0..rows).flat_map(move |h| (0..columns).map(move |w| (n, h, w)))) {
            let spread: Vec<Vec<f64>> = (0..x.dims[1])
                .map(|i| {
                    let at = |p: usize, k: usize, axis: usize| place(p, k, axis) as i64 - self.lo[axis] as i64;
                    let d: Vec<f64> = pairs(span).map(|(k, l)| pixel(n, i, at(th, k, 0), at(tw, l, 1))).collect();
                    twice(&b, &d)
                })
                .collect();
            for o in 0..self.channels {
                let product = |t: usize| -> f64 { spread.iter().enumerate().map(|(i, v)| u.at(&[o, i, t]) * v[t]).sum() };
                let products: Vec<f64> = (0..self.tile.numbers()).map(product).collect();
                for ((k, l), sum) in pairs(m).zip(twice(&a, &products)) {
                    let (h, w) = (place(th, k, 0), place(tw, l, 1));
                    if h < self.size[0] && w < self.size[1] {
                        let at = y.offset(&[n, o, h, w]);
                        y.data[at] = sum + inputs.get(2).map_or(0.0, |b| b.at(&[o]));
                    }
                }
            }
        }
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        lower(cx, self);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        let x = inputs[0];
        let mut wants = Wants::any(inputs.len());
        if let Some(cut) = self.cut(x.n(), x.c()) {
            let reach = cut.reach();
            let below = |d: usize| (self.tile.outputs() * reach[d] + 2) * self.dilation[d];
            let halo = (0..2).map(|d| (self.lo[d], below(d).saturating_sub(self.lo[d] + x.grid_dims()[d])));
            wants.inputs[0] = Want::Channels([(0, 0), (0, 0)].into_iter().chain(halo).collect());
        }
        wants.inputs[1] = Want::Order(vec![2, 1, 0]);
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    /// Of the convolution that it stands for.
    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let macs = (out.len() as u64).saturating_mul(9 * inputs[0].c() as u64);
        let sums = if self.bias { 0 } else { out.len() as u64 };
        Cost { macs, flops: macs.saturating_mul(2).saturating_sub(sums) }
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        let window = |(lo, q): (&usize, usize)| Field::Window { stride: 1, before: *lo as i64, reach: 2 * q as u64 + 1 };
        self.lo.iter().zip(self.dilation).map(window).collect()
    }
}
