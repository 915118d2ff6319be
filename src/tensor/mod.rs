//! Tensors as data: the types of values, layouts of buffers, storage, comparison.

pub mod array;
pub mod compare;
pub mod layout;
pub mod owned;
pub mod ty;
