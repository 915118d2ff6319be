//! Transposed convolution, the transpose of the linear map that a convolution is (chapter 9, equation 9.13):
//!
//! `y[n, i, q] = b[i] + sum over outputs o linked to i, positions p and taps k with p*stride + k*dilation - lo = q
//!  of w[set(p), o, i, k] * x[n, o, p]`
//!
//! Its geometry is that of the forward layer, which would lead from this layer's output back to its input; the output's
//! extent is one from which that layer gives the input. Weights `[i, o/groups, k…]` as in PyTorch, that is, exactly the
//! forward layer's with its two channel dimensions named from this layer's side. The bias has one value per output channel.

use super::conv::Conv;
use super::conv_grad::ConvGrad;
use super::vjp::{Applied, Emit, Pulled};
use super::args::{ArgTy, ArgValue, Attr, Attrs, CallArgs, Layer};
use super::case::Case;
use super::geometry::{Geometry, Linking, Share, fit_weights};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::role::{Linear, Role, WeightChannel};
use super::shape_rules::{resized, too_large, wrong_type};
use super::window::{Padding, Window, check_range, per_axis};
use super::{At, Cost, Field, Inferred, Made, Op, OpError, OpInfo, OpRules, Param, Why, start, unconv_nest};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module. Inputs: `x`, the weight, and the bias if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Unconv {
    /// Output channels.
    pub channels: usize,
    /// The forward layer, from this one's output to its input.
    pub geometry: Geometry,
    /// The output's grid; `None` is the least that the geometry allows.
    pub size: Option<Vec<usize>>,
    /// Whether a bias is added.
    pub bias: bool,
}

/// The checked shapes of a transposed convolution.
struct Shapes {
    /// The output's type.
    out: TensorTy,
    /// The windows of the forward layer on it.
    windows: Vec<Window>,
    /// Reasons for the output's grid.
    why: Vec<Why>,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    let bias = args.bool("bias").unwrap_or(true);
    let op = match args.get("of") {
        Some(ArgValue::Layer(layer)) => of_layer(args, layer, x, bias)?,
        Some(_) => return Err(wrong_type("unconv", "of")),
        None => {
            let Some(channels) = args.int("channels") else {
                let message = "`unconv` needs its output channels: `unconv(16, 4x4, stride: 2)`, or `of:` a layer";
                let error = OpError::new(codes::E0106, message);
                let note = "`out:` is the extent of the output's grid, as in `out: 8x8`";
                return Err(if args.get("out").is_some() { error.note(note) } else { error });
            };
            Unconv {
                channels: check_range("channels", channels, 1)?,
                geometry: Geometry::from_args("unconv", args, x)?,
                size: per_axis("unconv", args, "out", x, 1)?,
                bias,
            }
        }
    };
    let shapes = op.shapes(x)?;
    let weight = op.weight_ty(x, &shapes.out)?;
    let biases = bias_ty(op.channels)?;
    let (fan_out, fan_in) = op.geometry.fans(op.channels, x.c());
    // Of the taps on an output only one in `stride` meets an input.
    let strides = op.geometry.window.stride.iter().fold(1usize, |a, s| a.saturating_mul(*s));
    let fans = ((fan_in / strides).max(1), fan_out);
    let weights = start::specs("unconv", args, weight, fans, bias.then_some(biases))?;
    Ok(Made { ops: vec![op.into()], weights })
}

/// The transpose of a layer.
fn of_layer(args: &CallArgs, layer: &Layer, x: &TensorTy, bias: bool) -> Result<Unconv, OpError> {
    let given = ["channels", "kernel", "stride", "pad", "dilate", "groups", "flip", "out"];
    if let Some(arg) = given.into_iter().find(|a| args.get(a).is_some()) {
        let message = format!("`of: {}` already says what `{arg}` is", layer.name);
        return Err(OpError::new(codes::E0107, message).at(At::Arg(arg)));
    }
    let Op::Conv(conv) = &layer.op else {
        let kind = layer.op.rules().kind();
        let message = format!("`{}` is a `{kind}`; `of:` takes a layer made by `conv`", layer.name);
        return Err(OpError::new(codes::E0107, message).at(At::Arg("of")));
    };
    let op = Unconv {
        channels: layer.input.c(),
        geometry: conv.geometry.clone(),
        size: Some(layer.input.grid_dims().to_vec()),
        bias,
    };
    if x.dims()[1..] != layer.output.dims()[1..] {
        let message = format!(
            "the transpose of `{}` takes what that layer gives, {}, not {}",
            layer.name,
            layer.output.show(),
            x.show()
        );
        let mut error = OpError::new(codes::E0214, message).at(At::Input(0));
        for d in 1..x.dims().len() {
            if layer.output.dims().get(d) != x.dims().get(d) {
                error = error.blame(0, d);
            }
        }
        return Err(error);
    }
    Ok(op)
}

fn bias_ty(channels: usize) -> Result<TensorTy, OpError> {
    TensorTy::new([("o", channels)]).map_err(|_| too_large("unconv", &[channels]))
}

const fn option(name: &'static str, ty: ArgTy, default: &'static str, doc: &'static str) -> Param {
    Param { name, positional: false, required: false, ty, default, doc }
}

impl Unconv {
    /// What printed graphs call it.
    pub const KIND: &'static str = "unconv";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "unconv",
        family: "affine",
        doc: "Transposed convolution: the grid is the one from which the forward layer gives the input.",
        tensors: (1, 1),
        params: &[
            Param {
                name: "channels",
                positional: true,
                required: false,
                ty: ArgTy::Int,
                default: "",
                doc: "output channels; needed without `of:`",
            },
            Param {
                name: "kernel",
                positional: true,
                required: false,
                ty: ArgTy::Extent,
                default: "",
                doc: "taps per grid axis; needed without `of:` unless the grid has rank 0",
            },
            option("stride", ArgTy::Extent, "1", "step of the forward layer: how far outputs of neighbouring inputs lie apart"),
            option("pad", ArgTy::Pad, "valid", "padding of the forward layer; it makes the output smaller"),
            option("dilate", ArgTy::Extent, "1", "step between neighbouring taps"),
            option("groups", ArgTy::Int, "1", "separate groups of channels"),
            option("out", ArgTy::Extent, "the least", "extent of the output's grid, where a stride leaves a choice"),
            option("of", ArgTy::Layer, "", "a `conv` layer whose geometry, channels and input size are taken"),
            start::BIAS,
            option("flip", ArgTy::Bool, "false", "reverse the taps"),
            start::INIT,
            start::WEIGHTS,
            start::TRAIN,
        ],
        example: "net Code(x: [c: 3, h: 9, w: 9]) -> [c: 3, h: 9, w: 9] {\n    \
                  x |> conv(8, 3x3, stride: 2) as c1 |> relu |> unconv(of: c1)\n}",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let geometry = Geometry::from_attrs(attrs)?;
        let size = match attrs.get("size")? {
            Attr::Word(w) if w == "least" => None,
            _ => Some(attrs.sizes("size")?),
        };
        if size.as_ref().is_some_and(|s| s.len() != geometry.window.kernel.len() || s.contains(&0)) {
            return Err("`size` is not one extent of at least 1 per axis".into());
        }
        Ok(Self { channels: attrs.size("out")?, geometry, size, bias: attrs.bool("bias")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        super::conv_cases::unconv()
    }

    /// The weight's type: the forward layer's, with the channel dimensions named from this layer's side.
    ///
    /// # Errors
    /// E0208 when it is too large.
    pub fn weight_ty(&self, x: &TensorTy, out: &TensorTy) -> Result<TensorTy, OpError> {
        let forward = self.geometry.weight_ty(out, x.c(), x.grid_dims())?;
        let swapped = forward.names().iter().zip(forward.dims()).map(|(name, d)| match &**name {
            "o" => ("i", *d),
            "i" => ("o", *d),
            other => (other, *d),
        });
        TensorTy::new(swapped).map_err(|_| too_large("unconv", forward.dims()))
    }

    /// The output's type.
    ///
    /// # Errors
    /// As the shape rule.
    pub fn output(&self, x: &TensorTy) -> Result<TensorTy, OpError> {
        self.shapes(x).map(|s| s.out)
    }

    /// The output's type and the forward layer's windows on it.
    fn shapes(&self, x: &TensorTy) -> Result<Shapes, OpError> {
        if x.rank() > 3 {
            let message = format!("`unconv` takes grids of rank 0 to 3, not {}", x.show());
            return Err(OpError::new(codes::E0209, message).at(At::Input(0)));
        }
        if x.rank() != self.geometry.window.kernel.len() {
            let rank = self.geometry.window.kernel.len();
            let message = format!("the layer was made for a grid of rank {rank}, not {}", x.show());
            return Err(OpError::new(codes::E0215, message));
        }
        self.check_channels(x)?;
        self.geometry.check_tile(x.grid_dims())?;
        let mut dims = vec![x.n(), self.channels];
        let mut why = Vec::new();
        for axis in 0..x.rank() {
            let (extent, formula) = self.extent(axis, x)?;
            dims.push(extent);
            why.push(Why::from(0, axis + 2, formula));
        }
        let out = resized("unconv", x, &dims)?;
        let windows = (0..x.rank()).map(|axis| self.geometry.window.axis(axis, dims[axis + 2], false)).collect();
        match windows {
            Ok(windows) => {
                let windows: Vec<(Window, String)> = windows;
                Ok(Shapes { out, windows: windows.into_iter().map(|w| w.0).collect(), why })
            }
            // `extent` chose an output that the kernel fits in.
            Err(_) => Err(OpError::new(codes::E0214, format!("no output gives back {}", x.show()))),
        }
    }

    /// Links are those of the forward layer; messages speak of this one.
    fn check_channels(&self, x: &TensorTy) -> Result<(), OpError> {
        if let Linking::Groups(g) = &self.geometry.links {
            for (side, count) in [("input", x.c()), ("output", self.channels)] {
                if !count.is_multiple_of(*g) {
                    let message = format!("`groups: {g}` does not divide the {count} {side} channels");
                    return Err(OpError::new(codes::E0303, message)
                        .at(At::Arg("groups"))
                        .label(format!("{} input channels, {} output channels", x.c(), self.channels))
                        .blame(0, 1));
                }
            }
            return Ok(());
        }
        self.geometry.check_channels(self.channels, x.c())
    }

    /// The output's extent on one axis, with the formula that gave it.
    fn extent(&self, axis: usize, x: &TensorTy) -> Result<(usize, String), OpError> {
        let spec = &self.geometry.window;
        let m = x.grid_dims()[axis].max(1);
        let (k, s, d) = (spec.kernel[axis], spec.stride[axis], spec.dilation[axis]);
        let e = d * (k - 1) + 1;
        // The forward rule gives m for outputs from `least` to `least + s - 1`.
        let (padding, least) = match &spec.pad {
            Padding::Same | Padding::SameLo => (None, ((m - 1) * s) as i64 + 1),
            Padding::Valid => (Some(0), ((m - 1) * s + e) as i64),
            Padding::Full => (Some(2 * (e - 1)), ((m - 1) * s) as i64 + e as i64 - 2 * (e as i64 - 1)),
            Padding::Sides(sides) => {
                let total = sides[axis].0 + sides[axis].1;
                (Some(total), ((m - 1) * s + e) as i64 - total as i64)
            }
        };
        let most = least + s as i64 - 1;
        let formula = match padding {
            None => format!("transposed same: ({m} - 1)*{s} + 1"),
            Some(0) => format!("transposed: ({m} - 1)*{s} + {e}"),
            Some(p) => format!("transposed: ({m} - 1)*{s} + {e} - {p}"),
        };
        let name = &x.grid_names()[axis];
        if most < 1 {
            let message = format!("axis {name} would have no position: ({formula} = {least})");
            return Err(OpError::new(codes::E0214, message).at(At::Arg("pad")).blame(0, axis + 2).try_arg("pad", "valid"));
        }
        let Some(size) = self.size.as_ref().map(|size| size[axis]) else {
            return Ok((least.max(1) as usize, formula));
        };
        if (least..=most).contains(&(size as i64)) {
            return Ok((size, format!("out: {size}, which the forward layer takes to {m}")));
        }
        let legal = if s == 1 { format!("{least}") } else { format!("{} to {most}", least.max(1)) };
        let message = format!("an output of {size} on axis {name} does not lead back to the input's {m}; {legal} would");
        let nearest = (size as i64).clamp(least.max(1), most);
        let mut sizes: Vec<String> = self.size.iter().flatten().map(ToString::to_string).collect();
        sizes[axis] = nearest.to_string();
        Err(OpError::new(codes::E0214, message)
            .at(At::Arg("out"))
            .label(format!("input {}", x.show()))
            .blame(0, axis + 2)
            .try_arg("out", sizes.join("x")))
    }

    /// The shapes of an operation whose types were checked.
    /// The windows of the forward layer, on this one's output.
    pub(super) fn forward_windows(&self, x: &TensorTy) -> Vec<Window> {
        self.checked(x).windows
    }

    fn checked(&self, x: &TensorTy) -> Shapes {
        self.shapes(x).expect("the shape rule accepted these types")
    }
}

impl OpRules for Unconv {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::default().with("out", Attr::Int(self.channels as i64));
        let size = match &self.size {
            None => Attr::Word("least".into()),
            Some(size) => Attr::Ints(size.iter().map(|s| *s as i64).collect()),
        };
        self.geometry.attrs(attrs).with("size", size).with("bias", Attr::Bool(self.bias))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let shapes = self.shapes(x)?;
        let weight = self.weight_ty(x, &shapes.out)?;
        let bias = bias_ty(self.channels)?;
        let needed = if self.bias { vec![&weight, &bias] } else { vec![&weight] };
        fit_weights(&inputs[1..], &needed)?;
        let mut why = vec![Why::same(0, 0), Why::given(format!("channels {}", self.channels))];
        why.extend(shapes.why);
        Ok(Inferred { ty: shapes.out, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, w) = (at.inputs[0], at.inputs[1]);
        at.each(|i| {
            let (geometry, channels) = (self.geometry.clone(), e.ty(x).c());
            Ok(Some(match i {
                0 => e.op(Conv { channels, geometry, bias: false }.into(), &[at.dy, w])?,
                // As the forward layer's weight, with input and gradient exchanged.
                1 => e.op(ConvGrad { geometry }.into(), &[at.dy, x])?,
                _ => e.sum_channels(at.dy, "o")?,
            }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, w) = (inputs[0], inputs[1]);
        let windows: Vec<Window> = (0..out.rank())
            .map(|axis| self.geometry.window.axis(axis, out.dims()[axis + 2], false).expect("the shape rule held").0)
            .collect();
        let mut y = Array::from_fn(out.dims(), |at| inputs.get(2).map_or(0.0, |b| b.data[at[1]]));
        // The sum of products is the forward layer's: what is its output is this one's input.
        self.geometry.for_each_product(out.dims(), x.dims[1], &windows, |p| {
            y.data[p.x] += w.data[p.w] * x.data[p.y];
        });
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let windows = self.checked(cx.input(0)).windows;
        unconv_nest::lower(cx, self, &windows);
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        let windows = self.checked(inputs[0]).windows;
        let mut wants = Wants::any(inputs.len());
        if unconv_nest::by_phases(&self.geometry) {
            let mut halo = vec![(0, 0), (0, 0)];
            halo.extend(unconv_nest::halos(&self.geometry, &windows));
            wants.inputs[0] = Want::Halo(halo);
        }
        wants.inputs[1] = Want::Order(self.geometry.packing(false));
        wants
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        let channel = match (&self.geometry.share, &self.geometry.links) {
            (Share::All, Linking::Dense) => Some(WeightChannel::dim(1)),
            // How many input channels make a group is known only with the input: not offered.
            (Share::All, Linking::Groups(_) | Linking::Table(_)) | (Share::Tile(_) | Share::None, _) => None,
        };
        match (channel, bias_ty(self.channels)) {
            (Some(channel), Ok(bias_ty)) => Role::Linear(Box::new(Linear {
                weight: 1,
                channel,
                bias: self.bias.then_some(2),
                biased: Self { bias: true, ..self.clone() }.into(),
                bias_ty,
            })),
            _ => Role::Plain,
        }
    }

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let x = inputs[0];
        let positions = x.n().saturating_mul(x.grid_dims().iter().product()) as u64;
        let links = self.geometry.link_count(self.channels, x.c()) as u64;
        let macs = positions.saturating_mul(links).saturating_mul(self.geometry.taps() as u64);
        let first = if self.bias { 0 } else { out.len() as u64 };
        Cost { macs, flops: macs.saturating_mul(2).saturating_sub(first) }
    }

    fn field(&self, _input: usize, inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        let field = |w: &Window| Field::Spread {
            stride: w.stride as u64,
            before: w.lo as i64,
            reach: w.reach() as u64,
        };
        self.checked(inputs[0]).windows.iter().map(field).collect()
    }
}
