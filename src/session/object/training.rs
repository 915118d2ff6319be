//! The object that trains a net: `init` and `set` begin a state, `step` changes it, `get` reads its weights, `pack` makes of them what
//! `forward` and `backward` read.
//!
//! The state is the store of the step's graph: weights, slots of the optimizer, statistics, constants. The region `weights` is
//! the stores of the two other graphs one after the other, which load steps fill; in `params` and `grads` tensors lie row-major.

use std::collections::BTreeMap;

use super::ObjectError;
use super::assembly::Assembly;
use super::copies;
use super::golden::{self, Golden, seed};
use super::interface::{Arg, Part, identifier};
use super::program::Built;
use super::store::{Values, host_of};
use crate::codegen::object::{Base, Call, Source};
use crate::codegen::selftest::{checksum, element};
use crate::grad::{filled, gradients};
use crate::graph::{Def, Graph, Value, ValueId};
use crate::kernels::isa::Isa;
use crate::loops::Nest;
use crate::lower::memory::Place;
use crate::lower::plan::ALIGN;
use crate::session::assemble::Recipe;
use crate::session::compiler::Compiler;
use crate::session::model::Model;
use crate::tensor::layout::Layout;
use crate::tensor::owned::TensorView;

const ELEMENT: usize = size_of::<f32>();

/// What every number is in the test of itself.
const NUMBER: f32 = 1.0 / 64.0;

/// What trains a net.
#[derive(Debug)]
pub struct Training<'a> {
    /// The compiled step, with the weights and slots that a training begins with.
    pub step: &'a Model,
    /// The end of the names of weights in the step that are to be taken for the net's own, where there are such: moving averages.
    pub average: &'a str,
    /// What the step's numbers are, by the names of the inputs.
    pub numbers: Vec<(String, String)>,
}

/// The graphs of one instruction set.
struct Variant {
    isa: Isa,
    forward: Built,
    backward: Built,
    step: Built,
    nests: Vec<Nest>,
}

/// Everything that holds for all instruction sets.
struct Plan<'a> {
    graph: &'a Graph,
    backward: Graph,
    average: &'a str,
    /// The parts of `params` and `grads`, in the order of the graph's weights.
    parts: Vec<Part>,
    /// Where the store of `backward` begins in `weights`, in bytes.
    second: usize,
}

pub(super) fn assembly(
    compiler: &Compiler,
    graph: &Graph,
    training: &Training<'_>,
    targets: &[Isa],
) -> Result<Assembly, ObjectError> {
    let begun = super::values(training.step)?;
    let step = training.step.source_graph();
    let values = net_values(graph, &begun, training.average)?;
    let (backward, seeds) = with_gradients(graph)?;
    let recipe = Recipe::plain(compiler.options());
    let mut variants: Vec<Variant> = Vec::new();
    let run = |host: &Isa| rehearsal(compiler, graph, step, (&values, &begun), host);
    let mut golden = Golden::new(&run);
    let mut a = Assembly::default();
    let mut data: Vec<usize> = Vec::new();
    for isa in targets {
        let built = |graph: &Graph| Built::new(graph, &recipe, isa);
        let (forward, backward, step) = (built(graph)?, built(&backward)?, built(step)?);
        let state = step.store(&begun, &host_of(isa))?;
        let bytes: Vec<u8> = state.as_slice().iter().flat_map(|x| x.to_le_bytes()).collect();
        data.push(a.data.iter().position(|d| *d == bytes).unwrap_or_else(|| {
            a.data.push(bytes);
            a.data.len() - 1
        }));
        golden.add(isa, &host_of(isa))?;
        variants.push(Variant { isa: isa.clone(), forward, backward, step, nests: Vec::new() });
    }
    one_state(&variants)?;
    let most = |f: &dyn Fn(&Variant) -> usize| variants.iter().map(f).max().unwrap_or(0);
    let second = most(&|v| v.forward.store_bytes()).next_multiple_of(ALIGN);
    let bytes = most(&|v| v.forward.arena().max(v.backward.arena()).max(v.step.arena()));
    let arena =
        a.region("arena", bytes, "Scratch memory of one call; nothing in it matters before or after.");
    let doc =
        "What a training changes: weights, slots of the optimizer, statistics. It may be copied and kept.";
    let state = a.region("state", most(&|v| v.step.store_bytes()), doc);
    let doc = "What forward and backward read; pack makes it, and makes it anew after steps and after another instruction \
               set is chosen.";
    let weights = a.region("weights", second + most(&|v| v.backward.store_bytes()), doc);
    let parts = parts(graph);
    let end = parts.last().map_or(0, |p| p.at + p.len * ELEMENT);
    let params = a.region("params", end, "The weights of the net, each row-major as in files.");
    let doc = "Gradients by the weights, laid out as params; what training does not change has none.";
    let grads = a.region("grads", end, doc);
    a.regions[params].parts.clone_from(&parts);
    a.regions[grads].parts.clone_from(&parts);
    let plan = Plan { graph, backward, average: training.average, parts, second };
    let calls = each(&mut variants, |i, v| v.init(data[i]))?;
    let doc = "Begins a training where the compiler would: initial weights, empty slots.";
    let init = a.function("init", doc, vec![Arg::Region(state, true)], calls);
    let calls = each(&mut variants, |_, v| v.set(&plan))?;
    let args = vec![Arg::Region(params, false), Arg::Region(state, true)];
    a.function("set", "Sets the weights of a state; its slots stay.", args, calls);
    let calls = each(&mut variants, |_, v| v.get(&plan))?;
    let args = vec![Arg::Region(state, false), Arg::Region(params, true)];
    a.function("get", "Reads the weights of a state.", args, calls);
    let calls = each(&mut variants, |_, v| v.pack(&plan, &mut a.data))?;
    let args = vec![Arg::Region(state, false), Arg::Region(weights, true)];
    let pack =
        a.function("pack", "Makes the weights of a state ready for forward and backward.", args, calls);

    let tensors: Vec<usize> = a.ports(graph, "", &|_| true).into_iter().flatten().collect();
    let mut args = vec![Arg::Region(weights, false)];
    args.extend(tensors.iter().map(|t| Arg::Tensor(*t)));
    args.push(Arg::Region(arena, true));
    let last = args.len() - 1;
    let calls = each(&mut variants, |_, v| v.forward(last))?;
    let doc = "Runs the net once: reads the inputs, writes the outputs.";
    let forward = a.function("forward", doc, args, calls);

    let given = graph.inputs.len();
    let of_tensors = plan.backward.inputs.len() + given;
    let others = a.ports(&plan.backward, "", &|i| i >= given && i < of_tensors);
    let mut args = vec![Arg::Region(weights, false)];
    args.extend(tensors[..given].iter().map(|t| Arg::Tensor(*t)));
    args.extend(others.into_iter().flatten().map(Arg::Tensor));
    args.extend([Arg::Region(grads, true), Arg::Region(arena, true)]);
    let calls = each(&mut variants, |_, v| v.backward(&plan, seeds))?;
    let doc = "The gradients of the sum of grad_NAME times output NAME, over all outputs, by every input and weight; the net \
               computes as in forward.";
    a.function("backward", doc, args, calls);

    let numbers: Vec<bool> = step.inputs.iter().map(|p| is_number(step, p.value, &p.name)).collect();
    let ports = a.ports(step, "step_", &|i| !numbers.get(i).copied().unwrap_or(false));
    let mut args = vec![Arg::Region(state, true)];
    for (i, tensor) in ports.iter().enumerate() {
        args.push(match tensor {
            Some(tensor) => Arg::Tensor(*tensor),
            None => number(&step.inputs[i].name, training),
        });
    }
    args.push(Arg::Region(arena, true));
    let last = args.len() - 1;
    let calls = each(&mut variants, |_, v| v.step(last))?;
    let doc = "One step of training on one batch: changes the state, gives the mean loss and the squared norm of all \
               gradients. Where one of them is not finite nothing changes.";
    let step_function = a.function("step", doc, args, calls);

    // The test: a state, its net, two steps.
    a.scratch = a.regions[arena].bytes;
    let (state_at, weights_at) = (a.regions[state].bytes, a.regions[weights].bytes);
    let state_at = Source::Scratch(a.scratch(state_at));
    let weights_at = Source::Scratch(a.scratch(weights_at));
    a.selftest.runs.push((init, vec![state_at]));
    a.selftest.runs.push((pack, vec![state_at, weights_at]));
    let mut sources = vec![weights_at];
    sources.extend(tensors.iter().map(|t| a.rehearsed(*t)).collect::<Vec<_>>());
    sources.push(Source::Scratch(0));
    a.selftest.runs.push((forward, sources));
    let inputs: Vec<Source> = ports[..step.inputs.len()]
        .iter()
        .map(|t| t.map_or(Source::Float(NUMBER), |t| a.rehearsed(t)))
        .collect();
    for _ in 0..2 {
        let mut sources = vec![state_at];
        sources.extend(inputs.iter().copied());
        let outputs: Vec<Source> =
            ports[step.inputs.len()..].iter().flatten().map(|t| a.rehearsed(*t)).collect();
        sources.extend(outputs);
        sources.push(Source::Scratch(0));
        a.selftest.runs.push((step_function, sources));
    }
    // What the first instruction set begins with stands for all.
    a.selftest.checksum =
        a.data.first().map(|d| (Source::Data(0, 0), d.len(), checksum(d))).filter(|c| c.1 > 0);
    a.selftest.golden = golden.numbers();
    a.nests = variants.into_iter().map(|v| v.nests).collect();
    Ok(a)
}

/// The calls of each instruction set.
fn each(
    variants: &mut [Variant],
    mut calls: impl FnMut(usize, &mut Variant) -> Result<Vec<Call>, ObjectError>,
) -> Result<Vec<Vec<Call>>, ObjectError> {
    variants.iter_mut().enumerate().map(|(i, v)| calls(i, v)).collect()
}

/// The net's weights among those that a training begins with.
fn net_values(graph: &Graph, begun: &Values, average: &str) -> Result<Values, ObjectError> {
    let mut values = BTreeMap::new();
    for id in graph.params() {
        let name = &graph.value(id).name;
        let found = begun.get(&format!("{name}{average}")).or_else(|| begun.get(name));
        values.insert(name.clone(), found.ok_or_else(|| ObjectError::weight(name))?.clone());
    }
    Ok(values)
}

/// The graph that gives gradients, and how many of its outputs are gradients by inputs; those by trained weights follow.
fn with_gradients(graph: &Graph) -> Result<(Graph, usize), ObjectError> {
    let mut g = graph.clone();
    let mut seeds = Vec::new();
    for port in &graph.outputs {
        let ty = g.value(port.value).ty.clone();
        seeds.push((port.value, g.input(&format!("grad_{}", port.name), ty, port.order.clone())));
    }
    let inputs: Vec<ValueId> = graph.inputs.iter().map(|p| p.value).collect();
    let weights: Vec<ValueId> = trained(graph).collect();
    let wanted: Vec<ValueId> = inputs.iter().chain(&weights).copied().collect();
    let found = gradients(&mut g, &seeds, &wanted)?;
    g.outputs.clear();
    for (i, (of, grad)) in wanted.iter().zip(found).enumerate() {
        let grad = grad.unwrap_or_else(|| filled(&mut g, *of, 0.0));
        let order = match graph.inputs.get(i) {
            Some(port) => port.order.clone(),
            None => (0..g.value(grad).ty.dims().len()).collect(),
        };
        let name = match graph.inputs.get(i) {
            Some(port) => format!("grad_{}", port.name),
            None => format!("{}.grad", graph.value(*of).name),
        };
        g.output(&name, grad, order);
    }
    Ok((g, inputs.len()))
}

/// The weights that training changes.
fn trained(graph: &Graph) -> impl Iterator<Item = ValueId> + '_ {
    graph.params().filter(|id| matches!(graph.value(*id).def, Def::Param { trainable: true, .. }))
}

/// The net's weights one after another.
fn parts(graph: &Graph) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut at = 0;
    for id in graph.params() {
        let value = graph.value(id);
        let names: Vec<&str> = value.ty.names().iter().map(|n| &**n).collect();
        let axes: Vec<String> = names.iter().zip(value.ty.dims()).map(|(n, d)| format!("{n}: {d}")).collect();
        parts.push(Part {
            name: value.name.clone(),
            ident: identifier(&value.name, parts.iter().map(|p| p.ident.as_str())),
            at,
            len: value.ty.len(),
            axes: format!("[{}]", axes.join(", ")),
        });
        at = (at + value.ty.len() * ELEMENT).next_multiple_of(ALIGN);
    }
    parts
}

/// Whether an input of a step is handed over as a number.
fn is_number(graph: &Graph, value: ValueId, name: &str) -> bool {
    name.starts_with('@') && graph.value(value).ty.dims().is_empty()
}

fn number(name: &str, training: &Training<'_>) -> Arg {
    let doc = training.numbers.iter().find(|n| n.0 == name).map_or_else(String::new, |n| n.1.clone());
    Arg::Float { ident: identifier(name, std::iter::empty()), doc }
}

/// One state serves every instruction set.
fn one_state(variants: &[Variant]) -> Result<(), ObjectError> {
    let places = |v: &Variant| {
        let (graph, memory) = (&v.step.program.work.graph, &v.step.program.memory);
        let place = |id: ValueId| (graph.value(id).layout.clone(), memory.places[id.index()]);
        (memory.store.size, graph.params().map(place).collect::<Vec<_>>())
    };
    let Some(first) = variants.first() else { return Ok(()) };
    match variants.iter().find(|v| places(v) != places(first)) {
        Some(other) => {
            Err(ObjectError::State { names: (first.isa.name().to_owned(), other.isa.name().to_owned()) })
        }
        None => Ok(()),
    }
}

/// What the test compares: the outputs of the net, and of two steps.
fn rehearsal(
    compiler: &Compiler,
    graph: &Graph,
    step: &Graph,
    (values, begun): (&Values, &Values),
    host: &Isa,
) -> Result<Vec<Vec<f32>>, ObjectError> {
    let mut all = golden::forward(compiler, graph, values, host)?;
    let mut model = golden::model(compiler, step, begun, host)?;
    let mut fills = graph.inputs.len();
    let mut inputs: Vec<(String, Vec<f32>)> = Vec::new();
    for (port, p) in model.inputs().iter().zip(&step.inputs) {
        let numbers = match is_number(step, p.value, &p.name) {
            true => vec![NUMBER],
            false => {
                fills += 1;
                (0..port.len() as u64).map(|e| element(seed(fills - 1), e)).collect()
            }
        };
        inputs.push((port.name.to_string(), numbers));
    }
    for _ in 0..2 {
        let given: Vec<(&str, TensorView<'_>)> =
            inputs.iter().map(|(name, x)| (name.as_str(), TensorView::from(x))).collect();
        let outputs = model.run_mut(&given)?;
        all.extend(outputs.into_vec().into_iter().map(|(_, t)| t.into_data()));
    }
    Ok(all)
}

/// A weight of a program by name, with its place in the store in bytes.
fn stored<'a>(built: &'a Built, name: &str) -> Option<(&'a Value, usize)> {
    let graph = &built.program.work.graph;
    let id = graph.params().find(|id| graph.value(*id).name == name)?;
    match built.program.memory.places[id.index()] {
        Place::Store(at) => Some((graph.value(id), at * ELEMENT)),
        Place::Input(_) | Place::Output(_) | Place::Arena(_) | Place::Next(_) | Place::None => None,
    }
}

fn layout(value: &Value) -> Layout {
    value.layout.clone().unwrap_or_else(|| Layout::canonical(value.ty.dims().len()))
}

fn too_large() -> ObjectError {
    crate::runtime::arena::OutOfMemory { elements: usize::MAX }.into()
}

impl Variant {
    fn nest(&mut self, nest: Nest) -> usize {
        self.nests.push(nest);
        self.nests.len() - 1
    }

    /// Calls of the load or run steps of one of the programs, `store` being where its store begins.
    fn steps(
        &mut self,
        of: fn(&Variant) -> &Built,
        at_load: bool,
        store: (Base, usize),
        place: &dyn Fn(Place) -> (Base, usize),
    ) -> Vec<Call> {
        let first = self.nests.len();
        let built = of(self);
        let calls = built.calls(at_load, first, &|p| match p {
            Place::Store(at) => (store.0, store.1 + at * ELEMENT),
            Place::Input(_) | Place::Output(_) | Place::Arena(_) | Place::Next(_) | Place::None => place(p),
        });
        let nests = built.nests(at_load);
        self.nests.extend(nests);
        calls
    }

    fn init(&mut self, data: usize) -> Result<Vec<Call>, ObjectError> {
        let len = self.step.store_bytes() / ELEMENT;
        let nest = copies::copy(len, &self.isa).map_err(|_| too_large())?;
        let nest = self.nest(nest);
        Ok(vec![Call { nest, bufs: vec![(Base::Data(data), 0), (Base::Arg(0), 0)] }])
    }

    /// params, state
    fn set(&mut self, plan: &Plan<'_>) -> Result<Vec<Call>, ObjectError> {
        let mut calls = Vec::new();
        for part in &plan.parts {
            let averaged = format!("{}{}", part.name, plan.average);
            for name in [&part.name, &averaged] {
                let Some((value, at)) = stored(&self.step, name) else {
                    continue;
                };
                let rank = value.ty.dims().len();
                let nest = copies::relaid(&value.ty, &Layout::canonical(rank), &layout(value), &self.isa);
                let nest = self.nest(nest);
                calls.push(Call { nest, bufs: vec![(Base::Arg(0), part.at), (Base::Arg(1), at)] });
            }
        }
        let state = (Base::Arg(1), 0);
        calls.extend(self.steps(|v| &v.step, true, state, &|_| state));
        Ok(calls)
    }

    /// state, params
    fn get(&mut self, plan: &Plan<'_>) -> Result<Vec<Call>, ObjectError> {
        let mut calls = Vec::new();
        for part in &plan.parts {
            let (value, at) = self.of_state(plan, &part.name)?;
            let to = Layout::canonical(value.ty.dims().len());
            let nest = self.nest(copies::relaid(&value.ty, &layout(&value), &to, &self.isa));
            calls.push(Call { nest, bufs: vec![(Base::Arg(0), at), (Base::Arg(1), part.at)] });
        }
        Ok(calls)
    }

    /// A weight of the net in the state: its average, where one is kept.
    fn of_state(&self, plan: &Plan<'_>, name: &str) -> Result<(Value, usize), ObjectError> {
        let averaged = format!("{name}{}", plan.average);
        let found = stored(&self.step, &averaged).or_else(|| stored(&self.step, name));
        let (value, at) = found.ok_or_else(|| ObjectError::weight(name))?;
        Ok((value.clone(), at))
    }

    /// state, weights
    fn pack(&mut self, plan: &Plan<'_>, data: &mut Vec<Vec<u8>>) -> Result<Vec<Call>, ObjectError> {
        let mut calls = Vec::new();
        let programs: [(fn(&Variant) -> &Built, usize); 2] =
            [(|v| &v.forward, 0), (|v| &v.backward, plan.second)];
        for (of, start) in programs {
            // Halos of weights are zeros.
            let bytes = of(self).store_bytes();
            if bytes > 0 {
                let nest = copies::fill(bytes / ELEMENT, 0.0, &self.isa).map_err(|_| too_large())?;
                let nest = self.nest(nest);
                calls.push(Call { nest, bufs: vec![(Base::Arg(1), start)] });
            }
            let (consts, weights) = of_store(of(self));
            for (at, numbers) in consts {
                let nest = copies::copy(numbers.len(), &self.isa).map_err(|_| too_large())?;
                let nest = self.nest(nest);
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                let number = data.iter().position(|d| *d == bytes).unwrap_or_else(|| {
                    data.push(bytes);
                    data.len() - 1
                });
                calls.push(Call { nest, bufs: vec![(Base::Data(number), 0), (Base::Arg(1), start + at)] });
            }
            for (at, value) in weights {
                let (from, from_at) = self.of_state(plan, &value.name)?;
                let nest = copies::relaid(&value.ty, &layout(&from), &layout(&value), &self.isa);
                let nest = self.nest(nest);
                calls.push(Call { nest, bufs: vec![(Base::Arg(0), from_at), (Base::Arg(1), start + at)] });
            }
            let store = (Base::Arg(1), start);
            calls.extend(self.steps(of, true, store, &|_| store));
        }
        Ok(calls)
    }

    /// weights, inputs, outputs, arena
    fn forward(&mut self, arena: usize) -> Result<Vec<Call>, ObjectError> {
        let inputs = self.forward.program.work.graph.inputs.len();
        Ok(self.steps(|v| &v.forward, false, (Base::Arg(0), 0), &|place| match place {
            Place::Input(i) => (Base::Arg(1 + i), 0),
            Place::Output(i) => (Base::Arg(1 + inputs + i), 0),
            Place::Arena(at) => (Base::Arg(arena), at * ELEMENT),
            Place::Store(_) | Place::Next(_) | Place::None => (Base::Arg(arena), 0),
        }))
    }

    /// weights, inputs, gradients by outputs, gradients by inputs, grads, arena
    fn backward(&mut self, plan: &Plan<'_>, by_inputs: usize) -> Result<Vec<Call>, ObjectError> {
        let inputs = plan.backward.inputs.len();
        let grads = 1 + inputs + by_inputs;
        let mut at: Vec<usize> = Vec::new();
        for id in trained(plan.graph) {
            let name = &plan.graph.value(id).name;
            at.extend(plan.parts.iter().find(|p| p.name == *name).map(|p| p.at));
        }
        let store = (Base::Arg(0), plan.second);
        Ok(self.steps(|v| &v.backward, false, store, &|place| match place {
            Place::Input(i) => (Base::Arg(1 + i), 0),
            Place::Output(i) if i < by_inputs => (Base::Arg(1 + inputs + i), 0),
            Place::Output(i) => (Base::Arg(grads), at[i - by_inputs]),
            Place::Arena(at) => (Base::Arg(grads + 1), at * ELEMENT),
            Place::Store(_) | Place::Next(_) | Place::None => (Base::Arg(grads + 1), 0),
        }))
    }

    /// state, inputs, outputs, arena
    fn step(&mut self, arena: usize) -> Result<Vec<Call>, ObjectError> {
        let inputs = self.step.program.work.graph.inputs.len();
        Ok(self.steps(|v| &v.step, false, (Base::Arg(0), 0), &|place| match place {
            Place::Input(i) => (Base::Arg(1 + i), 0),
            Place::Output(i) => (Base::Arg(1 + inputs + i), 0),
            Place::Arena(at) => (Base::Arg(arena), at * ELEMENT),
            Place::Store(_) | Place::Next(_) | Place::None => (Base::Arg(arena), 0),
        }))
    }
}

/// The constants of a program as they lie in its store, and its weights, each with its place in bytes.
fn of_store(built: &Built) -> (Vec<(usize, Vec<f32>)>, Vec<(usize, Value)>) {
    let program = &built.program;
    let graph = &program.work.graph;
    let (mut consts, mut weights) = (Vec::new(), Vec::new());
    for id in graph.ids() {
        let Place::Store(at) = program.memory.places[id.index()] else { continue };
        let value = graph.value(id);
        match &value.def {
            Def::Const(numbers) => {
                let placed = layout(value).place(&value.ty);
                let mut store = vec![0.0; at + placed.len];
                program.scatter(id, numbers, &mut store, false);
                consts.push((at * ELEMENT, store.split_off(at)));
            }
            Def::Param { .. } => weights.push((at * ELEMENT, value.clone())),
            Def::Input(_) | Def::Op { .. } => {}
        }
    }
    (consts, weights)
}
