//! Lines that are asked for a turn early. A processor fetches ahead along a page, and it looks as far ahead as its window of
//! instructions reaches; where a loop jumps to another page each turn (another block of maps) and a turn is longer than that window, the
//! first reads of each turn would wait for memory.

use std::collections::BTreeSet;

use super::{Binding, Wide};
use crate::codegen::Emitted;
use crate::codegen::address::ELEMENT;
use crate::codegen::scan;
use crate::kernels::x86::inst::{Cond, G, Inst, Mem};
use crate::loops::{Affine, Buf, LoopKind, Stmt, Var};

/// Bytes beyond which nothing is fetched ahead by the processor.
const PAGE: i64 = 4096;

/// Bytes of a line.
const LINE: i64 = 64;

/// Vectors that a turn computes at least.
const TURN_MIN: usize = 128;

/// More lines than this a turn are not asked for.
const LINES_MAX: usize = 40;

impl Wide<'_> {
    /// At the head of a loop over `var`: asks for the lines that the innermost loop in its body begins with in the next turn, if there is
    /// one. `counter` is the loop's, and whether it counts turns from 0; else it counts those left down to 1.
    pub(super) fn ask_ahead(
        &mut self,
        var: Var,
        extent: i64,
        (counter, up): (G, bool),
        body: &[Stmt],
    ) -> Emitted<()> {
        let [Stmt::For { var: inner, extent: turns, kind: LoopKind::Serial, body: hot }] = body else {
            return Ok(());
        };
        if scan::straight_size(hot).is_none() || turns.saturating_mul(self.copies()) < TURN_MIN {
            return Ok(());
        }
        let mut far: Vec<(Buf, Affine)> = Vec::new();
        let mut problem = None;
        scan::accesses(hot, &mut |buf, at| match self.linear(buf, at) {
            Err(e) => problem = Some(e),
            Ok(mut form) => {
                if form.coefficient(var).abs().saturating_mul(ELEMENT) >= PAGE {
                    form.terms.retain(|t| t.0 != *inner);
                    far.push((buf, form));
                }
            }
        });
        if let Some(problem) = problem {
            return Err(problem);
        }
        // A turn further on.
        self.bind(var, Binding::Dyn(Vec::new(), 1), (0, extent - 1))?;
        let mut lines: BTreeSet<(G, i64)> = BTreeSet::new();
        for (buf, form) in &far {
            for copy in 0..self.copies() {
                let (pointer, bytes) = self.place(form, *buf, copy)?;
                lines.insert((pointer, bytes.div_euclid(LINE)));
            }
        }
        self.env.vars[var.index()] = None;
        let mems: Vec<Mem> = lines
            .iter()
            .filter_map(|(base, line)| Some(Mem { base: *base, disp: i32::try_from(line * LINE).ok()? }))
            .collect();
        if mems.is_empty() || mems.len() > LINES_MAX {
            return Ok(());
        }
        let last = self.code.label();
        let (cond, value) = if up { (Cond::Ge, extent - 1) } else { (Cond::Lt, 2) };
        let value = i32::try_from(value).map_err(|_| "a loop beyond 2^31")?;
        self.code.push(Inst::JumpIf { reg: counter, cond, value, label: last });
        for mem in mems {
            self.code.push(Inst::Prefetch { mem });
        }
        self.code.push(Inst::Bind { label: last });
        Ok(())
    }
}
