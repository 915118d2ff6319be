//! How fast a core multiplies and adds at best: chains of independent operations on registers, nothing else.
//!
//! In: a target and a width. Out: a kernel whose every chunk is [`Peak::operations`] floating-point operations. What a
//! network reaches is read against this.

use super::Kernel;
use super::isa::{Feature, Isa};

/// Chains side by side: more than latency times throughput of any processor so far, and few enough for 16 registers.
const CHAINS: usize = 12;

/// A kernel and the work it does.
#[derive(Clone, Debug)]
pub struct Peak {
    /// Bits of a vector.
    pub bits: usize,
    /// The kernel. Each chain adds the square of its one buffer's 16 elements in every chunk (without multiply-add: half of
    /// the chains add the element); the buffer gets the sum of all.
    pub kernel: Kernel,
    /// Floating-point operations per chunk.
    pub operations: usize,
}

/// The peaks that `isa` has, narrowest first; `chunks` is how long each runs.
pub fn peaks(isa: &Isa, chunks: usize) -> Vec<Peak> {
    let mut widths = vec![128];
    widths.extend((isa.has(Feature::Avx) && isa.has(Feature::Fma)).then_some(256));
    widths.extend(isa.has(Feature::Avx512).then_some(512));
    widths.into_iter().filter_map(|bits| peak(isa, bits, chunks)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn peak(_: &Isa, _: usize, _: usize) -> Option<Peak> {
    None
}

/// A failure to assemble would be a mistake in this file, which the test below would find.
#[cfg(target_arch = "x86_64")]
fn peak(isa: &Isa, bits: usize, chunks: usize) -> Option<Peak> {
    let fma = isa.has(Feature::Fma);
    let bytes = match (bits, fma) {
        (512, _) => wide(),
        (256, _) => middle(),
        (_, true) => narrow(),
        (_, false) => apart(),
    };
    let name = format!("peak of {bits} bits");
    let kernel = Kernel { name, bytes: bytes.ok()?, bufs: vec![(16, true)], chunks };
    // Without multiply-add half of the chains multiply and half add.
    Some(Peak { bits, kernel, operations: CHAINS * bits / 32 * if fma { 2 } else { 1 } })
}

/// The kernels differ in their registers, which the assembler types apart; the frame is one.
#[cfg(target_arch = "x86_64")]
mod assemble {
    use iced_x86::IcedError;
    use iced_x86::code_asm::registers::{xmm::*, ymm::*, zmm::*};
    use iced_x86::code_asm::{CodeAssembler, ptr, rax, rdi, rdx, rsi};

    /// `bufs` in rdi, `begin` in rsi, `end` in rdx: `chains` once per chunk, between `load` and `store` of the buffer, whose
    /// address is then in rdi.
    fn frame(
        load: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
        chains: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
        store: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
    ) -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        let (mut again, mut done) = (a.create_label(), a.create_label());
        a.mov(rdi, ptr(rdi))?;
        load(&mut a)?;
        a.mov(rax, rdx)?;
        a.sub(rax, rsi)?;
        a.jle(done)?;
        a.set_label(&mut again)?;
        chains(&mut a)?;
        a.dec(rax)?;
        a.jne(again)?;
        a.set_label(&mut done)?;
        store(&mut a)?;
        a.ret()?;
        a.assemble(0)
    }

    /// A kernel of multiply-adds: sums, the two factors, what to do before returning.
    macro_rules! multiply_add {
        ($name:ident, [$first:ident $($sum:ident)*], $x:ident, $y:ident $(, $leave:ident)?) => {
            pub(super) fn $name() -> Result<Vec<u8>, IcedError> {
                frame(
                    |a| {
                        a.vxorps($first, $first, $first)?;
                        $(a.vxorps($sum, $sum, $sum)?;)*
                        a.vmovups($x, ptr(rdi))?;
                        a.vmovups($y, ptr(rdi))
                    },
                    |a| {
                        a.vfmadd231ps($first, $x, $y)?;
                        $(a.vfmadd231ps($sum, $x, $y)?;)*
                        Ok(())
                    },
                    |a| {
                        $(a.vaddps($first, $first, $sum)?;)*
                        a.vmovups(ptr(rdi), $first)?;
                        $(a.$leave()?;)?
                        Ok(())
                    },
                )
            }
        };
    }

    multiply_add!(narrow, [xmm0 xmm1 xmm2 xmm3 xmm4 xmm5 xmm6 xmm7 xmm8 xmm9 xmm10 xmm11], xmm12, xmm13);
    multiply_add!(
        middle,
        [ymm0 ymm1 ymm2 ymm3 ymm4 ymm5 ymm6 ymm7 ymm8 ymm9 ymm10 ymm11],
        ymm12,
        ymm13,
        vzeroupper
    );
    multiply_add!(
        wide,
        [zmm0 zmm1 zmm2 zmm3 zmm4 zmm5 zmm6 zmm7 zmm8 zmm9 zmm10 zmm11],
        zmm12,
        zmm13,
        vzeroupper
    );

    /// Without multiply-add: multiplications and additions by turns.
    pub(super) fn apart() -> Result<Vec<u8>, IcedError> {
        let sums = [xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11];
        frame(
            |a| {
                for r in sums {
                    a.xorps(r, r)?;
                }
                a.movups(xmm12, ptr(rdi))
            },
            |a| {
                for pair in sums.chunks(2) {
                    a.mulps(pair[0], xmm12)?;
                    a.addps(pair[1], xmm12)?;
                }
                Ok(())
            },
            |a| {
                for r in &sums[1..] {
                    a.addps(xmm0, *r)?;
                }
                a.movups(ptr(rdi), xmm0)
            },
        )
    }
}

#[cfg(target_arch = "x86_64")]
use assemble::{apart, middle, narrow, wide};

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn every_width_assembles() {
        assert_eq!(peaks(&Isa::baseline(), 10).len(), 1);
        for make in [wide, middle, narrow, apart] {
            assert!(make().is_ok_and(|bytes| bytes.ends_with(&[0xc3])));
        }
    }
}
