//! Learning rates over the steps of a training. `t` counts updates of weights from 0, `T` is their number.

/// How the rate goes from the optimizer's rate `r` to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// `r`
    Constant,
    /// `r factor^floor(epoch / every)`
    Step {
        /// Epochs between falls.
        every: f64,
        /// What a fall multiplies by.
        factor: f64,
    },
    /// `least + (r - least) (1 + cos(pi t/T)) / 2` (Loshchilov & Hutter 2017)
    Cosine {
        /// The rate at the end.
        least: f64,
    },
    /// `r + (least - r) t/T`
    Linear {
        /// The rate at the end.
        least: f64,
    },
    /// `least + (r - least) (1 - t/T)^power`
    Polynomial {
        /// The power.
        power: f64,
        /// The rate at the end.
        least: f64,
    },
    /// Up from `peak / 25` to `peak` over the first 30 % of the steps, down to `least`, both along a cosine (Smith & Topin
    /// 2018, as PyTorch's `OneCycleLR`).
    OneCycle {
        /// The greatest rate.
        peak: f64,
        /// The rate at the end.
        least: f64,
    },
}

/// A form, and a linear warm-up before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The form; it spans the steps after the warm-up.
    pub form: Form,
    /// Steps over which the rate rises from `1 / warmup` of its first value to the whole.
    pub warmup: u64,
}

/// The part of a one-cycle that rises, and the first rate's part of the peak.
const RISE: f64 = 0.3;
const FIRST: f64 = 1.0 / 25.0;

impl Schedule {
    /// The rate of update `t` of `total`, `per_epoch` of which make an epoch, for the optimizer's rate `base`.
    pub fn rate(&self, base: f64, t: u64, total: u64, per_epoch: u64) -> f64 {
        let total = total.saturating_sub(self.warmup).max(1);
        if t < self.warmup {
            return self.after(base, 0, total, per_epoch) * (t + 1) as f64 / self.warmup as f64;
        }
        self.after(base, (t - self.warmup).min(total), total, per_epoch)
    }

    fn after(&self, base: f64, t: u64, total: u64, per_epoch: u64) -> f64 {
        let part = t as f64 / total as f64;
        let cosine = |from: f64, to: f64, part: f64| {
            to + (from - to) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * part))
        };
        match self.form {
            Form::Constant => base,
            Form::Step { every, factor } => {
                // The step that completes an epoch belongs to it, though division may say a hair less.
                let epochs = t as f64 / per_epoch.max(1) as f64;
                base * libm::pow(factor, libm::floor(epochs / every + 1e-9))
            }
            Form::Cosine { least } => cosine(base, least, part),
            Form::Linear { least } => base + (least - base) * part,
            Form::Polynomial { power, least } => least + (base - least) * libm::pow(1.0 - part, power),
            Form::OneCycle { peak, least } => {
                // PyTorch counts to the last step, not behind it.
                let last = (total as f64 - 1.0).max(1.0);
                let top = (RISE * total as f64 - 1.0).max(0.0);
                let t = t as f64;
                if t <= top && top > 0.0 {
                    cosine(peak * FIRST, peak, t / top)
                } else {
                    cosine(peak, least, ((t - top) / (last - top).max(1.0)).min(1.0))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(form: Form, warmup: u64, total: u64, per_epoch: u64) -> Vec<f64> {
        (0..total).map(|t| Schedule { form, warmup }.rate(0.1, t, total, per_epoch)).collect()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?}, not {want:?}");
    }

    #[test]
    fn forms_are_those_of_the_papers() {
        close(&rates(Form::Constant, 0, 3, 1), &[0.1; 3]);
        close(&rates(Form::Step { every: 2.0, factor: 0.1 }, 0, 6, 1), &[0.1, 0.1, 0.01, 0.01, 0.001, 0.001]);
        // torch.optim.lr_scheduler.CosineAnnealingLR(SGD(lr=0.1), T_max=4)
        close(
            &rates(Form::Cosine { least: 0.0 }, 0, 4, 1),
            &[0.1, 0.085_355_339_059_327, 0.05, 0.014_644_660_940_673],
        );
        close(&rates(Form::Linear { least: 0.02 }, 0, 4, 1), &[0.1, 0.08, 0.06, 0.04]);
        // torch.optim.lr_scheduler.PolynomialLR(SGD(lr=0.1), total_iters=4, power=2)
        close(
            &rates(Form::Polynomial { power: 2.0, least: 0.0 }, 0, 4, 1),
            &[0.1, 0.056_25, 0.025, 0.006_25],
        );
    }

    #[test]
    fn one_cycle_is_pytorchs() {
        // torch.optim.lr_scheduler.OneCycleLR(SGD(lr=0.1), max_lr=0.1, total_steps=10)
        close(&rates(Form::OneCycle { peak: 0.1, least: 4e-7 }, 0, 10, 1)[..3], &[0.004, 0.052, 0.1]);
        let end = rates(Form::OneCycle { peak: 0.1, least: 4e-7 }, 0, 10, 1)[9];
        assert!((end - 4e-7).abs() < 1e-12, "{end}");
    }

    #[test]
    fn a_warm_up_rises_to_the_first_rate_and_what_follows_keeps_its_form() {
        let got = rates(Form::Linear { least: 0.0 }, 4, 8, 1);
        close(&got, &[0.025, 0.05, 0.075, 0.1, 0.1, 0.075, 0.05, 0.025]);
    }
}
