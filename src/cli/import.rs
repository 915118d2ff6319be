//! `cnnc import`: an ONNX model as a readable program, with a file of its weights. The program is checked before it is written.

use std::path::Path;

use super::args::Import;
use super::check;
use super::out::{Failure, Out};
use super::source;
use super::weights;
use crate::formats::onnx::{ImportOptions, Source};
use crate::formats::program::{Refused, Written, write};
use crate::session::weights::fingerprint;
use crate::session::{Compiler, NoFiles, format};
use crate::support::codes;

pub(super) fn run(args: &Import, out: Out) -> Result<(), Failure> {
    if !check::is_model(&args.file) {
        let message = format!("{} is no ONNX model by its name", args.file.display());
        return Err(Failure::Unusable(message));
    }
    let compiler = Compiler::new(check::options(&args.program).threads(1));
    let model = check::checked(&compiler, &args.file, &args.program, out)?;
    let net = check::network(&model, &args.program, &args.file)?;
    let known = |name: &str| net.initial(name, 0);
    let refused = |refused: Refused| {
        let file = args.file.display();
        let maker = refused.value.as_deref().and_then(|value| maker(&args.file, value));
        let refused = maker.map_or_else(|| refused.to_string(), |node| format!("{node}: {}", refused.why));
        let message = format!("{file}: {refused}; `cnnc run {file}` runs the model as it is");
        Failure::Coded(codes::E0905, message)
    };
    let checked = |written: &Written| {
        let rough = compiler.check("imported program", &written.text, &NoFiles);
        let text = format(&rough.sources, rough.root).unwrap_or_else(|_| written.text.clone());
        (compiler.check("imported program", &text, &NoFiles), text)
    };
    let mut written = write(&net.graph, &known, !args.flat).map_err(refused)?;
    let (mut again, mut text) = checked(&written);
    if again.has_errors() && !args.flat {
        written = write(&net.graph, &known, false).map_err(refused)?;
        (again, text) = checked(&written);
    }
    // What is written must be a program: anything else is a bug.
    if again.has_errors() {
        out.diagnostics(again.diagnostics(), &again.sources);
        return Err(Failure::Bug("the program that was written does not check".to_owned()));
    }
    if let Some(path) = &args.weights {
        let tensors: Vec<(&str, &[usize], &[f32])> =
            written.weights.iter().map(|(n, d, v)| (n.as_str(), d.as_slice(), v.as_slice())).collect();
        let fingerprint = again.net(None).map(|n| fingerprint(&n.graph)).unwrap_or_default();
        weights::save(path, &tensors, Some(&fingerprint))?;
    }
    match args.output.as_os_str() == "-" {
        true => out.print(text),
        false => std::fs::write(&args.output, text).map_err(|e| Failure::io(args.output.display(), &e)),
    }
}

/// What messages call the node of a model that makes a value; the file was read once already.
fn maker(file: &Path, value: &str) -> Option<String> {
    let options = ImportOptions { folder: file.parent().map(Path::to_owned), ..ImportOptions::default() };
    let source = Source::read(source::model(file).ok()?, &options).ok()?;
    source.maker(value)
}
