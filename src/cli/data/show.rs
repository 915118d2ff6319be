//! `cnnc data show`: a contact sheet of samples in the order and with the variations that a training sees, each with its label,
//! mask or target.

use std::path::Path;

use super::failure;
use crate::cli::args::{Part, ShowData};
use crate::cli::out::{Failure, Out};
use crate::cli::train::places;
use crate::cli::{pictures, source};
use crate::data::{Batch, Kind, Loader, Parts, Position, Spec, Want};
use crate::draw::class_colour;
use crate::draw::sheet::{Tile, sheet};
use crate::formats::image::Picture;
use crate::session::{Compiler, Files, NoFiles, Options};

/// Of more channels, or slices of a volume, so many are drawn.
const PLANES_MAX: usize = 6;

pub(super) fn run(args: &ShowData, out: Out) -> Result<(), Failure> {
    let is_program = args.data == "-" || args.data.ends_with(".cnn");
    let path = Path::new(if is_program { args.data.as_str() } else { "" });
    let mut spec = if is_program { of_program(args, path, out)? } else { of_text(args, out)? };
    spec.seed = args.seed.unwrap_or(spec.seed);
    let parts = spec.open(&places(path)).map_err(failure)?;
    let wants = wants(&parts)?;
    let count = args.count as usize;
    let (loader, position) = match args.part {
        Part::Train => {
            let loader = Loader::training(&parts, &wants, count.min(parts.train.len()), spec.seed);
            (loader, Position { epoch: args.epoch - 1, batch: 0 })
        }
        Part::Validate | Part::Test => {
            let part = if args.part == Part::Test { &parts.test } else { &parts.validate };
            let Some(part) = part else {
                let name = if args.part == Part::Test { "test" } else { "validate" };
                return Err(Failure::Unusable(format!("the data `{}` have no part `{name}`", parts.name)));
            };
            (Loader::evaluation(&parts, part, &wants, count.min(part.len())), Position::default())
        }
    };
    let batch = loader.and_then(|l| l.make(position)).map_err(failure)?;
    let (tiles, range) = tiles(&parts, &wants, &batch);
    let too_large =
        || Failure::Wrong("the samples are too large for one picture; take a smaller --count".into());
    let picture = sheet(&tiles, args.columns as usize).ok_or_else(too_large)?;
    pictures::save(&picture, &args.out)?;
    if let Some((least, most)) = range {
        out.remark(&format!("numbers from {least} (black) to {most} (white)\n"));
    }
    let names: Vec<String> = wants.iter().map(|w| w.name.to_string()).collect();
    out.print(format!(
        "{}: {} samples of `{}`: {}\n",
        args.out.display(),
        tiles.len(),
        parts.name,
        names.join(", ")
    ))
}

/// The data of a program's `train` item: that of the net named, else the last.
fn of_program(args: &ShowData, path: &Path, out: Out) -> Result<Spec, Failure> {
    if args.augment.is_some() {
        return Err(Failure::Unusable("--augment is for data named alone; the program has its own".into()));
    }
    let mut options = Options::default().threads(1);
    options.set = args.set.clone();
    let checked = Compiler::new(options).check(&source::name(path, None), &source::text(path)?, &Files);
    out.diagnostics(checked.diagnostics(), &checked.sources);
    if checked.has_errors() {
        return Err(Failure::said());
    }
    let program = &checked.program;
    let fits = |net: usize| args.net.as_deref().is_none_or(|n| *program.nets[net].name == *n);
    let training = program.trainings.iter().rev().find(|t| fits(t.net));
    let missing = || Failure::Wrong(format!("{} has no such `train` item", path.display()));
    Spec::of(training.ok_or_else(missing)?).map_err(failure)
}

/// Data named alone: the settings are checked as those of a `train` item.
fn of_text(args: &ShowData, out: Out) -> Result<Spec, Failure> {
    if args.net.is_some() || !args.set.is_empty() {
        return Err(Failure::Unusable("--net and --set are for programs; this names data alone".into()));
    }
    let augment = args.augment.as_ref().map_or(String::new(), |a| format!("    augment {a}\n"));
    let text = format!(
        "net Data(image: [c: 1, h: 1, w: 1]) {{ image |> relu }}\ntrain Data {{\n    data {}\n{augment}}}\n",
        args.data
    );
    let checked = Compiler::new(Options::default().threads(1)).check("<data>", &text, &NoFiles);
    out.diagnostics(checked.diagnostics(), &checked.sources);
    match checked.program.trainings.last() {
        Some(training) if !checked.has_errors() => Spec::of(training).map_err(failure),
        Some(_) | None => Err(Failure::said()),
    }
}

/// Every field that a sample has, channels first.
fn wants(parts: &Parts) -> Result<Vec<Want>, Failure> {
    let mut wants = Vec::new();
    for field in &parts.train.set.fields {
        let Some(mut axes) = parts.axes(&field.name) else {
            let message = format!("`{}` of a sample has more axes than can be drawn", field.name);
            return Err(Failure::Wrong(message));
        };
        axes.sort_by_key(|a| &*a.0 != "c");
        wants.push(Want::new(&field.name, &axes, false));
    }
    Ok(wants)
}

/// A tile for each sample; where its numbers go beyond 0 to 1, what black and white stand for.
fn tiles(parts: &Parts, wants: &[Want], batch: &Batch) -> (Vec<Tile>, Option<(f32, f32)>) {
    let set = &parts.train.set;
    let mut tiles = vec![Tile::default(); batch.count];
    let mut range = None;
    for (want, buffer) in wants.iter().zip(&batch.buffers) {
        let Some(field) = set.field(&want.name) else { continue };
        let own = match field.kind {
            Kind::Image | Kind::Target | Kind::Clean => spread(&buffer[..batch.count * want.len()]),
            Kind::Mask | Kind::Label => None,
        };
        range = range.or(own.filter(|_| field.kind == Kind::Image));
        for (tile, sample) in tiles.iter_mut().zip(buffer.chunks_exact(want.len())) {
            match field.kind {
                Kind::Label => label(sample, &set.classes, &mut tile.label),
                Kind::Mask => tile.pictures.extend(drawn(want, sample).into_iter().map(|p| coloured(&p))),
                Kind::Image | Kind::Target | Kind::Clean => {
                    let (least, most) = own.unwrap_or((0.0, 1.0));
                    let scaled: Vec<f32> = sample.iter().map(|x| (x - least) / (most - least)).collect();
                    tile.pictures.extend(drawn(want, &scaled));
                }
            }
        }
    }
    (tiles, range)
}

/// The least and the greatest number, where 0 and 1 are not around them.
fn spread(data: &[f32]) -> Option<(f32, f32)> {
    let finite = || data.iter().copied().filter(|x| x.is_finite());
    let (least, most) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    (least < most && (least < 0.0 || most > 1.0)).then_some((least, most))
}

/// Class names, or numbers.
fn label(sample: &[f32], classes: &[String], out: &mut String) {
    let one = |x: &f32| {
        let class = usize::try_from(*x as i64).ok().filter(|_| x.fract() == 0.0);
        class.and_then(|c| classes.get(c).cloned()).unwrap_or_else(|| x.to_string())
    };
    *out = sample.iter().take(4).map(one).collect::<Vec<_>>().join(" ");
}

/// A sample, channels first, as pictures: one for a plane of 1 or 3 channels; else channel by channel, slice by slice. Along one
/// axis, channels are rows.
fn drawn(want: &Want, sample: &[f32]) -> Vec<Picture> {
    let extents: Vec<usize> = want.axes.iter().map(|a| a.1).collect();
    let gray = |height: usize, width: usize, data: &[f32]| Picture {
        channels: 1,
        height,
        width,
        data: data.to_vec(),
    };
    match extents[..] {
        [c] => vec![gray(1, c, sample)],
        [c, n] => vec![gray(c, n, sample)],
        [c @ (1 | 3), height, width] => vec![Picture { channels: c, height, width, data: sample.to_vec() }],
        [.., height, width] => sample
            .chunks_exact(height * width)
            .take(PLANES_MAX)
            .map(|plane| gray(height, width, plane))
            .collect(),
        [] => Vec::new(),
    }
}

/// Class numbers as colours.
fn coloured(classes: &Picture) -> Picture {
    let area = classes.height * classes.width;
    let plane = |c: usize| classes.data[..area].iter().map(move |x| f32::from(class_colour(*x)[c]) / 255.0);
    Picture { channels: 3, data: (0..3).flat_map(plane).collect(), ..*classes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_any_rank_are_drawn() {
        let shapes = |axes: &[(&str, usize)]| {
            let want = Want::new("image", axes, false);
            let pictures = drawn(&want, &vec![0.5; want.len()]);
            pictures.iter().map(|p| (p.channels, p.height, p.width, p.data.len())).collect::<Vec<_>>()
        };
        assert_eq!(shapes(&[("c", 5)]), [(1, 1, 5, 5)]);
        assert_eq!(shapes(&[("c", 2), ("t", 9)]), [(1, 2, 9, 18)]);
        assert_eq!(shapes(&[("c", 3), ("h", 2), ("w", 4)]), [(3, 2, 4, 24)]);
        assert_eq!(shapes(&[("c", 2), ("h", 2), ("w", 4)]), [(1, 2, 4, 8); 2]);
        assert_eq!(shapes(&[("c", 1), ("d", 9), ("h", 2), ("w", 4)]), [(1, 2, 4, 8); PLANES_MAX]);
    }

    #[test]
    fn ranges_and_labels() {
        assert_eq!(spread(&[0.0, 0.5, 1.0]), None);
        assert_eq!(spread(&[-2.0, f32::NAN, 0.5]), Some((-2.0, 0.5)));
        assert_eq!(spread(&[7.0, 7.0]), None);
        assert_eq!(spread(&[]), None);
        let mut text = String::new();
        label(&[1.0, 5.0, 0.5, f32::NAN, 9.0], &["cat".into(), "dog".into()], &mut text);
        assert_eq!(text, "dog 5 0.5 NaN");
        let mask = Picture { channels: 1, height: 1, width: 2, data: vec![0.0, 1.0] };
        assert_eq!(coloured(&mask).data.len(), 6);
    }
}
