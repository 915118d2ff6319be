//! `cnnc check`: every error of every file, no code. Also what all commands share that need a checked program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::args::{Check, Program, Target, Tuning};
use super::out::{Failure, Out};
use super::source;
use crate::session::onnx::Shapes;
use crate::session::{Checked, CompileError, Compiler, Files, Isa, Model, Network, Options, Tune, ValueId};
use crate::support::codes;
use crate::support::diag::nearest;

pub(super) fn run(args: &Check, out: Out) -> Result<(), Failure> {
    let mut wrong = false;
    for path in &args.files {
        let compiler = Compiler::new(options(&args.program));
        let checked = checked(&compiler, path, &args.program, out)?;
        let warned = args.deny_warnings && !checked.diagnostics().is_empty();
        if checked.has_errors() || warned {
            wrong = true;
            continue;
        }
        if args.program.net.is_some() {
            network(&checked, &args.program, path)?;
        }
        let name = source::name(path, args.program.stdin_filename.as_deref());
        let mut text = format!("{name}: ok\n");
        for net in &checked.program.nets {
            let _ = writeln!(text, "  {}", signature(net));
        }
        out.print(text)?;
    }
    if wrong { Err(Failure::said()) } else { Ok(()) }
}

/// What the program options mean to the compiler.
pub(super) fn options(program: &Program) -> Options {
    let mut options = Options::default().batch(program.batch as usize);
    options.set = program.set.clone();
    options
}

/// The same with those about the target.
///
/// # Errors
/// E0801 for a target that is not known or not here.
pub(super) fn targeted(program: &Program, target: &Target, seed: u64) -> Result<Options, Failure> {
    let isa = Isa::named(&target.cpu).map_err(|e| Failure::Coded(codes::E0801, e.to_string()))?;
    let mut options = options(program).isa(isa).seed(seed).exact(target.exact);
    if target.tune || target.tuned {
        let folder = winners().ok_or_else(|| {
            let message =
                "there is no folder for what `--tune` measures: set CNNC_CACHE, XDG_CACHE_HOME or HOME";
            Failure::Unusable(message.to_owned())
        })?;
        options = options.tune(Tune { folder, measure: target.tune });
    }
    Ok(if target.threads == 0 { options } else { options.threads(target.threads as usize) })
}

/// Where winners of `--tune` are kept.
pub(super) fn winners() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    let cache = folder("CNNC_CACHE").or_else(|| user().map(|user| user.join("cnnc")));
    cache.map(|cache| cache.join("winners"))
}

/// Says what `--tune` did.
pub(super) fn say_tuned(model: &Model, out: Out) {
    let Some(tune) = model.options().tune.as_ref() else { return };
    let tuned = model.tuned();
    for warning in &tuned.warnings {
        out.remark(&format!("warning: {warning}\n"));
    }
    let measured = if tune.measure { format!(", {} measured", tuned.measured) } else { String::new() };
    out.remark(&format!(
        "tuned: {} of the winners known{measured}; {} differ from the cost model's choice\n",
        tuned.found,
        tuned.changes.len()
    ));
}

/// What training options mean to the compiler; batch and seed are the program's.
///
/// # Errors
/// As [`targeted`].
pub(super) fn tuned(tuning: &Tuning) -> Result<Options, Failure> {
    let program =
        Program { net: None, batch: 1, set: tuning.set.clone(), shape: Vec::new(), stdin_filename: None };
    targeted(&program, &tuning.target, 0)
}

/// Reads and checks one program, and reports what is wrong with it.
///
/// # Errors
/// When it cannot be read; a wrong program is no failure yet.
pub(super) fn checked(
    compiler: &Compiler,
    path: &Path,
    program: &Program,
    out: Out,
) -> Result<Checked, Failure> {
    checked_for(compiler, path, program, &Vec::new(), out)
}

/// The same, `hints` being extents of the inputs that will be given: they bind what an ONNX model leaves free.
///
/// # Errors
/// As [`checked`]; an ONNX model that cannot be imported is a failure.
pub(super) fn checked_for(
    compiler: &Compiler,
    path: &Path,
    program: &Program,
    hints: &Shapes,
    out: Out,
) -> Result<Checked, Failure> {
    let name = source::name(path, program.stdin_filename.as_deref());
    if is_model(Path::new(&name)) {
        let bytes = source::model(path)?;
        let folder =
            if path.as_os_str() == "-" { None } else { Some(path.parent().unwrap_or(Path::new(""))) };
        let (checked, notes) = compiler
            .check_onnx(&name, bytes, folder, &program.shape, hints)
            .map_err(|e| Failure::Coded(e.code, format!("{name}: {e}")))?;
        notes.iter().for_each(|note| out.remark(&format!("note: {note}\n")));
        return Ok(checked);
    }
    if !program.shape.is_empty() {
        let message =
            format!("`--shape` is for ONNX models; {name} declares its own, see `--batch` and `--set`");
        return Err(Failure::Unusable(message));
    }
    let bytes = source::bytes(path)?;
    let checked = compiler.check_bytes(&name, &bytes, &Files);
    out.diagnostics(checked.diagnostics(), &checked.sources);
    Ok(checked)
}

/// Whether a file is an ONNX model, by its name.
pub(super) fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

/// The network that the options name: with `--net` that one, else the last.
///
/// # Errors
/// When the program is wrong (which was said) or has no such net.
pub(super) fn network<'a>(
    checked: &'a Checked,
    program: &Program,
    path: &Path,
) -> Result<&'a Network, Failure> {
    if checked.has_errors() {
        return Err(Failure::said());
    }
    if let Some(net) = checked.net(program.net.as_deref()) {
        return Ok(net);
    }
    let names: Vec<&str> = checked.program.nets.iter().map(|n| &*n.name).collect();
    let path = path.display();
    Err(Failure::Unusable(match &program.net {
        None => format!("{path} has no `net`"),
        Some(name) => match nearest(name, names.iter().copied()) {
            Some(near) => format!("{path} has no net `{name}`; did you mean `{near}`?"),
            None => format!("{path} has no net `{name}`; it has {}", names.join(", ")),
        },
    }))
}

/// Compiles the network that the options name.
///
/// # Errors
/// When the program is wrong or has no such net, or threads cannot be started.
pub(super) fn model(
    compiler: &Compiler,
    checked: &Checked,
    net: &Network,
    out: Out,
) -> Result<Model, Failure> {
    let model = compiler.compile(checked, Some(&net.name)).map_err(refused)?;
    say_tuned(&model, out);
    Ok(model)
}

/// What the user is told of a compilation that failed.
pub(super) fn refused(error: CompileError) -> Failure {
    match error {
        CompileError::Program { .. } => Failure::said(),
        CompileError::NoNet { .. } | CompileError::Option { .. } | CompileError::Threads(_) => {
            Failure::Unusable(error.to_string())
        }
        CompileError::Bug(bug) => Failure::Bug(bug.to_string()),
    }
}

/// `LeNet5(image: [c: 1, h: 32, w: 32]) -> [c: 10]`
pub(super) fn signature(net: &Network) -> String {
    let inputs: Vec<String> =
        net.graph.inputs.iter().map(|p| format!("{}: {}", p.name, shape(net, p.value, &p.order))).collect();
    let outputs: Vec<(String, String)> =
        net.graph.outputs.iter().map(|p| (p.name.to_string(), shape(net, p.value, &p.order))).collect();
    let outputs = match outputs.as_slice() {
        [(_, shape)] => shape.clone(),
        several => {
            let named: Vec<String> = several.iter().map(|(name, shape)| format!("{name}: {shape}")).collect();
            format!("({})", named.join(", "))
        }
    };
    format!("{}({}) -> {outputs}", net.name, inputs.join(", "))
}

/// A value's shape with its axes as the user wrote them.
fn shape(net: &Network, value: ValueId, order: &[usize]) -> String {
    let ty = net.ty(value);
    let axes: Vec<String> = order
        .iter()
        .filter(|d| &*ty.names()[**d] != "n")
        .map(|d| format!("{}: {}", ty.names()[*d], ty.dims()[*d]))
        .collect();
    format!("[{}]", axes.join(", "))
}
