//! Graphs as text and back; every rule of the verifier broken once.

use super::parse::parse;
use super::print::{print, summary};
use super::verify::verify;
use super::{Def, Graph, ValueId};
use crate::tensor::layout::Layout;

/// A graph with every kind of value, mark and attribute.
const TEXT: &str = r#"graph "all \"kinds\""
v0 = input(0) : [n: 1, c: 2, h: 4, w: 4] "image" @layout([0, 2, 3, 1], [0, 0, 0, 0, 0, 0, 0, 0]) @span(0, 3, 8)
v1 = param(gabor(4, 2, 0.15, 2.5, 0.5), train) : [c: 2] "a.weight" @layout([0], [0, 0])
v2 = param(values[1.0, -inf], keep) : [c: 2] "a.var" @layout([0], [0, 0])
v3 = const[0.5, 1e-30] : [c: 2] "k" @layout([0], [0, 0])
v4 = fold(what=gain, eps=1e-5) v1, v2 : [c: 2] "gain" @layout([0], [0, 0])
v5 = upsample(factor=[2, 2]) v0 : [n: 1, c: 2, h: 8, w: 8] "up" @layout([0, 2, 3, 1], [0, 0, 0, 0, 1, 1, 1, 0])
v6 = fold(what=apply) v5, v4, v3 : [n: 1, c: 2, h: 8, w: 8] "bn" @group(v5) @layout([0, 1, 2, 3], [0, 0, 0, 0, 0, 0, 0, 0])
v7 = copy() v0 : [n: 1, c: 2, h: 4, w: 4] "image.copy" @layout([0, 1, 2, 3], [0, 0, 0, 0, 0, 0, 0, 0])
in "image" v0 [0, 2, 3, 1]
out "y" v6 [0, 1, 2, 3]
out "x" v7 [0, 1, 2, 3]
update v1 v4
"#;

fn graph() -> Graph {
    parse(TEXT).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_text_is_read_and_written_alike() {
    let g = graph();
    assert_eq!(verify(&g), Ok(()));
    assert_eq!(print(&g), TEXT);
}

#[test]
fn long_constants_are_cut_in_summaries_only() {
    let mut g = Graph::new("g");
    let ty = crate::tensor::ty::TensorTy::new([("c", 20)]).expect("small");
    g.constant("k", ty, vec![1.5; 20]);
    assert!(summary(&g).contains("… 20 in all"));
    assert_eq!(parse(&print(&g)), Ok(g));
}

#[test]
fn no_text_makes_the_parser_panic() {
    for end in 0..TEXT.len() {
        if TEXT.is_char_boundary(end) {
            let _ = parse(&TEXT[..end]);
        }
    }
    let words: Vec<&str> = TEXT.split_inclusive(' ').collect();
    for skip in 0..words.len() {
        let text: String = words.iter().enumerate().filter(|(i, _)| *i != skip).map(|(_, w)| *w).collect();
        let _ = parse(&text);
    }
}

#[test]
fn errors_name_the_line() {
    for (from, to, line, message) in [
        ("v4 = fold", "v9 = fold", 6, "expected the definition of v4, not `v9`"),
        ("upsample(factor=[2, 2]) v0", "upsample(factor=[2, 2]) v7", 7, "v7 is not defined before"),
        ("copy()", "kopy()", 9, "no operation is called `kopy`"),
        ("what=apply", "what=applied", 8, "`fold` does not know `applied`"),
        ("h: 8, w: 8] \"up\"", "h: 99999999999, w: 99999999999] \"up\"", 7, "a tensor too large"),
    ] {
        let e = parse(&TEXT.replacen(from, to, 1)).expect_err(from);
        assert_eq!((e.line, e.message.as_str()), (line, message));
    }
}

/// Breaks one thing; the verifier must say so.
fn broken(change: impl FnOnce(&mut Graph), message: &str) {
    let mut g = graph();
    change(&mut g);
    let said = verify(&g).map_err(|b| b.to_string());
    assert!(said.as_ref().is_err_and(|s| s.contains(message)), "{message}: {said:?}");
}

fn layout(g: &mut Graph, id: usize) -> &mut Layout {
    g.values[id].layout.as_mut().expect("has one")
}

fn uses(g: &mut Graph, id: usize) -> &mut Vec<ValueId> {
    match &mut g.values[id].def {
        Def::Op { inputs, .. } => inputs,
        Def::Input(_) | Def::Param { .. } | Def::Const(_) => panic!("v{id} is no operation"),
    }
}

#[test]
fn values_stand_after_what_they_use_and_have_their_types() {
    broken(|g| uses(g, 5)[0] = ValueId(7), "uses a value that stands later");
    broken(|g| g.values[5].ty = g.values[0].ty.clone(), "its shape rule says");
    broken(|g| uses(g, 4)[1] = ValueId(0), "its shape rule refuses");
    broken(|g| g.values[3].def = Def::Const(vec![1.0].into()), "1 elements in a tensor of type");
}

#[test]
fn ports_and_values_belong_together() {
    broken(|g| g.inputs[0].value = ValueId(1), "is input 0, but port 0 is another value");
    broken(|g| g.outputs[0].value = ValueId(99), "names no value");
    broken(|g| g.outputs[0].order = vec![0, 1, 1, 3], "is no permutation");
    broken(|g| g.outputs[1].name = "y".into(), "two ports are called `y`");
    broken(|g| g.values[2].name = "a.weight".into(), "two weights are called `a.weight`");
    broken(|g| g.inputs.push(g.inputs[0].clone()), "2 input ports for 1 inputs");
}

#[test]
fn groups_are_chains_of_elementwise_operations() {
    broken(|g| g.values[6].group = Some(ValueId(3)), "its root v3 is no operation");
    broken(|g| g.values[6].group = Some(ValueId(4)), "is not of the type of");
    broken(|g| g.values[5].group = Some(ValueId(4)), "is in a group, but not elementwise");
    broken(|g| g.outputs[1].value = ValueId(5), "is fused into v6, but is an output");
    broken(|g| g.values[7].group = Some(ValueId(6)), "no operation, or has a root itself");
}

#[test]
fn updates_fit_their_weights() {
    let update =
        |param: u32, value: u32| crate::graph::Update { param: ValueId(param), value: ValueId(value) };
    broken(|g| g.updates[0].param = ValueId(4), "is updated, but no weight");
    broken(|g| g.updates[0].value = ValueId(7), "its update v7 has");
    broken(|g| g.updates.push(update(1, 3)), "is updated twice");
    broken(|g| g.updates.push(update(2, 4)), "another update or an output too");
    broken(|g| g.updates[0].value = ValueId(3), "is an update, but no operation");
    broken(|g| g.updates.push(update(99, 4)), "names no value");
    broken(|g| layout(g, 1).halo[0] = (1, 0), "in another layout than it has");
    let text = TEXT.replace("@layout([0], [0, 0])", "").replace("update v1 v4", "update v1 v3\nupdate v2 v3");
    let lay_less =
        text.lines().map(|l| l.split(" @layout").next().unwrap_or(l)).collect::<Vec<_>>().join("\n");
    let g = parse(&lay_less.replace("@group(v5)", "")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(verify(&g), Ok(()), "before layouts any value of the type will do");
    assert!(!g.at_load()[1] && !g.at_load()[4], "what a run changes is not computed when weights are loaded");
}

#[test]
fn layouts_offer_what_is_wanted() {
    broken(|g| g.values[7].layout = None, "has no layout of rank 4");
    broken(|g| layout(g, 6).halo[2] = (1, 1), "lies otherwise than in the user's order");
    broken(|g| layout(g, 0).order = vec![0, 1, 2, 3], "lies otherwise than in the user's order");
    broken(|g| layout(g, 4).order = vec![1], "has no layout of rank 1");
}
