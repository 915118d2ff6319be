//! What comes with the program is what it says; what is fetched is missing with the command to type, and compared when found.

use super::*;
use crate::data::{Parts, Source, Spec};

fn open(source: Source) -> Parts {
    Spec::new(source).open(&Places::default()).expect("comes with the program")
}

#[test]
fn the_digits_are_the_published_ones() {
    // SHA-256 of sklearn/datasets/data/digits.csv.gz in the wheel of scikit-learn 1.9.1.
    let published = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22";
    assert_eq!(hex(&Sha256::digest(DIGITS)), published);
    let parts = open(Source::Digits { test: 0.0, pictures: Pictures::default() });
    let set = &parts.train.set;
    assert_eq!((set.len, set.class_count("label", None)), (1797, 10));
    let (mut counts, mut sum, mut sample, mut label) = ([0; 10], 0.0, vec![0.0; 64], [0.0]);
    for i in 0..set.len {
        set.fields[0].copy(i, &mut sample);
        set.fields[1].copy(i, &mut label);
        counts[label[0] as usize] += 1;
        sum += sample.iter().map(|x| f64::from(*x)).sum::<f64>();
    }
    // As scikit-learn's load_digits() counts; its mean of 0..16 is 4.884164579855314.
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    assert!((sum / (1797.0 * 64.0) * 16.0 - 4.884_164_579_855_314).abs() < 1e-9);
}

#[test]
fn the_nuclei_are_split_at_column_384_and_have_their_classes() {
    let nuclei = |border| open(Source::Nuclei { tile: (64, 64), stride: (64, 64), border });
    let parts = nuclei(false);
    let test = parts.test.expect("the right quarter");
    assert_eq!((parts.train.len(), test.len()), (48, 16));
    assert_eq!(parts.train.set.class_count("mask", None), 2);
    // 19.92 % of the pixels are nuclei, as in the original.
    let mut tile = vec![0.0; 64 * 64];
    let mut inside = 0.0;
    for i in 0..parts.train.set.len {
        parts.train.set.fields[1].copy(i, &mut tile);
        inside += tile.iter().sum::<f32>();
    }
    assert!((inside / (512.0 * 512.0) - 0.199_226).abs() < 1e-5, "{inside}");
    assert_eq!(nuclei(true).train.set.class_count("mask", None), 3);
    let large = Spec::new(Source::Nuclei { tile: (64, 129), stride: (8, 8), border: false });
    assert!(large.open(&Places::default()).is_err_and(|e| e.to_string().contains("at most 512 x 128")));
}

#[test]
fn outlines_are_pixels_beside_another_cell() {
    let cells = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 2.0];
    let inside = classes_of_cells(&cells, (4, 4), false);
    assert_eq!(inside.iter().sum::<f32>(), 11.0);
    let outlined = classes_of_cells(&cells, (4, 4), true);
    assert_eq!(outlined[5..8], [2.0, 2.0, 2.0]);
    assert_eq!(outlined[8..12], [2.0, 1.0, 2.0, 2.0]);
    assert_eq!(outlined[12..], [1.0, 1.0, 2.0, 2.0]);
}

#[test]
fn a_missing_set_says_what_to_type() {
    let places = Places { base: "/nowhere".into(), cache: Some("/nowhere/cache".into()) };
    let why = |source| Spec::new(source).open(&places).expect_err("not there").to_string();
    let mnist = |folder: Option<&str>| Source::Mnist {
        folder: folder.map(Into::into),
        pictures: Pictures::default(),
    };
    let text = why(mnist(None));
    assert!(text.contains("`cnnc data get mnist`") && text.contains("/nowhere/cache/mnist"), "{text}");
    let text = why(mnist(Some("mine")));
    assert!(text.contains("/nowhere/mine") && text.contains("train-images-idx3-ubyte"), "{text}");
}

#[test]
fn other_bytes_under_the_right_name_are_refused() {
    let folder = std::env::temp_dir().join(format!("cnnc-builtin-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    for (name, ..) in MNIST.files {
        std::fs::write(folder.join(name), gz::compress(b"\0\0\x08\x01\0\0\0\x01\0")).expect("a scratch file");
    }
    let source = Source::Mnist { folder: Some(folder.clone()), pictures: Pictures::default() };
    let error = Spec::new(source).open(&Places::default()).expect_err("not the published ones");
    std::fs::remove_dir_all(&folder).expect("our own");
    assert!(
        matches!(&error, DataError::Changed { expected, .. } if *expected == MNIST.files[1].2),
        "{error}"
    );
}
