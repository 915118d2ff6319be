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
use super::inst::{Arg, Code, Cond, G, Inst, Label, Mem, Src, V, Width};

pub(super) const RAX: u8 = 0;
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
        behind: code.behind.clone(),
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

pub(super) struct Encoder {
    pub(super) b: Bytes,
    pub(super) evex: bool,
    first_carrier: u8,
    vector_base: i32,
    places: Places,
    labels: Vec<Option<usize>>,
    jumps: Vec<Patch>,
    /// Which mask register holds which count of lanes.
    masks: BTreeMap<u8, u8>,
    pub(super) behind: Vec<Vec<u8>>,
    /// Numbers of constant constants that stand in all lanes.
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
        for p in &self.behind {
            let align = p.len().next_power_of_two().min(64);
            let at = self.b.out.len().next_multiple_of(align.max(4));
            self.b.out.resize(at, 0xcc);
            starts.push(at);
            self.b.out.extend(p);
        }
        let constant =
            std::mem::take(&mut self.b.behind).into_iter().map(|p| (p, starts.get(p.to as usize).copied()));
        let jumps = std::mem::take(&mut self.jumps).into_iter().map(|p| (p, self.labels[p.to as usize]));
        for (patch, target) in constant.chain(jumps).collect::<Vec<_>>() {
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
    pub(super) fn get(&mut self, g: G, carrier: u8) -> u8 {
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

    pub(super) fn vget(&mut self, v: V, carrier: u8) -> u8 {
        match self.places.vectors[v.0 as usize] {
            Loc::Reg(r) => r,
            Loc::Slot(s) => {
                let (r, from) = (self.first_carrier + carrier, self.vector_slot(s));
                self.move_vector(0x10, r, from);
                r
            }
        }
    }

    pub(super) fn vto(&self, v: V, carrier: u8) -> u8 {
        match self.places.vectors[v.0 as usize] {
            Loc::Reg(r) => r,
            Loc::Slot(_) => self.first_carrier + carrier,
        }
    }

    pub(super) fn vput(&mut self, v: V, from: u8) {
        if let Loc::Slot(s) = self.places.vectors[v.0 as usize] {
            let to = self.vector_slot(s);
            self.move_vector(0x11, from, to);
        }
    }

    /// A vector instruction in the encoding of the unit.
    #[allow(clippy::too_many_arguments, reason = "the fields of an encoding")]
    pub(super) fn vector(
        &mut self,
        o: Opcode,
        width: Width,
        reg: u8,
        second: u8,
        rm: Rm,
        lanes: Lanes,
        imm: Option<u8>,
    ) {
        if self.evex {
            self.b.evex(o, width, reg, second, rm, lanes, imm);
        } else {
            self.b.vex(o, width, reg, second, rm, imm);
        }
    }

    pub(super) fn mem(&mut self, m: Mem) -> Rm {
        Rm::Mem { base: self.get(m.base, RAX), disp: m.disp }
    }

    /// An operand that may lie in memory, and how it is spread; `carrier` for a vector from the frame.
    pub(super) fn src(&mut self, s: Src, width: Width, carrier: u8) -> (Rm, Lanes) {
        let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
        let one = Lanes { scale: 4, spread: true, ..Lanes::default() };
        match s {
            Src::V(v) => (Rm::Reg(self.vget(v, carrier)), whole),
            Src::Mem(m) => (self.mem(m), whole),
            Src::Spread(m) => (self.mem(m), one),
            Src::Const(bits) => (Rm::Behind(self.constant(bits)), if self.evex { one } else { whole }),
        }
    }

    /// A constant that stands in all lanes of an operand: once with AVX-512, which spreads it, else as a vector.
    fn constant(&mut self, bits: u32) -> u32 {
        let times = if self.evex { 1 } else { 8 };
        let behind = &mut self.behind;
        *self.spread.entry(bits).or_insert_with(|| {
            behind.push(std::iter::repeat_n(bits.to_le_bytes(), times).flatten().collect());
            behind.len() as u32 - 1
        })
    }

    pub(super) fn set_mask(&mut self, k: u8, lanes: u8) {
        self.b.byte(0xb8);
        self.b.int32((1i32 << lanes) - 1);
        self.b.vex(Opcode { map: 1, pp: 0, w: 0, op: 0x92 }, Width::X, k, 0, Rm::Reg(RAX), None);
    }

    /// The mask register of a count of lanes. Uses rax.
    pub(super) fn mask(&mut self, lanes: u8) -> u8 {
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
            // SFENCE
            Inst::Fence => [0x0f, 0xae, 0xf8].into_iter().for_each(|b| self.b.byte(b)),
            Inst::Prefetch { mem } => {
                let Rm::Mem { base, disp } = self.mem(*mem) else { return };
                // The prefix of wide operands does no harm, and its bits name the register.
                self.b.wide(&[0x0f, 0x18], 1, Rm::Mem { base, disp }, 0);
            }
            Inst::Load { .. } | Inst::Store { .. } | Inst::Gather { .. } | Inst::Vector { .. } => {
                self.memory(inst)
            }
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
                self.b.wide(&[0x8d], RCX, Rm::Behind(table.0), 0);
                let r = self.to(*dst, RAX);
                self.b.load_indexed(r, RCX, i);
                self.put(*dst, r);
            }
            _ => {}
        }
    }
}

/// The count of lanes that an access masks.
fn partial(inst: &Inst) -> Option<u8> {
    match inst {
        Inst::Load { width, lanes, .. } | Inst::Store { width, lanes, .. } => {
            (*lanes > 1 && usize::from(*lanes) != width.lanes()).then_some(*lanes)
        }
        _ => None,
    }
}
