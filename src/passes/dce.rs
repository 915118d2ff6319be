//! Removes operations and constants that neither an output nor an update depends on. Inputs and weights stay: the user hands them in by name.

use crate::graph::Def;
use crate::graph::patch::{Rewrite, Work};

pub(super) fn run(work: Work) -> Work {
    let graph = &work.graph;
    let mut live = vec![false; graph.values.len()];
    for port in &graph.outputs {
        live[port.value.index()] = true;
    }
    for update in &graph.updates {
        live[update.value.index()] = true;
    }
    for id in graph.ids().rev() {
        if live[id.index()] {
            graph.uses(id).iter().for_each(|u| live[u.index()] = true);
        }
    }
    let mut rewrite = Rewrite::new(&work);
    for id in graph.ids() {
        let named = matches!(graph.value(id).def, Def::Input(_) | Def::Param { .. });
        if live[id.index()] || named {
            rewrite.keep(id);
        }
    }
    rewrite.finish()
}
