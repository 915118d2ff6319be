//! Machine code as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter};

/// The instructions in `bytes`, one per line; targets of jumps get labels `L0`, `L1`, ... in order of address. Constants that
/// stand behind the code are not told apart from it.
#[cfg(target_arch = "x86_64")]
pub(super) fn assembly(bytes: &[u8]) -> String {
    let instructions: Vec<Instruction> =
        Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).iter().collect();
    let mut labels: BTreeMap<u64, usize> = instructions
        .iter()
        .filter(|i| i.near_branch_target() != 0)
        .map(|i| (i.near_branch_target(), 0))
        .collect();
    for (number, label) in labels.values_mut().enumerate() {
        *label = number;
    }
    let mut formatter = NasmFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    let mut out = String::new();
    for instruction in &instructions {
        if let Some(label) = labels.get(&instruction.ip()) {
            let _ = writeln!(out, "L{label}:");
        }
        let mut text = String::new();
        match labels.get(&instruction.near_branch_target()) {
            Some(label) if instruction.near_branch_target() != 0 => {
                formatter.format_mnemonic(instruction, &mut text);
                let _ = write!(text, " L{label}");
            }
            Some(_) | None => formatter.format(instruction, &mut text),
        }
        let _ = writeln!(out, "    {text}");
    }
    out
}

/// The bytes in hexadecimal: there is no disassembler for this architecture here.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn assembly(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(16) {
        for byte in line {
            let _ = write!(out, "{byte:02x} ");
        }
        out.push('\n');
    }
    out
}
