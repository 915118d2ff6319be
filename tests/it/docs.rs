//! What is written down is run: every program in the documents checks, every call of `cnnc` in the README says what stands
//! below it, every operation's example checks.

use std::path::Path;

use cnnc::session::{Compiler, NoFiles, Options};

use crate::errors::blocks;
use crate::support::{cnnc, read, root, scratch};

/// The errors of a program, short.
fn errors(name: &str, text: &str) -> Vec<String> {
    let checked = Compiler::new(Options::default()).check(name, text, &NoFiles);
    let short = |d: &cnnc::support::diag::Diagnostic| format!("{} {}", d.code, d.message);
    checked.diagnostics().iter().filter(|d| d.is_error()).map(short).collect()
}

#[test]
fn every_operation_s_example_checks() {
    let mut wrong = Vec::new();
    for info in cnnc::ops::infos() {
        for error in errors(info.name, info.example) {
            wrong.push(format!("`{}`: {error}\n    {}", info.name, info.example));
        }
        let called = info.example.contains(&format!("{}(", info.name))
            || info.example.contains(&format!("|> {}", info.name));
        let sign = !info.name.starts_with(|c: char| c.is_alphabetic());
        if !called && !sign {
            wrong.push(format!("`{}`: its example does not use it", info.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_program_in_the_documents_checks() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for path in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/language.md"] {
        let text = read(&root().join(path));
        for (_, program) in blocks(&text).into_iter().filter(|b| b.0 == "cnn") {
            seen += 1;
            wrong.extend(errors(path, program).into_iter().map(|e| format!("{path}: {e}\n{program}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 0, "no program is shown anywhere");
}

/// Blocks marked `console` hold calls (`$ cnnc …`) and below each what it prints; a line `…` stands for any lines, and a line
/// with times or sizes of code in it is not compared.
#[test]
fn every_call_in_the_readme_says_what_stands_below_it() {
    let text = read(&root().join("README.md"));
    let dir = scratch("readme");
    for (_, program) in blocks(&text).into_iter().filter(|b| b.0 == "cnn") {
        if let Some(name) =
            program.lines().next().and_then(|l| l.strip_prefix("# ")).filter(|n| n.ends_with(".cnn"))
        {
            std::fs::write(dir.join(name), program).expect("a scratch folder");
        }
    }
    // The tour's mistake, made as it says.
    let sound = read(&dir.join("residual.cnn"));
    let broken = sound.replace("residual.cnn", "broken.cnn").replace("conv(k, 1x1", "conv(k, 3x3");
    std::fs::write(dir.join("broken.cnn"), broken).expect("a scratch folder");
    std::os::unix::fs::symlink(root().join("examples"), dir.join("examples")).expect("a scratch folder");
    let mut calls = 0;
    for (_, block) in blocks(&text).into_iter().filter(|b| b.0 == "console") {
        let mut lines = block.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(call) = line.strip_prefix("$ cnnc ") else { continue };
            let mut below = Vec::new();
            while let Some(line) = lines.next_if(|l| !l.starts_with("$ ")) {
                below.push(line);
            }
            calls += 1;
            compare(&dir, call, &below);
        }
    }
    assert!(calls >= 3, "{calls} calls are shown");
}

fn compare(dir: &Path, call: &str, below: &[&str]) {
    let args: Vec<&str> = call.split_whitespace().collect();
    let ran = cnnc(dir, &args);
    let said = format!("{}{}", ran.out, ran.err);
    let mut rest = said.lines();
    for line in below.iter().map(|l| l.trim_end()) {
        if line == "…"
            || line.is_empty()
            || ["  ms", " ms:", "KiB", "threads"].iter().any(|w| line.contains(w))
        {
            continue;
        }
        // How a layer is computed depends on the machine.
        let line = line.split("  direct").next().and_then(|l| l.split("  reduce").next()).unwrap_or(line);
        assert!(
            rest.any(|l| l.trim_end() == line || l.starts_with(line) && line.len() > 60),
            "`cnnc {call}`: this line does not come:\n{line}\n\n{said}"
        );
    }
}

#[test]
fn the_readme_lists_every_operation() {
    let text = read(&root().join("README.md"));
    for info in cnnc::ops::infos() {
        let quoted = format!("`{}`", info.name);
        let sign = !info.name.starts_with(|c: char| c.is_alphabetic());
        assert!(sign || text.contains(&quoted), "{quoted} is not in the README");
    }
}
