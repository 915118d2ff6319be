//! Ahead of time: a net as an object file that runs without this library, and the header that says how.
//!
//! In: a net's graph, a model that holds its weights, [`Settings`]. Out: an [`Object`]: ELF bytes, what they offer, and the weights
//! where they are a file of their own. The road is that of a model (`assemble`, then `codegen`) once per instruction set, so
//! that on the same instruction set the object computes the same bits. Load steps run here; the object holds what they give.
//!
//! [`inference`] and [`training`] say which functions there are, [`interface`] holds that as data, [`header`] writes it in C,
//! [`file`](mod@file) makes archives and shared libraries.

mod assembly;
mod copies;
mod error;
pub mod file;
mod golden;
pub mod header;
mod inference;
pub mod interface;
mod program;
pub mod rust;
mod store;
mod training;

pub use error::ObjectError;
pub use training::Training;

use std::collections::BTreeMap;

use crate::graph::Graph;
use crate::kernels::isa::Isa;
use crate::session::compiler::Compiler;
use crate::session::model::Model;
use interface::Interface;
use store::Values;

/// What an object is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What public names begin with; without one, the net's name in small letters.
    pub prefix: Option<String>,
    /// The instruction sets; the widest that the processor offers is chosen at the first call.
    pub targets: Vec<Isa>,
    /// Whether weights are a file of their own, which the caller maps.
    pub weights_apart: bool,
    /// What the header calls the source.
    pub source: String,
}

/// A net compiled ahead of time.
#[derive(Clone, Debug)]
pub struct Object {
    /// The ELF object.
    pub bytes: Vec<u8>,
    /// What it offers.
    pub interface: Interface,
    /// The weights, where they are apart.
    pub weights: Option<Vec<u8>>,
}

impl Compiler {
    /// Compiles `graph` ahead of time; never by measurements, whatever the options say. `model` is the same net compiled for this machine, with the weights that the object gets.
    ///
    /// # Errors
    /// [`ObjectError`] when settings contradict each other or memory is short.
    pub fn object(&self, graph: &Graph, model: &Model, settings: &Settings) -> Result<Object, ObjectError> {
        let targets = sorted(&settings.targets)?;
        inference::assembly(self, graph, &values(model)?, &targets, settings.weights_apart)?.finish(
            &targets,
            &prefix(graph, settings)?,
            graph,
            settings,
        )
    }

    /// Compiles `graph` with what trains it ahead of time.
    ///
    /// # Errors
    /// As [`Compiler::object`], and when something on the way from an output to a weight or input has no gradient.
    pub fn training_object(
        &self,
        graph: &Graph,
        training: &Training<'_>,
        settings: &Settings,
    ) -> Result<Object, ObjectError> {
        let targets = sorted(&settings.targets)?;
        training::assembly(self, graph, training, &targets)?.finish(
            &targets,
            &prefix(graph, settings)?,
            graph,
            settings,
        )
    }
}

fn prefix(graph: &Graph, settings: &Settings) -> Result<String, ObjectError> {
    match &settings.prefix {
        Some(prefix) if interface::is_prefix(prefix) => Ok(prefix.clone()),
        Some(prefix) => Err(ObjectError::Prefix { prefix: prefix.clone() }),
        None => Ok(interface::prefix_of(&graph.name)),
    }
}

/// The targets, each once, narrower ones first: they have fewer extensions.
fn sorted(targets: &[Isa]) -> Result<Vec<Isa>, ObjectError> {
    let mut sorted: Vec<Isa> = Vec::new();
    for isa in targets {
        if let Some(first) = targets.first().filter(|f| f.arch() != isa.arch()) {
            let names = (first.name().to_owned(), isa.name().to_owned());
            return Err(ObjectError::Architectures { names });
        }
        if !sorted.iter().any(|s| s.features() == isa.features()) {
            sorted.push(isa.clone());
        }
    }
    sorted.sort_by_key(|isa| isa.features().len());
    if sorted.is_empty() { Err(ObjectError::NoTarget) } else { Ok(sorted) }
}

/// The weights of a model by name.
fn values(model: &Model) -> Result<Values, ObjectError> {
    let mut values = BTreeMap::new();
    for info in model.weights() {
        if let Some(tensor) = model.weight(&info.name)? {
            values.insert(info.name, tensor.into_data());
        }
    }
    Ok(values)
}
