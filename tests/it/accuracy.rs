//! Rounding, layer by layer: what machine code makes of each layer of every example, beside the plainest computation in `f32`, one
//! multiply-add after another in the order of the definition. Both are held against `f64` on the same inputs, which are those
//! that the layer gets within its network.
//!
//! `CNNC_ACCURACY=F` allows `F` times instead of twice: 0 lists every layer.
//!
//! Norm-wise: `||y - y64|| / ||y64||` of machine code is at most twice that of the plain chain, and one unit in the last place.

use std::collections::BTreeSet;

use cnnc::graph::{Def, Graph, ValueId};
use cnnc::ops::Op;
use cnnc::ops::batchnorm::BatchNorm;
use cnnc::ops::conv_grad::ConvGrad;
use cnnc::ops::geometry::{Geometry, Linking, Share};
use cnnc::ops::init::Init;
use cnnc::ops::lrn::Lrn;
use cnnc::ops::pool::{Over, Pool, PoolKind};
use cnnc::ops::softmax::Softmax;
use cnnc::ops::window::Window;
use cnnc::session::{Compiler, Files, Model, Options};
use cnnc::support::random::Random;
use cnnc::tensor::array::{Array, for_each_index};
use cnnc::tensor::owned::TensorView;
use cnnc::tensor::ty::TensorTy;

use crate::examples::{names, reduced};
use crate::support::{read, root};

/// How much worse than the plain chain a layer may be.
const FACTOR: f64 = 2.0;

/// A unit in the last place, of the whole.
const FLOOR: f64 = f32::EPSILON as f64;

/// Outputs of a layer of products that are looked at.
const SAMPLES: usize = 1000;

const SEED: u64 = 5;

/// A layer with what it reads within its network.
struct Layer {
    name: String,
    op: Op,
    inputs: Vec<(TensorTy, Vec<f32>)>,
    out: TensorTy,
}

/// Constant starts become numbers that matter: statistics, gains and shifts.
fn drawn(graph: &mut Graph) {
    for value in &mut graph.values {
        if let Def::Param { init: init @ Init::Constant(_), .. } = &mut value.def {
            let shift = value.name.ends_with("bias") || value.name.ends_with("mean");
            *init =
                if shift { Init::Uniform { lo: -0.3, hi: 0.3 } } else { Init::Uniform { lo: 0.5, hi: 1.5 } };
        }
    }
}

fn order(ty: &TensorTy) -> Vec<usize> {
    (0..ty.dims().len()).collect()
}

fn run(model: &Model, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let views: Vec<(&str, TensorView<'_>)> =
        model.inputs().iter().zip(inputs).map(|(p, data)| (&*p.name, TensorView::from(data))).collect();
    let outputs = model.run(&views).expect("runs");
    outputs.iter().map(|(_, t)| t.data().to_vec()).collect()
}

/// Each layer of a network that differs from those `seen`, on the numbers that arrive at it.
fn layers(mut graph: Graph, seen: &mut BTreeSet<String>) -> Vec<Layer> {
    drawn(&mut graph);
    let mut wanted: Vec<ValueId> = Vec::new();
    let mut fresh: Vec<ValueId> = Vec::new();
    for id in graph.ids() {
        let value = graph.value(id);
        let Def::Op { op, inputs } = &value.def else { continue };
        let types: Vec<String> = inputs.iter().map(|i| graph.value(*i).ty.to_string()).collect();
        if seen.insert(format!("{} {:?} {types:?}", op.rules().kind(), op.rules().attrs())) {
            fresh.push(id);
            wanted.extend(inputs.iter().filter(|i| matches!(graph.value(**i).def, Def::Op { .. })));
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    let mut whole = graph.clone();
    whole.outputs.clear();
    for id in &wanted {
        whole.output(&id.to_string(), *id, order(&graph.value(*id).ty));
    }
    for i in 0..whole.inputs.len() {
        whole.inputs[i].order = order(&whole.value(whole.inputs[i].value).ty);
    }
    let random = Random::new(SEED, "inputs");
    let filled =
        |ty: &TensorTy| -> Vec<f32> { (0..ty.len() as u64).map(|i| random.normal(i) as f32).collect() };
    let inputs: Vec<Vec<f32>> = whole.inputs.iter().map(|p| filled(&whole.value(p.value).ty)).collect();
    if fresh.is_empty() {
        return Vec::new();
    }
    let model = Compiler::new(Options::default().seed(SEED)).compile_graph(whole).expect("compiles");
    let between = if wanted.is_empty() { Vec::new() } else { run(&model, &inputs) };
    let data = |id: ValueId| -> Vec<f32> {
        let value = graph.value(id);
        match &value.def {
            Def::Input(i) => inputs[*i].clone(),
            Def::Const(data) => data.to_vec(),
            Def::Param { .. } => {
                model.weight(&value.name).expect("weights").expect("of this name").into_data()
            }
            Def::Op { .. } => between[wanted.binary_search(&id).expect("an output")].clone(),
        }
    };
    let layer = |id: ValueId| -> Option<Layer> {
        let value = graph.value(id);
        let Def::Op { op, inputs } = &value.def else { return None };
        let inputs = inputs.iter().map(|i| (graph.value(*i).ty.clone(), data(*i))).collect();
        Some(Layer { name: value.name.clone(), op: op.clone(), inputs, out: value.ty.clone() })
    };
    fresh.into_iter().filter_map(layer).collect()
}

/// What machine code makes of a layer alone: activations are inputs, all else weights.
fn machine(layer: &Layer) -> Vec<f32> {
    let mut graph = Graph::new("layer");
    let (mut given, mut weights, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (ty, data)) in layer.inputs.iter().enumerate() {
        let name = format!("x{i}");
        ids.push(if ty.is_activation() {
            given.push(data.clone());
            graph.input(&name, ty.clone(), order(ty))
        } else {
            weights.push((name.clone(), data));
            graph.param(&name, ty.clone(), Init::Constant(0.0), true)
        });
    }
    let (out, _) = graph.op("y", layer.op.clone(), &ids).expect("it was accepted before");
    graph.output("y", out, order(&layer.out));
    let mut model = Compiler::new(Options::default()).compile_graph(graph).expect("compiles");
    for (name, data) in weights {
        model.set_weight(&name, TensorView::from(data)).expect("fits");
    }
    run(&model, &given).remove(0)
}

/// Sums of one element in `f64` and in `f32`, one product after another.
#[derive(Default)]
struct Chain {
    wide: f64,
    plain: f32,
}

impl Chain {
    fn add(&mut self, a: f32, b: f32) {
        self.wide += f64::from(a) * f64::from(b);
        self.plain = a.mul_add(b, self.plain);
    }

    /// With a bias behind the sum.
    fn biased(self, bias: Option<f32>) -> (f64, f32) {
        bias.map_or((self.wide, self.plain), |b| (self.wide + f64::from(b), self.plain + b))
    }
}

/// For some elements of a layer its place, its value in `f64`, and that of the plain chain.
type Sampled = Vec<(usize, f64, f32)>;

/// Places that are looked at: all over, at every phase of what has a small period.
fn sampled(len: usize) -> impl Iterator<Item = usize> {
    let step = (len / SAMPLES).max(1) | 1;
    (0..len).step_by(step)
}

/// The index of element `at` of dimensions `dims`.
fn index(mut at: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (d, extent) in dims.iter().enumerate().rev() {
        (index[d], at) = (at % extent, at / extent);
    }
    index
}

fn offset(index: &[usize], dims: &[usize]) -> usize {
    index.iter().zip(dims).fold(0, |at, (i, d)| at * d + i)
}

/// The set of weights of a position, as an index.
fn set(g: &Geometry, p: &[usize]) -> Vec<usize> {
    match &g.share {
        Share::All => Vec::new(),
        Share::None => p.to_vec(),
        Share::Tile(t) => p.iter().zip(t).map(|(p, t)| p % t).collect(),
    }
}

/// For output channel `o`: each input channel that feeds it, with the weight's index of channels.
fn links(g: &Geometry, o: usize, inputs: usize, outputs: usize) -> Vec<(usize, Vec<usize>)> {
    match &g.links {
        Linking::Dense => (0..inputs).map(|i| (i, vec![o, i])).collect(),
        Linking::Groups(n) => {
            let each = inputs / n;
            (0..each).map(|i| (o / (outputs / n) * each + i, vec![o, i])).collect()
        }
        Linking::Table(t) => {
            let before: usize = t.rows[..o].iter().map(Vec::len).sum();
            t.rows[o].iter().enumerate().map(|(l, i)| (*i as usize, vec![before + l])).collect()
        }
    }
}

fn conv(layer: &Layer, g: &Geometry, windows: &[Window], biased: bool) -> Sampled {
    let [(x_ty, x), (w_ty, w)] = &layer.inputs[..2] else { panic!("a convolution") };
    let taps: Vec<usize> = windows.iter().map(|w| w.kernel).collect();
    let one = |at: usize| {
        let y = index(at, layer.out.dims());
        let (n, o, p) = (y[0], y[1], &y[2..]);
        // Where each tap that meets the input lies, in a channel and in a kernel.
        let mut places: Vec<(usize, usize)> = Vec::new();
        for_each_index(&taps, |k| {
            let q: Vec<i64> = windows.iter().zip(p).zip(k).map(|((w, p), k)| w.position(*p, *k)).collect();
            if q.iter().zip(x_ty.grid_dims()).all(|(q, e)| (0..*e as i64).contains(q)) {
                let q: Vec<usize> = q.iter().map(|q| *q as usize).collect();
                let k: Vec<usize> =
                    k.iter().zip(&taps).map(|(k, e)| if g.flip { e - 1 - k } else { *k }).collect();
                places.push((offset(&q, x_ty.grid_dims()), offset(&k, &taps)));
            }
        });
        let plane: usize = x_ty.grid_dims().iter().product();
        let size: usize = taps.iter().product();
        let w_dims = &w_ty.dims()[..w_ty.dims().len() - taps.len()];
        let mut chain = Chain::default();
        for (i, pair) in links(g, o, x_ty.c(), layer.out.c()) {
            let set: Vec<usize> = set(g, p).into_iter().chain(pair).collect();
            let (channel, kernel) = ((n * x_ty.c() + i) * plane, offset(&set, w_dims) * size);
            places.iter().for_each(|(q, k)| chain.add(w[kernel + k], x[channel + q]));
        }
        let bias = biased.then(|| {
            let (ty, b) = &layer.inputs[2];
            b[offset(&set(g, p).into_iter().chain([o]).collect::<Vec<_>>(), ty.dims())]
        });
        let (wide, plain) = chain.biased(bias);
        (at, wide, plain)
    };
    sampled(layer.out.len()).map(one).collect()
}

/// The transpose: all positions of the input that reach an output, of dense layers whose positions share weights.
fn unconv(layer: &Layer, windows: &[Window], biased: bool) -> Sampled {
    let [(x_ty, x), (w_ty, w)] = &layer.inputs[..2] else { panic!("a convolution") };
    let taps: Vec<usize> = windows.iter().map(|w| w.kernel).collect();
    let one = |at: usize| {
        let y = index(at, layer.out.dims());
        let (n, o, q) = (y[0], y[1], &y[2..]);
        let mut chain = Chain::default();
        for i in 0..x_ty.c() {
            for_each_index(&taps, |k| {
                let from = windows.iter().zip(q).zip(k).map(|((w, q), k)| {
                    let ahead = (q + w.lo).checked_sub(k * w.dilation)?;
                    (ahead.is_multiple_of(w.stride) && ahead / w.stride < w.out).then_some(ahead / w.stride)
                });
                if let Some(p) = from.collect::<Option<Vec<usize>>>() {
                    let x_at: Vec<usize> = [n, i].into_iter().chain(p).collect();
                    let w_at: Vec<usize> = [i, o].into_iter().chain(k.iter().copied()).collect();
                    chain.add(w[offset(&w_at, w_ty.dims())], x[offset(&x_at, x_ty.dims())]);
                }
            });
        }
        let (wide, plain) = chain.biased(biased.then(|| layer.inputs[2].1[o]));
        (at, wide, plain)
    };
    sampled(layer.out.len()).map(one).collect()
}

fn dense(layer: &Layer, biased: bool) -> Sampled {
    let [(_, x), (w_ty, w)] = &layer.inputs[..2] else { panic!("a dense layer") };
    let (outs, ins) = (w_ty.dims()[0], w_ty.dims()[1]);
    let one = |at: usize| {
        let mut chain = Chain::default();
        for i in 0..ins {
            chain.add(w[at % outs * ins + i], x[at / outs * ins + i]);
        }
        let (wide, plain) = chain.biased(biased.then(|| layer.inputs[2].1[at % outs]));
        (at, wide, plain)
    };
    sampled(layer.out.len()).map(one).collect()
}

/// The same in plain `f32` for what adds up otherwise; `None` for what rounds once or not at all.
fn plainly(layer: &Layer) -> Option<Vec<f32>> {
    let (x_ty, x) = &layer.inputs[0];
    let at = |i: &[usize]| x[offset(i, x_ty.dims())];
    let channel = |i: usize| index(i, layer.out.dims())[1];
    let each = |f: &dyn Fn(usize) -> f32| Some((0..layer.out.len()).map(f).collect());
    // The channels of the position of element `i`.
    let along = |i: usize| -> Vec<f32> {
        let mut place = index(i, x_ty.dims());
        (0..x_ty.c())
            .map(|c| {
                place[1] = c;
                at(&place)
            })
            .collect()
    };
    if let Op::BatchNorm(BatchNorm { eps, .. }) = &layer.op {
        let [w, b, mean, var] = [1, 2, 3, 4].map(|i| &layer.inputs[i].1);
        return each(&|i| {
            let c = channel(i);
            (x[i] - mean[c]) / (var[c] + eps).sqrt() * w[c] + b[c]
        });
    }
    if let Op::Softmax(Softmax { log }) = &layer.op {
        return each(&|i| {
            let all = along(i);
            let most = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = all.iter().map(|a| libm::expf(a - most)).sum();
            if *log { x[i] - most - libm::logf(sum) } else { libm::expf(x[i] - most) / sum }
        });
    }
    if let Op::Lrn(Lrn { size, alpha, beta, k }) = &layer.op {
        return each(&|i| {
            let (all, c) = (along(i), channel(i));
            let near = &all[c.saturating_sub(size / 2)..=(c + (size - 1) / 2).min(all.len() - 1)];
            let sum = near.iter().fold(0.0f32, |s, a| a.mul_add(*a, s));
            x[i] / libm::powf(k + alpha / *size as f32 * sum, *beta)
        });
    }
    let Op::Pool(Pool { kind: PoolKind::Avg, over, count_pad, partial }) = &layer.op else { return None };
    let rank = x_ty.rank();
    let windows: Vec<Window> = match over {
        Over::Window(spec) => spec.resolve(x_ty, *partial).expect("accepted").0,
        Over::Global => {
            let whole =
                |e: &usize| Window { input: *e, out: 1, kernel: *e, stride: 1, dilation: 1, lo: 0, hi: 0 };
            x_ty.grid_dims().iter().map(whole).collect()
        }
        Over::Grid(_) | Over::Channels { .. } => return None,
    };
    if *count_pad || *partial {
        return None;
    }
    let taps: Vec<usize> = windows.iter().map(|w| w.kernel).collect();
    each(&|i| {
        let mut y = index(i, layer.out.dims());
        y.resize(2 + rank, 0);
        let (mut sum, mut count) = (0.0f32, 0);
        for_each_index(&taps, |k| {
            let q: Vec<i64> =
                windows.iter().zip(&y[2..]).zip(k).map(|((w, p), k)| w.position(*p, *k)).collect();
            if q.iter().zip(x_ty.grid_dims()).all(|(q, e)| (0..*e as i64).contains(q)) {
                let place: Vec<usize> = y[..2].iter().copied().chain(q.iter().map(|q| *q as usize)).collect();
                sum += at(&place);
                count += 1;
            }
        });
        sum / count as f32
    })
}

fn expected(layer: &Layer) -> Sampled {
    if let Op::Conv(c) = &layer.op {
        let windows = c.windows(&layer.inputs[0].0).expect("accepted").0;
        return conv(layer, &c.geometry, &windows, c.bias);
    }
    if let Op::Unconv(c) = &layer.op
        && c.geometry.share == Share::All
        && c.geometry.links == Linking::Dense
        && !c.geometry.flip
    {
        let windows = c.geometry.window.resolve(&layer.out, false).expect("accepted").0;
        return unconv(layer, &windows, c.bias);
    }
    if let Op::Dense(d) = &layer.op {
        return dense(layer, d.bias);
    }
    let arrays: Vec<Array> = layer.inputs.iter().map(|(ty, data)| Array::from_f32(ty.dims(), data)).collect();
    let wide = layer.op.rules().reference(&arrays.iter().collect::<Vec<_>>(), &layer.out).data;
    let plain = plainly(layer).unwrap_or_else(|| wide.iter().map(|y| *y as f32).collect());
    wide.into_iter().zip(plain).enumerate().map(|(i, (a, b))| (i, a, b)).collect()
}

/// `||found - wide|| / ||wide||`
fn error(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (apart, whole) = pairs.fold((0.0, 0.0), |(a, b), (x, y)| (a + (x - y) * (x - y), b + y * y));
    if apart == 0.0 { 0.0 } else { (apart / whole).sqrt() }
}

#[test]
fn no_layer_of_an_example_rounds_much_worse_than_a_plain_chain() {
    let mut seen = BTreeSet::new();
    let mut all: Vec<(String, Layer)> = Vec::new();
    for file in names() {
        let options = reduced(&file).into_iter().fold(Options::default(), |o, (k, v)| o.set(k, v));
        let path = root().join("examples").join(&file);
        let checked = Compiler::new(options).check(&path.to_string_lossy(), &read(&path), &Files);
        for net in &checked.program.nets {
            let layers = layers(net.graph.clone(), &mut seen);
            all.extend(layers.into_iter().map(|l| (format!("{file} {}", net.name), l)));
        }
    }
    let asked = std::env::var("CNNC_ACCURACY").ok().and_then(|f| f.parse().ok());
    let (factor, floor) = asked.map_or((FACTOR, FLOOR), |f: f64| (f, 0.0));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        loop {
            let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some((place, layer)) = all.get(i) else { return wrong };
            let (found, expected) = (machine(layer), expected(layer));
            let ours = error(expected.iter().map(|(at, wide, _)| (f64::from(found[*at]), *wide)));
            let plain = error(expected.iter().map(|(_, wide, plain)| (f64::from(*plain), *wide)));
            if ours.is_nan() || ours > factor * plain + floor {
                let (kind, shape) = (layer.op.rules().kind(), &layer.inputs[0].0);
                wrong.push(format!(
                    "{place}: {} ({kind} of {shape}): {ours:.2e}, a plain chain {plain:.2e}, {:.2} times",
                    layer.name,
                    ours / plain
                ));
            }
        }
    };
    let mut wrong: Vec<String> = std::thread::scope(|s| {
        let other = s.spawn(work);
        let mut wrong = work();
        wrong.extend(other.join().expect("no panic"));
        wrong
    });
    wrong.sort();
    assert!(all.len() > 200, "only {} layers", all.len());
    assert!(wrong.is_empty(), "{} of {} layers:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// Of some 3x3 layers: gradients by the weight sum over all positions of all samples.
#[test]
fn gradients_by_weights_round_no_worse_than_twice_a_plain_chain() {
    let mut wrong = Vec::new();
    for (batch, c, o, [h, w], dilate) in [
        (1, 64, 64, [28, 28], 1),
        (8, 32, 16, [14, 14], 1),
        (2, 16, 48, [9, 57], 1),
        (8, 128, 128, [7, 7], 1),
        (16, 128, 128, [7, 7], 1),
        (2, 16, 16, [20, 20], 2),
    ] {
        let text = format!(
            "net N(x: [c: {c}, h: {h}, w: {w}]) -> [c: {o}, h: {h}, w: {w}] {{ x |> conv({o}, 3x3, pad: same, dilate: {dilate}, bias: false) as y }}"
        );
        let checked = Compiler::new(Options::default().batch(batch)).check("net.cnn", &text, &Files);
        let graph = &checked.program.nets.first().expect("a net").graph;
        let (id, geometry) = graph
            .ids()
            .find_map(|id| match &graph.value(id).def {
                Def::Op { op: Op::Conv(conv), .. } => Some((id, conv.geometry.clone())),
                _ => None,
            })
            .expect("a convolution");
        let Def::Op { inputs, .. } = &graph.value(id).def else { continue };
        let random = Random::new(SEED, "gradients");
        let drawn = |ty: &TensorTy, first: u64, floor: f32| -> Vec<f32> {
            (0..ty.len() as u64).map(|i| (random.normal(first + i) as f32).max(floor)).collect()
        };
        let (x_ty, y_ty) = (graph.value(inputs[0]).ty.clone(), graph.value(id).ty.clone());
        let x = drawn(&x_ty, 0, 0.0);
        let dy = drawn(&y_ty, 1 << 40, f32::NEG_INFINITY);
        let layer = Layer {
            name: text.clone(),
            op: Op::ConvGrad(ConvGrad { geometry }),
            inputs: vec![(x_ty.clone(), x.clone()), (y_ty.clone(), dy.clone())],
            out: graph.value(inputs[1]).ty.clone(),
        };
        let found = machine(&layer);
        let mut sums = Vec::new();
        for at in sampled(layer.out.len()) {
            let k = index(at, layer.out.dims());
            let mut chain = Chain::default();
            for_each_index(&[batch, h, w], |p| {
                let seen = |p: usize, k: usize| (p + k * dilate).checked_sub(dilate);
                if let (Some(r), Some(q)) = (seen(p[1], k[2]), seen(p[2], k[3]))
                    && r < h
                    && q < w
                {
                    chain.add(
                        x[offset(&[p[0], k[1], r, q], x_ty.dims())],
                        dy[offset(&[p[0], k[0], p[1], p[2]], y_ty.dims())],
                    );
                }
            });
            sums.push((f64::from(found[at]), chain.wide, f64::from(chain.plain)));
        }
        let ours = error(sums.iter().map(|(found, wide, _)| (*found, *wide)));
        let plain = error(sums.iter().map(|(_, wide, plain)| (*plain, *wide)));
        if ours > FACTOR * plain {
            wrong.push(format!("batch {batch}, {text}: {ours:.2e}, a plain chain {plain:.2e}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
