//! Gradients of every operation: for each case and each input, the `f64` evaluation of the gradient graph against central
//! differences of the reference, and machine code (each instruction set, one thread and two) against that evaluation.
//!
//! Labels, ties and NaN make kinks, where differences say nothing; every case whose numbers are drawn from a continuous
//! distribution must have elements without.

use std::collections::{BTreeMap, BTreeSet};

use cnnc::grad::check::{Probe, Slope};
use cnnc::grad::{filled, gradients};
use cnnc::graph::eval::{Given, outputs};
use cnnc::graph::verify::verify;
use cnnc::graph::{Def, Graph, ValueId};
use cnnc::kernels::isa::Isa;
use cnnc::ops::case::{Case, Fill};
use cnnc::ops::identity::Identity;
use cnnc::ops::init::Init;
use cnnc::ops::{Op, all_cases};
use cnnc::session::{Compiler, Model, NoFiles, Options, Outputs, RunError};
use cnnc::support::random::Random;
use cnnc::tensor::array::Array;
use cnnc::tensor::owned::TensorView;
use cnnc::tensor::ty::TensorTy;
use cnnc::train::mode::training;

const SEED: u64 = 21;

/// Elements of one tensor that are moved, at most.
const MOVED: usize = 10;

/// Of the largest gradient: between differences and the `f64` evaluation.
const EXACT: f64 = 2e-6;

/// Of the largest gradient: between machine code and the `f64` evaluation.
const MACHINE: f64 = 4e-5;

/// Operations with an input that has no gradient, whatever their attributes, each for the reason it gives.
const REFUSING: &[&str] = &[
    "aggregate",
    "band_fold",
    "bands",
    "blend",
    "conv_grad_fold",
    "conv_grad_sums",
    "cross_entropy",
    "cross_entropy_grad",
    "fold",
    "loss_grad",
    "lrn_grad",
    "optim",
    "pool_grad",
    "squares",
    "winograd",
    "winograd_fold",
    "winograd_grad",
    "winograd_weight",
];

/// What a run hands in, by value.
#[derive(Default)]
struct Values {
    inputs: Vec<Vec<f32>>,
    params: BTreeMap<ValueId, Vec<f32>>,
}

impl Given for Values {
    fn input(&self, position: usize, ty: &TensorTy) -> Array {
        Array::from_f32(ty.dims(), &self.inputs[position])
    }

    fn param(&self, id: ValueId, ty: &TensorTy) -> Array {
        Array::from_f32(ty.dims(), &self.params[&id])
    }
}

/// A graph under construction with what its inputs hold.
#[derive(Default)]
struct Build {
    graph: Graph,
    values: Values,
}

impl Build {
    fn put(&mut self, name: &str, ty: &TensorTy, data: Vec<f32>) -> ValueId {
        if ty.is_activation() {
            self.values.inputs.push(data);
            return self.graph.input(name, ty.clone(), (0..ty.dims().len()).collect());
        }
        let id = self.graph.param(name, ty.clone(), Init::Constant(0.0), true);
        self.values.params.insert(id, data);
        id
    }

    /// The operation of a case with a seed for its result: inputs, result, seed.
    fn case(&mut self, case: &Case, prefix: &str) -> (Vec<ValueId>, ValueId, ValueId) {
        let put = |(i, ty): (usize, &TensorTy)| self.put(&format!("{prefix}x{i}"), ty, case.data(i, SEED));
        let inputs: Vec<ValueId> = case.inputs.iter().enumerate().map(put).collect();
        let (y, _) = self.graph.op(&format!("{prefix}y"), case.op.clone(), &inputs).expect("a case fits");
        let ty = self.graph.value(y).ty.clone();
        let random = Random::new(SEED, &format!("{prefix}seed"));
        let seed = (0..ty.len() as u64)
            .map(|i| random.uniform(i, 0.25, 1.0) * [1.0, -1.0][random.below(!i, 2) as usize]);
        let seed = seed.collect();
        let seed = self.put(&format!("{prefix}seed"), &ty, seed);
        (inputs, y, seed)
    }
}

/// Compares `got` with what differences say at some elements; how many could be compared.
fn differences(probe: &Probe<'_>, id: ValueId, got: Option<&Array>) -> Result<usize, String> {
    let len = probe.array(id).data.len();
    let random = Random::new(SEED, "elements");
    let scale = got
        .map_or(0.0, |g| g.data.iter().fold(0.0f64, |m, x| if x.is_finite() { m.max(x.abs()) } else { m }));
    let mut compared = 0;
    for k in 0..len.min(MOVED) {
        let i = if len <= MOVED { k } else { random.below(k as u64, len as u64) as usize };
        let Slope::Is(slope) = probe.slope(id, i) else { continue };
        let value = got.map_or(0.0, |g| g.data[i]);
        compared += 1;
        let error = (value - slope).abs();
        if error > EXACT * scale.max(1e-2) || error.is_nan() {
            return Err(format!("element {i}: gradient {value}, by differences {slope}"));
        }
    }
    Ok(compared)
}

/// Whether differences can say something of a case: numbers from a continuous distribution.
fn smooth(case: &Case) -> bool {
    case.fill.iter().all(|f| matches!(f, Fill::Normal | Fill::Uniform(..)))
}

/// Appends the gradients of a case to `all` as outputs; what rules refuse, and what differences say of the rest.
fn one_case(
    module: &str,
    case: &Case,
    number: usize,
    all: &mut Build,
    refused: &mut BTreeSet<String>,
) -> Result<(), String> {
    let mut alone = Build::default();
    let (inputs, y, seed) = alone.case(case, "");
    let forward = alone.graph.clone();
    let r = Array::from_f32(forward.value(y).ty.dims(), &given(&alone.values, &forward, seed));
    let probe = Probe::new(&forward, &alone.values, vec![(y, r)]);
    let (ours, result, ours_seed) = all.case(case, &format!("{number}_"));
    for (i, x) in inputs.iter().enumerate() {
        let mut graph = forward.clone();
        let grad = match gradients(&mut graph, &[(y, seed)], &[*x]) {
            Ok(grads) => grads[0],
            Err(e) => {
                refused.insert(module.to_owned());
                assert!(!e.reason.is_empty() && e.to_string().contains(&e.reason));
                continue;
            }
        };
        let value = grad.map(|g| {
            graph.output("g", g, (0..graph.value(g).ty.dims().len()).collect());
            outputs(&graph, &alone.values).remove(0)
        });
        if let Op::Identity(Identity::StopGradient) = case.op {
            assert_eq!(value, None, "it stops the gradient");
            continue;
        }
        let compared = differences(&probe, *x, value.as_ref()).map_err(|e| format!("input {i}: {e}"))?;
        if compared == 0 && smooth(case) && !probe.array(*x).data.is_empty() {
            return Err(format!("input {i}: no element could be compared"));
        }
        let again =
            gradients(&mut all.graph, &[(result, ours_seed)], &[ours[i]]).expect("it worked before")[0];
        if let Some(g) = again {
            let order = (0..all.graph.value(g).ty.dims().len()).collect();
            all.graph.output(&format!("{number}_{i}"), g, order);
        }
    }
    Ok(())
}

/// What a seed holds.
fn given(values: &Values, graph: &Graph, id: ValueId) -> Vec<f32> {
    match graph.inputs.iter().position(|p| p.value == id) {
        Some(i) => values.inputs[i].clone(),
        None => values.params[&id].clone(),
    }
}

fn run(model: &mut Model, build: &Build) -> Vec<Vec<f32>> {
    engine(model, build, Model::run)
}

fn interpreted(model: &mut Model, build: &Build) -> Vec<Vec<f32>> {
    engine(model, build, Model::run_interpreted)
}

type Engine = fn(&Model, &[(&str, TensorView<'_>)]) -> Result<Outputs, RunError>;

fn engine(model: &mut Model, build: &Build, engine: Engine) -> Vec<Vec<f32>> {
    for (id, data) in &build.values.params {
        model.set_weight(&build.graph.value(*id).name, data.into()).expect("a weight of the graph");
    }
    let inputs: Vec<(&str, TensorView<'_>)> = build
        .graph
        .inputs
        .iter()
        .zip(&build.values.inputs)
        .map(|(p, data)| (&*p.name, data.into()))
        .collect();
    engine(model, &inputs).expect("a run").into_vec().into_iter().map(|(_, t)| t.into_data()).collect()
}

fn bits(all: &[Vec<f32>]) -> Vec<u32> {
    all.iter().flatten().map(|x| if x.is_nan() { f32::NAN } else { *x }.to_bits()).collect()
}

/// Machine code of all gradients of a module against their `f64` evaluation; `floor` is the least magnitude that errors are
/// relative to, for gradients that cancel to 0.
fn machine(module: &str, build: &Build, floor: f64, failures: &mut Vec<String>) {
    if build.graph.outputs.is_empty() {
        return;
    }
    let expected = outputs(&build.graph, &build.values);
    let isas = [Isa::baseline(), Isa::detect()];
    for isa in &isas[..if isas[0] == isas[1] { 1 } else { 2 }] {
        let compile = |threads| {
            let options = Options::default().isa(isa.clone()).threads(threads);
            Compiler::new(options).compile_graph(build.graph.clone())
        };
        let results: Vec<Vec<Vec<f32>>> = [1, 2]
            .into_iter()
            .map(|threads| match compile(threads) {
                Ok(mut model) => run(&mut model, build),
                Err(e) => panic!("{module}: {e}"),
            })
            .collect();
        if bits(&results[0]) != bits(&results[1]) {
            failures.push(format!("{module}: {}: two threads give other bits", isa.name()));
        }
        if isa == &isas[0] {
            // The loop interpreter rounds as machine code does but in its elementary functions.
            let mut model = compile(1).unwrap_or_else(|e| panic!("{module}: {e}"));
            let loops = interpreted(&mut model, build);
            for ((port, got), loops) in build.graph.outputs.iter().zip(&results[0]).zip(&loops) {
                let scale =
                    got.iter().fold(floor, |m, x| if x.is_finite() { m.max(f64::from(x.abs())) } else { m });
                let far = |(g, l): (&f32, &f32)| {
                    let apart = (f64::from(*g) - f64::from(*l)).abs();
                    g.to_bits() != l.to_bits()
                        && !(g.is_nan() && l.is_nan())
                        && (apart > MACHINE * scale || apart.is_nan())
                };
                if let Some(i) = got.iter().zip(loops).position(far) {
                    let (g, l) = (got[i], loops[i]);
                    failures
                        .push(format!("{module}: output {} element {i}: {g}, interpreted {l}", port.name));
                }
            }
        }
        for ((port, expected), got) in build.graph.outputs.iter().zip(&expected).zip(&results[0]) {
            let scale =
                expected.data.iter().fold(floor, |m, x| if x.is_finite() { m.max(x.abs()) } else { m });
            for (i, (g, e)) in got.iter().zip(&expected.data).enumerate() {
                let g = f64::from(*g);
                let same = g == *e || (g.is_nan() && e.is_nan());
                let far = (g - e).abs() > MACHINE * scale || (g - e).is_nan();
                if far && !same {
                    failures.push(format!(
                        "{module}: {}: output {} element {i}: {g}, not {e}",
                        isa.name(),
                        port.name
                    ));
                    break;
                }
            }
        }
    }
}

#[test]
fn every_case_has_its_gradient() {
    let (mut failures, mut refused) = (Vec::new(), BTreeSet::new());
    for (module, cases) in all_cases() {
        let mut all = Build::default();
        for (number, case) in cases.iter().enumerate() {
            if let Err(e) = one_case(module, case, number, &mut all, &mut refused) {
                failures.push(format!("{module}: {}: {e}", case.name));
            }
        }
        machine(module, &all, 1e-3, &mut failures);
    }
    let (n, shown) = (failures.len(), failures.into_iter().take(30).collect::<Vec<_>>());
    assert!(n == 0, "{n} failures\n{}", shown.join("\n"));
    let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
    assert_eq!(refused, REFUSING);
}

/// A small network of all that training changes.
const NET: &str = "net Net(x: [c: 2, h: 5, w: 6], label: [c: 1]) -> [c: 1] {
    let y = x |> conv(4, 3x3) |> batchnorm |> tanh |> dropout(0.3) |> conv(3, 2x2, stride: 2) |> batchnorm(momentum: 0.25)
    cross_entropy(y |> dropout(0.5) |> dense(4), label, smooth: 0.1)
}";

/// The network's training graph with values for what it reads.
fn trained() -> Build {
    let compiler = Compiler::new(Options::default().batch(6));
    let checked = compiler.check("net", NET, &NoFiles);
    let (graph, drops) = training(&checked.net(None).expect("it checks").graph).expect("shapes hold");
    assert_eq!(drops.len(), 2);
    verify(&graph).expect("a sound graph");
    let mut values = Values::default();
    for port in &graph.inputs {
        let random = Random::new(SEED, &port.name);
        let draw =
            |i: u64| if &*port.name == "label" { random.below(i, 4) as f32 } else { random.normal(i) as f32 };
        values.inputs.push((0..graph.value(port.value).ty.len() as u64).map(draw).collect());
    }
    for id in graph.params() {
        let value = graph.value(id);
        let random = Random::new(SEED, &value.name);
        let draw = |i: u64| match value.name.rsplit('.').next() {
            Some("running_var") => random.uniform(i, 0.5, 2.0),
            _ => random.normal(i) as f32 * 0.5,
        };
        values.params.insert(id, (0..value.ty.len() as u64).map(draw).collect());
    }
    Build { graph, values }
}

#[test]
fn training_graphs_have_their_gradient() {
    let mut build = trained();
    let forward = build.graph.clone();
    let loss = forward.outputs[0].value;
    let r = Array::filled(forward.value(loss).ty.dims(), 1.0 / 6.0);
    let probe = Probe::new(&forward, &build.values, vec![(loss, r)]);
    let wrt: Vec<ValueId> = forward
        .ids()
        .filter(|id| match &forward.value(*id).def {
            Def::Input(i) => *i == 0,
            Def::Param { trainable, .. } => *trainable,
            Def::Const(_) | Def::Op { .. } => false,
        })
        .collect();
    let seed = filled(&mut build.graph, loss, 1.0 / 6.0);
    let grads = gradients(&mut build.graph, &[(loss, seed)], &wrt).expect("every operation has its gradient");
    let first = build.graph.outputs.len();
    for (k, g) in grads.iter().enumerate() {
        let g = g.expect("everything depends on everything before it");
        assert_eq!(build.graph.value(g).ty, build.graph.value(wrt[k]).ty);
        build.graph.output(&format!("g{k}"), g, (0..build.graph.value(g).ty.dims().len()).collect());
    }
    let exact = outputs(&build.graph, &build.values);
    for (x, g) in wrt.iter().zip(&exact[first..]) {
        // The bias before a batchnorm has no effect: its gradient is 0 up to rounding.
        let name = &forward.value(*x).name;
        let compared = differences(&probe, *x, Some(g)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(compared > 0, "{name}");
    }
    // A run may not be repeated where it changes weights.
    build.graph.updates.clear();
    let mut failures = Vec::new();
    machine("training", &build, 1e-2, &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn running_statistics_are_those_of_the_batch_mixed_in() {
    let build = trained();
    let updates = cnnc::graph::eval::updates(&build.graph, &build.values);
    assert_eq!(updates.len(), 4);
    // The second layer: momentum 1/4 over 6 samples of 1x2 positions.
    let mut norm = build
        .graph
        .ids()
        .filter(|id| matches!(&build.graph.value(*id).def, Def::Op { op: Op::BatchNorm(_), .. }));
    let norm = norm.next_back().expect("two of them");
    let x = build.graph.uses(norm)[0];
    let mut seen = None;
    cnnc::graph::eval::evaluate(&build.graph, &build.values, |id, array| {
        if id == x {
            seen = Some(array.clone());
        }
    });
    let x = seen.expect("it was evaluated");
    let n = x.data.len() / x.dims[1];
    let of = |c: usize| -> Vec<f64> {
        let per = n / x.dims[0];
        (0..n).map(|i| x.data[(i / per * x.dims[1] + c) * per + i % per]).collect()
    };
    for (param, new) in &updates[2..] {
        let name = &build.graph.value(*param).name;
        for (c, new) in new.data.iter().enumerate() {
            let x = of(c);
            let mean = x.iter().sum::<f64>() / n as f64;
            let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
            let batch = if name.ends_with("running_mean") { mean } else { var };
            let old = f64::from(build.values.params[param][c]);
            assert!((new - (0.75 * old + 0.25 * batch)).abs() < 1e-6, "{name}[{c}]");
        }
    }
}

/// Runs `cnnc` on a program in a folder of its own.
fn tool(name: &str, program: &str, args: &[&str]) -> crate::support::Ran {
    let dir = std::env::temp_dir().join(format!("cnnc-grads-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    std::fs::write(dir.join("net.cnn"), program).expect("a file");
    let ran = crate::support::cnnc(&dir, args);
    std::fs::remove_dir_all(&dir).expect("our folder");
    ran
}

#[test]
fn gradcheck_compares_every_tensor() {
    for order in ["1", "2"] {
        let text = "net Net(x: [h: 6, w: 5, c: 2], label: [c: 1]) -> [c: 1] {
            let y = x |> conv(3, 3x3, pad: same) |> tanh |> unconv(2, 2x2, stride: 2) |> sigmoid |> avgpool(3x2) |> softplus
            cross_entropy(y |> dense(4), label)
        }";
        let ran = tool(order, text, &["gradcheck", "net.cnn", "--batch", "2", "--order", order]);
        assert_eq!(ran.code, 0, "order {order}: {}\n{}", ran.out, ran.err);
        assert!(ran.out.contains("7 of 7 tensors agree"), "{}", ran.out);
    }
    // What is below the error of 32 bits cannot hold.
    let text = "net Net(x: [c: 2, h: 6, w: 5]) -> [c: 3] { x |> conv(3, 3x3) |> tanh |> dense(3) }";
    let ran = tool("strict", text, &["gradcheck", "net.cnn", "--tolerance", "1e-12"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.err.contains("wrong gradients: ") && ran.out.contains(" !"), "{}\n{}", ran.out, ran.err);
}

#[test]
fn tests_and_budgets_of_programs_run() {
    let net = "net Net(x: [c: 1, h: 8, w: 9]) -> [c: 3] { x |> conv(2, 3x3, stride: 2) as c1 |> tanh |> dense(3) }\n";
    let good = "test \"sizes\" {\n assert shape(Net.c1) == [c: 2, h: 3, w: 4]\n assert params(Net) == 2 * 10 + 3 * 25\n \
                assert rf(Net.c1) == 3x3\n gradcheck Net\n}\nbudget Net { params <= 100  macs <= 300 }\n";
    let ran = tool("good", &format!("{net}{good}"), &["test", "net.cnn"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.ends_with("2 hold, 0 fail\n"), "{}", ran.out);
    let bad = "test \"wrong\" {\n assert params(Net) == 94\n}\nbudget Net { params <= 10 }\n";
    let ran = tool("bad", &format!("{net}{bad}"), &["test", "net.cnn"]);
    assert_eq!(ran.code, 1, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("line 3: 95 == 94") && ran.out.contains("95 <= 10"), "{}", ran.out);
}

#[test]
fn examples_keep_their_own_promises() {
    let files: Vec<String> = ["all_conv", "audio", "autoencoder", "lenet5", "connectivity", "label"]
        .iter()
        .map(|name| format!("examples/{name}.cnn"))
        .collect();
    let args: Vec<&str> = ["test"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let ran = crate::support::cnnc(crate::support::root(), &args);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
}
