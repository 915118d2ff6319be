//! Files as bytes of the process's memory that are read when they are looked at: what models of hundreds of megabytes lie in until
//! their weights are packed.
//!
//! In: an open file. Out: its bytes, shared and cheap to cut. What is no plain file (a pipe) is read. Whoever shortens a file while it
//! is mapped ends the process by a fault; who changes it changes numbers, and sizes that were checked hold.

use std::fs::File;
use std::io::{self, Read};

use memmap2::Mmap;
use prost::bytes::Bytes;

/// Files shorter than this are read: nothing is gained by mapping them.
const SMALL: u64 = 1 << 16;

/// The bytes of a file.
///
/// # Errors
/// What the system says.
pub fn bytes(mut file: &File) -> io::Result<Bytes> {
    let about = file.metadata()?;
    if !about.is_file() || about.len() < SMALL {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return Ok(bytes.into());
    }
    // SAFETY: the map is read-only, private, and lives as long as the bytes that hold it. That others write to the file meanwhile cannot be
    // excluded: what is decoded from it is copied before it is checked, elements are plain numbers of which every pattern is one.
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}
