//! Text to syntax tree, and back (the formatter).
