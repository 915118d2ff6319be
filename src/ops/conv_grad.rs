//! The gradient of a convolution by its weights, as an operation of its own (the language has no name for it):
//!
//! `dw[set, o, i, k] = sum over samples n, positions p with set(p) = set of dy[n, o, p] * x[n, i, p*stride + k*dilation - lo]`
//!
//! Inputs: `x` and `dy`, the gradient by the layer's output. The result has the dimensions of the layer's weight. It is the
//! weight gradient of the transposed layer as well, with `x` and `dy` exchanged.

use super::conv::Conv;
use super::unconv::Unconv;
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::squares::Squares;
use super::strips::Strips;
use super::args::Attrs;
use super::case::Case;
use super::{conv_grad_groups, conv_grad_nest};
use super::conv_nest::{guard, seen, serial, turning};
use super::channel_loops::listed;
use super::geometry::{Geometry, Linking, Share};
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::window::Window;
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why};
use crate::loops::{Affine, Expr, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Sums of groups over so many positions take far longer than going on with them elsewhere, and are faster in one piece.
const POSITIONS_MAX: usize = 64;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvGrad {
    /// The forward layer's geometry.
    pub geometry: Geometry,
}

impl ConvGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "conv_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { geometry: Geometry::from_attrs(attrs)? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        super::conv_cases::conv_grad()
    }

    /// The forward layer's windows on `x`.
    pub(super) fn windows(&self, x: &TensorTy, dy: &TensorTy) -> Result<Vec<Window>, OpError> {
        let (windows, _) = self.geometry.window.resolve(x, false)?;
        self.geometry.check_channels(x.c(), dy.c())?;
        let out: Vec<usize> = windows.iter().map(|w| w.out).collect();
        if x.n() != dy.n() || dy.grid_dims() != out {
            let message = format!("a gradient {dy} is not one of the layer's output on {x}");
            return Err(OpError::new(codes::E0206, message));
        }
        Ok(windows)
    }
}

impl OpRules for ConvGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.geometry.attrs(Attrs::default())
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, dy) = (inputs[0], inputs[1]);
        self.windows(x, dy)?;
        self.geometry.check_tile(dy.grid_dims())?;
        let ty = self.geometry.weight_ty(x, dy.c(), dy.grid_dims())?;
        let why = vec![Why::given("the layer's weight"); ty.dims().len()];
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        // The weight's place is taken by the gradient by it.
        let (x, dy) = (at.inputs[0], at.inputs[1]);
        at.each(|i| {
            let geometry = self.geometry.clone();
            Ok(Some(if i == 0 {
                let (channels, size) = (e.ty(x).c(), Some(e.ty(x).grid_dims().to_vec()));
                e.op(Unconv { channels, geometry, size, bias: false }.into(), &[dy, at.dy])?
            } else {
                let channels = e.ty(dy).c();
                e.op(Conv { channels, geometry, bias: false }.into(), &[x, at.dy])?
            }))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, dy) = (inputs[0], inputs[1]);
        let windows: Vec<Window> = (0..x.dims.len() - 2)
            .map(|axis| self.geometry.window.axis(axis, x.dims[axis + 2], false).expect("the shape rule held").0)
            .collect();
        let mut dw = Array::zeros(out.dims());
        self.geometry.for_each_product(&x.dims, dy.dims[1], &windows, |p| {
            dw.data[p.w] += dy.data[p.y] * x.data[p.x];
        });
        dw
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (x, dy) = (cx.input(0).clone(), cx.input(1).clone());
        let windows = self.windows(&x, &dy).expect("the shape rule accepted these types");
        if conv_grad_nest::lower(cx, self, &windows) || conv_grad_groups::lower(cx, self, &windows) {
            return;
        }
        let out = cx.out().clone();
        if let Some(strips) = self.strips(&x, &dy, &out).filter(|_| cx.goes_on()) {
            return strips.write(cx, |cx, at| self.element(cx, &windows, at.to_vec()).1);
        }
        let loops = self.loops(&dy, &out);
        let dims: Vec<(&str, usize)> = loops.iter().map(|(name, _, extent)| (&**name, *extent)).collect();
        turning(cx, LoopKind::Free, &dims, |cx, at| {
            let (at, sum) = self.element(cx, &windows, at.to_vec());
            cx.store(&at, sum);
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        let windows = self.windows(inputs[0], inputs[1]).expect("the shape rule accepted these types");
        let mut halo = vec![(0, 0), (0, 0)];
        halo.extend(windows.iter().map(Window::overhang));
        let near = vec![(0, 0); inputs[1].dims().len()];
        let inputs = vec![Want::Channels(halo), Want::Channels(near)];
        Wants { inputs, output: Want::Order(self.geometry.packing(true)) }
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        let (x, dy) = (inputs[0], inputs[1]);
        let positions = dy.n().saturating_mul(dy.grid_dims().iter().product()) as u64;
        let links = self.geometry.link_count(x.c(), dy.c()) as u64;
        let macs = positions.saturating_mul(links).saturating_mul(self.geometry.taps() as u64);
        Cost { macs, flops: macs.saturating_mul(2) }
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        Vec::new()
    }
}

/// The sums of squares that `op` on `x` and `dy` makes in passing.
pub(super) fn squares(op: &ConvGrad, x: &TensorTy, dy: &TensorTy, out: &TensorTy) -> Option<Squares> {
    let windows = op.windows(x, dy).ok()?;
    let in_chunks = conv_grad_nest::squares(op, dy, out, &windows);
    in_chunks.or_else(|| op.strips(x, dy, out)?.squares(out.dims().len()))
}

impl ConvGrad {
    /// A loop per dimension of the weight, output channels split by group: names, dimensions and extents.
    fn loops(&self, dy: &TensorTy, out: &TensorTy) -> Vec<(String, usize, usize)> {
        let sets = self.geometry.sets(dy.grid_dims()).len();
        let mut loops = Vec::new();
        for (d, (name, extent)) in out.names().iter().zip(out.dims()).enumerate() {
            match self.geometry.links {
                Linking::Groups(g) if d == sets => {
                    loops.extend([("g".to_owned(), d, g), ("o".to_owned(), d, extent / g)]);
                }
                Linking::Dense | Linking::Groups(_) | Linking::Table(_) => loops.push((name.to_string(), d, *extent)),
            }
        }
        loops
    }

    /// The index of the weight and its gradient at the indices of [`Self::loops`].
    fn element(&self, cx: &mut LowerCx<'_>, windows: &[Window], mut at: Vec<Affine>) -> (Vec<Affine>, Expr) {
        let (x, dy) = (cx.input(0).c(), cx.input(1).clone());
        let sets = self.geometry.sets(dy.grid_dims()).len();
        let mut first = Affine::k(0);
        if let Linking::Groups(groups) = self.geometry.links {
            let member = at.remove(sets + 1);
            first = &at[sets] * (x / groups) as i64;
            at[sets] = &(&at[sets] * (dy.c() / groups) as i64) + &member;
        }
        let (o, i, taps) = match &self.geometry.links {
            Linking::Dense | Linking::Groups(_) => (at[sets].clone(), &first + &at[sets + 1], &at[sets + 2..]),
            Linking::Table(table) => {
                let rows = table.rows.iter().enumerate();
                let links: Vec<(i64, i64)> =
                    rows.flat_map(|(o, r)| r.iter().map(move |i| (o as i64, i64::from(*i)))).collect();
                let outs: Vec<i64> = links.iter().map(|l| l.0).collect();
                let ins: Vec<i64> = links.iter().map(|l| l.1).collect();
                let o = listed(cx, "map", &at[sets], &outs);
                (o, listed(cx, "from", &at[sets], &ins), &at[sets + 1..])
            }
        };
        let taps: Vec<Affine> =
            windows.iter().zip(taps).map(|(w, k)| super::conv_nest::tap(&self.geometry, w, k)).collect();
        let sum = self.sum(cx, windows, &at[..sets], (&o, &i), &taps);
        (at, sum)
    }

    /// Strips of the gradient by definition.
    fn strips(&self, x: &TensorTy, dy: &TensorTy, out: &TensorTy) -> Option<Strips> {
        let windows = self.windows(x, dy).ok()?;
        let positions = dy.n() * windows.iter().map(|w| w.out).product::<usize>();
        let long = self.geometry.share == Share::All && positions >= POSITIONS_MAX;
        let fits = match self.geometry.links {
            Linking::Dense => true,
            Linking::Groups(_) => !long && !conv_grad_groups::applies(self, dy, &windows),
            Linking::Table(_) => false,
        };
        if !fits {
            return None;
        }
        let loops = self.loops(dy, out);
        let sets = self.geometry.sets(dy.grid_dims()).len();
        // Whole output maps first, then taps, then input maps, then sets.
        let rank = |dim: usize| match dim {
            _ if dim < sets => 0,
            _ if dim == sets + 1 => 1,
            _ if dim > sets => 2,
            _ => 3,
        };
        let mut order: Vec<usize> = (0..loops.len()).collect();
        order.sort_by_key(|i| rank(loops[*i].1));
        // Vectors along output maps; of depthwise layers along groups.
        let outs = loops.iter().rposition(|l| l.1 == sets)?;
        Strips::of(loops, &order, sets..=outs)
    }

    /// The sum for one weight: over samples and, where a set of weights serves several positions, over those. Rows are summed
    /// on their own first, so that the rounding error does not grow with the product of all extents.
    fn sum(
        &self,
        cx: &mut LowerCx<'_>,
        windows: &[Window],
        set: &[Affine],
        (o, i): (&Affine, &Affine),
        taps: &[Affine],
    ) -> Expr {
        let dy = cx.input(1).clone();
        let step: Vec<usize> = match &self.geometry.share {
            Share::All => vec![1; windows.len()],
            Share::Tile(t) => t.clone(),
            Share::None => windows.iter().map(|w| w.out).collect(),
        };
        let mut dims: Vec<(String, usize)> = vec![("n".into(), dy.n())];
        let turns = windows.iter().zip(&step).map(|(w, t)| w.out.div_ceil(*t));
        dims.extend(dy.grid_names().iter().map(ToString::to_string).zip(turns));
        let row = dims.pop().into_iter().collect::<Vec<_>>();
        let total = cx.b.let_(0.0);
        let alone = row.iter().all(|(_, turns)| *turns == 1);
        serial(cx, &dims, |cx, outer| {
            // A row of one position is no sum of its own.
            let sum = if alone { total } else { cx.b.let_(0.0) };
            serial(cx, &row, |cx, inner| {
                let at = [outer, inner].concat();
                let mut p = Vec::new();
                let mut conds = Vec::new();
                for (axis, (w, t)) in windows.iter().zip(&step).enumerate() {
                    let mut position = &at[axis + 1] * *t as i64;
                    if let Some(set) = set.get(axis) {
                        position = &position + set;
                    }
                    if w.out % t != 0 {
                        conds.push((&position * -1).offset(w.out as i64 - 1));
                    }
                    p.push(position);
                }
                let take = |cx: &mut LowerCx<'_>| {
                    let mut x = vec![at[0].clone(), i.clone()];
                    x.extend(windows.iter().zip(&p).zip(taps).map(|((w, p), k)| seen(w, p, k)));
                    let y = [&[at[0].clone(), o.clone()], &p[..]].concat();
                    let product = Expr::fma(cx.load(1, &y), cx.load(0, &x), sum.into());
                    cx.b.set(sum, product);
                };
                guard(cx, conds, take);
            });
            if !alone {
                cx.b.set(total, Expr::Reg(total) + Expr::Reg(sum));
            }
        });
        Expr::Reg(total)
    }
}
