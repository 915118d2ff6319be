//! Makes every update one that can be stored where its weight lies: the step that makes the new elements reads the old ones
//! at most where it stores, and no later step reads them. Where that does not hold, a copy at the end of the run takes the new
//! elements over. What is in place is proved again on the loops, and by the runtime. Where new elements lie beside the old ones
//! ([`super::beside`]) there is nothing to do.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, ValueId};

pub(super) fn run(work: Work) -> Work {
    let graph = &work.graph;
    if graph.commit.is_some() {
        return work;
    }
    let late: Vec<ValueId> =
        graph.updates.iter().filter(|u| !direct(graph, u.param, u.value)).map(|u| u.param).collect();
    detour(work, &late)
}

/// Lets the new elements of these weights be copied to their places at the end of the run.
pub(super) fn detour(work: Work, late: &[ValueId]) -> Work {
    if late.is_empty() {
        return work;
    }
    let graph = &work.graph;
    let mut rewrite = Rewrite::new(&work);
    for id in graph.ids() {
        let new = rewrite.keep(id);
        let root = graph.value(id).group.map(|root| rewrite.of(root));
        rewrite.new.graph.values[new.index()].group = root;
    }
    let mut copies = Vec::new();
    for u in graph.updates.iter().filter(|u| late.contains(&u.param)) {
        let (param, value) = (rewrite.of(u.param), rewrite.of(u.value));
        let layout = rewrite.new.graph.value(param).layout.clone();
        if let Some(layout) = layout {
            copies.push((u.param, super::layout::copy_of(&mut rewrite, value, layout)));
        }
    }
    let mut work = rewrite.finish();
    for u in &mut work.graph.updates {
        if let Some((_, copy)) = copies.iter().find(|(param, _)| *param == u.param) {
            u.value = *copy;
        }
    }
    work
}

/// Whether the step that stores `value` may store it where `param` lies.
fn direct(graph: &Graph, param: ValueId, value: ValueId) -> bool {
    let root_of = |id: ValueId| graph.value(id).group.unwrap_or(id);
    let own = root_of(value);
    let reads = |id: ValueId| graph.uses(id).contains(&param);
    // Steps run in the order of their last members.
    let later = graph.ids().any(|id| reads(id) && root_of(id) != own && graph.end_of(root_of(id)) > value);
    let elementwise = matches!(&graph.value(own).def, Def::Op { op, .. } if op.rules().scalar().is_some());
    !later && (elementwise || !reads(own))
}
