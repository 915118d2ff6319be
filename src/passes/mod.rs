//! Rewrites of a graph that keep what it computes. The list is data, in the order they run; what must stand before what is
//! data too, and a test holds the one against the other. Passes know no operation but through its rules.
//!
//! In: a fresh graph. Out: one with layouts and groups, ready to be lowered. Debug builds verify the graph after every pass.

mod apart;
mod bands;
mod beside;
mod cse;
mod dce;
mod fold;
mod fuse;
mod identity;
mod layout;
mod norm;
mod recompute;
mod shares;
mod squares;
mod tables;
#[cfg(test)]
mod tests;
mod update;
mod winograd;

pub use apart::APART;

use std::collections::BTreeMap;

use crate::graph::patch::Work;
use crate::graph::verify::{Broken, verify};
use crate::graph::{Graph, ValueId};
use crate::ops::minimal::Tile;

/// A rewrite.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its name in reports.
    pub name: &'static str,
    /// Passes that must have run before.
    pub after: &'static [&'static str],
    /// Whether lowering needs it; the others only make the program faster.
    pub needed: bool,
    /// Whether it computes convolutions otherwise than their definition says: other bits, and another spread of what is not
    /// finite.
    pub restates: bool,
    /// The rewrite.
    pub run: fn(Work, &Settings) -> Work,
}

/// How a layer is computed: by definition, or by minimal filtering in tiles.
pub type Way = Option<Tile>;

/// What the passes are told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which of them run.
    pub level: Level,
    /// Without those that restate.
    pub exact: bool,
    /// How all layers that can be computed by minimal filtering are, whatever else is said; in the largest tiles up to these that
    /// are possible.
    pub minimal: Option<Way>,
    /// Layers, by [`winograd_key`], for which it was measured how they are computed fastest. For all others the rule of
    /// [`crate::ops::winograd::pays`] decides.
    pub winograd: BTreeMap<String, Way>,
    /// Vector registers of the target; 0 if nothing is known of it.
    pub registers: usize,
    /// Whether new elements of weights may lie beside the old ones until a run is over.
    pub beside: bool,
}

impl From<Level> for Settings {
    fn from(level: Level) -> Self {
        Self { level, ..Self::default() }
    }
}

/// All passes in the order they run.
pub const PASSES: &[Pass] = &[
    Pass { name: "beside", after: &[], needed: false, restates: false, run: beside::run },
    Pass { name: "identity", after: &[], needed: false, restates: false, run: |work, _| identity::run(work) },
    Pass {
        name: "tables",
        after: &["identity"],
        needed: false,
        restates: true,
        run: |work, _| tables::run(work),
    },
    Pass {
        name: "fold",
        after: &["identity"],
        needed: false,
        restates: false,
        run: |work, _| fold::run(work),
    },
    Pass {
        name: "norm",
        after: &["identity", "tables"],
        needed: false,
        restates: false,
        run: |work, _| norm::run(work),
    },
    Pass {
        name: "apart",
        after: &["norm", "tables"],
        needed: false,
        restates: false,
        run: |work, _| apart::run(work),
    },
    Pass {
        name: "winograd",
        after: &["norm", "tables", "apart"],
        needed: false,
        restates: true,
        run: winograd::run,
    },
    Pass {
        name: "shares",
        after: &["winograd"],
        needed: false,
        restates: false,
        run: |work, _| shares::run(work),
    },
    Pass {
        name: "bands",
        after: &["winograd"],
        needed: false,
        restates: false,
        run: |work, _| bands::run(work),
    },
    Pass {
        name: "squares",
        after: &["winograd", "shares"],
        needed: false,
        restates: false,
        run: |work, _| squares::run(work),
    },
    Pass {
        name: "cse",
        after: &["fold", "norm", "winograd", "shares", "bands", "squares"],
        needed: false,
        restates: false,
        run: |work, _| cse::run(work),
    },
    Pass { name: "dce", after: &["cse"], needed: false, restates: false, run: |work, _| dce::run(work) },
    Pass {
        name: "recompute",
        after: &["cse", "dce"],
        needed: false,
        restates: false,
        run: |work, _| recompute::run(work),
    },
    Pass {
        name: "layout",
        after: &["identity", "dce"],
        needed: true,
        restates: false,
        run: |work, _| layout::run(work),
    },
    Pass { name: "fuse", after: &["layout"], needed: false, restates: false, run: fuse::run },
    Pass {
        name: "update",
        after: &["layout", "fuse"],
        needed: true,
        restates: false,
        run: |work, _| update::run(work),
    },
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

/// All ways, the definition first.
pub const WAYS: [Way; 3] = [None, Some(Tile::Two), Some(Tile::Four)];

/// A way in words.
pub fn said(way: Way) -> String {
    way.map_or("by definition".to_owned(), |tile| format!("minimal filtering {}", tile.filter()))
}

/// What tells layers apart that could be computed by minimal filtering: operation and extents.
/// Whether its weight is known when weights are loaded counts, as `at_load` says for each value of the graph.
pub fn winograd_key(graph: &Graph, id: ValueId, at_load: &[bool]) -> Option<String> {
    winograd::key(graph, id, at_load)
}

/// Runs the passes that `settings` ask for; verifies the graph at the start, and after each pass in debug builds, else at the end.
///
/// # Errors
/// [`PassError`] when a graph breaks the rules; no user can cause it through a checked program.
pub fn run(graph: Graph, settings: &Settings) -> Result<Work, PassError> {
    verify(&graph).map_err(|broken| PassError { pass: "source", broken })?;
    let mut work = Work::new(graph);
    for (i, pass) in PASSES.iter().enumerate() {
        let runs = match settings.level {
            Level::Needed => pass.needed,
            Level::Kept => pass.name != "recompute",
            Level::All => true,
        };
        if runs && !(settings.exact && pass.restates) {
            work = (pass.run)(work, settings);
        }
        if cfg!(debug_assertions) || i + 1 == PASSES.len() {
            verify(&work.graph).map_err(|broken| PassError { pass: pass.name, broken })?;
        }
    }
    Ok(work)
}
