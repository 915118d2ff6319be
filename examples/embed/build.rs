//! Compiles the network in `digits.cnn` for this target and writes `digits.rs`, which `main.rs` includes.

fn main() {
    if let Err(error) = cnnc::build::compile("../digits.cnn") {
        // Cargo shows what a build script that fails has said.
        eprintln!("{error}");
        std::process::exit(1);
    }
}
