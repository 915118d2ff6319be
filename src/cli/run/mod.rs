//! `cnnc run`: compile a network and run it on files; compare what comes out, with a file or with the reference.

mod data;
mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::args::{Run, RunData};
use super::check;
use super::out::{Failure, Out};
use super::weights;
use crate::session::{Compiler, Model, Outputs, RunError, StepCheck};
use crate::support::diag::nearest;
use crate::tensor::compare::{Comparison, Tolerance, compare};
use crate::tensor::owned::{Tensor, TensorView};
use data::Slot;

/// What one call did, for the report.
struct Done {
    outputs: Outputs,
    /// Seconds of the run itself.
    seconds: f64,
    steps: Vec<StepCheck>,
    expected: Vec<(String, Comparison)>,
}

pub(super) fn run(args: &Run, out: Out) -> Result<(), Failure> {
    let compiler = Compiler::new(check::targeted(&args.program, &args.target, args.data.seed)?);
    let hints = data::shapes(&args.data.inputs);
    let checked = check::checked_for(&compiler, &args.file, &args.program, &hints, out)?;
    let net = check::network(&checked, &args.program, &args.file)?;
    one_stdin(args)?;
    let mut model = check::model(&compiler, &checked, net, out)?;
    // Names are matched before any file is read, so that a slip costs no time.
    let inputs = slots(model.inputs());
    let outputs = slots(model.outputs());
    let sources = assign("input", &inputs, &args.data.inputs)?;
    let targets = assign("output", &outputs, &args.data.outputs)?;
    let references = assign("output", &outputs, &args.data.expect)?;
    if let Some(missing) = inputs.iter().enumerate().find(|(i, _)| !sources.iter().any(|s| s.0 == *i)) {
        let Slot { name, .. } = missing.1;
        let message = format!("input `{name}` {} is not given: add `--input {name}=FILE`", missing.1.show());
        return Err(Failure::Unusable(message));
    }
    if let Some(path) = &args.data.weights {
        weights::load(&mut model, path, &args.data.map, out)?;
    }
    let mut buffers: Vec<(usize, Vec<f32>)> = Vec::new();
    for (i, path) in sources {
        buffers.push((i, data::load(&inputs[i], path)?));
    }
    let done = compute(&model, &inputs, &buffers, &args.data)?;
    let done = compared(done, &outputs, &references, &args.data)?;
    for (i, path) in targets {
        if let Some(tensor) = done.outputs.get(&outputs[i].name) {
            data::save(&outputs[i], path, tensor.data(), out)?;
        }
    }
    report::say(&done, &args.data, out)?;
    let wrong = done.expected.iter().map(|e| &e.1).chain(done.steps.iter().map(|s| &s.comparison));
    if wrong.into_iter().all(Comparison::passed) { Ok(()) } else { Err(Failure::said()) }
}

/// Standard input can be read once.
fn one_stdin(args: &Run) -> Result<(), Failure> {
    let data = args.data.inputs.iter().map(|(_, path)| path);
    let count = data.chain([&args.file]).filter(|p| p.as_os_str() == "-").count();
    if count > 1 {
        return Err(Failure::Unusable("`-` stands for standard input, which can be read only once".into()));
    }
    Ok(())
}

fn slots(ports: &[crate::session::Port]) -> Vec<Slot> {
    let axes = |p: &crate::session::Port| p.axes.iter().map(|(n, d)| (n.to_string(), *d)).collect();
    ports.iter().map(|p| Slot { name: p.name.to_string(), axes: axes(p) }).collect()
}

/// Which slot each option is about, as a position; a name may be left out where there is one slot.
fn assign<'a>(
    side: &str,
    slots: &[Slot],
    given: &'a [(Option<String>, PathBuf)],
) -> Result<Vec<(usize, &'a Path)>, Failure> {
    let mut assigned: Vec<(usize, &Path)> = Vec::new();
    let names: Vec<&str> = slots.iter().map(|s| s.name.as_str()).collect();
    for (name, path) in given {
        // Names that are no words, as in ONNX models, are seen only now that they are known.
        let odd =
            || names.iter().find_map(|n| Some((*n, path.to_str()?.strip_prefix(n)?.strip_prefix('=')?)));
        let (name, path) = match (name, odd()) {
            (None, Some((name, file))) => (Some(name), Path::new(file)),
            (name, _) => (name.as_deref(), path.as_path()),
        };
        let at = match (name, slots.len()) {
            (None, 1) => 0,
            (None, _) => {
                let all = names.join(", ");
                let message =
                    format!("the network has several {side}s: {all}; say which as `NAME={}`", path.display());
                return Err(Failure::Unusable(message));
            }
            (Some(name), _) => names.iter().position(|n| *n == name).ok_or_else(|| {
                Failure::Unusable(match nearest(name, names.iter().copied()) {
                    Some(near) => format!("the network has no {side} `{name}`; did you mean `{near}`?"),
                    None => format!("the network has no {side} `{name}`; it has {}", names.join(", ")),
                })
            })?,
        };
        if side == "input" && assigned.iter().any(|(other, _)| *other == at) {
            return Err(Failure::Unusable(format!("input `{}` is given twice", names[at])));
        }
        assigned.push((at, path));
    }
    Ok(assigned)
}

fn compute(
    model: &Model,
    slots: &[Slot],
    buffers: &[(usize, Vec<f32>)],
    data: &RunData,
) -> Result<Done, Failure> {
    let views: Vec<(&str, TensorView<'_>)> =
        buffers.iter().map(|(i, buffer)| (slots[*i].name.as_str(), TensorView::from(buffer))).collect();
    let tolerance = Tolerance { rtol: data.rtol, atol: data.atol };
    let failed = |error: RunError| match error {
        RunError::Machine(_) | RunError::Interpreter { .. } | RunError::Stateful => {
            Failure::Bug(error.to_string())
        }
        RunError::Unknown { .. }
        | RunError::Missing { .. }
        | RunError::Twice { .. }
        | RunError::Shape { .. }
        | RunError::Memory(_) => Failure::Unusable(error.to_string()),
    };
    let start = Instant::now();
    let (outputs, steps) = if data.check {
        model.run_checked(&views, tolerance).map_err(failed)?
    } else {
        (model.run(&views).map_err(failed)?, Vec::new())
    };
    Ok(Done { outputs, seconds: start.elapsed().as_secs_f64(), steps, expected: Vec::new() })
}

/// Compares outputs with the arrays of `--expect`.
fn compared(
    mut done: Done,
    slots: &[Slot],
    references: &[(usize, &Path)],
    data: &RunData,
) -> Result<Done, Failure> {
    let tolerance = Tolerance { rtol: data.rtol, atol: data.atol };
    for (i, path) in references {
        let slot = &slots[*i];
        let expected: Vec<f64> = data::load(slot, path)?.into_iter().map(f64::from).collect();
        let found = done.outputs.get(&slot.name).map_or(&[][..], Tensor::data);
        done.expected.push((slot.name.clone(), compare(found, &expected, tolerance)));
    }
    Ok(done)
}
