//! What is measured beside the loss, over the outputs of evaluation runs. Counts are exact; sums are in `f64`, in the order of the
//! samples.
//!
//! An output has `[n, c, grid…]`, row-major. Its class at a position is the greatest channel (the first of equals); with one
//! channel it is 1 above the threshold (1/2 where none is said), else 0. The truth holds class numbers, one a position, or
//! for `mse` and `mae` numbers of the output's own shape.

use crate::graph::ValueId;
use crate::support::Name;

/// Which figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Share of positions with the right class.
    Accuracy,
    /// Share of positions whose class is among the `k` greatest channels.
    TopK(usize),
    /// Mean over the classes that occur of intersection over union.
    MeanIou,
    /// Mean squared difference.
    Mse,
    /// Mean absolute difference.
    Mae,
    /// How often each true class was taken for each.
    Confusion,
}

/// A metric of a `train` item.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Which figure.
    pub kind: Kind,
    /// The layer's path.
    pub output: String,
    /// The value of the net.
    pub value: ValueId,
    /// What it is compared with.
    pub truth: Name,
    /// A class number that does not count.
    pub ignore: Option<i64>,
    /// What separates two classes of one channel.
    pub threshold: Option<f32>,
}

/// A figure by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// `accuracy`, `top_5`, …
    pub name: String,
    /// The figure.
    pub value: f64,
}

/// A confusion matrix: rows are true classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Number of classes.
    pub classes: usize,
    /// Row by row.
    pub counts: Vec<u64>,
}

/// A metric under way.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    metric: Metric,
    right: u64,
    all: u64,
    sum: f64,
    classes: usize,
    counts: Vec<u64>,
}

/// More classes have no table.
const CLASSES_MAX: usize = 1 << 10;

impl Metric {
    /// What reports call it.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Accuracy => "accuracy".into(),
            Kind::TopK(k) => format!("top_{k}"),
            Kind::MeanIou => "miou".into(),
            Kind::Mse => "mse".into(),
            Kind::Mae => "mae".into(),
            Kind::Confusion => "confusion".into(),
        }
    }

    /// Whether the truth is class numbers.
    pub(super) fn is_class(&self) -> bool {
        match self.kind {
            Kind::Accuracy | Kind::TopK(_) | Kind::MeanIou | Kind::Confusion => true,
            Kind::Mse | Kind::Mae => false,
        }
    }
}

impl Tally {
    pub(super) fn new(metric: &Metric) -> Self {
        Self { metric: metric.clone(), right: 0, all: 0, sum: 0.0, classes: 0, counts: Vec::new() }
    }

    /// Adds `count` samples: the first of `output` and `truth`, which are `n` samples each with `channels` channels.
    pub(super) fn add(&mut self, output: &[f32], truth: &[f32], (n, count, channels): (usize, usize, usize)) {
        let (per, true_per) = (output.len() / n.max(1), truth.len() / n.max(1));
        if !self.metric.is_class() {
            let pairs = output[..count * per].iter().zip(&truth[..count * true_per]);
            for (a, b) in pairs {
                let d = f64::from(*a) - f64::from(*b);
                self.sum += if self.metric.kind == Kind::Mse { d * d } else { d.abs() };
                self.all += 1;
            }
            return;
        }
        let classes = channels.max(2);
        if self.counts.is_empty() && classes <= CLASSES_MAX {
            self.classes = classes;
            self.counts = vec![0; classes * classes];
        }
        let positions = per / channels.max(1);
        for i in 0..count {
            let sample = &output[i * per..][..per];
            for p in 0..positions {
                let label = truth[i * true_per + p.min(true_per.saturating_sub(1))] as i64;
                if Some(label) != self.metric.ignore {
                    self.position(sample, p, positions, channels, label);
                }
            }
        }
    }

    fn position(&mut self, sample: &[f32], p: usize, positions: usize, channels: usize, label: i64) {
        self.all += 1;
        let x = |c: usize| sample[c * positions + p];
        let found = if channels == 1 {
            usize::from(x(0) > self.metric.threshold.unwrap_or(0.5))
        } else {
            (1..channels).fold(0, |best, c| if x(c) > x(best) { c } else { best })
        };
        let label = usize::try_from(label).unwrap_or(usize::MAX);
        self.right += match self.metric.kind {
            Kind::TopK(k) if label < channels => {
                let own = x(label);
                let before = (0..channels).filter(|c| x(*c) > own || (x(*c) == own && *c < label)).count();
                u64::from(before < k && !own.is_nan())
            }
            _ => u64::from(found == label),
        };
        if label < self.classes {
            self.counts[label * self.classes + found] += 1;
        }
    }

    /// The figure; a confusion matrix is a [`Self::table`].
    pub(super) fn figure(&self) -> Option<Figure> {
        let value = match self.metric.kind {
            Kind::Confusion => return None,
            Kind::Accuracy | Kind::TopK(_) => self.right as f64 / self.all.max(1) as f64,
            Kind::Mse | Kind::Mae => self.sum / self.all.max(1) as f64,
            Kind::MeanIou => {
                let at = |t: usize, p: usize| self.counts[t * self.classes + p];
                let iou = (0..self.classes).filter_map(|c| {
                    let row: u64 = (0..self.classes).map(|p| at(c, p)).sum();
                    let column: u64 = (0..self.classes).map(|t| at(t, c)).sum();
                    let union = row + column - at(c, c);
                    (union > 0).then(|| at(c, c) as f64 / union as f64)
                });
                let all: Vec<f64> = iou.collect();
                all.iter().sum::<f64>() / all.len().max(1) as f64
            }
        };
        Some(Figure { name: self.metric.name(), value })
    }

    pub(super) fn table(&self) -> Option<Table> {
        let wanted = self.metric.kind == Kind::Confusion && !self.counts.is_empty();
        wanted.then(|| Table { classes: self.classes, counts: self.counts.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(kind: Kind, ignore: Option<i64>) -> Tally {
        let metric = Metric {
            kind,
            output: "out".into(),
            value: ValueId(0),
            truth: "label".into(),
            ignore,
            threshold: None,
        };
        Tally::new(&metric)
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
        let mut t = tally(Kind::Accuracy, None);
        t.add(&output, &truth, (3, 2, 3));
        assert_eq!(figure(&t), 0.75);
        let mut t = tally(Kind::TopK(2), None);
        t.add(&output, &truth, (3, 2, 3));
        assert_eq!(figure(&t), 1.0);
        let mut t = tally(Kind::Accuracy, Some(0));
        t.add(&output, &truth, (3, 2, 3));
        assert_eq!(figure(&t), 1.0);
        let mut t = tally(Kind::Confusion, None);
        t.add(&output, &truth, (3, 2, 3));
        assert_eq!(t.table().expect("a table").counts, [1, 0, 1, 0, 1, 0, 0, 0, 1]);
        // Class 0: 1 of 2; class 1: 1 of 1; class 2: 1 of 2.
        let mut t = tally(Kind::MeanIou, None);
        t.add(&output, &truth, (3, 2, 3));
        assert!((figure(&t) - 2.0 / 3.0).abs() < 1e-12);
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
}
