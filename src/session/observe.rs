//! A run beside the `f64` reference: after each step, what machine code stored is compared with the value of the source graph
//! that it stands for. Errors are those accumulated since the inputs, weights included.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::error::RunError;
use super::model::{Compiled, Model, Store};
use super::ports::{Outputs, arrange_all};
use super::simulate::simulate;
use crate::graph::eval::{Given, evaluate};
use crate::graph::{Def, ValueId};
use crate::runtime::program::{Memory, Program};
use crate::support::Name;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::compare::{Comparison, Tolerance, compare};
use crate::tensor::owned::TensorView;
use crate::tensor::ty::TensorTy;

/// How one step of a run compares with the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCheck {
    /// The value of the source graph that it stored, by its path.
    pub name: String,
    /// The operation that made that value.
    pub kind: &'static str,
    /// The error.
    pub comparison: Comparison,
}

/// Inputs and weights of a run as the reference wants them.
struct Lent<'a> {
    compiled: &'a Compiled,
    store: &'a Store,
    inputs: &'a [&'a [f32]],
}

impl Given for Lent<'_> {
    fn input(&self, position: usize, ty: &TensorTy) -> Array {
        let order = &self.compiled.source.inputs[position].order;
        let layout = crate::tensor::layout::Layout::ordered(order.clone());
        gathered(ty, &layout, self.inputs[position])
    }

    fn param(&self, id: ValueId, ty: &TensorTy) -> Array {
        let name = &self.compiled.source.value(id).name;
        let graph = &self.compiled.program.work.graph;
        match graph.params().find(|p| graph.value(*p).name == *name) {
            Some(p) => Array::from_f32(ty.dims(), &self.compiled.gather(p, self.store)),
            None => Array::zeros(ty.dims()),
        }
    }
}

/// The elements of a buffer, row-major in the order of the type.
fn gathered(ty: &TensorTy, layout: &crate::tensor::layout::Layout, data: &[f32]) -> Array {
    let placed = layout.place(ty);
    Array::from_fn(ty.dims(), |index| f64::from(data[placed.element(index) as usize]))
}

/// The elements of an array whose dimensions are put in another order.
fn in_order(array: &Array, order: &[usize]) -> Vec<f64> {
    let dims: Vec<usize> = order.iter().map(|d| array.dims[*d]).collect();
    let moved = Array::from_fn(&dims, |at| {
        let mut index = vec![0; at.len()];
        for (d, i) in order.iter().zip(at) {
            index[*d] = *i;
        }
        array.at(&index)
    });
    moved.data
}

impl Model {
    /// Runs the network once, and the reference beside it; the outputs, and the error of every step. Slow: the reference
    /// computes in `f64` by the definitions.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_checked(
        &self,
        inputs: &[(&str, TensorView<'_>)],
        tolerance: Tolerance,
    ) -> Result<(Outputs, Vec<StepCheck>), RunError> {
        let compiled = &*self.compiled;
        let inputs = arrange_all(&compiled.inputs, inputs)?;
        let store = self.store()?;
        let mut outputs: Vec<Vec<f32>> = compiled.outputs.iter().map(|p| vec![0.0; p.len()]).collect();
        let mut checks: Vec<StepCheck> = Vec::new();
        self.with_memory(&inputs, &mut outputs, |program, memory| {
            let expected = compiled.reference(store, memory.inputs);
            let mut piece = Vec::new();
            program.run_observed(memory, self.executor(), &mut |step, view| {
                let step = &compiled.program.steps[compiled.run_steps[step]];
                let found = view.buf(step.reads.len());
                piece.extend(compiled.check(step.value, found, &expected, tolerance));
            })?;
            if checks.is_empty() {
                checks = piece;
            } else {
                checks.iter_mut().zip(&piece).for_each(|(all, c)| all.comparison.join(&c.comparison));
            }
            Ok(())
        })?;
        Ok((Outputs::of(&compiled.outputs, outputs), checks))
    }

    /// The outputs as the `f64` reference computes them from the same inputs and weights, each in the order of its port.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_reference(
        &self,
        inputs: &[(&str, TensorView<'_>)],
    ) -> Result<Vec<(Name, Vec<f64>)>, RunError> {
        let compiled = &*self.compiled;
        let inputs = arrange_all(&compiled.inputs, inputs)?;
        let slices: Vec<&[f32]> = inputs.iter().map(|i| &**i).collect();
        let lent = Lent { compiled, store: self.store()?, inputs: &slices };
        let arrays = crate::graph::eval::outputs(&compiled.source, &lent);
        let ports = compiled.source.outputs.iter().zip(arrays);
        Ok(ports.map(|(port, array)| (port.name.clone(), in_order(&array, &port.order))).collect())
    }

    /// The outputs as the loop interpreter computes them, from the same scheduled loops and in the same places of memory as
    /// machine code does; very slow.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_interpreted(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<Outputs, RunError> {
        let compiled = &*self.compiled;
        let inputs = arrange_all(&compiled.inputs, inputs)?;
        let store = self.store()?;
        let weight = |id: ValueId| compiled.gather(id, store);
        let fma = compiled.options.isa.fuses();
        let pieces = compiled.pieces();
        let mut outputs: Vec<Vec<f32>> = vec![Vec::new(); compiled.outputs.len()];
        for piece in 0..pieces {
            let part = |i: &Cow<'_, [f32]>| {
                let size = i.len() / pieces;
                i[piece * size..(piece + 1) * size].to_vec()
            };
            let inputs: Vec<Vec<f32>> = inputs.iter().map(part).collect();
            let data = simulate(&compiled.program, &inputs, &weight, fma)
                .map_err(|message| RunError::Interpreter { message })?;
            outputs.iter_mut().zip(data.outputs).for_each(|(all, piece)| all.extend(piece));
        }
        Ok(Outputs::of(&compiled.outputs, outputs))
    }

    /// The first value that is not finite in a run from the present weights, as `conv `c1``; weights stay as they are, and
    /// an input or a weight that is not finite comes first. `None` when all are.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn first_not_finite(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<Option<String>, RunError> {
        let compiled = self.compiled.clone();
        let inputs = arrange_all(&compiled.inputs, inputs)?;
        let wild = |data: &[f32]| data.iter().any(|x| !x.is_finite());
        if let Some(i) = inputs.iter().position(|i| wild(i)) {
            return Ok(Some(format!("in input `{}`", compiled.inputs[i].name)));
        }
        for info in self.weights() {
            if self.weight(&info.name)?.is_some_and(|w| wild(w.data())) {
                return Ok(Some(format!("in weight `{}`", info.name)));
            }
        }
        let mut outputs: Vec<Vec<f32>> = compiled.outputs.iter().map(|p| vec![0.0; p.len()]).collect();
        let mut found = None;
        let executor = self.executor_arc();
        let mut see = |step: usize, view: &crate::runtime::call::View<'_>| {
            let step = &compiled.program.steps[compiled.run_steps[step]];
            if found.is_none() && wild(view.buf(step.reads.len())) {
                // The first of what was fused: the layer that users know.
                let value = compiled.program.work.graph.value(step.root);
                let kind = match &value.def {
                    Def::Op { op, .. } => op.rules().kind(),
                    Def::Input(_) | Def::Param { .. } | Def::Const(_) => "value",
                };
                found = Some(format!("`{}` (a `{kind}`)", value.name));
            }
        };
        let run = |program: &Program, memory: Memory<'_>| program.run_observed(memory, &*executor, &mut see);
        if self.is_stateful() {
            self.clone().with_state(&inputs, &mut outputs, run)?;
        } else {
            self.with_memory(&inputs, &mut outputs, run)?;
        }
        Ok(found)
    }
}

impl Compiled {
    /// The values of the planned graph that steps of a run store.
    fn reference(&self, store: &Store, inputs: &[&[f32]]) -> BTreeMap<ValueId, Array> {
        let steps = self.run_steps.iter().map(|i| &self.program.steps[*i]);
        let wanted: Vec<ValueId> = steps.filter_map(|s| self.program.work.origin[s.value.index()]).collect();
        let lent = Lent { compiled: self, store, inputs };
        let mut found = BTreeMap::new();
        evaluate(self.planned(), &lent, |id, array| {
            if wanted.contains(&id) {
                found.insert(id, array.clone());
            }
        });
        found
    }

    fn check(
        &self,
        value: ValueId,
        found: &[f32],
        expected: &BTreeMap<ValueId, Array>,
        tolerance: Tolerance,
    ) -> Option<StepCheck> {
        let origin = self.program.work.origin[value.index()]?;
        let expected = expected.get(&origin)?;
        let stored = self.program.work.graph.value(value);
        let placed = stored.layout.as_ref()?.place(&stored.ty);
        let mut actual = Vec::with_capacity(stored.ty.len());
        for_each_index(stored.ty.dims(), |index| {
            actual.push(found[placed.element(index) as usize]);
        });
        let of = self.planned().value(origin);
        let kind = match &of.def {
            Def::Op { op, .. } => op.rules().kind(),
            Def::Input(_) => "input",
            Def::Param { .. } => "weight",
            Def::Const(_) => "const",
        };
        let comparison = compare(&actual, &expected.data, tolerance);
        Some(StepCheck { name: of.name.clone(), kind, comparison })
    }
}
