//! Interpolation along one dimension by tables: `y[…, o, …] = Σ_t w[o, t] * x[…, at[o, t], …]`. Every resampling whose
//! weights are known beforehand is one (linear or cubic, antialiased, any correspondence of positions), an axis at a time.
//! Importers make it, the language has no name for it. Inputs: `x` and the weights `[o, t]`.

use std::sync::Arc;

use super::args::{Attr, Attrs};
use super::case::{Case, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::arrange::{Arrange, Pick, layers};
use super::embed::Embed;
use super::refold::Refold;
use super::slice::Cut;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use crate::support::Name;
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Blend {
    /// The dimension.
    pub dim: usize,
    /// Terms of each sum.
    pub taps: usize,
    /// The positions looked at, those of output 0 first.
    pub at: Arc<Vec<usize>>,
}

impl Blend {
    /// What printed graphs call it.
    pub const KIND: &'static str = "blend";

    /// Names in the language: none.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let op = Self { dim: attrs.size("dim")?, taps: attrs.size("taps")?, at: Arc::new(attrs.sizes("at")?) };
        if op.taps == 0 || !op.at.len().is_multiple_of(op.taps) {
            return Err("`at` is not `taps` positions for each output".into());
        }
        Ok(op)
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |dim, taps, at: &[usize]| Self { dim, taps, at: Arc::new(at.to_vec()) };
        let w = |o, t| weight(&[("o", o), ("t", t)]);
        let image = || act(2, 3, &[("h", 4), ("w", 5)]);
        vec![
            Case::new("rows", op(2, 2, &[0, 1, 1, 2, 3, 3]), vec![image(), w(3, 2)]),
            Case::new("columns", op(3, 3, &[0, 0, 4, 1, 2, 3]), vec![image(), w(2, 3)]),
            Case::new("channels", op(1, 1, &[2, 0, 1, 1]), vec![image(), w(4, 1)]),
            Case::new("general", op(0, 2, &[4, 1]), vec![weight(&[("d0", 5), ("d1", 3)]), w(1, 2)]),
        ]
    }

    fn outputs(&self) -> usize {
        self.at.len() / self.taps.max(1)
    }
}

impl OpRules for Blend {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
            .with("dim", Attr::Int(self.dim as i64))
            .with("taps", Attr::Int(self.taps as i64))
            .with("at", Attr::Ints(self.at.iter().map(|i| *i as i64).collect()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, w) = (inputs[0], inputs[1]);
        let extent = x.dims().get(self.dim).copied().unwrap_or(0);
        if self.at.iter().any(|i| *i >= extent) || w.dims() != [self.outputs(), self.taps] {
            let message = format!("a blend of {} with {} along dimension {}", x.show(), w.show(), self.dim);
            return Err(OpError::new(codes::E0213, message));
        }
        let mut dims = x.dims().to_vec();
        dims[self.dim] = self.outputs();
        let mut why: Vec<Why> = (0..dims.len()).map(|d| Why::same(0, d)).collect();
        why[self.dim] = Why::from(0, self.dim, format!("resampled to {}", self.outputs()));
        Ok(Inferred { ty: shape_rules::resized("blend", x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let extent = e.ty(at.inputs[0]).dims()[self.dim];
        let all = self.at.len();
        at.each(|i| {
            if i == 1 {
                return Err(NotDifferentiable::new("the weights of a resampling are fixed"));
            }
            // Which terms look at each position; one more weight, 0, stands for none.
            let rows = layers(&self.at, extent);
            let taps = rows.len().max(1);
            let term = |p: usize, t: usize| rows.get(t).and_then(|row| row[p]);
            let places = (0..extent).flat_map(|p| (0..taps).map(move |t| (p, t)));
            let terms: Vec<Option<usize>> = places.map(|(p, t)| term(p, t)).collect();
            let flat = |len| vec![(Name::from("o"), len)];
            let w = e.op(Refold { to: flat(all) }.into(), &[at.inputs[1]])?;
            let w = e.op(Embed { into: vec![Cut { dim: 0, start: 0, len: all + 1 }] }.into(), &[w])?;
            let table = terms.iter().map(|t| t.unwrap_or(all)).collect::<Vec<_>>();
            let w = e.op(
                Arrange { to: flat(extent * taps), from: vec![Pick::Table { dim: 0, table: table.into() }] }.into(),
                &[w],
            )?;
            let w = e.op(Refold { to: vec![("o".into(), extent), ("t".into(), taps)] }.into(), &[w])?;
            let from = terms.iter().map(|t| t.map_or(0, |t| t / self.taps)).collect::<Vec<_>>();
            Ok(Some(e.op(Self { dim: self.dim, taps, at: from.into() }.into(), &[at.dy, w])?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, w) = (inputs[0], inputs[1]);
        Array::from_fn(out.dims(), |at| {
            let o = at[self.dim];
            let term = |t: usize| {
                let mut from = at.to_vec();
                from[self.dim] = self.at[o * self.taps + t];
                w.at(&[o, t]) * x.at(&from)
            };
            (0..self.taps).map(term).sum()
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let table = cx.b.table(self.at.iter().map(|i| *i as i64).collect());
        cx.for_each_output(|cx, at| {
            let acc = cx.b.let_(0.0);
            cx.nested(LoopKind::Serial, &[("t", self.taps)], |cx, t| {
                let t = Affine::from(t[0]);
                let o = &at[self.dim];
                let place = cx.b.lookup("i", table, &(o * self.taps as i64) + &t);
                let mut from = at.to_vec();
                from[self.dim] = place.into();
                let term = Expr::fma(cx.load(1, &[o.clone(), t]), cx.load(0, &from), acc.into());
                cx.b.set(acc, term);
            });
            cx.store(at, Expr::Reg(acc));
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

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        shape_rules::flops(out, 2 * self.taps as u64)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let mut fields = shape_rules::pointwise(out);
        if let Some(field) = self.dim.checked_sub(2).and_then(|axis| fields.get_mut(axis)) {
            *field = Field::All;
        }
        fields
    }
}
