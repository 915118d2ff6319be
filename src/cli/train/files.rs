//! The folder of a training: `weights.safetensors`, `history.csv`, `test.txt`, and `checkpoints/`.
//!
//! The weights appear at the end. A folder without them, but with checkpoints, is that of a training that was interrupted: it
//! is gone on with by `--resume`, and given up by `--fresh`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::failure;
use crate::cli::args::Train;
use crate::cli::out::{Failure, Out};
use crate::trainer::{Measured, Table, Trainer, checkpoint};

/// The files of one training.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn of(args: &Train, trainer: &Trainer) -> Result<Self, Failure> {
        let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.train", trainer.name())));
        std::fs::create_dir_all(&path).map_err(|e| Failure::io(path.display(), &e))?;
        Ok(Self { path })
    }

    pub(super) fn weights(&self) -> PathBuf {
        self.path.join("weights.safetensors")
    }

    /// Sets the trainer to where it begins; whether that is a checkpoint.
    pub(super) fn prepare(&self, trainer: &mut Trainer, args: &Train) -> Result<bool, Failure> {
        let folder = self.path.join("checkpoints");
        let out = Out { color_err: false, format: crate::cli::args::ErrorFormat::Human };
        let wrong = |e| failure(e, None, out);
        let mut resumed = false;
        if args.resume {
            resumed = trainer.resume(&folder).map_err(wrong)?;
        } else {
            let there = checkpoint::list(&folder).map_err(wrong)?;
            if !there.is_empty() && !self.weights().exists() && !args.fresh {
                return Err(Failure::Unusable(format!(
                    "{} holds a training that was interrupted after epoch {}: --resume goes on with it, --fresh begins anew",
                    self.path.display(),
                    there.last().map_or(0, |l| l.0)
                )));
            }
        }
        trainer.checkpoints(folder);
        match std::fs::remove_file(self.weights()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::io(self.weights().display(), &e))
            }
            Ok(()) | Err(_) => Ok(resumed),
        }
    }

    /// What stands at the end: history and figures, then the weights.
    pub(super) fn write(&self, trainer: &Trainer, test: Option<&Measured>, out: Out) -> Result<(), Failure> {
        let save = |name: &str, text: &str| {
            let path = self.path.join(name);
            std::fs::write(&path, text).map_err(|e| Failure::io(path.display(), &e))
        };
        save("history.csv", &history(trainer))?;
        if let Some(test) = test {
            save("test.txt", &super::figures("test", test, trainer))?;
        }
        trainer.write_weights(&self.weights()).map_err(|e| failure(e, None, out))
    }
}

/// One line an epoch; numbers read back to the same bits.
fn history(trainer: &Trainer) -> String {
    let names: Vec<String> = trainer
        .history()
        .iter()
        .find_map(|e| e.validation.as_ref())
        .map_or(Vec::new(), |v| v.figures.iter().map(|f| f.name.clone()).collect());
    let mut text = String::from("epoch,train loss,gradient norm,rate");
    let validated = trainer.history().iter().any(|e| e.validation.is_some());
    if validated {
        text.push_str(",validate loss");
        names.iter().for_each(|n| text.push_str(&format!(",validate {n}")));
    }
    text.push('\n');
    for e in trainer.history() {
        let _ = write!(text, "{},{},{},{}", e.epoch + 1, e.loss, e.norm, e.rate);
        if let Some(v) = &e.validation {
            let _ = write!(text, ",{}", v.loss);
            v.figures.iter().for_each(|f| text.push_str(&format!(",{}", f.value)));
        }
        text.push('\n');
    }
    text
}

/// A confusion matrix: rows are true classes, columns predicted ones.
pub(super) fn confusion(table: &Table, classes: &[String]) -> String {
    let name = |c: usize| classes.get(c).cloned().unwrap_or_else(|| c.to_string());
    let cells = |row: usize| (0..table.classes).map(move |c| table.counts[row * table.classes + c]);
    let most = table.counts.iter().max().copied().unwrap_or(0).to_string().len();
    let names: Vec<String> = (0..table.classes).map(name).collect();
    let width = names.iter().map(String::len).max().unwrap_or(1);
    let column = most.max(width) + 1;
    let mut text = format!("{:>width$}", "");
    names.iter().for_each(|n| {
        let _ = write!(text, "{n:>column$}");
    });
    text.push('\n');
    for (row, name) in names.iter().enumerate() {
        let _ = write!(text, "{name:>width$}");
        cells(row).for_each(|n| {
            let _ = write!(text, "{n:>column$}");
        });
        text.push('\n');
    }
    text
}

/// The weights that a path means: a file, or the folder of a training.
pub(super) fn weights_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("weights.safetensors") } else { path.to_owned() }
}
