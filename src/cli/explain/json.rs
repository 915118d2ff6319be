//! The same for programs; `schema` changes when a field changes its meaning.

use serde_json::{Value, json};

use super::layer::Subject;
use crate::ops::equation::Equation;
use crate::session::explain::Kernel;
use crate::session::{Model, Writer};
use crate::tensor::ty::TensorTy;

/// The names of layers and steps.
pub(super) fn list(model: &Model) -> String {
    let layers: Vec<Value> = model
        .report()
        .layers
        .iter()
        .map(|l| json!({ "name": l.row.name, "operation": l.row.kind, "output": axes(&l.row.ty), "kernel": l.kernel }))
        .collect();
    let steps: Vec<Value> =
        model.step_notes().map(|(name, note)| json!({ "name": name, "kernel": note })).collect();
    format!("{:#}\n", json!({ "schema": 1, "net": model.name(), "layers": layers, "steps": steps }))
}

pub(super) fn layer(subject: &Subject<'_>) -> String {
    let explained = &subject.explained;
    let source = explained.source.as_ref().map(|s| {
        let sums = &s.row.sums;
        let field: Vec<Value> =
            s.row.field.iter().map(|f| json!({ "axis": &*f.axis, "reach": f.reach })).collect();
        let inputs: Vec<Value> =
            s.inputs.iter().map(|(name, ty)| json!({ "name": name, "shape": axes(ty) })).collect();
        let extents: Vec<Value> =
            s.extents.iter().map(|(a, e, why)| json!({ "axis": a, "extent": e, "why": why })).collect();
        json!({
            "operation": subject.what(), "equation": s.equation.as_ref().map(equation), "does": subject.doc(),
            "inputs": inputs, "output": extents, "parameters": sums.params, "fixed_parameters": sums.fixed,
            "multiply_adds": sums.macs, "flops": sums.flops, "bytes": sums.bytes, "receptive_field": field,
        })
    });
    let kernels: Vec<Value> = explained.kernels.iter().map(|k| kernel(subject, k)).collect();
    let value = json!({
        "schema": 1, "net": &*subject.net.name, "layer": explained.name, "pass": subject.pass, "batch": subject.batch,
        "threads": subject.threads, "cpu": subject.cpu, "peak_gflops": subject.peak() / 1e9,
        "source": source, "passes": explained.history, "steps": kernels,
    });
    format!("{value:#}\n")
}

fn axes(ty: &TensorTy) -> Vec<Value> {
    ty.names().iter().zip(ty.dims()).map(|(n, d)| json!([&**n, d])).collect()
}

fn equation(e: &Equation) -> Value {
    json!({ "formula": e.formula, "notes": e.notes })
}

fn kernel(subject: &Subject<'_>, k: &Kernel) -> Value {
    let ms = |seconds: Option<f64>| seconds.map(|s| s * 1e3);
    let gflops = |seconds: Option<f64>| seconds.filter(|s| *s > 0.0).map(|s| k.flops as f64 / s / 1e9);
    let (expected, measured) = (subject.seconds(k, &k.cycles), subject.measured(k));
    let (lanes, refused) = match &k.writer {
        Writer::Wide { lanes } => (*lanes, None),
        Writer::Cranelift { why } => (4, Some(why.clone())),
    };
    let values: Vec<Value> = k
        .values
        .iter()
        .map(|v| json!({ "name": v.name, "shape": axes(&v.ty), "layout": v.layout, "place": v.place, "stored": v.stored, "in_place": v.in_place }))
        .collect();
    let parts: Vec<Value> = k
        .parts
        .iter()
        .map(|p| {
            let alone = p.cycles.alone().into_iter();
            let expected: serde_json::Map<String, Value> = alone
                .map(|(name, c)| (name.replace(' ', "_"), ms(subject.seconds(k, &[c])).into()))
                .collect();
            json!({ "kernel": p.note, "why": p.why, "plan": p.plan, "expected_ms": expected })
        })
        .collect();
    let others: Vec<Value> = k
        .others
        .iter()
        .map(|o| json!({ "what": o.what, "why": o.why, "expected_ms": ms(o.cycles.as_ref().and_then(|c| subject.seconds(k, c))) }))
        .collect();
    json!({
        "name": k.name, "step": k.run, "operations": k.operations, "equation": k.equation.as_ref().map(equation),
        "values": values, "kernel": k.note, "parts": parts, "lanes": lanes, "wide_refused": refused, "chunks": k.chunks,
        "scratch_bytes": k.scratch, "code_bytes": k.code, "flops": k.flops, "expected_ms": ms(expected),
        "expected_gflops": gflops(expected), "measured_ms": ms(measured), "measured_gflops": gflops(measured),
        "not_chosen": others, "loops": k.loops,
    })
}
