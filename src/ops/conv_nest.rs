//! The loop nests of forward convolution.
//!
//! In: a checked [`Conv`] and its windows. Out: loops over outputs, each a sum in one register from 0 by one multiply-add per
//! product in the order taps, then input channels; the bias is added where the sum is stored. Padding is read from the
//! input's zero halo, so that no window is a special case.

use std::collections::BTreeMap;

use super::args::Links;
use super::conv::Conv;
use super::geometry::{Geometry, Share};
use super::lower::LowerCx;
use super::window::Window;
use crate::loops::{Affine, Expr, LoopKind, Reg};

/// Serial loops; an extent of 1 makes no loop. `body` gets the indices.
pub(super) fn serial(
    cx: &mut LowerCx<'_>,
    dims: &[(String, usize)],
    body: impl FnOnce(&mut LowerCx<'_>, &[Affine]),
) {
    let real: Vec<(&str, usize)> = dims.iter().filter(|d| d.1 != 1).map(|d| (d.0.as_str(), d.1)).collect();
    cx.nested(LoopKind::Serial, &real, |cx, vars| {
        let mut vars = vars.iter();
        let at: Vec<Affine> = dims
            .iter()
            .map(|d| if d.1 == 1 { Affine::k(0) } else { vars.next().map_or(Affine::k(0), |v| (*v).into()) })
            .collect();
        body(cx, &at);
    });
}

/// One loop per tap of each axis: `kh`, `kw`.
pub(super) fn tap_dims(cx: &LowerCx<'_>, windows: &[Window]) -> Vec<(String, usize)> {
    cx.out().grid_names().iter().zip(windows).map(|(name, w)| (format!("k{name}"), w.kernel)).collect()
}

/// The input index that output index `p` sees through tap `k` on one axis.
pub(super) fn seen(w: &Window, p: &Affine, k: &Affine) -> Affine {
    (&(p * w.stride as i64) + &(k * w.dilation as i64)).offset(-(w.lo as i64))
}

/// The index of tap `k` in the stored kernel.
pub(super) fn tap(geometry: &Geometry, w: &Window, k: &Affine) -> Affine {
    if geometry.flip { (k * -1).offset(w.kernel as i64 - 1) } else { k.clone() }
}

/// The index of the set of weights at output position `p`.
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

/// Dense (`groups` 1) or grouped links.
pub(super) fn grouped(cx: &mut LowerCx<'_>, conv: &Conv, windows: &[Window], groups: usize) {
    let (inputs, outputs) = (cx.input(0).c() / groups, conv.channels / groups);
    let out = cx.out().clone();
    let mut dims = vec![("n", out.n())];
    if groups > 1 {
        dims.push(("g", groups));
    }
    if groups == 1 || outputs > 1 {
        dims.push(("o", outputs));
    }
    let grid = dims.len();
    dims.extend(out.grid_names().iter().map(|n| &**n).zip(out.grid_dims().iter().copied()));
    cx.nested(LoopKind::Free, &dims, |cx, vars| {
        let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
        let (n, p) = (&at[0], &at[grid..]);
        let group = if groups > 1 { at[1].clone() } else { Affine::k(0) };
        let member = if groups == 1 || outputs > 1 { at[grid - 1].clone() } else { Affine::k(0) };
        let o = &(&group * outputs as i64) + &member;
        let first = &group * inputs as i64;
        let sets = set(cx, &conv.geometry, p);
        let acc = cx.b.let_(0.0);
        let mut sum = tap_dims(cx, windows);
        sum.push(("i".into(), inputs));
        serial(cx, &sum, |cx, at| {
            let (taps, i) = (&at[..windows.len()], &at[windows.len()]);
            let mut w = sets.clone();
            w.extend([o.clone(), i.clone()]);
            w.extend(windows.iter().zip(taps).map(|(win, k)| tap(&conv.geometry, win, k)));
            term(cx, acc, windows, (n, &first + i, p), taps, &w);
        });
        finish(cx, conv, acc, n, o, p, sets);
    });
}

/// Links from a table. Output channels with equally many links make one nest each, in which tables say which channels
/// and which links an iteration is about.
pub(super) fn table(cx: &mut LowerCx<'_>, conv: &Conv, windows: &[Window], links: &Links) {
    let mut by_degree: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (o, row) in links.rows.iter().enumerate() {
        by_degree.entry(row.len()).or_default().push(o);
    }
    let mut starts = vec![0];
    for row in &links.rows {
        starts.push(starts[starts.len() - 1] + row.len() as i64);
    }
    let out = cx.out().clone();
    for (degree, maps) in by_degree {
        let mut dims = vec![("n", out.n()), ("o", maps.len())];
        dims.extend(out.grid_names().iter().map(|n| &**n).zip(out.grid_dims().iter().copied()));
        cx.nested(LoopKind::Free, &dims, |cx, vars| {
            let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let (n, j, p) = (&at[0], &at[1], &at[2..]);
            let o = listed(cx, "map", j, maps.iter().map(|o| *o as i64).collect());
            let start = listed(cx, "start", j, maps.iter().map(|o| starts[*o]).collect());
            let inputs: Vec<i64> =
                maps.iter().flat_map(|o| links.rows[*o].iter().map(|i| i64::from(*i))).collect();
            let sets = set(cx, &conv.geometry, p);
            let acc = cx.b.let_(0.0);
            if degree > 0 {
                let mut sum = tap_dims(cx, windows);
                sum.push(("l".into(), degree));
                serial(cx, &sum, |cx, at| {
                    let (taps, l) = (&at[..windows.len()], &at[windows.len()]);
                    let i = listed(cx, "i", &(&(j * degree as i64) + l), inputs);
                    let mut w = sets.clone();
                    w.push(&start + l);
                    w.extend(windows.iter().zip(taps).map(|(win, k)| tap(&conv.geometry, win, k)));
                    term(cx, acc, windows, (n, i, p), taps, &w);
                });
            }
            finish(cx, conv, acc, n, o, p, sets);
        });
    }
}

/// Element `at` of `values`: by arithmetic where they rise evenly, else from a table.
pub(super) fn listed(cx: &mut LowerCx<'_>, name: &str, at: &Affine, values: Vec<i64>) -> Affine {
    let step = match values.as_slice() {
        [a, b, ..] => b - a,
        _ => 0,
    };
    if values.windows(2).all(|w| w[1] - w[0] == step) {
        return (at * step).offset(values.first().copied().unwrap_or(0));
    }
    let table = cx.b.table(values);
    cx.b.lookup(name, table, at.clone()).into()
}

/// `acc += w * x` for one tap and one input channel of the window at `(n, channel, p)`.
fn term(
    cx: &mut LowerCx<'_>,
    acc: Reg,
    windows: &[Window],
    (n, channel, p): (&Affine, Affine, &[Affine]),
    taps: &[Affine],
    w: &[Affine],
) {
    let mut x = vec![n.clone(), channel];
    x.extend(windows.iter().zip(p).zip(taps).map(|((win, p), k)| seen(win, p, k)));
    let product = Expr::fma(cx.load(0, &x), cx.load(1, w), acc.into());
    cx.b.set(acc, product);
}

/// Adds the bias and stores.
fn finish(
    cx: &mut LowerCx<'_>,
    conv: &Conv,
    acc: Reg,
    n: &Affine,
    o: Affine,
    p: &[Affine],
    sets: Vec<Affine>,
) {
    let mut value = Expr::Reg(acc);
    if conv.bias {
        let mut at = sets;
        at.push(o.clone());
        value = value + cx.load(2, &at);
    }
    let mut at = vec![n.clone(), o];
    at.extend_from_slice(p);
    cx.store(&at, value);
}
