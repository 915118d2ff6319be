//! Any bytes may be an ONNX model: importing them ends, with a graph or an error, and never panics.

#![no_main]

use cnnc::formats::onnx::{ImportOptions, import};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = import(bytes.to_vec().into(), &ImportOptions::default());
});
