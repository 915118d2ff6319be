//! Pairs of the grammar to expressions: one function per grammar rule, of the same name. Each says how high the tree is that
//! it made, so that nothing downstream recurses without bound. Chains (pipelines, `else if`, operators) are built in loops.

use pest::iterators::Pair;

use super::build::{Builder, Built as Outcome, bug, unquote};
use super::operators::{self, Built, Operators, check_height};
use super::syntax::Rule;
use super::{TREE_MAX, literal};
use crate::ast::{Arg, Body, Call, Expr, ExprKind, Repeat, ShapeLit, UnaryOp};
use crate::support::codes;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;

type Result = std::result::Result<Built, Diagnostic>;

fn leaf(kind: ExprKind, span: Span) -> Built {
    Built { expr: Expr { kind, span }, height: 1 }
}

fn node(kind: ExprKind, span: Span, below: usize) -> Result {
    let built = Built { expr: Expr { kind, span }, height: below + 1 };
    check_height(&built)?;
    Ok(built)
}

impl Builder<'_> {
    pub(super) fn expr(&self, pair: Pair<'_, Rule>) -> Result {
        let whole = self.span(&pair);
        let mut kids = self.kids(pair);
        let mut value = self.arith(kids.take(Rule::arith)?)?;
        if let Some(name) = kids.take_if(Rule::as_name) {
            value = self.as_name(value, name)?;
        }
        while kids.take_if(Rule::pipe).is_some() {
            let stage = kids.any().ok_or_else(|| bug(whole))?;
            let mut stage = self.stage(stage)?;
            if let Some(name) = kids.take_if(Rule::as_name) {
                stage = self.as_name(stage, name)?;
            }
            let span = value.expr.span.to(stage.expr.span);
            let below = value.height.max(stage.height);
            value = node(ExprKind::Pipe(Box::new(value.expr), Box::new(stage.expr)), span, below)?;
        }
        Ok(value)
    }

    fn as_name(&self, value: Built, pair: Pair<'_, Rule>) -> Result {
        let name = self.ident(&self.kids(pair).take(Rule::ident)?);
        let span = value.expr.span.to(name.span);
        node(ExprKind::As(Box::new(value.expr), name), span, value.height)
    }

    fn stage(&self, pair: Pair<'_, Rule>) -> Result {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::repeat => self.repeat(pair),
            Rule::is_shape => {
                let (shape, below) = self.shape(self.kids(pair).take(Rule::shape)?)?;
                node(ExprKind::Is(shape), span, below)
            }
            Rule::body => {
                let (body, below) = self.body(pair)?;
                node(ExprKind::Block(body), span, below)
            }
            _ => self.operand(pair),
        }
    }

    fn repeat(&self, pair: Pair<'_, Rule>) -> Result {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let count = self.arith(kids.take(Rule::arith)?)?;
        let var = kids.take_if(Rule::kw_as).and_then(|_| kids.take_if(Rule::ident)).map(|p| self.ident(&p));
        let (body, below) = self.body(kids.take(Rule::body)?)?;
        let below = below.max(count.height);
        node(ExprKind::Repeat(Repeat { count: Box::new(count.expr), var, body }), span, below)
    }

    pub(super) fn body(&self, pair: Pair<'_, Rule>) -> Outcome<(Body, usize)> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        kids.take(Rule::lbrace)?;
        let mut lets = Vec::new();
        let mut height = 0;
        while let Some(statement) = kids.take_if(Rule::let_stmt) {
            let (statement, below) = self.let_stmt(statement)?;
            height = height.max(below);
            lets.push(statement);
        }
        let value = self.expr(kids.take(Rule::expr)?)?;
        Ok((Body { lets, value: Box::new(value.expr), span }, height.max(value.height)))
    }

    pub(super) fn arith(&self, pair: Pair<'_, Rule>) -> Result {
        let whole = self.span(&pair);
        let mut operators = Operators::default();
        let mut kids = self.kids(pair);
        while let Some(kid) = kids.any() {
            let span = self.span(&kid);
            match kid.as_rule() {
                Rule::prefix => {
                    operators.prefix(if kid.as_str() == "not" { UnaryOp::Not } else { UnaryOp::Neg }, span);
                }
                Rule::infix => {
                    operators.infix(operators::infix(kid.as_str()).ok_or_else(|| bug(span))?, span)?;
                }
                _ => operators.operand(self.operand(kid)?),
            }
        }
        operators.finish()?.ok_or_else(|| bug(whole))
    }

    fn operand(&self, pair: Pair<'_, Rule>) -> Result {
        match pair.as_rule() {
            Rule::if_expr => self.if_expr(pair),
            Rule::new_expr => self.new_expr(pair),
            Rule::postfix => self.postfix(pair),
            _ => Err(bug(self.span(&pair))),
        }
    }

    fn if_expr(&self, pair: Pair<'_, Rule>) -> Result {
        let whole = self.span(&pair);
        let mut kids = self.kids(pair);
        let mut arms = Vec::new();
        let last = loop {
            match kids.any() {
                Some(p) if p.as_rule() == Rule::kw_if => {
                    let start = self.span(&p);
                    let condition = self.expr(kids.take(Rule::expr)?)?;
                    arms.push((start, condition, self.body(kids.take(Rule::body)?)?));
                }
                Some(p) if p.as_rule() == Rule::kw_else => {
                    if kids.peek() == Some(Rule::body) {
                        break self.body(kids.take(Rule::body)?)?;
                    }
                }
                Some(_) => {}
                None => return Err(bug(whole)),
            }
        };
        if arms.len() > TREE_MAX {
            let message = format!("more than {TREE_MAX} branches of one `if`");
            return Err(Diagnostic::new(codes::E0003, whole, message));
        }
        if arms.is_empty() {
            return Err(bug(whole));
        }
        let (mut other, mut below) = last;
        for (start, condition, (body, height)) in arms.into_iter().rev() {
            let span = start.to(other.span);
            let highest = below.max(condition.height).max(height);
            let made = node(ExprKind::If(Box::new(condition.expr), body, other), span, highest)?;
            // `else if` is a branch whose value is the next `if`.
            other = Body { lets: Vec::new(), value: Box::new(made.expr), span };
            below = made.height;
        }
        Ok(Built { expr: *other.value, height: below })
    }

    fn new_expr(&self, pair: Pair<'_, Rule>) -> Result {
        let span = self.span(&pair);
        let made = self.postfix(self.kids(pair).take(Rule::postfix)?)?;
        let close = made.expr.span.after();
        match made.expr.kind {
            ExprKind::Call(call) => node(ExprKind::New(call), span, made.height),
            ExprKind::Name(_) | ExprKind::Field(..) => {
                let call = Call { callee: Box::new(made.expr), args: Vec::new(), close };
                node(ExprKind::New(call), span, made.height)
            }
            _ => Err(Diagnostic::new(
                codes::E0001,
                made.expr.span,
                "`new` makes an instance of an operation or a block",
            )
            .label("this is neither")
            .help("write a call after it: `let u = new conv(25, 7x7)`")),
        }
    }

    fn postfix(&self, pair: Pair<'_, Rule>) -> Result {
        let whole = self.span(&pair);
        let mut kids = self.kids(pair);
        let mut value = self.atom(kids.any().ok_or_else(|| bug(whole))?)?;
        while let Some(kid) = kids.any() {
            let span = value.expr.span.to(self.span(&kid));
            value = match kid.as_rule() {
                Rule::field => {
                    let name = self.ident(&self.kids(kid).take(Rule::word)?);
                    node(ExprKind::Field(Box::new(value.expr), name), span, value.height)?
                }
                Rule::index => {
                    let at = self.expr(self.kids(kid).take(Rule::expr)?)?;
                    let below = value.height.max(at.height);
                    node(ExprKind::Index(Box::new(value.expr), Box::new(at.expr)), span, below)?
                }
                Rule::call => self.call(value, kid, span)?,
                _ => return Err(bug(span)),
            };
        }
        Ok(value)
    }

    fn call(&self, callee: Built, pair: Pair<'_, Rule>, span: Span) -> Result {
        let mut below = callee.height;
        let mut args = Vec::new();
        let mut close = span.after();
        let mut kids = self.kids(pair);
        while let Some(kid) = kids.any() {
            match kid.as_rule() {
                Rule::arg => {
                    let (arg, height) = self.arg(kid)?;
                    below = below.max(height);
                    args.push(arg);
                }
                Rule::rparen => close = self.span(&kid),
                _ => {}
            }
        }
        node(ExprKind::Call(Call { callee: Box::new(callee.expr), args, close }), span, below)
    }

    fn arg(&self, pair: Pair<'_, Rule>) -> Outcome<(Arg, usize)> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let key = kids.take_if(Rule::word).map(|p| self.ident(&p));
        let value = self.expr(kids.take(Rule::expr)?)?;
        Ok((Arg { key, value: value.expr, span }, value.height))
    }

    fn atom(&self, pair: Pair<'_, Rule>) -> Result {
        let span = self.span(&pair);
        let word = pair.as_str();
        Ok(match pair.as_rule() {
            Rule::number => leaf(literal::number(word, span)?, span),
            Rule::extent => leaf(ExprKind::Extent(literal::extent(word, span)?), span),
            Rule::string => leaf(ExprKind::Str(unquote(word).into()), span),
            Rule::boolean => leaf(ExprKind::Bool(word == "true"), span),
            Rule::ident => leaf(ExprKind::Name(word.into()), span),
            Rule::paren => self.paren(pair)?,
            Rule::bracket => self.bracket(pair)?,
            _ => return Err(bug(span)),
        })
    }

    /// `(a)` is `a`, whose span then holds the parentheses; `(a, b)` is a tuple.
    fn paren(&self, pair: Pair<'_, Rule>) -> Result {
        let span = self.span(&pair);
        let (mut items, below) = self.items(pair)?;
        match items.pop() {
            None => Err(bug(span)),
            Some(only) if items.is_empty() => Ok(Built { expr: Expr { span, ..only }, height: below }),
            Some(last) => {
                items.push(last);
                node(ExprKind::Tuple(items), span, below)
            }
        }
    }

    /// The expressions among the children of a pair, and the height of the highest.
    fn items(&self, pair: Pair<'_, Rule>) -> Outcome<(Vec<Expr>, usize)> {
        let mut below = 0;
        let mut items = Vec::new();
        for kid in self.kids(pair).all(Rule::expr) {
            let item = self.expr(kid)?;
            below = below.max(item.height);
            items.push(item.expr);
        }
        Ok((items, below))
    }

    fn bracket(&self, pair: Pair<'_, Rule>) -> Result {
        let span = self.span(&pair);
        if pair.clone().into_inner().any(|p| p.as_rule() == Rule::axis) {
            let (shape, below) = self.shape(pair)?;
            return node(ExprKind::Shape(shape), span, below);
        }
        let (items, below) = self.items(pair)?;
        node(ExprKind::List(items), span, below)
    }

    pub(super) fn shape(&self, pair: Pair<'_, Rule>) -> Outcome<(ShapeLit, usize)> {
        let span = self.span(&pair);
        let mut below = 0;
        let mut axes = Vec::new();
        for axis in self.kids(pair).all(Rule::axis) {
            let mut kids = self.kids(axis);
            let name = self.ident(&kids.take(Rule::word)?);
            let extent = self.expr(kids.take(Rule::expr)?)?;
            below = below.max(extent.height);
            axes.push((name, extent.expr));
        }
        Ok((ShapeLit { axes, span }, below))
    }
}
