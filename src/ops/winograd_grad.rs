//! The gradient by the weight of a convolution with kernels of 3x3 and steps of 1, by minimal filtering F(3x3, m x m): the transpose of
//! [`super::winograd`] by its weight (Winograd 1980; Lavin & Gray 2016, section 4.1). Each `m x m` tile `z` of gradients by the
//! output and the tile `d` of inputs under it, two longer, add to 16 or 36 numbers per pair of maps, where the definition adds 36
//! or 144 products:
//!
//! `m[o, i] = Σ_tiles (A z_o A') * (B' d_i B)`, and `dw = G' m G`,
//!
//! with the matrices of [`super::minimal`]. Where several partial sums run at once, `m` is the output, of which
//! [`super::winograd_fold`] makes `dw`; it lies in blocks as the nest makes it, `[s, op, ip, t, ob, ib, il, ol]`: partial sums `s`, parts
//! of output and input maps, the numbers of a tile row by row, then maps within a part. Only a pass makes it.

use super::args::{Attr, Attrs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::minimal::Tile;
use super::role::Role;
use super::squares::Squares;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::winograd_fold::WinogradFold;
use super::winograd_grad_nest::{Cut, lower};
use super::{At, Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::ops::geometry::{Linking, Share};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Below so many tiles the folding of the weight costs what multiplications save.
const TILES_MIN: usize = 32;

/// See the module. Inputs: `x`, and `dy`, the gradient by the layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinogradGrad {
    /// The gradients by outputs that are taken together.
    pub tile: Tile,
    /// Zeros before the input on each axis.
    pub lo: [usize; 2],
    /// Whether the output is the gradient, not sums.
    pub folded: bool,
    /// Whether the gradient's taps run backwards.
    pub flip: bool,
}

/// A gradient by a weight said anew.
pub struct Said {
    /// What sums over tiles.
    pub sums: WinogradGrad,
    /// What makes the gradient of them, if they are not folded.
    pub fold: Option<WinogradFold>,
}

/// How `op` on `x` and `dy` can be computed in tiles of this size.
///
/// # Errors
/// The reason why it cannot, in a few words.
pub fn of(op: &Op, x: &TensorTy, dy: &TensorTy, tile: Tile) -> Result<Said, String> {
    let Op::ConvGrad(op) = op else { return Err("it is for gradients by weights".into()) };
    let geometry = &op.geometry;
    if x.rank() != 2 || geometry.share != Share::All || geometry.links != Linking::Dense {
        return Err("it is for grids of rank 2 whose positions share weights and whose maps are all linked".into());
    }
    let windows = op.windows(x, dy).map_err(|e| e.message)?;
    if !windows.iter().all(|w| w.kernel == 3 && w.stride == 1 && w.dilation == 1 && w.lo <= 2) {
        return Err("it is for kernels of 3x3 with stride and dilation 1 and padding up to 2".into());
    }
    let Some(cut) = Cut::of(tile, x, dy) else {
        let maps = format!("its {} and {} maps", x.c(), dy.c());
        return Err(format!("{maps} are no multiples of 16, or buffers for them would be too large"));
    };
    let (folded, flip) = (cut.sums == 1, geometry.flip);
    let sums = WinogradGrad { tile, lo: [windows[0].lo, windows[1].lo], folded, flip };
    Ok(Said { sums, fold: (!folded).then_some(WinogradFold { tile, flip }) })
}

/// The tile with which it is likely to be faster than the definition, by a rule.
///
/// # Errors
/// The reason why there is none, in a few words.
pub fn pays(op: &Op, x: &TensorTy, dy: &TensorTy) -> Result<Tile, String> {
    of(op, x, dy, Tile::Two)?;
    let tiles = dy.n() * dy.grid_dims().iter().map(|e| e.div_ceil(2)).product::<usize>();
    if tiles < TILES_MIN {
        return Err(format!("{tiles} tiles of 2x2 are too few to make a weight of 9 from 16 elements a pair for"));
    }
    let cycles = |tile| Cut::of(tile, x, dy).map_or(f64::INFINITY, |cut| cut.cycles());
    Ok(if cycles(Tile::Four) < cycles(Tile::Two) { Tile::Four } else { Tile::Two })
}

impl WinogradGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "winograd_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let lo = <[usize; 2]>::try_from(attrs.sizes("lo")?).map_err(|_| "attribute `lo` is no pair")?;
        if lo.iter().any(|l| *l > 2) {
            return Err("attribute `lo` is more than 2".into());
        }
        let tile = Tile::of(attrs.size("tile")?)?;
        Ok(Self { tile, lo, folded: attrs.bool("folded")?, flip: attrs.bool("flip")? })
    }

    /// The sums of squares that it makes in passing where it is folded.
    pub(super) fn squares(&self, x: &TensorTy, dy: &TensorTy) -> Option<Squares> {
        super::winograd_fold::squares_of(Cut::of(self.tile, x, dy)?.outputs())
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, (n, c, o): (usize, usize, usize), grid: [usize; 2], lo: [usize; 2], size: [usize; 2]| {
            let of = |c, size: [usize; 2]| act(n, c, &[("h", size[0]), ("w", size[1])]);
            let inputs = vec![of(c, grid), of(o, size)];
            let once = |tile| Cut::of(tile, &inputs[0], &inputs[1]).is_some_and(|cut| cut.sums == 1);
            let ways = Tile::ALL.into_iter().flat_map(|tile| [(tile, false), (tile, true)]);
            let ways = ways.filter(|(tile, folded)| !folded || once(*tile));
            let of = |(tile, folded): (Tile, bool)| {
                let name = format!("{name}, {}{}", tile.gradient(), if folded { ", folded" } else { "" });
                Case::new(name, Self { tile, lo, folded, flip: folded && tile == Tile::Four }, inputs.clone())
            };
            ways.map(of).collect::<Vec<_>>()
        };
        let all = [
            case("even", (4, 16, 16), [16, 16], [1, 1], [16, 16]),
            case("odd", (16, 32, 16), [7, 5], [1, 1], [7, 5]),
            case("valid", (11, 16, 48), [12, 9], [0, 0], [10, 7]),
            case("full", (16, 16, 32), [5, 5], [2, 2], [7, 7]),
            case("parts", (16, 128, 144), [8, 6], [1, 1], [8, 6]),
            case("bands", (8, 32, 32), [26, 20], [1, 0], [26, 18]),
            case("wide", (1, 32, 64), [3, 600], [1, 1], [3, 600]),
        ];
        all.into_iter().flatten().collect()
    }
}

impl OpRules for WinogradGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
            .with("tile", Attr::Int(self.tile.outputs() as i64))
            .with("lo", Attr::Ints(self.lo.iter().map(|e| *e as i64).collect()))
            .with("folded", Attr::Bool(self.folded))
            .with("flip", Attr::Bool(self.flip))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, dy) = (inputs[0], inputs[1]);
        let grids = x.rank() == 2 && dy.rank() == 2 && x.n() == dy.n();
        let near = |d: usize| dy.grid_dims()[d] <= x.grid_dims()[d] + self.lo[d] + 2;
        let cut = if grids && near(0) && near(1) { Cut::of(self.tile, x, dy) } else { None };
        let Some(cut) = cut.filter(|cut| !self.folded || cut.sums == 1) else {
            let message = format!("`winograd_grad` does not fit {x} and {dy}");
            return Err(OpError::new(codes::E0206, message).at(At::Input(1)));
        };
        if self.folded {
            let dims = [("o", dy.c()), ("i", x.c()), ("kh", 3), ("kw", 3)];
            let ty = TensorTy::new(dims).map_err(|_| shape_rules::too_large("winograd_grad", &[dy.c(), x.c(), 3, 3]))?;
            return Ok(Inferred { ty, why: vec![Why::given("the layer's weight"); 4] });
        }
        let dims = cut.sums();
        let ty = TensorTy::new(dims)
            .map_err(|_| shape_rules::too_large("winograd_grad", &dims.map(|(_, extent)| extent)))?;
        Ok(Inferred { ty, why: vec![Why::given("sums over tiles"); dims.len()] })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `winograd_grad`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        if self.folded {
            // As one part.
            let (o, i) = (out.dims()[0], out.dims()[1]);
            let dims = [("s", 1), ("op", 1), ("ip", 1), ("t", self.tile.numbers()), ("ob", 1), ("ib", 1), ("il", i), ("ol", o)];
            let ty = TensorTy::new(dims).expect("smaller than the operation's buffers");
            let sums = Self { folded: false, ..*self }.reference(inputs, &ty);
            return WinogradFold { tile: self.tile, flip: self.flip }.reference(&[&sums], out);
        }
        let (b, a) = (self.tile.input(), self.tile.output());
        let (m, span) = (self.tile.outputs(), self.tile.span());
        let (x, dy) = (inputs[0], inputs[1]);
        let pixel = |from: &Array, n: usize, c: usize, h: i64, w: i64| -> f64 {
            let inside = |p: i64, extent: usize| (0..extent as i64).contains(&p);
            if inside(h, from.dims[2]) && inside(w, from.dims[3]) {
                from.at(&[n, c, h as usize, w as usize])
            } else {
                0.0
            }
        };
        let pairs = |side: usize| (0..side).flat_map(move |r| (0..side).map(move |c| (r, c)));
        let [groups, op, ip, _, ob, ib, il, ol] = <[usize; 8]>::try_from(out.dims()).expect("eight dimensions");
        let (c, o) = (ip * ib * il, op * ob * ol);
        let mut sums = Array::zeros(out.dims());
        for n in 0..x.dims[0] {
            let group = n * groups / x.dims[0];
            for (th, tw) in (0..dy.dims[2].div_ceil(m)).flat_map(|h| (0..dy.dims[3].div_ceil(m)).map(move |w| (h, w))) {
                let tile = |from: &Array, map: usize, lo: [usize; 2], (k, l): (usize, usize)| {
                    let at = |t: usize, k: usize, lo: usize| (m * t + k) as i64 - lo as i64;
                    pixel(from, n, map, at(th, k, lo[0]), at(tw, l, lo[1]))
                };
                for (p, q) in pairs(span) {
                    let spread: Vec<f64> = (0..c)
                        .map(|i| pairs(span).map(|(k, l)| b[p][k] * b[q][l] * tile(x, i, self.lo, (k, l))).sum())
                        .collect();
                    for map in 0..o {
                        let z: f64 = pairs(m).map(|(k, l)| a[k][p] * a[l][q] * tile(dy, map, [0, 0], (k, l))).sum();
                        for (i, d) in spread.iter().enumerate() {
                            let (part, block, lane) = (map / (ob * ol), map / ol % ob, map % ol);
                            let at =
                                [group, part, i / (ib * il), p * span + q, block, i / il % ib, i % il, lane];
                            let at = sums.offset(&at);
                            sums.data[at] += z * d;
                        }
                    }
                }
            }
        }
        sums
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        lower(cx, self);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        let (x, dy) = (inputs[0], inputs[1]);
        let mut wants = Wants::any(2);
        if let Some(cut) = Cut::of(self.tile, x, dy) {
            let tiles = cut.reach();
            let halo = |first: [usize; 2], grid: &[usize], over: usize| -> Want {
                let axis = |d: usize| (first[d], (self.tile.outputs() * tiles[d] + over).saturating_sub(first[d] + grid[d]));
                Want::Channels(vec![(0, 0), (0, 0), axis(0), axis(1)])
            };
            wants.inputs = vec![halo(self.lo, x.grid_dims(), 2), halo([0, 0], dy.grid_dims(), 0)];
        }
        if self.folded {
            // As the layer's weight lies for the layer itself.
            wants.output = Want::Order(vec![2, 3, 1, 0]);
        }
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    /// Of the gradient that it stands for.
    fn cost(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        let (x, dy) = (inputs[0], inputs[1]);
        let macs = (dy.len() as u64).saturating_mul(9 * x.c() as u64);
        Cost { macs, flops: macs.saturating_mul(2) }
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}
