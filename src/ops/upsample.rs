//! Nearest-neighbour upsampling by an integer factor per grid axis: `y[n, c, p] = x[n, c, floor(p / f)]`.

use super::pool::{Over, Pool, PoolKind};
use super::window::{Padding, WindowSpec};
use super::vjp::{Applied, Emit, Pulled};
use super::role::Role;
use super::args::{ArgTy, Attr, Attrs, CallArgs};
use super::case::Case;
use super::lower::{LowerCx, ScalarFn, Wants};
use super::window::per_axis;
use super::{Cost, Field, Inferred, Made, OpError, OpInfo, OpRules, Param, Why, shape_rules};
use crate::loops::Affine;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    /// Factor per grid axis.
    pub factor: Vec<usize>,
}

fn make(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let x = inputs[0];
    let factor = per_axis("upsample", args, "factor", x, 1)?.unwrap_or_else(|| vec![2; x.rank()]);
    Ok(Made::op(Upsample { factor }))
}

impl Upsample {
    /// What printed graphs call it.
    pub const KIND: &'static str = "upsample";

    /// Names in the language.
    pub const INFO: &'static [OpInfo] = &[OpInfo {
        name: "upsample",
        family: "moving",
        doc: "Repeats every grid position `factor` times along each axis (nearest neighbour).",
        tensors: (1, 1),
        params: &[Param {
            name: "factor",
            positional: true,
            required: false,
            ty: ArgTy::Extent,
            default: "2",
            doc: "repetitions per axis",
        }],
        example: "net Up(x: [c: 3, h: 4, w: 5]) -> [c: 3, h: 8, w: 15] { x |> upsample(2x3) }",
        make,
    }];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        Ok(Self { factor: attrs.sizes("factor")? })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let ty = |n, c, grid: &[(&str, usize)]| TensorTy::grid(n, c, grid).expect("a small tensor");
        vec![
            Case::new("1d", Self { factor: vec![3] }, vec![ty(1, 2, &[("t", 5)])]),
            Case::new("2d batch", Self { factor: vec![2, 3] }, vec![ty(3, 4, &[("h", 4), ("w", 3)])]),
            Case::new("3d", Self { factor: vec![1, 2, 2] }, vec![ty(1, 5, &[("d", 2), ("h", 3), ("w", 2)])]),
        ]
    }
}

impl OpRules for Upsample {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default().with("factor", Attr::Ints(self.factor.iter().map(|f| *f as i64).collect()))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        shape_rules::same_rank("upsample", self.factor.len(), x)?;
        let mut dims = x.dims().to_vec();
        let mut why = vec![Why::same(0, 0), Why::same(0, 1)];
        for (axis, f) in self.factor.iter().enumerate() {
            let extent = dims[axis + 2];
            dims[axis + 2] = extent.saturating_mul(*f);
            why.push(Why::from(0, axis + 2, format!("{extent} * {f}")));
        }
        let ty = shape_rules::resized("upsample", x, &dims)?;
        Ok(Inferred { ty, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        // The sum over each block: the mean times the number of positions.
        let window = WindowSpec {
            kernel: self.factor.clone(),
            stride: self.factor.clone(),
            dilation: vec![1; self.factor.len()],
            pad: Padding::Valid,
        };
        let pool = Pool { kind: PoolKind::Avg, over: Over::Window(window), count_pad: false, partial: false };
        let mean = e.op(pool.into(), &[at.dy])?;
        at.only(e.scale(mean, self.factor.iter().product::<usize>() as f32)?)
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        Array::from_fn(out.dims(), |at| {
            let mut from = at.to_vec();
            for (axis, f) in self.factor.iter().enumerate() {
                from[axis + 2] /= f;
            }
            inputs[0].at(&from)
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        cx.for_each_output(|cx, at| {
            let mut from: Vec<Affine> = at.to_vec();
            for (axis, f) in self.factor.iter().enumerate() {
                if *f > 1 {
                    from[axis + 2] = cx.b.div("from", at[axis + 2].clone(), *f as i64).into();
                }
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

    fn field(&self, _input: usize, _inputs: &[&TensorTy], _out: &TensorTy) -> Vec<Field> {
        self.factor.iter().map(|f| Field::Spread { stride: *f as u64, before: 0, reach: *f as u64 }).collect()
    }
}
