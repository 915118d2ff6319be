//! Convolution (cross-correlation, chapter 9, equation 9.6) in all its kinds, on grids of rank 0 to 3:
//!
//! `y[n, o, p] = b[set(p), o] + sum over links i of o, taps k of w[set(p), o, i, k] * x[n, i, p*stride + k*dilation - lo]`
//!
//! with zeros where the window runs over the edge. `set(p)` is one set everywhere, `p mod tile` (tiled convolution), or `p`
//! (local connection); links are dense, grouped, or those of a table. See [`super::geometry`] for the weights' dimensions.
//! With `flip` the taps run backwards: `w[…, K - 1 - k]`. On a grid of rank 0 it is a dense map of the channels.

use super::conv_grad::ConvGrad;
use super::sum::Kept;
use super::unconv::Unconv;
use super::vjp::{Applied, Emit, Pulled};
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::Case;
use super::conv_nest;
use super::geometry::{Geometry, Linking, Share, fit_weights};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::role::{Linear, Role, WeightChannel};
use super::shape_rules::resized;
use super::window::{Window, check_range};
use super::{At, Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, start};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module. Inputs: `x`, the weight, and the bias if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Output channels.
    pub channels: usize,
    /// Which input meets which output through which weight.
    pub geometry: Geometry,
    /// Whether a bias is added.
    pub bias: bool,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    let channels = check_range("out", args.int("out").unwrap_or(0), 1)?;
    let geometry = Geometry::from_args("conv", args, x)?;
    let op = Conv { channels, geometry, bias: args.bool("bias").unwrap_or(true) };
    let (windows, _) = op.windows(x)?;
    let out: Vec<usize> = windows.iter().map(|w| w.out).collect();
    op.geometry.check_tile(&out)?;
    let weight = op.geometry.weight_ty(x, channels, &out)?;
    let bias = if op.bias { Some(op.geometry.bias_ty(x, channels, &out)?) } else { None };
    let fans = op.geometry.fans(x.c(), channels);
    let mut weights = start::specs("conv", args, weight, fans, bias)?;
    if let (Linking::Table(table), Some(spec)) = (&op.geometry.links, weights.first_mut()) {
        spec.init = start::for_links(spec.init.clone(), table, &spec.ty)?;
    }
    Ok(Made { ops: vec![op.into()], weights })
}

/// A parameter that must not be given by position and may be left out.
const fn option(name: &'static str, ty: ArgTy, default: &'static str, doc: &'static str) -> Param {
    Param { name, positional: false, required: false, ty, default, doc }
}

impl Conv {
    /// What printed graphs call it.
    pub const KIND: &'static str = "conv";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "conv",
        family: "affine",
        doc: "Convolution (cross-correlation, as in figure 9.1) to `out` channels; the grid follows the size rules.",
        tensors: (1, 1),
        params: &[
            Param {
                name: "out",
                positional: true,
                required: true,
                ty: ArgTy::Int,
                default: "",
                doc: "output channels",
            },
            Param {
                name: "kernel",
                positional: true,
                required: false,
                ty: ArgTy::Extent,
                default: "",
                doc: "taps per grid axis; needed unless the grid has rank 0",
            },
            option("stride", ArgTy::Extent, "1", "step between neighbouring outputs"),
            option("pad", ArgTy::Pad, "valid", "zeros around the grid"),
            option("dilate", ArgTy::Extent, "1", "step between neighbouring taps"),
            option("groups", ArgTy::Int, "1", "separate groups of channels; as many as channels is depthwise"),
            option("links", ArgTy::Table, "", "a table of which input map feeds which output map"),
            option("share", ArgTy::Share, "all", "which positions share weights: `all`, `tile(2x2)`, `none`"),
            start::BIAS,
            option("flip", ArgTy::Bool, "false", "reverse the taps: convolution in the mathematical sense"),
            start::INIT,
            start::WEIGHTS,
            start::TRAIN,
        ],
        example: "net Edges(x: [c: 1, h: 280, w: 320]) -> [c: 1, h: 280, w: 319] {\n    \
                  x |> conv(1, 1x2, weights: [-1, 1], bias: false, train: false)\n}",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let channels = attrs.size("out")?;
        Ok(Self { channels, geometry: Geometry::from_attrs(attrs)?, bias: attrs.bool("bias")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        super::conv_cases::conv()
    }

    /// The windows on the grid of `x`, with the reasons for the output's extents.
    ///
    /// # Errors
    /// As the shape rule.
    pub fn windows(&self, x: &TensorTy) -> Result<(Vec<Window>, Vec<Why>), OpError> {
        if x.rank() > 3 {
            let message = format!("`conv` takes grids of rank 0 to 3, not {}", x.show());
            return Err(OpError::new(codes::E0209, message).at(At::Input(0)));
        }
        self.geometry.check_channels(x.c(), self.channels)?;
        self.geometry.window.resolve(x, false)
    }

    /// The windows of an operation whose types were checked.
    fn checked(&self, x: &TensorTy) -> Vec<Window> {
        self.windows(x).map(|(w, _)| w).expect("the shape rule accepted these types")
    }
}

impl OpRules for Conv {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::default().with("out", Attr::Int(self.channels as i64));
        self.geometry.attrs(attrs).with("bias", Attr::Bool(self.bias))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let (windows, axes) = self.windows(x)?;
        let grid: Vec<usize> = windows.iter().map(|w| w.out).collect();
        self.geometry.check_tile(&grid)?;
        let weight = self.geometry.weight_ty(x, self.channels, &grid)?;
        let bias = self.geometry.bias_ty(x, self.channels, &grid)?;
        let needed = if self.bias { vec![&weight, &bias] } else { vec![&weight] };
        fit_weights(&inputs[1..], &needed)?;
        let mut dims = vec![x.n(), self.channels];
        dims.extend(grid);
        let ty = resized("conv", x, &dims)?;
        let mut why = vec![Why::same(0, 0), Why::given(format!("channels {}", self.channels))];
        why.extend(axes);
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, w) = (at.inputs[0], at.inputs[1]);
        at.each(|i| {
            let geometry = self.geometry.clone();
            Ok(Some(match i {
                0 => {
                    let (channels, size) = (e.ty(x).c(), Some(e.ty(x).grid_dims().to_vec()));
                    e.op(Unconv { channels, geometry, size, bias: false }.into(), &[at.dy, w])?
                }
                1 => e.op(ConvGrad { geometry }.into(), &[x, at.dy])?,
                _ => {
                    let ty = e.ty(at.inputs[i]).clone();
                    let last = ty.dims().len() - 1;
                    // Sets of the bias run along the grid, output maps are its last dimension.
                    let kept = |d: usize| Kept {
                        name: ty.names()[d].clone(),
                        dim: if d == last { 1 } else { d + 2 },
                        extent: ty.dims()[d],
                    };
                    e.sum_to(at.dy, (0..=last).map(kept).collect())?
                }
            }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, w) = (inputs[0], inputs[1]);
        let windows: Vec<Window> = (0..out.rank())
            .map(|axis| self.geometry.window.axis(axis, x.dims[axis + 2], false).expect("the shape rule held").0)
            .collect();
        let mut y = Array::zeros(out.dims());
        if let Some(b) = inputs.get(2) {
            let sets = self.geometry.sets(out.grid_dims());
            y = Array::from_fn(out.dims(), |at| {
                let mut from: Vec<usize> = sets.iter().zip(&at[2..]).map(|(s, p)| p % s).collect();
                from.push(at[1]);
                b.at(&from)
            });
        }
        self.geometry.for_each_product(&x.dims, self.channels, &windows, |p| {
            y.data[p.y] += w.data[p.w] * x.data[p.x];
        });
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let windows = self.checked(cx.input(0));
        conv_nest::lower(cx, self, &windows);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        let mut halo = vec![(0, 0), (0, 0)];
        halo.extend(self.checked(inputs[0]).iter().map(Window::overhang));
        let mut wants = Wants::any(inputs.len());
        // Maps of their own fill vectors where groups are many.
        wants.inputs[0] = match self.geometry.links {
            Linking::Groups(g) if g > 1 => Want::Channels(halo),
            Linking::Groups(_) | Linking::Dense | Linking::Table(_) => Want::Halo(halo),
        };
        wants.inputs[1] = Want::Order(self.geometry.packing(true));
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        let one_per_channel = match (&self.geometry.share, &self.geometry.links) {
            (Share::All, Linking::Dense | Linking::Groups(_)) => true,
            (Share::All, Linking::Table(_)) | (Share::Tile(_) | Share::None, _) => false,
        };
        match TensorTy::new([("o", self.channels)]) {
            Ok(bias_ty) if one_per_channel => Role::Linear(Box::new(Linear {
                weight: 1,
                channel: WeightChannel::dim(0),
                bias: self.bias.then_some(2),
                biased: Self { bias: true, ..self.clone() }.into(),
                bias_ty,
            })),
            _ => Role::Plain,
        }
    }

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let positions = out.n().saturating_mul(out.grid_dims().iter().product()) as u64;
        let links = self.geometry.link_count(inputs[0].c(), self.channels) as u64;
        let macs = positions.saturating_mul(links).saturating_mul(self.geometry.taps() as u64);
        // The first product of a sum needs no addition (figure 9.6: 3 operations for a kernel of 2), unless there is a bias.
        let sums = if self.bias { 0 } else { (self.channels - self.geometry.unlinked()) as u64 };
        Cost { macs, flops: macs.saturating_mul(2).saturating_sub(positions.saturating_mul(sums)) }
    }

    fn field(&self, _input: usize, inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        let field = |w: &Window| Field::Window {
            stride: w.stride as u64,
            before: w.lo as i64,
            reach: w.reach() as u64,
        };
        self.checked(inputs[0]).iter().map(field).collect()
    }
}
