//! Rewrites of a graph that keep what it computes. The list is data, in the order they run; what must stand before what is
//! data too, and a test holds the one against the other. Passes know no operation but through its rules.
//!
//! In: a fresh graph. Out: one with layouts and groups, ready to be lowered. Debug builds verify the graph after every pass.

mod cse;
mod dce;
mod fold;
mod fuse;
mod identity;
mod layout;
mod norm;
mod recompute;
mod tables;
#[cfg(test)]
mod tests;
mod update;
mod winograd;

use crate::graph::patch::Work;
use crate::graph::verify::{Broken, verify};
use crate::graph::{Graph, ValueId};

/// A rewrite.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its name in reports.
    pub name: &'static str,
    /// Passes that must have run before.
    pub after: &'static [&'static str],
    /// Whether lowering needs it; the others only make the program faster.
    pub needed: bool,
    /// The rewrite.
    pub run: fn(Work) -> Work,
}

/// All passes in the order they run.
pub const PASSES: &[Pass] = &[
    Pass { name: "identity", after: &[], needed: false, run: identity::run },
    Pass { name: "tables", after: &["identity"], needed: false, run: tables::run },
    Pass { name: "fold", after: &["identity"], needed: false, run: fold::run },
    Pass { name: "norm", after: &["identity", "tables"], needed: false, run: norm::run },
    Pass { name: "winograd", after: &["norm", "tables"], needed: false, run: winograd::run },
    Pass { name: "cse", after: &["fold", "norm", "winograd"], needed: false, run: cse::run },
    Pass { name: "dce", after: &["cse"], needed: false, run: dce::run },
    Pass { name: "recompute", after: &["cse", "dce"], needed: false, run: recompute::run },
    Pass { name: "layout", after: &["identity", "dce"], needed: true, run: layout::run },
    Pass { name: "fuse", after: &["layout"], needed: false, run: fuse::run },
    Pass { name: "update", after: &["layout", "fuse"], needed: true, run: update::run },
];

/// Which passes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// Those that lowering needs: each operation becomes a function of its own.
    Needed,
    /// All but those that compute values twice to save memory.
    Kept,
    /// All.
    #[default]
    All,
}

/// A pass that left a graph which breaks the rules: a bug of the pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassError {
    /// The pass; `source` for the graph that came in.
    pub pass: &'static str,
    /// What it broke.
    pub broken: Broken,
}

impl std::fmt::Display for PassError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the graph is malformed after `{}`: {}", self.pass, self.broken)
    }
}

impl std::error::Error for PassError {}

/// Lets the new elements of these weights be copied to their places at the end of a run: what the pass `update` does where it
/// sees that they cannot be stored there at once, for callers who know more.
pub fn detour(work: Work, params: &[ValueId]) -> Work {
    update::detour(work, params)
}

/// Runs the passes of `level`; verifies the graph at the start, and after each pass in debug builds, else at the end.
///
/// # Errors
/// [`PassError`] when a graph breaks the rules; no user can cause it through a checked program.
pub fn run(graph: Graph, level: Level) -> Result<Work, PassError> {
    verify(&graph).map_err(|broken| PassError { pass: "source", broken })?;
    let mut work = Work::new(graph);
    for (i, pass) in PASSES.iter().enumerate() {
        let runs = match level {
            Level::Needed => pass.needed,
            Level::Kept => pass.name != "recompute",
            Level::All => true,
        };
        if runs {
            work = (pass.run)(work);
        }
        if cfg!(debug_assertions) || i + 1 == PASSES.len() {
            verify(&work.graph).map_err(|broken| PassError { pass: pass.name, broken })?;
        }
    }
    Ok(work)
}
