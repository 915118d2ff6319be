//! What each operation of ONNX becomes: one table, one file a family.

mod attention;
mod binary;
mod chosen;
mod composed;
mod constant;
mod conv;
mod deform;
mod einsum;
mod gather;
mod layout;
mod linear;
mod loss;
mod norm;
mod patterns;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod rotary;
mod sample;
mod scatter;
mod shape;
mod spectrum;
mod trig;
mod unary;

use super::attrs::At;
use super::host::Host;
use super::importer::Importer;
use super::proto;
use super::tensor::Raw;
use super::value::Value;

/// What a node's import gives: its results, or why it is not supported.
type Results = Result<Vec<Value>, String>;
/// Operands; `None` for one that is left out.
type Operands<'a> = &'a [Option<Value>];

/// Imports one node.
///
/// # Errors
/// The reason in a phrase, without the node.
pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Results {
    if !matches!(at.node.domain.as_str(), "" | "ai.onnx") {
        return Err(format!("the domain `{}` is not known", super::cut(&at.node.domain)));
    }
    let op = at.node.op_type.as_str();
    let known = constant::import(cx, at, x)
        .or_else(|| conv::import(cx, at, x))
        .or_else(|| pool::import(cx, at, x))
        .or_else(|| norm::import(cx, at, x))
        .or_else(|| linear::import(cx, at, x))
        .or_else(|| loss::import(cx, at, x))
        .or_else(|| unary::import(cx, at, x))
        .or_else(|| binary::import(cx, at, x))
        .or_else(|| reduce::import(cx, at, x))
        .or_else(|| resize::import(cx, at, x))
        .or_else(|| shape::import(cx, at, x))
        .or_else(|| layout::import(cx, at, x))
        .or_else(|| quantize::import(cx, at, x))
        .or_else(|| composed::import(cx, at, x))
        .or_else(|| gather::import(cx, at, x))
        .or_else(|| einsum::import(cx, at, x))
        .or_else(|| deform::import(cx, at, x))
        .or_else(|| rotary::import(cx, at, x))
        .or_else(|| spectrum::import(cx, at, x))
        .or_else(|| sample::import(cx, at, x))
        .or_else(|| trig::import(cx, at, x))
        .or_else(|| scatter::import(cx, at, x))
        .or_else(|| chosen::import(cx, at, x))
        .or_else(|| attention::import(cx, at, x));
    known.unwrap_or_else(|| Err(refused(op).to_owned()))
}

/// Why an operation that the table lacks is not supported.
fn refused(op: &str) -> &'static str {
    match op {
        "If" => "control flow whose condition depends on the input is not supported",
        "Loop" | "Scan" | "SequenceMap" => {
            "control flow is not supported: networks are compiled as straight lines"
        }
        "LSTM" | "GRU" | "RNN" => "recurrence is not supported",
        "NonMaxSuppression" | "NonZero" | "Unique" | "Compress" => {
            "the shape of its result depends on the input's values"
        }
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli"
        | "Multinomial" => "random numbers in a run are not supported",
        "QLinearConv" | "ConvInteger" | "QLinearMatMul" | "MatMulInteger" | "DynamicQuantizeLinear" => {
            "integer arithmetic is not supported; export the model in floating point"
        }
        "StringNormalizer" | "TfIdfVectorizer" | "RegexFullMatch" | "StringConcat" | "StringSplit" => {
            "text is not supported"
        }
        _ if op.starts_with("Sequence") || op.starts_with("Optional") || op == "SplitToSequence" => {
            "sequences and optional values are not supported"
        }
        _ => "the operation is not supported",
    }
}

/// The operand number `i`.
fn need<'a>(x: Operands<'a>, i: usize) -> Result<&'a Value, String> {
    opt(x, i).ok_or_else(|| format!("operand {} is missing", i + 1))
}

/// The operand number `i`, if it is given.
fn opt<'a>(x: Operands<'a>, i: usize) -> Option<&'a Value> {
    x.get(i).and_then(Option::as_ref)
}

/// The integers of operand `i`, which must be known.
fn known_ints(x: Operands<'_>, i: usize, what: &str) -> Result<Option<Vec<i64>>, String> {
    opt(x, i).map(|v| v.known(what).map(Host::integers)).transpose()
}

/// A list that is an attribute in older operator sets and an operand in newer ones.
fn ints_of(at: &At<'_>, x: Operands<'_>, i: usize, name: &str) -> Result<Option<Vec<i64>>, String> {
    match known_ints(x, i, &format!("`{name}`"))? {
        Some(list) => Ok(Some(list)),
        None => Ok(at.ints(name)?.map(<[i64]>::to_vec)),
    }
}

/// A tensor of an attribute or a graph inside a node.
pub(super) fn tensor(tensor: &proto::Tensor, name: &str) -> Result<Host, String> {
    if tensor.data_location == 1 {
        return Err("a tensor whose elements are in another file, which only initializers may have".into());
    }
    Raw::of(&mut tensor.clone(), None).map(|raw| Host::raw(raw, name))
}

/// For `If` with a known condition, the graph that is chosen; `None` for any other node.
pub(super) fn branch<'a>(at: &At<'a>, x: Operands<'_>) -> Option<Result<&'a proto::Graph, String>> {
    if at.node.op_type != "If" || !matches!(at.node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    let Some(Value::Host(cond)) = opt(x, 0) else { return None };
    let name = if cond.scalar()? != 0.0 { "then_branch" } else { "else_branch" };
    let graph = at.get(name).and_then(|a| a.g.as_ref());
    Some(graph.ok_or_else(|| format!("attribute `{name}` is missing")))
}
