//! Where in a file a key stands, for messages about it.
//!
//! A key is a path of names and, for entries of an array of tables, their number from 1:
//! `policy.rule[2].clients`.

use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The key in or at whose value byte `offset` lies.
pub(super) fn key_at(text: &str, offset: usize) -> Option<String> {
    let (table, _) = DeTable::parse_recoverable(text);
    within(table.get_ref(), offset)
}

/// Where a key stands.
pub(super) fn offset_of(text: &str, key: &str) -> Option<usize> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut here = table.get_ref();
    let mut found = None;
    for part in key.split('.') {
        let (name, number) = numbered(part);
        let (known, value) = here.get_key_value(name)?;
        found = Some(known.span().start);
        let value = match (value.get_ref(), number) {
            (DeValue::Array(entries), Some(number)) => {
                let entry = entries.get(number.checked_sub(1)?)?;
                found = Some(entry.span().start);
                entry
            }
            _ => value,
        };
        match value.get_ref() {
            DeValue::Table(table) => here = table,
            _ => return found,
        }
    }
    found
}

/// A name, and the number of an entry behind it.
fn numbered(part: &str) -> (&str, Option<usize>) {
    let split = part.strip_suffix(']').and_then(|part| part.split_once('['));
    split.map_or((part, None), |(name, number)| (name, number.parse().ok()))
}

fn within(table: &DeTable<'_>, offset: usize) -> Option<String> {
    let mut found = None;
    for (key, value) in table {
        let inner = match value.get_ref() {
            DeValue::Table(table) => within(table, offset).map(|inner| format!(".{inner}")),
            DeValue::Array(entries) => {
                in_entry(entries.iter().map(|e| (e.span(), e.get_ref())), offset)
            }
            _ => None,
        };
        if let Some(inner) = inner {
            return Some(format!("{}{inner}", key.get_ref()));
        }
        if key.span().contains(&offset) || value.span().contains(&offset) {
            found = Some(key.get_ref().to_string());
        }
    }
    found
}

fn in_entry<'a, 'de: 'a>(
    entries: impl Iterator<Item = (Range<usize>, &'a DeValue<'de>)>,
    offset: usize,
) -> Option<String> {
    for (number, (span, entry)) in (1..).zip(entries) {
        let DeValue::Table(table) = entry else { continue };
        if let Some(inner) = within(table, offset) {
            return Some(format!("[{number}].{inner}"));
        }
        if span.contains(&offset) {
            return Some(format!("[{number}]"));
        }
    }
    None
}
