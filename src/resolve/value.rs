//! What an expression may be while a program is resolved: a static value, a tensor of the net being built, something that
//! can be called, or nothing known because of an earlier error.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::modules::ModuleId;
use super::network::Site;
use crate::ast;
use crate::graph::ValueId;
use crate::ops::OpInfo;
use crate::ops::args::{ArgValue, CallArgs};
use crate::support::Name;
use crate::support::span::Span;

/// The value of an expression.
#[derive(Clone)]
pub(super) enum Val<'a> {
    /// A compile-time value.
    Static(ArgValue),
    /// A tensor of the net being built.
    Tensor(ValueId),
    /// A list in which not everything is static; what `split` gives.
    List(Rc<[Val<'a>]>),
    /// `(x, y)`, and what a net with several outputs gives: then with names.
    Tuple(Rc<[(Option<Name>, Val<'a>)]>),
    /// What `repeat … as y` names: the value of each turn. Alone it means the last one.
    Turns(Rc<[Val<'a>]>),
    /// Something that can be called.
    Call(Callee<'a>),
    /// A module.
    Module(ModuleId),
    /// Nothing is known; whoever made it has said why.
    Poison,
}

/// What can be called.
#[derive(Clone)]
pub(super) enum Callee<'a> {
    /// An operation.
    Op(&'static OpInfo),
    /// A block of a module.
    Block(ModuleId, &'a ast::Block),
    /// A net of a module, used as a block.
    Net(ModuleId, &'a ast::Net),
    /// `new f(…)`
    Instance(Rc<Instance<'a>>),
    /// A function on static numbers.
    Function(&'static str),
}

/// `new f(…)`: what to call with which arguments, and the weights once they are made.
pub(super) struct Instance<'a> {
    /// What each use calls.
    pub callee: Callee<'a>,
    /// Its static arguments, evaluated where `new` stands.
    pub args: Fixed<'a>,
    /// The path of its weights.
    pub path: String,
    /// Where `new` stands.
    pub span: Span,
    /// Weights by path, made at the first use.
    pub weights: Weights,
    /// The first use and its inputs, for messages and for `unconv(of: …)`.
    pub first: RefCell<Option<(Span, ValueId)>>,
}

/// The static arguments of an instance.
pub(super) enum Fixed<'a> {
    /// Of an operation, with their places.
    Op(CallArgs, Rc<Site>),
    /// Of a block, in the order of its parameters; `None` is not known.
    Block(Vec<Option<Val<'a>>>),
}

/// Weights shared by all uses of an instance, by path.
pub(super) type Weights = Rc<RefCell<BTreeMap<String, ValueId>>>;

impl<'a> Val<'a> {
    /// The last turn where a list of turns is meant as a value.
    pub(super) fn last(self) -> Self {
        match self {
            Self::Turns(turns) => turns.last().cloned().map_or(Self::Poison, Self::last),
            other => other,
        }
    }

    /// Whether nothing is known of it, or of a part of it.
    pub(super) fn is_poison(&self) -> bool {
        match self {
            Self::Poison => true,
            Self::List(items) | Self::Turns(items) => items.iter().any(Self::is_poison),
            Self::Tuple(items) => items.iter().any(|(_, v)| v.is_poison()),
            Self::Static(_) | Self::Tensor(_) | Self::Call(_) | Self::Module(_) => false,
        }
    }

    /// How many single values it holds; parts that stand in it several times count each time.
    pub(super) fn parts(&self) -> u64 {
        match self {
            Self::Static(value) => static_parts(value),
            Self::List(items) | Self::Turns(items) => items.iter().map(Self::parts).sum(),
            Self::Tuple(items) => items.iter().map(|(_, v)| v.parts()).sum(),
            Self::Tensor(_) | Self::Call(_) | Self::Module(_) | Self::Poison => 1,
        }
    }

    /// Whether it is a tensor, holds one, or may be one that is not known.
    pub(super) fn is_tensor(&self) -> bool {
        match self {
            Self::Tensor(_) => true,
            Self::List(items) | Self::Turns(items) => items.iter().any(Self::is_tensor),
            Self::Tuple(items) => items.iter().any(|(_, v)| v.is_tensor()),
            Self::Poison | Self::Static(_) | Self::Call(_) | Self::Module(_) => false,
        }
    }

    /// The tensors in it, in order; anything else stays as it is.
    pub(super) fn flatten(self, into: &mut Vec<Self>) {
        match self {
            Self::List(items) => items.iter().for_each(|v| v.clone().flatten(into)),
            Self::Tuple(items) => items.iter().for_each(|(_, v)| v.clone().flatten(into)),
            Self::Turns(_) => self.last().flatten(into),
            other => into.push(other),
        }
    }
}

fn static_parts(value: &ArgValue) -> u64 {
    match value {
        ArgValue::List(items) => items.iter().map(static_parts).sum(),
        ArgValue::Call(_, args) => args.iter().map(|(_, v)| static_parts(v)).sum(),
        ArgValue::Int(_)
        | ArgValue::Float(_)
        | ArgValue::Bool(_)
        | ArgValue::Str(_)
        | ArgValue::Word(_)
        | ArgValue::Extent(_)
        | ArgValue::Table(_)
        | ArgValue::Layer(_)
        | ArgValue::Shape(_) => 1,
    }
}

impl Callee<'_> {
    /// The name that messages use.
    pub(super) fn name(&self) -> Name {
        match self {
            Self::Op(info) => info.name.into(),
            Self::Block(_, block) => block.name.name.clone(),
            Self::Net(_, net) => net.name.name.clone(),
            Self::Instance(instance) => instance.path.rsplit('.').next().unwrap_or("").into(),
            Self::Function(name) => (*name).into(),
        }
    }
}
