//! ONNX models on the command line: every command that takes programs takes them, errors name node and operation, and
//! `import` and `export` write what reads back.

use crate::support::{cnnc, root, scratch};

/// A fixture's path.
fn model(name: &str) -> String {
    root().join(format!("tests/files/onnx/models/{name}.onnx")).display().to_string()
}

/// A seeded array of the mobile net's input, as a file of the folder.
fn input(folder: &std::path::Path) {
    let mut bytes = Vec::new();
    let x: Vec<f32> = (0..3 * 32 * 32).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
    cnnc::formats::npy::write(&mut bytes, &[1, 3, 32, 32], &x).expect("a vector takes everything");
    std::fs::write(folder.join("x.npy"), bytes).expect("a folder to write to");
}

#[test]
fn commands_take_models_as_they_take_programs() {
    let mobile = model("mobile_script");
    let checked = cnnc(root(), &["check", &mobile]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.out.contains("x: [c: 3, h: 32, w: 32]) -> [c: 10]"), "{}", checked.out);
    let report = cnnc(root(), &["compile", &mobile]);
    assert!(report.code == 0 && report.out.contains("conv") && report.out.contains("total"), "{report:?}");
    let free = cnnc(root(), &["check", &model("segment_script")]);
    assert_eq!(free.code, 1, "{free:?}");
    assert!(free.err.contains("E0903") && free.err.contains("--shape 'x=1x3xrowsx18'"), "{}", free.err);
    let bound = cnnc(root(), &["check", &model("segment_script"), "--shape", "x=1x3x16x18"]);
    assert_eq!(bound.code, 0, "{bound:?}");
    let program = cnnc(root(), &["check", "examples/lenet5.cnn", "--shape", "1x1x32x32"]);
    assert!(program.code == 2 && program.err.contains("`--shape` is for ONNX models"), "{program:?}");
    let folder = scratch("onnx_check");
    std::fs::write(folder.join("cut.onnx"), b"\x08\x08\x3a\x80\x80\x01").expect("a folder to write to");
    let cut = cnnc(&folder, &["check", "cut.onnx"]);
    assert!(cut.code == 1 && cut.err.contains("E0901"), "{cut:?}");
}

#[test]
fn a_model_becomes_a_program_and_a_program_a_model() {
    let folder = scratch("onnx_round");
    input(&folder);
    let mobile = model("mobile_script");
    let ran = cnnc(&folder, &["run", &mobile, "-i", "x.npy", "-o", "y.npy"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let import = cnnc(&folder, &["import", &mobile, "-o", "m.cnn", "--weights", "m.safetensors"]);
    assert_eq!(import.code, 0, "{import:?}");
    let fmt = cnnc(&folder, &["fmt", "--check", "m.cnn"]);
    assert_eq!(fmt.code, 0, "{fmt:?}");
    let same = cnnc(&folder, &["run", "m.cnn", "-w", "m.safetensors", "-i", "x.npy", "-e", "y.npy"]);
    assert!(same.code == 0 && !same.err.contains("another architecture"), "{same:?}");
    let export = cnnc(&folder, &["export", "m.cnn", "-w", "m.safetensors", "-o", "again.onnx"]);
    assert_eq!(export.code, 0, "{export:?}");
    let same = cnnc(&folder, &["run", "again.onnx", "-i", "x.npy", "-e", "y.npy"]);
    assert_eq!(same.code, 0, "{same:?}");
    let old = cnnc(&folder, &["export", "m.cnn", "-o", "old.onnx", "--opset", "9"]);
    assert!(old.code == 1 && old.err.contains("E0905") && old.err.contains("13 to 23"), "{old:?}");
}

#[test]
fn weights_are_renamed_and_shown_side_by_side() {
    let folder = scratch("onnx_weights");
    std::fs::write(folder.join("a.cnn"), "net A(x: [c: 3]) -> [c: 2] { x |> dense(2) as head }\n")
        .expect("written");
    let weights: [(&str, &[usize], &[f32]); 2] =
        [("old.weight", &[2, 3], &[0.5; 6]), ("old.bias", &[2], &[0.25; 2])];
    let mut bytes = Vec::new();
    cnnc::formats::safetensors::write(&mut bytes, &weights).expect("a vector takes everything");
    std::fs::write(folder.join("old.safetensors"), bytes).expect("a folder to write to");
    let mut x = Vec::new();
    cnnc::formats::npy::write(&mut x, &[1, 3], &[1.0, 2.0, 3.0]).expect("a vector takes everything");
    std::fs::write(folder.join("x.npy"), x).expect("a folder to write to");
    let call = ["run", "a.cnn", "-i", "x.npy", "-w", "old.safetensors"];
    let plain = cnnc(&folder, &call);
    assert_eq!(plain.code, 1, "{plain:?}");
    assert!(plain.err.contains("network  file") && plain.err.contains("old.weight"), "{}", plain.err);
    let mapped = cnnc(&folder, &[&call[..], &["--map", "old.*=head.*"]].concat());
    assert_eq!(mapped.code, 0, "{mapped:?}");
    let nothing = cnnc(&folder, &[&call[..], &["--map", "older.*=head.*"]].concat());
    assert!(nothing.code == 2 && nothing.err.contains("has no such weight"), "{nothing:?}");
}
