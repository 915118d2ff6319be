//! Integer arithmetic on index variables: sums, floor division, tables, ranges, as [`super::super::index`] has it for Cranelift.

use super::{Binding, Wide};
use crate::codegen::Emitted;
use crate::kernels::x86::inst::{G, Inst};
use crate::loops::{Affine, IdxExpr, Var};

/// An integer that is known now or at run time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Int {
    Known(i64),
    Value(G),
}

/// Dividends below this are divided by multiplication.
const SMALL: i64 = 1 << 31;

impl Wide<'_> {
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

    /// The value of `a` in `copy`, in a register of its own.
    pub(super) fn affine(&mut self, a: &Affine, copy: usize) -> Emitted<Int> {
        let mut k = a.k;
        let mut parts: Vec<(G, i64)> = Vec::new();
        for (var, c) in &a.terms {
            match &self.bound(*var)?.value {
                Binding::Const(values) => k += values[copy] * c,
                Binding::Lane(_) => return Err("an index that depends on a lane"),
                Binding::Dyn(values, plus) => {
                    parts.push((*values.get(copy).ok_or("an index variable without a value")?, *c));
                    k += plus * c;
                }
            }
        }
        let Some(((first, c), rest)) = parts.split_first() else { return Ok(Int::Known(k)) };
        let sum = self.scaled(*first, *c);
        for (g, c) in rest {
            let term = self.scaled(*g, *c);
            self.code.push(Inst::Add { reg: sum, src: term });
        }
        self.code.push(Inst::AddImm { reg: sum, value: k });
        Ok(Int::Value(sum))
    }

    /// `g * c` in a new register.
    pub(super) fn scaled(&mut self, g: G, c: i64) -> G {
        let dst = self.code.integer();
        self.code.push(if c == 1 {
            Inst::Copy { dst, src: g }
        } else {
            Inst::MulImm { dst, src: g, value: c }
        });
        dst
    }

    /// Binds an index statement; what it is bound to at run time, per copy.
    pub(super) fn bind_idx(&mut self, var: Var, value: &IdxExpr) -> Emitted<Option<Vec<G>>> {
        let mut out: Vec<Int> = Vec::new();
        let a = value.affine();
        let shared = a.terms.iter().all(|(v, _)| match self.bound(*v).map(|b| &b.value) {
            Ok(Binding::Const(c)) => c.windows(2).all(|w| w[0] == w[1]),
            Ok(Binding::Dyn(g, _)) => g.windows(2).all(|w| w[0] == w[1]),
            Ok(Binding::Lane(_)) | Err(_) => false,
        });
        let range = self.range(a)?;
        for copy in 0..self.copies() {
            let known = out.first().copied().filter(|_| shared);
            let int = match known {
                Some(int) => int,
                None => {
                    let at = self.affine(a, copy)?;
                    self.idx(value, at, range)?
                }
            };
            out.push(int);
        }
        let range = self.idx_range(value, range)?;
        let known: Option<Vec<i64>> = out
            .iter()
            .map(|i| match i {
                Int::Known(k) => Some(*k),
                Int::Value(_) => None,
            })
            .collect();
        if let Some(values) = known {
            self.bind(var, Binding::Const(values), range)?;
            return Ok(None);
        }
        let values: Vec<G> = out.into_iter().map(|i| self.register(i)).collect();
        self.bind(var, Binding::Dyn(values.clone(), 0), range)?;
        Ok(Some(values))
    }

    fn register(&mut self, i: Int) -> G {
        match i {
            Int::Value(g) => g,
            Int::Known(value) => {
                let dst = self.code.integer();
                self.code.push(Inst::Imm { dst, value });
                dst
            }
        }
    }

    fn idx(&mut self, value: &IdxExpr, at: Int, range: (i64, i64)) -> Emitted<Int> {
        Ok(match (value, at) {
            (IdxExpr::Div(_, by), Int::Known(k)) => Int::Known(k.div_euclid(*by)),
            (IdxExpr::Mod(_, by), Int::Known(k)) => Int::Known(k.rem_euclid(*by)),
            (IdxExpr::Table(t, _), Int::Known(k)) => {
                let table = self.nest.tables.get(t.index()).ok_or("an unknown table")?;
                let entry = usize::try_from(k).ok().and_then(|k| table.get(k));
                Int::Known(*entry.ok_or("an index outside a table")?)
            }
            (IdxExpr::Div(_, by), Int::Value(g)) => {
                self.floor_div(g, *by, range);
                Int::Value(g)
            }
            (IdxExpr::Mod(_, by), Int::Value(g)) => {
                if range.0 >= 0 && range.1 < *by {
                    return Ok(Int::Value(g));
                }
                if let (true, Ok(mask)) = ((*by as u64).is_power_of_two(), i32::try_from(by - 1)) {
                    self.code.push(Inst::And { reg: g, value: mask });
                    return Ok(Int::Value(g));
                }
                let quotient = self.scaled(g, 1);
                self.floor_div(quotient, *by, range);
                let less = self.scaled(quotient, -by);
                self.code.push(Inst::Add { reg: g, src: less });
                Int::Value(g)
            }
            (IdxExpr::Table(t, _), Int::Value(g)) => {
                let table = self.nest.tables.get(t.index()).ok_or("an unknown table")?;
                let table = self.code.constant(table.iter().flat_map(|x| x.to_le_bytes()).collect());
                let dst = self.code.integer();
                self.code.push(Inst::Table { dst, table, index: g });
                Int::Value(dst)
            }
        })
    }

    fn idx_range(&self, value: &IdxExpr, (lo, hi): (i64, i64)) -> Emitted<(i64, i64)> {
        Ok(match value {
            IdxExpr::Div(_, by) => (lo.div_euclid(*by), hi.div_euclid(*by)),
            IdxExpr::Mod(_, by) => {
                if lo >= 0 && hi < *by {
                    (lo, hi)
                } else {
                    (0, by - 1)
                }
            }
            IdxExpr::Table(t, _) => {
                let table = self.nest.tables.get(t.index()).ok_or("an unknown table")?;
                (table.iter().copied().min().unwrap_or(0), table.iter().copied().max().unwrap_or(0))
            }
        })
    }

    /// `g = floor(g / by)` for `g` in `range`; see [`super::super::index`] for the multiplication.
    pub(super) fn floor_div(&mut self, g: G, by: i64, range: (i64, i64)) {
        if by == 1 {
            return;
        }
        if (by as u64).is_power_of_two() {
            self.code.push(Inst::Shr { reg: g, by: by.trailing_zeros() as u8, signed: true });
            return;
        }
        let lift = if range.0 < 0 { (-range.0.max(-SMALL)).div_euclid(by) + 1 } else { 0 };
        let small = range.0 > -SMALL && range.1 < SMALL && by < SMALL && range.1 + lift * by < SMALL;
        if !small {
            self.code.push(Inst::FloorDiv { reg: g, by });
            return;
        }
        let shift = 31 + (64 - (by as u64 - 1).leading_zeros());
        let magic = (1u128 << shift).div_ceil(by as u128) as i64;
        self.code.push(Inst::AddImm { reg: g, value: lift * by });
        self.code.push(Inst::MulImm { dst: g, src: g, value: magic });
        self.code.push(Inst::Shr { reg: g, by: shift as u8, signed: false });
        self.code.push(Inst::AddImm { reg: g, value: -lift });
    }
}
