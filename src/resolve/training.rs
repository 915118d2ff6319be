//! `train` items: every key is looked up in one table, every name of a layer is resolved, the rest is kept as data for the
//! training loop. Nothing is run here.

use super::args::fit;
use super::cx::Cx;
use super::fixes::Candidate;
use super::names;
use super::network::Network;
use super::value::Val;
use crate::ast::{BinaryOp, Expr, ExprKind, Ident, Settings};
use crate::graph::ValueId;
use crate::ops::args::{ArgTy, ArgValue, one_of};
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
    /// A name alone, or with arguments: `mnist`, `sgd(rate: 0.05)`.
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

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A static value of this type.
    Value(ArgTy),
    /// One of these names, with these arguments; an argument list `&["*"]` takes any.
    Choice(&'static [(&'static str, &'static [&'static str])]),
    /// As [`Takes::Choice`], or a list of several.
    Choices(&'static [(&'static str, &'static [&'static str])]),
    /// A call of a loss over layers and data, or a sum of several.
    Loss,
    /// A built-in set, a reader, or the path of a file.
    Data(&'static [(&'static str, &'static [&'static str])]),
}

const ANY: &[&str] = &["*"];

/// Every key of a `train` item.
pub const KEYS: &[(&str, Takes)] = &[
    (
        "data",
        Takes::Data(&[
            ("digits", ANY),
            ("mnist", ANY),
            ("fashion_mnist", ANY),
            ("idx", ANY),
            ("csv", ANY),
            ("npy", ANY),
            ("npz", ANY),
            ("images", ANY),
            ("masks", ANY),
            ("shapes", ANY),
            ("edges", ANY),
        ]),
    ),
    ("loss", Takes::Loss),
    (
        "optimizer",
        Takes::Choice(&[
            ("sgd", &["rate", "momentum", "nesterov", "decay"]),
            ("adam", &["rate", "beta1", "beta2", "eps", "decay"]),
            ("adamw", &["rate", "beta1", "beta2", "eps", "decay"]),
            ("rmsprop", &["rate", "rho", "eps", "momentum", "decay"]),
            ("adagrad", &["rate", "eps", "decay"]),
        ]),
    ),
    (
        "schedule",
        Takes::Choice(&[
            ("constant", &["warmup"]),
            ("step", &["every", "factor", "warmup"]),
            ("cosine", &["warmup", "least"]),
            ("linear", &["warmup", "least"]),
            ("polynomial", &["power", "warmup", "least"]),
            ("one_cycle", &["peak", "least"]),
        ]),
    ),
    ("batch", Takes::Value(ArgTy::Int)),
    ("epochs", Takes::Value(ArgTy::Int)),
    ("seed", Takes::Value(ArgTy::Int)),
    (
        "metric",
        Takes::Choices(&[
            ("accuracy", ANY),
            ("top_k", ANY),
            ("miou", ANY),
            ("mse", ANY),
            ("mae", ANY),
            ("confusion", ANY),
        ]),
    ),
    (
        "augment",
        Takes::Choices(&[
            ("shift", ANY),
            ("flip", ANY),
            ("crop", ANY),
            ("rotate", ANY),
            ("noise", ANY),
            ("cutout", ANY),
            ("normalise", ANY),
        ]),
    ),
    ("clip", Takes::Choice(&[("value", ANY), ("norm", ANY)])),
    ("accumulate", Takes::Value(ArgTy::Int)),
    ("average", Takes::Value(ArgTy::Float)),
    ("validate", Takes::Value(ArgTy::Float)),
    ("patience", Takes::Value(ArgTy::Int)),
    ("keep", Takes::Value(ArgTy::Int)),
];

/// What data gives beside the inputs of a net.
const DATA: &[&str] = &["label", "target", "mask"];

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
            Takes::Value(ty) => {
                let value = self.in_module(0, |cx| cx.expr(e).last());
                match &value {
                    Val::Static(v) if fit(ty, v).is_some() => Some(SetValue::Static(v.clone())),
                    Val::Poison => None,
                    other => {
                        let what = self.describe(other);
                        self.misset(e.span, key, &ty.describe(), &what)
                    }
                }
            }
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

    fn misset(&mut self, span: Span, key: &Name, expected: &str, found: &str) -> Option<SetValue> {
        let message = format!("`{key}` takes {expected}, not {found}");
        self.fail(Diagnostic::new(codes::E0603, span, message));
        None
    }

    /// `name` or `name(args)`, one of a list.
    fn choice(
        &mut self,
        key: &Name,
        choices: &'static [(&'static str, &'static [&'static str])],
        e: &'a Expr,
        net: &Network,
    ) -> Option<SetValue> {
        let (callee, args): (&'a Expr, &'a [_]) = match &e.kind {
            ExprKind::Call(call) => (&call.callee, &call.args),
            _ => (e, &[]),
        };
        let names: Vec<&str> = choices.iter().map(|(n, _)| *n).collect();
        let ExprKind::Name(name) = &callee.kind else {
            let text = self.sources.text(e.span).to_owned();
            return self.misset(e.span, key, &one_of(&names), &format!("`{text}`"));
        };
        let Some((_, known)) = choices.iter().find(|(n, _)| *n == &**name) else {
            let message = format!("`{key}` cannot be `{name}`");
            self.unknown(
                Diagnostic::new(codes::E0603, callee.span, message),
                (name, callee.span),
                names.iter().copied(),
            );
            return None;
        };
        let mut found = Vec::new();
        for arg in args {
            if let Some(k) = arg.key.as_ref().filter(|k| *known != ANY && !known.contains(&&*k.name)) {
                self.unknown_arg(name, (&k.name, k.span), known);
                continue;
            }
            found.push((arg.key.as_ref().map(|k| k.name.clone()), self.operand(&arg.value, net)?));
        }
        Some(SetValue::Call(name.clone(), found))
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
                self.misset(e.span, key, "a loss such as `cross_entropy(out, label)`", &format!("`{text}`"))
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
        if DATA.contains(&&*path) {
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
            net.named.keys().map(String::as_str).chain(ports).chain(DATA.iter().copied()).collect();
        let mut diag = Diagnostic::new(codes::E0603, span, message);
        let mut candidates = Vec::new();
        match names::meant(path, known.iter().copied()) {
            Some(near) => {
                diag = diag.label(format!("perhaps `{near}`"));
                let edit = Edit { span, text: near.to_owned() };
                candidates.push(Candidate::new(format!("{path} -> {near}"), vec![edit]));
            }
            None => diag = diag.help("`as` after a call names its layer"),
        }
        self.report(diag, candidates);
    }
}
