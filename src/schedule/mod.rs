//! Canonical loop nests to scheduled ones: who runs in parallel, what is vectorised, what stays in registers. In: a nest
//! of `Free` and `Serial` loops; out: a nest that computes the same bits and whose outermost statements are `Par` loops.
//!
//! 1. [`collapse`]: blocks become dimensions of their own, loops of one turn go, neighbouring loops over contiguous elements become one;
//! 2. [`profile`]: what one turn of a perfect nest reads, writes and computes;
//! 3. [`plan`]: which loop gets the vector lanes, which loops are register tiles, in which order the rest runs, by the model of
//!    [`cost`]; a measurement may have found another of its [`candidates`] faster ([`schedule_as`]);
//! 4. [`emit`]: the nest rewritten so. Independent loops that are neither shared out nor in the tile stay `Free`.
//!
//! Only independent loops are split, exchanged or repeated; the order in which a sum is added up never changes. Nothing
//! depends on the number of threads. (The memory plan lives beside this.)

mod cache;
mod collapse;
mod cost;
mod emit;
mod plan;
mod profile;
#[cfg(test)]
mod tests;

pub use cost::Cycles;

use crate::kernels::isa::Isa;
use crate::kernels::x86::Unit;
use crate::loops::blocks;
use crate::loops::independent::dependent_statements;
use crate::loops::walk::{accesses, each};
use crate::loops::{BinOp, Buf, Expr, LANES, LoopKind, Nest, Stmt, Var};

/// Below so many scalar operations a nest is not worth sharing out.
const WORK_MIN: f64 = 16384.0;

/// A loop that has at least so many turns is worth sharing out.
const SHARES_MIN: usize = 8;

/// What the machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether a multiply-add is one instruction.
    pub fma: bool,
    /// Lanes of a vector: 4 where Cranelift writes the code, else what the processor has.
    pub lanes: usize,
    /// Vector registers that a tile may fill.
    pub vector_registers: usize,
}

impl Target {
    /// Cranelift's vectors.
    pub const NARROW: Target = Target { fma: true, lanes: LANES, vector_registers: 15 };

    /// What code for `isa` works with.
    pub fn of(isa: &Isa) -> Target {
        match Unit::of(isa) {
            Some(unit) => Target { fma: true, lanes: unit.lanes(), vector_registers: unit.registers() },
            None => Target { fma: isa.fuses(), vector_registers: isa.vector_registers(), ..Target::NARROW },
        }
    }
}

/// A scheduled nest.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// Ready for code generation.
    pub nest: Nest,
    /// How its main part computes, for tables: `direct 8x6 f32x4` (8 neighbouring elements by 6 in registers at a time).
    pub note: String,
    /// What was decided, for each perfect nest within it.
    pub parts: Vec<Part>,
    /// Lanes of the vectors that it was made for: what a cycle of its costs is.
    pub lanes: usize,
}

/// A perfect nest within a scheduled one.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// How it computes: `direct 8x6 f32x4`.
    pub note: String,
    /// The same as a sentence.
    pub why: String,
    /// The plan on one line, as [`candidates`] write it.
    pub plan: String,
    /// Accesses and scalar operations.
    pub work: f64,
    /// What it takes on one core, all turns of loops around it together.
    pub cycles: Cycles,
}

impl Scheduled {
    /// The part with the most work.
    pub fn main(&self) -> Option<usize> {
        (0..self.parts.len()).max_by(|a, b| self.parts[*a].work.total_cmp(&self.parts[*b].work))
    }

    /// Cycles of each part on one core.
    pub fn cycles(&self) -> Vec<Cycles> {
        self.parts.iter().map(|p| p.cycles).collect()
    }
}

/// A plan for one part of a nest: the part's number and the plan's line, `0 l1x32 t3x6 : 0 l t0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which part, as [`Scheduled::parts`] counts them.
    pub part: usize,
    /// Its plan.
    pub plan: String,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.part, self.plan)
    }
}

impl Choice {
    /// From what `Display` writes; nothing else is one.
    pub fn parse(line: &str) -> Option<Self> {
        let (part, plan) = line.split_once(' ')?;
        Some(Self { part: part.parse().ok()?, plan: plan.to_owned() })
    }
}

/// Most candidates of a nest.
pub const CANDIDATES_MAX: usize = 16;

/// Schedules a nest for a machine.
pub fn schedule(nest: Nest, target: &Target) -> Scheduled {
    scheduled(nest, target, Wish::default()).0
}

/// As [`schedule`], with another plan for one part. A plan that is none of its [`candidates`] is not heeded, so that no choice,
/// wherever it comes from, makes a wrong program. The same bits whatever the choice.
pub fn schedule_as(nest: Nest, target: &Target, choice: &Choice) -> Scheduled {
    scheduled(nest, target, Wish { choice: Some(choice), list: None }).0
}

/// A plan that is worth trying.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub choice: Choice,
    /// How it computes: `direct 8x6 f32x4`.
    pub note: String,
    /// The same as a sentence.
    pub why: String,
    /// What its part is expected to take on one core.
    pub cycles: Cycles,
}

/// Plans worth trying for the main part of a nest, that of [`schedule`] first; at most [`CANDIDATES_MAX`].
pub fn candidates(nest: &Nest, target: &Target) -> Vec<Candidate> {
    let Some(part) = schedule(nest.clone(), target).main() else { return Vec::new() };
    scheduled(nest.clone(), target, Wish { choice: None, list: Some(part) }).1
}

/// What is asked for beside the schedule itself.
#[derive(Clone, Copy, Default)]
struct Wish<'w> {
    choice: Option<&'w Choice>,
    /// A part whose candidates are listed.
    list: Option<usize>,
}

fn scheduled(mut nest: Nest, target: &Target, wish: Wish<'_>) -> (Scheduled, Vec<Candidate>) {
    blocks::expand(&mut nest);
    collapse::drop_single_turns(&mut nest);
    collapse::collapse(&mut nest);
    let body = std::mem::take(&mut nest.body);
    let mut parts = Vec::new();
    for stmt in body {
        distribute(&mut nest, stmt, &mut parts);
    }
    // What wide code cannot do yet is left to Cranelift.
    let target = if narrow(&parts) { &Target { fma: target.fma, ..Target::NARROW } } else { target };
    let mut s = Scheduler { nest, target, parts: Vec::new(), wish, listed: Vec::new(), times: 1.0 };
    let work = parts.iter().map(|p| profile::work(std::slice::from_ref(p))).sum::<f64>();
    let body: Vec<Stmt> = parts.into_iter().flat_map(|p| s.statement(p, LoopKind::Par)).collect();
    let Scheduler { mut nest, parts, listed, target: _, wish: _, times: _ } = s;
    nest.body = body;
    let all_par = nest.body.iter().all(|s| matches!(s, Stmt::For { kind: LoopKind::Par, .. }));
    if !all_par || work < WORK_MIN || !dependent_statements(&nest).is_empty() {
        run_once(&mut nest);
    }
    let mut scheduled = Scheduled { nest, note: "scalar".to_owned(), parts, lanes: target.lanes };
    if let Some(main) = scheduled.main() {
        scheduled.note = scheduled.parts[main].note.clone();
    }
    (scheduled, listed)
}

/// Whether a nest holds what only Cranelift's road computes: powers.
fn narrow(parts: &[Stmt]) -> bool {
    let mut powers = false;
    each(parts, &mut |s| {
        if let Some(e) = s.expr() {
            e.each(&mut |e| powers |= matches!(e, Expr::Bin(BinOp::Pow, ..)));
        }
    });
    powers
}

/// Puts everything into one chunk.
fn run_once(nest: &mut Nest) {
    for s in &mut nest.body {
        if let Stmt::For { kind: kind @ LoopKind::Par, .. } = s {
            *kind = LoopKind::Free;
        }
    }
    let var = nest.fresh_var("once");
    let body = std::mem::take(&mut nest.body);
    nest.body = vec![Stmt::For { var, extent: 1, kind: LoopKind::Par, body }];
}

/// A perfect nest whose innermost statements are independent loops again becomes one nest for each of them, so that the
/// loops of each can be ordered for itself.
fn distribute(nest: &mut Nest, stmt: Stmt, parts: &mut Vec<Stmt>) {
    let (dims, body) = peel(stmt);
    let all_free = body.iter().all(|s| matches!(s, Stmt::For { kind: LoopKind::Free, .. }));
    if dims.is_empty() || body.len() < 2 || !all_free || hands_on(&body) {
        parts.extend(wrap(&dims, body));
        return;
    }
    for inner in body {
        let whole = wrap(&dims, vec![inner]);
        for copy in nest.copy_fresh(&whole) {
            distribute(nest, copy, parts);
        }
    }
}

/// Whether a statement touches what another one of the list stores.
fn hands_on(body: &[Stmt]) -> bool {
    let stored = |s: &Stmt| -> Vec<Buf> {
        accesses(std::slice::from_ref(s)).iter().filter(|a| a.stores).map(|a| a.buf).collect()
    };
    let touched = |s: &Stmt, bufs: &[Buf]| {
        accesses(std::slice::from_ref(s)).iter().any(|a| !a.stores && bufs.contains(&a.buf))
    };
    body.iter().enumerate().any(|(i, s)| {
        let bufs = stored(s);
        body.iter().enumerate().any(|(j, other)| i != j && touched(other, &bufs))
    })
}

/// A loop of a perfect nest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dim {
    var: Var,
    extent: usize,
}

/// The `Free` loops around a list of statements, outermost first, and the list.
fn peel(stmt: Stmt) -> (Vec<Dim>, Vec<Stmt>) {
    let mut dims = Vec::new();
    let mut body = vec![stmt];
    loop {
        match body.pop() {
            Some(Stmt::For { var, extent, kind: LoopKind::Free, body: inner }) if body.is_empty() => {
                dims.push(Dim { var, extent });
                body = inner;
            }
            last => {
                body.extend(last);
                return (dims, body);
            }
        }
    }
}

/// `Free` loops around `body`.
fn wrap(dims: &[Dim], body: Vec<Stmt>) -> Vec<Stmt> {
    let around = |body, d: &Dim| vec![Stmt::For { var: d.var, extent: d.extent, kind: LoopKind::Free, body }];
    dims.iter().rev().fold(body, around)
}

struct Scheduler<'t> {
    nest: Nest,
    target: &'t Target,
    parts: Vec<Part>,
    wish: Wish<'t>,
    /// Candidates of the part that was asked for.
    listed: Vec<Candidate>,
    /// Turns of the loops around the present statement.
    times: f64,
}

impl Scheduler<'_> {
    /// Schedules one statement; its outermost loop becomes a loop of kind `outer`.
    fn statement(&mut self, stmt: Stmt, outer: LoopKind) -> Vec<Stmt> {
        let (mut dims, body) = peel(stmt);
        let mut perfect = true;
        each(&body, &mut |s| perfect &= !matches!(s, Stmt::For { kind: LoopKind::Free, .. }));
        if !dims.is_empty() && perfect {
            let profile = profile::Profile::of(&self.nest, &body);
            let plan = self.plan(&dims, &profile);
            let (note, why) = plan.describe(&self.nest, &dims, &profile, self.target);
            let turns: f64 = dims.iter().map(|d| d.extent as f64).product();
            let cycles = plan::predict(&dims, &profile, &plan, self.target).times(self.times);
            let work = profile.work * turns * self.times;
            self.parts.push(Part { note, why, plan: plan.text(), work, cycles });
            return emit::emit(&mut self.nest, &dims, &body, &plan, outer);
        }
        // Loops inside are scheduled for themselves; around them the loop to share out goes outermost.
        let first = plan::shared_loop(dims.iter().map(|d| d.extent));
        let shared = first.map(|at| dims.remove(at));
        let turns: f64 = dims.iter().chain(&shared).map(|d| d.extent as f64).product();
        self.times *= turns;
        let mut out: Vec<Stmt> = body.into_iter().flat_map(|s| self.inner(s)).collect();
        self.times /= turns;
        for d in dims.iter().rev() {
            out = vec![Stmt::For { var: d.var, extent: d.extent, kind: LoopKind::Free, body: out }];
        }
        if let Some(d) = shared {
            out = vec![Stmt::For { var: d.var, extent: d.extent, kind: outer, body: out }];
        }
        out
    }

    /// The plan of the part that comes next.
    fn plan(&mut self, dims: &[Dim], profile: &profile::Profile) -> plan::Plan {
        let number = self.parts.len();
        if self.wish.list == Some(number) {
            let all = plan::candidates(dims, profile, self.target, CANDIDATES_MAX);
            let line = |p: &plan::Plan| {
                let (note, why) = p.describe(&self.nest, dims, profile, self.target);
                let cycles = plan::predict(dims, profile, p, self.target).times(self.times);
                Candidate { choice: Choice { part: number, plan: p.text() }, note, why, cycles }
            };
            self.listed = all.iter().map(line).collect();
        }
        let wished = self.wish.choice.filter(|c| c.part == number).and_then(|choice| {
            let all = plan::candidates(dims, profile, self.target, CANDIDATES_MAX);
            all.into_iter().find(|p| p.text() == choice.plan)
        });
        wished.unwrap_or_else(|| plan::plan(dims, profile, self.target))
    }

    fn inner(&mut self, mut s: Stmt) -> Vec<Stmt> {
        match &mut s {
            Stmt::For { kind: LoopKind::Free, .. } => self.statement(s, LoopKind::Free),
            Stmt::For { body: list, extent, var: _, kind: _ } => {
                let turns = *extent as f64;
                self.times *= turns;
                *list = std::mem::take(list).into_iter().flat_map(|s| self.inner(s)).collect();
                self.times /= turns;
                vec![s]
            }
            Stmt::If { then: list, conds: _ } => {
                *list = std::mem::take(list).into_iter().flat_map(|s| self.inner(s)).collect();
                vec![s]
            }
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => vec![s],
        }
    }
}
