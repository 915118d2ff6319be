//! Transposes of the maps that read positions of a grid axis by axis: of `pad` by reflection or by the edge, and of `resize`. With
//! `y[o] = Σ_i m[o, i] x[i]` along each axis, `dx[i] = Σ_o m[o, i] dy[o]`: each input sums over the outputs that read it, listed
//! axis by axis, so that nothing is added into memory. The language has no name for it.

use super::args::{Attr, Attrs};
use super::case::Case;
use super::conv_nest::{guard, serial};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::pad::{Pad, PadMode};
use super::resize::Resize;
use super::role::Role;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, Op, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// What is transposed.
#[derive(Clone, Debug, PartialEq)]
pub enum Map {
    /// A padding whose outside shows the inside.
    Pad(Pad),
    /// An interpolation.
    Resize(Resize),
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjoint {
    /// The map.
    pub of: Map,
    /// The grid of its input.
    pub grid: Vec<usize>,
}

/// The outputs that read one input, each with its weight in parts of the axis' divisor.
type Readers = Vec<(i64, i64)>;

impl Map {
    fn op(&self) -> Op {
        match self {
            Self::Pad(op) => op.clone().into(),
            Self::Resize(op) => op.clone().into(),
        }
    }

    /// For each input of an axis its readers, and the divisor; `None` where every output reads its own input alone.
    fn readers(&self, axis: usize, n: usize, m: usize) -> Option<(Vec<Readers>, i64)> {
        let (reads, divisor) = match self {
            Self::Pad(op) => ((0..m).map(|o| vec![(op.source(axis, n, o), 1)]).collect::<Vec<_>>(), 1),
            Self::Resize(op) => op.reads(n, m),
        };
        if n == m && reads.iter().enumerate().all(|(o, r)| r.as_slice() == [(o as i64, divisor)]) {
            return None;
        }
        let mut readers = vec![Vec::new(); n];
        for (o, read) in reads.iter().enumerate() {
            for (i, part) in read {
                readers[*i as usize].push((o as i64, *part));
            }
        }
        Some((readers, divisor))
    }
}

impl Adjoint {
    /// What printed graphs call it.
    pub const KIND: &'static str = "adjoint";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// Of a map on an input of type `x`.
    pub fn of(of: Map, x: &TensorTy) -> Self {
        Self { of, grid: x.grid_dims().to_vec() }
    }

    /// From printed attributes: those of the map, `of` and `grid`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let of = match attrs.word("of")? {
            "pad" => Map::Pad(Pad::from_attrs(attrs)?),
            "resize" => Map::Resize(Resize::from_attrs(attrs)?),
            other => return Err(format!("`adjoint` does not know `{other}`")),
        };
        if let Map::Pad(Pad { mode: PadMode::Constant(_), .. }) = of {
            return Err("the transpose of padding by a constant is `slice`".into());
        }
        Ok(Self { of, grid: attrs.sizes("grid")? })
    }

    /// Test cases: those of the maps.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for case in Pad::cases().into_iter().chain(Resize::cases()) {
            let of = match &case.op {
                Op::Pad(Pad { mode: PadMode::Constant(_), .. }) => continue,
                Op::Pad(op) => Map::Pad(op.clone()),
                Op::Resize(op) => Map::Resize(op.clone()),
                _ => continue,
            };
            let Ok(out) = case.op.rules().infer(&[&case.inputs[0]]) else { continue };
            all.push(Case::new(case.name.clone(), Self::of(of, &case.inputs[0]), vec![out.ty]));
        }
        all
    }

    /// The type of the map's input.
    fn x(&self, y: &TensorTy) -> Result<TensorTy, OpError> {
        let dims: Vec<usize> = y.dims().iter().copied().take(2).chain(self.grid.iter().copied()).collect();
        if dims.len() != y.dims().len() {
            return Err(OpError::new(codes::E0206, format!("`adjoint` was made for another grid than that of {y}")));
        }
        shape_rules::resized("adjoint", y, &dims)
    }
}

impl OpRules for Adjoint {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let of = match self.of {
            Map::Pad(_) => "pad",
            Map::Resize(_) => "resize",
        };
        let grid = self.grid.iter().map(|d| *d as i64).collect();
        self.of.op().rules().attrs().with("of", Attr::Word(of.to_owned())).with("grid", Attr::Ints(grid))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = self.x(inputs[0])?;
        let y = self.of.op().rules().infer(&[&x])?.ty;
        if y != *inputs[0] {
            return Err(OpError::new(codes::E0206, format!("`adjoint` of a map to {y} cannot take {}", inputs[0])));
        }
        Ok(Inferred { why: vec![Why::given("the map's input"); x.dims().len()], ty: x })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        at.only(e.op(self.of.op(), &[at.dy])?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        // The map of each unit vector of one sample's channel is a column of its matrix.
        let dims: Vec<usize> = [1, 1].into_iter().chain(self.grid.iter().copied()).collect();
        let (Ok(unit), dy) = (out.with_dims(&dims), inputs[0]) else { return Array::filled(out.dims(), f64::NAN) };
        let op = self.of.op();
        let Ok(y) = op.rules().infer(&[&unit]) else { return Array::filled(out.dims(), f64::NAN) };
        let (from, to) = (unit.len(), y.ty.len());
        let mut dx = Array::zeros(out.dims());
        for i in 0..from {
            let mut x = Array::zeros(&dims);
            x.data[i] = 1.0;
            let column = op.rules().reference(&[&x], &y.ty);
            for map in 0..out.n() * out.c() {
                let dy = &dy.data[map * to..][..to];
                dx.data[map * from + i] = column.data.iter().zip(dy).map(|(m, d)| m * d).sum();
            }
        }
        dx
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (y, x) = (cx.input(0).clone(), cx.out().clone());
        let axes: Vec<Option<(Vec<Readers>, i64)>> = (0..self.grid.len())
            .map(|axis| self.of.readers(axis, x.grid_dims()[axis], y.grid_dims()[axis]))
            .collect();
        let most = |axis: &Option<(Vec<Readers>, i64)>| {
            axis.as_ref().map_or(1, |(readers, _)| readers.iter().map(Vec::len).max().unwrap_or(0))
        };
        let turns: Vec<(String, usize)> = axes.iter().enumerate().map(|(i, a)| (format!("r{i}"), most(a))).collect();
        cx.for_each_output(|cx, at| {
            let acc = cx.b.let_(0.0);
            serial(cx, &turns, |cx, j| {
                let mut from = at[..2].to_vec();
                let mut inside = Vec::new();
                let mut weight: Option<Expr> = None;
                for (axis, i) in axes.iter().zip(&at[2..]).enumerate().map(|(a, (axis, i))| ((axis, &j[a]), i)) {
                    let (Some((readers, divisor)), j) = axis else {
                        from.push(i.clone());
                        continue;
                    };
                    let width = readers.iter().map(Vec::len).max().unwrap_or(0);
                    let column = |f: fn(&(i64, i64)) -> i64| -> Vec<i64> {
                        let padded = |r: &Readers| (0..width).map(|k| r.get(k).map_or(0, f)).collect::<Vec<_>>();
                        readers.iter().flat_map(padded).collect()
                    };
                    let place = &(i * width as i64) + j;
                    let counts: Vec<i64> = readers.iter().map(|r| r.len() as i64).collect();
                    if counts.iter().any(|c| *c != width as i64) {
                        let counts = cx.b.table(counts);
                        let count = Affine::from(cx.b.lookup("count", counts, i.clone()));
                        inside.push(count.minus(j).offset(-1));
                    }
                    let table = cx.b.table(column(|r| r.0));
                    from.push(cx.b.lookup("reader", table, place.clone()).into());
                    if *divisor != 1 {
                        let table = cx.b.table(column(|r| r.1));
                        let part = Expr::Index(cx.b.lookup("part", table, place).into());
                        let part = part * (1.0 / *divisor as f32).into();
                        weight = Some(match weight {
                            None => part,
                            Some(weight) => weight * part,
                        });
                    }
                }
                guard(cx, inside, |cx| {
                    let dy = cx.load(0, &from);
                    let value = match weight {
                        Some(weight) => Expr::fma(dy, weight, acc.into()),
                        None => Expr::Reg(acc) + dy,
                    };
                    cx.b.set(acc, value);
                });
            });
            cx.store(at, acc);
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
        shape_rules::flops(out, 2)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}
