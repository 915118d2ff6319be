//! Builds a nest statement by statement; scopes are closures, so what opens also closes.

use super::{Affine, Buf, BufDecl, DimDecl, Expr, IdxExpr, LoopKind, Nest, Reg, Stmt, TableId, Var};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// A nest under construction.
#[derive(Debug)]
pub struct NestBuilder {
    nest: Nest,
    scopes: Vec<Vec<Stmt>>,
}

impl NestBuilder {
    /// An empty nest.
    pub fn new(name: &str) -> Self {
        Self { nest: Nest { name: name.to_owned(), ..Nest::default() }, scopes: vec![Vec::new()] }
    }

    /// Declares the next buffer argument: a tensor of type `ty` lying as `layout` says.
    pub fn buf(&mut self, name: &str, ty: &TensorTy, layout: &Layout, writable: bool) -> Buf {
        let placed = layout.place(ty);
        let dims = (0..ty.dims().len())
            .map(|d| DimDecl { extent: ty.dims()[d], stride: placed.steps[d], halo: layout.halo[d] })
            .collect();
        let block = placed.block;
        let decl = BufDecl {
            name: name.to_owned(),
            dims,
            base: placed.base,
            len: placed.len,
            writable,
            uncached: false,
            block,
        };
        self.nest.bufs.push(decl);
        Buf(self.nest.bufs.len() as u32 - 1)
    }

    /// Adds a table of integers; equal tables are kept once.
    pub fn table(&mut self, values: Vec<i64>) -> TableId {
        let found = self.nest.tables.iter().position(|t| *t == values);
        let id = found.unwrap_or_else(|| {
            self.nest.tables.push(values);
            self.nest.tables.len() - 1
        });
        TableId(id as u32)
    }

    /// A loop of any kind; `body` gets its variable.
    pub fn for_(&mut self, kind: LoopKind, name: &str, extent: usize, body: impl FnOnce(&mut Self, Var)) {
        let var = self.var(name);
        self.scopes.push(Vec::new());
        body(self, var);
        let body = self.scopes.pop().unwrap_or_default();
        self.push(Stmt::For { var, extent, kind, body });
    }

    /// A serial loop.
    pub fn serial(&mut self, name: &str, extent: usize, body: impl FnOnce(&mut Self, Var)) {
        self.for_(LoopKind::Serial, name, extent, body);
    }

    /// Perfectly nested loops of one kind, outermost first; `body` gets all variables.
    pub fn nested(&mut self, kind: LoopKind, dims: &[(&str, usize)], body: impl FnOnce(&mut Self, &[Var])) {
        let vars: Vec<Var> = dims.iter().map(|(name, _)| self.var(name)).collect();
        self.scopes.push(Vec::new());
        body(self, &vars);
        let mut inner = self.scopes.pop().unwrap_or_default();
        for (var, (_, extent)) in vars.iter().zip(dims).rev() {
            inner = vec![Stmt::For { var: *var, extent: *extent, kind, body: inner }];
        }
        for stmt in inner {
            self.push(stmt);
        }
    }

    /// Binds `floor(a / by)`.
    pub fn div(&mut self, name: &str, a: impl Into<Affine>, by: i64) -> Var {
        self.idx(name, IdxExpr::Div(a.into(), by))
    }

    /// Binds `a mod by`.
    pub fn modulo(&mut self, name: &str, a: impl Into<Affine>, by: i64) -> Var {
        self.idx(name, IdxExpr::Mod(a.into(), by))
    }

    /// Binds an element of a table.
    pub fn lookup(&mut self, name: &str, table: TableId, at: impl Into<Affine>) -> Var {
        self.idx(name, IdxExpr::Table(table, at.into()))
    }

    /// Binds an index variable.
    pub fn idx(&mut self, name: &str, value: IdxExpr) -> Var {
        let var = self.var(name);
        self.push(Stmt::Idx { var, value });
        var
    }

    /// Runs `then` where every condition is `>= 0`.
    pub fn if_(&mut self, conds: Vec<Affine>, then: impl FnOnce(&mut Self)) {
        self.scopes.push(Vec::new());
        then(self);
        let then = self.scopes.pop().unwrap_or_default();
        self.push(Stmt::If { conds, then });
    }

    /// Declares a register.
    pub fn let_(&mut self, value: impl Into<Expr>) -> Reg {
        let reg = Reg(self.nest.regs);
        self.nest.regs += 1;
        self.push(Stmt::Let { reg, value: value.into() });
        reg
    }

    /// Assigns a register.
    pub fn set(&mut self, reg: Reg, value: impl Into<Expr>) {
        self.push(Stmt::Set { reg, value: value.into() });
    }

    /// An element of a buffer.
    pub fn load(&self, buf: Buf, at: &[Affine]) -> Expr {
        debug_assert_eq!(at.len(), self.nest.bufs[buf.index()].dims.len(), "one index per dimension");
        Expr::Load { buf, at: at.to_vec() }
    }

    /// Stores into a buffer.
    pub fn store(&mut self, buf: Buf, at: &[Affine], value: impl Into<Expr>) {
        self.push(Stmt::Store { buf, at: at.to_vec(), value: value.into() });
    }

    /// The finished nest.
    pub fn finish(mut self) -> Nest {
        self.nest.body = self.scopes.pop().unwrap_or_default();
        self.nest
    }

    fn var(&mut self, name: &str) -> Var {
        self.nest.vars.push(name.to_owned());
        Var(self.nest.vars.len() as u32 - 1)
    }

    fn push(&mut self, stmt: Stmt) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(stmt);
        }
    }
}
