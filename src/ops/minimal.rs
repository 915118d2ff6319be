//! The matrices of minimal filtering F(m, 3) on one axis (Toom 1963; Cook 1966; Winograd 1980), twice the same for F(m x m, 3 x 3):
//! `y = A' [ (G w) ⊙ (B' d) ]` gives `m` outputs of three taps `w` from `m + 2` inputs `d` with `m + 2` products. By
//! transposition the same matrices give the gradient by `w`.
//!
//! F(2, 3) evaluates polynomials at 0, 1, -1 and infinity: constants that double nothing, and rounding errors of a sum of products.
//! F(4, 3) has four more products for twice the outputs. At the usual points 0, ±1, ±2 its errors are five times those of the
//! definition; at 0, ±11/16, ±3/2, whose inverses lie close by, half of that (the freedom that Barabasz et al. 2020 and Alam et al. 2022
//! measure; all constants of `A` and `B` are exact in `f32`), and where sums over maps are short (see
//! [`super::winograd_nest`]) those of the definition's own chain.

use super::lower::LowerCx;
use crate::loops::{Expr, Reg};

/// The points of F(4, 3) beside 0 and infinity are `±P[0]` and `±P[1]`.
const P: [f32; 2] = [11.0 / 16.0, 1.5];

/// Outputs of a tile along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tile {
    /// F(2x2, 3x3)
    Two,
    /// F(4x4, 3x3)
    Four,
}

impl Tile {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Two, Self::Four];

    /// By its outputs along an axis.
    ///
    /// # Errors
    /// A sentence.
    pub fn of(outputs: usize) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|t| t.outputs() == outputs)
            .ok_or_else(|| format!("no tile has {outputs} outputs"))
    }

    /// Outputs along an axis.
    pub fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Inputs and products along an axis.
    pub fn span(self) -> usize {
        self.outputs() + 2
    }

    /// Products of a tile.
    pub fn numbers(self) -> usize {
        self.span() * self.span()
    }

    /// Products by the definition.
    pub fn products(self) -> usize {
        9 * self.outputs() * self.outputs()
    }

    /// Its name for outputs of `outputs` and `taps` along each axis.
    fn name(outputs: usize, taps: usize) -> String {
        format!("F({outputs}x{outputs}, {taps}x{taps})")
    }

    /// As a convolution is said with it.
    pub fn filter(self) -> String {
        Self::name(self.outputs(), 3)
    }

    /// As a gradient by a weight is said with it.
    pub fn gradient(self) -> String {
        Self::name(3, self.outputs())
    }

    /// `B'`: a row for each product.
    pub fn input(self) -> Vec<Vec<f64>> {
        let [a, b] = P.map(f64::from);
        match self {
            Self::Two => vec![
                vec![1.0, 0.0, -1.0, 0.0],
                vec![0.0, 1.0, 1.0, 0.0],
                vec![0.0, -1.0, 1.0, 0.0],
                vec![0.0, 1.0, 0.0, -1.0],
            ],
            // Rows are the products of `x - p` over all other points `p`; the last over all of them.
            Self::Four => {
                let (ends, sum) = (a * a * b * b, a * a + b * b);
                let row = |p: f64, q: f64| vec![0.0, -p * q * q, -q * q, p, 1.0, 0.0];
                vec![
                    vec![ends, 0.0, -sum, 0.0, 1.0, 0.0],
                    row(a, b),
                    row(-a, b),
                    row(b, a),
                    row(-b, a),
                    vec![0.0, ends, 0.0, -sum, 0.0, 1.0],
                ]
            }
        }
    }

    /// `G`: a row for each product.
    pub fn weight(self) -> Vec<[f64; 3]> {
        let [a, b] = P.map(f64::from);
        match self {
            Self::Two => vec![[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            Self::Four => {
                let row = |p: f64, q: f64| {
                    let scale = 1.0 / (2.0 * p * p * (p * p - q * q));
                    [scale, p * scale, p * p * scale]
                };
                let first = 1.0 / (a * a * b * b);
                vec![[first, 0.0, 0.0], row(a, b), row(-a, b), row(b, a), row(-b, a), [0.0, 0.0, 1.0]]
            }
        }
    }

    /// `A'`: a row for each output.
    pub fn output(self) -> Vec<Vec<f64>> {
        match self {
            Self::Two => vec![vec![1.0, 1.0, 1.0, 0.0], vec![0.0, 1.0, -1.0, -1.0]],
            Self::Four => {
                let [a, b] = P.map(f64::from);
                let row = |i: i32| {
                    let ends = [i == 0, i == 3].map(|e| if e { 1.0 } else { 0.0 });
                    vec![ends[0], a.powi(i), (-a).powi(i), b.powi(i), (-b).powi(i), ends[1]]
                };
                (0..4).map(row).collect()
            }
        }
    }

    /// `B' d`, one axis.
    pub(super) fn input_rule(self, cx: &mut LowerCx<'_>, d: &[Reg]) -> Vec<Reg> {
        let at = |i: usize| Expr::Reg(d[i]);
        match self {
            Self::Two => {
                let all = [at(0) - at(2), at(1) + at(2), at(2) - at(1), at(1) - at(3)];
                all.map(|e| cx.b.let_(e)).to_vec()
            }
            Self::Four => {
                let [a, b] = P;
                let (ends, sum) = (a * a * b * b, a * a + b * b);
                let end = |cx: &mut LowerCx<'_>, i: usize| {
                    let inner = cx.b.let_(times(-sum, at(i + 2), at(i + 4)));
                    cx.b.let_(times(ends, at(i), Expr::Reg(inner)))
                };
                let mut all = vec![end(cx, 0)];
                for (p, q) in [(a, b), (b, a)] {
                    let even = cx.b.let_(times(-q * q, at(2), at(4)));
                    let odd = cx.b.let_(times(-q * q, at(1), at(3)));
                    all.extend(pair(cx, p, even, odd));
                }
                all.push(end(cx, 1));
                all
            }
        }
    }

    /// `A' m`, one axis.
    pub(super) fn output_rule(self, cx: &mut LowerCx<'_>, m: &[Reg]) -> Vec<Reg> {
        let at = |i: usize| Expr::Reg(m[i]);
        match self {
            Self::Two => {
                let all = [at(0) + at(1) + at(2), at(1) - at(2) - at(3)];
                all.map(|e| cx.b.let_(e)).to_vec()
            }
            Self::Four => {
                let [a, b] = P;
                let sums = [1, 3].map(|i| cx.b.let_(at(i) + at(i + 1)));
                let differences = [1, 3].map(|i| cx.b.let_(at(i) - at(i + 1)));
                let [s, t] = sums.map(Expr::Reg);
                let [d, e] = differences.map(Expr::Reg);
                let all = [
                    at(0) + s.clone() + t.clone(),
                    times(b, e.clone(), d.clone() * a.into()),
                    times(b * b, t, s * (a * a).into()),
                    times(b * b * b, e, times(a * a * a, d, at(5))),
                ];
                all.map(|e| cx.b.let_(e)).to_vec()
            }
        }
    }

    /// `G w`, one axis.
    pub(super) fn weight_rule(self, cx: &mut LowerCx<'_>, w: &[Reg]) -> Vec<Reg> {
        let at = |i: usize| Expr::Reg(w[i]);
        match self {
            Self::Two => {
                let ends = cx.b.let_((at(0) + at(2)) * 0.5.into());
                let middle = cx.b.let_(at(1) * 0.5.into());
                let sum = cx.b.let_(Expr::Reg(ends) + Expr::Reg(middle));
                let difference = cx.b.let_(Expr::Reg(ends) - Expr::Reg(middle));
                vec![w[0], sum, difference, w[2]]
            }
            Self::Four => {
                let g = self.weight();
                let mut all = vec![cx.b.let_(at(0) * (g[0][0] as f32).into())];
                for (i, p) in [(1, P[0]), (3, P[1])] {
                    let even = cx.b.let_(times(p * p, at(2), at(0)) * (g[i][0] as f32).into());
                    let odd = cx.b.let_(at(1) * (g[i][1] as f32).into());
                    all.push(cx.b.let_(Expr::Reg(even) + Expr::Reg(odd)));
                    all.push(cx.b.let_(Expr::Reg(even) - Expr::Reg(odd)));
                }
                all.push(w[2]);
                all
            }
        }
    }

    /// `A z`, one axis: gradients by outputs.
    pub(super) fn gradient_rule(self, cx: &mut LowerCx<'_>, z: &[Reg]) -> Vec<Reg> {
        let at = |i: usize| Expr::Reg(z[i]);
        match self {
            Self::Two => {
                let sum = cx.b.let_(at(0) + at(1));
                let difference = cx.b.let_(at(0) - at(1));
                vec![z[0], sum, difference, cx.b.let_(Expr::from(0.0) - at(1))]
            }
            Self::Four => {
                let mut all = vec![z[0]];
                for p in P {
                    let even = cx.b.let_(times(p * p, at(2), at(0)));
                    let odd = cx.b.let_(times(p * p, at(3), at(1)));
                    all.extend(pair(cx, p, even, odd));
                }
                all.push(z[3]);
                all
            }
        }
    }

    /// `G' m`, one axis: the gradient by the weight of sums over tiles.
    pub(super) fn fold_rule(self, cx: &mut LowerCx<'_>, m: &[Reg]) -> Vec<Reg> {
        let at = |i: usize| Expr::Reg(m[i]);
        match self {
            Self::Two => {
                let sum = cx.b.let_((at(1) + at(2)) * 0.5.into());
                let first = cx.b.let_(at(0) + Expr::Reg(sum));
                let middle = cx.b.let_((at(1) - at(2)) * 0.5.into());
                let last = cx.b.let_(Expr::Reg(sum) + at(3));
                vec![first, middle, last]
            }
            Self::Four => {
                let g = self.weight();
                let (g, sq) = (|i: usize, k: usize| g[i][k] as f32, P.map(|p| p * p));
                let sums = [1, 3].map(|i| cx.b.let_((at(i) + at(i + 1)) * g(i, 0).into()));
                let differences = [1, 3].map(|i| cx.b.let_(at(i) - at(i + 1)));
                let [s, t] = sums.map(Expr::Reg);
                let [d, e] = differences.map(Expr::Reg);
                let all = [
                    times(g(0, 0), at(0), s.clone() + t.clone()),
                    times(g(1, 1), d, e * g(3, 1).into()),
                    times(sq[0], s, times(sq[1], t, at(5))),
                ];
                all.map(|e| cx.b.let_(e)).to_vec()
            }
        }
    }

    /// `rule` along both axes of a tile: first over its columns, then over the rows of what these give. `at` gives the element in
    /// a row and a column of `extent`; `to` takes the results, row by row.
    pub(super) fn both(
        self,
        cx: &mut LowerCx<'_>,
        extent: usize,
        rule: fn(Self, &mut LowerCx<'_>, &[Reg]) -> Vec<Reg>,
        mut at: impl FnMut(&mut LowerCx<'_>, usize, usize) -> Expr,
        mut to: impl FnMut(&mut LowerCx<'_>, usize, usize, Reg),
    ) {
        let mut columns: Vec<Vec<Reg>> = Vec::new();
        for j in 0..extent {
            let mut column = Vec::new();
            for i in 0..extent {
                let e = at(cx, i, j);
                column.push(cx.b.let_(e));
            }
            columns.push(rule(self, cx, &column));
        }
        for i in 0..columns[0].len() {
            let row: Vec<Reg> = columns.iter().map(|c| c[i]).collect();
            for (j, value) in rule(self, cx, &row).into_iter().enumerate() {
                to(cx, i, j, value);
            }
        }
    }
}

/// `k a + b`, rounded once.
fn times(k: f32, a: Expr, b: Expr) -> Expr {
    Expr::fma(a, k.into(), b)
}

/// `even ± p odd`.
fn pair(cx: &mut LowerCx<'_>, p: f32, even: Reg, odd: Reg) -> [Reg; 2] {
    [p, -p].map(|p| cx.b.let_(times(p, Expr::Reg(odd), Expr::Reg(even))))
}

#[cfg(test)]
mod tests {
    use super::Tile;

    /// `y[i] = Σ_k w[k] d[i + k]` for all unit vectors.
    #[test]
    fn the_matrices_filter() {
        for tile in Tile::ALL {
            let (a, g, b) = (tile.output(), tile.weight(), tile.input());
            assert_eq!([a.len(), b.len(), g.len()], [tile.outputs(), tile.span(), tile.span()]);
            for (i, k, j) in (0..tile.outputs())
                .flat_map(|i| (0..3).flat_map(move |k| (0..tile.span()).map(move |j| (i, k, j))))
            {
                let sum: f64 = (0..tile.span()).map(|t| a[i][t] * g[t][k] * b[t][j]).sum();
                let expected = if j == i + k { 1.0 } else { 0.0 };
                assert!((sum - expected).abs() < 1e-12, "{tile:?}: {sum} for output {i}, tap {k}, input {j}");
            }
        }
    }

    #[test]
    fn constants_of_inputs_and_outputs_are_exact() {
        for tile in Tile::ALL {
            for x in tile.input().into_iter().chain(tile.output()).flatten() {
                assert_eq!(f64::from(x as f32), x, "{tile:?}");
            }
        }
    }
}
