//! `cnnc completions SHELL`: a script for the shell on standard output.

use clap::CommandFactory;

use super::args::{Cli, Completions};
use super::out::{Failure, Out};

pub(super) fn run(args: &Completions, out: Out) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cnnc", &mut script);
    out.print(script)
}
