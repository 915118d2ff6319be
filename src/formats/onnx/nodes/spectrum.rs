//! What exporters of sound write: Fourier transforms as products with tables of cosines and sines, short-time ones as a
//! convolution whose kernels are the rows of such a table, and tables that the standard has operations for: windows and the weights of
//! mel bands.

use std::f64::consts::{LN_10, PI};

use super::composed::{Build, list};
use super::{Operands, Results, known_ints, need, opt};
use crate::formats::onnx::attrs::{At, axis};
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::proto::{Attribute, kind};
use crate::formats::onnx::tensor::Elem;
use crate::formats::onnx::value::Value;

/// Tables of more numbers than this are no layer of a network.
const TABLE_MAX: usize = 1 << 24;
/// Nor are windows, bands and transforms of more numbers.
const SIZE_MAX: usize = 1 << 20;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let mut b = Build { cx };
    let result = match at.node.op_type.as_str() {
        "DFT" => b.dft(at, x),
        "STFT" => b.stft(at, x),
        "HannWindow" => b.window(at, x, &[0.5, -0.5]),
        "HammingWindow" => b.window(at, x, &[25.0 / 46.0, -21.0 / 46.0]),
        "BlackmanWindow" => b.window(at, x, &[0.42, -0.5, 0.08]),
        "MelWeightMatrix" => b.mel(x),
        _ => return None,
    };
    Some(result.map(|v| vec![v]))
}

/// A whole number from 1 on that must be known.
fn count(x: Operands<'_>, i: usize, what: &str) -> Result<Option<usize>, String> {
    let Some(list) = known_ints(x, i, what)? else { return Ok(None) };
    let one = list.first().and_then(|n| usize::try_from(*n).ok()).filter(|n| (1..=SIZE_MAX).contains(n));
    one.map(Some)
        .ok_or_else(|| format!("{what} is {list:?}, where one number from 1 to {SIZE_MAX} is needed"))
}

/// Cosine and sine of `2 π k / n`, exact for any product of places.
fn turn(k: usize, n: usize) -> (f64, f64) {
    let angle = 2.0 * PI * (k % n) as f64 / n as f64;
    (libm::cos(angle), libm::sin(angle))
}

impl Build<'_> {
    /// `Σ_k c[k] cos(2 π k i / n)` for `i < size`.
    fn window(&mut self, at: &At<'_>, x: Operands<'_>, c: &[f64]) -> Result<Value, String> {
        let size = count(x, 0, "the size")?.ok_or("the size is missing")?;
        self.cx.spend(size)?;
        let n = if at.flag("periodic", true)? { size } else { size - 1 };
        let turn = |i: usize| 2.0 * PI * i as f64 / n.max(1) as f64;
        let value = |i: usize| c.iter().enumerate().map(|(k, c)| c * libm::cos(k as f64 * turn(i))).sum();
        Ok(Value::Host(Host::new(vec![size], Elem::Float, (0..size).map(value).collect())))
    }

    /// Triangles over bands that are equally wide on the mel scale, `[bins of the spectrum, bands]`.
    fn mel(&mut self, x: Operands<'_>) -> Result<Value, String> {
        let whole = |i: usize, what: &str| count(x, i, what)?.ok_or_else(|| format!("{what} is missing"));
        let (bands, length, rate) =
            (whole(0, "the number of bands")?, whole(1, "the length")?, whole(2, "the rate")?);
        let edge = |i: usize| -> Result<f64, String> {
            need(x, i)?
                .known("the edges of the bands")?
                .scalar()
                .ok_or_else(|| "an edge that is no number".into())
        };
        let to_mel = |hertz: f64| 2595.0 * libm::log1p(hertz / 700.0) / LN_10;
        let (low, high) = (to_mel(edge(3)?), to_mel(edge(4)?));
        let rows = length / 2 + 1;
        let all = rows.checked_mul(bands).filter(|n| *n <= TABLE_MAX).ok_or("a table of so many numbers")?;
        self.cx.spend(all)?;
        let bin = |i: usize| {
            let mel = i as f64 * (high - low) / (bands + 2) as f64 + low;
            let hertz = 700.0 * libm::expm1(mel / 2595.0 * LN_10);
            ((length + 1) as f64 * hertz / rate as f64).floor()
        };
        let bins: Vec<f64> = (0..bands + 2).map(bin).collect();
        if bins.iter().any(|b| !(0.0..=rows as f64).contains(b)) {
            return Err("bands beyond the spectrum".into());
        }
        let mut table = vec![0.0; all];
        let mut put = |row: usize, band: usize, value: f64| {
            if let Some(place) = table.get_mut(row * bands + band).filter(|_| row < rows) {
                *place = value;
            }
        };
        for band in 0..bands {
            let [left, centre, right] = [bins[band], bins[band + 1], bins[band + 2]];
            if left == centre {
                put(centre as usize, band, 1.0);
            }
            (left as usize..centre as usize + 1)
                .filter(|_| left < centre)
                .for_each(|row| put(row, band, (row as f64 - left) / (centre - left)));
            (centre as usize..right as usize)
                .for_each(|row| put(row, band, (right - row as f64) / (right - centre)));
        }
        Ok(Value::Host(Host::new(vec![rows, bands], Elem::Float, table)))
    }

    /// Rows of a table of a transform: so many of them, from so many elements.
    fn table(
        &mut self,
        rows: usize,
        columns: usize,
        value: impl Fn(usize, usize) -> f64,
    ) -> Result<Value, String> {
        let all = rows.checked_mul(columns).filter(|n| *n <= TABLE_MAX);
        self.cx.spend(all.ok_or_else(|| format!("a transform of {rows} to {columns} numbers"))?)?;
        let values =
            (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| value(i, j)).collect();
        Ok(Value::Host(Host::new(vec![rows, columns], Elem::Float, values)))
    }

    /// A transform along one axis; real and imaginary parts are the last axis.
    fn dft(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let data = need(x, 0)?;
        let dims = data.dims().to_vec();
        let rank = dims.len();
        let parts = dims.last().copied().filter(|p| (1..=2).contains(p)).filter(|_| rank >= 2);
        let parts = parts.ok_or_else(|| format!("an input of extents {dims:?}"))?;
        let along = match at.opset {
            ..20 => at.int("axis", 1)?,
            _ => known_ints(x, 2, "the axis")?.and_then(|a| a.first().copied()).unwrap_or(-2),
        };
        let a = axis(along, rank)?;
        let (inverse, onesided) = (at.flag("inverse", false)?, at.flag("onesided", false)?);
        if a == rank - 1 || (onesided && !inverse && parts == 2) {
            return Err("a transform along the parts, or half of a complex one".into());
        }
        let given = dims[a];
        let n = match count(x, 1, "the length")? {
            Some(n) => n,
            None if inverse && onesided => 2 * given.saturating_sub(1),
            None => given,
        };
        let n = Some(n).filter(|n| *n > 0).ok_or("a transform of nothing")?;
        // What is longer is cut, what is shorter ends in zeros: rows of the table that are not there.
        let used = given.min(if inverse && onesided { n / 2 + 1 } else { n });
        let order: Vec<usize> = (0..rank - 1).filter(|d| *d != a).chain([a, rank - 1]).collect();
        let turned = self.transposed(data, &order)?;
        let rest: Vec<usize> = order[..rank - 2].iter().map(|d| dims[*d]).collect();
        let cut = self.call("Slice", &[&turned, &list([0]), &list([used]), &list([rank - 2])], Vec::new())?;
        let around: usize = rest.iter().product();
        let rows = self.reshaped(&cut, &[around, used * parts])?;
        let (to, out) = match (inverse, onesided) {
            (true, true) => (n, 1),
            (false, true) => (n / 2 + 1, 2),
            (_, false) => (n, 2),
        };
        let sign = if inverse { 1.0 } else { -1.0 };
        let share = if inverse { 1.0 / n as f64 } else { 1.0 };
        let value = |row: usize, column: usize| {
            let ((i, from), (k, part)) = ((row / parts, row % parts), (column / out, column % out));
            let (cos, sin) = turn(i * k, n);
            // Half a spectrum stands for what mirrors it.
            let twice = inverse && onesided && i > 0 && 2 * i != n;
            let share = if twice { 2.0 * share } else { share };
            share
                * match (from, part) {
                    (0, 0) => cos,
                    (0, _) => sign * sin,
                    (_, 0) => -sign * sin,
                    (_, _) => cos,
                }
        };
        let table = self.table(used * parts, to * out, value)?;
        let y = self.call("MatMul", &[&rows, &table], Vec::new())?;
        let all: Vec<usize> = rest.iter().copied().chain([to, out]).collect();
        let y = self.reshaped(&y, &all)?;
        let back: Vec<usize> = (0..rank).map(|d| order.iter().position(|o| *o == d).unwrap_or(d)).collect();
        self.transposed(&y, &back)
    }

    /// Transforms of overlapping frames of a real signal: `[n, frame, bin, 2]`.
    fn stft(&mut self, at: &At<'_>, x: Operands<'_>) -> Result<Value, String> {
        let signal = need(x, 0)?;
        let dims = signal.dims().to_vec();
        let (n, long) = match dims[..] {
            [n, long] | [n, long, 1] => (n, long),
            _ => return Err(format!("a signal of extents {dims:?}; real ones only")),
        };
        let step = count(x, 1, "the step")?.ok_or("the step is missing")?;
        let shape = match opt(x, 2) {
            Some(window) => Some(window.known("the window")?.values()),
            None => None,
        };
        let length = match (count(x, 3, "the length of a frame")?, &shape) {
            (Some(length), _) => length,
            (None, Some(window)) => window.len(),
            (None, None) => long,
        };
        if length == 0 || length > long || shape.as_ref().is_some_and(|w| w.len() != length) {
            return Err(format!("frames of {length} in a signal of {long}"));
        }
        let bins = if at.flag("onesided", true)? { length / 2 + 1 } else { length };
        let kernel = self.table(2 * bins, length, |row, i| {
            let (cos, sin) = turn((row % bins) * i, length);
            let of = if row < bins { cos } else { -sin };
            of * shape.as_ref().map_or(1.0, |w| w[i])
        })?;
        let kernel = self.reshaped(&kernel, &[2 * bins, 1, length])?;
        let signal = self.reshaped(signal, &[n, 1, long])?;
        let strides = Attribute {
            name: "strides".to_owned(),
            r#type: kind::INTS,
            ints: vec![step as i64],
            ..Attribute::default()
        };
        let y = self.call("Conv", &[&signal, &kernel], vec![strides])?;
        let frames = y.dims().get(2).copied().unwrap_or(0);
        let y = self.reshaped(&y, &[n, 2, bins, frames])?;
        self.transposed(&y, &[0, 3, 2, 1])
    }
}
