//! The object that runs a net: `forward`, with weights packed inside, or apart as a region that the caller maps.

use super::ObjectError;
use super::assembly::Assembly;
use super::golden::{self, Golden};
use super::interface::Arg;
use super::program::Built;
use super::store::{Values, host_of};
use crate::codegen::object::{Base, Source};
use crate::codegen::selftest::checksum;
use crate::graph::Graph;
use crate::kernels::isa::Isa;
use crate::lower::memory::Place;
use crate::lower::plan::ALIGN;
use crate::session::assemble::Recipe;
use crate::session::compiler::Compiler;

pub(super) fn assembly(
    compiler: &Compiler,
    graph: &Graph,
    values: &Values,
    targets: &[Isa],
    apart: bool,
) -> Result<Assembly, ObjectError> {
    let run = |host: &Isa| golden::forward(compiler, graph, values, host);
    let mut golden = Golden::new(&run);
    let mut weights: Vec<u8> = Vec::new();
    let mut built: Vec<(Built, usize)> = Vec::new();
    for isa in targets {
        let host = host_of(isa);
        let mut program = Built::new(graph, &Recipe::plain(compiler.options()), isa)?;
        program.load(values, &host)?;
        let at = shared(&mut weights, &program.packed.bytes);
        golden.add(isa, &host)?;
        built.push((program, at));
    }
    let mut a = Assembly::default();
    let bytes = built.iter().map(|b| b.0.arena()).max().unwrap_or(0);
    let arena =
        a.region("arena", bytes, "Scratch memory of one call; nothing in it matters before or after.");
    a.scratch = a.regions[arena].bytes;
    weights.resize(weights.len().max(ALIGN), 0);
    let (mut args, mut sources) = (Vec::new(), Vec::new());
    let base = if apart {
        let doc = "The contents of the file of weights; they are only read.";
        args.push(Arg::Region(a.region("weights", weights.len(), doc), false));
        sources.push(Source::Given(0));
        a.given.push("weights".to_owned());
        a.selftest.given = 1;
        Base::Arg(0)
    } else {
        Base::Data(0)
    };
    let whole = if apart { Source::Given(0) } else { Source::Data(0, 0) };
    a.selftest.checksum = Some((whole, weights.len(), checksum(&weights)));
    let first = args.len();
    for tensor in a.ports(graph, "", &|_| true).into_iter().flatten() {
        args.push(Arg::Tensor(tensor));
        sources.push(a.rehearsed(tensor));
    }
    args.push(Arg::Region(arena, true));
    sources.push(Source::Scratch(0));
    let last = args.len() - 1;
    let calls = built.iter().map(|(b, weights_at)| {
        b.calls(false, 0, &|place| match place {
            Place::Input(i) => (Base::Arg(first + i), 0),
            Place::Output(i) => (Base::Arg(first + graph.inputs.len() + i), 0),
            Place::Store(at) => (base, weights_at + b.packed.place(at)),
            Place::Arena(at) => (Base::Arg(last), at * size_of::<f32>()),
            Place::Next(_) | Place::None => (Base::Arg(last), 0),
        })
    });
    let calls = calls.collect();
    a.function("forward", "Runs the net once: reads the inputs, writes the outputs.", args, calls);
    a.selftest.runs.push((0, sources));
    a.selftest.golden = golden.numbers();
    a.nests = built.iter().map(|b| b.0.nests(false)).collect();
    if apart {
        a.weights = Some(weights);
    } else {
        a.data.push(weights);
    }
    Ok(a)
}

/// Where `part` begins in `all`: added at the end, unless it stands there. Equal parts are of equal length.
fn shared(all: &mut Vec<u8>, part: &[u8]) -> usize {
    let mut at = 0;
    while at + part.len() <= all.len() {
        if all[at..at + part.len()] == *part {
            return at;
        }
        at += part.len().max(ALIGN);
    }
    let at = all.len();
    all.extend_from_slice(part);
    at
}
