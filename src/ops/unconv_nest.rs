//! The loop nests of transposed convolution, in gather form: every output sums what reaches it, so that nothing is added
//! into memory.
//!
//! Output `q` sees input `p` through tap `k` when `p*s + k*d = q + lo`. Which taps can meet an output is decided by its
//! *phase* `q mod s`: of a phase `a` the taps are `k0, k0 + s/g, k0 + 2*s/g, …` with `g = gcd(s, d)`, and for `q = s*i + a` tap
//! `k0 + t*s/g` sees input `i + (a + lo - k0*d)/s - t*d/g`. With few phases and one set of weights each phase is a nest of
//! its own, a plain convolution that reads the input's halo; else phases are loops with tables, and guards keep to the input.
//! Where an axis has one input and each output is reached through one tap, there is nothing to sum along it.

use std::collections::BTreeMap;

use super::channel_loops::{Channel, Section, listed, sections};
use super::conv_nest::{guard, serial, set, stored};
use super::geometry::{Geometry, Share};
use super::lower::LowerCx;
use super::unconv::Unconv;
use super::window::Window;
use crate::loops::{Affine, Expr, LoopKind, Reg};

/// More phases than this are not written out.
const PHASES_MAX: usize = 32;

/// One phase of one axis.
#[derive(Clone, Copy, Debug)]
struct Phase {
    /// The residue `a` of its outputs.
    residue: usize,
    /// How many outputs it has.
    rows: usize,
    /// Its first tap; the number of taps where there is none.
    first: usize,
    /// How many taps it has.
    taps: usize,
    /// The input that output `a` sees through the first tap.
    base: i64,
}

/// Whether each phase gets a nest of its own.
pub(super) fn by_phases(geometry: &Geometry) -> bool {
    let phases = geometry.window.stride.iter().fold(1usize, |a, s| a.saturating_mul(*s));
    geometry.share == Share::All && phases <= PHASES_MAX
}

impl Phase {
    /// Whether each output sees the only input, and through one tap: tap `first + (i + base) * step` for output `i` of the phase.
    fn is_single(&self, w: &Window) -> bool {
        let last = self.base + self.rows as i64 - 1;
        w.out == 1 && tap_step(w).1 == 1 && self.base >= 0 && last < self.taps as i64
    }
}

/// How far before and after the input some phase reads.
pub(super) fn halo(w: &Window) -> (usize, usize) {
    let mut halo = (0, 0);
    for phase in phases(w).iter().filter(|p| p.taps > 0 && !p.is_single(w)) {
        let least = phase.base - ((phase.taps - 1) * tap_step(w).1) as i64;
        let most = phase.base + phase.rows as i64 - 1;
        halo.0 = halo.0.max((-least).max(0) as usize);
        halo.1 = halo.1.max((most - (w.out as i64 - 1)).max(0) as usize);
    }
    halo
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
fn phases(w: &Window) -> Vec<Phase> {
    let (step, _) = tap_step(w);
    // The first tap of each residue of `k*d` modulo `s`; later taps repeat them with period `step`.
    let firsts: BTreeMap<usize, usize> =
        (0..step.min(w.kernel)).map(|k| (k * w.dilation % w.stride, k)).collect();
    let phase = |a: usize| {
        let first = firsts.get(&((a + w.lo) % w.stride)).copied();
        let k = first.unwrap_or(w.kernel);
        Phase {
            residue: a,
            rows: (w.input - a).div_ceil(w.stride),
            first: k,
            taps: (w.kernel - k).div_ceil(step),
            base: first.map_or(0, |k| ((a + w.lo) as i64 - (k * w.dilation) as i64) / w.stride as i64),
        }
    };
    (0..w.stride.min(w.input)).map(phase).collect()
}

/// The nests of `op`; `windows` are those of the forward layer on this one's output.
pub(super) fn lower(cx: &mut LowerCx<'_>, op: &Unconv, windows: &[Window]) {
    for section in sections(&op.geometry.links, op.channels, cx.input(0).c(), true) {
        if by_phases(&op.geometry) {
            let mut combined = vec![Vec::new()];
            for w in windows {
                let axis = phases(w);
                combined =
                    combined.iter().flat_map(|c| axis.iter().map(|p| [&c[..], &[*p]].concat())).collect();
            }
            for phase in combined {
                one_phase(cx, op, windows, &section, &phase);
            }
        } else {
            all_phases(cx, op, windows, &section);
        }
    }
}

/// The nest of one phase.
fn one_phase(cx: &mut LowerCx<'_>, op: &Unconv, windows: &[Window], section: &Section, phase: &[Phase]) {
    let out = cx.out().clone();
    let mut dims = vec![("n", out.n())];
    dims.extend(section.dims());
    let grid = dims.len();
    dims.extend(out.grid_names().iter().map(|n| &**n).zip(phase.iter().map(|p| p.rows)));
    cx.nested(LoopKind::Free, &dims, |cx, vars| {
        let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
        let channel = section.channel(cx, &at[1..grid]);
        let acc = cx.b.let_(0.0);
        let terms = |(p, w): (&Phase, &Window)| if p.is_single(w) { 1 } else { p.taps };
        let terms = phase.iter().zip(windows).map(terms);
        let mut sum: Vec<(String, usize)> =
            out.grid_names().iter().map(|n| format!("k{n}")).zip(terms).collect();
        sum.push(("i".into(), section.terms()));
        if sum.iter().all(|s| s.1 > 0) {
            serial(cx, &sum, |cx, terms| {
                let (o, head) = section.term(cx, &channel, &terms[windows.len()]);
                let mut x = vec![at[0].clone(), o];
                let mut taps = Vec::new();
                for (axis, (w, p)) in windows.iter().zip(phase).enumerate() {
                    let (step, back) = tap_step(w);
                    let row = at[grid + axis].offset(p.base);
                    let single = p.is_single(w);
                    let t = if single { &row } else { &terms[axis] };
                    taps.push((t * step as i64).offset(p.first as i64));
                    x.push(if single { Affine::k(0) } else { &row + &(t * -(back as i64)) });
                }
                let w = [head, stored(&op.geometry, windows, &taps)].concat();
                let product = Expr::fma(cx.load(0, &x), cx.load(1, &w), acc.into());
                cx.b.set(acc, product);
            });
        }
        let mut y = vec![at[0].clone(), channel.out];
        y.extend(
            windows
                .iter()
                .zip(phase)
                .zip(&at[grid..])
                .map(|((w, p), i)| (i * w.stride as i64).offset(p.residue as i64)),
        );
        finish(cx, op, acc, &y);
    });
}

/// One nest in which the phase of each axis is a loop.
fn all_phases(cx: &mut LowerCx<'_>, op: &Unconv, windows: &[Window], section: &Section) {
    let out = cx.out().clone();
    let axes: Vec<Vec<Phase>> = windows.iter().map(phases).collect();
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
    let most = |phases: &Vec<Phase>| phases.iter().map(|p| p.taps).max().unwrap_or(0);
    let names = cx.out().grid_names().to_vec();
    let dims: Vec<(String, usize)> =
        names.iter().zip(axes).map(|(n, p)| (format!("k{n}"), most(p))).collect();
    if section.terms() == 0 || dims.iter().any(|d| d.1 == 0) {
        return;
    }
    // On each axis the first tap of the phase, and the input that it sees.
    let mut starts = Vec::new();
    for (phases, at) in axes.iter().zip(at.chunks(2)) {
        let firsts: Vec<i64> = phases.iter().map(|p| p.first as i64).collect();
        let bases: Vec<i64> = phases.iter().map(|p| p.base).collect();
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
