//! Pipelines: `x |> stage |> stage`, with the stages that are no calls: `is`, `repeat`, `{ … }`, `if`.

use std::rc::Rc;

use super::call::CallText;
use super::cx::{Cx, Local, Scope};
use super::expr::IT;
use super::network::Place;
use super::value::Val;
use crate::ast::{Expr, ExprKind, Ident, Repeat, ShapeLit};
use crate::support::codes;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;

/// More turns than this in one `repeat` are refused.
const TURNS_MAX: i64 = 10_000;

impl<'a> Cx<'a> {
    /// `head |> stage |> …`; `label` names the last stage.
    pub(super) fn pipe(&mut self, e: &'a Expr, label: Option<&'a Ident>) -> Val<'a> {
        // A pipeline is as deep a tree as it is long: walked, not recursed into.
        let mut stages = Vec::new();
        let mut head = e;
        while let ExprKind::Pipe(left, right) = &head.kind {
            stages.push(&**right);
            head = left;
        }
        let mut value = self.expr(head);
        let last = stages.len().saturating_sub(1);
        for (i, stage) in stages.into_iter().rev().enumerate() {
            let label = if i == last { label } else { None };
            value = if self.enter(stage.span) { self.stage(value.last(), stage, label) } else { Val::Poison };
            self.leave();
        }
        value
    }

    /// `value |> stage`
    fn stage(&mut self, value: Val<'a>, stage: &'a Expr, label: Option<&'a Ident>) -> Val<'a> {
        match &stage.kind {
            ExprKind::As(inner, name) => {
                let value = self.stage(value, inner, Some(name));
                self.name_value(name, &value);
                value
            }
            ExprKind::Is(shape) => self.is(value, shape, stage.span),
            ExprKind::Repeat(repeat) => self.repeat(value, repeat, stage.span, label),
            ExprKind::Block(body) => self.with_it(value, stage.span, |cx| cx.body(body)),
            ExprKind::If(condition, yes, no) => {
                let Some(taken) = self.condition(condition) else {
                    return self.with_it(value, stage.span, |cx| cx.both(yes, no));
                };
                let body = if taken { yes } else { no };
                let result = self.with_it(value.clone(), stage.span, |cx| cx.body(body));
                match result {
                    // `x |> if c { relu } else { tanh }`: the branch is a stage itself.
                    Val::Call(callee) => {
                        let text = CallText { callee: &body.value, args: &[], close: None, span: body.value.span };
                        self.apply(Val::Call(callee), &text, Some(value), label)
                    }
                    other => other,
                }
            }
            ExprKind::Call(call) => self.call_expr(stage.span, call, Some(value), label),
            ExprKind::Name(_) | ExprKind::Field(..) | ExprKind::Index(..) => {
                let callee = self.callee(stage);
                let text = CallText { callee: stage, args: &[], close: None, span: stage.span };
                self.apply(callee, &text, Some(value), label)
            }
            ExprKind::New(call) => self.fail(
                Diagnostic::new(codes::E0114, stage.span, "`new` makes an instance and works on no value").help(
                    format!(
                        "each plain call has weights of its own: leave out `new`, or write `let u = new {}…` before and `|> u` here",
                        self.sources.text(call.callee.span)
                    ),
                ),
            ),
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Str(_)
            | ExprKind::Extent(_)
            | ExprKind::List(_)
            | ExprKind::Shape(_)
            | ExprKind::Tuple(_)
            | ExprKind::Pipe(..)
            | ExprKind::Unary(..)
            | ExprKind::Binary(..) => self.fail(
                Diagnostic::new(codes::E0114, stage.span, "the right side of `|>` must be something that can be called")
                    .help("a call such as `conv(8, 3x3)`, a name such as `relu`, `is […]`, `repeat n { … }`, or `{ … it … }`"),
            ),
        }
    }

    /// Evaluates with `it` standing for `value`.
    fn with_it(&mut self, value: Val<'a>, span: Span, inner: impl FnOnce(&mut Self) -> Val<'a>) -> Val<'a> {
        let mark = self.frame().locals.len();
        self.frame().locals.push(Local { name: IT.into(), value, span });
        let result = inner(self);
        self.frame().locals.truncate(mark);
        result
    }

    fn repeat(&mut self, value: Val<'a>, r: &'a Repeat, span: Span, label: Option<&'a Ident>) -> Val<'a> {
        let count = match self.int(&r.count, "the count of `repeat`") {
            Some(count) => count,
            None if self.dry => 1,
            None => return Val::Poison,
        };
        if count < 0 {
            let message = format!("`repeat` cannot run {count} times");
            return self.fail(Diagnostic::new(codes::E0204, r.count.span, message));
        }
        if count > TURNS_MAX {
            let message = format!("`repeat {count}`: at most {TURNS_MAX} turns are allowed");
            return self.fail(Diagnostic::new(codes::E0115, r.count.span, message));
        }
        let base = self.path_for(&"repeat".into(), label);
        let name = label.map_or("repeat", |l| &l.name).to_owned();
        let mut value = value;
        let mut turns = Vec::new();
        for turn in 0..count {
            let text = format!("{name}[{turn}]");
            let params = match &value {
                Val::Tensor(id) => vec![(IT.into(), *id)],
                _ => Vec::new(),
            };
            let place = self.open_place(text.clone(), text, span, params);
            let shared = self.scope().shared.clone();
            self.scopes.push(Scope::new(format!("{base}[{turn}]"), place, shared));
            value = self.with_it(value, span, |cx| {
                if let Some(var) = &r.var {
                    cx.bind(var, Val::Static(crate::ops::args::ArgValue::Int(turn)));
                }
                cx.body(&r.body).last()
            });
            self.scopes.pop();
            turns.push(value.clone());
            if self.stopped {
                return Val::Poison;
            }
        }
        if turns.is_empty() { value } else { Val::Turns(Rc::from(turns)) }
    }

    /// Adds a block or turn to the net's list.
    pub(super) fn open_place(
        &mut self,
        text: String,
        name: String,
        span: Span,
        params: Vec<(crate::support::Name, crate::graph::ValueId)>,
    ) -> usize {
        let parent = Some(self.place());
        self.net.places.push(Place { parent, text, name, span, params });
        self.net.places.len() - 1
    }

    /// `|> is [c: 512, h: 7, w: 7]`: the value itself if it has this shape.
    fn is(&mut self, value: Val<'a>, shape: &'a ShapeLit, span: Span) -> Val<'a> {
        let Some(axes) = self.shape(shape) else { return value };
        match value {
            Val::Tensor(id) => {
                self.check_shape(id, shape, &axes, "`is`");
                Val::Tensor(id)
            }
            // What an error left unknown is known again from here on.
            Val::Poison => match self.shape_ty(shape, &axes) {
                Some(ty) => {
                    let doubtful = vec![false; ty.dims().len()];
                    let place = self.place();
                    let name = self.unique("is".into());
                    Val::Tensor(self.net.add_hole(&name, ty, doubtful, (&"is".into(), None, span, place)))
                }
                None => Val::Poison,
            },
            other => {
                let what = self.describe(&other);
                let message = format!("`is` checks the shape of a tensor, this is {what}");
                self.fail(Diagnostic::new(codes::E0111, span, message))
            }
        }
    }
}
