//! Which channel loops the nests of the convolution family run: one [`Section`] per set of output channels that can share a
//! loop, with the sum over the input channels that feed them.
//!
//! In: links between the layer's input maps and output maps. Out: loop extents, and for their variables the channels and the
//! leading indices of the weight (`[o, i]` or `[link]`). A transposed section runs from the output maps back to the inputs.

use std::collections::BTreeMap;

use super::args::Links;
use super::geometry::Linking;
use super::lower::LowerCx;
use crate::loops::Affine;

/// A set of channels with sums of one length.
pub(super) enum Section {
    /// All channels, in `groups` groups.
    Grouped {
        /// Number of groups.
        groups: usize,
        /// Channels of the result in a group.
        outs: usize,
        /// Channels summed over in a group.
        ins: usize,
        /// Whether the weight's first dimension counts what is summed over.
        transposed: bool,
    },
    /// Channels that a table links to equally many others.
    Listed {
        /// The channels of the result.
        outs: Vec<i64>,
        /// For each of them the channels summed over.
        ins: Vec<i64>,
        /// For each of those the number of the link.
        links: Vec<i64>,
        /// Links per channel of the result.
        degree: usize,
    },
}

/// The channel of one iteration of a section's loops.
pub(super) struct Channel {
    /// The channel of the result.
    pub(super) out: Affine,
    /// Its group, or its position in the list.
    major: Affine,
    /// Its position in the group.
    minor: Affine,
}

/// The sections of links between `inputs` and `outputs` maps; `transposed` gives those of the transposed layer, from
/// `outputs` back to `inputs`.
pub(super) fn sections(links: &Linking, inputs: usize, outputs: usize, transposed: bool) -> Vec<Section> {
    let (sums, results) = if transposed { (outputs, inputs) } else { (inputs, outputs) };
    let grouped =
        |groups| vec![Section::Grouped { groups, outs: results / groups, ins: sums / groups, transposed }];
    match links {
        Linking::Dense => grouped(1),
        Linking::Groups(groups) => grouped(*groups),
        Linking::Table(table) => listed_sections(table, transposed),
    }
}

fn listed_sections(table: &Links, transposed: bool) -> Vec<Section> {
    // For each channel of the result: the channels summed over, each with the number of its link.
    let mut rows = vec![Vec::new(); if transposed { table.inputs } else { table.rows.len() }];
    let links = table.rows.iter().enumerate().flat_map(|(o, row)| row.iter().map(move |i| (o, *i as usize)));
    for (link, (o, i)) in links.enumerate() {
        let (result, sum) = if transposed { (i, o) } else { (o, i) };
        rows[result].push((sum as i64, link as i64));
    }
    let mut by_degree: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (out, row) in rows.iter().enumerate() {
        by_degree.entry(row.len()).or_default().push(out);
    }
    let section = |(degree, outs): (usize, Vec<usize>)| Section::Listed {
        ins: outs.iter().flat_map(|o| rows[*o].iter().map(|l| l.0)).collect(),
        links: outs.iter().flat_map(|o| rows[*o].iter().map(|l| l.1)).collect(),
        outs: outs.iter().map(|o| *o as i64).collect(),
        degree,
    };
    by_degree.into_iter().map(section).collect()
}

impl Section {
    /// The loops over the channels of the result.
    pub(super) fn dims(&self) -> Vec<(&'static str, usize)> {
        match self {
            Self::Grouped { groups: 1, outs, .. } => vec![("o", *outs)],
            Self::Grouped { groups, outs: 1, .. } => vec![("g", *groups)],
            Self::Grouped { groups, outs, .. } => vec![("g", *groups), ("o", *outs)],
            Self::Listed { outs, .. } => vec![("o", outs.len())],
        }
    }

    /// How many channels one sum runs over.
    pub(super) fn terms(&self) -> usize {
        match self {
            Self::Grouped { ins, .. } => *ins,
            Self::Listed { degree, .. } => *degree,
        }
    }

    /// The channel that the variables of [`Self::dims`] stand for.
    pub(super) fn channel(&self, cx: &mut LowerCx<'_>, at: &[Affine]) -> Channel {
        match self {
            Self::Grouped { groups, outs, .. } => {
                let major = if *groups > 1 { at[0].clone() } else { Affine::k(0) };
                let minor = if *groups == 1 || *outs > 1 { at[at.len() - 1].clone() } else { Affine::k(0) };
                Channel { out: &(&major * *outs as i64) + &minor, major, minor }
            }
            Self::Listed { outs, .. } => {
                Channel { out: listed(cx, "map", &at[0], outs), major: at[0].clone(), minor: Affine::k(0) }
            }
        }
    }

    /// Term `l` of the sum for `channel`: the channel summed over, and the leading indices of its weight.
    pub(super) fn term(&self, cx: &mut LowerCx<'_>, channel: &Channel, l: &Affine) -> (Affine, Vec<Affine>) {
        match self {
            Self::Grouped { ins, transposed, .. } => {
                let from = &(&channel.major * *ins as i64) + l;
                let weight = match transposed {
                    true => vec![from.clone(), channel.minor.clone()],
                    false => vec![channel.out.clone(), l.clone()],
                };
                (from, weight)
            }
            Self::Listed { ins, links, degree, .. } => {
                let at = &(&channel.major * *degree as i64) + l;
                (listed(cx, "from", &at, ins), vec![listed(cx, "link", &at, links)])
            }
        }
    }
}

/// Element `at` of `values`: by arithmetic where they rise evenly, else from a table.
pub(super) fn listed(cx: &mut LowerCx<'_>, name: &str, at: &Affine, values: &[i64]) -> Affine {
    let step = match values {
        [a, b, ..] => b - a,
        _ => 0,
    };
    if values.windows(2).all(|w| w[1] - w[0] == step) {
        return (at * step).offset(values.first().copied().unwrap_or(0));
    }
    let table = cx.b.table(values.to_vec());
    cx.b.lookup(name, table, at.clone()).into()
}
