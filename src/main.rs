//! The `cnnc` binary: everything it does is in `cnnc::cli`.

fn main() -> std::process::ExitCode {
    cnnc::cli::main()
}
