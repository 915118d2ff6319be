//! What is measured beside the loss, over the outputs of evaluation runs. Counts are exact; sums are in `f64`, in the order of the
//! samples.
//!
//! An output has `[n, c, grid…]`, row-major. Its class at a position is the greatest channel (the first of equals); with one
//! channel it is 1 above the threshold (1/2 where none is said), else 0; where a channel is no number there is none, which
//! is wrong. The truth holds class numbers, one a position, or for `mse` and `mae` numbers of the output's own shape. Where every
//! pixel has a label, `accuracy` is the share of right pixels.

use crate::graph::ValueId;
use crate::support::Name;

/// Which figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Share of positions with the right class.
    Accuracy,
    /// Share of positions whose class is among the `k` greatest channels.
    TopK(usize),
    /// Mean over the classes that occur, in the truth or in the output, of intersection over union.
    MeanIou,
    /// Mean squared difference.
    Mse,
    /// Mean absolute difference.
    Mae,
    /// How often each true class was taken for each.
    Confusion,
}

impl Kind {
    /// What the language calls it; `top_k` with its number.
    pub fn name(self) -> String {
        match self {
            Self::Accuracy => "accuracy".into(),
            Self::TopK(k) => format!("top_{k}"),
            Self::MeanIou => "miou".into(),
            Self::Mse => "mse".into(),
            Self::Mae => "mae".into(),
            Self::Confusion => "confusion".into(),
        }
    }

    /// Whether the truth is class numbers.
    pub(super) fn is_class(self) -> bool {
        match self {
            Self::Accuracy | Self::TopK(_) | Self::MeanIou | Self::Confusion => true,
            Self::Mse | Self::Mae => false,
        }
    }

    /// Whether it gives a number; a confusion matrix is a table.
    pub fn is_figure(self) -> bool {
        match self {
            Self::Accuracy | Self::TopK(_) | Self::MeanIou | Self::Mse | Self::Mae => true,
            Self::Confusion => false,
        }
    }
}

/// A metric of a `train` item.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// What reports call it: no two of an item have the same name.
    pub name: String,
    /// Which figure.
    pub kind: Kind,
    /// The layer's path.
    pub output: String,
    /// The value of the net.
    pub value: ValueId,
    /// What it is compared with.
    pub truth: Name,
    /// That value of the net; `None` when the data gives it.
    pub truth_value: Option<ValueId>,
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

impl Figure {
    /// Whether it is a share of 1.
    pub fn is_share(&self) -> bool {
        ["accuracy", "top_", "miou"].iter().any(|n| self.name.starts_with(n))
    }
}

/// A confusion matrix: rows are true classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What reports call it.
    pub name: String,
    /// Number of classes.
    pub classes: usize,
    /// Row by row.
    pub counts: Vec<u64>,
    /// Positions that have no place in it: their label is no class, or the output is no number.
    pub outside: u64,
}

impl Table {
    fn row(&self, class: usize) -> u64 {
        self.counts[class * self.classes..][..self.classes].iter().sum()
    }

    fn column(&self, class: usize) -> u64 {
        (0..self.classes).map(|t| self.counts[t * self.classes + class]).sum()
    }

    /// Of the positions of a class the share that was recognised; `None` where there are none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        let all = self.row(class);
        (all > 0).then(|| self.counts[class * self.classes + class] as f64 / all as f64)
    }

    /// Of the positions taken for a class the share that is of it; `None` where there are none.
    pub fn precision(&self, class: usize) -> Option<f64> {
        let all = self.column(class);
        (all > 0).then(|| self.counts[class * self.classes + class] as f64 / all as f64)
    }

    /// Intersection over union of a class; `None` where it does not occur.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let own = self.counts[class * self.classes + class];
        let union = self.row(class) + self.column(class) - own;
        (union > 0).then(|| own as f64 / union as f64)
    }
}

/// Gives each metric a name of its own: that of its kind, where several have it with what they compare, and a number where even
/// that is the same.
pub(super) fn named(metrics: &mut [Metric]) {
    let kinds: Vec<String> = metrics.iter().map(|m| m.kind.name()).collect();
    let mut taken: Vec<String> = Vec::new();
    for (metric, kind) in metrics.iter_mut().zip(&kinds) {
        let lone = kinds.iter().filter(|k| *k == kind).count() == 1;
        let plain = if lone { kind.clone() } else { format!("{kind}({}, {})", metric.output, metric.truth) };
        let mut name = plain.clone();
        let mut n = 1;
        while taken.contains(&name) {
            n += 1;
            name = format!("{plain} {n}");
        }
        taken.push(name.clone());
        metric.name = name;
    }
}

/// A metric under way.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    metric: Metric,
    right: u64,
    all: u64,
    sum: f64,
    table: Table,
}

/// More classes have no table.
const CLASSES_MAX: usize = 1 << 10;

impl Tally {
    pub(super) fn new(metric: &Metric) -> Self {
        let table = Table { name: metric.name.clone(), ..Table::default() };
        Self { metric: metric.clone(), right: 0, all: 0, sum: 0.0, table }
    }

    /// Adds `count` samples: the first of `output` and `truth`, which are `n` samples each with `channels` channels.
    pub(super) fn add(&mut self, output: &[f32], truth: &[f32], (n, count, channels): (usize, usize, usize)) {
        let (per, true_per) = (output.len() / n.max(1), truth.len() / n.max(1));
        if !self.metric.kind.is_class() {
            let pairs = output[..count * per].iter().zip(&truth[..count * true_per]);
            for (a, b) in pairs {
                let d = f64::from(*a) - f64::from(*b);
                self.sum += if self.metric.kind == Kind::Mse { d * d } else { d.abs() };
                self.all += 1;
            }
            return;
        }
        let classes = channels.max(2);
        if self.table.counts.is_empty() && classes <= CLASSES_MAX {
            self.table.classes = classes;
            self.table.counts = vec![0; classes * classes];
        }
        let positions = per / channels.max(1);
        for i in 0..count {
            let (sample, labels) = (&output[i * per..][..per], &truth[i * true_per..][..true_per]);
            for (p, label) in labels.iter().take(positions).enumerate() {
                let label = *label as i64;
                if Some(label) != self.metric.ignore {
                    self.position(sample, p, positions, channels, label);
                }
            }
        }
    }

    fn position(&mut self, sample: &[f32], p: usize, positions: usize, channels: usize, label: i64) {
        self.all += 1;
        let x = |c: usize| sample[c * positions + p];
        let found = if (0..channels).any(|c| x(c).is_nan()) {
            None
        } else if channels == 1 {
            Some(usize::from(x(0) > self.metric.threshold.unwrap_or(0.5)))
        } else {
            Some((1..channels).fold(0, |best, c| if x(c) > x(best) { c } else { best }))
        };
        let label = usize::try_from(label).unwrap_or(usize::MAX);
        self.right += u64::from(match self.metric.kind {
            Kind::TopK(k) => {
                let before =
                    |own: f32| (0..channels).filter(|c| x(*c) > own || (x(*c) == own && *c < label)).count();
                found.is_some() && label < channels && before(x(label)) < k
            }
            Kind::Accuracy | Kind::MeanIou | Kind::Mse | Kind::Mae | Kind::Confusion => found == Some(label),
        });
        match found {
            Some(found) if label < self.table.classes => {
                self.table.counts[label * self.table.classes + found] += 1;
            }
            Some(_) | None => self.table.outside += 1,
        }
    }

    /// The figure; a confusion matrix is a [`Self::table`].
    pub(super) fn figure(&self) -> Option<Figure> {
        let value = match self.metric.kind {
            Kind::Confusion => return None,
            Kind::Accuracy | Kind::TopK(_) => self.right as f64 / self.all.max(1) as f64,
            Kind::Mse | Kind::Mae => self.sum / self.all.max(1) as f64,
            Kind::MeanIou => {
                let all: Vec<f64> = (0..self.table.classes).filter_map(|c| self.table.iou(c)).collect();
                all.iter().sum::<f64>() / all.len().max(1) as f64
            }
        };
        Some(Figure { name: self.metric.name.clone(), value })
    }

    pub(super) fn table(&self) -> Option<Table> {
        let wanted = self.metric.kind == Kind::Confusion && !self.table.counts.is_empty();
        wanted.then(|| self.table.clone())
    }
}

#[cfg(test)]
mod tests;
