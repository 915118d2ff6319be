//! Runs an assembled program in the loop interpreter, in the same arenas and at the same offsets as machine code would: slow,
//! and the second witness beside the `f64` reference.

use super::assemble::Assembled;
use crate::graph::Def;
use crate::graph::ValueId;
use crate::lower::Step;
use crate::lower::memory::Place;

/// The memories of a run: each a list of elements.
struct Memories {
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
    store: Vec<f32>,
    arena: Vec<f32>,
}

/// What a run leaves behind.
pub struct Simulated {
    /// The outputs, in the user's layouts.
    pub outputs: Vec<Vec<f32>>,
    /// The store: weights, the updated ones with their new elements.
    pub store: Vec<f32>,
    /// Whether the new elements of what lies there twice are those that hold.
    pub turned: bool,
}

/// The outputs and the store, for inputs in the user's layouts and weights given by name in the order of their types.
/// `fma` says whether multiply-adds round once, as the target's code does.
pub fn simulate(
    program: &Assembled,
    inputs: &[Vec<f32>],
    weight: &dyn Fn(ValueId) -> Vec<f32>,
    fma: bool,
) -> Result<Simulated, String> {
    let graph = &program.work.graph;
    let outputs = graph.outputs.iter().map(|p| vec![f32::NAN; graph.value(p.value).ty.len()]).collect();
    // NaN everywhere: whoever reads what nobody stored shows it.
    let elements = |bytes: usize| vec![f32::NAN; bytes / size_of::<f32>()];
    let mut memories = Memories {
        inputs: inputs.to_vec(),
        outputs,
        store: elements(program.memory.store.size),
        arena: elements(program.memory.arena.size),
    };
    for id in graph.ids() {
        let data = match &graph.value(id).def {
            Def::Param { .. } => weight(id),
            Def::Const(data) => data.to_vec(),
            Def::Input(_) | Def::Op { .. } => continue,
        };
        program.scatter(id, &data, &mut memories.store, false);
    }
    for at_load in [true, false] {
        for (i, step) in program.steps.iter().enumerate().filter(|(_, s)| s.at_load == at_load) {
            run_step(program, i, step, &mut memories, fma)?;
        }
    }
    let turned = graph.commit.is_some_and(|port| memories.outputs[port][0] > 0.0);
    Ok(Simulated { outputs: memories.outputs, store: memories.store, turned })
}

fn run_step(
    program: &Assembled,
    i: usize,
    step: &Step,
    memories: &mut Memories,
    fma: bool,
) -> Result<(), String> {
    let nest = &program.nests[i].nest;
    let places = program.memory.bufs(i, step);
    let mut bufs: Vec<Vec<f32>> = places
        .iter()
        .zip(&nest.bufs)
        .map(|(place, b)| range(*place, b.len, program.memory.twin, memories).to_vec())
        .collect();
    crate::loops::interp::run_all(nest, &mut bufs, fma).map_err(|e| format!("{}: {e}", nest.name))?;
    for stored in step.reads.len()..step.shared() {
        range(places[stored], bufs[stored].len(), program.memory.twin, memories)
            .copy_from_slice(&bufs[stored]);
    }
    Ok(())
}

fn range(place: Place, len: usize, twin: usize, memories: &mut Memories) -> &mut [f32] {
    match place {
        Place::Input(i) => &mut memories.inputs[i][..len],
        Place::Output(i) => &mut memories.outputs[i][..len],
        Place::Store(at) => &mut memories.store[at..at + len],
        Place::Next(at) => &mut memories.store[at + twin..at + twin + len],
        Place::Arena(at) => &mut memories.arena[at..at + len],
        Place::None => &mut [],
    }
}
