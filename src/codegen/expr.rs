//! Expressions: one value per copy, scalar or a vector of lanes; loads shared between copies; stores.
//!
//! In a vector loop a load is a vector where neighbouring lanes are neighbours in memory, one element in all lanes where all
//! read the same, and otherwise gathered lane by lane. Registers from outside are splat when they meet a vector.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};

use super::Emitted;
use super::address::{Address, ELEMENT};
use super::emit::Emitter;
use super::index::Int;
use super::math::Math;
use super::scan;
use crate::loops::{Affine, BinOp, Buf, Expr, LANES};

/// A value that may still be either scalar or vector; constants become what they meet.
#[derive(Clone, Copy, Debug)]
enum Val {
    Known(f32),
    Value(Value),
}

/// Addresses of the loads of one expression, in order of evaluation, and how far evaluation has come.
struct Leaves {
    addresses: Vec<(Buf, Vec<Address>)>,
    next: usize,
}

impl<'f> Emitter<'_, 'f> {
    /// The value of `e` in every copy; in a vector loop always a vector.
    pub(super) fn values(&mut self, e: &Expr) -> Emitted<Vec<Value>> {
        let mut leaves = self.leaves(e)?;
        let mut out: Vec<Option<Value>> = vec![None; self.env.copies];
        for copy in self.order(&leaves) {
            leaves.next = 0;
            let value = self.eval(e, copy, &mut leaves)?;
            out[copy] = Some(self.materialise(value));
        }
        out.into_iter().collect::<Option<Vec<Value>>>().ok_or("a copy without a value")
    }

    /// `buf[at] = e` in every copy.
    pub(super) fn store(&mut self, buf: Buf, at: &[Affine], e: &Expr) -> Emitted<()> {
        let values = self.values(e)?;
        let places = self.addresses(buf, at)?;
        for (value, place) in values.into_iter().zip(places) {
            if self.env.vector && place.lane != 1 {
                return Err("a vector stored with gaps");
            }
            let (pointer, bytes) = self.displaced(place);
            self.b.ins().store(MemFlagsData::new().with_notrap(), value, pointer, bytes);
        }
        Ok(())
    }

    fn leaves(&self, e: &Expr) -> Emitted<Leaves> {
        let mut addresses = Vec::new();
        let mut problem = None;
        scan::loads(e, &mut |buf, at| match self.addresses(buf, at) {
            Ok(a) => addresses.push((buf, a)),
            Err(e) => problem = Some(e),
        });
        match problem {
            Some(e) => Err(e),
            None => Ok(Leaves { addresses, next: 0 }),
        }
    }

    /// The order in which to evaluate copies: those that share the load with the most different addresses follow each other,
    /// so that each of its values lives briefly while the few of the other loads stay in registers.
    fn order(&self, leaves: &Leaves) -> Vec<usize> {
        let distinct = |a: &[Address]| a.iter().collect::<BTreeSet<_>>().len();
        let mut order: Vec<usize> = (0..self.env.copies).collect();
        let most = leaves.addresses.iter().map(|l| &l.1).max_by_key(|a| (distinct(a), Reverse(a.len())));
        if let Some(most) = most {
            let rank = |copy: usize| most.iter().position(|a| *a == most[copy]);
            order.sort_by_key(|copy| rank(*copy));
        }
        order
    }

    fn eval(&mut self, e: &Expr, copy: usize, leaves: &mut Leaves) -> Emitted<Val> {
        Ok(match e {
            Expr::Const(x) => Val::Known(*x),
            Expr::Reg(r) => {
                let values = self.env.regs.get(r.index()).and_then(Option::as_ref);
                Val::Value(values.ok_or("a register read out of scope")?[copy])
            }
            Expr::Load { .. } => {
                let (buf, addresses) = leaves.addresses.get(leaves.next).ok_or("a load not seen before")?;
                leaves.next += 1;
                let (buf, at) = (*buf, addresses[copy]);
                Val::Value(self.load(buf, at))
            }
            Expr::Index(a) => match self.affine(a, copy)? {
                Int::Known(k) => Val::Known(k as f32),
                Int::Value(v) => Val::Value(self.b.ins().fcvt_from_sint(types::F32, v)),
            },
            Expr::Un(op, a) => {
                let a = self.eval(a, copy, leaves)?;
                let a = self.loose(a);
                Val::Value(self.math().un(*op, a))
            }
            Expr::Bin(op, x, y) => {
                let swap = matches!((op, &**x), (BinOp::Min | BinOp::Max, Expr::Reg(_)));
                let (x, y) = (self.eval(x, copy, leaves)?, self.eval(y, copy, leaves)?);
                if let (BinOp::Min | BinOp::Max, Some((c, v))) = (op, against_constant(x, y)) {
                    return Ok(Val::Value(self.math().min_max_constant(*op == BinOp::Max, c, v)));
                }
                let [x, y] = self.alike([x, y]);
                // Both orders mean the same; the accumulator second keeps it off the longer path.
                Val::Value(if swap { self.math().bin(*op, y, x) } else { self.math().bin(*op, x, y) })
            }
            Expr::Fma(a, b, c) => {
                let all =
                    [self.eval(a, copy, leaves)?, self.eval(b, copy, leaves)?, self.eval(c, copy, leaves)?];
                let [a, b, c] = self.alike(all);
                Val::Value(self.math().fma(a, b, c))
            }
            Expr::Select { cmp, a, b, then, other } => {
                let all = [
                    self.eval(a, copy, leaves)?,
                    self.eval(b, copy, leaves)?,
                    self.eval(then, copy, leaves)?,
                    self.eval(other, copy, leaves)?,
                ];
                let [a, b, then, other] = self.alike(all);
                Val::Value(self.math().select(*cmp, a, b, then, other))
            }
        })
    }

    /// The functions of one or more numbers.
    fn math(&mut self) -> Math<'_, 'f> {
        Math::new(&mut self.b, self.features)
    }

    /// All scalar, or all vectors as soon as one is.
    fn alike<const N: usize>(&mut self, values: [Val; N]) -> [Value; N] {
        let vector = values.iter().any(|v| match v {
            Val::Known(_) => false,
            Val::Value(v) => self.b.func.dfg.value_type(*v).is_vector(),
        });
        values.map(|v| if vector { self.vector(v) } else { self.loose(v) })
    }

    /// Scalar where it is one.
    fn loose(&mut self, v: Val) -> Value {
        match v {
            Val::Known(x) => self.b.ins().f32const(x),
            Val::Value(v) => v,
        }
    }

    fn vector(&mut self, v: Val) -> Value {
        match v {
            Val::Known(x) => self.math().constant(types::F32X4, x),
            Val::Value(v) if self.b.func.dfg.value_type(v).is_vector() => v,
            Val::Value(v) => match self.splats.get(&v) {
                Some(s) => *s,
                None => {
                    let s = self.b.ins().splat(types::F32X4, v);
                    self.splats.insert(v, s);
                    s
                }
            },
        }
    }

    fn materialise(&mut self, v: Val) -> Value {
        if self.env.vector { self.vector(v) } else { self.loose(v) }
    }

    fn load(&mut self, buf: Buf, at: Address) -> Value {
        let key = (at, self.env.vector);
        if let Some(v) = self.loaded.get(&key) {
            return *v;
        }
        let value = match (self.env.vector, at.lane) {
            (false, _) => self.load_as(types::F32, at),
            (true, 1) => self.load_as(types::F32X4, at),
            (true, 0) => {
                // Nothing in between, so that both become one instruction.
                let one = self.load_as(types::F32, at);
                self.b.ins().splat(types::F32X4, one)
            }
            (true, _) => self.gather(at),
        };
        // What the nest itself may overwrite is read again each time.
        if self.readonly(buf) {
            self.loaded.insert(key, value);
        }
        value
    }

    fn load_as(&mut self, ty: Type, at: Address) -> Value {
        let (pointer, bytes) = self.displaced(at);
        if ty == types::F32X4 && !self.features.fma {
            // Without AVX a vector in memory must be aligned to be an operand, and Cranelift 0.135 forgets so for `cmpps`. What is
            // loaded as integers is no operand of it; no other instruction could take an unaligned one either.
            let lanes = self.b.ins().load(types::I32X4, MemFlagsData::new().with_notrap(), pointer, bytes);
            let little = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
            return self.b.ins().bitcast(ty, little, lanes);
        }
        self.b.ins().load(ty, MemFlagsData::new().with_notrap(), pointer, bytes)
    }

    fn gather(&mut self, at: Address) -> Value {
        let mut out = None;
        for lane in 0..LANES as u8 {
            let bytes = at.bytes + i64::from(lane) * at.lane * ELEMENT;
            let one = self.load_as(types::F32, Address { bytes, ..at });
            out = Some(match out {
                None => self.b.ins().splat(types::F32X4, one),
                Some(v) => self.b.ins().insertlane(v, one, lane),
            });
        }
        out.unwrap_or_else(|| self.math().constant(types::F32X4, 0.0))
    }
}

/// A constant that is no NaN, and the other side.
fn against_constant(x: Val, y: Val) -> Option<(f32, Value)> {
    match (x, y) {
        (Val::Known(c), Val::Value(v)) | (Val::Value(v), Val::Known(c)) if !c.is_nan() => Some((c, v)),
        (Val::Known(_) | Val::Value(_), Val::Known(_) | Val::Value(_)) => None,
    }
}
