//! Integer arithmetic on index variables: sums, floor division, tables, and the range of each value.
//!
//! A variable in scope is bound to constants (one per jam copy), to SSA values, or to the lanes of a vector. Ranges are kept
//! because division by a constant is a multiplication when the dividend is known to be small.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, condcodes::IntCC, types::I64};

use super::Emitted;
use super::emit::Emitter;
use crate::loops::{Affine, IdxExpr, Var};

/// What an index variable stands for.
#[derive(Clone, Debug)]
pub(super) enum Binding {
    /// A constant per copy.
    Const(Vec<i64>),
    /// A value per copy, plus a constant (the turn within an unrolled loop). No values: only pointers follow it.
    Dyn(Vec<Value>, i64),
    /// The lane of the vector loop.
    Lane,
}

/// A variable in scope.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// Its value.
    pub(super) value: Binding,
    /// The least and the greatest that it becomes.
    pub(super) range: (i64, i64),
}

/// An integer that is known now or at run time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Int {
    Known(i64),
    Value(Value),
}

/// Dividends below this are divided by multiplication.
const SMALL: i64 = 1 << 31;

impl Emitter<'_, '_> {
    /// The binding of `var`.
    pub(super) fn bound(&self, var: Var) -> Emitted<&Bound> {
        self.env.vars.get(var.index()).and_then(Option::as_ref).ok_or("an index variable out of scope")
    }

    /// The least and greatest value of `a`.
    pub(super) fn range(&self, a: &Affine) -> Emitted<(i64, i64)> {
        let (mut lo, mut hi) = (a.k, a.k);
        for (var, c) in &a.terms {
            let (l, h) = self.bound(*var)?.range;
            let (x, y) = (l.saturating_mul(*c), h.saturating_mul(*c));
            lo = lo.saturating_add(x.min(y));
            hi = hi.saturating_add(x.max(y));
        }
        Ok((lo, hi))
    }

    /// The value of `a` in `copy`.
    pub(super) fn affine(&mut self, a: &Affine, copy: usize) -> Emitted<Int> {
        let mut k = a.k;
        let mut sum: Option<Value> = None;
        for (var, c) in &a.terms {
            match &self.bound(*var)?.value {
                Binding::Const(values) => k += values[copy] * c,
                Binding::Lane => return Err("an index that depends on a lane"),
                Binding::Dyn(values, plus) => {
                    let v = *values.get(copy).ok_or("an index variable without a value")?;
                    k += plus * c;
                    let term = self.scaled(v, *c);
                    sum = Some(match sum {
                        None => term,
                        Some(s) => self.b.ins().iadd(s, term),
                    });
                }
            }
        }
        Ok(match sum {
            None => Int::Known(k),
            Some(s) if k == 0 => Int::Value(s),
            Some(s) => Int::Value(self.b.ins().iadd_imm_s(s, k)),
        })
    }

    /// `v * c`
    pub(super) fn scaled(&mut self, v: Value, c: i64) -> Value {
        if c == 1 {
            v
        } else if c > 0 && (c as u64).is_power_of_two() {
            self.b.ins().ishl_imm_u(v, i64::from(c.trailing_zeros()))
        } else {
            self.b.ins().imul_imm_s(v, c)
        }
    }

    /// `v` as an SSA value.
    pub(super) fn int(&mut self, v: Int) -> Value {
        match v {
            Int::Known(k) => self.b.ins().iconst(I64, k),
            Int::Value(v) => v,
        }
    }

    /// What a variable with `value` is bound to. Copies with equal operands share the result.
    pub(super) fn bind_idx(&mut self, value: &IdxExpr) -> Emitted<Bound> {
        let copies = self.env.copies;
        let mut results: Vec<Int> = Vec::with_capacity(copies);
        let mut known: Vec<(Vec<Value>, Int)> = Vec::new();
        let (IdxExpr::Div(a, _) | IdxExpr::Mod(a, _) | IdxExpr::Table(_, a)) = value;
        let in_const = |v: Var| matches!(self.bound(v), Ok(b) if matches!(b.value, Binding::Const(_)));
        let has_const = a.terms.iter().any(|t| in_const(t.0));
        for copy in 0..copies {
            let operands = self.operands(a, copy)?;
            let hit = known.iter().find(|k| !has_const && k.0 == operands).map(|k| k.1);
            let result = match hit {
                Some(r) => r,
                None => self.idx_value(value, copy)?,
            };
            known.push((operands, result));
            results.push(result);
        }
        let range = self.idx_range(value)?;
        let constants: Option<Vec<i64>> =
            results.iter().map(|r| if let Int::Known(k) = r { Some(*k) } else { None }).collect();
        let value = match constants {
            Some(constants) => Binding::Const(constants),
            None => Binding::Dyn(results.into_iter().map(|r| self.int(r)).collect(), 0),
        };
        Ok(Bound { value, range })
    }

    fn operands(&self, a: &Affine, copy: usize) -> Emitted<Vec<Value>> {
        let mut out = Vec::new();
        for (var, _) in &a.terms {
            if let Binding::Dyn(values, _) = &self.bound(*var)?.value {
                out.extend(values.get(copy));
            }
        }
        Ok(out)
    }

    fn idx_value(&mut self, value: &IdxExpr, copy: usize) -> Emitted<Int> {
        match value {
            IdxExpr::Div(a, by) => {
                let range = self.range(a)?;
                Ok(match self.affine(a, copy)? {
                    Int::Known(k) => Int::Known(k.div_euclid(*by)),
                    Int::Value(v) => Int::Value(self.floor_div(v, *by, range)),
                })
            }
            IdxExpr::Mod(a, by) => {
                let range = self.range(a)?;
                Ok(match self.affine(a, copy)? {
                    Int::Known(k) => Int::Known(k.rem_euclid(*by)),
                    Int::Value(v) if (*by as u64).is_power_of_two() => {
                        Int::Value(self.b.ins().band_imm_s(v, by - 1))
                    }
                    Int::Value(v) => {
                        let q = self.floor_div(v, *by, range);
                        let whole = self.b.ins().imul_imm_s(q, *by);
                        Int::Value(self.b.ins().isub(v, whole))
                    }
                })
            }
            IdxExpr::Table(t, a) => {
                let table = self.nest.tables.get(t.index()).ok_or("an unknown table")?;
                Ok(match self.affine(a, copy)? {
                    Int::Known(k) => {
                        let entry = usize::try_from(k).ok().and_then(|k| table.get(k));
                        Int::Known(*entry.ok_or("an index outside a table")?)
                    }
                    Int::Value(v) => {
                        let base = self.table(*t)?;
                        let offset = self.b.ins().ishl_imm_u(v, 3);
                        let at = self.b.ins().iadd(base, offset);
                        let flags = MemFlagsData::new().with_notrap().with_aligned();
                        Int::Value(self.b.ins().load(I64, flags, at, 0))
                    }
                })
            }
        }
    }

    fn idx_range(&self, value: &IdxExpr) -> Emitted<(i64, i64)> {
        Ok(match value {
            IdxExpr::Div(a, by) => {
                let (lo, hi) = self.range(a)?;
                (lo.div_euclid(*by), hi.div_euclid(*by))
            }
            IdxExpr::Mod(a, by) => {
                let (lo, hi) = self.range(a)?;
                if lo >= 0 && hi < *by { (lo, hi) } else { (0, by - 1) }
            }
            IdxExpr::Table(t, _) => {
                let table = self.nest.tables.get(t.index()).ok_or("an unknown table")?;
                (table.iter().copied().min().unwrap_or(0), table.iter().copied().max().unwrap_or(0))
            }
        })
    }

    /// `floor(v / by)` for `v` in `range`.
    ///
    /// A small dividend `a >= 0` is multiplied by `ceil(2^s / by)` and shifted by `s = 31 + ceil(log2 by)`: exact for
    /// `a < 2^31` (Granlund and Montgomery 1994, theorem 4.2), and the product fits 63 bits. A dividend that may be negative is
    /// first raised by a multiple of `by`.
    pub(super) fn floor_div(&mut self, v: Value, by: i64, range: (i64, i64)) -> Value {
        if by == 1 {
            return v;
        }
        if (by as u64).is_power_of_two() {
            return self.b.ins().sshr_imm_u(v, i64::from(by.trailing_zeros()));
        }
        let lift = if range.0 < 0 { (-range.0.max(-SMALL)).div_euclid(by) + 1 } else { 0 };
        let small = range.0 > -SMALL && range.1 < SMALL && by < SMALL && range.1 + lift * by < SMALL;
        if small {
            let shift = 31 + (64 - (by as u64 - 1).leading_zeros());
            let magic = (1u128 << shift).div_ceil(by as u128) as i64;
            let a = if lift == 0 { v } else { self.b.ins().iadd_imm_s(v, lift * by) };
            let product = self.b.ins().imul_imm_s(a, magic);
            let q = self.b.ins().ushr_imm_u(product, i64::from(shift));
            return if lift == 0 { q } else { self.b.ins().iadd_imm_s(q, -lift) };
        }
        let by = self.b.ins().iconst(I64, by);
        let q = self.b.ins().sdiv(v, by);
        let r = self.b.ins().srem(v, by);
        let negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, r, 0);
        let down = self.b.ins().uextend(I64, negative);
        self.b.ins().isub(q, down)
    }
}
