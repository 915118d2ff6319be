//! The words of a text, found in one linear pass: what error messages, recovery and the formatter look at.
//! In: any text. Out: tokens in order, comments apart. Never fails: what is no word of the language becomes [`Kind::Junk`].
//! The grammar does not read these tokens; it reads the text.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// `12`, `0.5`, `62k`
    Number,
    /// `3x3`
    Extent,
    /// `"text"`
    Str,
    /// `(`, `[`, `{`
    Open,
    /// `)`, `]`, `}`
    Close,
    /// An operator or a separator.
    Sign,
    /// What the language has no word for.
    Junk(Junk),
}

/// Why a token is no word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Junk {
    /// Begins with a digit, but is no number.
    Number,
    /// A string that its line ends.
    Unterminated,
    /// Characters without meaning.
    Stray,
}

/// A word of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Nothing but white space stands before it on its line.
    pub first: bool,
}

impl Token {
    /// Its text.
    pub(super) fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or("")
    }
}

/// A comment, from `#` to the end of its line (not included).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// First byte.
    pub start: usize,
    /// One past its last byte, white space at the end left out.
    pub end: usize,
    /// Nothing but white space stands before it on its line.
    pub first: bool,
}

/// A text in words.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// Everything but white space and comments.
    pub tokens: Vec<Token>,
    /// The comments.
    pub comments: Vec<Comment>,
    /// There were more than `max` tokens; the rest was not read.
    pub cut: bool,
}

/// Signs of two characters; those that other languages have and this one lacks are listed too, so that they stay one token.
const PAIRS: [&str; 14] =
    ["|>", "->", "=>", "==", "!=", "<=", ">=", "//", "&&", "||", "**", "+=", ":=", "::"];

/// Those among [`PAIRS`] that are no words of the language and cannot be read in any useful way.
const FOREIGN: [&str; 4] = ["&&", "||", "**", "::"];

/// Reads `text`, at most `max` tokens of it.
pub(super) fn scan(text: &str, max: usize) -> Scan {
    let mut s = Scan::default();
    let bytes = text.as_bytes();
    let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut first = true;
    while let Some(b) = bytes.get(at) {
        if *b == b'\n' {
            first = true;
        }
        if b.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if *b == b'#' {
            let line = line_end(bytes, at);
            let end = at + text.get(at..line).map_or(0, |t| t.trim_end().len());
            s.comments.push(Comment { start: at, end, first });
            at = line;
            continue;
        }
        if s.tokens.len() >= max {
            s.cut = true;
            break;
        }
        let (kind, end) = token(text, at);
        s.tokens.push(Token { kind, start: at, end, first });
        first = false;
        at = end;
    }
    s
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes.iter().skip(from).position(|b| *b == b'\n').map_or(bytes.len(), |n| from + n)
}

fn run(bytes: &[u8], from: usize, take: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(from).position(|b| !take(*b)).map_or(bytes.len(), |n| from + n)
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// The token at `at` and its end, which is past `at`.
fn token(text: &str, at: usize) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let here = bytes.get(at).copied().unwrap_or(b' ');
    let next = bytes.get(at + 1).copied().unwrap_or(b' ');
    let rest = text.get(at..).unwrap_or("");
    match here {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => word(text, at),
        b'0'..=b'9' => number(text, at),
        b'.' if next.is_ascii_digit() && (at == 0 || !joins(bytes[at - 1])) => {
            (Kind::Junk(Junk::Number), run(bytes, at + 1, is_word))
        }
        b'"' => {
            let end = run(bytes, at + 1, |b| b != b'"' && b != b'\n');
            match bytes.get(end) {
                Some(b'"') => (Kind::Str, end + 1),
                Some(_) | None => (
                    Kind::Junk(Junk::Unterminated),
                    at + rest.get(..end - at).map_or(1, |t| t.trim_end().len()),
                ),
            }
        }
        b'(' | b'[' | b'{' => (Kind::Open, at + 1),
        b')' | b']' | b'}' => (Kind::Close, at + 1),
        b'\'' if rest.lines().next().is_some_and(|l| l.get(1..).is_some_and(|l| l.contains('\''))) => {
            let close = rest.get(1..).and_then(|r| r.find('\'')).unwrap_or(0);
            (Kind::Junk(Junk::Stray), at + close + 2)
        }
        _ => sign(rest, at),
    }
}

/// A name; one with letters that names cannot have is junk as a whole.
fn word(text: &str, at: usize) -> (Kind, usize) {
    let ascii = run(text.as_bytes(), at, is_word);
    let rest = text.get(at..).unwrap_or("");
    let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    if at + len > ascii { (Kind::Junk(Junk::Stray), at + len) } else { (Kind::Word, ascii) }
}

/// Whether a `.` after this byte belongs to it: `x.5` is a field that has no name, not the number `.5`.
fn joins(b: u8) -> bool {
    is_word(b) || b == b')' || b == b']' || b == b'.'
}

fn sign(rest: &str, at: usize) -> (Kind, usize) {
    if let Some(pair) = PAIRS.iter().find(|p| rest.starts_with(**p)) {
        let kind = if FOREIGN.contains(pair) { Kind::Junk(Junk::Stray) } else { Kind::Sign };
        return (kind, at + 2);
    }
    if rest.starts_with(['+', '-', '*', '/', '%', '^', '<', '>', '=', ',', ':', ';', '.']) {
        return (Kind::Sign, at + 1);
    }
    if rest.starts_with(char::is_alphabetic) {
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        return (Kind::Junk(Junk::Stray), at + len);
    }
    let stray = |c: char| {
        !c.is_whitespace() && !c.is_alphabetic() && !c.is_ascii_alphanumeric() && !"()[]{}#\"_,;:".contains(c)
    };
    let len = rest.find(|c| !stray(c)).unwrap_or(rest.len());
    (Kind::Junk(Junk::Stray), at + len.max(rest.chars().next().map_or(1, char::len_utf8)))
}

/// A word that begins with a digit: `12`, `0.5`, `5e-4`, `62k`, `3x3`, or junk such as `5x` and `3×3`.
fn number(text: &str, at: usize) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let mut end = run(bytes, at, is_word);
    while bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = run(bytes, end + 1, is_word);
    }
    let exponent = bytes.get(end - 1).is_some_and(|b| b.eq_ignore_ascii_case(&b'e'));
    if exponent
        && matches!(bytes.get(end), Some(b'+' | b'-'))
        && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
        && !text.get(at..end).unwrap_or("").contains('x')
    {
        end = run(bytes, end + 1, is_word);
    }
    while text.get(end..).is_some_and(|t| t.starts_with('×')) {
        end = run(bytes, end + '×'.len_utf8(), is_word);
    }
    (classify(text.get(at..end).unwrap_or("")), end)
}

fn classify(word: &str) -> Kind {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if word.contains('x') && word.split('x').all(digits) {
        return Kind::Extent;
    }
    let stem = ["KiB", "MiB", "GiB", "k", "M", "G"].iter().find_map(|s| word.strip_suffix(s)).unwrap_or(word);
    let (mantissa, exponent) = match stem.find(['e', 'E']) {
        Some(e) if stem.len() == word.len() => (&stem[..e], Some(&stem[e + 1..])),
        Some(_) => return Kind::Junk(Junk::Number),
        None => (stem, None),
    };
    let whole = match mantissa.split_once('.') {
        Some((a, b)) => digits(a) && digits(b),
        None => digits(mantissa),
    };
    let power = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if whole && power { Kind::Number } else { Kind::Junk(Junk::Number) }
}
