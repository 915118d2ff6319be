//! Statistics of batch normalisation while training, and the sums of its gradient, from sums over bands: where the operation that stores
//! an activation can make them in passing, while the band is in the nearer caches (Jung et al. 2018 call it fission: a normalisation's
//! halves go to its neighbours). See [`crate::ops::bands`]. What is left of both for all bands is a few numbers for each channel.
//!
//! Stands behind what chooses how layers are computed.

use std::collections::BTreeMap;

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::OpError;
use crate::ops::band_fold::{BandFold, What, Whole, whole};
use crate::ops::bands::{self, BandSums, Bands, Sums};

/// Sums over bands that are wanted of a value, with their further operands.
struct Wanted {
    sums: BandSums,
    others: Vec<ValueId>,
}

/// A sum that they serve: which, of what value, and its last operand if it has one more.
struct Served {
    what: What,
    of: ValueId,
    bands: Bands,
    other: Option<ValueId>,
}

pub(super) fn run(work: Work) -> Work {
    let graph = &work.graph;
    let users = graph.users();
    let (mut wanted, mut served) = (BTreeMap::new(), BTreeMap::new());
    for id in graph.ids() {
        plan(graph, &users, id, &mut wanted, &mut served);
    }
    let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    Rewrite::each(&work, |rewrite, id| {
        if let Some(wanted) = wanted.get(&id) {
            let value = rewrite.keep(id);
            if let Ok(sums) = sums(rewrite, id, wanted) {
                made.insert(id, sums);
            }
            return Some(Ok(value));
        }
        let served: &Served = served.get(&id)?;
        Some(fold(rewrite, id, served, *made.get(&served.of)?))
    })
}

/// What the sums over the activation `id` are to be made of.
fn plan(
    graph: &Graph,
    users: &[Vec<ValueId>],
    id: ValueId,
    wanted: &mut BTreeMap<ValueId, Wanted>,
    served: &mut BTreeMap<ValueId, Served>,
) {
    let ty = &graph.value(id).ty;
    if !ty.is_activation() || graph.leaves(id) {
        return;
    }
    let which = |u: ValueId| match &graph.value(u).def {
        Def::Op { op, .. } => whole(op, ty),
        Def::Input(_) | Def::Param { .. } | Def::Const(_) => None,
    };
    let found = |what: &dyn Fn(Whole) -> bool| {
        users[id.index()].iter().copied().find(|u| which(*u).is_some_and(what))
    };
    let mean = found(&|w| w == Whole::All(What::Mean));
    let var = found(&|w| w == Whole::All(What::Var));
    let along = found(&|w| matches!(w, Whole::All(What::Along { .. })));
    let Some(bands) = host(graph, users, id) else { return };
    if let (Some(mean), Some(var)) = (mean, var)
        && graph.uses(var) == [id, mean]
    {
        wanted.insert(id, Wanted { sums: BandSums { bands, sums: Sums::Moments }, others: Vec::new() });
        served.insert(mean, Served { what: What::Mean, of: id, bands, other: None });
        served.insert(var, Served { what: What::Var, of: id, bands, other: Some(mean) });
    } else if let Some(along) = along
        && let [x, dy, mean, var] = *graph.uses(along)
        && dy == id
        && x < id
        && mean < id
        && let Some(Whole::All(what)) = which(along)
    {
        wanted.insert(id, Wanted { sums: BandSums { bands, sums: Sums::Back }, others: vec![x, mean] });
        served.insert(along, Served { what, of: id, bands, other: Some(var) });
        let per_sample = users[id.index()].iter().filter(|u| which(**u) == Some(Whole::PerSample));
        let all = per_sample
            .flat_map(|u| users[u.index()].iter().map(|v| (*v, *u)))
            .chain(users[id.index()].iter().map(|u| (*u, id)));
        for (sum, from) in all {
            let Def::Op { op, .. } = &graph.value(sum).def else { continue };
            if whole(op, &graph.value(from).ty) == Some(Whole::All(What::Sum)) {
                served.insert(sum, Served { what: What::Sum, of: id, bands, other: None });
            }
        }
    }
}

/// The bands of the operation that will store `id`, as far as can be told before layouts are chosen.
fn host(graph: &Graph, users: &[Vec<ValueId>], id: ValueId) -> Option<Bands> {
    let ty = &graph.value(id).ty;
    let mut at = id;
    loop {
        let Def::Op { op, inputs } = &graph.value(at).def else { return None };
        if op.rules().scalar().is_none() {
            return bands::of(op, &graph.value(*inputs.first()?).ty, ty);
        }
        let alone = |x: &&ValueId| users[x.index()].iter().all(|u| *u == at) && graph.value(**x).ty == *ty;
        at = *inputs.iter().filter(alone).max()?;
    }
}

fn sums(rewrite: &mut Rewrite<'_>, id: ValueId, wanted: &Wanted) -> Result<ValueId, OpError> {
    let operands: Vec<ValueId> =
        std::iter::once(id).chain(wanted.others.iter().copied()).map(|v| rewrite.of(v)).collect();
    let name = format!("{}.bands", rewrite.old.graph.value(id).name);
    rewrite.op(&name, wanted.sums.clone(), &operands, None)
}

fn fold(rewrite: &mut Rewrite<'_>, id: ValueId, served: &Served, sums: ValueId) -> Result<ValueId, OpError> {
    let old = &rewrite.old.graph;
    let (name, counts) = (old.value(id).name.clone(), served.bands.counts(&old.value(served.of).ty));
    let other = served.other.map(|o| rewrite.of(o));
    let operands: Vec<ValueId> = std::iter::once(sums).chain(other).collect();
    let origin = rewrite.old.origin[id.index()];
    rewrite.op(&name, BandFold { what: served.what, counts }, &operands, origin)
}
