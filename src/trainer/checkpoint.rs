//! Checkpoints: everything that a training needs to go on as if it had never stopped, in one safetensors file.
//!
//! Tensors are the step's weights, slots, statistics and averages under their names. The file's metadata hold the place in the
//! data, the number of updates, the history, and a fingerprint of what is trained, so that no checkpoint is taken for
//! another's. Numbers of the history stand as bits: they come back as they were.
//!
//! A file appears whole or not at all: it is written beside its place, flushed to the disk, and moved there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::TrainError;
use super::metric::Figure;
use super::run::{Epoch, Measured};
use crate::formats::FormatError;
use crate::formats::safetensors::{self, Weights};

/// The form of the metadata; another number is another form.
const FORM: u64 = 1;
/// The key of the metadata.
const KEY: &str = "cnnc.training";

/// Where a training stands at the end of an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Epochs done.
    pub epoch: u64,
    /// Batches done, in all epochs.
    pub batches: u64,
    /// Updates of weights done.
    pub updates: u64,
    /// The history, an entry an epoch.
    pub history: Vec<Epoch>,
}

/// A tensor by name: extents and elements.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn file(path: &Path, error: impl Into<FormatError>) -> TrainError {
    TrainError::File { path: path.to_owned(), error: error.into() }
}

/// Writes a checkpoint, atomically.
///
/// # Errors
/// [`TrainError::File`].
pub fn write(path: &Path, tensors: &Tensors, state: &State, fingerprint: &str) -> Result<(), TrainError> {
    let notes = BTreeMap::from([(KEY.to_owned(), to_json(state, fingerprint).to_string())]);
    write_noted(path, tensors, &notes)
}

/// Writes tensors with texts by name in the file's metadata, atomically.
///
/// # Errors
/// [`TrainError::File`].
pub fn write_noted(
    path: &Path,
    tensors: &Tensors,
    notes: &BTreeMap<String, String>,
) -> Result<(), TrainError> {
    let list: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(n, (dims, data))| (n.as_str(), dims.as_slice(), data.as_slice())).collect();
    let bare = |e: std::io::Error| file(path, e);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(bare)?;
    }
    let mut name = path.file_name().map(std::ffi::OsStr::to_os_string).unwrap_or_default();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut out = BufWriter::new(File::create(&part).map_err(bare)?);
    safetensors::write_with(&mut out, &list, notes).map_err(|e| file(path, e))?;
    out.flush().map_err(bare)?;
    out.get_ref().sync_all().map_err(bare)?;
    drop(out);
    fs::rename(&part, path).map_err(bare)?;
    // The folder's own entry, where the system lets folders be flushed.
    if let Some(Ok(folder)) =
        path.parent().map(|p| File::open(if p.as_os_str().is_empty() { Path::new(".") } else { p }))
    {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Reads a checkpoint of the training with this fingerprint.
///
/// # Errors
/// [`TrainError::File`] when it cannot be read, [`TrainError::Foreign`] when it is of another training.
pub fn read(path: &Path, fingerprint: &str) -> Result<(State, Weights), TrainError> {
    let weights = Weights::open(path).map_err(|e| file(path, e))?;
    let foreign = |what: &str| TrainError::Foreign { path: path.to_owned(), what: what.to_owned() };
    let text = weights.note(KEY).ok_or_else(|| foreign("it holds weights alone"))?;
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|_| foreign("its metadata cannot be read"))?;
    if json["form"].as_u64() != Some(FORM) {
        return Err(foreign("it was written by another version of cnnc"));
    }
    if json["fingerprint"].as_str() != Some(fingerprint) {
        return Err(foreign(
            "its network, loss, optimizer, schedule, epochs, batch, data or seed are not those of this program",
        ));
    }
    let state = from_json(&json).ok_or_else(|| foreign("its metadata cannot be read"))?;
    Ok((state, weights))
}

fn to_json(state: &State, fingerprint: &str) -> serde_json::Value {
    let measured = |m: &Option<Measured>| match m {
        None => serde_json::Value::Null,
        Some(m) => {
            let figures: Vec<_> =
                m.figures.iter().map(|f| serde_json::json!([f.name, f.value.to_bits()])).collect();
            serde_json::json!({ "samples": m.samples, "loss": m.loss.to_bits(), "figures": figures })
        }
    };
    let history: Vec<_> = state
        .history
        .iter()
        .map(|e| {
            serde_json::json!({
                "epoch": e.epoch, "samples": e.samples, "loss": e.loss.to_bits(), "rate": e.rate.to_bits(),
                "norm": e.norm.to_bits(), "seconds": e.seconds.to_bits(), "validation": measured(&e.validation),
            })
        })
        .collect();
    serde_json::json!({
        "form": FORM, "fingerprint": fingerprint, "epoch": state.epoch, "batches": state.batches,
        "updates": state.updates, "history": history,
    })
}

fn from_json(json: &serde_json::Value) -> Option<State> {
    let bits = |v: &serde_json::Value| v.as_u64().map(f64::from_bits);
    let measured = |v: &serde_json::Value| -> Option<Option<Measured>> {
        if v.is_null() {
            return Some(None);
        }
        let figures = v["figures"]
            .as_array()?
            .iter()
            .map(|f| Some(Figure { name: f[0].as_str()?.to_owned(), value: bits(&f[1])? }));
        Some(Some(Measured {
            samples: v["samples"].as_u64()?,
            loss: bits(&v["loss"])?,
            figures: figures.collect::<Option<_>>()?,
            tables: Vec::new(),
        }))
    };
    let history = json["history"].as_array()?.iter().map(|e| {
        Some(Epoch {
            epoch: e["epoch"].as_u64()?,
            samples: e["samples"].as_u64()?,
            loss: bits(&e["loss"])?,
            rate: bits(&e["rate"])?,
            norm: bits(&e["norm"])?,
            seconds: bits(&e["seconds"])?,
            validation: measured(&e["validation"])?,
        })
    });
    Some(State {
        epoch: json["epoch"].as_u64()?,
        batches: json["batches"].as_u64()?,
        updates: json["updates"].as_u64()?,
        history: history.collect::<Option<_>>()?,
    })
}

/// The checkpoints in a folder by the epochs they were written after, oldest first.
///
/// # Errors
/// [`TrainError::File`] when the folder is there, but cannot be read.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(file(folder, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| file(folder, e))?.path();
        let number = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok());
        found.extend(number.map(|n: u64| (n, path)));
    }
    found.sort();
    Ok(found)
}

/// The file of a checkpoint written after `epochs` epochs.
pub fn path(folder: &Path, epochs: u64) -> PathBuf {
    folder.join(format!("epoch-{epochs:05}.safetensors"))
}

/// Removes all but the last `keep` checkpoints.
///
/// # Errors
/// [`TrainError::File`].
pub fn prune(folder: &Path, keep: usize) -> Result<(), TrainError> {
    let all = list(folder)?;
    for (_, path) in all.iter().take(all.len().saturating_sub(keep)) {
        fs::remove_file(path).map_err(|e| file(path, e))?;
    }
    Ok(())
}
