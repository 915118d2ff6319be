//! Where the greatest (or least) element along a dimension stands: `y = argmax_k x[…, k, …]`, as a number, the dimension
//! staying with extent 1. Of equal ones the first, or the last.

use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::{Affine, Cmp, Expr, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgAxis {
    /// The dimension.
    pub dim: usize,
    /// The least instead of the greatest.
    pub least: bool,
    /// Of equal ones the last.
    pub last: bool,
}

const PARAMS: &[Param] = &[
    Param::place("axis", ArgTy::Axis, "c", "the axis"),
    Param::option("last", ArgTy::Bool, "false", "of equal ones the last instead of the first"),
];

fn make(name: &str, least: bool, args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let dim = shape_rules::axis(name, args, "axis", inputs[0], 1)?;
    Ok(Made::op(ArgAxis { dim, least, last: args.bool("last").unwrap_or(false) }))
}

impl ArgAxis {
    /// What printed graphs call it.
    pub const KIND: &'static str = "arg_axis";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[
        OpInfo {
            name: "argmax",
            family: "pooling",
            doc: "Where the greatest element along an axis stands, counted from 0; the axis keeps extent 1.",
            tensors: (1, 1),
            params: PARAMS,
            example: "net Class(x: [c: 8, h: 4, w: 5]) -> [c: 1, h: 4, w: 5] { x |> argmax }",
            make: |args, inputs| make("argmax", false, args, inputs),
        },
        OpInfo {
            name: "argmin",
            family: "pooling",
            doc: "Where the least element along an axis stands, counted from 0; the axis keeps extent 1.",
            tensors: (1, 1),
            params: PARAMS,
            example: "net Darkest(x: [c: 1, t: 9]) -> [c: 1, t: 1] { x |> argmin(t) }",
            make: |args, inputs| make("argmin", true, args, inputs),
        },
    ];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { dim: attrs.size("dim")?, least: attrs.bool("least")?, last: attrs.bool("last")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (least, last) in [(false, false), (false, true), (true, false), (true, true)] {
            let op = |dim| Self { dim, least, last };
            let name = |what: &str| format!("{what} least {least} last {last}");
            all.push(Case::new(name("channels"), op(1), vec![act(2, 7, &[("h", 3), ("w", 5)])]));
            let ties = weight(&[("d0", 3), ("d1", 9)]);
            all.push(Case::new(name("ties"), op(1), vec![ties.clone()]).fill(&[Fill::Labels(3)]));
            all.push(Case::new(name("first dim"), op(0), vec![ties]));
        }
        all
    }

    fn cmp(&self) -> Cmp {
        match (self.least, self.last) {
            (false, false) => Cmp::Gt,
            (false, true) => Cmp::Ge,
            (true, false) => Cmp::Lt,
            (true, true) => Cmp::Le,
        }
    }
}

impl OpRules for ArgAxis {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
            .with("dim", Attr::Int(self.dim as i64))
            .with("least", Attr::Bool(self.least))
            .with("last", Attr::Bool(self.last))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let mut dims = x.dims().to_vec();
        if dims.get(self.dim).is_none_or(|extent| *extent == 0) {
            let message = format!("nothing to choose from along dimension {} of {}", self.dim, x.show());
            return Err(OpError::new(codes::E0209, message));
        }
        dims[self.dim] = 1;
        let mut why: Vec<Why> = (0..dims.len()).map(|d| Why::same(0, d)).collect();
        why[self.dim] = Why::from(0, self.dim, format!("one of {}", x.dims()[self.dim]));
        Ok(Inferred { ty: shape_rules::resized("arg_axis", x, &dims)?, why })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        // A step function: where it does not jump, nothing changes.
        at.each(|_| Ok(None))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            let line: Vec<f64> = (0..x.dims[self.dim])
                .map(|k| {
                    from[self.dim] = k;
                    x.at(&from)
                })
                .collect();
            let order = |x: f64| if self.least { -x } else { x };
            let best = line.iter().map(|x| order(*x)).fold(f64::NEG_INFINITY, f64::max);
            let mut hits = line.iter().enumerate().filter(|(_, x)| order(**x) == best).map(|(k, _)| k);
            let found = if self.last { hits.next_back() } else { hits.next() };
            found.unwrap_or(0) as f64
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (out, extent, cmp) = (cx.out().clone(), cx.input(0).dims()[self.dim], self.cmp());
        let dims: Vec<(&str, usize)> = out.names().iter().map(|n| &**n).zip(out.dims().iter().copied()).collect();
        let start = if self.least { f32::INFINITY } else { f32::NEG_INFINITY };
        cx.nested(LoopKind::Free, &dims, |cx, vars| {
            let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let best = cx.b.let_(start);
            let place = cx.b.let_(0.0);
            cx.nested(LoopKind::Serial, &[("k", extent)], |cx, k| {
                let mut from = at.clone();
                from[self.dim] = k[0].into();
                let x = cx.load(0, &from);
                let x = cx.b.let_(x);
                let here = Expr::Index(k[0].into());
                cx.b.set(place, Expr::select(cmp, x.into(), best.into(), here, place.into()));
                cx.b.set(best, Expr::select(cmp, x.into(), best.into(), x.into(), best.into()));
            });
            cx.store(&at, Expr::Reg(place));
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

    fn cost(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        shape_rules::flops(inputs[0], 1)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let mut fields = shape_rules::pointwise(out);
        if let Some(field) = self.dim.checked_sub(2).and_then(|axis| fields.get_mut(axis)) {
            *field = Field::All;
        }
        fields
    }
}
