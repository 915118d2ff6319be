//! Seeded random networks: written as `.cnn` text stage by stage, each stage kept if the program still checks, then run as the
//! `f64` reference, in the loop interpreter, and as machine code for every target, thread count, and with passes on and off.
//!
//! `CNNC_RANDOM=N` sets how many networks (default 200), `CNNC_RANDOM_SEED=S` where they start; a failure prints the program
//! with the seed that makes it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cnnc::kernels::isa::Isa;
use cnnc::passes::Level;
use cnnc::resolve::NoFiles;
use cnnc::runtime::threads::{OneThread, Pool};
use cnnc::session::{Compiler, Model, Options, Outputs};
use cnnc::tensor::compare::{Tolerance, compare};
use cnnc::tensor::owned::TensorView;

/// A generator small enough to read (SplitMix64, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Uniform in -1..1.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// A program under construction: `let` lines over values `v0, v1, …`.
struct Draft {
    head: String,
    lets: Vec<String>,
    values: usize,
    outputs: Vec<String>,
}

impl Draft {
    fn text(&self) -> String {
        let value = match self.outputs.as_slice() {
            [one] => one.clone(),
            many => format!("({})", many.join(", ")),
        };
        format!("{} {{\n    {}\n    {value}\n}}\n", self.head, self.lets.join("\n    "))
    }
}

/// One stage; whether its arguments fit is for the compiler to say.
fn stage(r: &mut Random, rank: usize) -> String {
    let extent = |r: &mut Random, max: usize| -> String {
        let list: Vec<String> = (0..rank).map(|_| (1 + r.below(max)).to_string()).collect();
        if rank == 0 { "1".into() } else { list.join("x") }
    };
    let pad = |r: &mut Random| r.pick(&["valid", "same", "same_lo", "full", "1", "2"]);
    let channels = |r: &mut Random| r.pick(&[1, 2, 3, 4, 5, 6, 8, 12, 16]);
    match r.below(20) {
        0..=4 => {
            let (c, k, p) = (channels(r), extent(r, 4), pad(r));
            let stride = if r.below(3) == 0 { format!(", stride: {}", extent(r, 3)) } else { String::new() };
            let more = r.pick(&[
                "",
                "",
                "",
                ", dilate: 2",
                ", groups: 2",
                ", groups: it.c",
                ", bias: false",
                ", share: none",
                ", share: tile(2)",
                ", flip: true",
            ]);
            format!("{{ it |> conv({c}, {k}, pad: {p}{stride}{more}) }}")
        }
        5 => {
            let (c, k) = (channels(r), extent(r, 3));
            let more = r.pick(&["", ", stride: 2", ", stride: 2, pad: same", ", pad: 1", ", groups: 2"]);
            format!("unconv({c}, {k}{more})")
        }
        6 => "batchnorm".to_owned(),
        7..=9 => {
            let name = r.pick(&["maxpool", "avgpool"]);
            let k = extent(r, 3);
            let more = r.pick(&["", ", stride: 1", ", stride: 1, pad: same", ", partial: true"]);
            r.pick(&[
                format!("{name}({k}{more})").as_str(),
                "maxpool(c: 2)",
                "avgpool(global)",
                "avgpool(grid: 2)",
            ])
            .to_owned()
        }
        10..=12 => r
            .pick(&[
                "relu",
                "tanh",
                "sigmoid",
                "silu",
                "elu",
                "leaky_relu",
                "gelu",
                "hard_swish",
                "abs",
                "softplus",
                "clip(-0.5, 0.75)",
                "bias",
                "scale",
                "prelu",
                "dropout(0.5)",
                "identity",
            ])
            .to_owned(),
        13 => r.pick(&["softmax", "layernorm", "lrn", "groupnorm(2)", "instancenorm"]).to_owned(),
        14 => r.pick(&["flatten", "dense(7)", "dense(3)"]).to_owned(),
        15 => r
            .pick(&[
                "upsample(2)",
                "shuffle(2)",
                "depth_to_space(2)",
                "space_to_depth(2)",
                "flip(axis: h)",
                "crop(1)",
            ])
            .to_owned(),
        16 => format!("batchnorm |> {}", r.pick(&["relu", "tanh"])),
        17..=18 => format!(
            "conv({}, {}, pad: same, bias: false) |> batchnorm |> relu",
            channels(r),
            r.pick(&[1, 3, 5])
        ),
        _ => "{ it * 0.5 + 0.25 }".to_owned(),
    }
}

fn checks(text: &str) -> bool {
    let options = Options { fixes: false, ..Options::default() };
    !Compiler::new(options).check("random", text, &NoFiles).has_errors()
}

/// The program of a seed.
pub(crate) fn of_seed(seed: u64) -> String {
    program(&mut Random(seed))
}

/// A program that checks.
fn program(r: &mut Random) -> String {
    let rank = r.pick(&[1, 2, 2, 2, 3]);
    let axes = ["h", "w", "d"];
    let mut shape: Vec<String> = axes[..rank]
        .iter()
        .map(|a| format!("{a}: {}", 1 + r.below(if rank == 3 { 6 } else { 11 })))
        .collect();
    // The channel axis stands anywhere: it is only the layout of the buffer.
    shape.insert(r.below(rank + 1), format!("c: {}", r.pick(&[1, 2, 3, 4, 6, 8])));
    let head = format!("net Random(x: [{}])", shape.join(", "));
    let mut draft = Draft { head, lets: vec!["let v0 = x".into()], values: 1, outputs: vec!["v0".into()] };
    let wanted = 2 + r.below(8);
    let mut tries = 0;
    while draft.values <= wanted && tries < 40 {
        tries += 1;
        let from = if r.below(4) == 0 { r.below(draft.values) } else { draft.values - 1 };
        let other = r.below(draft.values);
        let value = match r.below(6) {
            0 => format!("v{from} {} v{other}", r.pick(&["+", "-", "*"])),
            1 => format!("{}(v{from}, v{other})", r.pick(&["concat", "max", "min"])),
            _ => format!("v{from} |> {}", stage(r, rank)),
        };
        draft.lets.push(format!("let v{} = {value}", draft.values));
        draft.outputs = vec![format!("v{}", draft.values)];
        if checks(&draft.text()) {
            draft.values += 1;
        } else {
            draft.lets.pop();
            draft.outputs = vec![format!("v{}", draft.values - 1)];
        }
    }
    if r.below(3) == 0 {
        draft.outputs.push(format!("v{}", r.below(draft.values)));
    }
    let text = draft.text();
    if checks(&text) {
        return text;
    }
    draft.outputs.truncate(1);
    draft.text()
}

/// The error of outputs against expected numbers, relative to the largest expected magnitude.
fn error(found: &Outputs, expected: &[Vec<f64>]) -> f64 {
    let none = Tolerance { rtol: 0.0, atol: 0.0 };
    let worst = found.iter().zip(expected).map(|((_, t), e)| {
        let c = compare(t.data(), e, none);
        if c.special > 0 { f64::INFINITY } else { c.max_abs / c.scale.max(1e-2) }
    });
    worst.fold(0.0, f64::max)
}

fn wide(outputs: &Outputs) -> Vec<Vec<f64>> {
    outputs.iter().map(|(_, t)| t.data().iter().map(|x| f64::from(*x)).collect()).collect()
}

/// Greatest error against the reference: sums in another order, and normalisations that enlarge it.
const REFERENCE: f64 = 1e-3;
/// Greatest error between interpreter and machine code: functions in other polynomials only.
const MACHINE: f64 = 1e-4;

/// All engines on one program; what went wrong.
fn compare_engines(text: &str, r: &mut Random, pool: &Arc<Pool>) -> Result<(), String> {
    let batch = r.pick(&[1, 3]);
    let options = Options { fixes: false, ..Options::default() }.batch(batch).threads(1).seed(r.next());
    let compile = |isa: Isa, level: Level| -> Result<Model, String> {
        Compiler::new(options.clone().isa(isa).level(level)).compile_text(text).map_err(|e| e.to_string())
    };
    let native = compile(Isa::detect(), Level::All)?;
    let data: Vec<f32> = (0..native.inputs()[0].len()).map(|_| r.number()).collect();
    let inputs = [("x", TensorView::from(&data))];
    let expected: Vec<Vec<f64>> =
        native.run_reference(&inputs).map_err(|e| e.to_string())?.into_iter().map(|o| o.1).collect();
    let close = |what: &str, found: &Outputs, expected: &[Vec<f64>], limit: f64| {
        let e = error(found, expected);
        if e <= limit { Ok(()) } else { Err(format!("{what}: error {e:.2e} of the scale, batch {batch}")) }
    };
    let others = [
        ("baseline", compile(Isa::baseline(), Level::All)?),
        ("without passes", compile(r.pick(&[&Isa::baseline(), &Isa::detect()]).clone(), Level::Needed)?),
        ("exact", {
            let exact = options.clone().isa(Isa::detect()).exact(true);
            Compiler::new(exact).compile_text(text).map_err(|e| e.to_string())?
        }),
        ("native", native),
    ];
    for (what, model) in others {
        let run = |m: &Model| m.run(&inputs).map_err(|e| format!("{what}: {e}"));
        let one = run(&model.clone().with_executor(Arc::new(OneThread)))?;
        close(what, &one, &expected, REFERENCE)?;
        if run(&model.clone().with_executor(pool.clone()))? != one {
            return Err(format!("{what}: other bits on two threads"));
        }
        let interpreted = model.run_interpreted(&inputs).map_err(|e| format!("{what}: {e}"))?;
        close(&format!("{what}, interpreter"), &interpreted, &wide(&one), MACHINE)?;
    }
    Ok(())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn random_networks_are_the_same_on_every_engine() {
    let (count, first) = (setting("CNNC_RANDOM", 200), setting("CNNC_RANDOM_SEED", 0));
    let next = AtomicU64::new(first);
    let stages = AtomicU64::new(0);
    let work = || {
        let pool = Arc::new(Pool::new(2).expect("a thread"));
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let mut r = Random(seed);
            let text = program(&mut r);
            stages.fetch_add(text.lines().count() as u64 - 3, Ordering::Relaxed);
            if let Err(what) = compare_engines(&text, &mut r, &pool) {
                panic!("{what}\nCNNC_RANDOM=1 CNNC_RANDOM_SEED={seed} makes it again:\n{text}");
            }
        }
    };
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..2).map(|_| s.spawn(work)).collect();
        threads.into_iter().for_each(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
    });
    // Most stages must fit somewhere, or the test says little.
    assert!(stages.into_inner() >= count * 4, "the programs are too small");
}
