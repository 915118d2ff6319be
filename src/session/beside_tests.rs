//! New elements of weights beside the old ones are the bits of those in place, and stand where their gradients are made.

use super::assemble::{Assembled, Recipe, Timer, assemble};
use super::simulate::simulate;
use super::{Compiler, NoFiles, Options};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::Op;
use crate::ops::cross_entropy::CrossEntropy;
use crate::passes::Level;
use crate::schedule::Target;
use crate::support::random::Random;
use crate::tensor::ty::TensorTy;
use crate::train::step::{self, Clip};
use crate::train::{Optimizer, Settings};

/// Input, batch, and layers that end with 10 classes: gradients in chunks, as one, of several sets of weights, of groups, by minimal
/// filtering folded at once and from partial sums, by shares of the samples, and of full connection.
const NETS: [(&str, usize, &str); 8] = [
    ("[c: 3, h: 12, w: 12]", 4, "conv(16, 3x3, stride: 2) |> relu |> dense(10)"),
    ("[c: 16, h: 3, w: 3]", 2, "conv(32, 2x2) |> relu |> dense(48) |> tanh |> dense(10)"),
    (
        "[c: 4, h: 5, w: 5]",
        3,
        "conv(8, 3x3, share: none) |> relu |> conv(16, 2x2, share: tile(2x1)) |> dense(10)",
    ),
    ("[c: 8, h: 6, w: 6]", 2, "conv(8, 3x3, groups: 8) |> relu |> conv(16, 1x1, groups: 2) |> dense(10)"),
    ("[c: 16, h: 12, w: 12]", 4, "conv(32, 3x3, pad: same) |> relu |> conv(16, 3x3) |> dense(10)"),
    ("[c: 32, h: 16, w: 16]", 1, "conv(144, 3x3, pad: same) |> relu |> dense(10)"),
    (
        "[c: 16, h: 40, w: 40]",
        8,
        "conv(16, 3x3, stride: 2, pad: 1) |> batchnorm |> relu |> avgpool(5x5) |> dense(10)",
    ),
    ("[c: 16, t: 64]", 4, "conv(16, 5) |> relu |> unconv(8, 2, stride: 2) |> dense(10)"),
];

fn trained(shape: &str, batch: usize, body: &str, settings: &Settings) -> Graph {
    let text = format!("net N(x: {shape}) {{ x |> {body} }}");
    let compiler = Compiler::new(Options::default().batch(batch));
    let checked = compiler.check("beside", &text, &NoFiles);
    let net = checked.net(None).unwrap_or_else(|| panic!("{text}: {:?}", checked.program.diagnostics));
    let mut graph = net.graph.clone();
    let out = graph.outputs[0].value;
    let label = graph.input("label", TensorTy::grid::<&str>(batch, 1, &[]).expect("small"), vec![0, 1]);
    let rule = CrossEntropy { logits: true, smooth: 0.0, ignore: None };
    let loss = graph.op("loss", rule, &[out, label]).expect("it fits").0;
    graph.outputs.clear();
    graph.output("each", loss, vec![0, 1]);
    let (mut graph, _) = crate::train::mode::training(&graph).expect("batches have variances");
    let loss = graph.outputs.pop().expect("the loss").value;
    step::build(&mut graph, loss, settings).unwrap_or_else(|e| panic!("{text}: {e}"));
    graph
}

fn assembled(graph: &Graph, beside: bool) -> Assembled {
    let passes = crate::passes::Settings { registers: 28, beside, ..Level::All.into() };
    let recipe = Recipe { passes, threads: Some(2), ..Recipe::default() };
    let target = Target { fma: true, lanes: 16, vector_registers: 32 };
    assemble(graph.clone(), &recipe, &target, &mut Timer::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// The bits of loss, norm and all weights after a step; where `wild`, of infinite numbers.
fn bits(graph: &Graph, program: &Assembled, wild: bool) -> Vec<(String, Vec<u32>)> {
    let random = |name: &str, len: usize| -> Vec<f32> {
        let random = Random::new(5, name);
        (0..len as u64).map(|i| random.normal(i) as f32).collect()
    };
    let inputs = graph.inputs.iter().map(|p| {
        let len = graph.value(p.value).ty.len();
        match &*p.name {
            "label" => (0..len).map(|i| (i % 10) as f32).collect(),
            "x" if wild => vec![f32::INFINITY; len],
            name if name.starts_with('@') => vec![0.25],
            name => random(name, len),
        }
    });
    let planned = &program.work.graph;
    let weight = |id: ValueId| {
        let v = planned.value(id);
        // Slots of squares are positive.
        random(&v.name, v.ty.len())
            .into_iter()
            .map(|x| if v.name.contains('@') { x.abs() } else { 0.1 * x })
            .collect()
    };
    let done =
        simulate(program, &inputs.collect::<Vec<_>>(), &weight, true).unwrap_or_else(|e| panic!("{e}"));
    let numbers = graph.outputs.iter().zip(&done.outputs).map(|(p, data)| (p.name.to_string(), data.clone()));
    let weights = planned
        .params()
        .map(|id| (planned.value(id).name.clone(), program.gather(id, &done.store, done.turned)));
    let of = |(name, data): (String, Vec<f32>)| (name, data.into_iter().map(f32::to_bits).collect());
    numbers.chain(weights).map(of).collect()
}

/// Updated weights of layers whose new elements are not stored by the step that makes their gradient.
fn apart(program: &Assembled) -> Vec<String> {
    let graph = &program.work.graph;
    let root = |id: ValueId| graph.value(id).group.unwrap_or(id);
    let alone = |id: ValueId| matches!(&graph.value(root(id)).def, Def::Op { op: Op::Optim(_), .. });
    graph.updates.iter().filter(|u| alone(u.value)).map(|u| graph.value(u.param).name.clone()).collect()
}

#[test]
fn updates_beside_the_weights_are_the_bits_of_those_in_place() {
    let sgd = Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 1e-2 };
    let adam = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 1e-2 };
    let rms = Optimizer::RmsProp { rho: 0.9, eps: 1e-8, momentum: 0.9, decay: 1e-2 };
    let plain = Settings { optimizer: sgd, clip: None, accumulate: 1, average: None };
    let ways = [
        plain,
        Settings { optimizer: adam, average: Some(0.9), ..plain },
        Settings { optimizer: rms, clip: Some(Clip::Value(0.01)), accumulate: 2, ..plain },
        Settings { clip: Some(Clip::Norm(0.5)), ..plain },
    ];
    for (shape, batch, body) in NETS {
        for settings in &ways {
            let graph = trained(shape, batch, body, settings);
            let (beside, in_place) = (assembled(&graph, true), assembled(&graph, false));
            let waits = matches!(settings.clip, Some(Clip::Norm(_)));
            assert_eq!(
                beside.work.graph.commit.is_none(),
                waits,
                "{body}: only clipping needs all gradients first"
            );
            assert_eq!(in_place.work.graph.commit, None);
            for wild in [false, true] {
                let (a, b) = (bits(&graph, &beside, wild), bits(&graph, &in_place, wild));
                for ((name, a), (other, b)) in a.iter().zip(&b) {
                    assert_eq!(name, other);
                    // Numbers that are none have any bits.
                    let none = |x: &u32| f32::from_bits(*x).is_nan();
                    let same = a.iter().zip(b).all(|(a, b)| a == b || none(a) && none(b));
                    assert!(same, "{body}, {settings:?}, wild {wild}: {name} differs");
                }
            }
            if settings.clip.is_none() {
                assert_eq!(apart(&beside), Vec::<String>::new(), "{body}, {settings:?}");
            }
        }
    }
}

#[test]
fn strips_are_private() {
    let sgd = Optimizer::Sgd { momentum: 0.9, nesterov: false, decay: 0.0 };
    let settings = Settings { optimizer: sgd, clip: None, accumulate: 1, average: None };
    // Maps in blocks of 16, of which a strip has a part, one, or several.
    for (shape, body) in [
        ("[c: 64, h: 6, w: 6]", "conv(64, 1x1) |> relu |> dense(1000)"),
        ("[c: 64, h: 3, w: 3]", "conv(64, 1x1) |> relu |> dense(400) |> dense(10)"),
        ("[c: 64, h: 2, w: 2]", "conv(96, 1x1) |> relu |> dense(304) |> dense(10)"),
        ("[c: 32, h: 20, w: 20]", "conv(32, 1x1) |> relu |> conv(32, 3x3, share: none) |> dense(10)"),
        ("[c: 64, h: 3, w: 3]", "conv(96, 1x1) |> relu |> conv(512, 2x2, stride: 2) |> dense(10)"),
    ] {
        let program = assembled(&trained(shape, 2, body, &settings), true);
        let bufs = || program.nests.iter().flat_map(|n| n.nest.bufs.iter().map(|b| (&n.nest.name, b)));
        assert!(bufs().any(|(_, b)| b.name == "strip"), "{body} has none");
        for (name, b) in bufs().filter(|(_, b)| b.name == "strip") {
            assert!(b.len <= 1 << 15, "{body}: that of {name} has {} elements", b.len);
        }
    }
}

#[test]
fn a_gradient_that_nobody_else_reads_is_not_stored() {
    let sgd = Optimizer::Sgd { momentum: 0.9, nesterov: false, decay: 0.0 };
    let settings = Settings { optimizer: sgd, clip: None, accumulate: 1, average: None };
    for (shape, batch, body) in NETS {
        let graph = trained(shape, batch, body, &settings);
        let program = assembled(&graph, true);
        let (planned, stored) = (&program.work.graph, program.work.graph.stored());
        let mut summed = 0;
        for u in &planned.updates {
            let root = planned.value(u.value).group.unwrap_or(u.value);
            let name = &planned.value(u.param).name;
            let Def::Op { op, inputs } = &planned.value(root).def else {
                panic!("{body}: {name} is not made")
            };
            let types: Vec<&TensorTy> = inputs.iter().map(|i| &planned.value(*i).ty).collect();
            let sums = crate::ops::squares::of(op, &types, &planned.value(root).ty).is_some();
            summed += usize::from(sums && root != u.value);
            assert!(
                root == u.value || !sums || !stored[root.index()],
                "{body}: the gradient of {name} is stored"
            );
        }
        // At least the weight of the last layer and its slot.
        assert!(summed >= 2, "{body}: {summed} updates follow gradients in parts");
    }
}
