//! One step of a program: what it reads and stores, the loops and the code, what the cost model expects of it, and what else it
//! could have been.

use crate::codegen::{Writer, writer};
use crate::graph::{Def, ValueId};
use crate::lower::memory::Place;
use crate::ops::Op;
use crate::ops::equation::{Equation, equation, word};
use crate::ops::minimal::Tile;
use crate::ops::winograd::{of, pays};
use crate::ops::winograd_grad;
use crate::passes::{Settings, WAYS, Way, said};
use crate::schedule::{Cycles, Part, Target, candidates};
use crate::session::model::Compiled;
use crate::session::tune::Lowered;
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What `cnnc bench --profile` calls it.
    pub name: String,
    /// Its position among the steps of a run; `None`: it runs when weights are loaded.
    pub run: Option<usize>,
    /// The operations that it computes, in the order they are applied.
    pub operations: Vec<&'static str>,
    /// The formula of the first, as passes left it.
    pub equation: Option<Equation>,
    /// What it reads, then what it stores.
    pub values: Vec<Stored>,
    /// How its main part computes: `direct 8x6 f32x16`.
    pub note: String,
    /// Its perfect nests.
    pub parts: Vec<Part>,
    /// Who wrote the machine code.
    pub writer: Writer,
    /// Into how many parts threads may share it out.
    pub chunks: usize,
    /// Bytes of buffers of its own.
    pub scratch: u64,
    /// Bytes of machine code.
    pub code: usize,
    /// Floating-point operations by the definitions of its operations.
    pub flops: u64,
    /// Cycles that the cost model expects of each of its parts on one core, see [`crate::session::profile::expected`].
    pub cycles: Vec<Cycles>,
    /// Lanes of the vectors that it was scheduled for.
    pub lanes: usize,
    /// What it could have been instead, with the reason or the cost.
    pub others: Vec<Other>,
    /// The scheduled loops.
    pub loops: String,
}

/// A value in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TensorTy,
    /// The order of its dimensions, halos, blocks.
    pub layout: String,
    /// In which memory.
    pub place: &'static str,
    /// Whether the step stores it, or reads it.
    pub stored: bool,
    /// Whether the step stores it where an operand lay.
    pub in_place: bool,
}

/// Another way to compute a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Which.
    pub what: String,
    /// Why it was not chosen.
    pub why: String,
    /// The same of the whole step computed so, where it is possible.
    pub cycles: Option<Vec<Cycles>>,
}

/// Other plans that are listed, at most.
const PLANS: usize = 5;

impl Compiled {
    pub(super) fn explain_step(&self, i: usize) -> Kernel {
        let graph = &self.program.work.graph;
        let (step, scheduled) = (&self.program.steps[i], &self.program.nests[i]);
        let root = graph.value(step.root);
        let kind = |id: &ValueId| match &graph.value(*id).def {
            Def::Op { op, .. } => word(op),
            Def::Input(_) | Def::Param { .. } | Def::Const(_) => "",
        };
        let mut formula = None;
        if let Def::Op { op, inputs } = &root.def {
            let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
            formula = equation(op, &types, &root.ty);
        }
        let values = step.reads.iter().map(|id| Stored { stored: false, ..self.stored(*id, false) });
        let result = self.stored(step.value, self.takes_over(i));
        let also = step.also.iter().map(|id| self.stored(*id, false));
        let own = scheduled.nest.bufs.get(step.shared()..).unwrap_or_default();
        let mut others = self.other_algorithm(i);
        others.extend(self.other_plans(i));
        Kernel {
            name: scheduled.nest.name.clone(),
            run: self.run_steps.iter().position(|r| *r == i),
            operations: graph.members(step.root).iter().map(kind).collect(),
            equation: formula,
            values: values.chain([result]).chain(also).collect(),
            note: scheduled.note.clone(),
            parts: scheduled.parts.clone(),
            writer: writer(&scheduled.nest, &self.options.isa),
            chunks: scheduled.nest.chunks(),
            scratch: own.iter().map(|b| 4 * b.len as u64).sum(),
            code: self.code.size_of(i),
            flops: self.work_of(&graph.members(step.root)).0,
            cycles: scheduled.cycles(),
            lanes: scheduled.lanes,
            others,
            loops: crate::loops::print::print(&scheduled.nest),
        }
    }

    fn stored(&self, id: ValueId, in_place: bool) -> Stored {
        let value = self.program.work.graph.value(id);
        let place = match self.program.memory.places[id.index()] {
            Place::Input(_) => "input",
            Place::Output(_) => "output",
            Place::Store(_) => "weights",
            Place::Next(_) => "beside weights",
            Place::Arena(_) => "arena",
            Place::None => "nowhere",
        };
        let layout = value.layout.as_ref().map_or(String::new(), |l| shown(l, &value.ty));
        Stored { name: value.name.clone(), ty: value.ty.clone(), layout, place, stored: true, in_place }
    }

    /// Whether the result lies where an operand did.
    fn takes_over(&self, i: usize) -> bool {
        let step = &self.program.steps[i];
        let place = |id: ValueId| self.program.memory.places[id.index()];
        step.in_place
            .iter()
            .any(|r| place(step.reads[*r]) == place(step.value) && place(step.value) != Place::None)
    }

    /// The other ways: minimal filtering for what is computed by definition, other tiles, the definition.
    fn other_algorithm(&self, i: usize) -> Vec<Other> {
        let graph = &self.program.work.graph;
        let step = &self.program.steps[i];
        let root = graph.value(step.root);
        let Def::Op { op, inputs } = &root.def else { return Vec::new() };
        if let Some(other) = self.other_gradient(op, inputs) {
            return vec![other];
        }
        let way = match op {
            Op::Winograd(w) => Some(w.tile),
            Op::Conv(_) | Op::Unconv(_) => None,
            _ => return Vec::new(),
        };
        let ways = WAYS.into_iter().filter(|w| *w != way);
        let mut others: Vec<Other> = ways.map(|other| self.other_way(i, op, way, other)).collect();
        // One reason says it for both sizes of tiles where they have the same.
        others.dedup_by(|b, a| a.cycles.is_none() && b.cycles.is_none() && a.why == b.why);
        others
    }

    /// Step `i`, which computes `op` by `way`, by an `other` way.
    fn other_way(&self, i: usize, op: &Op, way: Way, other: Way) -> Other {
        let graph = &self.program.work.graph;
        let step = &self.program.steps[i];
        let root = graph.value(step.root);
        let what = said(other);
        let none = |why: String| Other { what: what.clone(), why, cycles: None };
        let Def::Op { inputs, .. } = &root.def else { return none(String::new()) };
        let x = &graph.value(inputs[0]).ty;
        if let (None, Some(tile)) = (way, other)
            && let Err(reason) = of(op, x, &root.ty, tile)
        {
            return none(format!("does not apply: {reason}"));
        }
        if self.recipe.passes.exact {
            return none("options ask for definitions".to_owned());
        }
        let settings = Settings { minimal: Some(other), ..self.recipe.passes.clone() };
        let lowered = Lowered::of(self.planned(), &settings).ok();
        let twin = lowered.as_ref().and_then(|l| {
            let alike = |s: &&crate::lower::Step| {
                let v = l.work.graph.value(s.root);
                v.name == root.name && v.ty == root.ty && s.at_load == step.at_load
            };
            let step = l.steps.iter().find(alike)?;
            let Def::Op { op, .. } = &l.work.graph.value(step.root).def else { return None };
            let done = if let Op::Winograd(w) = op { Some(w.tile) } else { None };
            (done == other).then_some(step)
        });
        let Some(twin) = twin else {
            return none(
                "does not apply: it would round worse than the definition, or its buffers would be too large"
                    .to_owned(),
            );
        };
        let cycles = Some(self.recipe.schedule(&twin.nest, &Target::of(&self.options.isa)).cycles());
        let loaded = graph.at_load()[inputs[1].index()];
        let measured = self.options.tune.is_some() && !self.recipe.passes.winograd.is_empty();
        let why = match (way, other) {
            _ if measured => "measured or ruled to be slower".to_owned(),
            (Some(tile), None) => {
                format!(
                    "{} instead of {} products for {} outputs",
                    tile.products(),
                    tile.numbers(),
                    tile.products() / 9
                )
            }
            (Some(_), Some(_)) => "tiles of this size are ruled to be slower".to_owned(),
            (None, Some(_)) => pays(op, x, &root.ty, loaded).err().unwrap_or_default(),
            (None, None) => String::new(),
        };
        Other { what, why, cycles }
    }

    /// The other way to a gradient by a weight.
    fn other_gradient(&self, op: &Op, inputs: &[ValueId]) -> Option<Other> {
        let ty = |i: usize| &self.program.work.graph.value(inputs[i]).ty;
        if let Op::WinogradGrad(w) = op {
            let (m, n) = (w.tile.products(), w.tile.numbers());
            let why = format!("{m} instead of {n} products for {} gradients", m / 9);
            return Some(Other { what: said(None), why, cycles: None });
        }
        if !matches!(op, Op::ConvGrad(_) | Op::ConvGradSums(_)) {
            return None;
        }
        let why = match winograd_grad::of(op, ty(0), ty(1), Tile::Two) {
            Err(reason) => format!("does not apply: {reason}"),
            Ok(_) if self.recipe.passes.exact => "options ask for definitions".to_owned(),
            Ok(_) => winograd_grad::pays(op, ty(0), ty(1)).err().unwrap_or_default(),
        };
        Some(Other { what: format!("minimal filtering {}", Tile::Two.gradient()), why, cycles: None })
    }

    /// The scheduler's other candidates for the main part.
    fn other_plans(&self, i: usize) -> Vec<Other> {
        let scheduled = &self.program.nests[i];
        let target = Target::of(&self.options.isa);
        let Some(main) = scheduled.main() else { return Vec::new() };
        let chosen = &scheduled.parts[main].plan;
        let all = candidates(&self.program.steps[i].nest, &target);
        let others = all.into_iter().filter(|c| c.choice.plan != *chosen).map(|c| {
            let mut cycles = scheduled.cycles();
            cycles[main] = c.cycles;
            Other { what: c.note, why: c.why, cycles: Some(cycles) }
        });
        // The same tile in other orders is one line enough.
        let mut listed: Vec<Other> = Vec::new();
        for other in others {
            if listed.len() < PLANS && !listed.iter().any(|l| l.what == other.what && l.why == other.why) {
                listed.push(other);
            }
        }
        listed
    }
}

/// `n h w c, halo h 1+1 w 1+1, blocks of 16`
fn shown(layout: &Layout, ty: &TensorTy) -> String {
    let name = |d: &usize| ty.names()[*d].to_string();
    let mut text = layout.order.iter().map(name).collect::<Vec<_>>().join(" ");
    let halo: Vec<String> = layout
        .halo
        .iter()
        .enumerate()
        .filter(|(_, h)| **h != (0, 0))
        .map(|(d, (lo, hi))| format!("{} {lo}+{hi}", name(&d)))
        .collect();
    if !halo.is_empty() {
        text.push_str(&format!(", halo {}", halo.join(" ")));
    }
    if let (Some(size), Some(inner)) = (layout.block, layout.order.last()) {
        text.push_str(&format!(", {} in blocks of {size}, outermost", name(inner)));
    }
    text
}
