//! The loop nests of transposed convolution, in gather form: every output sums what reaches it, so that nothing is added
//! into memory.
//!
//! Output `q` sees input `p` through tap `k` when `p*s + k*d = q + lo`. Which taps can meet an output is decided by its
//! *phase* `q mod s`: of a phase `a` the taps are `k0, k0 + s/g, k0 + 2*s/g, …` with `g = gcd(s, d)`, and for `q = s*i + a` tap
//! `k0 + t*s/g` sees input `i + (a + lo - k0*d)/s - t*d/g`. With few phases and few sets of weights each phase is a nest of
//! its own, a plain convolution that reads the input's halo; else phases are loops with tables, and guards keep to the input.
//! Where an axis has one input and each output is reached through one tap, there is nothing to sum along it. Where sets of weights take
//! turns every `T` inputs, a phase is `q mod s*T`, and its taps fall into runs that see inputs of one set.

use std::collections::BTreeMap;

use super::bands::Bands;
use super::channel_loops::{Channel, Section, listed, sections};
use super::conv_nest::{guard, serial, set, stored};
use super::geometry::{Geometry, Share};
use super::lower::LowerCx;
use super::unconv::Unconv;
use super::window::Window;
use crate::loops::{Affine, Expr, LoopKind, Reg};

/// More phases than this are not written out.
const PHASES_MAX: usize = 32;

/// More runs of taps, those of all phases together, are not written out.
const SUMS_MAX: usize = 100;

/// One phase of one axis.
#[derive(Clone, Debug)]
struct Phase {
    /// The residue `a` of its outputs.
    residue: usize,
    /// How many outputs it has.
    rows: usize,
    /// Its taps; empty where none meets its outputs.
    runs: Vec<Run>,
}

/// Taps of a phase that see inputs of one set.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The set, of those that take turns.
    set: usize,
    /// The first tap.
    first: usize,
    /// How many taps there are.
    taps: usize,
    /// How far taps lie apart, and how far the inputs that they see.
    apart: (usize, usize),
    /// The input that output `a` sees through the first tap.
    base: i64,
}

/// How often sets take turns on each axis.
fn turns(geometry: &Geometry, rank: usize) -> Vec<usize> {
    match &geometry.share {
        Share::Tile(tile) => tile.clone(),
        Share::All | Share::None => vec![1; rank],
    }
}

/// Whether each phase gets a nest of its own.
pub(super) fn by_phases(geometry: &Geometry) -> bool {
    let all = |list: &[usize]| list.iter().fold(1usize, |a, s| a.saturating_mul(*s));
    let phases = all(&geometry.window.stride);
    match &geometry.share {
        Share::All => phases <= PHASES_MAX,
        // As many phases, and runs in each, as there are sets.
        Share::Tile(tile) => phases.saturating_mul(all(tile)).saturating_mul(all(tile)) <= SUMS_MAX,
        Share::None => false,
    }
}

impl Phase {
    /// Whether each output sees the only input, and through one tap: tap `first + (i + base) * step` for output `i` of the phase.
    fn is_single(&self, w: &Window) -> bool {
        let [run] = self.runs[..] else { return false };
        let last = run.base + self.rows as i64 - 1;
        w.out == 1 && run.apart.1 == 1 && run.base >= 0 && last < run.taps as i64
    }
}

/// How far before and after the input some phase of an axis reads; `turns` as of [`turns`].
fn halo(w: &Window, turns: usize) -> (usize, usize) {
    let mut halo = (0, 0);
    for phase in phases(w, turns).iter().filter(|p| !p.is_single(w)) {
        for run in &phase.runs {
            let least = run.base - ((run.taps - 1) * run.apart.1) as i64;
            let most = run.base + ((phase.rows - 1) * turns) as i64;
            halo.0 = halo.0.max((-least).max(0) as usize);
            halo.1 = halo.1.max((most - (w.out as i64 - 1)).max(0) as usize);
        }
    }
    halo
}

/// How far before and after the input phases read on each axis.
pub(super) fn halos(geometry: &Geometry, windows: &[Window]) -> Vec<(usize, usize)> {
    windows.iter().zip(turns(geometry, windows.len())).map(|(w, turns)| halo(w, turns)).collect()
}

/// Taps of a phase lie this far apart, and see inputs that far apart.
fn tap_step(w: &Window) -> (usize, usize) {
    let g = gcd(w.stride, w.dilation);
    (w.stride / g, w.dilation / g)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The phases of an axis that have outputs (`w.input` is the output's extent: windows are the forward layer's).
fn phases(w: &Window, turns: usize) -> Vec<Phase> {
    let (step, back) = tap_step(w);
    // The first tap of each residue of `k*d` modulo `s`; later taps repeat them with period `step`.
    let firsts: BTreeMap<usize, usize> =
        (0..step.min(w.kernel)).map(|k| (k * w.dilation % w.stride, k)).collect();
    // Every so many taps the set is the same.
    let again = turns / gcd(turns, back);
    let period = w.stride.saturating_mul(turns);
    let phase = |a: usize| {
        let runs = firsts.get(&((a + w.lo) % w.stride)).map_or_else(Vec::new, |k| {
            let base = ((a + w.lo) as i64 - (k * w.dilation) as i64) / w.stride as i64;
            let taps = (w.kernel - k).div_ceil(step);
            let run = |r: usize| {
                let base = base - (r * back) as i64;
                Run {
                    set: base.rem_euclid(turns as i64) as usize,
                    first: k + r * step,
                    taps: (taps - r).div_ceil(again),
                    apart: (step * again, back * again),
                    base,
                }
            };
            (0..again.min(taps)).map(run).collect()
        });
        Phase { residue: a, rows: (w.input - a).div_ceil(period), runs }
    };
    (0..period.min(w.input)).map(phase).collect()
}

/// The nests of `op`; `windows` are those of the forward layer on this one's output.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &Unconv, windows: &[Window]) {
    if let Some(bands) = cx.bands().map(|of| of.bands) {
        return by_bands(cx, op, windows, bands);
    }
    for section in sections(&op.geometry.links, op.channels, cx.input(0).c(), true) {
        if by_phases(&op.geometry) {
            let mut combined = vec![Vec::new()];
            for (w, turns) in windows.iter().zip(turns(&op.geometry, windows.len())) {
                combined = product(&combined, &phases(w, turns));
            }
            for phase in combined {
                one_phase(cx, op, windows, &section, &phase, None);
            }
        } else {
            all_phases(cx, op, windows, &section);
        }
    }
}

/// The nests of `op`, which is plain, a band at a time: the phases of its outputs, as many rows of each, then sums over them.
fn by_bands(cx: &mut LowerCx<'_>, op: &Unconv, windows: &[Window], bands: Bands) {
    let out = cx.out().clone();
    bands.each(cx, &out, |cx, place, band| {
        let rows = windows.first().map_or(1, |w| bands.rows / w.stride);
        let mut combined = vec![Vec::new()];
        for w in windows {
            combined = product(&combined, &phases(w, 1));
        }
        for section in sections(&op.geometry.links, op.channels, cx.input(0).c(), true) {
            for phase in &combined {
                one_phase(cx, op, windows, &section, phase, Some((&place.n, &(band * rows as i64), rows)));
            }
        }
        cx.sum_band(place);
    });
}

/// Each of `all` followed by each of `next`.
fn product<T: Clone>(all: &[Vec<T>], next: &[T]) -> Vec<Vec<T>> {
    all.iter()
        .flat_map(|one| next.iter().map(move |n| [&one[..], std::slice::from_ref(n)].concat()))
        .collect()
}

/// The nest of one phase; of a band only its sample, and its rows of the phase from the first on.
fn one_phase(
    cx: &mut LowerCx<'_>,
    op: &Unconv,
    windows: &[Window],
    section: &Section,
    phase: &[Phase],
    band: Option<(&Affine, &Affine, usize)>,
) {
    let out = cx.out().clone();
    let mut dims = vec![("n", band.map_or(out.n(), |_| 1))];
    dims.extend(section.dims());
    let grid = dims.len();
    dims.extend(out.grid_names().iter().map(|n| &**n).zip(phase.iter().map(|p| p.rows)));
    if let Some((_, _, rows)) = band {
        dims[grid].1 = rows;
    }
    cx.nested(LoopKind::Free, &dims, |cx, vars| {
        let mut at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
        if let Some((n, row, _)) = band {
            (at[0], at[grid]) = (n.clone(), &at[grid] + row);
        }
        let channel = section.channel(cx, &at[1..grid]);
        let acc = cx.b.let_(0.0);
        let combined = phase.iter().fold(vec![Vec::new()], |all, p| product(&all, &p.runs));
        for runs in combined {
            one_sum(cx, op, windows, section, (phase, &runs), &channel, &at, acc);
        }
        let mut y = vec![at[0].clone(), channel.out];
        y.extend(
            windows
                .iter()
                .zip(phase)
                .zip(&at[grid..])
                .zip(turns(&op.geometry, windows.len()))
                .map(|(((w, p), i), turns)| (i * (w.stride * turns) as i64).offset(p.residue as i64)),
        );
        finish(cx, op, acc, &y);
    });
}

/// Adds to `acc` what reaches output `at` of a phase through a run of taps on each axis.
#[allow(clippy::too_many_arguments, reason = "one place of use")]
fn one_sum(
    cx: &mut LowerCx<'_>,
    op: &Unconv,
    windows: &[Window],
    section: &Section,
    (phase, runs): (&[Phase], &[Run]),
    channel: &Channel,
    at: &[Affine],
    acc: Reg,
) {
    let grid = at.len() - windows.len();
    let singles: Vec<bool> = phase.iter().zip(windows).map(|(p, w)| p.is_single(w)).collect();
    let names = cx.out().grid_names().to_vec();
    let terms = runs.iter().zip(&singles).map(|(r, single)| if *single { 1 } else { r.taps });
    let mut sum: Vec<(String, usize)> = names.iter().map(|n| format!("k{n}")).zip(terms).collect();
    sum.push(("i".into(), section.terms()));
    if section.terms() == 0 {
        return;
    }
    let turns = turns(&op.geometry, windows.len());
    let sets: Vec<Affine> = match op.geometry.share {
        Share::Tile(_) => runs.iter().map(|r| Affine::k(r.set as i64)).collect(),
        Share::All | Share::None => Vec::new(),
    };
    serial(cx, &sum, |cx, terms| {
        let (o, head) = section.term(cx, channel, &terms[windows.len()]);
        let mut x = vec![at[0].clone(), o];
        let mut taps = Vec::new();
        for (axis, (run, single)) in runs.iter().zip(&singles).enumerate() {
            let row = (&at[grid + axis] * turns[axis] as i64).offset(run.base);
            let t = if *single { &row } else { &terms[axis] };
            taps.push((t * run.apart.0 as i64).offset(run.first as i64));
            x.push(if *single { Affine::k(0) } else { &row + &(t * -(run.apart.1 as i64)) });
        }
        let w = [&sets[..], &head, &stored(&op.geometry, windows, &taps)].concat();
        let product = Expr::fma(cx.load(0, &x), cx.load(1, &w), acc.into());
        cx.b.set(acc, product);
    });
}

/// One nest in which the phase of each axis is a loop.
fn all_phases(cx: &mut LowerCx<'_>, op: &Unconv, windows: &[Window], section: &Section) {
    let out = cx.out().clone();
    let axes: Vec<Vec<Phase>> = windows.iter().map(|w| phases(w, 1)).collect();
    let names: Vec<String> = out.grid_names().iter().map(|n| format!("phase_{n}")).collect();
    let mut dims = vec![("n", out.n())];
    dims.extend(section.dims());
    let grid = dims.len();
    for ((name, phase), phases) in out.grid_names().iter().zip(&names).zip(&axes) {
        dims.extend([(&**name, phases.first().map_or(0, |p| p.rows)), (phase.as_str(), phases.len())]);
    }
    cx.nested(LoopKind::Free, &dims, |cx, vars| {
        let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
        let q: Vec<Affine> = windows
            .iter()
            .enumerate()
            .map(|(axis, w)| &(&at[grid + 2 * axis] * w.stride as i64) + &at[grid + 2 * axis + 1])
            .collect();
        // The last phases may have one output less than the first.
        let uneven = windows.iter().zip(&q).filter(|(w, _)| w.input % w.stride.min(w.input) != 0);
        let conds: Vec<Affine> = uneven.map(|(w, q)| (q * -1).offset(w.input as i64 - 1)).collect();
        guard(cx, conds, |cx| {
            let channel = section.channel(cx, &at[1..grid]);
            let acc = cx.b.let_(0.0);
            looked_up_sum(cx, op, windows, section, &axes, &channel, (&at[0], &at[grid..]), acc);
            finish(cx, op, acc, &[&[at[0].clone(), channel.out], &q[..]].concat());
        });
    });
}

/// Sums into `acc` what reaches the output of sample `n` whose row and phase on each axis are `at`.
#[allow(clippy::too_many_arguments, reason = "one place of use")]
fn looked_up_sum(
    cx: &mut LowerCx<'_>,
    op: &Unconv,
    windows: &[Window],
    section: &Section,
    axes: &[Vec<Phase>],
    channel: &Channel,
    (n, at): (&Affine, &[Affine]),
    acc: Reg,
) {
    let most = |phases: &Vec<Phase>| phases.iter().flat_map(|p| &p.runs).map(|r| r.taps).max().unwrap_or(0);
    let names = cx.out().grid_names().to_vec();
    let dims: Vec<(String, usize)> =
        names.iter().zip(axes).map(|(n, p)| (format!("k{n}"), most(p))).collect();
    if section.terms() == 0 || dims.iter().any(|d| d.1 == 0) {
        return;
    }
    // On each axis the first tap of the phase, and the input that it sees.
    let mut starts = Vec::new();
    for ((phases, w), at) in axes.iter().zip(windows).zip(at.chunks(2)) {
        // A phase that no tap meets begins behind the last.
        let runs = || phases.iter().map(|p| p.runs.first());
        let firsts: Vec<i64> = runs().map(|r| r.map_or(w.kernel, |r| r.first) as i64).collect();
        let bases: Vec<i64> = runs().map(|r| r.map_or(0, |r| r.base)).collect();
        let base = &listed(cx, "base", &at[1], &bases) + &at[0];
        starts.push((listed(cx, "first", &at[1], &firsts), base));
    }
    serial(cx, &dims, |cx, turns| {
        let (mut taps, mut p, mut inside) = (Vec::new(), Vec::new(), Vec::new());
        for ((w, (first, base)), t) in windows.iter().zip(&starts).zip(turns) {
            let (step, back) = tap_step(w);
            let tap = first + &(t * step as i64);
            let seen = base + &(t * -(back as i64));
            inside.push((&tap * -1).offset(w.kernel as i64 - 1));
            inside.push(seen.clone());
            inside.push((&seen * -1).offset(w.out as i64 - 1));
            taps.push(tap);
            p.push(seen);
        }
        guard(cx, inside, |cx| {
            let sets = set(cx, &op.geometry, &p);
            serial(cx, &[("i".into(), section.terms())], |cx, l| {
                let (o, head) = section.term(cx, channel, &l[0]);
                let x = [&[n.clone(), o], &p[..]].concat();
                let w = [&sets[..], &head, &stored(&op.geometry, windows, &taps)].concat();
                let product = Expr::fma(cx.load(0, &x), cx.load(1, &w), acc.into());
                cx.b.set(acc, product);
            });
        });
    });
}

/// Adds the bias and stores.
fn finish(cx: &mut LowerCx<'_>, op: &Unconv, acc: Reg, y: &[Affine]) {
    let mut value = Expr::Reg(acc);
    if op.bias {
        value = value + cx.load(2, &y[1..2]);
    }
    cx.store(y, value);
}
