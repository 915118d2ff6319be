//! A confusion matrix as text and as a CSV file: rows are true classes, columns what the network took them for.

use std::fmt::Write as _;

use super::history::line;
use crate::trainer::Table;

/// With more classes the text lists the most frequent confusions instead.
const CLASSES_SHOWN: usize = 24;
/// So many of them.
const PAIRS_SHOWN: usize = 12;
/// A longer name of a class stands for rows only; columns then have numbers.
const COLUMN_NAME: usize = 6;

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |s| format!("{:.1}", s * 100.0))
}

/// The names of a table's classes among those of a set: a set names the classes of its labels, not those of its pixels.
pub(super) fn fitting<'a>(table: &Table, classes: &'a [String]) -> &'a [String] {
    if classes.len() == table.classes { classes } else { &[] }
}

/// The text. Beside each row the share of its class that was recognised, below each column the share that is right.
pub(super) fn text(table: &Table, classes: &[String]) -> String {
    let mut text = format!("{}: rows are true classes, columns what they were taken for\n", table.name);
    if table.classes > CLASSES_SHOWN {
        pairs(table, classes, &mut text)
    } else {
        matrix(table, classes, &mut text)
    }
    if table.outside > 0 {
        let _ = writeln!(
            text,
            "{} not counted: their label is no class, or the output is no number",
            table.outside
        );
    }
    text
}

fn matrix(table: &Table, classes: &[String], text: &mut String) {
    let n = table.classes;
    let named = (0..n).any(|c| classes.get(c).is_some_and(|name| *name != c.to_string()));
    let short = |c: usize| classes.get(c).filter(|name| name.chars().count() <= COLUMN_NAME);
    let columns_named = named && (0..n).all(|c| short(c).is_some());
    let row_name = |c: usize| match classes.get(c).filter(|_| named) {
        Some(name) if columns_named => name.clone(),
        Some(name) => format!("{c} {name}"),
        None => c.to_string(),
    };
    let column_name = |c: usize| short(c).filter(|_| columns_named).cloned().unwrap_or_else(|| c.to_string());
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut head = vec![String::new()];
    head.extend((0..n).map(column_name));
    head.push("recall %".into());
    rows.push(head);
    for t in 0..n {
        let count = |p: usize| match table.counts[t * n + p] {
            0 => "·".to_owned(),
            count => count.to_string(),
        };
        let mut row = vec![row_name(t)];
        row.extend((0..n).map(count));
        row.push(percent(table.recall(t)));
        rows.push(row);
    }
    let mut last = vec!["precision %".to_owned()];
    last.extend((0..n).map(|p| percent(table.precision(p))));
    rows.push(last);
    let wide =
        |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n + 2).map(wide).collect();
    for row in &rows {
        let mut line = format!("{:1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn pairs(table: &Table, classes: &[String], text: &mut String) {
    let n = table.classes;
    let name = |c: usize| classes.get(c).cloned().unwrap_or_else(|| c.to_string());
    let mut all: Vec<(u64, usize, usize)> = (0..n * n)
        .filter(|i| i / n != i % n && table.counts[*i] > 0)
        .map(|i| (table.counts[i], i / n, i % n))
        .collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let _ = writeln!(text, "{n} classes; the most frequent confusions:");
    for (count, t, p) in all.iter().take(PAIRS_SHOWN) {
        let _ = writeln!(text, "{count:>8}  {} taken for {}", name(*t), name(*p));
    }
    if all.is_empty() {
        let _ = writeln!(text, "    none");
    }
}

/// The whole matrix as CSV.
pub(super) fn csv(table: &Table, classes: &[String]) -> Vec<u8> {
    let name = |c: usize| classes.get(c).cloned().unwrap_or_else(|| c.to_string());
    let mut head = vec!["true class".to_owned()];
    head.extend((0..table.classes).map(name));
    let mut bytes = line(&head);
    for t in 0..table.classes {
        let mut row = vec![name(t)];
        row.extend(table.counts[t * table.classes..][..table.classes].iter().map(u64::to_string));
        bytes.extend(line(&row));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(classes: usize, counts: Vec<u64>) -> Table {
        Table { name: "confusion".into(), classes, counts, outside: 0 }
    }

    #[test]
    fn small_matrices_are_tables() {
        let table = Table { outside: 3, ..table(3, vec![10, 0, 2, 0, 5, 0, 0, 0, 0]) };
        let text = text(&table, &["cat".into(), "ankle boot".into()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "confusion: rows are true classes, columns what they were taken for",
                "                  0      1    2  recall %",
                "0 cat            10      ·    2      83.3",
                "1 ankle boot      ·      5    ·     100.0",
                "2                 ·      ·    ·         -",
                "precision %   100.0  100.0  0.0",
                "3 not counted: their label is no class, or the output is no number",
            ]
        );
    }

    #[test]
    fn names_of_labels_are_not_those_of_pixels() {
        let forms: Vec<String> = ["disc", "square", "triangle"].map(String::from).to_vec();
        assert_eq!(fitting(&table(3, vec![0; 9]), &forms), forms);
        assert!(fitting(&table(4, vec![0; 16]), &forms).is_empty());
    }

    #[test]
    fn short_names_head_columns_and_many_classes_are_a_list() {
        let short = text(&table(2, vec![1, 2, 3, 4]), &["cat".into(), "dog".into()]);
        assert!(short.contains("  cat   dog  recall %\n") && short.contains("\ndog "), "{short}");
        let mut counts = vec![0; 900];
        (counts[7], counts[31]) = (5, 9);
        let many = text(&table(30, counts), &[]);
        assert!(many.contains("30 classes") && many.contains("       5  0 taken for 7\n"), "{many}");
        let none = text(&table(30, vec![0; 900]), &[]);
        assert!(none.contains("none"), "{none}");
        assert_eq!(
            csv(&table(2, vec![1, 2, 3, 4]), &["a,b".into()]),
            b"true class,\"a,b\",1\n\"a,b\",1,2\n1,3,4\n"
        );
    }
}
