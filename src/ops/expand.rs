//! Repetition, `y[j] = x[i]`: each dimension of the result either repeats a dimension of the input, `i = j mod e` with `e` the
//! input's extent, or is new. The transpose of [`super::sum`]; gradients use it, the language has no name for it.

use super::args::{Attr, Attrs};
use super::case::{Case, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::sum::Kept;
use super::vjp::{Applied, Emit, Pulled};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::Affine;
use crate::support::{Name, codes};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// A dimension of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its name.
    pub name: Name,
    /// The dimension of the input that it repeats; `None` is a new one.
    pub from: Option<usize>,
    /// Its extent.
    pub extent: usize,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    /// The dimensions of the result; every dimension of the input occurs once.
    pub to: Vec<Grown>,
}

impl Expand {
    /// What printed graphs call it.
    pub const KIND: &'static str = "expand";

    /// The language has no name for it.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: `name=[extent, from]` for each dimension of the result, `name=[extent]` for a new one.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let grown = |(name, _): &(String, Attr)| {
            let name = Name::from(&**name);
            match attrs.sizes(&name)?.as_slice() {
                [extent] => Ok(Grown { name, from: None, extent: *extent }),
                [extent, from] => Ok(Grown { name, from: Some(*from), extent: *extent }),
                _ => Err("a dimension is `[extent]` or `[extent, from]`".to_owned()),
            }
        };
        Ok(Self { to: attrs.0.iter().map(grown).collect::<Result<_, _>>()? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |to: &[(&str, Option<usize>, usize)]| Self {
            to: to.iter().map(|(n, from, extent)| Grown { name: Name::from(*n), from: *from, extent: *extent }).collect(),
        };
        let c = |c| weight(&[("c", c)]);
        vec![
            Case::new("channels", op(&[("n", None, 3), ("c", Some(0), 5), ("h", None, 4)]), vec![c(5)]),
            Case::new("grid", op(&[("n", Some(0), 2), ("c", Some(1), 5), ("h", None, 3), ("w", None, 4)]), vec![act(2, 5, &[])]),
            Case::new(
                "tiles",
                op(&[("n", None, 2), ("c", Some(2), 3), ("h", Some(0), 5), ("w", Some(1), 4)]),
                vec![weight(&[("th", 2), ("tw", 4), ("o", 3)])],
            ),
            Case::new("one", op(&[("n", Some(0), 2), ("c", Some(1), 4)]), vec![act(2, 1, &[])]),
        ]
    }
}

impl OpRules for Expand {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        self.to.iter().fold(Attrs::default(), |attrs, g| {
            let list = [Some(g.extent), g.from].into_iter().flatten();
            attrs.with(&g.name, Attr::Ints(list.map(|x| x as i64).collect()))
        })
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let once = |d: usize| self.to.iter().filter(|g| g.from == Some(d)).count() == 1;
        let grows = |g: &Grown| g.from.is_none_or(|d| x.dims().get(d).is_some_and(|e| (1..=g.extent).contains(e)));
        let named = |i: usize| self.to[..i].iter().all(|g| g.name != self.to[i].name);
        if !(0..x.dims().len()).all(once) || !self.to.iter().all(grows) || !(0..self.to.len()).all(named) {
            return Err(OpError::new(codes::E0206, format!("`expand` cannot take {x}")));
        }
        let extents: Vec<usize> = self.to.iter().map(|g| g.extent).collect();
        let ty = TensorTy::new(self.to.iter().map(|g| (&g.name, g.extent)))
            .map_err(|_| shape_rules::too_large("expand", &extents))?;
        let why = |g: &Grown| g.from.map_or_else(|| Why::given("repeated"), |d| Why::same(0, d));
        Ok(Inferred { ty, why: self.to.iter().map(why).collect() })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let ty = e.ty(at.inputs[0]).clone();
        let mut kept = Vec::new();
        for (d, (name, extent)) in ty.names().iter().zip(ty.dims()).enumerate() {
            let dim = self.to.iter().position(|g| g.from == Some(d)).unwrap_or(d);
            kept.push(Kept { name: name.clone(), dim, extent: *extent });
        }
        at.only(e.sum_to(at.dy, kept)?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        Array::from_fn(out.dims(), |at| {
            let mut from = vec![0; x.dims.len()];
            for (g, i) in self.to.iter().zip(at) {
                if let Some(d) = g.from {
                    from[d] = i % x.dims[d];
                }
            }
            x.at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let x = cx.input(0).clone();
        cx.for_each_output(|cx, at| {
            let mut from = vec![Affine::k(0); x.dims().len()];
            for (g, i) in self.to.iter().zip(at) {
                let Some(d) = g.from else { continue };
                let extent = x.dims()[d];
                from[d] = match extent {
                    1 => Affine::k(0),
                    _ if extent == g.extent => i.clone(),
                    _ => cx.b.modulo("from", i.clone(), extent as i64).into(),
                };
            }
            let value = cx.load(0, &from);
            cx.store(at, value);
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

    fn cost(&self, _inputs: &[&TensorTy], _out: &TensorTy) -> Cost {
        Cost::default()
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}
