//! Networks compiled ahead of time: the object's bits are the JIT's on every instruction set and number of threads, the header
//! compiles as C and C++, the test of itself finds what is wrong, and every mistake is said. Where there is no C compiler, what needs one
//! is skipped, which is said.

use std::path::{Path, PathBuf};
use std::process::Command;

use cnnc::session::object::{Object, Settings, header, rust};
use cnnc::session::{Compiler, Isa, Model, NoFiles, Options};
use cnnc::{Tensor, TensorView};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::support::{Ran, cnnc, read, root, scratch};

/// A C compiler, or a word that there is none.
pub(crate) fn cc(what: &str) -> Option<&'static str> {
    tool("cc", what)
}

#[expect(clippy::print_stderr, reason = "whoever reads the tests' output is to know")]
pub(crate) fn tool(name: &'static str, what: &str) -> Option<&'static str> {
    let there = Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        eprintln!("there is no `{name}`: {what} is skipped");
    }
    there.then_some(name)
}

/// Runs a command that must succeed; what it printed.
pub(crate) fn done(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output.stdout
}

const FLAGS: [&str; 6] = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"];

fn isas(names: &[&str]) -> Vec<Isa> {
    names.iter().map(|n| Isa::foreign(n).expect("in the table")).collect()
}

fn settings(prefix: &str, targets: &[&str], weights_apart: bool) -> Settings {
    Settings {
        prefix: Some(prefix.to_owned()),
        targets: isas(targets),
        weights_apart,
        source: "test.cnn".to_owned(),
    }
}

fn options() -> Options {
    Options::default().threads(1).seed(3)
}

/// The net of a text with its random weights, compiled both ways.
fn both(text: &str, options: Options, settings: &Settings) -> (Model, Object) {
    let compiler = Compiler::new(options);
    let checked = compiler.check("test.cnn", text, &NoFiles);
    let model = compiler.compile(&checked, None).unwrap_or_else(|e| panic!("{e}"));
    let net = checked.net(None).expect("a net");
    let object = compiler.object(&net.graph, &model, settings).unwrap_or_else(|e| panic!("{e}"));
    (model, object)
}

fn example(name: &str) -> String {
    read(&root().join("examples").join(name))
}

/// Numbers without pattern.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 24) as f32
    };
    (0..len).map(|_| next()).collect()
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Batch normalisation is folded at load time; two inputs and two outputs, one input with its channels last.
const SEVERAL: &str =
    "net Two(a: [c: 3, h: 9, w: 7], b: [h: 9, w: 7, c: 3]) -> (p: [c: 8, h: 9, w: 7], q: [c: 5]) {
    let x = a + b |> conv(8, 3x3, pad: same) |> batchnorm |> relu
    let q = x |> dense(5) |> softmax
    (x |> tanh, q)
}";

/// A C program that reads all inputs from `in`, runs `net_forward` and, on three threads, `net_forward_part` on every
/// instruction set that is there, and writes `number of the set, outputs` to `out` for each.
fn driver(object: &Object, apart: bool) -> String {
    let of = &object.interface;
    let mut buffers = String::new();
    let (mut given, mut again) = (Vec::new(), Vec::new());
    let (mut reads, mut writes) = (String::new(), String::new());
    for t in &of.tensors {
        let (name, len) = (format!("of_{}", t.ident), format!("NET_{}_LEN", t.ident.to_ascii_uppercase()));
        let again_too = if t.written { format!(", {name}_part[{len}]") } else { String::new() };
        buffers.push_str(&format!("static float {name}[{len}]{again_too};\n"));
        given.push(name.clone());
        again.push(if t.written { format!("{name}_part") } else { name.clone() });
        if t.written {
            writes.push_str(&format!(
                "        if (memcmp({name}, {name}_part, sizeof {name}) != 0) return 12;\n\
                 \x20       if (fwrite({name}, sizeof {name}, 1, out) != 1) return 13;\n"
            ));
        } else {
            reads.push_str(&format!("    if (fread({name}, sizeof {name}, 1, in) != 1) return 10;\n"));
        }
    }
    let weights = if apart { "weights, " } else { "" };
    let (given, again) = (given.join(", "), again.join(", "));
    let load = if apart {
        "    FILE *w = fopen(\"net.weights\", \"rb\");\n    if (!w || fread(weights, sizeof weights, 1, w) != 1) return 14;\n"
    } else {
        ""
    };
    let region =
        if apart { "static _Alignas(NET_ALIGN) unsigned char weights[NET_WEIGHTS_BYTES];\n" } else { "" };
    format!(
        "#define _POSIX_C_SOURCE 200809L\n#include <pthread.h>\n#include <stdio.h>\n#include <string.h>\n#include \"net.h\"\n\
         {buffers}{region}static _Alignas(NET_ALIGN) unsigned char arena[NET_SELFTEST_BYTES];\n\
         static pthread_barrier_t gate;\n\
         static void wait(void *context) {{ pthread_barrier_wait(context); }}\n\
         static int statuses[3];\n\
         static void *part(void *thread) {{\n    int *status = thread;\n    *status = net_forward_part({weights}{again}, arena, (size_t)(status - statuses), 3, wait, &gate);\n    return 0;\n}}\n\
         int main(void)\n{{\n    FILE *in = fopen(\"in\", \"rb\"), *out = fopen(\"out\", \"wb\");\n\
         \x20   if (!in || !out) return 9;\n{reads}{load}    pthread_barrier_init(&gate, 0, 3);\n\
         \x20   if (net_target() != 0 && net_selftest({weights}arena) != NET_OK) return 20 + net_selftest({weights}arena);\n\
         \x20   if (net_use(NET_TARGETS + 1) != NET_ARGUMENT || net_use(-1) != NET_ARGUMENT) return 8;\n\
         \x20   if (net_forward_part({weights}{given}, arena, 1, 1, 0, 0) != NET_ARGUMENT) return 7;\n\
         \x20   for (int t = 0; t <= NET_TARGETS; t++) {{\n        pthread_t threads[3];\n\
         \x20       if (net_use(t) != NET_OK) continue;\n\
         \x20       int now = net_target();\n\
         \x20       if (net_forward({weights}{given}, arena) != (now ? NET_OK : NET_UNSUPPORTED)) return 11;\n\
         \x20       if (!now) continue;\n\
         \x20       if (net_selftest({weights}arena) != NET_OK) return 20 + net_selftest({weights}arena);\n\
         \x20       for (int i = 0; i < 3; i++)\n            if (pthread_create(&threads[i], 0, part, &statuses[i])) return 15;\n\
         \x20       for (int i = 0; i < 3; i++) {{\n            pthread_join(threads[i], 0);\n            if (statuses[i]) return 16;\n        }}\n\
         \x20       if (fwrite(&now, sizeof now, 1, out) != 1) return 17;\n{writes}    }}\n    return fclose(out);\n}}\n"
    )
}

/// Builds `main.c` in `dir` against the object.
fn link(dir: &Path, cc: &str, object: &str) -> PathBuf {
    done(Command::new(cc).current_dir(dir).args(FLAGS).args(["-o", "main", "main.c", object, "-pthread"]));
    dir.join("main")
}

/// Compiles a text for several instruction sets and compares every one that this machine has with the JIT, bit for bit.
fn same_bits(name: &str, text: &str, options: Options, apart: bool) {
    let Some(cc) = cc("comparing an object's bits") else { return };
    let targets = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"];
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let dir = scratch(&format!("aot-{name}"));
    let (model, object) = both(text, options.clone(), &settings("net", &targets, apart));
    std::fs::write(dir.join("net.o"), &object.bytes).expect("a scratch folder");
    std::fs::write(dir.join("net.h"), header::header(&object.interface)).expect("a scratch folder");
    std::fs::write(dir.join("main.c"), driver(&object, apart)).expect("a scratch folder");
    if let Some(weights) = &object.weights {
        std::fs::write(dir.join("net.weights"), weights).expect("a scratch folder");
    }
    let inputs: Vec<Vec<f32>> =
        model.inputs().iter().enumerate().map(|(i, p)| noise(p.len(), i as u64 + 7)).collect();
    std::fs::write(dir.join("in"), bytes(&inputs.concat())).expect("a scratch folder");
    done(Command::new(link(&dir, cc, "net.o")).current_dir(&dir));
    let out = std::fs::read(dir.join("out")).expect("the program wrote it");
    let given: Vec<(&str, TensorView<'_>)> =
        model.inputs().iter().zip(&inputs).map(|(p, x)| (&*p.name, TensorView::from(x))).collect();
    // The widest first, as the program chooses by itself, then each.
    let here: Vec<usize> = (1..=targets.len()).filter(|i| Isa::named(targets[i - 1]).is_ok()).collect();
    let order: Vec<usize> = here.last().copied().into_iter().chain(here.iter().copied()).collect();
    assert!(here.len() >= 2, "this machine has SSE4.2");
    let mut rest = out.as_slice();
    for number in order {
        let isa = Isa::named(targets[number - 1]).expect("it is here");
        let compiler = Compiler::new(options.clone().isa(isa));
        let checked = compiler.check("test.cnn", text, &NoFiles);
        let jit = compiler.compile(&checked, None).unwrap_or_else(|e| panic!("{e}"));
        let wanted = jit.run(&given).unwrap_or_else(|e| panic!("{e}"));
        let (head, tail) = rest.split_at(4);
        assert_eq!(i32::from_le_bytes(head.try_into().expect("4 bytes")), number as i32, "{name}");
        rest = tail;
        for (output, tensor) in wanted.iter() {
            let wanted = bytes(Tensor::data(tensor));
            let (head, tail) = rest.split_at(wanted.len());
            assert!(head == wanted, "{name}: `{output}` on {} differs from the JIT", targets[number - 1]);
            rest = tail;
        }
    }
    assert!(rest.is_empty(), "{name}: more than expected");
    nothing_is_missing(&object.bytes);
}

/// Nothing undefined, no executable stack, only the promised names.
fn nothing_is_missing(bytes: &[u8]) {
    let file = object::File::parse(bytes).expect("an object");
    let undefined: Vec<&str> =
        file.symbols().filter(|s| s.is_undefined()).filter_map(|s| s.name().ok()).collect();
    assert!(undefined.iter().all(|n| n.is_empty()), "undefined: {undefined:?}");
    let public: Vec<&str> = file.symbols().filter(|s| s.is_global()).filter_map(|s| s.name().ok()).collect();
    assert!(public.len() >= 5 && public.iter().all(|n| n.starts_with("net_")), "{public:?}");
    assert!(file.section_by_name(".note.GNU-stack").is_some(), "the stack would be executable");
    assert!(file.section_by_name(".text").is_some_and(|s| s.size() > 100));
}

#[test]
fn an_object_gives_the_bits_of_the_jit_on_every_instruction_set() {
    same_bits("lenet5", &example("lenet5.cnn"), options().batch(2), false);
    same_bits("digits", &example("digits.cnn"), options(), true);
}

#[test]
fn objects_of_deep_networks_give_the_bits_of_the_jit() {
    // Batch normalisation is folded at load time; two inputs and two outputs; functions, powers and tables.
    let several =
        "net Two(a: [c: 3, h: 9, w: 7], b: [h: 9, w: 7, c: 3]) -> (p: [c: 8, h: 9, w: 7], q: [c: 5]) {
        let x = a + b |> conv(8, 3x3, pad: same) |> batchnorm |> relu
        let q = x |> dense(5) |> softmax
        (x |> tanh, q)
    }";
    same_bits("several", several, options(), false);
    same_bits("resnet20", &example("resnet20.cnn"), options(), false);
}

#[test]
fn the_example_in_c_builds_and_runs() {
    let Some(_) = cc("the example in C") else { return };
    let Some(make) = tool("make", "the example in C") else { return };
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let dir = scratch("aot-example");
    let mut command = Command::new(make);
    command.arg("-C").arg(root().join("examples/c")).arg("run");
    command.arg(format!("CNNC={}", env!("CARGO_BIN_EXE_cnnc"))).arg(format!("BUILD={}", dir.display()));
    let out = String::from_utf8(done(&mut command)).expect("text");
    assert!(out.contains("instruction set ") && out.contains("this is a "), "{out}");
    let scores = |l: &&str| l.starts_with(|c: char| c.is_ascii_digit());
    assert_eq!(out.lines().filter(scores).count(), 10, "{out}");
}

#[test]
fn headers_compile_as_c_and_as_cpp() {
    let dir = scratch("aot-header");
    let (_, object) = both(&example("lenet5.cnn"), options(), &settings("net", &["x86-64-v3"], true));
    let text = header::header(&object.interface);
    for line in [
        "#define NET_IMAGE_H 32",
        "#define NET_IMAGE_STRIDE_H 32",
        "#define NET_IMAGE_LEN 1024 /* elements */",
        "typedef float net_image[NET_IMAGE_N][NET_IMAGE_C][NET_IMAGE_H][NET_IMAGE_W];",
        "#define NET_TARGET_X86_64_V3 1",
        "int net_forward(const void *weights, const float *image, float *out, void *arena);",
        "int net_selftest(const void *weights, void *scratch);",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
    std::fs::write(dir.join("net.h"), &text).expect("a scratch folder");
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let check = |compiler: &str, flags: &[&str]| {
        done(Command::new(compiler).current_dir(&dir).args(flags).args([
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fsyntax-only",
            "main",
        ]))
    };
    std::fs::write(
        dir.join("main"),
        "#include \"net.h\"\n#include \"net.h\"\nint main(void) { return 0; }\n",
    )
    .expect("a scratch folder");
    if let Some(cc) = cc("headers as C") {
        check(cc, &["-x", "c", "-std=c11"]);
    }
    if let Some(cpp) = tool("c++", "headers as C++") {
        check(cpp, &["-x", "c++", "-std=c++11"]);
    }
}

#[test]
fn an_object_is_made_for_every_target() {
    for name in Isa::foreign_names() {
        let (_, object) = both(&example("lenet5.cnn"), options(), &settings("net", &[name], false));
        nothing_is_missing(&object.bytes);
        let file = object::File::parse(&*object.bytes).expect("an object");
        let wanted = match name {
            "aarch64" => object::Architecture::Aarch64,
            "native" if cfg!(target_arch = "aarch64") => object::Architecture::Aarch64,
            _ => object::Architecture::X86_64,
        };
        assert_eq!(file.architecture(), wanted, "{name}");
        assert_eq!(file.format(), object::BinaryFormat::Elf);
        let mut relocations = 0;
        for section in file.sections() {
            for (at, relocation) in section.relocations() {
                relocations += 1;
                assert!(at < section.size(), "{name}: a relocation beyond its section");
                assert!(matches!(relocation.target(), object::RelocationTarget::Symbol(_)), "{name}");
            }
        }
        assert!(relocations > 10, "{name}: {relocations} relocations");
    }
}

#[test]
fn compilations_are_equal() {
    let settings = settings("net", &["x86-64-v2", "x86-64-v4"], false);
    let (_, a) = both(&example("digits.cnn"), options(), &settings);
    let (_, b) = both(&example("digits.cnn"), options(), &settings);
    assert!(a.bytes == b.bytes);
    assert_eq!(header::header(&a.interface), header::header(&b.interface));
}

/// The exit code of the test of itself, built into `main` from the given object and weights.
fn selftest(dir: &Path, cc: &str, object: &[u8], weights: Option<&[u8]>) -> i32 {
    std::fs::write(dir.join("net.o"), object).expect("a scratch folder");
    if let Some(weights) = weights {
        std::fs::write(dir.join("net.weights"), weights).expect("a scratch folder");
    }
    let output = Command::new(link(dir, cc, "net.o")).current_dir(dir).output().expect("it runs");
    output.status.code().unwrap_or(-1)
}

#[test]
fn the_test_of_itself_finds_a_changed_weight_and_a_changed_result() {
    let Some(cc) = cc("the test of itself") else { return };
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let dir = scratch("aot-selftest");
    let (model, inside) = both(&example("digits.cnn"), options(), &settings("net", &["native"], false));
    std::fs::write(dir.join("net.h"), header::header(&inside.interface)).expect("a scratch folder");
    std::fs::write(
        dir.join("main.c"),
        "#include \"net.h\"\nstatic _Alignas(64) unsigned char scratch[NET_SELFTEST_BYTES];\n\
         int main(void) { return net_selftest(scratch); }\n",
    )
    .expect("a scratch folder");
    assert_eq!(selftest(&dir, cc, &inside.bytes, None), 0);
    // A weight, found in the object by its bits.
    let weight =
        model.weight("d1.bias").expect("memory").or(model.weight("d1.weight").expect("memory")).expect("d1");
    let some = weight.data().iter().find(|x| x.abs() > 1e-3).copied();
    let weight = some.unwrap_or_else(|| model.weight("d1.weight").expect("memory").expect("d1").data()[0]);
    let changed = |old: f32, new: f32| {
        let mut object = inside.bytes.clone();
        let at = object.windows(4).position(|w| w == old.to_le_bytes()).expect("it is in the object");
        object[at..at + 4].copy_from_slice(&new.to_le_bytes());
        object
    };
    assert_eq!(selftest(&dir, cc, &changed(weight, weight + 1e-3), None), 3);
    // What the compiler computed for the known input.
    let image: Vec<f32> = (0..64).map(|i| cnnc::codegen::selftest::element(0, i)).collect();
    let outputs = model.run(&[("image", TensorView::from(&image))]).expect("it runs");
    let score = outputs["out"].data()[3];
    assert_eq!(selftest(&dir, cc, &changed(score, score + score.abs() * 1e-2), None), 4);
    // The same with weights apart.
    let (_, apart) = both(&example("digits.cnn"), options(), &settings("net", &["native"], true));
    std::fs::write(dir.join("net.h"), header::header(&apart.interface)).expect("a scratch folder");
    std::fs::write(
        dir.join("main.c"),
        "#include <stdio.h>\n#include \"net.h\"\nstatic _Alignas(64) unsigned char scratch[NET_SELFTEST_BYTES], w[NET_WEIGHTS_BYTES];\n\
         int main(void) { FILE *f = fopen(\"net.weights\", \"rb\"); return f && fread(w, sizeof w, 1, f) == 1 ? net_selftest(w, scratch) : 99; }\n",
    )
    .expect("a scratch folder");
    let mut weights = apart.weights.clone().expect("they are apart");
    assert_eq!(selftest(&dir, cc, &apart.bytes, Some(&weights)), 0);
    let middle = weights.len() / 2;
    weights[middle] ^= 1;
    assert_eq!(selftest(&dir, cc, &apart.bytes, Some(&weights)), 3);
}

#[test]
fn the_tool_writes_objects_archives_libraries_and_headers() {
    let dir = scratch("aot-tool");
    std::fs::write(dir.join("d.cnn"), example("digits.cnn")).expect("a scratch folder");
    let ran = cnnc(
        &dir,
        &["compile", "d.cnn", "-o", "d.o", "-o", "d.a", "-o", "d.h", "--target", "x86-64-v2,x86-64-v3"],
    );
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let text = read(&dir.join("d.h"));
    assert!(text.contains("Digits of d.cnn") && text.contains("int digits_forward("), "{text}");
    let archive = std::fs::read(dir.join("d.a")).expect("it was written");
    let archive = object::read::archive::ArchiveFile::parse(&*archive).expect("an archive");
    let names: Vec<String> = archive
        .members()
        .map(|m| String::from_utf8_lossy(m.expect("a member").name()).into_owned())
        .collect();
    assert_eq!(names, ["d.o"]);
    assert!(archive.symbols().expect("readable").is_some(), "the archive has no table of symbols");
    if cfg!(target_arch = "x86_64")
        && let Some(cc) = cc("a shared library")
    {
        let ran = cnnc(&dir, &["compile", "d.cnn", "-o", "libd.so", "--target", "x86-64-v2,x86-64-v3"]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        std::fs::write(
            dir.join("main.c"),
            "#include \"d.h\"\nstatic _Alignas(64) unsigned char scratch[DIGITS_SELFTEST_BYTES];\n\
             int main(void) { return digits_selftest(scratch); }\n",
        )
        .expect("a scratch folder");
        done(Command::new(cc).current_dir(&dir).args(FLAGS).args([
            "-o",
            "main",
            "main.c",
            "libd.so",
            "-Wl,-rpath,$ORIGIN",
        ]));
        done(Command::new(dir.join("main")).current_dir(&dir));
    }
}

#[test]
fn mistakes_are_said() {
    let dir = scratch("aot-mistakes");
    std::fs::write(dir.join("d.cnn"), example("digits.cnn")).expect("a scratch folder");
    let said = |args: &[&str]| {
        let all: Vec<&str> = ["compile", "d.cnn"].into_iter().chain(args.iter().copied()).collect();
        let Ran { code, err, out, .. } = cnnc(&dir, &all);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        err
    };
    let err = said(&["-o", "d.o", "--target", "z80"]);
    assert!(err.contains("E0801") && err.contains("`z80`") && err.contains("x86-64-v3"), "{err}");
    let err = said(&["-o", "d.o", "--target", "x86-64-v2,aarch64"]);
    assert!(err.contains("two architectures"), "{err}");
    let err = said(&["-o", "d.o", "--prefix", "1st"]);
    assert!(err.contains("`1st`"), "{err}");
    let err = said(&["-o", "none/d.o"]);
    assert!(err.contains("none/d.o: No such file"), "{err}");
    let err = said(&["--target", "native"]);
    assert!(err.contains("-o net.o"), "{err}");
    let err = said(&["-o", "d.o", "-o", "d.txt"]);
    assert!(err.contains("d.txt"), "{err}");
    let err = said(&["-o", "d.o", "--weights", "none.safetensors"]);
    assert!(err.contains("none.safetensors"), "{err}");
    let mut command = crate::support::command(&dir, &["compile", "d.cnn", "-o", "d.so"]);
    let output = command.env("CC", "no-such-compiler").output().expect("the binary that cargo built");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("there is no `no-such-compiler` here"), "{err}");
    assert!(
        !dir.join("d.so").exists() && std::fs::read_dir(&dir).expect("readable").count() == 1,
        "nothing is left"
    );
}

/// A program that prints the instruction set that was chosen and the result of the test of itself, in `dir` as `main`.
fn shown(dir: &Path, compiler: &str, targets: &[&str]) -> PathBuf {
    let (_, object) = both(&example("digits.cnn"), options(), &settings("net", targets, false));
    std::fs::write(dir.join("net.o"), &object.bytes).expect("a scratch folder");
    std::fs::write(dir.join("net.h"), header::header(&object.interface)).expect("a scratch folder");
    std::fs::write(
        dir.join("main.c"),
        "#include <stdio.h>\n#include \"net.h\"\nstatic _Alignas(64) unsigned char scratch[NET_SELFTEST_BYTES];\n\
         int main(void)\n{\n    int target = net_target();\n    printf(\"%d %d\", target, net_selftest(scratch));\n    return 0;\n}\n",
    )
    .expect("a scratch folder");
    let mut command = Command::new(compiler);
    command.current_dir(dir).args(FLAGS).args(["-static", "-o", "main", "main.c", "net.o"]);
    done(&mut command);
    dir.join("main")
}

#[test]
fn the_widest_set_that_an_emulated_processor_offers_is_chosen() {
    let Some(cc) = cc("emulated processors") else { return };
    let Some(emulator) = tool("qemu-x86_64", "choosing on emulated processors") else { return };
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let main = shown(&scratch("aot-emulated"), cc, &["x86-64-v2", "x86-64-v3", "x86-64-v4"]);
    let on = |cpu: &str| {
        let mut command = Command::new(emulator);
        String::from_utf8(done(command.args(["-cpu", cpu]).arg(&main))).expect("text")
    };
    // SSSE3 only: no variant, which is a status and no illegal instruction.
    assert_eq!(on("core2duo"), "0 1");
    assert_eq!(on("Nehalem"), "1 0");
    assert_eq!(on("Haswell"), "2 0");
}

#[test]
fn an_object_for_aarch64_computes_the_same() {
    let compiler = tool("aarch64-linux-gnu-gcc", "running an object for aarch64");
    let emulator = tool("qemu-aarch64", "running an object for aarch64");
    let (Some(compiler), Some(emulator)) = (compiler, emulator) else { return };
    let main = shown(&scratch("aot-aarch64"), compiler, &["aarch64"]);
    let out = done(Command::new(emulator).arg(main));
    assert_eq!(String::from_utf8_lossy(&out), "1 0");
}

#[test]
fn the_rust_side_of_an_object_compiles_without_warnings() {
    let Some(rustc) = tool("rustc", "compiling the Rust side of an object") else { return };
    let dir = scratch("aot-rust");
    let (_, one) = both(&example("digits.cnn"), options().batch(2), &settings("net", &["x86-64-v3"], false));
    let (_, two) = both(SEVERAL, options(), &settings("net", &["x86-64-v3"], false));
    let (one, two) = (rust::source(&one.interface, "net"), rust::source(&two.interface, "net"));
    assert!(
        one.contains(
            "pub fn run(&mut self, image: &[[[[f32; 8]; 8]; 1]; 2]) -> Result<&[[f32; 10]; 2], DigitsError>"
        ),
        "{one}"
    );
    assert!(two.contains("pub fn run(&mut self, a: &[[[f32; 7]; 9]; 3], b: &[[[f32; 3]; 7]; 9]) -> Result<TwoOutputs<'_>, TwoError>"), "{two}");
    for text in [one, two] {
        std::fs::write(dir.join("net.rs"), text).expect("a scratch folder");
        let mut command = Command::new(rustc);
        command.current_dir(&dir).args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "-D",
            "warnings",
        ]);
        done(command.arg("net.rs"));
    }
}
