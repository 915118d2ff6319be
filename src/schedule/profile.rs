//! What one turn of a perfect nest does. In: the statements inside its independent loops; out: its accesses as positions
//! in their buffers, how often each happens, its arithmetic, and which variables steer it. Knows no target.

use crate::loops::walk::each;
use crate::loops::{Affine, BinOp, Buf, Expr, Nest, Stmt, Var};

/// An access in one turn.
#[derive(Clone, Debug)]
pub(super) struct Use {
    /// The element of its buffer.
    pub at: Affine,
    /// Elements in the buffer.
    pub len: usize,
    /// How often per turn, conditions taken as true.
    pub times: f64,
    /// Whether it stores.
    pub stores: bool,
}

/// One turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// Every access.
    pub uses: Vec<Use>,
    /// What conditions, `Idx` and numbers made of indices are computed from: their loops get no lanes and no tile.
    pub steering: Vec<Affine>,
    /// Extents of the serial loops.
    pub serial: Vec<(Var, usize)>,
    /// Registers that live through a serial loop.
    pub accumulators: usize,
    /// Arithmetic operations per turn.
    pub ops: f64,
    /// Arithmetic operations and conditions in one turn of the innermost serial loops.
    pub hot_ops: f64,
    /// How often the innermost serial loops turn; 1 without any.
    pub hot: f64,
    /// Accesses and operations per turn.
    pub work: f64,
    /// Whether a register takes a multiply-add in a serial loop.
    pub contraction: bool,
    /// Whether some operation is a function with no vector instruction.
    pub calls: bool,
}

impl Profile {
    /// Of the body of a perfect nest.
    pub(super) fn of(nest: &Nest, body: &[Stmt]) -> Self {
        let mut p = Self { hot: 1.0, ..Self::default() };
        p.walk(nest, body, 1.0);
        let mut set = Vec::new();
        each(body, &mut |s| {
            if let Stmt::Set { reg, value: _ } = s {
                set.push(*reg);
            }
        });
        set.sort_unstable();
        set.dedup();
        p.accumulators = if p.serial.is_empty() { 0 } else { set.len() };
        p.work = p.ops + p.uses.iter().map(|u| u.times).sum::<f64>();
        p
    }

    /// Whether it adds something up.
    pub(super) fn reduces(&self) -> bool {
        self.accumulators > 0
    }

    /// Whether a loop over `v` may be lanes or a tile.
    pub(super) fn steered_by(&self, v: Var) -> bool {
        self.steering.iter().any(|a| a.has(v))
    }

    /// Loads in the innermost serial loops.
    pub(super) fn hot_loads(&self) -> impl Iterator<Item = &Use> {
        self.uses.iter().filter(|u| !u.stores && u.times >= self.hot)
    }

    fn walk(&mut self, nest: &Nest, body: &[Stmt], times: f64) {
        for s in body {
            let at = |buf: Buf, at: &[Affine], stores| {
                let decl = &nest.bufs[buf.index()];
                Use { at: decl.offset(at), len: decl.len, times, stores }
            };
            match s {
                Stmt::For { var, extent, kind: _, body } => {
                    self.serial.push((*var, *extent));
                    let inside = times * *extent as f64;
                    if inside > self.hot {
                        (self.hot, self.hot_ops) = (inside, 0.0);
                    }
                    self.walk(nest, body, inside);
                }
                Stmt::If { conds, then } => {
                    self.steering.extend(conds.iter().cloned());
                    self.count(times, conds.len() as f64);
                    self.walk(nest, then, times);
                }
                Stmt::Idx { value, var: _ } => {
                    self.steering.push(value.affine().clone());
                    self.count(times, 2.0);
                }
                Stmt::Set { value, reg: _ } => {
                    self.contraction |= times > 1.0 && matches!(value, Expr::Fma(..));
                }
                Stmt::Store { buf, at: list, value: _ } => self.uses.push(at(*buf, list, true)),
                Stmt::Let { .. } => {}
            }
            let Some(e) = s.expr() else { continue };
            e.each(&mut |e| match e {
                Expr::Load { buf, at: list } => self.uses.push(at(*buf, list, false)),
                Expr::Index(a) => self.steering.push(a.clone()),
                Expr::Un(op, _) => {
                    self.calls |= !op.is_simple();
                    self.count(times, if op.is_simple() { 1.0 } else { 20.0 });
                }
                Expr::Bin(op, ..) => {
                    let pow = *op == BinOp::Pow;
                    self.calls |= pow;
                    self.count(times, if pow { 40.0 } else { 1.0 });
                }
                Expr::Fma(..) | Expr::Select { .. } => self.count(times, 1.0),
                Expr::Const(_) | Expr::Reg(_) => {}
            });
        }
    }

    fn count(&mut self, times: f64, ops: f64) {
        self.ops += times * ops;
        if times >= self.hot {
            self.hot_ops += ops;
        }
    }
}

/// Scalar operations of a whole statement, loops included.
pub(super) fn work(stmts: &[Stmt]) -> f64 {
    let one = |s: &Stmt| match s {
        Stmt::For { extent, body, var: _, kind: _ } => *extent as f64 * work(body),
        Stmt::If { then, conds: _ } => 1.0 + work(then),
        Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {
            let mut n = 1.0;
            if let Some(e) = s.expr() {
                e.each(&mut |_| n += 1.0);
            }
            n
        }
    };
    stmts.iter().map(one).sum()
}
