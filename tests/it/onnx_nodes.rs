//! ONNX's own conformance cases through the importer: each is a folder with `model.onnx` and `test_data_set_0/*.pb`.
//!
//! A small set is in the repository (`tests/files/onnx/node.zip`) and always runs. `CNNC_ONNX_CASES=DIR[:DIR]` adds whole sets, which are fetched by
//! `apt-get download libonnx-testdata && dpkg-deb -x libonnx-testdata_*.deb td` (then `td/usr/share/libonnx-testdata/data/node`
//! and its neighbours) and `python tests/peers/onnx_cases.py DIR` (the newest operator sets). Every case of a set is either in
//! `tests/files/onnx/passing.txt` and passes, or in `refused.txt` with the reason and is refused; with `CNNC_ONNX_UPDATE=1`
//! both lists are written anew.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use cnnc::formats::onnx::proto::{Model, Tensor, ValueInfo};
use cnnc::formats::onnx::tensor::{Dtype, Raw};
use cnnc::formats::onnx::{ImportOptions, import};
use cnnc::session::{Compiler, Options};
use prost::Message;
use prost::bytes::Bytes;

use crate::support::{read, root};

/// As the standard's own runner, or better.
const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-5;

/// What became of a case.
#[derive(Debug)]
enum Fate {
    Passes,
    Refused(String),
    Fails(String),
}

/// Tensors under the names and element types that the model declares: the generator knows some types only by their bits.
fn tensors(files: &Files, side: &str, ports: &[ValueInfo]) -> Result<Vec<(String, Raw)>, String> {
    let file = |i: usize| files.get(&format!("test_data_set_0/{side}_{i}.pb"));
    let tensor = |(i, port): (usize, &ValueInfo)| {
        let bytes = file(i).cloned().unwrap_or_default();
        let mut tensor = Tensor::decode(Bytes::from(bytes)).map_err(|e| e.to_string())?;
        let declared =
            port.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).ok_or("a value that is no tensor")?;
        tensor.data_type = declared.elem_type;
        Ok((port.name.clone(), Raw::of(&mut tensor, None)?))
    };
    ports.iter().enumerate().filter(|(i, _)| file(*i).is_some()).map(tensor).collect()
}

/// A case's files by their path inside of it.
type Files = BTreeMap<String, Vec<u8>>;

fn case(files: &Files) -> Fate {
    let read = || -> Result<_, String> {
        let bytes = Bytes::from(files.get("model.onnx").cloned().unwrap_or_default());
        let model = Model::decode(bytes.clone()).map_err(|e| e.to_string())?;
        let graph = model.graph.ok_or("no graph")?;
        let outputs = tensors(files, "output", &graph.output)?;
        if outputs
            .iter()
            .any(|(_, o)| o.f64s().iter().any(|x| x.is_finite() && x.abs() > f64::from(f32::MAX)))
        {
            return Err("it expects numbers beyond what 32 bits hold".into());
        }
        Ok((bytes, tensors(files, "input", &graph.input)?, outputs))
    };
    let (bytes, inputs, outputs) = match read() {
        Ok(all) => all,
        Err(e) => return Fate::Refused(format!("the case's own files: {e}")),
    };
    // Shapes, axes and bounds may be inputs: what must be known is handed over beforehand.
    let mut fate = Fate::Refused("no outputs".into());
    for given in [0, 1, 2] {
        let free = |i: usize| match given {
            0 => true,
            1 => i == 0,
            _ => false,
        };
        fate = run(&bytes, &inputs, &outputs, &free);
        match &fate {
            Fate::Refused(_) => {}
            Fate::Passes | Fate::Fails(_) => break,
        }
    }
    fate
}

fn run(
    bytes: &Bytes,
    inputs: &[(String, Raw)],
    outputs: &[(String, Raw)],
    free: &dyn Fn(usize) -> bool,
) -> Fate {
    let at_run: Vec<&(String, Raw)> =
        inputs.iter().enumerate().filter(|(i, _)| free(*i)).map(|(_, t)| t).collect();
    let known = inputs.iter().enumerate().filter(|(i, _)| !free(*i)).map(|(_, t)| t.clone()).collect();
    let shapes = at_run.iter().map(|(name, raw)| (name.clone(), raw.dims.clone())).collect();
    let options = ImportOptions { shapes, known, ..ImportOptions::default() };
    let graph = match import(bytes.clone(), &options) {
        Ok(imported) => imported.graph,
        Err(e) => return Fate::Refused(e.to_string()),
    };
    let compiler = Compiler::new(Options::default().threads(1));
    let model = match compiler.compile_graph(graph) {
        Ok(model) => model,
        Err(e) => return Fate::Fails(e.to_string()),
    };
    let data: Vec<Vec<f32>> = at_run.iter().map(|(_, raw)| raw.f32s()).collect();
    let given: Vec<_> =
        at_run.iter().zip(&data).map(|((name, _), data)| (name.as_str(), data.as_slice().into())).collect();
    let results = match model.run(&given) {
        Ok(results) => results,
        Err(e) => return Fate::Fails(e.to_string()),
    };
    for (name, expected) in outputs {
        let Some(found) = results.get(name) else { return Fate::Fails(format!("no output `{name}`")) };
        if found.dims() != expected.dims {
            return Fate::Fails(format!(
                "`{name}` has extents {:?}, expected are {:?}",
                found.dims(),
                expected.dims
            ));
        }
        // Expected results in 16 bits were rounded to them on the way; here all is computed in 32.
        let rtol = if matches!(expected.dtype, Dtype::Bf16) { 1e-2 } else { RTOL };
        for (i, (f, e)) in found.data().iter().zip(expected.f64s()).enumerate() {
            let f = f64::from(*f);
            let near = f == e || (f.is_nan() && e.is_nan()) || (f - e).abs() <= ATOL + rtol * e.abs();
            if !near {
                return Fate::Fails(format!("`{name}`: element {i} is {f}, not {e}"));
            }
        }
    }
    Fate::Passes
}

/// The cases of a set that lies as folders.
fn folders(set: &Path) -> Vec<(String, Files)> {
    let Ok(entries) = std::fs::read_dir(set) else { panic!("{} is no folder", set.display()) };
    let mut all: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.join("model.onnx").exists()).collect();
    all.sort();
    let files = |folder: PathBuf| {
        let mut files = Files::new();
        for (inside, prefix) in [(folder.clone(), ""), (folder.join("test_data_set_0"), "test_data_set_0/")] {
            for entry in std::fs::read_dir(inside).into_iter().flatten().flatten() {
                if let Ok(bytes) = std::fs::read(entry.path()) {
                    files.insert(format!("{prefix}{}", entry.file_name().to_string_lossy()), bytes);
                }
            }
        }
        (folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(), files)
    };
    all.into_iter().map(files).collect()
}

/// The cases of the set in the repository.
fn committed() -> Vec<(String, Files)> {
    let file = std::fs::File::open(root().join("tests/files/onnx/node.zip")).expect("a file");
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let mut cases: BTreeMap<String, Files> = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).expect("an entry");
        let path = entry.name().expect("a name").into_owned();
        let (case, inside) = path.split_once('/').expect("a file in a case's folder");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a sound entry");
        cases.entry(case.to_owned()).or_default().insert(inside.to_owned(), bytes);
    }
    cases.into_iter().collect()
}

/// What becomes of every case, by name; sets may share names.
fn fates(cases: impl Iterator<Item = (String, Files)>) -> BTreeMap<String, Vec<Fate>> {
    let mut out: BTreeMap<String, Vec<Fate>> = BTreeMap::new();
    for (name, files) in cases {
        out.entry(name).or_default().push(case(&files));
    }
    out
}

fn list(file: &str) -> BTreeMap<String, String> {
    let line = |l: &str| match l.split_once('\t') {
        Some((name, reason)) => (name.to_owned(), reason.to_owned()),
        None => (l.to_owned(), String::new()),
    };
    read(&root().join("tests/files/onnx").join(file))
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(line)
        .collect()
}

#[test]
fn the_committed_cases_pass() {
    let fates = fates(committed().into_iter());
    let passing = list("passing.txt");
    let mut wrong = Vec::new();
    for (name, fates) in &fates {
        for fate in fates {
            match fate {
                Fate::Passes if passing.contains_key(name) => {}
                other => wrong.push(format!("{name}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fates.len(), wrong.join("\n"));
    assert!(fates.len() >= 100, "only {} cases were found", fates.len());
}

#[test]
fn whole_sets_where_they_were_fetched() {
    let Some(sets) = std::env::var_os("CNNC_ONNX_CASES") else { return };
    let sets: Vec<PathBuf> = std::env::split_paths(&sets).collect();
    let fates = fates(sets.iter().flat_map(|s| folders(s)));
    if std::env::var_os("CNNC_ONNX_UPDATE").is_some() {
        return update(&fates);
    }
    let (passing, refused) = (list("passing.txt"), list("refused.txt"));
    let mut wrong = Vec::new();
    for (name, fates) in &fates {
        for fate in fates {
            let held = match fate {
                Fate::Passes => passing.contains_key(name),
                Fate::Refused(reason) => refused.get(name) == Some(reason),
                Fate::Fails(_) => false,
            };
            if !held {
                wrong.push(format!("{name}: {fate:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fates.len(), wrong.join("\n"));
}

/// Writes the lists from what was found; a case that fails is in neither.
fn update(fates: &BTreeMap<String, Vec<Fate>>) {
    let mut passing = String::from("# Conformance cases that pass; see tests/it/onnx_nodes.rs.\n");
    let mut refused = String::from("# Conformance cases that are refused, and why.\n");
    let mut failing = Vec::new();
    for (name, fates) in fates {
        match fates
            .iter()
            .max_by_key(|f| matches!(f, Fate::Fails(_)) as u8 * 2 + matches!(f, Fate::Refused(_)) as u8)
        {
            Some(Fate::Passes) => passing += &format!("{name}\n"),
            Some(Fate::Refused(reason)) => refused += &format!("{name}\t{reason}\n"),
            Some(Fate::Fails(reason)) => failing.push(format!("{name}: {reason}")),
            None => {}
        }
    }
    let at = root().join("tests/files/onnx");
    std::fs::write(at.join("passing.txt"), passing).expect("a folder to write to");
    std::fs::write(at.join("refused.txt"), refused).expect("a folder to write to");
    assert!(failing.is_empty(), "{} fail:\n{}", failing.len(), failing.join("\n"));
}
