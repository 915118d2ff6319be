//! `cnnc compile` and `cnnc run` on files: what goes in, what comes out, what is refused.

use std::path::{Path, PathBuf};

use cnnc::formats::{image, npy, safetensors};

use crate::support::{Ran, cnnc, cnnc_with, root, scratch};

/// A convolution whose result can be done by hand: two channels of 1x2 kernels.
const PAIR: &str = "net Pair(x: [c: 1, h: 2, w: 3]) -> [c: 2, h: 2, w: 2] { x |> conv(2, 1x2) as a }\n";

fn folder(name: &str) -> PathBuf {
    let dir = scratch(name);
    std::fs::write(dir.join("pair.cnn"), PAIR).expect("a scratch folder");
    array(&dir.join("x.npy"), &[1, 2, 3], &[1.0, 2.0, 4.0, 0.0, -1.0, 3.0]);
    weights(
        &dir.join("pair.safetensors"),
        &[("a.weight", &[2, 1, 1, 2], &[-1.0, 1.0, 0.5, 0.5]), ("a.bias", &[2], &[0.0, 10.0])],
    );
    dir
}

fn array(path: &Path, dims: &[usize], data: &[f32]) {
    let mut file = std::fs::File::create(path).expect("a scratch folder");
    npy::write(&mut file, dims, data).expect("a scratch folder");
}

fn weights(path: &Path, tensors: &[(&str, &[usize], &[f32])]) {
    let mut file = std::fs::File::create(path).expect("a scratch folder");
    safetensors::write(&mut file, tensors).expect("a scratch folder");
}

fn read(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let mut file = std::fs::File::open(path).expect("it was written");
    let array = npy::read(&mut file, 1 << 24).expect("a sound file");
    (array.dims, array.data)
}

/// Both channels of `PAIR` on `x.npy`: the difference of neighbours, and their mean plus 10.
const RESULT: [f32; 8] = [1.0, 2.0, -1.0, 4.0, 11.5, 13.0, 9.5, 11.0];

fn run(dir: &Path, args: &[&str]) -> Ran {
    let mut all = vec!["run", "pair.cnn", "--input", "x=x.npy", "--weights", "pair.safetensors"];
    all.extend(args);
    cnnc(dir, &all)
}

#[test]
fn arrays_go_in_and_come_out() {
    let dir = folder("arrays");
    let ran = run(&dir, &["--output", "y.npy"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(read(&dir.join("y.npy")), (vec![1, 2, 2, 2], RESULT.to_vec()));
    assert!(ran.out.contains("[n: 1, c: 2, h: 2, w: 2]: -1.000000 to 13.000000"), "{}", ran.out);
    assert!(ran.err.is_empty(), "{}", ran.err);
}

#[test]
fn a_dash_is_standard_input_and_output() {
    let dir = folder("dash");
    let input = std::fs::read(dir.join("x.npy")).expect("it was written");
    let args = ["run", "pair.cnn", "-i", "-", "-w", "pair.safetensors", "-o", "-"];
    let ran = cnnc_with(&dir, &args, &input);
    assert_eq!(ran.code, 0, "{ran:?}");
    let array = npy::read(&mut &ran.bytes[..], 100).expect("nothing but the array");
    assert_eq!(array.data, RESULT);
    assert!(ran.err.contains("ran in"), "the report goes to standard error: {}", ran.err);
    let twice = cnnc_with(&dir, &["run", "-", "-i", "-"], PAIR.as_bytes());
    assert!(twice.code == 2 && twice.err.contains("only once"), "{twice:?}");
}

#[test]
fn an_expectation_holds_or_says_where_not() {
    let dir = folder("expect");
    array(&dir.join("good.npy"), &[2, 2, 2], &RESULT);
    let good = run(&dir, &["--expect", "good.npy"]);
    assert!(good.code == 0 && good.out.contains("as expected: max abs 0"), "{good:?}");
    let mut off = RESULT;
    off[5] += 0.5;
    array(&dir.join("off.npy"), &[1, 2, 2, 2], &off);
    let bad = run(&dir, &["--expect", "out=off.npy"]);
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.out.contains("NOT as expected: max abs 5.0e-1 at [0, 1, 0, 1]"), "{}", bad.out);
    assert!(bad.out.contains("1 of 8 outside the tolerance"), "{}", bad.out);
    assert_eq!(run(&dir, &["--expect", "off.npy", "--atol", "0.6"]).code, 0);
    array(&dir.join("shape.npy"), &[2, 4], &RESULT);
    let shape = run(&dir, &["--expect", "shape.npy"]);
    assert!(
        shape.code == 1 && shape.err.contains("error[E0505]") && shape.err.contains("[2, 4]"),
        "{shape:?}"
    );
    let json = run(&dir, &["--expect", "off.npy", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).expect("nothing but JSON");
    assert_eq!(value["expected"][0]["worst"], serde_json::json!([0, 1, 0, 1]));
}

#[test]
fn the_reference_runs_beside_the_machine_code() {
    let dir = folder("check");
    let ran = run(&dir, &["--check"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("agrees with the f64 reference") && ran.out.contains("a      conv"),
        "{}",
        ran.out
    );
    // An impossible tolerance shows that the comparison is one.
    let lenet = ["run", "examples/lenet5.cnn", "-i", "image.npy", "--check", "--rtol", "0", "--atol", "0"];
    array(
        &dir.join("image.npy"),
        &[1, 32, 32],
        &(0..1024).map(|i| (i % 17) as f32 / 17.0).collect::<Vec<_>>(),
    );
    let image = dir.join("image.npy");
    let mut args = lenet.to_vec();
    args[3] = image.to_str().expect("a plain path");
    let strict = cnnc(root(), &args);
    assert!(strict.code == 1 && strict.out.contains("do NOT agree"), "{strict:?}");
    let usual = cnnc(root(), &args[..5]);
    assert_eq!(usual.code, 0, "{usual:?}");
}

#[test]
fn weights_that_do_not_fit_show_both_sides() {
    let dir = folder("weights");
    let with = |file: &str| cnnc(&dir, &["run", "pair.cnn", "-i", "x.npy", "--weights", file]);
    weights(
        &dir.join("names.safetensors"),
        &[("a.weigth", &[2, 1, 1, 2], &[0.0; 4]), ("a.bias", &[2], &[0.0; 2])],
    );
    let names = with("names.safetensors");
    assert!(names.code == 1 && names.err.contains("error[E0503]"), "{names:?}");
    assert!(names.err.contains("`a.weight`") && names.err.contains("`a.weigth`"), "{}", names.err);
    weights(
        &dir.join("shapes.safetensors"),
        &[("a.weight", &[2, 1, 2, 1], &[0.0; 4]), ("a.bias", &[2], &[0.0; 2])],
    );
    let shapes = with("shapes.safetensors");
    assert!(shapes.code == 1 && shapes.err.contains("error[E0504]"), "{shapes:?}");
    assert!(
        shapes.err.contains("[o: 2, i: 1, kh: 1, kw: 2]") && shapes.err.contains("[2, 1, 2, 1]"),
        "{}",
        shapes.err
    );
    let broken = with("x.npy");
    assert!(broken.code == 2 && broken.err.contains("error[E0502]: x.npy: "), "{broken:?}");
    let absent = with("absent.safetensors");
    assert!(absent.code == 2 && absent.err.contains("absent.safetensors: No such file"), "{absent:?}");
}

#[test]
fn inputs_are_matched_by_name_before_anything_is_read() {
    let dir = folder("names");
    let says = |args: &[&str], code: i32, part: &str| {
        let mut all = vec!["run", "pair.cnn"];
        all.extend(args);
        let ran = cnnc(&dir, &all);
        assert!(ran.code == code && ran.err.contains(part), "{args:?}: {ran:?}");
    };
    says(&[], 2, "input `x` [n: 1, c: 1, h: 2, w: 3] is not given: add `--input x=FILE`");
    says(&["-i", "y=absent.npy"], 2, "no input `y`");
    says(&["-i", "x=x.npy", "-i", "x.npy"], 2, "given twice");
    says(&["-i", "x.npy", "-o", "oot=y.npy"], 2, "did you mean `out`?");
    says(&["-i", "absent.npy"], 2, "absent.npy: No such file");
    says(&["-i", "pair.cnn"], 2, "pair.cnn: not a sound .npy file");
    says(
        &["-i", "x.npy", "--batch", "2"],
        1,
        "error[E0505]: x.npy does not fit `x` [n: 2, c: 1, h: 2, w: 3]",
    );
    says(&["-i", "x.npy", "-o", "y.png"], 1, "error[E0505]");
    says(&["-i", "x.npy", "--cpu", "quantum"], 2, "error[E0801]");
}

#[test]
fn the_photograph_becomes_a_picture_of_edges() {
    let dir = scratch("photograph");
    let out = dir.join("edges.png");
    let picture = format!("{}", out.display());
    let args =
        ["run", "examples/edges.cnn", "--net", "EdgePicture", "--set", "H=512", "--set", "W=512", "--input"];
    let mut args = args.to_vec();
    args.extend(["image=examples/data/camera.png", "--output", &picture]);
    let ran = cnnc(root(), &args);
    assert_eq!(ran.code, 0, "{ran:?}");
    let file = std::io::BufReader::new(std::fs::File::open(&out).expect("it was written"));
    let edges = image::read(file, 1, (512, 511)).expect("a picture one column narrower");
    let (dark, light) =
        edges.data.iter().fold((0, 0), |(d, l), x| (d + usize::from(*x < 0.2), l + usize::from(*x > 0.8)));
    assert!(
        dark > 150_000 && light > 5_000,
        "most of a photograph is no edge, some of it is: {dark}, {light}"
    );
    let small = cnnc(root(), &["run", "examples/edges.cnn", "--input", "image=examples/data/camera.png"]);
    assert!(small.code == 1 && small.err.contains("512 rows x 512 columns"), "{small:?}");
}

#[test]
fn the_report_gives_the_figures_of_the_book() {
    let ran = cnnc(
        root(),
        &["compile", "examples/edges.cnn", "--net", "Edges", "--set", "H=280", "--set", "W=320"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "[c: 1, h: 280, w: 319]",
        "267,960 floating-point operations",
        "1x2",
        "arena",
        "lower bound",
        "codegen",
    ] {
        assert!(ran.out.contains(part), "`{part}` is missing:\n{}", ran.out);
    }
    let json =
        cnnc(root(), &["compile", "examples/lenet5.cnn", "--json", "--threads", "1", "--cpu", "baseline"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).expect("nothing but JSON");
    let layers = value["layers"].as_array().expect("a list");
    let c3 = layers.iter().find(|l| l["name"] == "c3").expect("a layer");
    assert_eq!(c3["parameters"], 1516);
    assert_eq!(value["cpu"], "baseline");
    assert!(value["arena_bytes"].as_u64() >= value["arena_bytes_lower_bound"].as_u64(), "{value}");
}

#[test]
fn every_stage_can_be_seen() {
    let dir = folder("stages");
    let parts = [
        ("ast", "Net("),
        ("graph", "graph \"Pair\""),
        ("loops", "nest \"a\""),
        ("clif", "function"),
        ("asm", "ret"),
        ("plan", "arena: "),
        ("dot", "digraph"),
    ];
    for (stage, part) in parts {
        let ran = cnnc(&dir, &["compile", "pair.cnn", "--emit", stage]);
        assert!(ran.code == 0 && ran.out.contains(part), "{stage}: {ran:?}");
        let file = cnnc(&dir, &["compile", "pair.cnn", "--emit", stage, "-o", "stage.txt"]);
        assert!(file.code == 0 && file.out.is_empty(), "{stage}: {file:?}");
        assert_eq!(
            std::fs::read_to_string(dir.join("stage.txt")).expect("it was written"),
            ran.out,
            "{stage}"
        );
    }
}

#[test]
fn seeds_decide_and_threads_do_not() {
    let dir = folder("seeds");
    let run = |name: &str, more: &[&str]| {
        let mut args = vec!["run", "pair.cnn", "-i", "x.npy", "-o", name];
        args.extend(more);
        let ran = cnnc(&dir, &args);
        assert_eq!(ran.code, 0, "{ran:?}");
        std::fs::read(dir.join(name)).expect("it was written")
    };
    let one = run("one.npy", &["--threads", "1"]);
    assert_eq!(one, run("two.npy", &["--threads", "2"]));
    assert_eq!(one, run("again.npy", &["--seed", "0"]));
    assert_ne!(one, run("other.npy", &["--seed", "1"]));
}

#[test]
fn lying_files_are_refused_before_they_cost_anything() {
    let dir = folder("lying");
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    std::fs::write(dir.join("huge.npy"), &bytes).expect("scratch");
    std::fs::write(dir.join("cut.npy"), &std::fs::read(dir.join("x.npy")).expect("written")[..140])
        .expect("scratch");
    std::fs::write(dir.join("png.npy"), b"\x89PNG\r\n\x1a\n").expect("scratch");
    for (file, code, part) in [
        ("huge.npy", 1, "1099511627776 elements"),
        ("cut.npy", 2, "ends early"),
        ("png.npy", 1, "E0505"),
        ("/dev/zero", 2, "not a sound .npy file"),
    ] {
        let ran = cnnc(&dir, &["run", "pair.cnn", "-i", file]);
        if file == "png.npy" {
            assert!(ran.code == 2 || ran.code == 1, "{ran:?}");
            continue;
        }
        assert!(ran.code == code && ran.err.contains(part), "{file}: {ran:?}");
    }
}
