//! Assembled machine code: kernels written instruction by instruction where loops through Cranelift do not reach, for the
//! instruction sets in [`isa`].
//!
//! A [`Kernel`] is a leaf function in the calling convention of compiled nests, `fn(bufs, begin, end)`: position-independent
//! bytes without relocations, which `codegen` puts into a module like any other function. Knows neither operations nor loop
//! nests.

pub mod isa;
pub mod peak;
pub mod x86;

/// A function of machine code with what it promises.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Length in elements of each buffer, and whether it is written.
    pub(crate) bufs: Vec<(usize, bool)>,
    /// Into how many parts its work is cut.
    pub(crate) chunks: usize,
}

impl Kernel {
    /// What listings call it.
    pub fn name(&self) -> &str {
        &self.name
    }
}
