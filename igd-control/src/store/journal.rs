//! The journal: files to which every change is appended before it is acknowledged.
//!
//! Appending is a `write` without a `sync`: it survives the end of the process, however that comes,
//! and costs microseconds. What a power cut takes are the changes since the last [`super::snapshot`].
//! A journal is ended when a snapshot is to take it in, and removed when it has.

use super::record::Line;
use super::{Moment, StoreError};
use crate::mapping::Change;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What the files are called, before their number.
const PREFIX: &str = "journal-";

/// The journal that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    buffer: Vec<u8>,
}

impl Journal {
    /// Begins a journal of a number that none has yet.
    pub(super) fn begin(directory: &Path, number: u64, now: &Moment) -> Result<Self, StoreError> {
        let path = path(directory, number);
        let open = || OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        let file = open().map_err(|error| StoreError::file(&path, error))?;
        let mut journal = Self { file, buffer: Vec::new() };
        journal.write(&[Line::Begins(now.clone())]).map_err(|e| StoreError::file(&path, e))?;
        Ok(journal)
    }

    /// Appends changes.
    pub(super) fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        let lines: Vec<_> = changes.iter().map(Line::from).collect();
        self.write(&lines)
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        self.buffer.clear();
        for line in lines {
            line.write(&mut self.buffer);
        }
        self.file.write_all(&self.buffer)
    }
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// When it was begun; `None` when not even that can be read.
    pub(super) begun: Option<Moment>,
    /// Its changes, up to the first that is not whole.
    pub(super) lines: Vec<Line>,
    /// Whether there is something behind that cannot be read.
    pub(super) torn: bool,
}

/// Reads a journal.
pub(super) fn read(directory: &Path, number: u64) -> Result<Contents, StoreError> {
    let path = path(directory, number);
    let bytes = fs::read(&path).map_err(|error| StoreError::file(&path, error))?;
    let mut contents = Contents::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.strip_suffix(b"\n").and_then(Line::read);
        match whole {
            Some(Line::Begins(moment)) if contents.begun.is_none() => {
                contents.begun = Some(moment);
            }
            Some(line) if contents.begun.is_some() => contents.lines.push(line),
            _ => {
                contents.torn = true;
                break;
            }
        }
    }
    Ok(contents)
}

/// The numbers of the journals that there are, lowest first.
pub(super) fn numbers(directory: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = fs::read_dir(directory).map_err(|error| StoreError::file(directory, error))?;
    let number =
        |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok();
    let mut numbers: Vec<u64> = entries.filter_map(Result::ok).filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes the journals up to a number: a snapshot has taken them in.
pub(super) fn remove_up_to(directory: &Path, last: u64) -> Result<(), StoreError> {
    for number in numbers(directory)?.into_iter().filter(|number| *number <= last) {
        let path = path(directory, number);
        fs::remove_file(&path).map_err(|error| StoreError::file(&path, error))?;
    }
    Ok(())
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{number}"))
}
