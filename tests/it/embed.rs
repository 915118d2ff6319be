//! The compiler inside other programs: the C library with its example and header, and the package whose build script compiles a
//! network.

use std::path::{Path, PathBuf};
use std::process::Command;

use cnnc::build::Build;
use cnnc::session::{Compiler, Isa, NoFiles};
use cnnc::{Options, TensorView};

use crate::aot::{cc, done, tool};
use crate::support::{read, root, scratch};

/// The target folder of the tests.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder in the target folder")
}

/// Builds a target of a package of the workspace as the tests are built; the folder of what comes out. These tests are named
/// beside it: what they depend on, too, decides about features of what all depend on, and other features would mean to compile
/// this library once more.
fn build(package: &str, kind: &[&str]) -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["build", "--offline", "--locked", "-q", "-p", "cnnc", "--test", "it"]);
    command.args(["-p", package]).args(kind).arg("--target-dir").arg(target());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    done(&mut command);
    target().join(if cfg!(debug_assertions) { "debug" } else { "release" })
}

#[test]
fn the_c_library_compiles_runs_and_says_what_is_wrong() {
    let Some(cc) = cc("the C library") else { return };
    let (dir, folder) = (scratch("capi"), build("cnnc-capi", &["--lib"]));
    let include = root().join("capi/include");
    let mut command = Command::new(cc);
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "api"]);
    command.arg(root().join("examples/c/api.c")).arg("-I").arg(&include).arg("-L").arg(&folder);
    command.args(["-lcnnc", &format!("-Wl,-rpath,{}", folder.display())]).current_dir(&dir);
    done(&mut command);
    let net = root().join("examples/digits.cnn");
    let out = String::from_utf8(done(Command::new(dir.join("api")).arg(&net))).expect("text");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[..3],
        [
            &format!("cnnc {}", env!("CARGO_PKG_VERSION")),
            "input image [n: 1, c: 1, h: 8, w: 8]",
            "output out [n: 1, c: 10]"
        ]
    );
    let model = Compiler::new(Options::default().threads(1)).compile_text(&read(&net)).expect("it compiles");
    let zeros = [0.0f32; 64];
    let outputs = model.run(&[("image", TensorView::from(&zeros[..]))]).expect("it runs");
    let wanted: Vec<f32> = outputs["out"].data().to_vec();
    let found: Vec<f32> =
        lines[3].split(' ').map(|x| x.parse::<f32>().unwrap_or_else(|e| panic!("{x}: {e}"))).collect();
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1e-3)), "{out}");
    let fails = |args: &[&str]| {
        let output = Command::new(dir.join("api")).args(args).current_dir(&dir).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let onnx = root().join("tests/files/onnx/models/mobile_script.onnx");
    let out = String::from_utf8(done(Command::new(dir.join("api")).arg(&onnx))).expect("text");
    assert!(out.contains("input x [n: 1, c: 3, h: 32, w: 32]"), "{out}");
    std::fs::write(dir.join("bad.cnn"), "net A(x: [c: 1, h: 2, w: 2]) -> [c: 1] { x |> konv(1, 1x1) }")
        .expect("a scratch folder");
    let said = fails(&["bad.cnn"]);
    assert!(said.contains("E0101") && said.contains("konv"), "{said}");
    assert!(fails(&["none.cnn"]).contains("none.cnn: No such file"));
    let said = fails(&[&net.to_string_lossy(), "none.safetensors"]);
    assert!(said.contains("none.safetensors"), "{said}");
}

/// What C may hand over by mistake is an error, and no crash.
#[test]
fn the_c_library_takes_null_pointers_for_errors() {
    let Some(cc) = cc("null pointers into the C library") else { return };
    let (dir, folder) = (scratch("capi-null"), build("cnnc-capi", &["--lib"]));
    std::fs::write(
        dir.join("null.c"),
        "#include <stdio.h>\n#include <string.h>\n#include \"cnnc.h\"\n\
         #define NET \"net A(x: [c: 1, h: 2, w: 2]) -> [c: 1, h: 2, w: 2] { relu(x) }\"\n\
         static int says(const char *what) { return strstr(cnnc_last_error(), what) ? 0 : (printf(\"%s\\n\", cnnc_last_error()), 1); }\n\
         int main(void)\n{\n    cnnc_options none = {0};\n    float x[4] = {1, -2, 3, -4}, y[4];\n    const float *in[1] = {x};\n\
         \x20   float *out[1] = {y};\n    if (cnnc_last_error()[0]) return 1;\n\
         \x20   if (cnnc_compile(NULL, NULL, NULL) || says(\"null\")) return 2;\n\
         \x20   if (cnnc_compile(\"\\xff\", NULL, NULL) || says(\"UTF-8\")) return 3;\n\
         \x20   if (cnnc_compile(NET, \"B\", NULL) || says(\"`B`\")) return 4;\n\
         \x20   none.cpu = \"z80\";\n    if (cnnc_compile(NET, NULL, &none) || says(\"z80\")) return 5;\n    none.cpu = \"baseline\";\n\
         \x20   cnnc_model *m = cnnc_compile(NET, \"A\", &none);\n    if (!m) return says(\"\") + 6;\n\
         \x20   if (cnnc_run(NULL, in, out) != 1 || says(\"null\")) return 7;\n\
         \x20   if (cnnc_run(m, NULL, out) != 1 || says(\"null\")) return 8;\n\
         \x20   if (cnnc_ports(m, 7) != 0 || says(\"side\")) return 9;\n\
         \x20   if (cnnc_port_name(m, CNNC_SIDE_INPUT, 1) || says(\"no port 1\")) return 10;\n\
         \x20   if (cnnc_port_axis(m, CNNC_SIDE_INPUT, 0, 4, NULL) != 0 || says(\"no axis 4\")) return 11;\n\
         \x20   if (cnnc_load_weights(NULL, \"x\") != 1 || says(\"null\")) return 12;\n\
         \x20   if (cnnc_run(m, in, out) != 0 || y[0] != 1 || y[1] != 0 || y[2] != 3 || y[3] != 0) return 13;\n\
         \x20   cnnc_free(m);\n    cnnc_free(NULL);\n    return 0;\n}\n",
    )
    .expect("a scratch folder");
    let include = root().join("capi/include");
    let mut command = Command::new(cc);
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "null", "null.c", "-I"]);
    command.arg(&include).arg("-L").arg(&folder).arg("-lcnnc");
    done(command.arg(format!("-Wl,-rpath,{}", folder.display())).current_dir(&dir));
    done(&mut Command::new(dir.join("null")));
    // The header is C++ as well.
    if let Some(cpp) = tool("c++", "the header as C++") {
        let flags = ["-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"];
        done(Command::new(cpp).args(flags).arg(include.join("cnnc.h")));
    }
}

#[test]
fn the_header_of_the_c_library_is_fresh() {
    // The programs above compile against it in any case.
    let Some(cbindgen) = tool("cbindgen", "comparing the header with the source") else { return };
    let capi = root().join("capi");
    let mut command = Command::new(cbindgen);
    command.arg("--config").arg(capi.join("cbindgen.toml")).arg(capi.join("src/lib.rs"));
    let made = String::from_utf8(done(&mut command)).expect("text");
    assert_eq!(
        made.trim(),
        read(&capi.join("include/cnnc.h")).trim(),
        "run the command in capi/cbindgen.toml"
    );
}

/// The steps of Cargo with `examples/embed`, without compiling this library for its build script once more.
#[test]
fn a_build_script_compiles_a_network_into_a_program() {
    // Objects are for Linux.
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return;
    }
    let Some(rustc) = tool("rustc", "a program with a build script") else { return };
    let (dir, package) = (scratch("embed"), root().join("examples/embed"));
    let script = read(&package.join("build.rs"));
    assert!(script.contains("cnnc::build::compile(\"../digits.cnn\")"), "{script}");
    let said = Build::new("../digits.cnn")
        .write(&package, "embed-example", &dir, &[Isa::baseline()])
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(said.iter().any(|w| w.starts_with("rerun-if-changed=") && w.ends_with("digits.cnn")), "{said:?}");
    let search = said.iter().find_map(|w| w.strip_prefix("rustc-link-search=")).expect("a place to search");
    let mut command = Command::new(rustc);
    command.args(["--edition", "2024", "-D", "warnings", "-o", "embed", "-L", search]).current_dir(&dir);
    done(command.arg(package.join("src/main.rs")).env("OUT_DIR", &dir));
    let out = String::from_utf8(done(&mut Command::new(dir.join("embed")))).expect("text");
    let missing = Build::new("none.cnn").write(&package, "p", &dir, &[Isa::baseline()]);
    assert!(missing.is_err_and(|e| e.to_string().contains("none.cnn: No such file")));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 11, "{out}");
    assert!(lines[10].starts_with("this is a "), "{out}");
    // The digit of the example, on the instruction set that every processor has.
    let source = read(&root().join("examples/embed/src/main.rs"));
    let shades = source.split("b\"").skip(1).filter_map(|l| l.split('"').next());
    let image: Vec<f32> =
        shades.flat_map(|l| l.bytes().map(|b| f32::from(b - b'0') / 9.0).collect::<Vec<f32>>()).collect();
    assert_eq!(image.len(), 64);
    let isa = Isa::baseline();
    let compiler = Compiler::new(Options::default().isa(isa).threads(1));
    let text = read(&root().join("examples/digits.cnn"));
    let model = compiler.compile(&compiler.check("digits.cnn", &text, &NoFiles), None).expect("it compiles");
    let outputs = model.run(&[("image", TensorView::from(&image))]).expect("it runs");
    for (i, (line, score)) in lines.iter().zip(outputs["out"].data()).enumerate() {
        assert_eq!(*line, format!("{i} {score:9.4}"));
    }
}
