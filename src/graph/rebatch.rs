//! The same network for another number of samples, where samples do not meet: `graph` for `n` of them becomes one for fewer, and
//! running that on one part of the batch after another computes the same elements.

use super::{Def, Graph, Value, ValueId};
use crate::ops::Op;
use crate::tensor::ty::TensorTy;

/// `graph`, all whose inputs have `from` samples, for `to`; `None` where a value might depend on several samples, or where a batch
/// does not lie outermost in a buffer of the user.
pub fn rebatch(graph: &Graph, from: usize, to: usize) -> Option<Graph> {
    let outermost = |port: &super::Port| {
        let ty = &graph.value(port.value).ty;
        port.order.first() == Some(&0) && ty.is_activation() && ty.n() == from
    };
    let ports = graph.inputs.iter().chain(&graph.outputs);
    if from < 2 || !graph.updates.is_empty() || graph.inputs.is_empty() || !{ ports }.all(outermost) {
        return None;
    }
    let mut new = Graph { values: Vec::with_capacity(graph.values.len()), ..graph.clone() };
    // Which values are made of inputs, so that there is one of them for each sample.
    let mut sampled = vec![false; graph.values.len()];
    for id in graph.ids() {
        let value = graph.value(id);
        let ty = match &value.def {
            Def::Input(_) => {
                sampled[id.index()] = true;
                fewer(&value.ty, to)?
            }
            Def::Param { .. } | Def::Const(_) => value.ty.clone(),
            Def::Op { op, inputs } => {
                let made = inputs.iter().any(|i| sampled[i.index()]);
                sampled[id.index()] = made;
                if made { ty_of(&new, op, inputs, value, (from, to))? } else { value.ty.clone() }
            }
        };
        new.values.push(Value { ty, ..value.clone() });
    }
    // An output that no input reaches is one and the same for all samples, but the user's buffer has one for each.
    graph.outputs.iter().all(|p| sampled[p.value.index()]).then_some(new)
}

fn fewer(ty: &TensorTy, to: usize) -> Option<TensorTy> {
    let dims = ty.names().iter().cloned().zip(ty.dims().iter().copied());
    TensorTy::new(dims.enumerate().map(|(d, (name, extent))| (name, if d == 0 { to } else { extent }))).ok()
}

/// The type of a value in the new graph, if it is the old one's with fewer samples.
fn ty_of(
    new: &Graph,
    op: &Op,
    inputs: &[ValueId],
    old: &Value,
    (from, to): (usize, usize),
) -> Option<TensorTy> {
    if !old.ty.is_activation() || old.ty.n() != from || !keeps_samples_apart(op) {
        return None;
    }
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &new.values[i.index()].ty).collect();
    let inferred = op.rules().infer(&types).ok()?;
    (inferred.ty == fewer(&old.ty, to)?).then_some(inferred.ty)
}

/// Whether each sample of the result is computed of the same sample of the operands, in the same way for any number of them.
/// What only importers, gradients and training make is not looked at.
fn keeps_samples_apart(op: &Op) -> bool {
    match op {
        Op::BatchNorm(_)
        | Op::Binary(_)
        | Op::Conv(_)
        | Op::Copy(_)
        | Op::Dense(_)
        | Op::Fold(_)
        | Op::Identity(_)
        | Op::L2Norm(_)
        | Op::Lrn(_)
        | Op::Norm(_)
        | Op::PRelu(_)
        | Op::Pad(_)
        | Op::Pool(_)
        | Op::Reshape(_)
        | Op::Resize(_)
        | Op::Shuffle(_)
        | Op::Softmax(_)
        | Op::Unary(_)
        | Op::Unconv(_)
        | Op::Upsample(_) => true,
        Op::Concat(op) => op.dim > 0,
        Op::Flip(op) => op.dim > 0,
        Op::Slice(op) => op.cuts.iter().all(|c| c.dim > 0),
        Op::Adjoint(_)
        | Op::Aggregate(_)
        | Op::ArgAxis(_)
        | Op::Arrange(_)
        | Op::BandFold(_)
        | Op::BandSums(_)
        | Op::BatchNormGrad(_)
        | Op::Blend(_)
        | Op::ConvGrad(_)
        | Op::ConvGradFold(_)
        | Op::ConvGradSums(_)
        | Op::CrossEntropy(_)
        | Op::CrossEntropyGrad(_)
        | Op::DenseGrad(_)
        | Op::DepthSpace(_)
        | Op::Embed(_)
        | Op::Expand(_)
        | Op::L2NormGrad(_)
        | Op::Loss(_)
        | Op::LossGrad(_)
        | Op::LrnGrad(_)
        | Op::MatMul(_)
        | Op::Moment(_)
        | Op::NormGrad(_)
        | Op::Optim(_)
        | Op::PReluGrad(_)
        | Op::Permute(_)
        | Op::Pointwise(_)
        | Op::PoolGrad(_)
        | Op::PoolIndex(_)
        | Op::Power(_)
        | Op::Refold(_)
        | Op::SoftmaxGrad(_)
        | Op::Squares(_)
        | Op::Sum(_)
        | Op::UnaryGrad(_)
        | Op::Winner(_)
        | Op::Winograd(_)
        | Op::WinogradFold(_)
        | Op::WinogradGrad(_)
        | Op::WinogradWeight(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::rebatch;
    use crate::graph::Graph;
    use crate::ops::case::act;
    use crate::ops::flip::Flip;

    /// Four samples, turned around along a dimension.
    fn flipped(dim: usize, order: &[usize]) -> Graph {
        let mut g = Graph::new("g");
        let x = g.input("x", act(4, 2, &[("h", 3)]), order.to_vec());
        let (y, _) = g.op("y", Flip { dim }, &[x]).expect("it fits");
        g.output("y", y, vec![0, 1, 2]);
        g
    }

    #[test]
    fn only_samples_that_do_not_meet_are_parted() {
        let one = rebatch(&flipped(2, &[0, 1, 2]), 4, 2).expect("samples are apart");
        assert!(one.values.iter().all(|v| v.ty.n() == 2), "{one:?}");
        assert_eq!(rebatch(&flipped(0, &[0, 1, 2]), 4, 2), None, "samples change places");
        assert_eq!(rebatch(&flipped(2, &[1, 0, 2]), 4, 2), None, "samples do not lie one after another");
        assert_eq!(rebatch(&flipped(2, &[0, 1, 2]), 3, 1), None, "the batch is another");
    }
}
