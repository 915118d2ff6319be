//! NumPy's `.npy`: a magic, a header that is a Python dictionary literal, and the raw elements.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, versions 1 to 3. Read are floats of
//! 2, 4 and 8 bytes, integers of 1 to 8 bytes and booleans, either byte order, C and Fortran order; all become row-major
//! `f32`. Written is version 1, `<f4`, C order.
//!
//! Deliberately absent: structured types, complex numbers, text, pickles. The header is read by a parser of our own for
//! exactly the three keys, because the general ones recurse over arbitrary Python literals and multiply extents unchecked:
//! a hostile header must not cost the process.

use std::io::{Read, Write};

use super::{FormatError, HostArray, checked_count, read_promised};

const FORMAT: &str = ".npy";
const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself refuses longer headers unless told that the file is trusted (`max_header_size`).
const HEADER_BYTES_MAX: u64 = 10_000;
/// NumPy's own limit since 2.0.
const RANK_MAX: usize = 64;

/// Reads one array.
///
/// `elements_max` is the greatest number of elements the caller has a use for; a header that declares more is refused
/// before anything is read for it.
///
/// # Errors
/// [`FormatError::Malformed`] for a file that is cut off, lies or goes on after its data,
/// [`FormatError::Unsupported`] for elements that are no real numbers, [`FormatError::Mismatch`] for too many of them,
/// [`FormatError::Io`].
pub fn read(reader: &mut dyn Read, elements_max: usize) -> Result<HostArray, FormatError> {
    let header = read_header(reader)?;
    let count = checked_count(&header.dims).ok_or_else(|| {
        malformed(format!("its header declares extents {:?}, more than memory holds", header.dims))
    })?;
    if count > elements_max {
        let message =
            format!("it holds {count} elements {:?}, at most {elements_max} are of use", header.dims);
        return Err(FormatError::Mismatch(message));
    }
    let len = count as u64 * header.element.size as u64;
    let bytes = read_promised(reader, len)?.map_err(|got| {
        malformed(format!("it ends early: {:?} needs {len} bytes of data, {got} are there", header.dims))
    })?;
    if reader.read(&mut [0])? != 0 {
        return Err(malformed(format!(
            "it goes on after the {len} bytes of data that {:?} needs",
            header.dims
        )));
    }
    let data: Vec<f32> = bytes.chunks_exact(header.element.size).map(|b| header.element.decode(b)).collect();
    let data = if header.fortran { to_row_major(&header.dims, &data) } else { data };
    Ok(HostArray { dims: header.dims, data })
}

/// The extents that the header of an array declares; nothing more is read.
///
/// # Errors
/// [`FormatError::Io`], [`FormatError::Malformed`] for what is no header.
pub fn shape(reader: &mut dyn Read) -> Result<Vec<usize>, FormatError> {
    Ok(read_header(reader)?.dims)
}

/// Writes one array as version 1, little-endian `f4`, C order.
///
/// # Errors
/// What the writer says.
pub fn write(writer: &mut dyn Write, dims: &[usize], data: &[f32]) -> Result<(), FormatError> {
    let shape: String = match dims {
        [one] => format!("({one},)"),
        _ => format!("({})", dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Data begins at a multiple of 64 bytes; the header ends in a newline.
    let prefix = MAGIC.len() + 4;
    let padded = (prefix + header.len() + 1).next_multiple_of(64) - prefix;
    header.extend(std::iter::repeat_n(' ', padded - header.len() - 1));
    header.push('\n');
    let len = u16::try_from(header.len())
        .map_err(|_| FormatError::unsupported(FORMAT, format!("{} dimensions are too many", dims.len())))?;
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    writer.write_all(&len.to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    for block in data.chunks(1 << 14) {
        let bytes: Vec<u8> = block.iter().flat_map(|x| x.to_le_bytes()).collect();
        writer.write_all(&bytes)?;
    }
    writer.flush()?;
    Ok(())
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed(FORMAT, what)
}

#[derive(Debug, PartialEq)]
struct Header {
    element: Element,
    fortran: bool,
    dims: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Float,
    Int,
    Unsigned,
}

/// How one element is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Element {
    kind: Kind,
    size: usize,
    big_endian: bool,
}

impl Element {
    fn parse(descr: &str) -> Option<Self> {
        let (order, rest) = descr.split_at_checked(1)?;
        let (kind, size) = rest.split_at_checked(1)?;
        let size: usize = size.parse().ok()?;
        let kind = match (kind, size) {
            ("f", 2 | 4 | 8) => Kind::Float,
            ("i", 1 | 2 | 4 | 8) => Kind::Int,
            ("u", 1 | 2 | 4 | 8) | ("b", 1) => Kind::Unsigned,
            _ => return None,
        };
        match order {
            "<" => Some(Self { kind, size, big_endian: false }),
            ">" => Some(Self { kind, size, big_endian: true }),
            "|" | "=" if size == 1 => Some(Self { kind, size, big_endian: false }),
            _ => None,
        }
    }

    fn decode(self, bytes: &[u8]) -> f32 {
        let mut bits = 0u64;
        for i in 0..self.size {
            let byte = if self.big_endian { bytes[i] } else { bytes[self.size - 1 - i] };
            bits = bits << 8 | u64::from(byte);
        }
        match self.kind {
            Kind::Unsigned => bits as f32,
            // The sign bit is moved to the top and back, which extends it.
            Kind::Int => {
                let shift = 64 - 8 * self.size as u32;
                (((bits << shift) as i64) >> shift) as f32
            }
            Kind::Float => match self.size {
                2 => super::half_to_f32(bits as u16),
                4 => f32::from_bits(bits as u32),
                _ => f64::from_bits(bits) as f32,
            },
        }
    }
}

fn read_header(reader: &mut dyn Read) -> Result<Header, FormatError> {
    let short = |got: u64| malformed(format!("it ends after {got} bytes, within its header"));
    let head = read_promised(reader, 8)?.map_err(short)?;
    if !head.starts_with(MAGIC) {
        return Err(malformed("it does not begin with `\\x93NUMPY`"));
    }
    let len_bytes = match head[6] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(malformed(format!("version {other}, where 1 to 3 are known"))),
    };
    let len = read_promised(reader, len_bytes)?.map_err(|got| short(8 + got))?;
    let len = len.iter().rev().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
    if len > HEADER_BYTES_MAX {
        return Err(malformed(format!("a header of {len} bytes, where {HEADER_BYTES_MAX} are the most")));
    }
    let text = read_promised(reader, len)?.map_err(|got| short(8 + len_bytes + got))?;
    let text = String::from_utf8(text).map_err(|_| malformed("its header is not text"))?;
    parse_header(&text)
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, the keys in any order.
fn parse_header(text: &str) -> Result<Header, FormatError> {
    let bad = || malformed(format!("its header is not the usual dictionary: {}", text.trim_end()));
    let mut rest = text.trim().strip_prefix('{').ok_or_else(bad)?.trim_start();
    let (mut element, mut fortran, mut dims) = (None, None, None);
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest).ok_or_else(bad)?;
        let value = after.trim_start().strip_prefix(':').ok_or_else(bad)?.trim_start();
        rest = match key {
            "descr" => {
                let (descr, after) = quoted(value).ok_or_else(|| {
                    FormatError::unsupported(
                        FORMAT,
                        "structured elements, where plain real numbers are taken",
                    )
                })?;
                element = Some(Element::parse(descr).ok_or_else(|| {
                    let what = format!(
                        "elements of type `{descr}`, where f2 f4 f8, i1..i8, u1..u8 and bool are taken"
                    );
                    FormatError::unsupported(FORMAT, what)
                })?);
                after
            }
            "fortran_order" => match value.strip_prefix("True") {
                Some(after) => {
                    fortran = Some(true);
                    after
                }
                None => {
                    fortran = Some(false);
                    value.strip_prefix("False").ok_or_else(bad)?
                }
            },
            "shape" => {
                let (list, after) =
                    value.strip_prefix('(').and_then(|v| v.split_once(')')).ok_or_else(bad)?;
                dims = Some(parse_shape(list)?);
                after
            }
            _ => return Err(bad()),
        };
        rest = rest.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.starts_with('}') => rest,
            None => return Err(bad()),
        };
    }
    match (element, fortran, dims) {
        (Some(element), Some(fortran), Some(dims)) if rest == "}" => Ok(Header { element, fortran, dims }),
        _ => Err(bad()),
    }
}

/// `'text'` or `"text"` at the start, and what follows it. Escapes do not occur in the values of interest.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| *c == '\'' || *c == '"')?;
    text.get(1..)?.split_once(quote)
}

fn parse_shape(list: &str) -> Result<Vec<usize>, FormatError> {
    let dims: Vec<usize> = list
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
        // Python 2 wrote long integers as `3L`.
        .map(|d| d.strip_suffix('L').unwrap_or(d).parse().ok())
        .collect::<Option<_>>()
        .ok_or_else(|| malformed(format!("its header declares the shape ({list})")))?;
    if dims.len() > RANK_MAX {
        return Err(malformed(format!("its header declares {} dimensions", dims.len())));
    }
    Ok(dims)
}

/// Elements that lie with the first dimension fastest, as row-major.
fn to_row_major(dims: &[usize], data: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(data.len());
    let mut strides = Vec::with_capacity(dims.len());
    let mut stride = 1;
    for d in dims {
        strides.push(stride);
        stride *= d;
    }
    crate::tensor::array::for_each_index(dims, |idx| {
        out.push(data[idx.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>()]);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<HostArray, FormatError> {
        read(&mut &bytes[..], 1000)
    }

    fn what(bytes: &[u8]) -> String {
        parse(bytes).expect_err("a broken file").to_string()
    }

    #[test]
    fn what_is_written_reads_back() {
        for dims in [vec![], vec![3], vec![2, 3], vec![1, 2, 3, 4], vec![0, 5]] {
            let count: usize = dims.iter().product();
            let data: Vec<f32> = (0..count).map(|i| i as f32 * 0.5 - 1.0).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, &dims, &data).expect("a vector takes everything");
            assert_eq!((bytes.len() - count * 4) % 64, 0, "data must be aligned");
            assert_eq!(parse(&bytes).expect("our own file"), HostArray { dims, data });
        }
    }

    #[test]
    fn every_element_type_becomes_f32() {
        let one = |descr: &str, data: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}\n");
            parse(&file(&header, data)).expect(descr).data[0]
        };
        assert_eq!(one("<f4", &1.5f32.to_le_bytes()), 1.5);
        assert_eq!(one(">f4", &1.5f32.to_be_bytes()), 1.5);
        assert_eq!(one("<f8", &(-2.25f64).to_le_bytes()), -2.25);
        assert_eq!(one(">f8", &(-2.25f64).to_be_bytes()), -2.25);
        assert_eq!(one("<f2", &0x3e00u16.to_le_bytes()), 1.5);
        assert_eq!(one("<f2", &0x0001u16.to_le_bytes()), 2f32.powi(-24));
        assert_eq!(one("|u1", &[200]), 200.0);
        assert_eq!(one("|b1", &[1]), 1.0);
        assert_eq!(one("|i1", &[0xff]), -1.0);
        assert_eq!(one("<i2", &(-300i16).to_le_bytes()), -300.0);
        assert_eq!(one(">i4", &70000i32.to_be_bytes()), 70000.0);
        assert_eq!(one("<i8", &(-5i64).to_le_bytes()), -5.0);
        assert_eq!(one("<u8", &(1u64 << 40).to_le_bytes()), (1u64 << 40) as f32);
    }

    #[test]
    fn fortran_order_is_transposed() {
        let data: Vec<u8> = [0u8, 3, 1, 4, 2, 5].to_vec();
        let array =
            parse(&file("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", &data)).expect("sound");
        assert_eq!(array, HostArray { dims: vec![2, 3], data: vec![0., 1., 2., 3., 4., 5.] });
    }

    #[test]
    fn keys_come_in_any_order_and_with_either_quote() {
        let bytes = file("{\"shape\": (2,), 'fortran_order': False, 'descr': \"|u1\"}", &[7, 8]);
        assert_eq!(parse(&bytes).expect("sound").data, [7.0, 8.0]);
    }

    #[test]
    fn broken_files_are_errors_that_say_why() {
        assert!(what(b"").contains("ends after 0 bytes"));
        assert!(what(b"\x93NUM").contains("ends after 4 bytes"));
        assert!(what(b"PK\x03\x04 something else").contains("does not begin"));
        assert!(what(b"\x93NUMPY\x09\x00\x00\x00").contains("version 9"));
        assert!(what(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("a header of 4294967295 bytes"));
        assert!(what(&file("[1, 2]", &[])).contains("not the usual dictionary"));
        assert!(what(&file(&"(".repeat(9000), &[])).contains("not the usual dictionary"));
        assert!(what(&file("{'descr': '<f4', 'fortran_order': False, }", &[])).contains("dictionary"));
        let with = |descr: &str, shape: &str, data: &[u8]| {
            what(&file(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"), data))
        };
        assert!(with("<f4", "(3,)", &[0; 8]).contains("needs 12 bytes of data, 8 are there"));
        assert!(with("<f4", "(1,)", &[0; 8]).contains("goes on after the 4 bytes"));
        assert!(with("<c8", "(1,)", &[0; 8]).contains("`<c8`"));
        assert!(with("|O", "(1,)", &[0; 8]).contains("`|O`"));
        assert!(with("<f4", "(-1,)", &[0; 8]).contains("declares the shape (-1,)"));
        assert!(with("<f4", "(99999999999999999999,)", &[]).contains("declares the shape"));
        assert!(with("<f4", "(4294967296, 4294967296)", &[]).contains("more than memory holds"));
        assert!(with("<f4", "(0, 18446744073709551615, 3)", &[]).contains("more than memory holds"));
        assert!(with("<f4", "(2000,)", &[]).contains("at most 1000"));
        assert!(with("<f4", &format!("({})", "1,".repeat(65)), &[]).contains("65 dimensions"));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[2, 3], &[1.0; 6]).expect("a vector takes everything");
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "cut to {len}");
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(array) = parse(&changed) {
                    assert_eq!(array.data.len(), array.dims.iter().product::<usize>());
                }
            }
        }
    }
}
