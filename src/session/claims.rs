//! Whether what `test` and `budget` items say of a program holds: their comparisons of facts, evaluated.
//!
//! In: a checked program. Out: for each claim whether it holds, with the values of both sides. Extents compare axis by axis,
//! all of which must hold; shapes by name, in any order.

use std::collections::BTreeMap;

use super::compiler::{Checked, Compiler};
use crate::ast::BinaryOp;
use crate::facts::{Facts, Row, facts, under};
use crate::graph::ValueId;
use crate::ops::args::ArgValue;
use crate::resolve::{Claim, Fact, FactExpr};

/// A side of a claim.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// A number, or an extent with one per axis.
    Numbers(Vec<f64>),
    /// Axes by name.
    Shape(Vec<(String, i64)>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Numbers(v) => f.write_str(&v.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")),
            Self::Shape(axes) => {
                let axes: Vec<String> = axes.iter().map(|(name, e)| format!("{name}: {e}")).collect();
                write!(f, "[{}]", axes.join(", "))
            }
        }
    }
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// Both sides with their values, or why they have none.
    pub text: String,
}

/// Evaluates claims of one program; facts of a net are found once.
pub struct Judge<'a> {
    checked: &'a Checked,
    compiler: &'a Compiler,
    facts: BTreeMap<usize, Facts>,
    arenas: BTreeMap<usize, usize>,
}

impl<'a> Judge<'a> {
    /// Of a program without errors; `compiler` makes code where working memory is asked for.
    pub fn new(checked: &'a Checked, compiler: &'a Compiler) -> Self {
        Self { checked, compiler, facts: BTreeMap::new(), arenas: BTreeMap::new() }
    }

    /// Whether `claim` holds.
    pub fn verdict(&mut self, claim: &Claim) -> Verdict {
        match (self.value(&claim.left), self.value(&claim.right)) {
            (Ok(left), Ok(right)) => {
                let holds = compare(claim.op, &left, &right);
                Verdict { holds, text: format!("{left} {} {right}", claim.op.sign()) }
            }
            (Err(text), _) | (_, Err(text)) => Verdict { holds: false, text },
        }
    }

    fn value(&mut self, e: &FactExpr) -> Result<Value, String> {
        match e {
            FactExpr::Value(value) => constant(value),
            FactExpr::Fact { fact, net, path, value, .. } => self.fact(*fact, *net, path, *value),
            FactExpr::Binary(op, a, b) => match (self.value(a)?, self.value(b)?) {
                (Value::Numbers(a), Value::Numbers(b)) => {
                    let len = a.len().max(b.len());
                    let at = |v: &[f64], i: usize| v.get(i).or(v.first()).copied().unwrap_or(f64::NAN);
                    (0..len)
                        .map(|i| arithmetic(*op, at(&a, i), at(&b, i)))
                        .collect::<Result<_, _>>()
                        .map(Value::Numbers)
                }
                (Value::Shape(_), _) | (_, Value::Shape(_)) => Err("shapes have no arithmetic".into()),
            },
        }
    }

    fn fact(&mut self, fact: Fact, net: usize, path: &str, value: Option<ValueId>) -> Result<Value, String> {
        let network = self.checked.program.nets.get(net).ok_or("no such net")?;
        let graph = &network.graph;
        if fact == Fact::Arena {
            if let std::collections::btree_map::Entry::Vacant(slot) = self.arenas.entry(net) {
                let model =
                    self.compiler.compile(self.checked, Some(&network.name)).map_err(|e| e.to_string())?;
                slot.insert(model.report().sizes.arena);
            }
            return Ok(Value::Numbers(vec![self.arenas[&net] as f64]));
        }
        let facts = self.facts.entry(net).or_insert_with(|| facts(graph));
        let rows: Vec<&Row> =
            if path.is_empty() { facts.rows.iter().collect() } else { under(facts, path).collect() };
        let result = if path.is_empty() { graph.outputs.first().map(|p| p.value) } else { value };
        // A turn or block without a name of its own for its result: the last that it computes.
        let last = match result {
            Some(result) => facts.rows.iter().find(|r| r.value == result),
            None => rows.last().copied(),
        };
        let last = last.ok_or_else(|| format!("`{}` computes nothing at `{path}`", network.name));
        let total =
            |of: fn(&Row) -> u64| Ok(Value::Numbers(vec![rows.iter().map(|r| of(r)).sum::<u64>() as f64]));
        match fact {
            Fact::Params => total(|r| r.sums.params),
            Fact::Macs => total(|r| r.sums.macs),
            Fact::Flops => total(|r| r.sums.flops),
            Fact::Bytes => total(|r| r.sums.bytes),
            Fact::Shape => {
                let ty = result.map_or_else(|| last.map(|r| &r.ty), |id| Ok(network.ty(id)))?;
                let axes = ty.names().iter().zip(ty.dims()).filter(|(name, _)| &***name != "n");
                Ok(Value::Shape(axes.map(|(name, e)| (name.to_string(), *e as i64)).collect()))
            }
            Fact::Rf => Ok(Value::Numbers(last?.field.iter().map(|f| f.reach as f64).collect())),
            Fact::Jump => Ok(Value::Numbers(
                last?.field.iter().map(|f| f.jump.0 as f64 / f.jump.1.max(1) as f64).collect(),
            )),
            Fact::Arena => Err("working memory belongs to a net".into()),
        }
    }
}

fn constant(value: &ArgValue) -> Result<Value, String> {
    match value {
        ArgValue::Int(i) => Ok(Value::Numbers(vec![*i as f64])),
        ArgValue::Float(x) => Ok(Value::Numbers(vec![*x])),
        ArgValue::Extent(e) => Ok(Value::Numbers(e.iter().map(|i| *i as f64).collect())),
        ArgValue::Shape(axes) => {
            Ok(Value::Shape(axes.iter().map(|(name, e)| (name.to_string(), *e)).collect()))
        }
        ArgValue::List(list) => {
            let mut all = Vec::new();
            for item in list {
                match constant(item)? {
                    Value::Numbers(v) => all.extend(v),
                    Value::Shape(_) => return Err("a list of shapes is no fact".into()),
                }
            }
            Ok(Value::Numbers(all))
        }
        ArgValue::Bool(_)
        | ArgValue::Str(_)
        | ArgValue::Word(_)
        | ArgValue::Call(..)
        | ArgValue::Table(_)
        | ArgValue::Layer(_) => Err("a value that no fact equals".into()),
    }
}

fn arithmetic(op: BinaryOp, a: f64, b: f64) -> Result<f64, String> {
    match op {
        BinaryOp::Add => Ok(a + b),
        BinaryOp::Sub => Ok(a - b),
        BinaryOp::Mul => Ok(a * b),
        BinaryOp::Div => Ok(a / b),
        BinaryOp::FloorDiv => Ok((a / b).floor()),
        BinaryOp::Mod => Ok(a - b * (a / b).floor()),
        BinaryOp::Pow => Ok(libm::pow(a, b)),
        BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge
        | BinaryOp::And
        | BinaryOp::Or => Err(format!("`{}` inside a comparison of facts", op.sign())),
    }
}

fn compare(op: BinaryOp, left: &Value, right: &Value) -> bool {
    let (a, b) = match (left, right) {
        (Value::Numbers(a), Value::Numbers(b)) => (a, b),
        (Value::Shape(a), Value::Shape(b)) => {
            let sorted = |v: &[(String, i64)]| {
                let mut v = v.to_vec();
                v.sort();
                v
            };
            return (sorted(a) == sorted(b)) == (op == BinaryOp::Eq);
        }
        (Value::Numbers(_), Value::Shape(_)) | (Value::Shape(_), Value::Numbers(_)) => {
            return op == BinaryOp::Ne;
        }
    };
    let at = |v: &[f64], i: usize| if v.len() == 1 { v[0] } else { v.get(i).copied().unwrap_or(f64::NAN) };
    let all = |f: fn(&f64, &f64) -> bool| (0..a.len().max(b.len())).all(|i| f(&at(a, i), &at(b, i)));
    match op {
        BinaryOp::Eq => all(f64::eq),
        BinaryOp::Ne => !all(f64::eq),
        BinaryOp::Lt => all(f64::lt),
        BinaryOp::Le => all(f64::le),
        BinaryOp::Gt => all(f64::gt),
        BinaryOp::Ge => all(f64::ge),
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div => false,
        BinaryOp::FloorDiv | BinaryOp::Mod | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or => false,
    }
}
