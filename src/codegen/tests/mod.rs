//! Small nests whose results are computed here by hand, at every level of instruction set that this machine has.

mod random;

use super::compile;
use crate::kernels::isa::Isa;
use crate::loops::build::NestBuilder;
use crate::loops::{Affine, BinOp, Cmp, Expr, LoopKind, Nest, UnOp};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// Every level that this machine can run.
pub(super) fn levels() -> Vec<Isa> {
    Isa::names().into_iter().filter_map(|n| Isa::named(n).ok()).collect()
}

/// A matrix `n x c` in canonical order.
fn matrix(b: &mut NestBuilder, name: &str, n: usize, c: usize, writable: bool) -> crate::loops::Buf {
    let ty = TensorTy::grid::<&str>(n, c, &[]).expect("a small type");
    b.buf(name, &ty, &Layout::canonical(2), writable)
}

/// Runs `nest` at every level and compares buffer `out` with `expect`.
fn check(nest: &Nest, bufs: &[Vec<f32>], out: usize, expect: impl Fn(usize) -> f32) {
    for isa in levels() {
        let code = compile(std::slice::from_ref(nest), &isa).unwrap_or_else(|e| panic!("{e}"));
        let mut data: Vec<Vec<f32>> = bufs.to_vec();
        let mut views: Vec<&mut [f32]> = data.iter_mut().map(|v| &mut v[..]).collect();
        code.entries()[0].run(&mut views).expect("buffers of the declared lengths");
        for (i, got) in data[out].iter().enumerate() {
            let want = expect(i);
            let same = got == &want || (got.is_nan() && want.is_nan());
            assert!(same, "{} at {}: element {i}: {got} instead of {want}", nest.name, isa.name());
        }
    }
}

#[test]
fn product_of_matrices_with_jam_and_vector() {
    let (m, n, k) = (6, 8, 10);
    let mut b = NestBuilder::new("matmul");
    let x = matrix(&mut b, "x", m, k, false);
    let w = matrix(&mut b, "w", k, n, false);
    let y = matrix(&mut b, "y", m, n, true);
    b.for_(LoopKind::Par, "i", m / 3, |b, i| {
        b.for_(LoopKind::Jam, "ii", 3, |b, ii| {
            b.for_(LoopKind::Jam, "jo", 2, |b, jo| {
                b.for_(LoopKind::Vec, "l", 4, |b, l| {
                    let row = Affine::from(ii).plus(i, 3);
                    let col = Affine::from(l).plus(jo, 4);
                    let acc = b.let_(0.0);
                    b.serial("k", k, |b, kk| {
                        let product = Expr::fma(
                            b.load(x, &[row.clone(), kk.into()]),
                            b.load(w, &[kk.into(), col.clone()]),
                            acc.into(),
                        );
                        b.set(acc, product);
                    });
                    b.store(y, &[row, col], acc);
                });
            });
        });
    });
    let nest = b.finish();
    let xs: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
    let ws: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 2.0).collect();
    let want = |i: usize| (0..k).map(|kk| xs[i / n * k + kk] * ws[kk * n + i % n]).sum::<f32>();
    check(&nest, &[xs.clone(), ws.clone(), vec![9.0; m * n]], 2, want);
}

#[test]
fn conditions_divisions_tables_and_indices() {
    let n = 50usize;
    let mut b = NestBuilder::new("indices");
    let x = matrix(&mut b, "x", 1, n, false);
    let y = matrix(&mut b, "y", 1, n, true);
    let table = b.table((0..9).map(|i| (i * 5) % 9).collect());
    b.for_(LoopKind::Par, "i", n, |b, i| {
        let q = b.div("q", Affine::from(i).offset(-20), 7);
        let r = b.modulo("r", Affine::from(i).offset(-20), 9);
        let t = b.lookup("t", table, r);
        let acc = b.let_(Expr::Index(Affine::from(q).plus(r, 100)));
        b.serial("k", 3, |b, k| {
            let at = Affine::from(i).plus(k, 1).offset(-1);
            b.if_(vec![at.clone(), Affine::k(n as i64 - 1).minus(&at)], |b| {
                let sum = Expr::from(acc) + b.load(x, &[Affine::k(0), at.clone()]);
                b.set(acc, sum);
            });
        });
        let looked = b.load(x, &[Affine::k(0), t.into()]);
        b.store(y, &[Affine::k(0), i.into()], Expr::from(acc) + looked * Expr::Const(1000.0));
    });
    let nest = b.finish();
    let xs: Vec<f32> = (0..n).map(|i| i as f32 + 0.5).collect();
    let want = |i: usize| {
        let at = i as i64 - 20;
        let (q, r) = (at.div_euclid(7), at.rem_euclid(9));
        let near: f32 = (i.saturating_sub(1)..(i + 2).min(n)).map(|j| xs[j]).sum();
        (q + 100 * r) as f32 + near + xs[(r * 5 % 9) as usize] * 1000.0
    };
    check(&nest, &[xs.clone(), vec![0.0; n]], 1, want);
}

#[test]
fn jam_over_divided_indices_keeps_copies_apart() {
    let n = 24usize;
    let mut b = NestBuilder::new("copies");
    let x = matrix(&mut b, "x", 3, n, false);
    let y = matrix(&mut b, "y", 1, n, true);
    b.for_(LoopKind::Par, "i", n / 4, |b, i| {
        b.for_(LoopKind::Jam, "j", 4, |b, j| {
            let at = Affine::from(j).plus(i, 4);
            let row = b.div("row", at.clone(), 9);
            let acc = b.let_(0.0);
            b.serial("k", 5, |b, k| {
                let column = b.modulo("column", at.plus(k, 3), n as i64);
                let sum = Expr::from(acc) + b.load(x, &[row.into(), column.into()]);
                b.set(acc, sum);
            });
            b.store(y, &[Affine::k(0), at], acc);
        });
    });
    let nest = b.finish();
    let xs: Vec<f32> = (0..3 * n).map(|i| (i * i % 31) as f32).collect();
    let want = |i: usize| (0..5).map(|k| xs[i / 9 * n + (i + 3 * k) % n]).sum::<f32>();
    check(&nest, &[xs.clone(), vec![0.0; n]], 1, want);
}

#[test]
fn extrema_pass_nan_from_either_side() {
    for vector in [false, true] {
        let mut b = NestBuilder::new("extrema");
        let x = matrix(&mut b, "x", 1, 8, false);
        let z = matrix(&mut b, "z", 1, 8, false);
        let y = matrix(&mut b, "y", 6, 8, true);
        b.for_(LoopKind::Par, "i", 2, |b, i| {
            let kind = if vector { LoopKind::Vec } else { LoopKind::Serial };
            b.for_(kind, "l", 4, |b, l| {
                let at = Affine::from(l).plus(i, 4);
                let (p, q) = (b.load(x, &[Affine::k(0), at.clone()]), b.load(z, &[Affine::k(0), at.clone()]));
                let r = b.let_(p.clone());
                let outs = [
                    Expr::bin(BinOp::Max, p.clone(), q.clone()),
                    Expr::bin(BinOp::Min, r.into(), q.clone()),
                    Expr::bin(BinOp::Max, p.clone(), 0.0.into()),
                    Expr::bin(BinOp::Min, 0.0.into(), p.clone()),
                    Expr::bin(BinOp::Max, p.clone(), f32::NAN.into()),
                    Expr::select(
                        Cmp::Lt,
                        p.clone(),
                        q,
                        Expr::un(UnOp::Abs, p.clone()),
                        Expr::un(UnOp::Neg, p),
                    ),
                ];
                for (row, out) in outs.into_iter().enumerate() {
                    b.store(y, &[Affine::k(row as i64), at.clone()], out);
                }
            });
        });
        let nest = b.finish();
        let nan = f32::NAN;
        let xs = vec![1.0, nan, 2.0, nan, -3.0, f32::INFINITY, -5.0, 7.5];
        let zs = vec![2.0, 1.0, nan, nan, -4.0, f32::NEG_INFINITY, nan, 7.25];
        let max = |a: f32, b: f32| if a.is_nan() || b.is_nan() { nan } else { a.max(b) };
        let min = |a: f32, b: f32| if a.is_nan() || b.is_nan() { nan } else { a.min(b) };
        let want = |i: usize| {
            let (p, q) = (xs[i % 8], zs[i % 8]);
            match i / 8 {
                0 => max(p, q),
                1 => min(p, q),
                2 => max(p, 0.0),
                3 => min(p, 0.0),
                4 => nan,
                _ => {
                    if p < q {
                        p.abs()
                    } else {
                        -p
                    }
                }
            }
        };
        check(&nest, &[xs.clone(), zs.clone(), vec![0.0; 48]], 2, want);
    }
}

/// `y = x + k` over 8 elements.
fn add(name: &str, k: f32) -> Nest {
    let mut b = NestBuilder::new(name);
    let x = matrix(&mut b, "x", 1, 8, false);
    let y = matrix(&mut b, "y", 1, 8, true);
    b.for_(LoopKind::Par, "i", 2, |b, i| {
        b.for_(LoopKind::Vec, "l", 4, |b, l| {
            let at = [Affine::k(0), Affine::from(l).plus(i, 4)];
            let sum = b.load(x, &at) + Expr::Const(k);
            b.store(y, &at, sum);
        });
    });
    b.finish()
}

#[test]
fn many_nests_keep_their_order_and_equal_ones_share_code() {
    let nests: Vec<Nest> = (0..60).map(|i| add(&format!("add_{i}"), (i % 20) as f32)).collect();
    let code = compile(&nests, &Isa::detect()).unwrap_or_else(|e| panic!("{e}"));
    let (mut x, mut y) = ([1.0; 8], [0.0; 8]);
    for (i, entry) in code.entries().iter().enumerate() {
        entry.run(&mut [&mut x, &mut y]).expect("two buffers of 8");
        assert_eq!(y, [1.0 + (i % 20) as f32; 8]);
        assert_eq!((entry.name(), entry.chunks()), (&*format!("add_{i}"), 2));
    }
    assert_eq!(code.size(), (0..20).map(|i| code.size_of(i)).sum::<usize>());
}

#[test]
fn entries_outlive_the_code_they_came_from() {
    let entry =
        compile(&[add("add", 2.0)], &Isa::baseline()).unwrap_or_else(|e| panic!("{e}")).entries()[0].clone();
    let (mut x, mut y) = ([1.0; 8], [0.0; 8]);
    entry.run(&mut [&mut x, &mut y]).expect("two buffers of 8");
    assert_eq!(y, [3.0; 8]);
    assert!(entry.run(&mut [&mut x[..7], &mut y]).is_err());
    assert!(entry.run(&mut [&mut x]).is_err());
}

#[test]
fn whole_vectors_go_past_the_caches_where_buffers_begin_at_a_line() {
    use crate::kernels::x86::Unit;
    use crate::runtime::arena::Storage;
    for isa in levels() {
        let lanes = Unit::of(&isa).map_or(crate::loops::LANES, Unit::lanes);
        // Rows of whole vectors, and rows that begin within one.
        for width in [2 * lanes, 2 * lanes + 1] {
            let mut b = NestBuilder::new("doubled");
            let (x, y) = (matrix(&mut b, "x", 5, width, false), matrix(&mut b, "y", 5, width, true));
            b.for_(LoopKind::Par, "n", 5, |b, n| {
                b.for_(LoopKind::Serial, "block", 2, |b, block| {
                    b.for_(LoopKind::Vec, "l", lanes, |b, l| {
                        let at = [Affine::from(n), Affine::from(l).plus(block, lanes as i64)];
                        let value = b.load(x, &at) * 2.0.into();
                        b.store(y, &at, value);
                    });
                });
            });
            let mut nest = b.finish();
            nest.bufs[1].uncached = true;
            let text = crate::loops::print::print(&nest);
            assert_eq!(crate::loops::parse::parse(&text).as_ref(), Ok(&nest), "{text}");
            let code = compile(std::slice::from_ref(&nest), &isa).unwrap_or_else(|e| panic!("{e}"));
            let listing = code.disassembly(0);
            let past = lanes > crate::loops::LANES && width == 2 * lanes;
            assert_eq!((listing.contains("vmovntps"), listing.contains("sfence")), (past, past), "{listing}");
            let mut from: Vec<f32> = (0..5 * width).map(|i| i as f32).collect();
            let mut to = Storage::zeroed(5 * width + 1).expect("a little memory");
            let entry = &code.entries()[0];
            assert!(
                entry.run(&mut [&mut from, &mut to.as_mut_slice()[1..]]).is_err(),
                "a line begins elsewhere"
            );
            entry.run(&mut [&mut from, &mut to.as_mut_slice()[..5 * width]]).expect("an aligned buffer");
            let found = to.as_slice().chunks(width).zip(from.chunks(width));
            let mut rows = found.map(|(y, x)| y[..2 * lanes].iter().zip(x).all(|(y, x)| *y == 2.0 * x));
            assert!(rows.all(|same| same), "{} lanes, rows of {width}", lanes);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_page_is_writable_and_executable() {
    let nests: Vec<Nest> = (0..40).map(|i| add("add", i as f32)).collect();
    let code = compile(&nests, &Isa::detect()).unwrap_or_else(|e| panic!("{e}"));
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this process has maps");
    let modes = || maps.lines().filter_map(|l| l.split_whitespace().nth(1));
    assert!(modes().any(|m| m.starts_with("r-x")));
    for line in maps.lines() {
        let mode = line.split_whitespace().nth(1).unwrap_or("");
        assert!(!(mode.contains('w') && mode.contains('x')), "{line}");
    }
    assert_eq!(code.entries().len(), 40);
}

#[test]
fn listings_show_instructions_and_ir() {
    let nest = add("add", 2.0);
    let clif = super::clif_text(&nest, &Isa::baseline()).unwrap_or_else(|e| panic!("{e}"));
    assert!(clif.contains("fadd") && clif.contains("f32x4"), "{clif}");
    let code = compile(&[nest], &Isa::baseline()).unwrap_or_else(|e| panic!("{e}"));
    if cfg!(target_arch = "x86_64") {
        let text = code.disassembly(0);
        assert!(text.contains("addps xmm") && text.contains("L0:") && text.contains("ret"), "{text}");
        assert!(!text.contains("call"), "{text}");
    }
    assert_eq!(code.disassembly(1), "");
}

#[test]
fn malformed_nests_are_errors() {
    let mut nest = add("add", 2.0);
    nest.bufs.truncate(1);
    let e = compile(&[nest], &Isa::baseline()).map(|_| ()).expect_err("a store into no buffer");
    assert!(e.to_string().starts_with("nest `add`: "), "{e}");
}

#[test]
fn assembled_kernels_run_beside_compiled_code() {
    for isa in levels() {
        let peaks = crate::kernels::peak::peaks(&isa, 1000);
        let kernels: Vec<_> = peaks.iter().map(|p| p.kernel.clone()).collect();
        let entries = super::assembled(&kernels, &isa).unwrap_or_else(|e| panic!("{e}"));
        for (entry, peak) in entries.iter().zip(&peaks) {
            let mut buf = [2.0; 16];
            entry.run(&mut [&mut buf]).expect("a buffer of 16");
            // 12 chains add 2 * 2, or half of them add 2, in each of 1000 chunks.
            let sum = if isa.has(crate::kernels::isa::Feature::Fma) { 48_000.0 } else { 12_000.0 };
            let lanes = peak.bits / 32;
            assert_eq!(buf[..lanes], vec![sum; lanes], "{} at {}", peak.kernel.name(), isa.name());
            assert_eq!(buf[lanes..], vec![2.0; 16 - lanes]);
        }
    }
}

/// Sums over blocks that lie pages apart, 14 rows side by side.
fn pages(blocks: usize) -> Nest {
    let mut b = NestBuilder::new("pages");
    let x = matrix(&mut b, "x", blocks, 2048, false);
    let w = matrix(&mut b, "w", 16 * blocks, 8, false);
    let y = matrix(&mut b, "y", 14, 8, true);
    b.for_(LoopKind::Jam, "row", 14, |b, row| {
        b.for_(LoopKind::Vec, "l", 8, |b, l| {
            let acc = b.let_(0.0);
            b.serial("block", blocks, |b, block| {
                b.serial("i", 16, |b, i| {
                    let column = Affine::from(i).plus(row, 16);
                    let from = b.load(x, &[block.into(), column]);
                    let by = b.load(w, &[Affine::from(i).plus(block, 16), l.into()]);
                    b.set(acc, Expr::fma(from, by, acc.into()));
                });
            });
            b.store(y, &[row.into(), l.into()], acc);
        });
    });
    b.finish()
}

#[test]
fn lines_of_the_next_page_are_asked_for() {
    let blocks = 3;
    let nest = pages(blocks);
    let value = |i: usize| ((i * 7) % 5) as f32;
    let x: Vec<f32> = (0..blocks * 2048).map(value).collect();
    let w: Vec<f32> = (0..16 * blocks * 8).map(value).collect();
    let expect = |at: usize| -> f32 {
        let (row, l) = (at / 8, at % 8);
        let term = |k: usize| value(k / 16 * 2048 + 16 * row + k % 16) * value(8 * k + l);
        (0..16 * blocks).map(term).sum()
    };
    check(&nest, &[x, w, vec![0.0; 14 * 8]], 2, expect);
    for isa in levels().into_iter().filter(|isa| isa.has(crate::kernels::isa::Feature::Fma)) {
        let code = compile(std::slice::from_ref(&nest), &isa).unwrap_or_else(|e| panic!("{e}"));
        let lines = code.disassembly(0).matches("prefetcht0").count();
        assert_eq!(lines, 14, "{}", isa.name());
    }
}
