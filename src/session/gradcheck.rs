//! Machine code's gradients held against slopes by differences of the `f64` references: of every input and every trained weight,
//! at a bounded number of elements drawn by a seed (all, where there are few).
//!
//! In: a net's graph and compiler options. Out: per tensor the worst error, relative to the greatest gradient in it. Results are
//! projected on fixed random numbers. Inputs are drawn, class numbers where a loss takes them for labels; weights stand near
//! their start. Elements at a kink (see [`crate::grad::check`]) are counted, not compared. Of order 2, the gradients of
//! projected gradients are checked.

use std::collections::BTreeMap;

use super::compiler::Compiler;
use super::error::{CompileError, RunError};
use crate::grad::check::{Probe, Slope};
use crate::grad::{GradError, gradients};
use crate::graph::eval::Given;
use crate::graph::{Def, Graph, ValueId};
use crate::ops::{Op, init};
use crate::support::random::Random;
use crate::tensor::array::Array;
use crate::tensor::owned::TensorView;
use crate::tensor::ty::TensorTy;

/// What is checked, and how well it must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Elements of one tensor, at most.
    pub samples: usize,
    /// Greatest error allowed, relative to the greatest gradient of the tensor.
    pub tolerance: f64,
    /// 1, or 2 for second derivatives.
    pub order: u32,
    /// What numbers are drawn by.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { samples: 12, tolerance: 1e-3, order: 1, seed: 0 }
    }
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its elements.
    pub elements: usize,
    /// How many were compared.
    pub compared: usize,
    /// How many were not, for a kink or an infinite value.
    pub kinks: usize,
    /// The worst error, relative to the greatest gradient of the tensor.
    pub error: f64,
    /// Machine code's gradient there.
    pub gradient: f64,
    /// The slope by differences there.
    pub slope: f64,
}

/// Why nothing was checked.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is the error it holds")]
pub enum GradcheckError {
    Grad(GradError),
    Compile(CompileError),
    Run(RunError),
}

impl std::fmt::Display for GradcheckError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grad(e) => e.fmt(f),
            Self::Compile(e) => e.fmt(f),
            Self::Run(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for GradcheckError {}

/// Numbers for everything a graph reads.
struct Point {
    inputs: Vec<Vec<f32>>,
    params: BTreeMap<ValueId, Vec<f32>>,
}

impl Given for Point {
    fn input(&self, position: usize, ty: &TensorTy) -> Array {
        Array::from_f32(ty.dims(), &self.inputs[position])
    }

    fn param(&self, id: ValueId, ty: &TensorTy) -> Array {
        self.params.get(&id).map_or_else(|| Array::zeros(ty.dims()), |data| Array::from_f32(ty.dims(), data))
    }
}

/// Checks every gradient of `graph`.
///
/// # Errors
/// [`GradcheckError`] when an operation has no gradient, or code cannot be made or run.
pub fn gradcheck(
    graph: &Graph,
    compiler: &Compiler,
    settings: &Settings,
) -> Result<Vec<Row>, GradcheckError> {
    let mut forward = graph.clone();
    forward.updates.clear();
    let labels = labels(&forward);
    let wrt: Vec<ValueId> = forward
        .ids()
        .filter(|id| match &forward.value(*id).def {
            Def::Input(_) => !labels.contains_key(id),
            Def::Param { trainable, .. } => *trainable,
            Def::Const(_) | Def::Op { .. } => false,
        })
        .collect();
    let point = point(&forward, &labels, settings.seed);
    let mut results: Vec<ValueId> = forward.outputs.iter().map(|p| p.value).collect();
    for order in 1..settings.order.max(1) {
        let (seeds, _) = projection(&mut forward, &results, settings.seed ^ u64::from(order));
        let grads = gradients(&mut forward, &seeds, &wrt).map_err(GradcheckError::Grad)?;
        results = grads.into_iter().flatten().collect();
    }
    let (seeds, weights) = projection(&mut forward, &results, settings.seed);
    let mut backward = forward.clone();
    let grads = gradients(&mut backward, &seeds, &wrt).map_err(GradcheckError::Grad)?;
    backward.outputs.clear();
    for (k, g) in grads.iter().enumerate().filter_map(|(k, g)| Some((k, (*g)?))) {
        backward.output(&format!("g{k}"), g, (0..backward.value(g).ty.dims().len()).collect());
    }
    let found = run(&backward, compiler, &point)?;
    let probe = Probe::new(&forward, &point, weights);
    let mut found = found.into_iter();
    let mut rows = Vec::new();
    for (id, grad) in wrt.iter().zip(&grads) {
        let got = grad.and_then(|_| found.next());
        rows.push(row(&probe, &forward, *id, got.as_deref(), settings));
    }
    Ok(rows)
}

/// The inputs that a loss takes for class numbers, with the number of classes.
fn labels(graph: &Graph) -> BTreeMap<ValueId, usize> {
    let mut found = BTreeMap::new();
    for id in graph.ids() {
        if let Def::Op { op: Op::CrossEntropy(_), inputs } = &graph.value(id).def
            && graph.value(inputs[1]).ty.c() == 1
        {
            found.insert(inputs[1], graph.value(inputs[0]).ty.c());
        }
    }
    found
}

fn point(graph: &Graph, labels: &BTreeMap<ValueId, usize>, seed: u64) -> Point {
    let input = |port: &crate::graph::Port| {
        let random = Random::new(seed, &port.name);
        let classes = labels.get(&port.value);
        let draw =
            |i: u64| classes.map_or_else(|| random.normal(i) as f32, |k| random.below(i, *k as u64) as f32);
        (0..graph.value(port.value).ty.len() as u64).map(draw).collect()
    };
    let mut params = BTreeMap::new();
    for id in graph.params() {
        let value = graph.value(id);
        let Def::Param { init: start, trainable } = &value.def else { continue };
        let mut data = init::values(start, &value.ty, &value.name, seed);
        if *trainable {
            // Off the start, where biases of 0 leave rectifiers at their kink.
            let random = Random::new(seed, &format!("{}.off", value.name));
            data.iter_mut().zip(0u64..).for_each(|(x, i)| *x += 0.05 * random.normal(i) as f32);
        }
        params.insert(id, data);
    }
    Point { inputs: graph.inputs.iter().map(input).collect(), params }
}

/// Constants that results are multiplied with, as seeds and as numbers.
type Projection = (Vec<(ValueId, ValueId)>, Vec<(ValueId, Array)>);

fn projection(graph: &mut Graph, results: &[ValueId], seed: u64) -> Projection {
    let mut out = (Vec::new(), Vec::new());
    for (k, y) in results.iter().enumerate() {
        let ty = graph.value(*y).ty.clone();
        let random = Random::new(seed, &format!("projection {k}"));
        let draw = |i: u64| {
            random.uniform(2 * i, 0.25, 1.0) * if random.below(2 * i + 1, 2) == 0 { 1.0 } else { -1.0 }
        };
        let data: Vec<f32> = (0..ty.len() as u64).map(draw).collect();
        out.1.push((*y, Array::from_f32(ty.dims(), &data)));
        let r = graph.constant(&format!("projection.{k}"), ty, data);
        out.0.push((*y, r));
    }
    out
}

fn run(graph: &Graph, compiler: &Compiler, point: &Point) -> Result<Vec<Vec<f32>>, GradcheckError> {
    if graph.outputs.is_empty() {
        return Ok(Vec::new());
    }
    let mut model = compiler.compile_graph(graph.clone()).map_err(GradcheckError::Compile)?;
    for (id, data) in &point.params {
        // Weights that no gradient reads are gone.
        let _ = model.set_weight(&graph.value(*id).name, data.into());
    }
    let given: Vec<(&str, Vec<f32>)> = graph
        .inputs
        .iter()
        .zip(&point.inputs)
        .map(|(p, data)| (&*p.name, in_order(&graph.value(p.value).ty, &p.order, data)))
        .collect();
    let views: Vec<(&str, TensorView<'_>)> = given.iter().map(|(name, data)| (*name, data.into())).collect();
    let outputs = model.run(&views).map_err(GradcheckError::Run)?;
    Ok(outputs.into_vec().into_iter().map(|(_, t)| t.into_data()).collect())
}

/// Row-major data in the order of the user's buffer.
fn in_order(ty: &TensorTy, order: &[usize], data: &[f32]) -> Vec<f32> {
    let array = Array::from_f32(ty.dims(), data);
    let dims: Vec<usize> = order.iter().map(|d| ty.dims()[*d]).collect();
    let moved = Array::from_fn(&dims, |at| {
        let mut from = vec![0; at.len()];
        order.iter().zip(at).for_each(|(d, i)| from[*d] = *i);
        array.at(&from)
    });
    moved.data.into_iter().map(|x| x as f32).collect()
}

fn row(probe: &Probe<'_>, graph: &Graph, id: ValueId, got: Option<&[f32]>, settings: &Settings) -> Row {
    let (value, len) = (graph.value(id), probe.array(id).data.len());
    let random = Random::new(settings.seed, &value.name);
    let mut row = Row {
        name: value.name.clone(),
        elements: len,
        compared: 0,
        kinks: 0,
        error: 0.0,
        gradient: 0.0,
        slope: 0.0,
    };
    let mut pairs = Vec::new();
    for k in 0..len.min(settings.samples) {
        let i = if len <= settings.samples { k } else { random.below(k as u64, len as u64) as usize };
        match probe.slope(id, i) {
            Slope::Is(slope) => pairs.push((got.map_or(0.0, |g| f64::from(g[i])), slope)),
            Slope::Kink | Slope::NotFinite => row.kinks += 1,
        }
    }
    let all = got.unwrap_or(&[]).iter().map(|x| f64::from(x.abs())).filter(|x| x.is_finite());
    // Gradients that cancel to nothing (a bias before a normalisation) are noise of what cancels.
    let scale = all.chain(pairs.iter().map(|p| p.1.abs())).fold(1e-4, f64::max);
    row.compared = pairs.len();
    for (gradient, slope) in pairs {
        let error = (gradient - slope).abs() / scale;
        if row.compared == 1 || error.is_nan() || error >= row.error {
            (row.error, row.gradient, row.slope) =
                (if error.is_nan() { f64::INFINITY } else { error }, gradient, slope);
        }
    }
    row
}
