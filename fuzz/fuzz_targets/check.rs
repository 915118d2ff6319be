//! Any bytes may be a program: parsing and resolving them ends, with diagnostics or without, and never panics.

#![no_main]

use cnnc::session::{Compiler, NoFiles, Options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    Compiler::new(Options::default()).check_bytes("fuzz.cnn", bytes, &NoFiles);
});
