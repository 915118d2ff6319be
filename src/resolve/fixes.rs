//! Edits that may mend an error, and their proof: the edited text is parsed and resolved again, and an edit is proposed only if
//! its error is gone and no other came. The number of tries is bounded, the likeliest edits come first.

use super::chain::producers;
use super::cx::Cx;
use super::network::{Network, Site};
use crate::graph::ValueId;
use crate::ops::args::{ArgTy, ArgValue};
use crate::support::Name;
use crate::support::diag::{Diagnostic, Edit, Fix};
use crate::support::span::{FileId, Sources};

/// Edits tried for one error.
const TRIES_PER_ERROR: usize = 12;
/// Edits proposed for one error.
const FIXES_PER_ERROR: usize = 3;
/// Edits tried in one program.
pub(super) const TRIES_MAX: usize = 48;

/// An edit worth trying.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// As the message shows it.
    pub title: String,
    /// The replacements.
    pub edits: Vec<Edit>,
    /// The extent whose new value shows the effect: net, value, axis.
    pub probe: Option<(Name, String, Name)>,
    /// Only worth proposing where nothing else helps.
    pub last: bool,
}

impl Candidate {
    /// An edit with its title.
    pub(super) fn new(title: String, edits: Vec<Edit>) -> Self {
        Self { title, edits, probe: None, last: false }
    }

    /// Shows the effect on an axis of a value.
    pub(super) fn probe(mut self, net: &Name, value: &str, axis: Option<Name>) -> Self {
        self.probe = axis.map(|axis| (net.clone(), value.to_owned(), axis));
        self
    }

    /// Several edits as one.
    pub(super) fn together(all: Vec<Self>) -> Option<Self> {
        let titles: Vec<&str> = all.iter().map(|c| &*c.title).collect();
        let title = titles.join(", ");
        let probe = all.first().and_then(|c| c.probe.clone());
        let edits: Vec<Edit> = all.into_iter().flat_map(|c| c.edits).collect();
        (!edits.is_empty()).then_some(Self { title, edits, probe, last: false })
    }
}

/// What a try of an edited program gave.
pub(super) struct Trial {
    /// Its nets.
    pub nets: Vec<Network>,
    /// Code and message of its errors.
    pub errors: Vec<(String, String)>,
    /// Code and message of its lints.
    pub lints: Vec<(String, String)>,
}

/// The edits of `candidates` that mend `diag`, each tried with `attempt`. `errors` are those of the program as it is; `tries`
/// is what is left of the bound.
pub(super) fn verified(
    diag: &Diagnostic,
    candidates: &[Candidate],
    errors: &[(String, String)],
    tries: &mut usize,
    mut attempt: impl FnMut(&[Edit]) -> Option<Trial>,
) -> Vec<Fix> {
    let own = key(diag);
    let mut fixes: Vec<Fix> = Vec::new();
    let mut tried: Vec<&[Edit]> = Vec::new();
    for candidate in candidates.iter() {
        if fixes.len() >= FIXES_PER_ERROR || tried.len() >= TRIES_PER_ERROR || *tries == 0 {
            break;
        }
        // Where `same` padding does it, the number that means the same is not worth a line.
        let said = candidate.title.starts_with("pad: ") && fixes.iter().any(|f| f.title == "pad: same");
        if said || (candidate.last && !fixes.is_empty()) || tried.contains(&candidate.edits.as_slice()) {
            continue;
        }
        tried.push(&candidate.edits);
        *tries -= 1;
        let Some(trial) = attempt(&candidate.edits) else { continue };
        let count =
            |all: &[(String, String)], key: &(String, String)| all.iter().filter(|e| *e == key).count();
        let lint = !diag.is_error();
        let gone =
            if lint { !trial.lints.contains(&own) } else { count(&trial.errors, &own) < count(errors, &own) };
        let new = trial.errors.iter().any(|e| count(&trial.errors, e) > count(errors, e));
        if !gone || new {
            continue;
        }
        let effect = candidate.probe.as_ref().map_or_else(String::new, |p| effect(&trial.nets, p));
        fixes.push(Fix {
            title: candidate.title.clone(),
            effect,
            edits: candidate.edits.clone(),
            verified: true,
            remaining: trial.errors.len(),
        });
    }
    fixes
}

/// What identifies an error across edits that move it.
pub(super) fn key(diag: &Diagnostic) -> (String, String) {
    (diag.code.to_string(), diag.message.clone())
}

/// `h = ceil(56 / 2) = 28`
fn effect(nets: &[Network], (net, value, axis): &(Name, String, Name)) -> String {
    let Some(net) = nets.iter().find(|n| n.name == *net) else { return String::new() };
    let Some(id) = net.graph.ids().find(|id| net.graph.value(*id).name == *value) else {
        return String::new();
    };
    let Some(dim) = net.ty(id).position(axis) else { return String::new() };
    let extent = net.ty(id).dims()[dim];
    let formula = net.trace(id).why.get(dim).map_or("", |w| w.formula.as_str());
    let formula = formula.split_once(": ").map_or(formula, |(_, rest)| rest);
    let formula = formula.split_once(", reach").map_or(formula, |(f, _)| f);
    let shown = formula.contains(['(', '+', '*', '/', '-']);
    if shown { format!("{axis} = {formula} = {extent}") } else { format!("{axis} = {extent}") }
}

/// The text of a file after edits; `None` if one does not lie in it. Edits are of one file.
pub(super) fn edited(sources: &Sources, edits: &[Edit]) -> Option<(FileId, String)> {
    let file = edits.first()?.span.file;
    let mut text = sources.get(file).text.to_string();
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|e| std::cmp::Reverse((e.span.start, e.span.end)));
    for edit in edits {
        let range = edit.span.start as usize..edit.span.end as usize;
        if edit.span.file != file || text.get(range.clone()).is_none() {
            return None;
        }
        text.replace_range(range, &edit.text);
    }
    Some((file, text))
}

impl Cx<'_> {
    /// Edits of the layers that made the blamed extents.
    pub(super) fn producer_edits(&self, blame: &[(usize, usize)], ids: &[ValueId]) -> Vec<Candidate> {
        let blamed: Vec<(ValueId, usize)> =
            blame.iter().filter_map(|(input, dim)| Some((*ids.get(*input)?, *dim))).take(2).collect();
        let sides: Vec<Vec<(ValueId, usize)>> = producers(&self.net, &blamed);
        let extent = |side: usize| {
            let (id, dim) = blamed.get(side)?;
            self.net.ty(*id).dims().get(*dim).copied()
        };
        // The right side first: there the mark stands, and what came last is the likelier slip.
        let mut all = Vec::new();
        for side in (0..sides.len()).rev() {
            let other = if sides.len() == 2 { extent(1 - side) } else { None };
            for (value, dim) in &sides[side] {
                all.push(self.layer_edits(*value, *dim, other));
            }
        }
        interleave(all)
    }

    /// Edits of the layers that made an extent, so that it becomes `wanted`.
    pub(super) fn edits_towards(&self, id: ValueId, dim: usize, wanted: Option<usize>) -> Vec<Candidate> {
        let sides = producers(&self.net, &[(id, dim)]);
        let mut all = Vec::new();
        for (value, dim) in sides.iter().flatten().rev() {
            all.push(self.layer_edits(*value, *dim, wanted));
        }
        interleave(all)
    }

    /// Edits of one layer's call that change dimension `dim` of its result.
    fn layer_edits(&self, value: ValueId, dim: usize, wanted: Option<usize>) -> Vec<Candidate> {
        let trace = self.net.trace(value);
        let Some(site) = &trace.site else { return Vec::new() };
        if self.shipped(site.callee) {
            return Vec::new();
        }
        let ty = self.net.ty(value);
        let mut all = if dim == 1 {
            self.channel_edits(site, ty.c(), wanted)
        } else {
            self.window_edits(site, ty.rank(), dim)
        };
        if let Some(wanted) = wanted.filter(|_| dim > 1) {
            all.extend(self.written_extent(site, dim - 2, ty.dims()[dim], wanted));
        }
        let axis = ty.names().get(dim).cloned();
        let name = &self.net.graph.value(value).name;
        all.into_iter().map(|c| c.probe(&self.net.name, name, axis.clone())).collect()
    }

    /// The literal that gave the number of channels, replaced.
    fn channel_edits(&self, site: &Site, have: usize, wanted: Option<usize>) -> Vec<Candidate> {
        let Some(wanted) = wanted else { return Vec::new() };
        let given = site.args.iter().find(|a| a.arg == ArgValue::Int(have as i64) && a.literal);
        given.and_then(|a| self.set_arg(site, a.name, &wanted.to_string())).into_iter().collect()
    }

    /// Other windows: `same` padding, a 1x1 kernel, no stride, a doubled one.
    fn window_edits(&self, site: &Site, rank: usize, dim: usize) -> Vec<Candidate> {
        let takes = |name: &str| site.info.params.iter().find(|p| p.name == name);
        let mut all = Vec::new();
        let number = |name: &str| match site.arg(name).map(|a| &a.arg) {
            Some(ArgValue::Int(i)) => *i,
            Some(ArgValue::Extent(e)) => e.get(dim - 2).copied().unwrap_or(1),
            _ => 1,
        };
        let stride = if takes("stride").is_some() { number("stride") } else { 1 };
        let kernel = number("kernel");
        let padded = takes("pad").is_some_and(|p| p.ty == ArgTy::Pad);
        let ones = vec!["1"; rank].join("x");
        let literal = |name: &str| site.arg(name).is_some_and(|a| a.literal);
        let point = || literal("kernel").then(|| self.set_arg(site, "kernel", &ones)).flatten();
        if padded && kernel > 1 {
            // A strided window beside a skip connection is most often meant as a projection.
            if stride > 1 && site.arg("pad").is_none() {
                all.extend(point());
            }
            all.extend(self.set_arg(site, "pad", "same"));
            if kernel % 2 == 1 && kernel < 64 {
                all.extend(self.set_arg(site, "pad", &((kernel - 1) / 2).to_string()));
            }
            if site.arg("pad").is_some() {
                all.extend(self.set_arg(site, "pad", "valid"));
            }
        }
        if stride > 1 && literal("stride") {
            all.extend(self.set_arg(site, "stride", "1"));
        }
        if takes("stride").is_some() && site.arg("stride").is_none() {
            all.extend(self.set_arg(site, "stride", "2"));
        }
        if kernel > 1 && literal("kernel") {
            for other in [kernel - 1, kernel + 1] {
                let text = vec![other.to_string(); rank].join("x");
                let last = self.set_arg(site, "kernel", &text).map(|c| Candidate { last: true, ..c });
                all.extend(last);
            }
        }
        all
    }

    /// An extent or number of the call that equals what the axis has, or `out:` of a transposed layer, replaced.
    fn written_extent(&self, site: &Site, axis: usize, have: usize, wanted: usize) -> Vec<Candidate> {
        let mut all = Vec::new();
        for arg in site.args.iter().filter(|a| a.literal) {
            let new = match &arg.arg {
                ArgValue::Int(i) if *i == have as i64 => wanted.to_string(),
                ArgValue::Extent(e) if e.get(axis) == Some(&(have as i64)) => {
                    let parts = e.iter().enumerate().map(|(i, v)| {
                        // Both axes of a square are meant alike.
                        if i == axis || *v == have as i64 { wanted.to_string() } else { v.to_string() }
                    });
                    parts.collect::<Vec<_>>().join("x")
                }
                _ => continue,
            };
            all.extend(self.set_arg(site, arg.name, &new));
        }
        all
    }
}

/// The first edit of every layer, then the second of every layer, …: a layer with many edits does not hide the others.
fn interleave(layers: Vec<Vec<Candidate>>) -> Vec<Candidate> {
    let longest = layers.iter().map(Vec::len).max().unwrap_or(0);
    // The first layer is the likeliest place: two of its edits come before anything else.
    let mut all: Vec<Candidate> = layers.first().map_or(&[][..], |l| &l[..l.len().min(2)]).to_vec();
    for i in 0..longest {
        all.extend(layers.iter().filter_map(|l| l.get(i).cloned()));
    }
    all
}
