//! Powers, computed in double precision, since the exponent `b log a` of a large power loses the digits that matter.

use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    condcodes::FloatCC,
    immediates::Ieee64,
    types::{F32, F32X4, F64, F64X2, I8X16},
};

use super::Math;

/// 1.5 * 2^52; see [`super::ROUNDER`].
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Bits of `sqrt(1/2)`.
const CUT: u64 = 0x3fe6_a09e_667f_3bcd;
/// Bits of 1.
const ONE: u64 = 0x3ff0_0000_0000_0000;
/// Bits of `2^52`.
const TWO_52: u64 = 0x4330_0000_0000_0000;

impl Math<'_, '_> {
    /// The number `x` in `F64` or `F64X2`.
    pub(super) fn constant64(&mut self, ty: Type, x: f64) -> Value {
        if ty == F64X2 {
            let bytes: Vec<u8> = std::iter::repeat_n(x.to_le_bytes(), 2).flatten().collect();
            let handle = self.b.func.dfg.constants.insert(bytes.into());
            return self.b.ins().vconst(F64X2, handle);
        }
        self.b.ins().f64const(Ieee64::with_float(x))
    }

    fn like64(&mut self, v: Value, x: f64) -> Value {
        let ty = self.ty(v);
        self.constant64(ty, x)
    }

    fn polynomial64(&mut self, x: Value, coefficients: impl IntoIterator<Item = f64>) -> Value {
        let mut sum = None;
        for c in coefficients {
            let c = self.like64(x, c);
            sum = Some(match sum {
                None => c,
                Some(s) => {
                    let s = self.mul(s, x);
                    self.add(s, c)
                }
            });
        }
        sum.unwrap_or(x)
    }

    /// `a ^ b`, at most 0.51 ULP; special values as C's `pow`, but that the base -0 counts as 0, and minus
    /// infinity as any negative number.
    pub(super) fn pow(&mut self, a: Value, b: Value) -> Value {
        if self.ty(a) == F32 {
            let (a, b) = (self.b.ins().fpromote(F64, a), self.b.ins().fpromote(F64, b));
            let out = self.pow64(a, b);
            return self.b.ins().fdemote(F32, out);
        }
        let (low_a, low_b) = (self.b.ins().fvpromote_low(a), self.b.ins().fvpromote_low(b));
        let low = self.pow64(low_a, low_b);
        let (high_a, high_b) = (self.high_half(a, a), self.high_half(b, b));
        let (high_a, high_b) = (self.b.ins().fvpromote_low(high_a), self.b.ins().fvpromote_low(high_b));
        let high = self.pow64(high_a, high_b);
        let (low, high) = (self.b.ins().fvdemote(low), self.b.ins().fvdemote(high));
        self.halves(low, high, [0, 16])
    }

    fn high_half(&mut self, a: Value, b: Value) -> Value {
        self.halves(a, b, [8, 24])
    }

    /// Two halves out of the bytes of `a` (0..16) and `b` (16..32), starting at those bytes.
    fn halves(&mut self, a: Value, b: Value, start: [u8; 2]) -> Value {
        let (a, b) = (self.cast(I8X16, a), self.cast(I8X16, b));
        let mask: Vec<u8> = start.iter().flat_map(|s| *s..*s + 8).collect();
        let mask = self.b.func.dfg.immediates.push(mask.into());
        let out = self.b.ins().shuffle(a, b, mask);
        self.cast(F32X4, out)
    }

    fn pow64(&mut self, a: Value, b: Value) -> Value {
        let size = self.b.ins().fabs(a);
        let log = self.log64(size);
        let y = self.mul(b, log);
        let power = self.exp64(y);
        // Of 1 even to the power of infinity.
        let one = self.like64(a, 1.0);
        let power = self.choose(FloatCC::Equal, size, one, one, power);
        // A negative number has real powers only of integers; odd ones are negative.
        let zero = self.like64(a, 0.0);
        let minus = self.b.ins().fneg(power);
        let half = self.like64(a, 0.5);
        let half = self.mul(b, half);
        let near = self.nearest64(half);
        let integer_power = self.choose(FloatCC::Equal, near, half, power, minus);
        let nan = self.like64(a, f64::NAN);
        let near = self.nearest64(b);
        let negative = self.choose(FloatCC::Equal, near, b, integer_power, nan);
        let out = self.choose(FloatCC::LessThan, a, zero, negative, power);
        let out = self.choose(FloatCC::Unordered, a, b, nan, out);
        let out = self.choose(FloatCC::Equal, b, zero, one, out);
        self.choose(FloatCC::Equal, a, one, one, out)
    }

    fn nearest64(&mut self, x: Value) -> Value {
        let rounder = self.like64(x, ROUNDER);
        let up = self.add(x, rounder);
        self.sub(up, rounder)
    }

    /// The logarithm of a number that is not negative: about `4e-13` off. With `s = (m - 1) / (m + 1)`, `|s| <= 0.172`,
    /// `log m = 2 (s + s³/3 + s⁵/5 + ..)`.
    fn log64(&mut self, x: Value) -> Value {
        let ty = self.ty(x);
        let bits = self.bits(x);
        let raise = self.int_like(bits, (ONE - CUT) as i64);
        let from = self.b.ins().iadd(bits, raise);
        // The biased exponent as a number: put into the low bits of 2^52.
        let e = self.b.ins().ushr_imm_u(from, 52);
        let large = self.int_like(e, TWO_52 as i64);
        let e = self.b.ins().bor(e, large);
        let e = self.cast(ty, e);
        let less = self.like64(x, 4_503_599_627_370_496.0 + 1023.0);
        let e = self.sub(e, less);
        let mask = self.int_like(from, 0x000f_ffff_ffff_ffff);
        let m = self.b.ins().band(from, mask);
        let cut = self.int_like(m, CUT as i64);
        let m = self.b.ins().iadd(m, cut);
        let m = self.cast(ty, m);
        let one = self.like64(x, 1.0);
        let (up, down) = (self.sub(m, one), self.add(m, one));
        let s = self.b.ins().fdiv(up, down);
        let z = self.mul(s, s);
        let p = self.polynomial64(z, (0..8).rev().map(|k| 2.0 / f64::from(2 * k + 1)));
        let p = self.mul(p, s);
        let ln2 = self.like64(x, std::f64::consts::LN_2);
        let e = self.mul(e, ln2);
        let out = self.add(e, p);
        let zero = self.like64(x, 0.0);
        let infinity = self.like64(x, f64::INFINITY);
        let minus = self.like64(x, f64::NEG_INFINITY);
        let out = self.choose(FloatCC::Equal, x, infinity, infinity, out);
        self.choose(FloatCC::Equal, x, zero, minus, out)
    }

    /// The exponential, about `2e-13` off relatively, of what fits a single precision result; infinity and 0 beyond.
    fn exp64(&mut self, x: Value) -> Value {
        let ty = self.ty(x);
        let low = self.like64(x, -120.0);
        let x = self.raw_max(low, x);
        let high = self.like64(x, 100.0);
        let x = self.raw_min(high, x);
        let turns = self.like64(x, std::f64::consts::LOG2_E);
        let turns = self.mul(x, turns);
        let rounder = self.like64(x, ROUNDER);
        let rounded = self.add(turns, rounder);
        let n = self.sub(rounded, rounder);
        let ln2 = self.like64(x, std::f64::consts::LN_2);
        let whole = self.mul(n, ln2);
        let r = self.sub(x, whole);
        let factorials = (1..=10).scan(1.0, |f, k| {
            *f *= f64::from(k);
            Some(*f)
        });
        let inverse: Vec<f64> = std::iter::once(1.0).chain(factorials).map(|f| 1.0 / f).collect();
        let p = self.polynomial64(r, inverse.into_iter().rev());
        let bits = self.bits(rounded);
        let shifted = self.b.ins().ishl_imm_u(bits, 52);
        let one = self.int_like(shifted, ONE as i64);
        let scale = self.b.ins().iadd(shifted, one);
        let scale = self.cast(ty, scale);
        self.mul(p, scale)
    }
}
