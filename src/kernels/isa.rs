//! The target as a value: which instruction-set extensions machine code may use.
//!
//! In: a name (`baseline`, `native`, `avx2`, `x86-64-v3`, `aarch64`, ...) or the processor itself. Out: an [`Isa`], handed
//! down to whatever makes code. [`Isa::detect`], [`Isa::baseline`] and [`Isa::named`] give only what this machine (processor
//! and operating system) runs; [`Isa::foreign`] also gives others, for objects that run elsewhere, and whoever makes code to
//! run asks [`Isa::runs_here`]. Absent on purpose: reading of environment variables.

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

/// An architecture that code can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64, at least SSE2.
    X86_64,
    /// 64-bit Arm with its 128-bit vectors.
    Aarch64,
}

impl Arch {
    /// This machine's.
    pub const HERE: Arch = if cfg!(target_arch = "x86_64") { Arch::X86_64 } else { Arch::Aarch64 };
}

/// Names of levels that compilers of other languages use, and what they are called here.
const ALIASES: [(&str, &str); 4] =
    [("x86-64", "baseline"), ("x86-64-v2", "sse4.2"), ("x86-64-v3", "avx2"), ("x86-64-v4", "avx512")];

/// Named levels of x86-64, narrowest first, with what each may use.
const LEVELS: [(&str, &[Feature]); 6] = [
    ("baseline", &[]),
    ("sse4.1", &[Feature::Sse3, Feature::Ssse3, Feature::Sse41]),
    ("sse4.2", &[Feature::Sse3, Feature::Ssse3, Feature::Sse41, Feature::Sse42]),
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

/// A target: an architecture and a set of its extensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Isa {
    name: String,
    arch: Arch,
    features: Vec<Feature>,
}

/// A target that cannot be had here; shown to users as E0801.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No such name.
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
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
            IsaError::Unknown { name, known } => {
                write!(f, "there is no target `{name}`; targets are {}", known.join(", "))
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
        Isa { name: "native".to_owned(), arch: Arch::HERE, features }
    }

    /// What any processor of this architecture runs (x86-64: SSE2).
    pub fn baseline() -> Isa {
        Isa { name: "baseline".to_owned(), arch: Arch::HERE, features: Vec::new() }
    }

    /// The target of that name on this machine; see [`Isa::names`].
    ///
    /// # Errors
    /// No such name, or this machine lacks what it names.
    pub fn named(name: &str) -> Result<Isa, IsaError> {
        let unknown = || IsaError::Unknown { name: name.to_owned(), known: Isa::names() };
        let isa = Isa::foreign(name).map_err(|_| unknown())?;
        if isa.arch != Arch::HERE {
            return Err(unknown());
        }
        let lacks: Vec<Feature> = isa.features.iter().copied().filter(|f| !f.present()).collect();
        if lacks.is_empty() { Ok(isa) } else { Err(IsaError::Lacking { name: name.to_owned(), lacks }) }
    }

    /// The target of that name, whether this machine runs it or not; see [`Isa::foreign_names`].
    ///
    /// # Errors
    /// No such name.
    pub fn foreign(name: &str) -> Result<Isa, IsaError> {
        let level = ALIASES.iter().find(|a| a.0 == name).map_or(name, |a| a.1);
        let (arch, features) = match (level, LEVELS.iter().find(|l| l.0 == level)) {
            ("native", _) => return Ok(Isa::detect()),
            ("aarch64", _) => (Arch::Aarch64, Vec::new()),
            // The narrowest of this machine, not of x86-64.
            ("baseline", _) if name == level => (Arch::HERE, Vec::new()),
            (_, Some((_, features))) => (Arch::X86_64, features.to_vec()),
            (_, None) => {
                return Err(IsaError::Unknown { name: name.to_owned(), known: Isa::foreign_names() });
            }
        };
        Ok(Isa { name: name.to_owned(), arch, features })
    }

    /// The names that [`Isa::named`] knows besides the aliases of [`Isa::foreign_names`], `native` first.
    pub fn names() -> Vec<&'static str> {
        std::iter::once("native").chain(LEVELS.iter().map(|l| l.0)).collect()
    }

    /// The names that objects are usually made for. [`Isa::foreign`] knows those of [`Isa::names`] too.
    pub fn foreign_names() -> Vec<&'static str> {
        let aliases = ALIASES.iter().map(|a| a.0);
        std::iter::once("native").chain(aliases).chain(std::iter::once("aarch64")).collect()
    }

    /// Whether this machine runs code made for it.
    pub fn runs_here(&self) -> bool {
        self.arch == Arch::HERE && self.features.iter().all(|f| f.present())
    }

    /// Its architecture.
    pub fn arch(&self) -> Arch {
        self.arch
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
        match self.arch {
            Arch::X86_64 => 15,
            Arch::Aarch64 => 32,
        }
    }

    /// Whether [`crate::loops::Expr::Fma`] rounds once. Elsewhere than on x86-64 every processor fuses.
    pub fn fuses(&self) -> bool {
        match self.arch {
            Arch::X86_64 => self.has(Feature::Fma),
            Arch::Aarch64 => true,
        }
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
    fn foreign_names_are_had_whatever_this_machine_is() {
        for name in Isa::foreign_names() {
            let isa = Isa::foreign(name).expect(name);
            assert_eq!(isa.name(), name);
            assert_eq!(isa.runs_here(), Isa::named(name).is_ok(), "{name}");
        }
        let v3 = Isa::foreign("x86-64-v3").expect("in the table");
        assert!(v3.has(Feature::Fma) && v3.fuses() && !v3.has(Feature::Avx512));
        assert_eq!(v3.features(), Isa::foreign("avx2").expect("in the table").features());
        assert!(!Isa::foreign("x86-64-v2").expect("in the table").fuses());
        assert!(Isa::foreign("aarch64").expect("in the table").fuses());
        let e = Isa::foreign("z80").expect_err("no such target").to_string();
        assert!(e.contains("`z80`") && e.contains("x86-64-v3") && e.contains("aarch64"), "{e}");
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let e = Isa::named("z80").expect_err("no such target").to_string();
        assert!(e.contains("`z80`") && e.contains("native, baseline") && e.contains("avx512"), "{e}");
    }
}
