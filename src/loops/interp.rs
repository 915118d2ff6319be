//! Runs a nest as its definition says, for tests and for machines without a code generator. In: a nest, its buffers, a
//! range of chunks; out: the buffers changed, or why it cannot run. Every access is checked against its buffer's length.
//!
//! Iterations that are independent by the kind of their loop may run side by side, up to [`SIDE_BY_SIDE`] at once: each
//! step of the walk then works on as many lanes, which is what makes a walk over a tree fast enough for networks. A
//! loop whose variable occurs in a condition or in an `Idx` runs one iteration after another.

use std::ops::Range;

use super::walk::each;
use super::{Affine, BinOp, Buf, Cmp, Expr, IdxExpr, LoopKind, Nest, Stmt, UnOp, Var, share};

/// Most iterations taken at once.
const SIDE_BY_SIDE: usize = 256;

/// Runs the chunks `range` of [`Nest::chunks`]; `fma` says whether `Fma` rounds once.
///
/// # Errors
/// Buffers that do not fit the nest, or an access outside its buffer.
pub fn run(nest: &Nest, bufs: &mut [Vec<f32>], range: Range<usize>, fma: bool) -> Result<(), String> {
    if bufs.len() != nest.bufs.len() {
        return Err(format!("nest `{}` takes {} buffers, not {}", nest.name, nest.bufs.len(), bufs.len()));
    }
    for (decl, buf) in nest.bufs.iter().zip(&*bufs) {
        if buf.len() < decl.len {
            return Err(format!("buffer `{}` needs {} elements, not {}", decl.name, decl.len, buf.len()));
        }
    }
    let expanded;
    let nest = if nest.bufs.iter().any(|b| b.block.is_some()) {
        expanded = super::blocks::expanded(nest);
        &expanded
    } else {
        nest
    };
    let body = Compiler { nest, lanes: Vec::new() }.block(&nest.body);
    let slots = nest.regs as usize + TEMPS;
    let mut machine = Machine {
        nest,
        bufs,
        range,
        chunks: nest.chunks(),
        fma,
        n: 1,
        env: vec![0; nest.vars.len()],
        slots: vec![0.0; slots * SIDE_BY_SIDE],
    };
    machine.block(&body)
}

/// Runs the whole nest.
///
/// # Errors
/// As [`run`].
pub fn run_all(nest: &Nest, bufs: &mut [Vec<f32>], fma: bool) -> Result<(), String> {
    run(nest, bufs, 0..nest.chunks(), fma)
}

/// Room for operands of an expression; one per level of nesting is needed.
const TEMPS: usize = 64;

/// `k + Σ c * v` in the order of the machine's needs, and how much each lane adds.
struct Linear {
    terms: Vec<(usize, i64)>,
    k: i64,
    /// What each lane adds; empty if all lanes agree.
    lanes: Vec<i64>,
    /// The least and the greatest of `lanes`.
    span: (i64, i64),
}

struct Place {
    buf: usize,
    at: Linear,
}

enum Code {
    Const(f32),
    Reg(usize),
    Load(Place),
    Index(Linear),
    Un(UnOp, Box<Code>),
    Bin(BinOp, Box<[Code; 2]>),
    Fma(Box<[Code; 3]>),
    Select(Cmp, Box<[Code; 4]>),
}

enum Node<'n> {
    Loop {
        var: usize,
        extent: usize,
        par: bool,
        body: Vec<Node<'n>>,
    },
    /// Runs `body` with all lanes of the loops taken at once, `step` iterations of `strip` at a time, each of `inner` lanes.
    Lanes {
        strip: Option<(usize, usize)>,
        step: usize,
        inner: usize,
        outer_regs: Vec<usize>,
        body: Vec<Node<'n>>,
    },
    Idx {
        var: usize,
        value: &'n IdxExpr,
    },
    If {
        conds: &'n [Affine],
        then: Vec<Node<'n>>,
    },
    Set {
        reg: usize,
        value: Code,
    },
    /// `reg = a * b + reg`, which is nearly all that networks do.
    Add {
        reg: usize,
        a: Place,
        b: Place,
    },
    Store {
        place: Place,
        value: Code,
    },
}

struct Compiler<'n> {
    nest: &'n Nest,
    /// The variables that differ between lanes, slowest first, with their extents in lanes.
    lanes: Vec<(Var, usize)>,
}

impl<'n> Compiler<'n> {
    fn block(&mut self, stmts: &'n [Stmt]) -> Vec<Node<'n>> {
        stmts.iter().map(|s| self.stmt(s)).collect()
    }

    fn stmt(&mut self, s: &'n Stmt) -> Node<'n> {
        match s {
            Stmt::For { var, extent, kind, body } => {
                let free = !matches!(kind, LoopKind::Serial | LoopKind::Par);
                if let Some(node) = if free { self.side_by_side(s) } else { None } {
                    return node;
                }
                let par = *kind == LoopKind::Par;
                Node::Loop { var: var.index(), extent: *extent, par, body: self.block(body) }
            }
            Stmt::Idx { var, value } => Node::Idx { var: var.index(), value },
            Stmt::If { conds, then } => Node::If { conds, then: self.block(then) },
            Stmt::Let { reg, value } | Stmt::Set { reg, value } => {
                let reg = reg.index();
                match self.code(value) {
                    Code::Fma(operands) => match *operands {
                        [Code::Load(a), Code::Load(b), Code::Reg(c)] if c == reg => Node::Add { reg, a, b },
                        operands => Node::Set { reg, value: Code::Fma(Box::new(operands)) },
                    },
                    value => Node::Set { reg, value },
                }
            }
            Stmt::Store { buf, at, value } => {
                Node::Store { place: self.place(*buf, at), value: self.code(value) }
            }
        }
    }

    /// Takes a perfect nest of independent loops at once, as far as its variables allow.
    fn side_by_side(&mut self, s: &'n Stmt) -> Option<Node<'n>> {
        let mut chain: Vec<(Var, usize)> = Vec::new();
        let mut body = std::slice::from_ref(s);
        while let [Stmt::For { var, extent, kind, body: inner }] = body
            && *kind != LoopKind::Serial
        {
            chain.push((*var, *extent));
            body = inner;
        }
        let (mut leaf, mut steering) = (true, Vec::new());
        each(body, &mut |s| match s {
            Stmt::For { kind, .. } => leaf &= *kind == LoopKind::Serial,
            Stmt::If { conds, then: _ } => steering.extend(conds),
            Stmt::Idx { value, var: _ } => steering.push(value.affine()),
            Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {}
        });
        if !leaf || chain.iter().any(|(_, extent)| *extent == 0) {
            return None;
        }
        let fits = |v: &(Var, usize)| !steering.iter().any(|a| a.has(v.0));
        let mut inner = 1;
        let mut strip: Option<(Var, usize)> = None;
        let mut scalar = Vec::new();
        self.lanes.clear();
        for v in chain.iter().rev() {
            if fits(v) && inner * v.1 <= SIDE_BY_SIDE {
                inner *= v.1;
                self.lanes.insert(0, *v);
            } else if fits(v) && strip.is_none() && inner * 2 <= SIDE_BY_SIDE {
                strip = Some(*v);
            } else {
                scalar.push(*v);
            }
        }
        let step = strip.map_or(1, |(_, extent)| extent.min(SIDE_BY_SIDE / inner));
        if let Some((v, _)) = strip {
            self.lanes.insert(0, (v, step));
        }
        let strip = strip.map(|(v, extent)| (v.index(), extent));
        let outer_regs = outer_regs(body);
        let lanes = Node::Lanes { strip, step, inner, outer_regs, body: self.block(body) };
        self.lanes.clear();
        Some(scalar.into_iter().fold(lanes, |node, (var, extent)| Node::Loop {
            var: var.index(),
            extent,
            par: false,
            body: vec![node],
        }))
    }

    fn linear(&self, a: &Affine) -> Linear {
        let lane = |v: Var| self.lanes.iter().any(|(lane, _)| *lane == v);
        // The strip's variable holds its first iteration; the others stay 0 and only their lanes count.
        let terms = a.terms.iter().map(|(v, c)| (v.index(), *c)).collect();
        let mut lanes = Vec::new();
        if a.terms.iter().any(|(v, _)| lane(*v)) {
            lanes.push(0);
            for (v, extent) in &self.lanes {
                let c = a.coefficient(*v);
                lanes = lanes.iter().flat_map(|at| (0..*extent as i64).map(move |i| at + c * i)).collect();
            }
        }
        let least_greatest = lanes.iter().copied().min().zip(lanes.iter().copied().max());
        Linear { terms, k: a.k, lanes, span: least_greatest.unwrap_or((0, 0)) }
    }

    fn place(&self, buf: Buf, at: &[Affine]) -> Place {
        Place { buf: buf.index(), at: self.linear(&self.nest.bufs[buf.index()].offset(at)) }
    }

    fn code(&self, e: &Expr) -> Code {
        match e {
            Expr::Const(x) => Code::Const(*x),
            Expr::Reg(r) => Code::Reg(r.index()),
            Expr::Load { buf, at } => Code::Load(self.place(*buf, at)),
            Expr::Index(a) => Code::Index(self.linear(a)),
            Expr::Un(op, a) => Code::Un(*op, Box::new(self.code(a))),
            Expr::Bin(op, a, b) => Code::Bin(*op, Box::new([a, b].map(|e| self.code(e)))),
            Expr::Fma(a, b, c) => Code::Fma(Box::new([a, b, c].map(|e| self.code(e)))),
            Expr::Select { cmp, a, b, then, other } => {
                Code::Select(*cmp, Box::new([a, b, then, other].map(|e| self.code(e))))
            }
        }
    }
}

/// Registers that `body` reads without declaring them.
fn outer_regs(body: &[Stmt]) -> Vec<usize> {
    let (mut read, mut declared) = (Vec::new(), Vec::new());
    each(body, &mut |s| {
        if let Stmt::Let { reg, value: _ } = s {
            declared.push(reg.index());
        }
        if let Some(e) = s.expr() {
            e.each(&mut |e| {
                if let Expr::Reg(r) = e {
                    read.push(r.index());
                }
            });
        }
    });
    read.sort_unstable();
    read.dedup();
    read.retain(|r| !declared.contains(r));
    read
}

struct Machine<'m> {
    nest: &'m Nest,
    bufs: &'m mut [Vec<f32>],
    range: Range<usize>,
    chunks: usize,
    fma: bool,
    /// Lanes at work.
    n: usize,
    env: Vec<i64>,
    /// Registers, then temporaries, [`SIDE_BY_SIDE`] lanes each.
    slots: Vec<f32>,
}

type Run = Result<(), String>;

impl Machine<'_> {
    fn block(&mut self, nodes: &[Node<'_>]) -> Run {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node<'_>) -> Run {
        match node {
            Node::Loop { var, extent, par, body } => {
                let all = 0..*extent;
                let turns = if *par { share(*extent, self.range.clone(), self.chunks) } else { all };
                for i in turns {
                    if *par {
                        self.forget();
                    }
                    self.env[*var] = i as i64;
                    self.block(body)?;
                }
                Ok(())
            }
            Node::Lanes { strip, step, inner, outer_regs, body } => {
                for r in outer_regs {
                    let at = r * SIDE_BY_SIDE;
                    let value = self.slots[at];
                    self.slots[at..at + SIDE_BY_SIDE].fill(value);
                }
                let (var, extent) = strip.map_or((None, 1), |(var, extent)| (Some(var), extent));
                for first in (0..extent).step_by(*step) {
                    if let Some(var) = var {
                        self.env[var] = first as i64;
                    }
                    self.n = inner * (extent - first).min(*step);
                    self.block(body)?;
                }
                self.n = 1;
                // Lane variables are 0 between their uses: `linear` counts on it.
                if let Some(var) = var {
                    self.env[var] = 0;
                }
                Ok(())
            }
            Node::Idx { var, value } => {
                self.env[*var] = match value {
                    IdxExpr::Div(a, by) => self.affine(a).div_euclid(*by),
                    IdxExpr::Mod(a, by) => self.affine(a).rem_euclid(*by),
                    IdxExpr::Table(t, a) => {
                        let at = usize::try_from(self.affine(a)).ok();
                        let table = self.nest.tables.get(t.index());
                        let found = at.and_then(|at| table.and_then(|t| t.get(at)));
                        *found.ok_or_else(|| format!("nest `{}` reads outside table {t}", self.nest.name))?
                    }
                };
                Ok(())
            }
            Node::If { conds, then } => {
                if conds.iter().all(|c| self.affine(c) >= 0) {
                    self.block(then)
                } else {
                    Ok(())
                }
            }
            Node::Set { reg, value } => {
                let temp = self.nest.regs as usize;
                self.eval(value, temp)?;
                let (to, from) = (reg * SIDE_BY_SIDE, temp * SIDE_BY_SIDE);
                self.slots.copy_within(from..from + self.n, to);
                Ok(())
            }
            Node::Add { reg, a, b } => {
                let (first_a, first_b) = (self.first(a)?, self.first(b)?);
                let sums = &mut self.slots[reg * SIDE_BY_SIDE..][..self.n];
                let (x, y) = (&self.bufs[a.buf][..], &self.bufs[b.buf][..]);
                let fma = self.fma;
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = x[(first_a + a.at.lanes.get(i).unwrap_or(&0)) as usize];
                    let y = y[(first_b + b.at.lanes.get(i).unwrap_or(&0)) as usize];
                    *sum = if fma { x.mul_add(y, *sum) } else { x * y + *sum };
                }
                Ok(())
            }
            Node::Store { place, value } => {
                let temp = self.nest.regs as usize;
                self.eval(value, temp)?;
                let first = self.first(place)?;
                let values = &self.slots[temp * SIDE_BY_SIDE..][..self.n];
                let buf = &mut self.bufs[place.buf];
                if place.at.lanes.is_empty() {
                    buf[first as usize] = values[self.n - 1];
                } else {
                    for (x, lane) in values.iter().zip(&place.at.lanes) {
                        buf[(first + lane) as usize] = *x;
                    }
                }
                Ok(())
            }
        }
    }

    /// A turn that is shared out finds nothing of use in private buffers.
    fn forget(&mut self) {
        for (decl, buf) in self.nest.bufs.iter().zip(&mut *self.bufs) {
            if decl.is_private() {
                buf.fill(f32::NAN);
            }
        }
    }

    fn affine(&self, a: &Affine) -> i64 {
        a.terms.iter().fold(a.k, |sum, (v, c)| sum + c * self.env[v.index()])
    }

    fn linear(&self, l: &Linear) -> i64 {
        l.terms.iter().fold(l.k, |sum, (v, c)| sum + c * self.env[*v])
    }

    /// Position of lane 0, all lanes being inside the buffer.
    fn first(&self, place: &Place) -> Result<i64, String> {
        let first = self.linear(&place.at);
        let len = self.bufs[place.buf].len() as i64;
        let (least, greatest) = place.at.span;
        if first + least >= 0 && first + greatest < len {
            return Ok(first);
        }
        // A last, shorter strip has fewer lanes.
        let lanes = place.at.lanes.get(..self.n).unwrap_or(&[0]);
        match lanes.iter().find(|l| !(0..len).contains(&(first + **l))) {
            None => Ok(first),
            Some(l) => {
                let (nest, buf, at) = (&self.nest.name, &self.nest.bufs[place.buf].name, first + l);
                Err(format!("nest `{nest}` touches element {at} of `{buf}`, which has {len}"))
            }
        }
    }

    /// The lanes of slot `to`, and those of slot `to + 1`.
    fn pair(&mut self, to: usize) -> (&mut [f32], &[f32]) {
        let (a, b) = self.slots[to * SIDE_BY_SIDE..].split_at_mut(SIDE_BY_SIDE);
        (&mut a[..self.n], &b[..self.n])
    }

    fn eval(&mut self, code: &Code, to: usize) -> Run {
        let n = self.n;
        let at = to * SIDE_BY_SIDE;
        if at + SIDE_BY_SIDE > self.slots.len() {
            return Err(format!("nest `{}` has an expression of more than {TEMPS} levels", self.nest.name));
        }
        match code {
            Code::Const(x) => self.slots[at..at + n].fill(*x),
            Code::Reg(r) => self.slots.copy_within(r * SIDE_BY_SIDE..r * SIDE_BY_SIDE + n, at),
            Code::Load(place) => {
                let first = self.first(place)?;
                let (buf, out) = (&self.bufs[place.buf], &mut self.slots[at..at + n]);
                if place.at.lanes.is_empty() {
                    out.fill(buf[first as usize]);
                } else {
                    for (x, lane) in out.iter_mut().zip(&place.at.lanes) {
                        *x = buf[(first + lane) as usize];
                    }
                }
            }
            Code::Index(l) => {
                let first = self.linear(l);
                for (i, x) in self.slots[at..at + n].iter_mut().enumerate() {
                    *x = (first + l.lanes.get(i).unwrap_or(&0)) as f32;
                }
            }
            Code::Un(op, a) => {
                self.eval(a, to)?;
                self.slots[at..at + n].iter_mut().for_each(|x| *x = un(*op, *x));
            }
            Code::Bin(op, operands) => {
                self.eval(&operands[0], to)?;
                self.eval(&operands[1], to + 1)?;
                let (a, b) = self.pair(to);
                bin(*op, a, b);
            }
            Code::Fma(operands) => {
                self.operands(&operands[..], to)?;
                let fma = self.fma;
                let (a, rest) = self.slots[at..].split_at_mut(SIDE_BY_SIDE);
                let (b, c) = rest.split_at(SIDE_BY_SIDE);
                for ((a, b), c) in a[..n].iter_mut().zip(b).zip(c) {
                    *a = if fma { a.mul_add(*b, *c) } else { *a * *b + *c };
                }
            }
            Code::Select(cmp, operands) => {
                self.operands(&operands[..], to)?;
                for i in at..at + n {
                    let [a, b, then, other] = [0, 1, 2, 3].map(|o| self.slots[i + o * SIDE_BY_SIDE]);
                    self.slots[i] = if holds(*cmp, a, b) { then } else { other };
                }
            }
        }
        Ok(())
    }

    fn operands(&mut self, codes: &[Code], to: usize) -> Run {
        codes.iter().enumerate().try_for_each(|(i, code)| self.eval(code, to + i))
    }
}

/// One function of one operand.
pub fn un(op: UnOp, x: f32) -> f32 {
    match op {
        UnOp::Neg => -x,
        UnOp::Abs => x.abs(),
        UnOp::Sqrt => x.sqrt(),
        UnOp::Floor => x.floor(),
        UnOp::Ceil => x.ceil(),
        UnOp::Round => x.round_ties_even(),
        UnOp::Exp => libm::expf(x),
        UnOp::Log => libm::logf(x),
        UnOp::Tanh => libm::tanhf(x),
        UnOp::Erf => libm::erff(x),
    }
}

fn bin(op: BinOp, a: &mut [f32], b: &[f32]) {
    let lanes = a.iter_mut().zip(b);
    match op {
        BinOp::Add => lanes.for_each(|(a, b)| *a += *b),
        BinOp::Sub => lanes.for_each(|(a, b)| *a -= *b),
        BinOp::Mul => lanes.for_each(|(a, b)| *a *= *b),
        BinOp::Div => lanes.for_each(|(a, b)| *a /= *b),
        BinOp::Min => lanes.for_each(|(a, b)| *a = if *a < *b { *a } else { least(*b, *a) }),
        BinOp::Max => lanes.for_each(|(a, b)| *a = if *a > *b { *a } else { greatest(*b, *a) }),
        BinOp::Pow => lanes.for_each(|(a, b)| *a = libm::powf(*a, *b)),
    }
}

/// The smaller; NaN if either is; `-0.0 < 0.0`.
fn least(a: f32, b: f32) -> f32 {
    if a < b {
        a
    } else if b < a {
        b
    } else if a == b {
        f32::from_bits(a.to_bits() | b.to_bits())
    } else {
        f32::NAN
    }
}

/// The greater; NaN if either is; `-0.0 < 0.0`.
fn greatest(a: f32, b: f32) -> f32 {
    if a > b {
        a
    } else if b > a {
        b
    } else if a == b {
        f32::from_bits(a.to_bits() & b.to_bits())
    } else {
        f32::NAN
    }
}

fn holds(cmp: Cmp, a: f32, b: f32) -> bool {
    match cmp {
        Cmp::Lt => a < b,
        Cmp::Le => a <= b,
        Cmp::Gt => a > b,
        Cmp::Ge => a >= b,
        Cmp::Eq => a == b,
        Cmp::Ne => a != b,
    }
}
