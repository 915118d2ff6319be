//! The arguments `init:`, `weights:` and `train:` of layers that make weights: how the weights start and whether training
//! changes them.
//!
//! In: a call's arguments and the weight's type and fans. Out: [`WeightSpec`]s. Drawing the numbers is `init`'s business.

use std::sync::Arc;

use super::args::{ArgTy, ArgValue, CallArgs, Links};
use super::init::{self, Init};
use super::shape_rules::wrong_type;
use super::{At, OpError, Param, WeightSpec};
use crate::support::codes;
use crate::tensor::ty::TensorTy;

/// The argument `bias:`.
pub(super) const BIAS: Param = Param {
    name: "bias",
    positional: false,
    required: false,
    ty: ArgTy::Bool,
    default: "true",
    doc: "whether a bias is added, one value per output channel and set of weights",
};

/// The argument `init:`.
pub(super) const INIT: Param = Param {
    name: "init",
    positional: false,
    required: false,
    ty: ArgTy::Init,
    default: "he",
    doc: "how the weights start",
};

/// The argument `weights:`.
pub(super) const WEIGHTS: Param = Param {
    name: "weights",
    positional: false,
    required: false,
    ty: ArgTy::Numbers,
    default: "",
    doc: "given weights: one number, or as many as there are weights, in the order of weight files",
};

/// The argument `train:`.
pub(super) const TRAIN: Param = Param {
    name: "train",
    positional: false,
    required: false,
    ty: ArgTy::Bool,
    default: "true",
    doc: "whether training changes the weights",
};

/// The layer's weights from `weights:`, `init:` and `train:`; `bias` is `None` where the layer has none.
///
/// # Errors
/// E0501 when `weights:` has another count than `weight`, E0105, E0107, E0204 for what `init:` does not take.
pub(super) fn specs(
    op: &str,
    args: &CallArgs,
    weight: TensorTy,
    fans: (usize, usize),
    bias: Option<TensorTy>,
) -> Result<Vec<WeightSpec>, OpError> {
    let trainable = args.bool("train").unwrap_or(true);
    let init = match (args.get("weights"), args.get("init")) {
        (None, None) => Init::He { fan_in: fans.0 },
        (None, Some(init)) => init::parse("init", init, fans)?,
        (Some(given), None) => given_values(op, given, &weight)?,
        (Some(_), Some(_)) => {
            let message = "`weights` gives the values and `init` draws them; a layer takes one of them";
            return Err(OpError::new(codes::E0107, message).at(At::Arg("init")));
        }
    };
    let mut specs = vec![WeightSpec { name: "weight", ty: weight, init, trainable }];
    specs.extend(bias.map(|ty| WeightSpec { name: "bias", ty, init: Init::Constant(0.0), trainable }));
    Ok(specs)
}

fn given_values(op: &str, given: &ArgValue, ty: &TensorTy) -> Result<Init, OpError> {
    if let ArgValue::Int(_) | ArgValue::Float(_) = given {
        return Ok(Init::Constant(number(op, "weights", given)? as f32));
    }
    let mut values = Vec::new();
    flatten(op, given, &mut values)?;
    if values.len() == ty.len() {
        return Ok(Init::Values(Arc::new(values)));
    }
    let (given, needed) = (values.len(), ty.len());
    let factors: Vec<String> = ty.dims().iter().map(ToString::to_string).collect();
    let message = format!("`weights` has {given} numbers, but the layer has {needed} weights");
    Err(OpError::new(codes::E0501, message)
        .at(At::Arg("weights"))
        .label(format!("{} = {needed} weights {ty}", factors.join("*"))))
}

fn flatten(op: &str, value: &ArgValue, into: &mut Vec<f32>) -> Result<(), OpError> {
    match value {
        ArgValue::List(list) => list.iter().try_for_each(|v| flatten(op, v, into)),
        _ => {
            into.push(number(op, "weights", value)? as f32);
            Ok(())
        }
    }
}

/// Most values that a pattern is written out for while a call is checked.
const PATTERN_MAX: usize = 1 << 24;

/// The start of a weight whose links come from a table. Patterns are defined between an output and an input channel; each
/// link gets the kernel between its two.
///
/// # Errors
/// E0208 when the pattern between all channels would be too large.
pub(super) fn for_links(init: Init, table: &Links, weight: &TensorTy) -> Result<Init, OpError> {
    match init {
        Init::Identity | Init::Bilinear | Init::Gabor(_) => {}
        Init::He { .. } | Init::Glorot { .. } | Init::Lecun { .. } | Init::Normal { .. } => return Ok(init),
        Init::Uniform { .. } | Init::Constant(_) | Init::Values(_) | Init::Stored(_) => return Ok(init),
    }
    let links = weight.position("links").unwrap_or(0);
    let kernel =
        weight.names()[links + 1..].iter().map(|n| &**n).zip(weight.dims()[links + 1..].iter().copied());
    let channels = [("o", table.rows.len()), ("i", table.inputs)];
    let dense = TensorTy::new(channels.into_iter().chain(kernel)).ok().filter(|ty| ty.len() <= PATTERN_MAX);
    let Some(dense) = dense.filter(|_| weight.len() <= PATTERN_MAX) else {
        return Err(OpError::new(codes::E0208, "the layer is too large for a pattern over a table's links"));
    };
    let all = init::values(&init, &dense, "", 0);
    let taps: usize = dense.dims()[2..].iter().product();
    let mut values = Vec::new();
    for (o, row) in table.rows.iter().enumerate() {
        for i in row {
            values.extend_from_slice(&all[(o * table.inputs + *i as usize) * taps..][..taps]);
        }
    }
    let sets: usize = weight.dims()[..links].iter().product();
    Ok(Init::Values(Arc::new(values.repeat(sets))))
}

fn number(op: &str, arg: &'static str, value: &ArgValue) -> Result<f64, OpError> {
    match value {
        ArgValue::Int(i) => Ok(*i as f64),
        ArgValue::Float(x) => Ok(*x),
        _ => Err(wrong_type(op, arg)),
    }
}
