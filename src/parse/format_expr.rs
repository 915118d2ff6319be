//! The layout of expressions and bodies. Parentheses stay where they were written: the tree alone does not tell.

use super::format::Formatter;
use super::format_doc::{Doc, any_broken};
use crate::ast::{BinaryOp, Body, Call, Expr, ExprKind, ShapeLit, UnaryOp};
use crate::support::span::Span;

impl Formatter<'_> {
    /// A body was written over several lines, or holds statements.
    pub(super) fn is_tall(&self, body: &Body) -> bool {
        let value = body.lets.first().map_or(body.value.span, |l| l.span);
        !body.lets.is_empty() || self.breaks(body.span.start as usize, value.start as usize)
    }

    /// What follows the `{` of a body, `}` included; to be put into a group.
    pub(super) fn body_inside(&mut self, body: &Body) -> Vec<Doc> {
        let open = body.span.start as usize + 1;
        let mut inner = Vec::new();
        let mut last = open;
        for statement in &body.lets {
            self.statement(open, last, statement.span.start as usize, &mut inner);
            inner.push(Doc::Text(format!("let {} =", statement.name.name)));
            self.value(statement.name.span, &statement.value, &mut inner);
            last = statement.span.end as usize;
        }
        let start = body.value.span.start as usize;
        if body.lets.is_empty() {
            let at = inner.len();
            self.gap(last, start, Doc::Line(" "), &mut inner);
            if let Some(Doc::Hard(blank)) = inner.get_mut(at) {
                *blank = false;
            }
        } else {
            self.gap(last, start, Doc::Hard(false), &mut inner);
        }
        inner.push(self.expr(&body.value));
        let mut out = vec![Doc::Nest(inner)];
        let close = (body.span.end as usize).saturating_sub(1);
        self.close(body.value.span.end as usize, close, Doc::Line(" "), &mut out);
        out.push(Doc::text("}"));
        out
    }

    fn body(&mut self, body: &Body) -> Doc {
        let force = self.is_tall(body);
        let mut docs = vec![Doc::text("{")];
        docs.append(&mut self.body_inside(body));
        Doc::Group(docs, force)
    }

    /// Whether the expression was written in parentheses.
    fn in_parens(&self, e: &Expr) -> bool {
        let first = match &e.kind {
            ExprKind::Binary(_, first, _) | ExprKind::Pipe(first, _) | ExprKind::As(first, _) => first,
            ExprKind::Field(first, _) | ExprKind::Index(first, _) => first,
            ExprKind::Call(call) => &call.callee,
            ExprKind::Tuple(_) => return false,
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Str(_)
            | ExprKind::Extent(_)
            | ExprKind::List(_)
            | ExprKind::Shape(_)
            | ExprKind::Name(_)
            | ExprKind::New(_)
            | ExprKind::Is(_)
            | ExprKind::Repeat(_)
            | ExprKind::Block(_)
            | ExprKind::If(..)
            | ExprKind::Unary(..) => return self.source(e.span).starts_with('('),
        };
        first.span.start > e.span.start
    }

    /// An expression.
    pub(super) fn expr(&mut self, e: &Expr) -> Doc {
        if !self.in_parens(e) {
            return self.bare(e);
        }
        let mut inner = Vec::new();
        if self.comments_into(e.span.start as usize + 1, self.inside(e), &mut inner).is_some() {
            inner.push(Doc::Hard(false));
        } else {
            inner.push(Doc::Line(""));
        }
        inner.push(self.bare(e));
        let mut docs = vec![Doc::text("("), Doc::Nest(inner)];
        let close = (e.span.end as usize).saturating_sub(1);
        self.close(close, close, Doc::Line(""), &mut docs);
        docs.push(Doc::text(")"));
        Doc::Group(docs, false)
    }

    /// The place of the first word inside parentheses.
    fn inside(&self, e: &Expr) -> usize {
        let text = self.source(e.span);
        let mut rest = text;
        loop {
            let trimmed = rest.trim_start_matches(|c: char| c == '(' || c.is_whitespace());
            if !trimmed.starts_with('#') {
                return e.span.start as usize + text.len() - trimmed.len();
            }
            rest = trimmed.find('\n').map_or("", |n| &trimmed[n..]);
        }
    }

    fn bare(&mut self, e: &Expr) -> Doc {
        match &e.kind {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Str(_)
            | ExprKind::Extent(_) => Doc::text(
                self.source(e.span).trim_matches(|c: char| c == '(' || c == ')' || c.is_whitespace()),
            ),
            ExprKind::Name(name) => Doc::text(&**name),
            ExprKind::List(items) => {
                let items: Vec<_> = items.iter().map(|e| (e.span, None, e)).collect();
                self.listed(&items, e.span, "[", "]")
            }
            ExprKind::Tuple(items) => {
                let items: Vec<_> = items.iter().map(|e| (e.span, None, e)).collect();
                self.listed(&items, e.span, "(", ")")
            }
            ExprKind::Shape(shape) => self.shape(shape),
            ExprKind::Field(base, name) => {
                Doc::Group(vec![self.expr(base), Doc::Text(format!(".{}", name.name))], false)
            }
            ExprKind::Index(base, at) => {
                Doc::Group(vec![self.expr(base), Doc::text("["), self.expr(at), Doc::text("]")], false)
            }
            ExprKind::Call(call) => self.call(call),
            ExprKind::New(call) => Doc::Group(vec![Doc::text("new "), self.call(call)], false),
            ExprKind::Pipe(..) => self.pipeline(e),
            ExprKind::As(inner, name) => {
                Doc::Seq(vec![self.expr(inner), Doc::Text(format!(" as {}", name.name))])
            }
            ExprKind::Is(shape) => Doc::Seq(vec![Doc::text("is "), self.shape(shape)]),
            ExprKind::Repeat(r) => {
                let mut docs = vec![Doc::text("repeat "), self.expr(&r.count)];
                docs.push(Doc::Text(r.var.as_ref().map_or(" ".into(), |v| format!(" as {} ", v.name))));
                docs.push(self.body(&r.body));
                Doc::Seq(docs)
            }
            ExprKind::Block(body) => self.body(body),
            ExprKind::If(..) => self.if_chain(e),
            ExprKind::Unary(op, inner) => {
                let sign = match op {
                    UnaryOp::Neg => "-",
                    UnaryOp::Not => "not ",
                };
                Doc::Seq(vec![Doc::text(sign), self.expr(inner)])
            }
            ExprKind::Binary(..) => self.binary(e),
        }
    }

    /// Items between brackets, as many on a line as fit; each begins at its span and may have a key.
    fn listed(&mut self, items: &[(Span, Option<&str>, &Expr)], whole: Span, open: &str, close: &str) -> Doc {
        if items.is_empty() {
            return Doc::Text(format!("{open}{close}"));
        }
        let mut inner = Vec::new();
        let mut last = whole.start as usize + 1;
        for (i, (span, key, value)) in items.iter().enumerate() {
            let hard = self.comments_into(last, span.start as usize, &mut inner).is_some();
            let docs = vec![Doc::Text(key.map_or(String::new(), |k| format!("{k}: "))), self.expr(value)];
            if hard || i == 0 {
                inner.push(if hard { Doc::Hard(false) } else { Doc::Line("") });
                inner.extend(docs);
            } else {
                inner.push(Doc::Fill(docs));
            }
            inner.push(if i + 1 < items.len() { Doc::text(",") } else { Doc::IfBroken(",") });
            last = value.span.end as usize;
        }
        let mut out = vec![Doc::text(open), Doc::Nest(inner)];
        self.close(last, (whole.end as usize).saturating_sub(1), Doc::Line(""), &mut out);
        out.push(Doc::text(close));
        Doc::Group(out, false)
    }

    /// `[c: 3, h: 8]`
    pub(super) fn shape(&mut self, shape: &ShapeLit) -> Doc {
        let axes: Vec<_> = shape.axes.iter().map(|(name, e)| (name.span, Some(&*name.name), e)).collect();
        self.listed(&axes, shape.span, "[", "]")
    }

    fn call(&mut self, call: &Call) -> Doc {
        let callee = self.expr(&call.callee);
        if call.args.is_empty() {
            let bare = call.close.start == call.close.end;
            let mut docs = vec![callee, Doc::text(if bare { "" } else { "(" })];
            if !bare {
                self.close(
                    call.callee.span.end as usize,
                    call.close.start as usize,
                    Doc::text(""),
                    &mut docs,
                );
                docs.push(Doc::text(")"));
            }
            return Doc::Group(docs, false);
        }
        let open = call.callee.span.end as usize + 1;
        let mut last = open;
        let mut inner = Vec::new();
        // Arguments written on lines of their own keep them; otherwise as many as fit share one.
        let force = call.args.first().is_some_and(|a| self.breaks(open, a.span.start as usize));
        for (i, arg) in call.args.iter().enumerate() {
            let start = arg.span.start as usize;
            let kept = force && i > 0 && self.breaks(last, start);
            let commented = self.comments_into(last, start, &mut inner).is_some();
            let value = self.expr(&arg.value);
            let docs =
                vec![Doc::Text(arg.key.as_ref().map_or(String::new(), |k| format!("{}: ", k.name))), value];
            if commented || kept || i == 0 {
                inner.push(if commented || kept { Doc::Hard(false) } else { Doc::Line("") });
                inner.extend(docs);
            } else {
                inner.push(Doc::Fill(docs));
            }
            inner.push(if i + 1 < call.args.len() { Doc::text(",") } else { Doc::IfBroken(",") });
            last = arg.span.end as usize;
        }
        let mut docs = vec![callee, Doc::text("("), Doc::Nest(inner)];
        self.close(last, call.close.start as usize, Doc::Line(""), &mut docs);
        docs.push(Doc::text(")"));
        Doc::Group(docs, force)
    }

    /// `if c { a } else if d { b } else { e }`: on one line, or every branch on lines of its own.
    fn if_chain(&mut self, e: &Expr) -> Doc {
        let mut docs = Vec::new();
        let mut force = false;
        let mut at = e;
        while let ExprKind::If(condition, yes, no) = &at.kind {
            docs.push(Doc::text("if "));
            docs.push(self.expr(condition));
            docs.push(Doc::text(" {"));
            force |= self.is_tall(yes);
            docs.append(&mut self.body_inside(yes));
            docs.push(Doc::text(" else "));
            let chained =
                no.lets.is_empty() && no.span == no.value.span && matches!(no.value.kind, ExprKind::If(..));
            if chained {
                at = &no.value;
                continue;
            }
            docs.push(Doc::text("{"));
            force |= self.is_tall(no);
            docs.append(&mut self.body_inside(no));
            break;
        }
        Doc::Group(docs, force)
    }

    /// Operators, the left spine of the tree as one run.
    fn binary(&mut self, e: &Expr) -> Doc {
        let mut parts = Vec::new();
        let mut at = e;
        while let ExprKind::Binary(op, left, right) = &at.kind {
            parts.push((*op, &**right));
            at = left;
            if self.in_parens(at) {
                break;
            }
        }
        let mut docs = vec![self.expr(at)];
        let mut last = at.span.end as usize;
        let mut inner = Vec::new();
        for (op, right) in parts.into_iter().rev() {
            let tight = op == BinaryOp::Pow;
            self.gap(
                last,
                right.span.start as usize,
                if tight { Doc::text("") } else { Doc::Line(" ") },
                &mut inner,
            );
            inner.push(Doc::Text(if tight { "^".into() } else { format!("{} ", op.sign()) }));
            inner.push(self.expr(right));
            last = right.span.end as usize;
        }
        docs.push(Doc::Nest(inner));
        Doc::Group(docs, false)
    }

    /// A pipeline: its stages keep the lines they were written on; one written on one line that is too long gets a line for
    /// each stage.
    fn pipeline(&mut self, e: &Expr) -> Doc {
        let mut stages = Vec::new();
        let mut head = e;
        while let ExprKind::Pipe(left, right) = &head.kind {
            stages.push(&**right);
            head = left;
            if self.in_parens(head) {
                break;
            }
        }
        let first = self.expr(head);
        let mut last = head.span.end as usize;
        let broken = e.span.start < head.span.end && {
            let mut end = last;
            stages.iter().rev().any(|s| {
                let b = self.breaks(end, s.span.start as usize);
                end = s.span.end as usize;
                b
            })
        };
        let mut inner = Vec::new();
        for stage in stages.into_iter().rev() {
            let start = stage.span.start as usize;
            let line = if self.breaks(last, start) { Doc::Hard(false) } else { Doc::Line(" ") };
            let hard = matches!(line, Doc::Hard(_));
            let at = inner.len();
            self.gap(last, start, line, &mut inner);
            let gap_hard = hard || inner.len() > at + 1;
            let docs = vec![Doc::text("|> "), self.expr(stage)];
            if broken && !gap_hard {
                inner.pop();
                inner.push(Doc::Fill(docs));
            } else {
                inner.extend(docs);
            }
            last = stage.span.end as usize;
        }
        if !broken && any_broken(&inner) {
            // Written on one line around a body of several: that line stays.
            let docs = inner.into_iter().map(|d| if let Doc::Line(flat) = d { Doc::text(flat) } else { d });
            let mut all = vec![first];
            all.extend(docs);
            return Doc::Seq(all);
        }
        Doc::Group(vec![first, Doc::Nest(inner)], broken)
    }
}
