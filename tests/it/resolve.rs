//! Programs that are right: the examples and what operations print as examples pass without a word, blocks of `std` work,
//! paths and facts are what the language promises.

use std::path::Path;

use cnnc::resolve::{NoFiles, Options, Program, resolve};
use cnnc::session::{Files, report};
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
        let mut sources = Sources::default();
        let root = sources.add(&path.to_string_lossy(), &text);
        let options = Options { std: cnnc::parse::STD, ..Options::default() };
        // Some use each other's blocks.
        let program = resolve(&mut sources, root, cnnc::parse::parse, &Files, &options);
        all.extend(program.diagnostics.iter().map(|d| report::human(d, &sources, false)));
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

/// Each ends with an error, soon, on the small stack of a test's thread.
#[test]
fn hostile_programs_end() {
    let net = |body: &str| format!("net N(x: [c: 4, h: 8, w: 8]) {{ {body} }}");
    let blocks: String = (0..100).map(|i| format!("block b{i}(x) {{ x |> b{} }}\n", i + 1)).collect();
    let doubling: String =
        (0..40).map(|i| format!("block d{i}(x) {{ x |> d{} |> d{} }}\n", i + 1, i + 1)).collect();
    let sums: String = (0..60).map(|i| format!("const k{i} = k{0} + k{0} + k{0}\n", i + 1)).collect();
    let programs = [
        format!("{blocks}block b100(x) {{ x |> relu }}\n{}", net("x |> b0")),
        format!("{doubling}block d40(x) {{ x |> relu }}\n{}", net("x |> d0")),
        format!("{sums}const k60 = 9223372036854775807\n{}", net("x |> conv(k0, 1x1)")),
        net(&format!("x |> conv({}1, 1x1)", "1 + ".repeat(900))),
        net(&format!("{}x{}", "relu(".repeat(60), ")".repeat(60) + " + y")),
        net("x |> repeat 10000 { it |> repeat 10000 { it |> repeat 10000 { it } } }"),
        net("x |> repeat 10000 { it |> upsample(2) }"),
        net(&format!("x |> conv(4, 1x1){} |> conv(0, 1x1)", " |> relu".repeat(3000))),
        "table T: 1000000 -> 1000000 { i, o if i == o }".to_owned(),
        net("x |> conv(9223372036854775807, 9223372036854775807x9223372036854775807)"),
        net("x |> pad(9223372036854775807) |> conv(4, 3x3, dilate: 4611686018427387904)"),
    ];
    for text in &programs {
        let (program, said) = check("hostile", text);
        let head: String = text.chars().take(60).collect();
        assert!(program.has_errors(), "`{head}` checks\n{said}");
        assert!(said.len() < 200_000, "`{head}`: {} bytes of messages", said.len());
    }
}
