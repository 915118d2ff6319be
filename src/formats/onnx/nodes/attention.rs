//! `Attention` as products of matrices and a softmax. Mathematics and order as in the standard: logits `s q k^T`, softly capped,
//! then the sum of all masks, softmax, times the values; rows whose keys are all masked give 0.

use super::composed::{Build, ints, list, number};
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

/// Masks of more elements than this are no layer of a network.
const MASK_MAX: usize = 1 << 24;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    (at.node.op_type == "Attention").then(|| Build { cx }.attention(at, x))
}

impl Build<'_> {
    fn attention(&mut self, at: &At<'_>, x: Operands<'_>) -> Results {
        let flat = need(x, 0)?.dims().len() == 3;
        let heads = |name: &str| -> Result<Option<usize>, String> {
            let heads = at.int(name, 0)?;
            Ok(usize::try_from(heads).ok().filter(|h| *h > 0))
        };
        let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
        let q = self.by_head(need(x, 0)?, q_heads)?;
        let mut k = self.by_head(need(x, 1)?, kv_heads)?;
        let mut v = self.by_head(need(x, 2)?, kv_heads)?;
        let past = opt(x, 4).map_or(0, |p| p.dims().get(2).copied().unwrap_or(0));
        for (now, before) in [(&mut k, opt(x, 4)), (&mut v, opt(x, 5))] {
            if let Some(before) = before {
                *now = self.call("Concat", &[before, now], vec![super::composed::int("axis", 2)])?;
            }
        }
        let (&[n, h, rows, size], &[nk, groups, keys, _]) = (q.dims(), k.dims()) else {
            return Err("operands that are not batch, heads, positions and features".into());
        };
        if nk != n || groups == 0 || h % groups != 0 || v.dims().len() != 4 || v.dims()[..3] != k.dims()[..3]
        {
            return Err(format!("queries {:?}, keys {:?}, values {:?}", q.dims(), k.dims(), v.dims()));
        }
        let scale = match at.get("scale") {
            Some(_) => f64::from(at.float("scale", 1.0)?),
            None => 1.0 / (size as f64).sqrt(),
        };
        let present = (k.clone(), v.clone());
        // Heads that share keys and values are rows of one product.
        let together = [n * groups, h / groups * rows, size];
        let queries = self.reshaped(&q, &together)?;
        let queries = self.call("Mul", &[&queries, &number(scale)], Vec::new())?;
        let turned = self.call("Transpose", &[&k], vec![ints("perm", &[0, 1, 3, 2])])?;
        let turned = self.reshaped(&turned, &[n * groups, size, keys])?;
        let logits = self.call("MatMul", &[&queries, &turned], Vec::new())?;
        let mut logits = self.reshaped(&logits, &[n, h, rows, keys])?;
        let cap = f64::from(at.float("softcap", 0.0)?);
        if cap > 0.0 {
            let small = self.call("Mul", &[&logits, &number(1.0 / cap)], Vec::new())?;
            let bent = self.call("Tanh", &[&small], Vec::new())?;
            logits = self.call("Mul", &[&bent, &number(cap)], Vec::new())?;
        }
        let mask = self.mask(at, x, (n, rows, keys), past)?;
        let masked = match &mask {
            Some(mask) => self.call("Add", &[&logits, mask], Vec::new())?,
            None => logits.clone(),
        };
        let mut share = self.call("Softmax", &[&masked], vec![super::composed::int("axis", -1)])?;
        if let Some(mask) = &mask {
            let last = mask.dims().len() - 1;
            let best = self.call("ReduceMax", &[mask, &list([last])], Vec::new())?;
            let none = self.call("Less", &[&best, &number(f64::from(f32::MIN))], Vec::new())?;
            share = self.call("Where", &[&none, &number(0.0), &share], Vec::new())?;
        }
        let width = v.dims()[3];
        let weights = self.reshaped(&share, &[n * groups, h / groups * rows, keys])?;
        let values = self.reshaped(&v, &[n * groups, keys, width])?;
        let y = self.call("MatMul", &[&weights, &values], Vec::new())?;
        let mut y = self.reshaped(&y, &[n, h, rows, width])?;
        if flat {
            y = self.transposed(&y, &[0, 2, 1, 3])?;
            y = self.reshaped(&y, &[n, rows, h * width])?;
        }
        let shown = match at.int("qk_matmul_output_mode", 0)? {
            0 | 1 => logits,
            2 => masked,
            3 => share,
            other => return Err(format!("`qk_matmul_output_mode` {other}")),
        };
        Ok(vec![y, present.0, present.1, shown])
    }

    /// `[n, heads, positions, features]`
    fn by_head(&mut self, x: &Value, heads: Option<usize>) -> Result<Value, String> {
        let &[n, rows, width] = x.dims() else { return Ok(x.clone()) };
        let heads =
            heads.filter(|h| width % h == 0).ok_or("a number of heads that does not divide the features")?;
        let x = self.reshaped(x, &[n, rows, heads, width / heads])?;
        self.transposed(&x, &[0, 2, 1, 3])
    }

    /// What is added to the logits, if anything is.
    fn mask(
        &mut self,
        at: &At<'_>,
        x: Operands<'_>,
        (n, rows, keys): (usize, usize, usize),
        past: usize,
    ) -> Result<Option<Value>, String> {
        if rows.saturating_mul(keys).saturating_mul(n) > MASK_MAX {
            return Err(format!("a mask of {rows} rows and {keys} columns"));
        }
        let mut sum = None;
        if let Some(mask) = opt(x, 3) {
            let mut mask = mask.clone();
            if mask.elem() == Elem::Bool {
                let closed = number(f64::NEG_INFINITY);
                mask = self.call("Where", &[&mask, &number(0.0), &closed], Vec::new())?;
            }
            let last = mask.dims().len().saturating_sub(1);
            let short = keys.checked_sub(mask.dims().last().copied().unwrap_or(0));
            if let Some(short) = short.filter(|s| *s > 0 && !mask.dims().is_empty()) {
                let mut dims = mask.dims().to_vec();
                dims[last] = short;
                let rest = Value::Host(Host::filled(dims, Elem::Float, f64::NEG_INFINITY));
                mask =
                    self.call("Concat", &[&mask, &rest], vec![super::composed::int("axis", last as i64)])?;
            }
            sum = Some(mask);
        }
        // How many keys each sample has, where it is given; queries stand at their end.
        let counts = match opt(x, 6) {
            Some(counts) => Some(counts.known("`nonpad_kv_seqlen`")?.integers()),
            None => None,
        };
        let causal = at.flag("is_causal", false)?;
        let (left, right) = (at.int("left_window_size", -1)?, at.int("right_window_size", -1)?);
        if !causal && left < 0 && right < 0 && counts.is_none() {
            return Ok(sum);
        }
        let samples = counts.as_ref().map_or(1, Vec::len);
        if samples != 1 && samples != n {
            return Err(format!("{samples} numbers of keys for {n} samples"));
        }
        let mut open = Vec::with_capacity(samples * rows * keys);
        for s in 0..samples {
            let count = counts.as_ref().map(|c| c[s]);
            let offset = count.filter(|_| past == 0).map_or(past as i64, |c| c - rows as i64);
            for i in 0..rows as i64 {
                for j in 0..keys as i64 {
                    let ahead = j - (i + offset);
                    let sees = (!causal || ahead <= 0)
                        && (left < 0 || -ahead <= left)
                        && (right < 0 || ahead <= right)
                        && count.is_none_or(|c| j < c);
                    open.push(if sees { 0.0 } else { f64::NEG_INFINITY });
                }
            }
        }
        let dims = if counts.is_some() { vec![samples, 1, rows, keys] } else { vec![rows, keys] };
        let own = Value::Host(Host::new(dims, Elem::Float, open));
        Ok(Some(match sum {
            Some(sum) => self.call("Add", &[&sum, &own], Vec::new())?,
            None => own,
        }))
    }
}
