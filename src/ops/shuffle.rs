//! Channel shuffle (Zhang et al. 2018): channels as `g` groups of `C / g`, transposed:
//! `y[j * g + i] = x[i * (C / g) + j]`.

use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, shape_rules};
use crate::loops::{Affine, LoopKind};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Shuffle {
    /// Number of groups.
    pub groups: usize,
}

fn make(args: &CallArgs, _inputs: &[&TensorTy]) -> Result<Made, OpError> {
    Ok(Made::op(Shuffle { groups: shape_rules::count("shuffle", args, "groups", 1)? }))
}

impl Shuffle {
    /// What printed graphs call it.
    pub const KIND: &'static str = "shuffle";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "shuffle",
        family: "moving",
        doc: "Deals the channels of `groups` groups out in turn, so that the next grouped layer mixes them; the shape stays.",
        tensors: (1, 1),
        params: &[Param::required("groups", ArgTy::Int, "number of groups; it divides the channels")],
        example: "net Mix(x: [c: 6, h: 4, w: 4]) -> [c: 6, h: 4, w: 4] { \
                  x |> conv(6, 1x1, groups: 3) |> shuffle(3) |> conv(6, 1x1, groups: 3) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        match attrs.size("groups")? {
            0 => Err("`groups` is 0".into()),
            groups => Ok(Self { groups }),
        }
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        vec![
            Case::new("2d", Self { groups: 3 }, vec![act(3, 6, &[("h", 3), ("w", 5)])]),
            Case::new("rank 0", Self { groups: 2 }, vec![act(1, 8, &[])]),
            Case::new("1d", Self { groups: 5 }, vec![act(2, 5, &[("t", 4)])]),
        ]
    }
}

impl OpRules for Shuffle {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("groups", Attr::Int(self.groups as i64))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let c = inputs[0].c();
        if !c.is_multiple_of(self.groups) {
            let message = format!("{} groups do not divide {c} channels", self.groups);
            let error = shape_rules::indivisible("groups", self.groups, c, message);
            return Err(error.recover(Some(inputs[0].clone())));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let groups = e.ty(at.y).c() / self.groups;
        at.only(e.op(Self { groups }.into(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            from[1] = at[1] % self.groups * (out.c() / self.groups) + at[1] / self.groups;
            inputs[0].at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let out = cx.out().clone();
        let size = out.c() / self.groups;
        let mut dims = vec![("n", out.n()), ("j", size), ("i", self.groups)];
        dims.extend(super::reduce::grid(&out));
        cx.nested(LoopKind::Free, &dims, |cx, vars| {
            let vars: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let at = |c: Affine| -> Vec<Affine> {
                [vars[0].clone(), c].into_iter().chain(vars[3..].iter().cloned()).collect()
            };
            let value = cx.load(0, &at(&(&vars[2] * size as i64) + &vars[1]));
            cx.store(&at(&(&vars[1] * self.groups as i64) + &vars[2]), value);
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
        shape_rules::pointwise(out)
    }
}
