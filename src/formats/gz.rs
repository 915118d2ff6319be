//! gzip in front of another format: whether a file is compressed is seen at its first two bytes, never at its name.
//!
//! What comes out is as long as the compressed bytes say, which may be a thousand times their length: every reader behind it
//! must bound what it takes.

use std::io::{self, BufRead, Read};

/// The bytes of `reader`, decompressed when they begin as gzip does (RFC 1952); several members are one text.
///
/// # Errors
/// What the reader says of its first bytes; a broken stream is an error of the later reads.
pub fn plain<'r>(mut reader: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let compressed = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if compressed { Box::new(flate2::bufread::MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// `bytes` as a gzip file.
#[cfg(test)]
pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut encoder, bytes).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        plain(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn compressed_or_not_the_bytes_are_the_same() {
        let text = b"0,1,2\n3,4,5\n".repeat(20);
        assert_eq!(all(&text).expect("plain"), text);
        assert_eq!(all(&compress(&text)).expect("compressed"), text);
        let two = [compress(&text[..6]), compress(&text[6..])].concat();
        assert_eq!(all(&two).expect("two members"), text);
        assert_eq!(all(b"").expect("empty"), b"");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = compress(b"0,1,2\n3,4,5\n");
        for len in 2..bytes.len() {
            assert!(all(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}
