//! What an object offers, as data: functions with their arguments, tensors with their axes, regions of memory with their sizes.
//! The C header and the Rust source are two ways to write it down.

use crate::kernels::isa::Arch;
use crate::session::ports::Port;

/// Bytes at whose multiples all regions of memory begin.
pub const ALIGN: usize = crate::lower::plan::ALIGN;

/// See the module.
#[derive(Clone, Debug)]
pub struct Interface {
    /// What all names begin with.
    pub prefix: String,
    /// The net.
    pub net: String,
    /// Where it comes from: a file's name.
    pub source: String,
    /// The architecture.
    pub arch: Arch,
    /// The instruction sets, narrowest first; numbers count from 1.
    pub targets: Vec<String>,
    /// Inputs and outputs of all functions, each once.
    pub tensors: Vec<Tensor>,
    /// Regions of memory that the caller lends.
    pub regions: Vec<Region>,
    /// The functions.
    pub functions: Vec<Function>,
    /// Regions that the test of itself takes before its scratch memory.
    pub selftest: Vec<String>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name as an identifier.
    pub ident: String,
    /// Its name and axes in the program.
    pub port: Port,
    /// Whether functions write it.
    pub written: bool,
}

impl Tensor {
    /// Elements between neighbours, per axis.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.port.axes.len()];
        for i in (1..strides.len()).rev() {
            strides[i - 1] = strides[i] * self.port.axes[i].1;
        }
        strides
    }
}

/// Memory that begins at a multiple of [`ALIGN`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// `arena`, `weights`, …
    pub name: String,
    /// Its size.
    pub bytes: usize,
    /// What it is for: a sentence.
    pub doc: String,
    /// Named parts of it.
    pub parts: Vec<Part>,
}

/// A tensor inside a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the program.
    pub name: String,
    /// Its name as an identifier.
    pub ident: String,
    /// Bytes from the start of the region.
    pub at: usize,
    /// Elements.
    pub len: usize,
    /// Axes as the program has them.
    pub axes: String,
}

/// A function; there is one for a single thread and one for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name behind the prefix.
    pub name: String,
    /// What it does: sentences.
    pub doc: String,
    /// Its arguments.
    pub args: Vec<Arg>,
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// The tensor of this number, read or written.
    Tensor(usize),
    /// The region of this number; whether it is written.
    Region(usize, bool),
    /// A number.
    Float {
        /// Its name as an identifier.
        ident: String,
        /// What it is.
        doc: String,
    },
}

/// Words that cannot be names in C, C++ or Rust, and those that functions here use themselves.
const TAKEN: &[&str] = &[
    "alignas",
    "alignof",
    "and",
    "as",
    "asm",
    "async",
    "auto",
    "await",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "compl",
    "const",
    "constexpr",
    "continue",
    "crate",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dyn",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "fn",
    "for",
    "friend",
    "gen",
    "goto",
    "if",
    "impl",
    "in",
    "inline",
    "int",
    "let",
    "long",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "nullptr",
    "operator",
    "or",
    "private",
    "protected",
    "pub",
    "public",
    "ref",
    "register",
    "requires",
    "restrict",
    "return",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "union",
    "unsafe",
    "unsigned",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "where",
    "while",
    "xor",
    "yield",
    "arena",
    "weights",
    "state",
    "scratch",
    "thread",
    "threads",
    "barrier",
    "context",
    "target",
    "grads",
];

/// `name` as an identifier that none of `others` is.
pub fn identifier<'a>(name: &str, others: impl Iterator<Item = &'a str> + Clone) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut word: String = name.trim_start_matches('@').chars().map(plain).collect();
    if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        word.insert(0, 'x');
    }
    while TAKEN.contains(&word.as_str()) || others.clone().any(|o| o.eq_ignore_ascii_case(&word)) {
        word.push('_');
    }
    word
}

/// Whether `name` can begin all names of an object.
pub fn is_prefix(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= 64
}

/// The name of a net as the beginning of names: `LeNet5` gives `lenet5`.
pub fn prefix_of(net: &str) -> String {
    identifier(&net.to_ascii_lowercase(), std::iter::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers_that_differ() {
        let none = || std::iter::empty::<&str>();
        assert_eq!(identifier("image", none()), "image");
        assert_eq!(identifier("a.b[2]", none()), "a_b_2_");
        assert_eq!(identifier("@rate", none()), "rate");
        assert_eq!(identifier("1x", none()), "x1x");
        assert_eq!(identifier("arena", none()), "arena_");
        assert_eq!(identifier("Größe", none()), "Gr__e");
        assert_eq!(identifier("a_b", ["A_B", "a_b_"].into_iter()), "a_b__");
        assert_eq!(prefix_of("LeNet5"), "lenet5");
        assert!(is_prefix("net_1") && !is_prefix("1net") && !is_prefix("a-b") && !is_prefix(""));
    }
}
