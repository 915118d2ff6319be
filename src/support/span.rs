//! Places in source text: files of one compilation and byte ranges in them.

use super::Name;

/// A file of the [`Sources`] it was added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A byte range `start..end` of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end` of `file`.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        Self { file, start: start as u32, end: end as u32 }
    }

    /// The least range that holds both; `self` when they lie in different files.
    pub fn to(self, other: Self) -> Self {
        if self.file != other.file {
            return self;
        }
        Self { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The empty range right after this one, where something may be inserted.
    pub fn after(self) -> Self {
        Self { file: self.file, start: self.end, end: self.end }
    }
}

/// One source file, as it was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name that messages show.
    pub name: Name,
    /// The whole text.
    pub text: Name,
}

/// The files of one compilation. Reading them is the caller's business: the core does no IO.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a file and returns its id.
    pub fn add(&mut self, name: &str, text: &str) -> FileId {
        self.files.push(Source { name: name.into(), text: text.into() });
        FileId((self.files.len() - 1) as u32)
    }

    /// The file `id`.
    pub fn get(&self, id: FileId) -> &Source {
        &self.files[id.0 as usize]
    }

    /// All files in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &Source)> {
        self.files.iter().enumerate().map(|(i, s)| (FileId(i as u32), s))
    }

    /// The text under `span`.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.file).text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// The 1-based line and column (in characters) of the byte `at`.
    pub fn line_col(&self, file: FileId, at: u32) -> (usize, usize) {
        let text = &self.get(file).text;
        let head = &text.as_bytes()[..(at as usize).min(text.len())];
        let line = head.iter().filter(|b| **b == b'\n').count() + 1;
        let start = head.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        (line, String::from_utf8_lossy(&head[start..]).chars().count() + 1)
    }

    /// The 1-based line on which `span` starts.
    pub fn line(&self, span: Span) -> usize {
        self.line_col(span.file, span.start).0
    }
}
