//! The formatter: a file in its one layout. In: a file without syntax errors. Out: its text, whose tree is the same and which
//! formats to itself.
//!
//! Line breaks that carry meaning for a reader are kept as written (between the stages of a pipeline, after the `{` of a body
//! and the `(` of a call, between the rows of a table); all others, and all indentation and spacing, are decided here.
//! No comment is ever lost: each is laid before the next thing that starts after it, or at the end of the line it ends.

use super::format_doc::{Doc, WIDTH, render};
use super::scan::{Comment, scan};
use super::{TOKENS_MAX, parse};
use crate::ast::{
    Block, Budget, Const, Expr, Item, Net, Settings, Table, TableBody, TableRow, Test, TestStep, Use,
};
use crate::support::diag::Diagnostic;
use crate::support::span::{FileId, Sources, Span};

/// The text of a file in its layout, with a line break at its end.
///
/// # Errors
/// The syntax errors of the file: what cannot be read is not rewritten.
pub fn format(sources: &Sources, file: FileId) -> Result<String, Vec<Diagnostic>> {
    let (tree, diags) = parse(sources, file);
    if !diags.is_empty() {
        return Err(diags);
    }
    let text = &*sources.get(file).text;
    let comments = scan(text, TOKENS_MAX).comments;
    let mut f = Formatter { text, comments, next: 0 };
    let mut out = String::new();
    let mut last = 0;
    let mut tall_before = false;
    for item in &tree.items {
        let span = item_span(item);
        let lead = f.leading(last, span);
        let docs = f.item(item);
        let body = render(&docs);
        let tall = body.contains('\n');
        let apart = !out.is_empty() && (lead.blank || tall || tall_before);
        if apart && !out.ends_with("\n\n") {
            out.push('\n');
        }
        out.push_str(&lead.text);
        out.push_str(&body);
        last = span.end as usize;
        out.push_str(&f.trailing(last));
        out.push('\n');
        tall_before = tall;
    }
    let lead = f.leading(last, Span::new(file, text.len(), text.len()));
    if !lead.text.is_empty() {
        out.push_str(if lead.blank && !out.is_empty() { "\n" } else { "" });
        out.push_str(lead.text.trim_end());
        out.push('\n');
    }
    Ok(out)
}

/// Comments before an item, and whether an empty line separates them from what came before.
struct Lead {
    text: String,
    blank: bool,
}

/// Makes documents of the tree, and lays the comments between them.
pub(super) struct Formatter<'t> {
    pub text: &'t str,
    comments: Vec<Comment>,
    next: usize,
}

fn item_span(item: &Item) -> Span {
    match item {
        Item::Use(i) => i.span,
        Item::Const(i) => i.span,
        Item::Table(i) => i.span,
        Item::Block(i) => i.span,
        Item::Net(i) => i.span,
        Item::Train(i) => i.span,
        Item::Test(i) => i.span,
        Item::Budget(i) => i.span,
    }
}

impl<'t> Formatter<'t> {
    /// The source under `span`.
    pub(super) fn source(&self, span: Span) -> &'t str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Whether the source breaks the line between two places.
    pub(super) fn breaks(&self, from: usize, to: usize) -> bool {
        self.text.get(from..to).is_some_and(|t| t.contains('\n'))
    }

    /// Whether the source leaves a line empty between two places.
    fn blank(&self, from: usize, to: usize) -> bool {
        let between = self.text.get(from..to).unwrap_or("");
        let mut lines = between.split('\n').skip(1);
        // The last part is the beginning of the line on which `to` stands.
        let count = between.matches('\n').count();
        lines.by_ref().take(count.saturating_sub(1)).any(|l| l.trim().is_empty())
    }

    fn comment(&mut self, before: usize) -> Option<Comment> {
        let comment = *self.comments.get(self.next)?;
        (comment.start < before).then(|| {
            self.next += 1;
            comment
        })
    }

    fn comment_text(&self, c: Comment) -> &'t str {
        self.text.get(c.start..c.end).unwrap_or("")
    }

    /// What stands between two things: the comments there, each where it belongs, then `line`, which becomes a line break that
    /// must be when there were comments.
    pub(super) fn gap(&mut self, from: usize, to: usize, line: Doc, out: &mut Vec<Doc>) {
        let last = self.comments_into(from, to, out);
        match (last, line) {
            (Some(last), _) => out.push(Doc::Hard(self.blank(last, to))),
            (None, Doc::Hard(_)) => out.push(Doc::Hard(self.blank(from, to))),
            (None, line) => out.push(line),
        }
    }

    /// The comments before `to`; the end of the last one.
    pub(super) fn comments_into(&mut self, from: usize, to: usize, out: &mut Vec<Doc>) -> Option<usize> {
        let mut last = None;
        while let Some(c) = self.comment(to) {
            let text = self.comment_text(c).to_owned();
            if c.first {
                let before = last.unwrap_or(from);
                out.push(Doc::Hard(before <= c.start && self.blank(before, c.start) && !self.opens(before)));
                out.push(Doc::Text(text));
            } else {
                out.push(Doc::Comment(text));
            }
            last = Some(c.end);
        }
        last
    }

    /// Whether the byte before `at` opens a bracket: no empty line follows it.
    fn opens(&self, at: usize) -> bool {
        at.checked_sub(1).and_then(|i| self.text.as_bytes().get(i)).is_some_and(|b| b"{([".contains(b))
    }

    /// Comments on lines of their own before an item.
    fn leading(&mut self, from: usize, item: Span) -> Lead {
        let mut lead = Lead { text: String::new(), blank: false };
        let mut last = from;
        while let Some(c) = self.comment(item.start as usize) {
            let blank = self.blank(last, c.start);
            if lead.text.is_empty() {
                lead.blank = blank;
            } else if blank {
                lead.text.push('\n');
            }
            lead.text.push_str(self.comment_text(c));
            lead.text.push('\n');
            last = c.end;
        }
        let blank = self.blank(last, item.start as usize);
        if lead.text.is_empty() {
            lead.blank = blank;
        } else if blank {
            lead.text.push('\n');
        }
        lead
    }

    /// A comment at the end of the line on which an item ends; also the first of those inside it that found no place there.
    fn trailing(&mut self, from: usize) -> String {
        let line = self.text.get(from..).and_then(|t| t.find('\n')).map_or(self.text.len(), |n| from + n);
        self.comment(line).map_or(String::new(), |c| format!("  {}", self.comment_text(c)))
    }

    fn item(&mut self, item: &Item) -> Vec<Doc> {
        match item {
            Item::Use(u) => self.use_item(u),
            Item::Const(c) => self.const_item(c),
            Item::Table(t) => self.table_item(t),
            Item::Block(b) => self.block_item(b),
            Item::Net(n) => self.net_item(n),
            Item::Train(t) => self.train_item(t),
            Item::Test(t) => self.test_item(t),
            Item::Budget(b) => self.budget_item(b),
        }
    }

    fn use_item(&mut self, u: &Use) -> Vec<Doc> {
        let alias = u.alias.as_ref().map_or(String::new(), |a| format!(" as {}", a.name));
        vec![Doc::Text(format!("use {}{alias}", self.source(u.path_span)))]
    }

    fn const_item(&mut self, c: &Const) -> Vec<Doc> {
        let mut out = vec![Doc::Text(format!("const {} =", c.name.name))];
        self.value(c.name.span, &c.value, &mut out);
        out
    }

    /// The value after `name =`.
    pub(super) fn value(&mut self, name: Span, value: &Expr, out: &mut Vec<Doc>) {
        let mut inner = Vec::new();
        self.gap(name.end as usize, value.span.start as usize, Doc::text(" "), &mut inner);
        let expr = self.expr(value);
        // A pipeline indents its own further lines.
        if inner.iter().any(Doc::is_broken) {
            inner.push(expr);
            out.push(Doc::Nest(inner));
        } else {
            out.append(&mut inner);
            out.push(expr);
        }
    }

    fn table_item(&mut self, t: &Table) -> Vec<Doc> {
        let mut out = vec![Doc::Text(format!("table {}: ", t.name.name))];
        out.push(self.expr(&t.inputs));
        out.push(Doc::text(" -> "));
        out.push(self.expr(&t.outputs));
        out.push(Doc::text(" {"));
        let open = self.text.get(t.outputs.span.end as usize..).and_then(|s| s.find('{')).unwrap_or(0);
        let open = t.outputs.span.end as usize + open + 1;
        let close = (t.span.end as usize).saturating_sub(1);
        match &t.body {
            TableBody::Condition { input, output, condition } => {
                let mut inner = Vec::new();
                self.gap(open, input.span.start as usize, Doc::Line(" "), &mut inner);
                inner.push(Doc::Text(format!("{}, {} if ", input.name, output.name)));
                inner.push(self.expr(condition));
                let mut docs = vec![Doc::Nest(inner)];
                self.close(condition.span.end as usize, close, Doc::Line(" "), &mut docs);
                let force = self.breaks(open, input.span.start as usize);
                out.push(Doc::Group(docs, force));
            }
            TableBody::Rows(rows) => self.rows(rows, open, close, &mut out),
        }
        out.push(Doc::text("}"));
        out
    }

    /// Comments before a closing bracket, then the line before it.
    pub(super) fn close(&mut self, from: usize, at: usize, line: Doc, out: &mut Vec<Doc>) {
        let mut inner = Vec::new();
        if self.comments_into(from, at, &mut inner).is_some() {
            out.push(Doc::Nest(inner));
            out.push(Doc::Hard(false));
        } else {
            out.push(line);
        }
    }

    fn row(&self, row: &TableRow) -> (String, String) {
        let inputs = match &row.inputs {
            None => " *".to_owned(),
            Some(inputs) => inputs.iter().map(|(i, _)| format!(" {i}")).collect(),
        };
        (row.output.0.to_string(), inputs)
    }

    /// Rows as the source shares them out among lines, in columns.
    fn rows(&mut self, rows: &[TableRow], open: usize, close: usize, out: &mut Vec<Doc>) {
        let mut lines: Vec<Vec<&TableRow>> = Vec::new();
        let mut last = open;
        let inline = !self.breaks(open, close);
        for row in rows {
            let start = row.span.start as usize;
            if (self.breaks(last, start) && !inline) || lines.is_empty() {
                lines.push(Vec::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(row);
            }
            last = row.span.end as usize;
        }
        let one = rows.iter().map(|r| self.row(r)).map(|(o, i)| o.len() + i.len() + 4).sum::<usize>();
        if inline
            && out.iter().map(|d| if let Doc::Text(t) = d { t.len() } else { 8 }).sum::<usize>() + one < WIDTH
        {
            let cells: Vec<String> =
                rows.iter().map(|r| self.row(r)).map(|(o, i)| format!("{o}:{i}")).collect();
            out.push(Doc::Text(if cells.is_empty() {
                " ".into()
            } else {
                format!(" {} ", cells.join("   "))
            }));
            return;
        }
        let widths = self.columns(&lines);
        if widths.iter().map(|(o, i)| o + i + 4).sum::<usize>() + 4 > WIDTH {
            lines = rows.iter().map(|r| vec![r]).collect();
        }
        let widths = self.columns(&lines);
        let mut inner = Vec::new();
        let mut last = open;
        for line in &lines {
            let start = line.first().map_or(last, |r| r.span.start as usize);
            let top = last == open;
            self.gap(last, start, Doc::Hard(false), &mut inner);
            if top && let Some(Doc::Hard(blank)) = inner.last_mut() {
                *blank = false;
            }
            let mut text = String::new();
            for (row, (o, i)) in line.iter().zip(&widths) {
                let (output, inputs) = self.row(row);
                text.push_str(&format!("{output:>o$}:{inputs:<i$}   "));
            }
            inner.push(Doc::text(text.trim_end()));
            last = line.last().map_or(last, |r| r.span.end as usize);
        }
        out.push(Doc::Nest(inner));
        self.close(last, close, Doc::Hard(false), out);
    }

    /// The widths of outputs and inputs in each column.
    fn columns(&self, lines: &[Vec<&TableRow>]) -> Vec<(usize, usize)> {
        let mut widths: Vec<(usize, usize)> = Vec::new();
        for line in lines {
            for (k, row) in line.iter().enumerate() {
                let (output, inputs) = self.row(row);
                match widths.get_mut(k) {
                    Some((o, i)) => (*o, *i) = ((*o).max(output.len()), (*i).max(inputs.len())),
                    None => widths.push((output.len(), inputs.len())),
                }
            }
        }
        widths
    }

    fn block_item(&mut self, b: &Block) -> Vec<Doc> {
        let mut inner = Vec::new();
        let mut last = b.name.span.end as usize;
        let count = b.tensors.len() + b.statics.len();
        for (i, name) in b.tensors.iter().enumerate() {
            self.param(&mut last, name.span, i == 0, &mut inner);
            inner.push(Doc::text(&*name.name));
            if i + 1 < count && i + 1 < b.tensors.len() {
                inner.push(Doc::text(","));
            }
        }
        for (i, p) in b.statics.iter().enumerate() {
            if i == 0 {
                inner.push(Doc::text(";"));
            }
            self.param(&mut last, p.name.span, false, &mut inner);
            inner.push(Doc::Text(format!("{}: {}", p.name.name, p.ty.name)));
            if let Some(default) = &p.default {
                inner.push(Doc::text(" = "));
                inner.push(self.expr(default));
                last = default.span.end as usize;
            }
            if i + 1 < b.statics.len() {
                inner.push(Doc::text(","));
            }
        }
        let mut head = vec![Doc::Text(format!("block {}(", b.name.name)), Doc::Nest(inner)];
        head.push(Doc::Line(""));
        head.push(Doc::text(") {"));
        let mut out = vec![Doc::Group(head, false)];
        let force = self.is_tall(&b.body);
        let body = self.body_inside(&b.body);
        out.push(Doc::Group(body, force));
        out
    }

    fn param(&mut self, last: &mut usize, span: Span, first: bool, out: &mut Vec<Doc>) {
        self.gap(*last, span.start as usize, Doc::Line(if first { "" } else { " " }), out);
        *last = span.end as usize;
    }

    fn net_item(&mut self, n: &Net) -> Vec<Doc> {
        let mut inner = Vec::new();
        let mut last = n.name.span.end as usize;
        for (i, (name, shape)) in n.inputs.iter().enumerate() {
            self.param(&mut last, name.span, i == 0, &mut inner);
            inner.push(Doc::Text(format!("{}: ", name.name)));
            inner.push(self.shape(shape));
            last = shape.span.end as usize;
            inner.push(if i + 1 < n.inputs.len() { Doc::text(",") } else { Doc::IfBroken(",") });
        }
        let mut head = vec![Doc::Text(format!("net {}(", n.name.name)), Doc::Nest(inner), Doc::Line("")];
        head.push(Doc::text(")"));
        let mut tail = Vec::new();
        match n.outputs.as_slice() {
            [] => {}
            [(None, shape)] => {
                tail.push(Doc::text(" -> "));
                tail.push(self.shape(shape));
            }
            all => {
                tail.push(Doc::text(" -> ("));
                let mut inner = Vec::new();
                for (i, (name, shape)) in all.iter().enumerate() {
                    let start = name.as_ref().map_or(shape.span, |n| n.span);
                    self.param(&mut last, start, i == 0, &mut inner);
                    inner.push(Doc::Text(name.as_ref().map_or(String::new(), |n| format!("{}: ", n.name))));
                    inner.push(self.shape(shape));
                    last = shape.span.end as usize;
                    inner.push(if i + 1 < all.len() { Doc::text(",") } else { Doc::IfBroken(",") });
                }
                tail.push(Doc::Group(vec![Doc::Nest(inner), Doc::Line(""), Doc::text(")")], false));
            }
        }
        tail.push(Doc::text(" {"));
        let mut out = vec![Doc::Group(head, false)];
        out.append(&mut tail);
        let force = self.is_tall(&n.body);
        let body = self.body_inside(&n.body);
        out.push(Doc::Group(body, force));
        out
    }

    fn train_item(&mut self, t: &Settings) -> Vec<Doc> {
        let width = t.entries.iter().map(|(k, _)| k.name.len()).max().unwrap_or(0) + 2;
        let mut inner = Vec::new();
        let open = self.brace(t.net.span);
        let mut last = open;
        for (key, value) in &t.entries {
            self.statement(open, last, key.span.start as usize, &mut inner);
            inner.push(Doc::Text(format!("{:<width$}", key.name)));
            inner.push(self.expr(value));
            last = value.span.end as usize;
        }
        let out = vec![Doc::Text(format!("train {} {{", t.net.name))];
        self.braced(out, inner, last, t.span)
    }

    /// The place after the `{` that follows a name.
    fn brace(&self, name: Span) -> usize {
        let from = name.end as usize;
        from + self.text.get(from..).and_then(|t| t.find('{')).map_or(0, |n| n + 1)
    }

    /// The line break before a statement; none is left empty at the top.
    pub(super) fn statement(&mut self, open: usize, last: usize, start: usize, out: &mut Vec<Doc>) {
        let at = out.len();
        self.gap(last, start, Doc::Hard(false), out);
        if last == open
            && let Some(Doc::Hard(blank)) = out.get_mut(at)
        {
            *blank = false;
        }
    }

    fn braced(&mut self, mut out: Vec<Doc>, inner: Vec<Doc>, last: usize, span: Span) -> Vec<Doc> {
        let empty = inner.is_empty();
        out.push(Doc::Nest(inner));
        let line = if empty { Doc::text("") } else { Doc::Hard(false) };
        self.close(last, (span.end as usize).saturating_sub(1), line, &mut out);
        out.push(Doc::text("}"));
        out
    }

    fn test_item(&mut self, t: &Test) -> Vec<Doc> {
        let mut inner = Vec::new();
        let title = Doc::Text(format!("test \"{}\" {{", t.title));
        // The title holds no quote, so the first brace after the second quote opens the body.
        let head = self.source(t.span).find(&*t.title).map_or(0, |n| n + t.title.len());
        let from = t.span.start as usize + head;
        let open = from + self.text.get(from..).and_then(|s| s.find('{')).map_or(0, |n| n + 1);
        let mut last = open;
        for step in &t.steps {
            let (start, end) = match step {
                TestStep::Assert(e) => (e.span.start as usize, e.span.end as usize),
                TestStep::Gradcheck(name) => (name.span.start as usize, name.span.end as usize),
            };
            self.statement(open, last, start, &mut inner);
            match step {
                TestStep::Assert(e) => {
                    inner.push(Doc::text("assert "));
                    inner.push(self.expr(e));
                }
                TestStep::Gradcheck(name) => inner.push(Doc::Text(format!("gradcheck {}", name.name))),
            }
            last = end;
        }
        self.braced(vec![title], inner, last, t.span)
    }

    fn budget_item(&mut self, b: &Budget) -> Vec<Doc> {
        let open = self.brace(b.net.span);
        let close = (b.span.end as usize).saturating_sub(1);
        let mut inner = Vec::new();
        let mut last = open;
        for limit in &b.limits {
            let line = Doc::Line(if last == open { " " } else { "   " });
            self.gap(last, limit.span.start as usize, line, &mut inner);
            inner.push(self.expr(limit));
            last = limit.span.end as usize;
        }
        let line = if b.limits.is_empty() { Doc::text("") } else { Doc::Line(" ") };
        let mut docs = vec![Doc::Nest(inner)];
        self.close(last, close, line, &mut docs);
        docs.push(Doc::text("}"));
        let force = b.limits.first().is_some_and(|l| self.breaks(open, l.span.start as usize));
        vec![Doc::Text(format!("budget {} {{", b.net.name)), Doc::Group(docs, force)]
    }
}
