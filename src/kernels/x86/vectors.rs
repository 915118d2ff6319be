//! The encoder's vector instructions: memory, arithmetic, comparisons, in the encoding of the unit.

use super::bytes::{Lanes, Opcode, Rm};
use super::encode::{Encoder, RAX};
use super::inst::{Constant, Inst, Mem, Op, Shift, Src, Unary, V, Width};

const BROADCAST: Opcode = Opcode { map: 2, pp: 1, w: 0, op: 0x18 };

impl Encoder {
    pub(super) fn memory(&mut self, inst: &Inst) {
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        match inst {
            Inst::Load { dst, mem, width, lanes, mask } => {
                let r = self.vto(*dst, 0);
                self.move_lanes(0x10, r, *mem, *width, *lanes, *mask);
                self.vput(*dst, r);
            }
            Inst::Store { src, mem, width, lanes, mask, past } => {
                let r = self.vget(*src, 0);
                let whole = usize::from(*lanes) == width.lanes();
                let op = if *past && whole { 0x2b } else { 0x11 };
                self.move_lanes(op, r, *mem, *width, *lanes, *mask);
            }
            Inst::Vector { dst, from, width } => {
                let r = self.vto(*dst, 0);
                let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
                self.vector(plain(0x10), *width, r, 0, Rm::Behind(from.0), whole, None);
                self.vput(*dst, r);
            }
            Inst::Gather { dst, mem, offsets, width, lanes, index, mask } => {
                self.gather(*dst, *mem, *offsets, *width, *lanes, [*index, *mask]);
            }
            _ => {}
        }
    }

    fn gather(
        &mut self,
        dst: V,
        mem: Mem,
        offsets: Constant,
        width: Width,
        lanes: u8,
        [index, mask]: [V; 2],
    ) {
        let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        let r = self.vto(dst, 0);
        let i = self.vto(index, 1);
        self.vector(plain(0x10), width, i, 0, Rm::Behind(offsets.0), whole, None);
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
            self.behind.push(bits);
            let constant = Rm::Behind(self.behind.len() as u32 - 1);
            self.vector(plain(0x10), width, m, 0, constant, whole, None);
            let base = self.get(mem.base, RAX);
            let rm = Rm::Lanes { base, disp: mem.disp, index: i };
            self.b.vex(o, width, r, m, rm, None);
        }
        self.vput(dst, r);
    }

    /// The first `lanes` of a vector from or to memory, by the opcode for whole vectors.
    fn move_lanes(&mut self, op: u8, r: u8, mem: Mem, width: Width, lanes: u8, mask: Option<V>) {
        let plain = |op| Opcode { map: 1, pp: 0, w: 0, op };
        let store = op != 0x10;
        let direction = u8::from(store);
        if usize::from(lanes) == width.lanes() {
            let rm = self.mem(mem);
            let whole = Lanes { scale: 4 * width.lanes() as i32, ..Lanes::default() };
            self.vector(plain(op), width, r, 0, rm, whole, None);
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

    pub(super) fn arithmetic(&mut self, inst: &Inst) {
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
                self.vector(
                    Opcode { pp: 1, ..plain(0x72) },
                    *width,
                    group,
                    r,
                    Rm::Reg(x),
                    lanes,
                    Some(*bits),
                );
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
