//! `cnnc gradcheck`: machine code's gradients beside slopes by differences of the `f64` references, tensor by tensor.
//! `cnnc test`: the `test` and `budget` items of programs. Both end with 1 when something does not hold.

use std::fmt::Write as _;

use super::args::{Gradcheck, Test};
use super::check::{checked, network, options, targeted};
use super::out::{Failure, Out};
use super::table::{Align, Table};
use crate::session::claims::Judge;
use crate::session::gradcheck::{Row, Settings, gradcheck};
use crate::session::{Compiler, Network, Step};

pub(super) fn run(args: &Gradcheck, out: Out) -> Result<(), Failure> {
    let compiler = Compiler::new(targeted(&args.program, &args.target, args.seed)?);
    let checked = checked(&compiler, &args.file, &args.program, out)?;
    let net = network(&checked, &args.program, &args.file)?;
    let settings = Settings {
        samples: args.samples as usize,
        tolerance: args.tolerance,
        order: args.order,
        seed: args.seed,
    };
    let (text, wrong) = report(net, &compiler, &settings)?;
    out.print(text)?;
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::Wrong(format!("wrong gradients: {}", wrong.join(", "))))
    }
}

/// The table of a net's gradients, and the tensors that are wrong.
fn report(net: &Network, compiler: &Compiler, settings: &Settings) -> Result<(String, Vec<String>), Failure> {
    let rows = gradcheck(&net.graph, compiler, settings).map_err(|e| Failure::Wrong(e.to_string()))?;
    let mut table = Table::new(&[
        ("tensor", Align::Left),
        ("elements", Align::Right),
        ("compared", Align::Right),
        ("kinks", Align::Right),
        ("worst error", Align::Right),
        ("gradient", Align::Right),
        ("by differences", Align::Right),
    ]);
    let bad = |r: &&Row| r.error > settings.tolerance;
    for r in &rows {
        table.row(vec![
            r.name.clone(),
            r.elements.to_string(),
            r.compared.to_string(),
            r.kinks.to_string(),
            format!("{:.1e}{}", r.error, if bad(&r) { " !" } else { "" }),
            format!("{:.6e}", r.gradient),
            format!("{:.6e}", r.slope),
        ]);
    }
    let wrong: Vec<String> = rows.iter().filter(bad).map(|r| r.name.clone()).collect();
    let compared: usize = rows.iter().map(|r| r.compared).sum();
    let mut text = format!("{}\n", net.name);
    text.push_str(&table.render());
    let _ = writeln!(
        text,
        "{} of {} tensors agree to {:.0e} of their greatest gradient, at {compared} elements",
        rows.len() - wrong.len(),
        rows.len(),
        settings.tolerance,
    );
    Ok((text, wrong))
}

pub(super) fn test(args: &Test, out: Out) -> Result<(), Failure> {
    let compiler = Compiler::new(options(&args.program));
    let (mut failed, mut held) = (0usize, 0usize);
    for path in &args.files {
        let checked = checked(&compiler, path, &args.program, out)?;
        if checked.has_errors() {
            failed += 1;
            continue;
        }
        let (program, mut judge) = (&checked.program, Judge::new(&checked, &compiler));
        let mut text = format!("{}\n", path.display());
        let mut note = |what: String, problems: Vec<String>| {
            *if problems.is_empty() { &mut held } else { &mut failed } += 1;
            let _ = writeln!(text, "  {} {what}", if problems.is_empty() { "ok    " } else { "FAILED" });
            problems.iter().for_each(|p| {
                let _ = writeln!(text, "         {p}");
            });
        };
        for case in &program.tests {
            let mut problems = Vec::new();
            for step in &case.steps {
                match step {
                    Step::Assert(claim) => {
                        let verdict = judge.verdict(claim);
                        if !verdict.holds {
                            problems.push(format!(
                                "line {}: {}",
                                checked.sources.line(claim.span),
                                verdict.text
                            ));
                        }
                    }
                    Step::Gradcheck(net) => {
                        match report(&program.nets[*net], &compiler, &Settings::default()) {
                            Ok((_, wrong)) if wrong.is_empty() => {}
                            Ok((_, wrong)) => problems.push(format!("wrong gradients: {}", wrong.join(", "))),
                            Err(e) => problems.push(e.text()),
                        }
                    }
                }
            }
            note(format!("test \"{}\"", case.title), problems);
        }
        for limits in &program.budgets {
            let verdicts: Vec<_> = limits.claims.iter().map(|c| (c, judge.verdict(c))).collect();
            let broken = verdicts.iter().filter(|(_, v)| !v.holds);
            let problems =
                broken.map(|(c, v)| format!("line {}: {}", checked.sources.line(c.span), v.text)).collect();
            note(format!("budget {}", program.nets[limits.net].name), problems);
        }
        out.print(text)?;
    }
    out.print(format!("{held} hold, {failed} fail\n"))?;
    if failed == 0 { Ok(()) } else { Err(Failure::said()) }
}
