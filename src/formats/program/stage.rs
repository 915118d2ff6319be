//! One operation as a stage of a pipeline, its weights kept.

use super::Refused;
use super::node::{Fixed, Form, NO_BIAS, Ref, Tok, Weight};
use super::read::{Reader, sizes};
use crate::graph::ValueId;
use crate::ops::Op;
use crate::ops::aggregate::{Aggregate, AggregateFn};
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::depth_space::{DepthSpace, Direction};
use crate::ops::geometry::{Geometry, Linking, Share};
use crate::ops::norm::{Norm, Over as NormOver};
use crate::ops::pad::{Pad, PadMode};
use crate::ops::pointwise::Pointwise;
use crate::ops::pool::{Over, Pool, PoolKind};
use crate::ops::resize::{Coords, Resize, To};
use crate::ops::slice::{Cut, Slice};
use crate::ops::unary::{Unary, UnaryFn};
use crate::ops::window::{Padding, WindowSpec};

/// A number that reads back as the same bits; a negative one in parentheses.
pub(super) fn number(x: f32) -> String {
    let text = format!("{x:?}");
    if x < 0.0 { format!("({text})") } else { text }
}

/// `3x3`
fn extent(v: &[usize]) -> String {
    v.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// `1`, `[1, 2]`, `[[0, 1], [1, 1]]`
fn sides(list: &[(usize, usize)]) -> String {
    let join = |parts: Vec<String>| format!("[{}]", parts.join(", "));
    match list {
        [(lo, hi), rest @ ..] if lo == hi && rest.iter().all(|s| s == &(*lo, *hi)) => lo.to_string(),
        all if all.iter().all(|(lo, hi)| lo == hi) => join(all.iter().map(|s| s.0.to_string()).collect()),
        all => join(all.iter().map(|(lo, hi)| format!("[{lo}, {hi}]")).collect()),
    }
}

/// Stride, dilation and padding; `stride` is what is left out.
fn window(spec: &WindowSpec, stride: &[usize]) -> Vec<Tok> {
    let ones = vec![1; spec.kernel.len()];
    let pad = match &spec.pad {
        Padding::Valid => "0".to_owned(),
        Padding::Same => "same".to_owned(),
        Padding::SameLo => "same_lo".to_owned(),
        Padding::Full => "full".to_owned(),
        Padding::Sides(list) if list.is_empty() => "0".to_owned(),
        Padding::Sides(list) => sides(list),
    };
    vec![
        Tok::or(", stride: ", Fixed::Axes(spec.stride.clone()), Fixed::Axes(stride.to_vec())),
        Tok::or(", dilate: ", Fixed::Axes(spec.dilation.clone()), Fixed::Axes(ones)),
        Tok::or(", pad: ", Fixed::Pad(pad), Fixed::Pad("0".to_owned())),
    ]
}

/// Channels, kernel and all the rest of a layer's geometry; `None` for what imported models never have.
fn geometry(g: &Geometry, channels: usize) -> Option<Vec<Tok>> {
    let mut toks = vec![Tok::arg("", Fixed::Int(channels as i64))];
    if !g.window.kernel.is_empty() {
        toks.push(Tok::arg(", ", Fixed::Kernel(g.window.kernel.clone())));
        toks.extend(window(&g.window, &vec![1; g.window.kernel.len()]));
    }
    let groups = match (&g.links, &g.share) {
        (Linking::Dense, Share::All) => 1,
        (Linking::Groups(groups), Share::All) => *groups,
        (Linking::Table(_), _) | (_, Share::Tile(_) | Share::None) => return None,
    };
    toks.push(Tok::or(", groups: ", Fixed::Int(groups as i64), Fixed::Int(1)));
    if g.flip {
        toks.push(Tok::text(", flip: true"));
    }
    Some(toks)
}

/// `f(…)`
fn call(name: &str, inner: Vec<Tok>, end: &str) -> Vec<Tok> {
    let mut toks = vec![Tok::text(format!("{name}("))];
    toks.extend(inner);
    toks.push(Tok::text(format!("{end})")));
    toks
}

impl Reader<'_> {
    /// An operation behind its first operand.
    pub(super) fn stage(&mut self, id: ValueId, op: &Op, x: &[ValueId], from: Ref) -> Result<Ref, Refused> {
        let ty = self.ty(id).clone();
        let plain = |text: &str| Ok((vec![Tok::text(text)], None));
        let (toks, parts): (Vec<Tok>, Option<&[&str]>) = match op {
            Op::Conv(conv) => {
                let inner = geometry(&conv.geometry, conv.channels);
                let inner = inner.ok_or_else(|| self.refused(id, " written from a graph"))?;
                (call("conv", inner, no_bias(conv.bias)), Some(&["weight", "bias"]))
            }
            Op::Unconv(unconv) => {
                let inner = geometry(&unconv.geometry, unconv.channels);
                let mut inner = inner.ok_or_else(|| self.refused(id, " written from a graph"))?;
                if let Some(size) = unconv.size.as_ref().filter(|s| !s.is_empty()) {
                    inner.push(Tok::arg(", out: ", Fixed::Kernel(size.clone())));
                }
                (call("unconv", inner, no_bias(unconv.bias)), Some(&["weight", "bias"]))
            }
            Op::Dense(dense) => {
                let inner = vec![Tok::arg("", Fixed::Int(dense.channels as i64))];
                (call("dense", inner, no_bias(dense.bias)), Some(&["weight", "bias"]))
            }
            Op::BatchNorm(norm) => {
                let mut args = Vec::new();
                // Exporters round it in several ways.
                if (norm.eps - 1e-5).abs() > 1e-11 {
                    args.push(format!("eps: {:?}", norm.eps));
                }
                // ONNX says one minus it, which does not round back.
                let momentum = (norm.momentum * 1e6).round() / 1e6;
                if momentum != 0.1 {
                    args.push(format!("momentum: {momentum:?}"));
                }
                let text = if args.is_empty() { String::new() } else { format!("({})", args.join(", ")) };
                (
                    vec![Tok::text(format!("batchnorm{text}"))],
                    Some(&["weight", "bias", "running_mean", "running_var"]),
                )
            }
            Op::Norm(norm) => {
                let text = self.norm(id, norm, x.get(1).map(|w| self.ty(*w).len()));
                (vec![Tok::text(text)], (x.len() > 1).then_some(&["weight", "bias"]))
            }
            Op::PRelu(_) => {
                let shared = self.ty(x[1]).dims() == [1] && ty.c() != 1;
                let text = if shared { "prelu(shared: true)" } else { "prelu" };
                (vec![Tok::text(text)], Some(&["weight"]))
            }
            Op::Pool(pool) => (self.pool(id, pool)?, None),
            Op::Unary(unary) => plain(&function(unary))?,
            Op::Softmax(softmax) => plain(if softmax.log { "log_softmax" } else { "softmax" })?,
            Op::Lrn(l) => plain(&format!(
                "lrn(size: {}, alpha: {:?}, beta: {:?}, k: {:?})",
                l.size, l.alpha, l.beta, l.k
            ))?,
            Op::L2Norm(l) => plain(&format!("l2norm(eps: {:?})", l.eps))?,
            Op::Identity(_) => plain("identity")?,
            Op::Reshape(_) if ty.rank() == 0 => plain("flatten")?,
            Op::Reshape(_) => {
                let mut inner = Vec::new();
                for (i, (name, d)) in ty.names().iter().zip(ty.dims()).skip(1).enumerate() {
                    let key = format!("{}{name}: ", if i == 0 { "[" } else { ", " });
                    inner.push(Tok::arg(&key, Fixed::Int(*d as i64)));
                }
                (call("reshape", inner, "]"), None)
            }
            Op::Shuffle(shuffle) => plain(&format!("shuffle({})", shuffle.groups))?,
            Op::Flip(flip) => plain(&format!("flip({})", ty.names()[flip.dim]))?,
            Op::Upsample(up) => {
                (call("upsample", vec![Tok::arg("", Fixed::Axes(up.factor.clone()))], ""), None)
            }
            Op::Resize(resize) => (resized(resize), None),
            Op::Pad(Pad { mode: PadMode::Constant(value), .. }) if !value.is_finite() => {
                return Err(self.refused(id, " with a number that is not finite"));
            }
            Op::Pad(pad) => plain(&padded(pad))?,
            Op::DepthSpace(op) => plain(&blocks(op))?,
            Op::Aggregate(aggregate) => return self.reduced(id, aggregate, x[0], from),
            Op::ArgAxis(arg) => {
                let word = if arg.least { "argmin" } else { "argmax" };
                let axis = ty.names().get(arg.dim).filter(|_| arg.dim > 0);
                let axis = axis.ok_or_else(|| self.refused(id, " along the batch"))?.to_string();
                let last = arg.last.then(|| "last: true".to_owned());
                let args: Vec<String> = (arg.dim != 1).then_some(axis).into_iter().chain(last).collect();
                plain(&if args.is_empty() { word.into() } else { format!("{word}({})", args.join(", ")) })?
            }
            Op::Pointwise(Pointwise { f }) if f.has_word() => plain(f.row().0)?,
            Op::Arrange(arrange) => return self.every_few(id, arrange, x[0], from),
            _ => return Err(self.refused(id, "")),
        };
        let weights = parts.unwrap_or_default().iter().zip(&x[1..]);
        let weights: Vec<Weight> =
            weights.map(|(part, w)| self.weight(part, *w)).collect::<Result<_, _>>()?;
        let layer = parts.map(|_| self.layer(id, x.get(1).copied()));
        let made = self.push(id, Form::Stage, toks, vec![from]);
        if let Some(layer) = layer {
            self.name_layer(layer, weights);
        }
        Ok(made)
    }

    /// `weights` is how many scales there are.
    fn norm(&self, id: ValueId, op: &Norm, weights: Option<usize>) -> String {
        let affine = if weights.is_some() { "" } else { ", affine: false" };
        let (c, rank) = (self.ty(id).c(), self.ty(id).rank());
        // A scale for each position of the grid, too.
        let whole = weights.is_some_and(|w| w != c);
        match op.over {
            NormOver::Channels => format!("layernorm(axis: c, eps: {:?}{affine})", op.eps),
            NormOver::Groups(1) if rank == 0 || whole => format!("layernorm(eps: {:?}{affine})", op.eps),
            NormOver::Groups(g) if g == c && rank > 0 => format!("instancenorm(eps: {:?}{affine})", op.eps),
            NormOver::Groups(g) => format!("groupnorm({g}, eps: {:?}{affine})", op.eps),
        }
    }

    fn pool(&self, id: ValueId, op: &Pool) -> Result<Vec<Tok>, Refused> {
        let (name, end) = match op.kind {
            PoolKind::Max => ("maxpool", String::new()),
            PoolKind::Avg => ("avgpool", String::new()),
            PoolKind::Lp(p) => ("lppool", format!(", p: {p:?}")),
        };
        Ok(match &op.over {
            Over::Global => vec![Tok::text(format!("{name}(global{end})"))],
            Over::Window(spec) => {
                let partial = if op.partial { ", partial: true" } else { "" };
                let count = if op.count_pad { ", count_pad: true" } else { "" };
                let mut inner = vec![Tok::arg("", Fixed::Kernel(spec.kernel.clone()))];
                inner.extend(window(spec, &spec.kernel));
                call(name, inner, &format!("{partial}{count}{end}"))
            }
            Over::Grid(_) | Over::Channels { .. } => {
                return Err(self.refused(id, " written from a graph"));
            }
        })
    }

    /// A reduction of the whole grid, or of one axis after the other.
    fn reduced(&mut self, id: ValueId, op: &Aggregate, x: ValueId, from: Ref) -> Result<Ref, Refused> {
        let ty = self.ty(x).clone();
        if op.dims.contains(&0) {
            return Err(self.refused(id, " along the batch"));
        }
        if ty.rank() > 0 && op.dims.iter().copied().eq(2..ty.dims().len()) {
            let toks = vec![Tok::text(format!("reduce({})", op.f.word()))];
            return Ok(self.push(id, Form::Stage, toks, vec![from]));
        }
        let mut at = from;
        // Channels last: until then there are as many as there were.
        let mut dims = op.dims.clone();
        dims.sort_by_key(|d| *d == 1);
        for (i, d) in dims.iter().enumerate() {
            let (first, last) = (i == 0, i + 1 == dims.len());
            let f = match op.f {
                AggregateFn::SumSquare if !first => AggregateFn::Sum,
                AggregateFn::LogSum if !last => AggregateFn::Sum,
                f => f,
            };
            let toks = vec![Tok::text(format!("reduce({}, {})", f.word(), ty.names()[*d]))];
            at = self.push(id, Form::Stage, toks, vec![at]);
            if !last && let Some(node) = self.out.list.last_mut() {
                node.channels = ty.c();
            }
        }
        Ok(at)
    }

    /// Every few positions of the grid from some position on: pooling with a kernel of one tap.
    fn every_few(&mut self, id: ValueId, arrange: &Arrange, x: ValueId, from: Ref) -> Result<Ref, Refused> {
        let (ty, out) = (self.ty(x).clone(), self.ty(id).clone());
        let mut cuts = Vec::new();
        let mut strides = Vec::new();
        for (d, pick) in arrange.from.iter().enumerate() {
            let steps = match pick {
                Pick::Step { dim, start, step } if *dim == d && *step >= 1 => Some((*start, *step)),
                Pick::Step { .. } | Pick::Table { .. } => None,
            };
            let steps = steps.filter(|(start, step)| *start >= 0 && (d >= 2 || (*start, *step) == (0, 1)));
            let Some((start, step)) = steps.filter(|_| ty.names() == out.names()) else {
                return Err(self.refused(id, ""));
            };
            // Up to the last position that is read.
            let (start, step) = (start as usize, step as usize);
            let len = (out.dims()[d] - 1) * step + 1;
            if d < 2 && len != ty.dims()[d] {
                return Err(self.refused(id, ""));
            }
            if d >= 2 {
                strides.push(step);
                let whole = start == 0 && (ty.dims()[d] - 1) / step == out.dims()[d] - 1;
                cuts.extend((!whole).then_some(Cut { dim: d, start, len }));
            }
        }
        let from = self.slice(id, &Slice { cuts }, x, from)?;
        let kernel = vec![1; strides.len()];
        let toks = vec![
            Tok::arg("maxpool(", Fixed::Kernel(kernel)),
            Tok::arg(", stride: ", Fixed::Axes(strides)),
            Tok::text(")"),
        ];
        Ok(self.push(id, Form::Stage, toks, vec![from]))
    }

    /// A part of a split, with which a pipeline begins.
    pub(super) fn slice(
        &mut self,
        id: ValueId,
        slice: &Slice,
        x: ValueId,
        from: Ref,
    ) -> Result<Ref, Refused> {
        let ty = self.ty(x).clone();
        let mut at = from;
        for cut in &slice.cuts {
            if cut.dim == 0 {
                return Err(self.refused(id, " along the batch"));
            }
            let rest = ty.dims()[cut.dim] - cut.start - cut.len;
            let parts: Vec<usize> = [cut.start, cut.len, rest].into_iter().filter(|s| *s > 0).collect();
            let mut toks = sizes(&parts);
            toks.push(Tok::text(format!("], axis: {})", ty.names()[cut.dim])));
            at = self.push(id, Form::Part(usize::from(cut.start > 0)), toks, vec![at]);
        }
        Ok(at)
    }
}

fn no_bias(bias: bool) -> &'static str {
    if bias { "" } else { NO_BIAS }
}

fn function(op: &Unary) -> String {
    let row = op.f.row();
    let [first, second] = op.args;
    match op.f {
        UnaryFn::Clip => {
            let lo = first.is_finite().then(|| format!("lo: {first:?}"));
            let hi = second.is_finite().then(|| format!("hi: {second:?}"));
            let args: Vec<String> = lo.into_iter().chain(hi).collect();
            format!("clip({})", args.join(", "))
        }
        UnaryFn::Elu | UnaryFn::LeakyRelu => format!("{}({first:?})", row.name),
        UnaryFn::GeluTanh => "gelu(approximate: tanh)".to_owned(),
        UnaryFn::Abs
        | UnaryFn::Exp
        | UnaryFn::Gelu
        | UnaryFn::HardSigmoid
        | UnaryFn::HardSwish
        | UnaryFn::Log
        | UnaryFn::Neg
        | UnaryFn::Relu
        | UnaryFn::Selu
        | UnaryFn::Sigmoid
        | UnaryFn::Silu
        | UnaryFn::Softplus
        | UnaryFn::Sqrt
        | UnaryFn::Tanh => row.name.to_owned(),
    }
}

fn resized(op: &Resize) -> Vec<Tok> {
    let to = match &op.to {
        To::Size(size) => Tok::arg("", Fixed::Kernel(size.clone())),
        To::Factor(factor) => Tok::text(format!("factor: {factor:?}")),
    };
    let coords = match op.coords {
        Coords::HalfPixel => "",
        Coords::AlignCorners => ", coords: align_corners",
        Coords::Asymmetric => ", coords: asymmetric",
    };
    call("resize", vec![to], &format!("{}{coords}", if op.linear { "" } else { ", mode: nearest" }))
}

fn padded(op: &Pad) -> String {
    let mode = match op.mode {
        PadMode::Constant(0.0) => String::new(),
        PadMode::Constant(value) => format!(", value: {value:?}"),
        PadMode::Reflect => ", mode: reflect".to_owned(),
        PadMode::Edge => ", mode: edge".to_owned(),
    };
    format!("pad({}{mode})", sides(&op.sides))
}

fn blocks(op: &DepthSpace) -> String {
    let name = if op.direction == Direction::ToSpace { "depth_to_space" } else { "space_to_depth" };
    format!("{name}({}, mode: {})", extent(&op.block), if op.blocks_first { "dcr" } else { "crd" })
}
