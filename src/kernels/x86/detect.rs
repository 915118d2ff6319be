//! Which extensions a processor offers, asked by code that stands in an object file and needs nothing around it.
//!
//! Out: `extern "C" fn() -> u32`, bit `i` for the feature of number `i`. Extensions of vector registers count only where the
//! operating system saves those registers (`xgetbv`; Intel's manual, volume 1, sections 14.3 and 15.2). The tests of objects hold
//! the answer against what the standard library finds.

use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, eax, ebx, ecx, edx, esi, r8d, rbx};

use crate::kernels::isa::{Feature, Isa};

/// The bits that code for `isa` needs.
pub fn needs(isa: &Isa) -> u32 {
    isa.features().iter().fold(0, |bits, f| bits | bit(*f))
}

const fn bit(feature: Feature) -> u32 {
    1 << feature as u32
}

/// `cpuid` leaf 1, `ecx`.
const LEAF1: [(Feature, u32); 6] = [
    (Feature::Sse3, 1),
    (Feature::Ssse3, 1 << 9),
    (Feature::Sse41, 1 << 19),
    (Feature::Sse42, 1 << 20),
    (Feature::Avx, AVX),
    (Feature::Fma, 1 << 12),
];
const AVX: u32 = 1 << 28;
/// The operating system has `xgetbv`.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 7, `ebx`.
const AVX2: u32 = 1 << 5;
/// Leaf 7, `ebx`: F, DQ, CD, BW, VL.
const AVX512: u32 = 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | 1 << 31;
/// Registers that the system saves: SSE and AVX.
const SAVES_AVX: u32 = 0b110;
/// Mask registers and the rest of the wide ones, too.
const SAVES_AVX512: u32 = 0b1110_0110;
/// What is dropped where the system does not save the registers of AVX.
const VEX: u32 = bit(Feature::Avx) | bit(Feature::Fma);

/// The function's bytes.
///
/// # Errors
/// None that a test of this crate would not have found.
pub fn code() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let (mut done, mut no_vex) = (a.create_label(), a.create_label());
    a.push(rbx)?;
    // esi gathers the answer.
    a.xor(esi, esi)?;
    a.mov(eax, 1)?;
    a.xor(ecx, ecx)?;
    a.cpuid()?;
    for (feature, flag) in LEAF1 {
        let mut without = a.create_label();
        a.test(ecx, flag)?;
        a.je(without)?;
        a.or(esi, bit(feature))?;
        a.set_label(&mut without)?;
    }
    a.test(ecx, OSXSAVE)?;
    a.je(no_vex)?;
    a.test(ecx, AVX)?;
    a.je(no_vex)?;
    a.xor(ecx, ecx)?;
    a.xgetbv()?;
    a.mov(edx, eax)?;
    a.and(edx, SAVES_AVX)?;
    a.cmp(edx, SAVES_AVX)?;
    a.jne(no_vex)?;
    // Kept beside rbx, which cpuid overwrites.
    a.and(eax, SAVES_AVX512)?;
    a.mov(r8d, eax)?;
    a.xor(eax, eax)?;
    a.cpuid()?;
    a.cmp(eax, 7)?;
    a.jb(done)?;
    a.mov(eax, 7)?;
    a.xor(ecx, ecx)?;
    a.cpuid()?;
    let mut without = a.create_label();
    a.test(ebx, AVX2)?;
    a.je(without)?;
    a.or(esi, bit(Feature::Avx2))?;
    a.set_label(&mut without)?;
    a.cmp(r8d, SAVES_AVX512)?;
    a.jne(done)?;
    a.and(ebx, AVX512)?;
    a.cmp(ebx, AVX512)?;
    a.jne(done)?;
    a.or(esi, bit(Feature::Avx512))?;
    a.jmp(done)?;
    a.set_label(&mut no_vex)?;
    a.and(esi, !VEX)?;
    a.set_label(&mut done)?;
    a.mov(eax, esi)?;
    a.pop(rbx)?;
    a.ret()?;
    a.assemble(0)
}
