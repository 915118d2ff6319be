//! Known slips: where the grammar stopped, the words around the place often tell what was meant. Each slip is a small function
//! that looks at the words and gives a message with an edit, or nothing; the first that speaks wins.

use super::expect;
use super::lexical::mended;
use super::patch::Piece;
use super::scan::{Kind, Token, scan};
use super::split::{ITEMS, RESERVED};
use super::syntax::{Failure, Rule};
use crate::support::codes;
use crate::support::diag::{Diagnostic, nearest};
use crate::support::span::Span;

/// Words that begin an item in other languages, and what they are here.
const FOREIGN_ITEMS: [(&str, &str); 14] = [
    ("def", "block"),
    ("fn", "block"),
    ("func", "block"),
    ("function", "block"),
    ("layer", "block"),
    ("module", "block"),
    ("class", "block"),
    ("model", "net"),
    ("network", "net"),
    ("import", "use"),
    ("include", "use"),
    ("let", "const"),
    ("var", "const"),
    ("constant", "const"),
];

/// The place of an error among the words.
struct Site<'s> {
    piece: &'s Piece,
    tokens: &'s [Token],
    /// The token at which reading stopped; `tokens.len()` at the end.
    at: usize,
    expected: &'s [Rule],
}

impl Site<'_> {
    fn token(&self, offset: isize) -> Option<&Token> {
        self.tokens.get(self.at.checked_add_signed(offset)?)
    }

    /// The word `offset` tokens from the place; empty beyond the ends.
    fn word(&self, offset: isize) -> &str {
        self.token(offset).map_or("", |t| t.text(self.piece.text()))
    }

    fn is(&self, offset: isize, kind: Kind) -> bool {
        self.token(offset).is_some_and(|t| t.kind == kind)
    }

    fn span(&self, offset: isize) -> Span {
        match self.token(offset) {
            Some(t) => self.piece.span(t.start, t.end),
            None => self.end(),
        }
    }

    /// The empty range after the token before the place.
    fn end(&self) -> Span {
        let end = self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(0, |t| t.end);
        self.piece.span(end, end)
    }

    fn wants(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    /// A value may stand here.
    fn wants_value(&self) -> bool {
        self.wants(Rule::arith) || self.wants(Rule::postfix) || self.wants(Rule::expr)
    }

    /// A value may begin with the token here.
    fn begins_value(&self) -> bool {
        let word = self.word(0);
        match self.token(0).map(|t| t.kind) {
            Some(Kind::Word) => {
                !RESERVED.contains(&word) || matches!(word, "new" | "if" | "true" | "false" | "not")
            }
            Some(Kind::Number | Kind::Extent | Kind::Str) => true,
            Some(Kind::Open) => word != "{",
            Some(Kind::Close | Kind::Sign | Kind::Junk(_)) | None => false,
        }
    }

    /// The keyword of the item.
    fn item(&self) -> &str {
        self.tokens.first().map_or("", |t| t.text(self.piece.text()))
    }

    fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(codes::E0001, self.span(0), message)
    }
}

/// A message for the place where the grammar stopped.
pub(super) fn explain(piece: &Piece, failure: &Failure) -> Diagnostic {
    let tokens = scan(piece.text(), usize::MAX).tokens;
    let at = tokens.partition_point(|t| t.start < failure.at);
    let site = Site { piece, tokens: &tokens, at, expected: &failure.expected };
    if failure.too_deep {
        return Diagnostic::new(
            codes::E0003,
            site.span(0),
            "this is nested deeper than the stack of this thread allows",
        );
    }
    let slips = [
        comment,
        let_missing,
        equals,
        colon,
        static_param,
        extent,
        reserved,
        after_stage,
        arrow,
        no_value,
        else_missing,
        returned,
        semicolon,
        comma,
        doubled,
        pipe_ends,
        port,
        surplus,
    ];
    slips.iter().find_map(|slip| slip(&site)).unwrap_or_else(|| plain(&site))
}

/// No known slip: what is there and what could be.
fn plain(site: &Site<'_>) -> Diagnostic {
    let expected = expect::expected(site.expected);
    let found = expect::found(site.token(0), site.piece.text());
    site.error(format!("expected {expected}, found {found}")).label(format!("expected {expected}"))
}

/// `// text`
fn comment(site: &Site<'_>) -> Option<Diagnostic> {
    let text = site.piece.text();
    let here = site.at.min(site.tokens.len().checked_sub(1)?);
    let mut i = here;
    loop {
        let token = site.tokens.get(i)?;
        if token.text(text) == "//" {
            break;
        }
        if token.first || i == 0 {
            return None;
        }
        i -= 1;
    }
    // A division has operands on both sides; a comment begins a line or is followed by words that do not fit.
    let slashes = site.tokens.get(i)?;
    let words = i < here && site.is(0, Kind::Word) && site.is(-1, Kind::Word);
    let unfit = i == here && !site.wants(Rule::infix) && site.is(1, Kind::Word);
    if !(slashes.first || words || unfit) {
        return None;
    }
    let span = site.piece.span(slashes.start, slashes.end);
    let diag = Diagnostic::new(codes::E0001, span, "`//` divides; a comment begins with `#`");
    Some(mended(diag, span, "#", "`//` -> `#`"))
}

/// `y = x` where a statement begins
fn let_missing(site: &Site<'_>) -> Option<Diagnostic> {
    let name = site.token(-1)?;
    let starts = name.first || site.word(-2) == "{";
    let body = site.wants(Rule::rbrace) && matches!(site.item(), "block" | "net" | "const");
    if !(matches!(site.word(0), "=" | ":=") && name.kind == Kind::Word && starts && body) {
        return None;
    }
    let word = site.word(-1);
    let diag = site
        .error(format!("`{word} = …` needs `let`"))
        .label("a name is given a value by `let`")
        .note("a name keeps its value: there is no assignment");
    let span = site.span(-1);
    Some(mended(diag, Span { end: span.start, ..span }, "let ", format!("`{word} = …` -> `let {word} = …`")))
}

/// `stride = 2` in a call, `a = b` in a condition, `epochs = 12`, `const K == 3`
fn equals(site: &Site<'_>) -> Option<Diagnostic> {
    let (word, span) = (site.word(0), site.span(0));
    if word == "==" && site.wants(Rule::assign) {
        return Some(mended(
            site.error("`==` compares; a name is given its value by `=`"),
            span,
            "=",
            "`==` -> `=`",
        ));
    }
    if word != "=" {
        return None;
    }
    let name = site.word(-1);
    if site.wants(Rule::colon)
        && !site.expected.iter().any(|r| {
            matches!(
                r,
                Rule::colon
                    | Rule::infix
                    | Rule::kw_as
                    | Rule::rparen
                    | Rule::rbracket
                    | Rule::comma
                    | Rule::pipe
            )
        })
    {
        return None;
    }
    if site.wants(Rule::colon) && site.item() == "block" && site.expected.len() == 1 && in_head(site) {
        let diag = site.error(format!("the parameter `{name}` needs its type"));
        return Some(mended(diag, site.end(), ": int", format!("`{name}: int = …`")));
    }
    if site.wants(Rule::colon) {
        let diag = site.error("an argument is given with `:`, not with `=`");
        return Some(mended(diag, span, ":", format!("`{name} =` -> `{name}:`")));
    }
    if site.wants(Rule::infix) {
        return Some(mended(site.error("`=` does not compare; `==` does"), span, "==", "`=` -> `==`"));
    }
    if site.item() == "train" && site.wants_value() {
        let diag = site.error(format!("a setting has no `=`: `{name} {}`", site.word(1)));
        return Some(mended(diag, span, "", "remove the `=`"));
    }
    None
}

/// Whether the place is before the body of its item.
fn in_head(site: &Site<'_>) -> bool {
    !site.tokens.iter().take(site.at).any(|t| t.text(site.piece.text()) == "{")
}

/// `let y: x`, `epochs: 12`, `K 10` where `=` or nothing belongs
fn colon(site: &Site<'_>) -> Option<Diagnostic> {
    let (word, span) = (site.word(0), site.span(0));
    if site.wants(Rule::assign) && site.expected.len() == 1 {
        let diag = site.error(format!("expected `=` after the name `{}`", site.word(-1)));
        if matches!(word, ":" | ":=") {
            return Some(mended(diag, span, " =", format!("`{word}` -> `=`")));
        }
        return site
            .begins_value()
            .then(|| mended(diag, site.end(), " =", format!("`{} = {word}`", site.word(-1))));
    }
    if word == ":" && site.item() == "train" && site.wants_value() {
        let diag = site.error(format!("a setting has no `:`: `{} {}`", site.word(-1), site.word(1)));
        return Some(mended(diag, span, "", "remove the `:`"));
    }
    None
}

/// `block f(x, k: int)`, `block f(x; k)`
fn static_param(site: &Site<'_>) -> Option<Diagnostic> {
    if site.item() != "block" || !in_head(site) {
        return None;
    }
    if site.word(0) == ":" && site.wants(Rule::semicolon) {
        let diag =
            site.error(format!("`{}` is a compile-time parameter: those stand after `;`", site.word(-1)));
        return Some(match site.word(-2) {
            "," => mended(diag, site.span(-2), ";", "`,` -> `;`"),
            _ => {
                let span = site.span(-1);
                mended(diag, Span { end: span.start, ..span }, "; ", "add `;` before it")
            }
        });
    }
    if site.expected == [Rule::colon] && matches!(site.word(0), ")" | ",") {
        let diag = site
            .error(format!("the parameter `{}` needs its type", site.word(-1)))
            .note("types are int, float, bool, str, extent, list, table, pad, layer, any");
        return Some(mended(diag, site.end(), ": int", format!("`{}: int`", site.word(-1))));
    }
    None
}

/// `5 x 5`, `k x k`
fn extent(site: &Site<'_>) -> Option<Diagnostic> {
    let glued =
        site.word(0).strip_prefix('x').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
    let (last, right) = match (site.word(0), glued) {
        ("x", _) => (1, site.word(1)),
        (_, Some(digits)) => (0, digits),
        _ => return None,
    };
    let left = site.word(-1);
    let span = site.span(-1).to(site.span(last));
    if site.is(-1, Kind::Number) && right.bytes().all(|b| b.is_ascii_digit()) && !right.is_empty() {
        let new = format!("{left}x{right}");
        let diag = Diagnostic::new(codes::E0001, span, "an extent is one word, without spaces");
        return Some(mended(diag, span, &new, format!("`{new}`")));
    }
    let operand = |o| site.is(o, Kind::Word) || site.is(o, Kind::Number);
    if last == 1 && operand(-1) && operand(1) {
        let new = format!("[{left}, {right}]");
        let diag = Diagnostic::new(codes::E0001, span, "a computed extent is written as a list");
        return Some(mended(diag, span, &new, format!("`{new}`")));
    }
    None
}

/// `net`, `repeat`, … as a name
fn reserved(site: &Site<'_>) -> Option<Diagnostic> {
    let word = site.word(0);
    let name = site.wants(Rule::ident) || site.wants_value();
    let taken = RESERVED.contains(&word) && name && !matches!(word, "let" | "else");
    if !taken {
        return None;
    }
    if matches!(word, "repeat" | "is") && !site.wants(Rule::ident) {
        return Some(
            site.error(format!("`{word}` is a stage: it stands after `|>`"))
                .help(format!("write `x |> {word} …`")),
        );
    }
    if site.wants(Rule::ident) {
        return Some(
            site.error(format!("`{word}` is a word of the language and cannot be a name"))
                .help("choose another name"),
        );
    }
    None
}

/// `x |> f + y`
fn after_stage(site: &Site<'_>) -> Option<Diagnostic> {
    let operator = matches!(
        site.word(0),
        "+" | "-" | "*" | "/" | "//" | "%" | "^" | "==" | "!=" | "<" | ">" | "<=" | ">=" | "and" | "or"
    );
    if !operator || site.wants(Rule::infix) || !site.wants(Rule::pipe) {
        return None;
    }
    let word = site.word(0);
    Some(
        site.error(format!("`{word}` after a stage: `|>` binds loosest"))
            .label("to which side does it belong?")
            .help(format!("put the pipeline in parentheses, `(x |> f) {word} y`, or name it with `let`")),
    )
}

/// The output shape without `->`
fn arrow(site: &Site<'_>) -> Option<Diagnostic> {
    if !site.wants(Rule::arrow) {
        return None;
    }
    let what = if site.item() == "table" { "the number of outputs" } else { "the shape of the output" };
    let diag = site.error(format!("`->` stands before {what}"));
    match site.word(0) {
        word @ ("=>" | ":" | "=") => Some(mended(diag, site.span(0), "->", format!("`{word}` -> `->`"))),
        "[" | "(" if site.item() == "net" => {
            let span = site.span(0);
            Some(mended(diag, Span { end: span.start, ..span }, "-> ", "add `->`"))
        }
        _ if site.item() == "table" && site.begins_value() => {
            let span = site.span(0);
            Some(mended(diag, Span { end: span.start, ..span }, "-> ", "add `->`"))
        }
        _ => None,
    }
}

/// `{ let y = x }`, `{ }`
fn no_value(site: &Site<'_>) -> Option<Diagnostic> {
    if site.word(0) != "}" || !site.wants(Rule::kw_let) {
        return None;
    }
    let diag = if site.word(-1) == "{" {
        site.error("an empty body has no value")
    } else {
        site.error("this body has no value")
    };
    Some(
        diag.label("expected a value before this")
            .help("a body ends with the expression that it stands for: `{ let y = … y }`"),
    )
}

/// An `if` without `else`
fn else_missing(site: &Site<'_>) -> Option<Diagnostic> {
    site.wants(Rule::kw_else).then(|| {
        site.error("an `if` needs both branches")
            .label("expected `else { … }`")
            .help("every `if` has a value: `if c { a } else { b }`; a branch that changes nothing gives back what it got")
    })
}

/// `return x`, `for i in …`
fn returned(site: &Site<'_>) -> Option<Diagnostic> {
    let word = site.word(-1);
    if !site.begins_value() || !site.wants(Rule::infix) {
        return None;
    }
    match word {
        "return" => {
            let span = site.span(-1);
            let diag =
                Diagnostic::new(codes::E0001, span, "there is no `return`: a body ends with its value");
            Some(mended(diag, Span { end: site.span(0).start, ..span }, "", "remove `return`"))
        }
        "for" | "while" | "loop" => Some(
            Diagnostic::new(codes::E0001, site.span(-1), format!("there is no `{word}`"))
                .help("the only loop is `x |> repeat n as i { … it … }`"),
        ),
        "var" | "val" | "const" => {
            let span = site.span(-1);
            let diag = Diagnostic::new(
                codes::E0001,
                span,
                format!("a name is given a value by `let`, not by `{word}`"),
            );
            Some(mended(diag, span, "let", format!("`{word}` -> `let`")))
        }
        _ => None,
    }
}

/// `let y = x;`
fn semicolon(site: &Site<'_>) -> Option<Diagnostic> {
    if site.word(0) != ";" || site.wants(Rule::semicolon) {
        return None;
    }
    if in_head(site) {
        return None;
    }
    Some(mended(site.error("statements end without `;`"), site.span(0), "", "remove the `;`"))
}

/// Two values in a list with nothing between
fn comma(site: &Site<'_>) -> Option<Diagnostic> {
    if !site.wants(Rule::comma) || !site.begins_value() {
        return None;
    }
    let word = site.word(0);
    let diag = site.error(format!("a `,` is missing before `{}`", super::lexical::short(word)));
    Some(mended(diag, site.end(), ",", format!("`{}, {}`", site.word(-1), super::lexical::short(word))))
}

/// Two commas, commas in the row of a table, a number that ends with its point
fn doubled(site: &Site<'_>) -> Option<Diagnostic> {
    if site.word(0) == "," && site.word(-1) == "," {
        return Some(mended(site.error("a second `,`"), site.span(0), "", "remove one `,`"));
    }
    if site.word(0) == "," && site.item() == "table" && site.wants(Rule::int) {
        let diag = site.error("the maps of a row are separated by spaces");
        return Some(mended(diag, site.span(0), "", "remove the `,`"));
    }
    if site.word(-1) == "." && site.is(-2, Kind::Number) {
        let number = site.word(-2);
        let diag = Diagnostic::new(
            codes::E0001,
            site.span(-2).to(site.span(-1)),
            "a number does not end with its point",
        );
        return Some(mended(diag, site.end(), "0", format!("`{number}.` -> `{number}.0`")));
    }
    if site.word(-1) == "." && site.wants(Rule::word) {
        let found = expect::found(site.token(0), site.piece.text());
        let diag = site.error(format!("expected the name of a field, found {found}"));
        return Some(diag.help("`x.c` is an extent of `x`; `y[0]` is a part of `y`"));
    }
    if site.item() == "use" && site.wants(Rule::string) {
        let found = expect::found(site.token(0), site.piece.text());
        return Some(
            site.error(format!("expected a file, found {found}"))
                .help("write `use \"blocks.cnn\"` or `use std`"),
        );
    }
    None
}

/// `|>` with nothing on one side
fn pipe_ends(site: &Site<'_>) -> Option<Diagnostic> {
    if site.word(0) == "|>" && (site.wants_value() || site.wants(Rule::kw_let)) {
        return Some(
            site.error("nothing stands before this `|>`").help("a pipeline begins with a value: `x |> relu`"),
        );
    }
    if site.word(-1) == "|>" && site.wants(Rule::kw_repeat) {
        let found = expect::found(site.token(0), site.piece.text());
        return Some(
            site.error(format!("expected a stage after `|>`, found {found}"))
                .label("not a stage")
                .help("a stage is a call such as `conv(8, 3x3)`, a name such as `relu`, `is […]`, `repeat n { … }` or `{ … it … }`"),
        );
    }
    None
}

/// `net N(image)`, `is 5`, `[1, 2]` where a shape belongs
fn port(site: &Site<'_>) -> Option<Diagnostic> {
    if site.item() == "net" && site.expected == [Rule::colon] && in_head(site) {
        let name = site.word(-1);
        return Some(
            site.error(format!("the input `{name}` needs its shape"))
                .help(format!("write `{name}: [c: 3, h: 32, w: 32]`")),
        );
    }
    let axis = site.expected == [Rule::word] && site.word(-1) == "[";
    let brackets = |r: &Rule| matches!(r, Rule::lbracket | Rule::lparen | Rule::shape);
    if axis || (site.wants(Rule::lbracket) && site.expected.iter().all(brackets)) {
        return Some(
            site.error(format!(
                "expected a shape, found {}",
                expect::found(site.token(0), site.piece.text())
            ))
            .label("a shape names its axes")
            .help("write channels and grid axes by name: `[c: 3, h: 32, w: 32]`"),
        );
    }
    None
}

/// Words after the end of an item
fn surplus(site: &Site<'_>) -> Option<Diagnostic> {
    if !site.wants(Rule::EOI) {
        return None;
    }
    let found = expect::found(site.token(0), site.piece.text());
    let diag = site.error(format!("{found} stands after the end of the item"));
    Some(
        diag.label("expected an item").help(format!("a file is made of items, which begin with {}", items())),
    )
}

fn items() -> String {
    let quoted: Vec<String> = ITEMS.iter().map(|w| format!("`{w}`")).collect();
    quoted.join(", ")
}

/// `f (x)`: a call whose parenthesis stands apart would be read as two values.
pub(super) fn gaps(piece: &Piece, tokens: &[Token]) -> Vec<Diagnostic> {
    let text = piece.text();
    let head = tokens.first().map_or("", |t| t.text(text));
    let bodies = !matches!(head, "table" | "train" | "test" | "budget" | "use");
    let body = tokens.iter().position(|t| t.text(text) == "{").filter(|_| bodies);
    let start = if head == "const" { 2 } else { body.unwrap_or(tokens.len()) };
    let apart = |pair: &&[Token]| {
        let [name, open] = pair else { return false };
        name.kind == Kind::Word
            && open.text(text) == "("
            && open.start > name.end
            && !open.first
            && !RESERVED.contains(&name.text(text))
    };
    let pairs = tokens.get(start..).unwrap_or(&[]).windows(2);
    pairs
        .filter(apart)
        .filter_map(|pair| {
            let (name, open) = (pair.first()?, pair.get(1)?);
            let gap = piece.span(name.end, open.start);
            let word = name.text(text);
            let at = piece.span(open.start, open.end);
            let diag = Diagnostic::new(
                codes::E0001,
                at,
                format!("the `(` of a call follows its name directly: `{word}(`"),
            );
            Some(mended(diag, gap, "", format!("`{word} (` -> `{word}(`")))
        })
        .collect()
}

/// What stands where an item should begin, if it is none.
pub(super) fn no_item(text: &str, tokens: &[Token], piece: &Piece) -> Option<Diagnostic> {
    let first = tokens.first()?;
    let word = first.text(text);
    if first.kind == Kind::Word && ITEMS.contains(&word) {
        return None;
    }
    let end = first.end - first.start;
    let span = piece.span(0, end);
    let found = expect::found(Some(first), text);
    let diag = Diagnostic::new(codes::E0001, span, format!("expected an item, found {found}"))
        .label("not the beginning of an item");
    let foreign = FOREIGN_ITEMS.iter().find(|(f, _)| *f == word).map(|(_, here)| *here);
    let meant = foreign.or_else(|| if first.kind == Kind::Word { nearest(word, ITEMS) } else { None });
    match meant {
        Some(meant) => Some(mended(diag, span, meant, format!("`{word}` -> `{meant}`"))),
        None if word == "//" => {
            let diag = Diagnostic::new(codes::E0001, span, "`//` divides; a comment begins with `#`");
            Some(mended(diag, span, "#", "`//` -> `#`"))
        }
        None if word == "}" => Some(Diagnostic::new(codes::E0001, span, "this `}` closes nothing")),
        None => Some(diag.help(format!("a file is made of items, which begin with {}", items()))),
    }
}
