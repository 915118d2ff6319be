//! `cnnc explain TOPIC`: the page of an error code, what an operation does and takes, or a network's layers and how they are
//! computed ([`layer`]).

mod json;
mod layer;
mod text;

use std::fmt::Write as _;
use std::path::Path;

use super::args::Explain;
use super::check;
use super::out::{Failure, Out};
use crate::ops::{self, OpInfo};
use crate::support::codes;
use crate::support::diag::nearest;

pub(super) fn run(args: &Explain, out: Out) -> Result<(), Failure> {
    let Some(topic) = &args.topic else { return out.print(list()) };
    let path = Path::new(topic);
    if is_network(path) {
        return layer::run(args, path, out);
    }
    let text = topic_text(topic).ok_or_else(|| Failure::Unusable(unknown(topic)))?;
    if let Some(layer) = &args.layer {
        let message =
            format!("`{topic}` is no network that could have a layer `{layer}`: give a .cnn or .onnx file");
        return Err(Failure::Unusable(message));
    }
    if args.json {
        let message = format!("`--json` is for networks and their layers; `{topic}` is explained as text");
        return Err(Failure::Unusable(message));
    }
    out.print(text)
}

/// Whether a topic is a file: by its name, or because it is there and nothing else is called so.
fn is_network(path: &Path) -> bool {
    let program = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("cnn"));
    let text = path.to_str().and_then(topic_text);
    program || check::is_model(path) || path.as_os_str() == "-" || text.is_none() && path.is_file()
}

/// The text about a code or an operation; codes in either case.
pub(super) fn topic_text(topic: &str) -> Option<String> {
    let upper = topic.to_ascii_uppercase();
    if let Some((code, _)) = codes::ALL.iter().find(|(c, _)| c.0 == upper) {
        return codes::page(*code).map(str::to_owned);
    }
    let rows: Vec<&OpInfo> = ops::infos().into_iter().filter(|info| info.name == topic).collect();
    if rows.is_empty() { None } else { Some(rows.into_iter().map(operation).collect::<Vec<_>>().join("\n")) }
}

fn unknown(topic: &str) -> String {
    let infos = ops::infos();
    let known = infos.iter().map(|i| i.name).chain(codes::ALL.iter().map(|(c, _)| c.0));
    match nearest(topic, known) {
        Some(near) => format!("nothing is called `{topic}`; did you mean `{near}`?"),
        None => format!(
            "nothing is called `{topic}`; `cnnc explain` lists operations and codes, `cnnc explain NET.cnn` the layers of a network"
        ),
    }
}

/// One operation: its call, what it does, its arguments, an example.
fn operation(info: &OpInfo) -> String {
    let tensors = match info.tensors {
        (1, 1) => "x".to_owned(),
        (least, most) if least == most => ["x", "y", "z"][..most.min(3)].join(", "),
        (_, usize::MAX) => "x, …".to_owned(),
        (least, most) => {
            let all = ["x", "y", "z", "…"];
            let must = all[..least.min(4)].join(", ");
            let may = all[least.min(4)..most.min(4)].join(", ");
            if must.is_empty() { format!("[{may}]") } else { format!("{must} [, {may}]") }
        }
    };
    let mut call = vec![tensors];
    for p in info.params {
        call.push(match (p.positional, p.required) {
            (true, true) => p.name.to_owned(),
            (false, true) => format!("{}:", p.name),
            (true, false) => format!("[{}]", p.name),
            (false, false) => format!("[{}:]", p.name),
        });
    }
    let mut text = format!("# {}({})\n\n{} ({})\n", info.name, call.join(", "), info.doc, info.family);
    if !info.params.is_empty() {
        text.push_str("\n## Arguments\n\n");
        let width = info.params.iter().map(|p| p.name.len()).max().unwrap_or(0);
        for p in info.params {
            let _ = write!(text, "{:width$}  {}: {}", p.name, p.doc, p.ty.describe());
            let _ = match (p.required, p.default) {
                (true, _) => writeln!(text, " (must be given)"),
                (false, "") => writeln!(text),
                (false, default) => writeln!(text, " [default: {default}]"),
            };
        }
    }
    let _ = writeln!(text, "\n## Example\n\n{}", info.example.trim());
    text
}

/// All operations by family, and all codes.
fn list() -> String {
    const ORDER: [&str; 8] =
        ["affine", "pooling", "detector", "normalising", "joining", "moving", "other", "losses"];
    let mut families: Vec<(&str, Vec<&str>)> = ORDER.iter().map(|f| (*f, Vec::new())).collect();
    for info in ops::infos() {
        match families.iter_mut().find(|(family, _)| *family == info.family) {
            Some((_, names)) => names.push(info.name),
            None => families.push((info.family, vec![info.name])),
        }
    }
    let mut text = String::from("Operations (`cnnc explain conv`):\n");
    for (family, names) in families.iter().filter(|f| !f.1.is_empty()) {
        let _ = writeln!(text, "  {family:<13}{}", names.join(" "));
    }
    text.push_str("\nCodes (`cnnc explain E0210`):\n");
    for (code, title) in codes::ALL {
        let _ = writeln!(text, "  {code}  {title}");
    }
    text
}
