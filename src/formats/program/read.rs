//! A graph's operations as nodes: what depends on weights alone computed, the rest a call each.

use std::collections::BTreeMap;

use super::node::{Fixed, Form, Node, Nodes, Ref, Tok, Weight};
use super::text::clean;
use super::{Refused, activation, stage};
use crate::graph::{Def, Graph, ValueId};
use crate::ops::Op;
use crate::ops::arrange::{Arrange, Pick};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// The state of reading.
pub(super) struct Reader<'a> {
    graph: &'a Graph,
    weights: &'a dyn Fn(&str) -> Option<Vec<f32>>,
    values: BTreeMap<ValueId, Ref>,
    /// What depends on weights and constants alone.
    known: BTreeMap<ValueId, Array>,
    pub(super) out: Nodes,
    /// How many operations and outputs take each value.
    takers: Vec<u32>,
}

/// The layer that a known operand is, its weight, and how that is made of the operand's elements.
type Constant = (&'static str, &'static str, fn(f64) -> f64);

/// The nodes of a graph.
///
/// # Errors
/// What the language has no word for.
pub(super) fn read(graph: &Graph, weights: &dyn Fn(&str) -> Option<Vec<f32>>) -> Result<Nodes, Refused> {
    let mut takers = vec![0; graph.values.len()];
    let outputs = graph.outputs.iter().map(|p| p.value);
    graph
        .ids()
        .flat_map(|id| graph.uses(id).iter().copied())
        .chain(outputs)
        .for_each(|v| takers[v.index()] += 1);
    let (values, known) = (BTreeMap::new(), BTreeMap::new());
    let mut r = Reader { graph, weights, values, known, out: Nodes::default(), takers };
    for (i, port) in graph.inputs.iter().enumerate() {
        r.out.inputs.push(activation(graph, port.value)?.c());
        r.values.insert(port.value, Ref::Input(i));
    }
    let mut live = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|p| live[p.value.index()] = true);
    for id in graph.ids().rev() {
        if live[id.index()] {
            graph.uses(id).iter().for_each(|u| live[u.index()] = true);
        }
    }
    for id in graph.ids().filter(|id| live[id.index()]) {
        let Def::Op { op, inputs } = &graph.value(id).def else { continue };
        if r.fold(id, op, inputs) {
            continue;
        }
        let made = match r.seen_whole(id, op, inputs) {
            Some(narrow) => r.operand(narrow)?,
            None => r.operation(id, op, inputs)?,
        };
        r.values.insert(id, made);
    }
    for port in &graph.outputs {
        let value = r.operand(port.value)?;
        r.out.outputs.push(value);
    }
    Ok(r.out)
}

impl Reader<'_> {
    pub(super) fn ty(&self, id: ValueId) -> &TensorTy {
        &self.graph.value(id).ty
    }

    pub(super) fn refused(&self, id: ValueId, why: &str) -> Refused {
        Refused::of(&self.graph.value(id).name, format!("the language has no form for this operation{why}"))
    }

    /// Computes what depends on weights alone; whether it does.
    fn fold(&mut self, id: ValueId, op: &Op, inputs: &[ValueId]) -> bool {
        let arrays: Option<Vec<Array>> = inputs.iter().map(|i| self.array(*i)).collect();
        let Some(arrays) = arrays else { return false };
        let arrays: Vec<&Array> = arrays.iter().collect();
        let result = op.rules().reference(&arrays, self.ty(id));
        self.known.insert(id, result);
        true
    }

    /// The operand of an expansion that only meets tensors which have its extents anyway: elementwise operations show it at every
    /// position by themselves.
    fn seen_whole(&self, id: ValueId, op: &Op, inputs: &[ValueId]) -> Option<ValueId> {
        let (Op::Arrange(Arrange { from, .. }), [x]) = (op, inputs) else { return None };
        let (narrow, wide) = (self.ty(*x), self.ty(id));
        let shown = |(d, pick): (usize, &Pick)| match pick {
            Pick::Step { start: 0, step: 0, .. } => narrow.dims()[d] == 1,
            Pick::Step { dim, start: 0, step: 1 } => *dim == d && narrow.dims()[d] == wide.dims()[d],
            Pick::Step { .. } | Pick::Table { .. } => false,
        };
        if narrow.names() != wide.names() || !from.iter().enumerate().all(shown) {
            return None;
        }
        let whole = |user: ValueId| match &self.graph.value(user).def {
            Def::Op { op: Op::Binary(b), inputs } => {
                let rest = inputs.iter().any(|i| *i != id && self.ty(*i).dims() == wide.dims());
                b.number.is_none() && rest && self.ty(user).dims() == wide.dims()
            }
            Def::Op { .. } | Def::Param { .. } | Def::Const(_) | Def::Input(_) => false,
        };
        let handed_out = self.graph.outputs.iter().any(|p| p.value == id);
        let mut users = self.graph.ids().filter(|u| self.graph.uses(*u).contains(&id));
        (!handed_out && users.all(whole)).then_some(*x)
    }

    /// The elements of a weight, a constant, or what was computed from these.
    fn array(&self, id: ValueId) -> Option<Array> {
        let value = self.graph.value(id);
        match &value.def {
            Def::Param { .. } => (self.weights)(&value.name)
                .filter(|d| d.len() == value.ty.len())
                .map(|d| Array::from_f32(value.ty.dims(), &d)),
            Def::Const(data) => Some(Array::from_f32(value.ty.dims(), data)),
            Def::Op { .. } => self.known.get(&id).cloned(),
            Def::Input(_) => None,
        }
    }

    /// Whether a value is known.
    fn is_known(&self, id: ValueId) -> bool {
        match &self.graph.value(id).def {
            Def::Param { .. } | Def::Const(_) => true,
            Def::Op { .. } => self.known.contains_key(&id),
            Def::Input(_) => false,
        }
    }

    /// A value as an operand.
    fn operand(&self, id: ValueId) -> Result<Ref, Refused> {
        self.values.get(&id).copied().ok_or_else(|| {
            Refused::of(
                &self.graph.value(id).name,
                "a constant tensor, for which the language has no form here",
            )
        })
    }

    /// A layer's name: that of its weight without the last part, else that of its value.
    pub(super) fn layer(&self, id: ValueId, weight: Option<ValueId>) -> String {
        let mut at = weight;
        // Through what was computed from it.
        while let Some(w) = at {
            match &self.graph.value(w).def {
                Def::Op { inputs, .. } => at = inputs.first().copied(),
                Def::Param { .. } | Def::Const(_) | Def::Input(_) => break,
            }
        }
        let own = &self.graph.value(id).name;
        let wanted = at.map_or(own, |w| &self.graph.value(w).name);
        let stem = [
            "weight", "weights", "kernel", "w", "W", "scale", "gamma", "kernel:0", "gamma:0", "w_0", "s_0",
            "bias", "beta",
        ]
        .iter()
        .find_map(|end| wanted.strip_suffix(end))
        .map(|stem| stem.trim_end_matches(['.', '/', '_', ':']))
        .filter(|stem| !stem.is_empty());
        let wanted = stem.map_or_else(|| wanted.clone(), str::to_owned);
        // Exporters that fold number tensors without meaning; the node says more.
        let anonymous = wanted.starts_with("onnx::")
            || wanted.strip_prefix("val_").unwrap_or(&wanted).chars().all(|c| c.is_ascii_digit());
        if anonymous { clean(own) } else { clean(&wanted) }
    }

    /// A weight under the last part of its path.
    pub(super) fn weight(&self, part: &str, id: ValueId) -> Result<Weight, Refused> {
        let Some(array) = self.array(id) else {
            let why = "it is a layer's weight and depends on the input, for which the language has no form";
            return Err(Refused::of(&self.graph.value(id).name, why));
        };
        Ok(kept(part, array))
    }

    /// Adds a node.
    pub(super) fn push(&mut self, id: ValueId, form: Form, toks: Vec<Tok>, operands: Vec<Ref>) -> Ref {
        let value = self.graph.value(id);
        let kind = match &value.def {
            Def::Op { op, .. } => op.rules().kind(),
            Def::Param { .. } | Def::Const(_) | Def::Input(_) => "layer",
        };
        self.out.list.push(Node {
            name: value.name.clone(),
            form,
            toks,
            operands,
            layer: None,
            weights: Vec::new(),
            channels: value.ty.c(),
            kind: kind.to_owned(),
        });
        Ref::Node(self.out.list.len() - 1)
    }

    /// The last node becomes a layer.
    pub(super) fn name_layer(&mut self, layer: String, weights: Vec<Weight>) {
        if let Some(last) = self.out.list.last_mut() {
            last.layer = Some(layer);
            last.weights = weights;
        }
    }

    fn operation(&mut self, id: ValueId, op: &Op, x: &[ValueId]) -> Result<Ref, Refused> {
        activation(self.graph, id)?;
        match op {
            Op::Binary(op) => self.binary(id, op, x),
            Op::Slice(slice) => {
                let from = self.operand(x[0])?;
                self.slice(id, slice, x[0], from)
            }
            Op::Concat(op) => {
                let operands = x.iter().map(|v| self.operand(*v)).collect::<Result<Vec<_>, _>>()?;
                let mut toks = vec![Tok::text("concat(")];
                for i in 0..operands.len() {
                    toks.push(Tok::Operand(i));
                    toks.push(Tok::text(", "));
                }
                toks.push(Tok::text(format!("axis: {})", self.ty(id).names()[op.dim])));
                Ok(self.push(id, Form::Expr, toks, operands))
            }
            _ => {
                let from = self.operand(x[0])?;
                self.stage(id, op, x, from)
            }
        }
    }

    fn binary(&mut self, id: ValueId, op: &Binary, x: &[ValueId]) -> Result<Ref, Refused> {
        let call = matches!(op.f, BinaryFn::Max | BinaryFn::Min);
        let sign = op.f.sign();
        let join = |a: Tok, b: Tok| match call {
            true => vec![Tok::text(format!("{sign}(")), a, Tok::text(", "), b, Tok::text(")")],
            false => vec![a, Tok::text(format!(" {sign} ")), b],
        };
        if let Some(number) = op.number {
            let (Number::Left(k) | Number::Right(k)) = number;
            if !k.is_finite() {
                return Err(self.refused(id, " with a number that is not finite"));
            }
            let value = self.operand(x[0])?;
            let (a, b) = match number {
                Number::Left(k) => (Tok::text(stage::number(k)), Tok::Operand(0)),
                Number::Right(k) => (Tok::Operand(0), Tok::text(stage::number(k))),
            };
            return Ok(self.push(id, Form::Expr, join(a, b), vec![value]));
        }
        // A constant on the left of what commutes is one on the right.
        let turned = matches!(op.f, BinaryFn::Add | BinaryFn::Mul)
            && matches!(x, [a, b] if self.is_known(*a) && !self.is_known(*b));
        let swapped = [x[x.len() - 1], x[0]];
        let x = if turned { &swapped[..] } else { x };
        if let [value, other] = x
            && self.is_known(*other)
            && !self.is_known(*value)
            && let Some(array) = self.array(*other)
        {
            return self.per_channel(id, op, *value, *other, array);
        }
        let operands = x.iter().map(|v| self.operand(*v)).collect::<Result<Vec<_>, _>>()?;
        let toks = match operands.len() {
            1 => join(Tok::Operand(0), Tok::Operand(0)),
            _ => join(Tok::Operand(0), Tok::Operand(1)),
        };
        Ok(self.push(id, Form::Expr, toks, operands))
    }

    /// A known right operand with numbers of its own for positions of the grid.
    fn per_position(
        &mut self,
        id: ValueId,
        value: ValueId,
        other: ValueId,
        array: Array,
        (stage, part, change): Constant,
    ) -> Result<Ref, Refused> {
        let ty = self.ty(id).clone();
        let mut dims = ty.dims().to_vec();
        dims[0] = 1;
        let grown = self.ty(value).dims() != ty.dims();
        let places = Some(&array).filter(|_| !grown && ty.rank() > 0).and_then(|a| broadcast(a, &dims));
        let Some(places) = places else {
            return Err(self.refused(id, " with a constant tensor"));
        };
        let data = places.into_iter().map(|p| change(array.data[p])).collect();
        let from = self.operand(value)?;
        let layer = self.layer(id, Some(other));
        let made = self.push(id, Form::Stage, vec![Tok::text(format!("{stage}(share: none)"))], vec![from]);
        self.name_layer(layer, vec![kept(part, Array { dims, data })]);
        Ok(made)
    }

    /// A known right operand: one number for each channel is a layer.
    fn per_channel(
        &mut self,
        id: ValueId,
        op: &Binary,
        value: ValueId,
        other: ValueId,
        mut array: Array,
    ) -> Result<Ref, Refused> {
        let c = activation(self.graph, id)?.c();
        let lone = array.data.len() == c && array.dims.contains(&c);
        let (stage, part, change): Constant = match op.f {
            BinaryFn::Add => ("bias", "bias", |x| x),
            BinaryFn::Sub => ("bias", "bias", |x| -x),
            BinaryFn::Mul => ("scale", "weight", |x| x),
            BinaryFn::Div => ("scale", "weight", |x| 1.0 / x),
            BinaryFn::Max | BinaryFn::Min => {
                return Err(self.refused(id, " with a constant tensor"));
            }
        };
        let spread =
            array.data.len() == 1 || (lone && (array.dims.len() == 1 || array.dims.get(1) == Some(&c)));
        if !spread {
            return self.per_position(id, value, other, array, (stage, part, change));
        }
        array.data.iter_mut().for_each(|x| *x = change(*x));
        if array.data.len() == 1 {
            array.data = vec![array.data[0]; c];
        }
        array.dims = vec![c];
        let from = self.operand(value)?;
        if let (Ref::Node(layer), "bias") = (from, stage)
            && self.takers[value.index()] == 1
            && self.out.list[layer].take_bias()
        {
            // A product of matrices and the sum behind it, as converters write a dense layer at each position.
            let name = self.graph.value(id).name.to_string();
            let node = &mut self.out.list[layer];
            node.name = name;
            node.weights.push(kept(part, array));
            return Ok(from);
        }
        let layer = self.layer(id, Some(other));
        let made = self.push(id, Form::Stage, vec![Tok::text(stage)], vec![from]);
        self.name_layer(layer, vec![kept(part, array)]);
        Ok(made)
    }
}

/// The index of each element of `dims` in an array that is broadcast to it; `None` where it is not.
fn broadcast(array: &Array, dims: &[usize]) -> Option<Vec<usize>> {
    let skip = dims.len().checked_sub(array.dims.len())?;
    let fits = array.dims.iter().zip(&dims[skip..]).all(|(a, d)| *a == 1 || a == d);
    let place = |at: &[usize]| {
        let own = array.dims.iter().zip(&at[skip..]);
        own.fold(0, |place, (d, i)| place * d + if *d == 1 { 0 } else { *i })
    };
    let mut out = Vec::new();
    for_each_index(dims, |at| out.push(if fits { place(at) } else { 0 }));
    fits.then_some(out)
}

fn kept(part: &str, array: Array) -> Weight {
    let data = array.data.iter().map(|x| *x as f32).collect();
    (part.to_owned(), array.dims, data)
}

/// `sizes: [a, b]` of a split, each a number that may differ between blocks.
pub(super) fn sizes(list: &[usize]) -> Vec<Tok> {
    let mut toks = vec![Tok::text("split(sizes: [")];
    for (i, size) in list.iter().enumerate() {
        toks.push(Tok::arg(if i == 0 { "" } else { ", " }, Fixed::Int(*size as i64)));
    }
    toks
}
