//! Models of other tools as checked programs: an ONNX file stands for a program with one net, and goes the same road.

use std::path::Path;

use prost::bytes::Bytes;

use super::compiler::{Checked, Compiler};
use crate::ast::Item;
use crate::formats::onnx::{ImportOptions, Imported, OnnxError, Source, declared_inputs};
use crate::graph::Graph;
use crate::resolve::{Loader, Network};
use crate::support::span::{Sources, Span};

/// Extents that a caller gives for inputs; a name may be left out where the model has one input.
pub type Shapes = Vec<(Option<String>, Vec<usize>)>;

/// A model's file and what its import is told.
#[derive(Clone, Copy, Debug)]
pub struct OnnxFile<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// Where its external data may lie.
    pub folder: Option<&'a Path>,
    /// Extents of inputs.
    pub shapes: &'a Shapes,
}

impl Compiler {
    /// The options with the batch that was asked for in place of one that all inputs declare.
    fn rebatched(
        &self,
        inputs: &[(String, Option<Vec<Option<usize>>>)],
        options: &ImportOptions,
    ) -> Option<ImportOptions> {
        let asked = self.options().batch;
        let whole = |dims: &Option<Vec<Option<usize>>>| -> Option<Vec<usize>> {
            dims.as_ref()?.iter().copied().collect::<Option<Vec<usize>>>().filter(|d| d.len() > 1)
        };
        let shapes: Option<Vec<(String, Vec<usize>)>> =
            inputs.iter().map(|(name, dims)| Some((name.clone(), whole(dims)?))).collect();
        let mut shapes = shapes.filter(|s| asked > 1 && options.shapes.is_empty() && !s.is_empty())?;
        let declared = shapes[0].1[0];
        if declared == asked || shapes.iter().any(|s| s.1[0] != declared) {
            return None;
        }
        shapes.iter_mut().for_each(|s| s.1[0] = asked);
        Some(ImportOptions { shapes, ..options.clone() })
    }

    /// What to say where a batch was asked for and an input declares another.
    fn other_batch(&self, graph: &Graph) -> Option<String> {
        let asked = self.options().batch;
        let types = graph.inputs.iter().map(|p| (&p.name, &graph.value(p.value).ty));
        let (name, ty) = { types }.find(|(_, ty)| asked > 1 && ty.is_activation() && ty.n() != asked)?;
        Some(format!(
            "input `{name}` declares a batch of {}, which stays: the model holds it in other places, too; `--shape {name}={asked}x...` says why",
            ty.n()
        ))
    }

    /// Imports an ONNX model. `name` is what messages call it, `folder` where its external data may lie, `shapes` bind free
    /// dimensions (a free first one is otherwise the batch of the options), `hints` do where nothing else says.
    ///
    /// # Errors
    /// [`OnnxError`]: the file is no sound model, or needs what is not supported or not known.
    pub fn check_onnx(
        &self,
        name: &str,
        bytes: Bytes,
        folder: Option<&Path>,
        shapes: &Shapes,
        hints: &Shapes,
    ) -> Result<(Checked, Vec<String>), OnnxError> {
        let batch = Some(self.options().batch);
        let mut options =
            ImportOptions { batch, folder: folder.map(Path::to_owned), ..ImportOptions::default() };
        let source = Source::read(bytes, &options)?;
        let inputs = declared_inputs(&source);
        options.shapes = named(shapes, &inputs);
        for (input, dims) in hints {
            let known = inputs.iter().find(|i| input.as_ref().is_none_or(|name| *name == i.0));
            let Some((input, declared)) = known else { continue };
            if !options.shapes.iter().any(|s| s.0 == *input) && fits(declared.as_deref(), dims) {
                options.shapes.push((input.clone(), dims.clone()));
            }
        }
        let Imported { graph, mut notes } = match self.rebatched(&inputs, &options) {
            Some(asked) => match source.clone().into_graph(&asked) {
                Ok(imported) => imported,
                // A model that cannot have another batch runs with its own.
                Err(_) => source.into_graph(&options)?,
            },
            None => source.into_graph(&options)?,
        };
        notes.extend(self.other_batch(&graph));
        let mut checked = self.check(name, "", &crate::resolve::NoFiles);
        let span = Span::new(checked.root, 0, 0);
        checked.program.diagnostics.clear();
        checked.program.nets = vec![Network::of_graph(graph, span)];
        Ok((checked, notes))
    }

    /// Imports an ONNX model to be trained as a `train` item in `text` says: the network bears the item's name (`net`, else that
    /// of the last item), every input has the batch of the options in front, batch normalisation and dropout stay what they are
    /// while training. The net is the program's first.
    ///
    /// # Errors
    /// As [`Compiler::check_onnx`]; what is wrong with the text is among the program's diagnostics.
    pub fn check_onnx_training(
        &self,
        model: OnnxFile<'_>,
        bytes: Bytes,
        (name, text): (&str, &str),
        loader: &dyn Loader,
        net: Option<&str>,
    ) -> Result<(Checked, Vec<String>), OnnxError> {
        let batch = self.options().batch;
        let mut options = ImportOptions {
            batch: Some(batch),
            folder: model.folder.map(Path::to_owned),
            training: true,
            ..ImportOptions::default()
        };
        let source = Source::read(bytes, &options)?;
        let inputs = declared_inputs(&source);
        options.shapes = named(model.shapes, &inputs);
        let mut changed = false;
        for (input, declared) in &inputs {
            let declared = declared.as_deref().unwrap_or_default();
            let whole: Option<Vec<usize>> = declared.iter().copied().collect();
            if let Some(dims) = whole.filter(|_| !options.shapes.iter().any(|s| s.0 == *input)) {
                options.shapes.push((input.clone(), dims));
            }
            let given = options.shapes.iter_mut().find(|s| s.0 == *input).and_then(|s| s.1.first_mut());
            if let Some(first) = given {
                changed |= *first != batch;
                *first = batch;
            }
        }
        let Imported { mut graph, notes } = source.into_graph(&options).map_err(|mut e| {
            if changed {
                e.message.push_str(&format!(
                    "; the model was made for another batch than the {batch} of the training: export it with a free batch, \
                     or train with the batch that it has"
                ));
            }
            e
        })?;
        let title = net.map(str::to_owned).or_else(|| last_item(name, text));
        graph.name = title.unwrap_or(graph.name);
        let checked = self.check_for(name, text, loader, |root| {
            let mut net = Network::of_graph(graph, Span::new(root, 0, 0));
            net.name_values();
            Some(net)
        });
        Ok((checked, notes))
    }
}

/// The net that the last `train` item is about.
fn last_item(name: &str, text: &str) -> Option<String> {
    let mut sources = Sources::default();
    let root = sources.add(name, text);
    let (file, _) = crate::parse::parse(&sources, root);
    file.items.into_iter().rev().find_map(|item| match item {
        Item::Train(item) => Some(item.net.name.to_string()),
        Item::Use(_) | Item::Const(_) | Item::Table(_) | Item::Block(_) => None,
        Item::Net(_) | Item::Test(_) | Item::Budget(_) => None,
    })
}

/// Shapes with a name for each.
fn named(shapes: &Shapes, inputs: &[(String, Option<Vec<Option<usize>>>)]) -> Vec<(String, Vec<usize>)> {
    let first = || inputs.first().map(|i| i.0.clone()).unwrap_or_default();
    shapes.iter().map(|(input, dims)| (input.clone().unwrap_or_else(first), dims.clone())).collect()
}

/// Whether given extents fill a declared shape.
fn fits(declared: Option<&[Option<usize>]>, dims: &[usize]) -> bool {
    declared.is_none_or(|declared| {
        declared.len() == dims.len() && declared.iter().zip(dims).all(|(d, e)| d.is_none_or(|d| d == *e))
    })
}
