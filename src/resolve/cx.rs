//! The state of one resolution: what is known, where evaluation stands, what was found wrong. All bounds on hostile programs
//! are here: each makes one error and ends evaluation, so that time and memory stay small whatever the program says.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use super::fixes::Candidate;
use super::modules::{ModuleId, Modules};
use super::names;
use super::network::Network;
use super::value::{Val, Weights};
use crate::ast::{self, Ident};
use crate::ops::OpInfo;
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::{Sources, Span};
use crate::support::{Name, codes};

/// Expressions evaluated in one program.
const STEPS_MAX: u64 = 4_000_000;
/// Values in one net.
pub(super) const VALUES_MAX: usize = 200_000;
/// Blocks within blocks.
pub(super) const BLOCKS_MAX: usize = 64;
/// Expressions within expressions, blocks included.
const DEPTH_MAX: usize = 320;
/// Errors reported in one program.
const ERRORS_MAX: usize = 100;

/// A message and the edits that may mend it.
pub(super) struct Finding {
    /// The message.
    pub diag: Diagnostic,
    /// Edits to be tried, the likeliest first.
    pub candidates: Vec<Candidate>,
    /// How often the same text was wrong in the same way, in other turns or calls.
    pub again: usize,
}

/// A value that evaluation may be inside of.
pub(super) enum State<'a> {
    /// Being evaluated.
    Open(Span),
    /// Known.
    Done(Val<'a>),
}

/// The names of one block, net or constant being evaluated.
pub(super) struct Frame<'a> {
    /// The module whose items are in sight.
    pub module: ModuleId,
    /// Names, the innermost last.
    pub locals: Vec<Local<'a>>,
    /// The block or net, by its name's place, to find recursion.
    pub owner: Option<Span>,
}

/// A local name.
pub(super) struct Local<'a> {
    /// The name.
    pub name: Name,
    /// Its value.
    pub value: Val<'a>,
    /// Where it was given.
    pub span: Span,
}

/// The names of layers and weights of one block call or turn.
pub(super) struct Scope {
    /// What stands before every name, empty for the net itself.
    pub path: String,
    /// How many unnamed calls of each operation there were.
    pub counts: BTreeMap<Name, usize>,
    /// Names that `as` or `new` gave, and where.
    pub taken: BTreeMap<Name, Span>,
    /// Weights made by an earlier call of the same instance.
    pub shared: Option<Weights>,
    /// The position in the net's list of places.
    pub place: usize,
}

/// The state.
pub(super) struct Cx<'a> {
    /// Texts.
    pub sources: &'a Sources,
    /// Trees.
    pub modules: &'a Modules,
    /// Operations by name.
    pub infos: &'a BTreeMap<&'static str, &'static OpInfo>,
    /// What the caller asked for.
    pub options: &'a Options,
    /// Values of `--set`, by the constant's name.
    pub set: &'a BTreeMap<Name, ast::Expr>,
    /// Messages, in the order they were found.
    pub found: Vec<Finding>,
    /// Constants and tables.
    pub items: BTreeMap<(ModuleId, Name), State<'a>>,
    /// Constants and tables being evaluated, the innermost last.
    pub open_items: Vec<Name>,
    /// Blocks being evaluated.
    pub frames: Vec<Frame<'a>>,
    /// Names being given.
    pub scopes: Vec<Scope>,
    /// The net being built.
    pub net: Network,
    /// Names that values of the net have.
    pub value_names: BTreeSet<String>,
    /// `let`s and parameters met, and whether one of their uses was.
    pub used: BTreeMap<Span, (Name, &'static str, bool)>,
    /// Blocks that some net called, by their names' places.
    pub called: BTreeSet<Span>,
    /// A block that nothing calls is being checked: all parameters are poison, both branches of every `if` are looked at.
    pub dry: bool,
    /// Expressions evaluated.
    pub steps: u64,
    /// Expressions open.
    pub depth: usize,
    /// A bound was passed: everything is poison from here.
    pub stopped: bool,
}

impl<'a> Cx<'a> {
    /// Adds a message; the same code at the same place is counted, not repeated.
    pub(super) fn report(&mut self, diag: Diagnostic, candidates: Vec<Candidate>) {
        let same = |f: &&mut Finding| f.diag.code == diag.code && f.diag.primary.span == diag.primary.span;
        if let Some(known) = self.found.iter_mut().find(same) {
            known.again += 1;
        } else if self.found.len() < ERRORS_MAX {
            self.found.push(Finding { diag, candidates, again: 0 });
        }
    }

    /// How many errors were found so far.
    pub(super) fn errors(&self) -> usize {
        self.found.iter().filter(|f| f.diag.is_error()).count()
    }

    /// Adds a message without edits, and gives the value that stands for the failed one.
    pub(super) fn fail(&mut self, diag: Diagnostic) -> Val<'a> {
        self.report(diag, Vec::new());
        Val::Poison
    }

    /// Adds a message about a bound and ends evaluation.
    pub(super) fn stop(&mut self, span: Span, message: String) -> Val<'a> {
        if !self.stopped {
            self.stopped = true;
            self.report(
                Diagnostic::new(codes::E0115, span, message).label("evaluation ends here"),
                Vec::new(),
            );
        }
        Val::Poison
    }

    /// Counts one expression; `false` when evaluation is over.
    pub(super) fn enter(&mut self, span: Span) -> bool {
        self.steps += 1;
        self.depth += 1;
        if self.steps > STEPS_MAX {
            self.stop(span, format!("the program asks for more than {STEPS_MAX} evaluations"));
        }
        if self.depth > DEPTH_MAX {
            self.stop(span, format!("expressions and blocks are nested more than {DEPTH_MAX} deep"));
        }
        !self.stopped
    }

    /// Counts the parts of a value that is put together, as many evaluations: a list of two lists of two … doubles with
    /// every line of the program. `false` when evaluation is over.
    pub(super) fn spend(&mut self, parts: u64, span: Span) -> bool {
        self.steps = self.steps.saturating_add(parts);
        if self.steps > STEPS_MAX {
            self.stop(span, format!("lists that hold more than {STEPS_MAX} values in all"));
        }
        !self.stopped
    }

    /// Ends what [`Self::enter`] began.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// An error about a name that is not known, with the nearest one as an edit.
    pub(super) fn unknown<'n>(
        &mut self,
        diag: Diagnostic,
        ident: (&str, Span),
        known: impl IntoIterator<Item = &'n str>,
    ) -> Val<'a> {
        let (name, span) = ident;
        match names::meant(name, known) {
            Some(near) => {
                let edit = Edit { span, text: near.to_owned() };
                // Where the name is all but known, a list of all names would only be noise.
                let mut diag = diag.label(format!("perhaps `{near}`"));
                diag.help.clear();
                self.report(diag, vec![Candidate::new(format!("{name} -> {near}"), vec![edit])]);
                Val::Poison
            }
            None => self.fail(diag),
        }
    }

    /// The frame being evaluated.
    pub(super) fn frame(&mut self) -> &mut Frame<'a> {
        if self.frames.is_empty() {
            self.frames.push(Frame { module: 0, locals: Vec::new(), owner: None });
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// The module whose text is being evaluated.
    pub(super) fn module(&self) -> ModuleId {
        self.frames.last().map_or(0, |f| f.module)
    }

    /// The scope in which names are given.
    pub(super) fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::new(String::new(), 0, None));
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// The place that values are made in.
    pub(super) fn place(&self) -> usize {
        self.scopes.last().map_or(0, |s| s.place)
    }

    /// Gives a local name.
    pub(super) fn bind(&mut self, ident: &Ident, value: Val<'a>) {
        self.frame().locals.push(Local { name: ident.name.clone(), value, span: ident.span });
    }

    /// The path of a call: its label, or its name with a number. A label given twice in one scope is an error.
    pub(super) fn path_for(&mut self, what: &Name, label: Option<&Ident>) -> String {
        let prefix = self.scope().path.clone();
        let join = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let Some(label) = label else { return join(&self.number(what)) };
        if let Some(first) = self.scope().taken.get(&label.name).copied() {
            if first != label.span {
                let message = format!("`{}` names two layers of one scope", label.name);
                self.report(
                    Diagnostic::new(codes::E0102, label.span, message)
                        .label("named again; weights are stored by this name")
                        .also(first, "first named here"),
                    Vec::new(),
                );
            }
            return join(&self.number(&label.name));
        }
        self.scope().taken.insert(label.name.clone(), label.span);
        join(&label.name)
    }

    fn number(&mut self, what: &Name) -> String {
        let word = spelled(what);
        loop {
            let scope = self.scope();
            let count = scope.counts.entry(what.clone()).or_insert(0);
            *count += 1;
            let name = format!("{word}_{count}");
            if !scope.taken.contains_key(name.as_str()) {
                return name;
            }
        }
    }

    /// A name that no value of the net has yet.
    pub(super) fn unique(&mut self, path: String) -> String {
        let mut name = path.clone();
        let mut turn = 2;
        while !self.value_names.insert(name.clone()) {
            name = format!("{path}_{turn}");
            turn += 1;
        }
        name
    }
}

impl Scope {
    /// A scope without names.
    pub(super) fn new(path: String, place: usize, shared: Option<Weights>) -> Self {
        Self { path, counts: BTreeMap::new(), taken: BTreeMap::new(), shared, place }
    }
}

/// An operator's name as part of a path.
fn spelled(what: &str) -> &str {
    match what {
        "+" => "add",
        "-" => "sub",
        "*" => "mul",
        "/" => "div",
        other => other,
    }
}
