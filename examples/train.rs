//! Training from a program of one's own, twice: by the trainer, with a callback; and by a loop over gradients.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;

use cnnc::data::{Loader, Places, Position, Want};
use cnnc::trainer::{Callbacks, Control, Epoch, TrainError, Trainer};
use cnnc::{Compiler, Options, TensorView};

const NET: &str = "
net Digits(image: [c: 1, h: 8, w: 8]) -> [c: 10] {
    image |> conv(16, 3x3, pad: same) |> relu |> maxpool(2x2)
        |> conv(32, 3x3, pad: same) |> relu |> maxpool(2x2) |> dense(10) as out
}
train Digits {
    data digits  validate 0.1  loss cross_entropy(out, label)  optimizer adam(rate: 3e-3)
    batch 32  epochs 20  seed 1  metric accuracy(out, label)
}";

/// Stops as soon as the validation part is known well enough.
struct Enough(f64);

impl Callbacks for Enough {
    fn epoch(&mut self, _: &mut Trainer, epoch: &Epoch) -> Result<Control, TrainError> {
        let figures = epoch.validation.iter().flat_map(|m| &m.figures);
        let best = figures.map(|f| f.value).fold(0.0, f64::max);
        Ok(if best >= self.0 { Control::Stop } else { Control::Continue })
    }
}

fn by_the_trainer() -> Result<Trainer, Box<dyn Error>> {
    let (options, places) = (Options::default(), Places::default());
    let mut trainer = Trainer::open(&options, ("digits", NET), &cnnc::session::NoFiles, None, &places)?;
    trainer.run_with(&mut Enough(0.97))?;
    let test = trainer.test()?.ok_or("the digits have a test part")?;
    let accuracy = test.figures.first().map_or(0.0, |f| f.value);
    println!("the trainer: {} epochs, {:.1} % of the test part", trainer.history().len(), 100.0 * accuracy);
    Ok(trainer)
}

const BATCH: usize = 32;

/// Plain gradient descent with momentum on the same data; the test part's accuracy in percent.
fn by_hand(trainer: &Trainer) -> Result<f64, Box<dyn Error>> {
    // The loss is an output like any other: one number a sample.
    let text = "net Digits(image: [c: 1, h: 8, w: 8], label: [c: 1]) -> (out: [c: 10], loss: [c: 1]) {
        let out = image |> conv(16, 3x3, pad: same) as c1 |> relu |> maxpool(2x2)
            |> conv(32, 3x3, pad: same) as c2 |> relu |> maxpool(2x2) |> dense(10) as d
        (out, cross_entropy(out, label))
    }";
    let model = Compiler::new(Options::default().batch(BATCH)).compile_text(text)?;
    let weights: Vec<String> = model.weights().into_iter().map(|w| w.name).collect();
    let names: Vec<&str> = weights.iter().map(String::as_str).collect();
    let mut gradients = model.gradients(&["loss"], &names)?;

    let wants =
        [Want::new("image", &[("c", 1), ("h", 8), ("w", 8)], true), Want::new("label", &[("c", 1)], false)];
    let loader = Loader::training(trainer.data(), &wants, BATCH, 1)?;
    // The mean over the batch: each sample's loss has this derivative.
    let share = [1.0 / BATCH as f32; BATCH];
    let mut speed: Vec<Vec<f32>> = Vec::new();
    for batch in loader.stream(Position::default(), 8)? {
        let batch = batch?;
        let inputs: Vec<(&str, TensorView<'_>)> =
            wants.iter().zip(&batch.buffers).map(|(w, b)| (&*w.name, b.into())).collect();
        let found = gradients.run(&inputs, &[("loss", (&share[..]).into())])?;
        speed.resize(weights.len(), Vec::new());
        for (v, (_, g)) in speed.iter_mut().zip(found.gradients.iter()) {
            v.resize(g.data().len(), 0.0);
            v.iter_mut().zip(g.data()).for_each(|(v, g)| *v = 0.9 * *v + g);
        }
        gradients.model_mut().change_weights(&mut |name, weight| {
            if let Some(i) = weights.iter().position(|w| w == name) {
                weight.iter_mut().zip(&speed[i]).for_each(|(w, v)| *w -= 0.05 * v);
            }
        })?;
    }

    let part = trainer.data().test.as_ref().ok_or("the digits have a test part")?;
    let loader = Loader::evaluation(trainer.data(), part, &wants, BATCH)?;
    let (mut right, mut seen) = (0, 0);
    for batch in loader.stream(Position::default(), 1)? {
        let batch = batch?;
        let inputs: Vec<(&str, TensorView<'_>)> =
            wants.iter().zip(&batch.buffers).map(|(w, b)| (&*w.name, b.into())).collect();
        let found = gradients.run(&inputs, &[("loss", (&share[..]).into())])?;
        let rows = found.outputs["out"].data().chunks(10).zip(&batch.buffers[1]);
        for (scores, label) in rows.take(batch.count) {
            let best = (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0);
            right += usize::from(best == *label as usize);
            seen += 1;
        }
    }
    Ok(100.0 * right as f64 / seen as f64)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let trainer = by_the_trainer()?;
    let accuracy = by_hand(&trainer)?;
    println!("by hand: 8 epochs, {accuracy:.1} % of the test part");
    if accuracy < 95.0 {
        return Err("gradient descent should know more digits than that".into());
    }
    Ok(())
}
