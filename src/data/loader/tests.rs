//! Order, resumption, filling up, and which field meets which input.

use super::*;
use crate::data::set::Store;
use crate::data::{Augment, Border, Field, Kind, Pictures, Set, Source, Spec};

fn digits(spec: impl FnOnce(&mut Spec)) -> Parts {
    let mut all = Spec::new(Source::Digits { test: 0.2, pictures: Pictures::default() });
    spec(&mut all);
    all.open(&Default::default()).expect("comes with the program")
}

fn wants() -> Vec<Want> {
    vec![
        Want::new("image", &[("n", 4), ("c", 1), ("h", 8), ("w", 8)], true),
        Want::new("label", &[("c", 1)], false),
    ]
}

#[test]
fn every_sample_comes_once_an_epoch_in_another_order_each() {
    let parts = digits(|_| ());
    assert_eq!((parts.train.len(), parts.test.as_ref().map(Part::len)), (1438, Some(359)));
    let loader = Loader::training(&parts, &wants(), 50, 7).expect("fits");
    assert_eq!((loader.batches(), loader.samples()), (28, 1400));
    let epochs: Vec<Vec<Batch>> = (0..2)
        .map(|epoch| {
            let batches = (0..28).map(|batch| loader.make(Position { epoch, batch }).expect("room"));
            batches.collect()
        })
        .collect();
    // 64 pixels and a label tell most digits apart: sums over an epoch's samples are those of a permutation.
    let key = |b: &Batch, i: usize| {
        let mut key: Vec<u32> = b.buffers[0][i * 64..(i + 1) * 64].iter().map(|x| x.to_bits()).collect();
        key.push(b.buffers[1][i] as u32);
        key
    };
    let mut seen: Vec<Vec<Vec<u32>>> =
        epochs.iter().map(|e| e.iter().flat_map(|b| (0..50).map(move |i| key(b, i))).collect()).collect();
    assert_ne!(seen[0], seen[1], "the order is drawn anew");
    seen.iter_mut().for_each(|s| s.sort());
    seen[0].dedup();
    assert_eq!(seen[0].len(), 1400, "no sample comes twice");
}

#[test]
fn a_stream_is_what_is_made_batch_by_batch_from_anywhere() {
    let augment = vec![
        Augment::Shift { by: vec![1], border: Border::Zero },
        Augment::Noise { std: 0.1 },
        Augment::Normalise { mean: None, std: None },
    ];
    let parts = digits(|s| s.augment = augment);
    let loader = Loader::training(&parts, &wants(), 64, 3).expect("fits");
    let all: Vec<Batch> =
        loader.stream(Position::default(), 2).expect("a thread").map(|b| b.expect("room")).collect();
    assert_eq!(all.len(), 44);
    for (i, batch) in all.iter().enumerate() {
        let position = Position { epoch: i as u64 / 22, batch: i as u64 % 22 };
        assert_eq!(batch.position, position);
        assert_eq!(*batch, loader.make(position).expect("room"), "batch {i}");
    }
    // Going on in the middle, with a recycled buffer, gives the same bits.
    let stream = loader.stream(Position { epoch: 0, batch: 20 }, 2).expect("a thread");
    stream.recycle(all[3].clone());
    let rest: Vec<Batch> = stream.map(|b| b.expect("room")).collect();
    assert_eq!(rest, all[20..]);
    let other = Loader::training(&parts, &wants(), 64, 4).expect("fits");
    assert_ne!(other.make(Position::default()).expect("room"), all[0]);
}

#[test]
fn a_dropped_stream_ends_its_thread() {
    let parts = digits(|_| ());
    let loader = Loader::training(&parts, &wants(), 8, 0).expect("fits");
    let mut stream = loader.stream(Position::default(), u64::MAX).expect("a thread");
    assert!(stream.next().is_some_and(|b| b.is_ok()));
    // The queue is full now or soon; dropping must not wait for ever.
    drop(stream);
    assert_eq!(Arc::strong_count(&loader.inner), 1, "the thread let go of everything");
}

#[test]
fn evaluation_takes_each_sample_once_and_fills_up_the_last_batch() {
    let parts = digits(|s| s.augment = vec![Augment::Noise { std: 1.0 }]);
    let test = parts.test.clone().expect("held out");
    let loader = Loader::evaluation(&parts, &test, &wants(), 100).expect("fits");
    assert_eq!((loader.batches(), loader.samples()), (4, 359));
    let batches: Vec<Batch> =
        loader.stream(Position::default(), 1).expect("a thread").map(|b| b.expect("room")).collect();
    assert_eq!(batches.iter().map(|b| b.count).collect::<Vec<_>>(), [100, 100, 100, 59]);
    let mut sample = vec![0.0; 64];
    for (i, at) in test.samples.iter().enumerate() {
        test.set.fields[0].copy(*at as usize, &mut sample);
        let batch = &batches[i / 100];
        assert_eq!(batch.get("image").expect("wanted")[i % 100 * 64..][..64], sample, "without noise");
    }
}

#[test]
fn the_test_part_does_not_depend_on_the_seed_and_validation_does() {
    let first = digits(|s| (s.seed, s.validate) = (1, 0.25));
    let second = digits(|s| (s.seed, s.validate) = (2, 0.25));
    let samples = |p: &Option<Part>| p.as_ref().expect("asked for").samples.clone();
    assert_eq!(samples(&first.test), samples(&second.test));
    assert_ne!(samples(&first.validate), samples(&second.validate));
    let mut all: Vec<u32> =
        [&samples(&first.test)[..], &samples(&first.validate), &first.train.samples].concat();
    all.sort_unstable();
    assert_eq!(all, (0..1797).collect::<Vec<u32>>(), "each sample is in one part");
    assert_eq!(samples(&first.validate).len(), 360);
}

#[test]
fn axes_meet_by_name_and_the_order_is_the_networks() {
    let data = (0..24).map(|i| i as f32).collect();
    let image = Field::new("image", Kind::Image, &["c", "h", "w"], vec![2, 3, 4], Store::Floats(data));
    let parts = parts_of(vec![image], 1);
    let make = |axes: &[(&str, usize)]| {
        let loader = Loader::evaluation(&parts, &parts.train, &[Want::new("x", axes, true)], 1);
        loader.expect("fits").make(Position::default()).expect("room").buffers[0].clone()
    };
    assert_eq!(make(&[("c", 2), ("h", 3), ("w", 4)]), (0..24).map(|i| i as f32).collect::<Vec<_>>());
    let interleaved = make(&[("h", 3), ("w", 4), ("c", 2)]);
    assert_eq!(interleaved[..4], [0.0, 12.0, 1.0, 13.0]);
    let turned = make(&[("c", 2), ("w", 4), ("h", 3)]);
    assert_eq!(turned[..4], [0.0, 4.0, 8.0, 1.0]);
    let renamed = make(&[("c", 2), ("y", 3), ("x", 4)]);
    assert_eq!(renamed[..3], [0.0, 1.0, 2.0]);
}

#[test]
fn arrays_without_names_lie_as_the_network_writes() {
    let data = (0..12).map(|i| i as f32).collect();
    let parts = parts_of(vec![Field::new("x", Kind::Image, &[], vec![3, 4], Store::Floats(data))], 1);
    let fits = |axes: &[(&str, usize)]| {
        Loader::evaluation(&parts, &parts.train, &[Want::new("x", axes, true)], 1).is_ok()
    };
    assert!(fits(&[("c", 1), ("h", 3), ("w", 4)]) && fits(&[("t", 3), ("c", 4)]));
    assert!(!fits(&[("c", 3), ("h", 4), ("w", 1)]) && !fits(&[("c", 12)]));
}

#[test]
fn what_does_not_fit_says_so_with_both_shapes_and_advice() {
    let parts = digits(|_| ());
    let why = |want: Want| match Loader::evaluation(&parts, &parts.train, &[want], 1) {
        Err(error) => error.to_string(),
        Ok(_) => "fits".into(),
    };
    let shape = |h: usize, w: usize| Want::new("image", &[("c", 1), ("h", h), ("w", w)], true);
    let text = why(shape(12, 12));
    assert!(text.contains("[c: 1, h: 8, w: 8]") && text.contains("[c: 1, h: 12, w: 12]"), "{text}");
    assert!(text.contains("`digits(pad: 2)`"), "{text}");
    assert!(why(shape(12, 10)).contains("pad: [2, 1]"));
    assert!(why(shape(28, 28)).contains("`digits(size: 28x28)`"));
    assert!(why(Want::new("mask", &[("c", 1)], false)).contains("image [c: 1, h: 8, w: 8], label [c: 1]"));
    // A lone input takes the image, two that no field is named after do not.
    let wants = [Want::new("a", &[("c", 1), ("h", 8), ("w", 8)], true)];
    assert!(Loader::evaluation(&parts, &parts.train, &wants, 1).is_ok());
    let two = [wants[0].clone(), Want { name: "b".into(), ..wants[0].clone() }];
    assert!(Loader::evaluation(&parts, &parts.train, &two, 1).is_err());
    let large = Loader::training(&parts, &wants, 1439, 0).expect_err("more than there are").to_string();
    assert!(large.contains("a batch of 1439 is more than the 1438 samples"), "{large}");
}

#[test]
fn without_a_target_the_image_is_its_own_before_noise() {
    let augment = vec![
        Augment::Shift { by: vec![2], border: Border::Zero },
        Augment::Noise { std: 0.5 },
        Augment::Normalise { mean: Some(vec![0.5]), std: Some(vec![2.0]) },
    ];
    let parts = digits(|s| s.augment = augment);
    let axes = [("c", 1), ("h", 8), ("w", 8)];
    let wants = [Want::new("image", &axes, true), Want::new("target", &axes, false)];
    let batch =
        Loader::training(&parts, &wants, 32, 5).expect("fits").make(Position::default()).expect("room");
    let (image, target) = (batch.get("image").expect("wanted"), batch.get("target").expect("wanted"));
    // Pixels are multiples of 1/16, shifted together: the difference is noise of deviation 0.5 / 2 alone.
    assert!(target.iter().all(|x| ((x * 2.0 + 0.5) * 16.0).fract() == 0.0));
    let n = image.len() as f64;
    let noise: Vec<f64> = image.iter().zip(target).map(|(x, t)| f64::from(x - t)).collect();
    let deviation = (noise.iter().map(|d| d * d).sum::<f64>() / n).sqrt();
    assert!((deviation - 0.25).abs() < 0.02, "{deviation}");
}

#[test]
fn statistics_are_those_of_the_training_part() {
    let parts = digits(|s| s.augment = vec![Augment::Normalise { mean: None, std: None }]);
    let found = parts.normalise.clone().expect("asked for");
    let mut sample = vec![0.0; 64];
    let (mut sum, mut square) = (0.0, 0.0);
    for i in parts.train.samples.iter() {
        parts.train.set.fields[0].copy(*i as usize, &mut sample);
        sum += sample.iter().map(|x| f64::from(*x)).sum::<f64>();
        square += sample.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    }
    let n = (parts.train.len() * 64) as f64;
    assert!((f64::from(found.mean[0]) - sum / n).abs() < 1e-6);
    assert!((f64::from(found.std[0]) - (square / n - (sum / n).powi(2)).sqrt()).abs() < 1e-6);
    let loader = Loader::training(&parts, &wants()[..1], 1438, 0).expect("fits");
    let all = loader.make(Position::default()).expect("room");
    let mean = all.buffers[0].iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    assert!(mean.abs() < 1e-5, "{mean}");
}

fn parts_of(fields: Vec<Field>, len: usize) -> Parts {
    let train = Part::whole(Set { len, fields, classes: Vec::new() });
    Parts { name: "npz".into(), train, validate: None, test: None, augment: Vec::new(), normalise: None }
}
