//! What a training's data are, typed: what a `train` item says, or what a program of one's own writes down.

use std::path::PathBuf;

use super::augment::Augment;

/// Data for a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Where samples come from.
    pub source: Source,
    /// How training samples vary, in this order.
    pub augment: Vec<Augment>,
    /// The share of the training part that is kept for validation; 0 for none.
    pub validate: f64,
    /// The seed of the validation's draw.
    pub seed: u64,
}

impl Spec {
    /// This source, nothing varied, nothing kept back.
    pub fn new(source: Source) -> Self {
        Self { source, augment: Vec::new(), validate: 0.0, seed: 0 }
    }
}

/// What is done to all pictures once, when they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    /// 1 or 3 channels; `None`: those of the first picture.
    pub channels: Option<usize>,
    /// Rows and columns to resample to; `None`: as they are.
    pub size: Option<(usize, usize)>,
    /// Zeros around, above and below, left and right.
    pub pad: (usize, usize),
}

/// Where the test part comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The set's own; where it has none, there is no test.
    Own,
    /// This share, held out by a fixed draw that no seed changes.
    Share(f64),
    /// A file or folder of its own.
    File(PathBuf),
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// 1,797 handwritten digits of 8 x 8 in 10 classes; comes with the program.
    Digits {
        /// The share held out for the test.
        test: f64,
        /// Common options.
        pictures: Pictures,
    },
    /// 60,000 + 10,000 handwritten digits of 28 x 28.
    Mnist {
        /// Where its files are, if not at the usual place.
        folder: Option<PathBuf>,
        /// Common options.
        pictures: Pictures,
    },
    /// 60,000 + 10,000 pictures of clothing of 28 x 28 in 10 classes.
    FashionMnist {
        /// Where its files are, if not at the usual place.
        folder: Option<PathBuf>,
        /// Common options.
        pictures: Pictures,
    },
    /// One micrograph of 125 nuclei with its mask, in tiles: those of the left three quarters for training, those of the
    /// right quarter for the test. Comes with the program.
    Nuclei {
        /// Rows and columns of a tile.
        tile: (usize, usize),
        /// From one tile to the next.
        stride: (usize, usize),
        /// The outline of each nucleus is a class of its own, 2.
        border: bool,
    },
    /// IDX files.
    Idx {
        /// Pictures.
        images: PathBuf,
        /// Their labels.
        labels: Option<PathBuf>,
        /// Pictures of the test part, and their labels.
        test_images: Option<(PathBuf, Option<PathBuf>)>,
        /// Else the share held out.
        test: Test,
        /// Common options.
        pictures: Pictures,
    },
    /// A table of numbers.
    Csv {
        /// The file.
        file: PathBuf,
        /// Where the label stands.
        label: crate::formats::csv::LabelColumn,
        /// Whether the first line is a header; `None` looks.
        header: Option<bool>,
        /// A factor on all values.
        scale: f32,
        /// Axes of a sample; `None`: `[c: columns]`.
        shape: Option<Vec<(String, usize)>>,
        /// The test part.
        test: Test,
        /// Common options, for shapes that are pictures.
        pictures: Pictures,
    },
    /// `.npy` files, the first axis of each the samples.
    Npy {
        /// Fields with their files.
        fields: Vec<(String, PathBuf)>,
        /// A factor on `image`.
        scale: f32,
        /// The test part.
        test: Test,
    },
    /// An `.npz` file, each array a field, the first axis the samples.
    Npz {
        /// The file.
        file: PathBuf,
        /// A factor on every field but `label` and `mask`.
        scale: f32,
        /// The test part.
        test: Test,
    },
    /// A folder with one folder of pictures a class.
    Images {
        /// The folder.
        folder: PathBuf,
        /// The test part.
        test: Test,
        /// Common options.
        pictures: Pictures,
    },
    /// Pictures, each with a picture of its class numbers: two files, or two folders with the same names.
    Masks {
        /// A picture or a folder of pictures.
        images: PathBuf,
        /// Its masks.
        masks: PathBuf,
        /// Pictures and masks of the test part.
        test_files: Option<(PathBuf, PathBuf)>,
        /// Else the share held out.
        test: Test,
        /// Tiles of this size; `None`: whole pictures.
        tile: Option<(usize, usize)>,
        /// From one tile to the next; `None`: the tile's size.
        stride: Option<(usize, usize)>,
        /// Common options.
        pictures: Pictures,
    },
    /// Made pictures with their truth.
    Synthetic(super::synth::Synthetic, f64),
    /// Patches of photographs.
    Patches {
        /// Pictures, at least one.
        files: Vec<PathBuf>,
        /// How many patches.
        count: usize,
        /// Rows and columns of a patch.
        size: (usize, usize),
        /// What is done to them.
        whiten: super::patches::Whiten,
        /// The seed of their places.
        seed: u64,
        /// The share held out.
        test: f64,
    },
}
