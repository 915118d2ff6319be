//! The settings of a `train` item, typed. Names, kinds and ranges were checked when the program was; defaults are here.

use super::error::TrainError;
use super::metric::{self, Kind, Metric};
use crate::data::Spec;
use crate::ops::args::ArgValue;
use crate::resolve::{SetValue, Training};
use crate::support::Name;
use crate::support::span::Span;
use crate::train::{Clip, Form, Optimizer, Schedule};

/// Everything that a training is told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The data.
    pub data: Spec,
    /// The loss as the program says it.
    pub loss: SetValue,
    /// Where it stands.
    pub loss_span: Span,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Its learning rate.
    pub rate: f64,
    /// How the rate goes on.
    pub schedule: Schedule,
    /// Samples of a batch.
    pub batch: usize,
    /// Epochs.
    pub epochs: u64,
    /// Where weights and orders start.
    pub seed: u64,
    /// What is measured beside the loss.
    pub metrics: Vec<Metric>,
    /// What keeps gradients small.
    pub clip: Option<Clip>,
    /// Batches whose gradients make one step.
    pub accumulate: usize,
    /// The decay of the moving average of weights.
    pub average: Option<f32>,
    /// Epochs without a better validation loss after which the training ends.
    pub patience: Option<u64>,
    /// Checkpoints kept.
    pub keep: usize,
}

/// What holds where a program says nothing.
const BATCH: usize = 32;
const EPOCHS: u64 = 10;
const KEEP: usize = 2;

impl Plan {
    /// From a `train` item.
    ///
    /// # Errors
    /// [`TrainError::Setting`] when `data` or `loss` is missing.
    pub fn of(training: &Training) -> Result<Self, TrainError> {
        let find = |key: &str| training.entries.iter().find(|e| *e.key == *key);
        let value = |key: &str| find(key).map(|e| &e.value);
        let number = |key: &str| value(key).and_then(as_number);
        let missing = |key: &str, example: &str| {
            TrainError::Setting(format!(
                "the `train` item says no `{key}`; add a line such as `{key} {example}`"
            ))
        };
        let loss = find("loss").ok_or_else(|| missing("loss", "cross_entropy(out, label)"))?;
        if find("data").is_none() {
            return Err(missing("data", "digits"));
        }
        let (optimizer, rate) = optimizer(value("optimizer"));
        let clip = match value("clip") {
            Some(SetValue::Call(name, args)) => {
                let limit = Args(args).number("limit", 1.0) as f32;
                Some(if **name == *"norm" { Clip::Norm(limit) } else { Clip::Value(limit) })
            }
            Some(_) | None => None,
        };
        let mut metrics = match value("metric") {
            None => Vec::new(),
            Some(SetValue::List(list)) => list.iter().filter_map(metric).collect(),
            Some(one) => metric(one).into_iter().collect(),
        };
        metric::named(&mut metrics);
        Ok(Self {
            data: Spec::of(training)?,
            loss: loss.value.clone(),
            loss_span: loss.span,
            optimizer,
            rate,
            schedule: schedule(value("schedule"), rate),
            batch: number("batch").map_or(BATCH, |x| x as usize),
            epochs: number("epochs").map_or(EPOCHS, |x| x as u64),
            seed: number("seed").map_or(0, |x| x as u64),
            metrics,
            clip,
            accumulate: number("accumulate").map_or(1, |x| x as usize).max(1),
            average: number("average").map(|x| x as f32),
            patience: number("patience").map(|x| x as u64),
            keep: number("keep").map_or(KEEP, |x| x as usize).max(1),
        })
    }
}

/// A number among settings.
fn as_number(value: &SetValue) -> Option<f64> {
    match value {
        SetValue::Static(ArgValue::Int(i)) => Some(*i as f64),
        SetValue::Static(ArgValue::Float(x)) => Some(*x),
        SetValue::Static(_)
        | SetValue::Call(..)
        | SetValue::Layer(..)
        | SetValue::Data(_)
        | SetValue::List(_)
        | SetValue::Binary(..) => None,
    }
}

/// The arguments of a choice, by name.
struct Args<'a>(&'a [(Option<Name>, SetValue)]);

impl Args<'_> {
    fn find(&self, name: &str) -> Option<&SetValue> {
        self.0.iter().find(|(n, _)| n.as_deref() == Some(name)).map(|(_, v)| v)
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.find(name).and_then(as_number).unwrap_or(default)
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.find(name), Some(SetValue::Static(ArgValue::Bool(true))))
    }
}

/// PyTorch's defaults; without a word, SGD with momentum.
fn optimizer(value: Option<&SetValue>) -> (Optimizer, f64) {
    let none = (Name::from("sgd"), Vec::new());
    let (name, args) = match value {
        Some(SetValue::Call(name, args)) => (name, args),
        Some(_) | None => (&none.0, &none.1),
    };
    let args = Args(args);
    let get = |name: &str, default: f64| args.number(name, default) as f32;
    let adam = |decay: f64| (get("beta1", 0.9), get("beta2", 0.999), get("eps", 1e-8), get("decay", decay));
    match &**name {
        "adam" => {
            let (beta1, beta2, eps, decay) = adam(0.0);
            (Optimizer::Adam { beta1, beta2, eps, decay }, args.number("rate", 1e-3))
        }
        "adamw" => {
            let (beta1, beta2, eps, decay) = adam(1e-2);
            (Optimizer::AdamW { beta1, beta2, eps, decay }, args.number("rate", 1e-3))
        }
        "rmsprop" => {
            let (rho, eps) = (get("rho", 0.99), get("eps", 1e-8));
            let (momentum, decay) = (get("momentum", 0.0), get("decay", 0.0));
            (Optimizer::RmsProp { rho, eps, momentum, decay }, args.number("rate", 1e-2))
        }
        "adagrad" => {
            let (eps, decay) = (get("eps", 1e-10), get("decay", 0.0));
            (Optimizer::Adagrad { eps, decay }, args.number("rate", 1e-2))
        }
        _ => {
            let momentum = if value.is_none() { 0.9 } else { 0.0 };
            let (momentum, decay) = (get("momentum", momentum), get("decay", 0.0));
            (Optimizer::Sgd { momentum, nesterov: args.flag("nesterov"), decay }, args.number("rate", 1e-2))
        }
    }
}

fn schedule(value: Option<&SetValue>, rate: f64) -> Schedule {
    let Some(SetValue::Call(name, args)) = value else {
        return Schedule { form: Form::Constant, warmup: 0 };
    };
    let args = Args(args);
    let least = args.number("least", 0.0);
    let form = match &**name {
        "step" => Form::Step { every: args.number("every", 10.0), factor: args.number("factor", 0.1) },
        "cosine" => Form::Cosine { least },
        "linear" => Form::Linear { least },
        "polynomial" => Form::Polynomial { power: args.number("power", 1.0), least },
        "one_cycle" => {
            let peak = args.number("peak", rate);
            // PyTorch's `final_div_factor`.
            Form::OneCycle { peak, least: args.number("least", peak / 25.0 / 1e4) }
        }
        _ => Form::Constant,
    };
    Schedule { form, warmup: args.number("warmup", 0.0) as u64 }
}

fn metric(value: &SetValue) -> Option<Metric> {
    let SetValue::Call(name, args) = value else { return None };
    let args = Args(args);
    let (Some(SetValue::Layer(output, value)), Some(truth)) = (args.find("output"), args.find("truth"))
    else {
        return None;
    };
    let (truth, truth_value) = match truth {
        SetValue::Data(name) => (name.clone(), None),
        SetValue::Layer(path, id) => (path.as_str().into(), Some(*id)),
        SetValue::Static(_) | SetValue::Call(..) | SetValue::List(_) | SetValue::Binary(..) => return None,
    };
    let kind = match &**name {
        "accuracy" => Kind::Accuracy,
        "top_k" => Kind::TopK(args.number("k", 5.0) as usize),
        "miou" => Kind::MeanIou,
        "mse" => Kind::Mse,
        "mae" => Kind::Mae,
        "confusion" => Kind::Confusion,
        _ => return None,
    };
    let ignore = args.find("ignore").and_then(as_number).map(|x| x as i64);
    let threshold = args.find("threshold").and_then(as_number).map(|x| x as f32);
    let (name, output) = (kind.name(), output.clone());
    Some(Metric { name, kind, output, value: *value, truth, truth_value, ignore, threshold })
}
