//! Aligned tables of JSON objects.

use serde_json::{Map, Value};
use std::io::{self, Write};

/// A row: what the daemon says of one thing.
pub(super) type Row = Map<String, Value>;

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its heading.
    pub(super) title: &'static str,
    /// The member of the row that it shows.
    pub(super) key: &'static str,
    /// Least width, characters.
    pub(super) width: usize,
    /// Numbers stand at the right.
    pub(super) right: bool,
}

impl Column {
    /// A column of text, as wide as its content needs.
    pub(super) const fn text(title: &'static str, key: &'static str) -> Self {
        Self { title, key, width: 0, right: false }
    }

    /// A column of numbers.
    pub(super) const fn number(title: &'static str, key: &'static str) -> Self {
        Self { title, key, width: 0, right: true }
    }

    /// At least `width` wide, for tables whose rows are not known beforehand.
    pub(super) const fn wide(self, width: usize) -> Self {
        Self { width, ..self }
    }
}

/// A table that is written row by row.
#[derive(Debug)]
pub(super) struct Table<'a> {
    columns: &'a [Column],
    widths: Vec<usize>,
}

impl<'a> Table<'a> {
    /// As wide as the columns say, for rows that are still to come.
    pub(super) fn new(columns: &'a [Column]) -> Self {
        let widths = columns.iter().map(|column| column.width.max(column.title.len())).collect();
        Self { columns, widths }
    }

    /// Wide enough for `rows`.
    pub(super) fn fitting(columns: &'a [Column], rows: &[Row]) -> Self {
        let mut table = Self::new(columns);
        for row in rows {
            for (width, column) in table.widths.iter_mut().zip(columns) {
                *width = (*width).max(cell(row.get(column.key)).chars().count());
            }
        }
        table
    }

    /// Writes the headings.
    pub(super) fn head(&self, out: &mut impl Write) -> io::Result<()> {
        self.line(out, self.columns.iter().map(|column| column.title.to_owned()))
    }

    /// Writes one row.
    pub(super) fn row(&self, out: &mut impl Write, row: &Row) -> io::Result<()> {
        self.line(out, self.columns.iter().map(|column| cell(row.get(column.key))))
    }

    /// Writes headings and rows.
    pub(super) fn all(&self, out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
        self.head(out)?;
        rows.iter().try_for_each(|row| self.row(out, row))
    }

    fn line(&self, out: &mut impl Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, column), &width) in cells.zip(self.columns).zip(&self.widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let padding = width.saturating_sub(cell.chars().count());
            let (before, after) = if column.right { (padding, 0) } else { (0, padding) };
            line.extend(std::iter::repeat_n(' ', before));
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', after));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// A value as text for a terminal. What clients have written cannot steer the terminal.
pub(super) fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => {
            values.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    let shown: String = text
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if shown.is_empty() { "-".to_owned() } else { shown }
}
