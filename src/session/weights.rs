//! Weights by path, in the shapes of weight files: read them, set one, load all from a source. Setting weights computes what
//! depends on them (packed copies, folded normalisations) and gives the model a store of its own; other clones keep theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::error::{RunError, WeightError, WeightProblem};
use super::model::{Model, Store};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::init::Init;
use crate::runtime::arena::Storage;
use crate::support::Name;
use crate::support::diag::nearest;
use crate::tensor::owned::{Tensor, TensorView};
use crate::tensor::ty::TensorTy;

/// Where weights come from: a file, a map.
pub trait WeightSource {
    /// Every name with its extents, outermost first.
    fn shapes(&self) -> Vec<(String, Vec<usize>)>;

    /// The elements of `name`, the last dimension fastest.
    ///
    /// # Errors
    /// Whatever keeps the source from giving them.
    fn read(&mut self, name: &str) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>>;
}

/// A weight's description.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightInfo {
    /// Its path: `c1.weight`, `stage[2].a.bias`.
    pub name: String,
    /// Its dimensions as weight files have them, outermost first.
    pub axes: Vec<(Name, usize)>,
    /// Whether training changes it.
    pub trainable: bool,
}

impl Model {
    /// All weights, in the order in which the program makes them.
    pub fn weights(&self) -> Vec<WeightInfo> {
        let graph = &self.compiled.source;
        graph
            .params()
            .map(|id| {
                let value = graph.value(id);
                let trainable = matches!(value.def, Def::Param { trainable: true, .. });
                WeightInfo { name: value.name.clone(), axes: axes(&value.ty), trainable }
            })
            .collect()
    }

    /// A fingerprint of the architecture: operations with their attributes, extents (the batch aside) and weight names, in
    /// order. Weights written with it are recognised when they are loaded into another network.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.compiled.source)
    }

    /// The weight `name` as it is now; `None` if there is none.
    ///
    /// # Errors
    /// [`RunError::Memory`] when the first weights cannot be made.
    pub fn weight(&self, name: &str) -> Result<Option<Tensor>, RunError> {
        let Some(id) = self.param(name) else { return Ok(None) };
        let data = self.compiled.gather(id, self.store()?);
        Ok(Some(Tensor::of(axes(&self.compiled.program.work.graph.value(id).ty), data)))
    }

    /// Sets one weight. To set many, [`Model::load_weights`] is faster.
    ///
    /// # Errors
    /// [`WeightError`] when there is no such weight or its extents differ; nothing is changed then.
    pub fn set_weight(&mut self, name: &str, value: TensorView<'_>) -> Result<(), WeightError> {
        let failed = |problem| WeightError { problems: vec![problem] };
        let found = match value.axes() {
            Some(axes) => axes.iter().map(|a| a.1).collect(),
            None => vec![value.data().len()],
        };
        let Some(id) = self.param(name) else {
            let known = self.weights();
            let near = nearest(name, known.iter().map(|w| w.name.as_str())).map(str::to_owned);
            return Err(failed(WeightProblem::Unknown { name: name.to_owned(), found, nearest: near }));
        };
        let ty = &self.compiled.program.work.graph.value(id).ty;
        let fits = match value.axes() {
            Some(_) => found == ty.dims(),
            None => value.data().len() == ty.len(),
        };
        if !fits {
            return Err(failed(WeightProblem::Shape { name: name.to_owned(), expected: ty.show(), found }));
        }
        let memory = |e: RunError| failed(WeightProblem::Memory(e));
        let mut store = self.copied_store().map_err(memory)?;
        self.compiled.scatter(id, value.data(), &mut store);
        self.replace(store).map_err(memory)
    }

    /// Sets all weights from a source. Weights with given values that training does not change may be missing. What PyTorch
    /// writes beside normalisations (`num_batches_tracked`) is skipped.
    ///
    /// # Errors
    /// [`WeightError`] with everything that is missing, too much, or of another shape; nothing is changed then.
    pub fn load_weights(&mut self, source: &mut dyn WeightSource) -> Result<(), WeightError> {
        let problems = self.mismatches(&source.shapes());
        if !problems.is_empty() {
            return Err(WeightError { problems });
        }
        let failed = |problem| WeightError { problems: vec![problem] };
        let memory = |e: RunError| failed(WeightProblem::Memory(e));
        let given: BTreeSet<String> = source.shapes().into_iter().map(|s| s.0).collect();
        let compiled = &*self.compiled;
        let graph = &compiled.program.work.graph;
        let mut store = compiled.empty_store().map_err(|e| memory(e.into()))?;
        for id in graph.params() {
            let value = graph.value(id);
            let data = match &value.def {
                Def::Param { init, .. } if !given.contains(&value.name) => {
                    crate::ops::init::values(init, &value.ty, &value.name, compiled.options.seed)
                }
                Def::Param { .. } | Def::Input(_) | Def::Const(_) | Def::Op { .. } => source
                    .read(&value.name)
                    .map_err(|cause| failed(WeightProblem::Read { name: value.name.clone(), cause }))?,
            };
            if data.len() != value.ty.len() {
                let (name, found) = (value.name.clone(), vec![data.len()]);
                return Err(failed(WeightProblem::Shape { name, expected: value.ty.show(), found }));
            }
            compiled.scatter(id, &data, &mut store);
        }
        self.replace(store).map_err(memory)
    }

    /// Everything that does not fit between the network's weights and given shapes.
    fn mismatches(&self, given: &[(String, Vec<usize>)]) -> Vec<WeightProblem> {
        let graph = &self.compiled.source;
        let shapes: BTreeMap<&str, &[usize]> =
            given.iter().map(|(n, d)| (n.as_str(), d.as_slice())).collect();
        let known: BTreeMap<&str, ValueId> =
            graph.params().map(|id| (graph.value(id).name.as_str(), id)).collect();
        let strange: Vec<&str> =
            shapes.keys().copied().filter(|n| !known.contains_key(n) && !skipped(n)).collect();
        let mut problems = Vec::new();
        for id in graph.params() {
            let value = graph.value(id);
            let (name, expected) = (value.name.clone(), value.ty.show());
            let fixed = matches!(
                &value.def,
                Def::Param { init: Init::Values(_) | Init::Stored(_), trainable: false }
            );
            match shapes.get(name.as_str()) {
                Some(found) if *found == value.ty.dims() => {}
                Some(found) => {
                    problems.push(WeightProblem::Shape { name, expected, found: found.to_vec() });
                }
                None if fixed => {}
                None => {
                    let nearest = nearest(&name, strange.iter().copied()).map(str::to_owned);
                    problems.push(WeightProblem::Missing { name, expected, nearest });
                }
            }
        }
        let missing = |n: &&str| !shapes.contains_key(*n);
        for name in &strange {
            // A name that is still free is the likelier one.
            let near = nearest(name, known.keys().copied().filter(missing))
                .or_else(|| nearest(name, known.keys().copied()))
                .map(str::to_owned);
            let found = shapes.get(name).map_or(Vec::new(), |d| d.to_vec());
            problems.push(WeightProblem::Unknown { name: (*name).to_owned(), found, nearest: near });
        }
        problems
    }

    fn param(&self, name: &str) -> Option<ValueId> {
        let graph = &self.compiled.program.work.graph;
        graph.params().find(|id| graph.value(*id).name == name)
    }

    /// The store as it is now, to change.
    pub(super) fn copied_store(&self) -> Result<Store, RunError> {
        let store = self.store()?;
        Ok(Store { storage: Storage::of(store.storage.as_slice())?, turned: store.turned })
    }

    /// Takes over a store whose weights are set, after computing what depends on them.
    pub(super) fn replace(&mut self, mut store: Store) -> Result<(), RunError> {
        self.compiled.load(&mut store, self.executor())?;
        self.store = Arc::new(OnceLock::from(store));
        Ok(())
    }
}

/// See [`Model::fingerprint`]: 64 bits of FNV-1a in hexadecimal digits.
pub fn fingerprint(graph: &Graph) -> String {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    let mut put = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
    };
    for id in graph.ids() {
        let value = graph.value(id);
        put(&value.ty.show());
        match &value.def {
            Def::Input(_) => put("input"),
            Def::Const(_) => put("constant"),
            Def::Param { .. } => put(&value.name),
            Def::Op { op, inputs } => {
                put(op.rules().kind());
                put(&format!("{:?} {inputs:?}", op.rules().attrs()));
            }
        }
    }
    format!("{hash:016x}")
}

fn axes(ty: &TensorTy) -> Vec<(Name, usize)> {
    ty.names().iter().cloned().zip(ty.dims().iter().copied()).collect()
}

/// Names in PyTorch's files that say nothing to a network that only runs.
fn skipped(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

impl WeightSource for BTreeMap<String, Tensor> {
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.iter().map(|(name, t)| (name.clone(), t.dims())).collect()
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
        self.get(name).map(|t| t.data().to_vec()).ok_or_else(|| format!("there is no `{name}`").into())
    }
}

#[cfg(feature = "safetensors")]
impl WeightSource for crate::formats::safetensors::Weights {
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.shapes().map(|(name, dims)| (name.to_owned(), dims.to_vec())).collect()
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
        match self.read(name)? {
            Some(array) => Ok(array.data),
            None => Err(format!("there is no `{name}`").into()),
        }
    }
}
