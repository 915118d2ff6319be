//! What an operation computes as a formula with the numbers of one layer in it, in the notation of chapter 9 (equation 9.6 and
//! those after it): `y` the output, `x` the input, `w` the weight, `b` the bias; indices from 0. For reading; references say what is
//! meant. The operations that add products up and their kin have one here, all others say it in [`super::OpInfo::doc`].

use super::Op;
use super::binary::Number;
use super::dense_grad::DenseGrad;
use super::geometry::{Geometry, Linking, Share};
use super::norm::Over as NormOver;
use super::pool::{Over, Pool, PoolKind};
use super::window::Window;
use crate::support::Name;
use crate::tensor::ty::TensorTy;

/// A formula and what its indices run over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equation {
    /// `y[n, o, h, w] = b[o] + Σ …`
    pub formula: String,
    /// What holds beside it, a phrase each: bounds, what lies outside.
    pub notes: Vec<String>,
}

/// What a reader calls an operation: `relu` and `+`, where printed graphs have one kind for all of these.
pub fn word(op: &Op) -> &'static str {
    if let Op::Unary(u) = op {
        u.f.row().name
    } else if let Op::Binary(b) = op {
        b.f.sign()
    } else {
        op.rules().kind()
    }
}

/// The formula of `op` from `inputs` to `out`, if it has one here.
pub fn equation(op: &Op, inputs: &[&TensorTy], out: &TensorTy) -> Option<Equation> {
    let x = *inputs.first()?;
    if let Op::Conv(c) = op {
        let windows = c.windows(x).ok()?.0;
        return Some(conv(&c.geometry, &windows, x, out, c.bias));
    }
    if let Op::Unconv(c) = op {
        return Some(unconv(&c.geometry, &c.forward_windows(x), x, out, c.bias));
    }
    if let Op::ConvGrad(c) = op {
        let windows = c.geometry.window.resolve(x, false).ok()?.0;
        return Some(conv_grad(&c.geometry, &windows, x, inputs.get(1)?));
    }
    if let Op::Winograd(c) = op {
        let bias = if c.bias { "b[o] + " } else { "" };
        let (m, span) = (c.tile.outputs(), c.tile.span());
        let [h, w] = [0, 1].map(|axis| c.size[axis].div_ceil(c.dilation[axis]).div_ceil(m));
        // Where tiles interleave, `p` and `q` count their phases.
        let rows = |q: usize, tile: &str, phase: &str, lo: Option<usize>| {
            let lo = lo.map_or(String::new(), |lo| format!(" - {lo}"));
            if q == 1 { format!("{m}*{tile}{lo}..") } else { format!("{q}*({m}*{tile}..) + {phase}{lo}") }
        };
        let [a, b] = c.dilation;
        let formula = format!(
            "y[n, o, {}, {}] = {bias}A' ( Σ_{{i<{}}} u[o, i] ⊙ (B' x[n, i, {}, {}] B) ) A",
            rows(a, "h", "p", None),
            rows(b, "w", "q", None),
            x.c(),
            rows(a, "h", "p", Some(c.lo[0])),
            rows(b, "w", "q", Some(c.lo[1]))
        );
        let phases = [(a, "p"), (b, "q")].into_iter().filter(|(q, _)| *q > 1);
        let phases: String = phases.map(|(q, name)| format!(", {name} < {q}")).collect();
        let notes = vec![
            format!(
                "for n < {}, o < {}, h < {h}, w < {w}{phases}: tiles of {m}x{m} outputs from tiles of {span}x{span} inputs",
                out.n(),
                out.c()
            ),
            format!(
                "⊙ multiplies element by element: {} products where the definition has {}",
                c.tile.numbers(),
                c.tile.products()
            ),
            "u = G w G', made where the weight is loaded or changed (Winograd 1980; Lavin & Gray 2016)"
                .to_owned(),
        ];
        return Some(Equation { formula, notes });
    }
    if let Op::Dense(d) = op {
        let bias = if d.bias { "b[o] + " } else { "" };
        let formula = format!("y[n, o] = {bias}Σ_{{i<{}}} w[o, i] x[n, i]", inputs.get(1)?.dims()[1]);
        return Some(Equation {
            formula,
            notes: vec![bounds(&[("n", out.n()), ("o", out.c())]), elements(x)],
        });
    }
    if let Op::DenseGrad(d) = op {
        return dense_grad(d, inputs, out);
    }
    if let Op::Pool(p) = op {
        return Some(pool(p, x, out));
    }
    let all = all_of(out);
    let at = index(out);
    let formula = if let Op::BatchNorm(b) = op {
        format!("y[{at}] = (x[{at}] - mean[c]) / sqrt(var[c] + {}) * weight[c] + bias[c]", b.eps)
    } else if let Op::Softmax(s) = op {
        let rest = at.replacen("c", "k", 1);
        let soft = format!("e^x[{at}] / Σ_{{k<{}}} e^x[{rest}]", x.c());
        if s.log { format!("y[{at}] = log({soft})") } else { format!("y[{at}] = {soft}") }
    } else if let Op::Lrn(l) = op {
        let other = at.replacen("c", "j", 1);
        let (before, after) = (l.size / 2, (l.size - 1) / 2);
        format!(
            "y[{at}] = x[{at}] / ({} + {} / {} * Σ_{{j=c-{before}..=c+{after}}} x[{other}]^2)^{}",
            l.k, l.alpha, l.size, l.beta
        )
    } else if let Op::Norm(n) = op {
        let over = match n.over {
            NormOver::Groups(1) => "all channels and positions of the sample".to_owned(),
            NormOver::Groups(g) if g == x.c() => "the positions of the channel".to_owned(),
            NormOver::Groups(g) => {
                format!("the {} channels of the group and all positions", x.c() / g.max(1))
            }
            NormOver::Channels => "the channels of the position".to_owned(),
        };
        let affine = if inputs.len() > 1 { " * weight[c] + bias[c]" } else { "" };
        let formula = format!("y[{at}] = (x[{at}] - mean) / sqrt(var + {}){affine}", n.eps);
        return Some(Equation { formula, notes: vec![all, format!("mean and variance over {over}")] });
    } else if let Op::Binary(b) = op {
        let sign = b.f.sign();
        let word = sign.chars().all(char::is_alphabetic);
        let join =
            |a: &str, b: &str| if word { format!("{sign}({a}, {b})") } else { format!("{a} {sign} {b}") };
        let of = |i: usize, ty: &TensorTy| {
            format!("x{i}[{}]", if ty.dims() == out.dims() { at.clone() } else { index(ty) })
        };
        let right = match b.number {
            Some(Number::Left(k)) => join(&k.to_string(), &of(0, x)),
            Some(Number::Right(k)) => join(&of(0, x), &k.to_string()),
            None => inputs.iter().enumerate().map(|(i, ty)| of(i, ty)).reduce(|a, b| join(&a, &b))?,
        };
        format!("y[{at}] = {right}")
    } else {
        return None;
    };
    Some(Equation { formula, notes: vec![all] })
}

/// `for n < 1, o < 64`
fn bounds(of: &[(&str, usize)]) -> String {
    let all: Vec<String> = of.iter().map(|(name, extent)| format!("{name} < {extent}")).collect();
    format!("for {}", all.join(", "))
}

fn named<'a>(names: &'a [Name], dims: &[usize]) -> Vec<(&'a str, usize)> {
    names.iter().map(|n| &**n).zip(dims.iter().copied()).collect()
}

fn all_of(ty: &TensorTy) -> String {
    bounds(&named(ty.names(), ty.dims()))
}

/// `n, c, h, w`
fn index(ty: &TensorTy) -> String {
    ty.names().iter().map(|n| &**n).collect::<Vec<_>>().join(", ")
}

fn list(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", ")
}

/// `i runs over c, h, w`, where it is more than a channel.
fn elements(x: &TensorTy) -> String {
    if x.rank() == 0 { "i the channel".into() } else { format!("i the number of an element of {}", x.show()) }
}

/// `2*h`, `h`
fn times(factor: usize, name: &str) -> String {
    if factor == 1 { name.to_owned() } else { format!("{factor}*{name}") }
}

/// The position that output `axis` sees through tap `k`: `2*h + kh - 1`.
fn position(w: &Window, axis: &str) -> String {
    let mut text = times(w.stride, axis);
    if w.kernel > 1 {
        text.push_str(&format!(" + {}", times(w.dilation, &format!("k{axis}"))));
    }
    if w.lo > 0 {
        text.push_str(&format!(" - {}", w.lo));
    }
    text
}

/// Taps of axes that have more than one: names and extents.
fn taps(windows: &[Window], axes: &[Name]) -> Vec<(String, usize)> {
    windows.iter().zip(axes).filter(|(w, _)| w.kernel > 1).map(|(w, a)| (format!("k{a}"), w.kernel)).collect()
}

/// What the sum runs over: `i<64, kh<3`; empty where it has one term.
fn sum(over: &[(String, usize)]) -> String {
    let over: Vec<String> = over.iter().filter(|o| o.1 > 1).map(|(n, e)| format!("{n}<{e}")).collect();
    if over.is_empty() { String::new() } else { format!("Σ_{{{}}} ", over.join(", ")) }
}

/// The weight's index of taps: `kh, kw`, backwards where the layer flips.
fn tap_index(g: &Geometry, windows: &[Window], axes: &[Name]) -> String {
    list(windows.iter().zip(axes).map(|(w, a)| match (w.kernel, g.flip) {
        (1, _) => "0".to_owned(),
        (_, false) => format!("k{a}"),
        (k, true) => format!("{} - k{a}", k - 1),
    }))
}

/// Which set of weights a position has: `h mod 2, w mod 2`.
fn set(g: &Geometry, axes: &[Name]) -> String {
    match &g.share {
        Share::All => String::new(),
        Share::None => list(axes.iter().map(ToString::to_string)),
        Share::Tile(t) => list(axes.iter().zip(t).map(|(a, t)| format!("{a} mod {t}"))),
    }
}

/// The input channel, what the sum over channels runs over, the weight's index of channels, and a note.
fn channels(
    g: &Geometry,
    inputs: usize,
    outputs: usize,
) -> (String, Option<(String, usize)>, String, Option<String>) {
    match &g.links {
        Linking::Dense => ("i".into(), Some(("i".into(), inputs)), "o, i".into(), None),
        Linking::Groups(n) => {
            let (ins, outs) = (inputs / n.max(&1), outputs / n.max(&1));
            let group = if outs == 1 { "o".to_owned() } else { format!("⌊o/{outs}⌋") };
            let kind = if ins == 1 {
                "depthwise: each input map feeds its own output maps"
            } else {
                "maps in separate groups"
            };
            match ins {
                1 => (group, None, "o, 0".into(), Some(kind.into())),
                _ => {
                    (format!("{ins}*{group} + i"), Some(("i".into(), ins)), "o, i".into(), Some(kind.into()))
                }
            }
        }
        Linking::Table(t) => {
            let links: usize = t.rows.iter().map(Vec::len).sum();
            let note = format!(
                "i runs over the maps that the table links to o ({links} of {} pairs), l the link's number",
                inputs * outputs
            );
            ("i".into(), None, "l(o, i)".into(), Some(note))
        }
    }
}

fn conv(g: &Geometry, windows: &[Window], x: &TensorTy, out: &TensorTy, bias: bool) -> Equation {
    let axes = out.grid_names();
    let (from, over, pair, note) = channels(g, x.c(), out.c());
    let mut sums: Vec<(String, usize)> = over.into_iter().collect();
    sums.extend(taps(windows, axes));
    let mut sum = sum(&sums);
    if let Linking::Table(_) = g.links {
        sum = format!("Σ_{{i in links(o)}} {sum}");
    }
    let set = set(g, axes);
    let start = if bias { format!("b[{}] + ", list([set.clone(), "o".into()])) } else { String::new() };
    let seen = list(windows.iter().zip(axes).map(|(w, a)| position(w, a)));
    let formula = format!(
        "y[{}] = {start}{sum}w[{}] x[{}]",
        list(["n, o".into(), list(axes.iter().map(ToString::to_string))]),
        list([set, pair, tap_index(g, windows, axes)]),
        list(["n".into(), from, seen]),
    );
    let mut all = vec![("n", out.n()), ("o", out.c())];
    all.extend(named(axes, out.grid_dims()));
    let mut notes = vec![bounds(&all)];
    let padded = windows.iter().zip(axes).filter(|(w, _)| w.overhang() != (0, 0));
    let outside: Vec<String> = padded.map(|(w, a)| format!("0 <= {a} < {}", w.input)).collect();
    if !outside.is_empty() {
        notes.push(format!("x is 0 outside of {}", outside.join(", ")));
    }
    notes.extend(note);
    Equation { formula, notes }
}

fn unconv(g: &Geometry, windows: &[Window], x: &TensorTy, out: &TensorTy, bias: bool) -> Equation {
    let axes = out.grid_names();
    // The forward layer leads from this output to this input.
    let (ins, outs) = (x.c(), out.c());
    let pair = match &g.links {
        Linking::Dense => "i, o",
        Linking::Groups(_) => "i, o mod group",
        Linking::Table(_) => "l(i, o)",
    };
    let where_ = |w: &Window, a: &Name| {
        let mut text = times(w.stride, &format!("p{a}"));
        if w.kernel > 1 {
            text.push_str(&format!(" + {}", times(w.dilation, &format!("k{a}"))));
        }
        if w.lo > 0 {
            text.push_str(&format!(" - {}", w.lo));
        }
        format!("{text} = {a}")
    };
    let mut over = vec![match &g.links {
        Linking::Dense => format!("i<{ins}"),
        Linking::Groups(n) => format!("i<{ins} of the same of {n} groups"),
        Linking::Table(_) => "i linked to o".to_owned(),
    }];
    over.extend(taps(windows, axes).into_iter().map(|(n, e)| format!("{n}<{e}")));
    over.extend(windows.iter().zip(axes).map(|(w, a)| where_(w, a)));
    let set = list(match &g.share {
        Share::All => Vec::new(),
        Share::None => axes.iter().map(|a| format!("p{a}")).collect(),
        Share::Tile(t) => axes.iter().zip(t).map(|(a, t)| format!("p{a} mod {t}")).collect::<Vec<_>>(),
    });
    let formula = format!(
        "y[{}] = {}Σ_{{{}}} w[{}] x[{}]",
        list(["n, o".into(), list(axes.iter().map(ToString::to_string))]),
        if bias { "b[o] + " } else { "" },
        over.join(", "),
        list([set, pair.into(), tap_index(g, windows, axes)]),
        list(["n, i".into(), list(axes.iter().map(|a| format!("p{a}")))]),
    );
    let mut all = vec![("n", out.n()), ("o", outs)];
    all.extend(named(axes, out.grid_dims()));
    let inputs: Vec<String> = windows.iter().zip(axes).map(|(w, a)| format!("p{a} < {}", w.out)).collect();
    let mut notes = vec![bounds(&all)];
    if !inputs.is_empty() {
        notes.push(format!("where {}", inputs.join(", ")));
    }
    Equation { formula, notes }
}

fn conv_grad(g: &Geometry, windows: &[Window], x: &TensorTy, dy: &TensorTy) -> Equation {
    let axes = x.grid_names();
    let (from, _, pair, note) = channels(g, x.c(), dy.c());
    let mut over = vec![("n".to_owned(), dy.n())];
    over.extend(axes.iter().zip(dy.grid_dims()).map(|(a, e)| (a.to_string(), *e)));
    let seen = list(windows.iter().zip(axes).map(|(w, a)| position(w, a)));
    let set = set(g, axes);
    let some = if set.is_empty() { String::new() } else { format!(" (positions with the set {set} alone)") };
    let formula = format!(
        "dw[{}] = {}dy[{}] x[{}]",
        list([set, pair, tap_index(g, windows, axes)]),
        sum(&over),
        list(["n, o".into(), list(axes.iter().map(ToString::to_string))]),
        list(["n".into(), from, seen]),
    );
    let mut all = vec![("o".to_owned(), dy.c()), ("i".to_owned(), x.c())];
    all.extend(taps(windows, axes));
    let all: Vec<(&str, usize)> = all.iter().map(|(n, e)| (n.as_str(), *e)).collect();
    let mut notes = vec![bounds(&all) + &some];
    notes.extend(note);
    Equation { formula, notes }
}

fn dense_grad(d: &DenseGrad, inputs: &[&TensorTy], out: &TensorTy) -> Option<Equation> {
    match d {
        DenseGrad::Weight => {
            let (n, o, i) = (inputs[0].n(), out.dims().first()?, out.dims().get(1)?);
            let formula = format!("dw[o, i] = {}dy[n, o] x[n, i]", sum(&[("n".into(), n)]));
            Some(Equation { formula, notes: vec![bounds(&[("o", *o), ("i", *i)]), elements(inputs[0])] })
        }
        DenseGrad::Input(_) => {
            let (n, o) = (out.n(), inputs[0].c());
            let formula = format!("dx[n, i] = {}w[o, i] dy[n, o]", sum(&[("o".into(), o)]));
            Some(Equation { formula, notes: vec![bounds(&[("n", n)]), elements(out)] })
        }
    }
}

fn pool(p: &Pool, x: &TensorTy, out: &TensorTy) -> Equation {
    let axes = x.grid_names();
    let left = index(out);
    let mut notes = vec![all_of(out)];
    let (over, seen): (Vec<(String, usize)>, String) = match &p.over {
        Over::Window(spec) => {
            let windows = spec.resolve(x, p.partial).map(|w| w.0).unwrap_or_default();
            if windows.iter().any(|w| w.overhang() != (0, 0)) {
                notes.push("only what lies on the input takes part".to_owned());
            }
            let seen = list(windows.iter().zip(axes).map(|(w, a)| position(w, a)));
            (taps(&windows, axes), list(["n, c".into(), seen]))
        }
        Over::Global => {
            let over = axes.iter().zip(x.grid_dims()).map(|(a, e)| (a.to_string(), *e)).collect();
            (over, index(x))
        }
        Over::Grid(g) => {
            let over = axes.iter().zip(g).zip(x.grid_dims());
            notes.push(list(over.map(|((a, g), e)| format!("p{a} in ⌊{a}*{e}/{g}⌋ .. ⌈({a}+1)*{e}/{g}⌉"))));
            let over = axes.iter().map(|a| (format!("p{a}"), usize::MAX)).collect();
            (over, list(["n, c".into(), list(axes.iter().map(|a| format!("p{a}")))]))
        }
        Over::Channels { size, stride, dilation } => {
            let place = format!("{} + {}", times(*stride, "c"), times(*dilation, "k"));
            (vec![("k".into(), *size)], list(["n".into(), place, list(axes.iter().map(ToString::to_string))]))
        }
    };
    let count: usize = over.iter().map(|o| o.1).fold(1, usize::saturating_mul);
    let indices =
        list(over.iter().map(|(n, e)| if *e == usize::MAX { n.clone() } else { format!("{n}<{e}") }));
    let formula = match p.kind {
        PoolKind::Max => format!("y[{left}] = max_{{{indices}}} x[{seen}]"),
        PoolKind::Avg if count == usize::MAX => format!("y[{left}] = mean_{{{indices}}} x[{seen}]"),
        PoolKind::Avg => format!("y[{left}] = 1/{count} Σ_{{{indices}}} x[{seen}]"),
        PoolKind::Lp(order) => format!("y[{left}] = (Σ_{{{indices}}} |x[{seen}]|^{order})^(1/{order})"),
    };
    if p.kind == PoolKind::Avg && !p.count_pad && notes.len() > 1 {
        notes.push("a mean divides by how many take part".to_owned());
    }
    Equation { formula, notes }
}
