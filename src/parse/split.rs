//! Where the items of a file begin, so that an error in one does not hide those in the next.
//! In: the tokens of a file. Out: ranges of tokens, one for each item (or for what stands where an item should).

use super::scan::{Kind, Token};

/// Words that begin an item.
pub(super) const ITEMS: [&str; 8] = ["use", "const", "table", "block", "net", "train", "test", "budget"];

/// All words that cannot be names: those of items, and those of expressions.
pub(super) const RESERVED: [&str; 20] = [
    "use", "const", "table", "block", "net", "train", "test", "budget", "let", "new", "repeat", "as", "is",
    "if", "else", "and", "or", "not", "true", "false",
];

/// Cuts `tokens` into items: each range begins with an item's word, except where something else stands in its place.
pub(super) fn split(text: &str, tokens: &[Token]) -> Vec<std::ops::Range<usize>> {
    let mut starts = Vec::new();
    let mut depth = 0usize;
    let mut closed = true;
    for (i, token) in tokens.iter().enumerate() {
        let starts_here = begins(text, tokens, i, depth, closed);
        if starts_here {
            starts.push(i);
            depth = 0;
        }
        closed = false;
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => {
                depth = depth.saturating_sub(1);
                closed = depth == 0 && token.text(text) == "}";
            }
            Kind::Word | Kind::Number | Kind::Extent | Kind::Str | Kind::Sign | Kind::Junk(_) => {}
        }
    }
    let ends = starts.iter().skip(1).copied().chain([tokens.len()]);
    starts.iter().copied().zip(ends).map(|(a, b)| a..b).collect()
}

/// Whether an item begins with token `i`; `closed` says that the token before closed the last brace.
fn begins(text: &str, tokens: &[Token], i: usize, depth: usize, closed: bool) -> bool {
    let Some(token) = tokens.get(i) else { return false };
    if i == 0 {
        return true;
    }
    if token.kind != Kind::Word {
        return false;
    }
    let word = token.text(text);
    let next = tokens.get(i + 1);
    let column_0 = token.start == 0 || text.as_bytes().get(token.start - 1) == Some(&b'\n');
    if ITEMS.contains(&word) {
        if depth == 0 {
            let key = next.is_some_and(|n| n.text(text) == ":");
            return (token.first && !key) || header(text, tokens, i);
        }
        return token.first && column_0 && header(text, tokens, i);
    }
    // What is no item, but stands where one should: after a closed body, or as the first of two words on a line of its own.
    let two = next.is_some_and(|n| matches!(n.kind, Kind::Word | Kind::Str) && !n.first);
    let plain = !RESERVED.contains(&word);
    depth == 0 && plain && (closed || (column_0 && two))
}

/// Whether the words from `i` look like the head of an item.
fn header(text: &str, tokens: &[Token], i: usize) -> bool {
    let word = |k: usize| tokens.get(i + k).map_or("", |t| t.text(text));
    let kind = |k: usize| tokens.get(i + k).map(|t| t.kind);
    match word(0) {
        "net" | "block" => kind(1) == Some(Kind::Word) && word(2) == "(",
        "const" => kind(1) == Some(Kind::Word) && word(2) == "=",
        "table" => kind(1) == Some(Kind::Word) && word(2) == ":",
        "train" | "budget" => kind(1) == Some(Kind::Word) && word(2) == "{",
        "test" => kind(1) == Some(Kind::Str),
        "use" => matches!(kind(1), Some(Kind::Str | Kind::Word)),
        _ => false,
    }
}
