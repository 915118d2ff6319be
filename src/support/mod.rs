//! What every other module may lean on: names, spans, diagnostics, typed ids. Knows nothing of networks.

pub mod codes;
pub mod diag;
pub mod ids;
pub mod random;
pub mod span;

use std::sync::Arc;

/// An interned-by-sharing name; cloning it copies a pointer.
pub type Name = Arc<str>;
