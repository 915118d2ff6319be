//! Normalisation by statistics of the sample itself: `y = (x - mean) / sqrt(var + eps) * weight + bias`, with mean and
//! (biased) variance over
//!
//! * `groupnorm(g)`: each of `g` groups of neighbouring channels and the whole grid (Wu & He 2018);
//! * `instancenorm`: each channel and the whole grid, `g = C` (Ulyanov et al. 2016);
//! * `layernorm`: all channels and the whole grid, `g = 1` (Ba et al. 2016), weights `[c, grid…]`;
//! * `layernorm(axis: c)`: the channels of each grid position, weights `[c]`.
//!
//! The variance is summed in a second pass over `(x - mean)^2`: no cancellation. Inputs: x, and unless `affine: false`,
//! weight and bias.

use super::norm_grad::NormGrad;
use super::vjp::{Applied, Emit, Pulled, Val};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act, weight};
use super::init::Init;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{at_channel, for_each_position, grid, sum};
use super::{At, Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, WeightSpec, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, UnOp};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// What statistics are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// This number of groups of channels, each with the whole grid.
    Groups(usize),
    /// The channels of each position.
    Channels,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// What statistics are over.
    pub over: Over,
    /// Added to the variance.
    pub eps: f32,
}

const EPS: Param = Param::option("eps", ArgTy::Float, "1e-5", "added to the variance");
const AFFINE: Param = Param::option("affine", ArgTy::Bool, "true", "scale and shift by learnt weights");

fn made(op: &str, args: &CallArgs, over: Over, weights: TensorTy) -> Result<Made, OpError> {
    let eps = shape_rules::positive(op, args, "eps", 1e-5)?;
    let made = Made::op(Norm { over, eps });
    if args.bool("affine") == Some(false) {
        return Ok(made);
    }
    let spec = |name, x| WeightSpec { name, ty: weights.clone(), init: Init::Constant(x), trainable: true };
    Ok(made.weight(spec("weight", 1.0)).weight(spec("bias", 0.0)))
}

fn layernorm(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    if args.get("axis").is_none() {
        let dims = x.names().iter().cloned().zip(x.dims().iter().copied()).skip(1);
        let weights = TensorTy::new(dims).map_err(|_| shape_rules::too_large("layernorm", x.dims()))?;
        return made("layernorm", args, Over::Groups(1), weights);
    }
    if shape_rules::axis("layernorm", args, "axis", x, 1)? != 1 {
        let message = "`layernorm` is over the channels and the grid, or over the channels alone with `axis: c`";
        return Err(shape_rules::out_of_range("axis", message).try_arg("axis", "c"));
    }
    made("layernorm", args, Over::Channels, shape_rules::per_channel("layernorm", x.c())?)
}

fn instancenorm(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    if x.rank() == 0 {
        let message = format!("`instancenorm` needs a grid to take statistics over, {} has none", x.show());
        return Err(OpError::new(codes::E0209, message).at(At::Input(0)));
    }
    let weights = shape_rules::per_channel("instancenorm", x.c())?;
    made("instancenorm", args, Over::Groups(x.c()), weights)
}

fn groupnorm(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let groups = shape_rules::count("groupnorm", args, "groups", 1)?;
    let x = inputs[0];
    divides(groups, x)?;
    made("groupnorm", args, Over::Groups(groups), shape_rules::per_channel("groupnorm", x.c())?)
}

/// E0303 unless `groups` divides the channels.
fn divides(groups: usize, x: &TensorTy) -> Result<(), OpError> {
    if groups >= 1 && x.c().is_multiple_of(groups) {
        return Ok(());
    }
    let message = format!("{groups} groups do not divide {} channels", x.c());
    Err(shape_rules::indivisible("groups", groups, x.c(), message).recover(Some(x.clone())))
}

impl Norm {
    /// What printed graphs call it.
    pub const KIND: &'static str = "norm";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "layernorm",
            family: "normalising",
            doc: "Normalises each sample over its channels and grid, or with `axis: c` each position over its channels.",
            tensors: (1, 1),
            params: &[
                Param::option("axis", ArgTy::Axis, "", "`c`: statistics over the channels of each position"),
                EPS,
                AFFINE,
            ],
            example: "net Layer(x: [c: 8, h: 4, w: 4]) -> [c: 8, h: 4, w: 4] { x |> layernorm(axis: c) }",
            make: layernorm,
        },
        OpInfo {
            name: "instancenorm",
            family: "normalising",
            doc: "Normalises each channel of each sample over the grid.",
            tensors: (1, 1),
            params: &[EPS, AFFINE],
            example: "net Instance(x: [c: 8, h: 4, w: 4]) -> [c: 8, h: 4, w: 4] { x |> instancenorm }",
            make: instancenorm,
        },
        OpInfo {
            name: "groupnorm",
            family: "normalising",
            doc: "Normalises each group of neighbouring channels of each sample over the grid.",
            tensors: (1, 1),
            params: &[
                Param::required("groups", ArgTy::Int, "number of groups; it divides the channels"),
                EPS,
                AFFINE,
            ],
            example: "net Group(x: [c: 8, h: 4, w: 4]) -> [c: 8, h: 4, w: 4] { x |> groupnorm(4) }",
            make: groupnorm,
        },
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let over =
            if attrs.get("groups").is_ok() { Over::Groups(attrs.size("groups")?) } else { Over::Channels };
        Ok(Self { over, eps: attrs.float("eps")? })
    }

    /// Test cases; inputs far from 0 make a one-pass variance cancel.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, over, x: TensorTy, w: TensorTy| {
            Case::new(name, Self { over, eps: 1e-5 }, vec![x, w.clone(), w])
        };
        let hw = |n, c| act(n, c, &[("h", 3), ("w", 7)]);
        let c = |c| weight(&[("c", c)]);
        let bare = |name: &str, over, x| Case::new(name, Self { over, eps: 1e-3 }, vec![x]);
        vec![
            case("layer", Over::Groups(1), hw(3, 5), weight(&[("c", 5), ("h", 3), ("w", 7)])),
            case("layer rank 0", Over::Groups(1), act(2, 9, &[]), c(9)),
            case("layer over c", Over::Channels, hw(2, 6), c(6)),
            case("instance", Over::Groups(4), act(2, 4, &[("d", 2), ("h", 3), ("w", 2)]), c(4)),
            case("groups", Over::Groups(3), hw(3, 6), c(6)),
            case("group 1d", Over::Groups(2), act(1, 4, &[("t", 5)]), c(4)),
            bare("plain", Over::Groups(2), hw(1, 4)),
            bare("offset", Over::Groups(1), hw(1, 4)).fill(&[Fill::Uniform(999.0, 1001.0)]).tolerance(3e-4),
        ]
    }

    /// The count of elements that one mean is over.
    fn count(&self, x: &TensorTy) -> usize {
        match self.over {
            Over::Channels => x.c(),
            Over::Groups(g) => x.c() / g.max(1) * x.grid_dims().iter().product::<usize>(),
        }
    }

    /// Statistics over `dims`, whose index is turned into the tensor's by `index`, and the store of all those elements.
    fn normalise(&self, cx: &mut LowerCx<'_>, dims: &[(&str, usize)], index: &dyn Fn(&[Affine]) -> Vec<Affine>) {
        let share = 1.0 / self.count(cx.input(0)) as f32;
        let total = sum(cx, dims, &mut |cx, i| cx.load(0, &index(i)));
        let mean = cx.b.let_(Expr::from(total) * share.into());
        let squares = sum(cx, dims, &mut |cx, i| {
            let d = cx.load(0, &index(i)) - mean.into();
            let d = cx.b.let_(d);
            Expr::from(d) * d.into()
        });
        let var = Expr::from(squares) * share.into();
        let scale = cx.b.let_(Expr::from(1.0) / Expr::un(UnOp::Sqrt, var + self.eps.into()));
        cx.nested(LoopKind::Free, dims, |cx, vars| {
            let i: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let at = index(&i);
            let mut value = (cx.load(0, &at) - mean.into()) * scale.into();
            if cx.inputs() == 3 {
                value = Expr::fma(value, cx.load_like_out(1, &at), cx.load_like_out(2, &at));
            }
            cx.store(&at, value);
        });
    }
}

impl OpRules for Norm {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = match self.over {
            Over::Groups(g) => Attrs::default().with("groups", Attr::Int(g as i64)),
            Over::Channels => Attrs::default(),
        };
        attrs.with("eps", Attr::Float(self.eps))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        if let Over::Groups(g) = self.over {
            divides(g, x)?;
        }
        let weights = &inputs[1..];
        let fits = |w: &&TensorTy| w.dims() == [x.c()] || (w.names() == &x.names()[1..] && w.dims() == &x.dims()[1..]);
        if !matches!(weights.len(), 0 | 2) || !weights.iter().all(fits) {
            let shapes: Vec<String> = weights.iter().map(|w| w.show()).collect();
            let message = format!("a normalisation of {} has weights {}", x.show(), shapes.join(", "));
            return Err(OpError::new(codes::E0206, message).blame(0, 1));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let x = at.inputs[0];
        at.each(|i| match i {
            0 => {
                let weight = at.inputs.get(1).copied();
                let inputs: Vec<Val> = std::iter::once(x).chain(weight).chain([at.dy]).collect();
                Ok(Some(e.op(NormGrad { of: self.clone() }.into(), &inputs)?))
            }
            1 => {
                let unit = e.op(self.clone().into(), &[x])?;
                let part = e.mul(unit, at.dy)?;
                Ok(Some(e.sum_like(part, at.inputs[1])?))
            }
            _ => Ok(Some(e.sum_like(at.dy, at.inputs[i])?)),
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let together = |a: &[usize], b: &[usize]| match self.over {
            Over::Channels => a[0] == b[0] && a[2..] == b[2..],
            Over::Groups(g) => a[0] == b[0] && a[1] * g / out.c() == b[1] * g / out.c(),
        };
        let weight = |i: usize, at: &[usize]| {
            let w = inputs[i];
            if w.dims.len() == 1 { w.at(&at[1..2]) } else { w.at(&at[1..]) }
        };
        Array::from_fn(out.dims(), |at| {
            let mut set = Vec::new();
            crate::tensor::array::for_each_index(out.dims(), |other| {
                if together(at, other) {
                    set.push(x.at(other));
                }
            });
            let mean = set.iter().sum::<f64>() / set.len() as f64;
            let var = set.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / set.len() as f64;
            let unit = (x.at(at) - mean) / (var + f64::from(self.eps)).sqrt();
            if inputs.len() == 3 { unit * weight(1, at) + weight(2, at) } else { unit }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let out = cx.out().clone();
        match self.over {
            Over::Channels => {
                for_each_position(cx, |cx, p| {
                    self.normalise(cx, &[("k", out.c())], &|i| at_channel(p, &i[0]));
                });
            }
            Over::Groups(g) => {
                let size = out.c() / g.max(1);
                let mut dims = grid(&out);
                dims.push(("k", size));
                cx.nested(LoopKind::Free, &[("n", out.n()), ("g", g)], |cx, outer| {
                    let group = &Affine::from(outer[1]) * size as i64;
                    self.normalise(cx, &dims, &|i| {
                        let (k, grid) = i.split_last().map_or((Affine::k(0), i), |(k, rest)| (k.clone(), rest));
                        [Affine::from(outer[0]), &group + &k].into_iter().chain(grid.iter().cloned()).collect()
                    });
                });
            }
        }
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

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        // Two sums, a difference, a square and a scale, and the weights.
        shape_rules::flops(out, if inputs.len() == 3 { 8 } else { 6 })
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        match self.over {
            Over::Channels => shape_rules::pointwise(out),
            Over::Groups(_) => shape_rules::everywhere(out),
        }
    }
}
