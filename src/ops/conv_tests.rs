//! Tests of the convolution family: the identities that tie its members together (on nests, through the loop interpreter),
//! values worked out by hand, size rules, counts that the chapter and papers print, and messages.

use std::sync::Arc;

use super::args::{ArgValue, CallArgs, Layer, Links};
use super::conv::Conv;
use super::conv_grad::ConvGrad;
use super::dense::Dense;
use super::geometry::{Geometry, Linking, Share};
use super::lower::{LowerCx, Want};
use super::pool::{Over, Pool, PoolKind};
use super::unconv::Unconv;
use super::window::{Padding, WindowSpec};
use super::{Made, Op, OpError, infos};
use crate::loops::interp;
use crate::loops::verify::verify;
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// Numbers in -1..1 from a seed (splitmix64).
struct Rng(u64);

impl Rng {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn array(&mut self, dims: &[usize]) -> Array {
        // Values that `f32` holds exactly, so that both engines see the same inputs.
        Array::from_fn(dims, |_| f64::from((self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0))
    }
}

/// The layout that fits a want, activations with channels last or not.
fn layout(want: &Want, ty: &TensorTy, channels_last: bool) -> Layout {
    let rank = ty.dims().len();
    let mut layout = match want {
        Want::Order(order) => return Layout::ordered(order.clone()),
        Want::Any | Want::Halo(_) | Want::Channels(_) if channels_last && ty.is_activation() => {
            Layout::channels_last(rank)
        }
        Want::Any | Want::Halo(_) | Want::Channels(_) => Layout::canonical(rank),
    };
    if let Want::Halo(halo) | Want::Channels(halo) = want {
        layout.halo = halo.clone();
    }
    layout
}

fn offset(layout: &Layout, ty: &TensorTy, at: &[usize]) -> usize {
    layout.place(ty).element(at) as usize
}

/// Runs the operation's nest in the loop interpreter.
fn interpret(op: &Op, types: &[&TensorTy], inputs: &[Array], out: &TensorTy, channels_last: bool) -> Array {
    let wants = op.rules().wants(types, out);
    let layouts: Vec<Layout> =
        wants.inputs.iter().zip(types).map(|(w, ty)| layout(w, ty, channels_last)).collect();
    let out_layout = layout(&wants.output, out, channels_last);
    let operands: Vec<(&TensorTy, &Layout)> = types.iter().copied().zip(&layouts).collect();
    let mut cx = LowerCx::new("test", &operands, &[], (out, &out_layout), Vec::new());
    op.rules().lower(&mut cx);
    let nest = cx.finish();
    if let Err(errors) = verify(&nest) {
        panic!("{op:?}: {}", errors.join("\n"));
    }
    let mut bufs: Vec<Vec<f32>> = Vec::new();
    for ((layout, ty), array) in layouts.iter().zip(types).zip(inputs) {
        let mut buf = vec![0.0; layout.place(ty).len];
        for_each_index(ty.dims(), |at| buf[offset(layout, ty, at)] = array.at(at) as f32);
        bufs.push(buf);
    }
    bufs.push(vec![f32::NAN; out_layout.place(out).len]);
    // Behind the output come the nest's own buffers.
    bufs.extend(nest.bufs[bufs.len()..].iter().map(|b| vec![f32::NAN; b.len]));
    interp::run_all(&nest, &mut bufs, true).expect("a nest that the verifier passed");
    let y = &bufs[types.len()];
    Array::from_fn(out.dims(), |at| f64::from(y[offset(&out_layout, out, at)]))
}

fn reference(op: &Op, types: &[&TensorTy], inputs: &[Array]) -> Array {
    let out = op.rules().infer(types).unwrap_or_else(|e| panic!("{op:?}: {}", e.message)).ty;
    op.rules().reference(&inputs.iter().collect::<Vec<_>>(), &out)
}

/// Greatest difference, relative to the greatest magnitude.
fn distance(a: &Array, b: &Array) -> f64 {
    assert_eq!(a.dims, b.dims);
    let scale = b.data.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    a.data
        .iter()
        .zip(&b.data)
        .fold(0.0, |m: f64, (a, b)| if (a - b).is_nan() { f64::INFINITY } else { m.max((a - b).abs()) })
        / scale
}

/// A random geometry on a random input, small.
fn random(rng: &mut Rng) -> (TensorTy, usize, Geometry) {
    let rank = rng.below(4);
    let names = ["a", "b", "c2"];
    let mut axes = Vec::new();
    let mut window = WindowSpec { kernel: vec![], stride: vec![], dilation: vec![], pad: Padding::Valid };
    let mut sides = Vec::new();
    for name in &names[..rank] {
        window.kernel.push(1 + rng.below(if rank == 3 { 2 } else { 4 }));
        window.stride.push(1 + rng.below(if rank == 1 { 7 } else { 3 }));
        window.dilation.push(1 + rng.below(3));
        let e = window.dilation[axes.len()] * (window.kernel[axes.len()] - 1) + 1;
        axes.push((*name, e + rng.below(5)));
        sides.push((rng.below(4), rng.below(4)));
    }
    let pads = [Padding::Valid, Padding::Same, Padding::SameLo, Padding::Full, Padding::Sides(sides)];
    window.pad = rng.pick(&pads);
    let groups = 1 + rng.below(3);
    let (i, o) = (groups * (1 + rng.below(3)), groups * (1 + rng.below(3)));
    let rows = (0..o).map(|_| (0..i as u32).filter(|_| rng.below(2) == 0).collect()).collect();
    let table = Linking::Table(Arc::new(Links { inputs: i, rows }));
    let links = rng.pick(&[Linking::Dense, Linking::Groups(groups), table]);
    let x = TensorTy::grid(1 + rng.below(2), i, &axes).expect("a small tensor");
    let (windows, _) = window.resolve(&x, false).expect("a legal geometry");
    let tile = windows.iter().map(|w| 1 + rng.below(w.out.min(3))).collect();
    let share = rng.pick(&[Share::All, Share::All, Share::Tile(tile), Share::None]);
    (x, o, Geometry { window, share, links, flip: rng.below(2) == 0 })
}

fn dot(a: &Array, b: &Array) -> f64 {
    assert_eq!(a.dims, b.dims);
    a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum()
}

#[test]
fn adjoint_identities_over_random_geometries() {
    let mut rng = Rng(9);
    for turn in 0..200 {
        let (x_ty, channels, geometry) = random(&mut rng);
        let size = Some(x_ty.grid_dims().to_vec());
        let conv = Conv { channels, geometry: geometry.clone(), bias: false };
        let (windows, _) = conv.windows(&x_ty).expect("a legal geometry");
        let grid: Vec<usize> = windows.iter().map(|w| w.out).collect();
        let w_ty = geometry.weight_ty(&x_ty, channels, &grid).expect("small weights");
        let y_ty = x_ty.with_dims(&[&[x_ty.n(), channels], &grid[..]].concat()).expect("small");
        let unconv = Unconv { channels: x_ty.c(), geometry: geometry.clone(), size, bias: false };
        let grad = ConvGrad { geometry: geometry.clone() };
        let uw_ty = unconv.weight_ty(&y_ty, &x_ty).expect("small weights");
        let (x, w, y) = (rng.array(x_ty.dims()), rng.array(w_ty.dims()), rng.array(y_ty.dims()));
        // The references are pinned to hand-made values below; here the nests must satisfy the identity by themselves.
        let cl = turn % 2 == 0;
        let forward = interpret(&conv.into(), &[&x_ty, &w_ty], &[x.clone(), w.clone()], &y_ty, cl);
        let back = interpret(&unconv.into(), &[&y_ty, &uw_ty], &[y.clone(), w.clone()], &x_ty, cl);
        let dw = interpret(&grad.into(), &[&x_ty, &y_ty], &[x.clone(), y.clone()], &w_ty, cl);
        let (a, b, c) = (dot(&forward, &y), dot(&x, &back), dot(&w, &dw));
        let scale = forward.data.len() as f64;
        assert!(
            (a - b).abs() < 1e-5 * scale,
            "<conv x, y> = {a}, <x, unconv y> = {b}: {geometry:?} on {x_ty}"
        );
        assert!((a - c).abs() < 1e-5 * scale, "<conv x, y> = {a}, <w, grad> = {c}: {geometry:?} on {x_ty}");
    }
}

fn plain(kernel: &[usize], pad: Padding) -> Geometry {
    let ones = vec![1; kernel.len()];
    let window = WindowSpec { kernel: kernel.to_vec(), stride: ones.clone(), dilation: ones, pad };
    Geometry { window, share: Share::All, links: Linking::Dense, flip: false }
}

/// Output of a convolution without bias by interpreter, after reference and interpreter agreed.
fn convolved(x_ty: &TensorTy, x: &Array, channels: usize, geometry: &Geometry, w: &Array) -> Array {
    let op = Conv { channels, geometry: geometry.clone(), bias: false };
    let (windows, _) = op.windows(x_ty).expect("a legal geometry");
    let grid: Vec<usize> = windows.iter().map(|w| w.out).collect();
    let w_ty = geometry.weight_ty(x_ty, channels, &grid).expect("small weights");
    let w = w.clone().reshaped(w_ty.dims());
    let op = Op::from(op);
    let out = op.rules().infer(&[x_ty, &w_ty]).expect("legal types").ty;
    let inputs = [x.clone(), w];
    let got = interpret(&op, &[x_ty, &w_ty], &inputs, &out, true);
    assert!(distance(&got, &reference(&op, &[x_ty, &w_ty], &inputs)) < 1e-5);
    got
}

#[test]
fn kinds_of_sharing_and_links_meet_where_they_should() {
    let mut rng = Rng(4);
    let x_ty = TensorTy::grid(2, 3, &[("h", 5), ("w", 6)]).expect("small");
    let x = rng.array(x_ty.dims());
    let dense = plain(&[3, 3], Padding::Same);
    let w = rng.array(&[4, 3, 3, 3]);
    let expected = convolved(&x_ty, &x, 4, &dense, &w);

    let tiled = Geometry { share: Share::Tile(vec![1, 1]), ..dense.clone() };
    assert_eq!(convolved(&x_ty, &x, 4, &tiled, &w), expected, "tiled 1x1 = convolution");

    let rows = vec![vec![0, 1, 2]; 4];
    let table = Geometry { links: Linking::Table(Arc::new(Links { inputs: 3, rows })), ..dense.clone() };
    assert_eq!(convolved(&x_ty, &x, 4, &table, &w), expected, "a table of all links = dense channels");

    let sets = rng.array(&[5 * 6 * w.data.len()]);
    let local = Geometry { share: Share::None, ..dense.clone() };
    let by_position = convolved(&x_ty, &x, 4, &local, &sets);
    let tiled = Geometry { share: Share::Tile(vec![5, 6]), ..dense };
    assert_eq!(
        convolved(&x_ty, &x, 4, &tiled, &sets),
        by_position,
        "a tile of the output's size = local connection"
    );
    let repeated = Array { dims: vec![30 * w.data.len()], data: w.data.repeat(30) };
    assert_eq!(convolved(&x_ty, &x, 4, &local, &repeated), expected, "equal sets = convolution");

    let whole = plain(&[5, 6], Padding::Valid);
    let w = rng.array(&[7, 3, 5, 6]);
    let by_conv = convolved(&x_ty, &x, 7, &whole, &w);
    let op = Op::from(Dense { channels: 7, bias: false });
    let w_ty = TensorTy::new([("o", 7), ("i", 90)]).expect("small");
    let by_dense = reference(&op, &[&x_ty, &w_ty], &[x, w.reshaped(&[7, 90])]);
    assert!(distance(&by_conv.reshaped(&[2, 7]), &by_dense) < 1e-5, "a kernel of the whole grid = dense");
}

#[test]
fn references_give_values_worked_out_by_hand() {
    let row = |data: &[f64]| Array { dims: vec![1, 1, data.len()], data: data.to_vec() };
    let x_ty = TensorTy::grid(1, 1, &[("t", 4)]).expect("small");
    let w_ty = TensorTy::new([("o", 1), ("i", 1), ("kt", 3)]).expect("small");
    let run = |geometry: Geometry, x: &[f64], w: &[f64]| {
        let op = Op::from(Conv { channels: 1, geometry, bias: false });
        reference(&op, &[&x_ty, &w_ty], &[row(x), row(w)]).data
    };
    let x = [1.0, 2.0, 3.0, 4.0];
    let w = [1.0, 10.0, 100.0];
    assert_eq!(run(plain(&[3], Padding::Valid), &x, &w), [321.0, 432.0]);
    assert_eq!(run(plain(&[3], Padding::Same), &x, &w), [210.0, 321.0, 432.0, 43.0]);
    assert_eq!(run(plain(&[3], Padding::Full), &x, &w), [100.0, 210.0, 321.0, 432.0, 43.0, 4.0]);
    let flip = Geometry { flip: true, ..plain(&[3], Padding::Valid) };
    assert_eq!(run(flip, &x, &w), [123.0, 234.0]);
    let mut apart = plain(&[3], Padding::Sides(vec![(1, 2)]));
    apart.window.dilation = vec![2];
    apart.window.stride = vec![2];
    // Positions -1 0 1 2 3 4 5: outputs at -1 and 1 with taps two apart.
    assert_eq!(run(apart.clone(), &x, &w), [420.0, 42.0]);

    // The transpose of the last, to its input's extent: every input lands where its taps looked.
    let op = Op::from(Unconv { channels: 1, geometry: apart, size: Some(vec![4]), bias: false });
    let y_ty = TensorTy::grid(1, 1, &[("t", 2)]).expect("small");
    let back = reference(&op, &[&y_ty, &w_ty], &[row(&[1.0, 2.0]), row(&w)]);
    assert_eq!(back.data, [0.0, 12.0, 0.0, 120.0]);
}

/// Calls the operation `name` as the language would.
fn call(name: &str, args: &[(&'static str, ArgValue)], x: &TensorTy) -> Result<Made, OpError> {
    let info = infos().into_iter().find(|i| i.name == name).expect("a name of the language");
    for (arg, _) in args {
        assert!(info.params.iter().any(|p| p.name == *arg), "`{name}` has no argument `{arg}`");
    }
    (info.make)(&CallArgs { values: args.to_vec() }, &[x])
}

/// The output's type, its reasons, and the number of weights of a call.
fn shape(
    name: &str,
    args: &[(&'static str, ArgValue)],
    x: &TensorTy,
) -> Result<(TensorTy, Vec<String>, usize), OpError> {
    let made = call(name, args, x)?;
    let mut types = vec![x];
    types.extend(made.weights.iter().map(|w| &w.ty));
    let inferred = made.ops[0].rules().infer(&types)?;
    let weights = made.weights.iter().map(|w| w.ty.len()).sum();
    Ok((inferred.ty, inferred.why.into_iter().map(|w| w.formula).collect(), weights))
}

fn int(i: i64) -> ArgValue {
    ArgValue::Int(i)
}

fn ints(v: &[i64]) -> ArgValue {
    ArgValue::List(v.iter().map(|i| int(*i)).collect())
}

fn word(w: &str) -> ArgValue {
    ArgValue::Word(w.into())
}

fn extent(v: &[i64]) -> ArgValue {
    ArgValue::Extent(v.to_vec())
}

fn image(c: usize, h: usize, w: usize) -> TensorTy {
    TensorTy::grid(1, c, &[("h", h), ("w", w)]).expect("small")
}

#[test]
fn size_rules_give_extents_with_their_formulas() {
    let axis = |name: &str, args: &[(&'static str, ArgValue)], n: usize| {
        let x = TensorTy::grid(1, 4, &[("t", n)]).expect("small");
        let (ty, why, _) = shape(name, args, &x).unwrap_or_else(|e| panic!("{}", e.message));
        (ty.dims()[2], why[2].clone())
    };
    let conv = |k, s, pad: ArgValue, n| {
        axis("conv", &[("out", int(2)), ("kernel", int(k)), ("stride", int(s)), ("pad", pad)], n)
    };
    assert_eq!(conv(3, 2, word("valid"), 56), (27, "valid: floor((56 - 3) / 2) + 1".into()));
    assert_eq!(conv(3, 2, word("same"), 55), (28, "same: ceil(55 / 2)".into()));
    assert_eq!(conv(3, 1, word("full"), 5), (7, "full: floor((5 + 3 - 2) / 1) + 1".into()));
    assert_eq!(conv(7, 2, int(3), 224), (112, "pad 3: floor((224 + 2*3 - 7) / 2) + 1".into()));
    let sides = ArgValue::List(vec![ints(&[0, 2])]);
    assert_eq!(conv(4, 1, sides, 5), (4, "pad [0, 2]: floor((5 + 0 + 2 - 4) / 1) + 1".into()));
    let dilated = [("out", int(2)), ("kernel", int(3)), ("dilate", int(2))];
    assert_eq!(
        axis("conv", &dilated, 9),
        (5, "valid: floor((9 - 5) / 1) + 1, reach 5 = 2*(3 - 1) + 1".into())
    );
    let partial = [("kernel", int(3)), ("stride", int(2)), ("partial", ArgValue::Bool(true))];
    assert_eq!(axis("maxpool", &partial, 6), (3, "valid, partial: ceil((6 - 3) / 2) + 1".into()));
    assert_eq!(axis("avgpool", &[("grid", int(3))], 7), (3, "grid: 3 regions of 7".into()));
    let unconv = |args: &[(&'static str, ArgValue)], n| {
        let base = [("channels", int(2)), ("kernel", int(4)), ("stride", int(2))];
        axis("unconv", &[&base, args].concat(), n)
    };
    assert_eq!(unconv(&[("pad", int(1))], 8), (16, "transposed: (8 - 1)*2 + 4 - 2".into()));
    assert_eq!(unconv(&[("pad", word("same"))], 8), (15, "transposed same: (8 - 1)*2 + 1".into()));
    assert_eq!(unconv(&[("out", int(17)), ("pad", int(1))], 8).0, 17);
}

#[test]
fn counts_are_those_that_are_published() {
    // Figure 9.6: 319 * 280 * 3 operations.
    let x = TensorTy::grid(1, 1, &[("h", 280), ("w", 320)]).expect("small");
    let edge = [
        ("out", int(1)),
        ("kernel", extent(&[1, 2])),
        ("weights", ints(&[-1, 1])),
        ("bias", ArgValue::Bool(false)),
    ];
    let made = call("conv", &edge, &x).expect("legal");
    let types = [&x, &made.weights[0].ty];
    let out = made.ops[0].rules().infer(&types).expect("legal").ty;
    assert_eq!(out.dims(), [1, 1, 280, 319]);
    assert_eq!(made.ops[0].rules().cost(&types, &out).flops, 267_960);

    // LeNet-5's C3.
    let rows: Vec<Vec<u32>> = [
        "012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125", "0134",
        "1245", "0235", "012345",
    ]
    .iter()
    .map(|r| r.bytes().map(|b| u32::from(b - b'0')).collect())
    .collect();
    let table = ArgValue::Table(Arc::new(Links { inputs: 6, rows }));
    let c3 = [("out", int(16)), ("kernel", int(5)), ("links", table)];
    let (ty, _, weights) = shape("conv", &c3, &image(6, 14, 14)).expect("legal");
    assert_eq!((ty.dims(), weights), (&[1, 16, 10, 10][..], 1516));

    let local = [("out", int(4)), ("kernel", int(3)), ("share", word("none"))];
    let (_, _, weights) = shape("conv", &local, &image(2, 6, 7)).expect("legal");
    assert_eq!(weights, 4 * 5 * (4 * 2 * 9 + 4), "a set of weights and biases per position");
    let tile = ArgValue::Call("tile".into(), vec![(None, extent(&[2, 3]))]);
    let tiled = [("out", int(4)), ("kernel", int(3)), ("share", tile)];
    let (_, _, weights) = shape("conv", &tiled, &image(2, 6, 7)).expect("legal");
    assert_eq!(weights, 2 * 3 * (4 * 2 * 9 + 4), "a set of weights and biases per position of the tile");
    let (ty, _, weights) = shape("dense", &[("out", int(84))], &image(120, 2, 3)).expect("legal");
    assert_eq!((ty.dims(), weights), (&[1, 84][..], 84 * 720 + 84));
}

#[test]
fn a_transposed_layer_takes_everything_from_its_layer() {
    let x = image(3, 9, 10);
    let args = [("out", int(8)), ("kernel", int(3)), ("stride", int(2)), ("pad", int(1)), ("groups", int(1))];
    let made = call("conv", &args, &x).expect("legal");
    let types = [&x, &made.weights[0].ty, &made.weights[1].ty];
    let output = made.ops[0].rules().infer(&types).expect("legal").ty;
    let layer =
        Layer { name: "c1".into(), op: made.ops[0].clone(), input: x.clone(), output: output.clone() };
    let of = ("of", ArgValue::Layer(Arc::new(layer)));
    let (ty, why, weights) = shape("unconv", std::slice::from_ref(&of), &output).expect("legal");
    assert_eq!((ty.dims(), weights), (x.dims(), 8 * 3 * 9 + 3));
    assert_eq!(why[3], "out: 10, which the forward layer takes to 5");
    let error = call("unconv", &[of.clone(), ("stride", int(2))], &output).expect_err("said twice");
    assert_eq!((error.code, &*error.message), (codes::E0107, "`of: c1` already says what `stride` is"));
    let error = call("unconv", &[of], &x).expect_err("another input");
    assert_eq!(error.code, codes::E0214);
}

#[test]
fn errors_say_the_numbers() {
    let x = image(6, 5, 7);
    let conv = |args: &[(&'static str, ArgValue)]| {
        let base = [("out", int(4)), ("kernel", int(3))];
        let mut all = base.to_vec();
        all.retain(|(n, _)| args.iter().all(|(m, _)| m != n));
        all.extend_from_slice(args);
        shape("conv", &all, &x).expect_err("must not check")
    };
    let cases = [
        (conv(&[("kernel", extent(&[3, 9]))]), codes::E0202, "kernel 9 is larger than the input 7 on axis w"),
        (
            conv(&[("dilate", int(4)), ("pad", int(1))]),
            codes::E0202,
            "kernel 3 with dilation 4 reaches 9, more than the padded input 7 on axis h",
        ),
        (conv(&[("stride", extent(&[1, 2, 3]))]), codes::E0203, ""),
        (conv(&[("pad", ints(&[1]))]), codes::E0203, ""),
        (conv(&[("stride", int(0))]), codes::E0204, "`stride` must be at least 1, not 0"),
        (conv(&[("kernel", int(i64::MAX))]), codes::E0204, ""),
        (conv(&[("out", int(0))]), codes::E0204, "`out` must be at least 1, not 0"),
        (conv(&[("out", int(1 << 50))]), codes::E0204, ""),
        (conv(&[("pad", int(-1))]), codes::E0401, "padding -1 is negative; `crop` removes positions"),
        (conv(&[("groups", int(4))]), codes::E0303, "`groups: 4` does not divide the 6 input channels"),
        (
            conv(&[("weights", ints(&[1, 2]))]),
            codes::E0501,
            "`weights` has 2 numbers, but the layer has 216 weights",
        ),
    ];
    for (error, code, message) in cases {
        assert_eq!(error.code, code, "{}", error.message);
        assert!(message.is_empty() || error.message == message, "{} instead of {message}", error.message);
    }
    let pool =
        |args: &[(&'static str, ArgValue)]| shape("maxpool", args, &x).expect_err("must not check").code;
    assert_eq!(pool(&[]), codes::E0106);
    assert_eq!(pool(&[("kernel", int(2)), ("pad", int(2))]), codes::E0402);
    assert_eq!(pool(&[("grid", int(6))]), codes::E0403);
    assert_eq!(pool(&[("c", int(7))]), codes::E0202);
    assert_eq!(pool(&[("c", int(2)), ("kernel", int(2))]), codes::E0107);
    let wide = [("channels", int(2)), ("kernel", int(3)), ("stride", int(2)), ("out", extent(&[11, 17]))];
    let error = shape("unconv", &wide, &x).expect_err("must not check");
    assert_eq!(error.code, codes::E0214);
    assert_eq!(
        error.message,
        "an output of 17 on axis w does not lead back to the input's 7; 15 to 16 would"
    );
    assert_eq!(error.tries[0].value, "11x16");
}

#[test]
fn pools_over_padding_and_special_values() {
    let ty = TensorTy::grid(1, 1, &[("t", 4)]).expect("small");
    let run = |kind, count_pad, x: &[f64]| {
        let window = WindowSpec { kernel: vec![3], stride: vec![1], dilation: vec![1], pad: Padding::Same };
        let op = Op::from(Pool { kind, over: Over::Window(window), count_pad, partial: false });
        let x = Array { dims: vec![1, 1, 4], data: x.to_vec() };
        let by_loops = interpret(&op, &[&ty], std::slice::from_ref(&x), &ty, true);
        let by_reference = reference(&op, &[&ty], &[x]);
        let text = |a: &Array| format!("{:?}", a.data);
        assert_eq!(text(&by_loops), text(&by_reference));
        by_loops.data
    };
    assert_eq!(run(PoolKind::Max, false, &[-3.0, -2.0, -5.0, -7.0]), [-2.0, -2.0, -2.0, -5.0]);
    assert_eq!(run(PoolKind::Avg, false, &[3.0, 9.0, 6.0, 0.0]), [6.0, 6.0, 5.0, 3.0]);
    assert_eq!(run(PoolKind::Avg, true, &[3.0, 9.0, 6.0, 0.0]), [4.0, 6.0, 5.0, 2.0]);
    let nan = run(PoolKind::Max, false, &[1.0, f64::NAN, 2.0, 3.0]);
    assert!(nan[..3].iter().all(|v| v.is_nan()) && nan[3] == 3.0, "{nan:?}");
    assert_eq!(run(PoolKind::Max, false, &[f64::NEG_INFINITY; 4]), [f64::NEG_INFINITY; 4]);
}
