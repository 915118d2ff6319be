//! `cnnc repl`: a conversation with the compiler, on a terminal or from a pipe.
//!
//! On a terminal rustyline edits lines, completes names and remembers. From a pipe lines are taken as they come, without
//! prompts, and the exit code says whether any input was wrong.

mod editor;
pub(super) mod facts;
mod state;

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};

use super::args::Repl;
use super::out::{Failure, Out};
use editor::{Assistant, needs_more};
use state::{Reply, State};

pub(super) fn run(args: &Repl, out: Out) -> Result<(), Failure> {
    let mut state = State::new(args.batch as usize);
    let mut wrong = false;
    for file in &args.files {
        wrong |= say(state.take(&format!(":load {}", file.display())), out)? == Next::Wrong;
    }
    if std::io::stdin().is_terminal() {
        return converse(&mut state, history(args), out);
    }
    wrong |= read_all(&mut state, out)?;
    if wrong { Err(Failure::said()) } else { Ok(()) }
}

/// Takes inputs from a pipe until it ends; whether any was wrong.
fn read_all(state: &mut State, out: Out) -> Result<bool, Failure> {
    let mut wrong = false;
    let mut input = String::new();
    let mut stdin = std::io::stdin().lock();
    loop {
        let got = stdin.read_line(&mut input).map_err(|e| Failure::io("standard input", &e))?;
        if got > 0 && needs_more(&input) {
            continue;
        }
        match say(state.take(&input), out)? {
            Next::Quit => return Ok(wrong),
            Next::Wrong => wrong = true,
            Next::Fine => {}
        }
        if got == 0 {
            return Ok(wrong);
        }
        input.clear();
    }
}

/// Talks with a person at a terminal.
fn converse(state: &mut State, history: Option<PathBuf>, out: Out) -> Result<(), Failure> {
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true).build();
    let mut editor: Editor<Assistant, DefaultHistory> =
        Editor::with_config(config).map_err(|e| Failure::Unusable(format!("the terminal: {e}")))?;
    editor.set_helper(Some(Assistant::default()));
    if let Some(path) = &history {
        // The first session has no history to load.
        let _ = editor.load_history(path);
    }
    out.remark(&format!("cnnc {}; `:help` for help, `:quit` to leave\n", env!("CARGO_PKG_VERSION")));
    loop {
        if let Some(helper) = editor.helper_mut() {
            helper.names = state.names().map(str::to_owned).collect();
        }
        let input = match editor.readline("> ") {
            Ok(input) => input,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Failure::Unusable(format!("the terminal: {error}"))),
        };
        if say(state.take(&input), out)? == Next::Quit {
            break;
        }
    }
    if let Some(path) = history
        && let Err(error) = save(&mut editor, &path)
    {
        out.remark(&format!("warning: the history was not saved to {}: {error}\n", path.display()));
    }
    Ok(())
}

/// What follows a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Fine,
    Wrong,
    Quit,
}

fn say(reply: Reply, out: Out) -> Result<Next, Failure> {
    match reply {
        Reply::Nothing => Ok(Next::Fine),
        Reply::Quit => Ok(Next::Quit),
        Reply::Text(text) => out.print(text).map(|()| Next::Fine),
        Reply::Wrong(checked) => {
            out.diagnostics(&checked.program.diagnostics, &checked.sources);
            Ok(Next::Wrong)
        }
        Reply::Failed(text) => {
            out.error(None, &text);
            Ok(Next::Wrong)
        }
    }
}

/// Where lines are remembered: as told, else in the user's state folder, else nowhere.
fn history(args: &Repl) -> Option<PathBuf> {
    if let Some(path) = &args.history {
        return (!path.is_empty()).then(|| PathBuf::from(path));
    }
    let home = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = home("XDG_STATE_HOME").or_else(|| Some(home("HOME")?.join(".local/state")))?;
    Some(state.join("cnnc/history"))
}

fn save(editor: &mut Editor<Assistant, DefaultHistory>, path: &Path) -> rustyline::Result<()> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir)?;
    }
    editor.save_history(path)
}
