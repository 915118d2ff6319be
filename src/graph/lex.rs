//! Words of a printed graph. In: text. Out: tokens with their lines. Nothing here knows what they mean.

use super::parse::ParseError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name: letters, digits, `_`.
    Word(String),
    /// A number without point or exponent.
    Int(i64),
    /// Any other number, `-inf` included.
    Float(f32),
    /// `"text"`, unescaped.
    Text(String),
    /// One of `= ( ) [ ] , : ; @`.
    Sign(char),
}

/// All tokens, each with its 1-based line.
pub(super) fn lex(text: &str) -> Result<Vec<(usize, Token)>, ParseError> {
    let mut tokens = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, len) = next(first, rest).map_err(|message| ParseError { line: i + 1, message })?;
            tokens.push((i + 1, token));
            rest = rest[len..].trim_start();
        }
    }
    Ok(tokens)
}

/// The token that `rest` begins with, and its length in bytes.
fn next(first: char, rest: &str) -> Result<(Token, usize), String> {
    if "=()[],:;@".contains(first) {
        return Ok((Token::Sign(first), 1));
    }
    if first == '"' {
        return text(rest);
    }
    let belongs = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let len = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
    let word = &rest[..len];
    if word.is_empty() {
        return Err(format!("a stray `{first}`"));
    }
    if let Ok(i) = word.parse::<i64>() {
        return Ok((Token::Int(i), len));
    }
    // `inf` and `NaN` are words here: an axis may be called so, and only who expects a number reads one.
    let number = first.is_ascii_digit() || first == '-';
    match word.parse::<f32>() {
        Ok(x) if number => Ok((Token::Float(x), len)),
        Ok(_) | Err(_) if first.is_ascii_alphabetic() => Ok((Token::Word(word.to_owned()), len)),
        Ok(_) | Err(_) => Err(format!("`{word}` is neither a name nor a number")),
    }
}

fn text(rest: &str) -> Result<(Token, usize), String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, c)) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("a text without its closing quote".to_owned())
}
