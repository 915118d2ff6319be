//! Sets from picture files: a folder a class, pictures with masks, tiles; and what is done to all pictures once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::DataError;
use super::open::{Held, Opened, Places};
use super::set::{BYTES_MAX, Field, Kind, Set, Store, with_room};
use super::spec::{Pictures, Source, Test};
use crate::formats::image::{self, Picture};

/// Pixels of one picture, at most.
const PIXELS_MAX: usize = 1 << 28;
/// Files of one set, at most.
const FILES_MAX: usize = 1 << 22;
const ENDINGS: &[&str] = &["png", "jpg", "jpeg", "pnm", "pgm", "ppm"];

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    File::open(path).map(BufReader::new).map_err(|e| DataError::file(path, e))
}

fn picture(path: &Path, channels: Option<usize>) -> Result<Picture, DataError> {
    image::read_any(open(path)?, channels, PIXELS_MAX).map_err(|e| DataError::file(path, e))
}

/// The entries of a folder in the order of their names, hidden ones left out; folders or pictures.
fn entries(folder: &Path, folders: bool) -> Result<Vec<PathBuf>, DataError> {
    let failed = |e: std::io::Error| DataError::file(folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let wanted = if folders {
            path.is_dir()
        } else {
            ending.is_some_and(|e| ENDINGS.contains(&e.as_str())) && path.is_file()
        };
        if wanted && !hidden {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            return Err(DataError::unfit(folder, format!("it holds more than {FILES_MAX} files")));
        }
    }
    found.sort();
    Ok(found)
}

/// Pictures of equal size, joined.
#[derive(Default)]
struct Joined {
    first: Option<(usize, usize, usize)>,
    data: Vec<f32>,
    len: usize,
}

impl Joined {
    fn push(&mut self, picture: &Picture, path: &Path) -> Result<(), DataError> {
        let size = (picture.channels, picture.height, picture.width);
        let first = *self.first.get_or_insert(size);
        if first != size {
            let ((c, h, w), (a, b, d)) = (first, size);
            let what = format!(
                "the picture has {a} channels, {b} rows x {d} columns, the ones before {c}, {h} x {w}; `size: {h}x{w}` resamples all"
            );
            return Err(DataError::unfit(path, what));
        }
        let full = || DataError::Memory { what: format!("{} pictures", self.len + 1) };
        if (self.data.len() + picture.data.len()) * 4 > BYTES_MAX {
            return Err(full());
        }
        self.data.try_reserve(picture.data.len()).map_err(|_| full())?;
        self.data.extend_from_slice(&picture.data);
        self.len += 1;
        Ok(())
    }

    fn field(self, name: &str, kind: Kind) -> Option<Field> {
        let (c, h, w) = self.first?;
        let store = if kind == Kind::Mask { Store::Floats(self.data) } else { Store::unit(self.data) };
        Some(Field::new(name, kind, &["c", "h", "w"], vec![c, h, w], store))
    }
}

/// A folder with one folder of pictures a class; classes in the order of the alphabet.
pub(super) fn folder(
    folder: &Path,
    test: &Test,
    options: &Pictures,
    places: &Places,
) -> Result<Opened, DataError> {
    let mut classes: Vec<String> = Vec::new();
    let mut channels = options.channels;
    let mut set = |folder: &Path| {
        let path = places.path(folder);
        let mut folders = entries(&path, true)?;
        let names: Vec<String> =
            folders.iter().filter_map(|p| Some(p.file_name()?.to_string_lossy().into())).collect();
        if folders.is_empty() {
            return Err(DataError::unfit(&path, "it has no folder; each class is a folder of pictures"));
        }
        if classes.is_empty() {
            classes = names;
        } else if let Some(new) = names.iter().find(|n| !classes.contains(n)) {
            return Err(DataError::unfit(
                &path,
                format!("the class `{new}` is not among those for training"),
            ));
        }
        let (mut joined, mut labels) = (Joined::default(), Vec::new());
        for class in folders.drain(..) {
            let name = class.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let label = classes.iter().position(|c| *c == name).unwrap_or(0) as f32;
            for file in entries(&class, false)? {
                let read = resampled(picture(&file, channels)?, options.size, false);
                channels = channels.or(Some(read.channels));
                joined.push(&read, &file)?;
                labels.push(label);
            }
        }
        let len = joined.len;
        let Some(field) = joined.field("image", Kind::Image) else {
            return Err(DataError::unfit(&path, "its folders hold no PNG, JPEG or PNM"));
        };
        let padded = shaped(field, len, &Pictures { size: None, channels: None, ..*options })?;
        Ok(Set { len, fields: vec![padded, Field::labels(labels)], classes: classes.clone() })
    };
    let own = set(folder)?;
    Ok(Opened { test: Held::of(test, set)?, set: own })
}

/// Pictures with masks, whole or in tiles.
pub(super) fn masks(source: &Source, places: &Places) -> Result<Opened, DataError> {
    let Source::Masks { images, masks, test_files, test, tile, stride, pictures: options } = source else {
        unreachable!("its own source")
    };
    let mut channels = options.channels;
    let mut set = |images: &Path, masks: &Path| {
        let pairs = pairs(&places.path(images), &places.path(masks))?;
        let (mut joined, mut truth) = (Joined::default(), Joined::default());
        for (image, mask) in &pairs {
            let numbers =
                image::read_numbers(open(mask)?, PIXELS_MAX).map_err(|e| DataError::file(mask, e))?;
            let read = picture(image, channels)?;
            channels = channels.or(Some(read.channels));
            if (read.height, read.width) != (numbers.height, numbers.width) {
                let what = format!(
                    "the mask is {} x {}, its picture {} x {}",
                    numbers.height, numbers.width, read.height, read.width
                );
                return Err(DataError::unfit(mask, what));
            }
            let (read, numbers) =
                (resampled(read, options.size, false), resampled(numbers, options.size, true));
            match tile {
                None => {
                    joined.push(&read, image)?;
                    truth.push(&numbers, mask)?;
                }
                Some(tile) => {
                    let places = tile_places((read.height, read.width), *tile, stride.unwrap_or(*tile));
                    if places.is_empty() {
                        let what = format!(
                            "{} x {} has no tile of {} x {}",
                            read.height, read.width, tile.0, tile.1
                        );
                        return Err(DataError::unfit(image, what));
                    }
                    for at in places {
                        joined.push(&cut(&read, at, *tile), image)?;
                        truth.push(&cut(&numbers, at, *tile), mask)?;
                    }
                }
            }
        }
        let len = joined.len;
        let (Some(image), Some(mask)) = (joined.field("image", Kind::Image), truth.field("mask", Kind::Mask))
        else {
            return Err(DataError::unfit(images, "it holds no PNG, JPEG or PNM"));
        };
        let options = Pictures { size: None, channels: None, ..*options };
        Ok(Set {
            len,
            fields: vec![shaped(image, len, &options)?, shaped(mask, len, &options)?],
            classes: Vec::new(),
        })
    };
    let own = set(images, masks)?;
    let test = match test_files {
        Some((images, masks)) => Held::Set(set(images, masks)?),
        None => Held::of(test, |_| {
            Err(DataError::Setting("`masks` takes `test_images` and `test_masks`".into()))
        })?,
    };
    Ok(Opened { set: own, test })
}

/// Each picture with its mask: the two files, or the files of two folders with equal names but for the ending.
fn pairs(images: &Path, masks: &Path) -> Result<Vec<(PathBuf, PathBuf)>, DataError> {
    if !images.is_dir() {
        return Ok(vec![(images.to_owned(), masks.to_owned())]);
    }
    let stem = |p: &Path| p.file_stem().map(std::ffi::OsStr::to_owned);
    let truths: BTreeMap<_, PathBuf> = entries(masks, false)?.into_iter().map(|t| (stem(&t), t)).collect();
    entries(images, false)?
        .into_iter()
        .map(|image| match truths.get(&stem(&image)) {
            Some(mask) => Ok((image, mask.clone())),
            None => {
                let what = format!("no mask of this name is in {}", masks.display());
                Err(DataError::unfit(image, what))
            }
        })
        .collect()
}

/// The upper left corners of all tiles that lie within a picture, row by row.
pub(super) fn tile_places(
    (h, w): (usize, usize),
    tile: (usize, usize),
    stride: (usize, usize),
) -> Vec<(usize, usize)> {
    let along = |n: usize, t: usize, s: usize| {
        (0..=n.saturating_sub(t)).step_by(s.max(1)).filter(move |y| y + t <= n)
    };
    along(h, tile.0, stride.0).flat_map(|y| along(w, tile.1, stride.1).map(move |x| (y, x))).collect()
}

/// The tile at a place.
pub(super) fn cut(picture: &Picture, (y0, x0): (usize, usize), (h, w): (usize, usize)) -> Picture {
    let Picture { channels, height, width, data } = picture;
    let mut out = Vec::with_capacity(channels * h * w);
    for c in 0..*channels {
        for y in y0..y0 + h {
            let at = (c * height + y) * width + x0;
            out.extend_from_slice(&data[at..at + w]);
        }
    }
    Picture { channels: *channels, height: h, width: w, data: out }
}

/// Resampled to `size`: the nearest pixel for class numbers, else by a triangle filter (which averages where it shrinks).
fn resampled(picture: Picture, size: Option<(usize, usize)>, nearest: bool) -> Picture {
    let Some((h, w)) = size.filter(|s| *s != (picture.height, picture.width)) else { return picture };
    let filter = if nearest {
        ::image::imageops::FilterType::Nearest
    } else {
        ::image::imageops::FilterType::Triangle
    };
    let mut data = Vec::with_capacity(picture.channels * h * w);
    for plane in picture.data.chunks(picture.height * picture.width) {
        let buffer = ::image::ImageBuffer::<::image::Luma<f32>, _>::from_raw(
            picture.width as u32,
            picture.height as u32,
            plane.to_vec(),
        );
        if let Some(buffer) = buffer {
            data.extend(::image::imageops::resize(&buffer, w as u32, h as u32, filter).into_raw());
        }
    }
    Picture { channels: picture.channels, height: h, width: w, data }
}

/// A field of `len` pictures, resampled and padded with zeros.
pub(super) fn shaped(field: Field, len: usize, options: &Pictures) -> Result<Field, DataError> {
    if options.size.is_none() && options.pad == (0, 0) {
        return Ok(field);
    }
    let ([c, h, w], Some(_)) = (&field.dims[..], &field.names) else {
        let message = format!("`size` and `pad` are for pictures [c, h, w], a sample is {}", field.show());
        return Err(DataError::Setting(message));
    };
    let (c, (th, tw)) = (*c, options.size.unwrap_or((*h, *w)));
    let (ph, pw) = options.pad;
    let (oh, ow) = (th + 2 * ph, tw + 2 * pw);
    let total = [c, oh, ow].iter().try_fold(len, |n, d| n.checked_mul(*d));
    let total = total.ok_or_else(|| DataError::Memory { what: format!("{len} pictures of {oh} x {ow}") })?;
    let what = format!("{len} pictures of {oh} x {ow}");
    let store = match &*field.store {
        Store::Bytes(bytes, scale) if options.size.is_none() => {
            let mut out: Vec<u8> = super::set::room(total, &what)?;
            for (from, to) in bytes.chunks_exact(h * w).zip(out.chunks_exact_mut(oh * ow)) {
                framed(from, to, *w, (ph, pw, ow));
            }
            Store::Bytes(out, *scale)
        }
        stored => {
            let mut out: Vec<f32> = with_room(total, &what)?;
            let mut sample = vec![0.0; c * h * w];
            for i in 0..len {
                stored.copy(i * sample.len(), &mut sample);
                let picture = Picture { channels: c, height: *h, width: *w, data: sample.clone() };
                let picture = resampled(picture, options.size, field.kind == Kind::Mask);
                for plane in picture.data.chunks_exact(th * tw) {
                    let at = out.len();
                    out.resize(at + oh * ow, 0.0);
                    framed(plane, &mut out[at..], tw, (ph, pw, ow));
                }
            }
            Store::Floats(out)
        }
    };
    Ok(Field { dims: vec![c, oh, ow], store: std::sync::Arc::new(store), ..field })
}

/// Copies a plane of rows of `w` into the middle of a larger one.
fn framed<T: Copy>(from: &[T], to: &mut [T], w: usize, (ph, pw, ow): (usize, usize, usize)) {
    for (y, row) in from.chunks_exact(w).enumerate() {
        let at = (y + ph) * ow + pw;
        to[at..at + w].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests;
