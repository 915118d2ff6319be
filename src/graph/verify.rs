//! Checks a graph against the rules that every pass relies on. A broken rule is a bug of whoever made the graph, never of
//! the user.
//!
//! 1. Every value stands after those it uses.
//! 2. Inputs and input ports belong to each other, one to one; ports name existing values, and their orders are
//!    permutations of their dimensions; no two ports of a side, and no two weights, have one name.
//! 3. The type of an operation is what its shape rule says; constants and given starts have as many elements as their types.
//! 4. A group is a chain: the root is an operation in no group; every member is elementwise and of the type of the one before it, or the
//!    group's only pool, whose members the root hands over by windows; it uses the
//!    member before it and no other member; all but the last are used by the next member only and are no output. Behind the last there
//!    may be sums that the root makes in passing; whoever else uses the group's values stands behind these. In a graph whose updates
//!    wait for the run's end, the members of a group of weights use any members before them, at least one, and any may be used elsewhere,
//!    behind the group's end, or be an update.
//! 5. Either no value has a layout or every value that memory holds has one, of its rank; inputs and outputs have the order
//!    of their ports and no halo; what each operation wants of its operands and its group's result is there.
//! 6. An update is of a weight, by a value of its type, and no weight is updated twice. With layouts, the value is made by an
//!    operation in the weight's own layout, is no output, and updates nothing else: it can be stored where the weight lies.
//! 7. What the updates wait for is an output of one number.
//!
//! The number of an operation's operands is taken on trust: shape rules index their inputs.

use super::{Def, Graph, Port, Value, ValueId};
use crate::ops::init::Init;
use crate::ops::lower::Want;
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The value it is about, if one.
    pub value: Option<ValueId>,
    /// One sentence.
    pub message: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value {
            Some(id) => write!(f, "{id}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Broken {}

type Check = Result<(), Broken>;

/// Checks every rule of the module's header.
///
/// # Errors
/// The first broken rule.
pub fn verify(graph: &Graph) -> Check {
    for id in graph.ids() {
        let value = graph.value(id);
        ensure(graph.uses(id).iter().all(|u| *u < id), id, || "uses a value that stands later".into())?;
        types(graph, id, value)?;
    }
    ports(graph)?;
    for id in graph.ids() {
        group(graph, id)?;
    }
    layouts(graph)?;
    updates(graph)
}

fn ensure(holds: bool, id: ValueId, message: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Broken { value: Some(id), message: message() }) }
}

fn types(graph: &Graph, id: ValueId, value: &Value) -> Check {
    let len = value.ty.len();
    let count =
        |have: usize| ensure(have == len, id, || format!("{have} elements in a tensor of type {}", value.ty));
    match &value.def {
        Def::Input(i) => ensure(graph.inputs.get(*i).is_some_and(|p| p.value == id), id, || {
            format!("is input {i}, but port {i} is another value")
        }),
        Def::Param { init: Init::Values(v), .. } => count(v.len()),
        Def::Param { init: Init::Stored(v), .. } => count(v.len()),
        Def::Param { .. } => Ok(()),
        Def::Const(data) => count(data.len()),
        Def::Op { op, inputs } => {
            let inputs: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
            match op.rules().infer(&inputs) {
                Ok(inferred) => ensure(inferred.ty == value.ty, id, || {
                    format!("has type {}, its shape rule says {}", value.ty, inferred.ty)
                }),
                Err(e) => ensure(false, id, || format!("its shape rule refuses: {}", e.message)),
            }
        }
    }
}

fn ports(graph: &Graph) -> Check {
    let inputs = graph.values.iter().filter(|v| matches!(v.def, Def::Input(_))).count();
    if inputs != graph.inputs.len() {
        let message = format!("{} input ports for {inputs} inputs", graph.inputs.len());
        return Err(Broken { value: None, message });
    }
    for side in [&graph.inputs, &graph.outputs] {
        unique(side.iter().map(|p| &*p.name), "ports")?;
        side.iter().try_for_each(|p| port(graph, p))?;
    }
    let params = graph.values.iter().filter(|v| matches!(v.def, Def::Param { .. }));
    unique(params.map(|v| v.name.as_str()), "weights")
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str) -> Check {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|w| w[0] == w[1]) {
        None => Ok(()),
        Some(w) => Err(Broken { value: None, message: format!("two {what} are called `{}`", w[0]) }),
    }
}

fn port(graph: &Graph, port: &Port) -> Check {
    let id = port.value;
    ensure(id.index() < graph.values.len(), id, || format!("port `{}` names no value", port.name))?;
    let rank = graph.value(id).ty.dims().len();
    ensure(is_permutation(&port.order, rank), id, || {
        format!("the order {:?} of port `{}` is no permutation of {rank} dimensions", port.order, port.name)
    })
}

fn is_permutation(order: &[usize], rank: usize) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..rank)
}

/// Rule 4 for member `id`.
fn group(graph: &Graph, id: ValueId) -> Check {
    let value = graph.value(id);
    let Some(root) = value.group else { return Ok(()) };
    ensure(root < id, id, || format!("stands before its root {root}"))?;
    let is_root = matches!(graph.value(root).def, Def::Op { .. }) && graph.value(root).group.is_none();
    ensure(is_root, id, || format!("its root {root} is no operation, or has a root itself"))?;
    let members = graph.members(root);
    let before = members.iter().copied().filter(|m| *m < id).max().unwrap_or(root);
    let elementwise = matches!(&value.def, Def::Op { op, .. } if op.rules().scalar().is_some());
    if graph.sums(id).is_some() {
        ensure(graph.sums_in_passing(before, id), id, || {
            format!("is no sums of {before} that its root can make")
        })?;
        ensure(graph.end_of(root) == id, id, || "is sums, but not the last of its group".into())?;
        let outside =
            |u: &ValueId| !members.contains(u) && graph.uses(*u).iter().any(|x| members.contains(x));
        let early = graph.ids().find(|u| *u < id && outside(u));
        return ensure(early.is_none(), before, || format!("is used before {id}, with which it is stored"));
    }
    if !graph.gathers(before, id) {
        ensure(elementwise, id, || "is in a group, but not elementwise, nor its only pool".into())?;
        let same = value.ty == graph.value(before).ty;
        ensure(same, id, || format!("is not of the type of {before}, the member before it"))?;
    }
    let uses = graph.uses(id);
    if graph.keeps(root) {
        ensure(uses.iter().any(|u| members.contains(u)), id, || "uses no member of its group".into())?;
        let outside = |u: &ValueId| graph.uses(*u).contains(&before) && !members.contains(u);
        let early = graph.ids().find(|u| outside(u) && *u < graph.end_of(root));
        ensure(early.is_none(), before, || "is used before its group's end, with which it is stored".into())?;
        let output = graph.outputs.iter().any(|p| p.value == before);
        return ensure(!output, before, || "is in the middle of a group, but an output".into());
    }
    ensure(uses.contains(&before), id, || format!("does not use {before}, the member before it"))?;
    let strange = uses.iter().find(|u| **u != before && members.contains(u));
    ensure(strange.is_none(), id, || "uses a member of its group that is not the one before it".into())?;
    let alone = graph.ids().all(|u| u == id || !graph.uses(u).contains(&before));
    ensure(alone, before, || format!("is fused into {id}, but used elsewhere too"))?;
    ensure(!graph.leaves(before), before, || format!("is fused into {id}, but is an output"))
}

fn layouts(graph: &Graph) -> Check {
    if graph.values.iter().all(|v| v.layout.is_none()) {
        return Ok(());
    }
    let stored = graph.stored();
    for id in graph.ids().filter(|id| stored[id.index()]) {
        let value = graph.value(id);
        let rank = value.ty.dims().len();
        let fits = |l: &Layout| is_permutation(&l.order, rank) && l.halo.len() == rank;
        ensure(value.layout.as_ref().is_some_and(fits), id, || format!("has no layout of rank {rank}"))?;
    }
    for p in graph.inputs.iter().chain(&graph.outputs) {
        let expected = Layout::ordered(p.order.clone());
        ensure(graph.value(p.value).layout.as_ref() == Some(&expected), p.value, || {
            format!("port `{}` lies otherwise than in the user's order", p.name)
        })?;
    }
    graph.ids().filter(|id| graph.value(*id).group.is_none()).try_for_each(|id| wants(graph, id))
}

fn updates(graph: &Graph) -> Check {
    let laid_out = graph.values.iter().any(|v| v.layout.is_some());
    let stored = graph.stored();
    if let Some(port) = graph.commit {
        let number = graph.outputs.get(port).filter(|p| graph.value(p.value).ty.dims().is_empty());
        let message =
            || Broken { value: None, message: format!("updates wait for output {port}, which is no number") };
        number.ok_or_else(message)?;
    }
    for (i, u) in graph.updates.iter().enumerate() {
        let exists = u.param.index() < graph.values.len() && u.value.index() < graph.values.len();
        ensure(exists, u.param, || "an update names no value".into())?;
        let (param, value) = (graph.value(u.param), graph.value(u.value));
        ensure(matches!(param.def, Def::Param { .. }), u.param, || "is updated, but no weight".into())?;
        ensure(param.ty == value.ty, u.param, || {
            format!("has type {}, its update {} has {}", param.ty, u.value, value.ty)
        })?;
        let twice = graph.updates[..i].iter().any(|other| other.param == u.param);
        ensure(!twice, u.param, || "is updated twice".into())?;
        if laid_out {
            let shared = graph.updates[..i].iter().any(|other| other.value == u.value)
                || graph.outputs.iter().any(|p| p.value == u.value);
            ensure(!shared, u.value, || "is an update, and another update or an output too".into())?;
            ensure(matches!(value.def, Def::Op { .. }), u.value, || "is an update, but no operation".into())?;
            ensure(stored[u.value.index()], u.value, || "is an update, but not stored".into())?;
            ensure(param.layout == value.layout, u.value, || {
                format!("updates {} in another layout than it has", u.param)
            })?;
        }
    }
    Ok(())
}

/// The wants of the operation `id`, which is in no group or a root.
fn wants(graph: &Graph, id: ValueId) -> Check {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return Ok(()) };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    let wants = op.rules().wants(&types, &value.ty);
    ensure(wants.inputs.len() == inputs.len(), id, || {
        format!("has {} inputs, but wants something of {}", inputs.len(), wants.inputs.len())
    })?;
    for (input, want) in inputs.iter().zip(&wants.inputs) {
        let of = graph.value(*input);
        let held = of.layout.as_ref().is_some_and(|l| satisfies(l, want, &of.ty));
        ensure(held, id, || format!("wants {want:?} of {input}, which has {:?}", of.layout))?;
    }
    let last = graph.value(graph.last_of(id));
    let held = last.layout.as_ref().is_some_and(|l| satisfies(l, &wants.output, &value.ty));
    ensure(held, id, || format!("wants its result to be {:?}, not {:?}", wants.output, last.layout))
}

/// Fewer channels than this fill no vector.
pub const CHANNELS_MIN: usize = 8;

/// Elements of a channel of a sample.
fn pixels(ty: &TensorTy) -> usize {
    ty.dims().iter().skip(2).product()
}

/// Whether a layout has at least this halo.
fn wide(layout: &Layout, least: &[(usize, usize)]) -> bool {
    layout.halo.len() == least.len()
        && layout.halo.iter().zip(least).all(|(have, want)| have.0 >= want.0 && have.1 >= want.1)
}

/// Whether `layout` offers what is wanted. Dimensions of extent 1 without a halo may stand anywhere in an order.
pub fn satisfies(layout: &Layout, want: &Want, ty: &TensorTy) -> bool {
    match want {
        Want::Any => true,
        Want::Halo(least) => wide(layout, least),
        Want::Channels(least) => {
            let few = !ty.is_activation() || ty.c() < CHANNELS_MIN;
            wide(layout, least) && (few || layout.order.last() == Some(&1) || pixels(ty) == 1)
        }
        Want::Order(order) => {
            let long = |order: &[usize]| -> Vec<usize> {
                order.iter().copied().filter(|d| ty.dims().get(*d) != Some(&1)).collect()
            };
            !layout.has_halo() && long(&layout.order) == long(order)
        }
    }
}
