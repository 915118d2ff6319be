//! Independence of iterations. In: a nest whose names and accesses are well formed; out: every loop that promises
//! independent iterations and is not proved to keep the promise, as a sentence.
//!
//! The proof: for every buffer that a loop body stores into there is a dimension in which all accesses of that body
//! move by the same `c` per iteration, and no two of them differ by one to `extent - 1` times `c` within one, but for parts
//! that move in steps of some modulus: remainders then tell iterations apart. So an iteration owns what it touches.

use std::collections::BTreeSet;

use super::print::Names;
use super::range::{Facts, Interval, gcd};
use super::walk::{Access, accesses, each};
use super::{Affine, IdxExpr, LoopKind, Nest, Stmt, TableId, Var};

/// Says which promises of independence are not kept.
pub(super) fn check(nest: &Nest) -> Vec<String> {
    let mut errors = Vec::new();
    let names = Names::of(nest);
    let is_par = |s: &Stmt| matches!(s, Stmt::For { kind: LoopKind::Par, .. });
    if nest.body.iter().any(is_par) {
        if !nest.body.iter().all(is_par) {
            errors.push(format!("nest `{}`: only some outermost statements are `par` loops", nest.name));
        }
        errors.extend(dependent_statements(nest));
    }
    each(&nest.body, &mut |s| {
        if let Stmt::For { var, extent, kind, body } = s
            && *kind != LoopKind::Serial
            && *extent > 1
            && let Some(buf) = shared(nest, (*var, *extent), body)
        {
            let (var, buf) = (names.var(*var), &nest.bufs[buf].name);
            errors.push(format!(
                "nest `{}`: iterations of the loop over `{var}` are not proved to own what they store into `{buf}`",
                nest.name
            ));
        }
    });
    errors
}

/// Pairs of outermost statements of which one touches what the other stores.
pub fn dependent_statements(nest: &Nest) -> Vec<String> {
    let lists: Vec<Touched<'_>> = nest
        .body
        .iter()
        .map(std::slice::from_ref)
        .map(|stmts| {
            let mut accesses = Vec::new();
            guarded(stmts, &mut Vec::new(), &mut accesses);
            Touched { nest, stmts, facts: ranges(nest, stmts), accesses }
        })
        .collect();
    let mut errors = Vec::new();
    for i in 0..lists.len() {
        for j in i + 1..lists.len() {
            if let Some(buf) = clash(&lists[i], &lists[j]) {
                let (name, buf) = (&nest.name, &nest.bufs[buf].name);
                errors.push(format!(
                    "nest `{name}`: outermost statements {i} and {j} both touch elements of `{buf}`"
                ));
            }
        }
    }
    errors
}

/// What one outermost statement touches.
struct Touched<'a> {
    nest: &'a Nest,
    stmts: &'a [Stmt],
    facts: Facts,
    accesses: Vec<Guarded<'a>>,
}

/// An access, and the conditions under which it happens.
struct Guarded<'a> {
    access: Access<'a>,
    conds: Vec<&'a Affine>,
}

/// The accesses of `stmts`, all of which happen under `conds`.
fn guarded<'a>(stmts: &'a [Stmt], conds: &mut Vec<&'a Affine>, out: &mut Vec<Guarded<'a>>) {
    for s in stmts {
        match s {
            Stmt::If { conds: more, then } => {
                let before = conds.len();
                conds.extend(more);
                guarded(then, conds, out);
                conds.truncate(before);
            }
            Stmt::For { body, var: _, extent: _, kind: _ } => guarded(body, conds, out),
            Stmt::Idx { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {
                let all = accesses(std::slice::from_ref(s)).into_iter();
                out.extend(all.map(|access| Guarded { access, conds: conds.clone() }));
            }
        }
    }
}

/// The interval of an index where `conds` hold: as `c >= 0`, `x` is at most `x + s * c` and at least `x - s * c` for every `s` from
/// 0 on; those that make a variable vanish are tried.
fn within(x: &Affine, facts: &Facts, conds: &[&Affine]) -> Option<Interval> {
    /// Larger coefficients could not be multiplied.
    const SMALL: i64 = 1 << 30;
    let small = |a: &Affine| a.terms.iter().map(|t| t.1).chain([a.k]).all(|c| (-SMALL..=SMALL).contains(&c));
    let mut range = facts.interval(x)?;
    for c in conds.iter().filter(|c| small(c) && small(x)) {
        for (v, by) in &c.terms {
            let of = x.coefficient(*v);
            let times = of.checked_div(*by).filter(|t| *t != 0 && t.checked_mul(*by) == Some(of));
            let Some(moved) = times.and_then(|t| facts.interval(&(x + &(*c * -t)))) else { continue };
            // `x - t * c` lies above `x` for `t < 0`, below for `t > 0`.
            if times < Some(0) {
                range.hi = range.hi.min(moved.hi);
            } else {
                range.lo = range.lo.max(moved.lo);
            }
        }
    }
    Some(range)
}

fn clash(one: &Touched<'_>, two: &Touched<'_>) -> Option<usize> {
    let disjoint = |x: &Affine, cx: &[&Affine], y: &Affine, cy: &[&Affine]| {
        apart((x, within(x, &one.facts, cx)), (y, within(y, &two.facts, cy)))
            || match (values(one.nest, one.stmts, x), values(two.nest, two.stmts, y)) {
                (Some(x), Some(y)) => x.is_disjoint(&y),
                _ => false,
            }
    };
    for a in &one.accesses {
        for b in &two.accesses {
            let (cx, cy, a, b) = (&a.conds, &b.conds, &a.access, &b.access);
            let shared = a.buf == b.buf && (a.stores || b.stores);
            if shared && !a.at.iter().zip(b.at).any(|(x, y)| disjoint(x, cx, y, cy)) {
                return Some(a.buf.index());
            }
        }
    }
    None
}

/// Whether two index expressions over different iterations never meet: disjoint intervals, or different remainders.
fn apart((x, rx): (&Affine, Option<Interval>), (y, ry): (&Affine, Option<Interval>)) -> bool {
    let (Some(rx), Some(ry)) = (rx, ry) else { return false };
    let step = x.terms.iter().chain(&y.terms).fold(0, |g, (_, c)| gcd(g, c.unsigned_abs()));
    let off = x.k.wrapping_sub(y.k).unsigned_abs();
    rx.is_empty()
        || ry.is_empty()
        || rx.hi < ry.lo
        || ry.hi < rx.lo
        || (step > 1 && !off.is_multiple_of(step))
}

/// A buffer that the body of the loop over `var` stores into without a proof that each iteration owns its part.
fn shared(nest: &Nest, var: (Var, usize), body: &[Stmt]) -> Option<usize> {
    let all = accesses(body);
    let inner = ranges(nest, body);
    let stored: Vec<usize> = all.iter().filter(|a| a.stores).map(|a| a.buf.index()).collect();
    stored.into_iter().find(|buf| {
        let ats: Vec<&[Affine]> = all.iter().filter(|a| a.buf.index() == *buf).map(|a| a.at).collect();
        !(0..nest.bufs[*buf].dims.len()).any(|d| {
            let places: Vec<Option<Place<'_>>> =
                ats.iter().map(|at| place(nest, body, &inner, &at[d])).collect();
            match places.first() {
                Some(Some(first))
                    if first.rest.coefficient(var.0) == 0
                        && places.iter().all(|p| p.as_ref() == Some(first)) =>
                {
                    owned(var, &inner, std::iter::once(first.at))
                }
                _ => owned(var, &inner, ats.iter().map(|at| &at[d])),
            }
        })
    })
}

/// The index `c * table[at] + rest` with a table without repetitions.
#[derive(PartialEq)]
struct Place<'a> {
    table: TableId,
    at: &'a Affine,
    c: i64,
    rest: Affine,
}

/// The place in a table without repetitions that a part of the index `a` is read from, if different ones make different indices: what else
/// moves within an iteration does so in steps that are larger than all that the table spans.
fn place<'a>(nest: &Nest, stmts: &'a [Stmt], inner: &Facts, a: &Affine) -> Option<Place<'a>> {
    let mut found = None;
    each(stmts, &mut |s| {
        if let Stmt::Idx { var, value: IdxExpr::Table(table, at) } = s
            && let c = a.coefficient(*var)
            && c != 0
        {
            found = Some((*var, *table, at, c));
        }
    });
    let (var, table, at, c) = found?;
    let values = &nest.tables[table.index()];
    let distinct = values.iter().collect::<BTreeSet<_>>().len() == values.len();
    let spans = i128::from(*values.iter().max()?) - i128::from(*values.iter().min()?);
    let rest = a.plus(var, -c);
    let moving = rest.terms.iter().filter(|(v, _)| inner.range(*v).is_some());
    let step = moving.fold(0, |g, (_, c)| gcd(g, c.unsigned_abs()));
    let apart = step == 0 || spans.saturating_mul(i128::from(c.unsigned_abs())) < i128::from(step);
    (distinct && apart).then_some(Place { table, at, c, rest })
}

/// All values that the index `a` can have, where it is read from a table or counted by a short loop.
fn values(nest: &Nest, stmts: &[Stmt], a: &Affine) -> Option<BTreeSet<i64>> {
    const MANY: usize = 1 << 16;
    let (var, c) = match a.terms.as_slice() {
        [] => return Some(BTreeSet::from([a.k])),
        [(var, c)] => (var, c),
        _ => return None,
    };
    let mut found: Option<BTreeSet<i64>> = None;
    each(stmts, &mut |s| match s {
        Stmt::Idx { var: bound, value: IdxExpr::Table(t, _) } if bound == var => {
            found = Some(nest.tables[t.index()].iter().map(|v| c * v + a.k).collect());
        }
        Stmt::For { var: bound, extent, kind: _, body: _ } if bound == var && *extent <= MANY => {
            found = Some((0..*extent as i64).map(|v| c * v + a.k).collect());
        }
        Stmt::For { .. } | Stmt::Idx { .. } | Stmt::If { .. } => {}
        Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {}
    });
    found
}

fn owned<'a>((var, extent): (Var, usize), inner: &Facts, indices: impl Iterator<Item = &'a Affine>) -> bool {
    let indices: Vec<&Affine> = indices.collect();
    let step = indices.first().map_or(0, |a| a.coefficient(var)).unsigned_abs();
    // What moves in larger steps than this loop in all: its greatest common divisor is the modulus.
    let higher = |v: Var, c: i64| inner.range(v).is_some() && c.unsigned_abs() > step;
    let all = indices.iter().flat_map(|a| a.terms.iter());
    let modulus = all.filter(|(v, c)| higher(*v, *c)).fold(0, |g, (_, c)| gcd(g, c.unsigned_abs()));
    let mut outer: Option<Affine> = None;
    let mut spreads: Vec<Interval> = Vec::new();
    for a in indices {
        // The part that is the same throughout an iteration, with the step in it, and the part that moves within one.
        let k = i64::try_from(modulus).ok().filter(|m| *m > 0).map_or(a.k, |m| a.k.rem_euclid(m));
        let (mut fixed, mut moving) = (Affine::default(), Affine::k(k));
        for (v, c) in a.terms.iter().filter(|(v, c)| !higher(*v, *c)) {
            let part = if inner.range(*v).is_some() { &mut moving } else { &mut fixed };
            *part = part.plus(*v, *c);
        }
        if outer.get_or_insert_with(|| fixed.clone()) != &fixed {
            return false;
        }
        let Some(r) = inner.interval(&moving) else { return false };
        if !r.is_empty() && !spreads.contains(&r) {
            spreads.push(r);
        }
    }
    let loop_ = (i128::from(step), extent as i128, i128::from(modulus));
    spreads.iter().all(|a| spreads.iter().all(|b| !meets(a, b, loop_)))
}

/// Whether an index of spread `a` in one iteration can be one of spread `b` in a later one: differ by a positive multiple of
/// `step` below `step * extent`, but for multiples of the modulus.
fn meets(a: &Interval, b: &Interval, (step, extent, modulus): (i128, i128, i128)) -> bool {
    /// More wraps than this are not followed.
    const WRAPS: i128 = 64;
    let (lo, hi, reach) = (a.lo - b.hi, a.hi - b.lo, step * (extent - 1));
    if step == 0 {
        return true;
    }
    let within = |lo: i128, hi: i128| {
        let first = lo.max(1).div_euclid(step) + i128::from(lo.max(1).rem_euclid(step) != 0);
        first * step <= hi.min(reach)
    };
    if modulus == 0 {
        return within(lo, hi);
    }
    let (from, to) = ((1 - hi).div_euclid(modulus), (reach - lo).div_euclid(modulus) + 1);
    to - from > WRAPS || (from..=to).any(|j| within(lo + j * modulus, hi + j * modulus))
}

/// Intervals of the variables that `stmts` bind, without what conditions add. Variables bound outside stay unknown; an
/// `Idx` variable derived from one gets no bounds worth having unless it is a remainder.
fn ranges(nest: &Nest, stmts: &[Stmt]) -> Facts {
    const WIDE: Interval = Interval { lo: -(1 << 64), hi: 1 << 64 };
    let mut facts = Facts::new(nest.vars.len());
    each(stmts, &mut |s| match s {
        Stmt::For { var, extent, kind: _, body: _ } => {
            facts.set(*var, Some(Interval::new(0, *extent as i128 - 1)));
        }
        Stmt::Idx { var, value } => {
            let range = match value {
                IdxExpr::Mod(_, by) => Interval::new(0, i128::from(*by) - 1),
                IdxExpr::Div(a, by) => facts.interval(a).map_or(WIDE, |r| {
                    Interval::new(r.lo.div_euclid(i128::from(*by)), r.hi.div_euclid(i128::from(*by)))
                }),
                IdxExpr::Table(t, _) => {
                    let all =
                        nest.tables[t.index()].iter().map(|x| Interval::new(i128::from(*x), i128::from(*x)));
                    all.reduce(Interval::join).unwrap_or(WIDE)
                }
            };
            facts.set(*var, Some(range));
        }
        Stmt::If { .. } | Stmt::Let { .. } | Stmt::Set { .. } | Stmt::Store { .. } => {}
    });
    facts
}
