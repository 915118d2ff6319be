//! The instructions: what compiled loops need of the processor, over virtual registers.

/// An integer register, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct G(pub u32);

/// A vector register, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V(pub u32);

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(pub u32);

/// A constant behind the code, by number (see [`Code::constant`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant(pub u32);

/// Bits of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 128.
    X,
    /// 256.
    Y,
    /// 512.
    Z,
}

impl Width {
    /// Lanes of `f32`.
    pub fn lanes(self) -> usize {
        match self {
            Width::X => 4,
            Width::Y => 8,
            Width::Z => 16,
        }
    }

    /// The least that holds `lanes`.
    pub fn of(lanes: usize) -> Width {
        match lanes {
            0..=4 => Width::X,
            5..=8 => Width::Y,
            _ => Width::Z,
        }
    }
}

/// An address: bytes behind a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    /// The register.
    pub base: G,
    /// The bytes.
    pub disp: i32,
}

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    /// A register.
    V(V),
    /// A whole vector in memory.
    Mem(Mem),
    /// One number in memory, in all lanes. An operand of arithmetic only with AVX-512.
    Spread(Mem),
    /// A constant in all lanes.
    Const(u32),
}

/// `dst = a op b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Single precision.
    Add,
    /// Single precision.
    Sub,
    /// Single precision.
    Mul,
    /// Single precision.
    Div,
    /// `b` where the two do not compare.
    Min,
    /// `b` where the two do not compare.
    Max,
    /// Bits.
    And,
    /// Bits of `b` that `a` has not.
    AndNot,
    /// Bits.
    Or,
    /// Bits.
    Xor,
    /// 32-bit integers.
    IntAdd,
    /// 32-bit integers.
    IntSub,
    /// Low halves of the products of 32-bit integers.
    IntMul,
}

/// `dst = op(a)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// Single precision.
    Sqrt,
    /// To an integral number.
    Floor,
    /// To an integral number.
    Ceil,
    /// To the nearest integral number, ties to even.
    Round,
    /// 32-bit integers to numbers.
    FromInt,
    /// As it is; of a [`Src::Spread`] or [`Src::Const`] in all lanes.
    Move,
    /// Lane 0 in all lanes; of a register.
    Lane0,
}

/// How 32-bit lanes are shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Left.
    Left,
    /// Right, zeros follow.
    Right,
    /// Right, the sign follows.
    Arithmetic,
}

/// A comparison of vectors, by its code in `vcmpps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in assembly")]
pub enum Compare {
    Eq = 0,
    Lt = 1,
    Le = 2,
    Unordered = 3,
    Ne = 4,
    Ge = 13,
    Gt = 14,
}

/// A condition on integers, by its code in `jcc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in assembly")]
pub enum Cond {
    Ne = 5,
    Lt = 12,
    Ge = 13,
}

/// The arguments of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// `begin` of the range of chunks.
    Begin,
    /// `end` of the range of chunks.
    End,
    /// The pointer of a buffer, by position.
    Buf(u32),
}

/// An instruction. Vectors are `width` wide; of a `Load`, `Store` or `Gather` only the first `lanes` are touched.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each says in its own line what it does")]
pub enum Inst {
    /// `dst = value`
    Imm {
        dst: G,
        value: i64,
    },
    /// `dst = src`
    Copy {
        dst: G,
        src: G,
    },
    /// An argument of the function.
    Arg {
        dst: G,
        arg: Arg,
    },
    /// `reg += value`
    AddImm {
        reg: G,
        value: i64,
    },
    /// `reg += src`
    Add {
        reg: G,
        src: G,
    },
    /// `dst = src * value`
    MulImm {
        dst: G,
        src: G,
        value: i64,
    },
    /// `reg >>= by`, the sign following if `signed`
    Shr {
        reg: G,
        by: u8,
        signed: bool,
    },
    /// `reg &= value`
    And {
        reg: G,
        value: i32,
    },
    /// `reg = floor(reg / by)`, slowly.
    FloorDiv {
        reg: G,
        by: i64,
    },
    /// `dst = table[index]` of 64-bit integers.
    Table {
        dst: G,
        table: Constant,
        index: G,
    },
    /// Asks for the line of an address.
    Prefetch {
        mem: Mem,
    },
    Bind {
        label: Label,
    },
    Jump {
        label: Label,
    },
    /// Jumps if `reg cond value`.
    JumpIf {
        reg: G,
        cond: Cond,
        value: i32,
        label: Label,
    },
    /// Jumps if `reg cond other`.
    JumpCmp {
        reg: G,
        cond: Cond,
        other: G,
        label: Label,
    },
    /// `reg -= 1`, and jumps while it is not 0.
    CountDown {
        reg: G,
        label: Label,
    },
    /// What follows is repeated, up to the matching `Close`.
    Open,
    Close,
    /// `mask`: the lanes, in AVX2 and where they are not all.
    Load {
        dst: V,
        mem: Mem,
        width: Width,
        lanes: u8,
        mask: Option<V>,
    },
    Store {
        src: V,
        mem: Mem,
        width: Width,
        lanes: u8,
        mask: Option<V>,
        /// Past the caches: whole vectors at multiples of their size.
        past: bool,
    },
    /// What went past the caches is there before anything that follows.
    Fence,
    /// Lane `l` from `offsets[l]` bytes behind `mem`.
    Gather {
        dst: V,
        mem: Mem,
        offsets: Constant,
        width: Width,
        lanes: u8,
        index: V,
        mask: V,
    },
    Op {
        op: Op,
        dst: V,
        a: V,
        b: Src,
        width: Width,
    },
    Unary {
        op: Unary,
        dst: V,
        src: Src,
        width: Width,
    },
    Shift {
        by: Shift,
        dst: V,
        src: V,
        bits: u8,
        width: Width,
    },
    /// `acc += a * b`, rounded once.
    Fma {
        acc: V,
        a: V,
        b: Src,
        width: Width,
    },
    /// `dst = if a compare b { then } else { other }`; `mask` is for the comparison's own use.
    Select {
        dst: V,
        compare: Compare,
        a: V,
        b: Src,
        then: V,
        other: V,
        mask: V,
        width: Width,
    },
    /// A constant vector.
    Vector {
        dst: V,
        from: Constant,
        width: Width,
    },
    /// An integer as a number in all lanes.
    Number {
        dst: V,
        src: G,
        width: Width,
    },
}

/// How an instruction uses a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reg {
    G(G),
    V(V),
}

impl Inst {
    /// Calls `f` with each register that occurs.
    pub(super) fn registers(&self, f: &mut impl FnMut(Reg)) {
        let src = |s: &Src| match s {
            Src::V(v) => Some(Reg::V(*v)),
            Src::Mem(m) | Src::Spread(m) => Some(Reg::G(m.base)),
            Src::Const(_) => None,
        };
        let mut all = |list: &[Reg]| list.iter().for_each(|r| f(*r));
        match self {
            Inst::Imm { dst, value: _ } | Inst::Arg { dst, arg: _ } => all(&[Reg::G(*dst)]),
            Inst::Copy { dst, src } | Inst::MulImm { dst, src, value: _ } => {
                all(&[Reg::G(*dst), Reg::G(*src)])
            }
            Inst::AddImm { reg, value: _ }
            | Inst::Shr { reg, by: _, signed: _ }
            | Inst::And { reg, value: _ }
            | Inst::FloorDiv { reg, by: _ }
            | Inst::JumpIf { reg, cond: _, value: _, label: _ }
            | Inst::CountDown { reg, label: _ } => all(&[Reg::G(*reg)]),
            Inst::Add { reg, src } => all(&[Reg::G(*reg), Reg::G(*src)]),
            Inst::Table { dst, table: _, index } => all(&[Reg::G(*dst), Reg::G(*index)]),
            Inst::JumpCmp { reg, cond: _, other, label: _ } => all(&[Reg::G(*reg), Reg::G(*other)]),
            Inst::Prefetch { mem } => all(&[Reg::G(mem.base)]),
            Inst::Bind { .. } | Inst::Jump { .. } | Inst::Open | Inst::Close | Inst::Fence => {}
            Inst::Load { dst: v, mem, mask, .. } | Inst::Store { src: v, mem, mask, .. } => {
                all(&[Reg::V(*v), Reg::G(mem.base)]);
                mask.iter().for_each(|m| all(&[Reg::V(*m)]));
            }
            Inst::Gather { dst, mem, index, mask, .. } => {
                all(&[Reg::V(*dst), Reg::G(mem.base), Reg::V(*index), Reg::V(*mask)]);
            }
            Inst::Op { dst, a, b, .. } => {
                all(&[Reg::V(*a), Reg::V(*dst)]);
                src(b).iter().for_each(|r| all(&[*r]));
            }
            Inst::Unary { dst, src: s, .. } => {
                src(s).iter().for_each(|r| all(&[*r]));
                all(&[Reg::V(*dst)]);
            }
            Inst::Shift { dst, src, .. } => all(&[Reg::V(*src), Reg::V(*dst)]),
            Inst::Fma { acc, a, b, .. } => {
                all(&[Reg::V(*a), Reg::V(*acc)]);
                src(b).iter().for_each(|r| all(&[*r]));
            }
            Inst::Select { dst, a, b, then, other, mask, .. } => {
                all(&[*a, *then, *other, *mask, *dst].map(Reg::V));
                src(b).iter().for_each(|r| all(&[*r]));
            }
            Inst::Vector { dst, .. } => all(&[Reg::V(*dst)]),
            Inst::Number { dst, src, .. } => all(&[Reg::V(*dst), Reg::G(*src)]),
        }
    }
}

/// A function under construction.
#[derive(Clone, Debug, Default)]
pub struct Code {
    pub(super) list: Vec<Inst>,
    pub(super) integers: u32,
    pub(super) vectors: u32,
    pub(super) labels: u32,
    pub(super) behind: Vec<Vec<u8>>,
}

impl Code {
    /// Appends an instruction.
    pub fn push(&mut self, inst: Inst) {
        self.list.push(inst);
    }

    /// A new integer register.
    pub fn integer(&mut self) -> G {
        self.integers += 1;
        G(self.integers - 1)
    }

    /// A new vector register.
    pub fn vector(&mut self) -> V {
        self.vectors += 1;
        V(self.vectors - 1)
    }

    /// A new label, bound nowhere yet.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// Bytes behind the code; equal ones are kept once.
    pub fn constant(&mut self, bytes: Vec<u8>) -> Constant {
        let found = self.behind.iter().position(|p| *p == bytes);
        let at = found.unwrap_or_else(|| {
            self.behind.push(bytes);
            self.behind.len() - 1
        });
        Constant(at as u32)
    }

    /// How many instructions there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
