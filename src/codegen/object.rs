//! An object file: the nests of one or several instruction sets, the routines that run them one after another, what chooses
//! among the sets, and a test of itself. Nothing outside is called, nothing is allocated.
//!
//! In: an [`Image`]. Out: the bytes of an ELF object. Public symbols are `PREFIX_NAME` for each routine and, beside it,
//! `PREFIX_NAME_part` for several threads, then `PREFIX_target`, `PREFIX_use`, `PREFIX_selftest`; all return `int`, see [`status`].
//! Absent on purpose: what the arguments mean, which is the business of whoever writes the header.

use cranelift_codegen::ir::{AbiParam, Signature, types};
use cranelift_codegen::isa::CallConv;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, ModuleError};
use cranelift_object::{ObjectBuilder, ObjectModule};

use super::CodegenError;
use super::choose::{self, Choice};
use super::define;
use super::routine::{self, Body};
use super::selftest;
use super::target::Machine;
use crate::kernels::isa::{Arch, Isa};
use crate::loops::Nest;

/// What public functions return.
pub mod status {
    /// Done.
    pub const OK: i64 = 0;
    /// The processor offers none of the instruction sets of the object.
    pub const UNSUPPORTED: i64 = 1;
    /// A thread's number is not below their count, there are too many of them, or there is no such instruction set.
    pub const ARGUMENT: i64 = 2;
    /// Weights are not those that the object was made with.
    pub const WEIGHTS: i64 = 3;
    /// Results are not those of the compilation.
    pub const RESULT: i64 = 4;
}

/// Most threads of a `_part` routine.
pub const THREADS_MAX: u32 = 1 << 16;

/// What an object holds.
#[derive(Debug)]
pub struct Image<'a> {
    /// What the file calls itself.
    pub name: &'a str,
    /// The beginning of all public names.
    pub prefix: &'a str,
    /// One per instruction set, narrowest first, all of one architecture; at least one.
    pub variants: Vec<Variant<'a>>,
    /// Read-only data that routines may read, at a multiple of 64 bytes.
    pub data: Vec<Vec<u8>>,
    /// The public functions.
    pub routines: Vec<Routine>,
    /// The test of itself.
    pub selftest: Selftest,
}

/// An instruction set with the nests of all routines.
#[derive(Debug)]
pub struct Variant<'a> {
    /// The instruction set.
    pub isa: &'a Isa,
    /// Its nests.
    pub nests: &'a [Nest],
}

/// How an argument is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// A pointer to elements.
    Pointer,
    /// A `float` by value, of which steps read one element.
    Float,
}

/// Where an address begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// At an argument.
    Arg(usize),
    /// At data of the image.
    Data(usize),
}

/// A public function that runs nests one after another.
#[derive(Clone, Debug)]
pub struct Routine {
    /// Its name behind the prefix.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Pass>,
    /// For each variant the calls, in order.
    pub calls: Vec<Vec<Call>>,
}

/// One nest over buffers.
#[derive(Clone, Debug)]
pub struct Call {
    /// Position in the variant's nests.
    pub nest: usize,
    /// For each of its buffers the base and the bytes from there.
    pub bufs: Vec<(Base, usize)>,
}

/// What `PREFIX_selftest(given…, scratch)` does: compares a checksum, fills inputs, runs routines, compares outputs.
#[derive(Clone, Debug, Default)]
pub struct Selftest {
    /// Pointers handed in before the scratch memory.
    pub given: usize,
    /// A region with the checksum that it must have; a multiple of 8 bytes.
    pub checksum: Option<(Source, usize, u64)>,
    /// What to fill.
    pub fills: Vec<Fill>,
    /// Routines to run, in order, each with its arguments.
    pub runs: Vec<(usize, Vec<Source>)>,
    /// What to compare then.
    pub checks: Vec<Check>,
    /// For each variant, one after another: a bound for each check, and the wanted elements of each.
    pub golden: Vec<f32>,
}

/// An argument of a run of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// A pointer that was handed in.
    Given(usize),
    /// Scratch memory from this byte on.
    Scratch(usize),
    /// Data of the image from this byte on.
    Data(usize, usize),
    /// A number.
    Float(f32),
}

/// Scratch memory filled with [`selftest::element`].
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Bytes from the start of the scratch memory.
    pub at: usize,
    /// Elements.
    pub len: usize,
    /// Which numbers.
    pub seed: u64,
}

/// Every `stride`-th element of scratch memory, `count` of them.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Bytes from the start of the scratch memory.
    pub at: usize,
    /// Elements from one to the next.
    pub stride: usize,
    /// How many.
    pub count: usize,
}

/// Writes the object.
///
/// # Errors
/// A nest breaks the rules of its verifier, this build has no code generator for the architecture, or an image that contradicts
/// itself; none is a user's mistake.
pub fn object(image: &Image<'_>) -> Result<Vec<u8>, CodegenError> {
    let whole = |e: ModuleError| refused(&e);
    let arch = image.variants.first().map_or(Arch::HERE, |v| v.isa.arch());
    let narrow = match arch {
        Arch::X86_64 => "x86-64",
        Arch::Aarch64 => "aarch64",
    };
    // What chooses must run everywhere.
    let plain = Isa::foreign(narrow).map_err(|e| wrong(e.to_string()))?;
    let machine = Machine::object(&plain)?;
    let names = cranelift_module::default_libcall_names();
    let builder = ObjectBuilder::new(machine.isa.clone(), image.name, names).map_err(whole)?;
    let mut module = ObjectModule::new(builder);
    let data: Vec<DataId> = image
        .data
        .iter()
        .map(|bytes| read_only(&mut module, bytes.clone()).map_err(whole))
        .collect::<Result<_, _>>()?;
    let mut steps: Vec<Vec<(FuncId, usize)>> = Vec::new();
    for v in &image.variants {
        let defined = define::nests(&mut module, &Machine::object(v.isa)?, v.nests)?;
        let step = |(nest, place): (&Nest, &usize)| (defined.ids[*place], nest.chunks());
        steps.push(v.nests.iter().zip(&defined.places).map(step).collect());
    }
    let mut body = Body::new(&mut module, data);
    let needs: Vec<u32> = image.variants.iter().map(|v| needs(v.isa)).collect();
    let choice: Choice = choose::define(&mut body, image.prefix, arch, &needs)?;
    let mut public = Vec::new();
    for r in &image.routines {
        public.push(routine::define(&mut body, image.prefix, r, &steps, &choice)?);
    }
    selftest::define(&mut body, image, &public, &choice)?;
    module.finish().emit().map_err(|e| wrong(e.to_string()))
}

fn needs(isa: &Isa) -> u32 {
    match isa.arch() {
        Arch::X86_64 => crate::kernels::x86::detect::needs(isa),
        Arch::Aarch64 => 0,
    }
}

/// Data that is never written, at a cache line.
pub(super) fn read_only(module: &mut ObjectModule, bytes: Vec<u8>) -> Result<DataId, ModuleError> {
    let id = module.declare_anonymous_data(false, false)?;
    let mut data = DataDescription::new();
    data.define(bytes.into_boxed_slice());
    data.set_align(64);
    module.define_data(id, &data)?;
    Ok(id)
}

/// A function of the C calling convention: pointers, integers and floats in, `int` out.
pub(super) fn signature(params: &[types::Type]) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend(params.iter().map(|t| AbiParam::new(*t)));
    signature.returns.push(AbiParam::new(types::I32));
    signature
}

/// A function that other objects see.
pub(super) fn public(
    body: &mut Body<'_>,
    prefix: &str,
    name: &str,
    params: &[types::Type],
) -> Result<FuncId, CodegenError> {
    let name = format!("{prefix}_{name}");
    body.module.declare_function(&name, Linkage::Export, &signature(params)).map_err(|e| refused(&e))
}

pub(super) fn refused(e: &ModuleError) -> CodegenError {
    wrong(e.to_string())
}

pub(super) fn wrong(message: String) -> CodegenError {
    CodegenError::Backend { nest: "object".to_owned(), message }
}
