//! `Einsum`: diagonals are cut out, what occurs in one term alone is summed, then terms are multiplied two at a time as products of
//! matrices.

use super::composed::{Build, int, list};
use super::{Operands, Results, need};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::value::Value;

/// The labels of the dimensions that `...` stands for, the last of them being the greatest: no letter is one of these.
const DOTS: [char; 8] =
    ['\u{E000}', '\u{E001}', '\u{E002}', '\u{E003}', '\u{E004}', '\u{E005}', '\u{E006}', '\u{E007}'];

/// A tensor with a label for each dimension.
type Term = (Vec<char>, Value);

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    (at.node.op_type == "Einsum").then(|| Ok(vec![Build { cx }.einsum(at, x)?]))
}

/// What an equation says: the labels of each term, and those of the result.
struct Equation {
    terms: Vec<Vec<char>>,
    out: Vec<char>,
}

impl Equation {
    /// Reads an equation for operands of these ranks.
    fn of(text: &str, ranks: &[usize]) -> Option<Self> {
        let (left, out) = match text.split_once("->") {
            Some((left, out)) => (left, Some(out)),
            None => (text, None),
        };
        let split: Vec<&str> = left.split(',').collect();
        if split.len() != ranks.len() {
            return None;
        }
        let terms: Vec<Vec<char>> =
            split.iter().zip(ranks).map(|(t, rank)| labels(t, Some(*rank))).collect::<Option<_>>()?;
        let dots: Vec<char> = DOTS.iter().copied().filter(|d| terms.iter().any(|t| t.contains(d))).collect();
        let out = match out {
            None => implied(&terms, &dots),
            Some(out) => {
                let (before, after) = match out.split_once("...") {
                    Some((before, after)) => (labels(before, None)?, Some(labels(after, None)?)),
                    None => (labels(out, None)?, None),
                };
                let dots = if after.is_some() { dots } else { Vec::new() };
                before.into_iter().chain(dots).chain(after.unwrap_or_default()).collect()
            }
        };
        let known = |c: &char| terms.iter().any(|t| t.contains(c));
        let once = out.iter().enumerate().all(|(i, c)| known(c) && !out[..i].contains(c));
        once.then_some(Self { terms, out })
    }
}

/// The labels of one term; `...` stands for what is left of `rank`.
fn labels(text: &str, rank: Option<usize>) -> Option<Vec<char>> {
    let letters = |text: &str| -> Option<Vec<char>> {
        text.chars().all(|c| c.is_ascii_alphabetic()).then(|| text.chars().collect())
    };
    let Some((before, after)) = text.split_once("...") else {
        return letters(text).filter(|l| rank.is_none_or(|r| r == l.len()));
    };
    let (before, after) = (letters(before)?, letters(after)?);
    let more = rank?.checked_sub(before.len() + after.len()).filter(|m| *m <= DOTS.len())?;
    Some(before.into_iter().chain(DOTS[DOTS.len() - more..].iter().copied()).chain(after).collect())
}

/// An equation without a result means `...` and the labels that occur once, in the order of the alphabet.
fn implied(terms: &[Vec<char>], dots: &[char]) -> Vec<char> {
    let all: Vec<char> = terms.concat();
    let alone = |c: &&char| !DOTS.contains(*c) && all.iter().filter(|d| d == c).count() == 1;
    let mut once: Vec<char> = all.iter().filter(alone).copied().collect();
    once.sort_unstable();
    dots.iter().copied().chain(once).collect()
}

impl Build<'_> {
    fn einsum(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let text: String = at.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
        let wrong = |e: String| format!("the equation `{text}`: {e}");
        let ranks = (0..x.len()).map(|i| Ok(need(x, i)?.dims().len())).collect::<Result<Vec<_>, String>>()?;
        let Equation { terms, out } =
            Equation::of(&text, &ranks).ok_or_else(|| format!("the equation `{text}`"))?;
        let mut parts: Vec<Term> = Vec::new();
        for (i, term) in terms.into_iter().enumerate() {
            let part = self.diagonals((term, need(x, i)?.clone())).map_err(wrong)?;
            parts.push(part);
        }
        let parts = self.spread(parts)?;
        // What occurs in one term alone and not in the result is summed first.
        let mut rest: Vec<Term> = Vec::new();
        for (i, (term, value)) in parts.iter().enumerate() {
            let elsewhere = |c: &char| parts.iter().enumerate().any(|(j, p)| j != i && p.0.contains(c));
            let gone: Vec<usize> =
                (0..term.len()).filter(|p| !out.contains(&term[*p]) && !elsewhere(&term[*p])).collect();
            let kept = (0..term.len()).filter(|p| !gone.contains(p)).map(|p| term[p]).collect();
            let value = match gone.is_empty() {
                true => value.clone(),
                false => self.call("ReduceSum", &[value, &list(gone)], vec![int("keepdims", 0)])?,
            };
            rest.push((kept, value));
        }
        let mut rest = rest.into_iter();
        let mut product = rest.next().ok_or_else(|| format!("the equation `{text}`"))?;
        while let Some(next) = rest.next() {
            let needed = |c: &&char| out.contains(*c) || rest.as_slice().iter().any(|t| t.0.contains(*c));
            let mut kept: Vec<char> = product.0.iter().chain(&next.0).filter(needed).copied().collect();
            kept.sort_unstable();
            kept.dedup();
            product = self.product(&product, &next, &kept).map_err(wrong)?;
        }
        let (labels, value) = product;
        let order: Vec<usize> = out.iter().filter_map(|c| labels.iter().position(|l| l == c)).collect();
        if order.len() != labels.len() || order.len() != out.len() {
            return Err(format!("the equation `{text}`"));
        }
        self.transposed(&value, &order)
    }

    /// A term in which each label occurs once: of two dimensions with one label the diagonal is left.
    fn diagonals(&mut self, (mut labels, mut value): Term) -> Result<Term, String> {
        loop {
            let twice = |q: &usize| labels[..*q].contains(&labels[*q]);
            let Some(q) = (0..labels.len()).find(twice) else { return Ok((labels, value)) };
            let p = labels.iter().position(|l| *l == labels[q]).unwrap_or(0);
            let dims = value.dims().to_vec();
            let n = dims[p];
            if dims[q] != n {
                return Err(format!("extents {n} and {} under one label", dims[q]));
            }
            let others: Vec<usize> = (0..dims.len()).filter(|d| *d != p && *d != q).collect();
            let order: Vec<usize> = [p, q].into_iter().chain(others.iter().copied()).collect();
            let turned = self.transposed(&value, &order)?;
            let mut to: Vec<usize> = [n * n].into_iter().chain(others.iter().map(|d| dims[*d])).collect();
            let flat = self.reshaped(&turned, &to)?;
            let places = list((0..n).map(|i| i * (n + 1)));
            value = self.call("Gather", &[&flat, &places], vec![int("axis", 0)])?;
            to[0] = n;
            labels = [labels[p]].into_iter().chain(others.iter().map(|d| labels[*d])).collect();
        }
    }

    /// Terms without the dimensions of `...` that are 1 where another term's are not: the product repeats them by itself.
    fn spread(&mut self, parts: Vec<Term>) -> Result<Vec<Term>, String> {
        let extent = |(labels, value): &Term, c: &char| {
            labels.iter().position(|l| l == c).map_or(1, |p| value.dims()[p])
        };
        let widest = |c: &char| parts.iter().map(|p| extent(p, c)).max().unwrap_or(1);
        let mut out = Vec::new();
        for (labels, value) in &parts {
            let lone =
                |p: &usize| DOTS.contains(&labels[*p]) && value.dims()[*p] == 1 && widest(&labels[*p]) > 1;
            let gone: Vec<usize> = (0..labels.len()).filter(lone).collect();
            let kept: Vec<usize> = (0..labels.len()).filter(|p| !gone.contains(p)).collect();
            let dims: Vec<usize> = kept.iter().map(|p| value.dims()[*p]).collect();
            let value = if gone.is_empty() { value.clone() } else { self.reshaped(value, &dims)? };
            out.push((kept.iter().map(|p| labels[*p]).collect(), value));
        }
        Ok(out)
    }

    /// Two terms multiplied and summed over what `out` lacks; the result's labels.
    fn product(&mut self, a: &Term, b: &Term, out: &[char]) -> Result<Term, String> {
        let both = |c: &char| a.0.contains(c) && b.0.contains(c);
        let batch: Vec<char> = out.iter().copied().filter(both).collect();
        let sum: Vec<char> = a.0.iter().copied().filter(|c| both(c) && !out.contains(c)).collect();
        let left: Vec<char> = a.0.iter().copied().filter(|c| !both(c)).collect();
        let right: Vec<char> = b.0.iter().copied().filter(|c| !both(c)).collect();
        let extent = |of: &Term, c: &char| of.0.iter().position(|l| l == c).map_or(1, |p| of.1.dims()[p]);
        if a.0.iter().any(|c| both(c) && extent(a, c) != extent(b, c)) {
            return Err(format!("extents {:?} and {:?}", a.1.dims(), b.1.dims()));
        }
        let size = |of: &Term, labels: &[char]| labels.iter().map(|c| extent(of, c)).product();
        let arranged = |build: &mut Self, of: &Term, groups: [&[char]; 3]| {
            let order: Vec<usize> =
                groups.concat().iter().filter_map(|c| of.0.iter().position(|l| l == c)).collect();
            let turned = build.transposed(&of.1, &order)?;
            build.reshaped(&turned, &groups.map(|g| size(of, g)))
        };
        let x = arranged(self, a, [&batch, &left, &sum])?;
        let y = arranged(self, b, [&batch, &sum, &right])?;
        let product = self.call("MatMul", &[&x, &y], Vec::new())?;
        let labels: Vec<char> = batch.iter().chain(&left).chain(&right).copied().collect();
        let dims: Vec<usize> =
            labels.iter().map(|c| if a.0.contains(c) { extent(a, c) } else { extent(b, c) }).collect();
        Ok((labels, self.reshaped(&product, &dims)?))
    }
}
