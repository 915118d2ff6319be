//! Gives every value a layout, and inserts copies where one layout does not serve all.
//!
//! * Inputs and outputs keep the user's order, without halo: machine code reads and writes the caller's buffers.
//! * A value that some consumer wants in one order, and none otherwise, gets that order; a weight is then stored packed.
//! * Any other activation is channels-last, with the largest halo that a consumer wants around it, and its channels cut into
//!   blocks where all loops over them can be.
//! * Where vectors run over channels ([`Want::Channels`]), channels lie beside each other, if need be in a copy of the user's input.
//! * A consumer whose want is not met reads a copy; equal copies are made once. Copies of weights happen at load time.
//! * An output that the network itself reads again, or that an operation with multiply-adds makes, stays channels-last when
//!   channels are more than one: such loops are fast only on whole vectors of channels. A copy then transposes.
//! * A weight that the run updates has the order that its first consumer wants, and what elementwise operations make of it on
//!   the way to its next elements (gradient, slots) lies alike. The next elements are made by an operation in that layout.

use crate::graph::patch::{Rewrite, Work};
use crate::graph::verify::{CHANNELS_MIN, satisfies};
use crate::graph::{Def, Graph, Value, ValueId};
use crate::loops::blocks::uncut;
use crate::ops::copy::Copy;
use crate::ops::lower::{LowerCx, Want, Wants};
use crate::tensor::layout::{BLOCK, Layout};
use crate::tensor::ty::TensorTy;

pub(super) fn run(work: Work) -> Work {
    let graph = &work.graph;
    let wants: Vec<Option<Wants>> = graph.ids().map(|id| wants_of(graph, id)).collect();
    let asked = asked(graph, &wants);
    let mut chosen: Vec<Layout> =
        graph.ids().map(|id| choose(graph, id, wants[id.index()].as_ref(), &asked[id.index()])).collect();
    align(graph, &wants, &asked, &mut chosen);
    let chosen = cut(graph, chosen);
    let mut rewrite = Rewrite::new(&work);
    let mut copies = Copies::default();
    for id in graph.ids() {
        let mut value = graph.value(id).clone();
        value.layout = Some(chosen[id.index()].clone());
        if let (Def::Op { inputs, .. }, Some(wants)) = (&mut value.def, &wants[id.index()]) {
            for (input, want) in inputs.iter_mut().zip(&wants.inputs) {
                *input = copies.meeting(&mut rewrite, (graph, &chosen, id), *input, want);
            }
        }
        rewrite.put(id, value);
    }
    outputs(&work, rewrite)
}

/// Gives weights that the run updates, and what elementwise operations join with them, one layout each family.
fn align(graph: &Graph, wants: &[Option<Wants>], asked: &[Vec<Want>], chosen: &mut [Layout]) {
    if graph.updates.is_empty() {
        return;
    }
    let mut family: Vec<usize> = (0..graph.values.len()).collect();
    fn find(family: &mut [usize], mut of: usize) -> usize {
        while family[of] != of {
            family[of] = family[family[of]];
            of = family[of];
        }
        of
    }
    let mut join = |a: ValueId, b: ValueId| {
        let alike = graph.value(a).ty == graph.value(b).ty && !graph.value(a).ty.is_activation();
        let (a, b) = (find(&mut family, a.index()), find(&mut family, b.index()));
        if alike && a != b {
            family[a.max(b)] = a.min(b);
        }
    };
    for u in &graph.updates {
        join(u.param, u.value);
    }
    for id in graph.ids() {
        if let Def::Op { op, inputs } = &graph.value(id).def
            && op.rules().scalar().is_some()
        {
            inputs.iter().for_each(|i| join(*i, id));
        }
    }
    let mut orders: Vec<Option<Vec<usize>>> = vec![None; graph.values.len()];
    let mut updated = vec![false; graph.values.len()];
    for id in graph.ids() {
        let root = find(&mut family, id.index());
        updated[root] |= graph.updates.iter().any(|u| u.param == id);
        let order = asked[id.index()].iter().find_map(|w| match w {
            Want::Order(order) => Some(order.clone()),
            Want::Any | Want::Halo(_) | Want::Channels(_) => None,
        });
        let weight = matches!(graph.value(id).def, Def::Param { .. });
        if weight && orders[root].is_none() {
            orders[root] = order;
        }
    }
    for id in graph.ids() {
        let root = find(&mut family, id.index());
        let free = match (&graph.value(id).def, &wants[id.index()]) {
            (Def::Param { .. }, _) => true,
            (Def::Op { .. }, Some(wants)) => wants.output == Want::Any,
            (Def::Op { .. } | Def::Input(_) | Def::Const(_), _) => false,
        };
        if updated[root] && free && !graph.outputs.iter().any(|p| p.value == id) {
            let rank = graph.value(id).ty.dims().len();
            chosen[id.index()] = match &orders[root] {
                Some(order) => Layout::ordered(order.clone()),
                None => Layout::canonical(rank),
            };
        }
    }
}

fn wants_of(graph: &Graph, id: ValueId) -> Option<Wants> {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return None };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    Some(op.rules().wants(&types, &value.ty))
}

/// For each value, what its consumers want of it.
fn asked(graph: &Graph, wants: &[Option<Wants>]) -> Vec<Vec<Want>> {
    let mut asked: Vec<Vec<Want>> = vec![Vec::new(); graph.values.len()];
    for id in graph.ids() {
        if let Some(wants) = &wants[id.index()] {
            for (input, want) in graph.uses(id).iter().zip(&wants.inputs) {
                if !asked[input.index()].contains(want) {
                    asked[input.index()].push(want.clone());
                }
            }
        }
    }
    asked
}

fn choose(graph: &Graph, id: ValueId, wants: Option<&Wants>, asked: &[Want]) -> Layout {
    let value = graph.value(id);
    let rank = value.ty.dims().len();
    if let Def::Input(i) = &value.def {
        return Layout::ordered(graph.inputs[*i].order.clone());
    }
    if let Some(Wants { output: Want::Order(order), .. }) = wants {
        return Layout::ordered(order.clone());
    }
    let port = graph.outputs.iter().find(|p| p.value == id);
    if let (Some(port), Def::Op { .. }) = (port, &value.def) {
        let layout = Layout::ordered(port.order.clone());
        let serves = asked.iter().all(|w| satisfies(&layout, w, &value.ty));
        let alone = asked.is_empty() && !is_heavy(graph, id);
        if serves && (alone || is_channels_last(&layout, &value.ty)) {
            return layout;
        }
    }
    let halo = asked.iter().fold(vec![(0, 0); rank], widest);
    let mut orders = asked.iter().filter_map(|w| match w {
        Want::Order(order) => Some(order),
        Want::Any | Want::Halo(_) | Want::Channels(_) => None,
    });
    match (orders.next(), orders.next()) {
        (Some(order), None) if halo.iter().all(|h| *h == (0, 0)) => packed(order, &value.ty),
        _ if value.ty.is_activation() => Layout { halo, ..Layout::channels_last(rank) },
        _ => Layout { halo, ..Layout::canonical(rank) },
    }
}

/// The layouts with the channels of activations cut into blocks, where every loop that touches the value can be cut with them.
/// Pixels then lie a few lines apart, however many channels there are; with all channels between them, those of a register tile
/// would fall into one set of the nearest cache.
fn cut(graph: &Graph, mut chosen: Vec<Layout>) -> Vec<Layout> {
    for id in graph.ids() {
        let value = graph.value(id);
        let (layout, ty) = (&chosen[id.index()], &value.ty);
        let of_user =
            graph.outputs.iter().any(|p| p.value == id && *layout == Layout::ordered(p.order.clone()));
        let activation = matches!(value.def, Def::Op { .. }) && ty.is_activation() && !of_user;
        if activation && is_channels_last(layout, ty) && blocks(layout, ty) {
            chosen[id.index()].block = Some(BLOCK);
        }
    }
    // Values whose own loops tell no blocks apart, and what is applied to them where they are stored.
    let mut whole = vec![false; graph.values.len()];
    for id in graph.ids() {
        let Def::Op { op, inputs } = &graph.value(id).def else { continue };
        if op.rules().scalar().is_some() && inputs.iter().any(|i| whole[i.index()]) {
            whole[id.index()] = true;
            chosen[id.index()].block = None;
        }
        let place = |id: &ValueId| (&graph.value(*id).ty, &chosen[id.index()]);
        let operands: Vec<_> = inputs.iter().map(place).collect();
        if operands.iter().chain([&place(&id)]).all(|(_, l)| l.block.is_none()) {
            continue;
        }
        let mut cx = LowerCx::new("", &operands, &[], place(&id), Vec::new());
        op.rules().lower(&mut cx);
        for buf in uncut(&cx.finish()) {
            let value = inputs.get(buf.index()).copied().unwrap_or(id);
            chosen[value.index()].block = None;
            whole[value.index()] |= value == id && graph.value(value).ty.is_activation();
        }
    }
    chosen
}

/// Whether there are blocks of channels, and pixels between which they lie.
fn blocks(layout: &Layout, ty: &TensorTy) -> bool {
    let pixels: usize = ty.dims().iter().skip(2).product();
    layout.order.last() == Some(&1) && pixels > 1 && ty.c() > BLOCK && ty.c().is_multiple_of(BLOCK)
}

/// Whether the loops of `user` tell the blocks of its operand `operand` apart, were it in `layout` with blocks.
fn can_cut((graph, chosen, user): (&Graph, &[Layout], ValueId), operand: ValueId, layout: &Layout) -> bool {
    let Def::Op { op, inputs } = &graph.value(user).def else { return false };
    let cut = Layout { block: Some(BLOCK), ..layout.clone() };
    let place = |id: &ValueId| {
        let layout = if *id == operand { &cut } else { &chosen[id.index()] };
        (&graph.value(*id).ty, layout)
    };
    let operands: Vec<_> = inputs.iter().map(place).collect();
    let mut cx = LowerCx::new("", &operands, &[], place(&user), Vec::new());
    op.rules().lower(&mut cx);
    uncut(&cx.finish()).iter().all(|buf| inputs.get(buf.index()) != Some(&operand))
}

/// An order as asked for; weights lie in blocks besides, which no operation sees.
fn packed(order: &[usize], ty: &TensorTy) -> Layout {
    if ty.is_activation() { Layout::ordered(order.to_vec()) } else { Layout::packed(order.to_vec(), ty) }
}

fn widest(halo: Vec<(usize, usize)>, want: &Want) -> Vec<(usize, usize)> {
    match want {
        Want::Halo(h) | Want::Channels(h) => {
            halo.iter().zip(h).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))).collect()
        }
        Want::Any | Want::Order(_) => halo,
    }
}

/// Whether the operation's loops are fast only in the order that its own layouts have: it multiplies and adds, or its vectors run
/// over channels.
pub(super) fn is_heavy(graph: &Graph, id: ValueId) -> bool {
    let value = graph.value(id);
    let Def::Op { op, inputs } = &value.def else { return false };
    let types: Vec<&TensorTy> = inputs.iter().map(|i| &graph.value(*i).ty).collect();
    let lanes = |w: &Want| matches!(w, Want::Channels(_));
    let vectors = value.ty.is_activation() && value.ty.c() >= CHANNELS_MIN;
    op.rules().cost(&types, &value.ty).macs > 0
        || vectors && op.rules().wants(&types, &value.ty).inputs.iter().any(lanes)
}

fn is_channels_last(layout: &Layout, ty: &TensorTy) -> bool {
    ty.is_activation() && same_order(layout, &Layout::channels_last(ty.dims().len()), ty)
}

/// Whether two layouts order their dimensions alike, those of extent 1 aside.
pub(super) fn same_order(a: &Layout, b: &Layout, ty: &TensorTy) -> bool {
    let long =
        |l: &Layout| -> Vec<usize> { l.order.iter().copied().filter(|d| ty.dims()[*d] != 1).collect() };
    long(a) == long(b)
}

/// Copies made so far: of which new value, in which layout.
#[derive(Default)]
struct Copies {
    made: Vec<(ValueId, Layout, ValueId)>,
}

impl Copies {
    /// What an operation that wants `want` of the old value `id` reads in the new graph.
    fn meeting(
        &mut self,
        rewrite: &mut Rewrite<'_>,
        user: (&Graph, &[Layout], ValueId),
        id: ValueId,
        want: &Want,
    ) -> ValueId {
        let new = rewrite.of(id);
        let value = &rewrite.new.graph.values[new.index()];
        let rank = value.ty.dims().len();
        if value.layout.as_ref().is_some_and(|l| satisfies(l, want, &value.ty)) {
            return new;
        }
        let layout = match want {
            Want::Order(order) => packed(order, &value.ty),
            Want::Halo(halo) | Want::Channels(halo) if value.ty.is_activation() => {
                let plain = Layout { halo: halo.clone(), ..Layout::channels_last(rank) };
                let block = Some(BLOCK).filter(|_| blocks(&plain, &value.ty) && can_cut(user, id, &plain));
                Layout { block, ..plain }
            }
            Want::Halo(halo) | Want::Channels(halo) => {
                Layout { halo: halo.clone(), ..Layout::canonical(rank) }
            }
            Want::Any => return new,
        };
        let found = self.made.iter().find(|(of, l, _)| {
            let wider = matches!(want, Want::Halo(_) | Want::Channels(_)) && l.block == layout.block;
            *of == new && (*l == layout || wider && satisfies(l, want, &value.ty))
        });
        if let Some((_, _, copy)) = found {
            return *copy;
        }
        let copy = copy_of(rewrite, new, layout.clone());
        self.made.push((new, layout, copy));
        copy
    }
}

/// Adds a copy of the new value `of`.
pub(super) fn copy_of(rewrite: &mut Rewrite<'_>, of: ValueId, layout: Layout) -> ValueId {
    let from = &rewrite.new.graph.values[of.index()];
    let value = Value {
        def: Def::Op { op: Copy.into(), inputs: vec![of] },
        ty: from.ty.clone(),
        name: format!("{}.copy", from.name),
        span: from.span,
        group: None,
        layout: Some(layout),
    };
    let origin = rewrite.new.origin[of.index()];
    rewrite.push(value, origin)
}

/// Ends the rewrite; every output port gets a value of its own, made by an operation, in the user's order, and every update
/// one in the order of its weight.
fn outputs(old: &Work, mut rewrite: Rewrite<'_>) -> Work {
    let mut taken: Vec<ValueId> = Vec::new();
    let mut values = Vec::new();
    for port in &old.graph.outputs {
        let mut new = rewrite.of(port.value);
        let value = &rewrite.new.graph.values[new.index()];
        let layout = Layout::ordered(port.order.clone());
        let made = matches!(value.def, Def::Op { .. });
        if !made || value.layout.as_ref() != Some(&layout) || taken.contains(&new) {
            new = copy_of(&mut rewrite, new, layout);
        }
        taken.push(new);
        values.push(new);
    }
    let mut updates = Vec::new();
    for u in &old.graph.updates {
        let (param, mut new) = (rewrite.of(u.param), rewrite.of(u.value));
        let layout = rewrite.new.graph.value(param).layout.clone();
        let value = rewrite.new.graph.value(new);
        let made = matches!(value.def, Def::Op { .. });
        if let Some(layout) =
            layout.filter(|l| !made || value.layout.as_ref() != Some(l) || taken.contains(&new))
        {
            new = copy_of(&mut rewrite, new, layout);
        }
        taken.push(new);
        updates.push(new);
    }
    let mut work = rewrite.finish();
    for (update, value) in work.graph.updates.iter_mut().zip(updates) {
        update.value = value;
    }
    for (port, value) in work.graph.outputs.iter_mut().zip(values) {
        port.value = value;
    }
    work
}
