//! The loop IR: nests of affine loops over buffers of `f32`, ready to become machine code.
//!
//! # Meaning
//!
//! A [`Nest`] is one compiled function over a list of buffers. Its body is a list of statements run in order.
//!
//! * **Index variables** are integers: loop counters (`0 <= v < extent`) and values bound by [`Stmt::Idx`]. Indices are
//!   [`Affine`] sums of them. **Registers** hold `f32`; `Let` declares one, `Set` assigns it again.
//! * A **loop** runs its body for each value in order. Its [`LoopKind`] never changes the result, only how it is emitted:
//!   `Free` (what lowering writes: iterations are independent, `schedule` decides; emitted as `Serial` if left), `Par`
//!   (see below), `Jam` (iterations are replicated side by side inside inner loops: unroll-and-jam), `Vec` (one lane per
//!   iteration, in as many vectors side by side as it takes), `Serial`. Iterations of all but `Serial` loops are independent: a register set inside is
//!   declared inside, no iteration reads or overwrites what another stores.
//!   `Jam` and `Vec` bodies hold no `If` that depends on their variable. `Vec` bodies hold no loop but `Serial`
//!   ones, and no `Idx` or [`Expr::Index`] that depends on their variable; a load may have any stride over lanes (0:
//!   broadcast, 1: a vector, else gathered), a store has stride 1.
//! * **Sharing out.** Either all outermost statements are `Par` loops, or no `Par` occurs at all (not scheduled). `Par`
//!   loops may differ in extent: [`Nest::chunks`] is the largest, and a caller who asks for `begin..end` of `chunks`
//!   gets [`share`] of each: `floor(extent * begin / chunks) .. floor(extent * end / chunks)`. An unscheduled nest is
//!   one chunk. Since nothing waits between outermost statements, no `Par` loop touches what another one stores.
//! * **Names are bound once**: every variable and register is bound by exactly one statement of the whole nest, and is
//!   visible from there to the end of the statement list that holds it.
//! * **Buffers** have dimensions with strides and, around each, a halo in which indices may fall. An access is a buffer
//!   and one index per dimension, each proved by the verifier to lie in `-lo .. extent + hi`.
//!   A dimension may lie cut into blocks ([`BufDecl::block`]) until the nest is scheduled. One of stride 0 in a writable buffer is
//!   [`private`]: what lies there lasts for one turn of the loop that counts it, and each thread has such a buffer for itself.
//! * Arithmetic is IEEE `f32`; `Fma` rounds once where the target has it, else twice; `Min`/`Max` give NaN if either side is
//!   (and of zeros of both signs either one).
//!
//! No operation's name occurs here.

pub mod blocks;
pub mod build;
pub mod independent;
pub mod interp;
pub mod parse;
pub mod pointwise;
pub mod print;
pub mod private;
#[cfg(test)]
pub(crate) mod random;
pub mod range;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod walk;

pub use verify::verify;

use crate::support::ids::id_type;
pub use crate::tensor::layout::Block;

id_type!(
    /// An index variable of one nest.
    Var, "i"
);
id_type!(
    /// A register of one nest.
    Reg, "r"
);
id_type!(
    /// A buffer of one nest: its position in the argument list.
    Buf, "b"
);
id_type!(
    /// A table of integers of one nest.
    TableId, "t"
);

/// One compiled function.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Nest {
    /// What messages and listings call it.
    pub name: String,
    /// Its arguments.
    pub bufs: Vec<BufDecl>,
    /// Integer tables that [`IdxExpr::Table`] reads.
    pub tables: Vec<Vec<i64>>,
    /// Names of index variables, for listings.
    pub vars: Vec<String>,
    /// Number of registers.
    pub regs: u32,
    /// What it does.
    pub body: Vec<Stmt>,
}

impl Nest {
    /// Into how many chunks the work can be cut: the largest extent of its `Par` loops, 1 without any.
    pub fn chunks(&self) -> usize {
        let par = |s: &Stmt| match s {
            Stmt::For { extent, kind: LoopKind::Par, var: _, body: _ } => Some(*extent),
            Stmt::For { .. } | Stmt::Idx { .. } | Stmt::If { .. } => None,
            Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => None,
        };
        self.body.iter().filter_map(par).max().unwrap_or(1).max(1)
    }
}

/// The iterations of a `Par` loop of `extent` that belong to `range` of `chunks`; machine code computes the same.
pub fn share(extent: usize, range: std::ops::Range<usize>, chunks: usize) -> std::ops::Range<usize> {
    extent * range.start / chunks..extent * range.end / chunks
}

/// A buffer argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufDecl {
    /// What listings call it.
    pub name: String,
    /// Logical dimensions.
    pub dims: Vec<DimDecl>,
    /// Element at index 0…0.
    pub base: i64,
    /// Elements in the buffer.
    pub len: usize,
    /// Whether the nest may store into it.
    pub writable: bool,
    /// Whether stores may go past the caches: the buffer begins at a cache line, is larger than what the caches hold until somebody reads
    /// it, and the nest does not read it. It changes no value.
    pub uncached: bool,
    /// The dimension that lies cut into blocks; its own stride is that within a block. Only nests that are not scheduled
    /// have one: [`blocks::expand`] makes two dimensions of it.
    pub block: Option<Block>,
}

impl BufDecl {
    /// The dimensions as they lie in memory, blocks for themselves.
    pub fn flat_dims(&self) -> Vec<DimDecl> {
        let mut dims = self.dims.clone();
        if let Some(Block { dim, size, stride }) = self.block {
            let blocks = dims[dim].extent / size.max(1);
            dims[dim].extent = size;
            dims.insert(dim, DimDecl { extent: blocks, stride, halo: (0, 0) });
        }
        dims
    }

    /// The dimensions whose elements share their memory (see [`private`]).
    pub fn private_dims(&self) -> impl Iterator<Item = usize> {
        // Strides of what holds nothing mean nothing.
        let counts = self.writable && self.dims.iter().all(|d| d.extent > 0);
        let shared = |d: &DimDecl| d.stride == 0 && d.extent > 1;
        self.dims.iter().enumerate().filter(move |(_, d)| counts && shared(d)).map(|(i, _)| i)
    }

    /// Whether each thread has such a buffer for itself.
    pub fn is_private(&self) -> bool {
        self.private_dims().next().is_some()
    }

    /// The position of an element, as an expression; of a buffer without blocks.
    pub fn offset(&self, at: &[Affine]) -> Affine {
        at.iter().zip(&self.dims).fold(Affine::k(self.base), |sum, (a, d)| &sum + &(a * d.stride))
    }
}

/// A dimension of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DimDecl {
    /// Extent without halo.
    pub extent: usize,
    /// Elements between neighbours.
    pub stride: i64,
    /// Halo before and after.
    pub halo: (usize, usize),
}

/// `k + Σ coefficient * variable`, terms sorted by variable, no zero coefficient.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Affine {
    /// Terms.
    pub terms: Vec<(Var, i64)>,
    /// The constant.
    pub k: i64,
}

/// A value bound to an index variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdxExpr {
    /// `floor(a / by)`, `by > 0`
    Div(Affine, i64),
    /// `a mod by`, in `0..by`
    Mod(Affine, i64),
    /// `tables[t][a]`
    Table(TableId, Affine),
}

/// How a loop is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopKind {
    /// One iteration after another: reductions, and whatever depends on an earlier turn.
    Serial,
    /// Independent iterations, not scheduled yet.
    Free,
    /// The range is handed out to threads; outermost statements of a nest only (see [`share`]).
    Par,
    /// Replicated side by side.
    Jam,
    /// Lanes of a vector, or of several side by side; extent at most [`LANES_MAX`].
    Vec,
}

/// Lanes of the portable vector (128 bits of `f32`).
pub const LANES: usize = 4;

/// Lanes that a vector loop may have: eight vectors of 512 bits.
pub const LANES_MAX: usize = 128;

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `for var in 0..extent`
    For {
        /// The counter.
        var: Var,
        /// How often.
        extent: usize,
        /// How emitted.
        kind: LoopKind,
        /// The body.
        body: Vec<Stmt>,
    },
    /// Binds an index variable.
    Idx {
        /// The variable.
        var: Var,
        /// Its value.
        value: IdxExpr,
    },
    /// Runs `then` where every condition is `>= 0`.
    If {
        /// The conditions.
        conds: Vec<Affine>,
        /// The body.
        then: Vec<Stmt>,
    },
    /// Declares a register.
    Let {
        /// The register.
        reg: Reg,
        /// Its first value.
        value: Expr,
    },
    /// Assigns a register that is in scope.
    Set {
        /// The register.
        reg: Reg,
        /// Its new value.
        value: Expr,
    },
    /// Stores into a buffer.
    Store {
        /// The buffer.
        buf: Buf,
        /// One index per dimension.
        at: Vec<Affine>,
        /// The value.
        value: Expr,
    },
}

/// A scalar expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant.
    Const(f32),
    /// A register.
    Reg(Reg),
    /// An element of a buffer.
    Load {
        /// The buffer.
        buf: Buf,
        /// One index per dimension.
        at: Vec<Affine>,
    },
    /// An index as a number.
    Index(Affine),
    /// One operand.
    Un(UnOp, Box<Expr>),
    /// Two operands.
    Bin(BinOp, Box<Expr>, Box<Expr>),
    /// `a * b + c`
    Fma(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `if a cmp b { then } else { other }`, both sides evaluated; a comparison with NaN is false (except `Ne`).
    Select {
        /// The comparison.
        cmp: Cmp,
        /// Its left side.
        a: Box<Expr>,
        /// Its right side.
        b: Box<Expr>,
        /// The value where it holds.
        then: Box<Expr>,
        /// The value where it does not.
        other: Box<Expr>,
    },
}

/// Functions of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in mathematics")]
pub enum UnOp {
    Neg,
    Abs,
    Sqrt,
    Floor,
    Ceil,
    /// To nearest, ties to even.
    Round,
    Exp,
    Log,
    Tanh,
    /// The Gauss error function.
    Erf,
}

impl UnOp {
    /// Whether processors have an instruction for it.
    pub fn is_simple(self) -> bool {
        match self {
            UnOp::Neg | UnOp::Abs | UnOp::Sqrt | UnOp::Floor | UnOp::Ceil | UnOp::Round => true,
            UnOp::Exp | UnOp::Log | UnOp::Tanh | UnOp::Erf => false,
        }
    }
}

/// Functions of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in mathematics")]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    /// `a ^ b` for `a >= 0`.
    Pow,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in mathematics")]
pub enum Cmp {
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

impl Affine {
    /// The constant `k`.
    pub fn k(k: i64) -> Self {
        Self { terms: Vec::new(), k }
    }

    /// `self + c * v`
    #[must_use]
    pub fn plus(&self, v: Var, c: i64) -> Self {
        let mut out = self.clone();
        match out.terms.binary_search_by_key(&v, |t| t.0) {
            Ok(i) => {
                out.terms[i].1 += c;
                if out.terms[i].1 == 0 {
                    out.terms.remove(i);
                }
            }
            Err(i) if c != 0 => out.terms.insert(i, (v, c)),
            Err(_) => {}
        }
        out
    }

    /// The coefficient of `v`.
    pub fn coefficient(&self, v: Var) -> i64 {
        self.terms.binary_search_by_key(&v, |t| t.0).map_or(0, |i| self.terms[i].1)
    }

    /// Whether no variable occurs.
    pub fn is_const(&self) -> bool {
        self.terms.is_empty()
    }
}

impl From<Var> for Affine {
    fn from(v: Var) -> Self {
        Self { terms: vec![(v, 1)], k: 0 }
    }
}

impl From<i64> for Affine {
    fn from(k: i64) -> Self {
        Self::k(k)
    }
}

impl std::ops::Add<&Affine> for &Affine {
    type Output = Affine;
    fn add(self, other: &Affine) -> Affine {
        let mut out = other.terms.iter().fold(self.clone(), |a, (v, c)| a.plus(*v, *c));
        out.k += other.k;
        out
    }
}

impl std::ops::Mul<i64> for &Affine {
    type Output = Affine;
    fn mul(self, by: i64) -> Affine {
        if by == 0 {
            return Affine::k(0);
        }
        Affine { terms: self.terms.iter().map(|(v, c)| (*v, c * by)).collect(), k: self.k * by }
    }
}

impl Affine {
    /// `self + k`
    #[must_use]
    pub fn offset(&self, k: i64) -> Affine {
        Affine { terms: self.terms.clone(), k: self.k + k }
    }

    /// `self - other`
    #[must_use]
    pub fn minus(&self, other: &Affine) -> Affine {
        self + &(other * -1)
    }
}

/// Short constructors for expressions; they do no folding.
impl Expr {
    /// `f(a)`
    #[must_use]
    pub fn un(op: UnOp, a: Expr) -> Expr {
        Expr::Un(op, Box::new(a))
    }

    /// `f(a, b)`
    #[must_use]
    pub fn bin(op: BinOp, a: Expr, b: Expr) -> Expr {
        Expr::Bin(op, Box::new(a), Box::new(b))
    }

    /// `a * b + c`
    #[must_use]
    pub fn fma(a: Expr, b: Expr, c: Expr) -> Expr {
        Expr::Fma(Box::new(a), Box::new(b), Box::new(c))
    }

    /// `if a cmp b { then } else { other }`
    #[must_use]
    pub fn select(cmp: Cmp, a: Expr, b: Expr, then: Expr, other: Expr) -> Expr {
        Expr::Select { cmp, a: Box::new(a), b: Box::new(b), then: Box::new(then), other: Box::new(other) }
    }
}

impl std::ops::Add for Expr {
    type Output = Expr;
    fn add(self, other: Expr) -> Expr {
        Expr::bin(BinOp::Add, self, other)
    }
}

impl std::ops::Sub for Expr {
    type Output = Expr;
    fn sub(self, other: Expr) -> Expr {
        Expr::bin(BinOp::Sub, self, other)
    }
}

impl std::ops::Mul for Expr {
    type Output = Expr;
    fn mul(self, other: Expr) -> Expr {
        Expr::bin(BinOp::Mul, self, other)
    }
}

impl std::ops::Div for Expr {
    type Output = Expr;
    fn div(self, other: Expr) -> Expr {
        Expr::bin(BinOp::Div, self, other)
    }
}

impl From<f32> for Expr {
    fn from(x: f32) -> Expr {
        Expr::Const(x)
    }
}

impl From<Reg> for Expr {
    fn from(r: Reg) -> Expr {
        Expr::Reg(r)
    }
}
