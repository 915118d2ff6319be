//! The syntax tree of a `.cnn` file: what `parse` makes and `resolve` reads. Spans everywhere, meaning nowhere.
//!
//! The grammar knows no operation: `conv(6, 5x5)` is a [`Call`] like any other.

use crate::support::Name;
use crate::support::span::Span;

/// A name with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The text.
    pub name: Name,
    /// Where it stands.
    pub span: Span,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct File {
    /// Its items in the order they stand.
    pub items: Vec<Item>,
    /// Names of items that did not parse: they were reported, and uses of them need no further message.
    pub broken: Vec<Name>,
}

/// An item at the top level of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `use "file.cnn" as name`
    Use(Use),
    /// `const K = 10`
    Const(Const),
    /// `table C3: 6 -> 16 { … }`
    Table(Table),
    /// `block residual(x; k: int) { … }`
    Block(Block),
    /// `net LeNet5(image: [c: 1, h: 32, w: 32]) -> [c: 10] { … }`
    Net(Net),
    /// `train LeNet5 { … }`
    Train(Settings),
    /// `test "name" { … }`
    Test(Test),
    /// `budget LeNet5 { params <= 62k … }`
    Budget(Budget),
}

/// `use "file.cnn" [as name]`; `use std` too.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The path as written, without quotes.
    pub path: Name,
    /// Where the path stands.
    pub path_span: Span,
    /// The local name, if given.
    pub alias: Option<Ident>,
    /// The whole item.
    pub span: Span,
}

/// `const NAME = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    /// Its name.
    pub name: Ident,
    /// Its value, an expression over static values.
    pub value: Expr,
    /// The whole item.
    pub span: Span,
}

/// A table of links between channels: rows of input maps for each output map, or a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: Ident,
    /// Number of input maps.
    pub inputs: Expr,
    /// Number of output maps.
    pub outputs: Expr,
    /// What is linked.
    pub body: TableBody,
    /// The whole item.
    pub span: Span,
}

/// How a table says what is linked.
#[derive(Clone, Debug, PartialEq)]
pub enum TableBody {
    /// `0: 0 1 2   1: 1 2 3   15: *`
    Rows(Vec<TableRow>),
    /// `i, o if (i + o) % 2 == 0`: input `i` feeds output `o` where the condition holds.
    Condition {
        /// The name of the input map's index.
        input: Ident,
        /// The name of the output map's index.
        output: Ident,
        /// The condition, static.
        condition: Expr,
    },
}

/// `3: 3 4 5` or `15: *`
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// The output map.
    pub output: (i64, Span),
    /// The input maps that feed it; `None` is `*`, all of them.
    pub inputs: Option<Vec<(i64, Span)>>,
    /// The whole row.
    pub span: Span,
}

/// `block name(x, y; k: int, s: int = 1) { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its name.
    pub name: Ident,
    /// Tensor parameters, before the `;`.
    pub tensors: Vec<Ident>,
    /// Compile-time parameters, after it.
    pub statics: Vec<StaticParam>,
    /// What it does.
    pub body: Body,
    /// The whole item.
    pub span: Span,
}

/// `k: int = 1`
#[derive(Clone, Debug, PartialEq)]
pub struct StaticParam {
    /// Its name.
    pub name: Ident,
    /// `int float bool str extent list table pad any`: checked by `resolve`.
    pub ty: Ident,
    /// The value when none is given.
    pub default: Option<Expr>,
}

/// `net Name(image: [c: 1, h: 32, w: 32]) -> [c: 10] { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Its name.
    pub name: Ident,
    /// Inputs with their shapes.
    pub inputs: Vec<(Ident, ShapeLit)>,
    /// One unnamed output, or several named ones; empty when not declared.
    pub outputs: Vec<(Option<Ident>, ShapeLit)>,
    /// What it does.
    pub body: Body,
    /// The whole item.
    pub span: Span,
}

/// `[c: 3, h: S // 32, w: 256]`
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeLit {
    /// Axes as written.
    pub axes: Vec<(Ident, Expr)>,
    /// The brackets and all between.
    pub span: Span,
}

/// `{ let …; expr }`: statements, then the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// `let` statements in order.
    pub lets: Vec<Let>,
    /// The value.
    pub value: Box<Expr>,
    /// The braces and all between.
    pub span: Span,
}

/// `let name = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// The name.
    pub name: Ident,
    /// The value.
    pub value: Expr,
    /// The whole statement.
    pub span: Span,
}

/// An expression, static or of tensors; which one is found by `resolve`.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `62k`, `3M`, `64KiB`: the value, suffix applied.
    Int(i64),
    /// `0.05`, `5e-4`
    Float(f64),
    /// `true`, `false`
    Bool(bool),
    /// `"text"`
    Str(Name),
    /// `3x3` (a lone `5` is an `Int`)
    Extent(Vec<i64>),
    /// `[k, k + 1]`
    List(Vec<Expr>),
    /// `[c: 3, h: 8]` as a value
    Shape(ShapeLit),
    /// `(x, y)`, two or more
    Tuple(Vec<Expr>),
    /// A name, `it` included
    Name(Name),
    /// `x.c`, `std.residual`, `LeNet5.c3`
    Field(Box<Expr>, Ident),
    /// `y[0]`
    Index(Box<Expr>, Box<Expr>),
    /// `f(a, key: b)`
    Call(Call),
    /// `new f(…)`
    New(Call),
    /// `x |> stage`
    Pipe(Box<Expr>, Box<Expr>),
    /// `x |> … as name` (binds tighter than the next `|>`)
    As(Box<Expr>, Ident),
    /// `x |> is [c: 1]`: the right side of a pipe
    Is(ShapeLit),
    /// `repeat n as i { … }`: the right side of a pipe
    Repeat(Repeat),
    /// `{ … it … }`: the right side of a pipe, or a branch
    Block(Body),
    /// `if c { a } else { b }`
    If(Box<Expr>, Body, Body),
    /// `-x`, `not x`
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
}

/// `callee(args)`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// A name or a path `module.name`.
    pub callee: Box<Expr>,
    /// Arguments in the order they stand.
    pub args: Vec<Arg>,
    /// The closing parenthesis, before which an argument may be inserted.
    pub close: Span,
}

/// `value` or `key: value`
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// The key, if named.
    pub key: Option<Ident>,
    /// The value.
    pub value: Expr,
    /// The whole argument.
    pub span: Span,
}

/// `repeat n as i { body }`
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat {
    /// How often, static.
    pub count: Box<Expr>,
    /// The name of the turn's number.
    pub var: Option<Ident>,
    /// What is done to `it`.
    pub body: Body,
}

/// Operators with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-x`
    Neg,
    /// `not x`
    Not,
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own sign")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

impl BinaryOp {
    /// The sign as written.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "//",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::And => "and",
            Self::Or => "or",
        }
    }
}

/// `train Net { key value … }`: each setting is a key and one expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The net it is about.
    pub net: Ident,
    /// `key value`, in order.
    pub entries: Vec<(Ident, Expr)>,
    /// The whole item.
    pub span: Span,
}

/// `test "name" { assert … gradcheck Net }`
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its title.
    pub title: Name,
    /// What it asks.
    pub steps: Vec<TestStep>,
    /// The whole item.
    pub span: Span,
}

/// One line of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum TestStep {
    /// `assert a == b`
    Assert(Expr),
    /// `gradcheck Net`
    Gradcheck(Ident),
}

/// `budget Net { params <= 62k … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// The net it is about.
    pub net: Ident,
    /// Comparisons over the facts of the net.
    pub limits: Vec<Expr>,
    /// The whole item.
    pub span: Span,
}
