//! Gradients of whole networks: every example at a reduced size and seeded random networks, in training mode. All gradients of a
//! network are held at once against the slope of its `f64` evaluation along random directions; machine code at one thread and two
//! gives the same bits, and the loop interpreter the same numbers.
//!
//! `CNNC_RANDOM=N` and `CNNC_RANDOM_SEED=S` say how many random networks there are, and where they start.

use std::collections::BTreeMap;

use cnnc::grad::gradients;
use cnnc::graph::eval::{Given, outputs};
use cnnc::graph::{Def, Graph, ValueId};
use cnnc::ops::{Op, init};
use cnnc::resolve::NoFiles;
use cnnc::session::{Compiler, Files, Model, Options, Outputs};
use cnnc::support::random::Random;
use cnnc::tensor::array::Array;
use cnnc::tensor::owned::{Tensor, TensorView};
use cnnc::tensor::ty::TensorTy;
use cnnc::train::mode::training;

use crate::examples::{names, reduced};
use crate::support::{read, root};

/// Of the length of all gradients, each tensor's scaled to 1: between machine code and the slope.
const TOLERANCE: f64 = 2e-3;

/// Of the greatest element of a gradient: between machine code and the loop interpreter.
const ENGINES: f32 = 1e-3;

/// How far the point is moved, in units of a direction whose greatest element is 1.
const STEP: f64 = 1e-6;

/// Channels of networks made for large pictures, divided by eight: whatever number is no extent of a kernel.
fn narrow(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let len = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
        let (before, number) = (&rest[..at], &rest[at..at + len]);
        out.push_str(before);
        match number.parse::<u64>() {
            Ok(n) if n >= 32 && !before.ends_with('.') && !before.trim_end().ends_with('/') => {
                out.push_str(&(n / 8).to_string())
            }
            Ok(_) | Err(_) => out.push_str(number),
        }
        rest = &rest[at + len..];
    }
    out + rest
}

/// Numbers for all that a graph reads, moved by `by` along a direction.
struct Point<'a> {
    inputs: &'a [Vec<f32>],
    params: &'a BTreeMap<ValueId, Vec<f32>>,
    along: &'a BTreeMap<ValueId, Vec<f64>>,
    ports: &'a [ValueId],
    by: f64,
}

impl Point<'_> {
    fn array(&self, id: ValueId, ty: &TensorTy, data: &[f32]) -> Array {
        let mut array = Array::from_f32(ty.dims(), data);
        if let Some(d) = self.along.get(&id) {
            array.data.iter_mut().zip(d).for_each(|(x, d)| *x += self.by * d);
        }
        array
    }
}

impl Given for Point<'_> {
    fn input(&self, position: usize, ty: &TensorTy) -> Array {
        self.array(self.ports[position], ty, &self.inputs[position])
    }

    fn param(&self, id: ValueId, ty: &TensorTy) -> Array {
        self.array(id, ty, &self.params[&id])
    }
}

/// Class numbers where a loss takes them.
fn classes(graph: &Graph, input: ValueId) -> Option<usize> {
    graph.ids().find_map(|id| match &graph.value(id).def {
        Def::Op { op: Op::CrossEntropy(_), inputs }
            if inputs[1] == input && graph.value(input).ty.c() == 1 =>
        {
            Some(graph.value(inputs[0]).ty.c())
        }
        Def::Op { .. } | Def::Input(_) | Def::Param { .. } | Def::Const(_) => None,
    })
}

fn bits(outputs: &Outputs) -> Vec<u32> {
    outputs.iter().flat_map(|(_, t)| t.data().iter().map(|x| x.to_bits())).collect()
}

fn compiled(graph: &Graph, threads: usize, params: &BTreeMap<ValueId, Vec<f32>>) -> Result<Model, String> {
    let compiler = Compiler::new(Options::default().threads(threads));
    let mut model = compiler.compile_graph(graph.clone()).map_err(|e| e.to_string())?;
    let mut weights = BTreeMap::new();
    for (id, data) in params {
        let value = graph.value(*id);
        let axes: Vec<_> = value.ty.names().iter().cloned().zip(value.ty.dims().iter().copied()).collect();
        weights.insert(value.name.clone(), Tensor::new(&axes, data.clone()).map_err(|e| e.to_string())?);
    }
    model.load_weights(&mut weights).map_err(|e| e.to_string())?;
    Ok(model)
}

/// Checks all gradients of a net along some directions.
fn check(net: &Graph, seed: u64, directions: u64) -> Result<(), String> {
    let (mut graph, _) = training(net).map_err(|e| e.message)?;
    graph.updates.clear();
    // Buffers in the order of their types: order is not what is checked here.
    graph.inputs.iter_mut().for_each(|p| p.order.sort_unstable());
    let ports: Vec<ValueId> = graph.inputs.iter().map(|p| p.value).collect();
    let mut inputs = Vec::new();
    for port in &graph.inputs {
        let (random, classes) = (Random::new(seed, &port.name), classes(&graph, port.value));
        let draw =
            |i: u64| classes.map_or_else(|| random.normal(i) as f32, |k| random.below(i, k as u64) as f32);
        inputs.push((0..graph.value(port.value).ty.len() as u64).map(draw).collect::<Vec<f32>>());
    }
    let mut params = BTreeMap::new();
    for id in graph.params() {
        let value = graph.value(id);
        let Def::Param { init, trainable } = &value.def else { continue };
        let mut data = init::values(init, &value.ty, &value.name, seed);
        if *trainable {
            // Off the start, where biases of 0 leave rectifiers at their kink.
            let random = Random::new(seed, &format!("{}.off", value.name));
            data.iter_mut().zip(0..).for_each(|(x, i)| *x += 0.02 * random.normal(i) as f32);
        }
        params.insert(id, data);
    }
    let wrt: Vec<ValueId> = graph
        .ids()
        .filter(|id| match &graph.value(*id).def {
            Def::Input(_) => classes(&graph, *id).is_none(),
            Def::Param { trainable, .. } => *trainable,
            Def::Const(_) | Def::Op { .. } => false,
        })
        .collect();
    let forward = graph.clone();
    let (mut seeds, mut weights) = (Vec::new(), Vec::new());
    for port in &forward.outputs {
        let ty = graph.value(port.value).ty.clone();
        let random = Random::new(seed, &format!("{}.weights", port.name));
        let data: Vec<f32> = (0..ty.len() as u64).map(|i| random.uniform(i, -1.0, 1.0)).collect();
        weights.push(data.clone());
        seeds.push((port.value, graph.constant("weights", ty, data)));
    }
    let grads = gradients(&mut graph, &seeds, &wrt).map_err(|e| e.to_string())?;
    graph.outputs.clear();
    let found: Vec<(ValueId, ValueId)> =
        wrt.iter().zip(&grads).filter_map(|(w, g)| Some((*w, (*g)?))).collect();
    if found.is_empty() {
        return Ok(());
    }
    for (k, (_, g)) in found.iter().enumerate() {
        graph.output(&format!("g{k}"), *g, (0..graph.value(*g).ty.dims().len()).collect());
    }
    let views: Vec<(&str, TensorView<'_>)> =
        graph.inputs.iter().zip(&inputs).map(|(p, data)| (&*p.name, data.into())).collect();
    let [one, two] = [1, 2].map(|threads| compiled(&graph, threads, &params));
    let (one, two) = (one?, two?);
    let got = one.run(&views).map_err(|e| e.to_string())?;
    if bits(&got) != bits(&two.run(&views).map_err(|e| e.to_string())?) {
        return Err("two threads give other bits".into());
    }
    let greatest = |t: &Tensor| t.data().iter().fold(0f32, |m, x| m.max(x.abs()));
    // Gradients that cancel to nothing (a bias before a normalisation) are noise of what cancels.
    let floor = got.iter().map(|(_, t)| greatest(t)).fold(1e-3, f32::max) * 1e-3;
    let loops = one.run_interpreted(&views).map_err(|e| e.to_string())?;
    for ((name, a), (_, b)) in got.iter().zip(loops.iter()) {
        let scale = greatest(a).max(floor);
        let worst = a.data().iter().zip(b.data()).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
        if worst > ENGINES || worst.is_nan() {
            return Err(format!("{name}: the loop interpreter is off by {worst:e}"));
        }
    }
    let arrays: Vec<&[f32]> = got.iter().map(|(_, t)| t.data()).collect();
    let length = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let longest = arrays.iter().map(|a| length(a)).fold(0.0, f64::max).max(1e-6);
    for turn in 0..directions {
        let mut along: BTreeMap<ValueId, Vec<f64>> = BTreeMap::new();
        for ((id, _), array) in found.iter().zip(&arrays) {
            let random = Random::new(seed, &format!("{}.direction", graph.value(*id).name)).stream(turn);
            // Each tensor counts alike, but for those whose gradients cancel to nothing.
            let by = 1.0 / length(array).max(1e-3 * longest);
            along.insert(*id, (0..array.len() as u64).map(|i| by * random.normal(i)).collect());
        }
        let most = along.values().flatten().fold(0f64, |m, d| m.max(d.abs())).max(f64::MIN_POSITIVE);
        along.values_mut().flatten().for_each(|d| *d /= most);
        let (mut gradient, mut scale) = (0.0, 0.0);
        for ((id, _), array) in found.iter().zip(&arrays) {
            gradient += array.iter().zip(&along[id]).map(|(g, d)| f64::from(*g) * d).sum::<f64>();
            scale += (length(array) / length(array).max(1e-3 * longest) / most).powi(2);
        }
        let at = |by: f64| {
            let point = Point { inputs: &inputs, params: &params, along: &along, ports: &ports, by };
            outputs(&forward, &point)
        };
        let (above, below) = (at(STEP), at(-STEP));
        let slope: f64 = above
            .iter()
            .zip(&below)
            .zip(&weights)
            .flat_map(|((a, b), w)| a.data.iter().zip(&b.data).zip(w))
            .map(|((a, b), w)| (a - b) * f64::from(*w))
            .sum::<f64>()
            / (2.0 * STEP);
        let error = (slope - gradient).abs() / scale.sqrt().max(1e-6);
        if error > TOLERANCE || error.is_nan() {
            return Err(format!(
                "direction {turn}: the slope is {slope:e}, by gradients {gradient:e}: off by {error:e}"
            ));
        }
    }
    Ok(())
}

#[test]
fn examples_have_their_gradients() {
    let mut failed = Vec::new();
    for file in names() {
        let path = root().join("examples").join(&file);
        let text = read(&path);
        let large = [
            "classifiers",
            "densenet",
            "googlenet",
            "mobilenet",
            "resnet18",
            "resnet50",
            "squeezenet",
            "vgg",
        ];
        let text = if large.iter().any(|l| file.starts_with(l)) { narrow(&text) } else { text };
        // Normalisation by a batch needs more than a few elements a channel, or slopes are too steep to measure, and what rounding
        // leaves of two numbers that are nearly equal is most of the gradient.
        let size = |k: &'static str, v: &'static str| match file.as_str() {
            "densenet121.cnn" | "resnet50.cnn" | "mobilenet_v1.cnn" if k == "S" => (k, "64"),
            _ => (k, v),
        };
        let batch = if file == "patches.cnn" { 9 } else { 2 };
        let options = reduced(&file)
            .into_iter()
            .map(|(k, v)| size(k, v))
            .fold(Options::default().batch(batch), |o, (k, v)| o.set(k, v));
        let checked = Compiler::new(options).check(&path.to_string_lossy(), &text, &Files);
        assert!(!checked.has_errors(), "{file}: {:?}", checked.diagnostics());
        for net in &checked.program.nets {
            if let Err(e) = check(&net.graph, 3, 2) {
                failed.push(format!("{file}, {}: {e}", net.name));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn random_networks_have_their_gradients() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (first, count) = (number("CNNC_RANDOM_SEED", 1), number("CNNC_RANDOM", 60));
    let mut failed = Vec::new();
    for seed in first..first + count {
        let text = crate::random::of_seed(seed);
        let checked = Compiler::new(Options::default().batch(3)).check("random", &text, &NoFiles);
        let net = checked.net(None).expect("it checks");
        if let Err(e) = check(&net.graph, seed, 1) {
            failed.push(format!("{e}\nCNNC_RANDOM=1 CNNC_RANDOM_SEED={seed} makes it again:\n{text}"));
        }
    }
    assert!(failed.is_empty(), "{} of {count}\n{}", failed.len(), failed.join("\n"));
}
