//! Seeded numbers by counter: number `i` of a stream is a function of seed, path and `i` alone, so that a new weight changes
//! no other one and the order of drawing does not matter. The same bits on every platform: transcendental functions are
//! `libm`'s.
//!
//! Bits come from SplitMix64 (Steele, Lea & Flood 2014), normal numbers from the ziggurat (Marsaglia & Tsang 2000, in
//! Doornik's form of 2005 that tests with independent bits).

use std::sync::OnceLock;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: u64,
}

impl Random {
    /// The stream of `path` under `seed`.
    pub fn new(seed: u64, path: &str) -> Self {
        // FNV-1a over the path, then mixed with the seed.
        let hash = path
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self { key: mix(hash ^ mix(seed.wrapping_add(GOLDEN))) }
    }

    /// The stream `i` within this one, for counters of several levels: `random.stream(epoch).stream(sample).unit(0)`.
    #[must_use]
    pub fn stream(&self, i: u64) -> Self {
        Self { key: self.bits(i) }
    }

    /// 64 random bits.
    pub fn bits(&self, i: u64) -> u64 {
        mix(self.key.wrapping_add(i.wrapping_mul(GOLDEN)))
    }

    /// An integer in `0..n`; 0 for `n = 0`. The bias of at most `n / 2^64` does not matter here.
    pub fn below(&self, i: u64, n: u64) -> u64 {
        ((u128::from(self.bits(i)) * u128::from(n)) >> 64) as u64
    }

    /// A number in `0..1`, 1 excluded.
    pub fn unit(&self, i: u64) -> f64 {
        unit(self.bits(i))
    }

    /// A number in `lo..hi`, `hi` excluded unless equal.
    pub fn uniform(&self, i: u64, lo: f32, hi: f32) -> f32 {
        let x = (f64::from(lo) + (f64::from(hi) - f64::from(lo)) * self.unit(i)) as f32;
        if x < hi { x } else { lo }
    }

    /// A standard normal number.
    pub fn normal(&self, i: u64) -> f64 {
        let table = ziggurat();
        // Number i draws from its own stream, as it may need several draws.
        let own = self.stream(i);
        for draw in 0..64 {
            let bits = own.bits(3 * draw);
            let u = 2.0 * unit(bits) - 1.0;
            // `unit` uses the upper 53 bits; the lowest 7 are independent of them.
            let layer = (bits & 127) as usize;
            if u.abs() < table.ratio[layer] {
                return u * table.x[layer];
            }
            if layer == 0 {
                return tail(own, u < 0.0);
            }
            let x = u * table.x[layer];
            let f0 = libm::exp(-0.5 * (table.x[layer] * table.x[layer] - x * x));
            let f1 = libm::exp(-0.5 * (table.x[layer + 1] * table.x[layer + 1] - x * x));
            if f1 + own.unit(3 * draw + 1) * (f0 - f1) < 1.0 {
                return x;
            }
        }
        0.0
    }
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Layers of the ziggurat: right edges, and the share of a layer that lies under the curve for sure.
struct Ziggurat {
    x: [f64; 129],
    ratio: [f64; 128],
}

/// Where the tail begins, and the area of a layer, for 128 layers.
const TAIL: f64 = 3.442_619_855_899;
const AREA: f64 = 9.912_563_035_262_17e-3;

fn ziggurat() -> &'static Ziggurat {
    static TABLE: OnceLock<Ziggurat> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut x = [0.0; 129];
        let mut f = libm::exp(-0.5 * TAIL * TAIL);
        x[0] = AREA / f;
        x[1] = TAIL;
        for i in 2..128 {
            x[i] = libm::sqrt(-2.0 * libm::log(AREA / x[i - 1] + f));
            f = libm::exp(-0.5 * x[i] * x[i]);
        }
        let mut ratio = [0.0; 128];
        for i in 0..128 {
            ratio[i] = x[i + 1] / x[i];
        }
        Ziggurat { x, ratio }
    })
}

/// A normal number beyond [`TAIL`].
fn tail(own: Random, negative: bool) -> f64 {
    let log = |i: u64| libm::log(1.0 - own.unit(i));
    for draw in 0..1024 {
        let x = log((1 << 32) + 2 * draw) / TAIL;
        let y = log((1 << 32) + 2 * draw + 1);
        if -2.0 * y >= x * x {
            return if negative { x - TAIL } else { TAIL - x };
        }
    }
    if negative { -TAIL } else { TAIL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_tails_are_normal() {
        let r = Random::new(7, "a.weight");
        let n = 200_000;
        let xs: Vec<f64> = (0..n).map(|i| r.normal(i)).collect();
        let moment = |k: i32| xs.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.03, "skew {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "kurtosis {}", moment(4));
        // Shares beyond 1, 2, 3 and 3.5 standard deviations.
        for (edge, share) in [(1.0, 0.3173), (2.0, 0.0455), (3.0, 0.0027), (3.5, 0.000_465)] {
            let got = xs.iter().filter(|x| x.abs() > edge).count() as f64 / n as f64;
            assert!(
                (got - share).abs() < 4.0 * (share / n as f64).sqrt(),
                "beyond {edge}: {got}, not {share}"
            );
        }
    }

    #[test]
    fn a_stream_depends_on_seed_path_and_counter_only() {
        let r = Random::new(1, "stage[2].a.weight");
        assert_eq!(r.bits(5), Random::new(1, "stage[2].a.weight").bits(5));
        assert_ne!(r.bits(5), Random::new(2, "stage[2].a.weight").bits(5));
        assert_ne!(r.bits(5), Random::new(1, "stage[2].b.weight").bits(5));
        assert_ne!(r.stream(0).bits(1), r.stream(1).bits(0));
        // Pinned: these bits must never change, or seeded results of users would.
        assert_eq!((r.bits(0), r.bits(1)), PINNED);
        let u = (0..1000).map(|i| r.uniform(i, -2.0, 3.0));
        assert!(u.into_iter().all(|x| (-2.0..3.0).contains(&x)));
        assert!((0..1000).all(|i| r.below(i, 7) < 7));
    }

    const PINNED: (u64, u64) = (16_330_944_620_155_825_874, 510_444_045_265_659_288);
}
