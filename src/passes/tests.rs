//! Each pass on a small graph written as text.

use super::{Level, PASSES, Settings, run};
use crate::graph::parse::parse;
use crate::graph::patch::Work;
use crate::graph::print::print;
use crate::graph::verify::verify;
use crate::graph::{Def, Graph, ValueId};

/// The graph whose lines are given, values numbered from 0.
fn graph(lines: &str) -> Graph {
    let text: Vec<&str> = lines.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let g = parse(&format!("graph \"g\"\n{}", text.join("\n"))).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(verify(&g), Ok(()));
    g
}

/// The graph after one pass.
fn after(pass: &str, g: Graph) -> Work {
    let pass = PASSES.iter().find(|p| p.name == pass).expect("a pass of that name");
    let work = (pass.run)(Work::new(g), &Settings::default());
    assert_eq!(verify(&work.graph), Ok(()));
    work
}

/// Operations and constants of a graph by name, in order.
fn names(g: &Graph) -> Vec<&str> {
    let made = g.values.iter().filter(|v| matches!(v.def, Def::Op { .. } | Def::Const(_)));
    made.map(|v| v.name.as_str()).collect()
}

#[test]
fn every_pass_stands_after_those_it_needs() {
    for (i, pass) in PASSES.iter().enumerate() {
        for before in pass.after {
            assert!(PASSES[..i].iter().any(|p| p.name == *before), "`{}` after `{before}`", pass.name);
        }
    }
}

#[test]
fn identities_vanish() {
    let work = after(
        "identity",
        graph(
            r#"v0 = input(0) : [n: 1, c: 2] "x"
               v1 = copy() v0 : [n: 1, c: 2] "a"
               v2 = upsample(factor=[]) v1 : [n: 1, c: 2] "b"
               in "x" v0 [0, 1]
               out "y" v2 [0, 1]
               out "z" v1 [0, 1]"#,
        ),
    );
    assert_eq!(names(&work.graph), ["b"]);
    assert_eq!(work.graph.outputs[1].value, ValueId(0));
    assert_eq!(work.origin, [Some(ValueId(0)), Some(ValueId(2))]);
}

#[test]
fn what_depends_on_constants_only_becomes_one() {
    let work = after(
        "fold",
        graph(
            r#"v0 = input(0) : [n: 1, c: 2, h: 2] "x"
               v1 = const[1.0, 2.0] : [c: 2] "k"
               v2 = const[3.0, 0.25] : [c: 2] "var"
               v3 = fold(what=gain, eps=0.0) v1, v2 : [c: 2] "gain"
               v4 = fold(what=apply) v0, v3, v1 : [n: 1, c: 2, h: 2] "y"
               in "x" v0 [0, 1, 2]
               out "y" v4 [0, 1, 2]"#,
        ),
    );
    let Def::Const(data) = &work.graph.value(ValueId(3)).def else { panic!("not folded") };
    assert_eq!(**data, [1.0 / 3f64.sqrt() as f32, 4.0]);
    assert!(matches!(work.graph.value(ValueId(4)).def, Def::Op { .. }));
}

#[test]
fn equal_values_are_merged_and_weights_are_not() {
    let work = after(
        "cse",
        graph(
            r#"v0 = input(0) : [n: 1, c: 2, h: 2] "x"
               v1 = param(constant(1.0), train) : [c: 2] "p"
               v2 = param(constant(1.0), train) : [c: 2] "q"
               v3 = const[1.0, 2.0] : [c: 2] "k"
               v4 = const[1.0, 2.0] : [c: 2] "l"
               v5 = fold(what=apply) v0, v1, v3 : [n: 1, c: 2, h: 2] "a"
               v6 = fold(what=apply) v0, v1, v4 : [n: 1, c: 2, h: 2] "b"
               v7 = fold(what=apply) v0, v2, v4 : [n: 1, c: 2, h: 2] "c"
               in "x" v0 [0, 1, 2]
               out "a" v5 [0, 1, 2]
               out "b" v6 [0, 1, 2]
               out "c" v7 [0, 1, 2]"#,
        ),
    );
    assert_eq!(names(&work.graph), ["k", "a", "c"]);
    let outputs: Vec<ValueId> = work.graph.outputs.iter().map(|p| p.value).collect();
    assert_eq!(outputs, [ValueId(4), ValueId(4), ValueId(5)]);
}

#[test]
fn dead_operations_go_and_named_values_stay() {
    let work = after(
        "dce",
        graph(
            r#"v0 = input(0) : [n: 1, c: 2, h: 2] "x"
               v1 = input(1) : [n: 1, c: 2, h: 2] "unused"
               v2 = param(constant(1.0), train) : [c: 2] "p"
               v3 = upsample(factor=[2]) v1 : [n: 1, c: 2, h: 4] "dead"
               v4 = upsample(factor=[3]) v0 : [n: 1, c: 2, h: 6] "live"
               in "x" v0 [0, 1, 2]
               in "unused" v1 [0, 1, 2]
               out "y" v4 [0, 1, 2]"#,
        ),
    );
    assert_eq!(names(&work.graph), ["live"]);
    assert_eq!(work.graph.values.len(), 4);
}

/// An input, a convolution with padding, a normalisation, and a join with what the convolution read.
const BLOCK: &str = r#"v0 = input(0) : [n: 1, c: 4, h: 5, w: 5] "x"
    v1 = param(he(36), train) : [o: 4, i: 4, kh: 3, kw: 3] "c.weight"
    v2 = param(constant(1.0), train) : [c: 4] "b.weight"
    v3 = param(constant(0.0), train) : [c: 4] "b.bias"
    v4 = param(constant(0.0), keep) : [c: 4] "b.mean"
    v5 = param(constant(1.0), keep) : [c: 4] "b.var"
    v6 = CONV v0, v1 : [n: 1, c: 4, h: 5, w: 5] "c"
    v7 = batchnorm(eps=1e-5, momentum=0.1) v6, v2, v3, v4, v5 : [n: 1, c: 4, h: 5, w: 5] "b"
    v8 = fold(what=apply) v7, v2, v3 : [n: 1, c: 4, h: 5, w: 5] "s"
    in "x" v0 [0, 1, 2, 3]"#;

/// The block with a convolution printed as the operation prints itself.
fn block(tail: &str) -> Graph {
    use crate::ops::args::{ArgValue, CallArgs};
    let info = crate::ops::infos().into_iter().find(|i| i.name == "conv").expect("there is one");
    let ty = crate::tensor::ty::TensorTy::grid(1, 4, &[("h", 5), ("w", 5)]).expect("small");
    let values = vec![
        ("out", ArgValue::Int(4)),
        ("kernel", ArgValue::Int(3)),
        ("pad", ArgValue::Word("same".into())),
        ("bias", ArgValue::Bool(false)),
    ];
    let made = (info.make)(&CallArgs { values }, &[&ty]).expect("fits");
    let rules = made.ops[0].rules();
    let conv = format!("{}({})", rules.kind(), crate::graph::print::attrs(&rules.attrs()));
    graph(&format!("{}\n{tail}", BLOCK.replace("CONV", &conv)))
}

#[test]
fn a_normalisation_goes_into_the_convolution_before_it() {
    let work = after("norm", block(r#"out "y" v8 [0, 1, 2, 3]"#));
    let work = (PASSES.iter().find(|p| p.name == "dce").expect("dce").run)(work, &Settings::default());
    assert_eq!(names(&work.graph), ["b.gain", "c.shift", "c.scaled", "c", "s"]);
    let conv = work.graph.ids().find(|id| work.graph.value(*id).name == "c").expect("kept");
    assert_eq!(work.origin[conv.index()], Some(ValueId(7)), "it stands for the normalised value");
    let at_load = work.graph.at_load();
    assert!(at_load[work.graph.uses(conv)[1].index()], "weights are scaled when they are loaded");
}

#[test]
fn a_normalisation_stays_where_others_read_the_convolution() {
    let work = after("norm", block("out \"y\" v8 [0, 1, 2, 3]\nout \"z\" v6 [0, 1, 2, 3]"));
    assert_eq!(names(&work.graph), ["c", "b.gain", "b.shift", "b", "s"]);
}

#[test]
fn padding_becomes_a_halo_and_weights_are_packed() {
    let work = after("layout", block(r#"out "y" v8 [0, 1, 2, 3]"#));
    let g = &work.graph;
    let layout = |name: &str| {
        let v =
            g.values.iter().find(|v| v.name == name).unwrap_or_else(|| panic!("no `{name}`:\n{}", print(g)));
        v.layout.clone().expect("every value has one")
    };
    let halo = layout("x.copy").halo;
    assert_eq!(halo, [(0, 0), (0, 0), (1, 1), (1, 1)]);
    assert_eq!(layout("x.copy").order, [0, 2, 3, 1]);
    assert_eq!(layout("c.weight").order.last(), Some(&0), "output channels fastest, without a copy");
    assert!(!g.values.iter().any(|v| v.name == "c.weight.copy"));
    assert_eq!(layout("s").order, [0, 1, 2, 3], "an output lies as the user says");
}

#[test]
fn chains_are_fused_behind_their_root_but_not_across_orders() {
    let groups = |tail: &str| -> Vec<(String, Option<ValueId>)> {
        let work = run(block(tail), &Level::All.into()).unwrap_or_else(|e| panic!("{e}"));
        let ops =
            work.graph.values.iter().filter(|v| v.ty.is_activation() && matches!(v.def, Def::Op { .. }));
        ops.map(|v| (v.name.clone(), v.group)).collect()
    };
    let fused = groups(r#"out "y" v8 [0, 2, 3, 1]"#);
    assert_eq!(fused.iter().map(|g| g.0.as_str()).collect::<Vec<_>>(), ["x.copy", "c", "s"]);
    assert!(fused[1].1.is_none() && fused[2].1.is_some(), "{fused:?}");
    // The user wants channels outermost: the loops of the convolution do not store so.
    let apart = groups(r#"out "y" v8 [0, 1, 2, 3]"#);
    assert!(apart.iter().all(|g| g.1.is_none()), "{apart:?}");
}

#[test]
fn updates_are_roots_and_in_place_where_nobody_reads_later() {
    let text = |tail: &str| {
        graph(&format!(
            r#"v0 = input(0) : [n: 1, c: 2, h: 2] "x"
               v1 = param(constant(1.0), train) : [c: 2] "p"
               v2 = param(constant(3.0), train) : [c: 2] "q"
               v3 = binary(f=mul, right=0.5) v1 : [c: 2] "half"
               v4 = binary(f=mul) v0, v1 : [n: 1, c: 2, h: 2] "y"
               in "x" v0 [0, 1, 2]
               out "y" v4 [0, 1, 2]
               {tail}"#
        ))
    };
    let names_of =
        |g: &Graph| -> Vec<String> { g.updates.iter().map(|u| g.value(u.value).name.clone()).collect() };
    // Read again by `y`, which runs later: a copy at the end takes the new elements over.
    let work = run(text("update v1 v3"), &Level::All.into()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names_of(&work.graph), ["half.copy"]);
    assert_eq!(work.graph.updates[0].value, ValueId(work.graph.values.len() as u32 - 1));
    // Nobody reads `q` at all.
    let work = run(text("update v2 v3"), &Level::All.into()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names_of(&work.graph), ["half"]);
    // Two weights swap: each needs the old elements of the other.
    let work = run(text("update v1 v2\nupdate v2 v1"), &Level::All.into()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(work.graph.updates.len(), 2);
    assert_ne!(work.graph.updates[0].value, work.graph.updates[1].value);
}

#[test]
fn outputs_have_buffers_of_their_own() {
    let g = graph(
        r#"v0 = input(0) : [n: 1, c: 2, h: 2] "x"
           v1 = param(constant(1.0), train) : [c: 2] "p"
           v2 = upsample(factor=[2]) v0 : [n: 1, c: 2, h: 4] "up"
           in "x" v0 [0, 1, 2]
           out "x" v0 [0, 1, 2]
           out "p" v1 [0]
           out "a" v2 [0, 1, 2]
           out "b" v2 [0, 1, 2]"#,
    );
    let work = run(g, &Level::All.into()).unwrap_or_else(|e| panic!("{e}"));
    let mut values: Vec<ValueId> = work.graph.outputs.iter().map(|p| p.value).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 4);
    assert!(values.iter().all(|v| matches!(work.graph.value(*v).def, Def::Op { .. })));
}
