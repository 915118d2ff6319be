//! A training ahead of time: what the object needs to know of the step.

use super::Trainer;
use crate::session::object::Training;
use crate::train::{Optimizer, step};

impl Trainer {
    /// The step with its weights and slots as they are now, for [`Compiler::training_object`](crate::Compiler::training_object).
    pub fn ahead(&self) -> Training<'_> {
        let plan = self.settings();
        let mut numbers = vec![(
            step::RATE.to_owned(),
            format!("the learning rate of this step; the program begins at {}", plan.rate),
        )];
        match &plan.optimizer {
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                numbers.push((
                    step::SIZE.to_owned(),
                    format!("rate / (1 - {beta1}^t), t being the number of this step, counted from 1"),
                ));
                numbers.push((step::ROOT.to_owned(), format!("1 / sqrt(1 - {beta2}^t)")));
            }
            Optimizer::Sgd { .. } | Optimizer::RmsProp { .. } | Optimizer::Adagrad { .. } => {}
        }
        numbers.push((
            step::OPEN.to_owned(),
            format!(
                "1 in every {}th call, which changes weights by the sum of gradients; else 0",
                plan.accumulate
            ),
        ));
        Training { step: self.step_model(), average: step::AVERAGE, numbers }
    }
}
