//! `cnnc train model.onnx`: a network that PyTorch exported learns the digits from where it was, is measured again and runs with what
//! it learnt; models without a gradient are refused by the name of the node. And weights as `.npz`.

use std::path::Path;

use cnnc::formats::npz;
use cnnc::formats::onnx::proto::{
    Attribute, Dim, Extent, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, ValueInfo, kind,
};
use prost::Message;

use crate::support::{cnnc, root, scratch};

const ITEM: &str = "# How to go on with the model.
train Digits {
    data       digits
    loss       cross_entropy(out, label)
    optimizer  adam(rate: 2e-3)
    epochs     4
    metric     accuracy(logits, label)
}
";

/// A path of the fixture: a residual network with batch normalisation, a batch of 1 written into it, and `Identity` nodes where
/// tensors were equal.
fn digits() -> String {
    root().join("tests/files/onnx/models/digits.onnx").display().to_string()
}

fn accuracy(text: &str) -> f64 {
    let rest = text.split("accuracy ").nth(1).unwrap_or_else(|| panic!("no accuracy in {text}"));
    rest.split(' ').next().and_then(|x| x.parse().ok()).unwrap_or_else(|| panic!("no number in {text}"))
}

#[test]
fn a_model_is_trained_measured_and_run() {
    let folder = scratch("onnx_train");
    std::fs::write(folder.join("item.cnn"), ITEM).expect("a folder to write to");
    let model = digits();
    let untrained = cnnc(&folder, &["weights", &model, "-o", "first.npz"]);
    assert_eq!(untrained.code, 0, "{untrained:?}");
    let before = cnnc(&folder, &["eval", &model, "--train-item", "item.cnn", "-w", "first.npz"]);
    assert!(before.code == 0 && accuracy(&before.out) < 50.0, "{before:?}");
    let call = ["train", &model, "--train-item", "item.cnn", "--threads", "1"];
    let trained = cnnc(&folder, &call);
    assert!(trained.code == 0 && accuracy(&trained.out) > 93.0, "{trained:?}");
    // The first batches begin at the model's weights: the file's, not the seed's.
    let other = cnnc(&folder, &[&call[..], &["--epochs", "1", "--seed", "9", "-o", "other"]].concat());
    assert_eq!(other.code, 0, "{other:?}");
    for threads in ["1", "2"] {
        let again = cnnc(
            &folder,
            &["eval", &model, "--train-item", "item.cnn", "-w", "Digits.train", "--threads", threads],
        );
        assert!(again.code == 0 && accuracy(&again.out) == accuracy(&trained.out), "{again:?}");
    }
    let (weights, _) = read(&folder.join("first.npz"));
    let names: Vec<&str> = weights.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["b1.weight", "b2.weight", "b2.running_var", "c1.weight", "fc.bias"] {
        assert!(names.contains(&name), "no `{name}` in {names:?}");
    }
    let mut x = Vec::new();
    cnnc::formats::npy::write(&mut x, &[1, 1, 8, 8], &[0.5; 64]).expect("a vector takes everything");
    std::fs::write(folder.join("x.npy"), x).expect("a folder to write to");
    let ran =
        cnnc(&folder, &["run", &model, "-i", "x.npy", "-w", "Digits.train/weights.safetensors", "--check"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let resumed = cnnc(&folder, &[&call[..], &["--resume"]].concat());
    assert!(resumed.code == 0 && accuracy(&resumed.out) == accuracy(&trained.out), "{resumed:?}");
}

#[test]
fn settings_come_from_a_file_or_the_command_line() {
    let folder = scratch("onnx_settings");
    std::fs::write(folder.join("item.cnn"), ITEM).expect("a folder to write to");
    let model = digits();
    let none = cnnc(&folder, &["train", &model]);
    assert!(none.code == 2 && none.err.contains("`--train-item FILE.cnn`"), "{none:?}");
    let loss = "loss=cross_entropy(Gemm_of_nothing, label)";
    let unknown = cnnc(&folder, &["train", &model, "--with", "data=digits", "--with", loss]);
    assert!(
        unknown.code == 1 && unknown.err.contains("its outputs and inputs are `logits`, `image`"),
        "{unknown:?}"
    );
    let loss = "loss=cross_entropy(out, label)";
    let given = cnnc(&folder, &["train", &model, "--with", "data=digits", "--with", loss, "--epochs", "1"]);
    assert!(given.code == 0 && given.out.contains("digits.train"), "{given:?}");
    // The older word for it.
    let program = cnnc(&folder, &["train", "item.cnn", "--train", "item.cnn"]);
    assert!(program.code == 2 && program.err.contains("for ONNX models"), "{program:?}");
}

fn tensor(dims: &[i64], data: Vec<f32>, name: &str) -> Tensor {
    Tensor { data_type: 1, dims: dims.to_vec(), float_data: data, name: name.to_owned(), ..Tensor::default() }
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        op_type: op.to_owned(),
        name: format!("the {op}"),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..Node::default()
    }
}

#[test]
fn a_model_without_a_gradient_is_refused_by_name() {
    let folder = scratch("onnx_flat");
    let int =
        |name: &str, i| Attribute { name: name.to_owned(), r#type: kind::INT, i, ..Attribute::default() };
    let port = |name: &str, dims: &[i64]| {
        let dim = dims.iter().map(|d| Dim { value: Some(Extent::Value(*d)) }).collect();
        let tensor_type = Some(TensorType { elem_type: 1, shape: Some(Shape { dim }) });
        ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type }) }
    };
    let graph = Graph {
        node: vec![
            node("Flatten", &["image"], "flat", vec![]),
            node("Gemm", &["flat", "w"], "scores", vec![int("transB", 1)]),
            node("ArgMax", &["scores"], "best", vec![int("axis", 1)]),
            node("Cast", &["best"], "class", vec![int("to", 1)]),
        ],
        initializer: vec![tensor(&[10, 64], vec![0.5; 640], "w")],
        input: vec![port("image", &[1, 1, 8, 8])],
        output: vec![port("class", &[1, 1])],
        ..Graph::default()
    };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
    let model = Model { ir_version: 8, opset_import, graph: Some(graph), ..Model::default() };
    std::fs::write(folder.join("flat.onnx"), model.encode_to_vec()).expect("a folder to write to");
    let refused =
        cnnc(&folder, &["train", "flat.onnx", "--with", "data=digits", "--with", "loss=mse(out, label)"]);
    assert!(refused.code == 1 && refused.err.contains("no gradient reaches a weight: `best`"), "{refused:?}");
    let scores = ["--with", "loss=cross_entropy(scores, label)", "--epochs", "1"];
    let inner = cnnc(&folder, &[&["train", "flat.onnx", "--with", "data=digits"][..], &scores].concat());
    assert_eq!(inner.code, 0, "{inner:?}");
}

fn read(path: &Path) -> (Vec<(String, cnnc::formats::HostArray)>, String) {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    npz::read_with(file, 1 << 20).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn weights_are_written_as_archives_and_read_back() {
    let folder = scratch("npz_weights");
    let lenet = root().join("examples/lenet5.cnn").display().to_string();
    let seeded = |file: &str| cnnc(&folder, &["weights", &lenet, "--seed", "5", "-o", file]);
    assert_eq!((seeded("a.npz").code, seeded("a.safetensors").code), (0, 0));
    let back = cnnc(&folder, &["weights", "a.npz", "-o", "b.safetensors"]);
    assert_eq!(back.code, 0, "{back:?}");
    let bytes = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    let tensors = |name: &str| {
        let mut file = cnnc::formats::safetensors::Weights::open(&folder.join(name)).expect("sound");
        let names: Vec<String> = file.shapes().map(|(name, _)| name.to_owned()).collect();
        names.into_iter().map(|n| (n.clone(), file.read(&n).expect("sound"))).collect::<Vec<_>>()
    };
    assert_eq!(tensors("a.safetensors"), tensors("b.safetensors"));
    assert!(read(&folder.join("a.npz")).1.starts_with("cnnc.architecture="));
    assert!(bytes("a.npz").len() > 100_000);
    // For another network the fingerprint differs, and the shapes do.
    let image = folder.join("x.npy");
    let mut x = Vec::new();
    cnnc::formats::npy::write(&mut x, &[1, 1, 32, 32], &[0.5; 1024]).expect("a vector takes everything");
    std::fs::write(&image, x).expect("a folder to write to");
    let run =
        |file: &str| cnnc(&folder, &["run", &lenet, "-i", "x.npy", "-w", file, "-o", &format!("{file}.npy")]);
    for file in ["a.npz", "b.safetensors"] {
        let ran = run(file);
        assert!(ran.code == 0 && !ran.err.contains("another architecture"), "{ran:?}");
    }
    assert_eq!(bytes("a.npz.npy"), bytes("b.safetensors.npy"));
    std::fs::write(folder.join("o.cnn"), "net A(x: [c: 3]) -> [c: 2] { x |> dense(2) as d }\n")
        .expect("written");
    let other = cnnc(&folder, &["weights", "o.cnn", "-w", "a.npz"]);
    assert!(other.code == 1 && other.err.contains("another architecture"), "{other:?}");
}
