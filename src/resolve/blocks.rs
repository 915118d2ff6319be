//! Blocks, nets used as blocks, and instances: a call evaluates the body anew with fresh names; an instance's calls share
//! the weights of the first one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::args::{PARAM_TYPES, ParamTy, Taker, short};
use super::call::CallText;
use super::cx::{BLOCKS_MAX, Cx, Frame, Local, Scope};
use super::modules::ModuleId;
use super::opcall::Target;
use super::value::{Callee, Fixed, Instance, Val};
use crate::ast::{self, Block, Call, Expr, ExprKind, Ident, StaticParam};
use crate::graph::ValueId;
use crate::ops::args::ArgValue;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;
use crate::support::{Name, codes};

/// The parameters of a block call, evaluated.
struct Params<'a> {
    tensors: Vec<Option<Val<'a>>>,
    statics: Vec<Option<Val<'a>>>,
    surplus: bool,
}

impl<'a> Cx<'a> {
    /// `x |> residual(k: 128)`
    pub(super) fn block_call(
        &mut self,
        module: ModuleId,
        block: &'a Block,
        text: &CallText<'a>,
        piped: Option<Val<'a>>,
        label: Option<&'a Ident>,
    ) -> Val<'a> {
        if self.recursion(&block.name, text.span) {
            return Val::Poison;
        }
        let Some(params) = self.bind_block(module, block, text, piped, false) else { return Val::Poison };
        let path = self.path_for(&block.name.name, label);
        let shared = self.scope().shared.clone();
        self.run_block(module, block, params, text.span, Scope::new(path, 0, shared))
    }

    /// An error if `name` is being evaluated already.
    fn recursion(&mut self, name: &Ident, span: Span) -> bool {
        if !self.frames.iter().any(|f| f.owner == Some(name.span)) {
            return false;
        }
        let message = format!("`{}` calls itself", name.name);
        let owners = self.frames.iter().filter_map(|f| f.owner).skip_while(|o| *o != name.span);
        let mut ring: Vec<&str> = owners.map(|o| self.sources.text(o)).collect();
        ring.push(&name.name);
        let ring = if ring.len() > 2 { Some(ring.join(" calls ")) } else { None };
        let mut diag = Diagnostic::new(codes::E0108, span, message)
            .label("called again here, while it is being evaluated")
            .also(name.span, "defined here")
            .help(
                "`repeat n { … }` does something n times; there is no recursion, so that every program ends",
            );
        diag.notes.extend(ring);
        self.fail(diag);
        true
    }

    /// Matches arguments with the parameters of a block; `None` where the call cannot go on. `only_statics` is for `new`.
    fn bind_block(
        &mut self,
        module: ModuleId,
        block: &'a Block,
        text: &CallText<'a>,
        piped: Option<Val<'a>>,
        only_statics: bool,
    ) -> Option<Params<'a>> {
        let name = &block.name.name;
        let mut params = Params {
            tensors: vec![None; block.tensors.len()],
            statics: vec![None; block.statics.len()],
            surplus: false,
        };
        let mut queue = Vec::new();
        if let Some(value) = piped {
            if block.tensors.len() > 1 { value.flatten(&mut queue) } else { queue.push(value) }
        }
        for (slot, value) in params.tensors.iter_mut().zip(&queue) {
            *slot = Some(value.clone());
        }
        params.surplus = queue.len() > block.tensors.len();
        for arg in text.args {
            match &arg.key {
                Some(key) => self.bind_block_key(block, &mut params, key, &arg.value),
                None => self.bind_block_position(block, &mut params, &arg.value, only_statics),
            }
        }
        if params.surplus {
            let count = block.tensors.len();
            let takes = if count == 1 { "one tensor".to_owned() } else { format!("{count} tensors") };
            let diag =
                Diagnostic::new(codes::E0107, text.span, format!("`{name}` takes {takes}, and gets more"));
            self.fail(diag.also(block.name.span, "defined here"));
        }
        for (slot, ident) in params.tensors.iter_mut().zip(&block.tensors).filter(|_| !only_statics) {
            if slot.is_none() {
                let message = format!("`{name}` needs the tensor `{}`", ident.name);
                let diag = Diagnostic::new(codes::E0106, text.span, message);
                self.fail(diag.also(ident.span, "declared here"));
                *slot = Some(Val::Poison);
            }
        }
        self.block_defaults(module, block, &mut params, text.span);
        Some(params)
    }

    fn bind_block_key(&mut self, block: &'a Block, params: &mut Params<'a>, key: &'a Ident, value: &'a Expr) {
        let at = block.statics.iter().position(|p| p.name.name == key.name);
        let tensor = block.tensors.iter().position(|p| p.name == key.name);
        let (slot, value) = match (at, tensor) {
            (Some(i), _) => (params.statics.get_mut(i).map(|s| (s, i)), self.static_arg(block, i, value)),
            (None, Some(i)) => {
                let value = self.expr(value).last();
                if let Some(slot) = params.tensors.get_mut(i) {
                    *slot = Some(value);
                }
                return;
            }
            (None, None) => {
                let names: Vec<&str> = block
                    .statics
                    .iter()
                    .map(|p| &*p.name.name)
                    .chain(block.tensors.iter().map(|t| &*t.name))
                    .collect();
                self.unknown_arg(&block.name.name, (&key.name, key.span), &names);
                return;
            }
        };
        if let Some((slot, _)) = slot {
            if slot.is_some() {
                let message = format!("`{}` of `{}` is given twice", key.name, block.name.name);
                self.fail(Diagnostic::new(codes::E0107, key.span, message));
                return;
            }
            *slot = Some(value);
        }
    }

    fn bind_block_position(
        &mut self,
        block: &'a Block,
        params: &mut Params<'a>,
        value: &'a Expr,
        only_statics: bool,
    ) {
        let next_static = params.statics.iter().position(Option::is_none);
        let free = params.tensors.iter().position(Option::is_none).filter(|_| !only_statics);
        // Tensors come first: what stands where one is missing is one.
        if let Some(i) = free {
            let found = self.expr(value).last();
            if found.is_tensor() || found.is_poison() {
                params.tensors[i] = Some(found);
                return;
            }
            if let Some(i) = next_static {
                let fitted = self.fit_static(block, i, found, value.span);
                params.statics[i] = Some(fitted);
                return;
            }
        } else if let Some(i) = next_static {
            params.statics[i] = Some(self.static_arg(block, i, value));
            return;
        }
        let message = format!("`{}` takes no further argument", block.name.name);
        let diag = Diagnostic::new(codes::E0107, value.span, message);
        self.fail(diag.also(block.name.span, "defined here"));
    }

    /// The value of static parameter `i`, given by an expression.
    fn static_arg(&mut self, block: &'a Block, i: usize, e: &'a Expr) -> Val<'a> {
        let Some(param) = block.statics.get(i) else { return Val::Poison };
        self.typed(&block.name.name, param, e)
    }

    fn typed(&mut self, callee: &Name, param: &'a StaticParam, e: &'a Expr) -> Val<'a> {
        match ParamTy::of(&param.ty.name) {
            Some(ParamTy::Arg(ty)) => {
                let taker = Taker { callee, param: &param.name.name, ty };
                self.arg_value(e, taker).map_or(Val::Poison, Val::Static)
            }
            Some(ParamTy::Any) => {
                if let ExprKind::Name(name) = &e.kind
                    && self.lookup(name, e.span).is_none()
                    && self.is_word(name)
                {
                    return Val::Static(ArgValue::Word(name.clone()));
                }
                self.expr(e).last()
            }
            Some(ParamTy::List | ParamTy::Str) | None => {
                let value = self.expr(e).last();
                self.fit_param(callee, param, value, e.span)
            }
        }
    }

    fn fit_static(&mut self, block: &'a Block, i: usize, value: Val<'a>, span: Span) -> Val<'a> {
        let Some(param) = block.statics.get(i) else { return Val::Poison };
        self.fit_param(&block.name.name, param, value, span)
    }

    fn fit_param(&mut self, callee: &Name, param: &'a StaticParam, value: Val<'a>, span: Span) -> Val<'a> {
        let (fits, expected) = match (ParamTy::of(&param.ty.name), &value) {
            (_, Val::Poison) | (None, _) | (Some(ParamTy::Any), _) => (true, ""),
            (Some(ParamTy::Arg(ty)), _) => {
                let taker = Taker { callee, param: &param.name.name, ty };
                return self.fit_value(value, span, taker).map_or(Val::Poison, Val::Static);
            }
            (Some(ParamTy::List), v) => {
                (matches!(v, Val::Static(ArgValue::List(_) | ArgValue::Extent(_)) | Val::List(_)), "a list")
            }
            (Some(ParamTy::Str), v) => (matches!(v, Val::Static(ArgValue::Str(_))), "a string"),
        };
        if fits {
            return value;
        }
        let found = self.describe(&value);
        let message = format!("`{}` of `{callee}` is {expected}, not {found}", param.name.name);
        let diag = Diagnostic::new(self.kind_code(&value), span, message);
        self.fail(diag.also(param.name.span, "declared here"))
    }

    /// Whether some operation's argument takes this word.
    fn is_word(&self, name: &str) -> bool {
        self.infos.values().any(|info| info.params.iter().any(|p| p.ty.words().contains(&name)))
    }

    /// Gives absent parameters their defaults, evaluated in the block's own module.
    fn block_defaults(&mut self, module: ModuleId, block: &'a Block, params: &mut Params<'a>, span: Span) {
        for (i, (slot, param)) in params.statics.iter_mut().zip(&block.statics).enumerate() {
            if slot.is_some() {
                continue;
            }
            // A second parameter of the same name was reported where it is declared.
            if block.statics.iter().take(i).any(|p| p.name.name == param.name.name) {
                *slot = Some(Val::Poison);
                continue;
            }
            *slot = Some(match &param.default {
                Some(e) => {
                    self.frames.push(Frame { module, locals: Vec::new(), owner: None });
                    let value = self.typed(&block.name.name, param, e);
                    self.frames.pop();
                    value
                }
                None => {
                    let message = format!("`{}` needs the argument `{}`", block.name.name, param.name.name);
                    let diag = Diagnostic::new(codes::E0106, span, message)
                        .also(param.name.span, "declared without a default")
                        .help(format!("write `{}({}: …)`", block.name.name, param.name.name));
                    self.fail(diag)
                }
            });
        }
    }

    /// Evaluates the body of a block.
    fn run_block(
        &mut self,
        module: ModuleId,
        block: &'a Block,
        params: Params<'a>,
        span: Span,
        mut scope: Scope,
    ) -> Val<'a> {
        if self.frames.len() >= BLOCKS_MAX {
            return self.stop(span, format!("blocks are nested more than {BLOCKS_MAX} deep"));
        }
        let mut locals = Vec::new();
        let mut tensors: Vec<(Name, ValueId)> = Vec::new();
        for (ident, value) in block.tensors.iter().zip(params.tensors) {
            let value = value.unwrap_or(Val::Poison);
            if let Val::Tensor(id) = value {
                tensors.push((ident.name.clone(), id));
            }
            self.declare(ident, "parameter");
            locals.push(Local { name: ident.name.clone(), value, span: ident.span });
        }
        let mut shown = Vec::new();
        for (param, value) in block.statics.iter().zip(params.statics) {
            let value = value.unwrap_or(Val::Poison);
            shown.push(format!("{}: {}", param.name.name, short(&value)));
            self.declare(&param.name, "parameter");
            locals.push(Local { name: param.name.name.clone(), value, span: param.name.span });
        }
        let name = block.name.name.to_string();
        let text = if shown.is_empty() { name.clone() } else { format!("{name}({})", shown.join(", ")) };
        scope.place = self.open_place(text, name, span, tensors);
        self.called.insert(block.name.span);
        self.scopes.push(scope);
        self.frames.push(Frame { module, locals, owner: Some(block.name.span) });
        let value = self.body(&block.body).last();
        self.frames.pop();
        self.scopes.pop();
        value
    }

    /// A net called as a block: its inputs must have the declared shapes.
    pub(super) fn net_call(
        &mut self,
        module: ModuleId,
        net: &'a ast::Net,
        text: &CallText<'a>,
        piped: Option<Val<'a>>,
        label: Option<&'a Ident>,
    ) -> Val<'a> {
        if self.recursion(&net.name, text.span) {
            return Val::Poison;
        }
        if self.frames.len() >= BLOCKS_MAX {
            return self.stop(text.span, format!("blocks are nested more than {BLOCKS_MAX} deep"));
        }
        let mut values = Vec::new();
        if let Some(value) = piped {
            value.flatten(&mut values);
        }
        for arg in text.args {
            let value = self.expr(&arg.value).last();
            match &arg.key {
                Some(key) if !net.inputs.iter().any(|(i, _)| i.name == key.name) => {
                    let names: Vec<&str> = net.inputs.iter().map(|(i, _)| &*i.name).collect();
                    self.unknown_arg(&net.name.name, (&key.name, key.span), &names);
                }
                Some(_) | None => values.push(value),
            }
        }
        if values.len() != net.inputs.len() {
            let message =
                format!("`{}` has {} inputs, and gets {}", net.name.name, net.inputs.len(), values.len());
            let code = if values.len() < net.inputs.len() { codes::E0106 } else { codes::E0107 };
            self.fail(Diagnostic::new(code, text.span, message).also(net.name.span, "defined here"));
            values.resize(net.inputs.len(), Val::Poison);
        }
        let path = self.path_for(&net.name.name, label);
        let shared = self.scope().shared.clone();
        let mut locals = Vec::new();
        let mut tensors = Vec::new();
        self.frames.push(Frame { module, locals: Vec::new(), owner: Some(net.name.span) });
        for ((ident, shape), value) in net.inputs.iter().zip(values) {
            if let (Val::Tensor(id), Some(axes)) = (&value, self.shape(shape)) {
                self.check_input(*id, &net.name.name, ident, &axes, text.span);
                tensors.push((ident.name.clone(), *id));
            }
            locals.push(Local { name: ident.name.clone(), value, span: ident.span });
        }
        self.frame().locals = locals;
        let place = self.open_place(net.name.name.to_string(), net.name.name.to_string(), text.span, tensors);
        self.scopes.push(Scope::new(path, place, shared));
        let value = self.body(&net.body).last();
        self.scopes.pop();
        self.frames.pop();
        match value {
            Val::Tuple(items) => {
                let named = items.iter().enumerate().map(|(i, (_, v))| {
                    (net.outputs.get(i).and_then(|(n, _)| n.as_ref()).map(|n| n.name.clone()), v.clone())
                });
                Val::Tuple(named.collect())
            }
            other => other,
        }
    }

    /// `new f(…)`
    pub(super) fn new_instance(&mut self, span: Span, call: &'a Call, label: Option<&'a Ident>) -> Val<'a> {
        let callee = self.callee(&call.callee);
        let text = CallText { callee: &call.callee, args: &call.args, close: Some(call.close), span };
        let (args, callee) = match callee {
            Val::Call(Callee::Op(info)) => {
                let bound = self.bind_op(info, &text, None, None);
                if let Some((value, at)) = bound.tensors.first() {
                    let what = self.describe(value);
                    let message = format!("`new` takes static arguments only, not {what}");
                    let diag = Diagnostic::new(codes::E0111, *at, message);
                    return self.fail(
                        diag.help("make the instance first, then call it: `let u = new conv(…)`, `u(x)`"),
                    );
                }
                if !bound.sound {
                    return Val::Poison;
                }
                (Fixed::Op(bound.args, bound.site), Callee::Op(info))
            }
            Val::Call(Callee::Block(module, block)) => {
                let Some(params) = self.bind_block(module, block, &text, None, true) else {
                    return Val::Poison;
                };
                (Fixed::Block(params.statics), Callee::Block(module, block))
            }
            Val::Call(Callee::Net(module, net)) => (Fixed::Block(Vec::new()), Callee::Net(module, net)),
            Val::Poison => return Val::Poison,
            other => {
                let what = self.describe(&other);
                let message = format!("`new` makes an instance of an operation or block, not of {what}");
                return self.fail(Diagnostic::new(codes::E0114, call.callee.span, message));
            }
        };
        let path = self.path_for(&callee.name(), label);
        let weights = self.scope().shared.clone().unwrap_or_else(|| Rc::new(RefCell::new(BTreeMap::new())));
        let first = RefCell::new(None);
        Val::Call(Callee::Instance(Rc::new(Instance { callee, args, path, span, weights, first })))
    }

    /// A call of an instance: its static arguments are fixed, its weights are made once.
    pub(super) fn instance_call(
        &mut self,
        instance: &Rc<Instance<'a>>,
        text: &CallText<'a>,
        piped: Option<Val<'a>>,
    ) -> Val<'a> {
        let mut tensors: Vec<(Val<'a>, Span)> = piped.into_iter().map(|v| (v, text.span)).collect();
        for arg in text.args {
            if let Some(key) = &arg.key {
                let name = text.callee.span;
                let shown = self.sources.text(name).to_owned();
                let message = format!("`{shown}` is an instance: its arguments were fixed by `new`");
                let diag = Diagnostic::new(codes::E0107, key.span, message).also(instance.span, "fixed here");
                return self.fail(diag);
            }
            tensors.push((self.expr(&arg.value).last(), arg.value.span));
        }
        let shared = Some(Rc::clone(&instance.weights));
        let result = match (&instance.args, &instance.callee) {
            (Fixed::Op(args, site), Callee::Op(info)) => {
                let mut flat = Vec::new();
                for (value, at) in tensors {
                    let mut parts = Vec::new();
                    value.flatten(&mut parts);
                    flat.extend(parts.into_iter().map(|v| (v, at)));
                }
                let bound = super::opcall::Bound {
                    tensors: flat,
                    args: args.clone(),
                    site: Rc::clone(site),
                    sound: true,
                };
                let label = Some(self.sources.text(text.callee.span).into());
                let target = Target { path: instance.path.clone(), label, span: text.span, shared };
                self.run_op(info, bound, target)
            }
            (Fixed::Block(statics), Callee::Block(module, block)) => {
                if self.recursion(&block.name, text.span) {
                    return Val::Poison;
                }
                let mut slots: Vec<Option<Val<'a>>> = tensors.into_iter().map(|(v, _)| Some(v)).collect();
                if slots.len() != block.tensors.len() {
                    let message = format!(
                        "`{}` takes {} tensors, and gets {}",
                        block.name.name,
                        block.tensors.len(),
                        slots.len()
                    );
                    let code = if slots.len() < block.tensors.len() { codes::E0106 } else { codes::E0107 };
                    self.fail(
                        Diagnostic::new(code, text.span, message).also(block.name.span, "defined here"),
                    );
                    slots.resize(block.tensors.len(), Some(Val::Poison));
                }
                let params = Params { tensors: slots, statics: statics.clone(), surplus: false };
                let scope = Scope::new(instance.path.clone(), 0, shared);
                self.run_block(*module, block, params, text.span, scope)
            }
            (_, Callee::Net(module, net)) => {
                let value = tensors.into_iter().map(|(v, _)| (None, v)).collect();
                let bare = CallText { callee: text.callee, args: &[], close: None, span: text.span };
                self.net_call(*module, net, &bare, Some(Val::Tuple(value)), None)
            }
            (Fixed::Op(..) | Fixed::Block(_), _) => Val::Poison,
        };
        if let Val::Tensor(id) = &result {
            instance.first.borrow_mut().get_or_insert((text.span, *id));
        }
        result
    }

    /// Looks at a block that nothing calls: names, arguments and whatever does not hang on its parameters.
    pub(super) fn dry_run(&mut self, module: ModuleId, block: &'a Block) {
        if self.called.contains(&block.name.span) {
            return;
        }
        self.dry = true;
        self.frames.clear();
        self.scopes = vec![Scope::new(String::new(), 0, None)];
        let params = Params {
            tensors: vec![Some(Val::Poison); block.tensors.len()],
            statics: vec![Some(Val::Poison); block.statics.len()],
            surplus: false,
        };
        self.run_block(module, block, params, block.name.span, Scope::new(String::new(), 0, None));
        self.dry = false;
    }

    /// An error for each static parameter with an unknown type word.
    pub(super) fn check_params(&mut self, block: &'a Block) {
        for param in &block.statics {
            if ParamTy::of(&param.ty.name).is_none() {
                let message = format!("`{}` is no type of a static parameter", param.ty.name);
                let diag = Diagnostic::new(codes::E0101, param.ty.span, message)
                    .help(format!("the types are {}", PARAM_TYPES.join(", ")));
                self.unknown(diag, (&param.ty.name, param.ty.span), PARAM_TYPES.iter().copied());
            }
        }
        let all = block.tensors.iter().chain(block.statics.iter().map(|p| &p.name));
        let mut seen: BTreeMap<&Name, Span> = BTreeMap::new();
        for ident in all {
            if let Some(first) = seen.insert(&ident.name, ident.span) {
                let message = format!("two parameters are called `{}`", ident.name);
                self.fail(Diagnostic::new(codes::E0102, ident.span, message).also(first, "the first one"));
            }
        }
    }
}
