//! Test cases of the convolution family: one list of geometries, from which each of its operations takes its own.

use std::sync::Arc;

use super::args::Links;
use super::case::Case;
use super::conv::Conv;
use super::geometry::{Geometry, Linking, Share};
use super::window::{Padding, WindowSpec};
use crate::tensor::ty::TensorTy;

/// A geometry on an input.
struct Example {
    name: &'static str,
    x: TensorTy,
    channels: usize,
    geometry: Geometry,
    bias: bool,
}

impl Example {
    fn new(
        name: &'static str,
        (n, c): (usize, usize),
        grid: &[usize],
        channels: usize,
        kernel: &[usize],
    ) -> Self {
        let names = ["d", "h", "w"];
        let axes: Vec<(&str, usize)> =
            names[3 - grid.len()..].iter().copied().zip(grid.iter().copied()).collect();
        let ones = vec![1; grid.len()];
        Self {
            name,
            x: TensorTy::grid(n, c, &axes).expect("a small tensor"),
            channels,
            geometry: Geometry {
                window: WindowSpec {
                    kernel: kernel.to_vec(),
                    stride: ones.clone(),
                    dilation: ones,
                    pad: Padding::Valid,
                },
                share: Share::All,
                links: Linking::Dense,
                flip: false,
            },
            bias: true,
        }
    }

    fn stride(mut self, s: &[usize]) -> Self {
        self.geometry.window.stride = s.to_vec();
        self
    }

    fn dilate(mut self, d: &[usize]) -> Self {
        self.geometry.window.dilation = d.to_vec();
        self
    }

    fn pad(mut self, pad: Padding) -> Self {
        self.geometry.window.pad = pad;
        self
    }

    fn share(mut self, share: Share) -> Self {
        self.geometry.share = share;
        self
    }

    fn links(mut self, links: Linking) -> Self {
        self.geometry.links = links;
        self
    }

    fn rows(self, inputs: usize, rows: &[&[u32]]) -> Self {
        let rows = rows.iter().map(|r| r.to_vec()).collect();
        self.links(Linking::Table(Arc::new(Links { inputs, rows })))
    }

    fn flip(mut self) -> Self {
        self.geometry.flip = true;
        self
    }

    fn no_bias(mut self) -> Self {
        self.bias = false;
        self
    }
}

fn sides(sides: &[(usize, usize)]) -> Padding {
    Padding::Sides(sides.to_vec())
}

/// Every kind of geometry, small.
fn examples() -> Vec<Example> {
    let e = Example::new;
    let mut all = vec![
        e("rank 0", (3, 5), &[], 7, &[]),
        e("1d", (1, 3), &[9], 4, &[3]),
        e("1d dilated same", (3, 2), &[11], 5, &[3]).dilate(&[3]).pad(Padding::Same),
        e("figure 9.6", (1, 1), &[5, 6], 1, &[1, 2]).no_bias(),
        e("valid", (1, 3), &[7, 6], 8, &[3, 3]),
        e("eight and four channels, batch", (3, 4), &[6, 9], 8, &[3, 2]).pad(Padding::Same),
        e("1x1", (3, 5), &[3, 5], 12, &[1, 1]).no_bias(),
        e("same_lo, even kernel", (1, 2), &[5, 5], 3, &[2, 4]).pad(Padding::SameLo),
        e("full", (1, 2), &[3, 4], 5, &[3, 2]).pad(Padding::Full),
        e("stride 2, pad 3", (1, 3), &[13, 14], 4, &[7, 7]).stride(&[2, 2]).pad(sides(&[(3, 3), (3, 3)])),
        e("stride above kernel", (1, 2), &[8, 9], 3, &[2, 1]).stride(&[3, 4]),
        e("sides differ", (3, 2), &[5, 6], 4, &[3, 3]).pad(sides(&[(0, 2), (3, 1)])).stride(&[2, 1]),
        e("all in padding at the rim", (1, 1), &[3, 3], 2, &[2, 2]).pad(sides(&[(3, 2), (2, 3)])),
        e("dilated by axis", (1, 2), &[9, 7], 3, &[3, 2]).dilate(&[2, 3]).pad(sides(&[(1, 1), (0, 2)])),
        e("flip", (1, 2), &[5, 6], 3, &[3, 2]).flip(),
        e("3d", (1, 2), &[4, 5, 6], 3, &[2, 3, 2]).pad(Padding::Same),
        e("3d stride", (3, 1), &[5, 6, 7], 4, &[3, 3, 3]).stride(&[2, 1, 3]).pad(Padding::Same),
        e("full extent", (3, 3), &[4, 5], 6, &[4, 5]),
    ];
    all.extend(examples_of_links());
    all.extend(examples_of_sharing());
    all
}

fn examples_of_links() -> Vec<Example> {
    let e = Example::new;
    let lenet: &[&[u32]] = &[&[0, 1, 2], &[1, 2, 3], &[0, 3], &[0, 1, 2, 3], &[2]];
    vec![
        e("groups", (1, 6), &[5, 5], 9, &[3, 3]).links(Linking::Groups(3)).pad(Padding::Same),
        e("groups of four", (3, 8), &[4, 5], 8, &[1, 1]).links(Linking::Groups(2)),
        e("depthwise", (1, 8), &[6, 5], 8, &[3, 3]).links(Linking::Groups(8)).pad(Padding::Same).no_bias(),
        e("depthwise, multiplier 2", (3, 3), &[5, 4], 6, &[3, 3]).links(Linking::Groups(3)).stride(&[2, 2]),
        e("depthwise 1d", (1, 5), &[9], 5, &[4]).links(Linking::Groups(5)).pad(Padding::Same),
        e("table", (1, 4), &[5, 6], 5, &[3, 3]).rows(4, lenet),
        e("table with empty rows", (3, 3), &[4, 4], 4, &[2, 2]).rows(3, &[&[], &[0, 2], &[], &[1]]),
        e("table, empty rows, no bias", (1, 3), &[4], 3, &[2]).rows(3, &[&[2], &[], &[0, 1, 2]]).no_bias(),
        e("table of all", (1, 3), &[4, 4], 2, &[3, 3]).rows(3, &[&[0, 1, 2], &[0, 1, 2]]).pad(Padding::Same),
        e("table of none", (1, 2), &[3, 3], 2, &[1, 1]).rows(2, &[&[], &[]]),
        e("table, flip, stride", (1, 4), &[7, 6], 5, &[3, 2]).rows(4, lenet).flip().stride(&[2, 2]),
        e("table on rank 0", (3, 4), &[], 5, &[]).rows(4, lenet),
    ]
}

fn examples_of_sharing() -> Vec<Example> {
    let e = Example::new;
    let rows: &[&[u32]] = &[&[0], &[0, 1], &[1]];
    vec![
        e("local", (1, 2), &[4, 5], 4, &[3, 2]).share(Share::None),
        e("local, same, stride, batch", (3, 3), &[5, 5], 4, &[3, 3])
            .share(Share::None)
            .pad(Padding::Same)
            .stride(&[2, 2]),
        e("local 1d", (1, 2), &[7], 3, &[3]).share(Share::None).flip(),
        e("local groups", (1, 4), &[4, 4], 4, &[2, 2]).share(Share::None).links(Linking::Groups(2)),
        e("local on rank 0", (1, 3), &[], 2, &[]).share(Share::None),
        e("tile that divides", (1, 2), &[6, 7], 4, &[3, 2]).share(Share::Tile(vec![2, 3])),
        e("tile that does not", (3, 2), &[5, 6], 3, &[2, 2])
            .share(Share::Tile(vec![3, 2]))
            .pad(Padding::Same),
        e("tile 1x1", (1, 2), &[4, 4], 3, &[3, 3]).share(Share::Tile(vec![1, 1])),
        e("tile 3d", (1, 1), &[3, 4, 5], 2, &[2, 2, 2]).share(Share::Tile(vec![2, 1, 2])),
        e("tiled table", (1, 2), &[5, 5], 3, &[2, 2]).share(Share::Tile(vec![2, 2])).rows(2, rows),
        e("local table", (1, 2), &[4, 3], 3, &[2, 2]).share(Share::None).rows(2, rows).no_bias(),
    ]
}

/// Cases of the forward operation.
pub(super) fn conv() -> Vec<Case> {
    let case = |e: Example| {
        let op = Conv { channels: e.channels, geometry: e.geometry, bias: e.bias };
        let (windows, _) = op.windows(&e.x).expect("a legal geometry");
        let out: Vec<usize> = windows.iter().map(|w| w.out).collect();
        let mut inputs = vec![e.x.clone()];
        inputs.push(op.geometry.weight_ty(&e.x, op.channels, &out).expect("small weights"));
        if op.bias {
            inputs.push(op.geometry.bias_ty(&e.x, op.channels, &out).expect("small biases"));
        }
        Case::new(e.name, op, inputs)
    };
    examples().into_iter().map(case).collect()
}
