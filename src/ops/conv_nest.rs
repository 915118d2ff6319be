//! The loop nests of forward convolution, and what the nests of its family share.
//!
//! In: a checked [`Conv`] and its windows. Out: loops over outputs, each a sum in one register from 0 by one multiply-add per
//! product in the order taps, then input channels; the bias is added where the sum is stored. Padding is read from the
//! input's zero halo, so that no window is a special case.

use super::bands::Bands;
use super::channel_loops::{Section, sections};
use super::conv::Conv;
use super::gather::Gathering;
use super::geometry::{Geometry, Share};
use super::lower::LowerCx;
use super::window::Window;
use crate::loops::{Affine, Expr, LoopKind, Reg};
use crate::tensor::array::for_each_index;

/// Serial loops; an extent of 1 makes no loop. `body` gets the indices.
pub(super) fn serial(
    cx: &mut LowerCx<'_>,
    dims: &[(String, usize)],
    body: impl FnOnce(&mut LowerCx<'_>, &[Affine]),
) {
    let dims: Vec<(&str, usize)> = dims.iter().map(|d| (d.0.as_str(), d.1)).collect();
    turning(cx, LoopKind::Serial, &dims, body);
}

/// Loops of one kind; an extent of 1 makes no loop, which would hide that maps lie in blocks. `body` gets the indices.
pub(super) fn turning(
    cx: &mut LowerCx<'_>,
    kind: LoopKind,
    dims: &[(&str, usize)],
    body: impl FnOnce(&mut LowerCx<'_>, &[Affine]),
) {
    let real: Vec<(&str, usize)> = dims.iter().copied().filter(|d| d.1 != 1).collect();
    cx.nested(kind, &real, |cx, vars| {
        let mut vars = vars.iter();
        let at: Vec<Affine> = dims
            .iter()
            .map(|d| if d.1 == 1 { Affine::k(0) } else { vars.next().map_or(Affine::k(0), |v| (*v).into()) })
            .collect();
        body(cx, &at);
    });
}

/// Runs `then` where every condition is `>= 0`; everywhere if there is none.
pub(super) fn guard(cx: &mut LowerCx<'_>, conds: Vec<Affine>, then: impl FnOnce(&mut LowerCx<'_>)) {
    if conds.is_empty() { then(cx) } else { cx.if_(conds, then) }
}

/// The input index that output index `p` sees through tap `k` on one axis.
pub(super) fn seen(w: &Window, p: &Affine, k: &Affine) -> Affine {
    (&(p * w.stride as i64) + &(k * w.dilation as i64)).offset(-(w.lo as i64))
}

/// The index of tap `k` in the stored kernel.
pub(super) fn tap(geometry: &Geometry, w: &Window, k: &Affine) -> Affine {
    if geometry.flip { (k * -1).offset(w.kernel as i64 - 1) } else { k.clone() }
}

/// The index of the set of weights at position `p` of the forward layer's output.
pub(super) fn set(cx: &mut LowerCx<'_>, geometry: &Geometry, p: &[Affine]) -> Vec<Affine> {
    match &geometry.share {
        Share::All => Vec::new(),
        Share::None => p.to_vec(),
        Share::Tile(tile) => {
            let phase = |(p, t): (&Affine, &usize)| match t {
                1 => Affine::k(0),
                _ => cx.b.modulo("phase", p.clone(), *t as i64).into(),
            };
            p.iter().zip(tile).map(phase).collect()
        }
    }
}

/// Tiles of more sets than this are one nest that looks its set up; below, each set has a nest of its own.
const SETS_MAX: usize = 16;

/// The positions of a nest: every `step`th of each axis from `first` on.
struct Positions {
    first: Vec<usize>,
    step: Vec<usize>,
}

/// How the positions of `conv` are cut into nests: one per set of a small tile, with that set's weights fixed.
fn positions(geometry: &Geometry, rank: usize) -> Vec<Positions> {
    let all = || vec![Positions { first: vec![0; rank], step: vec![1; rank] }];
    match &geometry.share {
        Share::Tile(tile) if tile.iter().fold(1usize, |a, t| a.saturating_mul(*t)) <= SETS_MAX => {
            let mut out = Vec::new();
            for_each_index(tile, |first| out.push(Positions { first: first.to_vec(), step: tile.clone() }));
            out
        }
        Share::All | Share::None | Share::Tile(_) => all(),
    }
}

/// The nests of `conv`.
pub(super) fn lower(cx: &mut LowerCx<'_>, conv: &Conv, windows: &[Window]) {
    if let Some(gathering) = cx.gathers().cloned() {
        return by_windows(cx, conv, windows, &gathering);
    }
    if let Some(bands) = cx.bands().map(|of| of.bands) {
        return by_bands(cx, conv, windows, bands);
    }
    for section in sections(&conv.geometry.links, cx.input(0).c(), conv.channels, false) {
        for positions in positions(&conv.geometry, windows.len()) {
            nest(cx, conv, windows, &section, &positions, None);
        }
    }
}

/// The nests of `conv`, which is plain, a band at a time: its outputs, then sums over them.
fn by_bands(cx: &mut LowerCx<'_>, conv: &Conv, windows: &[Window], bands: Bands) {
    let out = cx.out().clone();
    bands.each(cx, &out, |cx, place, _| {
        let whole = Positions { first: vec![0; windows.len()], step: vec![1; windows.len()] };
        for section in sections(&conv.geometry.links, cx.input(0).c(), conv.channels, false) {
            nest(cx, conv, windows, &section, &whole, Some((&place.n, &place.row, bands.rows)));
        }
        cx.sum_band(place);
    });
}

/// One nest: the outputs of `section` at `positions`; of a band only its sample, and its rows from the first on.
fn nest(
    cx: &mut LowerCx<'_>,
    conv: &Conv,
    windows: &[Window],
    section: &Section,
    positions: &Positions,
    band: Option<(&Affine, &Affine, usize)>,
) {
    let out = cx.out().clone();
    let Positions { first, step } = positions;
    let mut dims = if band.is_some() { Vec::new() } else { vec![("n", out.n())] };
    dims.extend(section.dims());
    let samples = usize::from(band.is_none());
    let grid = dims.len();
    let rows = windows.iter().zip(first).zip(step).map(|((w, a), t)| (w.out - a).div_ceil(*t));
    dims.extend(out.grid_names().iter().map(|n| &**n).zip(rows));
    if let Some((_, _, rows)) = band {
        dims[grid].1 = rows;
    }
    cx.nested(LoopKind::Free, &dims, |cx, vars| {
        let mut at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
        if let Some((_, row, _)) = band {
            at[grid] = &at[grid] + row;
        }
        let n = band.map_or(&at[0], |b| b.0);
        let place = |((i, a), t): ((&Affine, &usize), &usize)| (i * *t as i64).offset(*a as i64);
        let p: Vec<Affine> = at[grid..].iter().zip(first).zip(step).map(place).collect();
        let channel = section.channel(cx, &at[samples..grid]);
        let fixed = || first.iter().map(|a| Affine::k(*a as i64)).collect();
        let tiled = conv.geometry.share == Share::Tile(step.clone());
        let sets = if tiled { fixed() } else { set(cx, &conv.geometry, &p) };
        let acc = cx.b.let_(0.0);
        let mut sum: Vec<(String, usize)> =
            out.grid_names().iter().zip(windows).map(|(name, w)| (format!("k{name}"), w.kernel)).collect();
        sum.push(("i".into(), section.terms()));
        if section.terms() > 0 {
            serial(cx, &sum, |cx, at| {
                let (taps, l) = (&at[..windows.len()], &at[windows.len()]);
                let (i, head) = section.term(cx, &channel, l);
                let w = [&sets[..], &head, &stored(&conv.geometry, windows, taps)].concat();
                let mut x = vec![n.clone(), i];
                x.extend(windows.iter().zip(&p).zip(taps).map(|((win, p), k)| seen(win, p, k)));
                let product = Expr::fma(cx.load(0, &x), cx.load(1, &w), acc.into());
                cx.b.set(acc, product);
            });
        }
        let mut value = Expr::Reg(acc);
        if conv.bias {
            value = value + cx.load(2, &[&sets[..], std::slice::from_ref(&channel.out)].concat());
        }
        cx.store(&[&[n.clone(), channel.out], &p[..]].concat(), value);
    });
}

/// One nest over the windows of a pool behind `conv`, which is plain: the sums of all members of a window side by side.
fn by_windows(cx: &mut LowerCx<'_>, conv: &Conv, windows: &[Window], gathering: &Gathering) {
    let (out, maps) = (cx.out().clone(), cx.input(0).c());
    let pooled: Vec<(&str, usize)> = out
        .names()
        .iter()
        .zip(out.dims())
        .enumerate()
        .map(|(d, (name, extent))| (&**name, extent / gathering.along(d)))
        .collect();
    let sizes: Vec<usize> = (0..out.dims().len()).map(|d| gathering.along(d)).collect();
    cx.nested(LoopKind::Free, &pooled, |cx, v| {
        let mut members: Vec<(Vec<Affine>, Reg)> = Vec::new();
        for_each_index(&sizes, |member| {
            let at = v.iter().zip(member).enumerate();
            let at = at.map(|(d, (v, m))| gathering.member(d, &Affine::from(*v), *m));
            members.push((at.collect(), cx.b.let_(0.0)));
        });
        let mut sum: Vec<(String, usize)> =
            out.grid_names().iter().zip(windows).map(|(name, w)| (format!("k{name}"), w.kernel)).collect();
        sum.push(("i".into(), maps));
        serial(cx, &sum, |cx, at| {
            let (taps, i) = (&at[..windows.len()], &at[windows.len()]);
            let taps_stored = stored(&conv.geometry, windows, taps);
            for (at, acc) in &members {
                let w = [&[at[1].clone(), i.clone()], &taps_stored[..]].concat();
                let mut x = vec![at[0].clone(), i.clone()];
                x.extend(windows.iter().zip(&at[2..]).zip(taps).map(|((win, p), k)| seen(win, p, k)));
                let product = Expr::fma(cx.load(0, &x), cx.load(1, &w), (*acc).into());
                cx.b.set(*acc, product);
            }
        });
        for (at, acc) in members {
            let mut value = Expr::Reg(acc);
            if conv.bias {
                value = value + cx.load(2, &at[1..2]);
            }
            cx.store(&at, value);
        }
    });
}

/// The indices of `taps` in the stored kernel.
pub(super) fn stored(geometry: &Geometry, windows: &[Window], taps: &[Affine]) -> Vec<Affine> {
    windows.iter().zip(taps).map(|(w, k)| tap(geometry, w, k)).collect()
}
