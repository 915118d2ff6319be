//! Syntax tree to graph: names, static values, blocks, shapes with their provenance, diagnostics with verified fixes.
