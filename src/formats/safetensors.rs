//! Weight files: safetensors, by its official crate.
//!
//! Layout of a file: 8 bytes with the length of the header, a JSON header that gives each tensor its element type, shape
//! and byte range, and the bytes. Read are `F32 F64 F16 BF16` and the integers up to 32 bits, all as `f32`; written is `F32`.
//!
//! A file is not mapped but read tensor by tensor: no `unsafe`, no fault when another process cuts the file, and never more
//! than the header and one tensor in memory. Offsets, shapes and lengths are checked against each other and against the
//! file's length before any tensor is read; the header may have at most 100 MB, as the format's own limit says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::Metadata;

use super::{FormatError, HostArray, checked_count, half_to_f32, read_promised};

const FORMAT: &str = "safetensors";
/// The name under which the metadata keep the fingerprint of the architecture that the weights belong to.
pub const FINGERPRINT: &str = "cnnc.architecture";
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// What [`Weights`] reads from.
trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// An open weight file: names and shapes known, elements still on disk.
pub struct Weights {
    reader: Box<dyn ReadSeek>,
    entries: BTreeMap<String, Entry>,
    notes: BTreeMap<String, String>,
}

struct Entry {
    dtype: Dtype,
    dims: Vec<usize>,
    /// First byte in the file.
    start: u64,
    bytes: u64,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(name, e)| (name, &e.dims))).finish()
    }
}

impl Weights {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`FormatError::Io`]; [`FormatError::Malformed`] for a header that lies about itself or the file.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(FormatError::malformed(FORMAT, "it is no regular file"));
        }
        Self::new(Box::new(BufReader::new(file)), meta.len())
    }

    /// The same from bytes in memory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FormatError> {
        let len = bytes.len() as u64;
        Self::new(Box::new(Cursor::new(bytes)), len)
    }

    fn new(mut reader: Box<dyn ReadSeek>, file_len: u64) -> Result<Self, FormatError> {
        let malformed = |what: String| FormatError::malformed(FORMAT, what);
        let short = |got: u64| {
            FormatError::malformed(FORMAT, format!("it ends after {got} bytes, within its header"))
        };
        let len = read_promised(&mut reader, 8)?.map_err(short)?;
        let len = len.iter().rev().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
        if len > HEADER_BYTES_MAX || len > file_len.saturating_sub(8) {
            return Err(malformed(format!("a header of {len} bytes in a file of {file_len}")));
        }
        let header = read_promised(&mut reader, len)?.map_err(|got| short(8 + got))?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| malformed(format!("its header: {e}")))?;
        let data_len = metadata.data_len() as u64;
        if 8 + len + data_len != file_len {
            let message =
                format!("its header declares {data_len} bytes of data, {} are there", file_len - 8 - len);
            return Err(malformed(message));
        }
        let mut entries = BTreeMap::new();
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            checked_count(&info.shape).ok_or_else(|| {
                malformed(format!("`{name}` has shape {:?}, more than memory holds", info.shape))
            })?;
            let (start, end) = info.data_offsets;
            let entry = Entry {
                dtype: info.dtype,
                dims: info.shape.clone(),
                start: 8 + len + start as u64,
                bytes: (end - start) as u64,
            };
            entries.insert(name, entry);
        }
        let notes = metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Self { reader, entries, notes })
    }

    /// All names with their shapes, in alphabetical order.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, e)| (name.as_str(), e.dims.as_slice()))
    }

    /// A text of the file's metadata.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }

    /// The shape of `name`, if the file has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.dims.as_slice())
    }

    /// Reads the elements of `name` as `f32`; `None` when the file lacks it.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for an element type that is not taken, [`FormatError::Io`].
    pub fn read(&mut self, name: &str) -> Result<Option<HostArray>, FormatError> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let (size, decode) = decoder(entry.dtype).ok_or_else(|| {
            let what = format!(
                "`{name}` has elements {:?}, where real numbers up to 64 bits are taken",
                entry.dtype
            );
            FormatError::unsupported(FORMAT, what)
        })?;
        self.reader.seek(SeekFrom::Start(entry.start))?;
        let bytes = read_promised(&mut self.reader, entry.bytes)?
            .map_err(|_| FormatError::malformed(FORMAT, format!("it ends within `{name}`")))?;
        let data = bytes.chunks_exact(size).map(decode).collect();
        Ok(Some(HostArray { dims: entry.dims.clone(), data }))
    }
}

/// The size of an element and what makes a number of its bytes.
fn decoder(dtype: Dtype) -> Option<(usize, fn(&[u8]) -> f32)> {
    fn bits(bytes: &[u8]) -> u64 {
        bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    }
    // `Dtype` is not ours and grows; what is not listed is refused by name.
    Some(match dtype {
        Dtype::F32 => (4, |b| f32::from_bits(bits(b) as u32)),
        Dtype::F64 => (8, |b| f64::from_bits(bits(b)) as f32),
        Dtype::F16 => (2, |b| half_to_f32(bits(b) as u16)),
        Dtype::BF16 => (2, |b| f32::from_bits((bits(b) as u32) << 16)),
        Dtype::U8 | Dtype::BOOL => (1, |b| bits(b) as f32),
        Dtype::I8 => (1, |b| f32::from(bits(b) as i8)),
        Dtype::U16 => (2, |b| bits(b) as f32),
        Dtype::I16 => (2, |b| f32::from(bits(b) as i16)),
        Dtype::U32 => (4, |b| bits(b) as f32),
        Dtype::I32 => (4, |b| bits(b) as i32 as f32),
        _ => return None,
    })
}

/// Writes tensors as `F32` in the order given. Tensors are `(name, extents, row-major elements)`.
///
/// # Errors
/// [`FormatError::Mismatch`] when elements and extents differ in number or a name stands twice, [`FormatError::Io`].
pub fn write<'a>(
    writer: &mut dyn Write,
    tensors: &[(&'a str, &'a [usize], &'a [f32])],
) -> Result<(), FormatError> {
    write_with(writer, tensors, &BTreeMap::new())
}

/// As [`write()`], with texts by name in the file's metadata.
///
/// # Errors
/// As [`write()`].
pub fn write_with<'a>(
    writer: &mut dyn Write,
    tensors: &[(&'a str, &'a [usize], &'a [f32])],
    notes: &BTreeMap<String, String>,
) -> Result<(), FormatError> {
    let mut infos = Vec::new();
    let mut at = 0usize;
    for (i, (name, dims, data)) in tensors.iter().enumerate() {
        if checked_count(dims) != Some(data.len()) {
            let message = format!("`{name}` has {} elements for the shape {dims:?}", data.len());
            return Err(FormatError::Mismatch(message));
        }
        if tensors[..i].iter().any(|(other, ..)| other == name) {
            return Err(FormatError::Mismatch(format!("two tensors are called `{name}`")));
        }
        let end = at + data.len() * 4;
        let info = ::safetensors::tensor::TensorInfo {
            dtype: Dtype::F32,
            shape: dims.to_vec(),
            data_offsets: (at, end),
        };
        infos.push(((*name).to_owned(), info));
        at = end;
    }
    let given = (!notes.is_empty()).then(|| notes.clone().into_iter().collect());
    let metadata = Metadata::new(given, infos).map_err(|e| FormatError::Mismatch(e.to_string()))?;
    let mut header = serde_json::to_string(&metadata).map_err(|e| FormatError::Mismatch(e.to_string()))?;
    // Data begins at a multiple of 8 bytes.
    let padded = header.len().next_multiple_of(8);
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    for (_, _, data) in tensors {
        for block in data.chunks(1 << 14) {
            let bytes: Vec<u8> = block.iter().flat_map(|x| x.to_le_bytes()).collect();
            writer.write_all(&bytes)?;
        }
    }
    writer.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn what(bytes: Vec<u8>) -> String {
        Weights::from_bytes(bytes).expect_err("a broken file").to_string()
    }

    #[test]
    fn what_is_written_reads_back() {
        let (w, b) = ([1.0f32, -2.0, 3.5, 0.0, f32::MIN, 6.0], [0.25f32]);
        let tensors: [(&str, &[usize], &[f32]); 3] =
            [("stage[2].a.weight", &[2, 3], &w), ("stage[2].a.bias", &[1], &b), ("none", &[0, 4], &[])];
        let mut bytes = Vec::new();
        write(&mut bytes, &tensors).expect("a vector takes everything");
        // The official reader must agree with what is written here.
        let official = ::safetensors::SafeTensors::deserialize(&bytes).expect("a sound file");
        assert_eq!(official.tensor("stage[2].a.weight").expect("it is there").shape(), [2, 3]);
        let mut weights = Weights::from_bytes(bytes).expect("our own file");
        for (name, dims, data) in tensors {
            let array = weights.read(name).expect("f32 is taken").expect("it is there");
            assert_eq!((array.dims.as_slice(), array.data.as_slice()), (dims, data));
        }
        assert_eq!(weights.read("other").expect("no error"), None);
        assert_eq!(weights.shape("none"), Some(&[0usize, 4][..]));
    }

    #[test]
    fn other_element_types_become_f32() {
        let one = |dtype: &str, data: &[u8]| {
            let header = format!(
                "{{\"x\":{{\"dtype\":\"{dtype}\",\"shape\":[1],\"data_offsets\":[0,{}]}}}}",
                data.len()
            );
            let mut weights = Weights::from_bytes(file(&header, data)).expect(dtype);
            weights.read("x").map(|x| x.expect("it is there").data[0])
        };
        assert_eq!(one("F16", &0xc200u16.to_le_bytes()).ok(), Some(-3.0));
        assert_eq!(one("BF16", &0x4049u16.to_le_bytes()).ok(), Some(3.140_625));
        assert_eq!(one("F64", &0.5f64.to_le_bytes()).ok(), Some(0.5));
        assert_eq!(one("I32", &(-7i32).to_le_bytes()).ok(), Some(-7.0));
        assert_eq!(one("I8", &[0xfe]).ok(), Some(-2.0));
        assert!(one("I64", &[0; 8]).is_err());
    }

    #[test]
    fn lying_headers_are_errors_that_say_why() {
        assert!(what(vec![]).contains("ends after 0 bytes"));
        assert!(what(vec![1, 2, 3]).contains("ends after 3 bytes"));
        assert!(what(u64::MAX.to_le_bytes().to_vec()).contains("a header of 18446744073709551615 bytes"));
        assert!(what(50u64.to_le_bytes().to_vec()).contains("a header of 50 bytes in a file of 8"));
        assert!(what(file("not json", &[])).contains("its header"));
        assert!(what(file(&"[".repeat(100_000), &[])).contains("its header"));
        let with = |body: &str, data: usize| what(file(&format!("{{\"x\":{body}}}"), &vec![0; data]));
        let sound = r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
        assert!(with(sound, 4).contains("declares 8 bytes of data, 4 are there"));
        assert!(with(sound, 12).contains("declares 8 bytes of data, 12 are there"));
        assert!(with(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#, 8).contains("its header"));
        assert!(with(r#"{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#, 12).contains("its header"));
        assert!(with(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#, 8).contains("its header"));
        let huge = r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#;
        assert!(with(huge, 0).contains("its header"));
        let hidden = r#"{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}"#;
        assert!(with(hidden, 0).contains("more than memory holds"));
        assert!(with(r#"{"dtype":"Q7","shape":[2],"data_offsets":[0,8]}"#, 8).contains("its header"));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[("a", &[2], &[1.0, 2.0]), ("b", &[1, 1], &[3.0])])
            .expect("a vector takes everything");
        for len in 0..bytes.len() {
            assert!(Weights::from_bytes(bytes[..len].to_vec()).is_err(), "cut to {len}");
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x20, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let Ok(mut weights) = Weights::from_bytes(changed) else { continue };
                let names: Vec<String> = weights.shapes().map(|(name, _)| name.to_owned()).collect();
                for name in names {
                    if let Ok(Some(array)) = weights.read(&name) {
                        assert_eq!(array.data.len(), array.dims.iter().product::<usize>());
                    }
                }
            }
        }
    }
}
