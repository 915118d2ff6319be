//! Text tables: columns padded to the widest cell, numbers to the right.

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A table under construction.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Option<Vec<String>>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        Self { columns: columns.iter().map(|(n, a)| ((*n).to_owned(), *a)).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(super) fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns.len(), String::new());
        self.rows.push(Some(cells));
    }

    /// Adds a line across.
    pub(super) fn rule(&mut self) {
        self.rows.push(None);
    }

    /// The table as text, a newline after each line, no space at any line's end.
    pub(super) fn render(&self) -> String {
        let head: Vec<String> = self.columns.iter().map(|c| c.0.clone()).collect();
        let cells = || std::iter::once(&head).chain(self.rows.iter().flatten());
        let widths: Vec<usize> =
            (0..head.len()).map(|c| cells().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
        // Columns in which nothing stands are not drawn.
        let used: Vec<usize> =
            (0..head.len()).filter(|c| self.rows.iter().flatten().any(|r| !r[*c].is_empty())).collect();
        let total = used.iter().map(|c| widths[*c]).sum::<usize>() + 2 * used.len().saturating_sub(1);
        let line = |cells: &[String]| {
            let padded: Vec<String> = used
                .iter()
                .map(|c| match self.columns[*c].1 {
                    Align::Left => format!("{:1$}", cells[*c], widths[*c]),
                    Align::Right => format!("{:>1$}", cells[*c], widths[*c]),
                })
                .collect();
            format!("{}\n", padded.join("  ").trim_end())
        };
        let mut text = line(&head);
        for row in &self.rows {
            match row {
                Some(cells) => text.push_str(&line(cells)),
                None => text.push_str(&format!("{}\n", "─".repeat(total))),
            }
        }
        text
    }
}

/// `267960` as `267,960`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that leaves at most four digits: `1.5 MiB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A time in a unit that leaves few digits.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.3} ms", s * 1e3),
        s => format!("{s:.3} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 267_960, 25_557_032].map(grouped),
            ["0", "999", "1,000", "267,960", "25,557,032"]
        );
        assert_eq!([5, 2048, 3 << 20].map(bytes), ["5 B", "2.0 KiB", "3.0 MiB"]);
    }

    #[test]
    fn columns_stand_in_line() {
        let mut table = Table::new(&[("layer", Align::Left), ("empty", Align::Left), ("macs", Align::Right)]);
        table.row(vec!["c1".into(), String::new(), "1,000".into()]);
        table.rule();
        table.row(vec!["total".into()]);
        assert_eq!(table.render(), "layer   macs\nc1     1,000\n────────────\ntotal\n");
    }
}
