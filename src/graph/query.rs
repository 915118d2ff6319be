//! Questions about a graph that several verbs ask. Nothing is cached: callers ask once.

use super::{Def, Graph, ValueId};

impl Graph {
    /// The values fused behind `root`, in order, the root itself first.
    pub fn members(&self, root: ValueId) -> Vec<ValueId> {
        let fused = self.ids().filter(|id| self.value(*id).group == Some(root));
        std::iter::once(root).chain(fused).collect()
    }

    /// The last member of `root`'s group: the one that memory holds.
    pub fn last_of(&self, root: ValueId) -> ValueId {
        self.ids().rev().find(|id| self.value(*id).group == Some(root)).unwrap_or(root)
    }

    /// For each value, whether memory holds it: it is the last of its group.
    pub fn stored(&self) -> Vec<bool> {
        let mut last: Vec<ValueId> = self.ids().collect();
        for id in self.ids() {
            if let Some(root) = self.value(id).group {
                last[root.index()] = id;
            }
        }
        let root = |id: ValueId| self.value(id).group.unwrap_or(id);
        self.ids().map(|id| last.get(root(id).index()) == Some(&id)).collect()
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

    /// For each value, whether it depends on weights and constants only and is no output: it is computed once, when weights
    /// are loaded.
    pub fn at_load(&self) -> Vec<bool> {
        let mut at_load: Vec<bool> = Vec::with_capacity(self.values.len());
        for id in self.ids() {
            let before = match &self.value(id).def {
                Def::Input(_) => false,
                Def::Param { .. } | Def::Const(_) => true,
                Def::Op { inputs, .. } => {
                    let output = self.outputs.iter().any(|p| p.value == id);
                    !output && inputs.iter().all(|i| at_load[i.index()])
                }
            };
            at_load.push(before);
        }
        at_load
    }

    /// The weights, in order.
    pub fn params(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.ids().filter(|id| matches!(self.value(*id).def, Def::Param { .. }))
    }
}
