//! Storage of `f32` that starts as zeros at a multiple of [`ALIGN`] bytes.

/// Alignment of the first element in bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// A fixed number of `f32`.
#[derive(Debug, Default)]
pub struct Storage {
    /// With room to move the first element to its alignment.
    raw: Vec<f32>,
    len: usize,
}

impl Storage {
    /// `len` zeros. Pages that are never written cost no memory where the system works that way.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        let padded = len.checked_add(ALIGN / size_of::<f32>()).ok_or(OutOfMemory { elements: len })?;
        // Asked for first, since a failed `vec!` would end the process; the reservation itself is not kept.
        Vec::<f32>::new().try_reserve_exact(padded).map_err(|_| OutOfMemory { elements: len })?;
        Ok(Self { raw: vec![0.0; padded], len })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn of(values: &[f32]) -> Result<Self, OutOfMemory> {
        let mut out = Self::zeroed(values.len())?;
        out.as_mut_slice().copy_from_slice(values);
        Ok(out)
    }

    /// The elements.
    pub fn as_slice(&self) -> &[f32] {
        let start = self.start();
        &self.raw[start..start + self.len]
    }

    /// The elements, to write.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        let start = self.start();
        &mut self.raw[start..start + self.len]
    }

    fn start(&self) -> usize {
        let offset = self.raw.as_ptr().align_offset(ALIGN);
        // `align_offset` may say that it does not know; then elements are merely unaligned, which code allows.
        if offset <= self.raw.len() - self.len { offset } else { 0 }
    }
}

/// Memory for that many elements could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How many were wanted.
    pub elements: usize,
}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no memory for {} numbers of 4 bytes", self.elements)
    }
}

impl std::error::Error for OutOfMemory {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_aligned_zero_and_of_the_length_asked_for() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut s = Storage::zeroed(len).expect("little memory");
            assert_eq!(s.as_slice().len(), len);
            assert_eq!(s.as_slice().as_ptr().align_offset(ALIGN), 0);
            assert!(s.as_slice().iter().all(|x| *x == 0.0));
            s.as_mut_slice().fill(2.0);
            assert!(s.as_slice().iter().all(|x| *x == 2.0));
        }
    }

    #[test]
    fn absurd_sizes_are_refused() {
        assert_eq!(Storage::zeroed(usize::MAX).map(|_| ()), Err(OutOfMemory { elements: usize::MAX }));
        assert!(Storage::zeroed(usize::MAX / 8).is_err());
    }
}
