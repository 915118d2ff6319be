//! Networks written as ONNX models and read back compute the same: every example of the catalogue of operations, the programs of
//! `examples/`, and imported models, whose operations the language has no names for. `tests/peers/onnx_export.py` holds the
//! written files against the `onnx` checker and ONNX Runtime.

use cnnc::formats::onnx::export::{OPSETS, export};
use cnnc::formats::onnx::{ImportOptions, import};
use cnnc::graph::Graph;
use cnnc::ops::infos;
use cnnc::session::{Compiler, Files, Model, NoFiles, Options};
use cnnc::support::random::Random;
use cnnc::tensor::owned::Tensor;

use crate::support::{files, read, relative, root};

fn inputs(model: &Model) -> Vec<(String, Tensor)> {
    let input = |p: &cnnc::session::Port| {
        let random = Random::new(7, &p.name);
        let data = (0..p.len() as u64).map(|k| random.uniform(k, -1.0, 1.0)).collect();
        (p.name.to_string(), Tensor::new(&p.axes, data).expect("fits"))
    };
    model.inputs().iter().map(input).collect()
}

/// The largest difference between a graph and what its export computes, relative to the largest magnitude.
fn round_trip(graph: &Graph, opset: i64) -> Result<f32, String> {
    let compiler = Compiler::new(Options::default().threads(1));
    let model = compiler.compile_graph(graph.clone()).map_err(|e| e.to_string())?;
    let weights = |name: &str| model.weight(name).ok().flatten().map(|t| t.into_data());
    let exported = export(graph, &weights, opset).map_err(|e| e.to_string())?;
    let again = import(exported.bytes.into(), &ImportOptions::default()).map_err(|e| e.to_string())?.graph;
    let second = compiler.compile_graph(again).map_err(|e| e.to_string())?;
    let given = inputs(&model);
    let views: Vec<_> = given.iter().map(|(n, t)| (n.as_str(), t.view())).collect();
    let by_place: Vec<_> = given.iter().map(|(n, t)| (n.as_str(), t.data().into())).collect();
    let (a, b) = (model.run(&views), second.run(&by_place));
    let (a, b) = (a.map_err(|e| e.to_string())?, b.map_err(|e| e.to_string())?);
    let mut worst = 0.0f32;
    for (name, expected) in a.iter() {
        let found = b.get(name).ok_or_else(|| format!("no output `{name}`"))?;
        if found.dims() != expected.dims() {
            return Err(format!("`{name}` is {:?}, not {:?}", found.dims(), expected.dims()));
        }
        let scale = expected.data().iter().fold(1e-6f32, |m, x| m.max(x.abs()));
        let far = expected.data().iter().zip(found.data()).fold(0.0f32, |m, (e, f)| {
            let same = e == f || (e.is_nan() && f.is_nan());
            if same { m } else { m.max(if (e - f).is_nan() { f32::INFINITY } else { (e - f).abs() }) }
        });
        worst = worst.max(far / scale);
    }
    Ok(worst)
}

fn check(name: &str, graph: &Graph, opset: i64, wrong: &mut Vec<String>) {
    match round_trip(graph, opset) {
        Ok(error) if error <= 1e-5 => {}
        Ok(error) => wrong.push(format!("{name}: off by {error:e}")),
        Err(e) => wrong.push(format!("{name}: {e}")),
    }
}

/// Operations that only losses are made of: no model that runs has them.
fn only_for_training(error: &str) -> bool {
    error.contains("(loss)") || error.contains("(cross_entropy)")
}

#[test]
fn every_example_of_an_operation_comes_back() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for info in infos() {
        let checked = Compiler::new(Options::default().batch(2)).check("example", info.example, &NoFiles);
        for net in &checked.program.nets {
            for opset in [*OPSETS.start(), 17, *OPSETS.end()] {
                check(&format!("{} ({opset})", info.name), &net.graph, opset, &mut wrong);
                count += 1;
            }
        }
    }
    wrong.retain(|e| !only_for_training(e));
    assert!(count >= 150, "only {count} were tried");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn example_programs_and_imported_models_come_back() {
    let mut wrong = Vec::new();
    for path in files("examples", ".cnn") {
        let name = relative(&path);
        let checked = Compiler::new(Options::default()).check(&path.to_string_lossy(), &read(&path), &Files);
        for net in checked.program.nets.iter().filter(|_| !checked.has_errors()) {
            // Large ones take their time in every test that runs them.
            let size: usize = net.graph.values.iter().map(|v| v.ty.len()).sum();
            if size < 4_000_000 {
                check(&name, &net.graph, 17, &mut wrong);
            }
        }
    }
    for (file, shape) in [
        ("attend_script", &[2usize, 3, 16, 16][..]),
        ("segment_dynamo", &[1, 3, 16, 18]),
        ("last_script", &[1, 13, 16, 3]),
    ] {
        let bytes =
            std::fs::read(root().join(format!("tests/files/onnx/models/{file}.onnx"))).expect("a fixture");
        let options =
            ImportOptions { shapes: vec![("x".into(), shape.to_vec())], ..ImportOptions::default() };
        let graph = import(bytes.into(), &options).expect("it is imported elsewhere").graph;
        check(file, &graph, 17, &mut wrong);
    }
    wrong.retain(|e| !only_for_training(e));
    assert!(wrong.is_empty(), "{} fail:\n{}", wrong.len(), wrong.join("\n"));
}
