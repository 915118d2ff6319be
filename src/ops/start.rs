//! The arguments `init:`, `weights:` and `train:` of layers that make weights: how the weights start and whether training
//! changes them.
//!
//! In: a call's arguments and the weight's type and fans. Out: [`WeightSpec`]s. Drawing the numbers is `init`'s business.

use std::sync::Arc;

use super::args::{ArgTy, ArgValue, CallArgs};
use super::init::{Gabor, Init};
use super::shape_rules::wrong_type;
use super::{At, OpError, Param, WeightSpec};
use crate::support::{Name, codes};
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
        (None, init) => start(op, init, fans)?,
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

/// The start that `init:` asks for; `he` if it was not written.
///
/// # Errors
/// E0105 for an unknown start or option, E0106 for a missing one, E0107 and E0204 for a value that it does not take.
pub(super) fn start(
    op: &str,
    arg: Option<&ArgValue>,
    (fan_in, fan_out): (usize, usize),
) -> Result<Init, OpError> {
    let none = Vec::new();
    let (word, given): (&str, &Given) = match arg {
        None => ("he", &none),
        Some(ArgValue::Word(word)) => (word, &none),
        Some(ArgValue::Call(word, given)) => (word, given),
        Some(_) => return Err(wrong_type(op, "init")),
    };
    let options = |names: &[&'static str]| Options::new(word, given, names);
    match word {
        "he" => options(&[]).map(|_| Init::He { fan_in }),
        "glorot" => options(&[]).map(|_| Init::Glorot { fan_in, fan_out }),
        "lecun" => options(&[]).map(|_| Init::Lecun { fan_in }),
        "zeros" => options(&[]).map(|_| Init::Constant(0.0)),
        "ones" => options(&[]).map(|_| Init::Constant(1.0)),
        "identity" => options(&[]).map(|_| Init::Identity),
        "bilinear" => options(&[]).map(|_| Init::Bilinear),
        "constant" => {
            let o = options(&["value"])?;
            Ok(Init::Constant(o.number("value")?.ok_or_else(|| o.missing("value"))? as f32))
        }
        "normal" => {
            let o = options(&["std", "mean"])?;
            let std = o.least("std", 0.0)?.unwrap_or(0.01);
            Ok(Init::Normal { mean: o.number("mean")?.unwrap_or(0.0) as f32, std: std as f32 })
        }
        "uniform" => {
            let o = options(&["lo", "hi"])?;
            let (lo, hi) = match (o.number("lo")?, o.number("hi")?) {
                (Some(lo), Some(hi)) => (lo, hi),
                (Some(a), None) | (None, Some(a)) => (-a.abs(), a.abs()),
                (None, None) => (-0.05, 0.05),
            };
            if lo > hi {
                return Err(out_of_range(format!("`uniform` needs lo <= hi, not {lo} and {hi}")));
            }
            Ok(Init::Uniform { lo: lo as f32, hi: hi as f32 })
        }
        "gabor" => gabor(&options(&["orientations", "frequency", "sigma", "aspect"])?),
        other => {
            let known = super::args::one_of(super::init::WORDS);
            let message = format!("no start is called `{other}`; there are {known}");
            Err(OpError::new(codes::E0105, message).at(At::Arg("init")))
        }
    }
}

fn gabor(o: &Options<'_>) -> Result<Init, OpError> {
    let orientations = o.number("orientations")?.unwrap_or(8.0);
    if orientations.fract() != 0.0 || !(1.0..=65536.0).contains(&orientations) {
        return Err(out_of_range(format!(
            "`orientations` must be an integer of at least 1, not {orientations}"
        )));
    }
    let positive = |name, default| match o.number(name)? {
        Some(v) if v <= 0.0 => Err(out_of_range(format!("`{name}` must be greater than 0, not {v}"))),
        v => Ok(v.unwrap_or(default) as f32),
    };
    Ok(Init::Gabor(Gabor {
        orientations: orientations as usize,
        frequency: positive("frequency", 0.15)?,
        sigma: positive("sigma", 2.5)?,
        aspect: positive("aspect", 1.0)?,
    }))
}

type Given = Vec<(Option<Name>, ArgValue)>;

/// The options of one start: positional in the order of `names`, or by name.
struct Options<'a> {
    word: &'a str,
    values: Vec<(&'static str, &'a ArgValue)>,
}

impl<'a> Options<'a> {
    fn new(word: &'a str, given: &'a Given, names: &[&'static str]) -> Result<Self, OpError> {
        let mut values: Vec<(&'static str, &ArgValue)> = Vec::new();
        for (position, (key, value)) in given.iter().enumerate() {
            let name = match key {
                None => names.get(position),
                Some(key) => names.iter().find(|n| **n == &**key),
            };
            let Some(name) = name else {
                let unknown = key.as_deref().map_or("so many options".into(), |k| format!("an option `{k}`"));
                let takes = match names {
                    [] => "it takes none".to_owned(),
                    names => format!("it takes {}", super::args::one_of(names).replace(" or ", " and ")),
                };
                let message = format!("`{word}` does not take {unknown}; {takes}");
                return Err(OpError::new(codes::E0105, message).at(At::Arg("init")));
            };
            if values.iter().any(|(n, _)| n == name) {
                let message = format!("`{word}` is given `{name}` twice");
                return Err(OpError::new(codes::E0107, message).at(At::Arg("init")));
            }
            values.push((name, value));
        }
        Ok(Self { word, values })
    }

    fn number(&self, name: &'static str) -> Result<Option<f64>, OpError> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| number(self.word, "init", v)).transpose()
    }

    fn least(&self, name: &'static str, least: f64) -> Result<Option<f64>, OpError> {
        match self.number(name)? {
            Some(v) if v < least => Err(out_of_range(format!("`{name}` must be at least {least}, not {v}"))),
            v => Ok(v),
        }
    }

    fn missing(&self, name: &str) -> OpError {
        let message = format!("`{}` needs `{name}`: `{}(0.1)`", self.word, self.word);
        OpError::new(codes::E0106, message).at(At::Arg("init"))
    }
}

fn number(op: &str, arg: &'static str, value: &ArgValue) -> Result<f64, OpError> {
    match value {
        ArgValue::Int(i) => Ok(*i as f64),
        ArgValue::Float(x) => Ok(*x),
        _ => Err(wrong_type(op, arg)),
    }
}

fn out_of_range(message: String) -> OpError {
    OpError::new(codes::E0204, message).at(At::Arg("init"))
}
