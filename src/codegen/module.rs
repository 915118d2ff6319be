//! Code to run here: a JIT module filled by [`define`], and its way into executable memory.
//!
//! Invariants: pages are written while they are not executable and executed when they are not writable (`cranelift-jit`
//! changes the protection once, in `finalize_definitions`); memory is freed when the last entry is gone.

use std::sync::{Arc, Mutex};

use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::FuncId;

use super::define::{self, Bytes, Defined};
use super::target::Machine;
use super::{CodegenError, listing};
use crate::kernels::Kernel;
use crate::kernels::isa::Isa;
use crate::loops::pointwise::pointwise;
use crate::loops::{Buf, BufDecl, Nest};
use crate::runtime::call::{BufSpec, Entry, RawFn};

/// Machine code of a list of nests.
#[derive(Clone, Debug)]
pub struct Code {
    entries: Vec<Entry>,
    bytes: Vec<Bytes>,
    size: usize,
}

impl Code {
    /// One per nest, in order. They stay valid on their own.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of machine code, all functions together.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of machine code of one function.
    pub fn size_of(&self, entry: usize) -> usize {
        self.bytes.get(entry).map_or(0, |b| b.all.len())
    }

    /// The function's instructions, one per line, addresses from 0, jumps as labels; empty for an entry that is not there.
    pub fn disassembly(&self, entry: usize) -> String {
        self.bytes.get(entry).map_or_else(String::new, |b| listing::assembly(b.instructions()))
    }
}

/// Frees the module's memory.
struct Owner(Mutex<Option<JITModule>>);

impl Drop for Owner {
    fn drop(&mut self) {
        if let Ok(slot) = self.0.get_mut()
            && let Some(module) = slot.take()
        {
            // SAFETY: every entry into this module holds the `Arc` whose last copy is being dropped, so nothing runs in it
            // and nothing can call into it any more.
            unsafe { module.free_memory() };
        }
    }
}

/// Compiles `nests` for `isa`, one entry each; nests that are equal but for names share one function.
///
/// # Errors
/// A nest breaks the rules of its verifier, Cranelift refuses, or `isa` is not this machine's; all are bugs of this compiler.
pub fn compile(nests: &[Nest], isa: &Isa) -> Result<Code, CodegenError> {
    let (mut module, machine) = jit(isa)?;
    let Defined { ids, bytes, places } = define::nests(&mut module, &machine, nests)?;
    let (code, owner) = finish(module, &ids)?;
    let entry = |(nest, place): (&Nest, &usize)| {
        let spec = |(i, b): (usize, &BufDecl)| BufSpec {
            len: b.len,
            writable: b.writable,
            pointwise: pointwise(nest, Buf(i as u32)),
            private: b.is_private(),
            aligned: b.uncached,
        };
        let bufs = nest.bufs.iter().enumerate().map(spec).collect();
        // SAFETY: this is the finalized function of this nest or its equal, made with the signature of `RawFn`.
        let code = unsafe { std::mem::transmute::<*const u8, RawFn>(code[*place]) };
        // SAFETY: `owner` frees the code when dropped, not before. The verifier has proved that the nest's accesses lie
        // within its buffers, and turns of parallel loops are independent; `pointwise` is a proof on the same loops. Only buffers that may be stored past the caches need to be aligned.
        unsafe { Entry::new(code, &nest.name, bufs, nest.chunks(), owner.clone()) }
    };
    let entries = nests.iter().zip(&places).map(entry).collect();
    let size = bytes.iter().map(|b| b.all.len()).sum();
    Ok(Code { entries, bytes: places.iter().map(|p| bytes[*p].clone()).collect(), size })
}

/// Puts assembled kernels into a module of their own, one entry each.
///
/// # Errors
/// There is no memory for code, or `isa` is not this machine's.
pub fn assembled(kernels: &[Kernel], isa: &Isa) -> Result<Vec<Entry>, CodegenError> {
    let (mut module, _) = jit(isa)?;
    let ids = define::kernels(&mut module, kernels)?;
    let (code, owner) = finish(module, &ids)?;
    let entry = |(kernel, code): (&Kernel, *const u8)| {
        let spec = |(len, writable): &(usize, bool)| BufSpec {
            len: *len,
            writable: *writable,
            pointwise: false,
            private: false,
            aligned: false,
        };
        let bufs = kernel.bufs.iter().map(spec).collect();
        // SAFETY: a kernel has the signature of `RawFn`.
        let code = unsafe { std::mem::transmute::<*const u8, RawFn>(code) };
        // SAFETY: `owner` frees the code when dropped, not before; `kernels` promises what its description of buffers says.
        unsafe { Entry::new(code, &kernel.name, bufs, kernel.chunks, owner.clone()) }
    };
    Ok(kernels.iter().zip(code).map(entry).collect())
}

/// An empty module for code that runs here.
fn jit(isa: &Isa) -> Result<(JITModule, Machine), CodegenError> {
    let machine = Machine::jit(isa)?;
    let builder = JITBuilder::with_isa(machine.isa.clone(), cranelift_module::default_libcall_names());
    Ok((JITModule::new(builder), machine))
}

/// Makes a module's code executable: where each of `ids` lies, and what keeps it there.
fn finish(mut module: JITModule, ids: &[FuncId]) -> Result<(Vec<*const u8>, Arc<Owner>), CodegenError> {
    module
        .finalize_definitions()
        .map_err(|e| CodegenError::Backend { nest: "module".to_owned(), message: e.to_string() })?;
    let code = ids.iter().map(|id| module.get_finalized_function(*id)).collect();
    Ok((code, Arc::new(Owner(Mutex::new(Some(module))))))
}
