//! Weights from files into a model and into files: safetensors and NumPy's `.npz`, names changed on the way (`--map`), what does not fit shown
//! side by side, and a word where a file was written for another architecture.

pub(super) mod show;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use super::out::{Failure, Out};
use crate::formats::safetensors::{self, FINGERPRINT, Weights};
use crate::formats::{FormatError, HostArray, npz};
use crate::session::{Model, WeightProblem, WeightSource};
use crate::support::codes;

/// Elements of an archive that are read at most: more than any network has weights.
const ELEMENTS_MAX: usize = 1 << 33;

/// A file's weights under the names that the network has for them.
struct Renamed {
    file: Box<dyn WeightSource>,
    /// The network's name for each of the file's.
    names: Vec<(String, String)>,
}

impl WeightSource for Renamed {
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let name = |old: String| self.names.iter().find(|n| n.0 == old).map_or(old, |n| n.1.clone());
        self.file.shapes().into_iter().map(|(old, dims)| (name(old), dims)).collect()
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let old = self.names.iter().find(|n| n.1 == name).map_or(name, |n| &n.0);
        self.file.read(old)
    }
}

/// The arrays of an archive.
struct Archive(BTreeMap<String, HostArray>);

impl WeightSource for Archive {
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.0.iter().map(|(name, a)| (name.clone(), a.dims.clone())).collect()
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
        self.0.remove(name).map(|a| a.data).ok_or_else(|| format!("there is no `{name}`").into())
    }
}

/// Loads a file into a model. `map` are the names to change, `OLD=NEW`; a `*` at both ends stands for the rest of a name.
///
/// # Errors
/// Exit code 2 for a file that cannot be read, 1 for weights that do not fit, which is said.
pub(super) fn load(
    model: &mut Model,
    path: &Path,
    map: &[(String, String)],
    out: Out,
) -> Result<(), Failure> {
    let file = open(model, path, out)?;
    let names = renamed(&file.shapes(), map, path)?;
    let mut source = Renamed { file, names };
    let Err(error) = model.load_weights(&mut source) else { return Ok(()) };
    const SHOWN: usize = 12;
    for problem in error.problems.iter().take(SHOWN) {
        out.error(Some(problem.code()), &format!("{}: {problem}", path.display()));
    }
    if error.problems.len() > SHOWN {
        out.remark(&format!("and {} more\n", error.problems.len() - SHOWN));
    }
    out.remark(&side_by_side(model, &source));
    let unread = |p: &WeightProblem| matches!(p, WeightProblem::Read { .. } | WeightProblem::Memory(_));
    if error.problems.iter().any(unread) {
        Err(Failure::Unusable(format!("{}: no weights", path.display())))
    } else {
        Err(Failure::said())
    }
}

fn open(model: &Model, path: &Path, out: Out) -> Result<Box<dyn WeightSource>, Failure> {
    let (weights, fingerprint) = open_noted(path)?;
    if fingerprint.is_some_and(|theirs| theirs != model.fingerprint()) {
        out.remark(&format!(
            "warning: {} was written for another architecture: layers, their order or their arguments differ\n",
            path.display()
        ));
    }
    Ok(weights)
}

/// A file's weights, whatever they are for.
pub(super) fn open_file(path: &Path) -> Result<Box<dyn WeightSource>, Failure> {
    open_noted(path).map(|(weights, _)| weights)
}

/// The same with the fingerprint of the architecture that they were written for, where the file has one.
fn open_noted(path: &Path) -> Result<(Box<dyn WeightSource>, Option<String>), Failure> {
    if !is_archive(path) {
        let weights = Weights::open(path).map_err(|e| unread(path, e))?;
        let fingerprint = weights.note(FINGERPRINT).map(str::to_owned);
        return Ok((Box::new(weights), fingerprint));
    }
    let file = File::open(path).map_err(|e| Failure::io(path.display(), &e))?;
    let (arrays, comment) =
        npz::read_with(BufReader::new(file), ELEMENTS_MAX).map_err(|e| unread(path, e))?;
    let fingerprint = comment.strip_prefix(FINGERPRINT).and_then(|rest| rest.strip_prefix('='));
    Ok((Box::new(Archive(arrays.into_iter().collect())), fingerprint.map(str::to_owned)))
}

/// Writes weights (name, extents, elements) for the architecture of this fingerprint, in the form that the file's name ends in.
///
/// # Errors
/// Exit code 2 for a file that cannot be written.
pub(super) fn save(
    path: &Path,
    tensors: &[(&str, &[usize], &[f32])],
    fingerprint: Option<&str>,
) -> Result<(), Failure> {
    let file = File::create(path).map_err(|e| Failure::io(path.display(), &e))?;
    let mut file = BufWriter::new(file);
    let written = if is_archive(path) {
        let comment = fingerprint.map(|f| format!("{FINGERPRINT}={f}")).unwrap_or_default();
        npz::write(&mut file, tensors, &comment)
    } else {
        let notes = fingerprint.map(|f| (FINGERPRINT.to_owned(), f.to_owned()));
        safetensors::write_with(&mut file, tensors, &notes.into_iter().collect())
    };
    written.map_err(|e| Failure::Unusable(format!("{}: {e}", path.display())))
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
}

fn unread(path: &Path, error: FormatError) -> Failure {
    match error {
        FormatError::Io(error) => Failure::io(path.display(), &error),
        other @ (FormatError::Malformed { .. }
        | FormatError::Unsupported { .. }
        | FormatError::Mismatch(_)) => Failure::Coded(codes::E0502, format!("{}: {other}", path.display())),
    }
}

/// For each of the file's names that is changed the new one.
fn renamed(
    shapes: &[(String, Vec<usize>)],
    map: &[(String, String)],
    path: &Path,
) -> Result<Vec<(String, String)>, Failure> {
    let mut names = Vec::new();
    for (old, new) in map {
        let before = names.len();
        for (name, _) in shapes {
            let changed = match (old.strip_suffix('*'), new.strip_suffix('*')) {
                (Some(old), Some(new)) => name.strip_prefix(old).map(|rest| format!("{new}{rest}")),
                _ => (name == old).then(|| new.clone()),
            };
            if let Some(changed) = changed.filter(|_| !names.iter().any(|(n, _)| n == name)) {
                names.push((name.clone(), changed));
            }
        }
        if names.len() == before {
            return Err(Failure::Unusable(format!(
                "--map {old}={new}: {} has no such weight",
                path.display()
            )));
        }
    }
    Ok(names)
}

/// The network's weights beside the file's, where they differ.
fn side_by_side(model: &Model, source: &Renamed) -> String {
    const ROWS: usize = 40;
    let theirs: BTreeMap<String, Vec<usize>> = source.shapes().into_iter().collect();
    let ours: Vec<(String, Vec<usize>)> =
        model.weights().into_iter().map(|w| (w.name, w.axes.iter().map(|a| a.1).collect())).collect();
    let show = |dims: Option<&Vec<usize>>| dims.map_or("—".to_owned(), |d| format!("{d:?}"));
    let mut rows: Vec<(String, String, String)> = Vec::new();
    for (name, dims) in &ours {
        if theirs.get(name) != Some(dims) {
            rows.push((name.clone(), show(Some(dims)), show(theirs.get(name))));
        }
    }
    for (name, dims) in theirs.iter().filter(|(n, _)| !ours.iter().any(|(o, _)| o == *n)) {
        rows.push((name.clone(), show(None), show(Some(dims))));
    }
    let width = rows.iter().map(|r| r.0.chars().count()).max().unwrap_or(0);
    let middle = rows.iter().map(|r| r.1.chars().count()).max().unwrap_or(0).max("network".len());
    let mut text = format!("\n{:width$}  {:middle$}  file\n", "weight", "network");
    for (name, network, file) in rows.iter().take(ROWS) {
        text.push_str(&format!("{name:width$}  {network:middle$}  {file}\n"));
    }
    if rows.len() > ROWS {
        text.push_str(&format!("and {} more\n", rows.len() - ROWS));
    }
    text
}
