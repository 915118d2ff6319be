//! `cnnc data synth`: made pictures as PNG files, each with its mask, and their labels as a table. What is written reads back with
//! `masks("DIR/images", "DIR/masks")`, or by class with `images("DIR")`, as the very pixels that `shapes` and its like give.

use std::fs;
use std::path::Path;

use crate::cli::args::SynthData;
use crate::cli::out::{Failure, Out};
use crate::cli::pictures;
use crate::cli::train::line;
use crate::data::{Made, Synthetic};
use crate::formats::image::Picture;

pub(super) fn run(args: &SynthData, out: Out) -> Result<(), Failure> {
    let unknown = || Failure::Unusable(format!("nothing is made under the name `{}`", args.kind));
    let kind = Made::ALL.into_iter().find(|k| k.name() == args.kind).ok_or_else(unknown)?;
    if !(0.0..=1.0).contains(&args.noise) {
        return Err(Failure::Unusable(format!("--noise is from 0 to 1, not {}", args.noise)));
    }
    let channels = if args.channels == "3" { 3 } else { 1 };
    let (count, size) = (args.count as usize, args.size);
    let made = Synthetic { kind, count, size, channels, noise: args.noise, seed: args.seed };
    let classes = kind.classes();
    if args.by_class && classes.is_empty() {
        return Err(Failure::Unusable(format!("`{}` has masks, but no classes to sort by", args.kind)));
    }
    let root = &args.folder;
    let folders: Vec<&str> = if args.by_class { classes.to_vec() } else { vec!["images", "masks"] };
    for folder in &folders {
        empty(&root.join(folder))?;
    }
    let mut labels = line(&["file".to_owned(), "label".to_owned(), "class".to_owned()]);
    for i in 0..count {
        let picture = made.picture(i);
        let file = format!("{i:05}.png");
        let class = classes.get(usize::from(picture.label)).copied();
        let image = planes(&picture.pixels, channels, size);
        if let Some(class) = class.filter(|_| args.by_class) {
            pictures::save(&image, &root.join(class).join(&file))?;
            continue;
        }
        pictures::save(&image, &root.join("images").join(&file))?;
        pictures::save(&planes(&picture.mask, 1, size), &root.join("masks").join(&file))?;
        labels.extend(line(&[file, picture.label.to_string(), class.unwrap_or_default().to_owned()]));
    }
    if !args.by_class && !classes.is_empty() {
        let path = root.join("labels.csv");
        fs::write(&path, labels).map_err(|e| Failure::io(path.display(), &e))?;
    }
    out.print(format!("{}: {count} pictures in {}\n", root.display(), folders.join(", ")))
}

/// A folder without a file in it, so that what is written is all that it holds.
fn empty(folder: &Path) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::io(folder.display(), &e);
    fs::create_dir_all(folder).map_err(failed)?;
    if fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(Failure::Unusable(format!("{} is not empty; name another folder", folder.display())));
    }
    Ok(())
}

/// Bytes as a picture whose PNG holds the same bytes.
fn planes(bytes: &[u8], channels: usize, (height, width): (usize, usize)) -> Picture {
    Picture { channels, height, width, data: bytes.iter().map(|b| f32::from(*b) / 255.0).collect() }
}
