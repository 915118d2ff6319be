//! Whether a nest may store into a buffer that it reads. In: a nest whose names and accesses are well formed and whose loops
//! keep their promises ([`super::independent`]); out: whether a buffer may lie exactly where the stored one lies.
//!
//! The proof: the nest stores into one buffer and never reads it. Every load of the other stands in a statement list, under no
//! serial loop, where a store at the same index follows. So an element is read by the iteration that stores it, before it
//! does; every other iteration of its loops owns other elements. That each element is stored once is the contract of lowering.

use super::walk::each;
use super::{Affine, Buf, BufDecl, Expr, LoopKind, Nest, Stmt};

/// See the module.
pub fn pointwise(nest: &Nest, buf: Buf) -> bool {
    let mut stored = nest.bufs.iter().enumerate().filter(|(_, b)| b.writable);
    let (Some((out, to)), None) = (stored.next(), stored.next()) else { return false };
    let out = Buf(out as u32);
    let Some(from) = nest.bufs.get(buf.index()) else { return false };
    buf != out && same_place(from, to) && !reads(nest, out) && list(&nest.body, buf, out)
}

fn same_place(a: &BufDecl, b: &BufDecl) -> bool {
    a.dims == b.dims && a.base == b.base && a.len == b.len && a.block == b.block
}

/// Whether a nest loads from a buffer.
pub fn reads(nest: &Nest, buf: Buf) -> bool {
    let mut found = false;
    each(&nest.body, &mut |s| found |= s.expr().is_some_and(|e| !loads(e, buf).is_empty()));
    found
}

/// The indices at which an expression reads `buf`.
fn loads(e: &Expr, buf: Buf) -> Vec<&[Affine]> {
    let mut found = Vec::new();
    e.each(&mut |e| {
        if let Expr::Load { buf: of, at } = e
            && *of == buf
        {
            found.push(at.as_slice());
        }
    });
    found
}

fn list(stmts: &[Stmt], buf: Buf, out: Buf) -> bool {
    let stores = |s: &Stmt, at: &[Affine]| match s {
        Stmt::Store { buf, at: to, value: _ } => *buf == out && to.as_slice() == at,
        Stmt::For { .. } | Stmt::If { .. } | Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } => false,
    };
    stmts.iter().enumerate().all(|(i, s)| {
        let own = s.expr().map_or(Vec::new(), |e| loads(e, buf));
        let followed = own
            .iter()
            .all(|at| stmts[i..].iter().any(|s| stores(s, at)) && !stmts[..i].iter().any(|s| stores(s, at)));
        let inner = match s {
            Stmt::For { kind: LoopKind::Serial, extent, body, var: _ } if *extent > 1 => {
                let mut none = true;
                each(body, &mut |s| none &= s.expr().is_none_or(|e| loads(e, buf).is_empty()));
                none
            }
            Stmt::For { body, .. } => list(body, buf, out),
            Stmt::If { then, conds: _ } => list(then, buf, out),
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => true,
        };
        followed && inner
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parse::parse;
    use crate::loops::print::print;

    /// `y[i] = 2 x[i]` with one thing replaced.
    fn verdict(change: &dyn Fn(&mut Nest)) -> bool {
        use crate::loops::build::NestBuilder;
        use crate::tensor::layout::Layout;
        use crate::tensor::ty::TensorTy;
        let ty = TensorTy::new([("c", 8)]).expect("small");
        let layout = Layout::canonical(1);
        let mut b = NestBuilder::new("doubled");
        let x = b.buf("x", &ty, &layout, false);
        let y = b.buf("y", &ty, &layout, true);
        b.nested(LoopKind::Free, &[("c", 8)], |b, v| {
            let at = [Affine::from(v[0])];
            let load = b.load(x, &at);
            let r = b.let_(load);
            b.store(y, &at, Expr::from(r) * 2.0.into());
        });
        let mut nest = b.finish();
        change(&mut nest);
        assert!(parse(&print(&nest)).is_ok());
        pointwise(&nest, Buf(0))
    }

    fn body(nest: &mut Nest) -> &mut Vec<Stmt> {
        match &mut nest.body[0] {
            Stmt::For { body, .. } => body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_read_where_it_is_stored_may_lie_there() {
        assert!(verdict(&|_| {}));
        // Read by another iteration than the one that stores it.
        assert!(!verdict(&|n| if let Stmt::Let { value: Expr::Load { at, .. }, .. } = &mut body(n)[0] {
            at[0] = at[0].offset(1);
        }));
        // Read after it was stored.
        assert!(!verdict(&|n| body(n).reverse()));
        // Stored several times.
        assert!(!verdict(&|n| if let Stmt::For { kind, .. } = &mut n.body[0] {
            *kind = LoopKind::Serial;
        }));
        // Another shape.
        assert!(!verdict(&|n| n.bufs[0].dims[0].stride = 2));
        // The stored buffer is read as well.
        assert!(!verdict(&|n| {
            let load = Expr::Load { buf: Buf(1), at: vec![Affine::k(0)] };
            body(n).insert(1, Stmt::Set { reg: crate::loops::Reg(0), value: load });
        }));
    }
}
