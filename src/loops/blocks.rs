//! Blocks made plain. In: a nest in which buffers lie cut into blocks; out: the same with two dimensions for each that was
//! cut. Loops over such a dimension are split in two, so that block and place within it are loop counters; where that
//! is not enough, `Idx` statements divide.

use super::range::{Facts, Interval};
use super::walk::{accesses, each, each_access_mut, subst};
use super::{Affine, Block, Buf, IdxExpr, Nest, Stmt, Var};

/// A copy without blocks.
pub fn expanded(nest: &Nest) -> Nest {
    let mut copy = nest.clone();
    expand(&mut copy);
    copy
}

/// The buffers that lie in blocks which no splitting of loops tells apart: some access divides at run time.
pub fn uncut(nest: &Nest) -> Vec<Buf> {
    let mut nest = nest.clone();
    split_loops(&mut nest);
    let facts = ranges(&nest);
    let mut out = Vec::new();
    for access in accesses(&nest.body) {
        let Some(Block { dim, size, stride: _ }) = nest.bufs[access.buf.index()].block else { continue };
        if divided(&access.at[dim], size as i64, &facts).is_none() && !out.contains(&access.buf) {
            out.push(access.buf);
        }
    }
    out
}

/// Makes two dimensions of each that lies cut into blocks.
pub fn expand(nest: &mut Nest) {
    if nest.bufs.iter().all(|b| b.block.is_none()) {
        return;
    }
    split_loops(nest);
    let facts = ranges(nest);
    let blocks: Vec<Option<Block>> = nest.bufs.iter().map(|b| b.block).collect();
    let mut body = std::mem::take(&mut nest.body);
    rewrite(nest, &facts, &blocks, &mut body);
    nest.body = body;
    for b in &mut nest.bufs {
        b.dims = b.flat_dims();
        b.block = None;
    }
}

/// Intervals of all loop counters.
fn ranges(nest: &Nest) -> Facts {
    let mut facts = Facts::new(nest.vars.len());
    each(&nest.body, &mut |s| {
        if let Stmt::For { var, extent, kind: _, body: _ } = s {
            facts.set(*var, Some(Interval::new(0, *extent as i128 - 1)));
        }
    });
    facts
}

/// `a` as `size * block + rest` with `rest` in `0..size`, if counters alone say so.
fn divided(a: &Affine, size: i64, facts: &Facts) -> Option<(Affine, Affine)> {
    let (mut block, mut rest) = (Affine::k(a.k.div_euclid(size)), Affine::k(a.k.rem_euclid(size)));
    for (v, c) in &a.terms {
        block = block.plus(*v, c.div_euclid(size));
        rest = rest.plus(*v, c.rem_euclid(size));
    }
    let r = facts.interval(&rest)?;
    (r.lo >= 0 && r.hi < i128::from(size)).then_some((block, rest))
}

/// Splits loops that run over whole blocks and over the places in them.
fn split_loops(nest: &mut Nest) {
    let facts = ranges(nest);
    let mut wanted: Vec<(Var, i64)> = Vec::new();
    for access in accesses(&nest.body) {
        let Some(Block { dim, size, stride: _ }) = nest.bufs[access.buf.index()].block else { continue };
        let (a, size) = (&access.at[dim], size as i64);
        let mut loose = a.terms.iter().filter(|(_, c)| c % size != 0);
        if let (Some((v, 1)), None, 0) = (loose.next(), loose.next(), a.k.rem_euclid(size))
            && facts.range(*v).is_some_and(|r| r.hi >= i128::from(size) && (r.hi + 1) % i128::from(size) == 0)
            && wanted.iter().all(|(w, _)| w != v)
        {
            wanted.push((*v, size));
        }
    }
    for (v, size) in wanted {
        let name = nest.vars[v.index()].clone();
        let (outer, inner) = (nest.fresh_var(&format!("{name}b")), nest.fresh_var(&format!("{name}i")));
        subst(&mut nest.body, v, &Affine::from(inner).plus(outer, size));
        split(&mut nest.body, v, size as usize, outer, inner);
    }
}

fn split(stmts: &mut [Stmt], v: Var, size: usize, outer: Var, inner: Var) {
    for s in stmts {
        if let Stmt::For { var, extent, kind, body } = s
            && *var == v
        {
            let within = Stmt::For { var: inner, extent: size, kind: *kind, body: std::mem::take(body) };
            (*var, *extent, *body) = (outer, *extent / size, vec![within]);
            return;
        }
        split(s.inner_mut(), v, size, outer, inner);
    }
}

/// Gives every access an index for the block and one within it.
fn rewrite(nest: &mut Nest, facts: &Facts, blocks: &[Option<Block>], stmts: &mut Vec<Stmt>) {
    for mut s in std::mem::take(stmts) {
        let mut inner = match &mut s {
            Stmt::For { body, .. } => std::mem::take(body),
            Stmt::If { then, .. } => std::mem::take(then),
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => Vec::new(),
        };
        rewrite(nest, facts, blocks, &mut inner);
        each_access_mut(std::slice::from_mut(&mut s), &mut |buf, at| {
            let Some(Block { dim, size, stride: _ }) = blocks[buf.index()] else { return };
            let (block, rest) = divided(&at[dim], size as i64, facts).unwrap_or_else(|| {
                let (block, rest) = (nest.fresh_var("block"), nest.fresh_var("within"));
                stmts.push(Stmt::Idx { var: block, value: IdxExpr::Div(at[dim].clone(), size as i64) });
                stmts.push(Stmt::Idx { var: rest, value: IdxExpr::Mod(at[dim].clone(), size as i64) });
                (block.into(), rest.into())
            });
            at[dim] = block;
            at.insert(dim + 1, rest);
        });
        if let Stmt::For { body: list, .. } | Stmt::If { then: list, .. } = &mut s {
            *list = inner;
        }
        stmts.push(s);
    }
}
