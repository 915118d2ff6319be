//! Vectors as vectors: what exporters hold as channels on a grid of one position, from a global pool on, is written without the
//! grid. A 1x1 convolution of it is a dense layer, a product with it stands for every position.

use std::collections::BTreeMap;

use crate::graph::{Def, Graph, Value, ValueId};
use crate::ops::binary::Binary;
use crate::ops::dense::Dense;
use crate::ops::geometry::{Linking, Share};
use crate::ops::refold::Refold;
use crate::ops::reshape::Reshape;
use crate::ops::window::Padding;
use crate::ops::{Op, OpError};
use crate::support::Name;
use crate::tensor::ty::TensorTy;

/// The graph in that form; where it has none, as it was.
pub(super) fn narrowed(graph: &Graph) -> Graph {
    let mut n = Narrow { old: graph, new: Graph::new(&graph.name), map: Vec::new(), flat: BTreeMap::new() };
    match n.all() {
        Ok(()) => n.new,
        Err(_) => graph.clone(),
    }
}

struct Narrow<'a> {
    old: &'a Graph,
    new: Graph,
    /// What stands for each old value; `None` while it is only there as a vector.
    map: Vec<Option<ValueId>>,
    /// Vectors that stand for old values on grids of one position.
    flat: BTreeMap<ValueId, ValueId>,
}

/// Channels on a grid of one position.
fn is_point(ty: &TensorTy) -> bool {
    ty.is_activation() && ty.rank() > 0 && ty.grid_dims().iter().all(|d| *d == 1)
}

impl Narrow<'_> {
    fn all(&mut self) -> Result<(), OpError> {
        for id in self.old.ids() {
            let value = self.old.value(id).clone();
            let new = match &value.def {
                Def::Input(i) => {
                    let port = &self.old.inputs[*i];
                    Some(self.new.input(&port.name, value.ty, port.order.clone()))
                }
                Def::Param { .. } | Def::Const(_) => Some(self.push(value)),
                Def::Op { op, inputs } => match self.vector(&value, op, inputs)? {
                    Some(flat) if is_point(&value.ty) => {
                        self.flat.insert(id, flat);
                        None
                    }
                    Some(whole) => Some(whole),
                    None => {
                        let operands: Vec<ValueId> =
                            inputs.iter().map(|i| self.on_grid(*i)).collect::<Result<_, _>>()?;
                        Some(self.push(Value { def: Def::Op { op: op.clone(), inputs: operands }, ..value }))
                    }
                },
            };
            self.map.push(new);
        }
        for port in self.old.outputs.clone() {
            let value = self.on_grid(port.value)?;
            self.new.output(&port.name, value, port.order);
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> ValueId {
        self.new.values.push(value);
        ValueId(self.new.values.len() as u32 - 1)
    }

    /// An old value as it was.
    fn on_grid(&mut self, id: ValueId) -> Result<ValueId, OpError> {
        if let Some(new) = self.map[id.index()] {
            return Ok(new);
        }
        let (ty, name) = (self.old.value(id).ty.clone(), self.old.value(id).name.clone());
        let flat = self.flat[&id];
        let new = self.new.op(&name, Reshape::to(&ty), &[flat])?.0;
        self.map[id.index()] = Some(new);
        Ok(new)
    }

    /// A value as a vector of the new graph, where it is one.
    fn as_vector(&self, id: ValueId) -> Option<ValueId> {
        if let Some(flat) = self.flat.get(&id) {
            return Some(*flat);
        }
        let ty = &self.old.value(id).ty;
        self.map[id.index()].filter(|_| ty.is_activation() && ty.rank() == 0)
    }

    /// The result of an operation of which a vector is an operand: a vector where the old result is a point, else the result itself.
    fn vector(&mut self, value: &Value, op: &Op, inputs: &[ValueId]) -> Result<Option<ValueId>, OpError> {
        let Some(x) = inputs.first().and_then(|x| self.as_vector(*x)) else {
            return self.product(value, op, inputs);
        };
        let point = is_point(&value.ty);
        let was_point = self.flat.contains_key(&inputs[0]);
        let same = value.ty.is_activation() && value.ty.c() == self.new.value(x).ty.c();
        Ok(match op {
            Op::Reshape(_) if same && (point || was_point && value.ty.rank() == 0) => Some(x),
            Op::Unary(_) | Op::Identity(_) if was_point && point => {
                Some(self.new.op(&value.name, op.clone(), &[x])?.0)
            }
            Op::Binary(b) if b.number.is_some() && was_point && point => {
                Some(self.new.op(&value.name, op.clone(), &[x])?.0)
            }
            Op::Binary(_) => self.product(value, op, inputs)?,
            Op::Conv(conv) if was_point && point => {
                let g = &conv.geometry;
                let pads = match &g.window.pad {
                    Padding::Sides(sides) => sides.iter().any(|s| *s != (0, 0)),
                    Padding::Valid | Padding::Same | Padding::SameLo => false,
                    Padding::Full => true,
                };
                let plain = matches!((&g.links, &g.share), (Linking::Dense, Share::All))
                    && g.window.kernel.iter().all(|k| *k == 1)
                    && !pads
                    && !value.name.is_empty();
                if !plain {
                    return Ok(None);
                }
                let i = self.new.value(x).ty.c();
                let weight = self.on_grid(inputs[1])?;
                let to: Vec<(Name, usize)> = vec![("o".into(), conv.channels), ("i".into(), i)];
                let name = self.old.value(inputs[1]).name.clone();
                let weight = self.new.op(&name, Refold { to }, &[weight])?.0;
                let mut operands = vec![x, weight];
                for rest in &inputs[2..] {
                    operands.push(self.on_grid(*rest)?);
                }
                let dense = Dense { channels: conv.channels, bias: conv.bias };
                Some(self.new.op(&value.name, dense, &operands)?.0)
            }
            _ => None,
        })
    }

    /// Two tensors of which one is a vector.
    fn product(&mut self, value: &Value, op: &Op, inputs: &[ValueId]) -> Result<Option<ValueId>, OpError> {
        let (Op::Binary(Binary { number: None, .. }), [a, b]) = (op, inputs) else { return Ok(None) };
        let flats = [self.flat.get(a).copied(), self.flat.get(b).copied()];
        let operands = match (flats, is_point(&value.ty)) {
            ([Some(a), Some(b)], true) => vec![a, b],
            ([Some(_), Some(_)] | [None, None], _) | (_, true) => return Ok(None),
            ([a_flat, b_flat], false) => {
                let a = a_flat.map_or_else(|| self.on_grid(*a), Ok)?;
                let b = b_flat.map_or_else(|| self.on_grid(*b), Ok)?;
                vec![a, b]
            }
        };
        let (new, inferred) = self.new.op(&value.name, op.clone(), &operands)?;
        if is_point(&value.ty) || inferred.ty == value.ty { Ok(Some(new)) } else { Ok(None) }
    }
}
