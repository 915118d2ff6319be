//! Receptive fields, exact on each axis: through windows, dilation, transposed windows, branches and repeats.
//!
//! A position `o` of a value looks back on an interval of an input's positions. Going back through one operation turns an
//! interval into an interval ([`Field`]); where several paths meet, the hull is kept. Intervals are not cut at the borders,
//! so they say what the network would see on an endless grid; what falls outside is padding.

use std::collections::BTreeMap;

use super::back::{Back, Interval, gcd, hull};
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

/// Receptive fields of one graph's values.
pub(super) struct Fields<'a> {
    graph: &'a Graph,
    axes: Vec<(Name, usize)>,
    /// Per value and operand the rule for each grid axis of the value.
    rules: Vec<Vec<Vec<Field>>>,
    /// Per axis and value how positions look back; `None` where that has no closed form.
    backs: Vec<Vec<Option<Back>>>,
    /// Per axis and value, for each position whether padding reaches it; one entry where the axis is gone.
    touched: Vec<Vec<Vec<bool>>>,
    /// Per value after how many positions the phases of all transposed windows behind it repeat, capped.
    periods: Vec<u64>,
}

/// The receptive field of `id` on each grid axis of the graph's inputs.
pub fn receptive_fields(graph: &Graph, id: ValueId) -> Vec<AxisField> {
    Fields::new(graph).of(id)
}

impl<'a> Fields<'a> {
    /// Looks back from every value, one after another.
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
        let none = || vec![Vec::new(); axes.len()];
        let mut out = Self {
            graph,
            rules: Vec::new(),
            backs: vec![Vec::new(); axes.len()],
            touched: none(),
            periods: Vec::new(),
            axes,
        };
        let mut period = 1u64;
        for v in graph.ids() {
            out.rules.push(rules(graph, v));
            for fields in &out.rules[v.index()] {
                if let Some(Field::Spread { stride, .. }) = fields.first() {
                    period = (period * (*stride).max(1)).min(PHASES_MAX);
                }
            }
            out.periods.push(period);
            for a in 0..out.axes.len() {
                let axis = out.axes[a].0.clone();
                let back = out.back(v, a, &axis);
                out.backs[a].push(back);
                let touched = out.touched(v, a, &axis);
                out.touched[a].push(touched);
            }
        }
        out
    }

    /// The receptive field of `id`, an axis at a time; empty when the inputs have no grid.
    pub(super) fn of(&self, id: ValueId) -> Vec<AxisField> {
        (0..self.axes.len()).map(|a| self.along(id, a)).collect()
    }

    fn along(&self, id: ValueId, a: usize) -> AxisField {
        let (axis, extent) = &self.axes[a];
        let extent = *extent;
        let touched = &self.touched[a][id.index()];
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
            let seen = self.look_back(id, a, (0, 0));
            let Some((lo, hi)) = seen else { return AxisField { reach: 0, ..whole } };
            return AxisField { reach: (hi - lo + 1) as u64, first_centre: (lo + hi) as f64 / 2.0, ..whole };
        };
        let period = self.periods[id.index()];
        let start = (len as i64 / 2).max(0);
        let mut reach = 0;
        for o in start..start + period as i64 {
            if let Some((lo, hi)) = self.look_back(id, a, (o, o)) {
                reach = reach.max((hi - lo + 1).max(0) as u64);
            }
        }
        let first = self.look_back(id, a, (0, 0));
        let (near, far) = (self.look_back(id, a, (start, start)), start + period as i64);
        let moved = match (near, self.look_back(id, a, (far, far))) {
            (Some(a), Some(b)) => (b.0 - a.0).max(0) as u64,
            _ => 0,
        };
        let g = gcd(moved as i64, period as i64).max(1) as u64;
        AxisField {
            reach,
            jump: (moved / g, period / g),
            first_centre: first.map_or(0.0, |(lo, hi)| (lo + hi) as f64 / 2.0),
            ..whole
        }
    }

    /// How positions of `v` look back, from how those of its operands do.
    fn back(&self, v: ValueId, a: usize, axis: &Name) -> Option<Back> {
        let inputs = match &self.graph.value(v).def {
            Def::Input(_) if axis_extent(self.graph, v, axis).is_some() => return Some(Back::same()),
            Def::Input(_) | Def::Param { .. } | Def::Const(_) => return Some(Back::default()),
            Def::Op { inputs, .. } => inputs,
        };
        let mut all = Back::default();
        for (i, u) in inputs.iter().enumerate() {
            if !self.graph.value(*u).ty.is_activation() {
                continue;
            }
            let fixed = |seen| Some(Back::fixed(seen));
            let behind = self.backs[a][u.index()].as_ref();
            let one = match (axis_extent(self.graph, *u, axis), self.rule(v, i, axis)) {
                (None, _) => fixed(self.look_back(*u, a, (0, 0))),
                (Some(len), Field::All) => fixed(self.look_back(*u, a, (0, len as i64 - 1))),
                (_, Field::Window { stride, before, reach }) => {
                    behind.map(|b| b.window(stride, before, reach))
                }
                (_, Field::Spread { stride, before, reach }) => {
                    behind.and_then(|b| b.spread(stride, before, reach))
                }
            };
            all = all.both(&one?)?;
        }
        Some(all)
    }

    /// The hull of input positions that positions `from` of `id` see along axis `a`.
    fn look_back(&self, id: ValueId, a: usize, from: (i64, i64)) -> Interval {
        let axis = &self.axes[a].0;
        let mut open: BTreeMap<ValueId, (i64, i64)> = BTreeMap::from([(id, from)]);
        let mut seen: Interval = None;
        // Ids are in topological order, so the greatest open one has all its users behind it.
        while let Some((v, at)) = open.pop_last() {
            if let Some(back) = &self.backs[a][v.index()] {
                seen = hull(seen, back.of(at));
                continue;
            }
            for (i, u) in self.graph.uses(v).iter().enumerate() {
                if let Some(back) = self.through(v, i, *u, axis, at)
                    && let Some(both) = hull(open.get(u).copied(), Some(back))
                {
                    open.insert(*u, both);
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
        step(self.rule(v, i, axis), len, at)
    }

    /// The rule of `v` for its input `i` along `axis`; `All` where the output lacks the axis.
    fn rule(&self, v: ValueId, i: usize, axis: &Name) -> Field {
        let position = self.graph.value(v).ty.position(axis).and_then(|p| p.checked_sub(2));
        let rules = self.rules.get(v.index()).and_then(|r| r.get(i));
        position.and_then(|p| rules?.get(p).copied()).unwrap_or(Field::All)
    }

    /// For each position of `v` along `axis`, whether padding reaches it.
    fn touched(&self, v: ValueId, a: usize, axis: &Name) -> Vec<bool> {
        let len = axis_extent(self.graph, v, axis).unwrap_or(1);
        let mut out = vec![false; len];
        for (i, u) in self.graph.uses(v).iter().enumerate() {
            if !self.graph.value(*u).ty.is_activation() {
                continue;
            }
            let before = &self.touched[a][u.index()];
            let counts: Vec<usize> = std::iter::once(0)
                .chain(before.iter().scan(0, |n, t| {
                    *n += usize::from(*t);
                    Some(*n)
                }))
                .collect();
            let source_len = axis_extent(self.graph, *u, axis);
            let rule = self.rule(v, i, axis);
            // A transposed window never reads past its input: beyond the border there is nothing to scatter.
            let spread = matches!(rule, Field::Spread { .. });
            let end = before.len() as i64;
            for (o, touched) in out.iter_mut().enumerate() {
                let o = o as i64;
                let seen = source_len.map_or(Some((0, 0)), |len| step(rule, len, (o, o)));
                let Some((lo, hi)) = seen else { continue };
                let outside = source_len.is_some() && !spread && (lo < 0 || hi >= end);
                let (lo, hi) = (lo.clamp(0, end), (hi + 1).clamp(0, end));
                *touched |= outside || (hi > lo && counts[hi as usize] > counts[lo as usize]);
            }
        }
        out
    }
}

/// The rules of `v`, one for each operand and grid axis.
fn rules(graph: &Graph, v: ValueId) -> Vec<Vec<Field>> {
    let value = graph.value(v);
    let Def::Op { op, inputs } = &value.def else { return Vec::new() };
    let types: Vec<_> = inputs.iter().map(|u| &graph.value(*u).ty).collect();
    (0..inputs.len()).map(|i| op.rules().field(i, &types, &value.ty)).collect()
}

/// Positions `at` of a value as positions of an operand with `len` of them.
fn step(rule: Field, len: usize, at: (i64, i64)) -> Interval {
    match rule {
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

fn axis_extent(graph: &Graph, id: ValueId, axis: &str) -> Option<usize> {
    let ty = &graph.value(id).ty;
    if !ty.is_activation() {
        return None;
    }
    ty.position(axis).filter(|p| *p >= 2).map(|p| ty.dims()[p])
}
