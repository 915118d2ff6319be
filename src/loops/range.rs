//! Ranges of index expressions: intervals, and proofs that an expression is never negative. In: intervals of variables
//! and conditions known to hold; out: intervals and yes-or-don't-know. A `true` is a proof; a `false` says nothing.
//! Sums are taken in `i128`, so no `i64` coefficient can wrap them.

use super::{Affine, IdxExpr, Var};

/// All integers from `lo` to `hi`, both included; empty if `lo > hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Smallest.
    pub lo: i128,
    /// Greatest.
    pub hi: i128,
}

impl Interval {
    /// `lo..=hi`
    pub fn new(lo: i128, hi: i128) -> Self {
        Self { lo, hi }
    }

    /// Whether nothing lies in it.
    pub fn is_empty(self) -> bool {
        self.lo > self.hi
    }

    /// The smallest interval that holds both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    fn scaled(self, c: i128) -> Self {
        let (a, b) = (self.lo.saturating_mul(c), self.hi.saturating_mul(c));
        Self { lo: a.min(b), hi: a.max(b) }
    }

    fn plus(self, other: Self) -> Self {
        Self { lo: self.lo.saturating_add(other.lo), hi: self.hi.saturating_add(other.hi) }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..={}", self.lo, self.hi)
    }
}

/// What is known at some point of a nest.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Per variable, if it is in scope.
    ranges: Vec<Option<Interval>>,
    /// Expressions known to be `>= 0`.
    conds: Vec<Affine>,
}

impl Facts {
    /// Nothing known of `vars` variables.
    pub fn new(vars: usize) -> Self {
        Self { ranges: vec![None; vars], conds: Vec::new() }
    }

    /// The interval of a variable in scope.
    pub fn range(&self, v: Var) -> Option<Interval> {
        self.ranges.get(v.index()).copied().flatten()
    }

    /// Brings a variable into scope, or takes it out.
    pub fn set(&mut self, v: Var, range: Option<Interval>) {
        if let Some(slot) = self.ranges.get_mut(v.index()) {
            *slot = range;
        }
    }

    /// How many conditions are known; [`Self::forget`] returns to it.
    pub fn mark(&self) -> usize {
        self.conds.len()
    }

    /// Forgets conditions learnt after `mark`.
    pub fn forget(&mut self, mark: usize) {
        self.conds.truncate(mark);
    }

    /// Learns `a >= 0`.
    pub fn learn(&mut self, a: Affine) {
        self.conds.push(a);
    }

    /// Learns how `var = floor(a / by)` or `var = a mod by` follows from `a`.
    pub fn learn_idx(&mut self, var: Var, value: &IdxExpr) {
        match value {
            IdxExpr::Div(a, by) => {
                let rest = a.plus(var, by.saturating_neg());
                self.learn((&rest * -1).offset(by - 1));
                self.learn(rest);
            }
            IdxExpr::Mod(a, _) => {
                // Only where `a` itself is never negative: then `a mod by <= a`.
                if self.interval(a).is_some_and(|i| i.lo >= 0) {
                    self.learn(a.plus(var, -1));
                }
            }
            IdxExpr::Table(..) => {}
        }
    }

    /// The interval of an expression; `None` if a variable is not in scope.
    pub fn interval(&self, a: &Affine) -> Option<Interval> {
        let mut sum = Interval::new(i128::from(a.k), i128::from(a.k));
        for (v, c) in &a.terms {
            let r = self.range(*v)?;
            if r.is_empty() {
                return Some(r);
            }
            sum = sum.plus(r.scaled(i128::from(*c)));
        }
        Some(sum)
    }

    /// Whether nothing can happen here: some loop around is empty or some condition never holds.
    pub fn dead(&self) -> bool {
        self.ranges.iter().flatten().any(|r| r.is_empty())
            || self.conds.iter().any(|c| self.interval(c).is_some_and(|i| i.hi < 0))
    }

    /// Whether `a >= 0` is proved: by its interval, or by that of `p*a - q*c - …` for up to two known `c >= 0`.
    pub fn proves(&self, a: &Affine) -> bool {
        self.proves_by(a, 2)
    }

    fn proves_by(&self, a: &Affine, conds: usize) -> bool {
        if self.interval(a).is_some_and(|i| i.lo >= 0) {
            return true;
        }
        if conds == 0 {
            return false;
        }
        self.conds.iter().any(|c| {
            c.terms.iter().any(|(v, cc)| {
                let ac = a.coefficient(*v);
                if ac == 0 || (ac < 0) != (*cc < 0) {
                    return false;
                }
                let g = gcd(ac.unsigned_abs(), cc.unsigned_abs()) as i64;
                let (p, q) = ((cc / g).saturating_abs(), (ac / g).saturating_abs());
                let rest = scaled(a, p).zip(scaled(c, q)).and_then(|(a, c)| minus(&a, &c));
                rest.is_some_and(|rest| self.proves_by(&rest, conds - 1))
            })
        })
    }
}

/// Greatest common divisor; `gcd(0, b) = b`.
pub fn gcd(a: u64, b: u64) -> u64 {
    if a == 0 { b } else { gcd(b % a, a) }
}

fn scaled(a: &Affine, by: i64) -> Option<Affine> {
    let terms = a.terms.iter().map(|(v, c)| Some((*v, c.checked_mul(by)?))).collect::<Option<_>>()?;
    Some(Affine { terms, k: a.k.checked_mul(by)? })
}

fn minus(a: &Affine, b: &Affine) -> Option<Affine> {
    let fits = |x: i64| x.unsigned_abs() < 1 << 62;
    let ok = [a, b].iter().all(|a| fits(a.k) && a.terms.iter().all(|(_, c)| fits(*c)));
    ok.then(|| a.minus(b))
}
