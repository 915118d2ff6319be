//! Precedence: a flat run of operands and operators becomes a tree. Loosest first: `or`, `and`, `not`, comparisons (which do
//! not chain), `+ -`, `* / // %`, unary `-`, `^` (to the right). Works with stacks, so that no input makes it recurse.

use super::TREE_MAX;
use crate::ast::{BinaryOp, Expr, ExprKind, UnaryOp};
use crate::support::codes;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;

/// An expression and the height of its tree.
pub(super) struct Built {
    /// The expression.
    pub expr: Expr,
    /// How many nodes lie between its root and its farthest leaf, both counted.
    pub height: usize,
}

/// An operator that waits for its right operand.
enum Waiting {
    Prefix(UnaryOp, Span),
    Infix(BinaryOp, Span),
}

impl Waiting {
    fn precedence(&self) -> u8 {
        match self {
            Self::Prefix(UnaryOp::Not, _) => 3,
            Self::Prefix(UnaryOp::Neg, _) => 7,
            Self::Infix(op, _) => precedence(*op),
        }
    }
}

/// How tightly an operator binds.
pub(super) fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And => 2,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => 4,
        BinaryOp::Add | BinaryOp::Sub => 5,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod => 6,
        BinaryOp::Pow => 8,
    }
}

/// The operator that is written so.
pub(super) fn infix(sign: &str) -> Option<BinaryOp> {
    use BinaryOp::{Add, And, Div, Eq, FloorDiv, Ge, Gt, Le, Lt, Mod, Mul, Ne, Or, Pow, Sub};
    [Add, Sub, Mul, Div, FloorDiv, Mod, Pow, Eq, Ne, Lt, Le, Gt, Ge, And, Or]
        .into_iter()
        .find(|op| op.sign() == sign)
}

/// Sorts operands and operators as they come.
#[derive(Default)]
pub(super) struct Operators {
    values: Vec<Built>,
    waiting: Vec<Waiting>,
}

impl Operators {
    /// `-` or `not` before an operand.
    pub(super) fn prefix(&mut self, op: UnaryOp, span: Span) {
        self.waiting.push(Waiting::Prefix(op, span));
    }

    /// An operand.
    pub(super) fn operand(&mut self, value: Built) {
        self.values.push(value);
    }

    /// An operator between operands.
    pub(super) fn infix(&mut self, op: BinaryOp, span: Span) -> Result<(), Diagnostic> {
        let mine = precedence(op);
        while let Some(top) = self.waiting.last() {
            let theirs = top.precedence();
            if theirs < mine || (theirs == mine && op == BinaryOp::Pow) {
                break;
            }
            if let Waiting::Infix(first, at) = top
                && theirs == mine
                && mine == 4
            {
                return Err(self.chained(*first, *at, op, span));
            }
            self.reduce()?;
        }
        self.waiting.push(Waiting::Infix(op, span));
        Ok(())
    }

    /// The whole expression; `None` cannot happen after an operand was given.
    pub(super) fn finish(mut self) -> Result<Option<Built>, Diagnostic> {
        while !self.waiting.is_empty() {
            self.reduce()?;
        }
        Ok(self.values.pop())
    }

    fn reduce(&mut self) -> Result<(), Diagnostic> {
        let (Some(op), Some(right)) = (self.waiting.pop(), self.values.pop()) else { return Ok(()) };
        let built = match op {
            Waiting::Prefix(op, at) => {
                let span = at.to(right.expr.span);
                Built {
                    height: right.height + 1,
                    expr: Expr { kind: ExprKind::Unary(op, Box::new(right.expr)), span },
                }
            }
            Waiting::Infix(op, _) => {
                let Some(left) = self.values.pop() else { return Ok(()) };
                let span = left.expr.span.to(right.expr.span);
                let height = left.height.max(right.height) + 1;
                let kind = ExprKind::Binary(op, Box::new(left.expr), Box::new(right.expr));
                Built { height, expr: Expr { kind, span } }
            }
        };
        check_height(&built)?;
        self.values.push(built);
        Ok(())
    }

    fn chained(&self, first: BinaryOp, at: Span, second: BinaryOp, span: Span) -> Diagnostic {
        Diagnostic::new(codes::E0001, span, "comparisons do not chain")
            .label("a second comparison")
            .also(at, "the first one")
            .help(format!("write `a {} b and b {} c`", first.sign(), second.sign()))
    }
}

/// Refuses a tree higher than recursion over it may go.
pub(super) fn check_height(built: &Built) -> Result<(), Diagnostic> {
    if built.height <= TREE_MAX {
        return Ok(());
    }
    let message = format!("an expression of more than {TREE_MAX} operators or stages in a row");
    Err(Diagnostic::new(codes::E0003, built.expr.span, message).help("name its parts with `let`"))
}
