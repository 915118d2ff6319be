//! Ten steps of each optimizer beside PyTorch's from the same weight and gradients: `tests/peers/torch_optim.py` wrote them.

use cnnc::formats::safetensors::Weights;
use cnnc::graph::{Graph, ValueId};
use cnnc::ops::OpError;
use cnnc::ops::init::Init;
use cnnc::session::{Compiler, Options};
use cnnc::tensor::ty::TensorTy;
use cnnc::train::Optimizer;
use cnnc::train::optimizer::Scalars;

use crate::support::root;

/// Of each weight, relative to the largest.
const TOLERANCE: f32 = 2e-6;

fn runs() -> Vec<(&'static str, Optimizer, f64)> {
    let sgd = |momentum, nesterov| Optimizer::Sgd { momentum, nesterov, decay: 0.01 };
    let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
    let rms = |momentum, decay| Optimizer::RmsProp { rho: 0.99, eps: 1e-8, momentum, decay };
    vec![
        ("sgd", sgd(0.0, false), 0.1),
        ("momentum", sgd(0.9, false), 0.1),
        ("nesterov", sgd(0.9, true), 0.1),
        ("adam", Optimizer::Adam { beta1, beta2, eps, decay: 0.01 }, 0.05),
        ("adamw", Optimizer::AdamW { beta1, beta2, eps, decay: 0.1 }, 0.05),
        ("rmsprop", rms(0.0, 0.01), 0.02),
        ("rmsprop_momentum", rms(0.9, 0.0), 0.02),
        ("adagrad", Optimizer::Adagrad { eps: 1e-10, decay: 0.01 }, 0.1),
    ]
}

#[test]
fn optimizers_step_as_pytorchs_do() {
    let mut file = Weights::open(&root().join("tests/files/torch/optim.safetensors")).expect("the fixture");
    let mut read = |name: &str| file.read(name).expect("sound").unwrap_or_else(|| panic!("no {name}")).data;
    let (start, grads) = (read("start"), read("grads"));
    for (name, optimizer, rate) in runs() {
        let want = read(name);
        let kernel = TensorTy::new([("o", 3), ("i", 4)]).expect("small");
        let one = TensorTy::new::<&str>([]).expect("small");
        let mut graph = Graph::new(name);
        let grad = graph.input("grad", kernel.clone(), vec![0, 1]);
        let [rate_in, size, root] = ["rate", "size", "root"].map(|n| graph.input(n, one.clone(), Vec::new()));
        let weight = graph.param("w", kernel, Init::Values(start.clone().into()), true);
        let scalars = Scalars { rate: rate_in, size: Some(size), root: Some(root) };
        let open = |_: &mut Graph, new: ValueId, _: ValueId| Ok::<ValueId, OpError>(new);
        let (next, slots) = optimizer.apply(&mut graph, (weight, grad), &scalars, &open).expect("fits");
        slots.into_iter().chain([(weight, next)]).for_each(|(p, v)| graph.update(p, v));
        let mut model =
            Compiler::new(Options::default()).compile_graph(graph).unwrap_or_else(|e| panic!("{e}"));
        for (t, (grad, want)) in grads.chunks(12).zip(want.chunks(12)).enumerate() {
            let (size, root) = optimizer.corrections(t as u64 + 1, rate);
            let [rate, size, root] = [rate, size, root].map(|x| [x as f32]);
            let inputs = [
                ("grad", grad.into()),
                ("rate", rate[..].into()),
                ("size", size[..].into()),
                ("root", root[..].into()),
            ];
            model.run_mut(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
            let got = model.weight("w").expect("memory").expect("there is one");
            let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = got.data().iter().zip(want).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= TOLERANCE * scale, "{name}, step {t}: {worst} of {scale}");
        }
    }
}
