//! Where an extent comes from, as text: the values from the input to the one that is blamed, each with its producer, line and
//! formula; for two extents also what they share and where their paths part. Columns are aligned over all lines.

use super::network::Network;
use crate::graph::ValueId;
use crate::ops::Why;
use crate::support::span::{Sources, Span};

/// Rows of one chain; longer ones are shortened in the middle.
const ROWS_MAX: usize = 9;
/// Values walked back; deeper networks show the end of the chain.
const WALK_MAX: usize = 100_000;

/// An extent to be explained: `left`, and a dimension of a value.
pub(super) struct Side {
    /// What stands before the colon; may be empty.
    pub head: String,
    /// The value.
    pub value: ValueId,
    /// The dimension.
    pub dim: usize,
}

/// One line of a chain.
struct Row {
    extent: String,
    producer: String,
    line: String,
    text: String,
    mark: bool,
}

/// One note per side: `h = 28, left:   56   x of residual …`.
pub(super) fn notes(sources: &Sources, net: &Network, place: usize, at: Span, sides: &[Side]) -> Vec<String> {
    let chains: Vec<Vec<(ValueId, usize)>> = sides.iter().map(|s| walk(net, s.value, s.dim)).collect();
    let view = View { sources, net, place, at };
    let rows: Vec<Vec<Row>> = match chains.as_slice() {
        [one] => vec![view.rows(one, 0, None)],
        [left, right] => {
            let shared = left.iter().zip(right).take_while(|(a, b)| a == b).count();
            let from = shared.saturating_sub(1);
            let mut left = view.rows(left, from, None);
            let mut right = view.rows(right, from, (shared > 0).then_some("the same value"));
            // The mark stands on the right's first line of its own; where it has none, on the left's.
            let own = usize::from(shared > 0);
            if shared > 0 {
                let marked = if right.len() > own { &mut right } else { &mut left };
                if let Some(row) = marked.get_mut(own) {
                    row.mark = true;
                }
            }
            vec![left, right]
        }
        _ => Vec::new(),
    };
    let heads: Vec<String> = sides
        .iter()
        .map(|s| {
            let ty = net.ty(s.value);
            let (axis, extent) = (&ty.names()[s.dim], ty.dims()[s.dim]);
            if s.head.is_empty() {
                format!("{axis} = {extent}:")
            } else {
                format!("{axis} = {extent}, {}:", s.head)
            }
        })
        .collect();
    layout(&heads, rows)
}

/// Aligns heads and columns.
fn layout(heads: &[String], mut rows: Vec<Vec<Row>>) -> Vec<String> {
    for chain in &mut rows {
        if chain.len() > ROWS_MAX {
            let cut = chain.len() - (ROWS_MAX - 2);
            let gap = Row {
                extent: String::new(),
                producer: format!("… {} more", cut - 1),
                line: String::new(),
                text: String::new(),
                mark: false,
            };
            chain.splice(1..cut, [gap]);
        }
    }
    let width = |f: &dyn Fn(&Row) -> usize| rows.iter().flatten().map(f).max().unwrap_or(0);
    let count = |s: &str| s.chars().count();
    let head = heads.iter().map(|h| count(h)).max().unwrap_or(0);
    let extent = width(&|r| count(&r.extent));
    let producer = width(&|r| if r.line.is_empty() { 0 } else { count(&r.producer) });
    let cell = |r: &Row| {
        if r.line.is_empty() { r.producer.clone() } else { format!("{:<producer$}   {}", r.producer, r.line) }
    };
    let left = width(&|r| count(&cell(r)));
    let rule = width(&|r| split_rule(&r.text).map_or(0, |(rule, _)| count(rule)));
    let texts = |r: &Row| match split_rule(&r.text) {
        Some((word, rest)) => format!("{word:<rule$} {rest}"),
        None => r.text.clone(),
    };
    let text = width(&|r| count(&texts(r)));
    rows.iter()
        .zip(heads)
        .map(|(chain, name)| {
            let lines = chain.iter().enumerate().map(|(i, r)| {
                let name = if i == 0 { name.as_str() } else { "" };
                let mark = if r.mark { "   <- the paths part here" } else { "" };
                let pad = if r.mark { text } else { 0 };
                let line = format!(
                    "{name:<head$}   {:>extent$}   {:<left$}     {:<pad$}{mark}",
                    r.extent,
                    cell(r),
                    texts(r)
                );
                line.trim_end().to_owned()
            });
            lines.collect::<Vec<_>>().join("\n")
        })
        .collect()
}

/// `same: ceil(56 / 2)` is the rule `same:` and the rest.
fn split_rule(text: &str) -> Option<(&str, &str)> {
    let at = text.find(": ")?;
    (!text[..at].contains(['(', '`'])).then(|| (&text[..=at], &text[at + 2..]))
}

/// The values that an extent was computed from, the first one first.
fn walk(net: &Network, value: ValueId, dim: usize) -> Vec<(ValueId, usize)> {
    let mut chain = vec![(value, dim)];
    let (mut value, mut dim) = (value, dim);
    while chain.len() < WALK_MAX {
        let Some(Why { from: Some((input, next)), .. }) = net.trace(value).why.get(dim) else { break };
        let Some(id) = net.graph.uses(value).get(*input) else { break };
        (value, dim) = (*id, *next);
        chain.push((value, dim));
    }
    chain.reverse();
    chain
}

/// For each blamed extent the values whose operations computed it, the first one first; what both sides share is left out.
pub(super) fn producers(net: &Network, blamed: &[(ValueId, usize)]) -> Vec<Vec<(ValueId, usize)>> {
    let mut chains: Vec<Vec<(ValueId, usize)>> = blamed.iter().map(|(v, d)| walk(net, *v, *d)).collect();
    if let [left, right] = chains.as_mut_slice() {
        let shared = left.iter().zip(right.iter()).take_while(|(a, b)| a == b).count();
        left.drain(..shared);
        right.drain(..shared);
    }
    for chain in &mut chains {
        chain.retain(|(v, d)| net.trace(*v).why.get(*d).is_some_and(|w| !w.formula.is_empty()));
    }
    chains
}

/// `Net > stage[1] > residual(k: 128, s: 2)`
pub(super) fn path(net: &Network, place: usize) -> String {
    let mut parts = Vec::new();
    let mut next = Some(place);
    while let Some(place) = next {
        let Some(place) = net.places.get(place) else { break };
        parts.push(place.text.clone());
        next = place.parent;
    }
    parts.reverse();
    parts.join(" > ")
}

/// Who looks at a chain: the place of the error decides what values are called.
struct View<'v> {
    sources: &'v Sources,
    net: &'v Network,
    place: usize,
    at: Span,
}

impl View<'_> {
    /// The lines of a chain from its element `from` on; steps that keep an extent as it was are left out. `known` replaces the
    /// text of the first line.
    fn rows(&self, chain: &[(ValueId, usize)], from: usize, known: Option<&str>) -> Vec<Row> {
        let mut rows = Vec::new();
        for (i, (value, dim)) in chain.iter().enumerate().skip(from) {
            let why = self.net.trace(*value).why.get(*dim);
            let formula = why.map_or("", |w| w.formula.as_str());
            if i == from {
                rows.push(self.first(*value, *dim, formula, known));
            } else if !formula.is_empty() {
                rows.push(self.row(*value, *dim, formula));
            }
        }
        rows
    }

    /// The first line: where the value came into sight.
    fn first(&self, value: ValueId, dim: usize, formula: &str, known: Option<&str>) -> Row {
        let mut row = match self.parameter(value) {
            Some((producer, passed)) => Row {
                producer,
                line: String::new(),
                text: format!("passed at {}", self.full(passed)),
                ..self.row(value, dim, "")
            },
            None => self.row(value, dim, formula),
        };
        if let Some(known) = known {
            row.text = known.to_owned();
        }
        row
    }

    fn row(&self, value: ValueId, dim: usize, formula: &str) -> Row {
        let trace = self.net.trace(value);
        let producer = match &trace.label {
            Some(label) if &*trace.what == "input" => label.to_string(),
            Some(label) => format!("{} {label}", trace.what),
            None => trace.what.to_string(),
        };
        let extent = self.net.ty(value).dims().get(dim).copied().unwrap_or(0).to_string();
        Row { extent, producer, line: self.line(trace.span), text: formula.to_owned(), mark: false }
    }

    /// `x of residual` and where it was passed, if the value is a parameter of a block or turn around the error.
    fn parameter(&self, value: ValueId) -> Option<(String, Span)> {
        let mut next = Some(self.place);
        while let Some(place) = next {
            let place = self.net.places.get(place)?;
            if let Some((name, _)) = place.params.iter().find(|(_, id)| *id == value) {
                return Some((format!("{name} of {}", place.name), place.span));
            }
            next = place.parent;
        }
        None
    }

    /// `:4`, with the file's name where it is another one than the error's.
    fn line(&self, span: Span) -> String {
        if span.file == self.at.file { format!(":{}", self.sources.line(span)) } else { self.full(span) }
    }

    fn full(&self, span: Span) -> String {
        format!("{}:{}", self.sources.get(span.file).name, self.sources.line(span))
    }
}

/// The chain of one extent, for `:why x.h`: one line per step.
pub fn why(sources: &Sources, net: &Network, value: ValueId, axis: &str) -> Option<String> {
    let dim = net.ty(value).position(axis)?;
    let at = net.trace(value).span;
    let side = Side { head: String::new(), value, dim };
    notes(sources, net, 0, at, &[side]).into_iter().next()
}
