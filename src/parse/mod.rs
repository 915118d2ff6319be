//! Text to syntax tree, and back (the formatter).
//!
//! In: files of [`Sources`]. Out: a tree with spans, and every syntax error of the file. The road of one file:
//! `scan` finds words, `split` cuts them into items, and each item by itself goes through `lexical` (characters that are no
//! words), `brackets` (matching and depth), `syntax` (the grammar, by pest) and `build` (pairs to tree). What fails is said by
//! `slips` (known slips, with an edit) or `expect` (what was found and what could stand there). When an edit is known it is
//! applied to a copy (`patch`) and the item is read again, so that one run reports its further errors too.
//!
//! Never panics, never recurses deeper than [`DEPTH_MAX`] brackets, makes no tree higher than [`TREE_MAX`] nodes, and takes
//! time linear in the file. Meaning is not its business: it knows no operation and no name.

mod brackets;
mod build;
mod build_expr;
mod expect;
mod format;
mod format_doc;
mod format_expr;
#[cfg(test)]
mod format_tests;
mod lexical;
mod literal;
mod operators;
mod patch;
mod scan;
mod slips;
mod split;
mod syntax;
#[cfg(test)]
mod tests;

use crate::ast::{Expr, File};
use crate::support::codes;
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::{FileId, Sources, Span};
use build::Builder;
pub use format::format;
use patch::Piece;
use scan::{Kind, Token};
use syntax::Rule;

/// The module `std`, which is shipped with the compiler.
pub const STD: &str = include_str!("../../grammar/std.cnn");

/// Files of more bytes are refused.
pub const FILE_MAX: usize = 16 << 20;

/// Files of more words are refused: a tree of them would fill memory.
const TOKENS_MAX: usize = 500_000;

/// Brackets may be nested so deep.
pub const DEPTH_MAX: usize = 64;

/// The highest tree that parsing makes: so deep may recursion over it go.
pub const TREE_MAX: usize = 1000;

/// More errors than this of one file are not reported.
const ERRORS_MAX: usize = 100;

/// One item is mended and read again so often, and so many bytes are read again in all.
const MENDS_MAX: usize = 20;
const MEND_BYTES_MAX: usize = 4 << 20;

/// Parses a file: its items, and what is wrong with it. Items with errors are left out of the tree, except for those whose
/// errors have an obvious correction, which are read as corrected.
pub fn parse(sources: &Sources, file: FileId) -> (File, Vec<Diagnostic>) {
    let mut tree = File::default();
    let text = &*sources.get(file).text;
    let scan = match read(text, file) {
        Ok(scan) => scan,
        Err(diag) => return (tree, vec![diag]),
    };
    let mut diags = Vec::new();
    for range in split::split(text, &scan) {
        if diags.len() >= ERRORS_MAX {
            break;
        }
        let Some(tokens) = scan.get(range) else { continue };
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { continue };
        let mut piece = Piece::new(file, first.start, text.get(first.start..last.end).unwrap_or(""));
        if let Some(diag) = slips::no_item(text, tokens, &piece) {
            let known = diag.fixes.first().is_some_and(|fix| piece.apply(&fix.edits));
            diags.push(diag);
            if !known || scan::scan(piece.text(), 1).tokens.is_empty() {
                continue;
            }
        }
        let before = tree.items.len();
        diags.extend(mend(piece, |piece| {
            let pair = syntax::run(Rule::one_item, piece.text()).map(|mut pairs| pairs.next());
            let pair = pair.map_err(|failure| slips::explain(piece, &failure))?;
            pair.map_or(Ok(()), |pair| Builder { piece }.item(pair, &mut tree))
        }));
        if tree.items.len() == before {
            let name = tokens.get(1).filter(|t| t.kind == Kind::Word).map(|t| t.text(text).into());
            tree.broken.extend(name);
        }
    }
    if diags.len() >= ERRORS_MAX {
        diags.truncate(ERRORS_MAX);
        if let Some(last) = diags.last_mut() {
            last.notes.push(format!("further errors of this file are not shown after {ERRORS_MAX}"));
        }
    }
    (tree, diags)
}

/// Parses a text that is one expression, such as the value of `--set K=3*64` or a line of the REPL.
///
/// # Errors
/// What is wrong with it; never empty.
pub fn parse_expr(sources: &Sources, file: FileId) -> Result<Expr, Vec<Diagnostic>> {
    let text = &*sources.get(file).text;
    let scan = read(text, file).map_err(|diag| vec![diag])?;
    let (Some(first), Some(last)) = (scan.first(), scan.last()) else {
        let span = Span::new(file, 0, text.len());
        return Err(vec![Diagnostic::new(codes::E0001, span, "expected a value, found nothing")]);
    };
    let mut found = None;
    let piece = Piece::new(file, first.start, text.get(first.start..last.end).unwrap_or(""));
    let diags = mend(piece, |piece| {
        let pair = syntax::run(Rule::one_expr, piece.text()).map(|mut pairs| pairs.next());
        let pair = pair.map_err(|failure| slips::explain(piece, &failure))?;
        found = pair.map(|pair| Builder { piece }.expr(pair)).transpose()?.map(|built| built.expr);
        Ok(())
    });
    found.filter(|_| diags.is_empty()).ok_or(diags)
}

/// Whether a text stops inside brackets, so that more lines must follow before it can be read: what a prompt asks.
pub fn is_open(text: &str) -> bool {
    let mut depth = 0i64;
    for token in &scan::scan(text, TOKENS_MAX).tokens {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            Kind::Word | Kind::Number | Kind::Extent | Kind::Str | Kind::Sign | Kind::Junk(_) => {}
        }
    }
    depth > 0
}

/// The words of a file, if it is small enough.
fn read(text: &str, file: FileId) -> Result<Vec<Token>, Diagnostic> {
    let refuse = |message: String| {
        Diagnostic::new(codes::E0004, Span::new(file, 0, 0), message)
            .help("split it into modules: `use \"other.cnn\"`")
    };
    if text.len() > FILE_MAX {
        return Err(refuse(format!("the file has {} bytes; at most {FILE_MAX} are read", text.len())));
    }
    let scan = scan::scan(text, TOKENS_MAX);
    if scan.cut {
        return Err(refuse(format!("the file has more than {TOKENS_MAX} words")));
    }
    Ok(scan.tokens)
}

/// Reads a piece; after an error with an obvious edit it is mended and read again, to find what else is wrong.
fn mend(mut piece: Piece, mut read: impl FnMut(&Piece) -> Result<(), Diagnostic>) -> Vec<Diagnostic> {
    let mut all: Vec<Diagnostic> = Vec::new();
    for turn in 0..MENDS_MAX {
        if turn * piece.text().len() > MEND_BYTES_MAX {
            break;
        }
        let scan = scan::scan(piece.text(), TOKENS_MAX);
        let mut found = lexical::junk(&piece, &scan);
        if found.is_empty() {
            found = brackets::check(&piece, &scan.tokens);
        }
        if found.is_empty() {
            found = slips::gaps(&piece, &scan.tokens);
        }
        if found.is_empty() {
            found.extend(read(&piece).err());
        }
        found.truncate(ERRORS_MAX);
        if found.is_empty() {
            return all;
        }
        // What is not beyond the last error may be an effect of how that one was mended.
        let beyond = |d: &Diagnostic| all.last().is_none_or(|l| d.primary.span.start >= l.primary.span.end);
        if !found.iter().all(beyond) {
            return all;
        }
        let edits: Vec<Edit> =
            found.iter().filter_map(|d| d.fixes.first()).flat_map(|f| f.edits.clone()).collect();
        let known = found.iter().all(|d| !d.fixes.is_empty());
        all.append(&mut found);
        if !known || !piece.apply(&edits) {
            return all;
        }
    }
    all
}
