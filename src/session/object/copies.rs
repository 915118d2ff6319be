//! Nests that move numbers between regions of an object: fill, copy, copy into another layout.

use crate::kernels::isa::Isa;
use crate::loops::build::NestBuilder;
use crate::loops::{Affine, LoopKind, Nest};
use crate::ops::OpRules as _;
use crate::ops::copy::Copy;
use crate::ops::lower::LowerCx;
use crate::schedule::{Target, schedule};
use crate::tensor::layout::Layout;
use crate::tensor::ty::{TensorTy, TooLarge};

/// Stores `number` in `len` elements.
pub(super) fn fill(len: usize, number: f32, isa: &Isa) -> Result<Nest, TooLarge> {
    let mut b = NestBuilder::new("fill");
    let to = b.buf("to", &TensorTy::new([("x", len)])?, &Layout::canonical(1), true);
    b.for_(LoopKind::Free, "x", len, |b, x| b.store(to, &[Affine::from(x)], number));
    Ok(schedule(b.finish(), &Target::of(isa)).nest)
}

/// Copies `len` elements.
pub(super) fn copy(len: usize, isa: &Isa) -> Result<Nest, TooLarge> {
    let (ty, layout) = (TensorTy::new([("x", len)])?, Layout::canonical(1));
    Ok(relaid(&ty, &layout, &layout, isa))
}

/// Copies a tensor from one layout into another; a halo is not written.
pub(super) fn relaid(ty: &TensorTy, from: &Layout, to: &Layout, isa: &Isa) -> Nest {
    let mut cx = LowerCx::new("copy", &[(ty, from)], &[], (ty, to), Vec::new());
    Copy.lower(&mut cx);
    schedule(cx.finish(), &Target::of(isa)).nest
}
