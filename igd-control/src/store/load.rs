//! Reading a store at the start.

use super::record::{Line, Row};
use super::snapshot::{self, Snapshot};
use super::{Moment, StoreError, journal};
use crate::mapping::{MappingKey, Remembered};
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The mappings, oldest first.
    pub(super) mappings: Vec<Remembered>,
    /// The highest number of a journal so far.
    pub(super) journal: u64,
    /// The database, where it could be opened.
    pub(super) snapshot: Option<Snapshot>,
    /// What could not be read.
    pub(super) error: Option<StoreError>,
}

/// Reads the snapshot, and the journals that it has not taken in. What cannot be read is left out.
pub(super) fn load(directory: &Path, now: &Moment) -> Loaded {
    let mut loaded = Loaded::default();
    // Descriptions and addresses are nobody else's business.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    if let Err(error) = made {
        loaded.error = Some(StoreError::file(directory, error));
        return loaded;
    }
    let contents = open(directory, &mut loaded).unwrap_or_else(|error| {
        loaded.error = Some(error);
        snapshot::Contents::default()
    });
    let mut found = Found { now, mappings: HashMap::new() };
    if let Some(written) = &contents.written {
        for row in contents.rows {
            found.put(row, written);
        }
    }
    loaded.journal = contents.journal;
    if let Err(error) = replay(directory, &mut loaded.journal, &mut found) {
        loaded.error.get_or_insert(error);
    }
    loaded.mappings = found.mappings.into_values().collect();
    loaded.mappings.sort_unstable_by_key(|mapping| mapping.sequence);
    loaded
}

/// Opens the snapshot. One that cannot be read is put aside, and an empty one takes its place.
fn open(directory: &Path, loaded: &mut Loaded) -> Result<snapshot::Contents, StoreError> {
    let first =
        Snapshot::open(directory).and_then(|snapshot| Ok((snapshot.read(directory)?, snapshot)));
    let (path, why) = match first {
        Ok((contents, snapshot)) => {
            loaded.snapshot = Some(snapshot);
            return Ok(contents);
        }
        Err(StoreError::Unreadable { path, why }) => (path, why),
        Err(error) => return snapshot::read_only(directory).ok_or(error),
    };
    let aside = snapshot::put_aside(directory)?;
    loaded.error = Some(StoreError::PutAside { path, why, aside });
    loaded.snapshot = Some(Snapshot::open(directory)?);
    Ok(snapshot::Contents::default())
}

/// Plays the journals after `last`, which becomes the number of the last one.
fn replay(directory: &Path, last: &mut u64, found: &mut Found<'_>) -> Result<(), StoreError> {
    for number in journal::numbers(directory)? {
        if number <= *last {
            // Taken in already; the end came before it could be removed.
            continue;
        }
        *last = number;
        let contents = journal::read(directory, number)?;
        if contents.torn {
            tracing::warn!(number, "the end of a journal of port mappings is torn off");
        }
        let Some(begun) = contents.begun else { continue };
        for line in contents.lines {
            match line {
                Line::Put(row) => found.put(row, &begun),
                Line::Gone(key) => found.gone(&key.into()),
                Line::Begins(_) => {}
            }
        }
    }
    Ok(())
}

/// The mappings so far.
struct Found<'a> {
    now: &'a Moment,
    mappings: HashMap<MappingKey, Remembered>,
}

impl Found<'_> {
    fn put(&mut self, row: Row, written: &Moment) {
        let key = row.key();
        match row.read(self.now, written) {
            Some(mapping) => drop(self.mappings.insert(key, mapping)),
            // Its lease has ended meanwhile.
            None => self.gone(&key),
        }
    }

    fn gone(&mut self, key: &MappingKey) {
        self.mappings.remove(key);
    }
}
