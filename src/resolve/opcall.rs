//! Calls of operations: written arguments are matched with the operation's parameters, tensors with its inputs; weights are
//! made; the shape rule is asked. Knows no operation by name.

use std::rc::Rc;

use super::args::Taker;
use super::call::CallText;
use super::cx::{Cx, VALUES_MAX};
use super::names;
use super::network::{Site, SiteArg};
use super::value::{Val, Weights};
use crate::ast::{Expr, ExprKind, Ident};
use crate::graph::ValueId;
use crate::ops::args::{ArgValue, CallArgs};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::permute::Permute;
use crate::ops::{Made, Op, OpInfo, Param, WeightSpec};
use crate::support::diag::Diagnostic;
use crate::support::span::Span;
use crate::support::{Name, codes};
use crate::tensor::ty::TensorTy;

/// A call of an operation, its arguments bound.
pub(super) struct Bound<'a> {
    /// Tensors (and numbers in their place), with the expressions that gave them.
    pub tensors: Vec<(Val<'a>, Span)>,
    /// Static arguments.
    pub args: CallArgs,
    /// Their places.
    pub site: Rc<Site>,
    /// No argument was wrong.
    pub sound: bool,
}

/// Where the result of an operation goes.
pub(super) struct Target {
    /// The path of its value and weights.
    pub path: String,
    /// The name that `as` gave.
    pub label: Option<Name>,
    /// The call.
    pub span: Span,
    /// Weights made by an earlier call of the same instance.
    pub shared: Option<Weights>,
}

impl<'a> Cx<'a> {
    /// A call of an operation; `early` are its positional arguments where they have been evaluated already.
    pub(super) fn op_call(
        &mut self,
        info: &'static OpInfo,
        text: &CallText<'a>,
        piped: Option<Val<'a>>,
        early: Option<Vec<Val<'a>>>,
        label: Option<&'a Ident>,
    ) -> Val<'a> {
        let bound = self.bind_op(info, text, piped, early);
        let path = self.path_for(&info.name.into(), label);
        let shared = self.scope().shared.clone();
        let target = Target { path, label: label.map(|l| l.name.clone()), span: text.span, shared };
        self.run_op(info, bound, target)
    }

    /// Matches what is written with what the operation takes.
    pub(super) fn bind_op(
        &mut self,
        info: &'static OpInfo,
        text: &CallText<'a>,
        piped: Option<Val<'a>>,
        early: Option<Vec<Val<'a>>>,
    ) -> Bound<'a> {
        let mut binder =
            Binder { info, tensors: Vec::new(), args: Vec::new(), failed: Vec::new(), sound: true };
        if let Some(value) = piped {
            let mut flat = Vec::new();
            value.flatten(&mut flat);
            binder.tensors.extend(flat.into_iter().map(|v| (v, text.span)));
        }
        let mut early = early.unwrap_or_default().into_iter();
        for arg in text.args {
            match &arg.key {
                Some(key) => self.bind_key(&mut binder, key, &arg.value, arg.span),
                None => {
                    let value = early.next();
                    self.bind_position(&mut binder, &arg.value, value);
                }
            }
        }
        let order = |name: &str| info.params.iter().position(|p| p.name == name);
        binder.args.sort_by_key(|a| order(a.name));
        let values = binder.args.iter().map(|a| (a.name, a.arg.clone())).collect();
        let site = Site { info, callee: text.callee.span, insert: self.insertion(text), args: binder.args };
        Bound { tensors: binder.tensors, args: CallArgs { values }, site: Rc::new(site), sound: binder.sound }
    }

    /// `key: value`
    fn bind_key(&mut self, binder: &mut Binder<'a>, key: &'a Ident, value: &'a Expr, whole: Span) {
        let info = binder.info;
        let Some(param) = info.params.iter().find(|p| *p.name == *key.name) else {
            let names: Vec<&str> = info.params.iter().map(|p| p.name).collect();
            self.unknown_arg(info.name, (&key.name, key.span), &names);
            binder.sound = false;
            return;
        };
        let taker = Taker { callee: info.name, param: param.name, ty: param.ty };
        let found = self.arg_value(value, taker);
        self.bind_param(binder, param, found, value, whole);
    }

    /// A value without a key: a tensor, or the next parameter that may come without one.
    fn bind_position(&mut self, binder: &mut Binder<'a>, value: &'a Expr, early: Option<Val<'a>>) {
        let info = binder.info;
        let given = |name: &str| binder.args.iter().any(|a| a.name == name) || binder.failed.contains(&name);
        let next = info.params.iter().find(|p| p.positional && !given(p.name));
        if let (Some(param), None) = (next, &early)
            && let Some(word) = self.word(value, param.ty)
            && !self.names_a_tensor(value)
        {
            return self.bind_param(binder, param, Some(ArgValue::Word(word)), value, value.span);
        }
        if let (Some(param), None, ExprKind::Name(name)) = (next, &early, &value.kind)
            && self.lookup(name, value.span).is_none()
            && names::meant(name, param.ty.words().iter().copied()).is_some()
        {
            // A misspelt word: said with the parameter's words, not with all names in sight.
            let taker = Taker { callee: info.name, param: param.name, ty: param.ty };
            let found = self.arg_value(value, taker);
            return self.bind_param(binder, param, found, value, value.span);
        }
        let found = early.unwrap_or_else(|| self.expr(value)).last();
        let room = binder.tensors.len() < info.tensors.1;
        let least = binder.tensors.len() < info.tensors.0;
        match (found, next) {
            (found, _) if found.is_tensor() || (found.is_poison() && least) => {
                let mut flat = Vec::new();
                found.flatten(&mut flat);
                binder.tensors.extend(flat.into_iter().map(|v| (v, value.span)));
            }
            (Val::Poison, next) => {
                binder.failed.extend(next.map(|p| p.name));
                binder.sound = false;
            }
            (found, Some(param)) => {
                let taker = Taker { callee: info.name, param: param.name, ty: param.ty };
                let fitted = self.fit_value(found, value.span, taker);
                self.bind_param(binder, param, fitted, value, value.span);
            }
            (found @ Val::Static(ArgValue::Int(_) | ArgValue::Float(_)), None) if room => {
                binder.tensors.push((found, value.span));
            }
            (found, None) => {
                let what = self.describe(&found);
                let message = format!("`{}` does not take {what} here", info.name);
                let mut diag = Diagnostic::new(codes::E0107, value.span, message);
                let names: Vec<&str> = info.params.iter().map(|p| p.name).collect();
                diag = match names.as_slice() {
                    [] if info.tensors.1 > 1 => diag.help(format!("`{}` takes tensors", info.name)),
                    [] => diag.help(format!("`{}` takes no arguments beside its input", info.name)),
                    names => diag.help(format!("its arguments are {}", names.join(", "))),
                };
                self.fail(diag);
                binder.sound = false;
            }
        }
    }

    fn bind_param(
        &mut self,
        binder: &mut Binder<'a>,
        param: &'static Param,
        found: Option<ArgValue>,
        value: &'a Expr,
        whole: Span,
    ) {
        if let Some(first) = binder.args.iter().find(|a| a.name == param.name) {
            let message = format!("`{}` of `{}` is given twice", param.name, binder.info.name);
            let diag = Diagnostic::new(codes::E0107, whole, message).also(first.whole, "first given here");
            self.fail(diag);
            binder.sound = false;
            return;
        }
        let Some(arg) = found else {
            binder.failed.push(param.name);
            binder.sound = false;
            return;
        };
        let literal = matches!(
            value.kind,
            ExprKind::Int(_) | ExprKind::Extent(_) | ExprKind::Float(_) | ExprKind::Bool(_)
        ) || matches!(arg, ArgValue::Word(_));
        binder.args.push(SiteArg { name: param.name, value: value.span, whole, arg, literal });
    }

    fn names_a_tensor(&mut self, e: &'a Expr) -> bool {
        let ExprKind::Name(name) = &e.kind else { return false };
        self.frame().locals.iter().rev().find(|l| l.name == *name).is_some_and(|l| l.value.is_tensor())
    }

    /// Where an argument may be added to a call.
    fn insertion(&self, text: &CallText<'a>) -> Option<(Span, &'static str, &'static str)> {
        let Some(close) = text.close else { return Some((text.callee.span.after(), "(", ")")) };
        let at = Span { file: close.file, start: close.start, end: close.start };
        let Some(last) = text.args.last() else { return Some((at, "", "")) };
        let gap = Span { file: close.file, start: last.span.end, end: close.start };
        let comma = self.sources.text(gap).contains(',');
        Some((if comma { at } else { last.span.after() }, if comma { " " } else { ", " }, ""))
    }

    /// Makes weights and values; the result of the call.
    pub(super) fn run_op(&mut self, info: &'static OpInfo, bound: Bound<'a>, target: Target) -> Val<'a> {
        let Some((ids, number)) = self.operands(info, &bound, target.span) else { return Val::Poison };
        if self.net.graph.values.len() > VALUES_MAX {
            return self.stop(target.span, format!("a net of more than {VALUES_MAX} values"));
        }
        let types: Vec<TensorTy> = ids.iter().map(|id| self.net.ty(*id).clone()).collect();
        let types: Vec<&TensorTy> = types.iter().collect();
        let made = match number {
            Some(op) => Ok(Made::op(op)),
            None => (info.make)(&bound.args, &types),
        };
        let made = match made {
            Ok(made) => made,
            Err(error) => return self.op_error(error, &ids, &bound, &target),
        };
        let mut inputs = ids.clone();
        for spec in &made.weights {
            match self.weight(spec, &target) {
                Some(id) => inputs.push(id),
                None => return Val::Poison,
            }
        }
        let mut results = Vec::new();
        let several = made.ops.len() > 1;
        let what = Name::from(info.name);
        let place = self.place();
        for (part, op) in made.ops.into_iter().enumerate() {
            let path = if several { format!("{}[{part}]", target.path) } else { target.path.clone() };
            let name = self.unique(path);
            let record = (&what, target.label.clone(), target.span, place, Some(Rc::clone(&bound.site)));
            match self.net.add_op(&name, op, &inputs, record) {
                Ok(id) => results.push(Val::Tensor(id)),
                Err(error) => return self.op_error(error, &ids, &bound, &target),
            }
        }
        if several { Val::List(results.into()) } else { results.pop().unwrap_or(Val::Poison) }
    }

    /// The values an operation works on, brought into one order of axes, and the operation itself where a number stands in
    /// the place of a tensor; `None` after an error.
    fn operands(
        &mut self,
        info: &'static OpInfo,
        bound: &Bound<'a>,
        span: Span,
    ) -> Option<(Vec<ValueId>, Option<Op>)> {
        if bound.tensors.iter().any(|(v, _)| v.is_poison()) || !bound.sound {
            return None;
        }
        let (least, most) = info.tensors;
        let count = bound.tensors.len();
        if count < least || count > most {
            self.wrong_count(info, count, span);
            return None;
        }
        if let Some(missing) = info.params.iter().find(|p| p.required && bound.args.get(p.name).is_none()) {
            let message = format!("`{}` needs `{}`: {}", info.name, missing.name, missing.doc);
            let required: Vec<&str> = info.params.iter().filter(|p| p.required).map(|p| p.name).collect();
            let help = format!(
                "write `{}({}, …)`; {} is {}",
                info.name,
                required.join(", "),
                missing.name,
                missing.ty.describe()
            );
            self.fail(Diagnostic::new(codes::E0106, span, message).help(help));
            return None;
        }
        let mut ids = Vec::new();
        let mut number = None;
        for (i, (value, at)) in bound.tensors.iter().enumerate() {
            match value {
                Val::Tensor(id) => ids.push(*id),
                Val::Static(v) => {
                    let x = match v {
                        ArgValue::Int(x) => *x as f32,
                        ArgValue::Float(x) => *x as f32,
                        _ => f32::NAN,
                    };
                    number = Some(if i == 0 { Number::Left(x) } else { Number::Right(x) });
                }
                other => {
                    let what = self.describe(other);
                    let message = format!("`{}` works on tensors, not on {what}", info.name);
                    self.fail(Diagnostic::new(codes::E0111, *at, message));
                    return None;
                }
            }
        }
        let op = number.and_then(|number| {
            let f = BinaryFn::ALL.into_iter().find(|f| f.sign() == info.name)?;
            Some(Binary::with(f, number).into())
        });
        if number.is_some() && (op.is_none() || ids.len() != 1) {
            let message = format!("`{}` needs tensors here, not numbers", info.name);
            self.fail(Diagnostic::new(codes::E0111, span, message));
            return None;
        }
        self.align(&mut ids, span);
        Some((ids, op))
    }

    fn wrong_count(&mut self, info: &'static OpInfo, count: usize, span: Span) {
        let (least, most) = info.tensors;
        let needs = match (least, most) {
            (1, 1) => "one tensor".to_owned(),
            (a, b) if a == b => format!("{a} tensors"),
            (a, usize::MAX) => format!("at least {a} tensors"),
            (a, b) => format!("{a} to {b} tensors"),
        };
        let got = match count {
            0 => "none".to_owned(),
            n => n.to_string(),
        };
        let code = if count < least { codes::E0106 } else { codes::E0107 };
        let mut diag = Diagnostic::new(code, span, format!("`{}` needs {needs}, and gets {got}", info.name));
        if count == 0 {
            let call = Some(self.sources.text(span)).filter(|t| t.len() <= 40 && !t.contains('\n'));
            let call = call.unwrap_or(info.name);
            diag = diag.help(format!("write `x |> {call}`, or give it as the first argument"));
        }
        self.fail(diag);
    }

    /// Gives every operand the order of grid axes of the first one that has a grid of the same axes.
    fn align(&mut self, ids: &mut [ValueId], span: Span) {
        let Some(first) = ids.iter().copied().max_by_key(|id| self.net.ty(*id).dims().len()) else { return };
        let Some(lead) =
            ids.iter().copied().find(|id| self.net.ty(*id).dims().len() == self.net.ty(first).dims().len())
        else {
            return;
        };
        let place = self.place();
        for id in ids.iter_mut() {
            let (own, target) = (self.net.ty(*id), self.net.ty(lead));
            if own.names() == target.names() || own.rank() == 0 {
                continue;
            }
            let Some(op) = Permute::between(own, target) else { continue };
            let name = self.unique("permute".into());
            let record = (&Name::from("permute"), None, span, place, None);
            if let Ok(moved) = self.net.add_op(&name, op.into(), &[*id], record) {
                *id = moved;
            }
        }
    }

    /// The weight of a layer: new, or the one that an earlier call of the same instance made. `None` after an error.
    fn weight(&mut self, spec: &WeightSpec, target: &Target) -> Option<ValueId> {
        let path = format!("{}.{}", target.path, spec.name);
        let known = target.shared.as_ref().and_then(|s| s.borrow().get(&path).copied());
        if let Some(id) = known {
            if self.net.ty(id) == &spec.ty {
                return Some(id);
            }
            let (have, first) = (self.net.ty(id).show(), self.net.trace(id).span);
            let message =
                format!("`{path}` was made with shape {have}, and this call needs {}", spec.ty.show());
            let diag = Diagnostic::new(codes::E0215, target.span, message)
                .label("used again here")
                .also(first, "its first use made the weights")
                .help(
                    "an instance made by `new` has one set of weights; give it the same channels each time",
                );
            self.fail(diag);
            return None;
        }
        let place = self.place();
        let name = self.unique(path.clone());
        let id = self.net.add_weight(&name, spec, target.span, place);
        if let Some(shared) = &target.shared {
            shared.borrow_mut().insert(path, id);
        }
        Some(id)
    }

    /// An operation without static arguments on operands that were evaluated.
    pub(super) fn add_plain(
        &mut self,
        what: &Name,
        op: Op,
        operands: Vec<(Val<'a>, Span)>,
        span: Span,
        path: String,
    ) -> Val<'a> {
        let mut ids: Vec<ValueId> = operands
            .iter()
            .filter_map(|(v, _)| match v {
                Val::Tensor(id) => Some(*id),
                _ => None,
            })
            .collect();
        self.align(&mut ids, span);
        let name = self.unique(path.clone());
        let place = self.place();
        match self.net.add_op(&name, op, &ids, (what, None, span, place, None)) {
            Ok(id) => Val::Tensor(id),
            Err(error) => self.plain_error(error, &ids, what, &operands, span, path),
        }
    }
}

/// A call while its arguments are matched.
struct Binder<'a> {
    info: &'static OpInfo,
    tensors: Vec<(Val<'a>, Span)>,
    args: Vec<SiteArg>,
    /// Parameters that were written, but wrongly.
    failed: Vec<&'static str>,
    sound: bool,
}
