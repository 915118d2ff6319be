//! The weight of [`super::winograd`]: `u[o, i] = G w[o, i] G'` with `G = [1 0 0; ½ ½ ½; ½ -½ ½; 0 0 1]`, 16 numbers for 9,
//! `t = 4 * row + column`. For the gradient by the input, maps change sides and the kernel turns around. Only a pass makes it.

use super::args::{Attr, Attrs};
use super::case::{Case, weight};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{At, Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, Reg};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module. Input: a weight `[o, i, 3, 3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinogradWeight {
    /// Output maps are the weight's second dimension.
    pub swap: bool,
    /// Taps run backwards.
    pub flip: bool,
}

impl WinogradWeight {
    /// What printed graphs call it.
    pub const KIND: &'static str = "winograd_weight";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { swap: attrs.bool("swap")?, flip: attrs.bool("flip")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let w = |o, i| vec![weight(&[("o", o), ("i", i), ("kh", 3), ("kw", 3)])];
        vec![
            Case::new("plain", Self { swap: false, flip: false }, w(16, 5)),
            Case::new("flipped", Self { swap: false, flip: true }, w(32, 3)),
            Case::new("swapped", Self { swap: true, flip: true }, w(6, 16)),
        ]
    }

    /// The tap that stands at `k` of 3.
    fn tap(self, k: usize) -> usize {
        if self.flip { 2 - k } else { k }
    }
}

impl OpRules for WinogradWeight {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("swap", Attr::Bool(self.swap)).with("flip", Attr::Bool(self.flip))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let &[o, i, 3, 3] = inputs[0].dims() else {
            let message = format!("`winograd_weight` takes kernels of 3x3, not {}", inputs[0]);
            return Err(OpError::new(codes::E0206, message).at(At::Input(0)));
        };
        let (o, i) = if self.swap { (i, o) } else { (o, i) };
        let ty = TensorTy::new([("o", o), ("i", i), ("t", 16)])
            .map_err(|_| shape_rules::too_large("winograd_weight", &[o, i, 16]))?;
        Ok(Inferred { ty, why: vec![Why::given("the layer's weight"); 3] })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `winograd_weight`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        const G: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
        Array::from_fn(out.dims(), |at| {
            let (o, i) = if self.swap { (at[1], at[0]) } else { (at[0], at[1]) };
            let mut sum = 0.0;
            for (k, l) in (0..3).flat_map(|k| (0..3).map(move |l| (k, l))) {
                let w = inputs[0].at(&[o, i, self.tap(k), self.tap(l)]);
                sum += G[at[2] / 4][k] * G[at[2] % 4][l] * w;
            }
            sum
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let dims = [("i", cx.out().dims()[1]), ("o", cx.out().dims()[0])];
        cx.nested(LoopKind::Free, &dims, |cx, v| {
            let (i, o) = (Affine::from(v[0]), Affine::from(v[1]));
            let from = if self.swap { [i.clone(), o.clone()] } else { [o.clone(), i.clone()] };
            let mut columns: Vec<[Reg; 4]> = Vec::new();
            for l in 0..3 {
                let w = [0, 1, 2].map(|k| {
                    let taps = [self.tap(k), self.tap(l)].map(|t| Affine::k(t as i64));
                    let load = cx.load(0, &[&from[..], &taps[..]].concat());
                    cx.b.let_(load)
                });
                columns.push(rule(cx, w));
            }
            for row in 0..4 {
                let w = [0, 1, 2].map(|l: usize| columns[l][row]);
                for (column, u) in rule(cx, w).into_iter().enumerate() {
                    let t = Affine::k((4 * row + column) as i64);
                    cx.store(&[o.clone(), i.clone(), t], Expr::Reg(u));
                }
            }
        });
    }

    fn wants(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        // As the layer's weight lies for the layer itself.
        Wants { inputs: vec![Want::Order(vec![2, 3, 1, 0])], output: Want::Any }
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
        shape_rules::everywhere(out)
    }
}

/// One axis of `G`.
fn rule(cx: &mut LowerCx<'_>, w: [Reg; 3]) -> [Reg; 4] {
    let [a, b, c] = w.map(Expr::Reg);
    let ends = cx.b.let_((a + c) * 0.5.into());
    let middle = cx.b.let_(b * 0.5.into());
    let sum = cx.b.let_(Expr::Reg(ends) + Expr::Reg(middle));
    let difference = cx.b.let_(Expr::Reg(ends) - Expr::Reg(middle));
    [w[0], sum, difference, w[2]]
}
