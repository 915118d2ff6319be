//! Programs in files: the only place of the compiler's road that reads any. In: paths. Out: texts for [`Compiler::check`]. A
//! file that is too large is cut where the parser refuses it anyway; one that is not UTF-8 becomes a diagnostic.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::compiler::{Checked, Compiler};
use crate::parse::FILE_MAX;
use crate::resolve::Loader;
use crate::support::codes;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;

/// Gives the files that `use "file.cnn"` names, relative to the file that says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Loader for Files {
    fn load(&self, path: &str, from: &str) -> Result<(String, String), String> {
        let directory = Path::new(from).parent().unwrap_or(Path::new(""));
        let path = tidy(&directory.join(path));
        let bytes = read(&path).map_err(|e| e.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
        Ok((path.display().to_string(), text))
    }
}

/// The path without `.` and with `name/..` cut, so that one file has one name.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            Component::ParentDir | Component::Normal(_) | Component::RootDir | Component::Prefix(_) => {
                out.push(part)
            }
        }
    }
    out
}

/// At most one byte more than the parser takes, so that it sees that there is too much.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Compiler {
    /// Checks the program in a file, with the files it uses.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn check_file(&self, path: impl AsRef<Path>) -> std::io::Result<Checked> {
        let path = tidy(path.as_ref());
        Ok(self.check_bytes(&path.display().to_string(), &read(&path)?, &Files))
    }

    /// Checks a program that may not be UTF-8, which is then its one error.
    pub fn check_bytes(&self, name: &str, bytes: &[u8], loader: &dyn Loader) -> Checked {
        let wrong = match std::str::from_utf8(bytes) {
            Ok(text) => return self.check(name, text, loader),
            Err(e) => e.valid_up_to(),
        };
        // What is too large may have been cut inside a character: then the size is what is wrong.
        if bytes.len() > FILE_MAX {
            return self.check(name, &String::from_utf8_lossy(bytes), loader);
        }
        let mut checked = self.check(name, "", loader);
        let shown = String::from_utf8_lossy(bytes);
        checked.root = checked.sources.add(name, &shown);
        let span = Span::new(checked.root, wrong, wrong);
        let message = format!("the file is not UTF-8 text: byte {wrong} begins no character");
        checked.program.diagnostics = vec![Diagnostic::new(codes::E0004, span, message)];
        checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_name() {
        for (given, expected) in
            [("a/./b/../c.cnn", "a/c.cnn"), ("../x.cnn", "../x.cnn"), ("./x.cnn", "x.cnn"), ("/a/../b", "/b")]
        {
            assert_eq!(tidy(Path::new(given)), Path::new(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_text_is_one_diagnostic() {
        let checked = Compiler::default().check_bytes("x.cnn", b"net \xff\xfe", &Files);
        let codes: Vec<&str> = checked.diagnostics().iter().map(|d| d.code.0).collect();
        assert_eq!(codes, ["E0004"]);
        assert_eq!(checked.diagnostics()[0].primary.span.start, 4);
    }

    #[test]
    fn absent_files_are_errors() {
        assert!(Compiler::default().check_file("no/such/file.cnn").is_err());
        assert!(Files.load("file.cnn", "no/such.cnn").is_err());
    }
}
