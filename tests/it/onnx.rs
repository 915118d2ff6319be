//! Conformance cases of the ONNX standard, which we did not write: each is a program in `tests/files/onnx/cases.txt` with its
//! input, weights and expected output in `cases.safetensors`.

use cnnc::formats::safetensors::Weights;
use cnnc::session::{Compiler, Options};

use crate::support::{read, root};

/// Relative to the largest magnitude expected; the standard's own runner allows 1e-3 of each element.
const TOLERANCE: f32 = 1e-5;

/// The worst difference of a case, or what went wrong.
fn run(name: &str, batch: usize, program: &str, arrays: &mut Weights) -> Result<f32, String> {
    let compiler = Compiler::new(Options::default().batch(batch));
    let mut model = compiler.compile_text(program).map_err(|e| e.to_string())?;
    let mut part = |what: &str| {
        let key = format!("{name}/{what}");
        arrays.read(&key).map_err(|e| e.to_string())?.map(|a| a.data).ok_or(format!("{key} is missing"))
    };
    let weights: Vec<String> = model.weights().iter().map(|w| w.name.to_string()).collect();
    for path in weights {
        let value = part(&path)?;
        model.set_weight(&path, value.as_slice().into()).map_err(|e| e.to_string())?;
    }
    let (x, want): (Vec<f32>, Vec<f32>) = (part("x")?, part("y")?);
    let outputs = model.run(&[("x", x.as_slice().into())]).map_err(|e| e.to_string())?;
    let got = outputs["out"].data();
    if got.len() != want.len() {
        return Err(format!("{} elements, {} expected", got.len(), want.len()));
    }
    let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    Ok(got.iter().zip(&want).fold(0.0, |m, (a, b)| (a - b).abs().max(m)) / scale)
}

#[test]
fn conformance_cases_pass() {
    let folder = root().join("tests/files/onnx");
    let mut arrays = Weights::open(&folder.join("cases.safetensors")).expect("a readable file");
    let mut failed = Vec::new();
    let mut count = 0;
    for line in read(&folder.join("cases.txt")).lines().filter(|l| !l.starts_with('#')) {
        let [name, batch, program] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        count += 1;
        match run(name, batch.parse().expect("a number"), program, &mut arrays) {
            Ok(error) if error <= TOLERANCE => {}
            Ok(error) => failed.push(format!("{name}: off by {error:e}: {program}")),
            Err(e) => failed.push(format!("{name}: {e}: {program}")),
        }
    }
    assert!(failed.is_empty(), "{} of {count} cases fail:\n{}", failed.len(), failed.join("\n"));
    assert!(count >= 90, "only {count} cases were found");
}
