//! `cnnc explain NET LAYER` and formulas; `--tune` and `--exact` on the command line.

use cnnc::graph::Def;
use cnnc::ops::equation::equation;
use cnnc::session::{Compiler, NoFiles, Options};

use crate::support::{Ran, cnnc, command, root, scratch};

/// The formula of the last operation of a program, and its notes.
fn formula(input: &str, pipeline: &str) -> (String, Vec<String>) {
    let text = format!("net A(x: {input}) {{ x |> {pipeline} }}");
    let checked = Compiler::new(Options::default()).check("a", &text, &NoFiles);
    let net = checked.net(None).unwrap_or_else(|| panic!("{:?}", checked.diagnostics()));
    let out = net.graph.value(net.graph.outputs[0].value);
    let Def::Op { op, inputs } = &out.def else { panic!("an operation") };
    let types: Vec<_> = inputs.iter().map(|i| &net.graph.value(*i).ty).collect();
    let found = equation(op, &types, &out.ty).expect("a formula");
    (found.formula, found.notes)
}

#[test]
fn formulas_hold_the_layer_s_numbers() {
    let (text, notes) = formula("[c: 3, h: 9, w: 7]", "conv(8, 3x1, stride: 2, pad: same)");
    assert_eq!(text, "y[n, o, h, w] = b[o] + Σ_{i<3, kh<3} w[o, i, kh, 0] x[n, i, 2*h + kh - 1, 2*w]");
    assert_eq!(notes, ["for n < 1, o < 8, h < 5, w < 4", "x is 0 outside of 0 <= h < 9"]);
    for (input, pipeline, expected) in [
        (
            "[c: 4, t: 9]",
            "conv(4, 3, dilate: 2, groups: 4, bias: false)",
            "y[n, o, t] = Σ_{kt<3} w[o, 0, kt] x[n, o, t + 2*kt]",
        ),
        (
            "[c: 4, t: 9]",
            "conv(6, 2, groups: 2, share: none, flip: true)",
            "y[n, o, t] = b[t, o] + Σ_{i<2, kt<2} w[t, o, i, 1 - kt] x[n, 2*⌊o/3⌋ + i, t + kt]",
        ),
        (
            "[c: 4, h: 5]",
            "unconv(2, 4, stride: 2, pad: 1)",
            "y[n, o, h] = b[o] + Σ_{i<4, kh<4, 2*ph + kh - 1 = h} w[i, o, kh] x[n, i, ph]",
        ),
        ("[c: 4, h: 5]", "dense(3)", "y[n, o] = b[o] + Σ_{i<20} w[o, i] x[n, i]"),
        ("[c: 4, h: 6]", "maxpool(2)", "y[n, c, h] = max_{kh<2} x[n, c, 2*h + kh]"),
        ("[c: 4, h: 6]", "avgpool(global)", "y[n, c] = 1/6 Σ_{h<6} x[n, c, h]"),
        ("[c: 4]", "softmax", "y[n, c] = e^x[n, c] / Σ_{k<4} e^x[n, k]"),
    ] {
        assert_eq!(formula(input, pipeline).0, expected, "{pipeline}");
    }
}

fn explained(args: &[&str]) -> String {
    let ran = cnnc(root(), &[&["explain"], args].concat());
    assert!(ran.code == 0 && ran.err.is_empty(), "{args:?}: {ran:?}");
    ran.out
}

#[test]
fn a_layer_is_explained() {
    let set = ["--set", "S=64", "--threads", "1", "--no-measure"];
    let resnet = |layer: &str| explained(&[&["examples/resnet18.cnn", layer][..], &set].concat());
    let text = resnet("stage[0].residual_1.a");
    for part in [
        "y[n, o, h, w] = Σ_{i<64, kh<3, kw<3} w[o, i, kh, kw] x[n, i, h + kh - 1, w + kw - 1]",
        "x is 0 outside of 0 <= h < 16, 0 <= w < 16",
        "multiply-adds  9,437,184",
        "is folded in: its scale is in the weight",
        "is applied where it stores",
        "minimal filtering",
        "expected",
        "not chosen",
        "by definition: 36 instead of 16 products",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let lenet = explained(&["examples/lenet5.cnn", "c3", "--seconds", "0.01"]);
    for part in ["became a dense layer", "measured", "does not apply: it is for kernels of 3x3", "par h"] {
        assert!(lenet.contains(part), "`{part}` is missing in\n{lenet}");
    }
    let relu = explained(&["examples/lenet5.cnn", "tanh_1", "--no-measure"]);
    assert!(relu.contains("applied where `c1` stores"), "{relu}");
    let list = explained(&["examples/lenet5.cnn"]);
    assert!(list.contains("c3") && list.contains("direct"), "{list}");
}

#[test]
fn gradients_and_json_too() {
    let args =
        ["examples/lenet5.cnn", "c3", "--pass", "train", "--seconds", "0.01", "--json", "--threads", "1"];
    let value: serde_json::Value = serde_json::from_str(&explained(&args)).expect("JSON");
    let steps = value["steps"].as_array().expect("steps");
    let equations: Vec<&str> = steps.iter().filter_map(|s| s["equation"]["formula"].as_str()).collect();
    assert!(equations.iter().any(|e| e.starts_with("dw[")), "{equations:?}");
    for step in steps.iter().filter(|s| s["step"].is_number()) {
        assert!(step["measured_ms"].as_f64().is_some_and(|t| t >= 0.0), "{step}");
        let expected = step["expected_ms"].as_f64();
        assert!(expected.is_some_and(|t| t > 0.0) || value["peak_gflops"] == 0.0, "{step}");
    }
    let list: serde_json::Value =
        serde_json::from_str(&explained(&["examples/lenet5.cnn", "--json"])).expect("JSON");
    assert!(list["layers"].as_array().is_some_and(|l| l.len() > 8), "{list}");
}

#[test]
fn a_layer_of_a_model_is_explained() {
    let model = scratch("explain_model").join("lenet.onnx");
    let path = model.to_str().expect("a plain path");
    assert_eq!(cnnc(root(), &["export", "examples/lenet5.cnn", "-o", path]).code, 0);
    let list: serde_json::Value = serde_json::from_str(&explained(&[path, "--json"])).expect("JSON");
    let layers = list["layers"].as_array().expect("layers");
    let first = layers.iter().find(|l| l["operation"] == "conv").expect("a convolution");
    let text = explained(&[path, first["name"].as_str().expect("a name"), "--no-measure"]);
    assert!(text.contains("y[n, o, d0, d1] =") || text.contains("Σ_{kh<5, kw<5}"), "{text}");
    assert!(text.contains("multiply-adds  117,600") && text.contains("tanh"), "{text}");
}

#[test]
fn what_cannot_be_explained_is_said() {
    let fails = |args: &[&str], code: i32, part: &str| {
        let ran = cnnc(root(), &[&["explain"], args].concat());
        assert!(ran.code == code && ran.err.contains(part) && ran.out.is_empty(), "{args:?}: {ran:?}");
    };
    fails(&["examples/lenet5.cnn", "c33"], 2, "did you mean `c3`");
    fails(&["examples/lenet5.cnn", "nonsense"], 2, "lists its layers");
    fails(&["conv", "c3"], 2, "no network");
    fails(&["conv", "--json"], 2, "for networks");
    fails(&["konv"], 2, "did you mean `conv`");
    fails(&["examples/none.cnn"], 2, "none.cnn");
    fails(&["examples/none.onnx", "a"], 2, "none.onnx");
    fails(&["examples/edges.cnn", "--pass", "train"], 2, "--pass train");
    assert!(explained(&["conv"]).contains("## Arguments") && explained(&["e0210"]).contains("E0210"));
}

#[test]
fn winners_are_kept_and_exact_is_another_road() {
    let dir = scratch("winners");
    let folder = dir.join("cache");
    let program = dir.join("a.cnn");
    std::fs::write(&program, "net A(x: [c: 32, h: 16, w: 16]) { x |> conv(32, 3x3, pad: same) |> relu }")
        .expect("written");
    let run = |args: &[&str]| -> Ran {
        let out = command(&dir, args).env("CNNC_CACHE", &folder).output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: out.status.code().unwrap_or(-1),
            out: text(&out.stdout),
            bytes: out.stdout,
            err: text(&out.stderr),
        }
    };
    let kept = || std::fs::read_dir(folder.join("winners")).map_or(0, Iterator::count);
    let bench = ["bench", "a.cnn", "--seconds", "0.01", "--threads", "1"];
    let none = run(&[&bench[..], &["--tuned"]].concat());
    assert!(none.code == 0 && none.err.contains("tuned: 0 of the winners known;") && kept() == 0, "{none:?}");
    let first = run(&[&bench[..], &["--tune"]].concat());
    assert!(first.code == 0 && first.err.contains("measured"), "{first:?}");
    let count = kept();
    assert!(count > 0, "{first:?}");
    let second = run(&[&bench[..], &["--tune"]].concat());
    assert!(second.err.contains(", 0 measured") && kept() == count, "{second:?}");
    for entry in std::fs::read_dir(folder.join("winners")).expect("a folder") {
        std::fs::write(entry.expect("an entry").path(), "nonsense").expect("written");
    }
    let damaged = run(&["compile", "a.cnn", "--tuned"]);
    assert!(
        damaged.code == 0 && damaged.err.contains("warning: ") && damaged.err.contains("damaged"),
        "{damaged:?}"
    );
    let doctor = run(&["doctor"]);
    assert!(doctor.out.contains(&folder.join("winners").display().to_string()), "{doctor:?}");
    let kernel = |args: &[&str]| run(&[&["compile", "a.cnn", "--emit", "graph"], args].concat()).out;
    assert!(kernel(&[]).contains("winograd(") && !kernel(&["--exact"]).contains("winograd("));
    let object = run(&["compile", "a.cnn", "--tune", "-o", "a.o"]);
    assert!(object.code == 2 && object.err.contains("not tuned"), "{object:?}");
}
