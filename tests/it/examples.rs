//! Every example network: its program checks, its parameters are those published, and machine code agrees with the `f64`
//! reference and the loop interpreter at a reduced size, for every instruction set, thread count and batch.

use cnnc::kernels::isa::Isa;
use cnnc::session::{Checked, Compiler, Files, Model, Options, Outputs};
use cnnc::support::diag::Severity;
use cnnc::tensor::compare::Tolerance;
use cnnc::tensor::owned::Tensor;

use crate::support::{files, read, relative, root};

/// Settings that keep an example small enough for the reference.
pub(crate) fn reduced(file: &str) -> Vec<(&'static str, &'static str)> {
    match file {
        "edges.cnn" => vec![("H", "20"), ("W", "23")],
        "unet.cnn" => vec![("S", "32"), ("C", "4")],
        "classifiers.cnn" => vec![("S", "48"), ("K", "10")],
        "audio.cnn" => vec![("T", "512")],
        "volume.cnn" => vec![("D", "8"), ("S", "16")],
        "label.cnn" => vec![("S", "16")],
        "nuclei.cnn" => vec![("S", "16"), ("C", "4")],
        "mnist.cnn" | "fashion.cnn" => vec![("C", "8")],
        "patches.cnn" => vec![("K", "16")],
        "autoencoder.cnn" => vec![("S", "8"), ("CODE", "4")],
        "digits.cnn" | "lenet5.cnn" | "connectivity.cnn" => vec![],
        _ => vec![("S", "32")],
    }
}

fn options(file: &str) -> Options {
    reduced(file).into_iter().fold(Options::default(), |o, (k, v)| o.set(k, v))
}

fn check(options: Options, file: &str) -> Checked {
    let path = root().join("examples").join(file);
    Compiler::new(options).check(&path.to_string_lossy(), &read(&path), &Files)
}

pub(crate) fn names() -> Vec<String> {
    files("examples", ".cnn").iter().map(|p| relative(p).trim_start_matches("examples/").to_owned()).collect()
}

/// A value in -1..1 for position `i`, the same for every batch image of the same content.
fn filled(axes: &[(cnnc::support::Name, usize)]) -> Tensor {
    let len = axes.iter().map(|a| a.1).product();
    let noise = |i: usize| {
        let mut x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    Tensor::new(axes, (0..len).map(noise).collect()).expect("a small tensor")
}

fn run(model: &Model) -> Outputs {
    let inputs: Vec<(String, Tensor)> =
        model.inputs().iter().map(|p| (p.name.to_string(), filled(&p.axes))).collect();
    let views: Vec<_> = inputs.iter().map(|(n, t)| (n.as_str(), t.view())).collect();
    model.run(&views).expect("inputs that fit")
}

fn bits(outputs: &Outputs) -> Vec<u32> {
    outputs.iter().flat_map(|(_, t)| t.data().iter().map(|x| x.to_bits())).collect()
}

/// Largest difference relative to the largest magnitude.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let scale = b.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0, |m: f32, (a, b)| m.max((a - b).abs())) / scale
}

#[test]
fn all_check_without_errors() {
    for file in names() {
        for options in [Options::default(), options(&file)] {
            let found = check(options, &file);
            let errors: Vec<_> = found
                .diagnostics()
                .iter()
                .filter(|d| d.code.severity() == Severity::Error)
                .map(|d| format!("{}: {} {:?}", found.sources.line(d.primary.span), d.message, d.notes))
                .collect();
            assert!(errors.is_empty(), "{file}:\n{}", errors.join("\n"));
        }
    }
}

#[test]
fn parameters_are_those_published() {
    for (file, net, want) in [
        ("resnet18.cnn", "ResNet18", 11_689_512),
        ("resnet20.cnn", "ResNet20", 272_474),
        ("resnet50.cnn", "ResNet50", 25_557_032),
        ("vgg16.cnn", "VGG16", 138_357_544),
        ("mobilenet_v1.cnn", "MobileNetV1", 4_231_976),
        ("densenet121.cnn", "DenseNet121", 7_978_856),
        ("squeezenet.cnn", "SqueezeNet", 1_235_496),
        ("all_conv.cnn", "AllConv", 1_369_738),
    ] {
        let found = check(Options::default(), file);
        let network = found.net(Some(net)).unwrap_or_else(|| panic!("{file} has no net {net}"));
        assert_eq!(cnnc::facts::facts(&network.graph).total.params, want, "{net}");
    }
    let found = check(Options::default(), "lenet5.cnn");
    let network = found.net(None).expect("a net");
    let facts = cnnc::facts::facts(&network.graph);
    let c3: u64 = cnnc::facts::under(&facts, "c3").map(|r| r.sums.params).sum();
    assert_eq!(c3, 1516);
}

#[test]
fn figure_9_6_counts() {
    let found = check(Options::default(), "edges.cnn");
    let network = found.net(Some("Edges")).expect("the net");
    let facts = cnnc::facts::facts(&network.graph);
    assert_eq!(facts.rows[0].ty.dims(), [1, 1, 280, 319]);
    assert_eq!(facts.total.flops, 267_960);
    assert_eq!(facts.total.params, 0);
}

#[test]
fn machine_code_agrees_with_the_reference() {
    let mut failed = Vec::new();
    for file in names() {
        let checked = check(options(&file), &file);
        let nets: Vec<String> = checked.program.nets.iter().map(|n| n.name.to_string()).collect();
        for net in nets {
            if let Err(e) = agrees(&file, &net) {
                failed.push(format!("{file}, {net}: {e}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The reference at batch 1, then every other way of running the same network.
fn agrees(file: &str, net: &str) -> Result<(), String> {
    let checked = check(options(file), file);
    let build = |o: Options| {
        let checked = check(o.clone(), file);
        Compiler::new(o).compile(&checked, Some(net)).map_err(|e| e.to_string())
    };
    let native = || options(file).isa(Isa::detect());
    if checked.has_errors() {
        return Err("it does not check".into());
    }
    let model = build(native())?;
    let inputs: Vec<(String, Tensor)> =
        model.inputs().iter().map(|p| (p.name.to_string(), filled(&p.axes))).collect();
    let views: Vec<_> = inputs.iter().map(|(n, t)| (n.as_str(), t.view())).collect();
    let (outputs, steps) = model.run_checked(&views, Tolerance::default()).map_err(|e| e.to_string())?;
    for step in steps {
        let worst = step.comparison.max_abs / step.comparison.scale.max(1e-6);
        if worst > 1e-4 {
            return Err(format!("{} ({}) is off by {worst:e}", step.name, step.kind));
        }
    }
    let want: Vec<f32> = outputs.iter().flat_map(|(_, t)| t.data().to_vec()).collect();
    let interpreted = model.run_interpreted(&views).map_err(|e| e.to_string())?;
    let loops: Vec<f32> = interpreted.iter().flat_map(|(_, t)| t.data().to_vec()).collect();
    if apart(&loops, &want) > 1e-4 {
        return Err(format!("the loop interpreter is off by {:e}", apart(&loops, &want)));
    }
    if bits(&run(&build(native().threads(2))?)) != bits(&outputs) {
        return Err("2 threads give other bits".into());
    }
    let baseline = run(&build(options(file).isa(Isa::baseline()))?);
    let got: Vec<f32> = baseline.iter().flat_map(|(_, t)| t.data().to_vec()).collect();
    if apart(&got, &want) > 1e-4 {
        return Err(format!("baseline is off by {:e}", apart(&got, &want)));
    }
    batch_of_three(&build(native().batch(3))?, &model)
}

/// A batch of three gives what its images give one by one.
fn batch_of_three(three: &Model, one: &Model) -> Result<(), String> {
    let inputs: Vec<(String, Tensor)> =
        three.inputs().iter().map(|p| (p.name.to_string(), filled(&p.axes))).collect();
    let views: Vec<_> = inputs.iter().map(|(n, t)| (n.as_str(), t.view())).collect();
    let all = three.run(&views).map_err(|e| e.to_string())?;
    for image in 0..3 {
        let part: Vec<(&str, &[f32])> = inputs
            .iter()
            .map(|(n, t)| {
                let len = t.data().len() / 3;
                (n.as_str(), &t.data()[image * len..(image + 1) * len])
            })
            .collect();
        let views: Vec<_> = part.iter().map(|(n, d)| (*n, (*d).into())).collect();
        let single = one.run(&views).map_err(|e| e.to_string())?;
        for ((name, a), (_, b)) in single.iter().zip(all.iter()) {
            let len = a.data().len();
            let worst = apart(&b.data()[image * len..(image + 1) * len], a.data());
            if worst > 1e-5 {
                return Err(format!("image {image} of a batch of three: {name} is off by {worst:e}"));
            }
        }
    }
    Ok(())
}
