//! What is checked before the first step: settings and data under which a training would run and be worth nothing.
//!
//! In: the plan, the data, and what the loss compares ([`Labels`]). Out: nothing, or an error that says what to write.

use super::error::TrainError;
use super::plan::Plan;
use crate::data::{Kind, Part, Parts};
use crate::support::Name;

/// Class numbers of the data that a loss compares with the channels of a layer.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    /// What the data call them.
    pub(super) field: Name,
    /// The loss: `cross_entropy` or `nll`.
    pub(super) loss: Name,
    /// The layer.
    pub(super) output: String,
    /// Its channels.
    pub(super) classes: usize,
    /// The label of positions that do not count.
    pub(super) ignore: Option<i64>,
}

/// Whether every label of every part is a class or ignored: the loss of any other is infinite.
///
/// # Errors
/// [`TrainError::Setting`] with the first label that is neither.
pub(super) fn labels(all: &[Labels], parts: &Parts) -> Result<(), TrainError> {
    let three = [
        ("training", Some(&parts.train)),
        ("validation", parts.validate.as_ref()),
        ("test", parts.test.as_ref()),
    ];
    for labels in all {
        for (what, part) in three {
            if let Some(part) = part {
                labels.check(part, what)?;
            }
        }
    }
    Ok(())
}

impl Labels {
    fn check(&self, part: &Part, what: &str) -> Result<(), TrainError> {
        let Some(field) = part.set.field(&self.field) else { return Ok(()) };
        match field.kind {
            Kind::Label | Kind::Mask | Kind::Target => {}
            // What is normalised or varied is not what is stored.
            Kind::Image | Kind::Clean => return Ok(()),
        }
        let ignored = |x: f32| self.ignore.is_some_and(|i| x == i as f32);
        let fits = |x: f32| (x.fract() == 0.0 && x >= 0.0 && x < self.classes as f32) || ignored(x);
        let Some((sample, label)) = part.first_unlike(&field, fits) else { return Ok(()) };
        let named = match part.set.classes.get(label as usize) {
            Some(name)
                if field.kind == Kind::Label
                    && label >= 0.0
                    && label.fract() == 0.0
                    && *name != label.to_string() =>
            {
                format!(" (`{name}`)")
            }
            Some(_) | None => String::new(),
        };
        let (output, classes, loss) = (&self.output, self.classes, &self.loss);
        let but = self.ignore.map_or(String::new(), |i| format!(", or {i}, which is ignored"));
        let channels = if classes == 1 { "channel" } else { "channels" };
        let mut message = format!(
            "`{}` of sample {sample} (counted from 0) of the {what} part is {label}{named}, which is no class: `{output}` \
             has {classes} {channels}, so `{loss}` takes labels from 0 to {}{but}; give the layer a channel for each class",
            self.field,
            classes.saturating_sub(1),
        );
        // What `ignore` takes.
        if self.ignore.is_none() && label.fract() == 0.0 && label.abs() <= (1 << 24) as f32 {
            message.push_str(&format!(
                ", or write `ignore: {label}` in `{loss}(…)` if such labels do not count"
            ));
        }
        Err(TrainError::Setting(message))
    }
}

/// Whether a plan makes steps and uses what it says, with so many batches an epoch.
///
/// # Errors
/// [`TrainError::Setting`].
pub(super) fn plan(plan: &Plan, parts: &Parts, batches: u64) -> Result<(), TrainError> {
    let all = plan.epochs.saturating_mul(batches);
    if plan.epochs > 0 && plan.accumulate as u64 > all {
        return Err(TrainError::Setting(format!(
            "`accumulate {}` never makes a step: the whole training has {all} batches ({} an epoch, `epochs {}`)",
            plan.accumulate, batches, plan.epochs
        )));
    }
    match plan.patience {
        Some(patience) if parts.validate.is_none() => Err(TrainError::Setting(format!(
            "`patience {patience}` waits for a better loss of the validation part, and there is none; \
             add a line such as `validate 0.1`, or leave `patience` out"
        ))),
        Some(_) | None => Ok(()),
    }
}
