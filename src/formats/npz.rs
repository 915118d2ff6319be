//! NumPy's `.npz`: a zip archive of `.npy` files, stored (`numpy.savez`) or deflated (`numpy.savez_compressed`).
//!
//! The archive is read by the `zip` crate, the arrays by [`super::npy`]. What entries declare of their sizes is not
//! believed: an array is as large as its own header says, checked against the bound of the caller for all arrays together,
//! and memory grows with what really arrives.

use std::io::{Read, Seek, Write};

use super::{FormatError, HostArray, npy};

const FORMAT: &str = ".npz";
/// More arrays than anyone saves in one file.
const ARRAYS_MAX: usize = 4096;

/// Reads all arrays, in the order of the archive, with their names (without `.npy`); together at most `elements_max`
/// elements.
///
/// # Errors
/// [`FormatError::Malformed`] for an archive that is cut off, lies, or holds other files; those of [`npy::read`], with the
/// array's name; [`FormatError::Io`].
pub fn read(reader: impl Read + Seek, elements_max: usize) -> Result<Vec<(String, HostArray)>, FormatError> {
    read_with(reader, elements_max).map(|(arrays, _)| arrays)
}

/// As [`read`], with the archive's comment, which may be empty.
///
/// # Errors
/// As [`read`].
#[allow(clippy::type_complexity, reason = "the arrays of `read`, and one text")]
pub fn read_with(
    reader: impl Read + Seek,
    elements_max: usize,
) -> Result<(Vec<(String, HostArray)>, String), FormatError> {
    let mut archive = zip::ZipArchive::new(reader).map_err(refused)?;
    let comment = String::from_utf8_lossy(archive.comment()).into_owned();
    if archive.len() > ARRAYS_MAX {
        return Err(malformed(format!("it holds {} files, where {ARRAYS_MAX} are the most", archive.len())));
    }
    let mut arrays: Vec<(String, HostArray)> = Vec::with_capacity(archive.len());
    let mut left = elements_max;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(refused)?;
        let file = entry.name().map_err(refused)?.into_owned();
        let Some(name) = file.strip_suffix(".npy") else {
            return Err(malformed(format!("it holds `{}`, which is no .npy file", shown(&file))));
        };
        if arrays.iter().any(|(n, _)| n == name) {
            return Err(malformed(format!("it holds two arrays called `{}`", shown(name))));
        }
        let array = npy::read(&mut entry, left).map_err(|error| within(name, error))?;
        left -= array.data.len();
        arrays.push((name.to_owned(), array));
    }
    Ok((arrays, comment))
}

/// An entry of so many bytes needs the long form of sizes.
const LONG: u64 = u32::MAX as u64 - (1 << 16);

/// Writes arrays as `f4`, stored as they are, and a comment that NumPy passes over. Arrays are `(name, extents, row-major
/// elements)`.
///
/// # Errors
/// [`FormatError::Mismatch`] when elements and extents differ in number or a name stands twice, [`FormatError::Io`].
pub fn write(
    writer: impl Write + Seek,
    arrays: &[(&str, &[usize], &[f32])],
    comment: &str,
) -> Result<(), FormatError> {
    let mut archive = zip::ZipWriter::new(writer);
    archive.set_comment(comment).map_err(refused)?;
    for (name, dims, data) in arrays {
        if super::checked_count(dims) != Some(data.len()) {
            let message = format!("`{name}` has {} elements for the shape {dims:?}", data.len());
            return Err(FormatError::Mismatch(message));
        }
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(data.len() as u64 * 4 > LONG);
        let started = archive.start_file(format!("{name}.npy"), options);
        started.map_err(|e| FormatError::Mismatch(format!("array `{name}`: {e}")))?;
        npy::write(&mut archive, dims, data)?;
    }
    archive.finish().map_err(refused)?.flush()?;
    Ok(())
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed(FORMAT, what)
}

fn shown(name: &str) -> String {
    name.chars().take(64).filter(|c| !c.is_control()).collect()
}

/// The error of one array, with its name.
fn within(name: &str, error: FormatError) -> FormatError {
    let name = shown(name);
    match error {
        FormatError::Malformed { what, .. } => malformed(format!("array `{name}`: {what}")),
        FormatError::Unsupported { what, .. } => {
            FormatError::unsupported(FORMAT, format!("array `{name}`: {what}"))
        }
        FormatError::Mismatch(what) => FormatError::Mismatch(format!("array `{name}`: {what}")),
        // The decompressor reports broken data as an error of reading.
        FormatError::Io(error) => malformed(format!("array `{name}`: {error}")),
    }
}

fn refused(error: zip::result::ZipError) -> FormatError {
    match error {
        zip::result::ZipError::Io(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            FormatError::Io(error)
        }
        other => malformed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn file(arrays: &[(&str, &[usize])], deflated: bool) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let method = if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        for (name, dims) in arrays {
            let count: usize = dims.iter().product();
            let mut bytes = Vec::new();
            let data: Vec<f32> = (0..count).map(|i| i as f32).collect();
            npy::write(&mut bytes, dims, &data).expect("a vector takes everything");
            writer.start_file(*name, options).expect("a vector takes everything");
            writer.write_all(&bytes).expect("a vector takes everything");
        }
        writer.finish().expect("a vector takes everything").into_inner()
    }

    fn parse(bytes: &[u8]) -> Result<Vec<(String, HostArray)>, FormatError> {
        read(Cursor::new(bytes), 100)
    }

    #[test]
    fn stored_and_deflated_archives_are_read() {
        for deflated in [false, true] {
            let arrays = parse(&file(&[("x.npy", &[2, 3]), ("label.npy", &[2])], deflated)).expect("sound");
            assert_eq!(arrays.len(), 2);
            assert_eq!(arrays[0].0, "x");
            assert_eq!(arrays[0].1.dims, [2, 3]);
            assert_eq!(arrays[0].1.data, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
            assert_eq!((arrays[1].0.as_str(), &arrays[1].1.data[..]), ("label", &[0.0, 1.0][..]));
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let arrays: [(&str, &[usize], &[f32]); 3] = [
            ("stage[2].a.weight", &[2, 2], &[1.0, -2.0, f32::MIN, 0.0]),
            ("b/c.bias", &[1], &[0.25]),
            ("s", &[], &[7.0]),
        ];
        let mut bytes = Cursor::new(Vec::new());
        write(&mut bytes, &arrays, "a word").expect("a vector takes everything");
        let (read, comment) = read_with(Cursor::new(bytes.into_inner()), 100).expect("sound");
        assert_eq!(comment, "a word");
        for ((name, dims, data), (found, array)) in arrays.iter().zip(&read) {
            assert_eq!((*name, *dims, *data), (found.as_str(), &array.dims[..], &array.data[..]));
        }
        let twice: [(&str, &[usize], &[f32]); 2] = [("a", &[1], &[1.0]), ("a", &[1], &[1.0])];
        assert!(write(Cursor::new(Vec::new()), &twice, "").is_err());
        assert!(write(Cursor::new(Vec::new()), &[("a", &[2], &[1.0])], "").is_err());
    }

    #[test]
    fn numpys_own_files_are_read() {
        // numpy.savez_compressed(f, x=numpy.arange(6, dtype='<i2').reshape(2, 3), y=numpy.array([.5, 2.])), numpy 2.4.
        let bytes = include_bytes!("../../tests/files/data/numpy.npz");
        let arrays = parse(bytes).expect("sound");
        assert_eq!(
            arrays[0],
            ("x".to_owned(), HostArray { dims: vec![2, 3], data: vec![0., 1., 2., 3., 4., 5.] })
        );
        assert_eq!(arrays[1], ("y".to_owned(), HostArray { dims: vec![2], data: vec![0.5, 2.0] }));
    }

    #[test]
    fn the_bound_is_for_all_arrays_together() {
        assert!(parse(&file(&[("a.npy", &[60]), ("b.npy", &[40])], true)).is_ok());
        let why = parse(&file(&[("a.npy", &[60]), ("b.npy", &[41])], true)).expect_err("101").to_string();
        assert!(why.contains("array `b`") && why.contains("at most 40"), "{why}");
    }

    #[test]
    fn other_archives_are_refused() {
        let why = |bytes: &[u8]| parse(bytes).expect_err("unsound").to_string();
        assert!(why(&file(&[("a.txt", &[1])], false)).contains("`a.txt`"));
        assert!(why(b"PK").contains(".npz"));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        for deflated in [false, true] {
            let bytes = file(&[("x.npy", &[2, 3]), ("y.npy", &[4])], deflated);
            for len in 0..bytes.len() {
                assert!(parse(&bytes[..len]).is_err(), "cut to {len} of {}", bytes.len());
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0x41;
                if let Ok(arrays) = parse(&changed) {
                    for (_, array) in arrays {
                        assert_eq!(array.dims.iter().product::<usize>(), array.data.len());
                    }
                }
            }
        }
    }
}
