//! A piece of a file as it is read: the text between two bytes, perhaps with mended slips, and the way back from its bytes to
//! those of the file. Mending is what lets one run report several errors of one item.

use crate::support::diag::Edit;
use crate::support::span::{FileId, Span};

/// A piece of a file with edits applied.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    file: FileId,
    /// Where the piece begins in the file.
    base: usize,
    original: String,
    /// Sorted by place, never overlapping, in bytes of `original`.
    edits: Vec<(usize, usize, String)>,
    /// `original` with `edits`.
    text: String,
}

impl Piece {
    /// The text that stands at `base` in `file`.
    pub(super) fn new(file: FileId, base: usize, text: &str) -> Self {
        Self { file, base, original: text.to_owned(), edits: Vec::new(), text: text.to_owned() }
    }

    /// The text to read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place in the file of the bytes `start..end` of [`Self::text`]; inserted text lies where it was inserted.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        let (start, end) = (self.back(start, false), self.back(end, true));
        Span::new(self.file, start, end.max(start))
    }

    fn back(&self, at: usize, end: bool) -> usize {
        let mut shift = 0isize;
        for (from, to, new) in &self.edits {
            let here = from.saturating_add_signed(shift);
            if at < here || (end && at == here) {
                break;
            }
            if at < here + new.len() {
                return self.base + if end { *to } else { *from };
            }
            shift += new.len() as isize - (to - from) as isize;
        }
        self.base + at.saturating_add_signed(-shift).min(self.original.len())
    }

    /// Applies edits given in bytes of the file. `false`, with nothing changed, when one lies elsewhere or touches an earlier one.
    pub(super) fn apply(&mut self, edits: &[Edit]) -> bool {
        let mut all = self.edits.clone();
        for edit in edits {
            let (start, end) = (edit.span.start as usize, edit.span.end as usize);
            if edit.span.file != self.file || start < self.base || end > self.base + self.original.len() {
                return false;
            }
            let (start, end) = (start - self.base, end - self.base);
            let clash = |(from, to, _): &&(usize, usize, String)| start <= *to && *from <= end;
            if all.iter().find(clash).is_some() || !self.original.is_char_boundary(start) {
                return false;
            }
            all.push((start, end, edit.text.clone()));
        }
        all.sort_by_key(|(start, ..)| *start);
        let mut text = String::with_capacity(self.original.len() + 16);
        let mut at = 0;
        for (start, end, new) in &all {
            text.push_str(self.original.get(at..*start).unwrap_or(""));
            text.push_str(new);
            at = *end;
        }
        text.push_str(self.original.get(at..).unwrap_or(""));
        self.edits = all;
        self.text = text;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_edits() {
        let file = FileId(0);
        let mut piece = Piece::new(file, 100, "let y = conv (8, 5 x 5)");
        let gap = Edit { span: Span::new(file, 112, 113), text: String::new() };
        let extent = Edit { span: Span::new(file, 117, 122), text: "5x5".into() };
        assert!(piece.apply(std::slice::from_ref(&extent)));
        assert!(piece.apply(&[gap]));
        assert_eq!(piece.text(), "let y = conv(8, 5x5)");
        assert_eq!(piece.span(8, 12), Span::new(file, 108, 112));
        assert_eq!(piece.span(13, 14), Span::new(file, 114, 115));
        assert_eq!(piece.span(16, 19), Span::new(file, 117, 122));
        assert_eq!(piece.span(19, 20), Span::new(file, 122, 123));
        assert!(!piece.apply(&[extent]), "the same place is not mended twice");
    }
}
