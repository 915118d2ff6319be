//! Pointers: one per buffer and combination of coefficients of run-time variables. A loop steps a pointer in place and takes it
//! back at its end, unless something inside needs it where it was; then the loop steps a copy.

use std::collections::{BTreeMap, BTreeSet};

use super::{Binding, Wide};
use crate::codegen::Emitted;
use crate::codegen::address::{ELEMENT, Key};
use crate::codegen::scan;
use crate::kernels::x86::inst::{Arg, G, Inst};
use crate::loops::{Affine, Buf, Stmt, Var};

/// What a loop does with pointers: those that it steps, with bytes per turn, and which of them it takes back at its end.
#[derive(Debug, Default)]
pub(super) struct Stepped {
    pub(super) pointers: Vec<(G, i64)>,
    in_place: Vec<(Key, Key, i64)>,
    made: Vec<Key>,
}

impl Wide<'_> {
    /// The element number as a linear form.
    pub(super) fn linear(&self, buf: Buf, at: &[Affine]) -> Emitted<Affine> {
        let decl = self.nest.bufs.get(buf.index()).ok_or("an unknown buffer")?;
        if decl.dims.len() != at.len() {
            return Err("an access of the wrong rank");
        }
        if decl.block.is_some() {
            return Err("a buffer lies in blocks; scheduling expands them");
        }
        Ok(decl.offset(at))
    }

    fn is_dyn(&self, var: Var) -> bool {
        matches!(self.bound(var), Ok(b) if matches!(b.value, Binding::Dyn(..)))
    }

    /// The keys of all accesses in `scope`, over the variables bound at run time by now and `var`.
    fn keys(&self, scope: &[Stmt], var: Option<Var>) -> Emitted<BTreeSet<Key>> {
        let mut out = BTreeSet::new();
        let mut problem = None;
        scan::accesses(scope, &mut |buf, at| match self.linear(buf, at) {
            Err(e) => problem = Some(e),
            Ok(form) => {
                let terms = form.terms.into_iter().filter(|t| Some(t.0) == var || self.is_dyn(t.0)).collect();
                out.insert(Key { buf, terms });
            }
        });
        problem.map_or(Ok(out), Err)
    }

    /// Loads the pointers of all buffers that `scope` touches.
    pub(super) fn base_pointers(&mut self, scope: &[Stmt]) {
        let mut used = BTreeSet::new();
        scan::accesses(scope, &mut |buf, _| {
            used.insert(buf);
        });
        self.env.pointers.clear();
        for buf in used {
            let dst = self.code.integer();
            self.code.push(Inst::Arg { dst, arg: Arg::Buf(buf.0) });
            self.env.pointers.insert(Key { buf, terms: Vec::new() }, vec![dst; self.copies()]);
        }
    }

    /// Prepares the pointers that the body of a loop over `var` steps; they start at `low` turns. `var` is not bound yet.
    pub(super) fn step_pointers(&mut self, var: Var, low: Option<G>, body: &[Stmt]) -> Emitted<Stepped> {
        let keys = self.keys(body, Some(var))?;
        let mut out = Stepped::default();
        let mut children: BTreeMap<Key, Vec<(Key, i64)>> = BTreeMap::new();
        for key in &keys {
            let (parent, coefficient) = key.without(var);
            if coefficient != 0 {
                children.entry(parent).or_default().push((key.clone(), coefficient * ELEMENT));
            }
        }
        for (parent, list) in children {
            let from = self.env.pointers.get(&parent).cloned().ok_or("an address that was not prepared")?;
            let last = list.len() - 1;
            for (i, (key, bytes)) in list.into_iter().enumerate() {
                // The last may take the parent's own register, if nothing inside reads that.
                let in_place = i == last && !keys.contains(&parent);
                let mut made: BTreeMap<G, G> = BTreeMap::new();
                for p in &from {
                    if made.contains_key(p) {
                        continue;
                    }
                    let g = if in_place { *p } else { self.scaled(*p, 1) };
                    if let Some(low) = low {
                        let start = self.scaled(low, bytes);
                        self.code.push(Inst::Add { reg: g, src: start });
                    }
                    made.insert(*p, g);
                    out.pointers.push((g, bytes));
                }
                self.env.pointers.insert(key.clone(), from.iter().map(|p| made[p]).collect());
                if in_place {
                    self.env.pointers.remove(&parent);
                    out.in_place.push((key, parent.clone(), bytes));
                } else {
                    out.made.push(key);
                }
            }
        }
        Ok(out)
    }

    /// Puts pointers back where they were before a loop that made `turns` turns; `None`: nothing follows that needs them.
    pub(super) fn take_back(&mut self, stepped: Stepped, turns: Option<i64>) {
        for key in stepped.made {
            self.env.pointers.remove(&key);
        }
        for (key, parent, bytes) in stepped.in_place {
            let Some(list) = self.env.pointers.remove(&key) else { continue };
            let distinct: BTreeSet<G> = list.iter().copied().collect();
            if let Some(turns) = turns {
                for g in distinct {
                    self.code.push(Inst::AddImm { reg: g, value: -bytes * turns });
                }
            }
            self.env.pointers.insert(parent, list);
        }
    }

    /// Makes the pointers that `scope` needs for `var`, which has just been bound to `values`.
    pub(super) fn extend_pointers(&mut self, var: Var, values: &[G], scope: &[Stmt]) -> Emitted<()> {
        for key in self.keys(scope, Some(var))? {
            let (parent, coefficient) = key.without(var);
            if coefficient == 0 {
                continue;
            }
            let from = self.env.pointers.get(&parent).cloned().ok_or("an address that was not prepared")?;
            let mut made: BTreeMap<(G, G), G> = BTreeMap::new();
            let mut out = Vec::with_capacity(from.len());
            for (p, v) in from.into_iter().zip(values) {
                let g = match made.get(&(p, *v)) {
                    Some(g) => *g,
                    None => {
                        let g = self.scaled(*v, coefficient * ELEMENT);
                        self.code.push(Inst::Add { reg: g, src: p });
                        made.insert((p, *v), g);
                        g
                    }
                };
                out.push(g);
            }
            self.env.pointers.insert(key, out);
        }
        Ok(())
    }
}
