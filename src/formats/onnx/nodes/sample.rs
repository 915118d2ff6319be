//! `GridSample` and `AffineGrid`: elements at computed positions, as products of matrices.
//!
//! A resampling is separable: output `o` is `Σ_i w_0[o, i] Σ_j w_1[o, j] x[i, j]`, where `w` is the kernel of the mode at the
//! distance of element `i` from the position that `o` looks at. The weights are computed from the grid by elementwise operations,
//! the sums are products of matrices, so all of it can be trained, and no address depends on a value. What lies outside follows
//! ONNX Runtime: it counts for nothing, positions are held inside, or they are reflected.

use super::composed::{Build, int, ints, list, number, typed};
use super::{Operands, Results, known_ints, need};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

/// Samples with a row of weights or of sums each: more elements than this are no layer of a network.
const SUMS_MAX: usize = 1 << 27;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let mut b = Build { cx };
    let result = match at.node.op_type.as_str() {
        "GridSample" => b.grid_sample(at, x),
        "AffineGrid" => b.affine_grid(at, x),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

/// What the attributes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What stands outside of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// How positions along one axis become weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    mode: Mode,
    outside: Outside,
    corners: bool,
}

/// `Ok` where samples of such data stay within what a layer of a network may take.
pub(super) fn bounded(dims: &[usize], samples: usize, how: How) -> Result<(), String> {
    let grown: Vec<usize> = dims[2..].iter().map(|d| d + 2 * how.beyond() as usize).collect();
    let row = grown[1..].iter().product::<usize>().checked_mul(dims[1]).map(|r| r.max(grown[0]));
    let all = row.and_then(|r| r.checked_mul(samples)?.checked_mul(dims[0])).filter(|all| *all <= SUMS_MAX);
    all.map(|_| ()).ok_or_else(|| "samples of more elements than is sensible".into())
}

impl How {
    /// Linear, with zeros outside.
    pub(super) const LINEAR: Self = Self { mode: Mode::Linear, outside: Outside::Zeros, corners: true };

    fn of(at: &At<'_>) -> Result<Self, String> {
        let mode = match at.text("mode", if at.opset < 20 { "bilinear" } else { "linear" })? {
            "nearest" => Mode::Nearest,
            "linear" | "bilinear" => Mode::Linear,
            "cubic" | "bicubic" => Mode::Cubic,
            other => return Err(format!("`mode` {other}")),
        };
        let outside = match at.text("padding_mode", "zeros")? {
            "zeros" => Outside::Zeros,
            "border" => Outside::Border,
            "reflection" => Outside::Reflection,
            other => return Err(format!("`padding_mode` {other}")),
        };
        Ok(Self { mode, outside, corners: at.flag("align_corners", false)? })
    }

    /// The ends of the range of positions in an axis of `n`.
    fn range(self, n: usize) -> (f64, f64) {
        if self.corners { (0.0, n as f64 - 1.0) } else { (-0.5, n as f64 - 0.5) }
    }

    /// Elements beyond each end that a kernel inside the range reaches.
    fn beyond(self) -> i64 {
        if self.mode == Mode::Cubic && self.outside != Outside::Zeros { 2 } else { 0 }
    }

    /// The element that stands at `i`, which may lie outside.
    fn stands_at(self, i: i64, n: usize) -> usize {
        let last = n as i64 - 1;
        if self.outside == Outside::Border {
            return i.clamp(0, last) as usize;
        }
        let (lo, hi) = self.range(n);
        let span = hi - lo;
        let mut x = i as f64;
        // A few turns at most: `i` is at most two elements outside.
        for _ in 0..4 {
            x = if span > 0.0 && x < lo { 2.0 * lo - x } else { x };
            x = if span > 0.0 && x > hi { 2.0 * hi - x } else { x };
        }
        (x.round() as i64).clamp(0, last) as usize
    }
}

impl Build<'_> {
    pub(super) fn bin(&mut self, op: &str, a: &Value, b: &Value) -> Result<Value, String> {
        self.call(op, &[a, b], Vec::new())
    }

    pub(super) fn un(&mut self, op: &str, a: &Value) -> Result<Value, String> {
        self.call(op, &[a], Vec::new())
    }

    /// `a * x + b`
    pub(super) fn line(&mut self, x: &Value, a: f64, b: f64) -> Result<Value, String> {
        let x = self.bin("Mul", x, &number(a))?;
        self.bin("Add", &x, &number(b))
    }

    fn grid_sample(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let how = How::of(at)?;
        let (data, grid) = (need(x, 0)?, need(x, 1)?);
        let (dims, places) = (data.dims().to_vec(), grid.dims().to_vec());
        let rank = dims.len().saturating_sub(2);
        let fits = rank >= 1
            && places.len() == rank + 2
            && places[0] == dims[0]
            && places.last() == Some(&rank)
            && dims.iter().chain(&places).all(|d| *d > 0);
        if !fits {
            return Err(format!("a grid of extents {places:?} for {dims:?}"));
        }
        let samples = places[1..=rank].iter().product::<usize>();
        bounded(&dims, samples, how)?;
        let grid = self.reshaped(grid, &[dims[0], samples, rank])?;
        // Coordinates are listed from the last axis on.
        let mut positions = Vec::new();
        for (i, n) in dims[2..].iter().enumerate() {
            let column = (rank - 1 - i) as i64;
            let ends = [column, column + 1].map(|i| Value::Host(Host::ints([i])));
            let x = self.call("Slice", &[&grid, &ends[0], &ends[1], &list([2])], Vec::new())?;
            let n = *n as f64;
            positions.push(match how.corners {
                true => self.line(&x, (n - 1.0) / 2.0, (n - 1.0) / 2.0)?,
                false => self.line(&x, n / 2.0, (n - 1.0) / 2.0)?,
            });
        }
        let sums = self.sampled(data, &positions, samples, how)?;
        let to: Vec<usize> = dims[..2].iter().chain(&places[1..=rank]).copied().collect();
        let y = self.reshaped(&sums, &to)?;
        Ok(typed(y, data.elem()))
    }

    /// `[n, c, samples]` of data `[n, c, grid…]` at positions `[n, samples, 1]` on each axis, counted in elements.
    pub(super) fn sampled(
        &mut self,
        data: &Value,
        positions: &[Value],
        samples: usize,
        how: How,
    ) -> Result<Value, String> {
        let dims = data.dims().to_vec();
        let (n, c, rank) = (dims[0], dims[1], positions.len());
        bounded(&dims, samples, how)?;
        let grown: Vec<usize> = dims[2..].iter().map(|d| d + 2 * how.beyond() as usize).collect();
        // The first axis: one product of matrices.
        let mut sums = self.extended(data, how)?;
        let order: Vec<usize> = [0, 2, 1].into_iter().chain(3..rank + 2).collect();
        sums = self.transposed(&sums, &order)?;
        sums = self.reshaped(&sums, &[n, grown[0], c * grown[1..].iter().product::<usize>()])?;
        let weights = self.weights(&positions[0], dims[2], how)?;
        sums = self.bin("MatMul", &weights, &sums)?;
        // Each further one: a product of each sample's sums with its weights.
        for axis in 1..rank {
            let rest: usize = grown[axis + 1..].iter().product();
            let mut to = vec![n * samples, c, grown[axis], rest];
            sums = self.reshaped(&sums, &to)?;
            if rest == 1 {
                to.pop();
                sums = self.reshaped(&sums, &to)?;
            } else {
                sums = self.transposed(&sums, &[0, 1, 3, 2])?;
                sums = self.reshaped(&sums, &[n * samples, c * rest, grown[axis]])?;
            }
            let weights = self.weights(&positions[axis], dims[axis + 2], how)?;
            let weights = self.reshaped(&weights, &[n * samples, grown[axis], 1])?;
            sums = self.bin("MatMul", &sums, &weights)?;
        }
        let sums = self.reshaped(&sums, &[n, samples, c])?;
        self.transposed(&sums, &[0, 2, 1])
    }

    /// The data with the elements beyond its ends that kernels reach.
    fn extended(&mut self, data: &Value, how: How) -> Result<Value, String> {
        let mut data = data.clone();
        if how.beyond() == 0 {
            return Ok(data);
        }
        for axis in 2..data.dims().len() {
            let extent = data.dims()[axis];
            let reach = -how.beyond()..extent as i64 + how.beyond();
            let table = list(reach.map(|i| how.stands_at(i, extent)));
            data = self.call("Gather", &[&data, &table], vec![int("axis", axis as i64)])?;
        }
        Ok(data)
    }

    /// For each sample the weights `[n, sample, element]` along an axis of `extent`.
    fn weights(&mut self, x: &Value, extent: usize, how: How) -> Result<Value, String> {
        let x = if how.mode == Mode::Nearest { self.un("Round", x)? } else { x.clone() };
        let x = self.held(&x, extent, how)?;
        let reach = -how.beyond()..extent as i64 + how.beyond();
        let elements = Host::new(vec![reach.clone().count()], Elem::Float, reach.map(|i| i as f64).collect());
        let d = self.bin("Sub", &x, &Value::Host(elements))?;
        let d = self.un("Abs", &d)?;
        if how.mode != Mode::Cubic {
            let hat = self.line(&d, -1.0, 1.0)?;
            return self.un("Relu", &hat);
        }
        // Keys' kernel with a = -0.75: `((a + 2) d - (a + 3)) d² + 1` up to 1, `((a d - 5 a) d + 8 a) d - 4 a` up to 2.
        let a = -0.75;
        let near = self.line(&d, a + 2.0, -(a + 3.0))?;
        let square = self.bin("Mul", &d, &d)?;
        let near = self.bin("Mul", &near, &square)?;
        let near = self.bin("Add", &near, &number(1.0))?;
        let far = self.line(&d, a, -5.0 * a)?;
        let far = self.bin("Mul", &far, &d)?;
        let far = self.bin("Add", &far, &number(8.0 * a))?;
        let far = self.bin("Mul", &far, &d)?;
        let far = self.bin("Add", &far, &number(-4.0 * a))?;
        let below = |b: &mut Self, limit: f64| b.bin("Less", &d, &number(limit));
        let (one, two) = (below(self, 1.0)?, below(self, 2.0)?);
        let far = self.call("Where", &[&two, &far, &number(0.0)], Vec::new())?;
        self.call("Where", &[&one, &near, &far], Vec::new())
    }

    /// Positions outside held inside or reflected, as the mode says.
    fn held(&mut self, x: &Value, extent: usize, how: How) -> Result<Value, String> {
        let (lo, hi) = how.range(extent);
        let last = extent as f64 - 1.0;
        let clipped = |b: &mut Self, x: &Value| b.call("Clip", &[x, &number(0.0), &number(last)], Vec::new());
        match how.outside {
            Outside::Zeros => Ok(x.clone()),
            // Only what is out of range; a cubic kernel near the edge stays where it is.
            Outside::Border if how.mode == Mode::Cubic => {
                let inside = clipped(self, x)?;
                let (under, over) = (self.bin("Less", x, &number(lo))?, self.bin("Less", &number(hi), x)?);
                let out = self.bin("Or", &under, &over)?;
                self.call("Where", &[&out, &inside, x], Vec::new())
            }
            Outside::Border => clipped(self, x),
            Outside::Reflection if hi <= lo => clipped(self, x),
            Outside::Reflection => {
                // `lo + span - |d mod (2 span) - span|`, with `d` the distance from `lo`.
                let span = hi - lo;
                let d = self.line(x, 1.0, -lo)?;
                let d = self.un("Abs", &d)?;
                let turns = self.line(&d, 0.5 / span, 0.0)?;
                let turns = self.un("Floor", &turns)?;
                let turned = self.line(&turns, -2.0 * span, -span)?;
                let off = self.bin("Add", &d, &turned)?;
                let off = self.un("Abs", &off)?;
                let inside = self.line(&off, -1.0, lo + span)?;
                // The kernel at the very edge of what elements there are.
                if how.mode == Mode::Cubic { Ok(inside) } else { clipped(self, &inside) }
            }
        }
    }

    /// The grid that an affine map of each sample gives: base positions times the transposed map.
    fn affine_grid(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let theta = need(x, 0)?;
        let size = known_ints(x, 1, "`size`")?.ok_or("`size` is missing")?;
        let corners = at.flag("align_corners", false)?;
        let size: Option<Vec<usize>> =
            size.iter().map(|s| usize::try_from(*s).ok().filter(|s| *s > 0)).collect();
        let size = size.filter(|s| (3..=5).contains(&s.len())).ok_or("a `size` that is none")?;
        let (n, grid) = (size[0], &size[2..]);
        let rank = grid.len();
        if theta.dims() != [n, rank, rank + 1] {
            return Err(format!("maps of extents {:?} for a grid of {rank} axes", theta.dims()));
        }
        let samples = grid.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).filter(|s| *s <= SUMS_MAX / 4);
        let samples = samples.ok_or("a grid of more positions than is sensible")?;
        let place = |i: usize, extent: usize| match (corners, extent) {
            (true, 1) => 0.0,
            (true, _) => 2.0 * i as f64 / (extent as f64 - 1.0) - 1.0,
            (false, _) => (2.0 * i as f64 + 1.0) / extent as f64 - 1.0,
        };
        let mut base = Vec::with_capacity(samples * (rank + 1));
        for s in 0..samples {
            let mut rest = s;
            // The last axis first, as in the grid.
            for extent in grid.iter().rev() {
                base.push(place(rest % extent, *extent));
                rest /= extent;
            }
            base.push(1.0);
        }
        let base = Value::Host(Host::new(vec![samples, rank + 1], Elem::Int, base));
        let map = self.call("Transpose", &[theta], vec![ints("perm", &[0, 2, 1])])?;
        let y = self.bin("MatMul", &typed(base, Elem::Float), &map)?;
        let to: Vec<usize> = [n].into_iter().chain(grid.iter().copied()).chain([rank]).collect();
        self.reshaped(&y, &to)
    }
}
