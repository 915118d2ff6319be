//! What ONNX models choose and sum in ways that the conformance cases do not show: elements at places that depend on the input, the
//! whole of `Einsum`'s notation, and how operator set 10 takes nearest elements. Results are held against loops written here.

use cnnc::formats::onnx::proto::{
    Attribute, Graph, Model, Node, OperatorSet, Tensor, TensorType, Type, ValueInfo, kind,
};
use cnnc::formats::onnx::{ImportOptions, import};
use cnnc::session::{Compiler, Options};
use prost::Message;

/// A tensor of numbers.
struct Numbers {
    dims: Vec<usize>,
    data: Vec<f32>,
}

impl Numbers {
    /// Distinct numbers that any `f32` sum of a few keeps exactly.
    fn counted(dims: &[usize]) -> Self {
        let data = (0..dims.iter().product::<usize>()).map(|i| ((i * 37) % 101) as f32 / 8.0 - 5.0).collect();
        Self { dims: dims.to_vec(), data }
    }

    fn of(dims: &[usize], data: &[f32]) -> Self {
        Self { dims: dims.to_vec(), data: data.to_vec() }
    }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), r#type: kind::INT, i, ..Attribute::default() }
}

/// One node's result; operands whose name begins with `k` are the file's, the others inputs.
fn result(
    version: i64,
    op: &str,
    attribute: Vec<Attribute>,
    x: &[(&str, &Numbers)],
) -> Result<Numbers, String> {
    let input: Vec<String> = x.iter().map(|(name, _)| (*name).to_owned()).collect();
    let node = Node { op_type: op.into(), input, output: vec!["y".into()], attribute, ..Node::default() };
    let is_known = |name: &str| name.starts_with('k');
    let stored = |(name, x): &(&str, &Numbers)| Tensor {
        name: (*name).to_owned(),
        data_type: 1,
        dims: x.dims.iter().map(|d| *d as i64).collect(),
        float_data: x.data.clone(),
        ..Tensor::default()
    };
    let port = |name: &str| ValueInfo {
        name: name.to_owned(),
        r#type: Some(Type { tensor_type: Some(TensorType { elem_type: 1, shape: None }) }),
    };
    let at_run: Vec<_> = x.iter().filter(|(name, _)| !is_known(name)).collect();
    let graph = Graph {
        node: vec![node],
        initializer: x.iter().filter(|(name, _)| is_known(name)).map(stored).collect(),
        input: at_run.iter().map(|(name, _)| port(name)).collect(),
        output: vec![ValueInfo { name: "y".into(), r#type: None }],
        ..Graph::default()
    };
    let opset_import = vec![OperatorSet { domain: String::new(), version }];
    let model = Model { ir_version: 8, graph: Some(graph), opset_import, ..Model::default() };
    let shapes = at_run.iter().map(|(name, x)| ((*name).to_owned(), x.dims.clone())).collect();
    let options = ImportOptions { shapes, ..ImportOptions::default() };
    let graph = import(model.encode_to_vec().into(), &options).map_err(|e| e.to_string())?.graph;
    let compiler = Compiler::new(Options::default().threads(1));
    let model = compiler.compile_graph(graph).map_err(|e| e.to_string())?;
    let given: Vec<_> = at_run.iter().map(|(name, x)| (*name, x.data.as_slice().into())).collect();
    let results = model.run(&given).map_err(|e| e.to_string())?;
    let y = &results["y"];
    Ok(Numbers { dims: y.dims().to_vec(), data: y.data().to_vec() })
}

/// `Gather` along axis 1 of `[2, 3, 2]`, by its definition.
fn gathered(x: &Numbers, places: &[f32]) -> Vec<f32> {
    let place = |p: &f32| if *p < 0.0 { (*p + 3.0) as usize } else { *p as usize };
    let row = |i: usize, p: usize| x.data[(i * 3 + p) * 2..][..2].to_vec();
    (0..2).flat_map(|i| places.iter().flat_map(move |p| row(i, place(p))).collect::<Vec<_>>()).collect()
}

#[test]
fn elements_are_gathered_at_computed_places() {
    let x = Numbers::counted(&[2, 3, 2]);
    let places = [2.0, -1.0, 0.0, -3.0];
    let want = gathered(&x, &places);
    // A table of the file and one that is an input, places in two shapes and one alone.
    for table in ["k", "x"] {
        for dims in [&[4][..], &[2, 2], &[1, 4, 1]] {
            let i = Numbers::of(dims, &places);
            let y = result(17, "Gather", vec![int("axis", 1)], &[(table, &x), ("i", &i)]).expect("it runs");
            let to: Vec<usize> = [&[2][..], dims, &[2]].concat();
            assert_eq!((y.dims, y.data), (to, want.clone()), "{table} {dims:?}");
        }
        let one = Numbers::of(&[], &[1.0]);
        let y = result(17, "Gather", vec![int("axis", 1)], &[(table, &x), ("i", &one)]).expect("it runs");
        assert_eq!((y.dims, y.data), (vec![2, 2], gathered(&x, &[1.0])));
    }
    // An infinity of another row is none of this one's.
    let mut x = Numbers::counted(&[3, 2]);
    x.data[4] = f32::INFINITY;
    let i = Numbers::of(&[2], &[1.0, 2.0]);
    for table in ["k", "x"] {
        let y = result(17, "Gather", Vec::new(), &[(table, &x), ("i", &i)]).expect("it runs");
        assert_eq!(y.data, [x.data[2], x.data[3], f32::INFINITY, x.data[5]]);
    }
    // What would compare too much says so.
    let (x, i) = (Numbers::counted(&[5000, 1]), Numbers::counted(&[5000]));
    let e = result(17, "Gather", Vec::new(), &[("x", &x), ("i", &i)]).err().expect("too much");
    assert!(e.contains("(Gather)") && e.contains("computed places"), "{e}");
}

#[test]
fn parts_are_gathered_by_several_computed_indices() {
    let x = Numbers::counted(&[2, 3, 4]);
    for table in ["k", "x"] {
        let i = Numbers::of(&[3, 2], &[0.0, 1.0, 1.0, -1.0, -2.0, 0.0]);
        let y = result(17, "GatherND", Vec::new(), &[(table, &x), ("i", &i)]).expect("it runs");
        let want = [&x.data[4..8], &x.data[20..24], &x.data[0..4]].concat();
        assert_eq!((y.dims, y.data), (vec![3, 4], want));
        // Each part of the batch by its own.
        let i = Numbers::of(&[2, 2, 1], &[2.0, 0.0, 1.0, -1.0]);
        let y =
            result(17, "GatherND", vec![int("batch_dims", 1)], &[(table, &x), ("i", &i)]).expect("it runs");
        let want = [&x.data[8..12], &x.data[0..4], &x.data[16..20], &x.data[20..24]].concat();
        assert_eq!((y.dims, y.data), (vec![2, 2, 4], want));
        // Down to single elements.
        let i = Numbers::of(&[1, 3], &[1.0, 2.0, 3.0]);
        let y = result(17, "GatherND", Vec::new(), &[(table, &x), ("i", &i)]).expect("it runs");
        assert_eq!((y.dims, y.data), (vec![1], vec![x.data[23]]));
    }
}

/// `Einsum` by its definition, over terms whose labels are spelt out.
fn summed(terms: &[&str], out: &str, x: &[&Numbers]) -> Vec<f32> {
    let labels: Vec<char> = {
        let mut all: Vec<char> = terms.concat().chars().collect();
        all.sort_unstable();
        all.dedup();
        out.chars().chain(all.into_iter().filter(|c| !out.contains(*c))).collect()
    };
    let extent = |c: &char| {
        let of = |(t, x): (&&str, &&Numbers)| t.chars().position(|l| l == *c).map(|p| x.dims[p]);
        terms.iter().zip(x).find_map(of).expect("a label of a term")
    };
    let extents: Vec<usize> = labels.iter().map(extent).collect();
    let size: usize = extents[..out.len()].iter().product();
    let mut y = vec![0.0f32; size];
    for k in 0..extents.iter().product::<usize>() {
        let mut rest = k;
        let mut at = vec![0; labels.len()];
        for (place, n) in at.iter_mut().zip(&extents).rev() {
            *place = rest % n;
            rest /= n;
        }
        let element = |(t, x): (&&str, &&Numbers)| {
            let step = |i: usize, (c, n): (char, &usize)| {
                i * n + at[labels.iter().position(|l| *l == c).expect("known")]
            };
            x.data[t.chars().zip(&x.dims).fold(0, step)]
        };
        let to = at[..out.len()].iter().zip(&extents).fold(0, |i, (p, n)| i * n + p);
        y[to] += terms.iter().zip(x).map(element).product::<f32>();
    }
    y
}

#[test]
fn sums_of_products_take_diagonals_dots_and_many_terms() {
    let n = |dims: &[usize]| Numbers::counted(dims);
    let (a, b, c) = (n(&[2, 3, 3]), n(&[3, 4]), n(&[4, 2]));
    let (m, one, d, e) = (n(&[2, 3, 4]), n(&[1, 4, 2]), n(&[2, 3]), n(&[2, 5]));
    // The equation, and the same without dots.
    let all: [(&str, &str, &str, Vec<&Numbers>); 9] = [
        ("...ii->...i", "aii", "ai", vec![&a]),
        ("...ii", "aii", "a", vec![&a]),
        ("aii->", "aii", "", vec![&a]),
        ("...ij, ...jk -> ...ik", "aij,jk", "aik", vec![&m, &c]),
        ("ij,jk,ki->i", "ij,jk,ki", "i", vec![&b, &c, &d]),
        ("aij,jk,kl->ail", "aij,jk,kl", "ail", vec![&m, &c, &e]),
        ("i...->...i", "iab", "abi", vec![&m]),
        ("ba", "ba", "ab", vec![&b]),
        ("aij,aij,aij->aj", "aij,aij,aij", "aj", vec![&m, &m, &m]),
    ];
    for (equation, terms, out, x) in all {
        let terms: Vec<&str> = terms.split(',').collect();
        let named: Vec<(&str, &Numbers)> = ["p", "q", "r"].into_iter().zip(x.iter().copied()).collect();
        let text = Attribute {
            name: "equation".into(),
            r#type: kind::STRING,
            s: equation.as_bytes().to_vec().into(),
            ..Attribute::default()
        };
        let y = result(12, "Einsum", vec![text], &named).unwrap_or_else(|e| panic!("{equation}: {e}"));
        let want = summed(&terms, out, &x);
        let top = want.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        assert_eq!(y.data.len(), want.len(), "{equation}");
        assert!(
            y.data.iter().zip(&want).all(|(y, w)| (y - w).abs() <= 1e-5 * top),
            "{equation}: {:?}",
            y.data
        );
    }
    // A part of `...` that is 1 stands for any extent.
    let equation = |s: &str| Attribute {
        name: "equation".into(),
        r#type: kind::STRING,
        s: s.as_bytes().to_vec().into(),
        ..Attribute::default()
    };
    let y = result(12, "Einsum", vec![equation("...ij,...jk->...ik")], &[("p", &m), ("q", &one)]);
    let want = summed(&["aij", "jk"], "aik", &[&m, &Numbers::of(&[4, 2], &one.data)]);
    let y = y.expect("it runs");
    assert!(
        y.dims == [2, 3, 2] && y.data.iter().zip(&want).all(|(y, w)| (y - w).abs() <= 1e-3),
        "{:?}",
        y.data
    );
    for wrong in ["ij->ii", "i.j->j", "ij,jk->ik", "->", "ijk->ij", "ij->k"] {
        let e = result(12, "Einsum", vec![equation(wrong)], &[("p", &b)]).err();
        assert!(e.is_some_and(|e| e.contains("the equation")), "{wrong}");
    }
}

#[test]
fn operator_set_10_takes_the_element_after_when_it_shrinks() {
    let x = Numbers::of(&[1, 1, 2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let scales = Numbers::of(&[4], &[1.0, 1.0, 0.6, 0.6]);
    let y = result(10, "Resize", Vec::new(), &[("x", &x), ("k", &scales)]).expect("it runs");
    // As the standard's own case of that version has it.
    assert_eq!((y.dims, y.data), (vec![1, 1, 1, 2], vec![1.0, 3.0]));
    let scales = Numbers::of(&[4], &[1.0, 1.0, 1.0, 1.5]);
    let y = result(10, "Resize", Vec::new(), &[("x", &x), ("k", &scales)]).expect("it runs");
    assert_eq!(y.data, [1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 5.0, 6.0, 7.0, 7.0, 8.0]);
}
