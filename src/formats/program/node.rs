//! Calls as data: a graph's operations, each with its text in pieces, so that two of them can be compared but for the numbers.

use super::Refused;

/// A value that a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ref {
    /// The result of a node.
    Node(usize),
    /// A parameter of the net or block.
    Input(usize),
}

/// An argument's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    /// A number.
    Int(i64),
    /// `3x3`
    Kernel(Vec<usize>),
    /// Per axis; one number where all are equal.
    Axes(Vec<usize>),
    /// What `pad:` takes.
    Pad(String),
    /// Something of a block's parameters.
    Of(String),
}

/// `3x3`
fn extent(v: &[usize]) -> String {
    v.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

impl Fixed {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Int(i) => i.to_string(),
            Self::Kernel(v) => extent(v),
            Self::Axes(v) => self.int().map_or_else(|| extent(v), |i| i.to_string()),
            Self::Pad(text) | Self::Of(text) => text.clone(),
        }
    }

    /// The number that says all of it.
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            Self::Kernel(v) | Self::Axes(v) => {
                let [first, rest @ ..] = v.as_slice() else { return None };
                rest.iter().all(|e| e == first).then_some(*first as i64)
            }
            Self::Pad(text) => text.parse().ok(),
            Self::Of(_) => None,
        }
    }

    /// The type of a parameter that stands for values of this kind, where they are no lone numbers.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) | Self::Of(_) => "int",
            Self::Kernel(_) | Self::Axes(_) => "extent",
            Self::Pad(_) => "pad",
        }
    }
}

/// A piece of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tok {
    /// As it is.
    Text(String),
    /// An operand by its position.
    Operand(usize),
    /// An argument that may differ between instances of a block; nothing is written where it is the default.
    Arg {
        /// What stands before it.
        key: String,
        /// The value.
        value: Fixed,
        /// What is left out.
        default: Option<Fixed>,
    },
}

impl Tok {
    /// An argument that is always written.
    pub(super) fn arg(key: &str, value: Fixed) -> Self {
        Self::Arg { key: key.to_owned(), value, default: None }
    }

    /// An argument with a default.
    pub(super) fn or(key: &str, value: Fixed, default: Fixed) -> Self {
        Self::Arg { key: key.to_owned(), value, default: Some(default) }
    }

    /// Text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// How a call takes its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Behind its only operand: `x |> f(…)`.
    Stage,
    /// Among the pieces.
    Expr,
    /// A part of what a stage makes: `(x |> split(…))[i]`.
    Part(usize),
}

/// A weight: the rest of its path behind the layer's name, extents, elements.
pub(super) type Weight = (String, Vec<usize>, Vec<f32>);

/// An operation as it will be written, or a block that is called.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What its value is called in the file.
    pub(super) name: String,
    /// How it takes its operands.
    pub(super) form: Form,
    /// The call.
    pub(super) toks: Vec<Tok>,
    /// What it takes.
    pub(super) operands: Vec<Ref>,
    /// The name that a layer should have.
    pub(super) layer: Option<String>,
    /// Its weights.
    pub(super) weights: Vec<Weight>,
    /// Channels of the result.
    pub(super) channels: usize,
    /// What a layer without a name of its own is called.
    pub(super) kind: String,
}

/// What a layer says that has no bias.
pub(super) const NO_BIAS: &str = ", bias: false";

impl Node {
    /// Makes a layer that says it has no bias one that has; whether it was such a layer, with one set of weights for all positions.
    pub(super) fn take_bias(&mut self) -> bool {
        let layer = matches!(self.kind.as_str(), "conv" | "unconv" | "dense");
        let shared = !self.toks.iter().any(|t| matches!(t, Tok::Text(t) if t.contains("share:")));
        let says = self.toks.iter().position(|t| matches!(t, Tok::Text(t) if t.starts_with(NO_BIAS)));
        let Some(at) = says.filter(|_| layer && shared) else { return false };
        if let Tok::Text(text) = &mut self.toks[at] {
            *text = text[NO_BIAS.len()..].into();
        }
        true
    }

    /// Whether two differ in arguments at most. Operands are left aside.
    pub(super) fn like(&self, other: &Self) -> bool {
        let parts = |n: &Self| n.weights.iter().map(|w| w.0.clone()).collect::<Vec<_>>();
        self.signature() == other.signature() && parts(self) == parts(other)
    }

    /// The call without its arguments' values.
    pub(super) fn signature(&self) -> String {
        let mut text = format!("{:?} {} {}:", self.form, self.operands.len(), self.layer.is_some());
        for tok in &self.toks {
            match tok {
                Tok::Text(t) => text.push_str(t),
                Tok::Operand(i) => text.push_str(&format!("\u{1}{i}")),
                Tok::Arg { key, value, .. } => {
                    text.push_str(&format!("\u{2}{key}{}", value.kind()));
                    // Kernels of one tap and groups make another kind of layer, not another size of one.
                    let one = value.int() == Some(1);
                    if one && (key == ", groups: " || matches!(value, Fixed::Kernel(_))) {
                        text.push('1');
                    }
                }
            }
        }
        self.weights.iter().for_each(|w| text.push_str(&format!("\u{3}{}", w.0)));
        text
    }

    /// Its arguments.
    pub(super) fn args(&self) -> impl Iterator<Item = (&str, &Fixed)> {
        self.toks.iter().filter_map(|t| match t {
            Tok::Arg { key, value, .. } => Some((key.as_str(), value)),
            Tok::Text(_) | Tok::Operand(_) => None,
        })
    }

    /// The call's text, operands by these names.
    ///
    /// # Errors
    /// An operand that has no name.
    pub(super) fn text(&self, names: &[String]) -> Result<String, Refused> {
        let mut out = String::new();
        for tok in &self.toks {
            match tok {
                Tok::Text(t) => out.push_str(t),
                Tok::Operand(i) => {
                    let name = names.get(*i).ok_or_else(|| Refused::of(&self.name, "a lost operand"))?;
                    out.push_str(name);
                }
                Tok::Arg { value, default, .. } if default.as_ref() == Some(value) => {}
                Tok::Arg { key, value, .. } => {
                    out.push_str(key);
                    out.push_str(&value.text());
                }
            }
        }
        Ok(out)
    }
}

/// The nodes of a net, and what it hands out.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    /// In an order in which each stands after what it uses.
    pub(super) list: Vec<Node>,
    /// Channels of the inputs.
    pub(super) inputs: Vec<usize>,
    /// Results.
    pub(super) outputs: Vec<Ref>,
}

impl Nodes {
    /// Channels of a value.
    pub(super) fn channels(&self, of: Ref) -> usize {
        match of {
            Ref::Node(i) => self.list[i].channels,
            Ref::Input(i) => self.inputs[i],
        }
    }
}
