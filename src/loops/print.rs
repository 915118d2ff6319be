//! A nest as text. In: a nest; out: text that [`super::parse`] turns back into an equal nest, constants to the last bit.
//!
//! ```text
//! nest "step_1" {
//!   regs 2
//!   vars n, oh, ow, k.3, k.4
//!   buf x in [1 *0, 8(1,1) *9] base 9 len 90
//!   buf y out [1 *0, 8 *1] base 0 len 8
//!   table t0 = [0, 2, 1]
//!   par oh in 0..8 {
//!     let r0 = 0.0
//!     serial k.3 in 0..3 {
//!       set r0 = fma(x[0, oh + k.3 - 1], 2.0, r0)
//!     }
//!     store y[0, oh] = max(r0, 0.0)
//!   }
//! }
//! ```
//! A dimension of a buffer is `extent(halo before, halo after) *stride`, with ` by size *stride` if it lies in blocks. A variable that shares its name with another
//! one carries its number; a name that is no identifier stands quoted where it is declared.

use std::fmt::{self, Write};

use super::{Affine, BinOp, Cmp, Expr, IdxExpr, LoopKind, Nest, Stmt, UnOp, Var};

/// The whole nest.
pub fn print(nest: &Nest) -> String {
    let mut p = Printer { nest, names: Names::of(nest), out: String::new() };
    // Writing to a string cannot fail.
    let _ = p.nest();
    p.out
}

impl fmt::Display for Nest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

/// What listings and messages call the variables and buffers of one nest.
#[derive(Clone, Debug)]
pub struct Names {
    vars: Vec<String>,
    bufs: Vec<String>,
}

impl Names {
    /// Labels for one nest: a name where it is an identifier and unique, else with its number behind.
    pub fn of(nest: &Nest) -> Self {
        let bufs: Vec<&str> = nest.bufs.iter().map(|b| &*b.name).collect();
        let vars: Vec<&str> = nest.vars.iter().map(|v| &**v).collect();
        Self { vars: labels(&vars), bufs: labels(&bufs) }
    }

    /// A variable.
    pub fn var(&self, v: Var) -> &str {
        self.vars.get(v.index()).map_or("?", |s| s)
    }

    /// `2*ow + kw - 1`
    pub fn affine(&self, a: &Affine) -> String {
        let mut out = String::new();
        for (v, c) in &a.terms {
            let sign = match (out.is_empty(), *c < 0) {
                (true, true) => "-",
                (true, false) => "",
                (false, true) => " - ",
                (false, false) => " + ",
            };
            out.push_str(sign);
            if c.unsigned_abs() != 1 {
                let _ = write!(out, "{}*", c.unsigned_abs());
            }
            out.push_str(self.var(*v));
        }
        let _ = match (out.is_empty(), a.k) {
            (true, k) => write!(out, "{k}"),
            (false, 0) => Ok(()),
            (false, k) => write!(out, " {} {}", if k < 0 { '-' } else { '+' }, k.unsigned_abs()),
        };
        out
    }
}

fn labels(names: &[&str]) -> Vec<String> {
    let times = |name: &str| names.iter().filter(|n| **n == name).count();
    let label = |(i, name): (usize, &&str)| match (is_identifier(name), times(name)) {
        (true, 1) => (*name).to_owned(),
        (true, _) => format!("{name}.{i}"),
        (false, _) => format!("_.{i}"),
    };
    names.iter().enumerate().map(label).collect()
}

/// Whether a name can stand unquoted. Register names are excepted, so that `r3` means only one thing.
fn is_identifier(s: &str) -> bool {
    let mut chars = s.chars();
    let register = s.len() > 1 && s.starts_with('r') && s[1..].bytes().all(|b| b.is_ascii_digit());
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !register
}

/// The word for a kind of loop.
pub(super) fn kind_name(kind: LoopKind) -> &'static str {
    match kind {
        LoopKind::Serial => "serial",
        LoopKind::Free => "free",
        LoopKind::Par => "par",
        LoopKind::Jam => "jam",
        LoopKind::Vec => "vec",
    }
}

/// Functions of one operand, as they are written.
pub(super) const UN_OPS: [(&str, UnOp); 10] = [
    ("neg", UnOp::Neg),
    ("abs", UnOp::Abs),
    ("sqrt", UnOp::Sqrt),
    ("floor", UnOp::Floor),
    ("ceil", UnOp::Ceil),
    ("round", UnOp::Round),
    ("exp", UnOp::Exp),
    ("log", UnOp::Log),
    ("tanh", UnOp::Tanh),
    ("erf", UnOp::Erf),
];

/// Functions of two operands, as they are written: `(a + b)`, `min(a, b)`.
pub(super) const BIN_OPS: [(&str, BinOp); 7] = [
    ("+", BinOp::Add),
    ("-", BinOp::Sub),
    ("*", BinOp::Mul),
    ("/", BinOp::Div),
    ("min", BinOp::Min),
    ("max", BinOp::Max),
    ("pow", BinOp::Pow),
];

/// Comparisons, as they are written.
pub(super) const CMPS: [(&str, Cmp); 6] =
    [("<", Cmp::Lt), ("<=", Cmp::Le), (">", Cmp::Gt), (">=", Cmp::Ge), ("==", Cmp::Eq), ("!=", Cmp::Ne)];

fn word<T: PartialEq + Copy>(table: &[(&'static str, T)], x: T) -> &'static str {
    table.iter().find(|(_, y)| *y == x).map_or("?", |(word, _)| word)
}

struct Printer<'n> {
    nest: &'n Nest,
    names: Names,
    out: String,
}

impl Printer<'_> {
    fn nest(&mut self) -> fmt::Result {
        let nest = self.nest;
        writeln!(self.out, "nest {:?} {{\n  regs {}", nest.name, nest.regs)?;
        if !nest.vars.is_empty() {
            let show = |(label, name): (&String, &String)| quoted(label, name);
            let vars: Vec<String> = self.names.vars.iter().zip(&nest.vars).map(show).collect();
            writeln!(self.out, "  vars {}", vars.join(", "))?;
        }
        for (b, label) in nest.bufs.iter().zip(&self.names.bufs) {
            let dims: Vec<String> = b
                .dims
                .iter()
                .enumerate()
                .map(|(i, d)| {
                    let halo =
                        if d.halo == (0, 0) { String::new() } else { format!("({},{})", d.halo.0, d.halo.1) };
                    let block = b.block.filter(|b| b.dim == i);
                    let block = block.map_or(String::new(), |b| format!(" by {} *{}", b.size, b.stride));
                    format!("{}{halo} *{}{block}", d.extent, d.stride)
                })
                .collect();
            let way = match (b.writable, b.uncached) {
                (false, _) => "in",
                (true, false) => "out",
                (true, true) => "out uncached",
            };
            let name = quoted(label, &b.name);
            writeln!(self.out, "  buf {name} {way} [{}] base {} len {}", dims.join(", "), b.base, b.len)?;
        }
        for (i, t) in nest.tables.iter().enumerate() {
            let values: Vec<String> = t.iter().map(i64::to_string).collect();
            writeln!(self.out, "  table t{i} = [{}]", values.join(", "))?;
        }
        self.block(&nest.body, 1)?;
        writeln!(self.out, "}}")
    }

    fn block(&mut self, stmts: &[Stmt], depth: usize) -> fmt::Result {
        for s in stmts {
            write!(self.out, "{:1$}", "", 2 * depth)?;
            match s {
                Stmt::For { var, extent, kind, body } => {
                    writeln!(self.out, "{} {} in 0..{extent} {{", kind_name(*kind), self.names.var(*var))?;
                    self.block(body, depth + 1)?;
                    writeln!(self.out, "{:1$}}}", "", 2 * depth)?;
                }
                Stmt::If { conds, then } => {
                    let conds: Vec<String> = conds.iter().map(|c| self.names.affine(c) + " >= 0").collect();
                    writeln!(self.out, "if {} {{", conds.join(", "))?;
                    self.block(then, depth + 1)?;
                    writeln!(self.out, "{:1$}}}", "", 2 * depth)?;
                }
                Stmt::Idx { var, value } => {
                    let a = self.names.affine(value.affine());
                    let value = match value {
                        IdxExpr::Div(_, by) => format!("({a}) div {by}"),
                        IdxExpr::Mod(_, by) => format!("({a}) mod {by}"),
                        IdxExpr::Table(t, _) => format!("{t}[{a}]"),
                    };
                    writeln!(self.out, "idx {} = {value}", self.names.var(*var))?;
                }
                Stmt::Let { reg, value } => {
                    write!(self.out, "let {reg} = ")?;
                    self.line(value)?;
                }
                Stmt::Set { reg, value } => {
                    write!(self.out, "set {reg} = ")?;
                    self.line(value)?;
                }
                Stmt::Store { buf, at, value } => {
                    write!(self.out, "store {} = ", self.place(buf.index(), at))?;
                    self.line(value)?;
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, e: &Expr) -> fmt::Result {
        self.expr(e)?;
        self.out.write_char('\n')
    }

    fn place(&self, buf: usize, at: &[Affine]) -> String {
        let at: Vec<String> = at.iter().map(|a| self.names.affine(a)).collect();
        format!("{}[{}]", self.names.bufs.get(buf).map_or("?", |s| s), at.join(", "))
    }

    fn expr(&mut self, e: &Expr) -> fmt::Result {
        match e {
            Expr::Const(x) => self.out.write_str(&constant(*x)),
            Expr::Reg(r) => write!(self.out, "{r}"),
            Expr::Load { buf, at } => {
                let place = self.place(buf.index(), at);
                self.out.write_str(&place)
            }
            Expr::Index(a) => write!(self.out, "index({})", self.names.affine(a)),
            Expr::Un(op, a) => self.list(&format!("{}(", word(&UN_OPS, *op)), ", ", &[a]),
            Expr::Bin(op, a, b) => match op {
                BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Div => {
                    self.list("(", &format!(" {} ", word(&BIN_OPS, *op)), &[a, b])
                }
                BinOp::Min | BinOp::Max | BinOp::Pow => {
                    self.list(&format!("{}(", word(&BIN_OPS, *op)), ", ", &[a, b])
                }
            },
            Expr::Fma(a, b, c) => self.list("fma(", ", ", &[a, b, c]),
            Expr::Select { cmp, a, b, then, other } => {
                self.out.write_str("select(")?;
                self.expr(a)?;
                write!(self.out, " {} ", word(&CMPS, *cmp))?;
                self.expr(b)?;
                self.list(", ", ", ", &[then, other])
            }
        }
    }

    fn list(&mut self, open: &str, between: &str, es: &[&Expr]) -> fmt::Result {
        self.out.write_str(open)?;
        for (i, e) in es.iter().enumerate() {
            if i > 0 {
                self.out.write_str(between)?;
            }
            self.expr(e)?;
        }
        self.out.write_char(')')
    }
}

fn quoted(label: &str, name: &str) -> String {
    if is_identifier(name) { label.to_owned() } else { format!("{label} {name:?}") }
}

/// A constant that reads back as the same bits: `1.5`, `-0.0`, `1e-7`, `inf`, `-inf`, `nan(0x7fc00000)`.
pub(super) fn constant(x: f32) -> String {
    if x.is_nan() { format!("nan({:#x})", x.to_bits()) } else { format!("{x:?}") }
}
