//! Diagnostics as text: the full form with the source under it, one line each, or one JSON object each.
//!
//! A [`Diagnostic`] and the [`Sources`] it points into come in, text goes out; nothing is printed here. The full form is
//! drawn by codespan-reporting, the notes under it as they were made, and then the edits:
//!
//! ```text
//! error[E0210]: `+` needs equal extents on axis h: 28 on the left, 27 on the right
//!   ┌─ resnet.cnn:6:10
//!   │
//! 6 │     relu(y + skip)
//!   │          ^^^^^^^^ left [c: 128, h: 28, w: 28], right [c: 128, h: 27, w: 27]
//!   │
//!   = inside ResNet18 > stage[1] > residual(k: 128, s: 2)
//! help: this edit makes the whole network check:
//!       line 3: 3x3 -> 1x1   (h = floor((56 - 1) / 2) + 1 = 28)
//! ```
//!
//! Spans are clamped to the text and control characters are replaced, so that no source can break the output or command
//! the terminal that shows it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use codespan_reporting::diagnostic as cs;
use codespan_reporting::files::{self, Files};
use codespan_reporting::term::{self, Styles, StylesWriter, termcolor};

use crate::support::diag::{Diagnostic, Fix, Severity};
use crate::support::span::{FileId, Sources, Span};

/// A line longer than this is not drawn; only its place is named.
const LINE_BYTES_MAX: usize = 400;

/// The full form, ending in one newline.
pub fn human(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let mut out = draw(diagnostic, sources, color);
    out.truncate(out.trim_end().len());
    out.push('\n');
    let help = if color { "\u{1b}[1;36mhelp\u{1b}[0m" } else { "help" };
    let whole = if diagnostic.is_error() { "makes the whole network check" } else { "ends this warning" };
    let groups: [(&str, &dyn Fn(&Fix) -> bool); 3] = [
        (whole, &|f| f.verified && f.remaining == 0),
        ("mends this error; others remain", &|f| f.verified && f.remaining > 0),
        ("", &|f| !f.verified),
    ];
    for (does, belongs) in groups {
        let fixes: Vec<&Fix> = diagnostic.fixes.iter().filter(|f| belongs(f)).collect();
        let which = match fixes.len() {
            0 => continue,
            1 => "this edit",
            2 => "either edit",
            _ => "each one of these edits",
        };
        let head = if does.is_empty() { "perhaps".to_owned() } else { format!("{which} {does}") };
        let _ = writeln!(out, "{help}: {head}:");
        list_fixes(&mut out, diagnostic, &fixes, sources);
    }
    for text in &diagnostic.help {
        let _ = writeln!(out, "{help}: {}", clean(text).replace('\n', "\n      "));
    }
    if !diagnostic.assumed.is_empty() {
        let note = if color { "\u{1b}[1;32mnote\u{1b}[0m" } else { "note" };
        let assumed = clean(&diagnostic.assumed);
        let _ = writeln!(
            out,
            "{note}: later lines were checked with {assumed}; `cnnc explain {}`",
            diagnostic.code
        );
    }
    out
}

/// `file:line:column: error[CODE]: message`, one line.
pub fn short(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let span = diagnostic.primary.span;
    let (line, column) = sources.line_col(span.file, span.start);
    format!(
        "{}:{line}:{column}: {}[{}]: {}\n",
        sources.get(span.file).name,
        severity(diagnostic),
        diagnostic.code,
        clean(&diagnostic.message).replace('\n', " ")
    )
}

/// One JSON object on one line: `code, message, filename, location, end_location, severity, label, labels, notes, help,
/// fixes`; rows and columns count from 1, columns in characters.
#[cfg(feature = "cli")]
pub fn json(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let span = diagnostic.primary.span;
    let labels: Vec<_> = diagnostic
        .labels
        .iter()
        .map(|l| {
            serde_json::json!({
                "filename": *sources.get(l.span.file).name,
                "location": place(sources, l.span.file, l.span.start),
                "end_location": place(sources, l.span.file, l.span.end),
                "message": l.text,
            })
        })
        .collect();
    let fixes: Vec<_> = diagnostic.fixes.iter().map(|f| json_fix(f, sources)).collect();
    let object = serde_json::json!({
        "code": diagnostic.code.0,
        "severity": severity(diagnostic),
        "message": diagnostic.message,
        "filename": *sources.get(span.file).name,
        "location": place(sources, span.file, span.start),
        "end_location": place(sources, span.file, span.end),
        "label": diagnostic.primary.text,
        "labels": labels,
        "notes": diagnostic.notes,
        "help": diagnostic.help,
        "fixes": fixes,
        "assumed": diagnostic.assumed,
    });
    format!("{object}\n")
}

#[cfg(feature = "cli")]
fn json_fix(fix: &Fix, sources: &Sources) -> serde_json::Value {
    let edits: Vec<_> = fix
        .edits
        .iter()
        .map(|e| {
            serde_json::json!({
                "filename": *sources.get(e.span.file).name,
                "location": place(sources, e.span.file, e.span.start),
                "end_location": place(sources, e.span.file, e.span.end),
                "content": e.text,
            })
        })
        .collect();
    serde_json::json!({
        "title": fix.title,
        "effect": fix.effect,
        "verified": fix.verified,
        "remaining": fix.remaining,
        "edits": edits,
    })
}

#[cfg(feature = "cli")]
fn place(sources: &Sources, file: FileId, at: u32) -> serde_json::Value {
    let (row, column) = sources.line_col(file, at);
    serde_json::json!({ "row": row, "column": column })
}

fn severity(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// `line 3: 3x3 -> 1x1   (effect)`, the effects in one column.
fn list_fixes(out: &mut String, diagnostic: &Diagnostic, fixes: &[&Fix], sources: &Sources) {
    let heads: Vec<String> = fixes
        .iter()
        .map(|fix| match fix.edits.first() {
            Some(edit) if edit.span.file == diagnostic.primary.span.file => {
                format!("line {}: {}", sources.line(edit.span), clean(&fix.title))
            }
            Some(edit) => {
                let name = &sources.get(edit.span.file).name;
                format!("{name}, line {}: {}", sources.line(edit.span), clean(&fix.title))
            }
            None => clean(&fix.title).into_owned(),
        })
        .collect();
    let width = heads.iter().map(|h| h.chars().count()).max().unwrap_or(0);
    for (fix, head) in fixes.iter().zip(&heads) {
        if fix.effect.is_empty() {
            let _ = writeln!(out, "      {head}");
        } else {
            let _ = writeln!(out, "      {head:width$}   ({})", clean(&fix.effect));
        }
    }
}

/// Header, snippet and notes.
fn draw(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let indexed = Indexed::new(sources);
    let label = |style, span: Span, text: &str| {
        let label = cs::Label::new(style, span.file, indexed.clamp(span));
        label.with_message(clean(text))
    };
    let mut labels = vec![label(cs::LabelStyle::Primary, diagnostic.primary.span, &diagnostic.primary.text)];
    labels.extend(diagnostic.labels.iter().map(|l| label(cs::LabelStyle::Secondary, l.span, &l.text)));
    let long = labels.iter().any(|l| indexed.longest_line(l.file_id, &l.range) > LINE_BYTES_MAX);
    let severity = match diagnostic.code.severity() {
        Severity::Error => cs::Severity::Error,
        Severity::Warning => cs::Severity::Warning,
    };
    let drawn = cs::Diagnostic::new(severity)
        .with_code(diagnostic.code)
        .with_message(clean(&diagnostic.message))
        .with_labels(labels)
        .with_notes(diagnostic.notes.iter().map(|n| clean(n).into_owned()).collect());
    let display_style = if long { term::DisplayStyle::Medium } else { term::DisplayStyle::Rich };
    let config = term::Config { display_style, ..term::Config::default() };
    let bytes = if color {
        let styles = Styles::default();
        let mut ansi = termcolor::Ansi::new(Vec::new());
        let mut writer = StylesWriter::new(&mut ansi, &styles);
        term::emit_to_write_style(&mut writer, &config, &indexed, &drawn).map(|()| ansi.into_inner())
    } else {
        let mut bytes = Vec::new();
        term::emit_to_io_write(&mut bytes, &config, &indexed, &drawn).map(|()| bytes)
    };
    match bytes {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // The sources are ours and spans are clamped, so this is not reached; the short form says it all anyway.
        Err(_) => short(diagnostic, sources),
    }
}

/// Control characters but newlines and tabs as `?`.
fn clean(text: &str) -> Cow<'_, str> {
    let hostile = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(hostile) { text.replace(hostile, "?").into() } else { text.into() }
}

/// The sources as codespan-reporting wants them.
struct Indexed<'a> {
    files: Vec<IndexedFile<'a>>,
}

struct IndexedFile<'a> {
    name: &'a str,
    /// The text with control characters of one byte replaced by another byte, so that ranges stay.
    text: Cow<'a, str>,
    line_starts: Vec<usize>,
}

impl<'a> Indexed<'a> {
    fn new(sources: &'a Sources) -> Self {
        let hostile = |c: char| c.is_ascii_control() && c != '\n' && c != '\r' && c != '\t';
        let files = sources
            .iter()
            .map(|(_, source)| IndexedFile {
                name: &source.name,
                text: match source.text.contains(hostile) {
                    true => source.text.replace(hostile, "?").into(),
                    false => Cow::Borrowed(&*source.text),
                },
                line_starts: files::line_starts(&source.text).collect(),
            })
            .collect();
        Self { files }
    }

    fn file(&self, id: FileId) -> Result<&IndexedFile<'a>, files::Error> {
        self.files.get(id.0 as usize).ok_or(files::Error::FileMissing)
    }

    /// The range of `span`, within the text and on character boundaries.
    fn clamp(&self, span: Span) -> Range<usize> {
        let Ok(file) = self.file(span.file) else { return 0..0 };
        let start = file.text.floor_char_boundary(span.start as usize);
        start..file.text.floor_char_boundary(span.end as usize).max(start)
    }

    /// The length of the longest line that `range` touches.
    fn longest_line(&self, id: FileId, range: &Range<usize>) -> usize {
        let Ok(file) = self.file(id) else { return 0 };
        let first = file.line_starts.partition_point(|s| *s <= range.start).saturating_sub(1);
        let last = file.line_starts.partition_point(|s| *s <= range.end);
        let ends = file.line_starts[first..last].iter().zip(file.line_starts[first..].iter().skip(1));
        let tail = file.text.len() - file.line_starts[last.saturating_sub(1)];
        let inner = ends.map(|(start, end)| end - start).max().unwrap_or(0);
        if last == file.line_starts.len() { inner.max(tail) } else { inner }
    }
}

impl<'a> Files<'a> for Indexed<'_> {
    type FileId = FileId;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: FileId) -> Result<&'a str, files::Error> {
        Ok(self.file(id)?.name)
    }

    fn source(&'a self, id: FileId) -> Result<&'a str, files::Error> {
        Ok(&self.file(id)?.text)
    }

    fn line_index(&'a self, id: FileId, byte: usize) -> Result<usize, files::Error> {
        Ok(self.file(id)?.line_starts.partition_point(|s| *s <= byte).saturating_sub(1))
    }

    fn line_range(&'a self, id: FileId, line: usize) -> Result<Range<usize>, files::Error> {
        let file = self.file(id)?;
        let max = file.line_starts.len();
        let start = *file.line_starts.get(line).ok_or(files::Error::LineTooLarge { given: line, max })?;
        Ok(start..file.line_starts.get(line + 1).copied().unwrap_or(file.text.len()))
    }
}

#[cfg(test)]
mod tests;
