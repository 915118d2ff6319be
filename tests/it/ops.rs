//! Every case of every operation on every engine: attributes print and parse back, the nest keeps the rules of its
//! verifier and prints and parses back, and the loop interpreter (raw and scheduled nests) and machine code agree
//! with the `f64` reference, in several layouts, alone and with followers fused behind.

use cnnc::loops::{Nest, interp, parse, print, verify};
use cnnc::ops::binary::{Binary, BinaryFn};
use cnnc::ops::case::Case;
use cnnc::ops::lower::{Follower, LowerCx, Want};
use cnnc::ops::unary::{Unary, UnaryFn};
use cnnc::ops::{Op, OpRules, all_cases};
use cnnc::schedule::{Target, schedule};
use cnnc::tensor::array::{Array, for_each_index};
use cnnc::tensor::layout::Layout;
use cnnc::tensor::ty::TensorTy;

const SEED: u64 = 20;

/// How the buffers of a case lie, where the operation does not care.
#[derive(Clone, Copy, Debug)]
enum Lay {
    /// In the order of the type.
    Canonical,
    /// Activations with channels innermost.
    ChannelsLast,
    /// Channels innermost, and a halo around grids that nobody asked for.
    Haloed,
}

const LAYS: [Lay; 3] = [Lay::Canonical, Lay::ChannelsLast, Lay::Haloed];

fn layout(lay: Lay, ty: &TensorTy, want: &Want) -> Layout {
    let rank = ty.dims().len();
    if let Want::Order(order) = want {
        return Layout::ordered(order.clone());
    }
    let mut layout = match lay {
        Lay::ChannelsLast | Lay::Haloed if ty.is_activation() => Layout::channels_last(rank),
        Lay::Canonical | Lay::ChannelsLast | Lay::Haloed => Layout::canonical(rank),
    };
    if let Want::Halo(halo) = want {
        layout.halo.clone_from(halo);
    }
    if let (Lay::Haloed, true) = (lay, ty.is_activation()) {
        for halo in layout.halo.iter_mut().skip(2) {
            *halo = (halo.0 + 1, halo.1 + 2);
        }
    }
    layout
}

/// A row-major tensor as a buffer of this layout.
fn place(data: &[f32], ty: &TensorTy, layout: &Layout) -> Vec<f32> {
    let placed = layout.place(ty);
    let mut buf = vec![0.0; placed.len];
    let mut from = data.iter();
    for_each_index(ty.dims(), |at| {
        let to = at.iter().zip(&placed.strides).fold(placed.base, |a, (i, s)| a + *i as i64 * s);
        buf[to as usize] = *from.next().expect("as many values as the type has elements");
    });
    buf
}

/// The elements of a buffer, row-major.
fn gather(buf: &[f32], ty: &TensorTy, layout: &Layout) -> Vec<f32> {
    let placed = layout.place(ty);
    let mut out = Vec::with_capacity(ty.len());
    for_each_index(ty.dims(), |at| {
        let from = at.iter().zip(&placed.strides).fold(placed.base, |a, (i, s)| a + *i as i64 * s);
        out.push(buf[from as usize]);
    });
    out
}

/// `None` when every element is within `tolerance` of the reference, relative to the reference's largest magnitude.
fn difference(got: &[f32], expected: &Array, tolerance: f64) -> Option<String> {
    let finite = expected.data.iter().filter(|x| x.is_finite());
    let scale = finite.fold(0.0f64, |m, x| m.max(x.abs())).max(f64::from(f32::MIN_POSITIVE));
    let mut worst: Option<(f64, String)> = None;
    for (i, (g, e)) in got.iter().zip(&expected.data).enumerate() {
        let g = f64::from(*g);
        let error = if g == *e || (g.is_nan() && e.is_nan()) { 0.0 } else { (g - e).abs() / scale };
        // A NaN on one side compares as no number at all, and counts as the worst error.
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > tolerance && worst.as_ref().is_none_or(|(w, _)| error > *w) {
            worst =
                Some((error, format!("element {i} is {g}, not {e}: error {error:.2e} > {tolerance:.0e}")));
        }
    }
    worst.map(|(_, text)| text)
}

/// A case ready to run: its inputs, its output's type, and what should come out.
struct Prepared {
    inputs: Vec<Vec<f32>>,
    out: TensorTy,
    expected: Array,
}

fn prepare(case: &Case) -> Result<Prepared, String> {
    let types: Vec<&TensorTy> = case.inputs.iter().collect();
    let rules = case.op.rules();
    let inferred = rules.infer(&types).map_err(|e| format!("shape rule: {}", e.message))?;
    if inferred.why.len() != inferred.ty.dims().len() {
        return Err(format!("{} reasons for {}", inferred.why.len(), inferred.ty));
    }
    let attrs = rules.attrs();
    let again = Op::parse(rules.kind(), &attrs)?;
    if again != case.op {
        return Err(format!("{attrs:?} parses back as {again:?}, not {:?}", case.op));
    }
    for i in 0..case.inputs.len() {
        let field = rules.field(i, &types, &inferred.ty);
        let rank = if inferred.ty.is_activation() { inferred.ty.rank() } else { 0 };
        if case.inputs[i].is_activation() && field.len() != rank {
            return Err(format!("{} fields of input {i} for a grid of rank {rank}", field.len()));
        }
    }
    let inputs: Vec<Vec<f32>> = (0..case.inputs.len()).map(|i| case.data(i, SEED)).collect();
    let arrays: Vec<Array> =
        inputs.iter().zip(&case.inputs).map(|(d, ty)| Array::from_f32(ty.dims(), d)).collect();
    let expected = rules.reference(&arrays.iter().collect::<Vec<_>>(), &inferred.ty);
    Ok(Prepared { inputs, out: inferred.ty, expected })
}

/// A nest with the buffers it runs on; the last one is the output.
struct Ready {
    nest: Nest,
    bufs: Vec<Vec<f32>>,
    out: Layout,
}

/// Lowers the case, with an addition of `extra` per channel and a `tanh` fused behind if it is given.
fn ready(case: &Case, p: &Prepared, lay: Lay, extra: Option<(&TensorTy, &[f32])>) -> Ready {
    let types: Vec<&TensorTy> = case.inputs.iter().collect();
    let rules = case.op.rules();
    let wants = rules.wants(&types, &p.out);
    let layouts: Vec<Layout> =
        types.iter().zip(&wants.inputs).map(|(ty, want)| layout(lay, ty, want)).collect();
    let out = layout(lay, &p.out, &wants.output);
    let operands: Vec<(&TensorTy, &Layout)> = types.iter().copied().zip(&layouts).collect();
    let mut bufs: Vec<Vec<f32>> =
        p.inputs.iter().zip(&operands).map(|(data, (ty, l))| place(data, ty, l)).collect();
    let (add, tanh) = (Binary::of(BinaryFn::Add), Unary::of(UnaryFn::Tanh));
    let extra_layout = extra.map(|(ty, _)| Layout::canonical(ty.dims().len()));
    let mut extras = Vec::new();
    let mut followers = Vec::new();
    if let (Some((ty, data)), Some(l)) = (extra, &extra_layout) {
        extras.push((ty, l));
        bufs.push(place(data, ty, l));
        let scalars = [(add.scalar(), vec![Some(0), None]), (tanh.scalar(), vec![None])];
        followers.extend(scalars.into_iter().map(|(scalar, operands)| Follower {
            scalar: scalar.expect("an elementwise operation"),
            operands,
        }));
    }
    let mut cx = LowerCx::new(&case.name, &operands, &extras, (&p.out, &out), followers);
    rules.lower(&mut cx);
    bufs.push(vec![f32::NAN; out.place(&p.out).len]);
    Ready { nest: cx.finish(), bufs, out }
}

fn check_nest(nest: &Nest) -> Result<(), String> {
    verify(nest).map_err(|errors| format!("verifier: {}\n{}", errors.join("\n"), print::print(nest)))?;
    let text = print::print(nest);
    let again = parse::parse(&text).map_err(|e| format!("the printed nest does not parse: {e}\n{text}"))?;
    if print::print(&again) == text { Ok(()) } else { Err(format!("prints otherwise once parsed:\n{text}")) }
}

/// Runs a lowered case on every engine.
fn engines(case: &Case, ready: &Ready, out: &TensorTy, expected: &Array) -> Result<(), String> {
    check_nest(&ready.nest)?;
    let interpret = |nest: &Nest, fma: bool| -> Result<Vec<f32>, String> {
        let mut bufs = ready.bufs.clone();
        interp::run_all(nest, &mut bufs, fma)?;
        Ok(gather(bufs.last().map_or(&[], |b| b), out, &ready.out))
    };
    let compare = |engine: &str, got: &[f32]| match difference(got, expected, case.tolerance) {
        None => Ok(()),
        Some(text) => Err(format!("{engine}: {text}\n{}", print::print(&ready.nest))),
    };
    for fma in [false, true] {
        let raw = interpret(&ready.nest, fma)?;
        compare(&format!("interpreter, fma {fma}"), &raw)?;
        let target = Target { fma, vector_registers: 16 };
        let scheduled = schedule(ready.nest.clone(), &target).nest;
        check_nest(&scheduled).map_err(|e| format!("scheduled: {e}"))?;
        let got = interpret(&scheduled, fma)?;
        let same =
            got.iter().zip(&raw).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
        if !same {
            return Err(format!("scheduling changed bits, fma {fma}:\n{}", print::print(&scheduled)));
        }
    }
    Ok(())
}

fn run(case: &Case) -> Result<(), String> {
    let p = prepare(case)?;
    for lay in LAYS {
        let alone = ready(case, &p, lay, None);
        engines(case, &alone, &p.out, &p.expected).map_err(|e| format!("{lay:?}: {e}"))?;
    }
    if !p.out.is_activation() {
        return Ok(());
    }
    // What a group of fused operations does: y = tanh(y + e[c]), with e so large and y so scaled that tanh bends but
    // does not hide errors.
    let ty = TensorTy::new([("c", p.out.c())]).map_err(|_| "too large".to_owned())?;
    let extra: Vec<f32> = (0..p.out.c()).map(|c| 0.25 * (c % 5) as f32 - 0.5).collect();
    let scale = p.expected.data.iter().fold(1.0f64, |m, x| if x.is_finite() { m.max(x.abs()) } else { m });
    let mut fused = p.expected.clone();
    let mut i = 0;
    for_each_index(p.out.dims(), |at| {
        fused.data[i] = (fused.data[i] + f64::from(extra[at[1]])).tanh();
        i += 1;
    });
    // An error of the case's own is seen through a slope of at most 1.
    let mut loose = case.clone();
    loose.tolerance = (case.tolerance * scale).max(2e-6);
    let group = ready(case, &p, Lay::ChannelsLast, Some((&ty, &extra)));
    let saturated = Array { dims: fused.dims.clone(), data: fused.data };
    engines(&loose, &group, &p.out, &saturated).map_err(|e| format!("with followers: {e}"))
}

#[test]
fn every_case_agrees_on_every_engine() {
    let mut failures = Vec::new();
    let mut count = 0;
    for (module, cases) in all_cases() {
        assert!(!cases.is_empty(), "{module} has no case");
        for case in cases {
            count += 1;
            if let Err(e) = run(&case) {
                failures.push(format!("{module}: {}: {e}", case.name));
            }
        }
    }
    assert!(count > 100, "only {count} cases");
    let n = failures.len();
    assert!(failures.is_empty(), "{n} of {count} cases fail\n\n{}", failures.join("\n\n"));
}
