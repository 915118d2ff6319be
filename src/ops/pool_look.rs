//! How a pool's outputs look at its inputs, dimension by dimension, in both directions: which input a tap of a window is, and
//! which windows see an input. Windows are boxes, so that dimensions are independent of each other.

use super::conv_nest::seen;
use super::lower::LowerCx;
use super::pool::{Over, Pool, channels_reach};
use super::window::Window;
use crate::loops::Affine;
use crate::tensor::ty::TensorTy;

/// One dimension after the batch.
pub(super) enum Look {
    /// Each output sees the input at its place.
    Same,
    /// The only output sees all inputs; `gone` where the output has no such dimension.
    All {
        /// Inputs.
        n: usize,
    },
    /// Windows.
    Window(Window),
    /// Output `o` of `g` sees `floor(o*n/g) .. ceil((o+1)*n/g)`.
    Region {
        /// Inputs.
        n: usize,
        /// Outputs.
        g: usize,
    },
}

/// The dimensions of `pool` on an input of type `x`: channels, then the grid.
pub(super) fn looks(pool: &Pool, x: &TensorTy) -> Vec<Look> {
    let mut all = vec![match pool.over {
        Over::Channels { size, stride, dilation } => {
            let out = (x.c() - channels_reach(size, dilation)) / stride + 1;
            Look::Window(Window { input: x.c(), out, kernel: size, stride, dilation, lo: 0, hi: 0 })
        }
        Over::Window(_) | Over::Global | Over::Grid(_) => Look::Same,
    }];
    for (axis, n) in x.grid_dims().iter().enumerate() {
        all.push(match &pool.over {
            Over::Channels { .. } => Look::Same,
            Over::Global => Look::All { n: *n },
            Over::Grid(g) => Look::Region { n: *n, g: g[axis] },
            Over::Window(spec) => Look::Window(
                spec.axis(axis, *n, pool.partial).expect("the shape rule accepted these types").0,
            ),
        });
    }
    all
}

/// Names and extents of loops over the taps.
pub(super) fn taps(looks: &[Look]) -> Vec<(String, usize)> {
    looks.iter().enumerate().map(|(i, l)| (format!("k{i}"), l.taps())).collect()
}

/// The number of a tap, row-major.
pub(super) fn tap_number(sizes: &[(String, usize)], k: &[Affine]) -> Affine {
    k.iter().zip(sizes).fold(Affine::k(0), |number, (k, (_, size))| &(&number * *size as i64) + k)
}

impl Look {
    /// Taps of a window, at most.
    fn taps(&self) -> usize {
        match *self {
            Self::Same => 1,
            Self::All { n } => n,
            Self::Window(w) => w.kernel,
            Self::Region { n, g } if n % g == 0 => n / g,
            Self::Region { n, g } => (n.div_ceil(g) + 1).min(n),
        }
    }

    /// The index of the output, one number per look, from its index with batch; 0 where the output has no such dimension.
    pub(super) fn spread_index(looks: &[Self], out: &[Affine]) -> Vec<Affine> {
        (0..looks.len()).map(|i| out.get(i + 1).cloned().unwrap_or_default()).collect()
    }

    /// How many taps each output counts: those on the input, with `padding` those on padding too.
    pub(super) fn counts(&self, padding: bool) -> Vec<i64> {
        match *self {
            Self::Same => vec![1],
            Self::All { n } => vec![n as i64],
            Self::Window(w) => {
                let (lo, hi) =
                    if padding { (-(w.lo as i64), (w.input + w.hi) as i64) } else { (0, w.input as i64) };
                let inside =
                    |o: usize| (0..w.kernel).filter(|k| (lo..hi).contains(&w.position(o, *k))).count() as i64;
                (0..w.out).map(inside).collect()
            }
            Self::Region { n, g } => (0..g).map(|o| (((o + 1) * n).div_ceil(g) - o * n / g) as i64).collect(),
        }
    }

    /// The input that output `o` sees through tap `k`, where the conditions hold.
    pub(super) fn position(&self, cx: &mut LowerCx<'_>, o: &Affine, k: &Affine) -> (Affine, Vec<Affine>) {
        match *self {
            Self::Same => (o.clone(), Vec::new()),
            Self::All { .. } => (k.clone(), Vec::new()),
            Self::Window(w) => {
                let q = seen(&w, o, k);
                let mut inside = Vec::new();
                // Most taps never leave the input; which do is known where the tap is.
                let leaves = |o: usize| {
                    !k.is_const()
                        || !(0..w.input as i64).contains(&w.position(o, k.k.unsigned_abs() as usize))
                };
                if w.lo > 0 && leaves(0) {
                    inside.push(q.clone());
                }
                if w.overhang().1 > 0 && leaves(w.out.saturating_sub(1)) {
                    inside.push((&q * -1).offset(w.input as i64 - 1));
                }
                (q, inside)
            }
            Self::Region { n, g } if n % g == 0 => (&(o * (n / g) as i64) + k, Vec::new()),
            Self::Region { n, g } => {
                let (n, g) = (n as i64, g as i64);
                let start = Affine::from(cx.b.div("start", o * n, g));
                let end = Affine::from(cx.b.div("end", (o * n).offset(n + g - 1), g));
                let q = &start + k;
                let last = (&q * -1).offset(n - 1); // follows from the other; states the bound
                (q.clone(), vec![end.minus(&q).offset(-1), last])
            }
        }
    }

    /// How many windows may see one input.
    pub(super) fn candidates(&self) -> usize {
        match *self {
            Self::Same | Self::All { .. } => 1,
            Self::Window(w) => (w.reach() - 1) / w.stride + 1,
            Self::Region { n, g } => {
                if n % g == 0 {
                    1
                } else {
                    2
                }
            }
        }
    }

    /// The `j`th window that may see input `q`, and through which tap it does where the conditions hold.
    pub(super) fn window(
        &self,
        cx: &mut LowerCx<'_>,
        q: &Affine,
        j: &Affine,
    ) -> (Affine, Affine, Vec<Affine>) {
        match *self {
            Self::Same => (q.clone(), Affine::k(0), Vec::new()),
            Self::All { .. } => (Affine::k(0), q.clone(), Vec::new()),
            Self::Window(w) => one_window(cx, &w, q, j, self.candidates()),
            Self::Region { n, g } if n % g == 0 => {
                let o = Affine::from(cx.b.div("window", q.clone(), (n / g) as i64));
                let k = q.minus(&(&o * (n / g) as i64));
                (o, k, Vec::new())
            }
            Self::Region { n, g } => {
                let (n, g) = (n as i64, g as i64);
                let o = &Affine::from(cx.b.div("window", q * g, n)) + j;
                let start = Affine::from(cx.b.div("start", &o * n, g));
                let k = q.minus(&start);
                let conds = vec![(&o * -1).offset(g - 1), k.clone()];
                (o, k, conds)
            }
        }
    }
}

/// Window `floor((q + lo) / stride) - j` and its tap on `q`.
fn one_window(
    cx: &mut LowerCx<'_>,
    w: &Window,
    q: &Affine,
    j: &Affine,
    turns: usize,
) -> (Affine, Affine, Vec<Affine>) {
    let (s, d) = (w.stride as i64, w.dilation as i64);
    let from = q.offset(w.lo as i64);
    let o = match s {
        1 => from.minus(j),
        _ => Affine::from(cx.b.div("window", from.clone(), s)).minus(j),
    };
    let mut conds = Vec::new();
    if w.lo / w.stride < turns - 1 {
        conds.push(o.clone());
    }
    if (w.input - 1 + w.lo) / w.stride > w.out - 1 {
        conds.push((&o * -1).offset(w.out as i64 - 1));
    }
    let gap = from.minus(&(&o * s));
    let k = match d {
        1 => gap,
        _ => {
            let rest = Affine::from(cx.b.modulo("rest", gap.clone(), d));
            conds.push(&rest * -1);
            Affine::from(cx.b.div("tap", gap, d))
        }
    };
    if turns * w.stride > w.reach() {
        conds.push((&k * -1).offset(w.kernel as i64 - 1));
    }
    (o, k, conds)
}
