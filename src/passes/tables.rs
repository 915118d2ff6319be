//! Layers with tables as dense layers, see [`crate::ops::tabled`]: forward, by their inputs and by their weights. What makes the
//! dense weight runs when weights are loaded, or once a step where training changes them. Stands before passes that know
//! what dense layers are.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, ValueId};
use crate::ops::OpError;
use crate::ops::tabled::{Tabled, of};

pub(super) fn run(work: Work) -> Work {
    Rewrite::each(&work, |rewrite, id| {
        let Def::Op { op, .. } = &work.graph.value(id).def else { return None };
        of(op).map(|tabled| dense(rewrite, id, &tabled))
    })
}

fn dense(rewrite: &mut Rewrite<'_>, id: ValueId, tabled: &Tabled) -> Result<ValueId, OpError> {
    let mut inputs = rewrite.inputs(id);
    let value = rewrite.old.graph.value(id).clone();
    let origin = rewrite.old.origin[id.index()];
    if tabled.makes_weight {
        let all = rewrite.op(&format!("{}.dense", value.name), tabled.dense.clone(), &inputs, None)?;
        return rewrite.op(&value.name, tabled.gather(&value.ty), &[all], origin);
    }
    let weight = rewrite.new.graph.value(inputs[1]).ty.clone();
    for op in tabled.spread(&weight) {
        inputs[1] = rewrite.op(&format!("{}.dense", value.name), op, &[inputs[1]], None)?;
    }
    rewrite.op(&value.name, tabled.dense.clone(), &inputs, origin)
}
