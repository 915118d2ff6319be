//! The only place that calls machine code.
//!
//! An [`Entry`] is one function of one nest with what it promises: how long each buffer is, which ones it writes, into how
//! many chunks its work is cut. It keeps alive whatever owns the code.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The compiled function of a nest: one pointer per buffer, and the chunks `begin..end` to do.
#[cfg(target_arch = "x86_64")]
pub type RawFn = unsafe extern "sysv64" fn(bufs: *const *mut f32, begin: i64, end: i64);
/// The compiled function of a nest: one pointer per buffer, and the chunks `begin..end` to do.
#[cfg(not(target_arch = "x86_64"))]
pub type RawFn = unsafe extern "C" fn(bufs: *const *mut f32, begin: i64, end: i64);

/// A buffer that a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufSpec {
    /// Elements.
    pub len: usize,
    /// Whether the function stores into it.
    pub writable: bool,
}

/// A function of machine code.
#[derive(Clone)]
pub struct Entry {
    code: RawFn,
    name: Arc<str>,
    bufs: Arc<[BufSpec]>,
    chunks: usize,
    /// Whatever frees the code when the last entry is gone.
    _owner: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("bufs", &self.bufs)
            .field("chunks", &self.chunks)
            .finish()
    }
}

impl Entry {
    /// A function with its promises.
    ///
    /// # Safety
    /// `code` stays callable as long as `owner` lives. Called with one pointer per element of `bufs`, each to that many
    /// elements, and `0 <= begin <= end <= chunks`, it reads only within them, writes only within those marked writable,
    /// and writes disjoint elements for disjoint ranges, which no other disjoint range reads.
    pub unsafe fn new(
        code: RawFn,
        name: &str,
        bufs: Vec<BufSpec>,
        chunks: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Entry {
        Entry { code, name: name.into(), bufs: bufs.into(), chunks, _owner: owner }
    }

    /// What listings call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its buffers.
    pub fn bufs(&self) -> &[BufSpec] {
        &self.bufs
    }

    /// Into how many chunks its work is cut.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Runs chunks `begin..end` over `bufs`.
    ///
    /// # Safety
    /// `bufs` holds one pointer per element of [`Entry::bufs`], each to at least that many elements, the writable ones for
    /// writing, and none of those overlaps another. No other thread accesses what this range writes meanwhile.
    pub(super) unsafe fn call(&self, bufs: &[*mut f32], begin: usize, end: usize) {
        debug_assert_eq!(bufs.len(), self.bufs.len(), "one pointer per buffer");
        debug_assert!(begin <= end && end <= self.chunks, "a range of chunks");
        // SAFETY: the caller promises what `new` says the code needs; `_owner` keeps the code alive.
        unsafe { (self.code)(bufs.as_ptr(), begin as i64, end as i64) }
    }

    /// Runs everything over `bufs` on this thread.
    ///
    /// # Errors
    /// The number or length of the buffers is wrong.
    pub fn run(&self, bufs: &mut [&mut [f32]]) -> Result<(), WrongBuffers> {
        let fits = bufs.len() == self.bufs.len()
            && bufs.iter().zip(&*self.bufs).all(|(given, wanted)| given.len() == wanted.len);
        if !fits {
            return Err(WrongBuffers { entry: self.name.to_string() });
        }
        let pointers: Vec<*mut f32> = bufs.iter_mut().map(|b| b.as_mut_ptr()).collect();
        // SAFETY: the lengths were just checked, and exclusive borrows do not overlap.
        unsafe { self.call(&pointers, 0, self.chunks) };
        Ok(())
    }
}

/// Buffers that do not fit an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongBuffers {
    /// The entry.
    pub entry: String,
}

impl fmt::Display for WrongBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` was given buffers of the wrong number or length", self.entry)
    }
}

impl std::error::Error for WrongBuffers {}
