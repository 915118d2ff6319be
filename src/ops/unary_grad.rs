//! Gradients of elementwise functions, `dx = dy f'(v)`, themselves elementwise: `v` is the function's argument `x` or its value
//! `y`, whichever the row of [`super::unary::ROWS`] says (a value is stored anyway, an argument may not be). Where `f'` jumps, the
//! row says which side counts. The language has no name for it.

use super::args::{ArgTy, Attr, Attrs};
use super::case::{Case, Fill, act};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::unary::{ROWS, Unary, UnaryFn};
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, shape_rules};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module. Inputs: `v`, `dy`.
#[derive(Clone, Debug, PartialEq)]
pub struct UnaryGrad {
    /// The function.
    pub of: Unary,
}

impl UnaryGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "unary_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// Of a function with its default arguments.
    pub fn of(f: UnaryFn) -> Self {
        Self { of: Unary::of(f) }
    }

    /// From printed attributes: those of the function.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { of: Unary::from_attrs(attrs)? })
    }

    /// Test cases: every function.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        let mut push = |name: &str, of: Unary, fill: [Fill; 2]| {
            let x = act(2, 5, &[("h", 3), ("w", 7)]);
            all.push(Case::new(name, Self { of }, vec![x.clone(), x]).fill(&fill));
        };
        for row in ROWS {
            let args = if row.f == UnaryFn::Clip { [-0.5, 0.75] } else { Unary::of(row.f).args };
            let fill = match row.f {
                UnaryFn::Log | UnaryFn::Sqrt => Fill::Uniform(0.1, 4.0),
                UnaryFn::Sigmoid | UnaryFn::HardSigmoid => Fill::Uniform(0.0, 1.0),
                UnaryFn::Tanh => Fill::Uniform(-1.0, 1.0),
                UnaryFn::Abs | UnaryFn::Clip | UnaryFn::Elu | UnaryFn::Exp | UnaryFn::Gelu | UnaryFn::GeluTanh => Fill::Normal,
                UnaryFn::HardSwish | UnaryFn::LeakyRelu | UnaryFn::Neg | UnaryFn::Relu | UnaryFn::Selu => Fill::Normal,
                UnaryFn::Silu | UnaryFn::Softplus => Fill::Normal,
            };
            push(row.name, Unary { f: row.f, args }, [fill, Fill::Normal]);
        }
        push("steep leak", Unary { f: UnaryFn::LeakyRelu, args: [-0.5, 0.0] }, [Fill::Normal, Fill::Normal]);
        push("falling elu", Unary { f: UnaryFn::Elu, args: [-2.0, 0.0] }, [Fill::Normal, Fill::Normal]);
        push("silu far", Unary::of(UnaryFn::Silu), [Fill::Uniform(-120.0, 120.0), Fill::Normal]);
        push("gelu far", Unary::of(UnaryFn::Gelu), [Fill::Uniform(-120.0, 120.0), Fill::Normal]);
        push("relu of NaN", Unary::of(UnaryFn::Relu), [Fill::SomeNan, Fill::Normal]);
        all
    }

    fn scalar_fn(&self) -> ScalarFn<'_> {
        Box::new(|b, r| (self.of.f.row().derivative.emit)(b, r[0], r[1], self.of.args))
    }
}

impl OpRules for UnaryGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        // An infinite bound is no bound, and is not written.
        let row = self.of.f.row();
        let written = row.params.iter().filter(|p| p.ty == ArgTy::Float).zip(self.of.args).filter(|(_, x)| x.is_finite());
        written.fold(Attrs::default().with("f", Attr::Word(row.name.to_owned())), |attrs, (p, x)| {
            attrs.with(p.name, Attr::Float(x))
        })
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        if inputs[0] != inputs[1] {
            let message = format!("a gradient {} of a function of {}", inputs[1], inputs[0]);
            return Err(OpError::new(codes::E0206, message));
        }
        Ok(shape_rules::same(inputs))
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (v, dy) = (at.inputs[0], at.inputs[1]);
        at.each(|i| {
            if i == 1 {
                return Ok(Some(e.op(self.clone().into(), &[v, at.dy])?));
            }
            let t = e.mul(at.dy, dy)?;
            (self.of.f.row().derivative.again)(e, v, t, self.of.args)
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let args = self.of.args.map(f64::from);
        let f = self.of.f.row().derivative.reference;
        Array::from_fn(out.dims(), |at| f(inputs[0].at(at), inputs[1].at(at), args))
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        super::lower::elementwise(cx, &self.scalar_fn());
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        Some(self.scalar_fn())
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, self.of.f.row().flops + 1)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::pointwise(out)
    }
}
