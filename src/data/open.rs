//! A [`Spec`] read into its parts: training, validation, test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::augment::{Augment, Chain};
use super::loader::shuffle;
use super::normalise::Normalise;
use super::set::{Field, Kind, Set};
use super::spec::{Source, Spec, Test};
use super::{DataError, arrays, builtin, pictures};
use crate::support::Name;
use crate::support::random::Random;

/// Where files are looked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The folder that relative paths start at: that of the program.
    pub base: PathBuf,
    /// The folder in which fetched sets are kept, one folder each.
    pub cache: Option<PathBuf>,
}

impl Places {
    /// The file that a program means by `path`.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}

/// Some samples of a set.
#[derive(Clone, Debug)]
pub struct Part {
    /// The set.
    pub set: Arc<Set>,
    /// The samples, by position in the set.
    pub samples: Arc<[u32]>,
}

impl Part {
    /// All samples of a set.
    pub fn whole(set: Set) -> Self {
        let samples = (0..set.len as u32).collect();
        Self { set: Arc::new(set), samples }
    }

    fn some(&self, mut samples: Vec<u32>) -> Self {
        samples.sort_unstable();
        Self { set: self.set.clone(), samples: samples.into() }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether it has no sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The first element of `field`, one of the part's set, for which `fits` does not hold: the sample's position in the set,
    /// and the element.
    pub fn first_unlike(&self, field: &Field, fits: impl Fn(f32) -> bool) -> Option<(usize, f32)> {
        let mut sample = vec![0.0; field.len()];
        self.samples.iter().find_map(|i| {
            field.copy(*i as usize, &mut sample);
            let found = sample.iter().copied().find(|x| !fits(*x));
            found.map(|x| (*i as usize, x))
        })
    }

    /// Draws `share` of the samples; the rest, and the drawn.
    fn split(&self, share: f64, random: &Random) -> (Self, Self) {
        let mut order = self.samples.to_vec();
        shuffle(&mut order, random);
        let drawn = ((share * order.len() as f64).round() as usize).clamp(1, order.len().max(2) - 1);
        let rest = order.split_off(drawn.min(order.len()));
        (self.some(rest), self.some(order))
    }
}

/// The data of a training.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What the source is called in the language: `mnist`.
    pub name: Name,
    /// For training.
    pub train: Part,
    /// For validation, if a share was asked for.
    pub validate: Option<Part>,
    /// For the test, if there is one.
    pub test: Option<Part>,
    /// How training samples vary.
    pub augment: Vec<Augment>,
    /// Mean and deviation of the training part, where `normalise` is among these.
    pub normalise: Option<Normalise>,
}

impl Parts {
    /// The axes of one sample of the field that stands for `name`, as a loader yields it: `[c: 1]` for labels of samples,
    /// `[c: 1, h: 64, w: 64]` for labels of pixels. `None` when the data have no such field.
    pub fn axes(&self, name: &str) -> Option<Vec<(Name, usize)>> {
        let field = self.train.set.field(name)?;
        let names: Vec<Name> = match &field.names {
            Some(names) => names.clone(),
            None => {
                let grid: &[&str] = match field.dims.len() {
                    0 => return Some(vec![("c".into(), 1)]),
                    1 => &["c"],
                    2 => &["h", "w"],
                    3 => &["c", "h", "w"],
                    4 => &["c", "d", "h", "w"],
                    _ => return None,
                };
                grid.iter().map(|n| Name::from(*n)).collect()
            }
        };
        let mut axes: Vec<(Name, usize)> = names.into_iter().zip(field.dims.iter().copied()).collect();
        if !axes.iter().any(|a| &*a.0 == "c") {
            axes.insert(0, ("c".into(), 1));
        }
        let grid: Vec<usize> = axes.iter().filter(|a| &*a.0 != "c").map(|a| a.1).collect();
        let mut out = Chain::output(&self.augment, field.kind, &grid).into_iter();
        for axis in axes.iter_mut().filter(|a| &*a.0 != "c") {
            axis.1 = out.next().unwrap_or(axis.1);
        }
        Some(axes)
    }
}

/// What a source gives: the set, and where the test part comes from.
pub(super) struct Opened {
    pub(super) set: Set,
    pub(super) test: Held,
}

/// The test part of a source.
pub(super) enum Held {
    /// None.
    Nothing,
    /// A share, to be drawn.
    Share(f64),
    /// A set of its own.
    Set(Set),
    /// These samples of the set.
    Samples(Vec<u32>),
}

impl Held {
    /// By `test`; `read` reads a file or folder of its own.
    pub(super) fn of(
        test: &Test,
        read: impl FnOnce(&Path) -> Result<Set, DataError>,
    ) -> Result<Self, DataError> {
        Ok(match test {
            Test::Own => Self::Nothing,
            Test::Share(share) => Self::Share(*share),
            Test::File(path) => Self::Set(read(path)?),
        })
    }
}

impl Source {
    /// What the language calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Digits { .. } => "digits",
            Self::Mnist { .. } => "mnist",
            Self::FashionMnist { .. } => "fashion_mnist",
            Self::Nuclei { .. } => "nuclei",
            Self::Idx { .. } => "idx",
            Self::Csv { .. } => "csv",
            Self::Npy { .. } => "npy",
            Self::Npz { .. } => "npz",
            Self::Images { .. } => "images",
            Self::Masks { .. } => "masks",
            Self::Synthetic(made, _) => made.kind.name(),
            Self::Patches { .. } => "patches",
        }
    }

    fn open(&self, places: &Places) -> Result<Opened, DataError> {
        match self {
            Self::Digits { test, pictures } => builtin::digits(*test, pictures),
            Self::Mnist { folder, pictures } => {
                builtin::fetched(&builtin::MNIST, folder.as_deref(), pictures, places)
            }
            Self::FashionMnist { folder, pictures } => {
                builtin::fetched(&builtin::FASHION_MNIST, folder.as_deref(), pictures, places)
            }
            Self::Nuclei { tile, stride, border } => builtin::nuclei(*tile, *stride, *border),
            Self::Idx { .. } => arrays::idx(self, places),
            Self::Csv { .. } => arrays::csv(self, places),
            Self::Npy { .. } => arrays::npy(self, places),
            Self::Npz { file, scale, test } => arrays::npz(file, *scale, test, places),
            Self::Images { folder, test, pictures: p } => pictures::folder(folder, test, p, places),
            Self::Masks { .. } => pictures::masks(self, places),
            Self::Synthetic(made, test) => {
                let test = if *test > 0.0 { Held::Share(*test) } else { Held::Nothing };
                Ok(Opened { set: made.set()?, test })
            }
            Self::Patches { .. } => super::patches::open(self, places),
        }
    }
}

impl Spec {
    /// Reads the data.
    ///
    /// # Errors
    /// [`DataError`]: files that cannot be read or are unsound, a set that is not here (it says how to get it), shares that leave
    /// nothing.
    pub fn open(&self, places: &Places) -> Result<Parts, DataError> {
        let opened = self.source.open(places)?;
        let set = opened.set.checked()?;
        if u32::try_from(set.len).is_err() {
            return Err(DataError::Setting(format!("{} samples are too many", set.len)));
        }
        let all = Part::whole(set);
        let (train, test) = match opened.test {
            Held::Nothing => (all, None),
            Held::Share(0.0) => (all, None),
            Held::Share(share) => {
                enough(&all, share, "test")?;
                // A fixed draw: what was held out stays so, whatever seed a training takes.
                let (train, test) = all.split(share, &Random::new(0, "test"));
                (train, Some(test))
            }
            Held::Set(test) => (all, Some(Part::whole(test.checked()?))),
            Held::Samples(test) => {
                let held: std::collections::BTreeSet<u32> = test.iter().copied().collect();
                let rest = all.samples.iter().copied().filter(|i| !held.contains(i)).collect();
                (all.some(rest), Some(all.some(test)))
            }
        };
        let (train, validate) = if self.validate > 0.0 {
            enough(&train, self.validate, "validate")?;
            let (train, validate) = train.split(self.validate, &Random::new(self.seed, "validate"));
            (train, Some(validate))
        } else {
            (train, None)
        };
        let normalise = normalise(&self.augment, &train)?;
        let name = self.source.name().into();
        Ok(Parts { name, train, validate, test, augment: self.augment.clone(), normalise })
    }
}

/// Whether both sides of a split get a sample.
fn enough(part: &Part, share: f64, what: &str) -> Result<(), DataError> {
    if part.len() >= 2 && share < 1.0 {
        return Ok(());
    }
    let message = format!("`{what}` of {share} leaves nothing of {} samples for training", part.len());
    Err(DataError::Setting(message))
}

/// The means and deviations that `normalise` takes.
fn normalise(augment: &[Augment], train: &Part) -> Result<Option<Normalise>, DataError> {
    let given = augment.iter().find_map(|a| match a {
        Augment::Normalise { mean, std } => Some((mean, std)),
        Augment::Shift { .. }
        | Augment::Flip { .. }
        | Augment::Crop { .. }
        | Augment::Rotate { .. }
        | Augment::Noise { .. }
        | Augment::Cutout { .. } => None,
    });
    let Some((mean, std)) = given else { return Ok(None) };
    if let (Some(mean), Some(std)) = (mean, std) {
        return Ok(Some(Normalise { mean: mean.clone(), std: std.clone() }));
    }
    let images: Vec<_> = train.set.fields.iter().filter(|f| f.kind == Kind::Image).collect();
    let [image] = images[..] else {
        let message =
            format!("`normalise` needs `mean` and `std` where the data have {} images", images.len());
        return Err(DataError::Setting(message));
    };
    // Arrays without names of axes have one mean for all.
    let channels = match image.names.as_ref().and_then(|n| n.first()) {
        Some(name) if &**name == "c" => image.dims[0],
        Some(_) | None => 1,
    };
    let found = Normalise::of(train, image, channels);
    Ok(Some(Normalise { mean: mean.clone().unwrap_or(found.mean), std: std.clone().unwrap_or(found.std) }))
}
