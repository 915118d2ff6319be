//! The command line as users meet it: exit codes, streams, help.

use crate::support::{cnnc, cnnc_with, command, files, relative, root, scratch};

#[test]
fn help_shows_every_command_and_the_exit_codes() {
    let ran = cnnc(root(), &["--help"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for word in ["check", "compile", "run", "fmt", "explain", "repl", "completions", "doctor", "Exit codes"] {
        assert!(ran.out.contains(word), "`{word}` is missing:\n{}", ran.out);
    }
    assert!(ran.err.is_empty(), "{}", ran.err);
}

#[test]
fn a_slip_in_a_command_names_the_nearest_one() {
    let ran = cnnc(root(), &["chek", "a.cnn"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("'check'"), "{}", ran.err);
    assert!(ran.out.is_empty(), "{}", ran.out);
}

#[test]
fn version_says_which() {
    let ran = cnnc(root(), &["--version"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, concat!("cnnc ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn explain_knows_every_code_and_every_operation() {
    let list = cnnc(root(), &["explain"]);
    assert_eq!(list.code, 0, "{list:?}");
    for (code, title) in cnnc::support::codes::ALL {
        assert!(list.out.contains(&format!("{code}  {title}")), "{code} is not listed");
    }
    for info in cnnc::ops::infos() {
        assert!(list.out.contains(info.name), "`{}` is not listed", info.name);
    }
    let page = cnnc(root(), &["explain", "e0210"]);
    assert!(
        page.code == 0 && page.out.starts_with("# E0210: ") && page.out.contains("## Mended"),
        "{page:?}"
    );
    let operation = cnnc(root(), &["explain", "upsample"]);
    let parts = ["# upsample(", "## Arguments", "factor", "[default: 2]", "## Example", "net Up("];
    for part in parts {
        assert!(operation.out.contains(part), "`{part}` is missing:\n{}", operation.out);
    }
    let unknown = cnnc(root(), &["explain", "upsampel"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.err.contains("did you mean `upsample`?"), "{}", unknown.err);
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = cnnc(root(), &["completions", shell]);
        assert_eq!(ran.code, 0, "{shell}: {ran:?}");
        for word in ["compile", "error-format", "stdin-filename"] {
            assert!(ran.out.contains(word), "{shell}: `{word}` is missing");
        }
    }
}

#[test]
fn doctor_speaks_text_and_json() {
    let text = cnnc(root(), &["doctor"]);
    assert_eq!(text.code, 0, "{text:?}");
    assert!(text.out.contains(env!("CARGO_PKG_VERSION")) && text.out.contains("threads"), "{}", text.out);
    let json = cnnc(root(), &["doctor", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).expect("nothing but JSON");
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert!(value["threads"].as_u64().is_some_and(|n| n >= 1), "{value}");
    assert!(value["cpu_features"].is_array(), "{value}");
}

#[test]
fn a_file_that_is_not_there_is_named_and_ends_with_2() {
    for args in [["check", "nowhere.cnn"], ["fmt", "nowhere.cnn"]] {
        let ran = cnnc(root(), &args);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("nowhere.cnn") && ran.err.contains("No such file"), "{}", ran.err);
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let mut child = command(root(), &["completions", "zsh"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary that cargo built");
    // Closed before anything is read of it.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("a child of ours");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_no_text_is_e0004() {
    for args in [["check", "examples/data/camera.png"], ["fmt", "examples/data/camera.png"]] {
        let ran = cnnc(root(), &args);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("error[E0004]: ") && ran.err.contains("not UTF-8"), "{}", ran.err);
        assert!(ran.err.contains("examples/data/camera.png") && ran.out.is_empty(), "{ran:?}");
    }
}

const WRONG: &str = "net N(x: [c: 1, h: 8, w: 8]) { x |> cnov(4, 3x3) }\nnet M(x: [c: 1, h: 8, w: 8]) { x |> conv(4, 9x9) }\n";

#[test]
fn all_errors_come_in_one_run_in_each_format() {
    let dir = scratch("formats");
    std::fs::write(dir.join("wrong.cnn"), WRONG).expect("a scratch folder");
    let run = |format: &str| {
        let ran = cnnc(&dir, &["check", "--error-format", format, "wrong.cnn"]);
        assert!(ran.code == 1 && ran.out.is_empty(), "{ran:?}");
        ran.err
    };
    let human = run("human");
    for part in [
        "error[E0101]: ",
        "error[E0202]: ",
        "┌─ wrong.cnn:1:37",
        "`cnnc explain E0101`, `cnnc explain E0202` say more",
    ] {
        assert!(human.contains(part), "`{part}` is missing:\n{human}");
    }
    let short = run("short");
    let starts: Vec<&str> = short.lines().map(|l| l.get(..28).unwrap_or(l)).collect();
    assert_eq!(starts, ["wrong.cnn:1:37: error[E0101]", "wrong.cnn:2:37: error[E0202]"], "{short}");
    for line in run("json").lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        assert_eq!(value["filename"], "wrong.cnn");
        assert!(value["location"]["row"].is_u64() && value["message"].is_string(), "{value}");
    }
}

#[test]
fn a_program_on_standard_input_has_the_name_it_is_given() {
    let ran = cnnc_with(root(), &["check", "-", "--stdin-filename", "ed/itor.cnn"], WRONG.as_bytes());
    assert!(ran.code == 1 && ran.err.contains("┌─ ed/itor.cnn:1:37"), "{ran:?}");
    let fine = cnnc_with(root(), &["check", "-"], b"net N(x: [c: 1, w: 8, h: 9]) { x |> relu }");
    assert_eq!(
        (fine.code, fine.out.as_str()),
        (0, "<stdin>: ok\n  N(x: [c: 1, w: 8, h: 9]) -> [c: 1, w: 8, h: 9]\n")
    );
}

#[test]
fn colours_are_for_those_who_want_them() {
    let dir = scratch("colours");
    std::fs::write(dir.join("wrong.cnn"), WRONG).expect("a scratch folder");
    let colored = |args: &[&str], set: &[(&str, &str)]| {
        let mut command = command(&dir, args);
        command.envs(set.iter().copied());
        let output = command.output().expect("the binary that cargo built");
        String::from_utf8_lossy(&output.stderr).contains("\u{1b}[")
    };
    assert!(!colored(&["check", "wrong.cnn"], &[]));
    assert!(colored(&["check", "wrong.cnn", "--color", "always"], &[("NO_COLOR", "1")]));
    assert!(colored(&["check", "wrong.cnn"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!colored(&["check", "wrong.cnn", "--color", "never"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn set_changes_constants_and_refuses_unknown_ones() {
    let dir = scratch("set");
    std::fs::write(dir.join("s.cnn"), "const S = 8\nnet N(x: [c: 1, h: S, w: S]) { x |> conv(4, 3x3) }\n")
        .expect("scratch");
    let ran = cnnc(&dir, &["check", "s.cnn", "--set", "S=32"]);
    assert!(ran.code == 0 && ran.out.contains("[c: 4, h: 30, w: 30]"), "{ran:?}");
    let ran = cnnc(&dir, &["check", "s.cnn", "--set", "T=32"]);
    assert!(
        ran.code == 1 && ran.err.contains("error[E0116]") && ran.err.contains("its constants are S"),
        "{ran:?}"
    );
    let ran = cnnc(&dir, &["check", "s.cnn", "--set", "S"]);
    assert!(ran.code == 2 && ran.err.contains("NAME=VALUE"), "{ran:?}");
}

#[test]
fn an_absurd_number_of_threads_is_a_usage_error() {
    let ran = cnnc(root(), &["compile", "examples/edges.cnn", "--threads", "100000"]);
    assert!(ran.code == 2 && ran.err.contains("0..=1024"), "{ran:?}");
    let most = cnnc(root(), &["compile", "examples/edges.cnn", "--threads", "1024"]);
    assert!(most.code != 101, "{most:?}");
}

#[test]
fn a_missing_net_names_those_that_are_there() {
    let dir = scratch("nets");
    std::fs::write(dir.join("two.cnn"), "net Aone(x: [c: 1]) { x }\nnet Btwo(x: [c: 1]) { x }\n")
        .expect("scratch");
    let ran = cnnc(&dir, &["compile", "two.cnn", "--net", "Bto"]);
    assert!(ran.code == 2 && ran.err.contains("did you mean `Btwo`?"), "{ran:?}");
    std::fs::write(dir.join("none.cnn"), "const K = 3\n").expect("scratch");
    let ran = cnnc(&dir, &["compile", "none.cnn"]);
    assert!(ran.code == 2 && ran.err.contains("has no `net`"), "{ran:?}");
}

#[test]
fn fmt_formats_in_place_and_as_a_check() {
    let dir = scratch("fmt");
    let (untidy, tidy) = ("net  N ( x:[c:1] ){x|>relu}\n", "net N(x: [c: 1]) { x |> relu }\n");
    std::fs::write(dir.join("n.cnn"), untidy).expect("scratch");
    let checked = cnnc(&dir, &["fmt", "--check", "n.cnn"]);
    assert!(checked.code == 1 && checked.out == "n.cnn\n", "{checked:?}");
    let piped = cnnc_with(&dir, &["fmt"], untidy.as_bytes());
    assert_eq!((piped.code, piped.out.as_str()), (0, tidy));
    assert_eq!(cnnc(&dir, &["fmt", "n.cnn"]).code, 0);
    assert_eq!(std::fs::read_to_string(dir.join("n.cnn")).expect("scratch"), tidy);
    assert_eq!(cnnc(&dir, &["fmt", "--check", "n.cnn"]).code, 0);
    std::fs::write(dir.join("broken.cnn"), "net N(\n").expect("scratch");
    let broken = cnnc(&dir, &["fmt", "broken.cnn"]);
    assert!(broken.code == 1 && broken.err.contains("E0001"), "{broken:?}");
    assert_eq!(std::fs::read_to_string(dir.join("broken.cnn")).expect("scratch"), "net N(\n");
}

#[test]
fn the_examples_are_formatted_and_mean_the_same_after() {
    let examples: Vec<String> = files("examples", ".cnn").iter().map(|p| relative(p)).collect();
    assert!(examples.len() > 10, "{examples:?}");
    let mut args = vec!["fmt", "--check"];
    args.extend(examples.iter().map(String::as_str));
    let ran = cnnc(root(), &args);
    assert_eq!(ran.code, 0, "not formatted: {}{}", ran.out, ran.err);
}

#[test]
fn hostile_programs_end_soon_and_well() {
    let start = std::time::Instant::now();
    let deep = |open: &str, close: &str| {
        format!("net N(x: [c: 1]) {{ {}x{} }}", open.repeat(100_000), close.repeat(100_000))
    };
    let garbage: Vec<u8> = (0..20_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let texts: Vec<Vec<u8>> = vec![
        deep("(", ")").into_bytes(),
        deep("-", "").into_bytes(),
        deep("relu(", ")").into_bytes(),
        deep("{ x |> ", "}").into_bytes(),
        deep("[", "]").into_bytes(),
        deep("", " |> relu").into_bytes(),
        deep("", " + 1").into_bytes(),
        b"net N(x: [c: 4294967296, h: 4294967296, w: 4294967296]) { x }".to_vec(),
        b"net N(x: [c: 1, h: 8, w: 8]) { x |> upsample(4294967296) }".to_vec(),
        b"net N(x: [c: 1, h: 8, w: 8]) { x |> conv(9223372036854775807, 3x3) }".to_vec(),
        b"net N(x: [c: 1, h: 8, w: 8]) { x |> conv(4, 3x3, pad: 9223372036854775807) }".to_vec(),
        b"net N(x: [c: 1, h: 8, w: 8]) { x |> repeat 9223372036854775807 { it |> relu } }".to_vec(),
        b"const A = 2 ^ 2 ^ 2 ^ 2 ^ 2 ^ 2\nnet N(x: [c: A]) { x }".to_vec(),
        vec![b'#'; 20_000_000],
        garbage,
    ];
    for (i, text) in texts.iter().enumerate() {
        let ran = cnnc_with(root(), &["compile", "-"], text);
        assert!(ran.code == 1 || ran.code == 2, "program {i} ended with {}: {:.2000}", ran.code, ran.err);
        assert!(ran.err.len() < 200_000, "program {i}: {} bytes of messages", ran.err.len());
        assert!(!ran.err.contains("bug in cnnc"), "program {i}: {:.2000}", ran.err);
    }
    let zeros = cnnc(root(), &["check", "/dev/zero"]);
    assert_eq!(zeros.code, 1, "{:.2000}", zeros.err);
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
}
