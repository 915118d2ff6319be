//! Pictures that commands write.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::out::Failure;
use crate::formats::FormatError;
use crate::formats::image::{self, Picture};

/// Writes a picture as PNG.
///
/// # Errors
/// Exit code 2 when it cannot be written.
pub(super) fn save(picture: &Picture, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let mut file = BufWriter::new(File::create(path).map_err(|e| Failure::io(&shown, &e))?);
    let written = image::write_png(&mut file, picture).and_then(|()| file.flush().map_err(FormatError::Io));
    written.map_err(|e| Failure::Unusable(format!("{shown}: {e}")))
}
