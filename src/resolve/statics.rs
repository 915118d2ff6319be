//! Arithmetic on static values: two values and an operator in, a value or a sentence out. Integers are checked, nothing
//! wraps; `/` on integers is exact. Knows nothing of names, places or tensors.

use crate::ast::{BinaryOp, UnaryOp};
use crate::ops::args::ArgValue;
use crate::support::codes;
use crate::support::diag::Code;

/// Why an operator has no result.
pub(super) struct Fault {
    /// The code.
    pub code: Code,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// Advice, if there is some.
    pub help: Option<String>,
    /// An operator that would have a result.
    pub instead: Option<&'static str>,
}

impl Fault {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, instead: None }
    }

    fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// What a message calls the kind of a static value.
pub(super) fn kind(value: &ArgValue) -> &'static str {
    match value {
        ArgValue::Int(_) => "an integer",
        ArgValue::Float(_) => "a float",
        ArgValue::Bool(_) => "a bool",
        ArgValue::Str(_) => "a string",
        ArgValue::Word(_) => "a word",
        ArgValue::Extent(_) => "an extent",
        ArgValue::List(_) => "a list",
        ArgValue::Call(..) => "a setting with arguments",
        ArgValue::Table(_) => "a table",
        ArgValue::Layer(_) => "a layer",
        ArgValue::Shape(_) => "a shape",
    }
}

/// A static value as it would be written.
pub(super) fn show(value: &ArgValue) -> String {
    match value {
        ArgValue::Int(i) => i.to_string(),
        ArgValue::Float(x) => format!("{x:?}"),
        ArgValue::Bool(b) => b.to_string(),
        ArgValue::Str(s) => format!("{s:?}"),
        ArgValue::Word(w) => w.to_string(),
        ArgValue::Extent(e) => e.iter().map(i64::to_string).collect::<Vec<_>>().join("x"),
        ArgValue::List(items) => format!("[{}]", joined(items.iter().map(show))),
        ArgValue::Call(name, args) => {
            let args = args.iter().map(|(key, v)| match key {
                Some(key) => format!("{key}: {}", show(v)),
                None => show(v),
            });
            format!("{name}({})", joined(args))
        }
        ArgValue::Table(t) => format!("table {} -> {}", t.inputs, t.rows.len()),
        ArgValue::Layer(l) => l.name.to_string(),
        ArgValue::Shape(axes) => format!("[{}]", joined(axes.iter().map(|(n, d)| format!("{n}: {d}")))),
    }
}

/// At most six parts, comma between.
fn joined(parts: impl Iterator<Item = String>) -> String {
    let mut parts: Vec<String> = parts.collect();
    if parts.len() > 6 {
        parts.truncate(5);
        parts.push("…".into());
    }
    parts.join(", ")
}

/// `-x`, `not x`.
pub(super) fn unary(op: UnaryOp, value: &ArgValue) -> Result<ArgValue, Fault> {
    match (op, value) {
        (UnaryOp::Neg, ArgValue::Int(i)) => {
            i.checked_neg().map(ArgValue::Int).ok_or_else(|| overflow(&format!("-({i})")))
        }
        (UnaryOp::Neg, ArgValue::Float(x)) => Ok(ArgValue::Float(-x)),
        (UnaryOp::Not, ArgValue::Bool(b)) => Ok(ArgValue::Bool(!b)),
        (UnaryOp::Neg, other) => {
            Err(Fault::new(codes::E0109, format!("`-` needs a number, not {}", kind(other))))
        }
        (UnaryOp::Not, other) => {
            Err(Fault::new(codes::E0109, format!("`not` needs a bool, not {}", kind(other))))
        }
    }
}

/// `a op b`; `and` and `or` come here with both sides known.
pub(super) fn binary(op: BinaryOp, left: &ArgValue, right: &ArgValue) -> Result<ArgValue, Fault> {
    use ArgValue::{Bool, Float, Int, Str};
    match op {
        BinaryOp::And | BinaryOp::Or => match (left, right) {
            (Bool(a), Bool(b)) => Ok(Bool(if op == BinaryOp::And { *a && *b } else { *a || *b })),
            _ => Err(misfit(op, left, right)),
        },
        BinaryOp::Eq | BinaryOp::Ne => {
            equal(left, right).map(|e| Bool(e == (op == BinaryOp::Eq))).ok_or_else(|| misfit(op, left, right))
        }
        BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
            let order = match (left, right) {
                (Int(a), Int(b)) => Some(a.cmp(b)),
                (Int(_) | Float(_), Int(_) | Float(_)) => real(left).partial_cmp(&real(right)),
                _ => return Err(misfit(op, left, right)),
            };
            Ok(Bool(order.is_some_and(|o| match op {
                BinaryOp::Lt => o.is_lt(),
                BinaryOp::Le => o.is_le(),
                BinaryOp::Gt => o.is_gt(),
                _ => o.is_ge(),
            })))
        }
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::FloorDiv
        | BinaryOp::Mod
        | BinaryOp::Pow => match (left, right) {
            (Int(a), Int(b)) => integers(op, *a, *b),
            (Int(_) | Float(_), Int(_) | Float(_)) => floats(op, real(left), real(right)),
            (Str(a), Str(b)) if op == BinaryOp::Add => Ok(Str(format!("{a}{b}").into())),
            _ => Err(misfit(op, left, right)),
        },
    }
}

fn real(value: &ArgValue) -> f64 {
    match value {
        ArgValue::Int(i) => *i as f64,
        ArgValue::Float(x) => *x,
        _ => f64::NAN,
    }
}

/// Equality where it means something: values of one kind, and numbers among each other.
fn equal(left: &ArgValue, right: &ArgValue) -> Option<bool> {
    use ArgValue::{Bool, Extent, Float, Int, List, Shape, Str, Table, Word};
    match (left, right) {
        (Int(a), Int(b)) => Some(a == b),
        (Int(_) | Float(_), Int(_) | Float(_)) => Some(real(left) == real(right)),
        (Bool(a), Bool(b)) => Some(a == b),
        (Str(a) | Word(a), Str(b) | Word(b)) => Some(a == b),
        (Extent(a), Extent(b)) => Some(a == b),
        (Extent(a), List(b)) | (List(b), Extent(a)) => {
            Some(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| *b == Int(*a)))
        }
        // `pad: any` may be a word or a number, so that words compare with everything.
        (Word(_), _) | (_, Word(_)) => Some(false),
        (List(a), List(b)) => Some(a == b),
        (Shape(a), Shape(b)) => Some(a == b),
        (Table(a), Table(b)) => Some(a == b),
        _ => None,
    }
}

fn integers(op: BinaryOp, a: i64, b: i64) -> Result<ArgValue, Fault> {
    let by_zero = || Fault::new(codes::E0110, format!("`{a} {} 0` has no result", op.sign()));
    let result = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod if b == 0 => return Err(by_zero()),
        BinaryOp::Div => match a.checked_rem(b) {
            Some(0) | None => a.checked_div(b),
            Some(_) => {
                let mut fault =
                    Fault::new(codes::E0110, format!("`{a} / {b}` is not a whole number")).help(format!(
                        "`/` on integers must be exact; `{a} // {b}` gives the floor, {}",
                        a.checked_div_euclid(b).map_or(0, |_| floor_div(a, b))
                    ));
                fault.instead = Some("//");
                return Err(fault);
            }
        },
        BinaryOp::FloorDiv => a.checked_div(b).map(|_| floor_div(a, b)),
        BinaryOp::Mod => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
        _ => {
            if b < 0 {
                return Err(Fault::new(codes::E0110, format!("`{a} ^ {b}` is not a whole number"))
                    .help(format!("write `{a}.0 ^ {b}` for the float")));
            }
            u32::try_from(b).ok().and_then(|b| a.checked_pow(b)).or(match a {
                0 | 1 => Some(a),
                -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
                _ => None,
            })
        }
    };
    result.map(ArgValue::Int).ok_or_else(|| overflow(&format!("{a} {} {b}", op.sign())))
}

/// Floor of `a / b`; the caller knows that the quotient exists.
fn floor_div(a: i64, b: i64) -> i64 {
    let q = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { q - 1 } else { q }
}

fn floats(op: BinaryOp, a: f64, b: f64) -> Result<ArgValue, Fault> {
    let result = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv => (a / b).floor(),
        BinaryOp::Mod => a - b * (a / b).floor(),
        _ => libm::pow(a, b),
    };
    if result.is_finite() {
        Ok(ArgValue::Float(result))
    } else {
        Err(Fault::new(codes::E0110, format!("`{a:?} {} {b:?}` has no finite result", op.sign())))
    }
}

fn overflow(what: &str) -> Fault {
    Fault::new(codes::E0110, format!("`{what}` does not fit in 64 bits"))
}

fn misfit(op: BinaryOp, left: &ArgValue, right: &ArgValue) -> Fault {
    let message = format!("`{}` cannot join {} and {}", op.sign(), kind(left), kind(right));
    Fault::new(codes::E0109, message)
}

/// The functions on static numbers.
pub(super) const FUNCTIONS: &[&str] = &["min", "max", "ceil", "floor", "sqrt", "abs"];

/// `min(a, b, …)`, `ceil(x)`, ….
pub(super) fn function(name: &str, args: &[ArgValue]) -> Result<ArgValue, Fault> {
    if let Some(other) = args.iter().find(|a| !matches!(a, ArgValue::Int(_) | ArgValue::Float(_))) {
        let message = format!("`{name}` needs numbers, not {}", kind(other));
        return Err(Fault::new(codes::E0109, message));
    }
    match (name, args) {
        ("min" | "max", [first, rest @ ..]) => Ok(rest.iter().fold(first.clone(), |best, next| {
            let less = match (&best, next) {
                (ArgValue::Int(a), ArgValue::Int(b)) => b < a,
                _ => real(next) < real(&best),
            };
            if less == (name == "min") { next.clone() } else { best }
        })),
        (_, [ArgValue::Int(i)]) if name == "ceil" || name == "floor" => Ok(ArgValue::Int(*i)),
        ("ceil" | "floor", [x]) => {
            let x = if name == "ceil" { real(x).ceil() } else { real(x).floor() };
            // 2^63 itself is representable as f64 and must be refused.
            if x.abs() < 9.2e18 {
                Ok(ArgValue::Int(x as i64))
            } else {
                Err(overflow(&format!("{name}({x:?})")))
            }
        }
        ("abs", [ArgValue::Int(i)]) => {
            i.checked_abs().map(ArgValue::Int).ok_or_else(|| overflow(&format!("abs({i})")))
        }
        ("abs", [x]) => Ok(ArgValue::Float(real(x).abs())),
        ("sqrt", [x]) if real(x) >= 0.0 => Ok(ArgValue::Float(real(x).sqrt())),
        ("sqrt", [x]) => Err(Fault::new(codes::E0110, format!("`sqrt({})` has no result", show(x)))),
        _ => Err(Fault::new(codes::E0107, format!("`{name}` takes one number, not {}", args.len()))),
    }
}
