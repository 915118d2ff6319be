//! Functions and data into a module: the one path for code that runs here (`JITModule`) and for object files
//! (`ObjectModule`). Everything is written against [`Module`]; what differs between the two is in [`Machine`].
//!
//! In: nests or assembled kernels. Out: their functions' numbers in the module. Invariant: functions and tables enter the
//! module in the order of the nests, whatever thread compiled them, so equal programs make equal modules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    AbiParam, ExternalName, Function, GlobalValue, GlobalValueData, Signature, UserExternalName,
    UserFuncName, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::{Context, FinalizedMachReloc};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Module, ModuleError, ModuleReloc};

use super::emit::Emitter;
use super::target::Machine;
use super::{CodegenError, wide};
use crate::kernels::Kernel;
use crate::kernels::isa::Isa;
use crate::kernels::x86::Unit;
use crate::loops::{BufDecl, Nest};
use crate::runtime::threads::parallelism;

/// Nests as functions of a module. Nests that are equal but for names share one.
pub(super) struct Defined {
    /// The functions.
    pub(super) ids: Vec<FuncId>,
    /// The code of each.
    pub(super) bytes: Vec<Bytes>,
    /// For each nest, the position of its function in the two lists.
    pub(super) places: Vec<usize>,
}

/// The code of a function, without relocations applied.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    pub(super) all: Arc<[u8]>,
    /// How many of them are instructions; constants may follow.
    code: usize,
}

impl Bytes {
    /// Without constants.
    pub(super) fn instructions(&self) -> &[u8] {
        &self.all[..self.code]
    }
}

/// Compiles `nests` and defines them, with their tables, in `module`.
///
/// # Errors
/// A nest breaks the rules of its verifier, or Cranelift refuses; both are bugs of this compiler.
pub(super) fn nests(
    module: &mut impl Module,
    machine: &Machine,
    nests: &[Nest],
) -> Result<Defined, CodegenError> {
    let whole = |message: String| CodegenError::Backend { nest: "module".to_owned(), message };
    let signature = signature();
    let (distinct, places) = distinct(nests);
    let mut ids: Vec<FuncId> = Vec::with_capacity(distinct.len());
    let mut tables: Vec<Vec<DataId>> = Vec::with_capacity(distinct.len());
    for nest in &distinct {
        ids.push(module.declare_anonymous_function(&signature).map_err(|e| whole(e.to_string()))?);
        tables.push(define_tables(module, nest).map_err(whole)?);
    }
    let compiled = compile_all(&distinct, machine, &tables);
    let mut bytes: Vec<Bytes> = Vec::with_capacity(distinct.len());
    for ((nest, id), function) in distinct.iter().zip(&ids).zip(compiled) {
        let function = function?;
        let relocs: Vec<ModuleReloc> =
            function.relocs.iter().map(|r| ModuleReloc::from_mach_reloc(r, &function.clif, *id)).collect();
        module
            .define_function_bytes(*id, function.alignment, &function.bytes, &relocs)
            .map_err(|e| CodegenError::Backend { nest: nest.name.clone(), message: e.to_string() })?;
        bytes.push(Bytes { all: function.bytes.into(), code: function.code });
    }
    Ok(Defined { ids, bytes, places })
}

/// Defines assembled kernels in `module`, one function each.
///
/// # Errors
/// There is no memory for code.
pub(super) fn kernels(module: &mut impl Module, kernels: &[Kernel]) -> Result<Vec<FuncId>, CodegenError> {
    let mut ids: Vec<FuncId> = Vec::with_capacity(kernels.len());
    for kernel in kernels {
        let refused =
            |e: ModuleError| CodegenError::Backend { nest: kernel.name.clone(), message: e.to_string() };
        let id = module.declare_anonymous_function(&signature()).map_err(refused)?;
        module.define_function_bytes(id, CODE_ALIGN, &kernel.bytes, &[]).map_err(refused)?;
        ids.push(id);
    }
    Ok(ids)
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
        a.dims == b.dims
            && a.base == b.base
            && a.len == b.len
            && a.writable == b.writable
            && a.uncached == b.uncached
    };
    a.bufs.len() == b.bufs.len()
        && a.bufs.iter().zip(&b.bufs).all(same_buf)
        && a.tables == b.tables
        && a.vars.len() == b.vars.len()
        && a.regs == b.regs
        && a.body == b.body
}

/// Who writes the code of a nest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// [`wide`], with vectors of so many lanes.
    Wide {
        /// Lanes of a vector.
        lanes: usize,
    },
    /// Cranelift, with vectors of 128 bits.
    Cranelift {
        /// Why not [`wide`].
        why: String,
    },
}

/// Who writes the code of `nest` for `isa`, and why.
pub fn writer(nest: &Nest, isa: &Isa) -> Writer {
    let Some(unit) = Unit::of(isa) else {
        return Writer::Cranelift { why: format!("{} has no wider vectors with multiply-adds", isa.name()) };
    };
    match wide::refusal(nest).map_or_else(|| wide::function(nest, unit).err(), Some) {
        None => Writer::Wide { lanes: unit.lanes() },
        Some(why) => Writer::Cranelift { why: why.to_owned() },
    }
}

/// The Cranelift IR of one nest, as text.
///
/// # Errors
/// As [`nests`].
pub fn clif_text(nest: &Nest, isa: &Isa) -> Result<String, CodegenError> {
    let tables: Vec<DataId> = (0..nest.tables.len() as u32).map(DataId::from_u32).collect();
    let mut frontend = FunctionBuilderContext::new();
    Ok(function(nest, &Machine::jit(isa)?, &tables, &mut frontend)?.display().to_string())
}

/// Functions begin at a cache line.
const CODE_ALIGN: u64 = 64;

/// Fewer nests than this are not worth a thread of their own.
const NESTS_PER_THREAD: usize = 4;

/// A function's code before it has a place in memory.
struct Compiled {
    clif: Function,
    bytes: Vec<u8>,
    /// Bytes of instructions; constants may follow.
    code: usize,
    relocs: Vec<FinalizedMachReloc>,
    alignment: u64,
}

/// Compiles all nests on a few threads; results in the order of the nests.
fn compile_all(
    nests: &[&Nest],
    machine: &Machine,
    tables: &[Vec<DataId>],
) -> Vec<Result<Compiled, CodegenError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut frontend, mut context) = (FunctionBuilderContext::new(), Context::new());
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let (Some(nest), Some(tables)) = (nests.get(i), tables.get(i)) else { return done };
            done.push((i, compile_one(nest, machine, tables, &mut frontend, &mut context)));
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
    machine: &Machine,
    tables: &[DataId],
    frontend: &mut FunctionBuilderContext,
    context: &mut Context,
) -> Result<Compiled, CodegenError> {
    if let Some(code) = wide_function(nest, machine) {
        return Ok(code);
    }
    context.clear();
    context.func = function(nest, machine, tables, frontend)?;
    if let Err(e) = context.compile(&*machine.isa, &mut ControlPlane::default()) {
        return Err(CodegenError::Backend { nest: nest.name.clone(), message: format!("{:?}", e.inner) });
    }
    let missing = || CodegenError::Backend { nest: nest.name.clone(), message: "no code".to_owned() };
    let code = context.take_compiled_code().ok_or_else(missing)?;
    Ok(Compiled {
        bytes: code.code_buffer().to_vec(),
        code: code.code_buffer().len(),
        relocs: code.buffer.relocs().to_vec(),
        alignment: u64::from(code.buffer.alignment).max(CODE_ALIGN),
        clif: std::mem::replace(&mut context.func, Function::new()),
    })
}

/// The function at the processor's full vector width, where that is wider than Cranelift's and can be written.
fn wide_function(nest: &Nest, machine: &Machine) -> Option<Compiled> {
    let unit = machine.unit.filter(|_| wide::refusal(nest).is_none())?;
    let assembled = wide::function(nest, unit).ok()?;
    let (bytes, code) = (assembled.bytes, assembled.code);
    Some(Compiled { clif: Function::new(), bytes, code, relocs: Vec::new(), alignment: CODE_ALIGN })
}

/// The Cranelift function of a nest.
fn function(
    nest: &Nest,
    machine: &Machine,
    tables: &[DataId],
    frontend: &mut FunctionBuilderContext,
) -> Result<Function, CodegenError> {
    let mut clif = Function::with_name_signature(UserFuncName::default(), signature());
    let symbols: Vec<GlobalValue> = tables.iter().map(|t| symbol(&mut clif, *t, machine.near)).collect();
    let builder = FunctionBuilder::new(&mut clif, frontend);
    let builder = Emitter::function(builder, nest, machine.features, symbols)
        .map_err(|what| CodegenError::Nest { nest: nest.name.clone(), what })?;
    builder.finalize(machine.isa.frontend_config());
    Ok(clif)
}

/// The address of a data object as a value of `clif`. `near`: it is linked together with the code.
pub(super) fn symbol(clif: &mut Function, data: DataId, near: bool) -> GlobalValue {
    let name = clif.declare_imported_user_function(UserExternalName { namespace: 1, index: data.as_u32() });
    clif.create_global_value(GlobalValueData::Symbol {
        name: ExternalName::user(name),
        offset: 0.into(),
        colocated: near,
        tls: false,
    })
}

fn define_tables(module: &mut impl Module, nest: &Nest) -> Result<Vec<DataId>, String> {
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
