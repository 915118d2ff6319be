//! Reads a graph as [`super::print`] writes it. Out: a graph whose ids and lists are well-formed; that types agree with the
//! shape rules is [`super::verify`]'s business. No input makes it panic.

use std::sync::Arc;

use super::lex::{Token, lex};
use super::{Def, Graph, Port, Update, Value, ValueId};
use crate::ops::Op;
use crate::ops::args::{Attr, Attrs};
use crate::ops::init::{Gabor, Init};
use crate::support::Name;
use crate::support::span::{FileId, Span};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// What is wrong with the text of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The 1-based line.
    pub line: usize,
    /// One sentence.
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// The graph that prints as `text`.
///
/// # Errors
/// [`ParseError`] for the first thing that cannot be read.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut p = Parser { tokens: lex(text)?, at: 0, graph: Graph::default() };
    match p.graph() {
        Ok(()) => Ok(p.graph),
        Err(message) => Err(ParseError { line: p.line(), message }),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    graph: Graph,
}

impl Parser {
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.0)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.1)
    }

    fn bump(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|t| t.1.clone());
        self.at += usize::from(token.is_some());
        token
    }

    fn eat(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: char) -> Result<(), String> {
        if self.eat(sign) { Ok(()) } else { Err(format!("expected `{sign}`")) }
    }

    fn word(&mut self) -> Result<String, String> {
        match self.bump() {
            Some(Token::Word(w)) => Ok(w),
            _ => Err("expected a word".into()),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.bump() {
            Some(Token::Text(t)) => Ok(t),
            _ => Err("expected a text in quotes".into()),
        }
    }

    fn size(&mut self) -> Result<usize, String> {
        match self.bump() {
            Some(Token::Int(i)) => {
                usize::try_from(i).map_err(|_| "expected a size, not a negative number".into())
            }
            _ => Err("expected a size".into()),
        }
    }

    fn float(&mut self) -> Result<f32, String> {
        match self.bump() {
            Some(Token::Float(x)) => Ok(x),
            Some(Token::Word(w)) if w == "inf" => Ok(f32::INFINITY),
            Some(Token::Word(w)) if w == "NaN" => Ok(f32::NAN),
            _ => Err("expected a number with a point".into()),
        }
    }

    /// A value that was defined before.
    fn value(&mut self) -> Result<ValueId, String> {
        let word = self.word()?;
        let id = id_of(&word).ok_or_else(|| format!("`{word}` is no value"))?;
        if id.index() < self.graph.values.len() { Ok(id) } else { Err(format!("{id} is not defined before")) }
    }

    /// `[item, …]`
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        self.sign('[')?;
        self.until(']', item)
    }

    /// Items with commas between, up to and with `close`.
    fn until<T>(
        &mut self,
        close: char,
        item: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut out = Vec::new();
        if self.eat(close) {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.eat(close) {
                return Ok(out);
            }
            self.sign(',')?;
        }
    }

    fn graph(&mut self) -> Result<(), String> {
        if self.word()? != "graph" {
            return Err("a graph begins with `graph \"name\"`".into());
        }
        self.graph.name = self.text()?;
        while self.peek().is_some() {
            let word = self.word()?;
            match word.as_str() {
                "in" => {
                    let port = self.port()?;
                    self.graph.inputs.push(port);
                }
                "out" => {
                    let port = self.port()?;
                    self.graph.outputs.push(port);
                }
                "update" => {
                    let update = Update { param: self.value()?, value: self.value()? };
                    self.graph.updates.push(update);
                }
                "commit" => self.graph.commit = Some(self.size()?),
                _ => self.definition(&word)?,
            }
        }
        Ok(())
    }

    fn port(&mut self) -> Result<Port, String> {
        let name = Name::from(self.text()?);
        let value = self.value()?;
        Ok(Port { name, value, order: self.list(Self::size)? })
    }

    fn definition(&mut self, word: &str) -> Result<(), String> {
        let expected = ValueId(self.graph.values.len() as u32);
        if id_of(word) != Some(expected) {
            return Err(format!("expected the definition of {expected}, not `{word}`"));
        }
        self.sign('=')?;
        let kind = self.word()?;
        let def = self.def(&kind)?;
        self.sign(':')?;
        let axes = self.list(|p| {
            let name = p.word()?;
            p.sign(':')?;
            Ok((name, p.size()?))
        })?;
        let ty = TensorTy::new(axes).map_err(|_| "a tensor too large".to_owned())?;
        let name = self.text()?;
        let mut value = Value { def, ty, name, span: None, group: None, layout: None };
        while self.eat('@') {
            self.mark(&mut value)?;
        }
        self.graph.values.push(value);
        Ok(())
    }

    fn def(&mut self, kind: &str) -> Result<Def, String> {
        match kind {
            "input" => {
                self.sign('(')?;
                let i = self.size()?;
                self.sign(')')?;
                Ok(Def::Input(i))
            }
            "param" => {
                self.sign('(')?;
                let init = self.init()?;
                self.sign(',')?;
                let trainable = match self.word()?.as_str() {
                    "train" => true,
                    "keep" => false,
                    other => return Err(format!("expected `train` or `keep`, not `{other}`")),
                };
                self.sign(')')?;
                Ok(Def::Param { init, trainable })
            }
            "const" => Ok(Def::Const(Arc::new(self.list(Self::float)?))),
            _ => self.op(kind),
        }
    }

    fn op(&mut self, kind: &str) -> Result<Def, String> {
        self.sign('(')?;
        let attrs = self.until(')', |p| {
            let name = p.word()?;
            p.sign('=')?;
            Ok((name, p.attr()?))
        })?;
        let op = Op::parse(kind, &Attrs(attrs))?;
        let mut inputs = Vec::new();
        while self.peek() != Some(&Token::Sign(':')) {
            if !inputs.is_empty() {
                self.sign(',')?;
            }
            inputs.push(self.value()?);
        }
        Ok(Def::Op { op, inputs })
    }

    fn attr(&mut self) -> Result<Attr, String> {
        match self.bump() {
            Some(Token::Int(i)) => Ok(Attr::Int(i)),
            Some(Token::Float(x)) => Ok(Attr::Float(x)),
            Some(Token::Word(w)) => Ok(match w.as_str() {
                "true" => Attr::Bool(true),
                "false" => Attr::Bool(false),
                "inf" => Attr::Float(f32::INFINITY),
                "NaN" => Attr::Float(f32::NAN),
                _ => Attr::Word(w),
            }),
            Some(Token::Sign('[')) => self.attr_list(),
            _ => Err("expected the value of an attribute".into()),
        }
    }

    fn attr_list(&mut self) -> Result<Attr, String> {
        if self.eat(';') {
            self.sign(']')?;
            return Ok(Attr::Lists(Vec::new()));
        }
        let int = |p: &mut Self| match p.bump() {
            Some(Token::Int(i)) => Ok(i),
            _ => Err("expected an integer".to_owned()),
        };
        if self.peek() == Some(&Token::Sign('[')) {
            return Ok(Attr::Lists(self.until(']', |p| p.list(int))?));
        }
        Ok(Attr::Ints(self.until(']', int)?))
    }

    fn init(&mut self) -> Result<Init, String> {
        let kind = self.word()?;
        match kind.as_str() {
            "identity" => return Ok(Init::Identity),
            "bilinear" => return Ok(Init::Bilinear),
            "values" => return Ok(Init::Values(Arc::new(self.list(Self::float)?))),
            _ => {}
        }
        self.sign('(')?;
        let init = match kind.as_str() {
            "he" => Init::He { fan_in: self.size()? },
            "lecun" => Init::Lecun { fan_in: self.size()? },
            "glorot" => {
                let fan_in = self.size()?;
                self.sign(',')?;
                Init::Glorot { fan_in, fan_out: self.size()? }
            }
            "constant" => Init::Constant(self.float()?),
            "normal" => {
                let mean = self.float()?;
                self.sign(',')?;
                Init::Normal { mean, std: self.float()? }
            }
            "uniform" => {
                let lo = self.float()?;
                self.sign(',')?;
                Init::Uniform { lo, hi: self.float()? }
            }
            "gabor" => Init::Gabor(self.gabor()?),
            other => return Err(format!("no start of weights is called `{other}`")),
        };
        self.sign(')')?;
        Ok(init)
    }

    fn gabor(&mut self) -> Result<Gabor, String> {
        let orientations = self.size()?;
        self.sign(',')?;
        let phases = self.size()?;
        let mut rest = [0.0; 3];
        for x in &mut rest {
            self.sign(',')?;
            *x = self.float()?;
        }
        let [frequency, sigma, aspect] = rest;
        Ok(Gabor { orientations, phases, frequency, sigma, aspect })
    }

    /// `group(v3)`, `layout([order], [halos])` or `span(file, start, end)`.
    fn mark(&mut self, value: &mut Value) -> Result<(), String> {
        let kind = self.word()?;
        self.sign('(')?;
        match kind.as_str() {
            "group" => value.group = Some(self.value()?),
            "layout" => {
                let order = self.list(Self::size)?;
                self.sign(',')?;
                let flat = self.list(Self::size)?;
                let block = if self.eat(',') { Some(self.size()?) } else { None };
                let halo: Vec<(usize, usize)> = flat.chunks_exact(2).map(|h| (h[0], h[1])).collect();
                value.layout = Some(Layout { order, halo, block });
            }
            "span" => {
                let mut n = [0u32; 3];
                for (i, n) in n.iter_mut().enumerate() {
                    if i > 0 {
                        self.sign(',')?;
                    }
                    *n = u32::try_from(self.size()?).map_err(|_| "a place too far".to_owned())?;
                }
                value.span = Some(Span { file: FileId(n[0]), start: n[1], end: n[2] });
            }
            other => return Err(format!("no mark is called `@{other}`")),
        }
        self.sign(')')
    }
}

/// `v12` as an id.
fn id_of(word: &str) -> Option<ValueId> {
    word.strip_prefix('v')?.parse().ok().map(ValueId)
}
