//! Whatever the bytes, importing them ends soon, with a graph or an error, and without a panic; so does what a model may say of
//! other files.

use std::time::Instant;

use cnnc::formats::onnx::proto::{
    Entry, Graph, Model, Node, OperatorSet, Tensor, TensorType, Type, ValueInfo,
};
use cnnc::formats::onnx::{ImportOptions, import};
use prost::Message;

use crate::support::root;

fn fixture() -> Vec<u8> {
    std::fs::read(root().join("tests/files/onnx/models/last_script.onnx")).expect("a fixture")
}

/// The error of a file, if it is one; imported ones must compile nothing.
fn outcome(bytes: Vec<u8>, options: &ImportOptions) -> Result<(), String> {
    import(bytes.into(), options).map(|_| ()).map_err(|e| {
        let text = e.to_string();
        assert!(!text.is_empty() && text.len() < 4000, "{text:.200}");
        format!("{}: {text}", e.code)
    })
}

#[test]
fn every_truncation_and_every_changed_byte_is_survived() {
    let whole = fixture();
    let start = Instant::now();
    for len in 0..whole.len() {
        let _ = outcome(whole[..len].to_vec(), &ImportOptions::default());
    }
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = outcome(bytes, &ImportOptions::default());
        }
    }
    assert!(start.elapsed().as_secs() < 240, "{:?}", start.elapsed());
    assert!(outcome(whole[..whole.len() / 2].to_vec(), &ImportOptions::default()).is_err());
}

#[test]
fn the_corpus_of_the_fuzzer_ends() {
    let corpus = crate::support::files("fuzz/corpus/onnx", "");
    assert!(!corpus.is_empty());
    for path in corpus {
        let _ = outcome(std::fs::read(path).expect("a readable corpus"), &ImportOptions::default());
    }
}

fn node(op: &str, input: &[&str], output: &[&str]) -> Node {
    Node {
        op_type: op.to_owned(),
        input: input.iter().map(|s| (*s).to_owned()).collect(),
        output: output.iter().map(|s| (*s).to_owned()).collect(),
        ..Node::default()
    }
}

fn model(node: Vec<Node>, initializer: Vec<Tensor>) -> Vec<u8> {
    let output = vec![ValueInfo { name: "y".into(), r#type: None }];
    let graph = Graph { node, initializer, output, ..Graph::default() };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
    Model { ir_version: 8, graph: Some(graph), opset_import, ..Model::default() }.encode_to_vec()
}

fn error(bytes: Vec<u8>) -> String {
    outcome(bytes, &ImportOptions::default()).expect_err("a wrong model")
}

fn list(name: &str, values: &[i64]) -> Tensor {
    let dims = vec![values.len() as i64];
    Tensor { name: name.into(), data_type: 7, dims, int64_data: values.to_vec(), ..Tensor::default() }
}

#[test]
fn lies_are_said_to_be_lies() {
    let cycle = vec![node("Relu", &["a"], &["y"]), node("Relu", &["y"], &["a"])];
    assert!(error(model(cycle, vec![])).contains("form a cycle"));
    let twice = vec![node("Relu", &["a"], &["y"]), node("Relu", &["a"], &["y"])];
    assert!(error(model(twice, vec![])).contains("`y` is made twice"));
    assert!(
        error(model(vec![node("Relu", &["nothing"], &["y"])], vec![])).contains("nothing makes its operand")
    );
    let lstm = error(model(vec![Node { name: "rnn1".into(), ..node("LSTM", &[], &["y"]) }], vec![]));
    assert_eq!(lstm, "E0902: node `rnn1` (LSTM): recurrence is not supported");
    let other = Node { domain: "com.acme".into(), ..node("Widget", &[], &["y"]) };
    assert!(
        error(model(vec![other], vec![])).contains("(com.acme.Widget): the domain `com.acme` is not known")
    );
    assert!(error(model(vec![], vec![])).contains("no node makes the output `y`"));
    assert!(error(b"\x08\x08".to_vec()).contains("it holds no graph"));
}

#[test]
fn enormous_models_are_refused_before_memory_is_taken() {
    // Filled, expanded and tiled to more than there is.
    let filled = vec![node("ConstantOfShape", &["s"], &["y"])];
    assert!(error(model(filled, vec![list("s", &[1 << 40, 1 << 40])])).contains("more than memory holds"));
    let wide = vec![node("ConstantOfShape", &["s"], &["a"]), node("Expand", &["a", "t"], &["y"])];
    let text = error(model(wide, vec![list("s", &[1]), list("t", &[1 << 30, 1 << 30])]));
    assert!(text.contains("more than memory holds"), "{text}");
    // Each node doubles its operand: 2^60 elements after sixty.
    let mut nodes = vec![node("ConstantOfShape", &["s"], &["x0"])];
    for i in 0..60 {
        let (from, to) = (format!("x{i}"), if i == 59 { "y".to_owned() } else { format!("x{}", i + 1) });
        let mut join = node("Concat", &[&from, &from], &[&to]);
        join.attribute.push(cnnc::formats::onnx::proto::Attribute {
            name: "axis".into(),
            r#type: 2,
            ..Default::default()
        });
        nodes.push(join);
    }
    let start = Instant::now();
    let _ = outcome(model(nodes, vec![list("s", &[1])]), &ImportOptions::default());
    assert!(start.elapsed().as_secs() < 30);
}

/// Small files may ask for much often: what is folded and what tables hold is bounded for all nodes together.
#[test]
fn many_nodes_take_no_more_than_one() {
    let mut nodes = vec![node("ConstantOfShape", &["s"], &["x0"])];
    for i in 0..6000 {
        let to = if i == 5999 { "y".to_owned() } else { format!("x{}", i + 1) };
        nodes.push(node("Cos", &[&format!("x{i}")], &[&to]));
        nodes.push(node("Add", &["x0", &to], &[&format!("unused{i}")]));
    }
    let start = Instant::now();
    let _ = outcome(model(nodes, vec![list("s", &[1 << 15])]), &ImportOptions::default());
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    // Rows of a tensor of one input, chosen by tables of sixteen million places each.
    let mut nodes = Vec::new();
    for i in 0..64 {
        nodes.push(node("Expand", &["x", "s"], &[&format!("w{i}")]));
        nodes.push(node("Tile", &[&format!("w{i}"), "r"], &[&format!("t{i}")]));
    }
    let all: Vec<String> = (0..64).map(|i| format!("t{i}")).collect();
    nodes.push(node("Sum", &all.iter().map(String::as_str).collect::<Vec<_>>(), &["y"]));
    let input = ValueInfo {
        name: "x".into(),
        r#type: Some(Type { tensor_type: Some(TensorType { elem_type: 1, shape: None }) }),
    };
    let graph = Graph {
        node: nodes,
        initializer: vec![list("s", &[2]), list("r", &[1 << 23])],
        input: vec![input],
        output: vec![ValueInfo { name: "y".into(), r#type: None }],
        ..Graph::default()
    };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
    let bytes = Model { ir_version: 8, graph: Some(graph), opset_import, ..Model::default() }.encode_to_vec();
    let options = ImportOptions { shapes: vec![("x".into(), vec![2])], ..ImportOptions::default() };
    let start = Instant::now();
    let text = outcome(bytes, &options).expect_err("a wrong model");
    assert!(text.contains("(Tile): tables and constants of more entries in all"), "{text}");
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn external_data_stays_in_the_folder() {
    let at = |location: &str| Tensor {
        name: "w".into(),
        data_type: 1,
        dims: vec![1],
        data_location: 1,
        external_data: vec![Entry { key: "location".into(), value: location.into() }],
        ..Tensor::default()
    };
    let folder = Some(root().join("tests/files/onnx/models"));
    let options = ImportOptions { folder, ..ImportOptions::default() };
    for location in ["../cases.txt", "/etc/hostname", "a/../../cases.txt", ""] {
        let bytes = model(vec![node("Relu", &["w"], &["y"])], vec![at(location)]);
        let text = outcome(bytes, &options).expect_err("outside");
        assert!(text.starts_with("E0904") && text.contains("outside"), "{text}");
    }
    let bytes = model(vec![node("Relu", &["w"], &["y"])], vec![at("no such file")]);
    assert!(outcome(bytes, &options).is_err_and(|e| e.starts_with("E0904")));
    let bytes = model(vec![node("Relu", &["w"], &["y"])], vec![at("squeezenet.txt")]);
    assert!(
        outcome(bytes, &options)
            .is_err_and(|e| e.starts_with("E0901") && e.contains("elements for the extents"))
    );
    // A file with holes of sixteen gigabytes that a hundred tensors lie in: nothing of it is read.
    let folder = crate::support::scratch("onnx-external");
    let hollow = std::fs::File::create(folder.join("hollow")).expect("a file");
    if hollow.set_len(1 << 34).is_ok() {
        let options = ImportOptions { folder: Some(folder), ..ImportOptions::default() };
        let tensor = |i: usize| Tensor { name: format!("w{i}"), dims: vec![1 << 32], ..at("hollow") };
        let names: Vec<String> = (0..100).map(|i| format!("w{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let bytes = model(vec![node("Sum", &names, &["y"])], (0..100).map(tensor).collect());
        let start = Instant::now();
        outcome(bytes, &options).expect("it is imported");
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }
}

#[test]
fn operations_said_by_others_are_bounded_too() {
    let number = |name: &str, values: &[f32]| Tensor {
        name: name.into(),
        data_type: 1,
        dims: vec![values.len() as i64],
        float_data: values.to_vec(),
        ..Tensor::default()
    };
    let filled = |op: &str, more: &[&str], inits: Vec<Tensor>, shape: &[i64]| {
        let operands: Vec<&str> = std::iter::once("a").chain(more.iter().copied()).collect();
        let nodes = vec![node("ConstantOfShape", &["s"], &["a"]), node(op, &operands, &["y"])];
        let all = inits.into_iter().chain([list("s", shape)]).collect();
        let start = Instant::now();
        let text = error(model(nodes, all));
        assert!(start.elapsed().as_secs() < 10, "{op}");
        text
    };
    assert!(filled("Trilu", &[], vec![], &[1 << 20, 1 << 10]).contains("(Trilu): a triangle of"));
    assert!(
        filled("CumSum", &["k"], vec![list("k", &[0])], &[1 << 20]).contains("(CumSum): sums along an axis")
    );
    let hot = vec![list("d", &[1 << 24]), number("v", &[0.0, 1.0])];
    assert!(filled("OneHot", &["d", "v"], hot, &[1000]).contains("(OneHot): more elements than is sensible"));
    // Constants that nodes add are as bounded as those that they take.
    let huge = |op: &str, operands: &[&str], dims: &[i64], more: Vec<Tensor>| {
        let nodes = vec![node("ConstantOfShape", &["s"], &["a"]), node(op, operands, &["y"])];
        let start = Instant::now();
        let _ = outcome(
            model(nodes, more.into_iter().chain([list("s", dims)]).collect()),
            &ImportOptions::default(),
        );
        assert!(start.elapsed().as_secs() < 10, "{op}");
    };
    huge("LayerNormalization", &["a", "a"], &[1 << 36], vec![]);
    huge("Attention", &["a", "a", "a", "m"], &[1, 2, 4, 4], vec![number("m", &[1.0])]);
    huge("Attention", &["a", "a", "a", "a"], &[1 << 30, 1, 4, 4], vec![]);
    huge("OneHot", &["s", "d", "a"], &[1 << 36], vec![list("d", &[2])]);
    let put = |i: &[i64]| Tensor { dims: vec![i.len() as i64, 1], ..list("i", i) };
    let mut add = node("ScatterND", &["a", "i", "u"], &["y"]);
    add.attribute.push(cnnc::formats::onnx::proto::Attribute {
        name: "reduction".into(),
        r#type: 3,
        s: b"add".to_vec().into(),
        ..Default::default()
    });
    let nodes = vec![node("ConstantOfShape", &["s"], &["a"]), node("ConstantOfShape", &["t"], &["u"]), add];
    let start = Instant::now();
    let tensors = vec![put(&[5; 60]), list("s", &[1 << 23, 4]), list("t", &[60, 4])];
    let text = error(model(nodes, tensors));
    assert!(text.contains("(ScatterND): more than") && start.elapsed().as_secs() < 10, "{text}");
    let places = vec![list("i", &[0; 64])];
    assert!(
        filled("GatherElements", &["i"], places, &[1 << 22]).contains("(GatherElements): a choice among")
    );
    let mut flat = node("BatchNormalization", &["s", "s", "s", "s", "s"], &["y"]);
    flat.attribute.push(cnnc::formats::onnx::proto::Attribute {
        name: "training_mode".into(),
        r#type: 2,
        i: 1,
        ..Default::default()
    });
    let text = error(model(vec![flat], vec![number("s", &[1.0, 2.0])]));
    assert!(text.contains("its input has no channels"), "{text}");
    let none = vec![node("QuantizeLinear", &["x", "s"], &["y"])];
    let text = error(model(none, vec![number("s", &[]), number("x", &[1.0, 2.0])]));
    assert!(text.contains("(QuantizeLinear)"), "{text}");
}

#[test]
fn tables_that_operations_ask_for_are_bounded() {
    let take = |op: &str, operands: &[&str], inits: Vec<Tensor>, said: &str| {
        let start = Instant::now();
        let text = error(model(vec![node(op, operands, &["y"])], inits));
        assert!(start.elapsed().as_secs() < 10 && text.contains(said), "{op}: {text}");
    };
    let number = |name: &str, x: f32| Tensor {
        name: name.into(),
        data_type: 1,
        float_data: vec![x],
        ..Tensor::default()
    };
    let filled = |name: &str, dims: &[i64]| Tensor {
        name: name.into(),
        data_type: 1,
        dims: dims.to_vec(),
        raw_data: vec![0; 4 * dims.iter().product::<i64>() as usize].into(),
        ..Tensor::default()
    };
    take("HannWindow", &["n"], vec![list("n", &[1 << 40])], "(HannWindow): the size is");
    take("HannWindow", &["n"], vec![list("n", &[-1])], "(HannWindow): the size is");
    let bands = |low: f32, high: f32| {
        let all = [list("b", &[1000]), list("l", &[1 << 20]), list("r", &[8000])];
        all.into_iter().chain([number("f", low), number("t", high)]).collect::<Vec<_>>()
    };
    take("MelWeightMatrix", &["b", "l", "r", "f", "t"], bands(0.0, 4000.0), "a table of so many numbers");
    let mut narrow = bands(f32::NAN, f32::INFINITY);
    narrow[1] = list("l", &[256]);
    take("MelWeightMatrix", &["b", "l", "r", "f", "t"], narrow, "bands beyond the spectrum");
    take("DFT", &["x"], vec![filled("x", &[1, 20_000, 1])], "a transform of 20000 to 40000 numbers");
    take("STFT", &["x", "s"], vec![filled("x", &[1, 20_000]), list("s", &[0])], "the step is [0]");
    take("STFT", &["x", "s"], vec![filled("x", &[1, 20_000]), list("s", &[5])], "a transform of");
    // Three of these are within what all tables may have, many are not.
    let windows = |count: usize| {
        let mut nodes: Vec<Node> =
            (0..count).map(|i| node("HannWindow", &["n"], &[format!("w{i}").as_str()])).collect();
        let names: Vec<String> = (0..count).map(|i| format!("w{i}")).collect();
        nodes.push(node("Sum", &names.iter().map(String::as_str).collect::<Vec<_>>(), &["y"]));
        outcome(model(nodes, vec![list("n", &[1 << 20])]), &ImportOptions::default())
    };
    assert!(windows(3).is_ok());
    assert!(windows(80).is_err_and(|e| e.contains("more entries in all than are sensible")));
    // Offsets that ask for billions of samples.
    let input = |name: &str, dims: &[i64]| ValueInfo {
        name: name.into(),
        r#type: Some(Type {
            tensor_type: Some(TensorType {
                elem_type: 1,
                shape: Some(cnnc::formats::onnx::proto::Shape {
                    dim: dims
                        .iter()
                        .map(|d| cnnc::formats::onnx::proto::Dim {
                            value: Some(cnnc::formats::onnx::proto::Extent::Value(*d)),
                        })
                        .collect(),
                }),
            }),
        }),
    };
    let graph = Graph {
        node: vec![node("DeformConv", &["x", "w", "o"], &["y"])],
        input: vec![
            input("x", &[1, 4, 8, 8]),
            input("w", &[4, 4, 3, 3]),
            input("o", &[1, 18, 60_000, 60_000]),
        ],
        output: vec![ValueInfo { name: "y".into(), r#type: None }],
        ..Graph::default()
    };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 19 }];
    let bytes = Model { ir_version: 9, graph: Some(graph), opset_import, ..Model::default() }.encode_to_vec();
    assert!(error(bytes).contains("samples of more elements than is sensible"));
}
