//! Loop nests to tiled and vectorised loop nests; the memory plan.
