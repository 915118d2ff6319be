//! Functions of numbers, operation by operation as [`super::super::math`] has them for Cranelift, so that a lane gives the
//! same bits on both roads. Errors are stated there.

use super::Wide;
use super::values::Val;
use crate::codegen::math::{
    ERF_FAR, ERF_FAR_HIGH, ERF_FAR_LOW, ERF_NEAR, EXP, LN2_HIGH, LN2_LOW, LOG, ROUNDER,
};
use crate::kernels::x86::inst::{Compare, Inst, Op, Shift, Src, Unary, V, Width};
use crate::loops::UnOp;

const SIGN: u32 = 0x8000_0000;

/// Straight-line arithmetic on vectors of one width.
struct Lanes<'w, 'a> {
    w: &'w mut Wide<'a>,
    width: Width,
}

impl Wide<'_> {
    pub(super) fn unary(&mut self, op: UnOp, a: Val, width: Width) -> V {
        let simple = match op {
            UnOp::Sqrt => Some(Unary::Sqrt),
            UnOp::Floor => Some(Unary::Floor),
            UnOp::Ceil => Some(Unary::Ceil),
            UnOp::Round => Some(Unary::Round),
            UnOp::Neg | UnOp::Abs | UnOp::Exp | UnOp::Log | UnOp::Tanh | UnOp::Erf => None,
        };
        if let Some(op) = simple {
            let src = self.src(a, width);
            let dst = self.code.vector();
            self.code.push(Inst::Unary { op, dst, src, width });
            return dst;
        }
        let a = self.vector(a, width);
        let mut l = Lanes { w: self, width };
        match op {
            UnOp::Neg => l.op(Op::Xor, a, Src::Const(SIGN)),
            UnOp::Abs => l.op(Op::And, a, Src::Const(!SIGN)),
            UnOp::Exp => l.exp(a),
            UnOp::Log => l.log(a),
            UnOp::Tanh => l.tanh(a),
            UnOp::Erf => l.erf(a),
            UnOp::Sqrt | UnOp::Floor | UnOp::Ceil | UnOp::Round => a,
        }
    }

    /// The extremum, NaN if either side is: the instruction returns its second side when they do not compare, so a constant
    /// stands first, and a NaN there is put back.
    pub(super) fn extremum(&mut self, op: Op, a: Val, b: Val, width: Width, dst: Option<V>) -> V {
        let to = |w: &mut Self| dst.unwrap_or_else(|| w.code.vector());
        for (c, v) in [(a, b), (b, a)] {
            if let Val::Const(x) = c
                && !x.is_nan()
            {
                // The constant must be the first operand, which is a register.
                let (c, v) = (self.vector(c, width), self.src(v, width));
                let dst = to(self);
                self.code.push(Inst::Op { op, dst, a: c, b: v, width });
                return dst;
            }
        }
        // What a loop carries stands second, off the way that looks for NaN.
        let carried = |v: Val| matches!((v, dst), (Val::V(v, _), Some(d)) if v == d);
        let (a, b) = if carried(a) { (b, a) } else { (a, b) };
        let (a, b) = (self.vector(a, width), self.src(b, width));
        let m = self.code.vector();
        self.code.push(Inst::Op { op, dst: m, a, b, width });
        let (mask, out) = (self.code.vector(), to(self));
        let unordered = Compare::Unordered;
        self.code.push(Inst::Select {
            dst: out,
            compare: unordered,
            a,
            b: Src::V(a),
            then: a,
            other: m,
            mask,
            width,
        });
        out
    }

    pub(super) fn select(
        &mut self,
        compare: Compare,
        a: Val,
        b: Val,
        then: Val,
        other: Val,
        width: Width,
    ) -> V {
        let (a, b) = (self.vector(a, width), self.src(b, width));
        let (then, other) = (self.vector(then, width), self.vector(other, width));
        let (dst, mask) = (self.code.vector(), self.code.vector());
        self.code.push(Inst::Select { dst, compare, a, b, then, other, mask, width });
        dst
    }
}

impl Lanes<'_, '_> {
    fn op(&mut self, op: Op, a: V, b: Src) -> V {
        let dst = self.w.code.vector();
        self.w.code.push(Inst::Op { op, dst, a, b, width: self.width });
        dst
    }

    fn add(&mut self, a: V, b: V) -> V {
        self.op(Op::Add, a, Src::V(b))
    }

    fn sub(&mut self, a: V, b: V) -> V {
        self.op(Op::Sub, a, Src::V(b))
    }

    fn mul(&mut self, a: V, b: V) -> V {
        self.op(Op::Mul, a, Src::V(b))
    }

    fn add_k(&mut self, a: V, k: f32) -> V {
        self.op(Op::Add, a, Src::Const(k.to_bits()))
    }

    fn mul_k(&mut self, a: V, k: f32) -> V {
        self.op(Op::Mul, a, Src::Const(k.to_bits()))
    }

    fn constant(&mut self, k: f32) -> V {
        self.w.vector(Val::Const(k), self.width)
    }

    /// The smaller (greater) of a constant and `v`; NaN passes.
    fn limit(&mut self, op: Op, k: f32, v: V) -> V {
        let k = self.constant(k);
        self.op(op, k, Src::V(v))
    }

    fn fma(&mut self, a: V, b: V, c: Val) -> V {
        self.w.fma(Val::V(a, false), Val::V(b, false), c, self.width, None)
    }

    fn shift(&mut self, by: Shift, src: V, bits: u8) -> V {
        let dst = self.w.code.vector();
        self.w.code.push(Inst::Shift { by, dst, src, bits, width: self.width });
        dst
    }

    fn choose(&mut self, compare: Compare, a: V, b: Src, then: V, other: V) -> V {
        let (dst, mask, width) = (self.w.code.vector(), self.w.code.vector(), self.width);
        self.w.code.push(Inst::Select { dst, compare, a, b, then, other, mask, width });
        dst
    }

    /// `(..(c[0] x + c[1]) x ..) x + c[n]`
    fn polynomial(&mut self, x: V, coefficients: &[f32]) -> V {
        let mut sum = None;
        for c in coefficients {
            sum = Some(match sum {
                None => self.constant(*c),
                Some(s) => self.fma(s, x, Val::Const(*c)),
            });
        }
        sum.unwrap_or(x)
    }

    /// `x` as `n ln 2 + r`: `n` as an integer, and `r`.
    fn reduce(&mut self, x: V) -> (V, V) {
        let turns = self.mul_k(x, std::f32::consts::LOG2_E);
        let rounded = self.add_k(turns, ROUNDER);
        let n = self.add_k(rounded, -ROUNDER);
        let high = self.mul_k(n, LN2_HIGH);
        let r = self.sub(x, high);
        let low = self.mul_k(n, LN2_LOW);
        let r = self.sub(r, low);
        (self.op(Op::IntSub, rounded, Src::Const(ROUNDER.to_bits())), r)
    }

    /// `exp(r) - 1`
    fn exp_minus_one(&mut self, r: V) -> V {
        let p = self.polynomial(r, &EXP);
        let square = self.mul(r, r);
        self.fma(p, square, Val::V(r, false))
    }

    /// `2^n` for `-126 <= n <= 127`.
    fn power_of_two(&mut self, n: V) -> V {
        let biased = self.op(Op::IntAdd, n, Src::Const(127));
        self.shift(Shift::Left, biased, 23)
    }

    fn exp(&mut self, x: V) -> V {
        let x = self.limit(Op::Max, -105.0, x);
        let x = self.limit(Op::Min, 89.0, x);
        let (n, r) = self.reduce(x);
        let p = self.exp_minus_one(r);
        let p = self.add_k(p, 1.0);
        let half = self.shift(Shift::Arithmetic, n, 1);
        let rest = self.op(Op::IntSub, n, Src::V(half));
        let scale = self.power_of_two(half);
        let p = self.mul(p, scale);
        let scale = self.power_of_two(rest);
        self.mul(p, scale)
    }

    fn log(&mut self, x: V) -> V {
        let least = Src::Const(f32::MIN_POSITIVE.to_bits());
        let raised = self.mul_k(x, 8_388_608.0);
        let normal = self.choose(Compare::Lt, x, least, raised, x);
        let zero = self.constant(0.0);
        let fall = self.constant(-23.0);
        let fall = self.choose(Compare::Lt, x, least, fall, zero);
        let cut = Src::Const(std::f32::consts::FRAC_1_SQRT_2.to_bits());
        let from = self.op(Op::IntSub, normal, cut);
        let e = self.shift(Shift::Arithmetic, from, 23);
        let whole = self.shift(Shift::Left, e, 23);
        let m = self.op(Op::IntSub, normal, Src::V(whole));
        let number = self.w.code.vector();
        self.w.code.push(Inst::Unary { op: Unary::FromInt, dst: number, src: Src::V(e), width: self.width });
        let e = self.add(number, fall);
        let f = self.add_k(m, -1.0);
        let z = self.mul(f, f);
        let p = self.polynomial(f, &LOG);
        let p = self.mul(p, f);
        let p = self.mul(p, z);
        let low = self.constant(LN2_LOW);
        let p = self.fma(e, low, Val::V(p, true));
        let half = self.constant(-0.5);
        let p = self.fma(z, half, Val::V(p, true));
        let high = self.mul_k(e, LN2_HIGH);
        let sum = self.add(f, p);
        let out = self.add(high, sum);
        let zero_src = Src::Const(0);
        let nan = self.constant(f32::NAN);
        let special = self.choose(Compare::Lt, x, zero_src, nan, x);
        let minus = self.constant(f32::NEG_INFINITY);
        let special = self.choose(Compare::Eq, x, zero_src, minus, special);
        let out = self.choose(Compare::Lt, x, Src::Const(f32::INFINITY.to_bits()), out, special);
        self.choose(Compare::Gt, x, zero_src, out, special)
    }

    fn tanh(&mut self, x: V) -> V {
        let size = self.op(Op::And, x, Src::Const(!SIGN));
        let size = self.limit(Op::Min, 10.0, size);
        let double = self.add(size, size);
        let (n, r) = self.reduce(double);
        let p = self.exp_minus_one(r);
        let scale = self.power_of_two(n);
        let whole = self.add_k(scale, -1.0);
        let t = self.fma(p, scale, Val::V(whole, true));
        let below = self.add_k(t, 2.0);
        let out = self.op(Op::Div, t, Src::V(below));
        self.keep_sign(out, x)
    }

    fn erf(&mut self, x: V) -> V {
        let size = self.op(Op::And, x, Src::Const(!SIGN));
        let square = self.mul(x, x);
        let near = self.polynomial(square, &ERF_NEAR);
        let near = self.fma(near, x, Val::V(x, false));
        let limited = self.limit(Op::Min, 4.0, size);
        let high = self.polynomial(limited, &ERF_FAR_HIGH);
        let low = self.polynomial(limited, &ERF_FAR_LOW);
        let square = self.mul(limited, limited);
        let mut far = self.fma(high, square, Val::V(low, true));
        for c in ERF_FAR {
            far = self.fma(far, limited, Val::Const(c));
        }
        let minus = self.op(Op::Xor, limited, Src::Const(SIGN));
        let far = self.fma(far, limited, Val::V(minus, true));
        let far = self.exp(far);
        let one = self.constant(1.0);
        let far = self.sub(one, far);
        let far = self.keep_sign(far, x);
        self.choose(Compare::Gt, size, Src::Const((475.0f32 / 512.0).to_bits()), far, near)
    }

    /// `out` with the sign of `x`.
    fn keep_sign(&mut self, out: V, x: V) -> V {
        let sign = self.op(Op::And, x, Src::Const(SIGN));
        let bits = self.op(Op::And, out, Src::Const(!SIGN));
        self.op(Op::Or, bits, Src::V(sign))
    }
}
