//! ONNX models in and out.
//!
//! In: the bytes of a `.onnx` file. Out: a [`Graph`] whose weights stay slices of the file until they are
//! packed ([`import()`]). A reader trusts nothing: sizes are checked against what is there, every list is walked a bounded
//! number of times, and what is wrong or not supported is one [`OnnxError`] that names the node, its operation and the reason.
//!
//! * `proto`, `tensor`: messages and element types. `read`: bytes to checked messages, functions inlined, nodes in order.
//! * `host`, `value`: what is known at import, and values of the graph seen in ONNX's order of dimensions.
//! * `importer`: one node after another; what depends on constants alone is computed on the way.
//! * `nodes/`: one file for each family of operations.
//!
//! A transposition is no operation here but another way to see a value ([`value::Val`]), so that an exporter's changes
//! between channels-first and channels-last cost nothing unless something needs the elements moved.

mod attrs;
pub mod export;
mod host;
mod importer;
mod inputs;
mod nodes;
pub mod proto;
mod read;
pub mod tensor;
mod value;

use std::fmt;
use std::path::PathBuf;

use crate::graph::Graph;
use crate::support::codes;
use crate::support::diag::Code;

pub use importer::import;
pub use inputs::declared_inputs;
pub use read::{Source, is_onnx};

/// What an import is told.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Extents of inputs by name, which bind free dimensions and may replace fixed ones.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// What a free first dimension is bound to otherwise.
    pub batch: Option<usize>,
    /// Inputs whose elements are known beforehand: shapes, axes, bounds that a model takes at run time.
    pub known: Vec<(String, tensor::Raw)>,
    /// The model is to be trained: dropout and statistics of batches are kept as such, and tensors that a file's `Identity` nodes
    /// say again under other names are weights of their own.
    pub training: bool,
    /// The folder where external data may lie; without it there is none.
    pub folder: Option<PathBuf>,
}

/// A model as a graph.
#[derive(Debug)]
pub struct Imported {
    /// The network; its weights are named as in the file.
    pub graph: Graph,
    /// What a reader may want to know: choices made where a model leaves them open.
    pub notes: Vec<String>,
}

/// Why a model cannot be imported or exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxError {
    /// The code.
    pub code: Code,
    /// One sentence with the node, the operation and the reason in it, lower case.
    pub message: String,
}

impl OnnxError {
    /// The file is no sound model.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self { code: codes::E0901, message: message.into() }
    }

    /// A node that cannot be imported.
    pub(super) fn node(node: &proto::Node, reason: impl fmt::Display) -> Self {
        Self { code: codes::E0902, message: format!("{}: {reason}", title(node)) }
    }

    /// A dimension without an extent, or a wrong one.
    pub(super) fn shape(message: impl Into<String>) -> Self {
        Self { code: codes::E0903, message: message.into() }
    }

    /// Elements in another file that cannot be had.
    pub(super) fn external(message: impl Into<String>) -> Self {
        Self { code: codes::E0904, message: message.into() }
    }
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OnnxError {}

/// `node `conv1` (Conv)`; without a name the node's first output says which one it is.
fn title(node: &proto::Node) -> String {
    let op = match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    };
    match (node.name.as_str(), node.output.iter().find(|o| !o.is_empty())) {
        ("", None) => format!("a node without a name ({})", cut(&op)),
        ("", Some(output)) => format!("the node that makes `{}` ({})", cut(output), cut(&op)),
        (name, _) => format!("node `{}` ({})", cut(name), cut(&op)),
    }
}

/// A name for messages: hostile ones may be long.
fn cut(name: &str) -> String {
    const MOST: usize = 80;
    match name.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}
