//! Files in and out: weights ([`safetensors`]), arrays ([`npy`], [`npz`], [`idx`]), tables ([`csv`]), images ([`image`]).
//!
//! Bytes come in, host arrays ([`HostArray`], row-major `f32`) go out, and the reverse. A reader trusts nothing: every
//! size that a file declares is checked against what the caller expects and against the bytes that are really there
//! before memory is taken for it, so a file that lies or ends early is a [`FormatError`], in time and memory bounded by
//! the file's own length. No network, graph or operation is known here.

#[cfg(feature = "data")]
pub mod csv;
#[cfg(feature = "data")]
pub mod gz;
#[cfg(feature = "data")]
pub mod idx;
#[cfg(feature = "data")]
pub mod image;
#[cfg(feature = "onnx")]
pub mod map;
pub mod npy;
#[cfg(feature = "data")]
pub mod npz;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod program;
#[cfg(feature = "safetensors")]
pub mod safetensors;

use std::fmt;
use std::io::{self, Read};

/// A dense row-major array in the host's memory, the last dimension fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct HostArray {
    /// Extents, outermost first; empty for a lone number.
    pub dims: Vec<usize>,
    /// As many elements as the product of the extents.
    pub data: Vec<f32>,
}

/// Why a file could not be read or written.
#[derive(Debug)]
pub enum FormatError {
    /// The operating system refused.
    Io(io::Error),
    /// The bytes are not what the format demands: cut off, lying, or of another kind.
    Malformed {
        /// The format: `.npy`, `safetensors`, `image`.
        format: &'static str,
        /// What is wrong, one phrase with the values in it.
        what: String,
    },
    /// A sound file that holds something that has no place here (complex numbers, text).
    Unsupported {
        /// The format.
        format: &'static str,
        /// What it holds and what is taken.
        what: String,
    },
    /// A sound file whose contents do not fit the tensor they are for; both sizes stand in the text.
    Mismatch(String),
}

impl FormatError {
    fn malformed(format: &'static str, what: impl Into<String>) -> Self {
        Self::Malformed { format, what: what.into() }
    }

    fn unsupported(format: &'static str, what: impl Into<String>) -> Self {
        Self::Unsupported { format, what: what.into() }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed { format, what } => write!(f, "not a sound {format} file: {what}"),
            Self::Unsupported { format, what } => write!(f, "{format}: {what}"),
            Self::Mismatch(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for FormatError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Malformed { .. } | Self::Unsupported { .. } | Self::Mismatch(_) => None,
        }
    }
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads exactly `len` bytes. Memory grows with what really arrives, never with what a header promised; `Ok(Err(got))`
/// when the stream ends after `got` bytes.
fn read_promised(reader: &mut dyn Read, len: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let mut bytes = Vec::new();
    reader.take(len).read_to_end(&mut bytes)?;
    let got = bytes.len() as u64;
    Ok(if got == len { Ok(bytes) } else { Err(got) })
}

/// The element count of `dims`, if it and its size in `f32` bytes stay within an address space.
fn checked_count(dims: &[usize]) -> Option<usize> {
    let mut count = 1usize;
    for d in dims {
        // An extent of 0 must not hide an absurd one beside it.
        count = count.checked_mul((*d).max(1))?;
    }
    count.checked_mul(8).filter(|bytes| *bytes <= isize::MAX as usize)?;
    Some(if dims.contains(&0) { 0 } else { count })
}

/// An IEEE 754 half-precision number from its bits.
fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    let power = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
    match exponent {
        0 => sign * fraction * power(-14),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction) * power(exponent - 15),
    }
}
