//! Expressions, one copy at a time: loads shared between copies or folded into the instruction that uses them, and stores.
//!
//! In a vector loop a load is a vector where neighbouring lanes are neighbours in memory, one element in all lanes where all
//! read the same, and otherwise gathered.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::ints::Int;
use super::{Binding, Shape, Wide};
use crate::codegen::Emitted;
use crate::codegen::address::{ELEMENT, Key};
use crate::codegen::scan;
use crate::kernels::x86::Unit;
use crate::kernels::x86::inst::{Compare, G, Inst, Mem, Op, Src, Unary, V, Width};
use crate::loops::{Affine, BinOp, Buf, Cmp, Expr, Reg, Stmt, Var};

/// An element: `bytes` behind `pointer`, and as much per lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pointer: G,
    bytes: i64,
    /// Elements from one lane to the next; 0 outside of vector loops.
    lane: i64,
    /// Lanes in use.
    lanes: u8,
}

/// A value on its way into an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Val {
    Const(f32),
    /// In a vector; `true`: nothing else reads it.
    V(V, bool),
    /// A whole vector in memory.
    Mem(Mem),
    /// A number in memory, for all lanes.
    Spread(Mem),
}

impl Wide<'_> {
    /// Where an access goes in `copy`.
    fn address(&self, form: &Affine, buf: Buf, copy: usize) -> Emitted<Address> {
        let mut bytes = form.k * ELEMENT;
        let mut terms = Vec::new();
        let mut lane = 0;
        for (var, c) in &form.terms {
            match &self.bound(*var)?.value {
                Binding::Dyn(_, plus) => {
                    terms.push((*var, *c));
                    bytes += plus * c * ELEMENT;
                }
                Binding::Lane(first) => {
                    lane = *c;
                    bytes += first[copy] * c * ELEMENT;
                }
                Binding::Const(values) => bytes += values[copy] * c * ELEMENT,
            }
        }
        let pointers =
            self.env.pointers.get(&Key { buf, terms }).ok_or("an address that was not prepared")?;
        let lanes = self.env.shapes[copy].lanes;
        Ok(Address { pointer: pointers[copy], bytes, lane, lanes })
    }

    /// The pointer and the bytes behind it of an access in `copy`.
    pub(super) fn place(&self, form: &Affine, buf: Buf, copy: usize) -> Emitted<(G, i64)> {
        self.address(form, buf, copy).map(|at| (at.pointer, at.bytes))
    }

    fn mem(&self, at: Address) -> Emitted<Mem> {
        let disp = i32::try_from(at.bytes).map_err(|_| "an element more than 2 GiB behind its pointer")?;
        Ok(Mem { base: at.pointer, disp })
    }

    /// Counts how often each address is read by straight statements, and finds the order in which to write copies: those
    /// that share the load with the most different addresses follow each other, so that each of its values lives briefly while
    /// the few of the other loads stay in registers.
    pub(super) fn plan_loads(&mut self, stmts: &[Stmt]) -> Emitted<Vec<usize>> {
        let copies = self.copies();
        let mut forms: Vec<(Buf, Affine)> = Vec::new();
        let mut problem = None;
        for e in stmts.iter().filter_map(Stmt::expr) {
            scan::loads(e, &mut |buf, at| match self.linear(buf, at) {
                Ok(form) => forms.push((buf, form)),
                Err(e) => problem = Some(e),
            });
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        let stored = |buf: Buf| stmts.iter().any(|s| matches!(s, Stmt::Store { buf: b, .. } if *b == buf));
        let mut order: Vec<usize> = (0..copies).collect();
        let mut most: Option<(usize, Vec<Address>)> = None;
        for (buf, form) in &forms {
            let places: Vec<Address> =
                (0..copies).map(|copy| self.address(form, *buf, copy)).collect::<Emitted<_>>()?;
            // What lies in a buffer that is stored to may be another value for the next copy.
            if !stored(*buf) {
                for at in &places {
                    *self.reads.entry(*at).or_insert(0) += 1;
                }
            }
            let distinct = places.iter().collect::<BTreeSet<_>>().len();
            if most.as_ref().is_none_or(|(n, _)| distinct > *n) {
                most = Some((distinct, places));
            }
        }
        if let Some((_, places)) = most {
            let mut first: BTreeMap<Address, usize> = BTreeMap::new();
            for (copy, at) in places.iter().enumerate() {
                first.entry(*at).or_insert(copy);
            }
            order.sort_by_key(|copy| (first[&places[*copy]], Reverse(0), *copy));
        }
        Ok(order)
    }

    /// `reg = e` in `copy`.
    pub(super) fn assign(&mut self, reg: Reg, e: &Expr, copy: usize) -> Emitted<()> {
        let slot = self.env.regs.get(reg.index()).and_then(Option::as_ref);
        let (_, list) = slot.ok_or("a register assigned out of scope")?;
        let dst = list[copy];
        let value = self.eval(e, copy, Some(dst))?;
        let width = self.env.shapes[copy].width;
        match value {
            Val::V(v, _) if v == dst => {}
            other => {
                let src = self.any(other);
                self.code.push(Inst::Unary { op: Unary::Move, dst, src, width });
            }
        }
        // What was spread of an earlier value is no longer its value.
        self.spread.retain(|(v, _), _| *v != dst);
        Ok(())
    }

    /// `buf[at] = e` in `copy`.
    pub(super) fn store(&mut self, buf: Buf, at: &[Affine], e: &Expr, copy: usize) -> Emitted<()> {
        let value = self.eval(e, copy, None)?;
        let Shape { width, lanes } = self.env.shapes[copy];
        let src = self.vector(value, width);
        let form = self.linear(buf, at)?;
        let place = self.address(&form, buf, copy)?;
        if self.env.vector && place.lane != 1 && lanes > 1 {
            return Err("a vector stored with gaps");
        }
        let mem = self.mem(place)?;
        let mask = self.mask(width, lanes);
        let past = usize::from(lanes) == self.unit.lanes() && self.past(buf, &form, place);
        self.fences |= past;
        self.code.push(Inst::Store { src, mem, width, lanes, mask, past });
        Ok(())
    }

    /// Whether a whole vector goes past the caches: the buffer allows it, and the address is a multiple of its size.
    fn past(&self, buf: Buf, form: &Affine, place: Address) -> bool {
        let lanes = self.unit.lanes() as i64;
        let moves = |v: Var| self.bound(v).is_ok_and(|b| matches!(b.value, Binding::Dyn(..)));
        self.nest.bufs[buf.index()].uncached
            && place.bytes % (ELEMENT * lanes) == 0
            && form.terms.iter().all(|(v, by)| by % lanes == 0 || !moves(*v))
    }

    /// What AVX2 needs to touch only some lanes.
    fn mask(&mut self, width: Width, lanes: u8) -> Option<V> {
        if self.unit == Unit::Avx512 || lanes == 1 || usize::from(lanes) == width.lanes() {
            return None;
        }
        let bits = (0..8).flat_map(|l| if l < lanes { [0xff; 4] } else { [0; 4] }).collect();
        let from = self.code.constant(bits);
        let dst = self.code.vector();
        self.code.push(Inst::Vector { dst, from, width });
        Some(dst)
    }

    /// The value of `e`, made in `dst` where an instruction can.
    pub(super) fn eval(&mut self, e: &Expr, copy: usize, dst: Option<V>) -> Emitted<Val> {
        let width = self.env.shapes[copy].width;
        Ok(match e {
            Expr::Const(x) => Val::Const(*x),
            Expr::Reg(r) => {
                let slot = self.env.regs.get(r.index()).and_then(Option::as_ref);
                let (vector, list) = slot.ok_or("a register read out of scope")?;
                let (vector, v) = (*vector, list[copy]);
                Val::V(if vector || width == Width::X { v } else { self.widened(v, width) }, false)
            }
            Expr::Load { buf, at } => self.load(*buf, at, copy)?,
            Expr::Index(a) => match self.affine(a, copy)? {
                Int::Known(k) => Val::Const(k as f32),
                Int::Value(src) => {
                    let v = self.code.vector();
                    self.code.push(Inst::Number { dst: v, src, width });
                    Val::V(v, true)
                }
            },
            Expr::Un(op, a) => {
                let a = self.eval(a, copy, None)?;
                Val::V(self.unary(*op, a, width), true)
            }
            Expr::Bin(op, x, y) => {
                let (a, b) = (self.eval(x, copy, None)?, self.eval(y, copy, None)?);
                self.binary(*op, a, b, width, dst)?
            }
            Expr::Fma(a, b, c) => {
                let (a, b) = (self.eval(a, copy, None)?, self.eval(b, copy, None)?);
                let c = self.eval(c, copy, None)?;
                Val::V(self.fma(a, b, c, width, dst), true)
            }
            Expr::Select { cmp, a, b, then, other } => {
                let (a, b) = (self.eval(a, copy, None)?, self.eval(b, copy, None)?);
                let (then, other) = (self.eval(then, copy, None)?, self.eval(other, copy, None)?);
                let compare = match cmp {
                    Cmp::Lt => Compare::Lt,
                    Cmp::Le => Compare::Le,
                    Cmp::Gt => Compare::Gt,
                    Cmp::Ge => Compare::Ge,
                    Cmp::Eq => Compare::Eq,
                    Cmp::Ne => Compare::Ne,
                };
                Val::V(self.select(compare, a, b, then, other, width), true)
            }
        })
    }

    /// `a * b + c`. In place where `c` is of no further use or is `dst` itself.
    pub(super) fn fma(&mut self, a: Val, b: Val, c: Val, width: Width, dst: Option<V>) -> V {
        let acc = match c {
            Val::V(v, owned) if owned || Some(v) == dst => v,
            other => {
                let v = self.code.vector();
                let src = self.any(other);
                self.code.push(Inst::Unary { op: Unary::Move, dst: v, src, width });
                v
            }
        };
        // One factor may lie in memory.
        let (a, b) = if matches!(a, Val::V(..)) { (a, b) } else { (b, a) };
        let a = self.vector(a, width);
        let b = self.src(b, width);
        self.code.push(Inst::Fma { acc, a, b, width });
        acc
    }

    pub(super) fn binary(&mut self, op: BinOp, a: Val, b: Val, width: Width, dst: Option<V>) -> Emitted<Val> {
        let (op, commutes) = match op {
            BinOp::Add => (Op::Add, true),
            BinOp::Sub => (Op::Sub, false),
            BinOp::Mul => (Op::Mul, true),
            BinOp::Div => (Op::Div, false),
            BinOp::Min => return Ok(Val::V(self.extremum(Op::Min, a, b, width, dst), dst.is_none())),
            BinOp::Max => return Ok(Val::V(self.extremum(Op::Max, a, b, width, dst), dst.is_none())),
            BinOp::Pow => return Err("a power"),
        };
        let (a, b) = if commutes && !matches!(a, Val::V(..)) { (b, a) } else { (a, b) };
        let a = self.vector(a, width);
        let b = self.src(b, width);
        let to = dst.unwrap_or_else(|| self.code.vector());
        self.code.push(Inst::Op { op, dst: to, a, b, width });
        Ok(Val::V(to, dst.is_none()))
    }

    fn load(&mut self, buf: Buf, at: &[Affine], copy: usize) -> Emitted<Val> {
        let form = self.linear(buf, at)?;
        let place = self.address(&form, buf, copy)?;
        if let Some(v) = self.loaded.get(&place) {
            return Ok(Val::V(*v, false));
        }
        let Shape { width, lanes } = self.env.shapes[copy];
        let mem = self.mem(place)?;
        let times = self.reads.get(&place).copied().unwrap_or(1);
        let full = usize::from(lanes) == width.lanes();
        let v = match (self.env.vector, place.lane) {
            (true, 1) if full && times == 1 => return Ok(Val::Mem(mem)),
            (false, _) | (true, 0) if times == 1 => return Ok(Val::Spread(mem)),
            (true, 1) => {
                let mask = self.mask(width, lanes);
                let dst = self.code.vector();
                self.code.push(Inst::Load { dst, mem, width, lanes, mask });
                dst
            }
            (false, _) | (true, 0) => {
                let dst = self.code.vector();
                self.code.push(Inst::Unary { op: Unary::Move, dst, src: Src::Spread(mem), width });
                dst
            }
            (true, stride) => self.gather(mem, stride, width, lanes)?,
        };
        if times > 1 {
            self.loaded.insert(place, v);
        }
        Ok(Val::V(v, times <= 1))
    }

    fn gather(&mut self, mem: Mem, stride: i64, width: Width, lanes: u8) -> Emitted<V> {
        let mut bytes = Vec::new();
        for l in 0..width.lanes().max(8) as i64 {
            let at = if l < i64::from(lanes) { l * stride * ELEMENT } else { 0 };
            bytes.extend(i32::try_from(at).map_err(|_| "lanes more than 2 GiB apart")?.to_le_bytes());
        }
        let offsets = self.code.constant(bytes);
        let (dst, index, mask) = (self.code.vector(), self.code.vector(), self.code.vector());
        self.code.push(Inst::Gather { dst, mem, offsets, width, lanes, index, mask });
        Ok(dst)
    }

    /// A scalar's vector over `width`.
    fn widened(&mut self, v: V, width: Width) -> V {
        if let Some(wide) = self.spread.get(&(v, width)) {
            return *wide;
        }
        let dst = self.code.vector();
        self.code.push(Inst::Unary { op: Unary::Lane0, dst, src: Src::V(v), width });
        self.spread.insert((v, width), dst);
        dst
    }

    /// As an operand of a move.
    fn any(&self, v: Val) -> Src {
        match v {
            Val::Const(x) => Src::Const(x.to_bits()),
            Val::V(v, _) => Src::V(v),
            Val::Mem(m) => Src::Mem(m),
            Val::Spread(m) => Src::Spread(m),
        }
    }

    /// As the operand of an instruction that may lie in memory.
    pub(super) fn src(&mut self, v: Val, width: Width) -> Src {
        match v {
            Val::Spread(_) if self.unit == Unit::Avx2 => Src::V(self.vector(v, width)),
            Val::Const(_) | Val::V(..) | Val::Mem(_) | Val::Spread(_) => self.any(v),
        }
    }

    /// In a register.
    pub(super) fn vector(&mut self, v: Val, width: Width) -> V {
        if let Val::V(v, _) = v {
            return v;
        }
        let dst = self.code.vector();
        let src = self.any(v);
        self.code.push(Inst::Unary { op: Unary::Move, dst, src, width });
        dst
    }
}
