//! The words of the command line, as clap reads them. No meaning here: each command's file has it.

mod data;
mod train;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use data::{Data, DataCommand, ShowData, SynthData, Weights};
pub(crate) use train::{Eval, Part, Train, Tuning};

const AFTER_HELP: &str = "\
Exit codes: 0 fine, 1 the program or a comparison is wrong, 2 usage or an input that cannot be read, 101 a bug in cnnc.

`cnnc help COMMAND` says more about one command; `cnnc explain` lists operations and error codes.";

/// A compiler for convolutional networks: checked shapes, machine code specialised to them.
#[derive(Debug, Parser)]
#[command(name = "cnnc", version, about, after_help = AFTER_HELP, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Options that every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// How things are said.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output options")]
pub(crate) struct Global {
    /// Colours: `auto` heeds NO_COLOR, CLICOLOR_FORCE, TERM and whether a terminal listens.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// How diagnostics are written to standard error (`json`: one object a line).
    #[arg(long, global = true, value_enum, default_value_t = ErrorFormat::Human, value_name = "FORMAT")]
    pub(crate) error_format: ErrorFormat,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// When a terminal listens.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ErrorFormat {
    /// With the source, notes and proposed edits.
    Human,
    /// One line each.
    Short,
    /// One JSON object on one line each.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check programs: names, shapes, tables, arguments. Makes no code.
    Check(Check),
    /// Compile a network and report each layer, or write one of the compiler's stages.
    Compile(Compile),
    /// Compile a network and run it on images and arrays.
    Run(Run),
    /// Measure how fast a network or one operation runs.
    Bench(Bench),
    /// Write an ONNX model as a program and its weights.
    Import(Import),
    /// Write a network as an ONNX model, with its weights.
    Export(Export),
    /// Train a network as its `train` item says.
    Train(Train),
    /// Measure loss and metrics of trained weights.
    Eval(Eval),
    /// Get, find, show and make data for training.
    Data(Data),
    /// List weights with their shapes and ranges; draw a layer's kernels.
    Weights(Weights),
    /// Compare gradients with slopes by differences, tensor by tensor.
    Gradcheck(Gradcheck),
    /// Run the `test` and `budget` items of programs.
    Test(Test),
    /// Format programs, in place.
    Fmt(Fmt),
    /// Explain an error code, an operation, or how a layer of a network is computed; without a topic, list all.
    Explain(Explain),
    /// Talk to the compiler: each expression shows shape, cost and receptive field.
    Repl(Repl),
    /// Print completions for a shell.
    Completions(Completions),
    /// Show the machine as cnnc sees it: CPU features, threads, versions.
    Doctor(Doctor),
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Programs to check (`-` is standard input).
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
    /// Treat warnings as errors.
    #[arg(long)]
    pub(crate) deny_warnings: bool,
}

/// Which network, at which size.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Program options")]
pub(crate) struct Program {
    /// The network to take, where the file has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) net: Option<String>,
    /// The batch extent `n`.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Replace the value of a `const` item: `--set S=192`. May be repeated.
    #[arg(long, value_name = "K=V", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Extents of an input of an ONNX model, where they are free or other than declared: `--shape x=1x3x224x224`; the name
    /// may be left out where the model has one input. May be repeated.
    #[arg(long, value_name = "[NAME=]EXTENTS", value_parser = shape)]
    pub(crate) shape: Vec<(Option<String>, Vec<usize>)>,
    /// The name of standard input in messages, and the folder from which its `use` items are found.
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin_filename: Option<PathBuf>,
}

/// For which machine, with how many threads.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Target options")]
pub(crate) struct Target {
    /// Threads of a run; 0 takes all the machine has.
    #[arg(long, env = "CNNC_THREADS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) threads: u32,
    /// The instruction set: `native` is this machine's best, `baseline` runs everywhere.
    #[arg(long, env = "CNNC_CPU", value_name = "NAME", default_value = "native")]
    pub(crate) cpu: String,
    /// Compute every convolution by its definition: no minimal filtering, no tables as dense layers.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Let measurements choose tiles, loop orders and algorithms: about 0.1 s a layer that was not measured before. Winners
    /// are kept in CNNC_CACHE, or cnnc in the user's cache folder.
    #[arg(long)]
    pub(crate) tune: bool,
    /// As --tune, but measure nothing: only heed winners that are kept.
    #[arg(long)]
    pub(crate) tuned: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gradcheck {
    /// The program (`-` is standard input).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
    /// Options about the target.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Elements of each tensor that are moved, at most.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) samples: u32,
    /// Greatest error, relative to the greatest gradient of a tensor.
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = difference)]
    pub(crate) tolerance: f64,
    /// 2 checks second derivatives.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2))]
    pub(crate) order: u32,
    /// What inputs and weights are drawn by.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Programs (`-` is standard input).
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
}

#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// The program (`-` is standard input).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
    /// Options about the target.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print one stage of the compiler instead of the report.
    #[arg(long, value_enum, value_name = "STAGE")]
    pub(crate) emit: Option<Emit>,
    /// Write to this file instead of standard output. A name that ends in `.o`, `.a`, `.so` or `.h` compiles ahead of time: an
    /// object, an archive, a shared library, the header of any of them; may be repeated then: `-o net.a -o net.h`.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Vec<PathBuf>,
    /// The report as JSON.
    #[arg(long, conflicts_with = "emit")]
    pub(crate) json: bool,
    /// What an object is.
    #[command(flatten)]
    pub(crate) object: ObjectArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of objects")]
pub(crate) struct ObjectArgs {
    /// Instruction sets of an object, separated by commas: x86-64-v2, x86-64-v3, x86-64-v4, aarch64, native and those of
    /// --cpu. Of several the widest that the processor offers is chosen at the first call [default: that of --cpu].
    #[arg(long = "target", value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
    /// Weights (safetensors or .npz); without them, seeded initial ones, or those of the ONNX model.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// A weight's name in the file, and in the network; a `*` at the end of both stands for the rest. May be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = setting, requires = "weights")]
    pub(crate) map: Vec<(String, String)>,
    /// The seed of initial weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Write the weights to this file, packed for the object, instead of into the object; the caller maps or reads it.
    #[arg(long, value_name = "FILE")]
    pub(crate) weights_file: Option<PathBuf>,
    /// Also what trains the network as its `train` item says: a step on a batch, and gradients by inputs and weights.
    #[arg(long, conflicts_with = "weights_file")]
    pub(crate) train: bool,
    /// For an ONNX model, the file with the `train` item of --train; without it the settings of --with are the item.
    #[arg(long, value_name = "FILE.cnn", requires = "train")]
    pub(crate) train_item: Option<PathBuf>,
    /// A setting of the `train` item, instead of the program's: `--with batch=16`. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, requires = "train")]
    pub(crate) with: Vec<(String, String)>,
    /// What all names of the object begin with [default: the net's name in small letters].
    #[arg(long, value_name = "NAME")]
    pub(crate) prefix: Option<String>,
}

/// The stages that can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// The syntax tree.
    Ast,
    /// The network after all passes.
    Graph,
    /// The loop nests, one for each step.
    Loops,
    /// The Cranelift IR of each step.
    Clif,
    /// The machine code of each step.
    Asm,
    /// Steps, buffers and the arena.
    Plan,
    /// The network as a Graphviz drawing.
    Dot,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The program (`-` is standard input).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
    /// Options about the target.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Files in and out.
    #[command(flatten)]
    pub(crate) data: RunData,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Data options")]
pub(crate) struct RunData {
    /// An input: a PNG, JPEG or PNM picture (values 0..1) or an .npy array [n, axes as written]. One for each input of
    /// the network; the name may be left out where it has one. `-` is standard input.
    #[arg(short, long = "input", value_name = "[NAME=]FILE", value_parser = named)]
    pub(crate) inputs: Vec<(Option<String>, PathBuf)>,
    /// Weights (safetensors or .npz); without them, seeded initial ones, or those of the ONNX model.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// A weight's name in the file, and in the network; a `*` at the end of both stands for the rest. May be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = setting, requires = "weights")]
    pub(crate) map: Vec<(String, String)>,
    /// Write an output: a .png of one or three channels (0..1), else .npy; `-` is standard output, as .npy.
    #[arg(short, long = "output", value_name = "[NAME=]FILE", value_parser = named)]
    pub(crate) outputs: Vec<(Option<String>, PathBuf)>,
    /// Compare an output with an .npy array; exit code 1 when they differ.
    #[arg(short, long = "expect", value_name = "[NAME=]FILE", value_parser = named)]
    pub(crate) expect: Vec<(Option<String>, PathBuf)>,
    /// Relative difference allowed by --expect and --check.
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = difference)]
    pub(crate) rtol: f64,
    /// Absolute difference allowed by --expect and --check.
    #[arg(long, value_name = "X", default_value_t = 1e-4, value_parser = difference)]
    pub(crate) atol: f64,
    /// The seed of initial weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Run the f64 reference beside the machine code and print the difference at each layer.
    #[arg(long)]
    pub(crate) check: bool,
    /// Report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The program (`-` is standard input); or an operation with -e.
    #[arg(value_name = "FILE", required_unless_present = "expression", conflicts_with = "expression")]
    pub(crate) file: Option<PathBuf>,
    /// Measure one operation, or a pipeline of some, on an input: `-e 'conv(64, 3x3, pad: same)'`.
    #[arg(short, long, value_name = "EXPR", requires = "input")]
    pub(crate) expression: Option<String>,
    /// The shape of the input of -e: `[c: 64, h: 56, w: 56]`.
    #[arg(long, value_name = "SHAPE", requires = "expression")]
    pub(crate) input: Option<String>,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
    /// Options about the target.
    #[command(flatten)]
    pub(crate) target: Target,
    /// What to measure [default: infer for a program, forward for an operation].
    #[arg(long, value_enum, value_name = "PASS")]
    pub(crate) pass: Option<Pass>,
    /// Time to measure for; there are at least three runs.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The seed of weights and inputs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Also show where the time goes, step by step.
    #[arg(long)]
    pub(crate) profile: bool,
    /// Write the steps of one run as a trace that Perfetto and chrome://tracing open.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// One JSON object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a measurement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pass {
    /// The network, inputs to outputs.
    Infer,
    /// The operation, input to output.
    Forward,
    /// A training step: forward, cross-entropy of random classes, backward, update by SGD with momentum.
    Train,
    /// The gradient by the input.
    DataGrad,
    /// The gradients by the weights.
    WeightGrad,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The ONNX model.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Options about the model.
    #[command(flatten)]
    pub(crate) program: Program,
    /// The program to write; `-` is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// Write everything out, also what repeats: no blocks.
    #[arg(long)]
    pub(crate) flat: bool,
    /// The weights to write (safetensors or .npz).
    #[arg(short, long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The program (`-` is standard input), or an ONNX model.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
    /// The model to write; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Weights (safetensors or .npz); without them, seeded initial ones, or those of the ONNX model.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// A weight's name in the file, and in the network; a `*` at the end of both stands for the rest. May be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = setting, requires = "weights")]
    pub(crate) map: Vec<(String, String)>,
    /// The operator set to write, 13 to 23.
    #[arg(long, value_name = "N", default_value_t = crate::formats::onnx::export::OPSET)]
    pub(crate) opset: i64,
    /// The seed of initial weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// Programs to format; without any, or with `-`, standard input to standard output.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Change nothing; name the files that are not formatted and exit with 1 if there are any.
    #[arg(long)]
    pub(crate) check: bool,
    /// The name of standard input in messages.
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin_filename: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// An error code (`E0210`), an operation (`conv`), or a network: a program or an ONNX model (`-` is standard input).
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// A layer of the network, or a step, as `cnnc compile` and `cnnc bench --profile` call it; without one all are listed.
    #[arg(value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// Options about the program.
    #[command(flatten)]
    pub(crate) program: Program,
    /// Options about the target.
    #[command(flatten)]
    pub(crate) target: Target,
    /// What is compiled around the layer; with `train`, the steps of its gradients too.
    #[arg(long, value_enum, value_name = "PASS", default_value_t = Pass::Infer)]
    pub(crate) pass: Pass,
    /// Do not run the network to measure.
    #[arg(long)]
    pub(crate) no_measure: bool,
    /// Time to measure for.
    #[arg(long, value_name = "S", default_value_t = 0.3, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Repl {
    /// Programs to load first.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The batch extent `n`.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Where lines are remembered; empty for nowhere [default: cnnc/history in the user's state folder].
    #[arg(long, env = "CNNC_HISTORY", value_name = "FILE", value_parser = clap::value_parser!(OsString))]
    pub(crate) history: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `K=V`
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE, for example S=192".to_owned()),
    }
}

/// `NAME=1x3x224x224` or the extents alone
fn shape(text: &str) -> Result<(Option<String>, Vec<usize>), String> {
    let (name, extents) = match text.rsplit_once('=') {
        Some((name, extents)) => (Some(name.to_owned()), extents),
        None => (None, text),
    };
    let list: Option<Vec<usize>> =
        extents.split(['x', ',']).map(|e| e.trim().parse().ok().filter(|e| *e > 0)).collect();
    let list = list.ok_or_else(|| format!("`{extents}` is no list of extents such as 1x3x224x224"))?;
    Ok((name, list))
}

/// `NAME=FILE` or `FILE`
fn named(text: &str) -> Result<(Option<String>, PathBuf), String> {
    let identifier = |name: &str| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    match text.split_once('=') {
        Some((name, "")) if identifier(name) => Err(format!("a file must follow `{name}=`")),
        Some((name, file)) if identifier(name) => Ok((Some(name.to_owned()), PathBuf::from(file))),
        _ if text.is_empty() => Err("a file is needed".to_owned()),
        _ => Ok((None, PathBuf::from(text))),
    }
}

/// The file of a chart, by its ending.
fn chart_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("svg" | "png") => Ok(path),
        Some(_) | None => Err("a chart is a .svg or a .png file".to_owned()),
    }
}

/// `24x32` or `24`, rows and columns of a picture
fn picture_size(text: &str) -> Result<(usize, usize), String> {
    let extent = |t: &str| t.parse().ok().filter(|n| (1..=1usize << 14).contains(n));
    let size = match text.split_once('x') {
        Some((h, w)) => extent(h).zip(extent(w)),
        None => extent(text).map(|n| (n, n)),
    };
    size.ok_or_else(|| "write rows and columns such as 24x32, each from 1 to 16384".to_owned())
}

/// A difference that is allowed.
fn difference(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x >= 0.0 && x.is_finite() => Ok(x),
        _ => Err("write a number that is not negative, such as 1e-3".to_owned()),
    }
}

/// A time of measurement: positive, at most an hour.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("write a number of seconds, more than 0 and at most 3600".to_owned()),
    }
}
