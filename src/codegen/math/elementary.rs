//! Exponential, logarithm, hyperbolic tangent and error function in single precision.
//!
//! Range reductions and polynomials of `exp` and `log` are those of Moshier's Cephes (`expf.c`, `logf.c`); the error function
//! follows Juffa's two-piece approximation (`my_erff`, 2018).

use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::FloatCC,
    types::{F32, F32X4},
};

use super::{Math, ROUNDER};

/// `exp(r) = 1 + r + r² p(r)` for `|r| <= ln 2 / 2`.
pub(in crate::codegen) const EXP: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_1e-1];

/// `log(1 + f) = f - f²/2 + f³ p(f)` for `sqrt(1/2) <= 1 + f < sqrt 2`.
pub(in crate::codegen) const LOG: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333_1e-1,
];

/// `erf(x) = x + x p(x²)` for `|x| <= 475/512`.
pub(in crate::codegen) const ERF_NEAR: [f32; 6] =
    [-5.967_617_03e-4, 4.991_194_23e-3, -2.676_813_49e-2, 1.128_199_25e-1, -3.761_253_36e-1, 1.283_791_66e-1];

/// `erf(a) = 1 - exp(-a - a p(a))` beyond, `p` in two halves and the last terms.
pub(in crate::codegen) const ERF_FAR_HIGH: [f32; 2] = [-1.728_534_7e-5, 3.831_972e-4];
pub(in crate::codegen) const ERF_FAR_LOW: [f32; 2] = [-3.883_964_4e-3, 2.425_462_2e-2];
pub(in crate::codegen) const ERF_FAR: [f32; 3] = [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1];

/// `ln 2` as a short number, whose small multiples are exact, and the rest.
pub(in crate::codegen) const LN2_HIGH: f32 = 0.693_359_4;
pub(in crate::codegen) const LN2_LOW: f32 = -2.121_944_4e-4;

/// A number `x` as `n ln 2 + r` with `|r| <= ln 2 / 2`.
struct Reduced {
    /// `n` in the low bits, behind those of [`ROUNDER`].
    bits: Value,
    r: Value,
}

impl Math<'_, '_> {
    fn reduce(&mut self, x: Value) -> Reduced {
        let turns = self.mul_k(x, std::f32::consts::LOG2_E);
        let rounded = self.add_k(turns, ROUNDER);
        let n = self.add_k(rounded, -ROUNDER);
        let high = self.mul_k(n, LN2_HIGH);
        let r = self.sub(x, high);
        let low = self.mul_k(n, LN2_LOW);
        let r = self.sub(r, low);
        let bits = self.bits(rounded);
        let base = self.int_like(bits, i64::from(ROUNDER.to_bits()));
        let bits = self.b.ins().isub(bits, base);
        Reduced { bits, r }
    }

    /// `exp(r) - 1`
    fn exp_minus_one(&mut self, r: Value) -> Value {
        let p = self.polynomial(r, &EXP);
        let square = self.mul(r, r);
        self.fma(p, square, r)
    }

    /// `2^n` for `-126 <= n <= 127`.
    fn power_of_two(&mut self, n: Value, like: Value) -> Value {
        let bias = self.int_like(n, 127);
        let biased = self.b.ins().iadd(n, bias);
        let bits = self.b.ins().ishl_imm_u(biased, 23);
        let ty = self.ty(like);
        self.cast(ty, bits)
    }

    /// At most 1.2 ULP, subnormal results included; beyond the range infinity and 0.
    pub(super) fn exp(&mut self, x: Value) -> Value {
        // Where the result has long been infinite or 0; `raw_` keeps a NaN that stands second.
        let x = self.min_max_constant(true, -105.0, x);
        let x = self.min_max_constant(false, 89.0, x);
        let Reduced { bits: n, r } = self.reduce(x);
        let p = self.exp_minus_one(r);
        let p = self.add_k(p, 1.0);
        // In two steps, since 2^n may be beyond the range where p 2^n is not.
        let half = self.b.ins().sshr_imm_u(n, 1);
        let rest = self.b.ins().isub(n, half);
        let scale = self.power_of_two(half, x);
        let p = self.mul(p, scale);
        let scale = self.power_of_two(rest, x);
        self.mul(p, scale)
    }

    /// At most 1.2 ULP; `log 0` is minus infinity, of less than 0 NaN.
    pub(super) fn log(&mut self, x: Value) -> Value {
        let ty = self.ty(x);
        // Subnormal numbers have no exponent of their own.
        let least = self.like(x, f32::MIN_POSITIVE);
        let raised = self.mul_k(x, 8_388_608.0);
        let normal = self.choose(FloatCC::LessThan, x, least, raised, x);
        let zero = self.like(x, 0.0);
        let fall = self.like(x, -23.0);
        let fall = self.choose(FloatCC::LessThan, x, least, fall, zero);
        // Cut at sqrt(1/2): the exponent counts from there, what is left lies around 1.
        let bits = self.bits(normal);
        let cut = self.int_like(bits, i64::from(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
        let from = self.b.ins().isub(bits, cut);
        let e = self.b.ins().sshr_imm_u(from, 23);
        let whole = self.b.ins().ishl_imm_u(e, 23);
        let mantissa = self.b.ins().isub(bits, whole);
        let m = self.cast(ty, mantissa);
        let e = self.b.ins().fcvt_from_sint(if ty == F32 { F32 } else { F32X4 }, e);
        let e = self.add(e, fall);
        let f = self.add_k(m, -1.0);
        let z = self.mul(f, f);
        let p = self.polynomial(f, &LOG);
        let p = self.mul(p, f);
        let p = self.mul(p, z);
        let low = self.like(x, LN2_LOW);
        let p = self.fma(e, low, p);
        let half = self.like(x, -0.5);
        let p = self.fma(z, half, p);
        let high = self.mul_k(e, LN2_HIGH);
        let sum = self.add(f, p);
        let out = self.add(high, sum);
        // 0, infinity, NaN and what lies below 0.
        let nan = self.like(x, f32::NAN);
        let special = self.choose(FloatCC::LessThan, x, zero, nan, x);
        let minus = self.like(x, f32::NEG_INFINITY);
        let special = self.choose(FloatCC::Equal, x, zero, minus, special);
        let infinity = self.like(x, f32::INFINITY);
        let out = self.choose(FloatCC::LessThan, x, infinity, out, special);
        self.choose(FloatCC::GreaterThan, x, zero, out, special)
    }

    /// At most 2.5 ULP. `tanh |x| = t / (t + 2)` with `t = exp(2 |x|) - 1`, which keeps its digits near 0.
    pub(super) fn tanh(&mut self, x: Value) -> Value {
        let size = self.b.ins().fabs(x);
        let size = self.min_max_constant(false, 10.0, size);
        let double = self.add(size, size);
        let Reduced { bits: n, r } = self.reduce(double);
        let p = self.exp_minus_one(r);
        let scale = self.power_of_two(n, x);
        let whole = self.add_k(scale, -1.0);
        let t = self.fma(p, scale, whole);
        let below = self.add_k(t, 2.0);
        let out = self.b.ins().fdiv(t, below);
        self.keep_sign(out, x)
    }

    /// At most 1.5 ULP.
    pub(super) fn erf(&mut self, x: Value) -> Value {
        let size = self.b.ins().fabs(x);
        let square = self.mul(x, x);
        let near = self.polynomial(square, &ERF_NEAR);
        let near = self.fma(near, x, x);
        // 1 - exp(-size - ..); beyond 4 it is 1.
        let size = self.min_max_constant(false, 4.0, size);
        let high = self.polynomial(size, &ERF_FAR_HIGH);
        let low = self.polynomial(size, &ERF_FAR_LOW);
        let square = self.mul(size, size);
        let p = self.fma(high, square, low);
        let mut far = p;
        for c in ERF_FAR {
            let c = self.like(x, c);
            far = self.fma(far, size, c);
        }
        let minus = self.b.ins().fneg(size);
        let far = self.fma(far, size, minus);
        let far = self.exp(far);
        let one = self.like(x, 1.0);
        let far = self.sub(one, far);
        let far = self.keep_sign(far, x);
        let border = self.like(x, 475.0 / 512.0);
        let size = self.b.ins().fabs(x);
        self.choose(FloatCC::GreaterThan, size, border, far, near)
    }
}
