//! The words of `cnnc data` and `cnnc weights`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Part, picture_size, setting};

#[derive(Debug, Args)]
pub(crate) struct Data {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List the sets that a `train` item can name, and whether they are here.
    List,
    /// Get a set with a package manager of this machine, compare it with what was published, and keep it.
    Get {
        /// `mnist` or `fashion-mnist`.
        #[arg(value_name = "NAME")]
        name: String,
        /// The folder to put it into [default: where `train` looks for it].
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Print the folder that a set is in.
    Path {
        /// `mnist` or `fashion-mnist`.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Draw samples as a training sees them, with their labels.
    Show(ShowData),
    /// Write made pictures with their labels and masks.
    Synth(SynthData),
}

#[derive(Debug, Args)]
pub(crate) struct ShowData {
    /// Data as a `train` item says them (`mnist`, `'shapes(size: 24x24)'`), or a program with a `train` item.
    #[arg(value_name = "SPEC|NET.cnn")]
    pub(crate) data: String,
    /// The picture to write, PNG.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How samples vary, as `augment` of a `train` item says it: `'[shift(2), flip]'`.
    #[arg(long, value_name = "LIST")]
    pub(crate) augment: Option<String>,
    /// The net whose `train` item is meant.
    #[arg(long, value_name = "NAME")]
    pub(crate) net: Option<String>,
    /// Replace the value of a `const` item of the program: `--set S=192`. May be repeated.
    #[arg(long, value_name = "K=V", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// How many samples.
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) count: u32,
    /// Tiles in a row.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) columns: u32,
    /// The part of the data; only `train` is shuffled and varied.
    #[arg(long, value_enum, value_name = "PART", default_value_t = Part::Train)]
    pub(crate) part: Part,
    /// The epoch whose order and variations are shown, from 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) epoch: u64,
    /// The seed, instead of the program's.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct SynthData {
    /// What is made: `shapes`, `edges` or `bars`.
    #[arg(value_name = "KIND", value_parser = ["shapes", "edges", "bars"])]
    pub(crate) kind: String,
    /// The folder to write: `images/`, `masks/` and `labels.csv`.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// How many pictures.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Rows and columns.
    #[arg(long, value_name = "HxW", default_value = "32x32", value_parser = picture_size)]
    pub(crate) size: (usize, usize),
    /// 1 (gray) or 3 (colour).
    #[arg(long, value_name = "N", default_value = "1", value_parser = ["1", "3"])]
    pub(crate) channels: String,
    /// Standard deviation of the noise, of 0 to 1.
    #[arg(long, value_name = "X", default_value_t = 0.02)]
    pub(crate) noise: f64,
    /// The seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// One folder a class instead, for `images("DIR")`.
    #[arg(long)]
    pub(crate) by_class: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Weights {
    /// Weights (safetensors or .npz), the folder of a training, or a program or ONNX model.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Weights for the program; without them, seeded initial ones, or those of the ONNX model.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: super::Program,
    /// Write the weights into this file, safetensors or .npz, instead of listing them.
    #[arg(short, long, value_name = "FILE", conflicts_with = "mosaic", conflicts_with = "json")]
    pub(crate) output: Option<PathBuf>,
    /// The seed of a program's initial weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Draw the kernels of a convolution, PNG.
    #[arg(long, value_name = "FILE")]
    pub(crate) mosaic: Option<PathBuf>,
    /// The layer (or weight) whose kernels are drawn [default: the first convolution].
    #[arg(long, value_name = "NAME", requires = "mosaic")]
    pub(crate) layer: Option<String>,
    /// The list as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
