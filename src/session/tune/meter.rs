//! How long nests take. In: nests that compute the same over the same buffers. Out: the least seconds of each, on this thread.

use std::time::{Duration, Instant};

use crate::codegen::CodegenError;
use crate::kernels::isa::Isa;
use crate::loops::Nest;
use crate::runtime::arena::Storage;
use crate::runtime::call::Entry;
use crate::session::error::CompileError;

/// Time for all of them together.
const TIME: Duration = Duration::from_millis(100);

/// A sample is at least so long, so that looking at the clock does not count.
const SAMPLE: f64 = 20e-6;

/// What is so much slower than the best is not measured again.
const SLOW: f64 = 1.25;

/// Seconds of each nest; infinite for those that no time was left for. The first is always measured.
pub(super) fn seconds(nests: &[Nest], isa: &Isa) -> Result<Vec<f64>, CompileError> {
    let code = crate::codegen::compile(nests, isa)?;
    let Some(first) = nests.first() else { return Ok(Vec::new()) };
    let mut bufs: Vec<Storage> = Vec::new();
    for buf in &first.bufs {
        let Ok(mut storage) = Storage::zeroed(buf.len) else { return Ok(vec![f64::INFINITY; nests.len()]) };
        // Numbers that neither grow without bound nor become so small that processors slow down.
        for (i, x) in storage.as_mut_slice().iter_mut().enumerate() {
            *x = 0.1 + (i % 13) as f32 / 26.0;
        }
        bufs.push(storage);
    }
    let mut slices: Vec<&mut [f32]> = bufs.iter_mut().map(Storage::as_mut_slice).collect();
    let begin = Instant::now();
    let mut best = vec![f64::INFINITY; nests.len()];
    let mut turns = vec![1; nests.len()];
    for (i, entry) in code.entries().iter().enumerate() {
        if i > 0 && begin.elapsed() > TIME {
            return Ok(best);
        }
        // The first run touches memory and code.
        let once = sample(entry, &mut slices, 1)?;
        turns[i] = (SAMPLE / once.max(1e-9)).ceil().clamp(1.0, 1e5) as usize;
        best[i] = once.min(sample(entry, &mut slices, turns[i])?);
    }
    while begin.elapsed() < TIME {
        let least = best.iter().copied().fold(f64::INFINITY, f64::min);
        for (i, entry) in code.entries().iter().enumerate() {
            // The first is what all others are held against: a disturbance must not count against it.
            if i == 0 || best[i] <= SLOW * least && begin.elapsed() < TIME {
                best[i] = best[i].min(sample(entry, &mut slices, turns[i])?);
            }
        }
    }
    Ok(best)
}

/// Seconds of one of so many runs.
fn sample(entry: &Entry, bufs: &mut [&mut [f32]], turns: usize) -> Result<f64, CompileError> {
    let start = Instant::now();
    for _ in 0..turns {
        entry
            .run(bufs)
            .map_err(|e| CodegenError::Backend { nest: e.entry.clone(), message: e.to_string() })?;
    }
    Ok(start.elapsed().as_secs_f64() / turns as f64)
}
