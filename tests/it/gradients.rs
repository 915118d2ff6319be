//! `Model::gradients` from the public API: shapes, cotangents, several outputs, training mode, second use of weights, and every
//! error; callbacks of a trainer; and the example that trains with both.

use cnnc::data::Places;
use cnnc::session::{GradientsError, NoFiles};
use cnnc::trainer::{Callbacks, Control, Epoch, Step, TrainError, Trainer};
use cnnc::{Compiler, Found, Gradients, Model, Options, RunError, TensorView};

#[path = "../../examples/train.rs"]
mod example;

#[test]
fn the_example_trains() {
    example::main().unwrap_or_else(|e| panic!("{e}"));
}

fn model(text: &str, batch: usize) -> Model {
    let compiler = Compiler::new(Options::default().batch(batch).threads(2));
    compiler.compile_text(text).unwrap_or_else(|e| panic!("{e}"))
}

/// Two outputs, an input whose axes lie in another order than inside, a weight used twice.
const TWO: &str =
    "net Two(x: [h: 3, w: 4, c: 2], unused: [c: 2], label: [c: 1]) -> (a: [h: 3, w: 4, c: 3], b: [c: 1]) {
    let V = new conv(2, 3x3, pad: same)
    let y = V(tanh(V(x))) |> conv(3, 1x1) as c
    (y, cross_entropy(y |> dense(4) as d, label) |> scale)
}";

fn numbers(len: usize, salt: u32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| ((i + 1).wrapping_mul(2_654_435_761) ^ salt.wrapping_mul(97)) as f32 / u32::MAX as f32 - 0.5)
        .collect()
}

fn run(gradients: &mut Gradients, x: &[f32], a: &[f32], b: &[f32]) -> Found {
    let (unused, label) = ([0.25, -1.0], [2.0]);
    let inputs: [(&str, TensorView<'_>); 3] =
        [("x", x.into()), ("unused", (&unused[..]).into()), ("label", (&label[..]).into())];
    gradients.run(&inputs, &[("a", a.into()), ("b", b.into())]).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn gradients_are_slopes_of_the_projection() {
    let model = model(TWO, 1);
    let names: Vec<String> = model.weights().into_iter().map(|w| w.name).collect();
    let by: Vec<&str> =
        ["x", "unused", "label"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut gradients = model.gradients(&["a", "b"], &by).unwrap_or_else(|e| panic!("{e}"));
    let (x, a, b) = (numbers(24, 1), numbers(36, 2), [0.7]);
    let found = run(&mut gradients, &x, &a, &b);
    // What is projected on is the outputs, each with its cotangent.
    let project = |found: &Found| -> f64 {
        let dot =
            |t: &[f32], c: &[f32]| t.iter().zip(c).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        dot(found.outputs["a"].data(), &a) + dot(found.outputs["b"].data(), &b)
    };
    let names_found: Vec<&str> = found.gradients.iter().map(|(name, _)| name).collect();
    assert_eq!(names_found, by);
    assert_eq!(found.gradients["x"].show_axes(), "[n: 1, h: 3, w: 4, c: 2]");
    assert_eq!(found.gradients["unused"].data(), [0.0, 0.0]);
    assert_eq!(found.gradients["label"].data(), [0.0]);
    let near = |slope: f64, gradient: f32, what: &str| {
        assert!(
            (slope - f64::from(gradient)).abs() <= 4e-3 * f64::from(gradient).abs().max(0.25),
            "{what}: {slope}, {gradient}"
        );
    };
    let step = 1.0 / 64.0f32;
    for i in 0..x.len() {
        let at = |gradients: &mut Gradients, by: f32| {
            let mut x = x.clone();
            x[i] += by;
            project(&run(gradients, &x, &a, &b))
        };
        let slope = (at(&mut gradients, step) - at(&mut gradients, -step)) / f64::from(2.0 * step);
        near(slope, found.gradients["x"].data()[i], "x");
    }
    for name in &names {
        let i = found.gradients[name].data().len() / 2;
        let mut at = |by: f32| {
            let change = |g: &mut Gradients, by: f32| {
                let done = g.model_mut().change_weights(&mut |n, w| {
                    if n == name {
                        w[i] += by;
                    }
                });
                done.expect("memory");
            };
            change(&mut gradients, by);
            let value = project(&run(&mut gradients, &x, &a, &b));
            change(&mut gradients, -by);
            value
        };
        let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
        near(slope, found.gradients[name].data()[i], name);
    }
    // The model that they came from has kept its weights.
    let own = |m: &Model| m.weight("d.weight").expect("memory").expect("a weight").into_data();
    gradients.model_mut().change_weights(&mut |_, w| w.fill(0.0)).expect("memory");
    assert!(own(gradients.model()).iter().all(|w| *w == 0.0) && own(&model).iter().any(|w| *w != 0.0));
}

#[test]
fn one_number_needs_no_cotangent_and_a_constant_has_no_gradient() {
    let model = model("net Sum(x: [c: 2]) -> [c: 1] { x |> dense(1) as d }", 1);
    let mut gradients = model.gradients(&["out"], &["x", "d.bias"]).expect("they exist");
    let found = gradients.run(&[("x", (&[1.0, 2.0][..]).into())], &[]).expect("a run");
    assert_eq!(found.gradients["x"].data(), model.weight("d.weight").expect("memory").expect("one").data());
    assert_eq!(found.gradients["d.bias"].data(), [1.0]);
    let itself = crate::gradients::model("net Same(x: [c: 2]) -> [c: 2] { x }", 1);
    let mut gradients = itself.gradients(&["out"], &["x"]).expect("they exist");
    let found = gradients.run(&[("x", (&[1.0, 2.0][..]).into())], &[("out", (&[3.0, 4.0][..]).into())]);
    assert_eq!(found.expect("a run").gradients["x"].data(), [3.0, 4.0]);
}

#[test]
fn training_mode_sees_the_batch() {
    let text = "net Norm(x: [c: 2]) -> [c: 2] { x |> batchnorm as b |> dropout(0.5) as drop }";
    let model = model(text, 4);
    let (mut trained, drops) = model.training().expect("a batch of four");
    assert_eq!(drops.len(), 1);
    let (x, mask) = (numbers(8, 5), drops[0].mask(1, 0));
    let inputs: Vec<(&str, TensorView<'_>)> = vec![("x", (&x).into()), (&drops[0].name, (&mask).into())];
    let mut gradients = trained.gradients(&["out"], &["x", "b.bias"]).expect("they exist");
    let ones = [1.0; 8];
    let found = gradients.run(&inputs, &[("out", (&ones[..]).into())]).expect("a run");
    // A shift of all samples changes nothing once the batch is normalised.
    for c in 0..2 {
        let total: f32 = (0..4).map(|n| found.gradients["x"].data()[2 * n + c]).sum();
        assert!(total.abs() < 1e-5, "{total}");
        let kept: f32 = (0..4).map(|n| mask[2 * n + c]).sum();
        assert_eq!(found.gradients["b.bias"].data()[c], kept);
    }
    let mean = |m: &Model| m.weight("b.running_mean").expect("memory").expect("one").into_data();
    assert!(mean(&trained).iter().all(|x| *x == 0.0), "the run was the gradients'");
    assert!(mean(gradients.model()).iter().any(|x| *x != 0.0));
    trained.run_mut(&inputs).expect("a run");
    assert_eq!(mean(&trained), mean(gradients.model()));
    let alone = crate::gradients::model(text, 1);
    assert!(matches!(alone.training(), Err(GradientsError::Batch(what)) if what.contains("batch")));
}

#[test]
fn what_does_not_fit_is_said() {
    let model = model(TWO, 1);
    let said =
        |of: &[&str], by: &[&str]| model.gradients(of, by).err().map(|e| e.to_string()).unwrap_or_default();
    assert_eq!(said(&["c"], &["x"]), "the network has no output `c`");
    assert_eq!(
        said(&["a"], &["d.weigth"]),
        "the network has no input or weight `d.weigth`; did you mean `d.weight`?"
    );
    assert_eq!(said(&["a", "a"], &["x"]), "`a` is given twice");
    assert_eq!(said(&["a"], &["x", "x"]), "`x` is given twice");
    let mut gradients = model.gradients(&["a"], &["x"]).expect("they exist");
    let (x, two, one) = ([0.0; 24], [0.0; 2], [0.0]);
    let inputs: [(&str, TensorView<'_>); 3] =
        [("x", (&x[..]).into()), ("unused", (&two[..]).into()), ("label", (&one[..]).into())];
    let mut said =
        |inputs: &[(&str, TensorView<'_>)], by: &[(&str, TensorView<'_>)]| match gradients.run(inputs, by) {
            Ok(_) => panic!("it ran"),
            Err(e) => e.to_string(),
        };
    assert!(said(&inputs, &[]).starts_with("output `a` is [n: 1, h: 3, w: 4, c: 3]: it needs a cotangent"));
    assert_eq!(
        said(&inputs, &[("a", (&one[..]).into())]),
        "`a` is declared as [n: 1, h: 3, w: 4, c: 3], given is 1 elements"
    );
    assert_eq!(said(&inputs, &[("b", (&one[..]).into())]), "the network has no output with gradients `b`");
    let a = [0.0; 36];
    assert_eq!(
        said(&inputs[..1], &[("a", (&a[..]).into())]),
        RunError::Missing { name: "unused".into() }.to_string()
    );
    assert_eq!(said(&inputs, &[("a", (&a[..]).into()), ("a", (&a[..]).into())]), "`a` is given twice");
    let kinked =
        crate::gradients::model("net Hard(x: [c: 3, h: 4, w: 4]) -> [c: 3, h: 4, w: 4] { x |> lrn }", 1);
    assert!(kinked.gradients(&["out"], &["x"]).is_ok());
}

const SMALL: &str = "
net Small(image: [c: 1, h: 8, w: 8]) -> [c: 10] { image |> avgpool(2x2) |> dense(10) as out }
train Small {
    data digits  validate 0.1  loss cross_entropy(out, label)  optimizer sgd(rate: 0.1)
    batch 256  epochs 3  seed 1  metric accuracy(out, label)
}";

/// Notes what it is told; stops, fails or changes weights where it is told to.
#[derive(Default)]
struct Log {
    begun: Vec<u64>,
    steps: u64,
    epochs: u64,
    stop: Option<u64>,
    fail: Option<u64>,
    clear: bool,
}

impl Callbacks for Log {
    fn begin(&mut self, trainer: &mut Trainer, epoch: u64) -> Result<Control, TrainError> {
        assert_eq!(trainer.history().len() as u64, epoch);
        self.begun.push(epoch);
        Ok(Control::Continue)
    }

    fn step(&mut self, trainer: &Trainer, step: &Step) -> Result<Control, TrainError> {
        self.steps += 1;
        assert!(step.loss.is_finite() && trainer.done() == self.steps);
        if self.fail == Some(self.steps) {
            return Err(TrainError::Setting("enough of it".into()));
        }
        Ok(if self.stop == Some(self.steps) { Control::Stop } else { Control::Continue })
    }

    fn epoch(&mut self, trainer: &mut Trainer, epoch: &Epoch) -> Result<Control, TrainError> {
        assert_eq!(epoch.epoch, self.epochs);
        self.epochs += 1;
        if self.clear {
            let mut weights = trainer.weights()?;
            weights.values_mut().for_each(|w| w.data_mut().fill(0.0));
            trainer.set_weights(&weights)?;
        }
        Ok(Control::Continue)
    }
}

fn small() -> Trainer {
    let (options, places) = (Options::default().threads(1), Places::default());
    Trainer::open(&options, ("small", SMALL), &NoFiles, None, &places).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn callbacks_stop_fail_and_change_weights() {
    let mut whole = small();
    let mut log = Log::default();
    assert!(whole.run_with(&mut log).expect("a training"));
    let batches = whole.batches();
    assert_eq!((log.begun, log.steps, log.epochs), (vec![0, 1, 2], 3 * batches, 3));
    // Stopped within an epoch it goes on there, and ends with the same weights.
    let mut parts = small();
    let mut log = Log { stop: Some(batches + 2), ..Log::default() };
    assert!(!parts.run_with(&mut log).expect("a training"));
    assert_eq!((log.steps, log.epochs), (batches + 2, 1));
    assert!(parts.run_with(&mut log).expect("a training"));
    assert_eq!((log.begun, log.steps, log.epochs), (vec![0, 1, 2], 3 * batches, 3));
    assert_eq!(parts.weights().expect("memory"), whole.weights().expect("memory"));
    let mut failing = small();
    let failed = failing.run_with(&mut Log { fail: Some(2), ..Log::default() });
    assert!(matches!(failed, Err(TrainError::Setting(what)) if what == "enough of it"));
    assert_eq!(failing.done(), 2);
    let mut cleared = small();
    assert!(cleared.run_with(&mut Log { clear: true, ..Log::default() }).expect("a training"));
    assert!(cleared.weights().expect("memory").values().all(|w| w.data().iter().all(|x| *x == 0.0)));
}
