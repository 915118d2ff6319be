//! For build scripts: a net compiled with the program that uses it, linked into it, as a type that has its shapes.
//!
//! In: a `.cnn` file. Out, in `OUT_DIR`: an archive, which Cargo is told to link, and `NAME.rs` with a struct named as the net.
//! The target is that of Cargo's build: its architecture and its `target-feature`s, unless [`Build::targets`] says more.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), cnnc::build::BuildError> {
//!     cnnc::build::compile("net.cnn")
//! }
//! ```
//!
//! ```ignore
//! // main.rs
//! include!(concat!(env!("OUT_DIR"), "/net.rs"));
//! let mut net = Net::new();
//! let scores = net.run(&image)?; // &[[f32; 64]; 1] in, &[f32; 10] out
//! ```

use std::path::{Path, PathBuf};

use crate::session::object::{Object, ObjectError, Settings, file, rust};
use crate::session::{Compiler, Files, Isa, Model, Options};

/// Compiles the last net of a file, whose name is relative to the package, with random weights or those of
/// `NAME.safetensors` beside it.
///
/// # Errors
/// As [`Build::compile`].
pub fn compile(path: impl AsRef<Path>) -> Result<(), BuildError> {
    Build::new(path).compile()
}

/// A compilation in a build script, setting by setting.
#[derive(Clone, Debug)]
pub struct Build {
    path: PathBuf,
    net: Option<String>,
    weights: Option<PathBuf>,
    targets: Vec<String>,
    options: Options,
}

/// Why a build script cannot go on.
#[derive(Debug)]
pub enum BuildError {
    /// A variable that Cargo sets for build scripts is not there, or says something unknown.
    Cargo {
        /// The variable.
        variable: String,
        /// What it says.
        value: String,
    },
    /// A file cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The program is wrong, weights do not fit, or a target is unknown: the whole text.
    Wrong(String),
    /// There is no object.
    Object(ObjectError),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cargo { variable, value } if value.is_empty() => {
                write!(f, "`{variable}` is not set: this is for build scripts, which Cargo runs")
            }
            Self::Cargo { variable, value } => {
                write!(f, "`{variable}` is `{value}`: nets are compiled for x86_64 and aarch64 on Linux")
            }
            Self::File { path, cause } => write!(f, "{}: {cause}", path.display()),
            Self::Wrong(text) => f.write_str(text),
            Self::Object(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for BuildError {}

impl From<ObjectError> for BuildError {
    fn from(e: ObjectError) -> Self {
        Self::Object(e)
    }
}

fn variable(name: &str) -> Result<String, BuildError> {
    let missing = || BuildError::Cargo { variable: name.to_owned(), value: String::new() };
    std::env::var(name).map_err(|_| missing())
}

fn wrong(e: impl std::fmt::Display) -> BuildError {
    BuildError::Wrong(e.to_string())
}

impl Build {
    /// The last net of a file, whose name is relative to the package.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            net: None,
            weights: None,
            targets: Vec::new(),
            options: Options::default(),
        }
    }

    /// Another net of the file.
    #[must_use]
    pub fn net(mut self, name: &str) -> Self {
        self.net = Some(name.to_owned());
        self
    }

    /// Weights (safetensors), relative to the package.
    #[must_use]
    pub fn weights(mut self, path: impl AsRef<Path>) -> Self {
        self.weights = Some(path.as_ref().to_owned());
        self
    }

    /// Instruction sets, of which the widest that the processor offers is chosen when the program runs: `x86-64-v3`.
    #[must_use]
    pub fn targets(mut self, names: &[&str]) -> Self {
        self.targets = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// Batch, constants, seed.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Compiles, writes both files, tells Cargo what to link and when to come back.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn compile(&self) -> Result<(), BuildError> {
        let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
        let out = PathBuf::from(variable("OUT_DIR")?);
        self.write(&package, &variable("CARGO_PKG_NAME")?, &out, &self.isas()?)?.iter().for_each(|w| tell(w));
        Ok(())
    }

    /// The same for whoever is not Cargo: a package in a folder, its name, the folder to write to, instruction sets. What Cargo
    /// would be told, without its `cargo::`.
    ///
    /// # Errors
    /// [`BuildError`], but for what Cargo says.
    pub fn write(
        &self,
        package: &Path,
        package_name: &str,
        out: &Path,
        isas: &[Isa],
    ) -> Result<Vec<String>, BuildError> {
        let path = package.join(&self.path);
        let name = self.path.file_stem().map_or("net".into(), |s| s.to_string_lossy().into_owned());
        let bytes = std::fs::read(&path).map_err(|cause| BuildError::File { path: path.clone(), cause })?;
        let compiler = Compiler::new(self.options.clone().isa(Isa::detect()));
        let checked = compiler.check_bytes(&path.display().to_string(), &bytes, &Files);
        let read = checked.sources.iter().filter(|(_, file)| Path::new(&*file.name).is_file());
        let mut words: Vec<String> =
            read.map(|(_, file)| format!("rerun-if-changed={}", file.name)).collect();
        let mut model = compiler.compile(&checked, self.net.as_deref()).map_err(wrong)?;
        if let Some(weights) = self.weights_of(package, &path) {
            words.push(format!("rerun-if-changed={}", weights.display()));
            load(&mut model, &weights)?;
        }
        let prefix = identifier(package_name, &name);
        let settings = Settings {
            prefix: Some(prefix.clone()),
            targets: isas.to_vec(),
            weights_apart: false,
            source: self.path.file_name().map_or(name.clone(), |n| n.to_string_lossy().into_owned()),
        };
        let Object { bytes, interface, weights: _ } =
            compiler.object(model.source_graph(), &model, &settings)?;
        let archive = file::archive(&bytes, &format!("{prefix}.o"))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = out.join(name);
            std::fs::write(&path, bytes).map_err(|cause| BuildError::File { path, cause })
        };
        write(&format!("lib{prefix}.a"), &archive)?;
        write(&format!("{name}.rs"), rust::source(&interface, &prefix).as_bytes())?;
        words.push(format!("rustc-link-search=native={}", out.display()));
        Ok(words)
    }

    /// The weights that are named, or lie beside the program under its name.
    fn weights_of(&self, package: &Path, program: &Path) -> Option<PathBuf> {
        let beside = program.with_extension("safetensors");
        let named = self.weights.as_ref().map(|path| package.join(path));
        named.or_else(|| beside.is_file().then_some(beside))
    }

    /// The instruction sets: those asked for, else what Cargo's target has.
    fn isas(&self) -> Result<Vec<Isa>, BuildError> {
        if !self.targets.is_empty() {
            return self.targets.iter().map(|name| Isa::foreign(name).map_err(wrong)).collect();
        }
        let arch = variable("CARGO_CFG_TARGET_ARCH")?;
        let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
        let name = level(&arch, &features.split(',').collect::<Vec<_>>());
        let unknown =
            || BuildError::Cargo { variable: "CARGO_CFG_TARGET_ARCH".to_owned(), value: arch.clone() };
        Ok(vec![Isa::foreign(name.ok_or_else(unknown)?).map_err(wrong)?])
    }
}

/// The widest level of which a target has all features.
fn level(arch: &str, features: &[&str]) -> Option<&'static str> {
    let has = |all: &[&str]| all.iter().all(|f| features.contains(f));
    match arch {
        "aarch64" => Some("aarch64"),
        "x86_64" if has(&["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]) => Some("x86-64-v4"),
        "x86_64" if has(&["avx2", "fma"]) => Some("x86-64-v3"),
        "x86_64" if has(&["sse4.2"]) => Some("x86-64-v2"),
        "x86_64" => Some("x86-64"),
        _ => None,
    }
}

/// What all names of the object begin with: two packages may have a net of the same name.
fn identifier(package: &str, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let words = format!("cnnc_{package}_{name}");
    words.chars().map(plain).take(64).collect()
}

#[cfg(feature = "safetensors")]
fn load(model: &mut Model, path: &Path) -> Result<(), BuildError> {
    let shown = |e: &dyn std::fmt::Display| BuildError::Wrong(format!("{}: {e}", path.display()));
    let mut weights = crate::formats::safetensors::Weights::open(path).map_err(|e| shown(&e))?;
    model.load_weights(&mut weights).map_err(|e| shown(&e))
}

#[cfg(not(feature = "safetensors"))]
fn load(_: &mut Model, path: &Path) -> Result<(), BuildError> {
    Err(BuildError::Wrong(format!(
        "{}: reading weights needs the feature `safetensors` of cnnc",
        path.display()
    )))
}

/// A word to Cargo.
#[expect(clippy::print_stdout, reason = "Cargo listens there")]
fn tell(what: &str) {
    println!("cargo::{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_s_features_give_the_widest_level() {
        assert_eq!(level("x86_64", &["sse2", "sse4.2"]), Some("x86-64-v2"));
        assert_eq!(level("x86_64", &["avx2", "fma", "avx512f"]), Some("x86-64-v3"));
        assert_eq!(level("x86_64", &["fxsr", "sse", "sse2"]), Some("x86-64"));
        assert_eq!(level("aarch64", &[]), Some("aarch64"));
        assert_eq!(level("riscv64", &[]), None);
        assert_eq!(identifier("my-app", "Net"), "cnnc_my_app_net");
    }
}
