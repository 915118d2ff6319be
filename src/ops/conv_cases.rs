//! Test cases of the convolution family: one list of geometries, from which each of its operations takes its own.

use std::sync::Arc;

use super::args::Links;
use super::case::Case;
use super::conv::Conv;
use super::conv_grad::ConvGrad;
use super::geometry::{Geometry, Linking, Share};
use super::unconv::Unconv;
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
        e("groups on long rows", (2, 32), &[7, 19], 64, &[3, 3])
            .links(Linking::Groups(8))
            .pad(Padding::Same)
            .stride(&[2, 1]),
        e("groups of two on a line", (3, 16), &[40], 16, &[5]).links(Linking::Groups(8)),
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
        e("tile of many sets", (1, 3), &[6, 7], 4, &[2, 2]).share(Share::Tile(vec![5, 4])),
        e("tile 3d", (1, 1), &[3, 4, 5], 2, &[2, 2, 2]).share(Share::Tile(vec![2, 1, 2])),
        e("tiled table", (1, 2), &[5, 5], 3, &[2, 2]).share(Share::Tile(vec![2, 2])).rows(2, rows),
        e("local table", (1, 2), &[4, 3], 3, &[2, 2]).share(Share::None).rows(2, rows).no_bias(),
    ]
}

impl Example {
    /// The output's type.
    fn y(&self) -> TensorTy {
        let (windows, _) = self.geometry.window.resolve(&self.x, false).expect("a legal geometry");
        let mut dims = vec![self.x.n(), self.channels];
        dims.extend(windows.iter().map(|w| w.out));
        self.x.with_dims(&dims).expect("a small tensor")
    }
}

/// Cases of the forward operation.
pub(super) fn conv() -> Vec<Case> {
    let case = |e: Example| {
        let y = e.y();
        let mut inputs = vec![e.x.clone()];
        inputs.push(e.geometry.weight_ty(&e.x, e.channels, y.grid_dims()).expect("small weights"));
        if e.bias {
            inputs.push(e.geometry.bias_ty(&e.x, e.channels, y.grid_dims()).expect("small biases"));
        }
        Case::new(e.name, Conv { channels: e.channels, geometry: e.geometry, bias: e.bias }, inputs)
    };
    examples().into_iter().map(case).collect()
}

/// Cases of the transposed operation: each example backwards, to the size it came from and to the least.
pub(super) fn unconv() -> Vec<Case> {
    let mut cases = Vec::new();
    for e in examples().into_iter().chain(examples_of_phases()) {
        let y = e.y();
        for (size, suffix) in [(Some(e.x.grid_dims().to_vec()), ""), (None, ", least")] {
            let op = Unconv { channels: e.x.c(), geometry: e.geometry.clone(), size, bias: e.bias };
            // The least size may be none at all.
            let Ok(weight) = op.output(&y).and_then(|out| op.weight_ty(&y, &out)) else { continue };
            let mut inputs = vec![y.clone(), weight];
            if e.bias {
                inputs.push(TensorTy::new([("o", op.channels)]).expect("small biases"));
            }
            cases.push(Case::new(format!("{}{suffix}", e.name), op, inputs));
        }
    }
    cases
}

/// Strides and dilations that make every kind of phase.
fn examples_of_phases() -> Vec<Example> {
    let e = Example::new;
    vec![
        e("kernel 4, stride 2, pad 1", (3, 4), &[8, 6], 3, &[4, 4])
            .stride(&[2, 2])
            .pad(sides(&[(1, 1), (1, 1)])),
        e("kernel 1, stride 2", (1, 3), &[7, 8], 4, &[1, 1]).stride(&[2, 2]),
        e("stride and dilation with a common factor", (1, 2), &[13], 3, &[3]).stride(&[4]).dilate(&[2]),
        e("stride and dilation without", (1, 2), &[16], 3, &[4]).stride(&[3]).dilate(&[2]).pad(Padding::Same),
        e("many phases", (1, 2), &[13, 15], 3, &[6, 9]).stride(&[5, 7]),
        e("many phases, padded", (3, 1), &[17, 12], 2, &[12, 8])
            .stride(&[9, 4])
            .pad(sides(&[(4, 5), (2, 2)])),
        e("many phases, dilated", (1, 2), &[29], 2, &[5]).stride(&[33]).pad(sides(&[(9, 3)])).dilate(&[6]),
        e("depthwise, stride 2", (1, 8), &[9, 8], 8, &[3, 3]).links(Linking::Groups(8)).stride(&[2, 2]),
        e("one position", (3, 4), &[5, 5], 16, &[5, 5]),
        e("one position along an axis, stride 2", (2, 16), &[4, 9], 3, &[4, 3]).stride(&[2, 2]),
        e("one position, padded", (1, 3), &[3, 3], 5, &[5, 4]).pad(sides(&[(1, 1), (1, 0)])),
    ]
}

/// Cases of the weight gradient.
pub(super) fn conv_grad() -> Vec<Case> {
    let linked = |e: &Example| e.geometry.link_count(e.x.c(), e.channels) > 0;
    let case = |e: Example| {
        let inputs = vec![e.x.clone(), e.y()];
        Case::new(e.name, ConvGrad { geometry: e.geometry }, inputs)
    };
    examples().into_iter().chain(long()).filter(linked).map(case).collect()
}

/// So many positions that the gradient by the weight goes over chunks of them.
fn long() -> Vec<Example> {
    vec![
        Example::new("chunks of rows", (2, 3), &[18, 18], 20, &[3, 3]),
        Example::new("chunks of images, blocks of maps", (12, 32), &[9, 9], 64, &[2, 2])
            .pad(sides(&[(1, 1), (1, 1)])),
        Example::new("chunks of a row", (1, 2), &[1283], 16, &[4]),
        Example::new("steps past positions, blocks of maps", (4, 32), &[24, 24], 64, &[1, 1]).stride(&[2, 2]),
        Example::new("chunks with steps", (3, 16), &[33, 33], 48, &[3, 3]).stride(&[2, 2]),
        Example::new("chunks of volumes", (1, 2), &[9, 10, 12], 16, &[2, 2, 2]),
    ]
}
