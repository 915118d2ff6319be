//! `cnnc weights`: what a file of weights holds (names, shapes, ranges), the same in another form, and the kernels of a layer as a picture.

use std::path::Path;

use super::{load, open_noted, save};
use crate::cli::args::Weights;
use crate::cli::out::{Failure, Out};
use crate::cli::table::{Align, Table, grouped};
use crate::cli::{check, pictures};
use crate::draw::mosaic::Kernels;
use crate::session::{Compiler, WeightInfo};
use crate::support::diag::nearest;

/// A weight with its numbers. Axes of a file's weights have no names.
struct Entry {
    name: String,
    axes: Vec<(String, usize)>,
    data: Vec<f32>,
}

pub(crate) fn run(args: &Weights, out: Out) -> Result<(), Failure> {
    let is_program = check::is_model(&args.file)
        || args.file.as_os_str() == "-"
        || args.file.extension().is_some_and(|e| e.eq_ignore_ascii_case("cnn"));
    let (entries, fingerprint) = if is_program { of_program(args, out)? } else { of_file(args)? };
    if let Some(path) = &args.output {
        let dims: Vec<Vec<usize>> = entries.iter().map(|e| e.axes.iter().map(|a| a.1).collect()).collect();
        let all: Vec<(&str, &[usize], &[f32])> =
            entries.iter().zip(&dims).map(|(e, d)| (e.name.as_str(), d.as_slice(), &e.data[..])).collect();
        return save(path, &all, fingerprint.as_deref());
    }
    if let Some(path) = &args.mosaic {
        return draw(&entries, args, path, is_program, out);
    }
    out.print(if args.json { json(&entries) } else { list(&entries) })
}

/// Weights, and the fingerprint of the architecture that they are for.
type Found = (Vec<Entry>, Option<String>);

fn of_program(args: &Weights, out: Out) -> Result<Found, Failure> {
    let compiler = Compiler::new(check::options(&args.program).threads(1).seed(args.seed));
    let checked = check::checked(&compiler, &args.file, &args.program, out)?;
    let net = check::network(&checked, &args.program, &args.file)?;
    let mut model = check::model(&compiler, &checked, net, out)?;
    if let Some(path) = &args.weights {
        load(&mut model, &crate::cli::train::weights_of(path), &[], out)?;
    }
    let mut entries = Vec::new();
    for info in model.weights() {
        let tensor = model.weight(&info.name).map_err(|e| Failure::Unusable(e.to_string()))?;
        let Some(tensor) = tensor else { continue };
        let axes = info.axes.iter().map(|(n, d)| (n.to_string(), *d)).collect();
        entries.push(Entry { name: info.name, axes, data: tensor.into_data() });
    }
    Ok((entries, Some(model.fingerprint())))
}

fn of_file(args: &Weights) -> Result<Found, Failure> {
    if args.weights.is_some() {
        let message = "--weights are those of a program; the file named is no .cnn or .onnx file".to_owned();
        return Err(Failure::Unusable(message));
    }
    let path = crate::cli::train::weights_of(&args.file);
    let (mut source, fingerprint) = open_noted(&path)?;
    let mut entries = Vec::new();
    for (name, dims) in source.shapes() {
        let data = source.read(&name).map_err(|e| Failure::Unusable(format!("{}: {e}", path.display())))?;
        entries.push(Entry { name, axes: dims.into_iter().map(|d| (String::new(), d)).collect(), data });
    }
    Ok((entries, fingerprint))
}

/// The weight of the first convolution: the first that is trained, where there is one.
pub(crate) fn first(weights: &[WeightInfo]) -> Option<&WeightInfo> {
    let is_kernel = |w: &&WeightInfo| {
        let len = w.axes.iter().map(|a| a.1).product();
        Kernels::named(&w.axes, vec![0.0; len]).is_some()
    };
    let all = || weights.iter().filter(is_kernel);
    all().find(|w| w.trainable).or_else(|| all().next())
}

impl Entry {
    fn kernels(&self) -> Option<Kernels> {
        if self.axes.iter().all(|a| a.0.is_empty()) {
            let dims: Vec<usize> = self.axes.iter().map(|a| a.1).collect();
            return Kernels::of_dims(&dims, self.data.clone());
        }
        Kernels::named(&self.axes, self.data.clone())
    }

    /// `[o: 6, i: 1, kh: 5, kw: 5]`, or extents alone.
    fn shape(&self) -> String {
        let axis = |(n, d): &(String, usize)| if n.is_empty() { d.to_string() } else { format!("{n}: {d}") };
        format!("[{}]", self.axes.iter().map(axis).collect::<Vec<_>>().join(", "))
    }

    /// Least, mean, greatest and standard deviation of the finite numbers, and how many others there are.
    fn range(&self) -> (Option<[f64; 4]>, usize) {
        let finite = || self.data.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x));
        let n = finite().count();
        let strange = self.data.len() - n;
        if n == 0 {
            return (None, strange);
        }
        let mean = finite().sum::<f64>() / n as f64;
        let square = finite().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
        let (least, most) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        (Some([least, mean, most, square.sqrt()]), strange)
    }
}

fn list(entries: &[Entry]) -> String {
    let mut table = Table::new(&[
        ("weight", Align::Left),
        ("shape", Align::Left),
        ("elements", Align::Right),
        ("least", Align::Right),
        ("mean", Align::Right),
        ("most", Align::Right),
        ("deviation", Align::Right),
        ("not finite", Align::Right),
    ]);
    for entry in entries {
        let (range, strange) = entry.range();
        let mut row = vec![entry.name.clone(), entry.shape(), grouped(entry.data.len() as u64)];
        row.extend(range.map_or([const { String::new() }; 4], |r| r.map(|x| format!("{x:.4}"))));
        row.push(if strange > 0 { grouped(strange as u64) } else { String::new() });
        table.row(row);
    }
    table.rule();
    let all: usize = entries.iter().map(|e| e.data.len()).sum();
    table.row(vec![format!("{} weights", entries.len()), String::new(), grouped(all as u64)]);
    table.render()
}

fn json(entries: &[Entry]) -> String {
    let rows: Vec<serde_json::Value> = entries
        .iter()
        .map(|e| {
            let (range, strange) = e.range();
            let [least, mean, most, deviation] = range.map_or([None; 4], |r| r.map(Some));
            let dims: Vec<usize> = e.axes.iter().map(|a| a.1).collect();
            serde_json::json!({
                "name": e.name, "shape": dims, "least": least, "mean": mean, "most": most,
                "deviation": deviation, "not_finite": strange,
            })
        })
        .collect();
    format!("{}\n", serde_json::json!({ "schema": 1, "weights": rows }))
}

fn draw(entries: &[Entry], args: &Weights, path: &Path, is_program: bool, out: Out) -> Result<(), Failure> {
    let file = args.file.display();
    let entry = match &args.layer {
        Some(name) => layer(entries, name, &file)?,
        None => default(entries, is_program, &file)?,
    };
    let Some(kernels) = entry.kernels() else {
        let message = format!("`{}` is {}, which are no kernels of a convolution", entry.name, entry.shape());
        return Err(Failure::Wrong(message));
    };
    let Some(mosaic) = kernels.mosaic() else {
        return Err(Failure::Wrong(format!(
            "the kernels of `{}`, {}, are too large",
            entry.name,
            entry.shape()
        )));
    };
    pictures::save(&mosaic.picture, path)?;
    let of = if mosaic.shown < mosaic.all { format!(" of {}", mosaic.all) } else { String::new() };
    out.print(format!(
        "{}: {}{of} kernels of `{}` {}\n",
        path.display(),
        mosaic.shown,
        entry.name,
        entry.shape()
    ))
}

/// The weight of that name, or that of the layer of that name.
fn layer<'a>(entries: &'a [Entry], name: &str, file: &impl std::fmt::Display) -> Result<&'a Entry, Failure> {
    let weight = format!("{name}.weight");
    let found = entries.iter().find(|e| e.name == name).or_else(|| entries.iter().find(|e| e.name == weight));
    found.ok_or_else(|| {
        let layers = entries.iter().filter_map(|e| e.name.strip_suffix(".weight"));
        let known: Vec<&str> = layers.chain(entries.iter().map(|e| e.name.as_str())).collect();
        let near = nearest(name, known.iter().copied()).map(|n| format!("; did you mean `{n}`?"));
        let near = near.unwrap_or_else(|| "; without `--mosaic` all are listed".to_owned());
        Failure::Unusable(format!("{file} has no layer or weight `{name}`{near}"))
    })
}

/// The first convolution. A file of weights does not tell their order: there, the only one with 1 or 3 input channels.
fn default<'a>(
    entries: &'a [Entry],
    is_program: bool,
    file: &impl std::fmt::Display,
) -> Result<&'a Entry, Failure> {
    let mut all: Vec<(&Entry, usize)> =
        entries.iter().filter_map(|e| Some((e, e.kernels()?.channels))).collect();
    if all.is_empty() {
        return Err(Failure::Wrong(format!("{file} has no convolution")));
    }
    if is_program || all.len() == 1 {
        return Ok(all[0].0);
    }
    let names: Vec<&str> = all.iter().map(|(e, _)| e.name.as_str()).collect();
    let names = names.join(", ");
    all.retain(|(_, channels)| *channels == 1 || *channels == 3);
    match all[..] {
        [(one, _)] => Ok(one),
        _ => Err(Failure::Unusable(format!(
            "{file} does not say which convolution is the first; name one of {names} with `--layer`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, axes: &[(&str, usize)], data: Vec<f32>) -> Entry {
        Entry { name: name.into(), axes: axes.iter().map(|(n, d)| ((*n).to_owned(), *d)).collect(), data }
    }

    #[test]
    fn ranges_leave_out_what_is_not_finite() {
        let e = entry("w", &[("", 4)], vec![1.0, 3.0, f32::NAN, f32::INFINITY]);
        assert_eq!(e.range(), (Some([1.0, 2.0, 3.0, 1.0]), 2));
        assert_eq!(entry("w", &[("", 1)], vec![f32::NAN]).range(), (None, 1));
        assert!(list(&[e]).contains("not finite"));
        assert!(list(&[]).contains("0 weights"));
    }

    #[test]
    fn a_file_says_which_convolution_is_the_first_or_it_is_asked_for() {
        let conv =
            |name: &str, i: usize| entry(name, &[("", 2), ("", i), ("", 3), ("", 3)], vec![0.0; 18 * i]);
        let name = |all: &[Entry]| default(all, false, &"f").map(|e| e.name.clone()).map_err(Failure::text);
        assert_eq!(name(&[conv("b.weight", 2), conv("a.weight", 1)]), Ok("a.weight".into()));
        assert_eq!(name(&[conv("b.weight", 8)]), Ok("b.weight".into()));
        assert!(
            name(&[conv("b.weight", 8), conv("c.weight", 8)])
                .is_err_and(|e| e.contains("b.weight, c.weight"))
        );
        assert!(
            name(&[entry("d.weight", &[("", 2), ("", 2)], vec![0.0; 4])])
                .is_err_and(|e| e.contains("no convolution"))
        );
        let all = [conv("stem.weight", 3)];
        assert!(layer(&all, "stem", &"f").is_ok() && layer(&all, "stem.weight", &"f").is_ok());
        assert!(
            layer(&all, "stm", &"f").map(|_| ()).map_err(Failure::text).is_err_and(|e| e.contains("`stem`?"))
        );
    }
}
