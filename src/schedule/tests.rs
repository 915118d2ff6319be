//! Scheduled nests are legal and compute the same bits.

use super::{Scheduled, Target, schedule};
use crate::loops::build::NestBuilder;
use crate::loops::interp::{run, run_all};
use crate::loops::random::{data, nest};
use crate::loops::walk::each;
use crate::loops::{Affine, Expr, LoopKind, Nest, Stmt, verify};
use crate::tensor::layout::Layout;
use crate::tensor::ty::TensorTy;

/// Cranelift's vectors, AVX2 and AVX-512.
const TARGETS: [Target; 3] = [
    Target::NARROW,
    Target { fma: true, lanes: 8, vector_registers: 16 },
    Target { fma: true, lanes: 16, vector_registers: 32 },
];

fn bits(bufs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    bufs.iter().map(|b| b.iter().map(|x| x.to_bits()).collect()).collect()
}

fn assert_same(before: &Nest, after: &Scheduled, seed: u64) {
    let legal = verify(&after.nest).err().unwrap_or_default().join("\n");
    assert_eq!(legal, "", "seed {seed}\n{before}\n{}", after.nest);
    let mut whole = data(before, seed);
    run_all(before, &mut whole, true).expect("runs");
    let mut cut = data(before, seed);
    let chunks = after.nest.chunks();
    // Backwards and in uneven pieces, as threads may.
    let ends = [0, chunks / 3, chunks / 2, chunks];
    for i in (0..3).rev() {
        run(&after.nest, &mut cut, ends[i]..ends[i + 1], true).expect("runs");
    }
    assert_eq!(bits(&whole), bits(&cut), "seed {seed}\n{before}\n{}", after.nest);
}

#[test]
fn random_nests_keep_their_bits() {
    let mut tiled = 0;
    for seed in 0..3000 {
        let before = nest(seed);
        let after = schedule(before.clone(), &TARGETS[seed as usize % 3]);
        assert_same(&before, &after, seed);
        let mut kinds = Vec::new();
        each(&after.nest.body, &mut |s| {
            if let Stmt::For { kind, .. } = s {
                kinds.push(*kind);
            }
        });
        assert_eq!(kinds[0], LoopKind::Par, "seed {seed}\n{}", after.nest);
        tiled += usize::from(kinds.contains(&LoopKind::Jam) && kinds.contains(&LoopKind::Vec));
    }
    assert!(tiled > 300, "only {tiled} nests got register tiles");
}

/// A convolution over channels-last data, as lowering writes it.
pub(crate) fn conv(outputs: usize, inputs: usize, [h, w]: [usize; 2], k: usize, stride: usize) -> Nest {
    let ty = |dims: &[(&str, usize)]| TensorTy::new(dims.iter().copied()).expect("small");
    let mut b = NestBuilder::new("conv");
    let mut x_layout = Layout::channels_last(4);
    x_layout.halo[2..].fill((k / 2, k / 2));
    x_layout.block = inputs.is_multiple_of(16).then_some(16);
    let x =
        b.buf("x", &ty(&[("n", 1), ("c", inputs), ("h", h * stride), ("w", w * stride)]), &x_layout, false);
    let weights = ty(&[("o", outputs), ("i", inputs), ("kh", k), ("kw", k)]);
    let weights = b.buf("w", &weights, &Layout::packed(vec![2, 3, 1, 0], &weights), false);
    let y_layout = Layout { block: Some(16), ..Layout::channels_last(4) };
    let y = b.buf("y", &ty(&[("n", 1), ("c", outputs), ("h", h), ("w", w)]), &y_layout, true);
    b.nested(LoopKind::Free, &[("n", 1), ("o", outputs), ("h", h), ("w", w)], |b, v| {
        let at: Vec<Affine> = v.iter().map(|v| Affine::from(*v)).collect();
        let acc = b.let_(0.0);
        let dims: Vec<(&str, usize)> = vec![("kh", k), ("kw", k), ("i", inputs)];
        b.nested(LoopKind::Serial, &dims, |b, s| {
            let row = (&at[2] * stride as i64).plus(s[0], 1).offset(-(k as i64 / 2));
            let col = (&at[3] * stride as i64).plus(s[1], 1).offset(-(k as i64 / 2));
            let x = b.load(x, &[at[0].clone(), s[2].into(), row, col]);
            let w = b.load(weights, &[at[1].clone(), s[2].into(), s[0].into(), s[1].into()]);
            b.set(acc, Expr::fma(x, w, acc.into()));
        });
        b.store(y, &at, Expr::bin(crate::loops::BinOp::Max, acc.into(), 0.0.into()));
    });
    b.finish()
}

#[test]
fn convolutions_get_register_tiles() {
    for (o, i, grid, k, stride, notes) in [
        (64, 64, [56, 56], 3, 1, ["", "", ""]),
        (64, 64, [56, 56], 1, 1, ["", "", ""]),
        (128, 128, [28, 28], 3, 1, ["", "", ""]),
        (512, 512, [7, 7], 3, 1, ["", "", ""]),
        (2048, 512, [7, 7], 1, 1, ["", "", ""]),
        (64, 3, [112, 112], 7, 2, ["", "", ""]),
    ] {
        for (target, note) in TARGETS.iter().zip(notes) {
            let s = schedule(conv(o, i, grid, k, stride), target);
            assert_eq!(verify(&s.nest), Ok(()));
            assert!(s.nest.bufs.iter().all(|b| b.block.is_none()));
            eprintln!("{o} {i} {grid:?} {k} {} {:?} {note}", s.note, s.parts);
        }
    }
}
