//! Runs a compiled program: buffers, threads, steps. Knows machine code only as entry points.
