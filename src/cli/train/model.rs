//! `cnnc train model.onnx`: the network is the model's, the `train` item is in a file of its own (`--train-item`) or made of `--with`.

use std::path::{Path, PathBuf};

use prost::bytes::Bytes;

use crate::cli::args::Tuning;
use crate::cli::out::{Failure, Out};
use crate::cli::{check, source};
use crate::session::onnx::OnnxFile;
use crate::session::{Checked, Compiler, Files, Network};

/// What is trained, and the text with the `train` item for it.
pub(super) struct Subject {
    /// The model's bytes; `None` for a program.
    model: Option<Bytes>,
    /// The file with the item.
    pub(super) file: PathBuf,
    /// What messages call it.
    pub(super) name: String,
    /// The text as written.
    pub(super) text: String,
}

impl Subject {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// Files that cannot be read; a model without settings.
    pub(super) fn read(tuning: &Tuning) -> Result<Self, Failure> {
        let path = &tuning.file;
        let shown = path.display();
        if !check::is_model(path) {
            if tuning.train_item.is_some() || !tuning.shape.is_empty() {
                let message = format!(
                    "`--train-item` and `--shape` are for ONNX models; {shown} has its own `train` item and inputs"
                );
                return Err(Failure::Unusable(message));
            }
            let name = source::name(path, None);
            return Ok(Self { model: None, file: path.clone(), name, text: source::text(path)? });
        }
        let model = Some(source::model(path)?);
        if let Some(item) = &tuning.train_item {
            let name = source::name(item, None);
            return Ok(Self { model, file: item.clone(), name, text: source::text(item)? });
        }
        if tuning.with.is_empty() {
            return Err(Failure::Unusable(format!(
                "{shown} is an ONNX model, which has no `train` item: give one, `--train-item FILE.cnn`, or its settings, \
                 `--with data=digits --with 'loss=cross_entropy(out, label)'`"
            )));
        }
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let net = tuning.net.clone().unwrap_or_else(|| Network::word(&stem));
        Ok(Self {
            model,
            file: path.clone(),
            name: "--with".to_owned(),
            text: format!("train {net} {{\n}}\n"),
        })
    }

    /// Checks the item's text, with the settings that the command line changes in it, for the network that it is about.
    ///
    /// # Errors
    /// A model that cannot be imported.
    pub(super) fn check(
        &self,
        compiler: &Compiler,
        text: &str,
        tuning: &Tuning,
        out: Option<Out>,
    ) -> Result<Checked, Failure> {
        let Some(bytes) = &self.model else {
            return Ok(compiler.check(&self.name, text, &Files));
        };
        let name = source::name(&tuning.file, None);
        let folder = Some(tuning.file.parent().unwrap_or(Path::new("")));
        let file = OnnxFile { name: &name, folder, shapes: &tuning.shape };
        let net = tuning.net.as_deref();
        let (checked, notes) = compiler
            .check_onnx_training(file, bytes.clone(), (&self.name, text), &Files, net)
            .map_err(|e| Failure::Coded(e.code, format!("{name}: {e}")))?;
        if let Some(out) = out {
            notes.iter().for_each(|note| out.remark(&format!("note: {note}\n")));
        }
        Ok(checked)
    }
}
