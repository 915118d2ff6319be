//! Where every stored value lies. In: a graph with layouts and its steps. Out: a [`Place`] per stored value, and two plans: the
//! store of weights, filled at load time and read by every run, and the arena of a run.
//!
//! Inputs and outputs lie in the caller's buffers. What updates a weight is stored where the weight lies: the pass `update` has
//! seen to it that nobody reads the old elements afterwards. Where updates wait for the end of the run, the weights that it updates lie
//! at the beginning of the store, one behind another, and their new elements behind them in the same order; if the updates hold, the
//! two change their parts in the next run. Weights, constants and what runs read of the values computed from them live
//! in the store for good; what only other load steps read is given up after them. A value computed by a run lives in the arena from
//! the step that stores it to the last that reads it. A step that touches a dying operand only where it stores takes over its
//! buffer.

use super::Step;
use super::plan::{self, Block, Plan};
use crate::graph::{Def, Graph, ValueId};
use crate::loops::{BufDecl, Nest};

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The caller's buffer for the input of this position.
    Input(usize),
    /// The caller's buffer for the output of this position.
    Output(usize),
    /// The store of weights, from this element on.
    Store(usize),
    /// In the store, beside the weight that begins at this element, whose new elements they are.
    Next(usize),
    /// The arena of a run, from this element on.
    Arena(usize),
    /// Nowhere: it is fused, or nothing reads it.
    None,
}

/// All places, and the plans behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// One per value of the graph.
    pub places: Vec<Place>,
    /// The store of weights.
    pub store: Plan,
    /// Elements of the weights that lie twice in the store, at its beginning.
    pub twin: usize,
    /// The arena.
    pub arena: Plan,
    /// For each step where its own buffers lie, in the arena or, at load time, in the store.
    pub scratch: Vec<Vec<Place>>,
    /// For how many threads private buffers lie there, one behind another, [`private_step`] elements apart.
    pub threads: usize,
}

impl Memory {
    /// Where the buffers of step `number` lie, in the order of its nest's buffers.
    pub fn bufs(&self, number: usize, step: &Step) -> Vec<Place> {
        let values = step.reads.iter().copied().chain(step.stores()).map(|v| self.places[v.index()]);
        values.chain(self.scratch[number].iter().copied()).collect()
    }

    /// The element at which a weight begins that [`Place::Store`] or, if it is not `turned`, [`Place::Next`] places at `at`.
    pub fn in_store(&self, at: usize, turned: bool) -> usize {
        if turned && at < self.twin { at + self.twin } else { at }
    }
}

/// Elements from a private buffer of one thread to that of the next.
pub fn private_step(buf: &BufDecl) -> usize {
    buf.len.next_multiple_of(plan::ALIGN / ELEMENT)
}

/// Bytes of an element.
const ELEMENT: usize = size_of::<f32>();

/// Finds a place for every stored value, and for the buffers of the `nests` of the steps alone, the private ones for each of `threads`
/// threads.
pub fn memory(graph: &Graph, steps: &[Step], nests: &[&Nest], threads: usize) -> Memory {
    let mut places = vec![Place::None; graph.values.len()];
    for (i, port) in graph.outputs.iter().enumerate() {
        places[port.value.index()] = Place::Output(i);
    }
    for (i, port) in graph.inputs.iter().enumerate() {
        places[port.value.index()] = Place::Input(i);
    }
    let own = |now: usize| nests[now].bufs[steps[now].shared()..].iter();
    let sizes = |now: usize| -> Vec<usize> {
        let len = |b: &BufDecl| if b.is_private() { private_step(b) * threads } else { b.len };
        own(now).map(|b| len(b) * ELEMENT).collect()
    };
    let store = Lives::of(graph, steps, true, &sizes);
    let arena = Lives::of(graph, steps, false, &sizes);
    let (mut store_plan, arena_plan) = (plan::plan(&store.blocks), plan::plan(&arena.blocks));
    let twin = twins(graph, &mut places);
    store_plan.offsets.iter_mut().for_each(|at| *at += 2 * twin * ELEMENT);
    store_plan.size += 2 * twin * ELEMENT;
    store_plan.lower_bound += 2 * twin * ELEMENT;
    for (value, block) in &store.held {
        places[value.index()] = Place::Store(store_plan.offsets[*block] / ELEMENT);
    }
    for (value, block) in &arena.held {
        places[value.index()] = Place::Arena(arena_plan.offsets[*block] / ELEMENT);
    }
    for u in &graph.updates {
        places[u.value.index()] = match places[u.param.index()] {
            Place::Store(at) if graph.commit.is_some() => Place::Next(at),
            place => place,
        };
    }
    let mut scratch = vec![Vec::new(); steps.len()];
    for (step, block) in &store.scratch {
        scratch[*step].push(Place::Store(store_plan.offsets[*block] / ELEMENT));
    }
    for (step, block) in &arena.scratch {
        scratch[*step].push(Place::Arena(arena_plan.offsets[*block] / ELEMENT));
    }
    Memory { places, store: store_plan, twin, arena: arena_plan, scratch, threads }
}

/// Finds places for the weights that lie twice; how many elements they have together.
fn twins(graph: &Graph, places: &mut [Place]) -> usize {
    let mut at = 0;
    for u in graph.updates.iter().filter(|_| graph.commit.is_some()) {
        places[u.param.index()] = Place::Store(at);
        at += (len(graph, u.param) * ELEMENT).next_multiple_of(plan::ALIGN) / ELEMENT;
    }
    at
}

/// Elements of a value in memory.
fn len(graph: &Graph, id: ValueId) -> usize {
    let value = graph.value(id);
    value.layout.as_ref().map_or(0, |l| l.place(&value.ty).len)
}

/// Blocks of one of the two memories, and which value lies in which.
#[derive(Default)]
struct Lives {
    blocks: Vec<Block>,
    held: Vec<(ValueId, usize)>,
    /// Steps with blocks of their own.
    scratch: Vec<(usize, usize)>,
}

impl Lives {
    fn of(graph: &Graph, steps: &[Step], at_load: bool, own: &dyn Fn(usize) -> Vec<usize>) -> Self {
        let mut lives = Self::default();
        let end = steps.len();
        if at_load {
            let twice = |id: &ValueId| graph.commit.is_some() && graph.updates.iter().any(|u| u.param == *id);
            let held = |id: &ValueId| match graph.value(*id).def {
                Def::Param { .. } => !twice(id),
                Def::Const(_) => true,
                Def::Input(_) | Def::Op { .. } => false,
            };
            for id in graph.ids().filter(held) {
                lives.add(graph, id, 0, end);
            }
        }
        for (now, step) in steps.iter().enumerate().filter(|(_, s)| s.at_load == at_load) {
            for size in own(now) {
                lives.scratch.push((now, lives.blocks.len()));
                lives.blocks.push(Block { size, first: now, last: now });
            }
            for value in step.stores().filter(|v| !graph.leaves(*v)) {
                let last = last_read(steps, value, at_load, now, end);
                match lives.dying(step, now).filter(|_| value == step.value) {
                    Some(block) => {
                        lives.blocks[block].last = last;
                        lives.held.push((value, block));
                    }
                    None => lives.add(graph, value, now, last),
                }
            }
        }
        lives
    }

    fn add(&mut self, graph: &Graph, id: ValueId, first: usize, last: usize) {
        self.held.push((id, self.blocks.len()));
        self.blocks.push(Block { size: len(graph, id) * ELEMENT, first, last });
    }

    /// The block of an operand that nobody reads after this step and that the result may take over.
    fn dying(&self, step: &Step, now: usize) -> Option<usize> {
        step.in_place.iter().find_map(|i| {
            let (_, block) = self.held.iter().rev().find(|(id, _)| *id == step.reads[*i])?;
            (self.blocks[*block].last == now).then_some(*block)
        })
    }
}

/// The last step that reads `value`; the end of time for a value of load time that a run reads.
fn last_read(steps: &[Step], value: ValueId, at_load: bool, now: usize, end: usize) -> usize {
    let readers = steps.iter().enumerate().filter(|(_, s)| s.reads.contains(&value));
    readers.map(|(i, s)| if at_load && !s.at_load { end } else { i }).max().unwrap_or(now)
}
