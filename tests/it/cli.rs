//! The command line as users meet it: exit codes, streams, help.

use crate::support::{cnnc, root};

#[test]
fn help_shows_every_command_and_the_exit_codes() {
    let ran = cnnc(root(), &["--help"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for word in ["check", "compile", "run", "fmt", "explain", "repl", "completions", "doctor", "Exit codes"] {
        assert!(ran.out.contains(word), "`{word}` is missing:\n{}", ran.out);
    }
    assert!(ran.err.is_empty(), "{}", ran.err);
}
