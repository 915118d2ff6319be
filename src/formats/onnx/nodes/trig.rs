//! Sines and their kin: of what is known computed in `f64`, of anything else a few nodes of the standard, which the compiler joins to
//! one pass over the elements. Sines and cosines take whole multiples of π away in three parts (Cody and Waite), so that they are right to
//! about 1e-6 up to arguments of 10^5 or so; the arcus tangent follows the Cephes library (Moshier).

use super::composed::{Build, CHOICES_MAX, number};
use super::{Operands, Results, need};
use crate::formats::onnx::attrs::At;
use crate::formats::onnx::host::Host;
use crate::formats::onnx::importer::Importer;
use crate::formats::onnx::value::Value;

pub(super) fn import(cx: &mut Importer, at: &At<'_>, x: Operands<'_>) -> Option<Results> {
    let known: fn(f64) -> f64 = match at.node.op_type.as_str() {
        "Sin" => libm::sin,
        "Cos" => libm::cos,
        "Tan" => libm::tan,
        "Asin" => libm::asin,
        "Acos" => libm::acos,
        "Atan" => libm::atan,
        "Sinh" => libm::sinh,
        "Cosh" => libm::cosh,
        "Asinh" => libm::asinh,
        "Acosh" => libm::acosh,
        "Atanh" => libm::atanh,
        _ => return None,
    };
    let result = need(x, 0).and_then(|value| match value {
        Value::Host(h) if h.len() <= CHOICES_MAX => {
            let values = h.values().iter().map(|x| known(*x)).collect();
            Ok(Value::Host(Host { name: None, ..Host::new(h.dims.clone(), h.elem, values) }))
        }
        Value::Host(_) | Value::Graph(_) => Build { cx }.trigonometric(at.node.op_type.as_str(), value),
    });
    Some(result.map(|v| vec![v]))
}

/// π in three parts: a multiple of the first two by a number of few bits is exact.
const PI: [f64; 3] = [3.140_625, 0.000_967_502_593_994_140_6, 1.509_957_990_978_376_4e-7];

impl Build<'_> {
    fn trigonometric(&mut self, op: &str, x: &Value) -> Result<Value, String> {
        match op {
            "Sin" => self.sine(x, false),
            "Cos" => self.sine(x, true),
            "Tan" => {
                let (sine, cosine) = (self.sine(x, false)?, self.sine(x, true)?);
                self.two("Div", &sine, &cosine)
            }
            "Atan" => self.arcus(x),
            "Asin" => self.arcus_sine(x),
            "Acos" => {
                let sine = self.arcus_sine(x)?;
                self.two("Sub", &number(std::f64::consts::FRAC_PI_2), &sine)
            }
            "Sinh" | "Cosh" => self.hyperbolic(x, op == "Sinh"),
            _ => self.area(x, op),
        }
    }

    fn one(&mut self, op: &str, x: &Value) -> Result<Value, String> {
        self.call(op, &[x], Vec::new())
    }

    fn two(&mut self, op: &str, a: &Value, b: &Value) -> Result<Value, String> {
        self.call(op, &[a, b], Vec::new())
    }

    /// `c[0] x^n + c[1] x^(n-1) + … + c[n]`
    fn polynomial(&mut self, x: &Value, c: &[f64]) -> Result<Value, String> {
        let mut y = number(c.first().copied().unwrap_or(0.0));
        for k in &c[1..] {
            let product = self.two("Mul", &y, x)?;
            y = self.two("Add", &product, &number(*k))?;
        }
        Ok(y)
    }

    /// `sin x = (-1)^k sin(x - k π)`; the cosine is the same a quarter further.
    fn sine(&mut self, x: &Value, cosine: bool) -> Result<Value, String> {
        let turns = self.two("Mul", x, &number(std::f64::consts::FRAC_1_PI))?;
        let turns = if cosine { self.two("Sub", &turns, &number(0.5))? } else { turns };
        let k = self.one("Round", &turns)?;
        let away = if cosine { self.two("Add", &k, &number(0.5))? } else { k.clone() };
        let mut rest = x.clone();
        for part in PI {
            let whole = self.two("Mul", &away, &number(part))?;
            rest = self.two("Sub", &rest, &whole)?;
        }
        let square = self.two("Mul", &rest, &rest)?;
        let tail = [
            -2.388_985_922_789_457e-8,
            2.752_556_186_074_9e-6,
            -1.984_087_371_021_8e-4,
            8.333_330_720_556_9e-3,
            -1.666_666_665_668_3e-1,
        ];
        let tail = self.polynomial(&square, &tail)?;
        let tail = self.two("Mul", &tail, &square)?;
        let tail = self.two("Mul", &tail, &rest)?;
        let y = self.two("Add", &rest, &tail)?;
        // (-1)^k = 1 - 2 (k mod 2), the other way round for the cosine, whose first zero it falls through.
        let half = self.two("Mul", &k, &number(0.5))?;
        let floor = self.one("Floor", &half)?;
        let odd = self.two("Sub", &half, &floor)?;
        let odd = self.two("Mul", &odd, &number(4.0))?;
        let sign =
            if cosine { self.two("Sub", &odd, &number(1.0))? } else { self.two("Sub", &number(1.0), &odd)? };
        self.two("Mul", &y, &sign)
    }

    /// Beyond tan(3π/8) of the reciprocal, beyond tan(π/8) of the difference from π/4.
    fn arcus(&mut self, x: &Value) -> Result<Value, String> {
        let size = self.one("Abs", x)?;
        let far = self.two("Greater", &size, &number(2.414_213_562_373_095))?;
        let mid = self.two("Greater", &size, &number(0.414_213_562_373_095_03))?;
        let inverse = self.two("Div", &number(-1.0), &size)?;
        let below = self.two("Sub", &size, &number(1.0))?;
        let above = self.two("Add", &size, &number(1.0))?;
        let turned = self.two("Div", &below, &above)?;
        let near = self.call("Where", &[&mid, &turned, &size], Vec::new())?;
        let t = self.call("Where", &[&far, &inverse, &near], Vec::new())?;
        let quarter =
            self.call("Where", &[&mid, &number(std::f64::consts::FRAC_PI_4), &number(0.0)], Vec::new())?;
        let start =
            self.call("Where", &[&far, &number(std::f64::consts::FRAC_PI_2), &quarter], Vec::new())?;
        let z = self.two("Mul", &t, &t)?;
        let c = [8.053_744_495_38e-2, -1.387_768_560_32e-1, 1.997_771_064_78e-1, -3.333_294_915_39e-1];
        let p = self.polynomial(&z, &c)?;
        let p = self.two("Mul", &p, &z)?;
        let p = self.two("Mul", &p, &t)?;
        let p = self.two("Add", &p, &t)?;
        let y = self.two("Add", &start, &p)?;
        let sign = self.one("Sign", x)?;
        self.two("Mul", &y, &sign)
    }

    /// `atan(x / sqrt((1 - x) (1 + x)))`
    fn arcus_sine(&mut self, x: &Value) -> Result<Value, String> {
        let (less, more) = (self.two("Sub", &number(1.0), x)?, self.two("Add", &number(1.0), x)?);
        let square = self.two("Mul", &less, &more)?;
        let root = self.one("Sqrt", &square)?;
        let slope = self.two("Div", x, &root)?;
        self.arcus(&slope)
    }

    /// From `e = exp(-|x|) - 1`, which loses nothing near 0.
    fn hyperbolic(&mut self, x: &Value, sine: bool) -> Result<Value, String> {
        let size = self.one("Abs", x)?;
        let less = self.one("Neg", &size)?;
        if !sine {
            let (up, down) = (self.one("Exp", &size)?, self.one("Exp", &less)?);
            let sum = self.two("Add", &up, &down)?;
            return self.two("Mul", &sum, &number(0.5));
        }
        let e = self.one("Elu", &less)?;
        let rest = self.two("Add", &e, &number(1.0))?;
        let top = self.two("Add", &e, &number(2.0))?;
        let top = self.two("Mul", &top, &e)?;
        let y = self.two("Div", &top, &rest)?;
        let y = self.two("Mul", &y, &number(-0.5))?;
        let sign = self.one("Sign", x)?;
        self.two("Mul", &y, &sign)
    }

    fn area(&mut self, x: &Value, op: &str) -> Result<Value, String> {
        if op == "Atanh" {
            let (more, less) = (self.two("Add", &number(1.0), x)?, self.two("Sub", &number(1.0), x)?);
            let ratio = self.two("Div", &more, &less)?;
            let log = self.one("Log", &ratio)?;
            return self.two("Mul", &log, &number(0.5));
        }
        let sine = op == "Asinh";
        let size = if sine { self.one("Abs", x)? } else { x.clone() };
        let square = self.two("Mul", &size, &size)?;
        let inner = self.two(if sine { "Add" } else { "Sub" }, &square, &number(1.0))?;
        let root = self.one("Sqrt", &inner)?;
        let sum = self.two("Add", &size, &root)?;
        let y = self.one("Log", &sum)?;
        if !sine {
            return Ok(y);
        }
        let sign = self.one("Sign", x)?;
        self.two("Mul", &y, &sign)
    }
}
