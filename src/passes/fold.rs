//! Computes at compile time what depends on constants only, through the operations' references, where result and work are
//! small. Weights are no constants: what depends on them is computed when they are loaded.

use std::sync::Arc;

use crate::graph::patch::{Rewrite, Work};
use crate::graph::{Def, Graph, Value, ValueId};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Largest folded constant, in elements.
const ELEMENTS: usize = 1 << 16;
/// Most floating-point operations spent on one value.
const FLOPS: u64 = 1 << 24;

pub(super) fn run(work: Work) -> Work {
    let mut rewrite = Rewrite::new(&work);
    for id in work.graph.ids() {
        let old = work.graph.value(id);
        let folded = constant(&rewrite.new.graph, old, &rewrite.inputs(id));
        match folded {
            Some(data) => rewrite.put(id, Value { def: Def::Const(Arc::new(data)), ..old.clone() }),
            None => rewrite.keep(id),
        };
    }
    rewrite.finish()
}

/// The elements of the operation `value` on `inputs`, which stand in `graph`, if all of them are constants.
fn constant(graph: &Graph, value: &Value, inputs: &[ValueId]) -> Option<Vec<f32>> {
    let Def::Op { op, .. } = &value.def else { return None };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    let arrays: Vec<Array> = inputs
        .iter()
        .map(|i| match &graph.value(*i).def {
            Def::Const(data) => Some(Array::from_f32(graph.value(*i).ty.dims(), data)),
            Def::Input(_) | Def::Param { .. } | Def::Op { .. } => None,
        })
        .collect::<Option<_>>()?;
    if arrays.is_empty() || value.ty.len() > ELEMENTS || op.rules().cost(&types, &value.ty).flops > FLOPS {
        return None;
    }
    let arrays: Vec<&Array> = arrays.iter().collect();
    Some(op.rules().reference(&arrays, &value.ty).data.iter().map(|x| *x as f32).collect())
}
