//! What the tests share: the repository's files, running `cnnc`, scratch folders.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` (relative to the root) whose name ends in `suffix`, in order.
pub(crate) fn files(dir: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `path` relative to the root, with `/`.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// An empty folder of its own for one test, under cargo's scratch folder for tests.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a writable target folder");
    dir
}

/// What a run of `cnnc` gave.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output, as text.
    pub(crate) out: String,
    /// Standard output, as bytes.
    pub(crate) bytes: Vec<u8>,
    /// Standard error, as text.
    pub(crate) err: String,
}

/// Runs `cnnc` in `dir` with nothing on its input.
pub(crate) fn cnnc(dir: &Path, args: &[&str]) -> Ran {
    cnnc_with(dir, args, b"")
}

/// Runs `cnnc` in `dir` with `input` on its standard input and no variable that could change what it prints.
pub(crate) fn cnnc_with(dir: &Path, args: &[&str], input: &[u8]) -> Ran {
    let mut child = command(dir, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary that cargo built");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A child that does not read its input closes the pipe, which is its right.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("a child of ours");
    feeder.join().expect("the feeder does not panic");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        bytes: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command that runs `cnnc` in `dir`.
pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnnc"));
    command.current_dir(dir).args(args);
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "CNNC_THREADS", "CNNC_CPU", "CNNC_CACHE", "CNNC_HISTORY"] {
        command.env_remove(name);
    }
    command
}
