//! `cnnc data get`: runs the package manager that has the set, compares every file with what was published, and moves it into
//! place. What was there stays until the new file is whole and right.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::failure;
use crate::cli::out::{Failure, Out};
use crate::data::{DataError, Fetched, Places};

pub(super) fn run(which: &Fetched, folder: &Path, out: Out) -> Result<(), Failure> {
    if let Some(files) = there(which, folder) {
        let all: Result<Vec<Vec<u8>>, DataError> = (0..4).map(|i| which.verified(i, &files[i])).collect();
        match all {
            Ok(_) => {
                out.remark(&format!("{}: the four files are here, and as published\n", which.name));
                return out.print(format!("{}\n", folder.display()));
            }
            Err(error) => out.remark(&format!("{error}: getting it again\n")),
        }
    }
    fs::create_dir_all(folder).map_err(|e| Failure::io(folder.display(), &e))?;
    let staging = Staging::new(folder)?;
    for command in which.commands {
        step(which, command, &staging.0, folder, out)?;
    }
    let unpacked = staging.0.join(which.unpacked);
    let Some(files) = there(which, &unpacked) else {
        let message = format!("{}: the package holds no {} and its like", which.name, which.files[0].0);
        return Err(Failure::Unusable(message));
    };
    for (i, file) in files.iter().enumerate() {
        which.verified(i, file).map_err(failure)?;
    }
    for file in &files {
        let place = folder.join(file.file_name().unwrap_or_default());
        fs::rename(file, &place).map_err(|e| Failure::io(place.display(), &e))?;
    }
    out.remark(&format!("{}: 4 files, SHA-256 as published; licence: {}\n", which.name, which.licence));
    out.print(format!("{}\n", folder.display()))
}

/// The four files in a folder, plain or compressed.
fn there(which: &Fetched, folder: &Path) -> Option<[PathBuf; 4]> {
    which.find(Some(folder), &Places::default()).ok()
}

/// An empty folder that is removed at the end, however it comes.
struct Staging(PathBuf);

impl Staging {
    /// Inside the folder: moving from there into it copies nothing.
    fn new(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(format!(".get-{}", std::process::id()));
        let made = fs::create_dir(&path).and_then(|()| fs::canonicalize(&path));
        made.map(Self).map_err(|e| Failure::io(path.display(), &e))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs one command in the staging folder.
fn step(which: &Fetched, command: &[&str], staging: &Path, folder: &Path, out: Out) -> Result<(), Failure> {
    let words: Vec<String> = command.iter().map(|w| expanded(w, staging)).collect();
    out.remark(&format!("$ {}\n", words.join(" ")));
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let ran = Command::new(program).args(args).current_dir(staging).stdin(Stdio::null()).output();
    let output = ran.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::Unusable(by_hand(which, program, folder)),
        _ => Failure::io(program, &error),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout, &output.stderr].map(|s| String::from_utf8_lossy(s).trim().to_owned());
    let hint = match program.as_str() {
        "apt-get" => "; `apt-get update` (as root) may be needed first",
        "npm" => "; is the registry within reach?",
        _ => "",
    };
    let message =
        format!("`{}` failed ({}){hint}\n{}", words.join(" "), output.status, said.join("\n").trim());
    Err(Failure::Unusable(message))
}

/// A word with a `*` is the file in the folder that it fits.
fn expanded(word: &str, folder: &Path) -> String {
    let Some((before, after)) = word.split_once('*') else { return word.to_owned() };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|n| n.len() >= before.len() + after.len() && n.starts_with(before) && n.ends_with(after));
    names.sort();
    names.into_iter().next().unwrap_or_else(|| word.to_owned())
}

/// What to type where the program is.
fn by_hand(which: &Fetched, program: &str, folder: &Path) -> String {
    let commands: Vec<String> = which.commands.iter().map(|c| format!("    {}\n", c.join(" "))).collect();
    let names: Vec<&str> = which.files.iter().map(|f| f.0).collect();
    format!(
        "`{program}` is not on this machine. Where it is, type\n\n{}\nand bring the four files from {} to {} (also as .gz):\n    {}",
        commands.concat(),
        which.unpacked,
        folder.display(),
        names.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ErrorFormat;

    // SHA-256 of "a", "b", "c" and "d".
    const A: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    const B: &str = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";
    const C: &str = "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6";
    const D: &str = "18ac3e7343f016890c510e93f935261169d9e3f565436429830faf0934f4f8e4";

    const MAKE: &[&str] = &["sh", "-c", "mkdir -p in/side; for i in a b c d; do printf $i > x_$i.txt; done"];
    const MOVE: &[&str] = &["sh", "-c", "for i in a b c d; do mv x_$i.txt in/side/$i; done"];
    const GOOD: &[&[&str]] = &[MAKE, MOVE];
    const HALF: &[&[&str]] = &[MAKE, MOVE, &["sh", "-c", "exit 1"]];

    fn set(commands: &'static [&'static [&'static str]]) -> Fetched {
        let files = [("a", 1, A), ("b", 1, B), ("c", 1, C), ("d", 1, D)];
        let (name, folder, unpacked) = ("letters", "letters", "in/side");
        Fetched { name, folder, system: None, commands, unpacked, files, classes: &[], licence: "none" }
    }

    fn fetch(which: &Fetched, name: &str) -> (Result<(), String>, Vec<String>, PathBuf) {
        let folder = std::env::temp_dir().join(format!("cnnc-get-{name}-{}", std::process::id()));
        let out = Out { color_err: false, format: ErrorFormat::Human };
        let ran = run(which, &folder, out).map_err(Failure::text);
        let entries = fs::read_dir(&folder).expect("made").map(|e| e.expect("read").file_name());
        let mut names: Vec<String> = entries.map(|n| n.to_string_lossy().into_owned()).collect();
        names.sort();
        (ran, names, folder)
    }

    #[test]
    fn files_are_compared_and_moved_into_place() {
        let which = set(GOOD);
        let (ran, names, folder) = fetch(&which, "good");
        assert_eq!(ran, Ok(()));
        assert_eq!(names, ["a", "b", "c", "d"], "nothing else is left");
        // A second time nothing is run.
        let (again, ..) = fetch(&set(&[&["no-such-program"]]), "good");
        assert_eq!(again, Ok(()));
        fs::write(folder.join("b"), "other").expect("a file");
        let (mended, ..) = fetch(&which, "good");
        assert_eq!((mended, fs::read(folder.join("b")).expect("a file")), (Ok(()), b"b".to_vec()));
        fs::remove_dir_all(folder).expect("our own");
    }

    #[test]
    fn other_bytes_failures_and_missing_programs_leave_nothing() {
        let other =
            set(&[&["sh", "-c", "mkdir -p in/side; for i in a b c d; do printf x > in/side/$i; done"]]);
        let cases = [
            (other, "not the published file"),
            (set(&[&["sh", "-c", "echo full disk >&2; exit 3"]]), "full disk"),
            (set(&[&["sh", "-c", "exit 0"]]), "holds no a"),
            (set(&[&["no-such-program", "get", "letters"]]), "    no-such-program get letters\n"),
            (set(HALF), "failed"),
        ];
        for (i, (which, said)) in cases.into_iter().enumerate() {
            let (ran, names, folder) = fetch(&which, &format!("bad{i}"));
            assert!(ran.as_ref().is_err_and(|e| e.contains(said)), "{ran:?} lacks {said}");
            assert!(names.is_empty(), "{names:?}");
            fs::remove_dir_all(folder).expect("our own");
        }
    }

    #[test]
    fn a_star_stands_for_the_file_that_is_there() {
        let folder = std::env::temp_dir().join(format!("cnnc-star-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("set_1.2-3_all.deb"), b"").expect("a file");
        assert_eq!(expanded("set_*.deb", &folder), "set_1.2-3_all.deb");
        assert_eq!(expanded("other_*.deb", &folder), "other_*.deb");
        assert_eq!(expanded("plain", &folder), "plain");
        fs::remove_dir_all(folder).expect("our own");
    }
}
