//! Tests of the module beside it.
