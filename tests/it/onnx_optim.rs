//! ONNX's conformance cases of optimizers (Adagrad, Adam, Momentum, Nesterov's, one weight and several) as steps of ours.
//!
//! ONNX adds Adam's `epsilon` to the root of the uncorrected square and corrects the rate alone: that is the rule with a root of 1.
//! Its Momentum scales gradients by `beta` from the second step on; the cases are first steps. The cases lie in
//! `tests/files/onnx/optimizers.zip`; `tests/peers/onnx_cases.py` writes it.

use std::collections::BTreeMap;
use std::io::Read;

use cnnc::formats::onnx::proto::{Model as Proto, Tensor as TensorProto};
use cnnc::formats::onnx::tensor::Raw;
use cnnc::graph::{Graph, ValueId};
use cnnc::ops::OpError;
use cnnc::ops::init::Init;
use cnnc::session::{Compiler, Model, Options};
use cnnc::tensor::owned::TensorView;
use cnnc::tensor::ty::TensorTy;
use cnnc::train::Optimizer;
use cnnc::train::optimizer::Scalars;
use prost::Message;
use prost::bytes::Bytes;

use crate::support::root;

const RTOL: f64 = 1e-5;

/// The files of each case by their path in it.
fn cases() -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let file = std::fs::File::open(root().join("tests/files/onnx/optimizers.zip")).expect("a file");
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let mut cases: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).expect("an entry");
        let path = entry.name().expect("a name").into_owned();
        let (case, inside) = path.split_once('/').expect("a file in a case's folder");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a sound entry");
        cases.entry(case.to_owned()).or_default().insert(inside.to_owned(), bytes);
    }
    cases
}

/// A step of `optimizer` on weights of these elements; the rate and its corrections are inputs.
fn model(optimizer: Optimizer, weights: &[Vec<f32>]) -> Model {
    let one = TensorTy::new::<&str>([]).expect("small");
    let mut graph = Graph::new("optimizer");
    let mut grads = Vec::new();
    for (i, w) in weights.iter().enumerate() {
        let ty = TensorTy::new([("i", w.len())]).expect("small");
        grads.push((graph.input(&format!("g{i}"), ty.clone(), vec![0]), w, ty));
    }
    let [rate, size, root] = ["rate", "size", "root"].map(|n| graph.input(n, one.clone(), Vec::new()));
    let scalars = Scalars { rate, size: Some(size), root: Some(root) };
    let open = |_: &mut Graph, new: ValueId, _: ValueId| Ok::<ValueId, OpError>(new);
    for (i, (grad, w, ty)) in grads.into_iter().enumerate() {
        let weight = graph.param(&format!("w{i}"), ty, Init::Values(w.clone().into()), true);
        let (next, slots) = optimizer.apply(&mut graph, (weight, grad), &scalars, &open).expect("it fits");
        slots.into_iter().chain([(weight, next)]).for_each(|(p, v)| graph.update(p, v));
    }
    Compiler::new(Options::default()).compile_graph(graph).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn optimizers_step_as_onnx_says() {
    let cases = cases();
    for (name, files) in &cases {
        let proto = Proto::decode(Bytes::from(files["model.onnx"].clone())).expect("a model");
        let node = proto.graph.expect("a graph").node.remove(0);
        let tensor = |side: &str, i: usize| -> Vec<f32> {
            let bytes = files[&format!("test_data_set_0/{side}_{i}.pb")].clone();
            let mut tensor = TensorProto::decode(Bytes::from(bytes)).expect("a tensor");
            Raw::of(&mut tensor, None).expect("sound").f32s()
        };
        let number = |key: &str| node.attribute.iter().find(|a| a.name == key).map_or(0.0, |a| a.f);
        let (alpha, beta, eps, decay) =
            (number("alpha"), number("beta"), number("epsilon"), number("norm_coefficient"));
        let (rate, count) = (f64::from(tensor("input", 0)[0]), f64::from(tensor("input", 1)[0]));
        let (optimizer, rate, slots): (_, f64, &[&str]) = match node.op_type.as_str() {
            "Adagrad" => {
                let rate = rate / (1.0 + count * f64::from(number("decay_factor")));
                (Optimizer::Adagrad { eps, decay }, rate, &["square"])
            }
            "Adam" => {
                let power = |b: f32| (0..count as u32).map(|_| f64::from(b)).product::<f64>();
                let corrected =
                    if count > 0.0 { (1.0 - power(beta)).sqrt() / (1.0 - power(alpha)) } else { 1.0 };
                (
                    Optimizer::Adam { beta1: alpha, beta2: beta, eps, decay },
                    rate * corrected,
                    &["mean", "square"],
                )
            }
            "Momentum" => {
                assert!(count == 0.0 || beta == 1.0, "{name}: a damped step");
                let mode = node.attribute.iter().find(|a| a.name == "mode").map(|a| &a.s[..]);
                let nesterov = mode == Some(b"nesterov");
                (Optimizer::Sgd { momentum: alpha, nesterov, decay }, rate, &["momentum"])
            }
            other => panic!("{name}: {other}"),
        };
        // Rate and count, then all weights, all gradients, all slots of each kind.
        let of = node.output.len() / (1 + slots.len());
        assert_eq!(node.input.len(), 2 + of * (2 + slots.len()), "{name}");
        let kind = |k: usize| -> Vec<Vec<f32>> { (0..of).map(|i| tensor("input", 2 + k * of + i)).collect() };
        let grads = kind(1);
        let mut model = model(optimizer, &kind(0));
        for (k, slot) in slots.iter().enumerate() {
            for (i, data) in kind(2 + k).iter().enumerate() {
                model
                    .set_weight(&format!("w{i}@{slot}"), data.into())
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
        let (rate, one, names) = ([rate as f32], [1.0], (0..of).map(|i| format!("g{i}")).collect::<Vec<_>>());
        let all: [(&str, TensorView<'_>); 3] =
            [("rate", (&rate[..]).into()), ("size", (&rate[..]).into()), ("root", (&one[..]).into())];
        let grads = names.iter().zip(&grads).map(|(n, g)| (n.as_str(), g.into()));
        let inputs: Vec<(&str, TensorView<'_>)> = all.into_iter().chain(grads).collect();
        model.run_mut(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (k, what) in [""].into_iter().chain(slots.iter().copied()).enumerate() {
            for i in 0..of {
                let weight = if what.is_empty() { format!("w{i}") } else { format!("w{i}@{what}") };
                let got = model.weight(&weight).expect("memory").expect("there is one").into_data();
                let want = tensor("output", k * of + i);
                assert_eq!(got.len(), want.len(), "{name}: {weight}");
                for (g, w) in got.iter().zip(&want) {
                    let error = (f64::from(*g) - f64::from(*w)).abs();
                    assert!(error <= RTOL * f64::from(w.abs()), "{name}: {weight} is {g}, not {w}");
                }
            }
        }
    }
    assert_eq!(cases.len(), 7);
}
