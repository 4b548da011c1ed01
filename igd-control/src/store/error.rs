//! What can be wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

/// Why mappings cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written: no room, no right, no such place.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file that could not be read has been put aside.
    #[error("{}: {why}; it is kept as {}", path.display(), aside.display())]
    PutAside {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
        /// Where it is now.
        aside: PathBuf,
    },
    /// A file cannot be had now: another process has it, or an earlier error closed it.
    #[error("{}: {why}", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No thread can be made for it.
    #[error("no thread for the store: {0}")]
    Thread(String),
    /// Changes came faster than they could be written.
    #[error("the disk is too slow: changes had to be left out")]
    TooSlow,
}

impl StoreError {
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}
