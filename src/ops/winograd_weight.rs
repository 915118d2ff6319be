//! The weight of [`super::winograd`]: `u[o, i] = G w[o, i] G'` with the `G` of [`super::minimal`], 16 or 36 numbers for 9, row by row.
//! For the gradient by the input, maps change sides and the kernel turns around. Only a pass makes it.

use super::args::{Attr, Attrs};
use super::case::{Case, weight};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::minimal::Tile;
use super::role::Role;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{At, Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module. Input: a weight `[o, i, 3, 3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinogradWeight {
    /// Of what it is the weight.
    pub tile: Tile,
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
        Ok(Self { tile: Tile::of(attrs.size("tile")?)?, swap: attrs.bool("swap")?, flip: attrs.bool("flip")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let w = |o, i| vec![weight(&[("o", o), ("i", i), ("kh", 3), ("kw", 3)])];
        let of = |tile, swap, flip| Self { tile, swap, flip };
        vec![
            Case::new("plain", of(Tile::Two, false, false), w(16, 5)),
            Case::new("flipped", of(Tile::Two, false, true), w(32, 3)),
            Case::new("swapped", of(Tile::Two, true, true), w(6, 16)),
            Case::new("four", of(Tile::Four, false, false), w(16, 5)),
            Case::new("four, flipped", of(Tile::Four, false, true), w(7, 32)),
            Case::new("four, swapped", of(Tile::Four, true, true), w(32, 48)),
            Case::new("swapped block by block", of(Tile::Two, true, true), w(144, 48)),
            Case::new("four, swapped block by block", of(Tile::Four, true, false), w(160, 16)),
        ]
    }

    /// Cycles for `pairs` of maps, roughly: what is stored.
    pub(super) fn cycles(self, pairs: usize) -> f64 {
        pairs as f64 * self.tile.numbers() as f64 / 2.0
    }

    /// The tap that stands at `k` of 3.
    fn tap(self, k: usize) -> usize {
        if self.flip { 2 - k } else { k }
    }
}

/// Maps of the layer's weight from which on those of one output map lie so far apart that lines of several fall into one set of
/// the nearest cache.
const SWAPPED_MIN: usize = 128;

/// Maps of a block on each side that is copied together.
const BLOCK: usize = 16;

impl WinogradWeight {
    /// Stores the numbers of one pair of maps `o, i` of the result; `load` gives a tap of the layer's weight.
    fn one(self, cx: &mut LowerCx<'_>, [o, i]: [&Affine; 2], load: impl Fn(&LowerCx<'_>, &[Affine]) -> Expr) {
        let span = self.tile.span();
        let load = |cx: &mut LowerCx<'_>, k: usize, l: usize| load(cx, &[self.tap(k), self.tap(l)].map(|t| Affine::k(t as i64)));
        self.tile.both(cx, 3, Tile::weight_rule, load, |cx, row, column, u| {
            let t = Affine::k((span * row + column) as i64);
            cx.store(&[o.clone(), i.clone(), t], Expr::Reg(u));
        });
    }

    /// Maps change places: block by block, each copied line by line to where its columns are near.
    fn lower_swapped(self, cx: &mut LowerCx<'_>, [o, i]: [usize; 2]) {
        let dims = [("o", o / BLOCK), ("kh", 3), ("kw", 3), ("ol", BLOCK), ("il", BLOCK)];
        let near = cx.scratch("near", &dims);
        let block = |at: &Affine, lane: &Affine| &(at * BLOCK as i64) + lane;
        cx.nested(LoopKind::Free, &dims[..1], |cx, ob| {
            let ob = Affine::from(ob[0]);
            cx.nested(LoopKind::Serial, &[("i", i / BLOCK)], |cx, ib| {
                let ib = Affine::from(ib[0]);
                cx.nested(LoopKind::Free, &dims[1..], |cx, v| {
                    let [k, l, ol, il] = [v[0], v[1], v[2], v[3]].map(Affine::from);
                    let value = cx.load(0, &[block(&ib, &il), block(&ob, &ol), k.clone(), l.clone()]);
                    cx.b.store(near, &[ob.clone(), k, l, ol, il], value);
                });
                cx.nested(LoopKind::Free, &[("il", BLOCK), ("ol", BLOCK)], |cx, v| {
                    let [il, ol] = [v[0], v[1]].map(Affine::from);
                    let maps = [&block(&ob, &ol), &block(&ib, &il)];
                    self.one(cx, maps, |cx, taps| {
                        let at = [std::slice::from_ref(&ob), taps, &[ol.clone(), il.clone()]].concat();
                        cx.b.load(near, &at)
                    });
                });
            });
        });
    }
}

impl OpRules for WinogradWeight {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
            .with("tile", Attr::Int(self.tile.outputs() as i64))
            .with("swap", Attr::Bool(self.swap)).with("flip", Attr::Bool(self.flip))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let &[o, i, 3, 3] = inputs[0].dims() else {
            let message = format!("`winograd_weight` takes kernels of 3x3, not {}", inputs[0]);
            return Err(OpError::new(codes::E0206, message).at(At::Input(0)));
        };
        let (o, i) = if self.swap { (i, o) } else { (o, i) };
        let numbers = self.tile.numbers();
        let ty = TensorTy::new([("o", o), ("i", i), ("t", numbers)])
            .map_err(|_| shape_rules::too_large("winograd_weight", &[o, i, numbers]))?;
        Ok(Inferred { ty, why: vec![Why::given("the layer's weight"); 3] })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `winograd_weight`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (g, span) = (self.tile.weight(), self.tile.span());
        Array::from_fn(out.dims(), |at| {
            let (o, i) = if self.swap { (at[1], at[0]) } else { (at[0], at[1]) };
            let mut sum = 0.0;
            for (k, l) in (0..3).flat_map(|k| (0..3).map(move |l| (k, l))) {
                let w = inputs[0].at(&[o, i, self.tap(k), self.tap(l)]);
                sum += g[at[2] / span][k] * g[at[2] % span][l] * w;
            }
            sum
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let [o, i] = [0, 1].map(|d| cx.out().dims()[d]);
        if self.swap && i > SWAPPED_MIN && o.is_multiple_of(BLOCK) && i.is_multiple_of(BLOCK) {
            return self.lower_swapped(cx, [o, i]);
        }
        cx.nested(LoopKind::Free, &[("i", i), ("o", o)], |cx, v| {
            let (i, o) = (Affine::from(v[0]), Affine::from(v[1]));
            let from = if self.swap { [i.clone(), o.clone()] } else { [o.clone(), i.clone()] };
            self.one(cx, [&o, &i], |cx, taps| cx.load(0, &[&from[..], taps].concat()));
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
