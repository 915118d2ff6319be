//! Expressions: a tree in, a value out. What fails says so once and becomes [`Val::Poison`], which passes through everything
//! in silence. Pipelines and their stages are in `pipe`, calls in `call`.

use super::cx::{Cx, State};
use super::fixes::Candidate;
use super::modules::{ModuleId, STD};
use super::statics::{self, FUNCTIONS};
use super::value::{Callee, Val};
use crate::ast::{BinaryOp, Body, Expr, ExprKind, Ident, Item, ShapeLit};
use crate::ops::args::ArgValue;
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::Span;
use crate::support::{Name, codes};

/// The name of the value that a block after `|>` works on.
pub(super) const IT: &str = "it";

impl<'a> Cx<'a> {
    /// The value of an expression.
    pub(super) fn expr(&mut self, e: &'a Expr) -> Val<'a> {
        self.expr_as(e, None)
    }

    /// The value of an expression whose layer is named `label`.
    pub(super) fn expr_as(&mut self, e: &'a Expr, label: Option<&'a Ident>) -> Val<'a> {
        let value = if self.enter(e.span) { self.expr_kind(e, label) } else { Val::Poison };
        self.leave();
        value
    }

    fn expr_kind(&mut self, e: &'a Expr, label: Option<&'a Ident>) -> Val<'a> {
        match &e.kind {
            ExprKind::Int(i) => Val::Static(ArgValue::Int(*i)),
            ExprKind::Float(x) => Val::Static(ArgValue::Float(*x)),
            ExprKind::Bool(b) => Val::Static(ArgValue::Bool(*b)),
            ExprKind::Str(s) => Val::Static(ArgValue::Str(s.clone())),
            ExprKind::Extent(x) => Val::Static(ArgValue::Extent(x.clone())),
            ExprKind::List(items) => self.list(items, e.span),
            ExprKind::Shape(shape) => {
                self.shape(shape).map_or(Val::Poison, |s| Val::Static(ArgValue::Shape(s)))
            }
            ExprKind::Tuple(items) => {
                let value = Val::Tuple(items.iter().map(|e| (None, self.expr(e))).collect());
                if self.spend(value.parts(), e.span) { value } else { Val::Poison }
            }
            ExprKind::Name(name) => self.name(name, e.span),
            ExprKind::Field(base, field) => self.field(base, field),
            ExprKind::Index(base, at) => self.index(base, at),
            ExprKind::Call(call) => self.call_expr(e.span, call, None, label),
            ExprKind::New(call) => self.new_instance(e.span, call, label),
            ExprKind::Pipe(..) => self.pipe(e, label),
            ExprKind::As(inner, name) => {
                let value = self.expr_as(inner, Some(name));
                self.name_value(name, &value);
                value
            }
            ExprKind::Is(_) | ExprKind::Repeat(_) => {
                let word = if matches!(e.kind, ExprKind::Is(_)) { "is" } else { "repeat" };
                self.fail(
                    Diagnostic::new(codes::E0114, e.span, format!("`{word}` needs a value before it"))
                        .help(format!("write `x |> {word} …`")),
                )
            }
            ExprKind::Block(body) => self.body(body),
            ExprKind::If(condition, yes, no) => match self.condition(condition) {
                Some(true) => self.body(yes),
                Some(false) => self.body(no),
                None => self.both(yes, no),
            },
            ExprKind::Unary(op, inner) => {
                let value = self.expr(inner).last();
                self.unary(*op, value, e.span)
            }
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right, e.span),
        }
    }

    /// Both branches of an `if` whose condition is not known, where that is allowed: for their own errors only.
    pub(super) fn both(&mut self, yes: &'a Body, no: &'a Body) -> Val<'a> {
        if self.dry {
            self.body(yes);
            self.body(no);
        }
        Val::Poison
    }

    /// The statements of a body, then its value; its names end with it.
    pub(super) fn body(&mut self, body: &'a Body) -> Val<'a> {
        let mark = self.frame().locals.len();
        for statement in &body.lets {
            // `let` shadows nothing: a second one of the same name in one body is a slip.
            let twice = self.frame().locals.iter().skip(mark).find(|l| l.name == statement.name.name);
            if let Some(first) = twice.map(|l| l.span) {
                let name = &statement.name;
                let message = format!("`{}` is defined twice", name.name);
                let diag = Diagnostic::new(codes::E0102, name.span, message);
                self.fail(diag.label("defined again").also(first, "first defined here"));
            }
            // An instance takes its name from the `let`, a computed value does not.
            let label = matches!(statement.value.kind, ExprKind::New(_)).then_some(&statement.name);
            let value = self.expr_as(&statement.value, label);
            if let (Val::Tensor(id), None) = (&value, label) {
                let trace = &mut self.net.trace[id.index()];
                trace.label.get_or_insert_with(|| statement.name.name.clone());
            }
            self.declare(&statement.name, "let");
            self.bind(&statement.name, value);
        }
        let value = self.expr(&body.value);
        self.frame().locals.truncate(mark);
        value
    }

    /// Remembers a name that something should use.
    pub(super) fn declare(&mut self, ident: &Ident, what: &'static str) {
        self.used.entry(ident.span).or_insert_with(|| (ident.name.clone(), what, false));
    }

    /// What `as` does: the name stands for the value from here on, and for its layer in facts.
    pub(super) fn name_value(&mut self, ident: &'a Ident, value: &Val<'a>) {
        let prefix = self.scope().path.clone();
        let path =
            if prefix.is_empty() { ident.name.to_string() } else { format!("{prefix}.{}", ident.name) };
        match value {
            Val::Tensor(id) => {
                self.net.named.entry(path).or_insert(*id);
                if let Some(trace) = self.net.trace.get_mut(id.index()) {
                    trace.label = Some(ident.name.clone());
                }
            }
            Val::Turns(turns) => {
                for (turn, value) in turns.iter().enumerate() {
                    if let Val::Tensor(id) = value {
                        self.net.named.entry(format!("{path}[{turn}]")).or_insert(*id);
                    }
                }
                if let Some(Val::Tensor(id)) = turns.last() {
                    self.net.named.entry(path).or_insert(*id);
                }
            }
            Val::Static(_) | Val::List(_) | Val::Tuple(_) | Val::Call(_) | Val::Module(_) | Val::Poison => {}
        }
        self.bind(ident, value.clone());
    }

    /// What a name means here; an error if nothing.
    pub(super) fn name(&mut self, name: &Name, span: Span) -> Val<'a> {
        if let Some(value) = self.lookup(name, span) {
            return value;
        }
        if &**name == IT {
            let diag = Diagnostic::new(codes::E0101, span, "`it` is not known here");
            return self.fail(diag.help("`it` is the value that `|> { … }` or `repeat` works on"));
        }
        let elsewhere = self.modules.all[self.module()].uses.iter().find_map(|(module, id)| {
            let found = self.modules.all.get(*id)?.names.contains_key(name);
            found.then(|| format!("{module}.{name}"))
        });
        let mut diag = Diagnostic::new(codes::E0101, span, format!("nothing is called `{name}` here"));
        if let Some(path) = elsewhere {
            diag = diag.label(format!("there is `{path}`"));
            let edit = Edit { span, text: path.clone() };
            self.report(diag, vec![Candidate::new(format!("{name} -> {path}"), vec![edit])]);
            return Val::Poison;
        }
        let known = self.names_in_sight();
        self.unknown(diag, (name, span), known.iter().map(|n| &**n))
    }

    /// What a name means here: locals, then items of the module, then operations, then `std`.
    pub(super) fn lookup(&mut self, name: &Name, span: Span) -> Option<Val<'a>> {
        if let Some(local) = self.frame().locals.iter().rev().find(|l| l.name == *name) {
            let (at, value) = (local.span, local.value.clone());
            if let Some(used) = self.used.get_mut(&at) {
                used.2 = true;
            }
            return Some(value);
        }
        let module = self.module();
        if let Some(value) = self.item(module, name, span) {
            return Some(value);
        }
        if let Some(id) = self.modules.all[module].uses.get(name) {
            return Some(Val::Module(*id));
        }
        if self.modules.all[module].lost.contains(name) || self.defined_in_text(module, name) {
            return Some(Val::Poison);
        }
        if let Some(info) = self.infos.get(&**name) {
            return Some(Val::Call(Callee::Op(info)));
        }
        if let Some(function) = FUNCTIONS.iter().find(|f| **f == &**name) {
            return Some(Val::Call(Callee::Function(function)));
        }
        let std = self.modules.std?;
        if &**name == STD { Some(Val::Module(std)) } else { self.item(std, name, span) }
    }

    /// Whether a file that does not parse seems to define `name`: its error was said, what follows from it is not.
    pub(super) fn defined_in_text(&self, module: ModuleId, name: &str) -> bool {
        let home = &self.modules.all[module];
        let text = &self.sources.get(home.file).text;
        let words = ["block", "net", "const", "table"];
        home.broken
            && words.iter().any(|word| {
                text.match_indices(word).any(|(at, _)| {
                    let rest = text[at + word.len()..].trim_start();
                    rest.strip_prefix(name)
                        .is_some_and(|r| !r.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
                })
            })
    }

    /// Every name that could stand here, for "nearest" advice.
    pub(super) fn names_in_sight(&self) -> Vec<Name> {
        let mut known: Vec<Name> =
            self.frames.last().map_or_else(Vec::new, |f| f.locals.iter().map(|l| l.name.clone()).collect());
        let module = &self.modules.all[self.module()];
        known.extend(module.names.keys().chain(module.uses.keys()).cloned());
        known.extend(self.infos.keys().map(|n| Name::from(*n)));
        known.extend(FUNCTIONS.iter().map(|f| Name::from(*f)));
        if let Some(std) = self.modules.std {
            known.extend(self.modules.all[std].names.keys().cloned());
        }
        known
    }

    /// The item `name` of a module, as a value.
    pub(super) fn item(&mut self, module: ModuleId, name: &Name, from: Span) -> Option<Val<'a>> {
        let modules = self.modules;
        let home = modules.all.get(module)?;
        match home.ast.items.get(*home.names.get(name)?)? {
            Item::Block(block) => Some(Val::Call(Callee::Block(module, block))),
            Item::Net(net) => Some(Val::Call(Callee::Net(module, net))),
            Item::Const(c) => {
                Some(self.settled(module, name, c.name.span, from, |cx| cx.constant(module, c)))
            }
            Item::Table(t) => Some(self.settled(module, name, t.name.span, from, |cx| cx.table(module, t))),
            Item::Use(_) | Item::Train(_) | Item::Test(_) | Item::Budget(_) => None,
        }
    }

    /// Evaluates an item once; an item that needs itself is an error.
    fn settled(
        &mut self,
        module: ModuleId,
        name: &Name,
        at: Span,
        from: Span,
        make: impl FnOnce(&mut Self) -> Val<'a>,
    ) -> Val<'a> {
        let key = (module, name.clone());
        match self.items.get(&key) {
            Some(State::Done(value)) => return value.clone(),
            Some(State::Open(at)) => {
                let at = *at;
                let mut ring: Vec<&str> =
                    self.open_items.iter().map(|n| &**n).skip_while(|n| *n != &**name).collect();
                ring.push(name);
                let diag = Diagnostic::new(codes::E0108, from, format!("`{name}` is computed from itself"))
                    .label("needed here")
                    .also(at, "while this is being computed")
                    .note(ring.join(" needs "));
                return self.fail(diag);
            }
            None => {}
        }
        self.items.insert(key.clone(), State::Open(at));
        self.open_items.push(name.clone());
        let value = make(self);
        self.open_items.pop();
        self.items.insert(key, State::Done(value.clone()));
        value
    }

    fn list(&mut self, items: &'a [Expr], span: Span) -> Val<'a> {
        let values: Vec<Val<'a>> = items.iter().map(|e| self.expr(e)).collect();
        let parts = values.iter().map(Val::parts).sum();
        if !self.spend(parts, span) || values.iter().any(Val::is_poison) {
            return Val::Poison;
        }
        let statics: Option<Vec<ArgValue>> = values
            .iter()
            .map(|v| match v {
                Val::Static(s) => Some(s.clone()),
                _ => None,
            })
            .collect();
        statics.map_or_else(|| Val::List(values.into()), |s| Val::Static(ArgValue::List(s)))
    }

    /// The axes of a written shape; `None` after an error.
    pub(super) fn shape(&mut self, shape: &'a ShapeLit) -> Option<Vec<(Name, i64)>> {
        let mut axes: Vec<(Name, i64)> = Vec::new();
        let mut sound = true;
        for (name, extent) in &shape.axes {
            let value = self.int(extent, "an extent");
            if axes.iter().any(|(n, _)| *n == name.name) {
                let message = format!("axis `{}` stands twice in one shape", name.name);
                self.fail(Diagnostic::new(codes::E0207, name.span, message));
                sound = false;
            }
            match value {
                Some(v) if v >= 1 => axes.push((name.name.clone(), v)),
                Some(v) => {
                    let message = format!("axis `{}` has extent {v}; an extent is at least 1", name.name);
                    self.fail(Diagnostic::new(codes::E0207, extent.span, message));
                    sound = false;
                }
                None => sound = false,
            }
        }
        sound.then_some(axes)
    }

    /// A static condition; `None` after an error.
    pub(super) fn condition(&mut self, e: &'a Expr) -> Option<bool> {
        match self.expr(e) {
            Val::Static(ArgValue::Bool(b)) => Some(b),
            Val::Poison => None,
            other => {
                let what = self.describe(&other);
                self.fail(Diagnostic::new(
                    self.kind_code(&other),
                    e.span,
                    format!("a condition is a bool, not {what}"),
                ));
                None
            }
        }
    }

    /// A static integer; `None` after an error. `what` says what it is for.
    pub(super) fn int(&mut self, e: &'a Expr, what: &str) -> Option<i64> {
        match self.expr(e) {
            Val::Static(ArgValue::Int(i)) => Some(i),
            Val::Poison => None,
            other => {
                let found = self.describe(&other);
                self.fail(Diagnostic::new(
                    self.kind_code(&other),
                    e.span,
                    format!("{what} is an integer, not {found}"),
                ));
                None
            }
        }
    }

    /// The code for a value of the wrong kind: tensors where static values belong have their own.
    pub(super) fn kind_code(&self, value: &Val<'a>) -> crate::support::diag::Code {
        if value.is_tensor() { codes::E0111 } else { codes::E0107 }
    }

    fn binary(&mut self, op: BinaryOp, left: &'a Expr, right: &'a Expr, span: Span) -> Val<'a> {
        let l = self.expr(left).last();
        if let (BinaryOp::And | BinaryOp::Or, Val::Static(ArgValue::Bool(b))) = (op, &l)
            && *b == (op == BinaryOp::Or)
        {
            return l;
        }
        let r = self.expr(right).last();
        if let (Val::Static(a), Val::Static(b)) = (&l, &r) {
            return match statics::binary(op, a, b) {
                Ok(value) => Val::Static(value),
                Err(fault) => self.fault(fault, span, Some((op, left.span, right.span))),
            };
        }
        if l.is_poison() || r.is_poison() {
            return Val::Poison;
        }
        self.tensor_binary(op, (l, left.span), (r, right.span), span)
    }

    /// Reports an operator without a result; `between` gives the operator's place for an edit.
    pub(super) fn fault(
        &mut self,
        fault: statics::Fault,
        span: Span,
        between: Option<(BinaryOp, Span, Span)>,
    ) -> Val<'a> {
        let mut diag = Diagnostic::new(fault.code, span, fault.message);
        diag.help.extend(fault.help);
        let mut candidates = Vec::new();
        if let (Some(sign), Some((op, left, right))) = (fault.instead, between) {
            let gap = Span { file: span.file, start: left.end, end: right.start };
            if let Some(at) = self.sources.text(gap).find(op.sign()) {
                let start = left.end as usize + at;
                let edit =
                    Edit { span: Span::new(span.file, start, start + op.sign().len()), text: sign.into() };
                candidates.push(Candidate::new(format!("{} -> {sign}", op.sign()), vec![edit]));
            }
        }
        self.report(diag, candidates);
        Val::Poison
    }

    /// What a message calls a value: `the integer 3`, `a tensor [c: 3]`.
    pub(super) fn describe(&self, value: &Val<'a>) -> String {
        match value {
            Val::Static(v) => {
                let kind = statics::kind(v);
                match v {
                    ArgValue::Table(_) | ArgValue::Call(..) => kind.to_owned(),
                    _ => format!(
                        "{} {}",
                        kind.replacen("an ", "the ", 1).replacen("a ", "the ", 1),
                        statics::show(v)
                    ),
                }
            }
            Val::Tensor(id) => format!("a tensor {}", self.net.ty(*id).show()),
            Val::List(items) => format!("a list of {}", items.len()),
            Val::Tuple(items) => format!("a tuple of {}", items.len()),
            Val::Turns(items) => format!("the values of {} turns", items.len()),
            Val::Call(Callee::Op(info)) => format!("the operation `{}`", info.name),
            Val::Call(Callee::Block(_, b)) => format!("the block `{}`", b.name.name),
            Val::Call(Callee::Net(_, n)) => format!("the net `{}`", n.name.name),
            Val::Call(Callee::Instance(i)) => format!("the instance `{}`", i.path),
            Val::Call(Callee::Function(f)) => format!("the function `{f}`"),
            Val::Module(_) => "a module".to_owned(),
            Val::Poison => "an unknown value".to_owned(),
        }
    }
}
