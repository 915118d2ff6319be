//! Models of other tools as checked programs: an ONNX file stands for a program with one net, and goes the same road.

use std::path::Path;

use super::compiler::{Checked, Compiler};
use crate::formats::onnx::{ImportOptions, Imported, OnnxError, Source, declared_inputs};
use crate::resolve::Network;
use crate::support::span::Span;

/// Extents that a caller gives for inputs; a name may be left out where the model has one input.
pub type Shapes = Vec<(Option<String>, Vec<usize>)>;

impl Compiler {
    /// Imports an ONNX model. `name` is what messages call it, `folder` where its external data may lie, `shapes` bind free
    /// dimensions (a free first one is otherwise the batch of the options), `hints` do where nothing else says.
    ///
    /// # Errors
    /// [`OnnxError`]: the file is no sound model, or needs what is not supported or not known.
    pub fn check_onnx(
        &self,
        name: &str,
        bytes: Vec<u8>,
        folder: Option<&Path>,
        shapes: &Shapes,
        hints: &Shapes,
    ) -> Result<(Checked, Vec<String>), OnnxError> {
        let batch = Some(self.options().batch);
        let mut options =
            ImportOptions { batch, folder: folder.map(Path::to_owned), ..ImportOptions::default() };
        let source = Source::read(bytes.into(), &options)?;
        let inputs = declared_inputs(&source);
        for (input, dims) in shapes {
            let input = input.clone().or_else(|| inputs.first().map(|i| i.0.clone())).unwrap_or_default();
            options.shapes.push((input, dims.clone()));
        }
        for (input, dims) in hints {
            let known = inputs.iter().find(|i| input.as_ref().is_none_or(|name| *name == i.0));
            let Some((input, declared)) = known else { continue };
            if !options.shapes.iter().any(|s| s.0 == *input) && fits(declared.as_deref(), dims) {
                options.shapes.push((input.clone(), dims.clone()));
            }
        }
        let Imported { graph, notes } = source.into_graph(&options)?;
        let mut checked = self.check(name, "", &crate::resolve::NoFiles);
        let span = Span::new(checked.root, 0, 0);
        checked.program.diagnostics.clear();
        checked.program.nets = vec![Network::of_graph(graph, span)];
        Ok((checked, notes))
    }
}

/// Whether given extents fill a declared shape.
fn fits(declared: Option<&[Option<usize>]>, dims: &[usize]) -> bool {
    declared.is_none_or(|declared| {
        declared.len() == dims.len() && declared.iter().zip(dims).all(|(d, e)| d.is_none_or(|d| d == *e))
    })
}
