//! What this machine reaches, measured.

use std::time::{Duration, Instant};

use crate::kernels::isa::Isa;
use crate::kernels::peak::peaks;

/// The speed of one core on nothing but multiply-adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakSpeed {
    /// Bits of a vector. Loops run on 128.
    pub bits: usize,
    /// Floating-point operations per second, a multiply-add counting for two.
    pub operations_per_second: f64,
}

/// Chunks of one measurement: some tens of microseconds.
const CHUNKS: usize = 20_000;

/// Measures the peaks of `isa` on this thread for about `time` each; the best of many short runs counts, so that other work
/// on the machine disturbs little. Widths whose code cannot be made here are left out.
pub fn peak_speeds(isa: &Isa, time: Duration) -> Vec<PeakSpeed> {
    let peaks = peaks(isa, CHUNKS);
    let kernels: Vec<_> = peaks.iter().map(|p| p.kernel.clone()).collect();
    let Ok(entries) = crate::codegen::assembled(&kernels, isa) else { return Vec::new() };
    let mut out = Vec::new();
    for (peak, entry) in peaks.iter().zip(entries) {
        let mut buf = [0.5; 16];
        let (begin, mut best) = (Instant::now(), f64::INFINITY);
        while begin.elapsed() < time {
            let start = Instant::now();
            if entry.run(&mut [&mut buf]).is_err() {
                return out;
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        let operations_per_second = (peak.operations * CHUNKS) as f64 / best;
        out.push(PeakSpeed { bits: peak.bits, operations_per_second });
    }
    out
}
