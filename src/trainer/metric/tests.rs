//! Metrics against their definitions: by hand on small cases, by plain loops over seeded ones.

use super::*;
use crate::support::random::Random;

fn metric(kind: Kind, ignore: Option<i64>) -> Metric {
    let (output, truth) = ("out".to_owned(), "label".into());
    let (name, value) = (kind.name(), ValueId(0));
    Metric { name, kind, output, value, truth, truth_value: None, ignore, threshold: None }
}

fn tally(kind: Kind, ignore: Option<i64>) -> Tally {
    Tally::new(&metric(kind, ignore))
}

fn figure(t: &Tally) -> f64 {
    t.figure().expect("a figure").value
}

#[test]
fn classes_are_counted_by_sample_and_position() {
    // Two samples of three channels on two positions, the third sample is filling.
    let output = [
        1.0, 0.0, 0.0, 2.0, 0.0, 0.0, /* classes 0 1 */ 0.0, 5.0, 0.0, 4.0, 3.0, 6.0,
        /* 2 2 */ 9.0, 9.0, 9.0, 9.0, 9.0, 9.0,
    ];
    let truth = [0.0, 1.0, 2.0, 0.0, 7.0, 7.0];
    let of = |kind, ignore| {
        let mut t = tally(kind, ignore);
        t.add(&output, &truth, (3, 2, 3));
        t
    };
    assert_eq!(figure(&of(Kind::Accuracy, None)), 0.75);
    assert_eq!(figure(&of(Kind::TopK(2), None)), 1.0);
    assert_eq!(figure(&of(Kind::Accuracy, Some(0))), 1.0);
    let table = of(Kind::Confusion, None).table().expect("a table");
    assert_eq!((&table.counts[..], table.outside), (&[1, 0, 1, 0, 1, 0, 0, 0, 1][..], 0));
    assert_eq!((table.recall(0), table.precision(2), table.iou(1)), (Some(0.5), Some(0.5), Some(1.0)));
    // Class 0: 1 of 2; class 1: 1 of 1; class 2: 1 of 2.
    assert!((figure(&of(Kind::MeanIou, None)) - 2.0 / 3.0).abs() < 1e-12);
    assert!(of(Kind::Confusion, None).figure().is_none() && of(Kind::Accuracy, None).table().is_none());
}

/// What the definitions say, each counted anew, of `n` positions with logits by class.
fn defined(kind: Kind, logits: &[Vec<f32>], labels: &[usize], classes: usize) -> f64 {
    let n = labels.len() as f64;
    let best = |x: &[f32]| (0..x.len()).rev().max_by(|a, b| x[*a].total_cmp(&x[*b])).expect("classes");
    let found: Vec<usize> = logits.iter().map(|x| best(x)).collect();
    match kind {
        Kind::Accuracy => (0..labels.len()).filter(|i| found[*i] == labels[*i]).count() as f64 / n,
        Kind::TopK(k) => {
            let hit = |i: &usize| {
                let mut order: Vec<usize> = (0..classes).collect();
                order.sort_by(|a, b| logits[*i][*b].total_cmp(&logits[*i][*a]));
                order[..k.min(classes)].contains(&labels[*i])
            };
            (0..labels.len()).filter(hit).count() as f64 / n
        }
        Kind::MeanIou | Kind::Mse | Kind::Mae | Kind::Confusion => {
            let mut all = Vec::new();
            for c in 0..classes {
                let both = (0..labels.len()).filter(|i| found[*i] == c && labels[*i] == c).count();
                let either = (0..labels.len()).filter(|i| found[*i] == c || labels[*i] == c).count();
                if either > 0 {
                    all.push(both as f64 / either as f64);
                }
            }
            all.iter().sum::<f64>() / all.len() as f64
        }
    }
}

#[test]
fn seeded_cases_agree_with_the_definitions() {
    for (case, (n, classes, grid)) in [(9, 5, 1), (4, 3, 12), (7, 2, 4), (3, 11, 5)].into_iter().enumerate() {
        let random = Random::new(case as u64, "metrics");
        // Few levels, so that equals occur.
        let x = |i: usize, c: usize, p: usize| random.below(((i * classes + c) * grid + p) as u64, 6) as f32;
        let mut output = Vec::new();
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for i in 0..n {
            output.extend((0..classes).flat_map(|c| (0..grid).map(move |p| (c, p))).map(|(c, p)| x(i, c, p)));
            for p in 0..grid {
                logits.push((0..classes).map(|c| x(i, c, p)).collect::<Vec<f32>>());
                labels.push(random.below((1 << 20) + (i * grid + p) as u64, classes as u64) as usize);
            }
        }
        let truth: Vec<f32> = labels.iter().map(|l| *l as f32).collect();
        for kind in [Kind::Accuracy, Kind::TopK(1), Kind::TopK(2), Kind::TopK(99), Kind::MeanIou] {
            let mut t = tally(kind, None);
            // In two parts: one sample, then the rest in a batch that ends with filling.
            t.add(&output[..classes * grid], &truth[..grid], (1, 1, classes));
            let (mut rest, mut true_rest) = (output[classes * grid..].to_vec(), truth[grid..].to_vec());
            rest.extend_from_slice(&output[..classes * grid]);
            true_rest.extend_from_slice(&truth[..grid]);
            t.add(&rest, &true_rest, (n, n - 1, classes));
            let wanted = defined(kind, &logits, &labels, classes);
            assert!((figure(&t) - wanted).abs() < 1e-12, "{kind:?} of case {case}: {} {wanted}", figure(&t));
        }
        let mut t = tally(Kind::Confusion, None);
        t.add(&output, &truth, (n, n, classes));
        let table = t.table().expect("a table");
        assert_eq!(table.counts.iter().sum::<u64>(), (n * grid) as u64);
        for class in 0..classes {
            assert_eq!(table.row(class), labels.iter().filter(|l| **l == class).count() as u64);
        }
    }
}

#[test]
fn one_channel_has_two_classes_by_a_threshold() {
    let output = [0.2, 0.7, 0.5, 0.9];
    let truth = [0.0, 1.0, 1.0, 0.0];
    let mut t = tally(Kind::Accuracy, None);
    t.add(&output, &truth, (4, 4, 1));
    assert_eq!(figure(&t), 0.5);
    let low = Metric { threshold: Some(0.4), ..metric(Kind::Accuracy, None) };
    let mut t = Tally::new(&low);
    t.add(&output, &truth, (4, 4, 1));
    assert_eq!(figure(&t), 0.75);
}

#[test]
fn what_is_no_number_and_no_class_is_wrong() {
    let output = [f32::NAN, 1.0, 1.0, 0.0, 0.0, 1.0, f32::INFINITY, 0.0];
    let truth = [0.0, -1.0, 5.0, 0.0];
    for kind in [Kind::Accuracy, Kind::TopK(2)] {
        let mut t = tally(kind, None);
        t.add(&output, &truth, (4, 4, 2));
        assert_eq!(figure(&t), 0.25, "{kind:?}");
    }
    let mut t = tally(Kind::Confusion, Some(-1));
    t.add(&output, &truth, (4, 4, 2));
    let table = t.table().expect("a table");
    assert_eq!((&table.counts[..], table.outside), (&[1, 0, 0, 0][..], 2));
    assert_eq!((table.recall(1), table.precision(1), table.iou(1)), (None, None, None));
}

#[test]
fn nothing_counted_is_0_and_no_table() {
    for kind in [Kind::Accuracy, Kind::TopK(3), Kind::MeanIou, Kind::Mse, Kind::Mae] {
        let mut t = tally(kind, None);
        assert_eq!(figure(&t), 0.0, "{kind:?}");
        t.add(&[], &[], (0, 0, 3));
        assert_eq!(figure(&t), 0.0, "{kind:?}");
    }
    assert!(tally(Kind::Confusion, None).table().is_none());
    let mut t = tally(Kind::Confusion, None);
    t.add(&vec![0.0; CLASSES_MAX + 1], &[0.0], (1, 1, CLASSES_MAX + 1));
    assert!(t.table().is_none(), "a table of so many classes is none to read");
}

#[test]
fn differences_are_means_over_elements() {
    let mut t = tally(Kind::Mse, None);
    t.add(&[1.0, 2.0, 3.0, 4.0], &[0.0, 2.0, 3.0, 9.0], (2, 1, 2));
    t.add(&[1.0, 2.0, 3.0, 4.0], &[0.0, 2.0, 3.0, 9.0], (2, 2, 2));
    assert_eq!(figure(&t), 27.0 / 6.0);
    let mut t = tally(Kind::Mae, None);
    t.add(&[1.0, 2.0], &[0.0, 4.0], (2, 2, 1));
    assert_eq!(figure(&t), 1.5);
}

#[test]
fn names_are_told_apart() {
    let other = Metric { output: "aux".into(), ..metric(Kind::Accuracy, None) };
    let mut all =
        vec![metric(Kind::Accuracy, None), metric(Kind::Mse, None), other, metric(Kind::Accuracy, Some(3))];
    named(&mut all);
    let names: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["accuracy(out, label)", "mse", "accuracy(aux, label)", "accuracy(out, label) 2"]);
    assert!(Figure { name: names[0].into(), value: 0.0 }.is_share());
    assert!(!Figure { name: "mse".into(), value: 0.0 }.is_share());
}
