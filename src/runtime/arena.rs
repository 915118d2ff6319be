//! Storage of `f32` that starts as zeros at a multiple of [`ALIGN`] bytes. Much of it lies in pages of its own, for which large
//! ones are asked where the system offers them: a network's weights and values span more small pages than a processor knows at
//! a time.

use memmap2::MmapMut;

/// Alignment of the first element in bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// A large page.
const PAGE: usize = 2 << 20;

/// So many elements and more get pages of their own.
const OWN_PAGES: usize = 2 * PAGE / size_of::<f32>();

/// A fixed number of `f32`.
#[derive(Debug, Default)]
pub struct Storage {
    /// With room to move the first element to its alignment.
    raw: Raw,
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Raw {
    Heap(Vec<f32>),
    Pages(MmapMut),
}

impl Default for Raw {
    fn default() -> Self {
        Raw::Heap(Vec::new())
    }
}

impl Raw {
    fn as_slice(&self) -> &[f32] {
        match self {
            Raw::Heap(v) => v,
            Raw::Pages(m) => bytemuck::cast_slice(m),
        }
    }
}

impl Storage {
    /// `len` zeros. Pages that are never written cost no memory where the system works that way.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        let none = OutOfMemory { elements: len };
        let align = if len >= OWN_PAGES { PAGE } else { ALIGN };
        let padded = len.checked_add(align / size_of::<f32>()).ok_or(none)?;
        // Asked for first, since a failed `vec!` would end the process; the reservation itself is not kept.
        Vec::<f32>::new().try_reserve_exact(padded).map_err(|_| none)?;
        let raw = if len >= OWN_PAGES {
            pages(padded).map_or_else(|| Raw::Heap(vec![0.0; padded]), Raw::Pages)
        } else {
            Raw::Heap(vec![0.0; padded])
        };
        let offset = raw.as_slice().as_ptr().align_offset(align);
        // `align_offset` may say that it does not know; then elements lie anywhere, and runs that need more are refused.
        let start = if offset <= padded - len { offset } else { 0 };
        Ok(Self { raw, start, len })
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
        &self.raw.as_slice()[self.start..self.start + self.len]
    }

    /// The elements, to write.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        let all = match &mut self.raw {
            Raw::Heap(v) => v.as_mut_slice(),
            Raw::Pages(m) => bytemuck::cast_slice_mut(m),
        };
        &mut all[self.start..self.start + self.len]
    }
}

/// Fresh pages, large ones if the system can.
fn pages(elements: usize) -> Option<MmapMut> {
    let map = MmapMut::map_anon(elements.checked_mul(size_of::<f32>())?).ok()?;
    // Without large pages memory is only slower.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
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
        for len in [0, 1, 15, 16, 17, 1000, OWN_PAGES, OWN_PAGES + 3] {
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
