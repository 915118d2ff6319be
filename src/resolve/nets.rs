//! Nets: inputs, body, outputs, and declared shapes, which are checked and never trusted.

use super::chain::{self, Side};
use super::cx::{Cx, Frame, Scope};
use super::fixes::Candidate;
use super::modules::ModuleId;
use super::network::Network;
use super::value::Val;
use crate::ast::{Expr, ExprKind, Ident, Net, ShapeLit};
use crate::graph::ValueId;
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::Span;
use crate::support::{Name, codes};
use crate::tensor::ty::TensorTy;

/// The name of a lone output.
const OUT: &str = "out";

impl<'a> Cx<'a> {
    /// Builds the graph of a net.
    pub(super) fn net(&mut self, module: ModuleId, net: &'a Net) -> Network {
        self.net = Network::new(&net.name.name, net.name.span);
        self.value_names.clear();
        self.scopes = vec![Scope::new(String::new(), 0, None)];
        self.frames = vec![Frame { module, locals: Vec::new(), owner: Some(net.name.span) }];
        for (ident, shape) in &net.inputs {
            if let Some(first) = self.frame().locals.iter().find(|l| l.name == ident.name).map(|l| l.span) {
                let message = format!("two inputs are called `{}`", ident.name);
                self.fail(Diagnostic::new(codes::E0102, ident.span, message).also(first, "the first one"));
                continue;
            }
            let axes = self.shape(shape);
            let ty = axes.as_ref().and_then(|axes| self.shape_ty(shape, axes));
            let value = match (axes, ty) {
                (Some(axes), Some(ty)) => {
                    let order = buffer_order(&ty, &axes);
                    self.value_names.insert(ident.name.to_string());
                    Val::Tensor(self.net.add_input(&ident.name, ty, order, ident.span))
                }
                _ => Val::Poison,
            };
            self.declare(ident, "input");
            self.bind(ident, value);
        }
        let value = self.body(&net.body).last();
        self.outputs(net, value);
        self.frames.clear();
        self.scopes.clear();
        std::mem::replace(&mut self.net, Network::new(&"".into(), net.name.span))
    }

    /// Declares the outputs and checks their shapes.
    fn outputs(&mut self, net: &'a Net, value: Val<'a>) {
        let at = net.body.value.span;
        let values: Vec<Val<'a>> = match value {
            Val::Tuple(items) => items.iter().map(|(_, v)| v.clone().last()).collect(),
            one => vec![one],
        };
        let declared = net.outputs.len();
        if declared > 0 && declared != values.len() && !values.iter().any(Val::is_poison) {
            let count = |n: usize| if n == 1 { "1 output".to_owned() } else { format!("{n} outputs") };
            let message = format!(
                "`{}` declares {} and its body gives {}",
                net.name.name,
                count(declared),
                values.len()
            );
            let diag = Diagnostic::new(codes::E0201, at, message);
            let help = match values.len() {
                1 => "several outputs are a last expression `(x, y)`",
                _ => "name each one: `-> (a: […], b: […])`",
            };
            self.fail(diag.help(help));
        }
        let single = values.len() == 1;
        for (i, value) in values.into_iter().enumerate() {
            let (name, shape) = match net.outputs.get(i) {
                Some((name, shape)) => (name.as_ref().map(|n| n.name.clone()), Some(shape)),
                None => (None, None),
            };
            let name =
                name.unwrap_or_else(|| if single { OUT.into() } else { format!("{OUT}_{}", i + 1).into() });
            match value {
                Val::Tensor(id) => self.output(&name, id, shape),
                Val::Poison => {
                    // The declared shape is still read for its own errors.
                    if let Some(shape) = shape {
                        self.shape(shape).and_then(|axes| self.shape_ty(shape, &axes));
                    }
                }
                other => {
                    let what = self.describe(&other);
                    let message = format!("`{}` must end with a tensor, not with {what}", net.name.name);
                    self.fail(Diagnostic::new(codes::E0111, at, message));
                }
            }
        }
    }

    fn output(&mut self, name: &Name, id: ValueId, shape: Option<&'a ShapeLit>) {
        let ty = self.net.ty(id).clone();
        let mut order: Vec<usize> = (0..ty.dims().len()).collect();
        if let Some(shape) = shape
            && let Some(axes) = self.shape(shape)
        {
            self.check_shape(id, shape, &axes, "`->`");
            let found = buffer_order(&ty, &axes);
            if found.len() == order.len() {
                order = found;
            }
        }
        self.net.graph.output(name, id, order);
    }

    /// The type that a written shape stands for; `None` after an error.
    pub(super) fn shape_ty(&mut self, shape: &'a ShapeLit, axes: &[(Name, i64)]) -> Option<TensorTy> {
        if let Some((ident, _)) = shape.axes.iter().find(|(ident, _)| &*ident.name == "n") {
            let diag = Diagnostic::new(codes::E0207, ident.span, "the batch `n` is not written");
            self.fail(diag.help("it is fixed when the program is compiled: `--batch 32`"));
            return None;
        }
        let grid: Vec<(&str, usize)> =
            axes.iter().filter(|(n, _)| &**n != "c").map(|(n, d)| (&**n, *d as usize)).collect();
        let Some((_, c)) = axes.iter().find(|(n, _)| &**n == "c") else {
            let diag =
                Diagnostic::new(codes::E0207, shape.span, "a shape needs its channels: axis `c` is missing");
            let at = Span { end: shape.span.start + 1, start: shape.span.start + 1, ..shape.span };
            let text = if shape.axes.is_empty() { "c: 1" } else { "c: 1, " };
            let edit = Edit { span: at, text: text.into() };
            self.report(diag, vec![Candidate::new("c: 1".into(), vec![edit])]);
            return None;
        };
        match TensorTy::grid(self.options.batch.max(1), *c as usize, &grid) {
            Ok(ty) => Some(ty),
            Err(_) => {
                let message = format!(
                    "a tensor of this shape at batch {} has more than 2^40 elements",
                    self.options.batch.max(1)
                );
                self.fail(Diagnostic::new(codes::E0208, shape.span, message));
                None
            }
        }
    }

    /// An error where the value has not the written shape. The order of axes does not matter.
    pub(super) fn check_shape(&mut self, id: ValueId, shape: &'a ShapeLit, axes: &[(Name, i64)], sign: &str) {
        let ty = self.net.ty(id).clone();
        let Some(misfit) = misfit(&ty, axes) else { return };
        let written = |name: &str| shape.axes.iter().find(|(n, _)| &*n.name == name).map(|(_, e)| e);
        let shown = self.sources.text(shape.span).to_owned();
        let declared = show_axes(axes);
        let label = if shown.contains(|c: char| c.is_alphabetic() && c.is_uppercase())
            || shown.len() > declared.len() + 12
        {
            format!("declared {declared}, the value is {}", ty.show())
        } else {
            format!("the value is {}", ty.show())
        };
        let (message, blame, candidates) = match &misfit {
            Misfit::Extent(dims) => {
                if dims.iter().any(|d| self.net.trace(id).doubtful.get(d.dim) == Some(&true)) {
                    return;
                }
                let parts: Vec<String> = dims
                    .iter()
                    .map(|d| format!("{} = {}, the value has {}", ty.names()[d.dim], d.declared, d.actual))
                    .collect();
                let mut all = Vec::new();
                let edits: Vec<Candidate> = dims
                    .iter()
                    .filter_map(|d| {
                        let axis = &ty.names()[d.dim];
                        let mut edit = self.replace(written(axis)?, d.actual.to_string())?;
                        edit.title = format!("{axis}: {}", d.actual);
                        Some(edit)
                    })
                    .collect();
                if edits.len() == dims.len() {
                    all.extend(Candidate::together(edits));
                }
                (format!("{sign} declares {}", parts.join("; ")), dims.first().map(|d| d.dim), all)
            }
            Misfit::Axes => {
                let candidate = self.replace_shape(shape, ty.show());
                (
                    format!("{sign} declares {declared}, the value is {}", ty.show()),
                    None,
                    candidate.into_iter().collect(),
                )
            }
        };
        let primary = match &misfit {
            Misfit::Extent(dims) if dims.len() == 1 => {
                dims.first().and_then(|d| written(&ty.names()[d.dim])).map_or(shape.span, |e| e.span)
            }
            Misfit::Extent(_) | Misfit::Axes => shape.span,
        };
        let mut diag = Diagnostic::new(codes::E0201, primary, message).label(label);
        if axes.len() == 1 && ty.rank() > 0 {
            diag = diag.help("`avgpool(global)`, `flatten` and `dense` take the grid away");
        }
        let sides: Vec<Side> =
            blame.into_iter().map(|dim| Side { head: String::new(), value: id, dim }).collect();
        diag.notes.extend(chain::notes(self.sources, &self.net, self.place(), primary, &sides));
        diag.notes.extend(self.inside());
        let more = match (&misfit, blame) {
            (Misfit::Extent(dims), Some(dim)) => {
                self.edits_towards(id, dim, dims.first().map(|d| d.declared as usize))
            }
            _ => Vec::new(),
        };
        self.report(diag, [more, candidates].concat());
    }

    fn replace_shape(&self, shape: &ShapeLit, text: String) -> Option<Candidate> {
        let literal = shape.axes.iter().all(|(_, e)| matches!(e.kind, ExprKind::Int(_)));
        let e = Expr { kind: ExprKind::Bool(false), span: shape.span };
        if literal { self.replace(&e, text) } else { None }
    }

    /// The inputs of a net that is called as a block.
    pub(super) fn check_input(
        &mut self,
        id: ValueId,
        net: &Name,
        input: &Ident,
        axes: &[(Name, i64)],
        span: Span,
    ) {
        let ty = self.net.ty(id).clone();
        let Some(misfit) = misfit(&ty, axes) else { return };
        if self.net.trace(id).doubtful.contains(&true) {
            return;
        }
        let message =
            format!("input `{}` of `{net}` is {}, and gets {}", input.name, show_axes(axes), ty.show());
        let mut diag = Diagnostic::new(codes::E0201, span, message).also(input.span, "declared here");
        if let Misfit::Extent(dims) = &misfit {
            let sides: Vec<Side> =
                dims.iter().take(1).map(|d| Side { head: String::new(), value: id, dim: d.dim }).collect();
            diag.notes.extend(chain::notes(self.sources, &self.net, self.place(), span, &sides));
        }
        diag.notes.extend(self.inside());
        self.report(diag, Vec::new());
    }
}

/// How a value differs from a written shape.
enum Misfit {
    /// Other extents.
    Extent(Vec<Differs>),
    /// Other axes.
    Axes,
}

struct Differs {
    dim: usize,
    declared: i64,
    actual: usize,
}

fn misfit(ty: &TensorTy, axes: &[(Name, i64)]) -> Option<Misfit> {
    let names = ty.names().get(1..).unwrap_or(&[]);
    let same = axes.len() == names.len() && names.iter().all(|n| axes.iter().any(|(a, _)| a == n));
    if !same {
        return Some(Misfit::Axes);
    }
    let mut dims = Vec::new();
    for (dim, name) in ty.names().iter().enumerate().skip(1) {
        let Some((_, declared)) = axes.iter().find(|(a, _)| a == name) else { continue };
        let actual = ty.dims()[dim];
        if *declared != actual as i64 {
            dims.push(Differs { dim, declared: *declared, actual });
        }
    }
    (!dims.is_empty()).then_some(Misfit::Extent(dims))
}

/// `[c: 3, h: 8]`
pub(super) fn show_axes(axes: &[(Name, i64)]) -> String {
    let shown: Vec<String> = axes.iter().map(|(n, d)| format!("{n}: {d}")).collect();
    format!("[{}]", shown.join(", "))
}

/// The dimensions of `ty` in the order of a written shape, the batch first.
fn buffer_order(ty: &TensorTy, axes: &[(Name, i64)]) -> Vec<usize> {
    [0].into_iter().chain(axes.iter().filter_map(|(name, _)| ty.position(name))).collect()
}
