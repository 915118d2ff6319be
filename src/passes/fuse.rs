//! Groups elementwise operations behind the operation whose result they take: the root stores only what the last of them
//! gives. Chains only: a value in the middle is read by its follower and nobody else. Where an operation joins two values
//! that could both take it in, the later one does, so that the other is there when it runs.
//!
//! Where new elements of weights lie beside the old ones until the run is over ([`super::beside`]), values of weights in the middle may
//! have other users as well, behind the group, and be updates: a step stores all of them. So the sum that makes a gradient goes on to the
//! optimizer's slots and the weight.
//!
//! Sums over bands of a value (`ops/bands.rs`) join the group that stores it, if its root runs in these bands; so do those of a gradient's
//! squares (`ops/squares.rs`).
//!
//! A pool whose windows do not overlap joins the group of an operation that has all members of a window at hand (`ops/gather.rs`).
//!
//! A chain does not cross from load time to run time, nor from an operation with multiply-adds into another order of
//! dimensions: its loops are fast in the order that its own layout has.

use super::Settings;
use super::layout::{is_heavy, same_order};
use crate::graph::patch::Work;
use crate::graph::verify::satisfies;
use crate::graph::{Def, Graph, ValueId};
use crate::ops::gather::pays;
use crate::ops::role::Role;
use crate::ops::squares;
use crate::tensor::ty::TensorTy;

/// Gradients of so many elements stay in the nearer caches however they are made.
const SMALL: usize = 1 << 15;

pub(super) fn run(mut work: Work, settings: &Settings) -> Work {
    let graph = &mut work.graph;
    let at_load = graph.at_load();
    let users = graph.users();
    for id in graph.ids() {
        let Def::Op { op, .. } = &graph.value(id).def else { continue };
        if graph.sums(id).is_some() {
            let x = graph.uses(id)[0];
            let root = graph.value(x).group.unwrap_or(x);
            let joins = at_load[x.index()] == at_load[id.index()] && graph.sums_in_passing(x, id);
            if joins && joins_behind(graph, &users, root, id) {
                graph.values[id.index()].group = Some(root);
            }
            continue;
        }
        let pools = matches!(op.rules().role(), Role::Gathers(_));
        if op.rules().scalar().is_none() && !pools {
            continue;
        }
        let mut operands = graph.uses(id).to_vec();
        operands.sort_unstable();
        let host = operands.into_iter().rev().find(|x| {
            let root = graph.value(*x).group.unwrap_or(*x);
            let joins = match graph.keeps(root) {
                true => goes_on(graph, root) && joins_behind(graph, &users, root, id),
                false => users[x.index()].iter().all(|u| *u == id) && !graph.leaves(*x),
            };
            joins && at_load[x.index()] == at_load[id.index()] && takes(graph, *x, id, settings)
        });
        if let Some(x) = host {
            let root = graph.value(x).group.unwrap_or(x);
            graph.values[id.index()].group = Some(root);
        }
    }
    work
}

/// Whether what makes a gradient is the place to go on with it: the next memories would be read and written in the order of its tiles,
/// which costs much where they are large, unless it has the gradient in parts.
fn goes_on(graph: &Graph, root: ValueId) -> bool {
    let Def::Op { op, inputs } = &graph.value(root).def else { return false };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    let ty = &graph.value(root).ty;
    !is_heavy(graph, root) || ty.len() <= SMALL || squares::of(op, &types, ty).is_some()
}

/// Whether `id` may join the group of `root`, whose values may be needed elsewhere: nobody must need them before it.
fn joins_behind(graph: &Graph, users: &[Vec<ValueId>], root: ValueId, id: ValueId) -> bool {
    let later = |m: &ValueId| {
        let outside = |u: &&ValueId| graph.value(**u).group != Some(root);
        users[m.index()].iter().filter(outside).all(|u| *u >= id)
            && graph.outputs.iter().all(|p| p.value != *m)
    };
    graph.members(root).iter().all(later)
}

fn elementwise(graph: &Graph, id: ValueId) -> bool {
    matches!(&graph.value(id).def, Def::Op { op, .. } if op.rules().scalar().is_some())
}

/// Whether the group that ends with `x` can take in `id`, which reads it.
fn takes(graph: &Graph, x: ValueId, id: ValueId, settings: &Settings) -> bool {
    let (from, to) = (graph.value(x), graph.value(id));
    let root = graph.value(from.group.unwrap_or(x));
    let Def::Op { op, inputs } = &root.def else { return false };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    let (Some(now), Some(then)) = (&from.layout, &to.layout) else { return false };
    let pools = graph.gathers(x, id) && pays(op, settings.registers);
    let fits = pools || elementwise(graph, id) && from.ty == to.ty;
    fits && satisfies(then, &op.rules().wants(&types, &root.ty).output, &to.ty)
        && (same_order(now, then, &to.ty) || !is_heavy(graph, from.group.unwrap_or(x)))
}
