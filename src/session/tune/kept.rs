//! Winners in a folder, a small text file each, named by a hash of compiler, processor and what it is the winner of. The file says
//! all of that again, so that one which is damaged, or not what its name says, is not heeded.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::kernels::isa::Isa;
use crate::schedule::Target;
use crate::session::assemble::hash;

/// The first line of a file; another form of them has another number.
const HEAD: &str = "cnnc winner 1";

/// Larger files are not ours.
const BYTES_MAX: u64 = 1 << 16;

/// The fastest of several ways.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Winner {
    /// The first step or layer that it was measured for; for readers.
    pub(super) name: String,
    /// Which: a plan, or the name of an algorithm.
    pub(super) line: String,
    /// What it took.
    pub(super) seconds: f64,
    /// The share of the time of the cost model's choice that it saves.
    pub(super) gain: f64,
}

/// The folder, as this compiler on this processor sees it.
pub(super) struct Kept {
    folder: PathBuf,
    machine: String,
}

impl Kept {
    pub(super) fn new(folder: &Path, isa: &Isa) -> Self {
        Self { folder: folder.to_owned(), machine: machine(isa) }
    }

    /// What every file begins with.
    fn head(&self, what: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!("{HEAD}\ncompiler {version}\nmachine {}\nof {what}\n", self.machine)
    }

    fn path(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{:032x}.winner", hash(&self.head(what))))
    }

    /// The winner of `what`, if one was kept.
    ///
    /// # Errors
    /// A sentence about a file that is there and no good.
    pub(super) fn read(&self, what: &str) -> Result<Option<Winner>, String> {
        let path = self.path(what);
        let bad = |why: &str| Err(format!("{} is not heeded: {why}", path.display()));
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > BYTES_MAX => return bad("it is too large"),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return bad(&e.to_string()),
        }
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) => return bad(&e.to_string()),
        };
        let Some(rest) = text.strip_prefix(&self.head(what)) else {
            return bad("it is of another compiler, processor or layer, or damaged");
        };
        parse(rest).map_or_else(|| bad("it is damaged"), |winner| Ok(Some(winner)))
    }

    /// Keeps a winner: the whole file or nothing.
    ///
    /// # Errors
    /// A sentence about the folder.
    pub(super) fn write(&self, what: &str, winner: &Winner) -> Result<(), String> {
        let path = self.path(what);
        let Winner { name, line, seconds, gain } = winner;
        let name = name.replace(['\n', '\r'], " ");
        let text = format!(
            "{}for {name}\nwinner {line}\nseconds {seconds:e}\ngain {gain:e}\nend\n",
            self.head(what)
        );
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let done = std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&part, text))
            .and_then(|()| std::fs::rename(&part, &path));
        done.map_err(|e| format!("winners cannot be kept in {}: {e}", self.folder.display()))
    }
}

/// The lines behind the head.
fn parse(text: &str) -> Option<Winner> {
    let mut lines = text.lines();
    let mut next = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned);
    let name = next("for")?;
    let line = next("winner")?;
    let number = |text: String| text.parse::<f64>().ok().filter(|x| x.is_finite());
    let seconds = number(next("seconds")?).filter(|s| *s > 0.0)?;
    let gain = number(next("gain")?)?;
    (lines.next() == Some("end") && lines.next().is_none()).then_some(Winner { name, line, seconds, gain })
}

/// The processor and the instruction set that code is made for, on one line.
pub fn machine(isa: &Isa) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = info.lines().find(|l| l.split(':').next().is_some_and(|k| k.trim() == key));
        line.and_then(|l| l.split(':').nth(1)).map(str::trim).filter(|v| !v.is_empty())
    };
    let fields = ["vendor_id", "cpu family", "model", "stepping", "model name"].map(field);
    let mut words: Vec<&str> = fields.into_iter().flatten().collect();
    if words.is_empty() {
        words.push(std::env::consts::ARCH);
    }
    let Target { fma, lanes, vector_registers } = Target::of(isa);
    let fused = if fma { ", multiply-adds" } else { "" };
    format!("{}; {vector_registers} vectors of {lanes} lanes{fused}", words.join(" "))
}
