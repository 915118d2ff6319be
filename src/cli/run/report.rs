//! What `cnnc run` says: the outputs, the comparisons, the reference beside each step.

use std::fmt::Write as _;

use super::Done;
use crate::cli::args::RunData;
use crate::cli::out::{Failure, Out};
use crate::cli::table::{Align, Table};
use crate::tensor::compare::{Comparison, index_of};
use crate::tensor::owned::Tensor;

/// Prints the report: on standard output, unless an output went there.
pub(super) fn say(done: &Done, data: &RunData, out: Out) -> Result<(), Failure> {
    let text = if data.json { json(done) } else { text(done) };
    if data.outputs.iter().any(|(_, path)| path.as_os_str() == "-") {
        out.remark(&text);
        return Ok(());
    }
    out.print(text)
}

fn text(done: &Done) -> String {
    let mut text = String::new();
    if !done.steps.is_empty() {
        text.push_str(&steps(done));
        text.push('\n');
    }
    for (name, tensor) in done.outputs.iter() {
        let Spread { least, mean, greatest, finite } = spread(tensor.data());
        let _ = write!(text, "{name} {}: {least:.6} to {greatest:.6}, mean {mean:.6}", tensor.show_axes());
        let _ = match tensor.data().len() - finite {
            0 => writeln!(text),
            odd => writeln!(text, ", {odd} not finite"),
        };
        if tensor.data().len() <= 16 {
            let values: Vec<String> = tensor.data().iter().map(|x| format!("{x:.6}")).collect();
            let _ = writeln!(text, "  {}", values.join(" "));
        }
    }
    for (name, c) in &done.expected {
        let dims = done.outputs.get(name).map(Tensor::dims).unwrap_or_default();
        let verdict = if c.passed() { "as expected" } else { "NOT as expected" };
        let _ = writeln!(text, "{name}: {verdict}: {}", difference(c, &dims));
    }
    if done.steps.is_empty() {
        let _ = writeln!(text, "ran in {:.3} ms", done.seconds * 1e3);
    }
    text
}

/// `max abs 3.1e-6 at [0, 5, 2], max rel 2.0e-5; 0 of 120 outside the tolerance`
fn difference(c: &Comparison, dims: &[usize]) -> String {
    let at = c.worst.map_or(String::new(), |at| format!(" at {:?}", index_of(dims, at)));
    let mut text = format!(
        "max abs {:.1e}{at}, max rel {:.1e}; {} of {} outside the tolerance",
        c.max_abs, c.max_rel, c.wrong, c.count
    );
    if c.special > 0 {
        let _ = write!(text, ", {} of them not finite on one side", c.special);
    }
    text
}

/// One row per step of the machine code: its error against the reference.
fn steps(done: &Done) -> String {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("operation", Align::Left),
        ("max abs", Align::Right),
        ("of scale", Align::Right),
        ("rms", Align::Right),
        ("wrong", Align::Right),
    ]);
    for step in &done.steps {
        let c = &step.comparison;
        table.row(vec![
            step.name.clone(),
            step.kind.to_owned(),
            format!("{:.1e}", c.max_abs),
            format!("{:.1e}", c.relative_to_scale()),
            format!("{:.1e}", c.rms),
            format!("{} of {}", c.wrong, c.count),
        ]);
    }
    let wrong = done.steps.iter().filter(|s| !s.comparison.passed()).count();
    let verdict = match wrong {
        0 => format!("each of {} steps agrees with the f64 reference", done.steps.len()),
        _ => format!("steps that do NOT agree with the f64 reference: {wrong} of {}", done.steps.len()),
    };
    format!("{}{verdict}\n", table.render())
}

/// What values there are; those that are not finite are only counted.
struct Spread {
    least: f32,
    mean: f64,
    greatest: f32,
    finite: usize,
}

fn spread(data: &[f32]) -> Spread {
    let finite = || data.iter().copied().filter(|x| x.is_finite());
    let count = finite().count();
    let sum: f64 = finite().map(f64::from).sum();
    Spread {
        least: finite().reduce(f32::min).unwrap_or(f32::NAN),
        mean: sum / count.max(1) as f64,
        greatest: finite().reduce(f32::max).unwrap_or(f32::NAN),
        finite: count,
    }
}

fn json(done: &Done) -> String {
    let outputs: Vec<_> = done
        .outputs
        .iter()
        .map(|(name, tensor)| {
            let Spread { least, mean, greatest, finite } = spread(tensor.data());
            let axes: Vec<_> = tensor.axes().iter().map(|(n, d)| serde_json::json!([&**n, d])).collect();
            serde_json::json!({
                "name": name, "axes": axes, "min": least, "mean": mean, "max": greatest,
                "not_finite": tensor.data().len() - finite,
            })
        })
        .collect();
    let compared: Vec<_> = done
        .expected
        .iter()
        .map(|(name, c)| {
            let dims = done.outputs.get(name).map(Tensor::dims).unwrap_or_default();
            comparison(name, c, Some(&dims))
        })
        .collect();
    let steps: Vec<_> = done.steps.iter().map(|s| comparison(&s.name, &s.comparison, None)).collect();
    let value = serde_json::json!({
        "schema": 1, "seconds": done.seconds, "outputs": outputs, "expected": compared, "steps": steps,
    });
    format!("{value:#}\n")
}

fn comparison(name: &str, c: &Comparison, dims: Option<&[usize]>) -> serde_json::Value {
    serde_json::json!({
        "name": name, "passed": c.passed(), "count": c.count, "wrong": c.wrong, "max_abs": c.max_abs,
        "max_rel": c.max_rel, "rms": c.rms, "scale": c.scale,
        "worst": dims.and_then(|d| c.worst.map(|at| index_of(d, at))),
    })
}
