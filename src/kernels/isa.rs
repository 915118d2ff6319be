//! The target as a value: which instruction-set extensions machine code may use.
//!
//! In: a name (`baseline`, `native`, `avx2`, ...) or the processor itself. Out: an [`Isa`], handed down to whatever makes
//! code. Invariant: an `Isa` never holds an extension that this machine (processor and operating system) cannot run,
//! because the code made for it runs here. Absent on purpose: cross compilation, and reading of environment variables.

use std::fmt;

/// An extension of x86-64 that matters to generated code. Later ones stand after those they presume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Horizontal operations, `movddup`.
    Sse3,
    /// Byte shuffles.
    Ssse3,
    /// Rounding, blends, lane moves.
    Sse41,
    /// String and CRC instructions.
    Sse42,
    /// Three-operand encodings, 256-bit floats.
    Avx,
    /// 256-bit integers, broadcasts from registers.
    Avx2,
    /// Fused multiply-add, rounded once.
    Fma,
    /// 512-bit vectors with the parts F, BW, DQ, VL and CD (the set of every AVX-512 server processor).
    Avx512,
}

/// All features in order.
const FEATURES: [Feature; 8] = [
    Feature::Sse3,
    Feature::Ssse3,
    Feature::Sse41,
    Feature::Sse42,
    Feature::Avx,
    Feature::Avx2,
    Feature::Fma,
    Feature::Avx512,
];

/// Named levels, narrowest first, with what each may use.
const LEVELS: [(&str, &[Feature]); 5] = [
    ("baseline", &[]),
    ("sse4.1", &[Feature::Sse3, Feature::Ssse3, Feature::Sse41]),
    ("avx", &[Feature::Sse3, Feature::Ssse3, Feature::Sse41, Feature::Sse42, Feature::Avx]),
    (
        "avx2",
        &[
            Feature::Sse3,
            Feature::Ssse3,
            Feature::Sse41,
            Feature::Sse42,
            Feature::Avx,
            Feature::Avx2,
            Feature::Fma,
        ],
    ),
    ("avx512", &FEATURES),
];

impl Feature {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Sse3 => "sse3",
            Feature::Ssse3 => "ssse3",
            Feature::Sse41 => "sse4.1",
            Feature::Sse42 => "sse4.2",
            Feature::Avx => "avx",
            Feature::Avx2 => "avx2",
            Feature::Fma => "fma",
            Feature::Avx512 => "avx512",
        }
    }

    /// Whether processor and operating system offer it.
    #[cfg(target_arch = "x86_64")]
    fn present(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Feature::Sse3 => has!("sse3"),
            Feature::Ssse3 => has!("ssse3"),
            Feature::Sse41 => has!("sse4.1"),
            Feature::Sse42 => has!("sse4.2"),
            Feature::Avx => has!("avx"),
            Feature::Avx2 => has!("avx2"),
            Feature::Fma => has!("fma"),
            Feature::Avx512 => {
                has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512dq")
                    && has!("avx512vl")
                    && has!("avx512cd")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn present(self) -> bool {
        false
    }
}

/// A target: this machine's architecture and a set of its extensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Isa {
    name: String,
    features: Vec<Feature>,
}

/// A target that cannot be had here; shown to users as E0801.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No such name.
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Known, but this machine lacks some of it.
    Lacking {
        /// What was asked for.
        name: String,
        /// The extensions that are not there.
        lacks: Vec<Feature>,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IsaError::Unknown { name } => {
                write!(f, "there is no target `{name}`; targets are {}", Isa::names().join(", "))
            }
            IsaError::Lacking { name, lacks } => {
                let lacks: Vec<&str> = lacks.iter().map(|l| l.name()).collect();
                write!(f, "target `{name}` needs {}, which this machine lacks", lacks.join(", "))
            }
        }
    }
}

impl std::error::Error for IsaError {}

impl Isa {
    /// Everything this machine offers. Asks the processor.
    pub fn detect() -> Isa {
        let features = FEATURES.into_iter().filter(|f| f.present()).collect();
        Isa { name: "native".to_owned(), features }
    }

    /// What any processor of this architecture runs (x86-64: SSE2).
    pub fn baseline() -> Isa {
        Isa { name: "baseline".to_owned(), features: Vec::new() }
    }

    /// The target of that name; see [`Isa::names`].
    ///
    /// # Errors
    /// No such name, or this machine lacks what it names.
    pub fn named(name: &str) -> Result<Isa, IsaError> {
        if name == "native" {
            return Ok(Isa::detect());
        }
        let Some((_, features)) = LEVELS.iter().find(|l| l.0 == name) else {
            return Err(IsaError::Unknown { name: name.to_owned() });
        };
        let lacks: Vec<Feature> = features.iter().copied().filter(|f| !f.present()).collect();
        if !lacks.is_empty() {
            return Err(IsaError::Lacking { name: name.to_owned(), lacks });
        }
        Ok(Isa { name: name.to_owned(), features: features.to_vec() })
    }

    /// The names that [`Isa::named`] knows, `native` first.
    pub fn names() -> Vec<&'static str> {
        std::iter::once("native").chain(LEVELS.iter().map(|l| l.0)).collect()
    }

    /// The name it was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether code may use `feature`.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Its extensions.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Vector registers that a schedule may fill. On x86-64 one of the sixteen is left for the copy of a factor, which
    /// multiply-add overwrites.
    pub fn vector_registers(&self) -> usize {
        if cfg!(target_arch = "x86_64") { 15 } else { 32 }
    }

    /// Whether [`crate::loops::Expr::Fma`] rounds once. Elsewhere than on x86-64 every processor fuses.
    pub fn fuses(&self) -> bool {
        cfg!(not(target_arch = "x86_64")) || self.has(Feature::Fma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baseline_has_nothing_and_native_what_is_there() {
        let baseline = Isa::named("baseline").expect("always there");
        assert_eq!(baseline, Isa::baseline());
        let native = Isa::named("native").expect("always there");
        for f in native.features() {
            assert!(f.present(), "{}", f.name());
        }
    }

    #[test]
    fn every_level_is_had_or_refused_with_what_lacks() {
        for (name, features) in LEVELS {
            match Isa::named(name) {
                Ok(isa) => assert_eq!(isa.features(), features),
                Err(IsaError::Lacking { lacks, .. }) => assert!(lacks.iter().all(|l| !l.present())),
                Err(IsaError::Unknown { .. }) => panic!("{name} is in the table"),
            }
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let e = Isa::named("z80").expect_err("no such target").to_string();
        assert!(e.contains("`z80`") && e.contains("native, baseline") && e.contains("avx512"), "{e}");
    }
}
