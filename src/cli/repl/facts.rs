//! One line about a value: shape, parameters, multiply-adds, receptive field.

use crate::cli::table::grouped;
use crate::session::{AxisField, Checked, Network, ValueId, facts};

/// A line for each output of the net `name`.
pub(super) fn outputs(checked: &Checked, name: &str) -> String {
    let Some(net) = checked.program.net(Some(name)) else { return String::new() };
    let lines: Vec<String> = net.graph.outputs.iter().map(|port| line(net, port.value)).collect();
    lines.concat()
}

/// `[c: 16, h: 30, w: 30]   448 parameters   388,800 multiply-adds   sees 3x3`
fn line(net: &Network, value: ValueId) -> String {
    let all = facts(&net.graph);
    let made_by = ancestors(net, value);
    let (mut params, mut macs) = (0u64, 0u64);
    for row in all.rows.iter().filter(|row| made_by[row.value.index()]) {
        params = params.saturating_add(row.sums.params);
        macs = macs.saturating_add(row.sums.macs);
    }
    let mut parts = vec![net.ty(value).show()];
    if let Some(row) = all.rows.iter().find(|row| row.value == value) {
        parts.push(format!("{} parameters", grouped(params)));
        parts.push(format!("{} multiply-adds", grouped(macs)));
        let sees = sees(&row.field);
        if !sees.is_empty() {
            parts.push(format!("sees {sees}"));
        }
    }
    format!("{}\n", parts.join("   "))
}

/// `5x5`, or `h 5, w 7` where axes differ in more than their extent.
pub(in crate::cli) fn sees(fields: &[AxisField]) -> String {
    fields.iter().map(|f| f.reach.to_string()).collect::<Vec<_>>().join("x")
}

/// Which values `value` is computed from, itself included.
fn ancestors(net: &Network, value: ValueId) -> Vec<bool> {
    let mut needed = vec![false; net.graph.values.len()];
    needed[value.index()] = true;
    for id in net.graph.ids().rev() {
        if needed[id.index()] {
            for input in net.graph.uses(id) {
                needed[input.index()] = true;
            }
        }
    }
    needed
}
