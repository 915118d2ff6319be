//! More positions around the grid: `y[p] = x[p - lo]` inside; outside a constant, the reflected input (without its edge
//! twice: `x[-i] = x[i]`), or the nearest input.

use super::adjoint::{Adjoint, Map};
use super::slice::{Cut, Slice};
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::window::{Padding, WINDOW_MAX, padding};
use super::{At, Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::Affine;
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// What stands outside the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// This number.
    Constant(f32),
    /// The input mirrored at its first and last position.
    Reflect,
    /// The nearest position of the input.
    Edge,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Positions before and after, per grid axis.
    pub sides: Vec<(usize, usize)>,
    /// What stands there.
    pub mode: PadMode,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let value = shape_rules::number("pad", args, "value", 0.0)?;
    let mode = match args.word("mode") {
        Some("reflect") => PadMode::Reflect,
        Some("edge") => PadMode::Edge,
        _ => PadMode::Constant(value),
    };
    if !matches!(mode, PadMode::Constant(_)) && args.get("value").is_some() {
        let message = "`value` is for `mode: constant`; the other modes take theirs from the input";
        return Err(OpError::new(codes::E0107, message).at(At::Arg("value")));
    }
    let Padding::Sides(sides) = padding("pad", args, inputs[0])? else {
        let message = "`pad` takes a number of positions, such as `1`, `[1, 2]` or `[[0, 1], [2, 2]]`";
        return Err(OpError::new(codes::E0401, message).at(At::Arg("pad")));
    };
    Ok(Made::op(Pad { sides, mode }))
}

impl Pad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "pad";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "pad",
        family: "moving",
        doc: "Adds positions around the grid: each axis grows by what is added on both sides.",
        tensors: (1, 1),
        params: &[
            Param::required("pad", ArgTy::Pad, "positions to add: `1`, `[1, 2]` per axis, `[[lo, hi], …]` per side"),
            Param::option("mode", ArgTy::Word(&["constant", "reflect", "edge"]), "constant", "what stands there"),
            Param::option("value", ArgTy::Float, "0", "the constant"),
        ],
        example: "net Frame(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 6, w: 10] { x |> pad([[1, 1], [2, 3]], mode: edge) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let Attr::Lists(lists) = attrs.get("sides")? else { return Err("`sides` is not a list of lists".into()) };
        let size = |x: i64| usize::try_from(x).map_err(|_| "`sides` holds a negative number".to_owned());
        let side = |list: &Vec<i64>| match list.as_slice() {
            [lo, hi] => Ok((size(*lo)?, size(*hi)?)),
            _ => Err("a side is `[lo, hi]`".to_owned()),
        };
        let mode = match attrs.word("mode")? {
            "constant" => PadMode::Constant(attrs.float("value")?),
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            other => return Err(format!("no mode is called `{other}`")),
        };
        Ok(Self { sides: lists.iter().map(side).collect::<Result<_, _>>()?, mode })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for mode in [PadMode::Constant(-1.5), PadMode::Reflect, PadMode::Edge] {
            let op = |sides: &[(usize, usize)]| Self { sides: sides.to_vec(), mode };
            let name = |what: &str| format!("{what} {mode:?}");
            all.push(Case::new(name("2d"), op(&[(1, 2), (0, 3)]), vec![act(3, 5, &[("h", 3), ("w", 4)])]));
            all.push(Case::new(name("1d"), op(&[(2, 0)]), vec![act(1, 3, &[("t", 5)])]));
            let volume = act(2, 2, &[("d", 2), ("h", 3), ("w", 2)]);
            all.push(Case::new(name("3d"), op(&[(1, 1), (0, 0), (1, 0)]), vec![volume]));
            all.push(Case::new(name("rank 0"), op(&[]), vec![act(2, 3, &[])]));
        }
        all
    }

    /// The input position that position `o` of axis `axis` shows, in the modes that always show one.
    pub(super) fn source(&self, axis: usize, n: usize, o: usize) -> i64 {
        let i = o as i64 - self.sides[axis].0 as i64;
        let last = n as i64 - 1;
        match self.mode {
            PadMode::Reflect if i < 0 => -i,
            PadMode::Reflect if i > last => 2 * last - i,
            PadMode::Reflect | PadMode::Edge | PadMode::Constant(_) => i.clamp(0, last),
        }
    }
}

impl OpRules for Pad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let sides = self.sides.iter().map(|(lo, hi)| vec![*lo as i64, *hi as i64]).collect();
        let attrs = Attrs::default().with("sides", Attr::Lists(sides));
        let word = |w: &str| Attr::Word(w.to_owned());
        match self.mode {
            PadMode::Constant(x) => attrs.with("mode", word("constant")).with("value", Attr::Float(x)),
            PadMode::Reflect => attrs.with("mode", word("reflect")),
            PadMode::Edge => attrs.with("mode", word("edge")),
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        shape_rules::same_rank("pad", self.sides.len(), x)?;
        let mut dims = x.dims().to_vec();
        let mut why = vec![Why::same(0, 0), Why::same(0, 1)];
        for (axis, (lo, hi)) in self.sides.iter().enumerate() {
            let (d, n) = (axis + 2, dims[axis + 2]);
            if self.mode == PadMode::Reflect && (*lo.max(hi) >= n) {
                let message =
                    format!("`pad` cannot reflect {} positions on axis {}, which has {n}", lo.max(hi), x.names()[d]);
                return Err(OpError::new(codes::E0213, message).at(At::Arg("pad")).blame(0, d).try_arg("mode", "edge"));
            }
            dims[d] = n.saturating_add(*lo).saturating_add(*hi);
            if !matches!(self.mode, PadMode::Constant(_)) && dims[d] as i64 > WINDOW_MAX {
                return Err(shape_rules::too_large("pad", &dims));
            }
            why.push(match (lo, hi) {
                (0, 0) => Why::same(0, d),
                _ => Why::from(0, d, format!("{n} + {lo} + {hi}")),
            });
        }
        Ok(Inferred { ty: shape_rules::resized("pad", x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let ty = e.ty(at.inputs[0]).clone();
        let op = match self.mode {
            PadMode::Constant(_) => {
                let cut = |(axis, side): (usize, &(usize, usize))| Cut {
                    dim: axis + 2,
                    start: side.0,
                    len: ty.dims()[axis + 2],
                };
                Slice { cuts: self.sides.iter().enumerate().map(cut).collect() }.into()
            }
            PadMode::Reflect | PadMode::Edge => Adjoint::of(Map::Pad(self.clone()), &ty).into(),
        };
        at.only(e.op(op, &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        Array::from_fn(out.dims(), |at| {
            let mut from: Vec<i64> = at.iter().map(|i| *i as i64).collect();
            for (axis, (lo, _)) in self.sides.iter().enumerate() {
                let last = x.dims[axis + 2] as i64 - 1;
                let mut i = from[axis + 2] - *lo as i64;
                match self.mode {
                    PadMode::Constant(_) => {}
                    PadMode::Reflect => i = last - (last - i.abs()).abs(),
                    PadMode::Edge => i = i.max(0).min(last),
                }
                from[axis + 2] = i;
            }
            match (x.get(&from), self.mode) {
                (Some(value), _) => value,
                (None, PadMode::Constant(value)) => f64::from(value),
                (None, PadMode::Reflect | PadMode::Edge) => f64::NAN,
            }
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        cx.for_each_output(|cx, at| {
            let mut from: Vec<Affine> = at.to_vec();
            let mut inside = Vec::new();
            for (axis, (lo, hi)) in self.sides.iter().enumerate() {
                let (d, n) = (axis + 2, x.dims()[axis + 2]);
                if (*lo, *hi) == (0, 0) {
                    continue;
                }
                if let PadMode::Constant(_) = self.mode {
                    from[d] = at[d].offset(-(*lo as i64));
                    inside.push(from[d].clone());
                    inside.push(Affine::k(n as i64 - 1).minus(&from[d]));
                } else {
                    let table = cx.b.table((0..n + lo + hi).map(|o| self.source(axis, n, o)).collect());
                    from[d] = cx.b.lookup("from", table, at[d].clone()).into();
                }
            }
            let (PadMode::Constant(value), false) = (self.mode, inside.is_empty()) else {
                let value = cx.load(0, &from);
                return cx.store(at, value);
            };
            let value = cx.b.let_(value);
            cx.if_(inside, |cx| {
                let x = cx.load(0, &from);
                cx.b.set(value, x);
            });
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

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        self.sides.iter().map(|(lo, _)| Field::Window { stride: 1, before: *lo as i64, reach: 1 }).collect()
    }
}
