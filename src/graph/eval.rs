//! Evaluates a graph in `f64` through the operations' references: the truth that machine code is held against. Slow, obvious,
//! and blind to groups and layouts.

use super::{Def, Graph, ValueId};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// What a run hands in: row-major in the order of the types.
pub trait Given {
    /// The input at this position.
    fn input(&self, position: usize, ty: &TensorTy) -> Array;

    /// The weight `id`.
    fn param(&self, id: ValueId, ty: &TensorTy) -> Array;
}

/// Evaluates all values in order; `seen` gets each as soon as it is known, and a value is dropped after its last use.
pub fn evaluate(graph: &Graph, given: &dyn Given, mut seen: impl FnMut(ValueId, &Array)) {
    let mut last_use: Vec<ValueId> = graph.ids().collect();
    for id in graph.ids() {
        for used in graph.uses(id) {
            last_use[used.index()] = id;
        }
    }
    let mut arrays: Vec<Option<Array>> = vec![None; graph.values.len()];
    for id in graph.ids() {
        let array = one(graph, id, given, &arrays);
        seen(id, &array);
        arrays[id.index()] = Some(array);
        for used in graph.uses(id).iter().chain([&id]) {
            if last_use[used.index()] == id {
                arrays[used.index()] = None;
            }
        }
    }
}

fn one(graph: &Graph, id: ValueId, given: &dyn Given, arrays: &[Option<Array>]) -> Array {
    let value = graph.value(id);
    match &value.def {
        Def::Input(i) => given.input(*i, &value.ty),
        Def::Param { .. } => given.param(id, &value.ty),
        Def::Const(data) => Array::from_f32(value.ty.dims(), data),
        Def::Op { op, inputs } => {
            let inputs: Vec<&Array> =
                inputs.iter().map(|i| arrays[i.index()].as_ref().expect("kept until its last use")).collect();
            op.rules().reference(&inputs, &value.ty)
        }
    }
}

/// The outputs, in the order of the ports.
pub fn outputs(graph: &Graph, given: &dyn Given) -> Vec<Array> {
    let mut found: Vec<Option<Array>> = vec![None; graph.outputs.len()];
    evaluate(graph, given, |id, array| {
        for (port, slot) in graph.outputs.iter().zip(&mut found) {
            if port.value == id {
                *slot = Some(array.clone());
            }
        }
    });
    found.into_iter().map(|a| a.expect("every output is a value of the graph")).collect()
}

/// What updated weights have after the run, in the order of the updates.
pub fn updates(graph: &Graph, given: &dyn Given) -> Vec<(ValueId, Array)> {
    let commit = graph.commit.map(|port| graph.outputs[port].value);
    let (mut found, mut holds) = (Vec::new(), true);
    evaluate(graph, given, |id, array| {
        for u in graph.updates.iter().filter(|u| u.value == id) {
            found.push((u.param, array.clone()));
        }
        if commit == Some(id) {
            holds = array.data[0] > 0.0;
        }
    });
    if !holds {
        found =
            graph.updates.iter().map(|u| (u.param, given.param(u.param, &graph.value(u.param).ty))).collect();
    }
    let place = |param: ValueId| graph.updates.iter().position(|u| u.param == param);
    found.sort_by_key(|(param, _)| place(*param));
    found
}
