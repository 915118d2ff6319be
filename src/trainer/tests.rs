//! Trainings of small networks on the digits: the same bits for any number of threads and with any interruption, steps that
//! are not finite change nothing, accumulated batches are one batch.

use std::collections::BTreeMap;

use super::{Control, Event, TrainError, Trainer};
use crate::data::Places;
use crate::resolve::NoFiles;
use crate::session::Options;
use crate::tensor::owned::Tensor;

const NET: &str = "net Small(image: [c: 1, h: 8, w: 8]) -> [c: 10] {
    image |> conv(8, 3x3, pad: same, bias: false) as c1 |> batchnorm as b1 |> relu |> maxpool(2x2)
          |> dense(16) as d1 |> relu |> dropout(0.1) |> dense(10) as out
}
";

fn trainer(settings: &str, threads: usize) -> Trainer {
    let text = format!(
        "{NET}train Small {{ data digits  loss cross_entropy(out, label)  metric accuracy(out, label)  seed 5 {settings} }}"
    );
    let options = Options::default().threads(threads);
    Trainer::open(&options, ("small.cnn", &text), &NoFiles, None, &Places::default())
        .unwrap_or_else(|e| panic!("{e}"))
}

fn bits(weights: &BTreeMap<String, Tensor>) -> Vec<(String, Vec<u32>)> {
    weights.iter().map(|(n, t)| (n.clone(), t.data().iter().map(|x| x.to_bits()).collect())).collect()
}

fn ran(mut t: Trainer) -> Trainer {
    assert!(t.run(&mut |_| Control::Continue).unwrap_or_else(|e| panic!("{e}")));
    t
}

const FULL: &str =
    "optimizer adamw(rate: 0.01)  schedule cosine(warmup: 5)  clip norm(2)  average 0.8  batch 64  epochs 8
    augment shift(1)  validate 0.1";

#[test]
fn a_training_is_the_same_bits_for_any_threads_and_learns() {
    let (mut one, two) = (ran(trainer(FULL, 1)), ran(trainer(FULL, 2)));
    assert_eq!(bits(&one.weights().expect("weights")), bits(&two.weights().expect("weights")));
    let losses = |t: &Trainer| -> Vec<u64> { t.history().iter().map(|e| e.loss.to_bits()).collect() };
    assert_eq!(losses(&one), losses(&two));
    assert!(one.history()[7].loss < 0.6 * one.history()[0].loss, "{:?}", one.history());
    let test = one.test().expect("a run").expect("digits have a test part");
    assert_eq!(test.samples, 359);
    assert!(test.figures[0].value > 0.6, "{test:?}");
}

#[test]
fn averages_hold_running_statistics_too() {
    // Nearly all of the average stays what it was at the start; all of it is the last step's.
    let start = trainer("average 0.9999999  batch 64  epochs 1", 1).weights().expect("weights");
    let kept = ran(trainer("average 0.9999999  batch 64  epochs 1", 1)).weights().expect("weights");
    for (name, x) in &start {
        let worst = x.data().iter().zip(kept[name].data()).fold(0f32, |m, (x, y)| m.max((x - y).abs()));
        assert!(worst < 1e-4, "{name}: {worst}");
    }
    let last = ran(trainer("average 0.0  batch 64  epochs 1", 1)).weights().expect("weights");
    let plain = ran(trainer("batch 64  epochs 1", 1)).weights().expect("weights");
    assert_eq!(bits(&last), bits(&plain));
    assert_ne!(bits(&kept), bits(&plain));
    assert_ne!(kept["b1.running_mean"].data(), plain["b1.running_mean"].data());
}

#[test]
fn a_training_goes_on_from_its_checkpoint_as_if_it_had_never_stopped() {
    let folder = std::env::temp_dir().join(format!("cnnc-resume-{}", std::process::id()));
    let whole = ran(trainer(FULL, 2));
    let mut first = trainer(FULL, 1);
    first.checkpoints(&folder);
    let stop = |event: Event<'_>| match event {
        // In the middle of the second epoch.
        Event::Step(s) if s.position.epoch == 1 && s.position.batch == 5 => Control::Stop,
        Event::Step(_) | Event::Epoch(_) => Control::Continue,
    };
    assert!(!first.run(&mut { stop }).expect("a run"));
    // A later file that is not whole is passed over.
    std::fs::write(folder.join("epoch-00009.safetensors"), b"half").expect("a file");
    let mut second = trainer(FULL, 2);
    assert!(second.resume(&folder).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(second.history().len(), 1);
    let second = ran(second);
    assert_eq!(bits(&second.weights().expect("weights")), bits(&whole.weights().expect("weights")));
    assert_eq!(second.history()[0].loss.to_bits(), whole.history()[0].loss.to_bits());
    let mut other = trainer("batch 64", 1);
    assert!(matches!(other.resume(&folder), Err(TrainError::Foreign { .. })));
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_names_what_was_first() {
    let mut t = trainer("optimizer sgd(rate: 1e-3)  batch 64", 2);
    let mut weights = t.weights().expect("weights");
    let d1 = weights["d1.weight"].clone();
    let huge = Tensor::of(d1.axes().to_vec(), vec![3e38; d1.data().len()]);
    weights.insert("d1.weight".into(), huge);
    t.set_weights(&weights).expect("fit");
    let before = bits(&t.weights().expect("weights"));
    let Err(TrainError::NotFinite(e)) = t.step() else { panic!("a step of infinite sums") };
    assert!(e.first.as_deref().is_some_and(|f| f.contains("d1")), "{e}");
    assert_eq!(bits(&t.weights().expect("weights")), before);
}

#[test]
fn a_batch_that_failed_is_taken_again() {
    let settings = "optimizer sgd(rate: 1e-2, momentum: 0.9)  batch 64";
    let [mut failed, mut other] = [1, 2].map(|threads| trainer(settings, threads));
    for t in [&mut failed, &mut other] {
        t.step().expect("a step");
    }
    let weights = failed.weights().expect("weights");
    let mut wild = weights.clone();
    let d1 = weights["d1.weight"].clone();
    wild.insert("d1.weight".into(), Tensor::of(d1.axes().to_vec(), vec![3e38; d1.data().len()]));
    failed.set_weights(&wild).expect("fit");
    for _ in 0..2 {
        assert!(matches!(failed.step(), Err(TrainError::NotFinite(_))));
    }
    failed.set_weights(&weights).expect("fit");
    for _ in 0..3 {
        let [a, b] = [&mut failed, &mut other].map(|t| t.step().expect("a step"));
        assert_eq!((a.position, a.loss.to_bits()), (b.position, b.loss.to_bits()));
    }
    assert_eq!(bits(&failed.weights().expect("weights")), bits(&other.weights().expect("weights")));
    let mut fast = trainer("optimizer adam(rate: 1e39)  batch 64", 1);
    assert!(matches!(fast.step(), Err(TrainError::Setting(what)) if what.contains("rate")));
}

#[test]
fn accumulated_batches_are_one_batch() {
    let text = |batch: &str| {
        "net N(image: [c: 1, h: 8, w: 8]) -> [c: 10] { image |> dense(16) as d |> tanh |> dense(10) as out }
         train N { data digits loss cross_entropy(out, label) optimizer sgd(rate: 0.1, momentum: 0.9) "
            .to_owned()
            + batch
            + " }"
    };
    let open = |settings: &str| {
        Trainer::open(&Options::default(), ("n.cnn", &text(settings)), &NoFiles, None, &Places::default())
            .unwrap_or_else(|e| panic!("{e}"))
    };
    let (mut whole, mut parts) = (open("batch 64"), open("batch 16 accumulate 4"));
    for _ in 0..3 {
        whole.step().expect("a step");
        let updated: Vec<bool> = (0..4).map(|_| parts.step().expect("a step").updated).collect();
        assert_eq!(updated, [false, false, false, true]);
    }
    let (a, b) = (whole.weights().expect("weights"), parts.weights().expect("weights"));
    for (name, x) in &a {
        let worst = x.data().iter().zip(b[name].data()).fold(0f32, |m, (x, y)| m.max((x - y).abs()));
        assert!(worst < 2e-6, "{name}: {worst}");
    }
}

#[test]
fn what_cannot_be_trained_says_why() {
    let wrong = |text: &str| {
        let opened = Trainer::open(&Options::default(), ("n.cnn", text), &NoFiles, None, &Places::default());
        opened.map(|_| ()).expect_err(text).to_string()
    };
    let net = "net N(image: [c: 1, h: 8, w: 8]) -> [c: 10] { image |> dense(10) as out }\n";
    assert!(wrong(net).contains("no `train N"));
    assert!(wrong(&format!("{net}train N {{ data digits }}")).contains("says no `loss`"));
    assert!(wrong(&format!("{net}train N {{ loss cross_entropy(out, label) }}")).contains("says no `data`"));
    let big = "net N(image: [c: 1, h: 9, w: 8]) -> [c: 10] { image |> dense(10) as out }\n";
    let text = wrong(&format!("{big}train N {{ data digits  loss cross_entropy(out, label) }}"));
    assert!(text.contains("h: 9") && text.contains("h: 8"), "{text}");
    let with = |settings: &str| {
        wrong(&format!("{net}train N {{ data digits  loss cross_entropy(out, label)  {settings} }}"))
    };
    let text = with("accumulate 1000  batch 32  epochs 2");
    assert!(text.contains("`accumulate 1000`") && text.contains("88 batches (44 an epoch"), "{text}");
    let text = with("patience 3");
    assert!(text.contains("`patience 3`") && text.contains("`validate 0.1`"), "{text}");
    let text = with("augment normalise(mean: [1, 2], std: [1, 2])");
    assert!(text.contains("`mean` of `normalise` has 2 numbers, the data have 1 channel"), "{text}");
}

#[test]
fn labels_are_classes_or_ignored() {
    let opened = |channels: usize, loss: &str| {
        let text = format!(
            "net N(image: [c: 1, h: 8, w: 8]) -> [c: {channels}] {{ image |> dense({channels}) as out }}
             train N {{ data digits  validate 0.1  loss {loss} }}"
        );
        let places = Places::default();
        Trainer::open(&Options::default(), ("n.cnn", &text), &NoFiles, None, &places)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    let text = opened(9, "2 * cross_entropy(out, label)").expect_err("10 digits");
    assert!(text.starts_with("`label` of sample ") && text.contains("of the training part is 9"), "{text}");
    assert!(text.contains("`out` has 9 channels") && text.contains("from 0 to 8"), "{text}");
    assert!(text.contains("`ignore: 9`"), "{text}");
    assert_eq!(opened(9, "cross_entropy(out, label, ignore: 9)"), Ok(()));
    let text = opened(8, "cross_entropy(out, label, ignore: 9)").expect_err("8 is none");
    assert!(text.contains("is 8") && text.contains("or 9, which is ignored"), "{text}");
}
