//! Layout as data: a document says where lines may break, the renderer decides which do, so that a line stays under
//! [`WIDTH`] columns. After Wadler, "A prettier printer" (2003), with three additions: groups that must break, lines that
//! break one by one ([`Doc::Fill`]), and comments at the end of a line, which take no part in its width.

/// No line is longer where it can be broken.
pub(super) const WIDTH: usize = 110;

/// One level of indentation.
const INDENT: usize = 4;

/// A piece of layout.
#[derive(Clone, Debug)]
pub(super) enum Doc {
    /// Text without line breaks.
    Text(String),
    /// A line break where the group is broken, else this text.
    Line(&'static str),
    /// A line break, always; `true` leaves an empty line.
    Hard(bool),
    /// A space before the content, or a line break when the content's first line would not fit.
    Fill(Vec<Doc>),
    /// Text only where the group is broken.
    IfBroken(&'static str),
    /// One after the other.
    Seq(Vec<Doc>),
    /// One level further in.
    Nest(Vec<Doc>),
    /// All its lines break, or none; with `true`, or with a [`Doc::Hard`] inside, all.
    Group(Vec<Doc>, bool),
    /// A comment at the end of the line.
    Comment(String),
}

impl Doc {
    /// Text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Whether it cannot stand on one line.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Hard(_) | Self::Comment(_) => true,
            Self::Group(docs, force) => *force || any_broken(docs),
            Self::Seq(docs) | Self::Nest(docs) | Self::Fill(docs) => any_broken(docs),
            Self::Text(_) | Self::Line(_) | Self::IfBroken(_) => false,
        }
    }
}

/// Whether one of them cannot stand on one line.
pub(super) fn any_broken(docs: &[Doc]) -> bool {
    docs.iter().any(Doc::is_broken)
}

/// A finished line.
#[derive(Default)]
struct Row {
    code: String,
    comment: Option<String>,
}

/// Lays documents out.
#[derive(Default)]
struct Renderer {
    rows: Vec<Row>,
    row: Row,
}

/// The text of a document; ends without a line break.
pub(super) fn render(docs: &[Doc]) -> String {
    let mut renderer = Renderer::default();
    renderer.all(docs, 0, true);
    renderer.newline(0, false);
    let rows = renderer.rows;
    let mut out = String::new();
    let mut i = 0;
    while i < rows.len() {
        // Comments at the ends of neighbouring lines stand below each other.
        let run = rows[i..].iter().take_while(|r| r.comment.is_some() && !r.code.is_empty()).count();
        let column = rows[i..i + run].iter().map(|r| r.code.chars().count()).max().unwrap_or(0);
        for row in rows.iter().skip(i).take(run.max(1)) {
            out.push_str(&row.code);
            if let Some(comment) = &row.comment {
                let pad = (column + 2).saturating_sub(row.code.chars().count());
                out.extend(std::iter::repeat_n(' ', if row.code.is_empty() { 0 } else { pad }));
                out.push_str(comment);
            }
            out.push('\n');
        }
        i += run.max(1);
    }
    out.truncate(out.trim_end().len());
    out
}

impl Renderer {
    fn newline(&mut self, indent: usize, blank: bool) {
        let mut row = std::mem::take(&mut self.row);
        row.code.truncate(row.code.trim_end().len());
        self.rows.push(row);
        if blank {
            self.rows.push(Row::default());
        }
        self.row.code = " ".repeat(indent);
    }

    fn column(&self) -> usize {
        self.row.code.chars().count()
    }

    fn all(&mut self, docs: &[Doc], indent: usize, broken: bool) {
        for (i, doc) in docs.iter().enumerate() {
            self.one(doc, docs.get(i + 1..).unwrap_or(&[]), indent, broken);
        }
    }

    /// `rest` is what follows in the same sequence: a group fits only with what is glued to its end.
    fn one(&mut self, doc: &Doc, rest: &[Doc], indent: usize, broken: bool) {
        match doc {
            Doc::Text(text) => self.row.code.push_str(text),
            Doc::Line(_) if broken => self.newline(indent, false),
            Doc::Line(flat) => self.row.code.push_str(flat),
            Doc::Hard(blank) => self.newline(indent, *blank),
            Doc::IfBroken(text) if broken => self.row.code.push_str(text),
            Doc::IfBroken(_) => {}
            Doc::Seq(docs) => self.all(docs, indent, broken),
            Doc::Nest(docs) => self.all(docs, indent + INDENT, broken),
            Doc::Comment(text) => {
                // Two comments cannot share a line: the second gets one of its own.
                if self.row.comment.is_some() || self.row.code.trim_start().starts_with('#') {
                    self.newline(indent, false);
                    self.row.code.push_str(text);
                } else {
                    self.row.comment = Some(text.clone());
                }
            }
            Doc::Fill(docs) => {
                let room = WIDTH.saturating_sub(self.column() + 1);
                if broken && !first_line_fits(docs, rest, room) {
                    self.newline(indent, false);
                } else {
                    self.row.code.push(' ');
                }
                self.all(docs, indent, true);
            }
            Doc::Group(docs, force) => {
                let room = WIDTH.saturating_sub(self.column());
                let flat = !*force && !any_broken(docs) && first_line_fits(docs, rest, room);
                self.all(docs, indent, !flat);
            }
        }
    }
}

/// Whether `docs` laid flat, with what is glued to their end, fit into `room` columns up to the first line break that must be.
fn first_line_fits(docs: &[Doc], rest: &[Doc], room: usize) -> bool {
    let mut left = room;
    match take(docs, &mut left, false) {
        Some(true) => true,
        None => false,
        Some(false) => {
            // What follows up to the next place where a line may break.
            for doc in rest {
                match doc {
                    Doc::Text(text) => match left.checked_sub(text.chars().count()) {
                        Some(l) => left = l,
                        None => return false,
                    },
                    Doc::IfBroken(_) | Doc::Comment(_) => {}
                    Doc::Line(_)
                    | Doc::Hard(_)
                    | Doc::Fill(_)
                    | Doc::Seq(_)
                    | Doc::Nest(_)
                    | Doc::Group(..) => break,
                }
            }
            true
        }
    }
}

/// Subtracts the width of `docs` from `left`. `None`: too wide; `Some(true)`: a line break came.
fn take(docs: &[Doc], left: &mut usize, broken: bool) -> Option<bool> {
    for doc in docs {
        let ended = match doc {
            Doc::Text(text) => {
                *left = left.checked_sub(text.chars().count())?;
                false
            }
            Doc::Line(_) if broken => true,
            Doc::Line(flat) => {
                *left = left.checked_sub(flat.len())?;
                false
            }
            Doc::Hard(_) => true,
            Doc::IfBroken(_) | Doc::Comment(_) => false,
            Doc::Seq(inner) | Doc::Nest(inner) => take(inner, left, broken)?,
            Doc::Fill(inner) => {
                *left = left.checked_sub(1)?;
                take(inner, left, false)?
            }
            Doc::Group(inner, force) => take(inner, left, *force || any_broken(inner))?,
        };
        if ended {
            return Some(true);
        }
    }
    Some(false)
}
