//! A graph as an ONNX model: every operation as the one of ONNX that says the same, or as an exact composition. Connectivity
//! that ONNX lacks (local, tiled, tables) is written out densely or unfolded; a note says so.
//!
//! In: a graph without layouts and groups, and the weights' values. Out: the bytes of a model of one operator set, with
//! inputs and outputs in the order of their ports. Values inside are `n, c, grid…` whatever the ports' orders are.

mod affine;
mod build;
mod moves;
mod plain;
mod pools;

use prost::Message;

use super::{OnnxError, proto};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::Op;
use crate::support::codes;
use build::Builder;

/// Operator sets that can be written.
pub const OPSETS: std::ops::RangeInclusive<i64> = 13..=23;
/// The one that is written if nothing else is asked for: what tools of the last years read.
pub const OPSET: i64 = 17;

/// A model.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The file.
    pub bytes: Vec<u8>,
    /// What was written otherwise than it stands in the network.
    pub notes: Vec<String>,
}

/// Writes a graph. `weights` gives a weight's values by its name, row-major.
///
/// # Errors
/// E0905: the operator set is none that can be written, or an operation has no form in ONNX.
pub fn export(
    graph: &Graph,
    weights: &dyn Fn(&str) -> Option<Vec<f32>>,
    opset: i64,
) -> Result<Exported, OnnxError> {
    if !OPSETS.contains(&opset) {
        let message =
            format!("operator set {opset}; those from {} to {} are written", OPSETS.start(), OPSETS.end());
        return Err(OnnxError { code: codes::E0905, message });
    }
    let mut b = Builder::new(graph, weights, opset);
    for port in &graph.inputs {
        b.input(port);
    }
    for id in graph.ids() {
        if let Def::Op { op, inputs } = &graph.value(id).def {
            b.begin(id);
            let name = operation(&mut b, id, op, inputs).map_err(|reason| OnnxError {
                code: codes::E0905,
                message: format!("`{}` ({}): {reason}", graph.value(id).name, op.rules().kind()),
            })?;
            b.end(id, name);
        }
    }
    for port in &graph.outputs {
        b.output(port);
    }
    let (model, notes) = b.finish();
    Ok(Exported { bytes: model.encode_to_vec(), notes })
}

/// Writes one operation; the name of its result.
fn operation(b: &mut Builder<'_>, id: ValueId, op: &Op, x: &[ValueId]) -> Result<String, String> {
    affine::write(b, id, op, x)
        .or_else(|| pools::write(b, id, op, x))
        .or_else(|| moves::write(b, id, op, x))
        .or_else(|| plain::write(b, id, op, x))
        .unwrap_or_else(|| Err("ONNX has no form for it".to_owned()))
}

/// A written model read back, for callers that show it.
///
/// # Errors
/// What the decoder says.
pub fn decode(bytes: &[u8]) -> Result<proto::Model, OnnxError> {
    proto::Model::decode(bytes).map_err(|e| OnnxError::malformed(e.to_string()))
}
