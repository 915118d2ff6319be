//! Catalogue of microkernels: what machine code can be assembled, when it applies, what it means. Knows neither operations nor loops.
