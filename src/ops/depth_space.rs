//! Channels laid out on a finer grid and back, with blocks of `B = Π b_a` positions. With `s` the position in a block,
//! row-major over the axes:
//!
//! * `depth_to_space`: `y[n, c, p * b + s] = x[n, k, p]`, `C / B` channels; `k = s * (C / B) + c` for `dcr` (ONNX's default),
//!   `k = c * B + s` for `crd` (PyTorch's pixel shuffle, Shi et al. 2016);
//! * `space_to_depth`: its inverse, `y[n, k, p] = x[n, c, p * b + s]`, `C * B` channels.

use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::window::per_axis;
use super::{At, Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::{Affine, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Where elements go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From channels to the grid.
    ToSpace,
    /// From the grid to channels.
    ToDepth,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthSpace {
    /// Where elements go.
    pub direction: Direction,
    /// Extents of a block, per grid axis.
    pub block: Vec<usize>,
    /// Channels of one position of the block are neighbours (`dcr`), instead of positions of one channel (`crd`).
    pub blocks_first: bool,
}

fn make(direction: Direction, args: &CallArgs, x: &TensorTy) -> Result<Made, OpError> {
    let op = name(direction);
    if x.rank() == 0 {
        let message = format!("`{op}` needs a grid, {} has none", x.show());
        return Err(OpError::new(codes::E0209, message).at(At::Input(0)));
    }
    let block = per_axis(op, args, "block", x, 1)?.unwrap_or_else(|| vec![2; x.rank()]);
    if positions_of(&block).is_none() {
        return Err(shape_rules::too_large(op, &block));
    }
    Ok(Made::op(DepthSpace { direction, block, blocks_first: args.word("mode") != Some("crd") }))
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::ToSpace => "depth_to_space",
        Direction::ToDepth => "space_to_depth",
    }
}

fn positions_of(block: &[usize]) -> Option<usize> {
    block.iter().try_fold(1usize, |a, b| a.checked_mul(*b))
}

const PARAMS: &[Param] = &[
    Param::place("block", ArgTy::Extent, "2", "extents of a block"),
    Param::option(
        "mode",
        ArgTy::Word(&["dcr", "crd"]),
        "dcr",
        "order of channels: block position first (ONNX) or channel first (PyTorch)",
    ),
];

impl DepthSpace {
    /// What printed graphs call it.
    pub const KIND: &'static str = "depth_space";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "depth_to_space",
            family: "moving",
            doc: "Lays channels out on a grid that is finer by `block`; as many times fewer channels remain.",
            tensors: (1, 1),
            params: PARAMS,
            example: "net Finer(x: [c: 12, h: 4, w: 5]) -> [c: 3, h: 8, w: 10] { x |> depth_to_space(2x2, mode: crd) }",
            make: |args, inputs| make(Direction::ToSpace, args, inputs[0]),
        },
        OpInfo {
            name: "space_to_depth",
            family: "moving",
            doc: "Stacks the positions of each block as channels: the grid is coarser by `block`.",
            tensors: (1, 1),
            params: PARAMS,
            example: "net Coarser(x: [c: 3, h: 8, w: 10]) -> [c: 12, h: 4, w: 5] { x |> space_to_depth(2x2) }",
            make: |args, inputs| make(Direction::ToDepth, args, inputs[0]),
        },
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let direction = match attrs.word("to")? {
            "space" => Direction::ToSpace,
            "depth" => Direction::ToDepth,
            other => return Err(format!("no direction is called `{other}`")),
        };
        let block = attrs.sizes("block")?;
        if block.contains(&0) || positions_of(&block).is_none() {
            return Err(format!("no block is {block:?}"));
        }
        Ok(Self { direction, block, blocks_first: attrs.bool("blocks_first")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for blocks_first in [true, false] {
            let op = |direction, block: &[usize]| Self { direction, block: block.to_vec(), blocks_first };
            let name = |what: &str| format!("{what} {}", if blocks_first { "dcr" } else { "crd" });
            let space = Direction::ToSpace;
            all.push(Case::new(name("finer"), op(space, &[2, 3]), vec![act(3, 18, &[("h", 3), ("w", 2)])]));
            all.push(Case::new(name("finer 1d"), op(space, &[2]), vec![act(1, 6, &[("t", 5)])]));
            let volume = act(1, 16, &[("d", 2), ("h", 1), ("w", 3)]);
            all.push(Case::new(name("finer 3d"), op(space, &[2, 2, 2]), vec![volume]));
            let depth = Direction::ToDepth;
            all.push(Case::new(name("coarser"), op(depth, &[2, 3]), vec![act(3, 3, &[("h", 4), ("w", 9)])]));
            all.push(Case::new(name("coarser 1d"), op(depth, &[3]), vec![act(1, 2, &[("t", 6)])]));
        }
        all
    }

    fn positions(&self) -> usize {
        self.block.iter().product()
    }
}

impl OpRules for DepthSpace {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let to = match self.direction {
            Direction::ToSpace => "space",
            Direction::ToDepth => "depth",
        };
        Attrs::default()
            .with("to", Attr::Word(to.to_owned()))
            .with("block", Attr::Ints(self.block.iter().map(|b| *b as i64).collect()))
            .with("blocks_first", Attr::Bool(self.blocks_first))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, op) = (inputs[0], name(self.direction));
        shape_rules::same_rank(op, self.block.len(), x)?;
        let (c, positions) = (x.c(), self.positions());
        let mut dims = x.dims().to_vec();
        let mut why = vec![Why::same(0, 0)];
        if self.direction == Direction::ToSpace {
            if !c.is_multiple_of(positions) {
                let message = format!("`{op}` spreads channels over blocks of {positions}, and {c} channels do not divide");
                return Err(OpError::new(codes::E0303, message).at(At::Arg("block")).blame(0, 1));
            }
            dims[1] = c / positions;
            why.push(Why::from(0, 1, format!("{c} / {positions}")));
        } else {
            dims[1] = c.saturating_mul(positions);
            why.push(Why::from(0, 1, format!("{c} * {positions}")));
        }
        for (axis, b) in self.block.iter().enumerate() {
            let (d, n) = (axis + 2, dims[axis + 2]);
            if self.direction == Direction::ToSpace {
                dims[d] = n.saturating_mul(*b);
                why.push(Why::from(0, d, format!("{n} * {b}")));
                continue;
            }
            if !n.is_multiple_of(*b) {
                let message = format!("`{op}` cuts axis {} into blocks of {b}, which do not divide {n}", x.names()[d]);
                return Err(OpError::new(codes::E0204, message).at(At::Arg("block")).blame(0, d));
            }
            dims[d] = n / b;
            why.push(Why::from(0, d, format!("{n} / {b}")));
        }
        Ok(Inferred { ty: shape_rules::resized(op, x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let direction = match self.direction {
            Direction::ToSpace => Direction::ToDepth,
            Direction::ToDepth => Direction::ToSpace,
        };
        at.only(e.op(Self { direction, ..self.clone() }.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let (deep, fine) = match self.direction {
            Direction::ToSpace => (x.dims[1], out.c()),
            Direction::ToDepth => (out.c(), x.dims[1]),
        };
        let positions = deep / fine;
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            match self.direction {
                Direction::ToSpace => {
                    let mut s = 0;
                    for (axis, b) in self.block.iter().enumerate() {
                        s = s * b + at[axis + 2] % b;
                        from[axis + 2] = at[axis + 2] / b;
                    }
                    from[1] = if self.blocks_first { s * fine + at[1] } else { at[1] * positions + s };
                }
                Direction::ToDepth => {
                    let (mut s, c) = if self.blocks_first {
                        (at[1] / fine, at[1] % fine)
                    } else {
                        (at[1] % positions, at[1] / positions)
                    };
                    from[1] = c;
                    for (axis, b) in self.block.iter().enumerate().rev() {
                        from[axis + 2] = at[axis + 2] * b + s % b;
                        s /= b;
                    }
                }
            }
            x.at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (coarse, fine) = match self.direction {
            Direction::ToSpace => (cx.input(0).clone(), cx.out().clone()),
            Direction::ToDepth => (cx.out().clone(), cx.input(0).clone()),
        };
        let mut dims = vec![("n", fine.n()), ("c", fine.c())];
        for ((name, n), b) in super::reduce::grid(&coarse).into_iter().zip(&self.block) {
            dims.push((name, n));
            dims.push(("s", *b));
        }
        cx.nested(LoopKind::Free, &dims, |cx, vars| {
            let vars: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let c = &vars[1];
            let mut s = Affine::k(0);
            let (mut at_fine, mut at_coarse) = (vec![vars[0].clone(), c.clone()], vec![vars[0].clone(), Affine::k(0)]);
            for (pair, b) in vars[2..].chunks(2).zip(&self.block) {
                s = &(&s * *b as i64) + &pair[1];
                at_fine.push(&(&pair[0] * *b as i64) + &pair[1]);
                at_coarse.push(pair[0].clone());
            }
            at_coarse[1] = if self.blocks_first {
                &(&s * fine.c() as i64) + c
            } else {
                &(c * self.positions() as i64) + &s
            };
            let (from, to) = match self.direction {
                Direction::ToSpace => (at_coarse, at_fine),
                Direction::ToDepth => (at_fine, at_coarse),
            };
            let value = cx.load(0, &from);
            cx.store(&to, value);
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
        let step = |b: &usize| match self.direction {
            Direction::ToSpace => Field::Spread { stride: *b as u64, before: 0, reach: *b as u64 },
            Direction::ToDepth => Field::Window { stride: *b as u64, before: 0, reach: *b as u64 },
        };
        self.block.iter().map(step).collect()
    }
}
