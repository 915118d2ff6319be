//! Programs that are right: the examples and what operations print as examples pass without a word, blocks of `std` work,
//! paths and facts are what the language promises.

use std::path::Path;

use cnnc::resolve::{NoFiles, Options, Program, resolve};
use cnnc::session::report;
use cnnc::support::span::Sources;

fn check(name: &str, text: &str) -> (Program, String) {
    check_with(name, text, Options::default())
}

fn check_with(name: &str, text: &str, options: Options) -> (Program, String) {
    let mut sources = Sources::default();
    let root = sources.add(name, text);
    let options = Options { std: cnnc::parse::STD, ..options };
    let program = resolve(&mut sources, root, cnnc::parse::parse, &NoFiles, &options);
    let said = program.diagnostics.iter().map(|d| report::human(d, &sources, false)).collect();
    (program, said)
}

#[test]
fn examples_pass_without_a_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the examples")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "cnn"))
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    let mut all = String::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("an example");
        let (_, said) = check(&path.file_name().unwrap_or_default().to_string_lossy(), &text);
        all += &said;
    }
    assert!(all.is_empty(), "{all}");
}

#[test]
fn examples_of_operations_pass_without_a_word() {
    let mut all = String::new();
    for info in cnnc::ops::infos() {
        let (program, said) = check(info.name, info.example);
        assert!(!program.nets.is_empty(), "the example of `{}` has no net", info.name);
        all += &said;
    }
    assert!(all.is_empty(), "{all}");
}
