//! Program texts from files and standard input, for commands that need the text itself or take `-`.

use prost::bytes::Bytes;

use crate::formats::map;
use std::fs::File;
use std::io::Read;

use std::path::Path;

use super::out::Failure;
use crate::session::PROGRAM_BYTES_MAX;
use crate::support::codes;

/// The bytes of a program, `-` being standard input; of one that is too large only so many that this shows.
///
/// # Errors
/// Exit code 2 when it cannot be read.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let most = PROGRAM_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|e| Failure::io(path.display(), &e))?;
    Ok(bytes)
}

/// The bytes of a model, `-` being standard input.
///
/// # Errors
/// Exit code 2 when it cannot be read.
pub(super) fn model(path: &Path) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes.into()),
        false => File::open(path).and_then(|file| map::bytes(&file)),
    };
    read.map_err(|e| Failure::io(path.display(), &e))
}

/// The text of a program.
///
/// # Errors
/// Exit code 2 when it cannot be read, 1 with E0004 when it is no text.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(bytes(path)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let message = format!("{} is not UTF-8 text: byte {at} begins no character", path.display());
        Failure::Coded(codes::E0004, message)
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
