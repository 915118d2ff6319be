//! Going through a nest: visits, substitution of variables, copies under fresh names. In: statements or expressions;
//! out: the same changed in place, or a copy. Knows nothing of kinds of loops or of what is legal.

use std::collections::BTreeMap;

use super::{Affine, Buf, Expr, IdxExpr, Nest, Reg, Stmt, Var};

impl Affine {
    /// `self` with `by` in place of `v`.
    #[must_use]
    pub fn subst(&self, v: Var, by: &Affine) -> Affine {
        match self.coefficient(v) {
            0 => self.clone(),
            c => &self.plus(v, -c) + &(by * c),
        }
    }

    /// Whether `v` occurs.
    pub fn has(&self, v: Var) -> bool {
        self.coefficient(v) != 0
    }
}

impl IdxExpr {
    /// What it is computed from.
    pub fn affine(&self) -> &Affine {
        match self {
            IdxExpr::Div(a, _) | IdxExpr::Mod(a, _) | IdxExpr::Table(_, a) => a,
        }
    }

    fn affine_mut(&mut self) -> &mut Affine {
        match self {
            IdxExpr::Div(a, _) | IdxExpr::Mod(a, _) | IdxExpr::Table(_, a) => a,
        }
    }
}

impl Expr {
    /// Calls `f` for this expression and all inside it, outermost first.
    pub fn each<'e>(&'e self, f: &mut dyn FnMut(&'e Expr)) {
        f(self);
        match self {
            Expr::Const(_) | Expr::Reg(_) | Expr::Load { .. } | Expr::Index(_) => {}
            Expr::Un(_, a) => a.each(f),
            Expr::Bin(_, a, b) => [a, b].into_iter().for_each(|e| e.each(f)),
            Expr::Fma(a, b, c) => [a, b, c].into_iter().for_each(|e| e.each(f)),
            Expr::Select { cmp: _, a, b, then, other } => {
                [a, b, then, other].into_iter().for_each(|e| e.each(f));
            }
        }
    }

    /// Calls `f` for this expression and all inside it, to change.
    pub fn each_mut(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(self);
        match self {
            Expr::Const(_) | Expr::Reg(_) | Expr::Load { .. } | Expr::Index(_) => {}
            Expr::Un(_, a) => a.each_mut(f),
            Expr::Bin(_, a, b) => [a, b].into_iter().for_each(|e| e.each_mut(f)),
            Expr::Fma(a, b, c) => [a, b, c].into_iter().for_each(|e| e.each_mut(f)),
            Expr::Select { cmp: _, a, b, then, other } => {
                [a, b, then, other].into_iter().for_each(|e| e.each_mut(f));
            }
        }
    }
}

impl Stmt {
    /// Calls `f` for this statement and all inside it, outermost first.
    pub fn each<'s>(&'s self, f: &mut dyn FnMut(&'s Stmt)) {
        f(self);
        match self {
            Stmt::For { body, var: _, extent: _, kind: _ } => each(body, f),
            Stmt::If { then, conds: _ } => each(then, f),
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {}
        }
    }

    /// The expression that this statement itself evaluates.
    pub fn expr(&self) -> Option<&Expr> {
        match self {
            Stmt::Let { value, reg: _ } | Stmt::Set { value, reg: _ } => Some(value),
            Stmt::Store { value, buf: _, at: _ } => Some(value),
            Stmt::For { .. } | Stmt::If { .. } | Stmt::Idx { .. } => None,
        }
    }

    /// The same, to change.
    pub fn expr_mut(&mut self) -> Option<&mut Expr> {
        match self {
            Stmt::Let { value, reg: _ } | Stmt::Set { value, reg: _ } => Some(value),
            Stmt::Store { value, buf: _, at: _ } => Some(value),
            Stmt::For { .. } | Stmt::If { .. } | Stmt::Idx { .. } => None,
        }
    }

    /// The statements inside it.
    pub fn inner(&self) -> &[Stmt] {
        match self {
            Stmt::For { body, var: _, extent: _, kind: _ } => body,
            Stmt::If { then, conds: _ } => then,
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => &[],
        }
    }

    /// The same, to change.
    pub fn inner_mut(&mut self) -> &mut [Stmt] {
        match self {
            Stmt::For { body, var: _, extent: _, kind: _ } => body,
            Stmt::If { then, conds: _ } => then,
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => &mut [],
        }
    }
}

/// [`Stmt::each`] over a list.
pub fn each<'s>(stmts: &'s [Stmt], f: &mut dyn FnMut(&'s Stmt)) {
    for s in stmts {
        s.each(f);
    }
}

/// A place where a nest touches a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Access<'s> {
    /// The buffer.
    pub buf: Buf,
    /// One index per dimension.
    pub at: &'s [Affine],
    /// Whether it stores.
    pub stores: bool,
}

/// All accesses in a list of statements, in the order of the text.
pub fn accesses(stmts: &[Stmt]) -> Vec<Access<'_>> {
    let mut out = Vec::new();
    each(stmts, &mut |s| {
        if let Some(e) = s.expr() {
            e.each(&mut |e| {
                if let Expr::Load { buf, at } = e {
                    out.push(Access { buf: *buf, at, stores: false });
                }
            });
        }
        if let Stmt::Store { buf, at, value: _ } = s {
            out.push(Access { buf: *buf, at, stores: true });
        }
    });
    out
}

/// Calls `f` for the index list of every access, to change.
pub fn each_access_mut(stmts: &mut [Stmt], f: &mut dyn FnMut(Buf, &mut Vec<Affine>)) {
    for s in stmts {
        if let Some(e) = s.expr_mut() {
            e.each_mut(&mut |e| {
                if let Expr::Load { buf, at } = e {
                    f(*buf, at);
                }
            });
        }
        if let Stmt::Store { buf, at, value: _ } = s {
            f(*buf, at);
        }
        each_access_mut(s.inner_mut(), f);
    }
}

/// Calls `f` for every index expression, to change.
pub fn each_affine_mut(stmts: &mut [Stmt], f: &mut dyn FnMut(&mut Affine)) {
    for s in stmts {
        match s {
            Stmt::Idx { value, var: _ } => f(value.affine_mut()),
            Stmt::If { conds, then: _ } => conds.iter_mut().for_each(&mut *f),
            Stmt::Store { at, buf: _, value: _ } => at.iter_mut().for_each(&mut *f),
            Stmt::For { .. } | Stmt::Let { .. } | Stmt::Set { .. } => {}
        }
        if let Some(e) = s.expr_mut() {
            e.each_mut(&mut |e| match e {
                Expr::Load { at, buf: _ } => at.iter_mut().for_each(&mut *f),
                Expr::Index(a) => f(a),
                Expr::Const(_) | Expr::Reg(_) | Expr::Un(..) | Expr::Bin(..) => {}
                Expr::Fma(..) | Expr::Select { .. } => {}
            });
        }
        each_affine_mut(s.inner_mut(), f);
    }
}

/// Puts `by` in place of variable `v` everywhere.
pub fn subst(stmts: &mut [Stmt], v: Var, by: &Affine) {
    each_affine_mut(stmts, &mut |a| {
        if a.has(v) {
            *a = a.subst(v, by);
        }
    });
}

impl Nest {
    /// A new variable called `name`.
    pub fn fresh_var(&mut self, name: &str) -> Var {
        self.vars.push(name.to_owned());
        Var(self.vars.len() as u32 - 1)
    }

    /// A new register.
    pub fn fresh_reg(&mut self) -> Reg {
        self.regs += 1;
        Reg(self.regs - 1)
    }

    /// A copy of `stmts` in which everything that they bind has a fresh name.
    pub fn copy_fresh(&mut self, stmts: &[Stmt]) -> Vec<Stmt> {
        let mut vars: BTreeMap<Var, Affine> = BTreeMap::new();
        let mut regs: BTreeMap<Reg, Reg> = BTreeMap::new();
        each(stmts, &mut |s| match s {
            Stmt::For { var, .. } | Stmt::Idx { var, .. } => {
                let name = self.vars.get(var.index()).cloned().unwrap_or_default();
                vars.insert(*var, self.fresh_var(&name).into());
            }
            Stmt::Let { reg, .. } => {
                regs.insert(*reg, self.fresh_reg());
            }
            Stmt::If { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {}
        });
        let mut copy = stmts.to_vec();
        rename(&mut copy, &vars, &regs);
        copy
    }
}

fn rename(stmts: &mut [Stmt], vars: &BTreeMap<Var, Affine>, regs: &BTreeMap<Reg, Reg>) {
    each_affine_mut(stmts, &mut |a| {
        let terms = std::mem::take(&mut a.terms);
        for (v, c) in terms {
            *a = match vars.get(&v) {
                Some(new) => &*a + &(new * c),
                None => a.plus(v, c),
            };
        }
    });
    rename_bound(stmts, vars, regs);
}

fn rename_bound(stmts: &mut [Stmt], vars: &BTreeMap<Var, Affine>, regs: &BTreeMap<Reg, Reg>) {
    let new_reg = |r: &mut Reg| *r = regs.get(r).copied().unwrap_or(*r);
    for s in stmts {
        match s {
            Stmt::For { var, .. } | Stmt::Idx { var, .. } => {
                if let Some((new, _)) = vars.get(var).and_then(|a| a.terms.first()) {
                    *var = *new;
                }
            }
            Stmt::Let { reg, .. } | Stmt::Set { reg, .. } => new_reg(reg),
            Stmt::If { .. } | Stmt::Store { .. } => {}
        }
        if let Some(e) = s.expr_mut() {
            e.each_mut(&mut |e| {
                if let Expr::Reg(r) = e {
                    new_reg(r);
                }
            });
        }
        rename_bound(s.inner_mut(), vars, regs);
    }
}
