//! The pages of the error codes: the program that fails fails with that code alone, the mended one checks.

use cnnc::session::{Compiler, Loader, Options};
use cnnc::support::codes;

/// Gives a page's program to itself, so that a circle can be shown in one block.
struct Own<'a> {
    name: &'a str,
    text: &'a str,
}

impl Loader for Own<'_> {
    fn load(&self, path: &str, _from: &str) -> Result<(String, String), String> {
        if path == self.name {
            Ok((self.name.to_owned(), self.text.to_owned()))
        } else {
            Err("there is no such file".to_owned())
        }
    }
}

/// The blocks of a page: the word after the fence, and the text.
pub(crate) fn blocks(page: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```") {
        let (word, body) = after.split_once('\n').expect("a fence ends its line");
        let (text, next) = body.split_once("\n```").expect("a fence is closed");
        found.push((word, text));
        rest = next;
    }
    found
}

fn codes_of(name: &str, text: &str) -> Vec<&'static str> {
    let checked = Compiler::new(Options::default()).check(name, text, &Own { name, text });
    let mut codes: Vec<_> = checked.diagnostics().iter().map(|d| d.code.0).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[test]
fn every_page_shows_its_code_and_how_to_mend_it() {
    let mut wrong = Vec::new();
    for (code, _) in codes::ALL {
        let page = codes::page(*code).expect("declared with it");
        let blocks = blocks(page);
        let kinds: Vec<&str> = blocks.iter().map(|b| b.0).collect();
        if kinds == ["console", "console"] {
            continue;
        }
        if kinds != ["cnn", "cnn"] {
            wrong.push(format!("{code}: blocks {kinds:?}"));
            continue;
        }
        let name = format!("{code}.cnn");
        let lint = code.0.starts_with('W');
        let mut failing = codes_of(&name, blocks[0].1);
        let mut mended = codes_of(&name, blocks[1].1);
        if !lint {
            failing.retain(|c| c.starts_with('E'));
            mended.retain(|c| c.starts_with('E'));
        }
        if failing != [code.0] {
            wrong.push(format!("{code}: the failing program gives {failing:?}"));
        }
        if !mended.is_empty() {
            wrong.push(format!("{code}: the mended program gives {mended:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Codes that no single program shows; each one has a test that runs the tool, in `run.rs` or `cli.rs`.
#[test]
fn pages_without_a_program_are_the_known_ones() {
    let console: Vec<&str> = codes::ALL
        .iter()
        .filter(|(c, _)| codes::page(*c).is_some_and(|p| p.contains("```console")))
        .map(|(c, _)| c.0)
        .collect();
    assert_eq!(
        console,
        [
            "E0004", "E0116", "E0502", "E0503", "E0504", "E0505", "E0801", "E0901", "E0902", "E0903",
            "E0904", "E0905"
        ]
    );
}
