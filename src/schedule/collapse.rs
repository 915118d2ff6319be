//! Fewer loops for the same work. In: a nest of `Free` and `Serial` loops; out: the same without loops of one turn, and with
//! one loop where two ran over what lies side by side in every buffer. Buffers lose a dimension where loops merge.

use crate::loops::walk::{accesses, each, each_access_mut, subst};
use crate::loops::{Affine, Buf, DimDecl, Expr, LoopKind, Nest, Stmt, Var};

use super::{Dim, peel, wrap};

/// A window's rows are not merged into one long loop beyond this extent: rows are what threads share.
const ROW_MAX: usize = 28;

/// Takes away loops of one turn, whose variable is 0, and loops of none, which do nothing.
pub(super) fn drop_single_turns(nest: &mut Nest) {
    let mut single = Vec::new();
    each(&nest.body, &mut |s| {
        if let Stmt::For { var, extent: 1, .. } = s {
            single.push(*var);
        }
    });
    for var in single {
        subst(&mut nest.body, var, &Affine::k(0));
    }
    unwrap(&mut nest.body);
}

fn unwrap(stmts: &mut Vec<Stmt>) {
    let old = std::mem::take(stmts);
    for mut s in old {
        match &mut s {
            Stmt::For { extent: 0, .. } => {}
            Stmt::For { extent, body, .. } => {
                unwrap(body);
                if *extent == 1 {
                    stmts.append(body);
                } else if !body.is_empty() {
                    stmts.push(s);
                }
            }
            Stmt::If { then, conds: _ } => {
                unwrap(then);
                if !then.is_empty() {
                    stmts.push(s);
                }
            }
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => stmts.push(s),
        }
    }
}

/// Merges pairs of loops of perfect outermost nests as long as there are any.
pub(super) fn collapse(nest: &mut Nest) {
    for i in 0..nest.body.len() {
        while let Some((outer, inner, merges)) = find(nest, i) {
            merge(nest, i, outer, inner, &merges);
        }
    }
}

/// Dimensions `.1` and `.2` (the faster one) of buffer `.0` can be one.
type Merge = (Buf, usize, usize);

fn find(nest: &Nest, i: usize) -> Option<(Dim, Dim, Vec<Merge>)> {
    let stmt = &nest.body[i];
    let (dims, _) = peel(stmt.clone());
    let mut steering: Vec<&Affine> = Vec::new();
    let mut sums = false;
    each(std::slice::from_ref(stmt), &mut |s| {
        match s {
            Stmt::If { conds, then: _ } => steering.extend(conds),
            Stmt::Idx { value, var: _ } => steering.push(value.affine()),
            Stmt::For { kind, .. } => sums |= *kind == LoopKind::Serial,
            Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {}
        }
        if let Some(e) = s.expr() {
            e.each(&mut |e| {
                if let Expr::Index(a) = e {
                    steering.push(a);
                }
            });
        }
    });
    let free = |v: Var| !steering.iter().any(|a| a.has(v));
    for a in &dims {
        for b in dims.iter().filter(|b| b.var != a.var) {
            if !free(a.var) || !free(b.var) || (sums && b.extent > ROW_MAX) {
                continue;
            }
            if let Some(merges) = merges(nest, stmt, a, b) {
                return Some((*a, *b, merges));
            }
        }
    }
    None
}

/// What must merge so that loops `a` and `b` can, if every access allows it.
fn merges(nest: &Nest, stmt: &Stmt, a: &Dim, b: &Dim) -> Option<Vec<Merge>> {
    let mut out: Vec<Merge> = Vec::new();
    for access in accesses(std::slice::from_ref(stmt)) {
        let with = |v: Var| -> Vec<usize> { (0..access.at.len()).filter(|d| access.at[*d].has(v)).collect() };
        let (da, db) = match (&with(a.var)[..], &with(b.var)[..]) {
            ([], []) => continue,
            ([da], [db]) if da != db => (*da, *db),
            _ => return None,
        };
        let (slow, fast) = {
            let dims = &nest.bufs[access.buf.index()].dims;
            (dims[da], dims[db])
        };
        let fits = access.at[da].coefficient(a.var) == 1
            && access.at[db] == Affine::from(b.var)
            && fast.halo == (0, 0)
            && fast.extent == b.extent
            && slow.stride == fast.stride * b.extent as i64;
        let clash = out.iter().any(|m| m.0 == access.buf && *m != (access.buf, da, db));
        if !fits || clash {
            return None;
        }
        if !out.contains(&(access.buf, da, db)) {
            out.push((access.buf, da, db));
        }
    }
    Some(out)
}

fn merge(nest: &mut Nest, i: usize, a: Dim, b: Dim, merges: &[Merge]) {
    for (buf, slow, fast) in merges {
        let dims = &mut nest.bufs[buf.index()].dims;
        let by = dims[*fast].extent;
        let halo = dims[*slow].halo;
        dims[*slow] = DimDecl {
            extent: dims[*slow].extent * by,
            stride: dims[*fast].stride,
            halo: (halo.0 * by, halo.1 * by),
        };
        dims.remove(*fast);
        each_access_mut(&mut nest.body, &mut |of, at| {
            if of == *buf {
                at[*slow] = &(&at[*slow] * by as i64) + &at[*fast];
                at.remove(*fast);
            }
        });
    }
    // Everywhere the two stood as `extent * a + b`, which is what the new variable counts.
    let (a_name, b_name) = (&nest.vars[a.var.index()], &nest.vars[b.var.index()]);
    let name = format!("{a_name}_{b_name}");
    let var = nest.fresh_var(&name);
    let by = Dim { var, extent: a.extent * b.extent };
    let (mut dims, mut body) = peel(nest.body.remove(i));
    subst(&mut body, b.var, &Affine::from(var).plus(a.var, -(b.extent as i64)));
    dims.retain(|d| d.var != b.var);
    dims.iter_mut().filter(|d| d.var == a.var).for_each(|d| *d = by);
    let merged = wrap(&dims, body);
    nest.body.splice(i..i, merged);
}
