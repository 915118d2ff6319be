//! Whole ONNX models against ONNX Runtime's outputs: known architectures with seeded weights, a trained model with channels last
//! and free size, and networks exported by PyTorch in several styles. `tests/peers/onnx_models.py` and
//! `onnx_zoo.py` make the files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cnnc::formats::onnx::proto::Model as Proto;
use cnnc::formats::onnx::{ImportOptions, import};
use cnnc::formats::{HostArray, npy};
use cnnc::session::{Compiler, Model, Options};
use cnnc::tensor::owned::{Tensor, TensorView};
use prost::Message;

use crate::support::{read, root};

fn file(name: &str) -> PathBuf {
    root().join("tests/files/onnx/models").join(name)
}

fn array(name: &str) -> HostArray {
    let mut file = std::fs::File::open(file(name)).expect("a fixture");
    npy::read(&mut file, 1 << 20).expect("an array")
}

/// The numbers that the script makes: from a hash of the name and the position.
fn seeded(name: &str, dims: &[usize]) -> Vec<f32> {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    }
    let reach = (6.0 / dims.iter().skip(1).product::<usize>() as f64).sqrt();
    (0..dims.iter().product::<usize>() as u64)
        .map(|i| {
            let mut z = hash.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let u = (z >> 40) as f64 / f64::from(1 << 23) - 1.0;
            (if dims.len() < 2 { 0.75 + 0.25 * u } else { u * reach }) as f32
        })
        .collect()
}

fn imported(name: &str, options: &ImportOptions) -> Model {
    let bytes = std::fs::read(file(&format!("{name}.onnx"))).expect("a fixture");
    let graph = import(bytes.into(), options).unwrap_or_else(|e| panic!("{name}: {e}")).graph;
    Compiler::new(Options::default()).compile_graph(graph).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Every element within `rtol` of its magnitude and `atol`.
fn assert_near(name: &str, found: &[f32], expected: &[f32], rtol: f32, atol: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= atol + rtol * e.abs(), "{name}: element {i} is {f}, not {e}");
    }
}

fn architecture(name: &str) {
    let notes = read(&file(&format!("{name}.txt")));
    let mut lines = notes.lines();
    let input = lines.next().expect("the input's name");
    let factor = lines.next().expect("a factor").trim_start_matches("np.float32(").trim_end_matches(')');
    let factor: f32 = factor.parse().expect("a number");
    let last: Vec<&str> = lines.collect();
    let mut model = imported(name, &ImportOptions::default());
    let bytes = std::fs::read(file(&format!("{name}.onnx"))).expect("a fixture");
    let graph = Proto::decode(bytes.as_slice()).expect("a model").graph.expect("a graph");
    let constant = graph.node.iter().filter(|n| n.op_type == "ConstantOfShape");
    let filled: Vec<String> = constant.flat_map(|n| n.output.clone()).collect();
    let mut weights = BTreeMap::new();
    for weight in model.weights() {
        let dims: Vec<usize> = weight.axes.iter().map(|a| a.1).collect();
        // Small tensors are in the file itself.
        if !filled.contains(&weight.name) {
            let own = model.weight(&weight.name).expect("a model's own weights").expect("its name");
            weights.insert(weight.name, own);
            continue;
        }
        let mut data = seeded(&weight.name, &dims);
        if last.contains(&weight.name.as_str()) {
            data.iter_mut().for_each(|x| *x *= factor);
        }
        let tensor = Tensor::new(&weight.axes, data).expect("fits");
        weights.insert(weight.name, tensor);
    }
    model.load_weights(&mut weights).expect("the model's own names and shapes");
    let x = seeded("input", &[1, 3, 224, 224]);
    let results = model.run(&[(input, TensorView::from(&x))]).expect("a run");
    let y = results.first().expect("one output");
    assert_near(name, y.data(), &array(&format!("{name}.expected.npy")).data, 1e-3, 1e-7);
}

#[test]
fn squeezenet_equals_onnx_runtime() {
    architecture("squeezenet");
}

#[test]
fn resnet50_equals_onnx_runtime() {
    architecture("resnet50");
}

#[test]
fn shufflenet_equals_onnx_runtime() {
    architecture("shufflenet");
}

/// A model with its own weights on seeded input.
fn given(name: &str, shape: &[usize]) {
    let bytes = std::fs::read(file(&format!("{name}.onnx"))).expect("a fixture");
    let first = first_input(&bytes);
    let options = ImportOptions { shapes: vec![(first.clone(), shape.to_vec())], ..ImportOptions::default() };
    let model = imported(name, &options);
    let x = seeded("input", shape);
    let results = model.run(&[(first.as_str(), TensorView::from(&x))]).expect("a run");
    for (i, (_, found)) in results.iter().enumerate() {
        let expected = array(&format!("{name}.{i}.npy"));
        assert_eq!(found.dims(), expected.dims, "{name}, output {i}");
        assert_near(&format!("{name}, output {i}"), found.data(), &expected.data, 1e-3, 1e-5);
    }
}

fn first_input(bytes: &[u8]) -> String {
    Proto::decode(bytes).expect("a model").graph.expect("a graph").input[0].name.clone()
}

#[test]
fn a_trained_model_with_channels_last_and_free_size() {
    given("pnet", &[1, 31, 45, 3]);
}

#[test]
fn exports_of_every_style() {
    for style in ["script", "dynamo"] {
        for (name, shape) in [
            ("mobile", &[1usize, 3, 32, 32][..]),
            ("segment", &[1, 3, 16, 18]),
            ("attend", &[2, 3, 16, 16]),
            ("shuffle", &[2, 3, 14, 13]),
            ("last", &[1, 13, 16, 3]),
        ] {
            given(&format!("{name}_{style}"), shape);
        }
    }
}

/// Channels last, transposes around every convolution, shapes computed, kernels reshaped, weights quantised.
#[test]
fn graphs_as_converters_write_them() {
    for (name, shape) in [
        ("kmobile", &[1usize, 33, 33, 3][..]),
        ("tfreshape", &[2, 16, 20, 3]),
        ("tfunet", &[1, 15, 22, 3]),
        ("kmbv3", &[1, 32, 32, 3]),
        ("tfgan", &[3, 8]),
        ("kwave", &[2, 50, 2]),
        ("paddle", &[1, 3, 20, 28]),
        ("tfmisc", &[1, 7, 9, 3]),
        ("qdq", &[1, 3, 8, 8]),
        ("tfdet", &[1, 16, 16, 3]),
        ("paddleocr", &[2, 3, 16, 40]),
        ("kaudio", &[2, 400, 2]),
    ] {
        given(name, shape);
    }
}

#[test]
fn exports_of_many_kinds_of_networks() {
    for (name, shape) in [
        ("residual_s13d", &[2usize, 3, 16, 16][..]),
        ("inverted_s11n", &[2, 3, 24, 24]),
        ("misc_s17", &[1, 3, 16, 16]),
        ("vol_s17", &[1, 1, 8, 16, 16]),
        ("swin_s17", &[2, 3, 32, 32]),
        ("grn_s11n", &[2, 3, 12, 14]),
        ("audio_s13d", &[1, 1, 1600]),
        ("aspp_s13d", &[1, 3, 64, 48]),
        ("segformer", &[1, 3, 32, 48]),
        ("stn", &[2, 1, 28, 28]),
        ("stn_reflect2", &[2, 1, 28, 28]),
        ("cbam", &[2, 3, 32, 24]),
        ("involution", &[1, 3, 12, 16]),
        ("focus", &[2, 3, 24, 20]),
    ] {
        given(name, shape);
    }
}

/// Bilinear, bicubic and nearest, corners aligned or not, by factors that give no whole extent, as PyTorch means them.
#[test]
fn resizing_to_no_whole_extent() {
    given("resized2", &[1, 3, 13, 17]);
}
