//! The noun as a whole: random nests are legal, print and parse back, and run; broken ones are refused by the rule that
//! they break.

use super::build::NestBuilder;
use super::walk::{each_access_mut, each_affine_mut};
use super::*;
use crate::loops::interp::{run, run_all};
use crate::loops::parse::parse;
use crate::loops::random::{data, nest};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

fn ty(dims: &[(&str, usize)]) -> TensorTy {
    TensorTy::new(dims.iter().copied()).expect("small")
}

fn errors(nest: &Nest) -> String {
    verify(nest).err().unwrap_or_default().join("\n")
}

#[test]
fn random_nests_verify_and_round_trip() {
    for seed in 0..600 {
        let nest = nest(seed);
        assert_eq!(errors(&nest), "", "seed {seed}\n{nest}");
        let text = nest.to_string();
        let back = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_eq!(back, nest, "seed {seed}\n{text}");
    }
}

#[test]
fn constants_and_names_survive_text() {
    let mut b = NestBuilder::new("a \"quoted\"\nname");
    let x = b.buf("größe", &ty(&[("n", 2)]), &Layout::canonical(1), false);
    let y = b.buf("r7", &ty(&[("n", 2)]), &Layout::canonical(1), true);
    b.nested(LoopKind::Free, &[("", 2)], |b, vars| {
        let consts = [0.1, -0.0, 1e-42, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, 1e20, 3.0];
        let r = b.let_(consts.into_iter().fold(Expr::Const(1.0), |e, c| e + c.into()));
        let half = b.div("r1", (&Affine::from(vars[0]) * -3).offset(-1), 2);
        b.set(r, Expr::un(UnOp::Erf, Expr::Index((&Affine::from(half) * 7).plus(vars[0], -1))));
        let e = Expr::select(
            Cmp::Ne,
            r.into(),
            b.load(x, &[vars[0].into()]),
            r.into(),
            Expr::from(r) / 2.0.into(),
        );
        b.store(y, &[vars[0].into()], Expr::bin(BinOp::Pow, e, Expr::fma(r.into(), r.into(), 1.5.into())));
    });
    let mut nest = b.finish();
    assert_eq!(parse(&nest.to_string()).as_ref(), Ok(&nest));
    // NaN is not equal to itself, its text is.
    let reg = nest.fresh_reg();
    nest.body.push(Stmt::Let { reg, value: Expr::Const(f32::from_bits(0x7fc0_0123)) });
    let text = nest.to_string();
    assert!(text.contains("nan(0x7fc00123)"), "{text}");
    assert_eq!(parse(&text).map(|n| n.to_string()), Ok(text));
}

#[test]
fn broken_text_is_refused_with_its_line() {
    let text = nest(7).to_string();
    for cut in (0..text.len()).step_by(7) {
        let Some(head) = text.get(..cut) else { continue };
        assert!(parse(head).is_err_and(|e| e.starts_with("line ")), "{head}");
    }
    let wrong = text.replacen("let r", "get r", 1);
    let e = parse(&wrong).expect_err("no such statement");
    assert!(e.contains("expected a statement, not `get`"), "{e}");
}

/// Every index of every access, moved by one buffer's length, leaves its buffer; the verifier must see each. What it
/// lets pass must never run: then even an index far outside does not stop the interpreter.
#[test]
fn every_index_that_leaves_its_buffer_is_refused() {
    for seed in 0..200 {
        let whole = nest(seed);
        let mut count = 0;
        each_access_mut(&mut whole.clone().body, &mut |_, at| count += at.len());
        for target in 0..count {
            for far in [-1i64, 1] {
                let broken = |far: i64| {
                    let mut broken = whole.clone();
                    let mut i = 0;
                    each_access_mut(&mut broken.body, &mut |buf, at| {
                        for (d, a) in at.iter_mut().enumerate() {
                            let dim = &whole.bufs[buf.index()].dims[d];
                            let by = (dim.extent + dim.halo.0 + dim.halo.1) as i64;
                            *a = a.offset(if i == target { far * by } else { 0 });
                            i += 1;
                        }
                    });
                    broken
                };
                let nest = broken(far);
                let why = errors(&nest);
                if why.is_empty() {
                    run_all(&broken(far << 40), &mut data(&nest, 0), true).expect("never touched");
                } else {
                    assert!(why.contains("outside"), "seed {seed}, index {target}: {why}\n{nest}");
                }
            }
        }
    }
}

#[test]
fn scope_kinds_and_stores_are_checked() {
    let text = |body: &str| {
        let head = "nest \"t\" {\n regs 2\n vars i, j, k\n buf x in [8(1,1) *1] base 1 len 10\n";
        format!("{head} buf y out [8 *8, 8 *1] base 0 len 64\n table t0 = [0, 3]\n{body}\n}}")
    };
    let wrong = [
        ("free i in 0..8 { store y[i, j] = 0.0 }", "not in scope"),
        ("free i in 0..8 { store x[i] = 0.0 }", "read-only"),
        ("free i in 0..8 { store y[i] = 0.0 }", "1 indices"),
        ("free i in 0..8 { store y[0, 0] = x[i] }", "not proved to own"),
        ("free i in 0..8 { store y[i, 0] = y[0, 0] }", "not proved to own"),
        (
            "free i in 0..2 { store y[3*i, 0] = 0.0 serial j in 0..4 { store y[3*i + j, 0] = 0.0 } }",
            "not proved to own",
        ),
        ("free i in 0..4 { serial j in 0..3 { store y[0, i + 2*j] = 0.0 } }", "not proved to own"),
        // What a table spans, and steps besides it that are no larger.
        (
            "free i in 0..2 { idx k = t0[i] serial j in 0..2 { store y[0, 3*j + k] = 0.0 } }",
            "not proved to own",
        ),
        ("free i in 0..2 { idx k = t0[i] store y[0, k + 3*i] = 0.0 }", "not proved to own"),
        ("let r0 = 0.0 free i in 0..8 { set r0 = x[i] }", "declared outside"),
        ("serial i in 0..8 { let r0 = x[i] } let r1 = r0", "not in scope"),
        ("let r0 = 0.0 let r0 = 1.0", "declared twice"),
        ("serial i in 0..8 { serial i in 0..8 { } }", "bound twice"),
        ("serial i in 0..8 { par j in 0..8 { } }", "not outermost"),
        ("par i in 0..8 { } let r0 = 0.0", "only some outermost"),
        ("par i in 0..8 { store y[i, 0] = 0.0 } par j in 0..2 { store y[2, j] = 0.0 }", "both touch"),
        ("vec i in 0..144 { store y[0, i] = 0.0 }", "more lanes than"),
        ("vec i in 0..4 { store y[i, 0] = 0.0 }", "8 elements apart"),
        ("vec i in 0..4 { if i - 1 >= 0 { store y[0, i] = 0.0 } }", "depends on the `jam` or `vec`"),
        (
            "jam i in 0..4 { idx j = (i) div 2 if j - 1 >= 0 { store y[0, i] = 0.0 } }",
            "depends on the `jam` or `vec`",
        ),
        ("vec i in 0..4 { idx j = (i) div 2 store y[0, i] = x[j] }", "depends on a `vec`"),
        ("vec i in 0..4 { store y[0, i] = index(i) }", "depends on a `vec`"),
        ("vec i in 0..4 { jam j in 0..2 { store y[j, i] = 0.0 } }", "not serial inside a `vec`"),
        ("serial i in 0..3 { idx j = t0[i] }", "outside a table"),
        ("serial i in 0..3 { idx j = (i) div 0 }", "division by 0"),
        ("serial i in 0..8 { let r0 = x[2*i] }", "takes values in 0..=14, outside -1..9"),
        ("serial i in 0..8 { if 4 - i >= 0 { let r0 = x[2*i + 1] } }", "outside -1..9"),
    ];
    for (body, why) in wrong {
        let nest = parse(&text(body)).unwrap_or_else(|e| panic!("{body}: {e}"));
        let found = errors(&nest);
        assert!(found.contains(why), "{body}\nexpected: {why}\nfound: {found}");
    }
    let right = [
        "serial i in 0..8 { if 4 - i >= 0 { let r0 = x[2*i] } }",
        "serial i in 0..9 { if 4 - i >= 0, i - 1 >= 0 { let r0 = x[2*i - 3] } }",
        "serial i in 0..9 { serial j in 0..9 { if 8 - i - j >= 0 { let r0 = x[i + j] } } }",
        "serial i in 0..16 { idx j = (i) div 2 idx k = (i) mod 2 let r0 = x[j + k] let r1 = x[i - 2*j] }",
        "serial i in 0..0 { let r0 = x[i + 100] }",
        "serial i in 0..2 { idx j = t0[i] let r0 = x[2*j + 2] }",
        "par i in 0..4 { store y[2*i, 0] = 0.0 } par j in 0..4 { store y[2*j + 1, 0] = 0.0 }",
        "free i in 0..2 { serial j in 0..4 { store y[0, i + 2*j] = 0.0 } }",
        "free i in 0..2 { idx k = t0[i] serial j in 0..2 { store y[0, 4*j + k] = 0.0 } }",
        "serial j in 0..3 { free i in 0..2 { idx k = t0[i] store y[0, j + k] = 0.0 } }",
        "free i in 0..4 { jam j in 0..2 { vec k in 0..4 { store y[2*i + j, k] = x[2*k + 1] } } }",
    ];
    for body in right {
        let nest = parse(&text(body)).unwrap_or_else(|e| panic!("{body}: {e}"));
        assert_eq!(errors(&nest), "", "{body}");
    }
}

#[test]
fn overlapping_or_overlong_buffers_are_refused() {
    let text =
        "nest \"t\" {\n regs 0\n buf y out [4 *2, 4 *1] base 0 len 16\n buf x in [4 *4] base 4 len 16\n}";
    let found = errors(&parse(text).expect("well formed"));
    assert!(found.contains("overlap") && found.contains("addressed at 4..=16"), "{found}");
}

/// The interpreter, which takes independent iterations at once, agrees with itself when every loop is serial.
#[test]
fn lanes_compute_what_single_iterations_compute() {
    for seed in 0..300 {
        let fast = nest(seed);
        let mut slow = fast.clone();
        serialise(&mut slow.body);
        let (mut a, mut b) = (data(&fast, seed), data(&fast, seed));
        run_all(&fast, &mut a, true).expect("runs");
        run_all(&slow, &mut b, true).expect("runs");
        assert_eq!(bits(&a), bits(&b), "seed {seed}\n{fast}");
    }
}

fn serialise(stmts: &mut [Stmt]) {
    for s in stmts {
        if let Stmt::For { kind, .. } = s {
            *kind = LoopKind::Serial;
        }
        serialise(s.inner_mut());
    }
}

fn bits(bufs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    bufs.iter().map(|b| b.iter().map(|x| x.to_bits()).collect()).collect()
}

#[test]
fn chunks_together_make_the_whole() {
    let text = "nest \"t\" {\n regs 0\n vars i, j\n buf y out [9 *1] base 0 len 9\n buf z out [4 *1] base 0 len 4\n \
                par i in 0..9 { store y[i] = index(i + 1) } par j in 0..4 { store z[j] = index(2*j) }\n}";
    let nest = parse(text).expect("well formed");
    assert_eq!((errors(&nest), nest.chunks()), (String::new(), 9));
    for cuts in [vec![0, 9], vec![0, 1, 9], vec![0, 2, 4, 6, 8, 9]] {
        let mut bufs = vec![vec![0.0; 9], vec![-1.0; 4]];
        for cut in cuts.windows(2) {
            run(&nest, &mut bufs, cut[0]..cut[1], true).expect("runs");
        }
        assert_eq!(bufs, [(1..10).map(|i| i as f32).collect::<Vec<_>>(), vec![0.0, 2.0, 4.0, 6.0]]);
    }
}

#[test]
fn wrong_buffers_and_stray_accesses_are_errors() {
    let mut nest = nest(1);
    assert!(run_all(&nest, &mut [], true).is_err());
    let mut short = data(&nest, 0);
    short[0].pop();
    assert!(run_all(&nest, &mut short, true).is_err());
    each_affine_mut(&mut nest.body, &mut |a| a.k += 1 << 40);
    let stray = run_all(&nest, &mut data(&nest, 0), true);
    assert!(stray.is_err_and(|e| e.contains("touches element") || e.contains("outside table")));
}

#[test]
fn multiply_add_rounds_as_told() {
    let text = "nest \"t\" {\n regs 0\n buf x in [1 *1] base 0 len 1\n buf y out [1 *1] base 0 len 1\n \
                store y[0] = fma(x[0], x[0], -1.0)\n}";
    let nest = parse(text).expect("well formed");
    let x = 1.0 + f32::EPSILON;
    let mut bufs = [vec![x], vec![0.0]];
    run_all(&nest, &mut bufs, false).expect("runs");
    assert_eq!(bufs[1][0], x * x - 1.0);
    run_all(&nest, &mut bufs, true).expect("runs");
    assert_eq!(bufs[1][0], (f64::from(x) * f64::from(x) - 1.0) as f32);
}

/// Threads run the outermost statements of a nest side by side: a condition that keeps one of them off what another stores counts.
#[test]
fn conditions_keep_outermost_statements_apart() {
    let nest = |last: i64, from: i64| {
        let text = format!(
            "nest \"halo\" {{\n  regs 0\n  vars h, c, t\n  buf y out [7(1,2) *2] base 2 len 20\n  par h in 0..4 {{\n    free c in 0..2 {{\n      \
             if -2*h + {last} >= 0 {{\n        store y[2*h + {from}] = 1.0\n      }}\n    }}\n  }}\n  par t in 0..2 {{\n    store y[t + 7] = 0.0\n  \
             }}\n}}\n"
        );
        parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    };
    // 2h + 1 <= 6, as 2h <= 5; then 2h + 1 <= 7, which the halo has too.
    assert!(independent::dependent_statements(&nest(5, 1)).is_empty());
    assert_eq!(independent::dependent_statements(&nest(6, 1)).len(), 1);
    // A condition from below keeps nothing off above.
    assert_eq!(independent::dependent_statements(&nest(6, 2)).len(), 1);
}
