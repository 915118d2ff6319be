//! Places that depend on the input: what is put to computed places, and the greatest elements of an axis. Each is a few nodes of the
//! standard that compare every place with every index, so that all loops have known addresses; what would compare more than
//! [`CHOICES_MAX`] pairs is refused.

use super::composed::{Build, CHOICES_MAX, int, list, number, typed};
use super::{Operands, Results, known_ints, need};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    match at.node.op_type.as_str() {
        "TopK" => Some(Build { cx }.top_k(at, x)),
        _ => None,
    }
}

/// `Ok` where so many pairs are compared at most.
pub(super) fn bounded(extents: &[usize], what: &str) -> Result<(), String> {
    let all = extents.iter().try_fold(1usize, |p, d| p.checked_mul(*d));
    match all.filter(|n| *n <= CHOICES_MAX) {
        Some(_) => Ok(()),
        None => {
            Err(format!("{what} compares {extents:?} places, more than the {CHOICES_MAX} that are sensible"))
        }
    }
}

impl Build<'_> {
    /// `ScatterND` where indices depend on the input: they become one index into rows.
    pub(super) fn scatter_nd_computed(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let (data, indices, updates) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
        let dims = data.dims().to_vec();
        let depth = indices.dims().last().copied().filter(|d| (1..=dims.len()).contains(d));
        let depth = depth.ok_or_else(|| format!("indices of extents {:?} into {dims:?}", indices.dims()))?;
        let lead = &indices.dims()[..indices.dims().len() - 1];
        let whole: Vec<usize> = lead.iter().chain(&dims[depth..]).copied().collect();
        if updates.dims() != whole {
            return Err(format!("updates of extents {:?} where {whole:?} are needed", updates.dims()));
        }
        let (n, rest): (usize, usize) = (lead.iter().product(), dims[depth..].iter().product());
        let rows: usize = dims[..depth].iter().product();
        let split = self.reshaped(indices, &[n, depth])?;
        let mut place: Option<Value> = None;
        for (d, extent) in dims[..depth].iter().enumerate() {
            let one = self.call("Gather", &[&split, &list([d])], vec![int("axis", 1)])?;
            let one = typed(self.wrapped(&one, *extent)?, Elem::Float);
            place = Some(match place {
                None => one,
                Some(before) => {
                    let before = self.call("Mul", &[&before, &number(*extent as f64)], Vec::new())?;
                    self.call("Add", &[&before, &one], Vec::new())?
                }
            });
        }
        let place = place.ok_or("indices without a dimension")?;
        let base = self.reshaped(data, &[rows, rest])?;
        let new = self.reshaped(updates, &[n, rest])?;
        let y = self.put(at, &base, &place, &new)?;
        let y = self.reshaped(&y, &dims)?;
        Ok(typed(y, data.elem()))
    }

    /// `ScatterElements` where indices depend on the input.
    pub(super) fn scatter_elements_computed(
        &mut self,
        at: &At<'_>,
        x: Operands<'_>,
    ) -> Result<Value, String> {
        let (data, indices, updates) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
        let dims = data.dims().to_vec();
        let a = axis(at.int("axis", 0)?, dims.len())?;
        let from = indices.dims().to_vec();
        let small = |(d, i): (usize, &usize)| d == a || *i <= dims[d];
        if from.len() != dims.len() || updates.dims() != from || !from.iter().enumerate().all(small) {
            return Err(format!("indices of extents {from:?} into {dims:?}"));
        }
        let place = self.wrapped(indices, dims[a])?;
        // Where the indices end before the data does, an index beyond the axis puts nothing anywhere.
        let more = (0..dims.len()).map(|d| if d == a { 0 } else { dims[d] - from[d] });
        let pads = list(vec![0; dims.len()].into_iter().chain(more));
        let place =
            self.call("Pad", &[&typed(place, Elem::Float), &pads, &number(dims[a] as f64)], Vec::new())?;
        let new = self.call("Pad", &[&typed(updates.clone(), Elem::Float), &pads], Vec::new())?;
        let order: Vec<usize> = [a].into_iter().chain((0..dims.len()).filter(|d| *d != a)).collect();
        let back: Vec<usize> =
            (0..dims.len()).map(|d| order.iter().position(|o| *o == d).unwrap_or(d)).collect();
        let rest: usize = dims.iter().product::<usize>() / dims[a].max(1);
        let mut rows = [data, &place, &new].into_iter().map(|v| {
            let extent = v.dims()[a];
            let turned = self.transposed(v, &order)?;
            self.reshaped(&turned, &[extent, rest])
        });
        let mut next = || rows.next().unwrap_or_else(|| Err("a lost operand".into()));
        let (base, place, new) = (next()?, next()?, next()?);
        drop(rows);
        let y = self.put(at, &base, &place, &new)?;
        let turned: Vec<usize> = order.iter().map(|d| dims[*d]).collect();
        let y = self.reshaped(&y, &turned)?;
        let y = self.transposed(&y, &back)?;
        Ok(typed(y, data.elem()))
    }

    /// Rows `new[u, r]` put to `base[place[u, r or 0], r]`.
    fn put(&mut self, at: &At<'_>, base: &Value, place: &Value, new: &Value) -> Result<Value, String> {
        let (&[rows, rest], &[n, wide]) = (base.dims(), place.dims()) else {
            return Err("a table of rows".into());
        };
        bounded(&[n, rows, rest], "what is put to computed places")?;
        let place = self.reshaped(place, &[n, 1, wide])?;
        let every = self.reshaped(&list(0..rows), &[1, rows, 1])?;
        let here = self.call("Equal", &[&place, &every], Vec::new())?;
        let new = self.reshaped(&typed(new.clone(), Elem::Float), &[n, 1, rest])?;
        let base = typed(base.clone(), Elem::Float);
        let first = vec![int("keepdims", 0)];
        let (join, reduce, neutral) = match at.text("reduction", "none")? {
            "none" => {
                // Of several updates of one place the last stays.
                let turn = self.reshaped(&list(1..n + 1), &[n, 1, 1])?;
                let turn = typed(turn, Elem::Float);
                let marked = self.call("Where", &[&here, &turn, &number(0.0)], Vec::new())?;
                let last = self.call("ReduceMax", &[&marked, &list([0])], vec![int("keepdims", 1)])?;
                let kept = self.call("Equal", &[&turn, &last], Vec::new())?;
                let chosen = self.call("Where", &[&kept, &new, &number(0.0)], Vec::new())?;
                let sum = self.call("ReduceSum", &[&chosen, &list([0])], first)?;
                let hit = self.reshaped(&last, &[rows, wide])?;
                let hit = self.call("Greater", &[&hit, &number(0.0)], Vec::new())?;
                return self.call("Where", &[&hit, &sum, &base], Vec::new());
            }
            "add" => ("Add", "ReduceSum", 0.0),
            "mul" => ("Mul", "ReduceProd", 1.0),
            "max" => ("Max", "ReduceMax", f64::NEG_INFINITY),
            "min" => ("Min", "ReduceMin", f64::INFINITY),
            other => return Err(format!("`reduction` {other}")),
        };
        let chosen = self.call("Where", &[&here, &new, &number(neutral)], Vec::new())?;
        let all = self.call(reduce, &[&chosen, &list([0])], first)?;
        self.call(join, &[&base, &all], Vec::new())
    }

    /// The `k` greatest (least) elements of an axis in order, and where they stood; of equal ones the first comes first.
    fn top_k(&mut self, at: &At<'_>, x: Operands<'_>) -> Results {
        let data = need(x, 0)?;
        let dims = data.dims().to_vec();
        let a = axis(at.int("axis", -1)?, dims.len())?;
        let k = match at.opset {
            ..10 => at.int("k", 0)?,
            _ => known_ints(x, 1, "`k`")?.and_then(|k| k.first().copied()).ok_or("`k` is missing")?,
        };
        let n = dims[a];
        let k = usize::try_from(k)
            .ok()
            .filter(|k| (1..=n).contains(k))
            .ok_or_else(|| format!("{k} of {n} elements"))?;
        let rest: usize = dims.iter().product::<usize>() / n.max(1);
        bounded(&[rest, n, n], "an order of elements")?;
        let mut order: Vec<usize> = (0..dims.len()).collect();
        order.swap(a, dims.len() - 1);
        let rows = self.transposed(data, &order)?;
        let turned = rows.dims().to_vec();
        let rows = typed(self.reshaped(&rows, &[rest, n])?, Elem::Float);
        let (i, j) = (self.reshaped(&rows, &[rest, n, 1])?, self.reshaped(&rows, &[rest, 1, n])?);
        // An element's place is the number of those that stand before it.
        let sign = if at.flag("largest", true)? { "Greater" } else { "Less" };
        let better = self.call(sign, &[&j, &i], Vec::new())?;
        let same = self.call("Equal", &[&j, &i], Vec::new())?;
        let (to, from) = (self.reshaped(&list(0..n), &[1, n, 1])?, self.reshaped(&list(0..n), &[1, 1, n])?);
        let earlier = self.call("Less", &[&from, &to], Vec::new())?;
        let tied = self.call("And", &[&same, &earlier], Vec::new())?;
        let before = self.call("Or", &[&better, &tied], Vec::new())?;
        let before = self.call("Where", &[&before, &number(1.0), &number(0.0)], Vec::new())?;
        let place = self.call("ReduceSum", &[&before, &list([2])], vec![int("keepdims", 0)])?;
        let place = self.reshaped(&place, &[rest, 1, n])?;
        let wanted = self.reshaped(&list(0..k), &[1, k, 1])?;
        let here = self.call("Equal", &[&place, &typed(wanted, Elem::Float)], Vec::new())?;
        let mut out = Vec::new();
        for (what, elem) in [(j, data.elem()), (typed(from, Elem::Float), Elem::Int)] {
            let chosen = self.call("Where", &[&here, &what, &number(0.0)], Vec::new())?;
            let found = self.call("ReduceSum", &[&chosen, &list([2])], vec![int("keepdims", 0)])?;
            let mut to = turned.clone();
            *to.last_mut().ok_or("a tensor without an axis")? = k;
            let found = self.reshaped(&found, &to)?;
            out.push(typed(self.transposed(&found, &order)?, elem));
        }
        Ok(out)
    }
}
