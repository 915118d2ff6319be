//! The rules of the loop IR, proved for one nest. In: a nest; out: nothing, or every breach as a sentence that names the
//! place. A breach is a bug of whoever made the nest, never of a user.
//!
//! Checked: names are bound once and used in scope; buffers lie inside their length and writable ones do not overlap
//! themselves; every access, table and divisor is in range (by [`super::range`]); stores go to writable buffers only;
//! `Par` stands outermost, all or none, and no `Par` loop touches what another one stores; iterations of all but
//! `Serial` loops are independent; private dimensions are filled anew by each turn (by [`super::private`]); `Jam` and `Vec` bodies hold only what these kinds allow. Not checked: values.

use super::print::Names;
use super::range::{Facts, Interval};
use super::{Affine, Buf, BufDecl, Expr, IdxExpr, LANES_MAX, LoopKind, Nest, Reg, Stmt, Var};

/// Checks every rule of [`super`].
///
/// # Errors
/// All breaches, each as a sentence.
pub fn verify(nest: &Nest) -> Result<(), Vec<String>> {
    let mut v = Verifier {
        nest,
        names: Names::of(nest),
        facts: Facts::new(nest.vars.len()),
        vars: vec![false; nest.vars.len()],
        regs: vec![Binding::Unbound; nest.regs as usize],
        open: Vec::new(),
        errors: Vec::new(),
    };
    for decl in &nest.bufs {
        v.buffer(decl);
    }
    v.block(&nest.body);
    if v.errors.is_empty() {
        // These look at names and accesses that are known to be well formed by now.
        v.errors.extend(super::independent::check(nest));
        v.errors.extend(super::private::breaches(nest));
    }
    if v.errors.is_empty() { Ok(()) } else { Err(v.errors) }
}

#[derive(Clone, Copy, PartialEq)]
enum Binding {
    Unbound,
    /// In scope; declared inside this many loops.
    Open(usize),
    Closed,
}

/// A loop around the point of interest.
struct Open {
    var: Var,
    kind: LoopKind,
    /// Which variables depend on the counter: itself, and what `Idx` derives from it.
    derived: Vec<Var>,
}

struct Verifier<'n> {
    nest: &'n Nest,
    names: Names,
    facts: Facts,
    /// Whether a variable has been bound already.
    vars: Vec<bool>,
    regs: Vec<Binding>,
    open: Vec<Open>,
    errors: Vec<String>,
}

impl Verifier<'_> {
    fn error(&mut self, what: impl std::fmt::Display) {
        let path: Vec<String> =
            self.open.iter().map(|o| format!("`for {}`", self.names.var(o.var))).collect();
        let place = if path.is_empty() { String::new() } else { format!(", in {}", path.join(" ")) };
        self.errors.push(format!("nest `{}`{place}: {what}", self.nest.name));
    }

    fn buffer(&mut self, b: &BufDecl) {
        if let Some(block) = b.block {
            let cut = b
                .dims
                .get(block.dim)
                .filter(|d| d.halo == (0, 0) && block.size > 0 && d.extent % block.size == 0);
            let scheduled = self.nest.body.iter().any(|s| matches!(s, Stmt::For { kind: LoopKind::Par, .. }));
            if cut.is_none() || scheduled {
                return self
                    .error(format!("buffer `{}` lies in blocks that do not fit, or is scheduled", b.name));
            }
        }
        let dims = b.flat_dims();
        let mut span = Interval::new(i128::from(b.base), i128::from(b.base));
        for d in &dims {
            let ends =
                [-(d.halo.0 as i128), (d.extent + d.halo.1) as i128 - 1].map(|i| i * i128::from(d.stride));
            span.lo += ends[0].min(ends[1]);
            span.hi += ends[0].max(ends[1]);
        }
        let empty = dims.iter().any(|d| d.extent + d.halo.0 + d.halo.1 == 0);
        if !empty && (span.lo < 0 || span.hi >= b.len as i128) {
            self.error(format!("buffer `{}` of {} elements is addressed at {span}", b.name, b.len));
        }
        if b.writable && !empty {
            let total = |d: &super::DimDecl| d.extent + d.halo.0 + d.halo.1;
            let kept = |d: &&super::DimDecl| total(d) > 1 && (d.stride != 0 || d.halo != (0, 0));
            let mut dims: Vec<_> = dims.iter().filter(kept).collect();
            dims.sort_by_key(|d| d.stride.unsigned_abs());
            let mut reach = 1u128;
            for d in dims {
                if u128::from(d.stride.unsigned_abs()) < reach {
                    self.error(format!(
                        "buffer `{}`: elements of a dimension of stride {} overlap",
                        b.name, d.stride
                    ));
                }
                reach += u128::from(d.stride.unsigned_abs()) * (total(d) as u128 - 1);
            }
        }
    }

    fn block(&mut self, stmts: &[Stmt]) {
        let mark = self.facts.mark();
        let mut bound_vars = Vec::new();
        let mut bound_regs = Vec::new();
        for s in stmts {
            match s {
                Stmt::For { var, extent, kind, body } => self.for_(*var, *extent, *kind, body),
                Stmt::Idx { var, value } => {
                    self.idx(*var, value);
                    bound_vars.push(*var);
                }
                Stmt::If { conds, then } => self.if_(conds, then),
                Stmt::Let { reg, value } => {
                    self.expr(value);
                    self.declare(*reg);
                    bound_regs.push(*reg);
                }
                Stmt::Set { reg, value } => {
                    self.expr(value);
                    self.assign(*reg);
                }
                Stmt::Store { buf, at, value } => {
                    self.expr(value);
                    self.access(*buf, at, true);
                }
            }
        }
        self.facts.forget(mark);
        for v in bound_vars {
            self.facts.set(v, None);
        }
        for r in bound_regs {
            if let Some(b) = self.regs.get_mut(r.index()) {
                *b = Binding::Closed;
            }
        }
    }

    fn for_(&mut self, var: Var, extent: usize, kind: LoopKind, body: &[Stmt]) {
        self.kind_allowed(kind, extent);
        self.bind(var, Interval::new(0, extent as i128 - 1));
        self.open.push(Open { var, kind, derived: vec![var] });
        self.block(body);
        self.open.pop();
        self.facts.set(var, None);
    }

    fn kind_allowed(&mut self, kind: LoopKind, extent: usize) {
        let within = |k: LoopKind| self.open.iter().any(|o| o.kind == k);
        let wrong = match kind {
            LoopKind::Par if !self.open.is_empty() => Some("a `par` loop that is not outermost"),
            LoopKind::Vec if extent > LANES_MAX => {
                Some("a `vec` loop of more lanes than vectors side by side have")
            }
            _ if kind != LoopKind::Serial && within(LoopKind::Vec) => {
                Some("a loop that is not serial inside a `vec` loop")
            }
            LoopKind::Free if within(LoopKind::Jam) => Some("a `free` loop inside a `jam` loop"),
            LoopKind::Serial | LoopKind::Free | LoopKind::Par | LoopKind::Jam | LoopKind::Vec => None,
        };
        if let Some(wrong) = wrong {
            self.error(wrong);
        }
    }

    fn bind(&mut self, var: Var, range: Interval) {
        match self.vars.get_mut(var.index()) {
            None => self.error(format!("variable {var} is not declared")),
            Some(true) => self.error(format!("variable `{}` is bound twice", self.names.var(var))),
            Some(bound) => *bound = true,
        }
        self.facts.set(var, Some(range));
    }

    fn idx(&mut self, var: Var, value: &IdxExpr) {
        let a = value.affine();
        let range = self.interval(a, "an index variable");
        for i in 0..self.open.len() {
            if self.open[i].derived.iter().any(|v| a.has(*v)) {
                self.open[i].derived.push(var);
                if self.open[i].kind == LoopKind::Vec {
                    self.error(format!("index variable `{}` depends on a `vec` loop", self.names.var(var)));
                }
            }
        }
        let range = match (value, range) {
            (_, None) => Interval::new(0, 0),
            (_, Some(r)) if r.is_empty() => r,
            (IdxExpr::Div(_, by) | IdxExpr::Mod(_, by), _) if *by < 1 => {
                self.error(format!("a division by {by}"));
                Interval::new(0, 0)
            }
            (IdxExpr::Div(_, by), Some(r)) => {
                let by = i128::from(*by);
                Interval::new(r.lo.div_euclid(by), r.hi.div_euclid(by))
            }
            (IdxExpr::Mod(_, by), Some(r)) => {
                let by = i128::from(*by);
                let one_turn = r.lo.div_euclid(by) == r.hi.div_euclid(by);
                if one_turn {
                    Interval::new(r.lo.rem_euclid(by), r.hi.rem_euclid(by))
                } else {
                    Interval::new(0, by - 1)
                }
            }
            (IdxExpr::Table(t, at), Some(r)) => self.table(t.index(), at, r),
        };
        self.bind(var, range);
        self.facts.learn_idx(var, value);
    }

    fn table(&mut self, table: usize, at: &Affine, r: Interval) -> Interval {
        let none = Interval::new(0, 0);
        let Some(values) = self.nest.tables.get(table) else {
            self.error(format!("table {table} is not declared"));
            return none;
        };
        let inside = self.facts.proves(at) && self.facts.proves(&(at * -1).offset(values.len() as i64 - 1));
        if !inside && !self.facts.dead() {
            let at = self.names.affine(at);
            self.error(format!("`{at}` in {r} reads outside a table of {} values", values.len()));
        }
        let read =
            r.lo.clamp(0, values.len() as i128) as usize..(r.hi + 1).clamp(0, values.len() as i128) as usize;
        let read = values.get(read).unwrap_or(&[]);
        let all = read.iter().map(|x| Interval::new(i128::from(*x), i128::from(*x)));
        all.reduce(Interval::join).unwrap_or(none)
    }

    fn if_(&mut self, conds: &[Affine], then: &[Stmt]) {
        let mark = self.facts.mark();
        for c in conds {
            self.interval(c, "a condition");
            let bad = self.open.iter().find(|o| {
                matches!(o.kind, LoopKind::Jam | LoopKind::Vec) && o.derived.iter().any(|v| c.has(*v))
            });
            if let Some(o) = bad {
                let (c, v) = (self.names.affine(c), self.names.var(o.var));
                self.error(format!("the condition `{c} >= 0` depends on the `jam` or `vec` loop over `{v}`"));
            }
        }
        conds.iter().for_each(|c| self.facts.learn(c.clone()));
        self.block(then);
        self.facts.forget(mark);
    }

    fn declare(&mut self, reg: Reg) {
        let depth = self.open.len();
        match self.regs.get_mut(reg.index()) {
            None => self.error(format!("register {reg} is not declared")),
            Some(b @ Binding::Unbound) => *b = Binding::Open(depth),
            Some(Binding::Open(_) | Binding::Closed) => {
                self.error(format!("register {reg} is declared twice"))
            }
        }
    }

    fn assign(&mut self, reg: Reg) {
        let Some(Binding::Open(depth)) = self.regs.get(reg.index()).copied() else {
            return self.error(format!("register {reg} is set where it is not in scope"));
        };
        if let Some(o) = self.open[depth..].iter().find(|o| o.kind != LoopKind::Serial) {
            let var = self.names.var(o.var).to_owned();
            self.error(format!("register {reg} is set inside the loop over `{var}` and declared outside it"));
        }
    }

    fn expr(&mut self, e: &Expr) {
        let mut parts = Vec::new();
        e.each(&mut |e| parts.push(e));
        for e in parts {
            match e {
                Expr::Reg(r) => {
                    if !matches!(self.regs.get(r.index()), Some(Binding::Open(_))) {
                        self.error(format!("register {r} is read where it is not in scope"));
                    }
                }
                Expr::Load { buf, at } => self.access(*buf, at, false),
                Expr::Index(a) => {
                    self.interval(a, "an index as a number");
                    let vec = |o: &&Open| o.kind == LoopKind::Vec && o.derived.iter().any(|v| a.has(*v));
                    if self.open.iter().any(|o| vec(&o)) {
                        self.error(format!("`index({})` depends on a `vec` loop", self.names.affine(a)));
                    }
                }
                Expr::Const(_) | Expr::Un(..) | Expr::Bin(..) | Expr::Fma(..) | Expr::Select { .. } => {}
            }
        }
    }

    fn access(&mut self, buf: Buf, at: &[Affine], stores: bool) {
        let Some(decl) = self.nest.bufs.get(buf.index()) else {
            return self.error(format!("buffer {buf} is not declared"));
        };
        if stores && !decl.writable {
            self.error(format!("a store to the read-only buffer `{}`", decl.name));
        }
        if at.len() != decl.dims.len() {
            return self.error(format!("{} indices for `{}` of {}", at.len(), decl.name, decl.dims.len()));
        }
        if stores {
            self.stored_lanes(buf, at);
        }
        for (d, (a, dim)) in at.iter().zip(&decl.dims).enumerate() {
            let Some(r) = self.interval(a, "an index") else { continue };
            let (lo, hi) = (-(dim.halo.0 as i64), (dim.extent + dim.halo.1) as i64);
            let inside = self.facts.proves(&a.offset(-lo)) && self.facts.proves(&(a * -1).offset(hi - 1));
            if !inside && !r.is_empty() && !self.facts.dead() {
                let (kind, a) = (if stores { "store to" } else { "load from" }, self.names.affine(a));
                let name = &decl.name;
                let why =
                    format!("{kind} `{name}`: index {d}, `{a}`, takes values in {r}, outside {lo}..{hi}");
                self.error(format!("{why}, and no condition around it proves more"));
            }
        }
    }

    /// Lanes of a vector are stored side by side.
    fn stored_lanes(&mut self, buf: Buf, at: &[Affine]) {
        let Some(lane) = self.open.iter().find(|o| o.kind == LoopKind::Vec).map(|o| o.var) else { return };
        let stride = self.nest.bufs[buf.index()].offset(at).coefficient(lane);
        if stride != 1 {
            self.error(format!("lanes are stored {stride} elements apart"));
        }
    }

    fn interval(&mut self, a: &Affine, what: &str) -> Option<Interval> {
        let found = self.facts.interval(a);
        if found.is_none() {
            let unknown = a.terms.iter().find(|(v, _)| self.facts.range(*v).is_none());
            let unknown = unknown.map_or(String::new(), |(v, _)| self.names.var(*v).to_owned());
            self.error(format!(
                "{what}, `{}`, uses `{unknown}`, which is not in scope",
                self.names.affine(a)
            ));
        }
        found
    }
}
