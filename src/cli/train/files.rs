//! The folder of a training: `weights.safetensors`; `history.csv` with its charts `history.svg` and `history.png`; `test.txt` and
//! `confusion.csv`; `kernels.png`, the first convolution's; and `checkpoints/`.
//!
//! The weights appear at the end. A folder without them, but with checkpoints, is that of a training that was interrupted: it
//! is gone on with by `--resume`, and given up by `--fresh`. While a training runs it holds a lock on `.lock`, which the system
//! takes away however the process ends; the file stays.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::history::{self, History};
use super::{confusion, failure};
use crate::cli::args::Train;
use crate::cli::out::{Failure, Out};
use crate::draw::mosaic::Kernels;
use crate::trainer::{Measured, Trainer, checkpoint};

/// The files of one training.
pub(super) struct Folder {
    path: PathBuf,
    /// Held as long as the training runs.
    _lock: Option<File>,
}

impl Folder {
    pub(super) fn of(args: &Train, trainer: &Trainer) -> Result<Self, Failure> {
        let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.train", trainer.name())));
        std::fs::create_dir_all(&path).map_err(|e| Failure::io(path.display(), &e))?;
        let lock = locked(&path)?;
        Ok(Self { path, _lock: lock })
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
        self.remove("weights.safetensors")?;
        // What the training that was here before left would pass for this one's.
        for name in ["history.svg", "history.png", "test.txt", "kernels.png"] {
            self.remove(name)?;
        }
        let mut table = 0;
        while self.remove(&confusion_name(table))? {
            table += 1;
        }
        Ok(resumed)
    }

    /// Removes a file; whether it was there.
    fn remove(&self, name: &str) -> Result<bool, Failure> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Failure::io(path.display(), &e)),
        }
    }

    /// Begins the history of the epochs.
    pub(super) fn history(&self, trainer: &Trainer) -> Result<History, Failure> {
        History::begin(self.path.join("history.csv"), trainer)
    }

    /// The chart of the history, in the folder and where `--plot` says; nothing before the first epoch.
    pub(super) fn chart(&self, trainer: &Trainer, more: Option<&Path>) -> Result<(), Failure> {
        if trainer.history().is_empty() {
            return Ok(());
        }
        let chart = history::chart(trainer.name(), trainer.history());
        history::save(&chart, &self.path.join("history.svg"))?;
        history::save(&chart, &self.path.join("history.png"))?;
        more.map_or(Ok(()), |path| history::save(&chart, path))
    }

    /// What stands at the end: figures, tables and kernels, then the weights.
    pub(super) fn write(&self, trainer: &Trainer, test: Option<&Measured>, out: Out) -> Result<(), Failure> {
        let save = |name: &str, bytes: &[u8]| {
            let path = self.path.join(name);
            std::fs::write(&path, bytes).map_err(|e| Failure::io(path.display(), &e))
        };
        if let Some(test) = test {
            save("test.txt", super::figures("test", test, trainer).as_bytes())?;
            for (i, table) in test.tables.iter().enumerate() {
                let csv = confusion::csv(table, confusion::fitting(table, &trainer.data().train.set.classes));
                save(&confusion_name(i), &csv)?;
            }
        }
        let weights = trainer.weights().map_err(|e| failure(e, None, out))?;
        let list = trainer.weight_list();
        let first = crate::cli::weights::show::first(&list);
        if let Some(mosaic) =
            first.and_then(|w| Kernels::named(&w.axes, weights.get(&w.name)?.data().to_vec())?.mosaic())
        {
            crate::cli::pictures::save(&mosaic.picture, &self.path.join("kernels.png"))?;
        }
        trainer.write_weights(&self.weights()).map_err(|e| failure(e, None, out))
    }
}

/// The lock of a training on its folder; `None` where the file system has no locks.
///
/// # Errors
/// Exit code 2 when another training holds it.
fn locked(folder: &Path) -> Result<Option<File>, Failure> {
    let path = folder.join(".lock");
    let failed = |e: &std::io::Error| Failure::io(path.display(), e);
    let file = File::options().create(true).append(true).open(&path).map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::Unusable(format!(
            "another training runs in {}: wait until it ends, or name another folder with --output",
            folder.display()
        ))),
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(e)) => Err(failed(&e)),
    }
}

/// The file of the table `i`: `confusion.csv`, `confusion-2.csv`, …
fn confusion_name(i: usize) -> String {
    let number = if i == 0 { String::new() } else { format!("-{}", i + 1) };
    format!("confusion{number}.csv")
}

/// Whether a file can be made at `path` once the training is over.
///
/// # Errors
/// Exit code 2 when its folder is not there, or a folder has its name.
pub(super) fn can_be_made(path: &Path, flag: &str) -> Result<(), Failure> {
    let shown = path.display();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            Err(Failure::Unusable(format!("`{flag} {shown}`: there is no folder {}", folder.display())))
        }
        Some(_) | None if path.is_dir() => Err(Failure::Unusable(format!("`{flag} {shown}` is a folder"))),
        Some(_) | None => Ok(()),
    }
}

/// The weights that a path means: a file, or the folder of a training.
pub(in crate::cli) fn weights_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("weights.safetensors") } else { path.to_owned() }
}
