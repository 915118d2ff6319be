//! `cnnc eval`: the loss and the metrics of a `train` item, on the test part (or another), from trained weights.

use std::collections::BTreeMap;

use super::{failure, figures, files, open};
use crate::cli::args::{Eval, Part};
use crate::cli::out::{Failure, Out};
use crate::cli::weights::open_file;
use crate::support::codes;
use crate::tensor::owned::Tensor;
use crate::trainer::Table;

pub(crate) fn run(args: &Eval, out: Out) -> Result<(), Failure> {
    let path = files::weights_of(&args.weights);
    let mut weights = open_file(&path)?;
    let mut trainer = open(&args.tuning, &[], out)?;
    let mut given: BTreeMap<String, Tensor> = BTreeMap::new();
    let wanted = trainer.weights().map_err(|e| failure(e, None, out))?;
    let shapes = weights.shapes();
    for (name, now) in wanted {
        let shown = path.display();
        let Some((_, dims)) = shapes.iter().find(|s| s.0 == name) else {
            return Err(Failure::Coded(codes::E0503, format!("{shown}: there is no weight `{name}`")));
        };
        if *dims != now.dims() {
            let message = format!("{shown}: `{name}` is {dims:?}, the network's is {:?}", now.dims());
            return Err(Failure::Coded(codes::E0504, message));
        }
        let data = weights.read(&name).map_err(|e| Failure::Coded(codes::E0502, format!("{shown}: {e}")))?;
        let axes = now.axes().to_vec();
        given.insert(name, Tensor::of(axes, data));
    }
    trainer.set_weights(&given).map_err(|e| failure(e, None, out))?;
    let measured = match args.part {
        Part::Test => trainer.test(),
        Part::Train => trainer.measure_training().map(Some),
        Part::Validate => trainer.validate(),
    };
    let name = match args.part {
        Part::Test => "test",
        Part::Train => "train",
        Part::Validate => "validate",
    };
    let Some(measured) = measured.map_err(|e| failure(e, None, out))? else {
        let message = format!("the data `{}` have no part `{name}`", trainer.data().name);
        return Err(Failure::Unusable(message));
    };
    if args.json {
        let figures: BTreeMap<&str, f64> =
            measured.figures.iter().map(|f| (f.name.as_str(), f.value)).collect();
        let table = |t: &Table| {
            let rows: Vec<&[u64]> = t.counts.chunks(t.classes.max(1)).collect();
            serde_json::json!({ "name": t.name, "counts": rows, "not_counted": t.outside })
        };
        let tables: Vec<serde_json::Value> = measured.tables.iter().map(table).collect();
        let value = serde_json::json!({
            "schema": 1, "part": name, "samples": measured.samples, "loss": measured.loss, "figures": figures,
            "tables": tables,
        });
        return out.print(format!("{value}\n"));
    }
    out.print(figures(name, &measured, &trainer))
}
