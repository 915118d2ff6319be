//! The command line, through the public API only: one file per command.
//!
//! Results go to standard output, all else to standard error. Exit codes: 0 fine, 1 the program or a comparison is wrong,
//! 2 usage or an input that cannot be read, 101 a bug in cnnc. Only this layer reads the environment.

mod args;
mod completions;
mod doctor;
mod explain;
mod out;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use out::{Failure, Out};

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let out = Out { color_out: false, color_err: false, format: args::ErrorFormat::Human };
        out.error(&format!("this is a bug in cnnc {}: {info}", env!("CARGO_PKG_VERSION")));
        out.remark("note: please report it with the program that was compiled\n");
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // clap prints help and version to standard output with code 0, usage errors to standard error with code 2.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let out = Out::new(cli.global);
    match std::panic::catch_unwind(|| dispatch(cli.command, out)) {
        Ok(Ok(()) | Err(Failure::Closed)) => ExitCode::SUCCESS,
        Ok(Err(Failure::Wrong(text))) => {
            if !text.is_empty() {
                out.error(&text);
            }
            ExitCode::from(1)
        }
        Ok(Err(Failure::Unusable(text))) => {
            out.error(&text);
            ExitCode::from(2)
        }
        Err(_) => ExitCode::from(101),
    }
}

fn dispatch(command: Command, out: Out) -> Result<(), Failure> {
    match command {
        Command::Explain(args) => explain::run(&args, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, out),
        Command::Check(_) | Command::Compile(_) | Command::Run(_) | Command::Fmt(_) | Command::Repl(_) => {
            Err(Failure::Unusable("not there yet".into()))
        }
    }
}
