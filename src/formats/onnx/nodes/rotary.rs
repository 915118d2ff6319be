//! `RotaryEmbedding`: pairs of features turned by angles that belong to positions.

use super::composed::{Build, int, list};
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::value::Value;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    (at.node.op_type == "RotaryEmbedding").then(|| Ok(vec![Build { cx }.rotary(at, x)?]))
}

impl Build<'_> {
    /// `(a, b)` become `(a cos - b sin, a sin + b cos)`; what is beyond `rotary_embedding_dim` stays.
    fn rotary(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let data = need(x, 0)?;
        let given = data.dims().to_vec();
        let number = |name: &str| -> Result<usize, String> {
            let value = at.int(name, 0)?;
            usize::try_from(value).map_err(|_| format!("`{name}` {value}"))
        };
        // Heads stand before positions, or are parts of the features.
        let by_position = match given[..] {
            [_, _, _, _] => self.transposed(data, &[0, 2, 1, 3])?,
            [n, s, wide] => {
                let heads = number("num_heads")?;
                if heads == 0 || wide % heads != 0 {
                    return Err(format!("{wide} features in {heads} heads"));
                }
                self.reshaped(data, &[n, s, heads, wide / heads])?
            }
            _ => return Err(format!("an input of extents {given:?}")),
        };
        let &[n, s, heads, size] = by_position.dims() else { return Err("lost axes".into()) };
        let turned = match number("rotary_embedding_dim")? {
            0 => size,
            some => some,
        };
        if turned > size || !turned.is_multiple_of(2) || turned == 0 {
            return Err(format!("{turned} of {size} features turned"));
        }
        let half = turned / 2;
        let mut angles = Vec::new();
        for i in [1, 2] {
            let cache = need(x, i)?;
            let cache = match opt(x, 3) {
                Some(places) => self.call("Gather", &[cache, places], vec![int("axis", 0)])?,
                None => cache.clone(),
            };
            if cache.dims() != [n, s, half] {
                return Err(format!(
                    "angles of extents {:?} where [{n}, {s}, {half}] are needed",
                    cache.dims()
                ));
            }
            angles.push(self.reshaped(&cache, &[n, s, 1, half])?);
        }
        let interleaved = at.flag("interleaved", false)?;
        // The first of each pair, the second, and what is not turned.
        let part = |b: &mut Self, from: usize, to: usize, step: usize| {
            let [from, to, step] = [from, to, step].map(|i| Value::Host(Host::ints([i as i64])));
            b.call("Slice", &[&by_position, &from, &to, &list([3]), &step], Vec::new())
        };
        let (a, b) = match interleaved {
            true => (part(self, 0, turned, 2)?, part(self, 1, turned, 2)?),
            false => (part(self, 0, half, 1)?, part(self, half, turned, 1)?),
        };
        let (cos, sin) = (&angles[0], &angles[1]);
        let (ac, bs) = (self.bin("Mul", &a, cos)?, self.bin("Mul", &b, sin)?);
        let (as_, bc) = (self.bin("Mul", &a, sin)?, self.bin("Mul", &b, cos)?);
        let (first, second) = (self.bin("Sub", &ac, &bs)?, self.bin("Add", &as_, &bc)?);
        let mut y = match interleaved {
            true => {
                let [first, second] = [&first, &second].map(|v| self.reshaped(v, &[n, s, heads, half, 1]));
                let pairs = self.call("Concat", &[&first?, &second?], vec![int("axis", 4)])?;
                self.reshaped(&pairs, &[n, s, heads, turned])?
            }
            false => self.call("Concat", &[&first, &second], vec![int("axis", 3)])?,
        };
        if turned < size {
            let rest = part(self, turned, size, 1)?;
            y = self.call("Concat", &[&y, &rest], vec![int("axis", 3)])?;
        }
        if given.len() == 4 { self.transposed(&y, &[0, 2, 1, 3]) } else { self.reshaped(&y, &given) }
    }
}
