//! One operation as a stage of a pipeline, its weights kept.

use super::{Refused, Writer};
use crate::graph::ValueId;
use crate::ops::Op;
use crate::ops::conv::Conv;
use crate::ops::depth_space::{DepthSpace, Direction};
use crate::ops::geometry::{Geometry, Linking, Share};
use crate::ops::norm::{Norm, Over as NormOver};
use crate::ops::pad::{Pad, PadMode};
use crate::ops::pool::{Over, Pool, PoolKind};
use crate::ops::resize::{Coords, Resize, To};
use crate::ops::slice::Slice;
use crate::ops::unary::{Unary, UnaryFn};
use crate::ops::unconv::Unconv;
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

/// Stride, dilation and padding where they are not the default; `stride` is what is left out.
fn window(spec: &WindowSpec, stride: &[usize]) -> String {
    let mut text = String::new();
    if spec.stride != stride {
        text.push_str(&format!(", stride: {}", extent(&spec.stride)));
    }
    if spec.dilation.iter().any(|d| *d != 1) {
        text.push_str(&format!(", dilate: {}", extent(&spec.dilation)));
    }
    match &spec.pad {
        Padding::Valid => {}
        Padding::Same => text.push_str(", pad: same"),
        Padding::SameLo => text.push_str(", pad: same_lo"),
        Padding::Full => text.push_str(", pad: full"),
        Padding::Sides(list) if list.iter().all(|s| *s == (0, 0)) => {}
        Padding::Sides(list) => text.push_str(&format!(", pad: {}", sides(list))),
    }
    text
}

/// Kernel and all the rest of a layer's geometry; `None` for what imported models never have.
fn geometry(g: &Geometry, channels: usize) -> Option<String> {
    let mut text = channels.to_string();
    if !g.window.kernel.is_empty() {
        text.push_str(&format!(", {}", extent(&g.window.kernel)));
    }
    text.push_str(&window(&g.window, &vec![1; g.window.kernel.len()]));
    match (&g.links, &g.share) {
        (Linking::Dense, Share::All) => {}
        (Linking::Groups(groups), Share::All) => text.push_str(&format!(", groups: {groups}")),
        (Linking::Table(_), _) | (_, Share::Tile(_) | Share::None) => return None,
    }
    if g.flip {
        text.push_str(", flip: true");
    }
    Some(text)
}

impl Writer<'_> {
    pub(super) fn stage(&mut self, id: ValueId, op: &Op, x: &[ValueId]) -> Result<String, Refused> {
        let ty = self.ty(id).clone();
        Ok(match op {
            Op::Conv(conv) => return self.conv(id, conv, x),
            Op::Unconv(unconv) => return self.unconv(id, unconv, x),
            Op::Dense(dense) => {
                let bias = if dense.bias { "" } else { ", bias: false" };
                let call = format!("dense({}{bias})", dense.channels);
                return self.layered(id, &call, &["weight", "bias"], x);
            }
            Op::BatchNorm(norm) => {
                let call = format!("batchnorm(eps: {:?}, momentum: {:?})", norm.eps, norm.momentum);
                return self.layered(id, &call, &["weight", "bias", "running_mean", "running_var"], x);
            }
            Op::Norm(norm) => return self.norm(id, norm, x),
            Op::PRelu(_) => {
                let shared = self.ty(x[1]).dims() == [1] && ty.c() != 1;
                let call = if shared { "prelu(shared: true)" } else { "prelu" };
                return self.layered(id, call, &["weight"], x);
            }
            Op::Pool(pool) => self.pool(id, pool)?,
            Op::Unary(unary) => function(unary),
            Op::Softmax(softmax) => if softmax.log { "log_softmax" } else { "softmax" }.to_owned(),
            Op::Lrn(l) => {
                format!("lrn(size: {}, alpha: {:?}, beta: {:?}, k: {:?})", l.size, l.alpha, l.beta, l.k)
            }
            Op::L2Norm(l) => format!("l2norm(eps: {:?})", l.eps),
            Op::Identity(_) => "identity".to_owned(),
            Op::Reshape(_) if ty.rank() == 0 => "flatten".to_owned(),
            Op::Reshape(_) => {
                let order: Vec<usize> = (0..ty.dims().len()).collect();
                format!("reshape({})", super::shape(&ty, &order))
            }
            Op::Shuffle(shuffle) => format!("shuffle({})", shuffle.groups),
            Op::Flip(flip) => format!("flip({})", ty.names()[flip.dim]),
            Op::Upsample(up) => format!("upsample({})", extent(&up.factor)),
            Op::Resize(resize) => resized(resize),
            Op::Pad(pad) => padded(pad),
            Op::DepthSpace(op) => blocks(op),
            _ => return Err(self.refused(id, op, "")),
        })
    }

    /// A call with weights, under a name.
    fn layered(&mut self, id: ValueId, call: &str, parts: &[&str], x: &[ValueId]) -> Result<String, Refused> {
        let layer = self.layer(id, x.get(1).copied());
        for (part, w) in parts.iter().zip(&x[1..]) {
            self.keep(&layer, part, *w)?;
        }
        Ok(format!("{call} as {layer}"))
    }

    fn conv(&mut self, id: ValueId, op: &Conv, x: &[ValueId]) -> Result<String, Refused> {
        let Some(text) = geometry(&op.geometry, op.channels) else {
            return Err(self.refused(id, &op.clone().into(), " written from a graph"));
        };
        let bias = if op.bias { "" } else { ", bias: false" };
        self.layered(id, &format!("conv({text}{bias})"), &["weight", "bias"], x)
    }

    fn unconv(&mut self, id: ValueId, op: &Unconv, x: &[ValueId]) -> Result<String, Refused> {
        let Some(mut text) = geometry(&op.geometry, op.channels) else {
            return Err(self.refused(id, &op.clone().into(), " written from a graph"));
        };
        if let Some(size) = op.size.as_ref().filter(|s| !s.is_empty()) {
            text.push_str(&format!(", out: {}", extent(size)));
        }
        let bias = if op.bias { "" } else { ", bias: false" };
        self.layered(id, &format!("unconv({text}{bias})"), &["weight", "bias"], x)
    }

    fn norm(&mut self, id: ValueId, op: &Norm, x: &[ValueId]) -> Result<String, Refused> {
        let affine = if x.len() > 1 { "" } else { ", affine: false" };
        let (c, rank) = (self.ty(id).c(), self.ty(id).rank());
        let call = match op.over {
            NormOver::Channels => format!("layernorm(axis: c, eps: {:?}{affine})", op.eps),
            NormOver::Groups(1) if rank == 0 => format!("layernorm(eps: {:?}{affine})", op.eps),
            NormOver::Groups(g) if g == c && rank > 0 => format!("instancenorm(eps: {:?}{affine})", op.eps),
            NormOver::Groups(g) => format!("groupnorm({g}, eps: {:?}{affine})", op.eps),
        };
        if x.len() == 1 {
            return Ok(call);
        }
        self.layered(id, &call, &["weight", "bias"], x)
    }

    fn pool(&self, id: ValueId, op: &Pool) -> Result<String, Refused> {
        let (name, end) = match op.kind {
            PoolKind::Max => ("maxpool", String::new()),
            PoolKind::Avg => ("avgpool", String::new()),
            PoolKind::Lp(p) => ("lppool", format!(", p: {p:?}")),
        };
        Ok(match &op.over {
            Over::Global => format!("{name}(global{end})"),
            Over::Window(spec) => {
                let partial = if op.partial { ", partial: true" } else { "" };
                let count = if op.count_pad { ", count_pad: true" } else { "" };
                let window = window(spec, &spec.kernel);
                format!("{name}({}{window}{partial}{count}{end})", extent(&spec.kernel))
            }
            Over::Grid(_) | Over::Channels { .. } => {
                return Err(self.refused(id, &op.clone().into(), " written from a graph"));
            }
        })
    }

    /// A part of a split, with which a pipeline begins.
    pub(super) fn slice(
        &mut self,
        id: ValueId,
        op: &Op,
        slice: &Slice,
        x: ValueId,
    ) -> Result<String, Refused> {
        let ty = self.ty(x).clone();
        let mut text = String::new();
        for cut in &slice.cuts {
            if cut.dim == 0 {
                return Err(self.refused(id, op, " along the batch"));
            }
            let rest = ty.dims()[cut.dim] - cut.start - cut.len;
            let sizes = [cut.start, cut.len, rest];
            let place = usize::from(cut.start > 0);
            let sizes: Vec<String> = sizes.iter().filter(|s| **s > 0).map(ToString::to_string).collect();
            let stage = format!("split(sizes: [{}], axis: {})", sizes.join(", "), ty.names()[cut.dim]);
            let from = if text.is_empty() { self.operand(x)? } else { text };
            let parts = self.name("parts");
            self.lines.push(format!("let {parts} = {from} |> {stage}"));
            text = format!("{parts}[{place}]");
        }
        Ok(text)
    }
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

fn resized(op: &Resize) -> String {
    let to = match &op.to {
        To::Size(size) => extent(size),
        To::Factor(factor) => format!("factor: {factor:?}"),
    };
    let coords = match op.coords {
        Coords::HalfPixel => "",
        Coords::AlignCorners => ", coords: align_corners",
        Coords::Asymmetric => ", coords: asymmetric",
    };
    format!("resize({to}{}{coords})", if op.linear { "" } else { ", mode: nearest" })
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
