//! A network inside another program: compile it once, run it on any buffers.

use cnnc::session::{Compiler, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = "net Edges(image: [c: 1, h: 2, w: 4]) -> [c: 1, h: 2, w: 3] {
        image |> conv(1, 1x2, weights: [-1, 1], bias: false, train: false) }";
    let model = Compiler::new(Options::default()).compile_text(text)?;
    let pixels = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0];
    let outputs = model.run(&[("image", pixels.as_slice().into())])?;
    assert_eq!(outputs["out"].data(), [0.0, 1.0, 0.0, 0.0, -1.0, 0.0]);
    Ok(())
}
