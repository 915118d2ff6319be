//! `Gather` and `GatherND` whose indices depend on the input, as embeddings have them, and `GatherND` with known ones.
//!
//! Every index is compared with every place. A table whose elements are all finite is multiplied by the ones and zeros that
//! come of it, which is exact; of anything else the elements are chosen and summed, so that an infinity in one row stays there.
//! An index beyond the axis, which the standard forbids, gives zeros.

use super::chosen::bounded;
use super::composed::{Build, int, list, number, typed};
use super::{Operands, Results, need};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::host::{Data, Host};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    (at.node.op_type == "GatherND").then(|| Ok(vec![Build { cx }.gather_nd(at, x)?]))
}

/// `Gather` where indices depend on the input.
///
/// # Errors
/// Operands that do not fit; more pairs than are sensible.
pub(super) fn computed(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
    let mut b = Build { cx };
    let (data, indices) = (need(x, 0)?, need(x, 1)?);
    let dims = data.dims().to_vec();
    let a = axis(at.int("axis", 0)?, dims.len())?;
    let others: Vec<usize> = (0..dims.len()).filter(|d| *d != a).collect();
    let order: Vec<usize> = [a].into_iter().chain(others.iter().copied()).collect();
    let rest = others.iter().map(|d| dims[*d]).product();
    let base = if a == 0 { data.clone() } else { b.transposed(data, &order)? };
    let place = b.wrapped(indices, dims[a])?;
    let count = indices.dims().iter().product();
    let place = b.reshaped(&typed(place, Elem::Float), &[count])?;
    let rows = b.rows(&base, [dims[a], rest], &place)?;
    // The indices' axes stand first; they belong where the axis was.
    let among = indices.dims().len();
    let to: Vec<usize> = indices.dims().iter().copied().chain(others.iter().map(|d| dims[*d])).collect();
    let y = b.reshaped(&rows, &to)?;
    let order: Vec<usize> = (among..among + a).chain(0..among).chain(among + a..to.len()).collect();
    b.transposed(&y, &order).map(|y| typed(y, data.elem()))
}

/// How indices of several axes lie in what they index.
struct Place {
    /// Axes that indices and data share in front.
    batch: usize,
    /// Axes up to the last that is indexed.
    depth: usize,
    /// Indices of each part of the batch.
    each: usize,
    /// Extents of the result.
    to: Vec<usize>,
}

impl Place {
    fn of(at: &At<'_>, dims: &[usize], indices: &[usize]) -> Result<Self, String> {
        let wrong = || format!("indices of extents {indices:?} into {dims:?}");
        let [lead @ .., depth] = indices else { return Err("indices without a dimension".into()) };
        let batch = usize::try_from(at.int("batch_dims", 0)?).map_err(|_| wrong())?;
        let fits = batch <= lead.len() && batch < dims.len() && lead[..batch] == dims[..batch];
        if !fits || *depth == 0 || *depth > dims.len() - batch {
            return Err(wrong());
        }
        let depth = batch + depth;
        let to = lead.iter().chain(&dims[depth..]).copied().collect();
        Ok(Self { batch, depth, each: lead[batch..].iter().product::<usize>().max(1), to })
    }
}

impl Build<'_> {
    /// Whole parts by indices of several axes at once: they become one index into rows.
    fn gather_nd(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let (data, indices) = (need(x, 0)?, need(x, 1)?);
        let dims = data.dims().to_vec();
        let place = Place::of(at, &dims, indices.dims())?;
        let (rows, rest) =
            (dims[..place.depth].iter().product::<usize>(), dims[place.depth..].iter().product::<usize>());
        let picked = match indices {
            Value::Host(known) => {
                let table = place.table(&dims, known)?;
                let flat: Vec<usize> =
                    [rows].into_iter().chain(dims[place.depth..].iter().copied()).collect();
                let flat = self.reshaped(data, &flat)?;
                self.call("Gather", &[&flat, &Value::Host(Host::ints(table))], vec![int("axis", 0)])?
            }
            Value::Graph(_) => {
                let at = self.joined(&place, &dims, indices)?;
                let picked = self.rows(data, [rows, rest], &at)?;
                typed(picked, data.elem())
            }
        };
        self.reshaped(&picked, &place.to)
    }

    /// Computed indices of several axes as one index into rows, with the part of the batch that each belongs to.
    fn joined(&mut self, place: &Place, dims: &[usize], indices: &Value) -> Result<Value, String> {
        let columns = place.depth - place.batch;
        let count = indices.dims().iter().product::<usize>() / columns;
        let split = self.reshaped(&typed(indices.clone(), Elem::Float), &[count, columns])?;
        let parts = (0..count).map(|r| r / place.each);
        let mut at = if place.batch > 0 { Some(typed(list(parts), Elem::Float)) } else { None };
        for (column, extent) in dims[place.batch..place.depth].iter().enumerate() {
            let one = Value::Host(Host::new(Vec::new(), Elem::Int, vec![column as f64]));
            let one = self.call("Gather", &[&split, &one], vec![int("axis", 1)])?;
            let one = self.wrapped(&one, *extent)?;
            at = Some(match at {
                None => one,
                Some(before) => {
                    let before = self.call("Mul", &[&before, &number(*extent as f64)], Vec::new())?;
                    self.call("Add", &[&before, &one], Vec::new())?
                }
            });
        }
        at.ok_or_else(|| "indices without a dimension".into())
    }

    /// `y[p, r] = x[place[p], r]`, with `x` of so many rows and columns in whatever axes.
    fn rows(&mut self, x: &Value, [rows, rest]: [usize; 2], place: &Value) -> Result<Value, String> {
        let count = place.dims().iter().product();
        let finite = self.finite(x);
        let here = match finite {
            true => bounded(&[count, rows], "a choice of computed places"),
            false => bounded(&[count, rows, rest], "a choice of computed places"),
        }
        .and_then(|()| self.places(place, rows))?;
        // A table that has these extents keeps its name.
        let x = typed(x.clone(), Elem::Float);
        let x = if x.dims() == [rows, rest] { x } else { self.reshaped(&x, &[rows, rest])? };
        if finite {
            let one = self.call("Where", &[&here, &number(1.0), &number(0.0)], Vec::new())?;
            return self.call("MatMul", &[&one, &x], Vec::new());
        }
        let here = self.reshaped(&here, &[count, rows, 1])?;
        let x = self.reshaped(&x, &[1, rows, rest])?;
        let chosen = self.call("Where", &[&here, &x, &number(0.0)], Vec::new())?;
        self.call("ReduceSum", &[&chosen, &list([1])], vec![int("keepdims", 0)])
    }
}

impl Build<'_> {
    /// Whether all elements are known to be finite, so that zero times any of them is zero. Each tensor of the file is looked
    /// through once, others as long as the budget for folding lasts.
    fn finite(&mut self, x: &Value) -> bool {
        let Value::Host(h) = x else { return false };
        let all = |h: &Host| h.f32s().iter().all(|x| x.is_finite());
        match (&h.data, &h.name) {
            (Data::Fill(x), _) => (*x as f32).is_finite(),
            (Data::Raw(_), Some(name)) => *self.cx.finite.entry(name.clone()).or_insert_with(|| all(h)),
            (Data::Raw(_) | Data::Values(_), _) => self.cx.charge(h.len() as u64) && all(h),
        }
    }
}

impl Place {
    /// Known indices as one index into rows.
    fn table(&self, dims: &[usize], indices: &Host) -> Result<Vec<i64>, String> {
        let mut table = Vec::new();
        for (r, row) in indices.integers().chunks(self.depth - self.batch).enumerate() {
            // Rows of one part of the batch index into that part.
            let mut place = (r / self.each) as i64;
            for (i, d) in row.iter().zip(&dims[self.batch..]) {
                let i = if *i < 0 { i + *d as i64 } else { *i };
                if !(0..*d as i64).contains(&i) {
                    return Err(format!("an index {row:?} beyond {dims:?}"));
                }
                place = place * *d as i64 + i;
            }
            table.push(place);
        }
        Ok(table)
    }
}
