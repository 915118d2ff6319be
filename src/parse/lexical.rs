//! What is said about characters that make no word: each message names the word that was probably meant.

use super::ERRORS_MAX;
use super::patch::Piece;
use super::scan::{Junk, Kind, Scan, Token};
use crate::support::codes;
use crate::support::diag::{Diagnostic, Edit, Fix};
use crate::support::span::Span;

/// A message with one edit that mends it.
pub(super) fn mended(diag: Diagnostic, span: Span, new: &str, title: impl Into<String>) -> Diagnostic {
    let mut diag = diag;
    diag.fixes.push(Fix {
        title: title.into(),
        effect: String::new(),
        edits: vec![Edit { span, text: new.to_owned() }],
        verified: false,
        remaining: 0,
    });
    diag
}

/// A message per token that is no word.
pub(super) fn junk(piece: &Piece, scan: &Scan) -> Vec<Diagnostic> {
    scan.tokens
        .iter()
        .filter_map(|t| match t.kind {
            Kind::Junk(Junk::Number) => Some(number(piece, t)),
            Kind::Junk(Junk::Unterminated) => Some(unterminated(piece, t)),
            Kind::Junk(Junk::Stray) => Some(stray(piece, t)),
            Kind::Word | Kind::Number | Kind::Extent | Kind::Str | Kind::Open | Kind::Close | Kind::Sign => {
                None
            }
        })
        .take(ERRORS_MAX)
        .collect()
}

/// At most 24 characters of a word.
pub(super) fn short(word: &str) -> String {
    let head: String = word.chars().take(24).collect();
    if head.len() < word.len() { format!("{head}…") } else { head }
}

fn unterminated(piece: &Piece, token: &Token) -> Diagnostic {
    let span = piece.span(token.start, token.end);
    Diagnostic::new(codes::E0001, span, "a string that does not end on its line")
        .label("begins here")
        .help("close it with `\"`; a string holds no line breaks")
}

fn stray(piece: &Piece, token: &Token) -> Diagnostic {
    let span = piece.span(token.start, token.end);
    let word = token.text(piece.text());
    let diag = Diagnostic::new(codes::E0001, span, format!("`{}` is no word of the language", short(word)));
    let meant = match word {
        "&&" => "and",
        "||" => "or",
        "!" => "not ",
        "**" => "^",
        "::" => ".",
        "×" => "x",
        "→" | "⇒" => "->",
        "≤" => "<=",
        "≥" => ">=",
        "≠" => "!=",
        "−" | "–" => "-",
        "·" => "*",
        "|" => "|>",
        _ => return strange(diag, word, span),
    };
    mended(diag, span, meant, format!("`{word}` -> `{}`", meant.trim_end()))
}

fn strange(diag: Diagnostic, word: &str, span: Span) -> Diagnostic {
    if let Some(inner) = word.strip_prefix('\'').and_then(|w| w.strip_suffix('\''))
        && !inner.contains('"')
    {
        let text = format!("\"{inner}\"");
        return mended(diag, span, &text, format!("{word} -> {text}")).note("strings stand between `\"`");
    }
    if word.starts_with(['“', '”', '„', '«', '»', '‘', '’']) {
        return diag.help("strings stand between plain quotes: `\"`");
    }
    if word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return diag
            .help("names are made of a-z, A-Z, 0-9 and `_`; anything may stand in a comment or a string");
    }
    if word.chars().any(char::is_control) {
        return diag.label("control characters").help("is this a text file?");
    }
    diag.help("anything may stand in a comment, which begins with `#`, or in a string")
}

/// `5x`, `3×3`, `62K`, `.5`, `1_000`, `2k1`, `0x1F`
fn number(piece: &Piece, token: &Token) -> Diagnostic {
    let span = piece.span(token.start, token.end);
    let word = token.text(piece.text());
    let diag =
        Diagnostic::new(codes::E0002, span, format!("`{}` is neither a number nor an extent", short(word)));
    let fix = |new: String| mended(diag.clone(), span, &new, format!("`{word}` -> `{new}`"));
    if word.starts_with('.') {
        return fix(format!("0{word}")).note("a number begins with a digit");
    }
    if word.contains('×') || word.contains('X') {
        let plain = word.replace(['×', 'X'], "x");
        if plain.split('x').all(all_digits) {
            return fix(plain).note("extents are written with a plain `x`: `3x3`");
        }
    }
    if word.contains('_') && all_digits(&word.replace('_', "")) {
        return fix(word.replace('_', "")).note("`k`, `M` and `G` shorten large numbers: `62k`, `1.5M`");
    }
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (head, tail) = word.split_at(digits);
    let suffix = match tail.to_ascii_lowercase().as_str() {
        "k" => Some("k"),
        "m" => Some("M"),
        "g" | "b" => Some("G"),
        "kb" | "kib" | "ki" => Some("KiB"),
        "mb" | "mib" | "mi" => Some("MiB"),
        "gb" | "gib" | "gi" => Some("GiB"),
        _ => None,
    };
    if let Some(suffix) = suffix {
        return fix(format!("{head}{suffix}"))
            .note("suffixes are k, M, G (1000 each) and KiB, MiB, GiB (1024 each)");
    }
    if word.contains('x') {
        let parts: Vec<&str> = word.split('x').collect();
        if parts.iter().all(|p| !p.is_empty()) {
            return diag
                .label("an extent is numbers only")
                .help(format!("a computed extent is a list: `[{}]`", parts.join(", ")));
        }
        return diag.label("an unfinished extent").help("an extent is one word of numbers: `5x5`");
    }
    let plain = !tail.is_empty()
        && tail.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && head.parse::<i64>().is_ok();
    if plain && tail.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return diag.label("a name cannot begin with a digit").help(format!(
            "for a product write `{head} * {tail}`; suffixes of numbers are k, M, G, KiB, MiB, GiB"
        ));
    }
    diag.help("numbers are written `12`, `0.5`, `5e-4`, `62k`, `64KiB`; extents `3x3`")
}

fn all_digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}
