//! How far two lists of numbers are apart. In: what was computed, what it should be, a tolerance. Out: errors in absolute and
//! relative terms and in units in the last place, where the worst one stands, and a verdict.
//!
//! Element `a` agrees with `e` when `|a - e| <= atol + rtol * |e|` (as numpy's `allclose`). NaN agrees with NaN only, an infinity
//! with the same infinity only; such pairs stay out of the error figures.

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative to the expected value.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { rtol: 1e-4, atol: 1e-5 }
    }
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Number of pairs.
    pub count: usize,
    /// Pairs that do not agree.
    pub wrong: usize,
    /// Pairs of which one is NaN or infinite and the other is not the same.
    pub special: usize,
    /// Largest `|a - e|`.
    pub max_abs: f64,
    /// Largest `|a - e| / |e|` over `e != 0`.
    pub max_rel: f64,
    /// Largest distance in units in the last place of `f32`.
    pub max_ulp: u64,
    /// Root of the mean of `(a - e)^2`.
    pub rms: f64,
    /// Largest `|e|`, to read the others by.
    pub scale: f64,
    /// Where the pair stands that exceeds its tolerance most, or comes nearest to it.
    pub worst: Option<usize>,
}

impl Comparison {
    /// Whether all pairs agree.
    pub fn passed(&self) -> bool {
        self.wrong == 0
    }

    /// Adds what was found for elements that follow.
    pub fn join(&mut self, next: &Comparison) {
        let squares = |c: &Comparison| c.rms * c.rms * c.count as f64;
        let sum = squares(self) + squares(next);
        if self.worst.is_none() || next.max_abs > self.max_abs || next.special > 0 {
            self.worst = next.worst.map(|at| self.count + at).or(self.worst);
        }
        self.count += next.count;
        self.rms = if self.count == 0 { 0.0 } else { (sum / self.count as f64).sqrt() };
        self.wrong += next.wrong;
        self.special += next.special;
        self.max_abs = self.max_abs.max(next.max_abs);
        self.max_rel = self.max_rel.max(next.max_rel);
        self.max_ulp = self.max_ulp.max(next.max_ulp);
        self.scale = self.scale.max(next.scale);
    }

    /// Largest absolute error over the largest expected magnitude; 0 where nothing differs.
    pub fn relative_to_scale(&self) -> f64 {
        if self.max_abs == 0.0 { 0.0 } else { self.max_abs / self.scale.max(f64::MIN_POSITIVE) }
    }
}

/// Compares pair by pair; the shorter list decides how many.
pub fn compare(actual: &[f32], expected: &[f64], tolerance: Tolerance) -> Comparison {
    let mut out = Comparison { count: actual.len().min(expected.len()), ..Comparison::default() };
    let mut worst = f64::NEG_INFINITY;
    let mut squares = 0.0;
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let (wide, narrow) = (f64::from(*a), *e as f32);
        let excess = if wide.is_finite() && e.is_finite() {
            let error = (wide - e).abs();
            out.max_abs = out.max_abs.max(error);
            if *e != 0.0 {
                out.max_rel = out.max_rel.max(error / e.abs());
            }
            out.max_ulp = out.max_ulp.max(ulps(*a, narrow));
            out.scale = out.scale.max(e.abs());
            squares += error * error;
            error - (tolerance.atol + tolerance.rtol * e.abs())
        } else if same_special(*a, *e) {
            continue;
        } else {
            out.special += 1;
            f64::INFINITY
        };
        out.wrong += usize::from(excess > 0.0);
        if excess > worst {
            worst = excess;
            out.worst = Some(i);
        }
    }
    out.rms = (squares / out.count.max(1) as f64).sqrt();
    out
}

/// Both NaN, or both the same infinity; an expected value beyond the range of `f32` counts as infinite.
fn same_special(a: f32, e: f64) -> bool {
    if a.is_nan() || e.is_nan() {
        return a.is_nan() && e.is_nan();
    }
    a == e as f32
}

/// How many `f32` lie between two finite ones.
pub fn ulps(a: f32, b: f32) -> u64 {
    // Sign and magnitude to an order in which neighbours differ by one.
    let ordered = |x: f32| -> i64 {
        let bits = i64::from(x.to_bits() & 0x7fff_ffff);
        if x.is_sign_negative() { -bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

/// The index at position `at` of a row-major list with these extents.
pub fn index_of(dims: &[usize], mut at: usize) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (i, d) in index.iter_mut().zip(dims).rev() {
        *i = at % (*d).max(1);
        at /= (*d).max(1);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_agree_without_error() {
        let c = compare(&[1.0, -2.0, 0.0], &[1.0, -2.0, 0.0], Tolerance { rtol: 0.0, atol: 0.0 });
        assert!(c.passed());
        assert_eq!((c.max_abs, c.max_ulp, c.scale, c.count), (0.0, 0, 2.0, 3));
    }

    #[test]
    fn the_worst_pair_is_named() {
        let c = compare(&[1.0, 2.5, 3.1], &[1.0, 2.0, 3.0], Tolerance { rtol: 0.0, atol: 0.2 });
        assert_eq!((c.wrong, c.worst), (1, Some(1)));
        assert_eq!(c.max_abs, 0.5);
        assert_eq!(c.max_rel, 0.25);
    }

    #[test]
    fn nan_agrees_with_nan_only() {
        let t = Tolerance { rtol: 1.0, atol: 1.0 };
        let nan = f32::NAN;
        assert!(compare(&[nan], &[f64::NAN], t).passed());
        assert!(!compare(&[nan], &[0.0], t).passed());
        assert!(!compare(&[0.0], &[f64::NAN], t).passed());
        assert!(compare(&[f32::INFINITY], &[f64::INFINITY], t).passed());
        assert!(!compare(&[f32::INFINITY], &[f64::NEG_INFINITY], t).passed());
        assert_eq!(compare(&[f32::INFINITY], &[1.0], t).special, 1);
    }

    #[test]
    fn neighbours_are_one_ulp_apart() {
        assert_eq!(ulps(1.0, 1.0 + f32::EPSILON), 1);
        assert_eq!(ulps(0.0, -0.0), 0);
        assert_eq!(ulps(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(index_of(&[2, 3, 4], 23), [1, 2, 3]);
    }
}
