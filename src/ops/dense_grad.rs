//! The gradients of full connection, which with it make a closed family:
//!
//! * by the weight: `dw[o, i] = Σ_n dy[n, o] x[n, i]`, inputs `x, dy`;
//! * by the input: `dx[n, i] = Σ_o w[o, i] dy[n, o]`, inputs `dy, w`,
//!
//! `i` running over channels, then the grid, as in [`super::dense`]. The language has no name for them.
//!
//! The gradient by the input reads the weight as it lies for the layer, outputs side by side: as many partial sums of each element as a
//! vector has lanes, some elements at a time, which are added up afterwards.

use super::args::{Attr, Attrs};
use super::case::{Case, act, weight};
use super::conv_nest::serial;
use super::dense::Dense;
use super::lower::{LowerCx, ScalarFn, Want, Wants};
use super::role::Role;
use super::squares::Squares;
use super::strips::Strips;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind, Reg};
use crate::support::{Name, codes};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenseGrad {
    /// By the weight.
    Weight,
    /// By an input with these dimensions after the batch.
    Input(Vec<(Name, usize)>),
}

/// Lanes of the partial sums over so many outputs. What is left beside whole vectors is added afterwards, one by one.
fn lanes(outputs: usize) -> Option<usize> {
    let whole = [16, 8].into_iter().find(|l| outputs.is_multiple_of(*l) && outputs > *l);
    whole.or((outputs >= RAGGED_MIN).then_some(16))
}

/// From so many outputs on those beside whole vectors are few enough.
const RAGGED_MIN: usize = 64;

/// Most elements of a sample, and of all samples, whose partial sums are made at a time.
const HELD: [usize; 2] = [64, 2048];

/// `c * extents + …`: the number of an element of a sample.
fn flat(dims: &[usize], at: &[Affine]) -> Affine {
    at.iter().zip(dims).fold(Affine::k(0), |i, (v, d)| &(&i * *d as i64) + v)
}

impl DenseGrad {
    /// What printed graphs call it.
    pub const KIND: &'static str = "dense_grad";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// By an input of this type.
    pub fn by_input(x: &TensorTy) -> Self {
        Self::Input(x.names().iter().cloned().zip(x.dims().iter().copied()).skip(1).collect())
    }

    /// From printed attributes: the dimensions of the input, none for the weight.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let dims: Result<Vec<(Name, usize)>, String> =
            attrs.0.iter().map(|(name, _)| Ok((Name::from(&**name), attrs.size(name)?))).collect();
        let dims = dims?;
        Ok(if dims.is_empty() { Self::Weight } else { Self::Input(dims) })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (name, x, o) in [
            ("rank 0", act(3, 7, &[]), 5),
            ("2d", act(4, 3, &[("h", 4), ("w", 5)]), 16),
            ("3d", act(2, 2, &[("d", 2), ("h", 3), ("w", 2)]), 4),
            ("one sample", act(1, 9, &[]), 8),
            ("blocks of outputs", act(3, 20, &[]), 64),
            ("blocks of outputs, grid", act(2, 6, &[("h", 3), ("w", 5)]), 24),
            ("outputs beside blocks", act(2, 6, &[("h", 3), ("w", 5)]), 77),
        ] {
            let w = weight(&[("o", o), ("i", x.dims()[1..].iter().product())]);
            let dy = act(x.n(), o, &[]);
            all.push(Case::new(format!("input {name}"), Self::by_input(&x), vec![dy.clone(), w]));
            all.push(Case::new(format!("weight {name}"), Self::Weight, vec![x, dy]));
        }
        all
    }
}

/// The loops of the gradient by the input in partial sums.
fn by_lanes(cx: &mut LowerCx<'_>, lanes: usize) {
    let (out, outputs) = (cx.out().clone(), cx.input(0).c());
    let (n, c, area) = (out.n(), out.c(), out.grid_dims().iter().product::<usize>());
    let most = (HELD[1] / n.max(1)).min(HELD[0]) / area.max(1);
    let held = (1..=most.clamp(1, c.max(1))).rev().find(|h| c.is_multiple_of(*h)).unwrap_or(1);
    let mut dims = vec![("c", held)];
    dims.extend(out.grid_names().iter().map(|n| &**n).zip(out.grid_dims().iter().copied()));
    dims.push(("n", n));
    let all = [&[("group", c / held)], &dims[..], &[("lane", lanes)]].concat();
    let sums = cx.scratch("sums", &all);
    cx.nested(LoopKind::Free, &all[..1], |cx, group| {
        let group = Affine::from(group[0]);
        cx.nested(LoopKind::Free, &all[1..], |cx, v| {
            let v: Vec<Affine> = v.iter().map(|v| Affine::from(*v)).collect();
            let (lane, n) = (&v[v.len() - 1], &v[v.len() - 2]);
            let at = [&[&(&group * held as i64) + &v[0]], &v[1..v.len() - 2]].concat();
            let i = flat(&out.dims()[1..], &at);
            let acc = cx.b.let_(0.0);
            serial(cx, &[("block".to_owned(), outputs / lanes)], |cx, block| {
                let o = &(&block[0] * lanes as i64) + lane;
                let dy = cx.load(0, &[n.clone(), o.clone()]);
                let product = Expr::fma(dy, cx.load(1, &[o, i.clone()]), acc.into());
                cx.b.set(acc, product);
            });
            cx.b.store(sums, &[std::slice::from_ref(&group), &v].concat(), acc);
        });
        cx.nested(LoopKind::Free, &dims, |cx, v| {
            let v: Vec<Affine> = v.iter().map(|v| Affine::from(*v)).collect();
            let total = cx.b.let_(0.0);
            serial(cx, &[("lane".to_owned(), lanes)], |cx, lane| {
                let part = cx.b.load(sums, &[std::slice::from_ref(&group), &v, lane].concat());
                cx.b.set(total, Expr::Reg(total) + part);
            });
            let n = &v[v.len() - 1];
            let at = [&[&(&group * held as i64) + &v[0]], &v[1..v.len() - 1]].concat();
            let i = flat(&out.dims()[1..], &at);
            if !outputs.is_multiple_of(lanes) {
                serial(cx, &[("rest".to_owned(), outputs % lanes)], |cx, rest| {
                    let o = rest[0].offset((outputs / lanes * lanes) as i64);
                    let dy = cx.load(0, &[n.clone(), o.clone()]);
                    let product = Expr::fma(dy, cx.load(1, &[o, i]), total.into());
                    cx.b.set(total, product);
                });
            }
            cx.store(&[std::slice::from_ref(n), &at].concat(), total);
        });
    });
}

/// The strips of the gradient by the weight of a layer on `x` with `outputs`, if its elements go on from there.
fn strips(x: &TensorTy, outputs: usize) -> Option<Strips> {
    let axes = x.names().iter().zip(x.dims()).skip(1);
    let mut loops: Vec<(String, usize, usize)> = axes.map(|(name, all)| (name.to_string(), 1, *all)).collect();
    let along = loops.len();
    loops.push(("o".to_owned(), 0, outputs));
    Strips::of(loops, &(0..=along).collect::<Vec<_>>(), along..=along)
}

/// The sums of squares that the gradient by the weight `out` of a layer on `x` makes in passing.
pub(super) fn squares(x: &TensorTy, out: &TensorTy) -> Option<Squares> {
    strips(x, *out.dims().first()?)?.squares(2)
}

/// An element of the gradient by the weight: of output `o` and the element of the input at `i`.
fn by_weight(cx: &mut LowerCx<'_>, o: &Affine, i: &[Affine]) -> Reg {
    let samples = cx.input(0).n();
    let acc = cx.b.let_(0.0);
    serial(cx, &[("n".to_owned(), samples)], |cx, n| {
        let dy = cx.load(1, &[n[0].clone(), o.clone()]);
        let product = Expr::fma(dy, cx.load(0, &[n, i].concat()), acc.into());
        cx.b.set(acc, product);
    });
    acc
}

impl OpRules for DenseGrad {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        match self {
            Self::Weight => Attrs::default(),
            Self::Input(dims) => {
                dims.iter().fold(Attrs::default(), |attrs, (name, d)| attrs.with(name, Attr::Int(*d as i64)))
            }
        }
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let wrong = || {
            let shapes: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            OpError::new(codes::E0206, format!("`dense_grad` cannot take {}", shapes.join(", ")))
        };
        let [a, b] = inputs else { return Err(wrong()) };
        let (ty, fits) = match self {
            Self::Weight => {
                let i: usize = a.dims()[1..].iter().product();
                (TensorTy::new([("o", b.c()), ("i", i)]), a.n() == b.n() && b.rank() == 0)
            }
            Self::Input(dims) => {
                let i = dims.iter().fold(1usize, |i, d| i.saturating_mul(d.1));
                let head = [(Name::from("n"), a.n())];
                (TensorTy::new(head.into_iter().chain(dims.iter().cloned())), b.dims() == [a.c(), i] && a.rank() == 0)
            }
        };
        let ty = ty.map_err(|_| shape_rules::too_large("dense_grad", a.dims()))?;
        if !fits {
            return Err(wrong());
        }
        let why = vec![Why::given("the layer's"); ty.dims().len()];
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (a, b) = (at.inputs[0], at.inputs[1]);
        at.each(|i| {
            let (op, inputs) = match (self, i) {
                (Self::Weight, 0) => (Self::by_input(e.ty(a)).into(), [b, at.dy]),
                (Self::Weight, _) => (Dense { channels: e.ty(b).c(), bias: false }.into(), [a, at.dy]),
                (Self::Input(_), 0) => (Dense { channels: e.ty(a).c(), bias: false }.into(), [at.dy, b]),
                (Self::Input(_), _) => (Self::Weight.into(), [at.dy, a]),
            };
            Ok(Some(e.op(op, &inputs)?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (a, b) = (inputs[0], inputs[1]);
        let mut y = Array::zeros(out.dims());
        match self {
            Self::Weight => {
                let (outs, ins) = (b.dims[1], out.dims()[1]);
                for n in 0..a.dims[0] {
                    for k in 0..outs * ins {
                        y.data[k] += b.data[n * outs + k / ins] * a.data[n * ins + k % ins];
                    }
                }
            }
            Self::Input(_) => {
                let (outs, ins) = (b.dims[0], b.dims[1]);
                for n in 0..a.dims[0] {
                    for k in 0..outs * ins {
                        y.data[n * ins + k % ins] += b.data[k] * a.data[n * outs + k / ins];
                    }
                }
            }
        }
        y
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        match self {
            Self::Weight if cx.goes_on() && let Some(strips) = strips(cx.input(0), cx.out().dims()[0]) => {
                strips.write(cx, |cx, at| {
                    let (o, i) = at.split_last().expect("a loop over outputs");
                    by_weight(cx, o, i).into()
                });
            }
            Self::Weight => {
                let (x, o) = (cx.input(0).clone(), cx.out().dims()[0]);
                let mut dims = vec![("o", o)];
                dims.extend(x.names().iter().map(|n| &**n).zip(x.dims().iter().copied()).skip(1));
                cx.nested(LoopKind::Free, &dims, |cx, vars| {
                    let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
                    let sum = by_weight(cx, &at[0], &at[1..]);
                    cx.store(&[at[0].clone(), flat(&x.dims()[1..], &at[1..])], sum);
                });
            }
            Self::Input(_) if let Some(lanes) = lanes(cx.input(0).c()) => by_lanes(cx, lanes),
            Self::Input(_) => {
                let (dims, o) = (cx.out().dims().to_vec(), cx.input(0).c());
                cx.for_each_output(|cx, at| {
                    let acc = cx.b.let_(0.0);
                    let i = flat(&dims[1..], &at[1..]);
                    serial(cx, &[("o".to_owned(), o)], |cx, o| {
                        let dy = cx.load(0, &[at[0].clone(), o[0].clone()]);
                        let product = Expr::fma(dy, cx.load(1, &[o[0].clone(), i.clone()]), acc.into());
                        cx.b.set(acc, product);
                    });
                    cx.store(at, acc);
                });
            }
        }
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        match self {
            // As the layer wants its weight.
            Self::Weight => Wants { inputs: vec![Want::Any, Want::Any], output: Want::Order(vec![1, 0]) },
            Self::Input(_) => {
                let order = if lanes(inputs[0].c()).is_some() { vec![1, 0] } else { vec![0, 1] };
                Wants { inputs: vec![Want::Any, Want::Order(order)], output: Want::Any }
            }
        }
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let per = match self {
            Self::Weight => inputs[0].n(),
            Self::Input(_) => inputs[0].c(),
        };
        let macs = (out.len() as u64).saturating_mul(per as u64);
        Cost { macs, flops: macs.saturating_mul(2) }
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}
