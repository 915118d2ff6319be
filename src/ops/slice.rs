//! A box cut out of a tensor, `y[…, i, …] = x[…, start + i, …]` along some dimensions: `crop` cuts the grid, `split` cuts a
//! tensor into parts along one axis.

use super::embed::Embed;
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, ArgValue, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::window::per_axis;
use super::{At, Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::Affine;
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// A cut along one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The dimension.
    pub dim: usize,
    /// The first index kept.
    pub start: usize,
    /// How many are kept.
    pub len: usize,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// One cut for each dimension that is cut.
    pub cuts: Vec<Cut>,
}

/// A list of more parts than this is nothing that a program means.
const PARTS_MAX: usize = 4096;

fn crop(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    let size = match (per_axis("crop", args, "size", x, 1)?, args.get("like")) {
        (Some(size), None) => size,
        (None, Some(ArgValue::Layer(layer))) => {
            let like = &layer.output;
            if like.grid_names() != x.grid_names() {
                let message = format!("`crop` of {} cannot be like `{}`, which is {}", x.show(), layer.name, like.show());
                return Err(OpError::new(codes::E0205, message).at(At::Arg("like")));
            }
            like.grid_dims().to_vec()
        }
        (Some(_), Some(_)) => {
            let message = "`crop` takes a size or `like: layer`, not both";
            return Err(OpError::new(codes::E0107, message).at(At::Arg("like")));
        }
        (None, Some(_)) => return Err(shape_rules::wrong_type("crop", "like")),
        (None, None) => {
            let message = "`crop` needs a size, such as `crop(8x8)`, or `like: layer`";
            return Err(OpError::new(codes::E0106, message));
        }
    };
    let offset = per_axis("crop", args, "offset", x, 0)?;
    let mut cuts = Vec::new();
    for (axis, (n, len)) in x.grid_dims().iter().zip(size).enumerate() {
        let start = offset.as_ref().map_or(n.saturating_sub(len) / 2, |o| o[axis]);
        cuts.push(Cut { dim: axis + 2, start, len });
    }
    Ok(Made::op(Slice { cuts }))
}

fn split(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    let dim = shape_rules::axis("split", args, "axis", x, 1)?;
    let (extent, axis) = (x.dims()[dim], &x.names()[dim]);
    let sizes = match (args.int("parts"), args.get("sizes")) {
        (Some(parts), None) => {
            let parts = usize::try_from(parts).unwrap_or(0);
            if parts == 0 || parts > PARTS_MAX {
                let message =
                    format!("`split` makes 1 to {PARTS_MAX} parts, not {}", args.int("parts").unwrap_or(0));
                return Err(shape_rules::out_of_range("parts", message));
            }
            if !extent.is_multiple_of(parts) {
                let message = format!("{parts} parts do not divide the extent {extent} of axis {axis}");
                let error = shape_rules::indivisible("parts", parts, extent, message);
                return Err(OpError { blame: vec![(0, dim)], ..error });
            }
            vec![extent / parts; parts]
        }
        (None, Some(ArgValue::List(list))) => {
            let sizes = shape_rules::ints("split", "sizes", list)?;
            let least = sizes.iter().all(|s| *s >= 1);
            let sum = sizes.iter().try_fold(0i64, |a, s| a.checked_add(*s));
            if !least || sum != i64::try_from(extent).ok() {
                let message = format!(
                    "the sizes {sizes:?} of `split` must be at least 1 and sum to the extent {extent} of axis {axis}"
                );
                return Err(shape_rules::out_of_range("sizes", message).blame(0, dim));
            }
            sizes.iter().map(|s| *s as usize).collect()
        }
        (None, Some(_)) => return Err(shape_rules::wrong_type("split", "sizes")),
        (None, None) | (Some(_), Some(_)) => {
            let message = "`split` needs either `parts`, a number of equal parts, or `sizes`, a list";
            return Err(OpError::new(codes::E0106, message));
        }
    };
    let mut start = 0;
    let mut ops = Vec::new();
    for len in sizes {
        ops.push(Slice { cuts: vec![Cut { dim, start, len }] }.into());
        start += len;
    }
    Ok(Made { ops, weights: Vec::new() })
}

impl Slice {
    /// What printed graphs call it.
    pub const KIND: &'static str = "slice";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "crop",
            family: "moving",
            doc: "Cuts the grid to a size, around the centre unless `offset` says where; the odd position goes at the end.",
            tensors: (1, 1),
            params: &[
                Param::place("size", ArgTy::Extent, "", "extents that remain"),
                Param::option("offset", ArgTy::Extent, "the centre", "the first position kept, per axis"),
                Param::option("like", ArgTy::Layer, "", "a layer whose grid gives the size"),
            ],
            example: "net Crop(x: [c: 3, h: 8, w: 9]) -> [c: 3, h: 4, w: 5] { x |> crop(4x5) }",
            make: crop,
        },
        OpInfo {
            name: "split",
            family: "joining",
            doc: "Cuts a tensor along the channels, or `axis`, into a list of parts: `s[0]`, `s[1]`, ….",
            tensors: (1, 1),
            params: &[
                Param::place("parts", ArgTy::Int, "", "a number of equal parts"),
                Param::option("sizes", ArgTy::Numbers, "", "the extent of each part"),
                Param::option("axis", ArgTy::Axis, "c", "the axis that is cut"),
            ],
            example: "net Halves(x: [c: 6, h: 4, w: 4]) -> [c: 3, h: 4, w: 4] { \
                      let s = split(x, parts: 2) s[0] * sigmoid(s[1]) }",
            make: split,
        },
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let Attr::Lists(lists) = attrs.get("cuts")? else { return Err("`cuts` is not a list of lists".into()) };
        let size = |x: i64| usize::try_from(x).map_err(|_| "`cuts` holds a negative number".to_owned());
        let cut = |list: &Vec<i64>| match list.as_slice() {
            [dim, start, len] => Ok(Cut { dim: size(*dim)?, start: size(*start)?, len: size(*len)? }),
            _ => Err("a cut is `[dim, start, len]`".to_owned()),
        };
        Ok(Self { cuts: lists.iter().map(cut).collect::<Result<_, _>>()? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |cuts: &[(usize, usize, usize)]| Self {
            cuts: cuts.iter().map(|(dim, start, len)| Cut { dim: *dim, start: *start, len: *len }).collect(),
        };
        let hw = |n, c, h, w| act(n, c, &[("h", h), ("w", w)]);
        vec![
            Case::new("crop", op(&[(2, 1, 3), (3, 2, 4)]), vec![hw(3, 5, 5, 7)]),
            Case::new("channels", op(&[(1, 3, 4)]), vec![hw(2, 9, 3, 2)]),
            Case::new("rank 0", op(&[(1, 1, 2)]), vec![act(3, 4, &[])]),
            Case::new("1d", op(&[(2, 0, 1)]), vec![act(1, 2, &[("t", 5)])]),
            Case::new("3d", op(&[(2, 1, 1), (4, 0, 2)]), vec![act(1, 3, &[("d", 2), ("h", 2), ("w", 3)])]),
        ]
    }
}

impl OpRules for Slice {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let list = |c: &Cut| vec![c.dim as i64, c.start as i64, c.len as i64];
        Attrs::default().with("cuts", Attr::Lists(self.cuts.iter().map(list).collect()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let mut dims = x.dims().to_vec();
        let mut why: Vec<Why> = (0..dims.len()).map(|d| Why::same(0, d)).collect();
        for cut in &self.cuts {
            let Some(extent) = x.dims().get(cut.dim).copied() else {
                return Err(OpError::new(codes::E0215, format!("a cut along dimension {} of {}", cut.dim, x.show())));
            };
            if cut.start.checked_add(cut.len).is_none_or(|end| end > extent) {
                let axis = &x.names()[cut.dim];
                let error = |arg: &'static str, from: String| {
                    let message = format!("a cut keeps {} positions{from} of axis {axis}, which has {extent}", cut.len);
                    OpError::new(codes::E0213, message).at(At::Arg(arg)).blame(0, cut.dim)
                };
                if cut.len <= extent {
                    return Err(error("offset", format!(" from position {}", cut.start)));
                }
                let fit = |c: &Cut| c.len.min(x.dims().get(c.dim).copied().unwrap_or(c.len)).to_string();
                let size: Vec<String> = self.cuts.iter().map(fit).collect();
                return Err(error("size", String::new()).try_arg("size", size.join("x")));
            }
            dims[cut.dim] = cut.len;
            if cut.len != extent {
                let end = cut.start + cut.len;
                why[cut.dim] = Why::from(0, cut.dim, format!("{}..{end} of {extent}", cut.start));
            }
        }
        Ok(Inferred { ty: shape_rules::resized("crop", x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let ty = e.ty(at.inputs[0]).clone();
        let into = self.cuts.iter().map(|c| Cut { len: ty.dims()[c.dim], ..*c }).collect();
        at.only(e.op(Embed { into }.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            self.cuts.iter().for_each(|c| from[c.dim] += c.start);
            inputs[0].at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        cx.for_each_output(|cx, at| {
            let mut from: Vec<Affine> = at.to_vec();
            for cut in &self.cuts {
                from[cut.dim] = from[cut.dim].offset(cut.start as i64);
            }
            let value = cx.load(0, &from);
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

    fn cost(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        Cost::default()
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let mut field = shape_rules::pointwise(out);
        for cut in &self.cuts {
            if let Some(f) = cut.dim.checked_sub(2).and_then(|axis| field.get_mut(axis)) {
                *f = Field::Window { stride: 1, before: -(cut.start as i64), reach: 1 };
            }
        }
        field
    }
}
