//! `cnnc doctor`: the machine and the build as cnnc sees them.

use std::fmt::Write as _;
use std::time::Duration;

use super::args::Doctor;
use super::check;
use super::out::{Failure, Out};
use crate::session::Isa;
use crate::session::machine::peak_speeds;
use crate::session::tune::machine;

pub(super) fn run(args: &Doctor, out: Out) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (have, lack): (Vec<_>, Vec<_>) = features().into_iter().partition(|(_, there)| *there);
    let names = |list: &[(&'static str, bool)]| list.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let (have, lack) = (names(&have), names(&lack));
    let variables: Vec<(&str, String)> =
        ["CNNC_THREADS", "CNNC_CPU", "CNNC_CACHE", "CNNC_HISTORY", "NO_COLOR", "CLICOLOR_FORCE"]
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?.to_string_lossy().into_owned())))
            .collect();
    let machine = machine(&Isa::detect());
    let winners = check::winners().map_or("nowhere".to_owned(), |p| p.display().to_string());
    let peaks = peak_speeds(&Isa::detect(), Duration::from_millis(20));
    if args.json {
        let peaks: serde_json::Map<String, serde_json::Value> =
            peaks.iter().map(|p| (p.bits.to_string(), (p.operations_per_second / 1e9).into())).collect();
        let variables: serde_json::Map<String, serde_json::Value> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let value = serde_json::json!({
            "schema": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            "threads": threads,
            "cpu_features": have,
            "cpu_features_missing": lack,
            "peak_gflops_per_core": peaks,
            "machine": machine,
            "winners": winners,
            "operations": crate::ops::infos().len(),
            "error_codes": crate::support::codes::ALL.len(),
            "environment": variables,
        });
        return out.print(format!("{value:#}\n"));
    }
    let mut text = String::new();
    let mut row = |key: &str, value: String| {
        let _ = writeln!(text, "{key:<14}{value}");
    };
    row("version", format!("cnnc {}", env!("CARGO_PKG_VERSION")));
    row("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS));
    row("threads", format!("{threads} (what the process may use)"));
    row("machine", machine);
    row("CPU has", have.join(" "));
    row("CPU lacks", lack.join(" "));
    for p in peaks {
        let speed = p.operations_per_second / 1e9;
        row("peak, a core", format!("{speed:.0} GFLOP/s with vectors of {} bits", p.bits));
    }
    row("winners", format!("{winners} (of --tune)"));
    row("operations", crate::ops::infos().len().to_string());
    row("error codes", crate::support::codes::ALL.len().to_string());
    for (name, value) in variables {
        row(name, value);
    }
    out.print(text)
}

/// The instruction sets that matter to generated code, and whether this machine has them.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    macro_rules! detect {
        ($($name:tt)*) => { vec![$(($name, std::arch::is_x86_feature_detected!($name))),*] };
    }
    detect!("sse4.1" "avx" "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx512bf16" "avx512fp16")
}

/// The instruction sets that matter to generated code, and whether this machine has them.
#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}
