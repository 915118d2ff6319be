//! A perfect nest rewritten as its plan says. In: the loops, the body, the plan; out: statements. Every copy of the body
//! binds fresh names.

use super::Dim;
use super::plan::{Axis, Plan, Run};
use crate::loops::walk::subst;
use crate::loops::{Affine, LoopKind, Nest, Stmt, Var};

/// The nest, its outermost loops of kind `outer`.
pub(super) fn emit(nest: &mut Nest, dims: &[Dim], body: &[Stmt], plan: &Plan, outer: LoopKind) -> Vec<Stmt> {
    let mut e =
        Emitter { nest, dims, body, plan, now: Vec::new(), lanes: None, tiles: vec![None; plan.tiles.len()] };
    e.loops(&plan.order, outer)
}

/// A run of tiles along a loop, and the counter of its tiles.
#[derive(Clone)]
struct Chosen {
    dim: usize,
    run: Run,
    turn: Affine,
}

struct Emitter<'e> {
    nest: &'e mut Nest,
    dims: &'e [Dim],
    body: &'e [Stmt],
    plan: &'e Plan,
    /// What the variables of plain loops are called here.
    now: Vec<(Var, Affine)>,
    lanes: Option<Chosen>,
    tiles: Vec<Option<Chosen>>,
}

impl Emitter<'_> {
    fn loops(&mut self, order: &[Axis], kind: LoopKind) -> Vec<Stmt> {
        let Some((axis, rest)) = order.split_first() else { return self.registers() };
        match axis {
            Axis::Plain(i) => {
                let Dim { var: old, extent } = self.dims[*i];
                let var = self.fresh(old, "");
                self.now.push((old, var.into()));
                let body = self.loops(rest, LoopKind::Free);
                self.now.pop();
                vec![Stmt::For { var, extent, kind, body }]
            }
            Axis::Lanes => {
                let plan = self.plan;
                let tiled = plan.lanes.as_ref();
                self.runs(tiled, kind, rest, |e, c| e.lanes = Some(c))
            }
            Axis::Tile(t) => {
                let plan = self.plan;
                self.runs(plan.tiles.get(*t), kind, rest, |e, c| e.tiles[*t] = Some(c))
            }
        }
    }

    fn runs(
        &mut self,
        tiled: Option<&(usize, Vec<Run>)>,
        kind: LoopKind,
        rest: &[Axis],
        choose: impl Fn(&mut Self, Chosen),
    ) -> Vec<Stmt> {
        let Some((dim, runs)) = tiled else { return Vec::new() };
        let mut out = Vec::new();
        for run in runs {
            if run.count == 1 && kind != LoopKind::Par {
                choose(self, Chosen { dim: *dim, run: *run, turn: Affine::k(0) });
                out.extend(self.loops(rest, LoopKind::Free));
                continue;
            }
            let var = self.fresh(self.dims[*dim].var, "t");
            choose(self, Chosen { dim: *dim, run: *run, turn: var.into() });
            let body = self.loops(rest, LoopKind::Free);
            out.push(Stmt::For { var, extent: run.count, kind, body });
        }
        out
    }

    /// One tile: the body replicated along the tile, then along the vectors, with the lanes inside.
    fn registers(&mut self) -> Vec<Stmt> {
        let mut body = self.nest.copy_fresh(self.body);
        for (old, new) in &self.now {
            subst(&mut body, *old, new);
        }
        for chosen in std::iter::once(&self.lanes).chain(&self.tiles).flatten().cloned().collect::<Vec<_>>() {
            let Chosen { dim, run, turn } = chosen;
            let old = self.dims[dim].var;
            let mut at = (&turn * (run.jam * run.lanes) as i64).offset(run.first as i64);
            let mut around = |suffix: &str, kind, extent, step: usize| {
                if extent > 1 {
                    let var = self.fresh(old, suffix);
                    at = at.plus(var, step as i64);
                    let inner = std::mem::take(&mut body);
                    body = vec![Stmt::For { var, extent, kind, body: inner }];
                }
            };
            around("l", LoopKind::Vec, run.lanes, 1);
            around("j", LoopKind::Jam, run.jam, run.lanes);
            subst(&mut body, old, &at);
        }
        body
    }

    fn fresh(&mut self, of: Var, suffix: &str) -> Var {
        let name = format!("{}{suffix}", self.nest.vars[of.index()]);
        self.nest.fresh_var(&name)
    }
}
