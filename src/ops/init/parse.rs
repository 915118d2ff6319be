//! From the `init:` argument to an [`Init`].

use super::{Gabor, Init, WORDS};
use crate::ops::args::{ArgValue, one_of};
use crate::ops::{At, OpError};
use crate::support::diag::nearest;
use crate::support::{Name, codes};

/// A start and the numbers it takes, with their defaults; `None` must be given.
struct Start {
    name: &'static str,
    args: &'static [(&'static str, Option<f64>)],
}

const STARTS: &[Start] = &[
    Start { name: "he", args: &[] },
    Start { name: "glorot", args: &[] },
    Start { name: "lecun", args: &[] },
    Start { name: "normal", args: &[("std", Some(0.01)), ("mean", Some(0.0))] },
    Start { name: "uniform", args: &[("lo", Some(f64::NAN)), ("hi", Some(f64::NAN))] },
    Start { name: "zeros", args: &[] },
    Start { name: "ones", args: &[] },
    Start { name: "constant", args: &[("value", None)] },
    Start { name: "identity", args: &[] },
    Start { name: "bilinear", args: &[] },
    Start {
        name: "gabor",
        args: &[
            ("orientations", Some(8.0)),
            ("frequency", Some(0.15)),
            ("sigma", Some(2.5)),
            ("aspect", Some(1.0)),
            ("phases", Some(2.0)),
        ],
    },
];

/// The start that argument `arg` asks for, for a weight with these fans (inputs that feed one output, outputs that one
/// input feeds).
///
/// # Errors
/// E0101 for an unknown start, E0105 to E0107 for its arguments, E0204 for numbers out of range.
pub fn parse(arg: &'static str, value: &ArgValue, fans: (usize, usize)) -> Result<Init, OpError> {
    read(arg, value, fans).map_err(|e| e.at(At::Arg(arg)))
}

fn read(arg: &'static str, value: &ArgValue, fans: (usize, usize)) -> Result<Init, OpError> {
    let (name, given): (&Name, &[(Option<Name>, ArgValue)]) = match value {
        ArgValue::Word(name) => (name, &[]),
        ArgValue::Call(name, args) => (name, args),
        // A bare number is that number everywhere.
        ArgValue::Int(i) => return Ok(Init::Constant(*i as f32)),
        ArgValue::Float(x) => return Ok(Init::Constant(*x as f32)),
        ArgValue::Bool(_)
        | ArgValue::Str(_)
        | ArgValue::Extent(_)
        | ArgValue::List(_)
        | ArgValue::Table(_)
        | ArgValue::Layer(_)
        | ArgValue::Shape(_) => {
            let message = format!("a start of weights is {}", one_of(WORDS));
            return Err(OpError::new(codes::E0107, message));
        }
    };
    let Some(start) = STARTS.iter().find(|s| s.name == &**name) else {
        let error = OpError::new(codes::E0101, format!("no start of weights is called `{name}`"));
        return Err(match nearest(name, WORDS.iter().copied()) {
            Some(n) => mended(error.note(format!("did you mean `{n}`?")), arg, n, given),
            None => error.note(format!("known are {}", one_of(WORDS))),
        });
    };
    let x = numbers(arg, start, given)?;
    make(start.name, &x, fans)
}

/// The numbers of a start in the order of its row.
fn numbers(
    arg: &'static str,
    start: &Start,
    given: &[(Option<Name>, ArgValue)],
) -> Result<Vec<f64>, OpError> {
    let mut x: Vec<Option<f64>> = start.args.iter().map(|(_, default)| *default).collect();
    for (i, (key, value)) in given.iter().enumerate() {
        let slot = match key {
            None => i,
            Some(key) => start.args.iter().position(|(n, _)| *n == &**key).ok_or_else(|| {
                let names: Vec<&str> = start.args.iter().map(|(n, _)| *n).collect();
                let error = OpError::new(codes::E0105, format!("`{}` has no argument `{key}`", start.name));
                match nearest(key, names.iter().copied()) {
                    Some(n) => {
                        let mut given = given.to_vec();
                        given[i].0 = Some(n.into());
                        mended(error.note(format!("did you mean `{n}`?")), arg, start.name, &given)
                    }
                    None if names.is_empty() => error.note("it takes none"),
                    None => error.note(format!("it takes {}", one_of(&names))),
                }
            })?,
        };
        let number = match value {
            ArgValue::Int(i) => *i as f64,
            ArgValue::Float(x) if (*x as f32).is_finite() => *x,
            _ => {
                let message = format!("arguments of `{}` are finite numbers", start.name);
                return Err(OpError::new(codes::E0107, message));
            }
        };
        let slot_taken = given[..i].iter().any(|(earlier, _)| earlier.is_some() && earlier == key);
        if slot_taken {
            let message = format!("`{}` is given the same argument twice", start.name);
            return Err(OpError::new(codes::E0107, message));
        }
        let many = || {
            let message = format!(
                "`{}` takes {} at most",
                start.name,
                crate::ops::shape_rules::plural(start.args.len(), "argument")
            );
            OpError::new(codes::E0107, message)
        };
        *x.get_mut(slot).ok_or_else(many)? = Some(number);
    }
    x.iter()
        .zip(start.args)
        .map(|(x, (name, _))| {
            x.ok_or_else(|| OpError::new(codes::E0106, format!("`{}` needs its `{name}`", start.name)))
        })
        .collect()
}

/// Adds the call as source text to what is worth trying, where it holds nothing but numbers.
fn mended(error: OpError, arg: &'static str, name: &str, given: &[(Option<Name>, ArgValue)]) -> OpError {
    let number = |(key, value): &(Option<Name>, ArgValue)| {
        let value = match value {
            ArgValue::Int(i) => i.to_string(),
            ArgValue::Float(x) => format!("{x:?}"),
            _ => return None,
        };
        Some(key.as_ref().map_or(value.clone(), |k| format!("{k}: {value}")))
    };
    match given.iter().map(number).collect::<Option<Vec<String>>>() {
        Some(args) if args.is_empty() => error.try_arg(arg, name),
        Some(args) => error.try_arg(arg, format!("{name}({})", args.join(", "))),
        None => error,
    }
}

fn make(name: &str, x: &[f64], (fan_in, fan_out): (usize, usize)) -> Result<Init, OpError> {
    let fail = |message: String| Err(OpError::new(codes::E0204, message));
    Ok(match (name, x) {
        ("glorot", _) => Init::Glorot { fan_in, fan_out },
        ("lecun", _) => Init::Lecun { fan_in },
        ("normal", [std, mean]) => {
            if *std < 0.0 {
                return fail(format!("`std` of `normal` must not be negative, it is {std}"));
            }
            Init::Normal { mean: *mean as f32, std: *std as f32 }
        }
        ("uniform", [lo, hi]) => {
            // One number is the distance from 0 on both sides.
            let (lo, hi) = match (lo.is_nan(), hi.is_nan()) {
                (false, false) => (*lo, *hi),
                (false, true) => (-lo.abs(), lo.abs()),
                (true, false) => (-hi.abs(), hi.abs()),
                (true, true) => (-0.05, 0.05),
            };
            if lo > hi {
                return fail(format!("`uniform` needs lo <= hi, not {lo} and {hi}"));
            }
            Init::Uniform { lo: lo as f32, hi: hi as f32 }
        }
        ("zeros", _) => Init::Constant(0.0),
        ("ones", _) => Init::Constant(1.0),
        ("constant", [value]) => Init::Constant(*value as f32),
        ("identity", _) => Init::Identity,
        ("bilinear", _) => Init::Bilinear,
        ("gabor", [orientations, frequency, sigma, aspect, phases]) => {
            let whole = |x: f64| (1.0..=65536.0).contains(&x) && x.fract() == 0.0;
            if !whole(*orientations) || !whole(*phases) {
                return fail("`orientations` and `phases` of `gabor` are integers of at least 1".into());
            }
            if *sigma <= 0.0 || *aspect <= 0.0 {
                return fail("`sigma` and `aspect` of `gabor` must be positive".into());
            }
            Init::Gabor(Gabor {
                orientations: *orientations as usize,
                phases: *phases as usize,
                frequency: *frequency as f32,
                sigma: *sigma as f32,
                aspect: *aspect as f32,
            })
        }
        // `he`, the only start left: every other row of STARTS has its arm and its arguments.
        _ => Init::He { fan_in },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, args: &[(&str, f64)]) -> ArgValue {
        let key = |k: &str| if k.is_empty() { None } else { Some(Name::from(k)) };
        ArgValue::Call(name.into(), args.iter().map(|(k, x)| (key(k), ArgValue::Float(*x))).collect())
    }

    #[test]
    fn every_word_is_a_start() {
        assert_eq!(STARTS.iter().map(|s| s.name).collect::<Vec<_>>(), WORDS);
        for word in WORDS.iter().filter(|w| **w != "constant") {
            let init = parse("init", &ArgValue::Word((*word).into()), (6, 4));
            assert!(init.is_ok(), "{word}: {init:?}");
        }
        let he = parse("init", &ArgValue::Word("he".into()), (6, 4));
        assert_eq!(he, Ok(Init::He { fan_in: 6 }));
    }

    #[test]
    fn arguments_by_name_and_by_place() {
        let normal = |v| parse("init", &v, (1, 1));
        assert_eq!(normal(call("normal", &[("std", 0.5)])), Ok(Init::Normal { mean: 0.0, std: 0.5 }));
        assert_eq!(normal(call("normal", &[("", 0.5), ("", 1.0)])), Ok(Init::Normal { mean: 1.0, std: 0.5 }));
        assert_eq!(normal(call("uniform", &[("", 0.5)])), Ok(Init::Uniform { lo: -0.5, hi: 0.5 }));
        assert_eq!(normal(ArgValue::Int(2)), Ok(Init::Constant(2.0)));
    }

    #[test]
    fn errors_name_the_nearest() {
        let error = |v: ArgValue| parse("init", &v, (1, 1)).expect_err("a wrong start");
        let e = error(ArgValue::Word("glorott".into()));
        assert_eq!(
            (e.code, e.at, e.notes),
            (codes::E0101, At::Arg("init"), vec!["did you mean `glorot`?".into()])
        );
        let e = error(call("gabor", &[("orientation", 8.0)]));
        assert_eq!((e.code, e.notes), (codes::E0105, vec!["did you mean `orientations`?".into()]));
        assert_eq!(error(ArgValue::Word("constant".into())).code, codes::E0106);
        assert_eq!(error(call("he", &[("", 1.0)])).code, codes::E0107);
        assert_eq!(error(call("normal", &[("std", -1.0)])).code, codes::E0204);
        assert_eq!(error(call("gabor", &[("orientations", 2.5)])).code, codes::E0204);
        assert_eq!(error(ArgValue::Bool(true)).code, codes::E0107);
    }
}
