//! The compiler as a C library: compile a text, list inputs and outputs, load weights, run.
//!
//! In: what C hands over, of which the comments below say what must hold. Out: results, or an error: a null pointer or a status
//! other than 0, and a message for the calling thread in [`cnnc_last_error`]. No panic crosses the boundary: it becomes an error.
//! Models may be shared between threads for everything but `cnnc_load_weights` and `cnnc_free`.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use compiler::formats::safetensors::Weights;
use compiler::session::{Checked, Files, Isa, NoFiles};
use compiler::{Compiler, Options, Port, TensorView};

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

/// A compiled network with its weights.
pub struct Model {
    model: compiler::Model,
    inputs: Vec<Described>,
    outputs: Vec<Described>,
}

/// A port with its names as C has them.
struct Described {
    name: CString,
    axes: Vec<(CString, usize)>,
    len: usize,
}

/// How a network is compiled. Zeros and null pointers stand for what is usual.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CnncOptions {
    /// Samples of a run; 0 is 1.
    pub batch: usize,
    /// Threads of a run; 0 takes all that the machine has.
    pub threads: usize,
    /// The seed of initial weights.
    pub seed: u64,
    /// The instruction set by its name, `native` when null.
    pub cpu: *const c_char,
}

/// The two ends of a network.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum CnncSide {
    /// What it takes.
    Input = 0,
    /// What it gives.
    Output = 1,
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// Notes an error for this thread.
fn failed(message: &str) {
    let text = c_string(message);
    // A thread that is ending has nobody to tell.
    let _ = ERROR.try_with(|e| *e.borrow_mut() = text);
}

/// Runs `body`; an error or a panic becomes `None` and a message.
fn guarded<T>(body: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let said = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        format!("this is a bug in cnnc: {text}")
    };
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(message)) => {
            failed(&message);
            None
        }
        Err(panic) => {
            failed(&said(panic));
            None
        }
    }
}

/// The text at `text`, or an error that names `what`.
///
/// # Safety
/// `text` is null or ends in a zero byte.
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, String> {
    if text.is_null() {
        return Err(format!("{what} is a null pointer"));
    }
    // SAFETY: the caller promises a string that ends.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| format!("{what} is not UTF-8"))
}

/// The model at `model`.
///
/// # Safety
/// `model` is null or came from a function here and was not freed.
unsafe fn model<'a>(model: *const Model) -> Result<&'a Model, String> {
    // SAFETY: the caller promises a model.
    unsafe { model.as_ref() }.ok_or_else(|| "the model is a null pointer".to_owned())
}

/// Options as the library has them.
///
/// # Safety
/// `options` is null or points to options whose `cpu` is null or ends in a zero byte.
unsafe fn options(options: *const CnncOptions) -> Result<Options, String> {
    // SAFETY: the caller promises null or options.
    let Some(given) = (unsafe { options.as_ref() }) else { return Ok(Options::default()) };
    let mut out = Options::default().batch(given.batch.max(1)).seed(given.seed);
    if given.threads != 0 {
        out = out.threads(given.threads);
    }
    if !given.cpu.is_null() {
        // SAFETY: the caller promises a string that ends.
        let name = unsafe { text(given.cpu, "the name of the instruction set") }?;
        out = out.isa(Isa::named(name).map_err(|e| e.to_string())?);
    }
    Ok(out)
}

fn described(port: &Port) -> Described {
    Described {
        name: c_string(&port.name),
        axes: port.axes.iter().map(|(name, extent)| (c_string(name), *extent)).collect(),
        len: port.len(),
    }
}

fn compiled(compiler: &Compiler, checked: &Checked, net: Option<&str>) -> Result<*mut Model, String> {
    let model = compiler.compile(checked, net).map_err(|e| e.to_string())?;
    let inputs = model.inputs().iter().map(described).collect();
    let outputs = model.outputs().iter().map(described).collect();
    Ok(Box::into_raw(Box::new(Model { model, inputs, outputs })))
}

/// The name of a net, `None` for a null pointer.
///
/// # Safety
/// As [`text`].
unsafe fn name<'a>(net: *const c_char) -> Result<Option<&'a str>, String> {
    if net.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller promises a string that ends.
    unsafe { text(net, "the name of the net") }.map(Some)
}

/// The version of the compiler.
// SAFETY: no other symbol begins so.
#[unsafe(no_mangle)]
pub extern "C" fn cnnc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What the last call that failed on this thread said; empty before any did. It stays until the next one fails.
// SAFETY: no other symbol begins so.
#[unsafe(no_mangle)]
pub extern "C" fn cnnc_last_error() -> *const c_char {
    ERROR.try_with(|e| e.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Compiles a program that uses no other files but `std`; its net `net`, or the last one when that is null. Weights begin at
/// random. Null when something is wrong.
///
/// # Safety
/// `text` ends in a zero byte, `net` too unless it is null, `options` is null or points to options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_compile(
    text: *const c_char,
    net: *const c_char,
    options: *const CnncOptions,
) -> *mut Model {
    let made = guarded(|| {
        // SAFETY: the caller promises strings that end and options.
        let (text, net, options) =
            unsafe { (self::text(text, "the program")?, name(net)?, self::options(options)?) };
        let compiler = Compiler::new(options);
        compiled(&compiler, &compiler.check("program", text, &NoFiles), net)
    });
    made.unwrap_or(std::ptr::null_mut())
}

/// As `cnnc_compile`, of the program in a file, which may use others beside it, or of an ONNX model (`.onnx`), whose weights are its own.
///
/// # Safety
/// As `cnnc_compile`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_compile_file(
    path: *const c_char,
    net: *const c_char,
    options: *const CnncOptions,
) -> *mut Model {
    let made = guarded(|| {
        // SAFETY: the caller promises strings that end and options.
        let (path, net, options) = unsafe { (text(path, "the path")?, name(net)?, self::options(options)?) };
        let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        let compiler = Compiler::new(options);
        let file = Path::new(path);
        if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
            let none = Vec::new();
            let (checked, _) = compiler
                .check_onnx(path, bytes.into(), file.parent(), &none, &none)
                .map_err(|e| format!("{path}: {e}"))?;
            return compiled(&compiler, &checked, net);
        }
        compiled(&compiler, &compiler.check_bytes(path, &bytes, &Files), net)
    });
    made.unwrap_or(std::ptr::null_mut())
}

/// Frees a model; a null pointer is none.
///
/// # Safety
/// `model` is null or came from `cnnc_compile` or `cnnc_compile_file`, nobody uses it, and it was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_free(model: *mut Model) {
    if !model.is_null() {
        guarded(|| {
            // SAFETY: the caller promises that it came from a box, and that it is the last to have it.
            drop(unsafe { Box::from_raw(model) });
            Ok(())
        });
    }
}

/// Loads all weights from a safetensors file. 0, or 1 when something does not fit; then nothing is changed.
///
/// # Safety
/// `model` is a model that nobody else uses meanwhile, `path` ends in a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_load_weights(model: *mut Model, path: *const c_char) -> i32 {
    let done = guarded(|| {
        // SAFETY: the caller promises a model of its own and a string that ends.
        let (model, path) = unsafe { (model.as_mut(), text(path, "the path")?) };
        let model = model.ok_or("the model is a null pointer")?;
        let mut weights = Weights::open(Path::new(path)).map_err(|e| format!("{path}: {e}"))?;
        model.model.load_weights(&mut weights).map_err(|e| format!("{path}: {e}"))
    });
    i32::from(done.is_none())
}

/// The ports of a side.
fn side(model: &Model, side: i32) -> Result<&[Described], String> {
    match side {
        0 => Ok(&model.inputs),
        1 => Ok(&model.outputs),
        _ => Err("a side is CNNC_SIDE_INPUT or CNNC_SIDE_OUTPUT".to_owned()),
    }
}

/// One port of a model.
///
/// # Safety
/// As [`model`].
unsafe fn port<'a>(model: *const Model, side: i32, index: usize) -> Result<&'a Described, String> {
    // SAFETY: the caller promises a model.
    let ports = self::side(unsafe { self::model(model) }?, side)?;
    ports.get(index).ok_or_else(|| format!("there is no port {index}: there are {}", ports.len()))
}

/// How many inputs or outputs there are; `side` is a `cnnc_side`. 0 for a null pointer.
///
/// # Safety
/// `model` is null or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_ports(model: *const Model, side: i32) -> usize {
    // SAFETY: the caller promises a model.
    guarded(|| Ok(self::side(unsafe { self::model(model) }?, side)?.len())).unwrap_or(0)
}

/// The name of an input or output; it lives as long as the model. Null when there is none.
///
/// # Safety
/// `model` is null or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_port_name(model: *const Model, side: i32, index: usize) -> *const c_char {
    // SAFETY: the caller promises a model.
    guarded(|| Ok(unsafe { port(model, side, index) }?.name.as_ptr())).unwrap_or(std::ptr::null())
}

/// The elements of an input or output: the product of its extents. 0 when there is none.
///
/// # Safety
/// `model` is null or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_port_len(model: *const Model, side: i32, index: usize) -> usize {
    // SAFETY: the caller promises a model.
    guarded(|| Ok(unsafe { port(model, side, index) }?.len)).unwrap_or(0)
}

/// How many axes an input or output has. 0 when there is none.
///
/// # Safety
/// `model` is null or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_port_rank(model: *const Model, side: i32, index: usize) -> usize {
    // SAFETY: the caller promises a model.
    guarded(|| Ok(unsafe { port(model, side, index) }?.axes.len())).unwrap_or(0)
}

/// The extent of an axis, outermost first, and its name into `name` unless that is null; it lives as long as the model. 0 when
/// there is none.
///
/// # Safety
/// `model` is null or a model, `name` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_port_axis(
    model: *const Model,
    side: i32,
    index: usize,
    axis: usize,
    name: *mut *const c_char,
) -> usize {
    let found = guarded(|| {
        // SAFETY: the caller promises a model.
        let port = unsafe { port(model, side, index) }?;
        let (word, extent) = port.axes.get(axis).ok_or_else(|| format!("there is no axis {axis}"))?;
        if !name.is_null() {
            // SAFETY: the caller promises that it may be written.
            unsafe { *name = word.as_ptr() };
        }
        Ok(*extent)
    });
    found.unwrap_or(0)
}

/// Runs the network once: `inputs` and `outputs` hold a pointer per port, in order, each to as many elements as
/// `cnnc_port_len` says, the last axis fastest. 0, or 1 when the run did not take place.
///
/// # Safety
/// `model` is a model, the pointers are what the text above says, and outputs overlap nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnnc_run(
    model: *const Model,
    inputs: *const *const f32,
    outputs: *const *mut f32,
) -> i32 {
    let done = guarded(|| {
        // SAFETY: the caller promises a model.
        let model = unsafe { self::model(model) }?;
        if inputs.is_null() && !model.inputs.is_empty() || outputs.is_null() && !model.outputs.is_empty() {
            return Err("the list of inputs or of outputs is a null pointer".to_owned());
        }
        let mut given: Vec<(&str, TensorView<'_>)> = Vec::new();
        for (i, (port, described)) in model.model.inputs().iter().zip(&model.inputs).enumerate() {
            // SAFETY: the caller promises a pointer per port.
            let pointer = unsafe { *inputs.add(i) };
            if pointer.is_null() {
                return Err(format!("input `{}` is a null pointer", port.name));
            }
            // SAFETY: the caller promises that many elements.
            let data = unsafe { std::slice::from_raw_parts(pointer, described.len) };
            given.push((&port.name, TensorView::from(data)));
        }
        let mut wanted: Vec<(&str, &mut [f32])> = Vec::new();
        for (i, (port, described)) in model.model.outputs().iter().zip(&model.outputs).enumerate() {
            // SAFETY: the caller promises a pointer per port.
            let pointer = unsafe { *outputs.add(i) };
            if pointer.is_null() {
                return Err(format!("output `{}` is a null pointer", port.name));
            }
            // SAFETY: the caller promises that many elements, which overlap nothing.
            wanted.push((&port.name, unsafe { std::slice::from_raw_parts_mut(pointer, described.len) }));
        }
        model.model.run_into(&given, &mut wanted).map_err(|e| e.to_string())
    });
    i32::from(done.is_none())
}
