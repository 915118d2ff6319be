//! Elements put elsewhere: every index of the input is a function of one index of the output,
//! `y[o_0, o_1, …] = x[f_0(o_a), f_1(o_b), …]`, each `f` a step (`start + step * o`) or a table.
//!
//! Transposition, new names, slices with steps, gathering by constant indices, expansion (output dimensions that no `f`
//! looks at repeat), tiling, and padding by reflection, edge or wrapping are values of it. Importers make it for tensors of
//! any dimensions, channels on a grid or not; the language has no name for it.

use std::sync::Arc;

use super::args::{Attr, Attrs};
use super::case::{Case, act, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::embed::Embed;
use super::slice::Cut;
use super::sum::Kept;
use super::vjp::{Applied, Emit, NotDifferentiable, Pulled, Val};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::Affine;
use crate::support::{Name, codes};
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// Where one index of the input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// `start + step * o`, `o` the index along dimension `dim` of the output. A step of 0 looks at `start` always.
    Step {
        /// The output's dimension.
        dim: usize,
        /// The index where `o` is 0.
        start: i64,
        /// Difference between neighbours.
        step: i64,
    },
    /// `table[o]`.
    Table {
        /// The output's dimension.
        dim: usize,
        /// One index of the input for each of the output.
        table: Arc<Vec<usize>>,
    },
}

impl Pick {
    /// The index along `dim`, unchanged.
    pub fn same(dim: usize) -> Self {
        Self::Step { dim, start: 0, step: 1 }
    }

    /// Always the index `at`.
    pub fn fixed(at: usize) -> Self {
        Self::Step { dim: 0, start: at as i64, step: 0 }
    }

    /// The output's dimension whose index matters.
    fn looks_at(&self) -> Option<usize> {
        match self {
            Self::Step { step: 0, .. } => None,
            Self::Step { dim, .. } | Self::Table { dim, .. } => Some(*dim),
        }
    }

    /// The index for each of the first `len` of the output.
    fn table(&self, len: usize) -> Vec<usize> {
        match self {
            Self::Step { start, step, .. } => (0..len as i64).map(|o| (start + step * o) as usize).collect(),
            Self::Table { table, .. } => table.to_vec(),
        }
    }

    fn at(&self, out: &[usize]) -> usize {
        match self {
            Self::Step { start, step: 0, .. } => *start as usize,
            Self::Step { dim, start, step } => (start + step * out[*dim] as i64) as usize,
            Self::Table { dim, table } => table[out[*dim]],
        }
    }

    fn row(&self) -> Vec<i64> {
        match self {
            Self::Step { dim, start, step } => vec![0, *dim as i64, *start, *step],
            Self::Table { dim, table } => {
                [1, *dim as i64].into_iter().chain(table.iter().map(|i| *i as i64)).collect()
            }
        }
    }

    fn from_row(row: &[i64]) -> Option<Self> {
        match row {
            [0, dim, start, step] => {
                Some(Self::Step { dim: usize::try_from(*dim).ok()?, start: *start, step: *step })
            }
            [1, dim, table @ ..] => {
                let table: Option<Vec<usize>> = table.iter().map(|i| usize::try_from(*i).ok()).collect();
                Some(Self::Table { dim: usize::try_from(*dim).ok()?, table: Arc::new(table?) })
            }
            _ => None,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrange {
    /// The output's dimensions.
    pub to: Vec<(Name, usize)>,
    /// One for each dimension of the input.
    pub from: Vec<Pick>,
}

impl Arrange {
    /// Whether every dimension of `x` stays in its place and those of extent 1 are repeated, nothing else.
    pub fn is_broadcast(&self, x: &TensorTy) -> bool {
        let stays = |(d, pick): (usize, &Pick)| match pick {
            Pick::Step { dim, start: 0, step: 1 } => *dim == d && self.to[d].1 == x.dims()[d],
            Pick::Step { start: 0, step: 0, .. } => x.dims()[d] == 1,
            Pick::Step { .. } | Pick::Table { .. } => false,
        };
        let named = self.to.iter().map(|(name, _)| name).eq(x.names());
        named && self.from.iter().enumerate().all(stays)
    }

    /// What printed graphs call it.
    pub const KIND: &'static str = "arrange";

    /// Names in the language: none.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: `from`, then one per dimension under its name.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let from: Option<Vec<Pick>> = match attrs.get("from")? {
            Attr::Lists(rows) => rows.iter().map(|row| Pick::from_row(row)).collect(),
            Attr::Ints(none) if none.is_empty() => Some(Vec::new()),
            Attr::Ints(_) | Attr::Int(_) | Attr::Float(_) | Attr::Bool(_) | Attr::Word(_) => None,
        };
        let from = from.ok_or("`from` is not one list of integers for each dimension")?;
        let dims = attrs.0.iter().filter(|(name, _)| name != "from");
        let to: Result<Vec<(Name, usize)>, String> =
            dims.map(|(name, _)| Ok((Name::from(&**name), attrs.size(name)?))).collect();
        Ok(Self { to: to?, from })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |to: &[(&str, usize)], from: &[Pick]| Self {
            to: to.iter().map(|(n, d)| (Name::from(*n), *d)).collect(),
            from: from.to_vec(),
        };
        let same = Pick::same;
        let step = |dim, start, step| Pick::Step { dim, start, step };
        let table = |dim, at: &[usize]| Pick::Table { dim, table: Arc::new(at.to_vec()) };
        let image = || act(2, 3, &[("h", 4), ("w", 5)]);
        vec![
            Case::new(
                "transpose",
                op(&[("d0", 4), ("d1", 5), ("d2", 2), ("d3", 3)], &[same(2), same(3), same(0), same(1)]),
                vec![image()],
            ),
            Case::new(
                "to channels",
                op(&[("n", 2), ("c", 4), ("w", 3)], &[same(0), same(2), same(1)]),
                vec![weight(&[("d0", 2), ("d1", 3), ("d2", 4)])],
            ),
            Case::new(
                "steps",
                op(&[("n", 2), ("c", 3), ("h", 2), ("w", 5)], &[same(0), same(1), step(2, 3, -2), step(3, 4, -1)]),
                vec![image()],
            ),
            Case::new(
                "table",
                op(&[("n", 2), ("c", 5), ("h", 4), ("w", 5)], &[same(0), table(1, &[2, 0, 0, 1, 2]), same(2), same(3)]),
                vec![image()],
            ),
            Case::new(
                "expand",
                op(&[("d0", 3), ("d1", 4), ("d2", 5)], &[Pick::fixed(0), same(2)]),
                vec![weight(&[("d0", 1), ("d1", 5)])],
            ),
            Case::new("fixed", op(&[("n", 2), ("c", 5)], &[same(0), Pick::fixed(2), Pick::fixed(1), same(1)]), vec![image()]),
            Case::new("scalar", op(&[("d0", 3)], &[]), vec![weight(&[])]),
        ]
    }

    /// What is wrong with index `d` of the input, whose extent is `extent`.
    fn wrong(&self, d: usize, extent: usize) -> Option<String> {
        let inside = |at: i64| (0..extent as i64).contains(&at);
        match &self.from[d] {
            Pick::Step { start, step: 0, .. } if inside(*start) => None,
            Pick::Step { dim, start, step } => {
                let Some((_, out)) = self.to.get(*dim) else { return Some(format!("there is no dimension {dim}")) };
                let last = step.checked_mul(*out as i64 - 1).and_then(|x| x.checked_add(*start));
                let fits = *out == 0 || inside(*start) && last.is_some_and(inside);
                (!fits).then(|| format!("{out} steps of {step} from {start} leave its {extent} positions"))
            }
            Pick::Table { dim, table } => {
                let Some((_, out)) = self.to.get(*dim) else { return Some(format!("there is no dimension {dim}")) };
                let fits = table.len() == *out && table.iter().all(|i| *i < extent);
                (!fits).then(|| format!("a table of {} indices for {out} leaves its {extent} positions", table.len()))
            }
        }
    }
}

impl OpRules for Arrange {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let rows = self.from.iter().map(Pick::row).collect();
        let attrs = Attrs::default().with("from", Attr::Lists(rows));
        self.to.iter().fold(attrs, |attrs, (name, d)| attrs.with(name, Attr::Int(*d as i64)))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        if self.from.len() != x.dims().len() {
            let message = format!("an arrangement of {} dimensions on {}", self.from.len(), x.show());
            return Err(OpError::new(codes::E0215, message));
        }
        if let Some(what) = (0..self.from.len()).find_map(|d| self.wrong(d, x.dims()[d])) {
            return Err(OpError::new(codes::E0213, format!("an arrangement of {}: {what}", x.show())));
        }
        let extents: Vec<usize> = self.to.iter().map(|d| d.1).collect();
        let ty = TensorTy::new(self.to.iter().map(|(n, d)| (n, *d)))
            .map_err(|_| shape_rules::too_large("arrange", &extents))?;
        let why = (0..self.to.len())
            .map(|o| match self.from.iter().position(|p| *p == Pick::same(o)) {
                Some(d) if x.dims()[d] == extents[o] => Why::same(0, d),
                Some(_) | None => Why::given(format!("arranged to {}", extents[o])),
            })
            .collect();
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let x = e.ty(at.inputs[0]).clone();
        let used = |o: usize| self.from.iter().filter(|p| p.looks_at() == Some(o)).count();
        if (0..self.to.len()).any(|o| used(o) > 1) {
            return Err(NotDifferentiable::new("two dimensions of the input follow one of the result"));
        }
        // What repeats is summed.
        let kept = self.to.iter().enumerate();
        let kept = kept.map(|(dim, (name, extent))| {
            let extent = if used(dim) == 1 { *extent } else { 1 };
            Kept { name: name.clone(), dim, extent }
        });
        let mut v = e.sum_to(at.dy, kept.collect())?;
        for (d, pick) in self.from.iter().enumerate() {
            if let Some(o) = pick.looks_at().filter(|o| *pick != Pick::same(*o) || self.to[*o].1 != x.dims()[d]) {
                v = scattered(e, v, o, &pick.table(self.to[o].1), x.dims()[d])?;
            }
        }
        // Dimensions of the input in their places, those at a fixed index with extent 1.
        let name = |d: usize, extent| (x.names()[d].clone(), extent);
        let extent = |d: usize| if self.from[d].looks_at().is_some() { x.dims()[d] } else { 1 };
        let to = (0..self.from.len()).map(|d| name(d, extent(d))).collect();
        let place = |o: usize| self.from.iter().position(|p| p.looks_at() == Some(o));
        let from = (0..self.to.len()).map(|o| place(o).map_or(Pick::fixed(0), Pick::same)).collect();
        v = e.op(Self { to, from }.into(), &[v])?;
        let fixed = self.from.iter().enumerate().filter_map(|(dim, pick)| match pick {
            Pick::Step { start, step: 0, .. } if x.dims()[dim] > 1 => {
                Some(Cut { dim, start: *start as usize, len: x.dims()[dim] })
            }
            Pick::Step { .. } | Pick::Table { .. } => None,
        });
        let into: Vec<Cut> = fixed.collect();
        at.only(if into.is_empty() { v } else { e.op(Embed { into }.into(), &[v])? })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let from: Vec<usize> = self.from.iter().map(|p| p.at(at)).collect();
            inputs[0].at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let tables: Vec<_> = self
            .from
            .iter()
            .map(|p| match p {
                Pick::Table { table, .. } => Some(cx.b.table(table.iter().map(|i| *i as i64).collect())),
                Pick::Step { .. } => None,
            })
            .collect();
        cx.for_each_output(|cx, at| {
            let mut from: Vec<Affine> = Vec::new();
            for (pick, table) in self.from.iter().zip(&tables) {
                from.push(match (pick, table) {
                    (Pick::Step { start, step: 0, .. }, _) => Affine::k(*start),
                    (Pick::Step { dim, start, step }, _) => (&at[*dim] * *step).offset(*start),
                    (Pick::Table { dim, .. }, Some(table)) => cx.b.lookup("i", *table, at[*dim].clone()).into(),
                    (Pick::Table { .. }, None) => Affine::k(0),
                });
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

    fn field(&self, _input: usize, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        let mut fields = shape_rules::everywhere(out);
        for (axis, field) in fields.iter_mut().enumerate() {
            let here = inputs[0].position(&out.names()[axis + 2]).map(|d| &self.from[d]);
            if let Some(Pick::Step { dim, start, step }) = here
                && *dim == axis + 2
                && *step >= 1
            {
                *field = Field::Window { stride: *step as u64, before: -start, reach: 1 };
            }
        }
        fields
    }
}

/// For each of `extent` positions the entries of `table` that name it: the first of each, the second, ….
pub(super) fn layers(table: &[usize], extent: usize) -> Vec<Vec<Option<usize>>> {
    let mut count = vec![0; extent];
    let mut rows: Vec<Vec<Option<usize>>> = Vec::new();
    for (o, i) in table.iter().enumerate() {
        if rows.len() == count[*i] {
            rows.push(vec![None; extent]);
        }
        rows[count[*i]][*i] = Some(o);
        count[*i] += 1;
    }
    rows
}

/// `v` put where `table` says along a dimension, sums where it says so twice, zeros where it never does.
fn scattered(e: &mut dyn Emit, v: Val, dim: usize, table: &[usize], extent: usize) -> Result<Val, OpError> {
    let len = table.len();
    let wide = e.op(Embed { into: vec![Cut { dim, start: 0, len: len + 1 }] }.into(), &[v])?;
    let mut total: Option<Val> = None;
    for row in layers(table, extent) {
        let ty = e.ty(wide);
        let mut to: Vec<(Name, usize)> = ty.names().iter().cloned().zip(ty.dims().iter().copied()).collect();
        to[dim].1 = extent;
        let mut from: Vec<Pick> = (0..to.len()).map(Pick::same).collect();
        let table: Vec<usize> = row.iter().map(|o| o.unwrap_or(len)).collect();
        from[dim] = Pick::Table { dim, table: Arc::new(table) };
        let part = e.op(Arrange { to, from }.into(), &[wide])?;
        total = Some(match total {
            Some(sum) => e.add(sum, part)?,
            None => part,
        });
    }
    // A table always has entries: tensors without elements have no gradient to scatter.
    Ok(total.unwrap_or(v))
}
