//! `cnnc data`: which sets there are ([`list`]), getting the fetched ones ([`get`]), looking at samples ([`show`]), making pictures
//! with exact truth ([`synth`]).

mod get;
mod show;
mod synth;

use std::path::Path;

use super::args::{Data, DataCommand};
use super::out::{Failure, Out};
use super::table::{Align, Table};
use super::train::places;
use crate::data::{DataError, FETCHED, Fetched, Places};
use crate::support::diag::nearest;

pub(super) fn run(args: &Data, out: Out) -> Result<(), Failure> {
    let places = places(Path::new(""));
    match &args.command {
        DataCommand::List => out.print(list(&places)),
        DataCommand::Get { name, folder } => {
            let which = fetched(name)?;
            let folder = match (folder, &places.cache) {
                (Some(folder), _) => folder.clone(),
                (None, Some(cache)) => cache.join(which.folder),
                (None, None) => {
                    let message = "no home folder is known (HOME, XDG_DATA_HOME or CNNC_DATA); name a folder";
                    return Err(Failure::Unusable(message.into()));
                }
            };
            get::run(which, &folder, out)
        }
        DataCommand::Path { name } => {
            let files = fetched(name)?.find(None, &places).map_err(failure)?;
            out.print(format!("{}\n", files[0].parent().unwrap_or(Path::new(".")).display()))
        }
        DataCommand::Show(args) => show::run(args, out),
        DataCommand::Synth(args) => synth::run(args, out),
    }
}

/// What a set that comes with the program, is made or is read is, beside the fetched ones.
const OTHERS: &[(&str, &str, &str)] = &[
    ("digits", "1,797 handwritten digits, 8x8, 10 classes (UCI, CC BY 4.0)", "with cnnc"),
    ("nuclei", "a micrograph of 125 nuclei with its mask, in tiles (BSD-3)", "with cnnc"),
    ("shapes", "discs, squares, triangles: labels and masks, any size", "made"),
    ("edges", "areas and their boundaries: masks, any size", "made"),
    ("bars", "bars and gratings of eight directions: labels and masks, any size", "made"),
    ("patches", "windows of your photographs, whitened", "a reader"),
    ("idx", "IDX files, also .gz", "a reader"),
    ("csv", "a table of numbers, also .gz", "a reader"),
    ("npy", ".npy arrays, one a field", "a reader"),
    ("npz", "an .npz archive, each array a field", "a reader"),
    ("images", "a folder of pictures for each class", "a reader"),
    ("masks", "pictures, each with one of its class numbers", "a reader"),
];

fn list(places: &Places) -> String {
    let mut table = Table::new(&[("name", Align::Left), ("what", Align::Left), ("where", Align::Left)]);
    for which in FETCHED {
        let what = match which.name {
            "mnist" => "60,000 + 10,000 handwritten digits, 28x28, 10 classes",
            _ => "60,000 + 10,000 pictures of clothing, 28x28, 10 classes (MIT)",
        };
        let place = match which.find(None, places) {
            Ok(files) => files[0].parent().unwrap_or(Path::new(".")).display().to_string(),
            Err(_) => format!("not here: `cnnc data get {}`", which.folder),
        };
        table.row(vec![which.name.into(), what.into(), place]);
    }
    for (name, what, place) in OTHERS {
        table.row(vec![(*name).into(), (*what).into(), (*place).into()]);
    }
    table.render()
}

/// The fetched set of that name, with `-` or `_`.
fn fetched(name: &str) -> Result<&'static Fetched, Failure> {
    let plain = name.replace('-', "_").to_lowercase();
    if let Some(found) = FETCHED.into_iter().find(|f| f.name == plain) {
        return Ok(found);
    }
    let message = match OTHERS.iter().find(|o| o.0 == plain) {
        Some((name, _, "with cnnc")) => {
            format!("`{name}` comes with cnnc: `data {name}` is all that is needed")
        }
        Some((name, _, "made")) => {
            format!("`{name}` is made when it is used; `cnnc data synth {name} DIR` writes it")
        }
        Some((name, what, _)) => format!("`{name}` reads what you have: {what}"),
        None => {
            let known = FETCHED.iter().map(|f| f.name).chain(OTHERS.iter().map(|o| o.0));
            match nearest(&plain, known) {
                Some(near) => format!("no data set is called `{name}`; did you mean `{near}`?"),
                None => format!("no data set is called `{name}`; `cnnc data list` shows all"),
            }
        }
    };
    Err(Failure::Unusable(message))
}

/// What goes wrong with data, as the command line says it.
fn failure(error: DataError) -> Failure {
    match &error {
        DataError::Shape(_) | DataError::Setting(_) => Failure::Wrong(error.to_string()),
        DataError::File { .. }
        | DataError::Missing { .. }
        | DataError::Changed { .. }
        | DataError::Memory { .. }
        | DataError::Thread(_) => Failure::Unusable(error.to_string()),
    }
}
