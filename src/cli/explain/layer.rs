//! `cnnc explain NET [LAYER]`: the layers of a network, or one of them with all that is known of how it is computed.

use std::path::Path;
use std::time::Duration;

use super::json;
use super::text;
use crate::cli::args::{Explain, Pass};
use crate::cli::bench::{self, measure};
use crate::cli::out::{Failure, Out};
use crate::cli::table::{Align, Table};
use crate::cli::{check, layers};
use crate::ops::OpInfo;
use crate::session::explain::{Explained, Kernel};
use crate::session::machine::{PeakSpeed, peak_speeds};
use crate::session::profile::expected;
use crate::session::{Compiler, Cycles, Model, Network};
use crate::support::diag::nearest;
use crate::trainer::pass;

/// A layer that is explained, and on what machine.
pub(super) struct Subject<'a> {
    pub(super) explained: Explained,
    pub(super) net: &'a Network,
    pub(super) pass: &'static str,
    pub(super) batch: usize,
    pub(super) threads: usize,
    pub(super) cpu: String,
    peaks: Vec<PeakSpeed>,
    /// The least seconds of each step of a run.
    times: Option<Vec<f64>>,
}

impl Subject<'_> {
    /// Multiply-adds at best, as floating-point operations per second of all threads; 0 if unknown.
    pub(super) fn peak(&self) -> f64 {
        self.peaks.iter().map(|p| p.operations_per_second).fold(0.0, f64::max) * self.threads as f64
    }

    /// The seconds that the cost model expects of a kernel if its parts took `cycles`; `None` where the machine's peak is not known.
    pub(super) fn seconds(&self, kernel: &Kernel, cycles: &[Cycles]) -> Option<f64> {
        expected(cycles, kernel.lanes, kernel.chunks, &self.peaks, self.threads)
    }

    /// The seconds that a kernel took.
    pub(super) fn measured(&self, kernel: &Kernel) -> Option<f64> {
        self.times.as_ref()?.get(kernel.run?).copied()
    }

    /// What the layer's operation does, as the list of operations says it.
    pub(super) fn doc(&self) -> Option<&'static str> {
        let source = self.explained.source.as_ref()?;
        let what = self.what();
        let infos: Vec<&OpInfo> = crate::ops::infos();
        infos.iter().find(|i| *i.name == *what || i.name == source.kind).map(|i| i.doc)
    }

    /// What the source calls the operation.
    pub(super) fn what(&self) -> String {
        let Some(source) = &self.explained.source else { return String::new() };
        let same = self.net.graph.values.get(source.value.index()).is_some_and(|v| v.name == source.row.name);
        if same { self.net.trace(source.value).what.to_string() } else { source.kind.to_owned() }
    }
}

pub(super) fn run(args: &Explain, path: &Path, out: Out) -> Result<(), Failure> {
    let compiler = Compiler::new(check::targeted(&args.program, &args.target, 0)?);
    let checked = check::checked(&compiler, path, &args.program, out)?;
    let net = check::network(&checked, &args.program, path)?;
    let work = pass::work(net, bench::pass_of(args.pass)).map_err(|e| {
        Failure::Unusable(format!("`--pass {}` of `{}`: {e}", bench::label(args.pass), net.name))
    })?;
    let (model, _) = work.compile(&compiler, net).map_err(check::refused)?;
    check::say_tuned(&model, out);
    let Some(name) = &args.layer else {
        return if args.json {
            out.print(json::list(&model))
        } else {
            out.print(list(&model, net, args.pass))
        };
    };
    let explained = model.explain(name).ok_or_else(|| unknown(&model, name, path))?;
    let options = compiler.options();
    let peaks = peak_speeds(&options.isa, Duration::from_millis(20));
    let times = if args.no_measure {
        None
    } else {
        let time = Duration::from_secs_f64(args.seconds);
        let measured = measure::model(model, &work, &[], 0, time)?;
        // A step runs once for each piece of a batch.
        let pieces = explained.pieces as f64;
        Some(measured.steps.iter().map(|s| s.times[0] / pieces).collect())
    };
    let subject = Subject {
        explained,
        net,
        pass: bench::label(args.pass),
        batch: net.graph.batch().unwrap_or(options.batch),
        threads: options.threads,
        cpu: options.isa.name().to_owned(),
        peaks,
        times,
    };
    out.print(if args.json { json::layer(&subject) } else { text::layer(&subject) })
}

fn unknown(model: &Model, name: &str, path: &Path) -> Failure {
    let names = model.layer_names();
    let path = path.display();
    Failure::Unusable(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("{path} has no layer `{name}`; did you mean `{near}`?"),
        None => format!("{path} has no layer `{name}`; `cnnc explain {path}` lists its layers"),
    })
}

/// All layers, or all steps where the source says only some of them.
fn list(model: &Model, net: &Network, pass: Pass) -> String {
    let mut text = if matches!(pass, Pass::Infer | Pass::Forward) {
        layers::compiled(net, &model.report()).render()
    } else {
        let mut table = Table::new(&[("step", Align::Left), ("kernel", Align::Left)]);
        for (name, note) in model.step_notes() {
            table.row(vec![name.to_owned(), note.to_owned()]);
        }
        table.render()
    };
    text.push_str("\n`cnnc explain NET LAYER` says more of one: its formula, its loops, its kernel and what that reaches\n");
    text
}
