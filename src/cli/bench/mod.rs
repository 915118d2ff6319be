//! `cnnc bench`: how fast a network, or one operation on its own, runs on this machine, beside what the machine could do at
//! best. In: a program, or an expression and the shape of its input. Out: a few lines, or one JSON object on one line.
//!
//! The least time of many runs counts: whatever else the machine does can only make a run slower.

pub(super) mod measure;
mod show;

use std::path::Path;
use std::time::Duration;

use super::args::{Bench, Pass};
use super::check;
use super::out::{Failure, Out};
use crate::session::machine::{PeakSpeed, peak_speeds};

use crate::session::{Checked, Compiler, Network, NoFiles};
use crate::trainer::pass;
use measure::Measured;

/// What was measured, and on what.
struct Row {
    name: String,
    pass: &'static str,
    batch: usize,
    threads: usize,
    cpu: String,
    /// Floating-point operations per second of all threads together, nothing but multiply-adds.
    peak: f64,
    /// Of one core, for each width of vectors.
    peaks: Vec<PeakSpeed>,
    compile: Duration,
    arena: usize,
    measured: Measured,
}

pub(super) fn run(args: &Bench, out: Out) -> Result<(), Failure> {
    let compiler = Compiler::new(check::targeted(&args.program, &args.target, args.seed)?);
    let checked = program(args, &compiler, out)?;
    let net = check::network(&checked, &args.program, path(args))?;
    let name = args.expression.clone().unwrap_or_else(|| net.name.to_string());
    let pass = args.pass.unwrap_or(if args.expression.is_some() { Pass::Forward } else { Pass::Infer });
    let row = measured(args, name, pass, &compiler, net, out)?;
    if let Some(path) = &args.trace {
        std::fs::write(path, show::trace(&row.measured)).map_err(|e| Failure::io(path.display(), &e))?;
    }
    if args.json {
        return out.print(show::json(&row, args.profile));
    }
    let mut text = show::text(&row);
    if args.profile {
        text.push_str(&show::profile(&row));
    }
    out.print(text)
}

/// What messages call the program.
fn path(args: &Bench) -> &Path {
    args.file.as_deref().unwrap_or(Path::new("-e"))
}

/// The program of the file, or one around the expression.
fn program(args: &Bench, compiler: &Compiler, out: Out) -> Result<Checked, Failure> {
    match (&args.expression, &args.input) {
        (Some(expression), Some(shape)) => {
            let text = format!("net Bench(x: {shape}) {{\n    x |> {expression}\n}}\n");
            let checked = compiler.check("-e", &text, &NoFiles);
            out.diagnostics(checked.diagnostics(), &checked.sources);
            Ok(checked)
        }
        _ => check::checked(compiler, path(args), &args.program, out),
    }
}

fn measured(
    args: &Bench,
    name: String,
    pass: Pass,
    compiler: &Compiler,
    net: &Network,
    out: Out,
) -> Result<Row, Failure> {
    let options = compiler.options();
    let work = pass::work(net, pass_of(pass))
        .map_err(|e| Failure::Unusable(format!("`--pass {}` of `{name}`: {e}", label(pass))))?;
    let (model, apart) = work.compile(compiler, net).map_err(check::refused)?;
    check::say_tuned(&model, out);
    let report = model.report();
    let compile = report.phases.iter().map(|p| p.1).sum();
    let arena = report.sizes.arena;
    let peaks = peak_speeds(&options.isa, Duration::from_millis(20));
    let peak = peaks.iter().map(|p| p.operations_per_second).fold(0.0, f64::max) * options.threads as f64;
    let time = Duration::from_secs_f64(args.seconds);
    let measured = measure::model(model, &work, &apart, args.seed, time)?;
    Ok(Row {
        name,
        pass: label(pass),
        batch: net.graph.batch().unwrap_or(options.batch),
        threads: options.threads,
        cpu: options.isa.name().to_owned(),
        peak,
        peaks,
        compile,
        arena,
        measured,
    })
}

/// What a pass is to the trainer, which makes its graph.
pub(super) fn pass_of(pass: Pass) -> pass::Pass {
    match pass {
        Pass::Infer | Pass::Forward => pass::Pass::Forward,
        Pass::Train => pass::Pass::Train,
        Pass::DataGrad => pass::Pass::DataGrad,
        Pass::WeightGrad => pass::Pass::WeightGrad,
    }
}

pub(super) fn label(pass: Pass) -> &'static str {
    match pass {
        Pass::Infer => "infer",
        Pass::Forward => "forward",
        Pass::Train => "train",
        Pass::DataGrad => "data-grad",
        Pass::WeightGrad => "weight-grad",
    }
}
