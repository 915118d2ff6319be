//! Tables of numbers as text (CSV, RFC 4180, by the `csv` crate), with at most one column of names. May be compressed.
//!
//! Columns are separated by a comma, a semicolon or a tab, whichever the first line has most of. A first line that does not
//! consist of numbers is a header. Every cell must be a finite number, but in the column of labels: a column in which any
//! cell is no number holds names.
//!
//! Deliberately absent: missing values (a hole in the data is an error with its line and column), decimal commas, dates.

use std::io::{BufRead, BufReader, Read};

use super::{FormatError, gz};

const FORMAT: &str = "CSV";
/// More columns than any sample has values.
const COLUMNS_MAX: usize = 1 << 24;

/// Where the labels stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelColumn {
    /// In the first column.
    First,
    /// In the last column.
    Last,
    /// Nowhere: all columns are values.
    Nowhere,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Number of columns without that of the labels.
    pub columns: usize,
    /// `rows * columns` numbers, row by row.
    pub values: Vec<f32>,
    /// A label a row, as written; empty when there is no column of labels.
    pub labels: Vec<String>,
}

/// Reads a table of at most `elements_max` numbers. `header`: whether the first line is one; `None` looks.
///
/// # Errors
/// [`FormatError::Malformed`] with line and column of a cell that is no finite number or a line of another length,
/// [`FormatError::Mismatch`] for too many numbers, [`FormatError::Io`].
pub fn read(
    reader: impl BufRead,
    label: LabelColumn,
    header: Option<bool>,
    elements_max: usize,
) -> Result<Table, FormatError> {
    let mut reader = BufReader::new(gz::plain(reader)?);
    // A byte-order mark is no part of the first cell.
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    // 64 characters a number are more than any writer uses; the rest bounds a text that never breaks its line.
    let most = (elements_max as u64).saturating_mul(64).saturating_add(1 << 20);
    let separator = separator(reader.fill_buf()?);
    let mut rows = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(Read::take(reader, most));
    let mut table = Table { columns: 0, values: Vec::new(), labels: Vec::new() };
    let mut record = ::csv::ByteRecord::new();
    let mut width = None;
    while rows.read_byte_record(&mut record).map_err(refused)? {
        if record.len() == 1 && record[0].trim_ascii().is_empty() {
            continue;
        }
        let line = record.position().map_or(0, ::csv::Position::line);
        let first = width.is_none();
        let cells = *width.get_or_insert(record.len());
        if record.len() != cells {
            let what = format!("line {line} has {} columns, the first has {cells}", record.len());
            return Err(malformed(what));
        }
        let at = match label {
            LabelColumn::First => Some(0),
            LabelColumn::Last => Some(cells - 1),
            LabelColumn::Nowhere => None,
        };
        let own = usize::from(at.is_some());
        if cells <= own || cells > COLUMNS_MAX {
            return Err(malformed(format!("line {line} has {cells} columns")));
        }
        table.columns = cells - own;
        let values = || record.iter().enumerate().filter(|(i, _)| Some(*i) != at);
        if first && header.unwrap_or_else(|| values().any(|(_, cell)| number(cell).is_none())) {
            continue;
        }
        if table.values.len() + table.columns > elements_max {
            return Err(FormatError::Mismatch(format!(
                "it holds more than the {elements_max} numbers that are taken"
            )));
        }
        for (i, cell) in values() {
            table.values.push(number(cell).ok_or_else(|| no_number(line, i + 1, cell))?);
        }
        if let Some(at) = at {
            table.labels.push(String::from_utf8_lossy(record[at].trim_ascii()).into_owned());
        }
    }
    if table.values.is_empty() {
        return Err(malformed("it has no row of numbers"));
    }
    Ok(table)
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed(FORMAT, what)
}

fn no_number(line: u64, column: usize, cell: &[u8]) -> FormatError {
    let shown: String = String::from_utf8_lossy(cell).chars().take(24).collect();
    malformed(format!("line {line}, column {column}: `{shown}` is no finite number"))
}

fn refused(error: ::csv::Error) -> FormatError {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => FormatError::Io(error),
        other => malformed(format!("{other:?}")),
    }
}

/// The separator that the first line has most of; a comma when none is there.
fn separator(head: &[u8]) -> u8 {
    let line = head.split(|b| *b == b'\n').next().unwrap_or(&[]);
    let count = |byte| line.iter().filter(|b| **b == byte).count();
    // The last of equals wins: the comma.
    [b'\t', b';', b','].into_iter().max_by_key(|byte| count(*byte)).unwrap_or(b',')
}

fn number(cell: &[u8]) -> Option<f32> {
    let text = std::str::from_utf8(cell).ok()?.trim();
    text.parse::<f32>().ok().filter(|x| x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8], label: LabelColumn) -> Result<Table, FormatError> {
        read(text, label, None, 1000)
    }

    #[test]
    fn a_table_is_read_with_or_without_header_and_labels() {
        let plain = parse(b"1,2.5\n-3e1,4\n", LabelColumn::Nowhere).expect("sound");
        assert_eq!(plain, Table { columns: 2, values: vec![1.0, 2.5, -30.0, 4.0], labels: vec![] });
        let last = parse(b"width;height;kind\r\n1;2;rose\r\n3;4;\"a; b\"\r\n\r\n", LabelColumn::Last)
            .expect("sound");
        assert_eq!(last.values, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(last.labels, ["rose", "a; b"]);
        let first = parse(b"\xef\xbb\xbf7\t1\n8\t2", LabelColumn::First).expect("sound");
        assert_eq!((first.columns, &first.values[..]), (1, &[1.0, 2.0][..]));
        assert_eq!(first.labels, ["7", "8"]);
        let forced = read(&b"1,2\n3,4\n"[..], LabelColumn::Nowhere, Some(true), 1000).expect("sound");
        assert_eq!(forced.values, [3.0, 4.0]);
    }

    #[test]
    fn a_wrong_cell_is_named() {
        let why = |text: &[u8]| parse(text, LabelColumn::Last).expect_err("unsound").to_string();
        assert!(why(b"1,2,0\n3,?,1\n").contains("line 2, column 2: `?`"));
        assert!(why(b"1,2,0\nnan,3,1\n").contains("line 2, column 1: `nan`"));
        assert!(why(b"1,2,0\n3,1\n").contains("line 2 has 2 columns, the first has 3"));
        assert!(why(b"").contains("no row"));
        assert!(why(b"a,b\n").contains("no row"));
        assert!(why(b"5\n6\n").contains("1 columns"));
    }

    #[test]
    fn too_much_is_refused_also_when_it_is_compressed() {
        let text = b"1,2,3,4,5\n".repeat(201);
        let why = parse(&gz::compress(&text), LabelColumn::Nowhere).expect_err("1005 numbers").to_string();
        assert!(why.contains("1000 numbers"), "{why}");
        // A line that never ends is cut.
        let long = gz::compress(&vec![b'7'; 4 << 20]);
        assert!(parse(&long, LabelColumn::Nowhere).is_err());
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let plain = b"a,b,c\n1,2,0\n3,4,1\n".to_vec();
        let packed = gz::compress(&plain);
        for len in 0..packed.len() {
            assert!(parse(&packed[..len], LabelColumn::Last).is_err(), "cut to {len}");
        }
        for bytes in [plain, packed] {
            for at in 0..bytes.len() {
                for mask in [0x01, 0x41, 0x80] {
                    let mut changed = bytes.clone();
                    changed[at] ^= mask;
                    if let Ok(table) = parse(&changed, LabelColumn::Last) {
                        assert_eq!(table.values.len(), table.labels.len() * table.columns);
                    }
                }
                if let Ok(table) = parse(&bytes[..at], LabelColumn::Last) {
                    assert_eq!(table.values.len(), table.labels.len() * table.columns);
                }
            }
        }
    }
}
