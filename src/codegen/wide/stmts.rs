//! Statements and loops.
//!
//! Straight statements that stand together are written copy by copy (iterations of jam and vector loops are independent), so
//! that what one copy needs for itself lives briefly. Loops around them are written once.

use super::ints::Int;
use super::{Binding, Env, Shape, Wide};
use crate::codegen::Emitted;
use crate::codegen::scan;
use crate::kernels::x86::inst::{Arg, Cond, G, Inst, Width};
use crate::loops::{Affine, LoopKind, Stmt, Var};

/// Copies beyond which a jam or vector loop is written as a serial one: no register file holds more.
const MAX_COPIES: usize = 64;

/// Expression nodes up to which a body is repeated by unrolling.
const UNROLL_BUDGET: usize = 1000;

impl Wide<'_> {
    /// An outermost statement; every one begins with nothing but the arguments.
    pub(super) fn outermost(&mut self, stmt: &Stmt) -> Emitted<()> {
        self.base_pointers(std::slice::from_ref(stmt));
        match stmt {
            Stmt::For { var, extent, kind: LoopKind::Par, body } if *extent > 0 => {
                self.par(*var, *extent, body)
            }
            _ => self.stmts(std::slice::from_ref(stmt)),
        }
    }

    fn stmts(&mut self, stmts: &[Stmt]) -> Emitted<()> {
        let mut bound = Vec::new();
        let mut i = 0;
        while i < stmts.len() {
            match &stmts[i] {
                Stmt::For { var, extent, kind, body } => {
                    self.for_(*var, *extent, *kind, body)?;
                    self.env.vars[var.index()] = None;
                }
                Stmt::Idx { var, value } => {
                    if let Some(values) = self.bind_idx(*var, value)? {
                        self.extend_pointers(*var, &values, &stmts[i + 1..])?;
                    }
                    bound.push(*var);
                }
                Stmt::If { conds, then } => self.if_(conds, then)?,
                Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {
                    let straight =
                        |s: &Stmt| matches!(s, Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. });
                    let end = stmts[i..].iter().position(|s| !straight(s)).map_or(stmts.len(), |n| i + n);
                    self.straight(&stmts[i..end])?;
                    i = end;
                    continue;
                }
            }
            i += 1;
        }
        for var in bound {
            self.env.vars[var.index()] = None;
            self.env.pointers.retain(|key, _| key.terms.iter().all(|t| t.0 != var));
        }
        Ok(())
    }

    fn for_(&mut self, var: Var, extent: usize, kind: LoopKind, body: &[Stmt]) -> Emitted<()> {
        let size = i64::try_from(extent).map_err(|_| "a loop beyond 2^63")?;
        if extent == 0 {
            return Ok(());
        }
        let depends = scan::dependents(body, var);
        match kind {
            LoopKind::Jam if !depends.condition && self.copies() * extent <= MAX_COPIES => {
                let own = vec![None; extent];
                self.replicate(var, extent, &own, body)
            }
            LoopKind::Vec if !self.env.vector && !depends.condition && !depends.index => {
                let lanes = self.unit.lanes();
                let parts: Vec<Option<usize>> =
                    (0..extent).step_by(lanes).map(|first| Some(lanes.min(extent - first))).collect();
                if self.copies() * parts.len() > MAX_COPIES {
                    return self.serial(var, size, body);
                }
                self.replicate(var, extent, &parts, body)
            }
            LoopKind::Par => Err("a parallel loop inside another"),
            LoopKind::Jam | LoopKind::Vec | LoopKind::Serial | LoopKind::Free => self.serial(var, size, body),
        }
    }

    /// Replicates everything in scope: once per turn of a jam loop, or per vector of a vector loop, whose lanes `parts` say.
    fn replicate(&mut self, var: Var, extent: usize, parts: &[Option<usize>], body: &[Stmt]) -> Emitted<()> {
        fn repeat<T: Clone>(values: &mut Vec<T>, times: usize) {
            *values = values.iter().flat_map(|v| std::iter::repeat_n(v.clone(), times)).collect();
        }
        let saved = self.env.clone();
        let times = parts.len();
        let Env { shapes, vars, regs, pointers, vector } = &mut self.env;
        let copies = shapes.len();
        for bound in vars.iter_mut().flatten() {
            match &mut bound.value {
                Binding::Const(values) | Binding::Lane(values) => repeat(values, times),
                Binding::Dyn(values, _) => repeat(values, times),
            }
        }
        regs.iter_mut().flatten().for_each(|(_, values)| repeat(values, times));
        pointers.values_mut().for_each(|values| repeat(values, times));
        let range = (0, extent as i64 - 1);
        if parts.iter().any(Option::is_some) {
            let shape = |n: &Option<usize>| {
                let lanes = n.unwrap_or(1);
                Shape { width: Width::of(lanes), lanes: lanes as u8 }
            };
            *shapes = (0..copies).flat_map(|_| parts.iter().map(shape)).collect();
            *vector = true;
            let step = self.unit.lanes() as i64;
            let first = (0..copies).flat_map(|_| (0..times as i64).map(|t| t * step)).collect();
            self.bind(var, Binding::Lane(first), range)?;
        } else {
            repeat(shapes, times);
            let own = (0..copies).flat_map(|_| 0..extent as i64).collect();
            self.bind(var, Binding::Const(own), range)?;
        }
        self.stmts(body)?;
        self.env = saved;
        Ok(())
    }

    /// The part of a parallel loop that the caller asked for, as [`crate::loops::share`] defines it.
    fn par(&mut self, var: Var, extent: usize, body: &[Stmt]) -> Emitted<()> {
        let (extent, chunks) = (extent as i64, self.nest.chunks() as i64);
        let mut part = |arg| {
            let dst = self.code.integer();
            self.code.push(Inst::Arg { dst, arg });
            if chunks != extent {
                self.code.push(Inst::MulImm { dst, src: dst, value: extent });
                self.floor_div(dst, chunks, (0, extent.saturating_mul(chunks)));
            }
            dst
        };
        let (low, high) = (part(Arg::Begin), part(Arg::End));
        let done = self.code.label();
        self.code.push(Inst::JumpCmp { reg: low, cond: Cond::Ge, other: high, label: done });
        let stepped = self.step_pointers(var, Some(low), body)?;
        let counter = self.scaled(low, 1);
        self.bind(var, Binding::Dyn(vec![counter; self.copies()], 0), (0, extent - 1))?;
        let head = self.code.label();
        self.code.push(Inst::Open);
        self.code.push(Inst::Bind { label: head });
        self.forget();
        self.stmts(body)?;
        for (reg, value) in &stepped.pointers {
            self.code.push(Inst::AddImm { reg: *reg, value: *value });
        }
        self.code.push(Inst::AddImm { reg: counter, value: 1 });
        self.code.push(Inst::JumpCmp { reg: counter, cond: Cond::Lt, other: high, label: head });
        self.code.push(Inst::Close);
        self.code.push(Inst::Bind { label: done });
        self.forget();
        self.env.vars[var.index()] = None;
        self.take_back(stepped, None);
        Ok(())
    }

    /// One turn after another, perhaps several per jump.
    fn serial(&mut self, var: Var, extent: i64, body: &[Stmt]) -> Emitted<()> {
        let times = self.unrolling(extent, body);
        if times >= extent {
            return self.turns(var, 0..extent, extent - 1, body, None);
        }
        let rolled = extent - extent % times;
        let wanted = scan::wants_value(body, var);
        let counter = self.code.integer();
        self.code.push(Inst::Imm { dst: counter, value: if wanted { 0 } else { rolled / times } });
        let stepped = self.step_pointers(var, None, body)?;
        let head = self.code.label();
        self.code.push(Inst::Open);
        self.code.push(Inst::Bind { label: head });
        self.forget();
        let values = wanted.then_some(counter);
        if times == 1 {
            self.ask_ahead(var, extent, (counter, wanted), body)?;
        }
        self.turns(var, 0..times, extent - 1, body, Some(values))?;
        for (reg, bytes) in &stepped.pointers {
            self.code.push(Inst::AddImm { reg: *reg, value: bytes * times });
        }
        if wanted {
            self.code.push(Inst::AddImm { reg: counter, value: times });
            let value = i32::try_from(rolled).map_err(|_| "a loop beyond 2^31")?;
            self.code.push(Inst::JumpIf { reg: counter, cond: Cond::Lt, value, label: head });
        } else {
            self.code.push(Inst::CountDown { reg: counter, label: head });
        }
        self.code.push(Inst::Close);
        self.forget();
        // The rest goes on where the pointers and the counter have come to.
        self.turns(var, 0..extent - rolled, extent - 1, body, Some(values))?;
        self.take_back(stepped, Some(rolled));
        Ok(())
    }

    /// Turns written one after another, counted from a register, or from where pointers have come to, or known.
    fn turns(
        &mut self,
        var: Var,
        turns: std::ops::Range<i64>,
        high: i64,
        body: &[Stmt],
        from: Option<Option<G>>,
    ) -> Emitted<()> {
        for turn in turns {
            let (value, range) = match from {
                None => (Binding::Const(vec![turn; self.copies()]), (turn, turn)),
                Some(None) => (Binding::Dyn(Vec::new(), turn), (0, high)),
                Some(Some(g)) => (Binding::Dyn(vec![g; self.copies()], turn), (0, high)),
            };
            self.bind(var, value, range)?;
            self.stmts(body)?;
        }
        Ok(())
    }

    /// How many turns of a loop to write per jump.
    fn unrolling(&self, extent: i64, body: &[Stmt]) -> i64 {
        if extent == 1 {
            return 1;
        }
        let Some(size) = scan::straight_size(body) else { return 1 };
        let size = size.saturating_mul(self.copies()).max(1);
        let most = (UNROLL_BUDGET / size).min(16) as i64;
        if extent <= most {
            return extent;
        }
        // As many as divide the turns, or else a few with a rest.
        let divides = (2..=most).rev().find(|t| extent % t == 0 && *t * 2 > most.min(8));
        divides.unwrap_or(most.clamp(1, 4))
    }

    fn if_(&mut self, conds: &[Affine], then: &[Stmt]) -> Emitted<()> {
        let done = self.code.label();
        for cond in conds {
            let (lo, hi) = self.range(cond)?;
            if hi < 0 {
                self.code.push(Inst::Bind { label: done });
                return Ok(());
            }
            if lo >= 0 {
                continue;
            }
            // No condition depends on a jam or vector variable, so every copy gives the same.
            match self.affine(cond, 0)? {
                Int::Known(k) if k < 0 => {
                    self.code.push(Inst::Bind { label: done });
                    return Ok(());
                }
                Int::Known(_) => {}
                Int::Value(reg) => {
                    self.code.push(Inst::JumpIf { reg, cond: Cond::Lt, value: 0, label: done })
                }
            }
        }
        self.forget();
        self.stmts(then)?;
        self.code.push(Inst::Bind { label: done });
        self.forget();
        Ok(())
    }

    /// Statements without loops and conditions, in every copy.
    fn straight(&mut self, stmts: &[Stmt]) -> Emitted<()> {
        self.forget();
        let order = self.plan_loads(stmts)?;
        for stmt in stmts {
            if let Stmt::Let { reg, value: _ } = stmt {
                let fresh = (0..self.copies()).map(|_| self.code.vector()).collect();
                *self.env.regs.get_mut(reg.index()).ok_or("an unknown register")? =
                    Some((self.env.vector, fresh));
            }
        }
        for copy in order {
            for stmt in stmts {
                match stmt {
                    Stmt::Let { reg, value } | Stmt::Set { reg, value } => self.assign(*reg, value, copy)?,
                    Stmt::Store { buf, at, value } => self.store(*buf, at, value, copy)?,
                    Stmt::For { .. } | Stmt::Idx { .. } | Stmt::If { .. } => {}
                }
            }
        }
        Ok(())
    }
}
