//! Loop nests to vectors of the processor's full width, where Cranelift's have 128 bits.
//!
//! In: a verified nest and the vector unit. Out: bytes of the same function that Cranelift would make, or the reason why not;
//! the caller then takes Cranelift's. One road for all nests: [`stmts`] walks statements and loops, [`pointers`] keeps one
//! pointer per buffer and way of moving, which loops step in place, [`ahead`] asks for lines early, [`values`] evaluates expressions copy by copy,
//! [`math`] holds the functions, and [`crate::kernels::x86`] numbers registers and encodes.
//!
//! Scalars are vectors of 128 bits whose lanes are equal. A vector loop longer than a vector is several side by side, the last
//! with fewer lanes. Sums keep their order, each multiply-add rounds once: results are the interpreter's bits.

mod ahead;
mod ints;
mod math;
mod pointers;
mod stmts;
mod values;

use std::collections::BTreeMap;

use super::Emitted;
use super::address::Key;
use crate::kernels::x86::inst::{Code, G, Inst, V, Width};
use crate::kernels::x86::{Assembled, Unit, assemble};
use crate::loops::{BinOp, Expr, Nest, Stmt, Var};

use values::Address;

/// What an index variable stands for.
#[derive(Clone, Debug)]
enum Binding {
    /// A constant per copy.
    Const(Vec<i64>),
    /// An integer register per copy, plus a constant (the turn within an unrolled loop). No registers: only pointers
    /// follow it.
    Dyn(Vec<G>, i64),
    /// The lane of a vector loop, plus a constant per copy.
    Lane(Vec<i64>),
}

/// A variable in scope.
#[derive(Clone, Debug)]
struct Bound {
    value: Binding,
    /// The least and the greatest that it becomes.
    range: (i64, i64),
}

/// The vectors of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    width: Width,
    /// Lanes in use; 1 outside of vector loops.
    lanes: u8,
}

const SCALAR: Shape = Shape { width: Width::X, lanes: 1 };

/// What is in scope. Names are bound once in a nest, so what goes out of scope may stay.
#[derive(Clone, Debug)]
struct Env {
    /// One per copy that jam and vector loops have made.
    shapes: Vec<Shape>,
    vars: Vec<Option<Bound>>,
    /// Registers of the nest: a vector per copy, and whether it was declared in the vector loop (else it is a scalar).
    regs: Vec<Option<(bool, Vec<V>)>>,
    /// Pointers: a register per copy.
    pointers: BTreeMap<Key, Vec<G>>,
    /// Whether a vector loop is open.
    vector: bool,
}

/// The function under construction.
struct Wide<'a> {
    nest: &'a Nest,
    unit: Unit,
    code: Code,
    env: Env,
    /// Vectors that hold what lies at an address, and how often each address of the present statements is read.
    loaded: BTreeMap<Address, V>,
    reads: BTreeMap<Address, u32>,
    /// Scalars spread over a wider vector.
    spread: BTreeMap<(V, Width), V>,
    /// Whether something was stored past the caches.
    fences: bool,
}

/// The function of a nest.
///
/// # Errors
/// What in it this emitter cannot write.
pub(super) fn function(nest: &Nest, unit: Unit) -> Emitted<Assembled> {
    let env = Env {
        shapes: vec![SCALAR],
        vars: vec![None; nest.vars.len()],
        regs: vec![None; nest.regs as usize],
        pointers: BTreeMap::new(),
        vector: false,
    };
    let mut wide = Wide {
        nest,
        unit,
        code: Code::default(),
        env,
        loaded: BTreeMap::new(),
        reads: BTreeMap::new(),
        spread: BTreeMap::new(),
        fences: false,
    };
    for stmt in &nest.body {
        wide.outermost(stmt)?;
    }
    if wide.fences {
        wide.code.push(Inst::Fence);
    }
    assemble(&wide.code, unit)
}

impl Wide<'_> {
    fn copies(&self) -> usize {
        self.env.shapes.len()
    }

    fn bind(&mut self, var: Var, value: Binding, range: (i64, i64)) -> Emitted<()> {
        *self.env.vars.get_mut(var.index()).ok_or("an unknown index variable")? =
            Some(Bound { value, range });
        Ok(())
    }

    fn bound(&self, var: Var) -> Emitted<&Bound> {
        self.env.vars.get(var.index()).and_then(Option::as_ref).ok_or("an index variable out of scope")
    }

    /// Nothing computed so far is shared with what follows.
    fn forget(&mut self) {
        self.loaded.clear();
        self.reads.clear();
        self.spread.clear();
    }
}

/// Why `nest` is left to Cranelift, if it is.
pub(super) fn refusal(nest: &Nest) -> Option<&'static str> {
    let mut why = None;
    crate::loops::walk::each(&nest.body, &mut |s: &Stmt| {
        if let Some(e) = s.expr() {
            e.each(&mut |e| {
                if matches!(e, Expr::Bin(BinOp::Pow, ..)) {
                    why = Some("powers are computed in double precision");
                }
            });
        }
    });
    why
}
