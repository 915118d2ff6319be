//! What an operation's shape rule refuses, as a diagnostic: both shapes, the chains of the extents that clash, the blocks and
//! turns around, edits worth trying. Checking goes on with the type that the rule recovers; an error that only follows from
//! an earlier one is not shown.

use super::chain::{self, Side};
use super::cx::Cx;
use super::fixes::Candidate;
use super::network::Site;
use super::opcall::{Bound, Target};
use super::value::Val;
use crate::graph::ValueId;
use crate::ops::args::ArgValue;
use crate::ops::{At, OpError, Try};
use crate::support::diag::{Diagnostic, Edit};
use crate::support::span::Span;
use crate::support::{Name, codes};
use crate::tensor::ty::TensorTy;

/// A refusal and where it happened.
struct Refusal<'f> {
    error: OpError,
    ids: &'f [ValueId],
    what: Name,
    spans: Vec<Span>,
    site: Option<&'f Site>,
    span: Span,
    path: String,
    label: Option<Name>,
}

impl<'a> Cx<'a> {
    /// An operation refused its inputs or arguments.
    pub(super) fn op_error(
        &mut self,
        error: OpError,
        ids: &[ValueId],
        bound: &Bound<'a>,
        target: &Target,
    ) -> Val<'a> {
        let spans = bound.tensors.iter().map(|(_, s)| *s).collect();
        self.refusal(Refusal {
            error,
            ids,
            what: bound.site.info.name.into(),
            spans,
            site: Some(&bound.site),
            span: target.span,
            path: target.path.clone(),
            label: target.label.clone(),
        })
    }

    /// An operator refused its operands.
    pub(super) fn plain_error(
        &mut self,
        error: OpError,
        ids: &[ValueId],
        what: &Name,
        operands: &[(Val<'a>, Span)],
        span: Span,
        path: String,
    ) -> Val<'a> {
        let spans = operands.iter().map(|(_, s)| *s).collect();
        self.refusal(Refusal { error, ids, what: what.clone(), spans, site: None, span, path, label: None })
    }

    fn refusal(&mut self, refusal: Refusal<'_>) -> Val<'a> {
        if !self.follows(&refusal) {
            let candidates = self.tries(&refusal);
            let diag = self.refusal_text(&refusal);
            let more = self.producer_edits(&refusal.error.blame, refusal.ids);
            self.report(diag, [candidates, more].concat());
        }
        let Some(ty) = refusal.error.recover.clone() else { return Val::Poison };
        let doubtful = self.doubt(&refusal, &ty);
        let name = self.unique(refusal.path);
        let place = self.place();
        let made = (&refusal.what, refusal.label, refusal.span, place);
        Val::Tensor(self.net.add_hole(&name, ty, doubtful, made))
    }

    /// Whether the refusal only follows from an extent that an earlier error left unknown.
    fn follows(&self, r: &Refusal<'_>) -> bool {
        let doubtful = |id: &ValueId| &self.net.trace(*id).doubtful;
        if r.error.blame.is_empty() {
            let about_args = matches!(r.error.at, At::Arg(_));
            return !about_args && r.ids.iter().any(|id| doubtful(id).contains(&true));
        }
        let hit = |(input, dim): &(usize, usize)| {
            r.ids.get(*input).is_some_and(|id| doubtful(id).get(*dim).copied().unwrap_or(false))
        };
        r.error.blame.iter().any(hit)
    }

    /// Which extents of the recovered type are guesses: those that were blamed, and those that were guesses before.
    fn doubt(&self, r: &Refusal<'_>, ty: &TensorTy) -> Vec<bool> {
        let named = |name: &Name| {
            r.ids.iter().enumerate().any(|(input, id)| {
                let Some(dim) = self.net.ty(*id).position(name) else { return false };
                r.error.blame.contains(&(input, dim)) || self.net.trace(*id).doubtful.get(dim) == Some(&true)
            })
        };
        let unknown = r.error.blame.is_empty();
        ty.names().iter().enumerate().map(|(d, name)| (unknown && d > 0) || named(name)).collect()
    }

    fn refusal_text(&self, r: &Refusal<'_>) -> Diagnostic {
        let error = &r.error;
        let primary = match error.at {
            At::Call => r.span,
            At::Arg(name) => r.site.and_then(|s| s.arg(name)).map_or(r.span, |a| a.value),
            At::Input(i) => r.spans.get(i).copied().unwrap_or(r.span),
        };
        let mut diag = Diagnostic::new(error.code, primary, error.message.clone());
        diag.primary.text = if error.label.is_empty() { self.shapes(r.ids) } else { error.label.clone() };
        if let (At::Arg(name), true) = (error.at, error.label.is_empty())
            && r.site.and_then(|s| s.arg(name)).is_some()
        {
            diag.primary.text = format!("on {}", self.shapes(r.ids));
        }
        let mut blame: Vec<(usize, usize)> = error.blame.clone();
        blame.truncate(2);
        let sides: Vec<Side> = blame
            .iter()
            .filter_map(|(input, dim)| {
                let value = *r.ids.get(*input)?;
                Some(Side { head: self.side_name(r, *input), value, dim: *dim })
            })
            .collect();
        diag.notes.extend(chain::notes(self.sources, &self.net, self.place(), primary, &sides));
        diag.notes.extend(error.notes.iter().cloned());
        diag.notes.extend(self.inside());
        if let (Some(ty), Some((input, dim))) = (&error.recover, error.blame.first())
            && let Some(id) = r.ids.get(*input)
            && let Some(name) = self.net.ty(*id).names().get(*dim)
            && let Some(at) = ty.position(name)
        {
            diag.assumed = format!("{name} = {}", ty.dims()[at]);
        }
        diag
    }

    /// `inside Net > stage[1] > residual(k: 128, s: 2)`; nothing at the top of a net.
    pub(super) fn inside(&self) -> Option<String> {
        let place = self.place();
        (place > 0).then(|| format!("inside {}", chain::path(&self.net, place)))
    }

    fn shapes(&self, ids: &[ValueId]) -> String {
        let shown: Vec<String> = ids.iter().map(|id| self.net.ty(*id).show()).collect();
        match shown.as_slice() {
            [] => String::new(),
            [one] => format!("input {one}"),
            several if several.len() <= 6 => several.join(", "),
            [first, .., last] => format!("{first}, …, {last} ({} inputs)", shown.len()),
        }
    }

    fn side_name(&self, r: &Refusal<'_>, input: usize) -> String {
        match (r.ids.len(), input) {
            (1, _) => String::new(),
            (2, 0) if r.site.is_none() => "left".into(),
            (2, 1) if r.site.is_none() => "right".into(),
            _ => {
                let text = r.spans.get(input).map_or("", |s| self.sources.text(*s));
                let own = r.spans.iter().filter(|s| Some(*s) == r.spans.get(input)).count() == 1;
                if own && text.len() <= 16 && !text.is_empty() && !text.contains('\n') {
                    format!("`{text}`")
                } else {
                    format!("input {}", input + 1)
                }
            }
        }
    }

    /// The argument changes that the operation proposes, as edits of the call.
    fn tries(&self, r: &Refusal<'_>) -> Vec<Candidate> {
        let Some(site) = r.site else { return Vec::new() };
        let tries = r.error.tries.iter();
        let mut all: Vec<Candidate> =
            tries.filter_map(|t| self.try_arg(site, t, &r.path, &r.error.blame, r.ids)).collect();
        if let (codes::E0203, At::Arg(name)) = (r.error.code, r.error.at) {
            all.extend(self.other_rank(site, name, r.ids));
        }
        all
    }

    /// An extent of the wrong rank: as many numbers as there are axes.
    fn other_rank(&self, site: &Site, name: &str, ids: &[ValueId]) -> Option<Candidate> {
        let Some(ArgValue::Extent(extent)) = site.arg(name).map(|a| &a.arg) else { return None };
        let rank = self.net.ty(*ids.first()?).rank();
        let list: Vec<String> = extent.iter().cycle().take(rank).map(i64::to_string).collect();
        self.set_arg(site, name, &list.join("x"))
    }

    fn try_arg(
        &self,
        site: &Site,
        t: &Try,
        path: &str,
        blame: &[(usize, usize)],
        ids: &[ValueId],
    ) -> Option<Candidate> {
        let axis = blame.first().and_then(|(input, dim)| {
            ids.get(*input).and_then(|id| self.net.ty(*id).names().get(*dim)).cloned()
        });
        self.set_arg(site, t.arg, &t.value).map(|c| c.probe(&self.net.name, path, axis))
    }

    /// An edit that gives argument `name` of a call the value `text`.
    pub(super) fn set_arg(&self, site: &Site, name: &str, text: &str) -> Option<Candidate> {
        if self.shipped(site.callee) {
            return None;
        }
        let title_new = format!("{name}: {text}");
        match site.arg(name) {
            Some(arg) => {
                let old = self.sources.text(arg.value);
                // A computed number is not replaced by another one: the slip is in what it is computed from.
                let number = text.starts_with(|c: char| c.is_ascii_digit());
                if old == text || (number && !arg.literal) {
                    return None;
                }
                let title = match self.ordinal(arg.value) {
                    // A keyed argument is shown as it will stand.
                    _ if arg.whole != arg.value => title_new,
                    Some(nth) => format!("the {nth} {old} -> {text}"),
                    None => format!("{old} -> {text}"),
                };
                Some(Candidate::new(title, vec![Edit { span: arg.value, text: text.to_owned() }]))
            }
            None => {
                let (at, before, after) = site.insert?;
                let positional = site.info.params.iter().filter(|p| p.positional).map(|p| p.name);
                let given = site.args.iter().filter(|a| a.whole == a.value).count();
                // A parameter that comes by position is added the same way where it is the next one.
                let bare = positional.clone().nth(given) == Some(name)
                    && site.args.iter().all(|a| a.whole == a.value);
                let text = if bare { text.to_owned() } else { title_new.clone() };
                Some(Candidate::new(
                    title_new,
                    vec![Edit { span: at, text: format!("{before}{text}{after}") }],
                ))
            }
        }
    }

    /// Which of several equal words of its line a place holds: `2nd`; `None` where there is one.
    fn ordinal(&self, span: Span) -> Option<String> {
        let text = &self.sources.get(span.file).text;
        let word = self.sources.text(span);
        let (start, end) = (span.start as usize, span.end as usize);
        let from = text.get(..start)?.rfind('\n').map_or(0, |i| i + 1);
        let to = text.get(end..)?.find('\n').map_or(text.len(), |i| end + i);
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let alone = |at: &usize| {
            let (before, after) = (text.get(..*at), text.get(at + word.len()..));
            !inside(before.and_then(|t| t.chars().next_back()))
                && !inside(after.and_then(|t| t.chars().next()))
        };
        let places: Vec<usize> =
            text.get(from..to)?.match_indices(word).map(|(at, _)| from + at).filter(alone).collect();
        let nth = places.iter().position(|at| *at == start)? + 1;
        let suffix = match nth {
            1 => "st",
            2 => "nd",
            3 => "rd",
            _ => "th",
        };
        (places.len() > 1).then(|| format!("{nth}{suffix}"))
    }

    /// Whether a place lies in the module shipped with the compiler, which no user can edit.
    pub(super) fn shipped(&self, span: Span) -> bool {
        self.modules.std.is_some_and(|std| self.modules.all[std].file == span.file)
    }
}
