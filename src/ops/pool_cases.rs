//! Test cases of pools: every kind over windows, regions, the whole grid and channels.

use super::case::{Case, Fill};
use super::pool::{Over, Pool, PoolKind};
use super::window::{Padding, WindowSpec};
use crate::tensor::ty::TensorTy;

/// All of them.
pub(super) fn pool() -> Vec<Case> {
    let x = |n, c, grid: &[usize]| {
        let axes: Vec<(&str, usize)> =
            ["d", "h", "w"][3 - grid.len()..].iter().copied().zip(grid.iter().copied()).collect();
        TensorTy::grid(n, c, &axes).expect("a small tensor")
    };
    let window = |kernel: &[usize], stride: &[usize], pad: Padding| {
        let dilation = vec![1; kernel.len()];
        Over::Window(WindowSpec { kernel: kernel.to_vec(), stride: stride.to_vec(), dilation, pad })
    };
    let sides = |s: &[(usize, usize)]| Padding::Sides(s.to_vec());
    let dilated = Over::Window(WindowSpec {
        kernel: vec![3, 2],
        stride: vec![2, 1],
        dilation: vec![2, 3],
        pad: sides(&[(2, 1), (0, 2)]),
    });
    let shapes: Vec<(&str, Over, TensorTy, bool)> = vec![
        ("2x2", window(&[2, 2], &[2, 2], Padding::Valid), x(1, 8, &[6, 8]), false),
        ("3x3 stride 2 pad 1", window(&[3, 3], &[2, 2], sides(&[(1, 1), (1, 1)])), x(3, 5, &[7, 8]), false),
        ("same", window(&[3, 2], &[1, 1], Padding::Same), x(1, 3, &[4, 5]), false),
        ("full", window(&[3], &[1], Padding::Full), x(1, 2, &[5]), false),
        ("dilated", dilated, x(1, 2, &[8, 7]), false),
        ("partial", window(&[3], &[2], Padding::Valid), x(1, 3, &[6]), true),
        ("partial with padding", window(&[2, 3], &[3, 2], sides(&[(1, 1), (1, 0)])), x(1, 3, &[6, 6]), true),
        ("partial above the input", window(&[5, 2], &[1, 2], Padding::Valid), x(1, 2, &[3, 3]), true),
        ("3d", window(&[2, 2, 2], &[1, 2, 2], Padding::Valid), x(1, 4, &[3, 4, 5]), false),
        ("global", Over::Global, x(3, 5, &[3, 4]), false),
        ("global 1d", Over::Global, x(1, 4, &[9]), false),
        ("regions that divide", Over::Grid(vec![2, 3]), x(1, 4, &[4, 9]), false),
        ("regions that overlap", Over::Grid(vec![3, 2, 1]), x(1, 3, &[5, 4, 3]), false),
        ("regions, batch", Over::Grid(vec![4, 3]), x(3, 2, &[7, 3]), false),
        ("channels", Over::Channels { size: 2, stride: 2, dilation: 1 }, x(1, 8, &[3, 4]), false),
        ("overlapping channels", Over::Channels { size: 3, stride: 1, dilation: 1 }, x(3, 5, &[4]), false),
        ("channels apart", Over::Channels { size: 3, stride: 1, dilation: 16 }, x(2, 48, &[4, 3]), false),
        ("channels on rank 0", Over::Channels { size: 4, stride: 3, dilation: 2 }, x(3, 14, &[]), false),
    ];
    let kinds = [
        ("max", PoolKind::Max, false),
        ("avg", PoolKind::Avg, false),
        ("avg with padding", PoolKind::Avg, true),
        ("l1", PoolKind::Lp(1.0), false),
        ("l2", PoolKind::Lp(2.0), false),
        ("l3", PoolKind::Lp(3.0), false),
    ];
    let mut cases = Vec::new();
    for (name, over, x, partial) in &shapes {
        for (kind_name, kind, count_pad) in kinds {
            let op = Pool { kind, over: over.clone(), count_pad, partial: *partial };
            cases.push(Case::new(format!("{kind_name} {name}"), op, vec![x.clone()]).fill(&[Fill::Normal]));
        }
    }
    cases
}
