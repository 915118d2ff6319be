//! Programs over small compiled nests, on every kind of executor; the pool under hundreds of short and failing jobs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::arena::Storage;
use super::call::doubled;
use super::program::{Memory, Place, Program, RunError, Sizes, Step};
use super::threads::{Executor, OneThread, Pool};

/// input -> arena[0..n] -> arena[n..2n] -> .. -> output, `steps` steps in all.
fn chain(steps: usize, n: usize) -> Program {
    let place = |i: usize| match i {
        0 => Place::Input(0),
        i if i == steps => Place::Output(0),
        i => Place::Arena(i % 2 * n),
    };
    let steps: Vec<Step> =
        (0..steps).map(|i| Step { entry: 0, bufs: vec![place(i), place(i + 1)] }).collect();
    let sizes = Sizes { arena: 2 * n, inputs: vec![n], outputs: vec![n], ..Sizes::default() };
    Program::new(&steps, &[doubled(n, n)], sizes).expect("a sound program")
}

fn run(program: &Program, input: &[f32], executor: &dyn Executor) -> Result<Vec<f32>, RunError> {
    let mut arena = Storage::zeroed(program.sizes().arena).expect("little memory");
    let mut out = vec![0.0; program.sizes().outputs[0]];
    let memory = Memory {
        arena: arena.as_mut_slice(),
        inputs: &[input],
        outputs: vec![&mut out],
        ..Memory::default()
    };
    program.run(memory, executor)?;
    Ok(out)
}

fn expected(steps: usize, input: &[f32]) -> Vec<f32> {
    let once = |x: &Vec<f32>| x.iter().enumerate().map(|(i, x)| x * 2.0 + i as f32).collect();
    (0..steps).fold(input.to_vec(), |x, _| once(&x))
}

#[test]
fn any_number_of_threads_gives_the_same() {
    for n in [1, 2, 7, 64] {
        let program = chain(9, n);
        let input: Vec<f32> = (0..n).map(|i| i as f32 * 0.37).collect();
        let want = expected(9, &input);
        assert_eq!(run(&program, &input, &OneThread).expect("a run"), want);
        for threads in [1, 2, 3, 5, 9] {
            let pool = Pool::new(threads).expect("threads");
            assert_eq!(pool.threads(), threads);
            assert_eq!(run(&program, &input, &pool).expect("a run"), want, "{threads} threads");
        }
    }
}

#[test]
fn thousands_of_tiny_runs_also_with_more_threads_than_processors() {
    for (threads, runs) in [(2, 2000), (3, 1000), (16, 100)] {
        let pool = Pool::new(threads).expect("threads");
        let program = chain(3, 8);
        for round in 0..runs {
            let input: Vec<f32> = (0..8).map(|i| (i + round) as f32).collect();
            assert_eq!(run(&program, &input, &pool).expect("a run"), expected(3, &input));
        }
    }
}

#[test]
fn several_callers_share_a_pool_and_a_program() {
    let pool = Pool::new(2).expect("threads");
    let program = chain(4, 16);
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (pool, program) = (&pool, &program);
            scope.spawn(move || {
                for round in 0..100 {
                    let input: Vec<f32> = (0..16).map(|i| (i * caller + round) as f32).collect();
                    assert_eq!(run(program, &input, pool).expect("a run"), expected(4, &input));
                }
            });
        }
    });
}

#[test]
fn a_panic_in_any_part_comes_back_and_the_pool_lives_on() {
    let pool = Pool::new(3).expect("threads");
    for culprit in 0..3 {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(&|index| {
                if index == culprit {
                    std::panic::resume_unwind(Box::new(format!("part {index}")));
                }
            });
        }));
        let what = told.expect_err("the panic passes through").downcast::<String>().expect("a message");
        assert_eq!(*what, format!("part {culprit}"));
        let count = AtomicUsize::new(0);
        pool.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}

/// An executor whose part 1 dies before it does its work.
struct Dying<'a>(&'a Pool);

impl Executor for Dying<'_> {
    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn run(&self, body: &(dyn Fn(usize) + Sync)) {
        // The wrong number makes the region refuse the part; the barrier must then let the others go.
        self.0.run(&|index| body(if index == 1 { 99 } else { index }));
    }
}

/// An executor that runs some parts twice and in sequence.
struct Twice;

impl Executor for Twice {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, body: &(dyn Fn(usize) + Sync)) {
        body(0);
        body(0);
    }
}

#[test]
fn executors_that_break_the_contract_are_found_out() {
    let program = chain(3, 8);
    let pool = Pool::new(3).expect("threads");
    assert_eq!(run(&program, &[1.0; 8], &Dying(&pool)), Err(RunError::Executor));
    // One thread never enters the executor at all.
    assert!(run(&program, &[1.0; 8], &Twice).is_ok());
    assert!(run(&program, &[1.0; 8], &pool).is_ok());
}

#[test]
fn observers_see_every_step_and_may_panic() {
    let pool = Pool::new(2).expect("threads");
    let program = chain(3, 4);
    let input = [1.0, 2.0, 3.0, 4.0];
    let observe = |seen: &Mutex<Vec<Vec<f32>>>, limit: usize| {
        let mut arena = vec![0.0; 8];
        let mut out = [0.0; 4];
        let memory =
            Memory { arena: &mut arena, inputs: &[&input], outputs: vec![&mut out], ..Memory::default() };
        program.run_observed(memory, &pool, &mut |step, view| {
            if step == limit {
                std::panic::resume_unwind(Box::new("enough"));
            }
            assert_eq!(view.entry().name(), "doubled");
            assert!(view.buf(7).is_empty());
            seen.lock().expect("no panic while locked").push(view.buf(1).to_vec());
        })
    };
    let seen = Mutex::new(Vec::new());
    observe(&seen, 99).expect("a run");
    let all: Vec<Vec<f32>> = (1..=3).map(|steps| expected(steps, &input)).collect();
    assert_eq!(*seen.lock().expect("not poisoned"), all);
    let seen = Mutex::new(Vec::new());
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| observe(&seen, 1)));
    assert!(told.is_err());
    assert_eq!(*seen.lock().expect("not poisoned"), all[..1]);
    assert_eq!(run(&program, &input, &pool).expect("a run"), all[2]);
}

#[test]
fn every_step_is_timed() {
    let program = chain(5, 8);
    let pool = Pool::new(2).expect("threads");
    for executor in [&OneThread as &dyn Executor, &pool] {
        let (mut arena, mut out) = ([0.0; 16], [0.0; 8]);
        let memory =
            Memory { arena: &mut arena, inputs: &[&[0.0; 8]], outputs: vec![&mut out], ..Memory::default() };
        assert_eq!(program.run_timed(memory, executor).expect("a run").len(), 5);
        assert_eq!(out.to_vec(), expected(5, &[0.0; 8]));
    }
}

#[test]
fn wrong_lengths_are_errors_that_say_which() {
    let program = chain(2, 8);
    let wrong = run(&program, &[0.0; 7], &OneThread).expect_err("too short");
    assert_eq!(wrong.to_string(), "input 0: 7 given, 8 needed");
    let mut out = [0.0; 8];
    let memory =
        Memory { arena: &mut [0.0; 3], inputs: &[&[0.0; 8]], outputs: vec![&mut out], ..Memory::default() };
    let wrong = program.run(memory, &OneThread).expect_err("too little");
    assert_eq!(wrong, RunError::Length { what: "arena".to_owned(), given: 3, wanted: 16 });
}

#[test]
fn unsound_programs_are_refused() {
    let sizes =
        || Sizes { arena: 16, params: 8, state: 8, inputs: vec![8], outputs: vec![8], ..Sizes::default() };
    let what = |from: Place, to: Place| {
        let step = Step { entry: 0, bufs: vec![from, to] };
        Program::new(&[step], &[doubled(8, 8)], sizes()).map(|_| ()).map_err(|e| e.what)
    };
    assert_eq!(what(Place::Input(0), Place::Output(0)), Ok(()));
    assert_eq!(what(Place::Arena(0), Place::Arena(8)), Ok(()));
    assert_eq!(what(Place::Arena(4), Place::Arena(4)), Ok(()), "in place, as the entry promises");
    assert_eq!(what(Place::State(0), Place::State(0)), Ok(()));
    assert_eq!(what(Place::State(1), Place::State(0)), Err("a buffer beyond its store"));
    assert_eq!(what(Place::Arena(0), Place::Arena(7)), Err("a buffer that is written overlaps another"));
    assert_eq!(what(Place::Arena(0), Place::Arena(9)), Err("a buffer beyond its store"));
    assert_eq!(what(Place::Arena(usize::MAX), Place::Arena(0)), Err("a buffer beyond its store"));
    assert_eq!(what(Place::Arena(0), Place::Param(0)), Err("a store into what is only read"));
    assert_eq!(what(Place::Arena(0), Place::Input(0)), Err("a store into what is only read"));
    assert_eq!(what(Place::Const(0), Place::Output(0)), Err("a buffer beyond its store"));
    assert_eq!(what(Place::Input(1), Place::Output(0)), Err("a buffer beyond its store"));
    assert_eq!(what(Place::Input(0), Place::Output(usize::MAX)), Err("a buffer beyond its store"));
    let unknown = Program::new(&[Step { entry: 1, bufs: vec![] }], &[doubled(8, 8)], sizes());
    assert_eq!(unknown.map(|_| ()).map_err(|e| e.what), Err("an unknown entry"));
    let few = Program::new(&[Step { entry: 0, bufs: vec![] }], &[doubled(8, 8)], sizes());
    assert_eq!(few.map(|_| ()).map_err(|e| e.what), Err("the wrong number of buffers"));
}

#[test]
fn each_thread_has_a_private_buffer_for_itself_also_those_nobody_planned_for() {
    let entry = super::call::by_way_of_private(64);
    let place = |beyond| Place::Private { at: 0, step: 16, beyond };
    let steps = |own| [Step { entry: 0, bufs: vec![Place::Input(0), Place::Output(0), own] }];
    let sizes = |private| Sizes {
        arena: 32,
        threads: 2,
        private,
        inputs: vec![64],
        outputs: vec![64],
        ..Sizes::default()
    };
    let entries = [entry];
    let program = Program::new(&steps(place(0)), &entries, sizes(16)).expect("it fits");
    assert_eq!([1, 2, 5].map(|threads| program.arena(threads)), [32, 32, 80]);
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads).expect("a few threads");
        let mut arena = Storage::zeroed(program.arena(threads)).expect("little memory");
        let mut y = vec![0.0; 64];
        for _ in 0..20 {
            let memory = Memory {
                arena: arena.as_mut_slice(),
                inputs: &[&x],
                outputs: vec![&mut y],
                ..Memory::default()
            };
            program.run(memory, &pool).expect("it runs");
            assert!(x.iter().zip(&y).all(|(x, y)| x + 1.0 == *y), "{threads} threads: {y:?}");
        }
        let mut short = Storage::zeroed(31).expect("little memory");
        let memory =
            Memory { arena: short.as_mut_slice(), inputs: &[&x], outputs: vec![&mut y], ..Memory::default() };
        assert!(matches!(program.run(memory, &pool), Err(RunError::Length { .. })));
    }
    let what =
        |own, private| Program::new(&steps(own), &entries, sizes(private)).map(|_| ()).map_err(|e| e.what);
    assert_eq!(what(place(16), 16), Err("a buffer beyond its store"));
    assert_eq!(what(Place::Private { at: 17, step: 16, beyond: 0 }, 16), Err("a buffer beyond its store"));
    assert_eq!(what(Place::Private { at: 0, step: 0, beyond: 0 }, 16), Err("a buffer beyond its store"));
    assert!(what(Place::Arena(0), 16).is_err(), "threads must not share it");
}
