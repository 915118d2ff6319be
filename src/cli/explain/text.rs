//! A layer explained for a reader.

use std::fmt::Write as _;

use super::layer::Subject;
use crate::cli::repl::facts::sees;
use crate::cli::table::{bytes, grouped, time};
use crate::session::Writer;
use crate::session::explain::{Kernel, Source};

/// Columns of a line of loops; longer ones are cut.
const COLUMNS: usize = 150;

pub(super) fn layer(subject: &Subject<'_>) -> String {
    let explained = &subject.explained;
    let mut text = String::new();
    match &explained.source {
        Some(source) => {
            let _ =
                writeln!(text, "{}: {}, a layer of {}\n", explained.name, subject.what(), subject.net.name);
            text.push_str(&facts(subject, source));
        }
        None => {
            let _ = writeln!(text, "{}: a step of {} ({})\n", explained.name, subject.net.name, subject.pass);
        }
    }
    if !explained.history.is_empty() {
        text.push_str("\nwhat the passes did\n");
        for line in &explained.history {
            let _ = writeln!(text, "  {line}");
        }
    }
    for kernel in &explained.kernels {
        text.push_str(&step(subject, kernel, explained.kernels.len()));
    }
    text
}

/// What the source says: formula, shapes, costs.
fn facts(subject: &Subject<'_>, source: &Source) -> String {
    let mut text = String::new();
    match &source.equation {
        Some(equation) => {
            let _ = writeln!(text, "  {}", equation.formula);
            for note in &equation.notes {
                let _ = writeln!(text, "    {note}");
            }
        }
        None => {
            let _ = writeln!(text, "  {}", subject.doc().unwrap_or("moves or joins values"));
        }
    }
    text.push_str("\nshapes\n");
    let width = source.inputs.iter().map(|i| i.0.chars().count()).max().unwrap_or(0).max(6);
    for (name, ty) in &source.inputs {
        let _ = writeln!(text, "  {name:<width$}  {ty}");
    }
    let _ = writeln!(text, "  {:<width$}  {}", "result", source.row.ty);
    for (axis, extent, why) in source.extents.iter().filter(|e| !e.2.is_empty()) {
        let _ = writeln!(text, "    {axis} = {extent}: {why}");
    }
    let sums = &source.row.sums;
    text.push_str("\ncosts\n");
    let fixed =
        if sums.fixed > 0 { format!(", {} kept beside them", grouped(sums.fixed)) } else { String::new() };
    let _ = writeln!(text, "  parameters     {}{fixed}", grouped(sums.params));
    let _ = writeln!(text, "  multiply-adds  {}", grouped(sums.macs));
    let _ = writeln!(
        text,
        "  bytes          {} if nothing is fused, {:.1} operations a byte",
        bytes(sums.bytes),
        sums.intensity()
    );
    if !source.row.field.is_empty() {
        let padded = source.row.field.iter().map(|f| f.touched).fold(0.0, f64::max);
        let edge = if padded > 0.0 {
            format!("; padding reaches {:.0} % of an axis", 100.0 * padded)
        } else {
            String::new()
        };
        let _ = writeln!(text, "  sees           {} positions of the input{edge}", sees(&source.row.field));
    }
    text
}

/// One step with its kernel.
fn step(subject: &Subject<'_>, kernel: &Kernel, of: usize) -> String {
    let when = match kernel.run {
        Some(n) => format!("step {n} of a run"),
        None => "when weights are loaded".to_owned(),
    };
    let mut text = format!("\n{}: {}, {when}\n", kernel.name, kernel.operations.join(" + "));
    let same = subject.explained.source.as_ref().is_some_and(|s| s.equation == kernel.equation);
    if let Some(equation) = kernel.equation.as_ref().filter(|_| !same) {
        let _ = writeln!(text, "  {}", equation.formula);
        for note in &equation.notes {
            let _ = writeln!(text, "    {note}");
        }
    }
    for value in &kernel.values {
        let what = if value.stored { "stores" } else { "reads " };
        let place = if value.in_place {
            format!("{}, where an operand lay", value.place)
        } else {
            value.place.to_owned()
        };
        let _ = writeln!(text, "  {what}   {} {}: {} ({place})", value.name, value.ty, value.layout);
    }
    let _ = writeln!(text, "  kernel   {}", kernel.note);
    for part in &kernel.parts {
        let _ = writeln!(text, "           {}", part.why);
    }
    let _ = match &kernel.writer {
        Writer::Wide { lanes } => {
            writeln!(
                text,
                "  code     vectors of {} bits ({lanes} lanes), {}",
                32 * lanes,
                bytes(kernel.code as u64)
            )
        }
        Writer::Cranelift { why } => {
            writeln!(
                text,
                "  code     Cranelift's, vectors of 128 bits, {}: {why}",
                bytes(kernel.code as u64)
            )
        }
    };
    let parts = if kernel.chunks == 1 {
        "not shared out".to_owned()
    } else {
        format!("up to {} parts for threads", kernel.chunks)
    };
    let scratch = if kernel.scratch > 0 {
        format!(", buffers of its own {}", bytes(kernel.scratch))
    } else {
        String::new()
    };
    let _ = writeln!(text, "  shares   {parts}{scratch}");
    text.push_str(&speeds(subject, kernel));
    if !kernel.others.is_empty() {
        text.push_str("  not chosen\n");
        for other in &kernel.others {
            let times = other
                .cycles
                .as_ref()
                .and_then(|c| Some(subject.seconds(kernel, c)? / subject.seconds(kernel, &kernel.cycles)?));
            let cost = times.map_or(String::new(), |t| format!(" (expected {t:.2} times as long)"));
            let _ = writeln!(text, "           {}: {}{cost}", other.what, other.why);
        }
    }
    // Of many helpers only what they are; the loops of one kernel are read, those of ten are not.
    if kernel.run.is_some() || of <= 2 {
        text.push_str("  loops\n");
        for line in kernel.loops.lines().filter(|l| !l.starts_with("  regs") && !l.starts_with("  vars")) {
            let cut: String = line.chars().take(COLUMNS).collect();
            let more = if cut.len() < line.len() { "…" } else { "" };
            let _ = writeln!(text, "    {cut}{more}");
        }
    }
    text
}

/// Expected and measured.
fn speeds(subject: &Subject<'_>, kernel: &Kernel) -> String {
    let mut text = String::new();
    let rate = |seconds: f64| -> String {
        if kernel.flops == 0 || seconds <= 0.0 {
            return String::new();
        }
        let speed = kernel.flops as f64 / seconds;
        let share = if subject.peak() > 0.0 {
            format!(", {:.0} % of peak", 100.0 * speed / subject.peak())
        } else {
            String::new()
        };
        format!(": {:.1} GFLOP/s{share}", speed / 1e9)
    };
    if let Some(seconds) = subject.seconds(kernel, &kernel.cycles) {
        let _ = writeln!(text, "  expected {}{}", time(seconds), rate(seconds));
        for part in &kernel.parts {
            let whole = subject.seconds(kernel, &[part.cycles]).unwrap_or(0.0);
            let mut list: Vec<(&str, f64)> = part
                .cycles
                .alone()
                .into_iter()
                .filter_map(|(name, c)| Some((name, subject.seconds(kernel, &[c])?)))
                .filter(|(_, s)| *s > 0.01 * whole)
                .collect();
            list.sort_by(|a, b| b.1.total_cmp(&a.1));
            let list: Vec<String> = list.into_iter().map(|(name, s)| format!("{name} {}", time(s))).collect();
            let _ = writeln!(text, "           {}", list.join(", "));
        }
    }
    if let Some(seconds) = subject.measured(kernel) {
        let _ = writeln!(text, "  measured {}{}", time(seconds), rate(seconds));
    }
    text
}
