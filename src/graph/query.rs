//! Questions about a graph that several verbs ask. Nothing is cached: callers ask once.

use super::{Def, Graph, ValueId};
use crate::ops::bands;
use crate::ops::gather::hands;
use crate::ops::role::{InPassing, Role};
use crate::ops::squares;
use crate::tensor::ty::TensorTy;

impl Graph {
    /// The batch of the first input that has one.
    pub fn batch(&self) -> Option<usize> {
        let mut types = self.inputs.iter().map(|p| &self.value(p.value).ty);
        types.find(|ty| ty.is_activation()).map(TensorTy::n)
    }

    /// The values fused behind `root`, in order, the root itself first.
    pub fn members(&self, root: ValueId) -> Vec<ValueId> {
        let fused = self.ids().filter(|id| self.value(*id).group == Some(root));
        std::iter::once(root).chain(fused).collect()
    }

    /// For each root the values fused behind it as [`Graph::members`] has them; nothing for what is fused itself.
    pub fn groups(&self) -> Vec<Vec<ValueId>> {
        let mut groups = vec![Vec::new(); self.values.len()];
        for id in self.ids().filter(|id| self.value(*id).group.is_none()) {
            groups[id.index()].push(id);
        }
        for id in self.ids() {
            if let Some(root) = self.value(id).group {
                groups[root.index()].push(id);
            }
        }
        groups
    }

    /// The last member of `root`'s group but sums in passing: the one that its operation's own stores hold.
    pub fn last_of(&self, root: ValueId) -> ValueId {
        let chained = |id: &ValueId| self.value(*id).group == Some(root) && self.sums(*id).is_none();
        self.ids().rev().find(chained).unwrap_or(root)
    }

    /// The last member of `root`'s group, where the step runs.
    pub fn end_of(&self, root: ValueId) -> ValueId {
        self.ids().rev().find(|id| self.value(*id).group == Some(root)).unwrap_or(root)
    }

    /// The sums in passing that `id` is, if it is.
    pub fn sums(&self, id: ValueId) -> Option<InPassing> {
        let Def::Op { op, .. } = &self.value(id).def else { return None };
        if let Role::Sums(of) = op.rules().role() { Some(of) } else { None }
    }

    /// Whether `id` is sums that the root of the group which ends with `before` can make in passing: over bands of `before`, or of the
    /// squares of what the root itself makes.
    pub fn sums_in_passing(&self, before: ValueId, id: ValueId) -> bool {
        let root = self.value(before).group.unwrap_or(before);
        let (Def::Op { op, inputs }, Some(of)) = (&self.value(root).def, self.sums(id)) else { return false };
        let types: Vec<&TensorTy> = inputs.iter().map(|i| &self.value(*i).ty).collect();
        let (ty, operand) = (&self.value(root).ty, self.uses(id).first());
        match of {
            InPassing::Bands(of) => {
                let bands = types.first().and_then(|x| bands::of(op, x, ty));
                operand == Some(&before) && self.value(before).ty == *ty && bands == Some(of.bands)
            }
            InPassing::Squares(of) => {
                self.keeps(root) && operand == Some(&root) && squares::of(op, &types, ty) == Some(of)
            }
        }
    }

    /// Whether `id` is a pool that the group which ends with `before` can do in passing: its root hands results over by windows, no pool
    /// stands in the group yet, and what the followers so far read beside the group's values is the same for all members of a window.
    pub fn gathers(&self, before: ValueId, id: ValueId) -> bool {
        let root = self.value(before).group.unwrap_or(before);
        let (Def::Op { op: host, .. }, Def::Op { op, .. }) = (&self.value(root).def, &self.value(id).def)
        else {
            return false;
        };
        let Role::Gathers(of) = op.rules().role() else { return false };
        let ty = &self.value(root).ty;
        let shared = |used: &ValueId| {
            let ty = &self.value(*used).ty;
            ty.dims().is_empty()
                || ty.dims().len() == 1
                || ty.is_activation() && ty.n() * ty.grid_dims().iter().product::<usize>() == 1
        };
        let followers = || {
            let members = self.ids().filter(|m| self.value(*m).group == Some(root) && *m <= before);
            members.collect::<Vec<_>>()
        };
        *ty == self.value(before).ty
            && of.fits(ty, &self.value(id).ty)
            && self.uses(root).first().is_some_and(|x| hands(host, &self.value(*x).ty, ty, &of))
            && followers().iter().all(|m| {
                let chained = |u: &ValueId| *u == root || self.value(*u).group == Some(root);
                self.uses(*m).iter().filter(|u| !chained(u)).all(shared)
            })
    }

    /// For each value, whether memory holds it: it is the last of its group, or sums in passing, or leaves the run, or somebody
    /// outside of its group uses it.
    pub fn stored(&self) -> Vec<bool> {
        let mut last: Vec<ValueId> = self.ids().collect();
        let mut needed = vec![false; self.values.len()];
        let root = |id: ValueId| self.value(id).group.unwrap_or(id);
        for id in self.ids() {
            if let Some(root) = self.value(id).group
                && self.sums(id).is_none()
            {
                last[root.index()] = id;
            }
            for used in self.uses(id) {
                needed[used.index()] |= root(*used) != root(id);
            }
        }
        self.outputs.iter().for_each(|p| needed[p.value.index()] = true);
        self.updates.iter().for_each(|u| needed[u.value.index()] = true);
        let held =
            |id: &ValueId| needed[id.index()] || last[root(*id).index()] == *id || self.sums(*id).is_some();
        self.ids().map(|id| held(&id)).collect()
    }

    /// Whether values of the middle of `root`'s group may be stored as well: those of weights may, whose updates wait for the run's end.
    pub fn keeps(&self, root: ValueId) -> bool {
        self.commit.is_some() && !self.value(root).ty.is_activation()
    }

    /// For each value, who uses it: one entry per operand, in order.
    pub fn users(&self) -> Vec<Vec<ValueId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for id in self.ids() {
            for used in self.uses(id) {
                users[used.index()].push(id);
            }
        }
        users
    }

    /// For each value, whether it depends on constants and on weights that no run changes only, and nobody waits for it in a
    /// run (it is neither an output nor an update): it is computed once, when weights are loaded.
    pub fn at_load(&self) -> Vec<bool> {
        let mut changed = vec![false; self.values.len()];
        self.updates.iter().for_each(|u| changed[u.param.index()] = true);
        let mut at_load: Vec<bool> = Vec::with_capacity(self.values.len());
        for id in self.ids() {
            let before = match &self.value(id).def {
                Def::Input(_) => false,
                Def::Param { .. } => !changed[id.index()],
                Def::Const(_) => true,
                Def::Op { inputs, .. } => {
                    let output = self.outputs.iter().any(|p| p.value == id);
                    let update = self.updates.iter().any(|u| u.value == id);
                    !output && !update && inputs.iter().all(|i| at_load[i.index()])
                }
            };
            at_load.push(before);
        }
        at_load
    }

    /// The weight that takes the elements of `id` after a run.
    pub fn updated_by(&self, id: ValueId) -> Option<ValueId> {
        self.updates.iter().find(|u| u.value == id).map(|u| u.param)
    }

    /// Whether a value leaves the run: as an output, or into a weight.
    pub fn leaves(&self, id: ValueId) -> bool {
        self.outputs.iter().any(|p| p.value == id) || self.updated_by(id).is_some()
    }

    /// The weights, in order.
    pub fn params(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.ids().filter(|id| matches!(self.value(*id).def, Def::Param { .. }))
    }
}
