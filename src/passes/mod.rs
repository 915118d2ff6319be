//! Graph to graph: folding, CSE, DCE, fusion, layouts.
