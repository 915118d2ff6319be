//! Syntax tree to graph: names, static values, blocks, shapes with their provenance, diagnostics with verified fixes.
//!
//! In: the text of a program and of the files it uses (through a [`Loader`]: nothing is read here). Out: a [`Program`]: one
//! graph per net with a trace of where every extent comes from, the other items as data, and everything that is wrong. Never
//! panics and always ends: all bounds are in `cx`.
//!
//! Evaluation is one walk over the tree (`expr`, `pipe`, `call`, `blocks`, `opcall`). A failure is said once and becomes
//! poison, so that the rest is still checked and nothing that only follows from it is said again; an extent that an error left
//! unknown is marked in the trace and passed on the same way. Operations are called through their `OpInfo`; only the operators
//! of the language know theirs by name. No weights' values, no layouts, no fusion here.

mod args;
mod blocks;
mod call;
mod chain;
mod claims;
mod cx;
mod expr;
mod fail;
mod fixes;
mod items;
mod lints;
mod modules;
mod names;
mod nets;
mod network;
mod opcall;
mod pipe;
mod settings;
mod statics;
mod training;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub use chain::why;
pub use claims::{Claim, FACTS, Fact, FactExpr, Limits, Step, TestCase};
pub use network::{Network, Place, Site, SiteArg, Trace};
pub use settings::{Arg, Choice, DATA_FIELDS, Is, KEYS, Takes};
pub use training::{SetValue, Setting, Training};

use crate::ast::{self, Item};
use crate::ops::OpInfo;
use crate::support::Name;
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::{FileId, Sources, Span};
use cx::{Cx, Finding};
use fixes::Trial;
use modules::Modules;

/// Gives the text of files that a program uses; the core reads none.
pub trait Loader {
    /// The file that `path` means in the file called `from`: its name, which identifies it, and its text.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn load(&self, path: &str, from: &str) -> Result<(String, String), String>;
}

/// A loader that has no files.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _path: &str, _from: &str) -> Result<(String, String), String> {
        Err("there are no other files".into())
    }
}

/// The parser, handed in: verbs do not import each other.
pub type ParseFn = fn(&Sources, FileId) -> (ast::File, Vec<Diagnostic>);

/// What resolution may be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The batch `n` of every activation, at least 1.
    pub batch: usize,
    /// `--set K=V`: constants of the root file and their new values as text.
    pub set: Vec<(String, String)>,
    /// The text of the module `std`; empty for none.
    pub std: &'static str,
    /// Look for edits that mend the errors, and check each.
    pub fixes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 1, set: Vec::new(), std: "", fixes: true }
    }
}

/// A program, resolved.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The nets of the root file, in the order they stand.
    pub nets: Vec<Network>,
    /// Its `train` items.
    pub trainings: Vec<Training>,
    /// Its `test` items.
    pub tests: Vec<TestCase>,
    /// Its `budget` items.
    pub budgets: Vec<Limits>,
    /// What is wrong or doubtful, by place. The program may be compiled only if none is an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Program {
    /// Whether something is wrong.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The net called `name`; without a name the last one of the file.
    pub fn net(&self, name: Option<&str>) -> Option<&Network> {
        match name {
            Some(name) => self.nets.iter().find(|n| *n.name == *name),
            None => self.nets.last(),
        }
    }
}

/// Resolves the program whose root file is `root`; the files it uses are added to `sources`.
pub fn resolve(
    sources: &mut Sources,
    root: FileId,
    parse: ParseFn,
    loader: &dyn Loader,
    options: &Options,
) -> Program {
    resolve_for(sources, root, parse, loader, options, None)
}

/// The same with a net that no source describes, the first of the program: `train`, `test` and `budget` items may be about it.
/// A net of the source with its name is passed over.
pub fn resolve_for(
    sources: &mut Sources,
    root: FileId,
    parse: ParseFn,
    loader: &dyn Loader,
    options: &Options,
    given: Option<&Network>,
) -> Program {
    let (modules, mut diagnostics) = modules::gather(sources, root, parse, loader, options.std);
    let set = settings(sources, parse, options, &mut diagnostics);
    let infos: BTreeMap<&'static str, &'static OpInfo> =
        crate::ops::infos().into_iter().map(|info| (info.name, info)).collect();
    let input = Input { modules: &modules, infos: &infos, set: &set, options, given };
    let Outcome { mut program, found } = run(sources, &input);
    let parsed = diagnostics.iter().any(Diagnostic::is_error);
    let errors: Vec<_> =
        found.iter().map(|f| &f.diag).chain(&diagnostics).filter(|d| d.is_error()).map(fixes::key).collect();
    let mut tries = if options.fixes { fixes::TRIES_MAX } else { 0 };
    // The parser proposes without proof.
    for diag in diagnostics.iter_mut().filter(|_| options.fixes) {
        for fix in &mut diag.fixes {
            let trial = retry(sources, &input, parse, &fix.edits);
            fix.verified = trial.is_some_and(|t| t.errors.is_empty());
        }
    }
    for finding in found {
        let Finding { mut diag, candidates, again } = finding;
        // Where the text itself is broken, nothing can be said about the whole program.
        if !parsed {
            diag.fixes = fixes::verified(&diag, &candidates, &errors, &mut tries, |edits| {
                retry(sources, &input, parse, edits)
            });
        }
        if again > 0 && diag.is_error() {
            let times = if again == 1 { "once more".to_owned() } else { format!("{again} more times") };
            diag.notes.push(format!("the same place is wrong {times}, in other calls or turns"));
        }
        diagnostics.push(diag);
    }
    diagnostics.sort_by_key(|d| (d.primary.span, d.code.0));
    program.diagnostics = diagnostics;
    program
}

/// What stays the same over all tries of one program.
struct Input<'i> {
    modules: &'i Modules,
    infos: &'i BTreeMap<&'static str, &'static OpInfo>,
    set: &'i BTreeMap<Name, ast::Expr>,
    options: &'i Options,
    given: Option<&'i Network>,
}

struct Outcome {
    program: Program,
    found: Vec<Finding>,
}

/// The values of `--set`, parsed as constants are.
fn settings(
    sources: &mut Sources,
    parse: ParseFn,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> BTreeMap<Name, ast::Expr> {
    let mut set = BTreeMap::new();
    for (name, value) in &options.set {
        let file = sources.add("--set", &format!("const {name} = {value}"));
        let (ast, diags) = parse(sources, file);
        diagnostics.extend(diags);
        for item in ast.items {
            if let Item::Const(c) = item {
                set.insert(c.name.name, c.value);
            }
        }
    }
    set
}

/// One walk over the program.
fn run(sources: &Sources, input: &Input<'_>) -> Outcome {
    let none = Span { file: FileId(0), start: 0, end: 0 };
    let mut cx = Cx {
        sources,
        modules: input.modules,
        infos: input.infos,
        options: input.options,
        set: input.set,
        found: Vec::new(),
        items: BTreeMap::new(),
        open_items: Vec::new(),
        frames: Vec::new(),
        scopes: Vec::new(),
        net: Network::new(&"".into(), none),
        value_names: BTreeSet::new(),
        used: BTreeMap::new(),
        called: BTreeSet::new(),
        dry: false,
        steps: 0,
        depth: 0,
        stopped: false,
    };
    cx.check_settings();
    let root = &input.modules.all[0].ast.items;
    let mut program = Program { nets: input.given.into_iter().cloned().collect(), ..Program::default() };
    for item in root {
        match item {
            Item::Const(c) => {
                cx.item(0, &c.name.name, c.name.span);
            }
            Item::Table(t) => {
                cx.item(0, &t.name.name, t.name.span);
            }
            Item::Block(b) => cx.check_params(b),
            Item::Net(n) if input.given.is_some_and(|g| g.name == n.name.name) => {}
            Item::Net(n) => {
                let before = cx.errors();
                let mut net = cx.net(0, n);
                net.broken = cx.errors() > before || cx.stopped;
                program.nets.push(net);
            }
            Item::Use(_) | Item::Train(_) | Item::Test(_) | Item::Budget(_) => {}
        }
    }
    for item in root {
        match item {
            Item::Block(b) => cx.dry_run(0, b),
            Item::Train(t) => program.trainings.extend(cx.training(t, &program.nets)),
            Item::Test(t) => program.tests.push(cx.test(t, &program.nets)),
            Item::Budget(b) => program.budgets.extend(cx.budget(b, &program.nets)),
            Item::Use(_) | Item::Const(_) | Item::Table(_) | Item::Net(_) => {}
        }
    }
    if !cx.found.iter().any(|f| f.diag.is_error()) {
        program.nets.iter().filter(|n| !n.imported).for_each(|n| cx.lint_net(n));
        cx.lint_trainings(&program);
        // The net that was given may take the place of what uses them.
        if input.given.is_none() {
            cx.lint_unused();
        }
    }
    Outcome { program, found: cx.found }
}

/// Parses and resolves the program with edits applied; `None` if the edited text does not parse.
fn retry(sources: &Sources, input: &Input<'_>, parse: ParseFn, edits: &[Edit]) -> Option<Trial> {
    let (file, text) = fixes::edited(sources, edits)?;
    let mut changed = Sources::default();
    for (id, source) in sources.iter() {
        changed.add(&source.name, if id == file { &text } else { &source.text });
    }
    let (ast, diags) = parse(&changed, file);
    if diags.iter().any(Diagnostic::is_error) {
        return None;
    }
    let mut modules = input.modules.clone();
    let module = modules.all.iter_mut().find(|m| m.file == file)?;
    let (names, twice) = modules::index(&ast);
    module.ast = Rc::new(ast);
    module.names = names;
    let again = Input { modules: &modules, ..*input };
    let Outcome { program, found } = run(&changed, &again);
    let all = found.iter().map(|f| &f.diag).chain(&twice);
    let (errors, lints): (Vec<&Diagnostic>, Vec<&Diagnostic>) = all.partition(|d| d.is_error());
    let keys = |all: Vec<&Diagnostic>| all.into_iter().map(fixes::key).collect();
    Some(Trial { nets: program.nets, errors: keys(errors), lints: keys(lints) })
}
