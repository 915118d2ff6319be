//! Products of matrices, `y[b…, i, j] = Σ_k x[b…, i, k] * w[b…, k, j]`: both operands have the same number of dimensions,
//! the last two are the matrices, and batch dimensions of extent 1 stand for any. For tensors that are no channels on a
//! grid; importers make it, the language has no name for it.

use super::args::Attrs;
use super::case::{Case, weight};
use super::lower::{LowerCx, ScalarFn, Wants};
use super::reduce::sum;
use super::role::Role;
use super::arrange::{Arrange, Pick};
use super::vjp::{Applied, Emit, Pulled, Val};
use super::{Cost, Field, Inferred, OpError, OpInfo, OpRules, Why, shape_rules};
use crate::loops::{Affine, Expr, LoopKind};
use crate::support::codes;
use crate::tensor::array::Array;
use crate::tensor::ty::TensorTy;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul;

impl MatMul {
    /// What printed graphs call it.
    pub const KIND: &'static str = "matmul";

    /// Names in the language: none.
    pub const INFO: &'static [OpInfo] = &[];

    /// From printed attributes: there are none.
    ///
    /// # Errors
    /// Never.
    pub fn from_attrs(_attrs: &Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    /// Test cases.
    pub fn cases() -> Vec<Case> {
        let ty = |dims: &[usize]| {
            let names: Vec<String> = (0..dims.len()).map(|i| format!("d{i}")).collect();
            let dims: Vec<(&str, usize)> = names.iter().map(|n| &**n).zip(dims.iter().copied()).collect();
            weight(&dims)
        };
        vec![
            Case::new("plain", Self, vec![ty(&[5, 7]), ty(&[7, 9])]),
            Case::new("vector", Self, vec![ty(&[1, 16]), ty(&[16, 8])]),
            Case::new("batch", Self, vec![ty(&[3, 2, 4, 6]), ty(&[3, 2, 6, 8])]),
            Case::new("shared right", Self, vec![ty(&[3, 4, 5]), ty(&[1, 5, 2])]),
            Case::new("shared left", Self, vec![ty(&[1, 2, 4, 5]), ty(&[3, 1, 5, 2])]),
        ]
    }
}

impl OpRules for MatMul {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn attrs(&self) -> Attrs {
        Attrs::default()
    }

    fn infer(&self, inputs: &[&TensorTy]) -> Result<Inferred, OpError> {
        let (x, w) = (inputs[0], inputs[1]);
        let rank = x.dims().len();
        let refused = || {
            let message = format!("no product of matrices {:?} and {:?}", x.dims(), w.dims());
            OpError::new(codes::E0210, message)
        };
        if rank < 2 || w.dims().len() != rank || x.dims()[rank - 1] != w.dims()[rank - 2] {
            return Err(refused());
        }
        let mut dims = x.dims().to_vec();
        let mut why: Vec<Why> = (0..rank).map(|d| Why::same(0, d)).collect();
        for d in 0..rank - 2 {
            match (x.dims()[d], w.dims()[d]) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => {
                    dims[d] = b;
                    why[d] = Why::same(1, d);
                }
                _ => return Err(refused()),
            }
        }
        dims[rank - 1] = w.dims()[rank - 1];
        why[rank - 1] = Why::same(1, rank - 1);
        Ok(Inferred { ty: shape_rules::resized("matmul", x, &dims)?, why })
    }

    fn vjp(&self, e: &mut dyn Emit, at: &Applied<'_>) -> Pulled {
        let (x, w) = (at.inputs[0], at.inputs[1]);
        at.each(|i| {
            let part = if i == 0 {
                let w = turned(e, w)?;
                e.op(Self.into(), &[at.dy, w])?
            } else {
                let x = turned(e, x)?;
                e.op(Self.into(), &[x, at.dy])?
            };
            Ok(Some(e.sum_like(part, at.inputs[i])?))
        })
    }

    fn reference(&self, inputs: &[&Array], out: &TensorTy) -> Array {
        let (x, w) = (inputs[0], inputs[1]);
        let last = out.dims().len() - 1;
        let meet = |a: &Array, at: &[usize]| -> Vec<usize> {
            at.iter().zip(&a.dims).map(|(i, d)| if *d == 1 { 0 } else { *i }).collect()
        };
        Array::from_fn(out.dims(), |at| {
            let mut total = 0.0;
            for k in 0..x.dims[last] {
                let (mut left, mut right) = (at.to_vec(), at.to_vec());
                left[last] = k;
                right[last - 1] = k;
                total += x.at(&meet(x, &left)) * w.at(&meet(w, &right));
            }
            total
        })
    }

    fn lower(&self, cx: &mut LowerCx<'_>) {
        let (x, w, out) = (cx.input(0).clone(), cx.input(1).clone(), cx.out().clone());
        let last = out.dims().len() - 1;
        let meet = |ty: &TensorTy, at: &[Affine]| -> Vec<Affine> {
            at.iter().zip(ty.dims()).map(|(i, d)| if *d == 1 { Affine::k(0) } else { i.clone() }).collect()
        };
        let dims: Vec<(&str, usize)> = out.names().iter().map(|n| &**n).zip(out.dims().iter().copied()).collect();
        cx.nested(LoopKind::Free, &dims, |cx, vars| {
            let at: Vec<Affine> = vars.iter().map(|v| Affine::from(*v)).collect();
            let total = sum(cx, &[("k", x.dims()[last])], &mut |cx, k| {
                let (mut left, mut right) = (at.clone(), at.clone());
                left[last] = k[0].clone();
                right[last - 1] = k[0].clone();
                cx.load(0, &meet(&x, &left)) * cx.load(1, &meet(&w, &right))
            });
            cx.store(&at, Expr::Reg(total));
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

    fn cost(&self, inputs: &[&TensorTy], out: &TensorTy) -> Cost {
        let depth = inputs[0].dims().last().copied().unwrap_or(1) as u64;
        let macs = (out.len() as u64).saturating_mul(depth);
        Cost { macs, flops: macs.saturating_mul(2) }
    }

    fn field(&self, _input: usize, _inputs: &[&TensorTy], out: &TensorTy) -> Vec<Field> {
        shape_rules::everywhere(out)
    }
}

/// Matrices with rows and columns exchanged.
fn turned(e: &mut dyn Emit, v: Val) -> Result<Val, OpError> {
    let ty = e.ty(v);
    let rank = ty.dims().len();
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    let to = ty.names().iter().cloned().zip(order.iter().map(|d| ty.dims()[*d])).collect();
    e.op(Arrange { to, from: order.into_iter().map(Pick::same).collect() }.into(), &[v])
}
