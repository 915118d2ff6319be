//! Pairs of the grammar to items of the syntax tree: one function per grammar rule, of the same name.
//! A pair that the grammar cannot give is reported as a bug of the parser, never a panic.

use pest::iterators::{Pair, Pairs};

use super::literal;
use super::patch::Piece;
use super::syntax::Rule;
use crate::ast::{
    Block, Body, Budget, Const, File, Ident, Item, Let, Net, Settings, ShapeLit, StaticParam, Table,
    TableBody, TableRow, Test, TestStep, Use,
};
use crate::support::codes;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;

/// What building can say: the tree, or one message.
pub(super) type Built<T> = Result<T, Diagnostic>;

/// Builds the tree of one piece of text.
pub(super) struct Builder<'p> {
    /// The text the pairs stand in, and its place in the file.
    pub piece: &'p Piece,
}

/// The children of a pair, taken one by one; keywords and signs are passed over by [`Kids::take`].
pub(super) struct Kids<'i> {
    pairs: Pairs<'i, Rule>,
    whole: Span,
}

impl<'i> Kids<'i> {
    /// The next child of rule `rule`; children before it are passed over.
    pub(super) fn take(&mut self, rule: Rule) -> Built<Pair<'i, Rule>> {
        self.pairs.by_ref().find(|p| p.as_rule() == rule).ok_or_else(|| bug(self.whole))
    }

    /// The next child if it is of rule `rule`.
    pub(super) fn take_if(&mut self, rule: Rule) -> Option<Pair<'i, Rule>> {
        if self.pairs.peek().is_some_and(|p| p.as_rule() == rule) { self.pairs.next() } else { None }
    }

    /// All further children of rule `rule`, others passed over.
    pub(super) fn all(self, rule: Rule) -> impl Iterator<Item = Pair<'i, Rule>> {
        self.pairs.filter(move |p| p.as_rule() == rule)
    }

    /// The next child, whatever it is.
    pub(super) fn any(&mut self) -> Option<Pair<'i, Rule>> {
        self.pairs.next()
    }

    /// The next child, left where it is.
    pub(super) fn peek(&self) -> Option<Rule> {
        self.pairs.peek().map(|p| p.as_rule())
    }
}

/// What cannot happen: the grammar and this file disagree.
pub(super) fn bug(span: Span) -> Diagnostic {
    Diagnostic::new(codes::E0001, span, "the parser does not understand its own grammar here")
        .help("this is a bug in cnnc; please report it with this text")
}

impl<'p> Builder<'p> {
    pub(super) fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let span = pair.as_span();
        // A rule that ends with something optional may have run over white space to look for it.
        let len = span.as_str().trim_end().len();
        self.piece.span(span.start(), span.start() + len)
    }

    pub(super) fn kids<'i>(&self, pair: Pair<'i, Rule>) -> Kids<'i> {
        let whole = self.span(&pair);
        Kids { pairs: pair.into_inner(), whole }
    }

    pub(super) fn ident(&self, pair: &Pair<'_, Rule>) -> Ident {
        Ident { name: pair.as_str().into(), span: self.span(pair) }
    }

    /// One item.
    pub(super) fn item(&self, pair: Pair<'_, Rule>, file: &mut File) -> Built<()> {
        let item = match pair.as_rule() {
            Rule::use_item => Item::Use(self.use_item(pair)?),
            Rule::const_item => Item::Const(self.const_item(pair)?),
            Rule::table_item => Item::Table(self.table_item(pair)?),
            Rule::block_item => Item::Block(self.block_item(pair)?),
            Rule::net_item => Item::Net(self.net_item(pair)?),
            Rule::train_item => Item::Train(self.train_item(pair)?),
            Rule::test_item => Item::Test(self.test_item(pair)?),
            Rule::budget_item => Item::Budget(self.budget_item(pair)?),
            _ => return Err(bug(self.span(&pair))),
        };
        file.items.push(item);
        Ok(())
    }

    fn use_item(&self, pair: Pair<'_, Rule>) -> Built<Use> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        kids.take(Rule::kw_use)?;
        let path = kids.any().ok_or_else(|| bug(span))?;
        let text = if path.as_rule() == Rule::string { unquote(path.as_str()) } else { path.as_str() };
        let alias = kids.all(Rule::ident).next().map(|p| self.ident(&p));
        Ok(Use { path: text.into(), path_span: self.span(&path), alias, span })
    }

    fn const_item(&self, pair: Pair<'_, Rule>) -> Built<Const> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let name = self.ident(&kids.take(Rule::ident)?);
        let value = self.expr(kids.take(Rule::expr)?)?.expr;
        Ok(Const { name, value, span })
    }

    fn table_item(&self, pair: Pair<'_, Rule>) -> Built<Table> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let name = self.ident(&kids.take(Rule::ident)?);
        let inputs = self.arith(kids.take(Rule::arith)?)?.expr;
        let outputs = self.arith(kids.take(Rule::arith)?)?.expr;
        kids.take(Rule::lbrace)?;
        let body = if let Some(condition) = kids.take_if(Rule::condition) {
            self.condition(condition)?
        } else {
            TableBody::Rows(kids.all(Rule::row).map(|row| self.row(row)).collect::<Built<_>>()?)
        };
        Ok(Table { name, inputs, outputs, body, span })
    }

    fn condition(&self, pair: Pair<'_, Rule>) -> Built<TableBody> {
        let mut kids = self.kids(pair);
        let input = self.ident(&kids.take(Rule::ident)?);
        let output = self.ident(&kids.take(Rule::ident)?);
        let condition = self.expr(kids.take(Rule::expr)?)?.expr;
        Ok(TableBody::Condition { input, output, condition })
    }

    fn row(&self, pair: Pair<'_, Rule>) -> Built<TableRow> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let output = self.int(&kids.take(Rule::int)?)?;
        kids.take(Rule::colon)?;
        if kids.take_if(Rule::star).is_some() {
            return Ok(TableRow { output, inputs: None, span });
        }
        let inputs = kids
            .all(Rule::entry)
            .map(|entry| self.int(&self.kids(entry).take(Rule::int)?))
            .collect::<Built<Vec<_>>>()?;
        Ok(TableRow { output, inputs: Some(inputs), span })
    }

    pub(super) fn int(&self, pair: &Pair<'_, Rule>) -> Built<(i64, Span)> {
        let span = self.span(pair);
        Ok((literal::int(pair.as_str(), span)?, span))
    }

    fn block_item(&self, pair: Pair<'_, Rule>) -> Built<Block> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let name = self.ident(&kids.take(Rule::ident)?);
        let mut block =
            Block { name, tensors: Vec::new(), statics: Vec::new(), body: self.no_body(span), span };
        while let Some(kid) = kids.any() {
            match kid.as_rule() {
                Rule::ident => block.tensors.push(self.ident(&kid)),
                Rule::static_param => block.statics.push(self.static_param(kid)?),
                Rule::body => block.body = self.body(kid)?.0,
                _ => {}
            }
        }
        Ok(block)
    }

    /// Stands in a structure until the body that the grammar demands is built.
    fn no_body(&self, span: Span) -> Body {
        let value = crate::ast::Expr { kind: crate::ast::ExprKind::Bool(false), span };
        Body { lets: Vec::new(), value: Box::new(value), span }
    }

    fn static_param(&self, pair: Pair<'_, Rule>) -> Built<StaticParam> {
        let mut kids = self.kids(pair);
        let name = self.ident(&kids.take(Rule::ident)?);
        let ty = self.ident(&kids.take(Rule::word)?);
        let default = kids.all(Rule::expr).next().map(|e| self.expr(e)).transpose()?.map(|b| b.expr);
        Ok(StaticParam { name, ty, default })
    }

    fn net_item(&self, pair: Pair<'_, Rule>) -> Built<Net> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let name = self.ident(&kids.take(Rule::ident)?);
        let mut net = Net { name, inputs: Vec::new(), outputs: Vec::new(), body: self.no_body(span), span };
        while let Some(kid) = kids.any() {
            match kid.as_rule() {
                Rule::port => net.inputs.push(self.port(kid)?),
                Rule::outputs => net.outputs = self.outputs(kid)?,
                Rule::body => net.body = self.body(kid)?.0,
                _ => {}
            }
        }
        Ok(net)
    }

    fn port(&self, pair: Pair<'_, Rule>) -> Built<(Ident, ShapeLit)> {
        let mut kids = self.kids(pair);
        let name = self.ident(&kids.take(Rule::ident)?);
        Ok((name, self.shape(kids.take(Rule::shape)?)?.0))
    }

    fn outputs(&self, pair: Pair<'_, Rule>) -> Built<Vec<(Option<Ident>, ShapeLit)>> {
        let mut all = Vec::new();
        let mut kids = self.kids(pair);
        while let Some(kid) = kids.any() {
            match kid.as_rule() {
                Rule::shape => all.push((None, self.shape(kid)?.0)),
                Rule::port => {
                    let (name, shape) = self.port(kid)?;
                    all.push((Some(name), shape));
                }
                _ => {}
            }
        }
        Ok(all)
    }

    fn train_item(&self, pair: Pair<'_, Rule>) -> Built<Settings> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let net = self.ident(&kids.take(Rule::ident)?);
        let entries = kids.all(Rule::setting).map(|s| self.setting(s)).collect::<Built<_>>()?;
        Ok(Settings { net, entries, span })
    }

    fn setting(&self, pair: Pair<'_, Rule>) -> Built<(Ident, crate::ast::Expr)> {
        let mut kids = self.kids(pair);
        let key = self.ident(&kids.take(Rule::word)?);
        Ok((key, self.expr(kids.take(Rule::expr)?)?.expr))
    }

    fn test_item(&self, pair: Pair<'_, Rule>) -> Built<Test> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let title = kids.take(Rule::string)?;
        let mut steps = Vec::new();
        while let Some(kid) = kids.any() {
            match kid.as_rule() {
                Rule::assert => {
                    steps.push(TestStep::Assert(self.expr(self.kids(kid).take(Rule::expr)?)?.expr))
                }
                Rule::gradcheck => {
                    steps.push(TestStep::Gradcheck(self.ident(&self.kids(kid).take(Rule::ident)?)));
                }
                _ => {}
            }
        }
        Ok(Test { title: unquote(title.as_str()).into(), steps, span })
    }

    fn budget_item(&self, pair: Pair<'_, Rule>) -> Built<Budget> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let net = self.ident(&kids.take(Rule::ident)?);
        let limits = kids.all(Rule::expr).map(|e| self.expr(e).map(|b| b.expr)).collect::<Built<_>>()?;
        Ok(Budget { net, limits, span })
    }

    pub(super) fn let_stmt(&self, pair: Pair<'_, Rule>) -> Built<(Let, usize)> {
        let span = self.span(&pair);
        let mut kids = self.kids(pair);
        let name = self.ident(&kids.take(Rule::ident)?);
        let value = self.expr(kids.take(Rule::expr)?)?;
        Ok((Let { name, value: value.expr, span }, value.height))
    }
}

/// The text between the quotes.
pub(super) fn unquote(word: &str) -> &str {
    word.strip_prefix('"').and_then(|w| w.strip_suffix('"')).unwrap_or(word)
}
