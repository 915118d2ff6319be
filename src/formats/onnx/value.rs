//! Values of the graph as ONNX sees them: which dimension of ONNX's tensor is which of the graph's, so that transpositions and
//! dimensions of extent 1 need no operation. And the ways between channels on a grid and general tensors.
//!
//! A tensor of ONNX is held as an activation (`n, c, grid…`) or as a general tensor (`d0, d1, …`, in canonical order).
//! Operations that look at channels and grids ask for [`Importer::act`], matrix products and the like for
//! [`Importer::gen_`]; elementwise ones, slices and reductions take what is there.

use super::host::Host;
use super::importer::Importer;
use super::tensor::Elem;
use crate::graph::{Def, ValueId};
use crate::ops::Op;
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::depth_space::{DepthSpace, Direction};
use crate::ops::refold::Refold;
use crate::ops::reshape::Reshape;
use crate::ops::shuffle::Shuffle;
use crate::support::Name;
use crate::tensor::ty::TensorTy;

/// What a name of the model stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known while importing.
    Host(Host),
    /// A value of the graph.
    Graph(Val),
}

/// A value of the graph seen as a tensor of ONNX.
#[derive(Clone, Debug)]
pub(super) struct Val {
    /// The value.
    pub(super) id: ValueId,
    /// Extents in ONNX's order.
    pub(super) dims: Vec<usize>,
    /// For each dimension of ONNX's tensor the dimension of the graph's; `None` for one of extent 1 that the graph's value
    /// lacks. Dimensions of the graph's value that do not occur have extent 1.
    pub(super) axes: Vec<Option<usize>>,
    /// Arithmetic.
    pub(super) elem: Elem,
}

/// Shapes, indices, bounds and the like have at most so many elements.
const KNOWN_MAX: usize = 1 << 24;

impl Value {
    pub(super) fn dims(&self) -> &[usize] {
        match self {
            Self::Host(h) => &h.dims,
            Self::Graph(v) => &v.dims,
        }
    }

    pub(super) fn elem(&self) -> Elem {
        match self {
            Self::Host(h) => h.elem,
            Self::Graph(v) => v.elem,
        }
    }

    /// What is known of it.
    ///
    /// # Errors
    /// `what` has to be known, and is not.
    pub(super) fn known(&self, what: &str) -> Result<&Host, String> {
        match self {
            Self::Host(h) if h.len() > KNOWN_MAX => {
                Err(format!("{what} is {} numbers, more than are taken", h.len()))
            }
            Self::Host(h) => Ok(h),
            Self::Graph(_) => {
                Err(format!("{what} depends on the input, and must be known when the model is compiled"))
            }
        }
    }
}

impl Val {
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub(super) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Dimensions in another order: dimension `i` is the old `order[i]`.
    pub(super) fn transposed(&self, order: &[usize]) -> Self {
        let dims = order.iter().map(|o| self.dims[*o]).collect();
        Self { dims, axes: order.iter().map(|o| self.axes[*o]).collect(), ..self.clone() }
    }

    /// The same elements with dimensions of extent 1 put in or left out; `None` where more would change.
    pub(super) fn refitted(&self, dims: &[usize]) -> Option<Self> {
        let mut axes = Vec::new();
        let mut old = 0;
        for d in dims {
            while old < self.rank() && self.dims[old] != *d && self.dims[old] == 1 {
                old += 1;
            }
            if old < self.rank() && self.dims[old] == *d {
                axes.push(self.axes[old]);
                old += 1;
            } else if *d == 1 {
                axes.push(None);
            } else {
                return None;
            }
        }
        let rest = self.dims[old..].iter().all(|d| *d == 1);
        rest.then(|| Self { dims: dims.to_vec(), axes, ..self.clone() })
    }

    /// Whether the graph's dimensions that matter stand in ONNX's order.
    fn is_ordered(&self) -> bool {
        let long = self.axes.iter().zip(&self.dims).filter(|(_, d)| **d != 1);
        let places: Vec<Option<usize>> = long.map(|(a, _)| *a).collect();
        places.windows(2).all(|w| w[0] < w[1])
    }
}

/// Names of the dimensions of an activation.
pub(super) fn grid_names(rank: usize) -> Option<&'static [&'static str]> {
    match rank {
        2 => Some(&["n", "c"]),
        3 => Some(&["n", "c", "w"]),
        4 => Some(&["n", "c", "h", "w"]),
        5 => Some(&["n", "c", "d", "h", "w"]),
        _ => None,
    }
}

/// The type of a general tensor.
pub(super) fn general(dims: &[usize]) -> Result<TensorTy, String> {
    let dims = dims.iter().enumerate().map(|(i, d)| (format!("d{i}"), *d));
    TensorTy::new(dims).map_err(|_| "a tensor of more elements than memory holds".to_owned())
}

/// The type of an activation of these extents.
pub(super) fn activation(dims: &[usize]) -> Result<TensorTy, String> {
    let names = grid_names(dims.len())
        .ok_or_else(|| format!("channels on a grid have 2 to 5 dimensions, this tensor {}", dims.len()))?;
    TensorTy::new(names.iter().zip(dims.iter().copied()))
        .map_err(|_| "a tensor of more elements than memory holds".to_owned())
}

/// Names and extents of a type.
pub(super) fn named(ty: &TensorTy) -> Vec<(Name, usize)> {
    ty.names().iter().cloned().zip(ty.dims().iter().copied()).collect()
}

impl Importer {
    /// A value of the graph whose dimensions are ONNX's.
    pub(super) fn plain(&self, id: ValueId, elem: Elem) -> Val {
        let dims = self.graph.value(id).ty.dims().to_vec();
        let axes = (0..dims.len()).map(Some).collect();
        Val { id, dims, axes, elem }
    }

    /// A new value seen as `v` is: same dimensions in the same places, extents those of the new value.
    pub(super) fn like(&self, v: &Val, id: ValueId) -> Val {
        let now = self.graph.value(id).ty.dims();
        let dims = v.axes.iter().map(|a| a.map_or(1, |d| now[d])).collect();
        Val { id, dims, ..v.clone() }
    }

    /// The operand as a value of the graph.
    pub(super) fn val(&mut self, value: &Value) -> Result<Val, String> {
        match value {
            Value::Graph(v) => Ok(v.clone()),
            Value::Host(h) => {
                let id = self.weight(h, general(&h.dims)?, true)?;
                Ok(self.plain(id, h.elem))
            }
        }
    }

    /// The value as one of the graph with exactly these dimensions, which stand in ONNX's order.
    pub(super) fn cast(&mut self, v: &Val, to: &TensorTy) -> Result<ValueId, String> {
        let from = self.graph.value(v.id).ty.clone();
        let same = v.axes.iter().enumerate().all(|(i, a)| *a == Some(i)) && v.rank() == from.dims().len();
        if same && from.names() == to.names() {
            return Ok(v.id);
        }
        let in_batch = from.is_activation() && to.is_activation() && from.n() == to.n();
        let ordered = v.is_ordered();
        if in_batch && ordered {
            let flat = to.dims().len() == 2;
            let op = if flat { Reshape { to: None } } else { Reshape::to(to) };
            return self.op(op, &[v.id]);
        }
        let picks = (0..from.dims().len())
            .map(|d| v.axes.iter().position(|a| *a == Some(d)).map_or(Pick::fixed(0), Pick::same))
            .collect();
        self.op(Arrange { to: named(to), from: picks }, &[v.id])
    }

    /// The value as channels on a grid.
    pub(super) fn act(&mut self, v: &Val) -> Result<ValueId, String> {
        let to = activation(&v.dims)?;
        self.cast(v, &to)
    }

    /// The value as a general tensor.
    pub(super) fn gen_(&mut self, v: &Val) -> Result<ValueId, String> {
        let to = general(&v.dims)?;
        self.cast(v, &to)
    }

    /// The same tensor with every dimension of ONNX's in the graph.
    pub(super) fn full(&mut self, v: &Val) -> Result<Val, String> {
        if v.axes.iter().all(Option::is_some) {
            return Ok(v.clone());
        }
        let is_act = self.graph.value(v.id).ty.is_activation() && grid_names(v.rank()).is_some();
        let id = if is_act { self.act(v)? } else { self.gen_(v)? };
        Ok(self.plain(id, v.elem))
    }

    /// The tensor, and the graph's dimension for the axis `axis` of ONNX's.
    pub(super) fn along(&mut self, v: &Val, axis: usize) -> Result<(Val, usize), String> {
        match v.axes[axis] {
            Some(d) => Ok((v.clone(), d)),
            None => {
                let full = self.full(v)?;
                let d = full.axes[axis].ok_or("a dimension that is not there")?;
                Ok((full, d))
            }
        }
    }

    /// The same elements, in ONNX's order, under other extents.
    pub(super) fn refold(&mut self, v: &Val, dims: &[usize]) -> Result<Val, String> {
        if let Some(refitted) = v.refitted(dims) {
            return Ok(refitted);
        }
        if dims.iter().product::<usize>() != v.len() {
            return Err(format!("{} elements cannot have the extents {dims:?}", v.len()));
        }
        if let Some(before) = self.before_refolding(v, dims) {
            return Ok(before);
        }
        if let Some((x, groups)) = self.shuffled(v, dims) {
            let id = self.op(Shuffle { groups }, &[x])?;
            return Ok(self.plain(id, v.elem));
        }
        if let Some((x, op)) = self.in_blocks(v, dims) {
            let id = self.op(op, &[x])?;
            return Ok(self.plain(id, v.elem));
        }
        let id = if v.is_ordered() { v.id } else { self.gen_(v)? };
        let from = self.graph.value(id).ty.clone();
        let to = if matches!(dims.len(), 2 | 4 | 5) || self.is_signal(id, dims) {
            activation(dims)?
        } else {
            general(dims)?
        };
        let in_batch = from.is_activation() && to.is_activation() && from.n() == to.n();
        let id = match (in_batch, dims.len()) {
            (true, 2) => self.op(Reshape { to: None }, &[id])?,
            (true, _) => self.op(Reshape::to(&to), &[id])?,
            (false, _) => self.op(Refold { to: named(&to) }, &[id])?,
        };
        Ok(self.plain(id, v.elem))
    }

    /// The tensor that was refolded into this one, if it had these extents: there and back is nothing.
    fn before_refolding(&self, v: &Val, dims: &[usize]) -> Option<Val> {
        let Def::Op { op: Op::Reshape(_) | Op::Refold(_), inputs } = &self.graph.value(v.id).def else {
            return None;
        };
        let before = self.plain(*inputs.first()?, v.elem);
        (v.is_ordered() && before.dims == dims).then_some(before)
    }

    /// The activation of whose channels a tensor `[n, groups, rest]` shows groups.
    pub(super) fn grouped(&self, v: &Val) -> Option<ValueId> {
        let Def::Op { op: Op::Reshape(_) | Op::Refold(_), inputs } = &self.graph.value(v.id).def else {
            return None;
        };
        let from = *inputs.first()?;
        let ty = &self.graph.value(from).ty;
        let same = v.is_ordered() && v.rank() >= 3 && ty.is_activation() && ty.n() == v.dims[0];
        (same && v.dims[1] > 0 && ty.c().is_multiple_of(v.dims[1]) && ty.c() != v.dims[1]).then_some(from)
    }

    /// The activation whose channels are the tensor's last axis, its grid the others: what a converter from channels-last has.
    pub(super) fn channels_last(&self, v: &Val) -> Option<ValueId> {
        let ty = &self.graph.value(v.id).ty;
        let whole = ty.is_activation() && ty.rank() > 0 && v.axes.last() == Some(&Some(1));
        let all = (0..ty.dims().len()).all(|d| ty.dims()[d] == 1 || v.axes.contains(&Some(d)));
        (whole && all).then_some(v.id)
    }

    /// Whether three extents are channels with their grid laid out in a row.
    fn is_signal(&self, id: ValueId, dims: &[usize]) -> bool {
        let from = &self.graph.value(id).ty;
        dims.len() == 3 && from.is_activation() && from.dims()[..2] == dims[..2]
    }

    /// The tensor and the number of groups if channels come apart, change places and come together again.
    fn shuffled(&self, v: &Val, dims: &[usize]) -> Option<(ValueId, usize)> {
        let Def::Op { op: Op::Reshape(_) | Op::Refold(_), inputs } = &self.graph.value(v.id).def else {
            return None;
        };
        let [x] = inputs[..] else { return None };
        let order = [0, 2, 1].into_iter().chain(3..v.rank());
        let exchanged = v.rank() > 3 && order.map(Some).eq(v.axes.iter().copied());
        let whole =
            dims.len() + 1 == v.rank() && self.graph.value(x).ty.dims() == dims && v.dims[3..] == dims[2..];
        (exchanged && whole && self.graph.value(x).ty.is_activation()).then_some((x, v.dims[2]))
    }

    /// Blocks of a plane that come apart, change places with channels and come together: the change between depth and space that
    /// exporters write out.
    fn in_blocks(&self, v: &Val, dims: &[usize]) -> Option<(ValueId, DepthSpace)> {
        let Def::Op { op: Op::Reshape(_) | Op::Refold(_), inputs } = &self.graph.value(v.id).def else {
            return None;
        };
        let [x] = inputs[..] else { return None };
        let ty = &self.graph.value(x).ty;
        let axes: Option<Vec<usize>> = v.axes.iter().copied().collect();
        let &[n, c, h, w] = dims else { return None };
        if !ty.is_activation() || ty.rank() != 2 || v.rank() != 6 || ty.n() != n {
            return None;
        }
        let (direction, blocks_first) = match axes?[..] {
            [0, 3, 4, 1, 5, 2] => (Direction::ToSpace, true),
            [0, 1, 4, 2, 5, 3] => (Direction::ToSpace, false),
            [0, 3, 5, 1, 2, 4] => (Direction::ToDepth, true),
            [0, 1, 3, 5, 2, 4] => (Direction::ToDepth, false),
            _ => return None,
        };
        let (old_h, old_w) = (ty.grid_dims()[0], ty.grid_dims()[1]);
        let (fine, coarse) = match direction {
            Direction::ToSpace => ([h, w], [old_h, old_w]),
            Direction::ToDepth => ([old_h, old_w], [h, w]),
        };
        let fits = (0..2).all(|a| coarse[a] > 0 && fine[a].is_multiple_of(coarse[a]));
        let block: Vec<usize> =
            if fits { (0..2).map(|a| fine[a] / coarse[a]).collect() } else { return None };
        let all = block[0] * block[1];
        let thin = if direction == Direction::ToSpace { c } else { ty.c() };
        let thick = if direction == Direction::ToSpace { ty.c() } else { c };
        // What was split is what these blocks are.
        let [b0, b1] = [block[0], block[1]];
        let split = match (direction, blocks_first) {
            (Direction::ToSpace, true) => [n, b0, b1, thin, coarse[0], coarse[1]],
            (Direction::ToSpace, false) => [n, thin, b0, b1, coarse[0], coarse[1]],
            (Direction::ToDepth, _) => [n, thin, coarse[0], b0, coarse[1], b1],
        };
        let found = self.graph.value(v.id).ty.dims() == split;
        (found && thin * all == thick).then_some((x, DepthSpace { direction, block, blocks_first }))
    }

    /// The value as an activation with one axis as channels: those before it the batch, those after it one grid axis.
    pub(super) fn centred(&mut self, v: &Val, axis: usize) -> Result<ValueId, String> {
        let product = |dims: &[usize]| dims.iter().product::<usize>();
        let (before, after) = (product(&v.dims[..axis]), product(&v.dims[axis + 1..]));
        let id = if v.is_ordered() { v.id } else { self.gen_(v)? };
        let to = activation(&[before, v.dims[axis], after])?;
        let same = self.graph.value(id).ty == to;
        if same { Ok(id) } else { self.op(Refold { to: named(&to) }, &[id]) }
    }

    /// Every graph dimension's index as a function of the output's; `picks` for those of some axes of ONNX, with the new extents.
    pub(super) fn rearranged(&mut self, v: &Val, picks: &[(usize, usize, Move)]) -> Result<Val, String> {
        let moved = |(axis, extent, how): &(usize, usize, Move)| match how {
            Move::Step { start: 0, step: 1 } => *extent != v.dims[*axis],
            Move::Step { .. } | Move::Table(_) => true,
        };
        if !picks.iter().any(moved) {
            return Ok(v.clone());
        }
        let missing = picks.iter().any(|(axis, ..)| v.axes[*axis].is_none());
        let v = if missing { self.full(v)? } else { v.clone() };
        let mut to = named(&self.graph.value(v.id).ty);
        let mut from: Vec<Pick> = (0..to.len()).map(Pick::same).collect();
        for (axis, extent, how) in picks {
            let Some(d) = v.axes[*axis] else { return Err("a dimension that is not there".into()) };
            to[d].1 = *extent;
            from[d] = match how {
                Move::Step { start, step } => Pick::Step { dim: d, start: *start, step: *step },
                Move::Table(table) => Pick::Table { dim: d, table: table.clone().into() },
            };
        }
        let id = self.op(Arrange { to, from }, &[v.id])?;
        Ok(self.like(&v, id))
    }
}

/// How the indices along one axis move.
#[derive(Clone, Debug)]
pub(super) enum Move {
    /// `start + step * o`
    Step { start: i64, step: i64 },
    /// `table[o]`
    Table(Vec<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_of_extent_one_come_and_go_without_an_operation() {
        let v = |dims: &[usize]| Val {
            id: ValueId(0),
            dims: dims.to_vec(),
            axes: (0..dims.len()).map(Some).collect(),
            elem: Elem::Float,
        };
        let axes = |from: &[usize], to: &[usize]| v(from).refitted(to).map(|v| v.axes);
        assert_eq!(axes(&[1, 64, 1, 1], &[1, 64]), Some(vec![Some(0), Some(1)]));
        assert_eq!(axes(&[2, 3], &[2, 1, 3]), Some(vec![Some(0), None, Some(1)]));
        assert_eq!(axes(&[1, 5], &[5]), Some(vec![Some(1)]));
        assert_eq!(axes(&[1], &[]), Some(vec![]));
        assert_eq!(axes(&[2, 3], &[3, 2]), None);
        assert_eq!(axes(&[4, 1], &[1, 4]), Some(vec![None, Some(0)]));
    }
}
