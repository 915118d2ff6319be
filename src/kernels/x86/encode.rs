//! A list of instructions to bytes: places for registers, the frame, jumps, constants behind the code.
//!
//! The frame holds the three arguments, then slots of integers, then (at multiples of 64 bytes) slots of vectors. Integers in
//! slots pass through `rax` and `rcx`; `rdx` belongs to the encoder besides. Vectors in slots pass through the last few vector
//! registers, which are kept back as soon as any vector has a slot. Mask registers: `k1` of comparisons, `k2` to `k7` of
//! counts of lanes.

use std::collections::BTreeMap;

use super::Unit;
use super::alloc::{Loc, Places, places};
use super::bytes::{Bytes, Lanes, Opcode, Patch, Rm};
use super::inst::{Arg, Code, Cond, G, Inst, Label, Mem, Op, Pooled, Shift, Src, Unary, V, Width};

const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;
const RSP: u8 = 4;
const RBP: u8 = 5;
/// What the caller wants back, besides rbp.
const SAVED: [u8; 5] = [3, 12, 13, 14, 15];
/// Vector registers that carry values from and to the frame.
const CARRIERS: u8 = 5;

/// A function as bytes.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// Instructions, then constants.
    pub bytes: Vec<u8>,
    /// Bytes of instructions.
    pub code: usize,
}

/// Assembles a function `fn(bufs: *const *mut f32, begin: i64, end: i64)` in the System V convention.
///
/// # Errors
/// A jump to a label that is bound nowhere, or a displacement out of range.
pub fn assemble(code: &Code, unit: Unit) -> Result<Assembled, &'static str> {
    let all = unit.registers() as u8;
    let mut places_ = places(code, all);
    if places_.vector_slots > 0 {
        places_ = places(code, all - CARRIERS);
    }
    let mut e = Encoder {
        b: Bytes::default(),
        evex: unit == Unit::Avx512,
        first_carrier: all - CARRIERS,
        vector_base: (24 + 8 * places_.integer_slots).next_multiple_of(64) as i32,
        places: places_,
        labels: vec![None; code.labels as usize],
        jumps: Vec::new(),
        masks: BTreeMap::new(),
        pool: code.pool.clone(),
        spread: BTreeMap::new(),
    };
    e.prologue(code);
    for (i, inst) in code.list.iter().enumerate() {
        // Heads of innermost loops begin at a boundary of what processors fetch.
        if matches!(inst, Inst::Open) {
            let inner = code.list[i + 1..].iter().find(|x| matches!(x, Inst::Open | Inst::Close));
            if matches!(inner, Some(Inst::Close)) {
                e.b.align(32);
            }
        }
        e.inst(inst);
    }
    e.epilogue();
    e.finish()
}

struct Encoder {
    b: Bytes,
    evex: bool,
    first_carrier: u8,
    vector_base: i32,
    places: Places,
    labels: Vec<Option<usize>>,
    jumps: Vec<Patch>,
    /// Which mask register holds which count of lanes.
    masks: BTreeMap<u8, u8>,
    pool: Vec<Vec<u8>>,
    /// Numbers of pooled constants that stand in all lanes.
    spread: BTreeMap<u32, u32>,
}

impl Encoder {
    fn prologue(&mut self, code: &Code) {
        self.push(RBP);
        self.b.wide(&[0x89], RSP, Rm::Reg(RBP), 0);
        for r in SAVED {
            self.push(r);
        }
        let frame = self.vector_base + 64 * self.places.vector_slots as i32 + 64;
        self.b.wide(&[0x81], 5, Rm::Reg(RSP), 4);
        self.b.int32(frame);
        self.b.wide(&[0x83], 4, Rm::Reg(RSP), 1);
        self.b.byte(0xc0);
        for (slot, from) in [(0, 7), (8, 6), (16, 2)] {
            self.b.wide(&[0x89], from, Rm::Mem { base: RSP, disp: slot }, 0);
        }
        if self.evex {
            let mut counts: Vec<u8> = code.list.iter().filter_map(partial).collect();
            counts.sort_unstable();
            counts.dedup();
            for (n, k) in counts.into_iter().zip(3..8) {
                self.set_mask(k, n);
                self.masks.insert(n, k);
            }
        }
    }

    fn push(&mut self, r: u8) {
        if r >= 8 {
            self.b.byte(0x41);
        }
        self.b.byte(0x50 | r & 7);
    }

    fn epilogue(&mut self) {
        // lea rsp, [rbp - 40]
        self.b.wide(&[0x8d], RSP, Rm::Mem { base: RBP, disp: -8 * SAVED.len() as i32 }, 0);
        for r in SAVED.into_iter().rev().chain([RBP]) {
            if r >= 8 {
                self.b.byte(0x41);
            }
            self.b.byte(0x58 | r & 7);
        }
        self.b.out.extend([0xc5, 0xf8, 0x77, 0xc3]);
    }

    fn finish(mut self) -> Result<Assembled, &'static str> {
        let code = self.b.out.len();
        let mut starts = Vec::new();
        for p in &self.pool {
            let align = p.len().next_power_of_two().min(64);
            let at = self.b.out.len().next_multiple_of(align.max(4));
            self.b.out.resize(at, 0xcc);
            starts.push(at);
            self.b.out.extend(p);
        }
        let pooled = std::mem::take(&mut self.b.pool).into_iter().map(|p| (p, starts.get(p.to as usize).copied()));
        let jumps = std::mem::take(&mut self.jumps).into_iter().map(|p| (p, self.labels[p.to as usize]));
        for (patch, target) in pooled.chain(jumps).collect::<Vec<_>>() {
            let target = target.ok_or("a jump to nowhere")?;
            let distance = target as i64 - patch.from as i64;
            let distance = i32::try_from(distance).map_err(|_| "a function of more than 2 GiB")?;
            self.b.out[patch.at..patch.at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(Assembled { bytes: self.b.out, code })
    }

    fn slot(&self, s: u32) -> Rm {
        Rm::Mem { base: RSP, disp: 24 + 8 * s as i32 }
    }

    /// The register of `g`, loaded into `carrier` if it lies in the frame.
    fn get(&mut self, g: G, carrier: u8) -> u8 {
        match self.places.integers[g.0 as usize] {
            Loc::Reg(r) => r,
            Loc::Slot(s) => {
                let from = self.slot(s);
                self.b.wide(&[0x8b], carrier, from, 0);
                carrier
            }
        }
    }

    /// The register in which to make `g`.
    fn to(&self, g: G, carrier: u8) -> u8 {
        match self.places.integers[g.0 as usize] {
            Loc::Reg(r) => r,
            Loc::Slot(_) => carrier,
        }
    }

    /// Puts `g`, made in `from`, where it lies.
    fn put(&mut self, g: G, from: u8) {
        if let Loc::Slot(s) = self.places.integers[g.0 as usize] {
            let to = self.slot(s);
            self.b.wide(&[0x89], from, to, 0);
        }
    }

    /// `g` itself as an operand.
    fn place(&self, g: G) -> Rm {
        match self.places.integers[g.0 as usize] {
            Loc::Reg(r) => Rm::Reg(r),
            Loc::Slot(s) => self.slot(s),
        }
    }

    fn vector_slot(&self, s: u32) -> Rm {
        Rm::Mem { base: RSP, disp: self.vector_base + 64 * s as i32 }
    }

    fn move_vector(&mut self, op: u8, v: u8, place: Rm) {
        let (o, width) = (Opcode { map: 1, pp: 0, w: 0, op }, if self.evex { Width::Z } else { Width::Y });
        self.vector(o, width, v, 0, place, Lanes { scale: 64, ..Lanes::default() }, None);
    }

    fn vget(&mut self, v: V, carrier: u8) -> u8 {
        match self.places.vectors[v.0 as usize] {
            Loc::Reg(r) => r,
            Loc::Slot(s) => {
                let (r, from) = (self.first_carrier + carrier, self.vector_slot(s));
                self.move_vector(0x10, r, from);
                r
            }
        }
    }

    fn vto(&self, v: V, carrier: u8) -> u8 {
        match self.places.vectors[v.0 as usize] {
            Loc::Reg(r) => r,
            Loc::Slot(_) => self.first_carrier + carrier,
        }
    }

    fn vput(&mut self, v: V, from: u8) {
        if let Loc::Slot(s) = self.places.vectors[v.0 as usize] {
            let to = self.vector_slot(s);
            self.move_vector(0x11, from, to);
        }
    }

    /// A vector instruction in the encoding of the unit.
    #[allow(clippy::too_many_arguments, reason = "the fields of an encoding")]
    fn vector(&mut self, o: Opcode, width: Width, reg: u8, second: u8, rm: Rm, lanes: Lanes, imm: Option<u8>) {
        if self.evex {
            self.b.evex(o, width, reg, second, rm, lanes, imm);
        } else {
            self.b.vex(o, width, reg, second, rm, imm);
        }
    }

    fn mem(&mut self, m: Mem) -> Rm {
        Rm::Mem { base: self.get(m.base, RAX), disp: m.disp }
    }

    /// An operand that may lie in memory, and how it is spread; `carrier` for a vector from the frame.
    fn src(&mut self, s: Src, width: Width, carrier: u8) -> (Rm, Lanes) {
        let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
        let one = Lanes { scale: 4, spread: true, ..Lanes::default() };
        match s {
            Src::V(v) => (Rm::Reg(self.vget(v, carrier)), whole),
            Src::Mem(m) => (self.mem(m), whole),
            Src::Spread(m) => (self.mem(m), one),
            Src::Const(bits) => (Rm::Pool(self.constant(bits)), if self.evex { one } else { whole }),
        }
    }

    /// A constant that stands in all lanes of an operand: once with AVX-512, which spreads it, else as a vector.
    fn constant(&mut self, bits: u32) -> u32 {
        let times = if self.evex { 1 } else { 8 };
        let pool = &mut self.pool;
        *self.spread.entry(bits).or_insert_with(|| {
            pool.push(std::iter::repeat_n(bits.to_le_bytes(), times).flatten().collect());
            pool.len() as u32 - 1
        })
    }

    fn set_mask(&mut self, k: u8, lanes: u8) {
        self.b.byte(0xb8);
        self.b.int32((1i32 << lanes) - 1);
        self.b.vex(Opcode { map: 1, pp: 0, w: 0, op: 0x92 }, Width::X, k, 0, Rm::Reg(RAX), None);
    }

    /// The mask register of a count of lanes. Uses rax.
    fn mask(&mut self, lanes: u8) -> u8 {
        match self.masks.get(&lanes) {
            Some(k) => *k,
            None => {
                self.set_mask(2, lanes);
                2
            }
        }
    }

    fn jump(&mut self, label: Label) {
        let at = self.b.out.len();
        self.jumps.push(Patch { at, from: at + 4, to: label.0 });
        self.b.int32(0);
    }

    fn jump_if(&mut self, cond: Cond, label: Label) {
        self.b.out.extend([0x0f, 0x80 | cond as u8]);
        self.jump(label);
    }

    fn imm(&mut self, r: u8, value: i64) {
        match i32::try_from(value) {
            Ok(v) => {
                self.b.wide(&[0xc7], 0, Rm::Reg(r), 4);
                self.b.int32(v);
            }
            Err(_) => {
                self.b.out.extend([0x48 | r >> 3 & 1, 0xb8 | r & 7]);
                self.b.out.extend(value.to_le_bytes());
            }
        }
    }

    /// `op rm, value` of the group that adds, compares and masks.
    fn immediate(&mut self, group: u8, rm: Rm, value: i32) {
        match i8::try_from(value) {
            Ok(v) => {
                self.b.wide(&[0x83], group, rm, 1);
                self.b.byte(v as u8);
            }
            Err(_) => {
                self.b.wide(&[0x81], group, rm, 4);
                self.b.int32(value);
            }
        }
    }

    fn inst(&mut self, inst: &Inst) {
        match inst {
            Inst::Imm { .. }
            | Inst::Copy { .. }
            | Inst::Arg { .. }
            | Inst::AddImm { .. }
            | Inst::Add { .. }
            | Inst::MulImm { .. }
            | Inst::Shr { .. }
            | Inst::And { .. }
            | Inst::FloorDiv { .. }
            | Inst::Table { .. } => self.integer(inst),
            Inst::Bind { label } => self.labels[label.0 as usize] = Some(self.b.out.len()),
            Inst::Jump { label } => {
                self.b.byte(0xe9);
                self.jump(*label);
            }
            Inst::JumpIf { reg, cond, value, label } => {
                let rm = self.place(*reg);
                self.immediate(7, rm, *value);
                self.jump_if(*cond, *label);
            }
            Inst::JumpCmp { reg, cond, other, label } => {
                let (a, b) = (self.get(*reg, RAX), self.get(*other, RCX));
                self.b.wide(&[0x39], b, Rm::Reg(a), 0);
                self.jump_if(*cond, *label);
            }
            Inst::CountDown { reg, label } => {
                let rm = self.place(*reg);
                self.immediate(5, rm, 1);
                self.jump_if(Cond::Ne, *label);
            }
            Inst::Open | Inst::Close => {}
            Inst::Prefetch { mem } => {
                let Rm::Mem { base, disp } = self.mem(*mem) else { return };
                // The prefix of wide operands does no harm, and its bits name the register.
                self.b.wide(&[0x0f, 0x18], 1, Rm::Mem { base, disp }, 0);
            }
            Inst::Load { .. } | Inst::Store { .. } | Inst::Gather { .. } | Inst::Vector { .. } => self.memory(inst),
            Inst::Op { .. }
            | Inst::Unary { .. }
            | Inst::Shift { .. }
            | Inst::Fma { .. }
            | Inst::Select { .. }
            | Inst::Number { .. } => self.arithmetic(inst),
        }
    }

    fn integer(&mut self, inst: &Inst) {
        match inst {
            Inst::Imm { dst, value } => {
                let r = self.to(*dst, RAX);
                self.imm(r, *value);
                self.put(*dst, r);
            }
            Inst::Copy { dst, src } => {
                let from = self.get(*src, RAX);
                let to = self.place(*dst);
                self.b.wide(&[0x89], from, to, 0);
            }
            Inst::Arg { dst, arg } => {
                let r = self.to(*dst, RAX);
                let slot = |disp| Rm::Mem { base: RSP, disp };
                match arg {
                    Arg::Begin => self.b.wide(&[0x8b], r, slot(8), 0),
                    Arg::End => self.b.wide(&[0x8b], r, slot(16), 0),
                    Arg::Buf(i) => {
                        self.b.wide(&[0x8b], r, slot(0), 0);
                        self.b.wide(&[0x8b], r, Rm::Mem { base: r, disp: 8 * *i as i32 }, 0);
                    }
                }
                self.put(*dst, r);
            }
            Inst::AddImm { reg, value } => {
                let rm = self.place(*reg);
                match i32::try_from(*value) {
                    Ok(0) => {}
                    Ok(v) => self.immediate(0, rm, v),
                    Err(_) => {
                        self.imm(RAX, *value);
                        self.b.wide(&[0x01], RAX, rm, 0);
                    }
                }
            }
            Inst::Add { reg, src } => {
                let from = self.get(*src, RAX);
                let rm = self.place(*reg);
                self.b.wide(&[0x01], from, rm, 0);
            }
            Inst::MulImm { dst, src, value } => {
                let from = self.place(*src);
                let r = self.to(*dst, RAX);
                match i32::try_from(*value) {
                    Ok(v) => {
                        self.b.wide(&[0x69], r, from, 4);
                        self.b.int32(v);
                    }
                    Err(_) => {
                        self.imm(RCX, *value);
                        self.b.wide(&[0x0f, 0xaf], RCX, from, 0);
                        self.b.wide(&[0x89], RCX, Rm::Reg(r), 0);
                    }
                }
                self.put(*dst, r);
            }
            Inst::Shr { reg, by, signed } => {
                let rm = self.place(*reg);
                self.b.wide(&[0xc1], if *signed { 7 } else { 5 }, rm, 1);
                self.b.byte(*by);
            }
            Inst::And { reg, value } => {
                let rm = self.place(*reg);
                self.immediate(4, rm, *value);
            }
            Inst::FloorDiv { reg, by } => {
                let rm = self.place(*reg);
                self.b.wide(&[0x8b], RAX, rm, 0);
                self.imm(RCX, *by);
                self.b.out.extend([0x48, 0x99]);
                self.b.wide(&[0xf7], 7, Rm::Reg(RCX), 0);
                // A negative remainder: one less. `sar rdx, 63; add rax, rdx`
                self.b.wide(&[0xc1], 7, Rm::Reg(RDX), 1);
                self.b.byte(63);
                self.b.wide(&[0x01], RDX, Rm::Reg(RAX), 0);
                self.b.wide(&[0x89], RAX, rm, 0);
            }
            Inst::Table { dst, table, index } => {
                let i = self.get(*index, RAX);
                self.b.wide(&[0x8d], RCX, Rm::Pool(table.0), 0);
                let r = self.to(*dst, RAX);
                self.b.load_indexed(r, RCX, i);
                self.put(*dst, r);
            }
            _ => {}
        }
    }

    fn memory(&mut self, inst: &Inst) {
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        match inst {
            Inst::Load { dst, mem, width, lanes, mask } => {
                let r = self.vto(*dst, 0);
                self.move_lanes(false, r, *mem, *width, *lanes, *mask);
                self.vput(*dst, r);
            }
            Inst::Store { src, mem, width, lanes, mask } => {
                let r = self.vget(*src, 0);
                self.move_lanes(true, r, *mem, *width, *lanes, *mask);
            }
            Inst::Vector { dst, from, width } => {
                let r = self.vto(*dst, 0);
                let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
                self.vector(plain(0x10), *width, r, 0, Rm::Pool(from.0), whole, None);
                self.vput(*dst, r);
            }
            Inst::Gather { dst, mem, offsets, width, lanes, index, mask } => {
                self.gather(*dst, *mem, *offsets, *width, *lanes, [*index, *mask]);
            }
            _ => {}
        }
    }

    fn gather(&mut self, dst: V, mem: Mem, offsets: Pooled, width: Width, lanes: u8, [index, mask]: [V; 2]) {
        let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        let r = self.vto(dst, 0);
        let i = self.vto(index, 1);
        self.vector(plain(0x10), width, i, 0, Rm::Pool(offsets.0), whole, None);
        // What is not gathered is 0.
        self.vector(plain(0x57), width, r, r, Rm::Reg(r), whole, None);
        let o = Opcode { map: 2, pp: 1, w: 0, op: 0x92 };
        if self.evex {
            self.set_mask(1, lanes);
            let base = self.get(mem.base, RAX);
            let rm = Rm::Lanes { base, disp: mem.disp, index: i };
            self.b.evex(o, width, r, 0, rm, Lanes { k: 1, scale: 4, ..Lanes::default() }, None);
        } else {
            let m = self.vto(mask, 2);
            let bits = (0..8u8).flat_map(|l| if l < lanes { [0xff; 4] } else { [0; 4] }).collect();
            self.pool.push(bits);
            let pooled = Rm::Pool(self.pool.len() as u32 - 1);
            self.vector(plain(0x10), width, m, 0, pooled, whole, None);
            let base = self.get(mem.base, RAX);
            let rm = Rm::Lanes { base, disp: mem.disp, index: i };
            self.b.vex(o, width, r, m, rm, None);
        }
        self.vput(dst, r);
    }

    /// The first `lanes` of a vector from or to memory.
    fn move_lanes(&mut self, store: bool, r: u8, mem: Mem, width: Width, lanes: u8, mask: Option<V>) {
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        let direction = u8::from(store);
        if usize::from(lanes) == width.lanes() {
            let rm = self.mem(mem);
            let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
            self.vector(plain(0x10 + direction), width, r, 0, rm, whole, None);
        } else if lanes == 1 {
            let rm = self.mem(mem);
            let one = Lanes { scale: 4, ..Lanes::default() };
            self.vector(Opcode { map: 1, pp: 2, w: 0, op: 0x10 + direction }, Width::X, r, 0, rm, one, None);
        } else if self.evex {
            let k = self.mask(lanes);
            let rm = self.mem(mem);
            let some = Lanes { k, zero: !store, scale: 4 * width.lanes() as i32, spread: false };
            self.vector(plain(0x10 + direction), width, r, 0, rm, some, None);
        } else if let Some(mask) = mask {
            let m = self.vget(mask, 1);
            let rm = self.mem(mem);
            let op = if store { 0x2e } else { 0x2c };
            self.b.vex(Opcode { map: 2, pp: 1, w: 0, op }, width, r, m, rm, None);
        }
    }

    fn arithmetic(&mut self, inst: &Inst) {
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        match inst {
            Inst::Op { op, dst, a, b, width } => {
                let x = self.vget(*a, 1);
                let (rm, lanes) = self.src(*b, *width, 2);
                let r = self.vto(*dst, 0);
                let o = match op {
                    Op::Add => plain(0x58),
                    Op::Mul => plain(0x59),
                    Op::Sub => plain(0x5c),
                    Op::Min => plain(0x5d),
                    Op::Div => plain(0x5e),
                    Op::Max => plain(0x5f),
                    Op::And => plain(0x54),
                    Op::AndNot => plain(0x55),
                    Op::Or => plain(0x56),
                    Op::Xor => plain(0x57),
                    Op::IntAdd => Opcode { pp: 1, ..plain(0xfe) },
                    Op::IntSub => Opcode { pp: 1, ..plain(0xfa) },
                    Op::IntMul => Opcode { map: 2, pp: 1, w: 0, op: 0x40 },
                };
                self.vector(o, *width, r, x, rm, lanes, None);
                self.vput(*dst, r);
            }
            Inst::Unary { op, dst, src, width } => self.unary(*op, *dst, *src, *width),
            Inst::Shift { by, dst, src, bits, width } => {
                let x = self.vget(*src, 1);
                let r = self.vto(*dst, 0);
                let group = match by {
                    Shift::Right => 2,
                    Shift::Arithmetic => 4,
                    Shift::Left => 6,
                };
                let lanes = Lanes { scale: 64, ..Lanes::default() };
                self.vector(Opcode { pp: 1, ..plain(0x72) }, *width, group, r, Rm::Reg(x), lanes, Some(*bits));
                self.vput(*dst, r);
            }
            Inst::Fma { acc, a, b, width } => {
                let x = self.vget(*a, 1);
                let (rm, lanes) = self.src(*b, *width, 2);
                let r = self.vget(*acc, 0);
                self.vector(Opcode { map: 2, pp: 1, w: 0, op: 0xb8 }, *width, r, x, rm, lanes, None);
                self.vput(*acc, r);
            }
            Inst::Number { dst, src, width } => {
                let from = self.get(*src, RAX);
                let r = self.vto(*dst, 0);
                let whole = Lanes { scale: 8, ..Lanes::default() };
                self.vector(plain(0x57), Width::X, r, r, Rm::Reg(r), whole, None);
                let o = Opcode { map: 1, pp: 2, w: 1, op: 0x2a };
                self.vector(o, Width::X, r, r, Rm::Reg(from), whole, None);
                self.vector(BROADCAST, *width, r, 0, Rm::Reg(r), whole, None);
                self.vput(*dst, r);
            }
            Inst::Select { .. } => self.select(inst),
            _ => {}
        }
    }

    fn unary(&mut self, op: Unary, dst: V, src: Src, width: Width) {
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        let round = Opcode { map: 3, pp: 1, w: 0, op: 0x08 };
        let (rm, lanes) = self.src(src, width, 1);
        let r = self.vto(dst, 0);
        let one = Lanes { scale: 4, ..Lanes::default() };
        match (op, src) {
            (Unary::Sqrt, _) => self.vector(plain(0x51), width, r, 0, rm, lanes, None),
            (Unary::FromInt, _) => self.vector(plain(0x5b), width, r, 0, rm, lanes, None),
            // Nearest, down, up; exceptions stay quiet.
            (Unary::Round, _) => self.vector(round, width, r, 0, rm, lanes, Some(8)),
            (Unary::Floor, _) => self.vector(round, width, r, 0, rm, lanes, Some(9)),
            (Unary::Ceil, _) => self.vector(round, width, r, 0, rm, lanes, Some(10)),
            (Unary::Lane0, _) | (Unary::Move, Src::Spread(_) | Src::Const(_)) => {
                let one_only = width == Width::X && matches!((op, src), (Unary::Move, Src::Const(_)));
                // A constant lies spread already where instructions do not spread.
                let o = if one_only && !self.evex { plain(0x10) } else { BROADCAST };
                self.vector(o, width, r, 0, rm, one, None);
            }
            (Unary::Move, Src::V(_)) => {
                if let Rm::Reg(x) = rm
                    && x != r
                {
                    self.vector(plain(0x28), width, r, 0, rm, lanes, None);
                }
            }
            (Unary::Move, Src::Mem(_)) => self.vector(plain(0x10), width, r, 0, rm, lanes, None),
        }
        self.vput(dst, r);
    }

    fn select(&mut self, inst: &Inst) {
        let Inst::Select { dst, compare, a, b, then, other, mask, width } = inst else { return };
        let compare_o = Opcode { map: 1, pp: 0, w: 0, op: 0xc2 };
        let x = self.vget(*a, 1);
        let (rm, lanes) = self.src(*b, *width, 2);
        if self.evex {
            self.b.evex(compare_o, *width, 1, x, rm, lanes, Some(*compare as u8));
            let (then, other) = (self.vget(*then, 3), self.vget(*other, 4));
            let r = self.vto(*dst, 0);
            let blend = Opcode { map: 2, pp: 1, w: 0, op: 0x65 };
            let some = Lanes { k: 1, scale: 64, ..Lanes::default() };
            self.b.evex(blend, *width, r, other, Rm::Reg(then), some, None);
            self.vput(*dst, r);
        } else {
            let m = self.vto(*mask, 0);
            self.b.vex(compare_o, *width, m, x, rm, Some(*compare as u8));
            let (then, other) = (self.vget(*then, 3), self.vget(*other, 4));
            let r = self.vto(*dst, 0);
            let blend = Opcode { map: 3, pp: 1, w: 0, op: 0x4a };
            self.b.vex(blend, *width, r, other, Rm::Reg(then), Some(m << 4));
            self.vput(*dst, r);
        }
    }
}

const BROADCAST: Opcode = Opcode { map: 2, pp: 1, w: 0, op: 0x18 };

/// The count of lanes that an access masks.
fn partial(inst: &Inst) -> Option<u8> {
    match inst {
        Inst::Load { width, lanes, .. } | Inst::Store { width, lanes, .. } => {
            (*lanes > 1 && usize::from(*lanes) != width.lanes()).then_some(*lanes)
        }
        _ => None,
    }
}
