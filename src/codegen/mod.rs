//! Loop nests to machine code in one module.
