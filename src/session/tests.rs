//! Programs from graphs built by hand: reference, loop interpreter and machine code held against each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assemble::{Assembled, Recipe, Timer, assemble};
use super::simulate::simulate;
use super::{Compiler, Model, Options};
use crate::graph::eval::{Given, outputs};
use crate::graph::{Def, Graph, ValueId};
use crate::kernels::isa::Isa;
use crate::ops::args::{ArgValue, CallArgs};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::passes::Level;
use crate::runtime::threads::Pool;
use crate::schedule::Target;
use crate::tensor::array::Array;
use crate::tensor::compare::{Tolerance, compare};
use crate::tensor::owned::{Tensor, TensorView};
use crate::tensor::ty::TensorTy;

/// Adds a call as the resolver does: the operation with fresh weights.
fn call(g: &mut Graph, name: &str, word: &str, args: &[(&'static str, ArgValue)], x: &[ValueId]) -> ValueId {
    let info = crate::ops::infos().into_iter().find(|i| i.name == word).expect("an operation");
    let types: Vec<TensorTy> = x.iter().map(|i| g.value(*i).ty.clone()).collect();
    let types: Vec<&TensorTy> = types.iter().collect();
    let made = (info.make)(&CallArgs { values: args.to_vec() }, &types).expect("arguments that fit");
    let mut inputs = x.to_vec();
    for w in &made.weights {
        inputs.push(g.param(&format!("{name}.{}", w.name), w.ty.clone(), w.init.clone(), w.trainable));
    }
    g.op(name, made.ops[0].clone(), &inputs).expect("shapes that fit").0
}

/// Elements without pattern, small enough to keep sums tame.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
        })
        .collect()
}

struct Noise;

impl Noise {
    fn of(id: usize, ty: &TensorTy, name: &str) -> Vec<f32> {
        let scale = (ty.len() as f32 / ty.dims()[0].max(1) as f32).sqrt().recip();
        // Variances must be positive.
        let square = |x: f32| if name.ends_with("var") { x * x + 0.5 } else { x * scale.max(0.1) };
        noise(id as u64 + 1, ty.len()).into_iter().map(square).collect()
    }
}

struct Weights<'a>(&'a Graph);

impl Given for Weights<'_> {
    fn input(&self, position: usize, ty: &TensorTy) -> Array {
        Array::from_f32(ty.dims(), &noise(1000 + position as u64, ty.len()))
    }

    fn param(&self, id: ValueId, ty: &TensorTy) -> Array {
        let name = &self.0.value(id).name;
        Array::from_f32(ty.dims(), &Noise::of(seed_of(name), ty, name))
    }
}

/// Weights keep their numbers through the passes by their names.
fn seed_of(name: &str) -> usize {
    name.bytes().fold(7, |h, b| (h * 31 + usize::from(b)) % 1_000_003)
}

fn check(g: &Graph, level: Level) -> Assembled {
    let target = Target::NARROW;
    let passes = crate::passes::Settings { registers: 28, ..level.into() };
    let recipe = Recipe { passes, threads: Some(2), ..Recipe::default() };
    let program = assemble(g.clone(), &recipe, &target, &mut Timer::default())
        .unwrap_or_else(|e| panic!("{e}\n{}", crate::graph::print::summary(g)));
    let text = crate::graph::print::print(&program.work.graph);
    assert_eq!(crate::graph::parse::parse(&text).as_ref(), Ok(&program.work.graph), "the text parses back");
    let expected = outputs(g, &Weights(g));
    let inputs: Vec<Vec<f32>> = g
        .inputs
        .iter()
        .enumerate()
        .map(|(i, p)| to_user(&Weights(g).input(i, &g.value(p.value).ty), &p.order))
        .collect();
    let graph = &program.work.graph;
    let weight = |id: ValueId| {
        let v = graph.value(id);
        Noise::of(seed_of(&v.name), &v.ty, &v.name)
    };
    let found = simulate(&program, &inputs, &weight, true).unwrap_or_else(|e| panic!("{e}")).outputs;
    let compiled = machine(g, level, &inputs);
    for (found, machine) in found.iter().zip(&compiled) {
        let wide: Vec<f64> = found.iter().map(|x| f64::from(*x)).collect();
        let c = compare(machine, &wide, Tolerance { rtol: 1e-4, atol: 1e-4 });
        assert!(c.passed(), "machine code: {c:?}\n{}", crate::graph::print::summary(graph));
    }
    for ((port, found), expected) in g.outputs.iter().zip(&found).zip(&expected) {
        let wide: Vec<f64> = to_user(expected, &port.order).into_iter().map(f64::from).collect();
        let c = compare(found, &wide, Tolerance { rtol: 1e-4, atol: 1e-4 });
        assert!(c.passed(), "{}: {c:?}\n{}", port.name, crate::graph::print::summary(graph));
    }
    program
}

/// A model with the weights of [`Noise`].
fn model(g: &Graph, options: Options) -> Model {
    let mut model = Compiler::new(options).compile_graph(g.clone()).unwrap_or_else(|e| panic!("{e}"));
    let mut weights: BTreeMap<String, Tensor> = BTreeMap::new();
    for id in g.params() {
        let v = g.value(id);
        let axes: Vec<_> = v.ty.names().iter().zip(v.ty.dims()).map(|(n, d)| (n, *d)).collect();
        let data = Noise::of(seed_of(&v.name), &v.ty, &v.name);
        weights.insert(v.name.clone(), Tensor::new(&axes, data).expect("as long as its type"));
    }
    model.load_weights(&mut weights).unwrap_or_else(|e| panic!("{e}"));
    for (name, set) in &weights {
        assert_eq!(model.weight(name).expect("memory").as_ref(), Some(set), "what was set is read back");
    }
    model
}

/// What machine code gives, the same bits for 1 to 3 threads.
fn machine(g: &Graph, level: Level, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut results = Vec::new();
    for isa in [Isa::baseline(), Isa::detect()] {
        let mut bits: Option<Vec<Vec<f32>>> = None;
        for threads in 1..=3 {
            let options = Options::default().level(level).isa(isa.clone()).threads(threads);
            let model = model(g, options);
            let views: Vec<(&str, TensorView<'_>)> =
                g.inputs.iter().zip(inputs).map(|(p, d)| (&*p.name, TensorView::from(d))).collect();
            let outputs = model.run(&views).unwrap_or_else(|e| panic!("{e}"));
            let data: Vec<Vec<f32>> = outputs.into_vec().into_iter().map(|o| o.1.into_data()).collect();
            assert!(bits.as_ref().is_none_or(|b| *b == data), "{threads} threads change the result");
            bits = Some(data);
        }
        results.extend(bits.into_iter().flatten());
    }
    let wide: Vec<Vec<f64>> =
        results[..g.outputs.len()].iter().map(|r| r.iter().map(|x| f64::from(*x)).collect()).collect();
    for (baseline, native) in wide.iter().zip(&results[g.outputs.len()..]) {
        let c = compare(native, baseline, Tolerance { rtol: 1e-4, atol: 1e-4 });
        assert!(c.passed(), "baseline and native differ: {c:?}");
    }
    results.split_off(g.outputs.len())
}

/// The elements of an array in the order of the user's buffer.
fn to_user(array: &Array, order: &[usize]) -> Vec<f32> {
    let dims: Vec<usize> = order.iter().map(|d| array.dims[*d]).collect();
    let moved = Array::from_fn(&dims, |at| {
        let mut index = vec![0; at.len()];
        for (d, i) in order.iter().zip(at) {
            index[*d] = *i;
        }
        array.at(&index)
    });
    moved.data.iter().map(|x| *x as f32).collect()
}

fn int(i: i64) -> ArgValue {
    ArgValue::Int(i)
}

fn word(w: &str) -> ArgValue {
    ArgValue::Word(w.into())
}

fn grid(n: usize, c: usize, h: usize, w: usize) -> TensorTy {
    TensorTy::grid(n, c, &[("h", h), ("w", w)]).expect("small")
}

/// A small network with everything that passes look for: padding, normalisation, a residual, joins, a flattened end.
fn network(n: usize) -> Graph {
    let mut g = Graph::new("small");
    let x = g.input("image", grid(n, 3, 12, 10), vec![0, 2, 3, 1]);
    let same = ("pad", word("same"));
    let conv = |c, k| [("out", int(c)), ("kernel", int(k)), ("bias", ArgValue::Bool(false))];
    let args = |c, k| [conv(c, k).to_vec(), vec![same.clone()]].concat();
    let a = call(&mut g, "a", "conv", &args(8, 3), &[x]);
    let a = call(&mut g, "bn_a", "batchnorm", &[], &[a]);
    let a = call(&mut g, "relu_a", "relu", &[], &[a]);
    let b = call(&mut g, "b", "conv", &args(8, 5), &[a]);
    let b = call(&mut g, "bn_b", "batchnorm", &[], &[b]);
    let sum = call(&mut g, "sum", "+", &[], &[b, a]);
    let sum = call(&mut g, "relu_b", "relu", &[], &[sum]);
    let pooled = call(&mut g, "pool", "maxpool", &[("kernel", int(2))], &[sum]);
    let normed = call(&mut g, "bn_c", "batchnorm", &[], &[pooled]);
    let joined = call(&mut g, "cat", "concat", &[], &[normed, pooled]);
    let out = call(&mut g, "f", "dense", &[("out", int(5))], &[joined]);
    g.output("map", sum, vec![0, 1, 2, 3]);
    g.output("out", out, vec![0, 1]);
    g
}

#[test]
fn a_network_computes_what_its_graph_says() {
    for n in [1, 3] {
        for level in [Level::All, Level::Needed] {
            check(&network(n), level);
        }
    }
}

#[test]
fn normalisations_vanish_into_convolutions_and_chains_into_groups() {
    let program = check(&network(1), Level::All);
    let kinds: Vec<&str> = program
        .steps
        .iter()
        .filter(|s| !s.at_load)
        .map(|s| match &program.work.graph.value(s.root).def {
            Def::Op { op, .. } => op.rules().kind(),
            Def::Input(_) | Def::Param { .. } | Def::Const(_) => "",
        })
        .collect();
    assert_eq!(kinds, ["copy", "conv", "conv", "pool", "fold", "concat", "dense", "copy"]);
}

#[test]
fn every_step_agrees_with_the_reference() {
    let g = network(2);
    let model = model(&g, Options::default().threads(2));
    let data = noise(5, 2 * 3 * 12 * 10);
    let (outputs, checks) =
        model.run_checked(&[("image", TensorView::from(&data))], Tolerance::default()).expect("runs");
    assert_eq!(outputs, model.run(&[("image", TensorView::from(&data))]).expect("runs"));
    assert!(checks.iter().all(|c| c.comparison.passed()), "{checks:#?}");
    let names: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["image", "relu_a", "relu_b", "pool", "bn_c", "cat", "f", "relu_b"]);
}

#[test]
fn a_model_may_be_shared_by_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Model>();
    let g = network(1);
    let model = model(&g, Options::default().threads(2));
    let data = noise(5, 3 * 12 * 10);
    let expected = model.run(&[("image", TensorView::from(&data))]).expect("runs");
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(model.run(&[("image", TensorView::from(&data))]).as_ref(), Ok(&expected));
                }
            });
        }
    });
}

#[test]
fn weights_that_do_not_fit_change_nothing() {
    let g = network(1);
    let mut model = model(&g, Options::default());
    let before = model.weight("a.weight").expect("memory");
    let mut given: BTreeMap<String, Tensor> = BTreeMap::new();
    for w in model.weights() {
        given.insert(w.name.clone(), Tensor::zeros(&w.axes).expect("small"));
    }
    given.remove("a.weight");
    given.insert("a.wieght".into(), Tensor::zeros(&[("x", 3)]).expect("small"));
    given.insert("f.bias".into(), Tensor::zeros(&[("x", 3)]).expect("small"));
    let error = model.load_weights(&mut given).expect_err("three problems");
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "error[E0503]: weight `a.weight` [o: 8, i: 3, kh: 3, kw: 3] is not given; given and unknown is `a.wieght`",
            "error[E0504]: weight `f.bias` is [o: 5] in the network, given is [3]",
            "error[E0503]: weight `a.wieght` [3] is given, but the network has none of that name; did you mean `a.weight`?",
        ]
    );
    assert_eq!(model.weight("a.weight").expect("memory"), before);
}

#[test]
fn clones_keep_their_weights() {
    let g = network(1);
    let first = model(&g, Options::default());
    let mut second = first.clone();
    let zeros = Tensor::zeros(&[("o", 5)]).expect("small");
    second.set_weight("f.bias", zeros.view()).expect("fits");
    assert_eq!(second.weight("f.bias").expect("memory"), Some(zeros.clone()));
    assert_ne!(first.weight("f.bias").expect("memory"), Some(zeros));
    let data = noise(5, 3 * 12 * 10);
    let run = |m: &Model| m.run(&[("image", TensorView::from(&data))]).expect("runs")["out"].clone();
    let (a, b) = (run(&first), run(&second));
    let bias = first.weight("f.bias").expect("memory").expect("there is one");
    for ((a, b), bias) in a.data().iter().zip(b.data()).zip(bias.data()) {
        assert!((a - b - bias).abs() < 1e-5);
    }
}

#[test]
fn outputs_may_be_written_where_the_caller_says() {
    let g = network(1);
    let model = model(&g, Options::default());
    let data = noise(5, 3 * 12 * 10);
    let inputs = [("image", TensorView::from(&data))];
    let expected = model.run(&inputs).expect("runs");
    let mut out = [0.0; 5];
    model.run_into(&inputs, &mut [("out", &mut out)]).expect("runs");
    assert_eq!(out, expected["out"].data());
    let wrong = model.run_into(&inputs, &mut [("out", &mut out[..4])]);
    assert!(matches!(wrong, Err(super::RunError::Shape { .. })));
}

#[test]
fn a_report_says_what_computes_each_layer() {
    let report = model(&network(1), Options::default()).report();
    let kernel = |name: &str| {
        report.layers.iter().find(|l| l.row.name == name).map(|l| l.kernel.clone()).unwrap_or_default()
    };
    assert_eq!(
        (kernel("relu_a").as_str(), kernel("bn_b").as_str(), kernel("sum").as_str()),
        ("in a", "in b", "in b")
    );
    assert!(!kernel("a").starts_with("in "), "{}", kernel("a"));
    assert!(report.sizes.arena >= report.sizes.arena_bound && report.sizes.arena_bound > 0);
    assert!(report.phases.iter().any(|p| p.0 == "codegen"));
}

#[test]
fn a_table_beside_another_loop_tells_iterations_apart() {
    let text = "table T: 1 -> 8 { i, o if (i + o) % 3 != 0 }
        net N(x: [c: 1, h: 3, w: 3]) { x |> conv(8, 1x1, links: T) |> conv(4, 3x3, pad: same) }";
    let compiler = Compiler::new(Options::default());
    let checked = compiler.check("tabled", text, &super::NoFiles);
    check(&checked.net(None).expect("a network").graph, Level::All);
}

#[test]
fn more_threads_than_planned_have_private_buffers_too() {
    let text = "net Deep(x: [c: 32, h: 16, w: 16]) -> [c: 32, h: 16, w: 16] { \
                x |> conv(32, 3x3, pad: same) |> relu |> conv(32, 3x3, pad: same) }";
    let model = Compiler::new(Options::default().batch(8).threads(1)).compile_text(text).expect("a network");
    assert!(model.compiled.run(false).sizes().private > 0, "minimal filtering has buffers of its own");
    let x: Vec<f32> = (0..8 * 32 * 256).map(|i| (i % 97) as f32 / 97.0).collect();
    let shape = [("n", 8), ("c", 32), ("h", 16), ("w", 16)];
    let run = |model: &Model| {
        let view = TensorView::new(&shape, &x).expect("it fits");
        model.run(&[("x", view)]).expect("it runs").into_vec().remove(0).1.into_data()
    };
    let one = run(&model);
    for threads in [2, 5] {
        let more = model.clone().with_executor(Arc::new(Pool::new(threads).expect("a few threads")));
        assert_eq!(run(&more), one, "{threads} threads");
    }
    assert_eq!(run(&model), one, "the first has its own arenas");
}

#[test]
fn a_pool_without_overlap_is_the_end_of_the_convolution_before_it() {
    let cases = [
        ("32, h: 14, w: 14", "conv(32, 3x3, pad: same) |> relu |> maxpool(2x2)", 0),
        ("64, h: 14, w: 10", "conv(64, 3x3, pad: same) |> maxpool(2x2) |> tanh", 0),
        ("16, h: 12, w: 9", "conv(16, 3x3, pad: same) |> relu |> avgpool(2x1)", 0),
        ("3, h: 9, w: 8", "conv(6, 2x3, stride: 2x1) |> maxpool(2x2) |> relu", 0),
        ("5, w: 33", "conv(7, 4, flip: true) |> avgpool(3) |> sigmoid", 0),
        ("2, d: 5, h: 5, w: 6", "conv(8, 2x2x1) |> maxpool(2x1x2)", 0),
        // Across channels: maxout.
        ("32, h: 14, w: 13", "conv(64, 3x3, pad: same) |> maxpool(c: 2) |> tanh", 0),
        ("64, h: 9, w: 30", "conv(96, 3x3, pad: same, bias: false) |> batchnorm |> avgpool(c: 3)", 0),
        ("4, h: 6, w: 7", "conv(48, 3x3, bias: false) |> batchnorm |> maxpool(c: 3) |> conv(8, 1x1)", 0),
        ("5, h: 6, w: 7", "conv(128, 2x3, stride: 2x1, flip: true) |> maxpool(c: 8) |> relu", 0),
        ("3, w: 20", "conv(64, 3) |> avgpool(c: 4)", 0),
        // Only one pool of two; threads share out the channels; nine members are too many; windows of channels overlap; one is left over; no whole block; groups; one map; a row is left over; windows overlap; eight members are too many; each position has its own addend.
        ("3, h: 9, w: 9", "conv(4, 2x2) |> maxpool(2x2) |> maxpool(2x2)", 1),
        ("64, h: 9, w: 12", "conv(96, 3x3, pad: same) |> maxpool(c: 3)", 1),
        ("4, h: 6, w: 7", "conv(144, 3x3) |> maxpool(c: 9)", 1),
        ("4, h: 6, w: 7", "conv(33, 3x3) |> maxpool(c: 3, stride: 2)", 1),
        ("4, h: 6, w: 7", "conv(49, 3x3) |> maxpool(c: 3)", 1),
        ("4, h: 6, w: 7", "conv(24, 3x3) |> maxpool(c: 3)", 1),
        ("4, h: 6, w: 7", "conv(32, 3x3, groups: 2) |> maxpool(c: 2)", 1),
        ("1, h: 8, w: 8", "conv(1, 3x3, pad: same) |> maxpool(2x2) |> dense(3)", 1),
        ("32, h: 13, w: 12", "conv(32, 3x3, pad: same) |> maxpool(2x2)", 1),
        ("3, h: 9, w: 9", "conv(4, 3x3) |> maxpool(3x3, stride: 2)", 1),
        ("2, d: 5, h: 5, w: 5", "conv(4, 2x2x2) |> maxpool(2x2x2)", 1),
        ("6, h: 8, w: 8", "conv(6, 3x3, pad: same)\n y + x |> maxpool(2x2)", 1),
        ("4, h: 8, w: 8", "conv(8, 3x3, groups: 2) |> maxpool(2x2)", 1),
    ];
    for (shape, body, pools) in cases {
        let bound = if body.contains('\n') { "let y = " } else { "" };
        let text = format!("net P(x: [c: {shape}]) {{ {bound}x |> {body} }}");
        let compiler = Compiler::new(Options::default().batch(3));
        let checked = compiler.check("pooled", &text, &super::NoFiles);
        assert!(!checked.has_errors(), "{text}: {:?}", checked.program.diagnostics);
        let net = checked.net(None).unwrap_or_else(|| panic!("{text}: {:?}", checked.program.diagnostics));
        let program = check(&net.graph, Level::All);
        let graph = &program.work.graph;
        let kind = |id: ValueId| match &graph.value(id).def {
            Def::Op { op, .. } => op.rules().kind(),
            Def::Input(_) | Def::Param { .. } | Def::Const(_) => "",
        };
        let found = program.steps.iter().filter(|s| kind(s.root) == "pool").count();
        assert_eq!(found, pools, "{body}: {}", crate::graph::print::summary(graph));
    }
}

#[test]
fn an_executor_may_have_more_threads_from_run_to_run() {
    struct Growing(std::sync::atomic::AtomicUsize, [Pool; 3]);
    impl Growing {
        fn now(&self) -> &Pool {
            &self.1[self.0.load(std::sync::atomic::Ordering::Relaxed)]
        }
    }
    impl crate::runtime::threads::Executor for Growing {
        fn threads(&self) -> usize {
            self.now().threads()
        }
        fn run(&self, body: &(dyn Fn(usize) + Sync)) {
            self.now().run(body);
        }
    }
    let text = "net Deep(x: [c: 32, h: 16, w: 16]) { x |> conv(32, 3x3, pad: same) }";
    let pools = [1, 4, 2].map(|n| Pool::new(n).expect("a few threads"));
    let growing = Arc::new(Growing(0.into(), pools));
    let model = Compiler::new(Options::default().batch(8).threads(1)).compile_text(text).expect("a network");
    let model = model.with_executor(growing.clone());
    let x = noise(5, 8 * 32 * 256);
    let run =
        || model.run(&[("x", TensorView::from(&x))]).expect("it runs").into_vec().remove(0).1.into_data();
    let one = run();
    for turn in [1, 2, 0] {
        growing.0.store(turn, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(run(), one, "turn {turn}");
    }
}

#[test]
fn convolutions_sum_bands_for_the_normalisation_behind_them() {
    let cases = [
        // Minimal filtering: bands of rows, a last band below the output, several samples of a band, parts of the channels, dilation.
        (
            "16, h: 12, w: 12",
            4,
            "conv(16, 3x3, pad: same, bias: false) |> batchnorm |> relu |> conv(32, 3x3) |> batchnorm",
            3,
        ),
        (
            "64, h: 30, w: 9",
            2,
            "conv(64, 3x3, pad: same) |> relu |> batchnorm |> conv(64, 3x3, pad: same)",
            2,
        ),
        (
            "64, h: 14, w: 14",
            8,
            "conv(64, 3x3, pad: same) |> batchnorm |> relu |> conv(64, 3x3, pad: same)",
            2,
        ),
        ("64, h: 7, w: 7", 2, "conv(96, 3x3, pad: same) |> batchnorm |> relu |> conv(96, 3x3, pad: same)", 2),
        (
            "16, h: 20, w: 22",
            2,
            "conv(16, 3x3, pad: 2, dilate: 2) |> batchnorm |> tanh |> conv(16, 3x3, pad: 2, dilate: 2)",
            2,
        ),
        // By definition: steps, phases, one axis and three.
        (
            "3, h: 12, w: 10",
            8,
            "conv(8, 3x3, pad: 1) |> batchnorm |> relu |> conv(5, 4x2, stride: 2) |> batchnorm |> conv(4, 1x1)",
            4,
        ),
        ("5, t: 24", 8, "conv(7, 3, pad: same) |> batchnorm |> relu |> conv(6, 3, stride: 3)", 2),
        ("2, d: 4, h: 6, w: 5", 8, "conv(6, 2x3x2) |> batchnorm |> relu |> conv(4, 1x1x1)", 2),
        ("4, h: 5, w: 6", 8, "unconv(6, 2x2, stride: 2) |> batchnorm |> relu |> conv(4, 3x3)", 2),
        // Bands of rows, so that there is work for threads; of a single axis; a prime extent has none.
        ("3, h: 32, w: 20", 1, "conv(8, 3x3, pad: 1) |> batchnorm |> relu |> conv(5, 3x3)", 2),
        ("2, t: 640", 1, "conv(8, 3, pad: 1) |> batchnorm |> relu |> conv(5, 3)", 2),
        ("2, t: 641", 1, "conv(8, 3, pad: 1) |> batchnorm |> relu |> conv(5, 3)", 0),
        // All in one band: outside of its sums no loop is left.
        ("16, h: 9, w: 9", 1, "conv(16, 3x3, pad: same) |> batchnorm |> relu |> conv(16, 3x3)", 2),
        // Steps of three do not divide rows; groups; a dense layer; nothing is normalised.
        (
            "3, h: 11, w: 10",
            8,
            "conv(8, 3x3, pad: 1, groups: 1) |> batchnorm |> relu |> conv(5, 4x2, stride: 3)",
            1,
        ),
        ("4, h: 8, w: 8", 2, "conv(8, 3x3, groups: 2) |> batchnorm |> relu |> conv(4, 3x3, groups: 2)", 0),
        ("4, h: 3, w: 3", 6, "dense(8) |> batchnorm |> relu |> dense(3)", 0),
        ("16, h: 8, w: 8", 2, "conv(16, 3x3) |> relu |> conv(16, 3x3)", 0),
    ];
    for (shape, batch, body, sums) in cases {
        let text = format!("net N(x: [c: {shape}]) {{ x |> {body} }}");
        let compiler = Compiler::new(Options::default().batch(batch));
        let checked = compiler.check("normed", &text, &super::NoFiles);
        let net = checked.net(None).unwrap_or_else(|| panic!("{text}: {:?}", checked.program.diagnostics));
        let (mut graph, _) =
            crate::train::mode::training(&net.graph).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        graph.updates.clear();
        let out = graph.outputs[0].value;
        let squares = graph.op("squares", Binary::of(BinaryFn::Mul), &[out, out]).expect("fits").0;
        let weights: Vec<ValueId> = graph.params().collect();
        let slope = crate::grad::ones(&mut graph, squares);
        let grads = crate::grad::gradients(&mut graph, &[(squares, slope)], &weights).expect("gradients");
        for (weight, grad) in weights.iter().zip(grads) {
            let name = format!("by {}", graph.value(*weight).name);
            if let Some(grad) = grad {
                let count = (graph.value(squares).ty.len() as f32).sqrt();
                let share = Binary::with(BinaryFn::Mul, Number::Right(1.0 / count));
                let mean = graph.op(&name, share, &[grad]).expect("fits").0;
                let order = (0..graph.value(mean).ty.dims().len()).collect();
                graph.output(&name, mean, order);
            }
        }
        let program = check(&graph, Level::All);
        let found = program.steps.iter().filter(|s| !s.also.is_empty()).count();
        assert_eq!(found, sums, "{body}: {}", crate::graph::print::summary(&program.work.graph));
    }
}
