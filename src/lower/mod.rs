//! Graph to loop nests: each group of the graph becomes one nest over the buffers of its operands and its result.
//!
//! In: a graph with layouts (after [`crate::passes`]). Out: steps in an order in which each stands after those that store what
//! it reads, and the places of all stored values. A nest stores every element of its result, halo included.

mod halo;
pub mod memory;
pub mod plan;

use crate::graph::{Def, Graph, ValueId};
use crate::loops::{Buf, Nest};
use crate::ops::lower::{Follower, LowerCx, Taken};
use crate::ops::role::Role;
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// One nest of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The operation that it computes; others of its group follow.
    pub root: ValueId,
    /// The value that it stores, the last of its group.
    pub value: ValueId,
    /// What else of its group it stores: values in the middle that others need, and sums in passing.
    pub also: Vec<ValueId>,
    /// The values whose buffers it reads, in the order of the nest's buffers; then come those of what it stores, and its own.
    pub reads: Vec<ValueId>,
    /// Whether it runs when weights are loaded instead of at each run.
    pub at_load: bool,
    /// Which of `reads` it touches only at the index that it stores next, in the same type and layout as the result:
    /// the result may take over such a buffer.
    pub in_place: Vec<usize>,
    /// What it does.
    pub nest: Nest,
}

impl Step {
    /// What it stores: `value` first.
    pub fn stores(&self) -> impl Iterator<Item = ValueId> {
        std::iter::once(self.value).chain(self.also.iter().copied())
    }

    /// How many buffers of the nest are those of values.
    pub fn shared(&self) -> usize {
        self.reads.len() + self.stores().count()
    }
}

/// A graph that cannot be lowered, because a pass left something out: a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerError {
    /// The value without a layout.
    pub value: ValueId,
}

impl std::fmt::Display for LowerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} has no layout", self.value)
    }
}

impl std::error::Error for LowerError {}

/// Lowers every group of the graph.
///
/// # Errors
/// [`LowerError`] when a stored value has no layout.
pub fn lower(graph: &Graph) -> Result<Vec<Step>, LowerError> {
    let (at_load, stored) = (graph.at_load(), graph.stored());
    let mut members = graph.groups();
    let mut groups: Vec<(ValueId, Vec<ValueId>)> = graph
        .ids()
        .filter(|id| graph.value(*id).group.is_none() && matches!(graph.value(*id).def, Def::Op { .. }))
        .map(|root| (root, std::mem::take(&mut members[root.index()])))
        .collect();
    // A group runs where its last member stands: all that its followers read was stored before.
    groups.sort_by_key(|(_, members)| members.last().copied());
    groups
        .iter()
        .map(|(root, members)| step(graph, *root, members, (&stored, at_load[root.index()])))
        .collect()
}

fn step(
    graph: &Graph,
    root: ValueId,
    members: &[ValueId],
    (stored, at_load): (&[bool], bool),
) -> Result<Step, LowerError> {
    let value = graph.last_of(root);
    let mut sums = None;
    let mut reads = graph.uses(root).to_vec();
    let inputs = reads.len();
    let mut followers = Vec::new();
    let mut gathering = None;
    for (n, id) in members.iter().copied().enumerate().skip(1) {
        let operands = graph.uses(id).iter().map(|used| {
            if let Some(member) = members[..n].iter().position(|m| m == used) {
                return Taken::Member(member);
            }
            let extra = reads[inputs..].iter().position(|r| r == used);
            Taken::Extra(extra.unwrap_or_else(|| {
                reads.push(*used);
                reads.len() - 1 - inputs
            }))
        });
        let operands: Vec<Taken> = operands.collect();
        let Def::Op { op, .. } = &graph.value(id).def else { continue };
        if let Role::Sums(of) = op.rules().role() {
            let extra = |o| if let Taken::Extra(extra) = o { Some(extra) } else { None };
            sums = Some((id, of, operands.into_iter().filter_map(extra).collect()));
            continue;
        }
        if let Some(scalar) = op.rules().scalar() {
            followers.push(Follower { scalar, operands });
        } else if let Role::Gathers(of) = op.rules().role() {
            gathering = Some((of, followers.len()));
        }
    }
    let place = |id: &ValueId| -> Result<(&TensorTy, &Layout), LowerError> {
        let v = graph.value(*id);
        v.layout.as_ref().map(|l| (&v.ty, l)).ok_or(LowerError { value: *id })
    };
    let operands = reads.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let out = place(&value)?;
    let (direct, extras) = operands.split_at(inputs);
    let mut cx = LowerCx::new(&graph.value(root).name, direct, extras, out, followers);
    let kept: Vec<(usize, ValueId)> = members
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, m)| stored[m.index()] && *m != value && sums.as_ref().is_none_or(|s| s.0 != *m))
        .collect();
    for (member, id) in &kept {
        cx = cx.keeping(*member, place(id)?);
    }
    if let Some((of, before)) = gathering {
        cx = cx.gathering(&graph.value(root).ty, of, before);
    }
    if let Some((id, of, extras)) = &sums {
        cx = cx.summing(of, place(id)?, Vec::clone(extras));
    }
    let mut elementwise = false;
    if let Def::Op { op, .. } = &graph.value(root).def {
        op.rules().lower(&mut cx);
        elementwise = op.rules().scalar().is_some();
    }
    halo::clear(&mut cx.b, Buf(reads.len() as u32), out.0, out.1);
    for (i, (_, id)) in kept.iter().enumerate() {
        let (ty, layout) = place(id)?;
        halo::clear(&mut cx.b, Buf((reads.len() + 1 + i) as u32), ty, layout);
    }
    let in_place = in_place(&reads, &operands, out, if elementwise { 0 } else { inputs });
    let also = kept.into_iter().map(|(_, id)| id).chain(sums.map(|(id, ..)| id)).collect();
    Ok(Step { root, value, also, reads, at_load, in_place, nest: cx.finish() })
}

/// Which reads, from `first` on, lie exactly as the result does; one that is also read before `first` does not count.
fn in_place(
    reads: &[ValueId],
    operands: &[(&TensorTy, &Layout)],
    out: (&TensorTy, &Layout),
    first: usize,
) -> Vec<usize> {
    let same = |i: &usize| operands[*i] == out && !reads[..first].contains(&reads[*i]);
    (first..reads.len()).filter(same).collect()
}
