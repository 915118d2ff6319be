//! One number made of all elements along some dimensions, which stay with extent 1: sums, means, extremes, products, norms,
//! and the logarithm of a sum of exponentials, which takes the greatest term out so that nothing overflows. Over any
//! dimensions of any tensor; the language reduces the channels, an axis, or the whole grid.

use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::{Case, Fill, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::{Dim, max, product, sum};
use super::role::Role;
use super::binary::{Binary, BinaryFn};
use super::expand::{Expand, Grown};
use super::pointwise::{Pointwise, PointwiseFn};
use super::unary::UnaryFn;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled};
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::{Affine, Cmp, Expr, LoopKind, UnOp};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// What is made of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in mathematics")]
pub enum AggregateFn {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    SumSquare,
    L1,
    L2,
    LogSum,
    LogSumExp,
}

impl AggregateFn {
    /// All of them with their names in printed graphs.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Sum, "sum"),
        (Self::Mean, "mean"),
        (Self::Max, "max"),
        (Self::Min, "min"),
        (Self::Prod, "prod"),
        (Self::SumSquare, "sum_square"),
        (Self::L1, "l1"),
        (Self::L2, "l2"),
        (Self::LogSum, "log_sum"),
        (Self::LogSumExp, "log_sum_exp"),
    ];

    /// Its name in the language and in printed graphs.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(f, _)| *f == self).map_or("sum", |(_, word)| word)
    }

    fn reference(self, terms: &[f64]) -> f64 {
        let sum = |f: fn(f64) -> f64| terms.iter().map(|x| f(*x)).sum::<f64>();
        let extreme = |pick: fn(f64, f64) -> f64| {
            let pick = |a: f64, b: &f64| if a.is_nan() || b.is_nan() { f64::NAN } else { pick(a, *b) };
            terms[1..].iter().fold(terms[0], pick)
        };
        match self {
            Self::Sum => sum(|x| x),
            Self::Mean => sum(|x| x) / terms.len() as f64,
            Self::Max => extreme(f64::max),
            Self::Min => extreme(f64::min),
            Self::Prod => terms.iter().product(),
            Self::SumSquare => sum(|x| x * x),
            Self::L1 => sum(f64::abs),
            Self::L2 => sum(|x| x * x).sqrt(),
            Self::LogSum => libm::log(sum(|x| x)),
            Self::LogSumExp => {
                let most = extreme(f64::max);
                let most = if most.is_infinite() { 0.0 } else { most };
                most + libm::log(terms.iter().map(|x| libm::exp(x - most)).sum::<f64>())
            }
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What is made of the elements.
    pub f: AggregateFn,
    /// The dimensions that shrink to 1, ascending.
    pub dims: Vec<usize>,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    let f = args.word("by").and_then(|word| AggregateFn::ALL.into_iter().find(|(_, w)| *w == word));
    let f = f.ok_or_else(|| shape_rules::wrong_type("reduce", "by"))?.0;
    let dims = match args.get("axis") {
        Some(_) => vec![shape_rules::axis("reduce", args, "axis", x, 1)?],
        None => (2..x.dims().len()).collect(),
    };
    Ok(Made::op(Aggregate { f, dims }))
}

impl Aggregate {
    /// What printed graphs call it.
    pub const KIND: &'static str = "aggregate";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "reduce",
        family: "pooling",
        doc: "One number made of all elements along an axis, or of the whole grid of each channel; what was reduced keeps extent 1.",
        tensors: (1, 1),
        params: &[
            Param::required(
                "by",
                ArgTy::Word(&[
                    "sum", "mean", "max", "min", "prod", "sum_square", "l1", "l2", "log_sum", "log_sum_exp",
                ]),
                "what is made of the elements",
            ),
            Param::place("axis", ArgTy::Axis, "the whole grid", "the axis, `c` for the channels"),
        ],
        example: "net Mean(x: [c: 8, h: 4, w: 5]) -> [c: 1, h: 4, w: 5] { x |> reduce(mean, c) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let word = attrs.word("f")?;
        let f = AggregateFn::ALL.into_iter().find(|(_, w)| *w == word).map(|(f, _)| f);
        Ok(Self { f: f.ok_or_else(|| format!("no aggregate is called `{word}`"))?, dims: attrs.sizes("dims")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let mut all = Vec::new();
        for (f, word) in AggregateFn::ALL {
            let op = |dims: &[usize]| Self { f, dims: dims.to_vec() };
            let name = |what: &str| format!("{word} {what}");
            let away = [Fill::Uniform(0.5, 1.5)];
            all.push(
                Case::new(name("grid"), op(&[2, 3]), vec![act(2, 3, &[("h", 4), ("w", 5)])]).fill(&away),
            );
            all.push(
                Case::new(name("channels"), op(&[1]), vec![act(2, 5, &[("h", 2), ("w", 3)])]).fill(&away),
            );
            let general = weight(&[("d0", 3), ("d1", 4), ("d2", 5)]);
            all.push(Case::new(name("ends"), op(&[0, 2]), vec![general.clone()]).fill(&away));
            all.push(Case::new(name("all"), op(&[0, 1, 2]), vec![general]).fill(&away));
        }
        let signed = weight(&[("d0", 3), ("d1", 7)]);
        for f in [AggregateFn::L1, AggregateFn::Min, AggregateFn::LogSumExp] {
            all.push(Case::new(format!("{} signed", f.word()), Self { f, dims: vec![1] }, vec![signed.clone()]));
        }
        all
    }
}

impl OpRules for Aggregate {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let dims = self.dims.iter().map(|d| *d as i64).collect();
        Attrs::default().with("f", Attr::Word(self.f.word().to_owned())).with("dims", Attr::Ints(dims))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let mut dims = x.dims().to_vec();
        let mut why: Vec<Why> = (0..dims.len()).map(|d| Why::same(0, d)).collect();
        for d in &self.dims {
            if dims.get(*d).is_none_or(|extent| *extent == 0) {
                let message = format!("nothing to take the {} of along dimension {d} of {}", self.f.word(), x.show());
                return Err(OpError::new(codes::E0209, message));
            }
            why[*d] = Why::from(0, *d, format!("{} of {}", self.f.word(), dims[*d]));
            dims[*d] = 1;
        }
        Ok(Inferred { ty: shape_rules::resized("aggregate", x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, y, dy) = (at.inputs[0], at.y, at.dy);
        let ty = e.ty(x).clone();
        let count = self.dims.iter().map(|d| ty.dims()[*d]).product::<usize>() as f32;
        // The gradient by the result, times what an element's own share is.
        let dx = match self.f {
            AggregateFn::Sum | AggregateFn::Mean => {
                let grown = ty.names().iter().zip(ty.dims()).enumerate();
                let to = grown.map(|(d, (name, e))| Grown { name: name.clone(), from: Some(d), extent: *e }).collect();
                let all = e.op(Expand { to }.into(), &[dy])?;
                if self.f == AggregateFn::Mean { e.scale(all, 1.0 / count)? } else { all }
            }
            AggregateFn::Max | AggregateFn::Min => {
                // Equal ones share it.
                let hit = e.op(Pointwise { f: PointwiseFn::Equal }.into(), &[x, y])?;
                let hits = e.op(Self { f: AggregateFn::Sum, dims: self.dims.clone() }.into(), &[hit])?;
                let share = e.div(dy, hits)?;
                e.mul(hit, share)?
            }
            AggregateFn::Prod => {
                let reason = "products where a factor is 0 are not written as gradients";
                return Err(NotDifferentiable::new(reason));
            }
            AggregateFn::SumSquare => {
                let twice = e.scale(dy, 2.0)?;
                e.mul(x, twice)?
            }
            AggregateFn::L1 => {
                let sign = e.op(Pointwise { f: PointwiseFn::Sign }.into(), &[x])?;
                e.mul(sign, dy)?
            }
            AggregateFn::L2 => {
                let share = e.div(dy, y)?;
                e.mul(x, share)?
            }
            AggregateFn::LogSum => {
                let total = e.map(UnaryFn::Exp, y)?;
                let share = e.div(dy, total)?;
                let sum = Self { f: AggregateFn::Sum, dims: self.dims.clone() };
                return sum.vjp(e, &Applied { dy: share, ..*at });
            }
            AggregateFn::LogSumExp => {
                let less = e.op(Binary::of(BinaryFn::Sub).into(), &[x, y])?;
                let share = e.map(UnaryFn::Exp, less)?;
                e.mul(share, dy)?
            }
        };
        at.only(dx)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let over: Vec<usize> = self.dims.iter().map(|d| x.dims[*d]).collect();
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            let mut terms = Vec::new();
            for_each_index(&over, |inner| {
                self.dims.iter().zip(inner).for_each(|(d, i)| from[*d] = *i);
                terms.push(x.at(&from));
            });
            self.f.reference(&terms)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (x, out) = (cx.input(0).clone(), cx.out().clone());
        let over: Vec<Dim<'_>> = self.dims.iter().map(|d| (&*x.names()[*d], x.dims()[*d])).collect();
        let count = over.iter().map(|d| d.1).product::<usize>() as f32;
        let dims: Vec<Dim<'_>> = out.names().iter().map(|n| &**n).zip(out.dims().iter().copied()).collect();
        cx.nested(LoopKind::Free, &dims, |cx, vars| {
            let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let load = |cx: &LowerCx<'_>, inner: &[Affine]| {
                let mut from = at.clone();
                self.dims.iter().zip(inner).for_each(|(d, i)| from[*d] = i.clone());
                cx.load(0, &from)
            };
            let total = |cx: &mut LowerCx<'_>| sum(cx, &over, &mut |cx, k| load(cx, k)).into();
            let squares = |cx: &mut LowerCx<'_>| -> Expr {
                sum(cx, &over, &mut |cx, k| {
                    let x = load(cx, k);
                    let x = cx.b.let_(x);
                    Expr::Reg(x) * x.into()
                })
                .into()
            };
            let value: Expr = match self.f {
                AggregateFn::Sum => total(cx),
                AggregateFn::Mean => total(cx) / count.into(),
                AggregateFn::LogSum => Expr::un(UnOp::Log, total(cx)),
                AggregateFn::Max => max(cx, &over, &mut |cx, k| load(cx, k)).into(),
                AggregateFn::Min => {
                    let most = max(cx, &over, &mut |cx, k| Expr::un(UnOp::Neg, load(cx, k)));
                    Expr::un(UnOp::Neg, most.into())
                }
                AggregateFn::Prod => product(cx, &over, &mut |cx, k| load(cx, k)).into(),
                AggregateFn::SumSquare => squares(cx),
                AggregateFn::L2 => Expr::un(UnOp::Sqrt, squares(cx)),
                AggregateFn::L1 => sum(cx, &over, &mut |cx, k| Expr::un(UnOp::Abs, load(cx, k))).into(),
                AggregateFn::LogSumExp => {
                    let most = max(cx, &over, &mut |cx, k| load(cx, k));
                    let size = Expr::un(UnOp::Abs, most.into());
                    let most = Expr::select(Cmp::Eq, size, f32::INFINITY.into(), 0.0.into(), most.into());
                    let most = cx.b.let_(most);
                    let terms = sum(cx, &over, &mut |cx, k| Expr::un(UnOp::Exp, load(cx, k) - most.into()));
                    Expr::Reg(most) + Expr::un(UnOp::Log, terms.into())
                }
            };
            cx.store(&at, value);
        });
    }

    fn wants(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Wants {
        Wants::any(inputs.len())
    }

    fn scalar(&self) -> Option<ScalarFn<'_>> {
        None
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn cost(&self, inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        shape_rules::flops(inputs[0], 2)
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let mut fields = shape_rules::pointwise(out);
        for d in &self.dims {
            if let Some(field) = d.checked_sub(2).and_then(|axis| fields.get_mut(axis)) {
                *field = Field::All;
            }
        }
        fields
    }
}
