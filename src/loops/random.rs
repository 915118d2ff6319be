//! Random nests of the kinds that lowering writes, from a seed, with data for their buffers. For tests of everything
//! that reads or changes nests: families of elementwise maps, contractions with halos, guarded windows, scans over an
//! inner dimension, resampling with `Idx`, and statements beside each other.

use super::build::NestBuilder;
use super::{Affine, BinOp, Buf, Cmp, Expr, LoopKind, Nest, UnOp, Var};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// Splitmix64.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Numbers of moderate size for all buffers of a nest, the same for the same seed.
pub(crate) fn data(nest: &Nest, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = Rng(seed);
    let mut number = || (rng.below(2001) as f32 - 1000.0) / 256.0;
    nest.bufs.iter().map(|b| (0..b.len).map(|_| number()).collect()).collect()
}

/// A random nest.
pub(crate) fn nest(seed: u64) -> Nest {
    let mut rng = Rng(seed);
    match rng.below(6) {
        0 => elementwise(&mut rng),
        1 | 2 => contraction(&mut rng),
        3 => window(&mut rng),
        4 => scan(&mut rng),
        _ => resample(&mut rng),
    }
}

const NAMES: [&str; 4] = ["n", "c", "h", "w"];

fn ty(dims: &[usize]) -> TensorTy {
    TensorTy::new(NAMES.iter().zip(dims).map(|(n, d)| (*n, *d))).expect("small")
}

/// Channels last, canonical, or any order, with a halo of up to `halo` around the grid.
fn layout(rng: &mut Rng, halo: usize) -> Layout {
    let mut layout = match rng.below(3) {
        0 => Layout::canonical(4),
        1 => Layout::channels_last(4),
        _ => Layout::ordered(rng.pick(&[[2, 0, 1, 3], [3, 2, 1, 0], [0, 3, 1, 2]]).to_vec()),
    };
    for d in 2..4 {
        layout.halo[d] = if halo > 0 { (halo, halo) } else { (rng.below(2), rng.below(2)) };
    }
    layout
}

fn dims(rng: &mut Rng) -> [usize; 4] {
    [
        1 + rng.below(2),
        rng.pick(&[1, 2, 3, 4, 7, 8, 12, 16, 17, 24, 30]),
        1 + rng.below(9),
        rng.pick(&[1, 2, 5, 6, 8, 13]),
    ]
}

fn grid(out: &[usize; 4]) -> Vec<(&'static str, usize)> {
    NAMES.into_iter().zip(out.iter().copied()).collect()
}

fn at(vars: &[Var]) -> Vec<Affine> {
    vars.iter().map(|v| Affine::from(*v)).collect()
}

/// Sometimes a second operand and a function behind what is stored.
fn finish(rng: &mut Rng, b: &mut NestBuilder, y: Buf, extra: Buf, at: &[Affine], value: Expr) {
    let mut value = value;
    if rng.below(2) == 0 {
        let r = b.let_(value);
        let bias = b.load(extra, &[Affine::k(0), at[1].clone(), Affine::k(0), Affine::k(0)]);
        let s = b.let_(Expr::from(r) + bias);
        value = match rng.below(3) {
            0 => Expr::bin(BinOp::Max, s.into(), 0.0.into()),
            1 => Expr::select(Cmp::Gt, s.into(), 0.5.into(), Expr::from(s) * 0.1.into(), r.into()),
            _ => Expr::un(UnOp::Tanh, s.into()),
        };
    }
    b.store(y, at, value);
}

/// Zeroes the rows above and below, where there is a halo: a statement beside the main one.
fn zero_halo(b: &mut NestBuilder, y: Buf, out: &[usize; 4], layout: &Layout) {
    let (lo, hi) = layout.halo[2];
    for (rows, first) in [(lo, -(lo as i64)), (hi, out[2] as i64)] {
        if rows > 0 {
            let dims = [("n", out[0]), ("c", out[1]), ("row", rows), ("w", out[3])];
            b.nested(LoopKind::Free, &dims, |b, vars| {
                let mut at = at(vars);
                at[2] = at[2].offset(first);
                b.store(y, &at, 0.0);
            });
        }
    }
}

fn elementwise(rng: &mut Rng) -> Nest {
    let out = dims(rng);
    let mut b = NestBuilder::new("map");
    let same = layout(rng, 0);
    let like = |rng: &mut Rng| if rng.below(2) == 0 { same.clone() } else { layout(rng, 0) };
    let x = b.buf("x", &ty(&out), &like(rng), false);
    let z = b.buf("z", &ty(&out), &like(rng), false);
    let e = b.buf("e", &ty(&[1, out[1], 1, 1]), &Layout::canonical(4), false);
    let y = b.buf("y", &ty(&out), &same, true);
    if rng.below(2) == 0 {
        zero_halo(&mut b, y, &out, &same);
    }
    let two = rng.below(2) == 0;
    b.nested(LoopKind::Free, &grid(&out), |b, vars| {
        let at = at(vars);
        let r = b.let_(b.load(x, &at));
        let value = if two { Expr::from(r) * b.load(z, &at) } else { Expr::un(UnOp::Abs, r.into()) };
        finish(rng, b, y, e, &at, value);
    });
    b.finish()
}

fn contraction(rng: &mut Rng) -> Nest {
    let out = dims(rng);
    let (k, stride, inputs) = (1 + rng.below(3), 1 + rng.below(2), 1 + rng.below(5));
    let halo = k - 1;
    let x_dims = [out[0], inputs, stride * (out[2] - 1) + 1, stride * (out[3] - 1) + 1];
    let mut b = NestBuilder::new("contraction");
    let x = b.buf("x", &ty(&x_dims), &layout(rng, halo), false);
    let w_order = rng.pick(&[[2, 3, 1, 0], [0, 1, 2, 3]]).to_vec();
    let w_ty = ty(&[out[1], inputs, k, k]);
    let w_layout = if rng.below(2) == 0 { Layout::packed(w_order, &w_ty) } else { Layout::ordered(w_order) };
    let w = b.buf("w", &w_ty, &w_layout, false);
    let e = b.buf("e", &ty(&[1, out[1], 1, 1]), &Layout::canonical(4), false);
    let y_layout = layout(rng, 0);
    let y = b.buf("y", &ty(&out), &y_layout, true);
    zero_halo(&mut b, y, &out, &y_layout);
    let depthwise = inputs >= out[1];
    b.nested(LoopKind::Free, &grid(&out), |b, vars| {
        let at = at(vars);
        let acc = b.let_(if rng.below(2) == 0 { 0.0 } else { 0.25 });
        b.serial("kh", k, |b, kh| {
            b.serial("kw", k, |b, kw| {
                b.serial("i", if depthwise { 1 } else { inputs }, |b, i| {
                    let row = (&at[2] * stride as i64).plus(kh, 1);
                    let col = (&at[3] * stride as i64).plus(kw, 1);
                    let channel = if depthwise { at[1].clone() } else { Affine::from(i) };
                    let x = b.load(x, &[at[0].clone(), channel, row, col]);
                    let w = b.load(w, &[at[1].clone(), i.into(), kh.into(), kw.into()]);
                    b.set(acc, Expr::fma(x, w, acc.into()));
                });
            });
        });
        finish(rng, b, y, e, &at, acc.into());
    });
    b.finish()
}

fn window(rng: &mut Rng) -> Nest {
    let out = dims(rng);
    let (k, stride) = (1 + rng.below(3), 1 + rng.below(2));
    let x_dims = [out[0], out[1], stride * out[2], stride * out[3]];
    let mut b = NestBuilder::new("window");
    let x = b.buf("x", &ty(&x_dims), &layout(rng, 0), false);
    let e = b.buf("e", &ty(&[1, out[1], 1, 1]), &Layout::canonical(4), false);
    let y = b.buf("y", &ty(&out), &layout(rng, 0), true);
    b.nested(LoopKind::Free, &grid(&out), |b, vars| {
        let at = at(vars);
        let m = b.let_(f32::NEG_INFINITY);
        b.serial("kh", k, |b, kh| {
            b.serial("kw", k, |b, kw| {
                let row = (&at[2] * stride as i64).plus(kh, 1).offset(-1);
                let col = (&at[3] * stride as i64).plus(kw, 1).offset(-1);
                let below = |a: &Affine, extent: usize| (a * -1).offset(extent as i64 - 1);
                let conds = vec![row.clone(), below(&row, x_dims[2]), col.clone(), below(&col, x_dims[3])];
                b.if_(conds, |b| {
                    let x = b.load(x, &[at[0].clone(), at[1].clone(), row, col]);
                    b.set(m, Expr::bin(BinOp::Max, m.into(), x));
                });
            });
        });
        finish(rng, b, y, e, &at, m.into());
    });
    b.finish()
}

/// A sum over channels, then every channel divided by it.
fn scan(rng: &mut Rng) -> Nest {
    let out = dims(rng);
    let mut b = NestBuilder::new("scan");
    let x = b.buf("x", &ty(&out), &layout(rng, 0), false);
    let y = b.buf("y", &ty(&out), &layout(rng, 0), true);
    let kind = rng.pick(&[LoopKind::Free, LoopKind::Serial]);
    b.nested(LoopKind::Free, &[("n", out[0]), ("h", out[2]), ("w", out[3])], |b, vars| {
        let at = |c: Var| [vars[0], c, vars[1], vars[2]].map(Affine::from);
        let sum = b.let_(1.0);
        b.serial("c", out[1], |b, c| {
            let x = b.load(x, &at(c));
            b.set(sum, Expr::from(sum) + Expr::un(UnOp::Abs, x));
        });
        b.for_(kind, "c", out[1], |b, c| {
            let x = b.load(x, &at(c));
            b.store(y, &at(c), x / sum.into());
        });
    });
    b.finish()
}

fn resample(rng: &mut Rng) -> Nest {
    let out = dims(rng);
    let factor = 1 + rng.below(3);
    let x_dims = [out[0], out[1], out[2].div_ceil(factor), out[3]];
    let mut b = NestBuilder::new("resample");
    let x = b.buf("x", &ty(&x_dims), &layout(rng, 0), false);
    let e = b.buf("e", &ty(&[1, out[1], 1, 1]), &Layout::canonical(4), false);
    let y = b.buf("y", &ty(&out), &layout(rng, 0), true);
    let order: Vec<i64> = (0..out[3] as i64).map(|i| (i * 5) % out[3] as i64).collect();
    let table = b.table(order);
    b.nested(LoopKind::Free, &grid(&out), |b, vars| {
        let mut from = at(vars);
        from[2] = b.div("from", vars[2], factor as i64).into();
        from[3] = b.lookup("from", table, vars[3]).into();
        let phase = b.modulo("phase", vars[2], factor as i64);
        let r = b.let_(Expr::Index(phase.into()));
        b.if_(vec![(&Affine::from(phase) * -1).offset(1)], |b| {
            let x = b.load(x, &from);
            b.set(r, Expr::from(r) + x);
        });
        finish(rng, b, y, e, &at(vars), r.into());
    });
    b.finish()
}
