//! The log of mappings: which internal endpoint had which external port, and when (RFC 6888 REQ-12), by
//! the information elements of RFC 8158. Where packets go is not in it (REQ-13).
//!
//! The packet path notes each mapping that it makes in a ring buffer. Ends come by the clock, and nobody
//! tells of them, so each sweep looks through the port table for what is over; and for what a full ring
//! buffer has swallowed. A thread of its own writes the file, and nobody waits for it.

mod file;
mod journal;

use super::ring::Ring;
use super::{Shared, now};
use anyhow::{Context as _, Result};
use file::File;
use journal::Journal;
use nat_common::mapping_note::MappingNote;
use nat_common::ports::{Owner, PortSlot};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The log, where one is wanted.
pub(super) struct MappingLog {
    journal: Mutex<Journal>,
    file: File,
}

impl MappingLog {
    /// A log at `path`, of a port table with so many slots.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub(super) fn open(path: &Path, slots: usize) -> Result<Self> {
        let file = File::open(path)
            .with_context(|| format!("nat.mapping-log: cannot write to {}", path.display()))?;
        Ok(Self { journal: Mutex::new(Journal::new(slots)), file })
    }

    /// Writes down what a look at the whole port table shows.
    pub(super) fn look_through(&self, shared: &Shared) {
        self.with(shared, |journal| journal.look_through(shared.maps.ports.slots(), now()));
    }

    /// Writes down what a look at one port shows.
    pub(super) fn look_at(&self, shared: &Shared, index: u32, slot: &PortSlot) {
        self.with(shared, |journal| journal.look_at(index, slot, now()));
    }

    fn with(&self, shared: &Shared, step: impl FnOnce(&mut Journal)) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.set_pool(&shared.external_addresses(), now());
        step(&mut journal);
        for event in journal.take() {
            self.file.write(event, now());
        }
    }
}

/// Writes down what the packet path notes, for ever.
pub(super) async fn follow(shared: Arc<Shared>, mut ring: Ring) {
    let Some(log) = &shared.mapping_log else { return };
    let mut notes: Vec<MappingNote> = Vec::new();
    loop {
        let note =
            |bytes: &[u8]| notes.extend(bytemuck::try_pod_read_unaligned::<MappingNote>(bytes));
        if let Err(error) = ring.read(note).await {
            tracing::error!(%error, "the packet path's notes on mappings cannot be read");
            return;
        }
        log.with(&shared, |journal| notes.drain(..).for_each(|note| journal.begin(&note)));
    }
}

/// An internal endpoint of `owner`, as the journal compares it.
const fn holder(owner: Owner) -> u64 {
    owner.word() & !0xffff
}
