//! Calls: what a callee's name means, and the roads to operations (`opcall`), blocks and instances (`blocks`), functions on
//! numbers, fields and indices.

use super::cx::Cx;
use super::fixes::Candidate;
use super::statics::{self, FUNCTIONS};
use super::value::{Callee, Val};
use crate::ast::{Arg, BinaryOp, Call, Expr, ExprKind, Ident, UnaryOp};
use crate::ops::Op;
use crate::ops::args::ArgValue;
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::unary::{Unary, UnaryFn};
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::Span;
use crate::support::{Name, codes};

/// The text of a call.
pub(super) struct CallText<'a> {
    /// What is called.
    pub callee: &'a Expr,
    /// The written arguments.
    pub args: &'a [Arg],
    /// The closing parenthesis; `None` for a bare name.
    pub close: Option<Span>,
    /// All of it.
    pub span: Span,
}

impl<'a> Cx<'a> {
    /// `f(…)`, after `|>` with a value before it.
    pub(super) fn call_expr(
        &mut self,
        span: Span,
        call: &'a Call,
        piped: Option<Val<'a>>,
        label: Option<&'a Ident>,
    ) -> Val<'a> {
        let callee = self.callee(&call.callee);
        let text = CallText { callee: &call.callee, args: &call.args, close: Some(call.close), span };
        self.apply(callee, &text, piped, label)
    }

    /// What a callee means; an unknown one is named beside the nearest thing that can be called.
    pub(super) fn callee(&mut self, e: &'a Expr) -> Val<'a> {
        let ExprKind::Name(name) = &e.kind else { return self.expr(e) };
        if let Some(value) = self.lookup(name, e.span) {
            return value;
        }
        let module = self.module();
        let home = self.modules.all[module]
            .uses
            .iter()
            .find(|(_, id)| self.modules.all[**id].names.contains_key(name));
        if home.is_some() {
            return self.name(name, e.span);
        }
        let known = self.names_in_sight();
        let diag = Diagnostic::new(codes::E0101, e.span, format!("nothing is called `{name}` here"))
            .label("no operation, block or instance has this name");
        self.unknown(diag, (name, e.span), known.iter().map(|n| &**n))
    }

    /// Calls what `callee` is.
    pub(super) fn apply(
        &mut self,
        callee: Val<'a>,
        text: &CallText<'a>,
        piped: Option<Val<'a>>,
        label: Option<&'a Ident>,
    ) -> Val<'a> {
        match callee {
            Val::Call(Callee::Op(info)) => {
                let mut early = None;
                if piped.is_none()
                    && FUNCTIONS.contains(&info.name)
                    && text.args.iter().all(|a| a.key.is_none())
                {
                    let values: Vec<Val<'a>> = text.args.iter().map(|a| self.expr(&a.value)).collect();
                    if !values.is_empty() && !values.iter().any(|v| v.is_tensor() || v.is_poison()) {
                        return self.function(info.name, &values, text);
                    }
                    early = Some(values);
                }
                self.op_call(info, text, piped, early, label)
            }
            Val::Call(Callee::Function(name)) => {
                let mut values: Vec<Val<'a>> = piped.into_iter().collect();
                values.extend(text.args.iter().map(|a| self.expr(&a.value)));
                self.function(name, &values, text)
            }
            Val::Call(Callee::Block(module, block)) => self.block_call(module, block, text, piped, label),
            Val::Call(Callee::Net(module, net)) => self.net_call(module, net, text, piped, label),
            Val::Call(Callee::Instance(instance)) => self.instance_call(&instance, text, piped),
            Val::Poison => {
                // The arguments may hold errors of their own; words among them are not known without the callee.
                for arg in text.args {
                    if !matches!(arg.value.kind, ExprKind::Name(_)) && arg.key.is_none() {
                        self.expr(&arg.value);
                    }
                }
                Val::Poison
            }
            other => {
                let what = self.describe(&other);
                let shown = self.sources.text(text.callee.span).to_owned();
                let mut diag =
                    Diagnostic::new(codes::E0114, text.callee.span, format!("`{shown}` cannot be called"));
                diag = diag.label(format!("this is {what}"));
                self.fail(diag)
            }
        }
    }

    /// A function on static numbers.
    fn function(&mut self, name: &str, values: &[Val<'a>], text: &CallText<'a>) -> Val<'a> {
        let mut numbers = Vec::new();
        for value in values {
            match value {
                Val::Static(v) => numbers.push(v.clone()),
                Val::Poison => return Val::Poison,
                other => {
                    let what = self.describe(other);
                    let diag = Diagnostic::new(
                        self.kind_code(other),
                        text.span,
                        format!("`{name}` needs numbers, not {what}"),
                    );
                    return self.fail(diag);
                }
            }
        }
        match statics::function(name, &numbers) {
            Ok(value) => Val::Static(value),
            Err(fault) => self.fault(fault, text.span, None),
        }
    }

    /// `-x`, `not x`
    pub(super) fn unary(&mut self, op: UnaryOp, value: Val<'a>, span: Span) -> Val<'a> {
        match value {
            Val::Static(v) => match statics::unary(op, &v) {
                Ok(value) => Val::Static(value),
                Err(fault) => self.fault(fault, span, None),
            },
            Val::Tensor(id) if op == UnaryOp::Neg => {
                let neg = Unary { f: UnaryFn::Neg, args: [0.0; 2] };
                self.plain_op(&"-".into(), neg.into(), vec![(Val::Tensor(id), span)], span)
            }
            Val::Poison => Val::Poison,
            other => {
                let sign = if op == UnaryOp::Neg { "-" } else { "not" };
                let what = self.describe(&other);
                self.fail(Diagnostic::new(codes::E0109, span, format!("`{sign}` does not work on {what}")))
            }
        }
    }

    /// `a + b` where at least one side is no static value.
    pub(super) fn tensor_binary(
        &mut self,
        op: BinaryOp,
        left: (Val<'a>, Span),
        right: (Val<'a>, Span),
        span: Span,
    ) -> Val<'a> {
        let f = BinaryFn::ALL.into_iter().find(|f| f.sign() == op.sign());
        let number = |v: &Val<'a>| match v {
            Val::Static(ArgValue::Int(i)) => Some(*i as f32),
            Val::Static(ArgValue::Float(x)) => Some(*x as f32),
            _ => None,
        };
        let sign: Name = op.sign().into();
        match (f, &left.0, &right.0) {
            (Some(f), Val::Tensor(_), Val::Tensor(_)) => {
                self.plain_op(&sign, Binary::of(f).into(), vec![left, right], span)
            }
            (Some(f), Val::Tensor(_), other) if number(other).is_some() => {
                let op = Binary::with(f, Number::Right(number(other).unwrap_or(0.0)));
                self.plain_op(&sign, op.into(), vec![left], span)
            }
            (Some(f), other, Val::Tensor(_)) if number(other).is_some() => {
                let op = Binary::with(f, Number::Left(number(other).unwrap_or(0.0)));
                self.plain_op(&sign, op.into(), vec![right], span)
            }
            (None, l, r) if l.is_tensor() || r.is_tensor() => {
                let mut diag = Diagnostic::new(
                    codes::E0111,
                    span,
                    format!(
                        "`{sign}` works on static values, its result must be known when the program is compiled"
                    ),
                );
                diag = diag.label(format!("{} {sign} {}", self.describe(l), self.describe(r)));
                if op == BinaryOp::Pow {
                    diag = diag.help("for a square write `x * x`");
                }
                self.fail(diag)
            }
            (_, l, r) => {
                let message = format!("`{sign}` cannot join {} and {}", self.describe(l), self.describe(r));
                self.fail(Diagnostic::new(codes::E0109, span, message))
            }
        }
    }

    /// `x.c`, `module.name`, `pair.a`
    pub(super) fn field(&mut self, base: &'a Expr, field: &'a Ident) -> Val<'a> {
        match self.expr(base).last() {
            Val::Tensor(id) => {
                let ty = self.net.ty(id).clone();
                match ty.position(&field.name).filter(|p| *p > 0) {
                    Some(dim) if self.net.trace(id).doubtful.get(dim) == Some(&true) => Val::Poison,
                    Some(dim) => Val::Static(ArgValue::Int(ty.dims()[dim] as i64)),
                    None => {
                        let message = format!("{} has no axis `{}`", ty.show(), field.name);
                        let mut diag = Diagnostic::new(codes::E0112, field.span, message);
                        if &*field.name == "n" {
                            diag = diag.help(
                                "the batch `n` is fixed when the program is compiled and is not part of it",
                            );
                        }
                        let known: Vec<Name> = ty.names().iter().skip(1).cloned().collect();
                        self.unknown(diag, (&field.name, field.span), known.iter().map(|n| &**n))
                    }
                }
            }
            Val::Module(module) => match self.item(module, &field.name, field.span) {
                Some(value) => value,
                None if self.defined_in_text(module, &field.name) => Val::Poison,
                None => {
                    let home = &self.modules.all[module];
                    let file = self.sources.get(home.file).name.clone();
                    let message = format!("{file} defines no `{}`", field.name);
                    let known: Vec<Name> = home.names.keys().cloned().collect();
                    let mut diag = Diagnostic::new(codes::E0101, field.span, message);
                    if !known.is_empty() && known.len() <= 16 {
                        diag = diag.note(format!("it defines {}", known.join(", ")));
                    }
                    self.unknown(diag, (&field.name, field.span), known.iter().map(|n| &**n))
                }
            },
            Val::Tuple(items) => match items.iter().find(|(n, _)| n.as_ref() == Some(&field.name)) {
                Some((_, value)) => value.clone(),
                None => {
                    let known: Vec<Name> = items.iter().filter_map(|(n, _)| n.clone()).collect();
                    let diag = Diagnostic::new(
                        codes::E0112,
                        field.span,
                        format!("no part is called `{}`", field.name),
                    );
                    self.unknown(diag, (&field.name, field.span), known.iter().map(|n| &**n))
                }
            },
            Val::Poison => Val::Poison,
            other => {
                let what = self.describe(&other);
                let message = format!("{what} has no field `{}`", field.name);
                self.fail(
                    Diagnostic::new(codes::E0112, field.span, message)
                        .help("`x.c`, `x.h`, … are the extents of a tensor"),
                )
            }
        }
    }

    /// `y[0]`
    pub(super) fn index(&mut self, base: &'a Expr, at: &'a Expr) -> Val<'a> {
        let value = self.expr(base);
        let Some(i) = self.int(at, "an index") else { return Val::Poison };
        let (len, found) = match &value {
            Val::Static(ArgValue::List(items)) => (items.len(), pick(items, i).map(Val::Static)),
            Val::Static(ArgValue::Extent(items)) => {
                (items.len(), pick(items, i).map(|v| Val::Static(ArgValue::Int(v))))
            }
            Val::List(items) | Val::Turns(items) => (items.len(), pick(items, i)),
            Val::Tuple(items) => (items.len(), pick(items, i).map(|(_, v)| v)),
            Val::Poison => return Val::Poison,
            Val::Static(_) | Val::Tensor(_) | Val::Call(_) | Val::Module(_) => {
                let what = self.describe(&value);
                let mut diag = Diagnostic::new(codes::E0109, base.span, format!("{what} cannot be indexed"));
                if value.is_tensor() {
                    diag = diag.help(
                        "lists can be: what `split` gives, the turns of `repeat … as y`, several outputs",
                    );
                }
                return self.fail(diag);
            }
        };
        match found {
            Some(value) => value,
            None => {
                let span = at.span;
                let message = format!(
                    "index {i} is out of range: there are {len} parts, 0 to {}",
                    len.saturating_sub(1)
                );
                let diag = Diagnostic::new(codes::E0113, span, message);
                let last = len.saturating_sub(1).to_string();
                let candidates = if len > 0 && matches!(at.kind, ExprKind::Int(_)) {
                    vec![Candidate::new(format!("{i} -> {last}"), vec![Edit { span, text: last }])]
                } else {
                    Vec::new()
                };
                self.report(diag, candidates);
                Val::Poison
            }
        }
    }

    /// An operation that the language writes as an operator.
    fn plain_op(&mut self, what: &Name, op: Op, operands: Vec<(Val<'a>, Span)>, span: Span) -> Val<'a> {
        let path = self.path_for(what, None);
        self.add_plain(what, op, operands, span, path)
    }
}

fn pick<T: Clone>(items: &[T], i: i64) -> Option<T> {
    usize::try_from(i).ok().and_then(|i| items.get(i)).cloned()
}
