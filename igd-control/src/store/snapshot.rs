//! The snapshot: a transactional database that takes in the journals, one durable commit at a time.

use super::record::{Row, key_bytes};
use super::{Moment, StoreError};
use crate::mapping::{Change, Remembered};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable as _, TableDefinition,
    WriteTransaction,
};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What the file is called.
const NAME: &str = "mappings.redb";

/// What it is called after it could not be read.
const ASIDE: &str = "mappings.redb.unreadable";

/// What is written below is of this format; others are not read.
const FORMAT: u64 = 1;

/// Memory for pages, bytes: reads are rare, and the table is in memory anyway.
const CACHE: usize = 64 * 1024;

const MAPPINGS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("mappings");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const MOMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("moments");

/// What a snapshot is to take in.
#[derive(Debug)]
pub(super) enum Fold {
    /// Changes to what it holds.
    Changes(Vec<Change>),
    /// Everything; what it holds goes.
    Everything(Vec<Remembered>),
}

/// What a snapshot holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// When it was written; `None` for a new one.
    pub(super) written: Option<Moment>,
    /// The last journal that it has taken in.
    pub(super) journal: u64,
    /// The mappings.
    pub(super) rows: Vec<Row>,
}

/// The open database.
#[derive(Debug)]
pub(super) struct Snapshot {
    database: Database,
}

impl Snapshot {
    /// Opens the snapshot, or makes an empty one.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(NAME);
        guarded(&path, || {
            let new = !path.exists();
            let database = builder().create(&path).map_err(|error| refused(&path, error))?;
            if new {
                // The file's name must survive a power cut too.
                let sync = File::open(directory).and_then(|directory| directory.sync_all());
                sync.map_err(|error| StoreError::file(directory, error))?;
            }
            Ok(Self { database })
        })
    }

    /// The same; one that cannot be opened is put aside, which the error tells.
    pub(super) fn open_or_put_aside(
        directory: &Path,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        match Self::open(directory) {
            Ok(snapshot) => Ok((snapshot, None)),
            Err(StoreError::Unreadable { path, why }) => {
                let aside = put_aside(directory)?;
                Ok((Self::open(directory)?, Some(StoreError::PutAside { path, why, aside })))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads everything.
    pub(super) fn read(&self, directory: &Path) -> Result<Contents, StoreError> {
        let path = directory.join(NAME);
        let read = || read(&self.database).map_err(|error| broken(&path, error))?.check(&path);
        guarded(&path, read)
    }

    /// Takes changes in. When it returns they survive a power cut.
    pub(super) fn fold(
        &self,
        directory: &Path,
        fold: &Fold,
        journal: u64,
        now: &Moment,
    ) -> Result<(), StoreError> {
        let path = directory.join(NAME);
        guarded(&path, || self.try_fold(fold, journal, now).map_err(|error| broken(&path, error)))
    }

    fn try_fold(&self, fold: &Fold, journal: u64, now: &Moment) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        write(&transaction, fold, journal, now)?;
        transaction.commit()?;
        Ok(())
    }
}

fn read(database: &impl ReadableDatabase) -> Result<Raw, redb::Error> {
    let mut raw = Raw::default();
    let transaction = database.begin_read()?;
    let numbers = match transaction.open_table(NUMBERS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(raw),
        numbers => numbers?,
    };
    raw.format = numbers.get("format")?.map(|number| number.value());
    raw.journal = numbers.get("journal")?.map_or(0, |number| number.value());
    if raw.format == Some(FORMAT) {
        let moments = transaction.open_table(MOMENTS)?;
        raw.written = moments.get("written")?.map(|moment| moment.value().to_vec());
        for entry in transaction.open_table(MAPPINGS)?.iter()? {
            raw.rows.push(entry?.1.value().to_vec());
        }
    }
    Ok(raw)
}

fn write(
    transaction: &WriteTransaction,
    fold: &Fold,
    journal: u64,
    now: &Moment,
) -> Result<(), redb::Error> {
    if matches!(fold, Fold::Everything(_)) {
        transaction.delete_table(MAPPINGS)?;
    }
    let mut mappings = transaction.open_table(MAPPINGS)?;
    let put = |mappings: &mut redb::Table<'_, &[u8], &[u8]>, mapping: &Remembered| {
        let row = json(&Row::from(mapping));
        let key = key_bytes(&mapping.mapping.key);
        mappings.insert(key.as_slice(), row.as_slice()).map(drop)
    };
    match fold {
        Fold::Everything(all) => all.iter().try_for_each(|mapping| put(&mut mappings, mapping))?,
        Fold::Changes(changes) => {
            for change in changes {
                match change {
                    Change::Put(mapping) => put(&mut mappings, mapping)?,
                    Change::Gone(key) => drop(mappings.remove(key_bytes(key).as_slice())?),
                }
            }
        }
    }
    let mut numbers = transaction.open_table(NUMBERS)?;
    numbers.insert("format", FORMAT)?;
    numbers.insert("journal", journal)?;
    transaction.open_table(MOMENTS)?.insert("written", json(now).as_slice())?;
    Ok(())
}

/// Without odd keys and failing writers it cannot fail.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What the tables hold, not looked at yet.
#[derive(Default)]
struct Raw {
    format: Option<u64>,
    journal: u64,
    written: Option<Vec<u8>>,
    rows: Vec<Vec<u8>>,
}

impl Raw {
    fn check(self, path: &Path) -> Result<Contents, StoreError> {
        let unreadable = |why: String| StoreError::Unreadable { path: path.to_owned(), why };
        let written = match (self.format, &self.written) {
            (None, _) => return Ok(Contents::default()),
            (Some(FORMAT), Some(moment)) => moment,
            (Some(FORMAT), None) => return Err(unreadable("it has no time".to_owned())),
            (Some(other), _) => {
                let why = format!("it is of format {other}, and this program writes {FORMAT}");
                return Err(unreadable(why));
            }
        };
        let odd = |error: serde_json::Error| unreadable(error.to_string());
        let rows = self.rows.iter().map(|row| serde_json::from_slice(row));
        Ok(Contents {
            written: Some(serde_json::from_slice(written).map_err(odd)?),
            journal: self.journal,
            rows: rows.collect::<Result<_, _>>().map_err(odd)?,
        })
    }
}

/// Reads a snapshot that cannot be written; `None` when it cannot be read either.
pub(super) fn read_only(directory: &Path) -> Option<Contents> {
    let path = directory.join(NAME);
    let read = || {
        let database = builder().open_read_only(&path).map_err(|error| refused(&path, error))?;
        read(&database).map_err(|error| broken(&path, error))?.check(&path)
    };
    guarded(&path, read).ok()
}

/// Puts a snapshot that cannot be read out of the way, in the place of the last one like that.
pub(super) fn put_aside(directory: &Path) -> Result<PathBuf, StoreError> {
    let (from, to) = (directory.join(NAME), directory.join(ASIDE));
    fs::rename(&from, &to).map_err(|error| StoreError::file(&from, error))?;
    Ok(to)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // A file that something else has altered is refused, rather than believed until it fails.
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

fn refused(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => {
            StoreError::Unreadable { path: path.to_owned(), why: error.to_string() }
        }
        DatabaseError::Storage(error) => broken(path, error.into()),
        other => StoreError::Busy { path: path.to_owned(), why: other.to_string() },
    }
}

fn broken(path: &Path, error: redb::Error) -> StoreError {
    let unreadable = |why: String| StoreError::Unreadable { path: path.to_owned(), why };
    match error {
        redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            unreadable(error.to_string())
        }
        redb::Error::Io(error) => StoreError::file(path, error),
        redb::Error::PreviousIo => {
            StoreError::Busy { path: path.to_owned(), why: error.to_string() }
        }
        other => unreadable(other.to_string()),
    }
}

/// A file that was tampered with can bring the database to panic. That is no reason to stop.
fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let why = "reading it ended in a panic".to_owned();
        Err(StoreError::Unreadable { path: path.to_owned(), why })
    })
}
