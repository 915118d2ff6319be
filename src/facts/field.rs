//! Receptive fields, exact on each axis: through windows, dilation, transposed windows, branches and repeats.
//!
//! A position `o` of a value looks back on an interval of an input's positions. Going back through one operation turns an
//! interval into an interval ([`Field`]); where several paths meet, the hull is kept. Intervals are not cut at the borders,
//! so they say what the network would see on an endless grid; what falls outside is padding.

use std::collections::BTreeMap;

use crate::graph::{Def, Graph, ValueId};
use crate::ops::Field;
use crate::support::Name;

/// What positions of a value see along one grid axis of the network's inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisField {
    /// The axis.
    pub axis: Name,
    /// Greatest number of input positions, from first to last, that one position sees.
    pub reach: u64,
    /// Input positions between the fields of neighbours, as a fraction; 0 once the axis is gone.
    pub jump: (u64, u64),
    /// Centre of the first position's field, in input positions (a pixel's centre is its index).
    pub first_centre: f64,
    /// Share of positions along this axis that some padding reaches, in 0..=1.
    pub touched: f64,
}

/// Positions looked at to find the greatest reach where transposed windows make it vary: phases repeat after their strides.
const PHASES_MAX: u64 = 64;

/// An interval of positions; `None` when nothing is seen.
type Interval = Option<(i64, i64)>;

/// Receptive fields of one graph's values; remembers what padding touches.
pub(super) struct Fields<'a> {
    graph: &'a Graph,
    axes: Vec<(Name, usize)>,
    touched: BTreeMap<(ValueId, Name), Vec<bool>>,
}

/// The receptive field of `id` on each grid axis of the graph's inputs.
pub fn receptive_fields(graph: &Graph, id: ValueId) -> Vec<AxisField> {
    Fields::new(graph).of(id)
}

impl<'a> Fields<'a> {
    /// Prepares for queries.
    pub(super) fn new(graph: &'a Graph) -> Self {
        let mut axes: Vec<(Name, usize)> = Vec::new();
        for port in &graph.inputs {
            let ty = &graph.value(port.value).ty;
            for (name, extent) in ty.grid_names().iter().zip(ty.grid_dims()) {
                match axes.iter_mut().find(|(n, _)| n == name) {
                    Some(known) => known.1 = known.1.max(*extent),
                    None => axes.push((name.clone(), *extent)),
                }
            }
        }
        Self { graph, axes, touched: BTreeMap::new() }
    }

    /// The receptive field of `id`, an axis at a time; empty when the inputs have no grid.
    pub(super) fn of(&mut self, id: ValueId) -> Vec<AxisField> {
        self.axes.clone().into_iter().map(|(axis, extent)| self.along(id, &axis, extent)).collect()
    }

    fn along(&mut self, id: ValueId, axis: &Name, extent: usize) -> AxisField {
        let touched = self.touched(id, axis);
        let share = touched.iter().filter(|t| **t).count() as f64 / touched.len().max(1) as f64;
        let whole = AxisField {
            axis: axis.clone(),
            reach: extent as u64,
            jump: (0, 1),
            first_centre: (extent as f64 - 1.0) / 2.0,
            touched: share,
        };
        let Some(len) = axis_extent(self.graph, id, axis) else {
            // The axis is gone: one vector sees a fixed interval, whichever operation removed the axis.
            let seen = self.look_back(id, axis, (0, 0));
            let Some((lo, hi)) = seen else { return AxisField { reach: 0, ..whole } };
            return AxisField { reach: (hi - lo + 1) as u64, first_centre: (lo + hi) as f64 / 2.0, ..whole };
        };
        let period = self.period(id);
        let start = (len as i64 / 2).max(0);
        let mut reach = 0;
        for o in start..start + period as i64 {
            if let Some((lo, hi)) = self.look_back(id, axis, (o, o)) {
                reach = reach.max((hi - lo + 1).max(0) as u64);
            }
        }
        let first = self.look_back(id, axis, (0, 0));
        let (near, far) = (self.look_back(id, axis, (start, start)), start + period as i64);
        let moved = match (near, self.look_back(id, axis, (far, far))) {
            (Some(a), Some(b)) => (b.0 - a.0).max(0) as u64,
            _ => 0,
        };
        let g = gcd(moved, period).max(1);
        AxisField {
            reach,
            jump: (moved / g, period / g),
            first_centre: first.map_or(0.0, |(lo, hi)| (lo + hi) as f64 / 2.0),
            ..whole
        }
    }

    /// The hull of input positions that positions `from` of `id` see along `axis`.
    fn look_back(&self, id: ValueId, axis: &Name, from: (i64, i64)) -> Interval {
        let mut open: BTreeMap<ValueId, (i64, i64)> = BTreeMap::from([(id, from)]);
        let mut seen: Interval = None;
        // Ids are in topological order, so the greatest open one has all its users behind it.
        while let Some((v, at)) = open.pop_last() {
            match &self.graph.value(v).def {
                Def::Input(_) => {
                    if axis_extent(self.graph, v, axis).is_some() {
                        seen = hull(seen, Some(at));
                    }
                }
                Def::Param { .. } | Def::Const(_) => {}
                Def::Op { inputs, .. } => {
                    for (i, u) in inputs.iter().enumerate() {
                        if let Some(back) = self.through(v, i, *u, axis, at) {
                            let known = open.get(u).copied();
                            if let Some(both) = hull(known, Some(back)) {
                                open.insert(*u, both);
                            }
                        }
                    }
                }
            }
        }
        seen
    }

    /// One step back, from positions `at` of `v` to positions of its input `i`, which is `u`.
    fn through(&self, v: ValueId, i: usize, u: ValueId, axis: &Name, at: (i64, i64)) -> Interval {
        if !self.graph.value(u).ty.is_activation() {
            return None;
        }
        let Some(len) = axis_extent(self.graph, u, axis) else { return Some((0, 0)) };
        match self.field(v, i, axis) {
            Field::All => Some((0, len as i64 - 1)),
            Field::Window { stride, before, reach } => {
                let s = stride as i64;
                let lo = at.0.saturating_mul(s).saturating_sub(before);
                let hi = at.1.saturating_mul(s).saturating_sub(before).saturating_add(reach as i64 - 1);
                Some((lo, hi))
            }
            Field::Spread { stride, before, reach } => {
                let s = (stride as i64).max(1);
                let lo = -((-(at.0.saturating_add(before) - (reach as i64 - 1))).div_euclid(s));
                let hi = at.1.saturating_add(before).div_euclid(s);
                (lo <= hi).then_some((lo, hi))
            }
        }
    }

    /// The rule of `v` for its input `i` along `axis`; `All` where the output lacks the axis.
    fn field(&self, v: ValueId, i: usize, axis: &Name) -> Field {
        let value = self.graph.value(v);
        let Def::Op { op, inputs } = &value.def else { return Field::All };
        let Some(position) = value.ty.position(axis).filter(|p| *p >= 2) else { return Field::All };
        let types: Vec<_> = inputs.iter().map(|u| &self.graph.value(*u).ty).collect();
        op.rules().field(i, &types, &value.ty).get(position - 2).copied().unwrap_or(Field::All)
    }

    /// For each position of `id` along `axis`, whether padding reaches it; one entry when the axis is gone.
    fn touched(&mut self, id: ValueId, axis: &Name) -> Vec<bool> {
        if let Some(known) = self.touched.get(&(id, axis.clone())) {
            return known.clone();
        }
        // Values stand in order, so all before `id` are known once this loop has passed them.
        for v in self.graph.ids().take(id.index() + 1) {
            let key = (v, axis.clone());
            if !self.touched.contains_key(&key) {
                let found = self.touched_once(v, axis);
                self.touched.insert(key, found);
            }
        }
        self.touched.get(&(id, axis.clone())).cloned().unwrap_or_default()
    }

    fn touched_once(&self, v: ValueId, axis: &Name) -> Vec<bool> {
        let len = axis_extent(self.graph, v, axis).unwrap_or(1);
        let mut out = vec![false; len];
        for (i, u) in self.graph.uses(v).iter().enumerate() {
            let Some(before) = self.touched.get(&(*u, axis.clone())) else { continue };
            let counts: Vec<usize> = std::iter::once(0)
                .chain(before.iter().scan(0, |n, t| {
                    *n += usize::from(*t);
                    Some(*n)
                }))
                .collect();
            let source_len = axis_extent(self.graph, *u, axis);
            for (o, touched) in out.iter_mut().enumerate() {
                let o = o as i64;
                let Some((lo, hi)) = self.through(v, i, *u, axis, (o, o)) else { continue };
                // A transposed window never reads past its input: beyond the border there is nothing to scatter.
                let spread = matches!(self.field(v, i, axis), Field::Spread { .. });
                let end = before.len() as i64;
                let outside = source_len.is_some() && !spread && (lo < 0 || hi >= end);
                let (lo, hi) = (lo.clamp(0, end), (hi + 1).clamp(0, end));
                *touched |= outside || (hi > lo && counts[hi as usize] > counts[lo as usize]);
            }
        }
        out
    }

    /// After how many positions the phases of all transposed windows behind `id` repeat, capped.
    fn period(&self, id: ValueId) -> u64 {
        let mut period = 1u64;
        for v in self.graph.ids().take(id.index() + 1) {
            for i in 0..self.graph.uses(v).len() {
                let Some(axis) = self.graph.value(v).ty.names().get(2).cloned() else { continue };
                if let Field::Spread { stride, .. } = self.field(v, i, &axis) {
                    period = (period * stride.max(1)).min(PHASES_MAX);
                }
            }
        }
        period
    }
}

fn axis_extent(graph: &Graph, id: ValueId, axis: &str) -> Option<usize> {
    let ty = &graph.value(id).ty;
    if !ty.is_activation() {
        return None;
    }
    ty.position(axis).filter(|p| *p >= 2).map(|p| ty.dims()[p])
}

fn hull(a: Interval, b: Interval) -> Interval {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, None) | (None, one) => one,
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
