//! Choices by measurement: for each distinct nest of a network a few plans that the scheduler lists are timed on this machine, and
//! each layer that could be computed by minimal filtering is timed in each of its ways. The fastest are kept in a folder, so that the
//! next compilation of equal layers finds them.
//!
//! Everything is timed on one thread and kept without the number of threads, so that what a network computes does not depend on
//! it. Plans change no bits; an algorithm does, and is part of [`Model::choices`](super::Model::choices).
//! A winner that is unreadable, or of another compiler or processor, is not heeded.

mod kept;
mod meter;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::assemble::{Recipe, nest_key};
use super::error::CompileError;
use super::options::Options;
use crate::graph::patch::Work;
use crate::graph::{Def, Graph, ValueId};
use crate::loops::Nest;
use crate::lower::{Step, lower};
use crate::ops::Op;
use crate::ops::winograd::pays;
use crate::passes::{self, Level, Settings, WAYS, Way, said, winograd_key};
use crate::schedule::{Choice, Cycles, Scheduled, Target, candidates, schedule, schedule_as};
use kept::{Kept, Winner};

pub use kept::machine;

/// Whether and where winners are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tune {
    /// The folder; made when something is first kept.
    pub folder: PathBuf,
    /// Whether what is not there yet is measured, which takes about 0.1 s for a layer, else only what is there is used.
    pub measure: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// Nests and algorithms whose winner was there.
    pub found: usize,
    /// Nests and algorithms that were measured.
    pub measured: usize,
    /// Where the winner is another than the cost model's choice.
    pub changes: Vec<Change>,
    /// What could not be read or written, a sentence each.
    pub warnings: Vec<String>,
}

/// A choice that differs from the cost model's.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The first step that it is for.
    pub name: String,
    /// What the cost model chose.
    pub from: String,
    /// What is faster.
    pub to: String,
    /// By how much of the time of the model's choice; 0 if that is not known any more.
    pub gain: f64,
}

/// A winner must be faster than the cost model's choice by this share: what measurements are sure of.
const GAIN_MIN: f64 = 0.02;

/// Nests of fewer cycles, about a microsecond, are not worth it.
const CYCLES_MIN: f64 = 2e3;

/// Nests with buffers of more elements, 1 GiB, are not measured.
const ELEMENTS_MAX: usize = 1 << 28;

/// Gives the seconds of each of several nests that compute the same.
type Meter<'m> = dyn FnMut(&[Nest]) -> Result<Vec<f64>, CompileError> + 'm;

/// How to compile `graph`, and what was measured or found for it.
///
/// # Errors
/// [`CompileError`] as any compilation; files are no reason to fail.
pub(super) fn recipe(graph: &Graph, options: &Options, tune: &Tune) -> Result<(Recipe, Tuned), CompileError> {
    let isa = &options.isa;
    recipe_by(graph, options, tune, &mut |nests| meter::seconds(nests, isa))
}

fn recipe_by(
    graph: &Graph,
    options: &Options,
    tune: &Tune,
    meter: &mut Meter<'_>,
) -> Result<(Recipe, Tuned), CompileError> {
    let mut recipe = Recipe::plain(options);
    let mut tuner = Tuner {
        kept: Kept::new(&tune.folder, &options.isa),
        measure: tune.measure,
        target: Target::of(&options.isa),
        meter,
        tuned: Tuned::default(),
        plans: BTreeMap::new(),
    };
    if !options.exact && options.level != Level::Needed {
        recipe.passes.winograd = tuner.algorithms(graph, &recipe.passes)?;
    }
    for step in Lowered::of(graph, &recipe.passes)?.steps.iter().filter(|s| !s.at_load) {
        tuner.seconds(&step.nest)?;
        let key = nest_key(&step.nest);
        let Some(Some(winner)) = tuner.plans.get(&key) else { continue };
        let (Some(choice), false) = (Choice::parse(&winner.line), recipe.plans.contains_key(&key)) else {
            continue;
        };
        let before = schedule(step.nest.clone(), &tuner.target);
        let after = schedule_as(step.nest.clone(), &tuner.target, &choice);
        if before != after {
            let of = |s: &Scheduled| {
                let plan = s.parts.get(choice.part).map_or("", |p| p.plan.as_str());
                format!("{} [{plan}]", s.note)
            };
            let (name, from, to) = (step.nest.name.clone(), of(&before), of(&after));
            tuner.tuned.changes.push(Change { name, from, to, gain: winner.gain });
            recipe.plans.insert(key, choice);
        }
    }
    Ok((recipe, tuner.tuned))
}

/// A graph down to its nests.
pub(super) struct Lowered {
    pub(super) work: Work,
    pub(super) steps: Vec<Step>,
}

impl Lowered {
    pub(super) fn of(graph: &Graph, settings: &Settings) -> Result<Self, CompileError> {
        let work = passes::run(graph.clone(), settings)?;
        let steps = lower(&work.graph)?;
        Ok(Self { work, steps })
    }

    fn step(&self, root: ValueId) -> Option<&Step> {
        self.steps.iter().find(|s| s.root == root && !s.at_load)
    }

    /// Operations that `wanted` picks, by what tells them from one another: name and type, and which of several it is.
    fn named(&self, wanted: impl Fn(&Op) -> bool) -> BTreeMap<(String, String, usize), ValueId> {
        let graph = &self.work.graph;
        let mut all = BTreeMap::new();
        for id in graph.ids() {
            let value = graph.value(id);
            if let Def::Op { op, .. } = &value.def
                && wanted(op)
            {
                let name = |n| (value.name.clone(), value.ty.to_string(), n);
                let n = (0..).find(|n| !all.contains_key(&name(*n))).unwrap_or(0);
                all.insert(name(n), id);
            }
        }
        all
    }
}

struct Tuner<'t, 'm> {
    kept: Kept,
    measure: bool,
    target: Target,
    meter: &'t mut Meter<'m>,
    tuned: Tuned,
    /// What is known of each nest; `None`: nothing, and nothing will be.
    plans: BTreeMap<u128, Option<Winner>>,
}

/// A layer as one way computes it.
struct Twin<'l> {
    way: Way,
    lowered: &'l Lowered,
    id: ValueId,
}

impl Tuner<'_, '_> {
    /// For each layer that can be computed by minimal filtering how it shall be, where that is known.
    fn algorithms(&mut self, graph: &Graph, plain: &Settings) -> Result<BTreeMap<String, Way>, CompileError> {
        let mut all = Vec::new();
        for way in WAYS {
            all.push((way, Lowered::of(graph, &Settings { minimal: Some(way), ..plain.clone() })?));
        }
        let (_, direct) = &all[0];
        let at_load = direct.work.graph.at_load();
        let named = |way: Way| {
            move |op: &Op| match op {
                Op::Conv(_) | Op::Unconv(_) => way.is_none(),
                Op::Winograd(w) => Some(w.tile) == way,
                _ => false,
            }
        };
        let twins: Vec<_> = all.iter().map(|(way, lowered)| lowered.named(named(*way))).collect();
        let mut answers = BTreeMap::new();
        for (name, id) in &twins[0] {
            let Some(key) = winograd_key(&direct.work.graph, *id, &at_load) else { continue };
            if answers.contains_key(&key) {
                continue;
            }
            let found = all.iter().zip(&twins).filter_map(|((way, lowered), ids)| {
                ids.get(name).map(|id| Twin { way: *way, lowered, id: *id })
            });
            if let Some(answer) = self.algorithm(&key, &found.collect::<Vec<_>>())? {
                answers.insert(key, answer);
            }
        }
        Ok(answers)
    }

    /// The fastest way for one layer, of which the first is the definition.
    fn algorithm(&mut self, key: &str, twins: &[Twin<'_>]) -> Result<Option<Way>, CompileError> {
        let what = format!("algorithm {key}");
        if let Some(winner) = self.read(&what) {
            if let Some(way) = WAYS.into_iter().find(|way| winner.line == said(*way)) {
                return Ok(Some(way));
            }
            // Not heeded, and so not found.
            self.tuned.found -= 1;
            let (line, layer) = (&winner.line, &winner.name);
            self.tuned.warnings.push(format!(
                "the kept winner for layers like `{layer}` is `{line}`, which is no way to compute them: `--tune` measures anew"
            ));
        }
        let [direct, _, ..] = twins else { return Ok(None) };
        let value = direct.lowered.work.graph.value(direct.id);
        let Def::Op { op, inputs } = &value.def else { return Ok(None) };
        if !self.measure {
            return Ok(None);
        }
        let (mut times, mut loaded) = (Vec::new(), true);
        for twin in twins {
            let Some(step) = twin.lowered.step(twin.id) else { return Ok(None) };
            // Where training changes the weight, its transform is part of every run.
            let weight = step.reads.get(1).filter(|_| twin.way.is_some());
            let made = twin.lowered.steps.iter().find(|s| !s.at_load && Some(&s.value) == weight);
            let extra = match made {
                Some(step) => self.seconds(&step.nest)?.unwrap_or(0.0),
                None => 0.0,
            };
            loaded &= made.is_none();
            let Some(seconds) = self.seconds(&step.nest)? else { return Ok(None) };
            times.push((twin.way, seconds + extra));
        }
        let rule = pays(op, &direct.lowered.work.graph.value(inputs[0]).ty, &value.ty, loaded).ok();
        let Some((_, own)) = times.iter().find(|(way, _)| *way == rule).copied() else { return Ok(None) };
        let fastest = times.iter().min_by(|a, b| a.1.total_cmp(&b.1)).copied().unwrap_or((rule, own));
        let (answer, seconds) = if fastest.1 < own * (1.0 - GAIN_MIN) { fastest } else { (rule, own) };
        let layer = value.name.clone();
        let winner = Winner { name: layer.clone(), line: said(answer), seconds, gain: 1.0 - seconds / own };
        self.tuned.measured += 1;
        if answer != rule {
            let (from, to) = (said(rule), said(answer));
            self.tuned.changes.push(Change { name: layer, from, to, gain: winner.gain });
        }
        self.write(&what, &winner);
        Ok(Some(answer))
    }

    /// The seconds of a nest as its winner runs, `None` where it is not known or not worth knowing.
    fn seconds(&mut self, nest: &Nest) -> Result<Option<f64>, CompileError> {
        let key = nest_key(nest);
        if !self.plans.contains_key(&key) {
            let winner = self.winner(nest, &format!("nest {key:032x}"))?;
            self.plans.insert(key, winner);
        }
        Ok(self.plans.get(&key).and_then(Option::as_ref).map(|w| w.seconds))
    }

    fn winner(&mut self, nest: &Nest, what: &str) -> Result<Option<Winner>, CompileError> {
        let elements = nest.bufs.iter().fold(0usize, |sum, b| sum.saturating_add(b.len));
        if elements > ELEMENTS_MAX
            || schedule(nest.clone(), &self.target).cycles().iter().map(Cycles::total).sum::<f64>()
                < CYCLES_MIN
        {
            return Ok(None);
        }
        let found = self.read(what);
        if found.is_some() || !self.measure {
            return Ok(found);
        }
        let all = candidates(nest, &self.target);
        let nests: Vec<Nest> =
            all.iter().map(|c| schedule_as(nest.clone(), &self.target, &c.choice).nest).collect();
        if nests.is_empty() {
            return Ok(None);
        }
        let seconds = (self.meter)(&nests)?;
        self.tuned.measured += 1;
        let Some(best) = (0..seconds.len()).min_by(|a, b| seconds[*a].total_cmp(&seconds[*b])) else {
            return Ok(None);
        };
        let best = if seconds[best] < seconds[0] * (1.0 - GAIN_MIN) { best } else { 0 };
        let gain = 1.0 - seconds[best] / seconds[0];
        let (name, line) = (nest.name.clone(), all[best].choice.to_string());
        let winner = Winner { name, line, seconds: seconds[best], gain };
        self.write(what, &winner);
        Ok(Some(winner))
    }

    fn read(&mut self, what: &str) -> Option<Winner> {
        match self.kept.read(what) {
            Ok(winner) => {
                self.tuned.found += usize::from(winner.is_some());
                winner
            }
            Err(warning) => {
                self.tuned.warnings.push(warning);
                None
            }
        }
    }

    fn write(&mut self, what: &str, winner: &Winner) {
        if let Err(warning) = self.kept.write(what, winner)
            && !self.tuned.warnings.contains(&warning)
        {
            self.tuned.warnings.push(warning);
        }
    }
}
