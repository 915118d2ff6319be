//! The command line as users meet it: exit codes, streams, help.

use crate::support::{cnnc, command, root};

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
    let ran = cnnc(root(), &["check", "examples/data/camera.png"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("error[E0004]: examples/data/camera.png is not UTF-8 text"), "{}", ran.err);
    assert!(ran.out.is_empty(), "{}", ran.out);
}
