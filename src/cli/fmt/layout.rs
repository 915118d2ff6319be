//! The one way a program is laid out.
//!
//! A source text goes in, the same tokens in the same order with other white space come out; a second run changes nothing.
//! Line breaks are the author's, since a figure is read by its lines; so is a gap of two or more spaces within a line, since
//! it aligns columns. All else has one form: four spaces an indentation, a stage under the first `|>` of its statement,
//! one space around operators and after separators, none inside brackets, at most one empty line.

use crate::cli::tokens::{Kind, Token, tokens};

const STEP: usize = 4;

/// `text` in its one form.
pub(super) fn layout(text: &str) -> String {
    let all = tokens(text);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut state = State { frames: vec![Frame::new(0)], column: 0 };
    for (i, token) in all.iter().enumerate() {
        let before = i.checked_sub(1).map(|j| all[j]);
        match before {
            Some(before) if token.breaks == 0 => {
                let gap = gap(&all, i, before);
                out.extend(std::iter::repeat_n(' ', gap));
                state.column += gap;
            }
            _ => {
                let tight = before.is_none_or(|b| b.kind == Kind::Open) || token.kind == Kind::Close;
                if before.is_some() {
                    out.push_str(if token.breaks > 1 && !tight { "\n\n" } else { "\n" });
                }
                let indent = state.start_line(&all, i);
                out.extend(std::iter::repeat_n(' ', indent));
                state.column = indent;
            }
        }
        state.take(token);
        out.push_str(token.text);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// An open bracket, or the file.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// The indentation of statements in it.
    indent: usize,
    /// The indentation of the line that opened it, to which its end returns.
    outer: usize,
    /// The column of the first `|>` of the statement that is being written.
    pipe: Option<usize>,
    /// Where a bracket that is opened on this line counts from.
    content: usize,
}

impl Frame {
    fn new(indent: usize) -> Self {
        Self { indent, outer: indent, pipe: None, content: indent }
    }
}

struct State {
    frames: Vec<Frame>,
    column: usize,
}

impl State {
    /// The indentation of the line that token `i` begins.
    fn start_line(&mut self, all: &[Token<'_>], i: usize) -> usize {
        let frame = match self.frames.last_mut() {
            Some(frame) => frame,
            None => return 0,
        };
        // A comment stands where the line below it stands.
        let lead = all[i..].iter().find(|t| t.kind != Kind::Comment).unwrap_or(&all[i]);
        let mut before = all[..i].iter().rev().filter(|t| t.kind != Kind::Comment);
        let (last, second) = (before.next(), before.next());
        // `15: *` ends a table's row.
        let star = last.is_some_and(|t| t.text == "*") && second.is_some_and(|t| t.text == ":");
        let last = last.filter(|_| !star);
        if lead.kind == Kind::Close {
            if all[i].kind != Kind::Close {
                return frame.indent;
            }
            let outer = frame.outer;
            // What follows the bracket on its line belongs to the statement that opened it.
            return outer;
        }
        let continued = is_infix(lead) || last.is_some_and(|t| is_infix(t) || t.text == "=");
        let indent = match (continued, frame.pipe) {
            (false, _) => {
                frame.pipe = None;
                frame.indent
            }
            (true, Some(pipe)) if lead.text == "|>" => pipe,
            (true, _) => frame.indent + STEP,
        };
        // Rows of a table: ones under ones.
        let row = lead.text.bytes().all(|b| b.is_ascii_digit()) && lead.kind == Kind::Word;
        let indent = if row && !continued { (indent + 1).saturating_sub(lead.text.len()) } else { indent };
        frame.content = if lead.text == "|>" { indent + 3 } else { indent };
        indent
    }

    /// Moves past a token that is written at the current column.
    fn take(&mut self, token: &Token<'_>) {
        match token.kind {
            Kind::Open => {
                let outer = self.frames.last().map_or(0, |f| f.content);
                let indent = outer + STEP;
                self.frames.push(Frame { indent, outer, pipe: None, content: indent });
            }
            Kind::Close if self.frames.len() > 1 => {
                self.frames.pop();
            }
            Kind::Sign if token.text == "|>" => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.pipe.get_or_insert(self.column);
                }
            }
            Kind::Comment | Kind::Word | Kind::Close | Kind::Separator | Kind::Sign => {}
        }
        self.column += token.text.chars().count();
    }
}

/// Whether a line that begins or ends with this token goes on from, or into, another one.
fn is_infix(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Sign => token.text != "=" && token.text != ".",
        Kind::Word => matches!(token.text, "and" | "or" | "as" | "else"),
        Kind::Comment | Kind::Open | Kind::Close | Kind::Separator => false,
    }
}

/// Spaces between token `i` and the one `before` it on its line.
fn gap(all: &[Token<'_>], i: usize, before: Token<'_>) -> usize {
    let token = all[i];
    let one = token.gap.max(1);
    match (before.kind, token.kind) {
        (_, Kind::Comment) => one,
        (Kind::Open, Kind::Close) => 0,
        (Kind::Open, _) => usize::from(before.text == "{"),
        (_, Kind::Close) => usize::from(token.text == "}"),
        (_, Kind::Separator) => 0,
        (Kind::Separator, _) => one,
        // `name(` is a call and `name (` is none; `y[0]` is an element and `is [c: 1]` a shape: the author's choice is kept.
        (Kind::Word | Kind::Close, Kind::Open) if token.text != "{" => token.gap.min(1),
        (Kind::Sign, _) if matches!(before.text, "." | "^") => 0,
        (_, Kind::Sign) if matches!(token.text, "." | "^") => 0,
        (Kind::Sign, _) if before.text == "-" && is_unary(all, i - 1) => 0,
        (_, Kind::Word | Kind::Sign | Kind::Open) => one,
    }
}

/// Whether the `-` at `i` has no left operand.
fn is_unary(all: &[Token<'_>], i: usize) -> bool {
    match i.checked_sub(1).map(|j| all[j]) {
        None => true,
        Some(before) => match before.kind {
            Kind::Open | Kind::Separator | Kind::Sign | Kind::Comment => true,
            Kind::Close => false,
            Kind::Word => matches!(before.text, "and" | "or" | "not" | "if" | "assert"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        let once = layout(source);
        assert_eq!(once, expected);
        assert_eq!(layout(&once), once, "a second run must change nothing");
        let words = |text: &str| tokens(text).iter().map(|t| t.text.to_owned()).collect::<Vec<_>>();
        assert_eq!(words(source), words(&once), "no token may change");
    }

    #[test]
    fn spacing() {
        check(
            "net  N ( x :[c:1,h :S//2] )->[c :K]{x|>conv( 6,5x5 ,pad:[ -1,k - 1 ] )|>relu}",
            "net  N (x: [c: 1, h: S // 2]) -> [c: K] { x |> conv(6, 5x5, pad: [-1, k - 1]) |> relu }\n",
        );
        check("const   K=64*2 ^ i\n", "const   K = 64 * 2^i\n");
        check("const R = 5e-4\nconst Q = x . c\n", "const R = 5e-4\nconst Q = x.c\n");
        check("block b( x;k:int=1 ){ {}\n}\n", "block b(x; k: int = 1) { {}\n}\n");
    }

    #[test]
    fn stages_stand_under_the_first_pipe() {
        check(
            "net N(x: [c: 1]) {\nlet y = x |> a\n|> b\n  |> c\nimage\n|> d\n # why\n|> repeat 4 as i {\nit |> e\n} as s\n|> f\n}\n",
            "net N(x: [c: 1]) {
    let y = x |> a
              |> b
              |> c
    image
        |> d
        # why
        |> repeat 4 as i {
               it |> e
           } as s
        |> f
}
",
        );
    }

    #[test]
    fn arguments_on_lines_of_their_own() {
        check(
            "block i(x) {\nconcat(\nx |> a,\nx |> b\n|> c,\n)\n}\n",
            "block i(x) {\n    concat(\n        x |> a,\n        x |> b\n          |> c,\n    )\n}\n",
        );
    }

    #[test]
    fn columns_and_comments_stay() {
        check(
            "\n\n# head\n\n\n\nx |> a(1)      |> tanh   # one\nx |> bb(10)    |> tanh # two  \n\n",
            "# head\n\nx |> a(1)      |> tanh   # one\nx |> bb(10)    |> tanh # two\n",
        );
        check(
            "table T: 6 -> 13 {\n 0: 0 1   1: *\n 12:3\n}\n",
            "table T: 6 -> 13 {\n    0: 0 1   1: *\n   12: 3\n}\n",
        );
    }

    #[test]
    fn empty_and_odd_texts_survive() {
        for text in ["", "\n", "}", ")))", "{{{", "\"open", "é ∈ \u{1f5fb}", "-", "#", "a\r\nb\r\n"] {
            let once = layout(text);
            assert_eq!(layout(&once), once, "{text:?}");
        }
    }
}
