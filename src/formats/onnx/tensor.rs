//! The elements of a tensor in a file: any numeric encoding, as a slice of the file's buffer until they are asked for.
//!
//! In: a [`proto::Tensor`]. Out: [`Raw`], whose extents and length were checked against each other, so that decoding
//! cannot fail and takes no more memory than the extents say. Complex numbers and text are refused by name.

use prost::bytes::Bytes;

use super::proto;
use crate::formats::half_to_f32;
use crate::tensor::ty::checked_len;

/// An element type of ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in ONNX")]
pub enum Dtype {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    Bool,
    F16,
    F64,
    U32,
    U64,
    Bf16,
    F8E4M3Fn,
    F8E4M3Fnuz,
    F8E5M2,
    F8E5M2Fnuz,
    U4,
    I4,
    F4E2M1,
    F8E8M0,
    U2,
    I2,
}

/// What arithmetic a tensor's elements have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    /// Real numbers, computed in `f32`.
    Float,
    /// Integers: division and casts drop the fraction.
    Int,
    /// 0 and 1.
    Bool,
}

impl Dtype {
    /// From the number in a file.
    ///
    /// # Errors
    /// A phrase that names the type.
    pub fn of(number: i32) -> Result<Self, String> {
        Ok(match number {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            16 => Self::Bf16,
            17 => Self::F8E4M3Fn,
            18 => Self::F8E4M3Fnuz,
            19 => Self::F8E5M2,
            20 => Self::F8E5M2Fnuz,
            21 => Self::U4,
            22 => Self::I4,
            23 => Self::F4E2M1,
            24 => Self::F8E8M0,
            25 => Self::U2,
            26 => Self::I2,
            8 => return Err("elements that are text".into()),
            14 | 15 => return Err("elements that are complex numbers".into()),
            0 => return Err("elements of no type".into()),
            other => return Err(format!("elements of the unknown type {other}")),
        })
    }

    /// What arithmetic it has.
    pub fn elem(self) -> Elem {
        match self {
            Self::Bool => Elem::Bool,
            Self::F32 | Self::F16 | Self::F64 | Self::Bf16 | Self::F8E4M3Fn | Self::F8E4M3Fnuz => Elem::Float,
            Self::F8E5M2 | Self::F8E5M2Fnuz | Self::F4E2M1 | Self::F8E8M0 => Elem::Float,
            Self::U8 | Self::I8 | Self::U16 | Self::I16 | Self::I32 | Self::I64 | Self::U32 | Self::U64 => {
                Elem::Int
            }
            Self::U4 | Self::I4 | Self::U2 | Self::I2 => Elem::Int,
        }
    }

    /// Whether numbers are only stored in it: less than 16 bits of a float, less than 8 of an integer.
    pub fn is_narrow(self) -> bool {
        self.bits() < 8 || (self.bits() == 8 && self.elem() == Elem::Float)
    }

    /// Bits of an element in `raw_data`.
    fn bits(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 64,
            Self::F32 | Self::I32 | Self::U32 => 32,
            Self::F16 | Self::Bf16 | Self::U16 | Self::I16 => 16,
            Self::U8 | Self::I8 | Self::Bool | Self::F8E4M3Fn | Self::F8E4M3Fnuz => 8,
            Self::F8E5M2 | Self::F8E5M2Fnuz | Self::F8E8M0 => 8,
            Self::U4 | Self::I4 | Self::F4E2M1 => 4,
            Self::U2 | Self::I2 => 2,
        }
    }

    /// The number that the lowest bits of `x` mean.
    fn value(self, x: u64) -> f64 {
        let signed = |bits: u32| ((x << (64 - bits)) as i64 >> (64 - bits)) as f64;
        match self {
            Self::F32 => f64::from(f32::from_bits(x as u32)),
            Self::F64 => f64::from_bits(x),
            Self::F16 => f64::from(half_to_f32(x as u16)),
            Self::Bf16 => f64::from(f32::from_bits((x as u32) << 16)),
            Self::I64 => signed(64),
            Self::I32 => signed(32),
            Self::I16 => signed(16),
            Self::I8 => signed(8),
            Self::I4 => signed(4),
            Self::I2 => signed(2),
            Self::Bool => f64::from(u8::from(x as u8 != 0)),
            Self::U8 => x as u8 as f64,
            Self::U16 => x as u16 as f64,
            Self::U32 => x as u32 as f64,
            Self::U64 => x as f64,
            Self::U4 => (x & 15) as f64,
            Self::U2 => (x & 3) as f64,
            Self::F8E4M3Fn => small_float(x, 4, 3, 7, x & 0x7f == 0x7f),
            Self::F8E5M2 if x & 0x7c == 0x7c => match (x & 3, x & 0x80) {
                (0, 0) => f64::INFINITY,
                (0, _) => f64::NEG_INFINITY,
                _ => f64::NAN,
            },
            Self::F8E5M2 => small_float(x, 5, 2, 15, false),
            Self::F8E4M3Fnuz => small_float(x, 4, 3, 8, x & 0xff == 0x80),
            Self::F8E5M2Fnuz => small_float(x, 5, 2, 16, x & 0xff == 0x80),
            Self::F4E2M1 => small_float(x, 2, 1, 1, false),
            Self::F8E8M0 if x & 0xff == 0xff => f64::NAN,
            Self::F8E8M0 => libm::exp2((x & 0xff) as f64 - 127.0),
        }
    }
}

/// A float of one sign bit, `exponent` and `fraction` bits, and a bias.
fn small_float(x: u64, exponent: u32, fraction: u32, bias: i32, nan: bool) -> f64 {
    if nan {
        return f64::NAN;
    }
    let sign = if x >> (exponent + fraction) & 1 == 1 { -1.0 } else { 1.0 };
    let e = (x >> fraction & ((1 << exponent) - 1)) as i32;
    let f = (x & ((1 << fraction) - 1)) as f64 / f64::from(1u32 << fraction);
    let power = |e: i32| libm::exp2(f64::from(e));
    sign * if e == 0 { f * power(1 - bias) } else { (1.0 + f) * power(e - bias) }
}

/// A tensor of a file, not decoded yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Element type.
    pub dtype: Dtype,
    /// Extents; their product is checked.
    pub dims: Vec<usize>,
    field: Field,
}

/// Which field holds the elements.
#[allow(clippy::rc_buffer, reason = "a vector becomes shared without a copy")]
#[derive(Clone, Debug)]
enum Field {
    Bytes(Bytes),
    F32(std::sync::Arc<Vec<f32>>),
    F64(std::sync::Arc<Vec<f64>>),
    I32(std::sync::Arc<Vec<i32>>),
    I64(std::sync::Arc<Vec<i64>>),
    U64(std::sync::Arc<Vec<u64>>),
}

/// Extents as sizes.
///
/// # Errors
/// A phrase for negative ones, or a product too large.
pub fn extents(dims: &[i64]) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    let sizes = sizes.ok_or_else(|| format!("a negative extent in {dims:?}"))?;
    checked_len(&sizes).ok_or_else(|| format!("extents {dims:?}, more than memory holds"))?;
    Ok(sizes)
}

impl Raw {
    /// Checks a tensor whose elements are in the file itself, or in `external` bytes. Takes the elements out of it.
    ///
    /// # Errors
    /// A phrase that says what is wrong with it.
    pub fn of(tensor: &mut proto::Tensor, external: Option<Bytes>) -> Result<Self, String> {
        let dtype = Dtype::of(tensor.data_type)?;
        let dims = extents(&tensor.dims)?;
        let len: usize = dims.iter().product();
        let field = match external {
            Some(bytes) => Field::Bytes(bytes),
            None if !tensor.raw_data.is_empty() => Field::Bytes(std::mem::take(&mut tensor.raw_data)),
            None => match dtype {
                Dtype::F32 => Field::F32(std::mem::take(&mut tensor.float_data).into()),
                Dtype::F64 => Field::F64(std::mem::take(&mut tensor.double_data).into()),
                Dtype::I64 => Field::I64(std::mem::take(&mut tensor.int64_data).into()),
                Dtype::U32 | Dtype::U64 => Field::U64(std::mem::take(&mut tensor.uint64_data).into()),
                _ => Field::I32(std::mem::take(&mut tensor.int32_data).into()),
            },
        };
        let raw = Self { dtype, dims, field };
        if let Field::Bytes(b) = &raw.field
            && raw.dtype.bits() >= 8
            && !b.len().is_multiple_of(raw.dtype.bits() / 8)
        {
            let dims = &raw.dims;
            return Err(format!("{} bytes, no whole number of elements for the extents {dims:?}", b.len()));
        }
        let have = raw.capacity();
        // Elements of less than a byte share bytes, the last may be padded.
        let packed = if raw.dtype.bits() < 8 {
            len.div_ceil(8 / raw.dtype.bits()) * (8 / raw.dtype.bits())
        } else {
            len
        };
        if have != packed {
            return Err(format!("{have} elements for the extents {:?}", raw.dims));
        }
        Ok(raw)
    }

    /// Whether two are the same elements in the same place.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |raw: &Self| match &raw.field {
            Field::Bytes(b) => (b.as_ptr().addr(), b.len()),
            Field::F32(v) => (v.as_ptr().addr(), v.len()),
            Field::F64(v) => (v.as_ptr().addr(), v.len()),
            Field::I32(v) => (v.as_ptr().addr(), v.len()),
            Field::I64(v) => (v.as_ptr().addr(), v.len()),
            Field::U64(v) => (v.as_ptr().addr(), v.len()),
        };
        self.dtype == other.dtype && place(self) == place(other)
    }

    /// How many elements the field holds.
    fn capacity(&self) -> usize {
        let per_byte = |bits: usize| if bits < 8 { 8 / bits } else { 1 };
        match &self.field {
            Field::Bytes(b) if self.dtype.bits() < 8 => b.len() * per_byte(self.dtype.bits()),
            Field::Bytes(b) => b.len() / (self.dtype.bits() / 8),
            Field::F32(v) => v.len(),
            Field::F64(v) => v.len(),
            Field::I32(v) => v.len() * per_byte(self.dtype.bits()),
            Field::I64(v) => v.len(),
            Field::U64(v) => v.len(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether some extent is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with each element in order.
    fn each(&self, mut f: impl FnMut(f64)) {
        let (dtype, len, bits) = (self.dtype, self.len(), self.dtype.bits());
        let part = |word: u64, i: usize| dtype.value(word >> (i % (8 / bits) * bits));
        match &self.field {
            Field::Bytes(b) if bits < 8 => (0..len).for_each(|i| f(part(u64::from(b[i * bits / 8]), i))),
            Field::Bytes(b) => b.chunks_exact(bits / 8).take(len).for_each(|chunk| {
                f(dtype.value(chunk.iter().rev().fold(0, |x, byte| x << 8 | u64::from(*byte))));
            }),
            Field::F32(v) => v.iter().for_each(|x| f(f64::from(*x))),
            Field::F64(v) => v.iter().for_each(|x| f(*x)),
            Field::I32(v) if bits < 8 => (0..len).for_each(|i| f(part(v[i * bits / 8] as u64, i))),
            Field::I32(v) => v.iter().for_each(|x| f(dtype.value(*x as u64))),
            Field::I64(v) => v.iter().for_each(|x| f(*x as f64)),
            Field::U64(v) => v.iter().for_each(|x| f(dtype.value(*x))),
        }
    }

    /// All elements.
    pub fn f64s(&self) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.len());
        self.each(|x| out.push(x));
        out
    }

    /// All elements, rounded to `f32`.
    pub fn f32s(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.len());
        match (&self.field, self.dtype) {
            // The common case, a plain copy.
            (Field::Bytes(b), Dtype::F32) => {
                out.extend(b.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])));
            }
            _ => self.each(|x| out.push(x as f32)),
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(data_type: i32, dims: &[i64], bytes: &[u8]) -> Result<Vec<f64>, String> {
        let mut tensor = proto::Tensor {
            data_type,
            dims: dims.to_vec(),
            raw_data: Bytes::copy_from_slice(bytes),
            ..proto::Tensor::default()
        };
        Raw::of(&mut tensor, None).map(|r| r.f64s())
    }

    #[test]
    fn every_encoding_is_decoded() {
        let one = |data_type, bytes: &[u8]| raw(data_type, &[1], bytes).expect("sound")[0];
        assert!(raw(7, &[1], &[0; 4]).is_err() && raw(7, &[2], &[0; 12]).is_err(), "no whole elements");
        assert_eq!(one(1, &1.5f32.to_le_bytes()), 1.5);
        assert_eq!(one(2, &[250]), 250.0);
        assert_eq!(one(3, &[250]), -6.0);
        assert_eq!(one(5, &(-300i16).to_le_bytes()), -300.0);
        assert_eq!(one(7, &i64::MIN.to_le_bytes()), i64::MIN as f64);
        assert_eq!(one(9, &[7]), 1.0);
        assert_eq!(one(10, &0xc200u16.to_le_bytes()), -3.0);
        assert_eq!(one(11, &0.1f64.to_le_bytes()), 0.1);
        assert_eq!(one(16, &0x4049u16.to_le_bytes()), 3.140_625);
        assert_eq!(one(17, &[0x38]), 1.0);
        assert_eq!(one(17, &[0x7e]), 448.0);
        assert!(one(17, &[0xff]).is_nan());
        assert_eq!(one(18, &[0x40]), 1.0);
        assert_eq!(one(19, &[0xbc]), -1.0);
        assert_eq!(one(19, &[0x7c]), f64::INFINITY);
        assert_eq!(one(20, &[0x40]), 1.0);
        assert_eq!(one(24, &[128]), 2.0);
        assert_eq!(raw(22, &[3], &[0xf2, 0x08]).expect("sound"), [2.0, -1.0, -8.0]);
        assert_eq!(raw(21, &[3], &[0xf2, 0x08]).expect("sound"), [2.0, 15.0, 8.0]);
        assert_eq!(raw(23, &[2], &[0x9f]).expect("sound"), [-6.0, -0.5]);
        assert_eq!(raw(26, &[4], &[0b1110_0100]).expect("sound"), [0.0, 1.0, -2.0, -1.0]);
    }

    #[test]
    fn lying_tensors_are_refused() {
        assert_eq!(raw(1, &[2], &[0; 4]), Err("1 elements for the extents [2]".into()));
        assert_eq!(
            raw(1, &[1], &[0; 6]),
            Err("6 bytes, no whole number of elements for the extents [1]".into())
        );
        assert_eq!(raw(1, &[-1], &[0; 4]), Err("a negative extent in [-1]".into()));
        assert!(raw(1, &[1 << 40, 1 << 40], &[0; 4]).is_err_and(|e| e.contains("more than memory holds")));
        assert!(raw(8, &[1], &[0; 4]).is_err_and(|e| e.contains("text")));
        assert!(raw(99, &[1], &[0; 4]).is_err_and(|e| e.contains("unknown type 99")));
    }
}
