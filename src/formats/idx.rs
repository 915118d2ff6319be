//! IDX, the format of MNIST: two zero bytes, the element's type, the rank, the extents (big-endian `u32`), the elements.
//!
//! Format: the foot of <http://yann.lecun.com/exdb/mnist/>. All six element types are read; what is stored as bytes stays
//! bytes, as 60,000 pictures of floats would take four times the memory. A file may be compressed (gzip).

use std::io::BufRead;

use super::{FormatError, checked_count, gz, read_promised};

const FORMAT: &str = "IDX";
/// More extents than any data set has.
const RANK_MAX: u8 = 8;

/// An array of an IDX file.
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    /// Extents, outermost first.
    pub dims: Vec<usize>,
    /// As many elements as the product of the extents, the last dimension fastest.
    pub data: Elements,
}

/// Elements as they are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Unsigned bytes.
    Bytes(Vec<u8>),
    /// Everything else, as floats (4-byte integers and doubles are rounded).
    Floats(Vec<f32>),
}

/// Reads one array of at most `elements_max` elements.
///
/// # Errors
/// [`FormatError::Malformed`] for a file that is cut off, lies or goes on after its data, [`FormatError::Mismatch`] for too
/// many elements, [`FormatError::Io`].
pub fn read(reader: impl BufRead, elements_max: usize) -> Result<Idx, FormatError> {
    let reader = &mut *gz::plain(reader)?;
    let short = |got: u64| malformed(format!("it ends after {got} bytes, within its header"));
    let head = read_promised(reader, 4)?.map_err(short)?;
    let [0, 0, kind, rank] = head[..] else {
        return Err(malformed("it does not begin with two zero bytes"));
    };
    let size = element_size(kind).ok_or_else(|| {
        malformed(format!("elements of type {kind:#04x}, where 8, 9, 11, 12, 13 and 14 are known"))
    })?;
    if rank > RANK_MAX {
        return Err(malformed(format!("it declares {rank} extents, where {RANK_MAX} are the most")));
    }
    let extents = read_promised(reader, 4 * u64::from(rank))?.map_err(|got| short(4 + got))?;
    let dims: Vec<usize> =
        extents.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
    let count = checked_count(&dims)
        .ok_or_else(|| malformed(format!("it declares extents {dims:?}, more than memory holds")))?;
    if count > elements_max {
        let message = format!("it holds {count} elements {dims:?}, at most {elements_max} are taken");
        return Err(FormatError::Mismatch(message));
    }
    let len = count as u64 * size as u64;
    let bytes = read_promised(reader, len)?.map_err(|got| {
        malformed(format!("it ends early: {dims:?} needs {len} bytes of data, {got} are there"))
    })?;
    if reader.read(&mut [0])? != 0 {
        return Err(malformed(format!("it goes on after the {len} bytes of data that {dims:?} needs")));
    }
    let data = if kind == 8 {
        Elements::Bytes(bytes)
    } else {
        Elements::Floats(bytes.chunks_exact(size).map(|b| decode(kind, b)).collect())
    };
    Ok(Idx { dims, data })
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed(FORMAT, what)
}

fn element_size(kind: u8) -> Option<usize> {
    match kind {
        0x08 | 0x09 => Some(1),
        0x0b => Some(2),
        0x0c | 0x0d => Some(4),
        0x0e => Some(8),
        _ => None,
    }
}

/// One element that is not an unsigned byte; big-endian.
fn decode(kind: u8, bytes: &[u8]) -> f32 {
    let bits = bytes.iter().fold(0u64, |bits, b| bits << 8 | u64::from(*b));
    match kind {
        0x09 => f32::from(bits as u8 as i8),
        0x0b => f32::from(bits as u16 as i16),
        0x0c => bits as u32 as i32 as f32,
        0x0d => f32::from_bits(bits as u32),
        _ => f64::from_bits(bits) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Idx, FormatError> {
        read(bytes, 1 << 20)
    }

    #[test]
    fn every_element_type_is_read() {
        let bytes = parse(&file(8, &[2, 3], &[0, 1, 2, 3, 4, 255])).expect("sound");
        assert_eq!(bytes, Idx { dims: vec![2, 3], data: Elements::Bytes(vec![0, 1, 2, 3, 4, 255]) });
        let floats = |kind, data: &[u8]| match parse(&file(kind, &[1], data)).expect("sound").data {
            Elements::Floats(x) => x[0],
            Elements::Bytes(_) => f32::NAN,
        };
        assert_eq!(floats(9, &[0xfe]), -2.0);
        assert_eq!(floats(11, &(-300i16).to_be_bytes()), -300.0);
        assert_eq!(floats(12, &(-70_000i32).to_be_bytes()), -70_000.0);
        assert_eq!(floats(13, &1.5f32.to_be_bytes()), 1.5);
        assert_eq!(floats(14, &(-0.25f64).to_be_bytes()), -0.25);
    }

    #[test]
    fn a_compressed_file_is_the_same_file() {
        let bytes = file(8, &[2, 2], &[1, 2, 3, 4]);
        assert_eq!(parse(&gz::compress(&bytes)).expect("sound"), parse(&bytes).expect("sound"));
    }

    #[test]
    fn a_declared_size_costs_nothing() {
        let huge = file(8, &[u32::MAX, u32::MAX, u32::MAX], &[]);
        assert!(matches!(parse(&huge), Err(FormatError::Malformed { .. })));
        let large = file(8, &[1 << 16, 1 << 14], &[1, 2, 3]);
        assert!(matches!(parse(&large), Err(FormatError::Mismatch(m)) if m.contains("at most 1048576")));
        let short = file(14, &[1 << 10, 1 << 10], &[1, 2, 3]);
        assert!(parse(&short).is_err_and(|e| e.to_string().contains("3 are there")));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let plain = file(11, &[2, 2], &[0, 1, 0, 2, 0, 3, 0, 4]);
        for bytes in [plain.clone(), gz::compress(&plain)] {
            for len in 0..bytes.len() {
                assert!(parse(&bytes[..len]).is_err(), "cut to {len} of {}", bytes.len());
            }
            for at in 0..bytes.len() {
                for mask in [0x01, 0x41, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= mask;
                    if let Ok(array) = parse(&changed) {
                        let len = match &array.data {
                            Elements::Bytes(b) => b.len(),
                            Elements::Floats(f) => f.len(),
                        };
                        assert_eq!(array.dims.iter().product::<usize>(), len);
                    }
                }
            }
            assert!(parse(&[bytes, vec![0]].concat()).is_err(), "a byte too many");
        }
    }
}
