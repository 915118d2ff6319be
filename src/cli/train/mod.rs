//! `cnnc train`: train the network of a program as its `train` item says; `cnnc eval`: measure trained weights.

mod confusion;
mod eval;
mod files;
mod history;
mod model;
mod progress;

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::args::{Train, Tuning};
use super::check;
use super::out::{Failure, Out};
use crate::data::{DataError, Places};
use crate::session::retune::{Retuned, retune};
use crate::session::{Checked, CompileError, Compiler, report};
use crate::support::diag::Diagnostic;
use crate::support::span::Sources;
use crate::trainer::{Control, Event, Measured, TrainError, Trainer};
use files::Folder;
use model::Subject;
use progress::Progress;

pub(super) use eval::run as eval;
pub(super) use files::weights_of;
pub(super) use history::line;

pub(super) fn run(args: &Train, out: Out) -> Result<(), Failure> {
    let start = std::time::Instant::now();
    if let Some(path) = &args.plot {
        files::can_be_made(path, "--plot")?;
    }
    let mut trainer = open(&args.tuning, &[], out)?;
    let folder = Folder::of(args, &trainer)?;
    let resumed = folder.prepare(&mut trainer, args)?;
    out.remark(&opening(&trainer, start.elapsed().as_secs_f64(), resumed));
    let mut progress = Progress::new(&trainer);
    let mut history = folder.history(&trainer)?;
    let mut unwritten = None;
    let done = trainer.run(&mut |event| {
        match event {
            Event::Step(step) => progress.step(step),
            Event::Epoch(epoch) => {
                progress.epoch(epoch, out);
                unwritten = history.add(epoch).err();
            }
        }
        if unwritten.is_some() { Control::Stop } else { Control::Continue }
    });
    progress.end();
    // Also of a training that ends badly: it shows where that began.
    let charted = folder.chart(&trainer, args.plot.as_deref());
    done.map_err(|e| failure(e, None, out))?;
    unwritten.map_or(Ok(()), Err)?;
    charted?;
    let stopped = (trainer.history().len() as u64) < trainer.settings().epochs;
    let best = trainer.best();
    if trainer.take_best().map_err(|e| failure(e, None, out))? {
        let early = if stopped { "stopped early; " } else { "" };
        out.remark(&format!("{early}the weights are those of epoch {}, the best\n", best.unwrap_or(0) + 1));
    }
    let measured = trainer.test().map_err(|e| failure(e, None, out))?;
    folder.write(&trainer, measured.as_ref(), out)?;
    let mut text = String::new();
    if let Some(measured) = &measured {
        text.push_str(&figures("test", measured, &trainer));
    }
    text.push_str(&format!("{}\n", folder.weights().display()));
    out.print(text)?;
    out.remark(&format!("{:.1} s in all\n", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Checks the program with its settings changed, reads data, compiles.
fn open(tuning: &Tuning, more: &[(String, String)], out: Out) -> Result<Trainer, Failure> {
    opened(tuning, more, out).map(|(trainer, _, _)| trainer)
}

/// A training that is to be compiled ahead of time, and the program checked for runs on `batch` samples.
///
/// # Errors
/// As `cnnc train`'s.
pub(super) fn ahead(tuning: &Tuning, batch: usize, out: Out) -> Result<(Trainer, Checked), Failure> {
    let (trainer, subject, text) = opened(tuning, &[], out)?;
    let compiler = Compiler::new(check::tuned(tuning)?.batch(batch));
    let checked = subject.check(&compiler, &text, tuning, None)?;
    Ok((trainer, checked))
}

/// The training, what it is about, and the text of its item with the settings that were changed.
fn opened(
    tuning: &Tuning,
    more: &[(String, String)],
    out: Out,
) -> Result<(Trainer, Subject, String), Failure> {
    let subject = Subject::read(tuning)?;
    let mut settings = more.to_vec();
    for (key, value) in [("batch", tuning.batch), ("epochs", tuning.epochs), ("seed", tuning.seed)] {
        settings.extend(value.map(|v| (key.to_owned(), v.to_string())));
    }
    settings.extend(tuning.with.iter().cloned());
    let Retuned { text, places: set } =
        retune(&subject.name, &subject.text, tuning.net.as_deref(), &settings);
    let options = check::tuned(tuning)?;
    let mut checked = subject.check(&Compiler::new(options.clone()), &text, tuning, None)?;
    let root = checked.root;
    for diagnostic in &mut checked.program.diagnostics {
        let at = diagnostic.primary.span;
        let from = set.iter().position(|place| {
            let here = |p: &Range<usize>| (p.start..=p.end).contains(&(at.start as usize));
            at.file == root && place.as_ref().is_some_and(here)
        });
        if let Some((key, value)) = from.and_then(|i| settings.get(i)) {
            let flag = match key.as_str() {
                "batch" | "epochs" | "seed" => format!("--{key} {value}"),
                _ => format!("--with {key}={value}"),
            };
            diagnostic.notes.push(format!("this is the command line's `{flag}`, not what the file says"));
        }
    }
    out.diagnostics(checked.diagnostics(), &checked.sources);
    if checked.has_errors() {
        return Err(Failure::said());
    }
    // Once more with the batch that the item says.
    let net = tuning.net.as_deref();
    let wrong = |e| failure(e, Some(&checked.sources), out);
    let (_, plan) = Trainer::plan(&checked, net).map_err(wrong)?;
    let compiler = Compiler::new(options.batch(plan.batch));
    let checked = subject.check(&compiler, &text, tuning, Some(out))?;
    let trainer = Trainer::new(&compiler, &checked, net, &places(&subject.file))
        .map_err(|e| failure(e, Some(&checked.sources), out))?;
    check::say_tuned(trainer.step_model(), out);
    Ok((trainer, subject, text))
}

/// Where data are looked for: paths beside the program; fetched sets in CNNC_DATA or the user's data folder.
pub(super) fn places(program: &Path) -> Places {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let user = || folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")));
    let cache = folder("CNNC_DATA").or_else(|| user().map(|folder| folder.join("cnnc")));
    Places { base: program.parent().map(Path::to_owned).unwrap_or_default(), cache }
}

/// What goes wrong, as the command line says it.
pub(super) fn failure(error: TrainError, sources: Option<&Sources>, out: Out) -> Failure {
    let text = error.to_string();
    match error {
        TrainError::Compile(CompileError::Bug(bug)) => Failure::Bug(bug.to_string()),
        TrainError::Compile(CompileError::Program { .. }) => Failure::said(),
        TrainError::Step(_, Some(span)) => match sources {
            Some(sources) => {
                let diagnostic = Diagnostic::new(crate::support::codes::E0603, span, text);
                out.remark(&report::human(&diagnostic, sources, out.color_err));
                Failure::said()
            }
            None => Failure::Wrong(text),
        },
        TrainError::NotFinite(_) | TrainError::Step(_, None) | TrainError::Setting(_) => Failure::Wrong(text),
        TrainError::NoItem { .. } | TrainError::Data(DataError::Shape(_)) | TrainError::At(_) => {
            Failure::Wrong(text)
        }
        TrainError::Foreign { path, what: _ } => Failure::Unusable(format!(
            "{text}; without --resume the training begins anew and takes the place of what is in {}",
            path.parent().unwrap_or(Path::new(".")).display()
        )),
        TrainError::Data(_) | TrainError::Compile(_) | TrainError::Run(_) | TrainError::File { .. } => {
            Failure::Unusable(text)
        }
    }
}

/// One line before the first epoch.
fn opening(trainer: &Trainer, seconds: f64, resumed: bool) -> String {
    let (plan, data) = (trainer.settings(), trainer.data());
    let part = |what: &str, n: Option<usize>| n.map_or(String::new(), |n| format!(", {n} {what}"));
    let model = trainer.step_model();
    let params: usize = model
        .weights()
        .iter()
        .filter(|w| w.trainable)
        .map(|w| w.axes.iter().map(|a| a.1).product::<usize>())
        .sum();
    let sizes = model.report().sizes;
    let again =
        if resumed { format!("; goes on after epoch {}", trainer.history().len()) } else { String::new() };
    format!(
        "{}: {} for training{}{}; {params} parameters, {} at rate {}, batch {}, {} epochs{again}\n\
         a step needs {} of memory (lower bound {}); ready after {seconds:.1} s\n",
        data.name,
        data.train.len(),
        part("for validation", data.validate.as_ref().map(|p| p.len())),
        part("for the test", data.test.as_ref().map(|p| p.len())),
        plan.optimizer.name(),
        plan.rate,
        plan.batch,
        plan.epochs,
        super::table::bytes((sizes.arena + sizes.weights) as u64),
        super::table::bytes((sizes.arena_bound + sizes.weights) as u64),
    )
}

/// `test: loss 0.0521, accuracy 98.61 % of 360 samples`, and the tables.
fn figures(part: &str, measured: &Measured, trainer: &Trainer) -> String {
    let mut text = format!("{part}: loss {:.4}", measured.loss);
    for figure in &measured.figures {
        text.push_str(&format!(", {}", progress::figure(figure)));
    }
    text.push_str(&format!(", {} samples\n", measured.samples));
    for table in &measured.tables {
        text.push_str(&confusion::text(table, confusion::fitting(table, &trainer.data().train.set.classes)));
    }
    text
}
