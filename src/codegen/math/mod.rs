//! Functions of numbers as straight-line code, for one `f32` and for `F32X4` alike, written once for both:
//! every helper takes its type from its operand.
//!
//! Invariants: no calls, no branches; only what SSE2 offers unless [`Features`] says more; a scalar and a lane give the same
//! bits. Errors, measured by the tests of this module against `f64` over dense sweeps, are stated at each function in ULP
//! (units in the last place of the true result).

mod elementary;
mod power;
#[cfg(test)]
mod tests;

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Type, Value,
    condcodes::FloatCC,
    types::{F32, F32X4, F64, I32, I32X4, I64, I64X2},
};
use cranelift_frontend::FunctionBuilder;

use super::emit::Features;
use crate::loops::{BinOp, Cmp, UnOp};

pub(in crate::codegen) use elementary::{
    ERF_FAR, ERF_FAR_HIGH, ERF_FAR_LOW, ERF_NEAR, EXP, LN2_HIGH, LN2_LOW, LOG,
};

/// Writes functions into a block.
pub(super) struct Math<'b, 'f> {
    b: &'b mut FunctionBuilder<'f>,
    features: Features,
}

/// 1.5 * 2^23: added to a small number it leaves that number's nearest integer in the low bits.
pub(in crate::codegen) const ROUNDER: f32 = 12_582_912.0;

impl<'b, 'f> Math<'b, 'f> {
    pub(super) fn new(b: &'b mut FunctionBuilder<'f>, features: Features) -> Self {
        Self { b, features }
    }

    pub(super) fn un(&mut self, op: UnOp, a: Value) -> Value {
        match op {
            UnOp::Neg => self.b.ins().fneg(a),
            UnOp::Abs => self.b.ins().fabs(a),
            UnOp::Sqrt => self.b.ins().sqrt(a),
            UnOp::Floor => self.floor(a),
            UnOp::Ceil => self.ceil(a),
            UnOp::Round => self.round(a),
            UnOp::Exp => self.exp(a),
            UnOp::Log => self.log(a),
            UnOp::Tanh => self.tanh(a),
            UnOp::Erf => self.erf(a),
        }
    }

    pub(super) fn bin(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        match op {
            BinOp::Add => self.add(a, b),
            BinOp::Sub => self.sub(a, b),
            BinOp::Mul => self.mul(a, b),
            BinOp::Div => self.b.ins().fdiv(a, b),
            BinOp::Min => self.extremum(false, a, b),
            BinOp::Max => self.extremum(true, a, b),
            BinOp::Pow => self.pow(a, b),
        }
    }

    /// `a * b + c`, rounded once where the target can.
    pub(super) fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.features.fma {
            return self.b.ins().fma(a, b, c);
        }
        let product = self.b.ins().fmul(a, b);
        self.b.ins().fadd(product, c)
    }

    pub(super) fn select(&mut self, cmp: Cmp, a: Value, b: Value, then: Value, other: Value) -> Value {
        let condition = match cmp {
            Cmp::Lt => FloatCC::LessThan,
            Cmp::Le => FloatCC::LessThanOrEqual,
            Cmp::Gt => FloatCC::GreaterThan,
            Cmp::Ge => FloatCC::GreaterThanOrEqual,
            Cmp::Eq => FloatCC::Equal,
            Cmp::Ne => FloatCC::NotEqual,
        };
        let (a, b) = (self.in_register(a), self.in_register(b));
        self.choose(condition, a, b, then, other)
    }

    /// The same vector, kept from becoming the memory operand of a comparison: cranelift 0.135 lets `cmpps` without AVX read
    /// memory that is not aligned, which faults. A cast there and back costs nothing and stands between load and use.
    fn in_register(&mut self, v: Value) -> Value {
        if self.ty(v) != F32X4 {
            return v;
        }
        let bits = self.cast(I32X4, v);
        self.cast(F32X4, bits)
    }

    /// The greater (smaller) of a constant and `v`; NaN passes, because it is the side that the instruction returns when the
    /// two do not compare.
    pub(super) fn min_max_constant(&mut self, max: bool, c: f32, v: Value) -> Value {
        let c = self.like(v, c);
        if max { self.raw_max(c, v) } else { self.raw_min(c, v) }
    }

    /// The number `x` in the type `ty`.
    pub(super) fn constant(&mut self, ty: Type, x: f32) -> Value {
        match ty {
            F32X4 => {
                let bytes: Vec<u8> = std::iter::repeat_n(x.to_le_bytes(), 4).flatten().collect();
                let handle = self.b.func.dfg.constants.insert(bytes.into());
                self.b.ins().vconst(F32X4, handle)
            }
            F32 => self.b.ins().f32const(x),
            _ => self.constant64(ty, f64::from(x)),
        }
    }

    fn ty(&self, v: Value) -> Type {
        self.b.func.dfg.value_type(v)
    }

    /// `x` in the type of `v`.
    fn like(&mut self, v: Value, x: f32) -> Value {
        let ty = self.ty(v);
        self.constant(ty, x)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fadd(a, b)
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fsub(a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fmul(a, b)
    }

    fn add_k(&mut self, a: Value, k: f32) -> Value {
        let k = self.like(a, k);
        self.add(a, k)
    }

    fn mul_k(&mut self, a: Value, k: f32) -> Value {
        let k = self.like(a, k);
        self.mul(a, k)
    }

    /// `(..(c[0] x + c[1]) x ..) x + c[n]`
    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let mut sum = None;
        for c in coefficients {
            let c = self.like(x, *c);
            sum = Some(match sum {
                None => c,
                Some(s) => self.fma(s, x, c),
            });
        }
        sum.unwrap_or(x)
    }

    /// The same bits as integers.
    fn bits(&mut self, v: Value) -> Value {
        let ty = match self.ty(v) {
            F32 => I32,
            F32X4 => I32X4,
            F64 => I64,
            _ => I64X2,
        };
        self.cast(ty, v)
    }

    /// Integer bits as a number of type `ty`.
    fn cast(&mut self, ty: Type, v: Value) -> Value {
        let little = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, little, v)
    }

    /// The integer `k` in every lane of the type of `v`.
    fn int_like(&mut self, v: Value, k: i64) -> Value {
        let ty = self.ty(v);
        if !ty.is_vector() {
            // A narrow constant holds only its own bits.
            return self.b.ins().iconst(ty, if ty == I32 { k & 0xffff_ffff } else { k });
        }
        let bytes: Vec<u8> = if ty == I32X4 {
            std::iter::repeat_n((k as i32).to_le_bytes(), 4).flatten().collect()
        } else {
            std::iter::repeat_n(k.to_le_bytes(), 2).flatten().collect()
        };
        let handle = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(ty, handle)
    }

    /// `if a condition b { then } else { other }`, lane by lane.
    fn choose(&mut self, condition: FloatCC, a: Value, b: Value, then: Value, other: Value) -> Value {
        let holds = self.b.ins().fcmp(condition, a, b);
        let ty = self.ty(then);
        if ty.is_vector() {
            let mask = self.cast(ty, holds);
            self.b.ins().bitselect(mask, then, other)
        } else {
            self.b.ins().select(holds, then, other)
        }
    }

    /// `if y < x { x } else { y }`: `maxps`.
    fn raw_max(&mut self, x: Value, y: Value) -> Value {
        self.choose(FloatCC::LessThan, y, x, x, y)
    }

    /// `if x < y { x } else { y }`: `minps`.
    fn raw_min(&mut self, x: Value, y: Value) -> Value {
        self.choose(FloatCC::LessThan, x, y, x, y)
    }

    /// The extremum, NaN if either side is: the instruction returns its second side when they do not compare, so only a NaN on
    /// the first side needs care.
    fn extremum(&mut self, max: bool, a: Value, b: Value) -> Value {
        let m = if max { self.raw_max(a, b) } else { self.raw_min(a, b) };
        if !self.ty(a).is_vector() {
            return self.choose(FloatCC::Unordered, a, a, a, m);
        }
        let nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
        let m = self.bits(m);
        let m = self.b.ins().bor(m, nan);
        self.cast(F32X4, m)
    }

    /// Nearest integer, ties to even; exact.
    fn round(&mut self, x: Value) -> Value {
        if self.features.round {
            return self.b.ins().nearest(x);
        }
        // Adding and taking away 2^23 drops the fraction; larger numbers have none.
        let size = self.b.ins().fabs(x);
        let up = self.add_k(size, 8_388_608.0);
        let whole = self.add_k(up, -8_388_608.0);
        let whole = self.keep_sign(whole, x);
        let limit = self.like(x, 8_388_608.0);
        self.choose(FloatCC::LessThan, size, limit, whole, x)
    }

    /// Exact.
    fn floor(&mut self, x: Value) -> Value {
        if self.features.round {
            return self.b.ins().floor(x);
        }
        let near = self.round(x);
        let below = self.add_k(near, -1.0);
        let out = self.choose(FloatCC::GreaterThan, near, x, below, near);
        self.keep_sign(out, x)
    }

    /// Exact.
    fn ceil(&mut self, x: Value) -> Value {
        if self.features.round {
            return self.b.ins().ceil(x);
        }
        let near = self.round(x);
        let above = self.add_k(near, 1.0);
        let out = self.choose(FloatCC::LessThan, near, x, above, near);
        self.keep_sign(out, x)
    }

    /// `out` with the sign of `x`, so that zeros keep theirs; NaN stays as it is.
    fn keep_sign(&mut self, out: Value, x: Value) -> Value {
        if !self.ty(x).is_vector() {
            return self.b.ins().fcopysign(out, x);
        }
        let (bits, sign) = (self.bits(out), self.bits(x));
        let mask = self.int_like(sign, i64::from(i32::MIN));
        let sign = self.b.ins().band(sign, mask);
        let bits = self.b.ins().band_not(bits, mask);
        let bits = self.b.ins().bor(bits, sign);
        self.cast(F32X4, bits)
    }
}
