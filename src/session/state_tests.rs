//! Runs that change weights: machine code, loop interpreter and `f64` reference agree after several runs, whatever has to be
//! in place or to be copied.

use super::{Compiler, Model, Options, RunError};
use crate::graph::eval::{Given, updates};
use crate::graph::parse::parse;
use crate::graph::{Graph, ValueId};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// A convolution whose weight goes along its own values, a slot that follows it, a swap, and a weight that becomes a constant.
const STEP: &str = r#"graph "step"
    v0 = input(0) : [n: 2, c: 8, h: 5, w: 5] "x"
    v1 = input(1) : [] "rate"
    v2 = param(he(72), train) : [o: 16, i: 8, kh: 3, kw: 3] "c.weight"
    v3 = param(constant(0.0), keep) : [o: 16, i: 8, kh: 3, kw: 3] "c.slot"
    v4 = param(constant(1.0), keep) : [c: 4] "a"
    v5 = param(constant(2.0), keep) : [c: 4] "b"
    v6 = const[5.0, 6.0, 7.0, 8.0] : [c: 4] "k"
    v7 = param(constant(2.0), keep) : [c: 4] "d"
    v8 = binary(f=mul, right=0.5) v3 : [o: 16, i: 8, kh: 3, kw: 3] "decayed"
    v9 = binary(f=add) v8, v2 : [o: 16, i: 8, kh: 3, kw: 3] "slot"
    v10 = binary(f=mul) v9, v1 : [o: 16, i: 8, kh: 3, kw: 3] "change"
    v11 = binary(f=sub) v2, v10 : [o: 16, i: 8, kh: 3, kw: 3] "weight"
    v12 = CONV v0, v2 : [n: 2, c: 16, h: 5, w: 5] "y"
    v13 = binary(f=mul) v4, v4 : [c: 4] "square"
    in "x" v0 [0, 1, 2, 3]
    in "rate" v1 []
    out "y" v12 [0, 1, 2, 3]
    update v3 v9
    update v2 v11
    update v4 v5
    update v5 v13
    update v7 v6
"#;

fn graph() -> Graph {
    use crate::ops::args::{ArgValue, CallArgs};
    let info = crate::ops::infos().into_iter().find(|i| i.name == "conv").expect("there is one");
    let ty = TensorTy::grid(2, 8, &[("h", 5), ("w", 5)]).expect("small");
    let values = vec![
        ("out", ArgValue::Int(16)),
        ("kernel", ArgValue::Int(3)),
        ("pad", ArgValue::Word("same".into())),
        ("bias", ArgValue::Bool(false)),
    ];
    let made = (info.make)(&CallArgs { values }, &[&ty]).expect("fits");
    let rules = made.ops[0].rules();
    let conv = format!("{}({})", rules.kind(), crate::graph::print::attrs(&rules.attrs()));
    let lines: Vec<String> = STEP.lines().map(|l| l.trim().replace("CONV", &conv)).collect();
    parse(&lines.join("\n")).unwrap_or_else(|e| panic!("{e}"))
}

/// The state of the reference: a weight each, by id.
struct State {
    weights: Vec<(ValueId, Array)>,
    inputs: Vec<Vec<f32>>,
}

impl Given for State {
    fn input(&self, position: usize, ty: &TensorTy) -> Array {
        Array::from_f32(ty.dims(), &self.inputs[position])
    }

    fn param(&self, id: ValueId, _ty: &TensorTy) -> Array {
        self.weights.iter().find(|w| w.0 == id).expect("every weight has a state").1.clone()
    }
}

fn inputs(round: u64) -> Vec<Vec<f32>> {
    let random = crate::support::random::Random::new(round, "x");
    vec![(0..400).map(|i| random.normal(i) as f32).collect(), vec![0.1 / (round + 1) as f32]]
}

fn step(model: &mut Model, round: u64) -> Vec<f32> {
    let data = inputs(round);
    let outputs = model.run_mut(&[("x", data[0].as_slice().into()), ("rate", data[1].as_slice().into())]);
    outputs.unwrap_or_else(|e| panic!("{e}"))["y"].data().to_vec()
}

#[test]
fn machine_code_changes_weights_as_the_reference_does() {
    for level in [crate::passes::Level::Needed, crate::passes::Level::All] {
        for threads in [1, 2] {
            let compiler = Compiler::new(Options::default().threads(threads).level(level));
            let mut model = compiler.compile_graph(graph()).unwrap_or_else(|e| panic!("{e}"));
            assert!(matches!(model.run(&[]), Err(RunError::Missing { .. })));
            let before = model.clone();
            let source = graph();
            let weights = source.params().map(|id| {
                let value = source.value(id);
                let data = model.weight(&value.name).expect("memory").expect("there is one");
                (id, Array::from_f32(value.ty.dims(), data.data()))
            });
            let mut state = State { weights: weights.collect(), inputs: Vec::new() };
            for round in 0..4 {
                state.inputs = inputs(round);
                step(&mut model, round);
                for (param, array) in updates(&source, &state) {
                    let slot = state.weights.iter_mut().find(|w| w.0 == param).expect("a weight");
                    slot.1 = array;
                }
                for (id, want) in &state.weights {
                    let name = &source.value(*id).name;
                    let got = model.weight(name).expect("memory").expect("there is one");
                    for (a, b) in got.data().iter().zip(&want.data) {
                        assert!((f64::from(*a) - b).abs() < 1e-5, "{level:?} {name}: {a}, not {b}");
                    }
                }
            }
            // A clone from before has the weights from before.
            let old = before.weight("a").expect("memory").expect("there is one");
            assert_eq!(old.data(), [1.0; 4]);
        }
    }
}

#[test]
fn the_interpreter_leaves_the_same_state() {
    let compiler = Compiler::new(Options::default().threads(2));
    let mut model = compiler.compile_graph(graph()).unwrap_or_else(|e| panic!("{e}"));
    let program = model.compiled.program.clone();
    let weight = |id: ValueId| model.compiled.gather(id, model.store().expect("memory"));
    let fma = model.compiled.options.isa.fuses();
    let simulated =
        super::simulate::simulate(&program, &inputs(7), &weight, fma).unwrap_or_else(|e| panic!("{e}"));
    let y = step(&mut model, 7);
    assert_eq!(simulated.outputs[0], y);
    for id in program.work.graph.params() {
        assert_eq!(
            program.gather(id, &simulated.store, simulated.turned),
            model.compiled.gather(id, model.store().expect("memory"))
        );
    }
}

#[test]
fn the_weight_and_its_slot_are_updated_in_place() {
    let model = Compiler::new(Options::default()).compile_graph(graph()).unwrap_or_else(|e| panic!("{e}"));
    let plan = model.dump(super::Emit::Plan);
    // Two weights are swapped through the arena, `a` and `b`, and a weight read again later; nothing else is copied.
    let copies = plan.lines().filter(|l| l.contains(".copy") && l.contains("in weights")).count();
    assert!(copies <= 4, "{plan}");
    let data = inputs(0);
    let refused = model.run(&[("x", data[0].as_slice().into()), ("rate", data[1].as_slice().into())]);
    assert_eq!(refused, Err(RunError::Stateful));
}
