//! Words and signs of a source text with its comments, for the REPL: text in, tokens out. Nothing is
//! rejected; that is the parser's business.

/// One word or sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its text.
    pub(crate) text: &'a str,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `# …` up to the end of its line.
    Comment,
    /// A name, number, extent or string.
    Word,
    /// `( [ {`
    Open,
    /// `) ] }`
    Close,
    /// `, ; :`
    Separator,
    /// Every other sign.
    Sign,
}

/// Signs of two characters.
const PAIRS: &[&str] = &["|>", "->", "//", "==", "!=", "<=", ">="];

/// All tokens of `text`.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start();
        if trimmed.is_empty() {
            return all;
        }
        let (kind, len) = first(trimmed);
        let text = trimmed[..len].trim_end_matches('\r').trim_end_matches([' ', '\t']);
        all.push(Token { kind, text });
        rest = &trimmed[len..];
    }
}

/// The kind and length of the token at the start of `text`, which is not empty.
fn first(text: &str) -> (Kind, usize) {
    let c = text.chars().next().unwrap_or(' ');
    match c {
        '#' => (Kind::Comment, text.find('\n').unwrap_or(text.len())),
        '"' => {
            let line = text.find('\n').unwrap_or(text.len());
            (Kind::Word, text[1..line].find('"').map_or(line, |at| at + 2))
        }
        '(' | '[' | '{' => (Kind::Open, 1),
        ')' | ']' | '}' => (Kind::Close, 1),
        ',' | ';' | ':' => (Kind::Separator, 1),
        _ if c.is_ascii_digit() => (Kind::Word, number(text)),
        _ if c.is_alphabetic() || c == '_' => (Kind::Word, word(text)),
        _ => match PAIRS.iter().find(|p| text.starts_with(**p)) {
            Some(pair) => (Kind::Sign, pair.len()),
            None => (Kind::Sign, c.len_utf8()),
        },
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// `62k`, `3x3`, `0.05`, `5e-4`
fn number(text: &str) -> usize {
    let mut at = word(text);
    if let Some(fraction) =
        text[at..].strip_prefix('.').filter(|f| f.starts_with(|c: char| c.is_ascii_digit()))
    {
        at += 1 + word(fraction);
    }
    let exponent =
        text[..at].ends_with(['e', 'E']) && text[..at].bytes().filter(u8::is_ascii_alphabetic).count() == 1;
    match text[at..].strip_prefix(['-', '+']) {
        Some(digits) if exponent && digits.starts_with(|c: char| c.is_ascii_digit()) => at + 1 + word(digits),
        _ => at,
    }
}
