//! An assembler for x86-64 with vectors of 128, 256 and 512 bits: a list of instructions over registers without number
//! goes in, position-independent bytes of one function come out.
//!
//! [`inst`] says what instructions there are, [`alloc`] gives each register a place (the ones used most in the deepest
//! loops first, what does not fit lies in the frame), [`encode`] and [`vectors`] write bytes through [`bytes`], which knows the VEX and
//! EVEX encodings. Constants and tables stand behind the code. Absent on purpose: whatever compiled loops never need.
//!
//! Two sets of instructions, chosen by [`Unit`]: AVX2 with FMA (16 registers of 256 bits, VEX), and AVX-512 (32 of 512, EVEX,
//! masks, constants and scalars spread over the lanes by the instruction that reads them).

mod alloc;
mod bytes;
#[cfg(feature = "object")]
pub mod detect;
mod encode;
pub mod inst;
#[cfg(test)]
mod tests;
mod vectors;

pub use encode::{Assembled, assemble};

use super::isa::{Arch, Feature, Isa};

/// The vector unit that code is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 with the parts F, BW, DQ, VL and CD.
    Avx512,
}

impl Unit {
    /// The widest that `isa` has, if any is wider than 128 bits.
    pub fn of(isa: &Isa) -> Option<Unit> {
        if isa.arch() != Arch::X86_64 {
            None
        } else if isa.has(Feature::Avx512) {
            Some(Unit::Avx512)
        } else if isa.has(Feature::Avx2) && isa.has(Feature::Fma) {
            Some(Unit::Avx2)
        } else {
            None
        }
    }

    /// Lanes of the widest vector.
    pub fn lanes(self) -> usize {
        match self {
            Unit::Avx2 => 8,
            Unit::Avx512 => 16,
        }
    }

    /// Vector registers.
    pub fn registers(self) -> usize {
        match self {
            Unit::Avx2 => 16,
            Unit::Avx512 => 32,
        }
    }
}
