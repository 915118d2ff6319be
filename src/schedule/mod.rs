//! Canonical loop nests to scheduled ones: who runs in parallel, what is vectorised, what stays in registers. In: a nest
//! of `Free` and `Serial` loops; out: a nest that computes the same bits and whose outermost statements are `Par` loops.
//! The order in which a sum is added up never changes here. (The memory plan lives beside it.)

use crate::loops::{LoopKind, Nest, Stmt};

/// What the machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether a multiply-add is one instruction.
    pub fma: bool,
    /// Vector registers of 4 lanes.
    pub vector_registers: usize,
}

/// A scheduled nest.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// Ready for code generation.
    pub nest: Nest,
    /// What was decided, for tables: `direct 2x6 f32x4`.
    pub note: String,
}

/// Schedules a nest for a machine.
pub fn schedule(mut nest: Nest, _target: &Target) -> Scheduled {
    match nest.body.as_mut_slice() {
        [Stmt::For { kind: kind @ LoopKind::Free, .. }] => *kind = LoopKind::Par,
        _ => {
            let var = nest.fresh_var("once");
            let body = std::mem::take(&mut nest.body);
            nest.body = vec![Stmt::For { var, extent: 1, kind: LoopKind::Par, body }];
        }
    }
    Scheduled { nest, note: "loops".to_owned() }
}
