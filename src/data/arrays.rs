//! Sets from arrays and tables: IDX, CSV, `.npy`, `.npz`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::open::{Held, Opened, Places};
use super::set::{Field, Kind, Set, Store};
use super::spec::{Pictures, Source};
use super::{DataError, pictures};
use crate::formats::csv::{self, Table};
use crate::formats::idx::{self, Elements};
use crate::formats::{HostArray, npy, npz};

/// More numbers than a set may have when they are read as floats.
pub(super) const FLOATS_MAX: usize = super::set::BYTES_MAX / 4;

/// Class numbers that an `f32` holds exactly.
const LABEL_MAX: f32 = 16_777_216.0;

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    File::open(path).map(BufReader::new).map_err(|e| DataError::file(path, e))
}

/// Pictures `[n, h, w]` and labels `[n]` of IDX files.
pub(super) fn idx(source: &Source, places: &Places) -> Result<Opened, DataError> {
    let Source::Idx { images, labels, test_images, test, pictures } = source else {
        unreachable!("its own source")
    };
    let set = |images: &Path, labels: Option<&Path>| {
        let path = places.path(images);
        let array = idx::read(open(&path)?, super::set::BYTES_MAX).map_err(|e| DataError::file(&path, e))?;
        let labels = labels.map(|l| places.path(l));
        let read = |l: &Path| idx::read(open(l)?, FLOATS_MAX).map_err(|e| DataError::file(l, e));
        let labels = labels.map(|l| Ok((read(&l)?, l))).transpose()?;
        idx_set((array, &path), labels, pictures)
    };
    let own = test_images.as_ref().map(|(images, labels)| set(images, labels.as_deref())).transpose()?;
    let test = match own {
        Some(own) => Held::Set(own),
        None => Held::of(test, |path| set(path, None))?,
    };
    Ok(Opened { set: set(images, labels.as_deref())?, test })
}

/// The set of an array of pictures and one of labels.
pub(super) fn idx_set(
    (images, path): (idx::Idx, &Path),
    labels: Option<(idx::Idx, std::path::PathBuf)>,
    options: &Pictures,
) -> Result<Set, DataError> {
    let [len, sample @ ..] = &images.dims[..] else {
        return Err(DataError::unfit(path, "it holds a lone number, where samples are needed"));
    };
    let (names, dims): (&[&str], Vec<usize>) = match sample {
        [h, w] => (&["c", "h", "w"], vec![1, *h, *w]),
        [c @ (1 | 3), h, w] => (&["c", "h", "w"], vec![*c, *h, *w]),
        other => (&[], other.to_vec()),
    };
    let store = match images.data {
        Elements::Bytes(bytes) => Store::Bytes(bytes, 1.0 / 255.0),
        Elements::Floats(floats) => finite(floats, path)?,
    };
    let image = pictures::shaped(Field::new("image", Kind::Image, names, dims, store), *len, options)?;
    let mut fields = vec![image];
    if let Some((labels, path)) = labels {
        if labels.dims != [*len] {
            let what = format!("it holds labels {:?}, the pictures are {len}", labels.dims);
            return Err(DataError::unfit(path, what));
        }
        let values = match labels.data {
            Elements::Bytes(bytes) => bytes.into_iter().map(f32::from).collect(),
            Elements::Floats(floats) => floats,
        };
        fields.push(Field::labels(whole(values, &path)?));
    }
    Ok(Set { len: *len, fields, classes: Vec::new() })
}

/// Class numbers: whole, and small enough for `f32`.
fn whole(values: Vec<f32>, path: &Path) -> Result<Vec<f32>, DataError> {
    match values.iter().find(|x| x.fract() != 0.0 || x.abs() > LABEL_MAX || x.is_nan()) {
        Some(x) => Err(DataError::unfit(path, format!("{x} is no class number"))),
        None => Ok(values),
    }
}

fn finite(floats: Vec<f32>, path: &Path) -> Result<Store, DataError> {
    match floats.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(DataError::unfit(path, format!("element {at} is {}", floats[at]))),
        None => Ok(Store::Floats(floats)),
    }
}

/// A table with a sample a row.
pub(super) fn csv(source: &Source, places: &Places) -> Result<Opened, DataError> {
    let Source::Csv { file, label, header, scale, shape, test, pictures } = source else {
        unreachable!("its own source")
    };
    let mut classes = Vec::new();
    let mut set = |file: &Path| {
        let path = places.path(file);
        let table =
            csv::read(open(&path)?, *label, *header, FLOATS_MAX).map_err(|e| DataError::file(&path, e))?;
        table_set(table, *scale, shape.as_deref(), pictures, &mut classes).map_err(|what| match what {
            DataError::Setting(what) => DataError::unfit(&path, what),
            other => other,
        })
    };
    let own = set(file)?;
    Ok(Opened { test: Held::of(test, set)?, set: own })
}

/// The set of a table. `classes`: names of classes met so far; a table of the same data continues them.
pub(super) fn table_set(
    table: Table,
    scale: f32,
    shape: Option<&[(String, usize)]>,
    options: &Pictures,
    classes: &mut Vec<String>,
) -> Result<Set, DataError> {
    let flat = [("c".to_owned(), table.columns)];
    let shape = shape.unwrap_or(&flat);
    let count = shape.iter().try_fold(1usize, |n, a| n.checked_mul(a.1));
    if count != Some(table.columns) {
        let what = format!(
            "it has {} values a row, `shape` is {}",
            table.columns,
            crate::tensor::owned::show(shape)
        );
        return Err(DataError::Setting(what));
    }
    if shape.iter().skip(1).any(|a| a.0 == "c") {
        return Err(DataError::Setting("`shape` names `c` first, or not at all".into()));
    }
    let len = table.values.len() / table.columns;
    // Small whole numbers stay bytes; both ways give the same product.
    let bytes = table.values.iter().all(|x| x.fract() == 0.0 && (0.0..=255.0).contains(x));
    let store = if bytes {
        Store::Bytes(table.values.iter().map(|x| *x as u8).collect(), scale)
    } else {
        Store::Floats(table.values.iter().map(|x| x * scale).collect())
    };
    let names: Vec<&str> = shape.iter().map(|a| a.0.as_str()).collect();
    let dims = shape.iter().map(|a| a.1).collect();
    let image = pictures::shaped(Field::new("image", Kind::Image, &names, dims, store), len, options)?;
    let mut fields = vec![image];
    if !table.labels.is_empty() {
        fields.push(Field::labels(class_numbers(&table.labels, classes)?));
    }
    Ok(Set { len, fields, classes: classes.clone() })
}

/// Labels as written to class numbers: whole numbers are themselves, names are numbered in the order of the alphabet.
fn class_numbers(labels: &[String], classes: &mut Vec<String>) -> Result<Vec<f32>, DataError> {
    let number =
        |l: &String| l.parse::<f32>().ok().filter(|x| x.fract() == 0.0 && (0.0..LABEL_MAX).contains(x));
    if classes.is_empty() {
        if let Some(numbers) = labels.iter().map(number).collect() {
            return Ok(numbers);
        }
        let mut names = labels.to_vec();
        names.sort();
        names.dedup();
        *classes = names;
    }
    let find = |l: &String| match classes.binary_search(l) {
        Ok(at) => Ok(at as f32),
        Err(_) => Err(DataError::Setting(format!("`{l}` is none of the {} classes", classes.len()))),
    };
    labels.iter().map(find).collect()
}

/// Arrays whose first axis are the samples.
pub(super) fn npy(source: &Source, places: &Places) -> Result<Opened, DataError> {
    let Source::Npy { fields, scale, test } = source else { unreachable!("its own source") };
    let mut arrays = Vec::new();
    for (name, path) in fields {
        let path = places.path(path);
        let array = npy::read(&mut open(&path)?, FLOATS_MAX).map_err(|e| DataError::file(&path, e))?;
        arrays.push((name.clone(), array, path));
    }
    let test = Held::of(test, |_| Err(DataError::Setting("`test` of `npy` is a share".into())))?;
    Ok(Opened { set: array_set(arrays, *scale)?, test })
}

/// The arrays of an archive.
pub(super) fn npz(
    file: &Path,
    scale: f32,
    test: &super::spec::Test,
    places: &Places,
) -> Result<Opened, DataError> {
    let set = |file: &Path| {
        let path = places.path(file);
        let arrays = npz::read(open(&path)?, FLOATS_MAX).map_err(|e| DataError::file(&path, e))?;
        array_set(arrays.into_iter().map(|(name, array)| (name, array, path.clone())).collect(), scale)
    };
    Ok(Opened { set: set(file)?, test: Held::of(test, set)? })
}

fn array_set(arrays: Vec<(String, HostArray, std::path::PathBuf)>, scale: f32) -> Result<Set, DataError> {
    let Some((first, array, _)) = arrays.first() else {
        return Err(DataError::Setting("there is no array".into()));
    };
    let (first, Some(len)) = (first.clone(), array.dims.first().copied()) else {
        return Err(DataError::Setting(format!(
            "array `{first}` is a lone number, where samples are needed"
        )));
    };
    let mut fields = Vec::new();
    for (name, array, path) in arrays {
        if array.dims.first() != Some(&len) {
            let found = array.dims.first().copied().unwrap_or(0);
            let what = format!("array `{name}` has {found} samples, `{first}` has {len}");
            return Err(DataError::unfit(path, what));
        }
        let dims = array.dims[1..].to_vec();
        let classes = matches!(&*name, "label" | "mask");
        let kind = match &*name {
            "label" | "mask" if dims.iter().product::<usize>() > 1 && dims.len() > 1 => Kind::Mask,
            "label" | "mask" => Kind::Label,
            "target" => Kind::Target,
            _ => Kind::Image,
        };
        let data = match kind {
            Kind::Mask => whole(array.data, &path)?,
            // A row of several numbers is a distribution over classes.
            Kind::Label if classes && dims.iter().product::<usize>() <= 1 => whole(array.data, &path)?,
            Kind::Label | Kind::Target | Kind::Clean => array.data,
            Kind::Image => array.data.into_iter().map(|x| x * scale).collect(),
        };
        let store = finite(data, &path)?;
        fields.push(Field::new(
            &name,
            kind,
            if dims.is_empty() { &["c"] } else { &[] },
            dims_of(dims),
            store,
        ));
    }
    Ok(Set { len, fields, classes: Vec::new() })
}

/// A lone number a sample is one channel.
fn dims_of(dims: Vec<usize>) -> Vec<usize> {
    if dims.is_empty() { vec![1] } else { dims }
}
