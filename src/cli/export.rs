//! `cnnc export`: a network as an ONNX model, with its weights.

use std::path::Path;

use super::args::Export;
use super::check;
use super::out::{Failure, Out};
use super::weights;
use crate::formats::onnx::export::export;
use crate::session::{Compiler, Model};
use crate::support::codes;

pub(super) fn run(args: &Export, out: Out) -> Result<(), Failure> {
    let options = check::options(&args.program).seed(args.seed).threads(1);
    let compiler = Compiler::new(options);
    let checked = check::checked(&compiler, &args.file, &args.program, out)?;
    let net = check::network(&checked, &args.program, &args.file)?;
    let mut model = check::model(&compiler, &checked, net, out)?;
    if let Some(path) = &args.weights {
        weights::load(&mut model, path, &args.map, out)?;
    }
    let values = |name: &str| values(&model, name);
    let exported = export(&net.graph, &values, args.opset)
        .map_err(|e| Failure::Coded(codes::E0905, format!("{}: {e}", args.file.display())))?;
    exported.notes.iter().for_each(|note| out.remark(&format!("note: {note}\n")));
    if args.output.as_os_str() == "-" {
        return out.print(exported.bytes);
    }
    write(&args.output, &exported.bytes)
}

/// The weight `name` as it is now.
fn values(model: &Model, name: &str) -> Option<Vec<f32>> {
    model.weight(name).ok().flatten().map(|t| t.into_data())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|e| Failure::io(path.display(), &e))
}
