//! Sums of the squares of a weight's gradient over parts of it, `y[p, l]`: `p` counts the parts, the last dimension's fastest, and `l` the
//! lanes, of which each has its own sum. All of them together are the square of the gradient's norm, which a training step is judged by
//! and clips gradients with. What makes the gradient makes them in passing ([`Role::Sums`]), part by part, while a part is in the nearer
//! caches; so the gradient need not be stored if nothing else reads it. Only `train` makes them; a pass cuts the gradient into the parts
//! in which it is made.

use super::args::{Attr, Attrs};
use super::case::{Case, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::sum;
use super::role::{InPassing, Role};
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{
    At, Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, conv_grad, conv_grad_fold, dense_grad, shape_rules,
    winograd_fold,
};
use crate::loops::{Affine, Expr, LoopKind, Var};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// A loop over a part: `extent` turns of `step` along dimension `dim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The dimension.
    pub dim: usize,
    /// How often it turns.
    pub extent: usize,
    /// How far each time.
    pub step: usize,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squares {
    /// Extents of a part, each a divisor of the gradient's.
    pub part: Vec<usize>,
    /// Loops over a part, outermost first, the one over lanes aside: each that turns has a partial sum of its own.
    pub turns: Vec<Turn>,
    /// The loop over lanes.
    pub lanes: Turn,
}

/// Lanes of whole vectors, several side by side if possible, so that one sum need not wait for another; most lanes where no fewer divide the
/// maps; and so many parts can be shared out.
const LANES: [usize; 4] = [64, 32, 16, 8];
const LANES_MAX: usize = 1 << 12;
const SHARED: usize = 16;

impl Squares {
    /// What printed graphs call it.
    pub const KIND: &'static str = "squares";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// Of a part of these extents, gone over in the order of its dimensions but with the lanes last; `None` where `dim` is no multiple of
    /// as many lanes.
    pub fn over(part: &[usize], dim: usize, lanes: usize) -> Option<Self> {
        let along = *part.get(dim)?;
        if lanes == 0 || !along.is_multiple_of(lanes) {
            return None;
        }
        let outer = Turn { dim, extent: along / lanes, step: lanes };
        let others = part.iter().enumerate().filter(|(d, _)| *d != dim).map(|(dim, e)| Turn { dim, extent: *e, step: 1 });
        let turns = std::iter::once(outer).chain(others).collect();
        Some(Self { part: part.to_vec(), turns, lanes: Turn { dim, extent: lanes, step: 1 } })
    }

    /// Of a gradient that is made nobody knows how.
    pub fn any(ty: &TensorTy) -> Self {
        let dims = ty.dims();
        let first = dims.first().copied().unwrap_or(1);
        let lanes = Self::lanes(first);
        let mut part = dims.to_vec();
        if let Some(second) = part.get_mut(1) {
            *second = (1..=*second).rev().find(|d| dims[1].is_multiple_of(*d) && dims[1] / d >= SHARED).unwrap_or(1);
        }
        Self::over(&part, 0, lanes).unwrap_or(Self { part, turns: Vec::new(), lanes: Turn { dim: 0, extent: 1, step: 1 } })
    }

    /// Lanes along a dimension of so many elements.
    pub(super) fn lanes(extent: usize) -> usize {
        let whole = || LANES.into_iter().find(|l| extent.is_multiple_of(*l));
        let ragged = || (LANES[3]..=LANES[0]).rev().find(|l| extent.is_multiple_of(*l));
        whole().or_else(ragged).unwrap_or(if extent <= LANES_MAX { extent.max(1) } else { 1 })
    }

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let turn = |t: &[usize]| Turn { dim: t[0], extent: t[1], step: t[2] };
        let [turns, lanes] = ["turns", "lanes"].map(|name| attrs.sizes(name));
        let (turns, lanes) = (turns?, lanes?);
        if !turns.len().is_multiple_of(3) || lanes.len() != 3 {
            return Err("loops are threes of dimension, extent and step".to_owned());
        }
        Ok(Self { part: attrs.sizes("part")?, turns: turns.chunks(3).map(turn).collect(), lanes: turn(&lanes) })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let case = |name: &str, op: Option<Self>, dims: &[(&str, usize)]| {
            Case::new(name, op.expect("lanes divide the part"), vec![weight(dims)]).tolerance(2e-5)
        };
        let kernel = [("o", 32), ("i", 12), ("kh", 3), ("kw", 2)];
        let any = Self::any(&weight(&kernel));
        let blocks = Self {
            part: vec![32, 12, 1, 2],
            turns: [(0, 2, 16), (1, 3, 4), (3, 2, 1), (1, 4, 1)].map(|(dim, extent, step)| Turn { dim, extent, step }).to_vec(),
            lanes: Turn { dim: 0, extent: 16, step: 1 },
        };
        vec![
            case("any", Some(any), &kernel),
            case("ragged lanes", Some(Self::any(&weight(&[("o", 51), ("i", 6), ("k", 2)]))), &[("o", 51), ("i", 6), ("k", 2)]),
            case("all maps as lanes", Some(Self::any(&weight(&[("o", 71), ("i", 3)]))), &[("o", 71), ("i", 3)]),
            case("parts", Self::over(&[16, 6, 3, 1], 0, 8), &kernel),
            case("blocks", Some(blocks), &kernel),
            case("matrix", Self::over(&[48, 5], 0, 16), &[("o", 48), ("i", 35)]),
            case("along the last", Self::over(&[1, 10], 1, 10), &[("o", 3), ("i", 10)]),
            case("one element", Self::over(&[1], 0, 1), &[("c", 7)]),
        ]
    }

    /// How many parts there are along each dimension.
    fn counts(&self, ty: &TensorTy) -> Vec<usize> {
        ty.dims().iter().zip(&self.part).map(|(e, p)| e / p.max(&1)).collect()
    }

    /// Whether parts, and loops over one, cover everything once.
    fn fits(&self, ty: &TensorTy) -> bool {
        let dims = ty.dims();
        let whole = self.part.len() == dims.len()
            && !ty.is_empty()
            && dims.iter().zip(&self.part).all(|(e, p)| *p > 0 && e.is_multiple_of(*p));
        // Along each dimension steps are products of the extents of what steps less.
        whole
            && (0..dims.len()).all(|d| {
                let mut own: Vec<Turn> = self.turns.iter().chain([&self.lanes]).filter(|t| t.dim == d).copied().collect();
                own.sort_by_key(|t| t.step);
                let covered = own.iter().try_fold(1usize, |done, t| if t.step == done || t.extent == 1 { done.checked_mul(t.extent) } else { None });
                covered == Some(self.part[d])
            })
            && self.turns.iter().chain([&self.lanes]).all(|t| t.dim < dims.len() || t.extent == 1)
    }

    /// Writes the sums of the part that `parts` count along each dimension. `load` gives the gradient's element at the indices of the loops over a
    /// part, lanes last; `store` takes an element of the result.
    pub(super) fn write(
        &self,
        cx: &mut LowerCx<'_>,
        ty: &TensorTy,
        parts: &[Affine],
        load: &dyn Fn(&LowerCx<'_>, &[Affine]) -> Expr,
        store: &dyn Fn(&mut LowerCx<'_>, &[Affine], Expr),
    ) {
        let number = parts.iter().zip(self.counts(ty)).fold(Affine::k(0), |n, (p, count)| &(&n * count as i64) + p);
        let turning: Vec<&Turn> = self.turns.iter().filter(|t| t.extent != 1).collect();
        let names: Vec<String> = turning.iter().map(|t| format!("{}{}", ty.names()[t.dim], t.step)).collect();
        let turns: Vec<(&str, usize)> = names.iter().zip(&turning).map(|(n, t)| (&**n, t.extent)).collect();
        let lanes = [("l", self.lanes.extent)];
        cx.nested(LoopKind::Free, &lanes[..usize::from(self.lanes.extent > 1)], |cx, v: &[Var]| {
            let lane = v.first().map_or(Affine::k(0), |v| Affine::from(*v));
            let total = sum(cx, &turns, &mut |cx, at| {
                // Those that do not turn have no loop.
                let mut turns = at.iter();
                let mut next = |t: &Turn| if t.extent == 1 { Affine::k(0) } else { turns.next().cloned().unwrap_or(Affine::k(0)) };
                let all: Vec<Affine> = self.turns.iter().map(&mut next).chain([lane.clone()]).collect();
                let x = load(cx, &all);
                let x = cx.b.let_(x);
                Expr::Reg(x) * x.into()
            });
            store(cx, &[number, lane], total.into());
        });
    }

    /// The index within a part that the loops over it stand for.
    fn within(&self, at: &[Affine]) -> Vec<Affine> {
        let mut index = vec![Affine::k(0); self.part.len()];
        for (t, v) in self.turns.iter().chain([&self.lanes]).zip(at) {
            if let Some(i) = index.get_mut(t.dim) {
                *i = &*i + &(v * t.step as i64);
            }
        }
        index
    }
}

impl OpRules for Squares {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let ints = |list: &mut dyn Iterator<Item = usize>| Attr::Ints(list.map(|n| n as i64).collect());
        let turn = |t: &Turn| [t.dim, t.extent, t.step];
        Attrs::default()
            .with("part", ints(&mut self.part.iter().copied()))
            .with("turns", ints(&mut self.turns.iter().flat_map(turn)))
            .with("lanes", ints(&mut turn(&self.lanes).into_iter()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        if !self.fits(x) {
            return Err(OpError::new(codes::E0206, format!("`squares` does not fit {x}")).at(At::Input(0)));
        }
        let dims = [self.counts(x).iter().product(), self.lanes.extent];
        let ty = TensorTy::new(["p", "l"].into_iter().zip(dims)).map_err(|_| shape_rules::too_large("squares", &dims))?;
        Ok(Inferred { ty, why: vec![Why::given("parts"), Why::given("lanes")] })
    }

    fn vjp(&self, _e: &mut dyn Emit, _at: &Applied<'_>) -> Pulled {
        Err(NotDifferentiable::new("it is a measure of a training step, not a part of a network"))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let mut y = Array::zeros(out.dims());
        for_each_index(&x.dims, |at| {
            let counts = x.dims.iter().zip(&self.part).map(|(e, p)| e / p);
            let p = at.iter().zip(&self.part).zip(counts).fold(0, |n, ((i, p), count)| n * count + i / p);
            let along = at.get(self.lanes.dim).map_or(0, |i| i % self.part[self.lanes.dim]);
            let l = along / self.lanes.step % self.lanes.extent;
            *y.at_mut(&[p, l]) += x.at(at).powi(2);
        });
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let ty = cx.input(0).clone();
        let counts = self.counts(&ty);
        let names: Vec<String> = ty.names().iter().map(|n| format!("{n}p")).collect();
        let parts: Vec<(&str, usize)> = names.iter().map(|n| &**n).zip(counts).collect();
        super::conv_nest::turning(cx, LoopKind::Free, &parts, |cx, parts| {
            let load = |cx: &LowerCx<'_>, at: &[Affine]| {
                let first = parts.iter().zip(&self.part).map(|(p, extent)| p * *extent as i64);
                let at: Vec<Affine> = first.zip(self.within(at)).map(|(first, i)| &first + &i).collect();
                cx.load(0, &at)
            };
            self.write(cx, &ty, parts, &load, &|cx, at, value| cx.store(at, value));
        });
    }

    fn wants(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(1)
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Sums(InPassing::Squares(self.clone()))
    }

    fn cost(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        shape_rules::flops(inputs[0], 2)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}

/// The squares that `op` on `inputs` sums in passing, if it makes a gradient in parts that lie in the nearer caches.
pub fn of(op: &Op, inputs: &[&TensorTy], out: &TensorTy) -> Option<Squares> {
    let squares = match (op, inputs) {
        (Op::ConvGrad(op), [x, dy]) => conv_grad::squares(op, x, dy, out)?,
        (Op::WinogradGrad(op), [x, dy]) if op.folded => op.squares(x, dy)?,
        (Op::WinogradFold(_), [sums]) => winograd_fold::squares(sums)?,
        (Op::ConvGradFold(_), [_]) => conv_grad_fold::squares(out)?,
        (Op::DenseGrad(dense_grad::DenseGrad::Weight), [x, _]) => dense_grad::squares(x, out)?,
        _ => return None,
    };
    squares.fits(out).then_some(squares)
}
