//! House rules that a reader would otherwise have to check by eye: who may import whom, headers, sizes, dead files,
//! unsafe code, words that must not stand, and that every operation is tested and shown.

use std::collections::BTreeSet;

use crate::support::{files, read, relative, root};

/// Who may import whom: each module with those it may use besides itself. This is the table of ARCHITECTURE.md.
const IMPORTS: &[(&str, &[&str])] = &[
    ("support", &[]),
    ("tensor", &["support"]),
    ("ast", &["support"]),
    ("loops", &["support", "tensor"]),
    ("kernels", &["support", "tensor"]),
    ("runtime", &["support", "tensor", "loops", "kernels"]),
    ("ops", &["support", "tensor", "loops", "kernels", "runtime"]),
    ("graph", &["support", "tensor", "loops", "kernels", "runtime", "ops"]),
    ("grad", &["support", "tensor", "ops", "graph"]),
    ("facts", &["support", "tensor", "ops", "graph"]),
    ("parse", BELOW_VERBS),
    ("resolve", BELOW_VERBS),
    ("passes", BELOW_VERBS),
    ("lower", BELOW_VERBS),
    ("schedule", BELOW_VERBS),
    ("codegen", BELOW_VERBS),
    ("formats", BELOW_VERBS),
    (
        "session",
        &[
            "support", "tensor", "ast", "loops", "kernels", "runtime", "ops", "graph", "parse", "resolve",
            "passes", "lower", "schedule", "codegen", "formats", "facts", "grad", "train",
        ],
    ),
    // Beside the session: files and settings in, batches out; knows no graph.
    ("data", &["support", "tensor", "ops", "resolve", "formats"]),
    // Charts and contact sheets: numbers in, pictures out.
    ("draw", &["support", "tensor", "formats"]),
    // What a training step is, as a graph; and who runs it on data.
    ("train", &["support", "tensor", "ops", "graph", "grad"]),
    // The helper for build scripts: files in and out around the session.
    ("build", &["session", "formats"]),
    (
        "trainer",
        &[
            "support", "tensor", "ast", "ops", "graph", "grad", "train", "resolve", "formats", "data",
            "session",
        ],
    ),
    // The command line goes through the public API, and shows what the catalogues of codes and operations hold.
    ("cli", &["session", "data", "draw", "trainer", "formats", "ops", "tensor", "support"]),
];

/// What a verb may import: the nouns. No verb imports another.
const BELOW_VERBS: &[&str] = &["support", "tensor", "ast", "loops", "kernels", "runtime", "ops", "graph"];

/// The files in which `unsafe` may stand; each block says why it is sound.
const UNSAFE: &[&str] = &[
    "src/runtime/call.rs",
    "src/codegen/module.rs",
    "src/runtime/threads.rs",
    // Files are mapped.
    "src/formats/map.rs",
    // The text of it in what is written.
    "src/session/object/rust.rs",
    // C hands over pointers.
    "capi/src/lib.rs",
];

/// More lines than this in one file hide what is where.
const LINES_MAX: usize = 600;

fn sources() -> Vec<(String, String)> {
    files("src", ".rs").into_iter().map(|p| (relative(&p), read(&p))).collect()
}

/// The module of the top level that `src/…` belongs to; `None` for the crate's own roots.
fn module(path: &str) -> Option<&str> {
    let name = path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (name != "lib" && name != "main").then_some(name)
}

/// The modules of the top level that a file names with `crate::name` or `crate::{a, b}`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            // `$crate` in a macro is followed by its own path; other identifiers that end in `crate` do not occur.
            let rest = &line[at + "crate::".len()..];
            let word =
                |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
            if let Some(list) = rest.strip_prefix('{') {
                names.extend(list.split(',').map(|s| word(s.trim())));
            } else {
                names.insert(word(rest));
            }
        }
    }
    names
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let known: BTreeSet<&str> = IMPORTS.iter().map(|(m, _)| *m).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(here) = module(&path) else { continue };
        let Some((_, allowed)) = IMPORTS.iter().find(|(m, _)| *m == here) else {
            wrong.push(format!("{path}: module `{here}` is not in the table"));
            continue;
        };
        for name in imports(&text) {
            if known.contains(name.as_str()) && name != here && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{path}: `{here}` may not import `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_scan_sees_every_form() {
    let text =
        "use crate::parse::x;\nlet a = crate::lower::y();\nuse crate::{ast, graph::Graph};\n// crate::cli\n";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["ast", "graph", "lower", "parse"]);
}

#[test]
fn every_file_begins_with_a_header() {
    let bare: Vec<String> = sources()
        .into_iter()
        .chain(files("tests", ".rs").into_iter().map(|p| (relative(&p), read(&p))))
        .filter(|(_, text)| !text.starts_with("//! ") || text.lines().next().is_some_and(|l| l.len() < 20))
        .map(|(path, _)| path)
        .collect();
    assert!(bare.is_empty(), "without a `//!` header: {}", bare.join(" "));
}

#[test]
fn no_file_is_longer_than_the_cap() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path} has {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_is_part_of_the_crate() {
    let all = sources();
    let mut dead = Vec::new();
    for (path, _) in &all {
        if path == "src/lib.rs" || path == "src/main.rs" {
            continue;
        }
        let (dir, name) = match path.trim_end_matches(".rs").trim_end_matches("/mod").rsplit_once('/') {
            Some(split) => split,
            None => continue,
        };
        let parents = [format!("{dir}.rs"), format!("{dir}/mod.rs"), format!("{dir}/lib.rs")];
        let declared = all.iter().any(|(p, text)| {
            parents.contains(p)
                && (text.contains(&format!("mod {name};"))
                    || (p == "src/ops/mod.rs" && text.contains(&format!("({name}::"))))
        });
        if !declared {
            dead.push(path.as_str());
        }
    }
    assert!(dead.is_empty(), "declared by no `mod`: {}", dead.join(" "));
}

#[test]
fn unsafe_stands_only_in_the_listed_files_and_says_why() {
    let mut wrong = Vec::new();
    let capi = files("capi/src", ".rs").into_iter().map(|p| (relative(&p), read(&p)));
    for (path, text) in sources().into_iter().chain(capi) {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let word = code.match_indices("unsafe").any(|(at, _)| {
                let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"');
                edge(code[..at].chars().next_back()) && edge(code[at + 6..].chars().next())
            });
            if !word {
                continue;
            }
            if !UNSAFE.contains(&path.as_str()) {
                wrong.push(format!("{path}:{}: unsafe outside the listed files", i + 1));
            }
            // A type of unsafe functions promises nothing; using one does.
            if code.contains("unsafe extern") {
                continue;
            }
            let near = &lines[i.saturating_sub(8)..=i];
            if !near.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
                wrong.push(format!("{path}:{}: unsafe without a SAFETY comment", i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_source_holds_a_word_of_unfinished_work() {
    // Put together here, so that this file does not hold them itself.
    let words =
        [("to", "do!("), ("unimpl", "emented!("), ("FIX", "ME"), ("XX", "X:"), ("db", "g!("), ("HA", "CK")];
    let marks = [("#[ign", "ore"), ("#[should", "_panic")];
    let mut wrong = Vec::new();
    let tests = files("tests", ".rs").into_iter().map(|p| (relative(&p), read(&p)));
    for (path, text) in sources().into_iter().chain(tests) {
        for (a, b) in words.iter().chain(&marks) {
            if let Some(i) = text.lines().position(|l| l.contains(&format!("{a}{b}"))) {
                wrong.push(format!("{path}:{}: {a}{b}", i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_operation_has_cases_and_an_example() {
    for (module, cases) in cnnc::ops::all_cases() {
        assert!(!cases.is_empty(), "src/ops/{module}.rs has no test case");
    }
    let mut names = BTreeSet::new();
    for info in cnnc::ops::infos() {
        assert!(names.insert(info.name), "two operations are called `{}`", info.name);
        assert!(
            info.example.contains("net "),
            "`{}`: its example is no program: {}",
            info.name,
            info.example
        );
        assert!(
            info.doc.ends_with('.') && info.doc.len() > 3,
            "`{}`: {:?} says nothing",
            info.name,
            info.doc
        );
        for param in info.params {
            assert!(!param.doc.is_empty(), "`{}`: `{}` is not described", info.name, param.name);
        }
    }
}

#[test]
fn loops_and_kernels_name_no_operation() {
    let names = ["conv", "pool", "batchnorm", "softmax", "relu", "dense"];
    for (path, text) in sources() {
        if !matches!(module(&path), Some("loops" | "kernels")) {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("").to_lowercase();
            for name in names {
                assert!(!code.contains(name), "{path}:{}: the word `{name}` has no place in {line:?}", i + 1);
            }
        }
    }
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let codes: BTreeSet<String> =
        cnnc::support::codes::ALL.iter().map(|(c, _)| format!("docs/errors/{c}.md")).collect();
    let pages: BTreeSet<String> = files("docs/errors", ".md").iter().map(|p| relative(p)).collect();
    assert_eq!(codes, pages);
    for (code, title) in cnnc::support::codes::ALL {
        let page = cnnc::support::codes::page(*code).expect("declared with it");
        assert!(page.starts_with(&format!("# {code}: {title}\n")), "{code}: the page has another title");
    }
}

/// The embeddable library must not carry the tool's weight.
#[test]
fn the_core_stays_light() {
    const CRATES_MAX: usize = 60;
    let output = std::process::Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "-e", "normal", "--no-default-features", "--prefix", "none"])
        .output()
        .expect("cargo runs, since it runs this");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates: BTreeSet<&str> = text.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert!(crates.contains("cranelift-codegen"), "the tree is not what this test thinks: {text}");
    assert!(crates.len() <= CRATES_MAX, "{} crates: {crates:?}", crates.len());
}
