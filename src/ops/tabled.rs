//! Layers whose maps are linked by a table, as dense ones: where a table links a good part of all pairs, whole vectors of maps
//! with zeros for what is not linked are faster than lists. Only passes ask.

use std::sync::Arc;

use super::Op;
use super::args::Links;
use super::arrange::{Arrange, Pick};
use super::conv::Conv;
use super::conv_grad::ConvGrad;
use super::embed::Embed;
use super::geometry::{Geometry, Linking, Share};
use super::refold::Refold;
use super::slice::Cut;
use super::unconv::Unconv;
use crate::support::Name;
use crate::tensor::ty::TensorTy;

/// A layer with a table, said as a dense one.
pub struct Tabled {
    /// The dense layer.
    pub dense: Op,
    /// Whether the weight is what the layer makes, not what it takes.
    pub makes_weight: bool,
    links: Arc<Links>,
}

/// Pairs of maps for each that is linked, beyond which lists are better: where maps fill vectors, and where they do not.
const SPARSE: [usize; 2] = [10, 3];

/// Maps that fill a vector.
const WIDE: usize = 16;

/// The dense form of `op`, if it has a table that is not too sparse.
pub fn of(op: &Op) -> Option<Tabled> {
    let dense = |g: &Geometry| -> Option<(Geometry, Arc<Links>)> {
        let Linking::Table(links) = &g.links else { return None };
        let pairs = links.inputs.checked_mul(links.rows.len())?;
        let wide = links.rows.len() >= WIDE && links.inputs >= WIDE;
        let most = if wide { SPARSE[0] } else { SPARSE[1] };
        let full = g.share == Share::All && pairs <= most * count(links) && links.inputs > 1;
        full.then(|| (Geometry { links: Linking::Dense, ..g.clone() }, links.clone()))
    };
    let (dense, links, makes_weight): (Op, _, _) = if let Op::Conv(c) = op {
        let (geometry, links) = dense(&c.geometry)?;
        (Conv { geometry, ..c.clone() }.into(), links, false)
    } else if let Op::Unconv(c) = op {
        let (geometry, links) = dense(&c.geometry)?;
        (Unconv { geometry, ..c.clone() }.into(), links, false)
    } else if let Op::ConvGrad(c) = op {
        let (geometry, links) = dense(&c.geometry)?;
        (ConvGrad { geometry }.into(), links, true)
    } else {
        return None;
    };
    Some(Tabled { dense, makes_weight, links })
}

fn count(links: &Links) -> usize {
    links.rows.iter().map(Vec::len).sum()
}

impl Tabled {
    /// The operations, one after another, that make the weight of the dense layer of that of the links, `[l, taps…]`.
    pub fn spread(&self, weight: &TensorTy) -> Vec<Op> {
        let links = count(&self.links);
        let (outs, ins) = (self.links.rows.len(), self.links.inputs);
        // Pairs that are not linked take the link behind the last one, which is 0.
        let mut table = vec![links; outs * ins];
        let pairs = self
            .links
            .rows
            .iter()
            .enumerate()
            .flat_map(|(o, r)| r.iter().map(move |i| o * ins + *i as usize));
        for (link, pair) in pairs.enumerate() {
            table[pair] = link;
        }
        let taps: Vec<(Name, usize)> = self.dims(weight).skip(1).collect();
        let all = |first: &[(&str, usize)]| -> Vec<(Name, usize)> {
            first.iter().map(|(n, d)| (Name::from(*n), *d)).chain(taps.iter().cloned()).collect()
        };
        let picked = Pick::Table { dim: 0, table: Arc::new(table) };
        let from = std::iter::once(picked).chain((1..=taps.len()).map(Pick::same)).collect();
        vec![
            Embed { into: vec![Cut { dim: 0, start: 0, len: links + 1 }] }.into(),
            Arrange { to: all(&[("pair", outs * ins)]), from }.into(),
            Refold { to: all(&[("o", outs), ("i", ins)]) }.into(),
        ]
    }

    /// The operation that takes the weight of the links, of type `weight`, out of that of the dense layer.
    pub fn gather(&self, weight: &TensorTy) -> Op {
        let list = |f: &dyn Fn(usize, u32) -> usize| -> Arc<Vec<usize>> {
            let rows = self.links.rows.iter().enumerate();
            Arc::new(rows.flat_map(|(o, r)| r.iter().map(move |i| f(o, *i))).collect())
        };
        let outs = Pick::Table { dim: 0, table: list(&|o, _| o) };
        let ins = Pick::Table { dim: 0, table: list(&|_, i| i as usize) };
        let taps = (1..weight.dims().len()).map(Pick::same);
        Arrange { to: self.dims(weight).collect(), from: [outs, ins].into_iter().chain(taps).collect() }
            .into()
    }

    fn dims<'a>(&self, weight: &'a TensorTy) -> impl Iterator<Item = (Name, usize)> + use<'a> {
        weight.names().iter().cloned().zip(weight.dims().iter().copied())
    }
}
