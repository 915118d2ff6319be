//! `cnnc compile -o net.o`: a network ahead of time, to run or to train, as an object, an archive or a shared library, and the header.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::{Compile, Tuning};
use super::check;
use super::out::{Failure, Out};
use super::{train, weights};
use crate::session::object::{Object, ObjectError, Settings, file, header};
use crate::session::{CompileError, Compiler, Files, Isa};
use crate::support::codes;
use crate::trainer::Trainer;

/// What a file is to hold, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Archive,
    Shared,
    Header,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "o" => Some(Self::Object),
            "a" => Some(Self::Archive),
            "so" => Some(Self::Shared),
            "h" => Some(Self::Header),
            _ => None,
        }
    }
}

/// Whether a call of `cnnc compile` asks for a compilation ahead of time: by the name of an output, or by an option of objects.
pub(super) fn is_wanted(args: &Compile) -> bool {
    let object = &args.object;
    let named = args.output.iter().any(|p| Kind::of(p).is_some());
    let opted = !object.targets.is_empty()
        || object.prefix.is_some()
        || object.train
        || object.weights_file.is_some();
    args.emit.is_none() && !args.json && (named || opted)
}

pub(super) fn run(args: &Compile, out: Out) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &args.output {
        let Some(kind) = Kind::of(path) else {
            let message = format!("{}: an object's files end in .o, .a, .so or .h", path.display());
            return Err(Failure::Unusable(message));
        };
        files.push((path, kind));
    }
    if args.target.tune || args.target.tuned {
        let message = "objects are not tuned: leave out `--tune`".to_owned();
        return Err(Failure::Unusable(message));
    }
    if files.is_empty() {
        let message = "options of objects need a file to write: `-o net.o`, .a, .so or .h".to_owned();
        return Err(Failure::Unusable(message));
    }
    let object = compile(args, out)?;
    if let (Some(path), Some(bytes)) = (&args.object.weights_file, &object.weights) {
        write(path, bytes)?;
    }
    for (path, kind) in files {
        match kind {
            Kind::Object => write(path, &object.bytes)?,
            Kind::Header => write(path, header::header(&object.interface).as_bytes())?,
            Kind::Archive => {
                let stem = path.file_stem().map_or("net".into(), |s| s.to_string_lossy());
                let bytes = file::archive(&object.bytes, &format!("{stem}.o")).map_err(failure)?;
                write(path, &bytes)?;
            }
            Kind::Shared => {
                let linker = std::env::var("CC").ok().filter(|cc| !cc.trim().is_empty());
                let arch = object.interface.arch;
                file::shared(&object.bytes, arch, linker.as_deref(), path).map_err(failure)?;
            }
        }
    }
    Ok(())
}

fn compile(args: &Compile, out: Out) -> Result<Object, Failure> {
    let wanted = &args.object;
    let compiler = Compiler::new(check::targeted(&args.program, &args.target, wanted.seed)?);
    let targets = match wanted.targets.as_slice() {
        [] => vec![compiler.options().isa.clone()],
        names => names
            .iter()
            .map(|name| Isa::foreign(name.trim()))
            .collect::<Result<_, _>>()
            .map_err(|e| Failure::Coded(codes::E0801, e.to_string()))?,
    };
    // A training has its own checked program where the command line says something of its item.
    let tuning = tuning(args);
    let said = check::is_model(&args.file) || wanted.train_item.is_some() || !wanted.with.is_empty();
    let (checked, trainer) = match wanted.train && said {
        true => {
            let (trainer, checked) = train::ahead(&tuning, args.program.batch as usize, out)?;
            (checked, Some(trainer))
        }
        false => (check::checked(&compiler, &args.file, &args.program, out)?, None),
    };
    let net = check::network(&checked, &args.program, &args.file)?;
    let mut model = check::model(&compiler, &checked, net, out)?;
    if let Some(path) = &wanted.weights {
        weights::load(&mut model, path, &wanted.map, out)?;
    }
    let name = super::source::name(&args.file, args.program.stdin_filename.as_deref());
    let source = Path::new(&name).file_name().map_or(name.clone(), |n| n.to_string_lossy().into_owned());
    let settings = Settings {
        prefix: wanted.prefix.clone(),
        targets,
        weights_apart: wanted.weights_file.is_some(),
        source,
    };
    if !wanted.train {
        return compiler.object(&net.graph, &model, &settings).map_err(failure);
    }
    let mut trainer = match trainer {
        Some(trainer) => trainer,
        None => {
            let text = &checked.sources.get(checked.root).text;
            let places = train::places(Path::new(&name));
            let trainer = Trainer::open(compiler.options(), (&name, text), &Files, Some(&net.name), &places);
            trainer.map_err(|e| train::failure(e, Some(&checked.sources), out))?
        }
    };
    if wanted.weights.is_some() {
        let mut weights = BTreeMap::new();
        for info in model.weights() {
            let weight = model.weight(&info.name).map_err(|e| Failure::Unusable(e.to_string()))?;
            weights.extend(weight.map(|w| (info.name, w)));
        }
        trainer.set_weights(&weights).map_err(|e| train::failure(e, None, out))?;
    }
    compiler.training_object(&net.graph, &trainer.ahead(), &settings).map_err(failure)
}

/// What the options say of a training, as `cnnc train` has it.
fn tuning(args: &Compile) -> Tuning {
    Tuning {
        file: args.file.clone(),
        train_item: args.object.train_item.clone(),
        shape: args.program.shape.clone(),
        net: args.program.net.clone(),
        batch: None,
        epochs: None,
        seed: None,
        with: args.object.with.clone(),
        set: args.program.set.clone(),
        target: args.target.clone(),
    }
}

fn failure(error: ObjectError) -> Failure {
    match error {
        ObjectError::Compile(CompileError::Bug(bug)) => Failure::Bug(bug.to_string()),
        ObjectError::Grad(_) => Failure::Wrong(error.to_string()),
        ObjectError::Weight { .. } => Failure::Bug(error.to_string()),
        ObjectError::NoTarget
        | ObjectError::Architectures { .. }
        | ObjectError::Prefix { .. }
        | ObjectError::State { .. }
        | ObjectError::Compile(_)
        | ObjectError::Weights(_)
        | ObjectError::Run(_)
        | ObjectError::File { .. }
        | ObjectError::Linker { .. } => Failure::Unusable(error.to_string()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|e| Failure::io(path.display(), &e))
}
