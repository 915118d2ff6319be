//! Errors of the functions against `f64`, over dense sweeps of bit patterns and all special values, scalar and vector, at
//! every level of instruction set.

use crate::codegen::compile;
use crate::codegen::tests::levels;
use crate::kernels::isa::Isa;
use crate::loops::build::NestBuilder;
use crate::loops::{Affine, BinOp, Expr, LoopKind, Nest, UnOp};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// `y[i] = f(x[i], z[i])` for `4 n` elements.
fn pointwise(n: usize, vector: bool, f: &dyn Fn(Expr, Expr) -> Expr) -> Nest {
    let ty = TensorTy::grid::<&str>(1, 4 * n, &[]).expect("a small type");
    let mut b = NestBuilder::new("pointwise");
    let layout = Layout::canonical(2);
    let (x, z) = (b.buf("x", &ty, &layout, false), b.buf("z", &ty, &layout, false));
    let y = b.buf("y", &ty, &layout, true);
    b.for_(LoopKind::Par, "i", n, |b, i| {
        let kind = if vector { LoopKind::Vec } else { LoopKind::Serial };
        b.for_(kind, "l", 4, |b, l| {
            let at = [Affine::k(0), Affine::from(l).plus(i, 4)];
            let value = f(b.load(x, &at), b.load(z, &at));
            b.store(y, &at, value);
        });
    });
    b.finish()
}

fn run(nest: &Nest, isa: &Isa, x: &[f32], z: &[f32]) -> Vec<f32> {
    let code = compile(std::slice::from_ref(nest), isa).unwrap_or_else(|e| panic!("{e}"));
    let (mut x, mut z, mut y) = (x.to_vec(), z.to_vec(), vec![0.0; x.len()]);
    code.entries()[0].run(&mut [&mut x, &mut z, &mut y]).expect("three buffers");
    y
}

/// How many units in the last place `got` is from `want`.
fn ulp(got: f32, want: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let rounded = want as f32;
    if got == rounded {
        return 0.0;
    }
    if got.is_infinite() || rounded.is_infinite() {
        // One rounding away from infinity.
        let near = |x: f32| x.is_infinite() || x.abs() == f32::MAX;
        return if near(got) && near(rounded) && got.signum() == rounded.signum() {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = want.abs().log2().floor().max(-126.0);
    (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
}

/// Special numbers, and every `stride`-th bit pattern of those within `limit`, both signs.
fn sweep(limit: f32, stride: usize) -> Vec<f32> {
    let mut out = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        -2.5,
        8_388_607.5,
        -8_388_607.5,
        8_388_608.0,
        1e30,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        1e-40,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        88.72,
        88.73,
        -87.33,
        -87.34,
        -103.97,
        -103.98,
        -104.0,
        89.0,
        -105.0,
    ];
    for bits in (0..=limit.to_bits()).step_by(stride) {
        out.push(f32::from_bits(bits));
        out.push(-f32::from_bits(bits));
    }
    out.resize(out.len().next_multiple_of(4), 1.0);
    out
}

/// The greatest error over `xs`, at every level, scalar and vector; a lane and a scalar must give the same bits.
fn worst(xs: &[f32], zs: &[f32], f: &dyn Fn(Expr, Expr) -> Expr, want: impl Fn(f64, f64) -> f64) -> f64 {
    let mut worst = 0.0;
    for isa in levels() {
        let vector = run(&pointwise(xs.len() / 4, true, f), &isa, xs, zs);
        let scalar = run(&pointwise(xs.len() / 4, false, f), &isa, xs, zs);
        for (((v, s), x), z) in vector.iter().zip(&scalar).zip(xs).zip(zs) {
            let same = v.to_bits() == s.to_bits() || (v.is_nan() && s.is_nan());
            assert!(same, "{}: lane {v} and scalar {s} of {x}, {z}", isa.name());
            let error = ulp(*v, want(f64::from(*x), f64::from(*z)));
            assert!(
                error < 8.0,
                "{}: f({x:e}, {z:e}) = {v:e}, not {:e}",
                isa.name(),
                want(f64::from(*x), f64::from(*z))
            );
            worst = f64::max(worst, error);
        }
    }
    worst
}

fn unary(op: UnOp, limit: f32, stride: usize, want: fn(f64) -> f64) -> f64 {
    let xs = sweep(limit, stride);
    let error = worst(&xs, &xs, &|x, _| Expr::un(op, x), |x, _| want(x));
    eprintln!("{op:?}: {error:.3} ULP");
    error
}

#[test]
fn roundings_are_exact() {
    for (op, want) in [
        (UnOp::Floor, f64::floor as fn(f64) -> f64),
        (UnOp::Ceil, f64::ceil),
        (UnOp::Round, f64::round_ties_even),
        (UnOp::Sqrt, f64::sqrt),
        (UnOp::Abs, f64::abs),
        (UnOp::Neg, |x| -x),
    ] {
        assert_eq!(unary(op, f32::MAX, 40_009, want), 0.0);
    }
}

#[test]
fn exp_is_accurate() {
    assert!(unary(UnOp::Exp, 110.0, 4_001, libm::exp) < 1.2);
}

#[test]
fn log_is_accurate() {
    assert!(unary(UnOp::Log, f32::MAX, 4_001, libm::log) < 1.2);
}

#[test]
fn tanh_is_accurate() {
    assert!(unary(UnOp::Tanh, 20.0, 4_001, libm::tanh) < 2.5);
}

#[test]
fn erf_is_accurate() {
    assert!(unary(UnOp::Erf, 10.0, 4_001, libm::erf) < 1.5);
}

#[test]
fn powers_are_accurate() {
    let bases = sweep(f32::MAX, 8_000_009);
    let exponents = [
        0.75,
        0.5,
        -0.75,
        2.0,
        3.0,
        -1.0,
        0.0,
        1.0,
        10.0,
        -7.5,
        0.001,
        31.0,
        33.3,
        -1e9,
        1e30,
        1e-30,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e-45,
    ];
    // The two bases that are documented to differ from C.
    let bases = bases.iter().filter(|x| **x != f32::NEG_INFINITY && x.to_bits() != 0x8000_0000);
    let pairs: Vec<(f32, f32)> = bases.flat_map(|x| exponents.iter().map(move |z| (*x, *z))).collect();
    let mut xs: Vec<f32> = pairs.iter().map(|p| p.0).collect();
    let mut zs: Vec<f32> = pairs.iter().map(|p| p.1).collect();
    xs.resize(xs.len().next_multiple_of(4), 1.0);
    zs.resize(xs.len(), 1.0);
    let error = worst(&xs, &zs, &|x, z| Expr::bin(BinOp::Pow, x, z), libm::pow);
    eprintln!("Pow: {error:.3} ULP");
    assert!(error < 0.51);
}
