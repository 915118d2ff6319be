//! Files in and out: weights, arrays, images.
