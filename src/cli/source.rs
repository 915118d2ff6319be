//! Program texts from files and standard input, and the files that they use.
//!
//! A text is at most [`BYTES_MAX`] long and UTF-8; anything else is an error before any of it is parsed. A file that `use`
//! names is found relative to the file that names it; names are cleaned of `.` and `..`, so that one file has one name.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::out::{Failure, Out};
use crate::session::{Loader, syntax};
use crate::support::codes;
use crate::support::span::Sources;

/// No program is longer; the largest known networks take some hundred lines.
const BYTES_MAX: u64 = 4 << 20;

/// Reads a program; `-` is standard input.
///
/// # Errors
/// Exit code 2 when it cannot be read, 1 when it is no text.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let bytes = bytes(path).map_err(|e| Failure::io(path.display(), &e))?;
    text(bytes).map_err(|what| Failure::Coded(codes::E0004, format!("{} {what}", path.display())))
}

fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("is longer than {} MiB, which no program is", BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|e| {
        format!("is not UTF-8 text: the byte at {} begins no character", e.utf8_error().valid_up_to())
    })
}

/// What messages call the file.
pub(super) fn name(path: &Path, stdin_filename: Option<&Path>) -> String {
    match (path == Path::new("-"), stdin_filename) {
        (true, Some(name)) => name.display().to_string(),
        (true, None) => "<stdin>".to_owned(),
        (false, _) => path.display().to_string(),
    }
}

/// Reports the syntax errors of a text; whether there are any.
pub(super) fn syntax_errors(name: &str, text: &str, out: Out) -> bool {
    let mut sources = Sources::default();
    let file = sources.add(name, text);
    let diagnostics = syntax(&sources, file).1;
    out.diagnostics(&diagnostics, &sources);
    diagnostics.iter().any(crate::support::diag::Diagnostic::is_error)
}

/// The file system as programs see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files;

impl Loader for Files {
    fn load(&self, path: &str, from: &str) -> Result<(String, String), String> {
        let joined = Path::new(from).parent().unwrap_or(Path::new("")).join(path);
        let clean = clean(&joined);
        let bytes = bytes(&clean).map_err(|e| e.to_string())?;
        Ok((clean.display().to_string(), text(bytes)?))
    }
}

/// `a/./b/../c` as `a/c`, without asking the file system.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            Component::ParentDir | Component::Normal(_) | Component::RootDir | Component::Prefix(_) => {
                clean.push(part)
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_name() {
        let cleaned = |p: &str| clean(Path::new(p)).display().to_string();
        assert_eq!(cleaned("a/./b/../c.cnn"), "a/c.cnn");
        assert_eq!(cleaned("../x/../y.cnn"), "../y.cnn");
        assert_eq!(cleaned("/a/../../b"), "/../b");
        assert_eq!(cleaned("x/../x/../x/a.cnn"), "x/a.cnn");
    }

    #[test]
    fn what_is_no_text_says_where() {
        assert!(text(vec![b'a', 0xff]).is_err_and(|e| e.contains("the byte at 1")));
        assert!(text(vec![b' '; BYTES_MAX as usize + 1]).is_err_and(|e| e.contains("longer than 4 MiB")));
        assert_eq!(text("é".into()), Ok("é".to_owned()));
    }
}
