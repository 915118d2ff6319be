//! The geometry of the convolution family: which input meets which output through which weight.
//!
//! A convolution, its transpose and its weight gradient are three operations over one [`Geometry`]: a window per grid axis,
//! a sharing of weights between positions, and links between channels. All three follow from one sum of products
//! `y * w * x`, which [`Geometry::for_each_product`] enumerates for the references.
//!
//! Weights, in the order of weight files (PyTorch's where PyTorch has the layer):
//!
//! | sharing, links | dimensions |
//! |---|---|
//! | all, dense or groups | `[o, i/groups, k…]` |
//! | all, table | `[links, k…]`: one kernel per link, the links of output map 0 first, each row ascending |
//! | tile, none | the same behind `[th, tw]`, or `[oh, ow]`: one set of weights per phase, or per position |
//!
//! A bias has one value per output map and set of weights (`[o]`, `[th, tw, o]`, `[oh, ow, o]`), as the chapter suggests.

use std::sync::Arc;

use super::args::{ArgValue, Attr, Attrs, CallArgs, Links};
use super::shape_rules::wrong_type;
use super::window::{Window, WindowSpec, check_range, padding, per_axis};
use super::{At, OpError};
use crate::support::codes;
use crate::tensor::ty::TensorTy;

/// Which positions share weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// One set of weights everywhere: convolution.
    All,
    /// A cycle of sets of this extent: tiled convolution.
    Tile(Vec<usize>),
    /// A set per position: local connection.
    None,
}

/// Which input channels feed which output channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linking {
    /// Each feeds each.
    Dense,
    /// In this number of separate groups.
    Groups(usize),
    /// As a table says.
    Table(Arc<Links>),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Kernel, stride, dilation, padding.
    pub window: WindowSpec,
    /// Sharing of weights between positions.
    pub share: Share,
    /// Links between channels.
    pub links: Linking,
    /// Whether taps run backwards over the input (convolution in the mathematical sense).
    pub flip: bool,
}

/// One term of the family's sum, as offsets into row-major tensors.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// In the input.
    pub x: usize,
    /// In the weights.
    pub w: usize,
    /// In the output.
    pub y: usize,
}

impl Geometry {
    /// Whether all positions share one kernel that links all maps with all.
    pub fn is_plain(&self) -> bool {
        self.share == Share::All && self.links == Linking::Dense
    }

    /// From the arguments `kernel stride pad dilate groups links share flip` of a call on `x`.
    ///
    /// # Errors
    /// E0106 without a kernel on a grid, E0203, E0204, E0401 for its numbers, E0304 when sharing or links exclude each other.
    pub fn from_args(op: &str, args: &CallArgs, x: &TensorTy) -> Result<Self, OpError> {
        let kernel = match per_axis(op, args, "kernel", x, 1)? {
            Some(kernel) => kernel,
            None if x.rank() == 0 => Vec::new(),
            None => {
                let message =
                    format!("the kernel is missing: the grid of {} has rank {}", x.show(), x.rank());
                return Err(OpError::new(codes::E0106, message)
                    .try_arg("kernel", "3")
                    .try_arg("kernel", "1"));
            }
        };
        let ones = vec![1; x.rank()];
        let window = WindowSpec {
            kernel,
            stride: per_axis(op, args, "stride", x, 1)?.unwrap_or_else(|| ones.clone()),
            dilation: per_axis(op, args, "dilate", x, 1)?.unwrap_or(ones),
            pad: padding(op, args, x)?,
        };
        let links = linking(op, args)?;
        Ok(Self { window, share: share(op, args, x)?, links, flip: args.bool("flip").unwrap_or(false) })
    }

    /// Checks the channels against the links.
    ///
    /// # Errors
    /// E0303 when the groups do not divide them, E0302 when the table has other numbers of maps.
    pub fn check_channels(&self, inputs: usize, outputs: usize) -> Result<(), OpError> {
        match &self.links {
            Linking::Dense => Ok(()),
            Linking::Groups(g) if inputs.is_multiple_of(*g) && outputs.is_multiple_of(*g) => Ok(()),
            Linking::Groups(g) => {
                let (side, count) =
                    if inputs.is_multiple_of(*g) { ("output", outputs) } else { ("input", inputs) };
                let message = format!("`groups: {g}` does not divide the {count} {side} channels");
                let error = OpError::new(codes::E0303, message)
                    .at(At::Arg("groups"))
                    .label(format!("{inputs} input channels, {outputs} output channels"))
                    .blame(0, 1);
                let fits = (1..=*g).rev().find(|d| inputs.is_multiple_of(*d) && outputs.is_multiple_of(*d));
                Err(fits.map_or(error.clone(), |d| error.try_arg("groups", d.to_string())))
            }
            Linking::Table(t) if t.inputs == inputs && t.rows.len() == outputs => Ok(()),
            Linking::Table(t) => {
                let rows = t.rows.len();
                let message = format!(
                    "the table links {} input maps to {rows} output maps, but the layer has {inputs} and {outputs}",
                    t.inputs
                );
                let error = OpError::new(codes::E0302, message).at(At::Arg("links")).blame(0, 1);
                Err(if t.inputs == inputs { error.try_arg("out", rows.to_string()) } else { error })
            }
        }
    }

    /// Checks that every set of weights is used on an output grid `out`.
    ///
    /// # Errors
    /// E0204 when a tile is larger than the grid.
    pub fn check_tile(&self, out: &[usize]) -> Result<(), OpError> {
        let Share::Tile(tile) = &self.share else { return Ok(()) };
        if tile.iter().zip(out).all(|(t, o)| t <= o) {
            return Ok(());
        }
        let show = |v: &[usize]| v.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let message =
            format!("a tile of {} sets of weights is larger than the output grid {}", show(tile), show(out));
        let fits: Vec<usize> = tile.iter().zip(out).map(|(t, o)| *t.min(o)).collect();
        Err(OpError::new(codes::E0204, message)
            .at(At::Arg("share"))
            .try_arg("share", format!("tile({})", show(&fits)))
            .try_arg("share", "none"))
    }

    /// Extents of the grid of weight sets for an output grid: empty when all share.
    pub fn sets(&self, out: &[usize]) -> Vec<usize> {
        match &self.share {
            Share::All => Vec::new(),
            Share::Tile(t) => t.clone(),
            Share::None => out.to_vec(),
        }
    }

    /// The weight's type for input type `x`, `outputs` channels and output grid `out`.
    ///
    /// # Errors
    /// E0208 when it is too large.
    pub fn weight_ty(&self, x: &TensorTy, outputs: usize, out: &[usize]) -> Result<TensorTy, OpError> {
        let mut dims = self.set_dims(x, out);
        match &self.links {
            Linking::Dense => dims.extend([("o".to_owned(), outputs), ("i".to_owned(), x.c())]),
            Linking::Groups(g) => dims.extend([("o".to_owned(), outputs), ("i".to_owned(), x.c() / g)]),
            Linking::Table(t) => dims.push(("links".to_owned(), t.rows.iter().map(Vec::len).sum())),
        }
        let taps = x.grid_names().iter().zip(&self.window.kernel);
        dims.extend(taps.map(|(name, k)| (format!("k{name}"), *k)));
        sized(dims, "weights")
    }

    /// The bias's type.
    ///
    /// # Errors
    /// E0208 when it is too large.
    pub fn bias_ty(&self, x: &TensorTy, outputs: usize, out: &[usize]) -> Result<TensorTy, OpError> {
        let mut dims = self.set_dims(x, out);
        dims.push(("o".to_owned(), outputs));
        sized(dims, "biases")
    }

    fn set_dims(&self, x: &TensorTy, out: &[usize]) -> Vec<(String, usize)> {
        let prefix = if self.share == Share::None { "o" } else { "t" };
        x.grid_names().iter().zip(self.sets(out)).map(|(n, d)| (format!("{prefix}{n}"), d)).collect()
    }

    /// The order of the weight's dimensions, outermost first, in which output channels lie side by side (`outputs_fastest`)
    /// or input channels do; sets outermost, then taps, so that a kernel reads weights as they come.
    pub fn packing(&self, outputs_fastest: bool) -> Vec<usize> {
        let sets = if self.share == Share::All { 0 } else { self.window.kernel.len() };
        let rank = self.window.kernel.len();
        let mut order: Vec<usize> = (0..sets).collect();
        match (&self.links, outputs_fastest) {
            (Linking::Table(_), _) => order.extend(sets..sets + 1 + rank),
            (_, true) => {
                order.extend(sets + 2..sets + 2 + rank);
                order.extend([sets + 1, sets]);
            }
            (_, false) => {
                order.extend(sets + 2..sets + 2 + rank);
                order.extend([sets, sets + 1]);
            }
        }
        order
    }

    /// Number of links between single channels.
    pub fn link_count(&self, inputs: usize, outputs: usize) -> usize {
        match &self.links {
            Linking::Dense => inputs.saturating_mul(outputs),
            Linking::Groups(g) => inputs.saturating_mul(outputs) / g,
            Linking::Table(t) => t.rows.iter().map(Vec::len).sum(),
        }
    }

    /// Number of taps of a kernel.
    pub fn taps(&self) -> usize {
        self.window.kernel.iter().product()
    }

    /// Inputs that feed one output and outputs (of one position) that one input feeds, averaged over a table's rows.
    pub fn fans(&self, inputs: usize, outputs: usize) -> (usize, usize) {
        let links = self.link_count(inputs, outputs);
        let mean = |maps: usize| (links.div_ceil(maps.max(1)) * self.taps()).max(1);
        (mean(outputs), mean(inputs))
    }

    /// Output channels that no input feeds.
    pub fn unlinked(&self) -> usize {
        match &self.links {
            Linking::Dense | Linking::Groups(_) => 0,
            Linking::Table(t) => t.rows.iter().filter(|r| r.is_empty()).count(),
        }
    }

    /// Every product of the sum `y[n, o, p] += w[set(p), o, i, k] * x[n, i, window(p, k)]` once, terms in the padding left out.
    /// For the references: plain loops on grids of rank up to 3.
    pub fn for_each_product(
        &self,
        x: &[usize],
        outputs: usize,
        windows: &[Window],
        mut f: impl FnMut(Product),
    ) {
        let flat = Window { input: 1, out: 1, kernel: 1, stride: 1, dilation: 1, lo: 0, hi: 0 };
        let mut win = [flat; 3];
        let skip = 3 - windows.len();
        win[skip..].copy_from_slice(windows);
        let [a, b, c] = win;
        let sets: [usize; 3] = match &self.share {
            Share::All => [1; 3],
            Share::None => [a.out, b.out, c.out],
            Share::Tile(t) => std::array::from_fn(|i| if i < skip { 1 } else { t[i - skip] }),
        };
        let size = a.kernel * b.kernel * c.kernel;
        let links = self.link_count(x[1], outputs);
        let plane = a.input * b.input * c.input;
        let positions = a.out * b.out * c.out;
        for p in 0..positions {
            let at = [p / (b.out * c.out), p / c.out % b.out, p % c.out];
            let set = (at[0] % sets[0] * sets[1] + at[1] % sets[1]) * sets[2] + at[2] % sets[2];
            let mut taps = Vec::new();
            self.for_each_tap(&win, at, |x, w| taps.push((x, w)));
            for n in 0..x[0] {
                let mut link = set * links;
                for o in 0..outputs {
                    let y = (n * outputs + o) * positions + p;
                    for l in 0..self.degree(o, x[1]) {
                        let from = (n * x[1] + self.input(o, l, x[1], outputs)) * plane;
                        for (x, w) in &taps {
                            f(Product { x: from + x, w: link * size + w, y });
                        }
                        link += 1;
                    }
                }
            }
        }
    }

    /// For the window at `p`: offset in the input's plane and offset in the kernel of each tap that meets the input.
    fn for_each_tap(&self, [a, b, c]: &[Window; 3], p: [usize; 3], mut f: impl FnMut(usize, usize)) {
        let inside = |w: &Window, p, k| usize::try_from(w.position(p, k)).ok().filter(|q| *q < w.input);
        let tap = |w: &Window, k| if self.flip { w.kernel - 1 - k } else { k };
        for ka in 0..a.kernel {
            let Some(qa) = inside(a, p[0], ka) else { continue };
            for kb in 0..b.kernel {
                let Some(qb) = inside(b, p[1], kb) else { continue };
                for kc in 0..c.kernel {
                    let Some(qc) = inside(c, p[2], kc) else { continue };
                    let k = (tap(a, ka) * b.kernel + tap(b, kb)) * c.kernel + tap(c, kc);
                    f((qa * b.input + qb) * c.input + qc, k);
                }
            }
        }
    }

    /// How many input channels feed output channel `o`.
    fn degree(&self, o: usize, inputs: usize) -> usize {
        match &self.links {
            Linking::Dense => inputs,
            Linking::Groups(g) => inputs / g,
            Linking::Table(t) => t.rows[o].len(),
        }
    }

    /// The `l`th input channel that feeds output channel `o`.
    fn input(&self, o: usize, l: usize, inputs: usize, outputs: usize) -> usize {
        match &self.links {
            Linking::Dense => l,
            Linking::Groups(g) => o / (outputs / g) * (inputs / g) + l,
            Linking::Table(t) => t.rows[o][l] as usize,
        }
    }

    /// As printed attributes.
    pub(super) fn attrs(&self, attrs: Attrs) -> Attrs {
        let attrs = self.window.attrs(attrs);
        let attrs = match &self.share {
            Share::All => attrs.with("share", Attr::Word("all".into())),
            Share::Tile(t) => attrs.with("share", Attr::Ints(t.iter().map(|d| *d as i64).collect())),
            Share::None => attrs.with("share", Attr::Word("none".into())),
        };
        let attrs = match &self.links {
            Linking::Dense => attrs.with("links", Attr::Word("dense".into())),
            Linking::Groups(g) => attrs.with("links", Attr::Int(*g as i64)),
            Linking::Table(t) => {
                let rows = t.rows.iter().map(|r| r.iter().map(|i| i64::from(*i)).collect()).collect();
                attrs.with("links", Attr::Lists(rows)).with("maps", Attr::Int(t.inputs as i64))
            }
        };
        attrs.with("flip", Attr::Bool(self.flip))
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let window = WindowSpec::from_attrs(attrs)?;
        let share = match attrs.get("share")? {
            Attr::Word(w) if w == "all" => Share::All,
            Attr::Word(w) if w == "none" => Share::None,
            _ => Share::Tile(attrs.sizes("share")?),
        };
        if let Share::Tile(t) = &share
            && (t.len() != window.kernel.len() || t.contains(&0))
        {
            return Err("a tile needs one extent of at least 1 per axis".into());
        }
        let links = match attrs.get("links")? {
            Attr::Word(w) if w == "dense" => Linking::Dense,
            Attr::Int(g) if *g >= 1 => Linking::Groups(*g as usize),
            Attr::Lists(rows) => table_from_attrs(rows, attrs.size("maps")?)?,
            Attr::Word(_) | Attr::Int(_) | Attr::Float(_) | Attr::Bool(_) | Attr::Ints(_) => {
                return Err("`links` is neither `dense`, a number of groups, nor rows".into());
            }
        };
        Ok(Self { window, share, links, flip: attrs.bool("flip")? })
    }
}

/// Checks the weights that an operation was given against those that it needs.
///
/// # Errors
/// E0215 when they differ.
pub(super) fn fit_weights(given: &[&TensorTy], needed: &[&TensorTy]) -> Result<(), OpError> {
    if given.len() == needed.len() && given.iter().zip(needed).all(|(g, n)| g.dims() == n.dims()) {
        return Ok(());
    }
    let show = |types: &[&TensorTy]| types.iter().map(|t| t.show()).collect::<Vec<_>>().join(" and ");
    let message = format!("the layer's weights are {}, but this input needs {}", show(given), show(needed));
    Err(OpError::new(codes::E0215, message).blame(0, 1))
}

fn table_from_attrs(rows: &[Vec<i64>], inputs: usize) -> Result<Linking, String> {
    let mut table = Links { inputs, rows: Vec::new() };
    for row in rows {
        let ascending = row.windows(2).all(|w| w[0] < w[1]);
        let maps: Option<Vec<u32>> =
            row.iter().map(|i| u32::try_from(*i).ok().filter(|i| (*i as usize) < inputs)).collect();
        match maps {
            Some(maps) if ascending => table.rows.push(maps),
            _ => return Err(format!("a row of links is not ascending below {inputs}")),
        }
    }
    Ok(Linking::Table(Arc::new(table)))
}

fn sized(dims: Vec<(String, usize)>, what: &str) -> Result<TensorTy, OpError> {
    let extents: Vec<String> = dims.iter().map(|(_, d)| d.to_string()).collect();
    TensorTy::new(dims).map_err(|_| {
        let message = format!("the layer's {what} would have {} elements", extents.join("*"));
        OpError::new(codes::E0208, message)
    })
}

fn linking(op: &str, args: &CallArgs) -> Result<Linking, OpError> {
    let groups = args.get("groups").map(|_| args.int("groups").ok_or_else(|| wrong_type(op, "groups")));
    match (groups.transpose()?, args.get("links")) {
        (Some(_), Some(_)) => {
            let message =
                "`groups` and `links` both say which channels are linked; a layer takes one of them";
            Err(OpError::new(codes::E0304, message).at(At::Arg("links")))
        }
        (Some(1), None) | (None, None) => Ok(Linking::Dense),
        (Some(g), None) => Ok(Linking::Groups(check_range("groups", g, 1)?)),
        (None, Some(ArgValue::Table(table))) => Ok(Linking::Table(table.clone())),
        (None, Some(_)) => Err(wrong_type(op, "links")),
    }
}

fn share(op: &str, args: &CallArgs, x: &TensorTy) -> Result<Share, OpError> {
    match args.get("share") {
        None => Ok(Share::All),
        Some(ArgValue::Word(w)) if &**w == "all" => Ok(Share::All),
        Some(ArgValue::Word(w)) if &**w == "none" => Ok(Share::None),
        Some(ArgValue::Call(name, given)) if &**name == "tile" => {
            let value = match given.as_slice() {
                [(None, value)] => value.clone(),
                _ => {
                    let message = "`tile` takes the extent of the tile: `tile(2x2)`";
                    return Err(OpError::new(codes::E0107, message).at(At::Arg("share")));
                }
            };
            let tile = per_axis(op, &CallArgs { values: vec![("share", value)] }, "share", x, 1)?;
            Ok(Share::Tile(tile.unwrap_or_default()))
        }
        Some(ArgValue::Word(w)) if &**w == "tile" => {
            let message = "`tile` needs the extent of the tile: `tile(2x2)`";
            Err(OpError::new(codes::E0107, message).at(At::Arg("share")))
        }
        Some(_) => Err(wrong_type(op, "share")),
    }
}
