//! Every case of every operation on every engine: attributes print and parse back, the nest keeps the rules of its
//! verifier and prints and parses back, and the loop interpreter (raw and scheduled nests) and machine code (baseline and
//! native, one thread and two) agree with the `f64` reference, in several layouts, alone, with followers, and, of weights, with values in
//! the middle of those kept and squares summed. And every example of the catalogue compiles and agrees with the reference.

use cnnc::codegen::compile;
use cnnc::kernels::isa::Isa;
use cnnc::loops::private::privatise;
use cnnc::loops::{Nest, interp, parse, print, verify};
use cnnc::ops::binary::{Binary, BinaryFn};
use cnnc::ops::case::Case;
use cnnc::ops::lower::{Follower, LowerCx, Taken, Want};
use cnnc::ops::role::InPassing;
use cnnc::ops::squares::{self, Squares};
use cnnc::ops::unary::{Unary, UnaryFn};
use cnnc::ops::{Op, OpRules, all_cases, infos};
use cnnc::runtime::program::{Memory, Place, Program, Sizes, Step};
use cnnc::runtime::threads::{Executor, OneThread, Pool};
use cnnc::schedule::{Target, schedule};
use cnnc::session::{Compiler, Model, NoFiles, Options, Port};
use cnnc::support::random::Random;
use cnnc::tensor::array::{Array, for_each_index};
use cnnc::tensor::compare::Tolerance;
use cnnc::tensor::layout::Layout;
use cnnc::tensor::owned::Tensor;
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
    if let Want::Halo(halo) | Want::Channels(halo) = want {
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
        let to = placed.element(at);
        buf[to as usize] = *from.next().expect("as many values as the type has elements");
    });
    buf
}

/// The elements of a buffer, row-major.
fn gather(buf: &[f32], ty: &TensorTy, layout: &Layout) -> Vec<f32> {
    let placed = layout.place(ty);
    let mut out = Vec::with_capacity(ty.len());
    for_each_index(ty.dims(), |at| {
        let from = placed.element(at);
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

/// What goes on behind the operation of a case.
#[derive(Clone, Copy)]
enum Behind<'a> {
    /// Nothing.
    Nothing,
    /// An addition of this per channel, and a `tanh`.
    Added(&'a TensorTy, &'a [f32]),
    /// An addition of this of the same type, kept as the case's own result is, then a product of both; and these sums of squares.
    Kept(&'a [f32], Option<&'a Squares>),
}

/// A result of a nest: its type, how it lies, what it should be, and within which error.
struct Found {
    ty: TensorTy,
    layout: Layout,
    expected: Array,
    tolerance: f64,
}

/// A nest with the buffers it runs on; the last ones are its results.
struct Ready {
    nest: Nest,
    bufs: Vec<Vec<f32>>,
    out: Layout,
}

/// Lowers the case, with what goes on behind it.
fn ready(case: &Case, p: &Prepared, lay: Lay, behind: Behind<'_>) -> Ready {
    let types: Vec<&TensorTy> = case.inputs.iter().collect();
    let rules = case.op.rules();
    let wants = rules.wants(&types, &p.out);
    let layouts: Vec<Layout> =
        types.iter().zip(&wants.inputs).map(|(ty, want)| layout(lay, ty, want)).collect();
    let out = layout(lay, &p.out, &wants.output);
    let operands: Vec<(&TensorTy, &Layout)> = types.iter().copied().zip(&layouts).collect();
    let mut bufs: Vec<Vec<f32>> =
        p.inputs.iter().zip(&operands).map(|(data, (ty, l))| place(data, ty, l)).collect();
    let [add, mul] = [BinaryFn::Add, BinaryFn::Mul].map(Binary::of);
    let tanh = Unary::of(UnaryFn::Tanh);
    let per_channel = Layout::canonical(1);
    let (mut extras, mut followers) = (Vec::new(), Vec::new());
    match behind {
        Behind::Nothing => {}
        Behind::Added(ty, data) => {
            extras.push((ty, &per_channel));
            bufs.push(place(data, ty, &per_channel));
            followers.push((add.scalar(), vec![Taken::Extra(0), Taken::Member(0)]));
            followers.push((tanh.scalar(), vec![Taken::Member(1)]));
        }
        Behind::Kept(data, _) => {
            extras.push((&p.out, &out));
            bufs.push(place(data, &p.out, &out));
            followers.push((add.scalar(), vec![Taken::Extra(0), Taken::Member(0)]));
            followers.push((mul.scalar(), vec![Taken::Member(1), Taken::Member(0)]));
        }
    }
    let followers = followers
        .into_iter()
        .map(|(scalar, operands)| Follower { scalar: scalar.expect("an elementwise operation"), operands });
    let mut cx = LowerCx::new(&case.name, &operands, &extras, (&p.out, &out), followers.collect());
    let len = out.place(&p.out).len;
    bufs.push(vec![f32::NAN; len]);
    if let Behind::Kept(_, squares) = behind {
        bufs.extend([vec![f32::NAN; len], vec![f32::NAN; len]]);
        cx = cx.keeping(0, (&p.out, &out)).keeping(1, (&p.out, &out));
        if let Some(squares) = squares {
            let sums = squares.infer(&[&p.out]).unwrap_or_else(|e| panic!("{}: {}", case.name, e.message)).ty;
            bufs.push(vec![f32::NAN; sums.len()]);
            cx = cx.summing(&InPassing::Squares(squares.clone()), (&sums, &Layout::canonical(2)), Vec::new());
        }
    }
    rules.lower(&mut cx);
    Ready { nest: cx.finish(), bufs, out }
}

fn check_nest(nest: &Nest) -> Result<(), String> {
    verify(nest).map_err(|errors| format!("verifier: {}\n{}", errors.join("\n"), print::print(nest)))?;
    let text = print::print(nest);
    let again = parse::parse(&text).map_err(|e| format!("the printed nest does not parse: {e}\n{text}"))?;
    if print::print(&again) == text { Ok(()) } else { Err(format!("prints otherwise once parsed:\n{text}")) }
}

/// A lowered case with what it should give: what every engine runs.
struct Job {
    /// Which case in which layout, for failures.
    name: String,
    ready: Ready,
    found: Vec<Found>,
}

impl Job {
    /// The number of the first result's buffer.
    fn first(&self) -> usize {
        self.ready.bufs.len() - self.found.len()
    }

    fn compare(&self, engine: &str, bufs: &[Vec<f32>], nest: &Nest) -> Result<(), String> {
        for (i, (f, buf)) in self.found.iter().zip(bufs).enumerate() {
            if let Some(text) = difference(&gather(buf, &f.ty, &f.layout), &f.expected, f.tolerance) {
                return Err(format!("{}: {engine}: result {i}: {text}\n{}", self.name, print::print(nest)));
            }
        }
        Ok(())
    }
}

/// Every layout of a case, alone, and once with followers.
fn jobs(module: &str, case: &Case) -> Result<Vec<Job>, String> {
    let p = prepare(case)?;
    let found = |layout: &Layout, expected: Array, tolerance| Found {
        ty: p.out.clone(),
        layout: layout.clone(),
        expected,
        tolerance,
    };
    let mut jobs: Vec<Job> = LAYS
        .into_iter()
        .map(|lay| {
            let ready = ready(case, &p, lay, Behind::Nothing);
            let found = vec![found(&ready.out, p.expected.clone(), case.tolerance)];
            Job { name: format!("{module}: {}: {lay:?}", case.name), ready, found }
        })
        .collect();
    let scale = p.expected.data.iter().fold(1.0f64, |m, x| if x.is_finite() { m.max(x.abs()) } else { m });
    if !p.out.is_activation() {
        jobs.extend(kept(module, case, &p, scale));
        return Ok(jobs);
    }
    // A group of fused operations: y = tanh(y + e[c]), with e small, so that tanh bends and does not hide errors.
    let ty = TensorTy::new([("c", p.out.c())]).map_err(|_| "too large".to_owned())?;
    let extra: Vec<f32> = (0..p.out.c()).map(|c| 0.25 * (c % 5) as f32 - 0.5).collect();
    let mut expected = p.expected.clone();
    let mut i = 0;
    for_each_index(p.out.dims(), |at| {
        expected.data[i] = libm::tanh(expected.data[i] + f64::from(extra[at[1]]));
        i += 1;
    });
    let ready = ready(case, &p, Lay::ChannelsLast, Behind::Added(&ty, &extra));
    // The case's own error passes a slope of at most 1; tanh's largest value may be small.
    let tolerance = (case.tolerance * scale * 4.0).max(4e-6);
    let found = vec![found(&ready.out, expected, tolerance)];
    jobs.push(Job { name: format!("{module}: {}: with followers", case.name), ready, found });
    Ok(jobs)
}

/// A result of weights that goes on, as a gradient does: z = (y + e) y, with y and y + e kept, and squares of y summed where the operation
/// can. None of what is so small or so large that squares of numbers say nothing.
fn kept(module: &str, case: &Case, p: &Prepared, scale: f64) -> Option<Job> {
    let y = &p.expected;
    if p.out.dims().is_empty() || y.data.iter().any(|x| !x.is_finite()) || scale > 1e6 {
        return None;
    }
    let types: Vec<&TensorTy> = case.inputs.iter().collect();
    let squares = squares::of(&case.op, &types, &p.out);
    let extra: Vec<f32> = (0..p.out.len()).map(|i| 0.25 * (i % 5) as f32 - 0.5).collect();
    let ready = ready(case, p, Lay::ChannelsLast, Behind::Kept(&extra, squares.as_ref()));
    let mapped = |f: &dyn Fn(f64, f64) -> f64| Array {
        dims: y.dims.clone(),
        data: y.data.iter().zip(&extra).map(|(y, e)| f(*y, f64::from(*e))).collect(),
    };
    // Sums may cancel: errors stay as large as those of what is added.
    let tolerance = case.tolerance.max(1e-6);
    let one = |expected: Array, error: f64| {
        let most = expected.data.iter().fold(f64::from(f32::MIN_POSITIVE), |m, x| m.max(x.abs()));
        Found { ty: p.out.clone(), layout: ready.out.clone(), expected, tolerance: error / most }
    };
    let mut found = vec![
        one(mapped(&|y, e| (y + e) * y), 4.0 * tolerance * scale * (scale + 1.0)),
        one(y.clone(), tolerance * scale),
        one(mapped(&|y, e| y + e), 2.0 * tolerance * (scale + 1.0)),
    ];
    if let Some(squares) = squares {
        let ty = squares.infer(&[&p.out]).unwrap_or_else(|e| panic!("{}: {}", case.name, e.message)).ty;
        let expected = squares.reference(&[y], &ty);
        let tolerance = (4.0 * tolerance).max(2e-5);
        found.push(Found { ty, layout: Layout::canonical(2), expected, tolerance });
    }
    Some(Job { name: format!("{module}: {}: going on", case.name), ready, found })
}

/// Runs a job on the interpreter, as lowered and as scheduled; the latter must give the same bits.
fn interpret(job: &Job) -> Result<(), String> {
    let nest = &job.ready.nest;
    let named = |e: String| format!("{}: {e}", job.name);
    check_nest(nest).map_err(named)?;
    for fma in [false, true] {
        let results = job.first()..job.ready.bufs.len();
        let mut raw = with_own(nest, &job.ready.bufs);
        interp::run_all(nest, &mut raw, fma).map_err(named)?;
        let raw = raw[results.clone()].to_vec();
        job.compare(&format!("interpreter, fma {fma}"), &raw, nest)?;
        let wide =
            [(8, 16), (16, 32)].map(|(lanes, vector_registers)| Target { fma, lanes, vector_registers });
        for target in [Target { fma, ..Target::NARROW }].into_iter().chain(wide.into_iter().filter(|_| fma)) {
            let mut scheduled = schedule(nest.clone(), &target).nest;
            privatise(&mut scheduled, job.ready.bufs.len());
            check_nest(&scheduled).map_err(|e| named(format!("scheduled: {e}")))?;
            let mut got = with_own(&scheduled, &job.ready.bufs);
            interp::run_all(&scheduled, &mut got, fma).map_err(named)?;
            if !same_bits(&raw, &got[results.clone()]) {
                let listing = print::print(&scheduled);
                return Err(named(format!("scheduling changed bits, {target:?}:\n{listing}")));
            }
        }
    }
    Ok(())
}

/// The buffers of a nest, those behind its result, which are its own, filled with what nobody may read.
fn with_own(nest: &Nest, bufs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let own = nest.bufs[bufs.len()..].iter().map(|b| vec![f32::NAN; b.len]);
    bufs.iter().cloned().chain(own).collect()
}

fn scheduled(nest: &Nest, fma: bool) -> Nest {
    schedule(nest.clone(), &Target { fma, ..Target::NARROW }).nest
}

fn same_bits(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    a.iter().map(Vec::len).eq(b.iter().map(Vec::len)) && a.iter().flatten().zip(b.iter().flatten()).all(same)
}

/// Runs all jobs as machine code for `isa`, on one thread and on two, which must give the same bits.
fn machine(jobs: &[Job], isa: &Isa, failures: &mut Vec<String>) {
    let pool = Pool::new(2).expect("two threads");
    let ready = |j: &Job| {
        let mut nest = scheduled(&j.ready.nest, isa.fuses());
        privatise(&mut nest, j.ready.bufs.len());
        nest
    };
    let nests: Vec<Nest> = jobs.iter().map(ready).collect();
    let code = compile(&nests, isa).unwrap_or_else(|e| panic!("{}: {e}", isa.name()));
    for ((job, nest), entry) in jobs.iter().zip(&nests).zip(code.entries()) {
        let (inputs, out) = job.ready.bufs.split_at(job.first());
        let (mut arena, mut private) = (0, 0);
        let own = nest.bufs[job.ready.bufs.len()..].iter().map(|b| {
            let at = arena;
            if !b.is_private() {
                arena += b.len;
                return Place::Arena(at);
            }
            arena += 2 * b.len;
            private += b.len;
            Place::Private { at, step: b.len, beyond: private - b.len }
        });
        let places =
            (0..inputs.len()).map(Place::Input).chain((0..out.len()).map(Place::Output)).chain(own).collect();
        let sizes = Sizes {
            arena,
            threads: 2,
            private,
            inputs: inputs.iter().map(Vec::len).collect(),
            outputs: out.iter().map(Vec::len).collect(),
            ..Sizes::default()
        };
        let step = Step { entry: 0, bufs: places };
        let program =
            Program::new(&[step], std::slice::from_ref(entry), sizes).expect("a program of one step");
        let inputs: Vec<&[f32]> = inputs.iter().map(|b| &b[..]).collect();
        let run = |executor: &dyn Executor| -> Vec<Vec<f32>> {
            let (mut out, mut arena) = (out.to_vec(), vec![f32::NAN; arena]);
            let outputs = out.iter_mut().map(Vec::as_mut_slice).collect();
            let memory = Memory { inputs: &inputs, outputs, arena: &mut arena, ..Memory::default() };
            program.run(memory, executor).expect("a run of one step");
            out
        };
        let one = run(&OneThread);
        if let Err(e) = job.compare(isa.name(), &one, nest) {
            failures.push(e);
        } else if !same_bits(&one, &run(&pool)) {
            failures.push(format!("{}: {}: two threads give other bits", job.name, isa.name()));
        }
    }
}

#[test]
fn every_case_agrees_on_every_engine() {
    let mut failures = Vec::new();
    let mut all = Vec::new();
    for (module, cases) in all_cases() {
        assert!(!cases.is_empty(), "{module} has no case");
        for case in cases {
            match jobs(module, &case) {
                Ok(jobs) => all.extend(jobs),
                Err(e) => failures.push(format!("{module}: {}: {e}", case.name)),
            }
        }
    }
    assert!(all.len() > 1000, "only {} jobs", all.len());
    let (sound, wrong): (Vec<Job>, Vec<(Job, String)>) =
        all.into_iter().fold(Default::default(), |mut to, job| {
            match interpret(&job) {
                Ok(()) => to.0.push(job),
                Err(e) => to.1.push((job, e)),
            }
            to
        });
    failures.extend(wrong.into_iter().map(|(_, e)| e));
    for isa in [Isa::baseline(), Isa::detect()] {
        machine(&sound, &isa, &mut failures);
    }
    let n = failures.len();
    let shown: Vec<String> = failures.into_iter().take(20).collect();
    assert!(n == 0, "{n} failures beside {} jobs that agree\n\n{}", sound.len(), shown.join("\n\n"));
}

/// Inputs of an example: class numbers for one called `label`, else seeded numbers in 0..1 (probabilities to a loss).
fn example_inputs(model: &Model) -> Vec<(String, Tensor)> {
    let random = |name: &str| Random::new(SEED, name);
    let fill = |port: &Port| -> Vec<f32> {
        let at = |i: usize| match &*port.name {
            "label" => random("label").below(i as u64, 4) as f32,
            name => random(name).uniform(i as u64, 0.01, 0.99),
        };
        (0..port.len()).map(at).collect()
    };
    let tensor = |port: &Port| Tensor::new(&port.axes, fill(port)).expect("the port's own axes");
    model.inputs().iter().map(|p| (p.name.to_string(), tensor(p))).collect()
}

fn run_example(name: &str, example: &str, batch: usize) -> Result<(), String> {
    let compiler = Compiler::new(Options::default().batch(batch).isa(Isa::baseline()).seed(SEED));
    let checked = compiler.check(name, example, &NoFiles);
    let found: Vec<String> =
        checked.diagnostics().iter().map(|d| format!("{}: {} {:?}", d.code, d.message, d.primary)).collect();
    if !found.is_empty() {
        return Err(format!("{}\n{example}", found.join("\n")));
    }
    let model = compiler.compile(&checked, None).map_err(|e| format!("{e}\n{example}"))?;
    let inputs = example_inputs(&model);
    let views: Vec<_> = inputs.iter().map(|(name, t)| (&**name, t.view())).collect();
    let tolerance = Tolerance { rtol: 1e-5, atol: 1e-5 };
    let (_, checks) = model.run_checked(&views, tolerance).map_err(|e| e.to_string())?;
    match checks.iter().find(|c| !c.comparison.passed()) {
        Some(bad) => Err(format!("{} differs from the reference: {:?}\n{example}", bad.name, bad.comparison)),
        None if checks.is_empty() => Err(format!("nothing was computed\n{example}")),
        None => Ok(()),
    }
}

#[test]
fn every_example_compiles_and_agrees_with_the_reference() {
    let mut failures = Vec::new();
    for info in infos() {
        for batch in [1, 3] {
            if let Err(e) = run_example(info.name, info.example, batch) {
                failures.push(format!("`{}`, batch {batch}: {e}", info.name));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} examples fail\n\n{}", failures.len(), failures.join("\n\n"));
}
