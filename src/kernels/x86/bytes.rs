//! Bytes of instructions, registers being numbers. In: operation codes and operands; out: bytes appended. Knows the legacy, VEX
//! and EVEX encodings (Intel SDM volume 2, chapter 2) and nothing of what instructions mean.

use super::inst::Width;

/// The operand that may lie in memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rm {
    /// A register.
    Reg(u8),
    /// Bytes behind an integer register.
    Mem { base: u8, disp: i32 },
    /// Bytes behind an integer register, and as many more as each lane of a vector register says.
    Lanes { base: u8, disp: i32, index: u8 },
    /// A constant behind the code.
    Behind(u32),
}

/// What selects a vector instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opcode {
    /// 1: `0F`, 2: `0F38`, 3: `0F3A`.
    pub(super) map: u8,
    /// 0: none, 1: `66`, 2: `F3`, 3: `F2`.
    pub(super) pp: u8,
    /// The bit `W`.
    pub(super) w: u8,
    /// The byte.
    pub(super) op: u8,
}

/// How an EVEX instruction treats lanes, and how large a memory operand is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lanes {
    /// The mask register; 0 for none.
    pub(super) k: u8,
    /// Whether lanes outside of the mask become 0.
    pub(super) zero: bool,
    /// Whether one number is read for all lanes.
    pub(super) spread: bool,
    /// Bytes of the memory operand, by which short displacements are scaled.
    pub(super) scale: i32,
}

/// A place that gets the distance to something not yet placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    /// Where the four bytes stand.
    pub(super) at: usize,
    /// From where the distance counts.
    pub(super) from: usize,
    /// The label or constant.
    pub(super) to: u32,
}

/// Code as it grows.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    pub(super) out: Vec<u8>,
    /// Distances to constants.
    pub(super) behind: Vec<Patch>,
}

impl Bytes {
    pub(super) fn byte(&mut self, b: u8) {
        self.out.push(b);
    }

    pub(super) fn int32(&mut self, v: i32) {
        self.out.extend(v.to_le_bytes());
    }

    /// A legacy instruction of 64-bit operands: `REX.W op /reg`.
    pub(super) fn wide(&mut self, op: &[u8], reg: u8, rm: Rm, imm: usize) {
        let base = match rm {
            Rm::Reg(r) => r,
            Rm::Mem { base, .. } | Rm::Lanes { base, .. } => base,
            Rm::Behind(_) => 0,
        };
        self.byte(0x48 | (reg >> 3 & 1) << 2 | (base >> 3 & 1));
        self.out.extend(op);
        self.operand(reg, rm, 1, imm);
    }

    /// `reg = [base + index * 8]`
    pub(super) fn load_indexed(&mut self, reg: u8, base: u8, index: u8) {
        self.byte(0x48 | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (base >> 3 & 1));
        // A displacement of one byte, since base 13 (or 5) without one means another thing.
        self.out.extend([0x8b, 0x44 | (reg & 7) << 3, 0xc0 | (index & 7) << 3 | (base & 7), 0]);
    }

    /// An instruction in VEX encoding.
    pub(super) fn vex(&mut self, o: Opcode, width: Width, reg: u8, second: u8, rm: Rm, imm: Option<u8>) {
        let (x, b) = match rm {
            Rm::Reg(r) => (0, r >> 3 & 1),
            Rm::Mem { base, .. } => (0, base >> 3 & 1),
            Rm::Lanes { base, index, .. } => (index >> 3 & 1, base >> 3 & 1),
            Rm::Behind(_) => (0, 0),
        };
        let r = reg >> 3 & 1;
        let l = u8::from(width != Width::X);
        let last = (!second & 15) << 3 | l << 2 | o.pp;
        if x == 0 && b == 0 && o.map == 1 && o.w == 0 {
            self.out.extend([0xc5, (1 - r) << 7 | last]);
        } else {
            self.out.extend([0xc4, (1 - r) << 7 | (1 - x) << 6 | (1 - b) << 5 | o.map, o.w << 7 | last]);
        }
        self.byte(o.op);
        self.operand(reg, rm, 1, usize::from(imm.is_some()));
        self.out.extend(imm);
    }

    /// An instruction in EVEX encoding.
    #[allow(clippy::too_many_arguments, reason = "the fields of an encoding")]
    pub(super) fn evex(
        &mut self,
        o: Opcode,
        width: Width,
        reg: u8,
        second: u8,
        rm: Rm,
        lanes: Lanes,
        imm: Option<u8>,
    ) {
        let (x, b, v2) = match rm {
            Rm::Reg(r) => (r >> 4 & 1, r >> 3 & 1, second >> 4 & 1),
            Rm::Mem { base, .. } => (0, base >> 3 & 1, second >> 4 & 1),
            Rm::Lanes { base, index, .. } => (index >> 3 & 1, base >> 3 & 1, index >> 4 & 1),
            Rm::Behind(_) => (0, 0, second >> 4 & 1),
        };
        let l = match width {
            Width::X => 0,
            Width::Y => 1,
            Width::Z => 2,
        };
        let p0 = (1 - (reg >> 3 & 1)) << 7 | (1 - x) << 6 | (1 - b) << 5 | (1 - (reg >> 4 & 1)) << 4 | o.map;
        let p1 = o.w << 7 | (!second & 15) << 3 | 4 | o.pp;
        let p2 = u8::from(lanes.zero) << 7 | l << 5 | u8::from(lanes.spread) << 4 | (1 - v2) << 3 | lanes.k;
        self.out.extend([0x62, p0, p1, p2, o.op]);
        self.operand(reg, rm, lanes.scale.max(1), usize::from(imm.is_some()));
        self.out.extend(imm);
    }

    /// ModRM, SIB and displacement; `imm` bytes of immediate operand follow.
    fn operand(&mut self, reg: u8, rm: Rm, scale: i32, imm: usize) {
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Reg(r) => self.byte(0xc0 | reg | r & 7),
            Rm::Behind(to) => {
                self.byte(reg | 5);
                self.behind.push(Patch { at: self.out.len(), from: self.out.len() + 4 + imm, to });
                self.int32(0);
            }
            Rm::Mem { base, disp } => {
                let sib = base & 7 == 4;
                let rm = if sib { 4 } else { base & 7 };
                let mode = self.mode(base, disp, scale);
                self.byte(mode << 6 | reg | rm);
                if sib {
                    self.byte(0x24);
                }
                self.displacement(mode, disp, scale);
            }
            Rm::Lanes { base, disp, index } => {
                let mode = self.mode(base, disp, scale);
                self.byte(mode << 6 | reg | 4);
                self.byte((index & 7) << 3 | base & 7);
                self.displacement(mode, disp, scale);
            }
        }
    }

    /// 0: no displacement, 1: a byte of it, 2: four.
    fn mode(&self, base: u8, disp: i32, scale: i32) -> u8 {
        if disp == 0 && base & 7 != 5 {
            0
        } else if disp % scale == 0 && i8::try_from(disp / scale).is_ok() {
            1
        } else {
            2
        }
    }

    fn displacement(&mut self, mode: u8, disp: i32, scale: i32) {
        match mode {
            0 => {}
            1 => self.byte((disp / scale) as i8 as u8),
            _ => self.int32(disp),
        }
    }

    /// Instructions that do nothing, up to a multiple of `by` bytes.
    pub(super) fn align(&mut self, by: usize) {
        const NOPS: [&[u8]; 8] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut rest = self.out.len().next_multiple_of(by) - self.out.len();
        while rest > 0 {
            let n = rest.min(8);
            self.out.extend(NOPS[n - 1]);
            rest -= n;
        }
    }
}
