//! What an operation sees while it writes its loops: loads by logical index, one store per output element, and the
//! elementwise operations that were fused behind it, applied where it stores.

use super::bands::{self, BandSums};
use super::gather::Gathering;
use super::role::InPassing;
use super::squares::Squares;
use crate::loops::build::NestBuilder;
use crate::loops::{Affine, Buf, Expr, LoopKind, Nest, Reg};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// An elementwise function: from the registers of its operands to its value. It may bind intermediate registers.
pub type ScalarFn<'a> = Box<dyn Fn(&mut NestBuilder, &[Reg]) -> Expr + 'a>;

/// What a layout must offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Any order, any halo.
    Any,
    /// Any order, and at least this zero halo per dimension (reads may run into it).
    Halo(Vec<(usize, usize)>),
    /// Channels beside each other, if they are several, and a halo as [`Self::Halo`] has it: for loops whose vectors run over the
    /// channels of an activation.
    Channels(Vec<(usize, usize)>),
    /// Exactly this order of dimensions, outermost first, and no halo (for weights, the packing; for moves, canonical).
    Order(Vec<usize>),
}

/// What an operation asks of the layouts around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// One per input.
    pub inputs: Vec<Want>,
    /// The output; `Halo` makes no sense here.
    pub output: Want,
}

impl Wants {
    /// Nothing special of `inputs` inputs and the output.
    pub fn any(inputs: usize) -> Self {
        Self { inputs: vec![Want::Any; inputs], output: Want::Any }
    }
}

/// An operand of a nest: its buffer and its type.
#[derive(Clone, Debug)]
struct Operand {
    buf: Buf,
    ty: TensorTy,
}

/// An elementwise operation applied to what is about to be stored.
pub struct Follower<'a> {
    /// Its function.
    pub scalar: ScalarFn<'a>,
    /// Its operands.
    pub operands: Vec<Taken>,
}

/// What a follower takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// What a member of the group makes of this element: the root is number 0.
    Member(usize),
    /// The extra operand of this number.
    Extra(usize),
}

/// The state of lowering one group: a root operation and its followers.
pub struct LowerCx<'a> {
    /// The nest under construction.
    pub b: NestBuilder,
    inputs: Vec<Operand>,
    extras: Vec<Operand>,
    out: Operand,
    /// What the root computes: the type of the output, unless a pool comes before it.
    ty: TensorTy,
    followers: Vec<Follower<'a>>,
    /// Members of the group but the last that are stored too.
    kept: Vec<(usize, Operand)>,
    gather: Option<Gather<'a>>,
    summing: Option<Summing>,
}

/// Sums that are made in passing.
struct Summing {
    of: InPassing,
    /// Where they go.
    to: Operand,
    /// Which of the extra operands are its own.
    extras: Vec<usize>,
}

/// A pool among the followers.
struct Gather<'a> {
    of: Gathering,
    /// The followers behind it; those of the context come before it.
    behind: Vec<Follower<'a>>,
    /// Windows of which some members are there: what they make, and how many there are.
    open: Vec<(Vec<Affine>, Reg, usize)>,
}

impl<'a> LowerCx<'a> {
    /// Starts a nest called `name`. Buffers are declared in the order: inputs, extra operands of followers, output.
    /// `out` is the root's output type; followers keep it.
    pub fn new(
        name: &str,
        inputs: &[(&TensorTy, &Layout)],
        extras: &[(&TensorTy, &Layout)],
        out: (&TensorTy, &Layout),
        followers: Vec<Follower<'a>>,
    ) -> Self {
        let mut b = NestBuilder::new(name);
        let mut declare = |prefix: &str, list: &[(&TensorTy, &Layout)]| -> Vec<Operand> {
            list.iter()
                .enumerate()
                .map(|(i, (ty, layout))| Operand {
                    buf: b.buf(&format!("{prefix}{i}"), ty, layout, false),
                    ty: (*ty).clone(),
                })
                .collect()
        };
        let inputs = declare("x", inputs);
        let extras = declare("e", extras);
        let out = Operand { buf: b.buf("y", out.0, out.1, true), ty: out.0.clone() };
        let ty = out.ty.clone();
        Self { b, inputs, extras, out, ty, followers, kept: Vec::new(), gather: None, summing: None }
    }

    /// Says that a member of the group but the last is stored as well, in a buffer behind those before.
    #[must_use]
    pub fn keeping(mut self, member: usize, (ty, layout): (&TensorTy, &Layout)) -> Self {
        let buf = self.b.buf(&format!("k{}", self.kept.len()), ty, layout, true);
        self.kept.push((member, Operand { buf, ty: ty.clone() }));
        self
    }

    /// Says that a pool comes behind the first `before` followers: the root computes `ty`, and hands its results over by windows.
    #[must_use]
    pub fn gathering(mut self, ty: &TensorTy, of: Gathering, before: usize) -> Self {
        self.ty = ty.clone();
        let mut behind = self.followers.split_off(before);
        // Of what comes before the pool they see nothing: it is the root of theirs.
        for taken in behind.iter_mut().flat_map(|f| &mut f.operands) {
            if let Taken::Member(member) = taken {
                *member -= before + 1;
            }
        }
        self.gather = Some(Gather { of, behind, open: Vec::new() });
        self
    }

    /// Says that sums in passing are wanted, in a buffer behind the others: `extras` are their further operands. The root says with
    /// [`Self::sum_band`] when it has stored a band, with [`Self::sum_part`] when it has all of a part.
    #[must_use]
    pub fn summing(mut self, of: &InPassing, to: (&TensorTy, &Layout), extras: Vec<usize>) -> Self {
        let to = Operand { buf: self.b.buf("sums", to.0, to.1, true), ty: to.0.clone() };
        self.summing = Some(Summing { of: of.clone(), to, extras });
        self
    }

    /// The sums over bands that are wanted, if any are.
    pub fn bands(&self) -> Option<&BandSums> {
        self.summing.as_ref().and_then(|s| if let InPassing::Bands(of) = &s.of { Some(of) } else { None })
    }

    /// The sums of squares that are wanted, if any are.
    pub fn squares(&self) -> Option<&Squares> {
        self.summing.as_ref().and_then(|s| if let InPassing::Squares(of) = &s.of { Some(of) } else { None })
    }

    /// Sums the band at `place`, all of which is stored, if sums over bands are wanted.
    pub(super) fn sum_band(&mut self, place: &bands::Place) {
        let Some(s) = self.summing.take() else { return };
        if let InPassing::Bands(of) = &s.of {
            let ty = self.out.ty.clone();
            let load = |cx: &LowerCx<'_>, i: usize, at: &[Affine]| match i.checked_sub(1) {
                None => cx.kept(at),
                Some(i) => cx.b.load(cx.extras[s.extras[i]].buf, at),
            };
            of.write(self, &ty, place, &load, &|cx, at, value| cx.b.store(s.to.buf, at, value));
        }
        self.summing = Some(s);
    }

    /// Sums the squares of the part that `parts` count along each dimension, if they are wanted; `load` gives the element at the indices of
    /// the loops over a part ([`Squares::turns`], then lanes) before any follower.
    pub(super) fn sum_part(&mut self, parts: &[Affine], load: &dyn Fn(&LowerCx<'_>, &[Affine]) -> Expr) {
        let Some(s) = self.summing.take() else { return };
        if let InPassing::Squares(of) = &s.of {
            let ty = self.ty.clone();
            of.write(self, &ty, parts, load, &|cx, at, value| cx.b.store(s.to.buf, at, value));
        }
        self.summing = Some(s);
    }

    /// Whether what the root makes goes on in this nest: into followers, or sums of squares.
    pub fn goes_on(&self) -> bool {
        self.has_followers() || self.squares().is_some()
    }

    /// The pool that takes the results by windows, if there is one.
    pub fn gathers(&self) -> Option<&Gathering> {
        self.gather.as_ref().map(|g| &g.of)
    }

    /// The type of input `i`.
    pub fn input(&self, i: usize) -> &TensorTy {
        &self.inputs[i].ty
    }

    /// Number of inputs, weights included.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The type of what the root computes.
    pub fn out(&self) -> &TensorTy {
        &self.ty
    }

    /// Element `at` (logical dimensions) of input `i`.
    pub fn load(&self, i: usize, at: &[Affine]) -> Expr {
        self.b.load(self.inputs[i].buf, at)
    }

    /// The element of input `i` that meets output element `at` by broadcasting (see [`broadcast`]).
    pub fn load_like_out(&self, i: usize, at: &[Affine]) -> Expr {
        let operand = &self.inputs[i];
        self.b.load(operand.buf, &broadcast(&operand.ty, &self.ty, at))
    }

    /// Stores result `at` of the root after applying all followers.
    pub fn store(&mut self, at: &[Affine], value: impl Into<Expr>) {
        self.store_where(Vec::new(), at, value);
    }

    /// As [`Self::store`], where every condition is `>= 0`. All members of a window of a pool must come in one list of statements,
    /// under the same conditions; what is computed of them may be computed anywhere.
    pub fn store_where(&mut self, conds: Vec<Affine>, at: &[Affine], value: impl Into<Expr>) {
        let followers = std::mem::take(&mut self.followers);
        let gather = self.gather.take();
        let ty = self.ty.clone();
        if let Some(mut gather) = gather {
            let value = self.follow(&followers, &ty, at, value.into());
            self.gather_in(&mut gather, conds, at, value);
            self.gather = Some(gather);
        } else {
            let value = value.into();
            self.guarded(conds, |cx| {
                let value = cx.follow(&followers, &ty, at, value);
                cx.b.store(cx.out.buf, at, value);
            });
        }
        self.followers = followers;
    }

    /// Takes a member of a window in; the last one stores what the pool makes of all.
    fn gather_in(&mut self, gather: &mut Gather<'a>, conds: Vec<Affine>, at: &[Affine], value: Expr) {
        let window = gather.of.window(at).expect("`hands` promises whole windows");
        let before = gather.open.iter().position(|(w, ..)| *w == window).map(|i| gather.open.swap_remove(i));
        let (so_far, members) = match before {
            Some((_, before, members)) => (gather.of.next(before, value), members + 1),
            None => (gather.of.first(value), 1),
        };
        let so_far = self.b.let_(so_far);
        if members < gather.of.len() {
            return gather.open.push((window, so_far, members));
        }
        let (pooled, ty) = (gather.of.last(so_far), self.out.ty.clone());
        self.guarded(conds, |cx| {
            let value = cx.follow(&gather.behind, &ty, &window, pooled);
            cx.b.store(cx.out.buf, &window, value);
        });
    }

    fn guarded(&mut self, conds: Vec<Affine>, then: impl FnOnce(&mut Self)) {
        if conds.is_empty() { then(self) } else { self.if_(conds, then) }
    }

    /// Applies followers to the value at `at` of a tensor of type `ty`; stores what is kept on the way.
    fn follow(&mut self, followers: &[Follower<'a>], ty: &TensorTy, at: &[Affine], value: Expr) -> Expr {
        let mut value = self.kept_on_the_way(0, at, value);
        let mut members: Vec<Reg> = Vec::new();
        let mut extras: Vec<Option<Reg>> = vec![None; self.extras.len()];
        for f in followers {
            members.push(self.b.let_(value));
            let mut regs: Vec<Reg> = Vec::new();
            for taken in &f.operands {
                regs.push(match taken {
                    Taken::Member(member) => members[*member],
                    Taken::Extra(extra) => *extras[*extra].get_or_insert_with(|| {
                        let e = &self.extras[*extra];
                        let load = self.b.load(e.buf, &broadcast(&e.ty, ty, at));
                        self.b.let_(load)
                    }),
                });
            }
            let next = (f.scalar)(&mut self.b, &regs);
            value = self.kept_on_the_way(members.len(), at, next);
        }
        value
    }

    /// Stores the value of this member of the group, if it is kept.
    fn kept_on_the_way(&mut self, member: usize, at: &[Affine], value: Expr) -> Expr {
        let Some(buf) = self.kept.iter().find(|k| k.0 == member).map(|k| k.1.buf) else { return value };
        let reg = self.b.let_(value);
        self.b.store(buf, at, reg);
        reg.into()
    }

    /// A buffer of the nest alone, after the output; its contents last while the nest runs.
    pub fn scratch(&mut self, name: &str, dims: &[(&str, usize)]) -> Buf {
        let ty = TensorTy::new(dims.iter().copied()).expect("the operation has bounded its buffers");
        self.b.buf(name, &ty, &Layout::canonical(dims.len()), true)
    }

    /// Stores an intermediate value in the place of output element `at`; followers wait for [`Self::store`]. The nest then reads
    /// its own output, so that no operand can share its buffer.
    pub fn keep(&mut self, at: &[Affine], value: impl Into<Expr>) {
        self.b.store(self.out.buf, at, value.into());
    }

    /// What [`Self::keep`] stored last.
    pub fn kept(&self, at: &[Affine]) -> Expr {
        self.b.load(self.out.buf, at)
    }

    /// Whether something is applied where the nest stores.
    pub fn has_followers(&self) -> bool {
        !self.followers.is_empty() || self.gather.is_some()
    }

    /// Independent loops over all output dimensions; `body` gets the output index.
    pub fn for_each_output(&mut self, body: impl FnOnce(&mut Self, &[Affine])) {
        let out = self.ty.clone();
        let dims: Vec<(&str, usize)> =
            out.names().iter().map(|n| &**n).zip(out.dims().iter().copied()).collect();
        self.nested(LoopKind::Free, &dims, |cx, vars| {
            let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            body(cx, &at);
        });
    }

    /// Perfectly nested loops, as [`NestBuilder::nested`], handing on the whole context.
    pub fn nested(
        &mut self,
        kind: LoopKind,
        dims: &[(&str, usize)],
        body: impl FnOnce(&mut Self, &[crate::loops::Var]),
    ) {
        let mut b = std::mem::replace(&mut self.b, NestBuilder::new(""));
        b.nested(kind, dims, |b, vars| {
            std::mem::swap(b, &mut self.b);
            body(self, vars);
            std::mem::swap(b, &mut self.b);
        });
        self.b = b;
    }

    /// Runs `then` where every condition is `>= 0`, handing on the whole context.
    pub fn if_(&mut self, conds: Vec<Affine>, then: impl FnOnce(&mut Self)) {
        let mut b = std::mem::replace(&mut self.b, NestBuilder::new(""));
        b.if_(conds, |b| {
            std::mem::swap(b, &mut self.b);
            then(self);
            std::mem::swap(b, &mut self.b);
        });
        self.b = b;
    }

    /// The finished nest.
    pub fn finish(self) -> Nest {
        debug_assert!(self.gather.is_none_or(|g| g.open.is_empty()), "a window lacks members");
        self.b.finish()
    }
}

/// The index into a tensor of type `ty` that meets index `at` of a tensor of type `out`: dimensions meet by name, extent 1
/// stands for any, what `ty` lacks does not matter.
pub fn broadcast(ty: &TensorTy, out: &TensorTy, at: &[Affine]) -> Vec<Affine> {
    ty.names()
        .iter()
        .zip(ty.dims())
        .map(|(name, extent)| match out.position(name) {
            Some(d) if *extent != 1 || out.dims()[d] == 1 => at[d].clone(),
            _ => Affine::k(0),
        })
        .collect()
}

/// Lowers an elementwise operation on its own: `scalar` over the broadcast inputs at every output index.
pub fn elementwise(cx: &mut LowerCx<'_>, scalar: &ScalarFn<'_>) {
    cx.for_each_output(|cx, at| {
        let loads: Vec<Expr> = (0..cx.inputs()).map(|i| cx.load_like_out(i, at)).collect();
        let regs: Vec<Reg> = loads.into_iter().map(|l| cx.b.let_(l)).collect();
        let value = scalar(&mut cx.b, &regs);
        cx.store(at, value);
    });
}
