//! `test` and `budget` items: claims about facts of nets. Names, layers and kinds are checked here; what they say is evaluated
//! where facts are known.

use super::cx::Cx;
use super::network::Network;
use super::value::Val;
use crate::ast::{BinaryOp, Budget, Expr, ExprKind, Test, TestStep, UnaryOp};
use crate::graph::ValueId;
use crate::ops::args::{ArgValue, one_of};
use crate::support::diag::Diagnostic;
use crate::support::span::Span;
use crate::support::{Name, codes};

/// A `test` item.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// Its title.
    pub title: Name,
    /// What it asks, in order.
    pub steps: Vec<Step>,
    /// The whole item.
    pub span: Span,
}

/// One line of a test.
#[derive(Clone, Debug)]
pub enum Step {
    /// `assert a == b`
    Assert(Claim),
    /// `gradcheck Net`: the position of the net.
    Gradcheck(usize),
}

/// A `budget` item.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The position of its net.
    pub net: usize,
    /// Each must hold.
    pub claims: Vec<Claim>,
    /// The whole item.
    pub span: Span,
}

/// `left op right`
#[derive(Clone, Debug)]
pub struct Claim {
    /// A comparison.
    pub op: BinaryOp,
    /// Its left side.
    pub left: FactExpr,
    /// Its right side.
    pub right: FactExpr,
    /// All of it.
    pub span: Span,
}

/// An expression over facts.
#[derive(Clone, Debug)]
pub enum FactExpr {
    /// A static value.
    Value(ArgValue),
    /// A fact of a net, or of the layer at `path` (empty: the whole net).
    Fact {
        /// Which.
        fact: Fact,
        /// The position of the net.
        net: usize,
        /// The layer, or empty.
        path: String,
        /// The layer's result, where one value is called by the path: what lies under it may be computed later and be another.
        value: Option<ValueId>,
        /// Where it stands.
        span: Span,
    },
    /// Arithmetic.
    Binary(BinaryOp, Box<FactExpr>, Box<FactExpr>),
}

/// A fact of a layer or net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The output's shape.
    Shape,
    /// Trainable elements.
    Params,
    /// Multiply-adds of a forward pass.
    Macs,
    /// Floating-point operations of a forward pass.
    Flops,
    /// Bytes moved by a forward pass.
    Bytes,
    /// Bytes of working memory.
    Arena,
    /// The receptive field's extent.
    Rf,
    /// The receptive field's step.
    Jump,
}

/// The facts by name.
pub const FACTS: &[(&str, Fact)] = &[
    ("shape", Fact::Shape),
    ("params", Fact::Params),
    ("macs", Fact::Macs),
    ("flops", Fact::Flops),
    ("bytes", Fact::Bytes),
    ("arena", Fact::Arena),
    ("rf", Fact::Rf),
    ("jump", Fact::Jump),
];

/// What kind of value an expression has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Shape,
    Extent,
    Other,
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Shape => "a shape",
            Self::Extent => "an extent",
            Self::Other => "a value that no fact equals",
        }
    }
}

impl<'a> Cx<'a> {
    /// Resolves a `test` item.
    pub(super) fn test(&mut self, item: &'a Test, nets: &[Network]) -> TestCase {
        let mut steps = Vec::new();
        for step in &item.steps {
            match step {
                TestStep::Assert(e) => steps.extend(self.claim(e, nets, None).map(Step::Assert)),
                TestStep::Gradcheck(net) => steps.extend(self.net_named(net, nets).map(Step::Gradcheck)),
            }
        }
        TestCase { title: item.title.clone(), steps, span: item.span }
    }

    /// Resolves a `budget` item.
    pub(super) fn budget(&mut self, item: &'a Budget, nets: &[Network]) -> Option<Limits> {
        let net = self.net_named(&item.net, nets)?;
        let claims = item.limits.iter().filter_map(|e| self.claim(e, nets, Some(net))).collect();
        Some(Limits { net, claims, span: item.span })
    }

    /// A comparison over facts; `about` is the net of a budget, whose facts stand alone: `params <= 62k`.
    fn claim(&mut self, e: &'a Expr, nets: &[Network], about: Option<usize>) -> Option<Claim> {
        let ExprKind::Binary(
            op @ (BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge),
            left,
            right,
        ) = &e.kind
        else {
            let word = if about.is_some() { "a limit" } else { "`assert`" };
            let example = if about.is_some() { "`params <= 62k`" } else { "`params(Net.layer) == 156`" };
            let message = format!("{word} needs a comparison of facts");
            self.fail(Diagnostic::new(codes::E0701, e.span, message).help(format!("such as {example}")));
            return None;
        };
        let left_value = self.fact_expr(left, nets, about);
        let right_value = self.fact_expr(right, nets, about);
        let ((left_value, a), (right_value, b)) = (left_value?, right_value?);
        let ordered = !matches!(op, BinaryOp::Eq | BinaryOp::Ne);
        let square = (a == Kind::Extent && b == Kind::Number) || (a == Kind::Number && b == Kind::Extent);
        if (a != b && !square) || (ordered && a != Kind::Number) || a == Kind::Other {
            let message = format!("`{}` cannot compare {} with {}", op.sign(), a.describe(), b.describe());
            self.fail(Diagnostic::new(codes::E0701, e.span, message));
            return None;
        }
        Some(Claim { op: *op, left: left_value, right: right_value, span: e.span })
    }

    fn fact_expr(&mut self, e: &'a Expr, nets: &[Network], about: Option<usize>) -> Option<(FactExpr, Kind)> {
        match &e.kind {
            ExprKind::Call(call) => {
                let ExprKind::Name(name) = &call.callee.kind else { return self.fact_value(e) };
                let Some((_, fact)) = FACTS.iter().find(|(n, _)| *n == &**name) else {
                    if self.modules.all[0].names.contains_key(name)
                        || super::statics::FUNCTIONS.contains(&&**name)
                    {
                        return self.fact_value(e);
                    }
                    return self.unknown_fact(name, call.callee.span, about);
                };
                let [arg] = call.args.as_slice() else {
                    let message = format!("`{name}` takes one net or layer");
                    self.fail(Diagnostic::new(codes::E0701, e.span, message));
                    return None;
                };
                let (net, path) = self.layer_path(&arg.value, nets, about)?;
                Some(self.fact_of(*fact, net, path, e.span, nets))
            }
            ExprKind::Name(name) if about.is_some() => match FACTS.iter().find(|(n, _)| *n == &**name) {
                Some((_, fact)) => Some(self.fact_of(*fact, about?, String::new(), e.span, nets)),
                None if self.modules.all[0].names.contains_key(name) => self.fact_value(e),
                None => self.unknown_fact(name, e.span, about),
            },
            ExprKind::Binary(op, left, right) => {
                let (left, a) = self.fact_expr(left, nets, about)?;
                let (right, b) = self.fact_expr(right, nets, about)?;
                let arithmetic = matches!(
                    op,
                    BinaryOp::Add
                        | BinaryOp::Sub
                        | BinaryOp::Mul
                        | BinaryOp::Div
                        | BinaryOp::FloorDiv
                        | BinaryOp::Mod
                        | BinaryOp::Pow
                );
                if a != Kind::Number || b != Kind::Number || !arithmetic {
                    let message =
                        format!("`{}` cannot join {} and {} here", op.sign(), a.describe(), b.describe());
                    self.fail(Diagnostic::new(codes::E0701, e.span, message));
                    return None;
                }
                Some((FactExpr::Binary(*op, Box::new(left), Box::new(right)), Kind::Number))
            }
            ExprKind::Unary(UnaryOp::Neg, _) => self.fact_value(e),
            _ => self.fact_value(e),
        }
    }

    fn unknown_fact(&mut self, name: &Name, span: Span, about: Option<usize>) -> Option<(FactExpr, Kind)> {
        let names: Vec<&str> = FACTS.iter().map(|(n, _)| *n).collect();
        let code = if about.is_some() { codes::E0702 } else { codes::E0701 };
        let diag = Diagnostic::new(code, span, format!("no fact is called `{name}`"))
            .help(format!("the facts are {}", one_of(&names)));
        self.unknown(diag, (name, span), names.iter().copied());
        None
    }

    fn fact_of(
        &self,
        fact: Fact,
        net: usize,
        path: String,
        span: Span,
        nets: &[Network],
    ) -> (FactExpr, Kind) {
        let rank0 = |n: &Network| n.graph.inputs.first().is_some_and(|p| n.ty(p.value).rank() == 1);
        let kind = match fact {
            Fact::Shape => Kind::Shape,
            // On a line a receptive field is one number.
            Fact::Rf | Fact::Jump if nets.get(net).is_some_and(rank0) => Kind::Number,
            Fact::Rf | Fact::Jump => Kind::Extent,
            Fact::Params | Fact::Macs | Fact::Flops | Fact::Bytes | Fact::Arena => Kind::Number,
        };
        let value = nets.get(net).filter(|_| !path.is_empty()).and_then(|n| n.find(&path));
        (FactExpr::Fact { fact, net, path, value, span }, kind)
    }

    fn fact_value(&mut self, e: &'a Expr) -> Option<(FactExpr, Kind)> {
        let value = match self.in_module(0, |cx| cx.expr(e).last()) {
            Val::Static(value) => value,
            Val::Poison => return None,
            other => {
                let what = self.describe(&other);
                let message = format!("a fact or a static value is needed here, not {what}");
                self.fail(Diagnostic::new(codes::E0701, e.span, message));
                return None;
            }
        };
        let kind = match &value {
            ArgValue::Int(_) | ArgValue::Float(_) => Kind::Number,
            ArgValue::Shape(_) => Kind::Shape,
            ArgValue::Extent(_) | ArgValue::List(_) => Kind::Extent,
            ArgValue::Bool(_)
            | ArgValue::Str(_)
            | ArgValue::Word(_)
            | ArgValue::Call(..)
            | ArgValue::Table(_)
            | ArgValue::Layer(_) => Kind::Other,
        };
        Some((FactExpr::Value(value), kind))
    }

    /// `LeNet5`, `LeNet5.c3`, `ResNet18.stage[2].a`; in a budget the net may be left out: `c3`.
    fn layer_path(&mut self, e: &'a Expr, nets: &[Network], about: Option<usize>) -> Option<(usize, String)> {
        let text = self.sources.text(e.span).to_owned();
        let (head, rest) = text.split_once('.').map_or((text.as_str(), ""), |(h, r)| (h, r));
        let (net, path) = match (nets.iter().position(|n| *n.name == *head), about) {
            (Some(net), _) => (net, rest.to_owned()),
            (None, Some(net)) => (net, text.clone()),
            (None, None) => {
                let ident = crate::ast::Ident {
                    name: head.into(),
                    span: Span { end: e.span.start + head.len() as u32, ..e.span },
                };
                self.net_named(&ident, nets)?;
                return None;
            }
        };
        let path: String = path.split_whitespace().collect();
        let known = path.is_empty()
            || nets[net].find(&path).is_some()
            || nets[net].graph.values.iter().any(|v| lies_under(&v.name, &path));
        if known {
            return Some((net, path));
        }
        // A net with errors may lack layers that its text has.
        if !nets[net].broken {
            let at = Span { start: e.span.end - path.len().min(e.span.end as usize) as u32, ..e.span };
            self.unknown_layer(&path, at, &nets[net]);
        }
        None
    }
}

/// Whether `name` is `path` or a part of it: `stage[0]` holds `stage[0].a`.
fn lies_under(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
