//! Addresses: one induction pointer per buffer and combination of coefficients, stepped by the loops themselves.
//!
//! The element that an access means is a linear form over the variables in scope. Constants, jam copies and lanes go into
//! the displacement of the load or store; the rest is a pointer, found in the environment by its [`Key`]. Whoever binds a
//! variable (a loop head, an index statement) makes the pointers that its scope will need, so no access multiplies.

use std::collections::BTreeSet;

use cranelift_codegen::ir::{InstBuilder, Value};

use super::Emitted;
use super::emit::Emitter;
use super::index::Binding;
use super::scan;
use crate::loops::{Affine, Buf, Stmt, Var};

/// Bytes of an element.
pub(super) const ELEMENT: i64 = 4;

/// A pointer: a buffer plus `Σ coefficient * variable` elements, over variables bound to run-time values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) buf: Buf,
    pub(super) terms: Vec<(Var, i64)>,
}

impl Key {
    /// The key without `var`, and the coefficient it had there.
    pub(super) fn without(&self, var: Var) -> (Key, i64) {
        let coefficient = self.terms.iter().find(|t| t.0 == var).map_or(0, |t| t.1);
        let terms = self.terms.iter().copied().filter(|t| t.0 != var).collect();
        (Key { buf: self.buf, terms }, coefficient)
    }
}

/// An element: `bytes` behind `pointer`, and as much per lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) pointer: Value,
    pub(super) bytes: i64,
    /// Elements from one lane to the next; 0 outside a vector loop.
    pub(super) lane: i64,
}

impl Emitter<'_, '_> {
    /// The element number as a linear form.
    fn linear(&self, buf: Buf, at: &[Affine]) -> Emitted<Affine> {
        let decl = self.nest.bufs.get(buf.index()).ok_or("an unknown buffer")?;
        if decl.dims.len() != at.len() {
            return Err("an access of the wrong rank");
        }
        if decl.block.is_some() {
            return Err("a buffer lies in blocks; scheduling expands them");
        }
        Ok(decl.dims.iter().zip(at).fold(Affine::k(decl.base), |sum, (dim, i)| &sum + &(i * dim.stride)))
    }

    /// The pointers with `var` in them that `scope` needs, when `var` has just been bound.
    pub(super) fn keys_with(&self, var: Var, scope: &[Stmt]) -> Emitted<Vec<Key>> {
        let mut out = BTreeSet::new();
        let mut problem = None;
        scan::accesses(scope, &mut |buf, at| match self.linear(buf, at) {
            Err(e) => problem = Some(e),
            Ok(form) if form.coefficient(var) != 0 => {
                let terms = form.terms.into_iter().filter(|t| t.0 == var || self.is_dyn(t.0)).collect();
                out.insert(Key { buf, terms });
            }
            Ok(_) => {}
        });
        match problem {
            Some(e) => Err(e),
            None => Ok(out.into_iter().collect()),
        }
    }

    fn is_dyn(&self, var: Var) -> bool {
        matches!(self.bound(var), Ok(b) if matches!(b.value, Binding::Dyn(..)))
    }

    /// The pointer `key` of every copy.
    pub(super) fn pointers(&self, key: &Key) -> Emitted<&Vec<Value>> {
        self.env.pointers.get(key).ok_or("an address that was not prepared")
    }

    /// Makes the pointers that `scope` needs for `var`, which has just been bound to `values`.
    pub(super) fn extend_pointers(&mut self, var: Var, values: &[Value], scope: &[Stmt]) -> Emitted<()> {
        for key in self.keys_with(var, scope)? {
            let (parent, coefficient) = key.without(var);
            let from = self.pointers(&parent)?.clone();
            let mut made: Vec<((Value, Value), Value)> = Vec::new();
            let mut out = Vec::with_capacity(from.len());
            for (p, v) in from.into_iter().zip(values) {
                let pointer = match made.iter().find(|m| m.0 == (p, *v)) {
                    Some(m) => m.1,
                    None => {
                        let bytes = self.scaled(*v, coefficient * ELEMENT);
                        self.b.ins().iadd(p, bytes)
                    }
                };
                made.push(((p, *v), pointer));
                out.push(pointer);
            }
            self.env.pointers.insert(key, out);
        }
        Ok(())
    }

    /// Where an access goes, in every copy.
    pub(super) fn addresses(&self, buf: Buf, at: &[Affine]) -> Emitted<Vec<Address>> {
        let form = self.linear(buf, at)?;
        let copies = self.env.copies;
        let mut bytes = vec![form.k * ELEMENT; copies];
        let mut terms = Vec::new();
        let mut lane = 0;
        for (var, c) in form.terms {
            match &self.bound(var)?.value {
                Binding::Dyn(_, plus) => {
                    terms.push((var, c));
                    for b in &mut bytes {
                        *b += plus * c * ELEMENT;
                    }
                }
                Binding::Lane => lane = c,
                Binding::Const(values) => {
                    for (b, v) in bytes.iter_mut().zip(values) {
                        *b += v * c * ELEMENT;
                    }
                }
            }
        }
        let pointers = self.pointers(&Key { buf, terms })?;
        Ok(pointers
            .iter()
            .zip(bytes)
            .map(|(pointer, bytes)| Address { pointer: *pointer, bytes, lane })
            .collect())
    }

    /// A pointer and a displacement that fits an instruction.
    pub(super) fn displaced(&mut self, at: Address) -> (Value, i32) {
        match i32::try_from(at.bytes) {
            Ok(bytes) => (at.pointer, bytes),
            Err(_) => (self.b.ins().iadd_imm_s(at.pointer, at.bytes), 0),
        }
    }
}
