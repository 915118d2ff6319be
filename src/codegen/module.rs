//! The target's settings, the module that holds all functions, and their way into executable memory.
//!
//! Invariants: pages are written while they are not executable and executed when they are not writable (`cranelift-jit`
//! changes the protection once, in `finalize_definitions`); memory is freed when the last entry is gone; functions enter the
//! module in the order of the nests, whatever thread compiled them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    AbiParam, ExternalName, Function, GlobalValue, GlobalValueData, Signature, UserExternalName,
    UserFuncName, types,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedMachReloc};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{DataDescription, DataId, FuncId, Module, ModuleError, ModuleReloc};

use super::emit::{Emitter, Features};
use super::{CodegenError, listing};
use crate::kernels::Kernel;
use crate::kernels::isa::{Feature, Isa};
use crate::loops::{BufDecl, Nest};
use crate::runtime::call::{BufSpec, Entry, RawFn};
use crate::runtime::threads::parallelism;

/// Machine code of a list of nests.
#[derive(Clone, Debug)]
pub struct Code {
    entries: Vec<Entry>,
    bytes: Vec<Arc<[u8]>>,
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
        self.bytes.get(entry).map_or(0, |bytes| bytes.len())
    }

    /// The function's instructions, one per line, addresses from 0, jumps as labels; empty for an entry that is not there.
    pub fn disassembly(&self, entry: usize) -> String {
        self.bytes.get(entry).map_or_else(String::new, |bytes| listing::assembly(bytes))
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
/// A nest breaks the rules of its verifier, or Cranelift refuses; both are bugs of this compiler.
pub fn compile(nests: &[Nest], isa: &Isa) -> Result<Code, CodegenError> {
    let whole = |message: String| CodegenError::Backend { nest: "module".to_owned(), message };
    let target = target(isa)?;
    let mut module =
        JITModule::new(JITBuilder::with_isa(target.clone(), cranelift_module::default_libcall_names()));
    let signature = signature();
    let (distinct, places) = distinct(nests);
    let mut ids: Vec<FuncId> = Vec::with_capacity(distinct.len());
    let mut tables: Vec<Vec<DataId>> = Vec::with_capacity(distinct.len());
    for nest in &distinct {
        ids.push(module.declare_anonymous_function(&signature).map_err(|e| whole(e.to_string()))?);
        tables.push(define_tables(&mut module, nest).map_err(whole)?);
    }
    let compiled = compile_all(&distinct, isa, &*target, &tables);
    let mut bytes: Vec<Arc<[u8]>> = Vec::with_capacity(distinct.len());
    for ((nest, id), function) in distinct.iter().zip(&ids).zip(compiled) {
        let function = function?;
        let relocs: Vec<ModuleReloc> =
            function.relocs.iter().map(|r| ModuleReloc::from_mach_reloc(r, &function.clif, *id)).collect();
        module
            .define_function_bytes(*id, function.alignment, &function.bytes, &relocs)
            .map_err(|e| CodegenError::Backend { nest: nest.name.clone(), message: e.to_string() })?;
        bytes.push(function.bytes.into());
    }
    module.finalize_definitions().map_err(|e| whole(e.to_string()))?;
    let code: Vec<*const u8> = ids.iter().map(|id| module.get_finalized_function(*id)).collect();
    let size = bytes.iter().map(|b| b.len()).sum();
    let owner = Arc::new(Owner(Mutex::new(Some(module))));
    let entry = |(nest, place): (&Nest, &usize)| {
        let bufs = nest.bufs.iter().map(|b| BufSpec { len: b.len, writable: b.writable }).collect();
        // SAFETY: this is the finalized function of this nest or its equal, made with the signature of `RawFn`.
        let code = unsafe { std::mem::transmute::<*const u8, RawFn>(code[*place]) };
        // SAFETY: `owner` frees the code when dropped, not before. The verifier has proved that the nest's accesses lie
        // within its buffers, and turns of parallel loops are independent.
        unsafe { Entry::new(code, &nest.name, bufs, nest.chunks(), owner.clone()) }
    };
    let entries = nests.iter().zip(&places).map(entry).collect();
    Ok(Code { entries, bytes: places.iter().map(|p| bytes[*p].clone()).collect(), size })
}

/// Puts assembled kernels into a module of their own, one entry each.
///
/// # Errors
/// There is no memory for code.
pub fn assembled(kernels: &[Kernel], isa: &Isa) -> Result<Vec<Entry>, CodegenError> {
    let fail = |nest: &str, message: String| CodegenError::Backend { nest: nest.to_owned(), message };
    let builder = JITBuilder::with_isa(target(isa)?, cranelift_module::default_libcall_names());
    let mut module = JITModule::new(builder);
    let mut ids: Vec<FuncId> = Vec::with_capacity(kernels.len());
    for kernel in kernels {
        let refused = |e: ModuleError| fail(&kernel.name, e.to_string());
        let id = module.declare_anonymous_function(&signature()).map_err(refused)?;
        module.define_function_bytes(id, CODE_ALIGN, &kernel.bytes, &[]).map_err(refused)?;
        ids.push(id);
    }
    module.finalize_definitions().map_err(|e| fail("module", e.to_string()))?;
    let code: Vec<*const u8> = ids.iter().map(|id| module.get_finalized_function(*id)).collect();
    let owner = Arc::new(Owner(Mutex::new(Some(module))));
    let entry = |(kernel, code): (&Kernel, *const u8)| {
        let bufs =
            kernel.bufs.iter().map(|(len, writable)| BufSpec { len: *len, writable: *writable }).collect();
        // SAFETY: a kernel has the signature of `RawFn`.
        let code = unsafe { std::mem::transmute::<*const u8, RawFn>(code) };
        // SAFETY: `owner` frees the code when dropped, not before; `kernels` promises what its description of buffers says.
        unsafe { Entry::new(code, &kernel.name, bufs, kernel.chunks, owner.clone()) }
    };
    Ok(kernels.iter().zip(code).map(entry).collect())
}

/// The nests that differ in more than names, and for each of `nests` the position of its equal among them.
fn distinct(nests: &[Nest]) -> (Vec<&Nest>, Vec<usize>) {
    let mut distinct: Vec<&Nest> = Vec::new();
    let places = nests.iter().map(|nest| {
        distinct.iter().position(|d| same_code(d, nest)).unwrap_or_else(|| {
            distinct.push(nest);
            distinct.len() - 1
        })
    });
    let places = places.collect();
    (distinct, places)
}

fn same_code(a: &Nest, b: &Nest) -> bool {
    let same_buf = |(a, b): (&BufDecl, &BufDecl)| {
        a.dims == b.dims && a.base == b.base && a.len == b.len && a.writable == b.writable
    };
    a.bufs.len() == b.bufs.len()
        && a.bufs.iter().zip(&b.bufs).all(same_buf)
        && a.tables == b.tables
        && a.vars.len() == b.vars.len()
        && a.regs == b.regs
        && a.body == b.body
}

/// The Cranelift IR of one nest, as text.
///
/// # Errors
/// As [`compile`].
pub fn clif_text(nest: &Nest, isa: &Isa) -> Result<String, CodegenError> {
    let tables: Vec<DataId> = (0..nest.tables.len() as u32).map(DataId::from_u32).collect();
    let mut frontend = FunctionBuilderContext::new();
    Ok(function(nest, isa, &*target(isa)?, &tables, &mut frontend)?.display().to_string())
}

/// Functions begin at a cache line.
const CODE_ALIGN: u64 = 64;

/// Fewer nests than this are not worth a thread of their own.
const NESTS_PER_THREAD: usize = 4;

/// A function's code before it has a place in memory.
struct Compiled {
    clif: Function,
    bytes: Vec<u8>,
    relocs: Vec<FinalizedMachReloc>,
    alignment: u64,
}

/// Compiles all nests on a few threads; results in the order of the nests.
fn compile_all(
    nests: &[&Nest],
    isa: &Isa,
    target: &dyn TargetIsa,
    tables: &[Vec<DataId>],
) -> Vec<Result<Compiled, CodegenError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut frontend, mut context) = (FunctionBuilderContext::new(), Context::new());
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let (Some(nest), Some(tables)) = (nests.get(i), tables.get(i)) else { return done };
            done.push((i, compile_one(nest, isa, target, tables, &mut frontend, &mut context)));
        }
    };
    let helpers = parallelism().min(nests.len() / NESTS_PER_THREAD).saturating_sub(1);
    let mut all = std::thread::scope(|scope| {
        // A thread that cannot be had is not missed.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let threads: Vec<_> = (0..helpers).filter_map(spawn).collect();
        let mut all = work();
        for thread in threads {
            match thread.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, compiled)| compiled).collect()
}

fn compile_one(
    nest: &Nest,
    isa: &Isa,
    target: &dyn TargetIsa,
    tables: &[DataId],
    frontend: &mut FunctionBuilderContext,
    context: &mut Context,
) -> Result<Compiled, CodegenError> {
    context.clear();
    context.func = function(nest, isa, target, tables, frontend)?;
    if let Err(e) = context.compile(target, &mut ControlPlane::default()) {
        return Err(CodegenError::Backend { nest: nest.name.clone(), message: format!("{:?}", e.inner) });
    }
    let missing = || CodegenError::Backend { nest: nest.name.clone(), message: "no code".to_owned() };
    let code = context.take_compiled_code().ok_or_else(missing)?;
    Ok(Compiled {
        bytes: code.code_buffer().to_vec(),
        relocs: code.buffer.relocs().to_vec(),
        alignment: u64::from(code.buffer.alignment).max(CODE_ALIGN),
        clif: std::mem::replace(&mut context.func, Function::new()),
    })
}

/// The Cranelift function of a nest.
fn function(
    nest: &Nest,
    isa: &Isa,
    target: &dyn TargetIsa,
    tables: &[DataId],
    frontend: &mut FunctionBuilderContext,
) -> Result<Function, CodegenError> {
    let mut clif = Function::with_name_signature(UserFuncName::default(), signature());
    let symbols: Vec<GlobalValue> = tables.iter().map(|t| symbol(&mut clif, *t)).collect();
    let x86 = cfg!(target_arch = "x86_64");
    let features = Features { fma: isa.fuses(), round: !x86 || isa.has(Feature::Sse41) };
    let builder = FunctionBuilder::new(&mut clif, frontend);
    let builder = Emitter::function(builder, nest, features, symbols)
        .map_err(|what| CodegenError::Nest { nest: nest.name.clone(), what })?;
    builder.finalize(target.frontend_config());
    Ok(clif)
}

/// The address of a data object as a value of `clif`.
fn symbol(clif: &mut Function, data: DataId) -> GlobalValue {
    let name = clif.declare_imported_user_function(UserExternalName { namespace: 1, index: data.as_u32() });
    clif.create_global_value(GlobalValueData::Symbol {
        name: ExternalName::user(name),
        offset: 0.into(),
        colocated: false,
        tls: false,
    })
}

fn define_tables(module: &mut JITModule, nest: &Nest) -> Result<Vec<DataId>, String> {
    nest.tables
        .iter()
        .map(|table| {
            let id = module.declare_anonymous_data(false, false).map_err(|e| e.to_string())?;
            let mut data = DataDescription::new();
            data.define(table.iter().flat_map(|x| x.to_le_bytes()).collect());
            data.set_align(8);
            module.define_data(id, &data).map_err(|e| e.to_string())?;
            Ok(id)
        })
        .collect()
}

/// `fn(bufs: pointer, begin: i64, end: i64)`
fn signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I64); 3]);
    signature
}

/// Cranelift's target for `isa`.
///
/// The optimizer in the middle is left out: the emitter shares and hoists by itself what is worth it, and writes statements
/// in the order that fits the registers, which the optimizer would undo.
fn target(isa: &Isa) -> Result<OwnedTargetIsa, CodegenError> {
    let fail = |message: String| CodegenError::Backend { nest: "target".to_owned(), message };
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "none"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ] {
        flags.set(name, value).map_err(|e| fail(e.to_string()))?;
    }
    let mut builder = cranelift_native::builder_with_options(cfg!(not(target_arch = "x86_64")))
        .map_err(|e| fail(e.to_owned()))?;
    for feature in isa.features() {
        for flag in cranelift_flags(*feature) {
            builder.enable(flag).map_err(|e| fail(e.to_string()))?;
        }
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| fail(e.to_string()))
}

/// Cranelift's names for a feature.
fn cranelift_flags(feature: Feature) -> &'static [&'static str] {
    match feature {
        Feature::Sse3 => &["has_sse3"],
        Feature::Ssse3 => &["has_ssse3"],
        Feature::Sse41 => &["has_sse41"],
        Feature::Sse42 => &["has_sse42"],
        Feature::Avx => &["has_avx"],
        Feature::Avx2 => &["has_avx2"],
        Feature::Fma => &["has_fma"],
        Feature::Avx512 => &["has_avx512f", "has_avx512dq", "has_avx512vl"],
    }
}
