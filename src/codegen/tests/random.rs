//! Machine code against the loop interpreter on random nests, whose loops get random kinds: at every level of instruction
//! set, on one, two and three threads.

use crate::codegen::compile;
use crate::codegen::tests::levels;
use crate::kernels::isa::Isa;
use crate::kernels::x86::Unit;
use crate::loops::interp::run_all;
use crate::loops::random::{Rng, data, nest};
use crate::loops::walk::{each, subst};
use crate::loops::{Affine, BinOp, Expr, LANES, LoopKind, Nest, Stmt, UnOp, Var, verify};
use crate::runtime::program::{Memory, Place, Program, Sizes, Step};
use crate::runtime::threads::{Executor, OneThread, Pool};

/// Puts perfectly nested independent loops into random order, and splits those of several vectors.
fn shuffle(nest: &mut Nest, stmts: Vec<Stmt>, rng: &mut Rng) -> Vec<Stmt> {
    let mut out = Vec::new();
    for mut s in stmts {
        let mut chain = Vec::new();
        let mut inner = loop {
            match s {
                Stmt::For { var, extent, kind: LoopKind::Free, mut body } => {
                    let lanes = rng.pick(&[LANES, LANES, 2, 6, 8, 12, 16]);
                    if extent > lanes && extent.is_multiple_of(lanes) && rng.below(4) > 0 {
                        let part = nest.fresh_var("part");
                        subst(&mut body, var, &Affine::from(part).plus(var, lanes as i64));
                        chain.extend([(var, extent / lanes), (part, lanes)]);
                    } else {
                        chain.push((var, extent));
                    }
                    match body.len() {
                        1 => s = body.remove(0),
                        _ => break body,
                    }
                }
                s => break vec![s],
            }
        };
        for s in &mut inner {
            if let Stmt::For { body, .. } | Stmt::If { then: body, .. } = s {
                *body = shuffle(nest, std::mem::take(body), rng);
            }
        }
        // Vectors stand innermost more often than chance has it.
        for i in (1..chain.len()).rev() {
            chain.swap(i, rng.below(i + 1));
        }
        if rng.below(2) == 0 {
            chain.sort_by_key(|c| std::cmp::Reverse(c.1 == LANES || c.1 >= 12));
        }
        for (var, extent) in chain {
            inner = vec![Stmt::For { var, extent, kind: LoopKind::Free, body: inner }];
        }
        out.append(&mut inner);
    }
    out
}

/// The kind of the loop over `var`, wherever it stands.
fn set_kind(stmts: &mut [Stmt], wanted: Var, to: LoopKind) {
    for s in stmts {
        if let Stmt::For { var, kind, .. } = s
            && *var == wanted
        {
            *kind = to;
        }
        set_kind(s.inner_mut(), wanted, to);
    }
}

/// The nest with loops in random order and of random kinds, as far as its verifier accepts them.
fn shuffled(mut nest: Nest, rng: &mut Rng) -> Nest {
    crate::loops::blocks::expand(&mut nest);
    let body = std::mem::take(&mut nest.body);
    nest.body = shuffle(&mut nest, body, rng);
    let mut loops = Vec::new();
    each(&nest.body, &mut |s| {
        if let Stmt::For { var, extent, kind: LoopKind::Free, .. } = s {
            loops.push((*var, *extent));
        }
    });
    for (var, extent) in loops.into_iter().rev() {
        let vector = (extent == LANES || rng.below(2) == 0) && rng.below(3) > 0;
        let kind = if vector { LoopKind::Vec } else { rng.pick(&[LoopKind::Free, LoopKind::Jam]) };
        set_kind(&mut nest.body, var, kind);
        if verify(&nest).is_err() {
            set_kind(&mut nest.body, var, LoopKind::Free);
        }
    }
    let mut shared = nest.clone();
    for s in &mut shared.body {
        if let Stmt::For { kind, .. } = s {
            *kind = LoopKind::Par;
        }
    }
    if verify(&shared).is_ok() { shared } else { nest }
}

/// Whether all results must be the interpreter's bits, which no function of the mathematical kind gives.
fn exact(nest: &Nest) -> bool {
    let mut exact = true;
    each(&nest.body, &mut |s| {
        if let Some(e) = s.expr() {
            e.each(&mut |e| {
                exact &= !matches!(
                    e,
                    Expr::Un(UnOp::Exp | UnOp::Log | UnOp::Tanh | UnOp::Erf, _) | Expr::Bin(BinOp::Pow, ..)
                );
            });
        }
    });
    exact
}

/// Runs the nest's code on `executor`.
fn execute(nest: &Nest, isa: &Isa, bufs: &[Vec<f32>], executor: &dyn Executor) -> Vec<Vec<f32>> {
    let code = compile(std::slice::from_ref(nest), isa).unwrap_or_else(|e| panic!("{e}\n{nest}"));
    let (mut sizes, mut places) = (Sizes::default(), Vec::new());
    for b in &nest.bufs {
        let list = if b.writable { &mut sizes.outputs } else { &mut sizes.inputs };
        list.push(b.len);
        let number = list.len() - 1;
        places.push(if b.writable { Place::Output(number) } else { Place::Input(number) });
    }
    let step = Step { entry: 0, bufs: places };
    let program = Program::new(&[step], code.entries(), sizes).unwrap_or_else(|e| panic!("{e}\n{nest}"));
    let mut all = bufs.to_vec();
    let (mut inputs, mut outputs): (Vec<&[f32]>, Vec<&mut [f32]>) = (Vec::new(), Vec::new());
    for (decl, buf) in nest.bufs.iter().zip(&mut all) {
        if decl.writable { outputs.push(buf) } else { inputs.push(buf) }
    }
    let memory = Memory { inputs: &inputs, outputs, ..Memory::default() };
    program.run(memory, executor).expect("buffers of the declared lengths");
    all
}

fn compare(seed: u64, before: &Nest, after: &Nest, isa: &Isa, pools: &[&dyn Executor]) {
    let mut want = data(before, seed);
    run_all(before, &mut want, isa.fuses()).expect("the interpreter runs it");
    let bufs = data(before, seed);
    let mut first: Option<Vec<Vec<f32>>> = None;
    for pool in pools {
        let got = execute(after, isa, &bufs, *pool);
        let context = || format!("seed {seed}, {} on {} threads\n{after}", isa.name(), pool.threads());
        for (buf, (got, want)) in got.iter().zip(&want).enumerate() {
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                let near = || (got - want).abs() <= 1e-5 * want.abs().max(1e-3);
                let same = got == want || (got.is_nan() && want.is_nan()) || (!exact(after) && near());
                assert!(same, "buffer {buf}, element {i}: {got}, not {want}\n{}", context());
            }
        }
        let bits = |b: &[Vec<f32>]| b.iter().flatten().map(|x| x.to_bits()).collect::<Vec<u32>>();
        let same = first.as_ref().is_none_or(|first| bits(first) == bits(&got));
        assert!(same, "other bits than on one thread\n{}", context());
        first.get_or_insert(got);
    }
}

#[test]
fn random_nests_compute_what_the_interpreter_does() {
    let (two, three) = (Pool::new(2).expect("threads"), Pool::new(3).expect("threads"));
    let pools: [&dyn Executor; 3] = [&OneThread, &two, &three];
    let levels = levels();
    let (mut jams, mut vectors, mut shared) = (0, 0, 0);
    for seed in 0..1200 {
        let before = nest(seed);
        let after = shuffled(before.clone(), &mut Rng(seed));
        assert_eq!(verify(&after), Ok(()), "seed {seed}\n{after}");
        let mut kinds = Vec::new();
        each(&after.body, &mut |s| {
            if let Stmt::For { kind, .. } = s {
                kinds.push(*kind);
            }
        });
        jams += usize::from(kinds.contains(&LoopKind::Jam));
        vectors += usize::from(kinds.contains(&LoopKind::Vec));
        shared += usize::from(kinds.contains(&LoopKind::Par));
        // Every nest at the narrowest level, at a random one, and at one of those with wide vectors.
        let wide: Vec<&Isa> = levels.iter().filter(|isa| Unit::of(isa).is_some()).collect();
        let wide = (!wide.is_empty()).then(|| wide[seed as usize % wide.len()]);
        for isa in [&Isa::baseline(), &levels[seed as usize % levels.len()]].into_iter().chain(wide) {
            compare(seed, &before, &after, isa, &pools);
        }
    }
    assert!(jams > 300 && vectors > 60 && shared > 600, "{jams} jams, {vectors} vectors, {shared} shared");
}
