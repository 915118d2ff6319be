//! `cnnc compile`: a table of the network's layers with what each costs and how it is computed, or one of the compiler's
//! stages as text. What is written ahead of time is the business of [`object`].

use std::fmt::Write as _;

use super::args::{Compile, Emit};
use super::check;
use super::layers;
use super::object;
use super::out::{Failure, Out};
use super::table::{bytes, grouped};
use crate::session::tune::Change;
use crate::session::{self, Checked, Compiler, Model, Network, Report};

pub(super) fn run(args: &Compile, out: Out) -> Result<(), Failure> {
    if object::is_wanted(args) {
        return object::run(args, out);
    }
    let path = match args.output.as_slice() {
        [] => None,
        [path] => Some(path),
        [..] => {
            let message = "several `-o` need names that end in .o, .a, .so or .h".to_owned();
            return Err(Failure::Unusable(message));
        }
    };
    let compiler = Compiler::new(check::targeted(&args.program, &args.target, 0)?);
    let checked = check::checked(&compiler, &args.file, &args.program, out)?;
    let net = check::network(&checked, &args.program, &args.file)?;
    let text = match args.emit {
        Some(Emit::Ast) => checked.dump_ast(),
        Some(emit) => emitted(&check::model(&compiler, &checked, net, out)?, emit, &checked),
        None => {
            let model = check::model(&compiler, &checked, net, out)?;
            let report = model.report();
            if args.json { json(&report, net, &compiler) } else { text(&report, net, &compiler) }
        }
    };
    match path {
        Some(path) if path.as_os_str() != "-" => {
            std::fs::write(path, text).map_err(|e| Failure::io(path.display(), &e))
        }
        Some(_) | None => out.print(text),
    }
}

fn emitted(model: &Model, emit: Emit, checked: &Checked) -> String {
    match emit {
        Emit::Ast => checked.dump_ast(),
        Emit::Graph => model.dump(session::Emit::Graph),
        Emit::Loops => model.dump(session::Emit::Loops),
        Emit::Clif => model.dump(session::Emit::Clif),
        Emit::Asm => model.dump(session::Emit::Asm),
        Emit::Plan => model.dump(session::Emit::Plan),
        Emit::Dot => model.dump(session::Emit::Dot),
    }
}

/// The report for a reader.
fn text(report: &Report, net: &Network, compiler: &Compiler) -> String {
    let options = compiler.options();
    let threads =
        if options.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", options.threads) };
    let mut text = format!(
        "{}, batch {}, cpu {}, {threads}\n\n",
        check::signature(net),
        net.graph.batch().unwrap_or(options.batch),
        options.isa.name()
    );
    text.push_str(&layers::compiled(net, report).render());
    let sizes = &report.sizes;
    let _ = writeln!(
        text,
        "\n{} floating-point operations, {} moved if nothing were fused",
        grouped(report.facts.total.flops),
        bytes(report.facts.total.bytes)
    );
    let _ = writeln!(
        text,
        "arena {} (lower bound {}), weights {}, code {} in {} step{}",
        bytes(sizes.arena as u64),
        bytes(sizes.arena_bound as u64),
        bytes(sizes.weights as u64),
        bytes(sizes.code as u64),
        sizes.steps,
        if sizes.steps == 1 { "" } else { "s" }
    );
    for change in &report.tuned.changes {
        let Change { name, from, to, gain } = change;
        let _ = writeln!(text, "tuned {name}: {to} instead of {from}, {:.0} % less time", 100.0 * gain);
    }
    let total: f64 = report.phases.iter().map(|p| p.1.as_secs_f64()).sum();
    let phases: Vec<String> =
        report.phases.iter().map(|(name, time)| format!("{name} {:.1}", time.as_secs_f64() * 1e3)).collect();
    let _ = writeln!(text, "compiled in {:.1} ms: {}", total * 1e3, phases.join(", "));
    text
}

/// The report for a program; `schema` changes when a field changes its meaning.
fn json(report: &Report, net: &Network, compiler: &Compiler) -> String {
    let options = compiler.options();
    let rows: Vec<_> = report
        .layers
        .iter()
        .map(|layer| {
            let row = &layer.row;
            let axes: Vec<_> =
                row.ty.names().iter().zip(row.ty.dims()).map(|(n, d)| serde_json::json!([&**n, d])).collect();
            let field: Vec<_> = row
                .field
                .iter()
                .map(|f| {
                    serde_json::json!({
                        "axis": &*f.axis, "reach": f.reach, "jump": [f.jump.0, f.jump.1],
                        "first_centre": f.first_centre, "touched_by_padding": f.touched,
                    })
                })
                .collect();
            serde_json::json!({
                "name": row.name, "operation": &*net.trace(row.value).what, "output": axes, "parameters": row.sums.params,
                "fixed_parameters": row.sums.fixed, "multiply_adds": row.sums.macs, "flops": row.sums.flops,
                "bytes": row.sums.bytes, "receptive_field": field, "kernel": layer.kernel,
            })
        })
        .collect();
    let phases: serde_json::Map<String, serde_json::Value> =
        report.phases.iter().map(|(name, time)| ((*name).to_owned(), time.as_secs_f64().into())).collect();
    let tuned: Vec<_> = report
        .tuned
        .changes
        .iter()
        .map(|c| serde_json::json!({ "name": c.name, "from": c.from, "to": c.to, "gain": c.gain }))
        .collect();
    let total = &report.facts.total;
    let value = serde_json::json!({
        "schema": 1,
        "net": &*net.name,
        "signature": check::signature(net),
        "batch": net.graph.batch().unwrap_or(options.batch),
        "cpu": options.isa.name(),
        "threads": options.threads,
        "layers": rows,
        "total": {
            "parameters": total.params, "fixed_parameters": total.fixed, "multiply_adds": total.macs,
            "flops": total.flops, "bytes": total.bytes,
        },
        "arena_bytes": report.sizes.arena,
        "arena_bytes_lower_bound": report.sizes.arena_bound,
        "weight_bytes": report.sizes.weights,
        "code_bytes": report.sizes.code,
        "steps": report.sizes.steps,
        "phase_seconds": phases,
        "tuned": tuned,
    });
    format!("{value:#}\n")
}
