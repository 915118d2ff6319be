//! The road from text to a model, one call per verb: parse and resolve make a [`Checked`] program, the rest makes a
//! [`Model`] of one of its nets.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::assemble::{Recipe, Timer, assemble};
use super::error::CompileError;
use super::model::{Made, Model};
use super::options::{Options, THREADS_MAX};
use super::pieces;
use super::tune::{self, Tuned};
use crate::ast;
use crate::graph::Graph;
use crate::passes::Level;
use crate::resolve::{self, Loader, Network, NoFiles, ParseFn, Program};
use crate::schedule::Target;
use crate::support::diag::Diagnostic;
use crate::support::span::{FileId, Sources};

/// Compiles programs under fixed options.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    options: Options,
}

/// A program after parsing and resolving: its nets, and everything that was found wrong or doubtful.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The texts.
    pub sources: Sources,
    /// The root file.
    pub root: FileId,
    /// Nets and diagnostics.
    pub program: Program,
    timer: Timer,
}

impl Checked {
    /// Everything that was found, by place.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.program.diagnostics
    }

    /// Whether something is wrong.
    pub fn has_errors(&self) -> bool {
        self.program.has_errors()
    }

    /// The net called `name`; without a name the last one.
    pub fn net(&self, name: Option<&str>) -> Option<&Network> {
        self.program.net(name)
    }

    /// The syntax tree of the root file, for readers of a compiler.
    pub fn dump_ast(&self) -> String {
        let (file, _) = crate::parse::parse(&self.sources, self.root);
        format!("{file:#?}\n")
    }
}

const PARSE: ParseFn = timed_parse;

thread_local! {
    /// Time spent parsing since the last check began: `resolve` parses each file when it meets it.
    static PARSING: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn timed_parse(sources: &Sources, file: FileId) -> (ast::File, Vec<Diagnostic>) {
    let start = Instant::now();
    let parsed = crate::parse::parse(sources, file);
    PARSING.set(PARSING.get() + start.elapsed());
    parsed
}

impl Compiler {
    /// A compiler with these options.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Its options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Checks a program. `name` is what messages call it; `loader` gives the files it uses.
    pub fn check(&self, name: &str, text: &str, loader: &dyn Loader) -> Checked {
        self.check_for(name, text, loader, |_| None)
    }

    /// Checks items about a net that no source describes. `given` makes it for the text's place among the sources.
    pub(super) fn check_for(
        &self,
        name: &str,
        text: &str,
        loader: &dyn Loader,
        given: impl FnOnce(FileId) -> Option<Network>,
    ) -> Checked {
        let mut sources = Sources::default();
        let root = sources.add(name, text);
        let options = resolve::Options {
            batch: self.options.batch,
            set: self.options.set.clone(),
            std: crate::parse::STD,
            fixes: self.options.fixes,
        };
        let mut timer = Timer::default();
        PARSING.set(Duration::ZERO);
        let given = given(root);
        let program = timer.time("resolve", || {
            resolve::resolve_for(&mut sources, root, PARSE, loader, &options, given.as_ref())
        });
        timer.split("resolve", "parse", PARSING.get());
        Checked { sources, root, program, timer }
    }

    /// Compiles a net of a checked program; without a name the last one.
    ///
    /// # Errors
    /// [`CompileError`] when the program is wrong, has no such net, or an option is out of range.
    pub fn compile(&self, checked: &Checked, net: Option<&str>) -> Result<Model, CompileError> {
        if checked.has_errors() {
            let diagnostics = checked.program.diagnostics.clone();
            return Err(CompileError::Program { diagnostics, sources: checked.sources.clone() });
        }
        let Some(network) = checked.net(net) else {
            let known = checked.program.nets.iter().map(|n| n.name.to_string()).collect();
            return Err(CompileError::NoNet { name: net.map(str::to_owned), known });
        };
        self.build(network.graph.clone(), checked.timer.clone())
    }

    /// Checks and compiles a program that uses no other files but `std`; its last net.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compile_text(&self, text: &str) -> Result<Model, CompileError> {
        self.compile(&self.check("program", text, &NoFiles), None)
    }

    /// Compiles a graph that was made otherwise: by an importer, or by hand.
    ///
    /// # Errors
    /// [`CompileError`] when the graph is malformed or an option is out of range.
    pub fn compile_graph(&self, graph: Graph) -> Result<Model, CompileError> {
        self.build(graph, Timer::default())
    }

    fn build(&self, source: Graph, mut timer: Timer) -> Result<Model, CompileError> {
        let options = &self.options;
        for (option, value, most) in
            [("batch", options.batch, usize::MAX), ("threads", options.threads, THREADS_MAX)]
        {
            if value == 0 || value > most {
                return Err(CompileError::Option { option });
            }
        }
        let target = Target::of(&options.isa);
        let parted = match options.level {
            Level::All | Level::Kept => {
                pieces::of(&source, source.batch().unwrap_or(options.batch), options.threads)
            }
            Level::Needed => None,
        };
        let planned = parted.as_ref().map_or(&source, |p| &p.0);
        let (recipe, tuned) = match &options.tune {
            Some(tune) => timer.time("tune", || tune::recipe(planned, options, tune))?,
            None => (Recipe::plain(options), Tuned::default()),
        };
        let mut program = assemble(planned.clone(), &recipe, &target, &mut timer)?;
        let nests: Vec<_> = program.nests.iter_mut().map(|n| std::mem::take(&mut n.nest)).collect();
        let code = timer.time("codegen", || crate::codegen::compile(&nests, &options.isa));
        for (slot, nest) in program.nests.iter_mut().zip(nests) {
            slot.nest = nest;
        }
        let made = Made { recipe, tuned, options: options.clone(), timer };
        Model::new(source, parted, program, code?, made)
    }
}
