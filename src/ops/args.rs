//! Static arguments: as a call hands them over ([`CallArgs`]), and as a printed graph writes attributes ([`Attrs`]).

use std::sync::Arc;

use super::Op;
use crate::support::Name;
use crate::tensor::ty::TensorTy;

/// A static value that an operation receives.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgValue {
    /// `3`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `true`
    Bool(bool),
    /// `"text"`
    Str(Name),
    /// A word that is no name in scope: `same`, `global`, `none`.
    Word(Name),
    /// `3x3`
    Extent(Vec<i64>),
    /// `[1, 2]`, `[[0, 1], [1, 1]]`
    List(Vec<ArgValue>),
    /// `tile(2x2)`, `gabor(orientations: 8)`
    Call(Name, Vec<(Option<Name>, ArgValue)>),
    /// A table item.
    Table(Arc<Links>),
    /// A layer named by `as`.
    Layer(Arc<Layer>),
    /// `[c: 2, h: 8]`
    Shape(Vec<(Name, i64)>),
}

/// Which input channel feeds which output channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Links {
    /// Number of input channels.
    pub inputs: usize,
    /// For each output channel its input channels, ascending, without repetition.
    pub rows: Vec<Vec<u32>>,
}

/// A layer that another one refers to (`of: c1`).
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name in the source.
    pub name: Name,
    /// What it does.
    pub op: Op,
    /// The type of its first activation input.
    pub input: TensorTy,
    /// The type of its output.
    pub output: TensorTy,
}

/// What may be written for an argument. The resolver turns words into [`ArgValue::Word`] only where listed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgTy {
    /// An integer.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// An integer, an extent, or a list of integers: one value per grid axis.
    Extent,
    /// As [`ArgTy::Extent`], or one of these words: `global`.
    Window(&'static [&'static str]),
    /// `valid`, `same`, `same_lo`, `full`, an integer, `[p, q]`, or `[[lo, hi], …]`.
    Pad,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number or (nested) lists of numbers.
    Numbers,
    /// The name of a table.
    Table,
    /// The name of a layer.
    Layer,
    /// `all`, `none`, or `tile(2x2)`.
    Share,
    /// A start of weights: `he`, `normal(std: 0.01)`, `gabor(…)`.
    Init,
    /// A shape `[c: 2, h: 8]`.
    Shape,
    /// The name of an axis.
    Axis,
}

impl ArgTy {
    /// Words that may stand for a value without being names in scope.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Window(words) | Self::Word(words) => words,
            Self::Pad => &["valid", "same", "same_lo", "full"],
            Self::Share => &["all", "none", "tile"],
            Self::Init => super::init::WORDS,
            Self::Int
            | Self::Float
            | Self::Bool
            | Self::Extent
            | Self::Numbers
            | Self::Table
            | Self::Layer
            | Self::Shape
            | Self::Axis => &[],
        }
    }

    /// What a message says is expected.
    pub fn describe(self) -> String {
        match self {
            Self::Int => "an integer".into(),
            Self::Float => "a number".into(),
            Self::Bool => "`true` or `false`".into(),
            Self::Extent => "an integer, an extent such as `3x3`, or a list such as `[3, k]`".into(),
            Self::Window(words) => {
                format!("an integer, an extent such as `3x3`, a list, or {}", one_of(words))
            }
            Self::Pad => {
                "`valid`, `same`, `same_lo`, `full`, an integer, `[p, q]`, or `[[lo, hi], …]`".into()
            }
            Self::Word(words) => one_of(words),
            Self::Numbers => "a number or a list of numbers".into(),
            Self::Table => "the name of a `table`".into(),
            Self::Layer => "the name of a layer (given with `as`)".into(),
            Self::Share => "`all`, `none`, or `tile(2x2)`".into(),
            Self::Init => format!("{}, with arguments in parentheses", one_of(super::init::WORDS)),
            Self::Shape => "a shape such as `[c: 2, h: 8, w: 8]`".into(),
            Self::Axis => "the name of an axis".into(),
        }
    }
}

/// `` `a`, `b` or `c` ``
pub fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// The static arguments of one call: every name is one of the operation's, every value fits its [`ArgTy`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallArgs {
    /// Names with values, in the order of the operation's list; what was not written is absent.
    pub values: Vec<(&'static str, ArgValue)>,
}

impl CallArgs {
    /// The value of `name`, if written.
    pub fn get(&self, name: &str) -> Option<&ArgValue> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// An integer argument.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            ArgValue::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// A number argument; integers count.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            ArgValue::Int(i) => Some(*i as f64),
            ArgValue::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// A truth value.
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            ArgValue::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// A word.
    pub fn word(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            ArgValue::Word(w) => Some(w),
            _ => None,
        }
    }
}

/// An attribute of a printed graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// `3`
    Int(i64),
    /// `0.5`; printed so that it parses back to the same bits.
    Float(f32),
    /// `true`
    Bool(bool),
    /// `same`
    Word(String),
    /// `[1, 2]`
    Ints(Vec<i64>),
    /// `[[0, 1], [1, 1]]`
    Lists(Vec<Vec<i64>>),
}

/// Attributes by name, in printing order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(pub Vec<(String, Attr)>);

impl Attrs {
    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: Attr) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    /// The attribute `name`.
    ///
    /// # Errors
    /// A sentence when it is missing.
    pub fn get(&self, name: &str) -> Result<&Attr, String> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v)
            .ok_or_else(|| format!("attribute `{name}` is missing"))
    }

    /// An integer attribute as a size.
    ///
    /// # Errors
    /// A sentence when it is missing or not a size.
    pub fn size(&self, name: &str) -> Result<usize, String> {
        match self.get(name)? {
            Attr::Int(i) => usize::try_from(*i).map_err(|_| format!("attribute `{name}` is negative")),
            _ => Err(format!("attribute `{name}` is not an integer")),
        }
    }

    /// A list of sizes.
    ///
    /// # Errors
    /// A sentence when it is missing or not a list of sizes.
    pub fn sizes(&self, name: &str) -> Result<Vec<usize>, String> {
        match self.get(name)? {
            Attr::Ints(v) => v
                .iter()
                .map(|i| {
                    usize::try_from(*i).map_err(|_| format!("attribute `{name}` holds a negative number"))
                })
                .collect(),
            _ => Err(format!("attribute `{name}` is not a list of integers")),
        }
    }

    /// A number attribute.
    ///
    /// # Errors
    /// A sentence when it is missing or not a number.
    pub fn float(&self, name: &str) -> Result<f32, String> {
        match self.get(name)? {
            Attr::Float(x) => Ok(*x),
            _ => Err(format!("attribute `{name}` is not a number")),
        }
    }

    /// A truth attribute.
    ///
    /// # Errors
    /// A sentence when it is missing or not a truth value.
    pub fn bool(&self, name: &str) -> Result<bool, String> {
        match self.get(name)? {
            Attr::Bool(b) => Ok(*b),
            _ => Err(format!("attribute `{name}` is not `true` or `false`")),
        }
    }

    /// A word attribute.
    ///
    /// # Errors
    /// A sentence when it is missing or not a word.
    pub fn word(&self, name: &str) -> Result<&str, String> {
        match self.get(name)? {
            Attr::Word(w) => Ok(w),
            _ => Err(format!("attribute `{name}` is not a word")),
        }
    }
}
