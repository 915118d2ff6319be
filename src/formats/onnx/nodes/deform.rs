//! `DeformConv`: a convolution whose taps are moved by computed offsets. Each tap samples the input linearly where it looks, as
//! `GridSample` does; what was sampled, times the mask, goes through one product of matrices with the kernel.

use super::composed::{Build, list};
use super::sample::{How, bounded};
use super::{Operands, Results, need, opt};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    (at.node.op_type == "DeformConv").then(|| Ok(vec![Build { cx }.deform_conv(at, x)?]))
}

/// Two numbers of an attribute, one for each axis of the grid.
fn pair(at: &At<'_>, name: &str, default: i64, least: i64) -> Result<[i64; 2], String> {
    match at.ints(name)? {
        None => Ok([default; 2]),
        Some(&[h, w]) if [h, w].iter().all(|i| (least..1 << 24).contains(i)) => Ok([h, w]),
        Some(other) => Err(format!("`{name}` {other:?}")),
    }
}

impl Build<'_> {
    fn deform_conv(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let (data, kernel, offset) = (need(x, 0)?, need(x, 1)?, need(x, 2)?);
        let (dims, k, o) = (data.dims().to_vec(), kernel.dims().to_vec(), offset.dims().to_vec());
        let (&[n, c, h, w], &[maps, part, kh, kw], &[on, moved, oh, ow]) = (&dims[..], &k[..], &o[..]) else {
            return Err(format!(
                "an input of extents {dims:?}, a kernel {k:?}, offsets {o:?}: grids of two axes only"
            ));
        };
        let positive = |name: &str| -> Result<usize, String> {
            let value = at.int(name, 1)?;
            usize::try_from(value).ok().filter(|v| *v > 0).ok_or_else(|| format!("`{name}` {value}"))
        };
        let (groups, fields) = (positive("group")?, positive("offset_group")?);
        let (strides, dilations) = (pair(at, "strides", 1, 1)?, pair(at, "dilations", 1, 1)?);
        let pads = match at.ints("pads")? {
            None => [0; 2],
            Some(&[top, left, _, _]) if [top, left].iter().all(|p| (0..1 << 24).contains(p)) => [top, left],
            Some(other) => return Err(format!("`pads` {other:?}")),
        };
        let taps = kh.checked_mul(kw).filter(|t| *t <= 1 << 16).ok_or("a kernel of so many taps")?;
        let fits = on == n
            && part.checked_mul(groups) == Some(c)
            && maps % groups == 0
            && c % fields == 0
            && (2 * taps).checked_mul(fields) == Some(moved)
            && [n, c, h, w, maps, taps, oh, ow].iter().all(|d| *d > 0);
        if !fits {
            return Err(format!("an input of extents {dims:?}, a kernel {k:?}, offsets {o:?}"));
        }
        let samples = oh.checked_mul(ow).and_then(|p| p.checked_mul(taps)).ok_or("so many samples")?;
        bounded(&[n * fields, c / fields, h, w], samples, How::LINEAR)?;
        self.cx.spend(samples)?;
        // Where taps look without offsets, `[tap, output]`; offsets list rows before columns.
        let offsets = self.reshaped(offset, &[n * fields, taps, 2, oh * ow])?;
        let mut positions = Vec::new();
        for axis in 0..2 {
            let (stride, dilation, pad) = (strides[axis], dilations[axis], pads[axis]);
            let mut base = Vec::with_capacity(samples);
            for tap in 0..taps {
                let tap = [tap / kw, tap % kw][axis] as i64;
                base.extend((0..oh * ow).map(|out| {
                    let out = [out / ow, out % ow][axis] as i64;
                    (out * stride - pad + tap * dilation) as f64
                }));
            }
            let base = Value::Host(Host::new(vec![1, taps, oh * ow], Elem::Int, base));
            let one = Value::Host(Host::new(Vec::new(), Elem::Int, vec![axis as f64]));
            let by = self.call("Gather", &[&offsets, &one], vec![super::composed::int("axis", 2)])?;
            let position = self.bin("Add", &by, &base)?;
            positions.push(self.reshaped(&position, &[n * fields, samples, 1])?);
        }
        let fielded = self.reshaped(data, &[n * fields, c / fields, h, w])?;
        let mut columns = self.sampled(&fielded, &positions, samples, How::LINEAR)?;
        if let Some(mask) = opt(x, 4) {
            if mask.dims() != [n, fields * taps, oh, ow] {
                return Err(format!("a mask of extents {:?}", mask.dims()));
            }
            let mask = self.reshaped(mask, &[n * fields, 1, samples])?;
            columns = self.bin("Mul", &columns, &mask)?;
        }
        let columns = self.reshaped(&columns, &[n, groups, part * taps, oh * ow])?;
        let kernel = self.reshaped(kernel, &[1, groups, maps / groups, part * taps])?;
        let y = self.bin("MatMul", &kernel, &columns)?;
        let y = self.reshaped(&y, &[n, maps, oh, ow])?;
        match opt(x, 3) {
            None => Ok(y),
            Some(bias) => {
                let wide = self.call("Unsqueeze", &[bias, &list([1, 2])], Vec::new())?;
                self.bin("Add", &y, &wide)
            }
        }
    }
}
