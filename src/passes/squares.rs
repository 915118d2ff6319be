//! Cuts the sums of a gradient's squares into the parts in which what makes the gradient has it at hand, so that it can make them in passing
//! ([`crate::ops::squares`]). Stands behind what chooses how gradients are made.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::OpError;
use crate::ops::role::InPassing;
use crate::ops::squares::{self, Squares};
use crate::ops::sum::{Kept, Sum};
use crate::support::Name;
use crate::tensor::ty::TensorTy;

pub(super) fn run(work: Work) -> Work {
    Rewrite::each(&work, |rewrite, id| said(&work.graph, id).map(|said| anew(rewrite, id, said)))
}

/// The sums as they can be made, where they are others.
fn said(graph: &Graph, id: ValueId) -> Option<Squares> {
    let Some(InPassing::Squares(now)) = graph.sums(id) else { return None };
    let gradient = graph.value(*graph.uses(id).first()?);
    let Def::Op { op, inputs } = &gradient.def else { return None };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    squares::of(op, &types, &gradient.ty).filter(|new| *new != now)
}

/// There may be many parts: those of a lane are added up side by side.
fn anew(rewrite: &mut Rewrite<'_>, id: ValueId, squares: Squares) -> Result<ValueId, OpError> {
    let inputs = rewrite.inputs(id);
    let name = rewrite.old.graph.value(id).name.clone();
    let lane = Kept { name: Name::from("l"), dim: 1, extent: squares.lanes.extent };
    let parts = rewrite.op(&name, squares, &inputs, None)?;
    rewrite.op(&name, Sum { kept: vec![lane] }, &[parts], None)
}
