//! The settings of a `train` item as a [`Spec`]. Kinds and ranges were checked by [`crate::resolve`]; a program with errors does
//! not come here.

use std::path::PathBuf;

use super::DataError;
use super::augment::{Augment, Border};
use super::patches::Whiten;
use super::spec::{Pictures, Source, Spec, Test};
use super::synth::{Made, Synthetic};
use crate::formats::csv::LabelColumn;
use crate::ops::args::ArgValue;
use crate::resolve::{SetValue, Training};
use crate::support::Name;

/// The share of the digits that is held out when nothing is said.
const DIGITS_TEST: f64 = 0.2;
/// The share of made pictures and patches that is held out when nothing is said.
const MADE_TEST: f64 = 0.1;

impl Spec {
    /// What a `train` item says of data: `data`, `augment`, `validate`, `seed`.
    ///
    /// # Errors
    /// [`DataError::Setting`] without `data`, or for arguments that exclude each other.
    pub fn of(training: &Training) -> Result<Self, DataError> {
        let get = |key: &str| training.entries.iter().find(|e| *e.key == *key).map(|e| &e.value);
        let Some(data) = get("data") else {
            return Err(DataError::Setting("`train` says no `data`".into()));
        };
        let source = match data {
            SetValue::Static(ArgValue::Str(path)) => by_ending(path)?,
            SetValue::Call(name, args) => source(name, &Args(args))?,
            other => return Err(DataError::Setting(format!("{other:?} is no data"))),
        };
        let augment = match get("augment") {
            None => Vec::new(),
            Some(SetValue::List(items)) => items.iter().map(augment).collect::<Result<_, _>>()?,
            Some(one) => vec![augment(one)?],
        };
        let number = |key: &str| match get(key) {
            Some(SetValue::Static(v)) => as_number(v),
            Some(_) | None => None,
        };
        let validate = number("validate").unwrap_or(0.0);
        let seed = number("seed").map_or(0, |s| s as u64);
        Ok(Self { source, augment, validate, seed })
    }
}

/// The arguments of a choice, by name.
struct Args<'a>(&'a [(Option<Name>, SetValue)]);

fn as_number(value: &ArgValue) -> Option<f64> {
    match value {
        ArgValue::Int(i) => Some(*i as f64),
        ArgValue::Float(x) => Some(*x),
        ArgValue::Bool(_)
        | ArgValue::Str(_)
        | ArgValue::Word(_)
        | ArgValue::Extent(_)
        | ArgValue::List(_)
        | ArgValue::Call(..)
        | ArgValue::Table(_)
        | ArgValue::Layer(_)
        | ArgValue::Shape(_) => None,
    }
}

impl Args<'_> {
    fn get(&self, name: &str) -> Option<&ArgValue> {
        let found = self.0.iter().find(|(n, _)| n.as_deref() == Some(name))?;
        match &found.1 {
            SetValue::Static(value) => Some(value),
            SetValue::Call(..)
            | SetValue::Layer(..)
            | SetValue::Data(_)
            | SetValue::List(_)
            | SetValue::Binary(..) => None,
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(as_number)
    }

    fn count(&self, name: &str) -> Option<usize> {
        self.number(name).map(|x| x as usize)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Some(ArgValue::Bool(b)) => Some(*b),
            _ => None,
        }
    }

    fn word(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(ArgValue::Word(w) | ArgValue::Str(w)) => Some(w),
            _ => None,
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        match self.get(name) {
            Some(ArgValue::Str(text)) => Some(PathBuf::from(&**text)),
            _ => None,
        }
    }

    /// A path that the table of settings demands.
    fn needed(&self, name: &str) -> PathBuf {
        self.path(name).unwrap_or_default()
    }

    fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        match self.get(name)? {
            ArgValue::List(items) => items.iter().map(as_number).collect(),
            ArgValue::Extent(extents) => Some(extents.iter().map(|i| *i as f64).collect()),
            one => as_number(one).map(|x| vec![x]),
        }
    }

    fn extents(&self, name: &str) -> Option<Vec<usize>> {
        self.numbers(name).map(|all| all.iter().map(|x| *x as usize).collect())
    }

    /// Rows and columns.
    fn pair(&self, name: &str) -> Result<Option<(usize, usize)>, DataError> {
        match self.extents(name).as_deref() {
            None => Ok(None),
            Some([one]) => Ok(Some((*one, *one))),
            Some([rows, columns]) => Ok(Some((*rows, *columns))),
            Some(all) => {
                let message = format!("`{name}` of a picture is rows and columns, not {} numbers", all.len());
                Err(DataError::Setting(message))
            }
        }
    }

    fn pictures(&self) -> Result<Pictures, DataError> {
        let channels = self.count("channels");
        if channels == Some(2) {
            return Err(DataError::Setting("a picture has 1 or 3 `channels`, not 2".into()));
        }
        Ok(Pictures { channels, size: self.pair("size")?, pad: self.pair("pad")?.unwrap_or((0, 0)) })
    }

    fn share(&self, name: &str) -> Result<Option<f64>, DataError> {
        match self.number(name) {
            Some(x) if x >= 1.0 => {
                Err(DataError::Setting(format!("`{name}: {x}` holds out everything; it is a share below 1")))
            }
            found => Ok(found),
        }
    }

    fn test(&self) -> Result<Test, DataError> {
        match self.path("test") {
            Some(path) => Ok(Test::File(path)),
            None => Ok(self.share("test")?.map_or(Test::Own, Test::Share)),
        }
    }
}

/// `data "file.csv"`: the reader by the name's ending.
fn by_ending(path: &str) -> Result<Source, DataError> {
    let lower = path.to_lowercase();
    let file = PathBuf::from(path);
    let plain = lower.strip_suffix(".gz").unwrap_or(&lower);
    if plain.ends_with(".csv") || plain.ends_with(".tsv") {
        let (label, test, pictures) = (LabelColumn::Last, Test::Own, Pictures::default());
        return Ok(Source::Csv { file, label, header: None, scale: 1.0, shape: None, test, pictures });
    }
    if lower.ends_with(".npz") {
        return Ok(Source::Npz { file, scale: 1.0, test: Test::Own });
    }
    if lower.ends_with(".npy") {
        return Ok(Source::Npy { fields: vec![("image".into(), file)], scale: 1.0, test: Test::Own });
    }
    if file.extension().is_none() || lower.ends_with('/') {
        return Ok(Source::Images { folder: file, test: Test::Own, pictures: Pictures::default() });
    }
    let message =
        format!("\"{path}\" is no .csv, .npz or .npy file and no folder of pictures; name the reader");
    Err(DataError::Setting(message))
}

fn source(name: &str, args: &Args<'_>) -> Result<Source, DataError> {
    let share = |usual: f64| Ok::<f64, DataError>(args.share("test")?.unwrap_or(usual));
    Ok(match name {
        "digits" => Source::Digits { test: share(DIGITS_TEST)?, pictures: args.pictures()? },
        "mnist" => Source::Mnist { folder: args.path("folder"), pictures: args.pictures()? },
        "fashion_mnist" => Source::FashionMnist { folder: args.path("folder"), pictures: args.pictures()? },
        "nuclei" => {
            let tile = args.pair("tile")?.unwrap_or((64, 64));
            let stride = args.pair("stride")?.unwrap_or(tile);
            Source::Nuclei { tile, stride, border: args.flag("border").unwrap_or(false) }
        }
        "idx" => Source::Idx {
            images: args.needed("images"),
            labels: args.path("labels"),
            test_images: args.path("test_images").map(|images| (images, args.path("test_labels"))),
            test: args.test()?,
            pictures: args.pictures()?,
        },
        "csv" => csv(args)?,
        "npy" => {
            let names = ["image", "label", "target", "mask"];
            let fields = names.iter().filter_map(|n| Some(((*n).to_owned(), args.path(n)?))).collect();
            Source::Npy { fields, scale: args.number("scale").unwrap_or(1.0) as f32, test: args.test()? }
        }
        "npz" => {
            let scale = args.number("scale").unwrap_or(1.0) as f32;
            Source::Npz { file: args.needed("file"), scale, test: args.test()? }
        }
        "images" => {
            Source::Images { folder: args.needed("folder"), test: args.test()?, pictures: args.pictures()? }
        }
        "masks" => Source::Masks {
            images: args.needed("images"),
            masks: args.needed("masks"),
            test_files: args.path("test_images").zip(args.path("test_masks")),
            test: args.test()?,
            tile: args.pair("tile")?,
            stride: args.pair("stride")?,
            pictures: args.pictures()?,
        },
        "patches" => patches(args, share(MADE_TEST)?)?,
        other => {
            let Some(kind) = Made::ALL.into_iter().find(|k| k.name() == other) else {
                return Err(DataError::Setting(format!("no data are called `{other}`")));
            };
            let mut made = Synthetic::new(kind);
            made.count = args.count("count").unwrap_or(made.count);
            made.size = args.pair("size")?.unwrap_or(made.size);
            made.channels = args.pictures()?.channels.unwrap_or(made.channels);
            made.noise = args.number("noise").unwrap_or(made.noise);
            made.seed = args.number("seed").map_or(made.seed, |s| s as u64);
            Source::Synthetic(made, share(MADE_TEST)?)
        }
    })
}

fn csv(args: &Args<'_>) -> Result<Source, DataError> {
    let shape = match args.get("shape") {
        Some(ArgValue::Shape(axes)) => {
            let axis = |(n, d): &(Name, i64)| Some((n.to_string(), usize::try_from(*d).ok()?));
            let axes: Option<Vec<_>> = axes.iter().map(axis).collect();
            Some(axes.ok_or_else(|| DataError::Setting("an extent of `shape` is negative".into()))?)
        }
        _ => None,
    };
    Ok(Source::Csv {
        file: args.needed("file"),
        label: match args.word("label") {
            Some("first") => LabelColumn::First,
            Some("none") => LabelColumn::Nowhere,
            Some(_) | None => LabelColumn::Last,
        },
        header: args.flag("header"),
        scale: args.number("scale").unwrap_or(1.0) as f32,
        shape,
        test: args.test()?,
        pictures: args.pictures()?,
    })
}

fn patches(args: &Args<'_>, test: f64) -> Result<Source, DataError> {
    let files = match args.get("files") {
        Some(ArgValue::List(items)) => items
            .iter()
            .filter_map(|v| if let ArgValue::Str(text) = v { Some(PathBuf::from(&**text)) } else { None })
            .collect(),
        _ => args.path("files").into_iter().collect(),
    };
    Ok(Source::Patches {
        files,
        count: args.count("count").unwrap_or(10_000),
        size: args.pair("size")?.unwrap_or((12, 12)),
        whiten: match args.word("whiten") {
            Some("none") => Whiten::Nothing,
            Some("contrast") => Whiten::Contrast,
            Some(_) | None => Whiten::Zca,
        },
        seed: args.number("seed").map_or(0, |s| s as u64),
        test,
    })
}

fn augment(value: &SetValue) -> Result<Augment, DataError> {
    let SetValue::Call(name, args) = value else {
        return Err(DataError::Setting(format!("{value:?} is no augmentation")));
    };
    let args = Args(args);
    let border = match args.word("border") {
        Some("edge") => Border::Edge,
        Some("mirror") => Border::Mirror,
        Some(_) | None => Border::Zero,
    };
    let floats = |name| args.numbers(name).map(|all| all.iter().map(|x| *x as f32).collect());
    Ok(match &**name {
        "shift" => Augment::Shift { by: args.extents("by").unwrap_or_default(), border },
        "flip" => {
            Augment::Flip { axis: args.word("axis").map(Name::from), p: args.number("p").unwrap_or(0.5) }
        }
        "crop" => Augment::Crop {
            size: args.extents("size").unwrap_or_default(),
            pad: args.extents("pad").unwrap_or_else(|| vec![0]),
            border,
        },
        "rotate" => Augment::Rotate {
            by: args.number("by").unwrap_or(0.0),
            zoom: args.number("zoom").unwrap_or(0.0),
            border,
        },
        "noise" => Augment::Noise { std: args.number("std").unwrap_or(0.0) },
        "cutout" => Augment::Cutout {
            size: args.extents("size").unwrap_or_default(),
            count: args.count("count").unwrap_or(1),
            p: args.number("p").unwrap_or(1.0),
        },
        "normalise" => Augment::Normalise { mean: floats("mean"), std: floats("std") },
        other => return Err(DataError::Setting(format!("nothing varies by `{other}`"))),
    })
}
