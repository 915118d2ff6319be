//! Statements and loops to Cranelift IR.
//!
//! A jam loop makes *copies*: everything in scope holds one value per copy, and each statement below is written once for all
//! copies, side by side; a serial loop below it is written once, with the copies of its body inside. Loop-carried registers,
//! induction pointers and the counter are block parameters. Short straight bodies are unrolled in order, so sums never change.

use std::collections::BTreeMap;

use cranelift_codegen::ir::{
    Block, BlockArg, GlobalValue, InstBuilder, MemFlagsData, Type, Value, condcodes::IntCC, types,
};
use cranelift_frontend::FunctionBuilder;

use super::Emitted;
use super::address::{Address, ELEMENT, Key};
use super::index::{Binding, Bound, Int};
use super::scan;
use crate::loops::{Affine, Buf, LANES, LoopKind, Nest, Reg, Stmt, TableId, Var};

/// What is in scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Env {
    /// How many copies jam loops have made.
    pub(super) copies: usize,
    /// Index variables.
    pub(super) vars: Vec<Option<Bound>>,
    /// Registers: a value per copy.
    pub(super) regs: Vec<Option<Vec<Value>>>,
    /// Pointers: a value per copy.
    pub(super) pointers: BTreeMap<Key, Vec<Value>>,
    /// Whether a vector loop is open.
    pub(super) vector: bool,
}

/// What the emitter must know of the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// `fma` is an instruction.
    pub(super) fma: bool,
    /// `round` to an integer is an instruction.
    pub(super) round: bool,
}

/// The function under construction.
pub(super) struct Emitter<'a, 'f> {
    pub(super) b: FunctionBuilder<'f>,
    pub(super) nest: &'a Nest,
    pub(super) features: Features,
    pub(super) env: Env,
    /// Addresses of the integer tables, as symbols.
    tables: Vec<GlobalValue>,
    /// Loads and splats of the block being written, to share between copies.
    pub(super) loaded: BTreeMap<(Address, bool), Value>,
    pub(super) splats: BTreeMap<Value, Value>,
    range: (Value, Value),
}

/// How far a loop goes.
#[derive(Clone, Copy, Debug)]
enum Span {
    /// From 0 to this.
    Known(i64),
    /// From one value to another, perhaps nowhere, below the given extent.
    Handed(Value, Value, i64),
}

/// Copies beyond which a jam loop is emitted as a serial one: no register file holds more.
const MAX_COPIES: usize = 64;

/// Expression nodes up to which a body is repeated by unrolling.
const UNROLL_BUDGET: usize = 240;

impl<'a, 'f> Emitter<'a, 'f> {
    /// Writes the whole function into `b`. `tables` holds one symbol per table of the nest.
    pub(super) fn function(
        mut b: FunctionBuilder<'f>,
        nest: &'a Nest,
        features: Features,
        tables: Vec<GlobalValue>,
    ) -> Emitted<FunctionBuilder<'f>> {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let (args, begin, end) = match b.block_params(entry) {
            [args, begin, end] => (*args, *begin, *end),
            _ => return Err("a function of the wrong signature"),
        };
        let mut pointers = BTreeMap::new();
        let mut used = vec![false; nest.bufs.len()];
        scan::accesses(&nest.body, &mut |buf, _| {
            if let Some(u) = used.get_mut(buf.index()) {
                *u = true;
            }
        });
        for (i, _) in used.iter().enumerate().filter(|u| *u.1) {
            let flags = MemFlagsData::new().with_notrap().with_aligned();
            let pointer = b.ins().load(types::I64, flags, args, (i * 8) as i32);
            pointers.insert(Key { buf: Buf(i as u32), terms: Vec::new() }, vec![pointer]);
        }
        let env = Env {
            copies: 1,
            vars: vec![None; nest.vars.len()],
            regs: vec![None; nest.regs as usize],
            pointers,
            ..Env::default()
        };
        let mut this = Emitter {
            b,
            nest,
            features,
            env,
            tables,
            loaded: BTreeMap::new(),
            splats: BTreeMap::new(),
            range: (begin, end),
        };
        this.stmts(&nest.body)?;
        this.b.ins().return_(&[]);
        this.b.seal_all_blocks();
        Ok(this.b)
    }

    /// The address of a table.
    pub(super) fn table(&mut self, t: TableId) -> Emitted<Value> {
        let symbol = *self.tables.get(t.index()).ok_or("an unknown table")?;
        Ok(self.b.ins().symbol_value(types::I64, symbol))
    }

    fn stmts(&mut self, stmts: &[Stmt]) -> Emitted<()> {
        for (i, stmt) in stmts.iter().enumerate() {
            match stmt {
                Stmt::For { var, extent, kind, body } => self.for_(*var, *extent, *kind, body)?,
                Stmt::Idx { var, value } => {
                    let bound = self.bind_idx(value)?;
                    self.bind(*var, bound.clone())?;
                    if let Binding::Dyn(values, _) = &bound.value {
                        self.extend_pointers(*var, values, &stmts[i + 1..])?;
                    }
                }
                Stmt::If { conds, then } => self.if_(conds, then)?,
                Stmt::Let { reg, value } => {
                    let values = self.values(value)?;
                    *self.env.regs.get_mut(reg.index()).ok_or("an unknown register")? = Some(values);
                }
                Stmt::Set { reg, value } => {
                    let values = self.values(value)?;
                    let slot = self.env.regs.get_mut(reg.index()).ok_or("an unknown register")?;
                    *slot.as_mut().ok_or("a register assigned out of scope")? = values;
                }
                Stmt::Store { buf, at, value } => self.store(*buf, at, value)?,
            }
        }
        Ok(())
    }

    fn bind(&mut self, var: Var, bound: Bound) -> Emitted<()> {
        *self.env.vars.get_mut(var.index()).ok_or("an unknown index variable")? = Some(bound);
        Ok(())
    }

    /// Continues in `block`; nothing computed so far is shared with it.
    fn switch_to(&mut self, block: Block) {
        self.b.switch_to_block(block);
        self.loaded.clear();
        self.splats.clear();
    }

    /// Runs `f` in a scope: what it binds is forgotten, what it assigns to outer registers stays.
    fn scoped(&mut self, f: impl FnOnce(&mut Self) -> Emitted<()>) -> Emitted<()> {
        let mut saved = self.env.clone();
        f(self)?;
        for (outer, inner) in saved.regs.iter_mut().zip(&mut self.env.regs) {
            if outer.is_some() {
                *outer = inner.take();
            }
        }
        self.env = saved;
        Ok(())
    }

    fn for_(&mut self, var: Var, extent: usize, kind: LoopKind, body: &[Stmt]) -> Emitted<()> {
        let size = i64::try_from(extent).map_err(|_| "a loop beyond 2^63")?;
        if extent == 0 {
            return Ok(());
        }
        let depends = scan::dependents(body, var);
        match kind {
            LoopKind::Jam if !depends.condition && self.env.copies * extent <= MAX_COPIES => {
                self.jam(var, extent, body)
            }
            LoopKind::Vec if extent == LANES && !self.env.vector && !depends.condition && !depends.index => {
                self.scoped(|s| {
                    s.bind(var, Bound { value: Binding::Lane, range: (0, LANES as i64 - 1) })?;
                    s.env.vector = true;
                    s.stmts(body)
                })
            }
            LoopKind::Par => self.par(var, size, body),
            LoopKind::Jam | LoopKind::Vec | LoopKind::Serial | LoopKind::Free => self.serial(var, size, body),
        }
    }

    /// Replicates everything in scope.
    fn jam(&mut self, var: Var, extent: usize, body: &[Stmt]) -> Emitted<()> {
        let saved = self.env.clone();
        fn spread<T: Clone>(values: &mut Vec<T>, times: usize) {
            *values = values.iter().flat_map(|v| std::iter::repeat_n(v.clone(), times)).collect();
        }
        let env = &mut self.env;
        for bound in env.vars.iter_mut().flatten() {
            match &mut bound.value {
                Binding::Const(values) => spread(values, extent),
                Binding::Dyn(values, _) => spread(values, extent),
                Binding::Lane => {}
            }
        }
        env.regs.iter_mut().flatten().for_each(|values| spread(values, extent));
        env.pointers.values_mut().for_each(|values| spread(values, extent));
        let own = (0..env.copies).flat_map(|_| 0..extent as i64).collect();
        env.copies *= extent;
        self.bind(var, Bound { value: Binding::Const(own), range: (0, extent as i64 - 1) })?;
        self.stmts(body)?;
        self.env = saved;
        Ok(())
    }

    /// The part of a parallel loop that the caller asked for, as [`crate::loops::share`] defines it.
    fn par(&mut self, var: Var, extent: i64, body: &[Stmt]) -> Emitted<()> {
        let chunks = i64::try_from(self.nest.chunks()).map_err(|_| "a loop beyond 2^63")?;
        let (begin, end) = self.range;
        let mut part = |v: Value| {
            if chunks == extent {
                return v;
            }
            let turns = self.b.ins().imul_imm_s(v, extent);
            self.floor_div(turns, chunks, (0, extent.saturating_mul(chunks)))
        };
        let (lo, hi) = (part(begin), part(end));
        self.looped(var, Span::Handed(lo, hi, extent), 1, body)
    }

    /// One turn after another, perhaps several per jump.
    fn serial(&mut self, var: Var, extent: i64, body: &[Stmt]) -> Emitted<()> {
        let times = self.unrolling(extent, body);
        let rolled = if times >= extent { 0 } else { extent - extent % times };
        if rolled > 0 {
            self.looped(var, Span::Known(rolled), times, body)?;
        }
        for turn in rolled..extent {
            self.scoped(|s| {
                let value = Binding::Const(vec![turn; s.env.copies]);
                s.bind(var, Bound { value, range: (turn, turn) })?;
                s.stmts(body)
            })?;
        }
        Ok(())
    }

    /// How many turns of a loop to write per jump.
    fn unrolling(&self, extent: i64, body: &[Stmt]) -> i64 {
        if extent == 1 {
            return 1;
        }
        let Some(size) = scan::straight_size(body) else { return 1 };
        let size = size.saturating_mul(self.env.copies).max(1);
        let fits = |times: i64| size.saturating_mul(times as usize) <= UNROLL_BUDGET;
        if extent <= 8 && fits(extent) {
            return extent;
        }
        [4, 3, 2]
            .into_iter()
            .filter(|t| *t < extent && fits(*t))
            .min_by_key(|t| (extent % t, -t))
            .unwrap_or(1)
    }

    fn looped(&mut self, var: Var, span: Span, step: i64, body: &[Stmt]) -> Emitted<()> {
        self.scoped(|s| {
            let carried = s.carried(body);
            let keys = s.keys_with(var, body)?;
            let head = Head::open(s, var, span, &carried, &keys, scan::wants_value(body, var))?;
            for turn in 0..step {
                s.scoped(|s| {
                    if let Some(Bound { value: Binding::Dyn(_, plus), .. }) = &mut s.env.vars[var.index()] {
                        *plus = turn;
                    }
                    s.stmts(body)
                })?;
            }
            head.close(s, &carried, step)
        })
    }

    /// Registers from outside that `body` assigns.
    fn carried(&self, body: &[Stmt]) -> Vec<Reg> {
        let mut regs = Vec::new();
        scan::assigned(body, &mut regs);
        regs.retain(|r| matches!(self.env.regs.get(r.index()), Some(Some(_))));
        regs
    }

    /// The values of `regs`, of every copy.
    fn flat(&self, regs: &[Reg]) -> Vec<Value> {
        regs.iter().filter_map(|r| self.env.regs[r.index()].as_ref()).flatten().copied().collect()
    }

    /// Gives `regs` the values in `from`, in the order of [`Emitter::flat`].
    fn unflat(&mut self, regs: &[Reg], from: &[Value]) {
        let mut from = from.iter().copied();
        for r in regs {
            for value in self.env.regs[r.index()].iter_mut().flatten() {
                *value = from.next().unwrap_or(*value);
            }
        }
    }

    /// A new block with parameters of the types of `values`.
    fn block_like(&mut self, values: &[Value]) -> Block {
        let block = self.b.create_block();
        for v in values {
            let ty: Type = self.b.func.dfg.value_type(*v);
            self.b.append_block_param(block, ty);
        }
        block
    }

    fn if_(&mut self, conds: &[Affine], then: &[Stmt]) -> Emitted<()> {
        let mut tests = Vec::new();
        for cond in conds {
            let (lo, hi) = self.range(cond)?;
            if hi < 0 {
                return Ok(());
            }
            if lo >= 0 {
                continue;
            }
            // No condition depends on a jam or vector variable, so every copy gives the same.
            match self.affine(cond, 0)? {
                Int::Known(k) if k < 0 => return Ok(()),
                Int::Known(_) => {}
                Int::Value(v) => tests.push(v),
            }
        }
        if tests.is_empty() {
            return self.scoped(|s| s.stmts(then));
        }
        let carried = self.carried(then);
        let before = self.flat(&carried);
        let join = self.block_like(&before);
        for test in tests {
            let next = self.b.create_block();
            let holds = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, test, 0);
            self.b.ins().brif(holds, next, &[], join, &args(&before));
            self.switch_to(next);
        }
        self.scoped(|s| s.stmts(then))?;
        let after = self.flat(&carried);
        self.b.ins().jump(join, &args(&after));
        self.switch_to(join);
        let joined = self.b.block_params(join).to_vec();
        self.unflat(&carried, &joined);
        Ok(())
    }

    /// Whether the nest never writes `buf`.
    pub(super) fn readonly(&self, buf: Buf) -> bool {
        self.nest.bufs.get(buf.index()).is_some_and(|b| !b.writable)
    }
}

fn args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|v| BlockArg::Value(*v)).collect()
}

/// An open loop.
struct Head {
    block: Block,
    exit: Block,
    /// Induction pointers with their step in bytes per turn.
    pointers: Vec<(Value, i64)>,
    counter: Option<Value>,
    end: End,
}

/// When a loop is over.
#[derive(Clone, Copy)]
enum End {
    /// The counter has reached a constant.
    Count(i64),
    /// The counter has reached a value.
    Value(Value),
    /// The first pointer has reached this one.
    Pointer(Value),
}

impl Head {
    fn open(
        s: &mut Emitter<'_, '_>,
        var: Var,
        span: Span,
        carried: &[Reg],
        keys: &[Key],
        wanted: bool,
    ) -> Emitted<Head> {
        let (low, extent) = match span {
            Span::Known(extent) => (None, extent),
            Span::Handed(low, _, extent) => (Some(low), extent),
        };
        // Where each pointer starts; copies with one start share the pointer.
        let mut starts: Vec<(Value, i64)> = Vec::new();
        let mut places: Vec<(Key, Vec<usize>)> = Vec::new();
        for key in keys {
            let (parent, coefficient) = key.without(var);
            let parents = s.pointers(&parent)?.clone();
            let mut made: Vec<(Value, usize)> = Vec::new();
            let mut place = Vec::with_capacity(parents.len());
            for p in parents {
                let at = match made.iter().find(|m| m.0 == p) {
                    Some(m) => m.1,
                    None => {
                        let start = match low {
                            None => p,
                            Some(low) => {
                                let bytes = s.scaled(low, coefficient * ELEMENT);
                                s.b.ins().iadd(p, bytes)
                            }
                        };
                        starts.push((start, coefficient * ELEMENT));
                        made.push((p, starts.len() - 1));
                        starts.len() - 1
                    }
                };
                place.push(at);
            }
            places.push((key.clone(), place));
        }
        let end = match (span, starts.first()) {
            (Span::Known(extent), Some((start, bytes))) if !wanted => {
                let last = s.b.ins().iadd_imm_s(*start, bytes * extent);
                End::Pointer(last)
            }
            (Span::Known(extent), _) => End::Count(extent),
            (Span::Handed(_, high, _), _) => End::Value(high),
        };
        let counts = !matches!(end, End::Pointer(_));
        let first = match low {
            Some(low) => low,
            None => s.b.ins().iconst(types::I64, 0),
        };
        let registers = s.flat(carried);
        let mut initial = registers.clone();
        initial.extend(starts.iter().map(|p| p.0));
        if counts {
            initial.push(first);
        }
        let block = s.block_like(&initial);
        let exit = s.block_like(&registers);
        match span {
            Span::Known(_) => {
                s.b.ins().jump(block, &args(&initial));
            }
            Span::Handed(low, high, _) => {
                let some = s.b.ins().icmp(IntCC::SignedLessThan, low, high);
                s.b.ins().brif(some, block, &args(&initial), exit, &args(&registers));
            }
        }
        s.switch_to(block);
        let params = s.b.block_params(block).to_vec();
        s.unflat(carried, &params[..registers.len()]);
        let pointers: Vec<(Value, i64)> =
            params[registers.len()..].iter().zip(&starts).map(|(p, start)| (*p, start.1)).collect();
        for (key, place) in places {
            s.env.pointers.insert(key, place.iter().map(|i| pointers[*i].0).collect());
        }
        let counter = if counts { params.last().copied() } else { None };
        let values = counter.map_or(Vec::new(), |c| vec![c; s.env.copies]);
        s.bind(var, Bound { value: Binding::Dyn(values, 0), range: (0, extent - 1) })?;
        Ok(Head { block, exit, pointers, counter, end })
    }

    /// Steps what steps, and jumps back or on.
    fn close(self, s: &mut Emitter<'_, '_>, carried: &[Reg], step: i64) -> Emitted<()> {
        let registers = s.flat(carried);
        let mut next = registers.clone();
        for (p, bytes) in &self.pointers {
            next.push(s.b.ins().iadd_imm_s(*p, bytes * step));
        }
        let counter = self.counter.map(|c| s.b.ins().iadd_imm_s(c, step));
        next.extend(counter);
        let first_pointer = next.get(registers.len()).copied();
        let more = match (self.end, counter, first_pointer) {
            (End::Count(extent), Some(c), _) => s.b.ins().icmp_imm_s(IntCC::SignedLessThan, c, extent),
            (End::Value(high), Some(c), _) => s.b.ins().icmp(IntCC::SignedLessThan, c, high),
            (End::Pointer(last), _, Some(p)) => s.b.ins().icmp(IntCC::NotEqual, p, last),
            (End::Count(_) | End::Value(_), None, _) | (End::Pointer(_), _, None) => {
                return Err("a loop without an end");
            }
        };
        s.b.ins().brif(more, self.block, &args(&next), self.exit, &args(&registers));
        s.switch_to(self.exit);
        let params = s.b.block_params(self.exit).to_vec();
        s.unflat(carried, &params);
        Ok(())
    }
}
