//! Questions about statements that the emitter asks before it writes a loop: which elements are accessed, which registers
//! are assigned, what depends on a variable. Pure functions of the loop IR.

use crate::loops::{Affine, BinOp, Buf, Expr, IdxExpr, LoopKind, Reg, Stmt, UnOp, Var};

/// Calls `f` for every load and store in `stmts`, in order.
pub(super) fn accesses(stmts: &[Stmt], f: &mut impl FnMut(Buf, &[Affine])) {
    for stmt in stmts {
        match stmt {
            Stmt::For { body, .. } => accesses(body, f),
            Stmt::If { then, .. } => accesses(then, f),
            Stmt::Idx { .. } => {}
            Stmt::Let { value, .. } | Stmt::Set { value, .. } => loads(value, f),
            Stmt::Store { buf, at, value } => {
                loads(value, f);
                f(*buf, at);
            }
        }
    }
}

/// Calls `f` for every load in `e`, in order of evaluation.
pub(super) fn loads(e: &Expr, f: &mut impl FnMut(Buf, &[Affine])) {
    match e {
        Expr::Const(_) | Expr::Reg(_) | Expr::Index(_) => {}
        Expr::Load { buf, at } => f(*buf, at),
        Expr::Un(_, a) => loads(a, f),
        Expr::Bin(_, a, b) => {
            loads(a, f);
            loads(b, f);
        }
        Expr::Fma(a, b, c) => {
            loads(a, f);
            loads(b, f);
            loads(c, f);
        }
        Expr::Select { a, b, then, other, .. } => {
            for e in [a, b, then, other] {
                loads(e, f);
            }
        }
    }
}

/// The registers that `stmts` assign by `Set`, each once, in order of first assignment.
pub(super) fn assigned(stmts: &[Stmt], out: &mut Vec<Reg>) {
    for stmt in stmts {
        match stmt {
            Stmt::For { body, .. } => assigned(body, out),
            Stmt::If { then, .. } => assigned(then, out),
            Stmt::Set { reg, .. } => {
                if !out.contains(reg) {
                    out.push(*reg);
                }
            }
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Store { .. } => {}
        }
    }
}

/// What depends on a variable, directly or through index variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dependents {
    /// A condition.
    pub(super) condition: bool,
    /// An index variable, or an index taken as a number.
    pub(super) index: bool,
}

/// What in `stmts` depends on `var`.
pub(super) fn dependents(stmts: &[Stmt], var: Var) -> Dependents {
    let mut tainted = vec![var];
    let mut out = Dependents::default();
    dependents_into(stmts, &mut tainted, &mut out);
    out
}

fn dependents_into(stmts: &[Stmt], tainted: &mut Vec<Var>, out: &mut Dependents) {
    for stmt in stmts {
        match stmt {
            Stmt::For { body, .. } => dependents_into(body, tainted, out),
            Stmt::If { conds, then } => {
                out.condition |= conds.iter().any(|c| touches(c, tainted));
                dependents_into(then, tainted, out);
            }
            Stmt::Idx { var, value } => {
                let (IdxExpr::Div(a, _) | IdxExpr::Mod(a, _) | IdxExpr::Table(_, a)) = value;
                if touches(a, tainted) {
                    out.index = true;
                    tainted.push(*var);
                }
            }
            Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Store { value, .. } => {
                out.index |= tainted.iter().any(|v| index_in(value, *v));
            }
        }
    }
}

fn touches(a: &Affine, vars: &[Var]) -> bool {
    a.terms.iter().any(|t| vars.contains(&t.0))
}

/// Whether the value of `var` as an integer is wanted in `stmts` other than in an access.
pub(super) fn wants_value(stmts: &[Stmt], var: Var) -> bool {
    let has = |a: &Affine| a.coefficient(var) != 0;
    stmts.iter().any(|stmt| match stmt {
        Stmt::For { body, .. } => wants_value(body, var),
        Stmt::If { conds, then } => conds.iter().any(has) || wants_value(then, var),
        Stmt::Idx { value, .. } => {
            let (IdxExpr::Div(a, _) | IdxExpr::Mod(a, _) | IdxExpr::Table(_, a)) = value;
            has(a)
        }
        Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Store { value, .. } => index_in(value, var),
    })
}

fn index_in(e: &Expr, var: Var) -> bool {
    match e {
        Expr::Const(_) | Expr::Reg(_) | Expr::Load { .. } => false,
        Expr::Index(a) => a.coefficient(var) != 0,
        Expr::Un(_, a) => index_in(a, var),
        Expr::Bin(_, a, b) => index_in(a, var) || index_in(b, var),
        Expr::Fma(a, b, c) => [a, b, c].iter().any(|e| index_in(e, var)),
        Expr::Select { a, b, then, other, .. } => [a, b, then, other].iter().any(|e| index_in(e, var)),
    }
}

/// Expression nodes of a body that becomes one straight block: no conditions and no loops but jam and vector ones.
pub(super) fn straight_size(stmts: &[Stmt]) -> Option<usize> {
    let mut sum = 0usize;
    for stmt in stmts {
        sum += match stmt {
            Stmt::For { kind: LoopKind::Vec, body, .. } => straight_size(body)?,
            Stmt::For { kind: LoopKind::Jam, extent, body, .. } => {
                straight_size(body)?.checked_mul(*extent)?
            }
            Stmt::For { kind: LoopKind::Serial | LoopKind::Free | LoopKind::Par, .. } | Stmt::If { .. } => {
                return None;
            }
            Stmt::Idx { .. } => 4,
            Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Store { value, .. } => size(value),
        };
    }
    Some(sum)
}

/// Nodes of `e`; a call to a long function counts for more.
fn size(e: &Expr) -> usize {
    match e {
        Expr::Const(_) | Expr::Reg(_) | Expr::Load { .. } => 1,
        Expr::Index(_) => 4,
        Expr::Un(UnOp::Neg | UnOp::Abs | UnOp::Sqrt, a) => 1 + size(a),
        Expr::Un(UnOp::Floor | UnOp::Ceil | UnOp::Round, a) => 8 + size(a),
        Expr::Un(UnOp::Exp | UnOp::Log | UnOp::Tanh | UnOp::Erf, a) => 40 + size(a),
        Expr::Bin(BinOp::Pow, a, b) => 120 + size(a) + size(b),
        Expr::Bin(BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Div | BinOp::Min | BinOp::Max, a, b) => {
            1 + size(a) + size(b)
        }
        Expr::Fma(a, b, c) => 1 + size(a) + size(b) + size(c),
        Expr::Select { a, b, then, other, .. } => 2 + size(a) + size(b) + size(then) + size(other),
    }
}
