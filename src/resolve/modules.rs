//! The files of a program: `use` items are followed through the [`Loader`], each file is parsed once, and every item's
//! name goes into its module's table. In: a root file. Out: modules, the root first, and what went wrong.
//! Does no IO itself and evaluates nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Loader, ParseFn};
use crate::ast::{File, Ident, Item};
use crate::support::diag::Diagnostic;
use crate::support::span::{FileId, Sources, Span};
use crate::support::{Name, codes};

/// A module by its position in [`Modules`].
pub(super) type ModuleId = usize;

/// The name of the module shipped with the compiler.
pub(super) const STD: &str = "std";

/// More files than this in one program are refused.
const FILES_MAX: usize = 256;

/// One file, parsed.
#[derive(Clone)]
pub(super) struct Module {
    /// Its text.
    pub file: FileId,
    /// Its tree.
    pub ast: Rc<File>,
    /// Where each of its named items stands in `ast.items`; the first one where a name is taken twice.
    pub names: BTreeMap<Name, usize>,
    /// The modules it uses, by local name.
    pub uses: BTreeMap<Name, ModuleId>,
    /// Names of modules that could not be read.
    pub lost: BTreeSet<Name>,
    /// Some of its text does not parse, so that it may define more than `names` says.
    pub broken: bool,
}

/// All modules of a program: the root is 0, `std` (if there is one) is `std`.
#[derive(Clone, Default)]
pub(super) struct Modules {
    /// In the order they were found.
    pub all: Vec<Module>,
    /// The module shipped with the compiler.
    pub std: Option<ModuleId>,
}

/// Follows uses from `root`.
pub(super) fn gather(
    sources: &mut Sources,
    root: FileId,
    parse: ParseFn,
    loader: &dyn Loader,
    std: &str,
) -> (Modules, Vec<Diagnostic>) {
    let mut gather = Gather { sources, parse, loader, modules: Modules::default(), diags: Vec::new() };
    gather.module(root, &mut Vec::new());
    if !std.is_empty() {
        let file = gather.sources.add(STD, std);
        let id = gather.module(file, &mut Vec::new());
        gather.modules.std = Some(id);
        for module in &mut gather.modules.all {
            for target in module.uses.values_mut().filter(|t| **t == usize::MAX) {
                *target = id;
            }
        }
    }
    for module in &mut gather.modules.all {
        module.uses.retain(|_, id| *id != usize::MAX);
    }
    (gather.modules, gather.diags)
}

struct Gather<'s> {
    sources: &'s mut Sources,
    parse: ParseFn,
    loader: &'s dyn Loader,
    modules: Modules,
    diags: Vec<Diagnostic>,
}

impl Gather<'_> {
    /// Parses `file` and what it uses; `open` are the files on the way here.
    fn module(&mut self, file: FileId, open: &mut Vec<FileId>) -> ModuleId {
        let (ast, diags) = (self.parse)(self.sources, file);
        let broken = diags.iter().any(Diagnostic::is_error);
        self.diags.extend(diags);
        let id = self.modules.all.len();
        let (names, twice) = index(&ast);
        self.diags.extend(twice);
        let ast = Rc::new(ast);
        self.modules.all.push(Module {
            file,
            ast: Rc::clone(&ast),
            names,
            uses: BTreeMap::new(),
            lost: BTreeSet::new(),
            broken,
        });
        open.push(file);
        for item in &ast.items {
            let Item::Use(u) = item else { continue };
            let target = self.follow(&u.path, u.path_span, file, open);
            let name = u.alias.as_ref().map_or_else(|| stem(&u.path), |a| a.name.clone());
            let Some(module) = self.modules.all.get_mut(id) else { continue };
            match target {
                Some(target) => {
                    module.uses.insert(name, target);
                }
                None => {
                    module.lost.insert(name);
                }
            }
        }
        open.pop();
        id
    }

    /// The module behind a path; `usize::MAX` stands for `std`, which comes last.
    fn follow(&mut self, path: &str, at: Span, from: FileId, open: &mut Vec<FileId>) -> Option<ModuleId> {
        if path == STD {
            return Some(usize::MAX);
        }
        let from_name = self.sources.get(from).name.clone();
        let (name, text) = match self.loader.load(path, &from_name) {
            Ok(found) => found,
            Err(why) => {
                self.diags.push(
                    Diagnostic::new(codes::E0103, at, format!("\"{path}\" cannot be read: {why}"))
                        .label(format!("looked for from {from_name}")),
                );
                return None;
            }
        };
        if let Some(again) = open.iter().position(|f| *self.sources.get(*f).name == *name) {
            let mut ring: Vec<&str> = open.iter().skip(again).map(|f| &*self.sources.get(*f).name).collect();
            ring.push(&name);
            let message = if ring.len() == 2 {
                format!("{name} uses itself")
            } else {
                format!("{name} and {from_name} use each other")
            };
            self.diags.push(
                Diagnostic::new(codes::E0104, at, message)
                    .label("this use closes the cycle")
                    .note(ring.join(" uses ")),
            );
            return None;
        }
        if let Some(id) = self.modules.all.iter().position(|m| *self.sources.get(m.file).name == *name) {
            return Some(id);
        }
        if self.modules.all.len() >= FILES_MAX {
            let message = format!("a program of more than {FILES_MAX} files");
            self.diags.push(Diagnostic::new(codes::E0115, at, message));
            return None;
        }
        let file = self.sources.add(&name, &text);
        Some(self.module(file, open))
    }
}

/// `nets/blocks.cnn` is called `blocks`.
fn stem(path: &str) -> Name {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".cnn").unwrap_or(file).into()
}

/// The name an item defines.
pub(super) fn defined(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(c) => Some(&c.name),
        Item::Table(t) => Some(&t.name),
        Item::Block(b) => Some(&b.name),
        Item::Net(n) => Some(&n.name),
        Item::Use(u) => u.alias.as_ref(),
        Item::Train(_) | Item::Test(_) | Item::Budget(_) => None,
    }
}

/// Names to positions of items, and an error for each name taken twice.
pub(super) fn index(ast: &File) -> (BTreeMap<Name, usize>, Vec<Diagnostic>) {
    let mut names: BTreeMap<Name, usize> = BTreeMap::new();
    let mut diags = Vec::new();
    for (at, item) in ast.items.iter().enumerate() {
        let Some(ident) = defined(item) else { continue };
        match names.get(&ident.name) {
            None => {
                names.insert(ident.name.clone(), at);
            }
            Some(first) => {
                let mut diag =
                    Diagnostic::new(codes::E0102, ident.span, format!("`{}` is defined twice", ident.name))
                        .label("defined again");
                if let Some(ident) = ast.items.get(*first).and_then(defined) {
                    diag = diag.also(ident.span, "first defined here");
                }
                diags.push(diag);
            }
        }
    }
    (names, diags)
}
