//! The history of a training: a line an epoch in a CSV file, written as the epochs end, and a chart of it.
//!
//! The file begins with what the checkpoint holds and grows by whole lines, so that a training which was interrupted and resumed
//! leaves the same bytes as one that was not. Times are not in it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::out::Failure;
use crate::draw::chart::{Chart, Line, Panel};
use crate::trainer::{Epoch, Trainer};

/// The file while a training runs.
pub(super) struct History {
    path: PathBuf,
    file: File,
    /// Names of the figures that the validation part gives; `None` without one.
    figures: Option<Vec<String>>,
}

impl History {
    /// Begins the file with the epochs that are done already.
    pub(super) fn begin(path: PathBuf, trainer: &Trainer) -> Result<Self, Failure> {
        let names = trainer.settings().metrics.iter().filter(|m| m.kind.is_figure()).map(|m| m.name.clone());
        let figures = trainer.data().validate.as_ref().map(|_| names.collect::<Vec<String>>());
        let mut head: Vec<String> =
            ["epoch", "train loss", "gradient norm", "rate"].map(String::from).to_vec();
        if let Some(figures) = &figures {
            head.push("validate loss".into());
            head.extend(figures.iter().map(|f| format!("validate {f}")));
        }
        let mut bytes = line(&head);
        trainer.history().iter().for_each(|e| bytes.extend(line(&cells(e, figures.as_deref()))));
        // Beside its place first: what was there stays whole until this is.
        let failed = |e: std::io::Error| Failure::io(path.display(), &e);
        let part = path.with_extension("csv.part");
        std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &path)).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        Ok(Self { path, file, figures })
    }

    /// Adds an epoch.
    pub(super) fn add(&mut self, epoch: &Epoch) -> Result<(), Failure> {
        let bytes = line(&cells(epoch, self.figures.as_deref()));
        self.file.write_all(&bytes).map_err(|e| Failure::io(self.path.display(), &e))
    }
}

/// The cells of a line; numbers read back to the same bits.
fn cells(epoch: &Epoch, figures: Option<&[String]>) -> Vec<String> {
    let mut cells = vec![(epoch.epoch + 1).to_string()];
    cells.extend([epoch.loss, epoch.norm, epoch.rate].map(|x| x.to_string()));
    if let Some(names) = figures {
        let measured = epoch.validation.as_ref();
        cells.push(measured.map_or(String::new(), |v| v.loss.to_string()));
        let figure = |name: &String| measured.and_then(|v| v.figures.iter().find(|f| f.name == *name));
        cells.extend(names.iter().map(|n| figure(n).map_or(String::new(), |f| f.value.to_string())));
    }
    cells
}

/// One line of a CSV file.
pub(in crate::cli) fn line(cells: &[String]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // A vector takes everything.
    let _ = writer.write_record(cells);
    writer.into_inner().unwrap_or_default()
}

/// The chart of a history: the loss of both parts, shares, other figures each for itself, the learning rate.
pub(super) fn chart(name: &str, history: &[Epoch]) -> Chart {
    let line = |name: &str, value: &dyn Fn(&Epoch) -> Option<f64>| Line {
        name: name.to_owned(),
        points: history.iter().filter_map(|e| Some(((e.epoch + 1) as f64, value(e)?))).collect(),
    };
    let mut loss = vec![line("train", &|e| Some(e.loss))];
    let measured = history.iter().find_map(|e| e.validation.as_ref());
    if measured.is_some() {
        loss.push(line("validate", &|e| e.validation.as_ref().map(|v| v.loss)));
    }
    let mut panels = vec![Panel { name: "loss".into(), lines: loss, log: true }];
    let (mut shares, mut others) = (Vec::new(), Vec::new());
    for figure in measured.map_or(&[][..], |v| &v.figures[..]) {
        let scale = if figure.is_share() { 100.0 } else { 1.0 };
        let value = |e: &Epoch| {
            let found = e.validation.as_ref()?.figures.iter().find(|f| f.name == figure.name)?;
            Some(found.value * scale)
        };
        let line = line(&format!("validate {}", figure.name), &value);
        if figure.is_share() { shares.push(line) } else { others.push((figure.name.clone(), line)) }
    }
    if !shares.is_empty() {
        panels.push(Panel { name: "%".into(), lines: shares, log: false });
    }
    panels.extend(others.into_iter().map(|(name, line)| Panel { name, lines: vec![line], log: true }));
    let rate = line("rate", &|e| Some(e.rate));
    panels.push(Panel { name: "learning rate".into(), lines: vec![rate], log: false });
    let epochs = history.len();
    let title = format!("{name}, {epochs} epoch{}", if epochs == 1 { "" } else { "s" });
    Chart { title, axis: "epoch".into(), panels }
}

/// Writes a chart as the name's ending says: `.svg`, else PNG.
pub(super) fn save(chart: &Chart, path: &Path) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::io(path.display(), &e);
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg")) {
        return std::fs::write(path, chart.svg()).map_err(failed);
    }
    let too_large =
        || Failure::Unusable(format!("{}: the chart has too many panels for a picture", path.display()));
    let picture = chart.picture().ok_or_else(too_large)?;
    crate::cli::pictures::save(&picture, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::{Figure, Measured};

    fn epoch(i: u64, loss: f64, validated: bool) -> Epoch {
        let figure = |name: &str, value: f64| Figure { name: name.into(), value };
        let figures = vec![figure("accuracy", 0.5), figure("mse", f64::NAN)];
        let measured = Measured { samples: 3, loss: loss * 2.0, figures, tables: Vec::new() };
        let validation = validated.then_some(measured);
        Epoch { epoch: i, samples: 9, loss, norm: 0.1, rate: 1e-3, seconds: 1.0, validation }
    }

    #[test]
    fn lines_have_a_cell_for_each_column_and_quote_commas() {
        let names = ["accuracy".to_owned(), "other(a, b)".to_owned()];
        let cells = |validated| cells(&epoch(0, 0.1, validated), Some(&names));
        assert_eq!(cells(true), ["1", "0.1", "0.1", "0.001", "0.2", "0.5", ""]);
        assert_eq!(cells(false), ["1", "0.1", "0.1", "0.001", "", "", ""]);
        assert_eq!(line(&["a, b".into(), "2".into()]), b"\"a, b\",2\n");
    }

    #[test]
    fn a_chart_has_a_panel_for_each_kind_of_number() {
        let history: Vec<Epoch> = (0..3).map(|i| epoch(i, 1.0 / (i + 1) as f64, true)).collect();
        let chart = chart("Net", &history);
        let panels: Vec<(&str, usize)> =
            chart.panels.iter().map(|p| (p.name.as_str(), p.lines.len())).collect();
        assert_eq!(panels, [("loss", 2), ("%", 1), ("mse", 1), ("learning rate", 1)]);
        assert_eq!(chart.panels[0].lines[1].points[0], (1.0, 2.0));
        assert_eq!(chart.panels[1].lines[0].points[2], (3.0, 50.0));
        assert!(chart.svg().contains("no finite value"), "mse is NaN throughout");
    }

    #[test]
    fn histories_without_validation_or_without_epochs_have_a_chart() {
        let plain = chart("Net", &[epoch(0, 2.0, false)]);
        assert_eq!(plain.panels.len(), 2);
        assert!(plain.svg().contains("Net, 1 epoch<"));
        assert!(chart("Net", &[]).picture().is_some());
    }
}
