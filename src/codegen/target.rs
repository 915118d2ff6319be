//! Cranelift's target and settings for an [`Isa`]: code that runs here, or code for an object file.

use cranelift_codegen::isa::{Builder, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};

use super::CodegenError;
use super::emit::Features;
use crate::kernels::isa::{Arch, Feature, Isa};
use crate::kernels::x86::Unit;

/// What functions are compiled for.
pub(super) struct Machine {
    pub(super) isa: OwnedTargetIsa,
    pub(super) features: Features,
    /// Vectors wider than Cranelift's.
    pub(super) unit: Option<Unit>,
    /// Whether data lies near the code, to be reached relative to it.
    pub(super) near: bool,
}

impl Machine {
    /// For code that runs here, wherever its memory is.
    ///
    /// # Errors
    /// `isa` is not this machine's.
    pub(super) fn jit(isa: &Isa) -> Result<Machine, CodegenError> {
        if !isa.runs_here() {
            return Err(fail(format!("this machine cannot run `{}`", isa.name())));
        }
        let infer = isa.arch() != Arch::X86_64;
        let builder = cranelift_native::builder_with_options(infer).map_err(|e| fail(e.to_owned()))?;
        finish(isa, builder, false)
    }

    /// For an object file: code and data that are linked together, anywhere in memory.
    ///
    /// # Errors
    /// This build has no code generator for the architecture.
    #[cfg(feature = "object")]
    pub(super) fn object(isa: &Isa) -> Result<Machine, CodegenError> {
        let triple = match isa.arch() {
            Arch::X86_64 => "x86_64-unknown-linux-gnu",
            Arch::Aarch64 => "aarch64-unknown-linux-gnu",
        };
        let builder =
            cranelift_codegen::isa::lookup_by_name(triple).map_err(|e| fail(format!("{triple}: {e}")))?;
        finish(isa, builder, true)
    }
}

/// The optimizer in the middle is left out: the emitter shares and hoists by itself what is worth it, and writes statements
/// in the order that fits the registers, which the optimizer would undo.
fn finish(isa: &Isa, mut builder: Builder, near: bool) -> Result<Machine, CodegenError> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "none"),
        ("is_pic", if near { "true" } else { "false" }),
        ("use_colocated_libcalls", "false"),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ] {
        flags.set(name, value).map_err(|e| fail(e.to_string()))?;
    }
    for feature in isa.features() {
        for flag in cranelift_flags(*feature) {
            builder.enable(flag).map_err(|e| fail(e.to_string()))?;
        }
    }
    let round = match isa.arch() {
        Arch::X86_64 => isa.has(Feature::Sse41),
        Arch::Aarch64 => true,
    };
    let features = Features { fma: isa.fuses(), round };
    let unit = Unit::of(isa);
    let isa = builder.finish(settings::Flags::new(flags)).map_err(|e| fail(e.to_string()))?;
    Ok(Machine { isa, features, unit, near })
}

fn fail(message: String) -> CodegenError {
    CodegenError::Backend { nest: "target".to_owned(), message }
}

/// Cranelift's names for a feature.
fn cranelift_flags(feature: Feature) -> &'static [&'static str] {
    match feature {
        Feature::Sse3 => &["has_sse3"],
        Feature::Ssse3 => &["has_ssse3"],
        Feature::Sse41 => &["has_sse41"],
        Feature::Sse42 => &["has_sse42"],
        Feature::Avx => &["has_avx"],
        Feature::Avx2 => &["has_avx2"],
        Feature::Fma => &["has_fma"],
        Feature::Avx512 => &["has_avx512f", "has_avx512dq", "has_avx512vl"],
    }
}
