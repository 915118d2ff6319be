//! What the line editor asks: is this input whole, and what could be meant by this word.

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use crate::cli::tokens::{Kind, Token, tokens};
use crate::ops;

const COMMANDS: &[&str] = &[":clear", ":help", ":list", ":load ", ":quit", ":why "];
const KEYWORDS: &[&str] = &["block", "const", "let", "net", "new", "repeat", "table", "use"];

/// The editor's helper; `names` are those of the session.
#[derive(Default)]
pub(super) struct Assistant {
    pub(super) names: Vec<String>,
    files: FilenameCompleter,
}

/// Whether an input needs further lines: open brackets, or an end that something must follow.
pub(super) fn needs_more(text: &str) -> bool {
    if text.trim_start().starts_with(':') {
        return false;
    }
    let all: Vec<Token<'_>> = tokens(text).into_iter().filter(|t| t.kind != Kind::Comment).collect();
    let count = |kind: Kind| all.iter().filter(|t| t.kind == kind).count();
    let open = count(Kind::Open) > count(Kind::Close);
    open || all.last().is_some_and(|t| matches!(t.text, "|>" | "=" | "->" | "+" | "-" | "/" | "," | "as"))
}

/// Words that may stand at the end of `line`, and where the one being written begins.
pub(super) fn candidates(line: &str, names: &[String]) -> (usize, Vec<String>) {
    let start = line
        .rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != ':' && c != '.')
        .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    let word = &line[start..];
    if start == 0 && word.starts_with(':') {
        return (0, COMMANDS.iter().filter(|c| c.starts_with(word)).map(|c| (*c).to_owned()).collect());
    }
    let arguments: Vec<String> = match open_call(&line[..start]) {
        Some(callee) => ops::infos()
            .into_iter()
            .filter(|info| info.name == callee)
            .flat_map(|info| info.params.iter().map(|p| format!("{}: ", p.name)))
            .collect(),
        None => Vec::new(),
    };
    let mut found: Vec<String> = arguments.into_iter().filter(|a| a.starts_with(word)).collect();
    let infos = ops::infos();
    let mut rest: Vec<&str> = names.iter().map(String::as_str).collect();
    rest.extend(infos.iter().map(|i| i.name));
    rest.extend(KEYWORDS);
    rest.sort_unstable();
    rest.dedup();
    found.extend(rest.into_iter().filter(|n| n.starts_with(word) && !word.is_empty()).map(str::to_owned));
    (start, found)
}

/// The name of the innermost call that is open at the end of `text`.
fn open_call(text: &str) -> Option<&str> {
    let all = tokens(text);
    let mut depth = 0usize;
    for (i, token) in all.iter().enumerate().rev() {
        match token.kind {
            Kind::Close => depth += 1,
            Kind::Open if depth > 0 => depth -= 1,
            Kind::Open => {
                let before = all.get(i.checked_sub(1)?)?;
                return (token.text == "(" && before.kind == Kind::Word).then_some(before.text);
            }
            Kind::Comment | Kind::Word | Kind::Separator | Kind::Sign => {}
        }
    }
    None
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, cx: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line.starts_with(":load ") {
            return self.files.complete(line, pos, cx);
        }
        let (start, found) = candidates(line.get(..pos).unwrap_or(line), &self.names);
        Ok((start, found.into_iter().map(|c| Pair { display: c.clone(), replacement: c }).collect()))
    }
}

impl Validator for Assistant {
    fn validate(&self, cx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        // An empty line ends every input, so that nobody is caught in one.
        let more = needs_more(cx.input()) && !cx.input().ends_with('\n');
        Ok(if more { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_brackets_and_open_ends_need_more() {
        for text in ["f(", "block b(x) {", "net N(x: [c: 1]) {\n x", "x |>", "let y =", "f(\"a)\"", "f( # )"]
        {
            assert!(needs_more(text), "{text:?}");
        }
        for text in ["", "x", "f(1)", "x |> f", ":why (", "x # (", ")"] {
            assert!(!needs_more(text), "{text:?}");
        }
    }

    #[test]
    fn words_are_completed_by_place() {
        let of = |line: &str| candidates(line, &["image".into(), "imagine".into()]).1;
        assert_eq!(of("ima"), ["image", "imagine"]);
        assert_eq!(of(":w"), [":why "]);
        assert!(of("image |> upsample(f").contains(&"factor: ".to_owned()));
        assert!(of("image |> upsam").contains(&"upsample".to_owned()));
        assert!(!of("upsample(2) |> f").contains(&"factor: ".to_owned()));
        assert_eq!(candidates("é |> ima", &["image".into()]).0, "é |> ".len());
        assert!(of("").is_empty());
    }
}
