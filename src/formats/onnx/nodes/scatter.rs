//! What is put to places: `ScatterND`, `ScatterElements`, `MaxUnpool`, `Col2Im`, as a few nodes of the standard.
//!
//! Known places are a table: each element of the result is one of the data's or one of the updates'; computed ones are for `chosen`. What `MaxUnpool` puts back
//! into the windows that it came from is compared with the place of every element of its window.

use super::composed::{Build, int, ints, number, typed};
use super::{Operands, Results, known_ints, need};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

/// Tables of more places than this are refused.
const PLACES_MAX: usize = 1 << 24;
/// More updates of one element than this are refused.
const LAYERS_MAX: usize = 64;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let mut b = Build { cx };
    let result = match at.node.op_type.as_str() {
        "ScatterND" => b.scatter_nd(at, x),
        "ScatterElements" | "Scatter" => b.scatter_elements(at, x),
        "MaxUnpool" => b.unpool(at, x),
        "Col2Im" => b.col2im(at, x),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

/// Place in a row-major tensor.
fn flat(at: &[usize], dims: &[usize]) -> usize {
    at.iter().zip(dims).fold(0, |place, (i, d)| place * d + i)
}

/// The index of each element of a row-major tensor.
fn unflat(mut place: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for (i, d) in dims.iter().enumerate().rev() {
        at[i] = place % (*d).max(1);
        place /= (*d).max(1);
    }
    at
}

fn inside(i: i64, extent: usize) -> Result<usize, String> {
    let from = if i < 0 { i + extent as i64 } else { i };
    usize::try_from(from).ok().filter(|p| *p < extent).ok_or_else(|| format!("an index {i} beyond {extent}"))
}

impl Build<'_> {
    fn scatter_nd(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        if matches!(need(x, 1)?, Value::Graph(_)) {
            return self.scatter_nd_computed(at, x);
        }
        let (data, updates) = (need(x, 0)?, need(x, 2)?);
        let indices = need(x, 1)?.known("where elements are put")?;
        let dims = data.dims().to_vec();
        let depth = indices.dims.last().copied().filter(|d| (1..=dims.len()).contains(d));
        let depth = depth.ok_or_else(|| format!("indices of extents {:?} into {dims:?}", indices.dims))?;
        let lead = &indices.dims[..indices.dims.len() - 1];
        let whole: Vec<usize> = lead.iter().chain(&dims[depth..]).copied().collect();
        if updates.dims() != whole {
            return Err(format!("updates of extents {:?} where {whole:?} are needed", updates.dims()));
        }
        let mut places = Vec::new();
        for row in indices.integers().chunks(depth) {
            let at: Result<Vec<usize>, String> = row.iter().zip(&dims).map(|(i, d)| inside(*i, *d)).collect();
            places.push(flat(&at?, &dims[..depth]));
        }
        let rest: usize = dims[depth..].iter().product();
        self.scattered(at, data, updates, &places, rest)
    }

    fn scatter_elements(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        if matches!(need(x, 1)?, Value::Graph(_)) {
            return self.scatter_elements_computed(at, x);
        }
        let (data, updates) = (need(x, 0)?, need(x, 2)?);
        let indices = need(x, 1)?.known("where elements are put")?;
        let dims = data.dims().to_vec();
        let a = axis(at.int("axis", 0)?, dims.len())?;
        let small = |(d, i): (usize, &usize)| d == a || *i <= dims[d];
        if indices.dims.len() != dims.len()
            || updates.dims() != indices.dims
            || !indices.dims.iter().enumerate().all(small)
        {
            return Err(format!("indices of extents {:?} into {dims:?}", indices.dims));
        }
        let mut places = Vec::new();
        for (k, i) in indices.integers().iter().enumerate() {
            let mut at = unflat(k, &indices.dims);
            at[a] = inside(*i, dims[a])?;
            places.push(flat(&at, &dims));
        }
        self.scattered(at, data, updates, &places, 1)
    }

    /// Rows of `rest` elements put to known places.
    fn scattered(
        &mut self,
        at: &At<'_>,
        data: &Value,
        updates: &Value,
        places: &[usize],
        rest: usize,
    ) -> Result<Value, String> {
        let dims = data.dims().to_vec();
        if places.is_empty() || rest == 0 {
            return Ok(data.clone());
        }
        let rows = dims.iter().product::<usize>() / rest;
        if rows.saturating_add(places.len()) > PLACES_MAX {
            return Err(format!("a table of {rows} places"));
        }
        let join = match at.text("reduction", "none")? {
            "none" => None,
            "add" => Some(("Add", 0.0)),
            "mul" => Some(("Mul", 1.0)),
            "max" => Some(("Max", f64::NEG_INFINITY)),
            "min" => Some(("Min", f64::INFINITY)),
            other => return Err(format!("`reduction` {other}")),
        };
        let base = self.reshaped(data, &[rows, rest])?;
        let new = self.reshaped(updates, &[places.len(), rest])?;
        let Some((op, neutral)) = join else {
            let mut table: Vec<i64> = (0..rows as i64).collect();
            places.iter().enumerate().for_each(|(k, p)| table[*p] = (rows + k) as i64);
            let all = self.call("Concat", &[&base, &new], vec![int("axis", 0)])?;
            let y = self.call("Gather", &[&all, &Value::Host(Host::ints(table))], vec![int("axis", 0)])?;
            let y = self.reshaped(&y, &dims)?;
            return Ok(typed(y, data.elem()));
        };
        // The first update of every place, then the second, and so on; places without one get what changes nothing.
        let mut layers: Vec<Vec<i64>> = Vec::new();
        let mut depth = vec![0usize; rows];
        for (k, p) in places.iter().enumerate() {
            if depth[*p] == layers.len() {
                if layers.len() >= LAYERS_MAX || rows.saturating_mul(layers.len()) > PLACES_MAX {
                    return Err(format!("more than {} updates of one element of {rows}", layers.len()));
                }
                layers.push(vec![places.len() as i64; rows]);
            }
            layers[depth[*p]][*p] = k as i64;
            depth[*p] += 1;
        }
        let row = Value::Host(Host::filled(vec![1, rest], Elem::Float, neutral));
        let new = self.call("Concat", &[&typed(new, Elem::Float), &row], vec![int("axis", 0)])?;
        let mut y = typed(base, Elem::Float);
        for table in layers {
            let layer =
                self.call("Gather", &[&new, &Value::Host(Host::ints(table))], vec![int("axis", 0)])?;
            y = self.call(op, &[&y, &layer], Vec::new())?;
        }
        let y = self.reshaped(&y, &dims)?;
        Ok(typed(y, data.elem()))
    }

    /// Maxima back to where they were; the rest is 0. Windows that do not overlap are what such indices come from.
    fn unpool(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let (data, places) = (need(x, 0)?, need(x, 1)?);
        let dims = data.dims().to_vec();
        let rank = dims.len().saturating_sub(2);
        let sizes = |list: Option<&[i64]>, or: usize| -> Result<Vec<usize>, String> {
            let sizes = match list {
                Some(list) => list.iter().map(|s| usize::try_from(*s).unwrap_or(usize::MAX)).collect(),
                None => vec![or; rank],
            };
            let right = sizes.len() == rank && sizes.iter().all(|s| *s <= 1 << 16);
            if right { Ok(sizes) } else { Err(format!("windows of {sizes:?} over {dims:?}")) }
        };
        let kernel = sizes(Some(at.ints("kernel_shape")?.ok_or("attribute `kernel_shape` is missing")?), 1)?;
        let stride = sizes(at.ints("strides")?, 1)?;
        let pads = at.ints("pads")?.is_some_and(|p| p.iter().any(|p| *p != 0));
        if kernel != stride || pads || rank == 0 || places.dims() != dims {
            return Err("windows that overlap or are padded are not supported".into());
        }
        let grid: Vec<usize> = dims[2..].iter().zip(&stride).map(|(d, s)| d * s).collect();
        let to: Vec<usize> = dims[..2].iter().chain(&grid).copied().collect();
        let len = to.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).filter(|n| *n <= PLACES_MAX);
        let len = len.ok_or("more elements than can be numbered exactly")?;
        // Every element of the result looks at its window's maximum and at where that was.
        let spread = |b: &mut Self, v: &Value| -> Result<Value, String> {
            let mut v = v.clone();
            for (i, s) in stride.iter().enumerate() {
                let table = (0..grid[i]).map(|o| (o / s) as i64);
                let table = Value::Host(Host::ints(table));
                v = b.call("Gather", &[&v, &table], vec![int("axis", i as i64 + 2)])?;
            }
            Ok(v)
        };
        let (value, place) = (spread(self, data)?, spread(self, places)?);
        let own = Host::new(to.clone(), Elem::Int, (0..len).map(|i| i as f64).collect());
        let here = self.call("Equal", &[&place, &Value::Host(own)], Vec::new())?;
        let mut y = self.call("Where", &[&here, &value, &number(0.0)], Vec::new())?;
        if let Some(shape) = known_ints(x, 2, "the shape of the result")? {
            let more: Vec<i64> = shape.iter().zip(&to).map(|(s, d)| s - *d as i64).collect();
            if shape.len() != to.len() || more.iter().any(|m| *m < 0) {
                return Err(format!("a result of extents {shape:?} from {to:?}"));
            }
            let ends = Host::ints(vec![0; to.len()].into_iter().chain(more));
            y = self.call("Pad", &[&y, &Value::Host(ends)], Vec::new())?;
        }
        Ok(typed(y, data.elem()))
    }

    /// Sums of overlapping patches: a transposed convolution whose kernels each have a single 1.
    fn col2im(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let data = need(x, 0)?;
        let sizes = |list: Vec<i64>, what: &str| -> Result<Vec<usize>, String> {
            let sizes: Option<Vec<usize>> = list.iter().map(|s| usize::try_from(*s).ok()).collect();
            sizes.filter(|s| s.iter().all(|s| *s <= 1 << 16)).ok_or_else(|| format!("{what} {list:?}"))
        };
        let known =
            |i: usize, what: &str| known_ints(x, i, what)?.ok_or_else(|| format!("{what} is missing"));
        let image = sizes(known(1, "the image's shape")?, "an image of")?;
        let block = sizes(known(2, "the block's shape")?, "a block of")?;
        let rank = image.len();
        let ones = vec![1i64; rank];
        let stride = sizes(at.ints("strides")?.map_or(ones.clone(), <[i64]>::to_vec), "strides")?;
        let dilate = sizes(at.ints("dilations")?.map_or(ones, <[i64]>::to_vec), "dilations")?;
        let pads = sizes(at.ints("pads")?.map_or(vec![0; 2 * rank], <[i64]>::to_vec), "pads")?;
        let taps = block.iter().try_fold(1usize, |p, d| p.checked_mul(*d)).filter(|t| (1..=4096).contains(t));
        let taps = taps.ok_or("a block too large")?;
        let &[n, rows, columns] = data.dims() else { return Err("its operand is no list of patches".into()) };
        if [block.len(), stride.len(), dilate.len()] != [rank; 3] || pads.len() != 2 * rank || rank == 0 {
            return Err("attributes for different numbers of axes".into());
        }
        let (mut grid, mut extra) = (Vec::new(), Vec::new());
        for a in 0..rank {
            let reach = dilate[a] * (block[a].max(1) - 1) + 1;
            let room = (image[a] + pads[a] + pads[a + rank]).checked_sub(reach);
            let room = room.filter(|_| stride[a] > 0).ok_or("a block that does not fit the image")?;
            grid.push(room / stride[a] + 1);
            extra.push(room % stride[a]);
        }
        if grid.iter().product::<usize>() != columns || rows % taps != 0 {
            return Err(format!("patches {:?} of blocks {block:?} over {image:?}", data.dims()));
        }
        let c = rows / taps;
        if rows.saturating_mul(taps) > PLACES_MAX {
            return Err(format!("patches of {rows} elements"));
        }
        let mut kernel = vec![0.0; c * taps * taps];
        (0..c * taps).for_each(|row| kernel[row * taps + row % taps] = 1.0);
        let mut dims = vec![c * taps, 1];
        dims.extend(&block);
        let kernel = Value::Host(Host::new(dims, Elem::Float, kernel));
        let to: Vec<usize> = [n, rows].into_iter().chain(grid).collect();
        let x = self.reshaped(data, &to)?;
        let attributes = vec![
            ints("kernel_shape", &block),
            ints("strides", &stride),
            ints("dilations", &dilate),
            ints("pads", &pads),
            ints("output_padding", &extra),
            int("group", c as i64),
        ];
        let y = self.call("ConvTranspose", &[&x, &kernel], attributes)?;
        Ok(typed(y, data.elem()))
    }
}
