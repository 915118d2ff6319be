//! The command line, through the public API only: one file per command.
//!
//! Results go to standard output, all else to standard error. Exit codes: 0 fine, 1 the program or a comparison is wrong,
//! 2 usage or an input that cannot be read, 101 a bug in cnnc. Only this layer reads the environment.

mod args;
mod bench;
mod check;
mod compile;
mod completions;
mod data;
mod doctor;
mod explain;
mod export;
mod fmt;
mod gradcheck;
mod import;
mod layers;
mod object;
mod out;
mod pictures;
mod repl;
mod run;
mod source;
mod table;
mod tokens;
mod train;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use out::{Failure, Out};

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| report_bug(&info.to_string())));
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
                out.error(None, &text);
            }
            ExitCode::from(1)
        }
        Ok(Err(Failure::Coded(code, text))) => {
            out.error(Some(code), &text);
            ExitCode::from(out::exit_code(code))
        }
        Ok(Err(Failure::Bug(text))) => {
            report_bug(&text);
            ExitCode::from(101)
        }
        Ok(Err(Failure::Unusable(text))) => {
            out.error(None, &text);
            ExitCode::from(2)
        }
        Err(_) => ExitCode::from(101),
    }
}

/// Says that the tool is at fault, whatever the output options are.
fn report_bug(what: &str) {
    let out = Out { color_err: false, format: args::ErrorFormat::Human };
    out.error(None, &format!("this is a bug in cnnc {}: {what}", env!("CARGO_PKG_VERSION")));
    out.remark("note: please report it with the program that was compiled\n");
}

fn dispatch(command: Command, out: Out) -> Result<(), Failure> {
    match command {
        Command::Explain(args) => explain::run(&args, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Gradcheck(args) => gradcheck::run(&args, out),
        Command::Test(args) => gradcheck::test(&args, out),
        Command::Train(args) => train::run(&args, out),
        Command::Eval(args) => train::eval(&args, out),
        Command::Data(args) => data::run(&args, out),
        Command::Weights(args) => weights::show::run(&args, out),
        Command::Fmt(args) => fmt::run(&args, out),
        Command::Repl(args) => repl::run(&args, out),
        Command::Compile(args) => compile::run(&args, out),
        Command::Run(args) => run::run(&args, out),
        Command::Import(args) => import::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Bench(args) => bench::run(&args, out),
    }
}
