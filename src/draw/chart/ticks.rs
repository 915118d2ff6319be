//! Where an axis has ticks, and what stands there: multiples of 1, 2 or 5 times a power of ten; on a logarithmic axis powers of ten,
//! and 2 and 5 times them where there is room.

/// An axis from its least to its greatest value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) log: bool,
    /// Places and their labels.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Beyond this a value counts as not finite, so that no difference overflows.
const VALUE_MAX: f64 = 1e100;
/// A logarithmic axis begins to be of use where values are so far apart.
const LOG_FROM: f64 = 20.0;

/// Whether a value has a place.
pub(super) fn is_drawn(v: f64) -> bool {
    v.is_finite() && v.abs() <= VALUE_MAX
}

impl Axis {
    /// An axis for these values with about `wanted` ticks; `None` without a value. `whole`: between whole numbers there are none.
    pub(super) fn of(
        values: impl Iterator<Item = f64>,
        log: bool,
        whole: bool,
        wanted: usize,
    ) -> Option<Self> {
        let (least, most) = values
            .filter(|v| is_drawn(*v))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if least > most {
            return None;
        }
        if log && least > 0.0 && most / least >= LOG_FROM {
            return Some(Self::log(least, most));
        }
        let (least, most) = if most - least > 1e-9 * most.abs().max(least.abs()) {
            (least, most)
        } else {
            // A lone value stands in the middle.
            let size = most.abs().max(least.abs());
            let around = if whole { (size * 1e-3).max(1.0) } else { size * 0.1 };
            let around = if around < 1e-300 { 1.0 } else { around };
            (least - around, most + around)
        };
        let mut step = nice((most - least) / wanted.max(1) as f64);
        if whole {
            step = step.max(1.0);
        }
        let ticks = |step: f64, least: f64, most: f64| {
            let (first, last) = ((least / step - 1e-6).ceil(), (most / step + 1e-6).floor());
            let count = ((last - first).max(0.0) as usize).min(4 * wanted);
            (0..=count).map(|i| (first + i as f64) * step).collect::<Vec<f64>>()
        };
        // From tick to tick, so that the ends are labelled; whole numbers keep their own ends.
        let (least, most) = match whole {
            true => (least, most),
            false => ((least / step + 1e-6).floor() * step, (most / step - 1e-6).ceil() * step),
        };
        let size = most.abs().max(least.abs());
        let labels = ticks(step, least, most).into_iter().map(|v| (v, label(v, step, size)));
        Some(Self { least, most, log: false, ticks: labels.collect() })
    }

    fn log(least: f64, most: f64) -> Self {
        let (low, high) = (libm::log10(least).floor(), libm::log10(most).ceil());
        let decades = high - low;
        let factors: &[f64] = if decades <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = (decades / 6.0).ceil().max(1.0);
        let mut ticks = Vec::new();
        let mut decade = low;
        while decade <= high {
            for factor in factors {
                let v = factor * libm::pow(10.0, decade);
                ticks.push((v, label(v, v, v)));
            }
            decade += every;
        }
        // The ends are the nearest ticks outside.
        let least = ticks.iter().rev().map(|t| t.0).find(|t| *t <= least * (1.0 + 1e-9)).unwrap_or(least);
        let most = ticks.iter().map(|t| t.0).find(|t| *t >= most * (1.0 - 1e-9)).unwrap_or(most);
        ticks.retain(|t| (least..=most).contains(&t.0));
        Self { least, most, log: true, ticks }
    }

    /// Where a value lies between the ends, 0 to 1.
    pub(super) fn place(&self, v: f64) -> f64 {
        let f = |v: f64| if self.log { libm::log10(v) } else { v };
        (f(v) - f(self.least)) / (f(self.most) - f(self.least))
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below `x`.
fn nice(x: f64) -> f64 {
    let power = libm::pow(10.0, libm::log10(x).floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= x * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

/// A value beside ticks of this distance on an axis of numbers up to `size`, with no more digits than tell ticks apart.
fn label(v: f64, step: f64, size: f64) -> String {
    let powers = !(1e-3..1e6).contains(&size);
    if v.abs() < step * 1e-6 && powers {
        return "0".to_owned();
    }
    let order = |x: f64| (libm::log10(x) + 1e-9).floor();
    if powers {
        let digits = (order(size) - order(step)).clamp(0.0, 12.0) as usize;
        let text = format!("{v:.digits$e}");
        // `1.50e-5` as `1.5e-5`, `2.00e6` as `2e6`.
        return match text.split_once('e') {
            Some((digits, power)) if digits.contains('.') => {
                format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
            }
            Some(_) | None => text,
        };
    }
    let decimals = (-order(step)).clamp(0.0, 15.0) as usize;
    // Not `-0.0`.
    let v = if v.abs() < step * 1e-6 { 0.0 } else { v };
    format!("{v:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool, whole: bool) -> Vec<String> {
        let axis = Axis::of(values.iter().copied(), log, whole, 5).expect("values");
        let places: Vec<f64> = axis.ticks.iter().map(|t| axis.place(t.0)).collect();
        assert!(places.iter().all(|p| (-1e-9..=1.0 + 1e-9).contains(p)), "{places:?}");
        assert!(
            values.iter().filter(|v| is_drawn(**v)).all(|v| (-1e-9..=1.0 + 1e-9).contains(&axis.place(*v)))
        );
        axis.ticks.into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        assert_eq!(labels(&[0.03, 0.97], false, false), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[1.0, 30.0], false, true), ["10", "20", "30"]);
        assert_eq!(labels(&[1.0, 2.0, 3.0], false, true), ["1", "2", "3"]);
        assert_eq!(labels(&[-3.0, 4.0], false, false), ["-4", "-2", "0", "2", "4"]);
        assert_eq!(labels(&[2e6, 9e6], false, false), ["2e6", "4e6", "6e6", "8e6", "1e7"]);
        assert_eq!(labels(&[1e-5, 3e-5], false, false), ["1e-5", "1.5e-5", "2e-5", "2.5e-5", "3e-5"]);
    }

    #[test]
    fn logarithmic_axes_have_decades() {
        assert_eq!(
            labels(&[0.013, 2.3], true, false),
            ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]
        );
        assert_eq!(labels(&[1e-6, 2.0], true, false).first().map(String::as_str), Some("1e-6"));
        assert_eq!(labels(&[0.5, 2.0], true, false), labels(&[0.5, 2.0], false, false), "not far apart");
        assert_eq!(labels(&[0.0, 2.0], true, false), labels(&[0.0, 2.0], false, false), "0 has no logarithm");
    }

    #[test]
    fn strange_values_have_an_axis_or_none() {
        assert!(Axis::of([f64::NAN, f64::INFINITY].into_iter(), false, false, 5).is_none());
        assert!(Axis::of(std::iter::empty(), true, true, 5).is_none());
        for values in [
            [0.0, 0.0],
            [7.0, 7.0],
            [-1e99, 1e99],
            [1e16, 1e16 + 2.0],
            [1e-300, 1e99],
            [5e-324, 5e-324],
            [f64::MAX, 3.0],
        ] {
            for (log, whole) in [(false, false), (true, false), (false, true)] {
                let found = labels(&values, log, whole);
                assert!(found.len() <= 21, "{values:?}: {found:?}");
            }
        }
    }
}
