//! Trainings compiled ahead of time: the steps, weights and gradients of an object are the JIT's, bit for bit.

use std::process::Command;

use cnnc::data::Places;
use cnnc::grad::gradients;
use cnnc::graph::{Def, Graph};
use cnnc::session::object::{Object, Settings, header};
use cnnc::session::{Compiler, Isa, NoFiles, Options};
use cnnc::trainer::Trainer;
use cnnc::{Tensor, TensorView};

use crate::aot::{cc, done};
use crate::support::{cnnc, read, root, scratch};

const NET: &str = "net Small(image: [c: 1, h: 8, w: 8]) -> [c: 10] {
    image |> conv(8, 3x3, pad: same) as c1 |> batchnorm as n1 |> relu |> maxpool(2x2)
        |> conv(16, 3x3, pad: same) as c2 |> relu |> maxpool(2x2) |> dense(10) as out
}
train Small {
    data digits   loss cross_entropy(out, label)   optimizer OPTIMIZER   batch 16   epochs 1   seed 5   MORE
}";

fn noise(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64).map(|i| cnnc::codegen::selftest::element(seed << 32, i)).collect()
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Steps of the test.
const STEPS: usize = 4;

/// The text of a C program: `STEPS` steps on batches from `in`, then weights, outputs and gradients to `out`. `masks` are inputs
/// of the step beside image and label, `numbers` those handed over by value.
fn program(numbers: usize) -> String {
    let floats: String = (0..numbers).map(|i| format!("numbers[{i}], ")).collect();
    format!(
        "#include <stdio.h>\n#include \"net.h\"\n\
         #define REGION(name, size) static _Alignas(NET_ALIGN) unsigned char name[size]\n\
         REGION(state, NET_STATE_BYTES); REGION(weights, NET_WEIGHTS_BYTES); REGION(params, NET_PARAMS_BYTES);\n\
         REGION(grads, NET_GRADS_BYTES); REGION(arena, NET_ARENA_BYTES); REGION(scratch, NET_SELFTEST_BYTES);\n\
         static float image[NET_STEP_IMAGE_LEN], label[NET_STEP_LABEL_LEN], one[NET_IMAGE_LEN], grad_one[NET_IMAGE_LEN];\n\
         static float out[NET_OUT_LEN], grad_out[NET_OUT_LEN], numbers[{numbers}], loss, norm;\n\
         #define READ(x) if (fread(x, sizeof x, 1, in) != 1) return 3\n\
         #define WRITE(x, size) if (fwrite(x, size, 1, to) != 1) return 4\n\
         int main(void)\n{{\n    FILE *in = fopen(\"in\", \"rb\"), *to = fopen(\"out\", \"wb\");\n    if (!in || !to) return 2;\n\
         \x20   if (net_selftest(scratch) != NET_OK) return 20 + net_selftest(scratch);\n\
         \x20   if (net_init(state)) return 5;\n\
         \x20   for (int i = 0; i < {STEPS}; i++) {{\n        READ(image); READ(label); READ(numbers);\n\
         \x20       if (net_step(state, image, label, {floats}&loss, &norm, arena)) return 6;\n\
         \x20       WRITE(&loss, sizeof loss); WRITE(&norm, sizeof norm);\n\
         \x20       if (i == 1) {{ /* there and back changes nothing */\n\
         \x20           if (net_get(state, params) || net_set(params, state)) return 7;\n        }}\n    }}\n\
         \x20   if (net_get(state, params) || net_pack(state, weights)) return 8;\n    WRITE(params, sizeof params);\n\
         \x20   READ(one); READ(grad_out);\n\
         \x20   if (net_forward(weights, one, out, arena)) return 9;\n    WRITE(out, sizeof out);\n\
         \x20   if (net_backward(weights, one, grad_out, grad_one, grads, arena)) return 10;\n\
         \x20   WRITE(grad_one, sizeof grad_one); WRITE(grads, sizeof grads);\n    return fclose(to);\n}}\n"
    )
}

/// The graph of the gradients of `Σ grad_out · out`, as an object computes it.
fn gradient_graph(graph: &Graph) -> Graph {
    let mut g = graph.clone();
    let out = graph.outputs[0].clone();
    let seed = g.input("grad", g.value(out.value).ty.clone(), out.order);
    let image = graph.inputs[0].value;
    let trained =
        graph.params().filter(|p| matches!(graph.value(*p).def, Def::Param { trainable: true, .. }));
    let wanted: Vec<_> = std::iter::once(image).chain(trained).collect();
    let grads = gradients(&mut g, &[(out.value, seed)], &wanted).expect("everything has a gradient");
    g.outputs.clear();
    for (of, grad) in wanted.iter().zip(grads) {
        let (name, rank) = (g.value(*of).name.clone(), g.value(*of).ty.dims().len());
        g.output(&name, grad.expect("everything counts"), (0..rank).collect());
    }
    g
}

fn same_training(name: &str, optimizer: &str, more: &str) {
    let Some(cc) = cc("a training ahead of time") else { return };
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let dir = scratch(&format!("aot-train-{name}"));
    let text = NET.replace("OPTIMIZER", optimizer).replace("MORE", more);
    let options = Options::default().threads(1);
    let compiler = Compiler::new(options.clone());
    let checked = compiler.check("small.cnn", &text, &NoFiles);
    let graph = &checked.net(None).expect("a net").graph;
    let places = Places::default();
    let trainer = Trainer::open(&options, ("small.cnn", &text), &NoFiles, None, &places)
        .unwrap_or_else(|e| panic!("{e}"));
    let settings = Settings {
        prefix: Some("net".to_owned()),
        targets: vec![Isa::foreign("x86-64-v2").expect("in the table"), Isa::detect()],
        weights_apart: false,
        source: "small.cnn".to_owned(),
    };
    let Object { bytes: object, interface, .. } =
        compiler.training_object(graph, &trainer.ahead(), &settings).unwrap_or_else(|e| panic!("{e}"));
    let mut step = trainer.step_model().clone();
    let numbers = step.inputs().iter().filter(|p| p.name.starts_with('@')).count();
    std::fs::write(dir.join("net.o"), object).expect("a scratch folder");
    std::fs::write(dir.join("net.h"), header::header(&interface)).expect("a scratch folder");
    std::fs::write(dir.join("main.c"), program(numbers)).expect("a scratch folder");
    let (mut given, mut wanted) = (Vec::new(), Vec::new());
    for i in 0..STEPS as u64 {
        let image = noise(16 * 64, i);
        let label: Vec<f32> = (0..16).map(|s| ((s * 7 + i) % 10) as f32).collect();
        let others: Vec<f32> = (0..numbers).map(|n| if n == 0 { 0.05 } else { 0.5 + n as f32 }).collect();
        given.extend([bytes(&image), bytes(&label), bytes(&others)].concat());
        let mut inputs: Vec<(String, Vec<f32>)> =
            vec![("image".to_owned(), image), ("label".to_owned(), label)];
        let names = step.inputs().iter().filter(|p| p.name.starts_with('@')).map(|p| p.name.to_string());
        inputs.extend(names.zip(others.iter().map(|x| vec![*x])));
        let views: Vec<(&str, TensorView<'_>)> =
            inputs.iter().map(|(n, x)| (n.as_str(), TensorView::from(x))).collect();
        let outputs = step.run_mut(&views).unwrap_or_else(|e| panic!("{e}"));
        assert!(outputs["@loss"].data()[0].is_finite());
        wanted.extend(bytes(outputs["@loss"].data()));
        wanted.extend(bytes(outputs["@norm"].data()));
        if i == 1 && more.contains("average") {
            // Setting weights lets averages begin there, and the program reads averages.
            let mut all = std::collections::BTreeMap::new();
            for info in step.weights() {
                all.insert(info.name.clone(), step.weight(&info.name).expect("memory").expect("its own"));
            }
            for id in graph.params() {
                let plain = &graph.value(id).name;
                if let Some(average) = all.get(&format!("{plain}@average")).cloned() {
                    all.insert(plain.clone(), average);
                }
            }
            step.load_weights(&mut all).unwrap_or_else(|e| panic!("{e}"));
        }
    }
    let (one, grad_out) = (noise(64, 91), noise(10, 92));
    given.extend([bytes(&one), bytes(&grad_out)].concat());
    std::fs::write(dir.join("in"), given).expect("a scratch folder");
    // The weights, row-major at multiples of 64 bytes.
    let mut weights = std::collections::BTreeMap::new();
    let padded = |to: &mut Vec<u8>, start: usize| {
        while !(to.len() - start).is_multiple_of(64) {
            to.push(0);
        }
    };
    let start = wanted.len();
    for id in graph.params() {
        let name = &graph.value(id).name;
        let average = step.weight(&format!("{name}@average")).expect("memory");
        let tensor: Tensor = average.or(step.weight(name).expect("memory")).expect("its own");
        wanted.extend(bytes(tensor.data()));
        padded(&mut wanted, start);
        weights.insert(name.clone(), tensor);
    }
    let mut model = compiler.compile_graph(graph.clone()).unwrap_or_else(|e| panic!("{e}"));
    model.load_weights(&mut weights).unwrap_or_else(|e| panic!("{e}"));
    let outputs = model.run(&[("image", TensorView::from(&one))]).unwrap_or_else(|e| panic!("{e}"));
    wanted.extend(bytes(outputs["out"].data()));
    let mut model = compiler.compile_graph(gradient_graph(graph)).unwrap_or_else(|e| panic!("{e}"));
    model.load_weights(&mut weights).unwrap_or_else(|e| panic!("{e}"));
    let inputs = [("image", TensorView::from(&one)), ("grad", TensorView::from(&grad_out))];
    let outputs = model.run(&inputs).unwrap_or_else(|e| panic!("{e}"));
    wanted.extend(bytes(outputs["image"].data()));
    let start = wanted.len();
    for id in graph.params() {
        match outputs.get(&graph.value(id).name) {
            Some(grad) => wanted.extend(bytes(grad.data())),
            // What training does not change is not written.
            None => wanted.extend(vec![0; graph.value(id).ty.len() * 4]),
        }
        padded(&mut wanted, start);
    }
    let flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"];
    done(Command::new(cc).current_dir(&dir).args(flags).args(["-o", "main", "main.c", "net.o"]));
    done(Command::new(dir.join("main")).current_dir(&dir));
    let found = std::fs::read(dir.join("out")).expect("the program wrote it");
    assert_eq!(found.len(), wanted.len(), "{name}");
    let first = found.iter().zip(&wanted).position(|(a, b)| a != b);
    assert_eq!(first, None, "{name}: the first byte that differs; steps end at {}", STEPS * 8);
}

#[test]
fn a_step_ahead_of_time_gives_the_bits_of_the_jit() {
    same_training("momentum", "sgd(rate: 0.05, momentum: 0.9, decay: 1e-4)", "");
    same_training("adamw", "adamw(rate: 1e-3)", "clip norm(limit: 1.0)");
    same_training("average", "sgd(rate: 0.05)", "average 0.9");
}

#[test]
fn the_tool_compiles_trainings() {
    let dir = scratch("aot-train-tool");
    let text = read(&root().join("examples/digits.cnn"));
    std::fs::write(dir.join("d.cnn"), &text).expect("a scratch folder");
    let ran = cnnc(&dir, &["compile", "d.cnn", "--train", "-o", "d.o", "-o", "d.h", "--target", "x86-64-v3"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let header = read(&dir.join("d.h"));
    for line in [
        "int digits_step(void *state, const float *step_image, const float *step_label, float rate, float size, float root, \
         float *step_loss, float *step_norm, void *arena);",
        "int digits_backward(const void *weights, const float *image, const float *grad_out, float *grad_image, void *grads, \
         void *arena);",
        "#define DIGITS_STEP_IMAGE_N 32",
        "#define DIGITS_IMAGE_N 1",
        "#define DIGITS_PARAMS_C1_WEIGHT_OFFSET 0 /* bytes: c1.weight [o: 24, i: 1, kh: 3, kw: 3] */",
    ] {
        assert!(header.lines().any(|l| l == line), "{line:?} is not in\n{header}");
    }
    std::fs::write(dir.join("n.cnn"), text.split("\ntrain ").next().expect("the net"))
        .expect("a scratch folder");
    let ran = cnnc(&dir, &["compile", "n.cnn", "--train", "-o", "n.o"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("`train Digits"), "{}", ran.err);
    let ran = cnnc(&dir, &["compile", "d.cnn", "--train", "-o", "d.o", "--weights-file", "w"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

/// Begins where the model was, prints what it computes for a picture of halves, and the loss of 30 steps on one batch.
const DRIVER: &str = r#"
#include <math.h>
#include <stdio.h>
#include "m.h"
static _Alignas(DIGITS_ALIGN) unsigned char arena[DIGITS_ARENA_BYTES], state[DIGITS_STATE_BYTES], weights[DIGITS_WEIGHTS_BYTES];
static _Alignas(DIGITS_ALIGN) unsigned char test[DIGITS_SELFTEST_BYTES];
static float image[64], scores[10], images[8 * 64], labels[8], loss, norm;
int main(void)
{
    if (digits_selftest(test) != DIGITS_OK) return 1;
    if (digits_init(state) || digits_pack(state, weights)) return 2;
    for (int i = 0; i < 64; i++) image[i] = 0.5f;
    if (digits_forward(weights, image, scores, arena)) return 3;
    for (int i = 0; i < 10; i++) printf("%.9g\n", scores[i]);
    for (int i = 0; i < 8 * 64; i++) images[i] = (float)(i * 37 % 101) / 101;
    for (int i = 0; i < 8; i++) labels[i] = (float)i;
    for (int i = 0; i < 30; i++) {
        if (digits_step(state, images, labels, 0.05f, &loss, &norm, arena)) return 4;
        printf("%.9g\n", loss);
    }
    return 0;
}
"#;

#[test]
fn a_model_of_another_tool_is_compiled_to_be_trained() {
    let dir = scratch("aot-train-onnx");
    let model = root().join("tests/files/onnx/models/digits.onnx").display().to_string();
    let item = "train Digits { data digits  loss cross_entropy(out, label)  optimizer sgd  batch 32 }";
    std::fs::write(dir.join("item.cnn"), item).expect("a scratch folder");
    let call = ["compile", &model, "--train", "-o", "m.o", "-o", "m.h", "--target", "x86-64-v2,native"];
    let none = cnnc(&dir, &call);
    assert!(none.code == 2 && none.err.contains("`--train-item FILE.cnn`"), "{none:?}");
    let alone = cnnc(&dir, &["compile", &model, "--train-item", "item.cnn", "-o", "m.o"]);
    assert_eq!(alone.code, 2, "{alone:?}");
    let made = cnnc(&dir, &[&call[..], &["--train-item", "item.cnn", "--with", "batch=8"]].concat());
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let mut x = Vec::new();
    cnnc::formats::npy::write(&mut x, &[1, 1, 8, 8], &[0.5; 64]).expect("a vector takes everything");
    std::fs::write(dir.join("x.npy"), x).expect("a scratch folder");
    let ran = cnnc(&dir, &["run", &model, "-i", "x.npy", "-o", "y.npy"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    std::fs::write(dir.join("d.cnn"), read(&root().join("examples/digits.cnn"))).expect("a scratch folder");
    let program = cnnc(&dir, &["compile", "d.cnn", "--train", "--train-item", "item.cnn", "-o", "d.o"]);
    assert!(program.code == 2 && program.err.contains("for ONNX models"), "{program:?}");
    let smaller =
        cnnc(&dir, &["compile", "d.cnn", "--train", "--with", "batch=16", "-o", "d.o", "-o", "d.h"]);
    assert_eq!((smaller.code, smaller.err.as_str()), (0, ""));
    assert!(read(&dir.join("d.h")).contains("#define DIGITS_STEP_IMAGE_N 16"));
    let Some(cc) = cc("a model that is trained in C") else { return };
    std::fs::write(dir.join("main.c"), DRIVER).expect("a scratch folder");
    let flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-o", "main", "main.c", "m.o", "-lm"];
    done(Command::new(cc).current_dir(&dir).args(flags));
    let said = String::from_utf8(done(Command::new(dir.join("main")).current_dir(&dir))).expect("text");
    let numbers: Vec<f32> = said.lines().map(|l| l.parse().expect("a number")).collect();
    let file = std::fs::read(dir.join("y.npy")).expect("it was written");
    let y = cnnc::formats::npy::read(&mut file.as_slice(), 10).expect("an array");
    // `run` folds batch normalisation when it imports, the object when it packs.
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5;
    assert!(y.data.len() == 10 && numbers.iter().zip(&y.data).all(near), "{numbers:?} {:?}", y.data);
    assert!(numbers[39] < 0.5 * numbers[10], "{numbers:?}");
}
