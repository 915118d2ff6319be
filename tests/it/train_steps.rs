//! Ten training steps of whole networks beside PyTorch's, from the same weights and on the same batches:
//! `tests/peers/train_steps.py` wrote the results and says how starts and batches are made by a counter.

use std::collections::BTreeMap;

use cnnc::formats::safetensors::Weights;
use cnnc::graph::ValueId;
use cnnc::ops::cross_entropy::CrossEntropy;
use cnnc::passes::Level;
use cnnc::resolve::NoFiles;
use cnnc::session::{Compiler, Model, Options};
use cnnc::tensor::owned::{Tensor, TensorView};
use cnnc::tensor::ty::TensorTy;
use cnnc::train::mode::training;
use cnnc::train::{Optimizer, Settings, step};

use crate::support::{read, root};

/// Of the loss, of a weight's norm, and of each element relative to the largest of its tensor.
const TOLERANCE: f64 = 1e-4;

/// Name, samples of a batch, classes.
const NETS: [(&str, usize, usize); 4] = [("lenet", 8, 10), ("resnet", 6, 4), ("unet", 4, 3), ("label", 3, 4)];

fn optimizers() -> [(&'static str, Optimizer, f64); 2] {
    let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
    [
        ("sgd", Optimizer::Sgd { momentum: 0.9, nesterov: false, decay: 5e-4 }, 0.05),
        ("adamw", Optimizer::AdamW { beta1, beta2, eps, decay: 0.05 }, 2e-3),
    ]
}

/// Number `i` of the sequence `name`: 24 bits.
fn bits(name: &str, i: usize) -> u64 {
    let seed =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 40
}

fn uniform(name: &str, len: usize) -> Vec<f32> {
    (0..len).map(|i| bits(name, i) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}

fn start(net: &str, name: &str, dims: &[usize]) -> Vec<f32> {
    let len = dims.iter().product();
    let u = uniform(&format!("{net}/w/{name}"), len);
    let kernel = 1.0 / (dims[1..].iter().product::<usize>() as f64).sqrt();
    match name {
        _ if name.ends_with("running_mean") => vec![0.0; len],
        _ if name.ends_with("running_var") => vec![1.0; len],
        _ if name.ends_with("bias") => u.iter().map(|x| x * 0.1).collect(),
        _ if dims.len() == 1 => u.iter().map(|x| 1.0 + x * 0.1).collect(),
        _ => u.iter().map(|x| x * kernel as f32).collect(),
    }
}

/// The training step of a net, from the start.
fn model(net: &str, batch: usize, optimizer: Optimizer, threads: usize, level: Level) -> Model {
    let text = read(&root().join(format!("tests/files/torch/steps/{net}.cnn")));
    let compiler = Compiler::new(Options::default().batch(batch).threads(threads).level(level));
    let checked = compiler.check(net, &text, &NoFiles);
    let network = checked.net(None).unwrap_or_else(|| panic!("{net}: {:?}", checked.diagnostics()));
    let mut graph = network.graph.clone();
    let out = graph.outputs[0].value;
    let grid: Vec<_> = {
        let ty = &graph.value(out).ty;
        ty.grid_names().iter().cloned().zip(ty.grid_dims().iter().copied()).collect()
    };
    let ty = TensorTy::grid(batch, 1, &grid).expect("small");
    let label = graph.input("label", ty, (0..2 + grid.len()).collect());
    let rule = CrossEntropy { logits: true, smooth: 0.0, ignore: None };
    let (loss, _) = graph.op("loss", rule, &[out, label]).expect("it fits");
    graph.outputs.clear();
    graph.output("each", loss, vec![0, 1]);
    let (mut graph, drops) = training(&graph).expect("batches have variances");
    assert!(drops.is_empty());
    let loss: ValueId = graph.outputs.pop().expect("the loss").value;
    let settings = Settings { optimizer, clip: None, accumulate: 1, average: None };
    step::build(&mut graph, loss, &settings).unwrap_or_else(|e| panic!("{net}: {e}"));
    let mut model = compiler.compile_graph(graph).unwrap_or_else(|e| panic!("{net}: {e}"));
    let mut starts: BTreeMap<String, Tensor> = model
        .weights()
        .into_iter()
        .map(|w| {
            let dims: Vec<usize> = w.axes.iter().map(|a| a.1).collect();
            // Slots of the optimizer begin at 0.
            let data = match w.name.contains('@') {
                true => vec![0.0; dims.iter().product()],
                false => start(net, &w.name, &dims),
            };
            (w.name, Tensor::new(&w.axes, data).expect("its extents"))
        })
        .collect();
    model.load_weights(&mut starts).unwrap_or_else(|e| panic!("{net}: {e}"));
    model
}

/// One step on the batch `t`; its loss.
fn advance(model: &mut Model, net: &str, classes: usize, t: usize, optimizer: &Optimizer, rate: f64) -> f32 {
    let (size, correction) = optimizer.corrections(t as u64 + 1, rate);
    let inputs: Vec<(String, Vec<f32>)> = model
        .inputs()
        .iter()
        .map(|port| {
            let name = &*port.name;
            let data = match name {
                step::RATE => vec![rate as f32],
                step::SIZE => vec![size as f32],
                step::ROOT => vec![correction as f32],
                "label" => {
                    let class = |i| (bits(&format!("{net}/label/{t}"), i) % classes as u64) as f32;
                    (0..port.len()).map(class).collect()
                }
                _ => uniform(&format!("{net}/{name}/{t}"), port.len()),
            };
            (name.to_owned(), data)
        })
        .collect();
    let views: Vec<(&str, TensorView<'_>)> = inputs.iter().map(|(n, d)| (n.as_str(), d.into())).collect();
    let outputs = model.run_mut(&views).unwrap_or_else(|e| panic!("{net}: {e}"));
    outputs[step::LOSS].data()[0]
}

fn tensors(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let of = |name: &str| model.weight(name).expect("memory").expect("it has it").into_data();
    model
        .weights()
        .into_iter()
        .filter(|w| !w.name.contains('@'))
        .map(|w| (w.name.clone(), of(&w.name)))
        .collect()
}

fn norm(data: &[f32]) -> f64 {
    data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn ten_steps_are_those_of_pytorch() {
    let mut wrong = Vec::new();
    for (net, batch, classes) in NETS {
        let path = root().join(format!("tests/files/torch/steps/{net}.safetensors"));
        let mut file = Weights::open(&path).expect("the fixture");
        for (name, optimizer, rate) in optimizers() {
            let mut want = |key: &str| {
                let found = file.read(&format!("{name}/{key}")).expect("sound");
                found.unwrap_or_else(|| panic!("{net}: no {name}/{key}")).data
            };
            let (losses, norms) = (want("loss"), want("norms"));
            let mut models = [1, 2].map(|threads| model(net, batch, optimizer, threads, Level::All));
            let far = |got: f64, want: f32| {
                let error = (got - f64::from(want)).abs() / f64::from(want).abs();
                (error > TOLERANCE || error.is_nan()).then_some(error)
            };
            let trained: Vec<String> =
                tensors(&models[0]).into_keys().filter(|n| !n.contains("running_")).collect();
            assert_eq!(norms.len(), trained.len() * losses.len());
            for (t, (loss, norms)) in losses.iter().zip(norms.chunks(trained.len())).enumerate() {
                let [one, two] = [0, 1].map(|i| advance(&mut models[i], net, classes, t, &optimizer, rate));
                assert_eq!(one.to_bits(), two.to_bits(), "{net}, {name}, step {t}: threads");
                if let Some(e) = far(f64::from(one), *loss) {
                    wrong.push(format!("{net}, {name}, step {t}: the loss is {one}, not {loss}: {e:e}"));
                }
                let now = tensors(&models[0]);
                for (weight, want) in trained.iter().zip(norms) {
                    if let Some(e) = far(norm(&now[weight]), *want) {
                        wrong.push(format!("{net}, {name}, step {t}: the norm of {weight} is off by {e:e}"));
                    }
                }
            }
            let [one, two] = [0, 1].map(|i| tensors(&models[i]));
            let all = |t: &BTreeMap<String, Vec<f32>>| -> Vec<u32> {
                t.values().flatten().map(|x| x.to_bits()).collect()
            };
            assert!(all(&one) == all(&two), "{net}, {name}: two threads give other bits");
            for (weight, got) in &one {
                let want = want(&format!("w/{weight}"));
                assert_eq!(want.len(), got.len(), "{net}: {weight}");
                let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
                let worst = got.iter().zip(&want).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
                if f64::from(worst) > TOLERANCE || worst.is_nan() {
                    wrong.push(format!("{net}, {name}: {weight} is off by {worst:e}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn computing_values_twice_lowers_memory_and_changes_no_bit() {
    let (_, optimizer, rate) = optimizers()[0];
    let mut lower = Vec::new();
    for (net, batch, classes) in NETS {
        let mut models = [Level::Kept, Level::All].map(|level| model(net, batch, optimizer, 2, level));
        for t in 0..3 {
            let [kept, twice] = [0, 1].map(|i| advance(&mut models[i], net, classes, t, &optimizer, rate));
            assert_eq!(kept.to_bits(), twice.to_bits(), "{net}, step {t}");
        }
        let [kept, twice] = [0, 1].map(|i| tensors(&models[i]));
        assert!(kept == twice, "{net}: other weights");
        let [kept, twice] = [0, 1].map(|i| models[i].report().sizes);
        assert!(
            twice.arena <= kept.arena,
            "{net}: {} bytes, {} with all values kept",
            twice.arena,
            kept.arena
        );
        if twice.arena < kept.arena {
            lower.push(net);
        }
    }
    // Normalisations are what is cheap to compute again.
    assert_eq!(lower, ["resnet", "unet"]);
}
