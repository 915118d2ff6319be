//! Brackets that do not match, and nesting that goes too deep: found before the grammar runs, which recurses over brackets.

use super::lexical::mended;
use super::patch::Piece;
use super::scan::{Kind, Token};
use super::{DEPTH_MAX, ERRORS_MAX};
use crate::support::codes;
use crate::support::diag::Diagnostic;

/// What is wrong with the brackets of a piece. A closing bracket belongs to the nearest open one of its kind.
pub(super) fn check(piece: &Piece, tokens: &[Token]) -> Vec<Diagnostic> {
    let text = piece.text();
    let mut found = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => open.push(i),
            Kind::Close => close(piece, tokens, i, &mut open, &mut found),
            Kind::Word | Kind::Number | Kind::Extent | Kind::Str | Kind::Sign | Kind::Junk(_) => {}
        }
        if open.len() > DEPTH_MAX {
            let message = format!("brackets are nested more than {DEPTH_MAX} deep");
            let diag = Diagnostic::new(codes::E0003, piece.span(token.start, token.end), message);
            return vec![diag.help("name the inner parts with `let`")];
        }
        if found.len() >= ERRORS_MAX {
            return found;
        }
    }
    let outer = open.iter().take_while(|i| tokens[**i].text(text) == "{").count();
    found.extend(open.iter().skip(outer).rev().map(|i| unclosed(piece, tokens, *i)));
    if let Some(i) = open.iter().take(outer).next_back() {
        found.push(unclosed_body(piece, tokens, *i, outer));
    }
    found.sort_by_key(|d| d.primary.span.start);
    found
}

/// Takes a closing bracket: what it does not fit above its partner is not closed.
fn close(piece: &Piece, tokens: &[Token], closer: usize, open: &mut Vec<usize>, found: &mut Vec<Diagnostic>) {
    let text = piece.text();
    let word = tokens[closer].text(text);
    let fits = |i: &usize| partner(tokens[*i].text(text)) == word;
    let Some(at) = open.iter().rposition(fits) else {
        let last = closer + 1 == tokens.len();
        match open.last() {
            Some(opener) if last && open.len() == 1 => {
                found.push(wrong_kind(piece, &tokens[*opener], &tokens[closer]));
                open.clear();
            }
            Some(_) | None => found.push(surplus(piece, &tokens[closer])),
        }
        return;
    };
    for opener in open.drain(at..).skip(1).rev() {
        found.push(mismatch(piece, tokens, opener, closer));
    }
}

/// `{ … )` at the end of an item
fn wrong_kind(piece: &Piece, opener: &Token, closer: &Token) -> Diagnostic {
    let (open, close) = (opener.text(piece.text()), closer.text(piece.text()));
    let wanted = partner(open);
    let span = piece.span(closer.start, closer.end);
    let diag = Diagnostic::new(codes::E0001, span, format!("`{close}` closes what `{open}` opened"))
        .also(piece.span(opener.start, opener.end), "opened here");
    mended(diag, span, wanted, format!("`{close}` -> `{wanted}`"))
}

fn partner(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}

fn surplus(piece: &Piece, token: &Token) -> Diagnostic {
    let (span, word) = (piece.span(token.start, token.end), token.text(piece.text()));
    let diag = Diagnostic::new(codes::E0001, span, format!("this `{word}` closes nothing"));
    mended(diag, span, "", format!("remove the `{word}`"))
}

/// A closing bracket that does not fit the innermost open one.
fn mismatch(piece: &Piece, tokens: &[Token], opener: usize, closer: usize) -> Diagnostic {
    let text = piece.text();
    let (from, to) = (&tokens[opener], &tokens[closer]);
    let (open, close) = (from.text(text), to.text(text));
    let wanted = partner(open);
    let at = piece.span(from.start, from.end);
    let other = piece.span(to.start, to.end);
    let diag = Diagnostic::new(codes::E0001, at, format!("this `{open}` is not closed"))
        .label(format!("needs a `{wanted}`"))
        .also(other, format!("still open at this `{close}`"));
    // `conv(6, [1, 2)`: the wrong closing bracket, or none.
    let end = place_of(tokens, text, opener, closer);
    let place = piece.span(end, end);
    mended(diag, place, wanted, format!("close it here: `{}{wanted}`", tail(text, end)))
}

/// The last word before `end`, to show where an insertion goes.
fn tail(text: &str, end: usize) -> &str {
    let head = text.get(..end).unwrap_or("");
    let start = head.rfind(|c: char| c.is_whitespace()).map_or(0, |i| i + 1);
    head.get(start..).unwrap_or("")
}

/// Where the missing closing bracket of `opener` most likely belongs: before a stage or an `as` (unless further arguments
/// follow), or before a new line that goes on without a separator; else before the closing bracket that came.
fn place_of(tokens: &[Token], text: &str, opener: usize, closer: usize) -> usize {
    let mut depth = 0usize;
    let mut stage = None;
    for i in opener + 1..closer {
        let (before, token) = (&tokens[i - 1], &tokens[i]);
        let word = token.text(text);
        let separated =
            i - 1 == opener || matches!(before.text(text), "," | ":" | "|>") || before.kind == Kind::Open;
        if depth == 0 && word == "," {
            stage = None;
        }
        if depth == 0 && !separated {
            if word == "let" || word == "{" || (token.first && word != ",") {
                return stage.unwrap_or(before.end);
            }
            if matches!(word, "|>" | "as") {
                stage = stage.or(Some(before.end));
            }
        }
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Word | Kind::Number | Kind::Extent | Kind::Str | Kind::Sign | Kind::Junk(_) => {}
        }
    }
    stage.unwrap_or_else(|| tokens.get(closer.saturating_sub(1)).map_or(0, |t| t.end))
}

/// The text ends while this parenthesis is open.
fn unclosed(piece: &Piece, tokens: &[Token], opener: usize) -> Diagnostic {
    let text = piece.text();
    let from = &tokens[opener];
    let wanted = partner(from.text(text));
    let at = piece.span(from.start, from.end);
    let diag = Diagnostic::new(codes::E0001, at, format!("this `{}` is never closed", from.text(text)))
        .label(format!("needs a `{wanted}`"));
    let end = place_of(tokens, text, opener, tokens.len());
    mended(diag, piece.span(end, end), wanted, format!("close it here: `{}{wanted}`", tail(text, end)))
}

/// The item ends while bodies are open; `count` of them, `opener` the innermost.
fn unclosed_body(piece: &Piece, tokens: &[Token], opener: usize, count: usize) -> Diagnostic {
    let from = &tokens[opener];
    let end = tokens.last().map_or(from.end, |t| t.end);
    let place = piece.span(end, end);
    let diag = Diagnostic::new(codes::E0001, piece.span(from.start, from.end), "this `{` is never closed")
        .label("needs a `}`")
        .also(place, "the item ends here");
    mended(diag, place, &"\n}".repeat(count), "close the body: add `}` at its end")
}
