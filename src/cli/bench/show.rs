//! A measurement as text, as JSON, and as a trace.

use super::Row;
use super::measure::{Measured, Step, quantile};
use crate::cli::table::{Align, Table, bytes, grouped, time};
use crate::session::profile::{StepTime, expected};

/// Lines for a reader.
pub(super) fn text(row: &Row) -> String {
    let m = &row.measured;
    let flops = m.flops();
    let speed =
        |seconds: f64| format!("{:.1} GFLOP/s, {}", flops as f64 / seconds / 1e9, share(row, flops, seconds));
    let core = m.core();
    format!(
        "{}: {}, batch {}, {} thread{}, cpu {}, fp32\n\
         {} runs: min {}, median {}, p90 {}; {} floating-point operations\n\
         whole run     {:>10}  {}\n\
         without edges {:>10}  {}\n\
         peak {:.1} GFLOP/s, arena {}, compiled in {:.1} ms\n",
        row.name,
        row.pass,
        row.batch,
        row.threads,
        if row.threads == 1 { "" } else { "s" },
        row.cpu,
        grouped(m.runs.len() as u64),
        time(m.quantile(0.0)),
        time(m.quantile(0.5)),
        time(m.quantile(0.9)),
        grouped(flops),
        time(m.quantile(0.0)),
        speed(m.quantile(0.0)),
        time(core),
        speed(core),
        row.peak / 1e9,
        bytes(row.arena as u64),
        row.compile.as_secs_f64() * 1e3,
    )
}

/// A table of steps, longest first left to the reader: they stand in the order they run.
pub(super) fn profile(row: &Row) -> String {
    let right = Align::Right;
    let mut table = Table::new(&[
        ("step", Align::Left),
        ("kernel", Align::Left),
        ("time", right),
        ("expected", right),
        ("share", right),
        ("GFLOP/s", right),
        ("of peak", right),
    ]);
    let total: f64 = row.measured.steps.iter().map(|s| s.times[0]).sum();
    for Step { step, times } in &row.measured.steps {
        let seconds = times[0];
        let some = step.flops > 0 && seconds > 0.0;
        table.row(vec![
            step.name.clone(),
            step.note.clone(),
            time(seconds),
            expect(row, step).map_or(String::new(), time),
            format!("{:.1} %", 100.0 * seconds / total.max(f64::MIN_POSITIVE)),
            if some { format!("{:.1}", step.flops as f64 / seconds / 1e9) } else { String::new() },
            if some { share(row, step.flops, seconds) } else { String::new() },
        ]);
    }
    format!("\n{}", table.render())
}

/// The seconds that the cost model expects of a step.
fn expect(row: &Row, step: &StepTime) -> Option<f64> {
    expected(&step.cycles, step.lanes, step.chunks, &row.peaks, row.threads)
}

/// One object on one line; `schema` changes when a field changes its meaning.
pub(super) fn json(row: &Row, profile: bool) -> String {
    let m = &row.measured;
    let ms = |seconds: f64| seconds * 1e3;
    let flops = m.flops();
    let mut value = serde_json::json!({
        "schema": 1,
        "name": row.name,
        "pass": row.pass,
        "batch": row.batch,
        "threads": row.threads,
        "cpu": row.cpu,
        "precision": "fp32",
        "runs": m.runs.len(),
        "min_ms": ms(m.quantile(0.0)),
        "median_ms": ms(m.quantile(0.5)),
        "p90_ms": ms(m.quantile(0.9)),
        "core_ms": ms(m.core()),
        "flops": flops,
        "gflops": flops as f64 / m.quantile(0.0) / 1e9,
        "peak_gflops": row.peak / 1e9,
        "arena_bytes": row.arena,
        "compile_ms": ms(row.compile.as_secs_f64()),
    });
    if profile {
        let step = |s: &Step| {
            let Step { step, times } = s;
            serde_json::json!({
                "name": step.name, "kernel": step.note, "chunks": step.chunks, "layout_only": step.moves,
                "runs": times.len(), "min_ms": ms(times[0]), "median_ms": ms(quantile(times, 0.5)),
                "p90_ms": ms(quantile(times, 0.9)), "expected_ms": expect(row, step).map(ms), "flops": step.flops,
                "gflops": step.flops as f64 / times[0].max(1e-9) / 1e9, "peak_gflops": row.peak / 1e9,
            })
        };
        value["steps"] = m.steps.iter().map(step).collect();
    }
    format!("{value}\n")
}

/// The steps one after another, in the JSON form of Chrome's trace events; times in microseconds.
pub(super) fn trace(m: &Measured) -> String {
    let mut begin = 0.0;
    let events: Vec<serde_json::Value> = m
        .steps
        .iter()
        .map(|s| {
            let length = s.times[0] * 1e6;
            let s = &s.step;
            let event = serde_json::json!({
                "name": s.name, "ph": "X", "ts": begin, "dur": length, "pid": 1, "tid": 1,
                "args": { "kernel": s.note, "chunks": s.chunks, "flops": s.flops },
            });
            begin += length;
            event
        })
        .collect();
    format!("{}\n", serde_json::json!({ "displayTimeUnit": "ns", "traceEvents": events }))
}

/// The share of the peak that `flops` in `seconds` reach.
fn share(row: &Row, flops: u64, seconds: f64) -> String {
    if row.peak > 0.0 { format!("{:.0} %", 100.0 * flops as f64 / seconds / row.peak) } else { String::new() }
}
