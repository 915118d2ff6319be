//! What an object must give for inputs that anyone can make: computed by machine code here, sampled, one row per instruction
//! set. Where this machine runs the set, the object must give the same bits; else a bound says how far rounding may lead.

use std::collections::BTreeMap;

use super::ObjectError;
use super::store::Values;
use crate::codegen::object::Check;
use crate::codegen::selftest::element;
use crate::graph::Graph;
use crate::kernels::isa::Isa;
use crate::session::compiler::Compiler;
use crate::session::model::Model;
use crate::session::ports::Port;
use crate::tensor::owned::{Tensor, TensorView};

/// Elements of one output that are compared at most.
const SAMPLES_MAX: usize = 4096;

/// How far another machine's rounding may lead, relative to the largest magnitude of the output.
const TOLERANCE: f32 = 1e-4;

/// The numbers that input `i` is filled with.
pub(super) fn seed(i: usize) -> u64 {
    (i as u64) << 40
}

/// Which elements of an output of `len` elements at `at` are compared: evenly spread.
pub(super) fn check(at: usize, len: usize) -> Check {
    let count = len.min(SAMPLES_MAX);
    Check { at, stride: len.checked_div(count).unwrap_or(1), count }
}

/// Runs the net by the code of an instruction set: everything that is compared, in order.
type Run<'a> = &'a dyn Fn(&Isa) -> Result<Vec<Vec<f32>>, ObjectError>;

pub(super) struct Golden<'a> {
    run: Run<'a>,
    /// The results by the instruction set that made them.
    made: Vec<(Isa, Vec<Vec<f32>>)>,
    rows: Vec<Vec<f32>>,
}

impl<'a> Golden<'a> {
    pub(super) fn new(run: Run<'a>) -> Self {
        Self { run, made: Vec::new(), rows: Vec::new() }
    }

    /// Adds the row of `isa`, computed by the code of `host`.
    pub(super) fn add(&mut self, isa: &Isa, host: &Isa) -> Result<(), ObjectError> {
        let made = match self.made.iter().position(|m| m.0.features() == host.features()) {
            Some(i) => i,
            None => {
                let outputs = (self.run)(host)?;
                self.made.push((host.clone(), outputs));
                self.made.len() - 1
            }
        };
        let outputs = &self.made[made].1;
        let exact = isa.arch() == host.arch() && isa.features() == host.features();
        let largest = |o: &Vec<f32>| o.iter().filter(|x| x.is_finite()).fold(0f32, |m, x| m.max(x.abs()));
        let bound = |o: &Vec<f32>| if exact { 0.0 } else { TOLERANCE * largest(o) };
        let mut row: Vec<f32> = outputs.iter().map(bound).collect();
        for output in outputs {
            let check = check(0, output.len());
            row.extend((0..check.count).map(|i| output[i * check.stride]));
        }
        self.rows.push(row);
        Ok(())
    }

    /// All rows.
    pub(super) fn numbers(&self) -> Vec<f32> {
        self.rows.concat()
    }
}

/// A graph compiled for `host`, with weights.
pub(super) fn model(
    compiler: &Compiler,
    graph: &Graph,
    values: &Values,
    host: &Isa,
) -> Result<Model, ObjectError> {
    let mut options = compiler.options().clone().isa(host.clone());
    // As the object is: by the cost model alone.
    options.tune = None;
    let mut model = Compiler::new(options).compile_graph(graph.clone())?;
    let mut weights: BTreeMap<String, Tensor> = BTreeMap::new();
    for info in model.weights() {
        let data = values.get(&info.name).ok_or_else(|| ObjectError::weight(&info.name))?;
        weights.insert(info.name, Tensor::of(info.axes, data.clone()));
    }
    model.load_weights(&mut weights)?;
    Ok(model)
}

/// The outputs for the inputs that the test fills in.
pub(super) fn forward(
    compiler: &Compiler,
    graph: &Graph,
    values: &Values,
    host: &Isa,
) -> Result<Vec<Vec<f32>>, ObjectError> {
    let model = model(compiler, graph, values, host)?;
    let fill = |(i, p): (usize, &Port)| (0..p.len() as u64).map(|e| element(seed(i), e)).collect();
    let inputs: Vec<Vec<f32>> = model.inputs().iter().enumerate().map(fill).collect();
    let given: Vec<(&str, TensorView<'_>)> =
        model.inputs().iter().zip(&inputs).map(|(p, x)| (&*p.name, TensorView::from(x))).collect();
    let outputs = model.run(&given)?;
    Ok(outputs.into_vec().into_iter().map(|(_, t)| t.into_data()).collect())
}
