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

/// Merges pairs of loops of perfect outermost nests as long as there are any, then sums over neighbours.
pub(super) fn collapse(nest: &mut Nest) {
    for i in 0..nest.body.len() {
        while let Some((outer, inner, merges)) = find(nest, i) {
            let by = merge(nest, outer, inner, &merges);
            let (mut dims, mut body) = peel(nest.body.remove(i));
            subst(&mut body, inner.var, &Affine::from(by.var).plus(outer.var, -(inner.extent as i64)));
            dims.retain(|d| d.var != inner.var);
            dims.iter_mut().filter(|d| d.var == outer.var).for_each(|d| *d = by);
            let merged = wrap(&dims, body);
            nest.body.splice(i..i, merged);
        }
        while let Some((outer, inner, merges)) = find_sum(nest, i) {
            let by = merge(nest, outer, inner, &merges);
            let stmt = &mut nest.body[i..=i];
            subst(stmt, inner.var, &Affine::from(by.var).plus(outer.var, -(inner.extent as i64)));
            join(stmt, outer.var, by);
        }
    }
}

/// Two serial loops, one directly inside the other, that can be one.
fn find_sum(nest: &Nest, i: usize) -> Option<(Dim, Dim, Vec<Merge>)> {
    let stmt = &nest.body[i];
    let steering = steering(stmt);
    let mut pairs = Vec::new();
    each(std::slice::from_ref(stmt), &mut |s| {
        if let Stmt::For { var, extent, kind: LoopKind::Serial, body } = s
            && let [Stmt::For { var: inner, extent: turns, kind: LoopKind::Serial, body: _ }] =
                body.as_slice()
        {
            pairs.push((Dim { var: *var, extent: *extent }, Dim { var: *inner, extent: *turns }));
        }
    });
    pairs.retain(|(a, b)| !steering.iter().any(|s| s.has(a.var) || s.has(b.var)));
    // Merging changes what all statements say of a buffer.
    let mut guarded = Vec::new();
    guarded_stores(&nest.body, false, &mut guarded);
    pairs.into_iter().find_map(|(a, b)| {
        let merges = merges(nest, stmt, &a, &b)?;
        // Without the dimensions that conditions speak of, iterations could not be told apart any more.
        merges.iter().all(|(buf, ..)| !guarded.contains(buf)).then_some((a, b, merges))
    })
}

/// Buffers that are stored into under conditions.
fn guarded_stores(stmts: &[Stmt], within: bool, out: &mut Vec<Buf>) {
    for s in stmts {
        match s {
            Stmt::Store { buf, .. } if within => out.push(*buf),
            Stmt::If { then, conds: _ } => guarded_stores(then, true, out),
            Stmt::For { body, .. } => guarded_stores(body, within, out),
            Stmt::Store { .. } | Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } => {}
        }
    }
}

/// The loop over `outer` and the one directly inside become the loop over `by`.
fn join(stmts: &mut [Stmt], outer: Var, by: Dim) {
    for s in stmts {
        if let Stmt::For { var, extent, body, kind: _ } = s
            && *var == outer
        {
            (*var, *extent) = (by.var, by.extent);
            let within = body.iter_mut().map(|s| match s {
                Stmt::For { body, .. } => std::mem::take(body),
                Stmt::If { .. }
                | Stmt::Idx { .. }
                | Stmt::Let { .. }
                | Stmt::Set { .. }
                | Stmt::Store { .. } => Vec::new(),
            });
            *body = within.flatten().collect();
            return;
        }
        join(s.inner_mut(), outer, by);
    }
}

/// What conditions, `Idx` and numbers made of indices are computed from.
fn steering(stmt: &Stmt) -> Vec<&Affine> {
    let mut steering: Vec<&Affine> = Vec::new();
    each(std::slice::from_ref(stmt), &mut |s| {
        match s {
            Stmt::If { conds, then: _ } => steering.extend(conds),
            Stmt::Idx { value, var: _ } => steering.push(value.affine()),
            Stmt::For { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {}
        }
        if let Some(e) = s.expr() {
            e.each(&mut |e| {
                if let Expr::Index(a) = e {
                    steering.push(a);
                }
            });
        }
    });
    steering
}

/// Dimensions `.1` and `.2` (the faster one) of buffer `.0` can be one.
type Merge = (Buf, usize, usize);

fn find(nest: &Nest, i: usize) -> Option<(Dim, Dim, Vec<Merge>)> {
    let stmt = &nest.body[i];
    let (dims, _) = peel(stmt.clone());
    let steering = steering(stmt);
    let mut sums = false;
    each(std::slice::from_ref(stmt), &mut |s| {
        sums |= matches!(s, Stmt::For { kind: LoopKind::Serial, .. });
    });
    let free = |v: Var| !steering.iter().any(|a| a.has(v));
    let mut guarded = Vec::new();
    guarded_stores(&nest.body[..i], false, &mut guarded);
    guarded_stores(&nest.body[i + 1..], false, &mut guarded);
    for a in &dims {
        for b in dims.iter().filter(|b| b.var != a.var) {
            if !free(a.var) || !free(b.var) || (sums && b.extent > ROW_MAX) {
                continue;
            }
            let merges = merges(nest, stmt, a, b);
            // As for sums: other statements may tell their iterations apart by these dimensions.
            if let Some(merges) = merges.filter(|m| m.iter().all(|(buf, ..)| !guarded.contains(buf))) {
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

/// Merges dimensions of buffers and declares the variable that counts over both loops, `extent * a + b`.
fn merge(nest: &mut Nest, a: Dim, b: Dim, merges: &[Merge]) -> Dim {
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
    let (a_name, b_name) = (&nest.vars[a.var.index()], &nest.vars[b.var.index()]);
    let name = format!("{a_name}_{b_name}");
    Dim { var: nest.fresh_var(&name), extent: a.extent * b.extent }
}
