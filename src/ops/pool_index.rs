//! Where the greatest input of each window stands: what `maxpool` chose, as its position among all elements of the input,
//! row-major over `n, c, grid…` (or with the grid's axes in reverse). Of equal ones the first. Importers make it, the language
//! has no name for it. Positions are numbers of 24 bits: an input of more elements is refused.

use super::args::{Attr, Attrs};
use super::case::{Case, act};
use super::conv_nest::{guard, seen, serial};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::role::Role;
use super::vjp::{Applied, Emit, Pulled};
use super::window::{Padding, Window, WindowSpec};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Cmp, Expr};
use crate::support::codes;
use crate::tensor::array::{Array, for_each_index};
use crate::tensor::ty::TensorTy;

/// Positions above this are no exact `f32`.
const ELEMENTS_MAX: usize = 1 << 24;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolIndex {
    /// The windows.
    pub window: WindowSpec,
    /// Whether a last window that runs over the end is kept.
    pub partial: bool,
    /// Whether the first grid axis runs fastest.
    pub reversed: bool,
}

impl PoolIndex {
    /// What printed graphs call it.
    pub const KIND: &'static str = "pool_index";

    /// Names in the language: none.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, String> {
        let (partial, reversed) = (attrs.bool("partial")?, attrs.bool("reversed")?);
        Ok(Self { window: WindowSpec::from_attrs(attrs)?, partial, reversed })
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let op = |kernel: &[usize], stride: usize, pad, reversed| {
            let n = kernel.len();
            let window =
                WindowSpec { kernel: kernel.to_vec(), stride: vec![stride; n], dilation: vec![1; n], pad };
            Self { window, partial: false, reversed }
        };
        let image = || act(2, 3, &[("h", 5), ("w", 6)]);
        vec![
            Case::new("valid", op(&[2, 2], 2, Padding::Valid, false), vec![image()]),
            Case::new("same", op(&[3, 3], 2, Padding::Same, false), vec![image()]),
            Case::new("reversed", op(&[3, 2], 1, Padding::Valid, true), vec![image()]),
            Case::new("1d", op(&[3], 2, Padding::Sides(vec![(1, 1)]), false), vec![act(1, 2, &[("t", 7)])]),
        ]
    }

    fn windows(&self, x: &TensorTy) -> Result<(Vec<Window>, Vec<Why>), OpError> {
        let (windows, why) = self.window.resolve(x, self.partial)?;
        if windows.iter().any(|w| w.misses().is_some()) {
            let message = "a window lies wholly in the padding, and there is nothing to choose from";
            return Err(OpError::new(codes::E0402, message));
        }
        Ok((windows, why))
    }

    /// How far one step along each dimension of the input moves the position.
    fn steps(&self, dims: &[usize]) -> Vec<i64> {
        let mut order: Vec<usize> = (2..dims.len()).collect();
        if !self.reversed {
            order.reverse();
        }
        order.extend([1, 0]);
        let mut steps = vec![0; dims.len()];
        let mut step = 1;
        for d in order {
            steps[d] = step;
            step *= dims[d] as i64;
        }
        steps
    }
}

impl OpRules for PoolIndex {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        let attrs = self.window.attrs(Attrs::default());
        attrs.with("partial", Attr::Bool(self.partial)).with("reversed", Attr::Bool(self.reversed))
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let x = inputs[0];
        let (windows, axes) = self.windows(x)?;
        if x.len() > ELEMENTS_MAX {
            let message = format!("positions among the {} elements of {} are no exact numbers", x.len(), x.show());
            return Err(OpError::new(codes::E0208, message));
        }
        let mut dims = x.dims()[..2].to_vec();
        dims.extend(windows.iter().map(|w| w.out));
        let mut why = vec![Why::same(0, 0), Why::same(0, 1)];
        why.extend(axes);
        Ok(Inferred { ty: shape_rules::resized("pool_index", x, &dims)?, why })
    }

    fn vjp(&self, _e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        // A step function: where it does not jump, nothing changes.
        at.each(|_| Ok(None))
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let x = inputs[0];
        let windows: Vec<Window> = (0..out.rank())
            .filter_map(|a| self.window.axis(a, x.dims[a + 2], self.partial).ok().map(|w| w.0))
            .collect();
        let steps = self.steps(&x.dims);
        let kernel: Vec<usize> = windows.iter().map(|w| w.kernel).collect();
        Array::from_fn(out.dims(), |at| {
            let mut best = (f64::NEG_INFINITY, 0);
            for_each_index(&kernel, |tap| {
                let mut from: Vec<i64> = at[..2].iter().map(|i| *i as i64).collect();
                from.extend((0..tap.len()).map(|a| windows[a].position(at[a + 2], tap[a])));
                if let Some(value) = x.get(&from).filter(|v| *v > best.0) {
                    best = (value, from.iter().zip(&steps).map(|(i, s)| i * s).sum());
                }
            });
            best.1 as f64
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let Ok((windows, _)) = self.windows(cx.input(0)) else { return };
        let steps = self.steps(cx.input(0).dims());
        let names: Vec<String> = cx.input(0).grid_names().iter().map(|n| format!("k{n}")).collect();
        let dims: Vec<(String, usize)> = names.into_iter().zip(windows.iter().map(|w| w.kernel)).collect();
        cx.for_each_output(|cx, out| {
            let best = cx.b.let_(f32::NEG_INFINITY);
            let place = cx.b.let_(0.0);
            serial(cx, &dims, |cx, taps| {
                let mut at = out[..2].to_vec();
                at.extend(windows.iter().zip(&out[2..]).zip(taps).map(|((w, p), k)| seen(w, p, k)));
                let mut inside = Vec::new();
                for (w, i) in windows.iter().zip(&at[2..]) {
                    let (before, after) = w.overhang();
                    inside.extend((before > 0).then(|| i.clone()));
                    inside.extend((after > 0).then(|| (i * -1).offset(w.input as i64 - 1)));
                }
                guard(cx, inside, |cx| {
                    let x = cx.load(0, &at);
                    let x = cx.b.let_(x);
                    let here = at.iter().zip(&steps).fold(Affine::k(0), |sum, (i, s)| &sum + &(i * *s));
                    let chosen = |a: Expr, b: Expr| Expr::select(Cmp::Gt, x.into(), best.into(), a, b);
                    let index = chosen(Expr::Index(here), place.into());
                    cx.b.set(place, index);
                    cx.b.set(best, chosen(x.into(), best.into()));
                });
            });
            cx.store(out, Expr::Reg(place));
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

    fn cost(&self, _inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let taps = self.window.kernel.iter().fold(1u64, |a, k| a.saturating_mul(*k as u64));
        shape_rules::flops(out, taps)
    }

    fn field(&self, _input: usize, inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        match self.windows(inputs[0]) {
            Ok((windows, _)) => windows
                .iter()
                .map(|w| Field::Window { stride: w.stride as u64, before: w.lo as i64, reach: w.reach() as u64 })
                .collect(),
            Err(_) => shape_rules::everywhere(out),
        }
    }
}
