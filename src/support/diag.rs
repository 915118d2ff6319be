//! Diagnostics as data: one structure feeds the terminal, JSON and the REPL. Rendering lives in `session::report`.

use super::span::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The program is wrong; no code is made.
    Error,
    /// The program is legal, but probably not meant.
    Warning,
}

/// A diagnostic code such as `E0210`; every code has a page under `docs/errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub &'static str);

impl Code {
    /// Codes that start with `W` are lints.
    pub fn severity(self) -> Severity {
        if self.0.starts_with('W') { Severity::Warning } else { Severity::Error }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// A text beside a marked range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What is marked.
    pub span: Span,
    /// What is said of it; may be empty.
    pub text: String,
}

/// One replacement in the source; an empty span inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub span: Span,
    /// By what.
    pub text: String,
}

/// A proposed change. `verified` says that shape inference ran on the edited program: the error is gone, no other came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What to do, as typed: `3x3 -> 1x1`.
    pub title: String,
    /// What follows from it: `h = floor((56 - 1) / 2) + 1 = 28`; may be empty.
    pub effect: String,
    /// The replacements, all applied together.
    pub edits: Vec<Edit>,
    /// The whole program was checked with the edits: this error is gone, and no other came.
    pub verified: bool,
    /// Errors elsewhere that stay with the edits applied; at 0 the whole program checks.
    pub remaining: usize,
}

/// One message about a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its code.
    pub code: Code,
    /// One sentence, lower case, no full stop; values stand in it.
    pub message: String,
    /// The place it is about.
    pub primary: Label,
    /// Further places.
    pub labels: Vec<Label>,
    /// Lines under the snippet (`= …`), each may hold several lines.
    pub notes: Vec<String>,
    /// One sentence of advice where no edit can be given.
    pub help: Vec<String>,
    /// Proposed edits.
    pub fixes: Vec<Fix>,
    /// With what checking went on after an error: `h = 28`; may be empty.
    pub assumed: String,
}

impl Diagnostic {
    /// A message with its place and nothing else yet.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            primary: Label { span, text: String::new() },
            labels: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
            fixes: Vec::new(),
            assumed: String::new(),
        }
    }

    /// Sets the text beside the primary range.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.primary.text = text.into();
        self
    }

    /// Marks a further range.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Whether it stops compilation.
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }
}

/// The name in `known` nearest to `name` by edit distance, when it is near enough to be a slip.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1) + 1;
    known
        .into_iter()
        .map(|k| (distance(name, k), k))
        .filter(|(d, k)| *d <= limit && *d < k.chars().count().max(name.chars().count()))
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein distance over characters, capped input length so that hostile names stay cheap.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let here = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = here;
        }
    }
    row[b.len()]
}
