//! Static arguments: an expression and what a parameter takes in, an [`ArgValue`] that fits out. Words such as `same` are known
//! only where a parameter takes them.

use std::sync::Arc;

use super::cx::Cx;
use super::fixes::Candidate;
use super::names;
use super::statics;
use super::value::{Callee, Val};
use crate::ast::{Expr, ExprKind};
use crate::ops::args::{ArgTy, ArgValue};
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::Span;
use crate::support::{Name, codes};

/// Who takes an argument, for messages.
#[derive(Clone, Copy)]
pub(super) struct Taker<'n> {
    /// The operation or block.
    pub callee: &'n str,
    /// The parameter.
    pub param: &'n str,
    /// What it takes.
    pub ty: ArgTy,
}

impl<'a> Cx<'a> {
    /// The value of an argument; `None` after an error.
    pub(super) fn arg_value(&mut self, e: &'a Expr, taker: Taker<'_>) -> Option<ArgValue> {
        if let Some(word) = self.word(e, taker.ty) {
            return Some(ArgValue::Word(word));
        }
        match (taker.ty, &e.kind) {
            (ArgTy::Layer, _) => self.layer_arg(e),
            (ArgTy::Share | ArgTy::Init, ExprKind::Call(call)) => {
                if let ExprKind::Name(name) = &call.callee.kind
                    && taker.ty.words().contains(&&**name)
                {
                    let mut args = Vec::new();
                    for arg in &call.args {
                        let key = arg.key.as_ref().map(|k| k.name.clone());
                        args.push((key, self.static_value(&arg.value)?));
                    }
                    return Some(ArgValue::Call(name.clone(), args));
                }
                self.wrong_word(&call.callee, taker)
            }
            (_, ExprKind::Name(name))
                if !taker.ty.words().is_empty() && self.lookup(name, e.span).is_none() =>
            {
                self.wrong_word(e, taker)
            }
            _ => {
                let value = self.expr(e).last();
                self.fit_value(value, e.span, taker)
            }
        }
    }

    /// The value as the parameter takes it; `None` after an error.
    pub(super) fn fit_value(&mut self, value: Val<'a>, span: Span, taker: Taker<'_>) -> Option<ArgValue> {
        let fitted = match &value {
            Val::Poison => return None,
            Val::Static(v) => fit(taker.ty, v),
            // A word that is also the name of an operation, passed through a block's parameter.
            Val::Call(Callee::Op(info)) if taker.ty.words().contains(&info.name) => {
                Some(ArgValue::Word(info.name.into()))
            }
            Val::List(_) | Val::Tuple(_) | Val::Turns(_) | Val::Tensor(_) | Val::Call(_) | Val::Module(_) => {
                None
            }
        };
        if fitted.is_none() {
            let found = self.describe(&value);
            let message =
                format!("`{}` of `{}` takes {}, not {found}", taker.param, taker.callee, taker.ty.describe());
            self.fail(Diagnostic::new(self.kind_code(&value), span, message));
        }
        fitted
    }

    /// A bare name that is a word of the parameter and not a static value or tensor in sight.
    pub(super) fn word(&mut self, e: &'a Expr, ty: ArgTy) -> Option<Name> {
        let ExprKind::Name(name) = &e.kind else { return None };
        let local = self.frame().locals.iter().rev().find(|l| l.name == *name).map(|l| l.value.clone());
        match (ty, local) {
            (ArgTy::Axis, Some(Val::Static(ArgValue::Word(word)))) => Some(word),
            (ArgTy::Axis, _) => Some(name.clone()),
            (_, Some(_)) => None,
            (_, None) if !ty.words().contains(&&**name) => None,
            (_, None) => {
                let module = self.module();
                match self.item(module, name, e.span) {
                    Some(Val::Static(_) | Val::Poison) => None,
                    Some(_) | None => Some(name.clone()),
                }
            }
        }
    }

    /// A name that a parameter of words does not know.
    fn wrong_word(&mut self, e: &'a Expr, taker: Taker<'_>) -> Option<ArgValue> {
        let shown = self.sources.text(e.span).to_owned();
        let message = format!("`{}` of `{}` cannot be `{shown}`", taker.param, taker.callee);
        let mut known: Vec<Name> = taker.ty.words().iter().map(|w| Name::from(*w)).collect();
        known.extend(self.names_in_sight().into_iter().filter(|n| !self.infos.contains_key(&**n)));
        let diag = Diagnostic::new(codes::E0107, e.span, message);
        let diag = diag.help(format!("it takes {}", taker.ty.describe()));
        self.unknown(diag, (&shown, e.span), known.iter().map(|n| &**n));
        None
    }

    /// A static value; `None` after an error.
    pub(super) fn static_value(&mut self, e: &'a Expr) -> Option<ArgValue> {
        match self.expr(e).last() {
            Val::Static(value) => Some(value),
            Val::Poison => None,
            other => {
                let what = self.describe(&other);
                let message = format!("a static value is needed here, not {what}");
                self.fail(Diagnostic::new(codes::E0111, e.span, message));
                None
            }
        }
    }

    /// `of: c1`: the layer behind a name or a path such as `enc[0].a`.
    fn layer_arg(&mut self, e: &'a Expr) -> Option<ArgValue> {
        let path: Name = self.sources.text(e.span).into();
        if let ExprKind::Name(name) = &e.kind
            && let Some(local) = self.frame().locals.iter().rev().find(|l| l.name == *name)
        {
            let id = match local.value.clone().last() {
                Val::Tensor(id) => Some(id),
                Val::Call(Callee::Instance(instance)) => instance.first.borrow().as_ref().map(|(_, id)| *id),
                Val::Poison => return None,
                Val::Static(_)
                | Val::List(_)
                | Val::Tuple(_)
                | Val::Turns(_)
                | Val::Call(_)
                | Val::Module(_) => None,
            };
            let layer = id.and_then(|id| self.net.layer(id, &path));
            if layer.is_none() {
                let message = format!("`{path}` is no layer: no operation made it before this call");
                self.fail(Diagnostic::new(codes::E0107, e.span, message));
            }
            return layer.map(|l| ArgValue::Layer(Arc::new(l)));
        }
        let mut prefix = self.scope().path.clone();
        loop {
            let full = if prefix.is_empty() { path.to_string() } else { format!("{prefix}.{path}") };
            let layer = self.net.named.get(&full).and_then(|id| self.net.layer(*id, &path));
            if let Some(layer) = layer {
                return Some(ArgValue::Layer(Arc::new(layer)));
            }
            if prefix.is_empty() {
                break;
            }
            prefix.truncate(prefix.rfind('.').unwrap_or(0));
        }
        let known: Vec<String> = self.net.named.keys().cloned().collect();
        let mut diag = Diagnostic::new(codes::E0101, e.span, format!("no layer is called `{path}` here"));
        if names::meant(&path, known.iter().map(String::as_str)).is_none() {
            diag = diag.help("`as` after a call names its layer: `conv(8, 3x3) as c1`");
        }
        self.unknown(diag, (&path, e.span), known.iter().map(String::as_str));
        None
    }

    /// An argument that nothing takes, with the nearest parameter as an edit.
    pub(super) fn unknown_arg(&mut self, callee: &str, key: (&Name, Span), params: &[&str]) {
        let message = format!("`{callee}` has no argument `{}`", key.0);
        let mut diag = Diagnostic::new(codes::E0105, key.1, message);
        match names::meant(key.0, params.iter().copied()) {
            Some(near) => {
                let edit = Edit { span: key.1, text: near.to_owned() };
                let fix = Candidate::new(format!("{} -> {near}", key.0), vec![edit]);
                self.report(diag.label(format!("perhaps `{near}`")), vec![fix]);
            }
            None => {
                diag = if params.is_empty() {
                    diag.help(format!("`{callee}` takes no arguments"))
                } else {
                    diag.help(format!("its arguments are {}", params.join(", ")))
                };
                self.report(diag, Vec::new());
            }
        }
    }
}

/// The value as the parameter takes it, if it does.
pub(super) fn fit(ty: ArgTy, value: &ArgValue) -> Option<ArgValue> {
    use ArgValue::{Bool, Call, Extent, Float, Int, Layer, List, Shape, Str, Table, Word};
    let ints = |items: &[ArgValue]| items.iter().all(|v| matches!(v, Int(_)));
    let fits = match (ty, value) {
        (ArgTy::Int, Int(_))
        | (ArgTy::Float, Int(_) | Float(_))
        | (ArgTy::Bool, Bool(_))
        | (ArgTy::Extent | ArgTy::Window(_) | ArgTy::Pad, Int(_) | Extent(_))
        | (ArgTy::Table, Table(_))
        | (ArgTy::Layer, Layer(_))
        | (ArgTy::Share, Call(..))
        | (ArgTy::Init, Call(..))
        | (ArgTy::Shape, Shape(_)) => true,
        (ArgTy::Extent | ArgTy::Window(_), List(items)) => ints(items),
        (ArgTy::Pad, List(items)) => {
            let pair = |v: &ArgValue| matches!(v, List(pair) if pair.len() == 2 && ints(pair));
            ints(items) || items.iter().all(pair)
        }
        (ArgTy::Numbers, v) => numbers(v, 8),
        (ArgTy::Window(_) | ArgTy::Pad | ArgTy::Word(_) | ArgTy::Share | ArgTy::Init, Word(w)) => {
            ty.words().contains(&&**w)
        }
        (ArgTy::Axis, Word(_)) => true,
        (ArgTy::Axis, Str(name)) => return Some(Word(name.clone())),
        (
            ArgTy::Int
            | ArgTy::Float
            | ArgTy::Bool
            | ArgTy::Extent
            | ArgTy::Window(_)
            | ArgTy::Pad
            | ArgTy::Word(_)
            | ArgTy::Table
            | ArgTy::Layer
            | ArgTy::Share
            | ArgTy::Init
            | ArgTy::Shape
            | ArgTy::Axis,
            _,
        ) => false,
    };
    fits.then(|| value.clone())
}

/// A number, or lists of numbers at most `depth` deep.
fn numbers(value: &ArgValue, depth: usize) -> bool {
    match value {
        ArgValue::Int(_) | ArgValue::Float(_) => true,
        ArgValue::List(items) => depth > 0 && items.iter().all(|v| numbers(v, depth - 1)),
        ArgValue::Bool(_)
        | ArgValue::Str(_)
        | ArgValue::Word(_)
        | ArgValue::Extent(_)
        | ArgValue::Call(..)
        | ArgValue::Table(_)
        | ArgValue::Layer(_)
        | ArgValue::Shape(_) => false,
    }
}

/// What the static parameter of a block takes, by the word written after its name.
pub(super) enum ParamTy {
    /// What an operation's argument of this type takes.
    Arg(ArgTy),
    /// A list or an extent.
    List,
    /// A string.
    Str,
    /// Anything: static values, words, operations, blocks, instances.
    Any,
}

/// The words for types of static parameters.
pub(super) const PARAM_TYPES: &[&str] =
    &["int", "float", "bool", "str", "extent", "list", "table", "pad", "layer", "any"];

impl ParamTy {
    /// The type behind a word.
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "int" => Self::Arg(ArgTy::Int),
            "float" => Self::Arg(ArgTy::Float),
            "bool" => Self::Arg(ArgTy::Bool),
            "extent" => Self::Arg(ArgTy::Extent),
            "table" => Self::Arg(ArgTy::Table),
            "pad" => Self::Arg(ArgTy::Pad),
            "layer" => Self::Arg(ArgTy::Layer),
            "list" => Self::List,
            "str" => Self::Str,
            "any" => Self::Any,
            _ => return None,
        })
    }
}

/// What a message calls a value of a block's parameter.
pub(super) fn short(value: &Val<'_>) -> String {
    match value {
        Val::Static(v) => statics::show(v),
        Val::Call(callee) => callee.name().to_string(),
        Val::Tensor(_) | Val::List(_) | Val::Tuple(_) | Val::Turns(_) | Val::Module(_) | Val::Poison => {
            "?".into()
        }
    }
}
