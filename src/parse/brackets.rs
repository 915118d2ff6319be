//! Brackets that do not match, and nesting that goes too deep: found before the grammar runs, which recurses over brackets.

use super::DEPTH_MAX;
use super::lexical::mended;
use super::patch::Piece;
use super::scan::{Kind, Token};
use crate::support::codes;
use crate::support::diag::Diagnostic;

/// The first thing wrong with the brackets of a piece.
pub(super) fn check(piece: &Piece, tokens: &[Token]) -> Option<Diagnostic> {
    let text = piece.text();
    let mut open: Vec<usize> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => {
                open.push(i);
                if open.len() > DEPTH_MAX {
                    let span = piece.span(token.start, token.end);
                    let message = format!("brackets are nested more than {DEPTH_MAX} deep");
                    return Some(
                        Diagnostic::new(codes::E0003, span, message).help("name the inner parts with `let`"),
                    );
                }
            }
            Kind::Close => match open.pop() {
                Some(opener) if partner(tokens[opener].text(text)) == token.text(text) => {}
                Some(opener) => return Some(mismatch(piece, tokens, opener, i)),
                None => return Some(surplus(piece, token)),
            },
            Kind::Word | Kind::Number | Kind::Extent | Kind::Str | Kind::Sign | Kind::Junk(_) => {}
        }
    }
    Some(unclosed(piece, tokens, *open.last()?, &open))
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

/// Where the missing closing bracket of `opener` most likely belongs: before a stage, an `as`, or a new line that goes on
/// without a separator; else before the closing bracket that came.
fn place_of(tokens: &[Token], text: &str, opener: usize, closer: usize) -> usize {
    let mut depth = 0usize;
    for i in opener + 1..closer {
        let (before, token) = (&tokens[i - 1], &tokens[i]);
        let word = token.text(text);
        let separated =
            i - 1 == opener || matches!(before.text(text), "," | ":" | "|>") || before.kind == Kind::Open;
        if depth == 0
            && !separated
            && (matches!(word, "|>" | "as" | "let" | "{") || (token.first && word != ","))
        {
            return before.end;
        }
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Word | Kind::Number | Kind::Extent | Kind::Str | Kind::Sign | Kind::Junk(_) => {}
        }
    }
    tokens.get(closer.saturating_sub(1)).map_or(0, |t| t.end)
}

/// The text ends while brackets are open.
fn unclosed(piece: &Piece, tokens: &[Token], opener: usize, open: &[usize]) -> Diagnostic {
    let text = piece.text();
    let from = &tokens[opener];
    let word = from.text(text);
    let wanted = partner(word);
    let at = piece.span(from.start, from.end);
    let diag = Diagnostic::new(codes::E0001, at, format!("this `{word}` is never closed"))
        .label(format!("needs a `{wanted}`"));
    let last = tokens.last().map_or(from.end, |t| t.end);
    let braces = open.iter().all(|i| tokens[*i].text(text) == "{");
    let end = if word == "{" { last } else { place_of(tokens, text, opener, tokens.len()) };
    let place = piece.span(end, end);
    if word != "{" {
        return mended(diag, place, wanted, format!("close it here: `{}{wanted}`", tail(text, end)));
    }
    let title = "close the body: add `}` at its end";
    let diag = diag.also(place, "the item ends here");
    if braces { mended(diag, place, &"\n}".repeat(open.len()), title) } else { diag.help(title) }
}
