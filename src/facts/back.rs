//! How positions of a value look back on positions of the network's inputs along one axis, in closed form.
//!
//! Both ends of what an interval sees depend on one end of the interval each, and after some positions (the product of the strides
//! of transposed windows) they repeat, further on by a fixed shift. So a table of one period says all, however many operations
//! lie between; branches that meet take the hull. What sees a whole axis sees a fixed interval, whatever the position.

/// Tables of more entries than this are not made.
const PERIOD_MAX: usize = 1 << 10;

/// An interval of positions; `None` when nothing is seen.
pub(super) type Interval = Option<(i64, i64)>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Back {
    turn: Option<Turn>,
    /// What every position sees.
    fixed: Interval,
}

/// The ends of what position `o` sees: `lo[o mod P] + shift * floor(o / P)`, `hi` likewise, with `P` the tables' length.
#[derive(Clone, Debug, PartialEq)]
struct Turn {
    shift: i64,
    lo: Vec<i64>,
    hi: Vec<i64>,
}

impl Turn {
    fn at(&self, table: &[i64], o: i64) -> i64 {
        let period = table.len() as i64;
        table[o.rem_euclid(period) as usize].saturating_add(self.shift.saturating_mul(o.div_euclid(period)))
    }

    fn period(&self) -> usize {
        self.lo.len()
    }

    /// The same over `times` periods.
    fn unrolled(&self, times: usize) -> Self {
        let all = 0..(self.period() * times) as i64;
        Self {
            shift: self.shift.saturating_mul(times as i64),
            lo: all.clone().map(|o| self.at(&self.lo, o)).collect(),
            hi: all.map(|o| self.at(&self.hi, o)).collect(),
        }
    }
}

impl Back {
    /// Positions of an input see themselves.
    pub(super) fn same() -> Self {
        Self { turn: Some(Turn { shift: 1, lo: vec![0], hi: vec![0] }), fixed: None }
    }

    /// Every position sees the same.
    pub(super) fn fixed(seen: Interval) -> Self {
        Self { turn: None, fixed: seen }
    }

    /// What positions `from` see.
    pub(super) fn of(&self, from: (i64, i64)) -> Interval {
        let seen = self.turn.as_ref().map(|t| (t.at(&t.lo, from.0), t.at(&t.hi, from.1)));
        hull(seen, self.fixed)
    }

    /// Behind a window: position `o` looks at `stride * o - before` and the `reach` from there on.
    pub(super) fn window(&self, stride: u64, before: i64, reach: u64) -> Self {
        let s = i64::try_from(stride).unwrap_or(i64::MAX);
        let first = |o: i64| o.saturating_mul(s).saturating_sub(before);
        let last = |o: i64| first(o).saturating_add(reach as i64 - 1);
        let turn = self.turn.as_ref().map(|t| {
            let period = (t.period() as i64) / gcd(t.period() as i64, s).max(1);
            let turns = period.saturating_mul(s) / t.period() as i64;
            Turn {
                shift: t.shift.saturating_mul(turns),
                lo: (0..period).map(|o| t.at(&t.lo, first(o))).collect(),
                hi: (0..period).map(|o| t.at(&t.hi, last(o))).collect(),
            }
        });
        Self { turn, fixed: self.fixed }
    }

    /// Behind a transposed window; `None` where it leaves positions that see nothing, or the table would be too long.
    pub(super) fn spread(&self, stride: u64, before: i64, reach: u64) -> Option<Self> {
        let s = i64::try_from(stride.max(1)).ok()?;
        let first = |o: i64| -((-(o.saturating_add(before).saturating_sub(reach as i64 - 1))).div_euclid(s));
        let last = |o: i64| o.saturating_add(before).div_euclid(s);
        let Some(t) = &self.turn else { return Some(self.clone()) };
        let period = t.period().checked_mul(s as usize).filter(|p| *p <= PERIOD_MAX)? as i64;
        if reach < stride {
            return None;
        }
        let turn = Turn {
            shift: t.shift,
            lo: (0..period).map(|o| t.at(&t.lo, first(o))).collect(),
            hi: (0..period).map(|o| t.at(&t.hi, last(o))).collect(),
        };
        Some(Self { turn: Some(turn), fixed: self.fixed })
    }

    /// What either sees; `None` where they move on at different speeds.
    pub(super) fn both(&self, other: &Self) -> Option<Self> {
        let turn = match (&self.turn, &other.turn) {
            (Some(a), Some(b)) => {
                let (p, q) = (a.period(), b.period());
                let all = p / gcd(p as i64, q as i64).max(1) as usize * q;
                if all > PERIOD_MAX {
                    return None;
                }
                let (a, b) = (a.unrolled(all / p), b.unrolled(all / q));
                if a.shift != b.shift {
                    return None;
                }
                let min = a.lo.iter().zip(&b.lo).map(|(a, b)| *a.min(b)).collect();
                let max = a.hi.iter().zip(&b.hi).map(|(a, b)| *a.max(b)).collect();
                Some(Turn { shift: a.shift, lo: min, hi: max })
            }
            (one, None) | (None, one) => one.clone(),
        };
        Some(Self { turn, fixed: hull(self.fixed, other.fixed) })
    }
}

/// The least interval that holds both.
pub(super) fn hull(a: Interval, b: Interval) -> Interval {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, None) | (None, one) => one,
    }
}

pub(super) fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What position `o` sees through operations, the last one first: `(stride, before, reach)`, transposed or not.
    fn walked(ops: &[(bool, u64, i64, u64)], o: i64) -> (i64, i64) {
        ops.iter().rev().fold((o, o), |(lo, hi), (spread, stride, before, reach)| {
            let (s, r) = (*stride as i64, *reach as i64);
            if *spread {
                (-((-(lo + before - (r - 1))).div_euclid(s)), (hi + before).div_euclid(s))
            } else {
                (lo * s - before, hi * s - before + r - 1)
            }
        })
    }

    #[test]
    fn tables_of_one_period_say_what_walking_back_says() {
        let all: &[&[(bool, u64, i64, u64)]] = &[
            &[(false, 2, 1, 3), (false, 2, 3, 7), (true, 2, 1, 4), (false, 1, 1, 3)],
            &[(true, 3, 0, 5), (false, 2, 0, 2), (true, 2, 1, 3), (true, 2, 0, 2), (false, 4, 2, 5)],
            &[(false, 1, 1, 3); 4],
        ];
        for ops in all {
            let step = |back: Option<Back>, (spread, s, b, r): &(bool, u64, i64, u64)| match spread {
                true => back?.spread(*s, *b, *r),
                false => Some(back?.window(*s, *b, *r)),
            };
            let back = ops.iter().fold(Some(Back::same()), step).expect("a closed form");
            for o in -40..40 {
                assert_eq!(back.of((o, o)), Some(walked(ops, o)), "{ops:?} at {o}");
            }
            let both = back.both(&Back::fixed(Some((3, 5)))).expect("a hull");
            assert_eq!(both.of((0, 0)), hull(Some(walked(ops, 0)), Some((3, 5))));
        }
        assert_eq!(Back::same().spread(3, 0, 2), None, "some positions see nothing");
        assert_eq!(Back::same().both(&Back::same().window(2, 0, 1)), None, "two speeds");
    }
}
