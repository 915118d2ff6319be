//! Where output goes: results to standard output, everything else to standard error; a reader that goes away ends the
//! command quietly.

use std::io::{self, IsTerminal, Write};

use super::args::{Color, ErrorFormat, Global};
use crate::session::report;
use crate::support::codes;
use crate::support::diag::{Code, Diagnostic, Severity};
use crate::support::span::Sources;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program or a comparison is wrong: exit code 1. Nothing left to say when empty.
    Wrong(String),
    /// Wrong usage, or an input that cannot be read: exit code 2.
    Unusable(String),
    /// A mistake with a code and no place in a program: see [`exit_code`].
    Coded(Code, String),
    /// What no program and no file should be able to cause: exit code 101.
    Bug(String),
    /// The reader of standard output went away.
    Closed,
}

impl Failure {
    /// Exit code 1, everything said already.
    pub(crate) fn said() -> Self {
        Self::Wrong(String::new())
    }

    /// What it says.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Wrong(text) | Self::Unusable(text) | Self::Bug(text) => text,
            Self::Coded(code, text) => format!("{text} ({code})"),
            Self::Closed => String::new(),
        }
    }

    /// An operating system's refusal about a file: exit code 2.
    pub(crate) fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::Unusable(format!("{what}: {error}"))
    }
}

/// The exit code of a mistake with a code: 2 for usage and for what cannot be read, 1 for what is wrong.
pub(crate) fn exit_code(code: Code) -> u8 {
    if [codes::E0502, codes::E0801].contains(&code) { 2 } else { 1 }
}

/// How this run of the tool talks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    /// Whether standard error takes colours.
    pub(crate) color_err: bool,
    /// How diagnostics are written.
    pub(crate) format: ErrorFormat,
}

impl Out {
    /// From the options, the environment and what listens.
    pub(crate) fn new(global: Global) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty() && v != "0");
        let forced = set("CLICOLOR_FORCE");
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let decide = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => forced || terminal && !refused,
        };
        Self { color_err: decide(io::stderr().is_terminal()), format: global.error_format }
    }

    /// Writes results to standard output.
    pub(crate) fn print(self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::io("standard output", &error),
        })
    }

    /// Writes a remark to standard error. When nobody reads it, so be it.
    pub(crate) fn remark(self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// `error[CODE]: …` on standard error, in the form of the diagnostics.
    pub(crate) fn error(self, code: Option<Code>, text: &str) {
        let shown = code.map_or(String::new(), |c| format!("[{c}]"));
        let line = match self.format {
            ErrorFormat::Json => {
                let code = code.map(|c| c.0);
                format!("{}\n", serde_json::json!({ "severity": "error", "code": code, "message": text }))
            }
            ErrorFormat::Human if self.color_err => format!("\u{1b}[1;31merror{shown}\u{1b}[0m: {text}\n"),
            ErrorFormat::Human | ErrorFormat::Short => format!("error{shown}: {text}\n"),
        };
        self.remark(&line);
    }

    /// Writes diagnostics to standard error, then one line that counts them.
    pub(crate) fn diagnostics(self, diagnostics: &[Diagnostic], sources: &Sources) {
        for diagnostic in diagnostics {
            let mut text = match self.format {
                ErrorFormat::Human => report::human(diagnostic, sources, self.color_err),
                ErrorFormat::Short => report::short(diagnostic, sources),
                ErrorFormat::Json => report::json(diagnostic, sources),
            };
            if self.format == ErrorFormat::Human {
                text.push('\n');
            }
            self.remark(&text);
        }
        if self.format == ErrorFormat::Human && !diagnostics.is_empty() {
            self.remark(&summary(diagnostics));
        }
    }
}

/// ``2 errors, 1 warning; `cnnc explain E0101`, `cnnc explain E0210` say more``
fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity, word: &str| {
        let n = diagnostics.iter().filter(|d| d.code.severity() == severity).count();
        match n {
            0 => None,
            1 => Some(format!("1 {word}")),
            _ => Some(format!("{n} {word}s")),
        }
    };
    let counts: Vec<String> = [count(Severity::Error, "error"), count(Severity::Warning, "warning")]
        .into_iter()
        .flatten()
        .collect();
    let mut codes: Vec<_> = diagnostics.iter().map(|d| d.code).collect();
    codes.sort();
    codes.dedup();
    let more: Vec<String> = codes.iter().take(3).map(|c| format!("`cnnc explain {c}`")).collect();
    let verb = if more.len() == 1 { "says" } else { "say" };
    format!("{}; {} {verb} more\n", counts.join(", "), more.join(", "))
}
