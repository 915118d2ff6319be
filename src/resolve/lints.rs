//! Lints: legal programs that are probably not meant. In: a net without errors. Each rule states when it is silent: the
//! well-known networks must pass without a warning.

use super::Program;
use super::cx::Cx;
use super::fixes::Candidate;
use super::network::{Network, Trace};
use super::training::SetValue;
use crate::graph::{Def, ValueId};
use crate::ops::args::{ArgValue, Attr};
use crate::ops::role::Role;
use crate::ops::{Field, Op};
use crate::support::codes;
use crate::support::diag::Diagnostic;
use crate::support::span::Span;
use crate::tensor::ty::TensorTy;

/// Less than one in this many rows dropped is not worth a word: SqueezeNet drops 1 of 224.
const ROWS_PER_DROP: usize = 50;

/// A window along one grid axis.
struct Window {
    axis: usize,
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    before: i64,
    reach: usize,
}

impl<'a> Cx<'a> {
    /// All lints about the values of a net.
    pub(super) fn lint_net(&mut self, net: &Network) {
        let mut users: Vec<Vec<ValueId>> = vec![Vec::new(); net.graph.values.len()];
        for id in net.graph.ids() {
            for used in net.graph.uses(id) {
                users[used.index()].push(id);
            }
        }
        let handed_out = |id: ValueId| net.graph.outputs.iter().any(|p| p.value == id);
        for id in net.graph.ids() {
            let Def::Op { op, inputs } = &net.graph.value(id).def else { continue };
            let trace = net.trace(id);
            if self.shipped(trace.span) {
                continue;
            }
            let types: Vec<&TensorTy> = inputs.iter().map(|i| net.ty(*i)).collect();
            let windows = windows(op, &types, net.ty(id));
            let axis_names = net.ty(id).grid_names();
            // One axis stands for all: a square window is wrong on both in the same way.
            let axis = |w: &Window| axis_names.get(w.axis).map_or("", |n| &**n);
            let _ = windows.iter().any(|w| self.dropped_rows(net, id, w, axis(w)))
                || windows.iter().any(|w| self.skipped(trace, op, w, axis(w)))
                || windows.iter().any(|w| self.only_padding(trace, w, axis(w)));
            self.even_same(trace, op, &windows);
            self.checkerboard(trace, op);
            if let Some(first) = types.first() {
                self.unlinked(trace, first);
            }
            let only = users[id.index()].as_slice();
            if let ([next], false) = (only, handed_out(id)) {
                self.bias_before_norm(net, id, *next);
            }
            self.softmax_before_loss(net, id);
        }
    }

    fn lint(&mut self, diag: Diagnostic, candidates: Vec<Candidate>) {
        self.report(diag, candidates);
    }

    /// W1001. Silent for 1x1 kernels (a strided projection drops rows by design) and for less than 2 % of the rows.
    fn dropped_rows(&mut self, net: &Network, id: ValueId, w: &Window, axis: &str) -> bool {
        let last = ((w.output - 1) * w.stride + w.reach) as i64 - w.before;
        let dropped = (w.input as i64 - last).max(0) as usize;
        if w.stride < 2 || w.kernel < 2 || dropped * ROWS_PER_DROP < w.input || dropped == 0 {
            return false;
        }
        let trace = net.trace(id);
        let formula = net.trace(id).why.get(w.axis + 2).map_or("", |y| y.formula.as_str());
        let noun = if dropped == 1 { "position".to_owned() } else { format!("{dropped} positions") };
        let message = format!("`{}` never looks at the last {noun} of axis {axis}", trace.what);
        let diag = Diagnostic::new(codes::W1001, trace.span, message)
            .label(format!("{axis} = {} becomes {}", w.input, w.output))
            .note(format!("{axis} = {}   {formula}: the windows end at {last}", w.output));
        let mut candidates = Vec::new();
        if let Some(site) = &trace.site {
            if site.info.params.iter().any(|p| p.name == "partial") {
                candidates.extend(self.set_arg(site, "partial", "true"));
            }
            candidates.extend(self.set_arg(site, "pad", "same"));
        }
        let name = &net.graph.value(id).name;
        let axis_name = net.ty(id).names().get(w.axis + 2).cloned();
        let candidates =
            candidates.into_iter().map(|c| c.probe(&net.name, name, axis_name.clone())).collect();
        self.lint(diag, candidates);
        true
    }

    /// W1002. Silent for 1x1 kernels, which subsample by design.
    fn skipped(&mut self, trace: &Trace, op: &Op, w: &Window, axis: &str) -> bool {
        let transposed = op.rules().kind() == "unconv";
        if transposed || w.kernel < 2 || w.stride <= w.reach {
            return false;
        }
        let message = format!(
            "stride {} is larger than the kernel's reach {} on axis {axis}: {} of every {} positions are skipped",
            w.stride,
            w.reach,
            w.stride - w.reach,
            w.stride
        );
        let mut candidates = Vec::new();
        if let Some(site) = &trace.site
            && site.arg("stride").is_some_and(|a| a.literal)
        {
            candidates.extend(self.set_arg(site, "stride", &w.reach.to_string()));
        }
        self.lint(Diagnostic::new(codes::W1002, self.arg_span(trace, "stride"), message), candidates);
        true
    }

    /// W1003. Silent for `of: layer`, whose kernel is the layer's.
    fn checkerboard(&mut self, trace: &Trace, op: &Op) {
        let mirrored = trace.site.as_ref().is_some_and(|s| s.arg("of").is_some());
        if op.rules().kind() != "unconv" || mirrored {
            return;
        }
        let (Some(kernel), Some(stride)) = (ints(op, "kernel"), ints(op, "stride")) else { return };
        let Some((k, s)) = kernel.iter().zip(&stride).find(|(k, s)| **s > 1 && **k % **s != 0) else {
            return;
        };
        let message = format!("kernel {k} is no multiple of stride {s}: outputs meet unequally many taps");
        let up = (k / s + 1) * s;
        let diag = Diagnostic::new(codes::W1003, trace.span, message)
            .label("a checkerboard pattern is likely")
            .help(format!("a kernel of {} or {up} meets each output equally often", (k - k % s).max(*s)));
        let candidates = trace.site.as_ref().and_then(|site| {
            let kernel: Vec<String> =
                kernel.iter().zip(&stride).map(|(k, s)| (k.div_ceil(*s) * s).to_string()).collect();
            self.set_arg(site, "kernel", &kernel.join("x"))
        });
        self.lint(diag, candidates.into_iter().collect());
    }

    /// W1004, once per table.
    fn unlinked(&mut self, trace: &Trace, x: &TensorTy) {
        let Some(arg) =
            trace.site.as_ref().and_then(|s| s.args.iter().find(|a| matches!(a.arg, ArgValue::Table(_))))
        else {
            return;
        };
        let ArgValue::Table(links) = &arg.arg else { return };
        let unused: Vec<String> = (0..links.inputs.min(x.c()) as u32)
            .filter(|i| !links.rows.iter().any(|row| row.contains(i)))
            .map(|i| i.to_string())
            .collect();
        if unused.is_empty() {
            return;
        }
        let maps = if unused.len() == 1 { "input map" } else { "input maps" };
        let shown =
            if unused.len() > 8 { format!("{}, …", unused[..7].join(", ")) } else { unused.join(", ") };
        let message = format!("no row of this table links {maps} {shown}");
        self.lint(Diagnostic::new(codes::W1004, arg.value, message), Vec::new());
    }

    /// W1005. Silent where the bias's layer feeds anything else too.
    fn bias_before_norm(&mut self, net: &Network, id: ValueId, next: ValueId) {
        let role = |id: ValueId| match &net.graph.value(id).def {
            Def::Op { op, .. } => Some(op.rules().role()),
            Def::Input(_) | Def::Param { .. } | Def::Const(_) => None,
        };
        let (Some(Role::Linear(linear)), Some(Role::Norm { .. })) = (role(id), role(next)) else { return };
        if linear.bias.is_none() {
            return;
        }
        let trace = net.trace(id);
        let message =
            format!("the bias of `{}` is undone by the `{}` after it", trace.what, net.trace(next).what);
        let diag = Diagnostic::new(codes::W1005, trace.span, message)
            .label(format!("{} weights without effect", net.ty(id).c()))
            .also(net.trace(next).span, "subtracts the mean");
        let candidates = trace.site.as_ref().and_then(|site| self.set_arg(site, "bias", "false"));
        self.lint(diag, candidates.into_iter().collect());
    }

    /// W1006, in graphs.
    fn softmax_before_loss(&mut self, net: &Network, id: ValueId) {
        let trace = net.trace(id);
        if !takes_logits(&trace.what) {
            return;
        }
        let Some(first) = net.graph.uses(id).first() else { return };
        let maker = net.trace(*first);
        if is_softmax(&maker.what) {
            let diag = logits_lint(trace.span, &trace.what, maker);
            self.lint(diag, Vec::new());
        }
    }

    /// W1006, in `train` items.
    pub(super) fn lint_trainings(&mut self, program: &Program) {
        for training in &program.trainings {
            let Some(net) = program.nets.get(training.net) else { continue };
            for setting in training.entries.iter().filter(|s| &*s.key == "loss") {
                let mut open = vec![&setting.value];
                while let Some(value) = open.pop() {
                    match value {
                        SetValue::Binary(_, left, right) => open.extend([&**left, &**right]),
                        SetValue::Call(loss, args) => {
                            let Some((_, SetValue::Layer(_, first))) = args.first() else { continue };
                            let maker = net.trace(*first);
                            if takes_logits(loss) && is_softmax(&maker.what) {
                                let diag = logits_lint(setting.span, loss, maker);
                                self.lint(diag, Vec::new());
                            }
                        }
                        SetValue::Static(_) | SetValue::Layer(..) | SetValue::Data(_) | SetValue::List(_) => {
                        }
                    }
                }
            }
        }
    }

    /// W1007: most of a kernel's taps can only ever meet padding. A receptive field that merely exceeds the image is normal
    /// (ResNet-18 on 224x224 sees 435x435) and is not reported.
    fn only_padding(&mut self, trace: &Trace, w: &Window, axis: &str) -> bool {
        let dilation = if w.kernel > 1 { (w.reach - 1) / (w.kernel - 1) } else { 1 };
        let idle = (0..w.kernel).filter(|tap| !w.meets(*tap * dilation)).count();
        if idle * 2 < w.kernel || w.kernel < 2 || w.output == 0 {
            return false;
        }
        let message = format!(
            "the window of `{}` is larger than the image: {idle} of its {} taps along axis {axis} only ever meet padding",
            trace.what, w.kernel
        );
        let diag = Diagnostic::new(codes::W1007, trace.span, message)
            .label(format!("{axis} = {}, the kernel reaches over {}", w.input, w.reach));
        self.lint(diag, Vec::new());
        true
    }

    /// W1008. Silent where the padding comes out even on both sides, as for an even kernel with stride 2.
    fn even_same(&mut self, trace: &Trace, op: &Op, windows: &[Window]) {
        let same = match op.rules().attrs().get("pad") {
            Ok(Attr::Word(word)) => word == "same" || word == "same_lo",
            Ok(_) | Err(_) => false,
        };
        let shifted = windows.iter().find(|w| {
            let after = (w.output as i64 - 1) * w.stride as i64 + w.reach as i64 - w.before - w.input as i64;
            w.reach % 2 == 0 && after != w.before
        });
        if let (true, Some(w)) = (same, shifted) {
            let message =
                format!("an even kernel ({}) with `same` padding shifts by half a position", w.kernel);
            let diag = Diagnostic::new(codes::W1008, trace.span, message).label(format!(
                "{} before and {} after",
                w.before,
                w.reach as i64 - 1 - w.before
            ));
            self.lint(diag, Vec::new());
        }
    }

    /// W1009: `let`s, parameters and inputs that no expression uses. Silent for names that start with `_`.
    pub(super) fn lint_unused(&mut self) {
        let unused: Vec<(Span, crate::support::Name, &'static str)> = self
            .used
            .iter()
            .filter(|(span, (name, _, used))| !*used && !name.starts_with('_') && !self.shipped(**span))
            .map(|(span, (name, what, _))| (*span, name.clone(), *what))
            .collect();
        for (span, name, what) in unused {
            let what = if what == "let" { String::new() } else { format!("{what} ") };
            let diag = Diagnostic::new(codes::W1009, span, format!("nothing uses {what}`{name}`"));
            self.lint(diag.help(format!("leave it out, or call it `_{name}`")), Vec::new());
        }
    }

    fn arg_span(&self, trace: &Trace, name: &str) -> Span {
        trace.site.as_ref().and_then(|s| s.arg(name)).map_or(trace.span, |a| a.whole)
    }
}

impl Window {
    /// Whether the tap at `offset` ever meets the input.
    fn meets(&self, offset: usize) -> bool {
        let first = offset as i64 - self.before;
        let last = first + (self.output as i64 - 1) * self.stride as i64;
        first < self.input as i64 && last >= 0
    }
}

fn takes_logits(loss: &str) -> bool {
    loss == "cross_entropy"
}

fn is_softmax(what: &str) -> bool {
    what == "softmax" || what == "log_softmax"
}

fn logits_lint(span: Span, loss: &str, maker: &Trace) -> Diagnostic {
    Diagnostic::new(
        codes::W1006,
        span,
        format!("`{loss}` takes logits, and gets the result of `{}`", maker.what),
    )
    .also(maker.span, "normalised here already")
    .help(format!("give `{loss}` what goes into `{}`", maker.what))
}

/// An attribute of integers.
fn ints(op: &Op, name: &str) -> Option<Vec<usize>> {
    op.rules().attrs().sizes(name).ok()
}

/// The windows of an operation that has a kernel; none for all others.
fn windows(op: &Op, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Window> {
    let Some(kernel) = ints(op, "kernel") else { return Vec::new() };
    let Some(x) = inputs.first().filter(|x| x.is_activation() && x.rank() == out.rank()) else {
        return Vec::new();
    };
    if kernel.len() != out.rank() {
        return Vec::new();
    }
    let fields = op.rules().field(0, inputs, out);
    let window = |(axis, (field, kernel)): (usize, (&Field, usize))| match field {
        Field::Window { stride, before, reach } => Some(Window {
            axis,
            input: x.grid_dims()[axis],
            output: out.grid_dims()[axis],
            kernel,
            stride: *stride as usize,
            before: *before,
            reach: *reach as usize,
        }),
        Field::Spread { .. } | Field::All => None,
    };
    fields.iter().zip(kernel).enumerate().filter_map(window).collect()
}
