//! `train` items: every key is looked up in one table, every name of a layer is resolved, the rest is kept as data for the
//! training loop. Nothing is run here.

use super::cx::Cx;
use super::fixes::Candidate;
use super::names;
use super::network::Network;
use super::settings::{Arg, Choice, DATA_FIELDS, Is, KEYS, Takes};
use super::value::Val;
use crate::ast::{self, BinaryOp, Expr, ExprKind, Ident, Settings};
use crate::graph::ValueId;
use crate::ops::args::{ArgValue, one_of};
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::Span;
use crate::support::{Name, codes};

/// A `train` item.
#[derive(Clone, Debug)]
pub struct Training {
    /// The position of its net in the program.
    pub net: usize,
    /// Its settings, in the order they stand, each key once.
    pub entries: Vec<Setting>,
    /// The whole item.
    pub span: Span,
}

/// `key value`
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key, one of [`KEYS`].
    pub key: Name,
    /// What it is set to.
    pub value: SetValue,
    /// The value's place.
    pub span: Span,
}

/// The value of a setting.
#[derive(Clone, Debug)]
pub enum SetValue {
    /// A static value.
    Static(ArgValue),
    /// A name alone, or with arguments: `mnist`, `sgd(rate: 0.05)`. The arguments of a choice all bear their names, also those
    /// written without; those of a loss are as written.
    Call(Name, Vec<(Option<Name>, SetValue)>),
    /// A value of the net.
    Layer(String, ValueId),
    /// What the data gives beside the inputs: `label`.
    Data(Name),
    /// `[flip, shift(2)]`
    List(Vec<SetValue>),
    /// `a + 0.1 * b` of losses.
    Binary(BinaryOp, Box<SetValue>, Box<SetValue>),
}

impl<'a> Cx<'a> {
    /// Resolves one `train` item; `None` when its net is unknown.
    pub(super) fn training(&mut self, item: &'a Settings, nets: &[Network]) -> Option<Training> {
        let net = self.net_named(&item.net, nets)?;
        let mut entries: Vec<Setting> = Vec::new();
        let mut seen: Vec<&Ident> = Vec::new();
        for (key, value) in &item.entries {
            let Some((_, takes)) = KEYS.iter().find(|(k, _)| *k == &*key.name) else {
                let message = format!("`{}` is no setting of `train`", key.name);
                let names: Vec<&str> = KEYS.iter().map(|(k, _)| *k).collect();
                let diag = Diagnostic::new(codes::E0601, key.span, message);
                let near = names::meant(&key.name, names.iter().copied()).is_some();
                let diag =
                    if near { diag } else { diag.help(format!("the settings are {}", names.join(", "))) };
                self.unknown(diag, (&key.name, key.span), names.iter().copied());
                continue;
            };
            if let Some(first) = seen.iter().find(|k| k.name == key.name) {
                let message = format!("`{}` is set twice", key.name);
                self.fail(
                    Diagnostic::new(codes::E0603, key.span, message).also(first.span, "first set here"),
                );
                continue;
            }
            seen.push(key);
            if let Some(found) = self.setting(&key.name, *takes, value, &nets[net]) {
                entries.push(Setting { key: key.name.clone(), value: found, span: value.span });
            }
        }
        Some(Training { net, entries, span: item.span })
    }

    /// The net that an item is about.
    pub(super) fn net_named(&mut self, ident: &Ident, nets: &[Network]) -> Option<usize> {
        let found = nets.iter().position(|n| n.name == ident.name);
        if found.is_none() {
            let diag =
                Diagnostic::new(codes::E0602, ident.span, format!("no net is called `{}`", ident.name));
            let diag = if nets.is_empty() { diag.help("the file has no `net`") } else { diag };
            self.unknown(diag, (&ident.name, ident.span), nets.iter().map(|n| &*n.name));
        }
        found
    }

    fn setting(&mut self, key: &Name, takes: Takes, e: &'a Expr, net: &Network) -> Option<SetValue> {
        match takes {
            Takes::Value(is) => self.valued(&format!("`{key}`"), is, e, net),
            Takes::Choice(choices) => self.choice(key, choices, e, net),
            Takes::Choices(choices) => match &e.kind {
                ExprKind::List(items) => {
                    let found: Option<Vec<SetValue>> =
                        items.iter().map(|e| self.choice(key, choices, e, net)).collect();
                    found.map(SetValue::List)
                }
                _ => self.choice(key, choices, e, net),
            },
            Takes::Data(choices) => match &e.kind {
                ExprKind::Str(path) => Some(SetValue::Static(ArgValue::Str(path.clone()))),
                _ => self.choice(key, choices, e, net),
            },
            Takes::Loss => self.loss(key, e, net),
        }
    }

    fn misset(&mut self, span: Span, what: &str, expected: &str, found: &str) -> Option<SetValue> {
        let message = format!("{what} takes {expected}, not {found}");
        self.fail(Diagnostic::new(codes::E0603, span, message));
        None
    }

    /// A value of the kind and in the range of `is`; `what` it is for stands in messages.
    fn valued(&mut self, what: &str, is: Is, e: &'a Expr, net: &Network) -> Option<SetValue> {
        match (is, &e.kind) {
            (Is::Operand, _) => return self.operand(e, net),
            (Is::Axis, ExprKind::Name(name)) => return Some(SetValue::Static(ArgValue::Word(name.clone()))),
            (Is::Word(words), ExprKind::Name(name)) => {
                if words.contains(&&**name) {
                    return Some(SetValue::Static(ArgValue::Word(name.clone())));
                }
                let diag = Diagnostic::new(codes::E0603, e.span, format!("{what} cannot be `{name}`"));
                let diag = diag.help(format!("it takes {}", is.describe()));
                self.unknown(diag, (name, e.span), words.iter().copied());
                return None;
            }
            _ => {}
        }
        let value = self.in_module(0, |cx| cx.expr(e).last());
        let found = match &value {
            Val::Static(v) if fits(is, v) => v.clone(),
            Val::Poison => return None,
            other => {
                let found = self.describe(other);
                return self.misset(e.span, what, &is.describe(), &found);
            }
        };
        if !within(is, &found) {
            let shown = self.describe(&value);
            let message = format!("{what} must be {}, not {shown}", is.range());
            self.fail(Diagnostic::new(codes::E0603, e.span, message));
            return None;
        }
        Some(SetValue::Static(found))
    }

    /// `name` or `name(args)`, one of a list.
    fn choice(
        &mut self,
        key: &Name,
        choices: &'static [Choice],
        e: &'a Expr,
        net: &Network,
    ) -> Option<SetValue> {
        let (callee, args): (&'a Expr, &'a [_]) = match &e.kind {
            ExprKind::Call(call) => (&call.callee, &call.args),
            _ => (e, &[]),
        };
        let names: Vec<&str> = choices.iter().map(|c| c.name).collect();
        let ExprKind::Name(name) = &callee.kind else {
            let text = self.sources.text(e.span).to_owned();
            return self.misset(e.span, &format!("`{key}`"), &one_of(&names), &format!("`{text}`"));
        };
        let Some(choice) = choices.iter().find(|c| *c.name == **name) else {
            let message = format!("`{key}` cannot be `{name}`");
            self.unknown(
                Diagnostic::new(codes::E0603, callee.span, message),
                (name, callee.span),
                names.iter().copied(),
            );
            return None;
        };
        let found = self.choice_args(choice, args, e.span, net)?;
        Some(SetValue::Call(name.clone(), found))
    }

    /// The arguments of a choice, each once and with its name; `None` after an error.
    fn choice_args(
        &mut self,
        choice: &'static Choice,
        args: &'a [ast::Arg],
        span: Span,
        net: &Network,
    ) -> Option<Vec<(Option<Name>, SetValue)>> {
        let name = choice.name;
        let mut sound = true;
        let mut given: Vec<(&'static Arg, Span)> = Vec::new();
        let mut found = Vec::new();
        for (i, arg) in args.iter().enumerate() {
            let takes = match &arg.key {
                Some(key) => choice.args.iter().find(|a| *a.name == *key.name),
                None => choice.args.get(i),
            };
            let place = arg.key.as_ref().map_or(arg.value.span, |k| k.span);
            let Some(takes) = takes else {
                sound = false;
                let names: Vec<&str> = choice.args.iter().map(|a| a.name).collect();
                if let Some(key) = &arg.key {
                    self.unknown_arg(name, (&key.name, key.span), &names);
                } else {
                    let message = format!("`{name}` takes {}", counted(choice.args.len()));
                    self.fail(Diagnostic::new(codes::E0107, place, message));
                }
                continue;
            };
            if let Some((_, first)) = given.iter().find(|(a, _)| a.name == takes.name) {
                sound = false;
                let message = format!("`{}` of `{name}` is given twice", takes.name);
                self.fail(Diagnostic::new(codes::E0107, place, message).also(*first, "first given here"));
                continue;
            }
            given.push((takes, place));
            let what = format!("`{}` of `{name}`", takes.name);
            match self.valued(&what, takes.is, &arg.value, net) {
                Some(value) => found.push((Some(takes.name.into()), value)),
                None => sound = false,
            }
        }
        for arg in choice.args.iter().filter(|a| a.needed) {
            if !given.iter().any(|(a, _)| a.name == arg.name) {
                sound = false;
                let message = format!("`{name}` needs `{}`: {}", arg.name, arg.is.describe());
                self.fail(Diagnostic::new(codes::E0106, span, message));
            }
        }
        sound.then_some(found)
    }

    /// A loss, or a weighted sum of losses.
    fn loss(&mut self, key: &Name, e: &'a Expr, net: &Network) -> Option<SetValue> {
        match &e.kind {
            ExprKind::Binary(
                op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div),
                left,
                right,
            ) => {
                let left = self.loss(key, left, net);
                let right = self.loss(key, right, net);
                Some(SetValue::Binary(*op, Box::new(left?), Box::new(right?)))
            }
            ExprKind::Call(call) => {
                let losses: Vec<&str> =
                    self.infos.values().filter(|i| i.family == "losses").map(|i| i.name).collect();
                let name = match &call.callee.kind {
                    ExprKind::Name(name) => name.clone(),
                    _ => Name::from(self.sources.text(call.callee.span)),
                };
                if !losses.contains(&&*name) {
                    let message = format!("`{name}` is no loss");
                    let diag = Diagnostic::new(codes::E0603, call.callee.span, message);
                    let diag = diag.help(format!("the losses are {}", losses.join(", ")));
                    self.unknown(diag, (&name, call.callee.span), losses.iter().copied());
                    return None;
                }
                let params = self.infos.get(&*name).map_or(&[][..], |i| i.params);
                let mut found = Vec::new();
                for arg in &call.args {
                    if let Some(k) = &arg.key
                        && !params.iter().any(|p| *p.name == *k.name)
                    {
                        let names: Vec<&str> = params.iter().map(|p| p.name).collect();
                        self.unknown_arg(&name, (&k.name, k.span), &names);
                        continue;
                    }
                    found.push((arg.key.as_ref().map(|k| k.name.clone()), self.operand(&arg.value, net)?));
                }
                Some(SetValue::Call(name, found))
            }
            ExprKind::Int(_) | ExprKind::Float(_) => self.operand(e, net),
            _ => {
                let text = self.sources.text(e.span).to_owned();
                self.misset(
                    e.span,
                    &format!("`{key}`"),
                    "a loss such as `cross_entropy(out, label)`",
                    &format!("`{text}`"),
                )
            }
        }
    }

    /// An argument in a setting: a layer, what the data gives, or a static value.
    fn operand(&mut self, e: &'a Expr, net: &Network) -> Option<SetValue> {
        let path = match &e.kind {
            ExprKind::Name(_) | ExprKind::Field(..) | ExprKind::Index(..) => {
                self.sources.text(e.span).to_owned()
            }
            ExprKind::List(items) => {
                let found: Option<Vec<SetValue>> = items.iter().map(|e| self.operand(e, net)).collect();
                return found.map(SetValue::List);
            }
            ExprKind::Call(call) if matches!(&call.callee.kind, ExprKind::Name(_)) => {
                let name: Name = self.sources.text(call.callee.span).into();
                let mut found = Vec::new();
                for arg in &call.args {
                    found.push((arg.key.as_ref().map(|k| k.name.clone()), self.operand(&arg.value, net)?));
                }
                return Some(SetValue::Call(name, found));
            }
            _ => {
                let value = self.in_module(0, |cx| cx.static_value(e));
                return value.map(SetValue::Static);
            }
        };
        if let Some(id) = net.find(&path) {
            return Some(SetValue::Layer(path, id));
        }
        if DATA_FIELDS.contains(&&*path) {
            return Some(SetValue::Data(path.as_str().into()));
        }
        if let ExprKind::Name(name) = &e.kind
            && self.modules.all[0].names.contains_key(name)
        {
            let value = self.in_module(0, |cx| cx.static_value(e));
            return value.map(SetValue::Static);
        }
        // A net with errors may lack layers that its text has.
        if net.broken {
            return None;
        }
        self.unknown_layer(&path, e.span, net);
        None
    }

    /// An error about a layer that a net does not have.
    pub(super) fn unknown_layer(&mut self, path: &str, span: Span, net: &Network) {
        let message = format!("`{}` has no layer, input or output called `{path}`", net.name);
        let ports = net.graph.inputs.iter().chain(&net.graph.outputs).map(|p| &*p.name);
        let known: Vec<&str> =
            net.named.keys().map(String::as_str).chain(ports).chain(DATA_FIELDS.iter().copied()).collect();
        let mut diag = Diagnostic::new(codes::E0603, span, message);
        let mut candidates = Vec::new();
        match names::meant(path, known.iter().copied()) {
            Some(near) => {
                diag = diag.label(format!("perhaps `{near}`"));
                let edit = Edit { span, text: near.to_owned() };
                candidates.push(Candidate::new(format!("{path} -> {near}"), vec![edit]));
            }
            None if net.imported => {
                let ports = net.graph.outputs.iter().chain(&net.graph.inputs);
                let ports: Vec<String> = ports.map(|p| format!("`{}`", p.name)).collect();
                diag = diag.help(format!(
                    "its outputs and inputs are {}; `_` stands for what is no letter or digit",
                    ports.join(", ")
                ));
            }
            None => diag = diag.help("`as` after a call names its layer"),
        }
        self.report(diag, candidates);
    }
}

/// `no arguments`, `1 argument`, `3 arguments`
fn counted(n: usize) -> String {
    match n {
        0 => "no arguments".into(),
        1 => "at most 1 argument".into(),
        n => format!("at most {n} arguments"),
    }
}

/// Whether a value is of the kind.
fn fits(is: Is, value: &ArgValue) -> bool {
    let number = |v: &ArgValue| matches!(v, ArgValue::Int(_) | ArgValue::Float(_));
    let text = |v: &ArgValue| matches!(v, ArgValue::Str(_));
    match (is, value) {
        (Is::Int(..), ArgValue::Int(_))
        | (Is::Bool, ArgValue::Bool(_))
        | (Is::PerAxis(..), ArgValue::Int(_) | ArgValue::Extent(_))
        | (Is::Shape, ArgValue::Shape(_)) => true,
        (Is::Number(..), v) => number(v),
        (Is::Numbers(..), ArgValue::List(items)) => !items.is_empty() && items.iter().all(number),
        (Is::Numbers(..), v) => number(v),
        (Is::Text, v) => text(v),
        (Is::Texts, ArgValue::List(items)) => !items.is_empty() && items.iter().all(text),
        (Is::Texts, v) => text(v),
        (Is::TextOr(..), v) => text(v) || number(v),
        (Is::PerAxis(..), ArgValue::List(items)) => {
            !items.is_empty() && items.iter().all(|v| matches!(v, ArgValue::Int(_)))
        }
        (Is::Int(..) | Is::Bool | Is::Word(_) | Is::Axis | Is::PerAxis(..) | Is::Shape | Is::Operand, _) => {
            false
        }
    }
}

/// Whether a value of the right kind is in the range.
fn within(is: Is, value: &ArgValue) -> bool {
    match value {
        ArgValue::Int(i) => match is {
            Is::Int(lo, hi) | Is::PerAxis(lo, hi) => (lo..=hi).contains(i),
            Is::Number(lo, hi) | Is::Numbers(lo, hi) | Is::TextOr(lo, hi) => (lo..=hi).contains(&(*i as f64)),
            Is::Bool | Is::Word(_) | Is::Axis | Is::Text | Is::Texts | Is::Shape | Is::Operand => true,
        },
        ArgValue::Float(x) => match is {
            Is::Number(lo, hi) | Is::Numbers(lo, hi) | Is::TextOr(lo, hi) => (lo..=hi).contains(x),
            Is::Int(..)
            | Is::PerAxis(..)
            | Is::Bool
            | Is::Word(_)
            | Is::Axis
            | Is::Text
            | Is::Texts
            | Is::Shape
            | Is::Operand => true,
        },
        ArgValue::Extent(extents) => extents.iter().all(|i| within(is, &ArgValue::Int(*i))),
        ArgValue::List(items) => items.iter().all(|v| within(is, v)),
        ArgValue::Bool(_)
        | ArgValue::Str(_)
        | ArgValue::Word(_)
        | ArgValue::Call(..)
        | ArgValue::Table(_)
        | ArgValue::Layer(_)
        | ArgValue::Shape(_) => true,
    }
}
