//! Rules and checks that many operations share: the unchanged type, pointwise costs and fields, checks of arguments and of
//! weights. Nothing here knows an operation by name; names come in for messages.

use super::args::{ArgValue, CallArgs};
use super::{At, Cost, Field, Inferred, OpError, Why};
use crate::support::{Name, codes};
use crate::tensor::ty::TensorTy;

/// The field of an operation whose output position looks at the same input position only.
pub const POINT: Field = Field::Window { stride: 1, before: 0, reach: 1 };

/// The output has the type of input 0.
pub fn same(inputs: &[&TensorTy]) -> Inferred {
    let ty = inputs[0].clone();
    let why = (0..ty.dims().len()).map(|d| Why::same(0, d)).collect();
    Inferred { ty, why }
}

/// Number of grid axes; 0 for a weight, which has none.
pub fn grid_rank(ty: &TensorTy) -> usize {
    if ty.is_activation() { ty.dims().len().saturating_sub(2) } else { 0 }
}

/// One [`POINT`] per grid axis of the output.
pub fn pointwise(out: &TensorTy) -> Vec<Field> {
    vec![POINT; grid_rank(out)]
}

/// [`Field::All`] for each grid axis of the output.
pub fn everywhere(out: &TensorTy) -> Vec<Field> {
    vec![Field::All; grid_rank(out)]
}

/// The field that looks at position `o + by` along dimension `dim` of the output, at the same position elsewhere.
pub fn shifted(out: &TensorTy, dim: usize, by: i64) -> Vec<Field> {
    let mut field = pointwise(out);
    if let Some(f) = dim.checked_sub(2).and_then(|axis| field.get_mut(axis)) {
        *f = Field::Window { stride: 1, before: by.saturating_neg(), reach: 1 };
    }
    field
}

/// `per` floating-point operations for every element of `ty`.
pub fn flops(ty: &TensorTy, per: u64) -> Cost {
    Cost { macs: 0, flops: (ty.len() as u64).saturating_mul(per) }
}

/// The type of `ty` with other extents.
///
/// # Errors
/// E0208 when they are more than memory holds.
pub fn resized(op: &str, ty: &TensorTy, dims: &[usize]) -> Result<TensorTy, OpError> {
    ty.with_dims(dims).map_err(|_| too_large(op, dims))
}

/// E0208: the result has more elements than memory holds.
pub fn too_large(op: &str, dims: &[usize]) -> OpError {
    OpError::new(codes::E0208, format!("`{op}` makes a tensor of extents {dims:?}, more than memory holds"))
}

/// E0303: a number of groups (or parts) that does not divide an extent; the nearest one below that does is worth trying.
pub fn indivisible(arg: &'static str, groups: usize, extent: usize, message: String) -> OpError {
    let nearest = (1..=groups.min(extent)).rev().find(|g| extent.is_multiple_of(*g)).unwrap_or(1);
    OpError::new(codes::E0303, message).at(At::Arg(arg)).blame(0, 1).try_arg(arg, nearest.to_string())
}

/// E0204: an argument out of range.
pub fn out_of_range(arg: &'static str, message: impl Into<String>) -> OpError {
    OpError::new(codes::E0204, message).at(At::Arg(arg))
}

/// A finite number argument as `f32`.
///
/// # Errors
/// E0204 when it is not finite in `f32`.
pub fn number(op: &str, args: &CallArgs, name: &'static str, default: f32) -> Result<f32, OpError> {
    let Some(x) = args.float(name) else { return Ok(default) };
    let x32 = x as f32;
    if x32.is_finite() {
        return Ok(x32);
    }
    Err(out_of_range(name, format!("`{name}` of `{op}` must be a finite number of 32 bits, not {x}")))
}

/// A number argument that must not be negative, such as an epsilon.
///
/// # Errors
/// E0204 when it is negative or not finite.
pub fn positive(op: &str, args: &CallArgs, name: &'static str, default: f32) -> Result<f32, OpError> {
    let x = number(op, args, name, default)?;
    if x >= 0.0 {
        return Ok(x);
    }
    Err(out_of_range(name, format!("`{name}` of `{op}` must not be negative, it is {x}")))
}

/// An integer argument of at least 1.
///
/// # Errors
/// E0204 when it is less.
pub fn count(op: &str, args: &CallArgs, name: &'static str, default: usize) -> Result<usize, OpError> {
    let Some(i) = args.int(name) else { return Ok(default) };
    match usize::try_from(i) {
        Ok(i) if i >= 1 => Ok(i),
        _ => Err(out_of_range(name, format!("`{name}` of `{op}` must be at least 1, it is {i}"))),
    }
}

/// An argument with one integer of at least `least` per grid axis: `2`, `2x3`, `[2, k]`; `None` when it was not written.
///
/// # Errors
/// E0203 for a list of another length than the grid's rank, E0204 for a value out of range, E0107 for something else.
pub fn per_axis(
    op: &str,
    args: &CallArgs,
    name: &'static str,
    grid: &TensorTy,
    least: i64,
) -> Result<Option<Vec<usize>>, OpError> {
    let rank = grid_rank(grid);
    let values: Vec<i64> = match args.get(name) {
        None => return Ok(None),
        Some(ArgValue::Int(i)) => vec![*i; rank],
        Some(ArgValue::Extent(e)) => e.clone(),
        Some(ArgValue::List(l)) => ints(op, name, l)?,
        Some(_) => return Err(wrong_type(op, name)),
    };
    if values.len() != rank {
        let message = format!(
            "`{name}` of `{op}` lists {}, and the grid of {} has rank {rank}",
            plural(values.len(), "value"),
            grid.show(),
        );
        return Err(OpError::new(codes::E0203, message).at(At::Arg(name)));
    }
    let sizes: Option<Vec<usize>> =
        values.iter().map(|v| usize::try_from(*v).ok().filter(|_| *v >= least)).collect();
    sizes.map(Some).ok_or_else(|| {
        out_of_range(name, format!("each `{name}` of `{op}` must be at least {least}, it is {values:?}"))
    })
}

/// The integers of a list argument.
///
/// # Errors
/// E0107 when it holds something else.
pub fn ints(op: &str, name: &'static str, list: &[ArgValue]) -> Result<Vec<i64>, OpError> {
    list.iter()
        .map(|v| match v {
            ArgValue::Int(i) => Ok(*i),
            _ => Err(wrong_type(op, name)),
        })
        .collect()
}

/// E0107: an argument of the wrong type.
pub fn wrong_type(op: &str, name: &'static str) -> OpError {
    OpError::new(codes::E0107, format!("`{name}` of `{op}` is of the wrong type")).at(At::Arg(name))
}

/// The dimension that an axis argument names (`c` or a grid axis), `default` when it was not written.
///
/// # Errors
/// E0112 when the tensor has no such axis.
pub fn axis(
    op: &str,
    args: &CallArgs,
    name: &'static str,
    ty: &TensorTy,
    default: usize,
) -> Result<usize, OpError> {
    let Some(word) = args.word(name) else {
        return if args.get(name).is_none() { Ok(default) } else { Err(wrong_type(op, name)) };
    };
    match ty.position(word).filter(|d| *d >= 1) {
        Some(d) => Ok(d),
        None => {
            let message = format!("`{op}` is asked for axis {word}, which {} does not have", ty.show());
            let axes = ty.names().get(1..).unwrap_or(&[]);
            let error = OpError::new(codes::E0112, message).at(At::Arg(name));
            // Two and more axes are worth trying; all of them would be guesses.
            Err(axes.iter().take(2).fold(error, |e, axis| e.try_arg(name, &**axis)))
        }
    }
}

/// Checks that inputs after the first `activations` are `count` weights of one value per channel of input 0.
///
/// # Errors
/// E0206 when their number or an extent differs.
pub fn channel_weights(
    op: &str,
    inputs: &[&TensorTy],
    activations: usize,
    count: usize,
) -> Result<(), OpError> {
    if inputs.len() != activations + count {
        let message = format!("`{op}` takes {activations} + {count} operands, it got {}", inputs.len());
        return Err(OpError::new(codes::E0206, message));
    }
    let c = channels(inputs[0]);
    for (i, w) in inputs.iter().enumerate().skip(activations) {
        if w.dims() != [c] {
            let message = format!("`{op}` on {c} channels has weights for [{c}], not {}", w.show());
            return Err(OpError::new(codes::E0206, message).blame(0, 1).blame(i, 0));
        }
    }
    Ok(())
}

/// Checks that an operation made for a grid of rank `made` meets one: an instance may be called on another tensor than
/// the one it was made for.
///
/// # Errors
/// E0215 when the rank differs.
pub fn same_rank(op: &str, made: usize, x: &TensorTy) -> Result<(), OpError> {
    if x.is_activation() && grid_rank(x) == made {
        return Ok(());
    }
    let message = format!("this `{op}` was made for a grid of rank {made}, not for {}", x.show());
    Err(OpError::new(codes::E0215, message))
}

/// Extent of the channel axis; a weight counts its first dimension.
pub fn channels(ty: &TensorTy) -> usize {
    let d = usize::from(ty.is_activation());
    ty.dims().get(d).copied().unwrap_or(1)
}

/// A weight with one value per channel.
///
/// # Errors
/// E0208, as any type.
pub fn per_channel(op: &str, c: usize) -> Result<TensorTy, OpError> {
    TensorTy::new([("c", c)]).map_err(|_| too_large(op, &[c]))
}

/// The grid axes of a type as a message names them: `[h, w]`.
pub fn show_axes(ty: &TensorTy) -> String {
    let skip = if ty.is_activation() { 2 } else { 0 };
    let names: Vec<&str> = ty.names().iter().skip(skip).map(|n: &Name| &**n).collect();
    format!("[{}]", names.join(", "))
}

/// `1 value`, `3 values`
pub fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
