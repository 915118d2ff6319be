//! What is seen of a training while it runs: on a terminal a bar for the epoch, and always one line for each epoch.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::out::Out;
use crate::trainer::{Epoch, Figure, Step, Trainer};

/// The bar and the clock.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    epochs: u64,
    per_epoch: u64,
    batch: u64,
    start: Instant,
    /// Batches done since the start, and those that were done before.
    done: u64,
    before: u64,
    said: Instant,
}

/// Between two changes of the bar's text.
const PAUSE: Duration = Duration::from_millis(100);

impl Progress {
    pub(super) fn new(trainer: &Trainer) -> Self {
        let per_epoch = trainer.batches().max(1);
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(per_epoch), ProgressDrawTarget::stderr());
            let style = "{prefix} {bar:30.cyan/blue} {pos}/{len} {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        let plan = trainer.settings();
        Self {
            bar,
            epochs: plan.epochs,
            per_epoch,
            batch: plan.batch as u64,
            start: Instant::now(),
            done: 0,
            before: trainer.done(),
            said: Instant::now(),
        }
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.done += 1;
        let Some(bar) = &self.bar else { return };
        bar.set_position(step.position.batch + 1);
        if self.said.elapsed() > PAUSE {
            self.said = Instant::now();
            bar.set_prefix(format!("epoch {}/{}", step.position.epoch + 1, self.epochs));
            let (rate, left) = self.speed();
            bar.set_message(format!("loss {:.4}, {rate:.0} samples/s, {} left", step.loss, time(left)));
        }
    }

    /// Samples a second so far, and seconds to the end.
    fn speed(&self) -> (f64, f64) {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-9);
        let all = self.epochs * self.per_epoch;
        let left = all.saturating_sub(self.before + self.done) as f64;
        ((self.done * self.batch) as f64 / seconds, left * seconds / self.done.max(1) as f64)
    }

    pub(super) fn epoch(&mut self, epoch: &Epoch, out: Out) {
        let (rate, left) = self.speed();
        let mut line = format!("epoch {}/{}: loss {:.4}", epoch.epoch + 1, self.epochs, epoch.loss);
        if let Some(v) = &epoch.validation {
            line.push_str(&format!(", validation loss {:.4}", v.loss));
            v.figures.iter().for_each(|f| line.push_str(&format!(", {}", figure(f))));
        }
        line.push_str(&format!(", rate {:.2e}, {:.1} s, {rate:.0} samples/s", epoch.rate, epoch.seconds));
        if epoch.epoch + 1 < self.epochs {
            line.push_str(&format!(", {} left", time(left)));
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| out.remark(&format!("{line}\n"))),
            None => out.remark(&format!("{line}\n")),
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `accuracy 98.61 %`, `mse 0.0123`
pub(super) fn figure(figure: &Figure) -> String {
    if figure.is_share() {
        format!("{} {:.2} %", figure.name, figure.value * 100.0)
    } else {
        format!("{} {:.5}", figure.name, figure.value)
    }
}

/// `1h02m`, `3m07s`, `12s`
fn time(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}
