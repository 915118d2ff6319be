//! The gradient by a weight from the sums of [`super::winograd_grad`]: `dw[o, i] = G' (Σ_s m[s, o, i]) G` with the `G` of
//! [`super::minimal`], 9 numbers of 16 or 36. Only a pass makes it.

use super::args::{Attr, Attrs};
use super::case::{Case, weight};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::minimal::Tile;
use super::role::Role;
use super::squares::{Squares, Turn};
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{At, Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use super::winograd_nest::Cut;
use crate::loops::{Affine, Buf, Expr, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module. Input: sums `[s, op, ip, t, ob, ib, il, ol]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinogradFold {
    /// Of what there are sums.
    pub tile: Tile,
    /// Taps run backwards.
    pub flip: bool,
}

impl WinogradFold {
    /// What printed graphs call it.
    pub const KIND: &'static str = "winograd_fold";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { tile: Tile::of(attrs.size("tile")?)?, flip: attrs.bool("flip")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, flip, [s, op, ip, ob, ib]: [usize; 5]| {
            Tile::ALL.map(|tile| {
                let parts = [("s", s), ("op", op), ("ip", ip), ("t", tile.numbers())];
                let sums = weight(&[&parts[..], &[("ob", ob), ("ib", ib), ("il", 16), ("ol", 16)]].concat());
                Case::new(format!("{name}, {}", tile.gradient()), Self { tile, flip }, vec![sums])
            })
        };
        [case("one sum", false, [1, 2, 3, 1, 2]), case("several sums, flipped", true, [5, 1, 1, 2, 1])].into_iter().flatten().collect()
    }

    /// The tap that stands at `k` of 3.
    fn tap(self, k: usize) -> usize {
        if self.flip { 2 - k } else { k }
    }
}

/// Maps side by side.
const LANES: usize = Cut::LANES;

/// The sums of squares that the folding of sums with parts of `o` output maps makes in passing: those of 16 input maps at a time, as they lie
/// in the buffer of [`go_on`].
pub(super) fn squares_of(o: usize) -> Option<Squares> {
    let turn = |dim, extent, step| Turn { dim, extent, step };
    let turns = vec![turn(2, 3, 1), turn(3, 3, 1), turn(1, LANES, 1), turn(0, o / LANES, LANES)];
    o.is_multiple_of(LANES).then(|| Squares { part: vec![o, LANES, 3, 3], turns, lanes: turn(0, LANES, 1) })
}

/// The same of `sums`, which are folded.
pub(super) fn squares(sums: &TensorTy) -> Option<Squares> {
    let [_, _, _, _, ob, _, LANES, LANES] = *sums.dims() else { return None };
    squares_of(ob * LANES)
}

/// The buffer for what is folded of 16 input maps and `o` output maps, for each of `outer`.
pub(super) fn strip(cx: &mut LowerCx<'_>, outer: &[(&str, usize)], o: usize) -> Buf {
    let own = [("k", 3), ("l", 3), ("il", LANES), ("ob", o / LANES), ("ol", LANES)];
    cx.scratch("strip", &[outer, &own].concat())
}

/// Stores what lies in the strip at `place`, and sums its squares. `parts` count strips of `o` output and 16 input maps.
pub(super) fn go_on(cx: &mut LowerCx<'_>, (strip, place): (Buf, &[Affine]), parts: &[Affine; 2], o: usize) {
    let dims = [("k", 3), ("l", 3), ("il", LANES), ("ob", o / LANES), ("ol", LANES)];
    let load = |cx: &LowerCx<'_>, at: &[Affine]| cx.b.load(strip, &[place, at].concat());
    cx.nested(LoopKind::Free, &dims, |cx, v| {
        let v: Vec<Affine> = v.iter().map(|v| Affine::from(*v)).collect();
        let value = load(cx, &v);
        let output = &(&(&parts[0] * o as i64) + &(&v[3] * LANES as i64)) + &v[4];
        let input = &(&parts[1] * LANES as i64) + &v[2];
        cx.store(&[output, input, v[0].clone(), v[1].clone()], value);
    });
    let parts = [parts[0].clone(), parts[1].clone(), Affine::k(0), Affine::k(0)];
    cx.sum_part(&parts, &load);
}

impl OpRules for WinogradFold {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
            .with("tile", Attr::Int(self.tile.outputs() as i64))
            .with("flip", Attr::Bool(self.flip))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let fits = |t: usize| t == self.tile.numbers();
        let Some(&[_, op, ip, _, ob, ib, il, ol]) = Some(inputs[0].dims()).filter(|d| d.get(3).is_some_and(|t| fits(*t))) else {
            let message = format!("`winograd_fold` takes sums of `winograd_grad`, not {}", inputs[0]);
            return Err(OpError::new(codes::E0206, message).at(At::Input(0)));
        };
        // The type of the sums bounds these products.
        let (o, i) = (op * ob * ol, ip * ib * il);
        let ty = TensorTy::new([("o", o), ("i", i), ("kh", 3), ("kw", 3)])
            .map_err(|_| shape_rules::too_large("winograd_fold", &[o, i, 3, 3]))?;
        Ok(Inferred { ty, why: vec![Why::given("the layer's weight"); 4] })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.each(|_| Err(NotDifferentiable::new("passes make `winograd_fold`, after gradients were taken")))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (m, g, span) = (inputs[0], self.tile.weight(), self.tile.span());
        let [sums, _, _, _, ob, ib, il, ol] = <[usize; 8]>::try_from(&m.dims[..]).expect("eight dimensions");
        Array::from_fn(out.dims(), |at| {
            let (o, i) = (at[0], at[1]);
            let mut total = 0.0;
            for (s, t) in (0..sums).flat_map(|s| (0..self.tile.numbers()).map(move |t| (s, t))) {
                let from = [s, o / (ob * ol), i / (ib * il), t, o / ol % ob, i / il % ib, i % il, o % ol];
                total += g[t / span][self.tap(at[2])] * g[t % span][self.tap(at[3])] * m.at(&from);
            }
            total
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let all = cx.input(0).dims().to_vec();
        let (sums, ob, ib, il, ol) = (all[0], all[4], all[5], all[6], all[7]);
        let dims = [("op", all[1]), ("ip", all[2]), ("ib", ib), ("il", il), ("ob", ob), ("ol", ol)];
        let span = self.tile.span();
        let load = |cx: &LowerCx<'_>, [op, ip, ib, il, ob, ol]: &[Affine; 6], k: usize, l: usize| {
            let one = |s: usize| {
                let part = [Affine::k(s as i64), op.clone(), ip.clone(), Affine::k((span * k + l) as i64)];
                let within = [ob.clone(), ib.clone(), il.clone(), ol.clone()];
                cx.load(0, &[&part[..], &within[..]].concat())
            };
            (1..sums).fold(one(0), |sum, s| sum + one(s))
        };
        let taps = |k, l| [self.tap(k), self.tap(l)].map(|t| Affine::k(t as i64));
        if cx.goes_on() {
            let strip = strip(cx, &dims[..3], ob * ol);
            return cx.nested(LoopKind::Free, &dims[..3], |cx, v| {
                let outer = [v[0], v[1], v[2]].map(Affine::from);
                cx.nested(LoopKind::Free, &dims[3..], |cx, v| {
                    let [op, ip, ib] = outer.clone();
                    let [il, ob, ol] = [v[0], v[1], v[2]].map(Affine::from);
                    let at = [op, ip, ib, il.clone(), ob.clone(), ol.clone()];
                    self.tile.both(cx, span, Tile::fold_rule, |cx, k, l| load(cx, &at, k, l), |cx, k, l, w| {
                        let within = [il.clone(), ob.clone(), ol.clone()];
                        cx.b.store(strip, &[&outer[..], &taps(k, l), &within].concat(), Expr::Reg(w));
                    });
                });
                let parts = [outer[0].clone(), &(&outer[1] * ib as i64) + &outer[2]];
                go_on(cx, (strip, &outer), &parts, ob * ol);
            });
        }
        cx.nested(LoopKind::Free, &dims, |cx, v| {
            let at = [v[0], v[1], v[2], v[3], v[4], v[5]].map(Affine::from);
            let [op, ip, ib_at, il_at, ob_at, ol_at] = &at;
            let o = &(&(op * (ob * ol) as i64) + &(ob_at * ol as i64)) + ol_at;
            let i = &(&(ip * (ib * il) as i64) + &(ib_at * il as i64)) + il_at;
            self.tile.both(cx, span, Tile::fold_rule, |cx, k, l| load(cx, &at, k, l), |cx, k, l, w| {
                cx.store(&[&[o.clone(), i.clone()], &taps(k, l)[..]].concat(), Expr::Reg(w));
            });
        });
    }

    fn wants(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        // As the layer's weight lies for the layer itself.
        Wants { inputs: vec![Want::Any], output: Want::Order(vec![2, 3, 1, 0]) }
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
        Vec::new()
    }
}
