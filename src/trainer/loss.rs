//! The loss of a `train` item as operations of the net's graph: one number per sample, `[n, c: 1]`. What the data gives becomes
//! an input.

use super::error::TrainError;
use super::sound::Labels;
use crate::ast::BinaryOp;
use crate::data::Parts;
use crate::graph::{Graph, ValueId};
use crate::ops::args::{ArgValue, CallArgs};
use crate::ops::binary::{Binary, BinaryFn, Number};
use crate::ops::{self, OpError};
use crate::resolve::SetValue;
use crate::support::Name;
use crate::tensor::ty::TensorTy;

/// A graph that grows by a loss.
pub(super) struct Losses<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) parts: &'a Parts,
    pub(super) batch: usize,
    /// What the data gives, made so far.
    pub(super) fields: Vec<(Name, ValueId)>,
    /// Class numbers among them, and what they are compared with.
    pub(super) labels: Vec<Labels>,
}

/// A loss, or a number beside one.
enum Term {
    Value(ValueId),
    Number(f32),
}

impl Losses<'_> {
    /// The loss per sample.
    pub(super) fn build(&mut self, expr: &SetValue) -> Result<ValueId, TrainError> {
        match self.term(expr)? {
            Term::Value(id) => Ok(id),
            Term::Number(_) => {
                Err(TrainError::Setting("the loss is a number, and no loss of anything".into()))
            }
        }
    }

    fn term(&mut self, expr: &SetValue) -> Result<Term, TrainError> {
        match expr {
            SetValue::Call(name, args) => self.call(name, args).map(Term::Value),
            SetValue::Binary(op, left, right) => {
                let f = match op {
                    BinaryOp::Sub => BinaryFn::Sub,
                    BinaryOp::Mul => BinaryFn::Mul,
                    BinaryOp::Div => BinaryFn::Div,
                    _ => BinaryFn::Add,
                };
                let (left, right) = (self.term(left)?, self.term(right)?);
                let made = match (left, right) {
                    (Term::Value(a), Term::Value(b)) => self.graph.op("loss", Binary::of(f), &[a, b]),
                    (Term::Value(a), Term::Number(b)) => {
                        self.graph.op("loss", Binary::with(f, Number::Right(b)), &[a])
                    }
                    (Term::Number(a), Term::Value(b)) => {
                        self.graph.op("loss", Binary::with(f, Number::Left(a)), &[b])
                    }
                    (Term::Number(a), Term::Number(b)) => {
                        return Ok(Term::Number(match f {
                            BinaryFn::Sub => a - b,
                            BinaryFn::Mul => a * b,
                            BinaryFn::Div => a / b,
                            BinaryFn::Add | BinaryFn::Max | BinaryFn::Min => a + b,
                        }));
                    }
                };
                made.map(|m| Term::Value(m.0)).map_err(refused)
            }
            SetValue::Static(ArgValue::Int(i)) => Ok(Term::Number(*i as f32)),
            SetValue::Static(ArgValue::Float(x)) => Ok(Term::Number(*x as f32)),
            SetValue::Static(_) | SetValue::Layer(..) | SetValue::Data(_) | SetValue::List(_) => {
                Err(TrainError::Setting("the loss must be a call such as `cross_entropy(out, label)`".into()))
            }
        }
    }

    fn call(&mut self, name: &Name, args: &[(Option<Name>, SetValue)]) -> Result<ValueId, TrainError> {
        let infos = ops::infos();
        let Some(info) = infos.iter().find(|i| *i.name == **name && i.family == "losses") else {
            return Err(TrainError::Setting(format!("`{name}` is no loss")));
        };
        let mut tensors: Vec<ValueId> = Vec::new();
        let mut values: Vec<(&'static str, ArgValue)> = Vec::new();
        let mut output = None;
        for (key, arg) in args {
            match (key, arg) {
                (None, SetValue::Layer(path, id)) => {
                    output.get_or_insert(path.as_str());
                    tensors.push(*id);
                }
                (None, SetValue::Data(field)) => {
                    let first = tensors.first().copied();
                    tensors.push(self.field(field, first)?);
                }
                (Some(key), arg) => {
                    let known = info.params.iter().find(|p| *p.name == **key).map(|p| p.name);
                    if let (Some(known), Some(value)) = (known, fixed(arg)) {
                        values.push((known, value));
                    }
                }
                (None, _) => {
                    let message =
                        format!("`{name}` takes layers and what the data gives, and named arguments");
                    return Err(TrainError::Setting(message));
                }
            }
        }
        if tensors.len() < info.tensors.0 || tensors.len() > info.tensors.1 {
            let message = format!("`{name}` compares {} values, given are {}", info.tensors.0, tensors.len());
            return Err(TrainError::Setting(message));
        }
        let ignore = values.iter().find_map(|v| match v {
            ("ignore", ArgValue::Int(i)) => Some(*i),
            _ => None,
        });
        self.note(name, output.unwrap_or("the layer"), &tensors, ignore);
        let types: Vec<TensorTy> = tensors.iter().map(|t| self.graph.value(*t).ty.clone()).collect();
        let types: Vec<&TensorTy> = types.iter().collect();
        let made = (info.make)(&CallArgs { values }, &types).map_err(refused)?;
        let Some(op) = made.ops.first() else {
            return Err(TrainError::Setting(format!("`{name}` makes nothing")));
        };
        self.graph.op("loss", op.clone(), &tensors).map(|m| m.0).map_err(refused)
    }

    /// Keeps in mind which labels must be classes of what.
    fn note(&mut self, loss: &Name, output: &str, tensors: &[ValueId], ignore: Option<i64>) {
        let [compared, label, ..] = tensors else { return };
        let field = self.graph.inputs.iter().find(|p| p.value == *label).map(|p| Name::from(&*p.name));
        let (Some(field), "cross_entropy" | "nll", 1) = (field, &**loss, self.graph.value(*label).ty.c())
        else {
            return;
        };
        let (classes, output) = (self.graph.value(*compared).ty.c(), output.to_owned());
        self.labels.push(Labels { field, loss: loss.clone(), output, classes, ignore });
    }

    /// The input for what the data gives; `beside` is what it is compared with, whose axes name those of the data.
    pub(super) fn field(&mut self, name: &Name, beside: Option<ValueId>) -> Result<ValueId, TrainError> {
        if let Some((_, id)) = self.fields.iter().find(|(n, _)| n == name) {
            return Ok(*id);
        }
        let Some(axes) = self.parts.axes(name) else {
            let message = format!(
                "the data `{}` give no `{name}`: they have {}",
                self.parts.name,
                self.parts.train.set.show()
            );
            return Err(TrainError::Setting(message));
        };
        let c = axes.iter().find(|a| &*a.0 == "c").map_or(1, |a| a.1);
        let mut grid: Vec<(Name, usize)> = axes.into_iter().filter(|a| &*a.0 != "c").collect();
        if let Some(beside) = beside {
            let names = self.graph.value(beside).ty.grid_names();
            if names.len() == grid.len() && grid.iter().any(|g| !names.contains(&g.0)) {
                grid.iter_mut().zip(names).for_each(|(g, n)| g.0 = n.clone());
            }
        }
        let ty = TensorTy::grid(self.batch, c, &grid).map_err(|_| {
            TrainError::Setting(format!("`{name}` of a batch of {} is too large", self.batch))
        })?;
        let order = (0..ty.dims().len()).collect();
        let id = self.graph.input(name, ty, order);
        self.fields.push((name.clone(), id));
        Ok(id)
    }
}

/// A static argument.
fn fixed(value: &SetValue) -> Option<ArgValue> {
    match value {
        SetValue::Static(v) => Some(v.clone()),
        SetValue::List(items) => items.iter().map(fixed).collect::<Option<Vec<_>>>().map(ArgValue::List),
        SetValue::Call(..) | SetValue::Layer(..) | SetValue::Data(_) | SetValue::Binary(..) => None,
    }
}

fn refused(e: OpError) -> TrainError {
    let label = if e.label.is_empty() { String::new() } else { format!(" ({})", e.label) };
    TrainError::Setting(format!("the loss does not fit: {}{label}", e.message))
}
