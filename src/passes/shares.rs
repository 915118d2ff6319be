//! Gradients by weights in partial sums where operands are much larger than the weight, see [`crate::ops::conv_grad_sums`]. Stands
//! behind minimal filtering, which says its own gradients anew.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::OpError;
use crate::ops::conv_grad_fold::ConvGradFold;
use crate::ops::conv_grad_sums::{self, ConvGradSums};

pub(super) fn run(work: Work) -> Work {
    Rewrite::each(&work, |rewrite, id| said(&work.graph, id).map(|said| anew(rewrite, id, said)))
}

fn said(graph: &Graph, id: ValueId) -> Option<(ConvGradSums, ConvGradFold)> {
    let Def::Op { op, inputs } = &graph.value(id).def else { return None };
    let ty = |i: usize| inputs.get(i).map(|id| &graph.value(*id).ty);
    conv_grad_sums::of(op, ty(0)?, ty(1)?)
}

fn anew(
    rewrite: &mut Rewrite<'_>,
    id: ValueId,
    (sums, fold): (ConvGradSums, ConvGradFold),
) -> Result<ValueId, OpError> {
    let inputs = rewrite.inputs(id);
    let name = rewrite.old.graph.value(id).name.clone();
    let origin = rewrite.old.origin[id.index()];
    let sums = rewrite.op(&format!("{name}.sums"), sums, &inputs, None)?;
    rewrite.op(&name, fold, &[sums], origin)
}
