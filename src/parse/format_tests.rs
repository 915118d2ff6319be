//! Tests of the formatter: the same tree, stable, no comment lost; and what the layout looks like.

use super::scan::scan;
use super::*;

/// Formats; checks what must hold of every text; returns the result.
fn formatted(text: &str) -> String {
    let once = run(text);
    let twice = run(&once);
    assert_eq!(once, twice, "formatting is stable");
    assert_eq!(words(text), words(&once), "the same words");
    assert_eq!(comments(text), comments(&once), "the same comments");
    assert!(once.lines().all(|l| l.trim_end() == l), "no white space at line ends:\n{once}");
    once
}

fn run(text: &str) -> String {
    let mut sources = Sources::default();
    let id = sources.add("t.cnn", text);
    format(&sources, id).unwrap_or_else(|d| panic!("{}: {}\n{text}", d[0].message, d[0].primary.span.start))
}

/// All words but commas, which may come before a closing bracket: two texts with the same words have the same tree.
fn words(text: &str) -> Vec<String> {
    let tokens = scan(text, usize::MAX).tokens;
    tokens.iter().map(|t| t.text(text).to_owned()).filter(|t| t != ",").collect()
}

fn comments(text: &str) -> Vec<String> {
    let mut all: Vec<String> =
        scan(text, usize::MAX).comments.iter().map(|c| text[c.start..c.end].to_owned()).collect();
    all.sort();
    all
}

#[test]
fn samples_have_their_layout() {
    let all: String =
        include_str!("layout.txt").split("\n---\n").map(formatted).collect::<Vec<_>>().join("---\n");
    insta::assert_snapshot!(all);
}

#[test]
fn std_and_examples_are_formatted() {
    for (name, text) in shipped() {
        let wanted = formatted(&text);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&name, &wanted).expect("a writable example");
        } else {
            assert_eq!(
                wanted, text,
                "{name} is not in its layout; run `cnnc fmt`, or this test with BLESS=1"
            );
        }
    }
}

/// Every `.cnn` file of the repository, by name.
fn shipped() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["grammar", "examples"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "cnn") {
                let text = std::fs::read_to_string(&path).expect("a readable example");
                all.push((path.display().to_string(), text));
            }
        }
    }
    all.sort();
    all
}

/// A comment in every gap between two words survives, wherever it stands.
#[test]
fn comments_survive_everywhere() {
    let text = include_str!("layout.txt").split("\n---\n").next().unwrap_or("");
    let tokens = scan(text, usize::MAX).tokens;
    let mut previous = 0;
    for t in &tokens {
        // Nothing may stand between a name and its parenthesis or between a value and its field.
        if t.start > previous || !matches!(t.text(text), "(" | "[" | ".") {
            for comment in [" # here\n", "\n# here\n", "\n\n    # one\n# two\n\n"] {
                let with = format!("{}{comment}{}", &text[..t.start], &text[t.start..]);
                let mut sources = Sources::default();
                let id = sources.add("t.cnn", &with);
                if parse(&sources, id).1.is_empty() {
                    formatted(&with);
                }
            }
        }
        previous = t.end;
    }
}
