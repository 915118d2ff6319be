//! `cnnc import`: the program that is written, with its weights, computes what the model does.

use std::collections::BTreeMap;

use cnnc::formats::onnx::{ImportOptions, import};
use cnnc::formats::program::write;
use cnnc::session::{Compiler, NoFiles, Options};
use cnnc::support::random::Random;
use cnnc::tensor::owned::Tensor;

use crate::support::root;

/// Writes a model as a program, compiles that, and compares both on one input; the text.
fn both(name: &str, input: &str, shape: &[usize]) -> String {
    let bytes =
        std::fs::read(root().join(format!("tests/files/onnx/models/{name}.onnx"))).expect("a fixture");
    let options =
        ImportOptions { shapes: vec![(input.to_owned(), shape.to_vec())], ..ImportOptions::default() };
    let graph = import(bytes.into(), &options).unwrap_or_else(|e| panic!("{name}: {e}")).graph;
    let batch = shape[0];
    let compiler = Compiler::new(Options::default().batch(batch));
    let model = compiler.compile_graph(graph.clone()).expect("an imported model compiles");
    let weights = |w: &str| model.weight(w).ok().flatten().map(|t| t.into_data());
    let written = write(&graph, &weights, true).unwrap_or_else(|e| panic!("{name}: {e}"));
    let checked = compiler.check(name, &written.text, &NoFiles);
    let mut again =
        compiler.compile(&checked, None).unwrap_or_else(|e| panic!("{name}: {e}\n{}", written.text));
    let mut own = BTreeMap::new();
    for (path, dims, data) in written.weights {
        let axes: Vec<(String, usize)> =
            dims.iter().enumerate().map(|(i, d)| (format!("d{i}"), *d)).collect();
        own.insert(path, Tensor::new(&axes, data).expect("fits"));
    }
    again.load_weights(&mut own).unwrap_or_else(|e| panic!("{name}: {e}\n{}", written.text));
    let random = Random::new(3, "x");
    let x: Vec<f32> =
        (0..shape.iter().product::<usize>() as u64).map(|i| random.uniform(i, -1.0, 1.0)).collect();
    let first = model.run(&[(input, x.as_slice().into())]).expect("a run");
    let port = again.inputs()[0].name.to_string();
    let second = again.run(&[(port.as_str(), x.as_slice().into())]).expect("a run");
    assert_eq!(first.iter().count(), second.iter().count());
    for ((_, a), (_, b)) in first.iter().zip(second.iter()) {
        let scale = a.data().iter().fold(1e-6f32, |m, x| m.max(x.abs()));
        let worst = a.data().iter().zip(b.data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert_eq!(a.data().len(), b.data().len(), "{name}");
        assert!(worst <= 1e-5 * scale, "{name}: off by {worst} of {scale}\n{}", written.text);
    }
    written.text
}

#[test]
fn imported_models_become_programs_that_compute_the_same() {
    both("squeezenet", "data_0", &[1, 3, 224, 224]);
    both("resnet50", "gpu_0/data_0", &[1, 3, 224, 224]);
    both("pnet", "input_1", &[1, 31, 45, 3]);
    // PyTorch's newer exporter joins the last step of the shuffle with what follows: that is no program.
    both("shuffle_script", "x", &[2, 3, 14, 13]);
    for style in ["script", "dynamo"] {
        both(&format!("mobile_{style}"), "x", &[1, 3, 32, 32]);
    }
}

#[test]
fn names_are_kept_and_patterns_recognised() {
    let text = both("mobile_script", "x", &[1, 3, 32, 32]);
    for part in [
        "as squeeze",
        "as excite",
        "as head",
        "hard_swish",
        "hard_sigmoid",
        "clip(lo: 0.0, hi: 6.0)",
        "groups: 16",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let text = both("shuffle_script", "x", &[2, 3, 14, 13]);
    assert!(text.contains("shuffle(2)"), "{text}");
    let text = both("kmbv3", "in", &[1, 32, 32, 3]);
    assert!(text.contains("|> hard_swish") && text.contains("|> hard_sigmoid"), "{text}");
}

#[test]
fn what_repeats_is_a_block() {
    let text = both("squeezenet", "data_0", &[1, 3, 224, 224]);
    for part in ["block fire(x; k: int)", "conv(4 * k, 3x3, pad: 1) as expand3x3", "fire(k: 16) as fire2"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let text = both("resnet50", "gpu_0/data_0", &[1, 3, 224, 224]);
    assert!(text.matches("|> conv(").count() <= 8 && text.contains("bottleneck as gpu_0_res4_5"), "{text}");
    let text = both("residual_s13d", "x", &[2, 3, 16, 16]);
    for part in ["block basic(x", "as conv1", "as layer1_2", "as layer3_1"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let text = both("inverted_s11n", "x", &[2, 3, 24, 24]);
    for part in
        ["block squeeze_excite(x", "avgpool(global)", "block inverted(x", "|> hard_sigmoid", "kernel // 2"]
    {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn graphs_of_converters_become_programs() {
    for (name, input, shape) in [
        ("kmobile", "input_1:0", &[1usize, 33, 33, 3][..]),
        ("tfunet", "x:0", &[1, 15, 22, 3]),
        ("kmbv3", "in", &[1, 32, 32, 3]),
        ("vol_s17", "x", &[1, 1, 8, 16, 16]),
        ("aspp_s13d", "x", &[1, 3, 64, 48]),
        // A signal with channels last, as an image of one row and back around every convolution.
        ("kaudio", "keras_tensor_3135", &[2, 400, 2]),
    ] {
        both(name, input, shape);
    }
}

/// Reductions, expansions, slices with steps and numbers for each position have words, or need none.
#[test]
fn what_exporters_compose_becomes_words() {
    let text = both("focus", "x0", &[2, 3, 24, 20]);
    for part in [
        "maxpool(1x1, stride: 2x1)",
        "reduce(mean, c)",
        "reduce(max, c)",
        "bias(share: none) as places",
        "argmax",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

/// A row of positions with classes last is a grid with channels last; a sigmoid of another slope than the language's is part of the
/// squeeze-excite that it ends.
#[test]
fn readers_of_text_are_programs() {
    let text = both("paddleocr", "x", &[2, 3, 16, 40]);
    for part in [
        "block squeeze_excite(x)",
        "|> hard_swish",
        "|> squeeze_excite as se",
        // A product of matrices and a sum are one layer.
        "|> conv(7, 1x1) as head\n",
        "|> reshape([c: 7, w: 10])",
        ": [w: 10, c: 7]) {",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn long_chains_are_cut() {
    let mut graph = cnnc::graph::Graph::new("Long");
    let ty = cnnc::tensor::ty::TensorTy::new([("n", 1), ("c", 2)]).expect("small");
    let mut x = graph.input("x", ty, vec![0, 1]);
    for _ in 0..2500 {
        x = graph
            .op("r", cnnc::ops::unary::Unary::of(cnnc::ops::unary::UnaryFn::Relu), &[x])
            .expect("fits")
            .0;
    }
    graph.output("y", x, vec![0, 1]);
    let written = write(&graph, &|_| None, true).expect("a program");
    let checked = Compiler::new(Options::default()).check("long", &written.text, &NoFiles);
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics().first());
}

#[test]
fn general_tensors_are_refused_by_name() {
    let bytes = std::fs::read(root().join("tests/files/onnx/models/attend_script.onnx")).expect("a fixture");
    let graph = import(bytes.into(), &ImportOptions::default()).expect("it is imported elsewhere").graph;
    // GELU, which this operator set has to write out by the error function, is one function.
    assert!(format!("{:?}", graph.values).contains("Gelu"), "no GELU");
    let refused = write(&graph, &|_| None, true).expect_err("matrix products of tensors").to_string();
    assert!(
        refused.contains("no channels on a grid") || refused.contains("the language has no form"),
        "{refused}"
    );
}

/// What cnnc writes, it reads back as the program that it was.
#[test]
fn own_exports_are_programs_again() {
    use cnnc::formats::onnx::export::export;
    for (body, opset) in [
        ("conv(6, 3x3, pad: 1) as a |> layernorm(eps: 1e-5) as n", 17),
        ("conv(6, 3x3, pad: 1) as a |> layernorm(axis: c, eps: 1e-5) as n", 17),
        ("conv(6, 3x3, pad: 1) as a |> groupnorm(3, eps: 1e-5) as n", 13),
        ("conv(6, 3x3, pad: 1) as a |> instancenorm(eps: 1e-5) as n", 13),
        ("conv(6, 3x3, pad: 1) as a |> l2norm(eps: 1e-12)", 13),
        ("conv(8, 3x3, pad: 1) as a |> depth_to_space(2x2, mode: dcr)", 13),
        ("conv(8, 3x3, pad: 1) as a |> depth_to_space(2x2, mode: crd)", 13),
        ("conv(8, 3x3, pad: 1) as a |> depth_to_space(1x2, mode: crd)", 13),
        ("conv(8, 3x3, pad: 1) as a |> space_to_depth(2x2, mode: dcr)", 13),
        ("conv(8, 3x3, pad: 1) as a |> space_to_depth(2x2, mode: crd)", 13),
        ("conv(8, 3x3, pad: 1) as a |> shuffle(2)", 13),
        ("conv(8, 3x3, pad: 1) as a |> flip(w)", 13),
        ("conv(8, 3x3, pad: 1) as a |> gelu(approximate: tanh)", 13),
        ("conv(8, 3x3, pad: 1) as a |> prelu as p", 13),
        ("conv(8, 3x3, pad: 1) as a |> scale as s |> bias as b", 13),
        ("flatten |> dense(7) as d |> tanh |> dense(3) as e", 13),
        ("conv(6, 3x3, pad: 1) as a |> reduce(mean, c)", 13),
        ("conv(6, 3x3, pad: 1) as a |> reduce(l2)", 18),
        ("conv(6, 3x3, pad: 1) as a |> reduce(log_sum_exp, w)", 13),
        ("conv(6, 3x3, pad: 1) as a |> argmax", 13),
        ("conv(6, 3x3, pad: 1) as a |> argmin(h, last: true)", 13),
        ("conv(6, 3x3, pad: 1) as a |> floor", 13),
        ("conv(6, 3x3, pad: 1) as a |> erf |> sign |> round |> ceil", 13),
        ("conv(6, 3x3, pad: 1) as a |> bias(share: none) as b", 13),
        ("conv(6, 3x3, pad: 1) as a |> scale(share: none) as s", 13),
    ] {
        let text = format!("net t(x: [h: 6, w: 8, c: 4]) {{ x |> {body} }}");
        let compiler = Compiler::new(Options::default().threads(1));
        let model = compiler.compile_text(&text).unwrap_or_else(|e| panic!("{body}: {e}"));
        let checked = compiler.check("t", &text, &NoFiles);
        let graph = checked.net(None).expect("a net").graph.clone();
        let weights = |w: &str| model.weight(w).ok().flatten().map(|t| t.into_data());
        let bytes = export(&graph, &weights, opset).unwrap_or_else(|e| panic!("{body}: {e}")).bytes;
        let again = import(bytes.into(), &ImportOptions::default()).expect("own exports are read").graph;
        let second = compiler.compile_graph(again.clone()).expect("it compiles");
        let stored = |w: &str| second.weight(w).ok().flatten().map(|t| t.into_data());
        let written = write(&again, &stored, true).unwrap_or_else(|e| panic!("{body}: {e}"));
        let one: Vec<&str> = written.text.split_whitespace().collect();
        assert!(one.join(" ").contains(&format!("x |> {body} }}")), "{body} became\n{}", written.text);
    }
}
