//! How calls of `maxpool`, `avgpool` and `lppool`, and printed attributes, become a [`Pool`].

use super::args::{ArgValue, Attr, Attrs, CallArgs};
use super::pool::{Over, Pool, PoolKind};
use super::shape_rules::wrong_type;
use super::window::{WindowSpec, check_range, padding, per_axis};
use super::{At, Made, OpError};
use crate::support::codes;
use crate::tensor::ty::TensorTy;

/// `maxpool(…)`
pub(super) fn make_max(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    make("maxpool", PoolKind::Max, args, inputs[0])
}

/// `avgpool(…)`
pub(super) fn make_avg(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    make("avgpool", PoolKind::Avg, args, inputs[0])
}

/// `lppool(…)`
pub(super) fn make_lp(args: &CallArgs, inputs: &[&TensorTy]) -> Result<Made, OpError> {
    let p = args.float("p").unwrap_or(2.0);
    if !(p > 0.0 && p <= 1e6) {
        let message = format!("`p` must be greater than 0 and at most 1000000, not {p}");
        return Err(OpError::new(codes::E0204, message).at(At::Arg("p")).try_arg("p", "2"));
    }
    make("lppool", PoolKind::Lp(p as f32), args, inputs[0])
}

fn make(name: &str, kind: PoolKind, args: &CallArgs, x: &TensorTy) -> Result<Made, OpError> {
    let given: Vec<&'static str> =
        ["kernel", "grid", "c"].into_iter().filter(|a| args.get(a).is_some()).collect();
    let over = match given.as_slice() {
        [] => {
            let message = format!("`{name}` needs a kernel, `global`, `grid:` or `c:`");
            return Err(OpError::new(codes::E0106, message)
                .try_arg("kernel", "2")
                .try_arg("kernel", "global"));
        }
        ["c"] => Over::Channels {
            size: check_range("c", args.int("c").unwrap_or(0), 1)?,
            stride: match args.get("stride") {
                None => check_range("c", args.int("c").unwrap_or(0), 1)?,
                Some(ArgValue::Int(s)) => check_range("stride", *s, 1)?,
                Some(_) => {
                    let message = "with `c:` the stride counts channels and is one integer";
                    return Err(OpError::new(codes::E0107, message).at(At::Arg("stride")));
                }
            },
            dilation: 1,
        },
        [_] if x.rank() == 0 => {
            let message =
                format!("`{name}` needs a grid, and {} has none; `c: 2` pools across channels", x.show());
            return Err(OpError::new(codes::E0209, message).at(At::Input(0)));
        }
        ["grid"] => Over::Grid(per_axis(name, args, "grid", x, 1)?.unwrap_or_default()),
        ["kernel"] => kernel(name, args, x)?,
        [first, second, ..] => {
            let message =
                format!("`{first}` and `{second}` both say what `{name}` pools over; it takes one of them");
            return Err(OpError::new(codes::E0107, message).at(At::Arg(second)));
        }
        [_] => return Err(wrong_type(name, "kernel")),
    };
    let unused: &[&'static str] = match &over {
        Over::Window(_) => &[],
        Over::Channels { .. } => &["pad", "dilate", "partial", "count_pad"],
        Over::Global | Over::Grid(_) => &["stride", "pad", "dilate", "partial", "count_pad"],
    };
    if let Some(arg) = unused.iter().find(|a| args.get(a).is_some()) {
        let with =
            if matches!(over, Over::Global) { "`global`".to_owned() } else { format!("`{}:`", given[0]) };
        let message = format!("`{arg}` has no meaning together with {with}");
        return Err(OpError::new(codes::E0107, message).at(At::Arg(arg)));
    }
    let count_pad = args.bool("count_pad").unwrap_or(false);
    let partial = args.bool("partial").unwrap_or(false);
    Ok(Made::op(Pool { kind, over, count_pad, partial }))
}

fn kernel(name: &str, args: &CallArgs, x: &TensorTy) -> Result<Over, OpError> {
    if let Some(ArgValue::Word(word)) = args.get("kernel") {
        return if &**word == "global" { Ok(Over::Global) } else { Err(wrong_type(name, "kernel")) };
    }
    let kernel = per_axis(name, args, "kernel", x, 1)?.unwrap_or_default();
    Ok(Over::Window(WindowSpec {
        stride: per_axis(name, args, "stride", x, 1)?.unwrap_or_else(|| kernel.clone()),
        dilation: per_axis(name, args, "dilate", x, 1)?.unwrap_or_else(|| vec![1; x.rank()]),
        pad: padding(name, args, x)?,
        kernel,
    }))
}

/// As printed: `kind`, then what it looks at.
pub(super) fn attrs(pool: &Pool) -> Attrs {
    let attrs = Attrs::default();
    let attrs = match pool.kind {
        PoolKind::Max => attrs.with("kind", Attr::Word("max".into())),
        PoolKind::Avg => attrs.with("kind", Attr::Word("avg".into())),
        PoolKind::Lp(p) => attrs.with("kind", Attr::Word("lp".into())).with("p", Attr::Float(p)),
    };
    let attrs = match &pool.over {
        Over::Window(spec) => spec.attrs(attrs.with("over", Attr::Word("window".into()))),
        Over::Global => attrs.with("over", Attr::Word("global".into())),
        Over::Grid(g) => attrs
            .with("over", Attr::Word("grid".into()))
            .with("grid", Attr::Ints(g.iter().map(|g| *g as i64).collect())),
        Over::Channels { size, stride, dilation } => attrs
            .with("over", Attr::Word("channels".into()))
            .with("size", Attr::Int(*size as i64))
            .with("stride", Attr::Int(*stride as i64))
            .with("dilation", Attr::Int(*dilation as i64)),
    };
    attrs.with("count_pad", Attr::Bool(pool.count_pad)).with("partial", Attr::Bool(pool.partial))
}

/// From printed attributes.
pub(super) fn from_attrs(attrs: &Attrs) -> Result<Pool, String> {
    let kind = match attrs.word("kind")? {
        "max" => PoolKind::Max,
        "avg" => PoolKind::Avg,
        "lp" => PoolKind::Lp(attrs.float("p")?),
        other => return Err(format!("no pool is of kind `{other}`")),
    };
    let positive = |v: usize| if v == 0 { Err("a pool cannot hold 0".to_owned()) } else { Ok(v) };
    let over = match attrs.word("over")? {
        "window" => Over::Window(WindowSpec::from_attrs(attrs)?),
        "global" => Over::Global,
        "grid" => Over::Grid(attrs.sizes("grid")?.into_iter().map(positive).collect::<Result<_, _>>()?),
        "channels" => {
            let number = |name| attrs.size(name).and_then(positive);
            Over::Channels { size: number("size")?, stride: number("stride")?, dilation: number("dilation")? }
        }
        other => return Err(format!("no pool looks over `{other}`")),
    };
    Ok(Pool { kind, over, count_pad: attrs.bool("count_pad")?, partial: attrs.bool("partial")? })
}
