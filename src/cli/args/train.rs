//! The words of `cnnc train` and `cnnc eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Target, chart_file, setting, shape};

/// A program's `train` item, and what is changed of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Tuning {
    /// The program (`-` is standard input), or an ONNX model.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// For an ONNX model, the file with the `train` item; without it the settings of `--with` are the item.
    #[arg(long, visible_alias = "train", value_name = "FILE.cnn")]
    pub(crate) train_item: Option<PathBuf>,
    /// Extents of an input of an ONNX model, where they are free: `--shape x=1x3x224x224`; the first is the batch, which the
    /// `train` item says. May be repeated.
    #[arg(long, value_name = "[NAME=]EXTENTS", value_parser = shape)]
    pub(crate) shape: Vec<(Option<String>, Vec<usize>)>,
    /// The network to take, where several have a `train` item.
    #[arg(long, value_name = "NAME")]
    pub(crate) net: Option<String>,
    /// Samples of a batch, instead of the program's `batch`.
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<u64>,
    /// Epochs, instead of the program's `epochs`.
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u64>,
    /// The seed of weights and orders, instead of the program's `seed`.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Any other setting of the `train` item: `--with 'optimizer=adam(rate: 0.001)'`. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) with: Vec<(String, String)>,
    /// Replace the value of a `const` item: `--set S=192`. May be repeated.
    #[arg(long, value_name = "K=V", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Options about the target.
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    /// The program and its settings.
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// The folder for weights, history and checkpoints [default: NET.train].
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Go on from the latest checkpoint in the folder, if there is one: bit for bit as if it had never stopped.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Begin anew where a training was interrupted.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) fresh: bool,
    /// Also draw the history into this file, .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = chart_file)]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The program and its settings.
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// Weights (safetensors or .npz), or the folder of a training.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// The part of the data.
    #[arg(long, value_enum, value_name = "PART", default_value_t = Part::Test)]
    pub(crate) part: Part,
    /// The figures as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What is trained on, without augmentation.
    Train,
    /// What is held back of it.
    Validate,
    /// What the training never sees.
    Test,
}
