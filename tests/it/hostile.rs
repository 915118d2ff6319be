//! The fuzzer's corpus as a plain test: whatever the bytes, parsing and resolving end soon, with messages and without panic.

use std::time::Instant;

use cnnc::session::{Compiler, NoFiles, Options};

use crate::support::{files, relative};

/// Seconds that one file may take; a hundred times what any takes on an idle machine.
const SECONDS_MAX: u64 = 60;

#[test]
fn the_corpus_of_the_fuzzer_ends_soon_and_well() {
    let corpus = files("fuzz/corpus/check", "");
    assert!(corpus.len() >= 45, "{} files", corpus.len());
    for path in corpus {
        let bytes = std::fs::read(&path).expect("a readable corpus");
        let start = Instant::now();
        let checked = Compiler::new(Options::default()).check_bytes("fuzz.cnn", &bytes, &NoFiles);
        let name = relative(&path);
        assert!(start.elapsed().as_secs() < SECONDS_MAX, "{name} took {:?}", start.elapsed());
        for d in checked.diagnostics() {
            assert!(!d.message.is_empty() && d.message.len() < 2000, "{name}: {:.200}", d.message);
        }
    }
}
