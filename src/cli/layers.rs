//! The table of a network's layers: shape, parameters, multiply-adds, receptive field, and how each is computed.

use super::repl::facts::sees;
use super::table::{Align, Table, grouped};
use crate::session::{Facts, Network, Report, Row, facts};

/// One row per operation of the source, and the totals.
pub(super) fn checked(net: &Network) -> Table {
    let all = facts(&net.graph);
    table(net, &all, all.rows.iter().map(|row| (row, "")))
}

/// The same with what computes each layer.
pub(super) fn compiled(net: &Network, report: &Report) -> Table {
    table(net, &report.facts, report.layers.iter().map(|l| (&l.row, l.kernel.as_str())))
}

fn table<'a>(net: &Network, all: &Facts, rows: impl Iterator<Item = (&'a Row, &'a str)>) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("operation", Align::Left),
        ("output", Align::Left),
        ("parameters", Align::Right),
        ("multiply-adds", Align::Right),
        ("sees", Align::Right),
        ("kernel", Align::Left),
    ]);
    for (row, kernel) in rows {
        table.row(vec![
            row.name.clone(),
            // As the source calls it: `tanh`, where the graph has one operation for all elementwise functions.
            net.trace(row.value).what.to_string(),
            row.ty.show(),
            grouped(row.sums.params),
            grouped(row.sums.macs),
            sees(&row.field),
            kernel.to_owned(),
        ]);
    }
    table.rule();
    let (params, macs) = (grouped(all.total.params), grouped(all.total.macs));
    table.row(vec!["total".into(), String::new(), String::new(), params, macs]);
    table
}
